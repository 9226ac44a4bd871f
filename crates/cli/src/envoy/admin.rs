//! Asks a running Envoy over its admin interface which clusters it has and which document it serves.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rollout_core::metric;
use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Uri;

use crate::envoy::ecds::Kind;

/// The longest answer in bytes. Protects memory; an Envoy with thousands of hosts answers some tens of MiB.
const MAX_ANSWER: u64 = 256 << 20;

/// The interval between questions about a push. The filter reports a document on its first tick, 200 ms after it begins to serve.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// An Envoy's admin interface.
pub(crate) struct Admin {
    url: String,
    agent: Agent,
}

/// What an Envoy reports of the filter at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// Hash of the current document. `None` if no document serves.
    pub(crate) hash: Option<u64>,
    /// Number of times that Envoy has read the file. `None` if it does not count that, or watches no such file.
    pub(crate) reads: Option<u64>,
    /// Number of times that Envoy has rejected what it read.
    pub(crate) rejections: u64,
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Value>,
}

impl Admin {
    /// An admin interface at this URL, in which `http://` may be left out.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self> {
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if !full.starts_with("http://") {
            bail!(
                "expected a URL that begins with `http://`, found `{url}`: Envoy's admin interface does not support TLS"
            );
        }
        if !full.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
            bail!("expected a URL such as `http://127.0.0.1:9901`, found `{url}`");
        }
        let config = Agent::config_builder()
            .proxy(None) // the admin interface is local, whatever the environment says
            .timeout_global(Some(timeout.clamp(Duration::from_secs(1), Duration::from_secs(30))))
            .http_status_as_error(false);
        Ok(Self { url: full.trim_end_matches('/').to_owned(), agent: config.build().into() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Names of all clusters.
    pub(crate) fn clusters(&self) -> Result<BTreeSet<String>> {
        let clusters: Clusters = self.get("/clusters?format=json")?;
        Ok(clusters.cluster_statuses.into_iter().map(|cluster| cluster.name).collect())
    }

    /// The state of the filter whose plugin has this name.
    pub(crate) fn status(&self, plugin: &str) -> Result<Status> {
        let stats = self.discovery_stats(Kind::Rollout, &format!("{}%7C", metric::HASH.name))?;
        let gauge = format!("wasmcustom.{}", metric::HASH.series(&[plugin]));
        Ok(Status { hash: value(&stats, &gauge), ..discovery(&stats, Kind::Rollout) })
    }

    /// What Envoy reports of the module in clusters for copies. There is no document.
    pub(crate) fn shadow_status(&self) -> Result<Status> {
        let stats = self.discovery_stats(Kind::Shadow, "")?;
        Ok(discovery(&stats, Kind::Shadow))
    }

    /// The counters of a resource, and whatever else the filter matches.
    fn discovery_stats(&self, kind: Kind, filter: &str) -> Result<Stats> {
        let prefix = kind.stat_prefix().replace('.', "%5C.");
        self.get(&format!("/stats?format=json&filter={filter}{prefix}%5C."))
    }

    /// The JSON answer to a path.
    pub(crate) fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T> {
        self.fetch(path).map_err(in_words).with_context(|| format!("can't ask Envoy at {}", self.url))
    }

    fn fetch<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T> {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call()?;
        if !response.status().is_success() {
            bail!("it answers {path} with {}", response.status());
        }
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        serde_json::from_slice(&body)
            .with_context(|| format!("its answer to {path} is not the JSON that Envoy sends"))
    }
}

/// The value of a counter or gauge.
fn value(stats: &Stats, name: &str) -> Option<u64> {
    let mut found = stats.stats.iter().filter(|stat| stat.get("name").and_then(Value::as_str) == Some(name));
    found.next()?.get("value")?.as_u64()
}

fn discovery(stats: &Stats, kind: Kind) -> Status {
    let count =
        |name: &str| value(stats, &format!("extension_config_discovery.{}.{name}", kind.stat_prefix()));
    Status { hash: None, reads: count("update_attempt"), rejections: count("config_fail").unwrap_or(0) }
}

/// Replaces the library's message for a timeout, which names one of the library's settings.
fn in_words(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(ureq::Error::Timeout(_)) => anyhow!("it does not answer in time"),
        _ => error,
    }
}
