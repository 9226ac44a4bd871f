//! A real Envoy, started from the shipped `envoy/envoy.yaml` with only what a test must have otherwise: free ports,
//! its own clusters, an ECDS file in a private folder. It ends with its handle.

mod config;
mod process;
mod push;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use config::{Cluster, Filter, connection_manager, refuse_on_request, routes};
pub use push::{Outcome, header_mutation, wasm_filter};

use crate::client::{Client, Request};
use process::Process;

/// How long a start may take: Envoy with a wasm module needs a second, a loaded machine of two cores many.
const START: Duration = Duration::from_secs(60);

/// How long [`Envoy::wait_for`] and its kin wait.
const PATIENCE: Duration = Duration::from_secs(20);

type Tweak = Box<dyn FnOnce(&mut Value)>;

/// What an Envoy shall be like; ends with [`Builder::start`].
#[must_use]
pub struct Builder {
    clusters: Vec<Cluster>,
    concurrency: u32,
    filter: Filter,
    log_level: String,
    arguments: Vec<String>,
    tweaks: Vec<Tweak>,
    module: Option<PathBuf>,
    json_ecds: bool,
    own_group: bool,
}

impl Builder {
    /// Adds a cluster; the first one serves the fail-safe route unless one has the name that stands there
    /// (`fraud-v1`). With none at all, the shipped clusters stay.
    pub fn cluster(mut self, cluster: impl Into<Cluster>) -> Self {
        self.clusters.push(cluster.into());
        self
    }

    /// Adds several clusters.
    pub fn clusters<C: Into<Cluster>>(mut self, clusters: impl IntoIterator<Item = C>) -> Self {
        self.clusters.extend(clusters.into_iter().map(Into::into));
        self
    }

    /// The number of worker threads; 1 unless set.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// What stands in the place of the rollout filter; the shipped ECDS filter unless set.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Replaces the routes by the plain form, `cluster_header: x-rollout-cluster` and the fail-safe route.
    pub fn plain_route(self) -> Self {
        self.tweak(config::plain_route)
    }

    /// Replaces all routes.
    pub fn routes(self, list: Value) -> Self {
        self.tweak(move |bootstrap| *routes(bootstrap) = list)
    }

    /// Changes the finished bootstrap before Envoy reads it; several are applied in order.
    pub fn tweak(mut self, change: impl FnOnce(&mut Value) + 'static) -> Self {
        self.tweaks.push(Box::new(change));
        self
    }

    /// The module to push, instead of one built now.
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.module = Some(path.into());
        self
    }

    /// Watches `ecds.json` instead of `ecds.yaml`: Envoy's YAML reader makes a string of every number with a fraction, which
    /// shows inside a `Struct`.
    pub fn json_ecds(mut self) -> Self {
        self.json_ecds = true;
        self
    }

    /// Keeps a terminal's Ctrl-C away from Envoy, for a caller that ends it by itself.
    pub fn own_process_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Envoy's log level; `info` unless set. `wasm:debug` and the like set one component's.
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    /// Adds a command line argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts Envoy and returns when it is ready; panics with the end of its log if it doesn't get there.
    pub fn start(self) -> Envoy {
        self.try_start().unwrap_or_else(|log| panic!("Envoy did not start; the end of its log:\n{log}"))
    }

    /// Starts Envoy; if it refuses its configuration, the error is the end of its log.
    pub fn try_start(self) -> Result<Envoy, String> {
        let folder =
            TempDir::with_prefix("rollout-envoy-").expect("the system's temporary folder is writable");
        let ecds = folder.path().join(if self.json_ecds { "ecds.json" } else { "ecds.yaml" });
        let shipped = config::shipped_yaml("ecds.yaml");
        std::fs::write(&ecds, shipped.to_string()).expect("the private folder is writable");

        let mut bootstrap = config::bootstrap(&ecds, self.clusters);
        let module = self.module;
        config::set_filter(&mut bootstrap, self.filter, || {
            module.clone().unwrap_or_else(crate::module::build)
        });
        for change in self.tweaks {
            change(&mut bootstrap);
        }
        let written = folder.path().join("envoy.json");
        std::fs::write(&written, bootstrap.to_string()).expect("the private folder is writable");

        let log = folder.path().join("envoy.log");
        let admin_file = folder.path().join("admin-address");
        let output = std::fs::File::create(&log).expect("the private folder is writable");
        let (levels, level): (Vec<&str>, Vec<&str>) =
            self.log_level.split(',').partition(|word| word.contains(':'));
        let mut command = Command::new(crate::module::envoy());
        command
            .arg("-c")
            .arg(&written)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--log-level", level.first().unwrap_or(&"info")])
            // Without hot restart there is no shared memory that a killed Envoy could leave behind.
            .arg("--disable-hot-restart")
            .args(&self.arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output);
        if !levels.is_empty() {
            command.args(["--component-log-level", &levels.join(",")]);
        }
        if self.own_group {
            command.process_group(0);
        }
        let process = Process::spawn(command);
        Envoy::attach(
            Envoy { process, module, ecds, log, folder, admin: unset(), address: unset() },
            &admin_file,
        )
    }
}

