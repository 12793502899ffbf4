//! The rows of `app_settings`, typed: each key's shape, its limits, and the error that names what is wrong.

use std::time::Duration;

mod dispatch;
mod shape;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use self::shape::shape;
use super::money::Money;
use super::pricing::MOST;
pub use dispatch::{
    Area, BatchSettings, BroadcastSettings, CostWeights, Disconnected, DispatchOverride, DispatchPolicy,
    DispatchSettings,
};

/// Every setting that this service reads.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// `commission_rate`
    pub commission_rate: CommissionRate,
    /// `platform_fee`: what the customer pays the platform on top of the price, pesos.
    pub platform_fee: Money,
    /// `booking_timeout`
    pub booking_timeout: BookingTimeout,
    /// `cancellation_policy`
    pub cancellation_policy: CancellationPolicy,
    /// `service_radius_max`, km.
    pub service_radius_max_km: u32,
    /// `location_stale_after`, seconds.
    pub location_stale_after_s: u32,
    /// `dispatch`
    pub dispatch: DispatchSettings,
    /// `pings`
    pub pings: PingLimits,
}

/// Platform commission, percent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommissionRate {
    /// Of an ordinary provider.
    pub default: Decimal,
    /// Of a premium provider.
    pub premium: Decimal,
}

/// Seconds after which a booking does not stay as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookingTimeout {
    /// From creation to the end of the search for a therapist.
    pub pending: u32,
    /// From the accept to setting out; then the booking is dispatched anew.
    pub accepted: u32,
}

/// When a cancellation costs, and how much.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancellationPolicy {
    /// A scheduled booking is free to cancel this many hours ahead.
    pub free_before_hours: u32,
    /// Percent of the total without tip.
    pub fee_percentage: Decimal,
    /// A `now` booking is free to cancel for this long after the accept, seconds.
    #[serde(default = "five_minutes")]
    pub free_after_accept_s: u32,
}

const fn five_minutes() -> u32 {
    300
}

/// What is taken from a therapist's app.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PingLimits {
    /// A faster move does not count until the next fix agrees, km/h.
    pub max_speed_kmh: f64,
    /// A less accurate fix does not count, metres.
    pub max_accuracy_m: f64,
    /// An older fix is refused, seconds.
    pub max_age_s: u32,
    /// A fix farther in the future is refused, seconds.
    pub max_future_s: u32,
    /// Live fixes a second, sustained.
    pub per_second: u32,
    /// Live fixes at once.
    pub burst: u32,
}

/// A setting that cannot be used: the key, the value, what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("setting {key}: {problem}")]
pub struct InvalidSetting {
    /// The key of `app_settings`.
    pub key: String,
    /// What is wrong with its value, and what is allowed.
    pub problem: String,
}

impl Default for Settings {
    /// The values that the migrations seed.
    fn default() -> Self {
        Self {
            commission_rate: CommissionRate { default: Decimal::from(15), premium: Decimal::from(10) },
            platform_fee: Money::ZERO,
            booking_timeout: BookingTimeout { pending: 300, accepted: 1_800 },
            cancellation_policy: CancellationPolicy {
                free_before_hours: 24,
                fee_percentage: Decimal::from(50),
                free_after_accept_s: five_minutes(),
            },
            service_radius_max_km: 20,
            location_stale_after_s: 600,
            dispatch: DispatchSettings::default(),
            pings: PingLimits {
                max_speed_kmh: 300.0,
                max_accuracy_m: 500.0,
                max_age_s: 86_400,
                max_future_s: 30,
                per_second: 10,
                burst: 600,
            },
        }
    }
}

impl Settings {
    /// The keys that have a shape. Other keys belong to the Laravel application and are left alone.
    pub const KEYS: [&'static str; 8] = [
        "commission_rate",
        "platform_fee",
        "booking_timeout",
        "cancellation_policy",
        "service_radius_max",
        "location_stale_after",
        "dispatch",
        "pings",
    ];

