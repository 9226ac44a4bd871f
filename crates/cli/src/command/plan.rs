//! `plan`: the timetable of ramps, from the same function that exposes units inside Envoy. It looks at no unit and no request.

use std::rc::Rc;

use anyhow::{Result, bail};
use rollout_core::{Phase, Ramp, Rollout, Time};
use serde::Serialize;

use super::named;
use crate::args::{Format, Plan};
use crate::document::Document;
use crate::exit::Exit;
use crate::output::chart::{COLUMNS, Chart};
use crate::output::percent::Percent;
use crate::output::stamp::Stamp;
use crate::output::{self, TITLE, paint};

/// The most rows. Protects memory and the reader; every second of two days fits.
const MAX_ROWS: usize = 200_000;
/// Number of parts that a rise is shown in, unless `--every` is given.
const PARTS: u64 = 20;

#[derive(Serialize)]
struct Timetables<'p> {
    ramps: Vec<Timetable<'p>>,
}

#[derive(Serialize)]
struct Timetable<'p> {
    rollout: &'p str,
    version: &'p str,
    start: Stamp,
    /// When the exposure reaches its last value. `None` if a pause without `until` comes first.
    end: Option<Stamp>,
    rows: Vec<Row>,
    #[serde(skip)]
    ramp: &'p Ramp,
    #[serde(skip)]
    span: Span,
}

#[derive(Serialize)]
struct Row {
    at: Stamp,
    percent: Percent,
    phase: &'static str,
}

/// The range that is shown, both ends included.
#[derive(Clone, Copy)]
struct Span {
    from: Time,
    to: Time,
}

pub(super) fn run(args: &Plan, format: Format) -> Result<Exit> {
    if args.from.zip(args.to).is_some_and(|(from, to)| from > to) {
        bail!("`--from` is after `--to`");
    }
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let mut ramps = Vec::new();
    let mut rows = 0_usize;
    for rollout in named::rollouts(&plan, args.rollout.as_deref())? {
        let Some(timetable) = timetable(rollout, args)? else { continue };
        rows = rows.saturating_add(timetable.rows.len());
        if rows > MAX_ROWS {
            bail!(
                "more than {MAX_ROWS} rows; use a longer `--every`, or a shorter range from `--from` to `--to`"
            );
        }
        ramps.push(timetable);
    }
    let answer = Timetables { ramps };
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::text(&text(&answer, args.moment.time()))?,
    }
    Ok(Exit::Fine)
}

fn timetable<'p>(rollout: &'p Rc<Rollout>, args: &Plan) -> Result<Option<Timetable<'p>>> {
    let Some((version, ramp)) = rollout.ramp() else { return Ok(None) };
    let turns = ramp.turns();
    let (Some(first), Some(last)) = (turns.first().copied(), turns.last().copied()) else { return Ok(None) };
    if last > Time::LAST {
        bail!("the ramp of rollout `{}` continues after the year 9999", rollout.name());
    }
    let to = args.to.unwrap_or_else(|| last.max(args.from.unwrap_or(last)));
    let span = Span { from: args.from.unwrap_or(first.min(to)), to };
    let rows = moments(ramp, span, args.every).into_iter().map(|at| row(ramp, at));
    Ok(Some(Timetable {
        rollout: rollout.name(),
        version: version.name(),
        start: Stamp(first),
        end: (ramp.phase(last) == Phase::Done).then_some(Stamp(last)),
        rows: rows.collect(),
        ramp,
        span,
    }))
}

fn row(ramp: &Ramp, at: Time) -> Row {
    Row { at: Stamp(at), percent: ramp.exposure(at).into(), phase: ramp.phase(at).name() }
}

