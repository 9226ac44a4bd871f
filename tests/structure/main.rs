//! The direction of the imports, read from the sources: no circle of files in any crate, the floors of the core, and which package
//! may know which. `docs/architecture.md` gives the reasons.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop with the reason")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use source::{Imports, imports, words};
use testbed::module::workspace;

/// A circle of imports, from a file back to itself; `None` if there is none.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| walk(imports, file, &mut Vec::new(), &mut done))
}

fn walk<'i>(
    imports: &'i Imports,
    file: &'i str,
    path: &mut Vec<&'i str>,
    done: &mut BTreeSet<&'i str>,
) -> Option<Vec<String>> {
    if path.contains(&file) {
        let circle = path.iter().skip_while(|known| **known != file).chain([&file]);
        return Some(circle.map(|file| (*file).to_owned()).collect());
    }
    if !done.insert(file) {
        return None;
    }
    path.push(file);
    let found = imports.get(file).into_iter().flatten().find_map(|next| walk(imports, next, path, done));
    path.pop();
    found
}

/// The rooms of the core with their floors: a file imports from lower floors and from its own room.
const FLOORS: [(&str, u8); 14] = [
    ("compare", 6),
    ("compile", 6),
    ("decide", 5),
    ("guardrail", 5),
    ("decision", 4),
    ("health", 4),
    ("plan", 3),
    ("request", 2),
    ("copy", 1),
    ("hash", 1),
    ("time", 1),
    ("header", 1),
    ("lease", 1),
    ("metric", 1),
];

/// The imports that run up or along a floor. The front door, `lib.rs`, hands on what it likes.
fn climbs(imports: &Imports) -> Vec<String> {
    let room = |file: &str| {
        let inside = file.split_once("src/").map_or(file, |(_, inside)| inside);
        inside.split(['/', '.']).next().unwrap_or_default().to_owned()
    };
    let floor = |room: &str| FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor);
    let mut found = Vec::new();
    for (file, targets) in imports.iter().filter(|(file, _)| !file.ends_with("src/lib.rs")) {
        for target in targets {
            let (from, to) = (room(file), room(target));
            let is_lower = floor(&from).zip(floor(&to)).is_some_and(|(from, to)| from > to);
            if from != to && !is_lower {
                found.push(format!("{file} imports {target}"));
            }
        }
    }
    found
}

/// What Cargo knows of the workspace.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

/// A source by its path in the workspace.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(workspace().join(path)).ok()
}

/// The imports of every crate of the workspace, by its root file: libraries, programs, tests, benchmarks and examples.
fn crates() -> BTreeMap<String, Imports> {
    let packages = packages();
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().expect("targets"));
    let roots = targets.filter_map(|target| {
        let path = target["src_path"].as_str()?.strip_prefix(workspace().to_str()?)?;
        Some(path.trim_start_matches('/').to_owned())
    });
    roots.map(|root| (root.clone(), imports(&root, &read))).collect()
}

#[test]
fn no_crate_has_a_circle_of_imports() {
    let crates = crates();
    for root in
        ["src/lib.rs", "crates/core/src/lib.rs", "crates/cli/src/main.rs", "crates/testbed/src/lib.rs"]
    {
        let imports = crates.get(root).unwrap_or_else(|| panic!("{root} was not read"));
        assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 5, "{root}: {imports:?}");
    }
    let circles: Vec<_> =
        crates.values().filter_map(circle).map(|circle| circle.join("\n  imports ")).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n\n"));
}

#[test]
fn the_core_imports_downwards() {
    let climbs = climbs(&imports("crates/core/src/lib.rs", &read));
    assert!(climbs.is_empty(), "{}", climbs.join("\n"));
}

#[test]
fn only_compile_knows_the_wire_forms() {
    for (file, targets) in imports("crates/core/src/lib.rs", &read) {
        for form in ["compile/json.rs", "compile/protobuf.rs"] {
            let uses = targets.iter().any(|target| target.ends_with(form));
            assert!(!uses || file.contains("/compile/"), "{file} imports {form}");
        }
    }
}

#[test]
fn the_core_has_no_clock_no_file_and_no_output() {
    let outside =
        ["SystemTime", "Instant", "thread", "env", "process", "fs", "io", "TcpStream", "println", "eprintln"];
    for file in imports("crates/core/src/lib.rs", &read).keys() {
        let words = words(&read(file).unwrap_or_default());
        // The murmur3 package reads through `std::io::Read`; what it is given to read is in memory.
        let reads_memory = |name: &str| name == "io" && file.ends_with("hash/murmur3.rs");
        let is_named = |name: &&str| words.iter().any(|word| word == name) && !reads_memory(name);
        let found: Vec<&str> = outside.into_iter().filter(is_named).collect();
        assert!(found.is_empty(), "{file} names {found:?}");
    }
}

#[test]
fn only_the_host_file_of_the_filter_calls_the_host() {
    for file in imports("src/lib.rs", &read).keys() {
        let calls = words(&read(file).unwrap_or_default()).iter().any(|word| word == "hostcalls");
        assert_eq!(calls, file == "src/host.rs", "{file}");
    }
}

