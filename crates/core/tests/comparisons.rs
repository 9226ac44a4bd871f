//! Two answers compared: what counts as a difference, where it is, and of what kind.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use rollout_core::compare::{Answer, Compare, Difference, Kind, compare};
use rollout_core::{Plan, compile};
use serde_json::{Value, json};

/// The plan of a document whose only shadow compares like this.
fn plan(rules: &Value) -> Plan {
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v3", "cluster": "fraud-v3"}],
        "shadow": [{"version": "v3", "percent": 10, "cluster": "fraud-v3-copies", "compare": rules}]}]});
    compile(document.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{refused}")).plan
}

fn rules(rules: &Value) -> Compare {
    plan(rules).rollouts()[0]
        .shadows()
        .next()
        .expect("a shadow")
        .compare()
        .expect("the shadow compares")
        .clone()
}

/// An answer whose body is this JSON text.
fn answer(body: impl AsRef<[u8]>) -> Answer {
    Answer {
        status: 200,
        content_type: Some(b"application/json".to_vec()),
        body: body.as_ref().to_vec(),
        ..Answer::default()
    }
}

/// The differences of two JSON texts, as `kind pointer`.
fn found(rules: &Compare, live: impl AsRef<[u8]>, copy: impl AsRef<[u8]>) -> Vec<String> {
    let all = compare(rules, &answer(live), &answer(copy));
    all.iter().map(|difference| format!("{} {}", difference.kind.name(), difference.pointer)).collect()
}

