//! Reads guardrails: the signals that a rollout's versions are judged by, and what follows when one trips.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::condition::header_test;
use super::reader::{At, Draft, Fields};
use super::scalar;
use crate::compile::json::MAX_INTEGER;
use crate::guardrail::sequential::Null;
use crate::guardrail::{Action, HeaderRule, Limit, MAX_SIGNALS, Measure, Rule, Signal};

/// Guardrails before it is known whom they guard.
pub(super) struct Guardrails {
    pub(super) window: Duration,
    pub(super) min_requests: u64,
    pub(super) action: Action,
    pub(super) dry_run: bool,
    pub(super) rearm: u64,
    pub(super) signals: Vec<Signal>,
    /// Of all that the document says about them.
    pub(super) hash: u32,
}

const DEFAULT_WINDOW_MS: u64 = 30_000;
const DEFAULT_MIN_REQUESTS: i64 = 50;

pub(super) fn guardrails(at: At<'_, '_>, draft: &mut Draft) -> Option<Guardrails> {
    let mut fields = Fields::of(at, draft)?;
    let window = fields.optional("window", draft, |at, draft| scalar::duration(at, draft, 1_000..=3_600_000));
    let whole = |least: i64, most: i64| {
        move |at: At<'_, '_>, draft: &mut Draft| scalar::integer(at, draft, least..=most)
    };
    let min_requests =
        fields.optional("min_requests", draft, whole(1, 1_000_000_000)).unwrap_or(DEFAULT_MIN_REQUESTS);
    let action = fields.optional("action", draft, |at, draft| {
        Some(match at.one_word(draft, &["rollback", "freeze", "warn"])? {
            "freeze" => Action::Freeze,
            "warn" => Action::Warn,
            _ => Action::Rollback,
        })
    });
    let rearm = fields.optional("rearm", draft, whole(0, MAX_INTEGER)).unwrap_or(0);
    let dry_run = fields.optional("dry_run", draft, scalar::boolean).unwrap_or(false);
    let signals = fields.required("signals", draft, |at, draft| {
        let mut names = Vec::new();
        at.list(draft, 1..=MAX_SIGNALS, |at, draft| {
            let (name, rule) = signal(at, draft)?;
            warn_of_few(at, draft, (&rule, min_requests));
            names.push(name);
            let number = names.iter().filter(|known| **known == name).count();
            let name = if number > 1 { format!("{name}_{number}") } else { name.to_owned() };
            Some(Signal { name: name.into(), rule })
        })
    });
    fields.finish(draft);
    Some(Guardrails {
        window: Duration::from_millis(window.unwrap_or(DEFAULT_WINDOW_MS)),
        min_requests: u64::try_from(min_requests).ok()?,
        action: action.unwrap_or(Action::Rollback),
        dry_run,
        rearm: u64::try_from(rearm).ok()?,
        signals: signals?,
        hash: at.node.hash(),
    })
}

/// A quantile needs some requests beyond it, or it is the greatest of a few.
fn warn_of_few(at: At<'_, '_>, draft: &mut Draft, (rule, min_requests): (&Rule, i64)) {
    let Rule::Rate(Measure::LongerThanStable { quantile, .. }, _) = rule else { return };
    let wanted = (10.0 / (1.0 - quantile)).round();
    if (min_requests as f64) < wanted {
        at.warning(
            draft,
            &format!(
                "at this quantile `min_requests` should be {} at least, it is {min_requests}",
                wanted as u64
            ),
        );
    }
}

const KINDS: [&str; 6] =
    ["error_rate", "latency", "consecutive_failures", "response_header", "sample_ratio", "shadow_mismatch"];

