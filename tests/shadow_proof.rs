//! The proof by table that no shadow hurts a client, in the real Envoy with the shipped clusters for copies: request shapes by
//! behaviours of the shadow. `make prove-shadows` runs it with many pairs of requests and prints latencies and memory.
//!
//! The test asserts bytes and counts, never times: an answer that waits for the shadow does not come at all, because the shadows
//! here outlast every wait.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop with the reason"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rollout_core::CopyResult;
use serde_json::{Value, json};
use testbed::client::Tunnel;
use testbed::envoy::{Outcome, connection_manager};
use testbed::upstream::{DeadPort, Fault, Faulty};
use testbed::{Behaviour, Client, Cluster, Envoy, PATIENCE, Request, Upstream};

const MIB: usize = 1 << 20;

/// Where a cluster has its HTTP options.
const OPTIONS: &str =
    "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Longer than any wait of this test.
const FOREVER: Duration = Duration::from_secs(3_600);

/// What a shadow does with its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shadow {
    Well,
    Dead,
    Unreachable,
    NeverReads,
    ReadsSlowly,
    NeverAnswers,
    Answers100Mb,
    /// Of unknown length, for as long as somebody reads.
    AnswersWithoutEnd,
    Resets,
}

impl Shadow {
    const ALL: [Self; 9] = [
        Self::Well,
        Self::Dead,
        Self::Unreachable,
        Self::NeverReads,
        Self::ReadsSlowly,
        Self::NeverAnswers,
        Self::Answers100Mb,
        Self::AnswersWithoutEnd,
        Self::Resets,
    ];

    /// True if its answers are too long for a copy.
    fn is_long(self) -> bool {
        matches!(self, Self::Answers100Mb | Self::AnswersWithoutEnd)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Dead => "dead",
            Self::Unreachable => "unreachable",
            Self::NeverReads => "never-reads",
            Self::ReadsSlowly => "reads-slowly",
            Self::NeverAnswers => "never-answers",
            Self::Answers100Mb => "answers-100-mb",
            Self::AnswersWithoutEnd => "answers-no-end",
            Self::Resets => "resets",
        }
    }
}

/// A server that behaves like a shadow.
enum Server {
    Upstream(Upstream),
    Dead(DeadPort),
    Faulty(Faulty),
}

impl Server {
    fn start(shadow: Shadow) -> Self {
        let upstream = |behaviour: Behaviour| {
            let upstream = Upstream::start(shadow.name());
            upstream.set(behaviour);
            Self::Upstream(upstream)
        };
        match shadow {
            Shadow::Well => upstream(Behaviour::ok()),
            Shadow::Dead => Self::Dead(DeadPort::take()),
            Shadow::Unreachable => Self::Faulty(Faulty::start(Fault::Unreachable)),
            Shadow::NeverReads => Self::Faulty(Faulty::start(Fault::NeverReads)),
            Shadow::ReadsSlowly => Self::Faulty(Faulty::start(Fault::ReadsSlowly(50_000))),
            Shadow::NeverAnswers => upstream(Behaviour::delayed(FOREVER)),
            Shadow::Answers100Mb => upstream(Behaviour::ok().body(vec![b'x'; 100_000_000])),
            Shadow::AnswersWithoutEnd => upstream(Behaviour::ok().endless(vec![b'x'; 16_384])),
            Shadow::Resets => upstream(Behaviour::reset()),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Upstream(upstream) => upstream.port(),
            Self::Dead(port) => port.port(),
            Self::Faulty(faulty) => faulty.port(),
        }
    }
}

/// A kind of request.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    size: usize,
    is_streamed: bool,
    kind: Kind,
    /// What the filter counts for it.
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http1,
    Http2,
    Grpc,
    Upgrade,
    /// An extended CONNECT.
    UpgradeHttp2,
}

