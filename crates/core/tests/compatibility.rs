//! No request reaches a version that does not accept its API version or its feature set, or whose dependency is not met, except by an
//! override. Tested with random documents and requests, against the rules of the contract written a second time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

#[path = "../../../tests/golden/dice.rs"]
mod dice;

use std::collections::BTreeMap;

use dice::Dice;
use rollout_core::{Decision, Health, Now, Plan, Reason, State, Time, compile, decide, decide_unit};
use serde_json::{Value, json};

const NOW: Time = Time::from_seconds(1_795_599_000);
const SECRET: &str = "a secret of sixteen bytes or more";

fn compiled(document: &Value) -> Plan {
    compile(document.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {document}")).plan
}

fn some_of(dice: &mut Dice, all: &[&str]) -> Vec<String> {
    let mut some: Vec<String> = all.iter().filter(|_| dice.roll(2) == 0).map(|&one| one.to_owned()).collect();
    if some.is_empty() {
        some.push(dice.pick(all).to_owned());
    }
    some
}

/// A version with what it accepts. `later` are the rollouts that it may depend on.
fn version(dice: &mut Dice, name: &str, later: &[String]) -> Value {
    let mut version = json!({"name": name, "cluster": format!("c-{name}")});
    if dice.roll(2) == 0 {
        version["accepts"] = json!({"api": some_of(dice, &["1", "2", "3"])});
    }
    if dice.roll(3) == 0 {
        version["features"] = dice.pick(&["f1", "f2"]).into();
    }
    if name != "v0" && !later.is_empty() && dice.roll(2) == 0 {
        let some = later.iter().filter(|_| dice.roll(2) == 0).cloned().collect::<Vec<_>>();
        let requires: Vec<Value> = some
            .iter()
            .map(|rollout| json!({"rollout": rollout, "version": format!("v{}", dice.roll(4))}))
            .collect();
        version["requires"] = requires.into();
    }
    version
}

fn rollout(dice: &mut Dice, name: &str, later: &[String]) -> Value {
    let versions: Vec<Value> = (0..4).map(|i| version(dice, &format!("v{i}"), later)).collect();
    let strategy = match dice.roll(4) {
        0 => json!({"canary": {"version": "v1", "percent": dice.roll(101)}}),
        1 => {
            json!({"ab_test": {"arms": [{"version": "v0", "weight": 1}, {"version": "v1", "weight": 2}, {"version": "v2", "weight": 1}]}})
        }
        2 => {
            json!({"progressive": {"version": "v2", "start": "2026-11-25T09:00:00Z", "linear": {"from": 0, "to": 100, "over": "1h"}}})
        }
        _ => json!({"canary": {"version": "v2", "percent": 100}}),
    };
    let mut rollout = json!({"name": name, "unit": [{"header": "x-user-id"}], "stable": "v0", "versions": versions, "strategy": strategy,
        "api": {"header": "x-api"}, "idempotent": true,
        "overrides": [{"units": ["u0", "u1"], "version": "v1"}, {"header": {"name": "x-want", "secret_header": "x-key", "secret": "k"}}]});
    if dice.roll(2) == 0 {
        rollout["failover"] = json!({"to": [format!("v{}", dice.roll(4))]});
    }
    if dice.roll(2) == 0 {
        rollout["sessions"] = json!({"cookie": "rs", "max_age": "1h", "secret": SECRET});
    }
    if dice.roll(2) == 0 {
        rollout["shadow"] = json!([{"version": "v3", "percent": 100}]);
    }
    if dice.roll(4) == 0 {
        rollout["layer"] = json!({"name": name, "from": 0, "to": 60});
    }
    rollout
}

fn document(dice: &mut Dice) -> Value {
    let names: Vec<String> = (0..=dice.roll(3)).map(|i| format!("r{i}")).collect();
    let rollouts: Vec<Value> =
        names.iter().enumerate().map(|(i, name)| rollout(dice, name, &names[i + 1..])).collect();
    json!({"revision": 1, "trust_hop": true, "holdouts": [{"name": "h", "percent": 5}], "rollouts": rollouts})
}

/// The document in which a rollout comes first and decides every request: without its match, its overrides and its sessions.
fn asked(document: &Value, name: &str) -> Value {
    let mut document = document.clone();
    let rollouts = document["rollouts"].as_array_mut().unwrap();
    let position = rollouts.iter().position(|rollout| rollout["name"] == name).unwrap();
    let mut first = rollouts.remove(position);
    for field in ["match", "overrides", "sessions"] {
        first.as_object_mut().unwrap().remove(field);
    }
    rollouts.insert(0, first);
    document
}

type Lines = Vec<(&'static str, String)>;

fn decided(document: &Value, lines: &Lines) -> Decision {
    let plan = compiled(document);
    let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
    decide(&plan, &plan.request(lines, None), NOW).unwrap()
}

fn request(dice: &mut Dice, document: &Value) -> Lines {
    let unit = format!("u{}", dice.roll(40));
    let mut lines: Lines = vec![(":method", dice.pick(&["GET", "POST"]).into()), (":path", "/".into())];
    if dice.roll(8) > 0 {
        lines.push(("x-user-id", unit.clone()));
    }
    if dice.roll(4) > 0 {
        lines.push(("x-api", dice.pick(&["1", "2", "3", "4", ""]).into()));
    }
    if dice.roll(3) == 0 {
        lines.push(("x-rollout-feature-set", dice.pick(&["f1", "f2", "f3"]).into()));
    }
    if dice.roll(4) == 0 {
        lines.push(("x-want", dice.pick(&["v0", "v1", "v2", "v3"]).into()));
        lines.push(("x-key", "k".into()));
    }
    if dice.roll(2) == 0 {
        // A session of an earlier document, in which another version was active.
        let mut earlier = document.clone();
        let version = dice.pick(&["v1", "v2", "v3"]);
        earlier["holdouts"] = json!([]);
        earlier["rollouts"][0].as_object_mut().unwrap().remove("layer");
        earlier["rollouts"][0]["strategy"] = json!({"canary": {"version": version, "percent": 100}});
        let plan = compiled(&earlier);
        let decision = decide_unit(&plan, &plan.rollouts()[0], unit.as_bytes(), NOW);
        lines.extend(
            decision.cookies.iter().map(|line| ("cookie", line.split(';').next().unwrap().to_owned())),
        );
    }
    lines
}

fn value<'l>(lines: &'l Lines, name: &str) -> Option<&'l str> {
    lines
        .iter()
        .find(|(of, _)| *of == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// The rule of the contract, applied to the document itself.
fn accepts(rollout: &Value, version: &Value, lines: &Lines) -> bool {
    let versions = rollout["versions"].as_array().unwrap();
    let accepted = version["accepts"]["api"].as_array();
    let api = value(lines, "x-api")
        .is_none_or(|api| accepted.is_none_or(|accepted| accepted.iter().any(|of| of == api)));
    let names_sets = versions.iter().any(|version| version.get("features").is_some());
    let set = value(lines, "x-rollout-feature-set").filter(|_| names_sets);
    api && set.is_none_or(|set| version["features"] == set)
}

fn meets(document: &Value, version: &Value, lines: &Lines) -> bool {
    let requires = version["requires"].as_array().into_iter().flatten();
    requires.into_iter().all(|of| {
        decided(&asked(document, of["rollout"].as_str().unwrap()), lines).version.name()
            == of["version"].as_str().unwrap()
    })
}

fn named<'d>(rollout: &'d Value, name: &str) -> &'d Value {
    rollout["versions"].as_array().unwrap().iter().find(|version| version["name"] == name).unwrap()
}

