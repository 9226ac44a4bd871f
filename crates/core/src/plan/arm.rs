//! An arm of a split: a version with its weight, and whether its lane still gives units to it.
//!
//! A stopped arm keeps its lane, so that no unit of another arm moves. The units of its lane get the stable version.

use std::rc::Rc;

use super::version::Version;

/// A version with its weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arm {
    pub(crate) version: Rc<Version>,
    pub(crate) weight: u32,
    pub(crate) is_stopped: bool,
}
