//! The bounds that exactness rests on.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::Region;
use crate::core::fleet::chain::Stock;
use crate::core::fleet::classes::ANY;
use crate::core::fleet::grid::{Grid, Spot};
use crate::core::fleet::tiling::{CIRCLE_E7, SIDE, Sample, Tiling};
use crate::core::fleet::window::{Window, haversine_at_most};
use crate::core::fleet::word::{Change, Witness};
use crate::core::geo::{CELL_REACH, EARTH_RADIUS_M, LatLng, Meters, Outline, PublicPosition, public_position};

/// The place that is `distance` metres from `from`, in a random direction, to 1e-7 degree.
fn at_distance(from: LatLng, distance: f64, rng: &mut StdRng) -> LatLng {
    let (lat, angle) = (from.latitude().to_radians(), distance / EARTH_RADIUS_M);
    let bearing = rng.random_range(0.0..std::f64::consts::TAU);
    let sine = lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos();
    let east = (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * sine);
    let lng = (from.longitude() + east.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
    LatLng::new(sine.clamp(-1.0, 1.0).asin().to_degrees(), lng).unwrap()
}

fn spot(place: LatLng) -> Spot {
    Spot { place, class: ANY }
}

/// A grid and its stock, with room for what the tests put into it.
struct Points {
    grid: Grid,
    stock: Stock,
}

impl Points {
    fn new(tiling: Tiling) -> Self {
        Self { grid: Grid::new(tiling, 4_096, 8_192), stock: Stock::default() }
    }

    fn set(&mut self, slot: u32, place: LatLng) {
        let cell = self.grid.prepare(slot, place, &mut self.stock).expect("room");
        if self.grid.cell_of(slot) == Some(cell) {
            return self.grid.seat(slot).expect("a place there").set(place);
        }
        self.grid.relocate(slot, &spot(place), cell, &mut self.stock, || ());
    }

    fn scanned(&self, window: &Window, done: Option<&Window>) -> Vec<u32> {
        let (mut slots, mut witness) = (Vec::new(), Witness::new());
        let visited = self.grid.scan(window, done, &mut witness, |points| {
            slots.extend(points.iter().map(|point| point.slot));
        });
        visited.and_then(|()| witness.stands()).expect("nobody writes");
        slots
    }

    fn around(&self, place: LatLng, reach: f64, done: Option<&Window>) -> Window {
        Window::around(self.grid.tiling(), place, Meters::new(reach), done)
    }
}

/// Of every height, in turn.
fn tiling(n: u64) -> Tiling {
    Tiling::usual().suited_to([16.0, 0.3, 1.0, 3.0, 100.0, 1_000.0][n as usize % 6])
}

#[test]
fn a_window_holds_everybody_within_its_distance_and_growing_windows_meet_each_once() {
    for seed in 0..3_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let region = [Region::Mixed, Region::NorthPole, Region::SouthPole, Region::Antimeridian, Region::Globe]
            [seed as usize % 5];
        let centre = region.place(&mut rng);
        let mut reach = 10f64.powf(rng.random_range(-1.0..6.5));
        let mut grid = Points::new(tiling(seed / 5));
        let mut places = Vec::new();
        for id in 0..60u32 {
            // Most at the very edge of some window, where rounding decides.
            let place = match id % 4 {
                0 => Region::Mixed.place(&mut rng),
                n => at_distance(
                    centre,
                    reach * 1.7f64.powi(n as i32) * rng.random_range(0.999_999..1.000_001),
                    &mut rng,
                ),
            };
            grid.set(id, place);
            places.push(place);
        }
        let mut done: Option<Window> = None;
        let mut met = BTreeSet::new();
        for _ in 0..12 {
            let window = grid.around(centre, reach, done.as_ref());
            for id in grid.scanned(&window, done.as_ref()) {
                assert!(met.insert(id), "seed {seed}: {id} was met twice");
            }
            for (id, place) in places.iter().enumerate() {
                let distance = centre.distance(*place);
                if distance.get() <= reach {
                    assert!(
                        met.contains(&(id as u32)),
                        "seed {seed}: {place} is {distance:?} from {centre}, within {reach}"
                    );
                }
                if met.contains(&(id as u32)) {
                    let [bound] = window.haversines_at_least(&[place.lat_e7()], &[place.lng_e7()]);
                    assert!(bound <= haversine_at_most(distance), "seed {seed}: {centre} {place} {bound}");
                }
            }
            done = Some(window);
            reach *= if rng.random_bool(0.2) { 1.000_000_001 } else { rng.random_range(1.0..4.0) };
        }
        let window = grid.around(centre, 1e9, None);
        assert!(window.is_whole_earth() && grid.scanned(&window, None).len() == 60, "seed {seed}");
    }
}

