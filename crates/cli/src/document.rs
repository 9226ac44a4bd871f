//! A document from a file or standard input, and the one way to report that it has problems.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use rollout_core::{Compiled, MAX_BYTES, Problem, Refused, compile};
use serde::Serialize;

use crate::output::{self, BAD, TITLE, paint};

/// The bytes of a document, not yet checked.
pub(crate) struct Document {
    name: String,
    bytes: Vec<u8>,
}

/// A document that can be served.
pub(crate) struct Loaded {
    pub(crate) text: String,
    pub(crate) compiled: Compiled,
}

impl Document {
    /// Reads a file, or standard input for `-`. Stops after what the core accepts, so an endless file becomes a problem.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let limit = u64::try_from(MAX_BYTES)?.saturating_add(1);
        let name = display_name(path);
        let mut bytes = Vec::new();
        let read = if is_stdin(path) {
            io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        read.with_context(|| format!("can't read {name}"))?;
        Ok(Self { name, bytes })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn compile(&self) -> Result<Compiled, Refused> {
        compile(&self.bytes)
    }

    /// Compiles a document that must have no problems.
    pub(crate) fn load(self) -> Result<Loaded> {
        match self.compile() {
            Ok(compiled) => Ok(Loaded { text: String::from_utf8(self.bytes)?, compiled }),
            Err(refused) => Err(Rejected(vec![(self.name, refused)]).into()),
        }
    }

    /// Compiles two documents that must have no problems, and reports the problems of both.
    pub(crate) fn load_both(old: Self, new: Self) -> Result<(Loaded, Loaded)> {
        match (old.load(), new.load()) {
            (Ok(old), Ok(new)) => Ok((old, new)),
            (Err(old), Err(new)) => Err(Rejected::merge(old.downcast()?, new.downcast()?).into()),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        }
    }
}

pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn display_name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { format!("`{}`", path.display()) }
}

/// One or more documents that can't be served, each with its name.
#[derive(Debug)]
pub(crate) struct Rejected(Vec<(String, Refused)>);

impl Rejected {
    fn merge(mut first: Self, second: Self) -> Self {
        first.0.extend(second.0);
        first
    }

    /// All problems, one per line, and a line that sums them up.
    pub(crate) fn text(&self) -> String {
        let sections = self.0.iter().map(|(name, refused)| problems_text(name, &refused.problems));
        sections.collect::<Vec<_>>().join("\n")
    }

    /// The answer of `check`: every other subcommand reports an invalid document in the same way.
    pub(crate) fn verdict(&self) -> Verdict<'_> {
        let several = self.0.len() > 1;
        let problems = self.0.iter().flat_map(|(name, refused)| {
            let place = move |problem: &Problem| {
                if several { format!("{name}: {}", problem.path) } else { problem.path.clone() }
            };
            refused
                .problems
                .iter()
                .map(move |problem| Finding { path: place(problem), message: &problem.message })
        });
        let hash = self.0.first().filter(|_| !several).and_then(|(_, refused)| refused.hash);
        Verdict { ok: false, hash, problems: problems.collect(), warnings: Vec::new() }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the document has problems")
    }
}

impl std::error::Error for Rejected {}

/// The problems of one document for people.
pub(crate) fn problems_text(name: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{}: {}", paint(TITLE, &problem.path), problem.message);
    }
    let _ = write!(text, "{name}: {}", paint(BAD, output::count(problems.len(), "problem")));
    text
}

/// Whether a document can be served.
#[derive(Serialize)]
pub(crate) struct Verdict<'d> {
    ok: bool,
    hash: Option<u32>,
    problems: Vec<Finding<'d>>,
    warnings: Vec<Finding<'d>>,
}

#[derive(Serialize)]
struct Finding<'d> {
    path: String,
    message: &'d str,
}

impl<'d> Verdict<'d> {
    /// With `denies_warnings`, a document with warnings is not ok.
    pub(crate) fn of(result: &'d Result<Compiled, Refused>, denies_warnings: bool) -> Self {
        let findings = |list: &'d [Problem]| {
            list.iter().map(|of| Finding { path: of.path.clone(), message: &of.message }).collect()
        };
        match result {
            Ok(Compiled { plan, warnings }) => {
                let hash = Some(plan.hash());
                let ok = warnings.is_empty() || !denies_warnings;
                Self { ok, hash, problems: Vec::new(), warnings: findings(warnings) }
            }
            Err(Refused { hash, problems }) => {
                Self { ok: false, hash: *hash, problems: findings(problems), warnings: Vec::new() }
            }
        }
    }
}
