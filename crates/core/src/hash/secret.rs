//! The secret of an override. Only its SHA-256 is kept, so neither a memory dump nor a debug print of the plan shows it.
//!
//! Comparing digests takes the same time wherever the first difference is, and hides the length of the secret too.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn of(text: &str) -> Self {
        Self(digest(text.as_bytes()))
    }

    /// The secret with this digest. `None` if `hex` is not 64 hexadecimal digits.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> =
            hex.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        let mut bytes = [0; 32];
        let digits = digits.filter(|digits| digits.len() == 64)?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |high, low| high << 4 | low);
        }
        Some(Self(bytes))
    }

    pub(crate) fn opens_with(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(&digest(presented)).into()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_with_itself() {
        let hex = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"; // sha256sum of s3cret
        assert_eq!(Secret::from_hex(hex), Some(Secret::of("s3cret")));
        assert!(Secret::of("s3cret").opens_with(b"s3cret"));
        for wrong in ["", "s3cre", "s3cret ", "S3cret", hex] {
            assert!(!Secret::of("s3cret").opens_with(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(Secret::from_hex("4e73"), None);
        assert_eq!(Secret::from_hex(&"g".repeat(64)), None);
    }
}
