//! What happens in `spacall demo`: a simulated fleet and customers, through the doors that real apps use.
//!
//! [`play`] gets a running server's URL and the people of a seeded city; it knows nothing of the server's inside.

mod board;
mod customers;
mod therapists;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::board::{Board, Told};
use self::customers::Household;
use self::therapists::Simulated;
use crate::client::therapist::TherapistApp;
use crate::client::{Api, Endpoint, Wire};
use crate::wire::roster::{Roster, RosterEntry};

/// Everything a demo needs.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Of the server, `http://127.0.0.1:8080`.
    pub url: String,
    /// Everyone; the last therapist and the last customer are left to whoever watches.
    pub roster: Roster,
    /// Of the therapists' ways and answers.
    pub seed: u64,
    /// From one request to the next, on average.
    pub book_every: Duration,
    /// How long a service takes.
    pub service: Duration,
}

/// On the way to a customer, so that a booking is seen whole within a minute: ten times a city's speed, and still
/// below the 300 km/h from which the service takes a fix for an error.
const HURRY_KMH: f64 = 240.0;
/// Between bookings.
const STROLL_KMH: f64 = 24.0;
/// A service that can be watched to its end.
pub const SERVICE: Duration = Duration::from_secs(12);
/// From the door to the begin, of the service's length.
const AT_DOOR: f64 = 0.25;

impl Demo {
    fn split(&self) -> anyhow::Result<(&[RosterEntry], &[RosterEntry])> {
        match (&self.roster.therapists[..], &self.roster.customers[..]) {
            ([therapists @ .., _], [customers @ .., _]) if !therapists.is_empty() && !customers.is_empty() => {
                Ok((therapists, customers))
            }
            (t, c) => bail!("a demo needs two therapists and two customers, there are {} and {}", t.len(), c.len()),
        }
    }

    /// What to paste: the URL, tokens, and commands that work while the demo runs.
    pub fn banner(&self) -> String {
        let url = &self.url;
        let mut out = format!(
            "\nSpacall runs at {url} with {} therapists and {} customers in Metro Manila.\n\
             Live map: {url}/ops (open it in a browser and paste the token of ADMIN below, once). API: {url}/docs\n\
             Time is shortened: ways are travelled at {HURRY_KMH:.0} km/h and a service takes {} s.\n\n",
            self.roster.therapists.len(),
            self.roster.customers.len(),
            self.service.as_secs()
        );
        let mut export = |name: &str, who: &str, entry: Option<&RosterEntry>| {
            if let Some(entry) = entry {
                out.push_str(&format!("export {name}='{}'   # {who}\n", entry.token));
            }
        };
        export("CUSTOMER", "a customer whom the demo leaves to you", self.roster.customers.last());
        export("THERAPIST", "a therapist whom the demo leaves to you", self.roster.therapists.last());
        export("ADMIN", "an admin", self.roster.admins.first());
        if let Some(home) = self.roster.customers.last() {
            out.push_str(&examples(url, home.latitude, home.longitude));
        }
        out
    }
}

fn examples(url: &str, latitude: f64, longitude: f64) -> String {
    format!(
        r#"
Who is near:   curl -s -H "Authorization: Bearer $CUSTOMER" '{url}/v1/therapists/nearby?latitude={latitude:.5}&longitude={longitude:.5}&service=swedish-massage'
Book:          curl -s -H "Authorization: Bearer $CUSTOMER" -H 'Content-Type: application/json' {url}/v1/bookings -d '{{"service":"swedish-massage","type":"home_service","booking_type":"now","payment_method":"cash","location":{{"address":"My place","latitude":{latitude:.5},"longitude":{longitude:.5}}}}}'
Follow:        curl -sN -H "Authorization: Bearer $CUSTOMER" {url}/v1/bookings/UUID/events
Your bookings: curl -s -H "Authorization: Bearer $CUSTOMER" {url}/v1/bookings
The fleet:     curl -s -H "Authorization: Bearer $ADMIN" {url}/v1/ops/fleet

"#
    )
}

