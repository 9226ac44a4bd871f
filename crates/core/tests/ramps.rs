//! Ramps over whole days, with a simulated clock: they rise and never fall, every proxy sees the same, and no push, pause or freeze
//! makes them jump.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use rollout_core::{Plan, Ramp, Time, compile, decide_unit};
use serde_json::{Value, json};

/// 2026-11-25T00:00:00Z.
const MIDNIGHT: u64 = 1_795_564_800;
const DAY: u64 = 86_400;

fn text(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A rollout with this ramp and these other fields.
fn document(progressive: &Value, rest: &Value) -> String {
    let mut progressive = progressive.clone();
    let fields = progressive.as_object_mut().unwrap();
    fields.insert("version".into(), "v2".into());
    fields.entry("start").or_insert_with(|| text(MIDNIGHT).into());
    let mut rollout = json!({"name": "ramp", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": {"progressive": progressive}});
    rollout.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({"revision": 1, "rollouts": [rollout]}).to_string()
}

fn plan(progressive: &Value, rest: &Value) -> Plan {
    compile(document(progressive, rest).as_bytes()).unwrap().plan
}

fn ramp(plan: &Plan) -> &Ramp {
    plan.rollouts()[0].ramp().unwrap().1
}

fn exposure(plan: &Plan, second: u64) -> u32 {
    ramp(plan).exposure(Time::from_seconds(second)).get()
}

/// Ramps of a day: with many or few steps, long or short lines, and pauses inside, around, over each other and without an end.
fn shapes() -> Vec<(Value, Value)> {
    let hours: Vec<Value> = (1..=24)
        .map(|hour| match hour {
            24 => json!({"percent": 100}),
            _ => json!({"percent": f64::from(hour * 41_666) / 10_000.0, "hold": "1h"}),
        })
        .collect();
    let pause =
        |from: u64, until: u64| json!({"from": text(MIDNIGHT + from), "until": text(MIDNIGHT + until)});
    let freeze = |from: u64, until: u64| json!({"freeze": {"from": text(MIDNIGHT + from), "until": text(MIDNIGHT + until), "reason": "audit"}});
    let none = json!({});
    vec![
        (
            json!({"steps": [{"percent": 1, "hold": "10m"}, {"percent": 10, "hold": "1h"}, {"percent": 100}]}),
            none.clone(),
        ),
        (json!({"steps": hours}), none.clone()),
        (
            json!({"steps": [{"percent": 0.0001, "hold": "1s"}, {"percent": 0.0001, "hold": "1500ms"}, {"percent": 99.9999}]}),
            none.clone(),
        ),
        (json!({"linear": {"from": 0, "to": 100, "over": "24h"}}), none.clone()),
        (json!({"linear": {"from": 0, "to": 100, "over": "6h"}}), none.clone()),
        (json!({"linear": {"from": 12.3456, "to": 12.3457, "over": "23h59m59s"}}), none.clone()),
        (
            json!({"linear": {"from": 0, "to": 100, "over": "1s"}, "start": text(MIDNIGHT + 43_200)}),
            none.clone(),
        ),
        (
            json!({"linear": {"from": 0, "to": 100, "over": "12h"}, "pauses": [pause(3_600, 7_200), pause(7_000, 9_000), pause(20_000, 20_001)]}),
            none.clone(),
        ),
        (
            json!({"linear": {"from": 5, "to": 50, "over": "20h"}, "pauses": [{"from": text(MIDNIGHT + 50_000)}]}),
            none.clone(),
        ),
        (json!({"steps": hours, "pauses": [pause(1_800, 5_400)]}), freeze(5_000, 40_000)),
        (json!({"linear": {"from": 0, "to": 100, "over": "10h"}}), freeze(0, 7_200)),
        (
            json!({"linear": {"from": 0, "to": 100, "over": "10h"}, "start": text(MIDNIGHT + 7_200)}),
            freeze(3_600, 10_800),
        ),
    ]
}

/// The exposure in ppm, computed from the document alone: seconds that count are counted one by one.
fn counted_by_hand(progressive: &Value, rest: &Value, second: u64, counted: &mut u64) -> u32 {
    let seconds = |value: &Value| {
        let time = humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let length = |value: &Value| humantime::parse_duration(value.as_str().unwrap()).unwrap().as_millis();
    let ppm = |value: &Value| (value.as_f64().unwrap() * 10_000.0).round() as u128;
    let start = progressive.get("start").map_or(MIDNIGHT, seconds);
    if second < start {
        return 0;
    }
    let past = u128::from(*counted) * 1_000;
    let exposure = match progressive.get("linear") {
        Some(line) => {
            let (from, to, over) = (ppm(&line["from"]), ppm(&line["to"]), length(&line["over"]));
            from + (to - from) * past.min(over) / over
        }
        None => {
            let mut end = 0;
            let current = progressive["steps"].as_array().unwrap().iter().find(|step| {
                end += step.get("hold").map_or(u128::MAX / 2, length);
                past < end
            });
            ppm(&current.unwrap()["percent"])
        }
    };
    let stopped = |stop: &Value| {
        seconds(&stop["from"]) <= second && stop.get("until").is_none_or(|until| second < seconds(until))
    };
    let pauses = progressive["pauses"].as_array().into_iter().flatten();
    if !pauses.chain(rest.get("freeze")).any(stopped) {
        *counted += 1;
    }
    u32::try_from(exposure).unwrap()
}

#[test]
fn a_ramp_never_falls_and_agrees_with_counting_its_seconds() {
    for (progressive, rest) in shapes() {
        let plan = plan(&progressive, &rest);
        let (mut counted, mut before) = (0, 0);
        for second in MIDNIGHT - 60..=MIDNIGHT + DAY + 60 {
            let now = exposure(&plan, second);
            assert!(now >= before, "{progressive} falls at {}", text(second));
            let by_hand = counted_by_hand(&progressive, &rest, second, &mut counted);
            assert_eq!(now, by_hand, "{progressive} {rest} at {}", text(second));
            before = now;
        }
    }
}

#[test]
fn between_two_turns_a_ramp_is_constant_or_rises_evenly() {
    for (progressive, rest) in shapes() {
        let plan = plan(&progressive, &rest);
        let turns = ramp(&plan).turns();
        for pair in turns.windows(2) {
            let (from, until) = (pair[0].seconds(), pair[1].seconds());
            let (first, last) = (exposure(&plan, from), exposure(&plan, until - 1));
            let length = u64::max(until - 1 - from, 1);
            for second in from..until {
                let even = u64::from(first) + u64::from(last - first) * (second - from) / length;
                let off = even.abs_diff(exposure(&plan, second).into());
                assert!(off <= 1, "{progressive} is off by {off} ppm at {}", text(second));
            }
        }
    }
}

#[test]
fn two_proxies_with_the_same_clock_agree_on_a_hundred_thousand_units() {
    for (progressive, rest) in shapes() {
        let one = plan(&progressive, &rest);
        for moment in (0..=DAY).step_by(21_599) {
            let other = plan(&progressive, &rest); // it has only just started
            let now = Time::from_seconds(MIDNIGHT + moment);
            let exposed = (0..100_000_u32).filter(|unit| {
                let unit = format!("user-{unit}");
                let versions = [&one, &other].map(|plan| {
                    let decision = decide_unit(plan, &plan.rollouts()[0], unit.as_bytes(), now);
                    decision.version.name().to_owned()
                });
                assert_eq!(versions[0], versions[1], "{unit} at {}", text(MIDNIGHT + moment));
                versions[0] == "v2"
            });
            let (exposed, share) =
                (exposed.count() as f64, f64::from(exposure(&one, MIDNIGHT + moment)) / 1e6);
            let sigma = (100_000.0 * share * (1.0 - share)).sqrt();
            assert!((exposed - 100_000.0 * share).abs() <= 5.0 * sigma, "{exposed} of a share of {share}");
        }
    }
}

/// The exposure at each second, from the plan that serves then.
fn story(pushes: &[(u64, Plan)], until: u64) -> Vec<u32> {
    let serving = |second: u64| &pushes.iter().rev().find(|(from, _)| *from <= second).unwrap().1;
    (MIDNIGHT..until).map(|second| exposure(serving(second), second)).collect()
}

/// Greatest rise from one second to the next, and whether it ever fell.
fn jumps(story: &[u32]) -> (u32, bool) {
    let rise = story.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap();
    (rise, story.windows(2).any(|pair| pair[1] < pair[0]))
}

#[test]
fn nothing_jumps_when_a_pause_or_a_freeze_is_pushed_and_when_it_ends() {
    let line = json!({"linear": {"from": 0, "to": 100, "over": "24h"}});
    let slope = 12; // a million in a day is 11.57 a second
    let paused = |until: Option<u64>| {
        let mut pause = json!({"from": text(MIDNIGHT + 10_000)});
        if let Some(until) = until {
            pause["until"] = text(until).into();
        }
        let mut line = line.clone();
        line["pauses"] = json!([pause]);
        line
    };
    let freeze = json!({"freeze": {"from": text(MIDNIGHT + 10_000), "until": text(MIDNIGHT + 30_000), "reason": "audit"}});
    let none = json!({});
    let end = MIDNIGHT + DAY;
    for (what, second) in [
        ("the same document again", vec![(MIDNIGHT + 5_000, plan(&line, &none))]),
        (
            "a pause that is ended later",
            vec![
                (MIDNIGHT + 10_000, plan(&paused(None), &none)),
                (MIDNIGHT + 20_000, plan(&paused(Some(MIDNIGHT + 20_000)), &none)),
            ],
        ),
        (
            "a pause announced in time",
            vec![(MIDNIGHT + 9_000, plan(&paused(Some(MIDNIGHT + 30_000)), &none))],
        ),
        ("a freeze announced in time", vec![(MIDNIGHT + 9_000, plan(&line, &freeze))]),
    ] {
        let mut pushes = vec![(MIDNIGHT, plan(&line, &none))];
        let is_stop = what != "the same document again";
        pushes.extend(second);
        let story = story(&pushes, end);
        assert_eq!(jumps(&story), (slope, false), "{what}");
        let still = story.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(still > 5_000, is_stop, "{what}: {still} seconds without a rise");
    }
}

#[test]
fn a_clock_set_back_lowers_the_exposure_by_as_many_seconds() {
    let plan = plan(&json!({"linear": {"from": 0, "to": 100, "over": "10000s"}}), &json!({}));
    assert_eq!(exposure(&plan, MIDNIGHT + 5_000), 500_000);
    assert_eq!(exposure(&plan, MIDNIGHT + 5_000 - 30), 497_000);
}
