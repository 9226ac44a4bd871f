//! The line that the log gets about a mismatch: one JSON object. It never names the unit.

use super::difference::Difference;
use crate::plan::rollout::Rollout;
use crate::plan::shadow::Shadow;

/// How the answer of a shadow differs from stable's, as one line of JSON. Values are in it only if the shadow's `compare` asks for
/// them.
#[must_use]
pub fn line(rollout: &Rollout, shadow: &Shadow, differences: &[Difference]) -> String {
    let mut line = String::from("{\"event\":\"shadow_mismatch\"");
    member(&mut line, "rollout", rollout.name());
    member(&mut line, "stable", rollout.stable().name());
    member(&mut line, "version", shadow.version.name());
    line.push_str(",\"differences\":[");
    for (position, difference) in differences.iter().enumerate() {
        line.push_str(if position == 0 { "{\"kind\":\"" } else { ",{\"kind\":\"" });
        line.push_str(difference.kind.name());
        line.push('"');
        member(&mut line, "pointer", &difference.pointer);
        if let Some(relative) = difference.relative {
            line.push_str(",\"relative\":");
            line.push_str(&serde_json::to_string(&relative).unwrap_or_default());
        }
        for (name, text) in [("stable", &difference.live), ("shadow", &difference.copy)] {
            if let Some(text) = text {
                member(&mut line, name, text);
            }
        }
        line.push('}');
    }
    line.push_str("]}");
    line
}

/// Adds a member after another one.
fn member(line: &mut String, name: &str, text: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
    line.push_str(&serde_json::to_string(text).unwrap_or_default());
}
