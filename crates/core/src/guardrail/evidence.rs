//! Chooses which requests count as evidence in a comparison of a version with stable, so that no client has too much weight.
//!
//! Units are assigned, not requests, so the outcomes of one client depend on each other. Units fall into 1,024 hash
//! buckets, and three rules apply:
//!
//! 1. Per second, a bucket counts at most once for each side: the first request that starts in that second (`claim`). It must
//!    not matter which of several requests ends first. If stable is busier, its slow failures would lose to quick answers.
//! 2. A bucket counts again only after 19 others have counted on that side. So any 20 outcomes in a row come from 20
//!    buckets, and of n outcomes a bucket has at most n/20, rounded up: 5 % of an epoch. A bucket of the version also waits
//!    for 19 of stable.
//! 3. On the version's side the same holds for bad outcomes alone, per signal: a bad outcome counts as good if its bucket
//!    is among the last 19 bad ones. So up to 19 clients that always fail make 19 bad outcomes, in an hour as in a year.
//!
//! Rule 1 depends only on when requests start, so it cannot bias rates. Rule 2 depends on when they end: if few clients
//! call often, slow failures lose to quick answers, on the version's side as often as on stable's or more often. That is
//! measured (`tests/guardrail_false_alarms.rs`), not proven. Rule 3 can only help the version: the test's bets never rise
//! when a bad outcome becomes a good one. All bad outcomes of stable count: dropping some would blame the version. The
//! rules do not make clients alike; `sequential` says what that means.

use super::codec::{Reader, Writer};
use super::setting::SplitMark;
use super::spacing::{Bits, HASH_BUCKETS, Last, Spacing};
use super::tally::{Bases, Basis, Side, Sides, Tally};
use crate::plan::guardrails::MAX_SIGNALS;

/// Length of a slot in which both sides have requests.
const SLOT_MS: u64 = 1_000;

/// Longest a slot stays open, even if one side has no requests. What is compared must have happened at the same time; otherwise a
/// shared incident could fall on one side only.
const LONGEST_SLOT_MS: u64 = 10_000;

/// A request and its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The hash bucket of its unit. It must be independent of the assignment.
    pub bucket: u16,
    /// Any number that tells it apart from other requests of the bucket in the same second.
    pub tag: u8,
    /// The bases to which its outcome belongs.
    pub bases: Bases,
    /// Bits of the signals for which it is bad.
    pub bad: u16,
    /// True if the request was offered as fine before, and failed after its response headers. Its basis is
    /// [`Basis::Requests`] then.
    pub late: bool,
}

/// The open slot, and the buckets that counted last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    opened_ms: u64,
    /// The split under which all requests of the open slot started.
    split: SplitMark,
    signals: Vec<Basis>,
    version: Half,
    stable: Half,
    /// For each signal, the buckets of the version's last bad outcomes.
    failing: Vec<Last>,
    /// For each basis in use.
    spacings: Vec<(Basis, Spacing)>,
}

/// One side of the open slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Half {
    /// For each signal.
    tallies: Vec<Tally>,
    /// For each bucket, the tag of the request that counted last in this slot. `None` if it can't fail late any more.
    tags: Box<[Option<u8>]>,
}

impl Evidence {
    /// No evidence yet, for signals of these bases. At most [`MAX_SIGNALS`] count.
    #[must_use]
    pub fn new(signals: &[Basis], now_ms: u64) -> Self {
        let signals: Vec<_> = signals.iter().take(MAX_SIGNALS).copied().collect();
        let half = || Half {
            tallies: vec![Tally::default(); signals.len()],
            tags: vec![None; HASH_BUCKETS.into()].into(),
        };
        let failing = vec![Last::default(); signals.len()];
        let in_use = Basis::ALL.into_iter().filter(|basis| signals.contains(basis));
        let spacings = in_use.map(|basis| (basis, Spacing::default())).collect();
        Self {
            opened_ms: now_ms,
            split: SplitMark::default(),
            version: half(),
            stable: half(),
            failing,
            signals,
            spacings,
        }
    }

