//! Black box over HTTP and websocket: what the contract promises, tried from outside.

mod accounts;
mod addresses;
mod agreed_price;
mod asking;
mod audit;
mod authorization;
mod blocks;
mod bookings;
mod catalog;
mod chosen;
mod compared;
mod correspondence;
mod departures;
mod described;
mod directory;
mod documents;
mod doors;
mod durability;
mod events;
mod heat;
mod identity;
mod in_store;
mod listening;
mod lists;
mod main_job;
pub mod money;
mod odd_values;
mod openapi;
mod ops_browser;
mod ops_map;
mod own_writes;
mod platform_fee;
mod provider_papers;
mod provider_profiles;
mod providers;
mod races;
mod restarted;
mod reviews;
mod scheduled;
mod shows;
mod stores;
mod told;
mod trackers;
mod undecided;
mod wallet;

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::http::{Answer, Api, Stream, fix};
use crate::support::people::{self, Person, Therapist};
use crate::support::server::Server;

/// Ayala Avenue, Makati.
pub const HERE: (f64, f64) = (14.5547, 121.0244);

/// A place this many metres north of [`HERE`].
pub fn north(metres: f64) -> (f64, f64) {
    (HERE.0 + metres / 111_195.0, HERE.1)
}

/// The clock of the apps in these tests.
#[allow(clippy::disallowed_methods)]
pub fn now() -> chrono::DateTime<Utc> {
    Utc::now()
}

/// A therapist who stands this many metres north of [`HERE`] and has said so.
pub async fn therapist_at(server: &Server, name: &str, metres: f64) -> Therapist {
    let (latitude, longitude) = north(metres);
    let therapist = people::therapist(server.pool(), name, latitude, longitude).await;
    stand(&server.api(&therapist.person.token), 1, latitude, longitude).await;
    visible(server, &therapist).await;
    therapist
}

/// Sends one fix of now over HTTP and checks that it was stored.
pub async fn stand(api: &Api, seq: u32, latitude: f64, longitude: f64) {
    let answer = api.post("/v1/locations", json!({"fixes": [fix(seq, now(), latitude, longitude)]})).await;
    assert_eq!((answer.status, &answer.json["acked_seq"]), (200, &json!(seq)), "{answer:?}");
}

/// Waits until matching sees this therapist.
pub async fn visible(server: &Server, therapist: &Therapist) {
    let admin = people::admin(server.pool()).await;
    let uuid = therapist.provider_uuid.to_string();
    server
        .api(&admin.token)
        .until(&nearby(HERE, ""), |a| {
            a.json["data"].as_array().is_some_and(|d| d.iter().any(|t| t["provider_uuid"] == uuid.as_str()))
        })
        .await;
}

/// `GET /v1/therapists/nearby` around a place.
pub fn nearby((latitude, longitude): (f64, f64), more: &str) -> String {
    format!(
        "/v1/therapists/nearby?latitude={latitude}&longitude={longitude}&service=swedish-massage&radius_km=20&limit=50{more}"
    )
}

/// What a customer posts for a Swedish massage at home, now, at [`HERE`].
pub fn wanted() -> Value {
    json!({"service": "swedish-massage", "type": "home_service", "booking_type": "now", "payment_method": "cash",
           "customer_notes": "Blue gate",
           "location": {"address": "6750 Ayala Avenue, Makati", "latitude": HERE.0, "longitude": HERE.1}})
}

/// Books, and returns the booking.
pub async fn book(server: &Server, customer: &Person, body: Value) -> Value {
    let answer = server.api(&customer.token).post("/v1/bookings", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json
}

/// The booking's uuid.
pub fn uuid(booking: &Value) -> &str {
    booking["uuid"].as_str().expect("a uuid")
}

/// Waits until the booking has this status.
pub async fn becomes(server: &Server, who: &Person, uuid: &str, status: &str) -> Value {
    server.api(&who.token).until(&format!("/v1/bookings/{uuid}"), |a| a.json["status"] == status).await.json
}

/// Moves the booking as this person; returns the status of the answer and its JSON.
pub async fn transition(server: &Server, who: &Person, uuid: &str, to: &str) -> (u16, Value) {
    let answer = server.api(&who.token).post(&format!("/v1/bookings/{uuid}/transitions"), json!({"to": to})).await;
    (answer.status, answer.json)
}

/// Changes one field of a setting for this test and waits until it holds.
pub async fn set(server: &Server, key: &str, field: &str, value: Value) {
    let admin = people::admin(server.pool()).await;
    let api = server.api(&admin.token);
    let mut all: Value = sqlx::query_scalar("SELECT value FROM app_settings WHERE key = $1")
        .bind(key)
        .fetch_one(server.pool())
        .await
        .expect("the setting");
    all[field] = value;
    let answer = api.put(&format!("/v1/settings/{key}"), json!({"value": all})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Opens the therapist's socket and confirms each offer's receipt is his own business.
pub async fn app(server: &Server, therapist: &Therapist) -> Stream {
    Stream::open(&server.base, &therapist.person.token).await.0
}
