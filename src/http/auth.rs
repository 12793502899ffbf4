//! Who asks: bearer tokens, checked against the database and remembered for a moment.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::problem::Problem;
use super::revocation::{Watch, Watches};
use crate::clock;
use crate::core::ids::{ProviderId, UserId};
use crate::core::people::Gender;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::tokens::{self, OwnProvider, Presented, TokenRow};

/// How long a token's row is believed. A revoked token or a changed role is felt within 2 s, also by a stream that was
/// opened with an answer of this age and is looked at again within [`super::revocation::LOOK_EVERY`].
const BELIEVED_FOR: Duration = Duration::from_millis(900);

/// How long by other requests, while one asks again: of a busy token's requests one goes to the database, not all that
/// come meanwhile.
const BELIEVED_MEANWHILE: Duration = Duration::from_millis(1_800);

const SHARDS: usize = 16;

/// Most tokens remembered in each shard.
const SHARD_ROOM: usize = 8_192;

/// A token's `last_used_at` is not written again for this long.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Between two statements that note uses: each is a commit, for a courtesy.
const TOUCH_PAUSE: Duration = Duration::from_millis(500);

/// Tokens whose use is noted at once.
const TOUCH_BATCH: usize = 1_000;

/// Ability, by name: exact distances and order. `*` does not imply it.
pub const MATCH_EXACT: &str = "match:exact";

/// Who a good token stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// `personal_access_tokens.id`
    pub token: i64,
    /// `users.id`
    pub user: UserId,
    /// `users.uuid`
    pub user_uuid: Uuid,
    /// `users.gender`
    pub gender: Option<Gender>,
    /// Names of `roles`.
    pub roles: Vec<String>,
    /// The provider that he is or owns; a therapist before a store.
    pub provider: Option<OwnProvider>,
    /// Of the token.
    pub abilities: Vec<String>,
    /// The token is not good from then on.
    pub expires_at: Option<Timestamp>,
}

impl Principal {
    /// Books.
    pub fn is_customer(&self) -> bool {
        self.has_role("customer")
    }

    /// Runs the platform.
    pub fn is_admin(&self) -> bool {
        self.has_role("admin") || self.has_role("super_admin")
    }

    /// Gives and takes the roles of admins.
    pub fn is_super_admin(&self) -> bool {
        self.has_role("super_admin")
    }

    /// Is a therapist or owns stores, in role.
    pub fn may_be_provider(&self) -> bool {
        self.has_role("therapist") || self.has_role("store_owner")
    }

    /// Has a role of this name.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role == name)
    }

    /// The therapist that he is, in role and in fact.
    pub fn therapist(&self) -> Option<ProviderId> {
        self.provider.filter(|provider| provider.is_therapist && self.has_role("therapist")).map(|provider| provider.id)
    }

    /// Whether he is answered with exact distances and order.
    pub fn sees_exact(&self) -> bool {
        self.is_admin() || self.abilities.iter().any(|ability| ability == MATCH_EXACT)
    }
}

impl From<TokenRow> for Principal {
    fn from(row: TokenRow) -> Self {
        Self {
            token: row.id,
            user: row.user,
            user_uuid: row.user_uuid,
            gender: row.gender,
            roles: row.roles,
            provider: row.provider,
            abilities: row.abilities,
            expires_at: row.expires_at,
        }
    }
}

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It is none of ours, expired, revoked, or its user may not come in.
    #[error("the token is not good")]
    BadToken,
    /// It could not be checked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::BadToken => Self::unauthenticated(),
            AuthError::Store(error) => error.into(),
        }
    }
}

/// Checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    pool: PgPool,
    shards: [Mutex<HashMap<[u8; 32], Remembered>>; SHARDS],
    used: mpsc::Sender<i64>,
    watches: Arc<Watches>,
}

struct Remembered {
    /// When its query began.
    asked_at: Instant,
    /// When a request last began to ask again.
    asking_since: Option<Instant>,
    /// The row has changed since: no answer that was asked for earlier is believed.
    forgotten: bool,
    /// `None`: not good.
    principal: Option<Arc<Principal>>,
}

