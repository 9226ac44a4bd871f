//! What differs between two answers: where, how, and by how much.

/// Most differences that are collected of two answers. A list of this length may lack others.
pub const MAX_DIFFERENCES: usize = 32;

/// Longest label of a place, in bytes.
const MAX_LABEL: usize = 128;

/// One difference between the live answer and the copy's.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The place: a JSON Pointer with indices, empty for the whole document, or `status`, `header NAME`, `grpc-status` or `body`.
    /// Cut after 1,024 bytes.
    pub pointer: String,
    /// How the answers differ there.
    pub kind: Kind,
    /// For two finite numbers, their difference as a share of the larger one.
    pub relative: Option<f64>,
    /// What the live answer has there as it is written, cut after 200 characters; `***` if it is redacted. `None` if it has
    /// nothing there, or values are not logged.
    pub live: Option<String>,
    /// The same of the copy's answer.
    pub copy: Option<String>,
}

/// How two answers differ at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Another HTTP status.
    Status,
    /// Another value of a header, or only one answer has it.
    Header,
    /// Another gRPC status, or only one answer has one.
    GrpcStatus,
    /// A member that the copy's answer lacks.
    Missing,
    /// A member that only the copy's answer has.
    Added,
    /// A value of another type; `null` is a type.
    Type,
    /// A number beyond the tolerances.
    Number,
    /// Another string.
    Text,
    /// `true` against `false`.
    Boolean,
    /// An array with another number of items.
    Length,
    /// Other bytes where bytes are compared.
    Body,
    /// JSON against something that is not JSON.
    Invalid,
}

impl Kind {
    /// Number of kinds.
    pub const COUNT: usize = 12;
    /// All kinds, each at the position of [`Kind::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Status,
        Self::Header,
        Self::GrpcStatus,
        Self::Missing,
        Self::Added,
        Self::Type,
        Self::Number,
        Self::Text,
        Self::Boolean,
        Self::Length,
        Self::Body,
        Self::Invalid,
    ];

    /// Position in [`Kind::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in the public API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Header => "header",
            Self::GrpcStatus => "grpc_status",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Type => "type",
            Self::Number => "number",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Length => "length",
            Self::Body => "body",
            Self::Invalid => "invalid",
        }
    }
}

/// The form of a place in a metric's label: indices, and names that consist of digits, become `*`. What is neither a letter or
/// a digit of ASCII nor one of `/*~-` becomes `_`. A longer one than 128 bytes is `other`, and the whole document is `/`.
#[must_use]
pub fn label(pointer: &str) -> String {
    if pointer.is_empty() {
        return "/".to_owned();
    }
    let mut label = String::with_capacity(pointer.len().min(MAX_LABEL));
    for (position, step) in pointer.split('/').enumerate() {
        if position > 0 {
            label.push('/');
        }
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            label.push('*');
        } else {
            label.extend(step.chars().map(legal));
        }
        if label.len() > MAX_LABEL {
            return "other".to_owned();
        }
    }
    label
}

fn legal(symbol: char) -> char {
    if symbol.is_ascii_alphanumeric() || matches!(symbol, '*' | '~' | '-') { symbol } else { '_' }
}
