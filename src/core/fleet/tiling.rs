//! How the Earth is cut into cells.
//!
//! Rows of cells have one height everywhere. Sixteen rows are a *band*; within a band all rows have the same number of
//! columns, so that cells stay about square towards the poles. Sixteen by sixteen cells are a *block*. The height is
//! chosen by how crowded the cells are: a search reads whole cells, so some fifteen therapists to a cell serve it best.

use std::sync::{Arc, LazyLock};

use crate::core::geo::{EARTH_RADIUS_M, LatLng, public_position};

/// Rows to a band, columns to a block.
pub(super) const SIDE: i64 = 16;
/// Cells in a block.
pub(super) const CELLS: usize = (SIDE * SIDE) as usize;
/// Longitudes, in 1e-7 degree.
pub(super) const CIRCLE_E7: i64 = 3_600_000_000;

/// Heights to choose from in 1e-7 degree, 60 m to 2 km, each about √2 of the one before. Each divides a meridian into
/// whole bands.
const HEIGHTS_E7: [i64; 11] = [5_625, 7_500, 11_250, 15_625, 22_500, 31_250, 45_000, 62_500, 90_000, 125_000, 180_000];
const USUAL: i64 = 45_000;
/// Metres in 1e-7 degree of latitude.
const METRES: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 1_800_000_000.0;

/// No column is wider, in 1e-7 degree, so that a place in a cell takes few bits; near the poles cells are slender.
const WIDEST_E7: i64 = 1_000_000;

/// What divides the circle into a multiple of [`SIDE`], in order; one is never far from the next.
static WIDTHS_E7: LazyLock<Vec<i64>> = LazyLock::new(|| {
    const CIRCLE: i64 = CIRCLE_E7 / SIDE;
    let small = (1..).take_while(|width| width * width <= CIRCLE).filter(|width| CIRCLE % width == 0);
    let mut all: Vec<_> = small.flat_map(|width| [width, CIRCLE / width]).filter(|width| *width <= WIDEST_E7).collect();
    all.sort_unstable();
    all
});

/// One cutting of the Earth.
#[derive(Clone, Debug)]
pub(super) struct Tiling {
    row_e7: i64,
    rows: i64,
    /// By band: how wide its columns are in 1e-7 degree; about square cells at the band's middle. A circle holds a
    /// multiple of [`SIDE`] of them.
    widths: Arc<[u32]>,
}

/// A cell: the block it is in, by band and column of blocks, and its number within.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Tile {
    pub(super) band: u32,
    pub(super) block: u32,
    pub(super) number: usize,
}

impl Tiling {
    /// With rows of about 500 m, until it is seen how crowded they are.
    pub(super) fn usual() -> Self {
        Self::with_height(USUAL)
    }

    fn with_height(row_e7: i64) -> Self {
        let widths = &*WIDTHS_E7;
        let width = |band: i64| {
            let middle = ((band * SIDE + SIDE / 2) * row_e7) as f64 / 1e7 - 90.0;
            let square = row_e7 as f64 / middle.to_radians().cos();
            let at = widths.partition_point(|width| (*width as f64) < square).min(widths.len() - 1);
            let narrower = widths[at.saturating_sub(1)];
            let best = if square * square < (narrower * widths[at]) as f64 { narrower } else { widths[at] };
            best as u32
        };
        Self { row_e7, rows: 1_800_000_000 / row_e7, widths: (0..1_800_000_000 / row_e7 / SIDE).map(width).collect() }
    }

    /// The tiling for therapists of whom the average shares a cell of this one with `company` (himself included).
    pub(super) fn suited_to(&self, company: f64) -> Self {
        const WANTED: f64 = 16.0;
        let ideal = self.row_e7 as f64 * (WANTED / company.max(0.01)).sqrt();
        let distance = |height: i64| (height as f64 / ideal).ln().abs();
        let best = HEIGHTS_E7.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        match best {
            Some(height) if height != self.row_e7 => Self::with_height(height),
            _ => self.clone(),
        }
    }

    /// Height of a row in 1e-7 degree.
    pub(super) const fn row_e7(&self) -> i64 {
        self.row_e7
    }

