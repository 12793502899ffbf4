//! `app_settings.dispatch`: how offers are made, and for which bookings otherwise. `docs/dispatch.md` explains it to ops.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{shape, within};
use crate::core::dispatch::{Policy, Rules, Weights};
use crate::core::geo::{LatLng, Meters};
use crate::core::scheduling::LONGEST_SEARCH;

/// How offers are made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchSettings {
    /// Who is asked when.
    pub policy: DispatchPolicy,
    /// Seconds from the app's receipt until an offer expires.
    pub offer_ttl_s: u32,
    /// The same for a booking that names its therapist.
    pub chosen_ttl_s: u32,
    /// Seconds that a receipt may take, at most.
    pub receipt_grace_s: u32,
    /// Radius of the first round, km.
    pub radius_start_km: f64,
    /// Each round looks this much farther, km.
    pub radius_step_km: f64,
    /// What is done about a therapist whose app is not connected.
    #[serde(default)]
    pub disconnected: Disconnected,
    /// A scheduled booking is searched for until this many seconds before its time.
    pub lead_s: u32,
    /// Seconds from the app's receipt until an offer of a scheduled booking to who was not chosen expires; as
    /// `offer_ttl_s` if not given. (The chosen one has until the search ends.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_ttl_s: Option<u32>,
    /// Both parties of a scheduled booking are reminded so many seconds before its time.
    #[serde(default = "day_and_hour")]
    pub reminders_s: Vec<u32>,
    /// Of the policy `broadcast`.
    #[serde(default)]
    pub broadcast: BroadcastSettings,
    /// Of the policy `batched`.
    #[serde(default)]
    pub batch: BatchSettings,
    /// What makes a candidate better than another.
    #[serde(default)]
    pub weights: CostWeights,
    /// Bookings for which something else holds: the first that fits counts.
    #[serde(default)]
    pub overrides: Vec<DispatchOverride>,
}

fn day_and_hour() -> Vec<u32> {
    vec![86_400, 3_600]
}

/// `dispatch.policy`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DispatchPolicy {
    /// One offer at a time, best first.
    Sequential,
    /// Several at a time, the first accept wins.
    Broadcast,
    /// Everybody who waits at a window's end is matched at once, at least total cost.
    Batched,
}

/// `dispatch.disconnected`: whether a therapist is asked whose app has no live connection. (One who was chosen always is.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disconnected {
    /// Like the others: the offer waits for him, and his app hears of it when it comes back.
    #[default]
    Ask,
    /// He is passed over, and reconsidered when his app comes back.
    Skip,
}

/// `dispatch.broadcast`
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BroadcastSettings {
    /// Therapists asked at a time.
    pub width: u16,
    /// Head start of each over the next, seconds.
    #[serde(default)]
    pub stagger_s: f64,
}

/// `dispatch.batch`
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// Length of a window, seconds.
    pub window_s: f64,
}

/// `dispatch.weights`: what is worth how many seconds of travel. A field left out has its default.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostWeights {
    /// Of a second of travel: 1 counts it as it is.
    pub travel: f64,
    /// Of a second that the booking has waited (batched: who goes without when somebody must).
    pub waiting: f64,
    /// Of an hour that the therapist has been idle, up to four.
    pub idle_hour: f64,
    /// Of a star.
    pub rating_star: f64,
    /// Of accepting always instead of never.
    pub acceptance: f64,
    /// Of having served this customer before.
    pub preferred: f64,
}

/// `dispatch.overrides[]`: which bookings, and what holds for them. What is left out is as for all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchOverride {
    /// Of this service (`services.slug`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// At a place within this area.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area: Option<Area>,
    /// Who is asked when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<DispatchPolicy>,
    /// Radius of the first round, km.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius_start_km: Option<f64>,
    /// Each round looks this much farther, km.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius_step_km: Option<f64>,
    /// Of the policy `broadcast`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<BroadcastSettings>,
    /// Of the policy `batched`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSettings>,
    /// What makes a candidate better than another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<CostWeights>,
    /// What is done about a therapist whose app is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnected: Option<Disconnected>,
}

/// A disc: a region as ops draw it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Of its centre, degrees.
    pub latitude: f64,
    /// Of its centre, degrees.
    pub longitude: f64,
    /// Straight line, km.
    pub radius_km: f64,
}

