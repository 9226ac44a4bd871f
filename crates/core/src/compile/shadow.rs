//! Reads shadows: which requests are copied, and to which versions.
//!
//! Without `idempotent`, a shadow without `methods` copies only methods that do not write.

use super::condition::{header_conditions, methods};
use super::context::Context;
use super::names::Known;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::plan::condition::HeaderCondition;
use crate::plan::shadow::{MAX_SHADOWS, METHOD_HEADERS, Protocol, SAFE_METHODS};

/// A shadow with its version as a position in the rollout.
pub(super) struct Shadow {
    pub(super) version: usize,
    pub(super) share: Ppm,
    /// `None` means any method.
    pub(super) methods: Option<Box<[Box<[u8]>]>>,
    pub(super) protocol: Protocol,
    pub(super) headers: Box<[HeaderCondition]>,
}

pub(super) fn shadows(
    at: At<'_, '_>,
    context: &mut Context,
    names: &Known<'_>,
    idempotent: bool,
) -> Option<Vec<Shadow>> {
    let mut seen = Vec::new();
    at.list(context, 0..=MAX_SHADOWS, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let version = fields.required("version", context, |at, context| {
            let version = names.resolve(at, context)?;
            if seen.contains(&version) {
                return at.problem(context, "duplicate shadow");
            }
            seen.push(version);
            Some(version)
        });
        let share = fields.required("percent", context, scalar::percent);
        let methods = fields.optional("methods", context, |at, context| {
            let methods = methods(at, context)?;
            let is_safe = |method: &[u8]| SAFE_METHODS.iter().any(|safe| safe.as_bytes() == method);
            if !idempotent && !methods.iter().all(|method| is_safe(method)) {
                at.warning(
                    context,
                    "a copy repeats a method that may write: set `\"idempotent\": true` if that is harmless",
                );
            }
            Some(methods)
        });
        let headers = fields.optional("headers", context, header_conditions).unwrap_or_default();
        fields.later(&["max_per_second", "compare", "baseline"], context);
        fields.finish(context);
        let safe = || SAFE_METHODS.map(|method| method.as_bytes().into()).into();
        let methods = methods.or_else(|| (!idempotent).then(safe));
        let inputs = &mut context.shared.inputs;
        let protocol = Protocol {
            upgrade: inputs.header("upgrade"),
            methods: METHOD_HEADERS.map(|name| inputs.header(name)),
        };
        Some(Shadow { version: version?, share: share?, methods, protocol, headers })
    })
}
