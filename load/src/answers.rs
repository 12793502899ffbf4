//! What simulated therapists do, decided by the seed, the booking and the therapist alone: the same therapist asked for
//! the same ride answers the same in every run and in the greedy matcher.

use std::time::Duration;

use spacall::client::therapist::{Answer, Journey};
use spacall::core::geo::Meters;

/// The rule, in recorded time; `speed` makes it faster.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Rule {
    pub(crate) seed: u64,
    /// How many times faster than recorded.
    pub(crate) speed: f64,
    /// Share of offers accepted.
    pub(crate) accept: f64,
    /// Share of offers not answered at all; the rest is declined.
    pub(crate) silent: f64,
    /// Time to think, from-to, recorded seconds.
    pub(crate) think_s: (f64, f64),
    /// From the door to the begin, recorded seconds.
    pub(crate) at_door_s: f64,
    /// Straight-line speed on the way, km/h.
    pub(crate) travel_kmh: f64,
}

/// Nobody answers faster than a round trip of a phone, however fast the day is played.
const FASTEST_ANSWER: Duration = Duration::from_millis(30);

impl Rule {
    /// What this therapist does with this booking, and after how long (in the run's own time).
    pub(crate) fn answer(&self, booking: u64, therapist: u64) -> (Answer, Duration) {
        let choice = self.draw(booking, therapist, 1);
        let answer = if choice < self.accept {
            Answer::Accept
        } else if choice < self.accept + self.silent {
            Answer::Silence
        } else {
            Answer::Decline
        };
        let (from, to) = self.think_s;
        let think = from + (to - from) * self.draw(booking, therapist, 2);
        (answer, self.faster(think).max(FASTEST_ANSWER))
    }

    /// How long a booking takes that was won at this distance, in the run's own time.
    pub(crate) fn journey(&self, distance: Meters, service_s: f64) -> Journey {
        Journey {
            set_out: Duration::ZERO,
            travel: self.faster(distance.km() / self.travel_kmh * 3_600.0),
            at_door: self.faster(self.at_door_s),
            service: self.faster(service_s),
        }
    }

    /// Recorded seconds as the run's own time.
    pub(crate) fn faster(&self, recorded_s: f64) -> Duration {
        Duration::try_from_secs_f64(recorded_s / self.speed).unwrap_or(Duration::ZERO)
    }

    /// Uniform in 0..1.
    fn draw(&self, booking: u64, therapist: u64, salt: u64) -> f64 {
        let mixed = mix(mix(mix(self.seed ^ salt) ^ booking) ^ therapist);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const RULE: Rule = Rule {
        seed: 1,
        speed: 60.0,
        accept: 0.8,
        silent: 0.05,
        think_s: (3.0, 12.0),
        at_door_s: 60.0,
        travel_kmh: 20.0,
    };

    #[test]
    fn the_same_therapist_answers_the_same_booking_alike_and_shares_are_kept() {
        let mut seen = [0_u32; 3];
        for i in 0..10_000 {
            let (answer, after) = RULE.answer(i, i % 97);
            assert_eq!((answer, after), RULE.answer(i, i % 97));
            assert!(after >= Duration::from_millis(50) && after <= Duration::from_millis(200), "{after:?}");
            seen[match answer {
                Answer::Accept => 0,
                Answer::Silence => 1,
                Answer::Decline => 2,
            }] += 1;
        }
        assert!((7_800..8_200).contains(&seen[0]) && (400..600).contains(&seen[1]), "{seen:?}");
    }

    #[test]
    fn a_day_played_fast_shortens_everything_but_the_round_trip() {
        let fast = Rule { speed: 600.0, ..RULE };
        assert_eq!(fast.answer(1, 1).1, FASTEST_ANSWER);
        let (slow, fast) = (RULE.journey(Meters::from_km(2.0), 600.0), fast.journey(Meters::from_km(2.0), 600.0));
        assert_eq!((slow.travel, slow.service), (Duration::from_secs(6), Duration::from_secs(10)));
        assert_eq!(fast.service, Duration::from_secs(1));
    }
}
