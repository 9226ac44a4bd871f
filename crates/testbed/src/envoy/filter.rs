//! The filters that can take the place of the rollout filter, as typed configurations.

use std::path::Path;

use serde_json::{Value, json};

/// The filter in place of the rollout filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// The shipped configuration discovery, to be pushed to.
    Ecds,
    /// The wasm filter with this document, in the bootstrap itself.
    Static(String),
    /// A Lua filter with this code.
    Lua(String),
    /// No filter.
    Absent,
}

/// The wasm filter as the project ships it, with this packed configuration.
pub fn wasm_filter(module: &Path, configuration: Value) -> Value {
    plugin("rollout", "FAIL_RELOAD", module, configuration)
}

/// The same module in the role `shadow`, for clusters for copies.
pub fn shadow_filter(module: &Path) -> Value {
    let role =
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": r#"{"role": "shadow"}"#});
    plugin("rollout-shadow", "FAIL_OPEN", module, role)
}

fn plugin(name: &str, failure_policy: &str, module: &Path, configuration: Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": name,
            "root_id": name,
            "failure_policy": failure_policy,
            "vm_config": {
                "vm_id": "rollout",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}}
            },
            "configuration": configuration
        }
    })
}

/// A filter that does nothing.
pub fn header_mutation() -> Value {
    json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"})
}

/// A Lua filter with this code.
pub(super) fn lua_filter(code: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": code}
    })
}