/// Plays until `stop`, telling `told` what happens, line by line. Ends by itself only when the server will have nobody.
///
/// # Errors
/// Too few people, or no therapist's app can connect.
pub async fn play(demo: &Demo, told: Told, stop: CancellationToken) -> anyhow::Result<()> {
    let (therapists, customers) = demo.split()?;
    let api = Api::new(&demo.url, "").context("an HTTP client")?;
    let board = Arc::new(Board::new(told));
    let apps_stop = stop.child_token();
    let mut apps = JoinSet::new();
    for (i, entry) in therapists.iter().enumerate() {
        let seed = demo.seed.wrapping_mul(0x9e37_79b9).wrapping_add(i as u64);
        let person = Simulated::new(entry, api.with_token(&entry.token), Arc::clone(&board), demo.service, seed)?;
        let app = TherapistApp {
            endpoint: Endpoint { url: demo.url.clone(), token: entry.token.clone(), wire: Wire::Json },
            api: api.with_token(&entry.token),
            seed,
            drain: Duration::from_secs(2),
            leave_offline: true,
        };
        let legs = person.legs();
        apps.spawn(app.run(Arc::new(person), legs, apps_stop.clone()));
    }
    let mut households: Vec<Household> = customers
        .iter()
        .enumerate()
        .map(|(i, entry)| Household::open(demo, entry, &api, &board, &mut apps, &apps_stop, i as u64))
        .collect();
    let mut rng = StdRng::seed_from_u64(demo.seed);
    // The fleet needs a moment to tell where it is.
    let mut wait = Duration::from_secs(3);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {
                let who = rng.random_range(0..households.len());
                households[who].book(&mut rng, &board).await;
                wait = demo.book_every.mul_f64(rng.random_range(0.5..1.5));
            }
            Some(ended) = apps.join_next() => {
                if let Ok(Err(error)) = ended {
                    board.say(None, &format!("an app gave up: {error}"));
                }
                if apps.is_empty() {
                    bail!("the server lets nobody in");
                }
            }
        }
    }
    board.say(None, &board.summary());
    let all_left = async { while apps.join_next().await.is_some() {} };
    // What does not leave in time is cut off when `apps` is dropped.
    let _ = tokio::time::timeout(Duration::from_secs(5), all_left).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(role: &str, token: &str) -> String {
        let uuid = "0190b1f5-0000-7000-8000-000000000001";
        format!(
            r#"{{"role":"{role}","user_uuid":"{uuid}","provider_uuid":"{uuid}","token":"{token}","latitude":14.55,"longitude":121.02}}"#
        )
    }

    fn demo(people: &[(&str, &str)]) -> Demo {
        let lines: Vec<String> = people.iter().map(|(role, token)| entry(role, token)).collect();
        Demo {
            url: "http://127.0.0.1:8080".to_owned(),
            roster: Roster::parse(&lines.join("\n")).expect("a roster"),
            seed: 1,
            book_every: Duration::from_secs(5),
            service: SERVICE,
        }
    }

    #[test]
    fn the_banner_gives_tokens_of_people_whom_the_demo_does_not_play() {
        let demo = demo(&[
            ("therapist", "1|a"),
            ("therapist", "2|b"),
            ("customer", "3|c"),
            ("customer", "4|d"),
            ("admin", "5|e"),
        ]);
        let banner = demo.banner();
        for line in [
            "CUSTOMER='4|d'",
            "THERAPIST='2|b'",
            "ADMIN='5|e'",
            "240 km/h",
            "http://127.0.0.1:8080/ops ",
            "nearby?latitude=14.55000",
        ] {
            assert!(banner.contains(line), "{line} is missing in {banner}");
        }
        let (therapists, customers) = demo.split().expect("enough people");
        assert_eq!((therapists[0].token.as_str(), customers[0].token.as_str()), ("1|a", "3|c"));
    }

    #[test]
    fn too_few_people_are_refused_with_their_number() {
        let problem = demo(&[("therapist", "1|a"), ("customer", "3|c")]).split().expect_err("too few").to_string();
        assert!(problem.contains("there are 1 and 1"), "{problem}");
    }
}
