//! Is the index a view of the database? Compares them, lets what is in flight arrive, compares what differed again,
//! repairs and counts what still differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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

type Side = BTreeMap<ProviderId, (Therapist, Option<(LatLng, Timestamp)>)>;

/// Compares, repairs, tells. Costs one read of every therapist and of his newest fix.
pub async fn run(engine: &Engine) -> Result<Drift, StoreError> {
    let as_of = clock::now();
    let mut found = look(engine, None).await?;
    let checked = found.checked;
    for _ in 1..LOOKS {
        if found.differences.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        let ids: Vec<_> = found.differences.keys().copied().collect();
        found = look(engine, Some(&ids)).await?;
    }
    if !found.differences.is_empty() {
        let ids: Vec<_> = found.differences.keys().copied().collect();
        tracing::error!(providers = ?ids, "the index differs from the database: repaired");
        rebuild::some(&engine.pool, &engine.fleet, &ids, &engine.settings(), clock::now()).await?;
        let since = rebuild::horizon(&engine.settings(), clock::now());
        for (provider, fix) in therapists::newest_fixes(&engine.pool, Some(&ids), since).await? {
            engine.fleet.restore_position(provider, fix);
        }
    }
    metrics::gauge!("spacall_index_drift").set(found.differences.len() as f64);
    metrics::counter!("spacall_index_repairs_total").increment(found.differences.len() as u64);
    let of = |kind: Difference| -> Vec<Uuid> {
        found.differences.values().filter(|(d, _)| *d == kind).map(|(_, uuid)| *uuid).collect()
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

struct Look {
    checked: usize,
    differences: BTreeMap<ProviderId, (Difference, Uuid)>,
}

async fn look(engine: &Engine, only: Option<&[ProviderId]>) -> Result<Look, StoreError> {
    let settings = engine.settings();
    let now = clock::now();
    let (rows, fixes) = therapists::consistent(&engine.pool, only, rebuild::horizon(&settings, now)).await?;
    let truth: Side = rows
        .into_iter()
        .map(|t| {
            let at = fixes.get(&t.provider).map(|fix| (fix.place, fix.at));
            (t.provider, (t, at))
        })
        .collect();
    let wanted: Option<BTreeSet<_>> = only.map(|ids| ids.iter().copied().collect());
    let index: Side = engine
        .fleet
        .snapshot()
        .into_iter()
        .filter(|(t, _)| wanted.as_ref().is_none_or(|ids| ids.contains(&t.provider)))
        .map(|(t, at)| (t.provider, ((*t).clone(), at)))
        .collect();
    Ok(Look { checked: truth.len(), differences: compare(&truth, &index, now, settings.stale_after()) })
}

fn compare(
    truth: &Side,
    index: &Side,
    now: Timestamp,
    stale_after: Duration,
) -> BTreeMap<ProviderId, (Difference, Uuid)> {
    let mut differences = BTreeMap::new();
    for (provider, (row, at)) in truth {
        let difference = match index.get(provider) {
            None => matchable(row, *at, now, stale_after).then_some(Difference::Missing),
            Some((seen, seen_at)) => {
                let (by_rows, by_index) =
                    (matchable(row, *at, now, stale_after), matchable(seen, *seen_at, now, stale_after));
                if by_rows && !by_index {
                    Some(Difference::Missing)
                } else if by_index && !by_rows {
                    Some(Difference::Extra)
                } else if !same_place(*at, *seen_at, now, stale_after) {
                    Some(Difference::Stale)
                } else {
                    (!same(row, seen, now)).then_some(Difference::Different)
                }
            }
        };
        if let Some(difference) = difference {
            differences.insert(*provider, (difference, row.uuid));
        }
    }
    for (provider, (seen, _)) in index {
        if !truth.contains_key(provider) {
            differences.insert(*provider, (Difference::Extra, seen.uuid));
        }
    }
    differences
}

/// Whether this therapist could be offered a booking of now, as far as he himself goes.
pub fn matchable(t: &Therapist, at: Option<(LatLng, Timestamp)>, now: Timestamp, stale_after: Duration) -> bool {
    let fresh = at.is_some_and(|(_, at)| now.since(at) <= stale_after);
    t.verified && t.active && t.available && idle(&t.duty, now) && fresh
}

fn idle(duty: &Duty, now: Timestamp) -> bool {
    match duty {
        Duty::Idle => true,
        Duty::Offered { until } => *until <= now,
        Duty::Booked { .. } => false,
    }
}

/// Positions that are both too old to match with are alike: the index need not know of them.
fn same_place(
    truth: Option<(LatLng, Timestamp)>,
    seen: Option<(LatLng, Timestamp)>,
    now: Timestamp,
    stale_after: Duration,
) -> bool {
    let fresh = |at: Option<(LatLng, Timestamp)>| at.filter(|(_, at)| now.since(*at) <= stale_after);
    fresh(truth) == fresh(seen)
}

/// Attributes and state; an offer that is over is no offer, whoever has noticed.
fn same(row: &Therapist, seen: &Therapist, now: Timestamp) -> bool {
    let plain = |t: &Therapist| {
        let mut t = t.clone();
        if idle(&t.duty, now) {
            t.duty = Duty::Idle;
        }
        t
    };
    plain(row) == plain(seen)
}
