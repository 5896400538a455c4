//! A budget for people: its lines, and how it comes about.

use crate::base::units;
use crate::budget::{AmountBudget, Backtest, BudgetBody, Tally};

/// One sentence.
pub(super) fn headline(body: &BudgetBody) -> String {
    let (summary, time) = (&body.summary, &body.budgets.processing_seconds);
    let budget = format!("budget {} s for `{}`", summary.budget_seconds, summary.kind);
    let runs = units::count(summary.runs, "run");
    let share = time.share_above_ceiling.map(|share| percent(1.0 - share));
    match (time.expert.as_str(), summary.ceiling_binds, share) {
        ("formula", ..) => format!("{budget} by the plain formula"),
        ("newcomer", ..) => format!("{budget}, a guess from runs of other kinds"),
        (_, true, Some(share)) => format!(
            "{budget}, the policy's maximum: {share} of such jobs fit, and {} were asked for (from {runs})",
            percent(summary.coverage_asked)
        ),
        _ => format!(
            "{budget}, which {} of such jobs should keep within (from {runs})",
            percent(summary.coverage_asked)
        ),
    }
}

/// What stands above the headline.
pub(super) fn lines(body: &BudgetBody) -> Vec<String> {
    let time = &body.budgets.processing_seconds;
    let expected = time
        .expected
        .map_or(String::new(), |expected| format!("expected {expected} s; "));
    let mut lines = vec![format!(
        "time        {} s recommended; {expected}lower {} s, upper {} s, ceiling {} s; by `{}`",
        time.recommended, time.lower, time.upper, time.ceiling, time.expert
    )];
    let amounts = [
        ("memory", &body.budgets.peak_memory_bytes),
        ("reading", &body.budgets.read_bytes),
        ("writing", &body.budgets.written_bytes),
    ];
    for (name, amount) in amounts {
        lines.extend(amount.as_ref().map(|amount| amount_line(name, amount)));
    }
    lines.push(match &body.workload {
        Some(workload) => format!(
            "workload    {}, {}, the largest {}",
            units::count(workload.files, "file"),
            units::bytes(workload.bytes),
            units::bytes(workload.largest_bytes.unwrap_or(0))
        ),
        None => {
            "workload    not known: no `--target`, and none of the policy's is there".to_owned()
        }
    });
    lines.push(machine(body));
    lines.push(confidence(body));
    for kind in body.kinds.iter().filter(|_| body.kinds.len() > 1) {
        lines.push(format!(
            "kind        `{}`: {} s, expected {} s (from {})",
            kind.kind,
            kind.budget_seconds,
            kind.expected_seconds,
            units::count(kind.runs, "run")
        ));
    }
    for suggestion in &body.suggestions {
        lines.push(format!(
            "suggestion  {}: {}",
            suggestion.action, suggestion.message
        ));
    }
    lines.extend(body.backtest.iter().flat_map(backtest));
    if let Some(recorded) = &body.recorded {
        let how = if recorded.timed_out {
            "stopped after"
        } else {
            "took"
        };
        lines.push(format!(
            "recorded    a run that {how} {} s, under `{}`",
            recorded.seconds, recorded.key
        ));
    }
    lines
}

fn amount_line(name: &str, amount: &AmountBudget) -> String {
    let bytes = |amount: f64| units::bytes(amount as u64);
    format!(
        "{name:<11} {} recommended; expected {}; lower {}, upper {}; by `{}`",
        bytes(amount.recommended),
        bytes(amount.expected),
        bytes(amount.lower),
        bytes(amount.upper),
        amount.expert
    )
}

fn machine(body: &BudgetBody) -> String {
    let states = body
        .utilization
        .resources
        .iter()
        .map(|state| match state.used_share {
            Some(share) => format!(
                "{} {} ({:.0} % used)",
                state.resource,
                state.state,
                share * 100.0
            ),
            None => format!("{} unknown", state.resource),
        });
    let states: Vec<String> = states.collect();
    let missing = match body.utilization.missing.is_empty() {
        true => String::new(),
        false => format!(
            "; not said by this system: {}",
            body.utilization.missing.join(", ")
        ),
    };
    format!("machine     {}{missing}", states.join(", "))
}

