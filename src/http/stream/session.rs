//! One authenticated socket: a loop over everything that can happen to it. Reading stops while the journal has no room
//! for what was read, or while this socket has enough in flight; everything else goes on.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::Sleep;

use super::alive::{Alive, Beat};
use super::close::Close;
use super::commands::{Answer, Commands};
use super::desk::{AuthFailure, Desk, Followed, Member, Refusal};
use super::intake::{Good, Intake, Judged, Shown, TooFast};
use super::link::{Frame, Link};
use super::rate::BadMessages;
use super::sockets::Timing;
use super::watches::{Showing, Watches};
use crate::clock;
use crate::cluster::{Connection, Heard};
use crate::core::fleet::Duty;
use crate::core::ids::{BookingId, ProviderId};
use crate::store::journal::{JournalStopped, Receipts, Room, Settled};
use crate::wire::binary;
use crate::wire::booking::Booking;
use crate::wire::stream::{AppMessage, Position, ServerMessage};
use crate::wire::time::WireTime;

/// Characters of a reason, at most.
const REASON: usize = 500;

/// Rows of one socket that may wait for their commit: a phone that catches up shares the journal with the others.
const IN_FLIGHT: usize = 2_000;

/// For room in the journal, with what is to be put there.
type Waiting = Pin<Box<dyn Future<Output = Result<(Good, Room), JournalStopped>> + Send>>;

/// The token out of the first message.
pub(super) async fn first_message<D: Desk>(desk: &D, link: &mut Link) -> Result<Member, Close> {
    let first = async {
        loop {
            match link.next().await? {
                Frame::Alive => {}
                Frame::Binary(_) => return Err(Close::NotAuthenticated),
                Frame::Text(text) => match AppMessage::read(&text) {
                    Ok(AppMessage::Auth { token }) => return Ok(token),
                    _ => return Err(Close::NotAuthenticated),
                },
            }
        }
    };
    let within = desk.sockets().timing().auth_within;
    let token = tokio::select! {
        token = tokio::time::timeout(within, first) => token.map_err(|_| Close::NoAuthInTime)??,
        () = desk.sockets().closing().cancelled() => return Err(Close::Restart),
    };
    desk.authenticate(&token).await.map_err(|failure| match failure {
        AuthFailure::BadToken => Close::NotAuthenticated,
        AuthFailure::Unavailable => Close::Unavailable,
    })
}

/// An authenticated socket's state.
pub(super) struct Session<D> {
    desk: Arc<D>,
    member: Member,
    binary: bool,
    /// Of a therapist.
    intake: Option<Intake>,
    receipts: Arc<Receipts>,
    /// Read, and shown to nobody: the journal is full. The socket is not read meanwhile.
    waiting: Option<Waiting>,
    /// Rows in the journal that are not settled.
    in_flight: usize,
    /// The last ack that was sent.
    acked: Option<u32>,
    commands: Commands,
    watches: Watches,
    showing: Showing,
    bad: BadMessages,
    alive: Alive,
    timing: Timing,
}

/// Everything that can happen.
enum Event {
    Closing,
    Revoked,
    Heard(Heard),
    Settled(Settled),
    Room(Result<(Good, Room), JournalStopped>),
    Answer(Answer),
    Position(Position),
    Timer,
    Frame(Result<Frame, Close>),
}

impl<D: Desk> Session<D> {
    pub(super) fn new(desk: Arc<D>, member: Member, binary: bool) -> Self {
        let receipts = Arc::new(Receipts::default());
        let timing = desk.sockets().timing();
        Self {
            intake: member.therapist.map(|therapist| Intake::new(therapist, Arc::clone(&receipts))),
            desk,
            member,
            binary,
            receipts,
            waiting: None,
            in_flight: 0,
            acked: None,
            commands: Commands::default(),
            watches: Watches::default(),
            showing: Showing::default(),
            bad: BadMessages::default(),
            alive: Alive::new(timing, clock::monotonic()),
            timing,
        }
    }

    /// Until there is a reason to close.
    pub(super) async fn run(&mut self, link: &mut Link) -> Close {
        // On the bus first, then the standing: an offer made in between is told twice rather than never.
        let mut connection = self.desk.bus().connect(self.member.user, self.member.therapist.is_some());
        if let Err(close) = Box::pin(self.welcome(link, &connection)).await {
            return close;
        }
        let mut timer = pin!(tokio::time::sleep_until(self.alive.next_check().into()));
        loop {
            let event = self.next(link, &mut connection, timer.as_mut()).await;
            if let Err(close) = self.handle(event, link, timer.as_mut()).await {
                return close;
            }
        }
    }

