//! What around a frozen rollout, and in the rollouts that it asks, may not change.

use serde_json::{Value, json};

use super::{and, canary, frozen, judge_documents, line, plain, set};

/// The frozen document with these top-level fields.
fn around(fields: &Value) -> Value {
    let mut document = frozen();
    set(&mut document, fields);
    document
}

#[test]
fn holdouts_may_be_added_and_may_grow() {
    let holdouts = |list: &[(&str, f64)]| {
        let holdout = |(name, percent): &(&str, f64)| json!({"name": name, "percent": percent});
        around(&json!({"holdouts": list.iter().map(holdout).collect::<Vec<_>>()}))
    };
    let one = || holdouts(&[("global", 1.0)]);
    judge_documents(&[
        (frozen(), one(), &[]),
        (one(), frozen(), &["holdouts[0]"]),
        (one(), holdouts(&[("global", 1.5)]), &[]),
        (one(), holdouts(&[("global", 0.5)]), &["holdouts[0]"]),
        (one(), holdouts(&[("worldwide", 1.0)]), &["holdouts[0]"]),
        (one(), holdouts(&[("other", 1.0), ("global", 1.0)]), &[]),
    ]);
}

#[test]
fn who_decides_first_and_what_is_trusted_stay() {
    let fraud = || frozen()["rollouts"][0].clone();
    let rollouts = |list: &[Value]| around(&json!({"rollouts": list}));
    let changed = |name: &str, field: &str, value: Value| {
        let mut rollout = plain(name, "/v2/models/");
        rollout[field] = value;
        rollout
    };
    let other = || plain("other", "/v2/models/");
    let mut renamed = fraud();
    renamed["name"] = json!("fraud");
    judge_documents(&[
        (frozen(), around(&json!({"trust_hop": true})), &["trust_hop"]),
        (frozen(), rollouts(&[fraud(), other()]), &[]),
        (rollouts(&[fraud(), other()]), frozen(), &[]),
        (frozen(), rollouts(&[other(), fraud()]), &["rollouts"]),
        (rollouts(&[other(), fraud()]), frozen(), &["rollouts"]),
        (rollouts(&[other(), fraud()]), rollouts(&[plain("other", "/v2/"), fraud()]), &["rollouts"]),
        (rollouts(&[other(), fraud()]), rollouts(&[plain("another", "/v2/models/"), fraud()]), &["rollouts"]),
        (
            rollouts(&[other(), fraud()]),
            rollouts(&[changed("other", "strategy", canary("v2", 10.0)["strategy"].clone()), fraud()]),
            &[],
        ),
        (frozen(), rollouts(&[renamed]), &["rollouts"]),
        (frozen(), rollouts(&[]), &["rollouts"]),
    ]);
}

#[test]
fn what_it_requires_of_others_may_only_take_units_from_it() {
    let documents = |required: &str, embedder: &Value| {
        let mut fraud = frozen()["rollouts"][0].clone();
        fraud["versions"][1]["requires"] = json!([{"rollout": "embedder", "version": required}]);
        let mut embedder_rollout = plain("embedder", "/embed/");
        embedder_rollout["salt"] = json!("embedder");
        set(&mut embedder_rollout, embedder);
        around(&json!({"rollouts": [fraud, embedder_rollout]}))
    };
    let on = |embedder: Value| documents("v2", &embedder);
    let off = |embedder: Value| documents("v1", &embedder);
    let ramp = |start: &str| line(start, 100, "1d");
    let unit = |header: &str| and(canary("v2", 20.0), &json!({"unit": [{"header": header}]}));
    let accepts = |api: &[&str]| {
        json!({"api": {"header": "x-api"}, "strategy": {"canary": {"version": "v2", "percent": 20}}, "versions": [
            {"name": "v1", "cluster": "v1"}, {"name": "v2", "cluster": "v2", "accepts": {"api": api}}]})
    };
    judge_documents(&[
        (on(canary("v2", 20.0)), on(canary("v2", 20.0)), &[]),
        (on(canary("v2", 20.0)), on(canary("v2", 10.0)), &[]),
        (on(canary("v2", 20.0)), on(canary("v2", 40.0)), &["rollouts"]),
        (off(canary("v2", 20.0)), off(canary("v2", 40.0)), &[]),
        (off(canary("v2", 20.0)), off(canary("v2", 10.0)), &["rollouts"]),
        // Not at the moment, but later.
        (on(ramp("2027-01-05T00:00:00Z")), on(ramp("2027-01-06T00:00:00Z")), &[]),
        (on(ramp("2027-01-05T00:00:00Z")), on(ramp("2027-01-04T00:00:00Z")), &["rollouts"]),
        // What no population can show.
        (on(unit("x-user-id")), on(unit("x-account")), &["rollouts"]),
        (on(accepts(&["1"])), on(accepts(&["1", "2"])), &["rollouts"]),
        (on(canary("v2", 20.0)), on(and(canary("v2", 20.0), &json!({"expose": "debug"}))), &[]),
    ]);
}
