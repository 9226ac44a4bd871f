//! `push`: what it writes, what it keeps, what it refuses, and what it learns from Envoy.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::fake_envoy::{Metrics, clusters, serve, stats};
use crate::run::{Place, document};

const ALL: [&str; 3] = ["fraud-v1", "fraud-v2", "fraud-v3"];
const FIRST: [&str; 6] = ["push", "good.json", "--to", "ecds.yaml", "--wasm", "filter.wasm"];
const AGAIN: [&str; 4] = ["push", "good.json", "--to", "ecds.yaml"];

fn hash(place: &Place, name: &str) -> u64 {
    place.run(&["check", name, "--format", "json"]).json()["hash"].as_u64().unwrap()
}

#[test]
fn a_new_file_is_what_render_writes() {
    let place = Place::with_documents();
    place.write("filter.wasm", "");
    let run = place.run(&FIRST);
    assert_eq!((run.code, run.err.lines().count()), (0, 1), "{run:?}");
    assert_eq!(run.out, format!("pushed: hash {} in `ecds.yaml`\n", hash(&place, "good.json")));
    let rendered = place.run(&["render", "ecds", "good.json", "--wasm", "filter.wasm"]).out;
    assert_eq!(place.read("ecds.yaml"), rendered);
    assert_eq!(
        place.names(),
        ["bad.json", "ecds-shadow.yaml", "ecds.yaml", "filter.wasm", "good.json"],
        "nothing is left beside"
    );
    assert_eq!(
        fs::metadata(place.path("ecds.yaml")).unwrap().mode() & 0o444,
        0o444,
        "Envoy may be somebody else"
    );
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let place = Place::with_documents();
    let run = place.run(&[&FIRST[..], &["--format", "json"]].concat());
    let expected =
        json!({"ok": true, "hash": hash(&place, "good.json"), "live": null, "missing_clusters": []});
    assert_eq!((run.code, run.json()), (0, expected));
}

#[test]
fn a_file_without_the_wasm_resource_needs_the_module() {
    let no_op = include_str!("../../../../envoy/ecds.yaml");
    for (text, says) in
        [(None, "does not exist"), (Some(no_op), "no wasm resource"), (Some(""), "no wasm resource")]
    {
        let place = Place::with_documents();
        if let Some(text) = text {
            place.write("ecds.yaml", text);
        }
        let run = place.run(&AGAIN);
        assert_eq!((run.code, run.out.as_str()), (1, ""));
        assert!(run.err.contains(says) && run.err.contains("--wasm"), "{run:?}");
        assert_eq!(fs::read_to_string(place.path("ecds.yaml")).ok().as_deref(), text);

        assert_eq!(place.run(&FIRST).code, 0);
        let rendered = place.run(&["render", "ecds", "good.json", "--wasm", "filter.wasm"]).out;
        let pushed = place.read("ecds.yaml");
        assert_eq!(pushed.lines().count(), rendered.lines().count());
    }
}

#[test]
fn a_push_keeps_what_it_does_not_own() {
    let place = Place::with_documents();
    let before = r#"version_info: "007"
control_plane:
  identifier: "on"
resources:
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: other
  typed_config:
    "@type": type.googleapis.com/some.Filter
    quoted: "yes"
    plain: yes
    number: 1.50
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: rollout
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: mine
      root_id: mine
      fail_open: true
      vm_config:
        vm_id: v
        code:
          remote:
            sha256: "0123"
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: CONFIGURATION
      capability_restriction_config: {}
"#;
    place.write("ecds.yaml", &before.replace("CONFIGURATION", "old"));
    assert_eq!(place.run(&AGAIN).code, 0);
    let text = serde_json::to_string(&place.read("good.json")).unwrap();
    let hash = hash(&place, "good.json").to_string();
    let after = before.replace("007", &hash).replace("CONFIGURATION", &text);
    assert_eq!(place.read("ecds.yaml"), after);

    let with_module = [&AGAIN[..], &["--wasm", "/opt/filter.wasm"]].concat();
    assert_eq!(place.run(&with_module).code, 0);
    let code = "          remote:\n            sha256: \"0123\"\n";
    let local = "          local:\n            filename: \"/opt/filter.wasm\"\n";
    assert_eq!(place.read("ecds.yaml"), after.replace(code, local));
}

