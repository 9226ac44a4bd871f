//! `explain`: one request, and batches.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::run::{Place, document};

const ALICE: [&str; 9] = [
    "explain",
    "good.json",
    "--host",
    "ML.example.com:8443",
    "--path",
    "/v2/x?y",
    "--header",
    "X-User-ID:  alice ",
    "--format",
];

#[test]
fn a_decision_is_shown_with_its_reason_in_words() {
    let run =
        Place::with_documents().run(&[&ALICE[..], &["text", "--header", "x-rollout-cluster: mine"]].concat());
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    rollout   fraud-score
    version   v2
    reason    assigned: the unit's bucket belongs to this version
    cluster   fraud-v2
    fallback  fraud-v1
    bucket    330920 of 1000000
    shadows   fraud-v3
    revision  42

    sets
      x-envoy-max-retries                     1
      x-envoy-retry-on                        5xx,reset,connect-failure
      x-envoy-upstream-rq-per-try-timeout-ms  2000
      x-rollout-assignment                    fraud-score=v2
      x-rollout-cluster                       fraud-v2
      x-rollout-fallback                      fraud-v1
      x-rollout-pick                          0
      x-rollout-shadow-1                      fraud-v3

    removes
      x-rollout-cluster
    "#);
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let run = Place::with_documents().run(&[&ALICE[..], &["json"]].concat());
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert_eq!(
        run.json(),
        json!({
            "rollout": "fraud-score", "version": "v2", "cluster": "fraud-v2", "fallback": "fraud-v1",
            "reason": "assigned", "bucket": 330_920, "shadows": ["fraud-v3"], "skipped": {}, "revision": 42,
            "set_headers": {
                "x-rollout-cluster": "fraud-v2", "x-rollout-fallback": "fraud-v1", "x-rollout-pick": "0",
                "x-rollout-assignment": "fraud-score=v2", "x-rollout-shadow-1": "fraud-v3",
                "x-envoy-retry-on": "5xx,reset,connect-failure", "x-envoy-max-retries": "1",
                "x-envoy-upstream-rq-per-try-timeout-ms": "2000",
            },
        })
    );
}

#[test]
fn a_request_that_nothing_matches_is_fine_and_mostly_null() {
    let run = Place::with_documents().run(&["explain", "good.json", "--format", "json"]);
    assert_eq!(run.code, 0);
    assert_eq!(
        run.json(),
        json!({
            "rollout": null, "version": null, "cluster": null, "fallback": null, "reason": "no_match", "bucket": null,
            "shadows": [], "skipped": {}, "revision": 42, "set_headers": {},
        })
    );
}

#[test]
fn the_decision_follows_the_request() {
    let place = Place::with_documents();
    let base = ["explain", "good.json", "--format", "json", "--host", "ml.example.com", "--path", "/v2/"];
    let cases: [(&[&str], &str, &str); 6] = [
        (&["--header", "x-user-id:bob"], "not_exposed", "v1"),
        (&["--header", "x-user-id: user-123", "--at", "2026-11-23T09:30:00Z"], "assigned", "v2"),
        (&[], "missing_unit", "v1"),
        (&["--header", "x-user-id:", "--source-ip", "[2001:db8::1]:443"], "assigned", "v2"),
        (&["--header", "x-qa-key: s3cret", "--header", "x-qa-version: v3"], "forced", "v3"),
        (&["--header", "x-qa-key: wrong", "--header", "x-qa-version: v3"], "missing_unit", "v1"),
    ];
    for (args, reason, version) in cases {
        let run = place.run(&[&base, args].concat());
        assert_eq!(
            (run.code, &run.json()["reason"], &run.json()["version"]),
            (0, &json!(reason), &json!(version)),
            "{args:?}"
        );
    }
    let tunnel = place.run(&[&base[..], &["--method", "CONNECT"]].concat());
    assert_eq!(tunnel.json()["reason"], "no_match");
}

#[test]
fn a_header_that_no_request_can_carry_is_refused() {
    let place = Place::with_documents();
    for header in ["no colon", ": nameless", "a b: c", "a: b\nc", ":path: /", "host: x"] {
        let run = place.run(&["explain", "good.json", "--header", header]);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{header}");
    }
}

