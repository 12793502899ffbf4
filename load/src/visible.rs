//! How long a fix takes from the phone until a search finds it. One more therapist steps to and fro; an admin, who is
//! answered from exact positions, asks who stands within two metres of where he has just gone, and asks again until it is
//! he. All in a thread of its own: the apps of the fleet in this process are not to delay what is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use serde_json::Value;
use spacall::cities::offset;
use spacall::client::therapist::{Answer, Journey, Therapist, TherapistApp};
use spacall::client::{Api, ApiError, CancellationToken, Endpoint, Offer, Wire};
use spacall::clock;
use spacall::core::geo::LatLng;
use spacall::core::people::Gender;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::wire::roster::{Roster, RosterEntry};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::cast::Stage;
use crate::tally::Percentiles;

/// From one place to the other: plausible for a vehicle, ten times a second too.
const STEP_KM: f64 = 0.005;
/// Of a question: less than half a step, so that only the new place is within.
const RADIUS_KM: f64 = 0.002;
/// A fix that is not found by then never will be.
const PATIENCE: Duration = Duration::from_secs(2);
/// For going on duty, and for the first fixes to be believed, while thousands of others connect.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Until then the next question follows at once; later each waits a tenth of the time so far, so that a service that
/// falls behind is not asked ever more.
const EAGER: Duration = Duration::from_millis(5);
/// For the acks of the last fixes.
const DRAIN: Duration = Duration::from_secs(5);

/// What is needed to ask.
pub(crate) struct Probe {
    url: String,
    wire: Wire,
    therapist: RosterEntry,
    admin: RosterEntry,
    service: String,
    every: Duration,
}

impl Probe {
    /// With the last therapist of the tokens file who would be offered the service to the admin who asks; he is taken out
    /// of the roster, so that the fleet leaves him out. `None` for a rate of 0.
    pub(crate) fn new(roster: &mut Roster, url: &str, wire: Wire, service: &str, per_s: f64) -> Result<Option<Self>> {
        if per_s <= 0.0 {
            return Ok(None);
        }
        let admin = roster.admins.first().cloned().context("--visible-per-s needs an admin in the tokens file")?;
        if roster.therapists.len() < 2 {
            bail!("--visible-per-s needs a therapist of its own: the tokens file has {}", roster.therapists.len());
        }
        let Some(last) = roster.therapists.iter().rposition(|therapist| is_shown(therapist, service, &admin)) else {
            bail!(
                "--visible-per-s needs a therapist who offers {service} and serves {}: the tokens file has none",
                admin.gender.map_or("everyone", Gender::as_str),
            );
        };
        let therapist = roster.therapists.remove(last);
        let every = Duration::from_secs_f64(1.0 / per_s);
        Ok(Some(Self { url: url.to_owned(), wire, therapist, admin, service: service.to_owned(), every }))
    }

    /// Measures from the begin of the stage for `length`. What the returned channel gives is what was found.
    pub(crate) fn start(
        self,
        stage: Arc<Stage>,
        length: Duration,
        stop: CancellationToken,
    ) -> Result<oneshot::Receiver<Percentiles>> {
        let (found, result) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let measure = move || {
            if let Err(error) = runtime.block_on(self.measure(&stage, length, stop)) {
                eprintln!("ping to visible is not measured: {error:#}");
                stage.tally.error("visible_not_measured");
            }
            // Nobody waits for it when the run was given up.
            let _ = found.send(stage.tally.visible.percentiles());
        };
        std::thread::Builder::new().name("visible".to_owned()).spawn(measure)?;
        Ok(result)
    }

