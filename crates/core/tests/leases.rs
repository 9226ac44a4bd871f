//! Leases on a rate: whatever the workers do, no second gives away more than the rate, and one worker alone gets all of it.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test may stop with the reason"
)]

use proptest::prelude::*;
use rollout_core::{Ask, Lease, Taken, lease};

/// Workers that share one state.
struct Proxy {
    shared: Vec<u8>,
    leases: Vec<Lease>,
    asked: u64,
}

impl Proxy {
    fn new(workers: usize) -> Self {
        Self { shared: Vec::new(), leases: vec![Lease::default(); workers], asked: 0 }
    }

    /// True if this worker may send one more.
    fn take(&mut self, worker: usize, ask: Ask) -> bool {
        loop {
            match self.leases[worker].take(ask.second) {
                Taken::Yes => return true,
                Taken::No => return false,
                Taken::Ask => {}
            }
            let given = lease(&self.shared, ask);
            (self.shared, self.leases[worker]) = (given.bytes.to_vec(), given.lease);
            self.asked += 1;
        }
    }
}

proptest! {
    #[test]
    fn no_second_exceeds_the_rate_no_matter_who_asks_and_how_late(
        per_second in 1_u32..500,
        steps in prop::collection::vec((0_usize..8, 0_u64..3, 0_u64..3), 1..4_000),
    ) {
        let mut proxy = Proxy::new(8);
        let mut sent = std::collections::BTreeMap::new();
        let mut now = 1_795_599_000;
        for (worker, pass, lag) in steps {
            now += u64::from(pass == 2);
            // A worker may have read the clock some seconds before it gets to ask.
            let second = now - lag;
            if proxy.take(worker, Ask { second, per_second }) {
                *sent.entry(second).or_insert(0_u32) += 1;
            }
        }
        prop_assert!(sent.values().all(|sent| *sent <= per_second), "{sent:?} of {per_second}");
    }

    #[test]
    fn any_bytes_in_shared_data_give_at_most_the_rate(
        bytes in prop::collection::vec(any::<u8>(), 0..20), second: u64, per_second in 1_u32..=100_000,
    ) {
        let mut proxy = Proxy { shared: bytes, ..Proxy::new(1) };
        let sent = (0..per_second + 10).filter(|_| proxy.take(0, Ask { second, per_second })).count();
        prop_assert!(sent <= per_second as usize);
    }

    #[test]
    fn one_worker_alone_gets_the_whole_rate_for_few_leases(per_second in 1_u32..=100_000) {
        let mut proxy = Proxy::new(1);
        let ask = Ask { second: 1, per_second };
        let sent = (0..per_second + 10).filter(|_| proxy.take(0, ask)).count();
        prop_assert_eq!(sent, per_second as usize);
        prop_assert!(proxy.asked <= 300 + u64::from(per_second) / 128, "{} leases", proxy.asked);
    }
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_gives_again_and_one_that_is_behind_does_not() {
    let mut proxy = Proxy::new(2);
    let ask = |second| Ask { second, per_second: 10 };
    assert!(proxy.take(0, ask(10_000)));
    assert!(!proxy.take(1, ask(9_999)), "that second is over");
    assert!(!proxy.take(1, ask(9_940)));
    assert!(proxy.take(1, ask(6_400)));
}
