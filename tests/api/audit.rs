//! The index against the database: what differs is told by kind and by id, repaired and counted; what is only under way
//! is not told.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::core::settings::Settings;
use spacall::core::track::Fix;

use super::*;

/// Changes rows without a trigger telling of it, as a lost notification would leave them.
async fn in_silence(server: &Server, statement: &'static str, provider: i64) {
    let mut tx = server.pool().begin().await.expect("a transaction");
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.expect("silence");
    let changed = sqlx::query(statement).bind(provider).execute(&mut *tx).await.expect("a change");
    assert_eq!(changed.rows_affected(), 1, "{statement}");
    tx.commit().await.expect("committed");
}

/// What a counter without labels says.
pub(super) async fn counted(server: &Server, counter: &str) -> u64 {
    let text = Api::new(&server.base, None).request("GET", "/metrics").send().await.expect("metrics").text().await;
    let text = text.expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(' '));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

async fn repairs(server: &Server) -> u64 {
    counted(server, "spacall_index_repairs_total").await
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

fn ids(audit: &Value, kind: &str) -> Vec<String> {
    let list = audit[kind].as_array().expect("a list");
    sorted(list.iter().map(|id| id.as_str().expect("a uuid").to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_drift_is_told_with_its_ids_repaired_and_counted() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let mut people = Vec::new();
    for (nth, name) in ["Amor", "Bituin", "Carmela", "Dalisay", "Esmeralda", "Florante"].into_iter().enumerate() {
        people.push(therapist_at(&server, name, 300.0 * (nth + 1) as f64).await);
    }
    let [missing, extra, deleted, behind, ahead, different] = &people[..] else { panic!("six people") };
    let before = repairs(&server).await;
    let api = server.api(&admin.token);
    assert_eq!(api.get("/v1/ops/consistency").await.json["drift"], 0);

    let fleet = Arc::clone(&server.engine().fleet);
    assert!(fleet.therapist(ProviderId(missing.provider_id)).is_some());
    fleet.remove(ProviderId(missing.provider_id));
    in_silence(&server, "UPDATE providers SET is_available = FALSE WHERE id = $1", extra.provider_id).await;
    in_silence(&server, "DELETE FROM providers WHERE id = $1", deleted.provider_id).await;
    // A committed fix that the index has not seen, and one that the index shows and no table has.
    let newer = "INSERT INTO provider_locations (provider_id, latitude, longitude) VALUES ($1, 14.6, 121.0)";
    in_silence(&server, newer, behind.provider_id).await;
    let nowhere = Fix::new(spacall::clock::now(), LatLng::new(14.5548, 121.0245).expect("a place"));
    let shown = fleet.apply_fix(
        ProviderId(ahead.provider_id),
        &Fix { place: at_the_place_of(ahead, &fleet), ..nowhere },
        &Settings::default().pings,
    );
    assert!(shown.is_some_and(|outcome| outcome.newest));
    in_silence(&server, "UPDATE providers SET average_rating = 4.75 WHERE id = $1", different.provider_id).await;

    let audit = api.get("/v1/ops/consistency").await.json;
    let of = |people: &[&Therapist]| sorted(people.iter().map(|t| t.provider_uuid.to_string()).collect());
    assert_eq!(ids(&audit, "missing"), of(&[missing]), "{audit}");
    assert_eq!(ids(&audit, "extra"), of(&[extra, deleted]), "{audit}");
    assert_eq!(ids(&audit, "stale"), of(&[behind, ahead]), "{audit}");
    assert_eq!(ids(&audit, "different"), of(&[different]), "{audit}");
    assert_eq!((&audit["drift"], &audit["checked"]), (&json!(6), &json!(5)), "{audit}");
    assert!(repairs(&server).await >= before + 6);

    let again = api.get("/v1/ops/consistency").await.json;
    assert_eq!((&again["drift"], &again["checked"]), (&json!(0), &json!(5)), "{again}");
    let seen = api.get(&nearby(HERE, "")).await.json;
    let found: Vec<String> = seen["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|t| t["provider_uuid"].as_str().expect("a uuid").to_owned())
        .collect();
    assert_eq!(sorted(found), of(&[missing, behind, ahead, different]), "{seen}");
}

fn at_the_place_of(therapist: &Therapist, fleet: &spacall::core::fleet::Fleet) -> LatLng {
    fleet.position(ProviderId(therapist.provider_id)).expect("a position").0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_drift_with_its_exit_code_and_prints_what_the_node_says() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let therapist = therapist_at(&server, "Gliceria", 300.0).await;
    in_silence(&server, "UPDATE providers SET is_available = FALSE WHERE id = $1", therapist.provider_id).await;
    for (code, drift) in [(1, 1), (0, 0)] {
        let (base, token) = (server.base.clone(), admin.token.clone());
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_spacall"));
            command.args(["audit", "--json", "--url", &base]).env("SPACALL_TOKEN", token).output().expect("it runs")
        };
        let out = tokio::task::spawn_blocking(run).await.expect("it ends");
        let audit: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert_eq!((out.status.code(), &audit["drift"]), (Some(code), &json!(drift)), "{audit}");
        assert_eq!(ids(&audit, "extra").len(), drift, "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_on_their_way_and_changes_just_made_are_no_drift() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for nth in 0..8 {
        let therapist = therapist_at(&server, "Hilaria", 200.0 * f64::from(nth + 1)).await;
        let (api, over, pool) = (server.api(&therapist.person.token), Arc::clone(&over), server.pool().clone());
        senders.push(tokio::spawn(async move {
            let (mut sent, (latitude, longitude)) = (0_u32, north(200.0 * f64::from(nth + 1)));
            while !over.load(Ordering::Relaxed) {
                stand(&api, 1, latitude, longitude + f64::from(sent % 10) * 1e-5).await;
                sent += 1;
                if !sent.is_multiple_of(8) {
                    continue;
                }
                sqlx::query("UPDATE providers SET average_rating = $2 WHERE id = $1")
                    .bind(therapist.provider_id)
                    .bind(rust_decimal::Decimal::new(i64::from(sent % 500), 2))
                    .execute(&pool)
                    .await
                    .expect("a change");
            }
            sent
        }));
    }
    let api = server.api(&admin.token);
    for _ in 0..5 {
        let audit = api.get("/v1/ops/consistency").await.json;
        assert_eq!((&audit["drift"], &audit["checked"]), (&json!(0), &json!(8)), "{audit}");
    }
    over.store(true, Ordering::Relaxed);
    for sender in senders {
        assert!(sender.await.expect("a sender") > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_while_fixes_cannot_be_written_moves_nobody_back() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let therapist = therapist_at(&server, "Imelda", 300.0).await;
    let (fleet, provider) = (Arc::clone(&server.engine().fleet), ProviderId(therapist.provider_id));
    let before = fleet.position(provider).expect("a position");
    let mut lock = server.pool().begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE provider_locations IN SHARE MODE").execute(&mut *lock).await.expect("a lock");
    let (mut app, _) = Stream::open(&server.base, &therapist.person.token).await;
    let (latitude, longitude) = north(320.0);
    app.send(json!({"type": "location", "fixes": [fix(1, now(), latitude, longitude)]})).await;
    crate::support::until("the index shows the new place", || fleet.position(provider) != Some(before)).await;
    let shown = fleet.position(provider);

    let audit = server.api(&admin.token).get("/v1/ops/consistency").await.json;
    assert_eq!(
        ids(&audit, "stale"),
        [therapist.provider_uuid.to_string()],
        "the table is behind, and that is told: {audit}"
    );
    assert_eq!(fleet.position(provider), shown, "he is where his phone says that he is");
    lock.rollback().await.expect("unlocked");
    app.expect("ack").await;
    let audit = server.api(&admin.token).get("/v1/ops/consistency").await.json;
    assert_eq!((&audit["drift"], fleet.position(provider)), (&json!(0), shown), "{audit}");
}

/// Somebody reads therapists' rows, and gets them only when this says so: as they were before.
pub(super) struct Held(sqlx::Transaction<'static, sqlx::Postgres>);

/// Holds up the next read of therapists' rows that is not one of the audit's looks (which are of one snapshot).
pub(super) async fn hold_the_next_read(server: &Server) -> Held {
    sqlx::raw_sql(
        "ALTER TABLE therapist_profiles RENAME TO therapist_profiles_behind;
         CREATE SEQUENCE turns;
         CREATE FUNCTION turn() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             IF current_setting('transaction_isolation') <> 'repeatable read' AND nextval('turns') = 1 THEN
                 PERFORM pg_advisory_xact_lock(4711);
             END IF;
             RETURN TRUE;
         END $$;
         CREATE VIEW therapist_profiles AS SELECT * FROM therapist_profiles_behind WHERE (SELECT turn())",
    )
    .execute(server.pool())
    .await
    .expect("a view");
    let mut held = server.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT pg_advisory_xact_lock(4711)").execute(&mut *held).await.expect("a lock");
    Held(held)
}

impl Held {
    pub(super) async fn until_somebody_waits(&self, server: &Server) {
        let waits = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database())";
        let somebody =
            async || sqlx::query_scalar::<_, bool>(waits).fetch_one(server.pool()).await.expect("a statement");
        crate::support::until_told("somebody waits", somebody).await;
    }

    pub(super) async fn let_go(self) {
        self.0.rollback().await.expect("let go");
    }
}

async fn drift(server: &Server, admin: &people::Person) -> Value {
    server.api(&admin.token).get("/v1/ops/consistency").await.json["drift"].clone()
}

/// An admin, and a therapist whom the index shows as his rows say.
async fn nothing_differs(server: &Server, name: &str) -> (people::Person, Therapist) {
    let (admin, therapist) = (people::admin(server.pool()).await, therapist_at(server, name, 300.0).await);
    assert_eq!(drift(server, &admin).await, 0);
    (admin, therapist)
}

fn audited(server: &Server, admin: &people::Person) -> tokio::task::JoinHandle<Value> {
    let api = server.api(&admin.token);
    tokio::spawn(async move { api.get("/v1/ops/consistency").await.json })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_undoes_no_change_that_came_after_it_had_read() {
    let server = Server::start().await;
    let (admin, therapist) = nothing_differs(&server, "Josefa").await;
    in_silence(&server, "UPDATE providers SET average_rating = 4.75 WHERE id = $1", therapist.provider_id).await;
    let held = hold_the_next_read(&server).await;
    let audit = audited(&server, &admin);
    held.until_somebody_waits(&server).await;

    sqlx::query("UPDATE providers SET average_rating = 3.5 WHERE id = $1")
        .bind(therapist.provider_id)
        .execute(server.pool())
        .await
        .expect("a change");
    let (fleet, provider) = (Arc::clone(&server.engine().fleet), ProviderId(therapist.provider_id));
    let rating = move || fleet.therapist(provider).map(|t| t.average_rating.decimal().to_string());
    // Who hears of the change need not wait for the repair; if he does not, he must not show it before what is older.
    for _ in 0..50 {
        if rating().as_deref() == Some("3.50") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let seen = std::thread::spawn({
        let (rating, over) = (rating.clone(), Arc::clone(&over));
        move || {
            let mut seen = vec![rating()];
            while !over.load(Ordering::Relaxed) {
                let now = rating();
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            seen
        }
    });
    held.let_go().await;
    let audit = audit.await.expect("an answer");
    assert_eq!(ids(&audit, "different"), [therapist.provider_uuid.to_string()], "{audit}");
    crate::support::until("the index shows the newest", || rating().as_deref() == Some("3.50")).await;
    assert_eq!(drift(&server, &admin).await, 0);
    over.store(true, Ordering::Relaxed);
    let seen = seen.join().expect("no panic");
    let newest = seen.iter().position(|rating| rating.as_deref() == Some("3.50")).expect("seen");
    assert_eq!(newest, seen.len() - 1, "shown, and taken back: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_comes_while_a_place_is_repaired_is_shown_and_stays() {
    let server = Server::start().await;
    let (admin, therapist) = nothing_differs(&server, "Katrina").await;
    let (fleet, provider) = (Arc::clone(&server.engine().fleet), ProviderId(therapist.provider_id));
    // Shown, and in no table.
    let nowhere = Fix::new(spacall::clock::now(), at_the_place_of(&therapist, &fleet));
    assert!(fleet.apply_fix(provider, &nowhere, &Settings::default().pings).is_some_and(|outcome| outcome.newest));
    let (mut app, _) = Stream::open(&server.base, &therapist.person.token).await;
    let held = hold_the_next_read(&server).await;
    let audit = audited(&server, &admin);
    held.until_somebody_waits(&server).await;

    let (latitude, longitude) = north(310.0);
    app.send(json!({"type": "location", "fixes": [fix(1, now(), latitude, longitude)]})).await;
    app.expect("ack").await;
    let there = LatLng::new(latitude, longitude).expect("a place");
    assert_eq!(fleet.position(provider).map(|(place, _)| place), Some(there));
    held.let_go().await;
    let audit = audit.await.expect("an answer");
    assert_eq!(ids(&audit, "stale"), [therapist.provider_uuid.to_string()], "{audit}");
    assert_eq!(fleet.position(provider).map(|(place, _)| place), Some(there));
    assert_eq!(drift(&server, &admin).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_goes_on_when_who_asked_for_it_has_left() {
    let server = Server::start().await;
    let (_, therapist) = nothing_differs(&server, "Luzviminda").await;
    let (fleet, provider) = (Arc::clone(&server.engine().fleet), ProviderId(therapist.provider_id));
    let true_place = fleet.position(provider).expect("a position");
    // Shown, and in no table.
    let nowhere = Fix::new(spacall::clock::now(), LatLng::new(14.6, 121.0).expect("a place"));
    fleet.restore_position(provider, nowhere);
    assert_ne!(fleet.position(provider), Some(true_place));
    let held = hold_the_next_read(&server).await;
    let engine = Arc::clone(server.engine());
    let audit = tokio::spawn(async move { spacall::engine::audit::run(&engine).await });
    held.until_somebody_waits(&server).await;
    audit.abort();
    assert!(audit.await.is_err_and(|ended| ended.is_cancelled()));
    held.let_go().await;
    crate::support::until("the place is taken back", || fleet.position(provider) == Some(true_place)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_does_not_wait_for_rows_that_nobody_reads_any_more() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Mayumi", 300.0).await;
    in_silence(&server, "UPDATE providers SET is_available = FALSE WHERE id = $1", therapist.provider_id).await;
    server.engine().shutdown.cancel();
    let audit = spacall::engine::audit::run(server.engine());
    // Its looks alone take little more than a second; for rows it would wait 8 s more.
    let found = tokio::time::timeout(std::time::Duration::from_secs(7), audit).await.expect("an end").expect("rows");
    assert_eq!(found.extra, [therapist.provider_uuid]);
}
