//! What a tree is to become, and what tells two trees apart. Pure; knows no disk.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::snapshot::Target;
use crate::base::relpath::RelPath;
use crate::inventory::{Details, Entry, Globs, Inventory};

/// What is different at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path; `None` is the target's own directory.
    pub path: Option<RelPath>,
    /// In which respects, not empty; only one of the first three stands alone.
    pub aspects: Vec<Aspect>,
}

/// A respect in which two trees differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Expected and not found.
    Missing,
    /// Found and not expected.
    Extra,
    /// Another type of entry.
    Type,
    /// Another content, or another target of a link.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Time of the last change of content.
    Time,
    /// Extended attributes or ACLs.
    Attributes,
    /// Which names are one file.
    Links,
}

impl Aspect {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Attributes => "attributes",
            Self::Links => "links",
        }
    }
}

/// Compares two trees in every respect that a snapshot keeps, sorted by path. `passed_over` are
/// paths that nothing is known of.
pub(super) fn differences(
    expected: &Target,
    found: &Target,
    passed_over: &[RelPath],
) -> Vec<Difference> {
    let mut all = Vec::new();
    let aspects = metadata(&expected.root, &found.root);
    if !aspects.is_empty() {
        all.push(Difference {
            path: None,
            aspects,
        });
    }
    let is_known = |path: &RelPath| !passed_over.iter().any(|over| path.is_within(over));
    let mut left = expected.entries().peekable();
    let mut right = found.entries().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, ..)), Some((b, ..))) => a.cmp(b),
        };
        let expected = if order.is_le() { left.next() } else { None };
        let found = if order.is_ge() { right.next() } else { None };
        let (path, aspects) = match (expected, found) {
            (Some((path, a, of_a)), Some((_, b, of_b))) => (path, compare((a, of_a), (b, of_b))),
            (Some((path, ..)), None) => (path, vec![Aspect::Missing]),
            (None, Some((path, ..))) => (path, vec![Aspect::Extra]),
            (None, None) => return all,
        };
        if !aspects.is_empty() && is_known(path) {
            let path = Some(path.clone());
            all.push(Difference { path, aspects });
        }
    }
}

fn compare((a, of_a): (&Entry, &Details), (b, of_b): (&Entry, &Details)) -> Vec<Aspect> {
    if a.kind() != b.kind() {
        return vec![Aspect::Type];
    }
    let mut aspects = Vec::new();
    let is_other = match (a, b) {
        (Entry::File(a), Entry::File(b)) => (a.size_bytes, a.sha256) != (b.size_bytes, b.sha256),
        (Entry::Symlink(a), Entry::Symlink(b)) => a.target != b.target,
        _ => false,
    };
    if is_other {
        aspects.push(Aspect::Content);
    }
    aspects.extend(metadata(of_a, of_b));
    if of_a.inode_shared != of_b.inode_shared {
        aspects.push(Aspect::Links);
    }
    aspects
}

fn metadata(a: &Details, b: &Details) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    if a.mode != b.mode {
        aspects.push(Aspect::Mode);
    }
    if (a.user, a.group) != (b.user, b.group) {
        aspects.push(Aspect::Owner);
    }
    if a.modified != b.modified {
        aspects.push(Aspect::Time);
    }
    if a.attributes != b.attributes {
        aspects.push(Aspect::Attributes);
    }
    aspects
}

/// What a target becomes where only some paths are restored: those out of the snapshot, together
/// with the directories that they lie in where these are not there; everything else stays.
pub(super) fn merge(snapshot: &Target, live: &Target, include: &Globs) -> Target {
    let mut merged: BTreeMap<&RelPath, (&Entry, Details)> = BTreeMap::new();
    for (path, entry, details) in live.entries() {
        if !include.excludes(path) {
            // Groups of the two trees must not meet: even numbers here, odd ones there.
            let number = details.inode_shared.map(|number| number * 2);
            let details = Details {
                inode_shared: number,
                ..details.clone()
            };
            merged.insert(path, (entry, details));
        }
    }
    let is_directory = |entry: &Entry| matches!(entry, Entry::Directory { .. });
    let from_snapshot = |path: &RelPath| {
        let at = snapshot.inventory.position(path)?;
        let (path, entry) = snapshot.inventory.nth(at)?;
        Some((path, entry, snapshot.details.get(at)?.clone()))
    };
    for (path, entry, details) in snapshot.entries() {
        if !include.excludes(path) {
            continue;
        }
        let mut above = path.parent();
        while let Some(parent) = above {
            if !merged
                .get(&parent)
                .is_some_and(|(entry, _)| is_directory(entry))
                && let Some((path, entry, details)) = from_snapshot(&parent)
            {
                merged.insert(path, (entry, details));
            }
            above = parent.parent();
        }
        let number = details.inode_shared.map(|number| number * 2 + 1);
        let details = Details {
            inode_shared: number,
            ..details.clone()
        };
        merged.insert(path, (entry, details));
    }
    let (mut entries, mut all) = (Vec::new(), Vec::new());
    for (path, (entry, details)) in merged {
        entries.push((path.clone(), entry.clone()));
        all.push(details);
    }
    renumber(&mut all);
    Target {
        // Sorted and unique, coming out of a map.
        inventory: Inventory::from_entries(entries).unwrap_or_default(),
        details: all,
        root: live.root.clone(),
        ..snapshot.clone()
    }
}

/// Numbers groups of hard links anew, from 1 in the order of the paths; a group of one is none.
fn renumber(details: &mut [Details]) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for number in details.iter().filter_map(|details| details.inode_shared) {
        *counts.entry(number).or_default() += 1;
    }
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    for details in details {
        let Some(number) = details.inode_shared else {
            continue;
        };
        let next = numbers.len() as u64 + 1;
        details.inode_shared =
            (counts.get(&number) > Some(&1)).then(|| *numbers.entry(number).or_insert(next));
    }
}

/// How a target's paths fare in a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Changes {
    /// Entries that are not there now.
    pub created: u64,
    /// Entries that get another content or type.
    pub replaced: u64,
    /// Entries of which only mode, owner, time or attributes change.
    pub adjusted: u64,
    /// Entries that are there now and will not be.
    pub removed: u64,
}

/// Counts what changes when a live tree becomes `desired`.
pub(super) fn changes(desired: &Target, live: &Target, passed_over: &[RelPath]) -> Changes {
    let mut changes = Changes::default();
    for difference in differences(desired, live, passed_over) {
        match difference.aspects[0] {
            Aspect::Missing => changes.created += 1,
            Aspect::Extra => changes.removed += 1,
            Aspect::Type | Aspect::Content => changes.replaced += 1,
            _ => changes.adjusted += 1,
        }
    }
    changes
}
