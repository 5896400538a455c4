//! What signing and verifying share: taking a tree's inventory, with or without the cache.

use std::path::Path;

use crate::base::naming::{below, shown};
use crate::base::units;
use crate::inventory::{self, Cache, ProblemKind, TakeError, Taken};
use crate::report::{Finding, codes};
use crate::seal::Secret;

/// A directory of digest caches, and the secret that they are sealed with.
pub(super) type CacheOf<'a> = Option<(&'a Path, &'a Secret)>;

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
        discard(format!("{error}: {}", error.source));
    }
    if let Some(path) = &taken.cache.lied {
        let text = "the digest cache had another digest than the file";
        findings
            .push(Finding::new(&codes::CACHE_MISMATCH, text).at(below(&shown(request.root), path)));
    }
    Ok((taken, findings))
}

/// What the walk could not take in, as findings.
pub fn problem_findings(problems: &[inventory::Problem], root: &str) -> Vec<Finding> {
    let finding = |problem: &inventory::Problem| {
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
