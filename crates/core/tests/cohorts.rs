//! Properties of the units of any document: they are sticky, shares have the right size, and splits are independent of each other.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test may stop with the reason"
)]

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use rollout_core::guardrail::Setting;
use rollout_core::{Health, Plan, Ppm, Reason, Rollout, Time, compile, decide_unit};
use serde_json::{Value, json};

const NOW: Time = Time::from_seconds(0);

/// A rollout of `v0` (stable) to `v15` with this strategy.
fn plan(salt: &str, strategy: &Value) -> Plan {
    let versions: Vec<Value> =
        (0..16).map(|i| json!({"name": format!("v{i}"), "cluster": format!("c{i}")})).collect();
    let document = json!({"revision": 1, "rollouts": [{
        "name": "cohorts", "unit": [{"header": "x-user-id"}], "salt": salt, "stable": "v0",
        "versions": versions, "strategy": strategy}]});
    compile(document.to_string().as_bytes()).unwrap().plan
}

fn ab_test(weights: &[u32], percent: f64) -> Value {
    let arms: Vec<Value> = weights
        .iter()
        .enumerate()
        .map(|(arm, weight)| json!({"version": format!("v{arm}"), "weight": weight}))
        .collect();
    json!({"ab_test": {"arms": arms, "percent": percent}})
}

fn decided(plan: &Plan, unit: &str) -> (String, Reason) {
    let decision = decide_unit(plan, only(plan), unit.as_bytes(), NOW);
    (decision.version.name().to_owned(), decision.reason)
}

fn only(plan: &Plan) -> &Rc<Rollout> {
    plan.rollouts().first().unwrap()
}

fn percent() -> impl Strategy<Value = f64> {
    (0..=1_000_000_u32).prop_map(|ppm| f64::from(ppm) / 10_000.0)
}

