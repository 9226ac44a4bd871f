//! Reads shadows: which requests are copied, and to which versions.
//!
//! Without `idempotent`, a shadow without `methods` copies only methods that do not write.

use super::compare::compare;
use super::condition::{header_conditions, methods};
use super::context::Context;
use super::json::Node;
use super::names::Names;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::plan::compare::Compare;
use crate::plan::condition::HeaderCondition;
use crate::plan::shadow::{
    DEFAULT_BODY_BYTES, Limits, MAX_BODY_BYTES, MAX_PER_SECOND, MAX_SHADOWS, METHOD_HEADERS, Protocol,
    SAFE_METHODS,
};

/// A shadow with its version as a position in the rollout.
pub(super) struct Shadow<'n> {
    pub(super) version: usize,
    /// Where copies go. `None` means the version's own cluster.
    pub(super) cluster: Option<&'n str>,
    pub(super) share: Ppm,
    /// `None` means any method.
    pub(super) methods: Option<Box<[Box<[u8]>]>>,
    pub(super) protocol: Protocol,
    pub(super) headers: Box<[HeaderCondition]>,
    pub(super) limits: Limits,
    /// Hash of what the document says about comparing answers. `None` if they are not compared.
    pub(super) compare_hash: Option<u32>,
    pub(super) compare: Option<Compare>,
}

pub(super) fn shadows<'n>(
    at: At<'n, '_>,
    context: &mut Context,
    names: Names<'_>,
    idempotent: bool,
) -> Option<Vec<Shadow<'n>>> {
    let known = names.all.get(names.order)?;
    let (mut seen, mut taken) = (Vec::new(), Vec::new());
    at.list(context, 0..=MAX_SHADOWS, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let version = fields.required("version", context, |at, context| {
            let version = known.resolve(at, context)?;
            if seen.contains(&version) {
                return at.problem(context, "duplicate shadow");
            }
            seen.push(version);
            Some(version)
        });
        let cluster = fields.optional("cluster", context, scalar::cluster);
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
        let max_body_bytes = fields.optional("max_body_bytes", context, |at, context| {
            let bytes = scalar::integer(at, context, 1..=MAX_BODY_BYTES.cast_signed())?;
            u64::try_from(bytes).ok()
        });
        let max_per_second = fields.optional("max_per_second", context, |at, context| {
            u32::try_from(scalar::integer(at, context, 1..=MAX_PER_SECOND.into())?).ok()
        });
        let compare_hash = fields.peek("compare").map(Node::hash);
        let lacks_cluster = !fields.has("cluster");
        let compare = fields.optional("compare", context, |at, context| {
            if lacks_cluster {
                at.problem::<()>(context, "needs `cluster`: compared copies have a cluster of their own");
            }
            compare(at, context)
        });
        if let Some(cluster) = cluster {
            let compares = fields.has("compare");
            let is_shared =
                taken.iter().any(|(other, is_compared)| *other == cluster && (compares || *is_compared));
            let message = match names.version_of(cluster).filter(|_| compares) {
                Some(version) => Some(format!(
                    "compared copies need a cluster of their own: {} is the cluster of version {}",
                    shown(cluster),
                    shown(version)
                )),
                None if is_shared => Some(format!(
                    "compared copies need a cluster of their own: another shadow has {}",
                    shown(cluster)
                )),
                None => None,
            };
            if let Some(message) = message {
                at.enter("cluster", at.node, |at| at.problem::<()>(context, &message));
            }
            taken.push((cluster, compares));
        }
        fields.later(&["baseline"], context);
        fields.finish(context);
        let safe = || SAFE_METHODS.map(|method| method.as_bytes().into()).into();
        let methods = methods.or_else(|| (!idempotent).then(safe));
        let inputs = &mut context.shared.inputs;
        let protocol = Protocol {
            upgrade: inputs.header("upgrade"),
            length: inputs.header("content-length"),
            methods: METHOD_HEADERS.map(|name| inputs.header(name)),
        };
        let limits = Limits { max_body_bytes: max_body_bytes.unwrap_or(DEFAULT_BODY_BYTES), max_per_second };
        Some(Shadow {
            version: version?,
            cluster,
            share: share?,
            methods,
            protocol,
            headers,
            limits,
            compare_hash,
            compare,
        })
    })
}