/// Places that begin a cell, exactly as far as the window reaches, north, south, east or west: a window that falls short
/// by a unit of 1e-7 degree misses their cell.
#[test]
fn a_window_reaches_the_place_at_its_very_edge() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut tight = 0;
    for case in 0..20_000 {
        let from = if case % 2 == 0 { Region::Globe } else { Region::Mixed }.place(&mut rng);
        let reach = 10f64.powf(rng.random_range(2.0..6.9));
        let border = if case % 4 < 2 { border_of_row } else { border_of_column };
        let tiling = tiling(case / 8);
        let Some(edge) = border(&tiling, from, reach, if case % 8 < 4 { 1 } else { -1 }) else { continue };
        tight += 1;
        let mut grid = Points::new(tiling);
        grid.set(0, edge);
        // A block of their own, so that blocks are looked up one by one as well.
        (1..40).for_each(|id| grid.set(id, Region::Globe.place(&mut rng)));
        let distance = from.distance(edge);
        let window = grid.around(from, distance.get(), None);
        assert!(grid.scanned(&window, None).contains(&0), "case {case}: {edge} is {distance:?} from {from}");
    }
    assert!(tight > 10_000, "{tight}");
}

/// Due north (`side` 1) the southernmost latitude of a row, due south (-1) the northernmost.
fn border_of_row(tiling: &Tiling, from: LatLng, reach: f64, side: i64) -> Option<LatLng> {
    let row = tiling.row_of(i64::from(from.lat_e7()) + side * (reach * 90.0) as i64);
    let row_e7 = tiling.row_e7();
    let lat_e7 = if side > 0 { row * row_e7 } else { (row + 1) * row_e7 - 1 } - 900_000_000;
    let beyond = (lat_e7 - i64::from(from.lat_e7())) * side > 0;
    LatLng::from_e7(lat_e7 as i32, from.lng_e7()).ok().filter(|_| beyond)
}

/// Where a circle around `from` reaches farthest east (`side` 1) the westernmost longitude of a column, and the reverse.
fn border_of_column(tiling: &Tiling, from: LatLng, reach: f64, side: i64) -> Option<LatLng> {
    let lat = from.latitude().to_radians();
    let mut angle = reach / EARTH_RADIUS_M;
    let mut edge = None;
    // The border is not where the circle was: a few circles through it find the one that touches it.
    for _ in 0..5 {
        let (sine, half) = (lat.sin() / angle.cos(), angle.sin() / lat.cos());
        // Near the poles and the antimeridian other tests look.
        if sine.abs() >= 0.999 || half >= 0.99 || from.longitude().abs() > 80.0 {
            return None;
        }
        let lat_e7 = (sine.asin().to_degrees() * 1e7).round() as i64;
        let width_e7 = tiling.width_e7(tiling.row_of(lat_e7) / SIDE);
        let half_e7 = (half.asin().to_degrees() * 1e7).round() as i64;
        let column = (i64::from(from.lng_e7()) + CIRCLE_E7 / 2 + side * half_e7) / width_e7;
        let first_of = |column: i64| column * width_e7;
        let lng_e7 = if side > 0 { first_of(column) } else { first_of(column + 1) - 1 } - CIRCLE_E7 / 2;
        let place = LatLng::from_e7(lat_e7 as i32, lng_e7 as i32).ok()?;
        angle = from.distance(place).get() / EARTH_RADIUS_M;
        edge = Some(place);
    }
    edge
}

#[test]
fn the_lower_bound_is_worth_having() {
    let centre = LatLng::new(14.55, 121.02).unwrap();
    let window = Window::around(&Tiling::usual(), centre, Meters::new(5_000.0), None);
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..1_000 {
        let far = at_distance(centre, rng.random_range(10.0..5_000.0), &mut rng);
        let distance = centre.distance(far);
        let [bound] = window.haversines_at_least(&[far.lat_e7()], &[far.lng_e7()]);
        assert!(bound > haversine_at_most(Meters::new(distance.get() * 0.999)), "{distance:?}");
    }
}

/// At the start the cells are chosen from a sample: as they would be from all.
#[test]
fn a_sample_tells_how_crowded_cells_are() {
    let (tiling, mut rng) = (Tiling::usual(), StdRng::seed_from_u64(4));
    let centre = LatLng::new(14.55, 121.02).unwrap();
    for (all, far) in [(40, 500.0), (3_000, 3_000.0), (60_000, 3_000.0), (400_000, 20_000.0)] {
        let draw = |rng: &mut StdRng| {
            let distance = rng.random_range(0.0..far);
            at_distance(centre, distance, rng)
        };
        let places: Vec<_> = (0..all).map(|_| draw(&mut rng)).collect();
        let mut cells = std::collections::BTreeMap::<_, u64>::new();
        places.iter().for_each(|place| *cells.entry(tiling.tile_of(*place)).or_default() += 1);
        let truth = cells.values().map(|n| n * n).sum::<u64>() as f64 / f64::from(all);
        let sample: Sample = places.into_iter().collect();
        let told = sample.company(&tiling);
        assert!((told / truth).ln().abs() < 0.15, "{all} within {far} m: {told}, in truth {truth}");
        assert!(sample.blocks(&tiling) >= 1);
    }
}

