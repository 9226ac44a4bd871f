//! Keeps the file for the clusters for copies in step with the file of the document: the same module in the same VM.
//!
//! The file changes only with the module or its VM, so most pushes leave it alone.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::replace::Target;
use crate::envoy::admin::{Admin, POLL};
use crate::envoy::ecds::{Kind, Resources, Syntax, shadow_path};
use crate::output;

/// How long Envoy may take to read the file. The document is live by then, so nothing but a warning depends on it.
const READ: Duration = Duration::from_secs(5);

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
        if self.is_in_step() { Ok(()) } else { self.target.replace(&self.text) }
    }

    /// Replaces the file if it is not in step, and warns if this Envoy rejects it.
    pub(super) fn write_and_watch(&self, admin: &Admin) -> Result<()> {
        if self.is_in_step() {
            return Ok(());
        }
        let before = admin.shadow_status().ok().filter(|before| before.reads.is_some());
        self.write()?;
        let Some(before) = before else { return Ok(()) };
        let began = Instant::now();
        while began.elapsed() < READ {
            let Ok(now) = admin.shadow_status() else { break };
            if now.rejections > before.rejections {
                output::warning(format_args!(
                    "Envoy at {} rejected `{}`, so copies continue without this module; its log shows the reason",
                    admin.url(),
                    self.target.path().display()
                ));
                break;
            }
            if now.reads != before.reads {
                break;
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_in_step(&self) -> bool {
        self.target.text.as_deref() == Some(&self.text)
    }
}