/// The plugin of an ECDS file in JSON.
fn plugin(place: &Place, file: &str) -> Value {
    let value: Value = serde_json::from_str(&place.read(file)).unwrap();
    value["resources"][0]["typed_config"]["config"].clone()
}

const ROLE: &str = r#"{"role": "shadow"}"#;

#[test]
fn the_clusters_for_copies_get_the_same_module_in_the_same_vm_in_their_own_role() {
    let place = Place::with_documents();
    assert_eq!(place.run(&FIRST).code, 0);
    let render = ["render", "ecds", "good.json", "--wasm", "filter.wasm", "--shadow"];
    assert_eq!(place.read("ecds-shadow.yaml"), place.run(&render).out);
    assert_eq!(place.run(&["push", "good.json", "--to", "ecds.json", "--wasm", "filter.wasm"]).code, 0);
    let [main, shadow] = ["ecds.json", "ecds-shadow.json"].map(|file| plugin(&place, file));
    assert_eq!(main["vm_config"], shadow["vm_config"]);
    assert_eq!(shadow["configuration"]["value"], ROLE);
    let own = ["name", "root_id", "failure_policy"].map(|field| shadow[field].as_str().unwrap().to_owned());
    assert_eq!(own, ["rollout-shadow", "rollout-shadow", "FAIL_OPEN"]);
}

#[test]
fn the_file_for_copies_changes_only_with_the_module_or_its_vm() {
    let place = Place::with_documents();
    place.write("ecds-shadow.yaml", include_str!("../../../../envoy/ecds-shadow.yaml"));
    assert_eq!(place.run(&FIRST).code, 0);
    let first = place.read("ecds-shadow.yaml");
    let inode = || fs::metadata(place.path("ecds-shadow.yaml")).unwrap().ino();
    let known = inode();
    place.write("other.json", &document(7.0).to_string());
    assert_eq!(place.run(&["push", "other.json", "--to", "ecds.yaml"]).code, 0);
    assert_eq!(inode(), known, "a push of a document leaves it alone");
    assert_eq!(place.run(&[&AGAIN[..], &["--wasm", "/opt/next.wasm"]].concat()).code, 0);
    let module = place.path("filter.wasm").display().to_string();
    assert_eq!(place.read("ecds-shadow.yaml"), first.replace(&module, "/opt/next.wasm"));
}

#[test]
fn an_installation_from_before_gets_the_file_for_copies_with_all_that_makes_its_vm() {
    let place = Place::with_documents();
    let resource = |name: &str, config: Value| {
        let kind = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
        json!({"node": "mine", "resources": [{"name": name, "typed_config": {"@type": kind, "config": config}}]})
    };
    let main = json!({
        "name": "mine", "root_id": "mine",
        "vm_config": {
            "vm_id": "own", "environment_variables": {"key_values": {"A": "1"}},
            "code": {"remote": {"sha256": "0123", "http_uri": {"uri": "https://a/b.wasm"}}}
        },
        "capability_restriction_config": {"allowed_capabilities": {"proxy_log": {}}}
    });
    let mut copies =
        json!({"name": "copies", "failure_policy": "FAIL_OPEN", "vm_config": {"vm_id": "another"}});
    place.write("ecds.json", &resource("rollout", main.clone()).to_string());
    for is_known in [false, true] {
        if is_known {
            place.write("ecds-shadow.json", &resource("rollout-shadow", copies.take()).to_string());
        }
        assert_eq!(place.run(&["push", "good.json", "--to", "ecds.json"]).code, 0);
        let shadow = plugin(&place, "ecds-shadow.json");
        for field in ["vm_config", "capability_restriction_config"] {
            assert_eq!(shadow[field], main[field], "{field}");
        }
        assert_eq!([&shadow["configuration"]["value"], &shadow["failure_policy"]], [ROLE, "FAIL_OPEN"]);
        assert_eq!(shadow["name"], if is_known { "copies" } else { "rollout-shadow" });
        assert_eq!(place.read("ecds-shadow.json").contains("\"node\": \"mine\""), is_known, "the rest stays");
    }
}

