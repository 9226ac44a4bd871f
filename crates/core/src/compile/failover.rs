//! Reads the failover of a rollout or a version: where failed calls go, and which failures Envoy retries.
//!
//! Only conditions that Envoy knows are accepted, because Envoy ignores the others silently.

use std::time::Duration;

use super::context::Context;
use super::json::Node;
use super::names::Known;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::plan::failover::{
    GRPC_CONDITIONS, HTTP_CONDITIONS, MAX_TARGETS, RATE_LIMITED, RETRIABLE_STATUS_CODES, Retry,
};

/// The status that rate limits answer with.
const TOO_MANY_REQUESTS: u16 = 429;

/// A failover with its targets as positions in the rollout.
#[derive(Clone)]
pub(super) struct Failover {
    pub(super) to: Vec<usize>,
    pub(super) retry: Retry,
}

/// The failover of the version at position `own`, or of the rollout.
pub(super) fn failover(
    at: At<'_, '_>,
    context: &mut Context,
    names: &Known<'_>,
    own: Option<usize>,
) -> Option<Failover> {
    let mut fields = Fields::of(at, context)?;
    let length = fields.peek("to").map_or(1, Node::length).clamp(1, MAX_TARGETS);
    let to = fields.required("to", context, |at, context| targets(at, context, names, own));
    let conditions = fields.optional("retry_on", context, conditions);
    let codes = fields.optional("status_codes", context, |at, context| {
        at.list(context, 0..=32, |at, context| scalar::integer(at, context, 100..=599))
    });
    let most = i64::try_from(length).unwrap_or(1);
    let retries = fields.optional("retries", context, |at, context| scalar::integer(at, context, 1..=most));
    let per_try_timeout = fields.optional("per_try_timeout", context, timeout);
    fields.finish(context);

    let (mut http, grpc) =
        conditions.unwrap_or_else(|| (vec!["5xx", "reset", "connect-failure"], Vec::new()));
    let status_codes: Vec<u16> =
        codes.iter().flatten().filter_map(|code| u16::try_from(*code).ok()).collect();
    if !status_codes.is_empty() && !http.contains(&RETRIABLE_STATUS_CODES) {
        http.push(RETRIABLE_STATUS_CODES);
    }
    // Envoy repeats an answer that says it was rate-limited by this word alone, whatever its status is listed under.
    if status_codes.contains(&TOO_MANY_REQUESTS) && !http.contains(&RATE_LIMITED) {
        http.push(RATE_LIMITED);
    }
    let to = to?;
    // Who names the version itself wants its second attempt, and the other versions after it.
    let default = if own.is_some() && to.first() == own.as_ref() { to.len() } else { 1 };
    let retries = retries.map_or(Some(default), |retries| usize::try_from(retries).ok())?;
    let retry = Retry { http, grpc, status_codes, retries, per_try_timeout };
    Some(Failover { to, retry })
}

/// The time limit of an attempt.
pub(super) fn timeout(at: At<'_, '_>, context: &mut Context) -> Option<Duration> {
    scalar::duration(at, context, 1..=86_400_000).map(Duration::from_millis)
}

fn targets(
    at: At<'_, '_>,
    context: &mut Context,
    names: &Known<'_>,
    own: Option<usize>,
) -> Option<Vec<usize>> {
    if at.node.length() > MAX_TARGETS {
        return at.problem(
            context,
            "a failover has at most 3 targets: the route has four entries, and the first is the version's own",
        );
    }
    let mut seen = Vec::new();
    at.list(context, 1..=MAX_TARGETS, |at, context| {
        let target = names.resolve(at, context)?;
        if seen.contains(&target) {
            return at.problem(context, "duplicate target");
        }
        if own == Some(target) && !seen.is_empty() {
            return at.problem(
                context,
                "a version may name itself only first: once more the same, then elsewhere",
            );
        }
        seen.push(target);
        Some(target)
    })
}

type Words = Vec<&'static str>;

/// Envoy's retry conditions, separated by commas: those for `x-envoy-retry-on` and those for `x-envoy-retry-grpc-on`.
fn conditions(at: At<'_, '_>, context: &mut Context) -> Option<(Words, Words)> {
    let (mut http, mut grpc) = (Vec::new(), Vec::new());
    for word in at.any_text(context)?.split(',').map(str::trim) {
        let known = |words: &[&'static str]| words.iter().find(|known| **known == word).copied();
        match (known(&HTTP_CONDITIONS), known(&GRPC_CONDITIONS)) {
            (Some(word), _) => http.push(word),
            (None, Some(word)) => grpc.push(word),
            (None, None) if word == "retriable-headers" => {
                at.problem::<()>(context, "`retriable-headers` is not supported: no field names the headers");
            }
            (None, None) => {
                at.problem::<()>(context, &format!("{} is not a retry condition of Envoy", shown(word)));
            }
        }
    }
    Some((http, grpc))
}
