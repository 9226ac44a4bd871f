//! Reads guardrails: the signals that judge the versions of a rollout, and the action if one trips.
//!
//! It reads rules only. Which versions they guard is known in `build`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::condition::header_test;
use super::context::Context;
use super::json::MAX_INTEGER;
use super::reader::{At, Fields};
use super::scalar;
use crate::plan::guardrails::{
    Action, HeaderRule, Limit, MAX_SIGNALS, Measure, NullHypothesis, Rule, Signal, Statuses,
};

/// Guardrails without the versions that they guard.
pub(super) struct Guardrails {
    pub(super) window: Duration,
    pub(super) min_requests: u64,
    pub(super) warm_up: Duration,
    pub(super) action: Action,
    /// True if the document says which action.
    pub(super) names_action: bool,
    pub(super) dry_run: bool,
    pub(super) rearm: u64,
    pub(super) signals: Vec<Signal>,
    /// Hash of everything that the document says about them.
    pub(super) hash: u32,
}

const DEFAULT_WINDOW_MS: u64 = 30_000;
const DEFAULT_MIN_REQUESTS: i64 = 50;

/// The guardrails. `has_pairs` is true if answers to copies are compared with what stable answers.
pub(super) fn guardrails(at: At<'_, '_>, context: &mut Context, has_pairs: bool) -> Option<Guardrails> {
    let mut fields = Fields::of(at, context)?;
    let window =
        fields.optional("window", context, |at, context| scalar::duration(at, context, 1_000..=3_600_000));
    let warm_up =
        fields.optional("warm_up", context, |at, context| scalar::duration(at, context, 1..=3_600_000));
    let whole = |least: i64, most: i64| {
        move |at: At<'_, '_>, context: &mut Context| scalar::integer(at, context, least..=most)
    };
    let min_requests =
        fields.optional("min_requests", context, whole(1, 1_000_000_000)).unwrap_or(DEFAULT_MIN_REQUESTS);
    let names_action = fields.has("action");
    let action = fields.optional("action", context, |at, context| {
        Some(match at.one_word(context, &["rollback", "freeze", "warn"])? {
            "freeze" => Action::Freeze,
            "warn" => Action::Warn,
            _ => Action::Rollback,
        })
    });
    let rearm = fields.optional("rearm", context, whole(0, MAX_INTEGER)).unwrap_or(0);
    let dry_run = fields.optional("dry_run", context, scalar::boolean).unwrap_or(false);
    let signals = fields.required("signals", context, |at, context| {
        let mut names = Vec::new();
        at.list(context, 1..=MAX_SIGNALS, |at, context| {
            let (name, rule) = signal(at, context, has_pairs)?;
            warn_of_few(at, context, &rule, min_requests);
            names.push(name);
            let number = names.iter().filter(|known| **known == name).count();
            let name = if number > 1 { format!("{name}_{number}") } else { name.to_owned() };
            Some(Signal { name: name.into(), rule })
        })
    });
    fields.finish(context);
    Some(Guardrails {
        window: Duration::from_millis(window.unwrap_or(DEFAULT_WINDOW_MS)),
        min_requests: u64::try_from(min_requests).ok()?,
        warm_up: Duration::from_millis(warm_up.unwrap_or(0)),
        action: action.unwrap_or(Action::Rollback),
        names_action,
        dry_run,
        rearm: u64::try_from(rearm).ok()?,
        signals: signals?,
        hash: at.node.hash(),
    })
}

/// Warns if `min_requests` is too small for a quantile: a quantile needs about ten requests beyond it.
fn warn_of_few(at: At<'_, '_>, context: &mut Context, rule: &Rule, min_requests: i64) {
    let Rule::Rate(Measure::LongerThanStable { quantile, .. }, _) = rule else { return };
    let wanted = (10.0 / (1.0 - quantile)).round();
    if (min_requests as f64) < wanted {
        at.warning(
            context,
            &format!(
                "for this quantile `min_requests` should be at least {}, found {min_requests}",
                wanted as u64
            ),
        );
    }
}

const KINDS: [&str; 8] = [
    "error_rate",
    "latency",
    "consecutive_failures",
    "response_header",
    "status",
    "abandon_rate",
    "sample_ratio",
    "shadow_mismatch",
];

fn signal(at: At<'_, '_>, context: &mut Context, has_pairs: bool) -> Option<(&'static str, Rule)> {
    let (kind, node) = at.one_of(context, &KINDS)?;
    at.enter(kind, node, |at| match kind {
        "error_rate" => rate(at, context, ["error_rate", "error_rate_increase"], Measure::Failure),
        "abandon_rate" => rate(at, context, ["abandon_rate", "abandon_rate_increase"], Measure::Abandoned),
        "status" => {
            let mut fields = Fields::of(at, context)?;
            let statuses = fields.required("in", context, |at, context| at.list(context, 1..=64, status));
            let limit = share(&mut fields, context);
            fields.finish(context);
            let (statuses, limit) = statuses.zip(limit)?;
            let measure = Measure::Status(Statuses(statuses.into()));
            Some((named(&limit, ["status", "status_increase"]), Rule::Rate(measure, limit)))
        }
        "latency" => latency(at, context),
        "consecutive_failures" => {
            let limit = scalar::integer(at, context, 1..=1_000_000)?;
            Some(("consecutive_failures", Rule::ConsecutiveFailures(u64::try_from(limit).ok()?)))
        }
        "response_header" => {
            let mut fields = Fields::of(at, context)?;
            let name = fields.required("name", context, scalar::response_header_name);
            let test = header_test(at, &mut fields, context);
            let limit = share(&mut fields, context);
            fields.finish(context);
            let limit = limit?;
            let measure = Measure::Header(HeaderRule { name: name?.into(), test: test? });
            Some((named(&limit, ["response_header", "response_header_increase"]), Rule::Rate(measure, limit)))
        }
        "sample_ratio" => {
            let mut fields = Fields::of(at, context)?;
            let confidence = fields.required("confidence", context, confidence);
            fields.finish(context);
            Some(("sample_ratio", Rule::SampleRatio { confidence: confidence? }))
        }
        _ => {
            let mut fields = Fields::of(at, context)?;
            let most = fields.required("max_percent", context, fraction);
            let has_confidence = fields.has("confidence");
            let confidence = fields.optional("confidence", context, confidence);
            fields.finish(context);
            if !has_pairs {
                at.problem::<()>(context, "needs a shadow with `compare`, of a version other than stable");
            }
            let is_complete = confidence.is_some() == has_confidence;
            is_complete.then_some(("shadow_mismatch", Rule::ShadowMismatch { most: most?, confidence }))
        }
    })
}

