//! Users as admins see and change them, and the roles that they give. Admins' own accounts are the super admins' to change.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use super::StoreError;
use super::accounts::{ProfileChange, Taken};
use super::audit_logs::{self, Change};
use super::pages::{self, Ask, Rows};
use super::tokens::{self, USER_MORPH};
use crate::core::ids::UserId;
use crate::core::phone;

/// The roles that only a super admin gives and takes.
const ADMIN_ROLES: [&str; 2] = ["admin", "super_admin"];

/// A user, as admins see him.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct User {
    /// `users.id`
    #[serde(skip)]
    pub id: i64,
    /// `users.uuid`
    pub uuid: Uuid,
    /// E.164
    #[schema(example = "+639171234567")]
    pub phone: String,
    /// When it was shown to be his.
    pub phone_verified_at: Option<DateTime<Utc>>,
    /// If given.
    pub email: Option<String>,
    /// When it was shown to be his.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// `gender` of the schema.
    pub gender: Option<String>,
    /// If given.
    pub date_of_birth: Option<NaiveDate>,
    /// A URL.
    pub profile_photo_url: Option<String>,
    /// `en`, `fil` …
    pub preferred_language: String,
    /// Whether he may come in.
    pub is_active: bool,
    /// Whether his identity was checked.
    pub is_verified: bool,
    /// As the Laravel application keeps it.
    pub last_active_at: Option<DateTime<Utc>>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// When he joined.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            r#"SELECT u.id, u.uuid, u.phone, u.phone_verified_at, u.email, u.email_verified_at, u.first_name, u.last_name,
                     u.gender::text AS gender, u.date_of_birth, u.profile_photo_url, u.preferred_language, u.is_active,
                     u.is_verified, u.last_active_at, u.created_at, u.updated_at,
                     ARRAY(SELECT DISTINCT r.name::text COLLATE "C" FROM model_has_roles m JOIN roles r ON r.id = m.role_id
                           WHERE m.model_id = u.id AND m.model_type = 'App\Models\User' AND r.guard_name = 'api'
                           ORDER BY 1) AS roles
              FROM users u WHERE u.deleted_at IS NULL"#,
            $rest
        )
    };
}

