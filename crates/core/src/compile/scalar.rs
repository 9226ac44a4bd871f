//! Reads single values with a form and a range: names, shares, durations, and text that is sent in a header.
//!
//! What passes here can be used as it is: no later step checks a name or a header value again.

use std::ops::RangeInclusive;

use super::context::Context;
use super::json::Node;
use super::place::shown;
use super::reader::At;
use crate::hash::bucket::Ppm;
use crate::header;
use crate::time::{NotATime, Time};

pub(super) fn boolean(at: At<'_, '_>, context: &mut Context) -> Option<bool> {
    match at.node {
        Node::Bool(value) => Some(*value),
        _ => at.expected(context, "a boolean"),
    }
}

/// A whole number. It may be written as a double, like `5.0`.
pub(super) fn integer(at: At<'_, '_>, context: &mut Context, range: RangeInclusive<i64>) -> Option<i64> {
    let (least, most) = (range.start(), range.end());
    match at.node.integer().filter(|value| range.contains(value)) {
        Some(value) => Some(value),
        None if !at.node.is_number() => at.expected(context, "an integer"),
        None => at.problem(context, &format!("expected an integer from {least} to {most}")),
    }
}

/// A number, with or without a fraction. `words` names the range, because printing doubles would add a tenth to the module.
pub(super) fn number(
    at: At<'_, '_>,
    context: &mut Context,
    range: RangeInclusive<f64>,
    words: &str,
) -> Option<f64> {
    match at.node.number() {
        Some(value) if range.contains(&value) => Some(value),
        None if !at.node.is_number() => at.expected(context, "a number"),
        Some(_) => at.problem(context, &format!("expected a number from {words}")),
        None => at.problem(context, &format!("expected a number from {words}, with at most 15 digits")),
    }
}

/// A percentage with at most four decimals, so that it is a whole number of parts per million.
pub(super) fn percent(at: At<'_, '_>, context: &mut Context) -> Option<Ppm> {
    let Some(percent) = at.node.number() else {
        return match at.node.is_number() {
            true => at.problem(context, "expected a percentage from 0 to 100 with at most four decimals"),
            false => at.expected(context, "a percentage from 0 to 100"),
        };
    };
    if !(0.0..=100.0).contains(&percent) {
        return at.problem(context, "expected a percentage from 0 to 100");
    }
    let ppm = (percent * 10_000.0).round();
    // Division is correctly rounded, so this is exactly the double of that decimal, which no other text of at most 15 digits has.
    if ppm / 10_000.0 != percent {
        return at.problem(context, "a percentage has at most four decimals");
    }
    Ppm::new(ppm as u32)
}

/// Text without control characters. `lengths` counts characters.
pub(super) fn text<'n>(
    at: At<'n, '_>,
    context: &mut Context,
    lengths: RangeInclusive<usize>,
) -> Option<&'n str> {
    let text = at.any_text(context)?;
    let (least, most) = (lengths.start(), lengths.end());
    if !lengths.contains(&text.chars().count()) {
        return at.problem(context, &format!("expected {least} to {most} characters"));
    }
    if text.chars().any(char::is_control) {
        return at.problem(context, &format!("control characters are not allowed: {}", shown(text)));
    }
    Some(text)
}

/// A value that a client sends: any text that is not empty.
pub(super) fn client_text(at: At<'_, '_>, context: &mut Context) -> Option<Box<[u8]>> {
    match at.any_text(context)? {
        "" => at.problem(context, "expected a string that is not empty"),
        text => Some(text.as_bytes().into()),
    }
}

/// A DNS label: 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123).
pub(super) fn dns_label<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let text = at.any_text(context)?;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = text.starts_with('-') || text.ends_with('-');
    if (1..=63).contains(&text.len()) && text.bytes().all(legal) && !edges {
        return Some(text);
    }
    let found = shown(text);
    at.problem(context, &format!("expected 1 to 63 characters of `a-z`, `0-9` and inner `-`, found {found}"))
}

pub(super) fn version_name<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let text = at.any_text(context)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=63).contains(&text.len()) && text.bytes().all(legal) {
        return Some(text);
    }
    at.problem(context, &format!("expected 1 to 63 characters of `A-Za-z0-9._-`, found {}", shown(text)))
}

/// The name of an Envoy cluster: any text that a header can carry unchanged.
pub(super) fn cluster<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let name = text(at, context, 1..=1024)?;
    if name.trim() != name {
        return at.problem(context, "remove the spaces around the name: a header can't carry them");
    }
    Some(name)
}

/// A value that a header can carry unchanged. It may be empty.
pub(super) fn header_value<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let value = text(at, context, 0..=4096)?;
    if value.trim() != value {
        return at.problem(context, "a header value can't have spaces around it");
    }
    Some(value)
}

