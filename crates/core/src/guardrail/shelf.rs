//! A shelf: the records that share one key of the host's shared data, and the latches on them.
//!
//! The host never frees a key, so there is a fixed number of keys. The hash of a record's identity chooses its shelf.
//! A shelf holds a few records. If it is full, the record that was written longest ago is dropped; records with a
//! latch come last.

use super::codec::{Reader, Writer};
use crate::hash::bucket::Ppm;
use crate::health::State;
use crate::plan::guardrails::Action;

/// Number of shelves. It bounds the host's memory.
pub const SHELVES: u64 = 4_096;

/// Records on one shelf.
const MAX_RECORDS: usize = 8;

/// Version of this layout. It is part of the key.
pub const FORMAT: u64 = 1;

/// A verdict in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latch {
    /// The document's `rearm` at that time. A greater `rearm` releases the latch.
    pub rearm: u64,
    /// The action of the verdict.
    pub action: Action,
    /// The version's exposure at that time.
    pub exposure: Ppm,
    /// The time of the verdict, in seconds since 1970-01-01T00:00:00Z.
    pub at: u64,
}

impl Latch {
    /// The state of its version.
    #[must_use]
    pub fn state(&self) -> State {
        match self.action {
            Action::Rollback => State::RolledBack,
            Action::Freeze => State::Frozen(self.exposure),
            Action::Warn => State::Healthy,
        }
    }
}

/// Identifies a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Fingerprint of rollout, version and cluster.
    pub identity: u64,
    /// Fingerprint of everything that makes counts comparable.
    pub epoch: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Item {
    label: Label,
    touched: u64,
    latch: Option<Latch>,
    record: Vec<u8>,
}

/// The records of one key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shelf(Vec<Item>);

impl Shelf {
    /// The number of the shelf of an identity.
    #[must_use]
    pub fn number(identity: u64) -> u64 {
        identity.checked_rem(SHELVES).unwrap_or(0)
    }

    /// The bytes of a record. `None` if the shelf does not have it.
    #[must_use]
    pub fn record(&self, label: Label) -> Option<&[u8]> {
        self.0.iter().find(|item| item.label == label).map(|item| item.record.as_slice())
    }

    /// The records of an identity, of any epoch.
    pub(crate) fn records(&self, identity: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |item| item.label.identity == identity).map(|item| item.record.as_slice())
    }

    /// The latch on a version: the strictest one, of any epoch, that no greater `rearm` has released.
    #[must_use]
    pub fn latch(&self, identity: u64, rearm: u64) -> Option<Latch> {
        let own = self.0.iter().filter(|item| item.label.identity == identity);
        let held = own.filter_map(|item| item.latch).filter(|latch| latch.rearm >= rearm);
        held.min_by_key(|latch| match latch.action {
            Action::Rollback => 0,
            Action::Freeze => 1_u32.saturating_add(latch.exposure.get()),
            Action::Warn => u32::MAX,
        })
    }

    /// Writes a record. A latch on it stays, and `latch` is added if there is none yet.
    pub fn put(&mut self, label: Label, record: Vec<u8>, latch: Option<Latch>, now: u64) {
        let known = self.0.iter().position(|item| item.label == label);
        let before = known.map(|position| self.0.swap_remove(position)).and_then(|item| item.latch);
        if self.0.len() >= MAX_RECORDS {
            let oldest =
                self.0.iter().enumerate().min_by_key(|(_, item)| (item.latch.is_some(), item.touched));
            if let Some(position) = oldest.map(|(position, _)| position) {
                self.0.swap_remove(position);
            }
        }
        self.0.push(Item { label, touched: now, latch: before.or(latch), record });
    }

    /// The shelf as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(FORMAT);
        out.number(self.0.len() as u64);
        for item in &self.0 {
            for number in [item.label.identity, item.label.epoch, item.touched, item.latch.is_some().into()] {
                out.number(number);
            }
            if let Some(latch) = item.latch {
                let action = match latch.action {
                    Action::Rollback => 0,
                    Action::Freeze => 1,
                    Action::Warn => 2,
                };
                for number in [latch.rearm, action, latch.exposure.into(), latch.at] {
                    out.number(number);
                }
            }
            out.bytes(&item.record);
        }
        out.finish()
    }

    /// The shelf in these bytes. Empty if they are not a shelf.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self::read(&mut Reader::new(bytes)).unwrap_or_default()
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        if bytes.number()? != FORMAT {
            return None;
        }
        let count = usize::try_from(bytes.number()?).ok().filter(|count| *count <= MAX_RECORDS)?;
        let items: Option<Vec<Item>> = (0..count).map(|_| item(bytes)).collect();
        Some(Self(items?))
    }
}

