//! Who may take a request: the hard constraints, each with its name, and the order of those who may.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::fleet::{Duty, Therapist};
use super::geo::{LatLng, Meters, PublicPosition};
use super::ids::{ProviderId, ServiceId, UserId};
use super::money::Money;
use super::people::Gender;
use super::pricing::{Offering, surcharge};
use super::slot::Slot;
use super::time::Timestamp;

/// Who is wanted, where and when.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// Which service, at the customer's home.
    pub service: ServiceId,
    /// The customer's place.
    pub place: LatLng,
    /// Now or at a time.
    pub when: When,
    /// The service lasts.
    pub duration: Duration,
    /// Who asks.
    pub customer: UserId,
    /// Their gender, if known; unknown fails every therapist who chooses by it.
    pub customer_gender: Option<Gender>,
    /// The asked radius, already no more than `service_radius_max`.
    pub radius: Meters,
    /// An older fix does not count (for [`When::Now`]).
    pub stale_after: Duration,
    /// At most this many answers.
    pub limit: usize,
    /// The customer's wishes.
    pub filters: Filters,
    /// Not these.
    pub exclude: BTreeSet<ProviderId>,
    /// This one alone.
    pub only: Option<ProviderId>,
    /// Which positions the answer is made from.
    pub precision: Precision,
}

/// What the customer asks of a therapist. Texts compare without regard to case.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filters {
    /// The therapist's.
    pub gender: Option<Gender>,
    /// Among the therapist's languages.
    pub language: Option<String>,
    /// Among the therapist's specializations.
    pub specialization: Option<String>,
    /// Average rating, at least.
    pub min_rating: Option<Decimal>,
    /// Service price and surcharge together, at most.
    pub max_price: Option<Money>,
}

/// When the therapist is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At once: from the newest fix, idle and available.
    Now,
    /// At a time: from the base location, by schedule and bookings; availability and duty of today are not asked.
    At {
        /// The service begins.
        start: Timestamp,
    },
}

impl When {
    /// The time that was named; `None`: now.
    pub const fn time(self) -> Option<Timestamp> {
        match self {
            Self::Now => None,
            Self::At { start } => Some(start),
        }
    }
}

impl From<Option<Timestamp>> for When {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Now, |start| Self::At { start })
    }
}

/// Which position of a therapist an answer may be made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// The fix or base location itself; ties by id.
    Exact,
    /// The centre of its H3 cell of resolution 9, in distance, radius, surcharge and order alike.
    Public {
        /// Ties are ordered by a hash with this key, then by id, so that the order within a cell tells nothing.
        tie_key: u64,
    },
}

/// One who may take the request.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// As he was when the answer was made.
    pub therapist: Arc<Therapist>,
    /// The place the distance was measured from: exact or public, as asked.
    pub place: LatLng,
    /// Age of the fix; `None` for [`When::At`].
    pub fix_age: Option<Duration>,
    /// From [`Self::place`] to the request's.
    pub distance: Meters,
    /// The therapist's own price of the service.
    pub price: Money,
    /// For the way.
    pub surcharge: Money,
    /// Where the public may know him to be; [`Self::place`] is its centre in public answers.
    pub public: PublicPosition,
}

/// The nearest who may take a request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// Nearest first; at most [`Request::limit`].
    pub candidates: Vec<Candidate>,
    /// How the index can vouch for it.
    pub certificate: Certificate,
}

/// What an answer rests on. All of it was true together at one instant during the search.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Certificate {
    /// The version of the index: how many changes it had seen at that instant.
    pub version: u64,
    /// Everybody who stood this near was met: nobody who may take the request and is nearer is missing.
    pub proven: Meters,
    /// How many positions were looked at.
    pub examined: u32,
}

/// What became of one therapist within the asked radius.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// Who.
    pub therapist: Arc<Therapist>,
    /// Where, as the precision allows.
    pub place: LatLng,
    /// How far.
    pub distance: Meters,
    /// Age of the fix; `None` for [`When::At`].
    pub fix_age: Option<Duration>,
    /// Why not; `None`: eligible.
    pub unfit: Option<Unfit>,
}

