//! Streams outlive the request that opened them: a look-out re-reads the tokens of all open ones every second, in one
//! statement, and tells those whose token is no longer good or means something else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::auth::Principal;
use crate::clock;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::tokens;

/// How often all watched tokens are read again.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tokens read in one statement: a few milliseconds of a processor, which others want too.
const BATCH: usize = 500;

/// The statements of one look are spread over so much time.
const SPREAD: Duration = Duration::from_millis(50);

/// An open stream's token. Keep it as long as the stream.
#[derive(Debug)]
pub struct Watch {
    principal: Arc<Principal>,
    revoked: CancellationToken,
}

impl Watch {
    /// Who it was opened by.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Cancelled once the token is no longer good, or no longer means the same.
    pub fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }
}

/// The tokens of all open streams.
#[derive(Default)]
pub(super) struct Watches(Mutex<Vec<Weak<Watch>>>);

impl Watches {
    pub(super) fn add(&self, principal: &Arc<Principal>) -> Arc<Watch> {
        let watch = Arc::new(Watch { principal: Arc::clone(principal), revoked: CancellationToken::new() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watch));
        watch
    }

    /// Tells the streams of these tokens.
    pub(super) fn revoke(&self, tokens: &[i64]) {
        for (_, watches) in self.open().into_iter().filter(|(token, _)| tokens.contains(token)) {
            watches.iter().for_each(|watch| watch.revoked.cancel());
        }
    }

    /// Those that are still kept and not yet told, by token; forgets the others.
    fn open(&self) -> BTreeMap<i64, Vec<Arc<Watch>>> {
        let mut open = BTreeMap::<_, Vec<_>>::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|weak| {
            let Some(watch) = weak.upgrade().filter(|watch| !watch.revoked.is_cancelled()) else { return false };
            open.entry(watch.principal.token).or_default().push(watch);
            true
        });
        open
    }

    pub(super) async fn look_out(self: Arc<Self>, pool: PgPool, shutdown: CancellationToken) {
        let mut next = tokio::time::interval(LOOK_EVERY);
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = next.tick() => {}
            }
            let open = self.open();
            if let Err(error) = look(&pool, &open).await {
                // Nobody is thrown out because the database is away: pings are still taken in and wait for it. But a time that
                // was set is over all the same.
                end_expired(&open, clock::now());
                tracing::debug!(%error, tokens = open.len(), "the tokens of open streams could not be read again");
            }
        }
    }
}

async fn look(pool: &PgPool, open: &BTreeMap<i64, Vec<Arc<Watch>>>) -> Result<(), StoreError> {
    let ids: Vec<i64> = open.keys().copied().collect();
    let pause = SPREAD / u32::try_from(ids.len().div_ceil(BATCH)).unwrap_or(u32::MAX).max(1);
    for ids in ids.chunks(BATCH) {
        tokio::time::sleep(pause).await;
        let rows = tokens::find_all(pool, ids).await?;
        let now: BTreeMap<i64, Principal> = rows.into_iter().map(|row| (row.id, row.into())).collect();
        for watch in ids.iter().filter_map(|id| open.get(id)).flatten() {
            if !still_means(&watch.principal, now.get(&watch.principal.token), clock::now()) {
                watch.revoked.cancel();
            }
        }
    }
    Ok(())
}

/// Ends those whose own time is over, as far as it was known when they began.
fn end_expired(open: &BTreeMap<i64, Vec<Arc<Watch>>>, now: Timestamp) {
    let expired = |watch: &&Arc<Watch>| watch.principal.expires_at.is_some_and(|at| at <= now);
    open.values().flatten().filter(expired).for_each(|watch| watch.revoked.cancel());
}

/// A new expiry that is not yet reached changes nothing.
fn still_means(was: &Principal, is: Option<&Principal>, now: Timestamp) -> bool {
    is.is_some_and(|is| {
        is.expires_at.is_none_or(|at| now < at)
            && (is.user, &is.roles, &is.abilities, is.provider, is.gender)
                == (was.user, &was.roles, &was.abilities, was.provider, was.gender)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::UserId;

    fn principal() -> Principal {
        Principal {
            token: 1,
            user: UserId(1),
            user_uuid: uuid::Uuid::nil(),
            gender: None,
            roles: vec!["customer".into()],
            provider: None,
            abilities: vec!["*".into()],
            expires_at: None,
        }
    }

    #[test]
    fn a_stream_ends_when_its_token_goes_expires_or_changes_and_not_otherwise() {
        let (was, now) = (principal(), Timestamp::from_secs(1_000));
        assert!(still_means(&was, Some(&principal()), now));
        assert!(!still_means(&was, None, now), "revoked");
        let changed = |change: fn(&mut Principal)| {
            let mut is = principal();
            change(&mut is);
            still_means(&was, Some(&is), now)
        };
        assert!(!changed(|p| p.roles.clear()));
        assert!(!changed(|p| p.abilities.clear()));
        assert!(!changed(|p| p.expires_at = Some(Timestamp::from_secs(1_000))));
        assert!(changed(|p| p.expires_at = Some(Timestamp::from_secs(1_001))));
    }

    #[test]
    fn a_time_that_was_set_is_over_though_the_database_is_away() {
        let (watches, end) = (Watches::default(), Timestamp::from_secs(1_000));
        let lasting = watches.add(&Arc::new(principal()));
        let ending = watches.add(&Arc::new(Principal { token: 2, expires_at: Some(end), ..principal() }));
        for (now, over) in [(end.minus(std::time::Duration::from_micros(1)), false), (end, true)] {
            end_expired(&watches.open(), now);
            assert_eq!((lasting.revoked.is_cancelled(), ending.revoked.is_cancelled()), (false, over));
        }
    }

    #[test]
    fn a_stream_that_has_ended_is_forgotten() {
        let watches = Watches::default();
        let principal = Arc::new(principal());
        let kept = watches.add(&principal);
        drop(watches.add(&principal));
        assert_eq!(watches.open()[&1].len(), 1);
        kept.revoked().cancel();
        assert!(watches.open().is_empty());
        assert!(watches.0.lock().unwrap().is_empty());
    }
}
