//! The table of pairs: every pair ends exactly once, whatever comes in whatever order, and the table stays within its bounds.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use rollout_core::compare::{Ended, Head, Origin, PairId, PairResult, Pairs};
use rollout_core::{Shadow, compile};
use serde_json::{Value, json};

/// Two shadows of a rollout, which compare like this.
fn shadows(rules: [Value; 2]) -> Vec<Rc<Shadow>> {
    let shadow = |version: &str, rules: &Value| json!({"version": version, "percent": 100, "cluster": format!("{version}-copies"), "compare": rules});
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}, {"name": "v3", "cluster": "c3"}],
        "shadow": [shadow("v2", &rules[0]), shadow("v3", &rules[1])]}]});
    let plan = compile(document.to_string().as_bytes()).unwrap_or_else(|no| panic!("{no}")).plan;
    plan.rollouts()[0].shadows().map(Rc::clone).collect()
}

fn head(lines: &[(&str, &str)]) -> Head {
    let status = [(":status".to_owned(), b"200".to_vec())];
    let lines = lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    Head::new(status.into_iter().chain(lines).collect())
}

const V2: Origin<'static> = Origin::Copy(b"v2-copies");
const V3: Origin<'static> = Origin::Copy(b"v3-copies");

struct Table {
    pairs: Pairs<u64>,
    ended: Vec<(u64, String, PairResult)>,
}

impl Table {
    fn new() -> Self {
        Self { pairs: Pairs::default(), ended: Vec::new() }
    }

    fn take(&mut self, ended: Vec<Ended<u64>>) {
        let brief = |of: Ended<u64>| (of.owner, of.shadow.version.name().to_owned(), of.result);
        self.ended.extend(ended.into_iter().map(brief));
    }

    fn open(&mut self, owner: u64, shadows: &[Rc<Shadow>], at: u64) -> Option<PairId> {
        let (id, ended) =
            self.pairs.open(owner, shadows.iter().map(Rc::clone), b"POST", Duration::from_secs(at));
        self.take(ended);
        id
    }

    fn head(&mut self, id: PairId, origin: Origin<'_>, lines: &[(&str, &str)]) {
        let ended = self.pairs.head(id, origin, head(lines));
        self.take(ended);
    }

    fn body(&mut self, id: PairId, origin: Origin<'_>, piece: &[u8]) {
        let ended = self.pairs.body(id, origin, piece);
        self.take(ended);
    }

    fn end(&mut self, id: PairId, origin: Origin<'_>) {
        let ended = self.pairs.end(id, origin, None);
        self.take(ended);
    }

    fn fail(&mut self, id: PairId, origin: Origin<'_>, result: PairResult) {
        let ended = self.pairs.fail(id, origin, result);
        self.take(ended);
    }

    fn whole(&mut self, id: PairId, origin: Origin<'_>, body: &[u8]) {
        self.head(id, origin, &[("content-type", "application/json")]);
        body.chunks(3).for_each(|piece| self.body(id, origin, piece));
        self.end(id, origin);
    }

    fn results(&mut self) -> Vec<(String, PairResult)> {
        let mut results: Vec<_> =
            self.ended.drain(..).map(|(_, version, result)| (version, result)).collect();
        results.sort_by(|one, other| one.0.cmp(&other.0));
        results
    }
}

fn both(v2: PairResult, v3: PairResult) -> Vec<(String, PairResult)> {
    vec![("v2".to_owned(), v2), ("v3".to_owned(), v3)]
}

