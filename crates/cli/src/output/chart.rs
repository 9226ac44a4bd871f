//! A small chart for a terminal: shares over time as columns of block characters. It has no colour, so it survives a pipe and a
//! log. It does not know what a ramp is.

use std::fmt::Write as _;

use rollout_core::Ppm;

use crate::output::percent::Percent;

/// Number of moments that a chart shows.
pub(crate) const COLUMNS: u32 = 60;
const LINES: u32 = 5;
/// The eighths that one character can show.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What to draw.
pub(crate) struct Chart<'t> {
    /// One share for each column; the largest reaches the top.
    pub(crate) shares: Vec<Ppm>,
    /// The column to point at.
    pub(crate) mark: Option<usize>,
    /// The labels below the first and the last column.
    pub(crate) ends: [&'t str; 2],
}

impl Chart<'_> {
    /// The chart as lines of text.
    pub(crate) fn draw(&self) -> String {
        let top = self.shares.iter().max().copied().unwrap_or(Ppm::ZERO);
        let mut text = String::new();
        for line in (0..LINES).rev() {
            let label = if line.saturating_add(1) == LINES { label(top) } else { String::new() };
            let columns: String = self.shares.iter().map(|share| block(*share, top, line)).collect();
            let _ = writeln!(text, "  {label:>10} │{}", columns.trim_end());
        }
        let point = |column: usize| if self.mark == Some(column) { '▲' } else { '─' };
        let axis: String = (0..self.shares.len()).map(point).collect();
        let _ = writeln!(text, "  {:>10} └{axis}", label(Ppm::ZERO));
        let [first, last] = self.ends;
        let room = self.shares.len().saturating_sub(first.len());
        let _ = writeln!(text, "  {:>10}  {first}{last:>room$}", "");
        text
    }
}

/// Such as `12.5 %`, without the zeros of a table.
fn label(share: Ppm) -> String {
    format!("{} %", f64::from(Percent::from(share)))
}

/// The part of a column that is in this line, counted from below. A share above zero is always visible.
fn block(share: Ppm, top: Ppm, line: u32) -> char {
    let full = u64::from(LINES).saturating_mul(8);
    let height = u64::from(share).saturating_mul(full).div_ceil(u64::from(top).max(1));
    let above = height.saturating_sub(u64::from(line).saturating_mul(8)).min(8);
    usize::try_from(above).ok().and_then(|above| BLOCKS.get(above)).copied().unwrap_or(' ')
}
