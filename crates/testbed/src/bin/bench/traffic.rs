//! Load and upstream on bare sockets: both must cost less than Envoy, or Envoy would wait for them and pay for waking up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use testbed::guest::Exchange;

use crate::variant::PATH;

/// Users that take turns.
const USERS: usize = 1_000;

/// A request with this header is answered with its own head.
const ECHO: &str = "x-echo: 1\r\n";

/// What clients might try: some known to every part, one that only a filter that looks at each name removes.
const FORGED: &str = "x-rollout-cluster: evil\r\nx-rollout-assignment: evil\r\nx-rollout-anything: evil\r\n";

/// The bytes of the requests, made beforehand.
pub(crate) struct Requests {
    post: bool,
    by_user: Vec<Vec<u8>>,
}

impl Requests {
    pub(crate) fn new(post: bool) -> Self {
        Self { post, by_user: (0..USERS).map(|user| request(post, user, "")).collect() }
    }

    /// What the upstream gets of one user's request with forged headers: its lines that concern rollouts, sorted.
    pub(crate) fn received(&self, address: SocketAddr, user: usize) -> Vec<String> {
        let mut connection = Connection::open(address);
        let body = connection.exchange(&request(self.post, user, &[ECHO, FORGED].concat()));
        let head = String::from_utf8_lossy(&body);
        let mut lines: Vec<String> =
            head.lines().filter(|line| line.starts_with("x-rollout-")).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}

/// Headers that a client behind an edge sends, next to those of [`request`] that differ from one request to the next.
const FIXED: [(&str, &str); 9] = [
    ("user-agent", "python-requests/2.32.3"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("content-type", "application/json"),
    ("x-request-id", "3f9c1c0e-5d0b-4f0e-9a55-6a1f3e0a7c42"),
    ("x-forwarded-proto", "https"),
    ("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEyMyJ9.c2lnbmF0dXJl"),
    ("cookie", "session=8d1f6a0c2b; theme=dark"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

/// The bytes of a user's request.
fn request(post: bool, user: usize, extra: &str) -> Vec<u8> {
    let (method, body) = if post { ("POST", "x".repeat(300)) } else { ("GET", String::new()) };
    let length = body.len();
    let fixed: String = FIXED.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "{method} {PATH} HTTP/1.1\r\nhost: ml.example.com\r\ncontent-length: {length}\r\n\
         x-user-id: user-{user}\r\n{fixed}{extra}\r\n{body}"
    )
    .into_bytes()
}

/// One user's request as Envoy shows it to a filter.
pub(crate) fn seen_by_filter() -> Exchange {
    let pseudo =
        [(":authority", "ml.example.com"), (":path", PATH), (":method", "GET"), (":scheme", "https")];
    let own = [("content-length", "0"), ("x-user-id", "user-1")];
    let headers: Vec<(&str, &str)> = pseudo.into_iter().chain(own).chain(FIXED).collect();
    Exchange::new(&headers)
}

/// How long the worker may need to come to rest.
pub(crate) const SETTLE: Duration = Duration::from_millis(1);

/// How much load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
}

impl Load {
    /// Drives it over connections that stay open; returns how many requests were answered, each with 200. A moment later, so that
    /// Envoy has done what it does after an answer, and its clock stands still.
    pub(crate) fn drive(
        &self,
        address: SocketAddr,
        open: &mut Vec<Connection>,
        requests: &Requests,
    ) -> usize {
        while open.len() < self.connections {
            open.push(Connection::open(address));
        }
        let each = self.requests.div_ceil(self.connections);
        thread::scope(|scope| {
            for (number, connection) in open.iter_mut().enumerate() {
                let users = requests.by_user.iter().cycle().skip(number * each % USERS).take(each);
                scope.spawn(move || {
                    users.for_each(|request| {
                        connection.exchange(request);
                    });
                });
            }
        });
        thread::sleep(SETTLE);
        each * open.len()
    }
}

/// A connection that carries messages with `content-length`, and sees where each ends.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("Envoy listens"))
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket has the option");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request and returns the body of its answer.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).expect("Envoy reads");
        let body = self.receive().expect("Envoy answers");
        assert!(self.buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer));
        self.buffer.get(body).unwrap_or_default().to_vec()
    }

    /// Reads one message into the buffer and returns where its body is; none at the end of the connection.
    fn receive(&mut self) -> Option<Range<usize>> {
        self.buffer.clear();
        let mut piece = [0_u8; 4096];
        loop {
            let length = self.stream.read(&mut piece).ok().filter(|length| *length > 0)?;
            self.buffer.extend_from_slice(piece.get(..length)?);
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else { continue };
            let start = head + 4;
            let end = start + content_length(self.buffer.get(..start)?);
            if self.buffer.len() >= end {
                return Some(start..end);
            }
        }
    }
}

/// Envoy writes names in lower case, and so does everything here.
fn content_length(head: &[u8]) -> usize {
    let name = b"\r\ncontent-length: ";
    let value = find(head, name).and_then(|at| head.get(at + name.len()..)).unwrap_or_default();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// An upstream of this process, for as long as it lives.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    /// Requests that were read so far.
    received: Arc<AtomicUsize>,
}

impl Upstream {
    /// Starts an upstream that answers everything with 200 and this JSON.
    pub(crate) fn start(json: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let received = Arc::new(AtomicUsize::new(0));
        let (content, counter): (Arc<[u8]>, _) = (json.as_bytes().into(), Arc::clone(&received));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, counter) = (Arc::clone(&content), Arc::clone(&counter));
                thread::spawn(move || answer(&mut Connection::new(stream), &content, &counter));
            }
        });
        Self { port, received }
    }

    /// Requests that were read so far.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

fn answer(connection: &mut Connection, content: &[u8], received: &AtomicUsize) {
    while let Some(body) = connection.receive() {
        received.fetch_add(1, Ordering::Relaxed);
        let head = connection.buffer.get(..body.start).unwrap_or_default();
        let content = if find(head, ECHO.as_bytes()).is_some() { head } else { content };
        let length = content.len();
        let mut reply =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
                .into_bytes();
        reply.extend_from_slice(content);
        if connection.stream.write_all(&reply).is_err() {
            return;
        }
    }
}
