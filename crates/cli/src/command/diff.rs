//! `diff`: which units a change moves, and on request what a freeze does not allow. Matches, clusters and headers are compared only
//! for a freeze.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Result, bail};
use rollout_core::{Plan, Rollout, Time, decide_unit};
use serde::Serialize;

use crate::args::{Diff, Format, Population};
use crate::document::{Document, is_stdin};
use crate::exit::Exit;
use crate::freeze::{self, Frozen};
use crate::output::percent::Percent;
use crate::output::stamp::Stamp;
use crate::output::{self, BAD, GOOD, TITLE, WARNING, paint};

#[derive(Serialize)]
struct Comparison {
    rollouts: Vec<Change>,
    /// Absent unless `--enforce` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<Vec<Frozen>>,
    /// Why the refused changes pass. Absent if nothing was refused, or nothing lets it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    overridden: Option<String>,
}

#[derive(Serialize)]
struct Change {
    name: String,
    moved_percent: Percent,
    moves: Vec<Move>,
    /// What explains the moves, or a change that moves nobody. Absent if nothing has to be explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Null stands for a rollout that the document does not have.
#[derive(Serialize)]
struct Move {
    from: Option<String>,
    to: Option<String>,
    percent: Percent,
}

pub(super) fn run(args: &Diff, format: Format) -> Result<Exit> {
    if is_stdin(&args.old) && is_stdin(&args.new) {
        bail!("the documents can't both come from standard input");
    }
    let (old, new) = Document::load_both(Document::read(&args.old)?, Document::read(&args.new)?)?;
    let now = args.moment.time();
    let rollouts = compare(&old.compiled.plan, &new.compiled.plan, &args.population, now);
    let judge = || freeze::judge(&old, &new, &args.population, now);
    let frozen = args.enforce.then(judge).transpose()?;
    let refused = frozen.iter().flatten().any(|frozen| frozen.refused);
    let answer = Comparison { rollouts, frozen, overridden: args.overridden.clone().filter(|_| refused) };
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::text(&text(&answer, now))?,
    }
    let passes = !refused || answer.overridden.is_some();
    Ok(if passes { Exit::Fine } else { Exit::No })
}

/// A rollout of a plan.
#[derive(Clone, Copy)]
struct PlannedRollout<'p> {
    plan: &'p Plan,
    rollout: &'p Rc<Rollout>,
    now: Time,
}

impl<'p> PlannedRollout<'p> {
    fn find(plan: &'p Plan, name: &str, now: Time) -> Option<Self> {
        let rollout = plan.rollouts().iter().find(|rollout| rollout.name() == name)?;
        Some(Self { plan, rollout, now })
    }

    /// Position of the version of a unit.
    fn version(self, unit: &str) -> Option<usize> {
        let decided = decide_unit(self.plan, self.rollout, unit.as_bytes(), self.now).version.ordinal();
        self.rollout.versions().iter().position(|version| version.ordinal() == decided)
    }

    fn name(self, position: usize) -> Option<&'p str> {
        self.rollout.versions().get(position).map(|version| version.name())
    }
}

/// The rollouts of the new document in document order, then those that it no longer has.
fn compare(old: &Plan, new: &Plan, population: &Population, now: Time) -> Vec<Change> {
    let kept = new.rollouts().iter().map(|rollout| rollout.name());
    let removed = old.rollouts().iter().map(|rollout| rollout.name());
    let names = kept.chain(removed.filter(|name| PlannedRollout::find(new, name, now).is_none()));
    let changes = names.map(|name| {
        let [old, new] = [old, new].map(|plan| PlannedRollout::find(plan, name, now));
        change(name, old, new, population)
    });
    changes.collect()
}

