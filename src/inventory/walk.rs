//! The names below a root. Owns what is left out and whether names came or went meanwhile; reads
//! no file.
//!
//! Names come from listing by path and are only names: whoever opens one does so beneath the held
//! root. So a directory that is swapped for a link during the walk can show foreign names, but
//! never foreign content, and the check at the end, which does work beneath the root, finds it.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use super::read::Stamp;
use super::{Entry, Inventory, Kind, Problem, ProblemKind, Request, TakeError, settle};
use crate::base::beneath::Root;
use crate::base::relpath::RelPath;

/// How many excluded paths are named; all are counted.
const EXCLUDED_NAMED_MAX: usize = 1000;

/// What a walk left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Entries that a pattern matched; what lies below an excluded directory is not counted.
    pub excluded: u64,
    /// The first thousand of them, sorted by path.
    pub excluded_first: Vec<RelPath>,
    /// Exempt paths that are there, sorted.
    pub exempted: Vec<RelPath>,
}

/// The names in a tree, and nothing about them but their kinds.
#[derive(Debug)]
pub struct Listing {
    /// Every path once with its kind, sorted by the path's bytes.
    pub names: Vec<(RelPath, Kind)>,
    /// Directories that cannot be listed, sorted by path.
    pub problems: Vec<Problem>,
    /// What was left out.
    pub skipped: Skipped,
}

/// Lists a tree without reading any file: for those who read the files themselves.
///
/// # Errors
/// The root cannot be opened, or the request was interrupted.
pub fn list(request: &Request<'_>) -> Result<Listing, TakeError> {
    let root = open(request)?;
    let mut names = Vec::new();
    let mut walked = walk(request, &root, |path, kind| names.push((path, kind)))?;
    let folders = walked.folders.into_iter().filter_map(|folder| folder.path);
    names.extend(folders.map(|path| (path, Kind::Directory)));
    names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    names.dedup_by(|(a, _), (b, _)| a == b);
    settle(&mut walked.problems);
    Ok(Listing {
        names,
        problems: walked.problems,
        skipped: walked.skipped,
    })
}

/// The same of a tree of which there is a whole inventory, without looking at it again.
pub fn list_known(request: &Request<'_>, inventory: &Inventory) -> Listing {
    let mut names = Vec::with_capacity(inventory.len());
    let mut skipped = Skipped::default();
    let mut left_out: HashSet<RelPath> = HashSet::new();
    for (path, entry) in inventory.iter() {
        let mut above = (!left_out.is_empty()).then(|| path.parent()).flatten();
        while let Some(folder) = above.take_if(|folder| !left_out.contains(folder)) {
            above = folder.parent();
        }
        if above.is_some() {
            continue;
        }
        match skipped.take_in(request, path) {
            true => drop(left_out.insert(path.clone())),
            false => names.push((path.clone(), entry.kind())),
        }
    }
    // What no inventory holds may be there all the same.
    for path in request.exempt {
        let there = || request.root.join(path.as_path()).symlink_metadata().is_ok();
        if !skipped.exempted.contains(path) && there() {
            skipped.exempted.push(path.clone());
        }
    }
    skipped.exempted.sort_unstable();
    Listing {
        names,
        problems: Vec::new(),
        skipped,
    }
}

pub(super) fn open(request: &Request<'_>) -> Result<Root, TakeError> {
    Root::open(request.root).map_err(|source| TakeError::Open {
        path: request.root.to_owned(),
        source,
    })
}

/// A directory as the walk met it.
#[derive(Debug)]
pub(super) struct Folder {
    /// `None` is the root.
    pub(super) path: Option<RelPath>,
    /// From before its names were read.
    pub(super) stamp: Stamp,
    /// How many names it gave, without those left out.
    pub(super) names: u64,
}

/// What a walk found besides the names it handed on.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) folders: Vec<Folder>,
    pub(super) problems: Vec<Problem>,
    pub(super) skipped: Skipped,
}

