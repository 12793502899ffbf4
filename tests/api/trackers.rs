//! OwnTracks, Traccar Client and OsmAnd as they are: what their messages become, and that no app is kept sending for ever.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use chrono::Duration;
use serde_json::json;

use super::*;
use crate::support::database;
use crate::support::http::Answer;
use crate::support::server::Process;

const OWNTRACKS: &str = "/v1/locations/owntracks";
const OSMAND: &str = "/v1/locations/osmand";

async fn rows(pool: &sqlx::PgPool, therapist: &Therapist) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', latitude::float8, longitude::float8, coalesce(accuracy::float8::text, '-'),
                          coalesce(heading::float8::text, '-'), coalesce(speed::float8::text, '-'), is_moving,
                          coalesce(battery_level::text, '-'))
         FROM provider_locations WHERE provider_id = $1 ORDER BY created_at",
    )
    .bind(therapist.provider_id)
    .fetch_all(pool)
    .await
    .expect("rows")
}

/// As a phone sends it: OwnTracks with Basic, the others with the token in the URL.
async fn send(server: &Server, token: &str, sample: &Value) -> Answer {
    let api = Api::new(&server.base, None);
    let body = sample["body"].as_str().unwrap_or_default().to_owned();
    let encoded = token.replace('|', "%7C");
    let request = match sample["protocol"].as_str().expect("a protocol") {
        "owntracks-http" => api.request("POST", OWNTRACKS).basic_auth("phone", Some(token)).body(body),
        "traccar-client-json" => api.request("POST", &format!("{OSMAND}?token={encoded}")).body(body),
        _ => {
            let query = sample["path"].as_str().expect("a path").replacen("/?", "", 1);
            api.request("GET", &format!("{OSMAND}?token={encoded}&{query}"))
        }
    };
    let request = match sample["content_type"].as_str() {
        Some(kind) => request.header("content-type", kind),
        None => request,
    };
    api.send(request).await
}

/// Why the fix was not taken.
fn refused(answer: &Answer) -> Option<String> {
    if answer.json.is_array() {
        return answer.headers.get("x-spacall-rejected").map(|code| code.to_str().expect("text").to_owned());
    }
    answer.json["rejected"][0]["code"].as_str().map(str::to_owned)
}

/// The messages of real apps, or none where there are no recordings.
fn samples() -> Vec<Value> {
    let Some(data) = std::env::var_os("SPACALL_DATA") else {
        eprintln!("skipped: the messages of real trackers (SPACALL_DATA is not set)");
        return Vec::new();
    };
    let path = std::path::Path::new(&data).join("samples/phone_tracker_messages.jsonl");
    let lines = BufReader::new(std::fs::File::open(path).expect("the samples")).lines();
    lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect()
}

