//! A ramp from 0 to 100 % in twenty seconds, in a real Envoy with four workers under load: no request fails, and every
//! user moves exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::{Behaviour, Envoy, Load, PATIENCE, Request, Upstream};

const USERS: usize = 400;
const RATE: u32 = 1_600;
const SECONDS: u32 = 30;
const GAUGE: &str = "wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_exposure_ppm";

/// One request of a user: when it was sent and answered, in microseconds of the test, and by whom.
#[derive(Clone, Copy)]
struct Call {
    sent: u64,
    answered: u64,
    by_v2: bool,
}

#[test]
fn a_ramp_under_load_moves_every_user_exactly_once_and_fails_no_request() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for upstream in &upstreams {
        upstream.set(Behaviour::status(200));
        upstream.remember(0);
    }
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(4).start();
    let push = |revision: u64, strategy: Value| {
        let document = json!({"revision": revision, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "strategy": strategy,
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}]}]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(revision);
    };
    // The first push builds and loads the module, which takes long on a busy machine; the second one must be live before the ramp.
    push(1, json!({"blue_green": {"active": "v1"}}));
    let start = SystemTime::now() + Duration::from_secs(8);
    push(
        2,
        json!({"progressive": {"version": "v2", "start": humantime::format_rfc3339_seconds(start).to_string(),
        "linear": {"from": 0, "to": 100, "over": "20s"}}}),
    );

    let began = Instant::now();
    let micros = move || u64::try_from(began.elapsed().as_micros()).expect("a short test");
    let requests = u64::from(RATE * SECONDS);
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..requests).map(|_| AtomicU64::new(0)).collect());
    let answered: Arc<Vec<AtomicU64>> = Arc::new((0..requests).map(|_| AtomicU64::new(0)).collect());
    let index = |number: u64| usize::try_from(number).expect("an index");
    let (sent_at, answered_at) = (Arc::clone(&sent), Arc::clone(&answered));
    // Neighbours are a user's, so that one user is on many connections, and on all workers, at once.
    let user = move |number: u64| index(number / 4) % USERS;
    let load = Load::new(envoy.address()).connections(64).rate(RATE.into()).requests(requests).observe(
        move |number, outcome| {
            let by_v2 = outcome.as_ref().is_ok_and(|response| response.upstream() == "fraud-v2");
            answered_at[index(number)].store(micros() * 2 + u64::from(by_v2), Ordering::Relaxed);
        },
    );
    let load = load.start(move |number| {
        sent_at[index(number)].store(micros(), Ordering::Relaxed);
        Request::get("/").header("x-user-id", format!("user-{}", user(number)))
    });
    let mut gauges = Vec::new();
    testbed::time::wait_for(
        || {
            gauges.push(envoy.stat(GAUGE));
            std::thread::sleep(Duration::from_millis(240));
            (gauges.last() == Some(&1_000_000)).then_some(())
        },
        || "the end of the ramp".into(),
    );
    let report = load.finish();
    assert_eq!((report.sent, report.failed()), (requests, 0), "{:?}", report.examples);

    let mut calls: Vec<Vec<Call>> = vec![Vec::new(); USERS];
    for number in 0..requests {
        let answered = answered[index(number)].load(Ordering::Relaxed);
        let (answered, by_v2) = (answered / 2, answered % 2 == 1);
        calls[user(number)].push(Call { sent: sent[index(number)].load(Ordering::Relaxed), answered, by_v2 });
    }
    let mut overlapping = 0;
    for (user, calls) in calls.iter().enumerate() {
        let first = calls.iter().filter(|call| call.by_v2).map(|call| call.answered).min();
        let first = first.unwrap_or_else(|| panic!("user {user} never got v2"));
        assert!(calls.iter().any(|call| !call.by_v2 && call.answered < first), "user {user} never had v1");
        // A user who asks after an answer of v2 gets v2: users move once, and never back.
        for call in calls.iter().filter(|call| !call.by_v2) {
            assert!(
                call.sent < first,
                "user {user} went back to v1 after {} us",
                call.sent.saturating_sub(first)
            );
            overlapping += u64::from(call.answered > first);
        }
    }
    assert!(gauges.windows(2).all(|pair| pair[0] <= pair[1]), "the gauge falls: {gauges:?}");
    let between = gauges.iter().filter(|exposure| (1..1_000_000).contains(*exposure)).count();
    assert!(between >= 10 && gauges.first() == Some(&0) && gauges.last() == Some(&1_000_000), "{gauges:?}");
    assert_eq!(envoy.vm_reloads(), 0);
    println!(
        "{requests} requests of {USERS} users, 0 failed, each moved once; {overlapping} v1 answers overlapped a first v2 answer"
    );
}

#[test]
fn a_weekly_freeze_keeps_the_exposure_that_the_ramp_had_when_the_window_began() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let hour = now - now % 3_600; // windows of a week begin and end at whole minutes
    let in_words = |moment: u64| {
        const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
        let day = usize::try_from(moment / 86_400 % 7).expect("a day");
        format!("{} {:02}:00", DAYS.get(day).expect("a day of the week"), moment % 86_400 / 3_600)
    };
    let time = |moment: u64| {
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(moment)).to_string()
    };
    let push = |revision: u64, freeze: Value| {
        let document = json!({"revision": revision, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "freeze": freeze,
            "strategy": {"progressive": {"version": "v2", "start": time(hour - 8 * 86_400), "linear": {"from": 0, "to": 100, "over": "400h"}}},
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}]}]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(revision);
    };
    // Open for the last four hours and the next three, and likewise a week ago.
    let weekly = json!({"from": in_words(hour - 4 * 3_600), "until": in_words(hour + 3 * 3_600)});
    for (revision, freeze, hours) in [
        (1, json!({"weekly": weekly}), 192 - 7 - 4),
        (2, json!([{"weekly": weekly, "since": time(hour - 86_400)}]), 192 - 4),
        (
            3,
            json!([{"weekly": weekly}, {"from": time(hour - 6 * 3_600), "until": time(hour - 3 * 3_600)}]),
            192 - 7 - 6,
        ),
    ] {
        push(revision, freeze);
        envoy.wait_for("the exposure", |envoy| (envoy.stat(GAUGE) == hours * 2_500).then_some(()));
    }
    assert_eq!(envoy.vm_reloads(), 0);
}

#[test]
fn while_an_answer_of_an_earlier_document_streams_the_gauge_shows_the_later_one() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).start();
    let start = SystemTime::now() - Duration::from_secs(10);
    let push = |revision: u64, strategy: Value| {
        let document = json!({"revision": revision, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "strategy": strategy,
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}]}]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(revision);
    };
    push(
        1,
        json!({"progressive": {"version": "v2", "start": humantime::format_rfc3339_seconds(start).to_string(),
            "linear": {"from": 0, "to": 100, "over": "50s"}}}),
    );
    upstreams[0].set(Behaviour::events(Duration::from_millis(100), Duration::from_secs(600)));
    let mut stream = envoy.client().open(Request::get("/")).expect("an answer");
    push(2, json!({"canary": {"version": "v2", "percent": 5}}));
    envoy.wait_for("the gauge", |envoy| (envoy.stat(GAUGE) == 50_000).then_some(()));
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(envoy.stat(GAUGE), 50_000);
    }
    assert!(stream.next(PATIENCE).is_ok_and(|piece| piece.is_some()), "it streams still");
    drop(stream);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(envoy.stat(GAUGE), 50_000, "it ends");
}
