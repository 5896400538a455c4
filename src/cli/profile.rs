//! `agp profile`: what stages take, and whether that is more than it was.

use clap::Args;

use super::args::KeyArgs;
use super::failure::Failure;
use super::measure::MeasureArgs;
use super::spine::{Conduct, Context, Done};

/// Run stages, measure what they and everything they start take, and find what holds them up
///
/// Without any stage, here or in the policy, this program's own work on the policy's targets is measured.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: agp profile --define-stage pack='make pack' --output profile.json"
)]
pub struct ProfileArgs {
    /// What to run.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where the secret comes from.
    #[command(flatten)]
    pub secret: KeyArgs,
}

impl ProfileArgs {
    /// How the spine treats it.
    pub fn conduct(&self) -> Conduct {
        Conduct {
            name: "profile",
            event: "profile.run",
            changes: true,
            reports_to_output: true,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What kept it from an answer.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        self.measure.run(context)
    }
}
