//! Sets of hash buckets: which have counted in a slot, and which have counted last.

use super::codec::{Reader, Writer};

/// Units are hashed into so many buckets.
pub(super) const HASH_BUCKETS: u16 = 1_024;

/// A bucket that is not among the last so many is at most one in twenty.
const LAST: usize = 19;

/// A set of hash buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits(pub(super) [u64; 16]);

/// The last 19 buckets of some kind, all different.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Last(Vec<u16>);

impl Last {
    /// Takes the bucket in, unless it is in.
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
        self.0.iter_mut().skip(usize::from(bucket >> 6)).take(1).for_each(|word| *word |= 1 << (bucket & 63));
    }

    pub(super) fn and(self, other: Self) -> Self {
        let mut both = self;
        both.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        both
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// True if the bucket counts: neither in this slot yet nor among the last.
pub(super) fn admit(slot: &mut Bits, last: &mut Last, bucket: u16) -> bool {
    let counts = !slot.has(bucket) && last.take(bucket);
    if counts {
        slot.set(bucket);
    }
    counts
}

impl Last {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.bytes(&self.0.iter().flat_map(|bucket| bucket.to_le_bytes()).collect::<Vec<u8>>());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (buckets, rest) = reader.bytes()?.as_chunks();
        let fits = rest.is_empty() && buckets.len() <= LAST;
        fits.then(|| Self(buckets.iter().map(|bucket| u16::from_le_bytes(*bucket)).collect()))
    }
}
