//! Numbers as they are written. A parser that goes through doubles rounds, so a percentage of 99.99999999999999 would be 100.
//!
//! A number becomes an integer or a double only if that carries it exactly, with up to 15 digits for a double. Two texts of at most
//! 15 digits never share a double, so such a double is as good as the text.

/// A JSON number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    /// As it is written, because no integer and no double carries it exactly.
    Digits(String),
}

/// The most significant digits that every double keeps apart (IEEE 754, binary64).
const DIGITS: u64 = 1_000_000_000_000_000;

impl Number {
    /// The number that a text is in JSON (RFC 8259, 6). `None` if it is not a number.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-');
        let is_negative = unsigned.is_some();
        let (before, exponent) = match unsigned.unwrap_or(text).split_once(['e', 'E']) {
            Some((before, exponent)) => {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                let size = if are_digits(digits) { digits.parse().unwrap_or(i64::MAX) } else { return None };
                (before, if exponent.starts_with('-') { size.saturating_neg() } else { size })
            }
            None => (unsigned.unwrap_or(text), 0),
        };
        let (whole, fraction) = match before.split_once('.') {
            Some((whole, fraction)) if are_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (before, ""),
        };
        if !are_digits(whole) || (whole.starts_with('0') && whole.len() > 1) {
            return None;
        }
        let exponent = exponent.saturating_sub(i64::try_from(fraction.len()).ok()?);
        let exact = mantissa(whole, fraction)
            .and_then(|(mantissa, zeros)| exact(is_negative, mantissa, exponent.saturating_add(zeros)));
        Some(exact.unwrap_or_else(|| Self::Digits(text.to_owned())))
    }

    /// The value as an integer. A double without a fraction counts as one.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(*value).ok(),
            Self::Negative(value) => Some(*value),
            Self::Float(value) => whole(*value),
            Self::Digits(_) => None,
        }
    }

    /// The value as a double. `None` if it has more digits than a double carries.
    pub(crate) fn double(&self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(*value as f64),
            Self::Negative(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Digits(_) => None,
        }
    }

    /// Writes integral numbers without a fraction, and others in their shortest form.
    pub(crate) fn write_canonical(&self, out: &mut String) {
        match self {
            Self::Unsigned(value) => out.push_str(&value.to_string()),
            Self::Negative(value) => out.push_str(&value.to_string()),
            Self::Float(value) => match whole(*value) {
                Some(integer) => out.push_str(&integer.to_string()),
                None => out.push_str(&serde_json::to_string(value).unwrap_or_default()),
            },
            Self::Digits(digits) => out.push_str(digits),
        }
    }
}

fn whole(value: f64) -> Option<i64> {
    let in_range = value.abs() <= 9_223_372_036_854_774_784.0; // the largest double below 2^63
    (in_range && value.fract() == 0.0).then_some(value as i64)
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// All digits as one number without the zeros at its end, and the number of these zeros. `None` if there are too many digits.
fn mantissa(whole: &str, fraction: &str) -> Option<(u64, i64)> {
    let (mut mantissa, mut zeros) = (0_u64, 0_u32);
    for digit in whole.bytes().chain(fraction.bytes()).map(|byte| byte.saturating_sub(b'0')) {
        if digit == 0 {
            zeros = zeros.saturating_add(1);
            continue;
        }
        let shift = if mantissa == 0 { 1 } else { 10_u64.checked_pow(zeros.checked_add(1)?)? };
        mantissa = mantissa.checked_mul(shift)?.checked_add(digit.into())?;
        zeros = 0;
    }
    Some((mantissa, zeros.into()))
}

/// The integer or the double that is exactly this number. `None` if there is none, or a double would be shared.
fn exact(is_negative: bool, mantissa: u64, exponent: i64) -> Option<Number> {
    if mantissa == 0 {
        return Some(Number::Unsigned(0));
    }
    let scale = 10_u64.checked_pow(u32::try_from(exponent.unsigned_abs()).ok()?)?;
    if exponent >= 0 {
        let integer = mantissa.checked_mul(scale)?;
        return match is_negative {
            false => Some(Number::Unsigned(integer)),
            true => i64::try_from(integer).ok().map(|integer| Number::Negative(integer.saturating_neg())),
        };
    }
    // Both are exact in a double, so their quotient is the double next to the number.
    let quotient = mantissa as f64 / scale as f64;
    (mantissa < DIGITS).then_some(Number::Float(if is_negative { -quotient } else { quotient }))
}

/// The numbers of a JSON text in their order, each as it is written.
pub(super) struct Written<'t>(&'t [u8]);