/// The message with another time in the same spelling; unchanged when it has none.
fn restamped(sample: &Value, at: chrono::DateTime<chrono::Utc>) -> Value {
    let mut sample = sample.clone();
    if let Some(text) = sample["body"].as_str() {
        let mut body: Value = serde_json::from_str(text).expect("JSON");
        if body["_type"] == "location" {
            body["tst"] = json!(at.timestamp());
        } else {
            body["location"]["timestamp"] = json!(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        }
        sample["body"] = json!(body.to_string());
        return sample;
    }
    let path = sample["path"].as_str().expect("a path").to_owned();
    let Some((before, rest)) = path.split_once("timestamp=") else { return sample };
    let old = rest.split('&').next().expect("a time");
    let new = match old {
        ms if ms.len() == 13 && ms.parse::<i64>().is_ok() => at.timestamp_millis().to_string(),
        s if s.parse::<i64>().is_ok() => at.timestamp().to_string(),
        iso if iso.contains('T') => at.format("%Y-%m-%dT%H%%3A%M%%3A%SZ").to_string(),
        _ => at.format("%Y-%m-%d+%H%%3A%M%%3A%S").to_string(),
    };
    sample["path"] = json!(format!("{before}timestamp={new}{}", &rest[old.len()..]));
    sample
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_real_apps_are_stored_when_new_and_let_go_when_old_or_without_time_or_place() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Tala", HERE.0, HERE.1).await;
    let token = &therapist.person.token;
    let no_fix = |sample: &Value| {
        let path = sample["path"].as_str().unwrap_or("lat= timestamp=");
        !(path.contains("timestamp=") && (path.contains("lat=") || path.contains("location=")))
    };
    for sample in &samples {
        let answer = send(&server, token, sample).await;
        let why = if no_fix(sample) { "missing_field" } else { "too_old" };
        assert_eq!((answer.status, refused(&answer).as_deref()), (200, Some(why)), "{sample} {answer:?}");
    }
    assert_eq!(rows(server.pool(), &therapist).await, Vec::<String>::new());

    let start = now() - Duration::minutes(30);
    let mut expected = 0;
    for (sample, second) in samples.iter().zip(0..) {
        let new = restamped(sample, start + Duration::seconds(second));
        for _ in 0..2 {
            let answer = send(&server, token, &new).await;
            let why = no_fix(sample).then(|| "missing_field".to_owned());
            assert_eq!((answer.status, refused(&answer)), (200, why), "{new} {answer:?}");
        }
        expected += usize::from(!no_fix(sample));
    }
    let stored = rows(server.pool(), &therapist).await;
    assert_eq!((stored.len(), expected), (18, 18), "each new fix once: {stored:?}");
    for known in [
        "48.85833 2.29513 5 271 61 t 67",           // OwnTracks, all fields
        "-6.1148096 106.6837015 3.8 63 67.21 f 79", // Traccar JSON: 18.67 m/s, not moving says the phone
        "37.785834 -122.406417 5 - - f -",          // Traccar JSON: -1 is unknown
        "40.72329486 -74.00614086 - 7.2 74.08 t -", // OsmAnd: 40 knots
        "60 30 - - - f -",                          // OsmAnd: location=60.0,30.0
    ] {
        assert!(stored.iter().any(|row| row.starts_with(&known[..8]) && close(row, known)), "{known} in {stored:?}");
    }
}

/// The same numbers, to the 1e-7 degree that is kept.
fn close(row: &str, known: &str) -> bool {
    row.split(' ').zip(known.split(' ')).all(|(a, b)| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() < 1e-6,
        _ => a == b,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_moves_its_therapist_and_is_answered_after_the_commit() {
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Ligaya", HERE.0, HERE.1).await;
    let (latitude, longitude) = north(700.0);
    let fix = json!({"_type": "location", "tst": now().timestamp() - 1, "lat": latitude, "lon": longitude});
    let answer =
        send(&server, &therapist.person.token, &json!({"protocol": "owntracks-http", "body": fix.to_string()})).await;
    assert_eq!((answer.status, &answer.json), (200, &json!([])));
    assert_eq!(rows(server.pool(), &therapist).await.len(), 1);
    visible(&server, &therapist).await;

    // A form, as some trackers post it, with the token in a bearer header.
    let api = server.api(&therapist.person.token);
    let form = format!("id=1&timestamp={}&lat={latitude}&lon={longitude}&speed=10", now().timestamp_millis());
    let form = api.request("POST", OSMAND).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = api.send(form).await;
    assert_eq!((answer.status, &answer.json), (200, &json!({"acked_seq": 1, "rejected": []})));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let batch: Vec<_> = (2..5)
        .map(|s| json!({"timestamp": (now() - Duration::seconds(60 + s)).to_rfc3339(), "coords": {"latitude": 1, "longitude": s}}))
        .collect();
    let answer = api.post(OSMAND, json!({"location": batch})).await;
    assert_eq!((answer.status, &answer.json["acked_seq"]), (200, &json!(3)));
    assert_eq!(rows(server.pool(), &therapist).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_never_be_taken_is_let_go_and_what_may_be_later_is_not() {
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Hiwaga", HERE.0, HERE.1).await;
    let token = &therapist.person.token;
    for (body, why) in [
        ("", None),
        (r#"{"_type":"transition","event":"enter"}"#, None),
        (r#"{"_type":"encrypted","data":"…"}"#, None),
        ("{", Some("bad_json")),
        (r#"{"_type":"location","lat":14.5,"lon":121}"#, Some("missing_field")),
        (r#"{"_type":"location","tst":4102444800,"lat":14.5,"lon":121}"#, Some("in_future")),
    ] {
        let answer = send(&server, token, &json!({"protocol": "owntracks-http", "body": body})).await;
        assert_eq!((answer.status, &answer.json), (200, &json!([])), "{body}");
        assert_eq!(refused(&answer).as_deref(), why, "{body}");
    }
    for path in ["/?", "/?id=7", "/?lat=1&lon=2&timestamp=soon"] {
        let answer = send(&server, token, &json!({"protocol": "osmand-query", "path": path})).await;
        assert_eq!((answer.status, refused(&answer).is_some()), (200, true), "{path} {answer:?}");
    }
    assert_eq!(rows(server.pool(), &therapist).await, Vec::<String>::new());

    // The token may be put right, so the phone keeps its fixes; and it is told how a token may come.
    let customer = people::customer(server.pool()).await;
    let fix = json!({"_type": "location", "tst": now().timestamp(), "lat": 14.5, "lon": 121}).to_string();
    for (token, status) in [("7|nobody", 401), ("", 401), (customer.token.as_str(), 403)] {
        let answer = send(&server, token, &json!({"protocol": "owntracks-http", "body": fix})).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let ways = answer.headers.get_all("www-authenticate").iter().count();
        assert_eq!(ways, if status == 401 { 2 } else { 0 }, "{answer:?}");
    }
    // Only OsmAnd's protocol has a token in its URL, and only trackers a password.
    let anyone = Api::new(&server.base, None);
    let in_url = format!("{OWNTRACKS}?token={}", token.replace('|', "%7C"));
    assert_eq!(anyone.post(&in_url, json!({})).await.status, 401);
    let with_password = anyone.request("GET", "/v1/me").basic_auth("phone", Some(token));
    assert_eq!(anyone.send(with_password).await.status, 401);

    // More than the rate: later.
    let many: Vec<_> = (0..700)
        .map(|ms| json!({"timestamp": now().timestamp_millis() - ms, "coords": {"latitude": 14.5, "longitude": 121}}))
        .collect();
    let answer = server.api(token).post(OSMAND, json!({"location": many})).await;
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("too_fast")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_url_never_reaches_the_log() {
    let database = database().await;
    let therapist = people::therapist(database.pool(), "Lihim", HERE.0, HERE.1).await;
    let log = std::env::temp_dir().join(format!("spacall-log-{}-{}", std::process::id(), therapist.provider_id));
    let file = std::fs::File::create(&log).expect("a file");
    let process = Process::at(database.url(), "trace", Stdio::from(file)).await;
    let (_, secret) = therapist.person.token.split_once('|').expect("a token");
    let api = Api::new(&process.base, None);
    for more in [format!("&timestamp={}&lat=14.5&lon=121", now().timestamp()), "&lat=north".to_owned(), String::new()] {
        let answer = api.get(&format!("{OSMAND}?token={}{more}", therapist.person.token.replace('|', "%7C"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    api.get(&format!("{OSMAND}?token=0%7C{secret}")).await;
    process.kill().await;
    let text = std::fs::read_to_string(&log).expect("the log");
    std::fs::remove_file(&log).expect("removed");
    assert!(text.contains("a tracker's fix was refused"), "the log is of this run");
    assert!(!text.contains(secret), "{}", text.lines().find(|line| line.contains(secret)).unwrap_or_default());
}
