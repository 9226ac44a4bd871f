//! How the demo ends early: by Ctrl-C, or because something did not happen that should have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why the demo did not get to its end.
pub(crate) enum Stop {
    /// Ctrl-C.
    Interrupted,
    /// Something that should have happened did not.
    Failed(String),
}

impl From<String> for Stop {
    fn from(cause: String) -> Self {
        Self::Failed(cause)
    }
}

/// Whether somebody pressed Ctrl-C.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Marks it as pressed.
    pub(crate) fn press(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.0.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }
}
