//! What is never copied, whatever the document says of its methods.

#![expect(clippy::unwrap_used, reason = "a test may stop with the reason")]

use rollout_core::{Plan, Time, compile, decide};
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
