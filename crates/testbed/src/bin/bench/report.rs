//! The table: what each variant costs, beside what was aimed at.

use std::io::IsTerminal;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use testbed::module::SIZE_BUDGET;

use crate::variant::{Role, Running};

/// The costs of one variant in nanoseconds a request.
pub(crate) struct Row {
    role: Role,
    about: String,
    least: f64,
    median: f64,
}

impl Row {
    pub(crate) fn new(running: &Running) -> Self {
        let mut costs = running.costs.clone();
        costs.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| costs.get(index).copied().unwrap_or(f64::NAN);
        Self {
            role: running.variant.role,
            about: running.variant.about.clone(),
            least: at(0),
            median: at(costs.len() / 2),
        }
    }
}

/// An aim: the cost of a role is at most `factor` times that of another.
struct Aim {
    factor: f64,
    of: Role,
    text: &'static str,
}

fn aims(role: Role) -> &'static [Aim] {
    match role {
        Role::Filter => &[Aim { factor: 1.35, of: Role::Base, text: "<= 1.35 b" }],
        Role::Thousand => &[Aim { factor: 1.05, of: Role::Filter, text: "<= 1.05 e" }],
        Role::RequestOnly => &[
            Aim { factor: 1.25, of: Role::Base, text: "<= 1.25 b" },
            Aim { factor: 1.0, of: Role::Lua, text: "< d" },
        ],
        Role::Guarded => &[Aim { factor: 1.1, of: Role::Filter, text: "<= 1.10 e" }],
        Role::Plain | Role::Base | Role::Empty | Role::Lua | Role::Extra => &[],
    }
}

/// Prints the table and the size of the module; a missed aim is shown, nothing more.
pub(crate) fn print(rows: &[Row], module: &Path) {
    let of = |role: Role| rows.iter().find(|row| row.role == role);
    let mut table = Table::new();
    let on_terminal = std::io::stdout().is_terminal();
    table.load_style(if on_terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_header([
        "CPU of Envoy per request",
        "least",
        "median",
        "least / b",
        "median / b",
        "aim, of least",
    ]);
    let base = of(Role::Base);
    let ratio =
        |value: f64, base: Option<f64>| base.map_or(String::new(), |base| format!("{:.3}", value / base));
    for row in rows {
        let judged = aims(row.role).iter().filter_map(|aim| {
            let ratio = row.least / of(aim.of)?.least;
            let word = if ratio <= aim.factor { "met" } else { "MISSED" };
            Some(format!("{}: {word} ({ratio:.3})", aim.text))
        });
        table.add_row([
            row.about.clone(),
            micros(row.least),
            micros(row.median),
            ratio(row.least, base.map(|base| base.least)),
            ratio(row.median, base.map(|base| base.median)),
            judged.collect::<Vec<_>>().join(", "),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    let size = std::fs::metadata(module).map_or(0, |data| data.len());
    let word = if size <= SIZE_BUDGET { "met" } else { "MISSED" };
    println!("\nModule: {:.1} kB; budget {} kB: {word}", size as f64 / 1e3, SIZE_BUDGET / 1_000);
}

fn micros(nanos: f64) -> String {
    format!("{:.2} us", nanos / 1e3)
}
