//! What the connections of a server share with its handle: how to answer, and what was asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use super::behaviour::Behaviour;
use super::received::Received;

pub(super) type Choice = Arc<dyn Fn(&Received) -> Behaviour + Send + Sync>;

/// What the connections of a server share with its handle.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) choice: RwLock<Choice>,
    pub(super) received: Mutex<VecDeque<Received>>,
    pub(super) remembered: AtomicUsize,
    pub(super) keeps_bodies: AtomicUsize,
    pub(super) count: AtomicU64,
    pub(super) open: AtomicU64,
}

impl Shared {
    pub(super) fn record(&self, request: &Received) {
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
