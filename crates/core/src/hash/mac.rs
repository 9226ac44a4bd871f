//! Keyed hashes: tags that a client can neither guess nor forge without the secret.
//!
//! SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012) is a pseudo-random function for short inputs. It
//! costs as much as a few murmur3 hashes and adds almost nothing to the module. Its key is the first half of the secret's
//! SHA-256.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

use crate::hash::secret::digest;

/// A key made from a secret. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; 16]);

/// A keyed hash, written as 32 hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) struct Tag(u128);

impl Key {
    pub(crate) fn of(secret: &str) -> Self {
        let mut key = [0; 16];
        key.iter_mut().zip(digest(secret.as_bytes())).for_each(|(ours, byte)| *ours = byte);
        Self(key)
    }

    /// The tag of these parts in this order. Their lengths are hashed too, so another division of the same bytes has another tag.
    pub(crate) fn tag<const N: usize>(&self, parts: [&[u8]; N]) -> Tag {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        let lengths = parts.map(|part| (part.len() as u64).to_le_bytes()); // `usize` is shorter in the proxy than in the tool
        hasher.write(lengths.as_flattened());
        parts.iter().for_each(|part| hasher.write(part));
        Tag(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

impl Tag {
    /// True if the text is this tag. The comparison takes the same time wherever the first difference is.
    pub(crate) fn is_written(self, text: &[u8]) -> bool {
        let (halves, rest) = text.as_chunks::<16>();
        let [high, low] = halves else { return false };
        // A text that is not a number says nothing about ours, so this may end early.
        let (Some(high), Some(low)) = (number(high), number(low)) else { return false };
        let read = u128::from(high) << 64 | u128::from(low);
        rest.is_empty() && read.to_le_bytes().ct_eq(&self.0.to_le_bytes()).into()
    }
}

/// The number that sixteen hexadecimal digits stand for. `None` if a digit is not in lower case.
fn number(digits: &[u8; 16]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |read, digit| {
        let value = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        Some(read << 4 | u64::from(value))
    })
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_the_secret_and_on_every_part() {
        let key = Key::of("sixteen bytes at least");
        let tag = key.tag([b"ab", b"c"]);
        assert!(tag.is_written(tag.to_string().as_bytes()));
        let others = [
            key.tag([b"a", b"bc"]),
            key.tag([b"abc"]),
            key.tag([b"ab", b"c", b""]),
            Key::of("another").tag([b"ab", b"c"]),
        ];
        for other in others {
            assert!(!tag.is_written(other.to_string().as_bytes()));
        }
    }

    #[test]
    fn only_the_exact_text_of_a_tag_counts() {
        let tag = Key::of("sixteen bytes at least").tag([b"text"]);
        let text = tag.to_string();
        let wrong = [
            "",
            text.split_at(1).1,
            &format!("0{text}"),
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!(" {text}"),
        ];
        for wrong in wrong {
            assert!(!tag.is_written(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn the_hash_is_siphash_2_4_with_128_bits() {
        // The first vector of the reference implementation (veorq/SipHash, vectors.h): no input, key 00 01 .. 0f.
        let key: Vec<u8> = (0..16).collect();
        let hasher = SipHasher24::new_with_key(&key.try_into().unwrap());
        assert_eq!(
            hasher.finish128().as_bytes(),
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]
        );
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", Key::of("sixteen bytes at least")), "Key(..)");
    }
}
