//! The one metric against the authority.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spacall::core::geo::LatLng;

use crate::support::database;

const SEED: u64 = 20_261_122;
const PAIRS: usize = 5_000;
/// Of PostGIS' own sphere, metres on any distance on Earth: both round, in different orders.
const SPHERE_M: f64 = 0.05;
/// Of its spheroid, relative: the Earth's flattening.
const SPHEROID: f64 = 0.005_7;

/// Half anywhere on Earth, poles and antimeridian included; half a few kilometres apart in Metro Manila.
fn pair(rng: &mut StdRng, i: usize) -> (LatLng, LatLng) {
    let place = |lat: f64, lng: f64| LatLng::new(lat.clamp(-90.0, 90.0), lng.clamp(-180.0, 180.0)).expect("a place");
    if i.is_multiple_of(2) {
        let mut any = || place(rng.random_range(-90.5..90.5), rng.random_range(-181.0..181.0));
        return (any(), any());
    }
    let (lat, lng) = (rng.random_range(14.3..14.8), rng.random_range(120.9..121.2));
    let near = place(lat + rng.random_range(-0.1..0.1), lng + rng.random_range(-0.1..0.1));
    (place(lat, lng), near)
}

#[tokio::test]
async fn the_metric_is_postgis_sphere_and_close_to_its_spheroid() {
    let database = database().await;
    let mut rng = StdRng::seed_from_u64(SEED);
    let pairs: Vec<_> = (0..PAIRS).map(|i| pair(&mut rng, i)).collect();
    let column = |of: fn(&(LatLng, LatLng)) -> f64| pairs.iter().map(of).collect::<Vec<f64>>();
    let truth: Vec<(f64, f64)> = sqlx::query_as(
        "SELECT ST_Distance(a, b, FALSE), ST_Distance(a, b, TRUE)
         FROM UNNEST($1::float8[], $2::float8[], $3::float8[], $4::float8[]) WITH ORDINALITY AS p (lat1, lng1, lat2, lng2, n),
              LATERAL (SELECT ST_SetSRID(ST_MakePoint(lng1, lat1), 4326)::geography AS a,
                              ST_SetSRID(ST_MakePoint(lng2, lat2), 4326)::geography AS b) g
         ORDER BY n",
    )
    .bind(column(|p| p.0.latitude()))
    .bind(column(|p| p.0.longitude()))
    .bind(column(|p| p.1.latitude()))
    .bind(column(|p| p.1.longitude()))
    .fetch_all(database.pool())
    .await
    .expect("distances");
    for ((a, b), (sphere, spheroid)) in pairs.iter().zip(truth) {
        let ours = a.distance(*b).get();
        assert!((ours - sphere).abs() <= SPHERE_M, "seed {SEED}: {a} to {b}: {ours} m, PostGIS' sphere {sphere} m");
        assert!(
            (ours - spheroid).abs() <= SPHEROID * spheroid + SPHERE_M,
            "seed {SEED}: {a} to {b}: {ours} m, PostGIS' spheroid {spheroid} m"
        );
    }
}
