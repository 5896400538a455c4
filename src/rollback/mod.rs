//! Snapshots of trees, and putting them back: all or nothing, durable, undoable.
//!
//! [`save`](save::save) reads trees into a content-addressed store; restoring stages a tree beside
//! the live one, verifies it, and exchanges the two in one step. Knows nothing of flags, streams or
//! the other verbs.

mod commit;
mod drill;
mod error;
mod execute;
mod facts;
mod intent;
mod judge;
mod limit;
mod markdown;
mod objects;
mod plan;
mod playbook;
mod query;
mod restore;
mod retain;
mod run;
mod save;
mod snapshot;
mod stage;
mod store;
mod watch;

pub use commit::{Atomicity, Recovered};
pub use drill::{Drilled, Wanted};
pub use error::RollbackError;
pub use execute::{Executed, Outcome, Request as ExecuteRequest, Stopped, execute};
pub use limit::within;
pub use markdown::markdown;
pub use plan::{Aspect, Changes, Difference};
pub use playbook::{Playbook, PolicyFacts, Step, Trust, schema as playbook_schema};
pub use query::{Checked, Compared, Listed, Pruned};
pub use restore::{Preview, Request as RestoreRequest, Restored, RestoredTarget};
pub use run::{Hands, Request as RunRequest, RunOutcome, State as RunState, Worked, run};
pub use save::{Request as SaveRequest, Saved, shown};
pub use snapshot::{Reason, Seal, Snapshot, Target, schema as snapshot_schema};
pub use store::{Mark, Marks, Place};
pub use watch::{Changed, Watch};

use store::{Access, Store};

use crate::base::clock::Timestamp;
use crate::policy::RollbackPlaybook;
use crate::report::{Finding, codes};
use crate::seal::Keyring;

/// Takes a snapshot of one or more trees.
///
/// # Errors
/// Whatever cannot be read, held or written; then the store is as it was.
pub fn save(place: Place<'_>, request: &SaveRequest) -> Result<Saved, RollbackError> {
    save::save(&Store::open(place, Access::Write)?, request)
}

/// Takes a snapshot and makes the playbook that restores it; a copy of it is kept in the store.
///
/// # Errors
/// As [`save`](fn@save).
pub fn prepare(
    place: Place<'_>,
    request: &SaveRequest,
    (policy, source): (&RollbackPlaybook, PolicyFacts),
) -> Result<(Saved, Playbook), RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let saved = save::save(&store, request)?;
    let mut playbook = Playbook::make(
        &store,
        &playbook::Facts {
            snapshot: &saved.snapshot,
            policy,
            source,
            now: request.now,
        },
    );
    playbook.sign(place.secret().as_deref(), request.now);
    playbook.keep(&store)?;
    Ok((saved, playbook))
}

/// Rehearses a playbook's snapshot, and writes into the playbook what that found.
///
/// # Errors
/// As [`drill`].
pub fn rehearse(
    place: Place<'_>,
    playbook: &mut Playbook,
    now: Timestamp,
) -> Result<Drilled, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let drilled = drill::drill(&store, &playbook.id)?;
    playbook.rehearsed(&drilled, now);
    playbook.sign(place.secret().as_deref(), now);
    playbook.keep(&store)?;
    Ok(drilled)
}

/// Restores a snapshot: every target, or none.
///
/// # Errors
/// Whatever cannot be read, held, staged, verified or written; then no live tree was touched,
/// except where the error is [`RollbackError::Stuck`].
pub fn restore(place: Place<'_>, request: &RestoreRequest<'_>) -> Result<Restored, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let recovered = recover_or_replace(&store)?;
    let mut restored = restore::restore(&store, request)?;
    restored.findings.extend(recovered);
    Ok(restored)
}

/// Brings a killed restore to its end. One that cannot be finished is given up: a restore is the
/// way out of it.
fn recover_or_replace(store: &Store<'_>) -> Result<Option<Finding>, RollbackError> {
    match commit::recover(store) {
        Ok(recovered) => Ok(recovered.finding()),
        Err(RollbackError::Stuck(reason)) => {
            intent::Intent::set_aside(store)?;
            let text = format!("an earlier restore was given up: {reason}");
            Ok(Some(Finding::new(&codes::RESTORE_RECOVERED, text)))
        }
        Err(error) => Err(error),
    }
}

/// Says what a restore would change.
///
/// # Errors
/// Whatever cannot be read.
pub fn preview(place: Place<'_>, request: &RestoreRequest<'_>) -> Result<Preview, RollbackError> {
    restore::preview(&Store::open(place, Access::Read)?, request)
}

/// Finishes a governed command whose guardian was killed: its trees go back.
///
/// # Errors
/// What keeps them from going back.
pub fn recover_run(place: Place<'_>, now: Timestamp) -> Result<Option<Finding>, RollbackError> {
    match run::is_open(place) {
        true => run::recover(place, now),
        false => Ok(None),
    }
}

/// Whether a killed command left something to be brought to its end.
pub fn is_pending(place: Place<'_>) -> bool {
    intent::Intent::is_there(&place.store())
}

