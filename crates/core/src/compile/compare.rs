//! Reads how the answers of a shadow are compared.

use super::context::Context;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::bucket::Ppm;
use crate::header;
use crate::plan::compare::{
    Compare, DEFAULT_BODY_BYTES, JsonRules, MAX_BODY_BYTES, MAX_HEADERS, MAX_PATTERN_BYTES, MAX_PATTERNS,
    Pattern,
};
use crate::plan::decimal::Decimal;

pub(super) fn compare(at: At<'_, '_>, context: &mut Context) -> Option<Compare> {
    let mut fields = Fields::of(at, context)?;
    let status = fields.optional("status", context, scalar::boolean).unwrap_or(true);
    let headers = fields.optional("headers", context, headers).unwrap_or_default();
    let json = fields.optional("json", context, json).unwrap_or_default();
    let max_body_bytes = fields.optional("max_body_bytes", context, |at, context| {
        u64::try_from(scalar::integer(at, context, 1..=MAX_BODY_BYTES.cast_signed())?).ok()
    });
    let sample = fields.optional("sample", context, scalar::percent);
    let log = fields.optional("log", context, |at, context| at.one_word(context, &["pointers", "values"]));
    let logs_values = log == Some("values");
    let redact = fields.optional("redact", context, |at, context| {
        if !logs_values {
            at.warning(context, "has no effect: values are logged only with `\"log\": \"values\"`");
        }
        patterns(at, context)
    });
    fields.finish(context);
    Some(Compare {
        status,
        headers,
        json,
        max_body_bytes: max_body_bytes.unwrap_or(DEFAULT_BODY_BYTES),
        sample: sample.unwrap_or(Ppm::WHOLE),
        logs_values,
        redact: redact.unwrap_or_default(),
    })
}

fn headers(at: At<'_, '_>, context: &mut Context) -> Option<Box<[Box<str>]>> {
    let mut seen = Vec::new();
    let names = at.list(context, 0..=MAX_HEADERS, |at, context| {
        let name = scalar::response_header_name(at, context)?;
        if name.starts_with(header::PREFIX) {
            return at.problem(context, &format!("{} is the filter's own, not the model's", shown(&name)));
        }
        if seen.contains(&name) {
            return at.problem(context, "duplicate header");
        }
        seen.push(name.clone());
        Some(name.into_boxed_str())
    })?;
    Some(names.into())
}

fn json(at: At<'_, '_>, context: &mut Context) -> Option<JsonRules> {
    let mut fields = Fields::of(at, context)?;
    let ignore = fields.optional("ignore", context, patterns).unwrap_or_default();
    let unordered = fields.optional("unordered", context, patterns).unwrap_or_default();
    let abs_tolerance =
        fields.optional("abs_tolerance", context, |at, context| tolerance(at, context, 1e15, "0 to 1e15"));
    let rel_tolerance =
        fields.optional("rel_tolerance", context, |at, context| tolerance(at, context, 1.0, "0 to 1"));
    fields.finish(context);
    Some(JsonRules {
        ignore,
        unordered,
        abs_tolerance: abs_tolerance.unwrap_or_default(),
        rel_tolerance: rel_tolerance.unwrap_or_default(),
    })
}

/// The decimal that the author has written. Its double is an integer divided by a power of ten, and division is correctly
/// rounded, so no other decimal of at most 15 digits passes here.
fn tolerance(at: At<'_, '_>, context: &mut Context, most: f64, words: &str) -> Option<Decimal> {
    let value = scalar::number(at, context, 0.0..=most, words)?;
    let mut power = 1.0;
    for exponent in (-19..=0).rev() {
        let mantissa = (value * power).round();
        if mantissa / power == value && mantissa <= 1e15 {
            return Some(Decimal { mantissa: mantissa as u128, exponent });
        }
        power *= 10.0;
    }
    at.problem(context, &format!("expected a number from {words}, with at most 15 digits"))
}

fn patterns(at: At<'_, '_>, context: &mut Context) -> Option<Box<[Pattern]>> {
    Some(at.list(context, 0..=MAX_PATTERNS, pattern)?.into())
}

fn pattern(at: At<'_, '_>, context: &mut Context) -> Option<Pattern> {
    let text = at.any_text(context)?;
    if text.len() > MAX_PATTERN_BYTES {
        return at.problem(context, &format!("longer than {MAX_PATTERN_BYTES} bytes"));
    }
    match Pattern::read(text) {
        Some(pattern) => Some(pattern),
        None => at.problem(
            context,
            &format!("expected a JSON Pointer like `/outputs/*/score`, found {}", shown(text)),
        ),
    }
}