    async fn measure(self, stage: &Arc<Stage>, length: Duration, stop: CancellationToken) -> Result<()> {
        let curtain = CancellationToken::new();
        let (fixes, source) = mpsc::channel(1);
        let api = Api::new(&self.url, &self.therapist.token)?;
        let app = TherapistApp {
            endpoint: Endpoint { url: self.url.clone(), token: self.therapist.token.clone(), wire: self.wire },
            api: api.clone(),
            seed: stage.rule.seed,
            drain: DRAIN,
            leave_offline: true,
        };
        let walker = Arc::new(Silent(Arc::clone(stage)));
        let mut app = tokio::spawn(app.run(walker, source, curtain.clone()));
        let home = LatLng::new(self.therapist.latitude, self.therapist.longitude).context("the tokens file")?;
        let finder = Finder {
            api: api.with_token(&self.admin.token),
            service: self.service,
            provider: self.therapist.provider_uuid.context("a therapist has a provider")?,
        };
        let steps = step_to_and_fro(stage, &finder, fixes, home, self.every, length);
        let done = tokio::select! {
            done = steps => done,
            () = stop.cancelled() => Ok(()),
            gone = &mut app => bail!("its app gave up: {gone:?}"),
        };
        curtain.cancel();
        app.await?.context("its app")?;
        done
    }
}

/// Whether a search by `asker` can show this therapist at all: some serve women only, who an admin need not be. A tokens
/// file that says nothing of it says everything.
fn is_shown(therapist: &RosterEntry, service: &str, asker: &RosterEntry) -> bool {
    let offers = therapist.services.is_empty() || therapist.services.contains_key(service);
    let serves = therapist.serves.as_ref();
    offers && serves.is_none_or(|genders| asker.gender.is_some_and(|gender| genders.contains(&gender)))
}

async fn step_to_and_fro(
    stage: &Stage,
    finder: &Finder,
    fixes: mpsc::Sender<Fix>,
    home: LatLng,
    every: Duration,
    length: Duration,
) -> Result<()> {
    let places = [home, offset(home, 0.0, STEP_KM)];
    let mut turns = tokio::time::interval(every);
    // Two steps in quick succession would be faster than anybody goes.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let give_up = clock::monotonic() + READY_WITHIN;
    while finder.sees(places[0]).await?.is_none() {
        if clock::monotonic() >= give_up {
            bail!("a search does not find its therapist within {} s", READY_WITHIN.as_secs());
        }
        turns.tick().await;
        fixes.send(fix(places[0])).await?;
    }
    let until = stage.started().await + length;
    let mut at = 0;
    turns.reset();
    while clock::monotonic() < until {
        turns.tick().await;
        let next = 1 - at;
        let sent = clock::monotonic();
        fixes.send(fix(places[next])).await?;
        match finder.until_seen(places[next], sent).await? {
            Some(seen) => {
                stage.tally.visible.record(seen.saturating_duration_since(sent));
                at = next;
            }
            None => {
                // A missing fix is worse than a slow one: it must not look like none at all.
                stage.tally.visible.record(PATIENCE);
                stage.tally.error("fix_not_visible");
            }
        }
    }
    Ok(())
}

/// Asks where the therapist is found.
struct Finder {
    api: Api,
    service: String,
    provider: Uuid,
}

impl Finder {
    /// When an answer had come that shows him at `place`; `None` when none did for [`PATIENCE`] since `sent`.
    async fn until_seen(&self, place: LatLng, sent: Instant) -> Result<Option<Instant>> {
        loop {
            if let Some(seen) = self.sees(place).await? {
                return Ok(Some(seen));
            }
            let since = clock::monotonic().saturating_duration_since(sent);
            if since >= PATIENCE {
                return Ok(None);
            }
            if since >= EAGER {
                tokio::time::sleep(since / 10).await;
            }
        }
    }

