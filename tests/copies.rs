//! The module in the clusters for copies, in the real Envoy: it ends long answers of copies and nothing else, shares the VMs of the
//! filter through pushes and upgrades, and may be absent.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop with the reason")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use testbed::envoy::{Outcome, header_mutation, shadow_filter, wasm_filter};
use testbed::{Behaviour, Cluster, Envoy, Load, Request, Upstream, module};

/// The longest answer of a copy that Envoy reads to its end.
const LONGEST: usize = 1 << 20;

/// More than one answer that is ended may have brought: what fits into the buffers of connection and kernel comes on top.
const ENDED: u64 = 8 << 20;

const OPTIONS: &str =
    "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn document(revision: u64) -> String {
    json!({"revision": revision, "rollouts": [{
        "name": "m", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
        "versions": [{"name": "v1", "cluster": "live"}, {"name": "v2", "cluster": "model-copies"}],
        "shadow": [{"version": "v2", "percent": 100}]
    }]})
    .to_string()
}

/// A live model and its shadow behind an Envoy with two workers.
struct Site {
    live: Upstream,
    shadow: Upstream,
    envoy: Envoy,
}

impl Site {
    fn start(is_http2: bool, tweak: impl FnOnce(&mut Value) + 'static) -> Self {
        let [live, shadow] = ["live", "shadow"].map(Upstream::start);
        let copies = Cluster::new("model-copies", &[shadow.port()]).copies();
        let copies = if is_http2 { copies.http2() } else { copies };
        let envoy = Envoy::builder().cluster(&live).cluster(copies).concurrency(2).tweak(tweak).start();
        Self { live, shadow, envoy }
    }

    fn serving(is_http2: bool) -> Self {
        let site = Self::start(is_http2, |_| {});
        assert_eq!(site.envoy.push(&document(1)), Outcome::Accepted);
        site.envoy.wait_revision(1);
        site
    }

    /// Sends requests one after another; each must be answered by the live model.
    fn ask(&self, count: usize, make: impl Fn() -> Request) {
        let client = self.envoy.client();
        for _ in 0..count {
            let answer = client.send(make().header("x-user-id", "alice")).expect("Envoy answers");
            assert_eq!((answer.status, answer.upstream()), (200, "live".into()));
        }
    }

    fn copies(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("cluster.model-copies.{name}"))
    }

    /// Waits until this many copies have been sent and none is under way.
    fn wait_for_end(&self, count: u64) {
        self.envoy.wait_for("the end of the copies", |_| {
            let is_over = self.copies("upstream_rq_total") >= count && self.copies("upstream_rq_active") == 0;
            is_over.then_some(())
        });
    }

    /// VMs that exist.
    fn machines(&self) -> u64 {
        self.envoy.stat("wasm.envoy.wasm.runtime.v8.active")
    }

    fn wait_for_machines(&self, count: u64) {
        self.envoy.wait_for(&format!("{count} VMs"), |_| (self.machines() == count).then_some(()));
    }
}

#[test]
fn an_answer_that_says_that_it_is_too_long_is_ended_at_its_headers() {
    for is_http2 in [false, true] {
        let site = Site::serving(is_http2);
        site.shadow.set(Behaviour::ok().body(vec![b'x'; 100_000_000]));
        site.ask(20, || Request::get("/"));
        site.wait_for_end(20);
        let read = site.copies("upstream_cx_rx_bytes_total");
        assert!(read < 20 * ENDED, "HTTP/2: {is_http2}: {read} bytes of 20 answers");
        let ended =
            if is_http2 { "upstream_rq_tx_reset" } else { "upstream_cx_destroy_local_with_active_rq" };
        assert_eq!(site.copies(ended), 20, "HTTP/2: {is_http2}");
        assert_eq!(site.envoy.vm_reloads(), 0);
    }
}

#[test]
fn an_answer_without_an_end_is_ended_when_it_has_become_too_long() {
    for is_http2 in [false, true] {
        let site = Site::serving(is_http2);
        site.shadow.set(Behaviour::ok().endless(vec![b'x'; 16_384]));
        site.ask(20, || Request::post("/", vec![b'a'; 1_000]));
        site.wait_for_end(20);
        let read = site.copies("upstream_cx_rx_bytes_total");
        let least = 20 * LONGEST as u64;
        assert!((least..20 * ENDED).contains(&read), "HTTP/2: {is_http2}: {read} bytes of 20 answers");
        assert_eq!(site.envoy.vm_reloads(), 0);
    }
}

