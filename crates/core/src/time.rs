//! Times in whole seconds, for ramps, sessions, freezes and drains.
//!
//! Nothing here reads a clock. Times have whole seconds so that proxies agree: two workers that read the clock within the
//! same second decide the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A time, in whole seconds since 1970-01-01T00:00:00Z.
///
/// As text it is RFC 3339 in UTC: `2026-11-25T09:30:00Z`. Documents and the tool read and write this one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// The text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATime;

/// The whole milliseconds of a duration, such as that since 1970. At most the largest number.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Time {
    /// The last second that RFC 3339 can write: `9999-12-31T23:59:59Z`.
    pub const LAST: Self = Self(253_402_300_799);

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
}

impl FromStr for Time {
    type Err = NotATime;

    /// Reads RFC 3339 in UTC and whole seconds. A fraction of zeros is accepted, because some tools print it.
    fn from_str(text: &str) -> Result<Self, NotATime> {
        parse(text).ok_or(NotATime)
    }
}

impl fmt::Display for Time {
    /// Writes RFC 3339 in UTC. A time after [`Time::LAST`] has no such form and is written as that second.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.min(Self::LAST.0);
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl fmt::Display for NotATime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("expected a time in UTC and whole seconds, like `2026-11-25T09:30:00Z`")
    }
}

impl std::error::Error for NotATime {}

fn parse(text: &str) -> Option<Time> {
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
    Some(Time(parts.into_iter().map(|(number, length)| number.saturating_mul(length)).sum()))
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

/// Days from 1970-01-01 to a date of the Gregorian calendar. `None` if there is no such date.
#[expect(clippy::arithmetic_side_effects, reason = "a year has four digits and is 1970 or later")]
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let lengths = month_lengths(year);
    let position = usize::try_from(month.checked_sub(1)?).ok()?;
    if year < 1970 || day == 0 || day > *lengths.get(position)? {
        return None;
    }
    Some(days_to_year(year) + lengths.iter().take(position).sum::<u64>() + day - 1)
}

/// Days from 1970 to the first day of a year.
#[expect(clippy::arithmetic_side_effects, reason = "a year has four digits and is 1970 or later")]
fn days_to_year(year: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

fn month_lengths(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Year, month and day, `days` after 1970-01-01.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days of at most 8,030 years, and no month is longer than what is left"
)]
fn date(days: u64) -> (u64, u64, u64) {
    let latest = 1970 + days / 365; // no year is shorter, so this one is right or too late
    let mut year = latest;
    while days_to_year(year) > days {
        year -= 1;
    }
    let mut day = days - days_to_year(year);
    let mut month = 1;
    for length in month_lengths(year) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for seconds in [0, 951_868_799, 951_868_800, 1_735_603_200, 1_795_599_000, 4_107_542_400] {
            let time = Time::from_seconds(seconds);
            assert_eq!(time.to_string().parse(), Ok(time), "{time}");
        }
        assert_eq!(Time::from_seconds(1_795_599_000).to_string(), "2026-11-25T09:30:00Z");
        assert_eq!(Time::from_seconds(951_868_799).to_string(), "2000-02-29T23:59:59Z");
        assert_eq!(Time::LAST.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Time::from_seconds(u64::MAX).to_string(), "9999-12-31T23:59:59Z", "later has no form");
    }

    #[test]
    fn the_edges_of_every_year_are_written_as_they_are_read() {
        for year in 1970..=9999 {
            for day in ["01-01", "02-28", "03-01", "12-31"] {
                let text = format!("{year}-{day}T23:59:59Z");
                let time: Time = text.parse().unwrap();
                assert_eq!(time.to_string(), text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_second_until_the_last_is_written_as_it_is_read(seconds in 0..=Time::LAST.seconds()) {
            let time = Time::from_seconds(seconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

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
            assert_eq!(text.parse().ok().map(Time::seconds), seconds, "{text}");
        }
    }
}
