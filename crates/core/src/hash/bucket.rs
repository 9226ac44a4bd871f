//! The hash contract, version 1: `bucket = murmur3_x86_32(salt ++ ":" ++ unit, seed 0) * 1_000_000 >> 32`.
//!
//! This file uses only integers. Other products' hashes are in `plan::scheme`. A change here would move units between versions in
//! every rollout, so it needs a new version of the contract. The vectors in `tests/vectors` pin it.

use super::murmur3::murmur3;

/// Number of buckets. It is also one whole in parts per million, so a bucket and a share can be compared directly.
pub const BUCKETS: u32 = 1_000_000;

/// The bucket of a unit: `0..BUCKETS`, or the number that another product's scheme gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket with this number in another product's scheme.
    pub(crate) fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// The bucket as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A share in parts per million, `0..=BUCKETS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ppm(u32);

impl Ppm {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One whole.
    pub const WHOLE: Self = Self(BUCKETS);

    /// A share of `parts` per million. `None` above one whole.
    #[must_use]
    pub fn new(parts: u32) -> Option<Self> {
        (parts <= BUCKETS).then_some(Self(parts))
    }

    /// The share as a number, `0..=BUCKETS`.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// True if the bucket is in the first part of the space, as large as this share.
    #[must_use]
    pub fn contains(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }

    /// The sum of two shares, at most one whole.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).min(BUCKETS))
    }
}

impl From<Ppm> for u64 {
    fn from(share: Ppm) -> Self {
        share.0.into()
    }
}

/// What makes one draw independent of another: a text, followed by the separator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Salt(Box<[u8]>);

impl Salt {
    /// The salt with this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(format!("{text}:").into_bytes().into())
    }

    /// The bucket of a unit, given as its raw bytes.
    #[must_use]
    pub fn bucket(&self, unit: &[u8]) -> Bucket {
        Bucket(scale(self.hash(unit), BUCKETS))
    }

    /// The hash that the bucket is computed from.
    pub(crate) fn hash(&self, unit: &[u8]) -> u32 {
        murmur3(0, &self.0, unit)
    }
}

/// Multiply and shift: spreads a hash over `0..size` without the bias of a remainder.
pub(crate) fn scale(hash: u32, size: u32) -> u32 {
    let scaled = u64::from(hash).wrapping_mul(u64::from(size)) >> 32; // the product of two 32-bit numbers fits
    scaled as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_units_fall_into_the_published_buckets() {
        let salt = Salt::new("fraud-2026-11");
        let buckets: Vec<u32> = ["alice", "bob", "user-123", "użytkownik-7"]
            .iter()
            .map(|unit| salt.bucket(unit.as_bytes()).get())
            .collect();
        assert_eq!(buckets, [330_920, 931_485, 436_583, 58_753]);
    }

    #[test]
    fn the_edge_hashes_reach_the_first_and_the_last_bucket() {
        for (unit, hash) in [
            ("ejOoVL", 0),
            ("bY9fO-", 1),
            ("SI7p-", 0x7fff_ffff),
            ("6LvT0", 0x8000_0000),
            ("ceQdGm", u32::MAX),
        ] {
            assert_eq!(murmur3(0, unit.as_bytes(), b""), hash);
        }
        let bucket = |unit: &str| Salt([].into()).bucket(unit.as_bytes()).get();
        assert_eq!(
            ["ejOoVL", "bY9fO-", "SI7p-", "6LvT0", "ceQdGm"].map(bucket),
            [0, 0, 499_999, 500_000, 999_999]
        );
    }
}