#[test]
fn packages_depend_in_one_direction() {
    let known: [(&str, &[&str]); 3] =
        [("rollout-core", &[]), ("rollout-filter", &["rollout-core"]), ("rolloutctl", &["rollout-core"])];
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        let shipped = all.filter(|dependency| dependency["kind"] != "dev");
        let names: BTreeSet<&str> = shipped.filter_map(|dependency| dependency["name"].as_str()).collect();
        assert_eq!(names.contains("proxy-wasm"), name == "rollout-filter", "{name}");
        if let Some((_, allowed)) = known.iter().find(|(known, _)| *known == name) {
            let members: Vec<&str> = names.intersection(&members).copied().collect();
            assert_eq!(members, *allowed, "{name}");
        }
    }
}

/// Made-up files, one per line, and the circle in them.
struct Example {
    about: &'static str,
    files: &'static str,
    circle: &'static str,
}

const EXAMPLES: [Example; 10] = [
    Example {
        about: "two files by `crate`, in groups of names",
        files: "lib.rs: mod a; mod b;
                a.rs: use crate::{b::{One, Two}, c};
                b.rs: pub(crate) use crate::a::Three;",
        circle: "a.rs b.rs a.rs",
    },
    Example {
        about: "a qualified path in a signature, behind marks that look like others",
        files: "lib.rs: mod a; mod b;
                a.rs: fn f() -> B { g('}', '\\'', b\"{\", \"{\"); super::b::f() }
                b.rs: fn f<'a>(of: &'a crate::a::A) {}",
        circle: "a.rs b.rs a.rs",
    },
    Example {
        about: "a child that imports from the parent that imports from it",
        files: "lib.rs: mod room;
                room/mod.rs: mod child; use self::child::Child; struct Own;
                room/child.rs: use super::Own;",
        circle: "room/child.rs room/mod.rs room/child.rs",
    },
    Example {
        about: "a child that is called by its name without a `use`",
        files: "main.rs: mod child; fn main() { child::run() }
                child.rs: use crate::Own;",
        circle: "child.rs main.rs child.rs",
    },
    Example {
        about: "three files, one of them by a name that a `use` gave",
        files: "lib.rs: mod a; mod b; mod room;
                a.rs: use crate::room as other; fn f() { other::deep::g() }
                b.rs: use super::a::f;
                room.rs: pub(crate) mod deep;
                room/deep.rs: mod tests { use crate::b; }",
        circle: "a.rs room/deep.rs b.rs a.rs",
    },
    Example {
        about: "a name of the parent that the parent has from another child",
        files: "lib.rs: mod room;
                room/mod.rs: mod one; mod two; pub(crate) use one::One; pub(crate) use two::Two;
                room/one.rs: pub(crate) struct One;
                room/two.rs: use super::{One,};",
        circle: "room/mod.rs room/two.rs room/mod.rs",
    },
    Example {
        about: "no circle: a parent that only declares its children",
        files: "lib.rs: mod room;
                room/mod.rs: mod child; pub(super) struct Own;
                room/child.rs: use super::Own;",
        circle: "",
    },
    Example {
        about: "no circle: comments, texts and raw texts",
        files: "lib.rs: mod a; mod b;
                a.rs: use crate::b::B;
                b.rs: /* crate::a */ const T: [&str; 2] = [\"\\\"crate::a\", r#\"\"crate::a::A\"#]; // crate::a",
        circle: "",
    },
    Example {
        about: "no circle: tests inside a file, siblings downwards, other crates",
        files: "lib.rs: mod a; mod b; pub use a::A;
                a.rs: use std::fmt::{self, b}; use super::b::{B,}; mod tests { use super::*; use super::super::b; }
                b.rs: use other::a::A; fn f() { fmt::a::b(); <A as B>::a::f() }",
        circle: "",
    },
    Example {
        about: "no circle: a child that names only its siblings, and their children",
        files: "lib.rs: mod room; use room::two;
                room/mod.rs: pub(super) mod one; pub(super) mod two; use one::One;
                room/one.rs: pub(super) mod inner; use self::inner::I;
                room/one/inner.rs: pub(crate) struct I;
                room/two.rs: use super::one::inner::I;",
        circle: "",
    },
];

/// The imports of made-up files, the first of which is the root.
fn made_up(files: &str) -> Imports {
    let files: Vec<(&str, &str)> = files.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    let root = files.first().expect("a root").0;
    imports(root, &|path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned()))
}

#[test]
fn a_circle_is_found_in_made_up_files_and_only_if_there_is_one() {
    for Example { about, files, circle: expected } in EXAMPLES {
        assert_eq!(circle(&made_up(files)).unwrap_or_default().join(" "), expected, "{about}");
    }
}

#[test]
fn an_import_that_runs_up_or_along_a_floor_is_found() {
    let imports = made_up(
        "src/lib.rs: mod plan; mod request; mod decide; mod guardrail; mod store; use decide::D;
         src/plan.rs: use crate::request::R;
         src/request.rs: use crate::plan::P;
         src/decide.rs: use crate::guardrail::G; use crate::plan::P;
         src/guardrail.rs: use crate::store::S;
         src/store.rs: struct S;",
    );
    let expected = [
        "src/decide.rs imports src/guardrail.rs",
        "src/guardrail.rs imports src/store.rs",
        "src/request.rs imports src/plan.rs",
    ];
    assert_eq!(climbs(&imports), expected);
}
