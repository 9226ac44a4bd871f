//! The variants: what stands in each listener, and what it has to agree with. Those with shadows are in `shadowed`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testbed::module;

use crate::shadowed::{self, Copies, Shadowed};

/// What every request asks for: in the rollout in the middle of the thousand.
pub(crate) const PATH: &str = "/v2/models/model-500/infer";

/// What stands in the filter's place.
#[derive(Clone)]
pub(crate) enum Content {
    /// Nothing; these routes instead of the shipped ones.
    Native(Value),
    Lua(&'static str),
    /// A module and its document, discovered as a user's would be.
    Wasm(PathBuf, String),
    /// A service of our own that Envoy asks, with its document.
    External(String),
}

/// Its part in the comparison.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Role {
    Plain,
    Base,
    Empty,
    Lua,
    Filter,
    Thousand,
    RequestOnly,
    /// All guardrails and failover.
    Guarded,
    /// An external decision service.
    External,
    /// Measured for its own sake.
    Extra,
    /// Measured with others whose answers have 2 KiB.
    Shadowed(Shadowed),
}

/// One listener to measure.
pub(crate) struct Variant {
    pub(crate) about: String,
    pub(crate) role: Role,
    pub(crate) content: Content,
    /// It decides, and sends on the very headers that [`Role::Filter`] does.
    pub(crate) agrees: bool,
    /// Where copies of its requests go.
    pub(crate) copies: Option<Copies>,
}

impl Variant {
    pub(crate) fn new(role: Role, about: &str, content: Content) -> Self {
        let agrees =
            matches!(role, Role::Lua | Role::Filter | Role::Thousand | Role::RequestOnly | Role::External);
        Self { about: about.into(), role, content, agrees, copies: None }
    }

    /// The letter that stands for the variant: `b` of `(b) native …`.
    pub(crate) fn letter(&self) -> &str {
        self.about.trim_start_matches('(').split(')').next().unwrap_or_default()
    }

    /// What all others are compared with.
    pub(crate) fn is_base(&self) -> bool {
        self.role == Role::Base
    }
}

/// All variants, and one more for each of `others`, which are modules like `filter`.
pub(crate) fn all(filter: &Path, others: &[PathBuf]) -> Vec<Variant> {
    let one = |edit: fn(&mut Value)| {
        let mut rollout = rollout(500);
        edit(&mut rollout);
        document(vec![rollout])
    };
    let wasm = |document| Content::Wasm(filter.into(), document);
    let mut all = vec![
        Variant::new(Role::Plain, "(a) no filter, one cluster", Content::Native(plain())),
        Variant::new(
            Role::Base,
            "(b) native weighted_clusters with use_hash_policy",
            Content::Native(weighted(["fraud-v1", "fraud-v2"], 90)),
        ),
        Variant::new(
            Role::Empty,
            "(c) empty Rust filter",
            Content::Wasm(module::built("empty-filter"), String::new()),
        ),
        Variant::new(Role::Lua, "(d) Lua filter, request path", Content::Lua(include_str!("split.lua"))),
        Variant::new(Role::Filter, "(e) this filter, 1 rollout", wasm(one(|_| {}))),
        Variant::new(
            Role::Thousand,
            "(f) this filter, 1,000 rollouts",
            wasm(document((0..1_000).map(rollout).collect())),
        ),
        Variant::new(
            Role::RequestOnly,
            "(g) as (e), no response phase",
            Content::Wasm(without(filter, "proxy_on_response_headers"), one(|_| {})),
        ),
        Variant::new(
            Role::Extra,
            "(h) as (e), with failover",
            wasm(one(|rollout| rollout["failover"] = json!({"to": ["v1"]}))),
        ),
        Variant::new(Role::Guarded, "(j) as (e), with all guardrails and failover", wasm(one(guard))),
        Variant::new(
            Role::Extra,
            "(i) as (e), exposing debug",
            wasm(one(|rollout| rollout["expose"] = json!("debug"))),
        ),
        Variant::new(
            Role::External,
            "(k) external decision service, ext_authz over gRPC",
            Content::External(one(|_| {})),
        ),
    ];
    all.extend(shadowed::all(filter));
    all.extend(others.iter().map(|path| {
        let content = Content::Wasm(path.clone(), one(|_| {}));
        Variant { agrees: true, ..Variant::new(Role::Extra, &format!("{}", path.display()), content) }
    }));
    all
}

/// Failover, and a signal of every kind that asks for no header of the model's own.
fn guard(rollout: &mut Value) {
    rollout["failover"] = json!({"to": ["v1"]});
    rollout["guardrails"] = json!({"signals": [
        {"error_rate": {"max_percent": 20}},
        {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"latency": {"quantile": 0.99, "max_ms": 10_000}},
        {"latency": {"quantile": 0.99, "max_ratio": 100, "confidence": 0.999_999}},
        {"consecutive_failures": 20},
        {"sample_ratio": {"confidence": 0.999_999}}
    ]});
}

pub(crate) fn rollout(model: usize) -> Value {
    json!({
        "name": format!("model-{model}"),
        "match": [{"path": {"prefix": format!("/v2/models/model-{model}/")}}],
        "unit": [{"header": "x-user-id"}],
        "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": 10}}
    })
}

pub(crate) fn document(rollouts: Vec<Value>) -> String {
    json!({"revision": 1, "rollouts": rollouts}).to_string()
}

fn plain() -> Value {
    json!([{"match": {"prefix": "/"}, "route": {"cluster": "fraud-v1", "timeout": "0s", "idle_timeout": "300s"}}])
}

pub(crate) fn weighted([stable, canary]: [&str; 2], percent: u32) -> Value {
    json!([{"match": {"prefix": "/"}, "route": {
        "weighted_clusters": {
            "use_hash_policy": true,
            "clusters": [{"name": stable, "weight": percent}, {"name": canary, "weight": 100 - percent}]
        },
        "hash_policy": [{"header": {"header_name": "x-user-id"}}],
        "timeout": "0s", "idle_timeout": "300s"
    }}])
}

/// A copy of a module without one of its exports: what is not exported is never called.
pub(crate) fn without(path: &Path, export: &str) -> PathBuf {
    let mut module = walrus::Module::from_file(path).expect("the filter is a module");
    module.exports.remove(export).unwrap_or_else(|error| panic!("the filter has no {export}: {error}"));
    walrus::passes::gc::run(&mut module);
    let copy = scratch().join(format!("without_{export}.wasm"));
    module.emit_wasm_file(&copy).expect("the target folder is writable");
    copy
}

/// A folder beside this program, which is in the target folder.
fn scratch() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let folder = program.with_file_name("bench-modules");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}
