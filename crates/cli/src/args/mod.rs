//! The command line as types. The doc comments here are the text of `--help`.

mod fleet;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use rollout_core::{NotATime, Time};

pub(crate) use fleet::{Gate, Shadow, Status};

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the command could not be carried out
  2  the answer is no
  3  the document has problems

FILE may be `-` for standard input. Colour is used on terminals only; NO_COLOR turns it off.";

/// Checks, explains, simulates, plans, compares, pushes and judges rollout documents
#[derive(Debug, Parser)]
#[command(name = "rolloutctl", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    /// Output format; with `json`, standard output contains only JSON
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Check(Check),
    Explain(Explain),
    Simulate(Simulate),
    Plan(Plan),
    Diff(Diff),
    #[command(subcommand)]
    Render(Render),
    Push(Push),
    Status(Status),
    Shadow(Shadow),
    Gate(Gate),
    Completions(Completions),
}

/// Check whether a document can be served, and report every problem with its location
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl check rollout.json
  rolloutctl check rollout.json --deny-warnings
  render-rollout | rolloutctl check - --format json")]
pub(crate) struct Check {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Treat warnings as problems: the exit code is 3 if there are any
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

/// Show which version a request gets, and why
///
/// Describe the request as the filter sees it: the path after Envoy has normalised it, the host from `:authority`. The answer
/// comes from the same code that runs inside Envoy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl explain rollout.json --host ml.example.com --path /v2/models/fraud/infer \\
      --method POST --header 'x-user-id: alice'
  rolloutctl explain rollout.json --source-ip 10.0.0.1 --format json
  rolloutctl explain rollout.json --path /v2/models/fraud/infer --rolled-back fraud-score=v2

To explain many requests in one run, write one JSON object per line. The answers come in the same order:
  rolloutctl explain rollout.json --requests requests.jsonl

  {\"host\": \"ml.example.com\", \"path\": \"/v2/models/fraud/infer\", \"method\": \"POST\",
   \"headers\": [[\"x-user-id\", \"alice\"], [\"x-raw\", {\"hex\": \"ff00\"}]], \"source_ip\": \"10.0.0.1\",
   \"at\": \"2026-11-25T09:30:00Z\", \"rolled_back\": [\"fraud-score=v2\"]}

Every field is optional. A value that is not UTF-8 is written in hex.")]
pub(crate) struct Explain {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Host of the request, with or without a port
    #[arg(long, default_value = "localhost")]
    pub(crate) host: OsString,
    /// Path of the request, including its query
    #[arg(long, default_value = "/")]
    pub(crate) path: OsString,
    /// Method of the request
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A header line; can be repeated, and the order matters
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<OsString>,
    /// IP address of the peer, with or without a port
    #[arg(long, value_name = "IP", value_parser = source_ip)]
    pub(crate) source_ip: Option<String>,
    /// Explain the requests in this file instead, one JSON object per line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["host", "path", "method", "headers", "source_ip"])]
    pub(crate) requests: Option<PathBuf>,
    /// Decide as if a guardrail had rolled back this version; can be repeated
    #[arg(long, value_name = "ROLLOUT=VERSION")]
    pub(crate) rolled_back: Vec<String>,
    #[command(flatten)]
    pub(crate) moment: Now,
}

/// Assign made-up units to versions, and compare the shares with the document
///
/// The units are `<prefix>0` to `<prefix>N-1`. Each rollout assigns them as if it had matched a request without any other header.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl simulate rollout.json
  rolloutctl simulate rollout.json --units 1000000 --prefix customer- --rollout fraud-score")]
pub(crate) struct Simulate {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) population: Population,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    #[command(flatten)]
    pub(crate) moment: Now,
}

/// Print the timetable of every ramp in the document
///
/// There is a row for each moment at which the exposure jumps or the phase changes, and for both ends of the range. Where the
/// exposure rises in a straight line, evenly spaced rows are added. By default the range is from the start of the ramp to its end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl plan rollout.json
  rolloutctl plan rollout.json --rollout fraud-score --every 1m \\
      --from 2026-12-01T09:00:00Z --to 2026-12-01T10:00:00Z
  rolloutctl plan rollout.json --format json")]
pub(crate) struct Plan {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Start of the range, instead of the start of the ramp
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) from: Option<Time>,
    /// End of the range, instead of the end of the ramp
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) to: Option<Time>,
    /// Interval between rows, counted from the start of the range: `1s`, `15m`, `1h30m`
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(crate) every: Option<u64>,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    #[command(flatten)]
    pub(crate) moment: Now,
}

/// Show what share of the units a change moves, from which version to which
///
/// Compares rollouts of the same name, unit by unit. `-` stands for a rollout that only one of the documents has.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl diff live.json next.json
  git show HEAD:rollout.json | rolloutctl diff - rollout.json --format json
  rolloutctl diff live.json next.json --enforce
  rolloutctl diff live.json next.json --enforce --override 'INC-4711: v2 leaks memory'

With --enforce, the exit code is 2 if NEW changes a rollout that OLD freezes at that time, unless the \
change only withdraws traffic from a treatment. Changing the freeze is a change as well. With --override, \
such a change passes: the reason is printed and the exit code is 0.")]
pub(crate) struct Diff {
    /// The current document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) old: PathBuf,
    /// The document that would replace it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) population: Population,
    #[command(flatten)]
    pub(crate) moment: Now,
    /// Refuse changes that the freeze windows of OLD do not allow
    #[arg(long)]
    pub(crate) enforce: bool,
    /// Let the changes pass for this reason, which is printed; 1 to 256 characters
    #[arg(long = "override", value_name = "REASON", requires = "enforce", value_parser = reason)]
    pub(crate) overridden: Option<String>,
}

