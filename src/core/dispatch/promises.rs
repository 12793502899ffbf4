//! What dispatch promises, as predicates over the rows: the model test looks after every step, the service now and then.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

/// A booking that is neither over nor begun to be forgotten: pending, or somebody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookingRow {
    /// Which.
    pub booking: BookingId,
    /// Whether it waits for an accept.
    pub pending: bool,
    /// The therapist who can have no other such booking: he is on this one. (`None` while pending, for a later time, and
    /// for a store's, which has rooms.)
    pub occupies: Option<ProviderId>,
    /// When something must have been done about it: a pending one be ended, an accepted one be taken back from who did
    /// not set out. `None`: nothing.
    pub due: Option<Timestamp>,
}

/// An offer that is unanswered, or the accepted one of a booking that is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferRow {
    /// Which.
    pub offer: OfferId,
    /// Of what.
    pub booking: BookingId,
    /// To whom.
    pub provider: ProviderId,
    /// Accepted; else unanswered.
    pub accepted: bool,
    /// Whether he can have no other unanswered one. (Offers of scheduled bookings may come together.)
    pub exclusive: bool,
    /// As committed.
    pub expires_at: Timestamp,
}

impl BookingRow {
    /// Nobody saw to it in time.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

impl OfferRow {
    /// Unanswered beyond its time, and nobody closed it.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        !self.accepted && self.expires_at <= now
    }
}

/// What must hold at every instant, whatever dispatch does; what is listed breaks it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Broken {
    /// A booking has one winner: these have several accepted offers.
    pub several_winners: BTreeSet<BookingId>,
    /// A therapist is on one booking: these are on several.
    pub several_bookings: BTreeSet<ProviderId>,
    /// A therapist is asked once at a time: these have several unanswered offers.
    pub several_offers: BTreeSet<ProviderId>,
    /// An offer ends with its search: these are of bookings that do not wait for an accept (any more).
    pub orphans: BTreeSet<OfferId>,
}

impl Broken {
    /// Looks at one snapshot. O(n log n).
    pub fn among(bookings: &[BookingRow], offers: &[OfferRow]) -> Self {
        let pending: BTreeSet<_> = bookings.iter().filter(|row| row.pending).map(|row| row.booking).collect();
        let unanswered = || offers.iter().filter(|offer| !offer.accepted);
        Self {
            several_winners: repeated(offers.iter().filter(|offer| offer.accepted).map(|offer| offer.booking)),
            several_bookings: repeated(bookings.iter().filter_map(|row| row.occupies)),
            several_offers: repeated(unanswered().filter(|offer| offer.exclusive).map(|offer| offer.provider)),
            orphans: unanswered().filter(|o| !pending.contains(&o.booking)).map(|o| o.offer).collect(),
        }
    }

    /// Whether all holds.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn repeated<T: Ord>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut counts = BTreeMap::<T, u32>::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(one, _)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn booking(id: i64, pending: bool, occupies: Option<i64>) -> BookingRow {
        BookingRow { booking: BookingId(id), pending, occupies: occupies.map(ProviderId), due: None }
    }

    fn offer(id: i64, booking: i64, provider: i64, accepted: bool) -> OfferRow {
        let (offer, booking, provider) = (OfferId(id), BookingId(booking), ProviderId(provider));
        OfferRow { offer, booking, provider, accepted, exclusive: true, expires_at: NOW }
    }

    #[test]
    fn each_broken_promise_is_found_and_nothing_else() {
        let bookings = [booking(1, true, None), booking(2, false, Some(20))];
        let good = [offer(1, 1, 10, false), offer(2, 2, 20, true)];
        assert!(Broken::among(&bookings, &good).is_empty());
        let broken = |bookings: &[BookingRow], offers: &[OfferRow]| Broken::among(bookings, offers);
        let twice = broken(&bookings, &[good[1], offer(3, 2, 30, true)]);
        assert_eq!(twice, Broken { several_winners: [BookingId(2)].into(), ..Broken::default() });
        let busy = broken(&[bookings[1], booking(3, false, Some(20))], &[]);
        assert_eq!(busy, Broken { several_bookings: [ProviderId(20)].into(), ..Broken::default() });
        let asked = broken(&[bookings[0], booking(4, true, None)], &[good[0], offer(5, 4, 10, false)]);
        assert_eq!(asked, Broken { several_offers: [ProviderId(10)].into(), ..Broken::default() });
        let left = broken(&bookings, &[offer(6, 2, 10, false), offer(7, 99, 11, false)]);
        assert_eq!(left, Broken { orphans: [OfferId(6), OfferId(7)].into(), ..Broken::default() });
        let later = OfferRow { exclusive: false, ..good[0] };
        assert!(broken(&bookings, &[later, later]).is_empty());
    }

    #[test]
    fn overdue_begins_with_the_deadline() {
        let late = BookingRow { due: Some(NOW), ..booking(1, true, None) };
        assert!(late.is_overdue(NOW) && !late.is_overdue(Timestamp::from_secs(99)));
        assert!(offer(1, 1, 1, false).is_overdue(NOW) && !offer(1, 1, 1, true).is_overdue(NOW));
    }
}
