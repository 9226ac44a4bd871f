//! Whom the hash and the overrides may give to a treatment during a freeze.

use serde_json::{Value, json};

use super::{NOW, and, as_it_is, canary, frozen, judge, line};

fn blue_green(active: &str) -> Value {
    json!({"strategy": {"blue_green": {"active": active}}})
}

fn arms(weights: [u32; 3], percent: u32) -> Value {
    let arms = ["v1", "v2", "v3"].iter().zip(weights);
    let arms: Vec<_> = arms.map(|(version, weight)| json!({"version": version, "weight": weight})).collect();
    json!({"strategy": {"ab_test": {"arms": arms, "percent": percent}}})
}

/// A day at the first percentage, nine at the second, which count up to the freeze and go on after it.
fn steps(start: &str, percents: [u32; 3], pauses: Value) -> Value {
    let [first, second, third] = percents;
    json!({"strategy": {"progressive": {"version": "v2", "start": start, "pauses": pauses, "steps": [
        {"percent": first, "hold": "1d"}, {"percent": second, "hold": "9d"}, {"percent": third}]}}})
}

#[test]
fn a_share_may_fall_and_not_rise() {
    let arm = json!({"strategy": {"ab_test": {"arms": [{"version": "v2", "weight": 7}], "percent": 30}}});
    judge(&[
        (as_it_is(), as_it_is(), &[]),
        (as_it_is(), canary("v2", 49.9999), &[]),
        (as_it_is(), canary("v2", 0.0), &[]),
        (as_it_is(), json!({"strategy": null}), &[]),
        (as_it_is(), canary("v2", 50.0001), &["strategy.canary.percent"]),
        (as_it_is(), canary("v3", 50.0), &["strategy.canary.version"]),
        (as_it_is(), canary("v3", 0.0), &[]),
        (as_it_is(), blue_green("v2"), &["strategy"]),
        (as_it_is(), blue_green("v1"), &[]),
        (blue_green("v2"), as_it_is(), &[]),
        (blue_green("v2"), blue_green("v1"), &[]),
        (blue_green("v1"), blue_green("v2"), &["strategy.blue_green.active"]),
        (json!({"strategy": null}), canary("v2", 0.0), &[]),
        (json!({"strategy": null}), canary("v2", 0.0001), &["strategy"]),
        (as_it_is(), arm.clone(), &[]),
        (arm, canary("v2", 31.0), &["strategy"]),
    ]);
}

#[test]
fn the_arms_of_a_test_keep_their_lanes() {
    judge(&[
        (arms([1, 1, 2], 80), arms([1, 1, 2], 79), &[]),
        (arms([1, 1, 2], 80), arms([2, 2, 4], 80), &[]),
        (arms([1, 1, 2], 80), arms([1, 1, 2], 81), &["strategy.ab_test.percent"]),
        (arms([1, 1, 2], 80), arms([1, 2, 1], 80), &["strategy.ab_test.arms"]),
        (arms([1, 1, 2], 80), arms([2, 1, 1], 80), &["strategy.ab_test.arms"]),
        // The lane of v2 begins elsewhere, although it is not wider.
        (arms([1, 1, 2], 80), arms([0, 1, 3], 10), &["strategy.ab_test"]),
        // All of it goes to the stable version.
        (arms([1, 1, 2], 80), arms([1, 0, 0], 80), &[]),
        // Of the lane of v2, 25 % to 45 %, a canary would take the part before.
        (arms([1, 1, 2], 80), canary("v2", 20.0), &["strategy"]),
        (arms([0, 1, 1], 80), canary("v2", 40.0), &[]),
    ]);
}

