//! `agp rollback run`: a command whose trees go back when it fails.

use std::ffi::OsString;
use std::time::Duration;

use super::act::{self, failure, report};
use super::{RunArgs, body::RollbackBody};
use crate::cli::failure::{Failure, Kind};
use crate::cli::keys;
use crate::cli::spine::Context;
use crate::inventory::Globs;
use crate::policy::FailurePattern;
use crate::process::{self, Governed, Identity};
use crate::report::Report;
use crate::rollback::{
    self, Reason, RestoreRequest, RunOutcome, RunRequest, RunState, SaveRequest,
};

/// Runs the command.
pub(super) fn run(arguments: &RunArgs, context: &Context<'_>) -> Result<Report, Failure> {
    let place = act::place(context)?;
    let policy = &context.policy.policy.rollback_playbook;
    let patterns = match arguments.allow_change.is_empty() {
        true => &policy.allow_change,
        false => &arguments.allow_change,
    };
    let allow_change =
        Globs::compile(patterns).map_err(|error| Failure::new(Kind::Usage, error))?;
    let save = act::save_request((&arguments.target_dirs, &arguments.take), context);
    let request = RunRequest {
        save: SaveRequest {
            reason: Reason::BeforeRun,
            ..save
        },
        allow_change: &allow_change,
        corruption: policy
            .critical_failure_patterns
            .contains(&FailurePattern::DataCorruption),
        automatic: policy.auto_rollback_on_failure,
        restore: RestoreRequest {
            snapshot: None,
            absent: &[],
            targets: &[],
            include: Globs::default(),
            keep_failed: policy.keep_failed,
            verify: policy.rollback_verification,
            allow_incomplete: arguments.take.allow_incomplete,
            now: context.started_at,
            audit_head: context.audit_head.clone(),
        },
    };
    let hidden = keys::hidden_variables(&context.policy.policy);
    let stdout = context.stdout_of_children();
    let mut runner = |check: Option<usize>, started: &mut dyn FnMut(Identity)| {
        let argv = match check.and_then(|check| arguments.check.get(check)) {
            Some(script) => ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
            None => arguments.command.clone(),
        };
        let governed = Governed {
            argv: &argv,
            hidden: &hidden,
            timeout: arguments.timeout.map(Duration::from_secs),
            interrupted: &context.progress.interrupted,
            stdout: stdout.as_ref(),
        };
        process::govern(&governed, started)
    };
    let checks = arguments.check.len();
    rollback::run(place, (&request, checks), &mut runner)
        .map(told)
        .map_err(failure)
}

fn told(outcome: RunOutcome) -> Report {
    let (status, text) = match outcome.state {
        RunState::Committed => ("committed", "the command succeeded"),
        RunState::RolledBack => (
            "rolled_back",
            "rolled back: the trees are what they were before the command",
        ),
        RunState::LeftAsItIs => (
            "left_as_it_is",
            "something is wrong, and the policy wants nothing rolled back",
        ),
        _ => ("rollback_failed", "the rollback failed"),
    };
    let mut body: RollbackBody = act::body("run", status);
    let headline = format!(
        "{text} ({}; snapshot `{}`)",
        outcome.ended, outcome.snapshot
    );
    body.summary.snapshot = Some(outcome.snapshot);
    report(headline, outcome.findings, &body)
}
