//! The one who changes the index. Everything that belongs to one change of one therapist becomes visible at once.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::chain::{Full, Stock};
use super::chunk::SLOTS;
use super::classes::ClassBook;
use super::grid::{Grid, Spot};
use super::hexagons::{HexagonBook, Hexagons, To};
use super::person::Person;
use super::prefetch::prefetch_whole;
use super::tables::{LAYERS, Layer, Row, Tables};
use super::tiling::{Sample, Tiling};
use super::traits::Traits;
use super::word::Change;
use super::{Duty, EnRoute, FixOutcome, Shown, TOGETHER, Therapist};
use crate::core::geo::{LatLng, PublicPosition, public_position};
use crate::core::ids::ProviderId;
use crate::core::settings::PingLimits;
use crate::core::track::{Applied, Fix, Mark, Track};

/// The smallest index has room for so many.
const LEAST: usize = 1_024;
/// Blocks that are made room for beyond twice those in use.
const SPARE_BLOCKS: usize = 64;

const ALL: [Layer; LAYERS] = [Layer::Fix, Layer::Base];

/// What happens to a slot in one layer.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Stays where it is, if it is there; something else of it changes that readers of the layer see.
    Touch,
    /// With the public position, if that is known.
    To(LatLng, Option<PublicPosition>),
    Gone,
}

/// The books of what only the writer needs to find.
#[derive(Debug, Default)]
struct Books {
    fixes: Stock,
    classes: ClassBook,
    hexagons: HexagonBook,
}

/// What a slot goes from and to in one layer.
#[derive(Clone, Copy, Debug)]
struct Way {
    layer: Layer,
    /// Of the grid of fixes.
    cells: [Option<u32>; 2],
    /// H3 cells by number; neither, if it stays in its own and those who ask for no more than that see nothing of it.
    hexagons: [Option<u32>; 2],
}

impl Way {
    /// Asks for what going it touches: the lists that are left and entered, and where the slot is in them.
    fn prefetch(&self, tables: &Tables, slot: u32) {
        if self.cells[0] != self.cells[1] {
            self.cells.iter().flatten().for_each(|cell| tables.fixes().prefetch_first(*cell));
        }
        if self.hexagons[1].is_some() {
            tables.hexagons().prefetch_note(slot, self.layer);
        }
        self.hexagons.iter().flatten().for_each(|number| tables.hexagons().prefetch_people(*number, self.layer));
    }
}

impl Books {
    /// Goes one step of the way, within its change.
    fn take(&mut self, tables: &Tables, slot: u32, way: &Way, step: Step, class: u16) {
        let layer = way.layer;
        let (fixes, stock) = (tables.fixes(), &mut self.fixes);
        match (step, way.cells) {
            (Step::To(place, _), [from, Some(to)]) if from == Some(to) => {
                if let Some(seat) = fixes.seat(slot) {
                    seat.set(place);
                }
            }
            (Step::To(place, _), [_, Some(to)]) => fixes.relocate(slot, &Spot { place, class }, to, stock, || ()),
            (Step::Gone, [from, _]) => {
                if from.is_some() {
                    fixes.remove(slot, stock);
                }
                tables.hexagons().relocate(slot, layer, None, class, &mut self.hexagons);
            }
            (Step::To(..) | Step::Touch, _) => {}
        }
        if let [_, Some(to)] = way.hexagons {
            tables.hexagons().relocate(slot, layer, Some(to), class, &mut self.hexagons);
            if layer == Layer::Fix
                && let Some(person) = tables.person(slot)
            {
                person.set_hexagon(to);
            }
        }
    }
}

/// The writer's own books, and the tables that he changes.
#[derive(Debug)]
pub(super) struct Writer {
    tables: Arc<Tables>,
    books: Books,
    /// So many slots were given out.
    slots: u32,
    /// Of them, to be given out again.
    free: Vec<u32>,
    /// By slot: the newest fix that did not count, if it is newer than the one that did. Few have one.
    suspects: HashMap<u32, Mark>,
    /// With so many, it is looked again whether the cells are of a good size.
    next_fit: usize,
    changes: u64,
}

impl Writer {
    /// Nobody.
    pub(super) fn new() -> Self {
        let fixes = Grid::new(Tiling::usual(), LEAST, SPARE_BLOCKS);
        let tables = Tables::new(fixes, Hexagons::new(Tiling::usual(), LEAST, SPARE_BLOCKS), LEAST);
        Self {
            tables: Arc::new(tables),
            books: Books::default(),
            slots: 0,
            free: Vec::new(),
            suspects: HashMap::new(),
            next_fit: LEAST,
            changes: 0,
        }
    }

