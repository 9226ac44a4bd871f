//! MurmurHash3, x86_32, of two texts as if they were one: a salt and a unit, joined without a copy.
//!
//! The `murmur3` package hashes, and this file only gives it the bytes. The package reads four bytes at a time, so the
//! reader here returns whole words, also across the end of the first text, and a shorter piece only at the end.

use std::io::{Read, Result};
use std::mem;
use std::slice;

use ::murmur3::murmur3_32;

/// The hash of the first text followed by the second.
pub(crate) fn murmur3(seed: u32, first: &[u8], second: &[u8]) -> u32 {
    let (words, rest) = first.as_chunks();
    let waiting = rest.iter().rev().fold(0, |higher, byte| higher << 8 | u64::from(*byte));
    let bits = u8::BITS.wrapping_mul(rest.len() as u32); // at most three bytes
    let mut joined = Joined { words: words.iter(), second, waiting, bits };
    // `Joined` never fails. If it did, the unit would fall into the last bucket, which gets a treatment last.
    murmur3_32(&mut joined, seed).unwrap_or(u32::MAX)
}

/// A reader of two texts.
struct Joined<'t> {
    /// The whole words of the first text.
    words: slice::Iter<'t, [u8; 4]>,
    /// What is left of the second text.
    second: &'t [u8],
    /// Bytes that do not make a word yet, the first one lowest. Fewer than four between two reads, except at the end.
    waiting: u64,
    /// Number of bits of those bytes.
    bits: u32,
}

impl Read for Joined<'_> {
    /// Reads one word, or what is left at the end.
    ///
    /// A buffer smaller than a word gets nothing: the package passes one only after a short read, so at the end. The
    /// compiler then sees that a word takes one read and inlines the reader into the package's loop, which makes it three
    /// times as fast.
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(buffer) = buffer.first_chunk_mut() else { return Ok(0) };
        if let Some(word) = self.words.next() {
            *buffer = *word;
            return Ok(4);
        }
        if let Some((word, rest)) = self.second.split_first_chunk() {
            let joined = self.waiting | u64::from(u32::from_le_bytes(*word)).wrapping_shl(self.bits);
            *buffer = (joined as u32).to_le_bytes();
            self.waiting = joined >> 32;
            self.second = rest;
            return Ok(4);
        }
        for byte in mem::take(&mut self.second) {
            self.waiting |= u64::from(*byte).wrapping_shl(self.bits);
            self.bits = self.bits.wrapping_add(8);
        }
        let bits = self.bits.min(32);
        *buffer = (self.waiting as u32).to_le_bytes();
        self.waiting >>= 32;
        self.bits = self.bits.wrapping_sub(bits);
        Ok(bits as usize / 8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MurmurHash3_x86_32 as in Austin Appleby's public-domain `MurmurHash3.cpp` (aappleby/smhasher), independent of the package.
    fn reference(bytes: &[u8], seed: u32) -> u32 {
        let scrambled = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        let (words, rest) = bytes.as_chunks();
        let mut hash = words.iter().fold(seed, |hash, word| {
            (hash ^ scrambled(u32::from_le_bytes(*word)))
                .rotate_left(13)
                .wrapping_mul(5)
                .wrapping_add(0xe654_6b64)
        });
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= scrambled(u32::from_le_bytes(last)) ^ bytes.len() as u32;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }

    #[test]
    fn the_published_values_hold_wherever_the_text_is_divided() {
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
            assert_eq!(reference(bytes, seed), hash, "{bytes:x?}");
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(murmur3(seed, first, second), hash, "{bytes:x?} cut at {cut}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_two_texts_hash_as_one_does_in_an_independent_implementation(
            first in prop::collection::vec(any::<u8>(), 0..40),
            second in prop::collection::vec(any::<u8>(), 0..40),
            seed in any::<u32>(),
        ) {
            let joined = [first.as_slice(), &second].concat();
            prop_assert_eq!(murmur3(seed, &first, &second), reference(&joined, seed));
        }
    }
}
