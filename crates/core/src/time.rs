//! Times in whole seconds, for ramps, sessions, freezes and drains.
//!
//! Nothing here reads a clock. Times have whole seconds so that proxies agree: two workers that read the clock within
//! the same second
//! decide the same.

/// A time, in whole seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The time `seconds` after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Seconds from an earlier time to this one. Zero if it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn after(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Parses RFC 3339 in UTC and whole seconds: `2026-11-25T09:30:00Z`. A fraction of zeros is allowed, because some
    /// tools print it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, clock) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
        let clock = match clock.split_once('.') {
            Some((clock, zeros)) => {
                (!zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0')).then_some(clock)?
            }
            None => clock,
        };
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let days = days_since_1970(year, month, day)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let parts = [(days, 86_400), (hour, 3_600), (minute, 60), (second, 1)];
        Some(Self(parts.into_iter().map(|(number, length)| number.saturating_mul(length)).sum()))
    }
}

/// Three numbers of fixed widths with a separator between them.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, width) in found.iter_mut().zip(widths) {
        let digits = parts.next().filter(|digits| digits.len() == width)?;
        *number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970-01-01 in the Gregorian calendar: whole years, then whole months, then days.
#[expect(clippy::arithmetic_side_effects, reason = "a year has four digits and is 1970 or later")]
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let position = usize::try_from(month.checked_sub(1)?).ok()?;
    if year < 1970 || day == 0 || day > *lengths.get(position)? {
        return None;
    }
    let before = year - 1;
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(before) - leap_days(1969);
    Some(years + lengths.iter().take(position).sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_in_utc() {
        // Seconds as `date -u -d TEXT +%s` prints them.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-25T09:30:00Z", Some(1_795_599_000)),
            ("2026-11-25t09:30:00z", Some(1_795_599_000)),
            ("2026-11-25T09:30:00.000Z", Some(1_795_599_000)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2024-12-31T00:00:00Z", Some(1_735_603_200)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2026-11-25T09:30:00.5Z", None),
            ("2026-11-25T09:30:00.Z", None),
            ("2026-11-25T09:30:00+00:00", None),
            ("2026-11-25T09:30:00", None),
            ("2026-11-25 09:30:00Z", None),
            ("2026-11-25", None),
            ("2026-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:60:00Z", None),
            ("2026-12-31T23:59:60Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("+026-01-01T00:00:00Z", None),
            ("26-1-1T0:0:0Z", None),
            ("", None),
        ] {
            assert_eq!(Time::parse(text).map(Time::seconds), seconds, "{text}");
        }
    }
}
