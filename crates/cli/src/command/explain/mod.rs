//! `explain`: the decision for one request, or for a batch of them, taken as the filter takes it.

mod call;
mod latch;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rollout_core::{
    BUCKETS, CopyResult, Decision, Edit, Nonce, Now, Plan, Ppm, Reason, Request, Shadow, Time, decide,
    request_edits,
};
use serde::Serialize;

use self::call::Call;
use crate::args::{Explain, Format};

use crate::document::{Document, is_stdin};
use crate::exit::Exit;
use crate::output::percent::Percent;
use crate::output::{self, FAINT, GOOD, TITLE, paint};

/// The answer for programs. Absent values are null.
#[derive(Serialize)]
struct Explanation<'p> {
    rollout: Option<&'p str>,
    version: Option<&'p str>,
    cluster: Option<&'p str>,
    fallback: Option<&'p str>,
    reason: &'static str,
    bucket: Option<u32>,
    shadows: Vec<&'p str>,
    /// The shadows among them whose answers are compared. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compared: Vec<&'p str>,
    /// Why shadows whose cohorts have the request get no copy, by version.
    skipped: BTreeMap<&'p str, &'static str>,
    revision: u64,
    set_headers: BTreeMap<&'p str, String>,
}

pub(super) fn run(args: &Explain, format: Format) -> Result<Exit> {
    let both_stdin = is_stdin(&args.file) && args.requests.as_deref().is_some_and(is_stdin);
    if both_stdin {
        bail!("the document and the requests can't both come from standard input");
    }
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let health = latch::health(&plan, &args.rolled_back).context("`--rolled-back`")?;
    let now = Now { time: args.moment.time(), health: &health };
    match &args.requests {
        Some(path) => batch(&plan, path, now)?,
        None => single(&plan, &Call::try_from(args)?, now, format)?,
    }
    Ok(Exit::Fine)
}

fn single(plan: &Plan, call: &Call, now: Now<'_>, format: Format) -> Result<()> {
    let request = request(plan, call, now.time);
    let decision = decide(plan, &request, now);
    let answer = Explanation::new(plan, &request, decision.as_ref());
    match format {
        Format::Json => output::json(&answer),
        Format::Text => output::text(&text(&answer, decision.as_ref(), request.unwanted())),
    }
}

/// The request with the values that a new id is made of. The id differs each time, as in Envoy.
fn request<'c>(plan: &Plan, call: &'c Call, now: Time) -> Request<'c> {
    let clock = now.seconds().saturating_mul(1_000_000_000);
    let nonce = Nonce { connection: 0, clock, counter: std::process::id().into() };
    plan.request(call.lines(), call.source()).with_nonce(nonce)
}

fn batch(plan: &Plan, path: &Path, now: Now<'_>) -> Result<()> {
    let shown = path.display();
    let lines: Box<dyn BufRead> = if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).with_context(|| format!("can't read `{shown}`"))?))
    };
    for (line, number) in lines.lines().zip(1_usize..) {
        let place = || format!("`{shown}`, line {number}");
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let call = Call::from_json(&line).with_context(place)?;
        let own = call.rolled_back().map(|named| latch::health(plan, named));
        let own = own.transpose().context("`rolled_back`").with_context(place)?;
        let now = Now { time: call.at().unwrap_or(now.time), health: own.as_ref().unwrap_or(now.health) };
        let request = request(plan, &call, now.time);
        output::json_line(&Explanation::new(plan, &request, decide(plan, &request, now).as_ref()))?;
    }
    Ok(())
}

impl<'d> Explanation<'d> {
    fn new(plan: &Plan, request: &'d Request<'_>, decision: Option<&'d Decision>) -> Self {
        let headers = decision.map(|decision| {
            let edits: Vec<Edit<'_>> = request_edits(Some(decision), request).collect();
            let set = edits.iter().filter_map(Edit::header);
            set.map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())).collect()
        });
        Self {
            rollout: decision.map(|decision| decision.rollout.name()),
            version: decision.map(|decision| decision.version.name()),
            cluster: decision.map(|decision| decision.version.cluster()),
            fallback: decision.map(Decision::fallback),
            reason: decision.map_or(Reason::NoMatch, |decision| decision.reason).name(),
            bucket: decision.and_then(|decision| decision.bucket).map(|bucket| bucket.get()),
            shadows: decision.map(|decision| decision.shadow_clusters().collect()).unwrap_or_default(),
            compared: decision.map(compared).unwrap_or_default(),
            skipped: decision.map(skipped).unwrap_or_default(),
            revision: plan.revision(),
            set_headers: headers.unwrap_or_default(),
        }
    }
}

/// The copies that are sent. A rate is not known here.
fn sent(decision: &Decision) -> impl Iterator<Item = &Shadow> {
    let copies = decision.copies.iter().flatten().filter(|copy| copy.result == CopyResult::Sent);
    copies.map(|copy| &*copy.shadow)
}

