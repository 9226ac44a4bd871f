//! YAML as Envoy reads it, both ways. Layout and comments are not kept, values are: plain scalars are written back as they were
//! read, texts always in quotes or as a block.

pub(crate) mod node;

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use saphyr_parser::{Event, Parser, ScalarStyle};

use node::Node;

/// Protects the stack; Envoy's own limit for messages is about as deep.
const MAX_DEPTH: usize = 100;

/// Protects the memory against aliases of aliases.
const MAX_NODES: usize = 1_000_000;

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Node> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut found = Node::NULL;
    let mut documents = 0_usize;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(found),
            Event::DocumentStart(_) if documents > 0 => bail!("more than one YAML document"),
            Event::DocumentStart(_) => {
                documents = 1;
                let event = reader.next()?;
                found = reader.node(event, 0)?;
            }
            _ => {}
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>> {
        let event = self.events.next().context("the YAML ends too early")?;
        Ok(event.map(|(event, _)| event)?)
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node> {
        if depth > MAX_DEPTH {
            bail!("nested too deep");
        }
        let (anchor, tag, node) = match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().context("an alias of nothing")?;
                self.count(size(&node))?;
                return Ok(node);
            }
            Event::Scalar(text, ScalarStyle::Plain, anchor, tag) => {
                (anchor, tag, Node::Plain(text.into_owned()))
            }
            Event::Scalar(text, _, anchor, tag) => (anchor, tag, Node::Text(text.into_owned())),
            Event::SequenceStart(anchor, tag) => (anchor, tag, self.list(depth)?),
            Event::MappingStart(anchor, tag) => (anchor, tag, self.object(depth)?),
            _ => bail!("a value is missing"),
        };
        if let Some(tag) = tag {
            bail!("the tag `{}{}` could not be kept", tag.handle, tag.suffix);
        }
        self.count(1)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(elements)),
                event => elements.push(self.node(event, depth.saturating_add(1))?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node> {
        let mut fields = Vec::new();
        loop {
            let name = match self.next()? {
                Event::MappingEnd => return Ok(Node::Object(fields)),
                event => self.node(event, depth.saturating_add(1))?,
            };
            let name = name.as_str().context("a key that is not a text")?.to_owned();
            let event = self.next()?;
            fields.push((name, self.node(event, depth.saturating_add(1))?));
        }
    }

    fn count(&mut self, nodes: usize) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            bail!("more than {MAX_NODES} values");
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    let inside: usize = match node {
        Node::Plain(_) | Node::Text(_) => 0,
        Node::List(elements) => elements.iter().map(size).sum(),
        Node::Object(fields) => fields.iter().map(|(_, value)| size(value)).sum(),
    };
    inside.saturating_add(1)
}

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
                field((name, value), indent, out);
            }
        }
    }
}

fn field((name, value): (&str, &Node), indent: usize, out: &mut String) {
    out.push_str(&key(name));
    out.push(':');
    // A list stands under its key without an indentation, as in Envoy's own examples.
    let deeper = if matches!(value, Node::List(_)) { indent } else { indent.saturating_add(2) };
    block(value, deeper, out);
}

/// An element of a list: an object begins beside the dash.
fn entry(element: &Node, indent: usize, out: &mut String) {
    let inside = indent.saturating_add(2);
    match element {
        Node::Object(fields) if !fields.is_empty() => {
            for (position, (name, value)) in fields.iter().enumerate() {
                if position == 0 {
                    out.push(' ')
                } else {
                    start(inside, out)
                }
                field((name, value), inside, out);
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

/// Keys are texts to Envoy in any case, so only the syntax asks for quotes.
fn key(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    if begins && name.bytes().all(plain) { name.to_owned() } else { quoted(name) }
}

/// Several clean lines read best as a block; anything that a block can't say for certain goes into quotes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_writing_and_reading() {
        let texts = [
            "",
            " ",
            "yes",
            "on",
            "017",
            "~",
            "a: b # c",
            "- x",
            "tab\t",
            "\u{85}\u{feff}\u{7f}",
            "emoji 😀 \u{2028}",
            "one\ntwo",
            "one\ntwo\n",
            "one\n\n\ntwo",
            "one\n\n",
            "\n",
            "\none",
            " one\ntwo",
            "one \ntwo",
            "a\r\nb",
            "\"'\\",
            "---\n...",
            "# no comment\nb",
        ];
        let texts = Node::List(texts.map(Node::text).into());
        let plain = Node::List(
            ["yes", "017", "1.50", "", "null", "12:30"].map(|word| Node::Plain(word.into())).into(),
        );
        let node = Node::object([
            ("@type", texts.clone()),
            ("empty", Node::List(vec![Node::List(Vec::new()), Node::Object(Vec::new())])),
            ("nested", Node::List(vec![Node::List(vec![plain.clone(), texts.clone()]), plain])),
            ("- odd: #key", Node::object([("a", Node::object([("b", texts)])), ("", Node::text("x\ny"))])),
        ]);
        assert_eq!(parse(&write(&node)).unwrap(), node);
    }

    #[test]
    fn what_was_quoted_stays_quoted_and_what_was_plain_stays_plain() {
        let text = "a: \"yes\"\nb: yes\nc: 'on'\nd: 017\ne: {f: \"1\", g: 1}\n";
        assert_eq!(
            write(&parse(text).unwrap()),
            "a: \"yes\"\nb: yes\nc: \"on\"\nd: 017\ne:\n  f: \"1\"\n  g: 1\n"
        );
    }

    #[test]
    fn an_alias_is_the_value_that_it_names() {
        assert_eq!(parse("a: &x [1]\nb: *x\n").unwrap(), parse("{a: [1], b: [1]}").unwrap());
    }

    #[test]
    fn what_could_not_be_kept_is_refused() {
        for text in ["a: !ignore 1", "a: 1\n---\nb: 2", "? [a]\n: b", "a: *x", "a: [", "\tb: 1\n- c"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(5000)).is_err());
        let bomb = (1..30)
            .fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
        assert!(parse(&bomb).is_err());
    }
}
