//! The playbook at the command line: made, shown, rehearsed, executed.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Parser;

use super::act::{self, failure, report};
use super::{Action, DrillArgs, ExecuteArgs, ShowArgs, TakeArgs};
use crate::base::files;
use crate::base::units;
use crate::cli::args::{Cli, Command};
use crate::cli::exit;
use crate::cli::failure::{Failure, Kind};
use crate::cli::spine::{Context, Done};
use crate::report::{Finding, Report, codes};
use crate::rollback::{
    self, ExecuteRequest, Executed, Outcome, Place, Playbook, PolicyFacts, Step, Stopped, Trust,
};

/// The guide's call: takes a snapshot and writes the playbook that restores it.
pub(super) fn prepare(
    (targets, take): (&[PathBuf], &TakeArgs),
    context: &Context<'_>,
) -> Result<Done, Failure> {
    let place = act::place(context)?;
    let request = act::save_request((targets, take), context);
    let source = PolicyFacts {
        source: context.policy.source.to_string(),
        sha256: context.policy.sha256,
    };
    let policy = (&context.policy.policy.rollback_playbook, source);
    let (saved, playbook) = rollback::prepare(place, &request, policy).map_err(failure)?;
    let mut report = act::saved_report(saved, (take, place))?;
    let failed: Vec<&str> = playbook
        .preconditions
        .iter()
        .filter(|one| one.result_now == "failed")
        .map(|one| &*one.check)
        .collect();
    let output = context.global.output.as_deref();
    let text = playbook.to_text();
    let place = match output.filter(|_| !context.global.output_is_stdout()) {
        Some(path) => {
            write(path, &text)?;
            format!("`{}`", units::printable(&path.to_string_lossy()))
        }
        None => "the store".to_owned(),
    };
    report.headline.push_str(&format!("; playbook in {place}"));
    if !failed.is_empty() {
        let text = format!("does not hold now: {}", failed.join(", "));
        report
            .findings
            .push(Finding::new(&codes::PLAYBOOK_PRECONDITION, text));
    }
    match context.global.output_is_stdout() {
        true => Ok(Done::Streamed(
            report,
            Box::new(move |out| out.write_all(&text)),
        )),
        false => Ok(Done::Written(report)),
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    files::write_atomic(path, 0o644, |out| out.write_all(text))
        .map_err(|error| Failure::new(Kind::Output, error))
}

/// Whether a word names a playbook's file rather than a snapshot.
fn is_playbook(what: &str) -> bool {
    Path::new(what).is_file()
}

/// A playbook that can be trusted as far as a key can tell, and what to say of it.
fn read(path: &Path, place: Place<'_>) -> Result<(Playbook, Vec<Finding>), Failure> {
    let (playbook, trust) = Playbook::read(path, place).map_err(|error| match error {
        rollback::RollbackError::Forged { path } => {
            let text = "its signature does not match";
            Failure::of(
                Kind::Input,
                Finding::new(&codes::PLAYBOOK_FORGED, text).at(path),
            )
        }
        other => failure(other),
    })?;
    let mut findings = Vec::new();
    if trust == Trust::Unsigned {
        let text = "it is not signed, so that nobody can tell whether it was changed";
        findings.push(Finding::new(&codes::PLAYBOOK_UNSIGNED, text).at(path.to_string_lossy()));
    }
    Ok((playbook, findings))
}

/// Shows a playbook or a snapshot.
pub(super) fn show(arguments: &ShowArgs, context: &Context<'_>) -> Result<Done, Failure> {
    let place = act::place(context)?;
    if !is_playbook(&arguments.what) {
        let listed = rollback::show(place, &arguments.what).map_err(failure)?;
        return Ok(Done::Report(act::show_report(&listed)));
    }
    let (playbook, findings) = read(Path::new(&arguments.what), place)?;
    if arguments.markdown || context.global.wants_markdown() {
        let page = rollback::markdown(&playbook);
        return Ok(Done::Data(Box::new(move |out| {
            out.write_all(page.as_bytes())
        })));
    }
    let mut body = act::body("show", "shown");
    body.summary.snapshot = Some(playbook.id.clone());
    let steps: Vec<String> = playbook
        .steps
        .iter()
        .map(|step| format!("  {}: {}", step.id, step.title))
        .collect();
    body.playbook = Some(playbook);
    let headline = format!("playbook `{}`", arguments.what);
    Ok(Done::Report(
        report(headline, findings, &body).with_text(steps.join("\n")),
    ))
}

/// Rehearses a snapshot, or a playbook and writes into it what that found.
pub(super) fn drill(arguments: &DrillArgs, context: &Context<'_>) -> Result<Report, Failure> {
    let place = act::place(context)?;
    if !is_playbook(&arguments.what) {
        let drilled = rollback::drill(place, &arguments.what).map_err(failure)?;
        return Ok(act::drill_report(drilled));
    }
    let path = Path::new(&arguments.what);
    let (mut playbook, findings) = read(path, place)?;
    let mut drilled =
        rollback::rehearse(place, &mut playbook, context.started_at).map_err(failure)?;
    write(path, &playbook.to_text())?;
    drilled.findings.extend(findings);
    Ok(act::drill_report(drilled))
}

/// Runs a playbook.
pub(super) fn execute(arguments: &ExecuteArgs, context: &Context<'_>) -> Result<Report, Failure> {
    let place = act::place(context)?;
    let (playbook, mut findings) = read(&arguments.playbook, place)?;
    if playbook.has_expired(context.started_at) {
        let text = format!(
            "it expired {}, and its snapshot with it",
            playbook.expires_at
        );
        let finding = Finding::new(&codes::PLAYBOOK_INVALID, text);
        return Err(Failure::of(
            Kind::Input,
            finding.at(arguments.playbook.to_string_lossy()),
        ));
    }
    let request = ExecuteRequest {
        from: arguments.from.as_deref(),
        approved: arguments.approve,
    };
    let mut run = |step: &Step| within_time(step, context);
    let executed = rollback::execute(place, (&playbook, &request), &mut run).map_err(failure)?;
    let (status, headline) = told(&executed, &playbook, &mut findings);
    let mut body = act::body("execute", status);
    body.summary.snapshot = Some(playbook.id.clone());
    body.steps_done = executed.done;
    Ok(report(headline, findings, &body))
}

/// The status and headline of an execution; adds what kept it from its end.
fn told(
    executed: &Executed,
    playbook: &Playbook,
    findings: &mut Vec<Finding>,
) -> (&'static str, String) {
    for (step, reason) in &executed.passed_over {
        let text = format!("step `{step}` was passed over: {reason}");
        findings.push(Finding::new(&codes::PLAYBOOK_PASSED_OVER, text));
    }
    let count = units::count(executed.done.len() as u64, "step");
    match &executed.stopped {
        None => (
            "executed",
            format!("executed `{}`: {count} done", playbook.id),
        ),
        Some(Stopped::Waiting(step)) => {
            let title = playbook
                .steps
                .iter()
                .find(|one| one.id == *step)
                .map_or("", |one| &one.title);
            let text = format!("step `{step}` waits for a person: {title}");
            findings.push(Finding::new(&codes::PLAYBOOK_WAITING, text));
            ("waiting", format!("stopped before `{step}`: {count} done"))
        }
        Some(Stopped::Failed(step, reason)) => {
            let text = format!("step `{step}`: {reason}");
            findings.push(Finding::new(&codes::PLAYBOOK_STEP_FAILED, text));
            ("failed", format!("stopped at `{step}`: {count} done"))
        }
    }
}

/// Runs one step, and asks it to stop when its time is over; a restore that has reached its commit
/// point goes on to its end.
fn within_time(step: &Step, context: &Context<'_>) -> Outcome {
    let interrupted = Arc::clone(&context.progress.interrupted);
    let (finished, wait) = mpsc::channel::<()>();
    let timeout = Duration::from_secs(step.timeout_seconds.max(1));
    let watch = std::thread::spawn(move || {
        let is_late = wait.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout);
        if is_late {
            interrupted.store(true, Ordering::Relaxed);
        }
        is_late
    });
    let outcome = run_step(step, context);
    drop(finished);
    if watch.join().unwrap_or(false) {
        context.progress.interrupted.store(false, Ordering::Relaxed);
        if outcome != Outcome::Done {
            return Outcome::Failed(format!("it took longer than {} s", step.timeout_seconds));
        }
    }
    outcome
}

