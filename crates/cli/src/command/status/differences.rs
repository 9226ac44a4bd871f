//! Where the Envoys disagree: on the document, on an exposure, on whether a version is rolled back.

use std::collections::BTreeSet;

use serde::Serialize;

use super::round::Round;
use crate::fleet::{Page, Plugin, Version};
use crate::output::percent::Percent;

/// A value that is not the same in all Envoys.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    /// What the value belongs to: a plugin, or a rollout and version.
    pub(super) of: String,
    pub(super) values: Vec<Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct Value {
    pub(super) value: String,
    pub(super) envoys: Vec<String>,
}

/// All differences between the Envoys that have the filter.
pub(super) fn differences(round: &Round<'_>) -> Vec<Difference> {
    let pages: Vec<_> = round.pages().filter(|(_, page)| !page.plugins.is_empty()).collect();
    let plugins: BTreeSet<_> = pages.iter().flat_map(|(_, page)| page.plugins.keys()).collect();
    let versions: BTreeSet<_> = pages.iter().flat_map(|(_, page)| page.versions.keys()).collect();
    let mut found = Vec::new();
    let mut compare = |what, of: &str, value: &dyn Fn(&Page) -> String| {
        let values = grouped(&pages, value);
        if values.len() > 1 {
            found.push(Difference { what, of: of.to_owned(), values });
        }
    };
    for name in plugins {
        let plugin = |page: &Page| page.plugins.get(name).copied();
        compare("document hash", name, &|page| number(plugin(page).and_then(|of: Plugin| of.hash)));
        compare("revision", name, &|page| number(plugin(page).and_then(|of: Plugin| of.revision)));
    }
    for name in versions {
        let of = name.to_string();
        compare("exposure", &of, &|page| exposure(page.version(name)));
        compare("state", &of, &|page| state(page.version(name)));
    }
    found
}

/// Each value once, with the Envoys that have it, in their order.
fn grouped(pages: &[(&str, &Page)], value: &dyn Fn(&Page) -> String) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for (envoy, page) in pages {
        let value = value(page);
        match values.iter_mut().find(|known| known.value == value) {
            Some(known) => known.envoys.push((*envoy).to_owned()),
            None => values.push(Value { value, envoys: vec![(*envoy).to_owned()] }),
        }
    }
    values
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn exposure(version: Option<&Version>) -> String {
    let exposure = version.and_then(|version| version.exposure);
    exposure.map_or_else(|| "none".to_owned(), |exposure| Percent::from(exposure).to_string())
}

fn state(version: Option<&Version>) -> String {
    let is_rolled_back = version.and_then(|version| version.is_rolled_back) == Some(true);
    if is_rolled_back { "rolled back" } else { "in service" }.to_owned()
}
