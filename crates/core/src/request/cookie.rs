//! Cookies: reads them from a request, and writes the `Set-Cookie` line of a cookie that the filter sets (RFC 6265).
//!
//! What a cookie means is not here: see `plan::session` and `plan::unit`.

/// A cookie that the filter sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: Box<str>,
    pub(crate) max_age: u64,
    pub(crate) path: Box<str>,
    /// Host and everything below it that browsers send the cookie to. `None` means the host of the request alone.
    pub(crate) domain: Option<Box<str>>,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    pub(crate) same_site: SameSite,
    /// True if browsers keep one cookie for each site that embeds this one (CHIPS).
    pub(crate) partitioned: bool,
}

/// Whether a browser sends the cookie with requests that start on other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl Cookie {
    /// Why browsers would drop the cookie (RFC 6265bis, 5.7). `None` if they would keep it.
    pub(crate) fn rejected_because(&self) -> Option<&'static str> {
        let is_prefixed = |prefix: &str| self.name.starts_with(prefix);
        match self.secure {
            false if self.same_site == SameSite::None => {
                Some("`same_site` is `None`, so `secure` must be `true`")
            }
            false if self.partitioned => Some("`partitioned` needs `secure`, which must be `true`"),
            false if is_prefixed("__Host-") || is_prefixed("__Secure-") => {
                Some("its name promises `secure`, which must be `true`")
            }
            _ if is_prefixed("__Host-") && *self.path != *"/" => Some("its name promises the path `/`"),
            _ if is_prefixed("__Host-") && self.domain.is_some() => {
                Some("its name promises that it has no `domain`")
            }
            _ => None,
        }
    }

    /// The value of a `Set-Cookie` header that lasts `max_age` seconds.
    pub(crate) fn line(&self, value: &str, max_age: u64) -> String {
        let http_only = if self.http_only { "; HttpOnly" } else { "" };
        let secure = if self.secure { "; Secure" } else { "" };
        let partitioned = if self.partitioned { "; Partitioned" } else { "" };
        let domain = match &self.domain {
            Some(domain) => format!("; Domain={domain}"),
            None => String::new(),
        };
        let (name, path, same_site) = (&self.name, &self.path, self.same_site.name());
        format!(
            "{name}={value}; Max-Age={max_age}; Path={path}{domain}{http_only}{secure}; SameSite={same_site}{partitioned}"
        )
    }
}

/// The names and values of a cookie line (RFC 6265, 5.4): pairs separated by semicolons. White space around them is
/// removed, and quotes are kept.
pub(crate) fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|byte| *byte == b';').filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(end)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_line_is_pairs_and_what_is_not_a_pair_is_skipped() {
        for (line, expected) in [
            ("uid=alice", vec![("uid", "alice")]),
            ("a=1; uid=alice; uid=bob", vec![("a", "1"), ("uid", "alice"), ("uid", "bob")]),
            ("a=1;uid = alice ;b=2", vec![("a", "1"), ("uid", "alice"), ("b", "2")]),
            ("uid=\"alice\"", vec![("uid", "\"alice\"")]),
            ("uid=a=b", vec![("uid", "a=b")]),
            ("uid=; uid=bob", vec![("uid", ""), ("uid", "bob")]),
            ("uid; =x; uid=bob;", vec![("", "x"), ("uid", "bob")]),
            ("", vec![]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(pairs(line.as_bytes()).collect::<Vec<_>>(), expected, "{line}");
        }
    }

    #[test]
    fn a_line_has_all_attributes() {
        let mut cookie = Cookie {
            name: "rid".into(),
            max_age: 60,
            path: "/".into(),
            domain: None,
            http_only: true,
            secure: true,
            same_site: SameSite::Lax,
            partitioned: false,
        };
        assert_eq!(cookie.line("v", 60), "rid=v; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax");
        (cookie.http_only, cookie.secure, cookie.same_site) = (false, false, SameSite::Strict);
        assert_eq!(cookie.line("v", 1), "rid=v; Max-Age=1; Path=/; SameSite=Strict");
        (cookie.secure, cookie.same_site, cookie.partitioned) = (true, SameSite::None, true);
        cookie.domain = Some("example.com".into());
        assert_eq!(
            cookie.line("v", 1),
            "rid=v; Max-Age=1; Path=/; Domain=example.com; Secure; SameSite=None; Partitioned"
        );
    }
}
