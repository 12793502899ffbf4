//! The live index: where every therapist is, what each can do, and who is nearest. `docs/matching.md` explains it.
//!
//! [`tiling`] cuts the Earth into cells, [`grid`] holds points by cell in [`chunk`]s, [`word`] lets readers read them while
//! one writes, [`window`] says which cells a distance reaches, [`search`] grows windows until the answer is certain,
//! [`traits`] and [`classes`] let it pass by who cannot match, [`hexagons`] are what the public may know, [`mod@prefetch`]
//! asks for memory before it is read. [`tables`] is all that searches read, [`writer`] who changes it.
//!
//! Searches take no lock: each reads on while others read and somebody writes, and is true of one instant. Everything
//! behind [`Fleet`] is private.

mod chain;
mod chunk;
mod classes;
mod grid;
mod hexagons;
mod person;
mod pool;
mod prefetch;
mod search;
mod sync;
mod tables;
#[cfg(test)]
mod tests;
mod therapist;
mod ties;
mod tiling;
mod traits;
mod window;
mod word;
mod writer;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use uuid::Uuid;

use prefetch::{prefetch, prefetch_whole};
use tables::Tables;
pub use therapist::{Profile, Shared, Therapist};
pub use ties::{Duty, Span, Ties};
use word::Overlap;
use writer::Writer;

use super::geo::{LatLng, Meters, Neighbours, public_position};
use super::ids::{BookingId, ProviderId};
use super::matching::{Answer, Request, Verdict};
use super::settings::PingLimits;
use super::time::Timestamp;
use super::track::Fix;

/// What a fix did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixOutcome {
    /// It makes sense: the column `counted`.
    pub counted: bool,
    /// It is now the shown position.
    pub newest: bool,
    /// If it moved a therapist who is on the way. Few are: apart, so that the others' outcomes are small.
    pub en_route: Option<Box<EnRoute>>,
}

/// Whom a position on the way is to be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnRoute {
    /// The booking.
    pub booking: BookingId,
    /// Its uuid.
    pub booking_uuid: Uuid,
    /// Where to.
    pub destination: LatLng,
}

/// A shown position and the time of its fix.
pub type Shown = (LatLng, Timestamp);

/// Every therapist, searchable from any thread. Each call sees and leaves a consistent whole.
#[derive(Debug)]
pub struct Fleet {
    /// What searches read. Replaced whole when the index has outgrown it.
    tables: ArcSwap<Tables>,
    /// One writes at a time.
    writer: Mutex<Writer>,
    /// How many changes there were.
    version: AtomicU64,
    /// How many therapists are known, for who only counts.
    known: AtomicUsize,
}

impl Default for Fleet {
    fn default() -> Self {
        let writer = Writer::new();
        Self {
            tables: ArcSwap::new(Arc::clone(writer.tables())),
            writer: Mutex::new(writer),
            version: AtomicU64::new(0),
            known: AtomicUsize::new(0),
        }
    }
}

const POISONED: &str = "nothing panics while it holds the fleet's lock";

/// So often a search that a change overlaps begins anew; then it asks the writer to wait. Twice is rare where ten are
/// sought among thousands.
const TRIES: usize = 4;
/// Who wants everybody reads the whole neighbourhood, and among many pings finds no quiet moment: it tries once.
const MANY: usize = 200;

/// So many fixes are taken in under one lock: more than the memory fetches at once, and few enough not to be waited for.
const TOGETHER: usize = 64;

/// So many are read in under one lock: pings need not wait for all.
const AT_ONCE: usize = 256;

const fn tries(limit: usize) -> usize {
    if limit > MANY { 1 } else { TRIES }
}

impl Fleet {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    fn quiet(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect(POISONED)
    }

    /// Lets the writer change something, and readers see it.
    fn write<R>(&self, change: impl FnOnce(&mut Writer) -> R) -> R {
        let mut writer = self.quiet();
        let before = Arc::as_ptr(writer.tables());
        let result = change(&mut writer);
        if Arc::as_ptr(writer.tables()) != before {
            self.tables.store(Arc::clone(writer.tables()));
        }
        self.known.store(writer.len(), Ordering::Relaxed);
        // Last: who has read the version reads tables that have seen so many changes.
        self.version.store(writer.changes(), Ordering::Release);
        result
    }

