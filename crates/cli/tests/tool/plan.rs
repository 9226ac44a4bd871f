//! `plan`: the timetable of ramps.

use serde_json::{Value, json};

use crate::run::{Place, Run, document};

const STEPS: &str = r#"{"version": "v2", "start": "2026-12-01T09:00:00Z",
    "steps": [{"percent": 1, "hold": "30m"}, {"percent": 12.5, "hold": "90m"}, {"percent": 100}]}"#;
const LINE: &str = r#"{"version": "v2", "start": "2026-12-01T09:00:00Z",
    "linear": {"from": 0, "to": 80, "over": "20s"},
    "pauses": [{"from": "2026-12-01T09:00:10Z", "until": "2026-12-01T10:00:10Z"}]}"#;
const STOPPED: &str = r#"{"version": "v2", "start": "2026-12-01T09:00:00Z",
    "linear": {"from": 0, "to": 100, "over": "100s"}, "pauses": [{"from": "2026-12-01T09:00:40Z"}]}"#;

/// A rollout of this name with this ramp.
fn rollout(name: &str, ramp: &str) -> Value {
    let ramp: Value = serde_json::from_str(ramp).unwrap();
    let mut rollout = document(5.0)["rollouts"][0].clone();
    rollout["name"] = json!(name);
    rollout["strategy"] = json!({"progressive": ramp});
    rollout
}

fn plan(rollouts: &[Value], args: &[&str]) -> Run {
    let place = Place::new();
    place.write("ramps.json", &json!({"revision": 1, "rollouts": rollouts}).to_string());
    place.run(&[&["plan", "ramps.json"], args].concat())
}

/// `09:30:00 12.5 holding` for each row of the first ramp.
fn rows(run: &Run) -> Vec<String> {
    let answer = run.json();
    let rows = answer["ramps"][0]["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        let time = row["at"].as_str().unwrap().trim_start_matches("2026-12-01T").trim_end_matches('Z');
        format!("{time} {} {}", row["percent"], row["phase"].as_str().unwrap())
    })
    .collect()
}

