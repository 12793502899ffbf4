//! What a therapist costs in memory: bytes asked of the allocator and not given back.
//!
//! `script/bench memory`.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spacall::core::fleet::{Fleet, Therapist};

use support::table::{self, Limit, Line};
use support::world::{Town, fleet_of};

/// The system's allocator, counting.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to `System` as it came; the counter beside it has no part in what is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above, hence from `System`, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `make` made, and the bytes that it holds.
fn weigh<T>(make: impl FnOnce() -> T) -> (T, f64) {
    let before = LIVE.load(Ordering::Relaxed);
    let made = black_box(make());
    (made, (LIVE.load(Ordering::Relaxed) - before) as f64)
}

fn main() {
    let town = Town::open();
    let mut lines = Vec::new();
    for n in [100_000, 1_000_000] {
        let each = |bytes: f64| bytes / n as f64;
        let (fleet, all) = weigh(|| fleet_of(town.therapists(n)));
        assert_eq!(fleet.len(), n);
        drop(fleet);
        // The same people with nothing to search by: no place, so no slot in any grid.
        let (_, placeless) = weigh(|| {
            let fleet = Fleet::new();
            town.therapists(n).for_each(|person| fleet.put(Therapist { base_location: None, ..person.row }));
            fleet
        });
        let (_, rows) = weigh(|| town.therapists(n).map(|person| Arc::new(person.row)).collect::<Vec<_>>());
        lines.extend([
            line(n, "all, the base location's index included", each(all), Limit::AtMost(256.0)),
            line(
                n,
                "position and search: all but the attributes as `Arc<Therapist>`",
                each(all - rows),
                Limit::AtMost(64.0),
            ),
            line(n, "of that, what comes with places", each(all - placeless), Limit::None),
            line(n, "the attributes alone, as `Arc<Therapist>`", each(rows), Limit::None),
        ]);
    }
    println!("A row is {} B and its texts and lists.", size_of::<Therapist>());
    table::print(&format!("Memory a therapist, bytes; {}", town.source), &lines);
}

fn line(therapists: usize, work: &str, bytes: f64, limit: Limit) -> Line {
    Line { work: format!("{therapists}: {work}"), figures: format!("{bytes:.0} B"), value: bytes, limit }
}
