//! Where a signal stands: whether it could be judged.

/// What is known of a version by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Condemns,
    Tripped,
    /// It would condemn the version, but stable is as bad.
    Withheld,
    WarmingUp,
    NothingSeen,
    TooFew,
    JudgedByProxies,
    Fine,
}

impl Standing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Condemns => "condemns",
            Self::Tripped => "tripped",
            Self::Withheld => "withheld",
            Self::WarmingUp => "warming up",
            Self::NothingSeen => "nothing seen",
            Self::TooFew => "too few",
            Self::JudgedByProxies => "judged by proxies",
            Self::Fine => "fine",
        }
    }
}
