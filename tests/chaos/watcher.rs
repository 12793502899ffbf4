//! Looks at the live index all the time: where is everybody, and was he ever shown farther back?

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use spacall::wire::time::WireTime;

use super::phone::Phone;
use crate::support::http::Api;

#[derive(Default)]
pub(super) struct Watcher {
    /// Counts the service's lives.
    pub(super) life: AtomicU64,
    pub(super) looks: AtomicU64,
    pub(super) faults: Mutex<Vec<String>>,
}

/// Of one therapist.
#[derive(Default, Clone, Copy)]
struct Seen {
    /// The newest fix that was shown in this life of the service.
    shown: i64,
    life: u64,
    /// The newest that was shown in any life and is acked: a new life shows no older one.
    floor: i64,
}

impl Watcher {
    /// Asks the service itself; who is not there is asked again.
    pub(super) async fn run(self: Arc<Self>, base: Arc<Mutex<Option<String>>>, admin: String, phones: Vec<Arc<Phone>>) {
        let mut seen: HashMap<String, Seen> = HashMap::new();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let Some(base) = base.lock().expect("not poisoned").clone() else { continue };
            let life = self.life.load(SeqCst);
            // What was acked before the question must be in its answer.
            for phone in &phones {
                let seen = seen.entry(phone.therapist.provider_uuid.to_string()).or_default();
                if seen.shown > seen.floor && phone.diary().acked.contains(&seen.shown) {
                    seen.floor = seen.shown;
                }
            }
            let request = Api::new(&base, Some(&admin)).request("GET", "/v1/ops/fleet");
            let Ok(response) = request.send().await else { continue };
            let Ok(fleet) = response.json::<Value>().await else { continue };
            if life != self.life.load(SeqCst) {
                continue;
            }
            self.looks.fetch_add(1, SeqCst);
            for phone in &phones {
                let uuid = phone.therapist.provider_uuid.to_string();
                let mut features = fleet["features"].as_array().into_iter().flatten();
                let Some(feature) = features.find(|f| f["properties"]["provider_uuid"] == uuid.as_str()) else {
                    continue;
                };
                let entry = seen.entry(uuid).or_default();
                if let Some(fault) = judge(entry, feature, life, phone) {
                    self.faults.lock().expect("not poisoned").push(fault);
                }
            }
        }
    }
}

fn judge(seen: &mut Seen, feature: &Value, life: u64, phone: &Phone) -> Option<String> {
    let (properties, place) = (&feature["properties"], &feature["geometry"]["coordinates"]);
    let at = WireTime::parse(properties["recorded_at"].as_str()?)?.0.micros();
    let who = phone.therapist.provider_id;
    let before = *seen;
    (seen.shown, seen.life) = (at, life);
    let made = phone.diary().made.get(&at).copied();
    let same = |a: f64, b: &Value| b.as_f64().is_some_and(|b| (a - b).abs() < 2e-7);
    match made {
        None => return Some(format!("{who} is shown at a time at which his phone made no fix: {properties}")),
        Some((lat, lon)) if !same(lat, &place[1]) || !same(lon, &place[0]) => {
            return Some(format!("{who} is shown at {place}, his phone was at {lat}, {lon}"));
        }
        Some(_) => {}
    }
    if before.life == life && at < before.shown {
        return Some(format!("{who} moved back by {} us", before.shown - at));
    }
    (at < before.floor).then(|| format!("{who} is shown {} us before an acked fix that was shown", before.floor - at))
}
