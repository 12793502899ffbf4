//! The floor: as little as an exact search for the nearest can do. A dense equirectangular grid over one city, blocks of
//! sixteen points as a structure of arrays, more chained where a cell is fuller. No attributes, no filters, no expiry,
//! one thread. What the live index costs above it is the price of everything else.

use spacall::core::geo::LatLng;

use super::world::{K, RADIUS_M};

const SLOTS: usize = 16;
const NONE: u32 = u32::MAX;
/// Looked at more than asked for, because the order of plane distances may differ from the true one in the fifth digit.
const SPARE: usize = 4;
/// Metres of 1e-7 degree of latitude.
const M_PER_E7: f32 = 0.011_119_508;
/// Of an empty slot: farther than any answer.
const NOWHERE: i32 = i32::MAX / 2;

#[derive(Clone)]
#[repr(align(64))]
struct Block {
    lat: [i32; SLOTS],
    lng: [i32; SLOTS],
    id: [u32; SLOTS],
}

impl Block {
    const EMPTY: Self = Self { lat: [NOWHERE; SLOTS], lng: [NOWHERE; SLOTS], id: [NONE; SLOTS] };
}

/// Points with ids from 0.
pub struct Floor {
    /// South-west corner and height of a cell, 1e-7 degree; its width is the same in degrees over cos(latitude).
    south: i32,
    west: i32,
    height: i32,
    width: i32,
    rows: i32,
    columns: i32,
    /// The first block of a cell has the cell's number; what follows are the chained ones.
    blocks: Vec<Block>,
    len: Vec<u8>,
    next: Vec<u32>,
    free: Vec<u32>,
    /// By id: block * 16 + slot.
    at: Vec<u32>,
}

/// Plane distance squared in units of 1e-7 degree of latitude, and id.
type Near = (f32, u32);

impl Floor {
    /// Cells of `cell_m` metres over all of `places`; ids are their positions.
    pub fn new(places: &[LatLng], cell_m: f32) -> Self {
        let lats = || places.iter().map(|p| p.lat_e7());
        let lngs = || places.iter().map(|p| p.lng_e7());
        let margin = 10_000; // 100 m: moves of 50 m stay inside
        let (south, north) = (lats().min().unwrap_or(0) - margin, lats().max().unwrap_or(0) + margin);
        let (west, east) = (lngs().min().unwrap_or(0) - margin, lngs().max().unwrap_or(0) + margin);
        let height = (cell_m / M_PER_E7) as i32;
        let width = (height as f64 / (f64::from(south) / 1e7).to_radians().cos()) as i32;
        let (rows, columns) = ((north - south) / height + 1, (east - west) / width + 1);
        let cells = (rows * columns) as usize;
        let mut floor = Self {
            south,
            west,
            height,
            width,
            rows,
            columns,
            blocks: vec![Block::EMPTY; cells],
            len: vec![0; cells],
            next: vec![NONE; cells],
            free: Vec::new(),
            at: vec![NONE; places.len()],
        };
        for (id, &place) in places.iter().enumerate() {
            floor.insert(id as u32, place);
        }
        floor
    }

    fn cell(&self, place: LatLng) -> (i32, i32) {
        ((place.lat_e7() - self.south) / self.height, (place.lng_e7() - self.west) / self.width)
    }

    fn number(&self, (row, column): (i32, i32)) -> u32 {
        (row * self.columns + column) as u32
    }

    /// Whether a move goes from one cell to another.
    pub fn crosses(&self, from: LatLng, to: LatLng) -> bool {
        self.cell(from) != self.cell(to)
    }

    /// Moves a point. Constant time, but for the chain of a crowded cell.
    pub fn set(&mut self, id: u32, to: LatLng) {
        let at = self.at[id as usize];
        let (block, slot) = ((at as usize) / SLOTS, (at as usize) % SLOTS);
        let here = &mut self.blocks[block];
        let from = ((here.lat[slot] - self.south) / self.height, (here.lng[slot] - self.west) / self.width);
        if from == ((to.lat_e7() - self.south) / self.height, (to.lng_e7() - self.west) / self.width) {
            (here.lat[slot], here.lng[slot]) = (to.lat_e7(), to.lng_e7());
            return;
        }
        self.remove(from, block, slot);
        self.insert(id, to);
    }

