//! Takes the inventory of a tree: the walk hands names to threads that read them, and at the end
//! the directories are looked at again.

use std::hash::RandomState;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::cache::Record;
use super::details::{Detailed, Details, Keeper, Wanted, attributes_of};
use super::read::{Reader, Recording, Source, Stamp, Stop, Tally, mode_of};
use super::share::Share;
use super::walk::{Folder, Skipped, Walked, open, walk};
use super::{Cache, Entry, Inventory, Kind, Problem, Request, TakeError, settle};
use crate::base::beneath::Root;
use crate::base::clock::{self, Timestamp};
use crate::base::relpath::RelPath;

/// Names handed over at a time: few enough to share the work out evenly.
const BATCH_NAMES: usize = 128;
/// Files above this are read last, the largest first, so that no thread ends long after the others.
const LARGE_BYTES: u64 = 1 << 20;

/// An inventory, and what to know about how it was taken.
#[derive(Debug)]
pub struct Taken {
    /// What is in the tree, without the entries that have a problem (a directory with one stays).
    pub inventory: Inventory,
    /// Entries that could not be taken in as they are, sorted by path, one for each path.
    pub problems: Vec<Problem>,
    /// What was left out.
    pub skipped: Skipped,
    /// Bytes read and hashed.
    pub hashed_bytes: u64,
    /// What the cache did; all zero without one.
    pub cache: CacheUse,
}

impl Taken {
    /// Adds what else is known to be wrong with entries; of each path the first problem stays.
    pub fn add_problems(&mut self, more: Vec<Problem>) {
        self.problems.extend(more);
        settle(&mut self.problems);
    }
}

/// What a cache did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Files whose digest was taken from the cache.
    pub reused: u64,
    /// Files whose digest was in the cache and was computed again all the same.
    pub rechecked: u64,
    /// A file whose digest in the cache was wrong although nothing else was: somebody wrote to the
    /// cache or past the file system. The inventory was then taken without the cache.
    pub lied: Option<RelPath>,
}

impl CacheUse {
    /// That a digest was wrong, for people.
    pub const LIE: &str = "the digest cache had another digest than the file";
}

/// Takes the inventory of a tree. A cache, when given, saves reading what did not change, and then
/// knows this tree; keeping it ([`Cache::save`]) is the caller's choice.
///
/// Runs on the threads of the current rayon pool, and gives the same whatever their number.
///
/// # Errors
/// The root cannot be opened, or the request was interrupted. Anything below is a [`Problem`].
pub fn take(request: &Request<'_>, cache: Option<&mut Cache<'_>>) -> Result<Taken, TakeError> {
    take_at((clock::now(), Wanted::default()), request, cache).map(|found| found.taken)
}

/// As [`take`]; the content of every file goes to a keeper while it is read. A cached digest saves reading only
/// what the keeper has already.
///
/// # Errors
/// As [`take`], and what the keeper says, with which everything ends.
pub fn take_shown(
    request: &Request<'_>,
    cache: Option<&mut Cache<'_>>,
    keeper: &dyn Keeper,
) -> Result<Taken, CopyError> {
    let keepers = [keeper];
    let wanted = Wanted {
        details: false,
        keepers: &keepers,
    };
    let found = take_at((clock::now(), wanted), request, cache)?;
    match found.not_kept {
        Some(error) => Err(CopyError::NotKept(error)),
        None => Ok(found.taken),
    }
}

/// As [`take`], with the details of every entry; the content of every file goes to each keeper while it is
/// read. A cached digest then saves reading only what every keeper has already.
///
/// # Errors
/// As [`take`], and what a keeper says, with which everything ends.
pub fn take_detailed(
    request: &Request<'_>,
    cache: Option<&mut Cache<'_>>,
    keepers: &[&dyn Keeper],
) -> Result<Detailed, CopyError> {
    let wanted = Wanted {
        details: true,
        keepers,
    };
    let found = take_at((clock::now(), wanted), request, cache)?;
    match found.not_kept {
        Some(error) => Err(CopyError::NotKept(error)),
        None => Ok(Detailed {
            taken: found.taken,
            root: found.root,
            details: found.details,
        }),
    }
}

