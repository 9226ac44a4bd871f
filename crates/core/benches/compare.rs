//! What a comparison of answers costs, next to parsing both with `serde_json`, which it must not exceed.
//!
//! Aim: at least 200 MB/s on bodies of 64 KiB, the bytes of both counted once.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark reports, and may stop with the reason"
)]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rollout_core::compare::{Answer, Compare, compare};
use rollout_core::compile;
use serde_json::Value;

const DOCUMENT: &[u8] = br#"{"revision": 1, "rollouts": [{"name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1",
  "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v3", "cluster": "fraud-v3"}],
  "shadow": [{"version": "v3", "percent": 10, "cluster": "fraud-v3-copies", "compare": {
    "json": {"ignore": ["/id", "/model_version", "/outputs/*/timing"], "unordered": ["/labels"], "abs_tolerance": 1e-6, "rel_tolerance": 1e-3}}}]}]}"#;

fn rules() -> Compare {
    let plan = compile(DOCUMENT).expect("the document has no problems").plan;
    let rollout = plan.rollouts().first().expect("a rollout");
    rollout.shadows().next().and_then(|shadow| shadow.compare()).expect("the shadow compares").clone()
}

/// A pair of bodies of about 64 KiB that match although their bytes differ.
struct Pair {
    name: &'static str,
    live: Answer,
    copy: Answer,
}

fn answer(body: String) -> Answer {
    Answer {
        status: 200,
        content_type: Some(b"application/json".to_vec()),
        body: body.into_bytes(),
        ..Answer::default()
    }
}

/// An inference answer with so many of these items.
fn body(id: u32, list: &str, count: u32, mut item: impl FnMut(&mut String, u32)) -> String {
    let mut text = format!(
        r#"{{"id": "{id}", "model_name": "fraud", "outputs": [{{"name": "scores", "timing": {id}}}], "{list}": ["#
    );
    for number in 0..count {
        if number > 0 {
            text.push_str(", ");
        }
        item(&mut text, number);
    }
    text.push_str("]}");
    text
}

/// A double like those of models, all digits of it.
fn score(number: u32) -> f64 {
    f64::from(number.wrapping_mul(2_654_435_761) >> 3).sqrt() / 1e5
}

fn pairs() -> Vec<Pair> {
    let scores = |id: u32, factor: f64| {
        body(id, "data", 3_100, |text, number| {
            write!(text, "{}", score(number) * factor).expect("a string takes it")
        })
    };
    let records = |id: u32, factor: f64, turned: bool| {
        body(id, "records", 580, |text, number| {
            let mut members = [
                format!(r#""label": "category \u00e9 {number}""#),
                format!(r#""score": {:.6}"#, score(number) * factor),
                format!(r#""id": {number}, "valid": true, "box": [{number}, 2, 3.5, 4]"#),
            ];
            if turned {
                members.reverse();
            }
            write!(text, "{{{}}}", members.join(", ")).expect("a string takes it");
        })
    };
    let texts = |id: u32| {
        body(id, "tokens", 880, |text, number| {
            let words = "the answer of a model is mostly text, and most of it is the same";
            write!(text, "\"{words} {number}\"").expect("a string takes it");
        })
    };
    let labels = |id: u32, turned: bool| {
        let text = body(id, "labels", 4_200, |text, number| {
            write!(text, "\"label {number}\"").expect("a string takes it")
        });
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        if turned {
            value.get_mut("labels").and_then(Value::as_array_mut).expect("labels").reverse();
        }
        value.to_string()
    };
    let pair = |name, live, copy| Pair { name, live: answer(live), copy: answer(copy) };
    vec![
        pair("the same numbers", scores(1, 1.0), scores(2, 1.0)),
        pair("other numbers within tolerance", scores(1, 1.0), scores(2, 1.0 + 1e-7)),
        pair("records", records(1, 1.0, false), records(2, 1.0 + 1e-7, false)),
        pair("records, members turned", records(1, 1.0, false), records(2, 1.0 + 1e-7, true)),
        pair("texts", texts(1), texts(2)),
        pair("unordered labels, turned", labels(1, false), labels(2, true)),
    ]
}

/// Bytes of both bodies, each counted once.
fn bytes(live: &Answer, copy: &Answer) -> usize {
    live.body.len().saturating_add(copy.body.len())
}

fn parse(answer: &Answer) -> Value {
    serde_json::from_slice(black_box(&answer.body)).expect("JSON")
}

fn comparison(criterion: &mut Criterion) {
    let rules = rules();
    for Pair { name, live, copy } in pairs() {
        assert_eq!(compare(&rules, &live, &copy), [], "{name}");
        assert_ne!(live.body, copy.body, "{name}");
        let mut group = criterion.benchmark_group("compare");
        group.throughput(Throughput::Bytes(bytes(&live, &copy) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| compare(black_box(&rules), black_box(&live), black_box(&copy)));
        });
        group.finish();
    }
}

/// Both in turns, so that a busy machine slows both alike.
fn beside_parsing(_: &mut Criterion) {
    let rules = rules();
    for Pair { name, live, copy } in pairs() {
        let bytes = bytes(&live, &copy) as f64;
        let timed = |work: &dyn Fn()| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        };
        let mut rounds: Vec<(f64, f64)> = Vec::new();
        for _ in 0..400 {
            let ours = timed(&|| drop(black_box(compare(&rules, black_box(&live), black_box(&copy)))));
            let theirs = timed(&|| drop(black_box((parse(&live), parse(&copy)))));
            rounds.push((ours, theirs));
        }
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "{name}: {:.0} MB/s, {:.2} of the time in which serde_json parses both",
            bytes / median(&|round| round.0) / 1e6,
            median(&|round| round.0 / round.1)
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = beside_parsing, comparison
}
criterion_main!(benches);
