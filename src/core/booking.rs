//! The status machine of a booking: who may do what, when. The database's trigger `bookings_before_write` guards the same
//! moves, without asking who.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The reason with which a therapist cancels at a door that nobody opens; the cancellation fee then applies.
pub const CUSTOMER_ABSENT: &str = "customer_absent";
/// How long he must have waited there.
pub const ABSENT_AFTER: Duration = Duration::from_secs(600);

/// The schema's enum `booking_status`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Looking for a therapist, or waiting for the store's word.
    Pending,
    /// Somebody took it.
    Accepted,
    /// The therapist is on the way.
    EnRoute,
    /// The therapist is at the door, or the customer at the store.
    Arrived,
    /// The service has begun.
    InProgress,
    /// Done. Final.
    Completed,
    /// Called off by anyone. Final.
    Cancelled,
    /// The customer did not come to the store. Final.
    NoShow,
}

impl Status {
    /// Every value, in the schema's order.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Accepted,
        Self::EnRoute,
        Self::Arrived,
        Self::InProgress,
        Self::Completed,
        Self::Cancelled,
        Self::NoShow,
    ];

    /// The schema's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::EnRoute => "en_route",
            Self::Arrived => "arrived",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::NoShow => "no_show",
        }
    }

    /// From the schema's word; `None` for any other.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::NoShow)
    }

    /// Whether it has a therapist or store that works, or will, on it.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Accepted | Self::EnRoute | Self::Arrived | Self::InProgress)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The schema's enum `booking_service_type`: where the service is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// At the customer's place.
    HomeService,
    /// At a store.
    InStore,
}

impl Kind {
    /// Every value, in the schema's order.
    pub const ALL: [Self; 2] = [Self::HomeService, Self::InStore];

    /// The schema's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HomeService => "home_service",
            Self::InStore => "in_store",
        }
    }

    /// From the schema's word; `None` for any other.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// As what somebody acts on a booking. That he is its customer, its therapist, … is the caller's to know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Who booked.
    Customer,
    /// The therapist who has it, who is offered it, or who was chosen.
    Provider,
    /// The owner of the store that has it.
    StoreOwner,
    /// Staff.
    Admin,
    /// The service itself.
    System,
}

/// What else a move depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Time of the move.
    pub now: Timestamp,
    /// Since when the booking is `arrived`.
    pub arrived_at: Option<Timestamp>,
    /// The time that was booked: of a scheduled booking its own, of a `now` booking its accept.
    pub booked_for: Option<Timestamp>,
    /// As given with the move.
    pub reason: Option<&'a str>,
    /// The move is the accept of a live offer.
    pub by_offer: bool,
}

/// What a move comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// It is to be made.
    Allowed,
    /// It is to be made, and the customer was absent: the cancellation fee applies although the therapist cancels.
    CustomerAbsent,
    /// The booking has that status already: nothing changes, nothing is wrong.
    Unchanged,
}

/// Why a move is not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not by this one, or not from here.
    #[error("a booking that is {from} cannot become {to} this way")]
    NotAllowed {
        /// As it is.
        from: Status,
        /// As asked for.
        to: Status,
    },
    /// `customer_absent` is for a therapist at the door.
    #[error("customer_absent is a reason only when arrived; the booking is {from}")]
    NotAtTheDoor {
        /// As it is.
        from: Status,
    },
    /// `customer_absent` before [`ABSENT_AFTER`].
    #[error("customer_absent is a reason only 10 minutes after arriving")]
    TooEarly {
        /// From when on.
        from: Timestamp,
    },
    /// A therapist is on one booking at a time: he may not set out to a scheduled one while he is on another.
    #[error("the therapist is on another booking")]
    OnAnotherBooking,
    /// `no_show` before the time that was booked: the customer may still come.
    #[error("a customer can fail to show up only from the booked time on")]
    NotDueYet {
        /// From when on.
        from: Timestamp,
    },
}

