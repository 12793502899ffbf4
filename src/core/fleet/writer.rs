//! The one who changes the index. Everything that belongs to one change of one therapist becomes visible at once.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::grid::{Full, Grid, Stock};
use super::person::Person;
use super::tables::{LAYERS, Layer, Tables};
use super::tiling::{Sample, Tiling};
use super::word::Change;
use super::{Duty, EnRoute, FixOutcome, Shown, Therapist};
use crate::core::geo::{InnerCircle, LatLng, PublicPosition, public_position};
use crate::core::ids::ProviderId;
use crate::core::settings::PingLimits;
use crate::core::track::{Applied, Fix, Mark, Track};

/// The smallest index has room for so many.
const LEAST: usize = 1_024;
/// Blocks that are made room for beyond twice those in use.
const SPARE_BLOCKS: usize = 64;

const ALL: [Layer; LAYERS] = [Layer::Fix, Layer::FixPublic, Layer::Base, Layer::BasePublic];

/// What happens to a slot in one layer.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Stays where it is, if it is there; something else of it changes that readers of the layer see.
    Touch,
    To(LatLng),
    Gone,
}

/// The writer's own books, and the tables that he changes.
#[derive(Debug)]
pub(super) struct Writer {
    tables: Arc<Tables>,
    stocks: [Stock; LAYERS],
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
        let tables = Tables::new(ALL.map(|_| Grid::new(Tiling::usual(), LEAST, SPARE_BLOCKS)), LEAST);
        Self {
            tables: Arc::new(tables),
            stocks: Default::default(),
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
        let bases: Sample = therapists.iter().filter_map(|therapist| therapist.base_location).collect();
        let [exact, public] = [bases.clone(), bases.map(|place| public_position(place).centre)].map(|places| {
            let tiling = Tiling::usual().suited_to(places.company(&Tiling::usual()));
            let blocks = places.blocks(&tiling);
            move || Grid::new(tiling.clone(), capacity, 2 * blocks + SPARE_BLOCKS)
        });
        self.tables = Arc::new(Tables::new([exact(), public(), exact(), public()], capacity));
    }

    /// Asks for what these therapists' fixes will touch, step by step: none waits for the lines of another.
    pub(super) fn prefetch(&self, providers: impl Iterator<Item = ProviderId> + Clone) {
        let (tables, grid) = (&self.tables, self.tables.grid(Layer::Fix));
        providers.clone().for_each(|provider| tables.prefetch_entry(provider));
        for slot in providers.filter_map(|provider| tables.first_guess(provider)) {
            tables.prefetch_person(slot);
            grid.prefetch_position(slot);
        }
    }

    /// Adds a therapist, or replaces what is known of him. Nothing changes if nothing is new. `public` tells the public
    /// position of his base.
    pub(super) fn put(&mut self, mut therapist: Arc<Therapist>, public: impl FnMut(LatLng) -> PublicPosition) {
        let provider = therapist.provider;
        let Some(slot) = self.tables.find(provider) else {
            let slot = self.add();
            self.write_therapist(slot, therapist, public);
            if self.tables.learn(provider, slot).is_err() {
                self.rebuild();
            }
            return;
        };
        let known = self.therapist(slot);
        if known.as_ref() != Some(&therapist) {
            if let Some(known) = known {
                Arc::make_mut(&mut therapist).share_with(&known);
            }
            self.write_therapist(slot, therapist, public);
        }
    }

    /// A slot for a newcomer.
    fn add(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        let slot = self.slots;
        if slot as usize >= self.tables.capacity() {
            self.rebuild();
        }
        self.tables.ensure(slot);
        self.slots += 1;
        slot
    }

    fn write_therapist(&mut self, slot: u32, therapist: Arc<Therapist>, public: impl FnMut(LatLng) -> PublicPosition) {
        let base = therapist.base_location;
        let steps = if base == self.tables.grid(Layer::Base).place(slot) {
            ALL.map(|layer| (layer, Step::Touch))
        } else {
            let step = |to: Option<LatLng>| to.map_or(Step::Gone, Step::To);
            let centre = base.map(public).map(|public| public.centre);
            let fixes = [(Layer::Fix, Step::Touch), (Layer::FixPublic, Step::Touch)];
            [fixes[0], fixes[1], (Layer::Base, step(base)), (Layer::BasePublic, step(centre))]
        };
        self.change(slot, steps, |person| person.set_therapist(therapist));
    }

    /// Says what a therapist does now. False if unknown.
    pub(super) fn set_duty(&mut self, provider: ProviderId, duty: Duty) -> bool {
        let Some((slot, mut therapist)) = self.known(provider) else { return false };
        if therapist.ties.duty() != duty {
            // Copied, because readers hold it: what they hold does not change.
            Arc::make_mut(&mut therapist).ties.set_duty(duty);
            self.change(slot, ALL.map(|layer| (layer, Step::Touch)), |person| person.set_therapist(therapist));
        }
        true
    }

