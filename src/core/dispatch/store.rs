//! A booking at a store: nobody is searched for and there are no offers. Its owner answers, or the deadline does.

use super::log::Decided;
use super::messages::{Effect, EndReason, Input};
use super::search::Next;
use super::state::{Attempt, Stage};
use super::{BookingId, Dispatch, Timestamp};

impl Dispatch {
    /// The store is asked: its booking ends at `deadline` unless something is heard before; `due`: when to see to that.
    pub(super) fn wait_for_store(deadline: Timestamp, due: Timestamp) -> Next {
        Some(Stage::AtStore { deadline, attempt: Attempt { ask: 0, tries: 0, due } })
    }

    /// `AtStore` x input.
    pub(super) fn at_store(
        &mut self,
        booking: BookingId,
        deadline: Timestamp,
        mut attempt: Attempt,
        input: Input,
        now: Timestamp,
    ) -> Next {
        match input {
            Input::Ended { .. } => return self.ended(booking, now),
            Input::EndFailed { .. } => attempt.failed(now),
            Input::StoreAsked { deadline: same, .. } if same == deadline => {}
            Input::Changed { .. }
            | Input::StoreAsked { .. }
            | Input::Wanted { .. }
            | Input::Accepted { .. }
            | Input::SetOut { .. } => return self.check_with(booking, None, now),
            // Of offers, which it does not have.
            _ => {}
        }
        Some(Stage::AtStore { deadline, attempt })
    }

    /// The owner did not answer in time, or the booking's end has not been heard of: it is to end (again).
    pub(super) fn store_due(
        &mut self,
        booking: BookingId,
        deadline: Timestamp,
        attempt: Attempt,
        now: Timestamp,
    ) -> Next {
        let reason = EndReason::ProviderDidNotAnswer;
        if attempt.tries == 0 {
            self.log(booking, now, Decided::GivenUp { reason });
        }
        self.effects.push_back(Effect::EndBooking { booking, reason, answer_by: deadline });
        Some(Stage::AtStore { deadline, attempt: attempt.again(0, now) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dispatch, Standing};
    use super::*;

    const BOOKING: BookingId = BookingId(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + second)
    }

    fn asked() -> Dispatch {
        let mut machine = Dispatch::new();
        machine.handle(Input::StoreAsked { booking: BOOKING, deadline: at(300) }, at(0));
        machine
    }

    /// What is wanted, the log aside.
    fn look(machine: &mut Dispatch) -> Vec<Effect> {
        machine.check().expect("the indexes agree");
        std::iter::from_fn(|| machine.poll_effect()).filter(|effect| !matches!(effect, Effect::Log(_))).collect()
    }

    fn end() -> Effect {
        Effect::EndBooking { booking: BOOKING, reason: EndReason::ProviderDidNotAnswer, answer_by: at(300) }
    }

    #[test]
    fn a_store_that_does_not_answer_has_its_booking_ended_at_the_deadline_and_not_before() {
        let mut machine = asked();
        assert_eq!(machine.next_deadline(), Some(at(300)));
        machine.on_deadline(at(299));
        assert_eq!(look(&mut machine), []);
        machine.on_deadline(at(300));
        assert_eq!(look(&mut machine), [end()]);
        machine.handle(Input::Ended { booking: BOOKING }, at(301));
        assert!(machine.is_empty());
    }

    #[test]
    fn an_end_that_fails_or_is_not_heard_of_is_tried_again() {
        let mut machine = asked();
        machine.on_deadline(at(300));
        look(&mut machine);
        machine.handle(Input::EndFailed { booking: BOOKING }, at(300));
        assert!(machine.next_deadline().is_some_and(|due| due > at(300) && due < at(301)));
        machine.on_deadline(at(301));
        assert_eq!(look(&mut machine), [end()]);
        machine.on_deadline(at(320));
        assert_eq!(look(&mut machine), [end()]);
    }

    #[test]
    fn a_store_that_answered_is_left_alone() {
        let mut machine = asked();
        machine.handle(Input::Changed { booking: BOOKING }, at(5));
        let [Effect::Reload { ask, .. }] = look(&mut machine)[..] else { panic!("it looks") };
        let standing = Box::new(Standing::Settled);
        machine.handle(Input::Loaded { booking: BOOKING, ask, standing }, at(6));
        assert!(machine.is_empty());
        machine.handle(Input::StoreAsked { booking: BOOKING, deadline: at(300) }, at(7));
        assert!(machine.is_empty(), "older than its end");
    }

    #[test]
    fn a_deadline_that_passed_while_nobody_watched_is_seen_to_at_once() {
        let mut machine = Dispatch::new();
        machine.handle(Input::Changed { booking: BOOKING }, at(900));
        let [Effect::Reload { ask, .. }] = look(&mut machine)[..] else { panic!("it looks") };
        let standing = Box::new(Standing::Store { deadline: at(300) });
        machine.handle(Input::Loaded { booking: BOOKING, ask, standing }, at(900));
        machine.on_deadline(at(901));
        assert_eq!(look(&mut machine), [end()]);
        machine.handle(Input::StoreAsked { booking: BOOKING, deadline: at(300) }, at(902));
        assert_eq!(look(&mut machine), [], "told twice, done once");
    }

    #[test]
    fn another_deadline_is_read_from_the_database() {
        let mut machine = asked();
        machine.handle(Input::StoreAsked { booking: BOOKING, deadline: at(400) }, at(5));
        assert!(matches!(look(&mut machine)[..], [Effect::Reload { .. }]));
    }
}
