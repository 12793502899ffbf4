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

/// The point of a key.
fn point_of(chunks: &[(Points, u32)], key: u64) -> Point {
    let (chunk, at) = met_at(key);
    chunks[chunk].0.get(at)
}

/// The places of a chunk whose bits are set.
fn each(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (bits != 0).then(|| bits.trailing_zeros() as usize % ROOM);
        bits &= bits.wrapping_sub(1);
        at
    })
}

/// By bit: which are no more than `limit`.
#[inline]
fn within(bounds: &[f32; ROOM], limit: f32) -> u32 {
    // In two steps, so that several are compared at once.
    let bits: [u32; ROOM] = std::array::from_fn(|at| if bounds[at] <= limit { 1 << at } else { 0 });
    bits.iter().fold(0, |all, bit| all | bit)
}

struct Search<'t> {
    tables: &'t Tables,
    request: &'t Request,
    now: Timestamp,
    vantage: Vantage,
    needed: Traits,
    quick: bool,
    /// Whether few are expected to have that: then all who are met are asked first.
    few: bool,
    layer: Layer,
    by: By,
    /// The last distance that was measured: in public answers many stand at one place.
    measured: Option<(u64, Meters)>,
    /// The best so far, in order; at most as many as asked for.
    best: Vec<Found>,
    examined: u32,
}

