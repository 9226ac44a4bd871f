//! The start in the README, as a reader types it: the real Envoy with the shipped configuration and the stand-in models, one
//! pushed document, and users who are served by the versions that `rolloutctl explain` names.
//!
//! Only the ports differ: five free ones stand for those of the shipped files.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testbed::client::{Client, Request};
use testbed::module;

const START: &str = r#"envoy -c envoy.yaml --config-yaml "$(cat start/models.yaml)""#;
const PUSH: &str = "../dist/rolloutctl push start/canary.json --to ecds.yaml --wasm ../dist/rollout_filter.wasm --envoy http://127.0.0.1:9901";
const ASK: &str = r#"for user in alice bob carol dave erin frank grace heidi; do curl -H "x-user-id: $user" http://127.0.0.1:10000; done"#;
const USERS: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];

/// The ports of the shipped files: listener, admin, and the three models.
const SHIPPED: [u16; 5] = [10_000, 9_901, 8_001, 8_002, 8_003];

/// How long Envoy may take to start, and its workers to follow a push, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A copy of the checkout with `envoy/`, `dist/` and free ports, and the Envoy that the reader starts in it.
struct Checkout {
    folder: TempDir,
    ports: [u16; 5],
    envoy: Option<Child>,
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(envoy) = &mut self.envoy {
            let _ = envoy.kill();
            let _ = envoy.wait();
        }
    }
}

impl Checkout {
    fn new() -> Self {
        let folder = TempDir::with_prefix("rollout-start-").expect("a temporary folder");
        let checkout = Self { folder, ports: free_ports(), envoy: None };
        let at = checkout.folder.path();
        for name in ["envoy/start", "dist", "bin"] {
            fs::create_dir_all(at.join(name)).expect("the folder is writable");
        }
        for name in [
            "envoy/envoy.yaml",
            "envoy/ecds.yaml",
            "envoy/ecds-shadow.yaml",
            "envoy/start/models.yaml",
            "envoy/start/canary.json",
        ] {
            let text = fs::read_to_string(module::workspace().join(name)).expect("a shipped file");
            fs::write(at.join(name), checkout.with_own_ports(&text)).expect("the folder is writable");
        }
        symlink(module::build(), at.join("dist/rollout_filter.wasm")).expect("the folder is writable");
        symlink(module::rolloutctl(), at.join("dist/rolloutctl")).expect("the folder is writable");
        // Without hot restart this Envoy shares nothing with another one on the machine.
        let real = module::envoy();
        let script =
            format!("#!/bin/sh\nexec '{}' \"$@\" --disable-hot-restart --concurrency 2\n", real.display());
        let envoy = at.join("bin/envoy");
        fs::write(&envoy, script).expect("the folder is writable");
        fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).expect("the mode of an own file");
        checkout
    }

    fn with_own_ports(&self, text: &str) -> String {
        let pairs = SHIPPED.iter().zip(self.ports);
        pairs.fold(text.to_owned(), |text, (shipped, own)| {
            text.replace(&shipped.to_string(), &own.to_string())
        })
    }

    /// The command, to be run in `envoy/` by the reader's shell.
    fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &self.with_own_ports(command)])
            .current_dir(self.folder.path().join("envoy"))
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .stdin(Stdio::null());
        shell
    }

    fn run(&self, command: &str) -> Output {
        self.shell(command).output().expect("bash runs")
    }

    fn start_envoy(&mut self) {
        let log = fs::File::create(self.log()).expect("the folder is writable");
        let mut command = self.shell(&format!("exec {START}"));
        command.stdout(log.try_clone().expect("a file handle can be copied")).stderr(log);
        self.envoy = Some(command.spawn().expect("bash runs"));
        let admin = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[1])));
        self.wait_for("Envoy is ready", || {
            admin.get("/ready", &[]).is_ok_and(|answer| answer.text().trim() == "LIVE")
        });
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("envoy.log")
    }

    fn wait_for(&self, what: &str, is_met: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_met() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            assert!(
                begin.elapsed() < PATIENCE,
                "not after {PATIENCE:?}: {what}; the log, latest first:\n{}",
                end.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the loop over `curl` prints, asked by this workspace's client so that the test needs no `curl`.
    fn answers(&self) -> String {
        let client = Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0])));
        let ask =
            |user| client.send(Request::get("/").header("x-user-id", user)).expect("Envoy answers").text();
        USERS.into_iter().map(ask).collect()
    }

    /// What the loop should print, by the decisions of the tool.
    fn explained(&self) -> String {
        let line = |user| {
            let command = format!(
                "../dist/rolloutctl --format json explain start/canary.json --header 'x-user-id: {user}'"
            );
            let output = self.run(&command);
            let decision: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
            format!("{user} is served by {}\n", decision["version"].as_str().expect("a version"))
        };
        USERS.into_iter().map(line).collect()
    }

    /// Pushes as the reader does, and waits until every worker serves as the tool explains.
    fn push(&self) -> String {
        let output = self.run(PUSH);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let explained = self.explained();
        self.wait_for(&format!("users are served as explained:\n{explained}"), || {
            self.answers() == explained
        });
        explained
    }
}

