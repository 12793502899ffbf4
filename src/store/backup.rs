//! `spacall backup` and `spacall restore`: section 9 of the schema document, by PostgreSQL's own programs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{Datelike, NaiveDateTime};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::process::Command;

use crate::clock;
use crate::wire::time::to_chrono;

/// Newest dumps kept by pruning: one for each of so many days, ISO weeks and months that have any.
const KEPT: (usize, usize, usize) = (7, 4, 12);
const PREFIX: &str = "spacall_";
const SUFFIX: &str = ".backup";
const STAMP: &str = "%Y%m%d_%H%M%S";

/// Why there is no dump, or why it was not read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The client programs are missing.
    #[error(
        "{program} was not found in PATH or where PostgreSQL keeps its programs; install PostgreSQL's client programs"
    )]
    NotInstalled {
        /// `pg_dump` or `pg_restore`
        program: &'static str,
    },
    /// The program failed; nothing was written (a dump), nothing was changed (a restore).
    #[error("{program} failed: {said}")]
    Program {
        /// `pg_dump` or `pg_restore`
        program: &'static str,
        /// What it wrote.
        said: String,
    },
    /// A restore would mix two databases.
    #[error("database `{database}` has {tables} tables, allowed: an empty database")]
    NotEmpty {
        /// Its name.
        database: String,
        /// Tables of its own, extensions' not counted.
        tables: i64,
    },
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The database could not be asked.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Writes a dump (custom format, consistent: one snapshot) to `dir` and returns its path. Only its owner may read it: it
/// holds everything. With `prune`, older dumps in `dir` are deleted beyond the newest of 7 days, 4 weeks and 12 months;
/// files that are not dumps of ours are left alone.
///
/// # Errors
/// [`BackupError`]; a dump that failed leaves no file.
pub async fn write(options: &PgConnectOptions, dir: &Path, prune: bool) -> Result<PathBuf, BackupError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
    let now = to_chrono(clock::now()).map(|t| t.naive_utc()).unwrap_or_default();
    let path = dir.join(format!("{PREFIX}{}{SUFFIX}", now.format(STAMP)));
    // A dump that was cut off must not look like one.
    let partial = path.with_extension("partial");
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(io(&partial))?;
    let dumped = run("pg_dump", options, ["--format=custom".as_ref(), "--file".as_ref(), partial.as_os_str()]).await;
    if let Err(error) = dumped {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    std::fs::File::open(&partial).and_then(|f| f.sync_all()).map_err(io(&partial))?;
    std::fs::rename(&partial, &path).map_err(io(&partial))?;
    if prune {
        for old in superfluous(dumps(dir).map_err(io(dir))?) {
            tracing::info!(path = %old.display(), "deleting a dump");
            std::fs::remove_file(&old).map_err(io(&old))?;
        }
    }
    Ok(path)
}

/// Whether the file can be read at all.
///
/// # Errors
/// [`BackupError::Io`].
pub fn readable(file: &Path) -> Result<(), BackupError> {
    std::fs::File::open(file).map(drop).map_err(|source| BackupError::Io { path: file.to_owned(), source })
}

/// Reads a dump into an empty database, all of it or nothing.
///
/// # Errors
/// [`BackupError::NotEmpty`] before anything is changed.
pub async fn restore(options: &PgConnectOptions, file: &Path) -> Result<(), BackupError> {
    readable(file)?;
    let mut connection = options.connect().await?;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class c
         WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')",
    )
    .fetch_one(&mut connection)
    .await?;
    sqlx::Connection::close(connection).await?;
    if tables > 0 {
        return Err(BackupError::NotEmpty { database: options.get_database().unwrap_or_default().to_owned(), tables });
    }
    let database = options.get_database().unwrap_or_default();
    let flags = ["--single-transaction", "--exit-on-error", "--no-owner", "--dbname", database].map(OsStr::new);
    run("pg_restore", options, flags.into_iter().chain([file.as_os_str()])).await
}