/// As [`take`], where reading the content of files is somebody else's work in part or in whole.
///
/// # Errors
/// As [`take`].
pub fn take_share(request: &Request<'_>, share: Share<'_>) -> Result<Taken, TakeError> {
    let begun = (clock::now(), Wanted::default(), share);
    take_by(begun, request, None).map(|found| found.taken)
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no inventory.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// Content could not be kept.
    #[error("cannot keep a copy of what is read")]
    NotKept(#[source] std::io::Error),
}

/// Everything that a walk may give.
struct Found {
    taken: Taken,
    records: Vec<Record>,
    root: Details,
    details: Vec<Details>,
    not_kept: Option<std::io::Error>,
}

/// As [`take`], begun at `started`: what is too young then is not settled
/// ([`Stamp::is_settled`]).
fn take_at(
    (started, wanted): (Timestamp, Wanted<'_>),
    request: &Request<'_>,
    cache: Option<&mut Cache<'_>>,
) -> Result<Found, TakeError> {
    take_by((started, wanted, Share::All), request, cache)
}

fn take_by(
    (started, wanted, share): (Timestamp, Wanted<'_>, Share<'_>),
    request: &Request<'_>,
    cache: Option<&mut Cache<'_>>,
) -> Result<Found, TakeError> {
    let root = open(request)?;
    let (known, records) = match &cache {
        Some(cache) => (cache.records(), Recording::On),
        None => (&[][..], Recording::Off),
    };
    let attempt = |known| {
        attempt(
            request,
            &Source {
                root: &root,
                progress: request.progress,
                expected: request.expected,
                share,
                started,
                known,
                records,
                wanted,
                lottery: RandomState::new(),
            },
        )
    };
    let mut found = attempt(known)?;
    if let Some(lie) = found.taken.cache.lied.take() {
        found = attempt(&[])?;
        found.taken.cache.lied = Some(lie);
    }
    if let Some(cache) = cache {
        let is_whole = request.excludes.patterns().is_empty();
        cache.replace(std::mem::take(&mut found.records), is_whole);
    }
    Ok(found)
}

/// What the threads bring together.
#[derive(Default)]
struct Gathered {
    entries: Vec<(RelPath, Entry)>,
    problems: Vec<Problem>,
    large: Vec<(u64, RelPath)>,
    tally: Tally,
    lied: Option<RelPath>,
    /// Of each of `entries`, where they are wanted.
    details: Vec<(RelPath, Details)>,
    not_kept: Option<std::io::Error>,
}

impl Gathered {
    /// Whether more reading would be in vain.
    fn is_over(&self) -> bool {
        self.lied.is_some() || self.not_kept.is_some()
    }
}

fn attempt(request: &Request<'_>, source: &Source<'_>) -> Result<Found, TakeError> {
    let gathered = Mutex::new(Gathered::default());
    let walked = rayon::in_place_scope_fifo(|scope| {
        let mut batch = Vec::with_capacity(BATCH_NAMES);
        let hand_over = |batch: &mut Vec<(RelPath, Kind)>| {
            let batch = std::mem::replace(batch, Vec::with_capacity(BATCH_NAMES));
            source
                .progress
                .files_total
                .fetch_add(batch.len() as u64, Ordering::Relaxed);
            scope.spawn_fifo(|_| work(source, batch, &gathered));
        };
        let walked = walk(request, source.root, |path, kind| {
            batch.push((path, kind));
            if batch.len() == BATCH_NAMES {
                hand_over(&mut batch);
            }
        })?;
        hand_over(&mut batch);
        Ok(walked)
    })?;
    let mut large = std::mem::take(&mut lock(&gathered).large);
    large.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    rayon::in_place_scope_fifo(|scope| {
        for (_, path) in large {
            scope.spawn_fifo(|_| work_large(source, path, &gathered));
        }
    });
    if request.progress.is_interrupted() {
        return Err(TakeError::Interrupted);
    }
    let gathered = gathered
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(finish((request, source), walked, gathered))
}

fn lock(gathered: &Mutex<Gathered>) -> MutexGuard<'_, Gathered> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(source: &Source<'_>, batch: Vec<(RelPath, Kind)>, gathered: &Mutex<Gathered>) {
    if lock(gathered).is_over() {
        return;
    }
    let mut reader = Reader::new(source, LARGE_BYTES);
    let mut found = Gathered::default();
    found.entries.reserve_exact(batch.len());
    for (path, kind) in batch {
        if source.progress.is_interrupted() {
            return;
        }
        read_one(&mut reader, (path, kind), &mut found);
    }
    gather(source, (found, reader.tally), gathered);
}

fn work_large(source: &Source<'_>, path: RelPath, gathered: &Mutex<Gathered>) {
    if lock(gathered).is_over() || source.progress.is_interrupted() {
        return;
    }
    let mut reader = Reader::new(source, u64::MAX);
    let mut found = Gathered::default();
    read_one(&mut reader, (path, Kind::File), &mut found);
    gather(source, (found, reader.tally), gathered);
}

fn read_one(reader: &mut Reader<'_>, (path, kind): (RelPath, Kind), found: &mut Gathered) {
    match reader.read(&path, kind) {
        Ok(entry) => {
            let details = reader.details.take();
            found
                .details
                .extend(details.map(|details| (path.clone(), details)));
            found.entries.push((path, entry));
        }
        Err(Stop::Problem(kind, reason)) => {
            found.problems.push(Problem {
                path: Some(path),
                kind,
                reason,
            });
        }
        Err(Stop::Large(size_bytes)) => found.large.push((size_bytes, path)),
        Err(Stop::CacheLied) => found.lied = Some(path),
        Err(Stop::NotKept(error)) => found.not_kept = Some(error),
        Err(Stop::Interrupted) => {}
    }
}

fn gather(source: &Source<'_>, (found, tally): (Gathered, Tally), gathered: &Mutex<Gathered>) {
    let done = found.entries.len() + found.problems.len();
    source
        .progress
        .files_done
        .fetch_add(done as u64, Ordering::Relaxed);
    let mut all = lock(gathered);
    all.entries.extend(found.entries);
    all.details.extend(found.details);
    all.not_kept = all.not_kept.take().or(found.not_kept);
    all.problems.extend(found.problems);
    all.large.extend(found.large);
    all.lied = all.lied.take().or(found.lied);
    all.tally.records.extend(tally.records);
    all.tally.reused += tally.reused;
    all.tally.rechecked += tally.rechecked;
    all.tally.hashed_bytes += tally.hashed_bytes;
}

/// Looks at the directories again, and brings everything into order.
fn finish(
    (request, source): (&Request<'_>, &Source<'_>),
    walked: Walked,
    mut gathered: Gathered,
) -> Found {
    gathered.problems.extend(walked.problems);
    let (root, doubtful) = enter(source, walked.folders, &mut gathered);
    let Gathered {
        mut entries,
        mut problems,
        mut details,
        tally,
        lied,
        not_kept,
        ..
    } = gathered;
    // A name that a changing directory gave twice counts once.
    entries.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    entries.dedup_by(|(a, _), (b, _)| a == b);
    entries.shrink_to_fit();
    details.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    details.dedup_by(|(a, _), (b, _)| a == b);
    settle(&mut problems);
    let changes = name_changes((request, source.root), &doubtful, (&entries, &problems));
    problems.extend(changes);
    settle(&mut problems);
    let taken = Taken {
        inventory: Inventory { entries },
        problems,
        skipped: walked.skipped,
        hashed_bytes: tally.hashed_bytes,
        cache: CacheUse {
            reused: tally.reused,
            rechecked: tally.rechecked,
            lied,
        },
    };
    Found {
        taken,
        records: tally.records,
        root,
        details: details.into_iter().map(|(_, details)| details).collect(),
        not_kept,
    }
}

/// Takes the directories in; gives the root's own details, and those that must be listed again.
fn enter(
    source: &Source<'_>,
    folders: Vec<Folder>,
    gathered: &mut Gathered,
) -> (Details, Vec<Folder>) {
    let look = |folder: &Folder| {
        let stat = folder.stat(source.root)?;
        let details = folder_details((folder, source), &stat);
        Ok((stat, details))
    };
    let states: Vec<_> = folders.par_iter().map(look).collect();
    let (mut root, mut doubtful) = (Details::default(), Vec::new());
    for (folder, state) in folders.into_iter().zip(states) {
        let (stat, details) = match state {
            Ok(state) => state,
            Err(problem) => {
                gathered.problems.push(problem);
                continue;
            }
        };
        let details = details.unwrap_or_else(|problem| {
            gathered.problems.push(problem);
            Details::of(&stat, Box::default())
        });
        match &folder.path {
            Some(path) => {
                let mode = mode_of(&stat);
                let entry = Entry::Directory { mode };
                gathered.entries.push((path.clone(), entry));
                if source.wanted.details {
                    gathered.details.push((path.clone(), details));
                }
            }
            None => root = details,
        }
        if folder.stamp != Stamp::of(&stat) || !folder.stamp.is_settled(source.started) {
            doubtful.push(folder);
        }
    }
    (root, doubtful)
}

/// Details of a directory, where they are wanted.
fn folder_details(
    (folder, source): (&Folder, &Source<'_>),
    stat: &rustix::fs::Stat,
) -> Result<Details, Problem> {
    use std::os::fd::AsFd;
    if !source.wanted.details {
        return Ok(Details::default());
    }
    let attributes = match &folder.path {
        None => attributes_of(source.root.as_descriptor()).map_err(Into::into),
        Some(path) => source
            .root
            .open_directory(path)
            .and_then(|directory| Ok(attributes_of(directory.as_fd())?)),
    };
    match attributes {
        Ok(attributes) => Ok(Details::of(stat, attributes)),
        Err(error) => Err(folder.unreadable(&error)),
    }
}

fn name_changes(
    place: (&Request<'_>, &Root),
    doubtful: &[Folder],
    found: (&[(RelPath, Entry)], &[Problem]),
) -> Vec<Problem> {
    let compare = |folder: &Folder| match folder.compare_names(place, found) {
        Ok(changes) => changes,
        Err(problem) => vec![problem],
    };
    doubtful.par_iter().flat_map_iter(compare).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests;
