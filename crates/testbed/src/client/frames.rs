//! HTTP/2 written by hand: one request whose names and values may be any bytes, and the status that comes back.
//! Only for what no HTTP library would write.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

use crate::time::PATIENCE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"; // with an empty SETTINGS frame

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GOAWAY: u8 = 7;

/// Sends one request without a body as these header lines, pseudo headers included, 16 KiB at most. Returns the status
/// of the answer, or `None` when the peer resets the stream or ends the connection instead; silence for [`PATIENCE`] is
/// an error.
pub fn raw_http2(address: SocketAddr, lines: &[(&[u8], &[u8])]) -> Result<Option<u16>> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0); // a literal that is not indexed, with its name
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    assert!(block.len() < 16_384, "a longer block would need a CONTINUATION");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(PREFACE)?;
    let size = u32::try_from(block.len()).expect("just checked").to_be_bytes();
    stream.write_all(&[size[1], size[2], size[3], HEADERS, 0x05, 0, 0, 0, 1])?; // ends headers and stream
    stream.write_all(&block)?;
    loop {
        let mut head = [0; 9];
        match stream.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            Err(_) => return Ok(None),
            Ok(()) => {}
        }
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(size).expect("24 bits fit")];
        stream.read_exact(&mut payload)?;
        match head[3] {
            HEADERS => return Ok(status(&payload)),
            RESET | GOAWAY => return Ok(None),
            _ => {}
        }
    }
}

/// A string's length (RFC 7541, 5.1), without Huffman coding.
fn length(block: &mut Vec<u8>, length: usize) {
    let mut rest = match length {
        0..127 => return block.push(length as u8),
        _ => length - 127,
    };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The status at the start of a header block: a static entry, or name 8 with three digits, plain or Huffman coded.
fn status(block: &[u8]) -> Option<u16> {
    let block = match block {
        [0x20..=0x3e, rest @ ..] => rest, // a new size of the dynamic table
        _ => block,
    };
    match block {
        [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
        [0x08 | 0x18 | 0x48, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
        [0x08 | 0x18 | 0x48, coded, rest @ ..] => {
            let bytes = rest.get(..usize::from(coded & 0x7f))?;
            let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
            let mut bits = bits.as_str();
            let mut status = 0;
            for _ in 0..3 {
                let short = u16::from_str_radix(bits.get(..5)?, 2).ok()?;
                let (digit, used) = match short {
                    0..=2 => (short, 5), // RFC 7541, appendix B
                    _ => (u16::from_str_radix(bits.get(..6)?, 2).ok()?.checked_sub(0x19)? + 3, 6),
                };
                status = status * 10 + digit;
                bits = &bits[used..];
            }
            Some(status)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_codings() {
        for (block, expected) in [
            (&[0x88_u8][..], Some(200)),
            (&[0x20, 0x8c], Some(400)),
            (&[0x48, 3, b'4', b'3', b'1'], Some(431)),
            (&[0x48, 0x82, 0x64, 0x02], Some(302)), // RFC 7541, C.6.1
            (&[0x40], None),
        ] {
            assert_eq!(status(block), expected, "{block:?}");
        }
    }
}
