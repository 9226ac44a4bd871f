//! Reads the golden data, to which core, tool and real Envoy are held alike: `tests/cases/*.json` (a document, requests, and what must
//! be decided), `tests/cases/refused/*.json` (documents, and where they must be refused) and `tests/cases/warned/*.json` (documents
//! that are served, and of what their authors are warned).

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rollout_core::{
    CopyResult, Decision, Edit, Health, Nonce, Now, Plan, Ppm, State, Time, Version, compile, decide,
    request_edits,
};
use serde_json::{Map, Value, json};

/// A document and the cases that it must decide.
pub(crate) struct Suite {
    pub(crate) file: String,
    pub(crate) document: Value,
    pub(crate) cases: Vec<Case>,
}

/// A request and the part of the answer that is fixed.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: Value,
    pub(crate) expect: Map<String, Value>,
}

fn folder(name: &str) -> PathBuf {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("tests/cases").is_dir());
    root.expect("the golden data is in the workspace").join("tests").join(name)
}

fn files(name: &str) -> Vec<(String, Value)> {
    let entries =
        fs::read_dir(folder(name)).expect("the folder can be read").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("the file can be read");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, value)
    };
    files.into_iter().map(read).collect()
}

/// All suites of golden cases.
pub(crate) fn suites() -> Vec<Suite> {
    let case = |value: &Value| Case {
        name: value["name"].as_str().expect("a case has a name").to_owned(),
        request: value["request"].clone(),
        expect: value["expect"].as_object().expect("a case expects something").clone(),
    };
    let suite = |(file, value): (String, Value)| Suite {
        file,
        document: value["document"].clone(),
        cases: value["cases"].as_array().expect("a suite has cases").iter().map(case).collect(),
    };
    files("cases").into_iter().map(suite).collect()
}

/// A document that is served, with the paths and words of its warnings.
pub(crate) struct WarnedDocument {
    pub(crate) name: String,
    pub(crate) document: Value,
    pub(crate) warnings: Vec<(String, String)>,
}

/// All documents that are served with exactly these warnings.
pub(crate) fn warned() -> Vec<WarnedDocument> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let one = |value: &Value| {
        let warnings = value["warnings"].as_array().expect("warnings").iter();
        let warnings = warnings.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        WarnedDocument { name: text(&value["name"]), document: value["document"].clone(), warnings }
    };
    let all = files("cases/warned");
    all.iter().flat_map(|(_, value)| value.as_array().expect("a list").iter().map(one)).collect()
}

/// A document that must be refused, as text, with the paths and words of its problems.
pub(crate) struct RefusedDocument {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) problems: Vec<(String, String)>,
}

/// All documents that must be refused.
pub(crate) fn refused() -> Vec<RefusedDocument> {
    let one = |value: &Value| {
        let text = match (&value["document"], &value["text"], &value["repeat"]) {
            (Value::Null, Value::String(text), _) => text.clone(),
            (Value::Null, _, Value::Array(parts)) => {
                let part = |part: &Value| {
                    let times = usize::try_from(part[1].as_u64().expect("times")).expect("a number of times");
                    part[0].as_str().expect("text").repeat(times)
                };
                parts.iter().map(part).collect()
            }
            (document, _, _) => document.to_string(),
        };
        let text_of = |value: &Value| value.as_str().expect("a path and a word").to_owned();
        let problems = value["problems"].as_array().expect("problems").iter();
        let name = text_of(&value["name"]);
        RefusedDocument {
            name,
            text,
            problems: problems.map(|pair| (text_of(&pair[0]), text_of(&pair[1]))).collect(),
        }
    };
    let all = files("cases/refused");
    all.iter().flat_map(|(_, value)| value.as_array().expect("a list").iter().map(one)).collect()
}

/// The hash vectors: salt, unit, bucket.
pub(crate) fn vectors() -> Vec<(String, Vec<u8>, u64)> {
    let read = |vector: &Value| {
        let hex = vector["unit_hex"].as_str().expect("a unit").as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("hex"), 16).expect("hex");
        let salt = vector["salt"].as_str().expect("a salt").to_owned();
        (salt, hex.chunks(2).map(byte).collect(), vector["bucket"].as_u64().expect("a bucket"))
    };
    files("vectors")
        .iter()
        .flat_map(|(_, file)| file["vectors"].as_array().expect("vectors").iter().map(read))
        .collect()
}

