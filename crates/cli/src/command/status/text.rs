//! The report for people: first what is wrong, then two tables for each rollout: its versions and its signals.

use std::fmt::Write as _;

use super::differences::Value;
use super::report::{Envoy, Report, Rollout, Signal, Version};
use crate::fleet::Seen;
use crate::output::percent::Percent;
use crate::output::{self, BAD, FAINT, TITLE, WARNING, paint};

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let with_filter = report.envoys.iter().filter(|envoy| !envoy.plugins.is_empty()).count();
    for envoy in &report.envoys {
        let _ = writeln!(text, "{}", line(envoy));
    }
    for difference in &report.differences {
        let value = |value: &Value| format!("{} on {}", value.value, value.envoys.join(", "));
        let values: Vec<_> = difference.values.iter().map(value).collect();
        let title = format!("{} of {}", difference.what, difference.of);
        let _ = writeln!(text, "{} {title}: {}", paint(WARNING, "differs:"), values.join("; "));
    }
    let all = report.envoys.len();
    for rollout in &report.rollouts {
        let _ = writeln!(text, "\n{}", paint(TITLE, &rollout.name));
        text.push_str(&counts(rollout));
        text.push_str(&copies(rollout));
        text.push_str(&states(rollout, all));
        text.push_str(&signals(rollout));
    }
    if with_filter > 0 {
        let _ = writeln!(
            text,
            "\n{}",
            paint(FAINT, format_args!("{} matched no rollout", requests(report.unmatched_requests)))
        );
    }
    text
}

fn line(envoy: &Envoy) -> String {
    let url = &envoy.url;
    if let Some(error) = &envoy.error {
        return format!("{url}: {}", paint(BAD, error));
    }
    let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let plugins = envoy.plugins.iter().map(|plugin| {
        format!("`{}` serves revision {}, hash {}", plugin.name, known(plugin.revision), known(plugin.hash))
    });
    let plugins: Vec<_> = plugins.collect();
    if plugins.is_empty() {
        format!("{url}: {}", paint(WARNING, "no filter serves a document"))
    } else {
        format!("{url}: {}", plugins.join("; "))
    }
}

fn requests(count: u64) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

fn counts(rollout: &Rollout) -> String {
    let is_watched = rollout.versions.iter().any(|version| version.requests_per_second.is_some());
    let mut header = vec!["version", "exposure", "requests", "failures", "failed"];
    header.extend(["abandoned", "retries", "failovers", "p50", "p99"]);
    if is_watched {
        header.insert(3, "per second");
    }
    let rows = rollout.versions.iter().map(|version| {
        let mut row = row(version);
        if is_watched {
            let rate = version.requests_per_second.unwrap_or_default();
            row.insert(3, format!("{rate:.1}"));
        }
        row
    });
    output::table(&header, 1, rows)
}

fn row(version: &Version) -> Vec<String> {
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
    vec![
        version.name.clone(),
        version.exposure_percent.map_or_else(|| "-".to_owned(), |exposure| exposure.to_string()),
        version.requests.to_string(),
        version.failures.to_string(),
        version.failure_percent.to_string(),
        version.abandoned.to_string(),
        version.retries.to_string(),
        version.failovers.to_string(),
        time(version.latency_ms.map(|of| of.p50)),
        time(version.latency_ms.map(|of| of.p99)),
    ]
}

/// The results of copies that come first. Errors and skips follow by name.
const FIRST: [&str; 3] = ["sent", "match", "mismatch"];

/// A line for each version that gets copies.
fn copies(rollout: &Rollout) -> String {
    let mut text = String::new();
    for version in rollout.versions.iter().filter(|version| !version.copies.is_empty()) {
        let mut results: Vec<_> = version.copies.iter().collect();
        results
            .sort_by_key(|(result, _)| FIRST.iter().position(|first| first == result).unwrap_or(FIRST.len()));
        let results: Vec<_> = results.iter().map(|(result, count)| format!("{count} {result}")).collect();
        let _ = writeln!(text, "  copies to {}: {}", version.name, results.join(", "));
    }
    text
}

/// A line for each version that is rolled back somewhere, and for each signal that is not judged somewhere.
fn states(rollout: &Rollout, all: usize) -> String {
    let mut text = String::new();
    for version in &rollout.versions {
        let mut line = |style, what: &str, on: &[String], why: &str| {
            if !on.is_empty() {
                let state = paint(style, format_args!("{what} on {} of {all}", on.len()));
                let _ = writeln!(text, "  {}: {state}: {}{why}", version.name, on.join(", "));
            }
        };
        line(BAD, "rolled back", &version.rolled_back_on, "");
        for Signal { name, withheld_on, warming_up_on, .. } in &version.signals {
            line(WARNING, &format!("signal {name} withheld"), withheld_on, " (stable is as bad)");
            line(WARNING, &format!("signal {name} warming up"), warming_up_on, "");
        }
    }
    text
}

fn signals(rollout: &Rollout) -> String {
    let rows: Vec<_> = rollout
        .versions
        .iter()
        .flat_map(|version| version.signals.iter().map(|signal| signal_row(version, signal)))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["version", "signal", "observed", "bad", "share", "stable", "bad", "share", "trips"];
    format!("\n{}", output::table(&header, 2, rows))
}

fn signal_row(version: &Version, signal: &Signal) -> Vec<String> {
    let mut row = vec![version.name.clone(), signal.name.clone()];
    row.extend(shown(Some(signal.version)));
    row.extend(shown(signal.stable));
    row.push(signal.trips.to_string());
    row
}

fn shown(seen: Option<Seen>) -> [String; 3] {
    let nothing = || "-".to_owned();
    let Some(seen) = seen.filter(|seen| seen.observed > 0) else { return [nothing(), nothing(), nothing()] };
    let share = Percent::of(seen.bad, seen.observed).to_string();
    [seen.observed.to_string(), seen.bad.to_string(), share]
}
