//! Numbers as they are written: the same number, or one within the tolerances.
//!
//! Nothing is rounded to a double. Equality looks at every digit, a tolerance at the first 19 of each number.

use crate::plan::compare::JsonRules;
use crate::plan::decimal::{Decimal, Written};

/// How far two numbers are apart.
#[derive(Clone, Copy)]
struct Distance {
    /// `|a - b|`.
    difference: Decimal,
    /// `max(|a|, |b|)`.
    larger: Decimal,
    /// The mantissa of the larger number, for the exponent of the difference.
    aligned: u128,
}

/// True if both numbers, as they are written, are the same or within a tolerance.
pub(super) fn match_within(rules: &JsonRules, one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let Some((one, other)) = finite(one, other) else { return false };
    if one.is(&other) {
        return true;
    }
    if !rules.abs_tolerance.is_positive() && !rules.rel_tolerance.is_positive() {
        return false;
    }
    distance(&one, &other).is_some_and(|distance| {
        distance.difference.is_at_most(rules.abs_tolerance)
            || distance.difference.is_at_most(rules.rel_tolerance.times(distance.larger))
    })
}

/// `|a - b| / max(|a|, |b|)`. `None` if one of them is not finite, or has an exponent beyond 64 bits.
pub(super) fn relative(one: &[u8], other: &[u8]) -> Option<f64> {
    let (one, other) = finite(one, other)?;
    let distance = distance(&one, &other)?;
    Some(distance.difference.mantissa as f64 / distance.aligned as f64)
}

fn finite<'t>(one: &'t [u8], other: &'t [u8]) -> Option<(Written<'t>, Written<'t>)> {
    let is_word = |text: &[u8]| text.iter().any(|byte| matches!(byte, b'N' | b'I'));
    if is_word(one) || is_word(other) {
        return None;
    }
    Written::read(one).zip(Written::read(other))
}

/// `None` if an exponent is beyond 64 bits.
fn distance(one: &Written<'_>, other: &Written<'_>) -> Option<Distance> {
    let is_sum = one.is_negative != other.is_negative;
    let (one, other) = (one.decimal()?, other.decimal()?);
    let (large, small) = if one.is_at_most(other) { (other, one) } else { (one, other) };
    let exponent = if small.mantissa == 0 { large.exponent } else { large.exponent.min(small.exponent) };
    let aligned =
        large.scaled(exponent).zip(if small.mantissa == 0 { Some(0) } else { small.scaled(exponent) });
    let Some((aligned, small)) = aligned else {
        // The smaller number is less than a 10^19th of the larger one.
        return Some(Distance { difference: large, larger: large, aligned: large.mantissa });
    };
    let mantissa = if is_sum { aligned.saturating_add(small) } else { aligned.saturating_sub(small) };
    Some(Distance { difference: Decimal { mantissa, exponent }, larger: large, aligned })
}
