//! Hot pushes by ECDS, as a control plane on the same machine makes them: a new file renamed over the old one.

use std::path::Path;

use serde_json::{Value, json};

use super::filter::{header_mutation, shadow_filter, wasm_filter};
use super::running::Envoy;

/// A resource, by the names that Envoy's counters have for it.
const MAIN: &str = "http_filter.rollout";
const SHADOW: &str = "upstream_http_filter.rollout-shadow";

/// What Envoy made of a pushed resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted; the workers switch to it a moment later (see [`Envoy::wait_revision`]).
    Accepted,
    /// Rejected by the filter or by Envoy; the current one keeps serving.
    Rejected,
}

/// Number of pushes that Envoy has accepted and rejected so far.
struct Verdicts {
    accepted: u64,
    rejected: u64,
}

impl Envoy {
    /// Pushes the wasm filter with this document as text and waits for Envoy's verdict.
    pub fn push(&self, document: &str) -> Outcome {
        self.push_configuration(json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": document
        }))
    }

    /// Pushes the wasm filter with this document as a `Struct`.
    pub fn push_struct(&self, document: &Value) -> Outcome {
        self.push_configuration(
            json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": document}),
        )
    }

    /// Pushes the wasm filter with any `configuration`, a packed message. If Envoy accepts it, the clusters for copies get the
    /// same module.
    pub fn push_configuration(&self, configuration: Value) -> Outcome {
        let module = self.module_path();
        let outcome = self.push_filter(wasm_filter(&module, configuration));
        if outcome == Outcome::Accepted {
            self.keep_in_step(&module);
        }
        outcome
    }

    /// Pushes this module to the clusters for copies, unless they have it.
    fn keep_in_step(&self, module: &Path) {
        let text = resource("rollout-shadow", shadow_filter(module));
        let path = self.shadow_ecds_path();
        if !self.has_copies() || std::fs::read_to_string(path).is_ok_and(|known| known == text) {
            return;
        }
        let outcome = self.push_shadow(&text);
        assert_eq!(outcome, Outcome::Accepted, "the module in the role `shadow`");
    }

    /// Replaces the whole ECDS file of the clusters for copies and waits for Envoy's verdict.
    pub fn push_shadow(&self, text: &str) -> Outcome {
        self.verdict_on(SHADOW, || replace(self.shadow_ecds_path(), text))
    }

    /// Pushes the no-op of the shipped `ecds.yaml`: switches the filter off.
    pub fn push_off(&self) -> Outcome {
        self.push_filter(header_mutation())
    }

    /// Pushes any filter under the name `rollout`.
    pub fn push_filter(&self, typed_config: Value) -> Outcome {
        self.push_raw_yaml(&resource("rollout", typed_config))
    }

    /// Replaces the whole ECDS file and waits for Envoy's verdict.
    pub fn push_raw_yaml(&self, text: &str) -> Outcome {
        self.verdict_of(|| self.write_ecds(text))
    }

    /// Replaces the whole ECDS file by renaming, without waiting.
    pub fn write_ecds(&self, text: &str) {
        replace(self.ecds_path(), text);
    }

    /// Envoy's verdict on the push that `change` makes, by whatever tool.
    pub fn verdict_of(&self, change: impl FnOnce()) -> Outcome {
        self.verdict_on(MAIN, change)
    }

    fn verdict_on(&self, resource: &str, change: impl FnOnce()) -> Outcome {
        let before = self.verdicts(resource);
        change();
        self.wait_for("Envoy's verdict on a push", |envoy| {
            let now = envoy.verdicts(resource);
            if now.rejected > before.rejected {
                return Some(Outcome::Rejected);
            }
            (now.accepted > before.accepted).then_some(Outcome::Accepted)
        })
    }

    /// Number of pushes that Envoy has rejected so far.
    pub fn update_rejected(&self) -> u64 {
        self.verdicts(MAIN).rejected
    }

    /// Read from one page so that they belong together. A file that is not YAML counts
    /// as `update_failure`, one with a wrong resource as `update_rejected`.
    fn verdicts(&self, resource: &str) -> Verdicts {
        let prefix = format!("extension_config_discovery.{resource}.update_");
        let stats = self.stats(&format!("^{}", prefix.replace('.', r"\.")));
        let count = |name: &str| stats.get(&format!("{prefix}{name}")).copied().unwrap_or(0);
        Verdicts { accepted: count("success"), rejected: count("rejected") + count("failure") }
    }
}

/// A file with one resource.
fn resource(name: &str, typed_config: Value) -> String {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": typed_config
    });
    json!({"resources": [resource]}).to_string()
}

/// Replaces a file by renaming.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("next");
    std::fs::write(&beside, text).expect("the private folder is writable");
    std::fs::rename(&beside, path).expect("a file can be renamed over another in its folder");
}