fn confidence(body: &BudgetBody) -> String {
    let confidence = &body.confidence;
    let asked = percent(confidence.coverage_asked);
    let Some(achieved) = confidence.coverage_achieved else {
        return format!("confidence  {asked} asked; nothing is achieved yet: no run of this kind");
    };
    let budgets = match confidence.basis.as_str() {
        "given" => "the budgets that they were given",
        _ => "the budgets that they would have had",
    };
    format!(
        "confidence  {asked} asked; {} of {} kept within {budgets}: {} (true share {} to {})",
        confidence.within,
        units::count(confidence.runs, "run"),
        percent(achieved),
        percent(confidence.interval.low),
        percent(confidence.interval.high)
    )
}

fn backtest(backtest: &Backtest) -> Vec<String> {
    let asked = percent(backtest.coverage_asked);
    let mut lines = vec![format!(
        "backtest    {asked} asked; every past run forecast from those before it"
    )];
    let named = [
        ("all".to_owned(), &backtest.all),
        ("first 30".to_owned(), &backtest.first_thirty),
        ("formula".to_owned(), &backtest.formula),
    ];
    let kinds = backtest
        .kinds
        .iter()
        .map(|(kind, tally)| (format!("kind {kind}"), tally));
    for (name, tally) in named.into_iter().chain(kinds) {
        lines.push(tally_line(&name, tally));
    }
    lines
}

fn tally_line(name: &str, tally: &Tally) -> String {
    let (Some(coverage), Some(median), Some(mean), Some(matched)) = (
        tally.coverage,
        tally.waste_median,
        tally.waste_mean,
        tally.waste_at_coverage,
    ) else {
        return format!("  {name:<16} no runs");
    };
    format!(
        "  {name:<16} {} of {} within: {} ({} to {}); budget / taken: middle {median:.2}, mean {mean:.2}, at the coverage asked {matched:.2}",
        tally.within,
        units::count(tally.runs, "run"),
        percent(coverage),
        percent(tally.interval.low),
        percent(tally.interval.high)
    )
}

/// The experts, and the way from the chosen one's word to the budget.
pub(super) fn explanation(body: &BudgetBody) -> Vec<String> {
    let time = &body.budgets.processing_seconds;
    let mut lines = vec!["experts     the one with the least recent loss speaks".to_owned()];
    for expert in &body.experts {
        let mark = if expert.is_chosen { ">" } else { " " };
        lines.push(format!(
            "{mark} {:<14} expected {:>12.3} s   budget {:>12.3} s   loss {:.4}",
            expert.expert, expert.expected_seconds, expert.budget_seconds, expert.loss
        ));
    }
    let mut steps: Vec<(String, f64)> = Vec::new();
    if let Some(chosen) = body.experts.iter().find(|expert| expert.is_chosen) {
        steps.push((
            format!("`{}` expects", chosen.expert),
            chosen.expected_seconds,
        ));
        steps.push((
            "with the margin of its errors".into(),
            chosen.budget_seconds,
        ));
        steps.push((
            "no less than a young kind should have".into(),
            time.recommended_without_ceiling,
        ));
    } else {
        steps.push((
            format!("`{}` says", time.expert),
            time.recommended_without_ceiling,
        ));
    }
    steps.push(("no more than the policy's maximum".into(), time.recommended));
    let mut before = None;
    for (what, seconds) in steps {
        let factor = before.map_or(String::new(), |before: f64| {
            format!("x {:.3}", seconds / before)
        });
        lines.push(format!("  {what:<40} {seconds:>12.3} s   {factor}"));
        before = Some(seconds);
    }
    lines
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}
