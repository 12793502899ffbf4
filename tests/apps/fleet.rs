use spacall::cities::metro_manila;
use spacall::store::seed::{FleetPlan, fleet};
use spacall::wire::roster::{Role, RosterEntry};

use crate::support::database;
use crate::support::server::Server;

fn plan(seed: u64) -> FleetPlan {
    FleetPlan { therapists: 30, customers: 10, cities: metro_manila(), seed }
}

/// All but what must be of its own in every run.
fn likeness(roster: &[RosterEntry]) -> Vec<String> {
    roster
        .iter()
        .map(|e| {
            format!("{:?} {:?} {:?} {} {} {:?}", e.role, e.first_name, e.city, e.latitude, e.longitude, e.services)
        })
        .collect()
}

#[tokio::test]
async fn the_same_seed_gives_the_same_people_and_a_second_run_other_accounts() {
    let database = database().await;
    let first = fleet(database.pool(), &plan(7)).await.expect("a fleet");
    let second = fleet(database.pool(), &plan(7)).await.expect("a second fleet beside the first");
    assert_eq!(likeness(&first), likeness(&second));
    assert_ne!(likeness(&first), likeness(&fleet(database.pool(), &plan(8)).await.expect("another fleet")));
    let mut tokens: Vec<&str> = first.iter().chain(&second).map(|e| e.token.as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 82);
    let (users, phones, wallets): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT phone), count(w.id) FROM users u LEFT JOIN wallets w ON w.user_id = u.id",
    )
    .fetch_one(database.pool())
    .await
    .expect("counts");
    assert_eq!((users, phones, wallets), (123, 123, 123));
}

#[tokio::test]
async fn everyone_of_a_seeded_fleet_is_who_the_tokens_file_says() {
    let server = Server::start().await;
    let roster = fleet(server.pool(), &plan(1)).await.expect("a fleet");
    for (role, word) in [(Role::Therapist, "therapist"), (Role::Customer, "customer"), (Role::Admin, "admin")] {
        let entry = roster.iter().find(|e| e.role == role).expect("one of each");
        let me = server.api(&entry.token).get("/v1/me").await;
        assert_eq!(me.status, 200, "{word}: {:?}", me.json);
        assert!(me.json.to_string().contains(&entry.user_uuid.to_string()), "{word}: {:?}", me.json);
    }
    let (fit, addressed): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM providers p JOIN therapist_profiles t ON t.provider_id = p.id
                 WHERE p.verification_status = 'verified' AND p.is_active AND p.is_available AND t.base_location IS NOT NULL
                   AND EXISTS (SELECT FROM provider_services s JOIN services v ON v.id = s.service_id
                               WHERE s.provider_id = p.id AND v.slug = 'swedish-massage'
                                 AND s.price BETWEEN v.base_price * 0.8 AND v.base_price * 1.2)),
                (SELECT count(*) FROM user_addresses WHERE is_default)",
    )
    .fetch_one(server.pool())
    .await
    .expect("counts");
    assert_eq!((fit, addressed), (30, 10));
}
