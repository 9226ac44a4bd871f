//! Where the things under test come from: the filter and Envoy by the `make` target that a user would type, the tool by cargo.
//! Tests build them themselves, so that they never judge yesterday's module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Most bytes that the module may have. Every worker of every proxy compiles and holds it; a larger budget is a decision to write down.
pub const SIZE_BUDGET: u64 = 520_000;

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies two folders below the root")
}

/// Builds the filter with `make wasm`, once per process, and returns the path of `dist/rollout_filter.wasm`.
pub fn build() -> PathBuf {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| artefact("wasm", "dist/rollout_filter.wasm")).clone()
}

/// Writes a module of the same code and other bytes, as an upgrade is, and returns its path.
pub fn upgraded(folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(build()).expect("the module can be read");
    bytes.extend(b"\x00\x02\x01n"); // a custom section `n` without content
    let path = folder.join("upgraded.wasm");
    std::fs::write(&path, bytes).expect("the folder is writable");
    path
}

/// Builds the tool as tests are built, with overflow checks and nothing compiled twice, and returns its path.
pub fn rolloutctl() -> PathBuf {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        let mut command = cargo("build");
        command.args(["--workspace", "--bin", "rolloutctl"]);
        succeed(command, "rolloutctl");
        existing(target().join("debug/rolloutctl"), "cargo")
    })
    .clone()
}

/// The Envoy to test with: `ENVOY` if it is set, else the pinned one that `make envoy` installs.
pub fn envoy() -> PathBuf {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("ENVOY").filter(|path| !path.is_empty()) {
                return existing(PathBuf::from(path), "the variable ENVOY");
            }
            let printed = make("envoy");
            let path = printed.lines().rev().find(|line| !line.trim().is_empty());
            existing(PathBuf::from(path.expect("`make envoy` prints a path last").trim()), "`make envoy`")
        })
        .clone()
}

/// Builds one of this crate's own filters the way a user of the SDK does, and returns its path.
pub fn built(name: &str) -> PathBuf {
    let target = target().join(name);
    let mut command = cargo("build");
    command
        .args(["--profile", "wasm", "--target", "wasm32-unknown-unknown", "--manifest-path"])
        .arg(workspace().join("crates/testbed").join(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    succeed(command, name);
    existing(target.join(format!("wasm32-unknown-unknown/wasm/{}.wasm", name.replace('-', "_"))), "cargo")
}

/// Where cargo builds this workspace.
fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args([verb, "--quiet", "--locked"]);
    command
}

fn succeed(mut command: Command, what: &str) {
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "{what} can't be built: {status}");
}

fn artefact(target: &str, path: &str) -> PathBuf {
    make(target);
    existing(workspace().join(path), &format!("`make {target}`"))
}

fn existing(path: PathBuf, source: &str) -> PathBuf {
    assert!(path.is_file(), "{source} names {}, and there is no such file", path.display());
    path
}

/// Runs one target and returns what it printed; its errors go to our own standard error.
fn make(target: &str) -> String {
    let output = Command::new("make")
        .args(["--no-print-directory", "--silent", target])
        .current_dir(workspace())
        // An outer `make -j` hands down pipes that aren't open here, and an outer cargo its own package's variables.
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("`make` can be run");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "`make {target}` failed ({}):\n{printed}", output.status);
    printed
}
