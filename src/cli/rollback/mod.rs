//! `agp rollback`: snapshots, and putting them back.

mod act;
mod body;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{Command, KeyArgs};
use super::failure::Failure;
use super::spine::{Conduct, Context, Done};
use crate::report::Finding;
use crate::rollback::{self, Place, Recovered};

pub use body::RollbackBody;

/// Take snapshots of trees, put them back all or nothing, and undo that
///
/// A snapshot keeps every file, link, directory and FIFO with owners, modes, times, attributes and hard links,
/// in `snapshots/` under the state directory. A restore stages the whole tree beside the live one, verifies it, and
/// exchanges the two in one step; what was there before is kept for `undo`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example: agp rollback snapshot --target-dirs output config --label before-release"
)]
pub struct RollbackArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Take a snapshot of one or more trees
    Snapshot(SnapshotArgs),
    /// Put a snapshot's trees back: all of them, or none
    Restore(RestoreArgs),
    /// Take the newest restore back
    Undo(UndoArgs),
    /// List the snapshots, the oldest first
    List(KeyArgs),
    /// Show one snapshot
    Show(OneArgs),
    /// Compare a snapshot with another one, or with the trees as they are now
    Diff(DiffArgs),
    /// Find out whether every snapshot can be restored
    Check(CheckArgs),
    /// Restore a snapshot to a scratch place, compare it, and say how long it took
    Drill(DrillArgs),
    /// Bring to its end what a killed command had begun
    Recover(KeyArgs),
    /// Remove snapshots older than the policy's `backup_retention_days`
    Prune(PruneArgs),
    /// Keep a snapshot whatever its age
    Pin(OneArgs),
    /// Let a snapshot go with the others of its age
    Unpin(OneArgs),
}

/// Flags of `agp rollback snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Take in these trees, none inside another
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub target_dirs: Vec<PathBuf>,
    /// Call it this
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Keep it whatever its age
    #[arg(long)]
    pub pin: bool,
    /// Read every file, whatever its times say
    #[arg(long)]
    pub paranoid: bool,
    /// Leave out what cannot be read or kept, and say so; a restore will not touch it
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback restore`.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp rollback restore last-good --yes")]
pub struct RestoreArgs {
    /// A snapshot's name or its beginning, a label, `last` or `last-good`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Put back only this target; repeatable
    #[arg(long, value_name = "DIR")]
    pub target: Vec<PathBuf>,
    /// Put back only what matches, and leave everything else (`*`, `?` and `**`); repeatable
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to go about it.
    #[command(flatten)]
    pub how: HowArgs,
}

/// Flags of everything that replaces trees.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Keep the trees that are replaced in quarantine, where only their owner can enter
    #[arg(long)]
    pub keep_failed: bool,
    /// Give up what is there now and cannot be kept for `undo`
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// How to go about it.
    #[command(flatten)]
    pub how: HowArgs,
}

/// One snapshot.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// A snapshot's name or its beginning, a label, `last` or `last-good`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// A snapshot's name or its beginning, a label, `last` or `last-good`
    #[arg(value_name = "SNAPSHOT", default_value = "last")]
    pub snapshot: String,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// What is expected: a snapshot
    #[arg(value_name = "S1")]
    pub first: String,
    /// What is found: a snapshot, or `live` for the trees as they are now
    #[arg(value_name = "S2", default_value = "live")]
    pub second: String,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read every object and compare it with its digest
    #[arg(long)]
    pub read_data: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

impl RollbackArgs {
    /// How the spine treats it.
    pub fn conduct(&self) -> Conduct {
        let (event, changes) = match &self.action {
            Action::Snapshot(_) => ("rollback.snapshot", true),
            Action::Restore(restore) => ("rollback.restore", !restore.dry_run),
            Action::Undo(_) => ("rollback.undo", true),
            Action::List(_) => ("rollback.list", false),
            Action::Show(_) => ("rollback.show", false),
            Action::Diff(_) => ("rollback.diff", false),
            Action::Check(_) => ("rollback.check", false),
            Action::Drill(_) => ("rollback.drill", true),
            Action::Recover(_) => ("rollback.recover", true),
            Action::Prune(prune) => ("rollback.prune", !prune.dry_run),
            Action::Pin(_) => ("rollback.pin", true),
            Action::Unpin(_) => ("rollback.unpin", true),
        };
        Conduct {
            name: "rollback",
            event,
            changes,
            reports_to_output: true,
        }
    }

    /// Whether it sees itself to what a killed restore left.
    fn finishes_pending(&self) -> bool {
        matches!(
            &self.action,
            Action::Recover(_) | Action::Restore(_) | Action::Undo(_)
        )
    }

    /// The key flags.
    pub fn key(&self) -> &KeyArgs {
        match &self.action {
            Action::Snapshot(arguments) => &arguments.key,
            Action::Restore(arguments) => &arguments.how.key,
            Action::Undo(arguments) => &arguments.how.key,
            Action::List(key) | Action::Recover(key) => key,
            Action::Show(arguments) | Action::Pin(arguments) | Action::Unpin(arguments) => {
                &arguments.key
            }
            Action::Diff(arguments) => &arguments.key,
            Action::Check(arguments) => &arguments.key,
            Action::Drill(arguments) => &arguments.key,
            Action::Prune(arguments) => &arguments.key,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever kept it from its end; then no live tree was touched, unless the finding says so.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let _bar = context.show_progress();
        act::act(&self.action, context).map(Done::Report)
    }
}

/// Brings a restore that was killed to its end before another command changes anything; gives what
/// there is to say of it.
pub(super) fn finish_pending(
    command: &Command,
    changes: bool,
    place: Place<'_>,
) -> Result<Option<Finding>, Failure> {
    let itself = matches!(command, Command::Rollback(arguments) if arguments.finishes_pending());
    match changes && !itself {
        true => rollback::recover(place)
            .map(Recovered::finding)
            .map_err(act::failure),
        false => Ok(None),
    }
}
