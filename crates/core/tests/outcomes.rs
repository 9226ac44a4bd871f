//! What counts as a failure: a case for each row of "What counts" in `docs/guardrails.md`, decided without a proxy.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop with the reason")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rollout_core::guardrail::{
    Call, End, Ending, Outcome, Response, classify, classify_without_response, is_break_flag,
    is_failure_status, is_repeated, needs_flags,
};

const TOOK: Duration = Duration::from_millis(7);

const UPSTREAM: Response<'static> =
    Response { status: 200, grpc_status: None, details: b"via_upstream", flags: 0, took: TOOK };

const PLAIN: Call =
    Call { is_judged: true, is_grpc: false, deadline: None, attempt_deadline: None, timeout: None };
const GRPC: Call = Call { is_grpc: true, ..PLAIN };

/// Flags of Envoy, by the short names that its access log prints.
const FLAGS: [(&str, u64); 18] = [
    ("UH", 0x2),
    ("UT", 0x4),
    ("LR", 0x8),
    ("UR", 0x10),
    ("UF", 0x20),
    ("UC", 0x40),
    ("UO", 0x80),
    ("NR", 0x100),
    ("FI", 0x400),
    ("RL", 0x800),
    ("DC", 0x4000),
    ("URX", 0x8000),
    ("SI", 0x1_0000),
    ("UMSDR", 0x8_0000),
    ("UPE", 0x80_0000),
    ("NC", 0x100_0000),
    ("DR", 0x1000_0000),
    ("DPE", 0x4_0000),
];

fn flag(name: &str) -> u64 {
    FLAGS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
}

/// Envoy's or another filter's own answer.
fn local(status: u16, details: &'static str, flags: &[&str]) -> Response<'static> {
    let flags = flags.iter().fold(0, |all, name| all | flag(name));
    Response { status, grpc_status: None, details: details.as_bytes(), flags, took: TOOK }
}

fn grpc(response: Response<'static>, status: &'static str) -> Response<'static> {
    Response { grpc_status: Some(status.as_bytes()), ..response }
}

/// A row of the page: its first cell, what it counts as, and calls that belong to it.
type Row = (&'static str, &'static str, Vec<Ending>);

fn rows() -> Vec<Row> {
    let plain = |responses: &[Response<'static>]| {
        responses.iter().map(|response| classify(PLAIN, response)).collect()
    };
    let calls =
        |responses: &[Response<'static>]| responses.iter().map(|response| classify(GRPC, response)).collect();
    let of = |status| Response { status, ..UPSTREAM };
    vec![
        (
            "The version answered with a status of 500 or above",
            "failure",
            plain(&[of(500), of(503), of(599)]),
        ),
        (
            "The version sent gRPC status UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS, in headers or trailers",
            "failure",
            calls(&["2", "4", "13", "14", "15"].map(|status| grpc(UPSTREAM, status))),
        ),
        (
            "Envoy answered because the version did not (see the response flags below)",
            "failure",
            ["UF", "UC", "UR", "LR", "UT", "UH", "UO", "URX", "UPE", "NC", "UMSDR"]
                .iter()
                .flat_map(|name| {
                    [
                        classify(PLAIN, &local(503, "upstream_reset", &[name])),
                        classify(GRPC, &grpc(local(200, "upstream_reset", &[name]), "14")),
                    ]
                })
                .collect(),
        ),
        (
            "Envoy gave up after an idle timeout or `max_stream_duration`, with 504 or with gRPC status DEADLINE_EXCEEDED or UNAVAILABLE",
            "failure",
            ["stream_idle_timeout", "max_duration_timeout"]
                .iter()
                .flat_map(|details| {
                    [
                        classify(PLAIN, &local(504, details, &["SI"])),
                        classify(GRPC, &grpc(local(200, details, &[]), "4")),
                        classify(GRPC, &grpc(local(200, details, &[]), "14")),
                    ]
                })
                .collect(),
        ),
        ("A deadline of the client passed before the `timeout` of the version", "abandoned", deadlines()),
        (
            "Envoy stopped waiting for the rest of the request, with 408 or with gRPC status UNKNOWN",
            "abandoned",
            ["stream_idle_timeout", "max_duration_timeout", "request_overall_timeout"]
                .iter()
                .flat_map(|details| {
                    [
                        classify(PLAIN, &local(408, details, &["SI"])),
                        classify(GRPC, &grpc(local(200, details, &[]), "2")),
                    ]
                })
                .collect(),
        ),
        (
            "The version answered with 4xx, including 429",
            "success",
            plain(&[of(400), of(404), of(429), of(499)]),
        ),
        (
            "The version sent any other gRPC status",
            "success",
            calls(&["0", "1", "3", "5", "8", "16", "99", ""].map(|status| grpc(UPSTREAM, status))),
        ),
        (
            "Another filter answered with 4xx or 5xx: rate limit, authorization, fault injection",
            "not counted",
            vec![
                classify(PLAIN, &local(429, "request_rate_limited", &["RL"])),
                classify(PLAIN, &local(403, "ext_authz_denied", &[])),
                classify(PLAIN, &local(503, "fault_filter_abort", &["FI"])),
                classify(GRPC, &grpc(local(200, "request_rate_limited", &["RL"]), "14")),
            ],
        ),
    ]
}

/// A call with these request headers, to a version with or without a timeout.
fn call(headers: &[(&'static str, &'static str)], timeout: Option<u64>) -> Call {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    Call::judged(headers, timeout.map(Duration::from_millis))
}

const GRPC_KIND: (&str, &str) = ("content-type", "application/grpc");

/// Ends of calls whose client gave them less time than the version may take.
fn deadlines() -> Vec<Ending> {
    let after = |response: Response<'static>, milliseconds| Response {
        took: Duration::from_millis(milliseconds),
        ..response
    };
    let (overall, attempt) = ("x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms");
    let mut endings = Vec::new();
    for timeout in [None, Some(1_000)] {
        let short = call(&[GRPC_KIND, ("grpc-timeout", "5m")], timeout);
        for details in ["max_duration_timeout", "response_timeout"] {
            endings.push(classify(short, &after(grpc(local(200, details, &["UT"]), "4"), 5)));
            endings
                .push(classify(call(&[(overall, "50")], timeout), &after(local(504, details, &["UT"]), 49)));
        }
        // The version honors the deadline itself.
        endings.push(classify(short, &after(grpc(UPSTREAM, "4"), 6)));
        let both = call(&[(overall, "300"), ("grpc-timeout", "1H")], timeout);
        endings.push(classify(both, &after(Response { status: 504, ..UPSTREAM }, 320)));
    }
    endings.push(classify(
        call(&[(attempt, "50")], None),
        &after(local(504, "upstream_per_try_timeout", &["UT"]), 51),
    ));
    endings
}