#[test]
fn steps_are_drawn_and_listed_with_the_present_among_them() {
    let run = plan(&[rollout("fraud-score", STEPS)], &["--at", "2026-12-01T10:00:00Z"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @"
    fraud-score: v2 from 2026-12-01T09:00:00Z to 2026-12-01T11:00:00Z
           100 % │                                                           █
                 │                                                           █
                 │                                                           █
                 │                                                           █
                 │▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅▅█
             0 % └─────────────────────────────▲──────────────────────────────
                  2026-12-01T09:00:00Z                    2026-12-01T11:00:00Z

      at                       percent    phase
      2026-12-01T09:00:00Z    1.0000 %  holding
      2026-12-01T09:30:00Z   12.5000 %  holding
      2026-12-01T10:00:00Z   12.5000 %  holding  now
      2026-12-01T11:00:00Z  100.0000 %     done
    ");
}

#[test]
fn the_present_is_listed_once_and_only_inside_the_range() {
    for (at, told) in [
        ("2026-12-01T08:59:59Z", 0),
        ("2026-12-01T09:00:00Z", 1),
        ("2026-12-01T09:30:00Z", 1),
        ("2026-12-01T11:00:00Z", 1),
        ("2026-12-01T11:00:01Z", 0),
    ] {
        let run = plan(&[rollout("fraud-score", STEPS)], &["--at", at]);
        assert_eq!(run.out.matches(" now\n").count(), told, "{at}: {}", run.out);
        assert_eq!(run.out.matches('▲').count(), told, "{at}: {}", run.out);
        let rows = run.out.lines().filter(|line| line.starts_with(&format!("  {at}"))).count();
        assert_eq!(rows, told, "{at}: {}", run.out);
    }
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let run = plan(&[rollout("fraud-score", STEPS)], &["--format", "json"]);
    let at = |clock: &str| format!("2026-12-01T{clock}Z");
    assert_eq!(
        run.json(),
        json!({"ramps": [{
            "rollout": "fraud-score", "version": "v2", "start": at("09:00:00"), "end": at("11:00:00"),
            "rows": [
                {"at": at("09:00:00"), "percent": 1.0, "phase": "holding"},
                {"at": at("09:30:00"), "percent": 12.5, "phase": "holding"},
                {"at": at("11:00:00"), "percent": 100.0, "phase": "done"},
            ],
        }]})
    );
}

#[test]
fn a_rise_is_listed_in_even_parts_however_long_it_pauses() {
    let run = plan(&[rollout("fraud-score", LINE)], &["--format", "json"]);
    let rows = rows(&run);
    assert_eq!(rows.len(), 22);
    for wanted in
        ["09:00:00 0.0 rising", "09:00:01 4.0 rising", "09:00:10 40.0 paused", "10:00:10 40.0 rising"]
    {
        assert!(rows.iter().any(|row| row == wanted), "{wanted}: {rows:?}");
    }
    assert_eq!(rows.last().unwrap(), "10:00:20 80.0 done");
}

#[test]
fn a_ramp_that_an_open_pause_stops_has_no_end() {
    let ramps = [rollout("fraud-score", STOPPED)];
    let run = plan(&ramps, &["--format", "json"]);
    assert_eq!(run.json()["ramps"][0]["end"], json!(null));
    assert_eq!(rows(&run).last().unwrap(), "09:00:40 40.0 paused");
    let text = plan(&ramps, &[]).out;
    assert!(text.contains("without an end: a pause without `until` stops it"), "{text}");
}

#[test]
fn a_freeze_is_a_phase_of_the_ramp() {
    let mut frozen = rollout("fraud-score", STEPS);
    frozen["freeze"] = json!({"from": "2026-12-01T09:10:00Z", "until": "2026-12-01T09:20:00Z"});
    let run = plan(&[frozen], &["--format", "json"]);
    assert_eq!(
        rows(&run),
        [
            "09:00:00 1.0 holding",
            "09:10:00 1.0 frozen",
            "09:20:00 1.0 holding",
            "09:40:00 12.5 holding",
            "11:10:00 100.0 done"
        ]
    );
}

#[test]
fn ticks_count_from_the_start_and_the_turns_stay_among_them() {
    let range = ["--from", "2026-12-01T09:00:07Z", "--to", "2026-12-01T09:00:14Z", "--every", "2s"];
    let run = plan(&[rollout("fraud-score", LINE)], &[&["--format", "json"], range.as_slice()].concat());
    assert_eq!(
        rows(&run),
        [
            "09:00:07 28.0 rising",
            "09:00:09 36.0 rising",
            "09:00:10 40.0 paused",
            "09:00:11 40.0 paused",
            "09:00:13 40.0 paused",
            "09:00:14 40.0 paused"
        ]
    );
}

#[test]
fn both_ends_of_a_range_are_listed_even_beyond_the_ramp() {
    for (option, moment, wanted) in [
        ("--to", "2026-12-01T08:00:00Z", "08:00:00 0.0 waiting"),
        ("--from", "2026-12-01T12:00:00Z", "12:00:00 100.0 done"),
    ] {
        let run = plan(&[rollout("fraud-score", STEPS)], &["--format", "json", option, moment]);
        assert_eq!(rows(&run), [wanted]);
        assert!(!plan(&[rollout("fraud-score", STEPS)], &[option, moment]).out.contains('└'));
    }
    let range = ["--from", "2026-12-01T09:10:00Z", "--to", "2026-12-01T09:20:00Z"];
    let run = plan(&[rollout("fraud-score", STEPS)], &[&["--format", "json"], range.as_slice()].concat());
    assert_eq!(rows(&run), ["09:10:00 1.0 holding", "09:20:00 1.0 holding"]);
}

#[test]
fn one_rollout_of_many_can_be_asked_for() {
    let still = document(5.0)["rollouts"][0].clone();
    let ramps = [rollout("embedder", LINE), still, rollout("ranker", STEPS)];
    let names = |args: &[&str]| {
        let answer = plan(&ramps, &[args, &["--format", "json"]].concat()).json();
        let ramps = answer["ramps"].as_array().unwrap().iter();
        ramps.map(|ramp| ramp["rollout"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["embedder", "ranker"]);
    assert_eq!(names(&["--rollout", "ranker"]), ["ranker"]);
    assert_eq!(names(&["--rollout", "fraud-score"]), [""; 0]);
    let run = plan(&ramps, &["--rollout", "nobody"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (1, "error: no rollout `nobody`; the document has `embedder`, `fraud-score`, `ranker`\n")
    );
}

#[test]
fn a_document_without_ramps_has_no_timetable() {
    let place = Place::with_documents();
    let text = place.run(&["plan", "good.json"]);
    assert_eq!((text.code, text.out.as_str()), (0, "no ramps\n"));
    let json = place.run(&["plan", "good.json", "--format", "json"]);
    assert_eq!((json.code, json.json()), (0, json!({"ramps": []})));
    assert_eq!(place.run(&["plan", "bad.json"]).code, 3);
}

#[test]
fn a_range_that_can_not_be_listed_is_an_error() {
    let ramp = rollout("fraud-score", STEPS);
    let days = ["--from", "2026-12-01T00:00:00Z", "--to", "2026-12-04T00:00:00Z", "--every", "1s"];
    let beyond =
        r#"{"version": "v2", "start": "9999-12-31T00:00:00Z", "linear": {"from": 0, "to": 1, "over": "2d"}}"#;
    let backwards = ["--from", "2026-12-02T00:00:00Z", "--to", "2026-12-01T00:00:00Z"];
    let cases: [(Value, &[&str], &str); 6] = [
        (ramp.clone(), &days, "more than 200000 rows; use a longer `--every`"),
        (ramp.clone(), &backwards, "`--from` is after `--to`"),
        (ramp.clone(), &["--every", "0s"], "expected whole seconds, at least one"),
        (ramp.clone(), &["--every", "1500ms"], "expected whole seconds, at least one"),
        (ramp, &["--from", "tomorrow"], "invalid value 'tomorrow'"),
        (
            rollout("fraud-score", beyond),
            &[],
            "the ramp of rollout `fraud-score` continues after the year 9999",
        ),
    ];
    for (ramp, args, message) in cases {
        let run = plan(&[ramp], args);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{args:?}");
        assert!(run.err.contains(message), "{args:?}: {}", run.err);
    }
}
