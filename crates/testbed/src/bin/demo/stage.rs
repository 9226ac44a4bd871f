//! Sets the stage: a Python environment with MLServer, two trained models, their servers, and a real Envoy from the shipped
//! configuration. What was installed and trained stays in `.models` for the next time; what was started ends with the stage.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use testbed::module::workspace;
use testbed::{Client, Cluster, Envoy, PATIENCE};

use crate::interrupt::{Interrupt, Stop};
use crate::screen::{Wait, note};

/// Where a version of the model is asked whether it can answer.
const READY: &str = "/v2/models/breast-cancer/ready";

/// The actors.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    /// The servers of v1 and v2.
    pub(crate) models: [Model; 2],
    /// Real questions: Open Inference Protocol requests made from the rows of the data set.
    pub(crate) questions: Vec<String>,
}

impl Stage {
    /// Installs what is missing, trains, and starts everything.
    pub(crate) fn set(interrupt: &Interrupt) -> Result<Self, Stop> {
        let folder = workspace().join(".models");
        let python = environment(&folder, interrupt)?;
        let trained = folder.join("trained");
        let words =
            "training two models on the breast-cancer data set: logistic regression, gradient boosting";
        let train = Command::new(&python)
            .arg(sources().join("train.py"))
            .arg(&trained)
            .output_of(words, interrupt)?;
        train.lines().filter(|line| line.contains("accuracy")).for_each(note);
        let text = fs::read_to_string(trained.join("requests.json")).map_err(|error| error.to_string())?;
        let questions: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;

        let waiting = Wait::begin("starting two MLServers and Envoy");
        let first = free_port(20_000 + std::process::id() % 10_000)?;
        let second = free_port(u32::from(first) + 1)?;
        let mut models =
            [("v1", first), ("v2", second)].map(|(name, port)| Model::new(name, port, &python, &trained));
        for model in &mut models {
            model.start()?;
        }
        for model in &mut models {
            model.wait_ready(interrupt)?;
        }
        let clusters = models.iter().flat_map(|model| {
            let copies = Cluster::new(&format!("{}-copies", model.cluster()), &[model.port]).copies();
            [Cluster::new(&model.cluster(), &[model.port]), copies]
        });
        let envoy =
            Envoy::builder().clusters(clusters).concurrency(2).module(module()).own_process_group().start();
        drop(waiting);
        let ports = models.each_ref().map(|model| model.port);
        note(&format!(
            "MLServer v1 on :{}, v2 on :{}, Envoy on :{}",
            ports[0],
            ports[1],
            envoy.address().port()
        ));
        Ok(Self { envoy, models, questions: questions.iter().map(ToString::to_string).collect() })
    }
}

/// The filter, as `make demo` has just built it.
pub(crate) fn module() -> PathBuf {
    workspace().join("dist/rollout_filter.wasm")
}

fn sources() -> PathBuf {
    workspace().join("crates/testbed/models")
}

/// The Python of an environment with MLServer; a changed list of requirements makes a new one.
fn environment(folder: &Path, interrupt: &Interrupt) -> Result<PathBuf, Stop> {
    let requirements = sources().join("requirements.txt");
    let mut hasher = DefaultHasher::new();
    fs::read(&requirements)
        .map_err(|error| format!("{}: {error}", requirements.display()))?
        .hash(&mut hasher);
    let home = folder.join(format!("python-{:016x}", hasher.finish()));
    let (python, complete) = (home.join("bin/python"), home.join(".complete"));
    if !complete.exists() {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        Command::new(fitting_python()?)
            .args(["-m", "venv"])
            .arg(&home)
            .output_of("making a Python environment", interrupt)?;
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--progress-bar",
                "off",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&requirements)
            .output_of(
                "installing MLServer and scikit-learn (60 packages, 400 MB), two minutes the first time",
                interrupt,
            )?;
        fs::write(&complete, "").map_err(|error| error.to_string())?;
    }
    Ok(python)
}