    /// What was asked for and is not done yet.
    pub(super) fn into_commands(self) -> Option<Commands> {
        Some(self.commands).filter(|commands| !commands.is_empty())
    }

    async fn welcome(&mut self, link: &mut Link, connection: &Connection) -> Result<(), Close> {
        let standing = self.desk.standing(&self.member).await.map_err(|_| Close::Unavailable)?;
        let welcome = ServerMessage::Welcome {
            session_id: connection.id(),
            user_uuid: self.member.user_uuid,
            server_time: WireTime(clock::now()),
            available: standing.available,
            offers: standing.offers.into_iter().map(|offer| ServerMessage::Offer(Box::new(offer))).collect(),
        };
        link.send([&welcome]).await
    }

    fn reads(&self) -> bool {
        self.waiting.is_none() && self.in_flight < IN_FLIGHT
    }

    async fn next(&mut self, link: &mut Link, connection: &mut Connection, timer: Pin<&mut Sleep>) -> Event {
        let reads = self.reads();
        tokio::select! {
            biased;
            () = self.desk.sockets().closing().cancelled() => Event::Closing,
            () = self.member.revoked.cancelled() => Event::Revoked,
            // Before what is told: an answer that is there is older than a state that came since.
            answer = self.commands.next() => Event::Answer(answer),
            heard = connection.next() => Event::Heard(heard),
            settled = self.receipts.settled() => Event::Settled(settled),
            room = there_is_room(&mut self.waiting) => Event::Room(room),
            position = self.watches.next() => Event::Position(position),
            () = timer => Event::Timer,
            frame = link.next(), if reads => Event::Frame(frame),
        }
    }

    async fn handle(&mut self, event: Event, link: &mut Link, timer: Pin<&mut Sleep>) -> Result<(), Close> {
        match event {
            Event::Closing => Err(Box::pin(self.finish(link)).await),
            Event::Revoked => Err(Close::NotAuthenticated),
            Event::Heard(Heard::Message(message)) => link.send([&*message]).await,
            Event::Heard(Heard::Replaced) => Err(Close::Replaced),
            Event::Heard(Heard::TooSlow) => Err(Close::TooSlow),
            Event::Settled(settled) => self.ack(settled, link).await,
            Event::Room(room) => {
                self.waiting = None;
                let (good, room) = room.map_err(|JournalStopped| Close::Restart)?;
                self.take(good, room)?;
                self.show(timer);
                Ok(())
            }
            Event::Answer(answer) => {
                let Some(Followed { booking, therapist }) = answer.watch else {
                    return link.send(&answer.messages).await;
                };
                // Before his last place is read: the next one comes by itself.
                self.watches.add(booking, self.desk.bus().watch(booking));
                link.send(&answer.messages).await?;
                match therapist.and_then(|therapist| Shown::last(self.desk.fleet(), therapist, booking)) {
                    Some(shown) => link.send([&ServerMessage::Position(shown.position())]).await,
                    None => Ok(()),
                }
            }
            Event::Position(position) => link.send([&ServerMessage::Position(position)]).await,
            Event::Timer => self.on_timer(link, timer).await,
            Event::Frame(frame) => {
                self.alive.heard(clock::monotonic());
                self.frame(frame?, link).await?;
                self.show(timer);
                Ok(())
            }
        }
    }

    async fn on_timer(&mut self, link: &mut Link, mut timer: Pin<&mut Sleep>) -> Result<(), Close> {
        let now = clock::monotonic();
        let beat = self.alive.check(self.reads(), now);
        timer.as_mut().reset(self.alive.next_check().into());
        self.show(timer);
        match beat {
            Beat::Fine => Ok(()),
            Beat::Ask => link.ping().await,
            Beat::Dead => Err(Close::Gone),
        }
    }