    /// Counts a request if its unit may count.
    ///
    /// A late failure changes the outcome of its request if the slot in which that counted is still open; the tag identifies the
    /// request. Otherwise the late failure is one more outcome under the same rules. It must not change the outcome of another
    /// request: a bucket with more requests would fail more often, and the version would be blamed once it has more traffic than
    /// stable.
    pub fn offer(&mut self, side: Side, observation: Observation) {
        let bucket = observation.bucket & (HASH_BUCKETS - 1);
        let half = match side {
            Side::Version => &mut self.version,
            Side::Stable => &mut self.stable,
        };
        let tag = half.tags.get_mut(usize::from(bucket));
        let is_own = observation.late && tag.as_deref() == Some(&Some(observation.tag));
        let mut admitted = Bases::default();
        for (basis, spacing) in &mut self.spacings {
            let is_counted = is_own && *basis == Basis::Requests;
            if observation.bases.has(*basis) && !is_counted && spacing.admits(side, bucket) {
                admitted.add(*basis);
            }
        }
        let is_seen = admitted.has(Basis::Requests);
        if let Some(tag) = tag.filter(|_| is_seen || is_own) {
            *tag = is_seen.then_some(observation.tag); // a request fails at most once
        }
        let signals = self.signals.iter().zip(&mut half.tallies).zip(&mut self.failing);
        for (place, ((basis, tally), failing)) in signals.enumerate() {
            let is_new = admitted.has(*basis);
            tally.observed = tally.observed.saturating_add(is_new.into());
            let counts = is_new || (is_own && *basis == Basis::Requests);
            let is_bad = counts && observation.bad >> place & 1 == 1;
            if is_bad && (side == Side::Stable || failing.take(bucket)) {
                tally.bad = tally.bad.saturating_add(1);
            }
        }
    }

    /// Closes the slot if it is too old for new requests, and returns what it counted.
    pub fn close_overdue(&mut self, now_ms: u64) -> Option<Vec<Sides>> {
        let is_overdue = now_ms.saturating_sub(self.opened_ms) >= LONGEST_SLOT_MS;
        if is_overdue { self.close(now_ms) } else { None }
    }

    /// Sets the split. If it is another one, closes the slot and returns what it counted, because a slot never mixes two splits.
    pub fn change_split(&mut self, split: SplitMark, now_ms: u64) -> Option<Vec<Sides>> {
        let is_same = split.continues(self.split);
        self.split = split;
        if is_same { None } else { Some(self.cut(now_ms)) }
    }

    /// Closes the slot if it is over, and returns what it counted for each signal.
    pub fn close(&mut self, now_ms: u64) -> Option<Vec<Sides>> {
        self.opened_ms = self.opened_ms.min(now_ms); // a clock that was set back does not close a slot, but must not keep it open either
        let age = now_ms.saturating_sub(self.opened_ms);
        let is_two_sided = self.version.has_any() && self.stable.has_any();
        if age < SLOT_MS || (age < LONGEST_SLOT_MS && !is_two_sided) {
            return None;
        }
        Some(self.cut(now_ms))
    }

    fn cut(&mut self, now_ms: u64) -> Vec<Sides> {
        self.opened_ms = now_ms;
        let sides = self.version.close().into_iter().zip(self.stable.close());
        sides.map(|(version, stable)| Sides { version, stable }).collect()
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.number(self.opened_ms);
        self.split.encode(writer);
        self.version.encode(writer);
        self.stable.encode(writer);
        self.failing.iter().for_each(|last| last.encode(writer));
        self.spacings.iter().for_each(|(_, spacing)| spacing.encode(writer));
    }

    /// Reads what was written for signals of these bases.
    pub(crate) fn decode(signals: &[Basis], reader: &mut Reader<'_>) -> Option<Self> {
        let mut read = Self::new(signals, reader.number()?);
        read.split = SplitMark::decode(reader)?;
        read.version.decode(reader)?;
        read.stable.decode(reader)?;
        for last in &mut read.failing {
            *last = Last::decode(reader)?;
        }
        for (_, spacing) in &mut read.spacings {
            *spacing = Spacing::decode(reader)?;
        }
        Some(read)
    }
}

impl Half {
    fn has_any(&self) -> bool {
        self.tallies.iter().any(|tally| tally.observed > 0)
    }

