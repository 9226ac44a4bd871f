//! `render ecds`: the file that Envoy reads.

use serde_json::Value;

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
