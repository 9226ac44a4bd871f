//! The metrics of the contract: exact counts, labels that Prometheus sees, and a bound on the number of series.

#![expect(clippy::expect_used, reason = "a test may stop with the reason")]

use rollout_core::Time;
use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::{Cluster, Envoy, Outcome};
use testbed::load::Load;
use testbed::upstream::{Behaviour, DeadPort, Upstream};

fn rollout(name: &str, rest: &Value) -> Value {
    let mut rollout = json!({"name": name, "match": [{"path": {"prefix": format!("/{name}/")}}], "unit": [{"header": "x-user-id"}],
        "stable": "v1", "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}]});
    rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    rollout
}

/// The value of a Prometheus series with these labels, whatever their order.
fn sample(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
        rest.is_some_and(|rest| {
            labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        })
    };
    page.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn counts_are_exact_over_two_workers_and_carry_their_labels() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let dead = DeadPort::take();
    let envoy = Envoy::builder()
        .clusters(&upstreams)
        .cluster(Cluster::new("dead", &[dead.port()]))
        .concurrency(2)
        .start();
    let broken = json!({"versions": [{"name": "v1", "cluster": "dead"}]});
    let document = json!({"revision": 7, "rollouts": [
        rollout("split", &json!({"salt": "metrics", "strategy": {"canary": {"version": "v2", "percent": 30}}})),
        rollout("green", &json!({"strategy": {"blue_green": {"active": "v2"}}})),
        rollout("broken", &broken)]});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(7);

    let plan = rollout_core::compile(document.to_string().as_bytes()).expect("valid").plan;
    let split = plan.rollouts().first().expect("a rollout");
    let assigned = (0..1_000).filter(|i| {
        let decision =
            rollout_core::decide_unit(&plan, split, format!("user-{i}").as_bytes(), Time::default());
        decision.version.name() == "v2"
    });
    let canary = u64::try_from(assigned.count()).expect("a count");
    let load = Load::new(envoy.address()).connections(8);
    let report =
        load.requests(1_000).run(|i| Request::get("/split/x").header("x-user-id", format!("user-{i}")));
    assert_eq!((report.sent, report.failed()), (1_000, 0));
    upstreams[1].set(Behaviour::status(503));
    let client = envoy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/green/x", &[]).expect("an answer").status, 503);
    }
    for _ in 0..10 {
        assert_eq!(client.get("/broken/x", &[("x-user-id", "alice")]).expect("an answer").status, 503);
        assert_eq!(client.get("/split/x", &[]).expect("an answer").status, 200);
        assert_eq!(client.get("/elsewhere", &[]).expect("an answer").status, 200);
    }

    let requests = |rollout: &str, version: &str, reason: &str| {
        format!(
            "wasmcustom.rollout=.={rollout};.;version=.={version};.;reason=.={reason};.;rollout_requests_total"
        )
    };
    envoy.wait_stat(&requests("-", "-", "no_match"), 10);
    // The load came over both workers, and each writes its counts on its own tick.
    envoy.wait_stat(&requests("split", "v2", "assigned"), canary);
    envoy.wait_stat(&requests("split", "v1", "not_exposed"), 1_000 - canary);
    let page = envoy.wait_for("all counts", |envoy| {
        let page = envoy.prometheus();
        let labels = [("rollout", "split"), ("version", "v1"), ("reason", "missing_unit")];
        (sample(&page, "rollout_requests_total", &labels) == Some(10)).then_some(page)
    });
    for (rollout, version, reason, count) in [
        ("split", "v2", "assigned", canary),
        ("split", "v1", "not_exposed", 1_000 - canary),
        ("green", "v2", "assigned", 20),
        ("broken", "v1", "assigned", 10),
        ("-", "-", "no_match", 10),
    ] {
        let labels = [("rollout", rollout), ("version", version), ("reason", reason)];
        assert_eq!(sample(&page, "rollout_requests_total", &labels), Some(count), "{labels:?}");
    }
    let failures = |rollout: &str, version: &str| {
        sample(&page, "rollout_failures_total", &[("rollout", rollout), ("version", version)])
    };
    assert_eq!(failures("green", "v2"), Some(20), "a 5xx of the upstream is a failure");
    assert_eq!(failures("broken", "v1"), Some(10), "a model that refuses connections fails");
    let durations = |rollout: &str, version: &str| {
        sample(&page, "rollout_request_duration_ms_count", &[("rollout", rollout), ("version", version)])
    };
    envoy.wait_for("the histograms", |envoy| {
        let page = envoy.prometheus();
        let labels = [("rollout", "split"), ("version", "v2")];
        (sample(&page, "rollout_request_duration_ms_count", &labels) == Some(canary)).then_some(())
    });
    assert!(durations("split", "v1").is_some());
    assert_eq!(sample(&page, "rollout_config_revision", &[("plugin", "rollout")]), Some(7));
    assert_eq!(sample(&page, "rollout_config_hash", &[("plugin", "rollout")]), Some(u64::from(plan.hash())));
}

