//! Those who say what a job will take, each in its own way.
//!
//! An expert's word is a centre: the logarithm of an amount around which its errors lie. Whether it
//! is too low or too high on the whole does not matter, since the margin comes from its errors.

use std::collections::VecDeque;

use super::features::Row;
use super::margin::Errors;
use super::model::{Costs, Logs};

/// How many there are.
pub(super) const EXPERTS: usize = Expert::ALL.len();

/// Words are held within these logarithms, far beyond any amount, so that every budget is finite.
const LOG_MIN: f64 = -20.0;
const LOG_MAX: f64 = 50.0;
/// Runs of a kind whose amounts are kept.
const KEPT: usize = 60;
/// Runs of a kind whose sizes are kept.
const ROWS_KEPT: usize = 15;
/// Runs before a kind's own cost model speaks, and its log-linear one, which needs more.
const COST_RUNS_MIN: f64 = 3.9;
const LOG_RUNS_MIN: f64 = 5.5;
/// The newest errors that tell where a kind stands now, and where the machine does.
const LEVEL_RUNS: usize = 4;
const MACHINE_RUNS: usize = 7;
/// How many runs the other kinds' costs weigh beside a kind's own offset from them.
const OFFSET_RUNS: f64 = 0.5;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expert {
    /// The middle of the last 25 runs of the kind.
    Typical,
    /// The middle of the last three.
    Recent,
    /// What a tenth of the last 60 exceed.
    High,
    /// The kind's cost model: by size and load.
    Cost,
    /// The same, moved by the kind's newest errors.
    CostRecent,
    /// The same, moved by the newest errors of all kinds: the machine is slower or faster now.
    CostMachine,
    /// The kind's log-linear model.
    Log,
    /// The same, moved by the kind's newest errors.
    LogRecent,
    /// The cost model of all kinds together, times what this kind takes beside it.
    Pooled,
}

impl Expert {
    pub(super) const ALL: [Self; 9] = [
        Self::Typical,
        Self::Recent,
        Self::High,
        Self::Cost,
        Self::CostRecent,
        Self::CostMachine,
        Self::Log,
        Self::LogRecent,
        Self::Pooled,
    ];

    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Typical => "typical",
            Self::Recent => "recent",
            Self::High => "high",
            Self::Cost => "cost",
            Self::CostRecent => "cost_recent",
            Self::CostMachine => "cost_machine",
            Self::Log => "log",
            Self::LogRecent => "log_recent",
            Self::Pooled => "pooled",
        }
    }
}

/// What each expert says; `None` of one that cannot speak yet.
pub(super) type Words = [Option<f64>; EXPERTS];

/// What is known of one kind of job.
#[derive(Clone, Debug, Default)]
pub(super) struct Kind {
    /// Logarithms of what the newest runs took, oldest first.
    amounts: VecDeque<f64>,
    /// The newest runs' numbers and logarithms, oldest first.
    rows: VecDeque<(Row, f64)>,
    costs: Costs,
    logs: Logs,
    /// Runs so far.
    pub(super) runs: u64,
    /// The number of its newest run among those of all kinds.
    pub(super) last_run: u64,
    /// Each expert's errors.
    pub(super) errors: [Errors; EXPERTS],
    /// Each expert's recent loss.
    pub(super) losses: [Loss; EXPERTS],
    /// How far the miss rate is tilted, see `Forecaster`.
    pub(super) tilt: f64,
}

/// What all kinds have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) costs: Costs,
    /// The newest errors of all kinds' cost models.
    pub(super) machine: Errors,
    /// Each expert's errors.
    pub(super) errors: [Errors; EXPERTS],
    /// Each expert's recent loss.
    pub(super) losses: [Loss; EXPERTS],
}

/// A mean that forgets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    sum: f64,
    weight: f64,
}

impl Loss {
    /// How much an older loss counts beside the next younger one.
    const DECAY: f64 = 0.97;

    pub(super) fn add(&mut self, loss: f64) {
        self.sum = self.sum * Self::DECAY + loss;
        self.weight = self.weight * Self::DECAY + 1.0;
    }

