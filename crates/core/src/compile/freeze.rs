//! Reads freezes: windows with a beginning and an end, and windows of every week.
//!
//! What they do to a ramp is in `plan::stop`. Whether a push changes a frozen rollout is for the tool to say.

use super::context::Context;
use super::json::Node;
use super::place::shown;
use super::ramp::end;
use super::reader::{At, Fields};
use super::scalar;
use crate::plan::rollout::{Freeze, Window};
use crate::plan::stop::{WEEK, Weekly};

/// Protects the request path, which looks at each freeze of a ramp.
const MAX_FREEZES: usize = 16;

/// One freeze, or a list of them.
pub(super) fn freezes(at: At<'_, '_>, context: &mut Context) -> Option<Vec<Freeze>> {
    match at.node {
        Node::Array(_) => at.list(context, 0..=MAX_FREEZES, freeze),
        _ => freeze(at, context).map(|freeze| vec![freeze]),
    }
}

fn freeze(at: At<'_, '_>, context: &mut Context) -> Option<Freeze> {
    let mut fields = Fields::of(at, context)?;
    let window = match fields.has("weekly") {
        true => weekly(&mut fields, context).map(Window::Weekly),
        false => once(&mut fields, context),
    };
    let reason = fields.optional("reason", context, |at, context| scalar::text(at, context, 1..=256));
    fields.finish(context);
    Some(Freeze { window: window?, reason: reason.map(Into::into) })
}

fn once(fields: &mut Fields<'_, '_>, context: &mut Context) -> Option<Window> {
    let from = fields.required("from", context, scalar::time);
    let until = fields.required("until", context, |at, context| end(at, context, from));
    Some(Window::Once { from: from?, until: until? })
}

/// A window of every week. Without `since` it is in force from the beginning of time, so a ramp counts it from its own start.
fn weekly(fields: &mut Fields<'_, '_>, context: &mut Context) -> Option<Weekly> {
    let part = fields.required("weekly", context, |at, context| {
        let mut fields = Fields::of(at, context)?;
        let from = fields.required("from", context, second_of_week);
        let until = fields.required("until", context, |at, context| {
            let until = second_of_week(at, context)?;
            if from == Some(until) {
                return at.problem(context, "a weekly freeze needs an end other than its beginning");
            }
            Some(until)
        });
        fields.finish(context);
        Some((from?, until?))
    });
    let since = fields.optional("since", context, scalar::time).unwrap_or_default();
    part.map(|(from, until)| Weekly { from, until, since })
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A day and a time of the week in UTC, as seconds from Monday on. The end of Sunday is the beginning of Monday.
fn second_of_week(at: At<'_, '_>, context: &mut Context) -> Option<u32> {
    let text = at.any_text(context)?;
    match parse(text) {
        Some(second) => Some(second),
        None => at.problem(
            context,
            &format!(
                "expected a day and a time in UTC like `fri 16:00` or `sun 24:00`, found {}",
                shown(text)
            ),
        ),
    }
}

fn parse(text: &str) -> Option<u32> {
    let (day, clock) = text.split_once(' ')?;
    let day = DAYS.iter().position(|known| *known == day)?;
    let (hour, minute) = clock.split_once(':')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_number { digits.parse::<u32>().ok() } else { None }
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    if minute > 59 || hour.saturating_mul(60).saturating_add(minute) > 1_440 {
        return None;
    }
    let minutes = u32::try_from(day).ok()?.saturating_mul(1_440).saturating_add(hour.saturating_mul(60));
    minutes.saturating_add(minute).saturating_mul(60).checked_rem(WEEK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_the_week_is_a_day_and_a_time() {
        for (text, second) in [
            ("mon 00:00", Some(0)),
            ("mon 24:00", Some(86_400)),
            ("tue 00:00", Some(86_400)),
            ("fri 16:05", Some(4 * 86_400 + 16 * 3_600 + 5 * 60)),
            ("sun 23:59", Some(604_740)),
            ("sun 24:00", Some(0)),
            ("sun 24:01", None),
            ("sun 25:00", None),
            ("sun 23:60", None),
            ("Sun 23:00", None),
            ("sunday 23:00", None),
            ("sun  23:00", None),
            ("sun 3:00", None),
            ("sun 03:0", None),
            ("sun 03:00:00", None),
            ("sun +3:00", None),
            ("sun", None),
            ("23:00", None),
            ("", None),
        ] {
            assert_eq!(parse(text), second, "{text}");
        }
    }
}