fn signal(at: At<'_, '_>, draft: &mut Draft) -> Option<(&'static str, Rule)> {
    let (kind, node) = at.one_of(draft, &KINDS)?;
    at.enter(kind, node, |at| match kind {
        "error_rate" => {
            let mut fields = Fields::of(at, draft)?;
            let limit = share(&mut fields, draft);
            fields.finish(draft);
            let limit = limit?;
            Some((named(&limit, ["error_rate", "error_rate_increase"]), Rule::Rate(Measure::Failure, limit)))
        }
        "latency" => latency(at, draft),
        "consecutive_failures" => {
            let limit = scalar::integer(at, draft, 1..=1_000_000)?;
            Some(("consecutive_failures", Rule::ConsecutiveFailures(u64::try_from(limit).ok()?)))
        }
        "response_header" => {
            let mut fields = Fields::of(at, draft)?;
            let name = fields.required("name", draft, scalar::response_header_name);
            let test = header_test(at, &mut fields, draft);
            let limit = share(&mut fields, draft);
            fields.finish(draft);
            let limit = limit?;
            let measure = Measure::Header(HeaderRule { name: name?.into(), test: test? });
            Some((named(&limit, ["response_header", "response_header_increase"]), Rule::Rate(measure, limit)))
        }
        "sample_ratio" => {
            let mut fields = Fields::of(at, draft)?;
            let confidence = fields.required("confidence", draft, confidence);
            fields.finish(draft);
            Some(("sample_ratio", Rule::SampleRatio { confidence: confidence? }))
        }
        _ => at.problem(draft, "not supported yet"),
    })
}

/// The signal's name, by whether it compares.
fn named(limit: &Limit, names: [&'static str; 2]) -> &'static str {
    let [alone, compared] = names;
    match limit {
        Limit::Share(_) => alone,
        Limit::Increase { .. } => compared,
    }
}

/// `max_percent`, or `max_increase_percent` with its `confidence`.
fn share(fields: &mut Fields<'_, '_>, draft: &mut Draft) -> Option<Limit> {
    let at = fields.at();
    let fraction =
        |at: At<'_, '_>, draft: &mut Draft| Some(f64::from(scalar::percent(at, draft)?.get()) / 1e6);
    match (fields.has("max_percent"), fields.has("max_increase_percent")) {
        (true, false) => Some(Limit::Share(fields.required("max_percent", draft, fraction)?)),
        (false, true) => {
            let margin = fields.required("max_increase_percent", draft, fraction);
            let confidence = fields.required("confidence", draft, confidence);
            Some(Limit::Increase { null: Null::increase(margin?), confidence: confidence? })
        }
        _ => {
            for name in ["max_percent", "max_increase_percent"] {
                fields.optional(name, draft, fraction);
            }
            fields.optional("confidence", draft, confidence);
            at.problem(draft, "expected exactly one of `max_percent`, `max_increase_percent`")
        }
    }
}

fn latency(at: At<'_, '_>, draft: &mut Draft) -> Option<(&'static str, Rule)> {
    let mut fields = Fields::of(at, draft)?;
    let quantile = fields.required("quantile", draft, |at, draft| {
        scalar::number(at, draft, (0.01..=0.9999, "0.01 to 0.9999"))
    });
    let rule = match (fields.has("max_ms"), fields.has("max_ratio")) {
        (true, false) => {
            let limit =
                fields.required("max_ms", draft, |at, draft| scalar::integer(at, draft, 1..=86_400_000));
            limit.zip(quantile).and_then(|(limit, quantile)| {
                let limit = Duration::from_millis(u64::try_from(limit).ok()?);
                let share = ((1.0 - quantile) * 1e6).round() / 1e6; // 1 - 0.9 is less than 0.1
                Some(("latency", Rule::Rate(Measure::LongerThan(limit), Limit::Share(share))))
            })
        }
        (false, true) => {
            let ratio = fields.required("max_ratio", draft, |at, draft| {
                scalar::number(at, draft, (1.0..=100.0, "1 to 100"))
            });
            let confidence = fields.required("confidence", draft, confidence);
            ratio.zip(quantile).zip(confidence).map(|((ratio, quantile), confidence)| {
                let limit = Limit::Increase { null: Null::quantile(quantile), confidence };
                ("latency_ratio", Rule::Rate(Measure::LongerThanStable { quantile, ratio }, limit))
            })
        }
        _ => {
            for name in ["max_ms", "max_ratio", "confidence"] {
                fields.optional(name, draft, |at, draft| scalar::number(at, draft, (0.0..=f64::MAX, "0")));
            }
            at.problem(draft, "expected exactly one of `max_ms`, `max_ratio`")
        }
    };
    fields.finish(draft);
    rule
}

/// Below one half it would be a guess, and nothing is certain.
const CONFIDENCE: (RangeInclusive<f64>, &str) = (0.5..=0.999_999_9, "0.5 to 0.9999999");

fn confidence(at: At<'_, '_>, draft: &mut Draft) -> Option<f64> {
    scalar::number(at, draft, CONFIDENCE)
}
