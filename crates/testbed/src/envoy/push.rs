//! Hot pushes by ECDS, as a control plane on the same machine makes them: a new file renamed over the old one.

use serde_json::{Value, json};

use super::filter::{header_mutation, wasm_filter};
use super::running::Envoy;

const DISCOVERY: &str = "extension_config_discovery.http_filter.rollout.";

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

    /// Pushes the wasm filter with any `configuration`, a packed message.
    pub fn push_configuration(&self, configuration: Value) -> Outcome {
        self.push_filter(wasm_filter(&self.module_path(), configuration))
    }

    /// Pushes the no-op of the shipped `ecds.yaml`: switches the filter off.
    pub fn push_off(&self) -> Outcome {
        self.push_filter(header_mutation())
    }

    /// Pushes any filter under the name `rollout`.
    pub fn push_filter(&self, typed_config: Value) -> Outcome {
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "rollout",
            "typed_config": typed_config
        });
        self.push_raw_yaml(&json!({"resources": [resource]}).to_string())
    }

    /// Replaces the whole ECDS file and waits for Envoy's verdict.
    pub fn push_raw_yaml(&self, text: &str) -> Outcome {
        self.verdict_of(|| self.write_ecds(text))
    }

    /// Replaces the whole ECDS file by renaming, without waiting.
    pub fn write_ecds(&self, text: &str) {
        let beside = self.folder().join("ecds.yaml.next");
        std::fs::write(&beside, text).expect("the private folder is writable");
        std::fs::rename(&beside, self.ecds_path()).expect("a file can be renamed over another in its folder");
    }

    /// Envoy's verdict on the push that `change` makes, by whatever tool.
    pub fn verdict_of(&self, change: impl FnOnce()) -> Outcome {
        let before = self.verdicts();
        change();
        self.wait_for("Envoy's verdict on a push", |envoy| {
            let now = envoy.verdicts();
            if now.rejected > before.rejected {
                return Some(Outcome::Rejected);
            }
            (now.accepted > before.accepted).then_some(Outcome::Accepted)
        })
    }

    /// Number of pushes that Envoy has rejected so far.
    pub fn update_rejected(&self) -> u64 {
        self.verdicts().rejected
    }

    /// Read from one page so that they belong together. A file that is not YAML counts
    /// as `update_failure`, one with a wrong resource as `update_rejected`.
    fn verdicts(&self) -> Verdicts {
        let stats = self.stats(r"^extension_config_discovery\.http_filter\.rollout\.update_");
        let count = |name: &str| stats.get(&format!("{DISCOVERY}update_{name}")).copied().unwrap_or(0);
        Verdicts { accepted: count("success"), rejected: count("rejected") + count("failure") }
    }
}
