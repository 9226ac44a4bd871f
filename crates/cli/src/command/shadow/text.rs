//! The report for people: what is wrong first, then for each shadow its counts, its latency and where its answers differ.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Cause, Difference, Envoy, Quantiles, Report, Rollout, Shadow};
use crate::output::percent::Percent;
use crate::output::{self, BAD, FAINT, GOOD, TITLE, WARNING, paint, printable};

/// Most places where answers differ that are shown. With `--format json` there are all.
const MOST_DIFFERENCES: usize = 10;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for envoy in &report.envoys {
        let _ = writeln!(text, "{}", line(envoy, report.is_recent));
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "{} {warning}", paint(WARNING, "warning:"));
    }
    for rollout in &report.rollouts {
        for shadow in &rollout.shadows {
            let title = format!("{}: {} against {}", rollout.name, shadow.version, rollout.stable);
            let _ = writeln!(text, "\n{}", paint(TITLE, title));
            text.push_str(&counts(shadow, report.confidence));
            text.push_str(&latency(rollout, shadow));
            text.push_str(&differences(shadow));
        }
    }
    text
}

fn line(envoy: &Envoy, is_recent: bool) -> String {
    let url = &envoy.url;
    if let Some(error) = &envoy.error {
        return format!("{url}: {}", paint(BAD, error));
    }
    let took = envoy.counted_seconds.map(|seconds| humantime::format_duration(Duration::from_secs(seconds)));
    match took {
        Some(took) if is_recent => format!("{url}: counts of the last {took}"),
        Some(took) => format!("{url}: counts since it started, {took} ago"),
        None => format!("{url}: counts since it started"),
    }
}

fn counts(shadow: &Shadow, confidence: f64) -> String {
    let mut text = String::new();
    let mut field = |label: &str, value: &str| {
        let _ = writeln!(text, "  {}  {value}", paint(FAINT, format_args!("{label:<8}")));
    };
    let of = |percent: Option<Percent>| percent.map(|percent| format!(" ({percent})")).unwrap_or_default();
    field("sent", &format!("{} to {}", copies(shadow.sent), shadow.cluster));
    let (compared, all) = (shadow.compared, shadow.to_compare);
    if all > 0 {
        field("compared", &format!("{compared} of {}{}", pairs(all), of(shadow.compared_percent)));
    } else {
        let why = if shadow.compares { "nothing yet" } else { "nothing: the shadow has no `compare`" };
        field("compared", why);
    }
    if let Some([low, high]) = shadow.matched_interval_percent {
        let style = if shadow.matched == shadow.compared { GOOD } else { WARNING };
        let matched = paint(style, format_args!("{}{}", shadow.matched, of(shadow.matched_percent)));
        field("matched", &format!("{matched}; at confidence {confidence}: {low} to {high}"));
    }
    if shadow.open > 0 {
        field(
            "open",
            &format!(
                "{}: without a result yet, or lost with a VM, or sent when nothing was compared",
                copies(shadow.open)
            ),
        );
    }
    text.push_str(&causes("not sent", &shadow.not_sent));
    text.push_str(&causes("not compared", &shadow.not_compared));
    text.push_str(&causes("left out", &shadow.left_out));
    text
}

fn copies(count: u64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

fn pairs(count: u64) -> String {
    format!("{count} pair{}", if count == 1 { "" } else { "s" })
}

/// A line for each cause.
fn causes(what: &str, causes: &[Cause]) -> String {
    let line = |Cause { count, why, .. }: &Cause| {
        let were = if *count == 1 { "was" } else { "were" };
        format!("  {count} {were} {what}: {}\n", printable(why))
    };
    causes.iter().map(line).collect()
}

fn latency(rollout: &Rollout, shadow: &Shadow) -> String {
    let (copies, live) = (&shadow.latency_ms.shadow, &shadow.latency_ms.stable);
    if copies.is_none() {
        return String::new();
    }
    let row = |name: String, of: &Option<Quantiles>| {
        let time = |value: fn(&Quantiles) -> f64| {
            of.as_ref().map_or_else(|| "-".to_owned(), |of| format!("{:.1} ms", value(of)))
        };
        let answers = of.as_ref().map_or(0, |of| of.answers).to_string();
        vec![name, answers, time(|of| of.p50), time(|of| of.p90), time(|of| of.p99)]
    };
    let rows = [
        row(format!("{} (copies)", shadow.version), copies),
        row(format!("{} (live)", rollout.stable), live),
    ];
    format!("\n{}", output::table(&["version", "answers", "p50", "p90", "p99"], 1, rows))
}

fn differences(shadow: &Shadow) -> String {
    if shadow.differences.is_empty() {
        return String::new();
    }
    let row = |of: &Difference| {
        let share = of.mismatch_percent.map_or_else(|| "-".to_owned(), |percent| percent.to_string());
        vec![printable(&of.pointer), printable(&of.kind), of.count.to_string(), share]
    };
    let rows = shadow.differences.iter().take(MOST_DIFFERENCES).map(row);
    let header = ["differs at", "kind", "times", "of mismatches"];
    let mut text = format!("\n{}", output::table(&header, 2, rows));
    let more = shadow.differences.len().saturating_sub(MOST_DIFFERENCES);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more, which `--format json` lists");
    }
    text
}