#[test]
fn a_ramp_is_judged_by_what_it_exposes_from_now_on() {
    let start = "2026-12-20T00:00:00Z";
    let ramp = || steps(start, [1, 10, 50], json!([]));
    let pause = |from: &str, until: &str| steps(start, [1, 10, 50], json!([{"from": from, "until": until}]));
    let rising = || line("2026-12-23T06:00:00Z", 100, "1d"); // at 50 % when the freeze begins
    let late = "strategy.progressive.start";
    judge(&[
        (ramp(), ramp(), &[]),
        (ramp(), canary("v2", 10.0), &[]),
        (ramp(), canary("v2", 11.0), &["strategy"]),
        (canary("v2", 50.0), ramp(), &[]),
        (canary("v2", 49.0), ramp(), &["strategy"]),
        (ramp(), steps(start, [1, 9, 50], json!([])), &[]),
        (ramp(), steps(start, [1, 10, 49], json!([])), &[]),
        (ramp(), steps(start, [1, 10, 51], json!([])), &["strategy.progressive.steps[2].percent"]),
        // What has passed exposes nobody any more.
        (ramp(), steps(start, [5, 10, 50], json!([])), &[]),
        (ramp(), steps("2026-12-20T00:00:01Z", [1, 10, 50], json!([])), &[]),
        (ramp(), steps("2026-12-19T23:59:59Z", [1, 10, 50], json!([])), &[late]),
        (ramp(), pause("2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"), &[]),
        (pause("2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"), ramp(), &["strategy.progressive.pauses"]),
        (
            pause("2027-01-03T00:00:00Z", "2027-01-04T00:00:00Z"),
            pause("2027-01-03T00:00:00Z", "2027-01-03T23:59:59Z"),
            &["strategy.progressive.pauses[0].until"],
        ),
        (ramp(), steps(start, [1, 10, 50], json!([{"from": NOW}])), &[]),
        (rising(), rising(), &[]),
        (rising(), line("2026-12-23T06:00:01Z", 100, "1d"), &[]),
        (rising(), line("2026-12-23T05:59:59Z", 100, "1d"), &[late]),
        (rising(), line("2026-12-23T06:00:00Z", 99, "1d"), &[]),
        (rising(), line("2026-12-23T06:00:00Z", 100, "86401s"), &[]),
        (rising(), line("2026-12-23T06:00:00Z", 100, "86399s"), &["strategy.progressive.linear.over"]),
        // Later, but steeper: the lines cross long after the freeze.
        (rising(), line("2026-12-23T12:00:00Z", 100, "17h"), &["strategy.progressive"]),
        (rising(), canary("v2", 50.0), &[]),
        (rising(), canary("v2", 50.1), &["strategy"]),
    ]);
}

#[test]
fn no_unit_is_drawn_again() {
    let names = |versions: &Value| and(versions.clone(), &json!({"salt": null}));
    let shadowless = json!({"salt": null, "shadow": null});
    judge(&[
        (as_it_is(), json!({"salt": "fraud-2026-12"}), &["salt"]),
        (as_it_is(), json!({"salt": null}), &["salt"]),
        // The default salt names the treatments; a ramp of the same version has the same.
        (names(&canary("v2", 50.0)), names(&canary("v2", 40.0)), &[]),
        (names(&canary("v2", 50.0)), names(&line("2026-12-23T18:00:00Z", 50, "1d")), &[]),
        (names(&canary("v2", 50.0)), names(&arms([0, 1, 1], 100)), &["strategy", "shadow"]),
        (and(arms([0, 1, 1], 80), &shadowless), and(canary("v2", 30.0), &shadowless), &["strategy"]),
        (and(arms([0, 1, 1], 80), &shadowless), and(canary("v2", 0.0), &shadowless), &[]),
        (names(&canary("v2", 50.0)), names(&json!({"strategy": null})), &["shadow"]),
        (names(&canary("v2", 50.0)), and(shadowless, &json!({"strategy": null})), &[]),
    ]);
}

#[test]
fn overrides_may_only_take_units_back() {
    let by_header = frozen()["rollouts"][0]["overrides"][0].clone();
    let units = |units: &[&str], version: &str| {
        let units: Vec<_> = units.iter().map(|unit| json!(unit)).collect();
        json!({"overrides": [{"units": units, "version": version}, by_header]})
    };
    let mut stranger = by_header.clone();
    stranger["header"]["secret"] = json!("another");
    // By the hash, at half: alice and user-123 get v2, bob does not.
    let later = line("2027-01-05T00:00:00Z", 50, "1d");
    judge(&[
        (units(&["bob"], "v2"), as_it_is(), &[]),
        (units(&["bob"], "v3"), as_it_is(), &[]),
        (units(&["alice"], "v2"), as_it_is(), &[]),
        (units(&["alice"], "v3"), as_it_is(), &["overrides"]),
        (units(&["alice"], "v1"), as_it_is(), &["overrides"]),
        (units(&["alice"], "v2"), units(&["alice"], "v1"), &[]),
        (units(&["alice", "bob"], "v3"), units(&["bob"], "v3"), &["overrides[0].units"]),
        (as_it_is(), units(&["bob"], "v1"), &[]),
        (as_it_is(), units(&["bob"], "v2"), &["overrides"]),
        (as_it_is(), units(&["alice"], "v2"), &[]),
        (units(&["alice"], "v3"), units(&["alice"], "v2"), &["overrides[0].version"]),
        // Not exposed yet, but one day it will be.
        (and(units(&["alice"], "v1"), &later), later.clone(), &["overrides"]),
        (and(units(&["bob"], "v1"), &later), later.clone(), &[]),
        (as_it_is(), json!({"overrides": null}), &["overrides"]),
        (as_it_is(), json!({"overrides": [stranger]}), &["overrides[0].header.secret"]),
    ]);
}

