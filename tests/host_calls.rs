//! What a request costs, exactly: host calls by kind and entries into the guest, in an interpreter that runs the very module.
//!
//! A host call is what costs on the request path, a hundred times an instruction. A test that fails here has found a call that
//! was added or removed: change the table only if that was the purpose. Guest instructions have a budget, since each change of
//! the code moves them a little.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbed::answer;
use testbed::guest::{Counts, Exchange, Guest};

/// Instructions may exceed the measured number of the table by this share before a test fails.
const MARGIN_PERCENT: f64 = 10.0;

fn rollout(edit: fn(&mut Value)) -> String {
    let mut rollout = json!({
        "name": "fraud",
        "match": [{"path": {"prefix": "/v2/models/fraud/"}}],
        "unit": [{"header": "x-user-id"}],
        "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": 10}}
    });
    edit(&mut rollout);
    json!({"revision": 1, "rollouts": [rollout]}).to_string()
}

fn guard(rollout: &mut Value) {
    rollout["failover"] = json!({"to": ["v1"]});
    rollout["guardrails"] = json!({"signals": [
        {"error_rate": {"max_percent": 20}},
        {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"latency": {"quantile": 0.99, "max_ms": 10_000}},
        {"latency": {"quantile": 0.99, "max_ratio": 100, "confidence": 0.999_999}},
        {"consecutive_failures": 20},
        {"sample_ratio": {"confidence": 0.999_999}}
    ]});
}

