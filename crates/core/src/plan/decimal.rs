//! Decimal numbers as they are written, without rounding: `mantissa * 10^exponent`.
//!
//! Tolerances are decimals, and so are the numbers that they are applied to. A tolerance of 0.1 therefore allows 0.3 and 0.4,
//! which doubles would not.

/// Most digits of a number that [`Written::decimal`] carries: any such number fits in 64 bits.
const DIGITS: usize = 19;

/// A decimal number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decimal {
    pub(crate) mantissa: u128,
    pub(crate) exponent: i64,
}

impl Decimal {
    /// The value of a JSON number without its sign, to 19 digits. `None` if its exponent is beyond 64 bits.
    #[cfg(test)]
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        Written::read(text)?.decimal()
    }

    /// True if the value is not zero.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    /// True if this is not more than the other.
    pub(crate) fn is_at_most(self, other: Self) -> bool {
        if self.mantissa == 0 || other.mantissa == 0 {
            return self.mantissa == 0;
        }
        // What does not fit is larger than anything that does.
        if self.exponent >= other.exponent {
            self.scaled(other.exponent).is_some_and(|mantissa| mantissa <= other.mantissa)
        } else {
            other.scaled(self.exponent).is_none_or(|mantissa| self.mantissa <= mantissa)
        }
    }

    /// The mantissa for an exponent that is not larger. `None` if it does not fit.
    pub(crate) fn scaled(self, exponent: i64) -> Option<u128> {
        let places = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        10_u128.checked_pow(places)?.checked_mul(self.mantissa)
    }

    /// The product. Mantissas up to 10^19 fit.
    pub(crate) fn times(self, other: Self) -> Self {
        Self {
            mantissa: self.mantissa.saturating_mul(other.mantissa),
            exponent: self.exponent.saturating_add(other.exponent),
        }
    }
}

/// A JSON number as it is written, split into its parts.
#[derive(Clone, Copy)]
pub(crate) struct Written<'t> {
    pub(crate) is_negative: bool,
    /// From the first digit that is not zero on; a point may be among them. Empty for zero.
    digits: &'t [u8],
    /// The power of ten of the first digit. Zero for zero.
    order: i64,
}

impl<'t> Written<'t> {
    /// The parts of a text that is a JSON number. `None` if the exponent is beyond 64 bits.
    pub(crate) fn read(text: &'t [u8]) -> Option<Self> {
        let (is_negative, text) = match text {
            [b'-', text @ ..] => (true, text),
            text => (false, text),
        };
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (text, exponent) = text.split_at_checked(end)?;
        let Some(first) = text.iter().position(|byte| matches!(byte, b'1'..=b'9')) else {
            return Some(Self { is_negative: false, digits: b"", order: 0 });
        };
        let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
        let place = i64::try_from(point).ok()?.checked_sub(i64::try_from(first).ok()?)?;
        let place = if place > 0 { place.checked_sub(1)? } else { place };
        let exponent = match exponent {
            [_, exponent @ ..] => str::from_utf8(exponent).ok()?.parse().ok()?,
            [] => 0,
        };
        Some(Self { is_negative, digits: text.get(first..)?, order: place.checked_add(exponent)? })
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 't {
        self.digits.iter().filter(|byte| **byte != b'.').map(|byte| byte.saturating_sub(b'0'))
    }

    /// True if both are the same number, digit by digit.
    pub(crate) fn is(&self, other: &Self) -> bool {
        if (self.is_negative, self.order) != (other.is_negative, other.order) {
            return false;
        }
        let (mut ours, mut theirs) = (self.digits(), other.digits());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (digit, other) if digit.unwrap_or(0) != other.unwrap_or(0) => return false,
                _ => {}
            }
        }
    }

    /// The value without its sign, to 19 digits.
    pub(crate) fn decimal(&self) -> Option<Decimal> {
        let (mut mantissa, mut count) = (0_u64, 0_i64);
        for digit in self.digits().take(DIGITS) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit.into());
            count = count.wrapping_add(1);
        }
        if mantissa == 0 {
            return Some(Decimal::default());
        }
        let exponent = self.order.checked_sub(count)?.checked_add(1)?;
        Some(Decimal { mantissa: mantissa.into(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (one, other, same) in [
            ("1", "1.0", true),
            ("1", "1e0", true),
            ("1", "10e-1", true),
            ("1", "0.01E+2", true),
            ("100", "1e2", true),
            ("0", "-0.0e99999999999999999999", true),
            ("1", "-1", false),
            ("0.1", "0.10000000000000000000000000", true),
            ("0.1", "0.10000000000000000000000001", false),
            ("9007199254740993", "9007199254740992", false),
            ("9007199254740993", "9007199254740993.0", true),
            ("123456789012345678901234567890", "123456789012345678901234567891", false),
            ("1e400", "10e399", true),
            ("1e400", "1e401", false),
        ] {
            let read = |text: &'static str| Written::read(text.as_bytes()).unwrap();
            assert_eq!(read(one).is(&read(other)), same, "{one} and {other}");
            assert_eq!(read(other).is(&read(one)), same, "{other} and {one}");
        }
        assert!(Written::read(b"1e99999999999999999999").is_none());
    }

    #[test]
    fn decimals_are_ordered_without_rounding() {
        for (less, more) in [
            ("0", "0"),
            ("0", "1e-400"),
            ("0.1", "0.1"),
            ("0.1", "0.1000000000000000001"),
            ("9999999999999999999", "1e19"),
            ("1e-400", "1e400"),
            ("0.001", "1e-3"),
        ] {
            let read = |text: &'static str| Decimal::read(text.as_bytes()).unwrap();
            assert!(read(less).is_at_most(read(more)), "{less} and {more}");
            let same = Written::read(less.as_bytes()).unwrap().is(&Written::read(more.as_bytes()).unwrap());
            assert_eq!(read(more).is_at_most(read(less)), same, "{more} and {less}");
        }
    }
}
