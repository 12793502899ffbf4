//! All bookings and every index over them. Only [`Table::put`] and [`Table::take`] touch the indexes.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Pending, Stage};
use crate::core::ids::{BookingId, ProviderId};
use crate::core::time::Timestamp;

/// Every operation is O(log n) in the number of bookings.
#[derive(Default, Debug)]
pub(super) struct Table {
    bookings: BTreeMap<BookingId, Stage>,
    /// Each booking once, by when it is due.
    by_deadline: BTreeSet<(Timestamp, BookingId)>,
    /// Who has, or may have, whose live offer. Two bookings of one therapist: one of them is about to be refused.
    by_provider: BTreeSet<(ProviderId, BookingId)>,
    /// Asking or waiting for candidates, oldest booking first.
    seeking: BTreeSet<(Timestamp, BookingId)>,
}

impl Table {
    /// Puts a booking in; one that is there is replaced.
    pub(super) fn put(&mut self, booking: BookingId, stage: Stage) {
        self.take(booking);
        self.by_deadline.insert((stage.due(), booking));
        if let Some(provider) = stage.holds() {
            self.by_provider.insert((provider, booking));
        }
        if let Some(search) = stage.seeking() {
            self.seeking.insert((search.job.created_at, booking));
        }
        self.bookings.insert(booking, stage);
    }

    /// Takes a booking out.
    pub(super) fn take(&mut self, booking: BookingId) -> Option<Stage> {
        let stage = self.bookings.remove(&booking)?;
        self.by_deadline.remove(&(stage.due(), booking));
        if let Some(provider) = stage.holds() {
            self.by_provider.remove(&(provider, booking));
        }
        if let Some(search) = stage.seeking() {
            self.seeking.remove(&(search.job.created_at, booking));
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

    /// Whether the indexes say what the bookings say, and no therapist has two live offers.
    pub(super) fn check(&self) -> Result<(), String> {
        let deadlines: BTreeSet<_> = self.bookings.iter().map(|(&id, stage)| (stage.due(), id)).collect();
        same("by_deadline", &self.by_deadline, &deadlines)?;
        let providers: BTreeSet<_> =
            self.bookings.iter().filter_map(|(&id, stage)| Some((stage.holds()?, id))).collect();
        same("by_provider", &self.by_provider, &providers)?;
        let seeking: BTreeSet<_> =
            self.bookings.iter().filter_map(|(&id, stage)| Some((stage.seeking()?.job.created_at, id))).collect();
        same("seeking", &self.seeking, &seeking)?;
        let mut offered = BTreeMap::new();
        for (&id, stage) in &self.bookings {
            let Some(live) = stage.offered() else { continue };
            if let Some(other) = offered.insert(live.provider, id) {
                return Err(format!("therapist {} has live offers of bookings {other} and {id}", live.provider));
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
