//! Act, advance, look. (What goes wrong in all orders is for `tests/sim`.)

mod chosen;
mod scheduled;

use std::collections::BTreeSet;

use super::*;

const START: i64 = 1_000_000;
const A: ProviderId = ProviderId(1);
const B: ProviderId = ProviderId(2);
const C: ProviderId = ProviderId(3);

fn at(second: f64) -> Timestamp {
    Timestamp::from_micros(START + (second * 1e6) as i64)
}

fn job(booking: i64) -> Job {
    let secs = Duration::from_secs;
    Job {
        booking: BookingId(booking),
        created_at: at(booking as f64 / 1e3),
        deadline: at(300.0),
        scheduled: false,
        chosen: None,
        rules: Rules {
            policy: Policy::Sequential,
            weights: Weights::TRAVEL_ONLY,
            skip_disconnected: false,
            offer_ttl: secs(20),
            chosen_ttl: secs(60),
            receipt_grace: secs(5),
            radius_start: Meters::from_km(3.0),
            radius_step: Meters::from_km(3.0),
            radius_max: Meters::from_km(8.0),
        },
        excluded: BTreeSet::new(),
        silent: false,
        round: 1,
    }
}

/// A candidate so many minutes away.
fn found(provider: ProviderId, minutes: u32) -> Found {
    let merit = Merit { travel_ms: minutes * 60_000, ..Merit::default() };
    Found { provider, distance: Meters::from_km(minutes.into()), merit, connected: true }
}

/// The machine, and what it asked for last.
#[derive(Default)]
struct Desk {
    machine: Dispatch,
    decisions: Vec<Decision>,
    ask: u64,
}

impl Desk {
    /// Effects in short: `find 3000`, `offer 1.2 to 7`, `expire 9`, `end …`, `release`, `reload`; booking 1 unless named.
    fn look(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(effect) = self.machine.poll_effect() {
            let (booking, what) = match effect {
                Effect::FindCandidates { booking, ask, radius, .. } => {
                    self.ask = ask;
                    (booking, format!("find {}", radius.get()))
                }
                Effect::PersistOffer { booking, ask, provider, round, rank, .. } => {
                    self.ask = ask;
                    (booking, format!("offer {round}.{rank} to {provider}"))
                }
                Effect::Reload { booking, ask } => {
                    self.ask = ask;
                    (booking, "reload".to_owned())
                }
                Effect::ExpireOffer { booking, offer } => (booking, format!("expire {offer}")),
                Effect::EndBooking { booking, reason, .. } => (booking, format!("end {}", reason.as_str())),
                Effect::Release { booking } => (booking, "release".to_owned()),
                Effect::Log(decision) => {
                    self.decisions.push(decision);
                    continue;
                }
            };
            seen.push(if booking == BookingId(1) { what } else { format!("#{booking} {what}") });
        }
        assert_eq!(self.machine.check(), Ok(()));
        seen
    }

    fn tell(&mut self, second: f64, input: Input) -> Vec<String> {
        self.machine.handle(input, at(second));
        self.look()
    }

    fn wake(&mut self, second: f64) -> Vec<String> {
        self.machine.on_deadline(at(second));
        self.look()
    }

    fn wanted(&mut self, second: f64, job: Job) -> Vec<String> {
        self.tell(second, Input::Wanted { job, live: Vec::new() })
    }

    fn found(&mut self, second: f64, booking: i64, who: &[ProviderId]) -> Vec<String> {
        let list = who.iter().map(|&provider| found(provider, provider.0 as u32));
        let input = Input::Candidates { booking: BookingId(booking), ask: self.ask, list: list.collect() };
        self.tell(second, input)
    }

    fn persisted(&mut self, second: f64, booking: i64, provider: ProviderId, offer: i64, until: f64) -> Vec<String> {
        let (booking, offer, ask) = (BookingId(booking), OfferId(offer), self.ask);
        self.tell(second, Input::OfferPersisted { booking, ask, provider, offer, expires_at: at(until) })
    }