    /// Height of a row in metres, about.
    pub(super) const fn row_m(&self) -> f64 {
        self.row_e7 as f64 * METRES
    }

    /// Rows from pole to pole; the North Pole itself belongs to the last.
    pub(super) const fn rows(&self) -> i64 {
        self.rows
    }

    /// How wide the columns of a band are, in 1e-7 degree; ever wider towards the poles.
    pub(super) fn width_e7(&self, band: i64) -> i64 {
        i64::from(self.widths[band as usize])
    }

    /// The number of columns of a band.
    pub(super) fn columns_of(&self, band: i64) -> i64 {
        CIRCLE_E7 / self.width_e7(band)
    }

    /// The row of a latitude.
    pub(super) fn row_of(&self, lat_e7: i64) -> i64 {
        let from_pole = (lat_e7 + 900_000_000).clamp(0, 1_800_000_000);
        // In 32 bits: on many processors a division of 64 costs as much as a whole look-up.
        i64::from(from_pole as u32 / self.row_e7 as u32).min(self.rows() - 1)
    }

    /// The cell of a place. 180 degrees east is the eastern side of the last column.
    pub(super) fn tile_of(&self, place: LatLng) -> Tile {
        let row = self.row_of(i64::from(place.lat_e7()));
        let band = row / SIDE;
        let east = (i64::from(place.lng_e7()) + CIRCLE_E7 / 2).min(CIRCLE_E7 - 1);
        let column = i64::from(east as u32 / self.widths[band as usize]);
        Tile { band: band as u32, block: (column / SIDE) as u32, number: (row % SIDE * SIDE + column % SIDE) as usize }
    }

    /// The corner of the block that a cell is in.
    pub(super) fn corner_of(&self, Tile { band, block, .. }: Tile) -> Corner {
        let (band, column) = (i64::from(band), i64::from(block) * SIDE);
        let west_e7 = column * self.width_e7(band) - CIRCLE_E7 / 2;
        Corner { south_e7: (band * SIDE * self.row_e7 - 900_000_000) as i32, west_e7: west_e7 as i32 }
    }
}

/// Where a cell begins, in 1e-7 degree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Corner {
    pub(super) south_e7: i32,
    pub(super) west_e7: i32,
}

/// Some of many places, evenly chosen: what cells will suit all.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    places: Vec<LatLng>,
    /// Of how many.
    all: usize,
}

impl FromIterator<LatLng> for Sample {
    fn from_iter<I: IntoIterator<Item = LatLng>>(places: I) -> Self {
        const ENOUGH: usize = 16_384;
        let mut places: Vec<_> = places.into_iter().collect();
        let all = places.len();
        let step = all.div_ceil(ENOUGH).max(1);
        places = places.into_iter().step_by(step).collect();
        Self { places, all }
    }
}

impl Sample {
    /// Of the middles of the H3 cells that the places are in: those of most, if there are many.
    pub(super) fn middles(&self) -> Self {
        let mut places: Vec<_> = self.places.iter().map(|place| public_position(*place).centre).collect();
        places.sort_unstable();
        places.dedup();
        Self { all: places.len(), places }
    }

    /// How many of all share the average one's cell, himself included.
    ///
    /// Of a cell's c places each is chosen with probability p: the square of the chosen number is p²c² + p(1-p)c on
    /// average, which gives c² back.
    pub(super) fn company(&self, tiling: &Tiling) -> f64 {
        let (chosen, share) = (self.places.len() as f64, self.places.len() as f64 / self.all.max(1) as f64);
        let mut tiles: Vec<_> = self.places.iter().map(|place| tiling.tile_of(*place)).collect();
        tiles.sort_unstable();
        let squares: usize = tiles.chunk_by(|a, b| a == b).map(|cell| cell.len().pow(2)).sum();
        ((squares as f64 - (1.0 - share) * chosen) / (share * chosen).max(1.0)).max(1.0)
    }

    /// How many blocks hold somebody, at least.
    pub(super) fn blocks(&self, tiling: &Tiling) -> usize {
        let block = |tile: Tile| (tile.band, tile.block);
        let mut blocks: Vec<_> = self.places.iter().map(|place| block(tiling.tile_of(*place))).collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks.len()
    }
}