const SHAPES: [Shape; 12] = [
    Shape { name: "get", size: 0, is_streamed: false, kind: Kind::Http1, result: "sent" },
    Shape { name: "sized-100k", size: 100_000, is_streamed: false, kind: Kind::Http1, result: "sent" },
    Shape { name: "sized-1m", size: MIB, is_streamed: false, kind: Kind::Http1, result: "sent" },
    Shape { name: "sized-4m", size: 4 * MIB, is_streamed: false, kind: Kind::Http1, result: "sent" },
    Shape {
        name: "sized-12m",
        size: 12 * MIB,
        is_streamed: false,
        kind: Kind::Http1,
        result: "skipped_body",
    },
    Shape { name: "chunked-1m", size: MIB, is_streamed: true, kind: Kind::Http1, result: "sent" },
    Shape { name: "chunked-12m", size: 12 * MIB, is_streamed: true, kind: Kind::Http1, result: "sent" },
    Shape { name: "http2-12m", size: 12 * MIB, is_streamed: true, kind: Kind::Http2, result: "sent" },
    Shape { name: "grpc-unary", size: 1_000, is_streamed: false, kind: Kind::Grpc, result: "sent" },
    Shape { name: "grpc-stream", size: 4 * MIB, is_streamed: true, kind: Kind::Grpc, result: "sent" },
    Shape {
        name: "upgrade",
        size: 1_000,
        is_streamed: false,
        kind: Kind::Upgrade,
        result: "skipped_upgrade",
    },
    Shape {
        name: "upgrade-h2",
        size: 1_000,
        is_streamed: false,
        kind: Kind::UpgradeHttp2,
        result: "skipped_upgrade",
    },
];

impl Shape {
    /// The cluster that serves it.
    fn live(self) -> &'static str {
        match self.kind {
            Kind::Http1 | Kind::Http2 => "live",
            Kind::Grpc => "live-h2",
            Kind::Upgrade | Kind::UpgradeHttp2 => "live-socket",
        }
    }

    fn request(self, path: &str) -> Request {
        static LARGEST: OnceLock<Request> = OnceLock::new();
        let bytes = || (0..=255).cycle().take(12 * MIB).collect::<Vec<u8>>();
        let body = &LARGEST.get_or_init(|| Request::post("/", bytes())).body;
        let request = match self.size {
            0 => Request::get(path),
            size => Request::post(path, body.slice(..size)),
        };
        let request = if self.is_streamed { request.streamed() } else { request };
        let request = request.header("x-user-id", "alice");
        match self.kind {
            Kind::Grpc => request.header("content-type", "application/grpc").header("te", "trailers"),
            Kind::Http1 | Kind::Http2 | Kind::Upgrade | Kind::UpgradeHttp2 => request,
        }
    }
}

/// A server that accepts an upgrade and sends back what it gets.
fn echoing_socket() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                read_head(&mut stream)?;
                stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )?;
                let mut buffer = [0; 4096];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return std::io::Result::Ok(()),
                        length => stream.write_all(buffer.get(..length).unwrap_or_default())?,
                    }
                }
            });
        }
    });
    port
}

/// Reads up to the end of the headers, byte by byte.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

/// Shadows, and the Envoy in front of them: a rollout, a version and a cluster for copies for each shadow and shape.
struct Site {
    envoy: Envoy,
    clients: [Client; 2],
    shadows: BTreeMap<Shadow, Server>,
    _live: Upstream,
}

impl Site {
    fn start(shadows: &[Shadow]) -> Self {
        let live = Upstream::start("live");
        live.remember(0);
        live.set_with(|received| Behaviour::ok().body(received.body.clone()));
        let servers: BTreeMap<Shadow, Server> =
            shadows.iter().map(|shadow| (*shadow, Server::start(*shadow))).collect();
        let mut clusters = vec![
            Cluster::new("live", &[live.port()]),
            Cluster::new("live-h2", &[live.port()]).http2(),
            Cluster::new("live-socket", &[echoing_socket()]),
        ];
        let mut rollouts = Vec::new();
        for (shadow, server) in &servers {
            for shape in SHAPES {
                let name = format!("{}-{}", shadow.name(), shape.name);
                let copies = Cluster::new(&format!("{name}-copies"), &[server.port()]).copies();
                clusters.push(if shape.kind == Kind::Grpc { copies.http2() } else { copies });
                rollouts.push(rollout(&name, shape));
            }
        }
        let envoy = Envoy::builder().clusters(clusters).tweak(|bootstrap| {
            let manager = connection_manager(bootstrap);
            manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
            manager["http2_protocol_options"]["allow_connect"] = json!(true);
            let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
            for cluster in clusters {
                adapt(cluster);
            }
        });
        let envoy = envoy.start();
        let document = json!({"revision": 1, "rollouts": rollouts});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(1);
        let clients = [envoy.client(), envoy.client().http2()];
        Self { envoy, clients, shadows: servers, _live: live }
    }

