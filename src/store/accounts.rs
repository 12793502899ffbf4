//! Accounts: how somebody gets one, is let in, and changes what he says of himself.

use chrono::NaiveDate;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::{StoreError, tokens};
use crate::core::ids::UserId;
use crate::core::people::Gender;

/// Somebody who wants an account.
#[derive(Clone)]
pub struct NewAccount {
    /// E.164
    pub phone: String,
    /// Of whatever case.
    pub email: Option<String>,
    /// bcrypt's hash.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: Option<String>,
    /// If he says.
    pub gender: Option<Gender>,
    /// If he says.
    pub date_of_birth: Option<NaiveDate>,
    /// `en`, `fil` …
    pub preferred_language: Option<String>,
    /// A name of `roles`.
    pub role: &'static str,
}

/// Whose phone or email it already is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// `phone`
    Phone,
    /// `email`
    Email,
}

impl Taken {
    /// The field.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    /// What the constraint that refused a statement means.
    pub fn of(error: &StoreError) -> Option<Self> {
        match error.constraint()? {
            "uq_users_phone_live" => Some(Self::Phone),
            "uq_users_email_live" => Some(Self::Email),
            _ => None,
        }
    }
}

/// Which of the two somebody else has already. (Who comes at the same time is found by the indexes.)
pub async fn taken(pool: &PgPool, phone: &str, email: Option<&str>) -> Result<Vec<Taken>, StoreError> {
    let (phone, email): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM users WHERE phone = $1 AND deleted_at IS NULL),
                EXISTS (SELECT 1 FROM users WHERE lower(email) = lower($2) AND deleted_at IS NULL)",
    )
    .bind(phone)
    .bind(email)
    .fetch_one(pool)
    .await?;
    Ok([(phone, Taken::Phone), (email, Taken::Email)]
        .into_iter()
        .filter_map(|(is, taken)| is.then_some(taken))
        .collect())
}

/// Makes an account with its role; its wallet comes with it (a trigger's).
pub async fn register(pool: &PgPool, new: &NewAccount) -> Result<Result<UserId, Taken>, StoreError> {
    let made: Result<Option<i64>, sqlx::Error> = sqlx::query_scalar(
        r"WITH made AS (
              INSERT INTO users (phone, email, password, first_name, last_name, gender, date_of_birth, preferred_language)
              VALUES ($1, $2, $3, $4, $5, $6::gender, $7, coalesce($8, 'en'))
              RETURNING id)
          INSERT INTO model_has_roles (role_id, model_type, model_id)
          SELECT r.id, 'App\Models\User', made.id FROM made, roles r WHERE r.name = $9 AND r.guard_name = 'api'
          RETURNING model_id",
    )
    .bind(&new.phone)
    .bind(&new.email)
    .bind(&new.password_hash)
    .bind(&new.first_name)
    .bind(&new.last_name)
    .bind(new.gender.map(Gender::as_str))
    .bind(new.date_of_birth)
    .bind(&new.preferred_language)
    .bind(new.role)
    .fetch_optional(pool)
    .await;
    match made.map_err(StoreError::from) {
        Ok(Some(id)) => Ok(Ok(UserId(id))),
        Ok(None) => Err(StoreError::Corrupt {
            column: "roles.name",
            value: "(no row)".to_owned(),
            allowed: "customer, therapist, store_owner of the guard api",
        }),
        Err(error) => Taken::of(&error).map(Err).ok_or(error),
    }
}

/// By what somebody says who he is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Login {
    /// E.164
    Phone(String),
    /// Of whatever case.
    Email(String),
}

/// What a log-in is checked against.
pub struct Credentials {
    /// `users.id`
    pub user: UserId,
    /// As Laravel wrote it; `None`: he never had a password.
    pub password: Option<String>,
    /// Who is not, is not let in.
    pub is_active: bool,
}

/// The live account of this phone or email, with what was given as the database compares it: in small letters.
pub async fn credentials(pool: &PgPool, login: &Login) -> Result<(Login, Option<Credentials>), StoreError> {
    let (sql, given) = match login {
        Login::Phone(phone) => (
            "SELECT $1, u.id, u.password, u.is_active FROM (VALUES (1)) one
             LEFT JOIN users u ON u.phone = $1 AND u.deleted_at IS NULL",
            phone,
        ),
        Login::Email(email) => (
            "SELECT lower($1), u.id, u.password, u.is_active FROM (VALUES (1)) one
             LEFT JOIN users u ON lower(u.email) = lower($1) AND u.deleted_at IS NULL",
            email,
        ),
    };
    let (read, id, password, is_active): (String, Option<i64>, Option<String>, Option<bool>) =
        sqlx::query_as(sql).bind(given).fetch_one(pool).await?;
    let read = match login {
        Login::Phone(_) => Login::Phone(read),
        Login::Email(_) => Login::Email(read),
    };
    let known = id.zip(is_active).map(|(id, is_active)| Credentials { user: UserId(id), password, is_active });
    Ok((read, known))
}

