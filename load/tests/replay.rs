//! The tool's binary against a whole node: nothing lost, every booking to its end, settings put back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spacall::cities::City;
use spacall::client::Api;
use spacall::core::geo::LatLng;
use spacall::node::{Node, NodeConfig};
use spacall::postgres::{Cluster, Durability};
use spacall::store::seed::{FleetPlan, fleet};
use spacall::wire::roster::{Role, RosterEntry};

const DATABASE: &str = "spacall";

/// A node on its own cluster, in a directory that goes with it.
struct Town {
    dir: PathBuf,
    cluster: Cluster,
    node: Node,
    roster: Vec<RosterEntry>,
}

impl Town {
    async fn new(name: &str, therapists: u32) -> Self {
        let dir = std::env::temp_dir().join(format!("spacall-load-{name}-{}", std::process::id()));
        let cluster = Cluster::open_with(&dir, Durability::ProcessOnly).await.expect("a private cluster");
        cluster.create_database(DATABASE, None).await.expect("a database");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let config = NodeConfig { rate_limit: 0, ..NodeConfig::new(cluster.options(DATABASE), listen) };
        let node = Node::start(config).await.expect("a node");
        node.ready().await;
        let plan = FleetPlan { therapists, customers: 20, cities: vec![village()], seed: 1 };
        let roster = fleet(&node.engine().pool, &plan).await.expect("a fleet");
        let lines: Vec<String> = roster.iter().map(|e| serde_json::to_string(e).expect("JSON")).collect();
        std::fs::write(dir.join("tokens"), lines.join("\n")).expect("a tokens file");
        Self { dir, cluster, node, roster }
    }

    fn url(&self) -> String {
        format!("http://{}", self.node.address())
    }

    async fn ping_limits(&self) -> Value {
        let admin = self.roster.iter().find(|e| e.role == Role::Admin).expect("an admin");
        let api = Api::new(&self.url(), &admin.token).expect("a client");
        api.setting("pings").await.expect("an answer").expect("a setting")
    }

