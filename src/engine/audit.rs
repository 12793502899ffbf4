//! Is the index a view of the database? Compares them, lets what is in flight arrive, compares what differed again,
//! repairs and counts what still differs.
//!
//! Fixes are in the index before they are in the table, and both move on while they are read. So the index is looked at,
//! the journal writes what it held then, the rows are read in one snapshot, and the index is looked at again: the row
//! must be no older than the first look and no newer than the second, whatever streams meanwhile. Attributes differ if the
//! index has held the same ones for two looks and the row says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::{Engine, rebuild};
use crate::clock;
use crate::core::fleet::{Duty, Therapist};
use crate::core::geo::LatLng;
use crate::core::ids::ProviderId;
use crate::core::time::Timestamp;
use crate::store::{StoreError, therapists};
use crate::wire::time::WireTime;

/// How long a difference must stand: longer than a batch of pings and a notification need, on a busy node too.
const SETTLE: Duration = Duration::from_millis(400);
const LOOKS: usize = 4;
/// For the journal to write what it holds, over all looks.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// For the applier to read the rows that differ: it may have a whole fleet to read first. Well within the time that a request has.
const APPLIED_WITHIN: Duration = Duration::from_secs(8);
/// Therapists who are named in the log when they differ.
const NAMED: usize = 100;
/// Therapists whose difference is looked at again at once: so few that the index hardly moves while their rows are read.
const AT_ONCE: usize = 1_000;

/// `spacall audit` and `GET /v1/ops/consistency`. Lists hold `providers.uuid`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Drift {
    /// How many therapists differ, in whatever way.
    pub drift: usize,
    /// Matchable by the database, not in the index.
    pub missing: Vec<Uuid>,
    /// Matchable by the index, not by the database.
    pub extra: Vec<Uuid>,
    /// At another place or time than the newest committed fix that counted.
    pub stale: Vec<Uuid>,
    /// With another attribute or state.
    pub different: Vec<Uuid>,
    /// Therapists compared.
    pub checked: usize,
    /// When the database was read.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: WireTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Difference {
    Missing,
    Extra,
    Stale,
    Different,
}

type Shown = Option<(LatLng, Timestamp)>;
type Side = BTreeMap<ProviderId, (Arc<Therapist>, Shown)>;

/// Compares, repairs, tells. Costs one read of every therapist and of his newest fix. A caller that goes away takes no repair that
/// has begun along.
pub async fn run(engine: &Arc<Engine>) -> Result<Drift, StoreError> {
    let as_of = clock::now();
    let patience = clock::monotonic() + WRITTEN_WITHIN;
    let mut found = look(engine, None, patience).await?;
    let (checked, mut before) = (found.checked, BTreeMap::new());
    for _ in 1..LOOKS {
        if found.differences.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        let ids: Vec<_> = found.differences.keys().copied().collect();
        let former = std::mem::take(&mut found);
        for part in ids.chunks(AT_ONCE) {
            let looked = look(engine, Some(part), patience).await?;
            found.differences.extend(looked.differences);
            found.seen.extend(looked.seen);
        }
        before = former.seen;
    }
    // Whom the index has read anew since the last look is behind by a notification: rows that change all the time always are.
    let stands =
        |id: &ProviderId| before.get(id).zip(found.seen.get(id)).is_some_and(|(then, now)| Arc::ptr_eq(then, now));
    found.differences.retain(|id, (difference, ..)| *difference != Difference::Different || stands(id));
    metrics::gauge!("spacall_index_drift").set(found.differences.len() as f64);
    if !found.differences.is_empty() {
        let (engine, differences) = (Arc::clone(engine), found.differences.clone());
        let repaired = tokio::spawn(async move { repair(&engine, &differences).await }).await;
        repaired.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime goes away, and the index with it.
            Err(_) => Ok(()),
        })?;
    }
    let of = |kind: Difference| -> Vec<Uuid> {
        found.differences.values().filter(|(d, ..)| *d == kind).map(|(_, uuid, _)| *uuid).collect()
    };
    Ok(Drift {
        drift: found.differences.len(),
        missing: of(Difference::Missing),
        extra: of(Difference::Extra),
        stale: of(Difference::Stale),
        different: of(Difference::Different),
        checked,
        as_of: WireTime(as_of),
    })
}

