//! What a therapist offers, in as few bytes as the schema's columns need.

use super::ids::ServiceId;
use super::money::Money;
use super::pricing::Offering;

/// The services of one therapist, each with its terms: sixteen bytes each.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Offerings(Box<[Packed]>);

/// Why an [`Offering`] is none that the schema's columns can hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("service {service}: {field} {value} is not within {least} to {most}")]
pub struct InvalidOffering {
    service: ServiceId,
    field: &'static str,
    value: String,
    least: String,
    most: String,
}

/// One [`Offering`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Packed {
    /// From the lowest bit: [`PRICE_BITS`] of the price and [`PER_KM_BITS`] of the surcharge in centavos, home, store.
    terms: u64,
    service: u32,
    base_distance_km: u16,
    max_travel_km: u16,
}

/// `provider_services.price` is a DECIMAL(10, 2).
const MOST_PRICE: u64 = 9_999_999_999;
const PRICE_BITS: u32 = 34;
/// `provider_services.per_km_surcharge` is a DECIMAL(8, 2).
const MOST_PER_KM: u64 = 99_999_999;
const PER_KM_BITS: u32 = 27;

const HOME: u64 = 1 << (PRICE_BITS + PER_KM_BITS);
const STORE: u64 = HOME << 1;
const _: () = assert!(MOST_PRICE >> PRICE_BITS == 0 && MOST_PER_KM >> PER_KM_BITS == 0 && STORE > HOME);

impl Offerings {
    /// These, in their order. Kilometres beyond 65,535 are kept as 65,535: nobody on Earth is even half as far from
    /// anybody.
    ///
    /// # Errors
    /// An amount that is negative or beyond its column, or a service id that is negative or beyond 2^32 - 1.
    pub fn new(offerings: impl IntoIterator<Item = Offering>) -> Result<Self, InvalidOffering> {
        offerings.into_iter().map(Packed::new).collect::<Result<_, _>>().map(Self)
    }

    /// Each as it was given.
    pub fn iter(&self) -> impl Iterator<Item = Offering> + '_ {
        self.0.iter().map(Packed::offering)
    }

    /// How a service is offered at the customer's home; `None`: not at all.
    pub fn at_home(&self, service: ServiceId) -> Option<Offering> {
        let wanted = u32::try_from(service.0).ok()?;
        self.0.iter().find(|packed| packed.service == wanted && packed.terms & HOME != 0).map(Packed::offering)
    }

    /// Where the first of them lies in memory, for who asks for it early.
    pub(super) fn first(&self) -> Option<&impl Sized> {
        self.0.first()
    }
}

impl Packed {
    fn new(offering: Offering) -> Result<Self, InvalidOffering> {
        let Offering { service, price, base_distance_km, per_km_surcharge, max_travel_km, home, store } = offering;
        let refused =
            |field, value: String, [least, most]: [String; 2]| InvalidOffering { service, field, value, least, most };
        let amount = |field, amount: Money, most: u64| {
            let centavos = u64::try_from(amount.in_centavos()).ok().filter(|centavos| *centavos <= most);
            let allowed = || [Money::ZERO.to_string(), Money::centavos(most.cast_signed()).to_string()];
            centavos.ok_or_else(|| refused(field, amount.to_string(), allowed()))
        };
        let flag = |is, bit| if is { bit } else { 0 };
        let kilometres = |km| u16::try_from(km).unwrap_or(u16::MAX);
        Ok(Self {
            terms: amount("price", price, MOST_PRICE)?
                | amount("per_km_surcharge", per_km_surcharge, MOST_PER_KM)? << PRICE_BITS
                | flag(home, HOME)
                | flag(store, STORE),
            service: u32::try_from(service.0)
                .map_err(|_| refused("service_id", service.to_string(), [0.to_string(), u32::MAX.to_string()]))?,
            base_distance_km: kilometres(base_distance_km),
            max_travel_km: kilometres(max_travel_km),
        })
    }

