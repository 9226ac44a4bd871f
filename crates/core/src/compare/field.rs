//! The fields in which a shadow's answers differ, as far as they have a series of their own.
//!
//! Envoy never removes a series, so a shadow has room for a fixed number of fields, which all workers share. Answers decide what they
//! are called, so the rest is `other`.

use crate::metric::OTHER;

/// Most fields of a shadow.
const MOST: usize = 32;

/// Fields in the order in which they were first seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<String>);

/// Where a field is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It has a series.
    Known,
    /// There is room for it.
    Free,
    /// There is no room any more.
    None,
}

impl Fields {
    /// Reads what [`Fields::encode`] wrote. What is beyond the limit, or not text, is left out.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let texts = lines.filter_map(|line| String::from_utf8(line.to_vec()).ok());
        Self(texts.take(MOST).collect())
    }

    /// The bytes for shared data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.join("\n").into_bytes()
    }

    /// Where a field with this label is counted.
    #[must_use]
    pub fn room(&self, label: &str) -> Room {
        if label == OTHER || self.0.iter().any(|known| known == label) {
            Room::Known
        } else if self.0.len() < MOST {
            Room::Free
        } else {
            Room::None
        }
    }

    /// Adds a field, if there is room.
    pub fn add(&mut self, label: &str) {
        if self.room(label) == Room::Free {
            self.0.push(label.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_has_room_for_a_fixed_number_of_fields() {
        let mut fields = Fields::default();
        for number in 0..40 {
            fields.add(&format!("/outputs/{number}"));
        }
        assert_eq!(fields.room("/outputs/31"), Room::Known);
        assert_eq!(fields.room("/outputs/32"), Room::None);
        assert_eq!(fields.room(OTHER), Room::Known);
        assert_eq!(Fields::decode(&fields.encode()), fields);
        assert_eq!(Fields::default().room("/outputs/32"), Room::Free);
        assert_eq!(Fields::decode(b""), Fields::default());
    }
}
