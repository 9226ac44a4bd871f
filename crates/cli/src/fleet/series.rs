//! Parses the names of the filter's series as Envoy's admin interface shows them, with or without `stats_tags`:
//! `wasmcustom.rollout=.=fraud-score;.;version=.=v2;.;rollout_failures_total`. The core builds these names.

use rollout_core::metric::Family;

/// The prefix that Envoy gives to every metric of a wasm module.
const PREFIX: &str = "wasmcustom.";

/// The name of a series in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Series<'n> {
    family: &'n str,
    labels: Vec<(&'n str, &'n str)>,
}

impl<'n> Series<'n> {
    /// `None` if the name does not have this form: other modules have metrics too.
    pub(crate) fn parse(name: &'n str) -> Option<Self> {
        let mut parts: Vec<&str> = name.strip_prefix(PREFIX)?.split(";.;").collect();
        let family = parts.pop()?;
        let labels = parts.into_iter().map(|label| label.split_once("=.=")).collect::<Option<_>>()?;
        Some(Self { family, labels })
    }

    /// The values of the family's labels, in the family's order. `None` if the series belongs to another family.
    pub(crate) fn of<const N: usize>(&self, family: &Family) -> Option<[&'n str; N]> {
        if self.family != family.name || family.labels.len() != N {
            return None;
        }
        let mut values = [""; N];
        for (value, wanted) in values.iter_mut().zip(family.labels) {
            *value = self.labels.iter().find(|(label, _)| label == wanted)?.1;
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout_core::metric;

    #[test]
    fn what_the_core_puts_together_is_taken_apart() {
        for (family, values) in [
            (metric::OBSERVATIONS, ["fraud-score", "v2", "error_rate_2", "version", "bad"]),
            (metric::OBSERVATIONS, ["a.b", "1;2", "x=.y", "", "=.="]),
        ] {
            let name = format!("wasmcustom.{}", family.series(&values));
            assert_eq!(Series::parse(&name).unwrap().of(&family), Some(values));
        }
    }

    #[test]
    fn labels_come_in_any_order_and_more_of_them_do_not_matter() {
        let name = "wasmcustom.version=.=v2;.;pod=.=x;.;rollout=.=r;.;rollout_failures_total";
        let series = Series::parse(name).unwrap();
        assert_eq!(series.of(&metric::FAILURES), Some(["r", "v2"]));
        assert_eq!(series.of::<3>(&metric::REQUESTS), None);
        assert_eq!(series.of::<3>(&metric::FAILURES), None, "three values of two labels");
    }

    #[test]
    fn other_modules_metrics_are_none_of_ours() {
        for name in
            ["http.rollout=.=r;.;rollout_failures_total", "wasmcustom.a;.;b", "wasmcustom.rollout=.=r"]
        {
            let ours = Series::parse(name).and_then(|series| series.of::<2>(&metric::FAILURES));
            assert_eq!(ours, None, "{name}");
        }
        let partial = Series::parse("wasmcustom.rollout=.=r;.;rollout_failures_total").unwrap();
        assert_eq!(partial.of::<2>(&metric::FAILURES), None, "a label is missing");
    }
}
