//! The cluster's directory, and the few places where it cannot simply be where it was asked to be.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::PostgresError;
use super::account::Account;

/// `sun_path` without its final NUL.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Where root's clusters live when the server's user cannot enter the directory that was asked for.
const ELSEWHERE: &str = "/var/lib/spacall";
const UNFINISHED: &str = "pgdata.unfinished.";

#[derive(Clone, Debug)]
pub(super) struct Files {
    home: PathBuf,
    pgdata: PathBuf,
    sockets: PathBuf,
    account: Account,
}

impl Files {
    /// Makes what is missing, owned by the account that the server runs as.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, PostgresError> {
        let account = Account::choose(&data_dir.join("cluster/pgdata"))?;
        make_dir(data_dir, if account == Account::Ours { 0o700 } else { 0o711 })?;
        let data_dir = fs::canonicalize(data_dir).map_err(PostgresError::io("find", data_dir))?;
        let link = data_dir.join("cluster");
        if fs::symlink_metadata(&link).is_err() {
            make_home(&link, account)?;
        }
        let home = fs::canonicalize(&link).map_err(PostgresError::io("find", &link))?;
        if !account.may_enter(&home) {
            return Err(PostgresError::Directory {
                why: format!(
                    "the server runs as user {}, who cannot enter it; allow it (chmod o+x) on every directory above, \
                     or set SPACALL_DATA_DIR to another directory",
                    account.uid()
                ),
                path: home,
            });
        }
        let sockets = socket_dir(&home, account);
        Ok(Self { pgdata: home.join("pgdata"), home, sockets, account })
    }

    pub(super) fn account(&self) -> Account {
        self.account
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn pgdata(&self) -> &Path {
        &self.pgdata
    }

    /// Where initdb works until it is done: only a finished cluster is ever called `pgdata`. Another name each time: the
    /// initdb of a killed process may still be at work.
    pub(super) fn new_unfinished(&self) -> PathBuf {
        self.home.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()))
    }

    /// Removes what killed attempts left, as far as it goes: an initdb that still writes there makes it fail, once.
    pub(super) fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.home).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(UNFINISHED)) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "a half-made cluster is left for the next start");
            }
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.join("postgres.log")
    }

    /// Where a server that is started now puts its socket.
    pub(super) fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Makes the socket's directory, which only the server's user enters.
    pub(super) fn make_sockets(&self) -> Result<(), PostgresError> {
        let (dir, account) = (&self.sockets, self.account);
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => account.give(dir),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // In a shared temporary directory anyone can have made it: whoever owns it could pose as the server.
                let meta = fs::symlink_metadata(dir).map_err(PostgresError::io("look at", dir))?;
                if !meta.is_dir() || meta.uid() != account.uid() {
                    return Err(PostgresError::Directory {
                        path: dir.clone(),
                        why: format!(
                            "is needed for the server's socket, but is not user {}'s directory",
                            account.uid()
                        ),
                    });
                }
                fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(PostgresError::io("close", dir))
            }
            Err(e) => Err(PostgresError::io("make", dir)(e)),
        }
    }

    /// Leaves nothing in the temporary directory.
    pub(super) fn forget_sockets(&self) {
        if !self.sockets.starts_with(&self.home) {
            // Empty after a clean stop; if it is not, the next start takes it over.
            let _ = fs::remove_dir(&self.sockets);
        }
    }

    /// Where the server that runs has its socket: another process, with another `TMPDIR`, may have started it.
    pub(super) fn sockets_in_use(&self) -> PathBuf {
        fs::read_to_string(self.pgdata.join("postmaster.pid"))
            .ok()
            .and_then(|pid_file| pid_file.lines().nth(4).filter(|l| !l.is_empty()).map(PathBuf::from))
            .unwrap_or_else(|| self.sockets.clone())
    }
}

fn make_home(link: &Path, account: Account) -> Result<(), PostgresError> {
    let reachable = link.parent().is_some_and(|dir| account.may_enter(dir));
    if reachable {
        make_dir(link, 0o700)?;
        return account.give(link);
    }
    // Root's home is closed to the server's user. Opening it would be a change that nobody asked for.
    make_dir(Path::new(ELSEWHERE), 0o711)?;
    let home = Path::new(ELSEWHERE).join(uuid::Uuid::new_v4().simple().to_string());
    make_dir(&home, 0o700)?;
    account.give(&home)?;
    symlink(&home, link).map_err(PostgresError::io("link", link))?;
    tracing::warn!(
        asked = %link.display(), used = %home.display(),
        "the server's user cannot enter the data directory; the cluster is kept elsewhere"
    );
    Ok(())
}

/// A socket's address is short by law. A path that does not fit is replaced by a private directory under the temporary one.
fn socket_dir(home: &Path, account: Account) -> PathBuf {
    let fits = |dir: &Path| dir.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_MAX;
    let dir = home.join("run");
    if fits(&dir) {
        return dir;
    }
    let name = format!("spacall-{}-{:08x}", account.uid(), crc32fast::hash(home.as_os_str().as_encoded_bytes()));
    let temporary = std::env::temp_dir();
    let dir = temporary.join(&name);
    if fits(&dir) && account.may_enter(&temporary) { dir } else { Path::new("/tmp").join(name) }
}

/// Makes `dir` and its parents unless it exists. The mode is set apart from the umask.
fn make_dir(dir: &Path, mode: u32) -> Result<(), PostgresError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).create(dir).map_err(PostgresError::io("make", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(PostgresError::io("set the mode of", dir))
}
