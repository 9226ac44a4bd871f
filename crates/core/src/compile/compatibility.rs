//! Reads what must go together: API versions, feature sets, decisions of other rollouts, and what a version makes of a request.

use super::reader::{At, Draft, Fields, shown};
use super::rollout::Names;
use super::scalar;
use crate::compatibility::{Api, Requirement};
use crate::decision::header;
use crate::failover::RETRY_HEADERS;
use crate::plan::PathPrefix;

pub(super) fn api(at: At<'_, '_>, draft: &mut Draft) -> Option<Api> {
    let (kind, node) = at.one_of(draft, &["header", "path_segment"], &[])?;
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

/// What a version makes of a request, for servers that hold many versions behind one address.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// Sorted by name.
    pub(super) headers: Vec<(Box<str>, Box<str>)>,
    pub(super) path_prefix: Option<PathPrefix>,
    pub(super) host: Option<Box<str>>,
}

pub(super) fn rewrite(at: At<'_, '_>, draft: &mut Draft) -> Option<Rewrite> {
    let mut fields = Fields::of(at, draft)?;
    let headers = fields.optional("set_headers", draft, set_headers);
    let path_prefix = fields.optional("replace_path_prefix", draft, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let from = fields.required("from", draft, prefix);
        let to = fields.required("to", draft, prefix);
        fields.finish(draft);
        Some(PathPrefix { from: from?, to: to? })
    });
    let host = fields.optional("host", draft, scalar::authority);
    fields.finish(draft);
    Some(Rewrite { headers: headers.unwrap_or_default(), path_prefix, host })
}

fn prefix(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[u8]>> {
    let text = scalar::text(at, draft, 1..=4096)?;
    let legal =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if !legal {
        return at.problem(draft, &format!("expected a path that begins with `/`, found {}", shown(text)));
    }
    Some(text.as_bytes().into())
}

/// Headers of the connection, not of the request (RFC 9110, 7.6.1), and those that say where the body ends.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn set_headers(at: At<'_, '_>, draft: &mut Draft) -> Option<Vec<(Box<str>, Box<str>)>> {
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    at.entries(draft, 0..=32, |at, key, draft| {
        let name = key.to_ascii_lowercase();
        let value = scalar::header_value(at, draft);
        if !scalar::is_token(key) || key.len() > 256 {
            return at.problem(draft, "not a header name");
        }
        if name == "host" {
            return at.problem(draft, "the host is set by `host`, not as a header");
        }
        if name.starts_with(header::PREFIX) || FRAMING.contains(&&*name) {
            return at.problem(draft, "not a header that a version may set");
        }
        if RETRY_HEADERS.contains(&&*name) {
            return at.problem(draft, "set by `failover`");
        }
        match headers.binary_search_by(|(known, _)| (**known).cmp(&name)) {
            Ok(_) => at.problem(draft, "duplicate header: names are the same in any case"),
            Err(position) => {
                headers.insert(position, (name.into(), value?.into()));
                Some(())
            }
        }
    })?;
    Some(headers)
}
