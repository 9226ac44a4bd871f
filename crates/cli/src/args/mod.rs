//! The command line as types. The doc comments here are the text of `--help`.

mod fleet;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use rollout_core::time::{NotATime, Time};

pub(crate) use fleet::{Gate, Status};

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  could not do it
  2  the answer is no
  3  the document has problems

FILE may be `-` for standard input. Colour is for terminals only; NO_COLOR switches it off.";

/// Checks, explains, simulates, plans, compares, pushes and judges rollout documents
#[derive(Debug, Parser)]
#[command(name = "rolloutctl", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    /// How to answer; JSON goes to standard output alone
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
    Gate(Gate),
    Completions(Completions),
}

/// Say whether a document can be served, with all its problems and their places
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl check rollout.json
  render-rollout | rolloutctl check - --format json")]
pub(crate) struct Check {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Say which version a request gets, and why
///
/// The request is the one that the filter sees: its path after the connection manager's normalisation, its host from
/// `:authority`. The answer comes from the code that runs inside Envoy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl explain rollout.json --host ml.example.com --path /v2/models/fraud/infer \\
      --method POST --header 'x-user-id: alice'
  rolloutctl explain rollout.json --source-ip 10.0.0.1 --format json
  rolloutctl explain rollout.json --path /v2/models/fraud/infer --rolled-back fraud-score=v2

Batch mode answers many requests in one run, as JSON lines in their order:
  rolloutctl explain rollout.json --requests requests.jsonl

  {\"host\": \"ml.example.com\", \"path\": \"/v2/models/fraud/infer\", \"method\": \"POST\",
   \"headers\": [[\"x-user-id\", \"alice\"], [\"x-raw\", {\"hex\": \"ff00\"}]], \"source_ip\": \"10.0.0.1\",
   \"at\": \"2026-11-25T09:30:00Z\", \"rolled_back\": [\"fraud-score=v2\"]}

One request a line; every field may be left out; a text that is not UTF-8 is written in hex.")]
pub(crate) struct Explain {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Host of the request, with or without a port
    #[arg(long, default_value = "localhost")]
    pub(crate) host: OsString,
    /// Path of the request, with its query
    #[arg(long, default_value = "/")]
    pub(crate) path: OsString,
    /// Method of the request
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A header line; may be given more than once, and order counts
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<OsString>,
    /// Address of the peer
    #[arg(long, value_name = "IP", value_parser = source_ip)]
    pub(crate) source_ip: Option<String>,
    /// Answer the requests of this file instead, one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["host", "path", "method", "headers", "source_ip"])]
    pub(crate) requests: Option<PathBuf>,
    /// Decide as if a guardrail had rolled back this version; may be given more than once
    #[arg(long, value_name = "ROLLOUT=VERSION")]
    pub(crate) rolled_back: Vec<String>,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

/// Divide invented units among the versions, and compare with what the document asks for
///
/// Units are `<prefix>0` up to `<prefix>N-1`. Every rollout divides them as if a request without any other header had matched it.
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
    pub(crate) moment: Moment,
}

/// Print the timetable of the document's ramps: what is exposed when
///
/// A row for every moment at which the exposure jumps or the phase changes, for both ends of the range, and evenly spaced ones where
/// the exposure rises in a line. The range goes from a ramp's start to its end, unless given.
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
    /// Begin here instead of at the ramp's start
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) from: Option<Time>,
    /// End here instead of at the ramp's end
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) to: Option<Time>,
    /// A row each so often, counted from the begin: `1s`, `15m`, `1h30m`
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub(crate) every: Option<u64>,
    /// Only this rollout
    #[arg(long, value_name = "NAME")]
    pub(crate) rollout: Option<String>,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

/// Say whom a change moves: which share of the units, from which version to which
///
/// Compares unit by unit, rollout by rollout of the same name; `-` stands for a rollout that only one document has.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl diff live.json next.json
  git show HEAD:rollout.json | rolloutctl diff - rollout.json --format json
  rolloutctl diff live.json next.json --enforce

With --enforce a change to a rollout that OLD has frozen at that time ends with exit code 2, unless
it only withdraws traffic from a treatment. Changing the freeze is itself a change.")]
pub(crate) struct Diff {
    /// The document that serves
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) old: PathBuf,
    /// The document that is to serve
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) population: Population,
    #[command(flatten)]
    pub(crate) moment: Moment,
    /// Refuse what the freeze windows of OLD do not allow
    #[arg(long)]
    pub(crate) enforce: bool,
}

/// Write the configuration that brings a document to Envoy
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

To replace a file that Envoy watches use `rolloutctl push`: a shell's `>` lets Envoy see half a file.")]
pub(crate) struct RenderEcds {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The filter's module, where Envoy finds it; made absolute
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) wasm: PathBuf,
}

/// Write the clusters that let failover cover a version without hosts
///
/// For each cluster that the document names a composite of that name, over `<name>-hosts`, which you define, and once the
/// cluster that refuses every connection, where an attempt ends that found no host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl render clusters rollout.json                 # for `static_resources` of envoy.yaml
  rolloutctl render clusters rollout.json --format json   # for a control plane")]
pub(crate) struct RenderClusters {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Check a document and put it into the ECDS file that Envoy watches, whole or not at all
///
/// Replaces the configuration of the wasm resource `rollout` and the file's `version_info`, and keeps every other value of the
/// file; comments of a YAML file are not kept. The new file is written beside the old one and renamed over it, with its
/// permissions. A symbolic link stays a link: the file that it leads to is replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rolloutctl push rollout.json --to ecds.yaml --wasm /etc/envoy/rollout_filter.wasm   # the first time
  rolloutctl push rollout.json --to ecds.yaml
  rolloutctl push rollout.json --to ecds.yaml --envoy http://127.0.0.1:9901 --timeout 1m

With --envoy nothing is written unless this Envoy has every cluster of the document (else exit code 2), and the push ends
when Envoy serves the document. A push that Envoy rejects or does not serve in time ends with exit code 1; the file stays
written.")]
pub(crate) struct Push {
    /// The document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The ECDS file; written as JSON if its name ends in `.json`, else as YAML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) to: PathBuf,
    /// The filter's module, where Envoy finds it; needed where the file does not name one yet
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) wasm: Option<PathBuf>,
    /// Envoy's admin interface, to check the clusters and wait until the document serves
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
    /// How many units
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) units: u64,
    /// What the units' names begin with
    #[arg(long, value_name = "TEXT", default_value = "user-")]
    pub(crate) prefix: String,
}

/// When the decision is taken.
#[derive(Debug, clap::Args)]
pub(crate) struct Moment {
    /// The time that counts as now, such as `2026-11-23T09:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<Time>,
}

impl Moment {
    /// The time to decide at, in the whole seconds that decisions are made of.
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

/// A duration in whole seconds, at least one: what a ramp is measured by.
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