#[test]
fn a_grid_forgets_cells_that_emptied() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut points = Points::new(Tiling::usual());
    for id in 0..2_000 {
        points.set(id, Region::Street.place(&mut rng));
    }
    for id in 0..2_000 {
        points.set(id, Region::Globe.place(&mut rng));
    }
    assert_eq!(points.grid.len(), 2_000);
    for id in 0..2_000 {
        assert!(points.grid.place(id).is_some());
        points.grid.remove(id, &mut points.stock);
        assert_eq!(points.grid.place(id), None);
    }
    assert_eq!((points.grid.len(), points.grid.blocks_in_use()), (0, 0), "cells without anybody count as occupied");
}

/// A writer may be held up between any two steps of a move: until it is whole, nobody may take what he sees for true
/// unless he sees the point, even where it is alone in its cell and leaves its row empty.
#[test]
fn a_point_on_its_way_between_cells_is_not_overlooked() {
    let from = LatLng::from_e7(145_510_000, 1_210_200_000).unwrap();
    for (dlat, dlng) in [(0, 50_000), (50_000, 0), (-50_000, -50_000), (0, 900_000), (900_000, 0)] {
        let to = LatLng::from_e7(from.lat_e7() + dlat, from.lng_e7() + dlng).unwrap();
        let mut points = Points::new(Tiling::usual());
        points.set(0, from);
        let window = points.around(from, 20_000.0, None);
        let Points { grid, stock } = &mut points;
        let cells = [grid.cell_of(0).unwrap(), grid.prepare(0, to, stock).unwrap()];
        let mut looks = 0;
        let look = || {
            let (mut slots, mut witness) = (Vec::new(), Witness::new());
            let scanned = grid.scan(&window, None, &mut witness, |points| slots.extend(points.iter().map(|p| p.slot)));
            let believed = scanned.and_then(|()| witness.stands()).is_ok();
            assert!(!believed || slots == [0], "{dlat}, {dlng}: after step {looks} the answer {slots:?} was believed");
            looks += 1;
        };
        let change = Change::of([cells.map(|cell| grid.word(cell))]);
        grid.relocate(0, &spot(to), cells[1], stock, look);
        drop(change);
        assert_eq!((looks, points.scanned(&window, None)), (3, vec![0]));
    }
}

/// The shortcut of moves. 0.8035827, 1.2483974 is the centre of an icosahedron's face, where cells are largest.
#[test]
fn whoever_moves_within_the_outline_stays_in_the_public_cell_and_nobody_is_far_from_its_middle() {
    let mut rng = StdRng::seed_from_u64(9);
    let face = LatLng::new(0.803_582_65f64.to_degrees(), 1.248_397_42f64.to_degrees()).unwrap();
    let north = LatLng::new(84.99, 20.0).unwrap();
    let (mut held, mut left, mut asked, mut farthest) = (0, 0, 0, Meters::ZERO);
    for n in 0..60_000 {
        let place = match n % 4 {
            0 => Region::Globe.place(&mut rng),
            1 => Region::Mixed.place(&mut rng),
            2 => at_distance(north, rng.random_range(0.0..3_000.0), &mut rng),
            _ => at_distance(face, 10f64.powf(rng.random_range(0.0..6.0)), &mut rng),
        };
        let public = public_position(place);
        farthest = farthest.max(place.distance(public.centre));
        assert!(farthest <= CELL_REACH, "{place} is {farthest:?} from the middle of its cell");
        let Some(outline) = Outline::of(&public) else { continue };
        // Most about as far as the side of the cell.
        let near = at_distance(public.centre, rng.random_range(100.0..240.0), &mut rng);
        match (outline.holds(near), public_position(near) == public) {
            (true, same) => {
                assert!(same, "{near} is {:?} from the centre of {public:?}", near.distance(public.centre));
                held += 1;
            }
            (false, true) => asked += 1,
            (false, false) => left += 1,
        }
    }
    println!("{held} within, {left} in another cell, {asked} on the rim, {farthest:?} the farthest from the centre");
    assert!(farthest > Meters::new(210.0), "nobody stood in a corner");
    assert!(held > 10_000 && left > 10_000, "the outlines are too small or too large: {held} {left}");
    assert!(asked < held / 50, "H3 is asked of {asked}, whom an outline might hold like {held}");
}

