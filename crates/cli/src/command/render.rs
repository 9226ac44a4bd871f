//! `render`: the Envoy configuration for a document.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::args::{Format, RenderClusters, RenderEcds};
use crate::document::Document;
use crate::envoy::ecds::{Kind, Resources, Syntax};
use crate::envoy::{backstop, copies};
use crate::exit::Exit;
use crate::output;
use crate::yaml;
use crate::yaml::node::Node;

pub(super) fn ecds(args: &RenderEcds, format: Format) -> Result<Exit> {
    let document = Document::read(&args.file)?.load()?;
    let mut resources = Resources::new(Kind::Rollout)?;
    resources.set_module(&args.wasm)?;
    resources.set_document(&document.text, document.compiled.plan.hash())?;
    if args.shadow {
        let mut shadow = Resources::new(Kind::Shadow)?;
        shadow.follow(&mut resources)?;
        resources = shadow;
    }
    let syntax = match format {
        Format::Text => Syntax::Yaml,
        Format::Json => Syntax::Json,
    };
    output::text(&resources.write(syntax)?)?;
    Ok(Exit::Fine)
}

pub(super) fn clusters(args: &RenderClusters, format: Format) -> Result<Exit> {
    let plan = Document::read(&args.file)?.load()?.compiled.plan;
    let hosts = args.hosts.as_deref().map(hosts).transpose()?;
    let copies = copies::clusters(&plan, hosts.as_ref());
    let copies = match &args.hosts {
        Some(path) => copies.with_context(|| format!("`{}`", path.display()))?,
        None => copies?,
    };
    if !copies.is_empty() && hosts.is_none() {
        output::note(
            "the clusters for copies have no hosts: add them, or name Envoy's configuration with `--hosts`",
        );
    }
    let all = backstop::clusters(&plan)?.into_iter().chain(copies).collect();
    let clusters = Node::object([("clusters", Node::List(all))]);
    let text = match format {
        Format::Text => yaml::write(&clusters),
        Format::Json => clusters.to_json()?,
    };
    output::text(&text)?;
    Ok(Exit::Fine)
}

/// An Envoy configuration, in YAML or JSON.
fn hosts(path: &Path) -> Result<Node> {
    let place = || format!("can't read `{}`", path.display());
    yaml::parse(&fs::read_to_string(path).with_context(place)?).with_context(place)
}
