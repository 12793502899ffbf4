//! What follows a commit: duties in the index, messages to the parties.

use std::collections::{HashSet, VecDeque};

use super::{Shared, lock};
use crate::clock;
use crate::core::fleet::Duty;
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::core::time::Timestamp;
use crate::store::bookings::BookingView;
use crate::store::offers::{ClosedOffer, Persisted};
use crate::wire::stream::{OfferEnd, ServerMessage};

/// States remembered as told: the notification of an own change comes within milliseconds, but all that moved in the last
/// minutes is looked through now and then.
const TOLD: usize = 65_536;

/// Which states of bookings this node has told, so that its own changes are not told again when the database's
/// notification comes. Forgetting one only costs a repeated message.
#[derive(Default)]
pub(super) struct Told {
    known: HashSet<(BookingId, Timestamp)>,
    oldest_first: VecDeque<(BookingId, Timestamp)>,
}

impl Told {
    /// Whether this state is news.
    fn first(&mut self, state: (BookingId, Timestamp)) -> bool {
        if !self.known.insert(state) {
            return false;
        }
        self.oldest_first.push_back(state);
        if self.oldest_first.len() > TOLD
            && let Some(old) = self.oldest_first.pop_front()
        {
            self.known.remove(&old);
        }
        true
    }
}

impl Shared {
    /// Tells the parties, and who had it before, how a booking stands.
    pub(super) fn tell_booking(&self, view: &BookingView, before: Option<UserId>) {
        lock(&self.told).first((view.id, view.version));
        let before = before.filter(|&user| !view.parties().any(|party| party == user));
        for user in view.parties() {
            self.bus.tell(user, ServerMessage::Booking(Box::new(view.shown_to(user))));
        }
        if let Some(stranger) = before {
            self.bus.tell(stranger, ServerMessage::Booking(Box::new(view.booking.clone().for_a_stranger())));
        }
        self.bus.booking_changed(view.id);
    }

    /// The same, unless this state was told before; says whether it was news.
    pub(super) fn tell_booking_if_news(&self, view: &BookingView) -> bool {
        let news = lock(&self.told).first((view.id, view.version));
        if news {
            self.tell_booking(view, None);
        }
        news
    }

    /// Whether this node has told of this state of a booking.
    pub(super) fn has_told(&self, booking: BookingId, version: Timestamp) -> bool {
        lock(&self.told).known.contains(&(booking, version))
    }

    /// A live offer: the therapist is asked; if it is for `now`, he is to nobody else's disposal until it ends.
    pub(super) fn tell_offer(&self, provider: ProviderId, persisted: &Persisted) {
        if persisted.now {
            self.fleet.set_duty(provider, Duty::Offered { until: persisted.expires_at });
        }
        self.bus.tell(persisted.user, ServerMessage::Offer(Box::new(persisted.message.clone())));
    }

    /// Offers that ended otherwise than by their therapist's word.
    pub(super) fn tell_closed(&self, closed: &[ClosedOffer]) {
        for offer in closed {
            self.free(offer.provider, offer.now);
            self.tell_offer_end(offer.user, offer.offer, offer.end);
        }
    }

    pub(super) fn tell_offer_end(&self, user: UserId, offer_id: OfferId, reason: OfferEnd) {
        self.bus.tell(user, ServerMessage::OfferClosed { offer_id, reason });
    }

    /// A therapist whose offer (`now`: of a booking for `now`) ended may be asked again. One who is on a booking stays on
    /// it.
    pub(super) fn free(&self, provider: ProviderId, now: bool) {
        if now && matches!(self.fleet.therapist(provider).map(|t| t.ties.duty()), Some(Duty::Offered { .. })) {
            self.fleet.set_duty(provider, Duty::Idle);
        }
        self.supply.notify_one();
    }

    /// A therapist whose booking is over, or is no longer his, may be asked again. `was_on_it`: it kept him busy until now
    /// (a scheduled one does not before he sets out).
    pub(super) fn off_booking(&self, provider: ProviderId, booking: BookingId, was_on_it: bool) {
        if was_on_it {
            self.records.finished(provider, clock::now());
        }
        let duty = self.fleet.therapist(provider).map(|t| t.ties.duty());
        if matches!(duty, Some(Duty::Booked { booking: his, .. }) if his == booking) {
            self.fleet.set_duty(provider, Duty::Idle);
        }
        self.supply.notify_one();
    }

    /// A therapist is on a booking; while `en_route` his positions go to the customer.
    pub(super) fn on_booking(&self, provider: ProviderId, view: &BookingView, en_route: bool) {
        self.fleet.set_duty(
            provider,
            Duty::Booked {
                booking: view.id,
                booking_uuid: view.booking.uuid,
                customer: view.customer,
                en_route_to: view.place.filter(|_| en_route),
            },
        );
    }
}
