//! The k nearest who may take a request: windows of growing size around the place, each scanned but for what the former
//! held, until nobody outside can be nearer than the k-th found. `docs/matching.md` shows why the answer is exact.

use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;

use super::Therapist;

use super::chunk::{Point, Points, ROOM, pack, place_of};
use super::grid::Grid;
use super::person::{self, Person};
use super::prefetch::{prefetch, prefetch_whole};
use super::tables::{Layer, Tables};
use super::traits::Traits;
use super::window::{Window, haversine_at_most};
use super::word::{Overlap, Witness};
use crate::core::geo::{CELL_REACH, LatLng, Meters, PublicPosition, Vantage, public_position};
use crate::core::ids::ProviderId;
use crate::core::matching::{
    Answer, Candidate, Certificate, Filters, Precision, Request, Stand, Verdict, When, judge, tie_rank,
};
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

/// So many are measured before the first of them is judged.
const AHEAD: usize = 6;

/// So many of the nearest H3 cells are asked for before the first is looked into; seldom are more needed.
const CELLS_AHEAD: usize = 4;

/// So many are met without asking for memory.
const FEW: usize = 64;

/// In so many chunks.
const CHUNKS: usize = 24;

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

const _: () = assert!(ROOM.is_multiple_of(4), "places are compared by fours");

/// More than a chunk has.
const PLACES: usize = ROOM.next_power_of_two();

/// Chunks whose places have a bit each in 64.
const GROUP: usize = u64::BITS as usize / PLACES;

/// The point of a key.
fn point_of(chunks: &[Seen], key: u64) -> Point {
    let (chunk, at) = met_at(key);
    chunks[chunk].points.get(at)
}

/// By bit: which are no more than `limit`.
#[inline]
fn within(bounds: &[f32; ROOM], limit: f32) -> u32 {
    // By fours, so that as many are compared at once.
    let (fours, _) = bounds.as_chunks::<4>();
    let four = |bounds: &[f32; 4]| (0..4).fold(0, |bits, at| bits | u32::from(bounds[at] <= limit) << at);
    fours.iter().rev().fold(0, |bits, bounds| bits << 4 | four(bounds))
}

struct Search<'t> {
    tables: &'t Tables,
    request: &'t Request,
    /// An older fix says nothing any more.
    oldest: Timestamp,
    now: Timestamp,
    vantage: Vantage,
    needed: Traits,
    quick: bool,
    /// Whether few are expected to have that: then all who are met are asked first.
    few: bool,
    layer: Layer,
    by: By,
    /// The best so far, in order; at most as many as asked for.
    best: Vec<Found>,
    /// Nobody who is ranked farther than this belongs into the answer.
    bound: Meters,
    examined: u32,
}

/// A chunk that was met.
struct Seen<'t> {
    points: Points<'t>,
    /// Of each point's haversine, from below. A window that is larger would bound it lower; what was true stays so.
    bounds: [f32; ROOM],
    /// By bit: who is still to be judged, as far as the sieve was asked.
    left: u32,
}

/// Who was met.
#[derive(Default)]
struct Met<'t> {
    chunks: SmallVec<[Seen<'t>; CHUNKS]>,
    /// The [`key`]s of those to judge next.
    near: SmallVec<[u64; FEW]>,
}

/// What a search takes with it out of the index: what is left to do needs nobody to wait.
#[derive(Default)]
pub(super) struct Taken {
    /// With the public position, of a fix.
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
    let hexagons = tables.hexagons();
    let told = match search.by {
        By::Fix => tables.fixes().place(slot),
        By::Base => base_of(tables, slot).and_then(place_of),
        By::Middle => {
            hexagons.number_of(slot, search.layer).and_then(|number| hexagons.position(number)).map(|at| at.centre)
        }
    };
    if let Some((place, person)) = told.zip(tables.person(slot))
        && search.may_satisfy(person.class())
    {
        search.examined = u32::from(search.by == By::Fix);
        search.judge((place, search.vantage.distance(place)), slot);
    }
    let mut taken = search.take(version);
    // Nobody else was looked at.
    taken.certificate.proven = Meters::ZERO;
    taken
}

/// What is scanned for people, and where they are said to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The grid of fixes: there.
    Fix,
    /// The middles of the H3 cells that they are in: there, as far as the public may know.
    Middle,
    /// The middles of the H3 cells that they start from: where their rows say.
    Base,
}

