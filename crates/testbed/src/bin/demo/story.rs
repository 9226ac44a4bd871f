//! The story: a release from the first user to the last and back, with everything that usually goes wrong on the way.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::Envoy;
use testbed::envoy::Outcome;
use testbed::module::workspace;

use crate::screen::{self, Wait, number, percent};
use crate::stage::{Stage, module};
use crate::traffic::{Books, Counts, Traffic, USERS, Version};
use crate::{Interrupt, Stop};

/// Longest that a step may take to see every user.
const PATIENCE: Duration = Duration::from_secs(40);
/// Counts the copies that Envoy was told to send to v2.
const COPIES: &str =
    "wasmcustom.rollout=.=breast-cancer;.;version=.=v2;.;result=.=sent;.;rollout_shadow_total";

/// Tells the whole story; true if no request failed and nobody's version changed without a cause.
pub(crate) fn tell(stage: Stage, interrupt: &Interrupt) -> Result<bool, Stop> {
    let Stage { envoy, models: [_v1, mut v2], questions } = stage;
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
    let shadow =
        json!({"salt": "autumn", "strategy": active("v1"), "shadow": [{"version": "v2", "percent": 20}]});
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

    screen::headline(9, "The end: everybody on v1, as in the beginning");
    release.push("all-on-v1", json!({"strategy": active("v1")}))?;
    release.watch([100.0, 0.0])?;
    Ok(release.end())
}

/// The release, and those who watch it.
struct Release<'e> {
    envoy: &'e Envoy,
    interrupt: &'e Interrupt,
    revision: u64,
    /// Who had which version at the end of the step before.
    users: Option<Vec<Option<Version>>>,
    traffic: Option<Traffic>,
}

