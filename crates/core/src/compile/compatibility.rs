//! Reads what must go together: API versions, feature sets and decisions of other rollouts.

use super::reader::{At, Draft, Fields, shown};
use super::rollout::Names;
use super::scalar;
use crate::plan::compatibility::{Api, Requirement};

pub(super) fn api(at: At<'_, '_>, draft: &mut Draft) -> Option<Api> {
    let (kind, node) = at.one_of(draft, &["header", "path_segment"])?;
    at.enter(kind, node, |at| match kind {
        "header" => {
            let name = scalar::header_name(at, draft)?;
            Some(Api::Header(draft.inputs.header(&name)))
        }
        _ => {
            let number = scalar::integer(at, draft, 1..=64)?; // `/v1/models`: the first segment is `v1`
            Some(Api::PathSegment(usize::try_from(number).ok()?))
        }
    })
}

/// The API versions that a version accepts.
pub(super) fn accepts(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[Box<[u8]>]>> {
    let mut fields = Fields::of(at, draft)?;
    let versions = fields.required("api", draft, |at, draft| at.list(draft, 1..=64, scalar::client_text));
    fields.finish(draft);
    versions.map(Vec::into_boxed_slice)
}

/// The name of a feature set, which travels in a header.
pub(super) fn features<'n>(at: At<'n, '_>, draft: &mut Draft) -> Option<&'n str> {
    let name = scalar::text(at, draft, 1..=128)?;
    if name.trim() != name {
        return at.problem(draft, "a header can't carry spaces around a name");
    }
    Some(name)
}

/// Decisions of other rollouts. Whether they lead back here is known when all rollouts have been read.
pub(super) fn requires(at: At<'_, '_>, draft: &mut Draft, names: Names<'_>) -> Option<Vec<Requirement>> {
    at.list(draft, 0..=8, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let other = fields.required("rollout", draft, |at, draft| {
            let name = at.any_text(draft)?;
            let found =
                names.all.iter().enumerate().find(|(_, other)| !name.is_empty() && other.name == name);
            match found {
                Some(found) => Some(found),
                None => at.problem(draft, &format!("no rollout is named {}", shown(name))),
            }
        });
        let version = fields.required("version", draft, |at, draft| match other {
            Some((_, other)) => other.resolve(at, draft).map(|position| other.first.saturating_add(position)),
            None => at.any_text(draft).and(None),
        });
        fields.finish(draft);
        let (rollout, _) = other?;
        draft.dependencies.add(names.order, rollout, at.place);
        Some(Requirement { rollout, version: version? })
    })
}
