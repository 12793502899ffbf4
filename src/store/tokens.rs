//! `personal_access_tokens`: Laravel Sanctum's bearer tokens. A token issued by the Laravel application works here, and
//! one issued here works there.
//!
//! The plain text is `{id}|{secret}`; only the SHA-256 of the secret is stored. The secret is 40 random letters and
//! digits and the CRC-32 of those, in hexadecimal, so that a leaked token can be recognised by scanners.

use std::fmt;

use chrono::{DateTime, Utc};
use rand::RngExt;
use rand::distr::Alphanumeric;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool, QueryBuilder};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::StoreError;
use super::pages::{self, Ask, Rows};
use crate::core::ids::{ProviderId, UserId};
use crate::core::people::Gender;
use crate::core::time::Timestamp;
use crate::wire::time::from_chrono;

/// Laravel's morph name of users, in `tokenable_type` and `model_type`.
pub const USER_MORPH: &str = r"App\Models\User";

/// Tokens of a user after he has logged in, at most.
const MOST: i64 = 100;

/// How many random characters a secret has before its checksum, as in Sanctum.
const ENTROPY_CHARS: usize = 40;

/// A token as presented, taken apart; the secret itself is already forgotten.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    id: Option<i64>,
    digest: [u8; 32],
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Presented {
    /// By Sanctum's rule; `None` for what can never be a token: an id that is not digits, an empty secret.
    pub fn parse(plain_text: &str) -> Option<Self> {
        let (id, secret) = match plain_text.split_once('|') {
            Some((id, secret)) => (Some(digits(id)?), secret),
            None => (None, plain_text),
        };
        (!secret.is_empty()).then(|| Self { id, digest: Sha256::digest(secret.as_bytes()).into() })
    }

    fn is_stored_as(&self, stored_hex: &str) -> bool {
        hex(&self.digest).as_bytes().ct_eq(stored_hex.as_bytes()).into()
    }
}

fn digits(text: &str) -> Option<i64> {
    // `parse` alone would take a sign.
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A good token's row, and the user it stands for.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// `personal_access_tokens.id`
    pub id: i64,
    /// No longer good from then on.
    pub expires_at: Option<Timestamp>,
    /// By name; `*` is every ordinary one.
    pub abilities: Vec<String>,
    /// Kept to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Whose.
    pub user: UserId,
    /// Whose.
    pub user_uuid: Uuid,
    /// `users.gender`
    pub gender: Option<Gender>,
    /// Names of `roles`, sorted.
    pub roles: Vec<String>,
    /// His provider, a therapist before a store, and whether it is a therapist.
    pub provider: Option<OwnProvider>,
}

/// The provider that a user is or owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnProvider {
    /// `providers.id`
    pub id: ProviderId,
    /// `providers.uuid`
    pub uuid: Uuid,
    /// `providers.type`
    pub is_therapist: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    token: String,
    expires_at: Option<DateTime<Utc>>,
    abilities: Option<String>,
    last_used_at: Option<DateTime<Utc>>,
    user_id: i64,
    user_uuid: Uuid,
    gender: Option<String>,
    roles: Vec<String>,
    provider_id: Option<i64>,
    provider_uuid: Option<Uuid>,
    is_therapist: Option<bool>,
}

macro_rules! find_where {
    ($condition:literal) => {
        concat!(
            r"SELECT t.id, t.token,
                     CASE t.expires_at WHEN '-infinity' THEN 'epoch' ELSE NULLIF(t.expires_at, 'infinity') END AS expires_at, t.abilities, t.last_used_at,
                     u.id AS user_id, u.uuid AS user_uuid, u.gender::text AS gender,
                     ARRAY(SELECT r.name::text FROM model_has_roles m JOIN roles r ON r.id = m.role_id
                           WHERE m.model_id = u.id AND m.model_type = 'App\Models\User' AND r.guard_name = 'api') AS roles,
                     p.id AS provider_id, p.uuid AS provider_uuid, p.type = 'therapist' AS is_therapist
              FROM personal_access_tokens t
              JOIN users u ON u.id = t.tokenable_id AND u.is_active AND u.deleted_at IS NULL
              LEFT JOIN LATERAL (SELECT id, uuid, type FROM providers
                                 WHERE user_id = u.id AND deleted_at IS NULL ORDER BY type, id LIMIT 1) p ON TRUE
              WHERE t.tokenable_type = 'App\Models\User' AND ",
            $condition
        )
    };
}

