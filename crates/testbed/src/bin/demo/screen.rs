//! What you see: headlines, commands, tables, and a line that moves while there is something to wait for. Without a terminal
//! nothing moves and every line stands on its own.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};

/// The headline of everything.
pub(crate) fn title(text: &str) {
    println!("\n{}\n", style(text).bold());
}

/// A step of the story.
pub(crate) fn headline(number: usize, text: &str) {
    println!("\n{} {}", style(format!("{number}.")).cyan().bold(), style(text).bold());
}

/// A command as a person would type it.
pub(crate) fn command(text: &str) {
    println!("   {} {}", style("$").dim(), style(text).dim());
}

/// What a command printed.
pub(crate) fn output(text: &str) {
    for line in text.lines() {
        println!("{}", format!("     {line}").trim_end());
    }
}

/// A line of plain words.
pub(crate) fn note(text: &str) {
    println!("   {text}");
}

/// The last line.
pub(crate) fn verdict(text: &str, good: bool) {
    let text = style(text).bold();
    println!("\n{}", if good { text.green() } else { text.red() });
}

/// A table whose first column is text and whose others are numbers.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in table.to_string().lines() {
        println!("   {}", line.trim_end());
    }
}

/// How long nothing is printed where nothing can move.
const SILENCE: Duration = Duration::from_secs(15);

/// Something that takes a while.
pub(crate) struct Wait {
    bar: Option<ProgressBar>,
    text: String,
    begun: Instant,
    printed: Instant,
}

impl Wait {
    /// Shows what is going on until it is dropped; a plain line where nothing can move.
    pub(crate) fn begin(text: &str) -> Self {
        let now = Instant::now();
        let mut wait = Self { bar: None, text: text.to_owned(), begun: now, printed: now };
        if !Term::stdout().is_term() {
            println!("   {text}");
            return wait;
        }
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        let form = ProgressStyle::with_template("   {spinner:.cyan} {msg} {elapsed:.dim}");
        bar.set_style(form.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        wait.bar = Some(bar);
        wait
    }

    /// Replaces the words, on a terminal.
    pub(crate) fn say(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// Shows what a command does: its latest line on a terminal, else the line and the time now and then.
    pub(crate) fn follow(&mut self, line: &str) {
        let short: String = line.trim().chars().take(80).collect();
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {short}", self.text)),
            None if self.printed.elapsed() >= SILENCE => {
                println!("     after {} s: {short}", self.begun.elapsed().as_secs());
                self.printed = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let took = self.begun.elapsed();
        if took >= SILENCE {
            println!("     took {} s", took.as_secs());
        }
    }
}

/// A number with its thousands set apart.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share with one decimal.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}
