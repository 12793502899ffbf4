//! The therapist's app: sends fixes and keeps them until they are acked, shows offers, answers them by a given rule,
//! and moves the bookings it wins to their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Backoff;
use super::api::{Api, ApiError};
use super::messages::{Incoming, Offer};
use super::outbox::{Acked, Outbox};
use super::socket::{ConnectError, Endpoint, Goodbye, Socket, Wire};
use crate::clock;
use crate::core::ids::OfferId;
use crate::core::track::Fix;
use crate::wire::stream::OfferEnd;
use crate::wire::time::WireTime;

/// What a therapist does with an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Takes it.
    Accept,
    /// Does not want it.
    Decline,
    /// Does not look at the phone.
    Silence,
}

/// How long each step of a booking takes that was won.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Journey {
    /// From the accept until setting out.
    pub set_out: Duration,
    /// From setting out to the door.
    pub travel: Duration,
    /// From the door to the begin.
    pub at_door: Duration,
    /// The service.
    pub service: Duration,
}

/// The person who holds the phone, and whoever wants to know what happens on it. The plain functions are called from
/// the app's own task: they must be quick and must not block.
pub trait Therapist: Send + Sync + 'static {
    /// What to answer. Resolves when the therapist answers: the time to think is in the future itself.
    fn answer(&self, offer: &Offer) -> BoxFuture<'static, Answer>;
    /// How the booking goes that was just won; `None` leaves it as it is.
    fn journey(&self, booking: Uuid) -> BoxFuture<'static, Option<Journey>>;

    /// Connected, for the first time or again.
    fn connected(&self) {}
    /// The connection ended.
    fn disconnected(&self, _goodbye: &Goodbye) {}
    /// A fix was taken from the source and is on its way.
    fn sent(&self) {}
    /// The server answered for a fix.
    fn acked(&self, _fix: Acked) {}
    /// The server did not take a fix.
    fn rejected(&self, _code: &str, _message: &str) {}
    /// An offer is shown for the first time.
    fn offered(&self, _offer: &Offer) {}
    /// An offer is no longer live. `answered` is when this app sent its accept, if it did.
    fn closed(&self, _booking: Uuid, _reason: OfferEnd, _accept_sent: Option<Instant>) {}
    /// This app moved its booking.
    fn moved(&self, _booking: Uuid, _status: &str) {}
    /// The booking could not be moved any more: its status, where the server told it, or the error.
    fn stopped(&self, _booking: Uuid, _why: &ApiError) {}
    /// An error message of the server.
    fn error(&self, _code: &str, _message: &str) {}
}

/// Where the fixes come from.
pub trait FixSource: Send + 'static {
    /// The next fix, when it is due, with the instant at which it was due; `None` when there are no more. Its time is
    /// stamped by the app. Must be safe to drop and call again without losing a fix.
    fn next(&mut self) -> impl Future<Output = Option<(Fix, Instant)>> + Send;
}

/// Fixes from a channel: due when they arrive.
impl FixSource for tokio::sync::mpsc::Receiver<Fix> {
    async fn next(&mut self) -> Option<(Fix, Instant)> {
        self.recv().await.map(|fix| (fix, clock::monotonic()))
    }
}

/// An app to be run.
pub struct TherapistApp {
    /// Where and as whom.
    pub endpoint: Endpoint,
    /// For moving bookings; shares its connections with others.
    pub api: Api,
    /// Of backoff and the like.
    pub seed: u64,
    /// How long to wait for outstanding acks after `stop`.
    pub drain: Duration,
    /// Tell the server at the end that no more offers are wanted.
    pub leave_offline: bool,
}

/// Fixes that an app holds unacked before it stops taking more; hours of them.
const OUTBOX_MAX: usize = 100_000;
/// Between two signs of life.
const ALIVE_EVERY: Duration = Duration::from_secs(20);

/// An offer that this app knows.
struct Known {
    booking: Uuid,
    scheduled_at: Option<WireTime>,
    answer: Option<Answer>,
    accept_sent: Option<Instant>,
}

struct Session<T, S> {
    app: TherapistApp,
    therapist: Arc<T>,
    source: S,
    source_done: bool,
    outbox: Outbox,
    offers: BTreeMap<OfferId, Known>,
    answers: FuturesUnordered<BoxFuture<'static, (OfferId, Answer)>>,
    journeys: BTreeMap<Uuid, tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
    /// After `stop`: when to give up waiting for acks.
    give_up: Option<Instant>,
}

