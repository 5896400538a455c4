//! A snapshot's trees in a scratch place: to rehearse a restore, and to be looked at. No live tree is
//! touched.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::commit;
use super::error::RollbackError;
use super::restore;
use super::snapshot::{Snapshot, Target};
use super::stage;
use super::store::Store;
use crate::base::files;
use crate::base::relpath::RelPath;
use crate::report::Finding;

/// What a rehearsal found.
#[derive(Debug, Clone)]
pub struct Drilled {
    /// The snapshot's name.
    pub snapshot: String,
    /// From the first object read to the last byte durable.
    pub duration: Duration,
    /// What the restored trees and the snapshot do not have in common; one finding each.
    pub findings: Vec<Finding>,
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Whether an entry is wanted, by its target's number and the path below it.
pub type Wanted<'a> = dyn Fn(usize, &RelPath) -> bool + 'a;

/// Writes what is wanted of a snapshot's trees, by the target's number and the path below it, to a
/// scratch place for as long as `act` looks at them.
pub(super) fn lend<T>(
    store: &Store<'_>,
    (id, wanted): (&str, &Wanted<'_>),
    act: impl FnOnce(&[PathBuf]) -> T,
) -> Result<T, RollbackError> {
    let (snapshot, _) = store.load(id)?;
    let scratch = scratch(store)?;
    let build = |(index, target): (usize, &Target)| {
        let part = target.part(&|path| wanted(index, path));
        copy(store, &part, &scratch.join(index.to_string()))
    };
    let targets = snapshot.targets.iter().enumerate();
    let built: Result<Vec<PathBuf>, RollbackError> = targets.map(build).collect();
    let done = built.map(|trees| act(&trees));
    commit::remove_tree(&scratch)?;
    done
}

/// Writes one tree of a snapshot to a place where nothing is.
fn copy(store: &Store<'_>, target: &Target, staged: &Path) -> Result<PathBuf, RollbackError> {
    files::create_private_directory(staged)?;
    stage::build(&stage::Request {
        desired: target,
        live: None,
        staged,
        objects: &store.objects,
        progress: store.place.progress,
    })?;
    Ok(staged.to_owned())
}

/// The place for what is written only to be looked at; nobody else uses it while the store is locked.
fn scratch(store: &Store<'_>) -> Result<PathBuf, RollbackError> {
    let scratch = store.path.join("staging").join("scratch");
    // Somebody was killed while they looked.
    commit::remove_tree(&scratch)?;
    Ok(scratch)
}

/// Removes what a killed rehearsal left.
pub(super) fn clear(store: &Store<'_>) -> Result<(), RollbackError> {
    scratch(store).map(|_| ())
}

/// Restores a snapshot to a scratch place, compares every attribute, and removes it.
pub(super) fn drill(store: &Store<'_>, wanted: &str) -> Result<Drilled, RollbackError> {
    let id = store.resolve(wanted)?;
    let (snapshot, seal) = store.load(&id)?;
    let scratch = scratch(store)?;
    let mut drilled = Drilled {
        findings: super::seal_findings((&id, seal), store.place.keyring),
        snapshot: id,
        duration: Duration::ZERO,
        files: 0,
        bytes: 0,
    };
    let done = drill_all(store, (&snapshot, &scratch), &mut drilled);
    commit::remove_tree(&scratch)?;
    done.map(|()| drilled)
}

fn drill_all(
    store: &Store<'_>,
    (snapshot, scratch): (&Snapshot, &Path),
    drilled: &mut Drilled,
) -> Result<(), RollbackError> {
    for (index, target) in snapshot.targets.iter().enumerate() {
        let began = Instant::now();
        let staged = copy(store, target, &scratch.join(index.to_string()))?;
        stage::sync(&staged)?;
        drilled.duration += began.elapsed();
        let findings = restore::unlike(store, (target, &staged))?;
        drilled.findings.extend(findings);
        let totals = target.inventory.totals();
        drilled.files += totals.files;
        drilled.bytes += totals.size_bytes;
    }
    Ok(())
}
