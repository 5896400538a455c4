//! `agp profile`: what runs took, and whether that is more than it was.

use clap::{Args, Subcommand};

use super::args::KeyArgs;
use super::failure::Failure;
use super::measure::MeasureArgs;
use super::past::{AcceptArgs, CompareArgs, HistoryArgs, JudgeArgs};
use super::spine::{Conduct, Context, Done};

/// Run stages, measure what they take, and judge that against the past
///
/// Everything that a stage starts is measured with it. Without any stage, here or in the policy, this
/// program's own work on the policy's targets is. The history of past runs is JSON Lines under the state
/// directory; only runs that passed, or that you accepted, are compared with.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: agp profile --define-stage pack='make pack' --output profile.json"
)]
pub struct ProfileArgs {
    /// What to run.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where the secret comes from.
    #[command(flatten)]
    pub secret: KeyArgs,
    /// What to do with past runs.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with past runs.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Judge numbers from stdin: is this slower than before?
    Judge(JudgeArgs),
    /// Print past runs as JSON Lines, the oldest first, or make their files smaller
    History(HistoryArgs),
    /// Put two runs side by side
    Compare(CompareArgs),
    /// Accept a run that was found slower: what it took is normal from now on
    Accept(AcceptArgs),
}

impl ProfileArgs {
    /// How the spine treats it.
    pub fn conduct(&self) -> Conduct {
        let (name, event, changes, reports_to_output) = match &self.action {
            None => ("profile", "profile.run", true, true),
            Some(Action::Judge(_)) => ("profile", "profile.judge", false, false),
            Some(Action::History(history)) if history.compacts() => {
                ("profile", "profile.compact", true, false)
            }
            Some(Action::History(_)) => ("profile", "profile.history", false, false),
            Some(Action::Compare(_)) => ("compare", "profile.compare", false, true),
            Some(Action::Accept(_)) => ("accept", "profile.accept", true, true),
        };
        Conduct {
            name,
            event,
            changes,
            reports_to_output,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What kept it from an answer.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        match &self.action {
            None => self.measure.run(context),
            Some(Action::Judge(arguments)) => arguments.run(context),
            Some(Action::History(arguments)) => arguments.run(context),
            Some(Action::Compare(arguments)) => arguments.run(context),
            Some(Action::Accept(arguments)) => arguments.run(context),
        }
    }
}
