//! One Envoy with one worker, in which every variant has a listener of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::envoy::{Cluster, connection_manager, routes, set_shadow_filter, shadow_filter, wasm_filter};
use testbed::{Envoy, answer};

use crate::authority;
use crate::machine;
use crate::shadowed::{self, Form};
use crate::traffic::{self, Connection, Load, Requests, Upstream};
use crate::variant::{Content, Role, Variant};

/// Users whose decisions are compared before anything is measured.
const CHECKED: usize = 300;

/// Requests ahead of each phase that are not measured: they bring the variant's code back into the caches.
const LEAD: usize = 32;

/// The answer of the models of most variants.
const SHORT: &str = r#"{"score":0.25}"#;

/// The running Envoy.
pub(crate) struct Stage {
    pub(crate) envoy: Envoy,
    /// By variant.
    listeners: Vec<Listener>,
    _documents: TempDir,
}

struct Listener {
    address: SocketAddr,
    connections: Vec<Connection>,
    copies: Option<Copied>,
    /// The cluster whose calls must have ended before the clock is read.
    waits_for: Option<String>,
}

/// Where copies of a listener's requests arrive.
struct Copied {
    upstream: Upstream,
    cluster: String,
}

/// What a phase has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// Nanoseconds of the worker's CPU per request.
    pub(crate) nanos: f64,
    /// Copies per request.
    pub(crate) copies: f64,
}

impl Stage {
    /// Starts the Envoy and waits until every filter serves.
    pub(crate) fn start(variants: &[Variant]) -> Self {
        let documents = TempDir::with_prefix("rollout-bench-").expect("the temporary folder is writable");
        let folder = documents.path().to_owned();
        let contents: Vec<Content> = variants.iter().map(|variant| variant.content.clone()).collect();
        let port = Upstream::start(SHORT).port;
        let long = Upstream::start(&answer::of_two_kib(false)).port;
        let mut clusters = vec![Cluster::new("fraud-v1", &[port]), Cluster::new("fraud-v2", &[port])];
        clusters.extend(shadowed::LIVE.map(|cluster| Cluster::new(cluster, &[long])));
        clusters.extend(contents.iter().enumerate().filter_map(|(index, content)| match content {
            Content::External(document) => {
                Some(Cluster::new(&name(index), &[authority::serve(document)]).http2())
            }
            Content::Native(_) | Content::Lua(_) | Content::Wasm(..) => None,
        }));
        let mut copies: Vec<Option<Copied>> = Vec::new();
        let mut shadows: Vec<(String, Value)> = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            copies.push(variant.copies.as_ref().map(|copies| {
                let upstream = Upstream::start(&answer::of_two_kib(true));
                let cluster = Cluster::new(&copies.cluster, &[upstream.port]);
                clusters.push(match copies.form {
                    Form::Plain => cluster,
                    Form::Shipped => cluster.copies(),
                });
                if let (Form::Shipped, Content::Wasm(module, _)) = (copies.form, &variant.content) {
                    shadows.push((copies.cluster.clone(), in_vm(&name(index), shadow_filter(module))));
                }
                Copied { upstream, cluster: copies.cluster.clone() }
            }));
        }
        let envoy = Envoy::builder()
            .log_level("warn")
            .clusters(clusters)
            .tweak(move |bootstrap| {
                let one = |(index, content)| listener(bootstrap.clone(), &name(index), content, &folder);
                let listeners: Value = contents.iter().enumerate().map(one).collect();
                bootstrap["static_resources"]["listeners"] = listeners;
                for (cluster, filter) in shadows {
                    set_shadow_filter(bootstrap, &cluster, filter);
                }
            })
            .start();
        let addresses = addresses(&envoy);
        let listener = |(index, copies): (usize, Option<Copied>)| {
            let found = addresses.iter().find(|(of, _)| *of == name(index));
            let (_, address) = found.expect("every variant has a listener");
            let is_shadowed = matches!(variants[index].role, Role::Shadowed(_));
            let waits_for = copies.as_ref().map(|of| of.cluster.clone());
            // Those without copies wait too: what is compared is measured alike.
            let waits_for = waits_for.or_else(|| is_shadowed.then(|| shadowed::LIVE[0].to_owned()));
            Listener { address: *address, connections: Vec::new(), copies, waits_for }
        };
        let listeners = copies.into_iter().enumerate().map(listener).collect();
        let stage = Self { envoy, listeners, _documents: documents };
        stage.wait(variants);
        stage
    }

    /// Every discovered filter is taken, and every filter that decides removes what clients forge.
    fn wait(&self, variants: &[Variant]) {
        for (index, variant) in variants.iter().enumerate() {
            let Content::Wasm(..) = variant.content else { continue };
            let name = name(index);
            let prefix = format!("extension_config_discovery.http_filter.{name}");
            self.envoy.wait_stat(&format!("{prefix}.config_reload"), 1);
            if variant.agrees {
                let requests = Requests::new(false);
                self.envoy.wait_for(&format!("{} to serve", variant.about), |_| {
                    let received = requests.received(self.address(index), 0);
                    received.iter().all(|line| !line.ends_with("evil")).then_some(())
                });
            }
        }
    }

    fn address(&self, variant: usize) -> SocketAddr {
        self.listeners[variant].address
    }

    /// One phase. The worker's clock is read when no copy is under way: their CPU is that of their requests.
    pub(crate) fn measure(&mut self, variant: usize, load: &Load, requests: &Requests) -> Phase {
        let Listener { address, connections, copies, waits_for } = &mut self.listeners[variant];
        let received = || copies.as_ref().map_or(0, |copies| copies.upstream.received());
        Load { requests: LEAD, ..*load }.drive(*address, connections, requests);
        rest(&self.envoy, waits_for.as_deref());
        let before = (machine::worker_nanos(self.envoy.pid()), received());
        let answered = load.drive(*address, connections, requests);
        rest(&self.envoy, waits_for.as_deref());
        let spent = machine::worker_nanos(self.envoy.pid()).saturating_sub(before.0);
        let copied = received() - before.1;
        Phase { nanos: spent as f64 / answered as f64, copies: copied as f64 / answered as f64 }
    }
}

