//! The live index: where every therapist is, what each can do, and who is nearest.

mod therapist;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

pub use therapist::{Duty, Therapist};

use super::geo::{LatLng, public_position};
use super::ids::{BookingId, ProviderId, UserId};
use super::matching::{Answer, Candidate, Precision, Request, Stand, Verdict, When, judge, tie_rank};
use super::pricing::surcharge;
use super::settings::PingLimits;
use super::time::Timestamp;
use super::track::{Fix, Track};

/// What a fix did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FixOutcome {
    /// It makes sense: the column `counted`.
    pub counted: bool,
    /// It is now the shown position.
    pub newest: bool,
    /// If it moved a therapist who is on the way: booking, its uuid, the customer to tell, and where to.
    pub en_route: Option<(BookingId, Uuid, UserId, LatLng)>,
}

/// A shown position and the time of its fix.
pub type Shown = (LatLng, Timestamp);

/// Every therapist, searchable from any thread.
#[derive(Debug, Default)]
pub struct Fleet {
    state: RwLock<BTreeMap<ProviderId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    therapist: Arc<Therapist>,
    track: Track,
}

const POISONED: &str = "nothing panics while it holds the fleet's lock";

impl Fleet {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ProviderId, Entry>> {
        self.state.read().expect(POISONED)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ProviderId, Entry>> {
        self.state.write().expect(POISONED)
    }

    /// Adds or replaces a therapist, whole and at once. A position that is known is kept.
    pub fn put(&self, therapist: Therapist) {
        let mut state = self.write();
        let therapist = Arc::new(therapist);
        match state.get_mut(&therapist.provider) {
            Some(entry) => entry.therapist = therapist,
            None => {
                state.insert(therapist.provider, Entry { therapist, track: Track::default() });
            }
        }
    }

    /// Says what a therapist does now. False if unknown.
    pub fn set_duty(&self, provider: ProviderId, duty: Duty) -> bool {
        let mut state = self.write();
        let Some(entry) = state.get_mut(&provider) else { return false };
        Arc::make_mut(&mut entry.therapist).duty = duty;
        true
    }

    /// Forgets a therapist and his position.
    pub fn remove(&self, provider: ProviderId) {
        self.write().remove(&provider);
    }

    /// Takes in a fix: see [`Track::apply`]. `None`: no such therapist.
    pub fn apply_fix(&self, provider: ProviderId, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        let mut state = self.write();
        let entry = state.get_mut(&provider)?;
        let applied = entry.track.apply(fix, limits);
        let en_route = match entry.therapist.duty {
            Duty::Booked { booking, booking_uuid, customer, en_route_to: Some(to) } if applied.newest => {
                Some((booking, booking_uuid, customer, to))
            }
            _ => None,
        };
        Some(FixOutcome { counted: applied.counted, newest: applied.newest, en_route })
    }

    /// At start: the newest counted fix from SQL. Never moves back. False if unknown.
    pub fn restore_position(&self, provider: ProviderId, fix: Fix) -> bool {
        let mut state = self.write();
        let Some(entry) = state.get_mut(&provider) else { return false };
        if entry.track.last().is_none_or(|last| last.at < fix.at) {
            entry.track = Track::at(Some(fix));
        }
        true
    }

    /// A therapist as he is now.
    pub fn therapist(&self, provider: ProviderId) -> Option<Arc<Therapist>> {
        self.read().get(&provider).map(|entry| Arc::clone(&entry.therapist))
    }

    /// The shown position and its time; `None` if unknown or never seen.
    pub fn position(&self, provider: ProviderId) -> Option<Shown> {
        self.read().get(&provider)?.track.last().map(|fix| (fix.place, fix.at))
    }

    /// The nearest who may take the request, in true order.
    pub fn nearest(&self, request: &Request, now: Timestamp) -> Answer {
        let state = self.read();
        let mut found: Vec<_> = state
            .values()
            .filter_map(|entry| {
                let stand = entry.stand(request)?;
                let offering = judge(&entry.therapist, &stand, request, now).ok()?;
                let price = offering.price;
                let surcharge = surcharge(offering, stand.distance);
                Some(Candidate {
                    therapist: Arc::clone(&entry.therapist),
                    place: stand.place,
                    fix_age: stand.fix_at.map(|at| now.since(at)),
                    distance: stand.distance,
                    price,
                    surcharge,
                })
            })
            .collect();
        let considered = found.len() as u32;
        found.sort_by_key(|c| (c.distance, tie_rank(request.precision, c.therapist.provider), c.therapist.provider));
        found.truncate(request.limit);
        Answer { candidates: found, considered }
    }

    /// Every therapist within the asked radius with the first reason not to be eligible, nearest first.
    pub fn verdicts(&self, request: &Request, now: Timestamp) -> Vec<Verdict> {
        let state = self.read();
        let mut all: Vec<_> = state
            .values()
            .filter_map(|entry| {
                let stand = entry.stand(request)?;
                let unfit = judge(&entry.therapist, &stand, request, now).err();
                Some(Verdict {
                    therapist: Arc::clone(&entry.therapist),
                    place: stand.place,
                    distance: stand.distance,
                    unfit,
                })
            })
            .collect();
        all.sort_by_key(|v| (v.distance, tie_rank(request.precision, v.therapist.provider), v.therapist.provider));
        all
    }

    /// How many therapists are known.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody by id, with the shown position and its time, at one moment.
    pub fn snapshot(&self) -> Vec<(Arc<Therapist>, Option<Shown>)> {
        let shown = |entry: &Entry| entry.track.last().map(|fix| (fix.place, fix.at));
        self.read().values().map(|entry| (Arc::clone(&entry.therapist), shown(entry))).collect()
    }
}

impl Entry {
    /// Where this one stands for the request; `None` if nowhere or beyond the asked radius.
    fn stand(&self, request: &Request) -> Option<Stand> {
        let (place, fix_at) = match request.when {
            When::Now => self.track.last().map(|fix| (fix.place, Some(fix.at)))?,
            When::At { .. } => (self.therapist.base_location?, None),
        };
        let place = match request.precision {
            Precision::Exact => place,
            Precision::Public { .. } => public_position(place).centre,
        };
        let distance = place.distance(request.place);
        (distance <= request.radius).then_some(Stand { place, fix_at, distance })
    }
}
