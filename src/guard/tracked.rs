//! What a repository holds, looked at: the way from entries and objects to findings, and what is to
//! be told of those that are not here. Knows no rule.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::content::Tools;
use super::evaluate::{Coverage, GuardError, Request, look_at_files};
use super::found::{Found, Place};
use super::git::{Blob, Entry, GitError, Listing, Mode, Repository};
use super::judge::Gathered;
use super::look::{Origin, Seen, Source, look};
use super::scan::Scratch;
use crate::base::beneath::Root;
use crate::base::naming::path_within;
use crate::base::relpath::RelPath;
use crate::base::units;
use crate::inventory::{Globs, Kind};
use crate::report::{Code, codes};

/// Objects that are looked at together: so many bytes are held.
const HELD_BYTES_MAX: u64 = 8 << 20;
/// A larger object is looked at by itself, as it comes.
const HELD_OBJECT_BYTES_MAX: u64 = 1 << 20;
/// Objects of the history that are listed before they are looked at.
const LISTED_MAX: usize = 4096;
/// How many names a finding tells.
const NAMES_TOLD: usize = 10;
/// How many paths a report tells that the policy leaves out.
const EXCLUDED_TOLD: usize = 1000;

/// What of a repository is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What the next commit would change, as the index has it.
    Staged,
    /// What has changed since a commit, as the working tree has it.
    Since(String),
    /// Every object of the past, once.
    History,
}

/// A repository to look at: the one that the working directory lies in.
#[derive(Debug)]
pub struct Tracked {
    /// What of it.
    pub scope: Scope,
    /// Variables that git does not get to see.
    pub hidden: Vec<OsString>,
}

/// What of a repository was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reach {
    /// `staged`, `since` or `history`.
    pub scope: &'static str,
    /// The name of the commit that was compared with; null where none was named.
    pub since: Option<String>,
    /// Commits of the history that were looked through.
    pub commits: u64,
    /// Objects that were looked at.
    pub objects: u64,
    /// Objects that are not in this clone.
    pub missing: u64,
    /// Other repositories within, which were not looked into.
    pub submodules: u64,
    /// Whether the history is cut off here.
    pub shallow: bool,
}

