//! `agp rollback`: snapshots, and putting them back.

mod act;
mod body;
mod govern;
mod playbook;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{Command, KeyArgs};
use super::failure::{Failure, Kind};
use super::spine::{Conduct, Context, Done};
use crate::base::clock;
use crate::report::Finding;
use crate::rollback::{self, Place};

pub(super) use act::failure;
pub use body::RollbackBody;
pub(super) use govern::{interrupted_run, status_of};

/// Take snapshots of trees, put them back all or nothing, and undo that
///
/// A snapshot keeps every file, link, directory and FIFO with owners, modes, times, attributes and hard links,
/// in `snapshots/` under the state directory. A restore stages the whole tree beside the live one, verifies it, and
/// exchanges the two in one step; what was there before is kept for `undo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a subcommand: takes a snapshot of `--target-dirs` and writes the playbook that restores it to `--output`.\n\nExample: agp rollback --target-dirs output config --output rollback_playbook.json"
)]
pub struct RollbackArgs {
    /// Take in these trees, none inside another
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub target_dirs: Vec<PathBuf>,
    /// How to take the snapshot.
    #[command(flatten)]
    pub take: TakeArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// How to take a snapshot.
#[derive(Debug, Args)]
pub struct TakeArgs {
    /// Call the snapshot this
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Keep the snapshot whatever its age
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

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Take a snapshot of one or more trees
    Snapshot(SnapshotArgs),
    /// Run a command, and put the trees back when it fails or a check does
    Run(RunArgs),
    /// Put a snapshot's trees back: all of them, or none
    Restore(RestoreArgs),
    /// Take the newest restore back
    Undo(UndoArgs),
    /// List the snapshots, the oldest first
    List(KeyArgs),
    /// Show a snapshot, or a playbook for a person on call
    Show(ShowArgs),
    /// Compare a snapshot with another one, or with the trees as they are now
    Diff(DiffArgs),
    /// Find out whether every snapshot can be restored
    Check(CheckArgs),
    /// Rehearse: restore to a scratch place, compare, and write into the playbook how long it took
    Drill(DrillArgs),
    /// Run a playbook, verify each step, and go on where the last run stopped
    Execute(ExecuteArgs),
    /// Bring to its end what a killed command had begun
    Recover(KeyArgs),
    /// Remove snapshots and quarantined trees older than the policy's `backup_retention_days`
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
    /// How to take it.
    #[command(flatten)]
    pub take: TakeArgs,
}

/// Flags of `agp rollback run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The trees go back when the command fails, is signalled or takes too long, when a check that passed before fails after it, and for what the policy's `critical_failure_patterns` name. Rolled back is never success: the exit code is 1, 18 (too long) or 19 (guard finds what it did not find before, or something is open that was not), and 2 where the trees could not be put back.\n\nExample: agp rollback run --target-dirs output --check './check.sh' -- make assets"
)]
pub struct RunArgs {
    /// Take in these trees, none inside another
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub target_dirs: Vec<PathBuf>,
    /// Let the command change only what matches (`*`, `?` and `**`); repeatable [default:
    /// rollback_playbook.allow_change of the policy, or everything]
    #[arg(long, value_name = "GLOB")]
    pub allow_change: Vec<String>,
    /// Run this before and after the command, with /bin/sh; it counts when it passed before and fails after; repeatable
    #[arg(long, value_name = "CMD")]
    pub check: Vec<String>,
    /// Stop the command after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// How to take the snapshot.
    #[command(flatten)]
    pub take: TakeArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
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
    /// Go on although something that is there now cannot be kept for `undo`
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

/// Flags of `agp rollback show`.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp rollback show rollback_playbook.json --format markdown")]
pub struct ShowArgs {
    /// A playbook's file; or a snapshot's name or its beginning, a label, `last` or `last-good`
    #[arg(value_name = "SNAPSHOT|PLAYBOOK")]
    pub what: PathBuf,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback execute`.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp rollback execute rollback_playbook.json --approve")]
pub struct ExecuteArgs {
    /// The playbook's file
    #[arg(value_name = "PLAYBOOK")]
    pub playbook: PathBuf,
    /// Begin at this step, whatever was done before
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,
    /// Say that you did what a step asks of a person, and agree where one asks for it
    #[arg(long)]
    pub approve: bool,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// Flags of `agp rollback drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// A playbook's file; or a snapshot's name or its beginning, a label, `last` or `last-good`
    #[arg(value_name = "SNAPSHOT|PLAYBOOK", default_value = "last")]
    pub what: PathBuf,
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
            None => ("rollback.playbook", true),
            Some(Action::Snapshot(_)) => ("rollback.snapshot", true),
            Some(Action::Run(_)) => ("rollback.run", true),
            Some(Action::Restore(restore)) => ("rollback.restore", !restore.dry_run),
            Some(Action::Undo(_)) => ("rollback.undo", true),
            Some(Action::List(_)) => ("rollback.list", false),
            Some(Action::Show(_)) => ("rollback.show", false),
            Some(Action::Diff(_)) => ("rollback.diff", false),
            Some(Action::Check(_)) => ("rollback.check", false),
            Some(Action::Drill(_)) => ("rollback.drill", true),
            Some(Action::Execute(_)) => ("rollback.execute", true),
            Some(Action::Recover(_)) => ("rollback.recover", true),
            Some(Action::Prune(prune)) => ("rollback.prune", !prune.dry_run),
            Some(Action::Pin(_)) => ("rollback.pin", true),
            Some(Action::Unpin(_)) => ("rollback.unpin", true),
        };
        Conduct {
            name: "rollback",
            event,
            changes,
            // Without a subcommand the playbook goes there.
            reports_to_output: self.action.is_some(),
        }
    }

    /// Whether it sees itself to what a killed restore left.
    fn finishes_pending(&self) -> bool {
        matches!(
            &self.action,
            Some(Action::Recover(_) | Action::Restore(_) | Action::Undo(_))
        )
    }

    /// The files that it reads.
    pub fn reads(&self) -> impl Iterator<Item = &PathBuf> {
        let playbook = match &self.action {
            Some(Action::Show(arguments)) => Some(&arguments.what),
            Some(Action::Drill(arguments)) => Some(&arguments.what),
            Some(Action::Execute(arguments)) => Some(&arguments.playbook),
            _ => None,
        };
        self.key().key_file.iter().chain(playbook)
    }

    /// The key flags.
    pub fn key(&self) -> &KeyArgs {
        match &self.action {
            None => &self.take.key,
            Some(Action::Snapshot(arguments)) => &arguments.take.key,
            Some(Action::Run(arguments)) => &arguments.take.key,
            Some(Action::Restore(arguments)) => &arguments.how.key,
            Some(Action::Undo(arguments)) => &arguments.how.key,
            Some(Action::List(key) | Action::Recover(key)) => key,
            Some(Action::Pin(arguments) | Action::Unpin(arguments)) => &arguments.key,
            Some(Action::Show(arguments)) => &arguments.key,
            Some(Action::Diff(arguments)) => &arguments.key,
            Some(Action::Check(arguments)) => &arguments.key,
            Some(Action::Drill(arguments)) => &arguments.key,
            Some(Action::Execute(arguments)) => &arguments.key,
            Some(Action::Prune(arguments)) => &arguments.key,
        }
    }

    /// Whether a flag stands before the subcommand that belongs behind it, or nothing is asked for.
    fn check(&self) -> Result<(), Failure> {
        let (take, key) = (&self.take, &self.take.key);
        let flags = [
            take.pin,
            take.paranoid,
            take.allow_incomplete,
            key.key_stdin,
        ];
        let any = flags.contains(&true)
            || !self.target_dirs.is_empty()
            || take.label.is_some()
            || key.key_file.is_some()
            || key.key_command.is_some();
        match (&self.action, self.target_dirs.is_empty()) {
            (Some(_), _) if any => {
                let text = "flags of a subcommand stand before it";
                Err(Failure::because(Kind::Usage, text).with_hint("put them behind it"))
            }
            (None, true) => {
                let text = "no target is named";
                let hint = "name trees with `--target-dirs`, or see `agp rollback --help`";
                Err(Failure::because(Kind::Usage, text).with_hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever kept it from its end; then no live tree was touched, unless the finding says so.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        self.check()?;
        let _bar = context.show_progress();
        match &self.action {
            None => playbook::prepare((&self.target_dirs, &self.take), context),
            Some(Action::Run(arguments)) => govern::run(arguments, context).map(Done::Report),
            Some(Action::Show(arguments)) => playbook::show(arguments, context).map(Done::Report),
            Some(Action::Drill(arguments)) => playbook::drill(arguments, context).map(Done::Report),
            Some(Action::Execute(arguments)) => {
                playbook::execute(arguments, context).map(Done::Report)
            }
            Some(action) => act::act(action, context).map(Done::Report),
        }
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
    if !changes {
        return Ok(None);
    }
    if !itself && let Some(found) = rollback::recover(place).map_err(act::failure)?.finding() {
        return Ok(Some(found));
    }
    rollback::recover_run(place, clock::now()).map_err(act::failure)
}
