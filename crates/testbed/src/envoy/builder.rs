//! From a description to a running Envoy.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::config::{self, Cluster, EcdsFiles, routes, shadow_entry};
use super::filter::Filter;
use super::process::Process;
use super::running::{Envoy, Started};
use crate::module;

type Tweak = Box<dyn FnOnce(&mut Value)>;

/// A description of an Envoy, started by [`Builder::start`].
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
    /// Adds a cluster. The first one serves the fail-safe route, unless a cluster has the name in that route
    /// (`fraud-v1`). Without any, the shipped clusters stay.
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

    /// The filter in place of the rollout filter; the shipped ECDS filter unless set.
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

    /// The module to push, instead of building one.
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

    /// Starts Envoy and returns when it is ready. Panics with the end of its log if it does not become ready.
    pub fn start(self) -> Envoy {
        self.try_start().unwrap_or_else(|log| panic!("Envoy did not start; the end of its log:\n{log}"))
    }

    /// Starts Envoy. If it rejects its configuration, the error is the end of its log.
    pub fn try_start(self) -> Result<Envoy, String> {
        let folder =
            TempDir::with_prefix("rollout-envoy-").expect("the system's temporary folder is writable");
        let ending = if self.json_ecds { "json" } else { "yaml" };
        let file = |name: &str| {
            let shipped = config::shipped_yaml(&format!("{name}.yaml"));
            let path = folder.path().join(format!("{name}.{ending}"));
            std::fs::write(&path, shipped.to_string()).expect("the private folder is writable");
            path
        };
        let ecds = EcdsFiles { main: file("ecds"), shadow: file("ecds-shadow") };

        let mut bootstrap = config::bootstrap(&ecds, self.clusters);
        let wasm = self.module;
        config::set_filter(&mut bootstrap, self.filter, || wasm.clone().unwrap_or_else(module::build));
        for change in self.tweaks {
            change(&mut bootstrap);
        }
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        let has_copies = clusters.is_some_and(|all| all.iter_mut().any(|one| shadow_entry(one).is_some()));
        let written = folder.path().join("envoy.json");
        std::fs::write(&written, bootstrap.to_string()).expect("the private folder is writable");

        let log = folder.path().join("envoy.log");
        let admin_file = folder.path().join("admin-address");
        let output = std::fs::File::create(&log).expect("the private folder is writable");
        let (levels, level): (Vec<&str>, Vec<&str>) =
            self.log_level.split(',').partition(|word| word.contains(':'));
        let mut command = Command::new(module::envoy());
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
        Envoy::attach(
            Started { process: Process::spawn(command), module: wasm, ecds, has_copies, log, folder },
            &admin_file,
        )
    }
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
}
