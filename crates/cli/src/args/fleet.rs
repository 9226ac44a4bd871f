//! The options of the verbs that ask running Envoys.

use std::path::PathBuf;
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

/// Judge a rollout's versions for a while over all Envoys, for a pipeline: may it go on?
///
/// Judges as the proxies do, with the guardrails of the document, but over what all of them observe from now on. The answer is no as soon
/// as a signal condemns a version, or a proxy has rolled it back or counted a trip, and at the end if a version got too few requests.
/// What only warns never makes a no, it is reported: signals under the action `warn` or `dry_run`, and `sample_ratio`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl push canary-25.json --to ecds.yaml --envoy http://127.0.0.1:9901 &&
  rolloutctl gate canary-25.json --envoy http://127.0.0.1:9901 --for 5m --min-requests 1000

Exit codes of `gate`:
  0  go on
  2  do not: a signal condemns a version, a proxy has rolled it back, or it got too few requests
  1  could not tell: an Envoy can't be asked at the end, or serves another document than FILE

Consecutive failures and sample ratios are judged by the proxies alone; `gate` sees that they tripped.")]
pub(crate) struct Gate {
    /// The document that the Envoys serve
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// How long to judge: `90s`, `5m`
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// How many requests each version under guardrails must get in that time, forced ones aside; versions that the document exposes to
    /// nobody need none
    #[arg(long, value_name = "N")]
    pub(crate) min_requests: u64,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    /// Name of the filter's plugin in Envoy
    #[arg(long, value_name = "NAME", default_value = crate::envoy::ecds::RESOURCE)]
    pub(crate) plugin: String,
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
