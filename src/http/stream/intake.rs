//! From a frame or a request of fixes to what is stored, shown and refused. The same for all ways in.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::desk::Desk;
use crate::clock;
use crate::core::fleet::FixOutcome;
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;
use crate::core::travel::eta_minutes;
use crate::store::journal::{Delivery, Ping, Receipts};
use crate::wire::binary::{self, BadFrame, RECORD};
use crate::wire::fix::{MAX_FIXES, read_fix, rejected};
use crate::wire::stream::{Position, Rejected};
use crate::wire::time::WireTime;
use crate::wire::{quick, trackers};

/// An older fix is backlog: never limited by a rate.
const LIVE_FOR: Duration = Duration::from_secs(60);

/// One connection's, or request's, way in.
pub struct Intake {
    therapist: ProviderId,
    last_seq: Option<u32>,
    receipts: Arc<Receipts>,
}

/// What became of a frame.
#[derive(Default)]
pub struct Taken {
    /// To be told at once, before the ack that covers them.
    pub rejected: Vec<Rejected>,
    /// For the journal, even when all was rejected: the ack must come in order. `None`: nothing to ack.
    pub delivery: Option<Delivery>,
    /// The newest place on the way to a customer.
    pub shown: Option<Shown>,
    /// A record that is no fix at all; the records beside it were taken.
    pub bad_record: Option<BadFrame>,
}

/// Where an en-route therapist is, for his customer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Of the customer.
    pub booking: BookingId,
    booking_uuid: Uuid,
    destination: LatLng,
    place: LatLng,
    at: Timestamp,
}

impl Shown {
    /// As the wire tells it.
    pub fn position(&self) -> Position {
        Position {
            booking_uuid: self.booking_uuid,
            latitude: self.place.latitude(),
            longitude: self.place.longitude(),
            eta_minutes: eta_minutes(self.place, self.destination, self.at),
            recorded_at: WireTime(self.at),
        }
    }
}

/// More live fixes than `app_settings.pings` allows. Nothing of the frame was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more live fixes than allowed")]
pub struct TooFast;

impl Intake {
    /// A new connection, or request, of this therapist.
    pub fn new(therapist: ProviderId, receipts: Arc<Receipts>) -> Self {
        Self { therapist, last_seq: None, receipts }
    }

    /// Takes the fixes of a `location` message.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn json<D: Desk>(&mut self, desk: &D, fixes: &[Value]) -> Result<Taken, TooFast> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let mut frame = Sorted::with_capacity(fixes.len());
        for fix in fixes.iter().take(MAX_FIXES) {
            frame.judge(read_fix(fix, now, &limits), now, &mut self.last_seq);
        }
        for fix in fixes.iter().skip(MAX_FIXES) {
            let seq = fix.get("seq").and_then(Value::as_u64).and_then(|seq| u32::try_from(seq).ok());
            frame.excess(seq, &mut self.last_seq);
        }
        self.take(desk, frame, now, &limits)
    }

    /// Takes a whole `location` message of which every fix is good. `None`: it is another message or has a fault in it, and
    /// nothing was done.
    pub fn usual<D: Desk>(&mut self, desk: &D, text: &str) -> Option<Result<Taken, TooFast>> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let fixes = quick::location(text, now, &limits)?;
        let mut frame = Sorted::with_capacity(fixes.len());
        for fix in fixes {
            frame.judge(Ok(fix), now, &mut self.last_seq);
        }
        Some(self.take(desk, frame, now, &limits))
    }

    /// Takes the positions of another program's message, numbered from 1, as `read` reads them.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn foreign<D: Desk>(
        &mut self,
        desk: &D,
        read: impl FnOnce(Timestamp, &PingLimits) -> Vec<trackers::Read>,
    ) -> Result<Taken, TooFast> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let fixes = read(now, &limits);
        let mut frame = Sorted::with_capacity(fixes.len());
        for (seq, fix) in (1_u32..).zip(fixes) {
            if seq as usize > MAX_FIXES {
                frame.excess(Some(seq), &mut self.last_seq);
                continue;
            }
            let fix = fix.map(|fix| (seq, fix)).map_err(|(code, text)| rejected(Some(seq), code, text));
            frame.judge(fix, now, &mut self.last_seq);
        }
        self.take(desk, frame, now, &limits)
    }

    /// Takes the records of a binary frame.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn binary<D: Desk>(&mut self, desk: &D, records: &[[u8; RECORD]]) -> Result<Taken, TooFast> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let mut frame = Sorted::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match binary::decode(index, record, now, &limits) {
                Ok(fix) if index < MAX_FIXES => frame.judge(fix, now, &mut self.last_seq),
                Ok(Ok((seq, _)) | Err(Rejected { seq: Some(seq), .. })) => frame.excess(Some(seq), &mut self.last_seq),
                Ok(Err(_)) => frame.excess(None, &mut self.last_seq),
                Err(bad) => frame.bad_record = frame.bad_record.or(Some(bad)),
            }
        }
        self.take(desk, frame, now, &limits)
    }

    /// Into the fleet, and ready for the journal.
    fn take<D: Desk>(&self, desk: &D, frame: Sorted, now: Timestamp, limits: &PingLimits) -> Result<Taken, TooFast> {
        if !desk.sockets().rates().take(self.therapist, frame.live, clock::monotonic(), limits) {
            return Err(TooFast);
        }
        let mut shown = None;
        let fixes: Vec<_> = frame.good.iter().map(|(_, fix)| (self.therapist, *fix)).collect();
        let outcomes = desk.fleet().apply_fixes(&fixes, limits);
        let mut ping = |((seq, fix), outcome): ((u32, Fix), Option<FixOutcome>)| {
            // A backlog tells where he was, not where he is.
            let live = now.since(fix.at) <= LIVE_FOR;
            if let Some((booking, booking_uuid, _customer, destination)) =
                outcome.and_then(|o| o.en_route).filter(|_| live)
            {
                shown = Some(Shown { booking, booking_uuid, destination, place: fix.place, at: fix.at });
            }
            // Not in the fleet yet (a new therapist), or no longer: then the database knows.
            let counted = outcome.is_none_or(|o| o.counted);
            Ping { seq, fix, counted, received_at: now }
        };
        let pings = frame.good.into_iter().zip(outcomes).map(&mut ping).collect();
        let delivery = frame.upto.map(|upto| Delivery {
            provider: self.therapist,
            pings,
            upto,
            receipts: Arc::clone(&self.receipts),
        });
        Ok(Taken { rejected: frame.rejected, delivery, shown, bad_record: frame.bad_record })
    }
}

