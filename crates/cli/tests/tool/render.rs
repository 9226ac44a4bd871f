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
