//! Finding the installed server: which of several, and what is wrong with the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::PostgresError;

const OLDEST: u32 = 15;
/// Extensions that the migrations create; their control files come in packages of their own.
const EXTENSIONS: [&str; 2] = ["postgis", "btree_gist"];

/// A server's programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Installation {
    pub(super) bin: PathBuf,
    pub(super) major: u32,
}

impl Installation {
    /// The newest usable server of this machine, or that of version `needed` (which made the data directory).
    pub(super) fn find(needed: Option<u32>) -> Result<Self, PostgresError> {
        Self::among(candidates(), needed)
    }

    fn among(candidates: Vec<PathBuf>, needed: Option<u32>) -> Result<Self, PostgresError> {
        let mut usable = Vec::new();
        let mut faults = Vec::new();
        for bin in candidates {
            match examine(&bin) {
                Ok(found) if needed.is_some_and(|n| n != found.major) => {
                    faults.push(format!("{} is version {}", bin.display(), found.major));
                }
                Ok(found) => usable.push(found),
                Err(why) => faults.push(format!("{} {why}", bin.display())),
            }
        }
        let because = match needed {
            Some(n) => format!("and of version {n}, which made the data directory, "),
            None => String::new(),
        };
        usable.into_iter().max_by_key(|i| i.major).ok_or_else(|| PostgresError::NotInstalled {
            found: if faults.is_empty() {
                format!("{because}but none was found")
            } else {
                format!("{because}but {}", faults.join(", "))
            },
        })
    }
}

/// Directories that hold a server's programs, without repetition.
fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Some(dir) = ask(Path::new("pg_config"), "--bindir") {
        dirs.push(PathBuf::from(dir));
    }
    for (parent, inside) in [
        ("/usr/lib/postgresql", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ] {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        dirs.extend(entries.map(|e| e.path().join(inside)));
    }
    dirs.extend((OLDEST..OLDEST + 10).map(|major| PathBuf::from(format!("/usr/pgsql-{major}/bin"))));
    dirs.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let mut seen = std::collections::BTreeSet::new();
    dirs.retain(|dir| {
        let whole = ["postgres", "initdb", "pg_ctl"].iter().all(|program| dir.join(program).is_file());
        whole && seen.insert(fs::canonicalize(dir.join("postgres")).unwrap_or_else(|_| dir.clone()))
    });
    dirs
}

fn examine(bin: &Path) -> Result<Installation, String> {
    let version = ask(&bin.join("postgres"), "--version").ok_or("does not tell its version")?;
    let major = major_of(&version).ok_or_else(|| format!("tells an unknown version, `{version}`"))?;
    if major < OLDEST {
        return Err(format!("is version {major}"));
    }
    let shares = share_dirs(bin, major);
    for extension in EXTENSIONS {
        let control = format!("extension/{extension}.control");
        if !shares.iter().any(|dir| dir.join(&control).is_file()) {
            return Err(format!("(version {major}) has no {extension}"));
        }
    }
    Ok(Installation { bin: bin.to_owned(), major })
}

fn share_dirs(bin: &Path, major: u32) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = ask(&bin.join("pg_config"), "--sharedir").map(PathBuf::from).into_iter().collect();
    dirs.push(PathBuf::from(format!("/usr/share/postgresql/{major}")));
    if let Some(prefix) = bin.parent() {
        dirs.extend(["share/postgresql", "share"].map(|d| prefix.join(d)));
        dirs.push(prefix.join(format!("share/postgresql@{major}")));
    }
    dirs
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` -> 15
fn major_of(version: &str) -> Option<u32> {
    let number = version.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn ask(program: &Path, flag: &str) -> Option<String> {
    let out = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned()).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn fake(dir: &Path, version: &str, extensions: &[&str]) -> PathBuf {
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(dir.join("share/extension")).unwrap();
        for program in ["postgres", "initdb", "pg_ctl"] {
            let path = bin.join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for extension in extensions {
            fs::write(dir.join(format!("share/extension/{extension}.control")), "").unwrap();
        }
        bin
    }

    #[test]
    fn each_unusable_server_is_named_with_its_fault_and_the_packages() {
        let dir = std::env::temp_dir().join(format!("spacall-install-{}", std::process::id()));
        let old = fake(&dir.join("old"), "14.2", &EXTENSIONS);
        let bare = fake(&dir.join("bare"), "97.1 (Distribution 1)", &["btree_gist"]);
        let good = fake(&dir.join("good"), "98.0", &EXTENSIONS);
        let newer = fake(&dir.join("newer"), "99beta1", &EXTENSIONS);

        let none = Installation::among(vec![], None).unwrap_err().to_string();
        assert!(none.contains("none was found") && none.contains("postgresql-postgis"), "{none}");
        let faults = Installation::among(vec![old, bare], None).unwrap_err().to_string();
        assert!(faults.contains("is version 14") && faults.contains("(version 97) has no postgis"), "{faults}");
        assert_eq!(Installation::among(vec![good.clone(), newer.clone()], None).unwrap().major, 99);
        assert_eq!(Installation::among(vec![good, newer.clone()], Some(98)).unwrap().major, 98);
        let other = Installation::among(vec![newer], Some(98)).unwrap_err().to_string();
        assert!(other.contains("of version 98, which made the data directory"), "{other}");
        fs::remove_dir_all(dir).unwrap();
    }
}
