//! Who starts and stops the server: two `flock`s, which the kernel drops when their holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::PostgresError;

#[derive(Debug)]
pub(super) struct Locks {
    owner: Lock,
    users: Lock,
}

#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
    held: Held,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    No,
    Shared,
    Alone,
}

impl Locks {
    pub(super) fn in_dir(dir: &Path) -> Result<Self, PostgresError> {
        Ok(Self { owner: Lock::open(dir.join("owner.lock"))?, users: Lock::open(dir.join("users.lock"))? })
    }

    pub(super) fn is_owner(&self) -> bool {
        self.owner.held == Held::Alone
    }

    /// Become the one that starts and stops the server; false if another process is.
    pub(super) fn try_own(&mut self) -> Result<bool, PostgresError> {
        self.owner.take(Held::Alone)
    }

    pub(super) fn disown(&mut self) {
        self.owner.release();
    }

    /// Be one of those that use the server; false while its last user is stopping it.
    pub(super) fn try_use(&mut self) -> Result<bool, PostgresError> {
        self.users.take(Held::Shared)
    }

    /// Be the only one that uses the server. Lets go of the shared use first, whatever comes of it.
    pub(super) fn try_use_alone(&mut self) -> Result<bool, PostgresError> {
        if self.users.held == Held::Shared {
            self.users.release();
        }
        self.users.take(Held::Alone)
    }
}

impl Lock {
    fn open(path: PathBuf) -> Result<Self, PostgresError> {
        // Read-only is enough for flock once the file is there: it may belong to root.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .open(&path)
            .or_else(|e| if path.exists() { File::open(&path) } else { Err(e) })
            .map_err(PostgresError::io("open", &path))?;
        Ok(Self { file, path, held: Held::No })
    }

    fn take(&mut self, how: Held) -> Result<bool, PostgresError> {
        if self.held == how {
            return Ok(true);
        }
        let taken = match how {
            Held::Alone => self.file.try_lock(),
            Held::Shared => self.file.try_lock_shared(),
            Held::No => Ok(()),
        };
        match taken {
            Ok(()) => {
                self.held = how;
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(PostgresError::io("lock", &self.path)(e)),
        }
    }

    fn release(&mut self) {
        // Fails only for a file that is no file; closing it would do the same.
        let _ = self.file.unlock();
        self.held = Held::No;
    }
}