impl Authenticator {
    /// Starts the writer of `last_used_at` and the look-out for revoked tokens, which end with `shutdown`.
    pub fn start(pool: PgPool, shutdown: CancellationToken) -> Self {
        let (used, inbox) = mpsc::channel(TOUCH_BATCH);
        let watches = Arc::new(Watches::default());
        tokio::spawn(note_use(pool.clone(), inbox, shutdown.clone()));
        tokio::spawn(Arc::clone(&watches).look_out(pool.clone(), shutdown));
        Self(Arc::new(Inner { pool, shards: std::array::from_fn(|_| Mutex::default()), used, watches }))
    }

    /// For as long as the returned watch is kept, it tells when the token is no longer good or no longer means the
    /// same: for streams, which outlive the request that opened them.
    pub fn watch(&self, principal: &Arc<Principal>) -> Arc<Watch> {
        self.0.watches.add(principal)
    }

    /// Nobody gets in with these tokens any more: at this node at once, streams included. To be told after the commit that
    /// took them away.
    pub fn revoked(&self, ids: &[i64]) {
        let now = clock::monotonic();
        for shard in &self.0.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let of_these = |r: &&mut Remembered| r.principal.as_ref().is_some_and(|p| ids.contains(&p.token));
            // Not forgotten: an answer that is on its way, and older, must not take its place.
            for gone in shard.values_mut().filter(of_these) {
                *gone = Remembered { asked_at: now, asking_since: None, forgotten: false, principal: None };
            }
        }
        self.0.watches.revoke(ids);
    }

    /// What is remembered of this user's tokens is not what his rows say any more: at this node they are read again. To be told
    /// after the commit that changed them.
    pub fn changed(&self, user: UserId) {
        let now = clock::monotonic();
        for shard in &self.0.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for his in shard.values_mut().filter(|r| r.principal.as_ref().is_some_and(|p| p.user == user)) {
                (his.asked_at, his.forgotten) = (now, true);
            }
        }
    }

    /// Whose token this is, for one request. Believes an answer for less than two seconds; when the database is gone
    /// longer, nobody is believed. `now`: when the request came.
    ///
    /// # Errors
    /// [`AuthError::BadToken`], or [`AuthError::Store`] when it could not be checked.
    pub async fn verify(&self, plain_text: &str, now: Instant) -> Result<Arc<Principal>, AuthError> {
        self.verify_within(plain_text, now, BELIEVED_MEANWHILE).await
    }

    /// The same for a stream, which goes on with the answer until it is looked at again: believes it for less than a second.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn verify_for_stream(&self, plain_text: &str) -> Result<Arc<Principal>, AuthError> {
        self.verify_within(plain_text, clock::monotonic(), BELIEVED_FOR).await
    }

    async fn verify_within(
        &self,
        plain_text: &str,
        now: Instant,
        meanwhile: Duration,
    ) -> Result<Arc<Principal>, AuthError> {
        // Remembered by a hash of the whole text, so that no token lies in memory.
        let key: [u8; 32] = Sha256::digest(plain_text.as_bytes()).into();
        if let Some(remembered) = self.recall(&key, now, meanwhile) {
            return unexpired(remembered);
        }
        let Some(presented) = Presented::parse(plain_text) else { return Err(AuthError::BadToken) };
        let asked_at = clock::monotonic();
        let row = tokens::find(&self.0.pool, &presented).await?;
        if let Some(row) = &row {
            self.note_use(row);
        }
        let principal = row.map(|row| Arc::new(Principal::from(row)));
        self.remember(key, Remembered { asked_at, asking_since: None, forgotten: false, principal: principal.clone() });
        unexpired(principal)
    }

    fn shard(&self, key: &[u8; 32]) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.0.shards[usize::from(key[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: ask. Others then need not, for as long as `meanwhile` allows.
    fn recall(&self, key: &[u8; 32], now: Instant, meanwhile: Duration) -> Option<Option<Arc<Principal>>> {
        let mut shard = self.shard(key);
        let remembered = shard.get_mut(key)?;
        if remembered.forgotten {
            return None;
        }
        let age = |since: Instant| now.saturating_duration_since(since);
        let being_asked = remembered.asking_since.is_some_and(|since| age(since) < BELIEVED_FOR);
        if age(remembered.asked_at) < if being_asked { meanwhile } else { BELIEVED_FOR } {
            return Some(remembered.principal.clone());
        }
        remembered.asking_since = Some(now);
        None
    }

    fn remember(&self, key: [u8; 32], remembered: Remembered) {
        let now = remembered.asked_at;
        let mut shard = self.shard(&key);
        if shard.len() >= SHARD_ROOM {
            shard.retain(|_, r| now.saturating_duration_since(r.asked_at) < BELIEVED_MEANWHILE);
            if shard.len() >= SHARD_ROOM {
                shard.clear(); // a flood of different tokens: they cost a query each, never memory
            }
        }
        // A slow answer must not take the place of a newer one.
        if shard.get(&key).is_none_or(|known| known.asked_at <= now) {
            shard.insert(key, remembered);
        }
    }

    fn note_use(&self, row: &TokenRow) {
        let now = clock::now();
        if row.last_used_at.is_none_or(|at| now.since(at) >= TOUCH_EVERY) && self.0.used.try_send(row.id).is_err() {
            tracing::debug!(token = row.id, "the use of a token was not noted: too many at once");
        }
    }
}

fn unexpired(principal: Option<Arc<Principal>>) -> Result<Arc<Principal>, AuthError> {
    principal.filter(|p| p.expires_at.is_none_or(|at| clock::now() < at)).ok_or(AuthError::BadToken)
}

async fn note_use(pool: PgPool, mut inbox: mpsc::Receiver<i64>, shutdown: CancellationToken) {
    let mut used = Vec::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            got = inbox.recv_many(&mut used, TOUCH_BATCH) => if got == 0 { return },
        }
        used.sort_unstable();
        used.dedup();
        if let Err(error) = tokens::touch(&pool, &used).await {
            tracing::debug!(%error, tokens = used.len(), "the use of tokens was not noted; the next use will be");
        }
        used.clear();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TOUCH_PAUSE) => {}
        }
    }
}