/// The row of a presented token: `None` when there is none, its secret is another, or its user is inactive or deleted.
/// Whether it has expired is left to the caller, who has the clock.
pub async fn find(pool: &PgPool, presented: &Presented) -> Result<Option<TokenRow>, StoreError> {
    let row: Option<Row> = match presented.id {
        Some(id) => sqlx::query_as(find_where!("t.id = $1")).bind(id).fetch_optional(pool).await?,
        None => sqlx::query_as(find_where!("t.token = $1")).bind(hex(&presented.digest)).fetch_optional(pool).await?,
    };
    Ok(row.filter(|row| presented.is_stored_as(&row.token)).map(Row::into_token))
}

/// The rows of these tokens whose users may come in. A token that is missing from the answer is no longer good.
pub async fn find_all(pool: &PgPool, ids: &[i64]) -> Result<Vec<TokenRow>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(find_where!("t.id = ANY($1)")).bind(ids).fetch_all(pool).await?;
    Ok(rows.into_iter().map(Row::into_token).collect())
}

impl Row {
    fn into_token(mut self) -> TokenRow {
        // Here, since a sort for each of thousands of rows is a third of the statement's time.
        self.roles.sort_unstable();
        self.roles.dedup();
        let provider = match (self.provider_id, self.provider_uuid, self.is_therapist) {
            (Some(id), Some(uuid), Some(is_therapist)) => Some(OwnProvider { id: ProviderId(id), uuid, is_therapist }),
            _ => None,
        };
        TokenRow {
            id: self.id,
            expires_at: self.expires_at.map(from_chrono),
            abilities: abilities(self.abilities.as_deref(), self.id),
            last_used_at: self.last_used_at.map(from_chrono),
            user: UserId(self.user_id),
            user_uuid: self.user_uuid,
            gender: self.gender.as_deref().and_then(Gender::parse),
            roles: self.roles,
            provider,
        }
    }
}

/// `abilities` is JSON in a text column that others write too; what cannot be read grants nothing.
fn abilities(text: Option<&str>, token: i64) -> Vec<String> {
    let Some(text) = text else { return Vec::new() };
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(token, %error, "the abilities of a token are not a JSON list of names; it has none");
        Vec::new()
    })
}

/// Makes a token and returns its plain text, which is stored nowhere.
pub async fn create(pool: &PgPool, user: UserId, name: &str, abilities: &[String]) -> Result<String, StoreError> {
    let secret = new_secret();
    let id: i64 = sqlx::query_scalar(
        r"INSERT INTO personal_access_tokens (tokenable_type, tokenable_id, name, token, abilities)
          VALUES ($1, $2, $3, $4, $5) RETURNING id",
    )
    .bind(USER_MORPH)
    .bind(user.0)
    .bind(name)
    .bind(secret_hash(&secret))
    .bind(serde_json::Value::from(abilities.to_vec()).to_string())
    .fetch_one(pool)
    .await?;
    Ok(format!("{id}|{secret}"))
}

/// A token for who has just given his password.
pub struct LoggedIn {
    /// Its plain text, which is stored nowhere.
    pub token: String,
    /// Those that are no longer good: he had too many.
    pub gone: Vec<i64>,
}

