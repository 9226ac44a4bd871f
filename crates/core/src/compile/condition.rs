//! Reads what a rollout asks of a request: its alternatives, their conditions, and the sources of its unit.

use std::rc::Rc;

use super::reader::{At, Draft, Fields, shown};
use super::{cookie, scalar};
use crate::compile::json::Node;
use crate::plan::condition::{Conditions, HeaderCondition, QueryCondition, Test};
use crate::plan::index::{HostPattern, PathPattern};
use crate::plan::shadow::SAFE_METHODS;
use crate::plan::unit::Source;

/// Protects the request path: the conditions of one list are asked one after the other.
const MAX_CONDITIONS: usize = 64;
/// Protects the index: an alternative is posted under each of its hosts.
const MAX_HOSTS: usize = 256;

/// One way for a request to belong to a rollout.
pub(super) struct Alternative {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) path: PathPattern,
    pub(super) conditions: Rc<Conditions>,
}

impl Alternative {
    /// What a rollout without `match` has.
    pub(super) fn everything() -> Self {
        Self { hosts: vec![HostPattern::Any], path: PathPattern::Any, conditions: Rc::default() }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.hosts == [HostPattern::Any]
            && self.path == PathPattern::Any
            && *self.conditions == Conditions::default()
    }

    pub(super) fn is_safe(&self) -> bool {
        let is_safe = |method: &[u8]| SAFE_METHODS.iter().any(|safe| safe.as_bytes() == method);
        self.conditions.methods.as_deref().is_some_and(|methods| methods.iter().all(|method| is_safe(method)))
    }
}

pub(super) fn alternatives(at: At<'_, '_>, draft: &mut Draft) -> Option<Vec<Alternative>> {
    at.list(draft, 0..=32, alternative)
}

fn alternative(at: At<'_, '_>, draft: &mut Draft) -> Option<Alternative> {
    let mut fields = Fields::of(at, draft)?;
    let hosts = fields.optional("hosts", draft, |at, draft| at.list(draft, 1..=MAX_HOSTS, host));
    let path = fields.optional("path", draft, path);
    let methods = fields.optional("methods", draft, methods);
    let headers = fields.optional("headers", draft, header_conditions);
    let query = fields.optional("query", draft, query_conditions);
    fields.finish(draft);
    let conditions =
        Conditions { methods, headers: headers.unwrap_or_default(), query: query.unwrap_or_default() };
    Some(Alternative {
        hosts: hosts.unwrap_or_else(|| vec![HostPattern::Any]),
        path: path.unwrap_or(PathPattern::Any),
        conditions: Rc::new(conditions),
    })
}

fn host(at: At<'_, '_>, draft: &mut Draft) -> Option<HostPattern> {
    let text = at.any_text(draft)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match address {
        Some(address) => text == name && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(name),
    };
    if !legal {
        return at.problem(
            draft,
            &format!("expected a host or `*.` and a host, without a port, found {}", shown(text)),
        );
    }
    let bytes = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
    Some(if text == name { HostPattern::Exact(bytes) } else { HostPattern::Below(bytes) })
}

fn is_host_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(legal);
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn path(at: At<'_, '_>, draft: &mut Draft) -> Option<PathPattern> {
    let (kind, node) = at.one_of(draft, &["exact", "prefix", "suffix"])?;
    at.enter(kind, node, |at| {
        let text = scalar::text(at, draft, 1..=4096)?;
        if text.contains(['?', '#']) {
            return at.problem(draft, "a path is matched without its query; use `query` for that");
        }
        if kind != "suffix" && !text.starts_with(['/', '*']) {
            return at
                .problem(draft, &format!("expected a path that begins with `/`, found {}", shown(text)));
        }
        let bytes = text.as_bytes().into();
        Some(match kind {
            "exact" => PathPattern::Exact(bytes),
            "prefix" => PathPattern::Prefix(bytes),
            _ => PathPattern::Suffix(bytes),
        })
    })
}