    /// Forgets a therapist; the slot will be somebody else's.
    pub(super) fn remove(&mut self, provider: ProviderId) {
        let Some(slot) = self.tables.find(provider) else { return };
        self.change(slot, ALL.map(|layer| (layer, Step::Gone)), Person::forget);
        self.suspects.remove(&slot);
        self.free.push(slot);
    }

    /// Takes in a fix. `None`: no such therapist.
    pub(super) fn apply_fix(&mut self, provider: ProviderId, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        self.prefetch(std::iter::once(provider));
        self.apply(self.tables.find(provider)?, fix, limits)
    }

    /// Takes in fixes, one after the other.
    pub(super) fn apply_fixes(
        &mut self,
        fixes: &[(ProviderId, Fix)],
        limits: &PingLimits,
        outcomes: &mut Vec<Option<FixOutcome>>,
    ) {
        self.prefetch(fixes.iter().map(|(provider, _)| *provider));
        let grid = self.tables.grid(Layer::Fix);
        let slots: SmallVec<[Option<u32>; 64]> =
            fixes.iter().map(|(provider, _)| self.tables.find(*provider)).collect();
        slots.iter().flatten().for_each(|slot| grid.prefetch_point(*slot));
        slots.iter().flatten().for_each(|slot| grid.prefetch_word(*slot));
        outcomes.extend(slots.iter().zip(fixes).map(|(slot, (_, fix))| self.apply((*slot)?, fix, limits)));
    }

    fn apply(&mut self, slot: u32, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        let person = self.tables.person(slot)?;
        let last = self.tables.grid(Layer::Fix).place(slot).map(|place| person.mark(place));
        let mut track = Track::of(last, self.suspects.get(&slot).copied());
        let suspect = track.suspect().copied();
        let Applied { counted, newest } = track.apply(fix, limits);
        if suspect != track.suspect().copied() {
            match track.suspect() {
                Some(suspect) => drop(self.suspects.insert(slot, *suspect)),
                None => drop(self.suspects.remove(&slot)),
            }
        }
        if !newest {
            return Some(FixOutcome { counted, newest, en_route: None });
        }
        // H3 costs more than the rest of a move, and well within the cell it cannot have changed.
        let public = match last {
            Some(_) if person.stays_in_cell(fix.place) => None,
            Some(_) => Some(public_position(fix.place)).filter(|public| person.fix_public() != Some(*public)),
            None => Some(public_position(fix.place)),
        };
        self.show(slot, &fix.into(), public.map(|public| (public, InnerCircle::of(public.centre))));
        self.fit();
        Some(FixOutcome { counted, newest, en_route: self.en_route(slot) })
    }

    /// Takes over a fix from elsewhere, with its public position, if it is newer than the shown one. False if unknown.
    pub(super) fn restore(&mut self, provider: ProviderId, fix: &Fix, public: (PublicPosition, InnerCircle)) -> bool {
        let Some(slot) = self.tables.find(provider) else { return false };
        if self.position(slot).is_none_or(|(_, at)| at < fix.at) {
            self.suspects.remove(&slot);
            self.show(slot, &fix.into(), Some(public));
        }
        true
    }

    /// With the public position if it may have changed.
    fn show(&mut self, slot: u32, mark: &Mark, public: Option<(PublicPosition, InnerCircle)>) {
        let to = (Layer::Fix, Step::To(mark.place));
        match public {
            // Public answers see the time of the fix alone change, by itself: a whole in any case.
            None => self.change(slot, [to], |person| person.set_fix(mark)),
            Some((public, circle)) => self.change(slot, [to, (Layer::FixPublic, Step::To(public.centre))], |person| {
                person.set_fix(mark);
                person.set_fix_public(public, circle);
            }),
        }
    }

    /// When twice as many have come, looks whether cells of another size suit them.
    pub(super) fn fit(&mut self) {
        let len = self.tables.grid(Layer::Fix).len();
        if len < self.next_fit {
            return;
        }
        self.next_fit = 2 * len.max(LEAST);
        if ALL.iter().any(|layer| !self.tables.grid(*layer).is_suited()) {
            self.rebuild_for(self.tables.capacity());
        }
    }

    /// The shown position and its time.
    pub(super) fn position(&self, slot: u32) -> Option<Shown> {
        Some((self.tables.grid(Layer::Fix).place(slot)?, self.tables.person(slot)?.fix_at()))
    }

    /// A therapist as he is.
    fn therapist(&self, slot: u32) -> Option<Arc<Therapist>> {
        self.tables.person(slot)?.therapist().load_full()
    }

    fn known(&self, provider: ProviderId) -> Option<(u32, Arc<Therapist>)> {
        let slot = self.tables.find(provider)?;
        Some((slot, self.therapist(slot)?))
    }

