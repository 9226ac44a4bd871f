//! What may go from a frozen rollout and not come.

use serde_json::{Value, json};

use super::{and, as_it_is, canary, judge};

#[test]
fn versions_may_be_removed_if_nobody_is_moved_to_another_treatment() {
    let versions = |names: &[&str]| {
        let version = |name: &&str| json!({"name": name, "cluster": format!("fraud-{name}")});
        json!({"shadow": null, "versions": names.iter().map(version).collect::<Vec<_>>()})
    };
    let sessions = json!({"sessions": {"cookie": "rs", "max_age": "1h", "secret": "0123456789abcdef"}});
    let kept = |names: &[&str]| and(versions(names), &sessions);
    let all = ["v1", "v2", "v3"];
    judge(&[
        (versions(&all), versions(&["v1", "v2"]), &[]),
        (versions(&all), and(versions(&["v1"]), &json!({"strategy": null})), &[]),
        (versions(&["v1", "v2"]), versions(&all), &["versions[2]"]),
        (versions(&all), versions(&["v2", "v1", "v3"]), &["versions"]),
        (kept(&all), kept(&["v1", "v2"]), &["versions"]),
        (kept(&all), and(kept(&["v1", "v2"]), &canary("v2", 0.0)), &[]),
    ]);
}

#[test]
fn sessions_may_end_while_nobody_gets_a_treatment_instead() {
    let sessions = |more: &Value| {
        let sessions = json!({"cookie": "rs", "max_age": "1h", "secret": "0123456789abcdef"});
        json!({"sessions": and(sessions, more)})
    };
    let kept = sessions(&json!({}));
    let drained = |until: &str| sessions(&json!({"drain_until": until}));
    let (soon, later) = ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z");
    let withdrawn = |fields: Value| and(fields, &canary("v2", 0.0));
    judge(&[
        (kept.clone(), withdrawn(drained(soon)), &[]),
        (kept.clone(), withdrawn(as_it_is()), &[]),
        (drained(later), withdrawn(drained(soon)), &[]),
        (drained(soon), withdrawn(drained(later)), &["sessions.drain_until"]),
        (drained(soon), withdrawn(kept.clone()), &["sessions.drain_until"]),
        (kept.clone(), drained(soon), &["sessions.drain_until"]),
        (kept.clone(), as_it_is(), &["sessions"]),
        (as_it_is(), withdrawn(kept.clone()), &["sessions"]),
        (kept, withdrawn(sessions(&json!({"max_age": "2h"}))), &["sessions.max_age"]),
    ]);
}

#[test]
fn copies_may_end_or_become_fewer() {
    let shadow = |percents: &[(&str, f64)]| {
        let shadow = |(version, percent): &(&str, f64)| json!({"version": version, "percent": percent});
        json!({"shadow": percents.iter().map(shadow).collect::<Vec<_>>()})
    };
    let limited = |limits: &[(&str, u32)]| {
        let mut shadow = json!({"version": "v3", "percent": 50});
        for (limit, value) in limits {
            shadow[*limit] = json!(value);
        }
        json!({"shadow": [shadow]})
    };
    let api = |fields: &Value| {
        let version =
            |name: &str, accepts: &str| json!({"name": name, "cluster": name, "accepts": {"api": [accepts]}});
        let versions = [version("v1", "1"), version("v2", "1"), version("v3", "2")];
        and(json!({"api": {"header": "x-api"}, "versions": versions}), fields)
    };
    judge(&[
        (as_it_is(), shadow(&[]), &[]),
        (as_it_is(), json!({"shadow": null}), &[]),
        (as_it_is(), shadow(&[("v3", 49.0)]), &[]),
        (as_it_is(), shadow(&[("v3", 51.0)]), &["shadow[0].percent"]),
        (as_it_is(), shadow(&[("v3", 50.0), ("v2", 1.0)]), &["shadow[1]"]),
        (shadow(&[("v3", 50.0), ("v2", 1.0)]), shadow(&[("v2", 1.0)]), &[]),
        (shadow(&[("v3", 50.0), ("v2", 1.0)]), shadow(&[("v2", 1.0), ("v3", 50.0)]), &["shadow"]),
        (
            as_it_is(),
            json!({"shadow": [{"version": "v3", "percent": 50, "methods": ["POST"]}]}),
            &["shadow[0].methods"],
        ),
        (as_it_is(), limited(&[("max_per_second", 10), ("max_body_bytes", 10)]), &[]),
        (limited(&[("max_per_second", 10)]), limited(&[("max_per_second", 9)]), &[]),
        (
            limited(&[("max_per_second", 10)]),
            limited(&[("max_per_second", 11)]),
            &["shadow[0].max_per_second"],
        ),
        (limited(&[("max_per_second", 10)]), as_it_is(), &["shadow[0].max_per_second"]),
        (as_it_is(), limited(&[("max_body_bytes", 2_000_000)]), &["shadow[0].max_body_bytes"]),
        (
            as_it_is(),
            json!({"shadow": [{"version": "v3", "percent": 50, "cluster": "elsewhere"}]}),
            &["shadow[0].cluster"],
        ),
        // A shadow that goes would leave v3 to serve what asks for API version 2.
        (api(&as_it_is()), api(&json!({"shadow": null})), &["shadow"]),
        (api(&as_it_is()), api(&shadow(&[("v3", 0.0)])), &[]),
    ]);
}

#[test]
fn a_layer_may_be_added_and_its_slice_may_shrink() {
    let layer = |name: &str, from: f64, to: f64| json!({"layer": {"name": name, "from": from, "to": to}});
    judge(&[
        (as_it_is(), layer("checkout", 0.0, 50.0), &[]),
        (layer("checkout", 0.0, 50.0), as_it_is(), &["layer"]),
        (layer("checkout", 10.0, 50.0), layer("checkout", 20.0, 40.0), &[]),
        (layer("checkout", 10.0, 50.0), layer("checkout", 10.0, 50.1), &["layer.to"]),
        (layer("checkout", 10.0, 50.0), layer("checkout", 9.9, 50.0), &["layer.from"]),
        (layer("checkout", 10.0, 50.0), layer("basket", 10.0, 50.0), &["layer.name"]),
    ]);
}
