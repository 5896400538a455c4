//! The way of a scan: targets, files, texts, findings, answer. Knows no rule and no format.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::content::Tools;
use super::files::Checks;
use super::look::{Seen, Source, look};
use super::rule::LoadError;
use super::scan::{Scanner, Scratch};
use crate::base::beneath::Root;
use crate::base::files::parent_of;
use crate::base::naming::{below, path_within, shown};
use crate::base::relpath::RelPath;
use crate::inventory::{self, Globs, Listing, Progress, TakeError};
use crate::policy::Policy;
use crate::report::Finding;

/// What is to be looked at, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// Files and directories, as the user named them.
    pub targets: &'a [PathBuf],
    /// What is scanned for and what is let through.
    pub policy: &'a Policy,
    /// The rules, ready.
    pub scanner: &'a Scanner,
    /// Where to tell how far the work is, and where to look whether to stop.
    pub progress: &'a Progress,
    /// Where state is kept: never scanned.
    pub state_dir: &'a Path,
}

/// What was looked at.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Coverage {
    /// Files looked into.
    pub files: u64,
    /// Bytes of them and of what they hold.
    pub bytes: u64,
    /// Files found inside archives.
    pub members: u64,
    /// Encoded texts that were decoded.
    pub decoded: u64,
    /// Files that could not be looked into, or not entirely.
    pub partial: u64,
    /// Entries that `policy_guard.exclude` left out; what lies below an excluded folder is not counted.
    pub excluded: u64,
    /// The first thousand of them of each target.
    pub excluded_first: Vec<String>,
    /// The state directory, where it lies in a target.
    pub exempt: Vec<String>,
}

/// What a scan found out.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Sorted by place.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub coverage: Coverage,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Rules that cannot be used.
    #[error("cannot use the rules")]
    Rules(#[source] LoadError),
    /// A target that cannot be listed.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A pattern of the policy.
    #[error("cannot use `policy_guard.exclude`")]
    Exclude(#[source] inventory::GlobError),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Looks at all targets.
///
/// # Errors
/// What keeps the whole from being answered; trouble with one file is a finding.
pub fn evaluate(request: &Request<'_>) -> Result<Evaluation, GuardError> {
    let excludes =
        Globs::compile(&request.policy.policy_guard.exclude).map_err(GuardError::Exclude)?;
    let mut found = Vec::new();
    let mut coverage = Coverage::default();
    let tools = Tools {
        scanner: request.scanner,
        checks: &Checks::new(request.scanner.pack()),
        progress: request.progress,
    };
    for target in request.targets {
        let (root, sources) = sources(request, (target, &excludes), &mut coverage)?;
        let total = sources.len() as u64;
        let progress = request.progress;
        progress.files_total.fetch_add(total, Ordering::Relaxed);
        let looked: Vec<Seen> = sources
            .par_iter()
            .map_init(Scratch::default, |scratch, source| {
                let seen = look(tools, scratch, (&root, source));
                progress.files_done.fetch_add(1, Ordering::Relaxed);
                seen
            })
            .collect();
        if progress.interrupted.load(Ordering::Relaxed) {
            return Err(GuardError::Interrupted);
        }
        for seen in looked {
            coverage.add(&seen);
            found.extend(seen.found);
        }
    }
    let mut findings: Vec<Finding> = found.into_iter().map(|found| found.finding).collect();
    findings.sort();
    Ok(Evaluation { findings, coverage })
}

/// The entries of a target, sorted by path, and where they are opened: a folder's own root, or the
/// folder that a single file lies in.
fn sources(
    request: &Request<'_>,
    (target, excludes): (&Path, &Globs),
    coverage: &mut Coverage,
) -> Result<(Root, Vec<Source>), GuardError> {
    let failed = |source| {
        let path = target.to_owned();
        GuardError::Take(TakeError::Open { path, source })
    };
    let shown = shown(target);
    let kind = target.metadata().map_err(failed)?.file_type();
    if !kind.is_dir() {
        let name = target.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let path = RelPath::parse(name).map_err(|error| failed(io::Error::other(error)))?;
        let root = Root::open(parent_of(target)).map_err(failed)?;
        let kind = inventory::Kind::of(kind);
        return Ok((root, vec![Source { shown, path, kind }]));
    }
    let exempt: Vec<RelPath> = path_within(target, request.state_dir).into_iter().collect();
    let listing = inventory::list(&inventory::Request {
        root: target,
        excludes,
        exempt: &exempt,
        expected: None,
        progress: request.progress,
    })?;
    coverage.skip(&shown, &listing);
    let sources = listing.names.into_iter().map(|(path, kind)| Source {
        shown: below(&shown, &path),
        path,
        kind,
    });
    Ok((Root::open(target).map_err(failed)?, sources.collect()))
}

impl Coverage {
    fn add(&mut self, seen: &Seen) {
        self.files += u64::from(seen.is_read);
        self.bytes += seen.bytes;
        self.members += seen.members;
        self.decoded += seen.decoded;
        self.partial += u64::from(seen.is_partial);
    }

    fn skip(&mut self, root: &str, listing: &Listing) {
        let skipped = &listing.skipped;
        self.excluded += skipped.excluded;
        let named = |path: &RelPath| below(root, path);
        self.excluded_first
            .extend(skipped.excluded_first.iter().map(named));
        self.exempt.extend(skipped.exempted.iter().map(named));
    }
}
