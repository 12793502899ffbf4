//! Where somebody is as far as the public may know, and how far he can go before that is another place.

use std::collections::HashMap;

use h3o::{CellIndex, Resolution};

use super::{LatLng, Meters};

/// Where a therapist is, as far as the public may know: the H3 cell of resolution 9 (about 0.1 km²) and its centre.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicPosition {
    /// The cell's H3 index.
    pub cell: u64,
    /// Its centre, rounded like every place here.
    pub centre: LatLng,
}

/// Nobody in an H3 cell of resolution 9 is farther than this from its centre. H3 draws equal hexagons on the planes that
/// touch an icosahedron at the middles of its faces, centres 0.381966 / √7⁹ apart at resolution 9: 383.08 m on the Earth,
/// so 221.17 m from the centre to a corner; lengths only shrink on the way to the sphere.
pub(crate) const CELL_REACH: Meters = Meters(222.0);

/// All but the rim of an H3 cell of resolution 9: while somebody moves in it, his public position is known without asking
/// H3, which costs more than all the rest of a move.
///
/// The sides of a cell are straight on the plane of its face, so parts of great circles; within these few hundred metres
/// they are straight in degrees too, but for centimetres. What is between all three pairs of opposite sides, less
/// [`RIM`], is in the cell.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outline {
    centre: LatLng,
    /// For each pair of opposite sides: times how far north and east of the centre a place is, 1e-7 degree, it is -1 to
    /// 1 between them.
    pairs: [(f32, f32); PAIRS],
}

/// Middles of cells that have a side in common are 383 m apart on their plane, and less on the sphere; those of the next but
/// one 663 m, of which the sphere leaves 418 m where it shrinks them most.
const BESIDE: Meters = Meters(400.0);

const PAIRS: usize = 3;
/// How many sides a cell has.
pub(crate) const SIDES: usize = 2 * PAIRS;

/// The part of the way to a side that is left out: half a metre. It covers that the sides are not quite straight
/// in degrees (2 cm at [`FARTHEST_LAT_E7`]), that opposite ones are not quite parallel, and rounding.
const RIM: f64 = 0.003;

/// Nearer to a pole H3 is always asked: degrees are too crooked there.
const FARTHEST_LAT_E7: i32 = 850_000_000;

impl Outline {
    /// Of a cell. `None` if it is a pentagon, lies on two of the icosahedron's faces, or next to a pole: ask H3.
    pub fn of(&PublicPosition { cell, centre }: &PublicPosition) -> Option<Self> {
        let boundary = CellIndex::try_from(cell).ok()?.boundary();
        // More corners than a hexagon has: where it crosses the edge of a face.
        let corners: [h3o::LatLng; SIDES] = (*boundary).try_into().ok()?;
        if centre.lat_e7().abs() > FARTHEST_LAT_E7 {
            return None;
        }
        let corners = corners.map(|corner| {
            let east = (corner.lng() - centre.longitude() + 540.0).rem_euclid(360.0) - 180.0;
            ((corner.lat() - centre.latitude()) * 1e7, east * 1e7)
        });
        let pairs = std::array::from_fn(|pair| {
            let [one, other, facing, last] = [0, 1, 3, 4].map(|n| corners[(pair + n) % SIDES]);
            // 1 on the line through two neighbouring corners.
            let area = one.0 * other.1 - one.1 * other.0;
            let (north, east) = ((other.1 - one.1) / area, (one.0 - other.0) / area);
            let opposite = |corner: (f64, f64)| -(north * corner.0 + east * corner.1);
            let nearest = opposite(facing).min(opposite(last)).min(1.0) * (1.0 - RIM);
            ((north / nearest) as f32, (east / nearest) as f32)
        });
        Some(Self { centre, pairs })
    }

    /// The number of the side towards which a place is farthest. `None` if it is surely in the cell.
    pub fn side_towards(&self, place: LatLng) -> Option<usize> {
        let across = self.across(place);
        let (pair, across) = across.into_iter().enumerate().max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()))?;
        (across.abs() > 1.0).then(|| if across > 0.0 { pair } else { pair + PAIRS })
    }

    /// Whether this is the outline of the same cell or of one that has a side in common with it.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.centre.distance(other.centre) <= BESIDE
    }

    /// True only if the place is in the cell.
    #[inline]
    pub fn holds(&self, place: LatLng) -> bool {
        self.across(place).iter().all(|across| across.abs() <= 1.0)
    }

    /// How far between each pair of sides.
    #[inline]
    fn across(&self, place: LatLng) -> [f32; PAIRS] {
        let north = (place.lat_e7() - self.centre.lat_e7()) as f32;
        // Beyond the antimeridian this wraps, to more than any cell has.
        let east = place.lng_e7().wrapping_sub(self.centre.lng_e7()) as f32;
        self.pairs.map(|(per_north, per_east)| per_north * north + per_east * east)
    }
}

/// Public positions of many places near each other: asks H3 only where no neighbour's outline tells.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// By [`Self::square`]: the cell that was found there last.
    squares: HashMap<(i32, i32), Known>,
    /// The last answer.
    last: Option<Known>,
}

type Known = (PublicPosition, Option<Outline>);

impl Neighbours {
    /// A square of some 90 m, by row and column: places in one have much in common.
    pub const fn square(place: LatLng) -> (i32, i32) {
        (place.lat_e7() >> 13, place.lng_e7() >> 13)
    }

    /// The public position of a place.
    pub fn position(&mut self, place: LatLng) -> PublicPosition {
        let holds = |known: &&Known| known.1.is_some_and(|outline| outline.holds(place));
        // Mostly whoever is asked for next is near. A cell is some eleven squares large.
        if let Some(last) = self.last.as_ref().filter(holds) {
            return last.0;
        }
        let (row, column) = Self::square(place);
        let known = [(row, column), (row - 1, column), (row, column - 1)].map(|square| self.squares.get(&square));
        let found = known.into_iter().flatten().find(holds).copied().unwrap_or_else(|| {
            let public = public_position(place);
            (public, Outline::of(&public))
        });
        self.squares.insert((row, column), found);
        self.last = Some(found);
        found.0
    }
}

/// The public position of a place.
pub fn public_position(place: LatLng) -> PublicPosition {
    named(cell_of(place, Resolution::Nine))
}

/// The H3 cell of resolution 8 (about 0.7 km²) around a place: where an offer shows the customer to be.
pub fn area_cell(place: LatLng) -> u64 {
    cell_of(place, Resolution::Eight).into()
}

/// That cell and its centre.
pub fn area(place: LatLng) -> PublicPosition {
    named(cell_of(place, Resolution::Eight))
}

fn named(cell: CellIndex) -> PublicPosition {
    let centre = h3o::LatLng::from(cell);
    let centre = LatLng::new(centre.lat(), centre.lng()).expect("h3o's centres are within the ranges");
    PublicPosition { cell: cell.into(), centre }
}

fn cell_of(place: LatLng, resolution: Resolution) -> CellIndex {
    h3o::LatLng::new(place.latitude(), place.longitude()).expect("degrees of a place are finite").to_cell(resolution)
}