impl Default for DispatchSettings {
    /// The values that the migrations seed.
    fn default() -> Self {
        Self {
            policy: DispatchPolicy::Sequential,
            offer_ttl_s: 20,
            chosen_ttl_s: 60,
            receipt_grace_s: 5,
            disconnected: Disconnected::default(),
            radius_start_km: 3.0,
            radius_step_km: 3.0,
            lead_s: 3_600,
            scheduled_ttl_s: None,
            reminders_s: day_and_hour(),
            broadcast: BroadcastSettings::default(),
            batch: BatchSettings::default(),
            weights: CostWeights::default(),
            overrides: Vec::new(),
        }
    }
}

impl Default for BroadcastSettings {
    fn default() -> Self {
        Self { width: 3, stagger_s: 0.0 }
    }
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { window_s: 2.0 }
    }
}

impl Default for CostWeights {
    /// As [`Weights::default`].
    fn default() -> Self {
        let Weights { travel, waiting, idle, rating, acceptance, preferred } = Weights::default();
        let [travel, waiting, idle_hour, rating_star, acceptance, preferred] =
            [travel, waiting, idle, rating, acceptance, preferred].map(|milli| f64::from(milli) / 1e3);
        Self { travel, waiting, idle_hour, rating_star, acceptance, preferred }
    }
}

impl From<CostWeights> for Weights {
    fn from(weights: CostWeights) -> Self {
        let CostWeights { travel, waiting, idle_hour, rating_star, acceptance, preferred } = weights;
        // Within 0..1e6 by their check; a cast of what is beyond would saturate.
        let [travel, waiting, idle, rating, acceptance, preferred] =
            [travel, waiting, idle_hour, rating_star, acceptance, preferred].map(|s| (s * 1e3).round() as u32);
        Self { travel, waiting, idle, rating, acceptance, preferred }
    }
}

impl Area {
    fn contains(&self, place: LatLng) -> bool {
        let centre = LatLng::new(self.latitude, self.longitude);
        centre.is_ok_and(|centre| centre.distance(place) <= Meters::from_km(self.radius_km))
    }
}

impl DispatchOverride {
    fn fits(&self, service: &str, place: Option<LatLng>) -> bool {
        self.service.as_ref().is_none_or(|slug| slug == service)
            && self.area.is_none_or(|area| place.is_some_and(|place| area.contains(place)))
    }
}

impl DispatchSettings {
    /// From the row's value, or what is wrong with it.
    pub(super) fn read(value: &serde_json::Value) -> Result<Self, String> {
        let v = shape(value, &Self::default())?;
        within("offer_ttl_s", v.offer_ttl_s, 1, 3_600)?;
        within("chosen_ttl_s", v.chosen_ttl_s, 1, 86_400)?;
        within("receipt_grace_s", v.receipt_grace_s, 0, 600)?;
        radius("", Some(v.radius_start_km), Some(v.radius_step_km))?;
        within("lead_s", v.lead_s, 0, 86_400)?;
        v.scheduled_ttl_s.map_or(Ok(()), |ttl| within("scheduled_ttl_s", ttl, 1, 86_400))?;
        reminders(&v.reminders_s)?;
        broadcast("", &v.broadcast)?;
        batch("", &v.batch)?;
        weights("", &v.weights)?;
        within("overrides: their number", v.overrides.len(), 0, 1_000)?;
        for (i, over) in v.overrides.iter().enumerate() {
            check_override(&format!("overrides[{i}]."), over)?;
        }
        Ok(v)
    }

    /// What holds for a booking of `service` (a slug) at `place`, of the fields that an override may change.
    fn for_booking(&self, service: &str, place: Option<LatLng>) -> Self {
        let mut all = Self { overrides: Vec::new(), ..self.clone() };
        if let Some(over) = self.overrides.iter().find(|over| over.fits(service, place)) {
            all.policy = over.policy.unwrap_or(all.policy);
            all.radius_start_km = over.radius_start_km.unwrap_or(all.radius_start_km);
            all.radius_step_km = over.radius_step_km.unwrap_or(all.radius_step_km);
            all.broadcast = over.broadcast.unwrap_or(all.broadcast);
            all.batch = over.batch.unwrap_or(all.batch);
            all.weights = over.weights.unwrap_or(all.weights);
            all.disconnected = over.disconnected.unwrap_or(all.disconnected);
        }
        all
    }

    /// Whether some booking's therapists are passed over while they are not connected.
    pub fn minds_connections(&self) -> bool {
        let overrides = self.overrides.iter().filter_map(|over| over.disconnected);
        std::iter::once(self.disconnected).chain(overrides).any(|rule| rule == Disconnected::Skip)
    }

    /// [`Self::lead_s`]
    pub const fn lead(&self) -> Duration {
        Duration::from_secs(self.lead_s as u64)
    }

