//! YAML as data, for the configuration that the project ships.

/// A YAML file's one document as a JSON value; panics where it is none.
pub fn yaml(text: &str) -> serde_json::Value {
    serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("not YAML: {error}"))
}
