//! A sliding window made of slots: what was observed lately, in constant memory.

use std::time::Duration;

use super::codec::{Reader, Writer};
use super::tally::Tally;

/// Slots of a window; it slides by one of them, so it covers at least 14 fifteenths of its length.
pub(crate) const SLOTS: usize = 15;

/// Number of the slot that a moment falls into; slots are counted from 1970, so all workers cut time alike.
pub(crate) fn slot(window: Duration, now: Duration) -> u64 {
    let now = now.as_nanos().saturating_mul(SLOTS as u128);
    let number = now.checked_div(window.as_nanos()).unwrap_or(0);
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Place of a slot in its ring.
pub(crate) fn place(slot: u64) -> usize {
    usize::try_from(slot.checked_rem(SLOTS as u64).unwrap_or(0)).unwrap_or(0)
}

/// A ring of slots, each with what was observed in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Window {
    newest: u64,
    slots: [Tally; SLOTS],
}

impl Window {
    /// Adds to the slot of a moment; slots that have passed since the last time are empty. A clock that was set back adds to the newest.
    pub(crate) fn add(&mut self, slot: u64, observed: Tally) {
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for ago in 0..passed {
            self.tally(slot.saturating_sub(ago)).map(std::mem::take);
        }
        self.newest = self.newest.max(slot);
        if let Some(tally) = self.tally(self.newest) {
            *tally = tally.plus(observed);
        }
    }

    /// All that the window covers.
    pub(crate) fn sum(&self) -> Tally {
        self.slots.iter().fold(Tally::default(), |sum, tally| sum.plus(*tally))
    }

    fn tally(&mut self, slot: u64) -> Option<&mut Tally> {
        self.slots.get_mut(place(slot))
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.number(self.newest);
        for tally in self.slots {
            out.number(tally.observed);
            out.number(tally.bad);
        }
    }

    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let mut window = Self { newest: bytes.number()?, ..Self::default() };
        for tally in &mut window.slots {
            *tally = Tally { observed: bytes.number()?, bad: bytes.number()? };
        }
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Tally = Tally { observed: 10, bad: 1 };

    #[test]
    fn a_window_forgets_a_slot_when_its_place_is_needed_again() {
        let mut window = Window::default();
        for slot in 100..115 {
            window.add(slot, ONE);
        }
        assert_eq!(window.sum(), Tally { observed: 150, bad: 15 });
        window.add(115, ONE);
        assert_eq!(window.sum(), Tally { observed: 150, bad: 15 });
        window.add(117, Tally::default());
        assert_eq!(window.sum(), Tally { observed: 130, bad: 13 });
        window.add(10_000, ONE);
        assert_eq!(window.sum(), ONE);
    }

    #[test]
    fn a_clock_that_was_set_back_loses_nothing() {
        let mut window = Window::default();
        window.add(100, ONE);
        window.add(40, ONE);
        assert_eq!(window.sum(), Tally { observed: 20, bad: 2 });
    }

    #[test]
    fn slots_divide_the_window_evenly() {
        let window = Duration::from_secs(30);
        let at = |millis: u64| slot(window, Duration::from_millis(millis));
        assert_eq!([0, 1_999, 2_000, 29_999, 30_000].map(at), [0, 0, 1, 14, 15]);
    }
}