/// Makes a token for who has just given his password: only while the hash that it was compared with is still the user's and he may
/// come in. `None`: it is not, or he may not. Of his others those stay that were used last.
pub async fn create_with_password(
    pool: &PgPool,
    user: UserId,
    checked: &str,
    name: &str,
) -> Result<Option<LoggedIn>, StoreError> {
    let secret = new_secret();
    // The lock waits for a change of the password that is under way, and makes one wait until this token can be seen; and of two who
    // log in at once, one waits for what the other takes away.
    let made: Option<(i64, Vec<i64>)> = sqlx::query_as(
        r#"WITH who AS (SELECT id FROM users WHERE id = $2 AND password = $5 AND is_active AND deleted_at IS NULL
                        FOR NO KEY UPDATE),
          gone AS (DELETE FROM personal_access_tokens
                   WHERE id IN (SELECT t.id FROM personal_access_tokens t JOIN who ON who.id = t.tokenable_id
                                WHERE t.tokenable_type = $1
                                ORDER BY COALESCE(t.last_used_at, t.created_at) DESC, t.id DESC OFFSET $6)
                   RETURNING id),
          made AS (INSERT INTO personal_access_tokens (tokenable_type, tokenable_id, name, token, abilities)
                   SELECT $1, who.id, $3, $4, '["*"]' FROM who RETURNING id)
          SELECT made.id, ARRAY(SELECT id FROM gone) FROM made"#,
    )
    .bind(USER_MORPH)
    .bind(user.0)
    .bind(name)
    .bind(secret_hash(&secret))
    .bind(checked)
    .bind(MOST - 1)
    .fetch_optional(pool)
    .await?;
    Ok(made.map(|(id, gone)| LoggedIn { token: format!("{id}|{secret}"), gone }))
}