/// Waits until every call to the cluster has ended.
fn rest(envoy: &Envoy, cluster: Option<&str>) {
    let Some(cluster) = cluster else { return };
    let filter = format!(r"^cluster\.{cluster}\.upstream_rq(_pending)?_active$");
    envoy.wait_for("the end of all copies", |envoy| {
        envoy.stats(&filter).values().all(|active| *active == 0).then_some(())
    });
    std::thread::sleep(traffic::SETTLE);
}

/// Panics unless every copy that was to be compared was compared, and matches.
pub(crate) fn all_compared(stage: &Stage, variants: &[Variant]) {
    let is_compared = |variant: &Variant| variant.copies.as_ref().is_some_and(|copies| copies.is_compared);
    let compared = variants.iter().zip(&stage.listeners).filter(|(variant, _)| is_compared(variant));
    let copies: usize =
        compared.filter_map(|(_, of)| of.copies.as_ref()).map(|of| of.upstream.received()).sum();
    let results = stage.envoy.stats(r"^wasmcustom\..*;\.;rollout_shadow_total$");
    let pairs: BTreeMap<_, _> =
        results.iter().filter(|(name, count)| !name.contains("result=.=sent;") && **count > 0).collect();
    let is_match = pairs.keys().all(|name| name.contains("result=.=match;"));
    let matched: u64 = pairs.values().copied().sum();
    assert!(is_match && matched == copies as u64, "{copies} copies to compare: {pairs:?}");
}

/// Name of a variant's listener and filter.
fn name(index: usize) -> String {
    format!("variant-{index}")
}

/// The shipped listener with this variant's content.
fn listener(mut bootstrap: Value, name: &str, content: &Content, folder: &Path) -> Value {
    let filters = connection_manager(&mut bootstrap)["http_filters"].as_array_mut();
    let filters = filters.expect("the HTTP filters are a list");
    match content {
        Content::Native(list) => {
            filters.remove(0);
            *routes(&mut bootstrap) = list.clone();
        }
        Content::Lua(code) => filters[0] = lua(name, code),
        Content::External(_) => filters[0] = ext_authz(name),
        Content::Wasm(module, document) => {
            filters[0]["name"] = json!(name);
            let file = discovered(name, wasm(name, module, document), folder);
            filters[0]["config_discovery"]["config_source"]["path_config_source"]["path"] = json!(file);
        }
    }
    let mut listener = bootstrap["static_resources"]["listeners"][0].take();
    listener["name"] = json!(name);
    listener
}

fn lua(name: &str, code: &str) -> Value {
    json!({"name": name, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code}
    }})
}

/// Asks the service behind the cluster of this name, and chooses the route again by its answer.
fn ext_authz(name: &str) -> Value {
    json!({"name": name, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "clear_route_cache": true,
        "grpc_service": {"envoy_grpc": {"cluster_name": name}, "timeout": "5s"}
    }})
}

/// The shipped wasm filter in a VM of its own: filters that share one would share their state too.
fn wasm(name: &str, module: &Path, document: &str) -> Value {
    let text = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document});
    let mut filter = in_vm(name, wasm_filter(module, text));
    filter["config"]["name"] = json!(name);
    filter
}

/// The filter in the VM of a variant.
fn in_vm(variant: &str, mut filter: Value) -> Value {
    filter["config"]["vm_config"]["vm_id"] = json!(variant);
    filter
}

/// Writes a filter where the listener's discovery reads it.
fn discovered(name: &str, typed_config: Value, folder: &Path) -> PathBuf {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": typed_config
    });
    let file = folder.join(format!("{name}.yaml"));
    let text = json!({"resources": [resource]}).to_string();
    std::fs::write(&file, text).expect("the private folder is writable");
    file
}

/// Every listener's name with its address.
fn addresses(envoy: &Envoy) -> Vec<(String, SocketAddr)> {
    let page = envoy.admin("/listeners?format=json");
    let page: Value = serde_json::from_str(&page).expect("the admin's listeners are JSON");
    let list = page["listener_statuses"].as_array().expect("the listeners are a list");
    let one = |listener: &Value| {
        let port = listener["local_address"]["socket_address"]["port_value"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).expect("a listener has a port");
        let name = listener["name"].as_str().expect("a listener has a name");
        (name.to_owned(), SocketAddr::from(([127, 0, 0, 1], port)))
    };
    list.iter().map(one).collect()
}

/// Panics unless every variant that decides sends on the same headers, forged ones removed; returns for how many users.
pub(crate) fn agree(stage: &Stage, variants: &[Variant], requests: &Requests) -> usize {
    let deciding: Vec<_> = variants.iter().enumerate().filter(|(_, variant)| variant.agrees).collect();
    let mut treated = 0;
    for user in 0..CHECKED {
        let mut expected: Option<Vec<String>> = None;
        for (index, variant) in &deciding {
            let received = requests.received(stage.address(*index), user);
            // Four come from the variant that decides, and two from the route.
            assert_eq!(received.len(), 6, "{}: user {user}: {received:?}", variant.about);
            treated += usize::from(received.iter().any(|line| line.ends_with("=v2")));
            let expected = expected.get_or_insert_with(|| received.clone());
            assert_eq!(*expected, received, "{}: user {user}", variant.about);
        }
    }
    assert!(deciding.is_empty() || treated > 0, "the canary serves nobody");
    CHECKED
}
