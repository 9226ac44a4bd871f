//! Envoy's ECDS files. In the file of a listener the resource `rollout` is the wasm filter with its document inside. In the file of
//! the clusters for copies, the resource `rollout-shadow` is the same module in the role `shadow`. Envoy takes one resource per file.
//!
//! Everything else in a file stays as it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::yaml;
use crate::yaml::node::Node;

/// Name of the resource, and of the filter in the connection manager.
pub(crate) const RESOURCE: &str = "rollout";

/// Name of the resource for clusters for copies, and of the filter there.
const SHADOW: &str = "rollout-shadow";

/// What the name of the file for clusters for copies has in addition.
const SUFFIX: &str = "-shadow";

/// The configuration of the role.
const ROLE: &str = r#"{"role": "shadow"}"#;

/// Fields of a plugin that decide which VM runs it, and the module in it.
const MACHINE: [&str; 2] = ["vm_config", "capability_restriction_config"];

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// A whole file, without the path of the module and the document.
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
    /// The syntax by the end of the name, as Envoy does.
    pub(crate) fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension == "json") { Self::Json } else { Self::Yaml }
    }
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For the connection manager, with the document.
    Rollout,
    /// For clusters for copies.
    Shadow,
}

impl Kind {
    /// What Envoy's counters of the resource begin with, after `extension_config_discovery.`
    pub(crate) fn stat_prefix(self) -> &'static str {
        match self {
            Self::Rollout => "http_filter.rollout",
            Self::Shadow => "upstream_http_filter.rollout-shadow",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Rollout => RESOURCE,
            Self::Shadow => SHADOW,
        }
    }
}

/// The file for the clusters for copies: `ecds-shadow.yaml` next to `ecds.yaml`.
pub(crate) fn shadow_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The values of an ECDS file.
pub(crate) struct Resources {
    kind: Kind,
    node: Node,
}

impl Resources {
    /// A file with only the wasm resource, without module and configuration.
    pub(crate) fn new(kind: Kind) -> Result<Self> {
        let mut new = Self { kind, node: yaml::parse(TEMPLATE)? };
        if kind == Kind::Shadow {
            let name = || Node::Plain(SHADOW.to_owned());
            let resources = new.node.get_mut("resources").and_then(Node::as_list_mut);
            let resource =
                resources.and_then(|list| list.first_mut()).context("the template has no resource")?;
            resource.set("name", name());
            let plugin = new.plugin().context("the template has no plugin")?;
            plugin.set("name", name());
            plugin.set("root_id", name());
            plugin.set("failure_policy", Node::Plain("FAIL_OPEN".to_owned()));
        }
        Ok(new)
    }

    /// Reads a file; an empty one has no resources.
    pub(crate) fn parse(kind: Kind, text: &str, syntax: Syntax) -> Result<Self> {
        let node = match syntax {
            _ if text.trim().is_empty() => Node::NULL,
            Syntax::Yaml => yaml::parse(text)?,
            Syntax::Json => Node::from_json(text)?,
        };
        let node = if node.is_null() { Node::object([("version_info", Node::text(""))]) } else { node };
        if !node.is_object() {
            bail!("expected an object with `resources`");
        }
        let is_list = |resources: &Node| resources.is_null() || matches!(resources, Node::List(_));
        if !node.get("resources").is_none_or(is_list) {
            bail!("`resources` is not a list");
        }
        Ok(Self { kind, node })
    }

    pub(crate) fn write(&self, syntax: Syntax) -> Result<String> {
        match syntax {
            Syntax::Yaml => Ok(yaml::write(&self.node)),
            Syntax::Json => self.node.to_json(),
        }
    }

    /// The name under which the plugin reports its metrics. `None` if the resource is not the wasm filter.
    pub(crate) fn plugin_name(&mut self) -> Option<String> {
        let name = self.plugin()?.get("name").and_then(Node::as_str);
        Some(name.unwrap_or_default().to_owned())
    }

    /// Adds the wasm resource, in place of a resource of its name and another kind. Other resources stay.
    pub(crate) fn install(&mut self) -> Result<()> {
        if self.plugin().is_some() {
            return Ok(());
        }
        let mut fresh = Self::new(self.kind)?;
        let resource = fresh.resource().context("the template has no resource")?.clone();
        if let Some(place) = self.resource() {
            *place = resource;
            return Ok(());
        }
        match self.node.get_mut("resources").and_then(Node::as_list_mut) {
            Some(resources) => resources.push(resource),
            None => self.node.set("resources", Node::List(vec![resource])),
        }
        Ok(())
    }

    /// Sets the path of the module, in place of whatever named it before.
    pub(crate) fn set_module(&mut self, path: &Path) -> Result<()> {
        let path = std::path::absolute(path)?;
        let path = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
        let code = Node::object([("local", Node::object([("filename", Node::text(path))]))]);
        let plugin = self.plugin().context("no wasm resource")?;
        match plugin.get_mut("vm_config").filter(|machine| machine.is_object()) {
            Some(machine) => machine.set("code", code),
            None => plugin.set("vm_config", Node::object([("code", code)])),
        }
        Ok(())
    }

    /// Inserts the document. Its hash becomes the version that Envoy shows.
    pub(crate) fn set_document(&mut self, text: &str, hash: u32) -> Result<()> {
        self.set_configuration(text)?;
        self.node.set("version_info", Node::text(hash.to_string()));
        Ok(())
    }

    /// Puts the plugin into the VM of another file's, with the same module, in the role `shadow`. Installs it if necessary.
    pub(crate) fn follow(&mut self, main: &mut Self) -> Result<()> {
        self.install()?;
        let main = main.plugin().context("no wasm resource")?;
        let own = self.plugin().context("no wasm resource")?;
        for field in MACHINE {
            match main.get(field) {
                Some(value) => own.set(field, value.clone()),
                None => own.remove(field),
            }
        }
        self.set_configuration(ROLE)
    }

    fn set_configuration(&mut self, text: &str) -> Result<()> {
        let kind = Node::Plain("type.googleapis.com/google.protobuf.StringValue".to_owned());
        let configuration = Node::object([("@type", kind), ("value", Node::text(text))]);
        self.plugin().context("no wasm resource")?.set("configuration", configuration);
        Ok(())
    }

    /// The document of the wasm resource, if it is text.
    pub(crate) fn document(&mut self) -> Option<String> {
        let value = self.plugin()?.get("configuration")?.get("value")?;
        value.as_str().map(str::to_owned)
    }

    fn resource(&mut self) -> Option<&mut Node> {
        let name = self.kind.resource();
        let resources = self.node.get_mut("resources")?.as_list_mut()?;
        resources.iter_mut().find(|resource| resource.get("name").and_then(Node::as_str) == Some(name))
    }

    /// The plugin's own configuration, if the resource is a wasm filter.
    fn plugin(&mut self) -> Option<&mut Node> {
        let typed = self.resource()?.get_mut("typed_config")?;
        let kind = typed.get("@type").and_then(Node::as_str)?;
        let is_wasm = kind.rsplit('/').next() == Some(WASM);
        typed.get_mut("config").filter(|config| is_wasm && config.is_object())
    }
}