/// A running Envoy.
pub struct Envoy {
    process: Process,
    module: Option<PathBuf>,
    ecds: PathBuf,
    log: PathBuf,
    folder: TempDir,
    admin: SocketAddr,
    address: SocketAddr,
}

impl Envoy {
    /// Starts to describe an Envoy of the shipped configuration.
    pub fn builder() -> Builder {
        Builder {
            clusters: Vec::new(),
            concurrency: 1,
            filter: Filter::Ecds,
            log_level: "info".into(),
            arguments: Vec::new(),
            tweaks: Vec::new(),
            module: None,
            json_ecds: false,
            own_group: false,
        }
    }

    /// Waits until the started process is ready and learns its addresses.
    fn attach(mut self, admin_file: &Path) -> Result<Self, String> {
        let deadline = Instant::now() + START;
        let mut known = false;
        loop {
            if self.process.has_ended() || Instant::now() > deadline {
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
        Ok(self)
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
        &self.ecds
    }

    /// The module that pushes load, built at the first of them.
    fn module_path(&self) -> PathBuf {
        self.module.clone().unwrap_or_else(crate::module::build)
    }

    /// The private folder: bootstrap, ECDS file and log; removed at the end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// A POST to the admin, for `/logging`, `/healthcheck/fail`, `/runtime_modify` and their kin.
    pub fn admin_post(&self, path: &str) -> String {
        let answer = Client::new(self.admin).send(Request::new("POST", path));
        answer.unwrap_or_else(|failure| panic!("admin {path}: {failure}")).text()
    }

    /// One counter or gauge; 0 while it does not exist.
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

    /// How often a crashed VM was made anew or is about to be; 0 in a healthy filter.
    pub fn vm_reloads(&self) -> u64 {
        self.stats(r"^wasm\..*vm_reload").values().sum()
    }

    /// Waits until `met` returns something; panics after 20 seconds, naming `what` and showing the log's end.
    pub fn wait_for<T>(&self, what: &str, mut met: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = met(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; Envoy's log:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a document of this revision runs.
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
        self.process.id()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.process.rss_kib()
    }

    /// CPU time of the worker threads so far, by the kernel's clock of each.
    pub fn worker_cpu_nanos(&self) -> u64 {
        self.process.worker_cpu_nanos()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// The whole log so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of the log, without the lists of extensions and headers that every start prints.
    fn log_tail(&self) -> String {
        let log = self.log();
        let telling = |line: &&str| !line.contains("]   envoy.") && !line.contains(" header map: ");
        let lines: Vec<&str> = log.lines().filter(telling).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

fn unset() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
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
