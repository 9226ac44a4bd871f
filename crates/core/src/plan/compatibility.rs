//! Compatibility: the API version and the feature set of a request, and the versions that can serve it.
//!
//! What happens if no version can serve it is decided in `decide`.

use std::borrow::Cow;

use super::version::Version;
use crate::request::{Request, Slot};

/// Where a request names its API version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Api {
    Header(Slot),
    /// The number of the segment, counted from one.
    PathSegment(usize),
}

/// What a request needs from the version that serves it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Demand<'r> {
    api: Option<Cow<'r, [u8]>>,
    features: Option<Cow<'r, [u8]>>,
}

impl<'r> Demand<'r> {
    /// The demand of a request. `reads_features` is true if a version names a feature set.
    pub(crate) fn of(api: Option<&Api>, reads_features: bool, request: &Request<'r>) -> Self {
        let api = api.and_then(|api| api.version(request));
        let features = request.feature_set().filter(|set| reads_features && !set.is_empty());
        Self { api, features }
    }

    /// True if this version can serve the request. A version that lists no API versions accepts all of them. Feature sets must be
    /// equal.
    pub(crate) fn accepts(&self, version: &Version) -> bool {
        let api = self.api.as_deref().zip(version.accepts.as_deref());
        let api_fits = api.is_none_or(|(api, accepted)| accepted.iter().any(|known| known.as_ref() == api));
        let own = version.features.as_deref().map(str::as_bytes);
        let features_fit = self.features.as_deref().is_none_or(|features| own == Some(features));
        api_fits && features_fit
    }
}

impl Api {
    fn version<'r>(&self, request: &Request<'r>) -> Option<Cow<'r, [u8]>> {
        let version = match self {
            Self::Header(slot) => request.header(*slot),
            Self::PathSegment(number) => {
                request.path.split(|byte| *byte == b'/').nth(*number).map(Cow::Borrowed)
            }
        };
        version.filter(|version| !version.is_empty())
    }
}
