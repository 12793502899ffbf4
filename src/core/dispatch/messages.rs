//! What goes into the machine and what comes out of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cost::{Merit, Weights};
use super::log::Decision;
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

/// A pending booking that wants a therapist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Which.
    pub booking: BookingId,
    /// Bookings that wait are served in this order.
    pub created_at: Timestamp,
    /// The search ends here; no offer outlasts it.
    pub deadline: Timestamp,
    /// For a time that was named: a therapist may be asked for several such bookings at once, and for one for now.
    pub scheduled: bool,
    /// The customer named this therapist: nobody else is asked.
    pub chosen: Option<ProviderId>,
    /// As they were when the booking was made.
    pub rules: Rules,
    /// Never offered to: gave it back, or said no or nothing before a restart.
    pub excluded: BTreeSet<ProviderId>,
    /// Whom it names is among these for having said nothing, not for a no.
    pub silent: bool,
    /// First round to use: above every committed round of this booking, at least 1.
    pub round: u16,
}

/// How one booking is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// Who is asked when. A booking that names its therapist is sequential by nature, whatever stands here.
    pub policy: Policy,
    /// What makes a candidate better than another.
    pub weights: Weights,
    /// Whose app is not connected is passed over until it is. (Not who was chosen.)
    #[serde(default)]
    pub skip_disconnected: bool,
    /// Life of an offer from the app's receipt.
    pub offer_ttl: Duration,
    /// The same for a booking that names its therapist.
    pub chosen_ttl: Duration,
    /// A receipt may take this long, at most.
    pub receipt_grace: Duration,
    /// Radius of the first round.
    #[serde(with = "metres")]
    pub radius_start: Meters,
    /// Each round looks this much farther.
    #[serde(with = "metres")]
    pub radius_step: Meters,
    /// But no farther than this.
    #[serde(with = "metres")]
    pub radius_max: Meters,
}

/// A length as a plain number.
mod metres {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::core::geo::Meters;

    pub(super) fn serialize<S: Serializer>(length: &Meters, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(length.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Meters, D::Error> {
        f64::deserialize(from).map(Meters::new)
    }
}

/// Who is asked when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Policy {
    /// The best first; the next one when he says no, or nothing.
    Sequential,
    /// Several at a time: the first who accepts has it, what else is live is withdrawn in that transaction.
    Broadcast {
        /// Live offers of a booking at a time, at most; at least 1.
        width: u16,
        /// Head start of each over the next; zero: all at once. Who takes the place of a no is asked at once.
        stagger: Duration,
    },
    /// Whoever waits when a window ends is matched at once, at least total cost; one offer at a time.
    Batched {
        /// Windows end at its multiples, so that bookings of one window length meet.
        window: Duration,
    },
}

/// An offer that is committed and unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveOffer {
    /// Who is asked.
    pub provider: ProviderId,
    /// `booking_offers.id`
    pub offer: OfferId,
    /// As committed.
    pub expires_at: Timestamp,
}

/// A therapist who could take the booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Who.
    pub provider: ProviderId,
    /// To the booking's place, straight line.
    pub distance: Meters,
    /// The way there, and what else tells candidates apart.
    pub merit: Merit,
    /// His app has a live connection.
    pub connected: bool,
}

/// Where a booking stands in the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// `pending`: wants a therapist.
    Pending {
        /// The search, as the rows give it.
        job: Job,
        /// Its live offers.
        live: Vec<LiveOffer>,
    },
    /// `accepted`, not yet on the way.
    Accepted {
        /// By whom.
        provider: ProviderId,
        /// He gives it back by staying beyond this; `None`: not watched.
        set_out_by: Option<Timestamp>,
    },
    /// `pending`, at a store: its owner is asked, without offers.
    Store {
        /// Without his word it ends here.
        deadline: Timestamp,
    },
    /// `pending`, and another node's to drive: forgotten here, without its being over.
    Elsewhere,
    /// Anything else (on the way or later, over, deleted, taken by a store): nothing to dispatch.
    Settled,
}

/// Why an offer was not written. All but the last are certain: no row was written, none will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotPersisted {
    /// The therapist has another live offer (both for now) or an active booking.
    ProviderTaken,
    /// The therapist may not take this booking (any more): offline, blocked, too dear, not verified, …
    ProviderUnfit,
    /// The booking is not pending any more: the machine reads where it stands.
    BookingGone,
    /// The store could not be asked, or its answer was lost: the row may be there or not.
    StoreFailed,
}

