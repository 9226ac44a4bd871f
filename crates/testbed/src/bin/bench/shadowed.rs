//! The variants with answers of 2 KiB, most of them with copies, and the figures that they give.
//!
//! The answers are those of `testbed::answer`, which match under these rules and have to be read to their ends. All variants of one group are measured right after one
//! another, and each figure is taken from the phases of one round.

use std::path::Path;

use serde_json::{Value, json};
use testbed::answer;

use crate::variant::{Content, Role, Variant, document, rollout, weighted, without};

/// The clusters that answer with 2 KiB: stable and canary.
pub(crate) const LIVE: [&str; 2] = ["json-v1", "json-v2"];

/// Its part in the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shadowed {
    /// Native, without a mirror.
    Native,
    /// Native, with a static mirror of all requests.
    Mirror,
    /// The filter without a shadow.
    Filter,
    /// The same without the callback for bodies.
    Bodiless,
    /// The filter with a shadow of all units, in a cluster like the mirror's.
    Plain,
    /// The same with the shipped cluster for copies, the module in it.
    Shipped,
    /// The same with `compare`.
    Compared,
    /// As [`Shadowed::Mirror`], a tenth of the requests.
    MirrorTenth,
    /// As [`Shadowed::Plain`], a tenth of the units.
    PlainTenth,
    /// As [`Shadowed::Shipped`], a tenth of the units.
    ShippedTenth,
    /// As [`Shadowed::Compared`], a tenth of the units.
    ComparedTenth,
}

/// Where copies of a variant's requests go.
#[derive(Clone)]
pub(crate) struct Copies {
    pub(crate) cluster: String,
    pub(crate) form: Form,
    /// True if their answers are compared.
    pub(crate) is_compared: bool,
}

/// What the cluster for copies is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// Hosts, and nothing in front of them.
    Plain,
    /// The shipped one: the `buffer` filter, and the module in the variant's own VM.
    Shipped,
}

/// How many requests are copied, in percent.
#[derive(Clone, Copy)]
enum Share {
    All = 100,
    Tenth = 10,
}

/// Every variant with answers of 2 KiB.
pub(crate) fn all(filter: &Path) -> Vec<Variant> {
    let native =
        |role, about: &str, content| Variant::new(Role::Shadowed(role), about, Content::Native(content));
    let wasm = |role, about: &str, module: &Path, document| {
        Variant::new(Role::Shadowed(role), about, Content::Wasm(module.into(), document))
    };
    let mirror = |role, about: &str, share| {
        let copies = Copies { cluster: cluster(about), form: Form::Plain, is_compared: false };
        let content = mirrored(&copies.cluster, share);
        Variant { copies: Some(copies), ..native(role, about, content) }
    };
    let shadow = |role, about: &str, share, form, is_compared| {
        let copies = Copies { cluster: cluster(about), form, is_compared };
        let document = shadowed(&copies, share);
        Variant { copies: Some(copies), ..wasm(role, about, filter, document) }
    };
    let alone = || document(vec![answered_at_length(|_| {})]);
    vec![
        native(Shadowed::Native, "(l) as (b), all to stable, answers of 2 KiB", weighted(LIVE, 100)),
        mirror(Shadowed::Mirror, "(m) as (l), static mirror of all requests", Share::All),
        wasm(Shadowed::Filter, "(n) as (e), all to stable, answers of 2 KiB", filter, alone()),
        wasm(
            Shadowed::Bodiless,
            "(o) as (n), no callback for bodies",
            &without(filter, "proxy_on_response_body"),
            alone(),
        ),
        shadow(
            Shadowed::Plain,
            "(p) as (n), shadow of all units, plain cluster",
            Share::All,
            Form::Plain,
            false,
        ),
        shadow(
            Shadowed::Shipped,
            "(q) as (p), shipped cluster with the module",
            Share::All,
            Form::Shipped,
            false,
        ),
        shadow(Shadowed::Compared, "(r) as (q), with compare", Share::All, Form::Shipped, true),
        mirror(Shadowed::MirrorTenth, "(s) as (m), 10 % of requests", Share::Tenth),
        shadow(Shadowed::PlainTenth, "(t) as (p), 10 % of units", Share::Tenth, Form::Plain, false),
        shadow(Shadowed::ShippedTenth, "(u) as (q), 10 % of units", Share::Tenth, Form::Shipped, false),
        shadow(Shadowed::ComparedTenth, "(v) as (r), 10 % of units", Share::Tenth, Form::Shipped, true),
    ]
}

/// The cluster for copies of the variant `(x) …`.
fn cluster(about: &str) -> String {
    about
        .chars()
        .take(2)
        .map(|letter| if letter == '(' { "copies-".into() } else { letter.to_string() })
        .collect()
}

fn mirrored(cluster: &str, share: Share) -> Value {
    let mut routes = weighted(LIVE, 100);
    routes[0]["route"]["request_mirror_policies"] = json!([{
        "cluster": cluster,
        "runtime_fraction": {"default_value": {"numerator": share as u32, "denominator": "HUNDRED"}}
    }]);
    routes
}

fn shadowed(copies: &Copies, share: Share) -> String {
    let rollout = answered_at_length(|rollout| {
        rollout["idempotent"] = json!(true);
        rollout["shadow"] = json!([{
            "version": "v3", "percent": share as u32, "methods": ["GET", "POST"], "cluster": copies.cluster
        }]);
        if copies.is_compared {
            rollout["shadow"][0]["compare"] =
                serde_json::from_str(answer::RULES).expect("the rules are JSON");
        }
    });
    document(vec![rollout])
}

/// The rollout of the other variants, of which stable has all units: only stable's answers are compared.
fn answered_at_length(edit: impl FnOnce(&mut Value)) -> Value {
    let mut rollout = rollout(500);
    rollout["versions"] = json!([{"name": "v1", "cluster": LIVE[0]}, {"name": "v2", "cluster": LIVE[1]}, {"name": "v3", "cluster": "json-v3"}]);
    rollout["strategy"]["canary"]["percent"] = json!(0);
    edit(&mut rollout);
    rollout
}