/// Runs a command to its end, showing these words meanwhile.
trait OutputOf {
    fn output_of(&mut self, words: &str, interrupt: &Interrupt) -> Result<String, Stop>;
}

impl OutputOf for Command {
    fn output_of(&mut self, words: &str, interrupt: &Interrupt) -> Result<String, Stop> {
        let mut waiting = Wait::begin(words);
        let fault = |error: std::io::Error| format!("{words}: {error}");
        let written = tempfile::NamedTempFile::new().map_err(fault)?;
        let text = || Ok(String::from_utf8_lossy(&fs::read(written.path())?).into_owned());
        let handle = || written.as_file().try_clone().map_err(fault);
        // A group of its own, so that an interrupt ends pip with all that pip started.
        self.stdin(Stdio::null()).stdout(handle()?).stderr(handle()?).process_group(0);
        let mut group = Group(self.spawn().map_err(fault)?);
        let status = loop {
            if let Some(status) = group.0.try_wait().map_err(fault)? {
                break status;
            }
            interrupt.check()?;
            waiting.follow(text().map_err(fault)?.lines().next_back().unwrap_or_default());
            std::thread::sleep(Duration::from_millis(100));
        };
        let text = text().map_err(fault)?;
        if status.success() { Ok(text) } else { Err(Stop::Failed(format!("{words}: {status}\n{text}"))) }
    }
}

/// A free port below those that the system gives to outgoing connections (32768 and up, or 49152): while a server is down nobody
/// else may come to sit on its port, not even a connection to itself.
fn free_port(from: u32) -> Result<u16, Stop> {
    let mut ports = (from..32_000).filter_map(|port| u16::try_from(port).ok());
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Stop::Failed("no free port between 20000 and 32000".to_owned()))
}

/// The Python that MLServer 1.7 runs on: 3.11 or 3.12.
fn fitting_python() -> Result<&'static str, Stop> {
    let fits = |name: &&str| {
        let check = "import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))";
        Command::new(name).args(["-c", check]).status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "python3.12", "python3.11"].into_iter().find(fits);
    found.ok_or_else(|| {
        Stop::Failed("MLServer needs Python 3.11 or 3.12, and neither is on the path".to_owned())
    })
}

/// A command and all that it started; ends with its owner.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Not reaped yet, so the id is still its own.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// A version of the model and the process that serves it.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    port: u16,
    python: PathBuf,
    folder: PathBuf,
    process: Option<Child>,
}

impl Model {
    fn new(name: &'static str, port: u16, python: &Path, trained: &Path) -> Self {
        Self { name, port, python: python.into(), folder: trained.join(name), process: None }
    }

    /// The name of its cluster in Envoy.
    pub(crate) fn cluster(&self) -> String {
        format!("breast-cancer-{}", self.name)
    }

    /// Starts the server, in a process group of its own: a terminal's Ctrl-C is for the demo alone.
    pub(crate) fn start(&mut self) -> Result<(), Stop> {
        let log = fs::File::create(self.folder.join("server.log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.python);
        command
            .arg(sources().join("serve.py"))
            .arg(&self.folder)
            .env("MLSERVER_HTTP_PORT", self.port.to_string());
        // The server ends when its standard input does, so it can't outlive the demo.
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0);
        self.process = Some(command.spawn().map_err(|error| format!("{}: {error}", self.python.display()))?);
        Ok(())
    }

    /// Waits until the model can answer.
    pub(crate) fn wait_ready(&mut self, interrupt: &Interrupt) -> Result<(), Stop> {
        let deadline = Instant::now() + PATIENCE;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while !Client::new(address).get(READY, &[]).is_ok_and(|response| response.status == 200) {
            interrupt.check()?;
            let ended = self.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(Stop::Failed(format!("the server of {} did not start:\n{log}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Kills the server at once (SIGKILL), as a crash or an eviction would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.kill();
    }
}
