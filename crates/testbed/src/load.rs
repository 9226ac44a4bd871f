//! Load: many requests on a few persistent connections, always bounded in number and time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::client::{Client, Failure, Request, Response};
use crate::runtime::{runtime, wait};
use crate::time::PATIENCE;

/// Latencies kept for the quantiles, of the first answers; enough for any test and little memory.
const LATENCIES: usize = 2_000_000;

/// Failures kept as text.
const EXAMPLES: usize = 5;

/// Called with a request's number and its outcome, from several threads.
pub type Observer = Arc<dyn Fn(u64, &Result<Response, Failure>) + Send + Sync>;

/// A load to drive. By default one HTTP/1.1 connection, as fast as answers come, until it is stopped, for ten minutes or ten
/// million requests, whichever is first.
#[derive(Clone)]
#[must_use]
pub struct Load {
    address: SocketAddr,
    connections: usize,
    http2: bool,
    rate: Option<f64>,
    requests: u64,
    duration: Duration,
    timeout: Duration,
    observer: Option<Observer>,
}

impl Load {
    /// Load on this address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections: 1,
            http2: false,
            rate: None,
            requests: 10_000_000,
            duration: Duration::from_secs(600),
            timeout: PATIENCE,
            observer: None,
        }
    }

    /// The number of connections, each with one request at a time.
    pub fn connections(self, connections: usize) -> Self {
        Self { connections: connections.max(1), ..self }
    }

    /// Speaks h2c.
    pub fn http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// At most `per_second` requests in total, evenly spaced.
    pub fn rate(self, per_second: f64) -> Self {
        Self { rate: Some(per_second), ..self }
    }

    /// Ends after this number of requests.
    pub fn requests(self, requests: u64) -> Self {
        Self { requests, ..self }
    }

    /// Ends after this time.
    pub fn duration(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Gives up on an answer after this time.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Shows every outcome to this closure.
    pub fn observe(self, observer: impl Fn(u64, &Result<Response, Failure>) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// Runs to the end; `make` makes the i-th request.
    pub fn run(self, make: impl Fn(u64) -> Request + Send + Sync + 'static) -> Report {
        self.start(make).finish()
    }

    /// Starts in the background.
    pub fn start(self, make: impl Fn(u64) -> Request + Send + Sync + 'static) -> Running {
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            totals: Mutex::new(Report::default()),
            started: Instant::now(),
        });
        let make: Arc<dyn Fn(u64) -> Request + Send + Sync> = Arc::new(make);
        let drive = |_| {
            let (load, shared, make) = (self.clone(), Arc::clone(&shared), Arc::clone(&make));
            runtime().spawn(async move { load.drive(&shared, &*make).await })
        };
        let tasks = (0..self.connections).map(drive).collect();
        Running { shared, tasks }
    }

    async fn drive(&self, shared: &Shared, make: &(dyn Fn(u64) -> Request + Send + Sync)) {
        let client = Client::new(self.address).timeout(self.timeout);
        let client = if self.http2 { client.http2() } else { client };
        loop {
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return;
            }
            if let Some(rate) = self.rate {
                let due = shared.started + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            if shared.stop.load(Ordering::Relaxed) || shared.started.elapsed() >= self.duration {
                return;
            }
            let sent = Instant::now();
            let outcome = client.exchange(make(number)).await;
            let latency = sent.elapsed();
            if let Some(observer) = &self.observer {
                observer(number, &outcome);
            }
            shared.totals.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome, latency);
        }
    }
}

struct Shared {
    next: AtomicU64,
    stop: AtomicBool,
    totals: Mutex<Report>,
    started: Instant,
}

/// Load that is being driven; dropping it stops it without waiting.
pub struct Running {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Lets no further request begin, waits for those that did, and returns the totals.
    pub fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for the end by number or time and returns the totals.
    pub fn finish(mut self) -> Report {
        let tasks = std::mem::take(&mut self.tasks);
        wait(async move {
            for task in tasks {
                task.await.expect("a load task only panics with the closures it was given");
            }
        });
        self.report()
    }

    /// The totals so far.
    pub fn report(&self) -> Report {
        let mut report = self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.elapsed = self.shared.started.elapsed();
        report.latencies.sort_unstable();
        report
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// The totals of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests whose outcome is known.
    pub sent: u64,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by the upstream that gave them; "" is Envoy itself.
    pub upstreams: BTreeMap<String, u64>,
    /// Requests without a complete answer, by [`Failure::kind`].
    pub failures: BTreeMap<&'static str, u64>,
    /// The first few failures and 5xx answers, as text.
    pub examples: Vec<String>,
    /// From the start to this report.
    pub elapsed: Duration,
    /// Latencies of complete answers, sorted.
    latencies: Vec<Duration>,
}

impl Report {
    /// Requests without an answer, or with a 5xx.
    pub fn failed(&self) -> u64 {
        let errors = self.statuses.iter().filter(|(status, _)| **status >= 500).map(|(_, count)| count);
        self.failures.values().chain(errors).sum()
    }

    /// Answers of one upstream.
    pub fn answered_by(&self, upstream: &str) -> u64 {
        self.upstreams.get(upstream).copied().unwrap_or(0)
    }

    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that this share of the answers did not exceed: 0 is the least, 0.5 the median, 1 the greatest.
    pub fn latency(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (quantile.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    fn add(&mut self, outcome: &Result<Response, Failure>, latency: Duration) {
        self.sent += 1;
        let example = match outcome {
            Ok(response) => {
                *self.statuses.entry(response.status).or_default() += 1;
                *self.upstreams.entry(response.upstream()).or_default() += 1;
                if self.latencies.len() < LATENCIES {
                    self.latencies.push(latency);
                }
                (response.status >= 500).then(|| format!("{}: {}", response.status, response.text()))
            }
            Err(failure) => {
                *self.failures.entry(failure.kind()).or_default() += 1;
                Some(failure.to_string())
            }
        };
        self.examples.extend(example.filter(|_| self.examples.len() < EXAMPLES));
    }
}