#[test]
fn json_is_compared_by_structure() {
    let plain = rules(&json!({}));
    let cases: &[(&str, &str, &[&str])] = &[
        (r#"{"a": 1, "b": [true, null]}"#, r#" {"b":[true,null],"a":1}"#, &[]),
        (r#"{"a": 1}"#, r#"{"a": 2}"#, &["number /a"]),
        (r#"{"a": 1}"#, r#"{"a": "1"}"#, &["type /a"]),
        (r#"{"a": null}"#, r#"{}"#, &["missing /a"]),
        (r#"{}"#, r#"{"a": null}"#, &["added /a"]),
        (r#"{"a": null}"#, r#"{"a": 0}"#, &["type /a"]),
        (r#"[1, 2, 3]"#, r#"[1, 3, 2]"#, &["number /1", "number /2"]),
        (r#"[1, 2]"#, r#"[1, 3, 2]"#, &["length ", "number /1"]),
        (r#"{"a":[{"b":true},{"b":false}]}"#, r#"{"a":[{"b":true},{"b":true}]}"#, &["boolean /a/1/b"]),
        (r#""\u00e9\n\/""#, "\"é\\u000a/\"", &[]),
        (r#""\ud83d\ude00""#, "\"😀\"", &[]),
        (r#""\ud83d""#, r#""\ud83e""#, &["text "]),
        (r#""\ud83d""#, r#""\uD83D""#, &[]),
        (r#"{"a/b~": 1, "\u00e9": 1}"#, r#"{"a/b~": 2, "é": 2}"#, &["number /a~1b~0", "number /é"]),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 1, "a": 2}  "#, &[]),
        (r#"{"a": 1, "b": 0, "a": 2}"#, r#"{"a": 1, "a": 2, "b": 0}"#, &[]),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 2, "a": 1}"#, &["number /a", "number /a"]),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 1}"#, &["missing /a"]),
        ("[NaN, Infinity, -Infinity]", "[NaN,Infinity,-Infinity]", &[]),
        ("[NaN, Infinity]", "[1, -Infinity]", &["number /0", "number /1"]),
        ("[1.0, 1e0, 100, -0]", "[1, 1, 1.0e2, 0]", &[]),
        ("9007199254740993", "9007199254740992", &["number "]),
        ("123456789012345678901234567890", "123456789012345678901234567890.0", &[]),
    ];
    for (live, copy, expected) in cases {
        assert_eq!(found(&plain, live, copy), *expected, "{live} and {copy}");
    }
}

#[test]
fn what_is_not_json_is_compared_by_bytes() {
    let plain = rules(&json!({}));
    let cases: &[(&str, &str, &[&str])] = &[
        ("{", "{", &[]),
        ("{", "{}", &["invalid body"]),
        ("{}", "", &["invalid body"]),
        ("{", "[", &["body body"]),
        ("[1,]", "[2]", &["invalid body"]),
        ("[1]x", "[2]", &["invalid body"]),
        ("[01]", "[2]", &["invalid body"]),
        ("[-NaN]", "[2]", &["invalid body"]),
        ("[\"\u{1}\"]", "[2]", &["invalid body"]),
        (r#"["\x"]"#, "[2]", &["invalid body"]),
        ("[1]", "[2", &["invalid body"]),
    ];
    for (live, copy, expected) in cases {
        assert_eq!(found(&plain, live, copy), *expected, "{live} and {copy}");
        assert_eq!(found(&plain, copy, live), *expected, "{copy} and {live}");
    }
    let of = |kind: Option<&str>, body: &str| Answer {
        content_type: kind.map(|kind| kind.as_bytes().to_vec()),
        ..answer(body)
    };
    let kinds = |live: &Answer, copy: &Answer| {
        compare(&plain, live, copy).iter().map(|difference| difference.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&of(None, "a"), &of(Some("text/plain"), "a")), []);
    assert_eq!(kinds(&of(None, "{}"), &of(Some("text/plain"), "{} ")), [Kind::Body]);
    assert_eq!(kinds(&of(None, "{}"), &of(Some("application/json"), "{} ")), [Kind::Invalid]);
    let problem = Some("Application/Problem+JSON ; charset=utf-8");
    assert_eq!(kinds(&of(problem, "{}"), &of(Some("application/json"), "{} ")), []);
}

#[test]
fn tolerances_are_exact_decimals_and_either_suffices() {
    for (abs, rel, live, copy, matches) in [
        (0.1, 0.0, "0.3", "0.4", true),
        (0.1, 0.0, "0.3", "0.4000000000000001", false),
        (0.0, 0.01, "100", "99", true),
        (0.0, 0.01, "100", "98.9999", false),
        (0.0, 0.01, "-100", "-99", true),
        (1.0, 0.0, "-0.5", "0.5", true),
        (0.5, 0.0, "9007199254740993", "9007199254740992", false),
        (1.0, 0.0, "9007199254740993", "9007199254740992", true),
        (0.0, 0.1, "1e400", "0.95e400", true),
        (0.0, 0.1, "1e400", "0.85e400", false),
        (1e15, 1.0, "1", "1e20", true), // the whole of the larger one
        (1e15, 1.0, "-1", "1e20", false),
        (1e15, 1.0, "NaN", "1", false),
        (1e15, 1.0, "Infinity", "-Infinity", false),
        (1e15, 1.0, "1e99999999999999999999", "1", false),
        (1e-19, 0.0, "1", "1.0000000000000000001", true),
    ] {
        let rules = rules(&json!({"json": {"abs_tolerance": abs, "rel_tolerance": rel}}));
        assert_eq!(found(&rules, live, copy).is_empty(), matches, "{live} and {copy}, {abs} or {rel}");
        assert_eq!(found(&rules, copy, live).is_empty(), matches, "{copy} and {live}, {abs} or {rel}");
    }
}

fn only(differences: &[Difference]) -> &Difference {
    let [difference] = differences else { panic!("{differences:?}") };
    difference
}

#[test]
fn a_difference_of_numbers_says_by_how_much() {
    let plain = rules(&json!({}));
    for (live, copy, relative) in [
        ("1", "0.75", Some(0.25)),
        ("-1", "1", Some(2.0)),
        ("0", "5e-7", Some(1.0)),
        ("1e300", "1", Some(1.0)),
        ("NaN", "1", None),
    ] {
        assert_eq!(only(&compare(&plain, &answer(live), &answer(copy))).relative, relative, "{live}, {copy}");
    }
}

#[test]
fn ignored_places_are_not_compared() {
    let rules =
        rules(&json!({"json": {"ignore": ["/id", "/outputs/*/timing", "/list/1", "/a~1b", "/any/*"]}}));
    let cases: &[(&str, &str, &[&str])] = &[
        (r#"{"id": 1}"#, r#"{"id": {"x": []}}"#, &[]),
        (r#"{"id": 1}"#, r#"{}"#, &[]),
        (r#"{}"#, r#"{"\u0069d": 1}"#, &[]),
        (r#"{"ID": 1}"#, r#"{}"#, &["missing /ID"]),
        (
            r#"{"outputs": [{"timing": 1, "x": 1}]}"#,
            r#"{"outputs": [{"timing": 2, "x": 2}]}"#,
            &["number /outputs/0/x"],
        ),
        (r#"{"outputs": {"a": {"timing": 1}}}"#, r#"{"outputs": {"a": {}}}"#, &[]),
        (r#"{"timing": 1}"#, r#"{"timing": 2}"#, &["number /timing"]),
        (r#"{"list": [1, 2, 3]}"#, r#"{"list": [1, 9, 4]}"#, &["number /list/2"]),
        (r#"{"a/b": 1}"#, r#"{"a/b": 2}"#, &[]),
        (r#"{"any": {"x": 1}}"#, r#"{"any": {"y": 1}}"#, &[]),
        (r#"{"any": [1]}"#, r#"{"any": [1, 2]}"#, &["length /any"]),
    ];
    for (live, copy, expected) in cases {
        assert_eq!(found(&rules, live, copy), *expected, "{live} and {copy}");
    }
}

#[test]
fn unordered_arrays_are_compared_as_multisets() {
    let rules = rules(&json!({"json": {"unordered": ["/tags", "/deep/*"], "abs_tolerance": 1}}));
    let cases: &[(&str, &str, &[&str])] = &[
        (r#"{"tags": ["a", "b", "b"]}"#, r#"{"tags": ["b", "a", "b"]}"#, &[]),
        (r#"{"tags": ["a", "b", "b"]}"#, r#"{"tags": ["b", "a", "a"]}"#, &["text /tags/2"]),
        (r#"{"tags": ["a"]}"#, r#"{"tags": ["a", "a"]}"#, &["length /tags"]),
        (r#"{"tags": []}"#, r#"{"tags": [ ]}"#, &[]),
        // 2 must give its partner 2 away to 1, and take 3.
        (r#"{"tags": [1, 2]}"#, r#"{"tags": [3, 2]}"#, &[]),
        (r#"{"tags": [0, 1, 2, 3]}"#, r#"{"tags": [1, 2, 3, 4]}"#, &[]),
        (r#"{"tags": [1, 2]}"#, r#"{"tags": [3.5, 2]}"#, &["number /tags/0"]),
        (
            r#"{"tags": [{"id": 1, "s": "x"}, {"id": 5}]}"#,
            r#"{"tags": [{"id": 5.5}, {"s": "x", "id": 1}]}"#,
            &[],
        ),
        (r#"{"deep": [[1, 2], ["x"]]}"#, r#"{"deep": [[2, 1], ["x"]]}"#, &[]),
        (r#"{"other": [1, 5]}"#, r#"{"other": [5, 1]}"#, &["number /other/0", "number /other/1"]),
    ];
    for (live, copy, expected) in cases {
        assert_eq!(found(&rules, live, copy), *expected, "{live} and {copy}");
    }
}

#[test]
fn status_headers_and_grpc_status_are_compared() {
    let rules = rules(&json!({"headers": ["Content-Type", "x-model"], "log": "values"}));
    let live = Answer {
        headers: vec![Some(b"application/json".to_vec()), None],
        grpc_status: Some(b"0".to_vec()),
        ..answer("1")
    };
    let copy = Answer {
        status: 503,
        headers: vec![Some(b"text/plain".to_vec()), Some(b"v3".to_vec())],
        grpc_status: None,
        ..live.clone()
    };
    let told: Vec<_> = compare(&rules, &live, &copy)
        .into_iter()
        .map(|found| (found.kind, found.pointer, found.live, found.copy))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        told,
        [
            (Kind::Status, "status".to_owned(), some("200"), some("503")),
            (Kind::Header, "header content-type".to_owned(), some("application/json"), some("text/plain")),
            (Kind::Header, "header x-model".to_owned(), None, some("v3")),
            (Kind::GrpcStatus, "grpc-status".to_owned(), some("0"), None),
        ]
    );
    let blind = self::rules(&json!({"status": false}));
    assert_eq!(compare(&blind, &answer("1"), &Answer { status: 500, ..answer("1") }), []);
}
