//! As whom the server runs: PostgreSQL refuses to run as root, so root hands it to an unprivileged user.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::PostgresError;

/// Whose files they are and as whom the server's programs run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Account {
    /// As the user that runs this program.
    Ours,
    /// This program is root's: as that user.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The owner of an existing data directory, else the user `postgres`, else `nobody`, where this program is root's.
    pub(super) fn choose(pgdata: &Path) -> Result<Self, PostgresError> {
        let us = rustix::process::geteuid().as_raw();
        let owner = std::fs::metadata(pgdata).ok().map(|m| (m.uid(), m.gid()));
        match (us, owner) {
            (0, Some((uid, gid))) if uid != 0 => Ok(Self::Other { uid, gid }),
            (0, _) => {
                ["postgres", "nobody"].iter().find_map(|name| lookup(name)).ok_or_else(|| PostgresError::Directory {
                    path: pgdata.to_owned(),
                    why: "PostgreSQL does not run as root and there is no user `postgres` or `nobody` to run it as; \
                          run this as another user"
                        .into(),
                })
            }
            (us, Some((uid, _))) if uid != us => Err(PostgresError::Directory {
                path: pgdata.to_owned(),
                why: format!(
                    "belongs to user {uid}, this program runs as {us}; set SPACALL_DATA_DIR to another directory"
                ),
            }),
            _ => Ok(Self::Ours),
        }
    }

    /// A program run as this account in `dir` (which must be one that it may enter), with no terminal, in a process
    /// group of its own: Ctrl-C is for us, not for the program that stops the server.
    pub(super) fn command(self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null()).process_group(0).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            // PGDATA, PGOPTIONS, ... of the surroundings are about other servers.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    pub(super) fn give(self, path: &Path) -> Result<(), PostgresError> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(PostgresError::io("hand to the server's user", path))
            }
        }
    }

    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Ours => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => uid,
        }
    }

    /// Whether it may enter `dir`, all the way down from `/`.
    pub(super) fn may_enter(self, dir: &Path) -> bool {
        match self {
            Self::Ours => true,
            Self::Other { .. } => self
                .command(Path::new("test"), Path::new("/"))
                .arg("-x")
                .arg(dir)
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}

fn lookup(name: &str) -> Option<Account> {
    let ask = |flag| {
        let out = Command::new("id").args([flag, name]).stdin(Stdio::null()).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse::<u32>().ok().filter(|_| out.status.success())
    };
    Some(Account::Other { uid: ask("-u")?, gid: ask("-g")? })
}
