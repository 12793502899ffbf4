//! When a booking is wanted, as the body of `POST /v1/bookings` says it: now, or at a time that is neither too near to find
//! anybody nor too far away.

use std::time::Duration;

use super::extract::{Fields, read};
use crate::core::scheduling::{self, HORIZON};
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::wire::time::WireTime;

/// When, and for how long a therapist is searched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// `None`: now.
    pub scheduled_at: Option<Timestamp>,
    /// Whole seconds.
    pub search_for_s: u32,
}

/// Reads `scheduled_at`: required with `booking_type` `scheduled`, forbidden with `now`. What is wrong is noted in
/// `fields`; `booking_type` is `None` when it was wrong itself.
pub fn read_timing(
    fields: &mut Fields,
    booking_type: Option<&str>,
    settings: &Settings,
    now: Timestamp,
) -> Option<Timing> {
    match booking_type? {
        "scheduled" if fields.has("scheduled_at") => {
            let lead = settings.dispatch.lead();
            let at = fields.optional("scheduled_at", |given| {
                let WireTime(at) = read::time(given)?;
                bookable(at, lead, now).map(|()| at)
            })?;
            let search_for = scheduling::search_for(at, lead, now).as_secs();
            Some(Timing { scheduled_at: Some(at), search_for_s: u32::try_from(search_for).unwrap_or(u32::MAX) })
        }
        "scheduled" => {
            fields.error("scheduled_at", "The scheduled_at field is required with booking_type scheduled.");
            None
        }
        _ if fields.has("scheduled_at") => {
            fields.error("scheduled_at", "The scheduled_at field must not be given with booking_type now.");
            None
        }
        _ => Some(Timing { scheduled_at: None, search_for_s: settings.booking_timeout.pending }),
    }
}

fn bookable(at: Timestamp, lead: Duration, now: Timestamp) -> Result<(), String> {
    let (earliest, latest) = (scheduling::earliest(now, lead), now.plus(HORIZON));
    if (earliest..=latest).contains(&at) {
        return Ok(());
    }
    // Whole minutes, within what is allowed.
    let minute = |at: Timestamp| at.micros().div_euclid(60_000_000);
    let shown = |minutes: i64| WireTime(Timestamp::from_secs(minutes * 60));
    Err(format!("must be a time from {} until {}", shown(minute(earliest) + 1), shown(minute(latest))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// 2026-11-18T10:26:40Z
    const NOW: Timestamp = Timestamp::from_secs(1_794_997_600);

    fn timing(booking_type: &str, scheduled_at: Value) -> Result<Timing, Value> {
        let Value::Object(map) = json!({"scheduled_at": scheduled_at}) else { unreachable!("an object") };
        let mut fields = Fields::of_body(map);
        let read = read_timing(&mut fields, Some(booking_type), &Settings::default(), NOW);
        fields.finish(read).map_err(|problem| problem.to_json()["errors"]["scheduled_at"][0].clone())
    }

    #[test]
    fn a_time_belongs_to_scheduled_and_to_nothing_else() {
        assert_eq!(timing("now", Value::Null), Ok(Timing { scheduled_at: None, search_for_s: 300 }));
        let given = timing("now", json!("2026-11-19T10:00:00Z")).expect_err("with now");
        assert_eq!(given, "The scheduled_at field must not be given with booking_type now.");
        let missing = timing("scheduled", Value::Null).expect_err("without a time");
        assert_eq!(missing, "The scheduled_at field is required with booking_type scheduled.");
        let read = timing("scheduled", json!("2026-11-18T20:26:40+08:00")).expect("two hours ahead");
        assert_eq!(read, Timing { scheduled_at: Some(NOW.plus(Duration::from_secs(7_200))), search_for_s: 3_600 });
        let tomorrow = timing("scheduled", json!("2026-12-24T10:00:00Z")).expect("weeks ahead");
        assert_eq!(tomorrow.search_for_s, 86_400);
    }

    #[test]
    fn too_near_and_too_far_name_what_is_allowed() {
        for wrong in ["2026-11-18T11:27:39Z", "2020-01-01T00:00:00Z", "2027-02-16T10:26:41Z", "2026-11-19T10:00:00"] {
            let text = timing("scheduled", json!(wrong)).expect_err(wrong);
            let allowed = if wrong.ends_with('Z') {
                "must be a time from 2026-11-18T11:28:00Z until 2027-02-16T10:26:00Z"
            } else {
                "must be a time like 2026-11-22T09:00:00Z, with an offset"
            };
            assert_eq!(text, format!("The scheduled_at field {allowed}; \"{wrong}\" is not."));
        }
        for right in ["2026-11-18T11:27:40Z", "2027-02-16T10:26:40Z"] {
            assert!(timing("scheduled", json!(right)).is_ok(), "{right}");
        }
    }
}
