//! Reads what a rollout needs from a request: its alternatives, their conditions, and the sources of its unit.
//!
//! Each header and cookie that a condition reads gets a slot here, so that a request is read in one pass.

use std::rc::Rc;

use super::context::Context;
use super::place::shown;
use super::reader::{At, Fields};
use super::{cookie, scalar};
use crate::plan::condition::{Conditions, CookieCondition, HeaderCondition, QueryCondition, Test, TextMatch};
use crate::plan::index::{HostPattern, PathPattern};
use crate::plan::shadow::SAFE_METHODS;
use crate::plan::unit::Source;

/// Protects the request path: the conditions of a list are tested one after another.
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
    /// The alternative of a rollout without `match`: it matches every request.
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

pub(super) fn alternatives(at: At<'_, '_>, context: &mut Context) -> Option<Vec<Alternative>> {
    at.list(context, 0..=32, alternative)
}

fn alternative(at: At<'_, '_>, context: &mut Context) -> Option<Alternative> {
    let mut fields = Fields::of(at, context)?;
    let hosts = fields.optional("hosts", context, |at, context| at.list(context, 1..=MAX_HOSTS, host));
    let path = fields.optional("path", context, path);
    let methods = fields.optional("methods", context, methods);
    let headers = fields.optional("headers", context, header_conditions);
    let cookies = fields.optional("cookies", context, cookie_conditions);
    let query = fields.optional("query", context, query_conditions);
    fields.finish(context);
    let conditions = Conditions {
        methods,
        headers: headers.unwrap_or_default(),
        cookies: cookies.unwrap_or_default(),
        query: query.unwrap_or_default(),
    };
    Some(Alternative {
        hosts: hosts.unwrap_or_else(|| vec![HostPattern::Any]),
        path: path.unwrap_or(PathPattern::Any),
        conditions: Rc::new(conditions),
    })
}

fn host(at: At<'_, '_>, context: &mut Context) -> Option<HostPattern> {
    let text = at.any_text(context)?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match address {
        Some(address) => text == name && address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(name),
    };
    if !legal {
        return at.problem(
            context,
            &format!(
                "expected a host like `example.com` or `*.example.com`, without a port, found {}",
                shown(text)
            ),
        );
    }
    let name_in_full = name.strip_suffix('.').unwrap_or(name);
    let bytes = name_in_full.to_ascii_lowercase().into_bytes().into_boxed_slice();
    Some(if text == name { HostPattern::Exact(bytes) } else { HostPattern::Below(bytes) })
}

fn is_host_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(legal);
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

fn path(at: At<'_, '_>, context: &mut Context) -> Option<PathPattern> {
    let (kind, node) = at.one_of(context, &["exact", "prefix", "suffix"])?;
    at.enter(kind, node, |at| {
        let text = scalar::text(at, context, 1..=4096)?;
        if text.contains(['?', '#']) {
            return at.problem(context, "a path is matched without its query: use `query` to match that");
        }
        if kind != "suffix" && !text.starts_with(['/', '*']) {
            return at
                .problem(context, &format!("expected a path that begins with `/`, found {}", shown(text)));
        }
        let bytes = text.as_bytes().into();
        Some(match kind {
            "exact" => PathPattern::Exact(bytes),
            "prefix" => PathPattern::Prefix(bytes),
            _ => PathPattern::Suffix(bytes),
        })
    })
}

pub(super) fn methods(at: At<'_, '_>, context: &mut Context) -> Option<Box<[Box<[u8]>]>> {
    at.list(context, 1..=MAX_CONDITIONS, scalar::method).map(Vec::into_boxed_slice)
}

pub(super) fn header_conditions(at: At<'_, '_>, context: &mut Context) -> Option<Box<[HeaderCondition]>> {
    let conditions = at.list(context, 1..=MAX_CONDITIONS, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let name = fields.required("name", context, scalar::header_name);
        let text = header_test(at, &mut fields, context);
        let test = negatable(&mut fields, context, text);
        fields.finish(context);
        Some(HeaderCondition { slot: context.shared.inputs.header(&name?), test: test? })
    })?;
    Some(conditions.into())
}

fn cookie_conditions(at: At<'_, '_>, context: &mut Context) -> Option<Box<[CookieCondition]>> {
    let conditions = at.list(context, 1..=MAX_CONDITIONS, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let name = fields.required("name", context, scalar::cookie_name);
        let text = test(at, &mut fields, context, |at, context| {
            let text = scalar::client_text(at, context)?;
            if text.trim_ascii().len() != text.len() || text.contains(&b';') {
                return at.problem(context, "a cookie's value can't have `;` or spaces around it");
            }
            Some(text)
        });
        let test = negatable(&mut fields, context, text);
        fields.finish(context);
        Some(CookieCondition { slot: context.shared.inputs.cookie(name?), test: test? })
    })?;
    Some(conditions.into())
}

