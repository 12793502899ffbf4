//! The bounds that exactness rests on.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::Region;
use crate::core::fleet::grid::Grid;
use crate::core::fleet::window::{Window, haversine_at_most};
use crate::core::geo::{
    EARTH_RADIUS_M, LatLng, Meters, PUBLIC_CELL_CIRCUMRADIUS, PUBLIC_CELL_INRADIUS, public_position,
};

/// The place that is `distance` metres from `from`, in a random direction, to 1e-7 degree.
fn at_distance(from: LatLng, distance: f64, rng: &mut StdRng) -> LatLng {
    let (lat, angle) = (from.latitude().to_radians(), distance / EARTH_RADIUS_M);
    let bearing = rng.random_range(0.0..std::f64::consts::TAU);
    let sine = lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos();
    let east = (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * sine);
    let lng = (from.longitude() + east.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
    LatLng::new(sine.clamp(-1.0, 1.0).asin().to_degrees(), lng).unwrap()
}

fn scanned(grid: &Grid, window: &Window, done: Option<&Window>) -> Vec<u32> {
    let mut ids = Vec::new();
    grid.scan(window, done, |chunk| ids.extend(chunk.points().map(|(_, _, id)| id)));
    ids
}

#[test]
fn a_window_holds_everybody_within_its_distance_and_growing_windows_meet_each_once() {
    for seed in 0..3_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let region = [Region::Mixed, Region::NorthPole, Region::SouthPole, Region::Antimeridian, Region::Globe]
            [seed as usize % 5];
        let centre = region.place(&mut rng);
        let mut reach = 10f64.powf(rng.random_range(-1.0..6.5));
        let mut grid = Grid::default();
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
            let window = Window::around(centre, Meters::new(reach), done.as_ref());
            for id in scanned(&grid, &window, done.as_ref()) {
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
                    let (dlat, dlng) =
                        (place.lat_e7() - centre.lat_e7(), i64::from(place.lng_e7()) - i64::from(centre.lng_e7()));
                    let bound = window.haversine_at_least(i64::from(dlat), dlng);
                    assert!(bound <= haversine_at_most(distance), "seed {seed}: {centre} {place} {bound}");
                }
            }
            done = Some(window);
            reach *= if rng.random_bool(0.2) { 1.000_000_001 } else { rng.random_range(1.0..4.0) };
        }
        let window = Window::around(centre, Meters::new(1e9), None);
        assert!(window.is_whole_earth() && scanned(&grid, &window, None).len() == 60, "seed {seed}");
    }
}

#[test]
fn the_lower_bound_is_worth_having() {
    let centre = LatLng::new(14.55, 121.02).unwrap();
    let window = Window::around(centre, Meters::new(5_000.0), None);
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..1_000 {
        let far = at_distance(centre, rng.random_range(10.0..5_000.0), &mut rng);
        let distance = centre.distance(far);
        let dlat = i64::from(far.lat_e7() - centre.lat_e7());
        let bound = window.haversine_at_least(dlat, i64::from(far.lng_e7() - centre.lng_e7()));
        assert!(bound > haversine_at_most(Meters::new(distance.get() * 0.999)), "{distance:?}");
    }
}

#[test]
fn a_grid_forgets_cells_that_emptied() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut grid = Grid::default();
    for id in 0..2_000 {
        grid.set(id, Region::Street.place(&mut rng));
    }
    for id in 0..2_000 {
        grid.set(id, Region::Globe.place(&mut rng));
    }
    for id in 0..2_000 {
        assert!(grid.place(id).is_some());
        grid.remove(id);
        assert_eq!(grid.place(id), None);
    }
    assert!(grid.is_empty(), "blocks without anybody remain");
}

/// The slack of public answers, and the shortcut of moves. 0.8035827, 1.2483974 is the centre of an icosahedron's face,
/// where cells are largest.
#[test]
fn public_cells_are_no_larger_and_no_smaller_than_stated() {
    let mut rng = StdRng::seed_from_u64(9);
    let face = LatLng::new(0.803_582_65f64.to_degrees(), 1.248_397_42f64.to_degrees()).unwrap();
    let mut farthest = 0f64;
    for n in 0..60_000 {
        let place = match n % 3 {
            0 => Region::Globe.place(&mut rng),
            1 => Region::Mixed.place(&mut rng),
            _ => {
                let by = rng.random_range(0.0..20_000.0);
                at_distance(face, by, &mut rng)
            }
        };
        let public = public_position(place);
        farthest = farthest.max(public.centre.distance(place).get());
        let near = at_distance(public.centre, rng.random_range(0.0..PUBLIC_CELL_INRADIUS.get()), &mut rng);
        assert_eq!(public_position(near), public, "{near} is {:?} from the centre", near.distance(public.centre));
    }
    println!("farthest from its centre: {farthest} m");
    assert!(farthest <= PUBLIC_CELL_CIRCUMRADIUS.get());
    assert!(farthest > 219.0, "the sample misses the largest cells");
}
