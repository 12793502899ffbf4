//! What another process on this machine uses, from `/proc` (Linux).

use std::time::Duration;

use anyhow::{Context, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// Processor time of all its living threads.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.0);
        let mut nanos = 0_u64;
        for task in std::fs::read_dir(&tasks).with_context(|| format!("--pid {}: no such process", self.0))? {
            // A thread that has just ended is not missed: the service's are as old as itself.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanos += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory, KiB.
    pub(crate) fn memory_kib(self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("VmRSS:")).with_context(|| format!("{path}: no VmRSS"))?;
        line.trim().trim_end_matches(" kB").trim().parse().with_context(|| format!("{path}: VmRSS {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let this = Process(std::process::id());
        assert!(this.cpu().is_ok_and(|cpu| cpu > Duration::ZERO));
        assert!(this.memory_kib().is_ok_and(|kib| kib > 100));
        assert!(Process(u32::MAX).cpu().is_err());
    }
}
