//! The proof of the comparison with real models: what the filter counts as mismatches is, copy by copy, what Python computes from the
//! answers that both models give it directly. Prints a table; longer than the story's third act, and with more rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::{Envoy, Load, Request};

use crate::interrupt::{Interrupt, Stop};
use crate::pairs::{Counted, Differences};
use crate::screen::{self, number};
use crate::stage::Stage;

/// Copies at a time: the shipped cluster for copies lets 16 wait for a connection, so none is dropped on a slow machine.
const WAVE: u64 = 16;
/// Copies that wait for a connection or for their answer.
const OPEN: &str = r"^cluster\.breast-cancer-v3-copies\.upstream_rq_(pending_)?active$";
/// Until every worker has a document that is live on one. If it takes longer, the counts are wrong and the proof fails.
const ALL_WORKERS: Duration = Duration::from_millis(500);

/// Rules of comparison for a model of v3.
struct Case {
    what: &'static str,
    is_retrained: bool,
    compare: Value,
}

fn cases() -> Vec<Case> {
    let case = |what, is_retrained, json: Value| Case { what, is_retrained, compare: json!({"json": json}) };
    let ids = ["/id", "/model_version"];
    vec![
        case("same model, no tolerance", false, json!({"ignore": ids})),
        case("retrained, abs 0.01", true, json!({"ignore": ids, "abs_tolerance": 0.01})),
        case("retrained, rel 0.05", true, json!({"ignore": ids, "rel_tolerance": 0.05})),
        case(
            "retrained, abs 0.001 or rel 0.02, without data/0",
            true,
            json!({"ignore": ["/id", "/model_version", "/outputs/*/data/0"],
                "abs_tolerance": 0.001, "rel_tolerance": 0.02}),
        ),
        case("retrained, abs 0.1, nothing ignored", true, json!({"abs_tolerance": 0.1})),
    ]
}

/// Proves it with this number of copies in each row of the table; true if it holds.
pub(crate) fn prove(copies: u64, interrupt: &Interrupt) -> Result<bool, Stop> {
    screen::title("The comparison of answers, against Python, with real models");
    let stage = Stage::set(&["v1", "v3"], interrupt)?;
    let [v1, _, v3] = &stage.models;
    let (mut rows, mut by_place, mut holds, mut is_retrained) = (Vec::new(), Vec::new(), true, false);
    for (revision, case) in (1..).zip(cases()) {
        if case.is_retrained && !std::mem::replace(&mut is_retrained, true) {
            v3.put("v3/retrained.joblib")?;
            v3.load()?;
        }
        let differences = Differences::ask([v1, v3], &case.compare, interrupt)?;
        push(&stage.envoy, revision, &case.compare)?;
        let begun = Instant::now();
        let before = Counted::read(&stage.envoy);
        let failed = send(&stage, copies, interrupt)?;
        let counted = stage.envoy.wait_for(&format!("{copies} copies with a result each"), |envoy| {
            Counted::read_whole(envoy, &before, copies)
        });
        let took = begun.elapsed();
        let data = stage.questions.len();
        let (mismatches, places) =
            differences.of((0..copies).map(|copy| usize::try_from(copy).unwrap_or_default() % data));
        let all = counted.compared() == copies;
        let equal = counted.mismatched() == mismatches && counted.places == places;
        holds &= failed == 0 && all && equal;
        for (result, count) in counted.missed() {
            screen::note(&format!("{count} copies were not compared: {result}"));
        }
        rows.push(vec![
            case.what.to_owned(),
            number(copies),
            number(counted.compared()),
            number(counted.mismatched()),
            number(mismatches),
            number(failed),
            format!("{:.0} s", took.as_secs_f64()),
        ]);
        let all: BTreeSet<&String> = counted.places.keys().chain(places.keys()).collect();
        let count = |places: &BTreeMap<String, u64>, place| number(places.get(place).copied().unwrap_or(0));
        by_place.extend(all.into_iter().map(|place| {
            vec![format!("{}: {place}", case.what), count(&counted.places, place), count(&places, place)]
        }));
    }
    screen::table(&["v3", "requests", "compared", "mismatches", "by Python", "failed", "took"], &rows);
    println!();
    screen::table(&["places that differ", "times", "by Python"], &by_place);
    let reloads = stage.envoy.vm_reloads();
    holds &= reloads == 0;
    let words = if holds { "the filter and Python agree on every copy" } else { "it does not hold" };
    screen::verdict(&format!("{words}; reloads of the VM {reloads}"), holds);
    Ok(holds)
}

fn push(envoy: &Envoy, revision: u64, compare: &Value) -> Result<(), Stop> {
    let document = json!({"revision": revision, "rollouts": [{
        "name": "breast-cancer", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
        "versions": [
            {"name": "v1", "cluster": "breast-cancer-v1"},
            {"name": "v3", "cluster": "breast-cancer-v3"}
        ],
        "shadow": [{"version": "v3", "percent": 100, "cluster": "breast-cancer-v3-copies", "compare": compare}]
    }]});
    if envoy.push(&document.to_string()) == Outcome::Rejected {
        return Err(Stop::Failed(format!("Envoy rejected {document}")));
    }
    envoy.wait_revision(revision);
    std::thread::sleep(ALL_WORKERS);
    Ok(())
}

/// Sends the rows of the data set in turn, in waves, each until all its copies are answered. Returns the number of requests that
/// failed.
fn send(stage: &Stage, copies: u64, interrupt: &Interrupt) -> Result<u64, Stop> {
    let waiting = screen::Wait::begin(&format!("sending {} requests", number(copies)));
    let mut failed = 0;
    for first in (0..copies).step_by(WAVE as usize) {
        interrupt.check()?;
        let questions = stage.questions.clone();
        let request = move |turn: u64| {
            let turn = first + turn;
            let row = usize::try_from(turn).unwrap_or_default() % questions.len();
            Request::post("/v2/models/breast-cancer/infer", questions[row].clone())
                .header("content-type", "application/json")
                .header("x-user-id", format!("user-{turn}"))
        };
        let wave = Load::new(stage.envoy.address()).connections(8).requests(WAVE.min(copies - first));
        let report = wave.run(request);
        failed += report.sent - report.statuses.get(&200).copied().unwrap_or(0);
        stage.envoy.wait_for("the end of all copies", |envoy| {
            envoy.stats(OPEN).values().all(|open| *open == 0).then_some(())
        });
        waiting.say(format!("{} requests sent", number(first + WAVE)));
    }
    Ok(failed)
}
