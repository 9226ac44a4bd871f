//! The one tokio runtime of a process. Callers block on a channel rather than in the runtime, so that the testbed
//! also works when it is called from inside another runtime.

use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime; made at first use and kept until the process ends.
pub(crate) fn runtime() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().enable_all().build().expect("a tokio runtime needs threads and an epoll")
    })
}

/// Runs `future` on the runtime and blocks the calling thread until it is done.
pub(crate) fn wait<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (sender, receiver) = mpsc::channel();
    runtime().spawn(async move {
        // The receiver only goes away with a caller that panicked.
        let _ = sender.send(future.await);
    });
    receiver.recv().expect("the task ran to its end; if not, its panic is printed above")
}
