//! Resources as `/openapi.json` describes them: status and shape of real answers, of each route at least one.

use serde_json::json;
use spacall::http::access::ROUTES;

use super::openapi::Document;
use super::*;

/// Whose routes these are: paths that begin so.
const RESOURCES: [&str; 10] = [
    "/v1/addresses",
    "/v1/blocks",
    "/v1/bookings/{uuid}/messages",
    "/v1/bookings/{uuid}/notes",
    "/v1/bookings/{uuid}/status-history",
    "/v1/provider-documents",
    "/v1/providers",
    "/v1/service-categories",
    "/v1/services",
    "/v1/services/{service}",
];

fn resources() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |path: &str| RESOURCES.iter().any(|prefix| path.starts_with(prefix));
    ROUTES.iter().filter(move |route| of(route.path)).map(|route| (route.method, route.path))
}

/// Asks, and remembers what was answered.
struct Asking {
    document: Document,
    asked: Vec<(&'static str, &'static str)>,
    wrong: Vec<String>,
}

impl Asking {
    /// `path` as the document writes it; `ids` take the places of its parameters, and what is left is its query.
    async fn ask(
        &mut self,
        api: &Api,
        (method, path): (&'static str, &'static str),
        ids: &[&Value],
        body: Value,
        status: u16,
    ) -> Value {
        let mut parts = path.split('}');
        let mut url = String::new();
        for id in ids {
            let part = parts.next().unwrap_or_default();
            url += part.split('{').next().expect("a part");
            url += &id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        }
        url += parts.next().unwrap_or_default();
        let request = api.request(method, &url);
        let answer = api.send(if body.is_null() { request } else { request.json(&body) }).await;
        assert_eq!(answer.status, status, "{method} {url}: {answer:?}");
        if status != 204 {
            self.wrong.extend(self.document.describes(&method.to_lowercase(), path, &answer).err());
        }
        self.asked.push((method, path));
        answer.json
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_is_answered_as_it_is_described() {
    let server = Server::start().await;
    let pool = server.pool();
    let mut asking = Asking { document: Document::of(&server).await, asked: Vec::new(), wrong: Vec::new() };
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let (his, hers, ops) = (server.api(&therapist.person.token), server.api(&customer.token), server.api(&admin.token));
    let none = Value::Null;
    let nowhere = json!("00000000-0000-4000-8000-000000000000");

    let address = asking.ask(&hers, ("POST", "/v1/addresses"), &[], addresses::home(), 201).await["id"].clone();
    asking.ask(&hers, ("POST", "/v1/addresses"), &[], json!({}), 422).await;
    asking.ask(&hers, ("GET", "/v1/addresses"), &[], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/addresses/{id}"), &[&address], none.clone(), 200).await;
    asking.ask(&hers, ("PATCH", "/v1/addresses/{id}"), &[&address], json!({"label": "work"}), 200).await;
    asking.ask(&hers, ("PATCH", "/v1/addresses/{id}"), &[&address], json!({}), 422).await;
    asking.ask(&hers, ("DELETE", "/v1/addresses/{id}"), &[&address], none.clone(), 204).await;
    asking.ask(&hers, ("DELETE", "/v1/addresses/{id}"), &[&address], none.clone(), 404).await;

    let body = json!({"name": "Hilot", "slug": "hilot", "icon_url": "https://a.ph/i.png"});
    let category = asking.ask(&ops, ("POST", "/v1/service-categories"), &[], body, 201).await["id"].clone();
    asking.ask(&hers, ("POST", "/v1/service-categories"), &[], json!({}), 403).await;
    asking.ask(&hers, ("GET", "/v1/service-categories"), &[], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/service-categories/{id}"), &[&category], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/service-categories/{id}"), &[&json!(1_u64 << 40)], none.clone(), 404).await;
    let mut body = catalog::ventosa();
    (body["category_id"], body["benefits"]) = (category.clone(), json!(["warmth"]));
    let service = asking.ask(&ops, ("POST", "/v1/services"), &[], body, 201).await["slug"].clone();
    asking.ask(&hers, ("GET", "/v1/services"), &[], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/services/{service}"), &[&service], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/services/{service}"), &[&json!("none")], none.clone(), 404).await;
    asking.ask(&ops, ("PATCH", "/v1/services/{service}"), &[&service], json!({"sort_order": 1}), 200).await;
    asking.ask(&ops, ("PATCH", "/v1/service-categories/{id}"), &[&category], json!({"sort_order": 1}), 200).await;
    asking.ask(&ops, ("DELETE", "/v1/service-categories/{id}"), &[&category], none.clone(), 409).await;
    asking.ask(&ops, ("DELETE", "/v1/services/{service}"), &[&service], none.clone(), 204).await;
    asking.ask(&ops, ("DELETE", "/v1/service-categories/{id}"), &[&category], none.clone(), 204).await;

    let owner = people::person(pool, "store_owner", "Jose").await;
    let owners = server.api(&owner.token);
    let store =
        asking.ask(&owners, ("POST", "/v1/providers"), &[], json!({"type": "store"}), 201).await["uuid"].clone();
    asking.ask(&his, ("POST", "/v1/providers"), &[], json!({"type": "therapist"}), 409).await;
    asking.ask(&ops, ("GET", "/v1/providers"), &[], none.clone(), 200).await;
    let (one, him) = ("/v1/providers/{uuid}", json!(therapist.provider_uuid));
    let whole = json!({"store_name": "Ginhawa", "address_line1": "1", "city": "Makati", "latitude": 14, "longitude": 121,
                       "operating_hours": stores::around_the_clock(), "amenities": ["WiFi"], "photos": []});
    let profile = "/v1/providers/{uuid}/store-profile";
    asking.ask(&owners, ("GET", profile), &[&store], none.clone(), 404).await;
    asking.ask(&owners, ("PATCH", profile), &[&store], whole, 200).await;
    asking.ask(&owners, ("GET", profile), &[&store], none.clone(), 200).await;
    asking.ask(&ops, ("PATCH", one), &[&store], json!({"verification_status": "verified"}), 200).await;
    asking.ask(&owners, ("PATCH", one), &[&store], json!({"is_active": true}), 422).await;
    for who in [&owners, &hers] {
        asking.ask(who, ("GET", one), &[&store], none.clone(), 200).await;
    }
    let profile = "/v1/providers/{uuid}/therapist-profile";
    let said = json!({"default_schedule": {"monday": [{"start": "09:00", "end": "18:00"}]}, "accepts_genders": ["female", "male"],
                      "certifications": [{"name": "NC II"}], "license_expiry_date": "2027-01-31", "equipment_list": ["table"]});
    asking.ask(&his, ("PATCH", profile), &[&him], said, 200).await;
    asking.ask(&his, ("GET", profile), &[&him], none.clone(), 200).await;
    asking.ask(&his, ("PATCH", profile), &[&him], json!({"default_schedule": 1}), 422).await;
    for who in [&his, &hers, &ops] {
        asking.ask(who, ("GET", one), &[&him], none.clone(), 200).await;
    }
    asking.ask(&hers, ("GET", one), &[&nowhere], none.clone(), 404).await;
    let offered = "/v1/providers/{uuid}/services/{service}";
    let foot_spa = json!("foot-spa");
    asking.ask(&his, ("PUT", offered), &[&him, &foot_spa], json!({"price": "500.00"}), 200).await;
    asking.ask(&hers, ("GET", "/v1/providers/{uuid}/services"), &[&him], none.clone(), 200).await;
    asking.ask(&his, ("DELETE", offered), &[&him, &foot_spa], none.clone(), 204).await;
    let papers = "/v1/providers/{uuid}/documents";
    let paper = asking.ask(&his, ("POST", papers), &[&him], provider_papers::paper(), 201).await["id"].clone();
    asking.ask(&his, ("GET", papers), &[&him], none.clone(), 200).await;
    let verified = json!({"verification_status": "verified"});
    asking.ask(&ops, ("PATCH", "/v1/provider-documents/{id}"), &[&paper], verified, 200).await;
    asking.ask(&his, ("GET", "/v1/provider-documents/{id}"), &[&paper], none.clone(), 200).await;
    asking.ask(&his, ("DELETE", "/v1/provider-documents/{id}"), &[&paper], none.clone(), 409).await;
    let (begin, end) = (now() - chrono::TimeDelta::hours(1), now() + chrono::TimeDelta::hours(1));
    let period = [begin, end].map(|at| at.format("%FT%TZ").to_string());
    let track = format!("/v1/providers/{}/locations?from={}&to={}", therapist.provider_uuid, period[0], period[1]);
    let track = his.get(&track).await;
    assert_eq!((track.status, track.json["data"].as_array().map(Vec::len)), (200, Some(1)));
    let tracks = "/v1/providers/{uuid}/locations";
    asking.wrong.extend(asking.document.describes("get", tracks, &track).err());
    asking.ask(&his, ("GET", tracks), &[&him], none.clone(), 422).await;

    let mut body = wanted();
    body["service"] = json!("swedish-massage");
    let booking = json!(uuid(&book(&server, &customer, body).await));
    let messages = "/v1/bookings/{uuid}/messages";
    asking.ask(&hers, ("POST", messages), &[&booking], json!({"message": "x"}), 409).await;
    let offers = his.until("/v1/offers", |answer| answer.json["data"][0].is_object()).await.json;
    let accepted = his.post(&format!("/v1/offers/{}/accept", offers["data"][0]["offer_id"]), json!({})).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let here = json!({"attachment_type": "location", "attachment_metadata": {"latitude": 1, "longitude": 1}});
    asking.ask(&his, ("POST", messages), &[&booking], here, 201).await;
    asking.ask(&hers, ("GET", messages), &[&booking], none.clone(), 200).await;
    asking.ask(&hers, ("PUT", "/v1/bookings/{uuid}/messages/read"), &[&booking], none.clone(), 200).await;
    asking.ask(&hers, ("POST", "/v1/bookings/{uuid}/notes"), &[&booking], json!({"note": "dog"}), 201).await;
    asking.ask(&his, ("GET", "/v1/bookings/{uuid}/notes"), &[&booking], none.clone(), 200).await;
    let note =
        hers.get(&format!("/v1/bookings/{}/notes", booking.as_str().expect("a uuid"))).await.json["data"][0]["id"]
            .clone();
    let (one, ids) = ("/v1/bookings/{uuid}/notes/{id}", [&booking, &note]);
    asking.ask(&hers, ("PATCH", one), &ids, json!({"note": "cat"}), 200).await;
    asking.ask(&hers, ("PATCH", one), &ids, json!({}), 422).await;
    asking.ask(&his, ("PATCH", one), &ids, json!({"note": "x"}), 404).await;
    asking.ask(&hers, ("DELETE", one), &ids, none.clone(), 204).await;
    asking.ask(&hers, ("DELETE", one), &ids, none.clone(), 404).await;
    asking.ask(&his, ("GET", "/v1/bookings/{uuid}/status-history"), &[&booking], none.clone(), 200).await;
    asking.ask(&hers, ("PUT", "/v1/blocks/{uuid}"), &[&him], json!({"reason": "x"}), 200).await;
    asking.ask(&hers, ("POST", "/v1/blocks"), &[], json!({"uuid": him}), 201).await;
    asking.ask(&hers, ("GET", "/v1/blocks/{uuid}"), &[&him], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/blocks"), &[], none.clone(), 200).await;
    asking.ask(&hers, ("GET", "/v1/providers/{uuid}/reviews"), &[&him], none.clone(), 200).await;
    asking.ask(&hers, ("DELETE", "/v1/blocks/{uuid}"), &[&him], none.clone(), 204).await;

    assert!(asking.wrong.is_empty(), "{:#?}", asking.wrong);
    let forgotten: Vec<_> = resources().filter(|route| !asking.asked.contains(route)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_refused_as_described_by_every_resource() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let pool = server.pool();
    let (owner, admin) = (people::person(pool, "store_owner", "Jose").await, people::admin(pool).await);
    let store = providers::registered(&server, &owner, "store").await;
    let address = addresses::saved(&server, &owner, addresses::home()).await;
    let mut wrong = Vec::new();
    for (method, path) in resources().filter(|(method, _)| !["GET", "DELETE"].contains(method)) {
        let is_admins = ROUTES
            .iter()
            .any(|route| (route.method, route.path, route.who) == (method, path, spacall::http::access::Who::Admin));
        let api = server.api(if is_admins { &admin.token } else { &owner.token });
        let asked = path
            .replace("/v1/providers/{uuid}", &store)
            .replace("{service}", "foot-spa")
            .replace("{id}", &address["id"].to_string())
            .replace("{uuid}", "00000000-0000-4000-8000-000000000000");
        for (kind, body, status) in [
            ("application/json", vec![b' '; 600 * 1024], 413),
            ("application/json", b"{".to_vec(), 400),
            ("application/json", b"[]".to_vec(), 422),
            ("text/plain", b"{}".to_vec(), 415),
        ] {
            let request = api.request(method, &asked).header("content-type", kind).body(body);
            let answer = api.send(request).await;
            assert_eq!(answer.status, status, "{method} {path} {kind}: {answer:?}");
            wrong.extend(document.describes(&method.to_lowercase(), path, &answer).err());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
