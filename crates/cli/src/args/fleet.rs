//! The options of the verbs that ask running Envoys.

use std::time::Duration;

use clap::ValueHint;

/// Show what the filter does in running Envoys: exposure, requests, failures, latency, guardrails
///
/// Counts are sums over all Envoys since each has started. What differs among them is said: the document that serves, an exposure, a
/// version that only some have rolled back. Latencies are quantiles since then too, interpolated inside the buckets that Envoy keeps,
/// a tenth of the value wide at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl status --envoy http://127.0.0.1:9901
  rolloutctl status --envoy 10.0.0.1:9901 --envoy 10.0.0.2:9901 --watch 5s
  rolloutctl status --envoy 127.0.0.1:9901 --watch --format json | jq --unbuffered .differences

With --watch it goes on until it is interrupted: in a terminal the table is refreshed in place, else there is a new one each time, and
with --format json one line each. An Envoy that can't be asked is named, the others are shown, and the exit code is 1.")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// Ask again each so often, and say how many requests a second there were
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub(crate) watch: Option<Duration>,
}

/// The Envoys to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Fleet {
    /// An Envoy's admin interface; may be given more than once
    #[arg(long = "envoy", value_name = "URL", value_hint = ValueHint::Url, required = true)]
    pub(crate) envoys: Vec<String>,
}

/// A tenth of a second at least, which protects Envoy's main thread.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(100) {
        Err("expected at least 100ms".to_owned())
    } else {
        Ok(duration)
    }
}