#[test]
fn a_file_for_copies_that_is_not_an_ecds_file_stops_the_push_before_it_writes() {
    let place = Place::with_documents();
    place.write("ecds-shadow.yaml", "- a");
    let run = place.run(&FIRST);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("`ecds-shadow.yaml` is not an ECDS file"), "{run:?}");
    assert_eq!(place.names(), ["bad.json", "ecds-shadow.yaml", "good.json"]);
}

#[test]
fn an_envoy_that_rejects_the_module_for_copies_is_named_and_the_document_is_live() {
    let place = Place::with_documents();
    let hash = hash(&place, "good.json");
    let (mut reads, mut asked) = (4, 0);
    let url = serve(move |path| {
        if path.starts_with("/clusters") {
            return (200, clusters(&ALL));
        }
        if path.contains("upstream_http_filter") {
            asked += 1;
            let stat = |name: &str, value: u64| {
                let prefix = "extension_config_discovery.upstream_http_filter.rollout-shadow";
                json!({"name": format!("{prefix}.{name}"), "value": value})
            };
            let rejections = u64::from(asked > 2); // an old module does not have the role
            let all = [stat("update_attempt", 1 + rejections), stat("config_fail", rejections)];
            return (200, json!({"stats": all}).to_string());
        }
        reads += 1;
        (200, stats(Some(hash), reads, 0))
    });
    let run = place.run(&[&FIRST[..], &["--envoy", &url]].concat());
    assert!(run.code == 0 && run.out.contains("\nlive: "), "{run:?}");
    let warning = format!("Envoy at {url} rejected `ecds-shadow.yaml`, so copies continue");
    assert!(run.err.contains(&warning), "{run:?}");
}

#[test]
fn a_json_target_stays_json_in_its_order() {
    let place = Place::with_documents();
    place.write(
        "ecds.json",
        r#"{"z": 1.5, "resources": [{"name": "a", "big": 9007199254740993}], "a": null}"#,
    );
    assert_eq!(place.run(&["push", "good.json", "--to", "ecds.json", "--wasm", "f.wasm"]).code, 0);
    let text = place.read("ecds.json");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["resources"][0], json!({"name": "a", "big": 9_007_199_254_740_993_u64}));
    assert_eq!(
        value["resources"][1]["typed_config"]["config"]["configuration"]["value"],
        place.read("good.json")
    );
    assert!(text.starts_with("{\n  \"z\": 1.5,"), "{text}");
    assert!(serde_json::from_str::<Value>(&place.read("ecds-shadow.json")).is_ok());
}

#[test]
fn a_target_that_is_no_resource_file_is_left_alone() {
    let place = Place::with_documents();
    for text in ["- a", "a: [", "resources: {}", "a: 1\n---\nb: 2\n", "a: !ignore b"] {
        place.write("ecds.yaml", text);
        let run = place.run(&FIRST);
        assert_eq!(run.code, 1, "{text}: {run:?}");
        assert_eq!(place.read("ecds.yaml"), text);
    }
}

