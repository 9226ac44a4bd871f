//! The rules that keep guardrails from acting on what says nothing about the version: abandoned requests, a warm-up, a stable that
//! is as bad, too few units, and failures in a row that stable shares.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::time::Duration;

use rollout_core::guardrail::{Merge, Observed, Outcome, Setting, Sides, Tally, Worker};
use rollout_core::{Decision, Time, compile, decide};
use serde_json::{Value, json};

mod guardrail;

use guardrail::site::{FAILED, FINE, Site, V1, V2, abandoned, after, took, verdicts};

/// What each side does in a tick: the units that call, and how their calls end.
type Calls<'c> = &'c [(usize, std::ops::Range<usize>, Outcome)];

/// A proxy with workers that serve in turns and merge on every tick of 200 ms.
struct Proxy<'s> {
    site: &'s Site,
    workers: Vec<Worker>,
    shared: Vec<u8>,
    /// Number of ticks that have passed.
    ticks: u32,
    gives_stable: bool,
    found: Vec<(u32, String)>,
}

impl<'s> Proxy<'s> {
    fn new(site: &'s Site) -> Self {
        Self::with_workers(site, 2)
    }

    fn with_workers(site: &'s Site, workers: usize) -> Self {
        let workers = (0..workers).map(|_| site.worker()).collect();
        Self { site, workers, shared: Vec::new(), ticks: 0, gives_stable: true, found: Vec::new() }
    }

    fn now(&self) -> Duration {
        after(f64::from(self.ticks) / 5.0)
    }

    /// One tick: the calls, each by another worker, then a merge of each worker.
    fn tick(&mut self, calls: Calls<'_>) -> Vec<Merge> {
        let now = self.now();
        for (side, units, outcome) in calls {
            for unit in units.clone() {
                let worker = unit % self.workers.len();
                self.site.call(&mut self.workers[worker], (*side, unit), (now, *outcome));
            }
        }
        self.ticks += 1;
        let now = self.now();
        let setting = Setting { gives_stable: self.gives_stable, ..self.site.setting(now) };
        let mut merges = Vec::new();
        for worker in &mut self.workers {
            let merged = self.site.merge_as(worker, &mut self.shared, &setting);
            let names = verdicts(self.site, &merged);
            self.found.extend(names.into_iter().map(|name| (self.ticks, name.to_owned())));
            merges.push(merged);
        }
        merges
    }

    fn ticks(&mut self, count: u32, calls: Calls<'_>) {
        (0..count).for_each(|_| drop(self.tick(calls)));
    }

    /// The tick of the first verdict.
    fn tripped(&self) -> Option<u32> {
        self.found.first().map(|(tick, _)| *tick)
    }
}

fn rows(limit: u64) -> Site {
    Site::new(&json!({"window": "10s", "signals": [{"consecutive_failures": limit}]}))
}

const STABLE_IS_WELL: (usize, std::ops::Range<usize>, Outcome) = (V1, 0..20, FINE);

#[test]
fn a_version_that_dies_alone_is_condemned_within_a_second() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..10, FAILED)]);
    let tick = proxy.tripped().unwrap();
    assert!((12..=15).contains(&tick), "20 failures take two ticks, and two more settle them: {tick}");
}

#[test]
fn a_success_ends_a_run_and_one_in_the_same_tick_is_not_followed_by_one() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    for _ in 0..20 {
        proxy.ticks(1, &[STABLE_IS_WELL, (V2, 0..19, FAILED)]);
        proxy.ticks(1, &[STABLE_IS_WELL, (V2, 0..1, FINE)]);
        proxy.ticks(1, &[STABLE_IS_WELL, (V2, 0..30, FAILED), (V2, 40..41, FINE)]);
    }
    assert_eq!(proxy.found, []);
}

#[test]
fn an_outage_that_stable_shares_is_not_a_run_of_the_version() {
    for failing in [1, 2, 3, 10, 50] {
        let site = rows(20);
        let mut proxy = Proxy::new(&site);
        proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..30, FINE)]);
        proxy.ticks(failing, &[(V1, 0..20, FAILED), (V2, 0..30, FAILED)]);
        proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..30, FINE)]);
        assert_eq!(proxy.found, [], "{failing} ticks");
        proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..30, FAILED)]);
        assert!(proxy.tripped().is_some(), "the version dies alone later");
    }
}

