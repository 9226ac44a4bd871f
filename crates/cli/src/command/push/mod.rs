//! `push`: writes a checked document into the file that Envoy watches, and on request waits until Envoy serves it.
//!
//! Every reason to refuse is checked before a file changes. The file for the clusters for copies is kept in step.

mod latched;
mod replace;
mod shadow;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rollout_core::{Plan, compile};
use serde::Serialize;

use self::latched::Latched;
use self::replace::Target;
use self::shadow::InStep;
use crate::args::{self, Format, Push};
use crate::document::{Document, Loaded};
use crate::envoy::admin::{Admin, POLL, Status};
use crate::envoy::ecds::{Kind, RESOURCE, Resources, Syntax};
use crate::exit::Exit;
use crate::output::{self, BAD, GOOD, WARNING, paint};

#[derive(Serialize)]
struct Receipt {
    ok: bool,
    hash: u32,
    /// Null if no Envoy was asked.
    live: Option<bool>,
    missing_clusters: Vec<String>,
    /// Versions whose share this push raises, and that stay rolled back. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latched: Vec<Latched>,
}

pub(super) fn run(args: &Push, format: Format) -> Result<Exit> {
    let document = Document::read(&args.file)?.load()?;
    for warning in &document.compiled.warnings {
        output::warning(warning);
    }
    let target = Target::read(&args.to)?;
    let mut resources = parse(args, &target)?;
    let old = resources.document().and_then(|text| compile(text.as_bytes()).ok());
    fill(args, &document, &target, &mut resources)?;
    let shadow = InStep::prepare(&args.to, &mut resources)?;
    let plugin = resources.plugin_name().unwrap_or_default();
    let text = resources.write(Syntax::of(&args.to))?;
    let hash = document.compiled.plan.hash();
    let push = Prepared { target, text, hash, shadow, old: old.map(|compiled| compiled.plan) };
    match &args.envoy {
        None => push.write_only(format),
        Some(url) => {
            let admin = Admin::new(url, args.timeout)?;
            let watch = Watch { admin: &admin, plugin: &plugin, timeout: args.timeout };
            push.write_and_watch(&document.compiled.plan, &watch, format)
        }
    }
}

/// The values of the file.
fn parse(args: &Push, target: &Target) -> Result<Resources> {
    let text = target.text.as_deref().unwrap_or_default();
    Resources::parse(Kind::Rollout, text, Syntax::of(&args.to))
        .with_context(|| format!("`{}` is not an ECDS file", args.to.display()))
}

/// Inserts the document, and the module if one is given.
fn fill(args: &Push, document: &Loaded, target: &Target, resources: &mut Resources) -> Result<()> {
    let shown = args.to.display();
    if args.wasm.is_none() && resources.plugin_name().is_none() {
        let state = match &target.text {
            Some(_) => format!("has no wasm resource `{RESOURCE}` yet"),
            None => "does not exist yet".to_owned(),
        };
        bail!("`{shown}` {state}: name the filter's module with `--wasm`");
    }
    if let Some(module) = &args.wasm {
        resources.install()?;
        resources.set_module(module)?;
        if !module.exists() {
            output::warning(format_args!(
                "`{}` does not exist on this machine, which is fine if Envoy runs on another",
                module.display()
            ));
        }
    }
    resources.set_document(&document.text, document.compiled.plan.hash())
}

/// Which Envoy and plugin to ask, and for how long.
struct Watch<'a> {
    admin: &'a Admin,
    plugin: &'a str,
    timeout: Duration,
}

/// What Envoy did with the file.
enum Outcome {
    Live,
    Rejected,
    Late(Result<Status>),
}

/// A push that is ready to be written.
struct Prepared {
    target: Target,
    text: String,
    hash: u32,
    shadow: InStep,
    /// What the file had before. `None` if it had no document that can be served.
    old: Option<Plan>,
}

impl Prepared {
    fn write_only(&self, format: Format) -> Result<Exit> {
        self.target.replace(&self.text)?;
        self.shadow.write()?;
        self.answer(format, None, Vec::new(), &format!("{}\n", self.written()))?;
        Ok(Exit::Fine)
    }

