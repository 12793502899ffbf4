//! From a frame or a request of fixes to what is stored, shown and refused: judged first, taken once the journal has room.
//! The same for all ways in.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::desk::Desk;
use crate::clock;
use crate::core::fleet::{Duty, EnRoute, FixOutcome, Fleet};
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;
use crate::core::travel::eta_minutes;
use crate::store::journal::{Delivery, JournalStopped, Ping, Receipts, Room};
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

/// A frame that was read and judged. Nothing has come of it yet.
#[derive(Default)]
pub struct Judged {
    /// To be told at once, before the ack that covers them.
    pub rejected: Vec<Rejected>,
    /// What is to be shown and stored; `None`: nothing, and nothing to ack.
    pub good: Option<Good>,
    /// A record that is no fix at all; the records beside it are judged for themselves.
    pub bad_record: Option<BadFrame>,
}

/// The fixes of a frame that are taken. None, when all were rejected: then it only carries their ack, in order.
pub struct Good {
    therapist: ProviderId,
    fixes: Vec<(u32, Fix)>,
    upto: u32,
    received_at: Timestamp,
    receipts: Arc<Receipts>,
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
    /// Where the therapist was last seen, if he is on the way to this booking.
    pub fn last(fleet: &Fleet, therapist: ProviderId, to: BookingId) -> Option<Self> {
        let (place, at) = fleet.position(therapist)?;
        // After his place: who is at the door by now is not followed any more.
        match fleet.therapist(therapist)?.ties.duty() {
            Duty::Booked { booking, booking_uuid, en_route_to: Some(destination), .. } if booking == to => {
                Some(Self { booking, booking_uuid, destination, place, at })
            }
            _ => None,
        }
    }

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
#[error("{live} live fixes are more than are allowed now; at most {burst} are taken at once")]
pub struct TooFast {
    /// So many were sent.
    pub live: usize,
    /// `app_settings.pings.burst`
    pub burst: u32,
    /// When the same frame will be taken, if nothing else is sent: there is room by then, or its fixes are a backlog. `None`: never
    /// as it is.
    pub again_in: Option<Duration>,
}

impl Intake {
    /// A new connection, or request, of this therapist.
    pub fn new(therapist: ProviderId, receipts: Arc<Receipts>) -> Self {
        Self { therapist, last_seq: None, receipts }
    }

    /// Judges the fixes of a `location` message.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn json<D: Desk>(&mut self, desk: &D, fixes: &[Value]) -> Result<Judged, TooFast> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let mut frame = Sorted::with_capacity(fixes.len());
        for fix in fixes.iter().take(MAX_FIXES) {
            frame.judge(read_fix(fix, now, &limits), now, &mut self.last_seq);
        }
        for fix in fixes.iter().skip(MAX_FIXES) {
            let seq = fix.get("seq").and_then(Value::as_u64).and_then(|seq| u32::try_from(seq).ok());
            frame.excess(seq, &mut self.last_seq);
        }
        self.judged(desk, frame, now, &limits)
    }

    /// Judges a whole `location` message of which every fix is good. `None`: it is another message or has a fault in it, and
    /// nothing was done.
    pub fn usual<D: Desk>(&mut self, desk: &D, text: &str) -> Option<Result<Judged, TooFast>> {
        let (now, limits) = (clock::now(), desk.settings().pings);
        let fixes = quick::location(text, now, &limits)?;
        let mut frame = Sorted::with_capacity(fixes.len());
        for fix in fixes {
            frame.judge(Ok(fix), now, &mut self.last_seq);
        }
        Some(self.judged(desk, frame, now, &limits))
    }

    /// Judges the positions of another program's message, numbered from 1, as `read` reads them.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn foreign<D: Desk>(
        &mut self,
        desk: &D,
        read: impl FnOnce(Timestamp, &PingLimits) -> Vec<trackers::Read>,
    ) -> Result<Judged, TooFast> {
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
        self.judged(desk, frame, now, &limits)
    }

    /// Judges the records of a binary frame.
    ///
    /// # Errors
    /// [`TooFast`]
    pub fn binary<D: Desk>(&mut self, desk: &D, records: &[[u8; RECORD]]) -> Result<Judged, TooFast> {
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
        self.judged(desk, frame, now, &limits)
    }

    fn judged<D: Desk>(&self, desk: &D, frame: Sorted, now: Timestamp, limits: &PingLimits) -> Result<Judged, TooFast> {
        let (rates, at) = (desk.sockets().rates(), clock::monotonic());
        if !rates.take(self.therapist, frame.live, at, limits) {
            let room = |fixes| rates.room_in(self.therapist, fixes, at, limits);
            // Those that are no fixes count then, too.
            let aged = room(frame.live - frame.young).map(|room| room.max(frame.ages_in(now)));
            let again_in = [room(frame.live), aged].into_iter().flatten().min();
            return Err(TooFast { live: frame.live, burst: limits.burst, again_in });
        }
        let good = frame.upto.map(|upto| Good {
            therapist: self.therapist,
            fixes: frame.good,
            upto,
            received_at: now,
            receipts: Arc::clone(&self.receipts),
        });
        Ok(Judged { rejected: frame.rejected, good, bad_record: frame.bad_record })
    }
}

impl Good {
    /// How much room in the journal it takes.
    pub fn rows(&self) -> usize {
        self.fixes.len().max(1)
    }

    /// Into the index and into the journal, in one go: what is shown to others will be stored, whatever becomes of the one
    /// who sent it. Returns the newest place on the way to a customer.
    ///
    /// # Errors
    /// [`JournalStopped`]: it will not be stored; the node is at its end.
    pub fn take<D: Desk>(self, desk: &D, room: Room) -> Result<Option<Shown>, JournalStopped> {
        let mut shown = None;
        let fixes: Vec<_> = self.fixes.iter().map(|(_, fix)| (self.therapist, *fix)).collect();
        let outcomes = desk.fleet().apply_fixes(&fixes, &desk.settings().pings);
        let mut ping = |((seq, fix), outcome): ((u32, Fix), Option<FixOutcome>)| {
            // A backlog tells where he was, not where he is.
            let live = self.received_at.since(fix.at) <= LIVE_FOR;
            // Not in the fleet yet (a new therapist), or no longer: then the database knows.
            let counted = outcome.as_ref().is_none_or(|o| o.counted);
            if let Some(way) = outcome.and_then(|o| o.en_route).filter(|_| live) {
                let EnRoute { booking, booking_uuid, destination } = *way;
                shown = Some(Shown { booking, booking_uuid, destination, place: fix.place, at: fix.at });
            }
            Ping { seq, fix, counted, received_at: self.received_at }
        };
        let pings = self.fixes.into_iter().zip(outcomes).map(&mut ping).collect();
        let delivery = Delivery { provider: self.therapist, pings, upto: self.upto, receipts: self.receipts };
        desk.journal().put(room, delivery)?;
        Ok(shown)
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
    /// Of these, fixes: they become a backlog.
    young: usize,
    newest: Option<Timestamp>,
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
        if let (false, Ok((_, fix))) = (backlog, &fix) {
            self.young += 1;
            self.newest = self.newest.max(Some(fix.at));
        }
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

    /// How long until the newest fix is older than a live one.
    fn ages_in(&self, now: Timestamp) -> Duration {
        self.newest.map_or(Duration::ZERO, |newest| newest.plus(LIVE_FOR).since(now)) + Duration::from_millis(1)
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
