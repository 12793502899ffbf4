//! The database as dispatch sees it: guarded updates in memory, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spacall::core::dispatch::promises::{BookingRow, Broken, OfferRow};
use spacall::core::dispatch::{EndReason, Job, LiveOffer, NotPersisted, Policy, Rules, Standing};
use spacall::core::geo::Meters;
use spacall::core::ids::{BookingId, OfferId, ProviderId};
use spacall::core::time::Timestamp;

pub(crate) const PENDING_FOR: Duration = Duration::from_secs(180);
pub(crate) const SET_OUT_WITHIN: Duration = Duration::from_secs(170);
/// A scheduled booking is searched for until this long before its time.
pub(crate) const LEAD: Duration = Duration::from_secs(30);
/// From setting out to being there, and from there to being free again.
const WAY: Duration = Duration::from_secs(20);
const SERVICE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Pending,
    Accepted,
    EnRoute,
    Completed,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OfferStatus {
    Offered,
    Accepted,
    Declined,
    Expired,
    Withdrawn,
    Released,
}

#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) status: Status,
    pub(crate) place: f64,
    pub(crate) created_at: Timestamp,
    /// Of a scheduled one: its time.
    pub(crate) wanted: Option<Timestamp>,
    pub(crate) deadline: Timestamp,
    /// Of its first search.
    pub(crate) first_deadline: Timestamp,
    pub(crate) chosen: Option<ProviderId>,
    pub(crate) rules: Rules,
    /// Once accepted: what of his time it takes, and when he should set out.
    pub(crate) busy: (Timestamp, Timestamp),
    pub(crate) provider: Option<ProviderId>,
    pub(crate) set_out_by: Timestamp,
    pub(crate) reason: Option<EndReason>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) booking: BookingId,
    pub(crate) provider: ProviderId,
    pub(crate) round: u16,
    pub(crate) rank: u16,
    pub(crate) status: OfferStatus,
    pub(crate) made_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Therapist {
    pub(crate) online: bool,
    pub(crate) place: f64,
    /// Where he sets out from to scheduled bookings.
    pub(crate) base: f64,
}

/// What an offer is to be, as the effect asks for it.
pub(crate) struct Wish {
    pub(crate) booking: BookingId,
    pub(crate) provider: ProviderId,
    pub(crate) round: u16,
    pub(crate) rank: u16,
    pub(crate) life: Duration,
    pub(crate) deadline: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) width: u16,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) bookings: BTreeMap<BookingId, Booking>,
    pub(crate) offers: BTreeMap<OfferId, Offer>,
    pub(crate) therapists: BTreeMap<ProviderId, Therapist>,
    /// Counts writes, so that what only a write can break is looked at only after one.
    pub(crate) writes: u64,
    /// Planted.
    pub(crate) flaw: Option<Flaw>,
}

/// What a careless store would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// An accept does not look whether the booking is still to be had.
    UnguardedAccept,
    /// An accept does not look whether its therapist has another booking at that time.
    OverlapAllowed,
    /// An accept leaves the other offers of its booking live.
    LosersKept,
}

impl Booking {
    /// What of his time it takes from a therapist who accepts it now.
    fn slot(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let soonest = now.plus(WAY);
        let start = self.wanted.map_or(soonest, |wanted| wanted.max(soonest));
        (start.minus(WAY), start.plus(SERVICE))
    }

    /// `uq_bookings_one_active_per_therapist`: whose therapist may not begin another.
    fn is_active(&self) -> bool {
        self.status == Status::EnRoute || (self.status == Status::Accepted && self.wanted.is_none())
    }

    /// As the promises look at it.
    pub(crate) fn as_row(&self, booking: BookingId) -> BookingRow {
        let due = match self.status {
            Status::Pending => Some(self.deadline),
            Status::Accepted => Some(self.set_out_by),
            _ => None,
        };
        let occupies = self.provider.filter(|_| self.is_active());
        BookingRow { booking, pending: self.status == Status::Pending, occupies, due }
    }