/// The test of a condition that may say `not`.
fn negatable(fields: &mut Fields<'_, '_>, context: &mut Context, text: Option<TextMatch>) -> Option<Test> {
    let has_present = fields.has("present");
    let is_negated = fields.optional("not", context, |at, context| {
        if has_present {
            return at.problem(context, "`present` has no `not`: use `true` or `false`");
        }
        scalar::boolean(at, context)
    });
    Some(Test { text: text?, is_negated: is_negated.unwrap_or(false) })
}

/// The test of a condition on a header.
pub(super) fn header_test(
    at: At<'_, '_>,
    fields: &mut Fields<'_, '_>,
    context: &mut Context,
) -> Option<TextMatch> {
    test(at, fields, context, |at, context| {
        let text = scalar::client_text(at, context)?;
        let legal = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        let edges = text.trim_ascii().len() != text.len();
        if edges || !text.iter().all(legal) {
            return at.problem(context, "a header value can't have control characters or spaces around it");
        }
        Some(text)
    })
}

fn query_conditions(at: At<'_, '_>, context: &mut Context) -> Option<Box<[QueryCondition]>> {
    let conditions = at.list(context, 1..=MAX_CONDITIONS, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let name = fields.required("name", context, scalar::client_text);
        let text = test(at, &mut fields, context, scalar::client_text);
        let test = negatable(&mut fields, context, text);
        fields.finish(context);
        Some(QueryCondition { name: name?, test: test? })
    })?;
    Some(conditions.into())
}

const TESTS: [&str; 6] = ["exact", "prefix", "suffix", "contains", "in", "present"];

/// The test of a condition. An empty `exact` is allowed; an empty `prefix` is not, because it would mean `present`.
fn test(
    at: At<'_, '_>,
    fields: &mut Fields<'_, '_>,
    context: &mut Context,
    value: impl Fn(At<'_, '_>, &mut Context) -> Option<Box<[u8]>>,
) -> Option<TextMatch> {
    let count = TESTS.iter().filter(|name| fields.has(name)).count();
    let found = [
        fields
            .optional("exact", context, |at, context| match at.node.text() {
                Some("") => Some(Box::default()),
                _ => value(at, context),
            })
            .map(TextMatch::Exact),
        fields.optional("prefix", context, &value).map(TextMatch::Prefix),
        fields.optional("suffix", context, &value).map(TextMatch::Suffix),
        fields.optional("contains", context, &value).map(TextMatch::Contains),
        fields
            .optional("in", context, |at, context| at.list(context, 1..=1_000, &value))
            .map(|list| TextMatch::In(list.into())),
        fields.optional("present", context, scalar::boolean).map(TextMatch::Present),
    ];
    if count != 1 {
        let names = TESTS.map(|name| format!("`{name}`")).join(", ");
        return at.problem(context, &format!("expected exactly one of {names}, found {count}"));
    }
    found.into_iter().flatten().next()
}

pub(super) fn sources(at: At<'_, '_>, context: &mut Context) -> Option<Box<[Source]>> {
    let mut is_issued = false;
    let sources = at.list(context, 1..=8, |at, context| {
        if is_issued {
            at.warning(context, "never used: the `issued_cookie` before it always has a value");
        }
        let source = source(at, context)?;
        is_issued |= matches!(source, Source::Issued(_));
        Some(source)
    })?;
    Some(sources.into())
}

fn source(at: At<'_, '_>, context: &mut Context) -> Option<Source> {
    let kinds = ["header", "cookie", "query", "source_ip", "issued_cookie"];
    let (kind, node) = at.one_of(context, &kinds)?;
    at.enter(kind, node, |at| match kind {
        "header" => {
            let name = scalar::header_name(at, context)?;
            Some(Source::Header(context.shared.inputs.header(&name)))
        }
        "cookie" => {
            let name = scalar::cookie_name(at, context)?;
            Some(Source::Cookie(context.shared.inputs.cookie(name)))
        }
        "issued_cookie" => cookie::issuer(at, context).map(Source::Issued),
        "query" => scalar::client_text(at, context).map(Source::Query),
        _ if scalar::boolean(at, context)? => {
            context.shared.inputs.source_address = true;
            Some(Source::PeerAddress)
        }
        _ => at.problem(context, "expected `true`: remove the source instead"),
    })
}
