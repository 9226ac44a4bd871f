//! The timetable that `rolloutctl plan` prints is correct: at every second of a day, a unit has the treatment if its bucket is below
//! the share that the timetable gives for that second.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop with the reason")]

use std::process::Command;

use rollout_core::{Time, compile, decide_unit};
use serde_json::{Value, json};
use testbed::module;

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: u64 = 1_795_564_800;
const DAY: u64 = 86_400;

fn document(progressive: &str, freeze: Value) -> Value {
    let mut progressive: Value = serde_json::from_str(progressive).expect("JSON");
    progressive["version"] = "v2".into();
    let mut rollout = json!({"name": "ramp", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": {"progressive": progressive}});
    if !freeze.is_null() {
        rollout["freeze"] = freeze;
    }
    json!({"revision": 1, "rollouts": [rollout]})
}

/// The share at each second of the day, in ppm, as the tool prints it.
fn timetable(document: &Value) -> Vec<u32> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("document.json");
    std::fs::write(&file, document.to_string()).expect("the document is written");
    let output = Command::new(module::rolloutctl())
        .args([
            "--format",
            "json",
            "plan",
            "--from",
            "2026-11-25T00:00:00Z",
            "--to",
            "2026-11-25T23:59:59Z",
            "--every",
            "1s",
        ])
        .arg(&file)
        .output()
        .expect("rolloutctl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = answer["ramps"][0]["rows"].as_array().expect("rows");
    let second = |row: &Value| {
        let at = humantime::parse_rfc3339(row["at"].as_str().expect("a time")).expect("a time");
        at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
    };
    assert!(rows.iter().map(second).eq(MIDNIGHT..MIDNIGHT + DAY), "a row for each second");
    let ppm = |row: &Value| (row["percent"].as_f64().expect("a share") * 10_000.0).round() as u32;
    rows.iter().map(ppm).collect()
}

#[test]
fn at_every_second_of_a_day_units_get_what_the_timetable_says() {
    let none = Value::Null;
    let documents = [
        document(
            r#"{"start": "2026-11-25T01:00:00Z", "steps": [{"percent": 1, "hold": "10m"}, {"percent": 10, "hold": "1h"}, {"percent": 100}]}"#,
            none.clone(),
        ),
        document(
            r#"{"start": "2026-11-25T00:00:00Z", "linear": {"from": 0, "to": 100, "over": "24h"}}"#,
            none.clone(),
        ),
        document(
            r#"{"start": "2026-11-24T20:00:00Z", "linear": {"from": 12.5, "to": 87.5, "over": "20h"},
            "pauses": [{"from": "2026-11-25T03:00:00Z", "until": "2026-11-25T05:30:00Z"}, {"from": "2026-11-25T12:00:00Z"}]}"#,
            none,
        ),
        document(
            r#"{"start": "2026-11-25T02:00:00Z", "linear": {"from": 0, "to": 100, "over": "10h"}}"#,
            json!({"from": "2026-11-25T06:00:00Z", "until": "2026-11-25T09:00:00Z", "reason": "audit"}),
        ),
        document(
            r#"{"start": "2026-11-24T02:00:00Z", "linear": {"from": 0, "to": 100, "over": "40h"}}"#,
            json!([{"weekly": {"from": "tue 22:00", "until": "wed 07:30"}, "since": "2026-11-25T01:00:00Z"},
                   {"weekly": {"from": "wed 12:00", "until": "wed 24:00"}}, {"from": "2026-11-25T07:00:00Z", "until": "2026-11-25T08:00:01Z"}]),
        ),
    ];
    for document in documents {
        let plan = compile(document.to_string().as_bytes()).expect("no problems").plan;
        let rollout = plan.rollouts().first().expect("a rollout");
        for (second, share) in (MIDNIGHT..).zip(timetable(&document)) {
            let now = Time::from_seconds(second);
            // Other units each second, and enough of them to meet both sides of every share.
            for number in 0..8 {
                let decision = decide_unit(&plan, rollout, format!("user-{second}-{number}").as_bytes(), now);
                let is_below = decision.bucket.is_some_and(|bucket| bucket.get() < share);
                assert_eq!(
                    decision.version.name() == "v2",
                    is_below,
                    "second {second}, {share} ppm, {document}"
                );
            }
        }
    }
}
