//! What signing and verifying share: taking a tree's inventory, with or without the cache, or out of the parts
//! of others.

use std::path::Path;

use crate::base::digest::Digest;
use crate::base::naming::{below, shown};
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::base::units;
use crate::inventory::{
    self, Cache, CacheUse, ChangeKind, Entry, Inventory, Problem, ProblemKind, Share, TakeError,
    Taken,
};
use crate::report::{Finding, codes};
use crate::seal::Secret;

/// A directory of digest caches, and the secret that they are sealed with.
pub(super) type CacheOf<'a> = Option<(&'a Path, &'a Secret)>;

/// What the shards of a tree have read.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Every entry that has no problem.
    pub inventory: &'a Inventory,
    /// What could not be read.
    pub problems: &'a [Problem],
    /// Whether their digests are believed; otherwise everything is read again and must agree.
    pub are_believed: bool,
}

/// What a shard has read of a tree.
#[derive(Debug)]
pub struct Shared {
    /// Everything that it walked; files of other shards have the digest [`inventory::NOT_READ`].
    pub taken: Taken,
    /// One digest over the walk, the same for every shard.
    pub walk: Digest,
}

/// Reads a shard of a tree. No time later than `latest_seconds` is part of the walk; with `None`, no time is.
pub(super) fn share(
    request: &inventory::Request<'_>,
    (shard, latest_seconds): (Shard, Option<u64>),
) -> Result<Shared, TakeError> {
    let taken = inventory::take_share(request, Share::Own(shard))?;
    let walk = inventory::survey(request, &taken, latest_seconds);
    Ok(Shared { taken, walk })
}

/// Takes an inventory out of the parts of others: walks the tree, and holds what is seen of it against what they
/// saw. What differs is a problem.
pub(super) fn take_parts(
    request: &inventory::Request<'_>,
    parts: &Parts<'_>,
    latest_seconds: Option<u64>,
) -> Result<Taken, TakeError> {
    let share = match parts.are_believed {
        true => Share::Known(parts.inventory),
        false => Share::All,
    };
    let mut taken = inventory::take_share(request, share)?;
    let is_exempt = |path: &RelPath| request.exempt.iter().any(|exempt| path.is_within(exempt));
    let told = parts.problems.iter().filter(|problem| {
        let path = problem.path.as_ref();
        path.is_none_or(|path| !is_exempt(path))
    });
    let told: Vec<Problem> = told.cloned().collect();
    let changes = inventory::diff(parts.inventory, &taken.inventory).into_iter();
    let changes =
        changes.filter(|change| change.kind != ChangeKind::Missing || !is_exempt(change.path));
    let mut changed: Vec<Problem> = changes
        .map(|change| unstable(change.path, reason(change.kind)))
        .collect();
    if let Some(latest) = latest_seconds {
        let both = taken.inventory.iter().filter_map(|(path, entry)| {
            Some((
                path,
                modified(entry)?,
                modified(parts.inventory.get(path)?)?,
            ))
        });
        let moved = both.filter(|(_, now, then)| now.min(&latest) != then.min(&latest));
        changed.extend(
            moved.map(|(path, ..)| unstable(path, "its time is not the one that its shard saw")),
        );
    }
    // What a shard could not read is its problem first, and only then a difference.
    taken.add_problems(told);
    taken.add_problems(changed);
    Ok(taken)
}

fn modified(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::File(file) => Some(file.modified_seconds),
        Entry::Symlink(link) => Some(link.modified_seconds),
        Entry::Directory { .. } | Entry::Special(_) => None,
    }
}

fn unstable(path: &RelPath, reason: &str) -> Problem {
    Problem {
        path: Some(path.clone()),
        kind: ProblemKind::Unstable,
        reason: reason.to_owned(),
    }
}

fn reason(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Modified => "its content is not what its shard read",
        ChangeKind::Missing => "a shard saw it, and it is not there",
        ChangeKind::Unlisted => "it is there, and no shard saw it",
        ChangeKind::TypeChanged { .. } => "it became something else since its shard saw it",
        ChangeKind::ModeChanged { .. } => "its mode is not the one that its shard saw",
    }
}

/// Takes an inventory, through the cache where one is given; says what there is to say of it.
pub(super) fn take(
    request: &inventory::Request<'_>,
    cache: CacheOf<'_>,
) -> Result<(Taken, Vec<Finding>), TakeError> {
    let mut findings = Vec::new();
    let Some((directory, secret)) = cache else {
        return Ok((inventory::take(request, None)?, findings));
    };
    let mac = |bytes: &[u8]| Secret::mac_of_cache(Some(secret), bytes).0;
    let place = units::printable(&directory.to_string_lossy()).into_owned();
    let mut discard = |reason: String| {
        findings.push(Finding::new(&codes::CACHE_DISCARDED, reason).at(place.clone()));
    };
    let mut cache = Cache::load(directory, request.root, &mac);
    if let Some(reason) = cache.discarded() {
        discard(reason.to_owned());
    }
    let taken = inventory::take(request, Some(&mut cache))?;
    if let Err(error) = cache.save() {
        discard(error.in_full());
    }
    if let Some(path) = &taken.cache.lied {
        let lied = Finding::new(&codes::CACHE_MISMATCH, CacheUse::LIE);
        findings.push(lied.at(below(&shown(request.root), path)));
    }
    Ok((taken, findings))
}

/// What the walk could not take in, as findings.
pub fn problem_findings(problems: &[Problem], root: &str) -> Vec<Finding> {
    let finding = |problem: &Problem| {
        let code = match problem.kind {
            ProblemKind::Unreadable => &codes::FILE_UNREADABLE,
            ProblemKind::Unstable => &codes::FILE_UNSTABLE,
        };
        let path = problem
            .path
            .as_ref()
            .map_or_else(|| root.to_owned(), |path| below(root, path));
        Finding::new(code, problem.reason.clone()).at(path)
    };
    problems.iter().map(finding).collect()
}
