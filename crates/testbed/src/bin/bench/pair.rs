//! Pairs of variants that are measured right after one another, and what their ratios say.

use crate::variant::{Role, Variant};

/// Two variants, by position, whose phases are neighbours.
pub(crate) struct Pair {
    pub(crate) first: usize,
    pub(crate) second: usize,
    /// Nanoseconds per request of the first and of the second, by round.
    pub(crate) costs: Vec<(f64, f64)>,
}

impl Pair {
    /// How many times the second the first costs.
    pub(crate) fn ratio(&self) -> Ratio {
        Ratio::of(self.costs.iter().map(|(first, second)| first / second).collect())
    }
}

/// An aim: the cost of a role is at most `factor` times that of another.
pub(crate) struct Aim {
    pub(crate) factor: f64,
    pub(crate) of: Role,
}

/// What is aimed at.
pub(crate) fn aims(role: Role) -> &'static [Aim] {
    match role {
        Role::Filter => &[Aim { factor: 1.30, of: Role::Base }, Aim { factor: 1.03, of: Role::Lua }],
        Role::Thousand => &[Aim { factor: 1.05, of: Role::Filter }],
        Role::RequestOnly => &[Aim { factor: 1.25, of: Role::Base }, Aim { factor: 1.0, of: Role::Lua }],
        Role::Guarded => &[Aim { factor: 1.10, of: Role::Filter }],
        Role::Plain
        | Role::Base
        | Role::Empty
        | Role::Lua
        | Role::External
        | Role::Extra
        | Role::Shadowed(_) => &[],
    }
}

/// Every variant with short answers with the native one, and with whatever an aim compares it with.
pub(crate) fn all(variants: &[Variant]) -> Vec<Pair> {
    let position = |role: Role| variants.iter().position(|variant| variant.role == role);
    let mut all: Vec<Pair> = Vec::new();
    let is_short = |variant: &Variant| !matches!(variant.role, Role::Shadowed(_));
    for (first, variant) in variants.iter().enumerate().filter(|(_, variant)| is_short(variant)) {
        let others = aims(variant.role).iter().map(|aim| aim.of);
        for second in [Role::Base].into_iter().chain(others).filter_map(position) {
            let is_new = all.iter().all(|pair| (pair.first, pair.second) != (first, second));
            if first != second && is_new {
                all.push(Pair { first, second, costs: Vec::new() });
            }
        }
    }
    all
}

/// The median of some ratios, with the bounds of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// The interval of the sign test: each ratio is below the true median with probability 1/2, so the number of those below is
    /// binomial, whatever the distribution of the noise.
    pub(crate) fn of(mut ratios: Vec<f64>) -> Self {
        ratios.sort_unstable_by(f64::total_cmp);
        let count = ratios.len();
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        let outside = excluded(count);
        Self { median: median(&ratios), low: at(outside), high: at(count.saturating_sub(outside + 1)) }
    }
}

/// The middle of sorted numbers.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    match sorted.len() {
        0 => f64::NAN,
        count => (at((count - 1) / 2) + at(count / 2)) / 2.0,
    }
}

/// How many of `count` sorted values lie outside the interval at each end: the most that leave each tail at most 2.5 %.
fn excluded(count: usize) -> usize {
    let mut probability = 0.5_f64.powf(count as f64);
    let mut tail = probability;
    let mut excluded = 0;
    while tail <= 0.025 && excluded < count / 2 {
        probability *= (count - excluded) as f64 / (excluded + 1) as f64;
        tail += probability;
        excluded += 1;
    }
    excluded.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_median_is_the_textbook_one() {
        // The ranks of tables for the sign test at 95 %, counted from one: 2 of 10, 6 of 20, 18 of 50, 40 of 100.
        for (count, rank) in [(10, 2), (20, 6), (50, 18), (100, 40)] {
            let values: Vec<f64> = (1..=count).map(f64::from).collect();
            let ratio = Ratio::of(values);
            assert_eq!((ratio.low, ratio.high), (f64::from(rank), f64::from(count + 1 - rank)), "of {count}");
        }
    }

    #[test]
    fn few_values_have_all_of_their_range_as_interval() {
        let ratio = Ratio::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(ratio, Ratio { median: 2.0, low: 1.0, high: 3.0 });
    }
}
