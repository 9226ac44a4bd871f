//! Sample-ratio check: do as many units come to a version as were assigned to it? If not, something loses or moves units.
//!
//! Distinct units are counted by linear counting (Whang, Vander-Zanden and Taylor, 1990): each falls by its hash into one
//! of 32,768 cells of a bitmap. The first unit in a cell is a draw, and later units in that cell are ignored. So under the
//! assigned share each draw belongs to the version with exactly that chance, whatever came before. A mixture of Beta(200
//! share, 200 (1 - share)) over the true share against the assigned one is then a martingale. By Ville's inequality it
//! stays valid no matter how often it is checked (Lindon and Malek, "Anytime-valid inference for multinomial count data",
//! 2022). The check only warns.

use super::codec::{Reader, Writer};
use super::gamma::ln_beta;

/// Cells of the bitmap, 4 kB. That many draws can tell 10 % from 9.3 %.
const CELLS: u32 = 32_768;

const WORDS: usize = 512;

/// Weight of the mixture, in draws. Its alternatives are about as far from the assigned share as 200 draws can tell.
const WEIGHT: f64 = 200.0;

/// The units of a version and of all others since the assignment last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampleRatio {
    /// Fingerprint of the assignment. If it changes, counting starts again.
    fingerprint: u64,
    own: u32,
    rest: u32,
    cells: Box<[u64; WORDS]>,
}

impl SampleRatio {
    /// No units yet, for the assignment with this fingerprint.
    #[must_use]
    pub(crate) fn new(fingerprint: u64) -> Self {
        Self { fingerprint, own: 0, rest: 0, cells: Box::new([0; WORDS]) }
    }

    /// Starts again if the assignment has changed.
    pub(crate) fn restart_if(&mut self, fingerprint: u64) {
        if fingerprint != self.fingerprint {
            *self = Self::new(fingerprint);
        }
    }

    /// True if a unit would be a new draw.
    #[must_use]
    pub(crate) fn wants(&self, hash: u32) -> bool {
        let cell = hash % CELLS;
        self.cells.get(cell as usize / 64).is_some_and(|word| word >> (cell % 64) & 1 == 0)
    }

    /// Counts a unit by its hash, which must be independent of the assignment. `own` is true if the unit came to the version.
    pub(crate) fn add(&mut self, hash: u32, own: bool) {
        let cell = hash % CELLS;
        let Some(word) = self.cells.get_mut(cell as usize / 64) else { return };
        let bit = 1 << (cell % 64);
        if *word & bit == 0 {
            *word |= bit;
            let count = if own { &mut self.own } else { &mut self.rest };
            *count = count.saturating_add(1);
        }
    }

    /// The draws that are judged: the units of the version, and all others.
    #[must_use]
    pub(crate) fn draws(&self) -> [u32; 2] {
        [self.own, self.rest]
    }

    /// True if the version's share of the units differs from the assigned one, at this confidence. The caller latches it.
    #[must_use]
    pub(crate) fn trips(&self, share: f64, confidence: f64) -> bool {
        let is_share = share > 0.0 && share < 1.0;
        is_share && self.ln_evidence(share) >= -(1.0 - confidence).ln()
    }

    /// Logarithm of the ratio of two likelihoods: of the mixture, and of the assigned share.
    fn ln_evidence(&self, share: f64) -> f64 {
        let [own, rest] = self.draws().map(f64::from);
        let [one, other] = [share, 1.0 - share].map(|share| WEIGHT * share);
        ln_beta(one + own, other + rest) - ln_beta(one, other) - own * share.ln() - rest * (1.0 - share).ln()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(self.fingerprint);
        writer.number(self.own.into());
        writer.words(&*self.cells);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (fingerprint, own) = (reader.number()?, reader.narrow()?);
        let cells = Box::new(reader.words()?);
        let filled: u32 = cells.iter().map(|word: &u64| word.count_ones()).sum();
        Some(Self { fingerprint, own, rest: filled.checked_sub(own)?, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::dice::Dice;
    use crate::guardrail::gamma::ln_gamma;
    use proptest::prelude::*;

    fn of(draws: [u32; 2]) -> SampleRatio {
        SampleRatio { own: draws[0], rest: draws[1], ..SampleRatio::new(0) }
    }

    #[test]
    fn the_mean_of_the_evidence_is_one_after_any_number_of_draws() {
        let share: f64 = 0.3;
        for draws in [1_u32, 7, 60] {
            let mean: f64 = (0..=draws)
                .map(|own| {
                    let [all, own_f, rest] = [draws, own, draws - own].map(|count| f64::from(count) + 1.0);
                    let ways = ln_gamma(all) - ln_gamma(own_f) - ln_gamma(rest);
                    let chance = ways + (own_f - 1.0) * share.ln() + (rest - 1.0) * (1.0 - share).ln();
                    (chance + of([own, draws - own]).ln_evidence(share)).exp()
                })
                .sum();
            assert!((mean - 1.0).abs() < 1e-9, "{mean} after {draws}");
        }
    }

    #[test]
    fn the_assigned_share_is_not_blamed_and_a_lost_tenth_is_found() {
        let trips = |seed, share: f64| {
            let (mut dice, mut ratio) = (Dice::new(seed), SampleRatio::new(0));
            (0..120_000).any(|unit| {
                ratio.add(dice.word() as u32, dice.chance(share));
                unit % 100 == 0 && ratio.trips(0.1, 0.999)
            })
        };
        assert_eq!((0..20).filter(|seed| trips(*seed, 0.1)).count(), 0);
        assert!((0..10).filter(|seed| trips(*seed, 0.09 / 0.99)).count() >= 5);
    }

    #[test]
    fn a_share_of_nothing_or_everything_is_not_judged() {
        let ratio = of([5_000, 5_000]);
        assert!(ratio.trips(0.1, 0.999));
        assert!(![0.0, 1.0, f64::NAN].iter().any(|share| ratio.trips(*share, 0.999)));
    }

    #[test]
    fn another_assignment_starts_again() {
        let mut ratio = SampleRatio::new(1);
        ratio.add(7, true);
        ratio.restart_if(1);
        assert_eq!(ratio.draws(), [1, 0]);
        ratio.restart_if(2);
        assert_eq!(ratio, SampleRatio::new(2));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(units: Vec<(u32, bool)>, fingerprint: u64) {
            let mut ratio = SampleRatio::new(fingerprint);
            units.iter().for_each(|(hash, own)| ratio.add(*hash, *own));
            let mut writer = Writer::default();
            ratio.encode(&mut writer);
            prop_assert_eq!(SampleRatio::decode(&mut Reader::new(&writer.finish())), Some(ratio));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 4_000..4_200), share: f64) {
            if let Some(read) = SampleRatio::decode(&mut Reader::new(&bytes)) {
                let _ = read.trips(share, 0.99);
            }
        }
    }
}