fn item(bytes: &mut Reader<'_>) -> Option<Item> {
    let label = Label { identity: bytes.number()?, epoch: bytes.number()? };
    let touched = bytes.number()?;
    let latch = if bytes.number()? == 0 { None } else { Some(latch(bytes)?) };
    Some(Item { label, touched, latch, record: bytes.bytes()?.to_vec() })
}

fn latch(bytes: &mut Reader<'_>) -> Option<Latch> {
    let rearm = bytes.number()?;
    let action = match bytes.number()? {
        0 => Action::Rollback,
        1 => Action::Freeze,
        2 => Action::Warn,
        _ => return None,
    };
    let exposure = Ppm::new(u32::try_from(bytes.number()?).ok()?)?;
    Some(Latch { rearm, action, exposure, at: bytes.number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { identity: 7, epoch: 1 };

    fn latch(rearm: u64, action: Action) -> Latch {
        Latch { rearm, action, exposure: Ppm::WHOLE, at: 100 }
    }

    #[test]
    fn a_latch_stays_through_epochs_until_rearm_exceeds_it() {
        let mut shelf = Shelf::default();
        shelf.put(LABEL, vec![1], Some(latch(3, Action::Rollback)), 100);
        shelf.put(LABEL, vec![2], None, 101);
        shelf.put(Label { epoch: 2, ..LABEL }, vec![3], None, 102);
        let read = Shelf::decode(&shelf.encode());
        assert_eq!(read, shelf);
        assert_eq!(read.record(LABEL), Some([2].as_slice()));
        for (rearm, held) in [(0, true), (3, true), (4, false)] {
            assert_eq!(read.latch(7, rearm).is_some(), held, "rearm {rearm}");
        }
        assert_eq!(read.latch(8, 0), None);
    }

    #[test]
    fn the_strictest_latch_counts() {
        let mut shelf = Shelf::default();
        shelf.put(LABEL, vec![], Some(latch(0, Action::Warn)), 100);
        shelf.put(Label { epoch: 2, ..LABEL }, vec![], Some(latch(0, Action::Freeze)), 100);
        assert_eq!(shelf.latch(7, 0).map(|latch| latch.action), Some(Action::Freeze));
        shelf.put(Label { epoch: 3, ..LABEL }, vec![], Some(latch(0, Action::Rollback)), 100);
        assert_eq!(shelf.latch(7, 0).map(|latch| latch.action), Some(Action::Rollback));
    }

    #[test]
    fn a_full_shelf_drops_the_record_written_longest_ago_and_latched_ones_last() {
        let mut shelf = Shelf::default();
        shelf.put(LABEL, vec![], Some(latch(0, Action::Rollback)), 0);
        for epoch in 2..100 {
            shelf.put(Label { epoch, ..LABEL }, vec![0; 10], None, epoch);
        }
        assert!(shelf.record(LABEL).is_some() && shelf.record(Label { epoch: 99, ..LABEL }).is_some());
        assert!(shelf.record(Label { epoch: 50, ..LABEL }).is_none());
        assert_eq!(shelf.0.len(), MAX_RECORDS);
    }

    #[test]
    fn bytes_that_are_not_a_shelf_are_an_empty_one() {
        for bytes in [&[][..], &[2], &[1, 200], &[1, 1, 2, 3], &[255; 40]] {
            assert_eq!(Shelf::decode(bytes), Shelf::default());
        }
    }
}
