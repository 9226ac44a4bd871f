//! Reads overrides: units, and requests with a secret, that get a version no matter what the hash says.
//!
//! A secret is hashed as soon as it is read, and no message shows it.

use super::context::Context;
use super::names::Known;
use super::reader::{At, Fields};
use super::scalar;
use crate::hash::secret::Secret;
use crate::request::Slot;

/// A rule with its version as a position in the rollout.
pub(super) enum Override {
    Units { units: Box<[Box<[u8]>]>, version: usize },
    Header { name: Slot, secret_header: Slot, secret: Secret },
}

impl Override {
    /// The version that the document names. `None` if the request names it in a header.
    pub(super) fn version(&self) -> Option<usize> {
        match self {
            Self::Units { version, .. } => Some(*version),
            Self::Header { .. } => None,
        }
    }
}

pub(super) fn overrides(at: At<'_, '_>, context: &mut Context, names: &Known<'_>) -> Option<Vec<Override>> {
    at.list(context, 0..=64, |at, context| {
        let mut fields = Fields::of(at, context)?;
        if fields.has("header") {
            let header = fields.optional("header", context, header_override);
            fields.finish(context);
            return header;
        }
        let units = fields.required("units", context, |at, context| {
            let mut sorted: Vec<Box<[u8]>> = Vec::new();
            for unit in at.list(context, 1..=1_000, scalar::client_text)? {
                sorted.insert(sorted.partition_point(|earlier| *earlier <= unit), unit);
            }
            Some(sorted.into_boxed_slice())
        });
        let version = fields.required("version", context, |at, context| names.resolve(at, context));
        fields.finish(context);
        Some(Override::Units { units: units?, version: version? })
    })
}

fn header_override(at: At<'_, '_>, context: &mut Context) -> Option<Override> {
    let mut fields = Fields::of(at, context)?;
    let name = fields.required("name", context, scalar::header_name);
    let secret_header = fields.required("secret_header", context, |at, context| {
        let secret_header = scalar::header_name(at, context)?;
        if name.as_deref() == Some(&secret_header) {
            return at.problem(context, "the secret needs a header of its own, other than `name`");
        }
        Some(secret_header)
    });
    let secret = fields.required("secret", context, secret);
    fields.finish(context);
    Some(Override::Header {
        name: context.shared.inputs.header(&name?),
        secret_header: context.shared.inputs.secret_header(&secret_header?),
        secret: secret?,
    })
}

fn secret(at: At<'_, '_>, context: &mut Context) -> Option<Secret> {
    if let Some(text) = at.node.text() {
        // Not read with `scalar::text`, because its messages show the text.
        let legal = (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        return match legal {
            true => Some(Secret::of(text)),
            false => at.problem(context, "expected 1 to 256 characters, without control characters"),
        };
    }
    let mut fields = Fields::of(at, context)?;
    let secret =
        fields.required("sha256", context, |at, context| match Secret::from_hex(at.any_text(context)?) {
            Some(secret) => Some(secret),
            None => at.problem(context, "expected 64 hexadecimal digits"),
        });
    fields.finish(context);
    secret
}
