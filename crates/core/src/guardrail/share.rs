//! An absolute signal's window: the recent outcomes of a version and of stable, and whether they condemn the version.
//!
//! A share above the limit is not enough. The bad outcomes must come from several units, so that one client condemns nobody. And
//! if the action is a rollback, stable must be better: otherwise the rollback would not help, and is withheld. Stable is compared
//! with the version part by part of the window: if a push gives the version more traffic during an incident that both share, the
//! version has more of its window in the incident than stable.

use super::codec::{Reader, Writer};
use super::spacing::Few;
use super::tally::{Sides, Tally};
use super::window::Ring;

/// What was observed in a slot.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Counted {
    pub(crate) sides: Sides,
    /// What was observed before the split changed in this slot.
    before: Sides,
    pub(crate) units: Units,
}

/// The hash buckets of the version's outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Units {
    all: Few,
    bad: Few,
}

/// The recent outcomes of both sides.
pub(crate) type Window = Ring<Counted>;

/// Fewest outcomes of stable that say something about it.
const LEAST_OF_STABLE: u64 = 20;

/// The version must be worse than stable by this many standard errors of the difference.
const STANDARD_ERRORS: f64 = 3.0;

impl Units {
    pub(super) fn add(&mut self, bucket: u16, is_bad: bool) {
        self.all.add(bucket);
        if is_bad {
            self.bad.add(bucket);
        }
    }

    fn extend(&mut self, others: &Self) {
        self.all.extend(&others.all);
        self.bad.extend(&others.bad);
    }

    /// True if the bad outcomes come from four buckets, or from as many as the version has seen.
    fn are_several(&self) -> bool {
        self.bad.are_enough(&self.all)
    }
}

impl Counted {
    fn extend(&mut self, others: &Self) {
        self.sides = self.sides.plus(others.sides);
        self.before = self.before.plus(others.before);
        self.units.extend(&others.units);
    }

    /// What was observed of these sides in this slot.
    pub(crate) fn of(sides: Sides) -> Self {
        Self { sides, ..Self::default() }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        self.sides.encode(writer);
        self.before.encode(writer);
        self.units.all.encode(writer);
        self.units.bad.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        // A success that became a failure in a later slot is only among the bad ones there.
        let mut sides = || Some(Sides { version: Tally::decode(reader)?, stable: Tally::decode(reader)? });
        let (sides, before) = (sides()?, sides()?);
        let units = Units { all: Few::decode(reader)?, bad: Few::decode(reader)? };
        Some(Self { sides, before, units })
    }
}

impl Window {
    /// Adds to the slot with this number.
    pub(crate) fn add(&mut self, slot: u64, counted: &Counted) {
        if let Some(known) = self.at(slot) {
            known.extend(counted);
        }
    }

    /// Starts another part, because the split has changed.
    pub(crate) fn cut(&mut self) {
        if let Some(newest) = self.newest() {
            newest.before = newest.before.plus(std::mem::take(&mut newest.sides));
        }
    }

    /// Both sides over the window.
    pub(crate) fn sides(&self) -> Sides {
        let slots = self.slots().iter().flat_map(|counted| [counted.sides, counted.before]);
        let sum = slots.fold(Sides::default(), Sides::plus);
        let whole = |tally: Tally| Tally { bad: tally.bad.min(tally.observed), ..tally };
        Sides { version: whole(sum.version), stable: whole(sum.stable) }
    }