impl Release<'_> {
    fn document(&self, strategy: &Value) -> Value {
        let mut rollout = json!({
            "name": "breast-cancer",
            "match": [{"path": {"prefix": "/v2/models/breast-cancer/"}}],
            "unit": [{"header": "x-user-id"}],
            "stable": "v1",
            "versions": [{"name": "v1", "cluster": "breast-cancer-v1"}, {"name": "v2", "cluster": "breast-cancer-v2"}],
            // A server that has just come back may not know its model yet, and says 404.
            "failover": {"to": ["v1"], "status_codes": [404]},
            "idempotent": true,
        });
        if let (Some(rollout), Some(rest)) = (rollout.as_object_mut(), strategy.as_object()) {
            rollout.extend(rest.clone());
        }
        json!({"revision": self.revision, "rollouts": [rollout]})
    }

    /// Writes a document into Envoy's folder, where the tool runs.
    fn file(&self, name: &str, document: &Value) -> Result<(), Stop> {
        let path = self.envoy.folder().join(format!("{name}.json"));
        Ok(std::fs::write(path, format!("{document:#}")).map_err(|error| error.to_string())?)
    }

    fn rolloutctl(&self, arguments: impl FnOnce(&mut Command)) -> Result<Output, Stop> {
        let mut command = Command::new(workspace().join("dist/rolloutctl"));
        command.arg("push").current_dir(self.envoy.folder());
        arguments(&mut command);
        Ok(command.output().map_err(|error| format!("rolloutctl: {error}"))?)
    }

    /// Pushes a document with the tool, which waits until it is live.
    fn push(&mut self, name: &str, strategy: Value) -> Result<(), Stop> {
        self.interrupt.check()?;
        self.revision += 1;
        let document = self.document(&strategy);
        self.file(name, &document)?;
        let first = self.revision == 1;
        let with_module = if first { " --wasm rollout_filter.wasm" } else { "" };
        let url = self.envoy.admin_url();
        screen::command(&format!("rolloutctl push {name}.json --to ecds.yaml{with_module} --envoy {url}"));
        if let Some(traffic) = &self.traffic {
            traffic.books().push_begins(&document.to_string())?;
        }
        let output = self.rolloutctl(|push| {
            push.args([&format!("{name}.json"), "--to", "ecds.yaml", "--envoy", &url]);
            if first {
                push.arg("--wasm").arg(module());
            }
        })?;
        if let Some(traffic) = &self.traffic {
            let mut books = traffic.books();
            books.push_is_live();
            books.begin_step();
        }
        self.must(output.status.success(), &String::from_utf8_lossy(&output.stderr))
    }

    /// Books that know the first document.
    fn first_books(&self) -> Result<Books, Stop> {
        let mut books = Books::default();
        books.push_begins(
            &self.document(&json!({"strategy": {"blue_green": {"active": "v1"}}})).to_string(),
        )?;
        Ok(books)
    }

    /// Shows a document that can't be served, to the tool and then to Envoy.
    fn break_document(&mut self) -> Result<(), Stop> {
        let strategy = json!({"salt": "", "strategy": {"canary": {"version": "v3", "percent": 120}}});
        let document = self.document(&strategy);
        self.file("broken", &document)?;
        let target = self.envoy.ecds_path().to_owned();
        let before = std::fs::read(&target).map_err(|error| error.to_string())?;
        screen::command("rolloutctl push broken.json --to ecds.yaml");
        let output = self.rolloutctl(|push| {
            push.args(["broken.json", "--to", "ecds.yaml"]);
        })?;
        screen::output(&String::from_utf8_lossy(&output.stderr));
        let untouched = std::fs::read(&target).is_ok_and(|after| after == before);
        self.must(output.status.code() == Some(3) && untouched, "the tool let a broken document through")?;
        let refused = self.envoy.push(&document.to_string()) == Outcome::Rejected;
        self.must(refused, "Envoy took a broken document")?;
        screen::note(
            "written past the tool into ecds.yaml: Envoy refuses it, the running document serves on",
        );
        Ok(())
    }

    fn begin_step(&self) {
        if let Some(traffic) = &self.traffic {
            traffic.books().begin_step();
        }
    }

    fn step(&self) -> Counts {
        self.traffic.as_ref().map(|traffic| traffic.books().step.clone()).unwrap_or_default()
    }

    fn last(&self) -> Vec<Option<Version>> {
        self.traffic.as_ref().map(|traffic| traffic.books().last.clone()).unwrap_or_default()
    }

    fn pause(&self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Lets every user ask at least once since the step began, then shows who is where.
    fn watch(&mut self, expected: [f64; 2]) -> Result<(), Stop> {
        let traffic = self.traffic.as_ref().ok_or("no traffic".to_owned())?;
        let waiting = Wait::begin(&format!("{} users are asking", number(USERS as u64)));
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.interrupt.check()?;
            let (seen, step) = {
                let books = traffic.books();
                (books.seen(), books.step.clone())
            };
            let answered = step.answered.map(|count| percent(count, step.answered.iter().sum()));
            let (seen_words, failed) = (number(seen as u64), step.failed);
            waiting.say(format!(
                "{seen_words} users asked: v1 {}, v2 {}, failed {failed}",
                answered[0], answered[1]
            ));
            if seen == USERS {
                break;
            }
            if Instant::now() > deadline {
                return Err(Stop::Failed(format!("only {seen} users were answered")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(waiting);
        let (last, users, step) = {
            let books = traffic.books();
            (books.last.clone(), books.users(), books.step.clone())
        };
        let row = |version: Version| {
            vec![
                format!("v{}", version + 1),
                number(users[version]),
                percent(users[version], USERS as u64),
                format!("{:.1} %", expected[version]),
                number(step.answered[version]),
            ]
        };
        screen::table(&["version", "users", "share", "expected", "requests"], &[row(0), row(1)]);
        let before = self.users.replace(last.clone()).unwrap_or_else(|| last.clone());
        let moved = before.iter().zip(&last).filter(|(was, is)| was != is).count();
        screen::note(&format!("users moved {}, requests failed {}", number(moved as u64), step.failed));
        Ok(())
    }

    fn must(&self, met: bool, otherwise: &str) -> Result<(), Stop> {
        if met { Ok(()) } else { Err(Stop::Failed(otherwise.to_owned())) }
    }

    /// Stops the traffic and says how it went.
    fn end(mut self) -> bool {
        let Some(mut traffic) = self.traffic.take() else { return false };
        traffic.stop();
        let books = traffic.books();
        books.examples.iter().for_each(|example| screen::note(example));
        let Counts { sent, failed, without_cause, .. } = books.total;
        let good = failed == 0 && without_cause == 0;
        let sent = number(sent);
        let words = format!(
            "requests sent {sent}, failed {failed}, users whose version changed without cause {without_cause}"
        );
        screen::verdict(&words, good);
        good
    }
}
