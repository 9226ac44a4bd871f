//! What a test may expect of time on a machine that is busy with something else.
//!
//! A lower limit on what Envoy does allows for [`CLOCK`]. An upper limit is a share of something measured in the same run, or grows
//! with the lateness of the machine that a [`Pulse`] measures. A wait polls until [`PATIENCE`] is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much earlier than its limit a timer of Envoy may end. Its event loop (libevent) reads `CLOCK_MONOTONIC_COARSE`, which moves
/// once per tick of the kernel: every 1 to 10 ms.
pub const CLOCK: Duration = Duration::from_millis(10);

/// How long a wait lasts before it gives up. This protects from a test that hangs and limits nothing else.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often a [`Pulse`] looks at the clock.
const BEAT: Duration = Duration::from_millis(5);

/// How many times in a row a reaction may meet the worst lateness: a failure is answered, counted, merged, judged, latched, seen by
/// another worker on its tick, and noticed by the client, each after waiting for a core.
const STEPS: u32 = 10;

/// Measures how late this machine wakes a thread that asked to be woken: a few milliseconds while idle, a hundred and more while
/// others keep the cores busy. Limits on reactions grow with it, so they stay sharp on an idle machine.
pub struct Pulse {
    worst: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Pulse {
    /// Starts to measure, on a thread of its own, until it is dropped.
    pub fn start() -> Self {
        let pulse = Self { worst: Arc::default(), ended: Arc::default() };
        let (worst, ended) = (Arc::clone(&pulse.worst), Arc::clone(&pulse.ended));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let due = Instant::now() + BEAT;
                std::thread::sleep(BEAT);
                let late = due.elapsed().as_nanos();
                worst.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        pulse
    }

    /// The greatest lateness so far.
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }

    /// What a reaction may take here if it may take `limit` on an idle machine.
    pub fn stretch(&self, limit: Duration) -> Duration {
        limit + self.worst() * STEPS
    }

    /// How many may happen during a reaction here if `count` may happen within `limit` on an idle machine.
    pub fn stretch_count(&self, count: u64, limit: Duration) -> u64 {
        (count as f64 * self.stretch(limit).as_secs_f64() / limit.as_secs_f64()) as u64
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Polls until `met` returns something; panics after [`PATIENCE`] with the words of `otherwise`.
pub fn wait_for<T>(mut met: impl FnMut() -> Option<T>, otherwise: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = met() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {}", otherwise());
        std::thread::sleep(Duration::from_millis(10));
    }
}
