//! A small disk of its own, which can be filled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs; unmounted and deleted when dropped.
pub(super) struct Disk {
    dir: PathBuf,
    small: bool,
}

impl Disk {
    /// Where mounting is not allowed, a plain directory, which cannot be filled.
    pub(super) fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("spacall-chaos-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g,mode=0711", "tmpfs"]).arg(&dir).output();
        let small = mount.is_ok_and(|out| out.status.success());
        if !small {
            eprintln!("skipped: the full disk (a tmpfs cannot be mounted here)");
        }
        Self { dir, small }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes all room that is left; it is given back when the answer is dropped. `None`: this disk is not a small one.
    pub(super) fn fill(&self) -> Option<Ballast> {
        if !self.small {
            return None;
        }
        let path = self.dir.join("ballast");
        let file = File::create(&path).expect("the ballast");
        let mut size = 0;
        // In steps that get smaller: others take room meanwhile.
        for step in [64 << 20, 1 << 20, 4_096_u64] {
            while rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size, step).is_ok() {
                size += step;
            }
        }
        Some(Ballast(path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.small {
            // Lazily: what is still being stopped keeps it until it has.
            let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(super) struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("room again");
    }
}
