//! Knows which split of a rollout serves. A replaced document lives until its last request ends, and its outcomes must not
//! be compared with those of its successor.
//!
//! All documents of a VM with a rollout of the same name share one cell. The latest document writes it, and the others read it.
//! The core decides what follows from it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use rollout_core::guardrail::SplitMark;

/// What the documents with the same rollout share.
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
    /// The document's own split, with the second for which it holds.
    own: Cell<Option<(u64, SplitMark)>>,
    shared: Rc<Shared>,
}

impl Serving {
    /// The view of a new document, which serves from now on. `name` is that of the rollout.
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

    /// The document's own split at this second. It is computed once per second.
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

    /// The split that serves: that of the latest document.
    pub(crate) fn now(&self) -> SplitMark {
        self.shared.split.get()
    }

    /// Drops the known split, because a latch has changed it.
    pub(crate) fn forget(&self) {
        self.own.set(None);
    }
}