    /// Sends one request of this shape and panics unless the bytes come back. Returns how long that took.
    fn ask(&self, shadow: Shadow, shape: Shape, is_copied: bool) -> Duration {
        let path = format!("/{}-{}", shadow.name(), shape.name);
        let place = format!("{path}, copied: {is_copied}");
        let copy = if is_copied { "yes" } else { "no" };
        if shape.kind == Kind::Upgrade {
            return upgrade(self.envoy.address(), &path, copy)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        if shape.kind == Kind::UpgradeHttp2 {
            return tunnel(self.envoy.address(), &shape.request(&path).header("x-copy", copy));
        }
        let [http1, http2] = &self.clients;
        let client = if shape.kind == Kind::Http1 { http1 } else { http2 };
        let request = shape.request(&path).header("x-copy", copy);
        let body = request.body.clone();
        let begun = Instant::now();
        let answer = client.send(request).unwrap_or_else(|failure| panic!("{place}: {failure}"));
        let took = begun.elapsed();
        assert_eq!(answer.status, 200, "{place}");
        assert!(answer.body == body, "{place}: {} bytes of {}", answer.body.len(), body.len());
        took
    }

    /// What became of the copies of a cell, and of their pairs, by result.
    fn counted(&self, shadow: Shadow, shape: Shape) -> [BTreeMap<String, u64>; 2] {
        let rollout = format!("rollout=.={}-{};.;", shadow.name(), shape.name);
        let all = self.envoy.stats("rollout_shadow_total$");
        let own = all.into_iter().filter_map(|(name, value)| {
            let result = name.split_once(&rollout)?.1.split_once("result=.=")?.1;
            Some((result.split(';').next()?.to_owned(), value))
        });
        let is_of_copy = |result: &str| CopyResult::ALL.iter().any(|of| of.name() == result);
        let (copies, pairs) = own.filter(|(_, count)| *count > 0).partition(|(result, _)| is_of_copy(result));
        [copies, pairs]
    }
}

/// Lets copies last longer than any wait: what ends a copy must not be what saves the client. And gives those of 4 MiB what
/// `render clusters` writes for them.
fn adapt(cluster: &mut Value) {
    let duration = format!("{OPTIONS}/common_http_protocol_options/max_stream_duration");
    if let Some(duration) = cluster.pointer_mut(&duration) {
        *duration = json!("3600s");
    }
    if cluster["name"].as_str().is_some_and(|name| name.contains("-4m-")) {
        let buffer = cluster.pointer_mut(&format!("{OPTIONS}/http_filters/0/typed_config/max_request_bytes"));
        *buffer.expect("copies are buffered") = json!(4 * MIB);
        cluster["circuit_breakers"] = json!({"thresholds": [
            {"max_connections": 16, "max_pending_requests": 4, "max_requests": 12, "max_retries": 0}]});
    }
}

fn rollout(name: &str, shape: Shape) -> Value {
    let mut shadow = json!({"version": "shadow", "percent": 100, "cluster": format!("{name}-copies"),
                            "headers": [{"name": "x-copy", "exact": "yes"}], "compare": {}});
    if shape.size == 4 * MIB && !shape.is_streamed {
        shadow["max_body_bytes"] = json!(4 * MIB);
    }
    json!({
        "name": name, "match": [{"path": {"exact": format!("/{name}")}}], "unit": [{"header": "x-user-id"}],
        "stable": "live", "idempotent": true, "shadow": [shadow],
        "versions": [{"name": "live", "cluster": shape.live()}, {"name": "shadow", "cluster": "elsewhere"}]
    })
}

/// Upgrades a connection and sends some bytes there and back.
fn upgrade(address: SocketAddr, path: &str, copy: &str) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nx-user-id: alice\r\nx-copy: {copy}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let head = read_head(&mut stream)?;
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let sent = [b'f'; 1_000];
    stream.write_all(&sent)?;
    let mut received = [0; 1_000];
    stream.read_exact(&mut received)?;
    assert!(received == sent);
    Ok(begun.elapsed())
}

/// The same over HTTP/2.
fn tunnel(address: SocketAddr, request: &Request) -> Duration {
    let begun = Instant::now();
    let tunnel = Tunnel::open(address, "websocket", request).expect("a tunnel");
    let received = tunnel.exchange(request.body.to_vec()).expect("an echo");
    assert!(received == request.body);
    begun.elapsed()
}

/// Latencies of one cell.
#[derive(Default)]
struct Cell {
    plain: Vec<Duration>,
    copied: Vec<Duration>,
}

