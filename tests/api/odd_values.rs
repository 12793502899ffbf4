//! Whatever somebody writes into a field, it is his mistake or none: never ours.

use serde_json::json;

use super::*;

fn values() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "%",
        "\\",
        "'; DROP TABLE users; --",
        "\u{202e}",
        "0000-00-00",
        "9999-12-31",
        "a@b\0.c",
    ];
    let long = ["x".repeat(70_000), "😀".repeat(90), "+".repeat(21), format!("+{}", "9".repeat(15))];
    let mut all: Vec<Value> = texts.into_iter().map(Value::from).chain(long.map(Value::from)).collect();
    all.extend([
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(0.1),
    ]);
    all.extend([
        json!([]),
        json!([null]),
        json!(["\0"]),
        json!([[["x"]]]),
        json!({}),
        json!({"a\0": 1}),
        json!({"a": "\0"}),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_field_is_answered_with_a_fault_of_ours() {
    let server = Server::behind("127.0.0.1").await;
    let (customer, other) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let chief = people::person(server.pool(), "super_admin", "Corazon").await;
    let (nobody, mine, top) = (Api::new(&server.base, None), server.api(&customer.token), server.api(&chief.token));
    let her = format!("/v1/users/{}", other.user_uuid);
    let roles = her.clone() + "/roles";
    let register = json!({"phone": "+639171234567", "password": accounts::PASSWORD, "first_name": "Maria"});
    let profile = [
        "email",
        "first_name",
        "last_name",
        "gender",
        "date_of_birth",
        "profile_photo_url",
        "preferred_language",
        "notification_preferences",
    ];
    let by_admins = [&["phone", "is_active", "is_verified"], &profile[..7]].concat();
    let registration = [&["phone", "password", "password_confirmation", "role", "device_name"], &profile[..]].concat();
    let passwords = ["current_password", "password", "password_confirmation"];
    let device = ["device_type", "token", "device_name", "device_os_version", "app_version"];
    let log_in = ["phone", "email", "password", "device_name"];
    let device_body = json!({"device_type": "web", "token": "x"});
    let password_body = json!({"current_password": "x", "password": accounts::PASSWORD});
    let mut faults = Vec::new();
    let mut asked = 0_u32;
    for (api, method, path, body, fields) in [
        (&nobody, "POST", "/v1/auth/register", &register, &registration[..]),
        (&nobody, "POST", "/v1/auth/login", &json!({"password": "x"}), &log_in[..]),
        (&mine, "PUT", "/v1/me/password", &password_body, &passwords[..]),
        (&mine, "PATCH", "/v1/me", &json!({}), &profile[..]),
        (&mine, "PUT", "/v1/device-tokens", &device_body, &device[..]),
        (&top, "PATCH", &her, &json!({}), &by_admins[..]),
        (&top, "PUT", &roles, &json!({}), &["roles"]),
        (&top, "PUT", "/v1/roles/customer/permissions", &json!({}), &["permissions"]),
    ] {
        for field in fields {
            for value in values() {
                let mut body = body.clone();
                body[field] = value;
                asked += 1;
                // Each from elsewhere, or the limits would answer.
                let from = format!("10.{}.{}.1", asked / 250, asked % 250);
                let request = api.request(method, path).header("x-forwarded-for", from).json(&body);
                let answer = api.send(request).await;
                if answer.status >= 500 {
                    faults.push((
                        method,
                        path,
                        *field,
                        body[field].to_string().chars().take(40).collect::<String>(),
                        answer.status,
                    ));
                }
            }
        }
    }
    let odd = [
        "",
        "%00",
        "%FF",
        "-1",
        "0",
        "9223372036854775807",
        "99999999999999999999",
        "%F0%9F%98%80",
        "a9223372036854775807",
        "b1",
        "%25",
        "'",
    ];
    for (path, names) in [
        ("/v1/users", &["role", "search", "cursor", "per_page"][..]),
        ("/v1/audit-logs", &["auditable_type", "auditable_id", "user_uuid", "cursor", "per_page"]),
        ("/v1/notifications", &["unread", "cursor", "per_page"]),
        ("/v1/tokens", &["cursor", "per_page"]),
        ("/v1/device-tokens", &["cursor", "per_page"]),
        ("/v1/roles", &["cursor"]),
        ("/v1/permissions", &["cursor"]),
    ] {
        for name in names {
            for value in odd {
                let answer = top.get(&format!("{path}?{name}={value}")).await;
                if answer.status >= 500 {
                    faults.push(("GET", path, *name, value.to_owned(), answer.status));
                }
            }
        }
    }
    for value in &odd[1..] {
        for (method, path) in [
            ("GET", format!("/v1/users/{value}")),
            ("DELETE", format!("/v1/users/{value}")),
            ("DELETE", format!("/v1/tokens/{value}")),
            ("DELETE", format!("/v1/device-tokens/{value}")),
            ("PUT", format!("/v1/notifications/{value}/read")),
            ("PUT", format!("/v1/permissions/{value}")),
            ("DELETE", format!("/v1/permissions/{value}")),
        ] {
            let answer = top.send(top.request(method, &path)).await;
            if answer.status >= 500 {
                faults.push((method, "a path", "", path, answer.status));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
