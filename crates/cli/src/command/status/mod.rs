//! `status`: what the filter does in running Envoys, once or repeatedly. It does not judge.

mod differences;
mod report;
mod round;
mod text;

use std::thread;
use std::time::Duration;

use anyhow::Result;

use self::report::Report;
use self::round::Round;
use crate::args::{Format, Status};
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output;

pub(super) fn run(args: &Status, format: Format) -> Result<Exit> {
    let fleet = Fleet::new(&args.fleet.envoys)?;
    let Some(interval) = args.watch else {
        let report = Report::new(&Round::ask(&fleet), None);
        match format {
            Format::Json => output::json(&report)?,
            Format::Text => output::text(&text::text(&report))?,
        }
        let all = report.envoys.iter().all(|envoy| envoy.error.is_none());
        return Ok(if all { Exit::Fine } else { Exit::CouldNot });
    };
    watch(&fleet, interval, format)
}

/// Repeats until the process is interrupted or the reader of the answers goes away.
fn watch(fleet: &Fleet, interval: Duration, format: Format) -> Result<Exit> {
    let mut before: Option<Round<'_>> = None;
    loop {
        let round = Round::ask(fleet);
        let report = Report::new(&round, before.as_ref());
        match format {
            Format::Json => output::json_line(&report)?,
            Format::Text => output::refresh(&text::text(&report))?,
        }
        before = Some(round);
        thread::sleep(interval); // counted from the last answer, so that a slow Envoy is not asked all the time
    }
}