    /// Until when whom it names may answer if he was asked at once.
    pub(crate) fn answer_by(&self) -> Timestamp {
        let at_once = self.created_at.plus(self.rules.chosen_ttl + self.rules.receipt_grace);
        let first = self.first_deadline.min(self.deadline);
        if self.wanted.is_some() { first } else { first.min(at_once) }
    }

    /// How many may be asked at a time.
    fn width(&self) -> usize {
        match self.rules.policy {
            Policy::Broadcast { width, .. } if self.chosen.is_none() => width.into(),
            _ => 1,
        }
    }
}

impl Store {
    fn pending(&self, booking: BookingId) -> bool {
        self.bookings.get(&booking).is_some_and(|row| row.status == Status::Pending)
    }

    fn bookings_of(&self, provider: ProviderId) -> impl Iterator<Item = &Booking> {
        let his = |row: &&Booking| matches!(row.status, Status::Accepted | Status::EnRoute);
        self.bookings.values().filter(move |row| row.provider == Some(provider)).filter(his)
    }

    fn active(&self, provider: ProviderId) -> bool {
        self.bookings_of(provider).any(Booking::is_active)
    }

    /// `bookings_no_overlap`
    fn overlaps(&self, provider: ProviderId, booking: &Booking, now: Timestamp) -> bool {
        let (from, until) = booking.slot(now);
        self.bookings_of(provider).any(|row| row.busy.0 < until && from < row.busy.1)
    }

    /// Whether he could begin this one, his other bookings being as they are.
    fn free(&self, provider: ProviderId, booking: &Booking, now: Timestamp) -> bool {
        (booking.wanted.is_some() || !self.active(provider)) && !self.overlaps(provider, booking, now)
    }

    fn is_now(&self, booking: BookingId) -> bool {
        self.bookings.get(&booking).is_some_and(|row| row.wanted.is_none())
    }