/// Free ports below those that the system gives to outgoing connections, so that none of those takes one meanwhile.
fn free_ports() -> [u16; 5] {
    let offset = u16::try_from(std::process::id() % 4_000).unwrap_or_default();
    // 28001 and its like would be found again when 8001 is replaced.
    let candidates = (20_000_u16..28_000).skip(usize::from(offset));
    let free = candidates.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(5).collect();
    ports.try_into().expect("five free ports")
}

fn lines_for(version: &str, answers: &str) -> Vec<String> {
    answers.lines().filter(|line| line.ends_with(version)).map(str::to_owned).collect()
}

#[test]
fn the_start_in_the_readme_serves_each_user_as_the_tool_explains() {
    let mut checkout = Checkout::new();
    checkout.start_envoy();
    let stable = |user| format!("{user} is served by v1\n");
    assert_eq!(
        checkout.answers(),
        USERS.into_iter().map(stable).collect::<String>(),
        "before the first push"
    );

    let thirty = checkout.push();
    assert_eq!(lines_for("v2", &thirty), ["alice is served by v2", "grace is served by v2"]);

    let document = checkout.folder.path().join("envoy/start/canary.json");
    raise(&document, "30", "60");
    let sixty = checkout.push();
    let kept = lines_for("v2", &thirty).into_iter().all(|line| sixty.contains(&line));
    assert!(kept, "a raise took v2 from a user:\n{sixty}");
    assert_eq!(lines_for("v2", &sixty).len(), 6, "{sixty}");
}

fn raise(document: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(document).expect("the document");
    let raised = text.replace(&format!("\"percent\": {from}"), &format!("\"percent\": {to}"));
    assert_ne!(text, raised);
    fs::write(document, raised).expect("the folder is writable");
}

#[test]
fn the_readme_shows_these_commands_and_their_answers() {
    let readme = fs::read_to_string(module::workspace().join("README.md")).expect("the README");
    for command in [START, PUSH, ASK] {
        assert!(readme.contains(&format!("$ {command}\n")), "the README does not show: {command}");
    }
    assert!(USERS.iter().all(|user| ASK.contains(user)));
    let checkout = Checkout::new();
    assert!(
        readme.contains(&checkout.explained()),
        "the README shows other answers than\n{}",
        checkout.explained()
    );
}

/// The document in the README, and the user that the picture there and the tool's example show.
#[test]
fn the_readme_explains_a_user_of_its_own_document() {
    let readme = fs::read_to_string(module::workspace().join("README.md")).expect("the README");
    let block = readme.split("\n```json\n").nth(1).expect("a document");
    let document = block.split("\n```").next().expect("the end of the document");
    let example = readme.split("$ rolloutctl explain ").nth(1).expect("an example");
    let (arguments, rest) = example.split_once('\n').expect("an answer");
    let answer = rest.split("...").next().expect("the end of the answer");

    let folder = TempDir::with_prefix("rollout-start-").expect("a temporary folder");
    fs::write(folder.path().join("fraud.json"), document).expect("the folder is writable");
    let command = format!("'{}' explain {arguments}", module::rolloutctl().display());
    let output = Command::new("bash").args(["-c", &command]).current_dir(folder.path()).output();
    let printed = String::from_utf8_lossy(&output.expect("bash runs").stdout).into_owned();
    assert!(printed.starts_with(answer), "the tool prints\n{printed}");
    assert!(readme.contains("x-user-id: user-207") && answer.contains("bucket    13959"), "{answer}");
    assert!(readme.contains("hash ▶ bucket 13959 ▶ v2"));
}
