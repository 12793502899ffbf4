//! A booking for now that names its therapist: what he says, or when he would have been silent.

use super::*;

fn chosen() -> Job {
    Job { chosen: Some(B), created_at: at(0.0), ..job(1) }
}

/// The end of an offer that is written now, at the latest.
fn until(desk: &mut Desk, second: f64, who: &[ProviderId]) -> Timestamp {
    let list = who.iter().map(|&provider| found(provider, 1)).collect();
    desk.machine.handle(Input::Candidates { booking: BookingId(1), ask: desk.ask, list }, at(second));
    let mut until = None;
    while let Some(effect) = desk.machine.poll_effect() {
        if let Effect::PersistOffer { ask, until: end, .. } = effect {
            desk.ask = ask;
            until = Some(end);
        }
    }
    until.expect("an offer")
}

fn asked(second: f64, until: f64) -> Desk {
    let mut desk = Desk::default();
    desk.wanted(second, chosen());
    desk.found(second, 1, &[B]);
    desk.persisted(second, 1, B, 9, until);
    desk
}

fn expired() -> Input {
    Input::Expired { booking: BookingId(1), offer: OfferId(9) }
}

#[test]
fn nothing_tells_who_could_not_be_asked_from_who_was_silent() {
    let silent = asked(0.02, 65.0);
    let mut received = asked(0.02, 65.0);
    let receipt = Input::Received { booking: BookingId(1), offer: OfferId(9), expires_at: at(60.1) };
    assert_eq!(received.tell(0.1, receipt), [""; 0]);
    assert_eq!(received.wake(60.1), ["expire 9"]);
    assert_eq!(received.tell(60.11, expired()), [""; 0], "nor does his receipt");

    let mut away = Desk::default();
    away.wanted(0.02, chosen());
    away.found(0.02, 1, &[]);

    let mut dear = Desk::default();
    dear.wanted(0.02, chosen());
    dear.found(0.02, 1, &[B]);
    let (booking, ask, why) = (BookingId(1), dear.ask, NotPersisted::ProviderUnfit);
    dear.tell(0.03, Input::OfferNotPersisted { booking, ask, provider: B, why });
    dear.found(0.03, 1, &[]);

    for (name, mut desk) in [("silent", silent), ("received", received), ("away", away), ("dear", dear)] {
        while let Some(due) = desk.machine.next_deadline().filter(|&due| due < at(65.0)) {
            desk.machine.on_deadline(due);
            if desk.look().iter().any(|effect| effect.starts_with("find")) {
                let list = Vec::new();
                desk.machine.handle(Input::Candidates { booking: BookingId(1), ask: desk.ask, list }, due);
                assert_eq!(desk.look(), [""; 0], "{name}");
            }
        }
        assert_eq!(desk.machine.next_deadline(), Some(at(65.0)), "{name}");
        desk.machine.on_deadline(at(65.0));
        let effects: Vec<_> = std::iter::from_fn(|| desk.machine.poll_effect()).collect();
        let effects: Vec<_> = effects.into_iter().filter(|effect| !matches!(effect, Effect::Log(_))).collect();
        let (booking, reason) = (BookingId(1), EndReason::ProviderDidNotAnswer);
        assert_eq!(effects, [Effect::EndBooking { booking, reason, answer_by: at(65.0) }], "{name}");
    }
}

#[test]
fn who_is_asked_at_once_has_until_the_end_and_who_is_asked_late_has_his_whole_time() {
    let mut desk = Desk::default();
    desk.wanted(0.02, chosen());
    assert_eq!(until(&mut desk, 0.02, &[B]), at(65.0));

    let mut late = Desk::default();
    late.wanted(0.02, chosen());
    late.found(0.02, 1, &[]);
    assert_eq!(late.tell(40.0, Input::SupplyAppeared), ["find 8000"]);
    assert_eq!(until(&mut late, 40.0, &[B]), at(300.0));
    late.persisted(40.0, 1, B, 9, 105.0);
    assert_eq!(late.wake(65.0), [""; 0], "he has his time");
    assert_eq!(late.wake(105.0), ["end provider_did_not_answer"]);
    let silent = |decision: &Decision| matches!(decision.what, Decided::Expired { provider: B, .. });
    assert!(late.decisions.iter().any(silent), "the log says that he was asked");
}

#[test]
fn a_no_ends_it_at_once_and_is_not_asked_for_twice() {
    let mut desk = asked(0.0, 65.0);
    assert_eq!(desk.declined(5.0, 9), ["end provider_declined"]);
    let mut gave_back = Desk::default();
    assert_eq!(gave_back.wanted(0.0, Job { excluded: BTreeSet::from([B]), ..chosen() }), ["end provider_declined"]);
}

#[test]
fn who_was_silent_is_not_asked_again_and_a_restart_changes_nothing() {
    let mut desk = Desk::default();
    let job = Job { excluded: BTreeSet::from([B]), silent: true, round: 2, ..chosen() };
    assert_eq!(desk.wanted(62.0, job), [""; 0]);
    assert_eq!(desk.tell(63.0, Input::SupplyAppeared), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(at(65.0)));
    assert_eq!(desk.wake(65.0), ["end provider_did_not_answer"]);

    let mut unasked = Desk::default();
    assert_eq!(unasked.wanted(62.0, chosen()), ["find 8000"]);
    unasked.found(62.0, 1, &[]);
    unasked.wake(64.0);
    assert_eq!(unasked.wake(65.0), ["end provider_did_not_answer"]);
}

#[test]
fn a_booking_that_nobody_drove_in_his_time_is_still_his_to_take() {
    let mut desk = Desk::default();
    assert_eq!(desk.wanted(100.0, chosen()), ["find 8000"]);
    desk.found(100.0, 1, &[]);
    desk.wake(164.9);
    assert_eq!(desk.wake(165.0), ["end provider_did_not_answer"]);
    let mut short = Desk::default();
    assert_eq!(short.wanted(290.0, chosen()), ["find 8000"]);
    short.found(290.0, 1, &[]);
    short.wake(299.9);
    assert_eq!(short.wake(300.0), ["end provider_did_not_answer"], "within the deadline");
}