    /// Shows the therapist to his customer, now or when it is due.
    fn show(&mut self, timer: Pin<&mut Sleep>) {
        let (now, every) = (clock::monotonic(), self.timing.position_every);
        if let Some(shown) = self.showing.take(every, now)
            && self.desk.bus().is_watched(shown.booking)
            && self.is_on_the_way(shown.booking)
        {
            self.desk.bus().position(shown.booking, shown.position());
        }
        if let Some(due) = self.showing.due(every, now)
            && tokio::time::Instant::from(due) < timer.deadline()
        {
            timer.reset(due.into());
        }
    }

    /// What waited its second may have become untrue: nobody is followed beyond the door.
    fn is_on_the_way(&self, to: BookingId) -> bool {
        let duty = self.member.therapist.and_then(|t| self.desk.fleet().therapist(t)).map(|t| t.ties.duty());
        matches!(duty, Some(Duty::Booked { booking, en_route_to: Some(_), .. }) if booking == to)
    }

    async fn ack(&mut self, settled: Settled, link: &mut Link) -> Result<(), Close> {
        self.in_flight -= settled.rows.min(self.in_flight);
        self.acked = settled.acked.or(self.acked);
        let rejected = settled.rejected.into_iter().map(ServerMessage::Rejected);
        let ack = settled.acked.map(|seq| ServerMessage::Ack { seq });
        let messages: Vec<_> = rejected.chain(ack).collect();
        link.send(&messages).await
    }

    /// The node drains: nothing more is read, what was read is acked if the database is quick enough, and what was asked for and
    /// is done is answered.
    async fn finish(&mut self, link: &mut Link) -> Close {
        let within = self.timing.drain_within;
        let rest = async {
            if let Some(waiting) = self.waiting.take() {
                match waiting.await.map(|(good, room)| self.take(good, room)) {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(JournalStopped) => return,
                }
            }
            while self.in_flight > 0 {
                let settled = self.receipts.settled().await;
                if self.ack(settled, link).await.is_err() {
                    return;
                }
            }
        };
        // Unacked pings are sent again by the app.
        let _in_time = tokio::time::timeout(within, rest).await;
        while let Some(answer) = self.commands.ready() {
            if let Err(close) = link.send(&answer.messages).await {
                return close;
            }
        }
        Close::Restart
    }

    async fn frame(&mut self, frame: Frame, link: &mut Link) -> Result<(), Close> {
        match frame {
            Frame::Alive => Ok(()),
            Frame::Binary(_) if !self.binary => {
                let text = format!("binary frames need the subprotocol {}", super::BINARY);
                self.not_understood("bad_frame", text, link).await
            }
            Frame::Binary(frame) => match binary::records(&frame) {
                Ok(records) => {
                    therapist(&self.member, link).await?;
                    let judged = self.intake.as_mut().map(|intake| intake.binary(&*self.desk, records));
                    self.judged(judged, link).await
                }
                Err(bad) => self.not_understood("bad_frame", bad.to_string(), link).await,
            },
            Frame::Text(text) => match self.intake.as_mut().and_then(|intake| intake.usual(&*self.desk, &text)) {
                Some(judged) => self.judged(Some(judged), link).await,
                // Boxed: fixes come all the time, everything else seldom.
                None => Box::pin(self.text(&text, link)).await,
            },
        }
    }

    async fn text(&mut self, text: &str, link: &mut Link) -> Result<(), Close> {
        match AppMessage::read(text) {
            Ok(message) => self.message(message, link).await,
            Err(fault) => self.not_understood("bad_message", fault, link).await,
        }
    }

    async fn message(&mut self, message: AppMessage, link: &mut Link) -> Result<(), Close> {
        let desk = Arc::clone(&self.desk);
        match message {
            AppMessage::Auth { .. } => {
                self.not_understood("bad_message", "this socket is authenticated already".to_owned(), link).await
            }
            AppMessage::Location { fixes } => {
                therapist(&self.member, link).await?;
                let judged = self.intake.as_mut().map(|intake| intake.json(&*desk, &fixes));
                self.judged(judged, link).await
            }
            AppMessage::Watch { booking_uuid } => {
                let member = self.member.clone();
                self.command(link, async move { watching(desk.watch(&member, booking_uuid).await) }).await
            }
            AppMessage::Availability { available } => {
                let therapist = therapist(&self.member, link).await?;
                self.command(link, async move {
                    let done = desk.set_availability(therapist, available).await;
                    answer(done.map(|()| vec![ServerMessage::Availability { available }]))
                })
                .await
            }
            AppMessage::OfferReceived { offer_id } => {
                let therapist = therapist(&self.member, link).await?;
                self.command(link, async move { answer(desk.receive_offer(therapist, offer_id).await) }).await
            }
            AppMessage::OfferAccept { offer_id } => {
                let therapist = therapist(&self.member, link).await?;
                self.command(link, async move { answer(desk.accept_offer(therapist, offer_id).await) }).await
            }
            AppMessage::OfferDecline { reason: Some(reason), .. } if !is_a_reason(&reason) => {
                let text = format!("reason must be a text of at most {REASON} characters");
                self.not_understood("bad_message", text, link).await
            }
            AppMessage::OfferDecline { offer_id, reason } => {
                let therapist = therapist(&self.member, link).await?;
                self.command(link, async move { answer(desk.decline_offer(therapist, offer_id, reason).await) }).await
            }
        }
    }

