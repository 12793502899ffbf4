//! All bookings and every index over them. Only [`Table::put`] and [`Table::take`] touch the indexes.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Pending, Stage, Step};
use crate::core::ids::{BookingId, ProviderId};
use crate::core::time::Timestamp;

/// Every operation is O(log n) in the number of bookings.
#[derive(Default, Debug)]
pub(super) struct Table {
    bookings: BTreeMap<BookingId, Stage>,
    /// Each booking once, by when it is due.
    by_deadline: BTreeSet<(Timestamp, BookingId)>,
    /// Who has, or may have, whose live offer, of bookings for now. Two bookings of one therapist: one of them is about to
    /// be refused.
    by_provider: BTreeSet<(ProviderId, BookingId)>,
    /// Asking or waiting for candidates, oldest booking first.
    seeking: BTreeSet<(Timestamp, BookingId)>,
    /// Batched searches that have candidates and are to be matched, oldest first.
    pooled: BTreeSet<(Timestamp, BookingId)>,
    /// Batched searches that ask for candidates.
    asking: BTreeSet<(Timestamp, BookingId)>,
    /// A planted defect.
    #[cfg(feature = "planted")]
    pub(super) keeps_stale: bool,
}

impl Table {
    /// Puts a booking in; one that is there is replaced.
    pub(super) fn put(&mut self, booking: BookingId, stage: Stage) {
        self.take(booking);
        self.by_deadline.insert((stage.due(), booking));
        for provider in stage.holds() {
            self.by_provider.insert((provider, booking));
        }
        if let Some(search) = stage.seeking() {
            self.seeking.insert((search.job.created_at, booking));
        }
        if let Some((search, asking)) = stage.in_window() {
            let index = if asking { &mut self.asking } else { &mut self.pooled };
            index.insert((search.job.created_at, booking));
        }
        self.bookings.insert(booking, stage);
    }

    /// Takes a booking out.
    pub(super) fn take(&mut self, booking: BookingId) -> Option<Stage> {
        let stage = self.bookings.remove(&booking)?;
        self.by_deadline.remove(&(stage.due(), booking));
        #[cfg(feature = "planted")]
        if self.keeps_stale && matches!(stage, Stage::Checking { .. }) {
            return Some(stage);
        }
        for provider in stage.holds() {
            self.by_provider.remove(&(provider, booking));
        }
        if let Some(search) = stage.seeking() {
            self.seeking.remove(&(search.job.created_at, booking));
        }
        if let Some((search, asking)) = stage.in_window() {
            let index = if asking { &mut self.asking } else { &mut self.pooled };
            index.remove(&(search.job.created_at, booking));
        }
        Some(stage)
    }

    pub(super) fn get(&self, booking: BookingId) -> Option<&Stage> {
        self.bookings.get(&booking)
    }

    pub(super) fn len(&self) -> usize {
        self.bookings.len()
    }

    pub(super) fn ids(&self) -> Vec<BookingId> {
        self.bookings.keys().copied().collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.first().map(|&(at, _)| at)
    }

    /// Bookings due at `now`, the longest overdue first.
    pub(super) fn due(&self, now: Timestamp) -> Vec<BookingId> {
        self.by_deadline.range(..=(now, BookingId(i64::MAX))).map(|&(_, booking)| booking).collect()
    }

    /// Bookings whose live offer this therapist has, or may have.
    pub(super) fn held_by(&self, provider: ProviderId) -> impl Iterator<Item = BookingId> {
        let all = (provider, BookingId(i64::MIN))..=(provider, BookingId(i64::MAX));
        self.by_provider.range(all).map(|&(_, booking)| booking)
    }

    /// Bookings that ask or wait for candidates, those that match, oldest first. O(n) in their number.
    pub(super) fn seeking(&self, matches: impl Fn(&Pending) -> bool) -> Vec<BookingId> {
        let seeking = self.seeking.iter().map(|&(_, booking)| booking);
        let search = |booking: BookingId| self.bookings.get(&booking).and_then(Stage::seeking);
        seeking.filter(|&booking| search(booking).is_some_and(&matches)).collect()
    }

    /// Batched searches to be matched now, oldest first: all that have candidates, once nobody is asking any more, or
    /// (`late`) when one of them has waited long enough for the others.
    pub(super) fn pool(&self, late: bool) -> Vec<BookingId> {
        if !late && !self.asking.is_empty() {
            return Vec::new();
        }
        self.pooled.iter().map(|&(_, booking)| booking).collect()
    }

    /// Whether the indexes say what the bookings say, and no therapist has two live offers.
    pub(super) fn check(&self) -> Result<(), String> {
        let deadlines: BTreeSet<_> = self.bookings.iter().map(|(&id, stage)| (stage.due(), id)).collect();
        same("by_deadline", &self.by_deadline, &deadlines)?;
        let providers: BTreeSet<_> =
            self.bookings.iter().flat_map(|(&id, stage)| stage.holds().into_iter().map(move |p| (p, id))).collect();
        same("by_provider", &self.by_provider, &providers)?;
        let seeking: BTreeSet<_> =
            self.bookings.iter().filter_map(|(&id, stage)| Some((stage.seeking()?.job.created_at, id))).collect();
        same("seeking", &self.seeking, &seeking)?;
        let in_window = |wanted: bool| {
            let one = move |(&id, stage): (&BookingId, &Stage)| {
                let (search, asking) = stage.in_window()?;
                (asking == wanted).then_some((search.job.created_at, id))
            };
            self.bookings.iter().filter_map(one).collect::<BTreeSet<_>>()
        };
        same("pooled", &self.pooled, &in_window(false))?;
        same("asking", &self.asking, &in_window(true))?;
        let mut offered = BTreeMap::new();
        for (&id, stage) in &self.bookings {
            for live in stage.offered() {
                if let Some(other) = offered.insert(live.provider, id) {
                    return Err(format!("therapist {} has live offers of bookings {other} and {id}", live.provider));
                }
            }
            if let Stage::Pending(search) = stage
                && matches!(&search.step, Step::Offering { outs, .. } if outs.is_empty())
            {
                return Err(format!("booking {id} asks nobody and waits for nothing"));
            }
        }
        Ok(())
    }
}

fn same<T: Ord + std::fmt::Debug>(name: &str, index: &BTreeSet<T>, bookings: &BTreeSet<T>) -> Result<(), String> {
    if index == bookings {
        return Ok(());
    }
    let stale: Vec<_> = index.difference(bookings).collect();
    let missing: Vec<_> = bookings.difference(index).collect();
    Err(format!("index {name}: stale {stale:?}, missing {missing:?}"))
}
