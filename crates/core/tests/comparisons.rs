//! Two answers compared: what counts as a difference, where it is, and of what kind.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use proptest::prelude::*;
use rollout_core::compare::{Answer, Compare, Difference, Kind, MAX_DIFFERENCES, compare, label};
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

#[test]
fn values_are_told_only_on_demand_and_never_where_redacted() {
    let live = r#"{"a": {"secret": 1, "open": "x"}, "b": [1, {"secret": 2}], "c": 1}"#;
    let copy = r#"{"a": {"secret": 2, "open": "y"}, "b": null, "d": 1}"#;
    let told = |rules: &Compare| {
        let all = compare(rules, &answer(live), &answer(copy));
        let tell = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let one =
            |found: &Difference| format!("{} {} {}", found.pointer, tell(&found.live), tell(&found.copy));
        all.iter().map(one).collect::<Vec<_>>()
    };
    let silent = told(&rules(&json!({"redact": ["/a"]})));
    assert_eq!(silent, ["/a/secret - -", "/a/open - -", "/b - -", "/c - -", "/d - -"]);
    let open = told(&rules(&json!({"log": "values"})));
    assert_eq!(
        open,
        [r#"/a/secret 1 2"#, r#"/a/open "x" "y""#, r#"/b [1, {"secret": 2}] null"#, "/c 1 -", "/d - 1"]
    );
    let redacted = told(&rules(&json!({"log": "values", "redact": ["/*/secret", "/b/*/secret", "/d"]})));
    assert_eq!(redacted, ["/a/secret *** ***", r#"/a/open "x" "y""#, "/b *** ***", "/c *** -", "/d - ***"]);
    let parent = told(&rules(&json!({"log": "values", "redact": ["/a"]})));
    assert_eq!(parent[..2], ["/a/secret *** ***", "/a/open *** ***"]);

    let secret = rules(&json!({"log": "values", "redact": ["/a"]}));
    assert_eq!(only(&compare(&secret, &answer("{}"), &answer("{"))).live.as_deref(), Some("***"));
    let unordered = rules(&json!({"log": "values", "redact": ["/1"], "json": {"unordered": [""]}}));
    let moved = compare(&unordered, &answer("[1, 2]"), &answer("[3, 1]"));
    assert_eq!(only(&moved).live.as_deref(), Some("***"), "either index may be meant");
}

#[test]
fn values_and_lists_of_differences_are_bounded() {
    let open = rules(&json!({"log": "values"}));
    let long = |symbol: &str| format!("\"{}\"", symbol.repeat(70_000));
    let found = compare(&open, &answer(long("é")), &answer(long("😀")));
    let (live, copy) = (only(&found).live.as_deref(), only(&found).copy.as_deref());
    assert_eq!(live, Some(format!("\"{}", "é".repeat(199)).as_str()));
    assert_eq!(copy, Some(format!("\"{}", "😀".repeat(199)).as_str()));

    let many = |value: u32| serde_json::to_string(&vec![value; 100]).expect("JSON");
    assert_eq!(compare(&open, &answer(many(1)), &answer(many(2))).len(), MAX_DIFFERENCES);
    let name = "n".repeat(5_000);
    let found = compare(&open, &answer(format!("{{\"{name}\": 1}}")), &answer("{}"));
    assert_eq!(only(&found).pointer.len(), 1_024);
}

#[test]
fn a_label_has_stars_for_indices_and_only_harmless_characters() {
    for (pointer, expected) in [
        ("", "/"),
        ("/outputs/0/data/12", "/outputs/*/data/*"),
        ("/outputs/-1/1a/", "/outputs/-1/1a/"),
        ("/a=.=b/c;.;d/e.f g\"\n", "/a___b/c___d/e_f_g__"),
        ("/é/~1x~0", "/_/~1x~0"),
        ("header content-type", "header_content-type"),
        ("grpc-status", "grpc-status"),
    ] {
        assert_eq!(label(pointer), expected);
    }
    assert_eq!(label(&format!("/{}", "a".repeat(127))).len(), 128);
    assert_eq!(label(&format!("/{}", "a".repeat(128))), "other");
}

#[test]
fn hostile_answers_end_and_are_never_said_to_match_if_they_do_not() {
    let plain = rules(&json!({"json": {"unordered": ["/list"], "abs_tolerance": 0.5}}));
    // A thread of the VM has at least this much stack.
    let deep = |middle: &str, depth: usize| format!("{}{middle}{}", "[".repeat(depth), "]".repeat(depth));
    let run = move || {
        assert_eq!(found(&plain, deep("1", 127), deep("2", 127)).len(), 1);
        for depth in [129, 400_000] {
            let pointer = "/0".repeat(128);
            assert_eq!(found(&plain, deep("1", depth), deep("2", depth)), [format!("body {pointer}")]);
            assert_eq!(found(&plain, deep("1", depth), deep("1", depth) + " "), Vec::<String>::new());
        }
        assert_eq!(found(&plain, deep("1", 400_000), "[".repeat(400_000)), ["invalid body"]);

        let members = |numbers: &mut dyn Iterator<Item = u32>| {
            let all: Vec<String> = numbers.map(|number| format!("\"member {number}\":{number}")).collect();
            format!("{{{}}}", all.join(","))
        };
        let (up, down) = (members(&mut (0..100_000)), members(&mut (0..100_000).rev()));
        assert_eq!(found(&plain, &up, &down), Vec::<String>::new());
        let nested = |name: &str, other: &str| {
            (0..120).fold("1".repeat(900_000), |inside, _| match name {
                "a" => format!("{{\"{name}\":{inside},\"{other}\":0}}"),
                _ => format!("{{\"{name}\":0,\"{other}\":{inside}}}"),
            })
        };
        // Each level would read the rest again; the budget ends that, so a difference of form is reported.
        assert_eq!(found(&plain, nested("a", "b"), nested("b", "a")).len(), 1);

        let list = |numbers: &mut dyn Iterator<Item = u32>, more: &str| {
            let all: Vec<String> = numbers.map(|number| format!("{{\"n\":{number}{more}}}")).collect();
            format!("{{\"list\":[{}]}}", all.join(","))
        };
        let shifted = list(&mut (0..50_000).rev(), ".25");
        assert!(!found(&plain, list(&mut (0..50_000), ""), shifted).is_empty(), "too much work to match");
        let shifted = list(&mut (0..100).rev(), ".25");
        assert!(found(&plain, list(&mut (0..100), ""), shifted).is_empty());
        let alike = format!("{{\"list\":[{}]}}", vec!["1"; 100_000].join(","));
        assert_eq!(found(&plain, &alike, format!("{alike} ")), Vec::<String>::new());
        assert_eq!(found(&plain, &alike, alike.replacen("1,", "7,", 1)), ["number /list/0"]);
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(run).expect("a thread starts");
    thread.join().expect("nothing overflows and nothing fails");
}

#[test]
fn how_answers_are_compared_is_no_part_of_what_signals_without_copies_judge() {
    let document = |compare: &Value| {
        json!({"revision": 1, "rollouts": [{"name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"canary": {"version": "v2", "percent": 5}},
            "guardrails": {"signals": [{"consecutive_failures": 20}]},
            "shadow": [{"version": "v2", "percent": 10, "cluster": "fraud-v2-copies", "compare": compare}]}]})
    };
    let epochs = |rules: &Value| {
        let plan = compile(document(rules).to_string().as_bytes()).expect("no problems").plan;
        let guardrails = plan.rollouts()[0].guardrails().expect("guardrails");
        (plan.hash(), guardrails.guarded().iter().map(|guarded| guarded.epoch).collect::<Vec<_>>())
    };
    let (plain, tolerant) = (epochs(&json!({})), epochs(&json!({"json": {"rel_tolerance": 0.1}})));
    assert_eq!(plain.1, tolerant.1);
    assert_ne!(plain.0, tolerant.0);
}

/// Few names and values, so that two of them are often alike. Doubles hold the numbers exactly.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0..4_i64).prop_map(|number| json!(number)),
        (0..4_i32).prop_map(|number| json!(f64::from(number) + 0.5)),
        prop::sample::select(vec!["", "a", "é\n", "\"/~"]).prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = prop::sample::select(vec!["a", "b", "c/~", "é\"", "0"]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((names, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A text of the value: members turned or not, with spaces or without, letters escaped or not.
fn written(value: &Value, is_other: bool) -> String {
    let quoted = |text: &str| {
        let plain = serde_json::to_string(text).expect("JSON");
        if is_other { plain.replace('é', "\\u00e9").replace('/', "\\/") } else { plain }
    };
    let separator = if is_other { " ,\n" } else { "," };
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, is_other)).collect();
            format!("[{}]", items.join(separator))
        }
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", quoted(name), written(value, is_other)))
                .collect();
            if is_other {
                members.reverse();
            }
            format!("{{{}}}", members.join(separator))
        }
        Value::String(text) => quoted(text),
        Value::Number(number) if is_other && number.is_i64() => format!("{number}.0"),
        other => other.to_string(),
    }
}

fn pattern() -> impl Strategy<Value = String> {
    "(/(\\*|a|b|c~1~0|0|1)){0,3}"
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_matches_itself_however_it_is_written(value in value(), unordered in pattern()) {
        let rules = rules(&json!({"json": {"unordered": [unordered]}}));
        let (one, other) = (written(&value, false), written(&value, true));
        prop_assert_eq!(found(&rules, &one, &other), Vec::<String>::new(), "{} and {}", one, other);
    }

    #[test]
    fn two_answers_match_if_and_only_if_their_trees_do(one in value(), other in value()) {
        let differences = found(&rules(&json!({})), written(&one, false), written(&other, true));
        prop_assert_eq!(differences.is_empty(), one == other, "{:?}", differences);
    }

    #[test]
    fn it_does_not_matter_which_answer_is_the_live_one(
        one in value(), other in value(), ignore in pattern(), unordered in pattern(), abs in 0..3_u8,
    ) {
        let rules = rules(&json!({"json": {"ignore": [ignore], "unordered": [unordered], "abs_tolerance": abs}}));
        let (one, other) = (written(&one, false), written(&other, true));
        prop_assert_eq!(found(&rules, &one, &other).is_empty(), found(&rules, &other, &one).is_empty());
    }

    #[test]
    fn a_larger_tolerance_never_loses_a_match(
        one in prop::collection::vec(0..12_u8, 0..7), other in prop::collection::vec(0..12_u8, 0..7),
        abs in 0..4_u8, more in 0..4_u8, is_relative: bool,
    ) {
        let rules = |tolerance: u8| {
            let rule = if is_relative { "rel_tolerance" } else { "abs_tolerance" };
            let tolerance = if is_relative { f64::from(tolerance) / 8.0 } else { f64::from(tolerance) };
            rules(&json!({"json": {"unordered": [""], rule: tolerance}}))
        };
        let (one, other) = (json!(one).to_string(), json!(other).to_string());
        if found(&rules(abs), &one, &other).is_empty() {
            prop_assert!(found(&rules(abs.saturating_add(more)), &one, &other).is_empty());
        }
    }

    #[test]
    fn an_unordered_match_is_found_if_there_is_one(
        one in prop::collection::vec(0..9_u8, 0..6), other in prop::collection::vec(0..9_u8, 0..6), abs in 0..3_u8,
    ) {
        // Numbers have a pairing within a tolerance if and only if the sorted ones do.
        let sorted = |list: &[u8]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        let close = sorted(&one).iter().zip(sorted(&other)).all(|(one, other)| one.abs_diff(other) <= abs);
        let rules = rules(&json!({"json": {"unordered": [""], "abs_tolerance": abs}}));
        let matches = found(&rules, json!(one).to_string(), json!(other).to_string()).is_empty();
        prop_assert_eq!(matches, close && one.len() == other.len());
    }

    #[test]
    fn ignoring_only_removes_differences(one in value(), other in value(), ignore in pattern()) {
        let (one, other) = (written(&one, false), written(&other, true));
        let all = found(&rules(&json!({})), &one, &other);
        let kept = found(&rules(&json!({"json": {"ignore": [ignore]}})), &one, &other);
        prop_assert!(kept.iter().all(|difference| all.contains(difference)), "{:?} of {:?}", kept, all);
    }

    #[test]
    fn foreign_bytes_never_panic(
        one in prop::collection::vec(any::<u8>(), 0..64), other in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let rules = rules(&json!({"log": "values"}));
        prop_assert_eq!(compare(&rules, &answer(&one), &answer(&other)).is_empty(), one == other);
    }

    #[test]
    fn a_text_is_json_if_and_only_if_serde_json_says_so(text in "[\\[\\]{}\",:01.e+\\\\nu -]{0,12}|[\\[{]{0,4}(\"[a\\\\n\"]{0,4}|-?[01.e]{1,5}|true|null|,|:|[\\]}]){0,6}") {
        let differences = found(&rules(&json!({})), &text, "[[]] ");
        let is_invalid = differences.iter().any(|difference| difference == "invalid body");
        prop_assert_eq!(is_invalid, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err(), "{}", text);
    }
}