    fn refused(&mut self, second: f64, booking: i64, provider: ProviderId, why: NotPersisted) -> Vec<String> {
        let (booking, ask) = (BookingId(booking), self.ask);
        self.tell(second, Input::OfferNotPersisted { booking, ask, provider, why })
    }

    fn declined(&mut self, second: f64, offer: i64) -> Vec<String> {
        self.tell(second, Input::Declined { booking: BookingId(1), offer: OfferId(offer) })
    }

    /// Booking 1 offered to A (offer 9) until second 25, B next.
    fn offered() -> Self {
        let mut desk = Self::default();
        assert_eq!(desk.wanted(0.0, job(1)), ["find 3000"]);
        assert_eq!(desk.found(0.0, 1, &[A, B]), ["offer 1.1 to 1"]);
        assert_eq!(desk.persisted(0.0, 1, A, 9, 25.0), [""; 0]);
        desk
    }
}

#[test]
fn the_best_is_asked_first_and_the_next_on_refusal_or_silence() {
    let mut desk = Desk::offered();
    assert_eq!(desk.declined(3.0, 9), ["offer 1.2 to 2"]);
    desk.persisted(3.0, 1, B, 10, 28.0);
    assert_eq!(desk.wake(27.9), [""; 0]);
    assert_eq!(desk.wake(28.0), ["expire 10"]);
    assert_eq!(desk.tell(28.0, Input::Expired { booking: BookingId(1), offer: OfferId(10) }), ["find 6000"]);
    // Neither is asked again, even if the index still names them.
    assert_eq!(desk.found(28.0, 1, &[A, B, C]), ["offer 2.1 to 3"]);
}

#[test]
fn the_search_widens_at_once_then_asks_every_two_seconds_until_the_deadline() {
    let mut desk = Desk::default();
    desk.wanted(0.0, job(1));
    assert_eq!(desk.found(0.0, 1, &[]), ["find 6000"]);
    assert_eq!(desk.found(0.0, 1, &[]), ["find 8000"]);
    assert_eq!(desk.found(0.0, 1, &[]), [""; 0]);
    assert_eq!(desk.wake(1.9), [""; 0]);
    assert_eq!(desk.wake(2.0), ["find 8000"]);
    assert_eq!(desk.found(2.0, 1, &[]), [""; 0]);
    assert_eq!(desk.tell(2.5, Input::SupplyAppeared), ["find 8000"]);
    // An answer that may predate a second newcomer is not the last word.
    assert_eq!(desk.tell(2.5, Input::SupplyAppeared), [""; 0]);
    assert_eq!(desk.found(2.5, 1, &[]), ["find 8000"]);
    assert_eq!(desk.wake(300.0), ["end no_therapist_available"]);
    assert_eq!(desk.tell(300.0, Input::Ended { booking: BookingId(1) }), [""; 0]);
    assert!(desk.machine.is_empty());
}

/// A name, and how to get there.
type State<'a> = (&'a str, &'a dyn Fn(&mut Desk));

#[test]
fn the_deadline_ends_a_booking_whatever_it_is_doing() {
    let asking = |desk: &mut Desk| drop(desk.wanted(0.0, job(1)));
    let persisting = |desk: &mut Desk| {
        desk.wanted(0.0, job(1));
        desk.found(0.0, 1, &[A]);
    };
    let offered = |desk: &mut Desk| *desk = Desk::offered();
    let expiring = |desk: &mut Desk| {
        *desk = Desk::offered();
        desk.wake(25.0);
    };
    let failing = |desk: &mut Desk| {
        desk.wanted(0.0, job(1));
        desk.found(0.0, 1, &[A]);
        desk.refused(299.9, 1, A, NotPersisted::StoreFailed);
    };
    let states: [State<'_>; 5] = [
        ("asking", &asking),
        ("persisting", &persisting),
        ("offered", &offered),
        ("expiring", &expiring),
        ("failing", &failing),
    ];
    for (name, state) in states {
        let mut desk = Desk::default();
        state(&mut desk);
        assert!(desk.machine.next_deadline() <= Some(at(300.0)), "{name}");
        assert_eq!(desk.wake(300.0), ["end no_therapist_available"], "{name}");
        // What was under way may still be heard of; the ending withdraws it.
        assert_eq!(desk.persisted(300.0, 1, A, 9, 300.0), [""; 0], "{name}");
        assert_eq!(desk.tell(300.1, Input::EndFailed { booking: BookingId(1) }), [""; 0], "{name}");
        assert_eq!(desk.wake(300.2), ["end no_therapist_available"], "{name}");
    }
}

