//! A described request: from options or a JSON line to the header lines that the filter would see.

use std::ffi::OsStr;

use anyhow::{Context, Result, bail};
use rollout_core::Time;
use serde::Deserialize;

use crate::args::{self, Explain};

/// Headers that Envoy keeps as one line: repeated lines reach the filter joined with a comma (measured on Envoy 1.40). This matters
/// only for a unit, which is the first line of a header.
const JOINED: [&str; 32] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-envoy-retry-on",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// A request as the filter sees it.
pub(crate) struct Call {
    lines: Vec<(String, Vec<u8>)>,
    source: Option<String>,
    at: Option<Time>,
    rolled_back: Option<Vec<String>>,
}

impl Call {
    /// When the request arrives. `None` if the description does not say.
    pub(crate) fn at(&self) -> Option<Time> {
        self.at
    }

    /// The versions that are rolled back then. `None` if the description does not say.
    pub(crate) fn rolled_back(&self) -> Option<&[String]> {
        self.rolled_back.as_deref()
    }

    /// All header lines, pseudo headers first.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The peer's address.
    pub(crate) fn source(&self) -> Option<&[u8]> {
        self.source.as_deref().map(str::as_bytes)
    }

    fn new(target: Target, headers: impl IntoIterator<Item = Result<(String, Vec<u8>)>>) -> Result<Self> {
        let pseudo = [(":authority", target.host), (":path", target.path), (":method", target.method)];
        let mut lines = Vec::with_capacity(pseudo.len());
        for (name, value) in pseudo {
            lines.push((name.to_owned(), legal_value(name, &value)?));
        }
        for header in headers {
            let (name, value) = header?;
            let value = legal_value(&name, &value)?;
            add(&mut lines, legal_name(&name)?, &value);
        }
        Ok(Self { lines, source: target.source, at: None, rolled_back: None })
    }
}

/// Adds a header line as Envoy does: an empty value is not joined.
fn add(lines: &mut Vec<(String, Vec<u8>)>, name: String, value: &[u8]) {
    let is_joined = JOINED.contains(&name.as_str());
    let Some((_, earlier)) = lines.iter_mut().find(|(known, _)| is_joined && *known == name) else {
        return lines.push((name, value.into()));
    };
    if !earlier.is_empty() && !value.is_empty() {
        earlier.push(b',');
    }
    earlier.extend_from_slice(value);
}

/// Everything except the headers.
struct Target {
    host: Vec<u8>,
    path: Vec<u8>,
    method: Vec<u8>,
    source: Option<String>,
}

impl TryFrom<&Explain> for Call {
    type Error = anyhow::Error;

    fn try_from(args: &Explain) -> Result<Self> {
        let target = Target {
            host: args.host.as_encoded_bytes().into(),
            path: args.path.as_encoded_bytes().into(),
            method: args.method.as_bytes().into(),
            source: args.source_ip.clone(),
        };
        Self::new(target, args.headers.iter().map(|line| header_line(line)))
    }
}

/// `name: value`.
fn header_line(line: &OsStr) -> Result<(String, Vec<u8>)> {
    let bytes = line.as_encoded_bytes();
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    let name = parts.next().unwrap_or_default();
    let value =
        parts.next().with_context(|| format!("expected `name: value`, found `{}`", line.display()))?;
    Ok((String::from_utf8_lossy(name).into_owned(), value.into()))
}

/// A name in lower case, as HTTP/2 and Envoy have it.
fn legal_name(name: &str) -> Result<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(legal) {
        bail!("`{name}` is not a header name");
    }
    let name = name.to_ascii_lowercase();
    if name == "host" {
        bail!("the host is not given as a header: use the option `--host` or the field `host`");
    }
    Ok(name)
}

/// A value without the white space around it, as it arrives in Envoy.
fn legal_value(name: &str, value: &[u8]) -> Result<Vec<u8>> {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        bail!("the value of `{name}` contains a line break or a NUL, which no request can carry");
    }
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !space(byte)).map_or(start, |last| last.saturating_add(1));
    Ok(value.get(start..end).unwrap_or_default().into())
}

/// One line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    host: Text,
    path: Text,
    method: Text,
    headers: Vec<(String, Text)>,
    source_ip: Option<String>,
    at: Option<String>,
    rolled_back: Option<Vec<String>>,
}

impl Default for Line {
    fn default() -> Self {
        let [host, path, method] = ["localhost", "/", "GET"].map(|text| Text::Plain(text.to_owned()));
        Self { host, path, method, headers: Vec::new(), source_ip: None, at: None, rolled_back: None }
    }
}

/// A text that may not be UTF-8.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or {\"hex\": \"...\"}")]
enum Text {
    Plain(String),
    Raw(Raw),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    hex: String,
}

impl Text {
    fn bytes(self) -> Result<Vec<u8>> {
        match self {
            Self::Plain(text) => Ok(text.into_bytes()),
            Self::Raw(Raw { hex }) => from_hex(&hex).with_context(|| format!("`{hex}` is not hex")),
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    pairs.iter().map(value).collect::<Option<_>>().filter(|_| rest.is_empty())
}

impl Call {
    /// Reads a request from a line of JSON.
    pub(crate) fn from_json(line: &str) -> Result<Self> {
        let Line { host, path, method, headers, source_ip, at, rolled_back } = serde_json::from_str(line)?;
        let at = at.map(|text| args::time(&text).with_context(|| format!("`at` is `{text}`"))).transpose()?;
        let source = source_ip.map(|text| args::source_ip(&text).map_err(anyhow::Error::msg)).transpose()?;
        let target = Target { host: host.bytes()?, path: path.bytes()?, method: method.bytes()?, source };
        let call = Self::new(target, headers.into_iter().map(|(name, value)| Ok((name, value.bytes()?))))?;
        Ok(Self { at, rolled_back, ..call })
    }
}
