//! Which fixes move a therapist: the newest wins by the device's time, and only if it makes sense.

use super::geo::{LatLng, Meters};
use super::settings::PingLimits;
use super::time::Timestamp;

/// Positions jitter: two fixes this close never imply a speed, however short the time between them, metres.
/// Where both fixes state accuracies that add up to more, that sum counts instead.
pub const JITTER_M: f64 = 50.0;

/// One position as a therapist's app measured it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fix {
    /// Time of the measurement, by the device.
    pub at: Timestamp,
    /// Where.
    pub place: LatLng,
    /// Radius in which the truth lies with 68 % probability, metres, if known.
    pub accuracy_m: Option<f64>,
    /// Degrees clockwise from north, 0 to 360, if known.
    pub heading: Option<f64>,
    /// Speed in km/h, if known.
    pub speed_kmh: Option<f64>,
    /// Whether the app believes it is moving.
    pub moving: bool,
    /// Battery in percent, if known.
    pub battery_percent: Option<u8>,
}

impl Fix {
    /// A fix with nothing but time and place.
    pub const fn new(at: Timestamp, place: LatLng) -> Self {
        Self { at, place, accuracy_m: None, heading: None, speed_kmh: None, moving: false, battery_percent: None }
    }
}

/// What became of a fix. Every fix is stored; this is what else it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// It makes sense: the column `counted`.
    pub counted: bool,
    /// It is now the shown position.
    pub newest: bool,
}

/// What of a fix the next one is judged by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mark {
    /// Time of the measurement, by the device.
    pub at: Timestamp,
    /// Where.
    pub place: LatLng,
    /// As in [`Fix::accuracy_m`].
    pub accuracy_m: Option<f32>,
}

impl From<&Fix> for Mark {
    fn from(fix: &Fix) -> Self {
        Self { at: fix.at, place: fix.place, accuracy_m: fix.accuracy_m.map(|metres| metres as f32) }
    }
}

impl Mark {
    /// Whether a fix surely counts and moves whoever was here: it is newer, accurate enough, and no farther than positions
    /// jitter. Most are.
    #[inline]
    pub fn is_surely_followed_by(&self, fix: &Fix, limits: &PingLimits) -> bool {
        fix.at > self.at && is_accurate(fix, limits) && is_jitter(self.place, fix.place)
    }
}

/// An inaccurate fix confirms nothing: two cell-tower positions agree with each other and are both wrong.
#[inline]
fn is_accurate(fix: &Fix, limits: &PingLimits) -> bool {
    fix.accuracy_m.is_none_or(|metres| metres <= limits.max_accuracy_m)
}

#[inline]
fn is_jitter(a: LatLng, b: LatLng) -> bool {
    a.is_surely_within(Meters::new(JITTER_M), b)
}

/// Where a therapist stands, and the fix that did not count but that the next one may confirm.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Track {
    last: Option<Mark>,
    suspect: Option<Mark>,
}

impl Track {
    /// A therapist of whom this newest counted fix is known, or none, and this suspect.
    pub const fn of(last: Option<Mark>, suspect: Option<Mark>) -> Self {
        Self { last, suspect }
    }

    /// The newest fix that counted.
    pub const fn last(&self) -> Option<&Mark> {
        self.last.as_ref()
    }

    /// The newest fix after it that did not count.
    pub const fn suspect(&self) -> Option<&Mark> {
        self.suspect.as_ref()
    }

    /// Takes in a fix. The first ever always counts.
    ///
    /// A newer one counts and moves if it is accurate enough and can have been reached since the last that counted, or
    /// else since the suspect: two that agree outvote one. If neither, it becomes the suspect. A fix that is not newer
    /// than the last that counted never moves; it counts (for whoever reads the table later) if it could have been on
    /// the way there.
    pub fn apply(&mut self, fix: &Fix, limits: &PingLimits) -> Applied {
        let new = Mark::from(fix);
        let Some(last) = &self.last else {
            self.last = Some(new);
            return Applied { counted: true, newest: true };
        };
        // Sent again because its commit was never acked: it counts as it did, else nobody would find it after a restart.
        if new == *last {
            return Applied { counted: true, newest: false };
        }
        let accurate = is_accurate(fix, limits);
        let reachable = accurate && plausible(last, &new, limits);
        if new.at <= last.at {
            return Applied { counted: reachable, newest: false };
        }
        let confirms = |suspect: &Mark| accurate && new.at > suspect.at && plausible(suspect, &new, limits);
        if reachable || self.suspect.as_ref().is_some_and(confirms) {
            self.last = Some(new);
            // A suspect that is newer still (this fix came late) can yet be confirmed by the next.
            self.suspect = self.suspect.filter(|suspect| suspect.at > new.at);
            return Applied { counted: true, newest: true };
        }
        if self.suspect.is_none_or(|suspect| new.at > suspect.at) {
            self.suspect = Some(new);
        }
        Applied { counted: false, newest: false }
    }
}

