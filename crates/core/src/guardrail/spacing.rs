//! Sets of hash buckets: those that counted in a slot, those that counted last, and the first few.
//!
//! They keep one client from having too much weight; `evidence`, `share` and `streak` state the rules.

use super::codec::{Reader, Writer};
use super::tally::Side;

/// Number of buckets that units are hashed into.
pub(super) const HASH_BUCKETS: u16 = 1_024;

/// Number of other buckets that must count before a bucket counts again, so that a bucket has at most one in twenty outcomes.
const LAST: usize = 19;

/// The bucket of a unit's 32-bit hash.
pub(super) fn hash_bucket(hash: u32) -> u16 {
    hash as u16 & (HASH_BUCKETS - 1) // a power of two
}

/// All requests without a unit are one bucket.
pub(super) const NO_UNIT: u16 = HASH_BUCKETS;

/// The first four different buckets of some kind. More make no difference to any rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Few(Vec<u16>);

impl Few {
    /// As many as make a difference.
    const MOST: usize = 4;

    pub(super) fn add(&mut self, bucket: u16) {
        if self.0.len() < Self::MOST && !self.0.contains(&bucket) {
            self.0.push(bucket);
        }
    }

    pub(super) fn extend(&mut self, others: &Self) {
        others.0.iter().for_each(|bucket| self.add(*bucket));
    }

    /// The number of buckets, at most four.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// True if there are four buckets, or as many as among `all`.
    pub(super) fn are_enough(&self, all: &Self) -> bool {
        self.0.len() >= all.0.len().min(Self::MOST)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        encode_buckets(&self.0, writer);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        decode_buckets(reader, Self::MOST).map(Self)
    }
}

fn encode_buckets(buckets: &[u16], writer: &mut Writer) {
    writer.bytes(&buckets.iter().flat_map(|bucket| bucket.to_le_bytes()).collect::<Vec<u8>>());
}

fn decode_buckets(reader: &mut Reader<'_>, most: usize) -> Option<Vec<u16>> {
    let (buckets, rest) = reader.bytes()?.as_chunks();
    let fits = rest.is_empty() && buckets.len() <= most;
    fits.then(|| buckets.iter().map(|bucket| u16::from_le_bytes(*bucket)).collect())
}

/// A set of hash buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits(pub(super) [u64; 16]);

/// The last 19 buckets of some kind, all different.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Last(Vec<u16>);

impl Last {
    /// Adds the bucket. False if it was there.
    pub(super) fn take(&mut self, bucket: u16) -> bool {
        let is_new = !self.0.contains(&bucket);
        if is_new {
            self.0.insert(0, bucket);
            self.0.truncate(LAST);
        }
        is_new
    }
}

impl Bits {
    pub(super) fn has(&self, bucket: u16) -> bool {
        self.0.get(usize::from(bucket >> 6)).is_some_and(|word| word >> (bucket & 63) & 1 == 1)
    }

    pub(super) fn set(&mut self, bucket: u16) {
        if let Some(word) = self.0.get_mut(usize::from(bucket >> 6)) {
            *word |= 1 << (bucket & 63);
        }
    }
}

/// Decides which buckets of both sides may count.
///
/// A bucket counts again only after 19 others on its side. A bucket of the version also waits until stable has counted 19.
/// The reason: if requests overlap, the one that ends first keeps the other out, mostly if few clients call often, and a
/// quick success ends before a slow failure. What this costs stable, it must cost the version too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spacing {
    version: Last,
    stable: Last,
    /// Number of buckets that stable has counted since `now` began.
    counted: u64,
    /// The version's buckets since then, and those from the 19 before.
    now: Bits,
    before: Bits,
}

impl Spacing {
    /// True if the bucket counts now.
    pub(super) fn admits(&mut self, side: Side, bucket: u16) -> bool {
        let counts = match side {
            Side::Version => !self.now.has(bucket) && !self.before.has(bucket) && self.version.take(bucket),
            Side::Stable => self.stable.take(bucket),
        };
        match side {
            Side::Version if counts => self.now.set(bucket),
            Side::Stable if counts => self.tick(),
            Side::Version | Side::Stable => {}
        }
        counts
    }

    fn tick(&mut self) {
        self.counted = self.counted.saturating_add(1);
        if self.counted >= LAST as u64 {
            self.counted = 0;
            self.before = std::mem::take(&mut self.now);
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.version.encode(writer);
        self.stable.encode(writer);
        writer.number(self.counted);
        writer.words(&self.now.0);
        writer.words(&self.before.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version: Last::decode(reader)?,
            stable: Last::decode(reader)?,
            counted: reader.number()?,
            now: Bits(reader.words()?),
            before: Bits(reader.words()?),
        })
    }
}

impl Last {
    pub(super) fn encode(&self, writer: &mut Writer) {
        encode_buckets(&self.0, writer);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        decode_buckets(reader, LAST).map(Self)
    }
}