pub(super) fn methods(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[Box<[u8]>]>> {
    at.list(draft, 1..=MAX_CONDITIONS, scalar::method).map(Vec::into_boxed_slice)
}

pub(super) fn header_conditions(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[HeaderCondition]>> {
    let conditions = at.list(draft, 1..=MAX_CONDITIONS, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let name = fields.required("name", draft, scalar::header_name);
        let test = header_test(at, &mut fields, draft);
        fields.finish(draft);
        Some(HeaderCondition { slot: draft.inputs.header(&name?), test: test? })
    })?;
    Some(conditions.into())
}

/// The one test of a condition on a header.
pub(super) fn header_test(at: At<'_, '_>, fields: &mut Fields<'_, '_>, draft: &mut Draft) -> Option<Test> {
    test(at, fields, draft, |at, draft| {
        let text = scalar::client_text(at, draft)?;
        let legal = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        let edges = text.trim_ascii().len() != text.len();
        if edges || !text.iter().all(legal) {
            return at.problem(draft, "no header value has control characters, or spaces around it");
        }
        Some(text)
    })
}

fn query_conditions(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[QueryCondition]>> {
    let conditions = at.list(draft, 1..=MAX_CONDITIONS, |at, draft| {
        let mut fields = Fields::of(at, draft)?;
        let name = fields.required("name", draft, scalar::client_text);
        let test = test(at, &mut fields, draft, scalar::client_text);
        fields.finish(draft);
        Some(QueryCondition { name: name?, test: test? })
    })?;
    Some(conditions.into())
}

const TESTS: [&str; 6] = ["exact", "prefix", "suffix", "contains", "in", "present"];

/// The one test of a condition; an empty `exact` is a value like any other, an empty `prefix` would be `present`.
fn test(
    at: At<'_, '_>,
    fields: &mut Fields<'_, '_>,
    draft: &mut Draft,
    value: impl Fn(At<'_, '_>, &mut Draft) -> Option<Box<[u8]>>,
) -> Option<Test> {
    let count = TESTS.iter().filter(|name| fields.has(name)).count();
    let found = [
        fields
            .optional("exact", draft, |at, draft| match at.node {
                Node::Text(text) if text.is_empty() => Some(Box::default()),
                _ => value(at, draft),
            })
            .map(Test::Exact),
        fields.optional("prefix", draft, &value).map(Test::Prefix),
        fields.optional("suffix", draft, &value).map(Test::Suffix),
        fields.optional("contains", draft, &value).map(Test::Contains),
        fields
            .optional("in", draft, |at, draft| at.list(draft, 1..=1_000, &value))
            .map(|list| Test::In(list.into())),
        fields.optional("present", draft, scalar::boolean).map(Test::Present),
    ];
    if count != 1 {
        let names = TESTS.map(|name| format!("`{name}`")).join(", ");
        return at.problem(draft, &format!("expected exactly one of {names}, found {count}"));
    }
    found.into_iter().flatten().next()
}

pub(super) fn sources(at: At<'_, '_>, draft: &mut Draft) -> Option<Box<[Source]>> {
    let mut is_issued = false;
    let sources = at.list(draft, 1..=8, |at, draft| {
        if is_issued {
            at.warning(draft, "never asked: an `issued_cookie` before it always has a value");
        }
        let source = source(at, draft)?;
        is_issued |= matches!(source, Source::Issued(_));
        Some(source)
    })?;
    Some(sources.into())
}

fn source(at: At<'_, '_>, draft: &mut Draft) -> Option<Source> {
    let kinds = ["header", "cookie", "query", "source_ip", "issued_cookie"];
    let (kind, node) = at.one_of(draft, &kinds)?;
    at.enter(kind, node, |at| match kind {
        "header" => {
            let name = scalar::header_name(at, draft)?;
            Some(Source::Header(draft.inputs.header(&name)))
        }
        "cookie" => {
            let name = scalar::cookie_name(at, draft)?;
            Some(Source::Cookie(draft.inputs.cookie(name)))
        }
        "issued_cookie" => cookie::issuer(at, draft).map(Source::Issued),
        "query" => scalar::client_text(at, draft).map(Source::Query),
        _ if scalar::boolean(at, draft)? => {
            draft.inputs.source_address = true;
            Some(Source::PeerAddress)
        }
        _ => at.problem(draft, "expected `true`; leave the source out instead"),
    })
}