/// What happened. Every input is a fact that is already committed, or the answer to an effect. Inputs may come late,
/// twice and in any order: what does not fit makes the machine ask the database ([`Effect::Reload`]), never guess.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A booking is `pending`: new, given back, or found at the start (then perhaps with its live offer).
    Wanted {
        /// The search.
        job: Job,
        /// Committed before a restart.
        live: Vec<LiveOffer>,
    },
    /// Answer to [`Effect::FindCandidates`].
    Candidates {
        /// For which booking.
        booking: BookingId,
        /// The effect's own.
        ask: u64,
        /// Best first.
        list: Vec<Found>,
    },
    /// Answer to [`Effect::PersistOffer`]: the row is committed (now, or by an earlier try).
    OfferPersisted {
        /// For which booking.
        booking: BookingId,
        /// The effect's own.
        ask: u64,
        /// Who is asked.
        provider: ProviderId,
        /// `booking_offers.id`
        offer: OfferId,
        /// As committed.
        expires_at: Timestamp,
    },
    /// Answer to [`Effect::PersistOffer`]: not written.
    OfferNotPersisted {
        /// For which booking.
        booking: BookingId,
        /// The effect's own.
        ask: u64,
        /// Who would have been asked.
        provider: ProviderId,
        /// Why not.
        why: NotPersisted,
    },
    /// The therapist's app has the offer; its clock runs from there.
    Received {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
        /// As committed; a later time than the known one is ignored, a receipt only shortens.
        expires_at: Timestamp,
    },
    /// The therapist does not want it; committed.
    Declined {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
    },
    /// The offer is `expired`; committed, by [`Effect::ExpireOffer`] or by anyone's sweep.
    Expired {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
    },
    /// Answer to [`Effect::ExpireOffer`]: the row is not `offered` and not `expired`; an answer was faster.
    ExpireRefused {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
    },
    /// Answer to [`Effect::ExpireOffer`]: the store could not be asked.
    ExpireFailed {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
    },
    /// A therapist took the booking; committed.
    Accepted {
        /// Which.
        booking: BookingId,
        /// Who.
        provider: ProviderId,
        /// Must be on the way by then, else [`Effect::Release`]; `None`: not watched.
        set_out_by: Option<Timestamp>,
    },
    /// A booking at a store is `pending`: its owner has until then to take it.
    StoreAsked {
        /// Which.
        booking: BookingId,
        /// Then it is ended, [`Effect::EndBooking`].
        deadline: Timestamp,
    },
    /// The therapist is on the way; committed.
    SetOut {
        /// Which.
        booking: BookingId,
    },
    /// The booking is over (cancelled by anyone, completed, no_show, deleted); committed.
    Ended {
        /// Which.
        booking: BookingId,
    },
    /// Answer to [`Effect::EndBooking`]: the store could not be asked.
    EndFailed {
        /// Which.
        booking: BookingId,
    },
    /// Answer to [`Effect::Release`]: the store could not be asked.
    ReleaseFailed {
        /// Which.
        booking: BookingId,
    },
    /// The booking's row changed, or is not as an effect wanted it: look again.
    Changed {
        /// Which.
        booking: BookingId,
    },
    /// Answer to [`Effect::Reload`].
    Loaded {
        /// Which.
        booking: BookingId,
        /// The effect's own.
        ask: u64,
        /// As read, in one snapshot taken after the effect was polled.
        standing: Box<Standing>,
    },
    /// Answer to [`Effect::Reload`]: the store could not be asked.
    LoadFailed {
        /// Which.
        booking: BookingId,
        /// The effect's own.
        ask: u64,
    },
    /// A therapist became eligible: came online, finished, let an offer pass, came back into reach.
    SupplyAppeared,
}

