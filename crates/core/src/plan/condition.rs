//! Conditions on a request: the methods, headers, cookies and query parameters that an alternative of a rollout or a shadow needs.
//!
//! Hosts and paths are not here: the index (`index.rs`) looks them up before any condition is tested.

use crate::request::{Request, Slot};

/// A test of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextMatch {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    In(Box<[Box<[u8]>]>),
    Present(bool),
}

impl TextMatch {
    /// True if the value passes. An absent value passes only `present: false`.
    pub(crate) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Present(expected), value) => value.is_some() == *expected,
            (_, None) => false,
            (Self::Exact(text), Some(value)) => value == text.as_ref(),
            (Self::Prefix(text), Some(value)) => value.starts_with(text),
            (Self::Suffix(text), Some(value)) => value.ends_with(text),
            (Self::Contains(text), Some(value)) => {
                value.windows(text.len()).any(|window| window == text.as_ref())
            }
            (Self::In(texts), Some(value)) => texts.iter().any(|text| value == text.as_ref()),
        }
    }
}

/// A test of a value, or the opposite of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) text: TextMatch,
    pub(crate) is_negated: bool,
}

impl Test {
    /// True if the value passes. An absent value passes a negated test.
    pub(crate) fn holds(&self, value: Option<&[u8]>) -> bool {
        self.text.holds(value) != self.is_negated
    }
}

/// A condition on one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderCondition {
    pub(crate) slot: Slot,
    pub(crate) test: Test,
}

impl HeaderCondition {
    pub(crate) fn holds(&self, request: &Request<'_>) -> bool {
        self.test.holds(request.header(self.slot).as_deref())
    }
}

/// A condition on the first cookie of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookieCondition {
    pub(crate) slot: Slot,
    pub(crate) test: Test,
}

/// A condition on one query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryCondition {
    pub(crate) name: Box<[u8]>,
    pub(crate) test: Test,
}

/// All conditions of one alternative, except host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    /// `None` means any method.
    pub(crate) methods: Option<Box<[Box<[u8]>]>>,
    pub(crate) headers: Box<[HeaderCondition]>,
    pub(crate) cookies: Box<[CookieCondition]>,
    pub(crate) query: Box<[QueryCondition]>,
}

impl Conditions {
    pub(crate) fn hold(&self, request: &Request<'_>) -> bool {
        self.methods.as_deref().is_none_or(|methods| contains_method(methods, request))
            && self.headers.iter().all(|condition| condition.holds(request))
            && self.cookies.iter().all(|condition| condition.test.holds(request.lines(condition.slot).next()))
            && self
                .query
                .iter()
                .all(|condition| condition.test.holds(request.query_value(&condition.name).as_deref()))
    }
}

/// True if the method is one of these. Methods are case-sensitive (RFC 9110, 9.1).
pub(crate) fn contains_method(methods: &[Box<[u8]>], request: &Request<'_>) -> bool {
    methods.iter().any(|method| method.as_ref() == request.method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_reads_as_its_name_says() {
        let text = |text: &str| Box::<[u8]>::from(text.as_bytes());
        for (test, fulfilled, not) in [
            (TextMatch::Exact(text("acme")), "acme", "acme2"),
            (TextMatch::Prefix(text("ac")), "acme", "bac"),
            (TextMatch::Suffix(text("me")), "acme", "mea"),
            (TextMatch::Contains(text("cm")), "acme", "amce"),
            (TextMatch::In([text("a"), text("b")].into()), "b", "c"),
        ] {
            assert!(test.holds(Some(fulfilled.as_bytes())), "{test:?}");
            assert!(!test.holds(Some(not.as_bytes())), "{test:?}");
            assert!(!test.holds(Some(b"")), "{test:?}");
            assert!(!test.holds(None), "{test:?}");
        }
        let test = |is_negated| Test { text: TextMatch::Exact(text("acme")), is_negated };
        for (value, is_acme) in [(Some(b"acme".as_slice()), true), (Some(b"acme2"), false), (None, false)] {
            assert_eq!((test(false).holds(value), test(true).holds(value)), (is_acme, !is_acme), "{value:?}");
        }
        assert!(TextMatch::Present(true).holds(Some(b"")) && !TextMatch::Present(true).holds(None));
        assert!(TextMatch::Present(false).holds(None) && !TextMatch::Present(false).holds(Some(b"")));
    }
}
