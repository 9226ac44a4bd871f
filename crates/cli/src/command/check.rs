//! `check`: whether a document can be served. Its problems are the answer here, so they go to standard output.

use std::fmt::Write as _;

use anyhow::Result;
use rollout_core::Compiled;

use crate::args::{Check, Format};
use crate::document::{Document, Verdict, problems_text};
use crate::exit::Exit;
use crate::output::{self, BAD, GOOD, TITLE, WARNING, paint};

pub(super) fn run(args: &Check, format: Format) -> Result<Exit> {
    let document = Document::read(&args.file)?;
    let result = document.compile();
    match (format, &result) {
        (Format::Json, _) => output::json(&Verdict::of(&result, args.deny_warnings))?,
        (Format::Text, Ok(compiled)) => output::text(&good(document.name(), compiled, args.deny_warnings))?,
        (Format::Text, Err(refused)) => {
            output::text(&(problems_text(document.name(), &refused.problems) + "\n"))?;
        }
    }
    let is_fine = result.is_ok_and(|compiled| compiled.warnings.is_empty() || !args.deny_warnings);
    Ok(if is_fine { Exit::Fine } else { Exit::Problems })
}

fn good(name: &str, Compiled { plan, warnings }: &Compiled, denies_warnings: bool) -> String {
    let mut text = String::new();
    for warning in warnings {
        let (path, message) = (paint(TITLE, &warning.path), &warning.message);
        let _ = writeln!(text, "{} {path}: {message}", paint(WARNING, "warning:"));
    }
    if denies_warnings && !warnings.is_empty() {
        let count = output::count(warnings.len(), "warning");
        let _ = writeln!(text, "{name}: {}", paint(BAD, format_args!("{count}, denied")));
        return text;
    }
    let rollouts = output::count(plan.rollouts().len(), "rollout");
    let warned = match warnings.len() {
        0 => String::new(),
        count => format!(", {}", output::count(count, "warning")),
    };
    let (revision, hash) = (plan.revision(), plan.hash());
    let _ =
        writeln!(text, "{name}: {}, {rollouts}, revision {revision}, hash {hash}{warned}", paint(GOOD, "ok"));
    text
}
