//! Ramps over whole days, with a simulated clock: they rise and never fall, every proxy sees the same, and no push, pause or freeze
//! makes them jump.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use proptest::prelude::*;
use rollout_core::{Phase, Plan, Ramp, Time, compile, decide_unit};
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
        (
            json!({"linear": {"from": 0, "to": 100, "over": "10h"}}),
            json!({"freeze": [freeze(3_600, 10_800)["freeze"], freeze(7_200, 14_400)["freeze"], freeze(50_000, 50_001)["freeze"]]}),
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
    let freezes = match rest.get("freeze") {
        Some(Value::Array(freezes)) => freezes.iter().collect(),
        one => Vec::from_iter(one),
    };
    if !pauses.chain(freezes).any(stopped) {
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

const WEEK: u64 = 604_800;
/// 2026-11-23T00:00:00Z, a Monday.
const MONDAY: u64 = MIDNIGHT - 2 * DAY;
/// All stops of the model begin and end on multiples of these seconds, so three weeks are not two million seconds.
const GRAIN: u64 = 20;

/// A stop as the document writes it, and as seconds: a window of every week if `weekly` is given, in minutes from Monday on.
#[derive(Debug, Clone)]
struct Still {
    from: u64,
    until: u64,
    weekly: Option<(u64, u64)>,
}

impl Still {
    fn written(&self) -> Value {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let minute = |minute: u64| {
            let day = DAYS[usize::try_from(minute / 1_440).unwrap()];
            format!("{day} {:02}:{:02}", minute % 1_440 / 60, minute % 60)
        };
        match self.weekly {
            Some((from, until)) if self.from == 0 => {
                json!({"weekly": {"from": minute(from), "until": minute(until)}})
            }
            Some((from, until)) => {
                json!({"weekly": {"from": minute(from), "until": minute(until)}, "since": text(self.from)})
            }
            None => json!({"from": text(self.from), "until": text(self.until)}),
        }
    }

    fn covers(&self, second: u64) -> bool {
        match self.weekly {
            Some((from, until)) => {
                let minute = (second + 1_000 * WEEK - MONDAY) % WEEK / 60;
                let is_inside = if from < until {
                    from <= minute && minute < until
                } else {
                    minute >= from || minute < until
                };
                self.from <= second && is_inside
            }
            None => self.from <= second && second < self.until,
        }
    }
}

/// Windows of every week, some of them with a beginning in the three weeks from [`MONDAY`] on.
fn weekly() -> impl Strategy<Value = Still> {
    let minute = || prop_oneof![Just(0_u64), (0..168_u64).prop_map(|hour| hour * 60), 0..10_080_u64];
    let since = prop_oneof![Just(0_u64), MONDAY..MONDAY + 3 * WEEK].prop_map(|since| since / GRAIN * GRAIN);
    (minute(), minute(), since)
        .prop_filter("an end other than the beginning", |(from, until, _)| from != until)
        .prop_map(|(from, until, since)| Still { from: since, until: 0, weekly: Some((from, until)) })
}

fn once() -> impl Strategy<Value = Still> {
    (MONDAY - DAY..MONDAY + 3 * WEEK, 1..4 * DAY)
        .prop_map(|(from, length)| (from / GRAIN * GRAIN, (length / GRAIN + 1) * GRAIN))
        .prop_map(|(from, length)| Still { from, until: from + length, weekly: None })
}

/// A line or steps over some days.
fn course() -> impl Strategy<Value = Value> {
    prop_oneof![
        (1..14 * DAY).prop_map(|over| json!({"linear": {"from": 1, "to": 100, "over": format!("{over}s")}})),
        prop::collection::vec(1..4 * DAY, 1..6).prop_map(|holds| {
            let step =
                |(number, hold): (usize, &u64)| json!({"percent": number + 1, "hold": format!("{hold}s")});
            let mut steps: Vec<Value> = holds.iter().enumerate().map(step).collect();
            steps.push(json!({"percent": 100}));
            json!({"steps": steps})
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weekly_freezes_agree_with_counting_every_second(
        mut progressive in course(), start in MONDAY - DAY..MONDAY + WEEK,
        weekly in prop::collection::vec(weekly(), 1..4), freezes in prop::collection::vec(once(), 0..3), pauses in prop::collection::vec(once(), 0..3),
    ) {
        let start = start / GRAIN * GRAIN;
        progressive["start"] = text(start).into();
        progressive["pauses"] = pauses.iter().map(Still::written).collect();
        let windows: Vec<Still> = weekly.into_iter().chain(freezes).collect();
        let rest = json!({"freeze": windows.iter().map(Still::written).collect::<Vec<_>>()});
        let plan = plan(&progressive, &rest);
        let bare = Value::Array(Vec::new());
        let free = self::plan(&{ let mut free = progressive.clone(); free["pauses"] = bare; free }, &json!({}));
        let (mut counted, mut before, mut was_still) = (0_u64, 0_u32, false);
        for second in (MONDAY - DAY..MONDAY + 3 * WEEK).step_by(20) {
            let is_frozen = windows.iter().any(|window| window.covers(second));
            let is_still = is_frozen || pauses.iter().any(|pause| pause.covers(second));
            let is_edge = std::mem::replace(&mut was_still, is_still) != is_still || second == start;
            if is_edge || second % 1_140 == 0 {
                let now = exposure(&plan, second);
                let by_hand = if second < start { 0 } else { exposure(&free, start + counted) };
                prop_assert_eq!(now, by_hand, "{} {} at {}", progressive, rest, text(second));
                prop_assert!(now >= before, "{} {} falls at {}", progressive, rest, text(second));
                if second >= start && is_still {
                    let phase = ramp(&plan).phase(Time::from_seconds(second));
                    prop_assert!(matches!(phase, Phase::Frozen | Phase::Paused | Phase::Done), "{} at {}", rest, text(second));
                }
                let odd = start + counted + if is_still { 0 } else { 7 };
                let by_hand = if second < start { 0 } else { exposure(&free, odd) };
                prop_assert_eq!(exposure(&plan, second + 7), by_hand, "{} {} after {}", progressive, rest, text(second));
                before = now;
            }
            counted += if second >= start && !is_still { GRAIN } else { 0 };
            if second % 1_140 != 0 {
                continue;
            }
            let frozen = plan.rollouts()[0].frozen(Time::from_seconds(second));
            prop_assert_eq!(frozen.is_some(), is_frozen, "{} at {}", rest, text(second));
            if let Some(end) = frozen.map(|frozen| frozen.until.seconds()).filter(|end| *end < MONDAY + 4 * WEEK) {
                let inside = (second..end).step_by(20).find(|second| !windows.iter().any(|window| window.covers(*second)));
                prop_assert_eq!(inside, None, "{} is frozen until {}", rest, text(end));
                prop_assert!(!windows.iter().any(|window| window.covers(end)), "{} is frozen at {}", rest, text(end));
            }
        }
    }

    #[test]
    fn between_two_turns_of_a_ramp_with_weekly_freezes_nothing_turns(
        mut progressive in course(), start in MONDAY - DAY..MONDAY + WEEK,
        weekly in prop::collection::vec(weekly(), 1..4), pauses in prop::collection::vec(once(), 0..3),
    ) {
        progressive["start"] = text(start).into();
        progressive["pauses"] = pauses.iter().map(Still::written).collect();
        let rest = json!({"freeze": weekly.iter().map(Still::written).collect::<Vec<_>>()});
        let plan = plan(&progressive, &rest);
        let turns = ramp(&plan).turns();
        prop_assert!(turns.is_sorted() && turns[0].seconds() == start);
        for pair in turns.windows(2).take(40) {
            let (from, until) = (pair[0].seconds(), pair[1].seconds());
            let (first, last) = (exposure(&plan, from), exposure(&plan, until - 1));
            let phase = ramp(&plan).phase(pair[0]);
            for second in (from..until).step_by(usize::try_from((until - from) / 50 + 1).unwrap()) {
                let even = u64::from(first) + u64::from(last - first) * (second - from) / u64::max(until - 1 - from, 1);
                let off = even.abs_diff(exposure(&plan, second).into());
                prop_assert!(off <= 1, "{} {} is off by {} ppm at {}", progressive, rest, off, text(second));
                prop_assert_eq!(ramp(&plan).phase(Time::from_seconds(second)), phase, "{} {} at {}", progressive, rest, text(second));
            }
        }
    }
}

#[test]
fn a_weekly_freeze_takes_back_what_was_gained_inside_it_unless_it_says_since() {
    let line = json!({"linear": {"from": 0, "to": 100, "over": "1000h"}, "start": text(MONDAY)});
    let weekend = |since: Option<u64>| {
        let mut freeze = json!({"weekly": {"from": "fri 16:00", "until": "mon 08:00"}});
        if let Some(since) = since {
            freeze["since"] = text(since).into();
        }
        json!({"freeze": freeze})
    };
    let now = MONDAY + 2 * WEEK + 2 * DAY; // a Wednesday
    let exposures = [None, Some(MONDAY), Some(now)].map(|since| exposure(&plan(&line, &weekend(since)), now));
    assert_eq!(exposure(&plan(&line, &json!({})), now), 384_000);
    assert_eq!(exposures, [248_000, 248_000, 384_000], "from the start, two weekends and eight hours before");
}