macro_rules! unfit {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// Why a therapist may not take a request: the first reason that applies, in this order.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Unfit { $($(#[$doc])* $name),* }

        impl Unfit {
            /// Every reason, in the order they are asked.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A stable word for logs and answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

unfit! {
    /// The request names another.
    NotChosen = "not_chosen",
    /// Excluded by the request: declined or did not answer before.
    Excluded = "excluded",
    /// The customer himself.
    Himself = "himself",
    /// One blocked the other.
    Blocked = "blocked",
    /// Not verified.
    NotVerified = "not_verified",
    /// Provider or user inactive or deleted.
    NotActive = "not_active",
    /// Switched off in the app.
    NotAvailable = "not_available",
    /// Does not come home at all.
    NoHomeService = "no_home_service",
    /// Does not offer this service at home.
    ServiceNotOffered = "service_not_offered",
    /// On a booking.
    OnBooking = "on_booking",
    /// Has a live offer.
    HasOffer = "has_offer",
    /// The newest fix is too old.
    StaleFix = "stale_fix",
    /// Does not serve this customer's gender.
    GenderNotServed = "gender_not_served",
    /// Not of the wanted gender.
    GenderNotWanted = "gender_not_wanted",
    /// Does not speak the wanted language.
    Language = "language",
    /// Not specialized as wanted.
    Specialization = "specialization",
    /// Rated lower than wanted.
    Rating = "rating",
    /// Beyond the therapist's own radius.
    BeyondOwnRadius = "beyond_own_radius",
    /// Beyond the service's largest travel distance.
    BeyondTravelDistance = "beyond_travel_distance",
    /// Costs more than wanted, surcharge included.
    TooExpensive = "too_expensive",
    /// Does not work at that time.
    OffSchedule = "off_schedule",
    /// Overlaps a booking that he has, now or later, with the way and the buffer.
    Busy = "busy",
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the therapist is for this request, and since when that is known.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stand {
    /// Fix or base location, exact or public.
    pub(crate) place: LatLng,
    /// Of the fix; `None` for a base location.
    pub(crate) fix_at: Option<Timestamp>,
    /// From [`Self::place`] to the request's.
    pub(crate) distance: Meters,
}

/// The hard constraints, apart from the asked radius. Cheap ones first.
pub(crate) fn judge(t: &Therapist, stand: &Stand, request: &Request, now: Timestamp) -> Result<Offering, Unfit> {
    let refuse = |unfit: Unfit, refused: bool| if refused { Err(unfit) } else { Ok(()) };
    refuse(Unfit::NotChosen, request.only.is_some_and(|only| only != t.provider))?;
    refuse(Unfit::Excluded, request.exclude.contains(&t.provider))?;
    refuse(Unfit::Himself, t.user == request.customer)?;
    refuse(Unfit::Blocked, t.ties.blocked().contains(&request.customer))?;
    refuse(Unfit::NotVerified, !t.profile.verified)?;
    refuse(Unfit::NotActive, !t.profile.active)?;
    refuse(Unfit::NotAvailable, request.when == When::Now && !t.available)?;
    refuse(Unfit::NoHomeService, !t.profile.accepts_home_service)?;
    let offering = t.offering(request.service).ok_or(Unfit::ServiceNotOffered)?;
    if request.when == When::Now {
        on_duty(t, now)?;
        // A fix from the future (clocks differ, 30 s at most) has age zero.
        refuse(Unfit::StaleFix, stand.fix_at.is_none_or(|at| now.since(at) > request.stale_after))?;
    }
    wishes(t, request)?;
    refuse(Unfit::BeyondOwnRadius, stand.distance > Meters::from_km(f64::from(t.profile.service_radius_km)))?;
    refuse(Unfit::BeyondTravelDistance, stand.distance > Meters::from_km(f64::from(offering.max_travel_km)))?;
    let total = || offering.price + surcharge(&offering, stand.distance);
    refuse(Unfit::TooExpensive, request.filters.max_price.is_some_and(|max| total() > max))?;
    if request.when == When::Now && t.ties.busy().is_empty() {
        return Ok(offering);
    }
    let slot = Slot::of(request.when.time(), now, stand.distance, request.duration, t.profile.buffer_minutes);
    refuse(Unfit::OffSchedule, request.when != When::Now && !t.profile.schedule.covers(slot.start, request.duration))?;
    refuse(Unfit::Busy, t.ties.busy().iter().any(|&(from, until)| slot.overlaps(from, until)))?;
    Ok(offering)
}

fn on_duty(t: &Therapist, now: Timestamp) -> Result<(), Unfit> {
    match t.ties.duty() {
        Duty::Idle => Ok(()),
        Duty::Offered { until } if until <= now => Ok(()),
        Duty::Offered { .. } => Err(Unfit::HasOffer),
        Duty::Booked { .. } => Err(Unfit::OnBooking),
    }
}

/// What therapist and customer ask of each other.
fn wishes(t: &Therapist, request: &Request) -> Result<(), Unfit> {
    let filters = &request.filters;
    if !t.profile.accepts_genders.includes(request.customer_gender) {
        return Err(Unfit::GenderNotServed);
    }
    if filters.gender.is_some() && t.gender != filters.gender {
        return Err(Unfit::GenderNotWanted);
    }
    let lacks = |wanted: &Option<String>, has: &[String]| {
        wanted.as_ref().is_some_and(|wanted| !has.iter().any(|word| same_word(word, wanted)))
    };
    if lacks(&filters.language, &t.profile.languages) {
        return Err(Unfit::Language);
    }
    if lacks(&filters.specialization, &t.profile.specializations) {
        return Err(Unfit::Specialization);
    }
    if filters.min_rating.is_some_and(|min| t.average_rating.decimal() < min) {
        return Err(Unfit::Rating);
    }
    Ok(())
}

/// Without regard to case, in any alphabet.
fn same_word(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && a.to_lowercase() == b.to_lowercase())
}

/// Orders therapists at the same distance: all alike (then ids decide), or by a hash of the id under a secret key. The key
/// keeps anybody from being first for ever, no more: what the order tells is the order.
#[inline]
pub(crate) fn tie_rank(precision: Precision, provider: ProviderId) -> u64 {
    match precision {
        Precision::Exact => 0,
        Precision::Public { tie_key } => folded(
            folded(provider.0.cast_unsigned() ^ tie_key, 0x2d35_8dcc_aa6c_78a5) ^ tie_key.rotate_left(32),
            0x8bb8_4b93_962e_acc9,
        ),
    }
}

/// Both halves of a product in one: every bit of the result depends on every bit of the factors (the mixer of wyhash, Wang Yi, 2019,
/// with two of its constants). A search asks it of everybody in the nearest cells.
const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}
