//! A second look at what was found slower (pure).
//!
//! What comes over a machine for seconds hits every repetition of one look, and so does what comes over it for
//! minutes; the one is over some time later, the other is seen in the stages that were not slower at first.

use std::collections::BTreeMap;

use super::gate::{RunJudgement, RunRequest, StageJudgement, judge_run, since};
use super::numbers::median;
use super::regress::{self, Judgement, Series};
use super::series;
use crate::policy::Metric;

/// Fewer other stages do not tell how fast the machine is.
const OTHERS_MIN: usize = 2;

/// Holds what was found slower against a second look, some time later. The request's run is that look, of the
/// stages that were slower and of some others, and the first look of those that were not looked at again.
pub fn judge_again(
    first: RunJudgement,
    request: &RunRequest<'_>,
    others: &[String],
) -> RunJudgement {
    let second = judge_run(request).stages;
    let mut stages = first.stages;
    let others: Vec<StageJudgement> = stages
        .iter()
        .filter(|one| !one.is_slower() && others.contains(&one.stage))
        .filter_map(|one| same(&second, one).cloned())
        .collect();
    for one in stages.iter_mut().filter(|one| one.is_slower()) {
        let Some(again) = same(&second, one) else {
            continue;
        };
        let machine = match one.needs_all {
            // Taken out already.
            true => 0.0,
            false => machine(&others, one.metric),
        };
        let again = freed(request, one, machine).unwrap_or_else(|| again.judgement.clone());
        let floor = request.effect_floor(
            (&one.stage, one.metric),
            since(&one.history, one.accepted_from),
        );
        one.judgement = one.judgement.held_against(again, (floor, machine));
    }
    let members = stages.len();
    RunJudgement::of(request, (stages, members), BTreeMap::new())
}

fn same<'s>(stages: &'s [StageJudgement], one: &StageJudgement) -> Option<&'s StageJudgement> {
    let is_same =
        |other: &&StageJudgement| (&other.stage, other.metric) == (&one.stage, one.metric);
    stages.iter().find(is_same)
}

/// By how much stages that nobody found slower were so this time, as a logarithm: what the machine takes.
fn machine(others: &[StageJudgement], metric: Metric) -> f64 {
    let of_metric = others.iter().filter(|other| other.metric == metric);
    let excess = of_metric.filter_map(|other| Some(other.judgement.effect?.ln_1p()));
    let excess: Vec<f64> = excess.collect();
    match excess.len() < OTHERS_MIN {
        true => 0.0,
        false => median(&excess).max(0.0),
    }
}

/// A stage's judgement without what the machine takes; `None` where that is nothing.
fn freed(request: &RunRequest<'_>, one: &StageJudgement, machine: f64) -> Option<Judgement> {
    if machine <= 0.0 {
        return None;
    }
    let own = request
        .run
        .iter()
        .filter(|record| record.stage == one.stage);
    let values = own.filter_map(|record| series::value(one.metric, &record.metrics));
    let current: Vec<f64> = values.map(|value| value * (-machine).exp()).collect();
    let series = Series {
        history: &one.history,
        current: &current,
        probe: None,
        accepted_from: one.accepted_from,
    };
    regress::judge(
        &series,
        &request.settings(
            (&one.stage, one.metric),
            since(&one.history, one.accepted_from),
        ),
    )
    .ok()
}