    /// Reads without a lock, and again if a change overlapped; in the end while writers wait.
    fn read<R>(&self, tries: usize, attempt: impl Fn(&Tables, u64) -> Result<R, Overlap>) -> R {
        for _ in 0..tries {
            let version = self.version.load(Ordering::Acquire);
            if let Ok(result) = attempt(&self.tables.load(), version) {
                return result;
            }
            std::hint::spin_loop();
        }
        let writer = self.quiet();
        match attempt(writer.tables(), self.version.load(Ordering::Acquire)) {
            Ok(result) => result,
            Err(Overlap) => unreachable!("nobody writes"),
        }
    }

    /// Adds or replaces a therapist, whole and at once. A position that is known is kept.
    pub fn put(&self, therapist: Therapist) {
        self.write(|writer| writer.put(Arc::new(therapist), public_position));
    }

    /// Says what a therapist does now. False if unknown.
    pub fn set_duty(&self, provider: ProviderId, duty: Duty) -> bool {
        self.write(|writer| writer.set_duty(provider, duty))
    }

    /// Forgets a therapist and his position.
    pub fn remove(&self, provider: ProviderId) {
        self.write(|writer| writer.remove(provider));
    }

    /// Takes in a fix, by the rules of [`Track::apply`](super::track::Track::apply). `None`: no such therapist.
    pub fn apply_fix(&self, provider: ProviderId, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        self.write(|writer| writer.apply_fix(provider, fix, limits))
    }

    /// The same for many, in their order: several times faster than one by one, because what they touch is fetched
    /// for several at once.
    pub fn apply_fixes(&self, fixes: &[(ProviderId, Fix)], limits: &PingLimits) -> Vec<Option<FixOutcome>> {
        let mut outcomes = Vec::with_capacity(fixes.len());
        for some in fixes.chunks(TOGETHER) {
            self.write(|writer| writer.apply_fixes(some, limits, &mut outcomes));
        }
        outcomes
    }

    /// [`Self::put`] for many.
    pub fn put_all(&self, therapists: Vec<Therapist>) {
        // Neighbours one after the other: what they touch lies together, now and in searches.
        let square = |therapist: &Therapist| therapist.base_location.map(Neighbours::square);
        let mut order: Vec<_> = therapists.iter().enumerate().map(|(at, t)| (square(t), at)).collect();
        order.sort_unstable();
        self.write(|writer| writer.reserve(&therapists));
        let mut public = Neighbours::default();
        let mut therapists: Vec<_> = therapists.into_iter().map(Some).collect();
        for some in order.chunks(AT_ONCE) {
            let rows = || some.iter().filter_map(|(_, at)| therapists[*at].as_ref());
            rows().for_each(prefetch_whole);
            rows().filter_map(|row| row.services.first()).for_each(prefetch);
            let some: Vec<_> = some.iter().filter_map(|(_, at)| therapists[*at].take().map(Arc::new)).collect();
            self.write(|writer| {
                writer.prefetch(some.iter().map(|therapist| therapist.provider));
                for therapist in some {
                    writer.put(therapist, |place| public.position(place));
                }
            });
        }
    }

    /// The newest counted fix from SQL. Never moves back. False if unknown.
    pub fn restore_position(&self, provider: ProviderId, fix: Fix) -> bool {
        let public = public_position(fix.place);
        self.write(|writer| {
            let known = writer.restore(provider, &fix, public);
            writer.fit();
            known
        })
    }

    /// The same for many.
    pub fn restore_all(&self, fixes: &[(ProviderId, Fix)]) {
        let mut public = Neighbours::default();
        let mut order: Vec<_> = fixes.iter().collect();
        order.sort_by_cached_key(|(_, fix)| Neighbours::square(fix.place));
        for some in order.chunks(AT_ONCE) {
            some.iter().for_each(|fix| prefetch_whole(*fix));
            self.write(|writer| {
                writer.prefetch(some.iter().map(|(provider, _)| *provider));
                for (provider, fix) in some {
                    writer.restore(*provider, fix, public.position(fix.place));
                }
            });
        }
        self.write(Writer::fit);
    }