/// Hands every name that is not a directory to `each`, in the order of the file system; the
/// directories are in the result, the root first.
pub(super) fn walk(
    request: &Request<'_>,
    root: &Root,
    mut each: impl FnMut(RelPath, Kind),
) -> Result<Walked, TakeError> {
    let mut walked = Walked::default();
    // The folders from the root down to where the walk is, as places in `walked.folders`.
    let mut line: Vec<usize> = Vec::new();
    let mut entries = walkdir::WalkDir::new(request.root).into_iter();
    while let Some(entry) = entries.next() {
        if request.progress.is_interrupted() {
            return Err(TakeError::Interrupted);
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                walked
                    .problems
                    .push(unlisted(request.root, &error, |depth| {
                        let folder = line.get(depth.checked_sub(1)?)?;
                        walked.folders[*folder].path.clone()
                    }));
                continue;
            }
        };
        let depth = entry.depth();
        if depth == 0 {
            line.push(0);
            walked.enter(None, rustix::fs::fstat(root.as_descriptor()));
            continue;
        }
        let kind = Kind::of(entry.file_type());
        let bytes = below(request.root, entry.path());
        let path = match RelPath::parse(bytes) {
            Ok(path) if !walked.skipped.take_in(request, &path) => path,
            refused => {
                if refused.is_err() {
                    walked.problems.push(Problem {
                        path: nearest(bytes),
                        kind: ProblemKind::Unreadable,
                        reason: "a path below it is longer than 4095 bytes".into(),
                    });
                }
                if kind == Kind::Directory {
                    entries.skip_current_dir();
                }
                continue;
            }
        };
        line.truncate(depth);
        if let Some(folder) = line.last() {
            walked.folders[*folder].names += 1;
        }
        if kind == Kind::Directory {
            line.push(walked.folders.len());
            // By path, hence not to be trusted: the check at the end compares it with the truth.
            walked.enter(Some(path), rustix::fs::lstat(entry.path()));
        } else {
            each(path, kind);
        }
    }
    walked.skipped.excluded_first.sort_unstable();
    walked.skipped.exempted.sort_unstable();
    Ok(walked)
}

impl Walked {
    fn enter(&mut self, path: Option<RelPath>, stat: rustix::io::Result<rustix::fs::Stat>) {
        self.folders.push(Folder {
            path,
            stamp: stat.map(|stat| Stamp::of(&stat)).unwrap_or_default(),
            names: 0,
        });
    }
}

impl Skipped {
    /// Whether an entry is left out, and notes it.
    fn take_in(&mut self, request: &Request<'_>, path: &RelPath) -> bool {
        if request.exempt.contains(path) {
            self.exempted.push(path.clone());
            return true;
        }
        if request.excludes.matches(path.as_bytes()) {
            self.excluded += 1;
            if self.excluded_first.len() < EXCLUDED_NAMED_MAX {
                self.excluded_first.push(path.clone());
            }
            return true;
        }
        false
    }
}

/// A path's bytes relative to the root that it was found below.
fn below<'p>(root: &Path, path: &'p Path) -> &'p [u8] {
    let bytes = path.as_os_str().as_bytes();
    let rest = bytes.get(root.as_os_str().len()..).unwrap_or_default();
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// The deepest ancestor that is a path below the root; `None` is the root itself.
fn nearest(bytes: &[u8]) -> Option<RelPath> {
    let mut end = bytes.len();
    loop {
        match RelPath::parse(&bytes[..end]) {
            Ok(path) => return Some(path),
            Err(_) => end = bytes[..end].iter().rposition(|byte| *byte == b'/')?,
        }
    }
}

fn unlisted(
    root: &Path,
    error: &walkdir::Error,
    at_depth: impl Fn(usize) -> Option<RelPath>,
) -> Problem {
    let path = match error.path() {
        Some(path) => nearest(below(root, path)),
        None => at_depth(error.depth()),
    };
    let (kind, reason) = match error.io_error() {
        Some(error)
            if error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()) =>
        {
            (
                ProblemKind::Unreadable,
                "its path is too long for the system to list it".into(),
            )
        }
        Some(error) if error.kind() == std::io::ErrorKind::NotFound => (
            ProblemKind::Unstable,
            "it went away while the tree was read".into(),
        ),
        Some(error) => (ProblemKind::Unreadable, error.to_string()),
        None => (ProblemKind::Unreadable, error.to_string()),
    };
    Problem { path, kind, reason }
}