/// Whether `actor` may move a booking of `kind` from `from` to `to`.
pub fn may(
    actor: Actor,
    kind: Kind,
    from: Status,
    to: Status,
    circumstances: &Circumstances<'_>,
) -> Result<Move, Refusal> {
    if from == to {
        return Ok(Move::Unchanged);
    }
    let allowed = match kind {
        Kind::HomeService => home_service(actor, from, to, circumstances.by_offer),
        Kind::InStore => in_store(actor, from, to),
    };
    if !allowed {
        return Err(Refusal::NotAllowed { from, to });
    }
    if let (Status::NoShow, Some(due)) = (to, circumstances.booked_for)
        && circumstances.now < due
    {
        return Err(Refusal::NotDueYet { from: due });
    }
    let absent = (kind, actor, to) == (Kind::HomeService, Actor::Provider, Status::Cancelled)
        && circumstances.reason == Some(CUSTOMER_ABSENT);
    if !absent {
        return Ok(Move::Allowed);
    }
    let (Status::Arrived, Some(arrived_at)) = (from, circumstances.arrived_at) else {
        return Err(Refusal::NotAtTheDoor { from });
    };
    let earliest = arrived_at.plus(ABSENT_AFTER);
    if circumstances.now < earliest {
        return Err(Refusal::TooEarly { from: earliest });
    }
    Ok(Move::CustomerAbsent)
}

fn home_service(actor: Actor, from: Status, to: Status, by_offer: bool) -> bool {
    use Actor::{Admin, Customer, Provider, StoreOwner, System};
    use Status::{Accepted, Arrived, Cancelled, Completed, EnRoute, InProgress, Pending};
    match (from, to) {
        (Pending, Accepted) => actor == Provider && by_offer,
        (Accepted, EnRoute) | (EnRoute, Arrived) | (Arrived, InProgress) | (InProgress, Completed) => actor == Provider,
        (Accepted, Pending) => matches!(actor, Provider | System),
        (from, Cancelled) => match actor {
            Customer | Provider => from < InProgress,
            Admin => !from.is_final(),
            System => from == Pending,
            StoreOwner => false,
        },
        _ => false,
    }
}