#[test]
fn no_request_reaches_a_version_that_cannot_serve_it() {
    let mut dice = Dice(2_026);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut exceptions, mut targets) = (0, 0);
    for _ in 0..3_000 {
        let document = document(&mut dice);
        let rollout = &document["rollouts"][0];
        for _ in 0..4 {
            let lines = request(&mut dice, &document);
            let decision = decided(&document, &lines);
            let place = format!(
                "{} ({}) for {lines:?} in {document}",
                decision.version.name(),
                decision.reason.name()
            );
            let served = named(rollout, decision.version.name());
            *seen.entry(decision.reason.name()).or_default() += 1;

            let fits = accepts(rollout, served, &lines);
            assert_eq!(decision.is_unacceptable, !fits, "{place}");
            if !fits {
                exceptions += 1;
                assert_eq!(
                    (decision.version.name(), decision.reason),
                    ("v0", Reason::Incompatible),
                    "{place}"
                );
                let versions = rollout["versions"].as_array().unwrap().iter();
                let shadows =
                    rollout["shadow"].as_array().into_iter().flatten().map(|shadow| &shadow["version"]);
                let shadow_only: Vec<&Value> = shadows
                    .filter(|shadow| {
                        !rollout["strategy"].to_string().contains(&shadow.to_string())
                            && rollout["failover"]["to"][0] != **shadow
                    })
                    .collect();
                for other in versions.filter(|version| !shadow_only.contains(&&version["name"])) {
                    let could = accepts(rollout, other, &lines) && meets(&document, other, &lines);
                    assert!(!could, "{} could serve what nobody accepts: {place}", other["name"]);
                }
            }
            if decision.reason != Reason::Forced {
                assert!(meets(&document, served, &lines), "{place}");
            }
            for (_, target) in decision.targets() {
                targets += 1;
                let version = named(rollout, target.to());
                assert!(
                    accepts(rollout, version, &lines) && meets(&document, version, &lines),
                    "fails over to {}: {place}",
                    target.to()
                );
            }
            for shadow in decision.copies.iter().flatten().map(|copy| &copy.shadow) {
                assert!(
                    accepts(rollout, named(rollout, shadow.version.name()), &lines),
                    "copied to {}: {place}",
                    shadow.version.name()
                );
            }
        }
    }
    for reason in [
        Reason::Forced,
        Reason::Session,
        Reason::Holdout,
        Reason::Layer,
        Reason::Dependency,
        Reason::Incompatible,
        Reason::Assigned,
    ] {
        assert!(seen.get(reason.name()).is_some_and(|count| *count > 50), "{seen:?}");
    }
    assert!(exceptions > 100 && targets > 100, "{exceptions} exceptions, {targets} failover targets");
}