impl Folder {
    /// The state of the directory now, beneath the root.
    pub(super) fn stat(&self, root: &Root) -> Result<Stat, Problem> {
        let stat = match &self.path {
            Some(path) => root.stat(path),
            None => rustix::fs::fstat(root.as_descriptor()).map_err(Into::into),
        };
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(stat),
            Ok(_) => Err(self.unstable("it is no longer a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(self.unreadable(&error))
            }
            Err(_) => Err(self.unstable("it went away while the tree was read")),
        }
    }

    fn unstable(&self, reason: &str) -> Problem {
        Problem {
            path: self.path.clone(),
            kind: ProblemKind::Unstable,
            reason: reason.into(),
        }
    }

    pub(super) fn unreadable(&self, error: &std::io::Error) -> Problem {
        Problem {
            path: self.path.clone(),
            kind: ProblemKind::Unreadable,
            reason: error.to_string(),
        }
    }

    /// Lists the directory again, and pushes a problem for every name that came or went.
    ///
    /// `entries` and `problems` hold what the walk found, each sorted by path.
    pub(super) fn compare_names(
        &self,
        (request, root): (&Request<'_>, &Root),
        (entries, problems): (&[(RelPath, Entry)], &[Problem]),
    ) -> Result<Vec<Problem>, Problem> {
        let is_known = |path: &RelPath| {
            entries
                .binary_search_by(|(other, _)| other.cmp(path))
                .is_ok()
                || problems
                    .binary_search_by(|problem| problem.path.as_ref().cmp(&Some(path)))
                    .is_ok()
        };
        let mut changes = Vec::new();
        let mut known = 0;
        self.each_name(request, root, |path| {
            if is_known(&path) {
                known += 1;
            } else {
                let reason = "it came while the tree was read".into();
                changes.push(Problem {
                    path: Some(path),
                    kind: ProblemKind::Unstable,
                    reason,
                });
            }
        })?;
        if known != self.names {
            let mut here = HashSet::new();
            self.each_name(request, root, |path| {
                here.insert(path);
            })?;
            let gone = entries
                .iter()
                .map(|(path, _)| path)
                .filter(|path| self.holds(path) && !here.contains(*path));
            changes.extend(gone.map(|path| Problem {
                path: Some(path.clone()),
                kind: ProblemKind::Unstable,
                reason: "it went away while the tree was read".into(),
            }));
        }
        Ok(changes)
    }

    /// Whether a path is directly in this directory.
    fn holds(&self, path: &RelPath) -> bool {
        path.parent() == self.path
    }

    fn each_name(
        &self,
        request: &Request<'_>,
        root: &Root,
        mut each: impl FnMut(RelPath),
    ) -> Result<(), Problem> {
        let mut prefix = Vec::new();
        if let Some(path) = &self.path {
            prefix.extend_from_slice(path.as_bytes());
            prefix.push(b'/');
        }
        let listing = match &self.path {
            Some(path) => root.open_directory(path).map(rustix::fs::Dir::new),
            None => Ok(rustix::fs::Dir::read_from(root.as_descriptor())),
        };
        let listing = listing
            .and_then(|listing| Ok(listing?))
            .map_err(|error| self.unreadable(&error))?;
        let mut seen = Skipped::default();
        for entry in listing {
            let entry = entry.map_err(|error| self.unreadable(&error.into()))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = RelPath::parse(&[&prefix, name].concat());
            // A path too long for the system is a problem already.
            if let Ok(path) = path
                && !seen.take_in(request, &path)
            {
                each(path);
            }
        }
        Ok(())
    }
}
