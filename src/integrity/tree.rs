//! What signing and verifying share: taking a tree's inventory, with or without the cache, and
//! naming what is in it as a user would type it.

use std::path::Path;

use crate::base::files;
use crate::base::relpath::RelPath;
use crate::base::units;
use crate::inventory::{self, Cache, ProblemKind, TakeError, Taken};
use crate::report::{Finding, codes};
use crate::seal::Secret;

/// The domain of the cache's MAC, apart from every payload type.
const CACHE_TYPE: &str = "application/vnd.agp.digest-cache.v1";

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
    let mac = |bytes: &[u8]| secret.mac_of(CACHE_TYPE, bytes).0;
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

/// The path of a file below a root, by what both really are; `None` where it lies elsewhere.
pub fn path_within(root: &Path, file: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    let directory = files::parent_of(file).canonicalize().ok()?;
    let path = directory.join(file.file_name()?);
    let below = path
        .strip_prefix(root.canonicalize().ok()?)
        .ok()?
        .to_owned();
    RelPath::parse(below.as_os_str().as_bytes()).ok()
}

/// A path as one would type it, without a leading `./`.
pub fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    match path.to_string_lossy().into_owned() {
        shown if shown.is_empty() => ".".to_owned(),
        shown => shown,
    }
}

/// An entry's path as one would type it.
pub(super) fn below(root: &str, path: &RelPath) -> String {
    match root {
        "." => path.to_string(),
        "/" => format!("/{path}"),
        _ => format!("{root}/{path}"),
    }
}

/// What the walk could not take in, as findings.
pub(super) fn problem_findings(problems: &[inventory::Problem], root: &str) -> Vec<Finding> {
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
