//! The model server's behaviours, seen by the client without an Envoy between.

use std::time::{Duration, Instant};

use testbed::{Behaviour, Client, Failure, Load, PATIENCE, Request, Upstream};

fn both(upstream: &Upstream) -> [Client; 2] {
    [Client::new(upstream.address()), Client::new(upstream.address()).http2()]
}

#[test]
fn the_echo_shows_what_was_asked() {
    let upstream = Upstream::start("v1");
    upstream.keep_bodies();
    for client in both(&upstream) {
        let request = Request::post("/a?b=c", "hello").header("x-one", "1").header("x-one", b"\xff");
        let response = client.send(request).expect("an answer");

        let echo = response.json();
        assert_eq!((response.status, response.upstream().as_str()), (200, "v1"));
        assert_eq!((echo["method"].as_str(), echo["path"].as_str()), (Some("POST"), Some("/a?b=c")));
        assert_eq!((echo["host"].as_str(), echo["body_length"].as_u64()), (Some("localhost"), Some(5)));
        assert_eq!(response.echoed("x-one").as_deref(), Some("1"));
        assert!(response.text().contains("hex:ff"));
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(upstream.requests()[1].body, "hello");
    upstream.clear();
    assert_eq!((upstream.count(), upstream.requests().len()), (0, 0));
}

#[test]
fn it_fails_as_it_is_told() {
    let upstream = Upstream::start("v1");
    for client in both(&upstream) {
        upstream.set(Behaviour::status(503).header("x-low-confidence", "1"));
        let response = client.get("/", &[]).expect("an answer");
        assert_eq!((response.status, response.header("x-low-confidence").as_deref()), (503, Some("1")));

        upstream.set(Behaviour::reset());
        assert_eq!(client.get("/", &[]).expect_err("a reset").kind(), "send");

        upstream.set(Behaviour::reset_in_body());
        assert!(matches!(client.get("/", &[]), Err(Failure::Body(200, _))));

        upstream.set(Behaviour::delayed(Duration::from_secs(60)));
        let hurried = Client::new(upstream.address()).timeout(Duration::from_millis(50));
        assert_eq!(hurried.get("/", &[]).expect_err("a timeout").kind(), "timeout");

        upstream.set_with(|request| Behaviour::status(if request.path == "/bad" { 500 } else { 200 }));
        assert_eq!(client.get("/bad", &[]).expect("an answer").status, 500);
        assert_eq!(client.get("/good", &[]).expect("an answer").status, 200);
    }
}

#[test]
fn events_arrive_one_by_one() {
    let upstream = Upstream::start("v1");
    upstream.set(Behaviour::events(Duration::from_millis(200), Duration::from_secs(2)));
    for client in both(&upstream) {
        let begun = Instant::now();
        let mut opened = client.open(Request::get("/")).expect("headers");
        let mut received = opened.next(PATIENCE).expect("a piece").expect("not the end").to_vec();
        let first_after = begun.elapsed();
        while let Some(piece) = opened.next(PATIENCE).expect("a piece") {
            received.extend(piece);
        }
        let all_after = begun.elapsed();

        let all: String = (0..10).map(|number| format!("data: {number}\n\n")).collect();
        assert_eq!(String::from_utf8_lossy(&received), all);
        assert!(first_after < all_after / 2, "not all at the end: {first_after:?} of {all_after:?}");
    }
}

#[test]
fn a_stopped_server_refuses_and_a_restarted_one_serves_on_the_same_port() {
    let upstream = Upstream::start("v1");
    // A fresh client each time: another may not have noticed yet that its connection is closed.
    let get = || Client::new(upstream.address()).get("/", &[]);
    get().expect("an answer");

    upstream.stop();
    assert_eq!(get().expect_err("refused").kind(), "connect");
    upstream.restart();
    assert_eq!(get().expect("an answer").status, 200);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn load_is_bounded_paced_and_counted() {
    let upstream = Upstream::start("v1");
    upstream.set_with(|request| Behaviour::status(if request.path == "/7" { 503 } else { 200 }));
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&seen);

    let report = Load::new(upstream.address())
        .connections(4)
        .rate(200.0)
        .requests(60)
        .observe(move |_, _| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
        .run(|number| Request::get(&format!("/{number}")));

    assert_eq!((report.sent, report.failed(), report.answered_by("v1")), (60, 1, 60));
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 60);
    assert!(report.elapsed >= Duration::from_millis(295), "59 intervals of 5 ms: {:?}", report.elapsed);
    assert!(report.latency(0.0) <= report.latency(0.5) && report.latency(0.5) <= report.latency(1.0));

    let running = Load::new(upstream.address()).connections(2).start(|_| Request::get("/"));
    testbed::time::wait_for(
        || (running.report().sent > 10).then_some(()),
        || "requests without a rate".into(),
    );
    assert_eq!(running.stop().failed(), 0);
}
