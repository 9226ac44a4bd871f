//! The Envoy clusters that turn "no hosts" into a failure that can be repeated on another version.
//!
//! The cluster that a document names tries the cluster with the hosts at each attempt. If that one has no host, the attempt ends in
//! a cluster that refuses at once. `docs/decisions/0012-a-backstop-for-each-version.md` explains why; `envoy/envoy.yaml` does the same.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use rollout_core::{MAX_ATTEMPTS, Plan};

use crate::yaml;
use crate::yaml::node::Node;

/// The cluster of one version, without its name and entries.
const COMPOSITE: &str = r"
name: ''
connect_timeout: 1s
lb_policy: CLUSTER_PROVIDED
circuit_breakers: {thresholds: [{max_retries: 4294967295}]}
cluster_type:
  name: envoy.clusters.composite
  typed_config: {}
";

const COMPOSITE_TYPE: &str = "type.googleapis.com/envoy.extensions.clusters.composite.v3.ClusterConfig";

/// The cluster that refuses. Nobody can listen on a device, so a connection fails at once.
const REFUSING: &str = r"
name: rollout-no-hosts
type: STATIC
connect_timeout: 1s
load_assignment:
  cluster_name: rollout-no-hosts
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {pipe: {path: /dev/null}}}
";

/// A composite over `<name>-hosts` for each cluster that the plan names, and the cluster that refuses.
pub(crate) fn clusters(plan: &Plan) -> Result<Node> {
    let versions = plan.rollouts().iter().flat_map(|rollout| rollout.versions());
    let names: BTreeSet<&str> = versions.map(|version| version.cluster()).collect();
    let composites: Result<Vec<Node>> = names.into_iter().map(composite).collect();
    let all = composites?.into_iter().chain([yaml::parse(REFUSING)?]).collect();
    Ok(Node::object([("clusters", Node::List(all))]))
}

fn composite(name: &str) -> Result<Node> {
    let entry = |name: String| Node::object([("name", Node::text(name))]);
    // An attempt begins at the entry of its own number, counted over the whole request: a target may be the second or the fourth.
    let attempts = std::iter::repeat_n(format!("{name}-hosts"), MAX_ATTEMPTS);
    let entries = attempts.chain(["rollout-no-hosts".to_owned()]).map(entry).collect();
    let mut cluster = yaml::parse(COMPOSITE)?;
    cluster.set("name", Node::text(name));
    let kind = cluster.get_mut("cluster_type").context("the template has no type")?;
    let config = [("@type", Node::text(COMPOSITE_TYPE)), ("clusters", Node::List(entries))];
    kind.set("typed_config", Node::object(config));
    Ok(cluster)
}
