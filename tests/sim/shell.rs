//! The service around the machine: performs its effects on a slow, failing store; crashes, restarts, reconciles.

use std::collections::BTreeSet;

use spacall::core::dispatch::{Dispatch, Effect, Found, Input, Merit, NotPersisted, Standing};
use spacall::core::geo::Meters;

use super::store::{Booking, Status, Wish};
use super::world::{Event, SECOND, World};

impl World {
    pub(crate) fn reconcile(&mut self) {
        let open = |row: &Booking| matches!(row.status, Status::Pending | Status::Accepted);
        let open = self.store.bookings.iter().filter(|(_, row)| open(row)).map(|(&id, _)| id);
        let known = self.machine.bookings();
        for booking in open.chain(known).collect::<BTreeSet<_>>() {
            self.tell(Input::Changed { booking });
        }
        self.plan(30 * SECOND, Event::Reconcile);
    }

    pub(crate) fn crash(&mut self) {
        self.count("crash");
        self.life += 1;
        self.machine = self.new_machine();
        self.down = true;
        let after = self.rng.between(1, 10) * SECOND;
        self.plan(after, Event::Restart);
        let after = self.rng.between(20, 300) * SECOND;
        self.plan(after, Event::Crash);
    }

    pub(crate) fn new_machine(&self) -> Dispatch {
        self.defect.map_or_else(Dispatch::new, Dispatch::with_defect)
    }

    pub(crate) fn restart(&mut self) {
        self.down = false;
        let ids: Vec<_> = self.store.bookings.keys().copied().collect();
        for booking in ids {
            let input = match self.store.load(booking) {
                Standing::Pending { job, live } => Input::Wanted { job, live },
                Standing::Accepted { provider, set_out_by } => Input::Accepted { booking, provider, set_out_by },
                Standing::Store { deadline } => Input::StoreAsked { booking, deadline },
                Standing::Settled | Standing::Elsewhere => continue,
            };
            self.machine.handle(input, self.now());
        }
    }

    pub(crate) fn perform(&mut self, effect: Effect) {
        let now = self.database_now();
        let fails = self.outage || (!self.calm && self.rng.chance(4));
        // The write happens, its answer is an error: the connection went away in between.
        let lost_answer = !fails && !self.calm && self.rng.chance(3);
        if fails || lost_answer {
            self.count(if fails { "store failed" } else { "connection lost" });
        }
        match effect {
            Effect::FindCandidates { booking, ask, radius, exclude, only } => {
                let stale = !self.calm && self.rng.chance(15);
                let found = |(provider, metres): (_, f64)| {
                    let merit = Merit { travel_ms: (metres * 100.0) as u32, ..Merit::default() };
                    Found { provider, distance: Meters::new(metres), merit, connected: true }
                };
                let list = self.store.nearest(booking, radius, &exclude, only, stale, now).into_iter().map(found);
                let list = list.collect();
                self.answer(Input::Candidates { booking, ask, list });
            }
            Effect::PersistOffer {
                booking, ask, provider, round, rank, ttl, grace, deadline, until, width, ..
            } => {
                let wish = Wish { booking, provider, round, rank, life: ttl + grace, deadline, until, width };
                let written = if fails { Err(NotPersisted::StoreFailed) } else { self.store.persist_offer(&wish, now) };
                if let Ok((offer, _)) = written {
                    self.count("offered");
                    if self.rng.chance(90) {
                        let after = self.delay();
                        self.plan(after, Event::Shown(offer));
                    }
                }
                let written = if lost_answer { Err(NotPersisted::StoreFailed) } else { written };
                let input = match written {
                    Ok((offer, expires_at)) => Input::OfferPersisted { booking, ask, provider, offer, expires_at },
                    Err(why) => {
                        self.count(match why {
                            NotPersisted::ProviderTaken => "taken",
                            NotPersisted::ProviderUnfit => "unfit",
                            NotPersisted::BookingGone => "booking gone",
                            NotPersisted::StoreFailed => "offer not stored",
                        });
                        Input::OfferNotPersisted { booking, ask, provider, why }
                    }
                };
                self.answer(input);
            }
            Effect::ExpireOffer { booking, offer } => {
                let expired = !fails && self.store.expire_offer(offer);
                self.answer(match () {
                    () if fails || lost_answer => Input::ExpireFailed { booking, offer },
                    () if expired => Input::Expired { booking, offer },
                    () => Input::ExpireRefused { booking, offer },
                });
                if expired {
                    self.count("expired");
                    self.tell(Input::SupplyAppeared);
                }
            }
            Effect::EndBooking { booking, reason, answer_by } => {
                let not_due = self.store.ends_too_early(booking, reason, answer_by, now);
                let fails = fails || not_due;
                let ended = !fails && self.store.end(booking, Some(reason));
                if ended {
                    self.count(reason.as_str());
                    self.tell(Input::SupplyAppeared);
                }
                self.answer(match () {
                    () if fails || lost_answer => Input::EndFailed { booking },
                    () if ended => Input::Ended { booking },
                    () => Input::Changed { booking },
                });
            }
            Effect::Release { booking } => {
                let released = !fails && self.store.give_back(booking, now);
                if released {
                    self.count("released");
                    self.tell(Input::SupplyAppeared);
                }
                match () {
                    () if fails || lost_answer => self.answer(Input::ReleaseFailed { booking }),
                    () if released => self.tell_wanted(booking),
                    () => self.answer(Input::Changed { booking }),
                }
            }
            Effect::Reload { booking, ask } => {
                let standing = Box::new(self.store.load(booking));
                self.answer(if fails || lost_answer {
                    Input::LoadFailed { booking, ask }
                } else {
                    Input::Loaded { booking, ask, standing }
                });
            }
            Effect::Log(_) => {}
        }
    }
}
