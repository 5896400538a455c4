//! What can be asked of a store: what it holds, whether it is whole, what differs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::error::RollbackError;
use super::objects::{Objects, ReadError, Wanted};
use super::plan::{self, Difference};
use super::restore::present;
use super::snapshot::{Seal, Snapshot};
use super::store::{Marks, Store};
use super::{commit, drill, playbook, retain, run, save};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::inventory::Entry;
use crate::report::{Finding, codes};

/// One line of the list.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// The snapshot and its seal; an error where it cannot be used.
    pub snapshot: Result<(Snapshot, Seal), RollbackError>,
    /// What stands beside it.
    pub marks: Marks,
}

/// All snapshots, the oldest first.
pub(super) fn list(store: &Store<'_>) -> Result<Vec<Listed>, RollbackError> {
    let listed = |id: String| Listed {
        snapshot: store.load(&id),
        marks: store.marks(&id),
        id,
    };
    Ok(store.ids()?.into_iter().map(listed).collect())
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Objects that they name.
    pub objects: u64,
    /// Bytes read from them, uncompressed.
    pub read_bytes: u64,
    /// Everything that is not as it was written.
    pub findings: Vec<Finding>,
}

/// Looks whether every snapshot can be restored; with `read_data` every object is read.
pub(super) fn check(store: &Store<'_>, read_data: bool) -> Result<Checked, RollbackError> {
    let mut checked = Checked::default();
    let mut wanted: HashMap<Digest, (u64, String)> = HashMap::new();
    for id in store.ids()? {
        checked.snapshots += 1;
        let (snapshot, seal) = match store.load(&id) {
            Ok(loaded) => loaded,
            Err(error) => {
                checked.findings.push(damaged(store, &id, &error));
                continue;
            }
        };
        let seal = super::seal_findings((&id, seal), store.place.keyring);
        checked.findings.extend(seal);
        for target in &snapshot.targets {
            for (path, entry) in target.inventory.iter() {
                if let Entry::File(file) = entry {
                    let first = || {
                        let place = save::below(&target.name, Some(path));
                        (file.size_bytes, format!("`{place}` of snapshot {id}"))
                    };
                    wanted.entry(file.sha256).or_insert_with(first);
                }
            }
        }
    }
    checked.objects = wanted.len() as u64;
    let (progress, objects) = (store.place.progress, &store.objects);
    progress
        .files_total
        .fetch_add(checked.objects, Ordering::Relaxed);
    let wanted: Vec<(Digest, (u64, String))> = wanted.into_iter().collect();
    let found = Mutex::new((Vec::new(), 0));
    wanted.par_chunks(64).for_each(|batch| {
        let mut buffer = Vec::new();
        for (digest, (size_bytes, first)) in batch {
            if progress.is_interrupted() {
                return;
            }
            let wanted = Wanted {
                digest: *digest,
                size_bytes: *size_bytes,
            };
            let result = match read_data {
                true => objects.read(&wanted, &mut |_| {}, &mut buffer),
                false => objects.find(digest).map(|_| ()),
            };
            progress.files_done.fetch_add(1, Ordering::Relaxed);
            let Ok(mut found) = found.lock() else { return };
            match result {
                Ok(()) if read_data => found.1 += size_bytes,
                Ok(()) => {}
                Err(error) => found
                    .0
                    .push(damaged_object(objects, (digest, first), &error)),
            }
        }
    });
    if progress.is_interrupted() {
        return Err(RollbackError::Interrupted);
    }
    let (findings, read_bytes) = found.into_inner().unwrap_or_default();
    checked.findings.extend(findings);
    checked.read_bytes = read_bytes;
    Ok(checked)
}

fn damaged_object(
    objects: &Objects,
    (digest, first): (&Digest, &str),
    error: &ReadError,
) -> Finding {
    let text = format!("{error}; {first} needs it");
    Finding::new(&codes::SNAPSHOT_DAMAGED, text).at(objects.shown(digest))
}

fn damaged(store: &Store<'_>, id: &str, error: &RollbackError) -> Finding {
    let path = store.file_of(id, "json").to_string_lossy().into_owned();
    match error {
        RollbackError::Forged { .. } => {
            Finding::new(&codes::SNAPSHOT_FORGED, "its MAC is not that of its key").at(path)
        }
        RollbackError::Damaged { reason, .. } => {
            Finding::new(&codes::SNAPSHOT_DAMAGED, reason.clone()).at(path)
        }
        other => Finding::new(&codes::SNAPSHOT_DAMAGED, other.to_string()).at(path),
    }
}

