//! Reads the cookies that the filter sets: the id of an anonymous client, and sessions.
//!
//! No two rollouts may use one cookie for different things. Secrets never appear in messages.

use std::rc::Rc;

use super::context::Context;
use super::json::Node;
use super::place::shown;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::mac::Key;
use crate::plan::session::Sessions;
use crate::plan::unit::{Issuer, Source};
use crate::request::cookie::{Cookie, SameSite};

/// Browsers keep a cookie for at most 400 days; ten years leave room for other clients.
const LONGEST: u64 = 3_650 * 86_400_000;

/// The cookie with the id of an anonymous client. Rollouts may share it if their settings are equal.
pub(super) fn issuer(at: At<'_, '_>, context: &mut Context) -> Option<Rc<Issuer>> {
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("name", context, scalar::cookie_name);
    let cookie = cookie(&mut fields, context, name);
    let key = fields.required("secret", context, secret);
    fields.finish(context);
    let slot = context.shared.inputs.cookie(name?);
    let request_id = context.shared.inputs.header("x-request-id");
    let issuer = Issuer { slot, request_id, cookie: cookie?, key: key? };
    if context.shared.session_cookies.contains(&issuer.cookie.name) {
        return at.problem(context, "a rollout keeps its sessions in this cookie: use another name");
    }
    match context.shared.issuers.iter().find(|known| known.cookie.name == issuer.cookie.name) {
        Some(known) if **known == issuer => Some(Rc::clone(known)),
        Some(_) => at.problem(
            context,
            &format!(
                "{} is issued elsewhere with other settings: use the same or another name",
                shown(&issuer.cookie.name)
            ),
        ),
        None => {
            let issuer = Rc::new(issuer);
            context.shared.issuers.push(Rc::clone(&issuer));
            Some(issuer)
        }
    }
}

/// The sessions of a rollout. Their cookie must not be a source of the unit.
pub(super) fn sessions(at: At<'_, '_>, context: &mut Context, unit: &[Source]) -> Option<Sessions> {
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("cookie", context, |at, context| {
        let name = scalar::cookie_name(at, context)?;
        let slot = context.shared.inputs.cookie(name);
        let is_unit = unit.contains(&Source::Cookie(slot));
        if is_unit || context.shared.issuers.iter().any(|issuer| *issuer.cookie.name == *name) {
            return at.problem(context, "the unit comes from this cookie: use another name");
        }
        if context.shared.session_cookies.iter().any(|known| **known == *name) {
            at.warning(
                context,
                "another rollout keeps its sessions in this cookie, and each ends the other's: use another name",
            );
        }
        context.shared.session_cookies.push(name.into());
        Some(name)
    });
    let cookie = cookie(&mut fields, context, name);
    let keys = fields.required("secret", context, |at, context| match at.node {
        Node::Array(_) => at.list(context, 1..=16, secret),
        _ => secret(at, context).map(|key| vec![key]),
    });
    let drain_until = fields.optional("drain_until", context, scalar::time);
    fields.finish(context);
    let slot = context.shared.inputs.cookie(name?);
    Some(Sessions { slot, cookie: cookie?, keys: keys?.into(), drain_until })
}

/// The fields that both kinds of cookie have in common, except the name.
fn cookie(fields: &mut Fields<'_, '_>, context: &mut Context, name: Option<&str>) -> Option<Cookie> {
    let max_age =
        fields.required("max_age", context, |at, context| scalar::duration(at, context, 1_000..=LONGEST));
    let path = fields.optional("path", context, |at, context| {
        let path = scalar::text(at, context, 1..=1024)?;
        if !path.starts_with('/') || path.contains([';', ',']) || !path.is_ascii() {
            return at.problem(
                context,
                &format!("expected ASCII that begins with `/`, without `;` or `,`, found {}", shown(path)),
            );
        }
        Some(path)
    });
    let domain = fields.optional("domain", context, domain);
    let http_only = fields.optional("http_only", context, scalar::boolean);
    let secure = fields.optional("secure", context, scalar::boolean);
    let same_site = fields.optional("same_site", context, |at, context| match at.any_text(context)? {
        "Strict" => Some(SameSite::Strict),
        "Lax" => Some(SameSite::Lax),
        "None" => Some(SameSite::None),
        other => at.problem(context, &format!("expected `Strict`, `Lax` or `None`, found {}", shown(other))),
    });
    let partitioned = fields.optional("partitioned", context, scalar::boolean);
    let cookie = Cookie {
        name: name?.into(),
        max_age: max_age?.checked_div(1_000)?,
        path: path.unwrap_or("/").into(),
        domain,
        http_only: http_only.unwrap_or(true),
        secure: secure.unwrap_or(true),
        same_site: same_site.unwrap_or(SameSite::Lax),
        partitioned: partitioned.unwrap_or(false),
    };
    if let Some(reason) = cookie.rejected_because() {
        fields.at().warning(context, &format!("browsers drop this cookie: {reason}"));
    } else if cookie.partitioned && cookie.same_site != SameSite::None {
        fields.at().warning(
            context,
            "`partitioned` has no effect: browsers send the cookie inside other sites only if `same_site` is `None`",
        );
    }
    Some(cookie)
}

/// The domain of a cookie, in lower case: a host name, whose leading dot browsers would ignore (RFC 6265, 5.2.3). Browsers accept
/// only a domain that the request's host is in.
fn domain(at: At<'_, '_>, context: &mut Context) -> Option<Box<str>> {
    let text = at.any_text(context)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        let edges = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(legal) && !edges
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = text.rsplit('.').next().is_some_and(is_number);
    if text.len() > 253 || !text.split('.').all(is_label) || is_address {
        return at.problem(
            context,
            &format!("expected a host name like `example.com`, without a leading dot, found {}", shown(text)),
        );
    }
    Some(text.to_ascii_lowercase().into())
}

/// The secret of a keyed hash. No message shows its text.
fn secret(at: At<'_, '_>, context: &mut Context) -> Option<Key> {
    let secret = at.any_text(context)?;
    match secret.len() {
        16..=256 => Some(Key::of(secret)),
        _ => at.problem(context, "expected a secret of 16 to 256 bytes"),
    }
}
