//! The HTTP side of an app.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::messages::BookingSeen;

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// One person's access to the service. Clones share the connections.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: Arc<str>,
    token: Arc<str>,
}

/// Why a request did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer: whether it was done is unknown.
    #[error("no answer: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// The service said no.
    #[error("{status} {code}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable; empty when the body had none.
        code: String,
        /// For people.
        message: String,
        /// The whole problem, for fields such as the current status.
        body: Value,
    },
    /// An answer that is not what the contract says.
    #[error("{status}, but the answer cannot be read: {problem}")]
    Unreadable {
        /// HTTP status.
        status: u16,
        /// Why.
        problem: String,
    },
}

impl ApiError {
    /// Whether the same request may do later: no answer, the server's own trouble, or too fast.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            Self::Unreadable { .. } => false,
        }
    }

    /// HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused { status, .. } | Self::Unreadable { status, .. } => Some(*status),
        }
    }

    /// For counting: the problem's code, else the status, else `unreachable`.
    pub fn key(&self) -> String {
        match self {
            Self::Unreachable(e) if e.is_timeout() => "timeout".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Refused { status, code, .. } if code.is_empty() => format!("http_{status}"),
            Self::Refused { code, .. } => code.clone(),
            Self::Unreadable { .. } => "unreadable".to_owned(),
        }
    }
}

/// A booking for now, at home.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NewBooking {
    /// Slug or id.
    pub service: String,
    /// As the customer would write it.
    pub address: String,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Only this therapist.
    pub provider_uuid: Option<Uuid>,
    /// For the therapist.
    pub customer_notes: Option<String>,
}

impl NewBooking {
    fn body(&self) -> Value {
        let mut body = json!({
            "service": self.service,
            "type": "home_service",
            "booking_type": "now",
            "payment_method": "cash",
            "location": {"address": self.address, "latitude": self.latitude, "longitude": self.longitude},
        });
        if let Some(provider) = self.provider_uuid {
            body["provider_uuid"] = json!(provider);
        }
        if let Some(notes) = &self.customer_notes {
            body["customer_notes"] = json!(notes);
        }
        body
    }
}

/// The body of an error.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    code: String,
    message: String,
}

impl Api {
    /// `url` as in `http://127.0.0.1:8080`; `token` as in `7|abc…`.
    pub fn new(url: &str, token: &str) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .build()
            .map_err(ApiError::Unreachable)?;
        Ok(Self { http, base: url.trim_end_matches('/').into(), token: token.into() })
    }

    /// The same service as somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// Books. `idempotency_key` makes it safe to ask again after no answer.
    pub async fn book(&self, booking: &NewBooking, idempotency_key: &str) -> Result<BookingSeen, ApiError> {
        self.send(Method::POST, "/v1/bookings", Some(&booking.body()), Some(idempotency_key)).await
    }

    /// A booking as it stands.
    pub async fn booking(&self, uuid: Uuid) -> Result<BookingSeen, ApiError> {
        self.send(Method::GET, &format!("/v1/bookings/{uuid}"), None, None).await
    }

    /// Moves a booking. The status that it already has is fine.
    pub async fn transition(&self, uuid: Uuid, to: &str, reason: Option<&str>) -> Result<BookingSeen, ApiError> {
        let body = match reason {
            Some(reason) => json!({"to": to, "reason": reason}),
            None => json!({"to": to}),
        };
        self.send(Method::POST, &format!("/v1/bookings/{uuid}/transitions"), Some(&body), None).await
    }

    /// Who is nearest, as the service answers it.
    pub async fn nearby(&self, latitude: f64, longitude: f64, service: &str) -> Result<Value, ApiError> {
        let path = format!("/v1/therapists/nearby?latitude={latitude:.7}&longitude={longitude:.7}&service={service}");
        self.send(Method::GET, &path, None, None).await
    }

    /// The same, of those within `radius_km`; exact for who is answered from exact positions.
    pub async fn nearby_within(
        &self,
        latitude: f64,
        longitude: f64,
        service: &str,
        radius_km: f64,
    ) -> Result<Value, ApiError> {
        let path = format!(
            "/v1/therapists/nearby?latitude={latitude:.7}&longitude={longitude:.7}&service={service}&radius_km={radius_km}"
        );
        self.send(Method::GET, &path, None, None).await
    }

    /// Goes on or off duty.
    pub async fn set_available(&self, available: bool) -> Result<Value, ApiError> {
        self.send(Method::PUT, "/v1/me/availability", Some(&json!({"available": available})), None).await
    }

    /// A value of `app_settings`, as an admin. `None` when the service has no such key.
    pub async fn setting(&self, key: &str) -> Result<Option<Value>, ApiError> {
        let all: Value = self.send(Method::GET, "/v1/settings", None, None).await?;
        Ok(find_setting(&all, key).cloned())
    }

    /// Sets a value of `app_settings`, as an admin.
    pub async fn set_setting(&self, key: &str, value: &Value) -> Result<Value, ApiError> {
        self.send(Method::PUT, &format!("/v1/settings/{key}"), Some(&json!({"value": value})), None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> Result<T, ApiError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.map_err(ApiError::Unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(ApiError::Unreachable)?;
        read(status, &bytes)
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, ApiError> {
    let number = status.as_u16();
    if status.is_success() {
        // 204 and the like: null, for those who do not look at the answer.
        let bytes = if bytes.is_empty() { b"null" } else { bytes };
        return serde_json::from_slice(bytes)
            .map_err(|e| ApiError::Unreadable { status: number, problem: e.to_string() });
    }
    let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let Problem { code, message } = Problem::deserialize(&body).unwrap_or_default();
    Err(ApiError::Refused { status: number, code, message, body })
}

/// In a page of `{key, value}` rows.
fn find_setting<'a>(all: &'a Value, key: &str) -> Option<&'a Value> {
    let rows = all.get("data").unwrap_or(all);
    rows.as_array()?.iter().find(|row| row["key"] == key).map(|row| &row["value"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_code_and_the_current_status() {
        let body = br#"{"code":"not_allowed","message":"no","current":"cancelled"}"#;
        let error = read::<BookingSeen>(StatusCode::CONFLICT, body).expect_err("a conflict");
        assert_eq!((error.key(), error.status(), error.is_passing()), ("not_allowed".to_owned(), Some(409), false));
        assert!(matches!(error, ApiError::Refused { body, .. } if body["current"] == "cancelled"));
    }

    #[test]
    fn what_passes_is_asked_again_and_what_is_refused_is_not() {
        for (status, passing) in [(500, true), (503, true), (429, true), (404, false), (422, false)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = read::<Value>(status, b"").expect_err("no success");
            assert_eq!(error.is_passing(), passing, "{status}");
            assert_eq!(error.key(), format!("http_{}", status.as_u16()));
        }
    }

    #[test]
    fn an_empty_success_is_null() {
        assert_eq!(read::<Value>(StatusCode::NO_CONTENT, b"").ok(), Some(Value::Null));
    }

    #[test]
    fn finds_a_setting_by_its_key() {
        let page = json!({"data": [{"key": "a", "value": 1}, {"key": "pings", "value": {"burst": 600}}]});
        assert_eq!(find_setting(&page, "pings"), Some(&json!({"burst": 600})));
        assert_eq!(find_setting(&page, "none"), None);
    }
}