/// Who was met.
#[derive(Default)]
struct Met<'t> {
    /// The chunks, and by bit who of each was beyond what was scanned.
    chunks: SmallVec<[(Points<'t>, u32); FEW]>,
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
        search.judge(pack(place), slot);
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
            now,
            vantage: Vantage::of(request.place),
            needed: Traits::needed(request),
            quick: person::is_quick(request),
            few: request.filters != Filters::default(),
            layer: Layer::of(request.when),
            by: By::of(request),
            measured: None,
            best: Vec::with_capacity(request.limit.min(FEW)),
            examined: 0,
        }
    }

    fn run(&mut self, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        let grid = self.by.grid(self.tables);
        // How many are met with each point.
        let crowd = if self.by == By::Fix { 1.0 } else { self.tables.hexagons().crowd(self.layer) };
        let (mut met, mut done) = (Met::default(), None::<Window>);
        let mut reach = first_reach(grid, self.request.limit as f64 / crowd);
        loop {
            let scanned = reach.min(self.bound().get());
            let hazy = Meters::new(scanned + self.by.haze().get());
            let window = Window::around(grid.tiling(), self.request.place, hazy, done.as_ref());
            let (reached, limit) = (haversine_at_most(hazy), self.limit());
            for chunk in 0..met.chunks.len() {
                self.come_near(&mut met, chunk, &window, reached);
            }
            grid.scan(&window, done.as_ref(), witness, |points| self.look(&mut met, points, &window, reached, limit))?;
            if self.by == By::Fix {
                self.judge_near(&mut met);
            } else {
                self.judge_hexagons(&mut met, witness)?;
            }
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

    /// Above this lower bound of his haversine a point tells of nobody who matters.
    fn limit(&self) -> f32 {
        haversine_at_most(Meters::new(self.bound().get() + self.by.haze().get()))
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
    fn look(&mut self, met: &mut Met<'t>, points: Points<'t>, window: &Window, reached: f32, limit: f32) {
        // By H3 cells only those count who are judged: of whoever may not be shown nothing is told.
        if self.by == By::Fix {
            self.examined += points.len() as u32;
        }
        let mut all = (1 << points.len()) - 1;
        if self.few {
            all &= (0..ROOM).fold(0, |all, at| all | u32::from(self.may_satisfy(points.class(at))) << at);
            if all == 0 {
                return;
            }
        }
        let (lat_e7, lng_e7) = points.coordinates();
        let bounds = window.haversines_at_least(&lat_e7, &lng_e7);
        let fits = within(&bounds, limit) & all;
        let near = within(&bounds, reached) & fits;
        met.chunks.push((points, fits & !near));
        self.take_near(met, met.chunks.len() - 1, near, &bounds);
    }

    /// Those of a chunk who were far and are not any more.
    fn come_near(&mut self, met: &mut Met<'t>, chunk: usize, window: &Window, reached: f32) {
        let (points, far) = met.chunks[chunk];
        if far == 0 {
            return;
        }
        let (lat_e7, lng_e7) = points.coordinates();
        let bounds = window.haversines_at_least(&lat_e7, &lng_e7);
        let near = far & within(&bounds, reached);
        met.chunks[chunk].1 = far & !near;
        self.take_near(met, chunk, near, &bounds);
    }

    fn may_satisfy(&self, class: u16) -> bool {
        self.tables.classes().traits(class).may_satisfy(self.needed)
    }

    /// Notes who of these has what is needed, and asks for what he is judged by.
    #[inline]
    fn take_near(&self, met: &mut Met<'t>, chunk: usize, near: u32, bounds: &[f32; ROOM]) {
        let points = met.chunks[chunk].0;
        for at in each(near) {
            if self.may_satisfy(points.class(at)) {
                met.near.push(key(bounds[at], chunk, at));
                if self.by == By::Fix {
                    self.tables.prefetch_person(points.slot(at));
                } else {
                    self.tables.hexagons().prefetch(points.slot(at));
                }
            }
        }
    }

    /// Judges those who are near, the apparently nearest first, until the next cannot be among the best: nobody of the
    /// others will be, for the bound only shrinks.
    fn judge_near(&mut self, Met { chunks, near }: &mut Met<'t>) {
        near.sort_unstable();
        let mut limit = self.limit();
        for some in near.chunks(AT_ONCE) {
            let points: SmallVec<[_; AT_ONCE]> = some.iter().map(|key| point_of(chunks, *key)).collect();
            if !self.quick {
                drop(self.hold(points.iter().map(|point| point.slot)));
            }
            for (key, point) in some.iter().zip(points) {
                if bound_of(*key) > limit {
                    return near.clear();
                }
                if self.judge(point.place, point.slot) {
                    limit = self.limit();
                }
            }
        }
        near.clear();
    }

    /// The same for those who stand in the H3 cells that are near.
    fn judge_hexagons(&mut self, Met { chunks, near }: &mut Met<'t>, witness: &mut Witness<'t>) -> Result<(), Overlap> {
        near.sort_unstable();
        for key in near.drain(..) {
            let middle = point_of(chunks, key);
            if bound_of(key) > self.limit() {
                break;
            }
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
                    if let Some(place) = self.by.place(self.tables, middle.place, *slot) {
                        self.judge(place, *slot);
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
    fn judge(&mut self, place: u64, slot: u32) -> bool {
        let Some(person) = self.tables.person(slot) else { return false };
        let Some((place, distance)) = self.measure(place) else { return false };
        if distance > self.bound() {
            return false;
        }
        let fix_at = person.fix_for(self.request.when);
        if fix_at.is_some_and(|at| self.now.since(at) > self.request.stale_after) {
            return false;
        }
        self.examined += u32::from(self.by != By::Fix);
        let provider = person.provider();
        let tie = tie_rank(self.request.precision, provider);
        let found = Found { distance, tie, provider, place, fix_at, slot };
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

    fn may_take(&self, &Found { distance, place, fix_at, slot, .. }: &Found, person: &Person) -> bool {
        if self.quick && person.surely_may_take(self.request, distance) {
            return true;
        }
        let stand = Stand { place, fix_at, distance };
        let Some(therapist) = self.tables.row(slot).map(|row| row.load()) else { return false };
        therapist.as_ref().is_some_and(|t| judge(t, &stand, self.request, self.now).is_ok())
    }

    fn take(&self, version: u64) -> Taken {
        let reach = self.bound();
        let mut best = Vec::with_capacity(self.best.len());
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
    const fn rank(&self) -> (Meters, u64, ProviderId) {
        (self.distance, self.tie, self.provider)
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