/// Looks at a repository, and gives the files that were looked at as one would type them.
pub(super) fn look_at(
    request: &Request<'_>,
    (tools, excludes): (Tools<'_>, &Globs),
    tracked: &Tracked,
    gathered: &mut Gathered,
) -> Result<BTreeSet<String>, GuardError> {
    let stop = &request.progress.interrupted;
    let repository = Repository::open(Path::new("."), &tracked.hidden, stop)?;
    let mut look = Look {
        filter: Filter::new(request, excludes, &repository)?,
        files: BTreeSet::new(),
        reach: Reach {
            shallow: repository.is_shallow,
            ..Reach::default()
        },
        submodules: BTreeSet::new(),
        missing: Vec::new(),
        request,
        tools,
        repository,
        gathered,
    };
    match &tracked.scope {
        Scope::Staged => {
            look.reach.scope = "staged";
            let listing = look.repository.staged()?;
            look.blobs(listing)?;
        }
        Scope::Since(revision) => {
            look.reach.scope = "since";
            look.reach.since = Some(revision.clone());
            let listing = look.repository.since(revision)?;
            look.working_tree(listing)?;
        }
        Scope::History => {
            look.reach.scope = "history";
            look.history()?;
        }
    }
    look.tell(&tracked.scope);
    Ok(look.files)
}

/// A look at a repository.
struct Look<'a, 'g> {
    request: &'a Request<'a>,
    tools: Tools<'a>,
    repository: Repository<'a>,
    filter: Filter<'a>,
    gathered: &'g mut Gathered,
    files: BTreeSet<String>,
    reach: Reach,
    submodules: BTreeSet<String>,
    /// Objects that are not here.
    missing: Vec<String>,
}

/// An object that is held until it is looked at with others.
struct Held {
    source: Source,
    is_executable: bool,
    bytes: Vec<u8>,
}

impl Look<'_, '_> {
    fn history(&mut self) -> Result<(), GuardError> {
        let mut history = self.repository.history()?;
        while let Some(listing) = history.next(LISTED_MAX)? {
            self.blobs(listing)?;
        }
        self.reach.commits = history.commits_done;
        Ok(history.finish()?)
    }

    /// Looks at entries of the working tree.
    fn working_tree(&mut self, listing: Listing) -> Result<(), GuardError> {
        let top = self.repository.top()?;
        let root = Root::open(top).map_err(|source| GitError::Open {
            path: top.to_owned(),
            source,
        })?;
        let mut sources = self.sources(listing);
        // What was removed but not yet committed is listed, and not there.
        sources.retain(|(source, _)| root.stat(&source.path).is_ok());
        let sources: Vec<Source> = sources.into_iter().map(|(source, _)| source).collect();
        look_at_files(self.request, (self.tools, &root), &sources, self.gathered)
    }

    /// Looks at objects.
    fn blobs(&mut self, listing: Listing) -> Result<(), GuardError> {
        let (sources, entries): (Vec<Source>, Vec<Entry>) =
            self.sources(listing).into_iter().unzip();
        let progress = self.request.progress;
        let total = sources.len() as u64;
        progress.files_total.fetch_add(total, Ordering::Relaxed);
        let mut sources = sources.into_iter();
        let mut held = Vec::new();
        let mut held_bytes = 0;
        let mut blobs = self.repository.blobs()?;
        blobs.read(&entries, |entry, blob| {
            let Some(source) = sources.next() else {
                return Ok(());
            };
            let (size_bytes, reader) = match blob {
                Blob::Missing => {
                    self.missing.push(source.shown);
                    return Ok(());
                }
                Blob::Content { size_bytes, reader } => (size_bytes, reader),
            };
            self.reach.objects += 1;
            let is_executable = entry.mode
                == Mode::File {
                    is_executable: true,
                };
            if size_bytes > HELD_OBJECT_BYTES_MAX {
                self.look_at_held(&mut held)?;
                held_bytes = 0;
                let origin = Origin::Blob {
                    is_executable,
                    size_bytes,
                    reader,
                };
                let seen = look(self.tools, &mut Scratch::default(), (origin, &source));
                return self.note(&source, seen);
            }
            let mut bytes = Vec::new();
            reader
                .read_to_end(&mut bytes)
                .map_err(|_| GitError::Answer("an object of its size"))?;
            held_bytes += size_bytes;
            held.push(Held {
                source,
                is_executable,
                bytes,
            });
            if held_bytes > HELD_BYTES_MAX {
                self.look_at_held(&mut held)?;
                held_bytes = 0;
            }
            Ok::<(), GuardError>(())
        })?;
        self.look_at_held(&mut held)?;
        Ok(blobs.finish()?)
    }

    /// Looks at what is held, on all threads; what is found is in its order.
    fn look_at_held(&mut self, held: &mut Vec<Held>) -> Result<(), GuardError> {
        let held = std::mem::take(held);
        let looked: Vec<Seen> = held
            .par_iter()
            .map_init(Scratch::default, |scratch, held| {
                let origin = Origin::Blob {
                    is_executable: held.is_executable,
                    size_bytes: held.bytes.len() as u64,
                    reader: &mut &*held.bytes,
                };
                look(self.tools, scratch, (origin, &held.source))
            })
            .collect();
        let mut looked = held.iter().zip(looked);
        looked.try_for_each(|(held, seen)| self.note(&held.source, seen))
    }

    fn note(&mut self, source: &Source, seen: Seen) -> Result<(), GuardError> {
        let progress = self.request.progress;
        progress.files_done.fetch_add(1, Ordering::Relaxed);
        if progress.interrupted.load(Ordering::Relaxed) {
            return Err(GuardError::Interrupted);
        }
        self.gathered.add(&source.shown, seen);
        Ok(())
    }

    /// What of a listing is to be looked at.
    fn sources(&mut self, listing: Listing) -> Vec<(Source, Entry)> {
        self.submodules.extend(listing.submodules);
        self.tell_names(
            (
                &codes::SCOPE_PARTIAL,
                "was not looked at, since a merge is not finished",
                "were not looked at, since a merge is not finished",
            ),
            ("file", &listing.unmerged),
        );
        self.tell_names(
            (
                &codes::SCAN_PARTIAL,
                "was not looked at: no file can have its name",
                "were not looked at: no file can have their names",
            ),
            ("entry", &listing.unnameable),
        );
        let mut sources = Vec::new();
        for entry in listing.entries {
            let shown = self.repository.shown(&entry.path);
            if !self
                .filter
                .keeps(&entry.path, &shown, &mut self.gathered.coverage)
            {
                continue;
            }
            if self.reach.scope == "history" || self.files.insert(shown.clone()) {
                let kind = match entry.mode {
                    Mode::Symlink => Kind::Symlink,
                    Mode::File { .. } | Mode::Submodule => Kind::File,
                };
                let source = Source {
                    shown,
                    path: entry.path.clone(),
                    kind,
                    commit: entry.commit.clone(),
                };
                sources.push((source, entry));
            }
        }
        sources
    }

    /// Says what is not here.
    fn tell(&mut self, scope: &Scope) {
        let missing = std::mem::take(&mut self.missing);
        self.reach.missing = missing.len() as u64;
        self.reach.submodules = self.submodules.len() as u64;
        self.tell_names(
            (
                &codes::SCAN_PARTIAL,
                "is not in this clone",
                "are not in this clone",
            ),
            ("object", &missing),
        );
        let submodules: Vec<String> = std::mem::take(&mut self.submodules).into_iter().collect();
        self.tell_names(
            (
                &codes::SCOPE_PARTIAL,
                "was not looked into",
                "were not looked into",
            ),
            ("other repository", &submodules),
        );
        if *scope == Scope::History && self.reach.shallow {
            let text = "the history is cut off: this clone is shallow";
            let mut told = Found::by_code(&codes::SCOPE_PARTIAL, &Place::default(), text);
            let hint =
                "fetch all of it: `git fetch --unshallow`, or `fetch-depth: 0` in a workflow";
            told.finding = told.finding.with_hint(hint);
            self.gathered.refused.push(told);
        }
        self.gathered.coverage.repository = Some(std::mem::take(&mut self.reach));
    }

    fn tell_names(&mut self, what: (&'static Code, &str, &str), names: (&str, &[String])) {
        self.gathered.refused.extend(told(what, names));
    }
}

/// One finding about all of these names; none where there are none.
pub(super) fn told(
    (code, one, many): (&'static Code, &str, &str),
    (noun, names): (&str, &[String]),
) -> Option<Found> {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_TOLD)
        .map(|name| format!("`{name}`"))
        .collect();
    let mut text = format!(
        "{} {}: {}",
        units::count(names.len() as u64, noun),
        if names.len() == 1 { one } else { many },
        shown.join(", ")
    );
    if names.len() > NAMES_TOLD {
        text.push_str(&format!(" and {} more", names.len() - NAMES_TOLD));
    }
    let mut place = Place::default();
    if let [only] = names {
        place.shown = only;
    }
    (!names.is_empty()).then(|| Found::by_code(code, &place, text))
}

/// Which entries are looked at.
struct Filter<'a> {
    excludes: &'a Globs,
    /// What was asked for; empty is everything.
    within: Vec<RelPath>,
    /// What is our own.
    exempt: Vec<RelPath>,
}

impl<'a> Filter<'a> {
    fn new(
        request: &Request<'_>,
        excludes: &'a Globs,
        repository: &Repository<'_>,
    ) -> Result<Self, GuardError> {
        let mut within = Vec::new();
        let mut exempt = Vec::new();
        if let Ok(top) = repository.top() {
            for target in request.targets {
                let is_top = matches!(
                    (target.canonicalize(), top.canonicalize()),
                    (Ok(target), Ok(top)) if target == top
                );
                match path_within(top, target) {
                    _ if is_top => {
                        within.clear();
                        break;
                    }
                    Some(path) => within.push(path),
                    None => {
                        let shown = units::printable(&target.to_string_lossy()).into_owned();
                        return Err(GitError::Outside(shown).into());
                    }
                }
            }
            let baseline = request.terms.baseline.map(|used| used.path);
            let own = [Some(request.state_dir), baseline].into_iter().flatten();
            exempt = own.filter_map(|path| path_within(top, path)).collect();
        }
        Ok(Self {
            excludes,
            within,
            exempt,
        })
    }

    /// Whether an entry is looked at; one that the policy leaves out is counted.
    fn keeps(&self, path: &RelPath, shown: &str, coverage: &mut Coverage) -> bool {
        let is_wanted = self.within.is_empty() || self.within.iter().any(|one| path.is_within(one));
        if !is_wanted || self.exempt.iter().any(|one| path.is_within(one)) {
            return false;
        }
        if self.excludes.excludes(path) {
            coverage.excluded += 1;
            if coverage.excluded_first.len() < EXCLUDED_TOLD {
                coverage.excluded_first.push(shown.to_owned());
            }
            return false;
        }
        true
    }
}