#[test]
fn permissions_stay_and_a_link_stays_a_link() {
    let place = Place::with_documents();
    fs::create_dir(place.path("real")).unwrap();
    assert_eq!(place.run(&["push", "good.json", "--to", "real/ecds.yaml", "--wasm", "f.wasm"]).code, 0);
    fs::set_permissions(place.path("real/ecds.yaml"), Permissions::from_mode(0o640)).unwrap();
    let inode = fs::metadata(place.path("real/ecds.yaml")).unwrap().ino();
    symlink("real/ecds.yaml", place.path("ecds.yaml")).unwrap();
    let run = place.run(&AGAIN);
    assert_eq!(run.code, 0);
    assert!(run.err.contains("is a symbolic link, so"), "{run:?}");
    assert!(fs::symlink_metadata(place.path("ecds.yaml")).unwrap().is_symlink());
    let after = fs::metadata(place.path("real/ecds.yaml")).unwrap();
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_ne!(after.ino(), inode, "renamed over, not written into");

    symlink("nothing", place.path("dangling.yaml")).unwrap();
    let run = place.run(&["push", "good.json", "--to", "dangling.yaml", "--wasm", "f.wasm"]);
    assert!(run.code == 1 && run.err.contains("symbolic link to a file that does not exist"), "{run:?}");
}

#[test]
fn a_reader_during_pushes_sees_one_whole_document_or_the_other() {
    let place = Place::with_documents();
    place.write("other.json", &document(7.0).to_string());
    assert_eq!(place.run(&FIRST).code, 0);
    let good = place.read("ecds.yaml");
    assert_eq!(place.run(&["push", "other.json", "--to", "ecds.yaml"]).code, 0);
    let other = place.read("ecds.yaml");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for file in ["good.json", "other.json"].repeat(10) {
                assert_eq!(place.run(&["push", file, "--to", "ecds.yaml"]).code, 0);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let seen = place.read("ecds.yaml");
            assert!(seen == good || seen == other, "{seen}");
        }
    });
}

#[test]
fn clusters_that_envoy_lacks_are_named_and_nothing_is_written() {
    let place = Place::with_documents();
    assert_eq!(place.run(&FIRST).code, 0);
    place.write("next.json", &document(7.0).to_string());
    let before = place.read("ecds.yaml");
    let url = serve(|path| {
        assert_eq!(path, "/clusters?format=json");
        (200, clusters(&["fraud-v2", "else"]))
    });
    let args = ["push", "next.json", "--to", "ecds.yaml", "--envoy", &url];
    let text = place.run(&args);
    assert_eq!(text.code, 2);
    assert_eq!(
        text.out,
        format!(
            "refused: Envoy at {url} does not have 2 clusters; nothing was written\n  fraud-v1\n  fraud-v3\n"
        )
    );
    let answer = place.run(&[&args[..], &["--format", "json"]].concat());
    let hash = hash(&place, "next.json");
    assert_eq!(
        (answer.code, answer.json()),
        (2, json!({"ok": false, "hash": hash, "live": false, "missing_clusters": ["fraud-v1", "fraud-v3"]}))
    );
    assert_eq!(place.read("ecds.yaml"), before);
}

/// Pushes to an Envoy whose stats are `answer(polls)`, counted from the first look before the write.
fn push_to(
    place: &Place,
    timeout: &str,
    answer: impl Fn(u64) -> (u16, String) + Send + 'static,
) -> (crate::run::Run, String) {
    let polls = Arc::new(AtomicU64::new(0));
    let url = serve(move |path| match path.split('?').next() {
        Some("/clusters") => (200, clusters(&ALL)),
        _ => answer(polls.fetch_add(1, Ordering::Relaxed)),
    });
    let run = place.run(&[&FIRST[..], &["--format", "json", "--envoy", &url, "--timeout", timeout]].concat());
    (run, url)
}

#[test]
fn a_push_ends_when_the_new_hash_is_live() {
    let place = Place::with_documents();
    let hash = hash(&place, "good.json");
    let (run, _) = push_to(&place, "10s", move |polls| match polls {
        0 => (200, stats(Some(1), 4, 2)),
        1 => (500, "restarting".into()),
        2 => (200, stats(Some(1), 5, 2)),
        _ => (200, stats(Some(hash), 5, 2)),
    });
    let expected = json!({"ok": true, "hash": hash, "live": true, "missing_clusters": []});
    assert_eq!((run.code, run.json()), (0, expected), "{run:?}");
}