#[test]
fn a_label_reads_as_the_version_is_named_but_for_dots_at_its_end_which_envoy_drops() {
    let upstream = Upstream::start("fraud-v1");
    let envoy = Envoy::builder().cluster(&upstream).concurrency(1).start();
    let names = ["v1.", "v2", ".v1", "v.1", "v..1", "-..", "_", "v1.-"];
    let versions: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "cluster": "fraud-v1"})).collect();
    let document = json!({"revision": 1, "rollouts": [rollout("dots", &json!({"versions": versions, "stable": "v2",
        "overrides": [{"header": {"name": "x-want", "secret_header": "x-key", "secret": "k"}}]}))]});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let client = envoy.client();
    for (count, name) in (1..).zip(names) {
        for _ in 0..count {
            let headers = [("x-key", "k"), ("x-want", name)];
            assert_eq!(client.get("/dots/x", &headers).expect("an answer").status, 200);
        }
    }
    let total = |envoy: &Envoy| envoy.stats("rollout_requests_total$").values().sum::<u64>();
    envoy.wait_for("every request to be counted", |envoy| (total(envoy) == 36).then_some(()));
    let page = envoy.prometheus();
    for (count, name) in (1..).zip(names) {
        // The names of `/stats`, which the tool reads, keep the dots. Tags are names of their own, and no name ends in a dot.
        let stat = format!("version=.={name};.;reason=.=forced;.;rollout_requests_total");
        assert_eq!(envoy.wait_stat(&format!("wasmcustom.rollout=.=dots;.;{stat}"), count), count);
        let labels = [("rollout", "dots"), ("version", name.trim_end_matches('.')), ("reason", "forced")];
        assert_eq!(sample(&page, "rollout_requests_total", &labels), Some(count), "{name}");
    }
}

#[test]
fn the_gauge_of_a_stopped_arm_is_zero_and_that_of_stable_is_the_sum_of_its_arms() {
    let upstream = Upstream::start("fraud-v1");
    let envoy = Envoy::builder().cluster(&upstream).concurrency(2).start();
    let versions = ["v1", "v2", "v3"].map(|name| json!({"name": name, "cluster": "fraud-v1"}));
    for (revision, stopped, exposures) in [
        (1, [false, false], [400_000, 400_000, 200_000]),
        (2, [true, false], [400_000, 0, 200_000]),
        (3, [false, true], [200_000, 400_000, 200_000]),
    ] {
        let document = json!({"revision": revision, "rollouts": [rollout("arms", &json!({"versions": versions, "salt": "s",
            "strategy": {"ab_test": {"arms": [
                {"version": "v1", "weight": 1}, {"version": "v2", "weight": 2, "stopped": stopped[0]},
                {"version": "v3", "weight": 1}, {"version": "v1", "weight": 1, "stopped": stopped[1]}]}}}))]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(revision);
        for (version, exposure) in ["v1", "v2", "v3"].into_iter().zip(exposures) {
            let name = format!("wasmcustom.rollout=.=arms;.;version=.={version};.;rollout_exposure_ppm");
            envoy.wait_for("the exposure", |envoy| (envoy.stat(&name) == exposure).then_some(()));
        }
    }
}

#[test]
fn counts_survive_pushes_between_two_ticks() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    let document =
        |revision: u64| json!({"revision": revision, "rollouts": [rollout("split", &json!({}))]}).to_string();
    assert_eq!(envoy.push(&document(1)), Outcome::Accepted);
    envoy.wait_revision(1);
    let client = envoy.client();
    for revision in 2..=21 {
        for _ in 0..5 {
            assert_eq!(client.get("/split/x", &[]).expect("an answer").status, 200);
        }
        assert_eq!(envoy.push(&document(revision)), Outcome::Accepted);
    }
    let name = "wasmcustom.rollout=.=split;.;version=.=v1;.;reason=.=assigned;.;rollout_requests_total";
    assert_eq!(envoy.wait_stat(name, 100), 100);
}

#[test]
fn beyond_ten_thousand_series_the_labels_are_other() {
    let upstream = Upstream::start("fraud-v1");
    upstream.set(Behaviour::status(200));
    upstream.remember(0);
    let versions: Vec<Value> =
        (0..16).map(|i| json!({"name": format!("v{i}"), "cluster": "fraud-v1"})).collect();
    let rollouts: Vec<Value> = (0..400)
        .map(|i| {
            json!({"name": format!("r{i}"), "match": [{"path": {"prefix": format!("/{i}/")}}], "unit": [{"header": "x-user-id"}],
                   "stable": "v0", "versions": versions,
                   "overrides": [{"header": {"name": "x-want", "secret_header": "x-key", "secret": "k"}}]})
        })
        .collect();
    let envoy = Envoy::builder().cluster(&upstream).concurrency(1).start();
    assert_eq!(envoy.push(&json!({"revision": 1, "rollouts": rollouts}).to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    // Each request makes two series: its counter and its histogram.
    let report = Load::new(envoy.address()).connections(4).requests(6_400).run(|i| {
        Request::get(&format!("/{}/", i / 16)).header("x-key", "k").header("x-want", format!("v{}", i % 16))
    });
    assert_eq!((report.sent, report.failed()), (6_400, 0));
    let other = "wasmcustom.rollout=.=other;.;version=.=other;.;reason=.=other;.;rollout_requests_total";
    envoy.wait_stat(other, 1);
    let total = |envoy: &Envoy| envoy.stats("rollout_requests_total$").values().sum::<u64>();
    envoy.wait_for("every request to be counted", |envoy| (total(envoy) == 6_400).then_some(()));
    let series = envoy.stats("rollout_requests_total$").len();
    assert!(series < 10_000, "{series} series of one counter");
    assert_eq!(envoy.vm_reloads(), 0);
}
