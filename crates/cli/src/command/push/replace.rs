//! Replaces a file so that nobody ever sees half of it: the new file is written next to it, synced, and renamed over it.
//!
//! Envoy reacts only to the rename. A symbolic link stays and its target is replaced, which keeps what the operator has set up.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::Builder;

use crate::output;

/// A file to replace, whether or not it is there yet.
pub(crate) struct Target {
    path: PathBuf,
    /// The symbolic link that the path names. `None` if it is not a link.
    link: Option<PathBuf>,
    /// Its text. `None` if there is no file yet.
    pub(crate) text: Option<String>,
}

impl Target {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let link = is_link.then(|| path.to_owned());
        let path = if is_link {
            fs::canonicalize(path)
                .with_context(|| format!("`{shown}` is a symbolic link to a file that does not exist"))?
        } else {
            path.to_owned()
        };
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            bail!("`{shown}` is not a file");
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("can't read `{shown}`")),
        };
        Ok(Self { path, link, text })
    }

    /// The file itself, behind any link.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content by `text`, atomically. Warns if the path is a link, which Envoy may watch instead of the file.
    pub(crate) fn replace(&self, text: &str) -> Result<()> {
        self.rename_over(text).with_context(|| format!("can't replace `{}`", self.path.display()))?;
        if let Some(link) = &self.link {
            let (link, file) = (link.display(), self.path.display());
            output::warning(format_args!(
                "`{link}` is a symbolic link, so `{file}` was replaced: Envoy notices if it watches the directory of that file"
            ));
        }
        Ok(())
    }

    fn rename_over(&self, text: &str) -> Result<()> {
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let earlier = fs::metadata(&self.path).ok();
        // A new file gets the usual permissions of this user: Envoy may run as another one.
        let mode = earlier.as_ref().map_or(0o666, |earlier| earlier.mode() & 0o777);
        let mut file = Builder::new()
            .prefix(".rolloutctl-")
            .permissions(Permissions::from_mode(if earlier.is_some() { 0o600 } else { mode }))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if let Some(earlier) = earlier {
            let made = file.as_file().metadata()?;
            if (made.uid(), made.gid()) != (earlier.uid(), earlier.gid()) {
                chown(file.path(), Some(earlier.uid()), Some(earlier.gid()))
                    .context("can't keep its owner")?;
            }
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}