/// Brings what a killed command left to its end.
///
/// # Errors
/// What keeps it from its end.
pub fn recover(place: Place<'_>) -> Result<Recovered, RollbackError> {
    if !is_pending(place) {
        return Ok(Recovered::Nothing);
    }
    commit::recover(&Store::open(place, Access::Write)?)
}

/// Takes the newest restore back: what was there before it comes back, and what it created goes.
/// Taking that back again restores anew.
///
/// # Errors
/// As [`restore`]; also where nothing was restored.
pub fn undo(place: Place<'_>, request: &RestoreRequest<'_>) -> Result<Restored, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let recovered = recover_or_replace(&store)?;
    let record = restore::last_record(&store)?;
    let created: Vec<_> = record
        .created
        .iter()
        .map(|path| intent::unspelled(path))
        .collect();
    let request = RestoreRequest {
        snapshot: record.before.as_deref(),
        absent: &created,
        ..request.clone()
    };
    let mut restored = restore::restore(&store, &request)?;
    restored.findings.extend(recovered);
    Ok(restored)
}

/// All snapshots, the oldest first; none where there is no store.
///
/// # Errors
/// A store that cannot be read; a snapshot that cannot is told of in its line.
pub fn list(place: Place<'_>) -> Result<Vec<Listed>, RollbackError> {
    match place.store().is_dir() {
        true => query::list(&Store::open(place, Access::Read)?),
        false => Ok(Vec::new()),
    }
}

/// One snapshot by name, beginning, label, `last` or `last-good`.
///
/// # Errors
/// One that is not there or cannot be used.
pub fn show(place: Place<'_>, wanted: &str) -> Result<Listed, RollbackError> {
    let store = Store::open(place, Access::Read)?;
    let id = store.resolve(wanted)?;
    Ok(Listed {
        snapshot: Ok(store.load(&id)?),
        marks: store.marks(&id),
        id,
    })
}

/// Looks whether every snapshot can be restored; with `read_data` every object is read.
///
/// # Errors
/// A store that cannot be read at all.
pub fn check(place: Place<'_>, read_data: bool) -> Result<Checked, RollbackError> {
    query::check(&Store::open(place, Access::Read)?, read_data)
}

/// Compares a snapshot with another one, or with the present (`None`), in every respect.
///
/// # Errors
/// What is not there or cannot be read.
pub fn compare(
    place: Place<'_>,
    first: &str,
    second: Option<&str>,
) -> Result<Compared, RollbackError> {
    query::compare(&Store::open(place, Access::Read)?, first, second)
}

/// Removes snapshots older than the retention, and objects that nothing names any more.
///
/// # Errors
/// A clock that cannot be right, and what cannot be removed.
pub fn prune(
    place: Place<'_>,
    (now, retention_days): (Timestamp, u64),
    dry_run: bool,
) -> Result<Pruned, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    query::prune(&store, (now, retention_days), dry_run)
}

/// Prunes as [`prune`] where the oldest snapshot is older than that by its name, and reads nothing
/// otherwise.
///
/// # Errors
/// As [`prune`].
pub fn prune_expired(
    place: Place<'_>,
    (now, retention_days): (Timestamp, u64),
) -> Result<Pruned, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let limit = save::id_beginning(retain::limit(now, retention_days));
    match store.ids()?.first() {
        Some(oldest) if *oldest < limit => query::prune(&store, (now, retention_days), false),
        _ => Ok(Pruned::default()),
    }
}

/// Sets or removes a mark; gives the snapshot's full name.
///
/// # Errors
/// A snapshot that is not there.
pub fn mark(
    place: Place<'_>,
    (wanted, mark): (&str, Mark),
    set: bool,
) -> Result<String, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let id = store.resolve(wanted)?;
    store.mark(&id, mark, set)?;
    Ok(id)
}

/// Restores a snapshot to a scratch place, compares it in every respect, and says how long it took.
///
/// # Errors
/// As [`restore`].
pub fn drill(place: Place<'_>, wanted: &str) -> Result<Drilled, RollbackError> {
    drill::drill(&Store::open(place, Access::Write)?, wanted)
}

/// Gives what is wanted of a snapshot's trees, by the target's number and the path below it, for a
/// while, written to a place that only their owner can enter, in the order of its targets.
///
/// # Errors
/// What keeps them from being written.
pub fn lend<T>(
    place: Place<'_>,
    (snapshot, wanted): (&str, &Wanted<'_>),
    act: impl FnOnce(&[std::path::PathBuf]) -> T,
) -> Result<T, RollbackError> {
    drill::lend(&Store::open(place, Access::Write)?, (snapshot, wanted), act)
}

/// What there is to say of a snapshot's seal.
fn seal_findings((id, seal): (&str, Seal), keyring: Option<&Keyring>) -> Vec<Finding> {
    let finding = match seal {
        Seal::Good(_) => return Vec::new(),
        Seal::UnknownKey(key) => {
            let text = format!("it is sealed with key {key}, which is not at hand");
            Finding::new(&codes::SNAPSHOT_UNKNOWN_KEY, text)
        }
        // Without a key nobody expects a seal.
        Seal::None if keyring.is_none_or(Keyring::is_empty) => return Vec::new(),
        Seal::None => Finding::new(&codes::SNAPSHOT_UNSEALED, "it is not sealed"),
    };
    vec![finding.at(format!("snapshot {id}"))]
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]
mod tests;
