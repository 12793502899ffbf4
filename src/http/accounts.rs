//! Registration, log-in and log-out: tokens against passwords.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use serde::Serialize;

use super::auth::{Authenticator, Caller};
use super::door::Door;
use super::extract::{Body, Fields, OptionalBody, read};
use super::me::{self, Me};
use super::passwords::{Password, Passwords};
use super::peer::Peer;
use super::person;
use super::problem::{FieldErrors, Problem, ProblemBody};
use super::readers;
use crate::clock;
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::accounts::{self, Credentials, Login, NewAccount, Taken};
use crate::store::tokens::{self, LoggedIn};

/// What one can register as. Admins are made by admins.
const ROLES: &[&str] = &["customer", "therapist", "store_owner"];

/// What a token is called whose device has no name.
const TOKEN_NAME: &str = "api";

/// A new token and whose it is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SignedIn {
    /// `{id}|{secret}`: for `Authorization: Bearer`. It is told this once and stored nowhere.
    #[schema(example = "7|kR0…")]
    pub token: String,
    /// As `GET /v1/me` shows him.
    pub user: Me,
}

/// Somebody who wants an account.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Registration {
    /// E.164, or as it is written in the Philippines.
    #[schema(example = "+639171234567")]
    pub phone: String,
    /// 8 characters to 72 bytes.
    #[schema(example = "correct horse battery")]
    pub password: String,
    /// If given, the same.
    pub password_confirmation: Option<String>,
    /// At most 100 characters.
    #[schema(example = "Maria")]
    pub first_name: String,
    /// At most 100 characters.
    #[schema(example = "Santos")]
    pub last_name: Option<String>,
    /// `customer`, `therapist` or `store_owner`; `customer` if not given.
    #[schema(example = "customer")]
    pub role: Option<String>,
    /// To log in with, too.
    pub email: Option<String>,
    /// `gender` of the schema.
    pub gender: Option<String>,
    /// After 1900-01-01.
    #[schema(value_type = Option<String>, format = Date)]
    pub date_of_birth: Option<NaiveDate>,
    /// `en` if not given.
    pub preferred_language: Option<String>,
    /// What the token is called in `GET /v1/tokens`.
    pub device_name: Option<String>,
}

/// Makes an account and lets it in. Phone and email are nobody else's.
///
/// A therapist or a store owner has no provider yet. At most 30 a minute from an address.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "identity",
    request_body = Registration,
    responses(
        (status = 201, body = SignedIn),
        (status = 422, description = "`invalid`: also a phone or an email that somebody has already", body = ProblemBody),
        (status = 429, description = "Too many new accounts from this address; `Retry-After`", body = ProblemBody),
        (status = 503, description = "The database is not reachable, or too many passwords are being checked; `Retry-After`", body = ProblemBody)
    )
)]
pub async fn register(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    State(passwords): State<Arc<Passwords>>,
    State(door): State<Arc<Door>>,
    Peer(address): Peer,
    Body { fields, .. }: Body,
) -> Result<Response, Problem> {
    let wanted = wanted(fields)?;
    let now = clock::monotonic();
    let allowance = door.registrations.take(&(), address, now);
    if let Some(problem) = allowance.refused("Too many new accounts from this address.") {
        return Err(problem);
    }
    let mut new = wanted.account;
    let known = accounts::taken(&engine.pool, &new.phone, new.email.as_deref()).await?;
    if !known.is_empty() {
        return Err(taken(&known));
    }
    let hash = passwords.hash(wanted.password, address).await;
    new.password_hash = hash.inspect_err(|_| door.registrations.give_back(&(), address, now))?;
    let user = accounts::register(&engine.pool, &new).await?.map_err(|known| taken(&[known]))?;
    let made = tokens::create_with_password(&engine.pool, user, &new.password_hash, &wanted.device).await?;
    let token = made.ok_or_else(bad_credentials)?.token;
    signed_in(StatusCode::CREATED, &engine, &authenticator, token).await
}

/// What was asked for, as far as it can be told without the database.
struct Wanted {
    /// Without the hash of its password.
    account: NewAccount,
    password: Password,
    device: String,
}

fn wanted(mut fields: Fields) -> Result<Wanted, Problem> {
    let phone = fields.required("phone", person::phone);
    let password = Password::new(&mut fields, "password");
    let first_name = fields.required("first_name", read::text(100));
    let account = NewAccount {
        phone: phone.clone().unwrap_or_default(),
        email: fields.optional("email", readers::email),
        password_hash: String::new(),
        first_name: first_name.clone().unwrap_or_default(),
        last_name: fields.optional("last_name", read::text(100)),
        gender: fields.optional("gender", person::gender),
        date_of_birth: fields.optional("date_of_birth", person::birthday),
        preferred_language: fields.optional("preferred_language", person::language),
        role: fields.optional("role", read::word(ROLES)).unwrap_or(ROLES[0]),
    };
    let device = device(&mut fields);
    let whole = phone.and(first_name).and(password).map(|password| Wanted { account, password, device });
    fields.finish(whole)
}

