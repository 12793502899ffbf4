//! The k nearest who may take a request: windows of growing size around the place, each scanned but for what the former
//! held, until nobody outside can be nearer than the k-th found. `docs/matching.md` shows why the answer is exact.

use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;

use super::Therapist;

use super::chunk::{Point, Points, ROOM, place_of};
use super::grid::Grid;
use super::person::{self, Person};
use super::prefetch::{prefetch, prefetch_whole};
use super::tables::{Layer, Tables};
use super::traits::Traits;
use super::window::{Window, haversine_at_most};
use super::word::{Overlap, Witness};
use crate::core::geo::{LatLng, Meters, PublicPosition, Vantage, public_position};
use crate::core::ids::ProviderId;
use crate::core::matching::{Answer, Candidate, Certificate, Request, Stand, Verdict, When, judge, tie_rank};
use crate::core::pricing::surcharge;
use crate::core::time::Timestamp;

/// One found. The order is the answer's: by distance, then tie rank, then id; no two are equal.
#[derive(Clone, Copy)]
struct Found {
    distance: Meters,
    tie: u64,
    provider: ProviderId,
    place: LatLng,
    fix_at: Option<Timestamp>,
    slot: u32,
}

/// The attributes of somebody, who may have been removed meanwhile.
type Held = Guard<Option<Arc<Therapist>>>;

/// So many are looked at together: as many as can be held without being counted.
const AT_ONCE: usize = 8;

/// So many are met without asking for memory.
const FEW: usize = 64;

/// How near somebody may be, a lower bound of his haversine, above where he was met: the number of the chunk and his
/// place in it. The order of keys is that of the bounds, for positive floats are ordered like their bits.
fn key(at_least: f32, chunk: usize, at: usize) -> u64 {
    u64::from(at_least.to_bits()) << 32 | (chunk * PLACES + at) as u64
}

/// The lower bound.
fn bound_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

/// The chunk's number and the place in it.
const fn met_at(key: u64) -> (usize, usize) {
    let number = key as u32 as usize;
    (number / PLACES, number % PLACES)
}

/// More than a chunk has.
const PLACES: usize = ROOM.next_power_of_two();

struct Search<'t> {
    tables: &'t Tables,
    request: &'t Request,
    now: Timestamp,
    vantage: Vantage,
    needed: Traits,
    quick: bool,
    /// The last distance that was measured: in public answers many stand at one place.
    measured: Option<(u64, Meters)>,
    /// The chunks that were met.
    chunks: SmallVec<[Points<'t>; FEW]>,
    /// The [`key`]s of those to judge next.
    near: SmallVec<[u64; FEW]>,
    /// The keys of those who were met beyond what was scanned.
    far: SmallVec<[u64; FEW]>,
    /// The best so far, in order; at most as many as asked for.
    best: Vec<Found>,
    examined: u32,
}

/// What a search takes with it out of the index: what is left to do needs nobody to wait.
#[derive(Default)]
pub(super) struct Taken {
    /// With the public position of the fix, if that is what is asked for.
    best: Vec<(Found, Arc<Therapist>, Option<PublicPosition>)>,
    certificate: Certificate,
}

impl Taken {
    /// With prices.
    pub(super) fn answer(self, request: &Request, now: Timestamp) -> Answer {
        let candidate = |(found, therapist, public): (Found, Arc<Therapist>, Option<PublicPosition>)| {
            let offering = therapist.offering(request.service)?;
            Some(Candidate {
                place: found.place,
                fix_age: found.fix_at.map(|at| now.since(at)),
                distance: found.distance,
                price: offering.price,
                surcharge: surcharge(&offering, found.distance),
                public: public.unwrap_or_else(|| public_position(found.place)),
                therapist,
            })
        };
        let candidates = self.best.into_iter().filter_map(candidate).collect();
        Answer { candidates, certificate: self.certificate }
    }
}

/// The nearest who may take the request. `version`: how many changes these tables had seen at least.
pub(super) fn nearest(tables: &Tables, request: &Request, now: Timestamp, version: u64) -> Result<Taken, Overlap> {
    if request.limit == 0 {
        return Ok(Taken::default());
    }
    let mut search = Search::new(tables, request, now);
    let mut witness = Witness::new();
    search.run(&mut witness)?;
    let taken = search.take(version);
    witness.stands()?;
    Ok(taken)
}

/// The same, but only who and how far.
pub(super) fn ranking(
    tables: &Tables,
    request: &Request,
    now: Timestamp,
) -> Result<Vec<(ProviderId, Meters)>, Overlap> {
    let mut search = Search::new(tables, request, now);
    let mut witness = Witness::new();
    if request.limit > 0 {
        search.run(&mut witness)?;
    }
    witness.stands()?;
    Ok(search.best.iter().map(|found| (found.provider, found.distance)).collect())
}

