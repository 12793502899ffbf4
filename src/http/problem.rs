//! Errors as the apps see them: RFC 9457 problems with a stable `code`, Laravel's `message` and, for 422, its `errors`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::rate_limit::Allowance;
use crate::store::StoreError;
use crate::store::rows::RowError;

/// What is wrong with each field: field name to texts, as Laravel answers them.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

/// Seconds that a client should wait before it asks a service again whose database is gone.
pub(super) const UNAVAILABLE_RETRY_S: u32 = 2;

/// A refusal on its way to the client. Boxed: it travels in many `Result`s that are nearly always `Ok`.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    detail: Option<String>,
    errors: FieldErrors,
    retry_after_s: Option<u32>,
    allowance: Option<Allowance>,
    more: Map<String, Value>,
}

/// The document of an error, `application/problem+json`. Some codes carry more members (`current_status`, `reason`).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A name for the kind of problem: `urn:spacall:problem:{code}`.
    pub r#type: String,
    /// The HTTP status in words.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    #[schema(example = "invalid")]
    pub code: &'a str,
    /// For people.
    pub message: &'a str,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// With 422: what is wrong with each field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: &'a FieldErrors,
    /// What belongs to this code alone.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: &'a Map<String, Value>,
}

impl Problem {
    /// Any problem. `code` is stable; `message` is for people.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code: code.into(),
            message: message.into(),
            detail: None,
            errors: FieldErrors::new(),
            retry_after_s: None,
            allowance: None,
            more: Map::new(),
        }))
    }

    /// 422 `invalid`: fields that cannot be used, each with what is allowed.
    pub fn invalid(errors: FieldErrors) -> Self {
        Self::invalid_as("invalid", errors)
    }

    /// 422 with a code of its own. The message is the first error's, and how many more there are, as Laravel words it.
    pub fn invalid_as(code: &'static str, errors: FieldErrors) -> Self {
        let count: usize = errors.values().map(Vec::len).sum();
        let first = errors.values().flatten().next().cloned().unwrap_or_else(|| "The given data was invalid.".into());
        let message = match count {
            0 | 1 => first,
            2 => format!("{first} (and 1 more error)"),
            _ => format!("{first} (and {} more errors)", count - 1),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message);
        problem.0.errors = errors;
        problem
    }

    /// 422 with one field and a code of its own.
    pub fn field(code: &'static str, field: &str, text: impl Into<String>) -> Self {
        Self::invalid_as(code, FieldErrors::from([(field.to_owned(), vec![text.into()])]))
    }

    /// 401: no token, or one that is not good. Says no more, so that nothing can be learned by trying.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Unauthenticated.")
    }

    /// 403: a good token, but not of one who may do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: it does not exist, or it is a stranger's; the answer does not tell which.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found."))
    }

    /// 409 with a code of its own.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 503: the service cannot answer now, but will again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(UNAVAILABLE_RETRY_S)
    }

    /// 500: our fault. What happened goes to the log, not to the client.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side.")
    }

    /// Adds an explanation.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a member that belongs to this code.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(member.to_owned(), value.into());
        self
    }

    /// Adds `Retry-After`, seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Adds the headers of the limit that it has to do with.
    #[must_use]
    pub fn limited(mut self, allowance: Allowance) -> Self {
        self.0.allowance = Some(allowance);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The document, as the client gets it.
    pub fn to_json(&self) -> Value {
        let parts = &self.0;
        serde_json::to_value(ProblemBody {
            r#type: format!("urn:spacall:problem:{}", parts.code),
            title: parts.status.canonical_reason().unwrap_or("Error"),
            status: parts.status.as_u16(),
            code: &parts.code,
            message: &parts.message,
            detail: parts.detail.as_deref(),
            errors: &parts.errors,
            more: &parts.more,
        })
        .unwrap_or_default()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            tracing::warn!(%error, "a request could not be answered: the database is not there");
            return Self::unavailable("The database is not reachable right now; try again.");
        }
        if error.is_conflict() {
            tracing::warn!(%error, "a request lost against another");
            return Self::unavailable("Somebody else is changing the same right now; try again.");
        }
        // What is given was checked; what grows by it was not.
        if error.code().as_deref() == Some("22003") {
            tracing::warn!(%error, "a request was refused: a sum would be larger than its column");
            let text =
                "Not possible: a sum (a balance, what somebody has earned or spent) would be larger than can be kept.";
            return Self::conflict("sum_too_large", text);
        }
        tracing::error!(%error, "a request failed in the database");
        Self::internal()
    }
}

impl From<RowError> for Problem {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Refused(refused) => Self::field("invalid", refused.field(), refused.to_string()),
            RowError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allowance) = self.0.allowance {
            allowance.write(headers);
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_rfc_9457s_members_and_laravels() {
        let errors = FieldErrors::from([
            ("latitude".to_owned(), vec!["The latitude field is required.".to_owned()]),
            ("limit".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
        ]);
        let json = Problem::invalid(errors).to_json();
        assert_eq!(json["status"], 422);
        assert_eq!(json["code"], "invalid");
        assert_eq!(json["type"], "urn:spacall:problem:invalid");
        assert_eq!(json["title"], "Unprocessable Entity");
        assert_eq!(json["message"], "The latitude field is required. (and 2 more errors)");
        assert_eq!(json["errors"]["limit"][1], "b");
    }

    #[test]
    fn members_of_a_code_stand_beside_the_others() {
        let problem = Problem::conflict("not_allowed", "no").with("current_status", "completed").detail("why");
        let json = problem.to_json();
        assert_eq!(json["current_status"], "completed");
        assert_eq!(json["detail"], "why");
        assert!(json.get("errors").is_none());
    }

    #[test]
    fn a_database_that_is_gone_is_503_with_a_time_to_wait_and_any_other_failure_500() {
        let gone = Problem::from(StoreError::Database(sqlx::Error::PoolTimedOut)).into_response();
        assert_eq!((gone.status().as_u16(), &gone.headers()[header::RETRY_AFTER]), (503, &HeaderValue::from(2)));
        let broken = Problem::from(StoreError::Database(sqlx::Error::RowNotFound));
        assert_eq!((broken.status().as_u16(), broken.code()), (500, "internal"));
    }

    #[test]
    fn a_401_names_the_scheme_and_is_problem_json() {
        let response = Problem::unauthenticated().into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
