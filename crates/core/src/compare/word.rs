//! Eight bytes of text at a time, in one word of 64 bits: the first byte is the lowest.

const ONES: u64 = every(1);

/// The word that has the same byte eight times.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// How many bytes come before the first quote, backslash or control character.
///
/// A byte borrows from the ones above it only if it is such a byte itself, so the lowest bit that remains is right.
pub(super) fn plain_bytes(bytes: [u8; 8]) -> usize {
    let word = u64::from_le_bytes(bytes);
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let is_quote = is_zero(word ^ every(b'"'));
    let is_backslash = is_zero(word ^ every(b'\\'));
    let is_control = word.wrapping_sub(every(0x20)) & !word;
    ((is_quote | is_backslash | is_control) & every(0x80)).trailing_zeros() as usize >> 3
}

/// True if all bytes are digits.
pub(super) fn are_digits(bytes: [u8; 8]) -> bool {
    let word = u64::from_le_bytes(bytes);
    let carried = word.wrapping_add(every(6)); // above `9` the upper half changes
    (word & every(0xf0)) | ((carried & every(0xf0)) >> 4) == every(0x33)
}

/// The number that eight digits are: pairs first, then fours, then all of them.
pub(super) fn number(digits: [u8; 8]) -> u64 {
    let ones = u64::from_le_bytes(digits) & every(0x0f);
    let pairs = ones.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_plain_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = *b"01234567";
                bytes[place] = byte;
                let is_plain = !matches!(byte, b'"' | b'\\' | ..0x20);
                assert_eq!(plain_bytes(bytes), if is_plain { 8 } else { place }, "{byte} at {place}");
                assert_eq!(are_digits(bytes), byte.is_ascii_digit(), "{byte} at {place}");
            }
        }
    }

    #[test]
    fn eight_digits_are_their_number() {
        for text in ["00000000", "12345678", "99999999", "90000001", "09090909"] {
            let digits = *text.as_bytes().first_chunk().unwrap();
            assert_eq!(number(digits), text.parse::<u64>().unwrap());
        }
    }
}
