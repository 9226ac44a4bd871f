//! What is never copied, whatever the document says of its methods.

#![expect(clippy::unwrap_used, reason = "a test may stop with the reason")]

use rollout_core::{CopyResult, Plan, Time, compile, decide};
use serde_json::json;

fn plan(idempotent: bool) -> Plan {
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "shadow": [{"version": "v2", "percent": 100}], "idempotent": idempotent}]});
    compile(document.to_string().as_bytes()).unwrap().plan
}

fn is_copied(plan: &Plan, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
    let lines = [(":method", method), (":path", path), ("x-user-id", "alice")];
    let lines = lines.iter().chain(headers).map(|(name, value)| (*name, value.as_bytes()));
    decide(plan, &plan.request(lines, None), Time::default()).unwrap().shadow_clusters().next().is_some()
}

#[test]
fn an_upgrade_is_never_copied() {
    for idempotent in [false, true] {
        let plan = plan(idempotent);
        assert!(is_copied(&plan, "GET", "/", &[]));
        let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert!(!is_copied(&plan, "GET", "/", &upgrade), "idempotent: {idempotent}");
    }
}

#[test]
fn a_safe_method_that_names_another_is_copied_only_if_that_is_safe_too() {
    let (careful, idempotent) = (plan(false), plan(true));
    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for (named, copied) in
            [("DELETE", false), ("delete", false), ("GET", true), ("head", true), ("", false)]
        {
            assert_eq!(is_copied(&careful, "GET", "/", &[(header, named)]), copied, "{header}: {named}");
            assert!(is_copied(&idempotent, "GET", "/", &[(header, named)]), "{header}: {named}");
        }
        assert!(!is_copied(&careful, "POST", "/", &[(header, "GET")]), "the method itself is not safe");
    }
    for (path, copied) in [("/?_method=DELETE", false), ("/?a=1&_method=put", false), ("/?_method=get", true)]
    {
        assert_eq!(is_copied(&careful, "GET", path, &[]), copied, "{path}");
    }
}

/// What becomes of the copies of one request, by version.
fn results(plan: &Plan, headers: &[(&str, &str)]) -> Vec<(String, CopyResult)> {
    let lines = [(":method", "GET"), (":path", "/"), ("x-user-id", "alice")];
    let lines = lines.iter().chain(headers).map(|(name, value)| (*name, value.as_bytes()));
    let decision = decide(plan, &plan.request(lines, None), Time::default()).unwrap();
    let copies = decision.copies.iter().flatten();
    copies.map(|copy| (copy.shadow.version.name().to_owned(), copy.result)).collect()
}

#[test]
fn an_upgrade_of_the_cohort_is_skipped_whatever_its_size_and_a_method_that_may_write_counts_nothing() {
    let plan = plan(false);
    let upgrade = ("upgrade", "websocket");
    for (headers, expected) in [
        (&[][..], Some(CopyResult::Sent)),
        (&[("content-length", "2000000")], Some(CopyResult::SkippedBody)),
        (&[upgrade], Some(CopyResult::SkippedUpgrade)),
        (&[upgrade, ("content-length", "2000000")], Some(CopyResult::SkippedUpgrade)),
        (&[upgrade, ("x-http-method", "DELETE")], None),
        (&[("transfer-encoding", "chunked")], Some(CopyResult::Sent)),
    ] {
        let expected: Vec<_> = expected.map(|result| ("v2".to_owned(), result)).into_iter().collect();
        assert_eq!(results(&plan, headers), expected, "{headers:?}");
    }
}

#[test]
fn a_rate_is_asked_once_for_each_copy_that_would_be_sent_and_skips_no_other() {
    let versions = ["v1", "v2", "v3", "v4"].map(|name| json!({"name": name, "cluster": name}));
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": versions,
        "shadow": [{"version": "v2", "percent": 100, "max_per_second": 5, "max_body_bytes": 10},
                   {"version": "v3", "percent": 100, "max_per_second": 7}, {"version": "v4", "percent": 100}]}]});
    let plan = compile(document.to_string().as_bytes()).unwrap().plan;
    let lines: [(&str, &[u8]); 3] = [(":method", b"GET"), ("x-user-id", b"alice"), ("content-length", b"11")];
    let mut decision = decide(&plan, &plan.request(lines, None), Time::default()).unwrap();
    let mut asked = Vec::new();
    decision.limit_copies(|shadow, rate| {
        asked.push((shadow.version.name().to_owned(), rate));
        false
    });
    assert_eq!(asked, [("v3".to_owned(), 7)]);
    let results: Vec<_> = decision.copies.iter().flatten().map(|copy| copy.result).collect();
    assert_eq!(results, [CopyResult::SkippedBody, CopyResult::SkippedRate, CopyResult::Sent]);
    assert_eq!(decision.shadow_clusters().collect::<Vec<_>>(), ["v4"]);
}
