//! Answers whose comparison costs what that of real ones does: an answer and that of a copy are never the same bytes.
//!
//! They match if `/id` is ignored and numbers have the relative tolerance of [`RULES`], and have to be read to their ends for that.

/// What `compare` has to be for the answers to match.
pub const RULES: &str = r#"{"json": {"ignore": ["/id"], "rel_tolerance": 1e-6}}"#;

/// Most bytes of an answer.
const BYTES: usize = 2_048;

/// An answer of 2 KiB, as a model gives it: the live one, or that of its copy.
pub fn of_two_kib(is_copy: bool) -> String {
    let digit = usize::from(is_copy);
    let mut answer = format!(
        r#"{{"model_name":"model-500","id":"3f9c1c0e-5d0b-4f0e-9a55-6a1f3e0a7c4{digit}","outputs":[{{"name":"predict","datatype":"FP64","data":["#
    );
    let end = "]}]}";
    for number in 0.. {
        let next = format!("0.{:014}{digit}", 10_000_000_000_000_u64 + number * 613_566_756_473);
        if answer.len() + next.len() + end.len() > BYTES {
            break;
        }
        if number > 0 {
            answer.push(',');
        }
        answer.push_str(&next);
    }
    answer + end
}
