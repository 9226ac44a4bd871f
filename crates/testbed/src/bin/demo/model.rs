//! A version of the model and the MLServer that serves it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Client, PATIENCE, Request};

use crate::interrupt::{Interrupt, Stop};
use crate::python::sources;

/// Where a version of the model is asked whether it can answer.
const READY: &str = "/v2/models/breast-cancer/ready";
/// Where a server is told to read its model again.
pub(crate) const LOAD: &str = "/v2/repository/models/breast-cancer/load";

/// A free port below those that the system gives to outgoing connections (32768 and up, or 49152): while a server is down nobody
/// else may come to sit on its port, not even a connection to itself.
pub(crate) fn free_port(from: u32) -> Result<u16, Stop> {
    let mut ports = (from..32_000).filter_map(|port| u16::try_from(port).ok());
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Stop::Failed("no free port between 20000 and 32000".to_owned()))
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
    pub(crate) fn new(name: &'static str, port: u16, python: &Path, trained: &Path) -> Self {
        Self { name, port, python: python.into(), folder: trained.join(name), process: None }
    }

    /// The name of its cluster in Envoy.
    pub(crate) fn cluster(&self) -> String {
        format!("breast-cancer-{}", self.name)
    }

    /// Where its server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its server's Python.
    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    /// The file of requests, one for each row of the data set.
    pub(crate) fn requests(&self) -> PathBuf {
        self.trained().join("requests.json")
    }

    fn trained(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Makes this trained model the one that the server reads.
    pub(crate) fn put(&self, trained: &str) -> Result<(), Stop> {
        let (from, to) = (self.trained().join(trained), self.folder.join("model.joblib"));
        fs::copy(&from, to).map_err(|error| format!("{}: {error}", from.display()))?;
        Ok(())
    }

    /// Lets the running server read its model again. No request fails meanwhile.
    pub(crate) fn load(&self) -> Result<(), Stop> {
        match Client::new(self.address()).send(Request::post(LOAD, "")) {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(Stop::Failed(format!("{LOAD}: {} {}", response.status, response.text()))),
            Err(failure) => Err(Stop::Failed(format!("{LOAD}: {failure}"))),
        }
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
        while !Client::new(self.address()).get(READY, &[]).is_ok_and(|response| response.status == 200) {
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
