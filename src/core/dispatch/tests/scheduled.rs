//! Scheduled bookings: not about who is free now.

use super::*;

fn scheduled(booking: i64) -> Job {
    Job { scheduled: true, ..job(booking) }
}

#[test]
fn one_therapist_is_asked_for_several_at_once_and_for_one_now() {
    let mut desk = Desk::default();
    for booking in [1, 2] {
        desk.wanted(0.0, scheduled(booking));
        assert!(desk.found(0.0, booking, &[A])[0].ends_with("offer 1.1 to 1"));
        desk.persisted(0.0, booking, A, 10 + booking, 25.0);
    }
    desk.wanted(1.0, job(3));
    assert_eq!(desk.found(1.0, 3, &[A]), ["#3 offer 1.1 to 1"], "nor do they keep him from one for now");
    assert_eq!(desk.persisted(1.0, 3, A, 13, 26.0), [""; 0], "no rival is thought to be over");
    desk.wanted(2.0, job(4));
    assert_eq!(desk.found(2.0, 4, &[A]), ["#4 find 6000"], "of those for now, one");
    desk.wanted(3.0, scheduled(5));
    assert_eq!(desk.found(3.0, 5, &[A]), ["#5 offer 1.1 to 1"]);
    assert_eq!(desk.declined(4.0, 11), ["find 6000"], "and the others' offers stay");
}

#[test]
fn one_that_found_nobody_asks_again_after_ten_seconds_and_hears_of_no_supply() {
    let mut desk = Desk::default();
    desk.wanted(0.0, scheduled(1));
    while desk.found(0.0, 1, &[]) != [""; 0] {}
    assert_eq!(desk.tell(1.0, Input::SupplyAppeared), [""; 0]);
    assert_eq!(desk.wake(9.9), [""; 0]);
    assert_eq!(desk.wake(10.0), ["find 8000"]);
    assert_eq!(desk.found(10.0, 1, &[B]), ["offer 1.1 to 2"]);
}

#[test]
fn its_therapist_is_watched_from_the_time_that_he_is_given() {
    let mut desk = Desk::default();
    desk.wanted(0.0, scheduled(1));
    desk.found(0.0, 1, &[A]);
    desk.persisted(0.0, 1, A, 9, 25.0);
    let far = at(90.0 * 86_400.0);
    let accepted = Input::Accepted { booking: BookingId(1), provider: A, set_out_by: Some(far) };
    assert_eq!(desk.tell(5.0, accepted), [""; 0]);
    assert_eq!(desk.machine.next_deadline(), Some(far));
    assert_eq!(desk.wake(90.0 * 86_400.0), ["release"]);
}