/// What is left when an app has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Fixes never acked nor rejected.
    pub unacked: usize,
}

impl TherapistApp {
    /// Runs until `stop` (then waits up to `drain` for the acks of what was sent), or until the server says not to come
    /// back. Journeys under way are finished first, unless `drain` is over.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]: the server will not have this app.
    pub async fn run<T: Therapist, S: FixSource>(
        self,
        therapist: Arc<T>,
        source: S,
        stop: CancellationToken,
    ) -> Result<Left, ConnectError> {
        let mut backoff = Backoff::of_an_app(self.seed);
        let mut session = Session {
            app: self,
            therapist,
            source,
            source_done: false,
            outbox: Outbox::new(),
            offers: BTreeMap::new(),
            answers: FuturesUnordered::new(),
            journeys: BTreeMap::new(),
            stop,
            give_up: None,
        };
        let end = session.connect_until_stopped(&mut backoff).await;
        for journey in std::mem::take(&mut session.journeys).into_values() {
            journey.abort();
        }
        end.map(|()| Left { unacked: session.outbox.len() })
    }
}

impl<T: Therapist, S: FixSource> Session<T, S> {
    async fn connect_until_stopped(&mut self, backoff: &mut Backoff) -> Result<(), ConnectError> {
        loop {
            let endpoint = self.app.endpoint.clone();
            let opened = self.while_collecting(Socket::open(&endpoint)).await;
            let goodbye = match opened {
                None => return Ok(()),
                Some(Err(ConnectError::Refused(why))) => return Err(ConnectError::Refused(why)),
                Some(Err(ConnectError::Unreachable(why))) => Goodbye::Reconnect { code: None, reason: why },
                Some(Ok(socket)) => match self.talk(socket, backoff).await {
                    None => return Ok(()),
                    Some(goodbye) => goodbye,
                },
            };
            self.therapist.disconnected(&goodbye);
            if let Goodbye::Stay { code, reason } = goodbye {
                return Err(ConnectError::Refused(format!("closed with {code} {reason}")));
            }
            if self.while_collecting(tokio::time::sleep(backoff.wait())).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for `what` and meanwhile keeps the fixes that come; `None` when the app is to end.
    async fn while_collecting<R>(&mut self, what: impl Future<Output = R>) -> Option<R> {
        tokio::pin!(what);
        loop {
            let stopping = self.give_up;
            tokio::select! {
                done = &mut what => return Some(done),
                fix = self.source.next(), if self.takes_fixes() => self.collect(fix),
                () = self.stop.cancelled(), if stopping.is_none() => {
                    self.begin_to_stop();
                    if self.outbox.is_empty() {
                        return None;
                    }
                }
                () = sleep_until(stopping), if stopping.is_some() => return None,
            }
        }
    }

    fn begin_to_stop(&mut self) {
        self.give_up = Some(clock::monotonic() + self.app.drain);
    }

    fn takes_fixes(&self) -> bool {
        !self.source_done && self.give_up.is_none() && self.outbox.len() < OUTBOX_MAX
    }

    fn collect(&mut self, fix: Option<(Fix, Instant)>) {
        match fix {
            None => self.source_done = true,
            Some((fix, due)) => {
                self.outbox.push(fix, due, clock::now());
                self.therapist.sent();
            }
        }
    }

    /// Until the connection ends, or (`None`) the app has stopped.
    async fn talk(&mut self, mut socket: Socket, backoff: &mut Backoff) -> Option<Goodbye> {
        self.outbox.reconnected();
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        let (mut heard, mut welcomed) = (true, false);
        loop {
            if self.give_up.is_some() && self.outbox.is_empty() && self.journeys.values().all(|j| j.is_finished()) {
                self.leave(socket).await;
                return None;
            }
            let stopping = self.give_up;
            let done = tokio::select! {
                message = socket.next() => {
                    heard = true;
                    match message {
                        Err(goodbye) => return Some(goodbye),
                        Ok(message) => {
                            if matches!(message, Incoming::Welcome { .. }) {
                                welcomed = true;
                                backoff.reset();
                            }
                            self.hear(&mut socket, message).await
                        }
                    }
                }
                fix = self.source.next(), if self.takes_fixes() => {
                    self.collect(fix);
                    Ok(())
                }
                Some((offer, answer)) = self.answers.next() => self.give_answer(&mut socket, offer, answer).await,
                _ = alive.tick() => {
                    if !std::mem::take(&mut heard) {
                        return Some(Goodbye::Reconnect { code: None, reason: "nothing heard for 20 s".to_owned() });
                    }
                    self.journeys.retain(|_, journey| !journey.is_finished());
                    socket.ping().await
                }
                () = self.stop.cancelled(), if stopping.is_none() => {
                    self.begin_to_stop();
                    Ok(())
                }
                () = a_moment(stopping), if stopping.is_some() => {
                    if stopping.is_some_and(|at| clock::monotonic() >= at) {
                        self.leave(socket).await;
                        return None;
                    }
                    Ok(())
                }
            };
            // Before the welcome nothing is sent: the server may still refuse the token.
            let done = match done {
                Ok(()) if welcomed => self.send_fixes(&mut socket).await,
                done => done,
            };
            if let Err(goodbye) = done {
                return Some(goodbye);
            }
        }
    }

    async fn send_fixes(&mut self, socket: &mut Socket) -> Result<(), Goodbye> {
        if !self.outbox.has_unsent() {
            return Ok(());
        }
        match self.app.endpoint.wire {
            Wire::Json => {
                while let Some(text) = self.outbox.next_json() {
                    socket.send_text(text).await?;
                }
            }
            Wire::Binary => {
                while let Some(frame) = self.outbox.next_binary() {
                    socket.send_binary(frame).await?;
                }
            }
        }
        Ok(())
    }

    async fn leave(&mut self, mut socket: Socket) {
        if self.app.leave_offline {
            // The connection is given up either way.
            let _ = socket.send_text(r#"{"type":"availability","available":false}"#.to_owned()).await;
        }
        socket.close().await;
    }

    async fn hear(&mut self, socket: &mut Socket, message: Incoming) -> Result<(), Goodbye> {
        match message {
            Incoming::Welcome { available, offers, .. } => {
                self.therapist.connected();
                if !available && self.give_up.is_none() {
                    socket.send_text(r#"{"type":"availability","available":true}"#.to_owned()).await?;
                }
                self.settle_unknown(&offers);
                for offer in offers {
                    self.show(socket, offer).await?;
                }
            }
            Incoming::Ack { seq } => {
                let therapist = &self.therapist;
                self.outbox.acked(seq, |fix| therapist.acked(fix));
            }
            Incoming::Rejected { seq, code, message } => {
                if seq.is_none_or(|seq| self.outbox.rejected(seq)) {
                    self.therapist.rejected(&code, &message);
                }
            }
            Incoming::Offer(offer) => self.show(socket, *offer).await?,
            Incoming::OfferClosed { offer_id, reason } => self.close_offer(offer_id, reason),
            Incoming::Error { code, offer_id: Some(offer), reason, .. } if code == "offer_gone" => {
                self.close_offer(offer, reason.unwrap_or(OfferEnd::Withdrawn));
            }
            Incoming::Error { code, message, .. } => self.therapist.error(&code, &message),
            Incoming::Booking(booking) if booking.status == "accepted" => {
                self.spawn_journey(booking.uuid, booking.scheduled_at, false);
            }
            Incoming::Booking(_) | Incoming::Position(_) | Incoming::Unknown => {}
        }
        Ok(())
    }

    /// Shows an offer: tells the server at once that it was received, and asks the therapist. An offer that is told again
    /// (after a reconnect, or with a new time) is confirmed only when it is new to this app, else both sides would
    /// confirm for ever; an answer that may have been lost is given again.
    async fn show(&mut self, socket: &mut Socket, offer: Offer) -> Result<(), Goodbye> {
        let id = offer.offer_id;
        match self.offers.get(&id).map(|known| known.answer) {
            Some(None) => Ok(()),
            Some(Some(answer)) => self.give_answer(socket, id, answer).await,
            None => {
                socket.send_text(offer_message("offer.received", id)).await?;
                self.therapist.offered(&offer);
                let answer = self.therapist.answer(&offer);
                self.answers.push(Box::pin(async move { (id, answer.await) }));
                let (booking, scheduled_at) = (offer.booking.uuid, offer.booking.scheduled_at);
                self.offers.insert(id, Known { booking, scheduled_at, answer: None, accept_sent: None });
                Ok(())
            }
        }
    }

    async fn give_answer(&mut self, socket: &mut Socket, id: OfferId, answer: Answer) -> Result<(), Goodbye> {
        let Some(known) = self.offers.get_mut(&id) else { return Ok(()) };
        known.answer = Some(answer);
        match answer {
            Answer::Silence => Ok(()),
            Answer::Decline => socket.send_text(offer_message("offer.decline", id)).await,
            Answer::Accept => {
                known.accept_sent.get_or_insert_with(clock::monotonic);
                socket.send_text(offer_message("offer.accept", id)).await
            }
        }
    }

    fn close_offer(&mut self, id: OfferId, reason: OfferEnd) {
        let Some(known) = self.offers.remove(&id) else { return };
        self.therapist.closed(known.booking, reason, known.accept_sent);
        if reason == OfferEnd::Accepted {
            self.spawn_journey(known.booking, known.scheduled_at, false);
        }
    }

    /// After a reconnect: offers that are no longer live ended while nobody listened. One that this app accepted may
    /// have been won: the booking tells.
    fn settle_unknown(&mut self, live: &[Offer]) {
        let gone: Vec<OfferId> =
            self.offers.keys().filter(|id| live.iter().all(|offer| offer.offer_id != **id)).copied().collect();
        for id in gone {
            let Some(known) = self.offers.remove(&id) else { continue };
            if known.answer == Some(Answer::Accept) {
                self.spawn_journey(known.booking, known.scheduled_at, true);
            }
        }
    }

    fn spawn_journey(&mut self, booking: Uuid, scheduled_at: Option<WireTime>, ask_first: bool) {
        // A booking that was given back and won again starts anew.
        if self.journeys.get(&booking).is_some_and(|journey| !journey.is_finished()) {
            return;
        }
        let (therapist, api) = (Arc::clone(&self.therapist), self.app.api.clone());
        let backoff = Backoff::of_an_app(self.app.seed ^ booking.as_u128() as u64);
        let journey = tokio::spawn(travel(therapist, api, booking, scheduled_at, ask_first, backoff));
        self.journeys.insert(booking, journey);
    }
}

/// Moves one booking to its end. To a scheduled one he sets out so that he is there in time.
async fn travel<T: Therapist>(
    therapist: Arc<T>,
    api: Api,
    booking: Uuid,
    scheduled_at: Option<WireTime>,
    ask_first: bool,
    mut backoff: Backoff,
) {
    if ask_first {
        // A stranger's booking is 404: it was not won.
        match retried(&mut backoff, || api.booking(booking)).await {
            Ok(seen) if seen.status == "accepted" => {}
            Ok(_) | Err(_) => return,
        }
    }
    let Some(journey) = therapist.journey(booking).await else { return };
    let steps = [
        ("en_route", journey.set_out),
        ("arrived", journey.travel),
        ("in_progress", journey.at_door),
        ("completed", journey.service),
    ];
    let mut due = clock::monotonic();
    if let Some(WireTime(at)) = scheduled_at {
        due += at.since(clock::now()).saturating_sub(journey.set_out + journey.travel);
    }
    for (to, after) in steps {
        // From when the step before was due, not from its answer: a slow server does not make services longer.
        due += after;
        tokio::time::sleep_until(due.into()).await;
        match retried(&mut backoff, || api.transition(booking, to, None)).await {
            Ok(_) => therapist.moved(booking, to),
            Err(error) => return therapist.stopped(booking, &error),
        }
    }
}

/// Tries again while the trouble is a passing one, for about two minutes.
async fn retried<R, F: Future<Output = Result<R, ApiError>>>(
    backoff: &mut Backoff,
    mut request: impl FnMut() -> F,
) -> Result<R, ApiError> {
    const TRIES: usize = 16;
    for _ in 1..TRIES {
        match request().await {
            Err(error) if error.is_passing() => tokio::time::sleep(backoff.wait()).await,
            done => {
                backoff.reset();
                return done;
            }
        }
    }
    request().await
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// While stopping: looks every 50 ms whether all is done, at the latest when the time is over.
async fn a_moment(give_up: Option<Instant>) {
    let soon = clock::monotonic() + Duration::from_millis(50);
    sleep_until(give_up.map(|at| at.min(soon))).await;
}

fn offer_message(kind: &str, offer: OfferId) -> String {
    format!(r#"{{"type":"{kind}","offer_id":{offer}}}"#)
}

#[cfg(test)]
#[path = "therapist_tests.rs"]
mod tests;
