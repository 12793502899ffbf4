//! The k nearest who may take a request: windows of growing size around the place, each scanned but for what the former
//! held, until nobody outside can be nearer than the k-th found. `docs/matching.md` shows why the answer is exact.

use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;

use super::Therapist;

use super::grid::{Grid, Point, Points, ROOM, place_of};
use super::person::{self, Person};
use super::tables::{Layer, Tables};
use super::traits::Traits;
use super::window::{Window, haversine_at_most};
use super::word::{Overlap, Witness};
use crate::core::geo::{LatLng, Meters, PublicPosition, Vantage, public_position};
use crate::core::ids::ProviderId;
use crate::core::matching::{
    Answer, Candidate, Certificate, Precision, Request, Stand, Verdict, When, judge, tie_rank,
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

/// So many are met without asking for memory.
const FEW: usize = 64;

/// How near somebody may be, the upper half of a lower bound of his haversine, above his number among those met: the
/// order of keys is that of the bounds (those of positive floats are ordered like their bits), and what is cut off
/// makes a bound no larger.
fn key(at_least: f64, number: usize) -> u64 {
    at_least.to_bits() >> 32 << 32 | number as u64
}

/// The lower bound, or less.
fn bound_of(key: u64) -> f64 {
    f64::from_bits(key >> 32 << 32)
}

struct Search<'t> {
    tables: &'t Tables,
    request: &'t Request,
    now: Timestamp,
    vantage: Vantage,
    needed: Traits,
    quick: bool,
    /// Those who were met: a chunk and a place in it.
    met: SmallVec<[(Points<'t>, usize); FEW]>,
    /// The [`key`]s of those to judge next.
    near: SmallVec<[u64; FEW]>,
    /// The keys of those who were met beyond what was scanned.
    far: SmallVec<[u64; FEW]>,
    /// The best so far, in order; at most as many as asked for.
    best: Vec<Found>,
    examined: u32,
    /// Distances of all who may take it and were no farther than the k-th when they were judged; for public answers.
    eligible: Vec<Meters>,
}

/// What a search takes with it out of the index: what is left to do needs nobody to wait.
#[derive(Default)]
pub(super) struct Taken {
    /// With the public position of the fix, if that is what is asked for.
    best: Vec<(Found, Arc<Therapist>, Option<PublicPosition>)>,
    considered: u32,
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
                surcharge: surcharge(offering, found.distance),
                public: public.unwrap_or_else(|| public_position(found.place)),
                therapist,
            })
        };
        let candidates = self.best.into_iter().filter_map(candidate).collect();
        Answer { candidates, considered: self.considered, certificate: self.certificate }
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
            met: SmallVec::new(),
            near: SmallVec::new(),
            far: SmallVec::new(),
            best: Vec::with_capacity(request.limit.min(FEW)),
            examined: 0,
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
    fn look(&mut self, points: Points<'t>, window: &Window, reached: f64, limit: f64) {
        let (lat_e7, lng_e7) = (f64::from(self.request.place.lat_e7()), f64::from(self.request.place.lng_e7()));
        self.examined += points.len() as u32;
        let (lat, lng) = points.coordinates();
        let bounds: [f64; ROOM] =
            std::array::from_fn(|at| window.haversine_at_least(lat[at] - lat_e7, lng[at] - lng_e7));
        for (at, &at_least) in bounds[..points.len()].iter().enumerate() {
            if at_least > limit {
                continue;
            }
            let key = key(at_least, self.met.len());
            if at_least > reached {
                self.met.push((points, at));
                self.far.push(key);
            } else if points.traits(at).may_satisfy(self.needed) {
                self.met.push((points, at));
                self.near.push(key);
            }
        }
    }

    /// Those who were far and are not any more.
    fn come_near(&mut self, reached: f64) {
        let Self { met, near, far, needed, .. } = self;
        far.retain(|key| {
            let (points, at) = met[*key as u32 as usize];
            let stays = bound_of(*key) > reached;
            if !stays && points.traits(at).may_satisfy(*needed) {
                near.push(*key);
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
        for some in near.chunks(16) {
            // First all their lines are fetched, at once as far as the memory can, and then looked at.
            let people: SmallVec<[_; 16]> = some
                .iter()
                .filter_map(|key| {
                    let (points, at) = self.met[*key as u32 as usize];
                    let point = points.get(at);
                    let person = self.tables.person(point.slot)?;
                    Some((*key, point, person, person.fix_at()))
                })
                .collect();
            for (key, point, person, ..) in people {
                if bound_of(key) > limit {
                    return;
                }
                if self.judge(point, person) {
                    limit = haversine_at_most(self.bound());
                }
            }
        }
    }

    /// True if he is among the best so far, and these are as many as asked for.
    fn judge(&mut self, point: Point, person: &Person) -> bool {
        let Some(place) = place_of(point.place) else { return false };
        let distance = self.vantage.distance(place);
        if distance > self.bound() {
            return false;
        }
        let fix_at = person.fix_for(self.request.when);
        if fix_at.is_some_and(|at| self.now.since(at) > self.request.stale_after) {
            return false;
        }
        if !(self.quick && person.surely_may_take(self.request, distance)) {
            let therapist = person.therapist().load();
            let stand = Stand { place, fix_at, distance };
            if therapist.as_ref().is_none_or(|t| judge(t, &stand, self.request, self.now).is_err()) {
                return false;
            }
        }
        if matches!(self.request.precision, Precision::Public { .. }) {
            self.eligible.push(distance);
        }
        let provider = person.provider();
        let tie = tie_rank(self.request.precision, provider);
        let found = Found { distance, tie, provider, place, fix_at, slot: point.slot };
        let at = self.best.iter().rposition(|other| other.rank() < found.rank()).map_or(0, |before| before + 1);
        if at == self.request.limit {
            return false;
        }
        self.best.truncate(self.request.limit - 1);
        self.best.insert(at, found);
        self.best.len() == self.request.limit
    }

    fn take(self, version: u64) -> Taken {
        let reach = self.bound();
        let considered = match self.request.precision {
            Precision::Exact => self.examined,
            Precision::Public { .. } => self.eligible.iter().filter(|&&distance| distance <= reach).count() as u32,
        };
        let mut best = Vec::with_capacity(self.best.len());
        for some in self.best.chunks(8) {
            // First what counts their holders is fetched, for all at once as far as the memory can: counting waits.
            let held: SmallVec<[_; 8]> = some
                .iter()
                .filter_map(|found| {
                    let person = self.tables.person(found.slot)?;
                    Some((found, person, person.therapist().load()))
                })
                .collect();
            let touched = held.iter().filter_map(|(.., therapist)| therapist.as_ref());
            std::hint::black_box(touched.map(|therapist| therapist.provider.0).fold(0, |all, one| all ^ one));
            best.extend(held.into_iter().filter_map(|(found, person, therapist)| {
                let public = if self.request.when == When::Now { Some(person.fix_public()?) } else { None };
                Some((*found, Guard::into_inner(therapist)?, public))
            }));
        }
        Taken { best, considered, certificate: Certificate { version, proven: reach, examined: self.examined } }
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
