//! The server's `pings` setting, opened for a day played fast, and put back.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use spacall::client::Api;
use spacall::core::settings::Settings;

use crate::recorded::RecordedFix;

/// The settings of the server that matching depends on, as they are.
pub(crate) async fn read_settings(admin: &Api) -> Result<Settings> {
    let mut settings = Settings::default();
    for key in Settings::KEYS {
        let value = admin.setting(key).await.with_context(|| format!("GET /v1/settings, for {key}"))?;
        if let Some(value) = value {
            settings.set(key, &value)?;
        }
    }
    Ok(settings)
}

/// The limit of the service's own that a real day keeps; N times faster, it is N times this.
const MAX_SPEED_KMH: f64 = 300.0;
/// What the service allows at most.
const MOST_SPEED_KMH: f64 = 10_000_000.0;

/// What to put back. Nothing happens when it is dropped: [`Opened::restore`] must be called, on every way out.
pub(crate) struct Opened {
    admin: Api,
    before: Value,
}

/// Raises `max_speed_kmh` to 300 N, and `per_second` where the recording, N times faster, needs more.
pub(crate) async fn open(admin: &Api, speed: f64, per_second: u32) -> Result<Opened> {
    let before =
        admin.setting("pings").await.context("GET /v1/settings")?.context("the server has no setting `pings`")?;
    let opened = Opened { admin: admin.clone(), before: before.clone() };
    let value = raised(before, speed, per_second);
    if let Err(e) = admin.set_setting("pings", &value).await {
        // It may have been set although the answer was lost.
        opened.restore().await;
        return Err(e).with_context(|| format!("PUT /v1/settings/pings with {value}"));
    }
    Ok(opened)
}

fn raised(mut value: Value, speed: f64, per_second: u32) -> Value {
    let at_least = |now: &Value, wanted: f64| now.as_f64().is_none_or(|now| now < wanted);
    let max_speed = (MAX_SPEED_KMH * speed).clamp(1.0, MOST_SPEED_KMH);
    if at_least(&value["max_speed_kmh"], max_speed) {
        value["max_speed_kmh"] = json!(max_speed);
    }
    if at_least(&value["per_second"], f64::from(per_second)) {
        value["per_second"] = json!(per_second);
    }
    value
}

impl Opened {
    /// Puts the setting back; tries for half a minute. False when it could not, after saying how to do it by hand.
    pub(crate) async fn restore(&self) -> bool {
        let mut last = String::new();
        for attempt in 0..6 {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            match self.admin.set_setting("pings", &self.before).await {
                Ok(_) => return true,
                Err(e) => last = e.to_string(),
            }
        }
        eprintln!(
            "The setting `pings` could not be put back ({last}). It was {}: PUT it to /v1/settings/pings.",
            self.before
        );
        false
    }
}

/// The most fixes a second that one vehicle sends over ten seconds when the day is played `speed` times faster.
pub(crate) fn busiest_rate(fixes: &[RecordedFix], speed: f64) -> u32 {
    const OVER_S: f64 = 10.0;
    let span = OVER_S * speed;
    let (mut first, mut most) = (0, 0);
    for (last, fix) in fixes.iter().enumerate() {
        while f64::from(fix.after_s) - f64::from(fixes[first].after_s) > span {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    (most as f64 / OVER_S).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use spacall::core::geo::LatLng;

    #[test]
    fn a_day_played_fast_opens_the_limits_and_leaves_the_rest() {
        let before = json!({"max_speed_kmh": 300, "per_second": 10, "burst": 600});
        assert_eq!(raised(before.clone(), 1.0, 3), before);
        let after = raised(before, 60.0, 30);
        assert_eq!(after, json!({"max_speed_kmh": 18_000.0, "per_second": 30, "burst": 600}));
        assert_eq!(raised(json!({}), 1e9, 1)["max_speed_kmh"], json!(MOST_SPEED_KMH));
    }

    #[test]
    fn the_busiest_ten_seconds_set_the_rate() {
        let place = LatLng::new(0.0, 0.0).expect("a place");
        let fixes: Vec<_> = [0, 60, 120, 121, 122, 600].map(|after_s| RecordedFix { after_s, place }).to_vec();
        assert_eq!(busiest_rate(&fixes, 1.0), 1);
        assert_eq!(busiest_rate(&fixes, 60.0), 1);
        let dense: Vec<_> = (0..400).map(|after_s| RecordedFix { after_s, place }).collect();
        assert_eq!(busiest_rate(&dense, 20.0), 21);
    }
}
