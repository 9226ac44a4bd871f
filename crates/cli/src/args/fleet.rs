//! The options of the subcommands that ask running Envoys.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

/// Show what the filter does in running Envoys: exposure, requests, failures, latency, guardrails
///
/// Counts are sums over all Envoys, each since its start. `status` reports where the Envoys disagree: on the document, on an
/// exposure, or on whether a version is rolled back. It also names the signals that are withheld or wait for a version to warm up. Latencies are quantiles since the start, interpolated inside Envoy's histogram
/// buckets, which are at most 10 % of the value wide.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl status --envoy http://127.0.0.1:9901
  rolloutctl status --envoy 10.0.0.1:9901 --envoy 10.0.0.2:9901 --watch 5s
  rolloutctl status --envoy 127.0.0.1:9901 --watch --format json | jq --unbuffered .differences

With --watch, status repeats until it is interrupted. A terminal shows one table, refreshed in place; otherwise \
each round prints a new table or, with --format json, a line. If an Envoy can't be asked, status names it, shows \
the others, and ends with exit code 1.")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// Refresh at this interval and show requests per second
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub(crate) watch: Option<Duration>,
}

/// Decide whether a pipeline may continue, by judging a rollout's versions over all Envoys
///
/// Applies the document's guardrails as each proxy does, but to what all proxies observe from now on. The answer is no as soon as a
/// signal condemns a version, a proxy has rolled a version back, or a proxy has counted a trip. The answer is also no if, at the
/// end, a version had too few outcomes, or a signal that acts could not be judged: it saw too little, its verdict is withheld
/// because stable is as bad, or the version is warming up. Signals that only warn are reported and never make the answer no: those
/// with the action `warn`, those under `dry_run`, and `sample_ratio`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl push canary-25.json --to ecds.yaml --envoy http://127.0.0.1:9901 &&
  rolloutctl gate canary-25.json --envoy http://127.0.0.1:9901 --for 5m --min-requests 1000

Exit codes of `gate`:
  0  continue
  2  do not continue: a signal condemns a version or could not judge it, a proxy has rolled it back, or it had
     too few outcomes
  1  can't tell: an Envoy can't be asked at the end, or serves a document other than FILE

Only the proxies judge consecutive failures and sample ratios; `gate` sees whether they tripped.")]
pub(crate) struct Gate {
    /// The document that the Envoys serve
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// How long to observe and judge: `90s`, `5m`
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Number of outcomes (answers, failures, abandoned requests) that each version with guardrails must have in that time, not
    /// counting forced ones; a version that the document exposes to nobody needs none
    #[arg(long, value_name = "N")]
    pub(crate) min_requests: u64,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    /// Name of the filter's plugin in Envoy
    #[arg(long, value_name = "NAME", default_value = crate::envoy::ecds::RESOURCE)]
    pub(crate) plugin: String,
}

/// Report how the answers of shadows compare with those of stable, over all Envoys
///
/// For each shadow: what became of its copies, how many answers were compared and matched, why others were not compared, the latency
/// of both sides, and where the answers differ most. Counts are sums over all Envoys, each since its start. The interval for the
/// share of matches stays valid however often you look. `shadow` does not judge: `gate` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl shadow rollout.json --envoy http://127.0.0.1:9901
  rolloutctl shadow rollout.json --envoy 10.0.0.1:9901 --envoy 10.0.0.2:9901 --rollout fraud-score --watch 5s
  rolloutctl shadow rollout.json --envoy 127.0.0.1:9901 --format json | jq '.rollouts[].shadows[].differences'

With --watch, shadow repeats until it is interrupted, as status does. If an Envoy can't be asked, shadow names it, \
reports what the others have counted, and ends with exit code 1.")]
pub(crate) struct Shadow {
    /// The document that the Envoys serve
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) fleet: Fleet,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    /// Report only what is counted from now on, in this time: `90s`, `5m`; for a model that has been replaced since the start
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "watch")]
    pub(crate) duration: Option<Duration>,
    /// Confidence of the interval for the share of matches, 0.5 to 0.9999999
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = confidence)]
    pub(crate) confidence: f64,
    /// Refresh at this interval
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub(crate) watch: Option<Duration>,
    /// Name of the filter's plugin in Envoy
    #[arg(long, value_name = "NAME", default_value = crate::envoy::ecds::RESOURCE)]
    pub(crate) plugin: String,
}

/// The Envoys to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Fleet {
    /// An Envoy's admin interface; can be repeated
    #[arg(long = "envoy", value_name = "URL", value_hint = ValueHint::Url, required = true)]
    pub(crate) envoys: Vec<String>,
}

/// An interval of at least 100 ms, which protects Envoy's main thread.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(100) {
        Err("expected at least 100ms".to_owned())
    } else {
        Ok(duration)
    }
}

/// A confidence in the range that a document takes.
fn confidence(text: &str) -> Result<f64, String> {
    let confidence = text.parse().ok().filter(|confidence| (0.5..=0.999_999_9).contains(confidence));
    confidence.ok_or_else(|| "expected a number from 0.5 to 0.9999999".to_owned())
}
