//! When a scheduled booking may be made, until when a therapist is searched for, and when its parties are reminded.

use std::time::Duration;

use super::time::Timestamp;

/// A booking can be made, and therapists looked for, this far ahead.
pub const HORIZON: Duration = Duration::from_secs(90 * 86_400);
/// Nobody is searched for longer than this, however far away the time is: then the customer knows where he stands.
pub const LONGEST_SEARCH: Duration = Duration::from_secs(86_400);
/// With less time left before the lead begins, no booking is taken: nobody could answer.
pub const SHORTEST_SEARCH: Duration = Duration::from_secs(60);

/// The earliest time that can be booked at `now`: `lead` (`dispatch.lead_s`) ahead, and a moment to search before that.
pub const fn earliest(now: Timestamp, lead: Duration) -> Timestamp {
    now.plus(lead).plus(SHORTEST_SEARCH)
}

/// How long from `now` a new booking for `at` is searched for: until `lead` before it.
pub fn search_for(at: Timestamp, lead: Duration, now: Timestamp) -> Duration {
    at.minus(lead).since(now).min(LONGEST_SEARCH)
}

/// The same for one that its therapist gave back, or did not set out to. Where the lead has begun, or the time is past,
/// it is as urgent as a booking for now, and is searched for as long as such a one: `at_least`.
pub fn search_again(at: Timestamp, lead: Duration, now: Timestamp, at_least: Duration) -> Duration {
    search_for(at, lead, now).max(at_least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_search_ends_before_the_lead_and_within_a_day() {
        let now = Timestamp::from_secs(1_795_000_000);
        let lead = secs(3_600);
        for (ahead, first, again) in
            [(2 * 3_600, 3_600, 3_600), (30 * 86_400, 86_400, 86_400), (3_660, 60, 300), (3_600, 0, 300), (600, 0, 300)]
        {
            let at = now.plus(secs(ahead));
            assert_eq!(search_for(at, lead, now), secs(first), "{ahead}");
            assert_eq!(search_again(at, lead, now, secs(300)), secs(again), "{ahead}");
        }
        assert_eq!(search_again(now.minus(secs(900)), lead, now, secs(300)), secs(300), "its time is past");
        assert_eq!(search_for(earliest(now, lead), lead, now), SHORTEST_SEARCH);
    }
}