impl<'t> Written<'t> {
    /// The numbers of a text that has been parsed, so it is JSON.
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self(text)
    }

    fn skip_string(&mut self) {
        while let [byte, rest @ ..] = self.0 {
            self.0 = rest;
            match byte {
                b'"' => return,
                b'\\' => self.0 = rest.get(1..).unwrap_or_default(),
                _ => {}
            }
        }
    }
}

impl<'t> Iterator for Written<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        while let [byte, rest @ ..] = self.0 {
            match byte {
                b'-' | b'0'..=b'9' => {
                    let end = self.0.iter().position(|byte| !is_part(byte)).unwrap_or(self.0.len());
                    let (number, rest) = self.0.split_at_checked(end)?;
                    self.0 = rest;
                    return str::from_utf8(number).ok();
                }
                b'"' => {
                    self.0 = rest;
                    self.skip_string();
                }
                _ => self.0 = rest,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_read_as_written_or_kept_as_digits() {
        let digits = |text: &str| Number::Digits(text.to_owned());
        for (text, number) in [
            ("0", Number::Unsigned(0)),
            ("-0.0", Number::Unsigned(0)),
            ("0e999999999999999999999", Number::Unsigned(0)),
            ("30.5", Number::Float(30.5)),
            ("30.50", Number::Float(30.5)),
            ("-30.5", Number::Float(-30.5)),
            ("0.0001", Number::Float(0.0001)),
            ("1e3", Number::Unsigned(1_000)),
            ("1.5e3", Number::Unsigned(1_500)),
            ("-1.5E+1", Number::Negative(-15)),
            ("1500e-2", Number::Unsigned(15)),
            ("9007199254740991.0", Number::Unsigned(9_007_199_254_740_991)),
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("-9223372036854775807", Number::Negative(-9_223_372_036_854_775_807)),
            ("9007199254740991.5", digits("9007199254740991.5")),
            ("99.99999999999999", digits("99.99999999999999")),
            ("99.9999999999999", Number::Float(99.999_999_999_999_9)),
            ("99.999999999999999999", digits("99.999999999999999999")),
            ("18446744073709551616", digits("18446744073709551616")),
            ("1e300", digits("1e300")),
            ("1e-300", digits("1e-300")),
            ("1e99999999999999999999", digits("1e99999999999999999999")),
        ] {
            assert_eq!(Number::read(text), Some(number), "{text}");
        }
        for text in [
            "", "-", "+1", "01", "-01", ".5", "5.", "5.e1", "1e", "1e+", "0x10", "1 ", " 1", "1_0", "NaN",
            "١", "1.5.1", "--1",
        ] {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_numbers_of_a_text_are_found_and_those_in_strings_are_not() {
        let text = br#"{"a1": [1, -2.5e+3, "3 \" 4", true], "\\": "5", "b": {"c": 6}, "false": false}"#;
        assert_eq!(Written::of(text).collect::<Vec<_>>(), ["1", "-2.5e+3", "6"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_text_is_a_number_if_and_only_if_json_says_so(text in "-?[0-9.eE+-]{1,12}") {
            let known = serde_json::from_str::<serde_json::Value>(&text);
            // It stops at a number that no double can be, whatever comes after it.
            prop_assume!(!known.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            prop_assert_eq!(Number::read(&text).is_some(), known.is_ok());
        }

        #[test]
        fn up_to_fifteen_digits_are_the_double_that_the_standard_library_reads(mantissa in 1..DIGITS, places in 0..19_usize, is_negative: bool) {
            let sign = if is_negative { "-" } else { "" };
            let digits = format!("{mantissa:020}");
            let (whole, fraction) = digits.split_at(20_usize.saturating_sub(places));
            let text = match (whole.trim_start_matches('0'), fraction) {
                (whole, "") => format!("{sign}{whole}"),
                ("", fraction) => format!("{sign}0.{fraction}"),
                (whole, fraction) => format!("{sign}{whole}.{fraction}"),
            };
            let wanted: f64 = text.parse().unwrap();
            prop_assert_eq!(Number::read(&text).and_then(|number| number.double()), Some(wanted), "{}", text);
        }
    }
}