#[test]
fn failures_wait_for_stable_to_be_seen_again() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(3, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    proxy.ticks(20, &[(V2, 0..10, FAILED)]);
    assert_eq!(proxy.found, [], "stable was well and has not been seen since");
    proxy.ticks(4, &[(V1, 0..1, FINE)]);
    assert!(proxy.tripped().is_some());
    let mut proxy = Proxy::new(&site);
    proxy.ticks(3, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    proxy.ticks(20, &[(V2, 0..10, FAILED)]);
    proxy.ticks(4, &[(V1, 0..1, FAILED)]);
    assert_eq!(proxy.found, [], "stable fails too");
}

#[test]
fn a_stable_that_is_silent_for_ten_seconds_says_nothing_more() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(3, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    proxy.ticks(60, &[(V2, 0..1, FAILED), (V2, 10..11, FAILED), (V2, 20..24, FAILED)]);
    let tick = proxy.tripped().unwrap();
    assert!((50..=56).contains(&tick), "{tick}");
}

#[test]
fn a_request_of_stable_that_is_under_way_keeps_failures_waiting() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(3, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    let now = proxy.now();
    let hung = proxy.workers[0].begin(&site.sides[V1][0], now, site.split).unwrap();
    proxy.ticks(100, &[(V2, 0..10, FAILED)]);
    assert_eq!(proxy.found, [], "stable may hang as well");
    let now = proxy.now();
    proxy.workers[0].record(site.guardrails(), hung, FAILED, now);
    proxy.ticks(5, &[]);
    assert_eq!(proxy.found, [], "it did");
    proxy.ticks(60, &[(V2, 0..10, FAILED)]);
    assert!(proxy.tripped().is_some(), "from then on stable is silent");
}

#[test]
fn a_version_that_serves_everybody_is_condemned_without_stable() {
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.gives_stable = false;
    proxy.ticks(5, &[(V2, 0..10, FAILED)]);
    assert!(proxy.tripped().is_some());
}

#[test]
fn stables_requests_without_a_unit_do_not_show_that_it_is_well() {
    let document = json!({"revision": 1, "rollouts": [{"name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "g", "stable": "v1",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}], "strategy": {"canary": {"version": "v2", "percent": 50}},
        "guardrails": {"signals": [{"consecutive_failures": 20}]}}]});
    let plan = compile(document.to_string().as_bytes()).unwrap().plan;
    let health_check: Decision = {
        let request = plan.request([("user-agent", b"prober".as_slice())], None);
        decide(&plan, &request, Time::from_seconds(after(0.0).as_secs())).unwrap()
    };
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(5, &[STABLE_IS_WELL, (V2, 0..10, FINE)]);
    for _ in 0..100 {
        let now = proxy.now();
        let ticket = proxy.workers[0].begin(&health_check, now, site.split).unwrap();
        proxy.workers[0].record(site.guardrails(), ticket, FINE, now);
        proxy.tick(&[(V1, 0..10, FAILED), (V2, 0..10, FAILED)]);
    }
    assert_eq!(proxy.found, []);
}

#[test]
fn one_unit_makes_up_a_quarter_of_a_run_until_the_version_has_seen_fewer_than_four() {
    for (units, expected) in
        [(1, Some(50..=53)), (2, Some(50..=53)), (3, Some(50..=53)), (4, Some(0..=10)), (20, Some(0..=10))]
    {
        let site = rows(20);
        let mut proxy = Proxy::new(&site);
        for _ in 0..120 {
            let calls: Vec<_> = (0..20).map(|call| (V2, call % units..call % units + 1, FAILED)).collect();
            proxy.tick(&[&calls[..], &[STABLE_IS_WELL]].concat());
        }
        let found = proxy.tripped();
        assert_eq!(found.is_some(), expected.is_some(), "{units} units");
        assert!(
            found.is_none_or(|tick| expected.as_ref().unwrap().contains(&tick)),
            "{units} units: {found:?}"
        );
    }
}

#[test]
fn one_client_among_others_condemns_no_version_however_often_it_fails() {
    let site = Site::new(&json!({"window": "10s", "min_requests": 20, "signals": [
        {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}));
    let mut proxy = Proxy::new(&site);
    for tick in 0..600 {
        let good = tick as usize % 200 + 1;
        proxy.ticks(
            1,
            &[STABLE_IS_WELL, (V2, 0..1, FAILED), (V2, 0..1, FAILED), (V2, 0..1, FAILED), (V2, 0..1, FAILED)],
        );
        if tick % 20 == 0 {
            proxy.ticks(1, &[(V2, good..good + 1, FINE)]);
        }
    }
    assert_eq!(proxy.found, []);
}

#[test]
fn an_absolute_rate_needs_bad_outcomes_of_several_units() {
    let site = Site::new(
        &json!({"window": "10s", "min_requests": 20, "signals": [{"error_rate": {"max_percent": 20}}]}),
    );
    for (failing, trips) in [(1, false), (3, false), (4, true)] {
        let mut proxy = Proxy::new(&site);
        proxy.ticks(40, &[STABLE_IS_WELL, (V2, 0..failing, FAILED), (V2, 10..14, FINE)]);
        assert_eq!(
            proxy.tripped().is_some(),
            trips && failing * 100 / (failing + 4) > 20,
            "{failing} of {}",
            failing + 4
        );
    }
    let mut proxy = Proxy::new(&site);
    proxy.ticks(40, &[STABLE_IS_WELL, (V2, 0..3, FAILED)]);
    assert!(proxy.tripped().is_some(), "three units are all that the version has");
}

fn absolute(action: &str) -> Site {
    Site::new(&json!({"window": "10s", "min_requests": 20, "action": action,
        "signals": [{"error_rate": {"max_percent": 20}}]}))
}

#[test]
fn a_rollback_is_withheld_while_stable_is_as_bad_and_acts_once_stable_is_well() {
    let site = absolute("rollback");
    let mut proxy = Proxy::with_workers(&site, 1);
    let both_fail = [(V1, 0..10, FAILED), (V2, 0..10, FAILED)];
    let (mut episodes, mut lines) = (0, 0);
    for _ in 0..700 {
        for merged in proxy.tick(&both_fail) {
            episodes += merged.withheld.iter().filter(|withheld| withheld.is_new).count();
            lines += merged.withheld.iter().filter(|withheld| withheld.is_due).count();
        }
    }
    assert_eq!((proxy.found.len(), episodes, lines), (0, 1, 3), "one episode, one line a minute");
    let merged = proxy.tick(&both_fail).remove(0);
    assert_eq!(merged.record.withheld(), 1);
    let line = merged.withheld[0].verdict.withheld_line(&site.setting(proxy.now()));
    assert!(
        line.starts_with("version v2: not rolled back, stable fails too, signal error_rate: 4"),
        "{line}"
    );
    proxy.ticks(60, &[STABLE_IS_WELL, (V2, 0..10, FAILED)]);
    assert_eq!(proxy.found.len(), 1, "stable is well again");
}

#[test]
fn a_push_that_raises_the_version_during_a_shared_incident_condemns_nobody() {
    let site = absolute("rollback");
    for (before, during) in [(2, 20), (5, 20), (30, 5)] {
        let mut proxy = Proxy::new(&site);
        proxy.ticks(50, &[(V1, 0..40, FINE), (V2, 0..before, FINE)]);
        proxy.ticks(4, &[(V1, 0..40, FAILED), (V2, 0..before, FAILED)]);
        proxy.ticks(15, &[(V1, 0..20, FAILED), (V2, 0..during, FAILED)]);
        proxy.ticks(50, &[(V1, 0..20, FINE), (V2, 0..during, FINE)]);
        assert_eq!(proxy.found, [], "{before} to {during} requests of the version per tick");
        proxy.ticks(15, &[(V1, 0..20, FINE), (V2, 0..during, FAILED)]);
        assert!(proxy.tripped().is_some(), "stable is well");
    }
}

#[test]
fn a_push_that_raises_the_version_and_starts_a_shared_incident_condemns_nobody() {
    let rules =
        json!({"window": "10s", "min_requests": 20, "signals": [{"error_rate": {"max_percent": 20}}]});
    let [before, pushed] =
        [2, 50].map(|percent| Site::with(&rules, &json!({"canary": {"version": "v2", "percent": percent}})));
    let mut proxy = Proxy::new(&before);
    proxy.ticks(51, &[(V1, 0..40, FINE), (V2, 0..2, FINE)]);
    let (shared, ticks) = (proxy.shared, proxy.ticks);
    let mut proxy = Proxy { shared, ticks, ..Proxy::new(&pushed) };
    proxy.ticks(15, &[(V1, 0..20, FAILED), (V2, 0..20, FAILED)]);
    assert_eq!(proxy.found, []);
    proxy.ticks(30, &[(V1, 0..20, FINE), (V2, 0..20, FAILED)]);
    assert!(proxy.tripped().is_some(), "stable is well");
}

#[test]
fn a_rollback_acts_while_stable_is_half_dead_if_the_version_is_much_worse() {
    // Of stable, this many in ten fail; of the version, so many, and more than the limit of 20 %.
    for (stable, version, acts) in
        [(5, 10, true), (5, 6, false), (5, 5, false), (10, 10, false), (9, 10, false), (0, 4, true)]
    {
        let site = absolute("rollback");
        let mut proxy = Proxy::new(&site);
        let share = |side, bad: usize| [(side, 0..bad, FAILED), (side, bad..10, FINE)];
        proxy.ticks(60, &[share(V1, stable), share(V2, version)].concat());
        assert_eq!(proxy.tripped().is_some(), acts, "{stable} and {version} in ten");
    }
}

#[test]
fn a_push_that_leaves_stable_little_and_starts_a_shared_incident_condemns_nobody() {
    let rules =
        json!({"window": "10s", "min_requests": 20, "signals": [{"error_rate": {"max_percent": 20}}]});
    let [before, pushed] =
        [90, 99].map(|percent| Site::with(&rules, &json!({"canary": {"version": "v2", "percent": percent}})));
    let mut proxy = Proxy::new(&before);
    proxy.ticks(51, &[(V1, 0..5, FINE), (V2, 0..45, FINE)]);
    let (shared, ticks) = (proxy.shared, proxy.ticks);
    let mut proxy = Proxy { shared, ticks, ..Proxy::new(&pushed) };
    proxy.ticks(20, &[(V1, 0..1, FAILED), (V2, 0..49, FAILED)]);
    assert_eq!(proxy.found, []);
    proxy.ticks(30, &[(V1, 0..1, FINE), (V2, 0..49, FAILED)]);
    assert!(proxy.tripped().is_some(), "stable is well");
}

#[test]
fn quick_answers_from_before_a_push_do_not_show_that_stable_is_well_after_it() {
    let rules = json!({"window": "10s", "min_requests": 20, "signals": [{"error_rate": {"max_percent": 5}}]});
    let [before, pushed] =
        [10, 50].map(|percent| Site::with(&rules, &json!({"canary": {"version": "v2", "percent": percent}})));
    let mut proxy = Proxy::new(&before);
    proxy.ticks(51, &[(V1, 0..45, FINE), (V2, 0..5, FINE)]);
    let now = proxy.now();
    let mut begin = |unit: usize| proxy.workers[0].begin(&before.sides[V1][unit], now, before.split);
    let under_way: Vec<_> = (0..40).filter_map(&mut begin).collect();
    let (mut replaced, shared, ticks) = (proxy.workers, proxy.shared, proxy.ticks);
    let mut proxy = Proxy { shared, ticks, ..Proxy::new(&pushed) };
    let now = proxy.now();
    for ticket in under_way {
        replaced[0].record(before.guardrails(), ticket, FINE, now);
    }
    let setting = before.setting(now).replaced_by(pushed.split);
    before.merge_as(&mut replaced[0], &mut proxy.shared, &setting);
    proxy.ticks(10, &[(V1, 0..20, FAILED), (V2, 0..20, FAILED)]);
    assert_eq!(proxy.found, []);
}

#[test]
fn a_withheld_verdict_ends_when_the_window_has_passed_without_requests() {
    let site = absolute("rollback");
    let mut proxy = Proxy::with_workers(&site, 1);
    proxy.ticks(20, &[(V1, 0..10, FAILED), (V2, 0..10, FAILED)]);
    let mut ticks = 0;
    while proxy.tick(&[]).remove(0).record.withheld() == 1 {
        assert_eq!(proxy.workers[0].dirty(), [0], "the worker merges although nothing is recorded");
        ticks += 1;
    }
    assert!((45..=50).contains(&ticks), "{ticks} ticks of a window of 50");
    assert!(proxy.workers[0].dirty().is_empty());
}

#[test]
fn freeze_and_warn_are_never_withheld() {
    for action in ["freeze", "warn"] {
        let site = absolute(action);
        let mut proxy = Proxy::new(&site);
        proxy.ticks(20, &[(V1, 0..10, FAILED), (V2, 0..10, FAILED)]);
        assert_eq!(proxy.found.len(), 1, "{action}");
    }
}

#[test]
fn an_abandoned_request_is_neither_a_failure_nor_a_success() {
    let site = Site::new(&json!({"window": "10s", "min_requests": 1, "signals": [
        {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}}, {"abandon_rate": {"max_percent": 50}}]}));
    let mut proxy = Proxy::with_workers(&site, 1);
    let merged = proxy.tick(&[(V2, 0..10, abandoned(50))]).remove(0);
    let own = |observed, bad| Sides { version: Tally { observed, bad }, ..Sides::default() };
    assert_eq!(merged.observed, [Observed { position: 2, sides: own(10, 10) }]);
    assert_eq!(merged.record.totals()[0], Tally::default());
    // Among failures they do not end the run.
    let site = rows(20);
    let mut proxy = Proxy::new(&site);
    proxy.ticks(5, &[STABLE_IS_WELL, (V2, 0..10, FAILED), (V2, 0..10, abandoned(5))]);
    assert!(proxy.tripped().is_some());
}

#[test]
fn a_client_that_waited_longer_than_the_limit_has_seen_a_slow_answer() {
    let site =
        Site::new(&json!({"min_requests": 1, "signals": [{"latency": {"quantile": 0.5, "max_ms": 80}}]}));
    let mut proxy = Proxy::with_workers(&site, 1);
    let calls = [
        (V2, 0..3, took(50)),
        (V2, 3..5, took(90)),
        (V2, 5..12, abandoned(100)),
        (V2, 12..40, abandoned(70)),
    ];
    let merged = proxy.tick(&calls).remove(0);
    assert_eq!(merged.observed[0].sides.version, Tally { observed: 12, bad: 9 });
}

#[test]
fn a_comparison_of_latency_counts_every_client_that_waited() {
    let site = Site::new(&json!({"window": "15s", "min_requests": 20, "signals": [
        {"latency": {"quantile": 0.5, "max_ratio": 2, "confidence": 0.99}}]}));
    let mut proxy = Proxy::with_workers(&site, 1);
    proxy.ticks(20, &[(V1, 0..100, took(40))]);
    let mut sides = Sides::default();
    for _ in 0..20 {
        let calls = [(V1, 0..100, took(40)), (V2, 0..50, abandoned(30)), (V2, 50..100, abandoned(120))];
        sides = proxy.tick(&calls).remove(0).observed.first().map_or(sides, |of| of.sides);
    }
    let Tally { observed, bad } = sides.version;
    assert!(observed > 90, "all that waited, except units that share a bucket: {observed}");
    assert!(
        (0.4..0.6).contains(&(bad as f64 / observed as f64)),
        "half waited longer than twice stable's median: {bad}"
    );
}

#[test]
fn a_status_is_a_share_of_the_answers() {
    let statuses = |marks| Outcome { marks, ..FINE };
    let site = Site::new(
        &json!({"min_requests": 10, "signals": [{"status": {"in": [404, "5xx"], "max_percent": 50}}]}),
    );
    let marks = |status| site.guardrails().marks(status, |_| None);
    assert_eq!([200, 400, 404, 499, 500, 503, 600].map(marks), [0, 0, 1, 0, 1, 1, 0]);
    let mut proxy = Proxy::with_workers(&site, 1);
    let merged =
        proxy.tick(&[(V2, 0..6, statuses(1)), (V2, 6..10, statuses(0)), (V2, 0..20, FAILED)]).remove(0);
    assert_eq!(merged.observed[0].sides.version, Tally { observed: 10, bad: 6 });
    assert_eq!(proxy.found.len(), 1);
}

#[test]
fn what_began_while_the_version_warmed_up_is_not_judged_and_failures_in_a_row_are() {
    let site = Site::new(&json!({"window": "10s", "min_requests": 20, "warm_up": "5s", "signals": [
        {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 2, "confidence": 0.9}},
        {"latency": {"quantile": 0.9, "max_ms": 100}}]}));
    let slow = [STABLE_IS_WELL, (V2, 0..20, took(500))];
    let mut proxy = Proxy::with_workers(&site, 1);
    let merged = proxy.tick(&slow).remove(0);
    assert_eq!(merged.record.warming_up(site.guardrails(), proxy.now()), 0b111);
    proxy.ticks(23, &slow);
    // A request that began while the version warmed up ends later.
    let now = proxy.now();
    let slowest = proxy.workers[0].begin(&site.sides[V2][0], now, site.split).unwrap();
    proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..20, FINE)]);
    let now = proxy.now();
    proxy.workers[0].record(site.guardrails(), slowest, took(5_000), now);
    let merged = proxy.tick(&[]).remove(0);
    assert_eq!(merged.record.warming_up(site.guardrails(), proxy.now()), 0);
    let bad: u64 = merged.observed.iter().map(|of| of.sides.version.bad).sum();
    assert_eq!((bad, proxy.found.len()), (0, 0));
    proxy.ticks(10, &slow);
    assert_eq!(proxy.found.first().map(|(_, name)| name.as_str()), Some("latency"), "slow again, and judged");

    let site = Site::new(&json!({"warm_up": "1h", "signals": [{"consecutive_failures": 20}]}));
    let mut proxy = Proxy::new(&site);
    proxy.ticks(10, &[STABLE_IS_WELL, (V2, 0..10, FAILED)]);
    assert!(proxy.tripped().is_some());
}

