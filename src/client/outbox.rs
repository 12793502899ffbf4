//! The fixes that an app has not seen acked yet.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Instant;

use crate::core::time::Timestamp;
use crate::core::track::Fix;
use crate::wire::time::WireTime;

/// Most fixes in one frame: with about 200 bytes each far below the frame limit of 256 KiB and the limit of 1,000.
const FRAME_FIXES: usize = 500;

/// Keeps each fix until it is acked or rejected, numbers it once, and remembers what this connection has sent.
///
/// A fix keeps its number for good: sending all unacked ones first, oldest first, keeps `seq` increasing within every
/// connection, as the contract wants.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    next_seq: u32,
    /// The first this many of `waiting` were sent on this connection.
    sent: usize,
    last_at: Option<Timestamp>,
}

struct Waiting {
    seq: u32,
    fix: Fix,
    due: Instant,
}

/// A fix that the server has answered for.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// When it was due to be sent.
    pub due: Instant,
    /// Its time: with the therapist it names the row.
    pub recorded_at: Timestamp,
}

impl Outbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a fix that was due at `due` and is sent at `now`, which becomes its time, in whole milliseconds (what
    /// binary frames carry) and later than the fix before: two fixes of one therapist at one time would be one.
    pub fn push(&mut self, mut fix: Fix, due: Instant, now: Timestamp) {
        let mut millis = now.micros().div_euclid(1_000);
        if let Some(last) = self.last_at {
            millis = millis.max(last.micros().div_euclid(1_000) + 1);
        }
        fix.at = Timestamp::from_millis(millis);
        self.last_at = Some(fix.at);
        self.next_seq = self.next_seq.saturating_add(1);
        self.waiting.push_back(Waiting { seq: self.next_seq, fix, due });
    }

    /// Fixes not yet acked.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether every fix is acked.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A new connection: nothing was sent on it.
    pub fn reconnected(&mut self) {
        self.sent = 0;
    }

    /// Whether something waits to be sent on this connection.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.waiting.len()
    }

    /// The next fixes to send, as a `location` message; they count as sent. `None` when there are none.
    pub fn next_json(&mut self) -> Option<String> {
        let batch = self.take_unsent()?;
        let mut text = String::with_capacity(32 + batch.len() * 192);
        text.push_str(r#"{"type":"location","fixes":["#);
        for (i, waiting) in batch.enumerate() {
            if i > 0 {
                text.push(',');
            }
            write_fix(&mut text, waiting.seq, &waiting.fix);
        }
        text.push_str("]}");
        Some(text)
    }

    /// The next fixes to send, as a binary frame; they count as sent. `None` when there are none.
    pub fn next_binary(&mut self) -> Option<Vec<u8>> {
        let batch = self.take_unsent()?;
        let mut frame = Vec::with_capacity(batch.len() * 32);
        for waiting in batch {
            frame.extend_from_slice(&crate::wire::binary::encode(waiting.seq, &waiting.fix));
        }
        Some(frame)
    }

    fn take_unsent(&mut self) -> Option<impl ExactSizeIterator<Item = &Waiting>> {
        let from = self.sent;
        let upto = self.waiting.len().min(from + FRAME_FIXES);
        if from == upto {
            return None;
        }
        self.sent = upto;
        Some(self.waiting.range(from..upto))
    }

    /// The server has committed or rejected all up to `seq`. Those not rejected before are handed to `each`.
    pub fn acked(&mut self, seq: u32, mut each: impl FnMut(Acked)) {
        while let Some(waiting) = self.waiting.front() {
            if waiting.seq > seq || self.sent == 0 {
                break;
            }
            each(Acked { due: waiting.due, recorded_at: waiting.fix.at });
            self.waiting.pop_front();
            self.sent -= 1;
        }
    }

    /// The server does not take the fix `seq`: it is not sent again. False when there is none.
    pub fn rejected(&mut self, seq: u32) -> bool {
        let Ok(at) = self.waiting.binary_search_by_key(&seq, |w| w.seq) else { return false };
        self.waiting.remove(at);
        if at < self.sent {
            self.sent -= 1;
        }
        true
    }
}