/// A host with or without a port, in the form of `:authority`.
pub(super) fn authority(at: At<'_, '_>, context: &mut Context) -> Option<Box<str>> {
    let text = at.any_text(context)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if !(1..=255).contains(&text.len()) || !text.bytes().all(legal) {
        return at
            .problem(context, &format!("expected a host, with or without a port, found {}", shown(text)));
    }
    Some(text.into())
}

/// A time in whole seconds.
pub(super) fn time(at: At<'_, '_>, context: &mut Context) -> Option<Time> {
    let text = at.any_text(context)?;
    match text.parse() {
        Ok(time) => Some(time),
        Err(error @ NotATime) => at.problem(context, &format!("{error}, found {}", shown(text))),
    }
}

pub(super) fn is_token(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

pub(super) fn method(at: At<'_, '_>, context: &mut Context) -> Option<Box<[u8]>> {
    let text = at.any_text(context)?;
    if !is_token(text) || text.len() > 64 {
        return at.problem(context, &format!("not a method: {}", shown(text)));
    }
    if text == "CONNECT" {
        at.warning(context, "a `CONNECT` request never matches");
    } else if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        at.warning(
            context,
            &format!("methods are case-sensitive: did you mean {}?", shown(&text.to_ascii_uppercase())),
        );
    }
    Some(text.as_bytes().into())
}

/// The name of a header that a rollout reads, in lower case.
pub(super) fn header_name(at: At<'_, '_>, context: &mut Context) -> Option<String> {
    let text = at.any_text(context)?;
    if !is_token(text) || text.len() > 256 {
        return at.problem(context, &format!("not a header name: {}", shown(text)));
    }
    let name = text.to_ascii_lowercase();
    if name.starts_with(header::PREFIX) {
        return at.problem(
            context,
            &format!("{} is removed from every request: use another header", shown(&name)),
        );
    }
    if name == "host" {
        return at.problem(context, "use `hosts` to match the host");
    }
    Some(name)
}

/// The name of a header that a model answers with, in lower case.
pub(super) fn response_header_name(at: At<'_, '_>, context: &mut Context) -> Option<String> {
    let text = at.any_text(context)?;
    if !is_token(text) || text.len() > 256 {
        return at.problem(context, &format!("not a header name: {}", shown(text)));
    }
    Some(text.to_ascii_lowercase())
}

/// A cookie's name (RFC 6265, 4.1.1).
pub(super) fn cookie_name<'n>(at: At<'n, '_>, context: &mut Context) -> Option<&'n str> {
    let text = at.any_text(context)?;
    if !is_token(text) || text.len() > 256 {
        return at.problem(context, &format!("not a cookie name: {}", shown(text)));
    }
    Some(text)
}

/// A duration in milliseconds, written like `250ms`, `30s` or `1h30m`, longest unit first.
pub(super) fn duration(at: At<'_, '_>, context: &mut Context, range: RangeInclusive<u64>) -> Option<u64> {
    let text = at.any_text(context)?;
    match parse_duration(text) {
        Some(value) if range.contains(&value) => Some(value),
        Some(_) => {
            let (least, most) = (written_duration(*range.start()), written_duration(*range.end()));
            at.problem(context, &format!("expected a duration from {least} to {most}, found {}", shown(text)))
        }
        None => at.problem(
            context,
            &format!("expected a duration like `250ms`, `30s` or `1h30m`, found {}", shown(text)),
        ),
    }
}

const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_duration(text: &str) -> Option<u64> {
    let mut units = DURATIONS.iter();
    let mut total = 0_u64;
    let mut rest = text;
    loop {
        let (digits, after) = rest.split_at_checked(rest.find(|symbol: char| !symbol.is_ascii_digit())?)?;
        let end = after.find(|symbol: char| symbol.is_ascii_digit()).unwrap_or(after.len());
        let (name, next) = after.split_at_checked(end)?;
        let (_, length) = units.find(|(unit, _)| *unit == name)?; // the iterator continues from here, so the longest unit comes first
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*length)?)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

fn written_duration(milliseconds: u64) -> String {
    let mut fitting = DURATIONS.iter().filter(|(_, length)| milliseconds.checked_rem(*length) == Some(0));
    fitting
        .next()
        .and_then(|(unit, length)| Some(format!("{}{unit}", milliseconds.checked_div(*length)?)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_and_the_longest_unit_comes_first() {
        for (text, milliseconds) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("7d", Some(604_800_000)),
            ("1d1h1m1s1ms", Some(90_061_001)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("30m1h", None),
            ("1s1s", None),
            ("1 s", None),
            ("1S", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration(text), milliseconds, "{text}");
        }
        assert_eq!(written_duration(604_800_000), "7d");
        assert_eq!(written_duration(1_500), "1500ms");
    }
}
