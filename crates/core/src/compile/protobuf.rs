//! Parses a `google.protobuf.Struct` as Envoy gives it to a plugin: in its wire form, not as JSON text.
//!
//! It reads only what a Struct consists of (protobuf's `struct.proto`): a map of names to values, where a value is null, a
//! double, a string, a boolean, a struct or a list. Anything else is not a document.

use super::json::{MAX_FIELDS, Node};
use super::number::Number;

/// Deepest nesting, the same as for JSON text. The limit protects the stack.
const MAX_DEPTH: usize = 128;

/// The object that a serialised Struct stands for. `None` if the bytes are not a Struct.
pub(crate) fn parse_struct(bytes: &[u8]) -> Option<Node> {
    object(bytes, MAX_DEPTH)
}

/// `message Struct { map<string, Value> fields = 1; }`
fn object(bytes: &[u8], depth: usize) -> Option<Node> {
    let depth = depth.checked_sub(1)?;
    let mut entries = Vec::new();
    for field in Message(bytes) {
        let Field { number: 1, value: Wire::Bytes(entry) } = field? else { return None };
        entries.push(self::entry(entry, depth)?);
        if entries.len() > MAX_FIELDS {
            return None;
        }
    }
    Some(Node::Object(entries))
}

/// An entry of a map: the key in field 1, the value in field 2. Either is left out if it is the default.
fn entry(bytes: &[u8], depth: usize) -> Option<(String, Node)> {
    let (mut key, mut node) = (String::new(), Node::Null);
    for field in Message(bytes) {
        match field? {
            Field { number: 1, value: Wire::Bytes(text) } => key = String::from_utf8(text.to_vec()).ok()?,
            Field { number: 2, value: Wire::Bytes(bytes) } => node = value(bytes, depth)?,
            _ => return None,
        }
    }
    Some((key, node))
}

/// `message Value`: one of six kinds. The last one in the bytes counts.
fn value(bytes: &[u8], depth: usize) -> Option<Node> {
    let mut node = Node::Null;
    for field in Message(bytes) {
        let Field { number, value } = field?;
        node = match (number, value) {
            (1, Wire::Varint(_)) => Node::Null,
            (2, Wire::Fixed64(bits)) => Node::Number(Number::Float(f64::from_bits(bits))),
            (3, Wire::Bytes(text)) => Node::text_of_struct(String::from_utf8(text.to_vec()).ok()?),
            (4, Wire::Varint(bit)) => Node::Bool(bit != 0),
            (5, Wire::Bytes(bytes)) => object(bytes, depth)?,
            (6, Wire::Bytes(bytes)) => list(bytes, depth)?,
            _ => return None,
        };
    }
    Some(node)
}

/// `message ListValue { repeated Value values = 1; }`
fn list(bytes: &[u8], depth: usize) -> Option<Node> {
    let depth = depth.checked_sub(1)?;
    let mut items = Vec::new();
    for field in Message(bytes) {
        let Field { number: 1, value: Wire::Bytes(item) } = field? else { return None };
        items.push(value(item, depth)?);
    }
    Some(Node::Array(items))
}

/// One field of a message.
struct Field<'a> {
    number: u64,
    value: Wire<'a>,
}

/// The wire types that a Struct uses.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message. A broken field is `None`, and what follows it has no meaning.
struct Message<'a>(&'a [u8]);

impl<'a> Iterator for Message<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
    }
}

impl<'a> Message<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let (bits, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Wire::Fixed64(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        Some(Field { number: tag >> 3, value })
    }

    /// A varint: seven bits per byte, lowest first, at most ten bytes.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64_u32).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with a length: its tag, its length below 128, its bytes.
    fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn entry_of(key: &str, value: &[u8]) -> Vec<u8> {
        delimited(1, &[delimited(1, key.as_bytes()), delimited(2, value)].concat())
    }

    #[test]
    fn a_struct_is_read_like_the_json_that_it_stands_for() {
        let number = [&[2 << 3 | 1][..], &5.5_f64.to_le_bytes()].concat();
        let nested = delimited(5, &entry_of("text", &delimited(3, b"a")));
        let list = delimited(
            6,
            &[delimited(1, &number), delimited(1, &[4 << 3, 1]), delimited(1, &[1 << 3, 0])].concat(),
        );
        let bytes =
            [entry_of("number", &number), entry_of("nested", &nested), entry_of("list", &list)].concat();
        let json = br#"{"number": 5.5, "nested": {"text": "a"}, "list": [5.5, true, null]}"#;
        assert_eq!(parse_struct(&bytes), Node::parse(json).ok());
        assert_eq!(parse_struct(b""), Some(Node::Object(Vec::new())));
    }

    #[test]
    fn bytes_that_are_not_a_struct_are_rejected_at_any_cut() {
        let whole = entry_of("key", &delimited(3, b"text"));
        for cut in 1..whole.len() {
            assert_eq!(parse_struct(&whole[..cut]), None, "cut at {cut}");
        }
        let mut deep = Vec::new();
        for _ in 0..10 {
            deep = entry_of("k", &delimited(5, &deep));
        }
        assert!(parse_struct(&deep).is_some());
        assert_eq!(object(&deep, 5), None);
        assert_eq!(parse_struct(b"{\"revision\": 1}"), None);
    }
}