/// Whether one can get from one fix to the other, in either order, within the speed limit and the fixes' uncertainty.
fn plausible(a: &Mark, b: &Mark, limits: &PingLimits) -> bool {
    // Most moves are a few metres.
    if is_jitter(a.place, b.place) {
        return true;
    }
    let capped = |mark: &Mark| f64::from(mark.accuracy_m.unwrap_or(0.0)).clamp(0.0, limits.max_accuracy_m);
    let slack = JITTER_M.max(capped(a) + capped(b));
    let elapsed = if a.at > b.at { a.at.since(b.at) } else { b.at.since(a.at) };
    let travelled = limits.max_speed_kmh / 3.6 * elapsed.as_secs_f64();
    let reach = Meters::new(travelled + slack);
    // And most others are settled without trigonometry.
    a.place.is_surely_within(reach, b.place) || a.place.distance(b.place) <= reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;

    /// A fix `metres` north of a point in Makati, `at` seconds.
    fn fix(at: i64, metres: f64) -> Fix {
        Fix::new(Timestamp::from_secs(at), LatLng::new(14.55 + metres / 111_195.08, 121.02).unwrap())
    }

    fn blurred(at: i64, metres: f64, accuracy: f64) -> Fix {
        Fix { accuracy_m: Some(accuracy), ..fix(at, metres) }
    }

    /// Feeds fixes; each line is the fix, whether it counts, whether it moves. Whoever is surely followed must be.
    fn check(lines: &[(Fix, bool, bool)]) {
        let limits = Settings::default().pings; // 300 km/h = 83.3 m/s, 500 m
        let mut track = Track::default();
        let mut shown: Option<Fix> = None;
        for (i, (fix, counted, newest)) in lines.iter().enumerate() {
            let surely = shown.is_some_and(|shown| Mark::from(&shown).is_surely_followed_by(fix, &limits));
            assert!(*counted && *newest || !surely, "line {i}: {fix:?}");
            let got = track.apply(fix, &limits);
            assert_eq!((got.counted, got.newest), (*counted, *newest), "line {i}: {fix:?}");
            if *newest {
                shown = Some(*fix);
            }
            assert_eq!(track.last().copied(), shown.as_ref().map(Mark::from), "line {i}");
        }
    }

    #[test]
    fn a_late_or_repeated_fix_never_moves() {
        check(&[
            (fix(100, 0.0), true, true),
            (fix(100, 0.0), true, false),
            (fix(100, 30.0), true, false), // same time, another place: not newer
            (fix(90, 500.0), true, false),
            (fix(90, 5_000.0), false, false), // nobody comes 5 km in 10 s
            (fix(101, 10.0), true, true),
        ]);
    }

    #[test]
    fn a_jump_waits_for_the_next_fix_to_agree() {
        check(&[
            (fix(0, 0.0), true, true),
            (fix(10, 20_000.0), false, false),
            (fix(20, 20_100.0), true, true), // agrees with the jump
            (fix(30, 0.0), false, false),    // back: now that is the jump
            (fix(40, 20_200.0), true, true),
            (fix(50, 100.0), false, false), // the former suspect is forgotten: this agrees with nothing
        ]);
    }

    #[test]
    fn a_lone_glitch_changes_nothing() {
        check(&[
            (fix(0, 0.0), true, true),
            (fix(10, 90_000.0), false, false),
            (fix(20, 50.0), true, true),
            (fix(30, -90_000.0), false, false),
            (fix(40, 90_000.0), false, false), // agrees neither with the last nor with the suspect
            (fix(41, 80.0), true, true),
        ]);
    }

    #[test]
    fn the_newest_suspect_is_the_one_to_agree_with() {
        check(&[
            (fix(0, 0.0), true, true),
            (fix(10, 20_000.0), false, false),
            (fix(20, -20_000.0), false, false),
            (fix(15, 40_000.0), false, false), // late: not the newest suspect
            (fix(30, -20_100.0), true, true),
        ]);
    }

    #[test]
    fn the_first_fix_counts_whatever_its_accuracy() {
        check(&[(blurred(0, 0.0, 9_000.0), true, true), (fix(1, 300.0), true, true)]);
    }

    #[test]
    fn inaccurate_fixes_neither_count_nor_confirm_each_other() {
        check(&[
            (fix(0, 0.0), true, true),
            (blurred(10, 3_000.0, 800.0), false, false),
            (blurred(20, 3_000.0, 800.0), false, false),
            (blurred(30, 0.0, 501.0), false, false),
            (blurred(40, 0.0, 500.0), true, true),
            (blurred(41, 20_000.0, 800.0), false, false),
            (fix(42, 20_000.0), true, true), // an accurate one may confirm an inaccurate one
        ]);
    }

    #[test]
    fn the_speed_limit_has_room_for_jitter() {
        check(&[
            (fix(0, 0.0), true, true),
            (fix(1, 83.0 + 50.0), true, true),
            (fix(2, 133.0 + 83.0 + 51.0), false, false),
            (fix(3, 133.0 + 2.0 * 83.3), true, true),
        ]);
        check(&[
            (blurred(0, 0.0, 100.0), true, true),
            (blurred(1, 83.0 + 150.0, 60.0), true, true), // two blurred fixes: their accuracies add up
        ]);
        let mut now = fix(0, 0.0);
        now.at = Timestamp::from_micros(1);
        check(&[(fix(0, 0.0), true, true), (now, true, true)]); // no time passed, no way gone
    }

    #[test]
    fn a_late_fix_that_counts_leaves_a_newer_suspect_standing() {
        check(&[
            (fix(0, 0.0), true, true),
            (fix(20, 50_000.0), false, false),
            (fix(10, 100.0), true, true),
            (fix(30, 50_100.0), true, true), // agrees with the suspect of second 20
        ]);
    }
}
