//! An admin interface that answers what a test wants, for the faults that a real Envoy shows too rarely.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers that the tests choose")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

/// Serves `answer(path)` until the test process ends, and gives the URL.
pub(crate) fn serve(mut answer: impl FnMut(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
            let request = lines.next().expect("a line").expect("text");
            while lines.next().is_some_and(|line| !line.expect("text").is_empty()) {}
            let (status, body) = answer(request.split(' ').nth(1).expect("a path"));
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).expect("answered");
        }
    });
    url
}

pub(crate) fn clusters(names: &[&str]) -> String {
    let statuses: Vec<Value> = names.iter().map(|name| json!({"name": name, "host_statuses": []})).collect();
    json!({"cluster_statuses": statuses}).to_string()
}

/// Envoy's `/stats` for a filter that serves `hash`, after it has read and rejected this many files.
pub(crate) fn stats(hash: Option<u64>, reads: u64, rejections: u64) -> String {
    let discovery = "extension_config_discovery.http_filter.rollout";
    let mut stats = vec![
        json!({"name": format!("{discovery}.update_attempt"), "value": reads}),
        json!({"name": format!("{discovery}.config_fail"), "value": rejections}),
        json!({"histograms": {}}),
    ];
    let gauge =
        |hash: u64| json!({"name": "wasmcustom.plugin=.=rollout;.;rollout_config_hash", "value": hash});
    stats.extend(hash.map(gauge));
    json!({"stats": stats}).to_string()
}

/// The metrics of a filter, as Envoy's `/stats` has them.
#[derive(Clone)]
pub(crate) struct Metrics {
    stats: Vec<Value>,
    histograms: Vec<Value>,
}

impl Metrics {
    /// Of an Envoy in which no filter serves a document.
    pub(crate) fn none() -> Self {
        Self { stats: Vec::new(), histograms: Vec::new() }
    }

    /// Of a filter that serves this document.
    pub(crate) fn serving(hash: u64) -> Self {
        Self::none()
            .and("plugin=.=rollout;.;rollout_config_hash", hash)
            .and("plugin=.=rollout;.;rollout_config_revision", 42)
    }

    /// Adds a series by its name.
    pub(crate) fn and(mut self, name: &str, value: u64) -> Self {
        self.stats.push(json!({"name": format!("wasmcustom.{name}"), "value": value}));
        self
    }

    /// Adds a series of a version of `fraud-score`; `rest` is its other labels and the name.
    pub(crate) fn of(self, version: &str, rest: &str, value: u64) -> Self {
        self.and(&format!("rollout=.=fraud-score;.;version=.={version};.;{rest}"), value)
    }

    pub(crate) fn requests(self, version: &str, reason: &str, count: u64) -> Self {
        self.of(version, &format!("reason=.={reason};.;rollout_requests_total"), count)
    }

    /// Adds what a signal of v2 has seen of a side.
    pub(crate) fn seen(self, signal: &str, side: &str, [observed, bad]: [u64; 2]) -> Self {
        let name = |result: &str| {
            format!(
                "signal=.={signal};.;side=.={side};.;result=.={result};.;rollout_guardrail_observations_total"
            )
        };
        self.of("v2", &name("all"), observed).of("v2", &name("bad"), bad)
    }

    /// Adds a metric of a signal of v2.
    pub(crate) fn signal(self, signal: &str, metric: &str, value: u64) -> Self {
        self.of("v2", &format!("signal=.={signal};.;{metric}"), value)
    }

    /// Adds what became of copies to a version, or of their pairs.
    pub(crate) fn copies(self, version: &str, result: &str, count: u64) -> Self {
        self.of(version, &format!("result=.={result};.;rollout_shadow_total"), count)
    }

    /// Adds how often the answers of v3 differ at a place.
    pub(crate) fn differs(self, pointer: &str, kind: &str, count: u64) -> Self {
        self.of(
            "v3",
            &format!("pointer=.={pointer};.;kind=.={kind};.;rollout_shadow_differences_total"),
            count,
        )
    }

    /// Adds the seconds since the proxy started.
    pub(crate) fn uptime(mut self, seconds: u64) -> Self {
        self.stats.push(json!({"name": "server.uptime", "value": seconds}));
        self
    }

    /// Adds a histogram of one bucket a value: milliseconds and how many.
    pub(crate) fn latency(self, version: &str, buckets: &[(u64, u64)]) -> Self {
        self.histogram(version, "rollout_request_duration_ms", buckets)
    }

    /// Adds the same of the answers to copies.
    pub(crate) fn copy_latency(self, version: &str, buckets: &[(u64, u64)]) -> Self {
        self.histogram(version, "rollout_shadow_duration_ms", buckets)
    }

    fn histogram(mut self, version: &str, metric: &str, buckets: &[(u64, u64)]) -> Self {
        let name = format!("wasmcustom.rollout=.=fraud-score;.;version=.={version};.;{metric}");
        let bucket = |(lower, count): &(u64, u64)| json!({"lower_bound": lower, "width": 1, "count": count});
        let totals: Vec<Value> = buckets.iter().map(bucket).collect();
        self.histograms.push(json!({"name": name, "totals": totals, "intervals": [], "percentiles": []}));
        self
    }

    pub(crate) fn text(mut self) -> (u16, String) {
        let supported = [0, 25, 50, 75, 90, 95, 99];
        if !self.histograms.is_empty() {
            self.stats.push(
                json!({"histograms": {"supported_percentiles": supported, "details": self.histograms}}),
            );
        }
        (200, json!({"stats": self.stats}).to_string())
    }
}

/// Serves these metrics, made for each question by its number, from 0 on.
pub(crate) fn serve_metrics(metrics: impl Fn(u64) -> Metrics + Send + 'static) -> String {
    let mut number = 0;
    serve(move |path| {
        assert!(path.starts_with("/stats?format=json&histogram_buckets=detailed"), "{path}");
        number += 1;
        metrics(number - 1).text()
    })
}

/// A URL where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// The text with each Envoy's address replaced by a letter, in their order.
pub(crate) fn anonymous(text: &str, urls: &[&String]) -> String {
    let pairs = urls.iter().zip(["A", "B", "C"]);
    pairs.fold(text.to_owned(), |text, (url, letter)| {
        text.replace(url.as_str(), letter).replace(url.trim_start_matches("http://"), letter)
    })
}