/// Weights of 2, 3 or 8 arms, at least one of them above 0.
fn weights() -> impl Strategy<Value = Vec<u32>> {
    let arms = prop_oneof![Just(2_usize), Just(3), Just(8)];
    let weights = arms.prop_flat_map(|arms| prop::collection::vec(0..=1_000_000_u32, arms));
    weights.prop_filter("a weight above zero", |weights| weights.iter().any(|weight| *weight > 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn raising_an_exposure_never_moves_an_exposed_unit(weights in weights(), one in percent(), other in percent(), salt in "[a-z]{1,8}") {
        let (less, more) = (one.min(other), one.max(other));
        let (before, after) = (plan(&salt, &ab_test(&weights, less)), plan(&salt, &ab_test(&weights, more)));
        for unit in (0..2_000).map(|i| format!("user-{i}")) {
            let (version, reason) = decided(&before, &unit);
            if reason == Reason::Assigned {
                prop_assert_eq!(decided(&after, &unit), (version, reason), "{} from {} to {}", unit, less, more);
            }
        }
    }

    #[test]
    fn stopping_arms_gives_their_units_stable_and_moves_nobody_else(
        weights in weights(), stopped in prop::collection::vec(any::<bool>(), 8), percent in percent(), salt in "[a-z]{1,8}",
    ) {
        let running = ab_test(&weights, percent);
        let mut fewer = running.clone();
        for (arm, stopped) in fewer["ab_test"]["arms"].as_array_mut().unwrap().iter_mut().zip(&stopped) {
            arm["stopped"] = (*stopped).into();
        }
        let (before, after) = (plan(&salt, &running), plan(&salt, &fewer));
        let is_stopped = |version: &str| version[1..].parse().is_ok_and(|arm: usize| stopped[arm]);
        for unit in (0..2_000).map(|i| format!("user-{i}")) {
            let (version, reason) = decided(&before, &unit);
            let kept = match reason == Reason::Assigned && is_stopped(&version) {
                true => ("v0".to_owned(), Reason::NotExposed),
                false => (version, reason),
            };
            prop_assert_eq!(decided(&after, &unit), kept, "{} under {}", unit, fewer);
        }
        for (arm, version) in only(&after).versions().iter().take(weights.len()).enumerate() {
            let [was, is] = [&before, &after].map(|plan| only(plan).exposure(version, NOW).get());
            prop_assert_eq!(is, if stopped[arm] { 0 } else { was }, "the exposure of {}", version.name());
        }
    }

    #[test]
    fn stable_in_several_arms_has_the_sum_of_their_shares(weights in weights(), percent in percent(), salt in "[a-z]{1,8}") {
        let mut strategy = ab_test(&weights, percent);
        let arms = strategy["ab_test"]["arms"].as_array_mut().unwrap();
        let last = arms.len() - 1;
        arms[last]["version"] = "v0".into();
        let (one, two) = (plan(&salt, &ab_test(&weights, percent)), plan(&salt, &strategy));
        let replaced = format!("v{last}");
        for unit in (0..2_000).map(|i| format!("user-{i}")) {
            let (version, reason) = decided(&one, &unit);
            let version = if version == replaced { "v0".to_owned() } else { version };
            prop_assert_eq!(decided(&two, &unit), (version, reason), "{}", unit);
        }
        let exposure = |plan: &Plan, version: usize| only(plan).exposure(&only(plan).versions()[version], NOW).get();
        prop_assert_eq!(exposure(&two, 0), exposure(&one, 0) + exposure(&one, last));
        prop_assert_eq!(only(&two).exposures(NOW).len(), weights.len() - 1, "each version once");
    }

    #[test]
    fn raising_a_canary_moves_units_into_it_and_nowhere_else(one in percent(), other in percent(), salt in "[a-z]{1,8}") {
        let canary = |percent: f64| plan(&salt, &json!({"canary": {"version": "v1", "percent": percent}}));
        let (before, after) = (canary(one.min(other)), canary(one.max(other)));
        for unit in (0..2_000).map(|i| format!("user-{i}")) {
            let (was, is) = (decided(&before, &unit).0, decided(&after, &unit).0);
            prop_assert!(was == is || (was == "v0" && is == "v1"), "{} went from {} to {}", unit, was, is);
        }
    }
}

const MILLION: u32 = 1_000_000;

/// Four standard deviations of a binomial share of a million units.
fn four_sigma(share: f64) -> f64 {
    4.0 * (share * (1.0 - share) * f64::from(MILLION)).sqrt()
}

#[test]
fn shares_are_within_four_sigma_over_a_million_units() {
    let cases = [
        json!({"canary": {"version": "v1", "percent": 0.0001}}),
        json!({"canary": {"version": "v1", "percent": 5}}),
        json!({"canary": {"version": "v1", "percent": 50}}),
        ab_test(&[1, 1], 100.0),
        ab_test(&[1, 2, 1], 37.5),
        ab_test(&[1, 2, 3, 4, 5, 6, 7, 8], 100.0),
    ];
    for strategy in cases {
        let plan = plan("shares-2026", &strategy);
        let mut counts = vec![0_u32; plan.versions()];
        for unit in 0..MILLION {
            let decision = decide_unit(&plan, only(&plan), format!("user-{unit}").as_bytes(), NOW);
            counts[decision.version.ordinal()] += 1;
        }
        for version in only(&plan).versions() {
            let share = f64::from(plan.expected(only(&plan), version, NOW).get()) / f64::from(MILLION);
            let off = f64::from(counts[version.ordinal()]) - share * f64::from(MILLION);
            assert!(off.abs() <= four_sigma(share), "{} is off by {off} units in {strategy}", version.name());
        }
    }
}

#[test]
fn rollouts_with_different_salts_are_independent() {
    let strategy = ab_test(&[1, 1, 1, 1], 100.0);
    let (left, right) = (plan("left", &strategy), plan("right", &strategy));
    let mut table = [[0_u32; 4]; 4];
    for unit in 0..MILLION {
        let unit = format!("user-{unit}");
        let row = decide_unit(&left, only(&left), unit.as_bytes(), NOW).version.ordinal();
        let column = decide_unit(&right, only(&right), unit.as_bytes(), NOW).version.ordinal();
        table[row][column] += 1;
    }
    let rows = table.map(|row| f64::from(row.iter().sum::<u32>()));
    let columns = [0, 1, 2, 3].map(|column| f64::from(table.iter().map(|row| row[column]).sum::<u32>()));
    let mut chi_square = 0.0;
    for (cells, row) in table.iter().zip(rows) {
        for (count, column) in cells.iter().zip(columns) {
            let expected = row * column / f64::from(MILLION);
            chi_square += (f64::from(*count) - expected).powi(2) / expected;
        }
    }
    // 9 degrees of freedom: above 27.88 one time in a thousand if they are independent.
    assert!(chi_square < 27.88, "chi-square {chi_square} of {table:?}");
}

#[test]
fn a_shadow_samples_independently_of_the_split() {
    let document = json!({"revision": 1, "rollouts": [{
        "name": "cohorts", "unit": [{"header": "x-user-id"}], "salt": "s", "stable": "v0", "idempotent": true,
        "versions": [{"name": "v0", "cluster": "c0"}, {"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "strategy": {"canary": {"version": "v1", "percent": 50}}, "shadow": [{"version": "v2", "percent": 50}]}]});
    let plan = compile(document.to_string().as_bytes()).unwrap().plan;
    let mut table = [[0_u32; 2]; 2];
    for unit in 0..MILLION / 4 {
        let decision = decide_unit(&plan, only(&plan), format!("user-{unit}").as_bytes(), NOW);
        table[decision.version.ordinal()][usize::from(decision.copies[0].is_some())] += 1;
    }
    let expected = f64::from(MILLION) / 16.0;
    let chi_square: f64 =
        table.iter().flatten().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    // 3 degrees of freedom: above 16.27 one time in a thousand.
    assert!(chi_square < 16.27, "chi-square {chi_square} of {table:?}");
}

/// Rollouts of two versions each with these layers. All units are exposed.
fn layered(holdouts: &Value, layers: &[Value]) -> Plan {
    let rollouts: Vec<Value> = layers
        .iter()
        .enumerate()
        .map(|(i, layer)| {
            let mut rollout = json!({"name": format!("r{i}"), "match": [{"path": {"exact": format!("/{i}")}}],
                "unit": [{"header": "x-user-id"}], "stable": "v0",
                "versions": [{"name": "v0", "cluster": "c0"}, {"name": "v1", "cluster": "c1"}],
                "strategy": {"canary": {"version": "v1", "percent": 100}}});
            if !layer.is_null() {
                rollout["layer"] = layer.clone();
            }
            rollout
        })
        .collect();
    compile(json!({"revision": 1, "holdouts": holdouts, "rollouts": rollouts}).to_string().as_bytes())
        .unwrap()
        .plan
}

/// The rollouts that give a unit their treatment.
fn treated(plan: &Plan, unit: u32) -> Vec<usize> {
    let unit = format!("user-{unit}");
    let is_treated = |(_, rollout): &(usize, &Rc<Rollout>)| {
        decide_unit(plan, rollout, unit.as_bytes(), NOW).version.name() == "v1"
    };
    plan.rollouts().iter().enumerate().filter(is_treated).map(|(position, _)| position).collect()
}

#[test]
fn rollouts_of_one_layer_share_no_unit_and_rollouts_of_two_are_independent() {
    let slice = |name: &str, from: f64, to: f64| json!({"name": name, "from": from, "to": to});
    let layers = [slice("one", 0.0, 50.0), slice("one", 50.0, 83.3333), slice("two", 20.0, 60.0)];
    let plan = layered(&json!([]), &layers);
    let mut counts = [0_u32; 3];
    let mut table = [[0_u32; 2]; 2];
    for unit in 0..MILLION {
        let treated = treated(&plan, unit);
        assert!(!(treated.contains(&0) && treated.contains(&1)), "user-{unit} is in both slices of a layer");
        treated.iter().for_each(|rollout| counts[*rollout] += 1);
        table[usize::from(treated.contains(&0))][usize::from(treated.contains(&2))] += 1;
    }
    for (count, share) in counts.into_iter().zip([0.5, 0.333_333, 0.4]) {
        assert!(
            (f64::from(count) - share * f64::from(MILLION)).abs() <= four_sigma(share),
            "{count} of a share of {share}"
        );
    }
    let chi_square: f64 = table
        .iter()
        .zip([0.5, 0.5])
        .flat_map(|(row, left)| row.iter().zip([0.6, 0.4]).map(move |(count, right)| (count, left * right)))
        .map(|(count, share)| {
            (f64::from(*count) - share * f64::from(MILLION)).powi(2) / (share * f64::from(MILLION))
        })
        .sum();
    // 3 degrees of freedom: above 16.27 one time in a thousand if layers are independent.
    assert!(chi_square < 16.27, "chi-square {chi_square} of {table:?}");
}

#[test]
fn the_units_of_a_holdout_are_the_same_in_every_rollout() {
    let layers = [Value::Null, Value::Null, json!({"name": "whole", "from": 0, "to": 100})];
    let plan =
        layered(&json!([{"name": "global", "percent": 1}, {"name": "quarter", "percent": 2.5}]), &layers);
    let mut held_out = 0_u32;
    for unit in 0..MILLION / 4 {
        match treated(&plan, unit).len() {
            0 => held_out += 1,
            treated => assert_eq!(treated, 3, "user-{unit} is held out of some rollouts and not of others"),
        }
    }
    let share = 1.0 - 0.99 * 0.975;
    let expected = share * f64::from(MILLION / 4);
    assert!(
        (f64::from(held_out) - expected).abs() <= four_sigma(share),
        "{held_out} units, expected {expected}"
    );
    for rollout in plan.rollouts() {
        let stable = plan.expected(rollout, rollout.stable(), NOW).get();
        assert_eq!(stable, 34_750, "what `simulate` expects");
    }
}

#[test]
fn a_stopped_arm_has_no_share_to_judge_and_makes_another_split() {
    let plan = |stopped: bool| {
        let document = json!({"revision": 1, "rollouts": [{
            "name": "cohorts", "unit": [{"header": "x-user-id"}], "salt": "s", "stable": "v0",
            "versions": [{"name": "v0", "cluster": "c0"}, {"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
            "guardrails": {"signals": [{"sample_ratio": {"confidence": 0.999}}, {"consecutive_failures": 20}]},
            "strategy": {"ab_test": {"arms": [{"version": "v0", "weight": 2}, {"version": "v1", "weight": 1, "stopped": stopped},
                {"version": "v2", "weight": 1}]}}}]});
        compile(document.to_string().as_bytes()).unwrap().plan
    };
    let (running, stopped) = (plan(false), plan(true));
    let setting = |plan: &'_ Plan, position: usize| {
        let setting = Setting::of(only(plan), position, Health::HEALTHY, Duration::ZERO).unwrap();
        (setting.exposure.get(), setting.share.map(Ppm::get), setting.split)
    };
    let [(was, share, split), (is, none, other)] = [&running, &stopped].map(|plan| setting(plan, 0));
    assert_eq!((was, share, is, none), (250_000, Some(250_000), 0, None));
    assert!(!other.continues(split), "requests from before do not count in comparisons");
    assert_eq!(setting(&stopped, 1).0, 250_000, "the other arm keeps what it had");
    for plan in [&running, &stopped] {
        let setting = Setting::of(only(plan), 0, Health::HEALTHY, Duration::ZERO).unwrap();
        assert!(setting.gives_stable, "stable has an arm");
    }
}
