//! What would make the work fit better, with numbers that come from the forecast itself.

use super::{Amounts, Desk, formula, milliseconds};
use crate::base::units;
use crate::budget::parts::{self, Part};
use crate::budget::section::{PartSection, ProcessingBudget, Suggestion, Utilization};
use crate::history::Workload;

/// The load is worth a word where it costs this share of the idle budget.
const LOAD_COST: f64 = 0.1;
/// Runs before the formula is judged, and by which factor it has to be off.
const FORMULA_RUNS: u64 = 20;
const FORMULA_FACTOR: f64 = 3.0;
/// A coverage is shown only by many times as many runs as one miss takes.
const RUNS_PER_MISS: f64 = 1.5;

/// All suggestions, the most pressing first.
pub(super) fn suggestions(
    desk: &mut Desk<'_>,
    (processing, amounts, utilization): (&ProcessingBudget, &Amounts, &Utilization),
) -> Vec<Suggestion> {
    let mut all = Vec::new();
    let over_time = processing.recommended_without_ceiling > processing.ceiling;
    let memory = amounts
        .peak_memory
        .as_ref()
        .map(|amount| amount.recommended);
    let available = utilization.memory_available_bytes.map(|bytes| bytes as f64);
    let over_memory = memory
        .zip(available)
        .is_some_and(|(wanted, available)| wanted > available);
    if over_time || over_memory {
        all.extend(split(desk, (processing, available.filter(|_| over_memory))));
    }
    if over_time {
        all.push(plain(
            "raise_ceiling",
            format!(
                "a `max_budget_seconds` of {} would hold {:.0} % of such jobs in one piece",
                processing.recommended_without_ceiling.ceil(),
                desk.question.coverage * 100.0
            ),
        ));
    }
    if let Some((wanted, available)) = memory.zip(available).filter(|_| over_memory) {
        let text = format!(
            "the work asks for {} of memory and {} can be had: free {}",
            units::bytes(wanted as u64),
            units::bytes(available as u64),
            units::bytes((wanted - available) as u64)
        );
        all.push(plain("free_memory", text));
    }
    all.extend(disk(amounts, utilization));
    all.extend(idle(desk, processing));
    all.extend(tune(desk, processing));
    all.extend(record(desk));
    all
}

fn plain(action: &str, message: String) -> Suggestion {
    Suggestion {
        action: action.to_owned(),
        message,
        parts: Vec::new(),
    }
}

/// Cuts the files so that each part fits below the ceiling, and into memory where that is short.
fn split(
    desk: &mut Desk<'_>,
    (processing, memory): (&ProcessingBudget, Option<f64>),
) -> Option<Suggestion> {
    let files = &desk.question.weighed?.files;
    desk.forecaster.as_ref()?;
    let ceiling = processing.ceiling;
    let least = (processing.recommended_without_ceiling / ceiling).ceil() as usize;
    let mut fits = |workload: &Workload| {
        let features = desk.features(Some(workload));
        let peak = |desk: &Desk<'_>| desk.amount_of(&features, |run| run.peak_memory_bytes);
        desk.forecast_of(&features).budget <= ceiling
            && memory.is_none_or(|most| peak(desk).is_none_or(|peak| peak.recommended <= most))
    };
    let cut = parts::cut(files, least, &mut fits)?;
    let sections: Vec<PartSection> = cut.into_iter().map(|part| section(desk, part)).collect();
    let most = |of: fn(&PartSection) -> u64| sections.iter().map(of).max().unwrap_or_default();
    let longest = sections
        .iter()
        .map(|part| part.budget_seconds)
        .fold(0.0, f64::max);
    let message = format!(
        "in {} parts, in the order of paths, of at most {} and {} each, every part fits: the largest budget is {longest} s",
        sections.len(),
        units::count(most(|part| part.files), "file"),
        units::bytes(most(|part| part.bytes)),
    );
    Some(Suggestion {
        action: "split".to_owned(),
        message,
        parts: sections,
    })
}

fn section(desk: &mut Desk<'_>, part: Part) -> PartSection {
    let features = desk.features(Some(&part.workload));
    PartSection {
        budget_seconds: milliseconds(desk.forecast_of(&features).budget),
        first: part.first,
        last: part.last,
        files: part.workload.files,
        bytes: part.workload.bytes,
    }
}

fn disk(amounts: &Amounts, utilization: &Utilization) -> Option<Suggestion> {
    let wanted = amounts.written.as_ref()?.recommended;
    let available = utilization.disk_available_bytes? as f64;
    (wanted > available).then(|| {
        let text = format!(
            "the work writes {} and {} may still be written: free {}",
            units::bytes(wanted as u64),
            units::bytes(available as u64),
            units::bytes((wanted - available) as u64)
        );
        plain("free_disk", text)
    })
}

/// What the same work would take on an idle machine, by what past runs under load took.
fn idle(desk: &mut Desk<'_>, processing: &ProcessingBudget) -> Option<Suggestion> {
    desk.forecaster.as_ref()?;
    let mut features = desk.features(desk.workload());
    for (name, value) in &mut features {
        if name == "load1" || name.starts_with("psi_") {
            *value = 0.0;
        }
    }
    let idle = desk.forecast_of(&features).budget;
    let now = processing.recommended_without_ceiling;
    (now > idle * (1.0 + LOAD_COST)).then(|| {
        let idle = milliseconds(idle);
        plain(
            "wait_for_idle",
            format!("the machine is busy: {now} s now, {idle} s when it is idle"),
        )
    })
}

/// The plain formula where it is far from what the runs ask for.
fn tune(desk: &Desk<'_>, processing: &ProcessingBudget) -> Option<Suggestion> {
    desk.forecaster.as_ref()?;
    let policy = &desk.question.policy.adaptive_budget;
    let runs = desk
        .runs
        .iter()
        .filter(|run| run.kind == desk.question.kind)
        .count() as u64;
    let (plain_budget, learnt) = (formula(policy), processing.recommended_without_ceiling);
    let factor = (plain_budget / learnt).max(learnt / plain_budget);
    (runs >= FORMULA_RUNS && factor > FORMULA_FACTOR).then(|| {
        let base = milliseconds(learnt / policy.scaling_factor);
        let text = format!(
            "the plain formula gives {plain_budget} s where {} of this kind ask for {learnt} s: a `base_budget_seconds` of {base} would agree",
            units::count(runs, "run")
        );
        plain("tune_formula", text)
    })
}

/// More runs, where those there are cannot show the coverage.
fn record(desk: &Desk<'_>) -> Option<Suggestion> {
    desk.forecaster.as_ref()?;
    let runs = desk
        .runs
        .iter()
        .filter(|run| run.kind == desk.question.kind)
        .count();
    let wanted = (RUNS_PER_MISS / (1.0 - desk.question.coverage)).ceil() as usize;
    (runs < wanted).then(|| {
        let text = format!(
            "known runs of this kind: {runs}; a coverage of {} needs about {wanted}: record runs with `agp profile`, or with `agp budget --record SECONDS`",
            desk.question.coverage
        );
        plain("record_runs", text)
    })
}
