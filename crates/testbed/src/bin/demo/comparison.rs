//! The third act: v3 gets copies of half of the users, and the filter compares its answers with those of v1. First v3 is the same
//! model, then it is retrained on other features. Python asks both models itself, and says how many copies must differ.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::interrupt::Stop;
use crate::model::{LOAD, Model};
use crate::pairs::{Counted, Differences};
use crate::release::Release;
use crate::screen::{self, Wait, number};

/// Where the numbers of an answer are.
const POINTER: &str = "/outputs/*/data/*";
/// The same, and how they differ.
const SCORES: &str = "/outputs/*/data/* number";
/// Until the tool has read the counters from which it reports. If it takes longer, the report lacks some pairs, and no check here
/// depends on that.
const TOOL_IS_READY: Duration = Duration::from_secs(1);

/// Tells the third act; the numbers of its steps go on from the second.
pub(crate) fn tell(release: &mut Release<'_>, v1: &Model, v3: &mut Model) -> Result<(), Stop> {
    screen::headline(
        14,
        "The third act: v3 is still the same model as v1; its answers are compared with v1's",
    );
    screen::command("cp v1/model.joblib v3/model.joblib");
    let waiting = Wait::begin("starting the server of v3");
    v3.start()?;
    v3.wait_ready(release.interrupt)?;
    drop(waiting);
    // No request is under way when counts are read, so that they are exact.
    release.rest();
    let before = Counted::read(release.envoy);
    release.push("compared", document())?;
    release.resume();
    let begun = Instant::now();
    release.watch([100.0, 0.0])?;
    // The second report is of all that the users do in it.
    let time = format!("{}s", (begun.elapsed() + TOOL_IS_READY).as_secs() + 4);
    let counted = end_of_pairs(release, &before)?;
    let report = Report::start(release, "")?.show(release)?;
    let differ = counted.mismatched() > 0 || !counted.places.is_empty() || report.contains(POINTER);
    release.must(!differ, "answers of the same model were counted as mismatches")?;
    check_compared(release, &counted)?;

    screen::headline(15, "v3 is retrained on ten of the 30 features: the report shows which outputs moved");
    screen::command("cp v3/retrained.joblib v3/model.joblib");
    v3.put("v3/retrained.joblib")?;
    screen::command(&format!("curl -X POST http://{}{LOAD}", v3.address()));
    v3.load()?;
    let (before, logged) = (Counted::read(release.envoy), release.envoy.log().len());
    let tool = Report::start(release, &time)?;
    release.pause(TOOL_IS_READY)?;
    release.begin_step();
    release.resume();
    release.watch([100.0, 0.0])?;
    let counted = end_of_pairs(release, &before)?;
    let report = tool.show(release)?;
    release.must(report.contains(POINTER), "the report does not show the outputs that moved")?;
    show_line(release, logged)?;
    check_compared(release, &counted)?;
    check_differences(release, &counted, [v1, v3])
}

/// Half of the users get copies. The data set is public, so the log may have the values.
fn document() -> Value {
    json!({
        "strategy": {"blue_green": {"active": "v1"}},
        "versions": [
            {"name": "v1", "cluster": "breast-cancer-v1"},
            {"name": "v2", "cluster": "breast-cancer-v2"},
            {"name": "v3", "cluster": "breast-cancer-v3"}
        ],
        "shadow": [{"version": "v3", "percent": 50, "cluster": "breast-cancer-v3-copies", "compare": rules()}]
    })
}

fn rules() -> Value {
    json!({"json": {"abs_tolerance": 0.01, "ignore": ["/id", "/model_version"]}, "log": "values"})
}

/// `rolloutctl shadow`, which is running; it ends with this.
struct Report {
    tool: Option<Child>,
    line: String,
}