    /// Both sides over parts of the window, the newest part first. A part has enough outcomes of stable, unless there are too few
    /// before the split changes. What the version did while nothing of stable ended belongs to no part.
    pub(crate) fn parts(&self) -> Vec<Sides> {
        let (mut parts, mut open): (Vec<Sides>, _) = (Vec::new(), Sides::default());
        // Where the current split began.
        let mut first: usize = 0;
        for Counted { sides, before, .. } in self.newest_first() {
            open = open.plus(*sides);
            if *before != Sides::default() {
                close(&mut parts, first, std::mem::take(&mut open));
                first = parts.len();
                open = *before;
            }
            if open.stable.observed >= LEAST_OF_STABLE {
                parts.push(std::mem::take(&mut open));
            }
        }
        close(&mut parts, first, open);
        let mut late = Sides::default();
        for Sides { version, stable } in &mut parts {
            settle(version, &mut late.version);
            settle(stable, &mut late.stable);
        }
        // Stable may be seen again before such a part leaves the window.
        if parts.iter().any(|sides| sides.stable.observed > 0) {
            parts.retain(|sides| sides.stable.observed > 0);
        }
        parts
    }

    /// True if the version's bad outcomes in the window come from several units.
    pub(crate) fn is_of_several_units(&self) -> bool {
        let mut units = Units::default();
        self.slots().iter().for_each(|counted| units.extend(&counted.units));
        units.are_several()
    }
}

/// Ends the parts of a split, which start at `first`, with outcomes that are too few for a part of their own if it has another one.
fn close(parts: &mut Vec<Sides>, first: usize, rest: Sides) {
    match parts.get_mut(first..).and_then(<[Sides]>::last_mut) {
        Some(oldest) => *oldest = oldest.plus(rest),
        None => parts.push(rest),
    }
}

/// Gives a part the failures that came late in a newer one, and keeps those that are of an older one.
fn settle(tally: &mut Tally, late: &mut Tally) {
    let bad = tally.bad.saturating_add(late.bad);
    tally.bad = bad.min(tally.observed);
    late.bad = bad.saturating_sub(tally.bad);
}

/// True if the version's share exceeds what stable would have had in the version's places by more than half of the limit, and
/// by more than three standard errors. Strata are proxies and parts of their windows; those where stable has few outcomes are
/// taken together.
pub(crate) fn helps(limit: f64, strata: impl Iterator<Item = Sides>) -> bool {
    let (mut known, few): (Vec<_>, Vec<_>) =
        strata.partition(|sides| sides.stable.observed >= LEAST_OF_STABLE);
    known.extend(few.into_iter().reduce(Sides::plus));
    if known.iter().all(|sides| sides.stable.observed < LEAST_OF_STABLE) {
        return true;
    }
    let all: u64 = known.iter().map(|sides| sides.version.observed).sum();
    let (mut difference, mut variance) = (0.0, 0.0);
    for Sides { version, stable } in known.iter().filter(|sides| sides.version.observed > 0) {
        let weight = version.observed as f64 / all as f64;
        difference += weight * (version.rate() - stable.rate());
        variance += weight * weight * spread(*version, *stable);
    }
    difference > limit / 2.0 && difference > STANDARD_ERRORS * variance.sqrt()
}

