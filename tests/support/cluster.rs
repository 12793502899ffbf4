//! One private cluster in a temporary directory; every test gets a copy of a database that was migrated once.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use spacall::postgres::{Cluster, Durability};
use spacall::store;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;

const TEMPLATE: &str = "spacall_template";

struct Shared {
    cluster: Cluster,
    /// Closed by the kernel when this process ends, however it ends: then the watchdog cleans up.
    _watched: ChildStdin,
}

static SHARED: OnceCell<Shared> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A migrated database of the test's own; dropped with it.
pub struct TestDatabase {
    name: String,
    options: PgConnectOptions,
    url: String,
    pool: PgPool,
}

/// Copies the migrated template: tens of milliseconds.
pub async fn database() -> TestDatabase {
    copy_of(TEMPLATE).await
}

/// A database without a schema.
pub async fn empty_database() -> TestDatabase {
    copy_of("template0").await
}

async fn copy_of(template: &str) -> TestDatabase {
    let shared = SHARED.get_or_init(start).await;
    let name = format!("spacall_test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    shared.cluster.create_database(&name, Some(template)).await.expect("a copy of the template");
    let options = shared.cluster.options(&name);
    let pool = store::connect(options.clone(), 8).await.expect("a pool on the test's database");
    TestDatabase { url: shared.cluster.url(&name), name, options, pool }
}

impl TestDatabase {
    /// Of 8 connections, for this test's runtime only.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// For a server under test that opens its own pool.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// For a server process under test: its `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    /// In a thread with a runtime of its own: the test's may be ending. Nobody waits for it; what is left over goes with
    /// the cluster.
    fn drop(&mut self) {
        let (name, admin) = (self.name.clone(), self.options.clone().database("postgres"));
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                use sqlx::{ConnectOptions, Executor};
                if let Ok(mut connection) = admin.connect().await {
                    let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                    let _ = connection.execute(drop).await;
                }
            });
        });
    }
}

async fn start() -> Shared {
    let dir = std::env::temp_dir().join(format!("spacall-tests-{}", std::process::id()));
    let watched = watchdog(&dir);
    let cluster = Cluster::open_with(&dir, Durability::ProcessOnly).await.expect("a private cluster for the tests");
    cluster.create_database(TEMPLATE, None).await.expect("the template database");
    let pool = store::connect(cluster.options(TEMPLATE), 1).await.expect("a pool on the template");
    store::migrate(&pool).await.expect("the migrations");
    // A database with a connection cannot be copied.
    pool.close().await;
    Shared { cluster, _watched: watched }
}

/// A child that waits for this process to end (even by SIGKILL: its standard input closes), then kills the server and
/// deletes the directory. Statics are not dropped, so this is the only clean-up.
fn watchdog(dir: &Path) -> ChildStdin {
    // The server removes its pid file last; its process may stay listed after that where nobody asks for exit codes.
    const SCRIPT: &str = r#"
        cat > /dev/null
        home=$(readlink -f "$1/cluster") || home="$1/cluster"
        file="$home/pgdata/postmaster.pid"
        if pid=$(head -n 1 "$file" 2> /dev/null) && [ -n "$pid" ]; then
            kill -QUIT "$pid"
            tries=0
            while [ -e "$file" ] && [ "$tries" -lt 500 ]; do sleep 0.02; tries=$((tries + 1)); done
            [ ! -e "$file" ] || kill -KILL "$pid"
        fi
        rm -rf "$home" "$1"
    "#;
    // Not waited for: it outlives us, that is its use.
    #[allow(clippy::zombie_processes)]
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh");
    child.stdin.take().expect("a pipe, as asked for")
}