    /// The mean, to which an expectation adds with a weight of so many losses.
    pub(super) fn mean(&self, expected: f64, weight: f64) -> f64 {
        (self.sum + weight * expected) / (self.weight + weight)
    }
}

impl Kind {
    /// What the experts say of a job of this kind.
    pub(super) fn words(&self, common: &Common, row: &Row) -> Words {
        let mut words = [None; EXPERTS];
        let mut say = |expert: Expert, word: Option<f64>| {
            let word = word.filter(|word| word.is_finite());
            words[expert as usize] = word.map(|word| word.clamp(LOG_MIN, LOG_MAX));
        };
        say(Expert::Typical, self.newest(25, 0.5));
        say(Expert::Recent, self.newest(3, 0.5));
        say(Expert::High, self.newest(KEPT, 0.9));
        if row.is_sized {
            let cost = self.costs.predict(row, COST_RUNS_MIN);
            let own = self.errors[Expert::Cost as usize].recent_median(LEVEL_RUNS);
            let machine = common.machine.recent_median(MACHINE_RUNS);
            say(Expert::Cost, cost);
            say(
                Expert::CostRecent,
                cost.zip(own).map(|(cost, level)| cost + level),
            );
            say(
                Expert::CostMachine,
                cost.zip(machine).map(|(cost, level)| cost + level),
            );
            let pooled = common.costs.predict(row, 1.0);
            say(
                Expert::Pooled,
                pooled.map(|pooled| pooled + self.offset(&common.costs)),
            );
        }
        let log = self.logs.predict(row, LOG_RUNS_MIN);
        let own = self.errors[Expert::Log as usize].recent_median(LEVEL_RUNS);
        say(Expert::Log, log);
        say(
            Expert::LogRecent,
            log.zip(own).map(|(log, level)| log + level),
        );
        words
    }

    /// A quantile of what the newest runs took.
    fn newest(&self, runs: usize, share: f64) -> Option<f64> {
        let mut newest: Vec<f64> = self.amounts.iter().rev().take(runs).copied().collect();
        newest.sort_by(f64::total_cmp);
        quantile(&newest, share)
    }

    /// By how much this kind's runs exceed what the costs of all kinds say, drawn towards 0.
    fn offset(&self, costs: &Costs) -> f64 {
        let errors = self.rows.iter();
        let errors = errors.filter_map(|(row, amount)| Some(amount - costs.predict(row, 1.0)?));
        errors.sum::<f64>() / (self.rows.len() as f64 + OFFSET_RUNS)
    }

    /// The most that a run so far would have taken, had it been of this size.
    pub(super) fn most_scaled(&self, row: &Row) -> Option<f64> {
        let scaled = self.rows.iter();
        let scaled = scaled.map(|(other, amount)| amount + row.times_larger(other).ln());
        scaled.max_by(f64::total_cmp)
    }

    /// What this kind would take of a job of another kind.
    pub(super) fn cost(&self, row: &Row) -> Option<f64> {
        let cost = self
            .costs
            .predict(row, 1.0)
            .filter(|cost| row.is_sized && cost.is_finite());
        cost.map(|cost| cost.clamp(LOG_MIN, LOG_MAX))
    }

    /// Learns what a run took, as a logarithm.
    pub(super) fn learn(&mut self, row: Row, amount: f64) {
        self.runs += 1;
        keep(&mut self.amounts, KEPT, amount);
        if row.is_sized {
            self.costs.learn(&row, amount.exp());
        }
        self.logs.learn(&row, amount);
        keep(&mut self.rows, ROWS_KEPT, (row, amount));
    }
}

/// Adds to the newest, of which so many are kept.
pub(super) fn keep<T>(newest: &mut VecDeque<T>, most: usize, one: T) {
    if newest.len() == most {
        newest.pop_front();
    }
    newest.push_back(one);
}

/// The quantile of sorted numbers, between two of them if need be; `None` of none.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (
        sorted.get(place.floor() as usize)?,
        sorted.get(place.ceil() as usize)?,
    );
    Some(low + (high - low) * place.fract())
}