    async fn command(
        &mut self,
        link: &mut Link,
        command: impl Future<Output = Answer> + Send + 'static,
    ) -> Result<(), Close> {
        if self.commands.push(command) {
            return Ok(());
        }
        link.send([&error("busy", "too many commands wait for an answer; send this one again later".to_owned())]).await
    }

    /// A frame of fixes. `None`: there was nobody to take it.
    async fn judged(&mut self, judged: Option<Result<Judged, TooFast>>, link: &mut Link) -> Result<(), Close> {
        let Some(judged) = judged else { return Ok(()) };
        let judged = judged.map_err(|_: TooFast| Close::TooFast)?;
        // Nothing new: who sends again what was acked has perhaps not heard so, and no ack follows.
        let stands = self.acked.filter(|_| judged.good.is_none() && !judged.rejected.is_empty());
        if let Some(good) = judged.good {
            match self.desk.journal().room_now(good.rows()) {
                Some(room) => self.take(good, room)?,
                None => {
                    let journal = self.desk.journal().clone();
                    let room = async move { journal.room(good.rows()).await.map(|room| (good, room)) };
                    self.waiting = Some(Box::pin(room));
                }
            }
        }
        let rejected = judged.rejected.into_iter().map(ServerMessage::Rejected);
        let messages: Vec<_> = rejected.chain(stands.map(|seq| ServerMessage::Ack { seq })).collect();
        link.send(&messages).await?;
        match judged.bad_record {
            Some(bad) => self.not_understood("bad_frame", bad.to_string(), link).await,
            None => Ok(()),
        }
    }

    fn take(&mut self, good: Good, room: Room) -> Result<(), Close> {
        self.in_flight += good.rows();
        if let Some(shown) = good.take(&*self.desk, room).map_err(|JournalStopped| Close::Restart)? {
            self.showing.moved(shown);
        }
        Ok(())
    }

    async fn not_understood(&mut self, code: &str, text: String, link: &mut Link) -> Result<(), Close> {
        link.send([&error(code, text)]).await?;
        if self.bad.one_more(clock::monotonic()) { Err(Close::TooManyBadMessages) } else { Ok(()) }
    }
}

/// As over HTTP; PostgreSQL's texts hold no NUL.
fn is_a_reason(text: &str) -> bool {
    text.chars().count() <= REASON && !text.contains('\0')
}

/// The therapist that the member is, or the end of his socket.
async fn therapist(member: &Member, link: &mut Link) -> Result<ProviderId, Close> {
    if let Some(therapist) = member.therapist {
        return Ok(therapist);
    }
    link.send([&error("forbidden", "only a therapist may send this".to_owned())]).await?;
    Err(Close::NotAllowed)
}

fn error(code: &str, message: String) -> ServerMessage {
    ServerMessage::Error { code: code.to_owned(), message, offer_id: None, reason: None }
}

fn answer(result: Result<Vec<ServerMessage>, Refusal>) -> Answer {
    let messages = result.unwrap_or_else(|refusal| vec![refusal.into()]);
    Answer { messages, watch: None }
}

fn watching(result: Result<(Option<Followed>, Booking), Refusal>) -> Answer {
    match result {
        Ok((booking, now)) => Answer { messages: vec![ServerMessage::Booking(Box::new(now))], watch: booking },
        Err(refusal) => answer(Err(refusal)),
    }
}

/// Room for what waits for it; never, if nothing does.
async fn there_is_room(waiting: &mut Option<Waiting>) -> Result<(Good, Room), JournalStopped> {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
