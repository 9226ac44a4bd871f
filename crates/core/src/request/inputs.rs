//! What a plan reads from a request: the names of headers and cookies, each with the slot for its values.
//!
//! It is filled while a document is compiled, and only read afterwards.

/// Position of a value among those that a plan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(usize);

/// What a plan reads from a request, and which headers it believes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Inputs {
    headers: Names,
    cookies: Names,
    /// Sorted. These headers are removed from every request.
    secrets: Vec<Box<str>>,
    slots: usize,
    pub(crate) source_address: bool,
    pub(crate) trust_hop: bool,
}

/// Names with their slots, sorted by name.
#[derive(Debug, Clone, PartialEq, Default)]
struct Names(Vec<(Box<str>, Slot)>);

impl Names {
    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_bytes().cmp(name))
    }

    fn find(&self, name: &[u8]) -> Option<Slot> {
        let position = self.position(name).ok()?;
        self.0.get(position).map(|(_, slot)| *slot)
    }

    /// The slot of a name: its own, or `next` if it has none yet.
    fn enter(&mut self, name: &str, next: Slot) -> Slot {
        match self.position(name.as_bytes()) {
            Ok(position) => self.0.get(position).map_or(next, |(_, slot)| *slot),
            Err(position) => {
                self.0.insert(position, (name.into(), next));
                next
            }
        }
    }
}

impl Inputs {
    /// The slot of a header, made at first use.
    pub(crate) fn header(&mut self, name: &str) -> Slot {
        let next = self.next();
        self.headers.enter(name, next)
    }

    /// The slot of a cookie, made at first use.
    pub(crate) fn cookie(&mut self, name: &str) -> Slot {
        let next = self.next();
        self.cookies.enter(name, next)
    }

    /// The next slot. No two names share a slot, and an unused slot does no harm.
    fn next(&mut self) -> Slot {
        self.slots = self.slots.saturating_add(1);
        Slot(self.slots)
    }

    /// Adds a header that carries a secret. It is read like any other, and removed from the request.
    pub(crate) fn secret_header(&mut self, name: &str) -> Slot {
        if let Err(position) = self.secrets.binary_search_by(|known| known.as_ref().cmp(name)) {
            self.secrets.insert(position, name.into());
        }
        self.header(name)
    }

    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.secrets.binary_search_by(|known| known.as_ref().cmp(name)).is_ok()
    }

    pub(super) fn header_slot(&self, name: &str) -> Option<Slot> {
        self.headers.find(name.as_bytes())
    }

    pub(super) fn cookie_slot(&self, name: &[u8]) -> Option<Slot> {
        self.cookies.find(name)
    }

    pub(super) fn reads_cookies(&self) -> bool {
        !self.cookies.0.is_empty()
    }
}
