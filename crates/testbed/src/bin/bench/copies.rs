//! What the variants with answers of 2 KiB are for, and where their copies go.

/// Its part in the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shadowed {
    /// Native, without a mirror.
    Native,
    /// Native, with a static mirror of all requests.
    Mirror,
    /// The filter without a shadow.
    Filter,
    /// The same without the callback for bodies.
    Bodiless,
    /// The filter with a shadow of all units, in a cluster like the mirror's.
    Plain,
    /// The same with the shipped cluster for copies, the module in it.
    Shipped,
    /// The same with `compare`.
    Compared,
    /// As [`Shadowed::Mirror`], a tenth of the requests.
    MirrorTenth,
    /// As [`Shadowed::Plain`], a tenth of the units.
    PlainTenth,
    /// As [`Shadowed::Shipped`], a tenth of the units.
    ShippedTenth,
    /// As [`Shadowed::Compared`], a tenth of the units.
    ComparedTenth,
}

/// Where copies of a variant's requests go.
#[derive(Clone)]
pub(crate) struct Copies {
    pub(crate) cluster: String,
    pub(crate) form: Form,
    /// True if their answers are compared.
    pub(crate) is_compared: bool,
}

/// What the cluster for copies is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// Hosts, and nothing in front of them.
    Plain,
    /// The shipped one: the `buffer` filter, and the module in the variant's own VM.
    Shipped,
}