    /// The tally of each signal. The slot is empty afterwards.
    fn close(&mut self) -> Vec<Tally> {
        self.tags.fill(None);
        let whole = |tally: &mut Tally| {
            let Tally { observed, bad } = std::mem::take(tally);
            Tally { observed, bad: bad.min(observed) }
        };
        self.tallies.iter_mut().map(whole).collect()
    }

    fn encode(&self, writer: &mut Writer) {
        self.tallies.iter().for_each(|tally| tally.encode(writer));
        let mut tagged = Bits::default();
        let tags =
            (0..HASH_BUCKETS).zip(&self.tags).filter_map(|(bucket, tag)| tag.inspect(|_| tagged.set(bucket)));
        let tags: Vec<u8> = tags.collect();
        writer.words(&tagged.0);
        writer.bytes(&tags);
    }

    fn decode(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        for tally in &mut self.tallies {
            *tally = Tally::decode(reader)?;
        }
        let tagged = Bits(reader.words()?);
        let mut tags = reader.bytes()?.iter();
        for (_, tag) in (0..HASH_BUCKETS).zip(&mut self.tags).filter(|(bucket, _)| tagged.has(*bucket)) {
            *tag = Some(*tags.next()?);
        }
        tags.next().is_none().then_some(())
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "clippy does not see that `proptest!` makes tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bases(of: &[Basis]) -> Bases {
        of.iter().fold(Bases::default(), |mut bases, basis| {
            bases.add(*basis);
            bases
        })
    }

    fn request(bucket: u16) -> Observation {
        Observation { bucket, tag: 0, bases: bases(&Basis::ALL), bad: 0, late: false }
    }

    fn failure(bucket: u16) -> Observation {
        Observation { bad: 1, bases: bases(&[Basis::Requests, Basis::All]), ..request(bucket) }
    }

    fn counted(evidence: &mut Evidence, now_ms: u64) -> [[u64; 2]; 2] {
        let closed = evidence.close(now_ms).unwrap()[0];
        [closed.version, closed.stable].map(|tally| [tally.observed, tally.bad])
    }

    /// Requests of few buckets on both sides, and the time between them.
    fn story() -> impl Strategy<Value = Vec<(bool, Observation, u64)>> {
        let observation = (0..40_u16, 0..3_u8, any::<[bool; 2]>(), 0..4_u16).prop_map(
            |(bucket, tag, [answered, late], bad)| match answered && !late {
                true => Observation { tag, bad, ..request(bucket) },
                false => Observation { tag, bad, late, ..failure(bucket) },
            },
        );
        prop::collection::vec((any::<bool>(), observation, 0..200_u64), 0..400)
    }

    fn side(is_version: bool) -> Side {
        if is_version { Side::Version } else { Side::Stable }
    }

    proptest! {
        #[test]
        fn a_bucket_is_never_more_than_one_in_twenty(story in story()) {
            let mut evidence = Evidence::new(&[Basis::Requests], 0);
            let (mut now, mut seen, mut bad) = (0, [[0_u64; 40]; 2], [0_u64; 40]);
            for (is_version, observation, passed) in story {
                now += passed;
                // A slot that closes before each request would count most; closing at its time counts what a slot counts.
                evidence.close(now);
                let half = |evidence: &Evidence| match side(is_version) {
                    Side::Version => evidence.version.clone(),
                    Side::Stable => evidence.stable.clone(),
                };
                let before = half(&evidence);
                evidence.offer(side(is_version), observation);
                let after = half(&evidence);
                seen[usize::from(is_version)][usize::from(observation.bucket)] += after.tallies[0].observed - before.tallies[0].observed;
                if is_version {
                    bad[usize::from(observation.bucket)] += after.tallies[0].bad - before.tallies[0].bad;
                }
            }
            for counts in [seen[0], seen[1], bad] {
                let most = counts.iter().sum::<u64>().div_ceil(20);
                prop_assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
            }
        }

        #[test]
        fn what_was_written_is_read(story in story()) {
            let mut evidence = Evidence::new(&[Basis::Requests, Basis::Answers], 0);
            for (is_version, observation, passed) in story {
                evidence.close(evidence.opened_ms + passed * 6);
                evidence.offer(side(is_version), observation);
            }
            let mut writer = Writer::default();
            evidence.encode(&mut writer);
            prop_assert_eq!(Evidence::decode(&[Basis::Requests, Basis::Answers], &mut Reader::new(&writer.finish())), Some(evidence));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(0..3_u8, 0..4_000)) {
            let Some(mut read) = Evidence::decode(&[Basis::Requests, Basis::Answers], &mut Reader::new(&bytes)) else { return Ok(()) };
            read.offer(Side::Version, failure(1));
            for closed in read.close(u64::MAX).unwrap_or_default() {
                prop_assert!(closed.version.bad <= closed.version.observed && closed.stable.bad <= closed.stable.observed);
            }
        }
    }

