//! The checks of a verification that need no disk: consistency, and two inventories compared.
//! Pure; the order in which they are made is [`super::verify`]'s.

use super::Sealed;
use super::manifest::Summary;
use super::section::Counters;
use super::terms::Terms;
use crate::base::digest::Digest;
use crate::base::files;
use crate::base::naming::below;
use crate::base::relpath::RelPath;
use crate::inventory::{self, ChangeKind, Entry, Globs, Inventory, ProblemKind};
use crate::report::{Finding, codes};

/// What a manifest under a good signature says against itself.
pub(super) fn check_consistency(
    sealed: &Sealed,
    own: Option<&RelPath>,
    terms: &Terms,
) -> Vec<Finding> {
    let manifest = &sealed.manifest;
    let inventory = &manifest.inventory;
    let mut texts = Vec::new();
    if manifest.content_hash().ok() != Some(sealed.signature.content_hash) {
        texts.push("`content_hash` is not the hash of the content".to_owned());
    }
    if Summary::of(inventory) != manifest.summary {
        texts.push("`summary` does not count what the manifest lists".to_owned());
    }
    let orphan = |path: &RelPath| {
        path.parent()
            .is_some_and(|parent| !matches!(inventory.get(&parent), Some(Entry::Directory { .. })))
    };
    let mut parent_seen: Option<RelPath> = None;
    for (path, _) in inventory.iter() {
        // Neighbours mostly share their parent, so most look-ups are saved.
        let parent = path.parent();
        if parent != parent_seen {
            if orphan(path) {
                texts.push(format!(
                    "`{path}` lies in a directory that the manifest does not list"
                ));
                break;
            }
            parent_seen = parent;
        }
    }
    let options = &manifest.options;
    let excludes = Globs::compile(&options.exclude).unwrap_or_default();
    let left_out = |path: &RelPath| {
        options
            .exempt
            .iter()
            .chain(own)
            .any(|exempt| path.is_within(exempt))
            || excludes.excludes(path)
    };
    if let Some((path, _)) = inventory.iter().find(|(path, _)| left_out(path)) {
        texts.push(format!("`{path}` is listed and left out both"));
    }
    let mut findings: Vec<_> = texts
        .into_iter()
        .map(|text| Finding::new(&codes::MANIFEST_INCONSISTENT, text))
        .collect();
    if inventory.is_empty() && !terms.allow_empty {
        findings.push(Finding::new(
            &codes::MANIFEST_EMPTY,
            "the manifest lists nothing",
        ));
    }
    findings
}

/// Counts what the walk could not take in.
pub(super) fn count_problems(problems: &[inventory::Problem], counters: &mut Counters) {
    for problem in problems {
        match problem.kind {
            ProblemKind::Unreadable => counters.unreadable += 1,
            ProblemKind::Unstable => counters.unstable += 1,
        }
    }
}

/// The differences as findings. What could not be read is not also called missing.
pub(super) fn compare(
    expected: &Inventory,
    taken: &inventory::Taken,
    (root, counters): (&str, &mut Counters),
) -> Vec<Finding> {
    let unknown = |path: &RelPath| {
        taken.problems.iter().any(|problem| match &problem.path {
            Some(problem) => path.is_within(problem),
            None => true,
        })
    };
    let mut findings = Vec::new();
    let mut bad: Option<&RelPath> = None;
    counters.checked = expected.len() as u64;
    let mut not_ok = 0;
    for change in inventory::diff(expected, &taken.inventory) {
        if bad != Some(change.path) && change.kind != ChangeKind::Unlisted {
            not_ok += 1;
        }
        bad = Some(change.path);
        if unknown(change.path) {
            continue;
        }
        let (counter, code, text) = match change.kind {
            ChangeKind::Modified => (
                &mut counters.modified,
                &codes::FILE_MODIFIED,
                modified_text(expected, taken, change.path),
            ),
            ChangeKind::Missing => (
                &mut counters.missing,
                &codes::FILE_MISSING,
                "signed, and not there".into(),
            ),
            ChangeKind::Unlisted => {
                let kind = taken
                    .inventory
                    .get(change.path)
                    .map_or("entry", |entry| entry.kind().name());
                (
                    &mut counters.unlisted,
                    &codes::FILE_UNLISTED,
                    format!("{kind} that was not signed"),
                )
            }
            ChangeKind::TypeChanged { expected, found } => (
                &mut counters.type_changed,
                &codes::FILE_TYPE_CHANGED,
                format!("was a {}, is a {}", expected.name(), found.name()),
            ),
            ChangeKind::ModeChanged { expected, found } => (
                &mut counters.mode_changed,
                &codes::FILE_MODE_CHANGED,
                format!("mode was {expected:04o}, is {found:04o}"),
            ),
        };
        *counter += 1;
        let finding = Finding::new(code, text).at(below(root, change.path));
        let is_left =
            code == &codes::FILE_UNLISTED && files::looks_temporary(change.path.as_path());
        findings.push(match is_left {
            true => finding.with_hint(
                "a command that was killed may have left it: look at it, then remove it",
            ),
            false => finding,
        });
    }
    counters.ok = counters.checked.saturating_sub(not_ok);
    findings
}

fn modified_text(expected: &Inventory, taken: &inventory::Taken, path: &RelPath) -> String {
    match (expected.get(path), taken.inventory.get(path)) {
        (Some(Entry::File(signed)), Some(Entry::File(found)))
            if signed.size_bytes == found.size_bytes =>
        {
            format!(
                "content changed: SHA-256 was {}…, is {}…",
                short(&signed.sha256),
                short(&found.sha256)
            )
        }
        (Some(Entry::File(signed)), Some(Entry::File(found))) => {
            format!(
                "content changed: was {} bytes, is {}",
                signed.size_bytes, found.size_bytes
            )
        }
        _ => "the link points elsewhere".into(),
    }
}

/// The first digits of a digest, for people.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}
