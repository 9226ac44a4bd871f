//! In a real Envoy, no request reaches a model that does not accept it, by any rule. The models themselves report what they got. The
//! only exception is counted.

#[path = "golden/dice.rs"]
mod dice;

use dice::Dice;
use rollout_core::{Time, compile, decide_unit};
use serde_json::json;
use testbed::envoy::Outcome;
use testbed::{Behaviour, Client, Envoy, Request, Upstream};

/// What each version accepts: API versions and the feature set.
const ACCEPTED: [(&str, &[&str], &str); 4] = [
    ("v1", &["1"], "fs-1"),
    ("v2", &["1", "2"], "fs-1"),
    ("v3", &["2", "3"], "fs-2"),
    ("v4", &["2"], "fs-1"),
];

#[test]
fn no_model_gets_a_request_that_it_does_not_accept_and_the_exception_is_counted() {
    let upstreams = ["fraud-v1", "fraud-v2", "fraud-v3", "fraud-v4"].map(Upstream::start);
    for ((name, ..), upstream) in ACCEPTED.iter().zip(&upstreams) {
        // Any version may fail a call, so that failover is frequent.
        upstream.set_with(|request| {
            let fails = request.header("x-fails-on").as_deref() == Some(name);
            if fails { Behaviour::status(503) } else { Behaviour::ok() }
        });
    }
    let versions: Vec<_> = ACCEPTED
        .iter()
        .map(|(name, api, features)| json!({"name": name, "cluster": format!("fraud-{name}"), "accepts": {"api": api}, "features": features}))
        .collect();
    let mut versions = serde_json::Value::from(versions);
    versions[3]["requires"] = json!([{"rollout": "embedder", "version": "v2"}]);
    let document = json!({"revision": 1, "trust_hop": true, "rollouts": [
        {"name": "fraud", "match": [{"path": {"prefix": "/"}}], "unit": [{"header": "x-user-id"}], "stable": "v1", "versions": versions, "api": {"header": "x-api"},
         "overrides": [{"units": ["user-1", "user-2"], "version": "v3"}, {"header": {"name": "x-want", "secret_header": "x-key", "secret": "k"}}],
         "sessions": {"cookie": "rs", "max_age": "1h", "secret": "a secret of sixteen bytes or more"},
         "strategy": {"ab_test": {"arms": [{"version": "v2", "weight": 1}, {"version": "v3", "weight": 1}, {"version": "v4", "weight": 2}]}},
         "failover": {"to": ["v2"]}, "idempotent": true},
        {"name": "embedder", "unit": [{"header": "x-user-id"}], "stable": "v1",
         "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
         "strategy": {"canary": {"version": "v2", "percent": 50}}}]});
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let plan = compile(document.to_string().as_bytes()).expect("no problems").plan;
    let embedder = &plan.rollouts()[1];

    let mut dice = Dice(11);
    let clients = [Client::new(envoy.address()), Client::new(envoy.address()).http2()];
    let mut sessions = vec![None; 40];
    for number in 0..2_000 {
        let user = dice.roll(40);
        let mut request = Request::get("/").header("x-user-id", format!("user-{user}"));
        if dice.roll(4) > 0 {
            request = request.header("x-api", dice.pick(&["1", "2", "3", "4"]));
        }
        if dice.roll(3) == 0 {
            request = request.header("x-rollout-feature-set", dice.pick(&["fs-1", "fs-2", "fs-3"]));
        }
        if dice.roll(4) == 0 {
            request = request
                .header("x-key", "k")
                .header("x-want", dice.pick(&["v1", "v2", "v3", "v4"]))
                .header("x-forced", "1");
        }
        if dice.roll(3) == 0 {
            request = request.header("x-fails-on", dice.pick(&["v2", "v3", "v4"]));
        }
        if let Some(session) = &sessions[user] {
            request = request.header("cookie", session);
        }
        // What the client asked for, for the models to remember: the filter replaces its feature set by the version's own.
        let asked = request
            .headers
            .iter()
            .find(|(name, _)| name == "x-rollout-feature-set")
            .map(|(_, set)| set.clone());
        if let Some(set) = asked {
            request = request.header("x-asked-set", set);
        }
        let response = clients[number % 2].send(request).expect("Envoy answers");
        if let Some(line) = response.header("set-cookie") {
            sessions[user] = line.split(';').next().map(str::to_owned);
        }
    }

    let (mut served, mut exceptions, mut dependent) = (0, 0, 0);
    for ((name, api, features), upstream) in ACCEPTED.iter().zip(&upstreams) {
        for request in upstream.requests() {
            served += 1;
            let fits = request.header("x-api").is_none_or(|asked| api.contains(&asked.as_str()))
                && request.header("x-asked-set").is_none_or(|asked| asked == *features);
            if !fits {
                exceptions += 1;
                assert_eq!(*name, "v1", "{request:?}");
                let others = ACCEPTED.iter().filter(|(name, ..)| *name != "v4");
                let accepted = others.filter(|(_, api, features)| {
                    request.header("x-api").is_none_or(|asked| api.contains(&asked.as_str()))
                        && request.header("x-asked-set").is_none_or(|asked| asked == *features)
                });
                assert_eq!(accepted.count(), 0, "{request:?}");
            }
            if *name == "v4" && request.header("x-forced").is_none() {
                dependent += 1;
                let unit = request.header("x-user-id").expect("a unit");
                let decided = decide_unit(&plan, embedder, unit.as_bytes(), Time::default());
                assert_eq!(decided.version.name(), "v2", "{request:?}");
            }
        }
    }
    assert!(
        served >= 2_000 && exceptions > 50 && dependent > 50,
        "{served} served, {exceptions} exceptions, {dependent} dependent"
    );
    let counter = "wasmcustom.rollout=.=fraud;.;version=.=v1;.;rollout_unacceptable_total";
    assert_eq!(envoy.wait_stat(counter, exceptions), exceptions);
    assert_eq!(envoy.vm_reloads(), 0);
    println!("{served} calls of models, {exceptions} that nobody accepts, all on stable and counted");
}
