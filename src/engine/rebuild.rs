//! The index from the database: whole at start and after a lost connection, a few therapists whose rows changed, or a part of
//! the fleet that is compared.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::core::fleet::{Duty, Fleet, Therapist};
use crate::core::ids::ProviderId;
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::store::{StoreError, therapists};

/// What a rebuild read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rebuilt {
    /// Therapists in the index.
    pub therapists: usize,
    /// Positions that were put into the index.
    pub positions: usize,
    /// Rows that matching cannot use; each was logged.
    pub unusable: usize,
    /// True when somebody became matchable who was not: a waiting booking may want him.
    pub supply: bool,
}

/// Makes the index equal to the database: every therapist, and for each the newest fix that counted. A position that
/// the index has and the database not yet (its ping waits for its commit) stays: newest wins.
pub(super) async fn all(
    pool: &PgPool,
    fleet: &Fleet,
    settings: &Settings,
    now: Timestamp,
) -> Result<Rebuilt, StoreError> {
    let before: BTreeSet<ProviderId> = fleet.providers().into_iter().collect();
    let (ids, since) = (therapists::ids(pool).await?, horizon(settings, now));
    let (parts, fixes) = tokio::try_join!(
        in_parts(pool, &ids, |pool, part| async move { therapists::load(&pool, Some(&part)).await }),
        in_parts(
            pool,
            &ids,
            move |pool, part| async move { therapists::newest_fixes(&pool, Some(&part), since).await }
        ),
    )?;
    let (mut rows, mut unusable) = (Vec::with_capacity(ids.len()), Vec::new());
    for (some, bad) in parts {
        rows.extend(some);
        unusable.extend(bad);
    }
    let fixes: Vec<_> = fixes.into_iter().flatten().collect();
    let kept: BTreeSet<ProviderId> = rows.iter().map(|t| t.provider).collect();
    let mut rebuilt = Rebuilt { therapists: rows.len(), unusable: unusable.len(), supply: true, ..Rebuilt::default() };
    fleet.put_all(rows);
    for gone in before.difference(&kept) {
        fleet.remove(*gone);
    }
    report(&unusable);
    rebuilt.positions = fixes.len();
    fleet.restore_all(&fixes);
    Ok(rebuilt)
}

/// A large fleet is read in parts at once, each in a task of its own: both the database and the reading of its answers
/// take time. A therapist is in one part; what changes meanwhile is heard of by notification.
async fn in_parts<T, F>(
    pool: &PgPool,
    ids: &[ProviderId],
    read: impl Fn(PgPool, Vec<ProviderId>) -> F,
) -> Result<Vec<T>, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    const PARTS: usize = 4;
    const SMALLEST_PART: usize = 5_000;
    let mut reading = JoinSet::new();
    for part in ids.chunks(ids.len().div_ceil(PARTS).max(SMALLEST_PART)) {
        reading.spawn(read(pool.clone(), part.to_vec()));
    }
    let mut parts = Vec::with_capacity(reading.len());
    while let Some(part) = reading.join_next().await {
        // A part cannot be cancelled while this waits for it.
        parts.push(part.unwrap_or_else(|end| std::panic::resume_unwind(end.into_panic()))?);
    }
    Ok(parts)
}

/// Re-reads the rows of these therapists, and where those stand who are new.
pub(super) async fn some(
    pool: &PgPool,
    fleet: &Fleet,
    ids: &[ProviderId],
    settings: &Settings,
    now: Timestamp,
) -> Result<Rebuilt, StoreError> {
    let (mut rebuilt, newcomers) = rows(pool, fleet, ids, now).await?;
    if !newcomers.is_empty() {
        rebuilt.positions = positions(pool, fleet, &newcomers, horizon(settings, now)).await?;
    }
    Ok(rebuilt)
}

/// Re-reads the rows of these therapists, and where all of them stand.
pub(super) async fn part(
    pool: &PgPool,
    fleet: &Fleet,
    ids: &[ProviderId],
    settings: &Settings,
    now: Timestamp,
) -> Result<Rebuilt, StoreError> {
    let (mut rebuilt, _) = rows(pool, fleet, ids, now).await?;
    rebuilt.positions = positions(pool, fleet, ids, horizon(settings, now)).await?;
    rebuilt.supply |= rebuilt.positions > 0;
    Ok(rebuilt)
}

