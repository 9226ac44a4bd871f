//! The second act: v2 dies under load, and no human is awake. Failover hides it, a guardrail takes it out, and it stays out until
//! somebody re-arms it. Then the same without failover: a few users notice, for about a second.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testbed::Pulse;

use crate::books::Trouble;
use crate::interrupt::Stop;
use crate::model::Model;
use crate::release::Release;
use crate::screen::{self, number};

/// Longest from the first failure that a client could see to the last request that v2 is given; longer if the machine is busy with
/// something else.
const SWIFT: Duration = Duration::from_secs(2);
/// At most so many requests fail where nothing stands in for v2, within that time.
const MOST_FAILED: u64 = 120;
/// Whether v2 is out.
const ROLLED_BACK: &str = "wasmcustom.rollout=.=breast-cancer;.;version=.=v2;.;rollout_rolled_back";
/// Requests in which v1 stood in for v2.
const FAILOVERS: &str =
    "wasmcustom.rollout=.=breast-cancer;.;version=.=v2;.;to=.=v1;.;rollout_failovers_total";
/// Verdicts on v2, by any signal.
const TRIPS: &str = "rollout=.=breast-cancer;.;version=.=v2;.*rollout_guardrail_trips_total$";

/// Tells the second act; the numbers of its steps go on from the first.
pub(crate) fn tell(release: &mut Release<'_>, v2: &mut Model) -> Result<(), Stop> {
    screen::headline(10, "The second act: a canary of a quarter of the users, under guardrails");
    release.push("guarded", guarded(0))?;
    release.watch([75.0, 25.0])?;
    let before = release.last();

    screen::headline(11, "The server of v2 is killed: failover hides it, and the guardrail rolls it back");
    let trouble = rolled_back(release, v2, false)?;
    release.must(trouble.failed == 0, "a client saw v2 fail")?;
    release.must(trouble.saved > 0, "failover did not show")?;

    screen::headline(12, "v2 is healed; it stays out until the operator re-arms it: \"rearm\": 1");
    release.begin_step();
    v2.start()?;
    v2.wait_ready(release.interrupt)?;
    let step = release.step();
    let (sent, answered) = (number(step.sent), step.answered[1]);
    screen::note(&format!(
        "v2 is back, and answered {answered} of the {sent} requests since it was rolled back"
    ));
    release.must(answered == 0, "v2 was given requests before it was re-armed")?;
    release.push("rearmed", guarded(1))?;
    release.watch([75.0, 25.0])?;
    let lost = before.iter().zip(release.last()).filter(|(was, is)| *was != is).count();
    screen::note(&format!("users with another version than before v2 failed: {lost}"));
    release.must(lost == 0, "not everybody got back what they had")?;
    release.until("the gauge to fall", |envoy| envoy.stat(ROLLED_BACK) == 0)?;

    screen::headline(13, "The same without failover: few requests fail before v2 is out");
    let mut bare = guarded(1);
    bare["failover"] = Value::Null;
    release.push("without-failover", bare)?;
    release.pause(Duration::from_secs(2))?;
    let pulse = Pulse::start();
    let trouble = rolled_back(release, v2, true)?;
    release.must(trouble.saved == 0, "failover is off, and yet something stood in")?;
    let most = pulse.stretch_count(MOST_FAILED, SWIFT);
    release.must((1..=most).contains(&trouble.failed), "too many requests failed, or none")
}

/// A canary that is judged by its failures in a row, and by its failures and its latency against those of v1.
fn guarded(rearm: u64) -> Value {
    json!({
        "salt": "winter",
        "strategy": {"canary": {"version": "v2", "percent": 25}},
        "timeout": "5s",
        "guardrails": {"window": "10s", "min_requests": 100, "rearm": rearm, "signals": [
            {"consecutive_failures": 20},
            {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
            // The second model is slower than the first, and that is no fault.
            {"latency": {"quantile": 0.9, "max_ratio": 4, "confidence": 0.99}}
        ]}
    })
}

/// Kills v2 and waits until it is rolled back; shows when and why, and what clients saw of it.
fn rolled_back(release: &Release<'_>, v2: &mut Model, is_bare: bool) -> Result<Trouble, Stop> {
    let envoy = release.envoy;
    let trips = || envoy.stats(TRIPS).values().sum::<u64>();
    let (failovers_before, trips_before, logged) = (envoy.stat(FAILOVERS), trips(), envoy.log().len());
    release.must(envoy.stat(ROLLED_BACK) == 0, "v2 was rolled back before it failed")?;
    screen::command("kill -9 <server of v2>");
    let pulse = Pulse::start();
    release.books()?.trouble_begins(is_bare)?;
    v2.kill();
    let shown = release.until("a rollback", |envoy| envoy.stat(ROLLED_BACK) == 1)?;
    release.pause(SWIFT)?;
    let trouble = release.books()?.trouble_is_over();
    release.begin_step();

    let log = envoy.log();
    for line in log.get(logged..).unwrap_or_default().lines() {
        if let Some((_, verdict)) = line.split_once("rollout breast-cancer: version v2: ") {
            screen::note(&format!("Envoy's log: version v2: {verdict}"));
        }
    }
    let (failovers, trips) = (envoy.stat(FAILOVERS) - failovers_before, trips() - trips_before);
    let (first, last) = trouble.first.zip(trouble.last).ok_or("nobody saw v2 fail".to_owned())?;
    let since = |when: Instant| when.saturating_duration_since(first);
    let row = |what: &str, seen: String| vec![what.to_owned(), seen];
    screen::table(
        &["after the first failure", "seen"],
        &[
            row("v2 was given its last request", format!("{} ms", since(last).as_millis())),
            row("rollout_rolled_back is 1", format!("{} ms", since(shown).as_millis())),
            row("rollout_guardrail_trips_total", format!("+{trips}")),
            row("rollout_failovers_total", format!("+{failovers}")),
            row("requests that failover saved", number(trouble.saved)),
            row("requests that failed", number(trouble.failed)),
        ],
    );
    release.must(trips > 0, "no verdict was counted")?;
    release.must(failovers == trouble.saved, "Envoy and its clients disagree on what failover saved")?;
    let limit = pulse.stretch(SWIFT);
    let late = format!("v2 was still given requests {limit:.1?} after its first failure");
    release.must(since(last) <= limit, &late)?;
    release.pause(SWIFT)?;
    let after = release.step();
    let calm = after.failed_over == 0 && after.answered[1] == 0 && after.failed == 0;
    release.must(calm, "v2 was given requests after it was rolled back")?;
    Ok(trouble)
}
