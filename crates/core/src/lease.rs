//! Leases on a rate: how many workers share "at most so many per second" without asking each other for each request.
//!
//! The workers share the second and how many it has given away. A worker takes several at once and uses them up in its own
//! memory. What it does not use in that second is lost, so the rate is never exceeded, and may fall a little short.

/// A worker's part of a rate in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    second: u64,
    left: u32,
    /// True if the second has nothing left to give.
    is_spent: bool,
}

/// What a worker may do about one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may have it.
    Yes,
    /// It may not.
    No,
    /// It must ask for a new lease first.
    Ask,
}

/// What a worker asks the shared state for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The second that the worker reads on the clock.
    pub second: u64,
    /// The rate.
    pub per_second: u32,
}

/// The shared state after a lease was given, and the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The new shared state.
    pub bytes: [u8; 12],
    /// The lease.
    pub lease: Lease,
}

/// Most that one lease has, and the part of what is left that it may be.
const MAX_LEASE: u32 = 128;
const PART: u32 = 32;

/// A shared second that is further ahead of the clock than this is not one that another worker has just entered: the clock was
/// set back.
const MAX_AHEAD: u64 = 60;

impl Lease {
    /// Takes one in this second.
    pub fn take(&mut self, second: u64) -> Taken {
        if self.second != second {
            return Taken::Ask;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Taken::Yes
            }
            None if self.is_spent => Taken::No,
            None => Taken::Ask,
        }
    }
}

/// Gives a lease from the shared state. Bytes that are none are a state in which nothing was given.
///
/// A worker whose second is already over gets nothing, so that no second is entered twice.
#[must_use]
pub fn lease(bytes: &[u8], ask: Ask) -> Given {
    let Ask { second, per_second } = ask;
    let (known, given) = decode(bytes).unwrap_or_default();
    let is_over = known > second && known <= second.saturating_add(MAX_AHEAD);
    if is_over {
        return Given { bytes: encode(known, given), lease: Lease { second, left: 0, is_spent: true } };
    }
    let given = if known == second { given } else { 0 };
    let rest = per_second.saturating_sub(given);
    let left = rest.div_ceil(PART).min(MAX_LEASE);
    let given = given.saturating_add(left);
    Given { bytes: encode(second, given), lease: Lease { second, left, is_spent: given >= per_second } }
}

fn decode(bytes: &[u8]) -> Option<(u64, u32)> {
    let (second, given) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*second), u32::from_le_bytes(given.try_into().ok()?)))
}

fn encode(second: u64, given: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (head, tail) = bytes.split_at_mut(8);
    head.copy_from_slice(&second.to_le_bytes());
    tail.copy_from_slice(&given.to_le_bytes());
    bytes
}