/// Write the Envoy configuration for a document
#[derive(Debug, Subcommand)]
pub(crate) enum Render {
    Ecds(RenderEcds),
    Clusters(RenderClusters),
}

/// Write an ECDS resource file, ready for Envoy's file subscription
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl render ecds rollout.json --wasm /etc/envoy/rollout_filter.wasm > ecds.yaml
  rolloutctl render ecds rollout.json --wasm rollout_filter.wasm --format json > ecds.json
  rolloutctl render ecds rollout.json --wasm /etc/envoy/rollout_filter.wasm --shadow > ecds-shadow.yaml

To replace a file that Envoy is watching, use `rolloutctl push`: with a shell's `>`, Envoy can read a \
half-written file.")]
pub(crate) struct RenderEcds {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Path of the filter's module as Envoy sees it; made absolute
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) wasm: PathBuf,
    /// Write the resource `rollout-shadow` instead, for the clusters for copies; it does not depend on the document
    #[arg(long)]
    pub(crate) shadow: bool,
}

/// Write the clusters that failover and shadows need
///
/// For each cluster that the document names, writes a composite cluster of that name over `<name>-hosts`, which you define. Adds
/// one cluster that refuses every connection: an attempt ends there if `<name>-hosts` has no host. For each shadowed version, writes
/// a cluster for copies, `<name>-copies` unless the shadow names another, with limits that keep the shadow from hurting anybody.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl render clusters rollout.json                       # for `static_resources` of envoy.yaml
  rolloutctl render clusters rollout.json --hosts envoy.yaml    # the clusters for copies get their hosts from there
  rolloutctl render clusters rollout.json --format json         # for a control plane")]
pub(crate) struct RenderClusters {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Envoy's configuration with the versions' own clusters; the clusters for copies get the same hosts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) hosts: Option<PathBuf>,
}

/// Check a document and write it into the ECDS file that Envoy watches, in one atomic step
///
/// Replaces the configuration of the wasm resource `rollout` and the file's `version_info`. Every other value stays; comments in a
/// YAML file are lost. The new file is written next to the old one and renamed over it, with the same permissions. If the path is
/// a symbolic link, the link stays and the file that it points to is replaced.
///
/// The clusters for copies read the same module from a second file, `ecds-shadow.yaml` next to `ecds.yaml`. Push writes it too, but
/// only if the module or its VM has changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl push rollout.json --to ecds.yaml --wasm /etc/envoy/rollout_filter.wasm  # first time
  rolloutctl push rollout.json --to ecds.yaml
  rolloutctl push rollout.json --to ecds.yaml --envoy http://127.0.0.1:9901 --timeout 1m

With --envoy, push first checks that this Envoy has every cluster of the document. If a cluster is missing, \
nothing is written and the exit code is 2. Then push waits until Envoy serves the document. If Envoy rejects \
the document or does not serve it in time, the exit code is 1 and the file stays written.")]
pub(crate) struct Push {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The ECDS file; written as JSON if its name ends in `.json`, otherwise as YAML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) to: PathBuf,
    /// Path of the filter's module as Envoy sees it; required if the file does not name one yet
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) wasm: Option<PathBuf>,
    /// Envoy's admin interface, used to check the clusters and to wait until the document is live
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) envoy: Option<String>,
    /// How long to wait for Envoy: `250ms`, `30s`, `1m30s`
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Write completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl completions bash > /etc/bash_completion.d/rolloutctl
  rolloutctl completions zsh > \"${fpath[1]}/_rolloutctl\"")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// The units to try.
#[derive(Debug, clap::Args)]
pub(crate) struct Population {
    /// Number of units
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) units: u64,
    /// Prefix of the units' names
    #[arg(long, value_name = "TEXT", default_value = "user-")]
    pub(crate) prefix: String,
}

impl Population {
    /// Calls `visit` with each unit in turn.
    pub(crate) fn each(&self, mut visit: impl FnMut(&str)) {
        let mut unit = self.prefix.clone();
        for number in 0..self.units {
            unit.truncate(self.prefix.len());
            let _ = write!(unit, "{number}");
            visit(&unit);
        }
    }
}

/// When the decision is taken.
#[derive(Debug, clap::Args)]
pub(crate) struct Now {
    /// Decide as if this were the current time, such as `2026-11-23T09:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<Time>,
}

impl Now {
    /// The time to decide at, in whole seconds as decisions take it.
    pub(crate) fn time(&self) -> Time {
        self.at.unwrap_or_else(now)
    }
}

/// The present, in whole seconds.
pub(crate) fn now() -> Time {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_seconds(since_1970.as_secs())
}

/// What a document takes as a time.
pub(crate) fn time(text: &str) -> Result<Time, NotATime> {
    text.parse()
}

/// A reason in the author's words, as a document takes one.
fn reason(text: &str) -> Result<String, String> {
    let is_legal = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    match is_legal && !text.trim().is_empty() {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 256 characters, without control characters".to_owned()),
    }
}

/// A duration in whole seconds, at least one, the unit of a ramp.
fn seconds(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_whole = duration.subsec_nanos() == 0 && duration.as_secs() > 0;
    if is_whole { Ok(duration.as_secs()) } else { Err("expected whole seconds, at least one".to_owned()) }
}

/// An address, with or without a port, as Envoy writes it.
pub(crate) fn source_ip(text: &str) -> Result<String, String> {
    let is_address = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    if is_address { Ok(text.to_owned()) } else { Err("expected an IP address".to_owned()) }
}
