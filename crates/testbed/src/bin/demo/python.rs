//! The Python of the demo: an environment with MLServer and scikit-learn, and commands that are run to their end.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use testbed::module::workspace;

use crate::interrupt::{Interrupt, Stop};
use crate::screen::Wait;

/// Where the scripts are.
pub(crate) fn sources() -> PathBuf {
    workspace().join("crates/testbed/models")
}

/// The Python of an environment with MLServer; a changed list of requirements makes a new one.
pub(crate) fn environment(folder: &Path, interrupt: &Interrupt) -> Result<PathBuf, Stop> {
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
pub(crate) trait OutputOf {
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