/// The ends of the span, every turn inside it, and the ticks; only as many ticks as it takes to see that there are too many.
fn moments(ramp: &Ramp, span: Span, every: Option<u64>) -> Vec<Time> {
    let inside = |turn: &Time| span.from <= *turn && *turn <= span.to;
    let mut corners: Vec<Time> = ramp.turns().into_iter().filter(inside).collect();
    corners.extend([span.from, span.to]);
    corners.sort_unstable();
    corners.dedup();
    let ticks = match every {
        Some(every) => ticks(span.from, span.to, every),
        None => rises(ramp, &corners),
    };
    let mut moments = [corners, ticks].concat();
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// Evenly spaced moments where the ramp rises. The spacing is a part of the time that it rises, so a rise stays readable next to
/// a pause of weeks.
fn rises(ramp: &Ramp, corners: &[Time]) -> Vec<Time> {
    let stretches = corners.iter().zip(corners.iter().skip(1));
    let rising: Vec<_> = stretches.filter(|(from, _)| ramp.phase(**from) == Phase::Rising).collect();
    let total = rising.iter().map(|(from, to)| to.seconds().saturating_sub(from.seconds())).sum::<u64>();
    let every = total.div_ceil(PARTS).max(1);
    rising.into_iter().flat_map(|(from, to)| ticks(*from, *to, every)).collect()
}

fn ticks(from: Time, to: Time, every: u64) -> Vec<Time> {
    let every = usize::try_from(every).unwrap_or(usize::MAX).max(1); // no step is a step of nothing
    let seconds = (from.seconds()..=to.seconds()).step_by(every);
    seconds.take(MAX_ROWS.saturating_add(1)).map(Time::from_seconds).collect()
}

fn text(answer: &Timetables<'_>, now: Time) -> String {
    if answer.ramps.is_empty() {
        return "no ramps\n".to_owned();
    }
    let sections = answer.ramps.iter().map(|timetable| {
        let (name, version) = (paint(TITLE, timetable.rollout), timetable.version);
        let end = match timetable.end {
            Some(end) => format!("to {end}"),
            None => "without an end: a pause without `until` stops it".to_owned(),
        };
        let title = format!("{name}: {version} from {} {end}", timetable.start);
        format!("{title}\n{}{}", timetable.chart(now), timetable.table(now))
    });
    sections.collect::<Vec<_>>().join("\n")
}

impl Span {
    fn holds(self, moment: Time) -> bool {
        self.from <= moment && moment <= self.to
    }

    /// The moment of a column: the first is the start of the span, the last is its end.
    fn moment(self, column: u32) -> Time {
        let past = self.length().saturating_mul(column.into()).checked_div(Self::STEPS).unwrap_or(0);
        Time::from_seconds(self.from.seconds().saturating_add(past))
    }

    /// The column of a moment. `None` if the moment is before the span.
    fn column(self, moment: Time) -> Option<usize> {
        let past = moment.seconds().checked_sub(self.from.seconds())?.saturating_mul(Self::STEPS);
        usize::try_from(past.checked_div(self.length())?).ok()
    }

    const STEPS: u64 = COLUMNS.saturating_sub(1) as u64;

    fn length(self) -> u64 {
        self.to.seconds().saturating_sub(self.from.seconds())
    }
}

impl Timetable<'_> {
    /// The chart of the span; empty if the span is a single moment.
    fn chart(&self, now: Time) -> String {
        let span = self.span;
        if span.from == span.to {
            return String::new();
        }
        let ends = [span.from, span.to].map(|end| Stamp(end).to_string());
        let chart = Chart {
            shares: (0..COLUMNS).map(|column| self.ramp.exposure(span.moment(column))).collect(),
            mark: span.column(now).filter(|_| span.holds(now)),
            ends: ends.each_ref().map(String::as_str),
        };
        chart.draw() + "\n"
    }

    /// The rows, with one for the present if it lies in the span.
    fn table(&self, now: Time) -> String {
        let present = Some(row(self.ramp, now)).filter(|_| self.span.holds(now));
        let before = self.rows.iter().take_while(|row| row.at.0 < now);
        let after = self.rows.iter().skip_while(|row| row.at.0 <= now);
        let rows = before.chain(&present).chain(after).map(|row| {
            let mark = if row.at.0 == now { "now" } else { "" };
            vec![row.at.to_string(), row.percent.to_string(), row.phase.to_owned(), mark.to_owned()]
        });
        output::table(&["at", "percent", "phase", ""], 1, rows)
    }
}