/// Why an admin's change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such live user, or role.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// It takes a super admin; or whoever asks is no admin any more.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// Nobody locks himself out.
    #[error("{0}")]
    OwnAccount(&'static str),
    /// He is a party of a booking that has not ended.
    #[error("the user has a booking that has not ended")]
    ActiveBookings,
    /// There is money in his wallet.
    #[error("the user's wallet is not empty")]
    WalletNotEmpty,
    /// A payment of his, or to him, is waited for.
    #[error("a transaction of the user's is waited for")]
    PendingTransactions,
    /// The phone or email is somebody else's.
    #[error("{} is taken", .0.field())]
    Taken(Taken),
    /// Of this table there are no rows of these names.
    #[error("no such {0}: {1:?}")]
    NoSuchNames(&'static str, Vec<String>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Which users.
#[derive(Clone, Default)]
pub struct Filter {
    /// Name of a role.
    pub role: Option<String>,
    /// Part of a name, a phone or an email.
    pub search: Option<String>,
}

/// A page of live users, newest first. With `search` it reads all of them: names have no index.
pub async fn list(pool: &PgPool, filter: Filter, ask: Ask) -> Result<Rows<User>, StoreError> {
    let mut query = QueryBuilder::new(select!(""));
    if let Some(role) = filter.role {
        query.push(
            r" AND EXISTS (SELECT 1 FROM model_has_roles m JOIN roles r ON r.id = m.role_id
                           WHERE m.model_id = u.id AND m.model_type = 'App\Models\User' AND r.guard_name = 'api' AND r.name = ",
        );
        query.push_bind(role).push(")");
    }
    if let Some(search) = filter.search {
        let (text, phone) = (part(&search), phone::part(&search));
        query.push(" AND (concat_ws(' ', u.first_name, u.last_name) ILIKE ").push_bind(text.clone());
        query.push(" OR u.email ILIKE ").push_bind(text);
        if let Some(phone) = phone {
            query.push(" OR u.phone LIKE ").push_bind(part(&phone));
        }
        query.push(")");
    }
    pages::read(pool, query, "u.id", |id| id, ask).await
}

/// As a pattern of LIKE.
fn part(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if ['\\', '%', '_'].contains(&c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A live user.
pub async fn find(pool: &PgPool, uuid: Uuid) -> Result<Option<User>, StoreError> {
    Ok(sqlx::query_as(select!(" AND u.uuid = $1")).bind(uuid).fetch_optional(pool).await?)
}

/// Changes a user as an admin, and writes down what. Who is switched off loses his tokens, which are returned: switched on again, he
/// logs in again.
///
/// # Errors
/// [`Refused`].
pub async fn change(
    pool: &PgPool,
    by: UserId,
    uuid: Uuid,
    change: &ProfileChange,
) -> Result<(User, Vec<i64>), Refused> {
    let mut tx = pool.begin().await?;
    let rank = rank(&mut tx, by).await?;
    let before = hold(&mut tx, uuid, STAYS).await?;
    rank.may_change(&before)?;
    if before.id == by.0 && change.is_active == Some(false) {
        return Err(Refused::OwnAccount("Nobody switches his own account off."));
    }
    if let Some(mut update) = change.update() {
        update.push_bind(before.id).build().execute(&mut *tx).await.map_err(|error| {
            let error = StoreError::from(error);
            Taken::of(&error).map_or_else(|| error.into(), Refused::Taken)
        })?;
    }
    let gone = match change.is_active {
        Some(false) => tokens::forget(&mut tx, UserId(before.id), None).await?,
        _ => Vec::new(),
    };
    Ok((finish(tx, by, before).await?, gone))
}

/// Deletes a user softly: he may not come in any more, and his phone and email are free. With the tokens that he had.
///
/// # Errors
/// [`Refused`].
pub async fn delete(pool: &PgPool, by: UserId, uuid: Uuid) -> Result<(UserId, Vec<i64>), Refused> {
    let mut tx = pool.begin().await?;
    let rank = rank(&mut tx, by).await?;
    let user = hold(&mut tx, uuid, GOES).await?;
    if user.id == by.0 {
        return Err(Refused::OwnAccount("Nobody deletes his own account here."));
    }
    rank.may_change(&user)?;
    // In one statement: what is settled meanwhile is either still waiting or already in the wallet.
    let (busy, owns, waits): (bool, bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM bookings
                        WHERE status IN ('pending', 'accepted', 'en_route', 'arrived', 'in_progress') AND deleted_at IS NULL
                          AND (customer_id = $1 OR provider_id IN (SELECT id FROM providers WHERE user_id = $1))),
                EXISTS (SELECT 1 FROM wallets WHERE user_id = $1 AND balance <> 0),
                EXISTS (SELECT 1 FROM transactions WHERE user_id = $1 AND status IN ('pending', 'processing'))",
    )
    .bind(user.id)
    .fetch_one(&mut *tx)
    .await?;
    if busy {
        return Err(Refused::ActiveBookings);
    }
    if owns {
        return Err(Refused::WalletNotEmpty);
    }
    if waits {
        return Err(Refused::PendingTransactions);
    }
    let gone = tokens::forget(&mut tx, UserId(user.id), None).await?;
    sqlx::query("UPDATE users SET deleted_at = clock_timestamp() WHERE id = $1")
        .bind(user.id)
        .execute(&mut *tx)
        .await?;
    let old = Some(user.logged());
    let deleted = Change { by, action: "deleted", of: USER_MORPH, id: user.id, old, new: None };
    audit_logs::write(&mut tx, deleted).await?;
    tx.commit().await?;
    Ok((UserId(user.id), gone))
}

/// Gives a user these roles and no others.
///
/// # Errors
/// [`Refused`].
pub async fn set_roles(pool: &PgPool, by: UserId, uuid: Uuid, names: &[String]) -> Result<User, Refused> {
    let mut tx = pool.begin().await?;
    let rank = rank(&mut tx, by).await?;
    let before = hold(&mut tx, uuid, STAYS).await?;
    let known: Vec<String> =
        sqlx::query_scalar("SELECT name::text FROM roles WHERE name = ANY ($1) AND guard_name = 'api'")
            .bind(names)
            .fetch_all(&mut *tx)
            .await?;
    let unknown: Vec<String> = names.iter().filter(|name| !known.contains(name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Refused::NoSuchNames("roles", unknown));
    }
    for role in ADMIN_ROLES {
        let (had, has) = (before.is(role), names.iter().any(|name| name == role));
        if had != has && !rank.super_admin {
            return Err(Refused::NotAllowed("Only a super admin gives and takes the roles of admins."));
        }
        if had && !rank.super_admin {
            return Err(Refused::NotAllowed("Only a super admin changes the roles of an admin, his own too."));
        }
        if had && !has && before.id == by.0 {
            return Err(Refused::OwnAccount("Nobody takes his own roles of an admin away."));
        }
    }
    sqlx::query(
        r"DELETE FROM model_has_roles m USING roles r
          WHERE r.id = m.role_id AND m.model_id = $1 AND m.model_type = 'App\Models\User' AND r.guard_name = 'api'
            AND r.name <> ALL ($2)",
    )
    .bind(before.id)
    .bind(names)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        r"INSERT INTO model_has_roles (role_id, model_type, model_id)
          SELECT id, 'App\Models\User', $1 FROM roles WHERE name = ANY ($2) AND guard_name = 'api'
          ON CONFLICT DO NOTHING",
    )
    .bind(before.id)
    .bind(names)
    .execute(&mut *tx)
    .await?;
    finish(tx, by, before).await
}

/// What an admin may do, as of now.
#[derive(Clone, Copy)]
pub(super) struct Rank {
    by: UserId,
    pub(super) super_admin: bool,
}

impl Rank {
    fn may_change(self, user: &User) -> Result<(), Refused> {
        let is_admins = ADMIN_ROLES.iter().any(|role| user.is(role));
        if is_admins && !self.super_admin && user.id != self.by.0 {
            return Err(Refused::NotAllowed("Only a super admin changes the account of an admin."));
        }
        Ok(())
    }
}

impl User {
    /// For the log of changes: there are no secrets in here. Without what changes by itself.
    fn logged(&self) -> Value {
        let mut values = serde_json::to_value(self).unwrap_or_default();
        if let Some(values) = values.as_object_mut() {
            values.retain(|name, _| !["last_active_at", "created_at", "updated_at"].contains(&name.as_str()));
        }
        values
    }

    fn is(&self, role: &str) -> bool {
        self.roles.iter().any(|name| name == role)
    }
}

/// The admin's rank. One admin's change at a time: of two super admins who take each other's role away at once, the second is
/// none any more.
pub(super) async fn rank(tx: &mut PgConnection, by: UserId) -> Result<Rank, Refused> {
    sqlx::query("SELECT 1 FROM roles WHERE name = ANY ($1) ORDER BY id FOR NO KEY UPDATE")
        .bind(&ADMIN_ROLES[..])
        .execute(&mut *tx)
        .await?;
    let user: Option<User> =
        sqlx::query_as(select!(" AND u.is_active AND u.id = $1")).bind(by.0).fetch_optional(tx).await?;
    let super_admin = user.as_ref().is_some_and(|user| user.is("super_admin"));
    match user {
        Some(user) if super_admin || user.is("admin") => Ok(Rank { by, super_admin }),
        _ => Err(Refused::NotAllowed("This is for admins.")),
    }
}

/// Bookings may refer to him meanwhile.
const STAYS: &str = "SELECT id FROM users WHERE uuid = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";

/// Bookings that are being made or accepted are waited for, and those that come later find him gone: they look under `FOR KEY SHARE`.
const GOES: &str = "SELECT id FROM users WHERE uuid = $1 AND deleted_at IS NULL FOR UPDATE";

/// The user, who stays as he is until the transaction's end.
async fn hold(tx: &mut PgConnection, uuid: Uuid, locked: &'static str) -> Result<User, Refused> {
    let held: Option<i64> = sqlx::query_scalar(locked).bind(uuid).fetch_optional(&mut *tx).await?;
    let id = held.ok_or(Refused::NotFound("User"))?;
    Ok(sqlx::query_as(select!(" AND u.id = $1")).bind(id).fetch_one(tx).await?)
}

/// Writes down what changed, and commits.
async fn finish(mut tx: sqlx::Transaction<'static, sqlx::Postgres>, by: UserId, before: User) -> Result<User, Refused> {
    let after: User = sqlx::query_as(select!(" AND u.id = $1")).bind(before.id).fetch_one(&mut *tx).await?;
    if let Some((old, new)) = audit_logs::difference(before.logged(), after.logged()) {
        let (old, new) = (Some(old), Some(new));
        audit_logs::write(&mut tx, Change { by, action: "updated", of: USER_MORPH, id: before.id, old, new }).await?;
    }
    tx.commit().await?;
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_no_pattern() {
        assert_eq!(part(r"50%_\"), r"%50\%\_\\%");
    }
}
