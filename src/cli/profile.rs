//! `agp profile`: what runs took, and whether that is more than it was.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::past::{AcceptArgs, CompareArgs, HistoryArgs, JudgeArgs};
use super::spine::{Conduct, Context, Done};

/// Judge what runs took against the past
///
/// The history of past runs is JSON Lines under the state directory. Only runs that passed, or that you
/// accepted, are compared with.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
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
            Action::Judge(_) => ("profile", "profile.judge", false, false),
            Action::History(history) if history.compacts() => {
                ("profile", "profile.compact", true, false)
            }
            Action::History(_) => ("profile", "profile.history", false, false),
            Action::Compare(_) => ("compare", "profile.compare", false, true),
            Action::Accept(_) => ("accept", "profile.accept", true, true),
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
            Action::Judge(arguments) => arguments.run(context),
            Action::History(arguments) => arguments.run(context),
            Action::Compare(arguments) => arguments.run(context),
            Action::Accept(arguments) => arguments.run(context),
        }
    }
}
