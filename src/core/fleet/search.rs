//! The k nearest who may take a request: windows of growing size around the place, each scanned but for what the former
//! held, until nobody outside can be nearer than the k-th found. `docs/matching.md` shows why the answer is exact.

use std::collections::BinaryHeap;
use std::sync::Arc;

use super::grid::Chunk;
use super::state::{Entry, State};
use super::traits::Traits;
use super::window::{Window, haversine_at_most};
use crate::core::geo::{LatLng, Meters, PUBLIC_CELL_CIRCUMRADIUS};
use crate::core::ids::ProviderId;
use crate::core::matching::{Answer, Candidate, Precision, Request, Stand, Verdict, When, judge, tie_rank};
use crate::core::pricing::surcharge;
use crate::core::time::Timestamp;

/// The first window reaches this far: in a city the nearest ten are there.
const FIRST_REACH_M: f64 = 250.0;

/// One found. The order is the answer's: by distance, then tie rank, then id; no two are equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    distance: Meters,
    tie: u64,
    provider: ProviderId,
    slot: u32,
}

struct Search<'a> {
    state: &'a State,
    request: &'a Request,
    now: Timestamp,
    needed: Traits,
    /// The best so far, the worst of them on top; at most as many as asked for.
    best: BinaryHeap<Ranked>,
    looked_at: u32,
    /// Distances of all who may take it and were no farther than the k-th when they were met; for public answers.
    eligible: Vec<Meters>,
}

/// How far a position may be from where it is ranked.
const fn slack(precision: Precision) -> f64 {
    match precision {
        Precision::Exact => 0.0,
        Precision::Public { .. } => PUBLIC_CELL_CIRCUMRADIUS.get(),
    }
}

/// The nearest who may take the request.
pub(super) fn nearest(state: &State, request: &Request, now: Timestamp) -> Answer {
    if request.limit == 0 {
        return Answer::default();
    }
    let needed = Traits::needed(request);
    let mut search =
        Search { state, request, now, needed, best: BinaryHeap::new(), looked_at: 0, eligible: Vec::new() };
    match request.only {
        Some(only) => {
            if let Some(slot) = state.slot_of(only) {
                search.meet(slot);
            }
        }
        None => search.run(),
    }
    search.answer()
}