/// The token of an `Authorization: Bearer …` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The caller. The router's guard has let him in; a route that the guard does not know gives none.
pub struct Caller(pub Arc<Principal>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Arc<Principal>>();
        principal.cloned().map(Self).ok_or_else(Problem::unauthenticated)
    }
}

/// The token, if there is one, of a route that needs none: who brings one may be shown more. It is looked at only then.
pub struct MaybeCaller {
    authenticator: Authenticator,
    token: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for MaybeCaller
where
    Authenticator: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let token = bearer(&parts.headers).map(str::to_owned);
        Ok(Self { authenticator: Authenticator::from_ref(state), token })
    }
}

impl MaybeCaller {
    /// Whether it is an admin's.
    ///
    /// # Errors
    /// 503 when that cannot be known now.
    pub async fn is_admin(&self) -> Result<bool, Problem> {
        let Some(token) = &self.token else { return Ok(false) };
        match self.authenticator.verify(token, clock::monotonic()).await {
            Ok(caller) => Ok(caller.is_admin()),
            Err(AuthError::BadToken) => Ok(false),
            Err(AuthError::Store(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn principal(roles: &[&str], abilities: &[&str]) -> Principal {
        Principal {
            token: 1,
            user: UserId(1),
            user_uuid: Uuid::nil(),
            gender: None,
            roles: roles.iter().map(ToString::to_string).collect(),
            provider: Some(OwnProvider { id: ProviderId(9), uuid: Uuid::nil(), is_therapist: true }),
            abilities: abilities.iter().map(ToString::to_string).collect(),
            expires_at: None,
        }
    }

    #[test]
    fn a_star_does_not_imply_exact_matching() {
        assert!(!principal(&["customer"], &["*"]).sees_exact());
        assert!(principal(&["customer"], &["*", "match:exact"]).sees_exact());
        assert!(principal(&["super_admin"], &[]).sees_exact());
    }

    /// Nothing listens there, and nobody is asked.
    fn authenticator() -> Authenticator {
        let pool = PgPool::connect_lazy("postgres://localhost:1/none").expect("a valid url");
        let shards = std::array::from_fn(|_| Mutex::default());
        Authenticator(Arc::new(Inner { pool, shards, used: mpsc::channel(1).0, watches: Arc::default() }))
    }

    #[tokio::test]
    async fn while_one_request_asks_again_others_believe_the_old_answer_for_less_than_two_seconds() {
        let (authenticator, key, start) = (authenticator(), [7; 32], clock::monotonic());
        let answer = |asked_at| Remembered { asked_at, asking_since: None, forgotten: false, principal: None };
        let after = |millis| start + Duration::from_millis(millis);
        let believed = |at, meanwhile| authenticator.recall(&key, at, meanwhile).is_some();
        authenticator.remember(key, answer(start));
        assert!(believed(after(899), BELIEVED_MEANWHILE));
        assert!(!believed(after(900), BELIEVED_MEANWHILE), "the first asks");
        assert!(believed(after(901), BELIEVED_MEANWHILE), "the second need not");
        assert!(!believed(after(902), BELIEVED_FOR), "a stream asks for itself");
        assert!(believed(after(1_799), BELIEVED_MEANWHILE));
        assert!(!believed(after(1_800), BELIEVED_MEANWHILE), "nobody is believed for two seconds");
        authenticator.remember(key, answer(after(1_700)));
        authenticator.remember(key, answer(after(1_600)));
        assert!(believed(after(2_550), BELIEVED_MEANWHILE), "an older answer that comes later changes nothing");
    }

    #[tokio::test]
    async fn a_revoked_token_is_not_good_at_once_and_no_older_answer_brings_it_back() {
        let (authenticator, [gone, other]) = (authenticator(), [[7; 32], [8; 32]]);
        let good = |token| Some(Arc::new(Principal { token, ..principal(&["customer"], &[]) }));
        let asked_at = clock::monotonic();
        let answer = |token| Remembered { asked_at, asking_since: None, forgotten: false, principal: good(token) };
        authenticator.remember(gone, answer(1));
        authenticator.remember(other, answer(2));
        let watch = authenticator.watch(&good(1).expect("somebody"));
        authenticator.revoked(&[1]);
        authenticator.remember(gone, answer(1));
        let now = clock::monotonic();
        let believed = |key| authenticator.recall(&key, now, BELIEVED_FOR).map(|known| known.is_some());
        assert_eq!((believed(gone), believed(other)), (Some(false), Some(true)));
        assert!(watch.revoked().is_cancelled());
    }

    #[test]
    fn a_therapist_is_one_in_role_and_in_fact() {
        assert_eq!(principal(&["therapist"], &[]).therapist(), Some(ProviderId(9)));
        assert_eq!(principal(&["customer"], &[]).therapist(), None);
        let mut no_provider = principal(&["therapist"], &[]);
        no_provider.provider = None;
        assert_eq!(no_provider.therapist(), None);
    }

    #[test]
    fn only_a_bearer_header_carries_a_token() {
        for (value, token) in [
            ("Bearer 1|abc", Some("1|abc")),
            ("bearer  1|abc", Some("1|abc")),
            ("Basic 1|abc", None),
            ("Bearer ", None),
            ("Bearer", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), token, "{value:?}");
        }
    }

    #[test]
    fn an_expired_token_is_not_good_even_while_remembered() {
        let mut gone = principal(&["customer"], &[]);
        gone.expires_at = Some(clock::now().minus(Duration::from_secs(1)));
        assert!(matches!(unexpired(Some(Arc::new(gone))), Err(AuthError::BadToken)));
        assert!(unexpired(Some(Arc::new(principal(&["customer"], &[])))).is_ok());
    }
}
