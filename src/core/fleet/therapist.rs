//! What the index knows of one therapist besides where he is.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use rust_decimal::Decimal;
use uuid::Uuid;

use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::people::Gender;
use crate::core::pricing::Offering;
use crate::core::schedule::Schedule;
use crate::core::time::Timestamp;

/// A therapist as SQL and bookings say. Replaced whole, never changed in place: whoever holds one sees one moment.
/// What many have alike is held once where many are read together ([`Shared`]).
#[derive(Clone, PartialEq, Debug)]
pub struct Therapist {
    /// `providers.id`
    pub provider: ProviderId,
    /// The person.
    pub user: UserId,
    /// `providers.uuid`
    pub uuid: Uuid,
    /// What customers call them.
    pub first_name: Arc<str>,
    /// If told.
    pub gender: Option<Gender>,
    /// 0 to 5.
    pub average_rating: Decimal,
    /// How many reviews made it.
    pub total_reviews: u32,
    /// Percent.
    pub commission_rate: Decimal,
    /// `therapist_profiles.specializations`
    pub specializations: Arc<[String]>,
    /// `therapist_profiles.languages_spoken`
    pub languages: Arc<[String]>,
    /// Does not go farther, km.
    pub service_radius_km: u32,
    /// Where scheduled bookings start from.
    pub base_location: Option<LatLng>,
    /// Working hours.
    pub schedule: Schedule,
    /// Customers served; `None`: all.
    pub accepts_genders: Option<Box<[Gender]>>,
    /// Between two bookings.
    pub buffer_minutes: u32,
    /// What is offered, at which price.
    pub services: Arc<[Offering]>,
    /// `verification_status = 'verified'`
    pub verified: bool,
    /// Provider and user active, neither deleted.
    pub active: bool,
    /// Switched on in the app.
    pub available: bool,
    /// Comes home at all.
    pub accepts_home_service: bool,
    /// Customers that he blocked or who blocked him.
    pub blocked: Box<[UserId]>,
    /// What he does now.
    pub duty: Duty,
    /// `busy_during` of accepted bookings: from, to (not included).
    pub busy: Box<[(Timestamp, Timestamp)]>,
}

impl Therapist {
    /// How a service is offered at home; `None`: not at all.
    pub fn offering(&self, service: ServiceId) -> Option<&Offering> {
        self.services.iter().find(|offering| offering.service == service && offering.home)
    }
}

/// What was read of many therapists and is alike among them: each of it is kept once.
#[derive(Debug, Default)]
pub struct Shared {
    names: HashSet<Arc<str>>,
    words: HashSet<Arc<[String]>>,
    services: HashSet<Arc<[Offering]>>,
    schedules: HashSet<Schedule>,
}

impl Shared {
    /// Lets a therapist share with those before him.
    pub fn share(&mut self, therapist: &mut Therapist) {
        once(&mut self.names, &mut therapist.first_name);
        once(&mut self.words, &mut therapist.specializations);
        once(&mut self.words, &mut therapist.languages);
        once(&mut self.services, &mut therapist.services);
        once(&mut self.schedules, &mut therapist.schedule);
    }
}

fn once<T: Clone + Eq + Hash>(known: &mut HashSet<T>, mine: &mut T) {
    match known.get(mine) {
        Some(same) => *mine = same.clone(),
        None => drop(known.insert(mine.clone())),
    }
}

/// What a therapist does now. One of these, so nobody is both idle and on a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Nothing.
    Idle,
    /// Is asked to take a booking.
    Offered {
        /// The offer is live before this; from then on he counts as idle.
        until: Timestamp,
    },
    /// Is on a booking.
    Booked {
        /// Which.
        booking: BookingId,
        /// Its public id.
        booking_uuid: Uuid,
        /// Whose.
        customer: UserId,
        /// Where to, while on the way: then the customer is told each new position.
        en_route_to: Option<LatLng>,
    },
}
