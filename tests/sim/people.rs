//! Customers and therapists: who books, comes and goes, answers or does not.

use std::time::Duration;

use spacall::core::dispatch::{Input, Policy, Rules, Standing, Weights};
use spacall::core::geo::Meters;
use spacall::core::ids::{BookingId, OfferId, ProviderId};

use super::store::{Booking, LEAD, PENDING_FOR, Status};
use super::world::{Event, SECOND, World};

/// As the settings give them: no windows, and the chosen one may think until the end.
fn scheduled(rules: Rules) -> Rules {
    let policy = if let Policy::Batched { .. } = rules.policy { Policy::Sequential } else { rules.policy };
    Rules { policy, chosen_ttl: Duration::from_secs(86_400), ..rules }
}

impl World {
    pub(crate) fn book(&mut self) {
        if self.calm {
            return;
        }
        let id = BookingId(self.store.bookings.len() as i64 + 1);
        let chosen = self.rng.chance(25).then(|| ProviderId(self.rng.between(1, self.store.therapists.len() as i64)));
        let rules = Rules {
            policy: self.policy(),
            weights: self.weights(),
            skip_disconnected: false,
            offer_ttl: Duration::from_secs(20),
            chosen_ttl: Duration::from_secs(60),
            receipt_grace: Duration::from_secs(5),
            radius_start: Meters::new(self.rng.between(500, 12_000) as f64),
            radius_step: Meters::new(self.rng.between(0, 6) as f64 * 500.0),
            radius_max: Meters::new(self.rng.between(2_000, 10_000) as f64),
        };
        let now = self.database_now();
        let wanted =
            self.rng.chance(30).then(|| now.plus(LEAD + Duration::from_secs(self.rng.between(60, 400) as u64)));
        let rules = if wanted.is_some() { scheduled(rules) } else { rules };
        let deadline = wanted.map_or(now.plus(PENDING_FOR), |at| at.minus(LEAD));
        let row = Booking {
            status: Status::Pending,
            place: self.rng.between(0, 10_000) as f64,
            created_at: now,
            wanted,
            deadline,
            first_deadline: deadline,
            chosen,
            rules,
            provider: None,
            busy: (now, now),
            set_out_by: now,
            reason: None,
        };
        self.store.bookings.insert(id, row);
        self.tell_wanted(id);
        if self.rng.chance(25) {
            let after = self.rng.between(0, 150) * SECOND;
            self.plan(after, Event::Cancel(id));
        }
        let after = self.rng.between(1, 100) * SECOND;
        self.plan(after, Event::Book);
    }

    /// Most runs have one policy, some have several side by side.
    fn policy(&mut self) -> Policy {
        match self.policy.unwrap_or_else(|| self.rng.between(0, 2)) {
            0 => Policy::Sequential,
            1 => {
                let stagger = Duration::from_secs(self.rng.between(0, 4) as u64 / 2 * 3);
                Policy::Broadcast { width: self.rng.between(2, 4) as u16, stagger }
            }
            _ => Policy::Batched { window: Duration::from_secs(self.rng.between(1, 3) as u64) },
        }
    }

    fn weights(&mut self) -> Weights {
        if self.rng.chance(50) { Weights::default() } else { Weights::TRAVEL_ONLY }
    }

    pub(crate) fn tell_wanted(&mut self, booking: BookingId) {
        if let Standing::Pending { job, live } = self.store.load(booking) {
            self.tell(Input::Wanted { job, live });
        }
    }

    pub(crate) fn toggle(&mut self, id: ProviderId) {
        let place = self.rng.between(0, 10_000) as f64;
        let Some(therapist) = self.store.therapists.get_mut(&id) else { return };
        therapist.online = !therapist.online;
        therapist.place = place;
        if therapist.online {
            self.tell(Input::SupplyAppeared);
        }
        let after = self.rng.between(5, 500) * SECOND;
        self.plan(after, Event::Toggle(id));
    }

    /// The therapist's app has the offer.
    pub(crate) fn shown(&mut self, offer: OfferId) {
        let Some(booking) = self.store.offers.get(&offer).map(|row| row.booking) else { return };
        if let Some(expires_at) = self.store.receive(offer, self.database_now()) {
            self.tell(Input::Received { booking, offer, expires_at });
        }
        let after = self.rng.between(100_000, 24 * SECOND);
        self.plan(after, Event::Answer(offer));
    }

    pub(crate) fn decide(&mut self, offer: OfferId) {
        let now = self.database_now();
        let Some(row) = self.store.offers.get(&offer).copied() else { return };
        let (booking, provider) = (row.booking, row.provider);
        match self.rng.between(0, 99) {
            0..=39 => {
                let Some(set_out_by) = self.store.accept(offer, now) else {
                    self.count("accept refused");
                    return;
                };
                self.count("accepted");
                self.tell(Input::Accepted { booking, provider, set_out_by: Some(set_out_by) });
                let scheduled = self.store.bookings.get(&booking).filter(|row| row.wanted.is_some());
                let until_then = scheduled.map_or(0, |row| row.busy.0.since(now).as_secs() as i64);
                if scheduled.is_some() {
                    self.count("scheduled accepted");
                }
                let (after, then) = match self.rng.between(0, 9) {
                    0..=1 => (self.rng.between(0, 60), Event::GiveBack(booking)),
                    2 => (self.rng.between(0, 60), Event::Cancel(booking)),
                    3..=4 => return, // never sets out
                    _ => (until_then + self.rng.between(0, 120), Event::SetOut(booking)),
                };
                self.plan(after * SECOND, then);
            }
            40..=74 if self.store.decline(offer) => {
                self.count("declined");
                self.tell(Input::Declined { booking, offer });
                self.tell(Input::SupplyAppeared);
            }
            _ => {} // lazy
        }
    }

    /// In calm weather those who have a booking get going, and nothing breaks any more.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.outage = false;
        if self.down {
            self.restart();
        }
        self.queue.retain(|_, event| {
            !matches!(event, Event::Crash | Event::Restart | Event::ClockJump | Event::Outage | Event::Book)
        });
        let accepted = |row: &Booking| row.status == Status::Accepted;
        let ids: Vec<_> = self.store.bookings.iter().filter(|(_, row)| accepted(row)).map(|(&id, _)| id).collect();
        for id in ids {
            self.plan(SECOND, Event::SetOut(id));
        }
    }
}
