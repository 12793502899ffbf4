//! The H3 cells in which somebody stands, by a small number: what public answers are made of.

use std::collections::HashMap;

use super::chunk::{FREE, pack, place_of, unpack};
use super::pool::Pool;
use super::sync::{AtomicU32, AtomicU64};
use crate::core::geo::{InnerCircle, LatLng, PublicPosition};

/// One cell.
#[derive(Debug, Default)]
pub(super) struct Hexagon {
    cell: AtomicU64,
    /// [`pack`]ed.
    centre: AtomicU64,
    /// Of the circle in it, in decimetres: within it the next fix is surely in the same cell.
    circle: AtomicU32,
}

impl Hexagon {
    /// Of everybody in it.
    pub(super) fn public(&self) -> Option<PublicPosition> {
        Some(PublicPosition { cell: self.cell.load(FREE), centre: self.centre()? })
    }

    fn centre(&self) -> Option<LatLng> {
        place_of(self.packed())
    }

    /// Its centre, packed.
    #[inline]
    pub(super) fn packed(&self) -> u64 {
        self.centre.load(FREE)
    }

    /// Latitude and longitude of its centre in 1e-7 degree.
    #[inline]
    pub(super) fn coordinates(&self) -> (i32, i32) {
        unpack(self.packed())
    }

    /// Whether a place is surely in it.
    pub(super) fn surely_holds(&self, place: LatLng) -> bool {
        let circle = |centre| InnerCircle::new(centre, self.circle.load(FREE) as u16);
        self.centre().is_some_and(|centre| circle(centre).holds(place))
    }
}

/// By number.
#[derive(Debug)]
pub(super) struct Hexagons(Pool<Hexagon>);

impl Hexagons {
    /// For so many points.
    pub(super) fn new(points: usize) -> Self {
        // One more, for who is on his way from one to another.
        Self(Pool::new(points + 1, 9))
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Hexagon> {
        self.0.get(number)
    }
}

/// The writer's book of them. A number is given to another cell when nobody is left in it: a search that read it before
/// finds that the words of those who were have moved.
#[derive(Debug, Default)]
pub(super) struct HexagonBook {
    known: HashMap<u64, u32>,
    /// By number: how many stand there.
    people: Vec<u32>,
    free: Vec<u32>,
}

impl HexagonBook {
    /// The number of a cell, in which one more stands.
    pub(super) fn enter(&mut self, hexagons: &Hexagons, public: PublicPosition) -> u32 {
        let number = match self.known.get(&public.cell) {
            Some(number) => *number,
            None => self.add(hexagons, public),
        };
        self.people[number as usize] += 1;
        number
    }

    fn add(&mut self, hexagons: &Hexagons, public: PublicPosition) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.people.push(0);
            (self.people.len() - 1) as u32
        });
        hexagons.0.ensure(number);
        if let Some(hexagon) = hexagons.get(number) {
            hexagon.cell.store(public.cell, FREE);
            hexagon.centre.store(pack(public.centre), FREE);
            hexagon.circle.store(InnerCircle::of(public.centre).radius_dm().into(), FREE);
        }
        self.known.insert(public.cell, number);
        number
    }

    /// One has left.
    pub(super) fn leave(&mut self, hexagons: &Hexagons, number: u32) {
        let Some(people) = self.people.get_mut(number as usize) else { return };
        *people -= 1;
        if *people == 0
            && let Some(hexagon) = hexagons.get(number)
        {
            self.known.remove(&hexagon.cell.load(FREE));
            self.free.push(number);
        }
    }
}
