//! The closed set of metrics: names, kinds and labels, shared by the filter, the tool and the documentation.
//!
//! Envoy does not support labels for wasm metrics. The name carries them instead, in the form that Istio's `extraStatTags`
//! and Envoy's `stats_tags` parse: `rollout=.=fraud-score;.;version=.=v2;.;rollout_failures_total`.

/// A metric and the labels that each of its series carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Name in Prometheus.
    pub name: &'static str,
    /// Names of the labels, in the order in which [`Family::series`] takes their values.
    pub labels: &'static [&'static str],
}

/// Requests, by assigned version and reason.
pub const REQUESTS: Family =
    Family { name: "rollout_requests_total", labels: &["rollout", "version", "reason"] };
/// Requests that count as a failure of the version.
pub const FAILURES: Family = Family { name: "rollout_failures_total", labels: &["rollout", "version"] };
/// Requests whose client left before the response headers, or whose own deadline passed.
pub const ABANDONED: Family = Family { name: "rollout_abandoned_total", labels: &["rollout", "version"] };
/// Attempts beyond the first, by the version that was assigned.
pub const RETRIES: Family = Family { name: "rollout_retries_total", labels: &["rollout", "version"] };
/// Requests that a failover target answered.
pub const FAILOVERS: Family =
    Family { name: "rollout_failovers_total", labels: &["rollout", "version", "to"] };
/// Milliseconds from the start of a request to its response headers. A histogram.
pub const DURATION: Family = Family { name: "rollout_request_duration_ms", labels: &["rollout", "version"] };
/// Copies, by the version that got them and by result.
pub const SHADOWS: Family =
    Family { name: "rollout_shadow_total", labels: &["rollout", "version", "result"] };
/// Differences between the answers of a shadow and those of stable, by where in the answer and by kind. A mismatch counts once for
/// each place and kind. Models choose `pointer`, so its writer bounds it and keeps it free of `;.;`, which ends a label.
pub const SHADOW_DIFFERENCES: Family =
    Family { name: "rollout_shadow_differences_total", labels: &["rollout", "version", "pointer", "kind"] };
/// Milliseconds from the start of a request to the response headers of its copy. A histogram.
pub const SHADOW_DURATION: Family =
    Family { name: "rollout_shadow_duration_ms", labels: &["rollout", "version"] };
/// Pairs of answers that wait for their end. A gauge.
pub const SHADOW_PAIRS: Family = Family { name: "rollout_shadow_pairs", labels: &[] };
/// Bytes of answers that are held for pairs. A gauge.
pub const SHADOW_BYTES: Family = Family { name: "rollout_shadow_bytes", labels: &[] };
/// Workers in which copies have passed without a pair of the same VM in the last ten seconds: the two filters do not share a VM. A gauge.
pub const SHADOW_UNPAIRED: Family = Family { name: "rollout_shadow_unpaired", labels: &[] };
/// Requests that stable served although it does not accept them, because no other version may.
pub const UNACCEPTABLE: Family =
    Family { name: "rollout_unacceptable_total", labels: &["rollout", "version"] };
/// Parts per million of the bucket space that are exposed to a treatment. A gauge.
pub const EXPOSURE: Family = Family { name: "rollout_exposure_ppm", labels: &["rollout", "version"] };
/// Signals that tripped, by what they judged.
pub const TRIPS: Family =
    Family { name: "rollout_guardrail_trips_total", labels: &["rollout", "version", "signal"] };
/// Episodes in which a verdict was withheld because stable was as bad.
pub const WITHHELD: Family =
    Family { name: "rollout_guardrail_withheld_total", labels: &["rollout", "version", "signal"] };
/// 1 while a verdict is withheld because stable is as bad, otherwise 0. A gauge.
pub const IS_WITHHELD: Family =
    Family { name: "rollout_guardrail_withheld", labels: &["rollout", "version", "signal"] };
/// 1 while a signal waits for the version to warm up, otherwise 0. A gauge.
pub const IS_WARMING_UP: Family =
    Family { name: "rollout_guardrail_warming_up", labels: &["rollout", "version", "signal"] };
/// What a signal has judged: outcomes of the version (`side` is `version`) and of stable (`stable`). `result` is `all` or
/// `bad`. If a signal compares, a unit counts at most once per second.
pub const OBSERVATIONS: Family = Family {
    name: "rollout_guardrail_observations_total",
    labels: &["rollout", "version", "signal", "side", "result"],
};
/// 1 if a guardrail has rolled the version back, otherwise 0. A gauge.
pub const ROLLED_BACK: Family = Family { name: "rollout_rolled_back", labels: &["rollout", "version"] };
/// Revision of the current document. A gauge.
pub const REVISION: Family = Family { name: "rollout_config_revision", labels: &["plugin"] };
/// Hash of the current document. A gauge.
pub const HASH: Family = Family { name: "rollout_config_hash", labels: &["plugin"] };

/// All of them.
pub const FAMILIES: [Family; 22] = [
    REQUESTS,
    FAILURES,
    ABANDONED,
    RETRIES,
    FAILOVERS,
    DURATION,
    SHADOWS,
    SHADOW_DIFFERENCES,
    SHADOW_DURATION,
    SHADOW_PAIRS,
    SHADOW_BYTES,
    SHADOW_UNPAIRED,
    UNACCEPTABLE,
    EXPOSURE,
    TRIPS,
    WITHHELD,
    IS_WITHHELD,
    IS_WARMING_UP,
    OBSERVATIONS,
    ROLLED_BACK,
    REVISION,
    HASH,
];

/// The value of a label that has none.
pub const NONE: &str = "-";
/// The value of labels if there are too many series.
pub const OTHER: &str = "other";

impl Family {
    /// The name of a series. Labels without a value in `values` are `other`.
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
        assert_eq!(SHADOW_PAIRS.series(&[]), "rollout_shadow_pairs");
    }
}
