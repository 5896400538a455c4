//! What budgets would have been worth: every past run forecast from those before it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::confidence::{Interval, coverage_interval};
use super::forecast::{Amount, Forecaster};
use super::past::Run;

/// What budgets would have been worth.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Backtest {
    /// The share of runs that was to keep within.
    pub coverage_asked: f64,
    /// All runs.
    pub all: Tally,
    /// The first thirty of them: how a start without history goes.
    pub first_thirty: Tally,
    /// The same runs under the plain formula of the policy.
    pub formula: Tally,
    /// By kind.
    pub kinds: BTreeMap<String, Tally>,
}

/// Budgets beside what runs took.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Those that kept within their budgets.
    pub within: u64,
    /// Their share; null without runs.
    pub coverage: Option<f64>,
    /// Where the true share lies in 95 of 100 cases.
    pub interval: Interval,
    /// The middle of budget / taken; null without runs.
    pub waste_median: Option<f64>,
    /// The mean of budget / taken; null without runs.
    pub waste_mean: Option<f64>,
    /// The middle of budget / taken if all budgets were multiplied by the one factor that makes the
    /// coverage exactly what was asked: the way to compare methods. Null without runs.
    pub waste_at_coverage: Option<f64>,
}

/// Forecasts every run from those before it; `first` is the plain formula's budget.
pub fn backtest(runs: &[Run], coverage: f64, first: f64) -> Backtest {
    let mut forecaster = Forecaster::new(coverage, first);
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut kinds: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for run in runs {
        let Some(seconds) = run.seconds else { continue };
        let budget = forecaster.observe(&run.kind, &run.features, seconds);
        let outcome = Outcome::of(budget, seconds);
        outcomes.push(outcome);
        kinds.entry(run.kind.clone()).or_default().push(outcome);
    }
    let formula: Vec<Outcome> = runs
        .iter()
        .filter_map(|run| Some(Outcome::of(first, run.seconds?)))
        .collect();
    let kinds = kinds.into_iter();
    Backtest {
        coverage_asked: coverage,
        all: tally(&outcomes, coverage),
        first_thirty: tally(&outcomes[..outcomes.len().min(30)], coverage),
        formula: tally(&formula, coverage),
        kinds: kinds
            .map(|(kind, outcomes)| (kind, tally(&outcomes, coverage)))
            .collect(),
    }
}

/// One run beside its budget.
#[derive(Clone, Copy)]
struct Outcome {
    /// Budget / taken.
    waste: f64,
    is_within: bool,
}

impl Outcome {
    fn of(budget: f64, seconds: Amount) -> Self {
        let (taken, is_within) = match seconds {
            Amount::Measured(taken) => (taken, taken <= budget),
            // It was still running then: only a longer budget may have held it.
            Amount::AtLeast(taken) => (taken, taken < budget),
        };
        Self {
            waste: budget / taken,
            is_within,
        }
    }
}

fn tally(outcomes: &[Outcome], coverage: f64) -> Tally {
    let runs = outcomes.len() as u64;
    let within = outcomes.iter().filter(|outcome| outcome.is_within).count() as u64;
    let mut wastes: Vec<f64> = outcomes.iter().map(|outcome| outcome.waste).collect();
    wastes.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = wastes.len().checked_sub(1)?;
        wastes.get((share * last as f64).round() as usize).copied()
    };
    let median = at(0.5);
    Tally {
        runs,
        within,
        coverage: (runs > 0).then(|| within as f64 / runs as f64),
        interval: coverage_interval(within, runs),
        waste_median: median,
        waste_mean: median.map(|_| wastes.iter().sum::<f64>() / runs as f64),
        // A budget that is too small by this factor is missed as often as may be.
        waste_at_coverage: median
            .zip(at(1.0 - coverage))
            .map(|(median, edge)| median / edge),
    }
}