#[test]
fn a_chosen_therapist_is_asked_alone() {
    let chosen = |desk: &mut Desk| {
        assert_eq!(desk.wanted(0.0, Job { chosen: Some(B), ..job(1) }), ["find 8000"]);
    };
    let offered = |desk: &mut Desk| {
        chosen(desk);
        assert_eq!(desk.found(0.0, 1, &[A, B]), ["offer 1.1 to 2"]);
        desk.persisted(0.0, 1, B, 9, 65.0);
    };

    let mut declines = Desk::default();
    offered(&mut declines);
    assert_eq!(declines.declined(5.0, 9), ["end provider_declined"]);

    let mut gave_back = Desk::default();
    let job = Job { chosen: Some(B), excluded: BTreeSet::from([B]), ..job(1) };
    assert_eq!(gave_back.wanted(0.0, job), ["end provider_declined"]);
}

#[test]
fn a_therapist_has_one_offer_and_who_missed_him_is_told_when_he_is_free() {
    let mut desk = Desk::offered();
    assert_eq!(desk.wanted(1.0, job(2)), ["#2 find 3000"]);
    assert_eq!(desk.found(1.0, 2, &[A]), ["#2 find 6000"]);
    assert_eq!(desk.found(1.0, 2, &[A]), ["#2 find 8000"]);
    assert_eq!(desk.found(1.0, 2, &[A]), ["#2 find 8000"]); // anybody but him?
    assert_eq!(desk.found(1.0, 2, &[]), [""; 0]);
    assert_eq!(desk.declined(1.5, 9), ["offer 1.2 to 2", "#2 find 8000"]);
    assert_eq!(desk.found(1.5, 2, &[A]), ["#2 offer 1.1 to 1"]);
}

#[test]
fn who_waits_longest_is_served_first() {
    let mut desk = Desk::default();
    for booking in [3, 1, 2] {
        desk.wanted(0.0, job(booking));
        while desk.found(0.0, booking, &[]) != [""; 0] {}
    }
    assert_eq!(desk.tell(1.0, Input::SupplyAppeared), ["find 8000", "#2 find 8000", "#3 find 8000"]);
}

#[test]
fn who_is_taken_or_unfit_is_passed_over_and_may_come_back_later() {
    let mut desk = Desk::default();
    desk.wanted(0.0, job(1));
    desk.found(0.0, 1, &[A, B]);
    // Ranks count what is written.
    assert_eq!(desk.refused(0.0, 1, A, NotPersisted::ProviderTaken), ["offer 1.1 to 2"]);
    assert_eq!(desk.refused(0.0, 1, B, NotPersisted::ProviderUnfit), ["find 6000"]);
    assert_eq!(desk.found(0.0, 1, &[A]), ["offer 1.1 to 1"]);
}

#[test]
fn a_failed_write_is_tried_again_as_it_was_with_growing_pauses() {
    let mut desk = Desk::default();
    desk.wanted(0.0, job(1));
    desk.found(0.0, 1, &[A]);
    let mut now = 0.0;
    for pause in [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] {
        assert_eq!(desk.refused(now, 1, A, NotPersisted::StoreFailed), [""; 0]);
        assert_eq!(desk.wake(now + pause - 0.01), [""; 0]);
        now += pause + 1e-6;
        assert_eq!(desk.wake(now), ["offer 1.1 to 1"]);
    }
    // No answer at all.
    assert_eq!(desk.wake(now + 10.0), ["offer 1.1 to 1"]);
    // An early try came through after all, and told of twice it is still one offer.
    desk.persisted(now + 10.0, 1, A, 9, 60.0);
    assert_eq!(desk.persisted(now + 10.0, 1, A, 9, 60.0), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(60.0)));
}

