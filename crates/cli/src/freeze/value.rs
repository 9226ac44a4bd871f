//! Compares documents as they are written: whether two values are the same, and where they differ. Does not know the fields of a
//! document.
//!
//! Numbers are compared by value, and objects without the order of their keys: a document may come as a `Struct`, which keeps
//! neither.

use serde_json::{Map, Value};

/// True if both have the same value, or neither has one.
pub(super) fn same(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => equal(old, new),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn equal(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) => old == new || old.as_f64() == new.as_f64(),
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| equal(old, new))
        }
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len() && old.iter().all(|(key, old)| same(Some(old), new.get(key)))
        }
        _ => old == new,
    }
}

/// True if only `percent` differs and the new one is not higher. A missing `percent` is 100.
pub(super) fn only_lowers_percent(old: &Value, new: &Value) -> bool {
    let percent = |value: &Value| value.get("percent").map_or(Some(100.0), Value::as_f64);
    let lowers = percent(old).zip(percent(new)).is_some_and(|(old, new)| new <= old);
    lowers && same_but_for(&["percent"], old, new)
}

/// True if two objects are the same, whatever they have in these fields.
pub(super) fn same_but_for(fields: &[&str], old: &Value, new: &Value) -> bool {
    keys(old, new).into_iter().all(|key| fields.contains(&key) || same(old.get(key), new.get(key)))
}

/// The innermost place that contains every difference.
pub(super) fn place(field: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    let mut path = field.to_owned();
    let mut pair = (old, new);
    while let (Some(old), Some(new)) = pair {
        let steps = steps(old, new);
        let [step] = steps.as_slice() else { break };
        path.push_str(&step.name);
        pair = (step.old, step.new);
    }
    path
}

/// A place directly below a value, in both documents.
struct Step<'v> {
    name: String,
    old: Option<&'v Value>,
    new: Option<&'v Value>,
}

/// What differs directly below; arrays of other lengths differ as a whole.
fn steps<'v>(old: &'v Value, new: &'v Value) -> Vec<Step<'v>> {
    let all: Vec<Step<'v>> = match (old, new) {
        (Value::Object(_), Value::Object(_)) => {
            let step = |key: &'v str| Step { name: format!(".{key}"), old: old.get(key), new: new.get(key) };
            keys(old, new).into_iter().map(step).collect()
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            let pairs = old.iter().zip(new).enumerate();
            let step = |(position, (old, new))| Step {
                name: format!("[{position}]"),
                old: Some(old),
                new: Some(new),
            };
            pairs.map(step).collect()
        }
        _ => Vec::new(),
    };
    all.into_iter().filter(|step| !same(step.old, step.new)).collect()
}

/// The keys of the new object, then those that only the old one has.
pub(super) fn keys<'v>(old: &'v Value, new: &'v Value) -> Vec<&'v str> {
    let gone = fields(old).filter(|(key, _)| new.get(key).is_none());
    fields(new).chain(gone).map(|(key, _)| key.as_str()).collect()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// The elements of a list; empty if there is no list.
pub(super) fn elements(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The text of a field. `None` if there is no such text.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_the_same_by_what_they_say() {
        for (old, new, wanted) in [
            (json!(5), json!(5.0), true),
            (json!(-0.0), json!(0), true),
            (json!(5), json!(5.5), false),
            (json!(9_007_199_254_740_991_u64), json!(9_007_199_254_740_990_u64), false),
            (json!(5), json!("5"), false),
            (json!({"a": 1, "b": [2.0]}), json!({"b": [2], "a": 1.0}), true),
            (json!({"a": 1}), json!({"a": 1, "b": null}), false),
            (json!([1, 2]), json!([2, 1]), false),
            (json!([1]), json!([1, 1]), false),
        ] {
            assert_eq!(same(Some(&old), Some(&new)), wanted, "{old} {new}");
        }
        assert!(same(None, None) && !same(Some(&Value::Null), None));
    }

    #[test]
    fn a_place_holds_all_of_the_difference_and_no_more() {
        for (old, new, wanted) in [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "f.a.b"),
            (json!({"a": {"b": 1, "c": 1}}), json!({"a": {"b": 2, "c": 2}}), "f.a"),
            (json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]}), "f.a[1].b"),
            (json!({"a": [1]}), json!({"a": [1, 2]}), "f.a"),
            (json!({}), json!({"a": {"b": 1}}), "f.a"),
            (json!(1), json!(2), "f"),
        ] {
            assert_eq!(place("f", Some(&old), Some(&new)), wanted);
        }
        assert_eq!(place("f", None, Some(&json!({"a": 1}))), "f");
    }
}
