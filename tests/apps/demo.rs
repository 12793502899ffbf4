use std::sync::{Arc, Mutex};
use std::time::Duration;

use spacall::cities::City;
use spacall::client::CancellationToken;
use spacall::core::geo::LatLng;
use spacall::demo::{self, Demo};
use spacall::store::seed::{FleetPlan, fleet, send_home};
use spacall::wire::roster::Roster;

use crate::support::people;
use crate::support::server::Server;
use crate::support::until;

/// A village, so that ways are short.
fn village() -> City {
    let centre = LatLng::new(13.1391, 123.7438).expect("a place");
    City { name: "Legazpi".to_owned(), centre, population: 210_616, spread_km: 0.3 }
}

#[tokio::test]
async fn a_demo_shows_whole_bookings_and_ends_when_told() {
    let server = Server::start().await;
    let plan = FleetPlan { therapists: 8, customers: 4, cities: vec![village()], seed: 1 };
    let mut roster = Roster::default();
    fleet(server.pool(), &plan).await.expect("a fleet").into_iter().for_each(|entry| roster.add(entry));
    let demo = Demo {
        url: server.base.clone(),
        roster,
        seed: 1,
        book_every: Duration::from_millis(500),
        service: Duration::from_millis(300),
    };
    let (stop, lines) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::<String>::new())));
    let story = Arc::clone(&lines);
    let told: demo::Told = Arc::new(move |line: &str| story.lock().expect("no panic").push(line.to_owned()));
    let town = tokio::spawn({
        let stop = stop.clone();
        async move { demo::play(&demo, told, stop).await }
    });
    for part in
        ["asks for", "offered to", "accepts, PHP", "is on the way", "km to go", "at the door", "begins", "done; PHP"]
    {
        until(part, || lines.lock().expect("no panic").iter().any(|line| line.contains(part))).await;
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), town).await.expect("it ends").expect("no panic").expect("a good end");
    let lines = lines.lock().expect("no panic");
    assert!(lines.last().is_some_and(|line| line.contains("bookings asked")), "{lines:?}");
}

#[tokio::test]
async fn the_fleet_of_a_demo_that_was_killed_is_not_asked_any_more_and_real_people_are() {
    let server = Server::start().await;
    let plan = FleetPlan { therapists: 3, customers: 1, cities: vec![village()], seed: 1 };
    fleet(server.pool(), &plan).await.expect("a fleet");
    let real = people::therapist(server.pool(), "Luz", 13.1391, 123.7438).await;
    // What the killed one's apps had said.
    sqlx::query("UPDATE providers SET is_available = TRUE").execute(server.pool()).await.expect("on duty");
    send_home(server.pool()).await.expect("a statement");
    let on_duty: Vec<i64> = sqlx::query_scalar("SELECT id FROM providers WHERE is_available AND type = 'therapist'")
        .fetch_all(server.pool())
        .await
        .expect("a statement");
    assert_eq!(on_duty, [real.provider_id]);
}
