//! The way of a scan: targets, files, texts, findings, answer. Knows no rule and no format.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::baseline::{BaselineError, LookedAt};
use super::cleared::Examiner;
use super::content::Tools;
use super::fingerprint::SaltOrigin;
use super::found::{Found, Place};
use super::git::GitError;
use super::judge::{Accepted, Gathered, Terms, judge};
use super::look::{Origin, Seen, Source, look, look_outside};
use super::redact::Redactor;
use super::rule::LoadError;
use super::scan::{Scanner, Scratch};
use super::share::{Clean, Looked};
use super::tracked::{self, Reach, Tracked};
use super::watch::Checks;
use crate::base::beneath::Root;
use crate::base::files::parent_of;
use crate::base::naming::{below, path_within, shown};
use crate::base::relpath::RelPath;
use crate::base::units::printable;
use crate::inventory::{
    self, Cache, CacheUse, CopyError, Entry, Globs, Inventory, Listing, Progress, TakeError,
};
use crate::policy::Policy;
use crate::report::{Finding, codes};

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
    /// What of a repository is looked at in place of the files; `targets` then only narrow it.
    pub tracked: Option<&'a Tracked>,
    /// Where state is kept: never scanned.
    pub state_dir: &'a Path,
    /// Who knows which files need not be looked into again.
    pub examiner: Option<&'a Examiner<'a>>,
    /// The targets as somebody has just taken them, in their order; `None`, or not there, for those that are
    /// to be walked.
    pub taken: &'a [Option<&'a Inventory>],
    /// What is made of what is found.
    pub terms: Terms<'a>,
    /// What is known without a scan, such as operations that are refused: nothing accepts it.
    pub refused: &'a [Found],
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
    /// Files that were not looked into again, since neither they nor the rules have changed.
    pub reused: u64,
    /// Files that could not be looked into, or not entirely.
    pub partial: u64,
    /// Files of which only a pointer of Git LFS is here.
    pub lfs_pointers: u64,
    /// What of a repository was looked at; null where files were.
    pub repository: Option<Reach>,
    /// Entries that `policy_guard.exclude` left out; what lies below an excluded folder is not counted.
    pub excluded: u64,
    /// The first thousand of them of each target.
    pub excluded_first: Vec<String>,
    /// The state directory and the baseline, where they lie in a target.
    pub exempt: Vec<String>,
}

/// What a scan found out.
#[derive(Debug)]
pub struct Evaluation {
    /// Sorted by place.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub coverage: Coverage,
    /// What is accepted.
    pub accepted: Accepted,
    /// What knows every value that was found.
    pub redactor: Redactor,
    /// Where the salt of the fingerprints comes from.
    pub salt: SaltOrigin,
    /// The text of the baseline, where it is to be written.
    pub baseline: Option<String>,
}

