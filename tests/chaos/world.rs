//! Everything that takes part, how each part is broken, and what is found at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use spacall::clock;
use spacall::postgres::{Cluster, Durability};
use spacall::store;
use sqlx::PgPool;

use super::disk::Disk;
use super::line::Line;
use super::phone::Phone;
use super::watcher::Watcher;
use super::{Fault, Plan, day};
use crate::support::http::Api;
use crate::support::server::Process;
use crate::support::{people, until};

const DATABASE: &str = "spacall_chaos";

/// How long the journal cannot write before the service is killed: phones have sent something meanwhile.
const HELD_FOR: Duration = Duration::from_millis(400);

/// How long clocks are wrong.
const WRONG_FOR: Duration = Duration::from_millis(700);

pub(super) struct World {
    phones: Vec<Arc<Phone>>,
    watcher: Arc<Watcher>,
    line: Line,
    admin: String,
    /// Of the service that lives.
    base: Arc<Mutex<Option<String>>>,
    process: Option<Process>,
    pool: PgPool,
    url: String,
    // Last: what stands on them ends first.
    cluster: Option<Cluster>,
    disk: Disk,
}

/// What the tables, the index and the phones say at the end.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) made: usize,
    pub(super) acked: usize,
    pub(super) refused: BTreeMap<String, usize>,
    pub(super) stored: usize,
    pub(super) reconnects: u64,
    /// Looks at the whole index.
    pub(super) watched: u64,
    pub(super) acked_and_not_stored: usize,
    pub(super) stored_and_never_sent: usize,
    pub(super) stored_twice: usize,
    pub(super) never_answered: usize,
    pub(super) moved_back: Vec<String>,
    pub(super) drift: u64,
}

impl World {
    pub(super) async fn start(plan: &Plan) -> Self {
        let disk = Disk::new();
        let cluster = open(&disk).await;
        cluster.create_database(DATABASE, None).await.expect("a database");
        let pool = store::connect(cluster.options(DATABASE), 4).await.expect("a pool");
        store::migrate(&pool).await.expect("the migrations");
        // Days pass in minutes here, and phones that were cut off send a lot at once.
        sqlx::query(
            r#"UPDATE app_settings SET value = value || '{"max_speed_kmh": 10000000, "per_second": 100000, "burst": 1000000}'
               WHERE key = 'pings'"#,
        )
        .execute(&pool)
        .await
        .expect("settings");
        let admin = people::admin(&pool).await.token;
        let mut therapists = Vec::new();
        for _ in 0..plan.phones {
            therapists.push(people::therapist(&pool, "Tibay", 14.55, 121.02).await);
        }
        let line = Line::start().await;
        let mut world = Self {
            phones: Vec::new(),
            watcher: Arc::default(),
            line,
            admin,
            base: Arc::default(),
            process: None,
            url: cluster.url(DATABASE),
            pool,
            cluster: Some(cluster),
            disk,
        };
        world.serve().await;
        for (therapist, way) in therapists.into_iter().zip(day::ways(plan.phones)) {
            world.phones.push(Phone::start(therapist, way, world.line.address.clone(), plan.tick));
        }
        tokio::spawn(Arc::clone(&world.watcher).run(
            Arc::clone(&world.base),
            world.admin.clone(),
            world.phones.clone(),
        ));
        world
    }

    async fn serve(&mut self) {
        let process = Process::at(&self.url, "off", Stdio::inherit()).await;
        self.line.leads_to(process.base.strip_prefix("http://"));
        *self.base.lock().expect("not poisoned") = Some(process.base.clone());
        self.process = Some(process);
    }