/// The variance of the difference of two rates. Few outcomes of stable may all be good by chance, so they vary at least as much as
/// they would at the version's rate.
fn spread(version: Tally, stable: Tally) -> f64 {
    let [own, other] = [version, stable].map(|tally| {
        let rate = (tally.bad as f64 + 0.5) / (tally.observed as f64 + 1.0);
        rate * (1.0 - rate)
    });
    let of_stable = if stable.observed == 0 { 0.0 } else { own.max(other) / stable.observed as f64 };
    own / version.observed.max(1) as f64 + of_stable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides([version, stable]: [[u64; 2]; 2]) -> Sides {
        let tally = |[bad, observed]: [u64; 2]| Tally { observed, bad };
        Sides { version: tally(version), stable: tally(stable) }
    }

    #[test]
    fn a_verdict_acts_only_if_the_version_is_clearly_worse_than_stable() {
        for (what, counts, is_as_bad) in [
            ("stable is well", [[50, 100], [1, 100]], false),
            ("both are dead", [[100, 100], [100, 100]], true),
            ("stable fails a little less", [[30, 100], [22, 100]], true),
            ("half the limit more, within chance", [[30, 100], [19, 100]], true),
            ("half the limit more, beyond chance", [[300, 1_000], [190, 1_000]], false),
            ("nineteen outcomes of stable say nothing", [[100, 100], [19, 19]], false),
            ("twenty do", [[100, 100], [20, 20]], true),
            ("a few of stable may be good by chance", [[300, 1_000], [2, 20]], true),
            ("a few are enough if all of the version fail", [[50, 50], [2, 20]], false),
            ("no stable at all", [[100, 100], [0, 0]], false),
            ("stable is worse", [[30, 100], [90, 100]], true),
        ] {
            assert_eq!(!helps(0.2, [sides(counts)].into_iter()), is_as_bad, "{what}");
        }
    }

    #[test]
    fn bad_outcomes_of_three_units_are_not_enough_unless_there_are_only_three() {
        let window = |good: &[u16], bad: &[u16]| {
            let mut window = Window::default();
            for (buckets, is_bad) in [(good, false), (bad, true)] {
                for (slot, bucket) in (100..).zip(buckets) {
                    let mut counted = Counted::default();
                    counted.units.add(*bucket, is_bad);
                    window.add(slot, &counted);
                }
            }
            window
        };
        assert!(window(&[], &[1, 1, 1]).is_of_several_units());
        assert!(window(&[1], &[1, 2, 3]).is_of_several_units());
        assert!(!window(&[4], &[1, 2, 3]).is_of_several_units());
        assert!(!window(&[1, 2, 3, 4, 5], &[6, 6, 6]).is_of_several_units());
        assert!(window(&[1, 2, 3, 4, 5], &[6, 7, 8, 9]).is_of_several_units());
    }

    #[test]
    fn a_window_has_parts_in_which_stable_is_known_and_late_failures_go_back_to_their_requests() {
        let mut window = Window::default();
        for (slot, counts) in
            (100..).zip([[[0, 50], [0, 15]], [[0, 10], [1, 15]], [[4, 4], [0, 19]], [[9, 2], [0, 1]]])
        {
            window.add(slot, &Counted::of(sides(counts)));
        }
        assert_eq!(window.parts(), [sides([[6, 6], [0, 20]]), sides([[7, 60], [1, 30]])]);
        window.cut();
        window.add(103, &Counted::of(sides([[0, 30], [0, 4]])));
        let before = [sides([[6, 6], [0, 20]]), sides([[7, 60], [1, 30]])];
        assert_eq!(window.parts(), [&[sides([[0, 30], [0, 4]])], before.as_slice()].concat());
        assert_eq!(window.sides(), sides([[13, 96], [1, 54]]));
        let mut window = Window::default();
        window.add(100, &Counted::of(sides([[0, 50], [0, 30]])));
        window.cut();
        window.add(101, &Counted::of(sides([[9, 9], [0, 0]])));
        assert_eq!(window.parts(), [sides([[0, 50], [0, 30]])], "nothing of stable has ended since");
        assert_eq!(Window::default().parts(), [Sides::default()]);
    }

    #[test]
    fn stable_is_compared_in_the_places_of_the_version() {
        // Both fail 50 % in one place and nothing in the other. The version has its traffic in the first, stable in the second.
        let places = [sides([[450, 900], [50, 100]]), sides([[0, 100], [0, 900]])];
        assert!(!helps(0.2, places.into_iter()));
        let sum = places.into_iter().reduce(Sides::plus);
        assert!(helps(0.2, sum.into_iter()), "the sums say otherwise");
    }

    #[test]
    fn places_with_little_of_stable_are_taken_together() {
        let bad = std::iter::repeat_n(sides([[5, 10], [5, 10]]), 50);
        assert!(!helps(0.2, bad));
        let good = std::iter::repeat_n(sides([[5, 10], [0, 10]]), 50);
        assert!(helps(0.2, good.clone()));
        assert!(helps(0.2, good.chain([sides([[5, 10], [15, 30]])])));
    }
}
