//! Simulates a proxy request by request: users who differ, clients that leave, workers that merge in turns, pushes and incidents.
//!
//! The clock is made up, and everything that judges is the product's own code. Guardrails are in a dry run, so that each signal is
//! judged until the end, whatever the others have found.

use std::rc::Rc;
use std::time::Duration;

use rollout_core::guardrail::{
    End, Guardrails, MAX_SIGNALS, Outcome, Setting, SplitMark, Ticket, Worker, merge,
};
use rollout_core::{Decision, Health, Plan, Rollout, Time, compile, decide_unit};
use serde_json::{Value, json};

use super::Dice;
use super::site::{START, V1, V2};

/// Interval of a worker's ticks, and the most that one is late, in milliseconds.
const TICK: [u64; 2] = [200, 20];

/// Without a `timeout`, Envoy waits so long for an answer, in milliseconds.
const ROUTE_TIMEOUT: f64 = 15_000.0;

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Median 20 ms, 95th percentile 104 ms, 1 in 1,000 above 440 ms.
    LogNormal,
    /// Median 16 ms, 95th percentile 74 ms, 1 in 1,000 above 1 s.
    Pareto,
}

impl Tail {
    fn draw(self, dice: &mut Dice) -> f64 {
        match self {
            Self::LogNormal => 20.0 * dice.normal().exp(),
            Self::Pareto => 10.0 * dice.uniform().powf(-1.0 / 1.5),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// This share of the requests fails at once.
    Fails(f64),
    /// This share is not answered before it is over.
    Hangs(f64),
    /// Requests take this many times as long.
    Slow(f64),
    /// Every answer is 404.
    NotFound,
}

/// Something that goes wrong for a while, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incident {
    pub(crate) kind: Kind,
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// The side. `None` if both sides share it.
    pub(crate) side: Option<usize>,
}

/// How long clients wait, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// True if it belongs to the user, false if each request has its own.
    pub(crate) is_of_user: bool,
}

impl Patience {
    fn draw(self, dice: &mut Dice) -> f64 {
        self.least * (self.most / self.least).powf(dice.uniform())
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callers {
    /// So many users with so many requests per second in all. The split decides who gets what.
    All(usize, f64),
    /// So many users of each side, with so many requests per second.
    Sides([usize; 2], [f64; 2]),
}

/// A rollout with its traffic.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) callers: Callers,
    /// From which millisecond on which percentage gets v2.
    pub(crate) pushes: Vec<(u64, f64)>,
    pub(crate) patience: Patience,
    pub(crate) incidents: Vec<Incident>,
    /// The versions' `timeout` in milliseconds.
    pub(crate) timeout: Option<u64>,
    /// The share of requests that fails in health.
    pub(crate) failing: [f64; 2],
    /// How many times as long as usual each side takes.
    pub(crate) pace: [f64; 2],
    /// End of the simulation in milliseconds.
    pub(crate) ends: u64,
    /// True if the first verdict ends it.
    pub(crate) stops: bool,
}

/// What a signal did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noted {
    /// The millisecond of its verdict.
    pub(crate) tripped: Option<u64>,
    /// True if a verdict was withheld.
    pub(crate) withheld: bool,
}

/// A document of the rollout.
#[derive(Debug)]
struct Document {
    plan: Plan,
    rollout: Rc<Rollout>,
    split: SplitMark,
}

/// A scenario with its documents.
#[derive(Debug)]
pub(crate) struct Simulation {
    scenario: Scenario,
    documents: Vec<Document>,
}

/// A thread of the proxy. It has a worker for each document.
struct Thread {
    workers: Vec<Worker>,
    /// When each document starts to serve here.
    serves: Vec<u64>,
    ticks: u64,
}

impl Thread {
    fn serving(&self, at: u64) -> usize {
        self.serves.iter().rposition(|from| *from <= at).unwrap_or(0)
    }
}

/// A request under way.
struct UnderWay {
    thread: usize,
    document: usize,
    ticket: Ticket,
    outcome: Outcome,
}

/// A user with its decisions, one for each document.
struct User {
    decisions: Vec<Decision>,
    patience: f64,
}

/// Users with their shares of the requests.
struct Crowd {
    users: Vec<User>,
    up_to: Vec<f64>,
    rate: f64,
}

impl Crowd {
    /// Users whose numbers of requests have a Pareto distribution of 1.2: a few make up a large part of the traffic.
    fn new(users: Vec<User>, rate: f64, dice: &mut Dice) -> Self {
        let mut sum = 0.0;
        let share = |_: &User| {
            sum += dice.uniform().powf(-1.0 / 1.2);
            sum
        };
        let up_to = users.iter().map(share).collect();
        Self { users, up_to, rate }
    }

