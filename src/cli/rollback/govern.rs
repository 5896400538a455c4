//! `agp rollback run`: a command whose trees go back when it fails.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::act::{self, failure, report};
use super::{RunArgs, body::RollbackBody};
use crate::cli::failure::{Failure, Kind};
use crate::cli::keys;
use crate::cli::scan::Scan;
use crate::cli::spine::{self, Context};
use crate::guard;
use crate::inventory::Globs;
use crate::policy::FailurePattern;
use crate::process::{self, Ended, Governed, Identity, QueryError};
use crate::report::{Explanation, Finding, Report, Verdict};
use crate::rollback::{
    self, Hands, Reason, RunOutcome, RunRequest, RunState, SaveRequest, Watch, Worked,
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
    let save = SaveRequest {
        reason: Reason::BeforeRun,
        ..save
    };
    let request = RunRequest::by(policy, save, &allow_change);
    let mut hands = Governing {
        arguments,
        hidden: keys::hidden_variables(&context.policy.policy),
        stdout: context.stdout_of_children(),
        interrupted: &context.progress.interrupted,
        scan: policy
            .critical_failure_patterns
            .contains(&FailurePattern::SecurityViolation)
            .then(|| Scan::new(context))
            .transpose()?,
        behind: BTreeMap::new(),
    };
    let checks = arguments.check.len();
    let outcome = rollback::run(place, (&request, checks), &mut hands).map_err(failure)?;
    told(outcome).map(|report| report.with_explanations(hands.behind))
}

/// One command between a snapshot and its checks.
struct Governing<'a> {
    arguments: &'a RunArgs,
    hidden: Vec<OsString>,
    stdout: Option<OwnedFd>,
    interrupted: &'a AtomicBool,
    scan: Option<Scan<'a>>,
    /// What stands behind the rules of findings.
    behind: BTreeMap<String, Explanation>,
}

impl Governing<'_> {
    fn govern(
        &self,
        argv: &[OsString],
        started: &mut dyn FnMut(Identity),
    ) -> Result<Ended, QueryError> {
        let governed = Governed {
            argv,
            hidden: &self.hidden,
            timeout: self.arguments.timeout.map(Duration::from_secs),
            interrupted: self.interrupted,
            exceeded: None,
            stdout: self.stdout.as_ref(),
        };
        process::govern(&governed, started)
    }
}

impl Hands for Governing<'_> {
    fn work(&mut self, _: &str, started: &mut dyn FnMut(Identity)) -> Result<Worked, String> {
        let ended = self.govern(&self.arguments.command, started);
        let ended = ended.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        Ok(Worked::of("the command", ended))
    }

    fn check(&mut self, number: usize) -> Result<Ended, QueryError> {
        let script = self.arguments.check.get(number);
        let script = script.ok_or(QueryError::Empty)?;
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        self.govern(&argv, &mut |_| {})
    }

    fn judge(&mut self, snapshot: &str, _: Option<&Watch>) -> Result<Vec<Finding>, String> {
        let Some(scan) = &self.scan else {
            return Ok(Vec::new());
        };
        let looked = scan.look((&self.arguments.target_dirs, snapshot), (None, None));
        let looked = looked.map_err(|failure| failure.message().to_owned())?;
        self.behind.extend(guard::behind(scan.pack(), &looked.new));
        Ok(looked.new)
    }

    /// Trees are sealed by `agp run`.
    fn seal(&mut self, _: Option<&Watch>) -> Result<Vec<Finding>, String> {
        Ok(Vec::new())
    }

    fn fires(&self, finding: &Finding) -> bool {
        finding.verdict != Verdict::Pass
    }
}

/// What a run came to, as a word and for people.
pub(in crate::cli) fn status_of(state: RunState) -> (&'static str, &'static str) {
    match state {
        RunState::Committed => ("committed", "the command succeeded"),
        RunState::RolledBack => (
            "rolled_back",
            "rolled back: the trees are what they were before",
        ),
        RunState::LeftAsItIs => (
            "left_as_it_is",
            "something is wrong, and the policy wants nothing rolled back",
        ),
        _ => ("rollback_failed", "the rollback failed"),
    }
}

/// The failure of a run that somebody interrupted, unless what came of it is worse.
pub(in crate::cli) fn interrupted_run(outcome: &RunOutcome, text: &str) -> Option<Failure> {
    if !outcome.interrupted || outcome.state == RunState::RollbackFailed {
        return None;
    }
    let mut failure = spine::interrupted();
    for finding in &mut failure.findings {
        finding.message = format!(
            "{}; {text} (snapshot `{}`)",
            finding.message, outcome.snapshot
        );
    }
    Some(failure)
}

fn told(outcome: RunOutcome) -> Result<Report, Failure> {
    let (status, text) = status_of(outcome.state);
    if let Some(failure) = interrupted_run(&outcome, text) {
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