impl By {
    fn of(request: &Request) -> Self {
        match (request.precision, request.when) {
            (Precision::Public { .. }, _) => Self::Middle,
            (Precision::Exact, When::Now) => Self::Fix,
            (Precision::Exact, When::At { .. }) => Self::Base,
        }
    }

    fn grid(self, tables: &Tables) -> &Grid {
        if self == Self::Fix { tables.fixes() } else { tables.hexagons().middles() }
    }

    /// How far people may be from the points that are scanned for them.
    fn haze(self) -> Meters {
        if self == Self::Base { CELL_REACH } else { Meters::ZERO }
    }

    /// Where somebody is said to be who was met at this point; [`pack`]ed.
    fn place(self, tables: &Tables, point: u64, slot: u32) -> Option<u64> {
        if self == Self::Base { base_of(tables, slot) } else { Some(point) }
    }
}

/// Where somebody starts from, [`pack`]ed.
fn base_of(tables: &Tables, slot: u32) -> Option<u64> {
    tables.row(slot)?.load().as_ref()?.base_location.map(pack)
}

impl<'t> Search<'t> {
    fn new(tables: &'t Tables, request: &'t Request, now: Timestamp) -> Self {
        Self {
            tables,
            request,
            oldest: now.minus(request.stale_after),
            now,
            vantage: Vantage::of(request.place),
            needed: Traits::needed(request),
            quick: person::is_quick(request),
            few: request.filters != Filters::default(),
            layer: Layer::of(request.when),
            by: By::of(request),
            best: Vec::with_capacity(request.limit.min(FEW)),
            bound: request.radius,
            examined: 0,
        }
    }

    fn run(&mut self, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        let grid = self.by.grid(self.tables);
        // How many are met with each point.
        let crowd = if self.by == By::Fix { 1.0 } else { self.tables.hexagons().crowd(self.layer) };
        let mut met = Met::default();
        let mut done = None::<Window>;
        let mut reach = first_reach(grid, self.request.limit as f64 / crowd);
        loop {
            let scanned = reach.min(self.bound.get());
            let hazy = Meters::new(scanned + self.by.haze().get());
            let window = Window::around(grid.tiling(), self.request.place, hazy, done.as_ref());
            grid.scan(&window, done.as_ref(), witness, |points| self.look(&mut met, points, &window))?;
            // Of the whole Earth nobody is left for later.
            let reached = if window.is_whole_earth() { f32::INFINITY } else { haversine_at_most(hazy) };
            self.gather(&mut met, reached);
            if self.by == By::Fix {
                self.judge_near(&mut met);
            } else {
                self.judge_hexagons(&mut met, witness)?;
            }
            // Everybody within `scanned` has been met. Who matters is within the bound, and it only shrinks.
            if self.bound.get() <= scanned || window.is_whole_earth() {
                return Ok(());
            }
            reach = self.next_reach(scanned);
            done = Some(window);
        }
    }

    /// Above this lower bound of his haversine a point tells of nobody who matters.
    fn limit(&self) -> f32 {
        haversine_at_most(Meters::new(self.bound.get() + self.by.haze().get()))
    }

    /// How far to look next: as far as is needed if that is known, else where enough should be found if they are as
    /// dense farther out. Only speed depends on it.
    fn next_reach(&self, scanned: f64) -> f64 {
        if self.best.len() == self.request.limit {
            return self.bound.get();
        }
        let wanted = self.request.limit as f64 / (self.best.len() as f64).max(0.5);
        scanned * (wanted.sqrt() * 1.1).clamp(1.25, 2.0)
    }

    /// Notes how near the points of a chunk may be.
    #[inline]
    fn look(&mut self, met: &mut Met<'t>, points: Points<'t>, window: &Window) {
        // By H3 cells only those count who are judged: of whoever may not be shown nothing is told.
        if self.by == By::Fix {
            self.examined += points.len() as u32;
        }
        let mut left = (1 << points.len()) - 1;
        if self.few {
            left &= (0..ROOM).fold(0, |all, at| all | u32::from(self.may_satisfy(points.class(at))) << at);
            if left == 0 {
                return;
            }
        }
        let (lat_e7, lng_e7) = points.coordinates();
        met.chunks.push(Seen { points, bounds: window.haversines_at_least(&lat_e7, &lng_e7), left });
    }

    fn may_satisfy(&self, class: u16) -> bool {
        self.tables.classes().traits(class).may_satisfy(self.needed)
    }

