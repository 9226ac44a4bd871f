//! Reads YAML as Envoy does. A value that could not be written back as it was, such as one with a tag, is an error.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use saphyr_parser::{Event, Parser, ScalarStyle};

use super::node::Node;

/// The deepest nesting. Protects the stack; Envoy's own limit for messages is about the same.
const MAX_DEPTH: usize = 100;

/// The most values of a document. Protects memory against aliases of aliases.
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
            bail!("nested too deeply");
        }
        let (anchor, tag, node) = match event {
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().context("an alias without an anchor")?;
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
            bail!("the tag `{}{}` is not supported", tag.handle, tag.suffix);
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
            let name = name.as_str().context("a key that is not a string")?.to_owned();
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
