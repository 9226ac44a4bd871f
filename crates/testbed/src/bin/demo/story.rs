//! The first act: a release from the first user to the last and back, with everything that usually goes wrong on the way.

use std::time::Duration;

use serde_json::json;

use crate::comparison;
use crate::interrupt::{Interrupt, Stop};
use crate::release::Release;
use crate::rescue;
use crate::screen::{self, number, percent};
use crate::stage::Stage;
use crate::traffic::Traffic;

/// Counts the copies that Envoy was told to send to v2.
const COPIES: &str =
    "wasmcustom.rollout=.=breast-cancer;.;version=.=v2;.;result=.=sent;.;rollout_shadow_total";

/// Tells the whole story, the other acts too; true if no request failed and nobody's version changed without a cause.
pub(crate) fn tell(stage: Stage, interrupt: &Interrupt) -> Result<bool, Stop> {
    let Stage { envoy, models: [v1, mut v2, mut v3], questions } = stage;
    let mut release = Release { envoy: &envoy, interrupt, revision: 0, users: None, traffic: None };
    let canary = |share: u32| json!({"canary": {"version": "v2", "percent": share}});
    let active = |version: &str| json!({"blue_green": {"active": version}});

    screen::headline(1, "Everybody is served by v1");
    release.push("all-on-v1", json!({"strategy": active("v1")}))?;
    release.traffic = Some(Traffic::start(envoy.address(), questions, release.first_books()?));
    release.watch([100.0, 0.0])?;

    screen::headline(2, "A canary: one user in ten gets v2, and keeps it");
    release.push("canary-10", json!({"salt": "spring", "strategy": canary(10)}))?;
    release.watch([90.0, 10.0])?;

    screen::headline(3, "Raised to half of the users: nobody who had v2 loses it");
    let before = release.last();
    release.push("canary-50", json!({"salt": "spring", "strategy": canary(50)}))?;
    release.watch([50.0, 50.0])?;
    let lost =
        before.iter().zip(release.last()).filter(|(was, is)| **was == Some(1) && *is != Some(1)).count();
    screen::note(&format!("users that had v2 and lost it: {lost}"));
    release.must(lost == 0, "a raise moved users back")?;

    screen::headline(4, "An A/B test, half and half, with a new salt: a new draw");
    let arms = json!({"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 1}]}});
    release.push("ab-test", json!({"salt": "summer", "strategy": arms}))?;
    release.watch([50.0, 50.0])?;

    screen::headline(5, "The switch: blue-green, everybody to v2 in one push");
    release.push("green", json!({"strategy": active("v2")}))?;
    release.watch([0.0, 100.0])?;

    screen::headline(6, "The server of v2 is killed; failover answers with v1 until it is back");
    release.begin_step();
    screen::command("kill -9 <server of v2>");
    v2.kill();
    release.pause(Duration::from_secs(4))?;
    v2.start()?;
    v2.wait_ready(interrupt)?;
    let outage = release.step();
    let (sent, stood_in) = (number(outage.sent), number(outage.failed_over));
    screen::note(&format!(
        "meanwhile {sent} requests, v1 stood in for {stood_in} of them, failed {}",
        outage.failed
    ));
    release.must(outage.failed_over > 0, "failover did not show")?;
    screen::note("v2 is back:");
    release.begin_step();
    release.watch([0.0, 100.0])?;

    screen::headline(7, "Back on v1, with v2 as a shadow: copies of one user in five, answers thrown away");
    let shadow = json!({"salt": "autumn", "strategy": active("v1"),
        "shadow": [{"version": "v2", "percent": 20, "cluster": "breast-cancer-v2-copies"}]});
    release.push("shadow", shadow)?;
    let copies_before = envoy.stat(COPIES);
    release.watch([100.0, 0.0])?;
    let step = release.step();
    let copies = envoy.stat(COPIES) - copies_before;
    let share = percent(step.shadowed, step.sent);
    screen::note(&format!(
        "copies to v2: {}; {share} of the requests came from shadowed users",
        number(copies)
    ));
    release.must(copies > 0, "nothing was shadowed")?;

    screen::headline(8, "A broken document is refused, by the tool and by Envoy itself; nothing changes");
    release.begin_step();
    release.break_document()?;
    release.watch([100.0, 0.0])?;

    screen::headline(9, "Everybody on v1, as in the beginning");
    release.push("all-on-v1", json!({"strategy": active("v1")}))?;
    release.watch([100.0, 0.0])?;
    rescue::tell(&mut release, &mut v2)?;
    // Each server takes a core.
    v2.kill();
    comparison::tell(&mut release, &v1, &mut v3)?;
    Ok(release.end())
}