impl Evaluation {
    /// What there is to say where nothing was looked at.
    pub fn nothing() -> Self {
        Self {
            findings: Vec::new(),
            coverage: Coverage::default(),
            accepted: Accepted::default(),
            redactor: Redactor::knowing(std::iter::empty()),
            salt: SaltOrigin::Random,
            baseline: None,
        }
    }
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
    /// The baseline's salt.
    #[error("cannot use the baseline `{}`", printable(&path.to_string_lossy()))]
    Baseline {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: BaselineError,
    },
    /// A repository that gives no answer.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A working directory that is gone.
    #[error("cannot tell the working directory")]
    WorkingDirectory(#[source] io::Error),
    /// A tree that is not the one that others have scanned.
    #[error("the tree is not the one that the shards have seen")]
    Changed,
    /// A system without random numbers.
    #[error("cannot make a salt for fingerprints")]
    Random(#[source] getrandom::Error),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Looks at all targets.
///
/// # Errors
/// What keeps the whole from being answered; trouble with one file is a finding.
pub fn evaluate(request: &Request<'_>) -> Result<Evaluation, GuardError> {
    evaluate_by(request, None)
}

/// As [`evaluate`]; where others have scanned the targets, only what they met with something in is looked at.
pub(super) fn evaluate_by(
    request: &Request<'_>,
    known: Option<&Looked>,
) -> Result<Evaluation, GuardError> {
    let excludes =
        Globs::compile(&request.policy.policy_guard.exclude).map_err(GuardError::Exclude)?;
    let mut gathered = Gathered::default();
    let tools = Tools {
        scanner: request.scanner,
        checks: &Checks::new(request.scanner.pack(), request.policy),
        progress: request.progress,
    };
    let mut files = BTreeSet::new();
    match request.tracked {
        Some(tracked) => {
            let looked = tracked::look_at(request, (tools, &excludes), tracked, &mut gathered);
            // Git ends with our work, and complains.
            files = looked.map_err(|error| match is_interrupted(request) {
                true => GuardError::Interrupted,
                false => error,
            })?;
        }
        None => look_at_targets(request, (tools, &excludes), known, &mut gathered)?,
    }
    gathered.refused.extend(tracked::told(
        (
            &codes::SCOPE_PARTIAL,
            "only has a pointer here: Git LFS keeps it elsewhere",
            "only have pointers here: Git LFS keeps them elsewhere",
        ),
        ("file", &gathered.lfs_pointers),
    ));
    gathered.refused.extend(request.refused.iter().cloned());
    let targets: Vec<&Path> = request.targets.iter().map(PathBuf::as_path).collect();
    let looked_at = match request.tracked.map(|tracked| &tracked.scope) {
        None => LookedAt::Within(&targets),
        Some(_) => LookedAt::Files(files),
    };
    judge(
        gathered,
        (&request.terms, request.scanner.pack()),
        looked_at,
    )
}

fn is_interrupted(request: &Request<'_>) -> bool {
    request.progress.interrupted.load(Ordering::Relaxed)
}

fn look_at_targets(
    request: &Request<'_>,
    (tools, excludes): (Tools<'_>, &Globs),
    known: Option<&Looked>,
    gathered: &mut Gathered,
) -> Result<(), GuardError> {
    for (number, target) in (0..).zip(request.targets) {
        let taken = request.taken.get(number as usize).copied().flatten();
        let walked = walked(request, (target, excludes, taken), &mut gathered.coverage)?;
        let (root, mut sources) = (walked.root, walked.sources);
        gathered.found.extend(walked.unlisted);
        if let Some(known) = known {
            sources.retain(|source| known.is_suspect(number, &source.path));
        }
        let remembered = match request.examiner {
            Some(examiner) if target.is_dir() => {
                let taken = match taken {
                    Some(taken) => Cow::Borrowed(taken),
                    None => {
                        Cow::Owned(remembered(request, (examiner, target, excludes), gathered)?)
                    }
                };
                Some((examiner, taken))
            }
            _ => None,
        };
        let looked = look_at_known((request, tools), &root, (&sources, remembered.as_ref()))?;
        gathered.add_all(&sources, looked);
    }
    if let Some(known) = known {
        gathered.coverage.add_clean(&known.clean);
    }
    let coverage = &gathered.coverage;
    if !request.targets.is_empty() && coverage.files + coverage.partial == 0 {
        let text = "no file was there to look at";
        let nothing = Found::by_code(&codes::SCAN_EMPTY, &Place::default(), text);
        gathered.refused.push(nothing);
    }
    Ok(())
}

/// Looks at entries beneath a root, on all threads; what is found is in their order.
pub(super) fn look_at_files(
    request: &Request<'_>,
    (tools, root): (Tools<'_>, &Root),
    sources: &[Source],
    gathered: &mut Gathered,
) -> Result<(), GuardError> {
    let looked = look_at_all(request, (tools, root), sources)?;
    gathered.add_all(sources, looked);
    Ok(())
}

/// What looking at each of these entries gave, in their order.
pub(super) fn look_at_all(
    request: &Request<'_>,
    (tools, root): (Tools<'_>, &Root),
    sources: &[Source],
) -> Result<Vec<Seen>, GuardError> {
    look_at_known((request, tools), root, (sources, None))
}

/// The same, where an examiner may know what the content of files gives.
fn look_at_known(
    (request, tools): (&Request<'_>, Tools<'_>),
    root: &Root,
    (sources, known): (&[Source], Option<&Known<'_>>),
) -> Result<Vec<Seen>, GuardError> {
    let total = sources.len() as u64;
    let progress = request.progress;
    progress.files_total.fetch_add(total, Ordering::Relaxed);
    let looked = sources
        .par_iter()
        .map_init(Scratch::default, |scratch, source| {
            let seen = match known.and_then(|known| clean(known, source)) {
                Some(clean) => look_outside(tools, source, clean),
                None => look(tools, scratch, (Origin::File(root), source)),
            };
            progress.files_done.fetch_add(1, Ordering::Relaxed);
            seen
        })
        .collect();
    match is_interrupted(request) {
        true => Err(GuardError::Interrupted),
        false => Ok(looked),
    }
}

/// Who knows what is clean, and which contents there are.
type Known<'k> = (&'k Examiner<'k>, Cow<'k, Inventory>);

/// A file that an examiner knows to be clean.
fn clean<'k>(
    (examiner, inventory): &'k Known<'_>,
    source: &Source,
) -> Option<(&'k inventory::File, Clean)> {
    let Some(Entry::File(file)) = inventory.get(&source.path) else {
        return None;
    };
    let clean = examiner.clean(&source.path, &file.sha256)?;
    Some((file, clean))
}

/// The digests of a target's files; what nobody knows is looked into while it is read for that.
fn remembered(
    request: &Request<'_>,
    (examiner, target, excludes): (&Examiner<'_>, &Path, &Globs),
    gathered: &mut Gathered,
) -> Result<Inventory, GuardError> {
    let memory = examiner.memory();
    let mut tell = |code, text: String| {
        let place = shown(memory.directory);
        let place = Place {
            shown: &place,
            ..Place::default()
        };
        gathered.found.push(Found::by_code(code, &place, text));
    };
    let mut cache = Cache::load(memory.directory, target, memory.mac);
    if let Some(reason) = cache.discarded() {
        tell(&codes::CACHE_DISCARDED, reason.to_owned());
    }
    let exempt = exempt(request, target);
    let walk = walk(request, (target, excludes), &exempt);
    let taken = inventory::take_shown(&walk, Some(&mut cache), examiner);
    let taken = taken.map_err(|error| match error {
        CopyError::Take(error) => GuardError::Take(error),
        CopyError::NotKept(source) => GuardError::Take(TakeError::Open {
            path: target.to_owned(),
            source,
        }),
    })?;
    if let Err(error) = cache.save() {
        tell(&codes::CACHE_DISCARDED, error.in_full());
    }
    if let Some(path) = &taken.cache.lied {
        let path = below(&shown(target), path);
        let place = Place {
            shown: &path,
            ..Place::default()
        };
        let lied = Found::by_code(&codes::CACHE_MISMATCH, &place, CacheUse::LIE);
        gathered.found.push(lied);
    }
    Ok(taken.inventory)
}

/// How a target is walked.
fn walk<'w>(
    request: &Request<'w>,
    (target, excludes): (&'w Path, &'w Globs),
    exempt: &'w [RelPath],
) -> inventory::Request<'w> {
    inventory::Request {
        root: target,
        excludes,
        exempt,
        expected: None,
        progress: request.progress,
    }
}

/// What of a target is never scanned.
fn exempt(request: &Request<'_>, target: &Path) -> Vec<RelPath> {
    let baseline = request.terms.baseline.map(|used| used.path);
    let own = [Some(request.state_dir), baseline].into_iter().flatten();
    own.filter_map(|path| path_within(target, path)).collect()
}

/// A target as it was walked.
pub(super) struct Walked {
    /// Where the entries are opened: a folder's own root, or the folder that a single file lies in.
    pub(super) root: Root,
    /// The entries, sorted by path.
    pub(super) sources: Vec<Source>,
    /// Folders whose names the system would not give.
    pub(super) unlisted: Vec<Found>,
}

/// Walks a target.
pub(super) fn sources(
    request: &Request<'_>,
    (target, excludes): (&Path, &Globs),
    coverage: &mut Coverage,
) -> Result<Walked, GuardError> {
    walked(request, (target, excludes, None), coverage)
}

fn walked(
    request: &Request<'_>,
    (target, excludes, taken): (&Path, &Globs, Option<&Inventory>),
    coverage: &mut Coverage,
) -> Result<Walked, GuardError> {
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
        return Ok(Walked {
            root,
            sources: vec![Source {
                shown,
                path,
                kind,
                commit: None,
            }],
            unlisted: Vec::new(),
        });
    }
    let exempt = exempt(request, target);
    let walk = walk(request, (target, excludes), &exempt);
    let listing = match taken {
        Some(taken) => inventory::list_known(&walk, taken),
        None => inventory::list(&walk)?,
    };
    coverage.skip(&shown, &listing);
    let sources = listing.names.into_iter().map(|(path, kind)| Source {
        shown: below(&shown, &path),
        path,
        kind,
        commit: None,
    });
    let unlisted = listing.problems.iter().map(|problem| {
        let path = problem.path.as_ref();
        let place = Place {
            shown: &path.map_or_else(|| shown.clone(), |path| below(&shown, path)),
            ..Place::default()
        };
        Found::by_code(&codes::FILE_UNREADABLE, &place, problem.reason.clone())
    });
    Ok(Walked {
        root: Root::open(target).map_err(failed)?,
        sources: sources.collect(),
        unlisted: unlisted.collect(),
    })
}

impl Gathered {
    /// Adds what looking at entries gave, in their order.
    fn add_all(&mut self, sources: &[Source], looked: Vec<Seen>) {
        for (source, seen) in sources.iter().zip(looked) {
            self.add(&source.shown, seen);
        }
    }

    /// Adds what looking at an entry gave.
    pub(super) fn add(&mut self, shown: &str, seen: Seen) {
        self.coverage.add(&seen);
        if seen.is_lfs_pointer {
            self.lfs_pointers.push(shown.to_owned());
        }
        self.found.extend(seen.found);
        self.marked.extend(seen.marked);
    }
}

impl Coverage {
    fn add_clean(&mut self, clean: &Clean) {
        self.files += clean.files;
        self.bytes += clean.bytes;
        self.members += clean.members;
        self.decoded += clean.decoded;
    }

    fn add(&mut self, seen: &Seen) {
        self.files += u64::from(seen.is_read);
        self.bytes += seen.bytes;
        self.members += seen.members;
        self.decoded += seen.decoded;
        self.reused += u64::from(seen.is_known);
        self.partial += u64::from(seen.is_partial);
        self.lfs_pointers += u64::from(seen.is_lfs_pointer);
    }

    fn skip(&mut self, root: &str, listing: &Listing) {
        let skipped = &listing.skipped;
        self.excluded += skipped.excluded;
        self.partial += listing.problems.len() as u64;
        let named = |path: &RelPath| below(root, path);
        self.excluded_first
            .extend(skipped.excluded_first.iter().map(named));
        self.exempt.extend(skipped.exempted.iter().map(named));
    }
}