/// The connection goes by the environment: a password on a command line is everyone's to read.
async fn run<'a>(
    program: &'static str,
    options: &PgConnectOptions,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> Result<(), BackupError> {
    let found = find(program).ok_or(BackupError::NotInstalled { program })?;
    let mut command = Command::new(found);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env("LC_ALL", "C");
    match options.get_socket() {
        Some(socket) => command.env("PGHOST", socket),
        None => command.env("PGHOST", options.get_host()),
    };
    command.env("PGPORT", options.get_port().to_string()).env("PGUSER", options.get_username());
    command.env("PGDATABASE", options.get_database().unwrap_or_default()).env("PGSSLMODE", ssl(options.get_ssl_mode()));
    if let Some(password) = options.to_url_lossy().password() {
        command.env("PGPASSWORD", unescaped(password));
    }
    let failed = |said: String| BackupError::Program { program, said };
    let out = command.output().await.map_err(|e| failed(e.to_string()))?;
    if out.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; ")))
}

const fn ssl(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

/// `%41` -> `A`
fn unescaped(text: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes)
}

/// The newest, since an older one refuses a newer server.
fn find(program: &str) -> Option<PathBuf> {
    let mut versioned: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
        ("/usr", "pgsql-"),
    ] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|n| n.strip_prefix(prefix)).and_then(|n| n.parse().ok());
            versioned.extend(version.map(|v| (v, entry.path().join("bin").join(program))));
        }
    }
    versioned.sort();
    let path = std::env::var_os("PATH");
    let in_path = path.iter().flat_map(std::env::split_paths).map(|dir| dir.join(program));
    versioned.into_iter().rev().map(|(_, path)| path).chain(in_path).find(|path| path.is_file())
}

/// Our dumps in `dir`, with the time in their name.
fn dumps(dir: &Path) -> std::io::Result<Vec<(NaiveDateTime, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let stamp = name.strip_prefix(PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
        if let Some(at) = stamp.and_then(|s| NaiveDateTime::parse_from_str(s, STAMP).ok()) {
            found.push((at, path));
        }
    }
    Ok(found)
}

/// Those that no day, week or month needs.
fn superfluous(mut dumps: Vec<(NaiveDateTime, PathBuf)>) -> Vec<PathBuf> {
    dumps.sort();
    let (mut days, mut weeks, mut months) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut old = Vec::new();
    for (at, path) in dumps.into_iter().rev() {
        let week = at.iso_week();
        // Each set takes its newest; all three are asked, so that one dump can serve a day, a week and a month.
        let day = days.len() < KEPT.0 && days.insert(at.date());
        let week = weeks.len() < KEPT.1 && weeks.insert((week.year(), week.week()));
        let month = months.len() < KEPT.2 && months.insert((at.year(), at.month()));
        if !(day || week || month) {
            old.push(path);
        }
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_keeps_the_newest_of_7_days_4_weeks_and_12_months() {
        let end = NaiveDateTime::parse_from_str("20261122_020000", STAMP).unwrap();
        // Two a day, for 400 days.
        let all: Vec<_> = (0..800)
            .map(|half_days| end - chrono::Duration::hours(12 * half_days))
            .map(|at| (at, PathBuf::from(at.format(STAMP).to_string())))
            .collect();
        let old: BTreeSet<_> = superfluous(all.clone()).into_iter().collect();
        let kept: Vec<String> =
            all.iter().filter(|(_, p)| !old.contains(p)).map(|(_, p)| p.display().to_string()).collect();
        assert_eq!(
            kept,
            [
                "20261122_020000", // today, this week, this month
                "20261121_140000",
                "20261120_140000",
                "20261119_140000",
                "20261118_140000",
                "20261117_140000",
                "20261116_140000",
                "20261115_140000", // Sundays: the ends of the weeks before
                "20261108_140000",
                "20261101_140000",
                "20261031_140000", // the ends of the months before
                "20260930_140000",
                "20260831_140000",
                "20260731_140000",
                "20260630_140000",
                "20260531_140000",
                "20260430_140000",
                "20260331_140000",
                "20260228_140000",
                "20260131_140000",
                "20251231_140000",
            ]
        );
    }

    #[test]
    fn a_password_is_passed_on_as_it_is() {
        assert_eq!(unescaped("a%20b%25%C3%A9%"), OsStr::new("a b%é%"));
    }
}
