//! The 32-byte ping of `spacall.v1.bin`, little-endian:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u8 | kind = 1 |
//! | 1 | u8 | flags: 1 moving, 2 heading known, 4 speed known, 8 battery known, 16 accuracy known |
//! | 2 | u8 | battery, percent |
//! | 3 | u8 | 0 |
//! | 4 | u32 | seq |
//! | 8 | i64 | recorded_at, ms since 1970 UTC |
//! | 16 | i32 | latitude, 1e-7 degree |
//! | 20 | i32 | longitude, 1e-7 degree |
//! | 24 | u16 | accuracy, 0.1 m |
//! | 26 | u16 | heading, 0.01 degree |
//! | 28 | u16 | speed, 0.01 km/h |
//! | 30 | u16 | 0 |

use super::fix::{check_time, rejected};
use super::stream::Rejected;
use crate::core::geo::LatLng;
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

/// Bytes of one record.
pub const RECORD: usize = 32;

const KIND: u8 = 1;
const MOVING: u8 = 1;
const HEADING: u8 = 2;
const SPEED: u8 = 4;
const BATTERY: u8 = 8;
const ACCURACY: u8 = 16;
const KNOWN_FLAGS: u8 = MOVING | HEADING | SPEED | BATTERY | ACCURACY;

/// A frame, or a record of it, that cannot be read at all: `error` `bad_frame`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFrame {
    /// Bytes of the frame.
    #[error("a binary frame of {0} bytes is not one or more records of {RECORD} bytes")]
    Length(usize),
    /// Index of the record, and its kind.
    #[error("record {0} is of kind {1}, expected {KIND}")]
    Kind(usize, u8),
}

/// The records of a frame; an error for a frame that is not whole records.
pub fn records(frame: &[u8]) -> Result<&[[u8; RECORD]], BadFrame> {
    match frame.as_chunks::<RECORD>() {
        (records, []) if !records.is_empty() => Ok(records),
        _ => Err(BadFrame::Length(frame.len())),
    }
}

/// Reads record number `index` of a frame. The outer error is a record that is none, the inner one a fix that is
/// not taken; both leave the records beside it alone.
pub fn decode(
    index: usize,
    record: &[u8; RECORD],
    now: Timestamp,
    limits: &PingLimits,
) -> Result<Result<(u32, Fix), Rejected>, BadFrame> {
    if record[0] != KIND {
        return Err(BadFrame::Kind(index, record[0]));
    }
    let seq = u32::from_le_bytes(bytes(record, 4));
    let fault = |code: &str, message: String| rejected(Some(seq), code, message);
    Ok(read(record)
        .and_then(|fix| {
            check_time(fix.at, now, limits)?;
            Ok((seq, fix))
        })
        .map_err(|(code, message)| fault(code, message)))
}

fn read(record: &[u8; RECORD]) -> Result<Fix, (&'static str, String)> {
    let known = |flag: u8| record[1] & flag != 0;
    let out_of_range = |text: String| ("out_of_range", text);
    // Refused, so that these bits can get a meaning later.
    if record[1] & !KNOWN_FLAGS != 0 || record[3] != 0 || bytes::<2>(record, 30) != [0, 0] {
        return Err(("bad_type", "reserved bits are set; they must be 0".to_owned()));
    }
    let place = LatLng::from_e7(i32::from_le_bytes(bytes(record, 16)), i32::from_le_bytes(bytes(record, 20)))
        .map_err(|e| out_of_range(e.to_string()))?;
    let (accuracy, heading, speed) = (number(record, 24), number(record, 26), number(record, 28));
    if known(HEADING) && heading > 36_000 {
        return Err(out_of_range(format!("heading {} is outside 0..360", f64::from(heading) / 100.0)));
    }
    if known(BATTERY) && record[2] > 100 {
        return Err(out_of_range(format!("battery_level {} is outside 0..100", record[2])));
    }
    Ok(Fix {
        at: Timestamp::from_millis(i64::from_le_bytes(bytes(record, 8))),
        place,
        accuracy_m: known(ACCURACY).then(|| f64::from(accuracy) / 10.0),
        heading: known(HEADING).then(|| f64::from(heading % 36_000) / 100.0),
        speed_kmh: known(SPEED).then(|| f64::from(speed) / 100.0),
        moving: known(MOVING),
        battery_percent: known(BATTERY).then_some(record[2]),
    })
}

/// Writes a fix, for apps: its time is cut to milliseconds, accuracy saturates at 6,553.5 m and speed at 655.35 km/h.
pub fn encode(seq: u32, fix: &Fix) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let mut flags = if fix.moving { MOVING } else { 0 };
    let mut put = |at: usize, flag: u8, value: Option<f64>, unit: f64| {
        if let Some(value) = value {
            flags |= flag;
            // `as` saturates.
            record[at..at + 2].copy_from_slice(&((value / unit).round() as u16).to_le_bytes());
        }
    };
    put(24, ACCURACY, fix.accuracy_m, 0.1);
    put(26, HEADING, fix.heading, 0.01);
    put(28, SPEED, fix.speed_kmh, 0.01);
    if let Some(battery) = fix.battery_percent {
        flags |= BATTERY;
        record[2] = battery;
    }
    record[0] = KIND;
    record[1] = flags;
    record[4..8].copy_from_slice(&seq.to_le_bytes());
    record[8..16].copy_from_slice(&fix.at.micros().div_euclid(1_000).to_le_bytes());
    record[16..20].copy_from_slice(&fix.place.lat_e7().to_le_bytes());
    record[20..24].copy_from_slice(&fix.place.lng_e7().to_le_bytes());
    record
}

