//! The private cluster's promises: whatever is killed, the next start finds what was committed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use spacall::postgres::{Cluster, Durability};
use sqlx::{ConnectOptions, Executor};

use crate::support::until;

/// Deleted when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("spacall-cluster-{}-{name}", std::process::id()));
        // A test that was killed earlier, under the same process number.
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    async fn open(&self) -> Cluster {
        Cluster::open_with(&self.0, Durability::ProcessOnly).await.expect("a private cluster")
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("cluster/pgdata/postmaster.pid")
    }

    fn server(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let home = fs::canonicalize(self.0.join("cluster"));
        for path in home.iter().chain([&self.0]) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// This same binary, as another process that owns the cluster of `dir`.
fn another_process(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::owner_in_another_process", "--nocapture"])
        .env("SPACALL_TEST_OWNS", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: what [`another_process`] runs.
#[tokio::test]
async fn owner_in_another_process() {
    let Some(dir) = std::env::var_os("SPACALL_TEST_OWNS") else { return };
    let cluster = Cluster::open_with(Path::new(&dir), Durability::ProcessOnly).await.unwrap();
    println!("owner: {}", cluster.is_owner());
    std::future::pending::<()>().await;
}

async fn count(cluster: &Cluster) -> i64 {
    let mut connection = cluster.options("kept").connect().await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn what_was_committed_survives_the_kill_of_the_server() {
    let dir = Dir::new("server-killed");
    let cluster = dir.open().await;
    // As commands do that are started at once, over a new directory.
    let made = join_all((0..4).map(|_| cluster.create_database("kept", None))).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
    assert!(!cluster.create_database("kept", None).await.unwrap());
    let mut connection = cluster.options("kept").connect().await.unwrap();
    connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n").await.unwrap();
    for (setting, value) in
        [("listen_addresses", ""), ("data_checksums", "on"), ("server_encoding", "UTF8"), ("TimeZone", "UTC")]
    {
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, value, "{setting}");
    }
    kill_process(dir.server().unwrap(), Signal::KILL).unwrap();
    cluster.stop().await.unwrap();

    let recovered = dir.open().await;
    assert_eq!(count(&recovered).await, 1000);
    assert!(recovered.stop().await.unwrap());

    // The number of a dead server is another process's now: this one's.
    fs::write(dir.pid_file(), format!("{}\n", std::process::id())).unwrap();
    let again = dir.open().await;
    assert_eq!(count(&again).await, 1000);
    drop(again);
    assert_eq!(dir.server(), None, "a cluster that is dropped is stopped");
}

#[tokio::test]
async fn a_killed_owner_leaves_a_server_that_the_next_process_adopts_and_stops() {
    let dir = Dir::new("owner-killed");
    let mut owner = another_process(&dir.0);
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("owner: true")));
    let server = dir.server().unwrap();

    let joined = dir.open().await;
    assert!(!joined.is_owner());
    assert!(!joined.stop().await.unwrap());
    owner.kill().unwrap();
    owner.wait().unwrap();

    let adopted = dir.open().await;
    assert!(adopted.is_owner());
    assert_eq!(dir.server(), Some(server), "it never stopped");
    assert!(adopted.stop().await.unwrap());
    assert_eq!(dir.server(), None);
}

#[tokio::test]
async fn an_owner_that_leaves_while_another_stays_leaves_the_server_to_it() {
    // Longer than a socket's address may be, and with a character that needs quoting.
    let dir = Dir::new(&format!("it's-{}", "long-".repeat(20)));
    let (a, b) = tokio::join!(dir.open(), dir.open());
    let (owner, other) = if a.is_owner() { (a, b) } else { (b, a) };
    assert!(owner.is_owner() && !other.is_owner());
    assert!(!owner.stop().await.unwrap());
    assert!(other.create_database("kept", None).await.unwrap());
    assert!(other.stop().await.unwrap());
    assert_eq!(dir.server(), None);
}

#[tokio::test]
async fn a_killed_initdb_is_done_again() {
    let dir = Dir::new("initdb-killed");
    let mut first = another_process(&dir.0);
    let begun = || {
        let mut names = fs::read_dir(dir.0.join("cluster")).into_iter().flatten().flatten().map(|e| e.file_name());
        names.any(|name| name.to_string_lossy().starts_with("pgdata.unfinished."))
    };
    until("initdb has begun", begun).await;
    first.kill().unwrap();
    first.wait().unwrap();

    let cluster = dir.open().await;
    assert!(cluster.is_owner());
    assert!(cluster.create_database("kept", None).await.unwrap());
    assert!(cluster.stop().await.unwrap());
}

#[tokio::test]
async fn a_directory_that_is_no_cluster_is_refused_and_named() {
    let dir = Dir::new("foreign");
    drop(dir.open().await);
    fs::remove_file(dir.0.join("cluster/pgdata/PG_VERSION")).unwrap();
    let error = Cluster::open(&dir.0).await.unwrap_err().to_string();
    assert!(error.contains("cluster/pgdata") && error.contains("no PG_VERSION"), "{error}");
}
