//! Strings as they are meant: two strings are equal if their characters are, however they are escaped.

use std::borrow::Cow;

/// True if both strings, as they are written between quotes, have the same characters.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || ((is_escaped(one) || is_escaped(other)) && decoded(one) == decoded(other))
}

fn is_escaped(written: &[u8]) -> bool {
    written.contains(&b'\\')
}

/// The bytes that a string stands for. Half of a surrogate pair without the other becomes three bytes that are not UTF-8.
pub(super) fn decoded(written: &[u8]) -> Cow<'_, [u8]> {
    if !is_escaped(written) {
        return Cow::Borrowed(written);
    }
    let mut out = Vec::with_capacity(written.len());
    let mut rest = written;
    loop {
        rest = match rest {
            [] => return Cow::Owned(out),
            [b'\\', b'u', after @ ..] => {
                let (unit, after) = code_unit(after);
                let low = match after {
                    [b'\\', b'u', digits @ ..] if (0xd800..0xdc00).contains(&unit) => Some(code_unit(digits)),
                    _ => None,
                };
                match low.filter(|(low, _)| (0xdc00..0xe000).contains(low)) {
                    Some((low, after)) => {
                        push(((unit & 0x3ff) << 10 | low & 0x3ff).wrapping_add(0x1_0000), &mut out);
                        after
                    }
                    None => {
                        push(unit, &mut out);
                        after
                    }
                }
            }
            [b'\\', escaped, after @ ..] => {
                out.push(match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    byte => *byte,
                });
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        }
    }
}

/// The number of four hexadecimal digits.
fn code_unit(digits: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = digits.split_at_checked(4).unwrap_or((digits, b""));
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0);
    (digits.iter().fold(0, |unit, digit| unit << 4 | value(digit)), rest)
}

/// Appends a code point, also that of half a surrogate pair.
fn push(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(symbol) => out.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend([
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]),
    }
}
