//! What is answered is what `/openapi.json` says: status and shape of real answers.

use serde_json::json;

use super::*;

/// The document, and what it says of an operation.
pub struct Document(Value);

impl Document {
    pub async fn of(server: &Server) -> Self {
        Self(Api::new(&server.base, None).get("/openapi.json").await.json)
    }

    /// Whether this answer to `method` `path` (as the document writes it) is one that is described, to its last field.
    pub fn describes(&self, method: &str, path: &str, answer: &Answer) -> Result<(), String> {
        let status = answer.status.to_string();
        let response = &self.0["paths"][path][method]["responses"][&status];
        let kind = answer.headers["content-type"].to_str().expect("text").split(';').next().expect("a type");
        let schema = response["content"].get(kind).and_then(|content| content.get("schema"));
        let schema = schema.ok_or(format!("{method} {path}: no {status} of {kind}"))?;
        self.fits(schema, true, &answer.json, "").map_err(|wrong| format!("{method} {path} {status}: {wrong}"))
    }

    /// As much of JSON Schema as the document uses. `closed`: an object has no field that is not described, but where none is. (Of
    /// what is put together from parts each describes some.)
    fn fits(&self, schema: &Value, closed: bool, value: &Value, at: &str) -> Result<(), String> {
        if let Some(pointer) = schema["$ref"].as_str() {
            let schema = self.0.pointer(&pointer[1..]).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
            return self.fits(schema, closed, value, at);
        }
        for any in ["oneOf", "anyOf"] {
            if let Some(schemas) = schema[any].as_array()
                && !schemas.iter().any(|schema| self.fits(schema, closed, value, at).is_ok())
            {
                return Err(format!("{at}: {value} is none of {schemas:?}"));
            }
        }
        for schema in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(schema, false, value, at)?;
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            Value::Null => Vec::new(),
            kind => vec![kind.clone()],
        };
        let is = |kind: &str| match kind {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("a new type: {other}"),
        };
        if !kinds.is_empty() && !kinds.iter().filter_map(Value::as_str).any(is) {
            return Err(format!("{at}: {value} is not of type {kinds:?}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{at}: {value} is none of {words:?}"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.fits(&schema["items"], true, item, &format!("{at}[]"))?;
        }
        let Some(object) = value.as_object() else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name");
            object.get(name).ok_or(format!("{at}: {name} is missing"))?;
        }
        let Some(described) = schema["properties"].as_object() else { return Ok(()) };
        for (name, value) in object {
            match described.get(name) {
                Some(schema) => self.fits(schema, true, value, &format!("{at}.{name}"))?,
                None if closed => return Err(format!("{at}: {name} is not described")),
                None => {}
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_of_the_described_shape() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(server.pool()).await, people::admin(server.pool()).await);
    let (his, hers, ops) = (server.api(&therapist.person.token), server.api(&customer.token), server.api(&admin.token));
    let booked = hers.post("/v1/bookings", wanted()).await;
    let booking = format!("/v1/bookings/{}", uuid(&booked.json));
    let offers = his.until("/v1/offers", |answer| answer.json["data"][0].is_object()).await;
    let offer = offers.json["data"][0]["offer_id"].clone();
    let accepted = his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await;
    let moved = hers.post(&format!("{booking}/transitions"), json!({"to": "cancelled", "reason": "rain"})).await;
    let mut all = vec![
        ("post", "/v1/bookings", 201, booked),
        ("get", "/v1/offers", 200, offers),
        ("post", "/v1/offers/{id}/accept", 200, accepted),
        ("post", "/v1/bookings/{uuid}/transitions", 200, moved),
        ("post", "/v1/offers/{id}/decline", 409, his.post(&format!("/v1/offers/{offer}/decline"), json!({})).await),
        ("put", "/v1/me/availability", 200, his.put("/v1/me/availability", json!({"available": true})).await),
        ("put", "/v1/settings/{key}", 200, ops.put("/v1/settings/service_radius_max", json!({"value": 20})).await),
        ("put", "/v1/settings/{key}", 422, ops.put("/v1/settings/service_radius_max", json!({"value": "far"})).await),
        ("post", "/v1/locations", 200, his.post("/v1/locations", json!({"fixes": [{"seq": 1}]})).await),
    ];
    for (path, asked) in [
        ("/v1/me", "/v1/me".to_owned()),
        ("/v1/services", "/v1/services".to_owned()),
        ("/v1/settings", "/v1/settings".to_owned()),
        ("/v1/settings/{key}", "/v1/settings/dispatch".to_owned()),
        ("/v1/bookings", "/v1/bookings".to_owned()),
        ("/v1/bookings/{uuid}", booking.clone()),
        ("/v1/bookings/{uuid}/timeline", format!("{booking}/timeline")),
        ("/v1/therapists/nearby", nearby(HERE, "")),
        ("/v1/ops/consistency", "/v1/ops/consistency".to_owned()),
        ("/v1/ops/bookings/{uuid}/explain", booking.replace("/v1", "/v1/ops") + "/explain"),
        ("/v1/ops/fleet/{uuid}", format!("/v1/ops/fleet/{}", therapist.provider_uuid)),
    ] {
        let api = if path == "/v1/bookings" || path == "/v1/me" { &hers } else { &ops };
        all.push(("get", path, 200, api.get(&asked).await));
    }
    all.extend(accounts::answers(&server, &customer).await);
    let wrong = all.iter().filter_map(|(method, path, status, answer)| {
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        document.describes(method, path, answer).err()
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_refused_as_described() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let none = "00000000-0000-4000-8000-000000000000";
    let mut wrong = Vec::new();
    for (method, path, token) in [
        ("post", "/v1/bookings", &customer.token),
        ("post", "/v1/bookings/{uuid}/transitions", &customer.token),
        ("put", "/v1/me/availability", &therapist.person.token),
        ("post", "/v1/locations", &therapist.person.token),
        ("post", "/v1/locations/owntracks", &therapist.person.token),
        ("post", "/v1/locations/osmand", &therapist.person.token),
        ("post", "/v1/offers/{id}/accept", &therapist.person.token),
        ("post", "/v1/offers/{id}/decline", &therapist.person.token),
        ("put", "/v1/settings/{key}", &admin.token),
        ("post", "/v1/auth/register", &customer.token),
        ("post", "/v1/auth/login", &customer.token),
        ("patch", "/v1/me", &customer.token),
        ("put", "/v1/me/password", &customer.token),
        ("put", "/v1/device-tokens", &customer.token),
        ("patch", "/v1/users/{uuid}", &admin.token),
        ("put", "/v1/users/{uuid}/roles", &admin.token),
        ("post", "/v1/wallet/topups", &customer.token),
        ("post", "/v1/transactions/{uuid}/transitions", &admin.token),
        ("post", "/v1/bookings/{uuid}/tips", &customer.token),
        ("post", "/v1/payouts", &admin.token),
        ("post", "/v1/payouts/{id}/transitions", &admin.token),
        ("post", "/v1/promo-codes", &admin.token),
        ("patch", "/v1/promo-codes/{id}", &admin.token),
        ("post", "/v1/bookings/{uuid}/review", &customer.token),
        ("put", "/v1/reviews/{id}/response", &therapist.person.token),
        ("patch", "/v1/reviews/{id}", &admin.token),
    ] {
        let api = server.api(token);
        let asked = path.replace("{uuid}", none).replace("{id}", "1").replace("{key}", "dispatch");
        // Trackers are told to forget what cannot be read, whatever they say that it is.
        let tracker = path.starts_with("/v1/locations/");
        for (kind, body, status) in [
            ("application/json", vec![b' '; 600 * 1024], 413),
            ("application/json", b"{".to_vec(), if tracker { 200 } else { 400 }),
            ("application/json", b"[]".to_vec(), if tracker { 200 } else { 422 }),
            ("text/plain", b"{}".to_vec(), if tracker { 200 } else { 415 }),
        ] {
            let request = api.request(&method.to_uppercase(), &asked).header("content-type", kind).body(body);
            let answer = api.send(request).await;
            assert_eq!(answer.status, status, "{method} {path} {kind}: {answer:?}");
            wrong.extend(document.describes(method, path, &answer).err());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
