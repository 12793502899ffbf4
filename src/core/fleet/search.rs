//! The k nearest who may take a request: windows of growing size around the place, each scanned but for what the former
//! held, until nobody outside can be nearer than the k-th found. `docs/matching.md` shows why the answer is exact.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::Therapist;
use super::grid::{Chunk, Grid, place_of, unpack};
use super::tables::{Layer, Person, Tables};
use super::traits::Traits;
use super::window::{Window, haversine_at_most};
use super::word::{Overlap, Witness};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::ProviderId;
use crate::core::matching::{
    Answer, Candidate, Certificate, Precision, Request, Stand, Verdict, When, judge, tie_rank,
};
use crate::core::pricing::surcharge;
use crate::core::time::Timestamp;

/// One who was met: passed the sieve, not judged yet. The order is that of a heap with the nearest on top.
struct Met {
    /// No more than the haversine of his distance.
    at_least: f64,
    place: u64,
    slot: u32,
}

/// One found. The order is the answer's: by distance, then tie rank, then id; no two are equal.
struct Found {
    distance: Meters,
    tie: u64,
    provider: ProviderId,
    stand: Stand,
    slot: u32,
    therapist: Arc<Therapist>,
}

struct Search<'t> {
    tables: &'t Tables,
    request: &'t Request,
    now: Timestamp,
    needed: Traits,
    met: BinaryHeap<Met>,
    /// The best so far, the worst of them on top; at most as many as asked for.
    best: BinaryHeap<Found>,
    examined: u32,
    proven: Meters,
    /// Distances of all who may take it and were no farther than the k-th when they were judged; for public answers.
    eligible: Vec<Meters>,
}

/// The nearest who may take the request. `version` is asked at the instant of which the answer is true.
pub(super) fn nearest(
    tables: &Tables,
    request: &Request,
    now: Timestamp,
    version: impl Fn() -> u64,
) -> Result<Answer, Overlap> {
    if request.limit == 0 {
        return Ok(Answer::default());
    }
    let mut search = Search::new(tables, request, now);
    let mut witness = Witness::new();
    search.run(&mut witness)?;
    let answer = search.answer(version());
    witness.stands()?;
    Ok(answer)
}

/// The same about one therapist alone, who is in this slot. For the writer, or while nobody writes.
pub(super) fn only(tables: &Tables, slot: u32, request: &Request, now: Timestamp, version: u64) -> Answer {
    let mut search = Search::new(tables, request, now);
    if let Some(place) = tables.grid(layer_of(request)).packed(slot) {
        search.examined = 1;
        search.judge(&Met { at_least: 0.0, place, slot });
    }
    search.proven = search.bound();
    search.answer(version)
}

fn layer_of(request: &Request) -> Layer {
    Layer::of(request.when, request.precision)
}

impl<'t> Search<'t> {
    fn new(tables: &'t Tables, request: &'t Request, now: Timestamp) -> Self {
        Self {
            tables,
            request,
            now,
            needed: Traits::needed(request),
            met: BinaryHeap::new(),
            best: BinaryHeap::new(),
            examined: 0,
            proven: Meters::ZERO,
            eligible: Vec::new(),
        }
    }

