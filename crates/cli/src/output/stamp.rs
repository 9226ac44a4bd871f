//! Moments as people and programs read them: RFC 3339 in UTC, whole seconds. The way back is `args::time`.

use std::fmt;
use std::time::{Duration, SystemTime};

use rollout_core::Time;
use serde::{Serialize, Serializer};

/// A moment to be written. RFC 3339 ends with the year 9999: a later moment is shown as the last second of that year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) Time);

impl Stamp {
    /// The last second that RFC 3339 can write.
    pub(crate) const LAST: Time = Time::from_seconds(253_402_300_799);
}

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_1970 = Duration::from_secs(self.0.min(Self::LAST).seconds());
        let time = SystemTime::UNIX_EPOCH.checked_add(since_1970).unwrap_or(SystemTime::UNIX_EPOCH);
        humantime::format_rfc3339_seconds(time).fmt(formatter)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_can_be_written() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_599_000, "2026-11-25T09:30:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Stamp(Time::from_seconds(seconds)).to_string(), text);
        }
    }
}