#[test]
fn a_receipt_shortens_an_offer_and_never_prolongs_it() {
    let mut desk = Desk::offered();
    let received = |until| Input::Received { booking: BookingId(1), offer: OfferId(9), expires_at: at(until) };
    desk.tell(1.0, received(21.0));
    assert_eq!(desk.machine.next_deadline(), Some(at(21.0)));
    desk.tell(2.0, received(24.0));
    assert_eq!(desk.machine.next_deadline(), Some(at(21.0)));
}

#[test]
fn an_accept_wins_over_an_expiry_under_way() {
    let mut desk = Desk::offered();
    assert_eq!(desk.wake(25.0), ["expire 9"]);
    let accepted = Input::Accepted { booking: BookingId(1), provider: A, set_out_by: Some(at(1_800.0)) };
    assert_eq!(desk.tell(25.0, accepted.clone()), [""; 0]);
    assert_eq!(desk.tell(25.1, Input::ExpireRefused { booking: BookingId(1), offer: OfferId(9) }), [""; 0]);
    assert_eq!(desk.tell(25.2, accepted), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(1_800.0)));
}

#[test]
fn a_refused_expiry_makes_the_machine_read_what_happened() {
    let mut desk = Desk::offered();
    desk.wake(25.0);
    let refused = Input::ExpireRefused { booking: BookingId(1), offer: OfferId(9) };
    assert_eq!(desk.tell(25.0, refused), ["reload"]);
    // The decline was lost on the way.
    let standing =
        Standing::Pending { job: Job { excluded: BTreeSet::from([A]), round: 2, ..job(1) }, live: Vec::new() };
    let loaded = Input::Loaded { booking: BookingId(1), ask: desk.ask, standing: Box::new(standing) };
    assert_eq!(desk.tell(25.1, loaded), ["offer 2.1 to 2"]);
}

#[test]
fn who_does_not_set_out_gives_the_booking_back_and_is_not_asked_again() {
    let mut desk = Desk::offered();
    desk.tell(1.0, Input::Accepted { booking: BookingId(1), provider: A, set_out_by: Some(at(100.0)) });
    assert_eq!(desk.wake(100.0), ["release"]);
    desk.tell(100.0, Input::ReleaseFailed { booking: BookingId(1) });
    assert_eq!(desk.wake(100.1), ["release"]);
    let again = Job { excluded: BTreeSet::from([A]), round: 2, deadline: at(400.0), ..job(1) };
    assert_eq!(desk.wanted(100.2, again), ["find 3000"]);
    assert_eq!(desk.found(100.2, 1, &[A, B]), ["offer 2.1 to 2"]);
    // The old accept, told once more, is not believed.
    desk.persisted(100.3, 1, B, 10, 125.0);
    let old = Input::Accepted { booking: BookingId(1), provider: A, set_out_by: Some(at(100.0)) };
    assert_eq!(desk.tell(100.4, old), ["reload"]);
}

#[test]
fn a_live_offer_survives_a_restart() {
    let live = LiveOffer { provider: A, offer: OfferId(9), expires_at: at(25.0) };
    let restart = |second: f64| {
        let mut desk = Desk::default();
        let effects = desk.tell(second, Input::Wanted { job: Job { round: 2, ..job(1) }, live: vec![live] });
        (desk, effects)
    };
    let (mut desk, effects) = restart(10.0);
    assert_eq!(effects, [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(25.0)));
    assert_eq!(desk.declined(11.0, 9), ["find 6000"]);
    assert_eq!(desk.found(11.0, 1, &[B]), ["offer 2.1 to 2"]);

    let (mut desk, effects) = restart(30.0);
    assert_eq!(effects, [""; 0]);
    assert_eq!(desk.wake(30.0), ["expire 9"]);

    let (_, effects) = restart(301.0);
    assert_eq!(effects, ["end no_therapist_available"]);
}