/// What differs, of whom, and the fix that the index shows if it is in no table, nor on its way there.
type Differences = BTreeMap<ProviderId, (Difference, Uuid, Shown)>;

#[derive(Default)]
struct Look {
    checked: usize,
    differences: Differences,
    /// Of those who differ in attributes, as the index has them.
    seen: BTreeMap<ProviderId, Arc<Therapist>>,
}

/// Makes the index show what the rows say by now. Nothing that came after the last look is undone: rows are the applier's to
/// read, in turn with the changes that it hears of, and a position is taken back only where it is still the shown one.
async fn repair(engine: &Engine, differences: &Differences) -> Result<(), StoreError> {
    let ids: Vec<_> = differences.keys().copied().collect();
    let first = &ids[..ids.len().min(NAMED)];
    tracing::error!(count = ids.len(), ?first, "the index differs from the database: it is repaired");
    let applied = tokio::select! {
        // The applier has gone, and the index goes.
        () = engine.shutdown.cancelled() => return Ok(()),
        applied = tokio::time::timeout(APPLIED_WITHIN, engine.reread(ids.iter().copied())) => applied,
    };
    if !matches!(applied, Ok(Ok(()))) {
        tracing::warn!("the rows that differ are not read yet: they are once the applier has got to them");
    }
    let since = rebuild::horizon(&engine.settings(), clock::now());
    let fixes = therapists::newest_fixes(&engine.pool, Some(&ids), since).await?;
    let newest: BTreeMap<_, _> = fixes.iter().copied().collect();
    for (provider, (_, _, phantom)) in differences {
        if let Some(shown) = phantom {
            engine.fleet.take_back(*provider, *shown, newest.get(provider).copied());
        }
    }
    engine.fleet.restore_all(&fixes);
    metrics::counter!("spacall_index_repairs_total").increment(differences.len() as u64);
    Ok(())
}

async fn look(engine: &Engine, only: Option<&[ProviderId]>, patience: Instant) -> Result<Look, StoreError> {
    let settings = engine.settings();
    let wanted: Option<BTreeSet<_>> = only.map(|ids| ids.iter().copied().collect());
    let before = index(engine, wanted.as_ref());
    let written = tokio::time::timeout_at(patience.into(), engine.journal.written_so_far()).await;
    let now = clock::now();
    let (rows, fixes) = therapists::consistent(&engine.pool, only, rebuild::horizon(&settings, now)).await?;
    let after = index(engine, wanted.as_ref());
    let truth: Side = rows
        .into_iter()
        .map(|t| {
            let at = fixes.get(&t.provider).map(|fix| (fix.place, fix.at));
            (t.provider, (Arc::new(t), at))
        })
        .collect();
    let mut differences = compare(&truth, [&before, &after], now, settings.stale_after());
    if !matches!(written, Ok(Ok(()))) {
        // The rows are older than the first look, and are told as such. The fixes that are still to be written are no
        // phantoms: taken out of the index, they would move people back.
        differences.values_mut().for_each(|(_, _, phantom)| *phantom = None);
    }
    let different = differences.iter().filter(|(_, (difference, ..))| *difference == Difference::Different);
    let seen = different.filter_map(|(id, _)| Some((*id, Arc::clone(&after.get(id)?.0)))).collect();
    Ok(Look { checked: truth.len(), differences, seen })
}

fn index(engine: &Engine, wanted: Option<&BTreeSet<ProviderId>>) -> Side {
    let all = engine.fleet.snapshot().into_iter();
    let some = all.filter(|(t, _)| wanted.is_none_or(|ids| ids.contains(&t.provider)));
    some.map(|(t, at)| (t.provider, (t, at))).collect()
}

