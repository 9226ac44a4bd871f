//! Reads what stands beside the strategy: overrides, failover and shadows.

use super::condition::{header_conditions, methods};
use super::reader::{At, Draft, Fields, shown};
use super::rollout::Known;
use super::scalar;
use crate::compile::json::Node;
use crate::hash::bucket::Ppm;
use crate::hash::secret::Secret;
use crate::plan::condition::HeaderCondition;
use crate::plan::failover::{GRPC_CONDITIONS, HTTP_CONDITIONS, MAX_TARGETS, RETRIABLE_STATUS_CODES, Retry};
use crate::plan::shadow::{MAX_SHADOWS, SAFE_METHODS};
use crate::request::Slot;

pub(super) enum Override {
    Units { units: Box<[Box<[u8]>]>, version: usize },
    Header { name: Slot, secret_header: Slot, secret: Secret },
}

impl Override {
    /// The version that the document names; the header form leaves that to the request.
    pub(super) fn version(&self) -> Option<usize> {
        match self {
            Self::Units { version, .. } => Some(*version),
            Self::Header { .. } => None,
        }
    }
}

pub(super) fn overrides(at: At<'_, '_>, draft: &mut Draft, names: &Known<'_>) -> Option<Vec<Override>> {
    at.list(draft, 0..=64, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        if fields.has("header") {
            let header = fields.optional("header", draft, header_override);
            fields.finish(draft);
            return header;
        }
        let units = fields.required("units", draft, |at, draft| {
            let mut sorted: Vec<Box<[u8]>> = Vec::new();
            for unit in at.list(draft, 1..=1_000, scalar::client_text)? {
                sorted.insert(sorted.partition_point(|earlier| *earlier <= unit), unit);
            }
            Some(sorted.into_boxed_slice())
        });
        let version = fields.required("version", draft, |at, draft| names.resolve(at, draft));
        fields.finish(draft);
        Some(Override::Units { units: units?, version: version? })
    })
}

fn header_override(at: At<'_, '_>, draft: &mut Draft) -> Option<Override> {
    let mut fields = Fields::of(at, draft)?;
    let name = fields.required("name", draft, scalar::header_name);
    let secret_header = fields.required("secret_header", draft, |at, draft| {
        let secret_header = scalar::header_name(at, draft)?;
        if name.as_deref() == Some(&secret_header) {
            return at.problem(draft, "the header that names the version can't carry the secret too");
        }
        Some(secret_header)
    });
    let secret = fields.required("secret", draft, secret);
    fields.finish(draft);
    Some(Override::Header {
        name: draft.inputs.header(&name?),
        secret_header: draft.inputs.secret_header(&secret_header?),
        secret: secret?,
    })
}

fn secret(at: At<'_, '_>, draft: &mut Draft) -> Option<Secret> {
    if let Node::Text(text) = at.node {
        // Not read by `scalar::text`, whose messages show what they found.
        let legal = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        return match legal {
            true => Some(Secret::of(text)),
            false => at.problem(draft, "expected 1 to 256 characters, none of them a control character"),
        };
    }
    let mut fields = Fields::of(at, draft)?;
    let secret = fields.required("sha256", draft, |at, draft| match Secret::from_hex(at.any_text(draft)?) {
        Some(secret) => Some(secret),
        None => at.problem(draft, "expected 64 hexadecimal digits"),
    });
    fields.finish(draft);
    secret
}

/// A failover with its targets as positions in the rollout.
#[derive(Clone)]
pub(super) struct Failover {
    pub(super) to: Vec<usize>,
    pub(super) retry: Retry,
}