/// Makes the index show these therapists as their rows say; tells who of them are new to it.
async fn rows(
    pool: &PgPool,
    fleet: &Fleet,
    ids: &[ProviderId],
    now: Timestamp,
) -> Result<(Rebuilt, Vec<ProviderId>), StoreError> {
    let (rows, unusable) = settled(pool, fleet, ids).await?;
    let mut gone: BTreeSet<ProviderId> = ids.iter().copied().collect();
    let mut rebuilt = Rebuilt { therapists: rows.len(), unusable: unusable.len(), ..Rebuilt::default() };
    let mut newcomers = Vec::new();
    for therapist in rows {
        let provider = therapist.provider;
        gone.remove(&provider);
        let before = fleet.therapist(provider);
        rebuilt.supply |= became_free(before.as_deref(), &therapist, now);
        if before.is_none() {
            newcomers.push(provider);
        }
        fleet.put(therapist);
    }
    for provider in gone {
        fleet.remove(provider);
    }
    report(&unusable);
    Ok((rebuilt, newcomers))
}

/// Shows these therapists where their newest fixes say; tells how many were not shown there.
async fn positions(pool: &PgPool, fleet: &Fleet, ids: &[ProviderId], since: Timestamp) -> Result<usize, StoreError> {
    let mut fixes = therapists::newest_fixes(pool, Some(ids), since).await?;
    // Mostly the index is ahead; the hexagon of a place costs more than this look.
    fixes.retain(|(provider, fix)| match fleet.position(*provider) {
        Some((_, at)) => at < fix.at,
        // He has none yet, or was left out.
        None => fleet.therapist(*provider).is_some(),
    });
    fleet.restore_all(&fixes);
    Ok(fixes.len())
}

/// The rows of these, none of them older than a duty that the dispatcher has set meanwhile, after its commit: it would take back
/// what he has just begun, until the next word of him.
async fn settled(
    pool: &PgPool,
    fleet: &Fleet,
    ids: &[ProviderId],
) -> Result<(Vec<Therapist>, Vec<therapists::Unusable>), StoreError> {
    const TRIES: u32 = 3;
    let duties = || -> Vec<Option<Duty>> { ids.iter().map(|&id| fleet.therapist(id).map(|t| t.ties.duty())).collect() };
    let mut tries = 1;
    loop {
        let before = duties();
        let read = therapists::load(pool, Some(ids)).await?;
        if tries == TRIES || duties() == before {
            return Ok(read);
        }
        tries += 1;
    }
}

/// Older fixes than this match nothing and judge nothing: no fix is taken that is older, so none is compared with one.
pub(super) fn horizon(settings: &Settings, now: Timestamp) -> Timestamp {
    let age = settings.pings.max_age_s.max(settings.location_stale_after_s);
    now.minus(Duration::from_secs(u64::from(age)))
}

/// Whether somebody who waits may want him now and could not have him before: he may work, or has time that was taken.
fn became_free(before: Option<&Therapist>, after: &Therapist, now: Timestamp) -> bool {
    let had = |t: &Therapist| t.may_work(now) && t.ties.busy().iter().all(|taken| after.ties.busy().contains(taken));
    after.may_work(now) && !before.is_some_and(had)
}

fn report(unusable: &[therapists::Unusable]) {
    for row in unusable {
        tracing::error!(provider_id = row.provider.0, problem = %row.problem, "a therapist's row cannot be used for matching: he is left out");
    }
    if !unusable.is_empty() {
        metrics::counter!("spacall_unusable_therapist_rows_total").increment(unusable.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fleet::Ties;
    use crate::core::offerings::Offerings;

    fn idle() -> Therapist {
        Therapist::plain(ProviderId(1), Offerings::default(), 5)
    }

    #[test]
    fn supply_is_who_may_work_and_could_not_and_time_that_was_taken_and_is_not() {
        let at = Timestamp::from_secs;
        let off = Therapist { available: false, ..idle() };
        let booked = |busy: Vec<_>| Therapist { ties: Ties::new(Duty::Idle, busy, []), ..idle() };
        let (one, other) = ((at(100), at(200)), (at(300), at(400)));
        for (before, after, expect) in [
            (None, idle(), true),
            (Some(off.clone()), idle(), true),
            (Some(idle()), idle(), false),
            (Some(idle()), off, false),
            (Some(booked(vec![one, other])), booked(vec![other]), true),
            (Some(booked(vec![one])), booked(vec![one, other]), false),
        ] {
            assert_eq!(became_free(before.as_ref(), &after, at(0)), expect, "{before:?} -> {after:?}");
        }
    }
}