    /// Notes whoever is left and may be as near as `reached` to be judged next, if he has what is needed, and asks for what
    /// he is judged by. Some chunks at a time: how many of one are near is anybody's guess, and each wrong guess of the
    /// processor's costs as much as ten points.
    fn gather(&self, Met { chunks, near }: &mut Met<'t>, reached: f32) {
        for (number, some) in chunks.chunks_mut(GROUP).enumerate() {
            let mut bits = 0;
            for (at, seen) in some.iter_mut().enumerate() {
                let reached = within(&seen.bounds, reached) & seen.left;
                seen.left ^= reached;
                bits |= u64::from(reached) << (at * PLACES);
            }
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let (seen, at) = (&some[bit / PLACES], bit % PLACES);
                let (slot, class) = (seen.points.slot(at), seen.points.class(at));
                if self.by == By::Fix {
                    self.tables.prefetch_person(slot);
                } else {
                    self.tables.hexagons().prefetch(slot);
                }
                if self.may_satisfy(class) {
                    near.push(key(seen.bounds[at], number * GROUP + bit / PLACES, at));
                }
            }
        }
    }

    /// Judges those who are near, the apparently nearest first, until the next cannot be among the best: nobody of the
    /// others will be, for the bound only shrinks.
    fn judge_near(&mut self, Met { chunks, near }: &mut Met<'t>) {
        near.sort_unstable();
        let mut limit = self.limit();
        for some in near.chunks(AHEAD) {
            // One after the other, so that the processor can go on with the next before it has done with the last.
            let mut met = [(0, None); AHEAD];
            for ((slot, measured), key) in met.iter_mut().zip(some) {
                let point = point_of(chunks, *key);
                (*slot, *measured) = (point.slot, self.measured_from_here(point.place));
            }
            if !self.quick {
                drop(self.hold(met[..some.len()].iter().map(|(slot, _)| *slot)));
            }
            for (key, (slot, measured)) in some.iter().zip(met) {
                if bound_of(*key) > limit {
                    return near.clear();
                }
                if measured.is_some_and(|measured| self.judge(measured, slot)) {
                    limit = self.limit();
                }
            }
        }
        near.clear();
    }

    /// The same for those who stand in the H3 cells that are near.
    fn judge_hexagons(&mut self, Met { chunks, near }: &mut Met<'t>, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        near.sort_unstable();
        for key in near.iter().take(CELLS_AHEAD) {
            self.tables.hexagons().prefetch_people(point_of(chunks, *key).slot, self.layer);
        }
        for key in near.drain(..) {
            let middle = point_of(chunks, key);
            if bound_of(key) > self.limit() {
                break;
            }
            // Whose base counts is nearer or farther than that.
            let all_at = self.measured_from_here(middle.place);
            let mut people = SmallVec::<[u32; FEW]>::new();
            self.tables.hexagons().visit(middle.slot, self.layer, witness, |slot, class| {
                if self.may_satisfy(class) {
                    self.tables.prefetch_person(slot);
                    people.push(slot);
                }
            })?;
            for some in people.chunks(AT_ONCE) {
                if !self.quick {
                    drop(self.hold(some.iter().copied()));
                }
                for slot in some {
                    let base = || base_of(self.tables, *slot).and_then(|base| self.measured_from_here(base));
                    if let Some(measured) = if self.by == By::Base { base() } else { all_at } {
                        self.judge(measured, *slot);
                    }
                }
            }
        }
        Ok(())
    }

    /// Who is in each of these slots, and asks for what is read of them, step by step: none waits for the lines of another.
    fn hold(&self, slots: impl Iterator<Item = u32> + Clone) -> SmallVec<[Option<Held>; AT_ONCE]> {
        slots.clone().filter_map(|slot| self.tables.row(slot)).for_each(prefetch);
        let held: SmallVec<[_; AT_ONCE]> = slots.map(|slot| self.tables.row(slot).map(|row| row.load())).collect();
        let therapists = || held.iter().flatten().filter_map(|therapist| therapist.as_ref());
        therapists().for_each(|therapist| prefetch_whole(&**therapist));
        therapists().filter_map(|therapist| therapist.services.first()).for_each(prefetch);
        held
    }

    /// True if he is among the best so far, and these are as many as asked for.
    fn judge(&mut self, (place, distance): (LatLng, Meters), slot: u32) -> bool {
        let Some(person) = self.tables.person(slot) else { return false };
        if distance > self.bound {
            return false;
        }
        let fix_at = person.fix_for(self.request.when);
        if fix_at.is_some_and(|at| at < self.oldest) {
            return false;
        }
        self.examined += u32::from(self.by != By::Fix);
        let provider = person.provider();
        let tie = tie_rank(self.request.precision, provider);
        let found = Found { distance, tie, provider, place, fix_at, slot };
        let is_full = self.best.len() == self.request.limit;
        // In a crowded cell most are just as near as the last of the best, and lose by the hash.
        if is_full && self.best.last().is_some_and(|worst| worst.rank() < found.rank()) {
            return false;
        }
        if !self.may_take(&found, person) {
            return false;
        }
        if is_full {
            self.best.pop();
        }
        let at = self.best.iter().rposition(|other| other.rank() < found.rank()).map_or(0, |before| before + 1);
        self.best.insert(at, found);
        match self.best.last() {
            Some(worst) if self.best.len() == self.request.limit => self.bound = worst.distance,
            _ => return false,
        }
        true
    }

    /// A place and how far it is.
    fn measured_from_here(&self, packed: u64) -> Option<(LatLng, Meters)> {
        let place = place_of(packed)?;
        Some((place, self.vantage.distance(place)))
    }

    fn may_take(&self, &Found { distance, place, fix_at, slot, .. }: &Found, person: &Person) -> bool {
        if self.quick && person.surely_may_take(self.request, distance) {
            return true;
        }
        let stand = Stand { place, fix_at, distance };
        let Some(therapist) = self.tables.row(slot).map(|row| row.load()) else { return false };
        therapist.as_ref().is_some_and(|t| judge(t, &stand, self.request, self.now).is_ok())
    }

    fn take(&self, version: u64) -> Taken {
        let reach = self.bound;
        let mut best = Vec::with_capacity(self.best.len());
        self.best.iter().filter_map(|found| self.tables.row(found.slot)).for_each(prefetch);
        for some in self.best.chunks(AT_ONCE) {
            let held = self.hold(some.iter().map(|found| found.slot));
            best.extend(some.iter().zip(held).filter_map(|(found, held)| {
                let public = match self.layer {
                    Layer::Fix => Some(self.tables.hexagons().position(self.tables.person(found.slot)?.hexagon())?),
                    Layer::Base => None,
                };
                Some((*found, Guard::into_inner(held?)?, public))
            }));
        }
        Taken { best, certificate: Certificate { version, proven: reach, examined: self.examined } }
    }
}

