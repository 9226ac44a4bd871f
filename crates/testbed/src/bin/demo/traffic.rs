//! The traffic: each user asks again and again, and every answer goes into the books.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testbed::{Client, Request};

use crate::books::Books;
use crate::user::{USERS, Visit, name};

/// Requests per second over all users: what two models and a proxy take on two small cores, with room to spare.
const RATE: f64 = 250.0;
/// Connections, so that all workers of Envoy have some.
const CONNECTIONS: u64 = 8;
/// Bounds the traffic, whatever happens to the story.
const MOST: u64 = 100_000;

/// The traffic; it ends when this is dropped.
pub(crate) struct Traffic {
    envoy: std::net::SocketAddr,
    questions: Arc<Vec<String>>,
    books: Arc<Mutex<Books>>,
    over: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Lets the users ask, in turn and for as long as the story lasts.
    pub(crate) fn start(envoy: std::net::SocketAddr, questions: Vec<String>, books: Books) -> Self {
        let (over, questions) = (Arc::new(AtomicBool::new(false)), Arc::new(questions));
        let books = Arc::new(Mutex::new(books));
        let mut traffic = Self { envoy, questions, books, over, senders: Vec::new() };
        traffic.resume();
        traffic
    }

    /// Lets the users ask again after [`Traffic::stop`], from the first one on.
    pub(crate) fn resume(&mut self) {
        self.stop();
        self.over.store(false, Ordering::Relaxed);
        let (next, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let sender = |_| {
            let (books, over, next, questions) = (
                Arc::clone(&self.books),
                Arc::clone(&self.over),
                Arc::clone(&next),
                Arc::clone(&self.questions),
            );
            let client = Client::new(self.envoy);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= MOST {
                        return;
                    }
                    let due = started + Duration::from_secs_f64(turn as f64 / RATE);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let answer = ask(&client, turn, &questions);
                    locked(&books).record(&answer);
                }
            })
        };
        let senders = (0..CONNECTIONS).map(sender).collect();
        self.senders = senders;
    }

    /// The books, to read or to write.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.books)
    }

    /// Ends the traffic and waits for the last answers.
    pub(crate) fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            let _ = sender.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

fn locked(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One request: the model itself says which version it is.
fn ask(client: &Client, turn: u64, questions: &[String]) -> Visit {
    let user = turn as usize % USERS;
    let row = turn as usize % questions.len();
    let question = questions[row].clone();
    let request = Request::post("/v2/models/breast-cancer/infer", question)
        .header("content-type", "application/json")
        .header("x-user-id", name(user));
    let begun = Instant::now();
    let (version, failed_over, words) = match client.send(request) {
        Ok(response) => {
            let version = match response.json()["model_version"].as_str() {
                Some("v1") if response.status == 200 => Some(0),
                Some("v2") if response.status == 200 => Some(1),
                _ => None,
            };
            let mark = response.header("x-rollout-failover").is_some();
            (version, mark, format!("{} {}", response.status, response.text()))
        }
        Err(failure) => (None, false, failure.to_string()),
    };
    Visit { user, row, begun, version, failed_over, words }
}