/// The hash of a live account; `None` also when he never had a password.
pub async fn password_hash(pool: &PgPool, user: UserId) -> Result<Option<String>, StoreError> {
    let hash: Option<Option<String>> =
        sqlx::query_scalar("SELECT password FROM users WHERE id = $1 AND deleted_at IS NULL")
            .bind(user.0)
            .fetch_optional(pool)
            .await?;
    Ok(hash.flatten())
}

/// The hash of a live account whose email is another one than this; `None`: it is the same, or there never was a password.
pub async fn hash_if_email_differs(
    pool: &PgPool,
    user: UserId,
    email: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let hash: Option<Option<String>> = sqlx::query_scalar(
        "SELECT password FROM users
         WHERE id = $1 AND deleted_at IS NULL AND lower(email) IS DISTINCT FROM lower($2) AND password <> ''",
    )
    .bind(user.0)
    .bind(email)
    .fetch_optional(pool)
    .await?;
    Ok(hash.flatten())
}

/// Puts a new password in the place of the one that was checked, and takes away all of the user's tokens but one. The tokens
/// that are no longer good; `None`: the password was changed meanwhile, and nothing was done.
pub async fn change_password(
    pool: &PgPool,
    user: UserId,
    checked: &str,
    new: &str,
    keep: i64,
) -> Result<Option<Vec<i64>>, StoreError> {
    let mut tx = pool.begin().await?;
    // The row is locked from here on: no token is made with the old password any more (`tokens::create_with_password`).
    // Whom the Laravel application's web pages remember, they forget.
    let changed = sqlx::query(
        "UPDATE users SET password = $3, remember_token = NULL WHERE id = $1 AND password = $2 AND deleted_at IS NULL",
    )
    .bind(user.0)
    .bind(checked)
    .bind(new)
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(None);
    }
    let gone = tokens::forget(&mut tx, user, Some(keep)).await?;
    tx.commit().await?;
    Ok(Some(gone))
}

/// What changes of a user; the outer `None` leaves a column as it is, an inner one empties it.
#[derive(Clone, Default)]
pub struct ProfileChange {
    /// E.164. Another one is no longer verified.
    pub phone: Option<String>,
    /// Another one is no longer verified.
    pub email: Option<Option<String>>,
    /// Given name.
    pub first_name: Option<Option<String>>,
    /// Family name.
    pub last_name: Option<Option<String>>,
    /// `gender` of the schema.
    pub gender: Option<Option<Gender>>,
    /// After 1900.
    pub date_of_birth: Option<Option<NaiveDate>>,
    /// A URL.
    pub profile_photo_url: Option<Option<String>>,
    /// `en`, `fil` …
    pub preferred_language: Option<String>,
    /// The app's own affair: a JSON object.
    pub notification_preferences: Option<Value>,
    /// Whether he may come in.
    pub is_active: Option<bool>,
    /// Whether his identity was checked.
    pub is_verified: Option<bool>,
}

impl ProfileChange {
    /// The statement that writes it, for the live user that the caller names after it: `… WHERE deleted_at IS NULL AND id = `.
    /// `None`: nothing changes.
    pub(super) fn update(&self) -> Option<QueryBuilder<Postgres>> {
        let mut sql = QueryBuilder::new("UPDATE users SET ");
        let mut set = sql.separated(", ");
        let mut some = false;
        macro_rules! column {
            ($column:literal, $value:expr) => {
                if let Some(value) = $value {
                    set.push(concat!($column, " = ")).push_bind_unseparated(value);
                    some = true;
                }
            };
        }
        if let Some(phone) = &self.phone {
            set.push("phone_verified_at = CASE WHEN phone = ").push_bind_unseparated(phone.clone());
            set.push_unseparated(" THEN phone_verified_at END");
        }
        if let Some(email) = &self.email {
            set.push("email_verified_at = CASE WHEN lower(email) = lower(").push_bind_unseparated(email.clone());
            set.push_unseparated(") THEN email_verified_at END");
        }
        column!("phone", self.phone.clone());
        column!("email", self.email.clone());
        column!("first_name", self.first_name.clone());
        column!("last_name", self.last_name.clone());
        if let Some(gender) = self.gender {
            set.push("gender = ").push_bind_unseparated(gender.map(Gender::as_str)).push_unseparated("::gender");
            some = true;
        }
        column!("date_of_birth", self.date_of_birth);
        column!("profile_photo_url", self.profile_photo_url.clone());
        column!("preferred_language", self.preferred_language.clone());
        column!("notification_preferences", self.notification_preferences.clone().map(Json));
        column!("is_active", self.is_active);
        column!("is_verified", self.is_verified);
        sql.push(" WHERE deleted_at IS NULL AND id = ");
        some.then_some(sql)
    }
}

/// Changes a user's own profile; he exists.
pub async fn change_profile(
    pool: &PgPool,
    user: UserId,
    change: &ProfileChange,
) -> Result<Result<(), Taken>, StoreError> {
    let Some(mut update) = change.update() else { return Ok(Ok(())) };
    match update.push_bind(user.0).build().execute(pool).await.map_err(StoreError::from) {
        Ok(_) => Ok(Ok(())),
        Err(error) => Taken::of(&error).map(Err).ok_or(error),
    }
}