/// Runs one step within this process: its words are those of `agp rollback`, and nothing else runs.
fn run_step(step: &Step, context: &Context<'_>) -> Outcome {
    if step.argv.is_empty() {
        return Outcome::Done;
    }
    let code = match run_words(&step.argv, context) {
        Ok(code) => code,
        Err(reason) => return Outcome::Failed(reason),
    };
    if !step.expect.contains(&code.0) {
        return Outcome::Failed(format!("exit {}: {}", code.0, code.1));
    }
    if step.verify.is_empty() {
        return Outcome::Done;
    }
    match run_words(&step.verify, context) {
        Ok((0, _)) => Outcome::Done,
        Ok((code, text)) => Outcome::Failed(format!("it did not verify, exit {code}: {text}")),
        Err(reason) => Outcome::Failed(reason),
    }
}

/// The exit code of a command, and its headline.
fn run_words(argv: &[String], context: &Context<'_>) -> Result<(u8, String), String> {
    let cli = Cli::try_parse_from(argv)
        .map_err(|_| format!("`{}` is no command of agp", argv.join(" ")))?;
    let Command::Rollback(arguments) = &cli.command else {
        return Err("only `agp rollback` is run by a playbook".to_owned());
    };
    if matches!(arguments.action, None | Some(Action::Execute(_))) {
        return Err("a playbook runs no playbook".to_owned());
    }
    let own = context.state_dir.canonicalize().ok();
    let other = cli
        .global
        .state_dir
        .as_ref()
        .and_then(|path| path.canonicalize().ok());
    if cli.global.state_dir.is_some() && own != other {
        let path = cli.global.state_dir.unwrap_or_default();
        return Err(format!(
            "it is about another store; say `--state-dir {}`",
            path.to_string_lossy()
        ));
    }
    match arguments.run(context) {
        Ok(Done::Report(report) | Done::Written(report) | Done::Streamed(report, _)) => {
            Ok((exit::code(Ok(report.verdict)), report.headline))
        }
        Ok(Done::Data(_) | Done::Told(_)) => Ok((0, String::new())),
        Err(failure) => {
            let text = failure
                .findings
                .first()
                .map_or(String::new(), |one| one.message.clone());
            Ok((exit::code(Err(&failure)), text))
        }
    }
}
