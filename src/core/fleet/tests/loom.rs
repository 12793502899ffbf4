//! The grid under many interleavings, with what weak memory may show, of one writer and one reader:
//! `cargo test --features loom --lib fleet::tests::loom`. (The other tests do not run on loom's atomics.)

use loom::sync::Arc;

use crate::core::fleet::chain::Stock;
use crate::core::fleet::classes::ANY;
use crate::core::fleet::grid::{Grid, Spot};
use crate::core::fleet::tiling::Tiling;
use crate::core::fleet::window::Window;
use crate::core::fleet::word::{Change, Overlap, Witness};
use crate::core::geo::{LatLng, Meters};

const WEST: (i32, i32) = (145_510_000, 1_210_200_000);
const EAST: (i32, i32) = (145_510_000, 1_210_240_000);

fn at((lat_e7, lng_e7): (i32, i32)) -> LatLng {
    LatLng::from_e7(lat_e7, lng_e7).expect("a place")
}

fn spot(place: (i32, i32)) -> Spot {
    Spot { place: at(place), class: ANY }
}

/// A grid with points in the slots 0.. at these places.
fn grid(places: &[(i32, i32)]) -> (Grid, Stock) {
    let (grid, mut stock) = (Grid::new(Tiling::usual(), 4, 1), Stock::default());
    for (slot, place) in places.iter().enumerate() {
        let cell = grid.prepare(slot as u32, at(*place), &mut stock).expect("room");
        grid.relocate(slot as u32, &spot(*place), cell, &mut stock, || ());
    }
    (grid, stock)
}

fn move_to(grid: &Grid, slot: u32, place: (i32, i32), stock: &mut Stock) {
    let from = grid.cell_of(slot).expect("in the grid");
    let to = grid.prepare(slot, at(place), stock).expect("room");
    let _change = Change::of([[grid.word(from), grid.word(to)]]);
    if from == to {
        grid.seat(slot).expect("in the grid").set(at(place));
    } else {
        grid.relocate(slot, &spot(place), to, stock, || ());
    }
}

/// Everybody within a kilometre, as one attempt sees them.
fn look(grid: &Grid) -> Result<Vec<(u32, LatLng)>, Overlap> {
    let window = Window::around(grid.tiling(), at(WEST), Meters::new(1_000.0), None);
    let (mut witness, mut seen) = (Witness::new(), Vec::new());
    grid.scan(&window, None, &mut witness, |points| {
        seen.extend(points.iter().filter_map(|p| Some((p.slot, crate::core::fleet::chunk::place_of(p.place)?))));
    })?;
    witness.stands()?;
    seen.sort_unstable();
    Ok(seen)
}

/// Runs the writer beside one look and hands over what was seen, if it was not overlapped.
fn race(
    places: &'static [(i32, i32)],
    write: impl Fn(&Grid, &mut Stock) + Copy + Send + Sync + 'static,
    allowed: &'static [&'static [(u32, (i32, i32))]],
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let (grid, mut stock) = grid(places);
        let grid = Arc::new(grid);
        let writer = {
            let grid = Arc::clone(&grid);
            loom::thread::spawn(move || write(&grid, &mut stock))
        };
        if let Ok(seen) = look(&grid) {
            let allowed =
                allowed.iter().map(|all| all.iter().map(|(slot, place)| (*slot, at(*place))).collect::<Vec<_>>());
            assert!(allowed.clone().any(|state| state == seen), "never true: {seen:?}");
        }
        writer.join().expect("the writer");
        assert!(look(&grid).is_ok(), "a quiet grid can be read at once");
    });
}

#[test]
fn whoever_moves_between_cells_is_met_once() {
    race(&[WEST], |grid, stock| move_to(grid, 0, EAST, stock), &[&[(0, WEST)], &[(0, EAST)]]);
}

#[test]
fn whoever_moves_to_another_row_is_met_once() {
    const NORTH: (i32, i32) = (WEST.0 + 45_000, WEST.1);
    race(&[WEST], |grid, stock| move_to(grid, 0, NORTH, stock), &[&[(0, WEST)], &[(0, NORTH)]]);
}

#[test]
fn whoever_moves_the_other_way_is_met_once() {
    race(&[EAST], |grid, stock| move_to(grid, 0, WEST, stock), &[&[(0, EAST)], &[(0, WEST)]]);
}

/// Two change places: nobody may see both in the same cell.
#[test]
fn two_who_move_one_after_the_other_are_seen_in_that_order() {
    race(
        &[WEST, EAST],
        |grid, stock| {
            move_to(grid, 0, EAST, stock);
            move_to(grid, 1, WEST, stock);
        },
        &[&[(0, WEST), (1, EAST)], &[(0, EAST), (1, EAST)], &[(0, EAST), (1, WEST)]],
    );
}

/// Within their cells: whoever sees the second moved sees the first moved.
#[test]
fn moves_within_cells_are_seen_in_their_order() {
    const NEAR_WEST: (i32, i32) = (WEST.0 + 10, WEST.1);
    const NEAR_EAST: (i32, i32) = (EAST.0 + 10, EAST.1);
    race(
        &[WEST, EAST],
        |grid, stock| {
            move_to(grid, 0, NEAR_WEST, stock);
            move_to(grid, 1, NEAR_EAST, stock);
        },
        &[&[(0, WEST), (1, EAST)], &[(0, NEAR_WEST), (1, EAST)], &[(0, NEAR_WEST), (1, NEAR_EAST)]],
    );
}

/// The harness itself: a move that is not announced, between cells that stay occupied, is caught.
#[test]
#[should_panic(expected = "never true")]
fn a_move_that_is_not_announced_is_caught() {
    let write = |grid: &Grid, stock: &mut Stock| {
        let to = grid.prepare(0, at(EAST), stock).expect("room");
        grid.relocate(0, &spot(EAST), to, stock, || ());
    };
    race(&[WEST, WEST, EAST], write, &[&[(0, WEST), (1, WEST), (2, EAST)], &[(0, EAST), (1, WEST), (2, EAST)]]);
}
