//! What stands still: stores, in an R-tree that is loaded at once and replaced whole when anything about a store changes.
//!
//! [`sphere`] puts places into space, where the tree has no seam; [`hours`] reads when a store is open, [`rooms`] counts
//! who is in it. [`Stores`] is a
//! value: whoever holds it sees one moment, whatever is put in its place meanwhile.

pub mod hours;
pub mod rooms;
mod sphere;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use rstar::RTree;
use rstar::primitives::GeomWithData;
use rust_decimal::Decimal;
use uuid::Uuid;

use self::sphere::{SLACK, haversine_of, haversine_of_chord, unit};
use super::geo::{LatLng, Meters};
use super::ids::{ProviderId, ServiceId, UserId};
use super::money::Money;
use super::schedule::Schedule;
use super::time::Timestamp;

/// A store as the public may know it, and whether it may be shown.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// `providers.id`
    pub provider: ProviderId,
    /// `providers.uuid`
    pub uuid: Uuid,
    /// `store_name`
    pub name: String,
    /// Where to go.
    pub address: Address,
    /// Where that is; a store's place is public.
    pub place: LatLng,
    /// To call before one goes.
    pub phone: Option<String>,
    /// 0 to 5.
    pub average_rating: Decimal,
    /// How many reviews that is of.
    pub total_reviews: u32,
    /// `WiFi`, `Shower` …
    pub amenities: Vec<String>,
    /// When it is open; `None`: not known, which is neither open nor closed.
    pub hours: Option<Schedule>,
    /// What it offers in the store, by service.
    pub services: Vec<InStore>,
    /// Customers who are not matched with it.
    pub blocked: Vec<UserId>,
    /// Its papers were seen.
    pub verified: bool,
    /// Neither it nor its owner is switched off or deleted.
    pub active: bool,
    /// It serves customers in the store at all.
    pub accepts_store_service: bool,
}

/// As in `store_profiles`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Number and street.
    pub line1: String,
    /// Floor, building.
    pub line2: Option<String>,
    /// City or municipality.
    pub city: String,
    /// Province.
    pub province: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
}

/// A service as a store offers it on its own premises: a row of `provider_services` that is available and enabled there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InStore {
    /// Which service.
    pub service: ServiceId,
    /// The store's own price.
    pub price: Money,
}

/// Which stores are wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// Who asks: whoever has blocked a store, or is blocked by it, is not shown it.
    pub customer: Option<UserId>,
    /// Where from.
    pub place: LatLng,
    /// No farther than this.
    pub radius: Meters,
    /// At most this many.
    pub limit: usize,
    /// That offer this in the store.
    pub service: Option<ServiceId>,
    /// That are known to be open at each of these moments.
    pub open: Vec<Timestamp>,
    /// That have all of these; compared without regard to case.
    pub amenities: Vec<String>,
    /// Average rating, at least.
    pub min_rating: Option<Decimal>,
}

/// A store that is what was wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Which.
    pub store: Arc<Store>,
    /// How far.
    pub distance: Meters,
    /// Its price of the asked service, if one was asked.
    pub price: Option<Money>,
}

/// The nearest stores.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// Nearest first, ties by id; at most [`Question::limit`].
    pub found: Vec<Found>,
    /// How many stores were looked at.
    pub considered: u32,
}

/// Every store, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    by_id: BTreeMap<ProviderId, Arc<Store>>,
    tree: RTree<GeomWithData<[f64; 3], Arc<Store>>>,
}

impl Stores {
    /// These stores; of two with the same id the later counts. O(n log n).
    pub fn new(stores: impl IntoIterator<Item = Store>) -> Self {
        Self::of(stores.into_iter().map(|store| (store.provider, Arc::new(store))).collect())
    }

    fn of(by_id: BTreeMap<ProviderId, Arc<Store>>) -> Self {
        let points = by_id.values().map(|store| GeomWithData::new(unit(store.place), Arc::clone(store)));
        Self { tree: RTree::bulk_load(points.collect()), by_id }
    }

    /// The same, but of these ids as `now` has them: replaced, new, or gone where it has none. `None`: nothing differs.
    #[must_use]
    pub fn with(&self, ids: &[ProviderId], now: Vec<Store>) -> Option<Self> {
        let now: BTreeMap<_, _> = now.into_iter().map(|store| (store.provider, store)).collect();
        if ids.iter().all(|id| self.get(*id) == now.get(id)) {
            return None;
        }
        let mut by_id = self.by_id.clone();
        by_id.retain(|id, _| !ids.contains(id));
        by_id.extend(now.into_iter().map(|(id, store)| (id, Arc::new(store))));
        Some(Self::of(by_id))
    }

    /// By id.
    pub fn get(&self, provider: ProviderId) -> Option<&Store> {
        self.by_id.get(&provider).map(|store| &**store)
    }

    /// How many there are, shown or not.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The nearest stores that are what is wanted: exactly what comparing all of them by the metric would give.
    ///
    /// The tree yields stores by the length of their chord. That order is the metric's but for rounding, so the search
    /// goes on until a chord is longer than that of the last one kept by more than rounding can explain, and orders what
    /// it keeps by the metric itself.
    ///
    /// O((k + those nearer than the k-th that are not wanted) log n); worst case all within the radius, when fewer than
    /// asked for are wanted.
    pub fn nearest(&self, question: &Question) -> Answer {
        let mut answer = Answer::default();
        if question.limit == 0 {
            return answer;
        }
        let mut reach = haversine_of(question.radius) + SLACK;
        for (leaf, chord_squared) in self.tree.nearest_neighbor_iter_with_distance_2(unit(question.place)) {
            if haversine_of_chord(chord_squared) > reach {
                break;
            }
            answer.considered += 1;
            let store = &leaf.data;
            let Some(price) = fits(store, question) else { continue };
            let distance = store.place.distance(question.place);
            if distance > question.radius {
                continue;
            }
            let key = (distance, store.provider);
            let place = answer.found.partition_point(|found| (found.distance, found.store.provider) < key);
            if place < question.limit {
                answer.found.insert(place, Found { store: Arc::clone(store), distance, price });
                answer.found.truncate(question.limit);
            }
            if let Some(last) = answer.found.get(question.limit - 1) {
                reach = haversine_of(last.distance) + SLACK;
            }
        }
        answer
    }
}

/// `None`: not what is wanted. Else its price of the asked service, if one was asked.
fn fits(store: &Store, question: &Question) -> Option<Option<Money>> {
    if !(store.verified && store.active) || question.customer.is_some_and(|who| store.blocked.contains(&who)) {
        return None;
    }
    let price = match question.service {
        None => None,
        Some(_) if !store.accepts_store_service => return None,
        Some(service) => Some(store.services.iter().find(|offered| offered.service == service)?.price),
    };
    let is_open = |at: &Timestamp| store.hours.as_ref().is_some_and(|hours| hours.is_open(*at));
    let has = |wanted: &String| store.amenities.iter().any(|has| has.to_lowercase() == wanted.to_lowercase());
    let fits = question.open.iter().all(is_open)
        && question.amenities.iter().all(has)
        && question.min_rating.is_none_or(|least| store.average_rating >= least);
    fits.then_some(price)
}