    /// If he is on the way: whom to tell of his new position.
    fn en_route(&self, slot: u32) -> Option<EnRoute> {
        let person = self.tables.person(slot)?;
        if person.is_idle() {
            return None;
        }
        let therapist = person.therapist().load();
        match therapist.as_ref()?.ties.duty() {
            Duty::Booked { booking, booking_uuid, customer, en_route_to: Some(to) } => {
                Some((booking, booking_uuid, customer, to))
            }
            _ => None,
        }
    }

    /// Everybody, with the shown position and its time.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (Arc<Therapist>, Option<Shown>)> + '_ {
        (0..self.slots).filter_map(|slot| Some((self.therapist(slot)?, self.position(slot))))
    }

    /// Does the steps and `write` as one.
    fn change<const N: usize>(&mut self, slot: u32, steps: [(Layer, Step); N], write: impl FnOnce(&Person)) {
        let cells = loop {
            match self.prepare(slot, &steps) {
                Ok(cells) => break cells,
                // Twice as large, so at most once or twice.
                Err(Full) => self.rebuild(),
            }
        };
        let tables = &*self.tables;
        let Some(person) = tables.person(slot) else { return };
        let mut words = [[None; 2]; N];
        for (n, (layer, _)) in steps.iter().enumerate() {
            let grid = tables.grid(*layer);
            words[n] = cells[n].map(|cell| cell.and_then(|cell| grid.word(cell)));
        }
        self.changes += 1;
        let _change = Change::of(words);
        let before = person.traits();
        write(person);
        let traits = person.traits();
        for ((layer, step), [from, to]) in steps.into_iter().zip(cells) {
            let (grid, stock) = (tables.grid(layer), &mut self.stocks[layer as usize]);
            match (step, to) {
                (Step::To(place), Some(to)) if from == Some(to) => grid.overwrite(slot, place),
                (Step::To(place), Some(to)) => grid.relocate(slot, place, traits, to, stock, || ()),
                (Step::Gone, _) => grid.remove(slot, stock),
                (Step::To(_) | Step::Touch, _) => {}
            }
            if traits != before {
                grid.set_traits(slot, traits);
            }
        }
    }

    /// For each step the cell that the slot is in and the one it comes to, which is made ready.
    fn prepare<const N: usize>(
        &mut self,
        slot: u32,
        steps: &[(Layer, Step); N],
    ) -> Result<[[Option<u32>; 2]; N], Full> {
        let mut cells = [[None; 2]; N];
        for ((layer, step), cells) in steps.iter().zip(&mut cells) {
            let grid = self.tables.grid(*layer);
            cells[0] = grid.cell_of(slot);
            if let Step::To(place) = step {
                cells[1] = Some(grid.prepare(slot, *place, &mut self.stocks[*layer as usize])?);
            }
        }
        Ok(cells)
    }

    /// Builds the tables anew: with room for twice as many, with cells of the size that suits them, and without blocks
    /// that nobody is in any more. Readers go on with the old ones, in which nothing changes. O(n).
    fn rebuild(&mut self) {
        self.rebuild_for(2 * self.slots as usize);
    }

    fn rebuild_for(&mut self, capacity: usize) {
        let (tables, stocks) = (1..)
            .find_map(|room| self.built_anew(capacity.max(LEAST), room).ok())
            .unwrap_or_else(|| unreachable!("some number of blocks is enough"));
        self.next_fit = 2 * tables.grid(Layer::Fix).len().max(LEAST);
        (self.tables, self.stocks) = (Arc::new(tables), stocks);
    }

    /// With room for 2^`room` times the blocks that are in use, and some.
    fn built_anew(&self, capacity: usize, room: u32) -> Result<(Tables, [Stock; LAYERS]), Full> {
        let (old, mut stocks) = (&self.tables, <[Stock; LAYERS]>::default());
        let grids = ALL.map(|layer| {
            let grid = old.grid(layer);
            let tiling = grid.suited_tiling();
            // Smaller cells make smaller blocks: more of them for the same people.
            let finer = (grid.tiling().row_e7() / tiling.row_e7()).max(1) as usize;
            let blocks = (grid.blocks_in_use() * finer * finer).min(grid.len());
            Grid::new(tiling, capacity, (blocks << room) + SPARE_BLOCKS)
        });
        let new = Tables::new(grids, capacity);
        for slot in 0..self.slots {
            new.ensure(slot);
            let (Some(from), Some(to)) = (old.person(slot), new.person(slot)) else { continue };
            to.take_over(from);
            if to.is_somebody() {
                new.learn(to.provider(), slot)?;
            }
            for layer in ALL {
                let (grid, stock) = (new.grid(layer), &mut stocks[layer as usize]);
                if let Some(place) = old.grid(layer).place(slot) {
                    let cell = grid.prepare(slot, place, stock)?;
                    grid.relocate(slot, place, to.traits(), cell, stock, || ());
                }
            }
        }
        Ok((new, stocks))
    }
}