#[test]
fn an_answer_of_the_longest_size_and_one_without_a_body_come_to_their_end() {
    let site = Site::serving(false);
    site.shadow.set_with(|copy| match copy.method.as_str() {
        "HEAD" => Behaviour::ok().header("content-length", "100000000"),
        _ => Behaviour::ok().body(vec![b'x'; LONGEST]),
    });
    site.ask(10, || Request::get("/"));
    site.ask(10, || Request::new("HEAD", "/"));
    site.wait_for_end(20);
    assert_eq!(site.copies("upstream_rq_completed"), 20);
    assert_eq!(site.copies("upstream_cx_destroy_local_with_active_rq"), 0);
}

#[test]
fn a_long_answer_that_is_not_that_of_a_copy_comes_whole_through_the_module() {
    let site = Site::start(false, |_| {});
    let long = vec![b'y'; 3 * LONGEST];
    site.shadow.set(Behaviour::ok().body(long.clone()));
    // The cluster for copies serves a version, which `check` would not allow to be its own shadow.
    let mut served: Value = serde_json::from_str(&document(1)).expect("JSON");
    served["rollouts"][0]["versions"][0]["cluster"] = json!("model-copies");
    served["rollouts"][0]["shadow"] = json!([]);
    assert_eq!(site.envoy.push(&served.to_string()), Outcome::Accepted);
    site.envoy.wait_revision(1);
    let ask = Request::get("/").header("x-user-id", "alice").header("x-rollout-shadow", "model-copies");
    let answer = site.envoy.client().send(ask).expect("Envoy answers");
    assert_eq!(answer.status, 200);
    assert!(answer.body == long, "{} bytes", answer.body.len());
}

#[test]
fn both_roles_share_a_vm_on_each_worker_also_after_an_upgrade_under_load() {
    let site = Site::start(false, |_| {});
    site.envoy.push_filter(wasm_filter(&module::build(), text(&document(1))));
    site.envoy.wait_revision(1);
    let machines = site.machines();
    assert!(machines >= 3, "two workers and the main thread have {machines}");
    assert_eq!(site.envoy.push_shadow(&shadow(&module::build())), Outcome::Accepted);
    site.ask(10, || Request::get("/"));
    site.wait_for_machines(machines);

    let load = Load::new(site.envoy.address()).connections(8).rate(500.0);
    let running = load.start(|number| Request::get("/").header("x-user-id", format!("user-{number}")));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let next = module::upgraded(folder.path());
    let outcome = site.envoy.push_filter(wasm_filter(&next, text(&document(2))));
    assert_eq!(outcome, Outcome::Accepted);
    site.envoy.wait_revision(2);
    assert_eq!(site.envoy.push_shadow(&shadow(&next)), Outcome::Accepted);
    site.wait_for_machines(machines);
    let report = running.stop();
    assert_eq!((report.failed(), report.answered_by("live")), (0, report.sent), "{report:?}");
    assert!(site.copies("upstream_rq_total") > 0);
    assert_eq!(site.envoy.vm_reloads(), 0);

    let revisions = site.envoy.stats("rollout_config_revision$");
    assert_eq!(revisions.len(), 1, "the role announces nothing: {revisions:?}");
}

fn text(document: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document})
}

/// The ECDS file of the clusters for copies with this module.
fn shadow(module: &std::path::Path) -> String {
    file(&shadow_filter(module))
}