fn compared(decision: &Decision) -> Vec<&str> {
    sent(decision).filter(|shadow| shadow.compare().is_some()).map(Shadow::cluster).collect()
}

/// The cluster of a shadow, and how many of its answers are compared.
fn shown(shadow: &Shadow) -> String {
    let cluster = shadow.cluster();
    match shadow.compare() {
        Some(compare) if compare.sample == Ppm::WHOLE => format!("{cluster} (compared)"),
        Some(compare) => format!("{cluster} ({} compared)", Percent::from(compare.sample)),
        None => cluster.to_owned(),
    }
}

/// The shadows that skip the request. A rate is not known here.
fn skipped(decision: &Decision) -> BTreeMap<&str, &'static str> {
    let copies = decision.copies.iter().flatten().filter(|copy| copy.result != CopyResult::Sent);
    copies.map(|copy| (copy.shadow.version.name(), copy.result.name())).collect()
}

/// The answer for people.
fn text(answer: &Explanation<'_>, decision: Option<&Decision>, unwanted: &[&str]) -> String {
    let mut text = String::new();
    let mut field = |label: &str, value: &str| {
        let _ = writeln!(text, "{}  {value}", paint(FAINT, format_args!("{label:<8}")));
    };
    let nothing = || "-".to_owned();
    let bucket = answer.bucket.map_or_else(nothing, |bucket| {
        let is_native = decision.is_some_and(|decision| decision.rollout.has_native_buckets());
        if is_native { format!("{bucket} of {BUCKETS}") } else { bucket.to_string() }
    });
    let skipped = answer.skipped.iter().map(|(version, why)| format!("{version} ({why})"));
    let shadows: Vec<String> = decision.into_iter().flat_map(sent).map(shown).chain(skipped).collect();
    let shadows = if shadows.is_empty() { nothing() } else { shadows.join(", ") };
    field("rollout", answer.rollout.unwrap_or("-"));
    field("version", &paint(GOOD, answer.version.unwrap_or("-")));
    field("reason", &format!("{}: {}", answer.reason, in_words(decision)));
    field("cluster", answer.cluster.unwrap_or("-"));
    field("fallback", answer.fallback.unwrap_or("-"));
    field("bucket", &bucket);
    field("shadows", &shadows);
    field("revision", &answer.revision.to_string());
    let width = answer.set_headers.keys().map(|name| name.len()).max().unwrap_or(0);
    if !answer.set_headers.is_empty() {
        let _ = writeln!(text, "\n{}", paint(TITLE, "sets"));
    }
    for (name, value) in &answer.set_headers {
        let _ = writeln!(text, "  {name:<width$}  {value}");
    }
    let cookies = decision.map(|decision| decision.cookies.as_slice()).unwrap_or_default();
    if !cookies.is_empty() {
        let _ = writeln!(text, "\n{}", paint(TITLE, "sends to the client"));
    }
    for cookie in cookies {
        let _ = writeln!(text, "  {cookie}");
    }
    if !unwanted.is_empty() {
        let _ = writeln!(text, "\n{}", paint(TITLE, "removes"));
    }
    for (position, name) in unwanted.iter().enumerate() {
        if !unwanted.iter().take(position).any(|earlier| earlier == name) {
            let _ = writeln!(text, "  {name}");
        }
    }
    text
}

/// The reason as a sentence.
fn in_words(decision: Option<&Decision>) -> &'static str {
    let Some(decision) = decision else { return "no rollout matches, so the route's own cluster serves" };
    match (decision.reason, decision.bucket) {
        (Reason::NoMatch, _) => "no rollout matches, so the route's own cluster serves",
        (Reason::Forced, _) => "an override selects this version",
        (Reason::MissingUnit, _) => "no source of the unit has a value, so the stable version serves",
        (Reason::Holdout, _) => "the unit is in a holdout, so the stable version serves",
        (Reason::Layer, _) => {
            "the unit is outside this rollout's slice of its layer, so the stable version serves"
        }
        (Reason::Session, _) => "the client's session is on this version",
        (Reason::RolledBack, _) => {
            "the version that the unit would get is rolled back, so the stable version serves"
        }
        (Reason::Dependency, _) => {
            "the version that the unit would get requires a different decision in another rollout, so the stable version serves"
        }
        (Reason::Incompatible, _) if decision.is_unacceptable => {
            "no version accepts the request's API version and feature set, so the stable version serves"
        }
        (Reason::Incompatible, _) => {
            "the version that the unit would get does not accept the request's API version or feature set"
        }
        (Reason::NotExposed, Some(_)) => "the unit's bucket is not exposed, so the stable version serves",
        (Reason::NotExposed, None) => "nobody is exposed, so the stable version serves",
        (Reason::Assigned, Some(_)) => "the unit's bucket belongs to this version",
        (Reason::Assigned, None) => "every request gets this version",
    }
}
