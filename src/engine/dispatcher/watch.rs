//! The promises of dispatch, watched in the running service: the predicates of the model test over the rows, and the
//! machine's own check, as metrics. All are 0 unless something is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::core::dispatch::Dispatch;
use crate::core::dispatch::promises::Broken;
use crate::core::ids::BookingId;
use crate::store::{StoreError, promises};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// What is due is seen to within this, a failed write or two included; what a look finds open must stand as long.
const GRACE: Duration = Duration::from_secs(15);

const LOOKS: &str = "spacall_promises_looked_at_total";
const WINNERS: &str = "spacall_bookings_with_several_winners";
const BUSY: &str = "spacall_therapists_on_several_bookings";
const ASKED: &str = "spacall_therapists_with_several_offers";
const ORPHANS: &str = "spacall_offers_without_a_search";
const OVERDUE: &str = "spacall_bookings_overdue";
const SILENT: &str = "spacall_offers_overdue";
const ENDLESS: &str = "spacall_bookings_nobody_drives";
const FAULTS: &str = "spacall_dispatch_index_faults";

/// A question to the machine: whether its indexes agree, and which bookings it has.
pub(super) type Look = oneshot::Sender<Answer>;

/// What the machine says.
pub(super) struct Answer {
    agrees: Result<(), String>,
    bookings: Vec<BookingId>,
}

impl Answer {
    pub(super) fn of(machine: &Dispatch) -> Self {
        Self { agrees: machine.check(), bookings: machine.bookings() }
    }
}

fn describe() {
    describe_counter!(
        LOOKS,
        Unit::Count,
        "Looks at the promises of dispatch that were made; stands still: nobody looks"
    );
    describe_gauge!(WINNERS, Unit::Count, "Bookings with more than one accepted offer");
    describe_gauge!(BUSY, Unit::Count, "Therapists who are on more than one booking");
    describe_gauge!(ASKED, Unit::Count, "Therapists with more than one unanswered offer");
    describe_gauge!(ORPHANS, Unit::Count, "Unanswered offers of bookings that do not wait for an accept");
    describe_gauge!(
        OVERDUE,
        Unit::Count,
        "Bookings that should have been ended, or taken back from who did not set out, 15 s ago and more"
    );
    describe_gauge!(SILENT, Unit::Count, "Unanswered offers that should have been closed 15 s ago and more");
    describe_gauge!(ENDLESS, Unit::Count, "Pending bookings that no node has had in its machine since the last look");
    describe_gauge!(FAULTS, Unit::Count, "1 when the indexes of the dispatch machine do not agree with its bookings");
}

/// Runs until `shutdown`, from the first reconciliation on.
pub(super) async fn run(shared: Arc<Shared>, machine: mpsc::Sender<Look>, shutdown: CancellationToken) {
    let mut open = Open::default();
    let mut described = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if !shared.claims.is_open() {
            continue;
        }
        // Not before: what is said before the process's recorder is set up is lost.
        if !std::mem::replace(&mut described, true) {
            describe();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            looked = look(&shared, &machine, &mut open) => if let Err(error) = looked {
                tracing::warn!(%error, "the promises of dispatch could not be looked at now");
            }
        }
    }
}

/// What one look alone does not tell to be wrong: it may have been on its way.
#[derive(Default)]
struct Open {
    orphans: BTreeSet<i64>,
    nobodys: BTreeSet<BookingId>,
}

async fn look(shared: &Shared, machine: &mpsc::Sender<Look>, open: &mut Open) -> Result<(), StoreError> {
    let rows = promises::rows(&shared.pool, shared.claims.node(), shared.search_rules().set_out_within).await?;
    let (ask, answer) = oneshot::channel();
    let (Ok(()), Ok(machine)) = (machine.send(ask).await, answer.await) else { return Ok(()) };

    let broken = Broken::among(&rows.bookings, &rows.offers);
    // An offer that its booking's end left behind is withdrawn when that is heard of.
    let orphans: BTreeSet<i64> = broken.orphans.iter().map(|offer| offer.0).collect();
    let still_orphans = orphans.intersection(&open.orphans).count();
    let known: BTreeSet<_> = machine.bookings.into_iter().collect();
    let unknown = rows.driven.iter().filter(|booking| !known.contains(booking));
    let nobodys: BTreeSet<_> = rows.undriven.iter().chain(unknown).copied().collect();
    let still_nobodys = nobodys.intersection(&open.nobodys).count();
    let late = rows.now.minus(GRACE);
    let overdue = rows.bookings.iter().filter(|row| row.is_overdue(late)).count();
    let silent = rows.offers.iter().filter(|row| row.is_overdue(late)).count();
    for (name, count) in [
        (WINNERS, broken.several_winners.len()),
        (BUSY, broken.several_bookings.len()),
        (ASKED, broken.several_offers.len()),
        (ORPHANS, still_orphans),
        (OVERDUE, overdue),
        (SILENT, silent),
        (ENDLESS, still_nobodys),
        (FAULTS, usize::from(machine.agrees.is_err())),
    ] {
        gauge!(name).set(count as f64);
        if count > 0 {
            tracing::error!(metric = name, count, "dispatch does not keep a promise");
        }
    }
    if let Err(fault) = machine.agrees {
        tracing::error!(%fault, "the indexes of the dispatch machine do not agree");
    }
    counter!(LOOKS).increment(1);
    *open = Open { orphans, nobodys };
    Ok(())
}
