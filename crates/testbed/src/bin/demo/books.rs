//! The books: which version answered whom, and whether there was a cause for it.
//!
//! An answer is right if a document that could have been in force while the request was under way gives this user this version,
//! or if failover reports that another version stood in. A version that is rolled back counts as a new document that gives it to
//! nobody. Any other answer is a change without a cause.

use std::time::Instant;

use rollout_core::{Health, Now, State, Time, compile, decide_unit};

use crate::user::{USERS, Version, Visit, name};

/// What a document gives to each user, and when it was in force.
struct Document {
    given: Vec<Version>,
    shadowed: Vec<bool>,
    from: Instant,
    /// When the next one was live everywhere.
    until: Option<Instant>,
}

impl Document {
    /// What a document gives, with v2 rolled back or not.
    fn new(text: &str, v2: State) -> Result<Self, String> {
        let plan = compile(text.as_bytes()).map_err(|refused| refused.to_string())?.plan;
        let rollout = plan.rollouts().first().ok_or("the document has no rollout")?;
        let mut health = Health::default();
        health.set(rollout.versions().get(1).ok_or("the rollout has no v2")?, v2);
        let moment = Now { time: TIMELESS, health: &health };
        let decisions = (0..USERS).map(|user| decide_unit(&plan, rollout, name(user).as_bytes(), moment));
        let (given, shadowed) = decisions
            .map(|decision| (decision.version.ordinal(), decision.copies.iter().any(Option::is_some)))
            .unzip();
        Ok(Self { given, shadowed, from: Instant::now(), until: None })
    }
}

/// What clients have seen of v2 since it began to fail.
#[derive(Default, Clone)]
pub(crate) struct Trouble {
    /// When the first failure was answered.
    pub(crate) first: Option<Instant>,
    /// When the last request that met a failure began.
    pub(crate) last: Option<Instant>,
    pub(crate) saved: u64,
    pub(crate) failed: u64,
    /// Whether there is no failover, so that clients may see some failures.
    is_bare: bool,
}

impl Trouble {
    fn note(&mut self, answer: &Visit, ended: Instant) {
        self.first = Some(self.first.map_or(ended, |first| first.min(ended)));
        self.last = self.last.max(Some(answer.begun));
        self.saved += u64::from(answer.failed_over);
        self.failed += u64::from(answer.version.is_none());
    }
}

/// The books.
#[derive(Default)]
pub(crate) struct Books {
    documents: Vec<Document>,
    /// The document that was pushed last.
    latest: String,
    trouble: Option<Trouble>,
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
    /// Failures of v2 while it was in trouble and nothing stood in for it.
    pub(crate) bare: u64,
    /// Users, not answers: one who strays twice counts once.
    pub(crate) without_cause: u64,
    pub(crate) failed_over: u64,
    /// Requests of users whose requests are shadowed, and the rows of the data set that they are made of.
    pub(crate) shadowed: u64,
    pub(crate) shadowed_rows: Vec<usize>,
    pub(crate) answered: [u64; 2],
}

/// No document of the story depends on the time.
const TIMELESS: Time = Time::from_seconds(0);

impl Books {
    /// Books that know the first document.
    pub(crate) fn new(document: &str) -> Result<Self, String> {
        let mut books = Self {
            last: vec![None; USERS],
            seen: vec![false; USERS],
            strayed: vec![false; USERS],
            ..Self::default()
        };
        books.push_begins(document)?;
        Ok(books)
    }

    /// A push begins: from now on the new document may answer.
    pub(crate) fn push_begins(&mut self, document: &str) -> Result<(), String> {
        self.documents.push(Document::new(document, State::Healthy)?);
        document.clone_into(&mut self.latest);
        Ok(())
    }

    /// The push is live: from now on only the new document answers.
    pub(crate) fn push_is_live(&mut self) {
        let now = Instant::now();
        for earlier in self.documents.iter_mut().rev().skip(1) {
            earlier.until.get_or_insert(now);
        }
    }

    /// v2 is about to fail: from now on it may be rolled back, and without failover clients may see some failures.
    pub(crate) fn trouble_begins(&mut self, is_bare: bool) -> Result<(), String> {
        self.documents.push(Document::new(&self.latest, State::RolledBack)?);
        self.trouble = Some(Trouble { is_bare, ..Trouble::default() });
        Ok(())
    }

    /// v2 is rolled back everywhere: from now on it answers nobody, and nobody sees a failure.
    pub(crate) fn trouble_is_over(&mut self) -> Trouble {
        self.push_is_live();
        self.trouble.take().unwrap_or_default()
    }

    /// Begins a step: counts restart, and no user has been seen.
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

    pub(crate) fn record(&mut self, answer: &Visit) {
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
        let failed = answer.version.is_none();
        let is_of_v2 = documents.iter().any(|document| document.given[user] == 1);
        let is_priced_in = failed && is_of_v2 && self.trouble.as_ref().is_some_and(|trouble| trouble.is_bare);
        if let Some(trouble) = self.trouble.as_mut().filter(|_| failed || answer.failed_over) {
            trouble.note(answer, ended);
        }
        self.step.shadowed_rows.extend(shadowed.then_some(answer.row));
        for counts in [&mut self.step, &mut self.total] {
            counts.sent += 1;
            counts.failed += u64::from(failed && !is_priced_in);
            counts.bare += u64::from(is_priced_in);
            counts.failed_over += u64::from(answer.failed_over);
            counts.without_cause += u64::from(strays);
            counts.shadowed += u64::from(shadowed);
            if let Some(version) = answer.version {
                counts.answered[version] += 1;
            }
        }
        if (failed && !is_priced_in || !right) && self.examples.len() < 5 {
            self.examples.push(format!("{}: {}", name(user), answer.words));
        }
        self.seen[user] = true;
        if !answer.failed_over && !failed {
            self.last[user] = answer.version;
        }
    }
}
