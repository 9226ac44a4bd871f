//! Reads JSON text piece by piece, without a tree: a cursor stands before a value, a member or an item.
//!
//! It reads what RFC 8259 allows, and the numbers `NaN`, `Infinity` and `-Infinity`, which Python writes. Bytes in strings are not
//! checked to be UTF-8. It never goes back, so a text that is only skipped is read once, whatever its depth.

use super::word;

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
}

/// The rest of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t>(&'t [u8]);

impl<'t> Cursor<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self(text)
    }

    /// Number of bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    fn space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// What was read since an earlier place in the same text.
    pub(super) fn since(&self, start: Self) -> &'t [u8] {
        start.0.get(..start.0.len().saturating_sub(self.0.len())).unwrap_or_default()
    }

    /// What kind of value comes next, by its first byte.
    pub(super) fn shape(&mut self) -> Result<Shape, Invalid> {
        self.space();
        match self.0.first() {
            Some(b'"') => Ok(Shape::Text),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Shape::Number),
            Some(b'{') => Ok(Shape::Object),
            Some(b'[') => Ok(Shape::Array),
            Some(b't' | b'f') => Ok(Shape::Boolean),
            Some(b'n') => Ok(Shape::Null),
            Some(_) | None => Err(Invalid),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        self.0 = self.0.strip_prefix(word).ok_or(Invalid)?;
        Ok(())
    }

    pub(super) fn null(&mut self) -> Result<(), Invalid> {
        self.word(b"null")
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Invalid> {
        match self.0.first() {
            Some(b't') => self.word(b"true").map(|()| true),
            Some(_) | None => self.word(b"false").map(|()| false),
        }
    }

    /// A number as it is written.
    pub(super) fn number(&mut self) -> Result<&'t [u8], Invalid> {
        let start = *self;
        if let [b'-', rest @ ..] = self.0 {
            self.0 = rest;
        }
        match self.0 {
            [b'0', rest @ ..] => self.0 = rest,
            [b'1'..=b'9', ..] => self.digits()?,
            [b'I', ..] => {
                self.word(b"Infinity")?;
                return Ok(self.since(start));
            }
            _ => {
                self.word(b"NaN")?;
                let is_signed = start.0.first() == Some(&b'-');
                return if is_signed { Err(Invalid) } else { Ok(self.since(start)) };
            }
        }
        if let [b'.', rest @ ..] = self.0 {
            self.0 = rest;
            self.digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.0 {
            self.0 = match rest {
                [b'+' | b'-', rest @ ..] => rest,
                rest => rest,
            };
            self.digits()?;
        }
        Ok(self.since(start))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Invalid> {
        let [b'0'..=b'9', rest @ ..] = self.0 else { return Err(Invalid) };
        self.0 = rest;
        while let Some((_, rest)) = self.0.split_first_chunk().filter(|(bytes, _)| word::are_digits(**bytes))
        {
            self.0 = rest;
        }
        while let [b'0'..=b'9', rest @ ..] = self.0 {
            self.0 = rest;
        }
        Ok(())
    }

    /// What is between the quotes of a string, as it is written.
    pub(super) fn text(&mut self) -> Result<&'t [u8], Invalid> {
        let [b'"', rest @ ..] = self.0 else { return Err(Invalid) };
        self.0 = rest;
        let start = *self;
        loop {
            while let Some((bytes, rest)) = self.0.split_first_chunk::<8>() {
                let plain = word::plain_bytes(*bytes);
                self.0 = if plain < 8 { self.0.get(plain..).unwrap_or_default() } else { rest };
                if plain < 8 {
                    break;
                }
            }
            match self.0 {
                [b'"', rest @ ..] => {
                    let text = self.since(start);
                    self.0 = rest;
                    return Ok(text);
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => self.0 = rest,
                [b'\\', b'u', a, b, c, d, rest @ ..]
                    if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) =>
                {
                    self.0 = rest;
                }
                [b'\\', ..] | [..=0x1f, ..] | [] => return Err(Invalid),
                [_, rest @ ..] => self.0 = rest,
            }
        }
    }

    /// Enters an object or an array, which has been seen to come next.
    pub(super) fn enter(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    /// The name of the next member, as it is written; the cursor is then before its value. `None` at the end of the object.
    pub(super) fn member(&mut self, is_first: bool) -> Result<Option<&'t [u8]>, Invalid> {
        if !self.goes_on(b'}', is_first)? {
            return Ok(None);
        }
        let name = self.text()?;
        self.space();
        self.word(b":")?;
        Ok(Some(name))
    }

    /// True if the cursor is now before another item, false at the end of the array.
    pub(super) fn item(&mut self, is_first: bool) -> Result<bool, Invalid> {
        self.goes_on(b']', is_first)
    }

    fn goes_on(&mut self, end: u8, is_first: bool) -> Result<bool, Invalid> {
        self.space();
        match self.0 {
            [byte, rest @ ..] if *byte == end => {
                self.0 = rest;
                return Ok(false);
            }
            [b',', rest @ ..] if !is_first => self.0 = rest,
            [_, ..] if is_first => {}
            _ => return Err(Invalid),
        }
        self.space();
        // `[1,]` ends here too, because no value begins with a bracket that closes.
        Ok(true)
    }

    /// Reads a value of any depth and returns its text. A level costs a byte of memory and no stack.
    pub(super) fn skip(&mut self) -> Result<&'t [u8], Invalid> {
        self.space();
        let start = *self;
        let mut are_objects: Vec<bool> = Vec::new();
        loop {
            let enters = match self.shape()? {
                Shape::Object => Some(true),
                Shape::Array => Some(false),
                Shape::Text => self.text().map(|_| None)?,
                Shape::Number => self.number().map(|_| None)?,
                Shape::Boolean => self.boolean().map(|_| None)?,
                Shape::Null => self.null().map(|()| None)?,
            };
            let mut is_first = false;
            if let Some(is_object) = enters {
                self.enter();
                are_objects.push(is_object);
                is_first = true;
            }
            loop {
                let has_next = match are_objects.last() {
                    None => return Ok(self.since(start)),
                    Some(true) => self.member(is_first)?.is_some(),
                    Some(false) => self.item(is_first)?,
                };
                if has_next {
                    break;
                }
                are_objects.pop();
                is_first = false;
            }
        }
    }

    /// Nothing may follow the value of a text.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        self.space();
        if self.0.is_empty() { Ok(()) } else { Err(Invalid) }
    }
}
