//! Reads what makes a version compatible with a request: API versions, feature sets and decisions of other rollouts.
//!
//! Names must exist here; cycles of `requires` are found in `dependency`.

use super::context::Context;
use super::names::Names;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::plan::compatibility::Api;
use crate::plan::version::Requirement;

pub(super) fn api(at: At<'_, '_>, context: &mut Context) -> Option<Api> {
    let (kind, node) = at.one_of(context, &["header", "path_segment"])?;
    at.enter(kind, node, |at| match kind {
        "header" => {
            let name = scalar::header_name(at, context)?;
            Some(Api::Header(context.shared.inputs.header(&name)))
        }
        _ => {
            let number = scalar::integer(at, context, 1..=64)?; // `/v1/models`: the first segment is `v1`
            Some(Api::PathSegment(usize::try_from(number).ok()?))
        }
    })
}

/// The API versions that a version accepts.
pub(super) fn accepts(at: At<'_, '_>, context: &mut Context) -> Option<Box<[Box<[u8]>]>> {
    let mut fields = Fields::of(at, context)?;
    let versions =
        fields.required("api", context, |at, context| at.list(context, 1..=64, scalar::client_text));
    fields.finish(context);
    versions.map(Vec::into_boxed_slice)
}

/// The name of a feature set. It is sent in a header.
pub(super) fn features<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let name = scalar::text(at, context, 1..=128)?;
    if name.trim() != name {
        return at.problem(context, "remove the spaces around the name: a header can't carry them");
    }
    Some(name)
}

/// The decisions of other rollouts that a version requires. Cycles are found after all rollouts have been read.
pub(super) fn requires(at: At<'_, '_>, context: &mut Context, names: Names<'_>) -> Option<Vec<Requirement>> {
    at.list(context, 0..=8, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let other = fields.required("rollout", context, |at, context| {
            let name = at.any_text(context)?;
            let found =
                names.all.iter().enumerate().find(|(_, other)| !name.is_empty() && other.name == name);
            match found {
                Some(found) => Some(found),
                None => at.problem(context, &format!("no rollout is named {}", shown(name))),
            }
        });
        let version = fields.required("version", context, |at, context| match other {
            Some((_, other)) => {
                other.resolve(at, context).map(|position| other.first.saturating_add(position))
            }
            None => at.any_text(context).and(None),
        });
        fields.finish(context);
        let (rollout, _) = other?;
        context.shared.dependencies.add(names.order, rollout, at.place);
        Some(Requirement { rollout, version: version? })
    })
}
