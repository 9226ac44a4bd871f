//! Keeps the file for the clusters for copies in step with the file of the document: the same module in the same VM.
//!
//! The file changes only with the module or its VM, so most pushes leave it alone.

use std::path::Path;

use anyhow::{Context, Result};

use super::replace::Target;
use crate::envoy::ecds::{Kind, Resources, Syntax, shadow_path};

/// The file for the clusters for copies, and what it should contain.
pub(super) struct InStep {
    target: Target,
    text: String,
}

impl InStep {
    /// `to` is the file of the document, and `main` what it will contain.
    pub(super) fn prepare(to: &Path, main: &mut Resources) -> Result<Self> {
        let path = shadow_path(to);
        let syntax = Syntax::of(&path);
        let target = Target::read(&path)?;
        let text = target.text.as_deref().unwrap_or_default();
        let mut resources = Resources::parse(Kind::Shadow, text, syntax)
            .with_context(|| format!("`{}` is not an ECDS file", path.display()))?;
        resources.follow(main)?;
        Ok(Self { text: resources.write(syntax)?, target })
    }

    /// Replaces the file if it is not in step.
    pub(super) fn write(&self) -> Result<()> {
        if self.target.text.as_deref() == Some(&self.text) {
            return Ok(());
        }
        self.target.replace(&self.text)
    }
}