fn in_store(actor: Actor, from: Status, to: Status) -> bool {
    use Actor::{Admin, Customer, Provider, StoreOwner, System};
    use Status::{Accepted, Arrived, Cancelled, Completed, EnRoute, InProgress, NoShow, Pending};
    match (from, to) {
        (Pending, Accepted)
        | (Accepted, Arrived | InProgress | NoShow)
        | (Arrived, InProgress | NoShow)
        | (InProgress, Completed) => actor == StoreOwner,
        // A status that it cannot have.
        (EnRoute, _) => false,
        (from, Cancelled) => match actor {
            Customer | StoreOwner => from < InProgress,
            Admin => !from.is_final(),
            System => from == Pending,
            Provider => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const BY_OFFER: Circumstances<'_> =
        Circumstances { now: NOW, arrived_at: None, booked_for: Some(NOW), reason: Some("rain"), by_offer: true };

    /// The contract, "Who moves a booking", line by line. What is not here is refused.
    const CONTRACT: &[(Kind, Status, Status, &[Actor])] = {
        use Actor::{Admin, Customer, Provider, StoreOwner, System};
        use Kind::{HomeService, InStore};
        use Status::{Accepted, Arrived, Cancelled, Completed, EnRoute, InProgress, NoShow, Pending};
        &[
            (HomeService, Pending, Accepted, &[Provider]),
            (HomeService, Accepted, EnRoute, &[Provider]),
            (HomeService, EnRoute, Arrived, &[Provider]),
            (HomeService, Arrived, InProgress, &[Provider]),
            (HomeService, InProgress, Completed, &[Provider]),
            (HomeService, Accepted, Pending, &[Provider, System]),
            (HomeService, Pending, Cancelled, &[Customer, Provider, Admin, System]),
            (HomeService, Accepted, Cancelled, &[Customer, Provider, Admin]),
            (HomeService, EnRoute, Cancelled, &[Customer, Provider, Admin]),
            (HomeService, Arrived, Cancelled, &[Customer, Provider, Admin]),
            (HomeService, InProgress, Cancelled, &[Admin]),
            (InStore, Pending, Accepted, &[StoreOwner]),
            (InStore, Accepted, Arrived, &[StoreOwner]),
            (InStore, Accepted, InProgress, &[StoreOwner]),
            (InStore, Accepted, NoShow, &[StoreOwner]),
            (InStore, Arrived, InProgress, &[StoreOwner]),
            (InStore, Arrived, NoShow, &[StoreOwner]),
            (InStore, InProgress, Completed, &[StoreOwner]),
            (InStore, Pending, Cancelled, &[Customer, StoreOwner, Admin, System]),
            (InStore, Accepted, Cancelled, &[Customer, StoreOwner, Admin]),
            (InStore, Arrived, Cancelled, &[Customer, StoreOwner, Admin]),
            (InStore, InProgress, Cancelled, &[Admin]),
        ]
    };

    const ACTORS: [Actor; 5] = [Actor::Customer, Actor::Provider, Actor::StoreOwner, Actor::Admin, Actor::System];

    #[test]
    fn every_actor_may_make_the_moves_of_the_contract_and_no_other() {
        for kind in Kind::ALL {
            for (from, to) in Status::ALL.into_iter().flat_map(|from| Status::ALL.map(|to| (from, to))) {
                let who =
                    CONTRACT.iter().find(|row| (row.0, row.1, row.2) == (kind, from, to)).map_or(&[][..], |r| r.3);
                for actor in ACTORS {
                    let expected = if from == to {
                        Ok(Move::Unchanged)
                    } else if who.contains(&actor) {
                        Ok(Move::Allowed)
                    } else {
                        Err(Refusal::NotAllowed { from, to })
                    };
                    assert_eq!(may(actor, kind, from, to, &BY_OFFER), expected, "{actor:?}: {kind:?} {from} -> {to}");
                }
            }
        }
    }

    /// `bookings_before_write` of migrations/0001_schema.sql, by hand: what it lets through, per kind.
    fn trigger_allows(kind: Kind, from: Status, to: Status) -> bool {
        use Status::{Accepted, Arrived, Cancelled, Completed, EnRoute, InProgress, NoShow, Pending};
        match from {
            Pending => matches!(to, Accepted | Cancelled),
            Accepted => {
                matches!(to, Cancelled | Pending)
                    || (kind == Kind::HomeService && to == EnRoute)
                    || (kind == Kind::InStore && matches!(to, Arrived | InProgress | NoShow))
            }
            EnRoute => matches!(to, Arrived | Cancelled),
            Arrived => matches!(to, InProgress | Cancelled) || (kind == Kind::InStore && to == NoShow),
            InProgress => matches!(to, Completed | Cancelled),
            Completed | Cancelled | NoShow => false,
        }
    }

    #[test]
    fn the_database_lets_every_move_of_the_contract_through() {
        for &(kind, from, to, _) in CONTRACT {
            assert!(trigger_allows(kind, from, to), "{kind:?} {from} -> {to}");
        }
    }

    #[test]
    fn a_therapist_accepts_by_an_offer_only() {
        let without = Circumstances { by_offer: false, ..BY_OFFER };
        let asked =
            |circumstances| may(Actor::Provider, Kind::HomeService, Status::Pending, Status::Accepted, circumstances);
        assert_eq!(asked(&BY_OFFER), Ok(Move::Allowed));
        assert_eq!(asked(&without), Err(Refusal::NotAllowed { from: Status::Pending, to: Status::Accepted }));
    }

    #[test]
    fn an_absent_customer_is_waited_for_ten_minutes_at_the_door() {
        let arrived = NOW.minus(ABSENT_AFTER);
        let asked = |actor, from, arrived_at, now| {
            let at =
                Circumstances { now, arrived_at, booked_for: None, reason: Some(CUSTOMER_ABSENT), by_offer: false };
            may(actor, Kind::HomeService, from, Status::Cancelled, &at)
        };
        let a_moment_before = NOW.minus(Duration::from_micros(1));
        assert_eq!(asked(Actor::Provider, Status::Arrived, Some(arrived), NOW), Ok(Move::CustomerAbsent));
        assert_eq!(
            asked(Actor::Provider, Status::Arrived, Some(arrived), a_moment_before),
            Err(Refusal::TooEarly { from: NOW })
        );
        assert_eq!(
            asked(Actor::Provider, Status::EnRoute, None, NOW),
            Err(Refusal::NotAtTheDoor { from: Status::EnRoute })
        );
        assert_eq!(asked(Actor::Customer, Status::Arrived, Some(arrived), a_moment_before), Ok(Move::Allowed));
    }

    #[test]
    fn nobody_is_a_no_show_before_the_booked_time() {
        let due = NOW.plus(Duration::from_micros(1));
        for from in [Status::Accepted, Status::Arrived] {
            let asked = |booked_for| {
                let at = Circumstances { booked_for, by_offer: false, ..BY_OFFER };
                may(Actor::StoreOwner, Kind::InStore, from, Status::NoShow, &at)
            };
            assert_eq!(asked(Some(NOW)), Ok(Move::Allowed));
            assert_eq!(asked(Some(due)), Err(Refusal::NotDueYet { from: due }));
        }
    }

    #[test]
    fn the_words_are_the_schemas() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_string(&status).ok(), Some(format!("\"{status}\"")));
        }
        assert_eq!(Status::parse("Pending"), None);
        assert_eq!(Kind::parse("in_store"), Some(Kind::InStore));
        assert_eq!(Kind::parse("store"), None);
    }
}