    #[test]
    fn a_bucket_does_not_count_before_nineteen_others_and_its_first_request_wins() {
        let mut evidence = Evidence::new(&[Basis::Requests], 0);
        for bucket in 0..30 {
            for observation in [request(bucket), failure(bucket)] {
                evidence.offer(Side::Version, observation);
                evidence.offer(Side::Stable, observation);
                evidence.offer(Side::Stable, failure(bucket + 100));
            }
        }
        assert_eq!(counted(&mut evidence, 1_000), [[30, 0], [60, 30]]);
    }

    #[test]
    fn one_client_that_always_fails_counts_once_for_ever() {
        let mut evidence = Evidence::new(&[Basis::Requests], 0);
        let mut total = [0; 2];
        for second in 1..=1_000 {
            for bucket in 0..50 {
                let observation = if bucket == 7 { failure(bucket) } else { request(bucket) };
                evidence.offer(Side::Version, observation);
                evidence.offer(Side::Stable, observation);
            }
            let [version, stable] = counted(&mut evidence, second * 1_000);
            total = [total[0] + version[1], total[1] + stable[1]];
        }
        assert_eq!(total, [1, 1_000]);
    }

    #[test]
    fn a_slot_takes_a_second_and_waits_for_the_other_side_but_not_for_long() {
        let mut evidence = Evidence::new(&[Basis::Requests], 5_000);
        evidence.offer(Side::Version, request(1));
        assert_eq!([5_999, 6_000, 14_999].map(|now| evidence.close(now)), [None, None, None]);
        assert_eq!(counted(&mut evidence, 15_000), [[1, 0], [0, 0]]);
        evidence.offer(Side::Version, request(2));
        evidence.offer(Side::Stable, request(2));
        assert_eq!(evidence.close(15_999), None);
        assert_eq!(counted(&mut evidence, 16_000), [[1, 0], [1, 0]]);
        evidence.offer(Side::Stable, request(3));
        assert_eq!(evidence.close(3_000), None, "the clock was set back");
        assert_eq!(counted(&mut evidence, 13_000), [[0, 0], [1, 0]]);
    }

    #[test]
    fn answers_are_counted_apart_from_requests() {
        let mut evidence = Evidence::new(&[Basis::Requests, Basis::Answers], 0);
        evidence.offer(Side::Stable, failure(9));
        evidence.offer(Side::Version, failure(1));
        evidence.offer(Side::Version, Observation { bad: 2, ..request(1) });
        let tallies: Vec<_> = evidence.close(1_000).unwrap().iter().map(|closed| closed.version).collect();
        assert_eq!(tallies, [Tally { observed: 1, bad: 1 }; 2]);
    }

    #[test]
    fn a_late_failure_changes_its_own_request_in_the_same_slot_and_counts_by_itself_later() {
        let mut evidence = Evidence::new(&[Basis::Requests], 0);
        let late = |bucket, tag| Observation { late: true, tag, ..failure(bucket) };
        for side in [Side::Version, Side::Stable] {
            evidence.offer(side, Observation { tag: 1, ..request(1) });
            evidence.offer(side, Observation { tag: 2, ..request(1) });
            evidence.offer(side, late(1, 2));
        }
        assert_eq!(counted(&mut evidence, 1_000), [[1, 0]; 2], "the second request did not count");
        for side in [Side::Version, Side::Stable] {
            evidence.offer(side, Observation { tag: 1, ..request(2) });
            evidence.offer(side, late(2, 1));
            evidence.offer(side, late(3, 1));
        }
        assert_eq!(counted(&mut evidence, 2_000), [[2, 2]; 2]);
    }
}
