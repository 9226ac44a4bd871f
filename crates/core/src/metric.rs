//! The closed set of metrics: names, kinds and labels, shared by the filter, the tool and the documentation.
//!
//! Envoy knows no labels inside wasm, so they travel in the name, in the form that Istio's `extraStatTags` and Envoy's
//! `stats_tags` take apart again: `rollout=.=fraud-score;.;version=.=v2;.;rollout_failures_total`.

/// A metric and the labels that each of its series carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Name in Prometheus.
    pub name: &'static str,
    /// Names of the labels, in the order in which [`Family::series`] takes their values.
    pub labels: &'static [&'static str],
}

/// Requests, by the version that they were assigned and why.
pub const REQUESTS: Family =
    Family { name: "rollout_requests_total", labels: &["rollout", "version", "reason"] };
/// Answers of a version that count as its failure.
pub const FAILURES: Family = Family { name: "rollout_failures_total", labels: &["rollout", "version"] };
/// Requests whose answer came from the failover target.
pub const FAILOVERS: Family =
    Family { name: "rollout_failovers_total", labels: &["rollout", "version", "to"] };
/// Milliseconds from the request's start to the response headers; a histogram.
pub const DURATION: Family = Family { name: "rollout_request_duration_ms", labels: &["rollout", "version"] };
/// Copies, by the version that got them and what became of them.
pub const SHADOWS: Family =
    Family { name: "rollout_shadow_total", labels: &["rollout", "version", "result"] };
/// Requests that stable serves although it does not accept them, because no other version may; by the stable version.
pub const UNACCEPTABLE: Family =
    Family { name: "rollout_unacceptable_total", labels: &["rollout", "version"] };
/// Parts per million of the bucket space that the strategy exposes to a treatment; a gauge.
pub const EXPOSURE: Family = Family { name: "rollout_exposure_ppm", labels: &["rollout", "version"] };
/// Signals that tripped, by what they judged.
pub const TRIPS: Family =
    Family { name: "rollout_guardrail_trips_total", labels: &["rollout", "version", "signal"] };
/// What a signal has judged: requests or answers of the version (`side` is `version`) and, where it compares, of stable (`stable`), `all`
/// of them and the `bad` ones. Where a signal compares, a unit counts at most once in a second on each worker.
pub const OBSERVATIONS: Family = Family {
    name: "rollout_guardrail_observations_total",
    labels: &["rollout", "version", "signal", "side", "result"],
};
/// One where a guardrail has taken a version out of service, else zero; a gauge.
pub const ROLLED_BACK: Family = Family { name: "rollout_rolled_back", labels: &["rollout", "version"] };
/// Revision of the document that serves; a gauge.
pub const REVISION: Family = Family { name: "rollout_config_revision", labels: &["plugin"] };
/// Hash of the document that serves; a gauge.
pub const HASH: Family = Family { name: "rollout_config_hash", labels: &["plugin"] };

/// What stands for a label without a value.
pub const NONE: &str = "-";
/// What stands for a label's value once there are too many series.
pub const OTHER: &str = "other";

impl Family {
    /// The name of one series; a label without a value here is `other`.
    #[must_use]
    pub fn series(&self, values: &[&str]) -> String {
        let values = values.iter().copied().chain(std::iter::repeat(OTHER));
        let labels = self.labels.iter().zip(values).map(|(label, value)| format!("{label}=.={value};.;"));
        labels.chain([self.name.to_owned()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_carries_its_labels_in_the_form_that_envoy_takes_apart() {
        assert_eq!(
            REQUESTS.series(&["fraud-score", "v2", "assigned"]),
            "rollout=.=fraud-score;.;version=.=v2;.;reason=.=assigned;.;rollout_requests_total"
        );
        assert_eq!(HASH.series(&[]), "plugin=.=other;.;rollout_config_hash");
    }
}