    async fn until_limits(&self, so: impl Fn(&Value) -> bool) {
        let soon = tokio::time::timeout(Duration::from_secs(30), async {
            while !so(&self.ping_limits().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        soon.await.expect("the setting changes");
    }

    /// Runs the tool; its exit code and its report.
    async fn load(&self, scenario: &str, more: &[&str]) -> (Option<i32>, Value) {
        let json = self.dir.join("report.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_spacall-load"));
        command
            .arg(scenario)
            .args(["--url", &self.url(), "--database-url", &self.cluster.url(DATABASE), "--quiet"])
            .arg("--tokens")
            .arg(self.dir.join("tokens"))
            .arg("--json")
            .arg(&json)
            .args(more);
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the binary");
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&json).expect("a report");
        (output.status.code(), serde_json::from_str(&text).expect("JSON"))
    }

    async fn gone(self) {
        self.node.stop().await;
        self.cluster.stop().await.expect("a clean stop");
        std::fs::remove_dir_all(&self.dir).expect("an empty place");
    }
}

/// So small that everyone is near to everyone.
fn village() -> City {
    let centre = LatLng::new(13.1391, 123.7438).expect("a place");
    City { name: "Legazpi".to_owned(), centre, population: 210_616, spread_km: 0.3 }
}

fn count(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {report}"))
}

/// Vehicles that stand within a few hundred metres and a ride every 20 recorded seconds.
fn small_day(dir: &Path) -> (PathBuf, PathBuf) {
    let (gps, rides) = (dir.join("gps.csv"), dir.join("rides.csv"));
    let midnight = 1_212_130_800;
    let mut text = "t,vehicle,lat,lon,occupied\n".to_owned();
    for t in (0..600).step_by(30) {
        for vehicle in 0..8 {
            let (lat, lon) = (37.77 + f64::from(vehicle) * 0.001, -122.42 + f64::from(t) * 0.000_01);
            text.push_str(&format!("{},v{vehicle},{lat:.5},{lon:.5},0\n", midnight + t));
        }
    }
    text.push_str("noon,v0,37.77,-122.42,0\n");
    std::fs::write(&gps, text).expect("a file");
    let mut text = "trip_id,vehicle,pickup_t,pickup_lat,pickup_lon,duration_s\n".to_owned();
    for ride in 0..20 {
        text.push_str(&format!("{ride},v0,{},37.77300,-122.41900,60\n", midnight + 60 + ride * 20));
    }
    std::fs::write(&rides, text).expect("a file");
    (gps, rides)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_day_is_replayed_whole_and_the_settings_are_put_back() {
    let town = Town::new("small", 10).await;
    let before = town.ping_limits().await;
    let (gps, rides) = small_day(&town.dir);
    let (gps, rides) = (gps.to_string_lossy(), rides.to_string_lossy());
    let day = ["--gps", &gps, "--rides", &rides, "--date", "2008-05-30", "--onto", "manila", "--speed", "60"];
    // Ten minutes, sixty times faster.
    let slice = ["--duration", "10", "--customers", "5", "--silent", "0"];
    let (code, report) = town.load("replay", &[&day[..], &slice[..]].concat()).await;
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("pass")));
    for (path, wanted) in [
        ("/pings/sent", 160),
        ("/pings/stored", 160),
        ("/pings/lost", 0),
        ("/bookings/requested", 20),
        ("/bookings/completed", 20),
        ("/bookings/without_end", 0),
        ("/greedy/matched", 20),
        ("/bad_rows", 1),
    ] {
        assert_eq!(count(&report, path), wanted, "{path}");
    }
    assert_eq!(town.ping_limits().await, before);
    town.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_puts_the_settings_back() {
    let town = Town::new("stopped", 10).await;
    let before = town.ping_limits().await;
    let (gps, _) = small_day(&town.dir);
    let mut tool = Command::new(env!("CARGO_BIN_EXE_spacall-load"))
        .args(["replay", "--url", &town.url(), "--quiet", "--date", "2008-05-30", "--until", "00:10", "--speed", "2"])
        .arg("--gps")
        .arg(gps)
        .arg("--tokens")
        .arg(town.dir.join("tokens"))
        .spawn()
        .expect("the binary");
    town.until_limits(|limits| *limits != before).await;
    let told = Command::new("kill").args(["-TERM", &tool.id().to_string()]).status().expect("kill");
    assert!(told.success());
    town.until_limits(|limits| *limits == before).await;
    let ended = tokio::task::spawn_blocking(move || tool.wait()).await.expect("no panic").expect("a status");
    assert_eq!(ended.code(), Some(1));
    town.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_fleet_and_pings_alone_lose_nothing() {
    let town = Town::new("made-up", 10).await;
    let run = [
        "--duration",
        "5",
        "--bookings-per-s",
        "1",
        "--interval",
        "1",
        "--settle",
        "60",
        "--silent",
        "0",
        "--service-s",
        "1",
    ];
    let (code, report) = town.load("run", &run).await;
    assert_eq!((code, count(&report, "/pings/lost"), count(&report, "/pings/rejected")), (Some(0), 0, 0));
    assert!(count(&report, "/pings/stored") >= 45 && count(&report, "/nearby/requests") >= 45, "{report}");
    let pings = ["--duration", "3", "--rate", "100", "--wire", "bin", "--visible-per-s", "10"];
    let (code, report) = town.load("pings", &pings).await;
    assert_eq!((code, count(&report, "/pings/stored"), count(&report, "/pings/lost")), (Some(0), 300, 0));
    // The probe's therapist is not one of the fleet's, and every one of his fixes was found.
    assert_eq!((count(&report, "/sockets"), &report["errors"]), (9, &serde_json::json!({})));
    let visible = report.pointer("/pings/visible_ms/p50").and_then(Value::as_f64);
    assert!(visible.is_some_and(|ms| ms > 0.0 && ms < 1_000.0), "{report}");
    let (code, report) = town.load("pings", &["--duration", "1", "--slo", "ping_ack_p50=0"]).await;
    assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("fail")));
    let unmeasured = ["--duration", "1", "--visible-per-s", "0", "--slo", "ping_visible_p99=1000"];
    let (code, report) = town.load("pings", &unmeasured).await;
    assert_eq!((code, count(&report, "/sockets")), (Some(1), 10), "a limit on what was not measured is missed");
    town.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_of_a_real_day_loses_nothing_and_keeps_up_with_greed() {
    let Ok(data) = std::env::var("SPACALL_DATA") else {
        println!("skipped: SPACALL_DATA is not set");
        return;
    };
    let town = Town::new("real", 490).await;
    let gps = format!("{data}/gps/sf_cabs_2008-05-30.csv.gz");
    let rides = format!("{data}/demand/sf_trips_2008-05-17_to_05-31.csv.gz");
    let day = ["--gps", &gps, "--rides", &rides, "--date", "2008-05-30", "--onto", "manila", "--speed", "60"];
    let slice = ["--from", "08:00", "--until", "08:10", "--customers", "20", "--max-gap", "5"];
    let (code, report) = town.load("replay", &[&day[..], &slice[..]].concat()).await;
    assert_eq!((code, count(&report, "/pings/lost"), count(&report, "/bookings/without_end")), (Some(0), 0, 0));
    assert!(count(&report, "/pings/stored") > 3_000 && count(&report, "/bookings/completed") > 80, "{report}");
    town.gone().await;
}

#[test]
fn another_machine_is_refused_before_anything_is_asked() {
    let output = Command::new(env!("CARGO_BIN_EXE_spacall-load"))
        .args(["pings", "--tokens", "nowhere", "--url", "http://192.0.2.1:8080"])
        .output()
        .expect("the binary");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}