/// One fix as JSON. By hand, because a load tool writes thousands a second beside the server it measures.
fn write_fix(text: &mut String, seq: u32, fix: &Fix) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"{{"seq":{seq},"recorded_at":"{}","latitude":{:.7},"longitude":{:.7},"is_moving":{}"#,
        WireTime(fix.at),
        fix.place.latitude(),
        fix.place.longitude(),
        fix.moving
    );
    for (name, value) in [("accuracy", fix.accuracy_m), ("heading", fix.heading), ("speed", fix.speed_kmh)] {
        if let Some(value) = value {
            let _ = write!(text, r#","{name}":{value:.2}"#);
        }
    }
    if let Some(battery) = fix.battery_percent {
        let _ = write!(text, r#","battery_level":{battery}"#);
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::geo::LatLng;

    fn fix() -> Fix {
        Fix {
            at: Timestamp::from_micros(0),
            place: LatLng::new(14.5547, 121.0244).expect("a place"),
            accuracy_m: Some(8.5),
            heading: Some(90.0),
            speed_kmh: None,
            moving: true,
            battery_percent: Some(80),
        }
    }

    fn outbox_of(fixes: usize) -> Outbox {
        let mut outbox = Outbox::new();
        for _ in 0..fixes {
            outbox.push(fix(), crate::clock::monotonic(), Timestamp::from_millis(1_700_000_000_123));
        }
        outbox
    }

    fn seqs(frame: &str) -> Vec<u64> {
        let frame: serde_json::Value = serde_json::from_str(frame).expect("JSON");
        frame["fixes"].as_array().expect("fixes").iter().filter_map(|f| f["seq"].as_u64()).collect()
    }

    #[test]
    fn an_unacked_fix_is_sent_again_after_a_reconnect_and_an_acked_one_is_not() {
        let mut outbox = outbox_of(3);
        assert_eq!(outbox.next_json().map(|f| seqs(&f)), Some(vec![1, 2, 3]));
        assert_eq!(outbox.next_json(), None);
        let mut acked = 0;
        outbox.acked(2, |_| acked += 1);
        outbox.reconnected();
        outbox.push(fix(), crate::clock::monotonic(), Timestamp::from_millis(1));
        assert_eq!(acked, 2);
        assert_eq!(outbox.next_json().map(|f| seqs(&f)), Some(vec![3, 4]));
    }

    #[test]
    fn a_rejected_fix_is_not_sent_again_and_does_not_count_as_acked() {
        let mut outbox = outbox_of(3);
        outbox.next_json();
        assert!(outbox.rejected(2));
        assert!(!outbox.rejected(2));
        let mut acked = 0;
        outbox.acked(3, |_| acked += 1);
        assert_eq!((acked, outbox.is_empty()), (2, true));
    }

    #[test]
    fn fixes_of_one_instant_get_times_of_their_own_in_whole_milliseconds() {
        let mut outbox = outbox_of(3);
        outbox.next_json();
        let mut times = Vec::new();
        outbox.acked(3, |a| times.push(a.recorded_at.micros()));
        assert_eq!(times, [1_700_000_000_123_000, 1_700_000_000_124_000, 1_700_000_000_125_000]);
    }

    #[test]
    fn a_long_backlog_goes_out_in_several_frames() {
        let mut outbox = outbox_of(1_200);
        let sizes: Vec<usize> = std::iter::from_fn(|| outbox.next_json()).map(|f| seqs(&f).len()).collect();
        assert_eq!(sizes, [500, 500, 200]);
    }

    #[test]
    fn both_wires_carry_the_same_fix() {
        let (mut json, mut binary) = (outbox_of(1), outbox_of(1));
        let text = json.next_json().expect("a frame");
        let fix = &serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["fixes"][0];
        let now = Timestamp::from_millis(1_700_000_000_200);
        let limits = crate::core::settings::Settings::default().pings;
        let from_json = crate::wire::fix::read_fix(fix, now, &limits).expect("a good fix");
        let frame = binary.next_binary().expect("a frame");
        let records = crate::wire::binary::records(&frame).expect("whole records");
        let from_binary = crate::wire::binary::decode(0, &records[0], now, &limits).expect("readable").expect("good");
        assert_eq!(from_json, from_binary);
    }
}
