//! Shared counts add up to what clients saw, whatever is pushed or reloaded meanwhile, and are separate for each plugin.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rollout_core::compile;
use rollout_core::guardrail::{FORMAT, Label, SharedRecord, Shelf};
use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::{Outcome, connection_manager, wasm_filter};
use testbed::upstream::Received;
use testbed::{Behaviour, Envoy, Load, Upstream, module};

/// Number of requests. The environment variable `REQUESTS` changes it.
const REQUESTS: u64 = 60_000;

/// A million take ten minutes on two cores.
const LIMIT: Duration = Duration::from_secs(3_000);

fn document(revision: u64, percent: u64) -> Value {
    json!({"revision": revision, "rollouts": [{
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "counts", "stable": "v1", "expose": "assignment",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": percent}},
        "guardrails": {"action": "warn", "signals": [{"error_rate": {"max_percent": 90}},
            {"error_rate": {"max_increase_percent": 50, "confidence": 0.999}}, {"sample_ratio": {"confidence": 0.999}}]}
    }]})
}

/// The filter, and a plugin that shows the data that workers share.
fn probe(bootstrap: &mut Value) {
    let mut filter = wasm_filter(&module::built("probe-filter"), Value::Null);
    let config =
        filter.pointer_mut("/config").and_then(Value::as_object_mut).expect("a plugin's configuration");
    config.insert("name".into(), json!("probe"));
    config.remove("configuration");
    let filters = connection_manager(bootstrap).pointer_mut("/http_filters").and_then(Value::as_array_mut);
    filters.expect("filters").insert(0, json!({"name": "probe", "typed_config": filter}));
}