/// A token as its owner sees it.
#[derive(Clone, Debug)]
pub struct OwnToken {
    /// `personal_access_tokens.id`
    pub id: i64,
    /// The device, mostly.
    pub name: String,
    /// By name.
    pub abilities: Vec<String>,
    /// Kept to the minute.
    pub last_used_at: Option<Timestamp>,
    /// No longer good from then on; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct OwnRow {
    id: i64,
    name: String,
    abilities: Option<String>,
    last_used_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// A page of a user's tokens, newest first.
pub async fn list(pool: &PgPool, user: UserId, ask: Ask) -> Result<Rows<OwnToken>, StoreError> {
    let mut query = QueryBuilder::new(
        r"SELECT id, name, abilities, last_used_at, NULLIF(NULLIF(expires_at, 'infinity'), '-infinity') AS expires_at,
                 created_at
          FROM personal_access_tokens WHERE tokenable_type = 'App\Models\User' AND tokenable_id = ",
    );
    query.push_bind(user.0);
    let page: Rows<OwnRow> = pages::read(pool, query, "id", |id| id, ask).await?;
    Ok(page.map(|row| OwnToken {
        id: row.id,
        name: row.name,
        abilities: abilities(row.abilities.as_deref(), row.id),
        last_used_at: row.last_used_at.map(from_chrono),
        expires_at: row.expires_at.map(from_chrono),
        created_at: from_chrono(row.created_at),
    }))
}

/// Takes a user's own token away, and the devices that he noted with it. False: there is none, or it is another's.
pub async fn delete(pool: &PgPool, user: UserId, id: i64) -> Result<bool, StoreError> {
    let gone = sqlx::query(
        r"DELETE FROM personal_access_tokens WHERE id = $1 AND tokenable_id = $2 AND tokenable_type = 'App\Models\User'",
    )
    .bind(id)
    .bind(user.0)
    .execute(pool)
    .await?;
    Ok(gone.rows_affected() > 0)
}

/// Takes a user's tokens away, all but one, and the devices on which he is told, all but those that he noted with that one. The tokens
/// that are no longer good.
pub(super) async fn forget(tx: &mut PgConnection, user: UserId, keep: Option<i64>) -> Result<Vec<i64>, StoreError> {
    sqlx::query(
        "DELETE FROM device_tokens WHERE user_id = $1 AND ($2::bigint IS NULL OR access_token_id IS DISTINCT FROM $2)",
    )
    .bind(user.0)
    .bind(keep)
    .execute(&mut *tx)
    .await?;
    let gone = sqlx::query_scalar(
        r"DELETE FROM personal_access_tokens
          WHERE tokenable_id = $1 AND tokenable_type = 'App\Models\User' AND id IS DISTINCT FROM $2 RETURNING id",
    );
    Ok(gone.bind(user.0).bind(keep).fetch_all(tx).await?)
}

/// A new secret: 40 random letters and digits and their CRC-32 as eight hexadecimal digits.
pub fn new_secret() -> String {
    let entropy: String = rand::rng().sample_iter(Alphanumeric).take(ENTROPY_CHARS).map(char::from).collect();
    with_checksum(&entropy)
}

fn with_checksum(entropy: &str) -> String {
    format!("{entropy}{:08x}", crc32fast::hash(entropy.as_bytes()))
}

/// What the column `token` holds for a secret.
pub fn secret_hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// Notes that tokens were used, each at most once a minute. Rows that someone else is writing are left for the next
/// time: the column is a courtesy, and waiting for several rows could deadlock with another node.
pub async fn touch(pool: &PgPool, tokens: &[i64]) -> Result<u64, StoreError> {
    let done = sqlx::query(
        r"UPDATE personal_access_tokens SET last_used_at = now()
          WHERE id IN (SELECT id FROM personal_access_tokens
                       WHERE id = ANY($1) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
                       ORDER BY id FOR UPDATE SKIP LOCKED)",
    )
    .bind(tokens)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanctums_own_vectors_are_read_as_sanctum_reads_them() {
        let Ok(data) = std::env::var("SPACALL_DATA") else {
            println!("skipped: SPACALL_DATA is not set");
            return;
        };
        let file = std::path::Path::new(&data).join("samples/sanctum_token_vectors.json");
        let text = std::fs::read_to_string(&file).expect("the vectors are there");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        assert!(!vectors.is_empty());
        for vector in vectors {
            let plain = vector["plain_text_token"].as_str().expect("text");
            let presented = Presented::parse(plain);
            assert_eq!(presented.is_some(), vector["valid"].as_bool().expect("bool"), "{vector}");
            let Some(presented) = presented else { continue };
            assert!(presented.is_stored_as(vector["stored_sha256_hex"].as_str().expect("text")), "{vector}");
            if plain.contains('|') {
                assert_eq!(presented.id, vector["id"].as_i64(), "{vector}");
                let entropy = vector["entropy"].as_str().expect("text");
                let prefix = vector["token_prefix"].as_str().expect("text");
                assert!(plain.ends_with(&format!("|{prefix}{}", with_checksum(entropy))), "{vector}");
            }
        }
    }

    #[test]
    fn what_can_never_be_a_token_is_refused_before_the_database() {
        for bad in ["", "|", "7|", "x|abc", "-1|abc", "+1|abc", " 1|abc", "|abc", "99999999999999999999|abc", "１|abc"]
        {
            assert_eq!(Presented::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn everything_after_the_first_bar_is_the_secret() {
        let presented = Presented::parse("5|a|b").expect("a token");
        assert_eq!(presented.id, Some(5));
        assert!(presented.is_stored_as(&secret_hash("a|b")));
        assert!(!presented.is_stored_as(&secret_hash("a")));
        assert!(!presented.is_stored_as(""));
    }

    #[test]
    fn a_new_secret_ends_with_the_checksum_of_the_rest() {
        let secret = new_secret();
        assert_eq!(secret.len(), ENTROPY_CHARS + 8);
        assert_eq!(secret, with_checksum(&secret[..ENTROPY_CHARS]));
        assert_ne!(secret, new_secret());
    }

    #[test]
    fn a_presented_token_does_not_print_its_digest() {
        let printed = format!("{:?}", Presented::parse("5|secret"));
        assert!(printed.contains('5') && !printed.contains("digest"), "{printed}");
    }

    #[test]
    fn abilities_that_cannot_be_read_grant_nothing() {
        assert_eq!(abilities(Some(r#"["*","match:exact"]"#), 1), ["*", "match:exact"]);
        for bad in [None, Some("*"), Some(r#"{"a":1}"#), Some("null")] {
            assert!(abilities(bad, 1).is_empty());
        }
    }
}
