//! Many Envoys as one. All are asked at the same time, so that one that hangs does not delay the others.

mod counts;
mod fate;
mod latency;
mod page;
mod series;

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

pub(crate) use counts::{Counts, Seen, Signal};
pub(crate) use fate::{Fate, copy_result, pair_result};
pub(crate) use latency::Latency;
pub(crate) use page::{Page, Plugin, Version, VersionName};

use crate::envoy::admin::Admin;

/// The time that one Envoy may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The Envoys that were named, in that order.
pub(crate) struct Fleet(Vec<Admin>);

impl Fleet {
    pub(crate) fn new(urls: &[String]) -> Result<Self> {
        let mut admins: Vec<Admin> = Vec::new();
        for url in urls {
            let admin = Admin::new(url, TIMEOUT)?;
            if admins.iter().any(|known| known.url() == admin.url()) {
                bail!("`{url}` is named twice, so its counts would be added twice");
            }
            admins.push(admin);
        }
        Ok(Self(admins))
    }

    /// Each Envoy's URL without `http://`, which all have in common.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|admin| admin.url().trim_start_matches("http://"))
    }

    /// Asks all Envoys at the same time.
    pub(crate) fn ask(&self) -> Vec<Result<Page>> {
        thread::scope(|scope| {
            let asked: Vec<_> = self.0.iter().map(|admin| scope.spawn(|| Page::ask(admin))).collect();
            asked
                .into_iter()
                .map(|answer| {
                    answer.join().unwrap_or_else(|_| Err(anyhow!("the question failed unexpectedly")))
                })
                .collect()
        })
    }
}
