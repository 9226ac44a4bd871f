//! Any two bodies under any rules: nothing panics, an answer matches itself, and it does not matter which one is the live one.
//!
//! The input has lines: tolerances and switches, patterns to ignore, arrays without order, places to redact, then two bodies that a
//! byte 0xff separates.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollout_core::compare::{Answer, Compare, MAX_DIFFERENCES, compare, label};
use rollout_core::compile;

const HEAD: &str = r#"{"revision": 1, "rollouts": [{"name": "r", "unit": [{"header": "u"}], "stable": "v1",
  "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
  "shadow": [{"version": "v2", "percent": 10, "cluster": "copies", "compare": "#;

/// Whatever is no pattern is left out.
fn patterns(line: &[u8]) -> String {
    let words = line.split(|byte| *byte == b' ').filter(|word| word.starts_with(b"/") && word.len() < 100).take(8);
    let quoted = words.map(|word| {
        let plain = word.iter().filter(|byte| byte.is_ascii_graphic() && !b"\"\\~".contains(byte));
        format!("\"{}\"", plain.map(|byte| char::from(*byte)).collect::<String>())
    });
    quoted.collect::<Vec<_>>().join(",")
}

fn rules(lines: &[&[u8]; 4]) -> Compare {
    let [switches, ignore, unordered, redact] = lines.map(|line| line);
    let tolerance = |at: usize| ["0", "1e-6", "0.5", "1"][usize::from(switches.get(at).copied().unwrap_or(0) % 4)];
    let log = if switches.get(2).is_some_and(|byte| byte % 2 == 1) { "values" } else { "pointers" };
    let document = format!(
        r#"{HEAD}{{"log": "{log}", "redact": [{}], "json": {{"ignore": [{}], "unordered": [{}], "abs_tolerance": {},
           "rel_tolerance": {}}}}}}}]}}]}}"#,
        patterns(redact),
        patterns(ignore),
        patterns(unordered),
        tolerance(0),
        tolerance(1)
    );
    let plan = compile(document.as_bytes()).unwrap_or_else(|refused| panic!("{refused}: {document}")).plan;
    plan.rollouts()[0].shadows().next().and_then(|shadow| shadow.compare()).cloned().expect("the shadow compares")
}

fn answer(body: &[u8]) -> Answer {
    let content_type = Some(b"application/json".to_vec());
    Answer { status: 200, content_type, body: body.to_vec(), ..Answer::default() }
}

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
    let [Some(a), Some(b), Some(c), Some(d), Some(rest)] = std::array::from_fn(|_| lines.next()) else { return };
    let rules = rules(&[a, b, c, d]);
    let mut bodies = rest.splitn(2, |byte| *byte == 0xff);
    let (one, other) = (bodies.next().unwrap_or_default(), bodies.next().unwrap_or_default());

    let found = compare(&rules, &answer(one), &answer(other));
    assert!(found.len() <= MAX_DIFFERENCES);
    for difference in &found {
        assert!(rules.logs_values || (difference.live.is_none() && difference.copy.is_none()));
        let name = label(&difference.pointer);
        assert!((1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.'));
        let values = [&difference.live, &difference.copy];
        assert!(values.into_iter().flatten().all(|value| value.chars().count() <= 200));
    }
    // With much to match, the budget may end on one side first.
    if rules.json.unordered.is_empty() || rest.len() < 64 {
        assert_eq!(found.is_empty(), compare(&rules, &answer(other), &answer(one)).is_empty());
    }
    // A space at the end is no part of JSON.
    let spaced = [one, b" "].concat();
    let own = compare(&rules, &answer(one), &answer(&spaced));
    assert!(own.iter().all(|difference| difference.pointer == "body"), "an answer matches itself: {own:?}");
});