#[test]
fn an_offer_that_nobody_waits_for_does_not_block_its_therapist() {
    let mut desk = Desk::default();
    desk.wanted(0.0, job(1));
    desk.found(0.0, 1, &[A]);
    desk.tell(0.1, Input::Ended { booking: BookingId(1) });
    assert_eq!(desk.persisted(0.2, 1, A, 9, 25.0), ["expire 9"]);
    // Nor does late news bring the booking back.
    assert_eq!(desk.wanted(0.3, job(1)), [""; 0]);
    assert!(desk.machine.is_empty());
}

#[test]
fn old_news_changes_nothing() {
    let mut desk = Desk::offered();
    let old_ask = desk.ask;
    desk.declined(3.0, 9);
    assert_eq!(desk.declined(3.1, 9), [""; 0]);
    assert_eq!(desk.tell(3.1, Input::Expired { booking: BookingId(1), offer: OfferId(9) }), [""; 0]);
    let list = vec![found(C, 0)];
    assert_eq!(desk.tell(3.1, Input::Candidates { booking: BookingId(1), ask: 1, list }), [""; 0]);
    let (booking, why) = (BookingId(1), NotPersisted::ProviderTaken);
    assert_eq!(desk.tell(3.1, Input::OfferNotPersisted { booking, ask: old_ask, provider: A, why }), [""; 0]);
    assert_eq!(desk.wanted(3.1, job(1)), [""; 0]);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait() {
    let mut desk = Desk::default();
    desk.wanted(100.0, job(1));
    while desk.found(100.0, 1, &[]) != [""; 0] {}
    assert_eq!(desk.wake(10.0), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(12.0)));
}

#[test]
fn the_story_of_a_booking_is_told_in_words_and_reads_back() {
    let mut desk = Desk::offered();
    desk.declined(3.0, 9);
    let told: Vec<_> = desk.decisions.iter().map(|d| serde_json::to_value(d).expect("serializes")).collect();
    let kinds: Vec<_> = told.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["searching", "asked", "offered", "declined"]);
    assert_eq!(told[1]["found"][0]["distance_m"], 1_000.0);
    for (line, decision) in told.into_iter().zip(desk.decisions) {
        assert_eq!(serde_json::from_value::<Decision>(line).expect("reads back"), decision);
    }
}

#[test]
fn a_rank_that_is_anothers_makes_the_machine_read_the_rows() {
    let mut desk = Desk::default();
    desk.wanted(0.0, job(1));
    desk.found(0.0, 1, &[A]);
    assert_eq!(desk.persisted(0.1, 1, B, 9, 25.0), ["reload"]);
    let live = LiveOffer { provider: B, offer: OfferId(9), expires_at: at(25.0) };
    let standing = Standing::Pending { job: Job { round: 2, ..job(1) }, live: vec![live] };
    let loaded = Input::Loaded { booking: BookingId(1), ask: desk.ask, standing: Box::new(standing) };
    assert_eq!(desk.tell(0.2, loaded), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(25.0)));
    assert_eq!(desk.declined(1.0, 9), ["find 6000"]);
    assert_eq!(desk.found(1.0, 1, &[A]), ["offer 2.1 to 1"]);
}

fn broadcast(width: u16, stagger_s: u64) -> Job {
    let policy = Policy::Broadcast { width, stagger: Duration::from_secs(stagger_s) };
    Job { rules: Rules { policy, ..job(1).rules }, ..job(1) }
}

fn ask_of(effects: &[Effect], of: ProviderId) -> u64 {
    let ask = |effect: &Effect| match *effect {
        Effect::PersistOffer { ask, provider, .. } if provider == of => Some(ask),
        _ => None,
    };
    effects.iter().find_map(ask).expect("he is asked")
}

