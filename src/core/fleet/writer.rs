//! The one who changes the index. Everything that belongs to one change of one therapist becomes visible at once.

use std::sync::Arc;

use super::grid::{Full, Grid, Stock};
use super::tables::{LAYERS, Layer, Person, Tables};
use super::tiling::Tiling;
use super::word::Change;
use super::{Duty, EnRoute, Therapist};
use crate::core::geo::{InnerCircle, LatLng, PublicPosition, public_position};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::{Applied, Fix, Track};

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

/// What the next fix of a therapist is judged by.
#[derive(Clone, Copy, Debug, Default)]
struct Trail {
    track: Track,
    /// Within it the fix is surely in the H3 cell that it was in.
    circle: Option<InnerCircle>,
}

/// The writer's own books, and the tables that he changes.
#[derive(Debug)]
pub(super) struct Writer {
    tables: Arc<Tables>,
    stocks: [Stock; LAYERS],
    /// By slot.
    trails: Vec<Trail>,
    free: Vec<u32>,
    /// With so many, it is looked again whether the cells are of a good size.
    next_fit: usize,
}

impl Writer {
    /// Nobody.
    pub(super) fn new() -> Self {
        let tables = Tables::new(ALL.map(|_| Grid::new(Tiling::usual(), LEAST, SPARE_BLOCKS)), LEAST);
        Self {
            tables: Arc::new(tables),
            stocks: Default::default(),
            trails: Vec::new(),
            free: Vec::new(),
            next_fit: LEAST,
        }
    }

    /// What readers are to read; others after an addition that needed more room.
    pub(super) const fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Makes room for so many more at once.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.trails.len() + more > self.tables.capacity() {
            self.rebuild_for((self.trails.len() + more) * 5 / 4);
        }
    }

    /// A slot for a newcomer.
    pub(super) fn add(&mut self) -> u32 {
        let slot = self.free.pop().unwrap_or(self.trails.len() as u32);
        if slot as usize == self.trails.len() {
            self.trails.push(Trail::default());
            if slot as usize >= self.tables.capacity() {
                self.rebuild();
            }
            self.tables.ensure(slot);
        }
        slot
    }

    /// Replaces what is known of a therapist.
    pub(super) fn put(&mut self, slot: u32, therapist: Therapist) {
        let base = therapist.base_location;
        let steps = if base == self.tables.grid(Layer::Base).place(slot) {
            ALL.map(|layer| (layer, Step::Touch))
        } else {
            let step = |to: Option<LatLng>| to.map_or(Step::Gone, Step::To);
            let centre = base.map(|base| public_position(base).centre);
            let fixes = [(Layer::Fix, Step::Touch), (Layer::FixPublic, Step::Touch)];
            [fixes[0], fixes[1], (Layer::Base, step(base)), (Layer::BasePublic, step(centre))]
        };
        self.change(slot, steps, |person| {
            person.set_therapist(Some(Arc::new(therapist)));
        });
    }

    /// Says what a therapist does now.
    pub(super) fn set_duty(&mut self, slot: u32, duty: Duty) {
        let Some(mut therapist) = self.therapist(slot) else { return };
        // Copied, because readers hold it: what they hold does not change.
        Arc::make_mut(&mut therapist).duty = duty;
        self.change(slot, ALL.map(|layer| (layer, Step::Touch)), |person| {
            person.set_therapist(Some(therapist));
        });
    }

    /// Forgets a therapist; the slot will be somebody else's.
    pub(super) fn remove(&mut self, slot: u32) {
        self.change(slot, ALL.map(|layer| (layer, Step::Gone)), |person| {
            person.set_therapist(None);
        });
        self.trails[slot as usize] = Trail::default();
        self.free.push(slot);
    }

    /// Takes in a fix.
    pub(super) fn apply_fix(&mut self, slot: u32, fix: &Fix, limits: &PingLimits) -> Applied {
        let applied = self.trails[slot as usize].track.apply(fix, limits);
        if applied.newest {
            self.show(slot, fix.place, fix.at);
        }
        applied
    }

    /// Takes over a fix from elsewhere, with its public position, if it is newer than the shown one.
    pub(super) fn restore(&mut self, slot: u32, fix: &Fix, public: PublicPosition) {
        if self.position(slot).is_none_or(|(_, at)| at < fix.at) {
            let circle = Some(InnerCircle::of(public.centre));
            self.trails[slot as usize] = Trail { track: Track::at(Some(fix)), circle };
            self.place(slot, fix.place, fix.at, Some(public));
        }
    }

    fn show(&mut self, slot: u32, place: LatLng, at: Timestamp) {
        let circle = &mut self.trails[slot as usize].circle;
        // H3 costs more than the rest of a move, and well within the cell it cannot have changed.
        let public = if circle.is_some_and(|circle| circle.holds(place)) { None } else { Some(public_position(place)) };
        if let Some(public) = public {
            *circle = Some(InnerCircle::of(public.centre));
        }
        self.place(slot, place, at, public);
        self.fit();
    }

    /// With the public position if it may have changed.
    fn place(&mut self, slot: u32, place: LatLng, at: Timestamp, public: Option<PublicPosition>) {
        let to = (Layer::Fix, Step::To(place));
        match public {
            // Public answers see the time of the fix alone change, by itself: a whole in any case.
            None => self.change(slot, [to], |person| person.set_fix_at(at)),
            Some(public) => self.change(slot, [to, (Layer::FixPublic, Step::To(public.centre))], |person| {
                person.set_fix_at(at);
                person.set_fix_public(public);
            }),
        }
    }

    /// Chooses the size of the cells anew when twice as many have come.
    pub(super) fn fit(&mut self) {
        if self.tables.grid(Layer::Fix).len() >= self.next_fit {
            self.rebuild();
        }
    }

    /// The shown position and its time.
    pub(super) fn position(&self, slot: u32) -> Option<(LatLng, Timestamp)> {
        self.trails.get(slot as usize)?.track.last().map(|mark| (mark.place, mark.at))
    }

    /// A therapist as he is.
    pub(super) fn therapist(&self, slot: u32) -> Option<Arc<Therapist>> {
        self.tables.person(slot)?.therapist().load_full()
    }

    /// If he is on the way: whom to tell of his new position.
    pub(super) fn en_route(&self, slot: u32) -> Option<EnRoute> {
        let person = self.tables.person(slot)?;
        if person.card().is_idle() {
            return None;
        }
        let therapist = person.therapist().load();
        match therapist.as_ref()?.duty {
            Duty::Booked { booking, booking_uuid, customer, en_route_to: Some(to) } => {
                Some((booking, booking_uuid, customer, to))
            }
            _ => None,
        }
    }

    /// Everybody, with the slot.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (u32, Arc<Therapist>)> + '_ {
        (0..self.trails.len() as u32).filter_map(|slot| Some((slot, self.therapist(slot)?)))
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
        self.rebuild_for(2 * self.trails.len());
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
            let tiling =
                if grid.len() < LEAST { grid.tiling().clone() } else { grid.tiling().suited_to(grid.company()) };
            // Smaller cells make smaller blocks: more of them for the same people.
            let finer = (grid.tiling().row_e7() / tiling.row_e7()).max(1) as usize;
            let blocks = (grid.blocks_in_use() * finer * finer).min(grid.len());
            Grid::new(tiling, capacity, (blocks << room) + SPARE_BLOCKS)
        });
        let new = Tables::new(grids, capacity);
        for slot in 0..self.trails.len() as u32 {
            new.ensure(slot);
            let (Some(from), Some(to)) = (old.person(slot), new.person(slot)) else { continue };
            to.take_over(from);
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
