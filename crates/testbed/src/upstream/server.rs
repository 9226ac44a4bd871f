//! The listener and its connections. Stopping aborts all of them, so that nothing of a stopped server lingers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::answer;
use super::shared::Shared;
use crate::runtime::{runtime, wait};
use crate::time::PATIENCE;

pub(super) struct Server {
    port: u16,
    stop: Option<oneshot::Sender<Infallible>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(port: u16, shared: Arc<Shared>) -> Self {
        let listener = wait(bind(port));
        let port = listener.local_addr().expect("a listener has an address").port();
        let (stop, stopped) = oneshot::channel();
        let accepting = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, &mut connections, shared) => {}
            }
            connections.shutdown().await;
        });
        Self { port, stop: Some(stop), accepting: Some(accepting) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Stops and returns when the listener and all connections are closed.
    pub(super) fn stop(mut self) {
        drop(self.stop.take());
        let accepting = self.accepting.take().expect("a server stops once");
        wait(async move {
            // An error would be a panic of the task, which is printed where it happened.
            let _ = accepting.await;
        });
    }
}

/// A listener on the port. A port that was just released may still have a closing connection.
async fn bind(port: u16) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "port {port} can't be bound: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept(listener: TcpListener, connections: &mut JoinSet<()>, shared: Arc<Shared>) {
    loop {
        // Errors here are of the one connection (it is gone already), or of too many open files, which passes.
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(Arc::clone(&shared));
    // Without it a small answer may wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer::answer(request, Arc::clone(&shared)));
    // A connection that ends with an error is often just what a test asked for.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
