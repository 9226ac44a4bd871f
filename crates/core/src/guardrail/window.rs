//! A sliding window made of slots: recent outcomes, or stable's recent latency, in constant memory.
//!
//! It reads no clock: the caller names the slot.

use std::time::Duration;

use super::codec::{Reader, Writer};

/// Slots of a window. It slides by one slot, so it covers at least 14 fifteenths of its length.
pub(crate) const SLOTS: usize = 15;

/// Number of the slot of a time. Slots are counted from 1970, so all workers divide time the same way.
pub(crate) fn slot(window: Duration, now: Duration) -> u64 {
    let now = now.as_nanos().saturating_mul(SLOTS as u128);
    let number = now.checked_div(window.as_nanos()).unwrap_or(0);
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A ring of slots.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ring<T> {
    newest: u64,
    slots: [T; SLOTS],
}

impl<T: Default> Ring<T> {
    /// True if this slot is a new one.
    pub(crate) fn begins(&self, slot: u64) -> bool {
        slot > self.newest
    }

    /// The slot with this number. Slots skipped since the last call are empty. If a clock was set back, the newest slot is
    /// used; if it was set back by more than a window, the ring starts again.
    pub(crate) fn at(&mut self, slot: u64) -> Option<&mut T> {
        if self.newest.saturating_sub(slot) > SLOTS as u64 {
            *self = Self { newest: slot, slots: Default::default() };
        }
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for ago in 0..passed {
            self.place(slot.saturating_sub(ago)).map(std::mem::take);
        }
        self.newest = self.newest.max(slot);
        self.place(self.newest)
    }

    /// The newest slot.
    pub(crate) fn newest(&mut self) -> Option<&mut T> {
        self.place(self.newest)
    }

    /// All slots, in no order.
    pub(crate) fn slots(&self) -> &[T] {
        &self.slots
    }

    /// All slots, the newest one first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &T> {
        let place = self.newest.checked_rem(SLOTS as u64).and_then(|place| usize::try_from(place).ok());
        let (older, newer) = self.slots.split_at(place.unwrap_or(0).saturating_add(1).min(SLOTS));
        older.iter().rev().chain(newer.iter().rev())
    }

    fn place(&mut self, slot: u64) -> Option<&mut T> {
        self.slots.get_mut(usize::try_from(slot.checked_rem(SLOTS as u64)?).ok()?)
    }

    pub(crate) fn encode(&self, out: &mut Writer, mut write: impl FnMut(&T, &mut Writer)) {
        out.number(self.newest);
        self.slots.iter().for_each(|slot| write(slot, out));
    }

    pub(crate) fn decode(
        bytes: &mut Reader<'_>,
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Self> {
        let mut ring = Self { newest: bytes.number()?, slots: Default::default() };
        for slot in &mut ring.slots {
            *slot = read(bytes)?;
        }
        Some(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of sums.
    #[derive(Default)]
    struct Window(Ring<u64>);

    impl Window {
        fn add(&mut self, slot: u64, count: u64) {
            let sum = self.0.at(slot).unwrap();
            *sum = sum.saturating_add(count);
        }

        fn sum(&self) -> u64 {
            self.0.slots().iter().sum()
        }
    }

    #[test]
    fn a_window_forgets_a_slot_when_its_place_is_needed_again() {
        let mut window = Window::default();
        for slot in 100..115 {
            window.add(slot, 1);
        }
        assert_eq!(window.sum(), 15);
        window.add(115, 1);
        assert_eq!(window.sum(), 15);
        window.add(117, 0);
        assert_eq!(window.sum(), 13);
        window.add(10_000, 1);
        assert_eq!(window.sum(), 1);
    }

    #[test]
    fn slots_are_read_from_the_newest_one_back() {
        for newest in [0, 7, 14, 15, 104] {
            let mut ring = Ring::default();
            (0..=newest).for_each(|slot| *ring.at(slot).unwrap() = Some(slot));
            let read: Vec<u64> = ring.newest_first().copied().flatten().collect();
            let kept = (0..=newest).rev().take(15);
            assert_eq!(read, kept.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_loses_nothing() {
        let mut window = Window::default();
        window.add(100, 1);
        window.add(90, 1);
        assert_eq!(window.sum(), 2);
    }

    #[test]
    fn a_clock_that_was_set_back_by_more_than_a_window_starts_it_again() {
        let mut window = Window::default();
        window.add(1_000, 1);
        for slot in 100..130 {
            window.add(slot, 1);
        }
        assert_eq!(window.sum(), 15);
    }

    #[test]
    fn slots_divide_the_window_evenly() {
        let window = Duration::from_secs(30);
        let at = |millis: u64| slot(window, Duration::from_millis(millis));
        assert_eq!([0, 1_999, 2_000, 29_999, 30_000].map(at), [0, 0, 1, 14, 15]);
    }
}
