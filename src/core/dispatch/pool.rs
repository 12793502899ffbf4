//! Batched: whoever waits at a window's end is matched at once.

use std::collections::BTreeMap;

use super::log::Decided;
use super::messages::Found;
use super::state::{Pending, Stage};
use super::{BookingId, Defect, Dispatch, ProviderId, Timestamp};
use crate::core::assignment::{Assignment, Edge, assign};

impl Dispatch {
    /// Matches all who are pooled, at least total cost, once nobody is asking any more (`late`: even so).
    ///
    /// Of the possible pairs as many as can be are made, then the cheapest; who goes without when someone must is
    /// decided by cost less the credit for waiting. O of [`assign`].
    pub(super) fn match_pool(&mut self, late: bool, now: Timestamp) {
        let pool = self.table.pool(late);
        if pool.is_empty() {
            return;
        }
        let mut searches = Vec::with_capacity(pool.len());
        for booking in pool {
            let Some(stage) = self.table.take(booking) else { continue };
            match stage {
                Stage::Pending(search) => searches.push((booking, search)),
                other => self.table.put(booking, other),
            }
        }
        for (_, search) in &mut searches {
            self.drop_taken(search, now);
        }
        let columns = columns(&searches);
        let assignment = solve(&searches, &columns, now);
        let (bookings, therapists) = (searches.len() as u32, columns.len() as u32);
        // First everybody gets his own, so that who goes without sees who is taken.
        let mut without = Vec::new();
        for ((booking, mut search), column) in searches.into_iter().zip(assignment.column_of) {
            let to = column
                .and_then(|column| columns.get(column))
                .and_then(|(provider, _)| search.queue.iter().find(|found| found.provider == *provider).copied());
            let provider = to.map(|found| found.provider);
            self.log(booking, now, Decided::Matched { bookings, therapists, provider });
            let queue = std::mem::take(&mut search.queue);
            match to {
                Some(found) => {
                    self.offer(&mut search, found, now);
                    self.settle(booking, &[], Some(Stage::Pending(search)), now);
                }
                None => {
                    // Everybody whom it could have had has another booking: the matching is as large as it can be.
                    search.skipped.extend(queue.iter().map(|found| found.provider));
                    without.push((booking, search));
                }
            }
        }
        for (booking, mut search) in without {
            if self.planted(Defect::LoserForgotten) {
                search.step = Pending::idle(search.job.deadline);
                self.table.put(booking, Stage::Pending(search));
                continue;
            }
            let next = self.widen(search, false, now);
            self.settle(booking, &[], next, now);
        }
    }

    /// Between the answer and the matching somebody may have been asked for another booking.
    fn drop_taken(&mut self, search: &mut Pending, now: Timestamp) {
        let queue = std::mem::take(&mut search.queue);
        for found in queue {
            if search.refused.contains(&found.provider) {
                continue;
            }
            if self.passes_over(search, &found, now) {
                search.skipped.insert(found.provider);
            } else {
                search.queue.push_back(found);
            }
        }
    }
}

/// Each therapist once, with his column.
type Columns = Vec<(ProviderId, usize)>;

fn columns(searches: &[(BookingId, Box<Pending>)]) -> Columns {
    let mut all: Vec<_> = searches.iter().flat_map(|(_, s)| s.queue.iter().map(|found| found.provider)).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().enumerate().map(|(column, provider)| (provider, column)).collect()
}

fn solve(searches: &[(BookingId, Box<Pending>)], columns: &Columns, now: Timestamp) -> Assignment {
    let column: BTreeMap<_, _> = columns.iter().copied().collect();
    let row = |search: &Pending| {
        let weights = search.job.rules.weights;
        let credit = weights.credit(now.since(search.job.created_at));
        let edge = |found: &Found| {
            let column = *column.get(&found.provider)?;
            Some(Edge { column, cost: weights.cost(&found.merit) - credit })
        };
        search.queue.iter().filter_map(edge).collect::<Vec<_>>()
    };
    let rows: Vec<_> = searches.iter().map(|(_, search)| row(search)).collect();
    assign(columns.len(), &rows)
}
