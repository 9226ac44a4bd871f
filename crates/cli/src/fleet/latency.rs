//! Latencies as Envoy counts them, in buckets of two significant digits, which can be added up over proxies without loss.

use serde::Deserialize;

/// A histogram of milliseconds. The buckets are sorted, and each occurs once.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(from = "Vec<Bucket>")]
pub(crate) struct Latency(Vec<Bucket>);

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Bucket {
    lower_bound: f64,
    width: f64,
    count: u64,
}

impl From<Vec<Bucket>> for Latency {
    fn from(mut buckets: Vec<Bucket>) -> Self {
        buckets.sort_by(|left, right| left.lower_bound.total_cmp(&right.lower_bound));
        buckets.dedup_by(|bucket, kept| {
            let same = bucket.lower_bound.total_cmp(&kept.lower_bound).is_eq();
            if same {
                kept.count = kept.count.saturating_add(bucket.count);
            }
            same
        });
        Self(buckets)
    }
}

impl Latency {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        [self.0.as_slice(), other.0.as_slice()].concat().into()
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let known = |bucket: &Bucket| {
            let mut same = before.0.iter().filter(|of| of.lower_bound.total_cmp(&bucket.lower_bound).is_eq());
            same.next().map_or(0, |of| of.count)
        };
        let newer = |bucket: &Bucket| Bucket { count: bucket.count.saturating_sub(known(bucket)), ..*bucket };
        Self(self.0.iter().map(newer).collect())
    }

    /// The number of answers.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.count).sum()
    }

    /// The value in ms that this share of all answers did not exceed, interpolated inside a bucket. `None` if there are no answers.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut left = share * self.count() as f64;
        let mut last = None;
        for bucket in self.0.iter().filter(|bucket| bucket.count > 0) {
            let count = bucket.count as f64;
            last = Some(bucket.lower_bound + bucket.width * (left / count).min(1.0));
            if left <= count {
                break;
            }
            left -= count;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(buckets: &[(f64, f64, u64)]) -> Latency {
        let bucket = |&(lower_bound, width, count): &(f64, f64, u64)| Bucket { lower_bound, width, count };
        buckets.iter().map(bucket).collect::<Vec<_>>().into()
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let latency = latency(&[(10.0, 1.0, 90), (200.0, 10.0, 10)]);
        for (share, value) in [(0.45, 10.5), (0.9, 11.0), (0.95, 205.0), (1.0, 210.0)] {
            let found = latency.quantile(share).unwrap();
            assert!((found - value).abs() < 1e-6, "{share}: {found}");
        }
        assert_eq!(Latency::default().quantile(0.5), None);
    }

    #[test]
    fn histograms_of_several_proxies_add_up_bucket_by_bucket() {
        let sum = latency(&[(1.0, 0.1, 2), (3.0, 0.1, 1)]).plus(&latency(&[(2.0, 0.1, 5), (3.0, 0.1, 7)]));
        assert_eq!(sum, latency(&[(1.0, 0.1, 2), (2.0, 0.1, 5), (3.0, 0.1, 8)]));
    }

    #[test]
    fn what_was_counted_since_is_the_difference_bucket_by_bucket() {
        let before = latency(&[(1.0, 0.1, 2), (3.0, 0.1, 1)]);
        let since = latency(&[(1.0, 0.1, 2), (2.0, 0.1, 5), (3.0, 0.1, 8)]).since(&before);
        assert_eq!(since, latency(&[(1.0, 0.1, 0), (2.0, 0.1, 5), (3.0, 0.1, 7)]));
        assert_eq!(since.count(), 12);
    }
}
