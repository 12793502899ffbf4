//! Who is seeded: drawn from a seed alone, without a database, so that the same seed gives the same people.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;

use super::names::{FAMILY, FEMALE, MALE, STREETS};
use crate::cities::Places;
use crate::core::geo::LatLng;
use crate::core::money::Money;
use crate::core::people::Gender;

/// A service of the catalogue, as far as prices are drawn around its own.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) id: i64,
    pub(super) slug: String,
    pub(super) base_price: Money,
}

/// Anyone.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Person {
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) gender: Gender,
    pub(super) birth_year: i32,
    pub(super) city: String,
    pub(super) place: LatLng,
}

/// What makes a person a therapist.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Therapist {
    pub(super) person: Person,
    pub(super) rating_hundredths: i64,
    pub(super) reviews: i32,
    pub(super) experience_years: i32,
    pub(super) specializations: Vec<&'static str>,
    pub(super) languages: Vec<&'static str>,
    pub(super) service_radius_km: i32,
    /// Serves women only.
    pub(super) women_only: bool,
    pub(super) buffer_minutes: i32,
    pub(super) offerings: Vec<Offering>,
}

/// A service that a therapist offers.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Offering {
    pub(super) service: i64,
    pub(super) slug: String,
    pub(super) price: Money,
    pub(super) base_distance_km: i32,
    pub(super) per_km_surcharge: Money,
    pub(super) max_travel_km: i32,
}

/// What makes a person a customer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Customer {
    pub(super) person: Person,
    pub(super) address: String,
}

/// The service that every therapist offers, so that a request for it sees the whole fleet.
pub(super) const COMMON_SERVICE: &str = "swedish-massage";

const SPECIALIZATIONS: [&str; 6] = ["Swedish", "Deep Tissue", "Sports", "Aromatherapy", "Hot Stone", "Reflexology"];
/// `en` and `fil` are everyone's; these come on top.
const OTHER_LANGUAGES: [&str; 5] = ["ceb", "ilo", "ja", "ko", "zh"];

/// Draws therapists and customers, each kind from a stream of its own: asking for more of one does not change the other.
pub(super) struct Draw<'a> {
    places: &'a Places,
    services: &'a [Service],
    therapists: StdRng,
    customers: StdRng,
}

impl<'a> Draw<'a> {
    pub(super) fn new(seed: u64, places: &'a Places, services: &'a [Service]) -> Self {
        Self {
            places,
            services,
            therapists: StdRng::seed_from_u64(seed ^ 0x7468_6572),
            customers: StdRng::seed_from_u64(seed ^ 0x6375_7374),
        }
    }

    pub(super) fn therapist(&mut self) -> Therapist {
        let rng = &mut self.therapists;
        let person = person(rng, self.places, 0.7);
        let mut specializations: Vec<_> = SPECIALIZATIONS.sample(rng, 2).copied().collect();
        specializations.sort_unstable();
        let mut languages = vec!["en", "fil"];
        if rng.random_bool(0.35) {
            languages.extend(OTHER_LANGUAGES.choose(rng));
        }
        let service_radius_km = rng.random_range(4..=8);
        Therapist {
            rating_hundredths: rng.random_range(380..=500),
            reviews: rng.random_range(3..=240),
            experience_years: rng.random_range(1..=20),
            specializations,
            languages,
            service_radius_km,
            women_only: person.gender == Gender::Female && rng.random_bool(0.12),
            buffer_minutes: 15,
            offerings: self.services.iter().filter_map(|s| offering(rng, s, service_radius_km)).collect(),
            person,
        }
    }

    pub(super) fn customer(&mut self) -> Customer {
        let rng = &mut self.customers;
        let person = person(rng, self.places, 0.6);
        let street = STREETS.choose(rng).copied().unwrap_or("Rizal Avenue");
        Customer { address: format!("{} {street}", rng.random_range(1..=980)), person }
    }
}

pub(super) fn person(rng: &mut StdRng, places: &Places, women: f64) -> Person {
    let gender = if rng.random_bool(women) { Gender::Female } else { Gender::Male };
    let first = if gender == Gender::Female { &FEMALE } else { &MALE };
    let (city, place) = places.draw(rng);
    Person {
        first_name: first.choose(rng).copied().unwrap_or("Maria"),
        last_name: FAMILY.choose(rng).copied().unwrap_or("Santos"),
        gender,
        birth_year: rng.random_range(1965..=2004),
        city: city.name.clone(),
        place,
    }
}

/// Three services of four, the common one always; within 15 % of its base price, in steps of ten pesos.
fn offering(rng: &mut StdRng, service: &Service, service_radius_km: i32) -> Option<Offering> {
    let (offers, percent, surcharge) =
        (rng.random_bool(0.75), rng.random_range(-15..=15_i64), rng.random_range(5..=30));
    let (base_distance_km, farther) = (rng.random_range(2..=5), rng.random_range(0..=6));
    if !offers && service.slug != COMMON_SERVICE {
        return None;
    }
    Some(Offering {
        service: service.id,
        slug: service.slug.clone(),
        price: near_base_price(service, percent),
        base_distance_km,
        per_km_surcharge: Money::centavos(surcharge * 100),
        max_travel_km: service_radius_km + farther,
    })
}

/// The base price and so many percent of it, in steps of ten pesos.
pub(super) fn near_base_price(service: &Service, percent: i64) -> Money {
    let near = service.base_price.decimal() * Decimal::from(100 + percent) / Decimal::ONE_HUNDRED;
    Money::rounded((near / Decimal::TEN).round() * Decimal::TEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cities::metro_manila;

    fn services() -> Vec<Service> {
        [("swedish-massage", 80_000), ("foot-spa", 50_000)]
            .into_iter()
            .zip(1..)
            .map(|((slug, price), id)| Service { id, slug: slug.to_owned(), base_price: Money::centavos(price) })
            .collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_people_and_another_seed_others() {
        let places = Places::new(metro_manila()).expect("inhabited");
        let services = services();
        let people = |seed| {
            let mut draw = Draw::new(seed, &places, &services);
            (0..20).map(|_| (draw.therapist(), draw.customer())).collect::<Vec<_>>()
        };
        assert_eq!(people(1), people(1));
        assert_ne!(people(1), people(2));
    }

    #[test]
    fn more_customers_do_not_change_the_therapists() {
        let places = Places::new(metro_manila()).expect("inhabited");
        let services = services();
        let (mut few, mut many) = (Draw::new(7, &places, &services), Draw::new(7, &places, &services));
        (0..50).for_each(|_| drop(many.customer()));
        assert_eq!(few.therapist(), many.therapist());
    }

    #[test]
    fn everyone_offers_the_common_service_near_its_base_price() {
        let places = Places::new(metro_manila()).expect("inhabited");
        let services = services();
        let mut draw = Draw::new(3, &places, &services);
        for _ in 0..200 {
            let therapist = draw.therapist();
            let offering = therapist.offerings.iter().find(|o| o.slug == COMMON_SERVICE).expect("everyone offers it");
            let price = offering.price;
            assert!(price >= Money::centavos(68_000) && price <= Money::centavos(92_000), "{price}");
            assert!(offering.max_travel_km >= therapist.service_radius_km);
        }
    }
}
