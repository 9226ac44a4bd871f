//! Numbers as they are written: the same number, or one within the tolerances.
//!
//! Nothing is rounded to a double. Equality looks at every digit, a tolerance at the first 19 of each number.

use super::word;
use crate::plan::compare::JsonRules;
use crate::plan::decimal::{Decimal, Written};

/// How far two numbers are apart.
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
    let short = Short::read(one).zip(Short::read(other));
    match short.and_then(|(one, other)| one.matches_within(rules, &other)) {
        Some(matches) => matches,
        None => match_slowly(rules, one, other),
    }
}

/// The same for numbers of any length.
fn match_slowly(rules: &JsonRules, one: &[u8], other: &[u8]) -> bool {
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

/// A number of at most 18 digits, read in one pass. Almost all numbers are, and most arithmetic on them fits in 64 bits.
#[derive(Clone, Copy)]
struct Short {
    is_negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Short {
    /// `None` if it is longer, or not finite.
    fn read(text: &[u8]) -> Option<Self> {
        let (is_negative, mut rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (mut mantissa, mut exponent, mut places) = (0_u64, 0_i32, 0_i32);
        let mut step = 0;
        while let [byte, after @ ..] = rest {
            if let Some((eight, after)) =
                rest.split_first_chunk().filter(|(eight, _)| word::are_digits(**eight))
                && mantissa < 1_000_000_000
            {
                mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(word::number(*eight));
                places = places.wrapping_add(step << 3);
                rest = after;
                continue;
            }
            match byte {
                b'0'..=b'9' if mantissa < 100_000_000_000_000_000 => {
                    mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte.wrapping_sub(b'0')));
                    places = places.wrapping_add(step);
                }
                b'.' => step = 1,
                b'e' | b'E' => {
                    exponent = str::from_utf8(after).ok()?.parse().ok()?;
                    break;
                }
                _ => return None,
            }
            rest = after;
        }
        Some(Self { is_negative, mantissa, exponent: exponent.checked_sub(places)? })
    }

    /// `None` if the arithmetic does not fit.
    fn matches_within(self, rules: &JsonRules, other: &Self) -> Option<bool> {
        let (fine, coarse) = if self.exponent <= other.exponent { (self, *other) } else { (*other, self) };
        let places = coarse.exponent.checked_sub(fine.exponent)?;
        let aligned =
            if places == 0 { coarse.mantissa } else { coarse.mantissa.checked_mul(power(places)?)? };
        let difference = match fine.is_negative == coarse.is_negative {
            true => fine.mantissa.abs_diff(aligned),
            false => fine.mantissa.checked_add(aligned)?,
        };
        if difference == 0 {
            return Some(true);
        }
        let (difference, larger) = (u128::from(difference), u128::from(fine.mantissa.max(aligned)));
        let Decimal { mantissa, exponent } = rules.rel_tolerance;
        if mantissa > 0 {
            let scale = power(i32::try_from(exponent.checked_neg()?).ok()?)?;
            if difference.checked_mul(scale.into())? <= larger.checked_mul(mantissa)? {
                return Some(true);
            }
        }
        let Decimal { mantissa, exponent } = rules.abs_tolerance;
        if mantissa == 0 {
            return Some(false);
        }
        let places = i32::try_from(exponent.checked_sub(fine.exponent.into())?).ok()?;
        Some(match places >= 0 {
            true => difference <= mantissa.checked_mul(power(places)?.into())?,
            false => difference.checked_mul(power(places.checked_neg()?)?.into())? <= mantissa,
        })
    }
}

/// A power of ten. `None` beyond 64 bits.
fn power(places: i32) -> Option<u64> {
    10_u64.checked_pow(u32::try_from(places).ok()?)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(abs: &str, rel: &str) -> JsonRules {
        let read = |text: &str| Decimal::read(text.as_bytes()).unwrap();
        JsonRules { abs_tolerance: read(abs), rel_tolerance: read(rel), ..JsonRules::default() }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn the_short_way_and_the_long_way_agree(
            one in "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,12})?(e[+-]?[0-9]{1,2})?",
            change in "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,12})?(e[+-]?[0-9]{1,2})?",
            is_close: bool,
            abs in "(0|1e-6|0.5|12|1e15)",
            rel in "(0|0.001|0.25|1)",
        ) {
            // A close number differs in its last digit only.
            let mut close = one.clone();
            if is_close && !one.contains('e') {
                let last = close.pop();
                close.push(if last == Some('3') { '4' } else { '3' });
            } else {
                close = change;
            }
            let rules = rules(&abs, &rel);
            let (one, close) = (one.as_bytes(), close.as_bytes());
            prop_assert_eq!(match_within(&rules, one, close), one == close || match_slowly(&rules, one, close));
        }
    }
}
