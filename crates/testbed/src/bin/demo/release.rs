//! The release and those who watch it: documents are pushed with the tool, users are counted, and in the end the books are read.

use std::process::{Command, Output};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::{Envoy, PATIENCE};

use crate::books::{Books, Counts};
use crate::interrupt::{Interrupt, Stop};
use crate::screen::{self, Wait, number, percent};
use crate::stage::module;
use crate::traffic::Traffic;
use crate::user::{USERS, Version};

/// The release, and those who watch it.
pub(crate) struct Release<'e> {
    pub(crate) envoy: &'e Envoy,
    pub(crate) interrupt: &'e Interrupt,
    pub(crate) revision: u64,
    /// Who had which version at the end of the step before.
    pub(crate) users: Option<Vec<Option<Version>>>,
    pub(crate) traffic: Option<Traffic>,
}

impl Release<'_> {
    /// The rollout with these fields, and without those that are null here.
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
            rollout.retain(|_, value| !value.is_null());
        }
        json!({"revision": self.revision, "rollouts": [rollout]})
    }

    /// Writes a document into Envoy's folder, where the tool runs.
    fn file(&self, name: &str, document: &Value) -> Result<(), Stop> {
        let path = self.envoy.folder().join(format!("{name}.json"));
        Ok(std::fs::write(path, format!("{document:#}")).map_err(|error| error.to_string())?)
    }

    /// The tool, to be run in Envoy's folder.
    pub(crate) fn tool(&self) -> Result<Command, Stop> {
        // Built together with this program.
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own.with_file_name("rolloutctl"));
        command.current_dir(self.envoy.folder());
        Ok(command)
    }

    fn rolloutctl(&self, arguments: impl FnOnce(&mut Command)) -> Result<Output, Stop> {
        let mut command = self.tool()?;
        arguments(&mut command);
        Ok(command.output().map_err(|error| format!("rolloutctl: {error}"))?)
    }

    /// Pushes a document with the tool, which waits until it is live.
    pub(crate) fn push(&mut self, name: &str, strategy: Value) -> Result<(), Stop> {
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
            push.args(["push", &format!("{name}.json"), "--to", "ecds.yaml", "--envoy", &url]);
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
    pub(crate) fn first_books(&self) -> Result<Books, Stop> {
        let document = self.document(&json!({"strategy": {"blue_green": {"active": "v1"}}}));
        Ok(Books::new(&document.to_string())?)
    }

    /// Shows a document that can't be served, to the tool and then to Envoy.
    pub(crate) fn break_document(&mut self) -> Result<(), Stop> {
        let strategy = json!({"salt": "", "strategy": {"canary": {"version": "v3", "percent": 120}}});
        let document = self.document(&strategy);
        self.file("broken", &document)?;
        let target = self.envoy.ecds_path().to_owned();
        let before = std::fs::read(&target).map_err(|error| error.to_string())?;
        screen::command("rolloutctl push broken.json --to ecds.yaml");
        let output = self.rolloutctl(|push| {
            push.args(["push", "broken.json", "--to", "ecds.yaml"]);
        })?;
        screen::output(&String::from_utf8_lossy(&output.stderr));
        let untouched = std::fs::read(&target).is_ok_and(|after| after == before);
        self.must(output.status.code() == Some(3) && untouched, "the tool let a broken document through")?;
        let refused = self.envoy.push(&document.to_string()) == Outcome::Rejected;
        self.must(refused, "Envoy took a broken document")?;
        screen::note(
            "written past the tool into ecds.yaml: Envoy rejects it and keeps serving the current document",
        );
        Ok(())
    }

    pub(crate) fn begin_step(&self) {
        if let Some(traffic) = &self.traffic {
            traffic.books().begin_step();
        }
    }

    /// Lets all requests end and no further one begin.
    pub(crate) fn rest(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            traffic.stop();
        }
    }

    /// Lets the users ask again.
    pub(crate) fn resume(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            traffic.resume();
        }
    }

    pub(crate) fn step(&self) -> Counts {
        self.traffic.as_ref().map(|traffic| traffic.books().step.clone()).unwrap_or_default()
    }

    pub(crate) fn last(&self) -> Vec<Option<Version>> {
        self.traffic.as_ref().map(|traffic| traffic.books().last.clone()).unwrap_or_default()
    }

    pub(crate) fn pause(&self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.interrupt.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Lets every user ask at least once since the step began, then shows who is where.
    pub(crate) fn watch(&mut self, expected: [f64; 2]) -> Result<(), Stop> {
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

    /// Waits until Envoy shows something, and says when it did.
    pub(crate) fn until(&self, what: &str, met: impl Fn(&Envoy) -> bool) -> Result<Instant, Stop> {
        let deadline = Instant::now() + PATIENCE;
        while !met(self.envoy) {
            self.interrupt.check()?;
            self.must(Instant::now() < deadline, &format!("waited in vain for {what}"))?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Instant::now())
    }

    /// The books, to read or to write.
    pub(crate) fn books(&self) -> Result<MutexGuard<'_, Books>, Stop> {
        Ok(self.traffic.as_ref().ok_or("no traffic".to_owned())?.books())
    }

    pub(crate) fn must(&self, met: bool, otherwise: &str) -> Result<(), Stop> {
        if met { Ok(()) } else { Err(Stop::Failed(otherwise.to_owned())) }
    }

    /// Stops the traffic and says how it went.
    pub(crate) fn end(mut self) -> bool {
        let Some(mut traffic) = self.traffic.take() else { return false };
        traffic.stop();
        let books = traffic.books();
        books.examples.iter().for_each(|example| screen::note(example));
        let Counts { sent, failed, bare, without_cause, .. } = books.total;
        let good = failed == 0 && without_cause == 0;
        let sent = number(sent);
        let words = format!(
            "requests sent {sent}, failed {failed}, users whose version changed without cause {without_cause}; failed where failover was off {bare}"
        );
        screen::verdict(&words, good);
        good
    }
}