/// The plan of a golden document.
pub(crate) fn plan(document: &Value) -> Plan {
    compile(document.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{refused}")).plan
}

/// The header lines of a golden request, pseudo headers first.
pub(crate) fn lines(request: &Value) -> Vec<(String, Vec<u8>)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut lines: Vec<(String, Vec<u8>)> =
        [(":authority", "host"), (":path", "path"), (":method", "method")]
            .map(|(name, field)| (name.to_owned(), text(&request[field]).into_bytes()))
            .into();
    let headers = request["headers"].as_array().expect("headers").iter();
    lines.extend(headers.map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1]).into_bytes())));
    lines
}

/// What guardrails are said to have decided before a golden request: `"rolled_back": ["rollout=version"]` and
/// `"frozen": {"rollout=version": ppm}`.
fn health(plan: &Plan, request: &Value) -> Health {
    let mut health = Health::default();
    for name in request["rolled_back"].as_array().into_iter().flatten() {
        health.set(named(plan, name.as_str().expect("a name")), State::RolledBack);
    }
    for (name, exposure) in request["frozen"].as_object().into_iter().flatten() {
        let exposure = exposure.as_u64().and_then(|ppm| u32::try_from(ppm).ok()).and_then(Ppm::new);
        health.set(named(plan, name), State::Frozen(exposure.expect("parts per million")));
    }
    health
}

/// The version that is meant by `rollout=version`.
fn named<'p>(plan: &'p Plan, name: &str) -> &'p Version {
    let (rollout, version) = name.split_once('=').expect("rollout=version");
    let rollout = plan.rollouts().iter().find(|of| of.name() == rollout);
    let versions = rollout.expect("the rollout is in the document").versions();
    versions.iter().find(|of| of.name() == version).expect("the version is in the document")
}

/// When a golden request comes: at its own time, or in November 2026.
fn moment(request: &Value) -> Time {
    request["at"].as_str().map_or(Time::from_seconds(1_795_599_000), |at| {
        let seconds = humantime::parse_rfc3339(at).expect("a time").duration_since(SystemTime::UNIX_EPOCH);
        Time::from_seconds(seconds.expect("after 1970").as_secs())
    })
}

/// The shadows whose cohorts have the request and that skip it, with the reasons.
fn skipped(decision: &Decision) -> Map<String, Value> {
    let copies = decision.copies.iter().flatten().filter(|copy| copy.result != CopyResult::Sent);
    copies.map(|copy| (copy.shadow.version.name().to_owned(), copy.result.name().into())).collect()
}

/// What the core decides, in the form of `rolloutctl explain`.
pub(crate) fn explain(plan: &Plan, request: &Value) -> Value {
    let owned = lines(request);
    let borrowed = owned.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let picked = plan.request(borrowed, request["source_ip"].as_str().map(str::as_bytes));
    let picked = picked.with_nonce(Nonce { connection: 1, clock: 1, counter: 1 });
    let health = health(plan, request);
    let now = Now { time: moment(request), health: &health };
    let Some(decision) = decide(plan, &picked, now) else {
        return json!({"rollout": null, "version": null, "cluster": null, "fallback": null, "reason": "no_match",
                      "bucket": null, "shadows": [], "skipped": {}, "revision": plan.revision(), "set_headers": {}});
    };
    let edits: Vec<Edit<'_>> = request_edits(Some(&decision), &picked).collect();
    let set = edits.iter().filter_map(Edit::header);
    let set_headers: Map<String, Value> =
        set.map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into())).collect();
    json!({
        "rollout": decision.rollout.name(),
        "version": decision.version.name(),
        "cluster": decision.version.cluster(),
        "fallback": decision.fallback(),
        "reason": decision.reason.name(),
        "bucket": decision.bucket.map(|bucket| bucket.get()),
        "shadows": decision.shadow_clusters().collect::<Vec<_>>(),
        "skipped": skipped(&decision),
        "revision": plan.revision(),
        "set_headers": set_headers,
    })
}

/// Asserts that an answer has what a case expects.
pub(crate) fn assert_expected(place: &str, expect: &Map<String, Value>, answer: &Value) {
    for (key, value) in expect {
        assert_eq!(&answer[key], value, "{place}: `{key}` of {answer}");
    }
}
