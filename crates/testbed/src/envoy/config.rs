//! Makes the bootstrap of a test from the shipped one: read as data, changed in a few named places, never rewritten by hand.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::filter::{Filter, lua_filter, wasm_filter};
use crate::module::workspace;
use crate::upstream::Upstream;
use crate::yaml::yaml;

/// A cluster of the test; keeps the circuit breakers of the shipped ones.
#[derive(Clone, Debug)]
pub struct Cluster {
    name: String,
    ports: Vec<u16>,
    unhealthy: Vec<u16>,
    http2: bool,
    form: Form,
}

/// Which of the shipped clusters a cluster is made like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Hosts with the circuit breakers of the name in the document.
    Plain,
    /// The name in the document, and `<name>-hosts`.
    Backstop,
    /// A cluster for copies.
    Copies,
}

impl Cluster {
    /// A cluster of loopback ports; with none it has no hosts.
    pub fn new(name: &str, ports: &[u16]) -> Self {
        Self {
            name: name.into(),
            ports: ports.to_vec(),
            unhealthy: Vec::new(),
            http2: false,
            form: Form::Plain,
        }
    }

    /// Speaks HTTP/2 to its hosts, as gRPC needs.
    pub fn http2(self) -> Self {
        Self { http2: true, ..self }
    }

    /// Adds loopback ports that get no requests, even if all ports are unhealthy.
    pub fn unhealthy(self, ports: &[u16]) -> Self {
        Self { unhealthy: ports.to_vec(), ..self }
    }

    /// The shipped form: this name stands for `<name>-hosts`, and for the backstop if that has no host.
    pub fn backstop(self) -> Self {
        Self { form: Form::Backstop, ..self }
    }

    /// The shipped form for copies: they wait until their body is complete, and end.
    pub fn copies(self) -> Self {
        Self { form: Form::Copies, ..self }
    }

    fn render(&self, shipped: &Shipped) -> Vec<Value> {
        match self.form {
            Form::Plain => {
                let mut cluster = self.render_hosts(&shipped.hosts, &self.name);
                cluster["circuit_breakers"] = shipped.composite["circuit_breakers"].clone();
                return vec![cluster];
            }
            Form::Copies => return vec![self.render_hosts(&shipped.copies, &self.name)],
            Form::Backstop => {}
        }
        let hosts = format!("{}-hosts", self.name);
        let mut composite = shipped.composite.clone();
        composite["name"] = json!(self.name);
        let entries = at(&mut composite, "/cluster_type/typed_config/clusters").as_array_mut();
        for entry in entries.expect("the shipped entries are a list") {
            if entry["name"] == shipped.hosts["name"] {
                entry["name"] = json!(hosts);
            }
        }
        vec![composite, self.render_hosts(&shipped.hosts, &hosts)]
    }

