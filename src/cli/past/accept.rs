//! `agp profile accept`: a run that was found slower is normal from now on.

use std::collections::BTreeSet;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::{directory, read, run_of, skipped};
use crate::cli::failure::{Failure, Kind};
use crate::cli::record;
use crate::cli::spine::{Context, Done};
use crate::history::{self, Acceptance, Entry, GateVerdict, HistoryError, Past, Record};
use crate::report::{Decision, Report, Resource};

/// Accept a run that was found slower: what it took is normal from now on
///
/// The next runs are compared with this one. The acceptance is written to the history, with who gave it and
/// why, and recorded in the audit log.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp profile accept --reason 'the new codec is worth it'")]
pub struct AcceptArgs {
    /// Why it is accepted
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub reason: String,
    /// The run: its `run_id`, the beginning of it, or `last` [default: the newest one found slower]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// The key [default: the only one that there is]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// What the report of an acceptance holds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptBody {
    /// What was accepted.
    pub summary: AcceptSummary,
}

/// What was accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptSummary {
    /// The run's key.
    pub key: String,
    /// The run.
    pub run_id: String,
    /// Why.
    pub reason: String,
    /// Who accepted it.
    pub actor: String,
}

fn parse_reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a reason".into()),
        reason => Ok(reason.to_owned()),
    }
}

impl AcceptArgs {
    pub(in crate::cli) fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let kept = read(context, self.key.as_deref())?;
        let run_id = match &self.run {
            Some(word) => self.named(&kept.past, word)?,
            None => newest(&kept.past, &kept.key)?,
        };
        let acceptance = Acceptance {
            accepts: run_id,
            reason: self.reason.clone(),
            actor: record::actor_name(),
            at: context.started_at,
        };
        let directory = directory(context);
        let entries = [Entry::Acceptance(acceptance.clone())];
        history::append(&directory, &kept.key, &entries).map_err(|error| match error {
            HistoryError::Absurd(_) => Failure::new(Kind::Usage, error),
            HistoryError::File(_) => Failure::new(Kind::Output, error),
        })?;
        let path = directory.join(history::file_name(&kept.key));
        let headline = format!("run {} of `{}` is accepted", acceptance.accepts, kept.key);
        let decision = Decision {
            rule: format!("profile.accept {}", acceptance.accepts),
            is_allowed: true,
        };
        let resource = Resource {
            path: path.to_string_lossy().into_owned(),
            access: "write",
            sha256: None,
        };
        let body = AcceptBody {
            summary: AcceptSummary {
                key: kept.key,
                run_id: acceptance.accepts,
                reason: acceptance.reason,
                actor: acceptance.actor,
            },
        };
        let report = Report::new("accept", headline, skipped(&kept.past.notes))
            .with_body(&body)
            .with_decisions(vec![decision])
            .with_resources(vec![resource]);
        Ok(Done::Report(report))
    }

    fn named(&self, past: &Past, word: &str) -> Result<String, Failure> {
        let run = run_of(past, word)?;
        let run_id = run
            .first()
            .map(|record| record.run_id.clone())
            .unwrap_or_default();
        if !run.iter().any(|record| is_slower(record)) {
            let text = format!("run {run_id} was not found slower, so that it counts already");
            return Err(Failure::because(Kind::Input, text)
                .with_hint("without `--run` the newest run that was found slower is accepted"));
        }
        Ok(run_id)
    }
}

/// The newest run that was found slower, and that nobody has accepted.
fn newest(past: &Past, key: &str) -> Result<String, Failure> {
    let accepted: BTreeSet<&str> = past
        .entries()
        .filter_map(|entry| match entry {
            Entry::Acceptance(acceptance) => Some(acceptance.accepts.as_str()),
            Entry::Record(_) => None,
        })
        .collect();
    let waiting = past
        .records()
        .filter(|record| is_slower(record) && !accepted.contains(record.run_id.as_str()))
        .last();
    waiting.map(|record| record.run_id.clone()).ok_or_else(|| {
        Failure::because(
            Kind::Input,
            format!("no run of `{key}` waits to be accepted"),
        )
        .with_hint("`agp profile history` prints runs with their `gate_verdict`")
    })
}

fn is_slower(record: &Record) -> bool {
    record.gate_verdict == Some(GateVerdict::Regression)
}