/// Requests and failures of v2 and of v1, as the shared data of this plugin has them.
fn shared(envoy: &Envoy, plugin: &str, document: &Value) -> Option<[(u64, u64); 2]> {
    let plan = compile(document.to_string().as_bytes()).expect("a valid document").plan;
    let guardrails = plan.rollouts().first()?.guardrails()?;
    let guarded = guardrails.guarded().first()?;
    let key = format!("rollout/{FORMAT}/{plugin}/{}", Shelf::number(guarded.identity));
    let answer = envoy.client().get("/", &[("x-shared-key", &key)]).expect("the probe answers").text();
    let byte = |place: usize| u8::from_str_radix(answer.get(place..place + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..answer.len()).step_by(2).filter_map(byte).collect();
    let label = Label { identity: guarded.identity, epoch: guarded.epoch };
    let record = SharedRecord::decode(guardrails, Shelf::decode(&bytes).record(label)?)?;
    Some(record.totals().map(|total| (total.observed, total.bad)))
}

/// Every twentieth request fails, wherever it is served.
fn sometimes(request: &Received) -> Behaviour {
    Behaviour::status(if request.header("x-fail").is_some() { 503 } else { 200 }).body("ok")
}

fn request(number: u64) -> Request {
    let request = Request::get("/").header("x-user-id", format!("user-{}", number % 5_000));
    if number % 20 == 7 { request.header("x-fail", "1") } else { request }
}

#[test]
fn counts_of_four_workers_are_exact_through_pushes_and_a_reload_of_the_module() {
    let requests = std::env::var("REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(REQUESTS);
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for version in &versions {
        version.remember(0);
        version.set_with(sometimes);
    }
    let envoy = Envoy::builder().clusters(&versions).concurrency(4).tweak(probe).start();
    assert_eq!(envoy.push(&document(1, 30).to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let seen: Arc<[AtomicU64; 4]> = Arc::default();
    let counts = Arc::clone(&seen);
    let load = Load::new(envoy.address()).connections(32).requests(requests).duration(LIMIT);
    let running = load
        .observe(move |_, outcome| {
            let answer = outcome.as_ref().expect("every request is answered");
            let is_v2 = answer.header("x-rollout-assignment").as_deref() == Some("fraud=v2");
            let place = usize::from(!is_v2) * 2 + usize::from(answer.status == 503);
            counts.get(place).expect("four counts").fetch_add(1, Ordering::Relaxed);
        })
        .start(request);
    let machines = || envoy.stat("wasm.envoy.wasm.runtime.v8.created");
    let before = machines();
    let total = || seen.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    let mut revision = 1;
    let mut reloads = 0;
    let began = Instant::now();
    while total() < requests {
        assert!(began.elapsed() < LIMIT, "{} of {requests} requests", total());
        revision += 1;
        let document = document(revision, 30 + revision % 3).to_string();
        let text = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document});
        let mut filter = wasm_filter(&module::build(), text);
        if total() > requests / 2 {
            // Another environment makes other VMs of the same module.
            let vm = filter.pointer_mut("/config/vm_config").expect("the VM's configuration");
            vm["environment_variables"] = json!({"key_values": {"RELOADED": "1"}});
            reloads += 1;
        }
        assert_eq!(envoy.push_filter(filter), Outcome::Accepted);
        envoy.wait_revision(revision);
        std::thread::sleep(Duration::from_millis(300));
    }
    let report = running.finish();
    assert_eq!(report.sent, requests);
    assert!(revision > 5 && reloads > 0, "{revision} pushes, {reloads} of them to new VMs");
    assert!(
        machines() >= before + 5,
        "new VMs for four workers and the main thread: {before}, {}",
        machines()
    );
    let [fine, failed, stable_fine, stable_failed] = [0, 1, 2, 3]
        .map(|place| seen.get(place).map_or(0, |count: &AtomicU64| count.load(Ordering::Relaxed)));
    let expected = [(fine + failed, failed), (stable_fine + stable_failed, stable_failed)];
    println!(
        "{requests} requests on 4 workers, {revision} pushes; v2 and v1, requests and failures: {expected:?}"
    );
    envoy.wait_for("the last counts", |envoy| {
        let shared = shared(envoy, "rollout", &document(1, 30));
        (shared == Some(expected)).then_some(()).or_else(|| {
            println!("shared: {shared:?}");
            None
        })
    });
    assert_eq!(envoy.vm_reloads(), 0, "nothing crashed");
}

#[test]
fn two_listeners_with_different_plugin_names_do_not_mix_rollouts_of_the_same_name() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for version in &versions {
        version.set_with(sometimes);
    }
    let text = document(1, 50).to_string();
    let envoy = Envoy::builder().clusters(&versions).concurrency(2).tweak(probe).tweak(move |bootstrap| {
        let listeners = bootstrap.pointer_mut("/static_resources/listeners").and_then(Value::as_array_mut);
        let listeners = listeners.expect("listeners");
        let mut second = listeners.first().expect("a listener").clone();
        second["name"] = json!("second");
        let text = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text});
        let mut filter = wasm_filter(&module::build(), text);
        *filter.pointer_mut("/config/name").expect("the plugin's name") = json!("second");
        let place =
            second.pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters/1").expect("the filter");
        *place = json!({"name": "rollout", "typed_config": filter});
        listeners.push(second);
    });
    let envoy = envoy.start();
    assert_eq!(envoy.push(&document(1, 50).to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let listeners: Value = serde_json::from_str(&envoy.admin("/listeners?format=json")).expect("JSON");
    let port = listeners
        .pointer("/listener_statuses/1/local_address/socket_address/port_value")
        .and_then(Value::as_u64);
    let port = u16::try_from(port.expect("a port")).expect("a port");
    let drive = |port: u16, count: u64| {
        Load::new(([127, 0, 0, 1], port).into()).connections(4).requests(count).run(request)
    };
    drive(envoy.address().port(), 300);
    drive(port, 100);
    let sum = |plugin: &str| {
        shared(&envoy, plugin, &document(1, 50))
            .map(|[version, stable]| (version.0 + stable.0, version.1 + stable.1))
    };
    envoy.wait_for("both counts", |_| {
        (sum("rollout") == Some((300, 15)) && sum("second") == Some((100, 5))).then_some(())
    });
}
