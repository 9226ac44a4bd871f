//! `render`: a document in the form that Envoy's file subscription reads.

use anyhow::Result;

use crate::args::{Format, RenderEcds};
use crate::document::Document;
use crate::ecds::{Resources, Syntax};
use crate::exit::Exit;
use crate::output;

pub(super) fn run(args: &RenderEcds, format: Format) -> Result<Exit> {
    let document = Document::read(&args.file)?.load()?;
    let mut resources = Resources::new()?;
    resources.set_module(&args.wasm)?;
    resources.set_document(&document.text, document.compiled.plan.hash())?;
    let syntax = match format {
        Format::Text => Syntax::Yaml,
        Format::Json => Syntax::Json,
    };
    output::text(&resources.write(syntax)?)?;
    Ok(Exit::Fine)
}