    /// Takes one row in, or says what is wrong with it and changes nothing. Unknown keys are ignored: `Ok(false)`.
    pub fn set(&mut self, key: &str, value: &serde_json::Value) -> Result<bool, InvalidSetting> {
        let fail = |problem: String| InvalidSetting { key: key.to_owned(), problem };
        let usual = Self::default();
        match key {
            "commission_rate" => {
                let v = shape(value, &usual.commission_rate).map_err(fail)?;
                percent("default", v.default).and_then(|()| percent("premium", v.premium)).map_err(fail)?;
                self.commission_rate = v;
            }
            "platform_fee" => {
                let v = shape(value, &usual.platform_fee).map_err(fail)?;
                within("the value", v, Money::ZERO, MOST).map_err(fail)?;
                self.platform_fee = v;
            }
            "booking_timeout" => {
                let v = shape(value, &usual.booking_timeout).map_err(fail)?;
                within("pending", v.pending, 1, 86_400).map_err(fail)?;
                within("accepted", v.accepted, 1, 86_400).map_err(fail)?;
                self.booking_timeout = v;
            }
            "cancellation_policy" => {
                let v = shape(value, &usual.cancellation_policy).map_err(fail)?;
                within("free_before_hours", v.free_before_hours, 0, 8_760).map_err(fail)?;
                within("free_after_accept_s", v.free_after_accept_s, 0, 86_400).map_err(fail)?;
                percent("fee_percentage", v.fee_percentage).map_err(fail)?;
                self.cancellation_policy = v;
            }
            "service_radius_max" => {
                let v = shape(value, &usual.service_radius_max_km).map_err(fail)?;
                within("the value", v, 1, 500).map_err(fail)?;
                self.service_radius_max_km = v;
            }
            "location_stale_after" => {
                let v = shape(value, &usual.location_stale_after_s).map_err(fail)?;
                within("the value", v, 1, 86_400).map_err(fail)?;
                self.location_stale_after_s = v;
            }
            "dispatch" => self.dispatch = DispatchSettings::read(value).map_err(fail)?,
            "pings" => self.pings = checked_pings(value).map_err(fail)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes over what another says of one key.
    pub fn keep(&mut self, key: &str, of: &Self) {
        match key {
            "commission_rate" => self.commission_rate = of.commission_rate.clone(),
            "platform_fee" => self.platform_fee = of.platform_fee,
            "booking_timeout" => self.booking_timeout = of.booking_timeout,
            "cancellation_policy" => self.cancellation_policy = of.cancellation_policy.clone(),
            "service_radius_max" => self.service_radius_max_km = of.service_radius_max_km,
            "location_stale_after" => self.location_stale_after_s = of.location_stale_after_s,
            "dispatch" => self.dispatch = of.dispatch.clone(),
            "pings" => self.pings = of.pings,
            _ => {}
        }
    }

    /// Age after which a fix no longer counts for matching.
    pub const fn stale_after(&self) -> Duration {
        Duration::from_secs(self.location_stale_after_s as u64)
    }
}

fn checked_pings(value: &serde_json::Value) -> Result<PingLimits, String> {
    let v = shape(value, &Settings::default().pings)?;
    within("max_speed_kmh", v.max_speed_kmh, 1.0, 10_000_000.0)?;
    within("max_accuracy_m", v.max_accuracy_m, 1.0, 100_000.0)?;
    within("max_age_s", v.max_age_s, 1, 2_592_000)?;
    within("max_future_s", v.max_future_s, 0, 3_600)?;
    within("per_second", v.per_second, 1, 100_000)?;
    within("burst", v.burst, 1, 1_000_000)?;
    Ok(v)
}

fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, low: T, high: T) -> Result<(), String> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(format!("{field} {value} is outside {low}..{high}"))
}

fn percent(field: &str, value: Decimal) -> Result<(), String> {
    within(field, value, Decimal::ZERO, Decimal::ONE_HUNDRED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bad_value_names_key_field_value_and_range_and_changes_nothing() {
        let mut settings = Settings::default();
        let before = settings.clone();
        let error = settings
            .set("booking_timeout", &json!({"pending": 0, "accepted": 1800}))
            .expect_err("0 is too short")
            .to_string();
        assert_eq!(error, "setting booking_timeout: pending 0 is outside 1..86400");
        assert!(settings.set("pings", &json!({"max_speed_kmh": "fast"})).is_err());
        assert!(settings.set("service_radius_max", &json!(20.5)).is_err());
        assert_eq!(settings, before);
    }

    #[test]
    fn each_key_is_kept_by_itself() {
        let values = [
            json!({"default": 20, "premium": 12}),
            json!(12.5),
            json!({"pending": 301, "accepted": 1801}),
            json!({"free_before_hours": 25, "fee_percentage": 51, "free_after_accept_s": 301}),
            json!(21),
            json!(601),
            json!({"offer_ttl_s": 21}),
            json!({"per_second": 11}),
        ];
        for (key, value) in Settings::KEYS.into_iter().zip(values) {
            let (mut standing, mut read) = (Settings::default(), Settings::default());
            let mut value = value;
            if let ("dispatch" | "pings", Some(fields)) = (key, value.as_object().cloned()) {
                value = if key == "pings" { json!(read.pings) } else { json!(read.dispatch) };
                fields.into_iter().for_each(|(field, new)| value[field] = new);
            }
            assert_eq!(standing.set(key, &value), Ok(true), "{key}");
            assert_ne!(standing, read, "{key}");
            read.keep(key, &standing);
            assert_eq!(read, standing, "{key}");
        }
    }

    #[test]
    fn keys_of_others_are_left_alone() {
        assert_eq!(Settings::default().set("theme", &json!("dark")), Ok(false));
    }
}
