//! What must hold, step by step and in the end.

use std::collections::BTreeMap;

use spacall::core::dispatch::{EndReason, Policy};
use spacall::core::ids::{BookingId, OfferId, ProviderId};

use super::store::{Booking, OfferStatus, Status};
use super::world::World;

const SECOND: i64 = 1_000_000;
/// While things go wrong: longer than lost news (30 s to the next reconciliation) and a lost answer or two (10 s each).
const SOON: i64 = 90 * SECOND;
/// In calm weather, once the storm's traces are gone: less than the 2 s after which a waiting booking asks unprompted.
const AT_ONCE: i64 = 3 * SECOND / 2;
const TRACES: i64 = 70 * SECOND;
/// Of a booking that nobody drove in his time, whom it names has it anew.
const HIS_TIME: i64 = 65 * SECOND;
/// An ending that the database refused (its clock was set back) is tried again within this.
const TRIED_AGAIN: i64 = 6 * SECOND;
/// A scheduled booking that found nobody hears of no supply: it asks again after so long.
const ASKS_AGAIN: i64 = 10 * SECOND;

/// What has been going on for how long. Time that really passed, so that the jumping clock does not matter.
#[derive(Default)]
pub(crate) struct Promises {
    overdue_since: BTreeMap<BookingId, i64>,
    neglected_since: BTreeMap<(BookingId, ProviderId), i64>,
    unanswered_since: BTreeMap<OfferId, i64>,
    waited_for_since: BTreeMap<BookingId, i64>,
    calm_since: Option<i64>,
    /// Writes and time up to which the promises were looked at.
    writes: u64,
    elapsed: i64,
}

impl Promises {
    /// After every step.
    pub(crate) fn hold(&mut self, world: &World) {
        world.machine.check().expect("the machine's indexes agree");
        let written = self.writes != world.store.writes;
        if written {
            self.writes = world.store.writes;
            world.store.check().expect("one winner, no therapist twice");
        }
        let per_second = world.effects as f64 / (world.elapsed as f64 / 1e6 + 10.0);
        assert!(per_second < 60.0, "the machine runs hot: {per_second} effects a second");
        if world.outage || world.down {
            self.overdue_since.clear();
            self.neglected_since.clear();
            self.unanswered_since.clear();
            self.waited_for_since.clear();
            return;
        }
        if written || world.elapsed - self.elapsed >= SECOND / 2 {
            self.elapsed = world.elapsed;
            self.nobody_waits_for_ever(world);
            self.nobody_is_overlooked(world);
            self.who_cannot_be_asked_is_waited_for_no_longer_than_who_is_silent(world);
            self.no_offer_outlives_its_time(world);
        }
    }

    /// How long something may be out of order just now.
    fn patience(&self, world: &World) -> i64 {
        let settled = self.calm_since.is_some_and(|since| world.elapsed - since > TRACES);
        if settled { AT_ONCE } else { SOON }
    }

    fn no_offer_outlives_its_time(&mut self, world: &World) {
        let now = world.database_now();
        let mut late = BTreeMap::new();
        let late_offers = world.store.live().filter(|(_, offer)| offer.expires_at <= now);
        for (id, _) in late_offers.filter(|(_, offer)| !world.is_to_end(offer.booking)) {
            let since = self.unanswered_since.get(&id).copied().unwrap_or(world.elapsed);
            assert!(world.elapsed - since < self.patience(world), "offer {id} outlives its time");
            late.insert(id, since);
        }
        self.unanswered_since = late;
    }

    fn nobody_waits_for_ever(&mut self, world: &World) {
        let now = world.database_now();
        let overdue = |id: BookingId, row: &Booking| row.as_row(id).is_overdue(now);
        let limit = self.patience(world);
        self.overdue_since.retain(|&id, _| world.store.bookings.get(&id).is_some_and(|row| overdue(id, row)));
        for (&id, _) in world.store.bookings.iter().filter(|(id, row)| overdue(**id, row)) {
            let since = *self.overdue_since.entry(id).or_insert(world.elapsed);
            let limit = if world.given_up.contains_key(&id) { limit.max(TRIED_AGAIN) } else { limit };
            assert!(world.elapsed - since < limit, "booking {id} is overdue since {} s", since / SECOND);
        }
    }