fn shadow(rollout: &mut Value) {
    rollout["versions"] = json!([
        {"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}, {"name": "v3", "cluster": "fraud-v3"}
    ]);
    rollout["shadow"] = json!([{"version": "v3", "percent": 100, "methods": ["POST"]}]);
    rollout["idempotent"] = json!(true);
}

/// A request as Envoy shows it to a filter.
fn request(path: &str) -> Exchange {
    Exchange::new(&[
        (":authority", "ml.example.com"),
        (":path", path),
        (":method", "POST"),
        (":scheme", "https"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("content-length", "300"),
        ("x-request-id", "3f9c1c0e-5d0b-4f0e-9a55-6a1f3e0a7c42"),
        ("x-forwarded-proto", "https"),
        ("x-user-id", "user-1"),
        ("cookie", "session=8d1f6a0c2b; theme=dark"),
    ])
}

const MATCHED: &str = "/v2/models/fraud/infer";

/// Calls or entries by kind.
type Rows = [(&'static str, usize)];

/// What a request may cost.
struct Expected<'r> {
    calls: &'r Rows,
    entries: &'r Rows,
    instructions: u64,
}

fn table(rows: &Rows) -> BTreeMap<String, usize> {
    rows.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

/// Panics unless a settled request makes exactly these calls and entries, and stays in its budget of instructions.
#[track_caller]
fn expect(document: &str, path: &str, expected: &Expected<'_>) {
    agree(Guest::start(&testbed::module::build(), document).settled(&request(path)), expected);
}

/// Panics unless the counts are those of the table.
#[track_caller]
fn agree(counts: Counts, expected: &Expected<'_>) {
    let Counts { calls, entries, instructions } = counts;
    println!("{instructions} instructions");
    assert_eq!(calls, table(expected.calls), "host calls");
    assert_eq!(entries, table(expected.entries), "entries into the guest");
    let share = (instructions as f64 / expected.instructions as f64 - 1.0) * 100.0;
    assert!(share <= MARGIN_PERCENT, "{instructions} instructions, {share:.0} % more than in the table");
}

#[test]
fn a_request_that_no_rollout_matches_costs_one_read_of_its_headers() {
    expect(
        &rollout(|_| {}),
        "/elsewhere",
        &Expected {
            calls: &[("get_current_time_nanoseconds", 1), ("get_header_map_pairs request", 1)],
            entries: &[
                ("allocate", 1),
                ("context_create", 1),
                ("delete", 1),
                ("request_headers", 1),
                ("response_body", 1),
                ("response_headers", 1),
            ],
            instructions: 15_300,
        },
    );
}

/// What a request of a rollout costs whatever the rollout does with it.
const DECIDED: Expected<'static> = Expected {
    calls: &[
        ("add_header_map_value request", 4),
        ("get_current_time_nanoseconds", 2),
        ("get_header_map_pairs request", 1),
        ("get_header_map_value response :status", 1),
    ],
    entries: &[
        ("allocate", 2),
        ("context_create", 1),
        ("delete", 1),
        ("request_headers", 1),
        ("response_body", 1),
        ("response_headers", 1),
    ],
    instructions: 22_000,
};

#[test]
fn a_rollout_costs_four_headers_two_looks_at_the_clock_and_the_status() {
    expect(&rollout(|_| {}), MATCHED, &DECIDED);
}

#[test]
fn guardrails_and_failover_cost_one_look_at_the_flags_when_the_request_ends() {
    let calls = [DECIDED.calls, &[("get_property response.flags", 1)]].concat();
    expect(&rollout(guard), MATCHED, &Expected { calls: &calls, instructions: 27_000, ..DECIDED });
}

#[test]
fn a_version_with_failover_costs_one_look_at_the_attempts() {
    let everybody = |rollout: &mut Value| {
        rollout["failover"] = json!({"to": ["v1"]});
        rollout["strategy"] = json!({"canary": {"version": "v2", "percent": 100}});
    };
    let mut calls = [DECIDED.calls, &[("get_property upstream.request_attempt_count", 1)]].concat();
    calls.push(("replace_header_map_value request", 2));
    expect(&rollout(everybody), MATCHED, &Expected { calls: &calls, instructions: 25_000, ..DECIDED });
}

#[test]
fn a_shadow_costs_one_header() {
    let calls = [&[("add_header_map_value request", 5)], &DECIDED.calls[1..]].concat();
    expect(&rollout(shadow), MATCHED, &Expected { calls: &calls, instructions: 26_600, ..DECIDED });
}

/// A copy in the role `shadow`, where the filter of the listener has marked it.
fn copy() -> Exchange {
    request(MATCHED).and("x-rollout-shadow", "fraud-v3-copies").response(&[
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", "300"),
    ])
}

#[test]
fn a_copy_in_its_cluster_costs_its_mark_and_the_length_of_its_answer() {
    let counts = Guest::start(&testbed::module::build(), r#"{"role": "shadow"}"#).settled(&copy());
    println!("{} instructions", counts.instructions);
    let calls = [
        ("get_header_map_value request x-rollout-pair", 1),
        ("get_header_map_value request x-rollout-shadow", 1),
        ("get_header_map_value response content-length", 1),
    ];
    assert_eq!(counts.calls, table(&calls));
    assert_eq!(counts.entries, table(DECIDED.entries));
    assert!(counts.instructions < 2_600, "{}", counts.instructions);
}

/// The guest with a shadow whose answers are compared, and the role `shadow` in its VM.
fn comparing() -> Guest {
    let compared = rollout(|rollout| {
        shadow(rollout);
        rollout["shadow"][0]["cluster"] = json!("fraud-v3-copies");
        rollout["shadow"][0]["compare"] = serde_json::from_str(answer::RULES).expect("the rules are JSON");
    });
    Guest::start(&testbed::module::build(), &compared).with_copies()
}

/// A request that is answered with this JSON.
fn answered(body: &str) -> Exchange {
    let length = body.len().to_string();
    let head = [
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", &length),
        ("date", "Sat, 28 Nov 2026 12:00:00 GMT"),
        ("server", "envoy"),
        ("x-envoy-upstream-service-time", "5"),
    ];
    let exchange = request(MATCHED).response(&head).body(body);
    exchange.property("response.code_details", "via_upstream").property("response.flags", [0; 8])
}

/// Answers of 2 KiB. The copy's is the second to come, so its side compares.
#[test]
fn a_compared_pair_costs_its_name_two_heads_and_two_bodies() {
    let live = answer::of_two_kib(false);
    let another_id = live.replacen("7c40", "7c41", 1);
    let mut guest = comparing();
    for (what, body, instructions) in [
        ("the same bytes", &live, 75_000),
        ("another `id`, which is ignored", &another_id, 213_000),
        ("also another last digit of each number", &answer::of_two_kib(true), 408_000),
    ] {
        let [live, copy] = guest.settled_pair(&answered(&live), &answered(body));
        println!("{what}");
        agree(live, &LIVE);
        agree(copy, &Expected { instructions, ..COPY });
    }
}

/// The live side of a compared pair: the pair's name in a header, and the head and the body of the answer.
const LIVE: Expected<'static> = Expected {
    calls: &[
        ("add_header_map_value request", 6),
        ("get_buffer_bytes", 1),
        ("get_current_time_nanoseconds", 2),
        ("get_header_map_pairs request", 1),
        ("get_header_map_pairs response", 1),
        ("get_header_map_value response :status", 1),
        ("get_property response.code_details", 1),
    ],
    entries: &[
        ("allocate", 5),
        ("context_create", 1),
        ("delete", 1),
        ("request_headers", 1),
        ("response_body", 2),
        ("response_headers", 1),
    ],
    instructions: 44_200,
};

/// The copy's side, which compares.
const COPY: Expected<'static> = Expected {
    calls: &[
        ("get_buffer_bytes", 1),
        ("get_current_time_nanoseconds", 1),
        ("get_header_map_pairs response", 1),
        ("get_header_map_value request x-rollout-pair", 1),
        ("get_header_map_value request x-rollout-shadow", 1),
        ("remove_header_map_value request", 1),
    ],
    entries: &[
        ("allocate", 4),
        ("context_create", 1),
        ("delete", 1),
        ("request_headers", 1),
        ("response_body", 2),
        ("response_headers", 1),
    ],
    instructions: 0,
};

#[test]
fn a_rate_of_copies_asks_shared_data_once_in_a_lease() {
    let limited = rollout(|rollout| {
        shadow(rollout);
        rollout["shadow"][0]["max_per_second"] = json!(100_000);
    });
    let mut guest = Guest::start(&testbed::module::build(), &limited);
    guest.tick();
    let asked = (0..200).filter(|_| {
        let (counts, _) = guest.exchange(&request(MATCHED));
        counts.calls.contains_key("set_shared_data")
    });
    assert_eq!(asked.count(), 2, "leases of 128");
}

#[test]
fn durations_reach_the_host_on_the_tick() {
    let mut guest = Guest::start(&testbed::module::build(), &rollout(|_| {}));
    guest.tick();
    for _ in 0..5 {
        guest.exchange(&request(MATCHED));
    }
    assert_eq!(guest.tick().calls.get("record_metric"), Some(&5));
    assert_eq!(guest.tick().calls.get("record_metric"), None);
}

#[test]
fn durations_that_wait_for_the_tick_are_bounded() {
    let mut guest = Guest::start(&testbed::module::build(), &rollout(|_| {}));
    let recorded = |guest: &mut Guest| {
        let (counts, _) = guest.exchange(&request(MATCHED));
        counts.calls.get("record_metric").copied().unwrap_or(0)
    };
    let first = (0..1_000).map(|_| recorded(&mut guest)).find(|recorded| *recorded > 0);
    assert_eq!(first, Some(256));
}
