//! What a rollback report holds.

use schemars::JsonSchema;
use serde::Serialize;

use crate::rollback::{Atomicity, Changes, Difference, Listed, Playbook, Reason, Seal};

/// The sections of a rollback report; those that an action does not fill are empty.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RollbackBody {
    /// All together.
    pub summary: Summary,
    /// Snapshots: the one taken or shown, or all of them, the oldest first.
    pub snapshots: Vec<SnapshotLine>,
    /// Trees that were replaced, or would be.
    pub targets: Vec<TargetLine>,
    /// What two trees do not have in common, sorted by target and path.
    pub differences: Vec<DifferenceLine>,
    /// The playbook that is shown.
    pub playbook: Option<Playbook>,
    /// Steps of a playbook that are done, now or in an earlier execution.
    pub steps_done: Vec<String>,
}

/// All together.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// The subcommand.
    pub action: String,
    /// In plain words: `saved`, `restored`, `nothing to recover`, …
    pub status: String,
    /// The snapshot that it is about; null where it is about several or none.
    pub snapshot: Option<String>,
    /// The snapshot of what was there before, for `undo`; null where there is none.
    pub before: Option<String>,
    /// Regular files taken in, written or looked at.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Objects that the store did not have, or that were removed from it.
    pub objects: u64,
    /// Bytes of them as they are stored.
    pub object_bytes: u64,
    /// Files that were not read, since nothing about them changed.
    pub reused: u64,
    /// What the restore proper took, from the first object to the last durable byte; null where
    /// nothing was measured.
    pub measured_seconds: Option<f64>,
}

/// One snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SnapshotLine {
    /// Its name.
    pub id: String,
    /// When it was taken, RFC 3339, UTC.
    pub created_at: String,
    /// What the user called it.
    pub label: Option<String>,
    /// Why it was taken: `asked`, `before_restore` or `before_run`.
    pub reason: String,
    /// Whether retention keeps it.
    pub pinned: bool,
    /// Whether all its checks passed.
    pub good: bool,
    /// The key that sealed it; null where it was written without one.
    pub key_id: Option<String>,
    /// Whether that key was at hand.
    pub authentic: bool,
    /// Its trees.
    pub targets: Vec<SnapshotTarget>,
}

/// One tree in a snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SnapshotTarget {
    /// As it was named.
    pub target: String,
    /// Where it was.
    pub absolute_path: String,
    /// SHA-256 over paths, kinds, modes and contents.
    pub root_digest: String,
    /// Regular files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Paths that could not be taken in.
    pub incomplete: Vec<String>,
}

/// One tree that was replaced, or would be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TargetLine {
    /// As it was named.
    pub target: String,
    /// What changes.
    pub changes: Changes,
    /// How it was replaced; null where it was not.
    pub atomicity: Option<Atomicity>,
    /// The digest of the tree that is there now; null where nothing was done.
    pub root_digest: Option<String>,
}

/// One path at which two trees differ.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DifferenceLine {
    /// The target's name.
    pub target: String,
    /// The path below it; empty for the target's own directory.
    pub path: String,
    /// `missing`, `extra`, `type`, `content`, `mode`, `owner`, `time`, `attributes`, `links`.
    pub aspects: Vec<String>,
}

impl SnapshotLine {
    /// A line for a snapshot that can be used; `None` for another.
    pub fn of(listed: &Listed) -> Option<Self> {
        let (snapshot, seal) = listed.snapshot.as_ref().ok()?;
        let (key_id, authentic) = match seal {
            Seal::Good(id) => (Some(id.to_string()), true),
            Seal::UnknownKey(id) => (Some(id.to_string()), false),
            Seal::None => (None, false),
        };
        let reason = match snapshot.reason {
            Reason::Asked => "asked",
            Reason::BeforeRestore => "before_restore",
            Reason::BeforeRun => "before_run",
        };
        let target = |target: &crate::rollback::Target| {
            let totals = target.inventory.totals();
            SnapshotTarget {
                target: target.name.clone(),
                absolute_path: target.path.to_string_lossy().into_owned(),
                root_digest: target.root_digest().to_string(),
                files: totals.files,
                bytes: totals.size_bytes,
                incomplete: target.incomplete.iter().map(ToString::to_string).collect(),
            }
        };
        Some(Self {
            id: snapshot.id.clone(),
            created_at: snapshot.created_at.to_seconds_string(),
            label: snapshot.label.clone(),
            reason: reason.to_owned(),
            pinned: listed.marks.pinned,
            good: listed.marks.good,
            key_id,
            authentic,
            targets: snapshot.targets.iter().map(target).collect(),
        })
    }
}

impl DifferenceLine {
    /// A line for a difference.
    pub fn of(target: &str, difference: &Difference) -> Self {
        let words = difference
            .aspects
            .iter()
            .map(|aspect| aspect.word().to_owned());
        Self {
            target: target.to_owned(),
            path: difference
                .path
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            aspects: words.collect(),
        }
    }
}