fn device(fields: &mut Fields) -> String {
    fields.optional("device_name", read::text(255)).unwrap_or_else(|| TOKEN_NAME.to_owned())
}

/// As Laravel words it.
pub(super) fn taken(known: &[Taken]) -> Problem {
    let text = |field| (field, vec![format!("The {field} has already been taken.")]);
    let errors: FieldErrors = known.iter().map(|taken| text(taken.field())).map(|(f, t)| (f.to_owned(), t)).collect();
    Problem::invalid(errors)
}

/// A phone or an email, and the password.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LogIn {
    /// One of the two.
    #[schema(example = "+639171234567")]
    pub phone: Option<String>,
    /// One of the two.
    pub email: Option<String>,
    /// Of that account.
    #[schema(example = "correct horse battery")]
    pub password: String,
    /// What the token is called in `GET /v1/tokens`.
    pub device_name: Option<String>,
}

/// A token against phone or email and password.
///
/// An account that does not exist, is switched off or has another password is answered alike (401 `bad_credentials`), after the
/// same time. At most 5 a minute to an account from an address, 100 to an account from everywhere, and 5 that fail from an address.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "identity",
    request_body = LogIn,
    responses(
        (status = 200, body = SignedIn),
        (status = 401, description = "`bad_credentials`", body = ProblemBody),
        (status = 422, body = ProblemBody),
        (status = 429, description = "Too many attempts for this account or from this address; `Retry-After`, `X-RateLimit-Limit`, `X-RateLimit-Remaining`", body = ProblemBody),
        (status = 503, description = "The database is not reachable, or too many passwords are being checked; `Retry-After`", body = ProblemBody)
    )
)]
pub async fn login(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    State(passwords): State<Arc<Passwords>>,
    State(door): State<Arc<Door>>,
    Peer(address): Peer,
    Body { mut fields, .. }: Body,
) -> Result<Response, Problem> {
    let (login, password, device) = credentials(&mut fields);
    let (login, password) = fields.finish(login.zip(password))?;
    let now = clock::monotonic();
    let from_here = door.failures.take(&(), address, now);
    if let Some(problem) = from_here.refused("Too many attempts to log in from this address.") {
        return Err(problem);
    }
    // Counted by what was given, as the database reads it: whether there is such an account, and whether a phone and an email are of the
    // same one, is not to be learned from the counts.
    let known = accounts::credentials(&engine.pool, &login).await;
    let (login, known) = known.inspect_err(|_| door.failures.give_back(&(), address, now))?;
    let allowance =
        door.to_account(&login, address, now).inspect_err(|_| door.failures.give_back(&(), address, now))?;
    let token = token(&engine, &passwords, known.as_ref(), password, &device, address).await;
    if !matches!(token, Ok(None)) {
        door.failures.give_back(&(), address, now);
    }
    // What could not be looked at was no attempt.
    let token = token.inspect_err(|_| {
        door.log_ins.give_back(&login, address, now);
        door.accounts.give_back(&login, now);
    })?;
    let LoggedIn { token, gone } = token.ok_or_else(|| bad_credentials().limited(from_here))?;
    authenticator.revoked(&gone);
    let mut response = signed_in(StatusCode::OK, &engine, &authenticator, token).await?;
    allowance.write(response.headers_mut());
    Ok(response)
}

/// A token for who has given his password; `None`: it is not his, or he may not come in.
async fn token(
    engine: &Engine,
    passwords: &Passwords,
    known: Option<&Credentials>,
    password: Password,
    device: &str,
    address: IpAddr,
) -> Result<Option<LoggedIn>, Problem> {
    let stored = known.and_then(|known| known.password.as_ref().map(|hash| (known.user, hash)));
    let is_it = passwords.is(password, stored.map(|(user, hash)| (user, hash.clone())), address).await?;
    match stored.filter(|_| is_it && known.is_some_and(|known| known.is_active)) {
        Some((user, hash)) => Ok(tokens::create_with_password(&engine.pool, user, hash, device).await?),
        None => Ok(None),
    }
}

fn credentials(fields: &mut Fields) -> (Option<Login>, Option<Password>, String) {
    let phone = fields.optional("phone", person::phone).map(Login::Phone);
    let email = fields.optional("email", readers::email).map(Login::Email);
    match (fields.has("phone"), fields.has("email")) {
        (false, false) => fields.error("phone", "The phone field is required when email is not given."),
        (true, true) => fields.error("email", "The email field must not be given with phone."),
        _ => {}
    }
    (phone.or(email), Password::given(fields, "password"), device(fields))
}

/// 401, whatever is wrong.
fn bad_credentials() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "bad_credentials", "These credentials do not match our records.")
}