fn change(
    name: &str,
    old: Option<PlannedRollout<'_>>,
    new: Option<PlannedRollout<'_>>,
    population: &Population,
) -> Change {
    let mut pairs: BTreeMap<(Option<usize>, Option<usize>), u64> = BTreeMap::new();
    population.each(|unit| {
        let pair = (old.and_then(|old| old.version(unit)), new.and_then(|new| new.version(unit)));
        let count = pairs.entry(pair).or_default();
        *count = count.saturating_add(1);
    });
    let label =
        |side: Option<PlannedRollout<'_>>, position: Option<usize>| side?.name(position?).map(str::to_owned);
    let mut moved = 0_u64;
    let mut moves = Vec::new();
    for ((from, to), units) in pairs {
        let (from, to) = (label(old, from), label(new, to));
        if from != to {
            moved = moved.saturating_add(units);
            moves.push(Move { from, to, percent: Percent::of(units, population.units) });
        }
    }
    moves.sort_by_key(|found| std::cmp::Reverse(found.percent)); // stable: document order among equals
    let notes = old.zip(new).map(|(old, new)| [taken_back(old, new), compared_differently(old, new)]);
    let notes: Vec<String> = notes.into_iter().flatten().flatten().collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Change { name: name.to_owned(), moved_percent: Percent::of(moved, population.units), moves, note }
}

/// A note if the ramp is the same and pauses or freezes take back what it has gained: those of the past count as well.
fn taken_back(old: PlannedRollout<'_>, new: PlannedRollout<'_>) -> Option<String> {
    let ((version, old_ramp), (_, new_ramp)) = old.rollout.ramp().zip(new.rollout.ramp())?;
    let [was, is] = [old_ramp, new_ramp].map(|ramp| ramp.exposure(old.now));
    let takes_back = is < was && old_ramp.has_course_of(new_ramp);
    takes_back.then(|| {
        let [was, is] = [was, is].map(Percent::from);
        format!(
            "the ramp of {} falls from {was} to {is}, because pauses and freezes also count for the past; \
             let them begin now or later (`from`, or `since` of a weekly freeze)",
            version.name()
        )
    })
}

/// A note if answers of shadows are compared by other rules, which decides nothing.
fn compared_differently(old: PlannedRollout<'_>, new: PlannedRollout<'_>) -> Option<String> {
    let changed = new.rollout.shadows().filter(|shadow| {
        let before = old.rollout.shadows().find(|before| before.version.name() == shadow.version.name());
        before.is_some_and(|before| before.compare() != shadow.compare())
    });
    let names: Vec<_> = changed.map(|shadow| shadow.version.name()).collect();
    let says = || format!("how answers of {} are compared changes, which moves nobody", names.join(" and "));
    (!names.is_empty()).then(says)
}

fn text(answer: &Comparison, now: Time) -> String {
    let moves = moves_text(answer);
    match answer.frozen.as_deref() {
        None => moves,
        Some([]) => format!("{moves}\nnothing is frozen at {}\n", Stamp(now)),
        Some(frozen) => {
            let frozen: String = frozen.iter().map(frozen_text).collect();
            let overridden = answer.overridden.iter();
            let overridden =
                overridden.map(|reason| format!("\n{}: {reason}\n", paint(WARNING, "overridden")));
            moves + &frozen + &overridden.collect::<String>()
        }
    }
}

fn frozen_text(frozen: &Frozen) -> String {
    let verdict = if frozen.refused { paint(BAD, "refused") } else { paint(GOOD, "allowed") };
    let reason = frozen.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut text =
        format!("\n{}: frozen until {}{reason}: {verdict}\n", paint(TITLE, &frozen.rollout), frozen.until);
    for change in &frozen.changes {
        let _ = writeln!(text, "  {}: {}", change.path, change.message);
    }
    text
}

fn moves_text(answer: &Comparison) -> String {
    if answer.rollouts.is_empty() {
        return "no rollouts\n".to_owned();
    }
    let sections = answer.rollouts.iter().map(|change| {
        let name = paint(TITLE, &change.name);
        let note = change.note.iter().map(|note| format!("  {note}\n")).collect::<String>();
        if change.moves.is_empty() {
            return format!("{name}: {}\n{note}", paint(GOOD, "no unit moves"));
        }
        let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let rows = change
            .moves
            .iter()
            .map(|found| vec![shown(&found.from), shown(&found.to), found.percent.to_string()]);
        let table = output::table(&["from", "to", "units"], 2, rows);
        let moved = paint(WARNING, format_args!("{} of the units move", change.moved_percent));
        format!("{name}: {}{moved}\n{table}{note}", presence(change))
    });
    sections.collect::<Vec<_>>().join("\n")
}

/// A note if only one of the documents has the rollout.
fn presence(change: &Change) -> &'static str {
    if change.moves.iter().all(|found| found.from.is_none()) {
        "new, "
    } else if change.moves.iter().all(|found| found.to.is_none()) {
        "removed, "
    } else {
        ""
    }
}