/// A rate of a measure that has no fields of its own.
fn rate(
    at: At<'_, '_>,
    context: &mut Context,
    names: [&'static str; 2],
    measure: Measure,
) -> Option<(&'static str, Rule)> {
    let mut fields = Fields::of(at, context)?;
    let limit = share(&mut fields, context);
    fields.finish(context);
    let limit = limit?;
    Some((named(&limit, names), Rule::Rate(measure, limit)))
}

/// A status like `404`, or a class of statuses like `"4xx"`.
fn status(at: At<'_, '_>, context: &mut Context) -> Option<RangeInclusive<u16>> {
    if at.node.is_number() {
        let status = u16::try_from(scalar::integer(at, context, 100..=599)?).ok()?;
        return Some(status..=status);
    }
    Some(match at.one_word(context, &["1xx", "2xx", "3xx", "4xx", "5xx"])? {
        "1xx" => 100..=199,
        "2xx" => 200..=299,
        "3xx" => 300..=399,
        "4xx" => 400..=499,
        _ => 500..=599,
    })
}

/// A percentage as a share.
fn fraction(at: At<'_, '_>, context: &mut Context) -> Option<f64> {
    Some(f64::from(scalar::percent(at, context)?.get()) / 1e6)
}

/// The name of the signal. It depends on whether the signal compares with stable.
fn named(limit: &Limit, names: [&'static str; 2]) -> &'static str {
    let [alone, compared] = names;
    match limit {
        Limit::Share(_) => alone,
        Limit::Increase { .. } => compared,
    }
}

/// `max_percent`, or `max_increase_percent` with its `confidence`.
fn share(fields: &mut Fields<'_, '_>, context: &mut Context) -> Option<Limit> {
    let at = fields.at();
    match (fields.has("max_percent"), fields.has("max_increase_percent")) {
        (true, false) => Some(Limit::Share(fields.required("max_percent", context, fraction)?)),
        (false, true) => {
            let margin = fields.required("max_increase_percent", context, fraction);
            let confidence = fields.required("confidence", context, confidence);
            Some(Limit::Increase { null: NullHypothesis::increase(margin?), confidence: confidence? })
        }
        _ => {
            for name in ["max_percent", "max_increase_percent"] {
                fields.optional(name, context, fraction);
            }
            fields.optional("confidence", context, confidence);
            at.problem(context, "expected exactly one of `max_percent`, `max_increase_percent`")
        }
    }
}

fn latency(at: At<'_, '_>, context: &mut Context) -> Option<(&'static str, Rule)> {
    let mut fields = Fields::of(at, context)?;
    let quantile = fields.required("quantile", context, |at, context| {
        scalar::number(at, context, 0.01..=0.9999, "0.01 to 0.9999")
    });
    let rule = match (fields.has("max_ms"), fields.has("max_ratio")) {
        (true, false) => {
            let limit = fields
                .required("max_ms", context, |at, context| scalar::integer(at, context, 1..=86_400_000));
            limit.zip(quantile).and_then(|(limit, quantile)| {
                let limit = Duration::from_millis(u64::try_from(limit).ok()?);
                let share = ((1.0 - quantile) * 1e6).round() / 1e6; // 1 - 0.9 is less than 0.1
                Some(("latency", Rule::Rate(Measure::LongerThan(limit), Limit::Share(share))))
            })
        }
        (false, true) => {
            let ratio = fields.required("max_ratio", context, |at, context| {
                scalar::number(at, context, 1.0..=100.0, "1 to 100")
            });
            let confidence = fields.required("confidence", context, confidence);
            ratio.zip(quantile).zip(confidence).map(|((ratio, quantile), confidence)| {
                let limit = Limit::Increase { null: NullHypothesis::quantile(quantile), confidence };
                ("latency_ratio", Rule::Rate(Measure::LongerThanStable { quantile, ratio }, limit))
            })
        }
        _ => {
            for name in ["max_ms", "max_ratio", "confidence"] {
                fields
                    .optional(name, context, |at, context| scalar::number(at, context, 0.0..=f64::MAX, "0"));
            }
            at.problem(context, "expected exactly one of `max_ms`, `max_ratio`")
        }
    };
    fields.finish(context);
    rule
}

/// A confidence below one half would be a guess, and 1 is impossible.
const CONFIDENCE: RangeInclusive<f64> = 0.5..=0.999_999_9;

fn confidence(at: At<'_, '_>, context: &mut Context) -> Option<f64> {
    scalar::number(at, context, CONFIDENCE, "0.5 to 0.9999999")
}