    fn run(&mut self, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        let grid = self.tables.grid(layer_of(self.request));
        let mut done: Option<Window> = None;
        let mut reach = first_reach(grid, self.request.limit);
        loop {
            let scanned = reach.min(self.bound().get());
            let window = Window::around(grid.tiling(), self.request.place, Meters::new(scanned), done.as_ref());
            let limit = haversine_at_most(self.bound());
            let mut met = std::mem::take(&mut self.met).into_vec();
            grid.scan(&window, done.as_ref(), witness, |chunk| self.look(chunk, &window, limit, &mut met))?;
            self.met = BinaryHeap::from(met);
            self.judge_met();
            // Everybody within `scanned` has been met. Who matters is within the bound, and it only shrinks.
            if self.bound().get() <= scanned || window.is_whole_earth() {
                self.proven = self.bound();
                return Ok(());
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

    /// How far to look next: as far as is needed if that is known, else where enough should be found if they are as
    /// dense farther out. Only speed depends on it.
    fn next_reach(&self, scanned: f64) -> f64 {
        if self.best.len() == self.request.limit {
            return self.bound().get();
        }
        let wanted = self.request.limit as f64 / (self.best.len() as f64).max(0.5);
        scanned * (wanted.sqrt() * 1.1).clamp(1.25, 2.0)
    }

    fn look(&mut self, chunk: &Chunk, window: &Window, limit: f64, met: &mut Vec<Met>) {
        let (lat_e7, lng_e7) = (i64::from(self.request.place.lat_e7()), i64::from(self.request.place.lng_e7()));
        for (place, slot) in chunk.points() {
            self.examined += 1;
            let (lat, lng) = unpack(place);
            let at_least = window.haversine_at_least(i64::from(lat) - lat_e7, i64::from(lng) - lng_e7);
            if at_least <= limit && self.tables.traits(slot).may_satisfy(self.needed) {
                met.push(Met { at_least, place, slot });
            }
        }
    }

    /// Judges those who were met, the nearest first, until the next cannot be among the best.
    fn judge_met(&mut self) {
        let mut limit = haversine_at_most(self.bound());
        while self.met.peek().is_some_and(|next| next.at_least <= limit) {
            let Some(next) = self.met.pop() else { return };
            if self.judge(&next) {
                limit = haversine_at_most(self.bound());
            }
        }
    }

    /// True if he is among the best so far, and these are as many as asked for.
    fn judge(&mut self, met: &Met) -> bool {
        let Some(person) = self.tables.person(met.slot) else { return false };
        let Some(stand) = stand(person, met.place, self.request) else { return false };
        if stand.distance > self.bound() {
            return false;
        }
        let therapist = person.therapist().load();
        let Some(therapist) = therapist.as_ref() else { return false };
        if judge(therapist, &stand, self.request, self.now).is_err() {
            return false;
        }
        if matches!(self.request.precision, Precision::Public { .. }) {
            self.eligible.push(stand.distance);
        }
        let (provider, distance) = (therapist.provider, stand.distance);
        let tie = tie_rank(self.request.precision, provider);
        let found = || Found { distance, tie, provider, stand, slot: met.slot, therapist: Arc::clone(therapist) };
        if self.best.len() < self.request.limit {
            self.best.push(found());
            return self.best.len() == self.request.limit;
        }
        match self.best.peek_mut() {
            Some(mut worst) if (distance, tie, provider) < worst.rank() => {
                *worst = found();
                true
            }
            _ => false,
        }
    }

    fn answer(self, version: u64) -> Answer {
        let reach = self.bound();
        let considered = match self.request.precision {
            Precision::Exact => self.examined,
            Precision::Public { .. } => self.eligible.iter().filter(|&&distance| distance <= reach).count() as u32,
        };
        let candidate = |found: Found| {
            let offering = found.therapist.offering(self.request.service)?;
            Some(Candidate {
                place: found.stand.place,
                fix_age: found.stand.fix_at.map(|at| self.now.since(at)),
                distance: found.distance,
                price: offering.price,
                surcharge: surcharge(offering, found.distance),
                public: self.tables.person(found.slot)?.public(self.request.when)?,
                therapist: found.therapist,
            })
        };
        let candidates = self.best.into_sorted_vec().into_iter().filter_map(candidate).collect();
        let certificate = Certificate { version, proven: self.proven, examined: self.examined };
        Answer { candidates, considered, certificate }
    }
}

/// The first window: where the cells are crowded as they should be, as many as asked for are in it.
fn first_reach(grid: &Grid, limit: usize) -> f64 {
    grid.tiling().row_m() * (limit.min(1_000) as f64 / 50.0).sqrt()
}

/// Where one stands for a request, and how far.
fn stand(person: &Person, place: u64, request: &Request) -> Option<Stand> {
    let place: LatLng = place_of(place)?;
    let fix_at = match request.when {
        When::Now => Some(person.fix_at()),
        When::At { .. } => None,
    };
    Some(Stand { place, fix_at, distance: place.distance(request.place) })
}

/// Everybody within the asked radius with the first reason not to be eligible, nearest first.
pub(super) fn verdicts(tables: &Tables, request: &Request, now: Timestamp) -> Result<Vec<Verdict>, Overlap> {
    let (grid, mut witness, mut met) = (tables.grid(layer_of(request)), Witness::new(), Vec::new());
    let window = Window::around(grid.tiling(), request.place, request.radius, None);
    grid.scan(&window, None, &mut witness, |chunk| met.extend(chunk.points()))?;
    let verdict = |(place, slot): (u64, u32)| {
        let person = tables.person(slot)?;
        let stand = stand(person, place, request).filter(|stand| stand.distance <= request.radius)?;
        let therapist = person.therapist().load_full()?;
        let unfit = judge(&therapist, &stand, request, now).err();
        Some(Verdict { therapist, place: stand.place, distance: stand.distance, unfit })
    };
    let mut all: Vec<Verdict> = met.into_iter().filter_map(verdict).collect();
    witness.stands()?;
    all.sort_by_key(|v| (v.distance, tie_rank(request.precision, v.therapist.provider), v.therapist.provider));
    Ok(all)
}

impl Ord for Met {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at_least.total_cmp(&self.at_least)
    }
}

impl PartialOrd for Met {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Met {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Met {}

impl Found {
    const fn rank(&self) -> (Meters, u64, ProviderId) {
        (self.distance, self.tie, self.provider)
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Found {}
