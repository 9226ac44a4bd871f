//! A document is pushed three hundred times in thirty seconds while traffic flows: nothing fails, every worker follows within a
//! second, and nothing is left behind.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::time::{Duration, Instant};

use serde_json::json;
use testbed::Pulse;
use testbed::client::{Client, Request};
use testbed::envoy::{Envoy, Outcome};
use testbed::load::Load;
use testbed::upstream::{Behaviour, Upstream};

fn document(revision: u64) -> String {
    let active = if revision.is_multiple_of(2) { "v1" } else { "v2" };
    json!({"revision": revision, "rollouts": [{
        "name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1", "expose": "debug",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"blue_green": {"active": active}}}]})
    .to_string()
}

/// CPU of an idle Envoy over two seconds, in nanoseconds: the least of three, because a leak stays and an echo of the load passes.
fn idle_cpu(envoy: &Envoy) -> u64 {
    let window = |_| {
        let before = envoy.cpu_nanos();
        std::thread::sleep(Duration::from_secs(2));
        envoy.cpu_nanos() - before
    };
    (0..3).map(window).min().unwrap_or_default()
}

/// The revisions that the workers behind the connections show.
fn revisions(clients: &[Client]) -> Vec<u64> {
    let shown = |client: &Client| {
        let response = client.send(Request::get("/").header("x-user-id", "alice")).expect("Envoy answers");
        response.header("x-rollout-revision")?.parse().ok()
    };
    clients.iter().map(|client| shown(client).unwrap_or(0)).collect()
}

#[test]
fn three_hundred_pushes_under_load_fail_no_request_and_leave_nothing_behind() {
    const PUSHES: u64 = 300;
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for upstream in &upstreams {
        upstream.set(Behaviour::status(200));
        upstream.remember(0);
    }
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    assert_eq!(envoy.push(&document(1)), Outcome::Accepted);
    envoy.wait_revision(1);
    let clients: Vec<Client> = (0..32).map(|_| envoy.client()).collect();
    let warm = Load::new(envoy.address()).connections(16).requests(5_000);
    assert_eq!(warm.run(|i| Request::get("/").header("x-user-id", format!("user-{i}"))).failed(), 0);
    // The first pushes fill what is kept for good: metrics, heap of the VMs.
    for revision in 2..=20 {
        assert_eq!(envoy.push(&document(revision)), Outcome::Accepted);
    }
    let (memory_before, idle_before) = (envoy.rss_kib(), idle_cpu(&envoy));

    let load = Load::new(envoy.address())
        .connections(16)
        .rate(500.0)
        .start(|i| Request::get("/").header("x-user-id", format!("user-{i}")));
    let pulse = Pulse::start();
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut verdicts = Vec::new();
    for push in 1..=PUSHES {
        let revision = 20 + push;
        let pushed = Instant::now();
        assert_eq!(envoy.push(&document(revision)), Outcome::Accepted);
        verdicts.push(pushed.elapsed());
        if push % 10 == 0 {
            // Before the next push, all 32 connections must show this revision.
            loop {
                let seen = revisions(&clients);
                if seen.iter().all(|seen| *seen == revision) {
                    break;
                }
                let (after, limit) = (pushed.elapsed(), pulse.stretch(Duration::from_secs(1)));
                assert!(after < limit, "after {after:?} the workers are at {seen:?}, not {revision}");
            }
            slowest = slowest.max(pushed.elapsed());
        }
        let due = started + Duration::from_millis(100 * push);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let took = started.elapsed();
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{:?}", report.examples);
    assert!(report.sent > 10 * PUSHES, "only {} requests", report.sent);
    // What each push left behind would make the later ones slower.
    let median = |of: &[Duration]| {
        let mut sorted = of.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (median(&verdicts[..100]), median(&verdicts[200..]));
    assert!(last < first * 3, "a push took {first:?} at first and {last:?} in the end");
    assert_eq!(envoy.stat("extension_config_discovery.http_filter.rollout.update_rejected"), 0);

    let idle_after = idle_cpu(&envoy);
    let grown = envoy.rss_kib().saturating_sub(memory_before);
    println!(
        "{PUSHES} pushes in {took:.1?}, each {first:.0?} at first and {last:.0?} in the end, {} requests, 0 failed, \
         slowest worker {slowest:.0?} after a push, the machine late by {:.0?}, memory +{grown} KiB, idle CPU {:.1} ms/s before and {:.1} ms/s after",
        report.sent,
        pulse.worst(),
        idle_before as f64 / 2e6,
        idle_after as f64 / 2e6,
    );
    assert!(grown < 10_240, "memory grew by {grown} KiB");
    // A leaked timer ticks five times per second on three threads: three hundred of them would cost a hundred times this slack.
    assert!(
        idle_after < idle_before * 2 + 20_000_000,
        "idle CPU went from {idle_before} to {idle_after} ns in two seconds"
    );
    assert_eq!(envoy.vm_reloads(), 0);
}
