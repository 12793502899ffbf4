//! Reminders: to both parties, each once, whatever is started anew.

use std::time::Duration;

use spacall::clock;
use spacall::cluster::Connection;
use spacall::core::booking::Status;
use spacall::core::ids::{BookingId, UserId};
use spacall::store::bookings::{self, DueReminder};
use spacall::store::timeline;
use spacall::wire::stream::ServerMessage;

use super::dispatcher::{Node, hear};
use super::scheduled::{taken, time_passes};
use super::world::World;

const HOUR: Duration = Duration::from_secs(3_600);

async fn hear_reminder(app: &mut Connection) -> (u32, bool) {
    match &*hear(app).await {
        ServerMessage::Reminder(reminder) => (reminder.before_s, reminder.set_out_at.is_some()),
        other => panic!("a reminder was expected: {other:?}"),
    }
}

async fn customer(w: &World, booking: BookingId) -> UserId {
    UserId(w.one("SELECT customer_id FROM bookings WHERE id = $1", booking.0).await)
}

/// Reminders in the booking's timeline.
async fn entries(w: &World, booking: BookingId) -> Vec<u64> {
    let feed = timeline::after(w.pool(), booking, 0, 100).await.expect("a statement");
    let before = |entry: &timeline::Entry| entry.metadata.as_ref().and_then(|m| m["before_s"].as_u64());
    feed.iter().filter(|entry| entry.status == "reminder").filter_map(before).collect()
}

#[tokio::test]
async fn both_are_reminded_a_day_and_an_hour_before_once_each_over_restarts() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = taken(&w, therapist, clock::now().plus(HOUR * 30)).await;
    let mut node = Node::start(&w, |_| {});
    assert_eq!(node.dispatcher.remind().await.expect("a statement"), 0, "too early");
    for (passed, before_s, so_far) in [(7, 86_400, vec![86_400]), (22, 3_600, vec![86_400, 3_600])] {
        time_passes(&w, booking, HOUR * passed + Duration::from_secs(60)).await;
        let mut apps = [customer(&w, booking).await, therapist.user].map(|user| node.bus.connect(user, false));
        assert_eq!(node.dispatcher.remind().await.expect("a statement"), 1);
        assert_eq!(hear_reminder(&mut apps[0]).await, (before_s, false));
        assert_eq!(hear_reminder(&mut apps[1]).await, (before_s, true), "the therapist is told when to set out");
        node.stop().await;
        node = Node::start(&w, |_| {});
        assert_eq!(node.dispatcher.remind().await.expect("a statement"), 0, "not after a restart either");
        assert_eq!(entries(&w, booking).await, so_far);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_remind_at_once_one_does() {
    let w = World::new().await;
    let booking = taken(&w, w.therapist().await, clock::now().plus(HOUR * 30)).await;
    time_passes(&w, booking, HOUR * 7).await;
    let due = DueReminder { booking, before_s: 86_400 };
    assert_eq!(bookings::due_reminders(w.pool(), &[86_400, 3_600]).await.expect("a statement"), [due]);
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let pool = w.pool().clone();
            tokio::spawn(async move { bookings::remind(&pool, due).await.expect("a statement").is_some() })
        })
        .collect();
    let mut given = 0;
    for task in tries {
        given += usize::from(task.await.expect("no panic"));
    }
    assert_eq!((given, entries(&w, booking).await), (1, vec![86_400]));
}

#[tokio::test]
async fn nobody_is_reminded_of_what_is_over_begun_late_or_not_his() {
    let w = World::new().await;
    let due = async || bookings::due_reminders(w.pool(), &[86_400, 3_600]).await.expect("a statement");
    // Made when the first reminder's time was past.
    let late = taken(&w, w.therapist().await, clock::now().plus(HOUR * 20)).await;
    assert_eq!(due().await, []);
    time_passes(&w, late, HOUR * 19 + HOUR / 2).await;
    assert_eq!(due().await, [DueReminder { booking: late, before_s: 3_600 }]);
    // Cancelled, or on the way, or its time is past.
    for (sql, undone) in [
        ("UPDATE bookings SET status = 'en_route' WHERE id = $1", false),
        ("UPDATE bookings SET status = 'cancelled' WHERE id = $1", true),
    ] {
        w.run(sql, late.0).await;
        assert_eq!(due().await, [], "{undone}");
        let given = bookings::remind(w.pool(), DueReminder { booking: late, before_s: 3_600 }).await;
        assert!(given.expect("a statement").is_none());
    }
    let past = taken(&w, w.therapist().await, clock::now().plus(HOUR * 30)).await;
    time_passes(&w, past, HOUR * 31).await;
    assert_eq!(due().await, []);
    // Of two that nobody was there to give, the later one alone.
    let missed = taken(&w, w.therapist().await, clock::now().plus(HOUR * 30)).await;
    time_passes(&w, missed, HOUR * 29 + HOUR / 2).await;
    assert_eq!(due().await, [DueReminder { booking: missed, before_s: 3_600 }]);
    assert_eq!(Status::parse("reminder"), None, "a reminder is no status");
}
