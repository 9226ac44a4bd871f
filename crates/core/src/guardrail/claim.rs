//! Claims: in a comparison, the first request that starts in a second counts for its hash bucket, in the whole proxy.
//!
//! Workers publish the claims of requests that have started with their next merge, whether or not those requests have ended. The
//! first one published wins, so it can't matter how a request ends.

use std::cell::Cell;
use std::rc::Rc;

use super::codec::{Reader, Writer};
use super::spacing::Bits;
use super::tally::Side;
use crate::plan::guardrails::bit;

/// Seconds for which claims are known. A claim that comes later is lost.
const SECONDS: usize = 3;

/// A claim from further back shows that the clock was set back.
const MOST_BACK: u64 = 60;

/// A claim of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) side: Side,
    pub(crate) bucket: u16,
    pub(crate) second: u64,
}

/// A claim that is not published yet, and what its request learns from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) claim: Claim,
    pub(crate) fate: Fate,
}

/// The guarded versions, by position, for which the claim of a request was lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fate(Rc<Cell<u16>>);

impl Fate {
    pub(crate) fn lose(&self, position: usize) {
        self.0.set(self.0.get() | bit(position));
    }

    pub(crate) fn is_lost(&self, position: usize) -> bool {
        self.0.get() & bit(position) != 0
    }
}

/// The claims of the last seconds, of all workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Claimed {
    newest: u64,
    /// By seconds since, then the version's buckets and those of stable.
    seconds: [[Bits; 2]; SECONDS],
}

impl Claimed {
    /// True if this claim is the first one.
    pub(crate) fn take(&mut self, claim: Claim) -> bool {
        let Claim { side, bucket, second } = claim;
        let passed = second.saturating_sub(self.newest);
        for _ in 0..passed.min(SECONDS as u64) {
            self.seconds.rotate_right(1);
            if let Some(first) = self.seconds.first_mut() {
                *first = Default::default();
            }
        }
        // After a clock was set back, claims are lost until it has caught up, or until it starts again.
        if self.newest.saturating_sub(second) > MOST_BACK {
            *self = Self { newest: second, ..Self::default() };
        }
        self.newest = self.newest.max(second);
        let place = usize::try_from(self.newest.saturating_sub(second)).ok();
        let Some([version, stable]) = place.and_then(|place| self.seconds.get_mut(place)) else {
            return false;
        };
        let bits = match side {
            Side::Version => version,
            Side::Stable => stable,
        };
        let is_first = !bits.has(bucket);
        bits.set(bucket);
        is_first
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(self.newest);
        self.seconds.iter().flatten().for_each(|bits| writer.words(&bits.0));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut read = Self { newest: reader.number()?, ..Self::default() };
        for bits in read.seconds.iter_mut().flatten() {
            *bits = Bits(reader.words()?);
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(side: Side, bucket: u16, second: u64) -> Claim {
        Claim { side, bucket, second }
    }

    #[test]
    fn a_bucket_counts_once_per_second_and_side_whichever_worker_claims_it() {
        let mut claimed = Claimed::default();
        for second in [100, 101, 102, 200] {
            for side in [Side::Version, Side::Stable] {
                assert!(claimed.take(claim(side, 7, second)));
                assert!(!claimed.take(claim(side, 7, second)), "another worker came later");
            }
        }
    }

    #[test]
    fn a_claim_that_is_published_late_counts_unless_it_is_too_late() {
        let mut claimed = Claimed::default();
        assert!(claimed.take(claim(Side::Version, 1, 102)));
        for (second, is_won) in [(101, true), (100, true), (99, false), (98, false)] {
            assert_eq!(claimed.take(claim(Side::Version, 2, second)), is_won, "{second}");
        }
    }

    #[test]
    fn claims_start_again_if_the_clock_was_set_back() {
        let mut claimed = Claimed::default();
        assert!(claimed.take(claim(Side::Version, 1, 1_000)));
        assert!(claimed.take(claim(Side::Version, 1, 900)));
        assert!(!claimed.take(claim(Side::Version, 1, 900)));
    }
}
