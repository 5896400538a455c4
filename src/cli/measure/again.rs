//! The second look at what the first found slower: which stages it needs, how often, and what it decides.

use std::time::Duration;

use super::history::{self, Past};
use super::run::Measured;
use crate::cli::spine::Context;
use crate::history::Record;
use crate::profile::RunJudgement;

/// Over how long its runs are spread: a crowded machine stays so for seconds, and one that makes most stages
/// slower at once for longer.
const SPREAD: Duration = Duration::from_secs(10);
const SPREAD_OF_MOST: Duration = Duration::from_secs(60);
/// Of fewer stages most are soon slower by themselves.
const STAGES_MIN: usize = 3;
/// So many other stages run meanwhile, the quickest, to tell how fast the machine is.
const OTHERS: usize = 3;

/// A second look.
pub(super) struct SecondLook {
    first: RunJudgement,
    /// How many runs of each stage the first look had.
    seen: Vec<usize>,
    others: Vec<String>,
    /// How many more runs of each stage it takes: half as many as the first look had of one that was slower.
    runs: usize,
    /// How long they take together, at least.
    spread: Duration,
}

impl SecondLook {
    /// What it takes, where the first look found something slower; else that look's judgement.
    pub(super) fn after(
        first: RunJudgement,
        measured: &[Measured<'_>],
    ) -> Result<Self, RunJudgement> {
        let slower = first.stages.iter().filter(|one| one.is_slower());
        let Some(runs) = slower.map(|one| one.judgement.runs).max() else {
            return Err(first);
        };
        let mut others: Vec<(f64, &str)> = Vec::new();
        for one in measured {
            let name = one.stage.name.as_str();
            let run = one.runs.first().filter(|_| !is_named(&first, name));
            others.extend(run.map(|(_, run)| (run.figures.wall_seconds, name)));
        }
        others.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let spread = spread(measured.len() - others.len(), measured.len());
        let others = others.iter().take(OTHERS);
        Ok(Self {
            spread,
            others: others.map(|(_, name)| (*name).to_owned()).collect(),
            seen: measured.iter().map(|one| one.runs.len()).collect(),
            runs: runs.div_ceil(2),
            first,
        })
    }

    /// How long to wait before each of its runs.
    pub(super) fn pause(&self) -> Duration {
        self.spread / u32::try_from(self.runs).unwrap_or(u32::MAX).max(1)
    }

    /// Whether a stage is looked at again.
    pub(super) fn wants(&self, stage: &str) -> bool {
        is_named(&self.first, stage) || self.others.iter().any(|other| other == stage)
    }

    /// Whether it is not over yet.
    pub(super) fn lacks(&self, measured: &[Measured<'_>]) -> bool {
        let mut looks = measured.iter().zip(&self.seen);
        looks.any(|(one, seen)| self.wants(&one.stage.name) && one.runs.len() < seen + self.runs)
    }

    /// What both looks make of it.
    pub(super) fn judge(
        self,
        past: &Past,
        (measured, context): (&[Measured<'_>], &Context<'_>),
    ) -> RunJudgement {
        let mut records = history::records(measured, (&past.key, context)).into_iter();
        let mut second: Vec<Record> = Vec::new();
        for (one, seen) in measured.iter().zip(self.seen) {
            let own = records.by_ref().take(one.runs.len());
            second.extend(own.skip(if one.runs.len() > seen { seen } else { 0 }));
        }
        let run = (&second[..], history::has_seen_peaks(measured));
        past.judge_again(self.first, run, &self.others)
    }
}

/// Over how long to look again where so many of all stages were slower.
fn spread(slower: usize, stages: usize) -> Duration {
    match stages >= STAGES_MIN && slower * 2 > stages {
        true => SPREAD_OF_MOST,
        false => SPREAD,
    }
}

fn is_named(first: &RunJudgement, stage: &str) -> bool {
    let mut slower = first.stages.iter().filter(|one| one.is_slower());
    slower.any(|one| one.needs_all || one.stage == stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_most_stages_slower_is_given_longer_to_pass() {
        for (slower, stages, expected) in [
            (1, 1, SPREAD),
            (2, 2, SPREAD),
            (1, 4, SPREAD),
            (2, 4, SPREAD),
            (2, 3, SPREAD_OF_MOST),
            (3, 4, SPREAD_OF_MOST),
            (10, 10, SPREAD_OF_MOST),
        ] {
            assert_eq!(spread(slower, stages), expected, "{slower} of {stages}");
        }
    }
}