#[test]
fn a_timeout_of_the_version_or_of_the_route_is_a_failure_whatever_the_client_asked_for() {
    let after = |response: Response<'static>, milliseconds| Response {
        took: Duration::from_millis(milliseconds),
        ..response
    };
    let per_try = local(504, "upstream_per_try_timeout", &["UT"]);
    let route = local(504, "response_timeout", &["UT"]);
    let attempt = ("x-envoy-upstream-rq-per-try-timeout-ms", "50");
    let overall = ("x-envoy-upstream-rq-timeout-ms", "800");
    for (what, call, response) in [
        (
            "the version's own timeout replaces that of the caller",
            call(&[attempt], Some(500)),
            after(per_try, 500),
        ),
        ("the version's timeout comes first", call(&[overall], Some(500)), after(per_try, 500)),
        ("the route's timeout comes first", call(&[overall], None), after(route, 400)),
        ("the client has no deadline", PLAIN, after(route, 15_000)),
        ("zero is no deadline", call(&[("x-envoy-upstream-rq-timeout-ms", "0")], None), after(route, 15_000)),
        (
            "not a number",
            call(&[("grpc-timeout", "5x"), ("x-envoy-upstream-rq-timeout-ms", "-1")], None),
            after(route, 15_000),
        ),
        ("nine digits", call(&[("grpc-timeout", "123456789n")], None), after(route, 15_000)),
    ] {
        assert_eq!(classify(call, &response), Ending::Unanswered, "{what}");
    }
    let honored = call(&[GRPC_KIND, ("grpc-timeout", "100m")], Some(50));
    let late = after(grpc(UPSTREAM, "4"), 120);
    assert_eq!(classify(honored, &late), Ending::Failed, "the version took longer than it may");
    let early = after(grpc(UPSTREAM, "4"), 10);
    assert_eq!(classify(honored, &early), Ending::Failed, "the deadline has not passed");
}

#[test]
fn deadlines_are_read_in_all_their_units() {
    for (value, milliseconds) in [
        ("2H", Some(7_200_000)),
        ("3M", Some(180_000)),
        ("4S", Some(4_000)),
        ("5m", Some(5)),
        ("6000u", Some(6)),
        ("7000000n", Some(7)),
        ("99999999H", Some(359_999_996_400_000)),
        ("", None),
        ("m", None),
        ("5", None),
        ("5 m", None),
    ] {
        let deadline = call(&[("grpc-timeout", value)], None).deadline;
        assert_eq!(deadline, milliseconds.map(Duration::from_millis), "{value}");
    }
}

fn counts_as(ending: Ending) -> &'static str {
    match ending.outcome(200, TOOK, 0) {
        Some(outcome) if outcome.failed() => "failure",
        Some(outcome) if outcome.is_abandoned() => "abandoned",
        Some(_) => "success",
        None => "not counted",
    }
}

