//! The state of a compilation: the problems found so far, and what the parts of a document share.
//!
//! Nothing of it remains in the plan except what is moved there at the end.

use std::rc::Rc;

use super::dependency::Dependencies;
use super::place::Place;
use super::problem::Problem;
use crate::hash::bucket::Ppm;
use crate::plan::unit::{Issuer, Source};
use crate::request::Inputs;

/// Protects Envoy's memory: a megabyte of nonsense has a hundred thousand problems.
const MAX_PROBLEMS: usize = 1_000;

/// The state that every reader gets.
#[derive(Default)]
pub(super) struct Context {
    pub(super) problems: Problems,
    pub(super) shared: Shared,
}

/// The problems and the warnings of a document.
#[derive(Default)]
pub(super) struct Problems {
    pub(super) all: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// What the parts of a document share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) inputs: Inputs,
    /// Versions compiled so far, in all rollouts.
    pub(super) versions: usize,
    /// Slices of layers taken so far.
    pub(super) slices: Vec<Slice>,
    /// Cookies issued so far, each once.
    pub(super) issuers: Vec<Rc<Issuer>>,
    /// Names of the cookies that carry sessions so far.
    pub(super) session_cookies: Vec<Box<str>>,
    /// Salts that the author has chosen so far.
    pub(super) salts: Vec<ChosenSalt>,
    pub(super) dependencies: Dependencies,
}

/// A salt that the author has chosen, and what it draws with it.
pub(super) struct ChosenSalt {
    pub(super) salt: Box<str>,
    pub(super) rollout: Box<str>,
    /// Hash of what the document says about the field.
    pub(super) unit: u32,
    pub(super) strategy: u32,
}

/// A slice of a layer that a rollout has taken.
pub(super) struct Slice {
    pub(super) layer: Box<str>,
    pub(super) rollout: Box<str>,
    pub(super) unit: Box<[Source]>,
    pub(super) from: Ppm,
    pub(super) to: Ppm,
}

impl Problems {
    /// Keeps a problem, up to a limit.
    pub(super) fn keep(&mut self, problem: Problem) {
        match self.all.len() {
            ..MAX_PROBLEMS => self.all.push(problem),
            MAX_PROBLEMS => {
                let path = Place::DOCUMENT.to_string();
                self.all.push(Problem {
                    path,
                    message: "too many problems, the others are not listed".to_owned(),
                });
            }
            _ => {}
        }
    }

    pub(super) fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }
}