#[test]
fn a_session_that_starts_while_its_version_is_rolled_back_is_on_stable() {
    let plan = compiled(
        &json!({"revision": 1, "rollouts": [{"name": "r", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "sessions": {"cookie": "rs", "max_age": "1h", "secret": SECRET}, "strategy": {"canary": {"version": "v2", "percent": 100}}}]}),
    );
    let rollout = &plan.rollouts()[0];
    let mut health = Health::default();
    health.set(&rollout.versions()[1], State::RolledBack);
    let decision = decide_unit(&plan, rollout, b"alice", Now { time: NOW, health: &health });
    assert_eq!((decision.version.name(), decision.reason), ("v1", Reason::RolledBack));
    assert!(decision.cookies[0].starts_with("rs=v1."), "{:?}", decision.cookies);
}

#[test]
fn none_of_ten_thousand_mutated_session_cookies_is_accepted() {
    let document = |version: &str| {
        json!({"revision": 1, "rollouts": [{"name": "r", "unit": [{"header": "x-user-id"}], "stable": "v1",
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
            "sessions": {"cookie": "rs", "max_age": "1h", "secret": SECRET}, "strategy": {"blue_green": {"active": version}}}]})
    };
    let (blue, green) = (compiled(&document("v1")), document("v2"));
    let begun = decide_unit(&blue, &blue.rollouts()[0], b"alice", NOW).cookies.remove(0);
    let genuine = begun.split(';').next().unwrap().strip_prefix("rs=").unwrap();
    let reason = |cookie: &str| {
        let lines = vec![("x-user-id", "alice".to_owned()), ("cookie", format!("rs={cookie}"))];
        decided(&green, &lines).reason
    };
    assert_eq!(reason(genuine), Reason::Session);
    let mut dice = Dice(7);
    let legal: Vec<char> = ('!'..='~').filter(|symbol| !";\",\\".contains(*symbol)).collect();
    let mut tried = 0;
    while tried < 10_000 {
        let mut mutated: Vec<char> = genuine.chars().collect();
        for _ in 0..=dice.roll(3) {
            if mutated.is_empty() {
                break;
            }
            let at = dice.roll(mutated.len());
            let symbol = legal[dice.roll(legal.len())];
            match dice.roll(5) {
                0 => mutated[at] = symbol,
                1 => mutated.insert(at, symbol),
                2 => drop(mutated.remove(at)),
                3 => mutated.swap(at, 0),
                _ => mutated.truncate(at),
            }
        }
        let mutated: String = mutated.into_iter().collect();
        if mutated == genuine {
            continue;
        }
        tried += 1;
        assert_eq!(reason(&mutated), Reason::Assigned, "{mutated}");
    }
}
