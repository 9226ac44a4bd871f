//! YAML as data, for the configuration that the project ships.

/// The one document of a YAML text as a JSON value. Panics if the text is not YAML.
pub fn yaml(text: &str) -> serde_json::Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("not YAML: {error}"))
}
