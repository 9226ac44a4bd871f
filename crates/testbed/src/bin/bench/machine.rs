//! The machine: who runs on which core, the clock of Envoy's worker, and what to print about it all.

use std::process::Command;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What Envoy calls its worker threads.
const WORKER: &str = "wrk:worker_";

/// A core for Envoy and another for everything else; none on a machine of one core, where pinning means nothing.
pub(crate) fn cores() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next()?;
    Some((first, cores.next_back()?))
}

/// Pins all threads of a process to one core; threads made later inherit it.
pub(crate) fn pin(process: u32, core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return };
    for thread in threads.flatten() {
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // A thread may have ended since the listing.
        let _ = id.map(|id| sched_setaffinity(Some(id), &set));
    }
}

/// CPU time of a process's Envoy workers so far, by the kernel's clock of each thread, in nanoseconds.
pub(crate) fn worker_nanos(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("Envoy runs");
    let of_worker = |thread: std::fs::DirEntry| -> Option<u64> {
        // A thread may end between the listing and the reading.
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).ok();
        let spent = read("schedstat").filter(|_| read("comm").is_some_and(|name| name.starts_with(WORKER)));
        spent?.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(of_worker).sum()
}

/// Processor, cores and Envoy in one line.
pub(crate) fn describe(cores: Option<(usize, usize)>) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let all = info.lines().filter(|line| line.starts_with("processor")).count().max(count);
    let pinned = cores.map_or("not pinned".into(), |(first, last)| {
        format!("Envoy on core {first}, load and upstream on core {last}")
    });
    format!("{}, {all} cores ({pinned}); {}", model.map_or("unknown processor", |(_, model)| model), envoy())
}

/// The version as Envoy prints it: `path  version: commit/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy() -> String {
    let output = Command::new(testbed::module::envoy()).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    format!("Envoy {}", text.trim().split('/').rev().nth(3).unwrap_or("of unknown version"))
}
