//! Quantiles of latencies with a relative error of 1 %, in bins that can be merged. The signal `latency` with `max_ratio`
//! learns from them what is slow on stable.
//!
//! After DDSketch (Masson, Rim and Lee, VLDB 2019): bin `i` holds the values in `(gamma^(i-1), gamma^i]`, and its middle is
//! within alpha of each of them. Bins are fixed, so merging is addition and loses nothing. A sketch has no mean and no
//! window: the caller keeps one per slot.

use super::codec::{Reader, Writer};

/// The relative error.
pub(crate) const ALPHA: f64 = 0.01;

const GAMMA: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);

/// ln(gamma), which is 2 artanh(alpha). Written as its series, because `ln` is not const.
const LN_GAMMA: f64 =
    2.0 * (ALPHA + ALPHA * ALPHA * ALPHA / 3.0 + ALPHA * ALPHA * ALPHA * ALPHA * ALPHA / 5.0);

/// Larger values count as this: 71 minutes in microseconds. No request takes that long.
const LARGEST: u32 = u32::MAX;

/// The bin of `LARGEST`, ceil(32 ln 2 / ln gamma) and one for the bin of zero; so no sketch has more than 1,111 bins (8.9 kB).
const LAST_BIN: u16 = 1_110;

/// A distribution of whole numbers, latencies in practice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// Bins in ascending order, without empty ones.
    bins: Vec<(u16, u32)>,
}

impl Sketch {
    /// Counts a value.
    pub(crate) fn record(&mut self, value: u64) {
        self.add(bin(value), 1);
    }

    /// Adds the values of another sketch, as if they had been recorded here.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.bins.iter().for_each(|(bin, count)| self.add(*bin, *count));
    }

    /// Number of values.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.bins.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The value at rank `floor(quantile * (count - 1))`, within alpha. `None` if there are no values.
    #[must_use]
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let rank = (quantile * last as f64) as u64; // a cast saturates
        let mut below = 0_u64;
        let found = self.bins.iter().find(|(_, count)| {
            below = below.saturating_add((*count).into());
            below > rank
        });
        found.or(self.bins.last()).map(|(bin, _)| middle(*bin))
    }

    fn add(&mut self, bin: u16, count: u32) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => {
                self.bins.iter_mut().skip(at).take(1).for_each(|(_, had)| *had = had.saturating_add(count))
            }
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(self.bins.len() as u64);
        let mut next = 0_u16;
        for (bin, count) in &self.bins {
            writer.number(bin.saturating_sub(next).into());
            writer.number((*count).into());
            next = bin.saturating_add(1);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let length = reader.narrow().filter(|length| *length <= usize::from(LAST_BIN).saturating_add(1))?;
        let (mut bins, mut next) = (Vec::with_capacity(length), 0_u16);
        for _ in 0..length {
            let bin = next.checked_add(reader.narrow()?).filter(|bin| *bin <= LAST_BIN)?;
            bins.push((bin, reader.narrow().filter(|count| *count > 0)?));
            next = bin.saturating_add(1);
        }
        Some(Self { bins })
    }
}

/// The bin of a value. Bin 0 is for zero and bin 1 for one; no whole number lies between them.
fn bin(value: u64) -> u16 {
    if value == 0 {
        return 0;
    }
    let value = u32::try_from(value).unwrap_or(LARGEST);
    let power = (f64::from(value).ln() / LN_GAMMA).ceil() as u16; // at most 1,109, a cast saturates
    power.saturating_add(1).min(LAST_BIN)
}

/// The value with the same relative distance from both ends of the bin.
fn middle(bin: u16) -> f64 {
    match bin.checked_sub(1) {
        None => 0.0,
        Some(power) => (f64::from(power) * LN_GAMMA).exp() * 2.0 / (GAMMA + 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use proptest::prelude::*;

    fn sketch(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.record(*value));
        sketch
    }

    /// Latencies in microseconds of five shapes.
    fn shapes(dice: &mut Dice) -> [u64; 5] {
        let bimodal =
            if dice.uniform() < 0.9 { 3_000.0 } else { 900_000.0 } * (1.0 + 0.1 * dice.normal()).abs();
        [
            dice.uniform() * 100_000.0,
            -dice.uniform().ln() * 20_000.0,
            (9.0 + dice.normal()).exp(),
            1_000.0 * dice.uniform().powf(-1.0 / 1.5),
            bimodal,
        ]
        .map(|latency| latency as u64)
    }

    #[test]
    fn every_quantile_of_a_million_latencies_is_within_one_percent() {
        let mut dice = Dice::new(1);
        let mut values = [const { Vec::new() }; 5];
        for _ in 0..1_000_000 {
            values.iter_mut().zip(shapes(&mut dice)).for_each(|(values, value)| values.push(value));
        }
        for mut values in values {
            let sketch = sketch(&values);
            values.sort_unstable();
            for permille in 10..=999 {
                let quantile = f64::from(permille) / 1_000.0;
                let exact = values[(quantile * 999_999.0) as usize] as f64;
                let found = sketch.quantile(quantile).unwrap();
                assert!((found - exact).abs() <= exact * (ALPHA + 1e-9), "{found} for {exact} at {quantile}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_have_bins_of_their_own() {
        assert_eq!([0, 1, LARGEST.into(), u64::MAX].map(bin), [0, 1, LAST_BIN, LAST_BIN]);
        assert!((LN_GAMMA - GAMMA.ln()).abs() < 1e-14);
        assert_eq!(sketch(&[0, 0, 7]).quantile(0.5), Some(0.0));
        assert_eq!(sketch(&[]).quantile(0.5), None);
        assert_eq!(sketch(&[5, 6]).quantile(f64::NAN), sketch(&[5]).quantile(0.0));
    }

    proptest! {
        #[test]
        fn parts_merged_are_the_whole(left: Vec<u32>, right: Vec<u32>) {
            let [left, right] = [left, right].map(|part| part.into_iter().map(u64::from).collect::<Vec<_>>());
            let mut merged = sketch(&left);
            merged.merge(&sketch(&right));
            prop_assert_eq!(merged, sketch(&[left, right].concat()));
        }

        #[test]
        fn what_was_written_is_read(values: Vec<u64>) {
            let sketch = sketch(&values);
            let mut writer = Writer::default();
            sketch.encode(&mut writer);
            prop_assert_eq!(Sketch::decode(&mut Reader::new(&writer.finish())), Some(sketch));
        }

        #[test]
        fn foreign_bytes_never_make_more_bins_than_there_are(bytes: Vec<u8>) {
            let read = Sketch::decode(&mut Reader::new(&bytes));
            prop_assert!(read.is_none_or(|sketch| sketch.bins.len() <= usize::from(LAST_BIN) + 1));
        }
    }
}
