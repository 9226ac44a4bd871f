//! The child process: ended by its own handle, measured through /proc.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long SIGTERM may take before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

pub(super) struct Process(Child);

impl Process {
    pub(super) fn spawn(mut command: Command) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{:?} can't be run: {error}", command.get_program())),
        )
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    pub(super) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    pub(super) fn cpu_nanos(&self) -> u64 {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return 0 };
        // A thread may end between the listing and the reading.
        let texts = threads
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
        texts.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // The child isn't reaped yet, so its id can't be someone else's.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
