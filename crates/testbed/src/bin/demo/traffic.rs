//! The users: some thousand of them, each asking again and again, and the books on who was answered by which version.
//!
//! An answer is right if a document that could have been in force while the request was under way gives this user this version,
//! or if failover says that another version stood in. Any other answer is a change without a cause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rollout_core::compile::compile;
use rollout_core::decide::decide_unit;
use rollout_core::time::Time;
use testbed::{Client, Request};

/// How many users there are.
pub(crate) const USERS: usize = 2_000;
/// Requests per second over all users: what two models and a proxy take on two small cores, with room to spare.
const RATE: f64 = 250.0;
/// Connections, so that all workers of Envoy have some.
const CONNECTIONS: u64 = 8;
/// Bounds the traffic, whatever happens to the story.
const MOST: u64 = 100_000;

/// A version's position: v1 is 0, v2 is 1.
pub(crate) type Version = usize;

/// What a document gives to each user, and when it was in force.
struct Document {
    given: Vec<Version>,
    shadowed: Vec<bool>,
    from: Instant,
    /// When the next one was live everywhere.
    until: Option<Instant>,
}

/// The books.
#[derive(Default)]
pub(crate) struct Books {
    documents: Vec<Document>,
    /// The version that last answered each user.
    pub(crate) last: Vec<Option<Version>>,
    /// Whether a user was answered in this step.
    seen: Vec<bool>,
    /// Whether a user was ever answered without a cause.
    strayed: Vec<bool>,
    pub(crate) step: Counts,
    pub(crate) total: Counts,
    /// The first failures and wrong answers, in words.
    pub(crate) examples: Vec<String>,
}

/// Counts of one step, or of all.
#[derive(Default, Clone)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Users, not answers: one who strays twice counts once.
    pub(crate) without_cause: u64,
    pub(crate) failed_over: u64,
    /// Requests of users whose requests are shadowed.
    pub(crate) shadowed: u64,
    pub(crate) answered: [u64; 2],
}

/// No document of the story depends on the time.
const TIMELESS: Time = Time::from_seconds(0);

impl Books {
    /// A push begins: from now on the new document may answer.
    pub(crate) fn push_begins(&mut self, document: &str) -> Result<(), String> {
        let plan = compile(document.as_bytes()).map_err(|refused| refused.to_string())?.plan;
        let rollout = plan.rollouts().first().ok_or("the document has no rollout")?;
        let decisions = (0..USERS).map(|user| decide_unit(&plan, rollout, name(user).as_bytes(), TIMELESS));
        let (given, shadowed) = decisions
            .map(|decision| (decision.version.ordinal(), decision.shadows.iter().any(Option::is_some)))
            .unzip();
        self.documents.push(Document { given, shadowed, from: Instant::now(), until: None });
        Ok(())
    }

    /// The push is live: from now on only the new document answers.
    pub(crate) fn push_is_live(&mut self) {
        let now = Instant::now();
        for earlier in self.documents.iter_mut().rev().skip(1) {
            earlier.until.get_or_insert(now);
        }
    }

    /// Begins a step: counts start anew, and nobody has been seen.
    pub(crate) fn begin_step(&mut self) {
        self.step = Counts::default();
        self.seen = vec![false; USERS];
    }

    /// How many users have been answered in this step.
    pub(crate) fn seen(&self) -> usize {
        self.seen.iter().filter(|seen| **seen).count()
    }

    /// How many users each version answered last.
    pub(crate) fn users(&self) -> [u64; 2] {
        [0, 1].map(|version| self.last.iter().filter(|last| **last == Some(version)).count() as u64)
    }

    fn record(&mut self, answer: &Answer) {
        let user = answer.user;
        let (begun, ended) = (answer.begun, Instant::now());
        let possible = |document: &&Document| {
            document.from <= ended && document.until.is_none_or(|until| begun <= until)
        };
        let documents: Vec<&Document> = self.documents.iter().filter(possible).collect();
        let shadowed = documents.iter().any(|document| document.shadowed[user]);
        let right = answer.failed_over
            || answer
                .version
                .is_none_or(|version| documents.iter().any(|document| document.given[user] == version));
        let strays = !right && !std::mem::replace(&mut self.strayed[user], true);
        for counts in [&mut self.step, &mut self.total] {
            counts.sent += 1;
            counts.failed += u64::from(answer.version.is_none());
            counts.failed_over += u64::from(answer.failed_over);
            counts.without_cause += u64::from(strays);
            counts.shadowed += u64::from(shadowed);
            if let Some(version) = answer.version {
                counts.answered[version] += 1;
            }
        }
        if (answer.version.is_none() || !right) && self.examples.len() < 5 {
            self.examples.push(format!("{}: {}", name(user), answer.words));
        }
        self.seen[user] = true;
        if !answer.failed_over && answer.version.is_some() {
            self.last[user] = answer.version;
        }
    }
}

/// The name by which a user is hashed.
fn name(user: usize) -> String {
    format!("user-{user}")
}

struct Answer {
    user: usize,
    begun: Instant,
    /// None: the request failed.
    version: Option<Version>,
    failed_over: bool,
    words: String,
}

/// The traffic; it ends when this is dropped.
pub(crate) struct Traffic {
    books: Arc<Mutex<Books>>,
    over: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Lets the users ask, in turn and for as long as the story lasts.
    pub(crate) fn start(envoy: std::net::SocketAddr, questions: Vec<String>, books: Books) -> Self {
        let books = Arc::new(Mutex::new(Books {
            last: vec![None; USERS],
            seen: vec![false; USERS],
            strayed: vec![false; USERS],
            ..books
        }));
        let (over, next, started) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Instant::now());
        let questions = Arc::new(questions);
        let sender = |_| {
            let (books, over, next, questions) =
                (Arc::clone(&books), Arc::clone(&over), Arc::clone(&next), Arc::clone(&questions));
            let client = Client::new(envoy);
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
        Self { books, over, senders }
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
fn ask(client: &Client, turn: u64, questions: &[String]) -> Answer {
    let user = turn as usize % USERS;
    let question = questions[turn as usize % questions.len()].clone();
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
    Answer { user, begun, version, failed_over, words }
}