    /// What readers are to read; others after an addition that needed more room.
    pub(super) const fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// How many changes there were.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// How many therapists are known.
    pub(super) fn len(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    /// Makes room for these at once; in an empty index in cells of the size that suits where they start from, where they
    /// will mostly be.
    pub(super) fn reserve(&mut self, therapists: &[Therapist]) {
        let is_new = |therapist: &&Therapist| self.slots == 0 || self.tables.find(therapist.provider).is_none();
        let more = therapists.iter().filter(is_new).count();
        if self.slots as usize + more <= self.tables.capacity() {
            return;
        }
        let capacity = (self.slots as usize + more) * 5 / 4;
        if self.slots > 0 {
            return self.rebuild_for(capacity);
        }
        let suits = |places: &Sample| {
            let tiling = Tiling::usual().suited_to(places.company(&Tiling::usual()));
            let blocks = 2 * places.blocks(&tiling) + SPARE_BLOCKS;
            (tiling, blocks)
        };
        let bases: Sample = therapists.iter().filter_map(|therapist| therapist.base_location).collect();
        let ((tiling, blocks), (middles, blocks_of_middles)) = (suits(&bases), suits(&bases.middles()));
        let fixes = Grid::new(tiling, capacity, blocks);
        let hexagons = Hexagons::new(middles, capacity, blocks_of_middles);
        self.tables = Arc::new(Tables::new(fixes, hexagons, capacity));
        self.books = Books::default();
    }

    /// Asks for what these therapists' fixes will touch, step by step: none waits for the lines of another.
    pub(super) fn prefetch(&self, providers: impl Iterator<Item = ProviderId> + Clone) {
        let (tables, grid) = (&self.tables, self.tables.fixes());
        providers.clone().for_each(|provider| tables.prefetch_entry(provider));
        for slot in providers.filter_map(|provider| tables.first_guess(provider)) {
            tables.prefetch_person(slot);
            grid.points().prefetch_note(slot);
        }
    }

    /// Adds a therapist, or replaces what is known of him. Nothing changes if nothing is new. `public` tells the public
    /// position of his base.
    pub(super) fn put(&mut self, mut therapist: Arc<Therapist>, public: impl FnMut(LatLng) -> PublicPosition) {
        let provider = therapist.provider;
        let Some(slot) = self.tables.find(provider) else {
            let slot = self.add();
            self.write_therapist(slot, None, therapist, public);
            if self.tables.learn(provider, slot).is_err() {
                self.rebuild();
            }
            return;
        };
        let known = self.therapist(slot);
        if known.as_ref() != Some(&therapist) {
            if let Some(known) = &known {
                Arc::make_mut(&mut therapist).share_with(known);
            }
            self.write_therapist(slot, known.and_then(|known| known.base_location), therapist, public);
        }
    }

    /// A slot for a newcomer.
    fn add(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.slots;
        assert!(slot < SLOTS, "an index holds no more than {SLOTS} therapists");
        if slot as usize >= self.tables.capacity() {
            self.rebuild();
        }
        self.tables.ensure(slot);
        self.slots += 1;
        slot
    }

    /// `from`: where he started from before.
    fn write_therapist(
        &mut self,
        slot: u32,
        from: Option<LatLng>,
        therapist: Arc<Therapist>,
        mut public: impl FnMut(LatLng) -> PublicPosition,
    ) {
        let base = match therapist.base_location {
            base if base == from => Step::Touch,
            Some(base) => Step::To(base, Some(public(base))),
            None => Step::Gone,
        };
        self.change(
            slot,
            [(Layer::Fix, Step::Touch), (Layer::Base, base)],
            Some(Traits::of(&therapist)),
            |person, row| {
                person.set_therapist(&therapist);
                row.store(Some(therapist));
            },
        );
    }

    /// Says what a therapist does now. False if unknown.
    pub(super) fn set_duty(&mut self, provider: ProviderId, duty: Duty) -> bool {
        let Some((slot, mut therapist)) = self.known(provider) else { return false };
        if therapist.ties.duty() != duty {
            // Copied, because readers hold it: what they hold does not change.
            Arc::make_mut(&mut therapist).ties.set_duty(duty);
            self.write_therapist(slot, therapist.base_location, therapist, public_position);
        }
        true
    }

    /// Forgets a therapist; the slot will be somebody else's.
    pub(super) fn remove(&mut self, provider: ProviderId) {
        let Some(slot) = self.tables.find(provider) else { return };
        self.change(slot, ALL.map(|layer| (layer, Step::Gone)), Some(Traits::any()), |person, row| {
            person.forget();
            row.store(None);
        });
        self.suspects.remove(&slot);
        self.free.push(slot);
    }

    /// Takes in a fix. `None`: no such therapist.
    pub(super) fn apply_fix(&mut self, provider: ProviderId, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        self.prefetch(std::iter::once(provider));
        self.apply(self.tables.find(provider)?, fix, limits)
    }

    /// Takes in up to [`TOGETHER`] fixes, one after the other.
    pub(super) fn apply_fixes(
        &mut self,
        fixes: &[(ProviderId, Fix)],
        limits: &PingLimits,
        outcomes: &mut Vec<Option<FixOutcome>>,
    ) {
        assert!(fixes.len() <= TOGETHER, "{} fixes at once", fixes.len());
        self.prefetch(fixes.iter().map(|(provider, _)| *provider));
        let grid = self.tables.fixes();
        let mut found = [None; TOGETHER];
        for (found, (provider, _)) in found.iter_mut().zip(fixes) {
            let Some(slot) = self.tables.find(*provider) else { continue };
            let chunk = grid.points().here(slot).map(|(chunk, _)| chunk);
            chunk.into_iter().for_each(prefetch_whole);
            self.tables.person(slot).into_iter().for_each(|person| self.books.hexagons.prefetch(person.hexagon()));
            *found = Some((slot, chunk));
        }
        found.iter().flatten().filter_map(|(_, chunk)| *chunk).for_each(|chunk| grid.prefetch_word(chunk));
        let slots = found.map(|found| found.map(|(slot, _)| slot));
        outcomes.extend(slots.iter().zip(fixes).map(|(slot, (_, fix))| self.apply((*slot)?, fix, limits)));
    }

    fn apply(&mut self, slot: u32, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        if let Some(followed) = self.follow(slot, fix, limits) {
            return Some(followed);
        }
        let Self { tables, suspects, .. } = self;
        let (person, seat) = (tables.person(slot)?, tables.fixes().seat(slot));
        let last = seat.and_then(|seat| seat.place()).map(|place| person.mark(place));
        let suspect = suspects.get(&slot).copied();
        let mut track = Track::of(last, suspect);
        let Applied { counted, newest } = track.apply(fix, limits);
        if suspect != track.suspect().copied() {
            match track.suspect() {
                Some(suspect) => drop(suspects.insert(slot, *suspect)),
                None => drop(suspects.remove(&slot)),
            }
        }
        if !newest {
            return Some(FixOutcome { counted, newest, en_route: None });
        }
        self.show(slot, &fix.into(), None);
        self.fit();
        Some(FixOutcome { counted, newest, en_route: self.en_route(self.tables.person(slot)?, slot) })
    }

    /// Most fixes: what becomes of them needs no thought, and whoever sent it stays in his cells. Does of those what
    /// [`Self::apply`] would, and nothing of others.
    #[inline]
    fn follow(&mut self, slot: u32, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        let (person, seat) = (self.tables.person(slot)?, self.tables.fixes().seat(slot)?);
        let surely = !self.suspects.contains_key(&slot)
            && person.mark(seat.place()?).is_surely_followed_by(fix, limits)
            && seat.holds(fix.place)
            && self.books.hexagons.holds(person.hexagon(), fix.place);
        if !surely {
            return None;
        }
        self.changes += 1;
        let _change = Change::of([[Some(seat.word())]]);
        person.set_fix(&fix.into());
        seat.set(fix.place);
        Some(FixOutcome { counted: true, newest: true, en_route: self.en_route(person, slot) })
    }

    /// Takes over a fix from elsewhere, with its public position, if it is newer than the shown one. False if unknown.
    pub(super) fn restore(&mut self, provider: ProviderId, fix: &Fix, public: PublicPosition) -> bool {
        let Some(slot) = self.tables.find(provider) else { return false };
        if self.position(slot).is_none_or(|(_, at)| at < fix.at) {
            self.suspects.remove(&slot);
            self.show(slot, &fix.into(), Some(public));
        }
        true
    }

    /// Shows an older fix, or none, if this one is still shown. False if not.
    pub(super) fn take_back(&mut self, provider: ProviderId, shown: Shown, fix: Option<&Fix>) -> bool {
        let Some(slot) = self.tables.find(provider).filter(|slot| self.position(*slot) == Some(shown)) else {
            return false;
        };
        self.suspects.remove(&slot);
        match fix {
            Some(fix) => self.show(slot, &fix.into(), Some(public_position(fix.place))),
            None => self.change(slot, [(Layer::Fix, Step::Gone)], None, |_, _| ()),
        }
        true
    }

    /// With the public position, if it is known.
    fn show(&mut self, slot: u32, mark: &Mark, public: Option<PublicPosition>) {
        self.change(slot, [(Layer::Fix, Step::To(mark.place, public))], None, |person, _| person.set_fix(mark));
    }

    /// When twice as many have come, looks whether cells of another size suit them.
    pub(super) fn fit(&mut self) {
        let len = self.tables.fixes().len();
        if len < self.next_fit {
            return;
        }
        self.next_fit = 2 * len.max(LEAST);
        if ![self.tables.fixes(), self.tables.hexagons().middles()].into_iter().all(Grid::is_suited) {
            self.rebuild_for(self.tables.capacity());
        }
    }

    /// The shown position and its time.
    pub(super) fn position(&self, slot: u32) -> Option<Shown> {
        Some((self.tables.fixes().place(slot)?, self.tables.person(slot)?.fix_at()))
    }

    /// A therapist as he is.
    fn therapist(&self, slot: u32) -> Option<Arc<Therapist>> {
        self.tables.row(slot)?.load_full()
    }

    fn known(&self, provider: ProviderId) -> Option<(u32, Arc<Therapist>)> {
        let slot = self.tables.find(provider)?;
        Some((slot, self.therapist(slot)?))
    }

    /// If he is on the way: what to tell of his new position.
    #[inline]
    fn en_route(&self, person: &Person, slot: u32) -> Option<Box<EnRoute>> {
        if person.is_idle() { None } else { self.destination(slot) }
    }

    fn destination(&self, slot: u32) -> Option<Box<EnRoute>> {
        let therapist = self.tables.row(slot)?.load();
        match therapist.as_ref()?.ties.duty() {
            Duty::Booked { booking, booking_uuid, en_route_to: Some(destination), .. } => {
                Some(Box::new(EnRoute { booking, booking_uuid, destination }))
            }
            _ => None,
        }
    }

    /// So many slots were given out.
    pub(super) const fn slots(&self) -> u32 {
        self.slots
    }

    /// Those in these slots, with the shown position and its time.
    pub(super) fn those(&self, slots: Range<u32>) -> impl Iterator<Item = (Arc<Therapist>, Option<Shown>)> + '_ {
        slots.filter_map(|slot| Some((self.therapist(slot)?, self.position(slot))))
    }

