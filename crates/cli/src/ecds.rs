//! Envoy's ECDS file: a discovery response whose resource `rollout` is the wasm filter with its document inside.
//!
//! Works on parsed values, so whatever else a file holds stays what it was.

use std::path::Path;

use anyhow::{Context, Result, bail};
use yaml_serde::{Mapping, Value};

/// Name of the resource, and of the filter in the connection manager.
pub(crate) const RESOURCE: &str = "rollout";

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// A whole file; the module's path and the document are yet to be filled in.
const TEMPLATE: &str = r#"
version_info: ""
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
        code: {}
      configuration: {}
"#;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Yaml,
    Json,
}

impl Syntax {
    /// Envoy too goes by the end of the name.
    pub(crate) fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "json") { Self::Json } else { Self::Yaml }
    }
}

/// The values of an ECDS file.
pub(crate) struct Resources(Mapping);

impl Resources {
    /// A file with the wasm resource alone.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(yaml_serde::from_str(TEMPLATE)?))
    }

    /// Reads a file; an empty one has no resources.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self> {
        let value: Value = match syntax {
            _ if text.trim().is_empty() => Value::Null,
            Syntax::Yaml => yaml_serde::from_str(text)?,
            Syntax::Json => serde_json::from_str(text)?,
        };
        let mapping = match value {
            Value::Null => Mapping::new(),
            Value::Mapping(mapping) => mapping,
            _ => bail!("expected an object with `resources`"),
        };
        if mapping.get("resources").is_some_and(|resources| !resources.is_sequence() && !resources.is_null())
        {
            bail!("`resources` is not a list");
        }
        Ok(Self(mapping))
    }

    pub(crate) fn write(&self, syntax: Syntax) -> Result<String> {
        match syntax {
            Syntax::Yaml => Ok(yaml_serde::to_string(&self.0)?),
            Syntax::Json => Ok(serde_json::to_string_pretty(&self.0)? + "\n"),
        }
    }

    /// Name that the plugin reports its metrics under; none where `rollout` is not the wasm filter.
    pub(crate) fn plugin_name(&mut self) -> Option<String> {
        let name = self.plugin()?.get("name").and_then(Value::as_str);
        Some(name.unwrap_or_default().to_owned())
    }

    /// Puts the wasm resource where `rollout` is something else or nothing; other resources stay.
    pub(crate) fn install(&mut self) -> Result<()> {
        if self.plugin().is_some() {
            return Ok(());
        }
        let mut fresh = Self::new()?;
        let resource = fresh.resource().map(std::mem::take).context("the template has no resource")?;
        if let Some(place) = self.resource() {
            *place = resource;
            return Ok(());
        }
        match self.0.get_mut("resources").and_then(Value::as_sequence_mut) {
            Some(resources) => resources.push(resource),
            None => {
                self.0.insert("resources".into(), Value::Sequence(vec![resource]));
            }
        }
        Ok(())
    }

    /// Names the module; whatever named it before goes.
    pub(crate) fn set_module(&mut self, path: &Path) -> Result<()> {
        let path = std::path::absolute(path)?;
        let path = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
        let plugin = self.plugin().context("no wasm resource")?;
        let machine = plugin.entry("vm_config".into()).or_insert_with(|| Value::Mapping(Mapping::new()));
        let machine = machine.as_mapping_mut().context("`vm_config` is not an object")?;
        machine.insert("code".into(), object([("local", object([("filename", path.into())]))]));
        Ok(())
    }

    /// Puts the document in; its hash is the version that Envoy shows.
    pub(crate) fn set_document(&mut self, text: &str, hash: u32) -> Result<()> {
        let kind = "type.googleapis.com/google.protobuf.StringValue";
        let configuration = object([("@type", kind.into()), ("value", text.into())]);
        self.plugin().context("no wasm resource")?.insert("configuration".into(), configuration);
        self.0.insert("version_info".into(), hash.to_string().into());
        Ok(())
    }

    fn resource(&mut self) -> Option<&mut Value> {
        let resources = self.0.get_mut("resources")?.as_sequence_mut()?;
        resources.iter_mut().find(|resource| resource.get("name").and_then(Value::as_str) == Some(RESOURCE))
    }

    /// The plugin's own configuration, if the resource is a wasm filter.
    fn plugin(&mut self) -> Option<&mut Mapping> {
        let typed = self.resource()?.get_mut("typed_config")?;
        let kind = typed.get("@type").and_then(Value::as_str)?;
        let is_wasm = kind.rsplit('/').next() == Some(WASM);
        typed.get_mut("config").filter(|_| is_wasm)?.as_mapping_mut()
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Mapping(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