    /// When the answer had come, if he is in it. Trouble that passes is a `None`.
    async fn sees(&self, place: LatLng) -> Result<Option<Instant>, ApiError> {
        match self.api.nearby_within(place.latitude(), place.longitude(), &self.service, RADIUS_KM).await {
            Ok(answer) => Ok(shows(&answer, self.provider).then(clock::monotonic)),
            Err(error) if error.is_passing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn shows(answer: &Value, provider: Uuid) -> bool {
    let uuid = provider.to_string();
    answer["data"].as_array().is_some_and(|found| found.iter().any(|one| one["provider_uuid"] == uuid.as_str()))
}

fn fix(place: LatLng) -> Fix {
    Fix { accuracy_m: Some(5.0), moving: true, battery_percent: Some(80), ..Fix::new(Timestamp::from_micros(0), place) }
}

/// Somebody who never looks at the phone. What goes wrong on it is counted with the rest.
struct Silent(Arc<Stage>);

impl Therapist for Silent {
    fn answer(&self, _: &Offer) -> BoxFuture<'static, Answer> {
        Box::pin(async { Answer::Silence })
    }

    fn journey(&self, _: Uuid) -> BoxFuture<'static, Option<Journey>> {
        Box::pin(async { None })
    }

    fn rejected(&self, code: &str, _: &str) {
        self.0.tally.error(&format!("rejected_{code}"));
    }

    fn error(&self, code: &str, _: &str) {
        self.0.tally.error(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use spacall::wire::roster::Role;
    use std::collections::BTreeMap;

    #[test]
    fn only_the_new_place_is_within_the_question() {
        let home = LatLng::new(14.55, 121.02).expect("a place");
        let step = home.distance(offset(home, 0.0, STEP_KM)).km();
        assert!(step > 2.0 * RADIUS_KM && (step - STEP_KM).abs() < 0.000_1, "{step}");
        // Ten steps a second are slower than the 300 km/h that the service believes.
        assert!(step * 10.0 * 3_600.0 < 300.0);
    }

    /// A therapist of the seeded fleet, or the admin.
    fn person(nth: u128, gender: Option<Gender>) -> RosterEntry {
        RosterEntry {
            role: Role::Therapist,
            user_uuid: Uuid::from_u128(nth),
            provider_uuid: Some(Uuid::from_u128(nth)),
            token: String::new(),
            latitude: 14.55,
            longitude: 121.02,
            first_name: None,
            city: None,
            gender,
            service_radius_km: None,
            services: BTreeMap::from([("swedish-massage".to_owned(), 8)]),
            serves: None,
        }
    }

    #[test]
    fn who_is_looked_for_is_the_last_whom_the_admin_can_be_shown() {
        let women_only = RosterEntry { serves: Some(vec![Gender::Female]), ..person(3, None) };
        let other_service = RosterEntry { services: BTreeMap::from([("hilot".to_owned(), 8)]), ..person(4, None) };
        let everyone = [person(1, None), person(2, None), women_only, other_service];
        let probe = |therapists: &[RosterEntry], admin: Option<Gender>| {
            let admins = vec![person(9, admin)];
            let mut roster = Roster { therapists: therapists.to_vec(), customers: Vec::new(), admins };
            let probe = Probe::new(&mut roster, "http://localhost", Wire::Json, "swedish-massage", 5.0);
            probe.map(|probe| (probe.expect("a rate").therapist.user_uuid.as_u128(), roster.therapists.len()))
        };
        assert_eq!(probe(&everyone, Some(Gender::PreferNotToSay)).expect("found"), (2, 3));
        assert_eq!(probe(&everyone, None).expect("found"), (2, 3));
        assert_eq!(probe(&everyone, Some(Gender::Female)).expect("found"), (3, 3));
        let none = probe(&everyone[2..], Some(Gender::Male)).expect_err("nobody serves men").to_string();
        assert!(none.contains("offers swedish-massage and serves male"), "{none}");
        assert!(probe(&everyone[..1], None).is_err(), "the fleet needs one too");
    }

    #[test]
    fn an_answer_shows_him_when_he_is_one_of_it() {
        let (he, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let answer = json!({"data": [{"provider_uuid": other}, {"provider_uuid": he}]});
        assert!(shows(&answer, he) && shows(&answer, other));
        assert!(!shows(&json!({"data": []}), he) && !shows(&Value::Null, he));
    }
}
