//! What the demo knows of its bookings, and what it says about them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock;

/// Gets each line of what happens.
pub type Told = Arc<dyn Fn(&str) + Send + Sync>;

/// Booking numbers by id, counts, and the one place that speaks.
pub struct Board {
    told: Told,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    numbers: HashMap<Uuid, String>,
    asked: u32,
    matched: u32,
    completed: u32,
    ended_otherwise: u32,
}

/// A booking's turn that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    Matched,
    Completed,
    EndedOtherwise,
}

impl Board {
    /// Speaks through `told`.
    pub fn new(told: Told) -> Self {
        Self { told, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Counts and names stay good whatever panicked beside them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new booking's number.
    pub(super) fn asked(&self, booking: Uuid, number: &str) {
        let mut state = self.state();
        state.asked += 1;
        state.numbers.insert(booking, number.to_owned());
    }

    pub(super) fn count(&self, what: Counted) {
        let mut state = self.state();
        match what {
            Counted::Matched => state.matched += 1,
            Counted::Completed => state.completed += 1,
            Counted::EndedOtherwise => state.ended_otherwise += 1,
        }
    }

    /// A booking that the demo's own customers made; waits a moment, because an offer may be faster than the answer
    /// to the customer. `None`: somebody else's.
    pub(super) async fn number(&self, booking: Uuid) -> Option<String> {
        for _ in 0..50 {
            if let Some(number) = self.known(booking) {
                return Some(number);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    pub(super) fn known(&self, booking: Uuid) -> Option<String> {
        self.state().numbers.get(&booking).cloned()
    }

    /// One line: the time in Manila, the booking, what happens.
    pub(super) fn say(&self, number: Option<&str>, what: &str) {
        let line = format!("{}  {:<16} {what}", manila_time(clock::now().micros()), number.unwrap_or(""));
        (self.told)(&line);
    }

    pub(super) fn summary(&self) -> String {
        let state = self.state();
        format!(
            "{} bookings asked, {} accepted, {} completed, {} ended otherwise",
            state.asked, state.matched, state.completed, state.ended_otherwise
        )
    }
}

/// `17:05:03`, of microseconds since 1970 UTC. Manila has had no summer time since 1990.
fn manila_time(micros: i64) -> String {
    let of_day = (micros.div_euclid(1_000_000) + 8 * 3_600).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_manilas() {
        assert_eq!(manila_time(0), "08:00:00");
        assert_eq!(manila_time((16 * 3_600 - 1) * 1_000_000), "23:59:59");
    }

    #[test]
    fn says_number_and_event_and_counts() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let board = Board::new(Arc::new(move |line: &str| heard.lock().expect("no panic").push(line.to_owned())));
        let booking = Uuid::from_u128(1);
        board.asked(booking, "SPC-2026-000001");
        board.say(board.known(booking).as_deref(), "Ana asks");
        assert!(lines.lock().expect("no panic")[0].ends_with("SPC-2026-000001  Ana asks"));
        board.count(Counted::Matched);
        assert_eq!(board.summary(), "1 bookings asked, 1 accepted, 0 completed, 0 ended otherwise");
    }
}