#[test]
fn buckets_of_other_products_may_only_be_left_or_used_less() {
    let scheme = |bucketing: Value, strategy: Value| json!({"bucketing": bucketing, "strategy": strategy, "shadow": null});
    let test = |weights: [u32; 2], percent: Value| {
        let arms = json!([{"version": "v1", "weight": weights[0]}, {"version": "v2", "weight": weights[1]}]);
        let mut test = json!({"arms": arms, "percent": percent});
        test.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        json!({"ab_test": test})
    };
    let canary = |percent: u32| json!({"canary": {"version": "v2", "percent": percent}});
    let unleash = || json!({"scheme": "unleash", "group_id": "g"});
    let feature = || json!({"scheme": "featurevisor", "feature": "f"});
    let split = || json!({"scheme": "split", "seed": 7, "traffic_allocation_seed": 8});
    let growthbook = || json!({"scheme": "growthbook-v2", "seed": "s"});
    let flagd = || json!({"scheme": "flagd-v2", "prefix": "p"});
    let optimizely = |end: u32| {
        let allocation = json!([{"version": "v2", "end": end}, {"version": null, "end": 10_000}]);
        scheme(json!({"scheme": "optimizely", "experiment_id": "e", "allocation": allocation}), json!(null))
    };
    let none = || json!({"strategy": null, "shadow": null});
    let native = || json!({"strategy": canary(1), "shadow": null});
    let zero = || json!({"strategy": canary(0), "shadow": null});
    let half = [50, 50];
    judge(&[
        (scheme(unleash(), canary(20)), scheme(unleash(), canary(19)), &[]),
        (scheme(unleash(), canary(20)), scheme(unleash(), canary(0)), &[]),
        (scheme(unleash(), canary(20)), scheme(unleash(), canary(21)), &["strategy.canary.percent"]),
        (scheme(unleash(), canary(20)), scheme(unleash(), test(half, json!(20))), &["strategy"]),
        (
            scheme(unleash(), canary(20)),
            scheme(json!({"scheme": "unleash", "group_id": "h"}), canary(20)),
            &["bucketing.group_id"],
        ),
        (scheme(unleash(), canary(20)), native(), &["strategy.canary.percent"]),
        (scheme(unleash(), canary(1)), native(), &["bucketing"]),
        (native(), scheme(unleash(), canary(1)), &["bucketing"]),
        (scheme(unleash(), canary(20)), zero(), &[]),
        (scheme(unleash(), canary(20)), none(), &[]),
        (scheme(feature(), canary(20)), scheme(feature(), canary(10)), &[]),
        (
            scheme(feature(), test(half, json!(null))),
            scheme(feature(), test([60, 40], json!(null))),
            &["strategy.ab_test.arms"],
        ),
        (scheme(split(), test(half, json!(null))), scheme(split(), test(half, json!(90))), &[]),
        (
            scheme(split(), test(half, json!(90))),
            scheme(split(), test(half, json!(null))),
            &["strategy.ab_test.percent"],
        ),
        (
            scheme(split(), test(half, json!(90))),
            scheme(split(), test([60, 40], json!(80))),
            &["strategy.ab_test"],
        ),
        (scheme(growthbook(), test(half, json!(40.5))), scheme(growthbook(), test(half, json!(40.4))), &[]),
        (
            scheme(flagd(), test(half, json!(null))),
            scheme(flagd(), test([51, 49], json!(null))),
            &["strategy.ab_test.arms"],
        ),
        // So small a share that it rounds to nothing is still somebody's.
        (none(), scheme(flagd(), test([16_000_000 / 16, 1], json!(null))), &["strategy"]),
        (scheme(flagd(), test(half, json!(null))), none(), &[]),
        (optimizely(5_000), optimizely(5_000), &[]),
        (optimizely(5_000), optimizely(4_000), &["bucketing.allocation[0].end"]),
        (optimizely(5_000), none(), &[]),
    ]);
}