    /// Their ids.
    pub(super) fn providers(&self, slots: Range<u32>) -> impl Iterator<Item = ProviderId> + '_ {
        slots.filter_map(|slot| self.tables.person(slot)?.known())
    }

    /// Does the steps and `write` as one. `traits`: if they may be others than before.
    fn change<const N: usize>(
        &mut self,
        slot: u32,
        steps: [(Layer, Step); N],
        traits: Option<Traits>,
        write: impl FnOnce(&Person, &Row),
    ) {
        let ways = loop {
            match self.prepare(slot, &steps) {
                Ok(ways) => break ways,
                // Twice as large, so at most once or twice.
                Err(Full) => self.rebuild(),
            }
        };
        let Self { tables, books, changes, .. } = self;
        ways.iter().for_each(|way| way.prefetch(tables, slot));
        let (Some(person), Some(row)) = (tables.person(slot), tables.row(slot)) else { return };
        let before = person.class();
        let class = traits.map_or(before, |traits| books.classes.join(tables.classes(), traits));
        let words = ways.map(|way| {
            let [from, to] = way.cells.map(|cell| cell.and_then(|cell| tables.fixes().word(cell)));
            let [left, entered] =
                way.hexagons.map(|number| number.and_then(|number| tables.hexagons().word(number, way.layer)));
            [from, to, left, entered]
        });
        *changes += 1;
        let change = Change::of(words);
        write(person, row);
        person.set_class(class);
        for (way, (layer, step)) in ways.iter().zip(steps) {
            books.take(tables, slot, way, step, class);
            if class != before {
                if layer == Layer::Fix {
                    tables.fixes().set_class(slot, class);
                }
                tables.hexagons().set_class(slot, layer, class);
            }
        }
        drop(change);
        // Only now may others have what was left.
        if traits.is_some() {
            books.classes.leave(tables.classes(), before);
        }
        for left in ways.iter().filter_map(|way| way.hexagons[0]) {
            tables.hexagons().forget_if_empty(left, &mut books.hexagons);
        }
    }

    /// What the steps lead from and to; that is made ready.
    fn prepare<const N: usize>(&mut self, slot: u32, steps: &[(Layer, Step); N]) -> Result<[Way; N], Full> {
        let Self { tables, books, .. } = self;
        let mut ways = steps.map(|(layer, _)| Way { layer, cells: [None; 2], hexagons: [None; 2] });
        for (way, (layer, step)) in ways.iter_mut().zip(steps) {
            if *layer == Layer::Fix {
                way.cells[0] = tables.fixes().cell_of(slot);
            }
            let has_fix = way.cells[0].is_some();
            let stands = || match layer {
                // He knows it himself.
                Layer::Fix => tables.person(slot).filter(|_| has_fix).map(Person::hexagon),
                Layer::Base => tables.hexagons().number_of(slot, Layer::Base),
            };
            match step {
                Step::To(place, public) => {
                    if *layer == Layer::Fix {
                        way.cells[1] = Some(tables.fixes().prepare(slot, *place, &mut books.fixes)?);
                    }
                    let from = stands();
                    let found = public.map_or_else(|| books.hexagons.find(from, *place), To::Cell);
                    let to = tables.hexagons().prepare(slot, *layer, found, &mut books.hexagons)?;
                    way.hexagons = match layer {
                        _ if from != Some(to) => [from, Some(to)],
                        // Who stays in his cell disturbs nobody who asks for no more than that.
                        Layer::Fix => [None; 2],
                        Layer::Base => [from, None],
                    };
                    if let [Some(from), Some(to)] = way.hexagons {
                        books.hexagons.note_way(from, to, *place);
                    }
                }
                Step::Touch | Step::Gone => way.hexagons[0] = stands(),
            }
        }
        Ok(ways)
    }

    /// Builds the tables anew: with room for twice as many, with cells of the size that suits them, and without blocks
    /// that nobody is in any more. Readers go on with the old ones, in which nothing changes. O(n).
    fn rebuild(&mut self) {
        self.rebuild_for(2 * self.slots as usize);
    }

    fn rebuild_for(&mut self, capacity: usize) {
        let (tables, books) = (1..)
            .find_map(|room| self.built_anew(capacity.max(LEAST), room).ok())
            .unwrap_or_else(|| unreachable!("some number of blocks is enough"));
        self.next_fit = 2 * tables.fixes().len().max(LEAST);
        (self.tables, self.books) = (Arc::new(tables), books);
    }

    /// With room for 2^`room` times the blocks that are in use, and some.
    fn built_anew(&self, capacity: usize, room: u32) -> Result<(Tables, Books), Full> {
        let (old, mut books) = (&self.tables, Books::default());
        let suits = |grid: &Grid| {
            let tiling = grid.suited_tiling();
            // Smaller cells make smaller blocks: more of them for the same people.
            let finer = (grid.tiling().row_e7() / tiling.row_e7()).max(1) as usize;
            let blocks = (grid.blocks_in_use() * finer * finer).min(grid.len());
            (tiling, (blocks << room) + SPARE_BLOCKS)
        };
        let ((tiling, blocks), (middles, blocks_of_middles)) = (suits(old.fixes()), suits(old.hexagons().middles()));
        let fixes = Grid::new(tiling, capacity, blocks);
        let hexagons = Hexagons::new(middles, capacity, blocks_of_middles);
        let new = Tables::new(fixes, hexagons, capacity);
        for slot in 0..self.slots {
            new.ensure(slot);
            let (Some(from), Some(to)) = (old.person(slot), new.person(slot)) else { continue };
            to.take_over(from);
            let Some(therapist) = self.therapist(slot) else { continue };
            new.learn(therapist.provider, slot)?;
            let class = books.classes.join(new.classes(), Traits::of(&therapist));
            to.set_class(class);
            if let Some(row) = new.row(slot) {
                row.store(Some(therapist));
            }
            for layer in ALL {
                let number = old.hexagons().number_of(slot, layer);
                let public = number.and_then(|number| old.hexagons().position(number));
                let Some(public) = public else { continue };
                let hexagons =
                    [None, Some(new.hexagons().prepare(slot, layer, To::Cell(public), &mut books.hexagons)?)];
                let place = old.fixes().place(slot).filter(|_| layer == Layer::Fix);
                let to = place.map(|place| new.fixes().prepare(slot, place, &mut books.fixes)).transpose()?;
                let step = place.map_or(Step::Touch, |place| Step::To(place, None));
                books.take(&new, slot, &Way { layer, cells: [None, to], hexagons }, step, class);
            }
        }
        Ok((new, books))
    }
}
