//! Moments in the JSON that the tool prints: the same text that a document takes.

use std::fmt;

use rollout_core::Time;
use serde::{Serialize, Serializer};

/// A moment to be written. RFC 3339 ends with the year 9999: a later moment is shown as the last second of that year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) Time);

impl fmt::Display for Stamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
