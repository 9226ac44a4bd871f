//! Writes YAML that Envoy reads back as the same values: plain scalars as they were read, texts always in quotes or as a block.

use super::node::Node;

/// Writes a document.
pub(crate) fn write(node: &Node) -> String {
    let mut text = String::new();
    block(node, 0, &mut text);
    text.trim_start_matches(['\n', ' ']).to_owned()
}

/// Writes what follows a key or a dash, up to and including the line break; a collection begins on a line of its own.
fn block(node: &Node, indent: usize, out: &mut String) {
    match node {
        Node::Plain(text) if text.is_empty() => out.push('\n'),
        Node::Plain(text) => line(text, out),
        Node::Text(text) if is_block(text) => literal(text, indent, out),
        Node::Text(text) => line(&quoted(text), out),
        Node::List(elements) if elements.is_empty() => line("[]", out),
        Node::Object(fields) if fields.is_empty() => line("{}", out),
        Node::List(elements) => {
            out.push('\n');
            for element in elements {
                start(indent, out);
                out.push('-');
                entry(element, indent, out);
            }
        }
        Node::Object(fields) => {
            out.push('\n');
            for (name, value) in fields {
                start(indent, out);
                field(name, value, indent, out);
            }
        }
    }
}

fn field(name: &str, value: &Node, indent: usize, out: &mut String) {
    out.push_str(&key(name));
    out.push(':');
    // A list stands under its key without an indentation, as in Envoy's own examples.
    let deeper = if matches!(value, Node::List(_)) { indent } else { indent.saturating_add(2) };
    block(value, deeper, out);
}

/// An element of a list: an object begins on the line of the dash.
fn entry(element: &Node, indent: usize, out: &mut String) {
    let inside = indent.saturating_add(2);
    match element {
        Node::Object(fields) if !fields.is_empty() => {
            for (position, (name, value)) in fields.iter().enumerate() {
                if position == 0 {
                    out.push(' ');
                } else {
                    start(inside, out);
                }
                field(name, value, inside, out);
            }
        }
        _ => block(element, inside, out),
    }
}

fn start(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn line(text: &str, out: &mut String) {
    out.push(' ');
    out.push_str(text);
    out.push('\n');
}

/// Envoy takes every key for a text, so quotes are needed only for the syntax.
fn key(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    if begins && name.bytes().all(plain) { name.to_owned() } else { quoted(name) }
}

/// True if the text has several lines and a block shows them exactly. All other texts are written in quotes.
fn is_block(text: &str) -> bool {
    let clean = |line: &str| !line.ends_with(' ') && line.chars().all(is_printable);
    text.contains('\n')
        && !text.starts_with(['\n', ' '])
        && !text.ends_with("\n\n")
        && text.split('\n').all(clean)
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.lines() {
        if !line.is_empty() {
            start(indent.max(2), out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn is_printable(of: char) -> bool {
    !of.is_control() && !matches!(of, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Double quotes with escapes that YAML and JSON share.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for of in text.chars() {
        match of {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            of if is_printable(of) => out.push(of),
            of => out.push_str(&format!("\\u{:04x}", u32::from(of))), // all of them are below 2^16
        }
    }
    out.push('"');
    out
}