    /// Breaks something, and puts it right where nothing does so by itself. False: it cannot be broken here.
    pub(super) async fn suffer(&mut self, fault: Fault, rng: &mut StdRng) -> bool {
        // Not always at the same moment of a batch.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        match fault {
            Fault::ServiceKilled => {
                // Every other time while it cannot commit: what it holds then must not have been acked.
                let held = match self.watcher.life.load(SeqCst) % 2 {
                    0 => Some(store::ceiling::hold(&self.pool).await.expect("the table")),
                    _ => None,
                };
                if held.is_some() {
                    tokio::time::sleep(HELD_FOR).await;
                }
                *self.base.lock().expect("not poisoned") = None;
                self.process.take().expect("a service").kill().await;
                self.watcher.life.fetch_add(1, SeqCst);
                drop(held);
                self.serve().await;
            }
            Fault::PostgresCrashed => {
                self.quit_postgres();
                self.reopen().await;
            }
            Fault::LineDropped => self.line.cut(),
            Fault::LineHalfOpen => self.line.fall_silent(),
            Fault::FramesDuplicated => self.phones.iter().for_each(|phone| phone.repeats.store(true, SeqCst)),
            Fault::FramesReordered => self.phones.iter().for_each(|phone| phone.reorders.store(true, SeqCst)),
            Fault::DiskFull => return self.full_disk().await,
            Fault::ListenerEnded => self.end_listener(rng).await,
            Fault::ClocksStepped => {
                for phone in &self.phones {
                    let seconds = [-600, -30, 20, 7_200][rng.random_range(0..4)];
                    phone.clock_off.store(seconds * 1_000_000 + rng.random_range(0..1_000), SeqCst);
                }
                tokio::time::sleep(WRONG_FOR).await;
                self.phones.iter().for_each(|phone| phone.clock_off.store(0, SeqCst));
            }
        }
        true
    }

    /// Returns when every phone has heard an ack of something new.
    pub(super) async fn recovered(&self, fault: Fault) {
        let before: Vec<u64> = self.phones.iter().map(|phone| phone.made.load(SeqCst)).collect();
        until(&format!("every phone hears acks again after {fault:?}"), || {
            self.phones.iter().zip(&before).all(|(phone, made)| phone.answered.load(SeqCst) > *made)
        })
        .await;
    }

    fn quit_postgres(&self) {
        let home = fs::canonicalize(self.disk.dir().join("pg/cluster")).expect("the cluster's home");
        let pid = fs::read_to_string(home.join("pgdata/postmaster.pid")).expect("its pid file");
        let pid = pid.lines().next().and_then(|line| Pid::from_raw(line.trim().parse().ok()?)).expect("a pid");
        // What `pg_ctl stop --mode immediate` does: no checkpoint, no goodbye.
        kill_process(pid, Signal::QUIT).expect("the server is there");
    }

    async fn reopen(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            // It is gone already, or about to be.
            let _ = cluster.stop().await;
        }
        self.cluster = Some(open(&self.disk).await);
    }

    /// Until the journal has failed to write, then some more, then there is room again.
    async fn full_disk(&mut self) -> bool {
        let before = self.retries().await;
        let Some(ballast) = self.disk.fill() else { return false };
        let felt = clock::monotonic();
        while self.retries().await == before {
            assert!(felt.elapsed() < Duration::from_secs(40), "a full disk is not felt");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(ballast);
        // A server that could not write its log is in recovery, or down: somebody starts it again.
        for _ in 0..30 {
            if store::alive(&self.pool).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.reopen().await;
        true
    }

    /// How often the journal tried again.
    async fn retries(&self) -> u64 {
        let base = self.base.lock().expect("not poisoned").clone().expect("a service");
        let response = Api::new(&base, None).request("GET", "/metrics").send().await.expect("metrics");
        let text = response.text().await.expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix("spacall_journal_retries_total "));
        line.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Ends the backend that listens, or lets it stand still until another one listens, while rows change.
    async fn end_listener(&self, rng: &mut StdRng) {
        let change = "UPDATE providers SET average_rating = $2, is_available = $3 WHERE id = $1";
        let before = self.listeners().await;
        let stands_still = rng.random_bool(0.5);
        for pid in &before {
            let _gone_already = kill_process(*pid, if stands_still { Signal::STOP } else { Signal::TERM });
        }
        for phone in &self.phones {
            sqlx::query(change)
                .bind(phone.therapist.provider_id)
                .bind(rust_decimal::Decimal::new(rng.random_range(0..500), 2))
                .bind(rng.random_bool(0.8))
                .execute(&self.pool)
                .await
                .expect("changed");
        }
        let felt = clock::monotonic();
        while stands_still && self.listeners().await.iter().all(|pid| before.contains(pid)) {
            assert!(felt.elapsed() < Duration::from_secs(40), "a listener that stands still is not felt");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for pid in before {
            let _gone_already = kill_process(pid, Signal::CONT);
        }
    }

    async fn listeners(&self) -> Vec<Pid> {
        let pids: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'",
        )
        .fetch_all(&self.pool)
        .await
        .expect("the sessions");
        pids.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// Lets everything come to rest and looks.
    pub(super) async fn end(self) -> Found {
        self.phones.iter().for_each(|phone| phone.stop());
        let left = || self.phones.iter().map(|phone| phone.left()).sum::<usize>();
        until("every fix is answered for", || left() == 0).await;
        let process = self.process.as_ref().expect("a service");
        let audit = process.api(&self.admin).get("/v1/ops/consistency").await.json;
        let mut found = Found {
            never_answered: left(),
            watched: self.watcher.looks.load(SeqCst),
            moved_back: self.watcher.faults.lock().expect("not poisoned").clone(),
            drift: audit["drift"].as_u64().expect("a drift"),
            ..Found::default()
        };
        for phone in &self.phones {
            let rows: Vec<i64> = sqlx::query_scalar(
                "SELECT (extract(epoch FROM created_at) * 1000000)::bigint FROM provider_locations WHERE provider_id = $1",
            )
            .bind(phone.therapist.provider_id)
            .fetch_all(&self.pool)
            .await
            .expect("rows");
            let (diary, stored) = (phone.diary(), rows.iter().copied().collect::<BTreeSet<_>>());
            found.made += diary.made.len();
            found.acked += diary.acked.len();
            found.stored += rows.len();
            found.reconnects += phone.reconnects.load(SeqCst);
            found.stored_twice += rows.len() - stored.len();
            found.acked_and_not_stored += diary.acked.difference(&stored).count();
            found.stored_and_never_sent += stored.iter().filter(|at| !diary.made.contains_key(at)).count();
            for code in diary.refused.values() {
                *found.refused.entry(code.clone()).or_default() += 1;
            }
        }
        self.pool.close().await;
        found
    }
}

async fn open(disk: &Disk) -> Cluster {
    Cluster::open_with(&disk.dir().join("pg"), Durability::Full).await.expect("a private cluster")
}
