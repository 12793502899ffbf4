//! What the index knows of one therapist besides where he is.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use arcstr::ArcStr;
use uuid::Uuid;

use super::ties::Ties;
use crate::core::geo::LatLng;
use crate::core::hundredths::{Percent, Rating};
use crate::core::ids::{ProviderId, ServiceId, UserId};
use crate::core::offerings::Offerings;
use crate::core::people::{Gender, GendersServed};
use crate::core::pricing::Offering;
use crate::core::schedule::Schedule;
use crate::core::time::Timestamp;

/// A therapist as SQL and bookings say. Replaced whole, never changed in place: whoever holds one sees one moment.
///
/// There are as many of them as therapists, so each takes 88 bytes and its offerings. What many have alike is held once
/// where many are read together ([`Shared`]); what few have is in [`Ties`]. What is shown of everybody in an answer comes
/// first: the fields lie in memory in this order.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub struct Therapist {
    /// What is offered, at which price.
    pub services: Offerings,
    /// What customers call them.
    pub first_name: ArcStr,
    /// What others may have as well.
    pub profile: Arc<Profile>,
    /// `providers.uuid`
    pub uuid: Uuid,
    /// How many reviews made the rating.
    pub total_reviews: u32,
    /// Of the reviews.
    pub average_rating: Rating,
    /// If told.
    pub gender: Option<Gender>,
    /// Switched on in the app.
    pub available: bool,
    /// What he does now, time that is taken, customers he is not to meet.
    pub ties: Ties,
    /// Where scheduled bookings start from.
    pub base_location: Option<LatLng>,
    /// `providers.id`
    pub provider: ProviderId,
    /// The person.
    pub user: UserId,
}

/// What seldom changes, and is often the same for many.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Profile {
    /// As the therapist names them.
    pub specializations: Arc<[String]>,
    /// `languages_spoken`
    pub languages: Arc<[String]>,
    /// Working hours.
    pub schedule: Schedule,
    /// Between two bookings.
    pub buffer_minutes: u32,
    /// Does not go farther, km.
    pub service_radius_km: u16,
    /// The platform's share of price and surcharge.
    pub commission_rate: Percent,
    /// Customers served.
    pub accepts_genders: GendersServed,
    /// `verification_status = 'verified'`
    pub verified: bool,
    /// Provider and user active, neither deleted.
    pub active: bool,
    /// Comes home at all.
    pub accepts_home_service: bool,
}

impl Therapist {
    /// Somebody who may work, of whom no more is known than what he offers and how far he goes: for simulations.
    pub fn plain(provider: ProviderId, services: Offerings, service_radius_km: u16) -> Self {
        Self {
            services,
            first_name: ArcStr::new(),
            profile: Arc::new(Profile {
                service_radius_km,
                verified: true,
                active: true,
                accepts_home_service: true,
                ..Profile::default()
            }),
            uuid: Uuid::from_u128(provider.0 as u128),
            total_reviews: 0,
            average_rating: Rating::ZERO,
            gender: None,
            available: true,
            ties: Ties::NONE,
            base_location: None,
            provider,
            user: UserId(provider.0),
        }
    }

    /// Whether he could be offered a booking of now, as far as his state goes.
    pub fn may_work(&self, now: Timestamp) -> bool {
        self.profile.verified && self.profile.active && self.available && self.ties.duty().is_idle(now)
    }

    /// How a service is offered at home; `None`: not at all.
    pub fn offering(&self, service: ServiceId) -> Option<Offering> {
        self.services.at_home(service)
    }

    /// Takes from what was known of him before whatever has not changed: who is read alone shares with nobody yet.
    pub(super) fn share_with(&mut self, known: &Self) {
        keep(&mut self.first_name, &known.first_name);
        if self.profile == known.profile {
            self.profile = Arc::clone(&known.profile);
            return;
        }
        // Who was read with others shares with them already.
        if let Some(profile) = Arc::get_mut(&mut self.profile) {
            keep(&mut profile.specializations, &known.profile.specializations);
            keep(&mut profile.languages, &known.profile.languages);
            keep(&mut profile.schedule, &known.profile.schedule);
        }
    }
}

fn keep<T: Clone + PartialEq>(new: &mut T, known: &T) {
    if new == known {
        new.clone_from(known);
    }
}

/// What was read of many therapists and is alike among them: each of it is kept once.
#[derive(Debug, Default)]
pub struct Shared {
    names: HashSet<ArcStr>,
    profiles: HashSet<Arc<Profile>>,
    words: HashSet<Arc<[String]>>,
    schedules: HashSet<Schedule>,
}

impl Shared {
    /// Lets a therapist share with those before him.
    pub fn share(&mut self, therapist: &mut Therapist) {
        once(&mut self.names, &mut therapist.first_name);
        if let Some(same) = self.profiles.get(&therapist.profile) {
            therapist.profile = Arc::clone(same);
            return;
        }
        // The first of its kind; parts of it may be known all the same.
        let profile = Arc::make_mut(&mut therapist.profile);
        once(&mut self.words, &mut profile.specializations);
        once(&mut self.words, &mut profile.languages);
        once(&mut self.schedules, &mut profile.schedule);
        self.profiles.insert(Arc::clone(&therapist.profile));
    }
}

fn once<T: Clone + Eq + Hash>(known: &mut HashSet<T>, mine: &mut T) {
    match known.get(mine) {
        Some(same) => *mine = same.clone(),
        None => drop(known.insert(mine.clone())),
    }
}
