//! How fast the machine was, told by the other stages of the same run (pure).
//!
//! A stage's probe is the median of what all others deviate from their own levels by.

use std::collections::BTreeMap;

use super::levels::{self, Roughness};
use super::numbers::median;
use super::regress::HISTORY_RUNS_MIN;
use super::series::Line;

/// Fewer other stages say nothing about the machine.
const OTHERS_MIN: usize = 3;

/// What every stage deviates from its own level by, in logarithms.
#[derive(Debug)]
pub(super) struct Siblings<'a> {
    /// By stage: the runs of its past in their order, and their deviations.
    past: Vec<Vec<(&'a str, f64)>>,
    /// The same, to be looked up.
    by_run: Vec<BTreeMap<&'a str, f64>>,
    /// By stage: the deviations of the current repetitions; empty where its past is too short.
    now: Vec<Vec<f64>>,
}

impl<'a> Siblings<'a> {
    /// Takes the past and the current values (above 0) of the stages of a run; `None` where too few
    /// of them have a past.
    pub(super) fn of(lines: &[Line<'a>], current: &[&[f64]]) -> Option<Self> {
        let has_past = |line: &&Line<'_>| line.points.len() >= HISTORY_RUNS_MIN;
        if lines.iter().filter(has_past).count() <= OTHERS_MIN {
            return None;
        }
        let mut found = Self {
            past: Vec::new(),
            by_run: Vec::new(),
            now: Vec::new(),
        };
        for (line, current) in lines.iter().zip(current) {
            if !has_past(&line) {
                found.past.push(Vec::new());
                found.by_run.push(BTreeMap::new());
                found.now.push(Vec::new());
                continue;
            }
            let values: Vec<f64> = line.points.iter().map(|point| point.value.ln()).collect();
            let stretches =
                levels::stretches(&values, (Roughness::of(&values), line.accepted_from));
            let mut deviations = Vec::new();
            let mut level = 0.0;
            for stretch in stretches {
                level = median(stretch);
                deviations.extend(stretch.iter().map(|value| value - level));
            }
            let runs = line.points.iter().map(|point| point.run_id);
            let past: Vec<(&str, f64)> = runs.zip(deviations).collect();
            found.by_run.push(past.iter().copied().collect());
            found.past.push(past);
            found
                .now
                .push(current.iter().map(|value| value.ln() - level).collect());
        }
        Some(found)
    }

    /// The probe of a stage: for each of its past runs, and each of its current repetitions.
    /// `None` where the others of one of them are too few.
    pub(super) fn probe(&self, stage: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let past: Option<Vec<f64>> = self
            .past
            .get(stage)?
            .iter()
            .map(|(run_id, _)| self.of_run(run_id, stage))
            .collect();
        let repetitions = 0..self.now.get(stage)?.len();
        let now: Option<Vec<f64>> = repetitions
            .map(|at| self.of_repetition(at, stage))
            .collect();
        past.zip(now)
    }

    /// What all stages have in common: in every past run that enough of them took part in, and in
    /// every current repetition; as factors about 1.
    pub(super) fn common(&self) -> (Vec<f64>, Vec<f64>) {
        let longest = self.past.iter().max_by_key(|past| past.len());
        let runs = longest.map(Vec::as_slice).unwrap_or_default().iter();
        let past = runs.filter_map(|(run_id, _)| self.of_run(run_id, usize::MAX));
        let most = self.now.iter().map(Vec::len).max().unwrap_or_default();
        let now = (0..most).filter_map(|at| self.of_repetition(at, usize::MAX));
        (past.collect(), now.collect())
    }

    fn of_run(&self, run_id: &str, but: usize) -> Option<f64> {
        let others = self.by_run.iter().enumerate();
        let others = others.filter(|(stage, _)| *stage != but);
        factor(
            others
                .filter_map(|(_, by_run)| by_run.get(run_id).copied())
                .collect(),
        )
    }

    /// A stage that was repeated less often counts by the middle of its repetitions.
    fn of_repetition(&self, at: usize, but: usize) -> Option<f64> {
        let others = self.now.iter().enumerate();
        let others = others.filter(|(stage, now)| *stage != but && !now.is_empty());
        let value = |(_, now): (usize, &Vec<f64>)| now.get(at).copied().unwrap_or(median(now));
        factor(others.map(value).collect())
    }
}

fn factor(deviations: Vec<f64>) -> Option<f64> {
    (deviations.len() >= OTHERS_MIN).then(|| median(&deviations).exp())
}
