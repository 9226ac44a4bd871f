//! Counts failures in a row, as one worker sees them.
//!
//! A request with good response headers may still fail in its body or trailers, and an answer may stream for minutes. So a
//! success counts only after one tick. Until then, failures next to it wait: they neither add up nor are they dropped.

/// What a worker has seen since its last merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streak {
    /// Number of this tick.
    tick: u32,
    failures: u64,
    /// Failures of this tick. No success of an earlier tick comes after them.
    recent: u64,
    /// Number of answers with good headers in this tick.
    fresh: u64,
    /// Older successes that no merge has reported yet.
    aged: u64,
}

/// What a merge reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Report {
    /// There was a success, so earlier failures in a row are dropped.
    Broken,
    /// Nothing is certain yet.
    #[default]
    Unknown,
    /// This many failures, and no success.
    Failures(u64),
}

impl Streak {
    /// Records a success, and returns its tick.
    pub(crate) fn succeed(&mut self) -> u32 {
        self.fresh = self.fresh.saturating_add(1);
        self.tick
    }

    pub(crate) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.recent = self.recent.saturating_add(1);
    }

    /// Takes back a success of this tick that failed later. An older success has been merged, and must not take back
    /// that of another request.
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

    /// Drops what was reported, because the record has it now.
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

    /// Starts a new tick. What was pending is merged by now, unless other workers were always faster.
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
    fn a_failure_after_the_tick_of_a_success_counts() {
        let mut streak = Streak::default();
        streak.fail();
        streak.succeed();
        streak.age();
        streak.fail();
        streak.merged(streak.report());
        assert_eq!(streak.report(), Report::Failures(1));
    }

    #[test]
    fn an_answer_that_fails_in_its_body_is_not_a_success() {
        let mut streak = Streak::default();
        let before = streak.succeed();
        streak.age();
        let now = streak.succeed();
        streak.fail_late(before);
        streak.fail_late(now);
        assert_eq!(streak.report(), Report::Failures(2));
    }

    #[test]
    fn an_old_stream_that_breaks_off_does_not_undo_the_success_of_another_request() {
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
