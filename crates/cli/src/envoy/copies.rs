//! The Envoy clusters for copies: a shadow that hangs, or does not read, can hurt no client through them.
//!
//! Envoy's `buffer` filter holds a copy until its body is complete, so the client's upload never waits for the shadow. Limits bound
//! what copies hold in memory and how long. The filter's module ends a copy whose answer is too long. `docs/strategies/shadow.md` explains it; `envoy/envoy.yaml` does the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use rollout_core::{Plan, Shadow};

use crate::yaml;
use crate::yaml::node::Node;

/// What a cluster for copies has besides its hosts, without its numbers. The protocol stays that of the hosts.
const TEMPLATE: &str = r#"
name: ''
type: STATIC
connect_timeout: 1s
"#;

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The protocol of a cluster that does not say.
const PROTOCOL: &str = r#"
"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
explicit_http_config: {http_protocol_options: {}}
"#;

/// The filters of a copy, the last one as Envoy wants it.
const FILTERS: &str = r#"
- name: envoy.filters.http.buffer
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
    max_request_bytes: 0
- name: rollout-shadow
  config_discovery:
    config_source:
      path_config_source: {path: ./ecds-shadow.yaml}
      resource_api_version: V3
    default_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    apply_default_config_without_warming: true
    type_urls:
    - type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    - type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
- name: envoy.filters.http.upstream_codec
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
"#;

/// How long a copy may take, its answer included.
const LONGEST: &str = "30s";

/// How much of an answer a worker reads at once. With Envoy's default of 1 MiB its clients wait for a shadow's large answers.
const PIECE: &str = "32768";

/// Most bytes that the copies of one cluster hold in memory.
const MEMORY: u64 = 64 << 20;

/// Most copies of one cluster at a time, however small they are: Envoy's own default.
const MOST: u64 = 1024;

/// A cluster for copies: its version's cluster, and the largest body.
struct Copies<'p> {
    version: &'p str,
    max_body_bytes: u64,
}

/// One cluster for each shadow of the plan. `hosts` is a configuration of Envoy that has the versions' own clusters; without it the
/// clusters have no hosts yet.
pub(crate) fn clusters(plan: &Plan, hosts: Option<&Node>) -> Result<Vec<Node>> {
    let mut all: BTreeMap<String, Copies<'_>> = BTreeMap::new();
    for shadow in plan.rollouts().iter().flat_map(|rollout| rollout.shadows()) {
        let Some(name) = name(plan, shadow) else { continue };
        let bytes = shadow.limits().max_body_bytes;
        let copies =
            all.entry(name).or_insert(Copies { version: shadow.version.cluster(), max_body_bytes: bytes });
        copies.max_body_bytes = copies.max_body_bytes.max(bytes);
    }
    all.iter().map(|(name, copies)| cluster(name, copies, hosts)).collect()
}

/// The name of a shadow's cluster for copies. `None` if copies go to the cluster of another version.
fn name(plan: &Plan, shadow: &Shadow) -> Option<String> {
    if shadow.cluster() == shadow.version.cluster() {
        return Some(format!("{}-copies", shadow.cluster()));
    }
    let mut versions = plan.rollouts().iter().flat_map(|rollout| rollout.versions());
    let is_version = versions.any(|version| version.cluster() == shadow.cluster());
    (!is_version).then(|| shadow.cluster().to_owned())
}

fn cluster(name: &str, copies: &Copies<'_>, hosts: Option<&Node>) -> Result<Node> {
    let mut cluster = match hosts {
        Some(hosts) => own(hosts, copies.version)?,
        None => yaml::parse(TEMPLATE)?,
    };
    cluster.set("name", Node::text(name));
    if let Some(assignment) = cluster.get_mut("load_assignment") {
        assignment.set("cluster_name", Node::text(name));
    }
    cluster.set("per_connection_buffer_limit_bytes", Node::Plain(PIECE.into()));
    cluster.set("circuit_breakers", breakers(copies.max_body_bytes));
    let mut options = match cluster.get("typed_extension_protocol_options").and_then(|all| all.get(OPTIONS)) {
        Some(options) => options.clone(),
        None => yaml::parse(PROTOCOL)?,
    };
    if options.get("common_http_protocol_options").is_none() {
        options.set("common_http_protocol_options", Node::Object(Vec::new()));
    }
    if let Some(common) = options.get_mut("common_http_protocol_options") {
        common.set("max_stream_duration", Node::Plain(LONGEST.into()));
    }
    options.set("http_filters", filters(copies.max_body_bytes)?);
    cluster.set("typed_extension_protocol_options", Node::Object(vec![(OPTIONS.to_owned(), options)]));
    Ok(cluster)
}

/// The cluster with the hosts of a version, without what copies must not repeat.
fn own(configuration: &Node, version: &str) -> Result<Node> {
    let clusters = configuration.get("static_resources").unwrap_or(configuration).get("clusters");
    let Some(Node::List(clusters)) = clusters else { bail!("there is no list `clusters`") };
    let named =
        |name: &str| clusters.iter().find(|known| known.get("name").and_then(Node::as_str) == Some(name));
    let with_hosts = format!("{version}-hosts");
    let found = named(&with_hosts)
        .or_else(|| named(version).filter(|known| known.get("cluster_type").is_none()))
        .with_context(|| format!("there is no cluster `{with_hosts}`"))?;
    let Node::Object(fields) = found else { bail!("cluster `{with_hosts}` is not an object") };
    // The version's own cluster asks its hosts already.
    let kept = fields.iter().filter(|(name, _)| name != "health_checks");
    Ok(Node::Object(kept.cloned().collect()))
}

/// Breakers that let copies hold at most [`MEMORY`]: those under way, and those that wait for a connection.
fn breakers(max_body_bytes: u64) -> Node {
    let most = MEMORY.checked_div(max_body_bytes).unwrap_or(MOST).min(MOST);
    let waiting = most / 4;
    let number = |number: u64| Node::Plain(number.to_string());
    let thresholds = Node::object([
        ("max_connections", number(most)),
        ("max_pending_requests", number(waiting)),
        ("max_requests", number(most.saturating_sub(waiting))),
        ("max_retries", number(0)),
    ]);
    Node::object([("thresholds", Node::List(vec![thresholds]))])
}

fn filters(max_body_bytes: u64) -> Result<Node> {
    let mut filters = yaml::parse(FILTERS)?;
    let buffer = filters.as_list_mut().and_then(|list| list.first_mut());
    let config =
        buffer.and_then(|buffer| buffer.get_mut("typed_config")).context("the template has a buffer")?;
    config.set("max_request_bytes", Node::Plain(max_body_bytes.to_string()));
    Ok(filters)
}
