//! Cookies: reading one from a request, and writing the `Set-Cookie` line of one that the filter gives out (RFC 6265).

/// A cookie that the filter gives out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: Box<str>,
    pub(crate) max_age: u64,
    pub(crate) path: Box<str>,
    pub(crate) http_only: bool,
    pub(crate) secure: bool,
    pub(crate) same_site: SameSite,
}

/// Whether a browser sends the cookie with requests that other sites begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl Cookie {
    /// The value of a `Set-Cookie` header that lasts `max_age` seconds.
    pub(crate) fn line(&self, value: &str, max_age: u64) -> String {
        let http_only = if self.http_only { "; HttpOnly" } else { "" };
        let secure = if self.secure { "; Secure" } else { "" };
        let (name, path, same_site) = (&self.name, &self.path, self.same_site.name());
        format!("{name}={value}; Max-Age={max_age}; Path={path}{http_only}{secure}; SameSite={same_site}")
    }
}

/// The value of a cookie in one line (RFC 6265, 5.4): pairs separated by semicolons, white space around them, quotes kept.
pub(crate) fn pair<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
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

    #[test]
    fn a_line_names_all_attributes() {
        let mut cookie = Cookie {
            name: "rid".into(),
            max_age: 60,
            path: "/".into(),
            http_only: true,
            secure: true,
            same_site: SameSite::Lax,
        };
        assert_eq!(cookie.line("v", 60), "rid=v; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax");
        (cookie.http_only, cookie.secure, cookie.same_site) = (false, false, SameSite::Strict);
        assert_eq!(cookie.line("v", 1), "rid=v; Max-Age=1; Path=/; SameSite=Strict");
    }
}
