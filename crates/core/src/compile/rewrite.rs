//! Reads how a version changes a request: headers, path and host.
//!
//! A version can set no header that the filter, the connection or Envoy's retries own.

use super::context::Context;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::header;
use crate::plan::failover::is_retry_header;
use crate::plan::version::PathPrefix;

/// How a version changes a request, for servers that hold many versions behind one address.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// Sorted by name.
    pub(super) headers: Vec<(Box<str>, Box<str>)>,
    pub(super) path_prefix: Option<PathPrefix>,
    pub(super) host: Option<Box<str>>,
}

pub(super) fn rewrite(at: At<'_, '_>, context: &mut Context) -> Option<Rewrite> {
    let mut fields = Fields::of(at, context)?;
    let headers = fields.optional("set_headers", context, set_headers);
    let path_prefix = fields.optional("replace_path_prefix", context, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let from = fields.required("from", context, prefix);
        let to = fields.required("to", context, prefix);
        fields.finish(context);
        Some(PathPrefix { from: from?, to: to? })
    });
    let host = fields.optional("host", context, scalar::authority);
    fields.finish(context);
    Some(Rewrite { headers: headers.unwrap_or_default(), path_prefix, host })
}

fn prefix(at: At<'_, '_>, context: &mut Context) -> Option<Box<[u8]>> {
    let text = scalar::text(at, context, 1..=4096)?;
    let legal =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if !legal {
        return at.problem(
            context,
            &format!(
                "expected visible ASCII that begins with `/`, without `?` or `#`, found {}",
                shown(text)
            ),
        );
    }
    Some(text.as_bytes().into())
}

/// Headers of the connection, not of the request (RFC 9110, 7.6.1), and headers that say where the body ends.
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

fn set_headers(at: At<'_, '_>, context: &mut Context) -> Option<Vec<(Box<str>, Box<str>)>> {
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    at.entries(context, 0..=32, |at, key, context| {
        let name = key.to_ascii_lowercase();
        let value = scalar::header_value(at, context);
        if !scalar::is_token(key) || key.len() > 256 {
            return at.problem(context, "not a header name");
        }
        if name == "host" {
            return at.problem(context, "use `host` to set the host");
        }
        if name.starts_with(header::PREFIX) || FRAMING.contains(&&*name) {
            return at.problem(context, "a version can't set this header");
        }
        if is_retry_header(&name) {
            return at.problem(context, "`failover` or `timeout` sets this header");
        }
        match headers.binary_search_by(|(known, _)| (**known).cmp(&name)) {
            Ok(_) => at.problem(context, "duplicate header: names are not case-sensitive"),
            Err(position) => {
                headers.insert(position, (name.into(), value?.into()));
                Some(())
            }
        }
    })?;
    Some(headers)
}