    fn draw(&self, dice: &mut Dice) -> &User {
        let at = dice.uniform() * self.up_to.last().unwrap();
        let found = self.up_to.partition_point(|up_to| *up_to < at);
        &self.users[found.min(self.users.len() - 1)]
    }
}

impl Simulation {
    /// `guardrails` without `dry_run`.
    pub(crate) fn new(guardrails: &Value, scenario: Scenario) -> Self {
        let mut guardrails = guardrails.clone();
        guardrails["dry_run"] = true.into();
        let document = |(_, percent): &(u64, f64)| {
            let mut document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "g",
                "stable": "v1", "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
                "strategy": {"canary": {"version": "v2", "percent": percent}}, "guardrails": guardrails}]});
            if let Some(timeout) = scenario.timeout {
                document["rollouts"][0]["timeout"] = format!("{timeout}ms").into();
            }
            let plan = compile(document.to_string().as_bytes()).unwrap_or_else(|no| panic!("{no}")).plan;
            let rollout = Rc::clone(&plan.rollouts()[0]);
            let split = SplitMark::of(&rollout, Health::HEALTHY, Time::from_seconds(START.as_secs()));
            Document { plan, rollout, split }
        };
        let documents = scenario.pushes.iter().map(document).collect();
        Self { scenario, documents }
    }

    pub(crate) fn guardrails(&self) -> &Guardrails {
        self.documents[0].rollout.guardrails().unwrap()
    }

    fn crowds(&self, seed: u64, dice: &mut Dice) -> Vec<Crowd> {
        let time = Time::from_seconds(START.as_secs());
        let mut number = 0;
        let mut user = |dice: &mut Dice| {
            number += 1;
            let unit = format!("user-{seed}-{number}");
            let decide =
                |document: &Document| decide_unit(&document.plan, &document.rollout, unit.as_bytes(), time);
            let patience = self.scenario.patience.draw(dice);
            User { decisions: self.documents.iter().map(decide).collect(), patience }
        };
        match self.scenario.callers {
            Callers::All(count, rate) => {
                let users = (0..count).map(|_| user(dice)).collect();
                vec![Crowd::new(users, rate, dice)]
            }
            Callers::Sides(counts, rates) => {
                let mut sides = [Vec::new(), Vec::new()];
                while sides.iter().zip(counts).any(|(users, count)| users.len() < count) {
                    let user = user(dice);
                    let side = side(&user.decisions[0]);
                    if sides[side].len() < counts[side] {
                        sides[side].push(user);
                    }
                }
                let crowds = sides.into_iter().zip(rates);
                crowds
                    .filter(|(_, rate)| *rate > 0.0)
                    .map(|(users, rate)| Crowd::new(users, rate, dice))
                    .collect()
            }
        }
    }

    fn threads(&self, dice: &mut Dice) -> Vec<Thread> {
        let thread = |_| {
            let worker = |document: &Document| {
                Worker::new(document.rollout.guardrails().unwrap(), document.rollout.stable().ordinal())
            };
            // A push reaches each thread a little later.
            let serves = |(at, _): &(u64, f64)| if *at == 0 { 0 } else { at + dice.word() % 300 };
            Thread {
                serves: self.scenario.pushes.iter().map(serves).collect(),
                workers: self.documents.iter().map(worker).collect(),
                ticks: dice.word() % TICK[0],
            }
        };
        (0..2).map(thread).collect()
    }

    /// One run: what each signal did.
    pub(crate) fn run(&self, seed: u64) -> [Noted; MAX_SIGNALS] {
        let dice = &mut Dice::new(seed);
        let tail = if seed.is_multiple_of(2) { Tail::LogNormal } else { Tail::Pareto };
        let crowds = self.crowds(seed, dice);
        let mut threads = self.threads(dice);
        let mut next: Vec<f64> = crowds.iter().map(|crowd| gap(crowd, dice)).collect();
        let mut calendar: Vec<Vec<UnderWay>> = Vec::new();
        calendar.resize_with(self.scenario.ends as usize + 1, Vec::new);
        let (mut noted, mut shared) = ([Noted::default(); MAX_SIGNALS], Vec::new());
        for at in 0..self.scenario.ends {
            for (crowd, next) in crowds.iter().zip(&mut next) {
                while *next < (at + 1) as f64 {
                    let thread = (dice.word() % threads.len() as u64) as usize;
                    let document = threads[thread].serving(at);
                    let user = crowd.draw(dice);
                    let decision = &user.decisions[document];
                    let now = START + Duration::from_micros((*next * 1_000.0) as u64);
                    let split = self.documents[document].split;
                    let ticket = threads[thread].workers[document].begin(decision, now, split).unwrap();
                    let (takes, outcome) = self.fate((side(decision), *next), (tail, user.patience), dice);
                    let ends = ((*next + takes) as usize).max(at as usize);
                    if let Some(day) = calendar.get_mut(ends) {
                        day.push(UnderWay { thread, document, ticket, outcome });
                    }
                    *next += gap(crowd, dice);
                }
            }
            let now = START + Duration::from_millis(at);
            for UnderWay { thread, document, ticket, outcome } in std::mem::take(&mut calendar[at as usize]) {
                let guardrails = self.documents[document].rollout.guardrails().unwrap();
                threads[thread].workers[document].record(guardrails, ticket, outcome, now);
            }
            for thread in threads.iter_mut().filter(|thread| thread.ticks <= at) {
                thread.ticks = at + TICK[0] + dice.word() % TICK[1];
                self.merge(thread, &mut shared, at, &mut noted);
            }
            if self.scenario.stops && noted.iter().any(|noted| noted.tripped.is_some()) {
                break;
            }
        }
        noted
    }

    fn merge(&self, thread: &mut Thread, shared: &mut Vec<u8>, at: u64, noted: &mut [Noted]) {
        let now = START + Duration::from_millis(at);
        let serving = self.documents[thread.serving(at)].split;
        for (document, worker) in self.documents.iter().zip(&mut thread.workers) {
            if worker.dirty().is_empty() {
                continue;
            }
            let setting = Setting::of(&document.rollout, 0, Health::HEALTHY, now).unwrap();
            let merged = merge(shared, worker, 0, &setting.replaced_by(serving));
            *shared = merged.bytes;
            worker.merged(setting.guardrails, 0, &merged.record, &merged.feedback);
            for verdict in merged.verdicts {
                noted[verdict.position].tripped.get_or_insert(at);
            }
            for withheld in merged.withheld {
                noted[withheld.verdict.position].withheld = true;
            }
        }
    }

    /// How long a request takes that begins on a side at a time, and how it ends.
    fn fate(
        &self,
        (side, begins): (usize, f64),
        (tail, patience): (Tail, f64),
        dice: &mut Dice,
    ) -> (f64, Outcome) {
        let scenario = &self.scenario;
        let mut takes = tail.draw(dice) * scenario.pace[side];
        let (mut fails, mut status) = (dice.chance(scenario.failing[side]), 200);
        // It may meet an incident when it begins, or at any time until it would have ended.
        let meets = begins + takes * dice.uniform();
        for incident in scenario.incidents.iter().filter(|of| of.side.is_none_or(|of| of == side)) {
            let is_in = |at: f64| (incident.from as f64..incident.until as f64).contains(&at);
            match incident.kind {
                Kind::Fails(share) if is_in(meets) && dice.chance(share) => {
                    (fails, takes) = (true, meets - begins + 2.0);
                }
                Kind::Hangs(share) if is_in(meets) && dice.chance(share) => {
                    takes += incident.until as f64 - meets;
                }
                Kind::Slow(times) if is_in(begins) => takes *= times,
                Kind::NotFound if is_in(begins) => status = 404,
                Kind::Fails(_) | Kind::Hangs(_) | Kind::Slow(_) | Kind::NotFound => {}
            }
        }
        let waits = if scenario.patience.is_of_user { patience } else { scenario.patience.draw(dice) };
        let timeout = scenario.timeout.map_or(ROUTE_TIMEOUT, |timeout| timeout as f64);
        let waited = |milliseconds: f64| Some(Duration::from_micros((milliseconds * 1_000.0) as u64));
        let unanswered = Outcome::FAILED_OVER;
        if waits < takes.min(timeout) {
            (waits, Outcome { end: End::Abandoned, waited: waited(waits), marks: 0 })
        } else if timeout < takes {
            (timeout, unanswered)
        } else if fails && dice.chance(0.5) {
            (takes, unanswered)
        } else {
            let end = if fails { End::Failed } else { End::Answered };
            let marks = self.guardrails().marks(if fails { 503 } else { status }, |_| None);
            (takes, Outcome { end, waited: waited(takes), marks })
        }
    }
}

fn gap(crowd: &Crowd, dice: &mut Dice) -> f64 {
    -dice.uniform().ln() * 1_000.0 / crowd.rate
}

fn side(decision: &Decision) -> usize {
    if decision.version.name() == "v2" { V2 } else { V1 }
}
