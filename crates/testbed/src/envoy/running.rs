//! A running Envoy and its admin interface. It ends with its handle.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::config::EcdsFiles;
use super::process::Process;
use crate::client::{Client, Request};
use crate::module;
use crate::time::{self, PATIENCE};

/// A process that has been started, with its files.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) module: Option<PathBuf>,
    pub(super) ecds: EcdsFiles,
    /// True if a cluster for copies has the module.
    pub(super) has_copies: bool,
    pub(super) log: PathBuf,
    pub(super) folder: TempDir,
}

/// A running Envoy.
pub struct Envoy {
    started: Started,
    admin: SocketAddr,
    address: SocketAddr,
}

impl Envoy {
    /// Waits until the started process is ready and learns its addresses.
    pub(super) fn attach(started: Started, admin_file: &Path) -> Result<Self, String> {
        let unset = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Self { started, admin: unset, address: unset };
        envoy.wait_ready(admin_file)?;
        Ok(envoy)
    }

    fn wait_ready(&mut self, admin_file: &Path) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut known = false;
        loop {
            if self.started.process.has_ended() || Instant::now() > deadline {
                return Err(self.log_tail());
            }
            if !known
                && let Ok(text) = std::fs::read_to_string(admin_file)
                && let Ok(admin) = text.trim().parse()
            {
                self.admin = admin;
                known = true;
            }
            if known && self.try_admin("/ready").is_ok_and(|text| text.trim() == "LIVE") {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let listeners: Value = serde_json::from_str(&self.admin("/listeners?format=json"))
            .expect("the admin's listeners are JSON");
        let port = &listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"];
        let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("the listener has a port");
        self.address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(())
    }

    /// The listener's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin's address.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The admin's URL, as `rolloutctl --envoy` takes it.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The ECDS file that this Envoy watches.
    pub fn ecds_path(&self) -> &Path {
        &self.started.ecds.main
    }

    /// The ECDS file that the clusters for copies watch.
    pub fn shadow_ecds_path(&self) -> &Path {
        &self.started.ecds.shadow
    }

    /// Whether a cluster for copies has the module.
    pub(super) fn has_copies(&self) -> bool {
        self.started.has_copies
    }

    /// The module that pushes load, built at the first push.
    pub(super) fn module_path(&self) -> PathBuf {
        self.started.module.clone().unwrap_or_else(module::build)
    }

    /// The private folder: bootstrap, ECDS file and log; removed at the end.
    pub fn folder(&self) -> &Path {
        self.started.folder.path()
    }

    /// A client of the listener with one HTTP/1.1 connection.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The text of an admin page.
    pub fn admin(&self, path: &str) -> String {
        self.try_admin(path)
            .unwrap_or_else(|cause| panic!("admin {path}: {cause}; log:\n{}", self.log_tail()))
    }

    fn try_admin(&self, path: &str) -> Result<String, String> {
        let client = Client::new(self.admin);
        client.get(path, &[]).map(|response| response.text()).map_err(|failure| failure.to_string())
    }

    /// A POST to the admin, for `/logging`, `/healthcheck/fail`, `/runtime_modify` and similar.
    pub fn admin_post(&self, path: &str) -> String {
        let answer = Client::new(self.admin).send(Request::new("POST", path));
        answer.unwrap_or_else(|failure| panic!("admin {path}: {failure}")).text()
    }

    /// The value of a counter or gauge; 0 if it does not exist.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats(&format!("^{}$", quoted(name))).get(name).copied().unwrap_or(0)
    }

    /// All counters and gauges whose full name contains a match of the regular expression.
    pub fn stats(&self, filter: &str) -> BTreeMap<String, u64> {
        let text = self.admin(&format!("/stats?filter={}", encoded(filter)));
        let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
        lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// The Prometheus page.
    pub fn prometheus(&self) -> String {
        self.admin("/stats/prometheus")
    }

    /// The revision of the running document; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.stat("wasmcustom.plugin=.=rollout;.;rollout_config_revision")
    }

    /// The hash of the running document; 0 before the first.
    pub fn config_hash(&self) -> u64 {
        self.stat("wasmcustom.plugin=.=rollout;.;rollout_config_hash")
    }

    /// Number of reloads of a crashed VM, done or due; 0 in a healthy filter.
    pub fn vm_reloads(&self) -> u64 {
        self.stats(r"^wasm\..*vm_reload").values().sum()
    }

    /// Waits until `met` returns something; panics after [`PATIENCE`], naming `what` and showing the log's end.
    pub fn wait_for<T>(&self, what: &str, mut met: impl FnMut(&Self) -> Option<T>) -> T {
        time::wait_for(|| met(self), || format!("{what}; Envoy's log:\n{}", self.log_tail()))
    }

    /// Waits until a document of this revision serves.
    pub fn wait_revision(&self, revision: u64) {
        self.wait_for(&format!("revision {revision}"), |envoy| (envoy.revision() == revision).then_some(()));
    }

    /// Waits until a counter or gauge has at least this value, and returns it.
    pub fn wait_stat(&self, name: &str, least: u64) -> u64 {
        self.wait_for(&format!("{name} >= {least}"), |envoy| {
            Some(envoy.stat(name)).filter(|value| *value >= least)
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.started.process.id()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.started.process.rss_kib()
    }

    /// CPU time of all threads so far.
    pub fn cpu_nanos(&self) -> u64 {
        self.started.process.cpu_nanos()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        !self.started.process.has_ended()
    }

    /// The whole log so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.started.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the log, without the lists of extensions and headers that every start prints.
    fn log_tail(&self) -> String {
        let log = self.log();
        let telling = |line: &&str| !line.contains("]   envoy.") && !line.contains(" header map: ");
        let lines: Vec<&str> = log.lines().filter(telling).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A regular expression that matches the text itself.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => char.to_string(),
        _ if char.is_ascii() => format!("\\{char}"),
        _ => char.to_string(),
    });
    escaped.collect()
}

/// Text as a value of a query.
fn encoded(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}
