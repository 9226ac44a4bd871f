//! Groups of variants that are measured right after one another, and the figures that one round of a group gives.
//!
//! What a copy costs is a difference of two phases, and so are most figures. Each is taken within a round, before anything is
//! averaged; then the median of all rounds and its interval are shown, as for pairs.

use crate::pair::Ratio;
use crate::shadowed::Shadowed::{self, *};
use crate::stage::Phase;
use crate::variant::{Role, Variant};

/// Variants, by position, whose phases are neighbors.
pub(crate) struct Group {
    pub(crate) members: Vec<(Shadowed, usize)>,
    pub(crate) rounds: Vec<Round>,
}

/// One phase of each member.
pub(crate) struct Round(pub(crate) Vec<(Shadowed, Phase)>);

impl Round {
    /// Nanoseconds per request.
    fn cpu(&self, of: Shadowed) -> f64 {
        self.phase(of).nanos
    }

    /// Nanoseconds per copy that `with` makes and `without` does not.
    fn per_copy(&self, with: Shadowed, without: Shadowed) -> f64 {
        (self.cpu(with) - self.cpu(without)) / self.phase(with).copies
    }

    fn phase(&self, of: Shadowed) -> Phase {
        let found = self.0.iter().find(|(role, _)| *role == of);
        found.map_or(Phase { nanos: f64::NAN, copies: f64::NAN }, |(_, phase)| *phase)
    }
}

impl Group {
    /// Nanoseconds per request of a variant in all rounds.
    pub(crate) fn nanos(&self, variant: usize) -> Vec<f64> {
        let role = self.members.iter().find(|(_, index)| *index == variant).map(|(role, _)| *role);
        let of_round = |round: &Round| role.map(|role| round.cpu(role));
        self.rounds.iter().filter_map(of_round).collect()
    }
}

/// The variants with shadows of all requests, and those with shadows of a tenth.
const GROUPS: [&[Shadowed]; 2] = [
    &[Native, Mirror, Filter, Bodiless, Plain, Shipped, Compared],
    &[Native, MirrorTenth, Filter, PlainTenth, ShippedTenth, ComparedTenth],
];

/// The groups of which all members are measured.
pub(crate) fn all(variants: &[Variant]) -> Vec<Group> {
    let position = |role: Shadowed| variants.iter().position(|of| of.role == Role::Shadowed(role));
    let group = |roles: &[Shadowed]| {
        let members = roles.iter().map(|role| Some((*role, position(*role)?)));
        Some(Group { members: members.collect::<Option<_>>()?, rounds: Vec::new() })
    };
    GROUPS.iter().filter_map(|roles| group(roles)).collect()
}

/// What is aimed at.
pub(crate) enum Aim {
    None,
    /// At most so many times.
    Times(f64),
    /// At most so many nanoseconds.
    Nanos(f64),
}

/// A figure of one round.
pub(crate) struct Figure {
    pub(crate) about: &'static str,
    /// Nanoseconds.
    cost: fn(&Round) -> f64,
    /// What the cost is a ratio to, in words and in nanoseconds.
    of: (&'static str, fn(&Round) -> f64),
    pub(crate) aim: Aim,
}

/// What native Envoy needs for a request.
const REQUEST: (&str, fn(&Round) -> f64) = ("(l)", |round| round.cpu(Native));

/// All figures.
pub(crate) const FIGURES: [Figure; 11] = [
    Figure {
        about: "bodies pass the filter: (n) - (o), per request",
        cost: |round| round.cpu(Filter) - round.cpu(Bodiless),
        of: REQUEST,
        aim: Aim::Times(0.02),
    },
    Figure {
        about: "native: (m) - (l), per copy",
        cost: |round| round.per_copy(Mirror, Native),
        of: REQUEST,
        aim: Aim::None,
    },
    Figure {
        about: "this filter: (p) - (n), per copy",
        cost: |round| round.per_copy(Plain, Filter),
        of: ("(m) - (l)", |round| round.per_copy(Mirror, Native)),
        aim: Aim::Times(1.05),
    },
    Figure {
        about: "buffer and module in the cluster: (q) - (p), per copy",
        cost: |round| round.per_copy(Shipped, Plain),
        of: REQUEST,
        aim: Aim::None,
    },
    Figure {
        about: "compared: (r) - (q), per pair",
        cost: |round| round.per_copy(Compared, Shipped),
        of: REQUEST,
        aim: Aim::Nanos(60_000.0),
    },
    Figure {
        about: "native, 10 %: (s) - (l), per copy",
        cost: |round| round.per_copy(MirrorTenth, Native),
        of: REQUEST,
        aim: Aim::None,
    },
    Figure {
        about: "this filter, 10 %: (t) - (n), per copy",
        cost: |round| round.per_copy(PlainTenth, Filter),
        of: ("(s) - (l)", |round| round.per_copy(MirrorTenth, Native)),
        aim: Aim::Times(1.05),
    },
    Figure {
        about: "compared, 10 %: (v) - (u), per pair",
        cost: |round| round.per_copy(ComparedTenth, ShippedTenth),
        of: REQUEST,
        aim: Aim::Nanos(60_000.0),
    },
    Figure {
        about: "copied, 10 %: (u) - (n), per request",
        cost: |round| round.cpu(ShippedTenth) - round.cpu(Filter),
        of: REQUEST,
        aim: Aim::None,
    },
    Figure {
        about: "copied and compared, 10 %: (v) - (n), per request",
        cost: |round| round.cpu(ComparedTenth) - round.cpu(Filter),
        of: REQUEST,
        aim: Aim::None,
    },
    Figure {
        about: "all of it, 10 %: (v), per request",
        cost: |round| round.cpu(ComparedTenth),
        of: REQUEST,
        aim: Aim::None,
    },
];

impl Figure {
    /// The cost in nanoseconds and its ratio, over all rounds that have them. `None` if no round has.
    pub(crate) fn over(&self, groups: &[Group]) -> Option<(Ratio, Ratio)> {
        let rounds = || groups.iter().flat_map(|group| &group.rounds);
        let all = |value: &dyn Fn(&Round) -> f64| -> Vec<f64> {
            rounds().map(value).filter(|value| value.is_finite()).collect()
        };
        let costs = all(&|round| (self.cost)(round));
        let ratios = all(&|round| (self.cost)(round) / (self.of.1)(round));
        (!costs.is_empty()).then(|| (Ratio::of(costs), Ratio::of(ratios)))
    }

    /// What the ratio is to.
    pub(crate) fn base(&self) -> &'static str {
        self.of.0
    }
}
