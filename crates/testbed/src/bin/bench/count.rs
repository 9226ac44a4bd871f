//! The exact part: what one request to each wasm variant costs, counted in an interpreter.

use std::collections::BTreeMap;

use comfy_table::CellAlignment;
use testbed::guest::Guest;

use crate::report::table;
use crate::traffic::seen_by_filter;
use crate::variant::{Content, Variant};

/// Prints the counts of one request to each variant that is a module.
pub(crate) fn print(variants: &[Variant]) {
    let mut table =
        table(&["variant", "host calls", "entries", "instructions", "host calls by kind", "entries by kind"]);
    for variant in variants {
        let Content::Wasm(module, document) = &variant.content else { continue };
        let counts = Guest::start(module, document).settled(&seen_by_filter());
        table.add_row([
            variant.about.clone(),
            counts.all_calls().to_string(),
            counts.all_entries().to_string(),
            counts.instructions.to_string(),
            by_kind(&counts.calls),
            by_kind(&counts.entries),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("Exact, per request\n{table}");
}

fn by_kind(counts: &BTreeMap<String, usize>) -> String {
    let all: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    all.join(", ")
}
