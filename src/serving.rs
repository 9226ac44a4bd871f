//! Which split serves: a document that was replaced lives on until its last request ends, and what it has counted must not be compared
//! with what began under its successor.
//!
//! All documents of a VM that have a rollout of the same name share one cell; the latest document writes it and the others read it.
//! What follows from it is the core's.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use rollout_core::guardrail::SplitMark;

/// What one rollout's documents share.
#[derive(Default)]
struct Shared {
    /// Number of the latest document.
    document: Cell<u64>,
    split: Cell<SplitMark>,
}

thread_local! {
    static DOCUMENTS: Cell<u64> = const { Cell::new(0) };
    static SHARED: RefCell<Vec<(String, Weak<Shared>)>> = RefCell::default();
}

/// One document's view of the splits of one rollout.
pub(crate) struct Serving {
    document: u64,
    /// The document's own split, with the second for which that holds.
    own: Cell<Option<(u64, SplitMark)>>,
    shared: Rc<Shared>,
}

impl Serving {
    /// The rollout of this name in a new document, which serves from now on.
    pub(crate) fn new(name: &str) -> Self {
        let document = DOCUMENTS.get().wrapping_add(1);
        DOCUMENTS.set(document);
        let shared = SHARED.with_borrow_mut(|all| {
            all.retain(|(_, shared)| shared.strong_count() > 0);
            let known = all.iter().find(|(known, _)| known == name).and_then(|(_, shared)| shared.upgrade());
            known.unwrap_or_else(|| {
                let shared = Rc::default();
                all.push((name.to_owned(), Rc::downgrade(&shared)));
                shared
            })
        });
        shared.document.set(document);
        Self { document, own: Cell::default(), shared }
    }

    /// The document's own split at this second, worked out once per second.
    pub(crate) fn own(&self, second: u64, split: impl FnOnce() -> SplitMark) -> SplitMark {
        let own = match self.own.get() {
            Some((known, own)) if known == second => own,
            Some(_) | None => split(),
        };
        self.own.set(Some((second, own)));
        if self.shared.document.get() == self.document {
            self.shared.split.set(own);
        }
        own
    }

    /// The split that serves: the latest document's.
    pub(crate) fn now(&self) -> SplitMark {
        self.shared.split.get()
    }

    /// A latch has changed the split.
    pub(crate) fn forget(&self) {
        self.own.set(None);
    }
}