impl Report {
    /// Reports what is counted from now on in this time, or all that was counted if it is empty.
    fn start(release: &Release<'_>, time: &str) -> Result<Self, Stop> {
        let url = release.envoy.admin_url();
        let mut arguments = vec!["shadow", "compared.json", "--envoy", &url];
        if !time.is_empty() {
            arguments.extend(["--for", time]);
        }
        let mut tool = release.tool()?;
        tool.args(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("rolloutctl {}", arguments.join(" "));
        Ok(Self { tool: Some(tool.spawn().map_err(|error| format!("rolloutctl: {error}"))?), line })
    }

    /// Shows the command with what it prints.
    fn show(mut self, release: &Release<'_>) -> Result<String, Stop> {
        screen::command(&self.line);
        let tool = self.tool.take().ok_or("the report was shown before".to_owned())?;
        let report = tool.wait_with_output().map_err(|error| format!("rolloutctl: {error}"))?;
        let text = String::from_utf8_lossy(&report.stdout).into_owned();
        screen::output(&text);
        release.must(report.status.success(), &String::from_utf8_lossy(&report.stderr))?;
        Ok(text)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(mut tool) = self.tool.take() {
            let _ = tool.kill();
            let _ = tool.wait();
        }
    }
}

/// Lets nobody ask any more, and waits until each copy has a result.
fn end_of_pairs(release: &mut Release<'_>, before: &Counted) -> Result<Counted, Stop> {
    release.rest();
    let copies = release.step().shadowed;
    let whole = || Counted::read_whole(release.envoy, before, copies);
    release.until(&format!("{copies} copies with a result each"), |_| whole().is_some())?;
    Ok(whole().unwrap_or_default())
}

/// Checks that nearly all copies were compared: on a busy machine, some may be dropped.
fn check_compared(release: &Release<'_>, counted: &Counted) -> Result<(), Stop> {
    let sent = counted.sent();
    let is_enough = sent > 0 && counted.compared() >= sent - sent / 10;
    release.must(is_enough, &format!("only {} of {sent} copies were compared", counted.compared()))
}

/// Shows the first line that Envoy's log got about a mismatch.
fn show_line(release: &Release<'_>, logged: usize) -> Result<(), Stop> {
    let log = release.envoy.log();
    let mut lines = log.get(logged..).unwrap_or_default().lines();
    let line = lines.find_map(|line| Some(&line[line.find("{\"event\":\"shadow_mismatch\"")?..]));
    screen::note(&format!("Envoy's log: {}", line.ok_or("no mismatch was logged".to_owned())?));
    Ok(())
}

/// Compares the mismatches that the filter counted with those that Python computes for the same requests.
fn check_differences(release: &Release<'_>, counted: &Counted, models: [&Model; 2]) -> Result<(), Stop> {
    let differences = Differences::ask(models, &rules(), release.interrupt)?;
    let [rows, differ] = differences.rows();
    let distance = |share: f64| format!("{:.4}", differences.distance(share));
    screen::note(&format!(
        "{differ} of {rows} rows differ by more than 0.01; half of the rows by up to {}, all by up to {}",
        distance(0.5),
        distance(1.0)
    ));
    let (expected, places) = differences.of(release.step().shadowed_rows.iter().copied());
    // What was not compared may be what differs.
    let missed = counted.sent() - counted.compared();
    let without =
        if missed > 0 { format!(" without the {missed} that were not compared") } else { String::new() };
    screen::note(&format!(
        "so {} of these {} copies must be mismatches; the filter counted {}{without}",
        number(expected),
        number(counted.sent()),
        number(counted.mismatched())
    ));
    let is_right = |seen: u64, expected: u64| seen <= expected && seen + missed >= expected;
    let seen = |place: &str| counted.places.get(place).copied().unwrap_or(0);
    let is_only = counted.places.keys().eq([SCORES]) && places.keys().eq([SCORES]);
    release.must(is_only && expected > 0, "the wrong outputs were counted as different")?;
    release.must(is_right(counted.mismatched(), expected), "the filter and Python disagree on mismatches")?;
    let expected = places.get(SCORES).copied().unwrap_or(0);
    release.must(is_right(seen(SCORES), expected), "the filter and Python disagree on the outputs")
}
