//! Guardrails as workers use them: each worker records its own requests and merges them into one shared record. Nothing is lost or
//! counted twice, a version is condemned once and for a reason, and no bytes in the shared data cause a panic.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rollout_core::guardrail::{
    Action, End, Label, Latch, Limit, Merge, Observed, Outcome, Rule, Setting, SharedRecord, Shelf, Sides,
    SplitMark, Tally, Ticket, Worker,
};
use rollout_core::{Health, Now, Ppm, State, Time, compile, decide_unit};
use serde_json::{Value, json};

mod guardrail;

use guardrail::site::{FAILED, FINE, START, Site, V1, V2, after, took, verdicts};

/// Every kind of signal.
fn everything() -> Value {
    json!({"window": "15s", "min_requests": 20, "signals": [
        {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"latency": {"quantile": 0.9, "max_ms": 100}}, {"latency": {"quantile": 0.5, "max_ratio": 1.5, "confidence": 0.99}},
        {"response_header": {"name": "x-low", "exact": "1", "max_percent": 10}},
        {"response_header": {"name": "x-low", "exact": "1", "max_increase_percent": 5, "confidence": 0.99}}, {"sample_ratio": {"confidence": 0.999}},
        {"abandon_rate": {"max_percent": 20}}, {"abandon_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"status": {"in": [404, "4xx"], "max_percent": 20}}, {"status": {"in": [404], "max_increase_percent": 2, "confidence": 0.99}}]})
}

/// One step of four workers: the worker, the side and the unit, the outcome, and whether the worker merges afterwards.
type Step = (usize, usize, usize, (bool, bool, u64), (bool, bool));

fn story() -> impl Strategy<Value = Vec<Step>> {
    let outcome = (any::<bool>(), any::<bool>(), 1..200_u64);
    prop::collection::vec((0..4_usize, 0..2_usize, 0..400_usize, outcome, any::<(bool, bool)>()), 0..200)
}

/// Sums of what the signals over a window got, by position.
fn add(sums: &mut BTreeMap<usize, [u64; 4]>, site: &Site, merged: &Merge) {
    for of in &merged.observed {
        let rule = site.guardrails().signals()[of.position].rule();
        if matches!(rule, Rule::Rate(_, Limit::Share(_))) {
            let sum = sums.entry(of.position).or_default();
            let Sides { version, stable } = of.sides;
            let more = [version.observed, version.bad, stable.observed, stable.bad];
            *sum = std::array::from_fn(|place| sum[place] + more[place]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn four_workers_that_merge_in_any_order_see_what_one_would_have_seen(story in story()) {
        let site = Site::new(&everything());
        let mut workers: Vec<Worker> = (0..4).map(|_| site.worker()).collect();
        let mut alone = site.worker();
        let [mut shared, mut own] = [Vec::new(), Vec::new()];
        let [mut sums, mut of_one] = [BTreeMap::new(), BTreeMap::new()];
        for (who, side, unit, (failed, low, milliseconds), (is_late, merges)) in story {
            let marks = if low { 1 << 5 | 1 << 6 } else { 0 };
            let end = match (failed, milliseconds % 5) {
                (true, _) => End::Failed,
                (false, 0) => End::Abandoned,
                (false, _) => End::Answered,
            };
            let outcome = Outcome { end, marks, ..took(milliseconds) };
            let ticket = site.call(&mut workers[who], (side, unit), (START, outcome));
            let same = site.call(&mut alone, (side, unit), (START, outcome));
            if is_late && end == End::Answered {
                workers[who].record_late_failure(site.guardrails(), &ticket, START);
                alone.record_late_failure(site.guardrails(), &same, START);
            }
            if merges {
                add(&mut sums, &site, &site.merge(&mut workers[who], &mut shared, START));
            }
        }
        for worker in &mut workers {
            add(&mut sums, &site, &site.merge(worker, &mut shared, START));
        }
        add(&mut of_one, &site, &site.merge(&mut alone, &mut own, START));
        let totals = |shared| site.record(shared).unwrap().totals();
        prop_assert_eq!(totals(&shared), totals(&own));
        prop_assert_eq!(sums, of_one);
    }

    #[test]
    fn foreign_bytes_are_not_a_record_or_one_that_is_written_back_unchanged(bytes: Vec<u8>) {
        for guardrails in [everything(), json!({"signals": [{"consecutive_failures": 3}]})] {
            survives(&Site::new(&guardrails), &bytes)?;
        }
    }

    #[test]
    fn a_damaged_record_causes_no_panic(at in 0..7_000_usize, byte: u8, cut in 0..9_000_usize) {
        let site = Site::new(&everything());
        let mut bytes = busy(&site);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut);
        survives(&site, &bytes)?;
    }

    #[test]
    fn foreign_bytes_are_not_a_shelf_or_one_that_is_written_back_unchanged(bytes: Vec<u8>) {
        let shelf = Shelf::decode(&bytes);
        prop_assert_eq!(&Shelf::decode(&shelf.encode()), &shelf);
    }
}

/// The bytes of a record that is not empty.
fn busy(site: &Site) -> Vec<u8> {
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    let mut record = None;
    for second in 0..4 {
        let now = after(f64::from(second));
        site.calls(&mut worker, (V1, 100), (now, FINE));
        site.calls(&mut worker, (V2, 100), (now, if second == 2 { FAILED } else { took(90) }));
        record = Some(site.merge(&mut worker, &mut shared, now).record);
    }
    record.unwrap().encode()
}

/// Checks that whatever is read is the same after it is written and read again, and can be used without a panic.
fn survives(site: &Site, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Some(record) = SharedRecord::decode(site.guardrails(), bytes) {
        prop_assert_eq!(SharedRecord::decode(site.guardrails(), &record.encode()), Some(record));
    }
    let mut shelf = Shelf::default();
    shelf.put(site.label(), bytes.to_vec(), None, 0);
    let (mut worker, mut shared) = (site.worker(), shelf.encode());
    for second in [5.0, 7.0] {
        site.calls(&mut worker, (V1, 50), (after(second), FINE));
        site.calls(&mut worker, (V2, 50), (after(second), FAILED));
        let merged = site.merge(&mut worker, &mut shared, after(second));
        prop_assert_eq!(site.record(&shared), Some(merged.record));
    }
    Ok(())
}

#[test]
fn a_signal_condemns_a_version_once() {
    let site = Site::new(
        &json!({"min_requests": 20, "signals": [{"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}}]}),
    );
    let mut workers = [site.worker(), site.worker()];
    let (mut shared, mut found) = (Vec::new(), Vec::new());
    for tick in 0..100 {
        let (now, worker) = (after(f64::from(tick) / 5.0), tick as usize % 2);
        site.calls(&mut workers[worker], (V2, 10), (now, FAILED));
        let merged = site.merge(&mut workers[worker], &mut shared, now);
        found.extend(verdicts(&site, &merged));
    }
    assert_eq!(found, ["error_rate", "consecutive_failures"]);
}

#[test]
fn without_requests_there_is_no_verdict() {
    let site = Site::new(&everything());
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    for tick in 0..1_000 {
        let now = after(f64::from(tick) / 5.0);
        assert_eq!(site.merge(&mut worker, &mut shared, now).verdicts, [], "tick {tick}");
    }
    for tick in 1_000..1_200 {
        let now = after(f64::from(tick) / 5.0);
        site.calls(&mut worker, (V1, 50), (now, FAILED));
        assert_eq!(site.merge(&mut worker, &mut shared, now).verdicts, [], "stable alone fails, tick {tick}");
    }
}

#[test]
fn a_rate_of_fewer_requests_than_min_requests_condemns_no_version() {
    let site = Site::new(&json!({"min_requests": 50, "signals": [{"error_rate": {"max_percent": 20}}]}));
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    site.calls(&mut worker, (V2, 49), (START, FAILED));
    assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts, []);
    site.calls(&mut worker, (V2, 1), (START, FINE));
    let merged = site.merge(&mut worker, &mut shared, START);
    assert_eq!(verdicts(&site, &merged), ["error_rate"]);
    let shown = merged.verdicts[0].finding.to_string();
    assert_eq!(shown, "49 of 50 (98.0000 %), limit 20.0000 %");
}

#[test]
fn a_rate_at_its_limit_condemns_no_version() {
    let site = Site::new(&json!({"min_requests": 1, "signals": [{"error_rate": {"max_percent": 20}}]}));
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    site.calls(&mut worker, (V2, 80), (START, FINE));
    site.calls(&mut worker, (V2, 20), (START, FAILED));
    assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts, []);
    site.calls(&mut worker, (V2, 1), (START, FAILED));
    assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts.len(), 1);
}

#[test]
fn a_quantile_at_its_limit_condemns_no_version() {
    // Four units must have slow answers.
    for (quantile, slow) in [
        (0.5, 2_000),
        (0.6, 1_600),
        (0.7, 1_200),
        (0.8, 800),
        (0.9, 400),
        (0.95, 200),
        (0.99, 40),
        (0.999, 4),
    ] {
        let site = Site::new(
            &json!({"min_requests": 1, "signals": [{"latency": {"quantile": quantile, "max_ms": 100}}]}),
        );
        let (mut worker, mut shared) = (site.worker(), Vec::new());
        site.calls(&mut worker, (V2, 4_000 - slow), (START, FINE));
        site.calls(&mut worker, (V2, slow), (START, took(101)));
        assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts, [], "{quantile}");
        site.calls(&mut worker, (V2, 1), (START, took(101)));
        assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts.len(), 1, "{quantile}");
    }
}

#[test]
fn a_window_forgets_what_has_left_it() {
    let site = Site::new(
        &json!({"window": "15s", "min_requests": 50, "signals": [{"error_rate": {"max_percent": 20}}]}),
    );
    for (gap, condemned) in [(10.0, 1), (16.0, 0)] {
        let (mut worker, mut shared) = (site.worker(), Vec::new());
        site.calls(&mut worker, (V2, 40), (START, FAILED));
        assert_eq!(site.merge(&mut worker, &mut shared, START).verdicts, []);
        site.calls(&mut worker, (V2, 50), (after(gap), FINE));
        let merged = site.merge(&mut worker, &mut shared, after(gap));
        assert_eq!(merged.verdicts.len(), condemned, "after {gap} s");
    }
}

#[test]
fn a_failure_alone_in_its_merge_is_observed_too() {
    let site = Site::new(&json!({"min_requests": 10, "signals": [{"error_rate": {"max_percent": 20}}]}));
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    let own = |observed, bad| Sides { version: Tally { observed, bad }, ..Sides::default() };
    let tickets: Vec<Ticket> =
        (0..10).map(|unit| site.call(&mut worker, (V2, unit), (START, FINE))).collect();
    assert_eq!(
        site.merge(&mut worker, &mut shared, START).observed,
        [Observed { position: 0, sides: own(10, 0) }]
    );
    tickets.iter().for_each(|ticket| worker.record_late_failure(site.guardrails(), ticket, after(1.0)));
    let merged = site.merge(&mut worker, &mut shared, after(1.0));
    assert_eq!(merged.observed, [Observed { position: 0, sides: own(0, 10) }]);
    assert_eq!(verdicts(&site, &merged), ["error_rate"]);
}

/// Lets seconds pass. In each, both sides have this many clients with one request. Returns the time and the signal of the verdict.
fn seconds(
    site: &Site,
    range: std::ops::Range<u32>,
    worker: &mut Worker,
    shared: &mut Vec<u8>,
    mut outcome: impl FnMut(u32, usize, usize) -> Outcome,
) -> Option<(u32, String)> {
    for second in range {
        let now = after(f64::from(second));
        for side in [V2, V1] {
            for unit in 0..300 {
                site.call(worker, (side, unit), (now, outcome(second, side, unit)));
            }
        }
        let merged = site.merge(worker, shared, now);
        if let Some(name) = verdicts(site, &merged).first() {
            return Some((second, (*name).to_owned()));
        }
    }
    None
}

fn increase() -> Site {
    Site::new(
        &json!({"min_requests": 50, "signals": [{"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}),
    )
}

#[test]
fn a_version_is_not_blamed_for_an_outage_that_stable_shares() {
    for margin in [0, 2] {
        let site = Site::new(
            &json!({"min_requests": 50, "signals": [{"error_rate": {"max_increase_percent": margin, "confidence": 0.99}}]}),
        );
        let (mut worker, mut shared) = (site.worker(), Vec::new());
        let found = seconds(&site, 0..240, &mut worker, &mut shared, |second, _, unit| match second {
            0..60 => FINE,
            60..120 if unit.is_multiple_of(2) => FAILED,
            120..180 => FAILED,
            _ => FINE,
        });
        assert_eq!(found, None, "margin {margin}");
    }
}

#[test]
fn requests_before_a_long_silence_are_not_compared_with_requests_after_it() {
    let site = increase();
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    assert_eq!(seconds(&site, 0..60, &mut worker, &mut shared, |_, _, _| FINE), None);
    site.calls(&mut worker, (V1, 300), (after(60.0), FINE));
    assert_eq!(site.merge(&mut worker, &mut shared, after(60.2)).verdicts, []);
    // An hour later both sides fail, and stable's clients are those that the open slot has already counted.
    let down = seconds(&site, 3_600..3_660, &mut worker, &mut shared, |_, _, _| FAILED);
    assert_eq!(down, None);
}

#[test]
fn a_version_that_fails_more_often_than_stable_is_condemned_within_seconds() {
    let site = increase();
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    let outcome = |second: u32, side: usize, unit: usize| {
        if second >= 60 && side == V2 && unit.is_multiple_of(5) { FAILED } else { FINE }
    };
    let (second, name) = seconds(&site, 0..120, &mut worker, &mut shared, outcome).unwrap();
    assert_eq!(name, "error_rate_increase");
    assert!((60..70).contains(&second), "{second}");
}

#[test]
fn one_client_that_always_fails_condemns_no_version() {
    let site = increase();
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    let (mut second, mut highest) = (0, 0.0_f64);
    while second < 240 {
        let now = after(f64::from(second));
        for unit in 0..300 {
            site.call(&mut worker, (V1, unit), (now, FINE));
            site.call(&mut worker, (V2, unit), (now, if unit == 7 { FAILED } else { FINE }));
            site.call(&mut worker, (V2, 7), (now, FAILED)); // half of all requests
        }
        let merged = site.merge(&mut worker, &mut shared, now);
        assert_eq!(merged.verdicts, [], "second {second}");
        let closed = merged.observed.first().map(|of| of.sides.version.rate());
        highest = highest.max(closed.unwrap_or_default());
        second += 1;
    }
    assert!(highest < 0.05, "the client is a small share of what counts: {highest}");
}

#[test]
fn stables_answers_of_earlier_slots_define_what_is_slow() {
    let site = Site::new(
        &json!({"window": "15s", "min_requests": 50, "signals": [{"latency": {"quantile": 0.8, "max_ratio": 1.5, "confidence": 0.99}}]}),
    );
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    site.merge(&mut worker, &mut shared, START); // the record begins
    let mut second = |second: f64, [own, stable]: [u64; 2]| {
        let now = after(second);
        site.calls(&mut worker, (V2, 100), (now, took(own)));
        site.calls(&mut worker, (V1, 100), (now, took(stable)));
        let closing = after(second + 1.0);
        let merged = site.merge(&mut worker, &mut shared, closing);
        let Sides { version, stable } = merged.observed[0].sides;
        [version, stable].map(|tally| tally.rate())
    };
    assert_eq!(second(0.0, [5_000, 10]), [0.0, 0.0], "nothing is known of stable yet");
    assert_eq!(second(2.0, [5_000, 10]), [0.0, 0.0], "stable's first slot is closed by this merge");
    assert_eq!(second(4.0, [14, 10]), [0.0, 0.0], "below 1.5 times 10 ms");
    assert_eq!(second(6.0, [16, 1_000]), [1.0, 1.0], "stable's slow answers do not speak for themselves");
}

#[test]
fn a_version_as_slow_as_stable_is_not_too_slow() {
    let site = Site::new(
        &json!({"window": "15s", "min_requests": 50, "signals": [{"latency": {"quantile": 0.8, "max_ratio": 1.5, "confidence": 0.99}}]}),
    );
    let (mut worker, mut shared) = (site.worker(), Vec::new());
    let both =
        |second: u32, _: usize, unit: usize| took(if second < 60 { 10 } else { 100 } + unit as u64 % 7);
    assert_eq!(seconds(&site, 0..120, &mut worker, &mut shared, both), None);
    let own = |_: u32, side: usize, unit: usize| took(if side == V2 { 220 } else { 100 } + unit as u64 % 7);
    let (second, name) = seconds(&site, 120..180, &mut worker, &mut shared, own).unwrap();
    assert_eq!(name, "latency_ratio");
    assert!(second < 130, "{second}");
}

#[test]
fn lost_units_cause_a_warning_and_units_that_arrive_do_not() {
    let site = Site::new(&json!({"signals": [{"sample_ratio": {"confidence": 0.999}}]}));
    assert_eq!(site.guardrails().action_of(0), Action::Warn);
    for (lost, share, condemned) in [(1, Ppm::new(500_000), 0), (3, Ppm::new(500_000), 1), (3, None, 0)] {
        let (mut worker, mut shared) = (site.worker(), Vec::new());
        let setting = Setting { share, ..site.setting(START) };
        site.merge_as(&mut worker, &mut shared, &setting);
        site.calls(&mut worker, (V2, site.sides[V2].len() / lost), (START, FINE));
        site.calls(&mut worker, (V1, site.sides[V1].len()), (START, FINE));
        let merged = site.merge_as(&mut worker, &mut shared, &setting);
        assert_eq!(merged.verdicts.len(), condemned, "one in {lost}, share {share:?}");
    }
}

#[test]
fn the_expected_share_is_the_share_that_is_drawn_whatever_guardrails_withdraw() {
    let frozen = |percent: u32| State::Frozen(Ppm::new(percent * 10_000).unwrap());
    let states = [State::Healthy, State::RolledBack, frozen(0), frozen(5), frozen(100)];
    for strategy in [
        json!({"canary": {"version": "v2", "percent": 10}}),
        json!({"canary": {"version": "v2", "percent": 100}}),
        json!({"ab_test": {"arms": [{"version": "v2", "weight": 1}, {"version": "v3", "weight": 2}], "percent": 60}}),
        json!({"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 1}, {"version": "v3", "weight": 1}]}}),
    ] {
        let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "g", "stable": "v1",
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}, {"name": "v3", "cluster": "c3"}],
            "layer": {"name": "l", "from": 20, "to": 80},
            "strategy": strategy, "guardrails": {"signals": [{"sample_ratio": {"confidence": 0.999}}]}}]});
        let plan = compile(document.to_string().as_bytes()).unwrap_or_else(|no| panic!("{no}")).plan;
        let rollout = &plan.rollouts()[0];
        let [_, v2, v3] = rollout.versions() else { panic!("three versions") };
        for (own, other) in states.iter().flat_map(|own| states.iter().map(move |other| (*own, *other))) {
            let mut health = Health::default();
            health.set(v2, own);
            health.set(v3, other);
            let time = Time::from_seconds(START.as_secs());
            let decisions = (0..4_000).map(|number| {
                let moment = Now { time, health: &health };
                decide_unit(&plan, rollout, format!("user-{number}").as_bytes(), moment)
            });
            let drawn: Vec<_> = decisions.filter(|decision| decision.reason.is_drawn()).collect();
            let got = drawn.iter().filter(|decision| decision.version.name() == "v2").count() as f64;
            let setting = Setting::of(rollout, 0, &health, START).unwrap();
            let expected = setting.share.map_or(0.0, |share| f64::from(share.get()) / 1e6);
            let share = got / drawn.len().max(1) as f64;
            assert!(
                (share - expected).abs() < 0.04,
                "{share} for {expected}: {strategy}, {own:?}, {other:?}"
            );
            assert_eq!(got == 0.0, expected == 0.0, "{strategy}, {own:?}, {other:?}");
        }
    }
}

#[test]
fn forced_requests_count_for_no_version() {
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": {"canary": {"version": "v2", "percent": 50}},
        "overrides": [{"units": ["tester"], "version": "v2"}], "guardrails": everything()}]});
    let plan = compile(document.to_string().as_bytes()).unwrap().plan;
    let rollout = &plan.rollouts()[0];
    let decision = decide_unit(&plan, rollout, b"tester", Time::from_seconds(START.as_secs()));
    let mut worker = Worker::new(rollout.guardrails().unwrap(), rollout.stable().ordinal());
    assert_eq!(worker.begin(&decision, START, SplitMark::default()), None);
    assert!(worker.dirty().is_empty());
}

/// The identity and the epoch of v2 under a document.
fn label(change: impl FnOnce(&mut Value)) -> Label {
    let mut rollout = json!({"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": {"canary": {"version": "v2", "percent": 5}},
        "guardrails": {"signals": [{"consecutive_failures": 20}]}});
    change(&mut rollout);
    let document = json!({"revision": 1, "rollouts": [rollout]}).to_string();
    let plan = compile(document.as_bytes()).unwrap_or_else(|refused| panic!("{refused}")).plan;
    let guarded = &plan.rollouts()[0].guardrails().unwrap().guarded()[0];
    Label { identity: guarded.identity, epoch: guarded.epoch }
}

#[test]
fn a_latch_belongs_to_rollout_version_and_cluster_and_counts_to_a_setup() {
    let today = label(|_| {});
    let latch = Latch { rearm: 0, action: Action::Rollback, exposure: Ppm::ZERO, at: 0 };
    let mut shelf = Shelf::default();
    shelf.put(today, Vec::new(), Some(latch), 0);
    let holds = |of: Label| shelf.latch(of.identity, 0).is_some();
    type Change = (&'static str, bool, bool, fn(&mut Value));
    let changes: [Change; 8] = [
        ("a percentage", true, true, |rollout| rollout["strategy"]["canary"]["percent"] = 50.into()),
        ("a salt", true, true, |rollout| rollout["salt"] = "another".into()),
        ("another strategy", true, false, |rollout| {
            rollout["strategy"] = json!({"blue_green": {"active": "v2"}})
        }),
        ("another limit", true, false, |rollout| {
            rollout["guardrails"]["signals"][0] = json!({"consecutive_failures": 30})
        }),
        ("another cluster of stable", true, false, |rollout| rollout["versions"][0]["cluster"] = "c9".into()),
        ("another cluster", false, true, |rollout| rollout["versions"][1]["cluster"] = "c9".into()),
        ("another name", false, true, |rollout| {
            rollout["versions"][1]["name"] = "v3".into();
            rollout["strategy"]["canary"]["version"] = "v3".into();
        }),
        ("another rollout", false, true, |rollout| rollout["name"] = "spam".into()),
    ];
    for (what, holds_on, counts_on, change) in changes {
        let changed = label(change);
        assert_eq!((holds(changed), changed.epoch == today.epoch), (holds_on, counts_on), "{what}");
    }
}
