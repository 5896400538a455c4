//! What a run came to, in a report.

use super::body::{RunBody, RunSummary, section};
use super::hands::Did;
use crate::base::units;
use crate::cli::failure::Failure;
use crate::cli::measure::Pass;
use crate::cli::rollback::{interrupted_run, status_of};
use crate::report::{Finding, Report, Verdict};
use crate::rollback::{RunOutcome, RunState};

/// The report of a run that was not begun, because a stage declares what it may not do.
pub(super) fn refused(findings: Vec<Finding>, pass: &Pass<'_>) -> Report {
    let body = RunBody {
        summary: RunSummary {
            status: "refused".to_owned(),
            stages: pass.names().len() as u64,
            ..RunSummary::default()
        },
        ..RunBody::default()
    };
    let headline =
        "refused: a stage declares an operation that the policy does not allow; nothing was run";
    Report::new("run", headline.to_owned(), findings).with_body(&body)
}

/// The report of a run that was begun; an interruption has none.
///
/// # Errors
/// The interruption.
pub(super) fn report(
    outcome: RunOutcome,
    (mut did, judged): (Did, Vec<Finding>),
) -> Result<Report, Failure> {
    let (status, text) = status_of(outcome.state);
    if let Some(failure) = interrupted_run(&outcome, text) {
        return Err(failure);
    }
    let mut findings = outcome.findings;
    let mut triggers = Vec::new();
    if outcome.state != RunState::Committed {
        let bad = findings.iter().filter(|one| one.verdict != Verdict::Pass);
        triggers.extend(bad.map(|one| one.code.id.to_owned()));
        triggers.sort();
        triggers.dedup();
    }
    findings.extend(judged);
    let is_sealed = outcome.state == RunState::Committed && did.sign.is_some();
    let worst = findings.iter().filter(|one| one.verdict != Verdict::Pass);
    let worst = worst.max_by_key(|one| (one.verdict, one.severity));
    let reason = worst.map(|one| match &one.path {
        Some(path) => format!("of `{path}`: {}", one.message),
        None => one.message.clone(),
    });
    let headline = headline(
        (outcome.state, text),
        (&did, is_sealed),
        (&outcome.snapshot, reason.as_deref()),
    );
    let resources = did.resources();
    let guard = did.guard.as_mut();
    let decisions = guard.map(|report| std::mem::take(&mut report.decisions));
    let body = RunBody {
        summary: RunSummary {
            status: status.to_owned(),
            snapshot: Some(outcome.snapshot),
            targets: did.targets,
            stages: did.stages,
            stages_passed: did.stages_passed,
            entries_changed: did.entries_changed,
            triggers,
            violations_before: did.violations_before,
            snapshots_removed: did.snapshots_removed,
            is_sealed,
        },
        budget: did.budget,
        profile: section(did.profile.as_ref()),
        guard: section(did.guard.as_ref()),
        sign: section(did.sign.as_ref()),
        verify: section(did.verify.as_ref()),
    };
    let lines = [&did.profile, &did.guard, &did.sign, &did.verify];
    let lines = lines.into_iter().flatten();
    let lines: String = lines
        .map(|report| {
            format!(
                "  {}: {}\n",
                report.name,
                units::printable(&report.headline)
            )
        })
        .collect();
    Ok(Report::new("run", headline, findings)
        .with_body(&body)
        .with_resources(resources)
        .with_decisions(decisions.unwrap_or_default())
        .with_explanations(did.explanations)
        .with_text(lines))
}

fn headline(
    (state, text): (RunState, &str),
    (did, is_sealed): (&Did, bool),
    (snapshot, reason): (&str, Option<&str>),
) -> String {
    if state != RunState::Committed {
        return match reason {
            Some(reason) => format!("{text}, because {reason} (snapshot `{snapshot}`)"),
            None => format!("{text} (snapshot `{snapshot}`)"),
        };
    }
    let stages = units::count(did.stages_passed, "stage");
    let changed = units::count(did.entries_changed, "entry");
    let trees = units::count(did.targets.len() as u64, "tree");
    let seal = match is_sealed {
        true => format!("{trees} signed and verified"),
        false => format!("{trees} not signed"),
    };
    format!("passed: {stages}, {changed} changed; {seal} (snapshot `{snapshot}`)")
}
