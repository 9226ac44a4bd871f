//! A model server for tests: answers as it is told, tells what it was asked, and can die and come back.
//!
//! HTTP/1.1 and h2c share one port. gRPC health checks are answered on it too (see [`crate::grpc`]).

mod answer;
mod server;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpSocket;

pub(crate) use answer::Reply;
pub use answer::{Answer, Behaviour};

use crate::runtime::wait;

/// Requests remembered unless [`Upstream::remember`] says otherwise.
const REMEMBERED: usize = 10_000;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The host that was asked for: `host` of HTTP/1.1, `:authority` of HTTP/2.
    pub host: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The length of the body.
    pub body_length: usize,
    /// The body, kept after [`Upstream::keep_bodies`].
    pub body: Bytes,
    /// When it was there as a whole.
    pub at: Instant,
}

impl Received {
    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.values(name).into_iter().next()
    }

    /// All values of a header, as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The names of all headers that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.headers.iter().map(|(name, _)| name.clone());
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}

type Choice = Arc<dyn Fn(&Received) -> Behaviour + Send + Sync>;

/// What the connections of a server share with its handle.
struct Shared {
    name: String,
    choice: RwLock<Choice>,
    received: Mutex<VecDeque<Received>>,
    remembered: AtomicUsize,
    keeps_bodies: AtomicUsize,
    count: AtomicU64,
    open: AtomicU64,
}

impl Shared {
    fn record(&self, request: &Received) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let limit = self.remembered.load(Ordering::Relaxed);
        if limit == 0 {
            return;
        }
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        while received.len() >= limit {
            received.pop_front();
        }
        let mut request = request.clone();
        if self.keeps_bodies.load(Ordering::Relaxed) == 0 {
            request.body = Bytes::new();
        }
        received.push_back(request);
    }
}

/// A port that stays taken while nobody listens on it: connecting is refused, and no one else can get it.
pub struct DeadPort {
    port: u16,
    _socket: TcpSocket,
}

impl DeadPort {
    /// Takes a free port.
    pub fn take() -> Self {
        wait(async { Self::hold(0) })
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn hold(port: u16) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("a socket can share its address with connections that still close");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("a port of ours can be taken");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        Self { port, _socket: socket }
    }
}

enum State {
    Running(server::Server),
    Stopped(#[expect(dead_code, reason = "held, so that connecting is refused until the restart")] DeadPort),
    Between,
}

/// A running server; ends with its handle.
pub struct Upstream {
    shared: Arc<Shared>,
    port: u16,
    state: Mutex<State>,
}

impl Upstream {
    /// Starts a server on a free port; it answers every request with an echo.
    pub fn start(name: &str) -> Self {
        Self::start_on(name, 0)
    }

    /// Starts a server on this port, for the demo's fixed addresses.
    pub fn start_on(name: &str, port: u16) -> Self {
        let shared = Arc::new(Shared {
            name: name.into(),
            choice: RwLock::new(Arc::new(|_| Behaviour::ok())),
            received: Mutex::new(VecDeque::new()),
            remembered: AtomicUsize::new(REMEMBERED),
            keeps_bodies: AtomicUsize::new(0),
            count: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let server = server::Server::start(port, Arc::clone(&shared));
        Self { shared, port: server.port(), state: Mutex::new(State::Running(server)) }
    }

    /// The name, which it puts into `x-upstream` and its echo.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Behaves so from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.set_with(move |_| behaviour.clone());
    }

    /// Chooses the behaviour by the request from now on.
    pub fn set_with(&self, choice: impl Fn(&Received) -> Behaviour + Send + Sync + 'static) {
        *self.shared.choice.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(choice);
    }

    /// Remembers at most so many requests, the latest; 0 spares the cost in a benchmark.
    pub fn remember(&self, limit: usize) {
        self.shared.remembered.store(limit, Ordering::Relaxed);
    }

    /// Remembers bodies too.
    pub fn keep_bodies(&self) {
        self.shared.keeps_bodies.store(1, Ordering::Relaxed);
    }

    /// The remembered requests, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        let received = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().cloned().collect()
    }

    /// How many requests arrived since the start or the last [`Upstream::clear`].
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Forgets all requests and counts from 0.
    pub fn clear(&self) {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.count.store(0, Ordering::Relaxed);
    }

    /// Waits until at least `least` requests arrived, as mirrored ones do after the answer; panics after
    /// [`PATIENCE`](crate::PATIENCE).
    pub fn wait_count(&self, least: u64) {
        crate::time::wait_for(
            || (self.count() >= least).then_some(()),
            || format!("{least} requests of {}, not {}", self.name(), self.count()),
        );
    }

    /// Dies: the listener and all connections close at once, and connecting is refused.
    pub fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(server) = std::mem::replace(&mut *state, State::Between) {
            server.stop();
            let port = self.port;
            *state = State::Stopped(wait(async move { DeadPort::hold(port) }));
        }
    }

    /// Comes back on the same port.
    pub fn restart(&self) {
        self.stop();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Between;
        *state = State::Running(server::Server::start(self.port, Arc::clone(&self.shared)));
    }
}