impl Search<'_> {
    fn run(&mut self) {
        let layer = self.state.layer(self.request.when);
        let mut done: Option<Window> = None;
        let mut reach = FIRST_REACH_M;
        loop {
            let scanned = reach.min(self.bound_with_slack());
            let window = Window::around(self.request.place, Meters::new(scanned), done.as_ref());
            layer.grid.scan(&window, done.as_ref(), |chunk| self.look(chunk, &window));
            // Everybody within `scanned` has been met. Who matters is within the bound, and it only shrinks.
            if self.bound_with_slack() <= scanned || window.is_whole_earth() {
                return;
            }
            reach = self.next_reach(scanned);
            done = Some(window);
        }
    }

    /// Nobody who is ranked farther than this belongs into the answer.
    fn bound(&self) -> Meters {
        match self.best.peek() {
            Some(worst) if self.best.len() == self.request.limit => worst.distance.min(self.request.radius),
            _ => self.request.radius,
        }
    }

    /// The same for positions, which in public answers are not where they are ranked.
    fn bound_with_slack(&self) -> f64 {
        self.bound().get() + slack(self.request.precision)
    }

    /// How far to look next: as far as is needed if that is known, else where enough should be found if they are as
    /// dense farther out. Only speed depends on it.
    fn next_reach(&self, scanned: f64) -> f64 {
        if self.best.len() == self.request.limit {
            return self.bound_with_slack();
        }
        let wanted = self.request.limit as f64 / (self.best.len() as f64).max(0.5);
        scanned * (wanted.sqrt() * 1.1).clamp(1.25, 2.0)
    }

    fn look(&mut self, chunk: &Chunk, window: &Window) {
        let place = self.request.place;
        let mut limit = haversine_at_most(Meters::new(self.bound_with_slack()));
        for (lat_e7, lng_e7, slot) in chunk.points() {
            self.looked_at += 1;
            let dlat = i64::from(lat_e7) - i64::from(place.lat_e7());
            let dlng = i64::from(lng_e7) - i64::from(place.lng_e7());
            if window.haversine_at_least(dlat, dlng) <= limit
                && self.state.traits[slot as usize].may_satisfy(self.needed)
                && self.meet(slot)
            {
                limit = haversine_at_most(Meters::new(self.bound_with_slack()));
            }
        }
    }

    /// Judges one; true if he is among the best so far.
    fn meet(&mut self, slot: u32) -> bool {
        let Some(entry) = self.state.entry(slot) else { return false };
        let Some(stand) = stand(self.state, slot, entry, self.request) else { return false };
        if stand.distance > self.bound() || judge(&entry.therapist, &stand, self.request, self.now).is_err() {
            return false;
        }
        if matches!(self.request.precision, Precision::Public { .. }) {
            self.eligible.push(stand.distance);
        }
        let provider = entry.therapist.provider;
        let tie = tie_rank(self.request.precision, provider);
        let ranked = Ranked { distance: stand.distance, tie, provider, slot };
        if self.best.len() < self.request.limit {
            self.best.push(ranked);
            return true;
        }
        match self.best.peek_mut() {
            Some(mut worst) if ranked < *worst => {
                *worst = ranked;
                true
            }
            _ => false,
        }
    }

    fn answer(self) -> Answer {
        let reach = self.bound();
        let considered = match self.request.precision {
            Precision::Exact => self.looked_at,
            Precision::Public { .. } => self.eligible.iter().filter(|&&distance| distance <= reach).count() as u32,
        };
        let candidate = |ranked: &Ranked| {
            let entry = self.state.entry(ranked.slot)?;
            let stand = stand(self.state, ranked.slot, entry, self.request)?;
            let offering = judge(&entry.therapist, &stand, self.request, self.now).ok()?;
            Some(Candidate {
                therapist: Arc::clone(&entry.therapist),
                place: stand.place,
                fix_age: stand.fix_at.map(|at| self.now.since(at)),
                distance: stand.distance,
                price: offering.price,
                surcharge: surcharge(offering, stand.distance),
            })
        };
        let mut best = self.best.into_vec();
        best.sort_unstable();
        Answer { candidates: best.iter().filter_map(candidate).collect(), considered }
    }
}

/// Where one stands for a request, and how far; `None` if nowhere.
fn stand(state: &State, slot: u32, entry: &Entry, request: &Request) -> Option<Stand> {
    let layer = state.layer(request.when);
    let place: LatLng = match request.precision {
        Precision::Exact => layer.grid.place(slot)?,
        Precision::Public { .. } => layer.centre(slot)?,
    };
    let fix_at = match request.when {
        When::Now => entry.track.last().map(|fix| fix.at),
        When::At { .. } => None,
    };
    Some(Stand { place, fix_at, distance: place.distance(request.place) })
}

/// Everybody within the asked radius with the first reason not to be eligible, nearest first.
pub(super) fn verdicts(state: &State, request: &Request, now: Timestamp) -> Vec<Verdict> {
    let mut all = Vec::new();
    let window = Window::around(request.place, Meters::new(request.radius.get() + slack(request.precision)), None);
    state.layer(request.when).grid.scan(&window, None, |chunk| {
        for (_, _, slot) in chunk.points() {
            let Some(entry) = state.entry(slot) else { continue };
            let Some(stand) = stand(state, slot, entry, request).filter(|s| s.distance <= request.radius) else {
                continue;
            };
            let unfit = judge(&entry.therapist, &stand, request, now).err();
            let therapist = Arc::clone(&entry.therapist);
            all.push(Verdict { therapist, place: stand.place, distance: stand.distance, unfit });
        }
    });
    all.sort_by_key(|v| (v.distance, tie_rank(request.precision, v.therapist.provider), v.therapist.provider));
    all
}