#[test]
fn a_version_warms_up_once_whatever_is_pushed() {
    let guardrails = |limit: u64| json!({"warm_up": "5s", "min_requests": 20, "signals": [{"error_rate": {"max_percent": limit}}]});
    let [before, pushed] = [20, 30].map(|limit| Site::new(&guardrails(limit)));
    let mut proxy = Proxy::new(&before);
    proxy.ticks(30, &[STABLE_IS_WELL, (V2, 0..20, FINE)]);
    let (shared, ticks) = (proxy.shared, proxy.ticks);
    let mut proxy = Proxy { shared, ticks, ..Proxy::new(&pushed) };
    let merged = proxy.tick(&[STABLE_IS_WELL]).remove(0);
    assert_eq!(
        merged.record.warming_up(pushed.guardrails(), proxy.now()),
        0,
        "another epoch, the same version"
    );
    proxy.ticks(3, &[STABLE_IS_WELL, (V2, 0..20, FAILED)]);
    assert!(proxy.tripped().is_some());
}

#[test]
fn a_bucket_counts_once_per_second_whichever_worker_serves_it() {
    let site = Site::new(
        &json!({"min_requests": 1, "signals": [{"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}),
    );
    let observed = |workers: usize| {
        let mut proxy = Proxy::with_workers(&site, workers);
        let mut sum: Value = json!([0, 0]);
        for _ in 0..100 {
            let now = proxy.now();
            for worker in 0..workers {
                for unit in 0..30 {
                    for side in [V1, V2] {
                        site.call(&mut proxy.workers[worker], (side, unit), (now, FINE));
                    }
                }
            }
            for merged in proxy.tick(&[]) {
                for of in merged.observed {
                    let add = |place: usize, more: u64| json!(sum[place].as_u64().unwrap() + more);
                    sum = json!([add(0, of.sides.version.observed), add(1, of.sides.stable.observed)]);
                }
            }
        }
        sum
    };
    assert_eq!(observed(1), observed(4));
}
