//! The unit of a request: what is hashed, so that one user, session or caller always gets the same version.

use std::borrow::Cow;

use crate::request::{Request, Slot};

/// Where a unit may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// First line of a header.
    Header(Slot),
    /// First pair of this name over all cookie lines.
    Cookie { cookie: Slot, name: Box<[u8]> },
    /// First query parameter of this name, decoded.
    Query(Box<[u8]>),
    /// The peer's address.
    PeerAddress,
}

/// The first source that yields a non-empty value.
pub(crate) fn unit<'a>(sources: &[Source], request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    sources.iter().find_map(|source| source.value(request).filter(|value| !value.is_empty()))
}

impl Source {
    fn value<'a>(&self, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Header(slot) => request.lines(*slot).next().map(Cow::Borrowed),
            Self::Cookie { cookie, name } => {
                request.lines(*cookie).find_map(|line| pair(line, name)).map(Cow::Borrowed)
            }
            Self::Query(name) => request.query_value(name),
            Self::PeerAddress => request.source.map(|address| Cow::Owned(address.to_string().into_bytes())),
        }
    }
}

/// The value of a cookie in one line (RFC 6265, 5.4): pairs separated by semicolons, white space around them, quotes kept.
fn pair<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';').find_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let key = parts.next().unwrap_or_default().trim_ascii();
        let value = parts.next()?.trim_ascii();
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_the_name_counts() {
        for (line, value) in [
            ("uid=alice", Some("alice")),
            ("a=1; uid=alice; uid=bob", Some("alice")),
            ("a=1;uid = alice ;b=2", Some("alice")),
            ("uid=\"alice\"", Some("\"alice\"")),
            ("uid=a=b", Some("a=b")),
            ("uid=; uid=bob", Some("")),
            ("uid; uid=bob", Some("bob")),
            ("xuid=alice; UID=bob", None),
            ("", None),
        ] {
            assert_eq!(pair(line.as_bytes(), b"uid"), value.map(str::as_bytes), "{line}");
        }
    }
}
