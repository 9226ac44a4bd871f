//! Ports that nobody listens on.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::runtime::wait;

/// A port that is taken but that nobody listens on: connecting is refused, and no other process can get the port.
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

    pub(super) fn hold(port: u16) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("a socket can share its address with connections that still close");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("a port of ours can be taken");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        Self { port, _socket: socket }
    }
}
