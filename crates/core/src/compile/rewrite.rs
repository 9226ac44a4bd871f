//! Reads what a version makes of a request: headers, path and host.

use super::reader::{At, Draft, Fields, shown};
use super::scalar;
use crate::decision::header;
use crate::plan::PathPrefix;
use crate::plan::failover::is_retry_header;

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
        return at.problem(
            draft,
            &format!(
                "expected visible ASCII that begins with `/`, without `?` and `#`, found {}",
                shown(text)
            ),
        );
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
        if is_retry_header(&name) {
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
