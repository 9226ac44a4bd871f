//! The table: what each variant costs, beside what was aimed at.

use std::io::IsTerminal;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use testbed::module::SIZE_BUDGET;

use crate::pair::{Pair, Ratio, aims, median};
use crate::variant::{Role, Variant};

/// Prints the table and the size of the module; a missed aim is shown, nothing more.
pub(crate) fn print(variants: &[Variant], pairs: &[Pair], module: &Path) {
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
            format!("{:.2} us", cost(index, pairs) / 1e3),
            ratio(index, Role::Base).map_or_else(|| "1".into(), shown),
            judged.join(", "),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("CPU of Envoy's worker per request\n{table}");
    let size = std::fs::metadata(module).map_or(0, |data| data.len());
    println!("\nModule: {:.1} kB of at most {} kB", size as f64 / 1e3, SIZE_BUDGET / 1_000);
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
fn cost(index: usize, pairs: &[Pair]) -> f64 {
    let phases = |pair: &Pair| -> Vec<f64> {
        let first = pair.costs.iter().filter(|_| pair.first == index).map(|(first, _)| *first);
        let second = pair.costs.iter().filter(|_| pair.second == index).map(|(_, second)| *second);
        first.chain(second).collect()
    };
    let mut all: Vec<f64> = pairs.iter().flat_map(phases).collect();
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