    /// How long an offer may be answered from the app's receipt, by who was not chosen and by who was.
    pub fn ttls(&self, scheduled: bool) -> (Duration, Duration) {
        let seconds = |s: u32| Duration::from_secs(s.into());
        if scheduled {
            (seconds(self.scheduled_ttl_s.unwrap_or(self.offer_ttl_s)), LONGEST_SEARCH)
        } else {
            (seconds(self.offer_ttl_s), seconds(self.chosen_ttl_s))
        }
    }

    /// [`Self::rules`] of a scheduled booking: offers live longer, and nobody waits for a window's end, since a therapist
    /// may be asked for several such bookings at once.
    pub fn scheduled_rules(&self, service: &str, place: Option<LatLng>, radius_max: Meters) -> Rules {
        let rules = self.rules(service, place, radius_max);
        let policy = if let Policy::Batched { .. } = rules.policy { Policy::Sequential } else { rules.policy };
        let (offer_ttl, chosen_ttl) = self.ttls(true);
        Rules { policy, offer_ttl, chosen_ttl, ..rules }
    }

    /// The rules of a booking of `service` (a slug) at `place`; `radius_max`: `service_radius_max`.
    pub fn rules(&self, service: &str, place: Option<LatLng>, radius_max: Meters) -> Rules {
        let of = self.for_booking(service, place);
        let (offer_ttl, chosen_ttl) = of.ttls(false);
        Rules {
            policy: match of.policy {
                DispatchPolicy::Sequential => Policy::Sequential,
                DispatchPolicy::Broadcast => Policy::Broadcast {
                    width: of.broadcast.width,
                    stagger: Duration::from_secs_f64(of.broadcast.stagger_s),
                },
                DispatchPolicy::Batched => Policy::Batched { window: Duration::from_secs_f64(of.batch.window_s) },
            },
            weights: of.weights.into(),
            skip_disconnected: of.disconnected == Disconnected::Skip,
            offer_ttl,
            chosen_ttl,
            receipt_grace: Duration::from_secs(of.receipt_grace_s.into()),
            radius_start: Meters::from_km(of.radius_start_km),
            radius_step: Meters::from_km(of.radius_step_km),
            radius_max,
        }
    }
}

fn reminders(all: &[u32]) -> Result<(), String> {
    within("reminders_s: their number", all.len(), 0, 10)?;
    for (i, &before) in all.iter().enumerate() {
        within("reminders_s", before, 60, 30 * 86_400)?;
        if all[..i].contains(&before) {
            return Err(format!("reminders_s {before} is given twice"));
        }
    }
    Ok(())
}

fn radius(of: &str, start: Option<f64>, step: Option<f64>) -> Result<(), String> {
    start.map_or(Ok(()), |km| within(&format!("{of}radius_start_km"), km, 0.1, 500.0))?;
    step.map_or(Ok(()), |km| within(&format!("{of}radius_step_km"), km, 0.1, 500.0))
}

fn broadcast(of: &str, v: &BroadcastSettings) -> Result<(), String> {
    within(&format!("{of}broadcast.width"), v.width, 1, 20)?;
    within(&format!("{of}broadcast.stagger_s"), v.stagger_s, 0.0, 600.0)
}

fn batch(of: &str, v: &BatchSettings) -> Result<(), String> {
    within(&format!("{of}batch.window_s"), v.window_s, 0.1, 60.0)
}

fn weights(of: &str, v: &CostWeights) -> Result<(), String> {
    within(&format!("{of}weights.travel"), v.travel, 0.0, 1_000.0)?;
    within(&format!("{of}weights.waiting"), v.waiting, 0.0, 1_000.0)?;
    within(&format!("{of}weights.idle_hour"), v.idle_hour, 0.0, 86_400.0)?;
    within(&format!("{of}weights.rating_star"), v.rating_star, 0.0, 86_400.0)?;
    within(&format!("{of}weights.acceptance"), v.acceptance, 0.0, 86_400.0)?;
    within(&format!("{of}weights.preferred"), v.preferred, 0.0, 86_400.0)
}