#[test]
fn answers_are_compared_in_whatever_order_they_end() {
    let shadows = shadows([json!({}), json!({"json": {"abs_tolerance": 0.5}})]);
    let orders =
        [[Origin::Live, V2, V3], [V2, Origin::Live, V3], [V2, V3, Origin::Live], [V3, V2, Origin::Live]];
    for order in orders {
        let mut table = Table::new();
        let id = table.open(1, &shadows, 0).unwrap();
        for origin in order {
            let body: &[u8] =
                if origin == Origin::Live { br#"{"score": 1.0}"# } else { br#"{"score": 1.25}"# };
            table.whole(id, origin, body);
        }
        assert_eq!(table.results(), both(PairResult::Mismatch, PairResult::Match), "{order:?}");
        assert_eq!((table.pairs.open_pairs(), table.pairs.bytes()), (0, 0));
    }
}

/// What happens to the two pairs of a call, and their results.
type Case = (&'static str, fn(&mut Table, PairId), Vec<(String, PairResult)>);

#[test]
fn what_can_not_be_compared_ends_its_pairs_with_the_cause() {
    let shadows = shadows([json!({"max_body_bytes": 10}), json!({"max_body_bytes": 20})]);
    let cases: [Case; 9] = [
        (
            "live says that it is too long for one",
            |table, id| {
                table.head(id, Origin::Live, &[("content-length", "15")]);
                table.body(id, Origin::Live, &[0; 15]);
                table.end(id, Origin::Live);
                table.fail(id, V3, PairResult::ShadowError);
            },
            both(PairResult::SkippedSize, PairResult::ShadowError),
        ),
        (
            "a copy becomes too long",
            |table, id| {
                table.head(id, V2, &[]);
                table.body(id, V2, &[0; 10]);
                assert_eq!(table.pairs.open_pairs(), 2);
                table.body(id, V2, &[0; 1]);
                table.fail(id, Origin::Live, PairResult::LiveError);
            },
            both(PairResult::SkippedSize, PairResult::LiveError),
        ),
        (
            "compressed",
            |table, id| {
                table.head(id, V3, &[("content-encoding", "gzip")]);
                table.head(id, Origin::Live, &[("content-encoding", "br")]);
            },
            both(PairResult::SkippedEncoding, PairResult::SkippedEncoding),
        ),
        (
            "not compressed",
            |table, id| {
                for origin in [Origin::Live, V2, V3] {
                    table.head(id, origin, &[("content-encoding", "Identity")]);
                    table.end(id, origin);
                }
            },
            both(PairResult::Match, PairResult::Match),
        ),
        (
            "events",
            |table, id| {
                table.head(id, Origin::Live, &[("content-type", "Text/Event-Stream; charset=utf-8")]);
            },
            both(PairResult::SkippedStream, PairResult::SkippedStream),
        ),
        (
            "the client leaves",
            |table, id| {
                table.whole(id, V2, b"1");
                table.fail(id, Origin::Live, PairResult::SkippedAbandoned);
            },
            both(PairResult::SkippedAbandoned, PairResult::SkippedAbandoned),
        ),
        (
            "whole answers can't fail any more",
            |table, id| {
                table.whole(id, Origin::Live, b"1");
                table.fail(id, Origin::Live, PairResult::LiveError);
                table.whole(id, V2, b"1");
                table.fail(id, V2, PairResult::ShadowError);
                table.whole(id, V3, b"2");
            },
            both(PairResult::Match, PairResult::Mismatch),
        ),
        (
            "an end without a head is no answer",
            |table, id| {
                table.end(id, Origin::Live);
                table.end(id, V2);
                table.fail(id, Origin::Live, PairResult::LiveError);
            },
            both(PairResult::LiveError, PairResult::LiveError),
        ),
        (
            "age",
            |table, id| {
                table.whole(id, V2, b"1");
                let ended = table.pairs.sweep(Duration::from_secs(29));
                assert!(ended.is_empty());
                let ended = table.pairs.sweep(Duration::from_secs(30));
                table.take(ended);
            },
            both(PairResult::LiveError, PairResult::ShadowError),
        ),
    ];
    for (what, act, expected) in cases {
        let mut table = Table::new();
        let id = table.open(1, &shadows, 0).unwrap();
        act(&mut table, id);
        assert_eq!(table.results(), expected, "{what}");
        assert_eq!((table.pairs.open_pairs(), table.pairs.bytes()), (0, 0), "{what}");
    }
}

#[test]
fn an_answer_to_head_is_whole_at_its_headers() {
    let shadows = shadows([json!({}), json!({"headers": ["etag"]})]);
    let mut table = Table::new();
    let (id, _) = table.pairs.open(1, shadows.iter().map(Rc::clone), b"HEAD", Duration::ZERO);
    let id = id.unwrap();
    table.head(id, V2, &[("content-length", "9")]);
    table.fail(id, V2, PairResult::ShadowError);
    table.head(id, Origin::Live, &[("content-length", "9")]);
    table.body(id, Origin::Live, b"");
    table.fail(id, Origin::Live, PairResult::LiveError);
    table.head(id, V3, &[("etag", "1")]);
    assert_eq!(table.results(), both(PairResult::Match, PairResult::Mismatch));
}

#[test]
fn a_sample_of_the_copies_is_compared() {
    let shadows = shadows([json!({"sample": 10}), json!({"sample": 0})]);
    let mut table = Table::new();
    let open = (0..10_000).filter(|owner| table.open(*owner, &shadows, 0).is_some()).count();
    // More than that many are open only if the sample is wrong: the table has room for 8,192.
    assert!((900..1_100).contains(&open), "{open}");
    assert!(table.ended.iter().all(|(_, _, result)| *result == PairResult::SkippedSample));
    assert_eq!(table.ended.len() + open, 20_000);
}

#[test]
fn calls_and_bytes_are_bounded_and_what_has_no_room_is_counted() {
    let shadows = shadows([json!({"max_body_bytes": 1 << 20}), json!({"max_body_bytes": 1 << 20})]);
    let mut table = Table::new();
    let ids: Vec<_> = (0..9_000).filter_map(|owner| table.open(owner, &shadows, 0)).collect();
    assert_eq!(ids.len(), 8_192);
    assert_eq!(table.ended.len(), 2 * (9_000 - 8_192));
    table.ended.clear();
    let ended = table.pairs.sweep(Duration::from_secs(30));
    table.take(ended);
    assert_eq!((table.ended.len(), table.pairs.bytes()), (2 * 8_192, 0));

    let mut table = Table::new();
    for owner in 0..20 {
        let Some(id) = table.open(owner, &shadows, 0) else { continue };
        table.head(id, Origin::Live, &[]);
        for _ in 0..16 {
            table.body(id, Origin::Live, &[0; 64 << 10]);
        }
        assert!(table.pairs.bytes() <= 9 << 20, "{}", table.pairs.bytes());
    }
    assert!(table.ended.iter().all(|(_, _, result)| *result == PairResult::SkippedMemory));
    assert!(table.ended.len() >= 2 * 12, "{}", table.ended.len());
}

#[test]
fn the_name_of_a_pair_is_read_only_by_the_vm_that_wrote_it() {
    let shadows = shadows([json!({}), json!({})]);
    let id = Table::new().open(1, &shadows, 0).unwrap();
    assert_eq!(PairId::parse(id.text(7).as_bytes(), 7), Some(id));
    assert_eq!(PairId::parse(id.text(7).as_bytes(), 8), None);
    for text in ["", "7", "7-1", "7-1-", "7-x-1", "7-1-99999999999999999999", "-7-1-0", "\u{ff}"] {
        assert_eq!(PairId::parse(text.as_bytes(), 7), None, "{text}");
    }
}

proptest! {
    #[test]
    fn every_pair_ends_exactly_once(acts: Vec<(u8, u8, u8)>) {
        let shadows = shadows([json!({"max_body_bytes": 4}), json!({"sample": 50})]);
        let (mut table, mut ids, mut opened) = (Table::new(), Vec::new(), 0_u64);
        for (step, (act, who, which)) in (0..).zip(acts) {
            let origin = [Origin::Live, V2, V3, Origin::Copy(b"nobody")][usize::from(who % 4)];
            let id = ids.get(usize::from(which) % ids.len().max(1)).copied();
            match (act % 8, id) {
                (0..=2, _) | (_, None) => {
                    opened += 1;
                    ids.extend(table.open(opened, &shadows, step / 4));
                }
                (3, Some(id)) => table.head(id, origin, &[]),
                (4, Some(id)) => table.body(id, origin, b"123"),
                (5, Some(id)) => table.end(id, origin),
                (6, Some(id)) => table.fail(id, origin, PairResult::ShadowError),
                (_, Some(_)) => {
                    let ended = table.pairs.sweep(Duration::from_secs(step / 4));
                    table.take(ended);
                }
            }
        }
        let ended = table.pairs.sweep(Duration::from_secs(1_000_000));
        table.take(ended);
        let mut found: Vec<_> = table.ended.iter().map(|(owner, version, _)| (*owner, version.clone())).collect();
        found.sort();
        let expected: Vec<_> =
            (1..=opened).flat_map(|owner| [(owner, "v2".to_owned()), (owner, "v3".to_owned())]).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!((table.pairs.open_pairs(), table.pairs.bytes()), (0, 0));
    }
}