#[test]
fn a_hash_that_was_live_before_proves_nothing_until_the_file_was_read() {
    let place = Place::with_documents();
    let hash = hash(&place, "good.json");
    let (run, _) = push_to(&place, "10s", move |polls| match polls {
        0..3 => (200, stats(Some(hash), 4, 2)),
        _ => (200, stats(Some(hash), 5, 3)),
    });
    assert_eq!((run.code, &run.json()["live"]), (1, &json!(false)));
    assert!(!place.path("ecds-shadow.yaml").exists(), "copies never run with a module that Envoy rejects");
    assert!(run.err.contains("rejected"), "{run:?}");
}

#[test]
fn a_late_envoy_is_named_with_the_hash_that_it_serves() {
    let place = Place::with_documents();
    let (run, url) = push_to(&place, "200ms", |polls| (200, stats(Some(17), 4 + polls.min(1), 0)));
    let hash = hash(&place, "good.json");
    let expected = json!({"ok": false, "hash": hash, "live": false, "missing_clusters": []});
    assert_eq!((run.code, run.json()), (1, expected));
    assert!(run.err.contains(&format!("after 200ms Envoy at {url} serves hash 17, not {hash}\n")), "{run:?}");

    let (run, _) = push_to(&place, "200ms", |_| (200, stats(None, 4, 0)));
    assert!(
        run.err.contains("no filter `rollout`") && run.err.contains("does it watch `ecds.yaml`?"),
        "{run:?}"
    );
}

#[test]
fn an_envoy_that_does_not_answer_like_one_stops_the_push_before_it_writes() {
    let place = Place::with_documents();
    let silent = "http://127.0.0.1:1".to_owned();
    let refusing = serve(|_| (403, String::new()));
    let foreign = serve(|_| (200, "<html>".into()));
    for url in [silent, refusing, foreign, "https://127.0.0.1:1".into(), "ftp://x".into(), "".into()] {
        let run = place.run(&[&FIRST[..], &["--envoy", &url]].concat());
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{url}");
        assert!(run.err.contains("error: "), "{url}: {run:?}");
    }
    assert_eq!(place.names(), ["bad.json", "good.json"]);
}

#[test]
fn a_version_that_stays_rolled_back_is_named_and_one_that_is_released_meanwhile_is_not() {
    let rolled_back = "rollout=.=fraud-score;.;version=.=v2;.;rollout_rolled_back";
    for (share, gauges, latched) in [
        (80.0, [1, 1], true),
        (80.0, [1, 0], false), // on the tick after, the latch is gone
        (80.0, [0, 0], false),
        (20.0, [1, 1], false), // not raised
    ] {
        let place = Place::new();
        let guarded = |percent: f64| {
            let mut document = document(percent);
            document["rollouts"][0]["guardrails"] = json!({"signals": [{"consecutive_failures": 10}]});
            document.to_string()
        };
        place.write("good.json", &guarded(50.0));
        assert_eq!(place.run(&FIRST).code, 0);
        place.write("good.json", &guarded(share));
        let hash = hash(&place, "good.json");
        let (mut reads, mut asked) = (4, 0);
        let url = serve(move |path| {
            if path.starts_with("/clusters") {
                return (200, clusters(&ALL));
            }
            if path.contains("%5Ewasmcustom") {
                asked += 1;
                return Metrics::serving(hash).and(rolled_back, gauges[asked - 1]).text();
            }
            reads += 1;
            (200, stats(Some(hash), reads, 0))
        });
        let run = place.run(&[&AGAIN[..], &["--envoy", &url]].concat());
        assert_eq!((run.code, run.err.contains("can't tell")), (0, false), "{run:?}");
        let line = "latched: fraud-score: raised v2 from 50.0000 % to 80.0000 %";
        assert_eq!(run.out.contains(line), latched, "{run:?}");
    }
}
