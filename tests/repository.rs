//! What the repository says about itself is true: configurations are valid, documents have no problems, and paths exist.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may stop with the reason")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollout_core::{compile, metric};
use serde_json::Value;
use testbed::module::{self, workspace};

/// All files below a folder, except built and installed ones.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read").flatten().map(|entry| entry.path());
    let below = |path: PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_made =
            name.starts_with('.') || ["target", "dist", "corpus", "artifacts"].contains(&name.as_str());
        if !path.is_dir() {
            vec![path]
        } else if is_made {
            Vec::new()
        } else {
            files(&path)
        }
    };
    entries.flat_map(below).collect()
}

fn files_ending(ending: &str) -> Vec<PathBuf> {
    let all = files(workspace()).into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    let all: Vec<PathBuf> = all.collect();
    assert!(!all.is_empty(), "no file ends with {ending}");
    all
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of a page that name this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let parts: Vec<&str> = page.split("\n```").collect();
    let fenced = parts.iter().filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n'));
    fenced.map(str::to_owned).collect()
}

fn assert_serves(place: &str, document: &str) {
    let compiled = compile(document.as_bytes()).unwrap_or_else(|refused| panic!("{place}: {refused}"));
    assert_eq!(compiled.warnings, [], "{place}");
}

#[test]
fn envoy_accepts_the_shipped_configuration() {
    let output = Command::new(module::envoy())
        .args(["--mode", "validate", "-c", "envoy.yaml"])
        .current_dir(workspace().join("envoy"))
        .output()
        .expect("Envoy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn envoy_accepts_the_recipe_for_providers() {
    let recipe = read(&workspace().join("envoy/providers.yaml"));
    // Not every machine has a file of authorities in this place.
    let recipe = recipe.replace("{trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}}", "{}");
    let recipe = recipe.replace("auto_sni_san_validation: true", "auto_sni_san_validation: false");
    let output = Command::new(module::envoy())
        .args(["--mode", "validate", "-c", "envoy.yaml", "--config-yaml", &recipe])
        .current_dir(workspace().join("envoy"))
        .output()
        .expect("Envoy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_module_fits_its_budget() {
    let size = fs::metadata(module::build()).expect("the module has a size").len();
    let budget = module::SIZE_BUDGET;
    assert!(size <= budget, "the module has {size} bytes; the budget is {budget}");
}

#[test]
fn every_sample_has_neither_problems_nor_warnings() {
    for sample in files(&workspace().join("envoy/samples")) {
        let output =
            Command::new(module::rolloutctl()).args(["--format", "json", "check"]).arg(&sample).output();
        let output = output.expect("rolloutctl runs");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(result["ok"], true, "{}: {result}", sample.display());
        assert_eq!(result["warnings"], serde_json::json!([]), "{}", sample.display());
    }
}

#[test]
fn the_documents_of_the_istio_manifests_have_no_problems() {
    for (file, place) in
        [("wasmplugin.yaml", "/spec/pluginConfig"), ("trafficextension.yaml", "/spec/wasm/pluginConfig")]
    {
        let text = read(&workspace().join("envoy/istio").join(file));
        let manifest: Value = testbed::yaml(&text);
        let document = manifest.pointer(place).unwrap_or_else(|| panic!("{file} has no {place}"));
        assert_serves(file, &document.to_string());
    }
}

#[test]
fn the_istio_cluster_for_copies_is_that_of_the_shipped_configuration_with_other_hosts() {
    let own = testbed::yaml(&read(&workspace().join("envoy/envoy.yaml")));
    let clusters = own["static_resources"]["clusters"].as_array().expect("clusters");
    let shipped = clusters.iter().find(|cluster| cluster["name"] == "fraud-v3-copies").expect("it is there");
    let manifest = testbed::yaml(&read(&workspace().join("envoy/istio/copies.yaml")));
    let patches = manifest["spec"]["configPatches"].as_array().expect("patches");
    let value = |kind: &str| {
        let patch = patches.iter().find(|patch| patch["applyTo"] == kind).expect("a patch");
        patch["patch"]["value"].clone()
    };
    let mut cluster = value("CLUSTER");
    for (field, of) in shipped.as_object().expect("an object") {
        if ["type", "load_assignment"].contains(&field.as_str()) {
            cluster[field] = of.clone();
        }
    }
    let source = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                  /http_filters/1/config_discovery/config_source";
    *cluster.pointer_mut(source).expect("a source") = shipped.pointer(source).expect("a source").clone();
    assert_eq!(&cluster, shipped);

    let shadow = &value("EXTENSION_CONFIG");
    let config = &shadow["typed_config"]["config"];
    assert_eq!(shadow["name"], "rollout-shadow");
    assert_eq!(config["configuration"]["value"], r#"{"role": "shadow"}"#);
    let plugin = testbed::yaml(&read(&workspace().join("envoy/istio/wasmplugin.yaml")));
    assert_eq!(config["vm_config"]["code"]["remote"]["http_uri"]["uri"], plugin["spec"]["url"]);
}

#[test]
fn the_istio_routes_are_those_of_the_shipped_configuration() {
    let own = testbed::yaml(&read(&workspace().join("envoy/envoy.yaml")));
    let manager = &own["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array().expect("routes");
    let filter = testbed::yaml(&read(&workspace().join("envoy/istio/envoyfilter.yaml")));
    let patches: Vec<&Value> = filter["spec"]["configPatches"]
        .as_array()
        .expect("patches")
        .iter()
        .map(|patch| &patch["patch"]["value"])
        .collect();
    for name in ["rollout", "rollout-shadowed"] {
        let named = |value: &&Value| value["name"] == name;
        assert_eq!(patches.iter().copied().find(named), routes.iter().find(named), "route {name}");
    }
    let early = "early_header_mutation_extensions";
    assert!(patches.iter().any(|patch| patch["typed_config"][early] == manager[early]));
}

#[test]
fn every_metric_is_in_the_reference_and_every_label_of_it_in_the_shipped_configuration() {
    let reference = read(&workspace().join("docs/reference.md"));
    let tags = testbed::yaml(&read(&workspace().join("envoy/envoy.yaml")));
    let tags = tags["stats_config"]["stats_tags"].as_array().expect("tags").clone();
    let mesh = testbed::yaml(&read(&workspace().join("envoy/istio/mesh-config.yaml")));
    let mesh = mesh["meshConfig"]["defaultConfig"]["extraStatTags"].as_array().expect("tags").clone();
    for family in metric::FAMILIES {
        let name = format!("`{}`", family.name);
        let rows = reference.lines().filter(|line| line.starts_with('|'));
        let cells: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
        let named = |row: &&Vec<&str>| row.get(1).is_some_and(|cell| cell.split(", ").any(|of| of == name));
        let row = cells.iter().find(named).unwrap_or_else(|| panic!("the reference has no row for {name}"));
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        assert_eq!(row.get(3), Some(&labels.as_str()), "{name}");
        for label in family.labels {
            let regex = format!(r"^wasmcustom\.(?:.*;\.;)?({label}=\.=(.*?);\.;)");
            let tag = serde_json::json!({"tag_name": label, "regex": regex});
            assert!(tags.contains(&tag), "envoy.yaml has no {tag}");
            assert!(mesh.contains(&Value::from(*label)), "mesh-config.yaml has no {label}");
        }
    }
}

#[test]
fn the_shipped_clusters_are_those_that_the_tool_writes() {
    let sample = workspace().join("envoy/samples/shadow.json");
    let output = Command::new(module::rolloutctl())
        .args(["render", "clusters", "--hosts"])
        .args([workspace().join("envoy/envoy.yaml"), sample])
        .output();
    let output = output.expect("rolloutctl runs");
    let written = testbed::yaml(&String::from_utf8_lossy(&output.stdout));
    let written = written["clusters"].as_array().expect("clusters");
    let shipped = testbed::yaml(&read(&workspace().join("envoy/envoy.yaml")));
    let shipped = shipped["static_resources"]["clusters"].as_array().expect("clusters");
    assert_eq!(written.len(), 5, "three versions, what they share, and the copies of one");
    for cluster in written {
        assert!(shipped.contains(cluster), "{cluster}");
    }
}

#[test]
fn every_yaml_and_json_file_can_be_read() {
    for file in files_ending(".yaml") {
        testbed::yaml(&read(&file));
    }
    for file in files_ending(".json") {
        serde_json::from_str::<Value>(&read(&file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn every_document_in_the_pages_is_served_without_a_warning() {
    let mut documents = 0;
    for page in files_ending(".md") {
        let place = page.display().to_string();
        for block in blocks(&read(&page), "json") {
            if block.trim_start().starts_with('{') {
                documents += 1;
                assert_serves(&place, &block);
            } else {
                // A field of a rollout, to be put in place of another.
                serde_json::from_str::<Value>(&format!("{{{block}}}"))
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
            }
        }
    }
    assert!(documents >= 3, "only {documents} documents were found");
}

#[test]
fn every_path_in_the_pages_exists() {
    let mut links = 0;
    for page in files_ending(".md") {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if target.contains("://") || path.is_empty() {
                continue;
            }
            links += 1;
            let folder = page.parent().expect("a page is in a folder");
            assert!(folder.join(path).exists(), "{}: {target} leads nowhere", page.display());
        }
        for path in text.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
            assert!(workspace().join(path).exists(), "{}: `{path}` is not there", page.display());
        }
    }
    assert!(links >= 10, "only {links} links were found");
}

/// Code in a page that names a file of this repository.
fn is_path(code: &str) -> bool {
    let roots = ["crates/", "src/", "envoy/", "tests/", "docs/", "fuzz/"];
    roots.iter().any(|root| code.starts_with(root)) && !code.contains([' ', '*', '<'])
}
