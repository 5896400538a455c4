//! A scan shared out over hosts. What is found is judged in one place, since redaction, suppression and baselines
//! look at everything together; and no value leaves its file, so that shards only tell *where* they have met
//! with something, and whoever judges looks there again. Nearly all files are clean: that is the work saved.

use super::content::Tools;
use super::evaluate::{Evaluation, GuardError, Request, Walked, evaluate_by, look_at_all, sources};
use super::look::{Seen, Source};
use super::watch::Checks;
use crate::base::beneath::Root;
use crate::base::digest::{Digest, Hasher};
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::inventory::{Globs, Kind};

/// What scanning the files of a shard, or of all of them, gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Entries in which something was met with, each with the place of its target among the request's; sorted.
    pub suspects: Vec<(u32, RelPath)>,
    /// What was looked at without meeting anything.
    pub clean: Clean,
    /// The targets as everybody sees them who walks them, and how many entries they have.
    pub walk: (Digest, u64),
    /// How many of those entries the shard owns.
    pub owned: u64,
}

/// What was looked at without meeting anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clean {
    /// Files looked into.
    pub files: u64,
    /// Bytes of them and of what they hold.
    pub bytes: u64,
    /// Files found inside archives.
    pub members: u64,
    /// Encoded texts that were decoded.
    pub decoded: u64,
}

/// Scans the files of one shard.
///
/// # Errors
/// As [`super::evaluate`].
pub fn look_at_share(request: &Request<'_>, shard: Shard) -> Result<Looked, GuardError> {
    let tools = Tools {
        scanner: request.scanner,
        checks: &Checks::new(request.scanner.pack(), request.policy),
        progress: request.progress,
    };
    let mut looked = Looked::none();
    let mut survey = Hasher::default();
    for (number, walked) in (0..).zip(walk(request)?) {
        let (root, mut sources) = (walked.root, walked.sources);
        looked.walk.1 += sources.len() as u64;
        note(&mut survey, (&root, &sources));
        sources.retain(|source| shard.owns(&source.path));
        looked.owned += sources.len() as u64;
        let seen = look_at_all(request, (tools, &root), &sources)?;
        for (source, seen) in sources.into_iter().zip(seen) {
            match is_clean(&seen) {
                true => looked.clean.add(&seen),
                false => looked.suspects.push((number, source.path)),
            }
        }
    }
    looked.suspects.sort();
    looked.walk.0 = survey.finish();
    Ok(looked)
}

/// Judges what all shards together have met with, by looking at it again: the same evaluation as of a scan of
/// everything.
///
/// # Errors
/// As [`super::evaluate`], and a tree that is not the one that the shards have walked.
pub fn evaluate_known(request: &Request<'_>, known: &Looked) -> Result<Evaluation, GuardError> {
    let mut survey = Hasher::default();
    let mut entries = 0;
    for Walked { root, sources, .. } in walk(request)? {
        entries += sources.len() as u64;
        note(&mut survey, (&root, &sources));
    }
    if (survey.finish(), entries) != known.walk {
        return Err(GuardError::Changed);
    }
    evaluate_by(request, Some(known))
}

impl Looked {
    fn none() -> Self {
        Self {
            suspects: Vec::new(),
            clean: Clean::default(),
            walk: (Digest([0; 32]), 0),
            owned: 0,
        }
    }

    /// Whether something was met with there; `suspects` is sorted.
    pub(super) fn is_suspect(&self, target: u32, path: &RelPath) -> bool {
        let found = self
            .suspects
            .binary_search_by(|(other, known)| (*other, known).cmp(&(target, path)));
        found.is_ok()
    }
}

impl Clean {
    /// What one file adds.
    pub(super) fn of(seen: &Seen) -> Self {
        let mut clean = Self::default();
        clean.add(seen);
        clean
    }

    fn add(&mut self, seen: &Seen) {
        self.files += u64::from(seen.is_read);
        self.bytes += seen.bytes;
        self.members += seen.members;
        self.decoded += seen.decoded;
    }
}

/// Whether looking at an entry gave nothing that has to be judged or told.
pub(super) fn is_clean(seen: &Seen) -> bool {
    seen.found.is_empty() && seen.marked.is_empty() && !seen.is_partial && !seen.is_lfs_pointer
}

/// Every target, walked.
fn walk(request: &Request<'_>) -> Result<Vec<Walked>, GuardError> {
    let excludes =
        Globs::compile(&request.policy.policy_guard.exclude).map_err(GuardError::Exclude)?;
    let targets = request.targets.iter();
    let each = targets.map(|target| sources(request, (target, &excludes), &mut Default::default()));
    each.collect()
}

/// Takes in what is seen of entries from outside: path, kind, mode, and size where that is the content's. One
/// that cannot be looked at is taken in by its name.
fn note(hasher: &mut Hasher, (root, sources): (&Root, &[Source])) {
    for Source { path, kind, .. } in sources {
        hasher.update(path.as_bytes());
        hasher.update(&[0]);
        hasher.update(kind.name().as_bytes());
        if let Ok(stat) = root.stat(path) {
            hasher.update(&(stat.st_mode & 0o7777).to_be_bytes());
            let size = if *kind == Kind::Directory {
                0
            } else {
                stat.st_size
            };
            hasher.update(&size.to_be_bytes());
        }
    }
    // Where the next target begins.
    hasher.update(&[0, 0]);
}