/// A frame's fixes, each judged for itself.
#[derive(Default)]
struct Sorted {
    good: Vec<(u32, Fix)>,
    rejected: Vec<Rejected>,
    /// The last seq, of good and rejected fixes.
    upto: Option<u32>,
    /// What the rate limit counts: all but backlog.
    live: usize,
    bad_record: Option<BadFrame>,
    nameless_excess: bool,
}

impl Sorted {
    fn with_capacity(fixes: usize) -> Self {
        Self { good: Vec::with_capacity(fixes.min(MAX_FIXES)), ..Self::default() }
    }

    fn judge(&mut self, fix: Result<(u32, Fix), Rejected>, now: Timestamp, last_seq: &mut Option<u32>) {
        let backlog = match &fix {
            Ok((_, fix)) => now.since(fix.at) > LIVE_FOR,
            Err(rejected) => rejected.code == "too_old",
        };
        self.live += usize::from(!backlog);
        let checked = match fix {
            Ok((seq, fix)) => self.follow(seq, last_seq).map(|()| (seq, fix)),
            Err(rejected) => {
                // Its own fault is told, whatever its seq; a seq that goes on is covered by the next ack.
                if let Some(seq) = rejected.seq {
                    let _own_fault_first = self.follow(seq, last_seq);
                }
                Err(rejected)
            }
        };
        match checked {
            Ok(good) => self.good.push(good),
            Err(rejected) => self.rejected.push(rejected),
        }
    }

    /// A fix beyond those of a frame. Those whose seq cannot be read share one answer.
    fn excess(&mut self, seq: Option<u32>, last_seq: &mut Option<u32>) {
        match seq {
            Some(seq) => {
                let _too_many_is_told = self.follow(seq, last_seq);
            }
            None if self.nameless_excess => return,
            None => self.nameless_excess = true,
        }
        let message = format!("a frame holds at most {MAX_FIXES} fixes; send the others in frames of their own");
        self.rejected.push(Rejected { seq, code: "too_many".to_owned(), message });
    }

    fn follow(&mut self, seq: u32, last_seq: &mut Option<u32>) -> Result<(), Rejected> {
        if let Some(last) = *last_seq
            && seq <= last
        {
            return Err(Rejected {
                seq: Some(seq),
                code: "out_of_range".to_owned(),
                message: format!("seq {seq} is not above {last}, the last one of this connection"),
            });
        }
        *last_seq = Some(seq);
        self.upto = Some(seq);
        Ok(())
    }
}
