//! The tool as its users run it: the built binary, its exit codes, and what it writes where.

#![cfg(test)]

mod check;
mod command_line;
mod diff;
mod enforce;
mod explain;
mod fake_envoy;
mod gate;
mod gate_copies;
mod plan;
mod push;
mod render;
mod run;
mod shadow;
mod simulate;
mod status;