    /// His live offers of bookings for now.
    pub(crate) fn live_of(&self, provider: ProviderId) -> impl Iterator<Item = (OfferId, &Offer)> {
        self.live().filter(move |(_, offer)| offer.provider == provider && self.is_now(offer.booking))
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (OfferId, &Offer)> {
        self.offers.iter().filter(|(_, offer)| offer.status == OfferStatus::Offered).map(|(&id, offer)| (id, offer))
    }

    /// Who said no, nothing, or gave it back.
    pub(crate) fn excluded(&self, booking: BookingId) -> BTreeSet<ProviderId> {
        let no = |status| matches!(status, OfferStatus::Declined | OfferStatus::Expired | OfferStatus::Released);
        let of = self.offers.values().filter(|offer| offer.booking == booking && no(offer.status));
        of.map(|offer| offer.provider).collect()
    }

    /// By distance, then id. `stale`: as an index sees it that has not heard of the newest offers and accepts.
    pub(crate) fn nearest(
        &self,
        booking: BookingId,
        radius: Meters,
        exclude: &BTreeSet<ProviderId>,
        only: Option<ProviderId>,
        stale: bool,
        now: Timestamp,
    ) -> Vec<(ProviderId, f64)> {
        let Some(row) = self.bookings.get(&booking) else { return Vec::new() };
        let scheduled = row.wanted.is_some();
        let unasked = |id| scheduled || self.live_of(id).all(|(_, offer)| offer.expires_at <= now);
        let idle = |id| self.free(id, row, now) && unasked(id);
        let mut found: Vec<_> = self
            .therapists
            .iter()
            .filter(|(id, t)| {
                !exclude.contains(id) && only.is_none_or(|only| only == **id) && (t.online || stale || scheduled)
            })
            .filter(|(id, _)| stale || idle(**id))
            .map(|(&id, t)| (id, (if scheduled { t.base } else { t.place } - row.place).abs()))
            .filter(|(_, distance)| *distance <= radius.get())
            .collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        found.truncate(3);
        found
    }

    pub(crate) fn persist_offer(&mut self, wish: &Wish, now: Timestamp) -> Result<(OfferId, Timestamp), NotPersisted> {
        self.writes += 1;
        let search = |row: &Booking| row.status == Status::Pending && row.deadline == wish.deadline;
        if !self.bookings.get(&wish.booking).is_some_and(search) {
            return Err(NotPersisted::BookingGone); // or given back since, and searched for anew
        }
        let key = (wish.booking, wish.round, wish.rank);
        if let Some((&id, offer)) = self.offers.iter().find(|(_, o)| (o.booking, o.round, o.rank) == key) {
            assert_eq!(offer.provider, wish.provider, "rank {} of round {} is another's", wish.rank, wish.round);
            return Ok((id, offer.expires_at));
        }
        for offer in self.offers.values_mut().filter(|o| o.provider == wish.provider) {
            if offer.status == OfferStatus::Offered && offer.expires_at <= now {
                offer.status = OfferStatus::Expired;
            }
        }
        let now_wanted = self.is_now(wish.booking);
        if now_wanted && (self.active(wish.provider) || self.live_of(wish.provider).next().is_some()) {
            return Err(NotPersisted::ProviderTaken);
        }
        if now_wanted && !self.therapists.get(&wish.provider).is_some_and(|t| t.online) {
            return Err(NotPersisted::ProviderUnfit);
        }
        if self.bookings.get(&wish.booking).is_some_and(|row| self.overlaps(wish.provider, row, now)) {
            return Err(NotPersisted::ProviderUnfit);
        }
        let live = |(_, offer): &(OfferId, &Offer)| offer.booking == wish.booking && offer.expires_at > now;
        if self.live().filter(live).count() >= wish.width.into() {
            return Err(NotPersisted::StoreFailed);
        }
        let expires_at = wish.until.min(wish.deadline).min(now.plus(wish.life));
        if expires_at <= now {
            return Err(NotPersisted::StoreFailed); // booking_offers_expiry
        }
        let chosen = self.bookings.get(&wish.booking).and_then(|row| row.chosen);
        assert!(chosen.is_none_or(|only| only == wish.provider), "{} was not chosen", wish.provider);
        assert!(!self.excluded(wish.booking).contains(&wish.provider), "{} was asked already", wish.provider);
        let key = (wish.booking, wish.round, wish.provider);
        assert!(!self.offers.values().any(|o| (o.booking, o.round, o.provider) == key), "twice in a round: {key:?}");
        let id = OfferId(self.offers.len() as i64 + 1);
        let &Wish { booking, provider, round, rank, .. } = wish;
        self.offers.insert(
            id,
            Offer { booking, provider, round, rank, status: OfferStatus::Offered, made_at: now, expires_at },
        );
        Ok((id, expires_at))
    }

    /// True: it is expired now.
    pub(crate) fn expire_offer(&mut self, id: OfferId) -> bool {
        self.writes += 1;
        let Some(offer) = self.offers.get_mut(&id) else { return false };
        if offer.status == OfferStatus::Offered {
            offer.status = OfferStatus::Expired;
        }
        offer.status == OfferStatus::Expired
    }

    /// The new `expires_at`.
    pub(crate) fn receive(&mut self, id: OfferId, now: Timestamp) -> Option<Timestamp> {
        self.writes += 1;
        let row = self.bookings.get(&self.offers.get(&id)?.booking)?;
        let ttl = if row.chosen.is_some() { row.rules.chosen_ttl } else { row.rules.offer_ttl };
        let offer = self.offers.get_mut(&id).filter(|o| o.status == OfferStatus::Offered && o.expires_at > now)?;
        offer.expires_at = offer.expires_at.min(now.plus(ttl));
        Some(offer.expires_at)
    }

    /// `set_out_by`
    pub(crate) fn accept(&mut self, id: OfferId, now: Timestamp) -> Option<Timestamp> {
        self.writes += 1;
        let offer = *self.offers.get(&id)?;
        let live = offer.status == OfferStatus::Offered && offer.expires_at > now;
        let booking = self.bookings.get(&offer.booking)?;
        let free = self.flaw == Some(Flaw::OverlapAllowed) || self.free(offer.provider, booking, now);
        let guarded = live && self.pending(offer.booking) && free;
        if !guarded && self.flaw != Some(Flaw::UnguardedAccept) {
            return None;
        }
        if self.flaw != Some(Flaw::LosersKept) {
            self.withdraw_all(offer.booking);
        }
        self.offers.get_mut(&id)?.status = OfferStatus::Accepted;
        let row = self.bookings.get_mut(&offer.booking)?;
        row.status = Status::Accepted;
        row.provider = Some(offer.provider);
        row.busy = row.slot(now);
        row.set_out_by = row.busy.0.max(now).plus(SET_OUT_WITHIN);
        Some(row.set_out_by)
    }

    pub(crate) fn decline(&mut self, id: OfferId) -> bool {
        self.writes += 1;
        let Some(offer) = self.offers.get_mut(&id) else { return false };
        let live = offer.status == OfferStatus::Offered;
        if live {
            offer.status = OfferStatus::Declined;
        }
        live
    }

    /// The guard of the ending by the system: not before the deadline, unless the booking names its therapist, who said no, or
    /// nothing until `answer_by` and until his offer's time was over.
    pub(crate) fn ends_too_early(
        &self,
        booking: BookingId,
        reason: EndReason,
        answer_by: Timestamp,
        now: Timestamp,
    ) -> bool {
        let Some(row) = self.bookings.get(&booking).filter(|row| row.status == Status::Pending) else { return false };
        let due = |offer: &Offer| if offer.status == OfferStatus::Offered { offer.expires_at } else { now };
        let asked_until = self.offers.values().filter(|offer| offer.booking == booking).map(due).max();
        match (row.chosen, reason) {
            (Some(_), EndReason::ProviderDidNotAnswer) => asked_until.map_or(answer_by, |at| at.max(answer_by)) > now,
            (Some(_), _) => false,
            (None, _) => row.deadline > now,
        }
    }

    /// `reason`: by the system, from pending; `None`: by the customer, before the therapist is on the way.
    pub(crate) fn end(&mut self, booking: BookingId, reason: Option<EndReason>) -> bool {
        self.writes += 1;
        let Some(row) = self.bookings.get_mut(&booking) else { return false };
        let may = row.status == Status::Pending || (reason.is_none() && row.status == Status::Accepted);
        if may {
            row.status = Status::Cancelled;
            row.reason = reason;
            self.withdraw_all(booking);
        }
        may
    }

    /// Accepted -> pending, by the therapist or the system.
    pub(crate) fn give_back(&mut self, booking: BookingId, now: Timestamp) -> bool {
        self.writes += 1;
        let Some(row) = self.bookings.get_mut(&booking).filter(|row| row.status == Status::Accepted) else {
            return false;
        };
        row.status = Status::Pending;
        row.provider = None;
        row.chosen = None;
        let urgent = now.plus(PENDING_FOR);
        row.deadline = row.wanted.map_or(urgent, |wanted| urgent.max(wanted.minus(LEAD)));
        for offer in self.offers.values_mut() {
            if offer.booking == booking && offer.status == OfferStatus::Accepted {
                offer.status = OfferStatus::Released;
            }
        }
        true
    }

    /// Accepted -> on the way; not while he is on another booking.
    pub(crate) fn set_out(&mut self, booking: BookingId) -> bool {
        let row = self.bookings.get(&booking).filter(|row| row.status == Status::Accepted);
        let Some((scheduled, provider)) = row.and_then(|row| Some((row.wanted.is_some(), row.provider?))) else {
            return false;
        };
        !(scheduled && self.active(provider)) && self.move_on(booking, Status::Accepted, Status::EnRoute)
    }

    pub(crate) fn move_on(&mut self, booking: BookingId, from: Status, to: Status) -> bool {
        self.writes += 1;
        let Some(row) = self.bookings.get_mut(&booking).filter(|row| row.status == from) else { return false };
        row.status = to;
        true
    }

    pub(crate) fn load(&self, booking: BookingId) -> Standing {
        let Some(row) = self.bookings.get(&booking) else { return Standing::Settled };
        match (row.status, row.provider) {
            (Status::Pending, _) => {
                let (job, live) = self.job(booking, row);
                Standing::Pending { job, live }
            }
            (Status::Accepted, Some(provider)) => Standing::Accepted { provider, set_out_by: Some(row.set_out_by) },
            _ => Standing::Settled,
        }
    }

    fn job(&self, booking: BookingId, row: &Booking) -> (Job, Vec<LiveOffer>) {
        let of = || self.offers.iter().filter(move |(_, offer)| offer.booking == booking);
        let live = of().filter(|(_, offer)| offer.status == OfferStatus::Offered);
        let job = Job {
            booking,
            created_at: row.created_at,
            deadline: row.deadline,
            scheduled: row.wanted.is_some(),
            chosen: row.chosen,
            rules: row.rules,
            excluded: self.excluded(booking),
            silent: of().any(|(_, offer)| Some(offer.provider) == row.chosen && offer.status == OfferStatus::Expired),
            round: 1 + of().map(|(_, offer)| offer.round).max().unwrap_or(0),
        };
        let live = live.map(|(&offer, row)| LiveOffer { provider: row.provider, offer, expires_at: row.expires_at });
        (job, live.collect())
    }

    fn withdraw_all(&mut self, booking: BookingId) {
        for offer in self.offers.values_mut() {
            if offer.booking == booking && offer.status == OfferStatus::Offered {
                offer.status = OfferStatus::Withdrawn;
            }
        }
    }

    /// What the database promises, whatever dispatch does.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (&id, row) in &self.bookings {
            // Unswept ones past their time may stand beside one that was made since.
            let newest = self.live().filter(|(_, o)| o.booking == id).map(|(_, o)| o.made_at).max();
            let at_once = |o: &Offer| o.booking == id && newest.is_some_and(|at| o.expires_at > at);
            let asked = self.live().filter(|(_, offer)| at_once(offer)).count();
            if asked > row.width() {
                return Err(format!("booking {id} has {asked} live offers"));
            }
        }
        for &id in self.therapists.keys() {
            let mut busy: Vec<_> = self.bookings_of(id).map(|row| row.busy).collect();
            busy.sort_unstable();
            if let Some(pair) = busy.windows(2).find(|pair| pair[1].0 < pair[0].1) {
                return Err(format!("therapist {id} is to be in two places: {pair:?}"));
            }
        }
        // What the running service watches, too.
        let bookings: Vec<_> = self.bookings.iter().map(|(&id, row)| row.as_row(id)).collect();
        let broken = Broken::among(&bookings, &self.offer_rows());
        if broken.is_empty() { Ok(()) } else { Err(format!("{broken:?}")) }
    }

    fn offer_rows(&self) -> Vec<OfferRow> {
        let of = |(&offer, row): (&OfferId, &Offer)| {
            let accepted = row.status == OfferStatus::Accepted;
            let counts = accepted || row.status == OfferStatus::Offered;
            let Offer { booking, provider, expires_at, .. } = *row;
            let exclusive = self.is_now(booking);
            counts.then_some(OfferRow { offer, booking, provider, accepted, exclusive, expires_at })
        };
        self.offers.iter().filter_map(of).collect()
    }
}
