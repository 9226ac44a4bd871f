//! MurmurHash3, x86_32, fed piece by piece, so that a salt is hashed once when a document is compiled and a request adds its unit.
//!
//! Ours because it is what every request waits for: a third of the time of reading through `std::io::Read`. The `murmur3` crate
//! holds it in place in the tests. Source: Austin Appleby's public-domain `MurmurHash3.cpp` (aappleby/smhasher).

/// The hash of what has been fed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Murmur3 {
    state: u32,
    length: u32,
    /// Bytes that wait for a whole word, the first one lowest.
    waiting: u64,
    /// Eight for each of them.
    bits: u32,
}

impl Murmur3 {
    pub(crate) fn seeded(seed: u32) -> Self {
        Self { state: seed, length: 0, waiting: 0, bits: 0 }
    }

    /// The hash of what was fed before, followed by these bytes.
    #[inline]
    pub(crate) fn feed(mut self, bytes: &[u8]) -> Self {
        self.length = self.length.wrapping_add(bytes.len() as u32); // the algorithm counts in 32 bits
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.waiting |= u64::from(u32::from_le_bytes(*word)).wrapping_shl(self.bits);
            self.mix();
        }
        for byte in rest {
            self.waiting |= u64::from(*byte).wrapping_shl(self.bits);
            self.bits = self.bits.wrapping_add(8);
            if self.bits == 32 {
                self.mix();
                self.bits = 0;
            }
        }
        self
    }

    #[inline]
    pub(crate) fn finish(self) -> u32 {
        let mut hash = self.state ^ scrambled(self.waiting as u32) ^ self.length; // no bytes scramble to nothing
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }

    #[inline]
    fn mix(&mut self) {
        let mixed = (self.state ^ scrambled(self.waiting as u32)).rotate_left(13);
        self.state = mixed.wrapping_mul(5).wrapping_add(0xe654_6b64);
        self.waiting >>= 32;
    }
}

#[inline]
fn scrambled(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reference_values_hold() {
        for (bytes, seed, hash) in [
            (b"".as_slice(), 0, 0),
            (b"", 1, 0x514e_28b7),
            (b"", u32::MAX, 0x81f1_6f39),
            (b"a", 0, 0x3c25_69b2),
            (b"abc", 0, 0xb3dd_93fa),
            (b"hello", 0, 0x248b_fa47),
            (b"hello, world", 0, 0x149b_bb7f),
            (b"test", 0x9747_b28c, 0x704b_81dc),
            (b"Hello, world!", 0x9747_b28c, 0x2488_4cba),
            (&[0xff; 4], 0, 0x7629_3b50),
            (&[0x21, 0x43, 0x65, 0x87], 0, 0xf55b_516b),
        ] {
            assert_eq!(Murmur3::seeded(seed).feed(bytes).finish(), hash, "{bytes:x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_cut_anywhere_hash_as_in_an_independent_implementation(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            cuts in prop::array::uniform2(any::<prop::sample::Index>()),
            seed in any::<u32>(),
        ) {
            let [first, second] = cuts;
            let (head, rest) = bytes.split_at(first.index(bytes.len().saturating_add(1)));
            let (middle, tail) = rest.split_at(second.index(rest.len().saturating_add(1)));
            let ours = Murmur3::seeded(seed).feed(head).feed(middle).feed(tail).finish();
            prop_assert_eq!(ours, murmur3::murmur3_32(&mut bytes.as_slice(), seed).unwrap());
        }
    }
}