impl Input {
    /// Which booking it is about; `None`: all that wait.
    pub const fn booking(&self) -> Option<BookingId> {
        match self {
            Self::Wanted { job, .. } => Some(job.booking),
            Self::Candidates { booking, .. }
            | Self::OfferPersisted { booking, .. }
            | Self::OfferNotPersisted { booking, .. }
            | Self::Received { booking, .. }
            | Self::Declined { booking, .. }
            | Self::Expired { booking, .. }
            | Self::ExpireRefused { booking, .. }
            | Self::ExpireFailed { booking, .. }
            | Self::Accepted { booking, .. }
            | Self::StoreAsked { booking, .. }
            | Self::SetOut { booking }
            | Self::Ended { booking }
            | Self::EndFailed { booking }
            | Self::ReleaseFailed { booking }
            | Self::Changed { booking }
            | Self::Loaded { booking, .. }
            | Self::LoadFailed { booking, .. } => Some(*booking),
            Self::SupplyAppeared => None,
        }
    }
}

/// What the shell is to do. Each is safe to do twice (the machine asks again when an answer stays away), and each is
/// answered by the inputs named with it.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Ask the live index. Answer: [`Input::Candidates`], an empty list included.
    FindCandidates {
        /// For which booking (place, service and filters are the shell's to know).
        booking: BookingId,
        /// To be copied into the answer.
        ask: u64,
        /// From the booking's place.
        radius: Meters,
        /// Leave these out.
        exclude: BTreeSet<ProviderId>,
        /// This therapist or nobody.
        only: Option<ProviderId>,
    },
    /// Write an offer, and send it once committed. In one transaction: lock the booking, check that it is pending and its
    /// deadline still this one (a write may come after the search that wanted it);
    /// a row of this `(booking, round, rank)` that is there already is the answer, whatever its status and whoever's (an
    /// earlier try whose answer was lost); expire what is due of this therapist; insert with
    /// `expires_at = min(until, now() + ttl + grace)`.
    /// Answer: [`Input::OfferPersisted`] or [`Input::OfferNotPersisted`].
    PersistOffer {
        /// For which booking.
        booking: BookingId,
        /// To be copied into the answer.
        ask: u64,
        /// Who is asked.
        provider: ProviderId,
        /// `booking_offers.round`
        round: u16,
        /// `booking_offers.rank`
        rank: u16,
        /// As found.
        distance: Meters,
        /// From the receipt.
        ttl: Duration,
        /// For the receipt.
        grace: Duration,
        /// Of the booking.
        deadline: Timestamp,
        /// No later than the deadline.
        until: Timestamp,
        /// With so many live offers the booking has enough: then this is a write that was given up and comes late, or
        /// one that is still to be expired is in its way. Not written, [`NotPersisted::StoreFailed`].
        width: u16,
    },
    /// `offered` -> `expired`, guarded by the status alone (the machine says when). Answer: [`Input::Expired`] (also
    /// when it already was), [`Input::ExpireRefused`], [`Input::ExpireFailed`].
    ExpireOffer {
        /// For which booking.
        booking: BookingId,
        /// Which.
        offer: OfferId,
    },
    /// `pending` -> `cancelled` by the system, guarded by status and time (nobody's time is cut short by this node's clock);
    /// withdraws every live offer in the same
    /// transaction. Answer: [`Input::Ended`], [`Input::Changed`] (it was not pending), [`Input::EndFailed`].
    EndBooking {
        /// Which.
        booking: BookingId,
        /// For the customer.
        reason: EndReason,
        /// Nobody is silent ([`EndReason::ProviderDidNotAnswer`]) before, whether or not he was asked.
        answer_by: Timestamp,
    },
    /// `accepted` -> `pending`: the therapist did not set out; the offer becomes `released`. Answer: [`Input::Wanted`]
    /// with him excluded, [`Input::Changed`] (it was not accepted), [`Input::ReleaseFailed`].
    Release {
        /// Which.
        booking: BookingId,
    },
    /// Read where the booking stands. Answer: [`Input::Loaded`] or [`Input::LoadFailed`].
    Reload {
        /// Which.
        booking: BookingId,
        /// To be copied into the answer.
        ask: u64,
    },
    /// For `explain` and replay. No answer; may be lost.
    Log(Decision),
}

/// Why the system ended a booking: `bookings.cancellation_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Nobody took it in time.
    NoTherapistAvailable,
    /// The chosen therapist, or the store, was silent.
    ProviderDidNotAnswer,
    /// The chosen therapist said no.
    ProviderDeclined,
}

impl EndReason {
    /// As the customer's app knows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTherapistAvailable => "no_therapist_available",
            Self::ProviderDidNotAnswer => "provider_did_not_answer",
            Self::ProviderDeclined => "provider_declined",
        }
    }
}