fn check_override(of: &str, v: &DispatchOverride) -> Result<(), String> {
    if v.service.is_none() && v.area.is_none() {
        return Err(format!("{of} needs service or area, or both: else it would be for all"));
    }
    if v.service.as_ref().is_some_and(String::is_empty) {
        return Err(format!("{of}service is empty, wanted is a slug of services"));
    }
    if let Some(area) = v.area {
        within(&format!("{of}area.latitude"), area.latitude, -90.0, 90.0)?;
        within(&format!("{of}area.longitude"), area.longitude, -180.0, 180.0)?;
        within(&format!("{of}area.radius_km"), area.radius_km, 0.1, 1_000.0)?;
    }
    radius(of, v.radius_start_km, v.radius_step_km)?;
    v.broadcast.map_or(Ok(()), |v| broadcast(of, &v))?;
    v.batch.map_or(Ok(()), |v| batch(of, &v))?;
    v.weights.map_or(Ok(()), |v| weights(of, &v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with(field: &str, value: Value) -> Result<DispatchSettings, String> {
        let mut all = serde_json::to_value(DispatchSettings::default()).expect("serializable");
        all[field] = value;
        DispatchSettings::read(&all)
    }

    #[test]
    fn what_the_migrations_seed_is_the_default() {
        let seeded = json!({"policy": "sequential", "offer_ttl_s": 20, "chosen_ttl_s": 60, "receipt_grace_s": 5,
            "radius_start_km": 3, "radius_step_km": 3, "lead_s": 3600});
        assert_eq!(DispatchSettings::read(&seeded), Ok(DispatchSettings::default()));
        assert_eq!(Weights::from(CostWeights::default()), Weights::default());
    }

    #[test]
    fn every_value_is_checked_and_named() {
        for (field, value, error) in [
            ("broadcast", json!({"width": 0}), "broadcast.width 0 is outside 1..20"),
            ("scheduled_ttl_s", json!(0), "scheduled_ttl_s 0 is outside 1..86400"),
            ("reminders_s", json!([3_600, 59]), "reminders_s 59 is outside 60..2592000"),
            ("reminders_s", json!([3_600, 3_600]), "reminders_s 3600 is given twice"),
            ("broadcast", json!({"width": 2, "stagger_s": -1.0}), "broadcast.stagger_s -1 is outside 0..600"),
            ("batch", json!({"window_s": 0.0}), "batch.window_s 0 is outside 0.1..60"),
            ("weights", json!({"waiting": -0.5}), "weights.waiting -0.5 is outside 0..1000"),
            (
                "overrides",
                json!([{"policy": "batched"}]),
                "overrides[0]. needs service or area, or both: else it would be for all",
            ),
            (
                "overrides",
                json!([{"service": "x", "batch": {"window_s": 61}}]),
                "overrides[0].batch.window_s 61 is outside 0.1..60",
            ),
            (
                "overrides",
                json!([{"area": {"latitude": 95, "longitude": 0, "radius_km": 1}}]),
                "overrides[0].area.latitude 95 is outside -90..90",
            ),
        ] {
            assert_eq!(with(field, value), Err(error.to_owned()));
        }
        assert!(with("policy", json!("auction")).is_err());
        assert!(with("overrides", json!([{"service": "x", "offer_ttl_s": 5}])).is_err(), "not for an override");
        assert!(with("weights", json!({"beauty": 1})).is_err());
    }

    #[test]
    fn a_scheduled_booking_has_its_own_times_to_answer_and_no_windows() {
        let rules = |settings: &DispatchSettings| settings.scheduled_rules("x", None, Meters::from_km(20.0));
        let plain = with("policy", json!("batched")).expect("valid");
        assert_eq!((rules(&plain).policy, rules(&plain).offer_ttl), (Policy::Sequential, Duration::from_secs(20)));
        assert_eq!(rules(&plain).chosen_ttl, Duration::from_secs(86_400), "until the search ends");
        let patient = with("scheduled_ttl_s", json!(900)).expect("valid");
        assert_eq!(rules(&patient).offer_ttl, Duration::from_secs(900));
        assert_eq!(patient.rules("x", None, Meters::from_km(20.0)).offer_ttl, Duration::from_secs(20));
    }

    #[test]
    fn the_first_override_that_fits_service_and_place_counts() {
        let settings = with(
            "overrides",
            json!([
                {"service": "hilot", "area": {"latitude": 14.55, "longitude": 121.02, "radius_km": 5}, "policy": "batched"},
                {"service": "hilot", "policy": "broadcast", "broadcast": {"width": 4, "stagger_s": 1.5}},
            ]),
        )
        .expect("valid");
        let makati = LatLng::new(14.56, 121.03).expect("a place");
        let cebu = LatLng::new(10.3, 123.9).expect("a place");
        let policy = |service, place| settings.rules(service, Some(place), Meters::from_km(20.0)).policy;
        assert_eq!(policy("hilot", makati), Policy::Batched { window: Duration::from_secs(2) });
        assert_eq!(policy("hilot", cebu), Policy::Broadcast { width: 4, stagger: Duration::from_millis(1_500) });
        assert_eq!(policy("swedish-massage", makati), Policy::Sequential);
    }
}
