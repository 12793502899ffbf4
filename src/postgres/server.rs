//! initdb, start, stop: the programs of the installed server, run as the right user in the right order.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::files::Files;
use super::install::Installation;
use super::{Durability, PORT, PostgresError, SUPERUSER};
use crate::clock;

/// Settings of ours, read after initdb's own file; written again at every start.
const SETTINGS: &str = "spacall.conf";
/// How long the children of a killed server may hold its shared memory before the start is given up.
const CHILDREN_LEAVE_WITHIN: Duration = Duration::from_secs(30);
const LOG_KEPT: u64 = 16 << 20;

/// The server of one directory, whether it runs or not.
#[derive(Clone, Debug)]
pub(super) struct Server {
    files: Files,
    installed: Installation,
    durability: Durability,
}

impl Server {
    pub(super) fn new(files: Files, durability: Durability) -> Result<Self, PostgresError> {
        let made_by = fs::read_to_string(files.pgdata().join("PG_VERSION")).ok().and_then(|v| v.trim().parse().ok());
        Ok(Self { installed: Installation::find(made_by)?, files, durability })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn bin_dir(&self) -> &Path {
        &self.installed.bin
    }

    /// Makes the cluster if there is none and starts it if it does not run. For the owner only.
    pub(super) fn bring_up(&self) -> Result<(), PostgresError> {
        if !self.files.pgdata().join("PG_VERSION").exists() {
            self.init()?;
        }
        if self.is_running()? {
            tracing::info!(path = %self.files.home().display(), "adopted a private PostgreSQL whose owner was killed");
            return Ok(());
        }
        self.start()
    }

    /// initdb in a directory beside, renamed when whole: a killed initdb leaves nothing that looks like a cluster.
    fn init(&self) -> Result<(), PostgresError> {
        let pgdata = self.files.pgdata();
        if pgdata.exists() {
            return Err(PostgresError::Directory {
                path: pgdata.to_owned(),
                why: "is not a PostgreSQL data directory (no PG_VERSION); move it away".into(),
            });
        }
        self.files.remove_unfinished();
        tracing::info!(path = %pgdata.display(), major = self.installed.major, "making a private PostgreSQL cluster");
        let mut said = String::new();
        // C.UTF-8 knows upper and lower case beyond ASCII; not every system has it.
        for locale in ["C.UTF-8", "C"] {
            let work = self.files.new_unfinished();
            let mut initdb = self.program("initdb");
            initdb.arg("--pgdata").arg(&work).args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8"]);
            initdb.args(["--data-checksums", "--no-instructions", "--locale", locale]);
            if self.durability == Durability::ProcessOnly {
                initdb.arg("--no-sync");
            }
            match run(initdb) {
                Ok(()) => {
                    self.configure(&work)?;
                    fs::rename(&work, pgdata).map_err(PostgresError::io("rename", &work))?;
                    return sync_dir(self.files.home());
                }
                Err(why) => said = why,
            }
        }
        Err(PostgresError::Program { program: "initdb".into(), said })
    }

    fn configure(&self, pgdata: &Path) -> Result<(), PostgresError> {
        let path = pgdata.join("postgresql.conf");
        let mut settings = fs::read_to_string(&path).map_err(PostgresError::io("read", &path))?;
        settings.push_str(&format!("\ninclude_if_exists = '{SETTINGS}'\n"));
        self.write(&path, &settings)?;
        // Only the socket, whose directory only its owner enters.
        self.write(&pgdata.join("pg_hba.conf"), "local all all trust\n")
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), PostgresError> {
        fs::write(path, text).map_err(PostgresError::io("write", path))?;
        self.files.account().give(path)?;
        File::open(path).and_then(|f| f.sync_all()).map_err(PostgresError::io("sync", path))
    }

    fn settings(&self) -> String {
        let on = if self.durability == Durability::Full { "on" } else { "off" };
        let sockets = self.files.sockets().to_string_lossy().replace('\'', "''");
        format!(
            "# Written at every start.\n\
             listen_addresses = ''\nport = {PORT}\nunix_socket_directories = '{sockets}'\n\
             unix_socket_permissions = 0700\nmax_connections = 100\n\
             fsync = {on}\nfull_page_writes = {on}\nsynchronous_commit = on\n\
             timezone = 'UTC'\nlog_timezone = 'UTC'\ndatestyle = 'iso, ymd'\n\
             shared_buffers = 256MB\neffective_cache_size = 1GB\nwork_mem = 8MB\nmaintenance_work_mem = 128MB\n\
             max_wal_size = 2GB\ncheckpoint_timeout = 15min\nwal_compression = on\nrandom_page_cost = 1.1\njit = off\n\
             max_worker_processes = 4\nmax_parallel_workers_per_gather = 0\n\
             logging_collector = off\nlog_destination = 'stderr'\nlog_line_prefix = '%m [%p] %d '\n\
             log_checkpoints = off\nlog_autovacuum_min_duration = -1\n"
        )
    }

    fn start(&self) -> Result<(), PostgresError> {
        self.files.make_sockets()?;
        self.write(&self.files.pgdata().join(SETTINGS), &self.settings())?;
        let log = self.files.log();
        if fs::metadata(&log).is_ok_and(|m| m.len() > LOG_KEPT) {
            fs::rename(&log, log.with_extension("log.1")).map_err(PostgresError::io("rename", &log))?;
        }
        let deadline = clock::monotonic() + CHILDREN_LEAVE_WITHIN;
        loop {
            let from = fs::metadata(&log).map_or(0, |m| m.len());
            let mut pg_ctl = self.pg_ctl("start");
            // A crash is recovered from before connections are taken: that may last.
            pg_ctl.arg("--log").arg(&log).args(["--wait", "--timeout", "280", "--silent"]);
            let Err(said) = run(pg_ctl) else { return Ok(()) };
            // A server that was killed may not quite be gone yet: what it leaves is asked for by any of these.
            let why = tail(&log, from);
            let passes = ["shared memory block", "is empty", "s another postmaster"].iter().any(|s| why.contains(s));
            if !passes || clock::monotonic() > deadline {
                return Err(PostgresError::Program { program: "pg_ctl start".into(), said: format!("{said} {why}") });
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Rolls back what is open and stops; harder when that takes too long.
    pub(super) fn stop(&self) -> Result<(), PostgresError> {
        let stopped = self.stop_process();
        if stopped.is_ok() {
            self.files.forget_sockets();
        }
        stopped
    }

    fn stop_process(&self) -> Result<(), PostgresError> {
        let mut said = String::new();
        for mode in ["fast", "immediate"] {
            if !self.is_running()? {
                return Ok(());
            }
            let mut pg_ctl = self.pg_ctl("stop");
            pg_ctl.args(["--mode", mode, "--wait", "--timeout", "60", "--silent"]);
            match run(pg_ctl) {
                Ok(()) => return Ok(()),
                Err(why) => said = why,
            }
        }
        if self.is_running()? {
            return Err(PostgresError::Program { program: "pg_ctl stop".into(), said });
        }
        Ok(())
    }

    /// Whether the process that `postmaster.pid` names is this cluster's server. After a restart of the machine (or of a
    /// container, where numbers are small and come again) it may be any process; or it was killed and nobody has asked
    /// for its exit code. The file is then removed, because the server itself only asks whether such a process exists.
    fn is_running(&self) -> Result<bool, PostgresError> {
        let path = self.files.pgdata().join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(false) };
        let number = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
        let Some(pid) = number.and_then(rustix::process::Pid::from_raw) else { return Ok(false) };
        if matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)) {
            return Ok(false); // the server removes such a file itself, after a look at the shared memory
        }
        let ours = self.is_server(pid.as_raw_nonzero().get());
        if !ours {
            fs::remove_file(&path).map_err(PostgresError::io("remove", &path))?;
        }
        Ok(ours)
    }

    fn is_server(&self, pid: i32) -> bool {
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
            // `pid (name) state ...`; Z: killed, its exit code not asked for
            let dead = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
            return !dead && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir == self.files.pgdata());
        }
        let out = Command::new("ps").args(["-o", "stat=,comm=", "-p", &pid.to_string()]).output();
        let line = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        line.contains("postgres") && !line.trim_start().starts_with('Z')
    }

    fn pg_ctl(&self, verb: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg(verb).arg("--pgdata").arg(self.files.pgdata());
        command
    }

    fn program(&self, name: &str) -> Command {
        self.files.account().command(&self.installed.bin.join(name), self.files.home())
    }
}

/// Runs to the end; what it wrote, if it failed.
fn run(mut command: Command) -> Result<(), String> {
    let name = PathBuf::from(command.get_program()).display().to_string();
    let out = command.output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; ");
    if said.is_empty() {
        said = out.status.to_string();
    }
    Err(said)
}

/// What was written to the log after `from`, at most its last 2,000 bytes.
fn tail(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(2_000))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().replace('\n', "; "))
    };
    read().unwrap_or_else(|e| format!("(its log {} cannot be read: {e})", log.display()))
}

fn sync_dir(dir: &Path) -> Result<(), PostgresError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(PostgresError::io("sync", dir))
}