/// Broadcast to A (offer 9) and B (offer 10) at once, C next.
fn two_asked() -> Desk {
    let mut desk = Desk::default();
    desk.wanted(0.0, broadcast(2, 0));
    let list = [A, B, C].map(|who| found(who, who.0 as u32)).to_vec();
    desk.machine.handle(Input::Candidates { booking: BookingId(1), ask: desk.ask, list }, at(0.0));
    let effects: Vec<_> = std::iter::from_fn(|| desk.machine.poll_effect()).collect();
    for (provider, offer) in [(A, 9), (B, 10)] {
        let (ask, offer) = (ask_of(&effects, provider), OfferId(offer));
        let input = Input::OfferPersisted { booking: BookingId(1), ask, provider, offer, expires_at: at(25.0) };
        assert_eq!(desk.tell(0.1, input), [""; 0]);
    }
    desk
}

#[test]
fn a_broadcast_asks_several_and_fills_up_after_a_no() {
    let mut desk = two_asked();
    assert_eq!(desk.declined(3.0, 9), ["offer 1.3 to 3"]);
    desk.persisted(3.0, 1, C, 11, 28.0);
    // Nobody is left to fill up with, but the others still think: no farther round yet.
    assert_eq!(desk.declined(4.0, 10), [""; 0]);
    assert_eq!(desk.declined(5.0, 11), ["find 6000"]);
}

#[test]
fn the_first_accept_of_a_broadcast_ends_the_search() {
    let mut desk = two_asked();
    let accepted = Input::Accepted { booking: BookingId(1), provider: B, set_out_by: Some(at(1_800.0)) };
    assert_eq!(desk.tell(2.0, accepted), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(1_800.0)));
    // A is free for others: his offer was withdrawn in B's transaction.
    desk.wanted(3.0, job(2));
    assert_eq!(desk.found(3.0, 2, &[A]), ["#2 offer 1.1 to 1"]);
}

#[test]
fn each_offer_of_a_broadcast_runs_out_by_itself() {
    let mut desk = two_asked();
    let received = Input::Received { booking: BookingId(1), offer: OfferId(10), expires_at: at(21.0) };
    desk.tell(1.0, received);
    assert_eq!(desk.wake(21.0), ["expire 10"]);
    assert_eq!(desk.tell(21.0, Input::Expired { booking: BookingId(1), offer: OfferId(10) }), ["offer 1.3 to 3"]);
    assert_eq!(desk.wake(25.0), ["expire 9"]);
}

#[test]
fn a_staggered_broadcast_gives_each_a_head_start() {
    let mut desk = Desk::default();
    desk.wanted(0.0, broadcast(2, 4));
    assert_eq!(desk.found(0.0, 1, &[A, B, C]), ["offer 1.1 to 1"]);
    desk.persisted(0.1, 1, A, 9, 25.0);
    assert_eq!(desk.wake(3.9), [""; 0]);
    assert_eq!(desk.wake(4.0), ["offer 1.2 to 2"]);
    desk.persisted(4.1, 1, B, 10, 29.0);
    assert_eq!(desk.wake(12.0), [""; 0]);
    assert_eq!(desk.declined(13.0, 9), ["offer 1.3 to 3"], "a free place is filled at once");
}

#[test]
fn a_broadcast_that_nobody_can_be_written_for_comes_to_rest() {
    let mut desk = Desk::default();
    let mut wide = broadcast(2, 0);
    wide.rules.radius_start = wide.rules.radius_max;
    desk.wanted(0.0, wide);
    let list = [A, B].map(|who| found(who, 1)).to_vec();
    desk.machine.handle(Input::Candidates { booking: BookingId(1), ask: desk.ask, list }, at(0.0));
    let effects: Vec<_> = std::iter::from_fn(|| desk.machine.poll_effect()).collect();
    let refused = |who| Input::OfferNotPersisted {
        booking: BookingId(1),
        ask: ask_of(&effects, who),
        provider: who,
        why: NotPersisted::ProviderUnfit,
    };
    assert_eq!(desk.tell(0.1, refused(A)), [""; 0]);
    assert_eq!(desk.tell(0.1, refused(B)), ["find 8000"]);
    assert_eq!(desk.found(0.1, 1, &[]), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(2.1)));
}