#[test]
fn a_unit_may_be_any_bytes() {
    let place = Place::with_documents();
    let raw = Command::new(env!("CARGO_BIN_EXE_rolloutctl"))
        .current_dir(place.path(""))
        .args([
            "explain",
            "good.json",
            "--format",
            "json",
            "--host",
            "ml.example.com",
            "--path",
            "/v2/",
            "--header",
        ])
        .arg(OsStr::from_bytes(b"x-user-id: \xff\x00".strip_suffix(b"\x00").unwrap()))
        .output()
        .unwrap();
    let raw: Value = serde_json::from_slice(&raw.stdout).unwrap();
    place.write(
        "r",
        r#"{"host": "ml.example.com", "path": "/v2/", "headers": [["x-user-id", {"hex": "fF"}]]}"#,
    );
    let batch = place.run(&["explain", "good.json", "--requests", "r"]).json();
    assert!(raw["bucket"].is_u64());
    assert_eq!(raw, batch);
}

#[test]
fn a_header_that_envoy_keeps_as_one_line_is_joined_and_any_other_is_not() {
    let place = Place::new();
    let bucket = |name: &str, values: &[&str]| {
        let mut document = document(50.0);
        document["rollouts"][0]["unit"] = json!([{"header": name}]);
        place.write("document.json", &document.to_string());
        let headers: Vec<_> = values.iter().map(|value| [name, value]).collect();
        place.write("r", &json!({"host": "ml.example.com", "path": "/v2/", "headers": headers}).to_string());
        place.run(&["explain", "document.json", "--requests", "r"]).json()["bucket"].clone()
    };
    assert_eq!(bucket("x-user-id", &["a", "b"]), bucket("x-user-id", &["a"]));
    assert_eq!(bucket("user-agent", &["a", "b"]), bucket("user-agent", &["a,b"]));
    assert_eq!(bucket("user-agent", &["", "a", "", "b"]), bucket("user-agent", &["a,b"]));
}

#[test]
fn a_batch_is_answered_line_by_line_in_order() {
    let place = Place::with_documents();
    let units = ["alice", "bob", "user-123", "użytkownik-7"];
    let line = |unit: &str| {
        json!({"host": "ml.example.com", "path": "/v2/", "method": "POST", "headers": [["X-User-Id", unit]]})
            .to_string()
    };
    let requests: String = units.map(|unit| line(unit) + "\n").concat() + "\n{}";
    let run = place.run_with(&["explain", "good.json", "--requests", "-"], &requests);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let buckets: Vec<Value> =
        run.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["bucket"].clone()).collect();
    assert_eq!(buckets, [json!(330_920), json!(931_485), json!(436_583), json!(58_753), json!(null)]);
}

#[test]
fn a_bad_line_of_a_batch_is_named() {
    let place = Place::with_documents();
    for bad in [
        "{",
        r#"{"hosts": 1}"#,
        r#"{"headers": [["a", {"hex": "0"}]]}"#,
        r#"{"source_ip": "x"}"#,
        r#"{"headers": [["a b", ""]]}"#,
    ] {
        place.write("requests", &format!("{{}}\n{bad}\n"));
        let run = place.run(&["explain", "good.json", "--requests", "requests"]);
        assert_eq!((run.code, run.out.lines().count()), (1, 1), "{bad}");
        assert!(run.err.contains("`requests`, line 2"), "{run:?}");
    }
}

#[test]
fn document_and_batch_can_not_share_standard_input() {
    let run = Place::new().run_with(&["explain", "-", "--requests", "-"], &document(5.0).to_string());
    assert_eq!(run.code, 1);
}

/// The call of `the_decision_follows_the_request`.
const BASE: [&str; 8] =
    ["explain", "good.json", "--host", "ml.example.com", "--path", "/v2/", "--header", "x-user-id: alice"];

