//! The checks of a verification that need no disk: consistency, times, and two inventories
//! compared. Pure; the order in which they are made is [`super::verify`]'s.

use super::manifest::Summary;
use super::section::Counters;
use super::tree::below;
use super::verify::Terms;
use super::{Manifest, Sealed};
use crate::base::digest::Digest;
use crate::base::relpath::RelPath;
use crate::base::units;
use crate::inventory::{self, ChangeKind, Entry, Globs, Inventory, ProblemKind};
use crate::report::{Code, Finding, codes};

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

/// What is wrong with a manifest's times and numbers.
pub(super) fn check_times(sealed: &Sealed, terms: &Terms) -> Vec<Finding> {
    let (manifest, signed_at) = (&sealed.manifest, sealed.signature.signed_at);
    let mut findings = Vec::new();
    let mut found = |code: &'static Code, text: String| findings.push(Finding::new(code, text));
    let latest = terms
        .now
        .plus_seconds(i64::try_from(terms.clock_skew_seconds).unwrap_or(i64::MAX));
    if signed_at < manifest.created_at {
        found(
            &codes::TIME_REVERSED,
            "`signed_at` is before `created_at`".into(),
        );
    }
    for (field, time) in [
        ("created_at", manifest.created_at),
        ("signed_at", signed_at),
    ] {
        if time > latest {
            let time = time.to_seconds_string();
            found(
                &codes::TIME_FUTURE,
                format!("`{field}` is {time}, in the future"),
            );
        }
    }
    if let Some(expires_at) = manifest.expires_at
        && terms.now > expires_at
    {
        found(
            &codes::TIME_EXPIRED,
            format!("expired at {}", expires_at.to_seconds_string()),
        );
    }
    if let Some(days) = terms.age_days_max {
        let limit_seconds = i64::try_from(days)
            .unwrap_or(i64::MAX)
            .saturating_mul(86_400);
        if terms.now > signed_at.plus_seconds(limit_seconds) {
            let signed_at = signed_at.to_seconds_string();
            let text = format!(
                "signed {signed_at}, the policy allows {}",
                units::count(days, "day")
            );
            found(&codes::TIME_TOO_OLD, text);
        }
    }
    findings.extend(check_replay(manifest, terms));
    findings
}

/// A good manifest of another tree, or one that a newer has replaced.
fn check_replay(manifest: &Manifest, terms: &Terms) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |code: &'static Code, text: String| findings.push(Finding::new(code, text));
    let (subject, sequence) = (&manifest.subject, manifest.sequence);
    if let Some(asked) = terms.subject.as_ref().filter(|asked| *asked != subject) {
        found(
            &codes::REPLAY_OTHER_SUBJECT,
            format!("the manifest is about `{subject}`, `{asked}` was asked for"),
        );
    }
    if let Some(least) = terms.sequence_min.filter(|least| sequence < *least) {
        found(
            &codes::REPLAY_OLD_SEQUENCE,
            format!("sequence {sequence}, at least {least} was asked for"),
        );
    }
    if let Some(highest) = terms
        .sequences
        .highest(subject)
        .filter(|highest| sequence < *highest)
    {
        found(
            &codes::REPLAY_OLD_SEQUENCE,
            format!("sequence {sequence} of `{subject}`, {highest} was seen before"),
        );
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
        findings.push(Finding::new(code, text).at(below(root, change.path)));
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
