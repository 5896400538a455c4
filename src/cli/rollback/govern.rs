//! `agp rollback run`: a command whose trees go back when it fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use super::act::{self, failure, report};
use super::scan::Scan;
use super::{RunArgs, body::RollbackBody};
use crate::cli::failure::{Failure, Kind};
use crate::cli::keys;
use crate::cli::spine::{self, Context};
use crate::inventory::Globs;
use crate::process::{self, Governed, Identity};
use crate::report::Report;
use crate::rollback::{
    self, Hands, Reason, RestoreRequest, RunOutcome, RunRequest, RunState, SaveRequest,
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
        patterns: &policy.critical_failure_patterns,
        confirmations: policy.confirmations,
        limit: Duration::try_from_secs_f64(policy.rollback_timeout_seconds)
            .unwrap_or(Duration::MAX),
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
    let scan = Scan::wanted(context)?;
    let mut behind = BTreeMap::new();
    let mut look = |snapshot: &str| {
        let Some(scan) = &scan else {
            return Ok(Vec::new());
        };
        let found = scan.new_ones((&arguments.target_dirs, snapshot));
        let (found, explanations) = found.map_err(|failure| words(&failure))?;
        behind.extend(explanations);
        Ok(found)
    };
    let hands = Hands {
        runner: &mut runner,
        scan: &mut look,
    };
    let checks = arguments.check.len();
    let outcome = rollback::run(place, (&request, checks), hands).map_err(failure)?;
    told(outcome).map(|report| report.with_explanations(behind))
}

fn words(failure: &Failure) -> String {
    let first = failure.findings.first();
    first.map_or(String::new(), |finding| finding.message.clone())
}

fn told(outcome: RunOutcome) -> Result<Report, Failure> {
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
    if outcome.interrupted && outcome.state != RunState::RollbackFailed {
        let mut failure = spine::interrupted();
        for finding in &mut failure.findings {
            finding.message = format!(
                "{}; {text} (snapshot `{}`)",
                finding.message, outcome.snapshot
            );
        }
        return Err(failure);
    }
    let mut body: RollbackBody = act::body("run", status);
    let headline = format!(
        "{text} ({}; snapshot `{}`)",
        outcome.ended, outcome.snapshot
    );
    body.summary.snapshot = Some(outcome.snapshot);
    Ok(report(headline, outcome.findings, &body))
}