fn bytes<const N: usize>(record: &[u8; RECORD], at: usize) -> [u8; N] {
    std::array::from_fn(|i| record[at + i])
}

fn number(record: &[u8; RECORD], at: usize) -> u16 {
    u16::from_le_bytes(bytes(record, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_338_000);

    fn decode_one(record: &[u8; RECORD]) -> Result<Result<(u32, Fix), Rejected>, BadFrame> {
        decode(0, record, NOW, &Settings::default().pings)
    }

    fn sample() -> Fix {
        Fix {
            accuracy_m: Some(8.5),
            heading: Some(90.0),
            speed_kmh: Some(22.1),
            moving: true,
            battery_percent: Some(80),
            ..Fix::new(NOW, LatLng::new(14.5547, 121.0244).expect("a place"))
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let expected = "011f5000 11000000 80d67b02a2010000 f8deac08 a0db2248 5500 2823 a208 0000";
        assert_eq!(hex(&encode(17, &sample())), expected.replace(' ', ""));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn a_wrong_record_is_told_from_a_wrong_fix() {
        let changed = |at: usize, value: &[u8]| {
            let mut record = encode(17, &sample());
            record[at..at + value.len()].copy_from_slice(value);
            decode_one(&record)
        };
        assert_eq!(changed(0, &[2]), Err(BadFrame::Kind(0, 2)));
        for (at, value, code, message) in [
            (1, [0x80].as_slice(), "bad_type", "reserved bits"),
            (31, [1].as_slice(), "bad_type", "reserved bits"),
            (16, 950_000_000_i32.to_le_bytes().as_slice(), "out_of_range", "latitude 95 is outside -90..90"),
            (26, 36_001_u16.to_le_bytes().as_slice(), "out_of_range", "heading 360.01 is outside 0..360"),
            (2, [101].as_slice(), "out_of_range", "battery_level 101 is outside 0..100"),
            (8, i64::MIN.to_le_bytes().as_slice(), "too_old", "recorded_at"),
            (8, i64::MAX.to_le_bytes().as_slice(), "in_future", "recorded_at"),
        ] {
            let rejected = changed(at, value).expect("a record").expect_err("rejected");
            assert_eq!((rejected.seq, rejected.code.as_str()), (Some(17), code));
            assert!(rejected.message.starts_with(message), "{}", rejected.message);
        }
        let full_circle = changed(26, &36_000_u16.to_le_bytes()).expect("a record").expect("taken");
        assert_eq!(full_circle.1.heading, Some(0.0));
    }

    #[test]
    fn a_frame_is_whole_records() {
        assert_eq!(records(&[]), Err(BadFrame::Length(0)));
        assert_eq!(records(&[0; 33]), Err(BadFrame::Length(33)));
        assert_eq!(records(&[0; 64]).map(<[_]>::len), Ok(2));
    }

    prop_compose! {
        fn any_fix()(
            age_ms in 0_i64..86_400_000, lat in -900_000_000..=900_000_000_i32, lng in -1_800_000_000..=1_800_000_000_i32,
            accuracy in prop::option::of(any::<u16>()), heading in prop::option::of(0..36_000_u16),
            speed in prop::option::of(any::<u16>()), moving in any::<bool>(), battery in prop::option::of(0..=100_u8),
        ) -> Fix {
            Fix {
                at: Timestamp::from_millis(NOW.micros() / 1_000 - age_ms),
                place: LatLng::from_e7(lat, lng).expect("a place"),
                accuracy_m: accuracy.map(|v| f64::from(v) / 10.0),
                heading: heading.map(|v| f64::from(v) / 100.0),
                speed_kmh: speed.map(|v| f64::from(v) / 100.0),
                moving,
                battery_percent: battery,
            }
        }
    }

    proptest! {
        #[test]
        fn what_an_app_writes_is_what_is_read(seq in any::<u32>(), fix in any_fix()) {
            prop_assert_eq!(decode_one(&encode(seq, &fix)), Ok(Ok((seq, fix))));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for record in records(&bytes).unwrap_or_default() {
                let _ = decode_one(record);
            }
        }

        #[test]
        fn a_record_of_garbage_fields_never_panics(tail in any::<[u8; 29]>(), flags in 0..32_u8) {
            let mut record = [0; RECORD];
            record[2..31].copy_from_slice(&tail);
            (record[0], record[1], record[3], record[30]) = (KIND, flags, 0, 0);
            if let Ok(Ok((_, fix))) = decode_one(&record) {
                prop_assert!(fix.heading.is_none_or(|h| (0.0..360.0).contains(&h)));
            }
        }
    }
}
