//! The bucketing of six other products, so that a split that started in an SDK continues in the proxy with the same users.
//!
//! The products differ only in what is hashed and in how a hash becomes a bucket. In each, a gate may let in a share of the
//! units, and then the buckets are divided into ranges in order. Each constructor states the formula and its source. The
//! hashes are those of the products, with their seeds and off-by-ones; the vectors in `tests/vectors/schemes` pin them.

use std::rc::Rc;

use super::arm::Arm;
use super::version::Version;
use crate::hash::bucket::{Bucket, Ppm, scale};
use crate::hash::murmur3::murmur3;

/// How another product assigns a unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scheme {
    gate: Option<Gate>,
    hash: Hash,
    ranges: Box<[Range]>,
    /// The number of the first bucket in that product.
    first: u32,
    /// True if the bucket that people know is the gate's.
    shows_gate: bool,
}

/// Lets in the units whose bucket, out of a hundred, is below the percentage.
#[derive(Debug, Clone, PartialEq)]
struct Gate {
    hash: Hash,
    percent: u32,
}

/// The buckets from the end of the previous range up to this end. Without a version they are a hole.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    end: u32,
    version: Option<Rc<Version>>,
    /// True if the units of these buckets get stable instead of the version.
    is_stopped: bool,
}

impl Range {
    fn of(end: u32, arm: &Arm) -> Self {
        Self { end, version: Some(Rc::clone(&arm.version)), is_stopped: arm.is_stopped }
    }

