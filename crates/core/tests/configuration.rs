//! The configuration of a plugin: a document, or a role.

#![expect(clippy::unwrap_used, reason = "a test may stop with the reason")]

use rollout_core::{Configuration, compile, configuration};

/// The problems of a configuration, each as one line.
fn problems(text: &str) -> Vec<String> {
    configuration(text.as_bytes()).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_document_is_the_configuration_of_a_filter() {
    for text in
        [r#"{"revision": 1, "rollouts": []}"#, r#"{"revision": 2, "rollouts": [], "trust_hop": true}"#]
    {
        let compiled = compile(text.as_bytes()).unwrap();
        assert_eq!(configuration(text.as_bytes()).unwrap(), Configuration::Rollouts(Box::new(compiled)));
    }
}

#[test]
fn the_role_shadow_is_read_from_json_text_and_from_a_struct() {
    let text = br#" {"role": "shadow"} "#;
    // Struct { fields { key: "role", value { string_value: "shadow" } } }
    let wire = b"\x0a\x10\x0a\x04role\x12\x08\x1a\x06shadow";
    assert_eq!(configuration(text).unwrap(), Configuration::Shadow);
    assert_eq!(configuration(wire).unwrap(), Configuration::Shadow);
}

#[test]
fn a_role_stands_alone_and_is_one_of_those_that_exist() {
    assert_eq!(problems(r#"{"role": "live"}"#), ["role: expected one of `shadow`, found `live`"]);
    assert_eq!(problems(r#"{"role": 1}"#), ["role: expected a string, found a number"]);
    assert_eq!(problems(r#"{"role": "shadow", "role": "shadow"}"#), ["role: duplicate field"]);
    assert_eq!(
        problems(r#"{"revision": 1, "role": "shadow", "rollouts": []}"#),
        ["revision: unknown field, expected `role`", "rollouts: unknown field, expected `role`"]
    );
}

#[test]
fn what_is_neither_a_document_nor_a_role_has_the_problems_of_a_document() {
    for text in ["", "{}", "[]", "\u{feff}{}", r#"{"roles": "shadow"}"#] {
        let document = compile(text.as_bytes()).unwrap_err();
        assert_eq!(configuration(text.as_bytes()).unwrap_err(), document, "{text}");
    }
}

#[test]
fn a_document_has_no_role() {
    let refused = compile(br#"{"revision": 1, "rollouts": [], "role": "shadow"}"#).unwrap_err();
    assert_eq!(refused.problems.len(), 1);
    assert_eq!(refused.problems.first().unwrap().path, "role");
}
