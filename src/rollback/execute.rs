//! How far the execution of a playbook came, on disk, so that it goes on where it stopped.

use serde::{Deserialize, Serialize};

use super::error::RollbackError;
use super::playbook::{OnFailure, Playbook, Step};
use super::store::Place;
use crate::base::digest::Digest;
use crate::base::files;

/// The steps of one playbook that are done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    /// The playbook's text.
    sha256: Digest,
    done: Vec<String>,
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was expected.
    Done,
    /// Something else; in words.
    Failed(String),
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Steps done, now or in an earlier execution, in the order of the playbook.
    pub done: Vec<String>,
    /// Steps that failed and were to be passed over, with what they gave.
    pub passed_over: Vec<(String, String)>,
    /// Why it stopped before its end.
    pub stopped: Option<Stopped>,
}

/// Why an execution stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// A person has to act or agree first.
    Waiting(String),
    /// A step failed; in words.
    Failed(String, String),
}

/// Which steps, and who agreed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Begin at this step, whatever was done before.
    pub from: Option<&'a str>,
    /// Whether a person acted and agreed wherever a step asks for it.
    pub approved: bool,
}

/// Runs a playbook's steps with `run`, from where the last execution stopped.
///
/// # Errors
/// A step that does not exist, and a journal that cannot be kept.
pub fn execute(
    place: Place<'_>,
    (playbook, request): (&Playbook, &Request<'_>),
    run: &mut dyn FnMut(&Step) -> Outcome,
) -> Result<Executed, RollbackError> {
    let path = place
        .store()
        .join("runs")
        .join(format!("execute-{}.json", playbook.id));
    // The rehearsal may change between two executions, and the steps' estimates with it.
    let names: Vec<&str> = playbook.steps.iter().map(|step| &*step.id).collect();
    let sha256 = Digest::of(names.join("\n").as_bytes());
    let earlier = files::read_bounded(&path, 1 << 20).ok();
    let earlier = earlier.and_then(|bytes| serde_json::from_slice::<Journal>(&bytes).ok());
    let mut done = earlier
        .filter(|journal| journal.sha256 == sha256)
        .map_or(Vec::new(), |journal| journal.done);
    if done.len() >= playbook.steps.len() {
        // The last execution came to its end; this one is another.
        done.clear();
    }
    let mut at = match request.from {
        Some(from) => find(playbook, from)?,
        None => (0..playbook.steps.len())
            .find(|at| !done.contains(&playbook.steps[*at].id))
            .unwrap_or(0),
    };
    let mut executed = Executed {
        done,
        passed_over: Vec::new(),
        stopped: None,
    };
    // A playbook that leads back must end all the same.
    let mut left = playbook.steps.len() * 8;
    while let Some(step) = playbook.steps.get(at).filter(|_| left > 0) {
        left -= 1;
        at += 1;
        if step.kind != super::playbook::Kind::Auto && !request.approved {
            executed.stopped = Some(Stopped::Waiting(step.id.clone()));
            break;
        }
        match attempt(step, run) {
            Outcome::Done => {
                if !executed.done.contains(&step.id) {
                    executed.done.push(step.id.clone());
                }
                let journal = Journal {
                    sha256,
                    done: executed.done.clone(),
                };
                files::write_atomic(&path, 0o600, |out| {
                    Ok(serde_json::to_writer(out, &journal)?)
                })?;
            }
            Outcome::Failed(reason) => match &step.on_failure {
                OnFailure::Continue => executed.passed_over.push((step.id.clone(), reason)),
                OnFailure::Goto(to) => {
                    executed.passed_over.push((step.id.clone(), reason));
                    at = find(playbook, to)?;
                }
                OnFailure::Abort => {
                    executed.stopped = Some(Stopped::Failed(step.id.clone(), reason));
                    break;
                }
            },
        }
    }
    Ok(executed)
}

fn attempt(step: &Step, run: &mut dyn FnMut(&Step) -> Outcome) -> Outcome {
    let mut outcome = Outcome::Done;
    for _ in 0..step.max_attempts.max(1) {
        outcome = run(step);
        if outcome == Outcome::Done {
            break;
        }
    }
    outcome
}

fn find(playbook: &Playbook, wanted: &str) -> Result<usize, RollbackError> {
    let at = playbook.steps.iter().position(|step| step.id == wanted);
    at.ok_or_else(|| {
        let names: Vec<&str> = playbook.steps.iter().map(|step| &*step.id).collect();
        RollbackError::Usage(format!(
            "there is no step `{wanted}`; there are `{}`",
            names.join("`, `")
        ))
    })
}
