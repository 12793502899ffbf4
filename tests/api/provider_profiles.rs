//! Profiles of therapists and stores, and what they offer: who writes them, and that matching goes by them at once.

use serde_json::json;

use super::*;

const HOME: &str = "therapist-profile";

fn path(therapist: &Therapist, what: &str) -> String {
    format!("/v1/providers/{}/{what}", therapist.provider_uuid)
}

async fn shown(api: &Api, more: &str) -> Vec<Value> {
    let answer = api.get(&nearby(HERE, more)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["data"].as_array().expect("data").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_goes_by_a_profile_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 3_000.0).await;
    let customer = people::customer(server.pool()).await;
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let profile = path(&therapist, HOME);
    // Monday noon in Manila, in a week or two.
    let days = 14 - chrono::Datelike::weekday(&now()).num_days_from_monday();
    let monday = (now() + chrono::TimeDelta::days(days.into())).format("&scheduled_at=%FT04:00:00Z").to_string();
    let mondays = json!({"default_schedule": {"monday": [{"start": "09:00", "end": "18:00"}]}});
    let tuesdays = json!({"default_schedule": {"tuesday": [{"start": "09:00", "end": "18:00"}]}});
    for (change, question, found) in [
        (json!({"service_radius_km": 2}), "", false),
        (json!({"service_radius_km": 20}), "", true),
        (json!({"specializations": ["Hilot"]}), "&specialization=Swedish", false),
        (json!({"specializations": ["Hilot", "Swedish"]}), "&specialization=Swedish", true),
        (json!({"languages_spoken": ["ceb"]}), "&language=en", false),
        (json!({"languages_spoken": ["ceb", "en"]}), "&language=en", true),
        (json!({"accepts_genders": ["male"]}), "", false),
        (json!({"accepts_genders": null}), "", true),
        (tuesdays, &monday, false),
        (mondays, &monday, true),
        (json!({"base_location_latitude": null, "base_location_longitude": null}), &monday, false),
        (json!({"base_location_latitude": HERE.0, "base_location_longitude": HERE.1}), &monday, true),
        (json!({"default_schedule": null}), &monday, true),
    ] {
        let answer = his.patch(&profile, change.clone()).await;
        assert_eq!(answer.status, 200, "{change}: {answer:?}");
        for (field, value) in change.as_object().expect("fields") {
            assert_eq!(&answer.json[field], value);
        }
        assert_eq!(!shown(&hers, question).await.is_empty(), found, "{change} {question}");
    }
    let read = his.get(&profile).await.json;
    assert_eq!((&read["base_location_latitude"], &read["buffer_minutes"]), (&json!(HERE.0), &json!(15)));
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_goes_by_what_is_offered_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 3_000.0).await;
    let customer = people::customer(server.pool()).await;
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let service = path(&therapist, "services/swedish-massage");
    let dearer =
        his.put(&service, json!({"price": "900.00", "base_distance_km": 0, "per_km_surcharge": "10.00"})).await;
    assert_eq!((dearer.status, &dearer.json["max_travel_distance_km"]), (200, &json!(10)), "{dearer:?}");
    let found = shown(&hers, "").await[0].clone();
    assert_eq!(found["price"], "900.00");
    assert_ne!(found["distance_surcharge"], "0.00");
    for off in [
        json!({"price": 1, "is_available": false}),
        json!({"price": 1, "home_service_enabled": false}),
        json!({"price": 1, "max_travel_distance_km": 1}),
    ] {
        assert_eq!(his.put(&service, off.clone()).await.status, 200);
        assert!(shown(&hers, "").await.is_empty(), "{off}");
        let plain = his.put(&service, json!({"price": "900.00"})).await.json;
        assert_eq!(plain["per_km_surcharge"], "0.00");
        assert_eq!(
            (&plain["is_available"], &plain["home_service_enabled"]),
            (&json!(true), &json!(true)),
            "the whole is put"
        );
        assert_eq!(shown(&hers, "").await.len(), 1);
    }
    assert_eq!(his.delete(&service).await.status, 204);
    assert!(shown(&hers, "").await.is_empty());
    assert_eq!(his.delete(&service).await.status, 404, "it is gone");
    let by_id = path(&therapist, &format!("services/{}", dearer.json["service_id"]));
    assert_eq!(his.put(&by_id, json!({"price": "800.00"})).await.json["service"], "swedish-massage");
    assert_eq!(shown(&hers, "").await[0]["price"], "800.00");
    assert_eq!(his.put(&path(&therapist, "services/none"), json!({"price": 1})).await.status, 404);
    for (field, value) in [
        ("price", json!(-1)),
        ("price", json!("100000000.00")),
        ("per_km_surcharge", json!("1000000.00")),
        ("base_distance_km", json!(-1)),
        ("base_distance_km", json!(2_147_483_648_u32)),
        ("max_travel_distance_km", json!(1.5)),
        ("is_available", json!("yes")),
    ] {
        let mut body = json!({"price": "1.00"});
        body[field] = value.clone();
        let answer = his.put(&service, body).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
    }
    assert_eq!(his.put(&service, json!({})).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_matching_could_not_read_is_refused_and_so_is_what_no_column_holds() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let his = server.api(&therapist.person.token);
    let profile = path(&therapist, HOME);
    for (field, value) in [
        ("license_number", json!("x".repeat(101))),
        ("license_expiry_date", json!("2026-02-30")),
        ("license_expiry_date", json!("99999-01-01")),
        ("years_of_experience", json!(81)),
        ("specializations", json!("Swedish")),
        ("specializations", json!([{"name": "Swedish"}])),
        ("specializations", json!(["a\u{0}"])),
        ("certifications", json!([{"issuer": "TESDA"}])),
        ("certifications", json!([{"name": "x", "date": "soon"}])),
        ("certifications", json!([{"name": "a\u{0}"}])),
        ("languages_spoken", Value::Null),
        ("languages_spoken", json!([1])),
        ("bio", json!("x".repeat(5_001))),
        ("professional_photo_url", json!("data:text/html,x")),
        ("service_radius_km", json!(21)),
        ("service_radius_km", json!(0)),
        ("base_location_latitude", json!(91)),
        ("default_schedule", json!("always")),
        ("default_schedule", json!({"funday": []})),
        ("default_schedule", json!({"monday": vec![json!({"start": "09:00", "end": "18:00"}); 1_000]})),
        ("default_schedule", json!({"monday": [{"start": "25:00", "end": "26:00"}]})),
        ("default_schedule", json!({"monday": [{"start": "09:00", "end": "10:00", "\u{0}": 1}]})),
        ("default_schedule", json!({"monday": [{"start": "09:00", "end": "10:00", "note": "a\u{0}"}]})),
        ("accepts_genders", json!(["robot"])),
        ("accepts_genders", json!(["male", "male"])),
        ("buffer_minutes", json!(241)),
        ("has_own_equipment", Value::Null),
        ("equipment_list", json!(vec!["x"; 51])),
    ] {
        let mut body = json!({"bio": "x"});
        if field == "base_location_latitude" {
            body["base_location_longitude"] = json!(0);
        }
        body[field] = value.clone();
        let answer = his.patch(&profile, body).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
    }
    assert_eq!(his.patch(&profile, json!({"base_location_latitude": 14.0})).await.status, 422, "half a place");
    assert_eq!(his.get(&profile).await.json["bio"], Value::Null, "nothing of it was written");
    let certified =
        json!({"certifications": [{"name": "Hilot NC II", "more": 1}], "license_expiry_date": "2027-12-31"});
    let answer = his.patch(&profile, certified).await.json;
    assert_eq!(answer["certifications"], json!([{"name": "Hilot NC II", "issuer": null, "date": null}]));
    assert_eq!(answer["license_expiry_date"], "2027-12-31");
    assert_eq!(his.get(&path(&therapist, "store-profile")).await.status, 404, "he is no store");
    assert_eq!(his.patch(&path(&therapist, "store-profile"), json!({"store_name": "x"})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_therapist_lives_is_not_in_the_note_of_an_admins_change() {
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Luz", 14.61, 121.03).await;
    let admin = people::admin(server.pool()).await;
    let moved = json!({"base_location_latitude": 14.62, "base_location_longitude": 121.04, "buffer_minutes": 30});
    assert_eq!(server.api(&admin.token).patch(&path(&therapist, HOME), moved).await.status, 200);
    let (before, after): (Value, Value) = sqlx::query_as(
        "SELECT old_values, new_values FROM audit_logs WHERE auditable_type = 'App\\Models\\TherapistProfile' AND user_id = $1",
    )
    .bind(admin.user_id)
    .fetch_one(server.pool())
    .await
    .expect("one note");
    assert_eq!((&before["buffer_minutes"], &after["buffer_minutes"]), (&json!(15), &json!(30)));
    for note in [before, after] {
        assert_eq!(note["base_location_latitude"], "(private)");
        assert_eq!(note["base_location_longitude"], "(private)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_opened_and_found_and_goes_by_its_hours() {
    let server = Server::start().await;
    let pool = server.pool();
    let owner = people::person(pool, "store_owner", "Jose").await;
    let customer = people::customer(pool).await;
    let (his, hers) = (server.api(&owner.token), server.api(&customer.token));
    let provider = providers::registered(&server, &owner, "store").await;
    let profile = format!("{provider}/store-profile");
    assert_eq!(his.get(&profile).await.status, 404, "nothing is said yet");
    assert_eq!(his.get(&format!("{provider}/{HOME}")).await.status, 404, "it is no therapist");
    let whole = json!({"store_name": "Ginhawa Spa", "address_line1": "6750 Ayala Avenue", "city": "Makati",
                       "latitude": HERE.0, "longitude": HERE.1, "number_of_rooms": 3, "amenities": ["WiFi"],
                       "operating_hours": stores::around_the_clock(), "payment_methods": ["cash", "gcash"]});
    for missing in ["store_name", "address_line1", "city", "latitude", "longitude"] {
        let mut body = whole.clone();
        body[missing] = Value::Null;
        let answer = his.patch(&profile, body).await;
        assert!(answer.status == 422 && answer.json["errors"][missing].is_array(), "{missing}: {answer:?}");
    }
    let made = his.patch(&profile, whole.clone()).await;
    assert_eq!(made.status, 200, "{made:?}");
    for (field, value) in whole.as_object().expect("fields") {
        assert_eq!(&made.json[field], value);
    }
    assert_eq!(his.put(&format!("{provider}/services/swedish-massage"), json!({"price": "700.00"})).await.status, 200);
    let question = stores::nearby(HERE, "&service=swedish-massage&open_now=true");
    let count = |answer: Answer| answer.json["data"].as_array().map(Vec::len);
    assert_eq!(count(hers.get(&question).await), Some(0), "not verified");
    providers::verified(&server, &provider).await;
    let found = hers.get(&question).await.json["data"][0].clone();
    assert_eq!(
        (&found["store_name"], &found["price"]),
        (&json!("Ginhawa Spa"), &json!("700.00")),
        "from the answer on"
    );
    let closed = json!({"operating_hours": {"monday": {"closed": true}}});
    assert_eq!(his.patch(&profile, closed).await.status, 200);
    assert_eq!(count(hers.get(&question).await), Some(0));
    assert_eq!(hers.get(&provider).await.json["store_profile"]["operating_hours"], json!({"monday": {"closed": true}}));
    let moved = his
        .patch(&profile, json!({"operating_hours": null, "latitude": 10.3, "longitude": 123.9, "phone": null}))
        .await;
    assert_eq!((moved.status, &moved.json["number_of_rooms"]), (200, &json!(3)));
    assert_eq!(count(hers.get(&stores::nearby(HERE, "")).await), Some(0));
    assert_eq!(count(hers.get(&stores::nearby((10.3, 123.9), "")).await), Some(1));
    for (field, value) in [
        ("operating_hours", json!({"monday": {"open": "9", "close": "10"}})),
        ("operating_hours", json!({"monday": {"open": "09:00", "close": "10:00", "x": "\u{0}"}})),
        ("number_of_rooms", json!(0)),
        ("payment_methods", json!(["shells"])),
        ("photos", json!(["x"])),
        ("website", json!(format!("https://a.ph/{}", "x".repeat(250)))),
        ("email", json!("nobody")),
        ("phone", json!("1".repeat(21))),
        ("store_name", Value::Null),
        ("city", json!("x".repeat(101))),
    ] {
        let answer = his.patch(&profile, json!({field: value})).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
    }
    let stranger = people::person(pool, "store_owner", "Ana").await;
    assert_eq!(server.api(&stranger.token).get(&profile).await.status, 404);
    assert_eq!(server.api(&stranger.token).patch(&profile, json!({"city": "x"})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_the_same_for_the_first_time_at_once_is_answered() {
    let server = Server::start().await;
    let owner = people::person(server.pool(), "store_owner", "Jose").await;
    let his = server.api(&owner.token);
    let provider = providers::registered(&server, &owner, "store").await;
    let profile =
        json!({"store_name": "Ginhawa", "address_line1": "1", "city": "Makati", "latitude": 14, "longitude": 121});
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (api, provider, profile) = (his.clone(), provider.clone(), profile.clone());
        tasks.spawn(async move {
            match n % 2 {
                0 => api.patch(&format!("{provider}/store-profile"), profile).await,
                _ => api.put(&format!("{provider}/services/foot-spa"), json!({"price": n})).await,
            }
        });
    }
    for answer in tasks.join_all().await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(his.get(&format!("{provider}/services")).await.json["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_hours_is_what_was_understood_and_nobody_is_no_gender() {
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let his = server.api(&therapist.person.token);
    let profile = path(&therapist, HOME);
    let noted =
        json!({"default_schedule": {"monday": [{"start": "09:00", "end": "18:00", "note": "x".repeat(5_000)}]}});
    let refused = his.patch(&profile, noted).await;
    let text = refused.json["errors"]["default_schedule"][0].as_str().expect("a text");
    assert!(refused.status == 422 && text.contains("besides start and end") && text.len() < 300, "{refused:?}");
    let closed = his.patch(&profile, json!({"default_schedule": {"monday": null}})).await;
    assert_eq!((closed.status, &closed.json["default_schedule"]), (200, &json!({"monday": []})), "{closed:?}");

    let nobody = his.patch(&profile, json!({"accepts_genders": []})).await;
    assert_eq!(nobody.status, 422, "{nobody:?}");
    assert!(nobody.json["errors"]["accepts_genders"][0].as_str().is_some_and(|text| text.contains("null: all")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_of_a_service_that_is_gone_can_be_taken_back_and_not_offered_anew() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let his = server.api(&therapist.person.token);
    let one = path(&therapist, "services/foot-spa");
    let delete = "UPDATE services SET deleted_at = now() WHERE slug = 'foot-spa'";
    let mut deleting = pool.begin().await.expect("begun");
    sqlx::query(delete).execute(&mut *deleting).await.expect("deleted");
    // The service goes between the look for it and the writing.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let commit = async {
        crate::support::until_told("the offer waits", async || {
            sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.expect("counted") > 0
        })
        .await;
        deleting.commit().await.expect("committed");
    };
    let (late, ()) = tokio::join!(his.put(&one, json!({"price": "900.00"})), commit);
    assert_eq!(late.status, 404, "{late:?}");
    assert_eq!(his.put(&one, json!({"price": "900.00"})).await.status, 404);
    assert_eq!(his.delete(&one).await.status, 204);
    assert_eq!(his.delete(&one).await.status, 404, "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_of_the_way_are_their_owners_and_the_admins() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let all = path(&therapist, "services");
    for (token, km, peso) in [
        (&therapist.person.token, json!(5), json!("20.00")),
        (&admin.token, json!(5), json!("20.00")),
        (&customer.token, Value::Null, Value::Null),
    ] {
        let first = server.api(token).get(&all).await.json["data"][0].clone();
        assert_eq!((&first["base_distance_km"], &first["per_km_surcharge"]), (&km, &peso));
        assert!(first["price"].is_string());
    }
}
