//! Writes answers to standard output and messages to standard error, in colour only on a terminal.

pub(crate) mod chart;
pub(crate) mod percent;
pub(crate) mod stamp;

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal as _, Write as _};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};
use serde::Serialize;

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something to think about.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// A name or title among other text.
pub(crate) const TITLE: Style = Style::new().bold();
/// What matters less than the text around it.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The text in a style. Whether the style is shown is decided when the text is written.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes an answer for people.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes an answer over the previous one on a terminal, otherwise below it.
pub(crate) fn refresh(answer: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    if !out.is_terminal() {
        return text(answer);
    }
    let is_coloured = AutoStream::choice(&out) != ColorChoice::Never;
    out.write_all(over(answer, is_coloured).as_bytes())?;
    Ok(out.flush()?)
}

/// An answer that replaces the previous one line by line, which does not flicker, and clears what is left of it, with or without
/// colour.
fn over(answer: &str, is_coloured: bool) -> String {
    let answer = if is_coloured { answer.to_owned() } else { strip_str(answer).to_string() };
    let lines: String = answer.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// Writes an answer for programs.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    write(serde_json::to_string_pretty(value)?.as_bytes())
}

/// Writes one of many answers for programs, on its own line.
pub(crate) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    write(serde_json::to_string(value)?.as_bytes())
}

fn write(line: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes a message. A failure is ignored: there is nowhere to report it.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A message about something that is allowed but probably not intended.
pub(crate) fn warning(text: impl Display) {
    note(format_args!("{} {text}", paint(WARNING, "warning:")));
}

/// Why the command could not be carried out.
pub(crate) fn error(text: impl Display) {
    note(format_args!("{} {text}", paint(BAD, "error:")));
}

/// True if the reader of the answer has gone away, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// `1 problem`, `2 problems`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// "`a`, `b`", or "none".
pub(crate) fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// `once`, `2 times`.
pub(crate) fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

/// Text that somebody else has chosen, with whatever could change what a terminal shows as an escape: control characters, and marks
/// that turn the direction of writing.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let escaped = character.escape_debug();
        match character.is_control() || escaped.to_string().starts_with("\\u") {
            true => shown.extend(escaped),
            false => shown.push(character),
        }
    }
    shown
}

/// A table, indented under its title. The first `names` columns are text, the others are numbers.
pub(crate) fn table(header: &[&str], names: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(Row::from(header.to_vec()));
    for row in rows {
        table.add_row(row);
    }
    for (position, column) in table.column_iter_mut().enumerate() {
        if position >= names {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_constraint(ColumnConstraint::ContentWidth).set_padding((1, 1));
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, " {}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_can_not_drive_the_terminal() {
        for (text, shown) in [
            ("/outputs/*/data", "/outputs/*/data"),
            ("/preis in €/größe/数", "/preis in €/größe/数"),
            ("/it's \"quoted\"\\", "/it's \"quoted\"\\"),
            ("/a\x1b[2J\r\n\tb", "/a\\u{1b}[2J\\r\\n\\tb"),
            ("/\u{9b}31m\u{7f}", "/\\u{9b}31m\\u{7f}"),
            ("/\u{202e}evil\u{2066}", "/\\u{202e}evil\\u{2066}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn an_answer_without_colour_leaves_nothing_of_the_one_before_it_either() {
        let answer = format!("{}\nfine\n", paint(BAD, "rolled back"));
        assert_eq!(over(&answer, false), "\x1b[Hrolled back\x1b[K\nfine\x1b[K\n\x1b[J");
        assert!(over(&answer, true).contains(&paint(BAD, "rolled back")));
    }
}