fn batched(booking: i64) -> Job {
    let policy = Policy::Batched { window: Duration::from_secs(2) };
    let rules = Rules { policy, radius_start: Meters::from_km(8.0), ..job(booking).rules };
    Job { rules, ..job(booking) }
}

/// Answers every question of the window's end at once.
fn answer_all(desk: &mut Desk, second: f64, lists: &[(i64, &[(ProviderId, u32)])]) -> Vec<String> {
    desk.machine.on_deadline(at(second));
    let asks: Vec<_> = std::iter::from_fn(|| desk.machine.poll_effect())
        .filter_map(|effect| match effect {
            Effect::FindCandidates { booking, ask, .. } => Some((booking, ask)),
            _ => None,
        })
        .collect();
    let mut seen = Vec::new();
    for (booking, ask) in asks {
        let list = lists.iter().find(|(id, _)| BookingId(*id) == booking).map_or(&[][..], |(_, list)| list);
        let list = list.iter().map(|&(who, minutes)| found(who, minutes)).collect();
        seen.extend(desk.tell(second, Input::Candidates { booking, ask, list }));
    }
    seen
}

#[test]
fn a_window_matches_all_who_wait_at_least_total_cost() {
    let mut desk = Desk::default();
    assert_eq!(desk.wanted(0.2, batched(1)), [""; 0], "the window's end is awaited");
    desk.wanted(0.9, batched(2));
    assert_eq!(desk.machine.next_deadline(), Some(at(1.0)), "START is a second into its window");
    // Best first would give A to booking 1 (1 minute) and B to booking 2 (9 minutes).
    let seen = answer_all(&mut desk, 1.0, &[(1, &[(A, 1), (B, 2)]), (2, &[(A, 2), (B, 9)])]);
    assert_eq!(seen, ["offer 1.1 to 2", "#2 offer 1.1 to 1"]);
}

#[test]
fn who_goes_without_looks_on_and_who_waits_longest_has_credit() {
    let mut desk = Desk::default();
    let mut early = batched(1);
    early.rules.weights.waiting = 1_000;
    let mut late = batched(2);
    late.rules.weights.waiting = 1_000;
    late.created_at = at(120.0);
    desk.wanted(120.5, early);
    desk.wanted(120.5, late);
    // A minute nearer to the later one; but the earlier one has waited two.
    let seen = answer_all(&mut desk, 121.0, &[(1, &[(A, 3)]), (2, &[(A, 2)])]);
    assert_eq!(seen, ["offer 1.1 to 1", "#2 find 8000"], "is there anybody else for booking 2?");
}

#[test]
fn one_lost_answer_does_not_keep_a_window_waiting() {
    let mut desk = Desk::default();
    desk.wanted(0.2, batched(1));
    desk.wanted(0.2, batched(2));
    desk.machine.on_deadline(at(1.0));
    let Some(Effect::FindCandidates { booking, ask, .. }) = desk.machine.poll_effect() else { panic!("asks") };
    desk.look();
    assert_eq!(desk.tell(1.0, Input::Candidates { booking, ask, list: vec![found(A, 1)] }), [""; 0]);
    assert_eq!(desk.wake(1.5), ["offer 1.1 to 1"]);
}

#[test]
fn a_no_under_batched_waits_for_the_next_window() {
    let mut desk = Desk::default();
    desk.wanted(0.2, batched(1));
    assert_eq!(answer_all(&mut desk, 1.0, &[(1, &[(A, 1)])]), ["offer 1.1 to 1"]);
    desk.persisted(1.0, 1, A, 9, 26.0);
    assert_eq!(desk.declined(2.5, 9), [""; 0]);
    assert_eq!(answer_all(&mut desk, 3.0, &[(1, &[(B, 1)])]), ["offer 2.1 to 2"]);
}

#[test]
fn a_chosen_therapist_is_not_made_to_wait_for_a_window() {
    let mut desk = Desk::default();
    assert_eq!(desk.wanted(0.2, Job { chosen: Some(B), ..batched(1) }), ["find 8000"]);
    assert_eq!(desk.found(0.2, 1, &[B]), ["offer 1.1 to 2"]);
}
