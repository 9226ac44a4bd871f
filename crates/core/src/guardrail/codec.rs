//! The bytes of a guardrail's state in shared data: varints, floats and fixed words, one after another, without names.
//!
//! All plugins of a proxy share one namespace, so the bytes may be anything. A reader checks every length against the bytes
//! that are left and allocates nothing itself. Bytes that do not fit are read as `None`. There is no version field: the key
//! names the format.

/// Writes a state.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

/// Reads a state. Each method returns `None` if the bytes are not what it expects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b>(&'b [u8]);

/// Most bytes of a varint of 64 bits.
const LONGEST: usize = 10;

impl Writer {
    /// Writes an unsigned number as LEB128: seven bits per byte, lowest first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Writes a float with all its bits.
    pub(crate) fn float(&mut self, float: f64) {
        self.0.extend(float.to_le_bytes());
    }

    /// Writes the length of these bytes, then the bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// Writes words. The reader must know how many.
    pub(crate) fn words(&mut self, words: &[u64]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// The bytes written so far.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next number. `None` if it has more than 64 bits.
    pub(crate) fn number(&mut self) -> Option<u64> {
        // Most numbers are small.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some((*byte).into());
        }
        let length = self.0.iter().take(LONGEST).position(|byte| byte & 0x80 == 0)?.saturating_add(1);
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let number = bytes.iter().rev().fold(0_u128, |read, byte| read << 7 | u128::from(byte & 0x7f));
        number.try_into().ok()
    }

    /// The next number, if the narrower type holds it.
    pub(crate) fn narrow<T: TryFrom<u64>>(&mut self) -> Option<T> {
        self.number()?.try_into().ok()
    }

    /// The next float. It may be any float, also NaN.
    pub(crate) fn float(&mut self) -> Option<f64> {
        self.chunk().map(f64::from_le_bytes)
    }

    /// The next float, if it is a size: finite and not negative.
    pub(crate) fn size(&mut self) -> Option<f64> {
        self.float().filter(|float| float.is_finite() && *float >= 0.0)
    }

    /// The next bytes that were written with their length.
    pub(crate) fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.narrow()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next words.
    pub(crate) fn words<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.chunk().map(u64::from_le_bytes)?;
        }
        Some(words)
    }

    /// True once everything has been read.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn chunk(&mut self) -> Option<[u8; 8]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(number: u64, float: f64, bytes: Vec<u8>, words: [u64; 3]) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.float(float);
            writer.bytes(&bytes);
            writer.words(&words);
            let written = writer.finish();
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.float().map(f64::to_bits), Some(float.to_bits()));
            prop_assert_eq!(reader.bytes(), Some(&*bytes));
            prop_assert_eq!(reader.words(), Some(words));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn bytes_that_are_cut_or_foreign_are_none_and_never_a_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.number().is_some() && reader.bytes().is_some() && reader.words::<2>().is_some() {}
            let _ = (reader.float(), reader.size(), reader.narrow::<u8>());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_none() {
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(Reader::new(&longest).number(), Some(u64::MAX));
        longest[9] = 2;
        assert_eq!(Reader::new(&longest).number(), None);
        assert_eq!(Reader::new(&[0xff; 11]).number(), None);
        assert_eq!(Reader::new(&[]).number(), None);
    }
}