/// The nearest if only the therapist in this slot is asked for. While nobody writes.
pub(super) fn only(tables: &Tables, slot: u32, request: &Request, now: Timestamp, version: u64) -> Taken {
    let mut search = Search::new(tables, request, now);
    if let Some(point) = tables.grid(layer_of(request)).point(slot) {
        search.examined = 1;
        if let Some(person) = tables.person(slot).filter(|_| point.traits.may_satisfy(search.needed)) {
            search.judge(point, person);
        }
    }
    let mut taken = search.take(version);
    // Nobody else was looked at.
    taken.certificate.proven = Meters::ZERO;
    taken
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
            vantage: Vantage::of(request.place),
            needed: Traits::needed(request),
            quick: person::is_quick(request),
            measured: None,
            chunks: SmallVec::new(),
            near: SmallVec::new(),
            far: SmallVec::new(),
            best: Vec::with_capacity(request.limit.min(FEW)),
            examined: 0,
        }
    }

    fn run(&mut self, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        let grid = self.tables.grid(layer_of(self.request));
        let mut done: Option<Window> = None;
        let mut reach = first_reach(grid, self.request.limit);
        loop {
            let scanned = reach.min(self.bound().get());
            let window = Window::around(grid.tiling(), self.request.place, Meters::new(scanned), done.as_ref());
            let reached = haversine_at_most(Meters::new(scanned));
            let limit = haversine_at_most(self.bound());
            self.come_near(reached);
            grid.scan(&window, done.as_ref(), witness, |points| self.look(points, &window, reached, limit))?;
            self.judge_near();
            // Everybody within `scanned` has been met. Who matters is within the bound, and it only shrinks.
            if self.bound().get() <= scanned || window.is_whole_earth() {
                return Ok(());
            }
            reach = self.next_reach(scanned);
            done = Some(window);
        }
    }

    /// Nobody who is ranked farther than this belongs into the answer.
    fn bound(&self) -> Meters {
        match self.best.last() {
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

    /// Sorts the points of a chunk into near, far, and out of the question.
    #[inline]
    fn look(&mut self, points: Points<'t>, window: &Window, reached: f32, limit: f32) {
        self.examined += points.len() as u32;
        let (lat_e7, lng_e7) = points.coordinates();
        let bounds = window.haversines_at_least(&lat_e7, &lng_e7);
        for (at, &at_least) in bounds[..points.len()].iter().enumerate() {
            if at_least > limit || !points.traits(at).may_satisfy(self.needed) {
                continue;
            }
            let key = key(at_least, self.chunks.len(), at);
            if at_least > reached {
                self.far.push(key);
            } else {
                self.near.push(key);
                self.tables.prefetch_person(points.slot(at));
            }
        }
        self.chunks.push(points);
    }

    /// Those who were far and are not any more.
    fn come_near(&mut self, reached: f32) {
        let Self { tables, chunks, near, far, .. } = self;
        far.retain(|key| {
            let (chunk, at) = met_at(*key);
            let stays = bound_of(*key) > reached;
            if !stays {
                near.push(*key);
                tables.prefetch_person(chunks[chunk].slot(at));
            }
            stays
        });
    }

    /// Judges those who are near, the apparently nearest first, until the next cannot be among the best: nobody of the
    /// others will be, for the bound only shrinks.
    fn judge_near(&mut self) {
        let mut near = std::mem::take(&mut self.near);
        near.sort_unstable();
        let mut limit = haversine_at_most(self.bound());
        for some in near.chunks(AT_ONCE) {
            let points: SmallVec<[_; AT_ONCE]> = some.iter().map(|key| self.point(*key)).collect();
            if !self.quick {
                drop(self.hold(points.iter().map(|point| point.slot)));
            }
            for (key, point) in some.iter().zip(points) {
                if bound_of(*key) > limit {
                    return;
                }
                if let Some(person) = self.tables.person(point.slot)
                    && self.judge(point, person)
                {
                    limit = haversine_at_most(self.bound());
                }
            }
        }
    }

    fn point(&self, key: u64) -> Point {
        let (chunk, at) = met_at(key);
        self.chunks[chunk].get(at)
    }

    /// Who is in each of these slots, and asks for what is read of them, step by step: none waits for the lines of another.
    fn hold(&self, slots: impl Iterator<Item = u32>) -> SmallVec<[Option<(&'t Person, Held)>; AT_ONCE]> {
        let held: SmallVec<[_; AT_ONCE]> =
            slots.map(|slot| self.tables.person(slot).map(|person| (person, person.therapist().load()))).collect();
        let therapists = || held.iter().flatten().filter_map(|(_, therapist)| therapist.as_ref());
        therapists().for_each(|therapist| prefetch_whole(&**therapist));
        therapists().filter_map(|therapist| therapist.services.first()).for_each(prefetch);
        held
    }

    /// True if he is among the best so far, and these are as many as asked for.
    fn judge(&mut self, point: Point, person: &Person) -> bool {
        let Some((place, distance)) = self.measure(point.place) else { return false };
        if distance > self.bound() {
            return false;
        }
        let provider = person.provider();
        let tie = tie_rank(self.request.precision, provider);
        let fix_at = person.fix_for(self.request.when);
        let found = Found { distance, tie, provider, place, fix_at, slot: point.slot };
        let at = self.best.iter().rposition(|other| other.rank() < found.rank()).map_or(0, |before| before + 1);
        if at == self.request.limit || !self.may_take(&found, person) {
            return false;
        }
        self.best.truncate(self.request.limit - 1);
        self.best.insert(at, found);
        self.best.len() == self.request.limit
    }

    fn measure(&mut self, packed: u64) -> Option<(LatLng, Meters)> {
        let place = place_of(packed)?;
        let distance = match self.measured {
            Some((last, distance)) if last == packed => distance,
            _ => self.vantage.distance(place),
        };
        self.measured = Some((packed, distance));
        Some((place, distance))
    }

    fn may_take(&self, &Found { distance, place, fix_at, .. }: &Found, person: &Person) -> bool {
        if fix_at.is_some_and(|at| self.now.since(at) > self.request.stale_after) {
            return false;
        }
        if self.quick && person.surely_may_take(self.request, distance) {
            return true;
        }
        let stand = Stand { place, fix_at, distance };
        let therapist = person.therapist().load();
        therapist.as_ref().is_some_and(|t| judge(t, &stand, self.request, self.now).is_ok())
    }

    fn take(&self, version: u64) -> Taken {
        let reach = self.bound();
        let mut best = Vec::with_capacity(self.best.len());
        for some in self.best.chunks(AT_ONCE) {
            let held = self.hold(some.iter().map(|found| found.slot));
            best.extend(some.iter().zip(held).filter_map(|(found, held)| {
                let (person, therapist) = held?;
                let public = if self.request.when == When::Now { Some(person.fix_public()?) } else { None };
                Some((*found, Guard::into_inner(therapist)?, public))
            }));
        }
        Taken { best, certificate: Certificate { version, proven: reach, examined: self.examined } }
    }
}

impl Found {
    const fn rank(&self) -> (Meters, u64, ProviderId) {
        (self.distance, self.tie, self.provider)
    }
}

/// The first window: where the cells are crowded as they should be, as many as asked for are in it.
fn first_reach(grid: &Grid, limit: usize) -> f64 {
    grid.tiling().row_m() * (limit.min(1_000) as f64 / 32.0).sqrt()
}

/// Somebody and where he stands, before he is judged.
type Standing = (Arc<Therapist>, Stand);

/// Everybody within the asked radius.
pub(super) fn standing(tables: &Tables, request: &Request) -> Result<Vec<Standing>, Overlap> {
    let (grid, mut witness, mut met) = (tables.grid(layer_of(request)), Witness::new(), Vec::new());
    let window = Window::around(grid.tiling(), request.place, request.radius, None);
    grid.scan(&window, None, &mut witness, |points| met.extend(points.iter()))?;
    let vantage = Vantage::of(request.place);
    let standing = |Point { place, slot, .. }: Point| {
        let person = tables.person(slot)?;
        let place = place_of(place)?;
        let distance = Some(vantage.distance(place)).filter(|distance| *distance <= request.radius)?;
        let stand = Stand { place, fix_at: person.fix_for(request.when), distance };
        Some((person.therapist().load_full()?, stand))
    };
    let all = met.into_iter().filter_map(standing).collect();
    witness.stands()?;
    Ok(all)
}

/// The first reason of each not to be eligible, nearest first.
pub(super) fn verdicts(all: Vec<Standing>, request: &Request, now: Timestamp) -> Vec<Verdict> {
    let verdict = |(therapist, stand): Standing| {
        let unfit = judge(&therapist, &stand, request, now).err();
        let fix_age = stand.fix_at.map(|at| now.since(at));
        Verdict { therapist, place: stand.place, distance: stand.distance, fix_age, unfit }
    };
    let mut all: Vec<Verdict> = all.into_iter().map(verdict).collect();
    all.sort_by_key(|v| (v.distance, tie_rank(request.precision, v.therapist.provider), v.therapist.provider));
    all
}
