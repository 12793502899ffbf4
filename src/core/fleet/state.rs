//! All that the index holds: one struct owns the entries and everything derived from them, so that only its own
//! methods can make them differ, and they do not.

use std::collections::HashMap;
use std::sync::Arc;

use super::grid::Grid;
use super::traits::Traits;
use super::{Duty, Therapist};
use crate::core::geo::{LatLng, PUBLIC_CELL_INRADIUS, public_position};
use crate::core::ids::ProviderId;
use crate::core::matching::When;
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::{Applied, Fix, Track};

/// One therapist.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) therapist: Arc<Therapist>,
    pub(super) track: Track,
}

/// Entries by slot (a small number that is used again after a removal), and what is found by them.
#[derive(Debug, Default)]
pub(super) struct State {
    slots: HashMap<ProviderId, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// By slot, beside the entries because a search reads it of everybody it passes.
    pub(super) traits: Vec<Traits>,
    live: Layer,
    base: Layer,
}

/// Positions of one kind: newest fixes, or base locations.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) grid: Grid,
    /// By slot: the centre of the public cell around the position.
    centres: Vec<Option<LatLng>>,
}

impl Layer {
    /// The public position; `None` if there is none.
    pub(super) fn centre(&self, slot: u32) -> Option<LatLng> {
        self.centres.get(slot as usize).copied().flatten()
    }

    fn set(&mut self, slot: u32, place: Option<LatLng>) {
        if self.centres.len() <= slot as usize {
            self.centres.resize(slot as usize + 1, None);
        }
        let centre = &mut self.centres[slot as usize];
        match place {
            Some(place) => {
                self.grid.set(slot, place);
                // H3 costs more than the rest of a move, and near the centre the cell cannot have changed.
                if centre.is_none_or(|centre| centre.distance(place) > PUBLIC_CELL_INRADIUS) {
                    *centre = Some(public_position(place).centre);
                }
            }
            None => {
                self.grid.remove(slot);
                *centre = None;
            }
        }
    }
}

impl State {
    /// The positions that a request is answered from.
    pub(super) const fn layer(&self, when: When) -> &Layer {
        match when {
            When::Now => &self.live,
            When::At { .. } => &self.base,
        }
    }

    pub(super) fn slot_of(&self, provider: ProviderId) -> Option<u32> {
        self.slots.get(&provider).copied()
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    pub(super) fn get(&self, provider: ProviderId) -> Option<&Entry> {
        self.entry(self.slot_of(provider)?)
    }

    fn get_mut(&mut self, provider: ProviderId) -> Option<(u32, &mut Entry)> {
        let slot = self.slot_of(provider)?;
        Some((slot, self.entries.get_mut(slot as usize)?.as_mut()?))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Everybody by id.
    pub(super) fn by_id(&self) -> Vec<&Entry> {
        let mut all: Vec<&Entry> = self.entries.iter().flatten().collect();
        all.sort_unstable_by_key(|entry| entry.therapist.provider);
        all
    }

    pub(super) fn put(&mut self, therapist: Therapist) {
        let (traits, base) = (Traits::of(&therapist), therapist.base_location);
        let provider = therapist.provider;
        let therapist = Arc::new(therapist);
        let slot = match self.get_mut(provider) {
            Some((slot, entry)) => {
                entry.therapist = therapist;
                slot
            }
            None => self.add(provider, Entry { therapist, track: Track::default() }),
        };
        self.traits[slot as usize] = traits;
        self.base.set(slot, base);
    }

    fn add(&mut self, provider: ProviderId, entry: Entry) -> u32 {
        let slot = self.free.pop().unwrap_or(self.entries.len() as u32);
        if slot as usize == self.entries.len() {
            self.entries.push(None);
            self.traits.push(Traits::default());
        }
        self.entries[slot as usize] = Some(entry);
        self.slots.insert(provider, slot);
        slot
    }

    pub(super) fn remove(&mut self, provider: ProviderId) {
        let Some(slot) = self.slots.remove(&provider) else { return };
        self.entries[slot as usize] = None;
        self.traits[slot as usize] = Traits::default();
        self.live.set(slot, None);
        self.base.set(slot, None);
        self.free.push(slot);
    }

    pub(super) fn set_duty(&mut self, provider: ProviderId, duty: Duty) -> bool {
        let Some((slot, entry)) = self.get_mut(provider) else { return false };
        // Copied first if somebody still holds it: what they hold does not change.
        Arc::make_mut(&mut entry.therapist).duty = duty;
        let traits = Traits::of(&entry.therapist);
        self.traits[slot as usize] = traits;
        true
    }

    pub(super) fn apply_fix(
        &mut self,
        provider: ProviderId,
        fix: &Fix,
        limits: &PingLimits,
    ) -> Option<(Applied, Duty)> {
        let (slot, entry) = self.get_mut(provider)?;
        let (applied, duty) = (entry.track.apply(fix, limits), entry.therapist.duty);
        if applied.newest {
            self.live.set(slot, Some(fix.place));
        }
        Some((applied, duty))
    }

    pub(super) fn restore_position(&mut self, provider: ProviderId, fix: Fix) -> bool {
        let Some((slot, entry)) = self.get_mut(provider) else { return false };
        if entry.track.last().is_none_or(|last| last.at < fix.at) {
            entry.track = Track::at(Some(fix));
            self.live.set(slot, Some(fix.place));
        }
        true
    }
}

impl Entry {
    /// The shown position and its time.
    pub(super) fn shown(&self) -> Option<(LatLng, Timestamp)> {
        self.track.last().map(|fix| (fix.place, fix.at))
    }
}
