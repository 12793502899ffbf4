//! A simulation that finds nothing proves nothing: each planted defect must be found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use spacall::core::dispatch::Defect;

use super::live_through;
use super::store::Flaw;
use super::world::World;

/// Each is to be found within so many runs.
const RUNS: u64 = 3_000;

fn found(name: &str, plant: impl Fn(&mut World)) {
    for seed in 0..RUNS {
        let mut world = World::new(seed, false);
        plant(&mut world);
        let Err(failure) = catch_unwind(AssertUnwindSafe(|| live_through(world))) else { continue };
        let said = failure.downcast_ref::<String>().map_or("(a panic)", String::as_str);
        println!("{name}: found by seed {seed}: {said}");
        return;
    }
    panic!("{name}: not found in {RUNS} runs");
}

fn planted(defect: Defect) {
    found(&format!("{defect:?}"), |world| {
        world.defect = Some(defect);
        world.machine = world.new_machine();
    });
}

macro_rules! each {
    ($($test:ident: $defect:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            planted(Defect::$defect);
        }
    )*};
}

each! {
    an_old_accept_that_is_believed_is_found: OldAcceptBelieved,
    a_missing_deadline_is_found: MissingDeadline,
    a_lost_withdraw_is_found: LostWithdraw,
    one_offer_too_many_is_found: OneTooMany,
    a_double_effect_is_found: DoubleEffect,
    stale_candidates_are_found: StaleCandidates,
    a_forgotten_no_is_found: NoForgotten,
    deafness_to_supply_is_found: DeafToSupply,
    a_write_without_a_second_try_is_found: NoSecondTry,
    a_stale_index_is_found: StaleIndex,
    trust_in_a_jumping_clock_is_found: ClockTrusted,
    a_search_that_ends_early_is_found: EndedEarly,
    a_forgotten_loser_of_a_matching_is_found: LoserForgotten,
    a_machine_that_never_doubts_is_found: NeverInDoubt,
}

#[test]
fn an_unguarded_accept_is_found() {
    found("UnguardedAccept", |world| world.store.flaw = Some(Flaw::UnguardedAccept));
}

#[test]
fn an_accept_that_overlaps_another_booking_is_found() {
    found("OverlapAllowed", |world| world.store.flaw = Some(Flaw::OverlapAllowed));
}

#[test]
fn losers_that_keep_their_offer_are_found() {
    found("LosersKept", |world| world.store.flaw = Some(Flaw::LosersKept));
}
