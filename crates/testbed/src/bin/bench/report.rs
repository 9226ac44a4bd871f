//! The tables: what each variant costs, and what a copy and a compared pair cost, next to what was aimed at.

use std::io::IsTerminal;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use testbed::module::SIZE_BUDGET;

use crate::group::{self, FIGURES, Group};
use crate::pair::{Pair, Ratio, aims, median};
use crate::variant::{Role, Variant};

/// Prints the table and the size of the module; a missed aim is shown, nothing more.
pub(crate) fn print(variants: &[Variant], pairs: &[Pair], groups: &[Group], module: &Path) {
    let position = |role: Role| variants.iter().position(|variant| variant.role == role);
    let ratio = |first: usize, of: Role| {
        let second = position(of)?;
        let pair = pairs.iter().find(|pair| (pair.first, pair.second) == (first, second))?;
        Some(pair.ratio())
    };
    let mut table = table(&["variant", "CPU", "ratio to (b)", "aims"]);
    for (index, variant) in variants.iter().enumerate() {
        let judged = aims(variant.role).iter().filter_map(|aim| {
            let letter = variants.get(position(aim.of)?)?.letter();
            let ratio = ratio(index, aim.of)?;
            let text = format!("<= {:.2} {letter}: {}", aim.factor, verdict(ratio, aim.factor));
            Some(if aim.of == Role::Base { text } else { format!("{text} {}", shown(ratio)) })
        });
        let judged: Vec<String> = judged.collect();
        table.add_row([
            variant.about.clone(),
            format!("{:.2} us", cost(index, pairs, groups) / 1e3),
            match variant.role {
                Role::Shadowed(_) => String::new(),
                _ => ratio(index, Role::Base).map_or_else(|| "1".into(), shown),
            },
            judged.join(", "),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("CPU of Envoy's worker per request\n{table}");
    print_figures(groups);
    let size = std::fs::metadata(module).map_or(0, |data| data.len());
    println!("\nModule: {:.1} kB of at most {} kB", size as f64 / 1e3, SIZE_BUDGET / 1_000);
}

/// What a copy costs, and what a compared pair costs.
fn print_figures(groups: &[Group]) {
    let mut table = table(&["figure", "CPU", "ratio", "to", "aims"]);
    for figure in &FIGURES {
        let Some((cost, ratio)) = figure.over(groups) else { continue };
        let aim = match figure.aim {
            group::Aim::None => String::new(),
            group::Aim::Times(factor) => format!("<= {factor:.2}: {}", verdict(ratio, factor)),
            group::Aim::Nanos(nanos) => format!("<= {:.0} us: {}", nanos / 1e3, verdict(cost, nanos)),
        };
        let Ratio { median, low, high } = cost;
        let cpu = format!("{:.2} [{:.2}, {:.2}] us", median / 1e3, low / 1e3, high / 1e3);
        table.add_row([figure.about, &cpu, &shown(ratio), figure.base(), &aim]);
    }
    println!("\nCPU of Envoy's worker for copies\n{table}");
}

/// An empty table that suits a terminal and a file.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let on_terminal = std::io::stdout().is_terminal();
    table.load_style(if on_terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_header(header);
    table
}

/// The median of all phases of a variant, in nanoseconds per request.
fn cost(index: usize, pairs: &[Pair], groups: &[Group]) -> f64 {
    let phases = |pair: &Pair| -> Vec<f64> {
        let first = pair.costs.iter().filter(|_| pair.first == index).map(|(first, _)| *first);
        let second = pair.costs.iter().filter(|_| pair.second == index).map(|(_, second)| *second);
        first.chain(second).collect()
    };
    let mut all: Vec<f64> = pairs.iter().flat_map(phases).collect();
    all.extend(groups.iter().flat_map(|group| group.nanos(index)));
    all.sort_unstable_by(f64::total_cmp);
    median(&all)
}

fn shown(ratio: Ratio) -> String {
    format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high)
}

fn verdict(ratio: Ratio, factor: f64) -> &'static str {
    match (ratio.median <= factor, ratio.low <= factor && factor <= ratio.high) {
        (true, false) => "met",
        (true, true) => "met?",
        (false, false) => "MISSED",
        (false, true) => "MISSED?",
    }
}