#[test]
fn a_rolled_back_version_serves_only_forced_requests() {
    let place = Place::with_documents();
    let rolled_back = ["--rolled-back", "fraud-score=v2"];
    let run = place.run(&[&BASE[..], &rolled_back].concat());
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(run.out.contains("version   v1\n"), "{run:?}");
    let why = "rolled_back: the version that the unit would get is rolled back, so the stable version serves";
    assert!(run.out.contains(why), "{run:?}");

    let forced = ["--format", "json", "--header", "x-qa-key: s3cret", "--header", "x-qa-version: v2"];
    let run = place.run(&[&BASE[..], &rolled_back, &forced].concat());
    assert_eq!((&run.json()["version"], &run.json()["reason"]), (&json!("v2"), &json!("forced")));

    let others = ["--format", "json", "--rolled-back", "fraud-score=v3"];
    assert_eq!(place.run(&[&BASE[..], &others].concat()).json()["version"], "v2");
}

#[test]
fn a_line_of_a_batch_names_its_own_rollbacks() {
    let place = Place::with_documents();
    let line = |rolled_back: Value| {
        let mut line = json!({"host": "ml.example.com", "path": "/v2/", "headers": [["x-user-id", "alice"]]});
        if !rolled_back.is_null() {
            line["rolled_back"] = rolled_back;
        }
        line.to_string() + "\n"
    };
    let requests: String =
        [json!(null), json!([]), json!(["fraud-score=v2"]), json!(["fraud-score=v3"])].map(line).concat();
    let versions = |args: &[&str]| {
        let run = place.run_with(&[&["explain", "good.json", "--requests", "-"], args].concat(), &requests);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        let version = |line: &str| serde_json::from_str::<Value>(line).unwrap()["version"].clone();
        run.out.lines().map(version).collect::<Vec<_>>()
    };
    assert_eq!(versions(&[]), ["v2", "v2", "v1", "v2"]);
    assert_eq!(
        versions(&["--rolled-back", "fraud-score=v2"]),
        ["v1", "v2", "v1", "v2"],
        "a line's own word counts"
    );
}

#[test]
fn a_rollback_that_can_not_be_is_refused_with_what_there_is() {
    let place = Place::with_documents();
    for (named, says) in [
        ("other=v2", "no rollout `other`; the document has `fraud-score`"),
        ("fraud-score=v9", "no version `v9`; rollout `fraud-score` has `v1`, `v2`, `v3`"),
        ("fraud-score=v1", "`fraud-score=v1` names the stable version, which is never rolled back"),
        ("v2", "expected `ROLLOUT=VERSION`, found `v2`"),
    ] {
        let run = place.run(&[&BASE[..], &["--rolled-back", named]].concat());
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        assert!(run.err.contains(says), "{run:?}");
        place.write("requests", &json!({"rolled_back": [named]}).to_string());
        let run = place.run(&["explain", "good.json", "--requests", "requests"]);
        assert_eq!(run.code, 1);
        assert!(run.err.contains("`requests`, line 1") && run.err.contains(says), "{run:?}");
    }
}

#[test]
fn shadows_whose_answers_are_compared_are_marked() {
    let place = Place::new();
    let mut document = document(50.0);
    document["rollouts"][0]["shadow"][0]["cluster"] = json!("fraud-v3-copies");
    let mut explain = |compare: Value, rest: &[&str]| {
        document["rollouts"][0]["shadow"][0]["compare"] = compare;
        place.write("shadowed.json", &document.to_string());
        let args = ["explain", "shadowed.json", "--host", "ml.example.com", "--path", "/v2/x"];
        place.run(&[&args[..], &["--header", "x-user-id: alice"], rest].concat())
    };
    let run = explain(json!({}), &[]);
    assert!(run.out.contains("\nshadows   fraud-v3-copies (compared)\n"), "{}", run.out);
    let run = explain(json!({"sample": 2.5}), &[]);
    assert!(run.out.contains("\nshadows   fraud-v3-copies (2.5000 % compared)\n"), "{}", run.out);
    let answer = explain(json!({}), &["--format", "json"]).json();
    let copies = json!(["fraud-v3-copies"]);
    assert_eq!((&answer["shadows"], &answer["compared"]), (&copies, &copies));
}
