//! `render`: the Envoy configuration for a document.

use anyhow::Result;

use crate::args::{Format, RenderClusters, RenderEcds};
use crate::document::Document;
use crate::envoy::backstop;
use crate::envoy::ecds::{Resources, Syntax};
use crate::exit::Exit;
use crate::output;
use crate::yaml;

pub(super) fn ecds(args: &RenderEcds, format: Format) -> Result<Exit> {
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

pub(super) fn clusters(args: &RenderClusters, format: Format) -> Result<Exit> {
    let clusters = backstop::clusters(&Document::read(&args.file)?.load()?.compiled.plan)?;
    let text = match format {
        Format::Text => yaml::write(&clusters),
        Format::Json => clusters.to_json()?,
    };
    output::text(&text)?;
    Ok(Exit::Fine)
}
