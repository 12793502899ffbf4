//! Supply and demand by H3 cell.

use serde_json::json;
use spacall::core::geo::{LatLng, area_cell};

use super::*;

/// Far enough from [`HERE`] that no therapist there is asked.
const ELSEWHERE: (f64, f64) = (15.4865, 120.9734);

fn find<'a>(heat: &'a Value, h3: &str) -> Option<&'a Value> {
    heat["features"].as_array()?.iter().find(|feature| feature["properties"]["h3"] == h3)
}

fn cell((latitude, longitude): (f64, f64)) -> String {
    format!("{:x}", area_cell(LatLng::new(latitude, longitude).expect("a place")))
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_count_who_could_come_and_who_waits() {
    let server = Server::start().await;
    let pool = server.pool();
    therapist_at(&server, "Luz", 0.0).await;
    therapist_at(&server, "Ligaya", 1.0).await;
    let away = therapist_at(&server, "Amihan", 2.0).await;
    let phone = server.api(&away.person.token);
    assert_eq!(phone.put("/v1/me/availability", json!({"available": false})).await.status, 200);
    let customer = people::customer(pool).await;
    let mut there = wanted();
    there["location"] = json!({"address": "Maharlika Highway", "latitude": ELSEWHERE.0, "longitude": ELSEWHERE.1});
    let mut uuids = Vec::new();
    for _ in 0..4 {
        uuids.push(uuid(&book(&server, &customer, there.clone()).await).to_owned());
    }
    // One waits, one was given up, one waits for hours, one was given up hours ago.
    for given_up in [1, 3] {
        assert_eq!(transition(&server, &customer, &uuids[given_up], "cancelled").await.0, 200);
    }
    for old in [2, 3] {
        sqlx::query("UPDATE bookings SET created_at = now() - interval '2 hours', dispatch_timeout_s = 86400 WHERE uuid = $1::uuid")
            .bind(&uuids[old])
            .execute(pool)
            .await
            .expect("long ago");
    }
    let admin = people::admin(pool).await;
    let api = server.api(&admin.token);
    let (supply, demand) = (cell(HERE), cell(ELSEWHERE));
    let answer = api
        .until("/v1/ops/heat?resolution=8", |a| {
            find(&a.json, &supply).is_some_and(|feature| feature["properties"]["supply"] == 2)
        })
        .await;
    assert_eq!(answer.headers["content-type"], "application/geo+json");
    assert_eq!((&answer.json["type"], &answer.json["resolution"]), (&json!("FeatureCollection"), &json!(8)));
    assert_eq!(answer.json["features"].as_array().map(Vec::len), Some(2), "empty cells are left out: {answer:?}");
    let properties = |h3: &str| find(&answer.json, h3).expect("a cell")["properties"].clone();
    assert_eq!(properties(&supply), json!({"h3": supply, "supply": 2, "pending": 0, "last_hour": 0}));
    assert_eq!(properties(&demand), json!({"h3": demand, "supply": 0, "pending": 2, "last_hour": 2}));

    for (resolution, smallest_m2, largest_m2) in [(7, 4e6, 7e6), (8, 5e5, 1e6), (9, 7e4, 1.5e5)] {
        let heat = api.get(&format!("/v1/ops/heat?resolution={resolution}")).await.json;
        let features = heat["features"].as_array().expect("features");
        let sum = |name: &str| features.iter().filter_map(|f| f["properties"][name].as_u64()).sum::<u64>();
        assert_eq!((sum("supply"), sum("pending"), sum("last_hour")), (2, 2, 2), "resolution {resolution}");
        for (feature, (latitude, longitude)) in [("supply", HERE), ("pending", ELSEWHERE)]
            .map(|(name, place)| (features.iter().find(|f| f["properties"][name] != 0).expect("a cell"), place))
        {
            let (valid, around, area): (bool, bool, f64) = sqlx::query_as(
                "SELECT ST_IsValid(g), ST_Contains(g, ST_SetSRID(ST_MakePoint($2, $3), 4326)), ST_Area(g::geography)
                 FROM ST_SetSRID(ST_GeomFromGeoJSON($1), 4326) AS g",
            )
            .bind(feature["geometry"].to_string())
            .bind(longitude)
            .bind(latitude)
            .fetch_one(pool)
            .await
            .expect("a polygon");
            assert!(
                valid && around && (smallest_m2..largest_m2).contains(&area),
                "resolution {resolution}: {area} {feature}"
            );
        }
    }
    for wrong in ["6", "10", "fine"] {
        let answer = api.get(&format!("/v1/ops/heat?resolution={wrong}")).await;
        let text = answer.json["errors"]["resolution"][0].as_str().unwrap_or_default().to_owned();
        assert!(answer.status == 422 && text.contains("from 7 to 9") && text.contains(wrong), "{answer:?}");
    }
}
