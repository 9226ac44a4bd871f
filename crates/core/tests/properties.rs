//! Properties for any bytes: nothing panics, the index finds what a plain search finds, and `x-rollout-*` is never believed.

#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test may stop with the reason")]

use proptest::prelude::*;
use rollout_core::{Plan, Time, compile, decide, request_edits};
use serde_json::{Value, json};

fn compiled(document: &Value) -> Plan {
    compile(document.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{refused}")).plan
}

fn rollout(name: &str, alternatives: &Value) -> Value {
    json!({"name": name, "match": alternatives, "unit": [{"header": "x-user-id"}], "stable": "v1",
           "versions": [{"name": "v1", "cluster": "c"}]})
}

/// Few hosts, paths and values, so that patterns and requests meet often.
fn alternative() -> impl Strategy<Value = Value> {
    let host = prop::option::of(prop::sample::select(vec!["a.b", "b", "*.b", "*.a.b", "c"]));
    let path =
        prop::option::of((prop::sample::select(vec!["exact", "prefix", "suffix"]), "/(x|y|x/|xy|x/y|)"));
    let method = prop::option::of(prop::sample::select(vec!["GET", "POST"]));
    let header = prop::option::of((prop::sample::select(vec!["1", "2"]), any::<bool>()));
    let cookie = prop::option::of((prop::sample::select(vec!["1", "2"]), any::<bool>()));
    (host, path, method, header, cookie).prop_map(|(host, path, method, header, cookie)| {
        let mut alternative = json!({});
        if let Some(host) = host {
            alternative["hosts"] = json!([host]);
        }
        if let Some((kind, path)) = path {
            alternative["path"] = json!({kind: path});
        }
        if let Some(method) = method {
            alternative["methods"] = json!([method]);
        }
        if let Some((value, not)) = header {
            alternative["headers"] = json!([{"name": "x-t", "exact": value, "not": not}]);
        }
        if let Some((value, not)) = cookie {
            alternative["cookies"] = json!([{"name": "t", "exact": value, "not": not}]);
        }
        alternative
    })
}

/// The rollout that matches by the contract, found in the document without an index.
fn holds(alternative: &Value, [host, path, method, header, cookie]: [&str; 5]) -> bool {
    let host_holds = alternative["hosts"][0].as_str().is_none_or(|pattern| match pattern.strip_prefix('*') {
        Some(below) => host.len() > below.len() && host.ends_with(below),
        None => host == pattern,
    });
    let of = |kind: &str| alternative["path"][kind].as_str();
    host_holds
        && of("exact").is_none_or(|text| path == text)
        && of("prefix").is_none_or(|text| path.starts_with(text))
        && of("suffix").is_none_or(|text| path.ends_with(text))
        && alternative["methods"][0].as_str().is_none_or(|text| method == text)
        && [("headers", header), ("cookies", cookie)].iter().all(|(list, value)| {
            let condition = &alternative[*list][0];
            condition["exact"].as_str().is_none_or(|text| (*value == text) != (condition["not"] == true))
        })
}

/// Bytes that a header, a cookie or a query may contain.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "[%+&=;,\" a-z0-9]{0,64}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_search_through_the_document_finds(
        rollouts in prop::collection::vec(prop::collection::vec(alternative(), 1..4), 0..12),
        host in prop::sample::select(vec!["a.b", "b", "x.b", "x.a.b", "c", ".b", "d"]),
        path in "/(x|y|x/|xy|x/y|x/y/x|)",
        method in prop::sample::select(vec!["GET", "POST"]),
        header in prop::sample::select(vec!["1", "2", "3"]),
        cookie in prop::sample::select(vec!["1", "2", ""]),
    ) {
        let documents: Vec<Value> =
            rollouts.iter().enumerate().map(|(i, list)| rollout(&format!("r{i}"), &json!(list))).collect();
        let plan = compiled(&json!({"revision": 1, "rollouts": documents}));
        let pair = format!("t={cookie}");
        let lines = [(":authority", host), (":path", &path), (":method", method), ("x-t", header), ("cookie", &pair)];
        let request = plan.request(lines.map(|(name, value)| (name, value.as_bytes())), None);
        let found = decide(&plan, &request, Time::from_seconds(0)).map(|decision| decision.rollout.name().to_owned());
        let walked = rollouts
            .iter()
            .position(|list| list.iter().any(|alternative| holds(alternative, [host, &path, method, header, cookie])))
            .map(|position| format!("r{position}"));
        prop_assert_eq!(found, walked);
    }

    #[test]
    fn no_request_panics_and_no_reserved_header_passes(
        path in bytes(), host in bytes(), values in prop::collection::vec(bytes(), 4), source in bytes(),
    ) {
        let plan = compiled(&json!({"revision": 1, "rollouts": [{
            "name": "any", "stable": "v1", "idempotent": true,
            "match": [{"hosts": ["*.b"]}, {"path": {"suffix": "x"}}, {"query": [{"name": "k", "contains": "a"}]}, {}],
            "unit": [{"cookie": "uid"}, {"query": "user"}, {"header": "x-user-id"}, {"source_ip": true}],
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
            "overrides": [{"header": {"name": "x-v", "secret_header": "x-k", "secret": "s"}}],
            "strategy": {"canary": {"version": "v2", "percent": 50}}, "shadow": [{"version": "v2", "percent": 50}]}]}));
        let lines = [
            (":authority", &host), (":path", &path), (":method", &values[0]), ("cookie", &values[0]), ("cookie", &values[1]),
            ("x-user-id", &values[2]), ("x-rollout-cluster", &values[3]), ("x-rollout-anything", &values[3]), ("x-k", &values[3]),
        ];
        let request = plan.request(lines.map(|(name, value)| (name, value.as_slice())), Some(&source));
        prop_assert_eq!(request.unwanted(), ["x-rollout-cluster", "x-rollout-anything", "x-k"]);
        if let Some(decision) = decide(&plan, &request, Time::from_seconds(0)) {
            for edit in request_edits(Some(&decision), &request) {
                let Some((name, value)) = edit.header() else { continue };
                prop_assert!(name.starts_with("x-rollout-") || name.starts_with("x-envoy-"));
                prop_assert!(value.iter().all(|byte| byte.is_ascii_graphic()), "{} carries {:?}", name, value);
            }
        }
    }

    #[test]
    fn no_document_panics_and_no_document_is_rejected_without_a_problem(noise in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Err(refused) = compile(&noise) {
            prop_assert!(!refused.problems.is_empty());
        }
    }

    /// A golden document with one value replaced is served, or rejected with a place.
    #[test]
    fn a_document_with_one_value_replaced_is_served_or_rejected_with_a_place(choice in any::<prop::sample::Index>(), kind in 0..7_usize) {
        let mut document = json!({"revision": 1, "trust_hop": false, "rollouts": [{
            "name": "any", "match": [{"hosts": ["*.b"], "path": {"prefix": "/"}, "methods": ["GET"],
                "headers": [{"name": "x-t", "in": ["a"], "not": true}], "cookies": [{"name": "c", "exact": ""}],
                "query": [{"name": "k", "present": true}]}],
            "unit": [{"cookie": "uid"}, {"source_ip": true}], "salt": "s", "stable": "v1",
            "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2", "failover": {"to": ["v1"]}}],
            "strategy": {"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 1, "stopped": true}], "percent": 5}},
            "overrides": [{"units": ["a"], "version": "v2"}, {"header": {"name": "x-v", "secret_header": "x-k", "secret": "s"}}],
            "failover": {"to": ["v1"], "retry_on": "5xx", "status_codes": [429], "retries": 1, "per_try_timeout": "1s"},
            "shadow": [{"version": "v2", "percent": 1, "methods": ["GET"]}], "idempotent": true, "expose": "debug", "timeout": "2s"}]});
        let mut paths = Vec::new();
        pointers(&document, String::new(), &mut paths);
        let pointer = choice.get(&paths);
        let replacement = [json!(null), json!(true), json!(-1), json!(1.5), json!("\u{0}x"), json!([]), json!({})][kind].clone();
        *document.pointer_mut(pointer).unwrap() = replacement;
        if let Err(refused) = compile(document.to_string().as_bytes()) {
            prop_assert!(refused.problems.iter().all(|problem| !problem.path.is_empty() && !problem.message.is_empty()));
        }
    }
}

/// Every place in a document, as a JSON pointer.
fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), all))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| pointers(value, format!("{at}/{i}"), all))
        }
        _ => {}
    }
    all.push(at);
}