    /// A booking for now that names its therapist ends when he would be silent: asked or not. (Late offers have their time.)
    fn who_cannot_be_asked_is_waited_for_no_longer_than_who_is_silent(&mut self, world: &World) {
        let now = world.database_now();
        let settled = self.patience(world) == AT_ONCE;
        let mut waited_for = BTreeMap::new();
        let pending = |row: &Booking| row.status == Status::Pending && row.chosen.is_some() && row.wanted.is_none();
        for (&id, _) in world.store.bookings.iter().filter(|(_, row)| pending(row) && row.answer_by() <= now) {
            if world.is_to_end(id) || world.store.live().any(|(_, offer)| offer.booking == id) {
                continue;
            }
            let since = self.waited_for_since.get(&id).copied().unwrap_or(world.elapsed);
            let limit = if settled { TRIED_AGAIN } else { SOON + HIS_TIME };
            assert!(world.elapsed - since < limit, "booking {id} waits for who cannot be asked");
            waited_for.insert(id, since);
        }
        self.waited_for_since = waited_for;
    }

    /// A booking with nobody asked, and an idle therapist within reach who was not asked yet, find each other.
    fn nobody_is_overlooked(&mut self, world: &World) {
        let now = world.database_now();
        let store = &world.store;
        let limit = self.patience(world);
        let mut lonely = BTreeMap::new();
        for (&id, row) in store.bookings.iter().filter(|(_, row)| row.status == Status::Pending && row.deadline > now) {
            if world.is_to_end(id) || store.live().any(|(_, offer)| offer.booking == id) {
                continue;
            }
            for (provider, _) in store.nearest(id, row.rules.radius_max, &store.excluded(id), row.chosen, false, now) {
                let since = self.neglected_since.get(&(id, provider)).copied().unwrap_or(world.elapsed);
                // The other may have come to its own end with him.
                let since = world.gave_way.get(&id).map_or(since, |&at| since.max(at));
                let window = match row.rules.policy {
                    _ if row.wanted.is_some() => ASKS_AGAIN,
                    Policy::Batched { window } if row.chosen.is_none() => window.as_micros() as i64,
                    _ => 0,
                };
                assert!(world.elapsed - since < limit + window, "booking {id} overlooks therapist {provider}");
                lonely.insert((id, provider), since);
            }
        }
        self.neglected_since = lonely;
    }

    /// In calm weather, everything ends.
    pub(crate) fn end(&mut self, world: &mut World) {
        let start = world.elapsed;
        self.calm_since = Some(start);
        let open = |row: &Booking| matches!(row.status, Status::Pending | Status::Accepted);
        let mut over_since = None;
        while !world.machine.is_empty() || world.store.bookings.values().any(open) {
            world.step();
            self.hold(world);
            assert!(world.elapsed - start < 7_200 * SECOND, "some booking never ends, or is forgotten");
            if world.store.bookings.values().any(open) || world.elapsed - start < TRACES {
                over_since = None;
                continue;
            }
            let since = *over_since.get_or_insert(world.elapsed);
            assert!(world.elapsed - since < AT_ONCE, "the machine keeps a booking that is over");
        }
        let live = world.store.live().next().map(|(id, _)| id);
        assert_eq!(live, None, "an offer is lost");
    }
}

impl World {
    /// Nothing is given up before its time.
    pub(crate) fn check_ending(&self, booking: BookingId, reason: EndReason) {
        let Some(row) = self.store.bookings.get(&booking).filter(|row| row.status == Status::Pending) else { return };
        let answered = |status| {
            let of = |offer: &&super::store::Offer| offer.booking == booking && Some(offer.provider) == row.chosen;
            self.store.offers.values().filter(of).any(|offer| offer.status == status)
        };
        let soon = self.database_now().plus(std::time::Duration::from_secs(1));
        // No search of a booking ends before its first one would have, or the newest (after a clock that was set back).
        let over = row.first_deadline.min(row.deadline) <= soon;
        let fine = match reason {
            EndReason::NoTherapistAvailable => over && row.chosen.is_none(),
            EndReason::ProviderDeclined => answered(OfferStatus::Declined),
            EndReason::ProviderDidNotAnswer => row.chosen.is_some() && row.answer_by() <= soon,
        };
        assert!(fine, "booking {booking} is ended with {reason:?} before its time");
    }
}