    fn offering(&self) -> Offering {
        let amount = |from: u32, bits: u32| Money::centavos((self.terms >> from & ((1 << bits) - 1)).cast_signed());
        Offering {
            service: ServiceId(self.service.into()),
            price: amount(0, PRICE_BITS),
            base_distance_km: self.base_distance_km.into(),
            per_km_surcharge: amount(PRICE_BITS, PER_KM_BITS),
            max_travel_km: self.max_travel_km.into(),
            home: self.terms & HOME != 0,
            store: self.terms & STORE != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::geo::Meters;
    use crate::core::pricing::surcharge;

    const PLAIN: Offering = Offering {
        service: ServiceId(1),
        price: Money::centavos(80_000),
        base_distance_km: 5,
        per_km_surcharge: Money::centavos(2_000),
        max_travel_km: 15,
        home: true,
        store: false,
    };

    #[test]
    fn an_offering_takes_sixteen_bytes() {
        assert_eq!(size_of::<Packed>(), 16);
    }

    proptest! {
        #[test]
        fn whatever_the_columns_hold_comes_back_as_it_was(
            service in 0..=i64::from(u32::MAX), price in 0..=MOST_PRICE as i64, per_km in 0..=MOST_PER_KM as i64,
            base_distance_km in 0..=65_535u32, max_travel_km in 0..=65_535u32, home: bool, store: bool,
        ) {
            let offering = Offering {
                service: ServiceId(service),
                price: Money::centavos(price),
                base_distance_km,
                per_km_surcharge: Money::centavos(per_km),
                max_travel_km,
                home,
                store,
            };
            // A neighbour, so that what one has is not taken for the other's.
            let other = Offering { service: ServiceId(i64::from(u32::MAX) - service), home: !home, ..PLAIN };
            let offerings = Offerings::new([other, offering]).expect("within the columns");
            prop_assert_eq!(offerings.iter().collect::<Vec<_>>(), [other, offering]);
            prop_assert_eq!(offerings.at_home(offering.service), Some(offering).filter(|_| home));
            prop_assert_eq!(offerings.at_home(other.service), Some(other).filter(|_| !home));
        }
    }

    #[test]
    fn the_most_and_the_least_of_each_column_are_held() {
        let most = Offering {
            service: ServiceId(u32::MAX.into()),
            price: Money::centavos(9_999_999_999),
            base_distance_km: 65_535,
            per_km_surcharge: Money::centavos(99_999_999),
            max_travel_km: 65_535,
            home: true,
            store: true,
        };
        let least = Offering {
            service: ServiceId(0),
            price: Money::ZERO,
            base_distance_km: 0,
            per_km_surcharge: Money::ZERO,
            max_travel_km: 0,
            home: false,
            store: false,
        };
        let offerings = Offerings::new([most, least]).expect("within the columns");
        assert_eq!(offerings.iter().collect::<Vec<_>>(), [most, least]);
    }

    #[test]
    fn what_no_column_holds_is_refused_and_named() {
        let service = |id| Offering { service: ServiceId(id), ..PLAIN };
        let price = |centavos| Offering { price: Money::centavos(centavos), ..PLAIN };
        let per_km = |centavos| Offering { per_km_surcharge: Money::centavos(centavos), ..PLAIN };
        for (offering, text) in [
            (price(-1), "service 1: price -0.01 is not within 0.00 to 99999999.99"),
            (price(10_000_000_000), "service 1: price 100000000.00 is not within 0.00 to 99999999.99"),
            (per_km(-5), "service 1: per_km_surcharge -0.05 is not within 0.00 to 999999.99"),
            (per_km(100_000_000), "service 1: per_km_surcharge 1000000.00 is not within 0.00 to 999999.99"),
            (service(-1), "service -1: service_id -1 is not within 0 to 4294967295"),
            (service(1 << 32), "service 4294967296: service_id 4294967296 is not within 0 to 4294967295"),
        ] {
            assert_eq!(Offerings::new([PLAIN, offering]).expect_err(text).to_string(), text);
        }
    }

    #[test]
    fn services_that_nobody_can_offer_are_not_found() {
        let offerings = Offerings::new([PLAIN]).expect("within the columns");
        for id in [-1, 0, 2, (1 << 32) + 1, i64::MIN, i64::MAX] {
            assert_eq!(offerings.at_home(ServiceId(id)), None, "{id}");
        }
        assert_eq!(Offerings::default().at_home(PLAIN.service), None);
    }

    #[test]
    fn kilometres_that_are_cut_off_change_nothing_on_earth() {
        let far = Offering { base_distance_km: u32::MAX, max_travel_km: 2_000_000_000, ..PLAIN };
        let offerings = Offerings::new([far]).expect("within the columns");
        let kept = offerings.at_home(PLAIN.service).expect("offered");
        assert_eq!((kept.base_distance_km, kept.max_travel_km), (65_535, 65_535));
        let antipodes = Meters::from_km(20_016.0);
        assert_eq!(surcharge(&kept, antipodes), surcharge(&far, antipodes));
        assert!(antipodes < Meters::from_km(f64::from(kept.max_travel_km)));
    }
}
