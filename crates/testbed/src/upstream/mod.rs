//! A model server for tests: it answers as it is told, remembers what it was asked, and can stop and come back.
//!
//! HTTP/1.1 and h2c share one port. gRPC health checks are answered on it too (see [`crate::grpc`]).

mod answer;
mod behaviour;
mod body;
mod fault;
mod health;
mod port;
mod received;
mod server;
mod shared;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use behaviour::{Answer, Behaviour};
pub use fault::{Fault, Faulty};
pub use port::DeadPort;
pub use received::Received;
use server::Server;
use shared::Shared;

use crate::runtime::wait;

/// Requests remembered unless [`Upstream::remember`] says otherwise.
const REMEMBERED: usize = 10_000;

enum State {
    Running(Server),
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
        let server = Server::start(port, Arc::clone(&shared));
        Self { shared, port: server.port(), state: Mutex::new(State::Running(server)) }
    }

    /// The name, which the server puts into `x-upstream` and its echo.
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

    /// Sets the behaviour from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.set_with(move |_| behaviour.clone());
    }

    /// Chooses the behaviour by the request from now on.
    pub fn set_with(&self, choice: impl Fn(&Received) -> Behaviour + Send + Sync + 'static) {
        *self.shared.choice.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(choice);
    }

    /// Remembers at most `limit` requests, the latest ones. 0 avoids the cost in a benchmark.
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

    /// Stops: the listener and all connections close at once, and connecting is refused.
    pub fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(server) = std::mem::replace(&mut *state, State::Between) {
            server.stop();
            let port = self.port;
            *state = State::Stopped(wait(async move { DeadPort::hold(port) }));
        }
    }

    /// Starts again on the same port.
    pub fn restart(&self) {
        self.stop();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Between;
        *state = State::Running(Server::start(self.port, Arc::clone(&self.shared)));
    }
}