pub(super) fn failover(at: At<'_, '_>, draft: &mut Draft, names: &Known<'_>) -> Option<Failover> {
    let mut fields = Fields::of(at, draft)?;
    let length = fields.peek("to").map_or(1, Node::length).clamp(1, MAX_TARGETS);
    let to = fields.required("to", draft, |at, draft| targets(at, draft, names));
    let conditions = fields.optional("retry_on", draft, conditions);
    let codes = fields.optional("status_codes", draft, |at, draft| {
        at.list(draft, 0..=32, |at, draft| scalar::integer(at, draft, 100..=599))
    });
    let most = i64::try_from(length).unwrap_or(1);
    let retries = fields.optional("retries", draft, |at, draft| scalar::integer(at, draft, 1..=most));
    let per_try_timeout =
        fields.optional("per_try_timeout", draft, |at, draft| scalar::duration(at, draft, 1..=86_400_000));
    fields.finish(draft);

    let (mut http, grpc) =
        conditions.unwrap_or_else(|| (vec!["5xx", "reset", "connect-failure"], Vec::new()));
    let status_codes: Vec<u16> =
        codes.iter().flatten().filter_map(|code| u16::try_from(*code).ok()).collect();
    if !status_codes.is_empty() && !http.contains(&RETRIABLE_STATUS_CODES) {
        http.push(RETRIABLE_STATUS_CODES);
    }
    let retries = usize::try_from(retries.unwrap_or(1)).ok()?;
    let retry = Retry { http, grpc, status_codes, retries, per_try_timeout_ms: per_try_timeout };
    Some(Failover { to: to?, retry })
}

fn targets(at: At<'_, '_>, draft: &mut Draft, names: &Known<'_>) -> Option<Vec<usize>> {
    if at.node.length() > MAX_TARGETS {
        return at.problem(
            draft,
            "a chain has at most 3 versions: the route has four entries, and the first is the version's own",
        );
    }
    let mut seen = Vec::new();
    at.list(draft, 1..=MAX_TARGETS, |at, draft| {
        let target = names.resolve(at, draft)?;
        if seen.contains(&target) {
            return at.problem(draft, "duplicate target");
        }
        seen.push(target);
        Some(target)
    })
}

type Words = Vec<&'static str>;

/// Envoy's retry conditions, separated by commas, told apart by the header that carries them.
fn conditions(at: At<'_, '_>, draft: &mut Draft) -> Option<(Words, Words)> {
    let (mut http, mut grpc) = (Vec::new(), Vec::new());
    for word in at.any_text(draft)?.split(',').map(str::trim) {
        let known = |words: &[&'static str]| words.iter().find(|known| **known == word).copied();
        match (known(&HTTP_CONDITIONS), known(&GRPC_CONDITIONS)) {
            (Some(word), _) => http.push(word),
            (None, Some(word)) => grpc.push(word),
            (None, None) => {
                at.problem::<()>(draft, &format!("{} is no retry condition of Envoy", shown(word)));
            }
        }
    }
    Some((http, grpc))
}

/// A shadow with its version as a position in the rollout.
pub(super) struct Shadow {
    pub(super) version: usize,
    pub(super) share: Ppm,
    /// None: any.
    pub(super) methods: Option<Box<[Box<[u8]>]>>,
    pub(super) headers: Box<[HeaderCondition]>,
}

pub(super) fn shadows(
    at: At<'_, '_>,
    draft: &mut Draft,
    names: &Known<'_>,
    idempotent: bool,
) -> Option<Vec<Shadow>> {
    let mut seen = Vec::new();
    at.list(draft, 0..=MAX_SHADOWS, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let version = fields.required("version", draft, |at, draft| {
            let version = names.resolve(at, draft)?;
            if seen.contains(&version) {
                return at.problem(draft, "duplicate shadow");
            }
            seen.push(version);
            Some(version)
        });
        let share = fields.required("percent", draft, scalar::percent);
        let methods = fields.optional("methods", draft, |at, draft| {
            let methods = methods(at, draft)?;
            let is_safe = |method: &[u8]| SAFE_METHODS.iter().any(|safe| safe.as_bytes() == method);
            if !idempotent && !methods.iter().all(|method| is_safe(method)) {
                at.warning(
                    draft,
                    "a copy repeats a method that may write; say `\"idempotent\": true` if that is harmless",
                );
            }
            Some(methods)
        });
        let headers = fields.optional("headers", draft, header_conditions).unwrap_or_default();
        fields.later(&["max_per_second", "compare", "baseline"], draft);
        fields.finish(draft);
        let safe = || SAFE_METHODS.map(|method| method.as_bytes().into()).into();
        let methods = methods.or_else(|| (!idempotent).then(safe));
        Some(Shadow { version: version?, share: share?, methods, headers })
    })
}