/// What two snapshots, or a snapshot and the present, do not have in common.
#[derive(Debug)]
pub struct Compared {
    /// Target's name and what differs in it, by target; targets of the first that the second does
    /// not have are left out and named here.
    pub targets: Vec<(String, Vec<Difference>)>,
    /// Targets that only one of the two has.
    pub unmatched: Vec<String>,
    /// Warnings.
    pub findings: Vec<Finding>,
}

impl Compared {
    /// Whether the two are the same in every respect.
    pub fn is_equal(&self) -> bool {
        let mut targets = self.targets.iter();
        self.unmatched.is_empty() && targets.all(|(_, differences)| differences.is_empty())
    }
}

/// Compares a snapshot with another one, or with the present (`None`).
pub(super) fn compare(
    store: &Store<'_>,
    first: &str,
    second: Option<&str>,
) -> Result<Compared, RollbackError> {
    let id = store.resolve(first)?;
    let (first, seal) = store.load(&id)?;
    let mut compared = Compared {
        targets: Vec::new(),
        unmatched: Vec::new(),
        findings: super::seal_findings((&id, seal), store.place.keyring),
    };
    let second = match second {
        None => None,
        Some(name) => {
            let id = store.resolve(name)?;
            let (snapshot, seal) = store.load(&id)?;
            let findings = super::seal_findings((&id, seal), store.place.keyring);
            compared.findings.extend(findings);
            Some(snapshot)
        }
    };
    for target in &first.targets {
        let found = match &second {
            None if target.path.is_dir() => Some(present(store, target)?),
            None => None,
            Some(second) => second
                .targets
                .iter()
                .find(|other| other.path == target.path)
                .cloned(),
        };
        match found {
            Some(found) => {
                let passed_over = [&target.incomplete[..], &found.incomplete[..]].concat();
                let differences = plan::differences(target, &found, &passed_over);
                compared.targets.push((target.name.clone(), differences));
            }
            None => compared.unmatched.push(target.name.clone()),
        }
    }
    for target in second.iter().flat_map(|second| &second.targets) {
        if !first.targets.iter().any(|other| other.path == target.path) {
            compared.unmatched.push(target.name.clone());
        }
    }
    Ok(compared)
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names of snapshots, the oldest first.
    pub removed: Vec<String>,
    /// Snapshots that stay.
    pub kept: u64,
    /// Objects that nothing names any more.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Restores whose failed trees left the quarantine, as folders, the oldest first.
    pub quarantined: Vec<PathBuf>,
    /// Why objects had to stay.
    pub findings: Vec<Finding>,
}

/// Removes what retention does not keep, and then what nothing names; a dry run only says so.
pub(super) fn prune(
    store: &Store<'_>,
    (now, retention_days): (Timestamp, u64),
    dry_run: bool,
) -> Result<Pruned, RollbackError> {
    let mut needed = playbook::needed(store, now)?;
    needed.extend(run::needed(store.place));
    let (mut candidates, mut pruned) = (Vec::new(), Pruned::default());
    for listed in list(store)? {
        match listed.snapshot {
            Ok((snapshot, _)) => candidates.push(retain::Candidate {
                needed: needed.contains(&listed.id),
                id: listed.id,
                created_at: snapshot.created_at,
                pinned: listed.marks.pinned,
                good: listed.marks.good,
            }),
            Err(error) => pruned.findings.push(damaged(store, &listed.id, &error)),
        }
    }
    let expired = retain::expired(&candidates, now, retention_days)
        .map_err(|error| RollbackError::Usage(error.to_string()))?;
    pruned.removed = expired
        .iter()
        .map(|at| candidates[*at].id.clone())
        .collect();
    pruned.kept = (candidates.len() - expired.len()) as u64;
    let limit = retain::limit(now, retention_days);
    // Where nothing is that young the clock may have jumped.
    if candidates.iter().any(|one| one.created_at >= limit) {
        pruned.quarantined = commit::quarantined(store, limit)?;
    }
    if dry_run {
        return Ok(pruned);
    }
    drill::clear(store)?;
    for id in &pruned.removed {
        store.remove(id)?;
    }
    if !pruned.removed.is_empty() {
        store.sync_names()?;
    }
    for tree in &pruned.quarantined {
        commit::remove_tree(tree)?;
    }
    if pruned.findings.is_empty() {
        let references = store.references()?;
        (pruned.objects, pruned.bytes) = store.collect(&references.digests)?;
        store.end_adding();
    }
    Ok(pruned)
}