impl Found {
    /// As numbers, for whom alone the processor needs no branch: positive floats are ordered like their bits.
    const fn rank(&self) -> (u128, i64) {
        ((self.distance.get().to_bits() as u128) << u64::BITS | self.tie as u128, self.provider.0)
    }
}

/// The first window: where the cells are crowded as they should be, so many points are in it.
fn first_reach(grid: &Grid, points: f64) -> f64 {
    grid.tiling().row_m() * (points.clamp(LEAST_POINTS, 1_000.0) / 32.0).sqrt()
}

/// However many stand in each of them, the nearest H3 cell should be found at once.
const LEAST_POINTS: f64 = 2.0;

/// Somebody and where he stands, before he is judged.
type Standing = (Arc<Therapist>, Stand);

/// Everybody within the asked radius.
pub(super) fn standing(tables: &Tables, request: &Request) -> Result<Vec<Standing>, Overlap> {
    let by = By::of(request);
    let (grid, reach) = (by.grid(tables), Meters::new(request.radius.get() + by.haze().get()));
    let (mut witness, mut points, mut met) = (Witness::new(), Vec::new(), Vec::new());
    let window = Window::around(grid.tiling(), request.place, reach, None);
    grid.scan(&window, None, &mut witness, |some| points.extend(some.iter()))?;
    for Point { place, slot, .. } in points {
        if by == By::Fix {
            met.push((place, slot));
            continue;
        }
        tables.hexagons().visit(slot, Layer::of(request.when), &mut witness, |slot, _| {
            met.extend(by.place(tables, place, slot).map(|place| (place, slot)));
        })?;
    }
    let vantage = Vantage::of(request.place);
    let standing = |(place, slot): (u64, u32)| {
        let place = place_of(place)?;
        let distance = Some(vantage.distance(place)).filter(|distance| *distance <= request.radius)?;
        let stand = Stand { place, fix_at: tables.person(slot)?.fix_for(request.when), distance };
        Some((tables.row(slot)?.load_full()?, stand))
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