    fn treatment(&self) -> Option<&Rc<Version>> {
        self.version.as_ref().filter(|_| !self.is_stopped)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Hash {
    /// murmur3 x86_32 of the unit with a text before or after it.
    Murmur { seed: u32, affix: Affix, reduce: Reduce },
    /// FNV-1a of the decimal text of FNV-1a of `seed ++ unit`, modulo 10 000.
    Fnv { seed: Box<str> },
}

#[derive(Debug, Clone, PartialEq)]
enum Affix {
    Prefix(Box<str>),
    Suffix(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduce {
    Modulo(u32),
    Scale(u32),
}

impl Scheme {
    /// Unleash: `murmur3(group ":" unit, 0) % 100 + 1 <= percent`, then the first variant whose running sum of weights reaches
    /// `murmur3(group ":" unit, 86028157) % sum + 1`.
    ///
    /// Source: `Unleash/unleash-client-node`, `src/strategy/util.ts` and `src/variant.ts`.
    pub(crate) fn unleash(group: &str, percent: u32, variants: &[Arm]) -> Self {
        let group = format!("{group}:");
        let hash = |seed, size| Hash::prefixed(&group, seed, Reduce::Modulo(size));
        let ranges = ranges(variants);
        Self {
            gate: Some(Gate { hash: hash(0, 100), percent }),
            hash: hash(86_028_157, whole(&ranges)),
            ranges,
            first: 1,
            shows_gate: true,
        }
    }

    /// Optimizely: `murmur3(unit experiment, 1) * 10000 >> 32`, then the first entry of the allocation whose end is above it.
    ///
    /// Source: `optimizely/go-sdk`, `pkg/decision/bucketer`.
    pub(crate) fn optimizely(experiment: &str, allocation: Vec<(Option<Rc<Version>>, u32)>) -> Self {
        let ranges =
            allocation.into_iter().map(|(version, end)| Range { end, version, is_stopped: false }).collect();
        Self::plain(Hash::suffixed(experiment, 1, Reduce::Scale(10_000)), ranges)
    }

    /// Split: `murmur3(unit, seed) % 100 + 1`, then the first partition whose running sum of sizes reaches it; before that the
    /// traffic allocation lets in a percentage by a hash with a seed of its own.
    ///
    /// Source: `splitio/javascript-commons`, `src/evaluator`, and `splitio/java-client`, `Splitter.java`.
    pub(crate) fn split(seed: i32, traffic: Option<(i32, u32)>, partitions: &[Arm]) -> Self {
        let hash = |seed: i32| Hash::prefixed("", seed.cast_unsigned(), Reduce::Modulo(100));
        let gate = traffic.map(|(seed, percent)| Gate { hash: hash(seed), percent });
        Self { gate, first: 1, ..Self::plain(hash(seed), ranges(partitions)) }
    }

    /// flagd's `fractional`, second generation: `murmur3(prefix unit, 0) * sum >> 32`, then the first weight whose running sum is
    /// above it.
    ///
    /// Source: `open-feature/flagd`, `core/pkg/evaluator/fractional.go`.
    pub(crate) fn flagd(prefix: &str, weights: &[Arm]) -> Self {
        let ranges = ranges(weights);
        Self::plain(Hash::prefixed(prefix, 0, Reduce::Scale(whole(&ranges))), ranges)
    }

    /// GrowthBook, hash version 2: `fnv(str(fnv(seed unit))) % 10000 / 10000`, then the variation whose range holds it: it begins
    /// where the ranges before it would end at full coverage, and is `coverage * weight` long.
    ///
    /// The ranges are floating-point numbers in the SDKs, with the sums as they round there; here they become whole buckets at
    /// once. The hash runs over UTF-16, as in JavaScript and Python; the Go SDK runs it over bytes, so beyond ASCII it differs.
    /// Source: `growthbook/growthbook-python`, `growthbook/core.py`.
    pub(crate) fn growthbook(seed: &str, coverage: Ppm, weights: &[Arm]) -> Self {
        let share = |part: u32, whole: u32| f64::from(part) / f64::from(whole);
        // Buckets below a bound, compared as the SDKs compare: bucket / 10000 < bound.
        let below = |bound: f64| {
            let (mut least, mut most) = (0_u32, 10_000_u32);
            while least < most {
                let middle = least.midpoint(most);
                match share(middle, 10_000) < bound {
                    true => least = middle.saturating_add(1),
                    false => most = middle,
                }
            }
            least
        };
        let sum = weights.iter().fold(0, |sum, arm| arm.weight.saturating_add(sum));
        let coverage = share(coverage.get(), Ppm::WHOLE.get());
        let mut start = 0.0;
        let mut ranges = Vec::new();
        for arm in weights {
            let weight = share(arm.weight, sum);
            ranges.push(Range { end: below(start), version: None, is_stopped: false });
            ranges.push(Range::of(below(start + coverage * weight), arm));
            start += weight;
        }
        Self::plain(Hash::Fnv { seed: seed.into() }, ranges.into())
    }

    /// Featurevisor: `murmur3(unit "." feature, 1) * 100000 >> 32`, then the first share above nothing whose running sum reaches
    /// it: the SDKs count both ends of a range in, and the earlier range wins. Shares are parts per million.
    ///
    /// Source: `featurevisor/featurevisor`, `packages/sdk/src/bucketer.ts` and `allocator.ts`.
    pub(crate) fn featurevisor(feature: &str, shares: &[Arm]) -> Self {
        const SIZE: u32 = 100_000;
        let some: Vec<_> = shares.iter().filter(|arm| arm.weight > 0).cloned().collect();
        let mut ranges = ranges(&some);
        ranges.iter_mut().for_each(|range| range.end = range.end.div_euclid(10).saturating_add(1).min(SIZE));
        Self::plain(Hash::suffixed(&format!(".{feature}"), 1, Reduce::Scale(SIZE)), ranges)
    }

    fn plain(hash: Hash, ranges: Box<[Range]>) -> Self {
        Self { gate: None, hash, ranges, first: 0, shows_gate: false }
    }

    /// The bucket of a unit, as the product counts, and its treatment. The treatment is `None` outside the gate and in a hole.
    pub(crate) fn place(&self, unit: &[u8]) -> (Bucket, Option<&Rc<Version>>) {
        let gate = self.gate.as_ref().map(|gate| (gate.hash.bucket(unit), gate.percent));
        let is_in = gate.is_none_or(|(bucket, percent)| bucket < percent);
        let bucket = self.hash.bucket(unit);
        let shown = gate.filter(|_| self.shows_gate).map_or(bucket, |(bucket, _)| bucket);
        let range = self.ranges.iter().find(|range| bucket < range.end).filter(|_| is_in);
        (Bucket::numbered(shown.saturating_add(self.first)), range.and_then(Range::treatment))
    }

    /// Each treatment once, with its share of all units, rounded down.
    pub(crate) fn exposures(&self) -> Vec<(&Rc<Version>, Ppm)> {
        let gate = u64::from(self.gate.as_ref().map_or(100, |gate| gate.percent));
        let total = u64::from(self.hash.size()).saturating_mul(100);
        let mut widths: Vec<(&Rc<Version>, u64)> = Vec::new();
        for (range, width) in self.widths() {
            let Some(version) = &range.version else { continue };
            let width = if range.is_stopped { 0 } else { width };
            match widths.iter_mut().find(|(known, _)| known.ordinal == version.ordinal) {
                Some((_, sum)) => *sum = sum.saturating_add(width.into()),
                None => widths.push((version, width.into())),
            }
        }
        let share = |width: u64| {
            let exposed = width.saturating_mul(gate).saturating_mul(Ppm::WHOLE.into());
            Ppm::new(u32::try_from(exposed.checked_div(total)?).ok()?)
        };
        widths.into_iter().map(|(version, width)| (version, share(width).unwrap_or(Ppm::ZERO))).collect()
    }

    /// Number of ranges that have a version and at least one bucket.
    pub(crate) fn lanes(&self) -> usize {
        self.widths().filter(|(range, width)| range.version.is_some() && *width > 0).count()
    }

    fn widths(&self) -> impl Iterator<Item = (&Range, u32)> {
        let starts = [0].into_iter().chain(self.ranges.iter().map(|range| range.end));
        self.ranges.iter().zip(starts).map(|(range, start)| (range, range.end.saturating_sub(start)))
    }
}

impl Hash {
    fn prefixed(prefix: &str, seed: u32, reduce: Reduce) -> Self {
        Self::Murmur { seed, affix: Affix::Prefix(prefix.into()), reduce }
    }

    fn suffixed(suffix: &str, seed: u32, reduce: Reduce) -> Self {
        Self::Murmur { seed, affix: Affix::Suffix(suffix.into()), reduce }
    }

    /// Number of buckets.
    fn size(&self) -> u32 {
        match self {
            Self::Murmur { reduce: Reduce::Modulo(size) | Reduce::Scale(size), .. } => *size,
            Self::Fnv { .. } => 10_000,
        }
    }

    fn bucket(&self, unit: &[u8]) -> u32 {
        match self {
            Self::Murmur { seed, affix, reduce } => {
                let hash = match affix {
                    Affix::Prefix(text) => murmur3(*seed, text.as_bytes(), unit),
                    Affix::Suffix(text) => murmur3(*seed, unit, text.as_bytes()),
                };
                match reduce {
                    Reduce::Modulo(size) => hash.checked_rem(*size).unwrap_or(0),
                    Reduce::Scale(size) => scale(hash, *size),
                }
            }
            Self::Fnv { seed } => {
                let inner = match str::from_utf8(unit) {
                    Ok(unit) => fnv1a(seed.encode_utf16().chain(unit.encode_utf16())),
                    Err(_) => fnv1a(seed.encode_utf16().chain(unit.iter().copied().map(u16::from))),
                };
                fnv1a(inner.to_string().encode_utf16()).checked_rem(10_000).unwrap_or(0)
            }
        }
    }
}

/// FNV-1a, 32 bits (RFC 9923), over code units instead of bytes.
fn fnv1a(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0x811c_9dc5, |hash, unit| (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193))
}

/// Ranges one after another, each as wide as its weight.
fn ranges(weights: &[Arm]) -> Box<[Range]> {
    let mut end = 0_u32;
    let range = |arm: &Arm| {
        end = end.saturating_add(arm.weight);
        Range::of(end, arm)
    };
    weights.iter().map(range).collect()
}

fn whole(ranges: &[Range]) -> u32 {
    ranges.last().map_or(0, |range| range.end)
}