    fn insert(&mut self, id: u32, place: LatLng) {
        let mut block = self.number(self.cell(place)) as usize;
        while self.len[block] as usize == SLOTS {
            if self.next[block] == NONE {
                let fresh = self.free.pop().unwrap_or_else(|| {
                    self.blocks.push(Block::EMPTY);
                    self.len.push(0);
                    self.next.push(NONE);
                    (self.blocks.len() - 1) as u32
                });
                self.next[block] = fresh;
            }
            block = self.next[block] as usize;
        }
        let slot = self.len[block] as usize;
        let here = &mut self.blocks[block];
        (here.lat[slot], here.lng[slot], here.id[slot]) = (place.lat_e7(), place.lng_e7(), id);
        self.len[block] += 1;
        self.at[id as usize] = (block * SLOTS + slot) as u32;
    }

    /// The last point of the chain takes the place of the one that leaves.
    fn remove(&mut self, cell: (i32, i32), block: usize, slot: usize) {
        let (mut last, mut before) = (self.number(cell) as usize, NONE);
        while self.next[last] != NONE {
            before = last as u32;
            last = self.next[last] as usize;
        }
        let end = self.len[last] as usize - 1;
        let (lat, lng, id) = (self.blocks[last].lat[end], self.blocks[last].lng[end], self.blocks[last].id[end]);
        let hole = &mut self.blocks[block];
        (hole.lat[slot], hole.lng[slot], hole.id[slot]) = (lat, lng, id);
        self.at[id as usize] = (block * SLOTS + slot) as u32;
        let gone = &mut self.blocks[last];
        (gone.lat[end], gone.lng[end], gone.id[end]) = (NOWHERE, NOWHERE, NONE);
        self.len[last] -= 1;
        if end == 0 && before != NONE {
            self.next[before as usize] = NONE;
            self.free.push(last as u32);
        }
    }

    /// The nearest [`K`] within [`RADIUS_M`], by the service's metric: square rings of cells until the nearest edge of
    /// what was scanned is farther than the k-th; then the few that are left by their true distance.
    pub fn nearest(&self, place: LatLng) -> Vec<(f64, u32)> {
        let (row, column) = self.cell(place);
        let (lat, lng) = (place.lat_e7(), place.lng_e7());
        let east = place.latitude().to_radians().cos() as f32;
        let mut best: [Near; K + SPARE] = [((RADIUS_M as f32 * 1.001 / M_PER_E7).powi(2), NONE); K + SPARE];
        for ring in 0.. {
            for r in row - ring..=row + ring {
                let step = if (r - row).abs() == ring { 1 } else { 2 * ring.max(1) };
                for c in (column - ring..=column + ring).step_by(step as usize) {
                    if r >= 0 && r < self.rows && c >= 0 && c < self.columns {
                        self.scan((r, c), (lat, lng), east, &mut best);
                    }
                }
            }
            let up = self.south + (row + ring + 1) * self.height - lat;
            let down = lat - (self.south + (row - ring) * self.height);
            let right = self.west + (column + ring + 1) * self.width - lng;
            let left = lng - (self.west + (column - ring) * self.width);
            // Meridians come together towards the pole: a little less than the width here, at the ring's far edge.
            let edge = (up.min(down) as f32).min(right.min(left) as f32 * east * 0.998);
            if edge > 0.0 && edge * edge > best[K + SPARE - 1].0 {
                break;
            }
        }
        let (lats, ids) = (best.iter().filter(|near| near.1 != NONE), &self.at);
        let mut found: Vec<(f64, u32)> = lats
            .map(|&(_, id)| {
                let at = ids[id as usize] as usize;
                let block = &self.blocks[at / SLOTS];
                let there = LatLng::from_e7(block.lat[at % SLOTS], block.lng[at % SLOTS]).expect("a place");
                (there.distance(place).get(), id)
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found.truncate(K);
        found.retain(|near| near.0 <= RADIUS_M);
        found
    }

    #[inline]
    fn scan(&self, cell: (i32, i32), (lat, lng): (i32, i32), east: f32, best: &mut [Near; K + SPARE]) {
        let mut block = self.number(cell);
        while block != NONE {
            let here = &self.blocks[block as usize];
            let mut squares = [0.0_f32; SLOTS];
            for ((square, there_lat), there_lng) in squares.iter_mut().zip(&here.lat).zip(&here.lng) {
                let north = (there_lat - lat) as f32;
                let east = (there_lng - lng) as f32 * east;
                *square = north * north + east * east;
            }
            for (&square, &id) in squares.iter().zip(&here.id) {
                if square < best[K + SPARE - 1].0 {
                    keep(best, (square, id));
                }
            }
            block = self.next[block as usize];
        }
    }
}

/// Sorted in, the last drops out.
#[inline]
fn keep(best: &mut [Near; K + SPARE], near: Near) {
    let mut i = best.len() - 1;
    while i > 0 && best[i - 1].0 > near.0 {
        best[i] = best[i - 1];
        i -= 1;
    }
    best[i] = near;
}
