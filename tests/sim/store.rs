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
    pub(crate) deadline: Timestamp,
    pub(crate) chosen: Option<ProviderId>,
    pub(crate) rules: Rules,
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
}

/// What an offer is to be, as the effect asks for it.
pub(crate) struct Wish {
    pub(crate) booking: BookingId,
    pub(crate) provider: ProviderId,
    pub(crate) round: u16,
    pub(crate) rank: u16,
    pub(crate) life: Duration,
    pub(crate) deadline: Timestamp,
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
    /// An accept leaves the other offers of its booking live.
    LosersKept,
}

impl Booking {
    /// As the promises look at it.
    pub(crate) fn as_row(&self, booking: BookingId) -> BookingRow {
        let active = matches!(self.status, Status::Accepted | Status::EnRoute);
        let due = match self.status {
            Status::Pending => Some(self.deadline),
            Status::Accepted => Some(self.set_out_by),
            _ => None,
        };
        let occupies = self.provider.filter(|_| active);
        BookingRow { booking, pending: self.status == Status::Pending, occupies, due }
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

    pub(crate) fn busy(&self, provider: ProviderId) -> bool {
        let active = |row: &Booking| matches!(row.status, Status::Accepted | Status::EnRoute);
        self.bookings.values().any(|row| row.provider == Some(provider) && active(row))
    }

    pub(crate) fn live_of(&self, provider: ProviderId) -> impl Iterator<Item = (OfferId, &Offer)> {
        self.live().filter(move |(_, offer)| offer.provider == provider)
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
        let idle = |id| !self.busy(id) && self.live_of(id).all(|(_, offer)| offer.expires_at <= now);
        let mut found: Vec<_> = self
            .therapists
            .iter()
            .filter(|(id, t)| !exclude.contains(id) && only.is_none_or(|only| only == **id) && (t.online || stale))
            .filter(|(id, _)| stale || idle(**id))
            .map(|(&id, t)| (id, (t.place - row.place).abs()))
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
        if self.busy(wish.provider) || self.live_of(wish.provider).next().is_some() {
            return Err(NotPersisted::ProviderTaken);
        }
        if !self.therapists.get(&wish.provider).is_some_and(|t| t.online) {
            return Err(NotPersisted::ProviderUnfit);
        }
        let live = |(_, offer): &(OfferId, &Offer)| offer.booking == wish.booking && offer.expires_at > now;
        if self.live().filter(live).count() >= wish.width.into() {
            return Err(NotPersisted::StoreFailed);
        }
        let expires_at = wish.deadline.min(now.plus(wish.life));
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
        let ttl = self.bookings.get(&self.offers.get(&id)?.booking)?.rules.offer_ttl;
        let offer = self.offers.get_mut(&id).filter(|o| o.status == OfferStatus::Offered && o.expires_at > now)?;
        offer.expires_at = offer.expires_at.min(now.plus(ttl));
        Some(offer.expires_at)
    }

    /// `set_out_by`
    pub(crate) fn accept(&mut self, id: OfferId, now: Timestamp) -> Option<Timestamp> {
        self.writes += 1;
        let offer = *self.offers.get(&id)?;
        let live = offer.status == OfferStatus::Offered && offer.expires_at > now;
        let guarded = live && self.pending(offer.booking) && !self.busy(offer.provider);
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
        row.set_out_by = now.plus(SET_OUT_WITHIN);
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

    /// The guard of the ending by the system: not before the deadline, unless the booking names its therapist.
    pub(crate) fn ends_too_early(&self, booking: BookingId, now: Timestamp) -> bool {
        let row = self.bookings.get(&booking).filter(|row| row.status == Status::Pending);
        row.is_some_and(|row| row.chosen.is_none() && row.deadline > now)
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
        row.deadline = now.plus(PENDING_FOR);
        for offer in self.offers.values_mut() {
            if offer.booking == booking && offer.status == OfferStatus::Accepted {
                offer.status = OfferStatus::Released;
            }
        }
        true
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
            chosen: row.chosen,
            rules: row.rules,
            excluded: self.excluded(booking),
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
            counts.then_some(OfferRow { offer, booking, provider, accepted, exclusive: true, expires_at })
        };
        self.offers.iter().filter_map(of).collect()
    }
}
