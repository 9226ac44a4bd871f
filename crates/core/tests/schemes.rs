//! The bucketing of other products: their published vectors, and a hundred thousand units each against their own SDKs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

#[path = "../../../tests/golden/dice.rs"]
mod dice;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dice::Dice;
use rollout_core::{Plan, Reason, Time, compile, decide_unit};
use serde_json::{Value, json};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A rollout with this bucketing. Its versions are those that bucketing and strategy name, and one for all other units.
fn plan(bucketing: &Value, strategy: &Value) -> Plan {
    let arms = strategy["ab_test"]["arms"].as_array().into_iter().flatten();
    let entries = bucketing["allocation"].as_array().into_iter().flatten();
    let named = arms.chain(entries).map(|entry| &entry["version"]).chain([&strategy["canary"]["version"]]);
    let mut names: Vec<&str> = named.filter_map(Value::as_str).collect::<BTreeSet<_>>().into_iter().collect();
    if names.len() < 16 {
        names.insert(0, "otherwise");
    }
    let versions: Vec<Value> = names.iter().map(|name| json!({"name": name, "cluster": name})).collect();
    let mut rollout = json!({"name": "scheme", "unit": [{"header": "x-user-id"}], "stable": names[0], "versions": versions,
        "bucketing": bucketing});
    if !strategy.is_null() {
        rollout["strategy"] = strategy.clone();
    }
    let document = json!({"revision": 1, "rollouts": [rollout]}).to_string();
    compile(document.as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {document}")).plan
}

/// The bucket of a unit, and its treatment if there is one.
fn assigned(plan: &Plan, unit: &str) -> (u32, Option<String>) {
    let decision = decide_unit(plan, &plan.rollouts()[0], unit.as_bytes(), Time::default());
    let treatment = (decision.reason == Reason::Assigned).then(|| decision.version.name().to_owned());
    (decision.bucket.unwrap().get(), treatment)
}

#[test]
fn every_published_vector_of_every_scheme_holds() {
    let mut schemes = BTreeSet::new();
    let mut vectors = 0;
    for file in fs::read_dir(workspace().join("tests/vectors/schemes")).unwrap().flatten() {
        let golden: Value = serde_json::from_str(&fs::read_to_string(file.path()).unwrap()).unwrap();
        for suite in golden["suites"].as_array().unwrap() {
            schemes.insert(suite["bucketing"]["scheme"].as_str().unwrap().to_owned());
            let plan = plan(&suite["bucketing"], &suite["strategy"]);
            for vector in suite["vectors"].as_array().unwrap() {
                let unit = vector["unit"].as_str().unwrap();
                let (bucket, version) = assigned(&plan, unit);
                let place = format!("{}: unit {unit:?} of {suite}", file.path().display());
                if let Some(published) = vector["bucket"].as_u64() {
                    assert_eq!(u64::from(bucket), published, "{place}");
                }
                if let Some(published) = vector.get("version") {
                    assert_eq!(version.as_deref(), published.as_str(), "{place}");
                }
                vectors += 1;
            }
        }
    }
    let all = ["featurevisor", "flagd-v2", "growthbook-v2", "optimizely", "split", "unleash"];
    assert_eq!(schemes, all.map(str::to_owned).into());
    assert!(vectors > 2_000, "only {vectors} vectors");
}

const UNITS: usize = 100_000;

/// Ids like those of applications: numbers, names, addresses, hexadecimal, any text.
fn unit(dice: &mut Dice) -> String {
    let number = dice.roll(100_000_000);
    match dice.roll(6) {
        0 => number.to_string(),
        1 => format!("user-{number}"),
        2 => format!("{number}@example.com"),
        3 => format!(
            "{number:08x}-{:04x}-4{:03x}-{:012x}",
            dice.roll(0x10000),
            dice.roll(0x1000),
            dice.roll(0x7fff_ffff)
        ),
        4 => (0..=dice.roll(40)).map(|_| char::from(u8::try_from(0x21 + dice.roll(94)).unwrap())).collect(),
        _ => {
            (0..=dice.roll(12)).map(|_| dice.pick(&["ż", "ó", "a", "7", "漢", "😀", "é", ":", "."])).collect()
        }
    }
}

#[test]
fn a_stopped_arm_of_any_scheme_gives_its_units_stable_and_moves_nobody_else() {
    let arms = |weights: [u32; 3], stopped: bool| {
        let arm = |(arm, weight): (usize, &u32)| json!({"version": format!("v{arm}"), "weight": weight, "stopped": stopped && arm == 1});
        json!({"ab_test": {"arms": weights.iter().enumerate().map(arm).collect::<Vec<_>>()}})
    };
    for (bucketing, weights) in [
        (json!({"scheme": "unleash", "group_id": "fraud"}), [1, 2, 1]),
        (json!({"scheme": "split", "seed": 7}), [20, 50, 30]),
        (json!({"scheme": "flagd-v2", "prefix": "flag"}), [1, 2, 1]),
        (json!({"scheme": "growthbook-v2", "seed": "s"}), [1, 2, 1]),
        (json!({"scheme": "featurevisor", "feature": "foo"}), [30_000, 40_000, 20_000]),
    ] {
        let [running, stopped] = [false, true].map(|stopped| plan(&bucketing, &arms(weights, stopped)));
        let mut freed = 0;
        for unit in 0..2_000 {
            let unit = format!("user-{unit}");
            let (bucket, treatment) = assigned(&running, &unit);
            let kept = treatment.clone().filter(|version| version != "v1");
            assert_eq!(assigned(&stopped, &unit), (bucket, kept), "{unit} of {bucketing}");
            freed += usize::from(treatment.as_deref() == Some("v1"));
        }
        assert!(freed > 700, "{freed} units of {bucketing}");
        let exposures = stopped.rollouts()[0].exposures(Time::default());
        let shown = exposures.iter().find(|(version, _)| version.name() == "v1").map(|(_, of)| of.get());
        assert_eq!(shown, Some(0), "{bucketing}");
    }
}

/// A suite for each scheme, with both strategies if it supports both.
fn suites(dice: &mut Dice) -> Vec<Value> {
    let arms = |weights: &[u32]| -> Vec<Value> {
        weights
            .iter()
            .enumerate()
            .map(|(arm, weight)| json!({"version": format!("v{arm}"), "weight": weight}))
            .collect()
    };
    let ab_test =
        |weights: &[u32], percent: u32| json!({"ab_test": {"arms": arms(weights), "percent": percent}});
    let rules = [
        (
            json!({"scheme": "unleash", "group_id": "fraud"}),
            json!({"canary": {"version": "v0", "percent": 37}}),
        ),
        (json!({"scheme": "unleash", "group_id": "grüße"}), ab_test(&[0, 300, 1, 699, 0], 73)),
        (
            json!({"scheme": "optimizely", "experiment_id": "1886780721", "allocation": [{"version": "v0", "end": 1_234},
                {"version": null, "end": 3_000}, {"version": "v1", "end": 3_000}, {"version": "v2", "end": 9_900}]}),
            Value::Null,
        ),
        (
            json!({"scheme": "split", "seed": -1_667_452_163, "traffic_allocation_seed": -214_748}),
            ab_test(&[0, 33, 66, 1], 61),
        ),
        (json!({"scheme": "flagd-v2", "prefix": "fractional-flag"}), ab_test(&[25, 0, 3, 700], 100)),
        (
            json!({"scheme": "growthbook-v2", "seed": "séed"}),
            json!({"ab_test": {"arms": arms(&[1, 2, 7, 0]), "percent": 33.3333}}),
        ),
        (json!({"scheme": "featurevisor", "feature": "foo.bar"}), ab_test(&[0, 33_333, 0, 33_333], 100)),
        (
            json!({"scheme": "featurevisor", "feature": "foo"}),
            json!({"canary": {"version": "v0", "percent": 12.345}}),
        ),
    ];
    let suite = |(bucketing, strategy)| {
        let units: Vec<String> = (0..UNITS).map(|_| unit(dice)).collect();
        json!({"bucketing": bucketing, "strategy": strategy, "units": units})
    };
    rules.into_iter().map(suite).collect()
}

/// The answers of the products' own SDKs.
fn independent(suites: &[Value]) -> Vec<Value> {
    let python = workspace().join(".envoy/independent/bin/python");
    let mut child = Command::new(&python)
        .arg(workspace().join("tests/independent/schemes.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", python.display()));
    let question = json!({"suites": suites}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(question.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let mut answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    answer["suites"].as_array_mut().unwrap().drain(..).collect()
}

#[test]
fn a_hundred_thousand_units_of_every_scheme_get_the_treatment_of_the_products_own_sdk() {
    let suites = suites(&mut Dice(2_026));
    for (suite, answer) in suites.iter().zip(independent(&suites)) {
        let plan = plan(&suite["bucketing"], &suite["strategy"]);
        let units = suite["units"].as_array().unwrap();
        let results = answer["results"].as_array().unwrap();
        assert_eq!((units.len(), results.len()), (UNITS, UNITS));
        let mut seen = BTreeSet::new();
        for (unit, result) in units.iter().zip(results) {
            let unit = unit.as_str().unwrap();
            let (bucket, version) = assigned(&plan, unit);
            let place = format!("unit {unit:?}, {}, {}", suite["bucketing"], answer["oracle"]);
            assert_eq!(version.as_deref(), result[1].as_str(), "{place}");
            if let Some(theirs) = result[0].as_u64() {
                assert_eq!(u64::from(bucket), theirs, "{place}");
            }
            seen.insert(version);
        }
        assert!(seen.len() >= 2, "{seen:?} of {}", suite["bucketing"]);
        println!("{UNITS} units agree with {}: {}", answer["oracle"], suite["bucketing"]["scheme"]);
    }
}