    fn render_hosts(&self, shipped: &Value, name: &str) -> Value {
        let healthy = self.ports.iter().map(|port| json!({"endpoint": {"address": loopback(*port)}}));
        let unhealthy = self
            .unhealthy
            .iter()
            .map(|port| json!({"endpoint": {"address": loopback(*port)}, "health_status": "UNHEALTHY"}));
        let hosts: Vec<Value> = healthy.chain(unhealthy).collect();
        let mut cluster = shipped.clone();
        cluster["name"] = json!(name);
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]});
        if !self.unhealthy.is_empty() {
            cluster["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        }
        if self.http2 {
            let options = &mut cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            options["@type"] =
                json!("type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
            options["explicit_http_config"] = json!({"http2_protocol_options": {}});
        }
        cluster
    }
}

impl From<&Upstream> for Cluster {
    fn from(upstream: &Upstream) -> Self {
        Self::new(upstream.name(), &[upstream.port()])
    }
}

impl From<(&str, u16)> for Cluster {
    fn from((name, port): (&str, u16)) -> Self {
        Self::new(name, &[port])
    }
}

/// Where a cluster has its HTTP options.
const HTTP_OPTIONS: &str =
    "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The shipped clusters from which the clusters of a test are made.
struct Shipped {
    composite: Value,
    hosts: Value,
    copies: Value,
    backstop: Value,
}

impl Shipped {
    fn of(bootstrap: &Value) -> Self {
        let all =
            bootstrap["static_resources"]["clusters"].as_array().expect("the shipped clusters are a list");
        let named = |name: &str| {
            let found = all.iter().find(|cluster| cluster["name"] == name);
            found.unwrap_or_else(|| panic!("the shipped envoy.yaml has no cluster {name}")).clone()
        };
        Self {
            composite: named("fraud-v1"),
            hosts: named("fraud-v1-hosts"),
            copies: named("fraud-v3-copies"),
            backstop: named("rollout-no-hosts"),
        }
    }
}

/// The path of a shipped file.
pub(super) fn shipped(name: &str) -> PathBuf {
    workspace().join("envoy").join(name)
}

/// A shipped YAML file.
pub(super) fn shipped_yaml(name: &str) -> Value {
    yaml(&std::fs::read_to_string(shipped(name)).expect("the shipped file can be read"))
}

/// The ECDS files that an Envoy watches.
pub(super) struct EcdsFiles {
    pub(super) main: PathBuf,
    /// For the clusters for copies.
    pub(super) shadow: PathBuf,
}

const SHIPPED_PATH: &str = "/config_discovery/config_source/path_config_source/path";

/// The shipped bootstrap on free loopback ports, with these clusters and these ECDS files.
pub(super) fn bootstrap(ecds: &EcdsFiles, clusters: Vec<Cluster>) -> Value {
    let mut bootstrap = shipped_yaml("envoy.yaml");
    bootstrap["admin"]["address"] = loopback(0);
    bootstrap["static_resources"]["listeners"][0]["address"] = loopback(0);
    *at(filters(&mut bootstrap), &format!("/0{SHIPPED_PATH}")) = json!(ecds.main);
    let shipped = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters are a list");
    for filter in shipped.iter_mut().filter_map(shadow_entry) {
        *at(filter, SHIPPED_PATH) = json!(ecds.shadow);
    }
    if clusters.is_empty() {
        return bootstrap;
    }
    let shipped = Shipped::of(&bootstrap);
    let mut all: Vec<Value> = clusters.iter().flat_map(|cluster| cluster.render(&shipped)).collect();
    if clusters.iter().any(|cluster| cluster.form == Form::Backstop) {
        all.push(shipped.backstop);
    }
    bootstrap["static_resources"]["clusters"] = all.into();
    let fail_safe = routes(&mut bootstrap).as_array_mut().and_then(|list| list.last_mut());
    let stable = at(fail_safe.expect("the shipped routes end with the fail-safe one"), "/route/cluster");
    // Envoy refuses a route to a cluster that it doesn't have.
    if !clusters.iter().any(|cluster| stable.as_str() == Some(&cluster.name)) {
        *stable = json!(clusters[0].name);
    }
    bootstrap
}

/// The module's place in a cluster for copies. `None` for other clusters.
pub(super) fn shadow_entry(cluster: &mut Value) -> Option<&mut Value> {
    let filters = cluster.pointer_mut(&format!("{HTTP_OPTIONS}/http_filters"))?.as_array_mut()?;
    filters.iter_mut().find(|filter| filter["name"] == "rollout-shadow")
}

/// Puts a filter where a cluster for copies has the module, instead of its discovery, for [`super::Builder::tweak`].
pub fn set_shadow_filter(bootstrap: &mut Value, cluster: &str, typed_config: Value) {
    let all = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters are a list");
    let cluster = all.iter_mut().find(|of| of["name"] == cluster).expect("the cluster exists");
    let entry = shadow_entry(cluster).expect("it is a cluster for copies");
    *entry = json!({"name": "rollout-shadow", "typed_config": typed_config});
}

/// Puts `filter` where the shipped file has the rollout filter.
pub(super) fn set_filter(bootstrap: &mut Value, filter: Filter, module: impl FnOnce() -> PathBuf) {
    let list = filters(bootstrap).as_array_mut().expect("the HTTP filters are a list");
    let typed = |typed_config: Value| json!({"name": "rollout", "typed_config": typed_config});
    match filter {
        Filter::Ecds => {}
        Filter::Static(document) => {
            let text = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document});
            list[0] = typed(wasm_filter(&module(), text));
        }
        Filter::Lua(code) => {
            list[0] = typed(lua_filter(&code));
        }
        Filter::Absent => {
            list.remove(0);
        }
    }
}

/// The plain form of the contract: no failover, no mirrors.
pub(super) fn plain_route(bootstrap: &mut Value) {
    let list = routes(bootstrap).as_array_mut().expect("the routes are a list");
    let fail_safe = list.pop().expect("the shipped routes end with the fail-safe one");
    *list = vec![
        json!({
            "match": {"prefix": "/", "headers": [{"name": "x-rollout-cluster", "present_match": true}]},
            "route": {"cluster_header": "x-rollout-cluster"}
        }),
        fail_safe,
    ];
}

/// Puts a filter behind the rollout filter that answers by itself if `x-refuse` of a request names a status, for
/// [`super::Builder::tweak`].
pub fn refuse_on_request(bootstrap: &mut Value) {
    let code = r#"function envoy_on_request(handle)
        local status = handle:headers():get("x-refuse")
        if status then handle:respond({[":status"] = status}, "refused") end
    end"#;
    let list = filters(bootstrap).as_array_mut().expect("the HTTP filters are a list");
    list.insert(1, json!({"name": "lua", "typed_config": lua_filter(code)}));
}

/// The connection manager of a bootstrap, for [`super::Builder::tweak`].
pub fn connection_manager(bootstrap: &mut Value) -> &mut Value {
    at(bootstrap, "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
}

/// The list of routes of a bootstrap, for [`super::Builder::tweak`].
pub fn routes(bootstrap: &mut Value) -> &mut Value {
    at(connection_manager(bootstrap), "/route_config/virtual_hosts/0/routes")
}

fn filters(bootstrap: &mut Value) -> &mut Value {
    at(connection_manager(bootstrap), "/http_filters")
}

fn at<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    value.pointer_mut(pointer).unwrap_or_else(|| panic!("the shipped envoy.yaml has no {pointer}"))
}

fn loopback(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}
