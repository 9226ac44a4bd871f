//! `completions`: the script with which a shell completes this command line.

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Args, Completions};
use crate::exit::Exit;
use crate::output;

pub(super) fn run(args: &Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "rolloutctl", &mut script);
    output::text(&String::from_utf8(script)?)?;
    Ok(Exit::Fine)
}