fn compare(truth: &Side, [before, after]: [&Side; 2], now: Timestamp, stale_after: Duration) -> Differences {
    let mut differences = Differences::new();
    let fresh = |at: Shown| at.filter(|(_, at)| now.since(*at) <= stale_after);
    for (provider, (row, at)) in truth {
        let Some((seen, seen_at)) = after.get(provider) else {
            if matchable(row, *at, now, stale_after) {
                differences.insert(*provider, (Difference::Missing, row.uuid, None));
            }
            continue;
        };
        let first = before.get(provider).and_then(|(_, at)| *at);
        let agree = between(fresh(first), fresh(*at), fresh(*seen_at));
        // Where they agree on the place, it is not what they differ in.
        let shown = if agree { *at } else { *seen_at };
        let (by_rows, by_index) = (matchable(row, *at, now, stale_after), matchable(seen, shown, now, stale_after));
        let difference = match (by_rows, by_index) {
            (true, false) => Some(Difference::Missing),
            (false, true) => Some(Difference::Extra),
            _ if !agree => Some(Difference::Stale),
            _ => (!same(row, seen, now)).then_some(Difference::Different),
        };
        if let Some(difference) = difference {
            let phantom = if agree { None } else { phantom(first, *at, *seen_at) };
            differences.insert(*provider, (difference, row.uuid, phantom));
        }
    }
    for (provider, (seen, _)) in after {
        // Who came only now is in no row that was read.
        if !truth.contains_key(provider) && before.contains_key(provider) {
            differences.insert(*provider, (Difference::Extra, seen.uuid, None));
        }
    }
    differences
}

/// Whether the row's fix is one that the index can have shown between two looks at it: not before `first`, not after
/// `last`. Fixes that are too old to match with are none: the index need not know of them.
fn between(first: Shown, row: Shown, last: Shown) -> bool {
    let follows = |earlier: Shown, later: Shown| match (earlier, later) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => earlier == later || earlier.1 < later.1,
    };
    follows(first, row) && follows(row, last)
}

/// The fix that the index shows and no table has, given that the row is not one of those between the looks. One that came only
/// after the first look is not it: it may be on its way to the table.
fn phantom(first: Shown, row: Shown, last: Shown) -> Shown {
    last.filter(|(_, seen)| first == last && row.is_none_or(|(_, at)| at <= *seen))
}

/// Whether this therapist could be offered a booking of now, as far as he himself goes.
pub fn matchable(t: &Therapist, at: Shown, now: Timestamp, stale_after: Duration) -> bool {
    let fresh = at.is_some_and(|(_, at)| now.since(at) <= stale_after);
    t.may_work(now) && fresh
}

/// Attributes and state; an offer that is over is no offer, whoever has noticed.
fn same(row: &Therapist, seen: &Therapist, now: Timestamp) -> bool {
    let plain = |t: &Therapist| {
        let mut t = t.clone();
        if t.ties.duty().is_idle(now) {
            t.ties.set_duty(Duty::Idle);
        }
        t
    };
    plain(row) == plain(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_agrees_when_the_index_can_have_shown_it_between_the_two_looks() {
        let at =
            |second: i64, north: i32| Some((LatLng::from_e7(north, 0).expect("a place"), Timestamp::from_secs(second)));
        for (first, row, last, agree) in [
            (None, None, None, true),
            (at(1, 0), at(1, 0), at(1, 0), true),
            (at(1, 0), at(2, 0), at(3, 0), true),
            (None, at(1, 0), at(1, 0), true),
            (None, None, at(1, 0), true),          // came after the rows were read
            (at(1, 0), None, at(1, 0), false),     // shown, and in no row
            (at(2, 0), at(1, 0), at(3, 0), false), // the same, with an older row
            (None, at(1, 0), None, false),         // a row that the index does not know
            (at(1, 0), at(3, 0), at(2, 0), false), // nor this newer one
            (at(1, 0), at(1, 9), at(1, 0), false), // another place at that time
        ] {
            assert_eq!(between(first, row, last), agree, "{first:?} {row:?} {last:?}");
        }
    }

    #[test]
    fn a_phantom_was_shown_at_both_looks_and_is_not_older_than_the_row() {
        let at =
            |second: i64, north: i32| Some((LatLng::from_e7(north, 0).expect("a place"), Timestamp::from_secs(second)));
        for (first, row, last, taken_back) in [
            (at(2, 0), None, at(2, 0), at(2, 0)),
            (at(2, 0), at(1, 0), at(2, 0), at(2, 0)),
            (at(2, 0), at(2, 9), at(2, 0), at(2, 0)), // another place at that time
            (at(2, 0), at(1, 0), at(3, 0), None),     // a fix of now came over the phantom
            (at(2, 0), None, at(3, 0), None),
            (at(2, 0), at(3, 0), at(2, 0), None), // behind its row: nothing is to be taken back
            (at(2, 0), at(1, 0), None, None),
        ] {
            assert_eq!(phantom(first, row, last), taken_back, "{first:?} {row:?} {last:?}");
        }
    }
}
