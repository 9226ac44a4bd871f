//! `render`: the file that Envoy reads, and the clusters that it must have.

use serde_json::{Value, json};

use crate::run::Place;

#[test]
fn the_resource_carries_the_document_as_it_is() {
    let place = Place::with_documents();
    let pretty = "{\n  \"revision\": 1,\n  \"rollouts\": []\n}\n";
    place.write("pretty.json", pretty);
    let run = place.run(&["render", "ecds", "pretty.json", "--wasm", "/etc/envoy/filter.wasm"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    version_info: "1558652091"
    resources:
    - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
      name: rollout
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        config:
          name: rollout
          root_id: rollout
          failure_policy: FAIL_RELOAD
          vm_config:
            vm_id: rollout
            runtime: envoy.wasm.runtime.v8
            code:
              local:
                filename: "/etc/envoy/filter.wasm"
          configuration:
            "@type": type.googleapis.com/google.protobuf.StringValue
            value: |
              {
                "revision": 1,
                "rollouts": []
              }
    "#);
    let json =
        place.run(&["render", "ecds", "pretty.json", "--wasm", "filter.wasm", "--format", "json"]).json();
    let config = &json["resources"][0]["typed_config"]["config"];
    assert_eq!(config["configuration"]["value"], pretty);
    let path = config["vm_config"]["code"]["local"]["filename"].as_str().unwrap();
    assert!(path.starts_with('/') && path.ends_with("/filter.wasm"), "{path}");
    assert!(matches!(&json["version_info"], Value::String(version) if version.parse::<u32>().is_ok()));
}

#[test]
fn the_resource_for_clusters_for_copies_is_the_same_module_in_the_role_shadow() {
    let place = Place::with_documents();
    let run = place.run(&["render", "ecds", "good.json", "--wasm", "/etc/envoy/filter.wasm", "--shadow"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    version_info: ""
    resources:
    - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
      name: rollout-shadow
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        config:
          name: rollout-shadow
          root_id: rollout-shadow
          failure_policy: FAIL_OPEN
          vm_config:
            vm_id: rollout
            runtime: envoy.wasm.runtime.v8
            code:
              local:
                filename: "/etc/envoy/filter.wasm"
          configuration:
            "@type": type.googleapis.com/google.protobuf.StringValue
            value: "{\"role\": \"shadow\"}"
    "#);
}

#[test]
fn each_cluster_of_a_document_gets_its_backstop_once() {
    let place = Place::new();
    let rollout = |name: &str| {
        json!({"name": name, "match": [{"path": {"exact": format!("/{name}")}}], "unit": [{"header": "x-user-id"}], "stable": "v1",
               "versions": [{"name": "v1", "cluster": "b"}, {"name": "v2", "cluster": "a"}], "strategy": {"canary": {"version": "v2", "percent": 5}}})
    };
    let document = json!({"revision": 1, "rollouts": [rollout("one"), rollout("two")]});
    place.write("document.json", &document.to_string());
    let run = place.run(&["render", "clusters", "document.json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    clusters:
    - name: "a"
      connect_timeout: 1s
      lb_policy: CLUSTER_PROVIDED
      circuit_breakers:
        thresholds:
        - max_retries: 4294967295
      cluster_type:
        name: envoy.clusters.composite
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.clusters.composite.v3.ClusterConfig"
          clusters:
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "a-hosts"
          - name: "rollout-no-hosts"
    - name: "b"
      connect_timeout: 1s
      lb_policy: CLUSTER_PROVIDED
      circuit_breakers:
        thresholds:
        - max_retries: 4294967295
      cluster_type:
        name: envoy.clusters.composite
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.clusters.composite.v3.ClusterConfig"
          clusters:
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "b-hosts"
          - name: "rollout-no-hosts"
    - name: rollout-no-hosts
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: rollout-no-hosts
        endpoints:
        - lb_endpoints:
          - endpoint:
              address:
                pipe:
                  path: /dev/null
    "#);
    let json = place.run(&["render", "clusters", "document.json", "--format", "json"]).json();
    let names: Vec<&Value> =
        json["clusters"].as_array().unwrap().iter().map(|cluster| &cluster["name"]).collect();
    assert_eq!(names, ["a", "b", "rollout-no-hosts"]);
}

/// Two shadows, one without a cluster of its own, and one that two rollouts share.
fn shadowed() -> String {
    let rollout = |name: &str, bytes: u64| {
        json!({"name": name, "match": [{"path": {"exact": format!("/{name}")}}], "unit": [{"header": "x-user-id"}], "stable": "v1",
               "versions": [{"name": "v1", "cluster": "a"}, {"name": "v2", "cluster": "b"}, {"name": "v3", "cluster": "c"}],
               "shadow": [{"version": "v2", "percent": 5, "max_body_bytes": bytes},
                          {"version": "v3", "percent": 5, "cluster": "c-elsewhere", "max_body_bytes": 4_194_304}]})
    };
    json!({"revision": 1, "rollouts": [rollout("one", 1_000), rollout("two", 2_000)]}).to_string()
}

fn named<'v>(run: &'v Value, name: &str) -> &'v Value {
    let all = run["clusters"].as_array().unwrap();
    all.iter().find(|cluster| cluster["name"] == name).unwrap_or_else(|| panic!("no {name} in {run}"))
}

#[test]
fn each_shadowed_version_gets_a_cluster_for_copies_that_bounds_their_memory() {
    let place = Place::new();
    place.write("document.json", &shadowed());
    let run = place.run(&["render", "clusters", "document.json", "--format", "json"]);
    assert_eq!(run.code, 0);
    assert!(run.err.contains("have no hosts"), "{}", run.err);
    let all = run.json();
    for (name, bytes) in [("b-copies", 2_000_u64), ("c-elsewhere", 4_194_304)] {
        let cluster = named(&all, name);
        assert_eq!(cluster["load_assignment"], Value::Null);
        let options = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        assert_eq!(options["http_filters"][0]["typed_config"]["max_request_bytes"], bytes);
        let names: Vec<&Value> =
            options["http_filters"].as_array().unwrap().iter().map(|filter| &filter["name"]).collect();
        assert_eq!(
            names,
            ["envoy.filters.http.buffer", "rollout-shadow", "envoy.filters.http.upstream_codec"]
        );
        assert_eq!(options["common_http_protocol_options"]["max_stream_duration"], "30s");
        assert_eq!(cluster["per_connection_buffer_limit_bytes"], 32_768);
        let limits = &cluster["circuit_breakers"]["thresholds"][0];
        let copies = ["max_requests", "max_pending_requests"].map(|limit| limits[limit].as_u64().unwrap());
        assert!(copies.iter().sum::<u64>() * bytes <= 64 << 20, "{name}: {copies:?}");
        assert!(copies.iter().all(|limit| *limit > 0), "{name}: {copies:?}");
    }
}

#[test]
fn clusters_for_copies_get_hosts_and_protocol_of_the_versions_own() {
    let place = Place::new();
    place.write("document.json", &shadowed());
    let hosts = |name: &str, port: u16| {
        json!({"name": name, "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY",
            "health_checks": [{"timeout": "1s"}],
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
                {"socket_address": {"address": "models", "port_value": port}}}}]}]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": "9s"},
                "explicit_http_config": {"http2_protocol_options": {}}}}})
    };
    let composite = json!({"name": "b", "cluster_type": {"name": "envoy.clusters.composite"}});
    let clusters = json!([composite, hosts("b-hosts", 8002), hosts("c", 8003)]);
    place.write("envoy.json", &json!({"static_resources": {"clusters": clusters}}).to_string());
    place.write("list.yaml", &json!({"clusters": clusters}).to_string());
    for file in ["envoy.json", "list.yaml"] {
        let run = place.run(&["render", "clusters", "document.json", "--hosts", file, "--format", "json"]);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        let all = run.json();
        for (name, port) in [("b-copies", 8002), ("c-elsewhere", 8003)] {
            let cluster = named(&all, name);
            assert_eq!(cluster["type"], "STRICT_DNS");
            assert_eq!(cluster["per_connection_buffer_limit_bytes"], 32_768);
            assert_eq!(cluster["health_checks"], Value::Null);
            assert_eq!(cluster["load_assignment"]["cluster_name"], name);
            let place =
                "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
            assert_eq!(cluster.pointer(place), Some(&json!(port)));
            let options = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            assert_eq!(options["explicit_http_config"], json!({"http2_protocol_options": {}}));
            assert_eq!(
                options["common_http_protocol_options"],
                json!({"idle_timeout": "9s", "max_stream_duration": "30s"})
            );
        }
    }
    place.write("none.yaml", "static_resources: {clusters: [{name: b}]}");
    let run = place.run(&["render", "clusters", "document.json", "--hosts", "none.yaml"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("`none.yaml`") && run.err.contains("no cluster `c-hosts`"), "{}", run.err);
}
