//! `agp guard`: finds what should not be in a tree.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::KeyArgs;
use super::failure::{Failure, Kind};
use super::spine::{self, Context, Done};
use crate::base::units;
use crate::guard::{self, Coverage, Evaluation, GuardError, Request, Scanner};
use crate::report::{Report, Resource};

/// Find secrets, suspicious files, unauthorized operations and configuration violations
///
/// Looks into every file of the targets, hidden and ignored ones included. Exit code 19 is a
/// violation at or above the level that the policy enforces.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: agp guard --config config/assets_quality_policy.json --target ./assets --output policy_report.json"
)]
pub struct GuardArgs {
    /// What to do with rules instead of scanning.
    #[command(subcommand)]
    pub command: Option<GuardCommand>,
    /// Scan these files and folders [default: .]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub target: Vec<PathBuf>,
    /// Where the secret comes from.
    #[command(flatten)]
    pub key: KeyArgs,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// List, explain and test rules
    Rules(RulesArgs),
}

/// Rules.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: RulesAction,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesAction {
    /// Run every rule on its examples and counter-examples
    Test,
}

/// The sections of a guard report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GuardBody {
    /// Counts.
    pub summary: GuardSummary,
    /// What was looked at.
    pub coverage: Coverage,
}

/// Counts.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct GuardSummary {
    /// Findings that count.
    pub findings: u64,
}

impl GuardArgs {
    /// Scans.
    ///
    /// # Errors
    /// What keeps the whole from being answered.
    pub fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        if let Some(GuardCommand::Rules(rules)) = &self.command {
            return rules.run();
        }
        let here = [PathBuf::from(".")];
        let pack = guard::shipped().map_err(|error| failure(GuardError::Rules(error)))?;
        let scanner = Scanner::new(pack).map_err(|error| Failure::new(Kind::Input, error))?;
        let _bar = context.show_progress();
        let request = Request {
            targets: if self.target.is_empty() {
                &here
            } else {
                &self.target
            },
            policy: &context.policy.policy,
            scanner: &scanner,
            progress: context.progress,
            state_dir: &context.state_dir,
        };
        let evaluation = guard::evaluate(&request).map_err(failure)?;
        Ok(Done::Report(report(&request, evaluation)))
    }
}

impl RulesArgs {
    fn run(&self) -> Result<Done, Failure> {
        let pack = guard::shipped().map_err(|error| failure(GuardError::Rules(error)))?;
        match self.action {
            RulesAction::Test => {
                pack.check_patterns()
                    .map_err(|error| failure(GuardError::Rules(error)))?;
                let problems = pack.trials();
                match problems.is_empty() {
                    true => Ok(Done::Told(format!(
                        "{} hold",
                        units::count(pack.rules.len() as u64, "rule")
                    ))),
                    false => Err(Failure::because(Kind::Input, problems.join("; "))),
                }
            }
        }
    }
}

fn failure(error: GuardError) -> Failure {
    match error {
        GuardError::Interrupted | GuardError::Take(crate::inventory::TakeError::Interrupted) => {
            spine::interrupted()
        }
        GuardError::Rules(_) | GuardError::Exclude(_) => Failure::new(Kind::Policy, error),
        GuardError::Take(_) => Failure::new(Kind::Input, error),
    }
}

fn report(request: &Request<'_>, evaluation: Evaluation) -> Report {
    let Evaluation { findings, coverage } = evaluation;
    let headline = format!(
        "{} in {}, {}",
        units::count(findings.len() as u64, "finding"),
        units::count(coverage.files, "file"),
        units::bytes(coverage.bytes)
    );
    let resources = request.targets.iter().map(|target| Resource {
        path: crate::base::units::printable(&target.to_string_lossy()).into_owned(),
        access: "read",
        sha256: None,
    });
    let body = GuardBody {
        summary: GuardSummary {
            findings: findings.len() as u64,
        },
        coverage,
    };
    Report::new("guard", headline, findings)
        .with_body(&body)
        .with_resources(resources.collect())
}