/// A quantile in milliseconds.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1) as f64;
    times.get((last * share).round() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

impl Cell {
    /// The ratios of p50 and p99, copied to not copied, and the difference of p50 in milliseconds.
    fn compared(&mut self) -> String {
        let [p50, p99] =
            [0.5, 0.99].map(|share| (quantile(&mut self.copied, share), quantile(&mut self.plain, share)));
        format!("yes {:.2} {:.2} {:+.1}", p50.0 / p50.1, p99.0 / p99.1, p50.0 - p50.1)
    }
}

type Cells = BTreeMap<(Shadow, &'static str), Cell>;

/// Pairs that suffice for bytes and counts.
const BRIEF: usize = 2;

/// The cells of some shadows behind one Envoy, and its memory in MiB before and after. The shadows take turns, so that noise of the
/// machine meets all of them.
fn measure(shadows: &[Shadow], pairs: usize) -> (Cells, [u64; 2]) {
    let site = Site::start(shadows);
    let mut cells = Cells::new();
    // A large body takes as long as ten small ones.
    let pairs = |shape: Shape| if shape.size > 2 * MIB { pairs.div_ceil(10) } else { pairs };
    let before = site.envoy.rss_kib() / 1024;
    for shape in SHAPES {
        for pair in 0..pairs(shape) {
            for shadow in shadows {
                let cell = cells.entry((*shadow, shape.name)).or_default();
                for is_copied in [pair % 2 == 0, pair % 2 != 0] {
                    let took = site.ask(*shadow, shape, is_copied);
                    if is_copied { &mut cell.copied } else { &mut cell.plain }.push(took);
                }
            }
        }
    }
    let after = site.envoy.rss_kib() / 1024;
    for (shadow, shape) in shadows.iter().flat_map(|shadow| SHAPES.map(|shape| (*shadow, shape))) {
        let expected = BTreeMap::from([(shape.result.to_owned(), pairs(shape) as u64)]);
        let place = format!("{expected:?} for {} of {}", shape.name, shadow.name());
        site.envoy.wait_for(&place, |_| (site.counted(shadow, shape)[0] == expected).then_some(()));
    }
    if shadows.contains(&Shadow::Well) {
        let [_, compared] = site.counted(Shadow::Well, SHAPES[0]);
        assert_eq!(
            compared.keys().map(String::as_str).collect::<Vec<_>>(),
            ["mismatch"],
            "it answers something else"
        );
    }
    site.assert_tried();
    site.assert_ended(pairs(SHAPES[0]));
    assert_eq!(site.envoy.vm_reloads(), 0);
    (cells, [before, after])
}

impl Site {
    /// Panics unless the shadows have really been sent copies.
    fn assert_tried(&self) {
        for (shadow, server) in &self.shadows {
            match server {
                Server::Upstream(upstream) => {
                    let least = if *shadow == Shadow::Well { 6 } else { 1 };
                    upstream.wait_count(least);
                    let sizes = upstream.requests().into_iter().map(|copy| copy.body_length);
                    assert!(sizes.max() <= Some(4 * MIB), "a body beyond the limit ends the copy");
                }
                Server::Faulty(faulty) if *shadow != Shadow::Unreachable => {
                    assert!(faulty.accepted() > 0, "{}", shadow.name());
                }
                Server::Faulty(_) | Server::Dead(_) => {
                    let tried = self
                        .envoy
                        .stats(&format!(r"^cluster\.{}-.*-copies\.upstream_cx_total$", shadow.name()));
                    assert!(tried.values().sum::<u64>() > 0, "{}", shadow.name());
                }
            }
        }
    }
}

impl Site {
    /// Panics unless long answers have ended long before their end.
    fn assert_ended(&self, copies: usize) {
        for shadow in self.shadows.keys().filter(|shadow| shadow.is_long()) {
            let counted = |name: &str| {
                self.envoy.stats(&format!(r"^cluster\.{}-.*-copies\.{name}$", shadow.name())).into_values()
            };
            self.envoy.wait_for("the end of long answers", |_| {
                (counted("upstream_rq_active").sum::<u64>() == 0).then_some(())
            });
            // What fits into the buffers of connection and kernel comes on top of 1 MiB.
            let most = MIB.saturating_mul(8).saturating_mul(copies) as u64;
            let read = counted("upstream_cx_rx_bytes_total").max();
            assert!(read <= Some(most), "{}: {read:?} bytes for {copies} copies", shadow.name());
        }
    }
}

/// Pairs of a copied and a plain request for each cell: `PAIRS`, or enough to show bytes and counts.
fn pairs() -> Option<usize> {
    std::env::var("PAIRS").ok().and_then(|pairs| pairs.parse().ok())
}

#[test]
fn no_shape_of_request_and_no_behaviour_of_a_shadow_changes_what_the_client_gets() {
    let Some(pairs) = pairs() else {
        measure(&Shadow::ALL, BRIEF);
        return;
    };
    let (mut cells, [before, after]) = measure(&Shadow::ALL, pairs);
    let row = |head: &str, fields: Vec<String>| {
        let fields: String = fields.iter().map(|field| format!(" {field:>19}")).collect();
        println!("{head:<12}{fields}");
    };
    println!("\nbytes equal; latency copied / not copied, interleaved: p50, p99, and milliseconds of p50");
    row("", Shadow::ALL.map(|shadow| shadow.name().to_owned()).to_vec());
    for shape in SHAPES {
        let compared = Shadow::ALL.map(|shadow| cells.entry((shadow, shape.name)).or_default().compared());
        row(shape.name, compared.to_vec());
    }
    println!("RSS of Envoy in MiB: {before} → {after}");
}

/// What becomes of the answers of copies in a part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// There are no copies.
    Quiet,
    /// The shadow answers with a few bytes.
    Short,
    /// The module ends long answers.
    Ended,
    /// Envoy reads them to their end, because the cluster for copies lacks the module.
    ReadWhole,
}

impl Part {
    const ALL: [Self; 4] = [Self::Quiet, Self::Short, Self::Ended, Self::ReadWhole];
}

/// Answers of 100 MB to copies, 50 per second if it is measured, and what a client and the worker notice. The parts take turns.
#[test]
fn long_answers_of_copies_are_ended_and_clients_get_theirs() {
    let (rounds, seconds, rate) = pairs().map_or((1, 1, 5), |pairs| (pairs.min(20), 2, 50));
    let [live, shadow] = ["live", "shadow"].map(Upstream::start);
    live.remember(0);
    shadow.remember(0);
    shadow.set(Behaviour::ok().body(vec![b'x'; 100_000_000]));
    let hosts = [("short", live.port()), ("ended", shadow.port()), ("whole", shadow.port())];
    let clusters = hosts.map(|(name, port)| Cluster::new(&format!("{name}-copies"), &[port]).copies());
    let envoy = Envoy::builder().cluster(&live).clusters(clusters).tweak(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
        let whole =
            clusters.iter_mut().find(|cluster| cluster["name"] == "whole-copies").expect("it is there");
        let filters = whole.pointer_mut(&format!("{OPTIONS}/http_filters")).and_then(Value::as_array_mut);
        filters.expect("filters").retain(|filter| filter["name"] != "rollout-shadow");
    });
    let envoy = envoy.start();
    let rollout = |name: &str| {
        json!({"name": name, "match": [{"path": {"prefix": format!("/{name}")}}], "unit": [{"header": "x-user-id"}],
            "stable": "live", "shadow": [{"version": "shadow", "percent": 100, "cluster": format!("{name}-copies")}],
            "versions": [{"name": "live", "cluster": "live"}, {"name": "shadow", "cluster": "elsewhere"}]})
    };
    let document = json!({"revision": 1, "rollouts": hosts.map(|(name, _)| rollout(name))});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let mut latencies: BTreeMap<Part, Vec<Duration>> = BTreeMap::new();
    let mut cpu: BTreeMap<Part, u64> = BTreeMap::new();
    let client = envoy.client();
    for part in (0..rounds).flat_map(|_| Part::ALL) {
        let path = match part {
            Part::Quiet => "/elsewhere",
            Part::Short => "/short",
            Part::Ended => "/ended",
            Part::ReadWhole => "/whole",
        };
        let before = envoy.cpu_nanos();
        let copies = testbed::Load::new(envoy.address()).rate(rate as f64).requests(rate * seconds);
        let copies = copies.start(move |number| Request::get(path).header("x-user-id", format!("u{number}")));
        // The client asks often, at the same times in each part but at others than the copies, and is not copied itself.
        let begun = Instant::now();
        for number in 0..140 * seconds {
            let due = begun + Duration::from_millis(7 * number);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            let answer = client.send(Request::get("/elsewhere")).expect("Envoy answers");
            latencies.entry(part).or_default().push(asked.elapsed());
            assert_eq!((answer.status, answer.upstream()), (200, "live".into()));
        }
        let report = copies.finish();
        assert_eq!(report.failed(), 0, "{report:?}");
        envoy.wait_for("the end of the copies", |envoy| {
            let active = envoy.stats(r"^cluster\..*-copies\.upstream_rq_active$");
            (active.values().sum::<u64>() == 0).then_some(())
        });
        *cpu.entry(part).or_default() += envoy.cpu_nanos() - before;
    }
    let read = |name: &str| envoy.stat(&format!("cluster.{name}-copies.upstream_cx_rx_bytes_total"));
    let copies = rate * seconds * rounds as u64;
    assert!(read("ended") < copies * 8 * MIB as u64, "{} bytes of {copies} answers", read("ended"));
    assert!(read("whole") > copies * 8 * MIB as u64, "the shadow answers with 100 MB");
    assert_eq!(envoy.vm_reloads(), 0);
    for (part, times) in &mut latencies {
        let [p50, p99] = [0.5, 0.99].map(|share| quantile(times, share));
        let extra = cpu[part].saturating_sub(cpu[&Part::Quiet]) as f64 / copies as f64 / 1e6;
        println!("{part:?}: p50 {p50:.2} ms, p99 {p99:.2} ms, CPU per copied request {extra:.2} ms more");
    }
}