async fn signed_in(
    status: StatusCode,
    engine: &Engine,
    authenticator: &Authenticator,
    token: String,
) -> Result<Response, Problem> {
    let caller = authenticator.verify(&token, clock::monotonic()).await?;
    let user = me::shown(engine, &caller).await?;
    let mut response = (status, Json(SignedIn { token, user })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The token in use is no longer good; its streams end.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    tag = "identity",
    request_body = Option<serde_json::Value>,
    responses((status = 204, description = "Logged out"))
)]
pub async fn logout(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    _: OptionalBody,
) -> Result<StatusCode, Problem> {
    // Gone already: another did it, and it is what is wanted.
    tokens::delete(&engine.pool, caller.user, caller.token).await?;
    authenticator.revoked(&[caller.token]);
    Ok(StatusCode::NO_CONTENT)
}

/// The old password and the new one.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasswordChange {
    /// The one that holds.
    pub current_password: String,
    /// 8 characters to 72 bytes.
    pub password: String,
    /// If given, the same as `password`.
    pub password_confirmation: Option<String>,
}

/// Changes the caller's password. All of his other tokens are no longer good, and their streams end.
///
/// The old one may be tried 5 times a minute.
#[utoipa::path(
    put,
    path = "/v1/me/password",
    tag = "identity",
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed"),
        (status = 422, description = "`invalid`: also a `current_password` that is not his", body = ProblemBody),
        (status = 429, description = "Too many attempts for this account, or requests with this token; `Retry-After`", body = ProblemBody)
    )
)]
pub async fn change_password(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    State(passwords): State<Arc<Passwords>>,
    State(door): State<Arc<Door>>,
    Peer(address): Peer,
    Caller(caller): Caller,
    Body { mut fields, .. }: Body,
) -> Result<StatusCode, Problem> {
    let current = Password::given(&mut fields, "current_password");
    let new = Password::new(&mut fields, "password");
    let (current, new) = fields.finish(current.zip(new))?;
    let stored = accounts::password_hash(&engine.pool, caller.user).await?;
    let known = OwnPassword { door: &door, passwords: &passwords, user: caller.user, address, now: clock::monotonic() };
    let stored = known.confirmed(current, stored).await?;
    let new = passwords.hash(new, address).await.inspect_err(|_| known.give_back())?;
    let gone = accounts::change_password(&engine.pool, caller.user, &stored, &new, caller.token).await?;
    authenticator.revoked(&gone.ok_or_else(wrong_password)?);
    Ok(StatusCode::NO_CONTENT)
}

/// Who has a token, and is asked for his password as well.
pub(super) struct OwnPassword<'a> {
    pub(super) door: &'a Door,
    pub(super) passwords: &'a Passwords,
    pub(super) user: UserId,
    pub(super) address: IpAddr,
    pub(super) now: Instant,
}

impl OwnPassword<'_> {
    /// His hash, if this is his password: 422 if not, 429 when it was tried too often.
    pub(super) async fn confirmed(&self, current: Password, stored: Option<String>) -> Result<String, Problem> {
        let allowance = self.door.own_passwords.take(&self.user, self.now);
        if let Some(problem) = allowance.refused("Too many attempts to give this account's password.") {
            return Err(problem);
        }
        let compared = stored.clone().map(|hash| (self.user, hash));
        // What could not be looked at was no attempt.
        let is_it = self.passwords.is(current, compared, self.address).await.inspect_err(|_| self.give_back())?;
        stored.filter(|_| is_it).ok_or_else(wrong_password)
    }

    fn give_back(&self) {
        self.door.own_passwords.give_back(&self.user, self.now);
    }
}

fn wrong_password() -> Problem {
    Problem::field("invalid", "current_password", "The password is incorrect.")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[tokio::test]
    async fn a_password_that_could_not_be_looked_at_was_not_tried() {
        let (door, passwords, now) = (Door::default(), Passwords::new(4), clock::monotonic());
        let asked = async |address: &str| {
            let address = address.parse().expect("an address");
            let known = OwnPassword { door: &door, passwords: &passwords, user: UserId(1), address, now };
            let body = Map::from_iter([("current_password".to_owned(), json!("x"))]);
            let given = Password::given(&mut Fields::of_body(body), "current_password").expect("a password");
            known.confirmed(given, None).await.expect_err("not his").status().as_u16()
        };
        // Thirty hashes of somebody else behind the same address.
        for _ in 0..30 {
            let address = "198.51.100.1".parse().expect("an address");
            let given = Password::given(&mut Fields::of_body(Map::from_iter([("p".to_owned(), json!("x"))])), "p");
            passwords.is(given.expect("a password"), None, address).await.expect("an answer");
        }
        for _ in 0..10 {
            assert_eq!(asked("198.51.100.1").await, 429);
        }
        for nth in 0..6 {
            assert_eq!(asked("198.51.100.2").await, if nth < 5 { 422 } else { 429 }, "{nth}");
        }
    }
}
