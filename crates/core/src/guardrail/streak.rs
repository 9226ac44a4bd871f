//! Failures in a row, as one worker sees them.
//!
//! A request whose response headers were fine may still fail in its body or trailers, and an answer may stream for minutes. So a success
//! counts once it is a tick old, and until then failures beside it wait: neither do they add up, nor are they forgotten.

/// What a worker knows since its last merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streak {
    /// Number of this tick.
    tick: u32,
    failures: u64,
    /// Those of this tick: no success of an earlier one comes after them.
    recent: u64,
    /// Answers with good headers in this tick.
    fresh: u64,
    /// Older ones that no merge has told yet.
    aged: u64,
}

/// What a merge makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Report {
    /// There was a success: whatever failed in a row is forgotten.
    Broken,
    /// Nothing is certain yet.
    #[default]
    Unknown,
    /// So many failures and no success.
    Failures(u64),
}

impl Streak {
    /// Notes a success, and returns the tick that it belongs to.
    pub(crate) fn succeed(&mut self) -> u32 {
        self.fresh = self.fresh.saturating_add(1);
        self.tick
    }

    pub(crate) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.recent = self.recent.saturating_add(1);
    }

    /// The success of a tick was none. What is older than a tick has been merged, and must not undo another request's.
    pub(crate) fn fail_late(&mut self, tick: u32) {
        self.fail();
        match self.tick.wrapping_sub(tick) {
            0 => self.fresh = self.fresh.saturating_sub(1),
            1 => self.aged = self.aged.saturating_sub(1),
            _ => {}
        }
    }

    pub(crate) fn report(self) -> Report {
        match (self.aged, self.fresh) {
            (1.., _) => Report::Broken,
            (0, 1..) => Report::Unknown,
            (0, 0) if self.failures == 0 => Report::Unknown,
            (0, 0) => Report::Failures(self.failures),
        }
    }

    /// What was reported is in the record now.
    pub(crate) fn merged(&mut self, report: Report) {
        match report {
            Report::Broken => (self.failures, self.aged) = (self.recent, 0),
            Report::Unknown => {}
            Report::Failures(merged) => {
                self.failures = self.failures.saturating_sub(merged);
                self.recent = self.recent.min(self.failures);
            }
        }
    }

    /// A tick has passed. What was pending is merged, unless other workers were always faster.
    pub(crate) fn age(&mut self) {
        self.aged = self.aged.saturating_add(std::mem::take(&mut self.fresh));
        self.tick = self.tick.wrapping_add(1);
        self.recent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_add_up_while_nothing_succeeds() {
        let mut streak = Streak::default();
        streak.fail();
        streak.fail();
        assert_eq!(streak.report(), Report::Failures(2));
        streak.merged(Report::Failures(2));
        assert_eq!(streak.report(), Report::Unknown);
    }

    #[test]
    fn a_success_ends_a_streak_once_it_is_a_tick_old() {
        let mut streak = Streak::default();
        streak.fail();
        streak.succeed();
        assert_eq!(streak.report(), Report::Unknown);
        streak.age();
        assert_eq!(streak.report(), Report::Broken);
        streak.merged(Report::Broken);
        assert_eq!(streak.report(), Report::Unknown);
    }

    #[test]
    fn a_success_that_could_not_be_merged_still_ends_a_streak() {
        let mut streak = Streak::default();
        streak.fail();
        streak.succeed();
        streak.age();
        streak.age();
        assert_eq!(streak.report(), Report::Broken);
    }

    #[test]
    fn what_fails_after_the_tick_of_a_success_counts() {
        let mut streak = Streak::default();
        streak.fail();
        streak.succeed();
        streak.age();
        streak.fail();
        streak.merged(streak.report());
        assert_eq!(streak.report(), Report::Failures(1));
    }

    #[test]
    fn an_answer_that_fails_in_its_body_was_no_success() {
        let mut streak = Streak::default();
        let before = streak.succeed();
        streak.age();
        let now = streak.succeed();
        streak.fail_late(before);
        streak.fail_late(now);
        assert_eq!(streak.report(), Report::Failures(2));
    }

    #[test]
    fn old_streams_that_break_off_undo_no_other_requests_success() {
        let mut streak = Streak::default();
        let old = streak.succeed();
        for _ in 0..3 {
            streak.age();
            streak.merged(streak.report());
        }
        for _ in 0..30 {
            streak.succeed();
            streak.fail_late(old);
        }
        assert_eq!(streak.report(), Report::Unknown);
        streak.age();
        assert_eq!(streak.report(), Report::Broken);
    }
}