#[test]
fn copies_that_hang_hold_no_more_memory_than_the_breakers_allow() {
    let site = Site::start(&[Shadow::NeverReads]);
    let shape = SHAPES.into_iter().find(|shape| shape.name == "grpc-stream").expect("it is in the list");
    // Of HTTP/2 the shadow's window is 64 KiB, so the rest of each copy stays in Envoy.
    let shape = Shape { size: MIB - 1_000, ..shape };
    site.ask(Shadow::NeverReads, shape, false);
    let before = site.envoy.rss_kib();
    for _ in 0..100 {
        site.ask(Shadow::NeverReads, shape, true);
    }
    let cluster = format!("cluster.never-reads-{}-copies", shape.name);
    assert!(site.envoy.stat(&format!("{cluster}.upstream_rq_active_overflow")) > 0, "the breakers are full");
    let grown = site.envoy.rss_kib().saturating_sub(before) / 1024;
    println!("100 copies of 1 MiB that hang: {grown} MiB");
    // Half as much again is for the allocator, and for the bodies under way.
    assert!(grown < 96, "{grown} MiB");
}

#[test]
fn users_of_a_version_are_served_after_1300_copies_to_it_hung() {
    let [live, shadow] = ["fraud-v1", "fraud-v3"].map(Upstream::start);
    shadow.set(Behaviour::delayed(FOREVER));
    let envoy = Envoy::builder()
        .clusters([&live, &shadow].map(|upstream| Cluster::from(upstream).backstop()))
        .cluster(Cluster::new("fraud-v3-copies", &[shadow.port()]).copies())
        .start();
    let push = |revision: u64, extra: Value| {
        let mut rollout = json!({"name": "m", "unit": [{"header": "x-user-id"}], "salt": "field", "stable": "v1",
            "idempotent": true,
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v3", "cluster": "fraud-v3"}]});
        rollout.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        let document = json!({"revision": revision, "rollouts": [rollout]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        envoy.wait_revision(revision);
    };
    push(1, json!({"shadow": [{"version": "v3", "percent": 100, "cluster": "fraud-v3-copies"}]}));
    let ask = |count: u64| {
        let load = testbed::Load::new(envoy.address()).connections(8).requests(count);
        load.run(|number| Request::get("/").header("x-user-id", format!("user-{number}")))
    };
    let report = ask(1_300);
    assert_eq!((report.answered_by("fraud-v1"), report.failed()), (1_300, 0), "{report:?}");
    assert!(envoy.stat("cluster.fraud-v3-copies.upstream_rq_active") >= 40, "copies hang");

    // v3 is well again for all requests from now on; the copies still hang.
    shadow.set_with(|received| match received.header("x-rollout-shadow") {
        Some(_) => Behaviour::delayed(FOREVER),
        None => Behaviour::ok(),
    });
    push(2, json!({"strategy": {"canary": {"version": "v3", "percent": 50}}}));
    let report = ask(1_000);
    let served = report.answered_by("fraud-v3");
    assert_eq!((report.statuses.get(&200), report.failed()), (Some(&1_000), 0), "{report:?}");
    assert!((430..570).contains(&served), "{served} of 1,000"); // 4 sigma

    envoy.wait_for("the end of the copies that hang", |envoy| {
        (envoy.stat("cluster.fraud-v3-copies.upstream_rq_active") == 0).then_some(())
    });
}