    /// Takes a position back that should not be shown: puts him where `fix` says, or nowhere, if `shown` is what is shown
    /// still. False if he has moved on, or is unknown.
    pub fn take_back(&self, provider: ProviderId, shown: Shown, fix: Option<Fix>) -> bool {
        self.write(|writer| writer.take_back(provider, shown, fix.as_ref()))
    }

    /// A therapist as he is now.
    pub fn therapist(&self, provider: ProviderId) -> Option<Arc<Therapist>> {
        let tables = self.tables.load();
        let therapist = tables.row(tables.find(provider)?)?.load_full()?;
        // The slot may have become somebody else's meanwhile.
        Some(therapist).filter(|therapist| therapist.provider == provider)
    }

    /// The shown position and its time; `None` if unknown or never seen.
    pub fn position(&self, provider: ProviderId) -> Option<Shown> {
        let writer = self.quiet();
        writer.position(writer.tables().find(provider)?)
    }

    /// The nearest who may take the request, in true order: exactly what comparing everybody would give, at one instant.
    ///
    /// Passes by O(k + those nearer than the k-th who may not take it + those in the same cells); worst case everybody
    /// within the radius, when fewer than asked for may take it.
    pub fn nearest(&self, request: &Request, now: Timestamp) -> Answer {
        let Some(only) = request.only else {
            let attempt = |tables: &Tables, version| search::nearest(tables, request, now, version);
            return self.read(tries(request.limit), attempt).answer(request, now);
        };
        let writer = self.quiet();
        let taken = match writer.tables().find(only) {
            Some(slot) if request.limit > 0 => search::only(writer.tables(), slot, request, now, writer.changes()),
            _ => return Answer::default(),
        };
        drop(writer);
        taken.answer(request, now)
    }

    /// The same, but only who and how far: for a matcher that weighs many requests.
    pub fn ranking(&self, request: &Request, now: Timestamp) -> Vec<(ProviderId, Meters)> {
        if request.only.is_some() {
            let answer = self.nearest(request, now);
            return answer.candidates.iter().map(|c| (c.therapist.provider, c.distance)).collect();
        }
        self.read(tries(request.limit), |tables, _| search::ranking(tables, request, now))
    }

    /// Everybody within the asked radius with the first reason not to be eligible (`None`: eligible), nearest first.
    /// Judges everybody there: for explanations, not for the busy path.
    pub fn verdicts(&self, request: &Request, now: Timestamp) -> Vec<Verdict> {
        search::verdicts(self.read(1, |tables, _| search::standing(tables, request)), request, now)
    }

    /// How many therapists are known.
    pub fn len(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody by id, with the shown position and its time: each at one moment, but not all at the same. Who is removed and
    /// added again meanwhile may be missing.
    pub fn snapshot(&self) -> Vec<(Arc<Therapist>, Option<Shown>)> {
        let mut all: Vec<(Arc<Therapist>, Option<Shown>)> = Vec::with_capacity(self.len());
        self.by_some(|writer, slots| all.extend(writer.those(slots)));
        all.sort_by_key(|(therapist, _)| therapist.provider);
        // Who went and came again meanwhile can have been met in two slots: as he was met last.
        all.dedup_by(|later, earlier| {
            let same = later.0.provider == earlier.0.provider;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        all
    }

    /// The ids of all who are known, in order.
    pub fn providers(&self) -> Vec<ProviderId> {
        let mut all = Vec::with_capacity(self.len());
        self.by_some(|writer, slots| all.extend(writer.providers(slots)));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Reads all slots, some at a time: the writer need not wait for all. (Beside snapshots of 100,000 one after the other a fix
    /// waited 5 ms at most, 1.8 ms in the 99th percentile; each takes 20 ms.)
    fn by_some(&self, mut read: impl FnMut(&Writer, Range<u32>)) {
        let mut from = 0;
        loop {
            let writer = self.quiet();
            let slots = writer.slots();
            if from >= slots {
                return;
            }
            let until = slots.min(from + AT_ONCE as u32);
            read(&writer, from..until);
            from = until;
        }
    }
}
