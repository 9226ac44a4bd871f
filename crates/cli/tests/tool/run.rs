//! Runs the built tool in a directory of its own.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A directory with files in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A place with `good.json` and `bad.json`.
    pub(crate) fn with_documents() -> Self {
        let place = Self::new();
        place.write("good.json", &document(50.0).to_string());
        place.write("bad.json", r#"{"revision": -1, "rollouts": [{"name": "x"}]}"#);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    /// Names of all files here.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("listed");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rolloutctl"))
            .args(args)
            .current_dir(self.0.path())
            .env("http_proxy", "http://127.0.0.1:9") // must not matter
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        // A tool that needs no input may be gone already.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
        let output = child.wait_with_output().expect("the tool ends");
        Run {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// The document of the contract's vectors, with this share for v2.
pub(crate) fn document(percent: f64) -> Value {
    json!({"revision": 42, "rollouts": [{
        "name": "fraud-score",
        "match": [{"hosts": ["ml.example.com"], "path": {"prefix": "/v2/"}}],
        "unit": [{"header": "x-user-id"}, {"source_ip": true}],
        "salt": "fraud-2026-11",
        "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"},
                     {"name": "v3", "cluster": "fraud-v3"}],
        "strategy": {"canary": {"version": "v2", "percent": percent}},
        "failover": {"to": ["v1"], "per_try_timeout": "2s"},
        "shadow": [{"version": "v3", "percent": 100}],
        "overrides": [{"header": {"name": "x-qa-version", "secret_header": "x-qa-key", "secret": "s3cret"}}]
    }]})
}
