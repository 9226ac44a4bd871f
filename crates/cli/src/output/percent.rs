//! Shares as people and programs read them: percent with four decimals, computed from whole parts per million.

use std::fmt;

use rollout_core::Ppm;
use serde::{Serialize, Serializer};

/// A share in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percent(u32);

impl Percent {
    /// The share of `part` in `whole`, rounded to the nearest part per million; zero if `whole` is zero.
    pub(crate) fn of(part: u64, whole: u64) -> Self {
        let scaled = part.saturating_mul(1_000_000).saturating_add(whole >> 1);
        let parts = scaled.checked_div(whole).unwrap_or(0);
        Self(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    /// The least and the most of an interval of shares, rounded outwards.
    pub(crate) fn around(low: f64, high: f64) -> [Self; 2] {
        let parts =
            |share: f64, round: fn(f64) -> f64| round((share * 1_000_000.0).clamp(0.0, 1_000_000.0)) as u32;
        [Self(parts(low, f64::floor)), Self(parts(high, f64::ceil))]
    }
}

impl From<Ppm> for Percent {
    fn from(share: Ppm) -> Self {
        Self(share.get())
    }
}

impl From<Percent> for f64 {
    fn from(share: Percent) -> Self {
        Self::from(share.0) / 10_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.4} %", f64::from(*self))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_four_decimals() {
        for (part, whole, text) in [
            (1, 3, "33.3333 %"),
            (2, 3, "66.6667 %"),
            (0, 7, "0.0000 %"),
            (7, 7, "100.0000 %"),
            (1, 0, "0.0000 %"),
        ] {
            assert_eq!(Percent::of(part, whole).to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Percent::of(1, 3)).unwrap(), "33.3333");
    }
}
