//! Servers that misbehave below HTTP: they take no connection, or do not read what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::runtime::{runtime, wait};

/// How a server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connecting is neither accepted nor refused: the first packet is lost.
    Unreachable,
    /// Connections are accepted, and nothing is ever read from them.
    NeverReads,
    /// Connections are accepted and read at this many bytes per second, and nothing is answered.
    ReadsSlowly(u32),
}

/// A server with a fault; ends with its handle.
pub struct Faulty {
    port: u16,
    read: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Faulty {
    /// Starts a server on a free port.
    pub fn start(fault: Fault) -> Self {
        let (read, accepted) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counts = (Arc::clone(&read), Arc::clone(&accepted));
        let listener = wait(async move { listen(fault) });
        let port = listener.local_addr().expect("a listener has an address").port();
        let task = match fault {
            Fault::Unreachable => {
                let full = wait(fill(port));
                runtime().spawn(async move {
                    let _kept = (listener, full);
                    std::future::pending::<()>().await;
                })
            }
            Fault::NeverReads => runtime().spawn(accept(listener, None, counts)),
            Fault::ReadsSlowly(rate) => runtime().spawn(accept(listener, Some(rate), counts)),
        };
        Self { port, read, accepted, task }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that were read from all connections so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener. One that is to be unreachable has the shortest queue that there is.
fn listen(fault: Fault) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    if fault != Fault::Unreachable {
        // So that most of what is not read stays with the sender.
        socket.set_recv_buffer_size(16 * 1024).expect("a buffer can be small");
    }
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    socket.listen(if fault == Fault::Unreachable { 0 } else { 1_024 }).expect("a socket can listen")
}

/// Connects until the queue of a listener that accepts nothing is full, and keeps the connections.
async fn fill(port: u16) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let connect = || TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), connect()).await {
        held.push(stream);
    }
    held
}

async fn accept(listener: TcpListener, rate: Option<u32>, counts: (Arc<AtomicU64>, Arc<AtomicU64>)) {
    let (read, accepted) = counts;
    // Dropped with this task, and with it all connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        accepted.fetch_add(1, Ordering::Relaxed);
        connections.spawn(hold(stream, rate, Arc::clone(&read)));
    }
}

/// Holds a connection, reading it ten times a second or never.
async fn hold(mut stream: TcpStream, rate: Option<u32>, read: Arc<AtomicU64>) {
    let Some(rate) = rate else { return std::future::pending().await };
    let mut piece = vec![0; usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1)];
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => read.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}