/// Pentagons lie at the icosahedron's corners; cells on its 30 edges are bent, with up to eight corners.
#[test]
fn no_outline_is_drawn_of_what_is_bent_and_those_beside_it_are_right() {
    let mut rng = StdRng::seed_from_u64(11);
    let corners: Vec<LatLng> = h3o::Resolution::Nine
        .pentagons()
        .map(|cell| {
            assert_eq!(Outline::of(&PublicPosition { cell: cell.into(), centre: middle(cell) }), None);
            middle(cell)
        })
        .collect();
    let edges: Vec<_> = (0..12).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let edges = edges.into_iter().filter(|&(a, b)| corners[a].distance(corners[b]) < Meters::from_km(7_200.0));
    let (mut bent, mut held, mut all) = (0, 0, 0);
    for (a, b) in edges {
        for n in 0..400 {
            // Many next to a corner, where the bend is greatest.
            let part = if n % 2 == 0 { rng.random_range(0.0..1.0) } else { 10f64.powf(rng.random_range(-4.5..-1.0)) };
            let place = at_distance(on_the_way(corners[a], corners[b], part), rng.random_range(0.0..600.0), &mut rng);
            let public = public_position(place);
            all += 1;
            let outline = Outline::of(&public);
            if h3o::CellIndex::try_from(public.cell).unwrap().boundary().len() > 6 {
                bent += 1;
                assert_eq!(outline, None, "{public:?}");
            }
            let near = at_distance(public.centre, rng.random_range(100.0..240.0), &mut rng);
            if outline.is_some_and(|outline| outline.holds(near)) {
                assert_eq!(public_position(near), public, "{near}");
                held += 1;
            }
        }
    }
    println!("{bent} of {all} cells were bent; {held} places held");
    assert_eq!(all, 30 * 400);
    assert!(bent > 1_000 && held > 1_000);
}

fn middle(cell: h3o::CellIndex) -> LatLng {
    let middle = h3o::LatLng::from(cell);
    LatLng::new(middle.lat(), middle.lng()).unwrap()
}

/// On the great circle between two places.
fn on_the_way(from: LatLng, to: LatLng, part: f64) -> LatLng {
    let vector = |place: LatLng| {
        let (lat, lng) = (place.latitude().to_radians(), place.longitude().to_radians());
        [lat.cos() * lng.cos(), lat.cos() * lng.sin(), lat.sin()]
    };
    let (a, b) = (vector(from), vector(to));
    let angle = from.distance(to).get() / EARTH_RADIUS_M;
    let [x, y, z] = std::array::from_fn(|at| ((1.0 - part) * angle).sin() * a[at] + (part * angle).sin() * b[at]);
    LatLng::new(z.atan2(x.hypot(y)).to_degrees(), y.atan2(x).to_degrees()).unwrap()
}

/// Just within, on, and just beyond the sides.
#[test]
fn at_the_sides_of_a_cell_the_outline_tells_nothing_wrong() {
    let mut rng = StdRng::seed_from_u64(10);
    let (mut held, mut outlined) = (0, 0);
    for n in 0..20_000 {
        let place = if n % 2 == 0 { Region::Globe.place(&mut rng) } else { Region::Mixed.place(&mut rng) };
        let public = public_position(place);
        let Some(outline) = Outline::of(&public) else { continue };
        outlined += 1;
        // Halving the way from the middle to somewhere outside, to a millimetre's neighbourhood of the rim.
        let out = at_distance(public.centre, 250.0, &mut rng);
        if out.lng_e7().abs_diff(public.centre.lng_e7()) > 1_800_000_000 {
            continue;
        }
        let at = |part: f64| {
            let way = |from: i32, to: i32| f64::from(from) + (f64::from(to) - f64::from(from)) * part;
            LatLng::from_e7(
                way(public.centre.lat_e7(), out.lat_e7()) as i32,
                way(public.centre.lng_e7(), out.lng_e7()) as i32,
            )
            .unwrap()
        };
        let (mut within, mut beyond) = (0.0, 1.0);
        for _ in 0..16 {
            let middle = (within + beyond) / 2.0;
            if outline.holds(at(middle)) { within = middle } else { beyond = middle }
        }
        assert_eq!(public_position(at(within)), public, "{} is held", at(within));
        held += 1;
        let farther = at(beyond + 0.01);
        assert_ne!(
            public_position(farther),
            public,
            "{farther}: {outline:?} of {public:?} leaves out more than its rim"
        );
    }
    println!("{held} held at the rim of {outlined}");
    assert!(held > 15_000);
}