    fn write_and_watch(&self, plan: &Plan, watch: &Watch<'_>, format: Format) -> Result<Exit> {
        let url = watch.admin.url();
        let missing = missing_clusters(plan, &watch.admin.clusters()?);
        if !missing.is_empty() {
            return self.refuse(missing, url, format);
        }
        let before = watch.admin.status(watch.plugin)?;
        self.target.replace(&self.text)?;
        let began = Instant::now();
        let outcome = self.wait(watch, before);
        let live = matches!(outcome, Outcome::Live);
        if !matches!(outcome, Outcome::Rejected) {
            self.shadow.write_and_watch(watch.admin)?; // last, so that copies never run with a module that Envoy rejects
        }
        let (verdict, explanation) = match &outcome {
            Outcome::Live => {
                let seconds = began.elapsed().as_secs_f64();
                (paint(GOOD, "live"), format!("Envoy at {url} serves it after {seconds:.1} s"))
            }
            Outcome::Rejected => (
                paint(BAD, "rejected"),
                format!(
                    "Envoy at {url} rejected the update and keeps serving the document before it; its log shows the reason"
                ),
            ),
            Outcome::Late(last) => (paint(BAD, "not live"), self.late(watch, before, last)),
        };
        let latched = if live { self.latched(plan, watch) } else { Vec::new() };
        let line = format!("{verdict}: {explanation}");
        let mut text = format!("{}\n{line}\n", self.written());
        for latched in &latched {
            let _ = writeln!(text, "{}: {}", paint(WARNING, "latched"), latched.text());
        }
        self.answer(format, Some(live), latched, &text)?;
        if !live && format == Format::Json {
            output::error(&line);
        }
        Ok(if live { Exit::Fine } else { Exit::CouldNot })
    }

    /// The versions that get more in this document and stay rolled back. What Envoy does not answer is only reported: the document
    /// is live.
    fn latched(&self, plan: &Plan, watch: &Watch<'_>) -> Vec<Latched> {
        latched::raised(self.old.as_ref(), plan, args::now(), watch.admin).unwrap_or_else(|error| {
            output::warning(format_args!("can't tell whether a version is rolled back: {error:#}"));
            Vec::new()
        })
    }

    fn written(&self) -> String {
        format!("{}: hash {} in `{}`", paint(GOOD, "pushed"), self.hash, self.target.path().display())
    }

    fn answer(&self, format: Format, live: Option<bool>, latched: Vec<Latched>, text: &str) -> Result<()> {
        let ok = live.unwrap_or(true);
        match format {
            Format::Json => {
                output::json(&Receipt { ok, hash: self.hash, live, missing_clusters: Vec::new(), latched })
            }
            Format::Text => output::text(text),
        }
    }

    fn refuse(&self, missing_clusters: Vec<String>, url: &str, format: Format) -> Result<Exit> {
        let count = output::count(missing_clusters.len(), "cluster");
        let names: String = missing_clusters.iter().map(|name| format!("  {name}\n")).collect();
        let text = format!(
            "{}: Envoy at {url} does not have {count}; nothing was written\n{names}",
            paint(BAD, "refused")
        );
        match format {
            Format::Json => {
                let (hash, live, latched) = (self.hash, Some(false), Vec::new());
                output::json(&Receipt { ok: false, hash, live, missing_clusters, latched })?;
            }
            Format::Text => output::text(&text)?,
        }
        Ok(Exit::No)
    }

    /// Asks until Envoy has read the file and serves the document. An earlier push may have made the same document live, so if
    /// Envoy counts its reads, the hash alone proves nothing.
    fn wait(&self, watch: &Watch<'_>, before: Status) -> Outcome {
        let began = Instant::now();
        loop {
            let status = watch.admin.status(watch.plugin);
            if let Ok(now) = &status {
                if now.rejections > before.rejections {
                    return Outcome::Rejected;
                }
                let was_read = now.reads.is_none() || now.reads != before.reads;
                if was_read && now.hash == Some(self.hash.into()) {
                    return Outcome::Live;
                }
            }
            if began.elapsed() >= watch.timeout {
                return Outcome::Late(status);
            }
            thread::sleep(POLL);
        }
    }

    fn late(&self, watch: &Watch<'_>, before: Status, last: &Result<Status>) -> String {
        let (url, timeout) = (watch.admin.url(), humantime::format_duration(watch.timeout));
        let status = match last {
            Err(error) => return format!("no answer within {timeout}: {error:#}"),
            Ok(status) => status,
        };
        let serves = match status.hash {
            Some(hash) if hash == u64::from(self.hash) => {
                format!("Envoy at {url} already served this document")
            }
            Some(hash) => format!("after {timeout} Envoy at {url} serves hash {hash}, not {}", self.hash),
            None => {
                format!("after {timeout} no filter `{}` reports a document in Envoy at {url}", watch.plugin)
            }
        };
        if status.reads.is_some() && status.reads == before.reads {
            let file = self.target.path().display();
            return format!("{serves} and has not read a file since: does it watch `{file}`?");
        }
        serves
    }
}

/// The clusters of all versions and of their copies that Envoy does not have, sorted by name.
fn missing_clusters(plan: &Plan, known: &BTreeSet<String>) -> Vec<String> {
    let versions = plan.rollouts().iter().flat_map(|rollout| rollout.versions());
    let shadows = plan.rollouts().iter().flat_map(|rollout| rollout.shadows());
    let wanted = versions.map(|version| version.cluster()).chain(shadows.map(|shadow| shadow.cluster()));
    let wanted: BTreeSet<&str> = wanted.collect();
    wanted.into_iter().filter(|name| !known.contains(*name)).map(str::to_owned).collect()
}