/// The cells of the page's table under "What counts".
fn documented() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guardrails.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## What counts\n").nth(1).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn every_documented_row_counts_as_the_page_says() {
    for (row, expected, endings) in rows() {
        for (number, ending) in endings.into_iter().enumerate() {
            assert_eq!(counts_as(ending), expected, "{row}: call {number}");
        }
    }
    // What happens after the response headers, or is known from elsewhere.
    let later = [
        ("The answer broke off after its headers", "failure"),
        ("[Failover](reference.md#failover) hid one of these from the client", "failure"),
        ("The client went away before the response headers, whatever else Envoy flags", "abandoned"),
        ("The client went away after the response headers", "as the headers say"),
    ];
    let rows = rows().into_iter().map(|(row, expected, _)| (row, expected));
    let tested: BTreeSet<(String, String)> =
        rows.chain(later).map(|(row, expected)| (row.to_owned(), expected.to_owned())).collect();
    assert_eq!(tested, documented().into_iter().collect());
}

#[test]
fn an_answer_that_breaks_off_is_a_failure_unless_the_client_went_away() {
    for name in ["UT", "LR", "UR", "UC", "UMSDR", "UPE"] {
        assert!(is_break_flag(flag(name)), "{name}");
        for client in ["DC", "DR"] {
            assert!(!is_break_flag(flag(name) | flag(client)), "{name} with {client}");
        }
    }
    for name in ["UH", "UF", "UO", "URX", "NC", "DC", "RL", "FI", "SI"] {
        assert!(!is_break_flag(flag(name)), "{name}");
    }
    let answered = Ending::Answered.outcome(200, TOOK, 0).unwrap();
    assert!(answered.may_fail_late(true) && !answered.may_fail_late(false));
    let upgraded = Ending::Answered.outcome(101, TOOK, 0).unwrap();
    assert!(!upgraded.may_fail_late(true), "an upgrade ends when either side closes it");
    let failed = Ending::Failed.outcome(503, TOOK, 0).unwrap();
    assert!(!failed.may_fail_late(true), "it counts once");
    let statuses: Vec<u8> =
        (0..17).filter(|status: &u8| is_failure_status(status.to_string().as_bytes())).collect();
    assert_eq!(statuses, [2, 4, 13, 14, 15], "in trailers");
}

#[test]
fn a_client_that_went_away_has_abandoned_its_request_whatever_else_is_flagged() {
    for (name, bits) in FLAGS {
        for client in ["DC", "DR"] {
            let response = local(503, "downstream_remote_disconnect", &[name, client]);
            assert_eq!(classify(PLAIN, &response), Ending::Abandoned, "{name} with {client}");
            let ending = classify_without_response(bits | flag(client));
            assert_eq!(ending, Ending::Abandoned, "{name} with {client}, before any response");
        }
    }
    assert_eq!(classify_without_response(flag("UT")), Ending::Foreign, "Envoy shuts down");
}

#[test]
fn a_failure_that_failover_hid_has_no_latency_and_a_first_attempt_is_not_a_failover() {
    assert_eq!(Outcome::FAILED_OVER, Outcome { end: End::Unanswered, waited: None, marks: 0 });
    assert!(!Outcome::FAILED_OVER.may_fail_late(true));
    assert_eq!([0, 1, 2, 4].map(is_repeated), [false, false, true, true]);
}

#[test]
fn only_answers_of_the_version_have_a_latency() {
    let latency = |ending: Ending, status| ending.outcome(status, TOOK, 0).and_then(|outcome| outcome.waited);
    assert_eq!(latency(Ending::Answered, 200), Some(TOOK));
    assert_eq!(latency(Ending::Failed, 503), Some(TOOK));
    assert_eq!(latency(Ending::Answered, 101), None, "an upgrade");
    assert_eq!(latency(Ending::Unanswered, 504), None);
    assert_eq!(latency(Ending::Foreign, 403), None);
}

#[test]
fn the_host_is_asked_only_for_what_the_cases_need() {
    let judged = |kind: &'static str| Call::judged([("content-type", kind.as_bytes())], None);
    let (plain, grpc) = (judged("application/json"), judged("application/grpc+proto"));
    assert_eq!((plain, grpc), (PLAIN, GRPC));
    for status in [200, 204, 301, 399] {
        assert!(!plain.needs_grpc_status(status) && !plain.needs_details(status, None), "{status}");
        assert!(grpc.needs_grpc_status(status) && !grpc.needs_details(status, Some(b"0")), "{status}");
        assert!(grpc.needs_details(status, Some(b"14")), "{status}");
        assert!(!Call::default().needs_details(status, None), "{status}");
    }
    for status in [400, 429, 499] {
        assert!(plain.needs_details(status, None), "{status}");
        assert!(!Call::default().needs_details(status, None), "{status}: only failures are counted");
    }
    for call in [plain, grpc, Call::default()] {
        assert!(call.needs_details(500, None) && !call.needs_grpc_status(500));
    }
    assert!(!needs_flags(b"via_upstream") && needs_flags(b"upstream_response_timeout"));
}