fn file(typed_config: &Value) -> String {
    json!({"resources": [{"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "rollout-shadow", "typed_config": typed_config}]})
    .to_string()
}

#[test]
fn the_tool_gives_both_roles_one_module_and_a_push_of_a_document_touches_only_the_filter() {
    let site = Site::start(false, |_| {});
    let folder = tempfile::tempdir().expect("a temporary folder");
    let push = |revision: u64, module: Option<PathBuf>| {
        let path = folder.path().join("document.json");
        std::fs::write(&path, document(revision)).expect("the folder is writable");
        let mut command = Command::new(module::rolloutctl());
        command.arg("push").arg(&path).arg("--to").arg(site.envoy.ecds_path());
        command.args(["--envoy", &site.envoy.admin_url()]);
        if let Some(module) = module {
            command.arg("--wasm").arg(module);
        }
        let output = command.output().expect("rolloutctl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("\nlive: "), "{output:?}");
        assert_eq!(site.envoy.revision(), revision);
    };
    let updates =
        || site.envoy.stat("extension_config_discovery.upstream_http_filter.rollout-shadow.update_success");
    assert_eq!(updates(), 1, "the no-op");
    push(1, Some(module::build()));
    site.envoy.wait_for("the module in the clusters for copies", |_| (updates() == 2).then_some(()));
    site.shadow.set(Behaviour::ok().endless(vec![b'x'; 16_384]));
    site.ask(5, || Request::get("/"));
    site.wait_for_end(5);
    assert!(site.copies("upstream_cx_rx_bytes_total") < 5 * ENDED);

    let (machines, created) = (site.machines(), site.envoy.stat("wasm.envoy.wasm.runtime.v8.created"));
    push(2, None);
    site.wait_for_machines(machines);
    let now = site.envoy.stat("wasm.envoy.wasm.runtime.v8.created");
    assert_eq!(now, created + 1, "only the canary of the document");
    assert_eq!(updates(), 2, "the clusters for copies have what they need");

    push(3, Some(module::upgraded(folder.path())));
    site.envoy.wait_for("the next module in the clusters for copies", |_| (updates() == 3).then_some(()));
    site.wait_for_machines(machines);
    site.ask(5, || Request::get("/"));
    site.wait_for_end(10);
    assert!(site.copies("upstream_cx_rx_bytes_total") < 10 * ENDED);
    assert_eq!(site.envoy.vm_reloads(), 0);
}

/// Takes the module out of the clusters for copies, as they were before it.
fn remove_module(bootstrap: &mut Value) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    for filters in
        clusters.iter_mut().filter_map(|cluster| cluster.pointer_mut(&format!("{OPTIONS}/http_filters")))
    {
        filters.as_array_mut().expect("filters").retain(|filter| filter["name"] != "rollout-shadow");
    }
}

#[test]
fn a_cluster_for_copies_without_the_module_and_one_that_lacks_it_yet_get_copies() {
    let before = Site::start(false, remove_module);
    let off = Site::start(false, |_| {});
    let empty = Site::start(false, |_| {});
    assert_eq!(off.envoy.push_shadow(&file(&header_mutation())), Outcome::Accepted);
    // Envoy refuses a file without the resource, and the no-op stays.
    assert_eq!(empty.envoy.push_shadow(r#"{"resources": []}"#), Outcome::Rejected);
    for site in [before, off, empty] {
        site.envoy.push_filter(wasm_filter(&module::build(), text(&document(1))));
        site.envoy.wait_revision(1);
        site.shadow.set(Behaviour::ok().body(vec![b'x'; 2 * LONGEST]));
        site.ask(10, || Request::get("/"));
        site.wait_for_end(10);
        site.shadow.wait_count(10);
        assert!(
            site.copies("upstream_cx_rx_bytes_total") > 10 * 2 * LONGEST as u64,
            "answers are read whole"
        );
    }
}

#[test]
fn switching_the_filter_off_ends_copies_and_switching_it_on_again_brings_both_roles_back() {
    let site = Site::serving(false);
    site.shadow.set(Behaviour::ok().body(vec![b'x'; 2 * LONGEST]));
    assert_eq!(site.envoy.push_off(), Outcome::Accepted);
    site.envoy.wait_for("requests without the filter", |_| {
        site.live.clear();
        site.ask(1, || Request::get("/"));
        let seen = site.live.requests().pop().expect("the request");
        seen.header("x-rollout-cluster").is_none().then_some(())
    });
    let before = site.copies("upstream_rq_total");
    site.ask(10, || Request::get("/"));
    assert_eq!(site.copies("upstream_rq_total"), before);
    assert_eq!(site.envoy.push_shadow(&file(&header_mutation())), Outcome::Accepted);
    site.wait_for_machines(0);

    assert_eq!(site.envoy.push(&document(2)), Outcome::Accepted);
    site.envoy.wait_revision(2);
    let read = site.copies("upstream_cx_rx_bytes_total");
    site.ask(10, || Request::get("/"));
    site.wait_for_end(before + 10);
    assert!(site.copies("upstream_cx_rx_bytes_total") - read < 10 * ENDED);
    assert_eq!(site.copies("upstream_cx_destroy_local_with_active_rq"), before + 10);
}
