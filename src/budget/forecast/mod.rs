//! What a job will take, from what such jobs took before: pure, deterministic, without a clock.
//!
//! Several [`experts`] say where the amount will lie. Each word becomes a budget by the conformal
//! [`margin`] of that expert's own past errors, and the expert whose budgets had the least recent
//! pinball loss speaks. A tilt of the miss rate holds the coverage in the long run (adaptive
//! conformal inference; Gibbs and Candès, 2021): it rises with every miss and falls a little with
//! every hit. Kinds with few runs borrow errors and losses from the others.
//!
//! The amount is any positive number: seconds, bytes. A run costs the same however long the
//! history is. Knows neither policy nor reports.

mod experts;
mod features;
mod margin;
mod model;

use std::collections::{BTreeMap, VecDeque};

use experts::{Common, EXPERTS, Expert, Kind, Words, keep, quantile};
use features::Columns;
pub use features::Features;
use margin::Sample;

/// By how much one miss tilts the miss rate of its kind, and that of all kinds: ten per cent each.
const TILT: f64 = 0.1;
/// Farthest tilt of one of them to either side, as powers of e.
const TILT_MIN: f64 = -1.5;
const TILT_MAX: f64 = 4.0;
/// A killed job tilts by so many misses more: the rarer they shall be, the longer it takes until
/// the next one tells, so more. Between one and five.
const KILL_TILT: f64 = 0.05;
/// How much longer than until its kill a killed job is taken to have run: the least there is.
const KILL_FACTOR: f64 = 2.0;
/// A miss rate is a quantile of so many runs' errors only when there are many times its inverse;
/// until then it is taken smaller.
const RATE_RUNS: f64 = 1.5;
/// The largest miss rate that any tilt leads to, unless more was asked for.
const MISS_MAX: f64 = 0.4;
/// Experts are compared where errors are plenty, also if the coverage asked is higher.
const LOSS_COVERAGE_MAX: f64 = 0.9;
/// The loss that an unknown expert is expected to have, in logarithms.
const LOSS_EXPECTED: f64 = 0.1;
/// How many losses of all kinds weigh beside those of a kind, and the expectation beside all.
const LOSS_BORROWED: f64 = 3.0;
/// What borrowed errors weigh beside none of a kind's own, and the runs by which that halves.
const BORROWED: f64 = 8.0;
const BORROWED_RUNS: f64 = 30.0;
/// What is added after one run, in logarithms; half of that after two, and so on.
const YOUNG: f64 = 1.0;
/// Until so many runs the second highest of the models is the least, and the most of the runs so far.
const YOUNG_RUNS: u64 = 12;
const SCALED_RUNS: u64 = 6;
/// The margin without any error, own or borrowed: a factor of two.
const MARGIN_UNKNOWN: f64 = 0.7;
const MARGIN_MIN: f64 = -1.0;
/// What a job of an unknown kind may take beyond the most that any kind's costs say, and beyond the
/// most that any job took.
const NEW_BEYOND_COSTS: f64 = 1.0;
const NEW_BEYOND_ALL: f64 = 0.4;
/// Runs of all kinds whose amounts are kept.
const ALL_KEPT: usize = 200;
/// Kinds that are known at a time; the one that has not run for longest makes room.
const KINDS_MAX: usize = 1024;
/// Amounts are held within these, so that no logarithm is infinite.
const AMOUNT_MIN: f64 = 1e-6;
const AMOUNT_MAX: f64 = 1e18;

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// It ended by itself.
    Measured(f64),
    /// It was killed when it had taken so much.
    AtLeast(f64),
}

/// What one expert says.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// Its name.
    pub expert: &'static str,
    /// Where it expects the amount: the middle of its errors around its centre.
    pub expected: f64,
    /// The budget that its errors make of that.
    pub budget: f64,
    /// Its recent pinball loss, in logarithms; the smaller the better.
    pub loss: f64,
}

/// What a job will take.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Who speaks: an expert; `newcomer` of a kind without runs; `formula` without any run at all.
    pub expert: &'static str,
    /// Half of such jobs take less.
    pub expected: f64,
    /// A budget that would be missed four times as often as asked, half of all at most.
    pub lower: f64,
    /// The budget for the coverage asked.
    pub budget: f64,
    /// A budget that would be missed a fifth as often.
    pub upper: f64,
    /// Runs of this kind so far.
    pub runs: u64,
    /// All experts that can speak, in a fixed order.
    pub voices: Vec<Voice>,
}

/// Learns from runs and forecasts the next.
#[derive(Clone, Debug)]
pub struct Forecaster {
    miss: f64,
    first: f64,
    columns: Columns,
    kinds: BTreeMap<String, Kind>,
    common: Common,
    /// Logarithms of what the newest runs of all kinds took.
    amounts: VecDeque<f64>,
    runs: u64,
    tilt: f64,
}

/// The experts' words as budgets.
struct Judged {
    centres: Words,
    budgets: Words,
    losses: [f64; EXPERTS],
    chosen: usize,
    /// The chosen one's budget, or more for a young kind.
    budget: f64,
}

impl Forecaster {
    /// One that has not seen a run: it says `first` until it has. The coverage is a share between
    /// 0 and 1 without them.
    pub fn new(coverage: f64, first: f64) -> Self {
        Self {
            miss: (1.0 - coverage).clamp(1e-4, 1.0 - 1e-4),
            first,
            columns: Columns::default(),
            kinds: BTreeMap::new(),
            common: Common::default(),
            amounts: VecDeque::new(),
            runs: 0,
            tilt: 0.0,
        }
    }

    /// Forecasts a job. The answer is the same as long as nothing is learnt.
    pub fn predict(&mut self, kind: &str, features: &Features) -> Forecast {
        let row = self.columns.row(features);
        let known = self.kinds.get(kind);
        match known.and_then(|kind| Some((kind, self.judge(kind, &row)?))) {
            Some((kind, judged)) => self.forecast(kind, &judged),
            None => self.newcomer(&row),
        }
    }

    /// Learns a run, and gives the budget that it would have had. What is no number teaches nothing.
    pub fn observe(&mut self, kind: &str, features: &Features, amount: Amount) -> f64 {
        let row = self.columns.row(features);
        let mut state = self.kinds.remove(kind).unwrap_or_default();
        let (value, is_killed) = match amount {
            Amount::Measured(value) => (value, false),
            Amount::AtLeast(value) => (KILL_FACTOR * value, true),
        };
        let judged = self.judge(&state, &row);
        let budget = match &judged {
            Some(judged) => judged.budget.exp(),
            None => self.newcomer(&row).budget,
        };
        if value.is_nan() {
            if state.runs > 0 {
                self.kinds.insert(kind.to_owned(), state);
            }
            return budget;
        }
        let value = value.clamp(AMOUNT_MIN, AMOUNT_MAX).ln();
        let tilt = self.tilt_by(is_killed, value > budget.ln() + 1e-9);
        self.tilt = (self.tilt + tilt).clamp(TILT_MIN, TILT_MAX);
        if let Some(judged) = judged {
            state.tilt = (state.tilt + tilt).clamp(TILT_MIN, TILT_MAX);
            self.learn_errors(&mut state, &judged, value);
        }
        if row.is_sized {
            self.common.costs.learn(&row, value.exp());
        }
        state.learn(row, value);
        self.runs += 1;
        keep(&mut self.amounts, ALL_KEPT, value);
        state.last_run = self.runs;
        self.kinds.insert(kind.to_owned(), state);
        if self.kinds.len() > KINDS_MAX {
            let stalest = self.kinds.iter().min_by_key(|(_, kind)| kind.last_run);
            let stalest = stalest.map(|(name, _)| name.clone());
            stalest.map(|name| self.kinds.remove(&name));
        }
        budget
    }

    /// The share of such jobs that would take more than a limit, as far as the errors tell; `None`
    /// of a kind without runs.
    pub fn share_above(&mut self, kind: &str, features: &Features, limit: f64) -> Option<f64> {
        let row = self.columns.row(features);
        let kind = self.kinds.get(kind)?;
        let judged = self.judge(kind, &row)?;
        let margin = limit.max(AMOUNT_MIN).ln() - judged.centres[judged.chosen]?;
        self.sample(kind, judged.chosen).share_above(margin)
    }

    /// How a run tilts the miss rates: up by a miss, down by a hit, at rest where misses come as
    /// often as asked.
    fn tilt_by(&self, is_killed: bool, is_missed: bool) -> f64 {
        let steps = match (is_killed, is_missed) {
            (true, _) => 1.0 + (KILL_TILT / self.miss).clamp(1.0, 5.0),
            (false, true) => 1.0,
            (false, false) => -self.miss / (1.0 - self.miss),
        };
        TILT * steps
    }

    /// The miss rate at which margins are taken now.
    fn rate(&self, kind: &Kind) -> f64 {
        let tilt = (kind.tilt + self.tilt).max(TILT_MIN);
        let known = self.runs as f64 / (self.runs as f64 + RATE_RUNS / self.miss);
        (self.miss * (-tilt).exp()).min(MISS_MAX.max(self.miss)) * known
    }

    fn sample<'a>(&'a self, kind: &'a Kind, expert: usize) -> Sample<'a> {
        let own = &kind.errors[expert];
        Sample {
            own,
            borrowed: &self.common.errors[expert],
            borrowed_weight: BORROWED / (1.0 + own.len() as f64 / BORROWED_RUNS),
        }
    }

    /// Makes budgets of the experts' words and chooses one; `None` of a kind without runs.
    fn judge(&self, kind: &Kind, row: &features::Row) -> Option<Judged> {
        if kind.runs == 0 {
            return None;
        }
        let centres = kind.words(&self.common, row);
        let rate = self.rate(kind);
        let mut judged = Judged {
            centres,
            budgets: [None; EXPERTS],
            losses: [f64::INFINITY; EXPERTS],
            chosen: 0,
            budget: 0.0,
        };
        for (at, centre) in centres.iter().enumerate() {
            let Some(centre) = centre else { continue };
            let margin = self.sample(kind, at).margin(rate).unwrap_or(MARGIN_UNKNOWN);
            let young = YOUNG / (1.0 + kind.errors[at].len() as f64);
            judged.budgets[at] = Some(centre + margin.max(MARGIN_MIN) + young);
            let all = self.common.losses[at].mean(LOSS_EXPECTED, 1.0);
            judged.losses[at] = kind.losses[at].mean(all, LOSS_BORROWED);
            if judged.losses[at] < judged.losses[judged.chosen] {
                judged.chosen = at;
            }
        }
        judged.budget = judged.budgets[judged.chosen]?.max(young_least(kind, row, &judged.budgets));
        Some(judged)
    }

    /// Adds what the experts were wrong by, and what their budgets lost.
    fn learn_errors(&mut self, kind: &mut Kind, judged: &Judged, value: f64) {
        let coverage = (1.0 - self.miss).min(LOSS_COVERAGE_MAX);
        for at in 0..EXPERTS {
            let (Some(centre), Some(budget)) = (judged.centres[at], judged.budgets[at]) else {
                continue;
            };
            // A hung job says nothing of who is the better expert.
            let over = value.min(centre + kind.errors[at].hung()) - budget;
            let loss = if over > 0.0 {
                coverage * over
            } else {
                (coverage - 1.0) * over
            };
            for losses in [&mut kind.losses, &mut self.common.losses] {
                losses[at].add(loss);
            }
            for errors in [&mut kind.errors, &mut self.common.errors] {
                errors[at].add(value - centre);
            }
        }
        if let Some(cost) = judged.centres[Expert::Cost as usize] {
            self.common.machine.add(value - cost);
        }
    }

    fn forecast(&self, kind: &Kind, judged: &Judged) -> Forecast {
        let middle = |at: usize, centre: f64| {
            let middle = self.sample(kind, at).margin(0.5).unwrap_or(0.0);
            (centre + middle).exp()
        };
        let voices = Expert::ALL.into_iter().filter_map(|expert| {
            let at = expert as usize;
            Some(Voice {
                expert: expert.name(),
                expected: middle(at, judged.centres[at]?),
                budget: judged.budgets[at]?.exp(),
                loss: judged.losses[at],
            })
        });
        let (chosen, rate) = (judged.chosen, self.rate(kind));
        let sample = self.sample(kind, chosen);
        let margin = |miss: f64| {
            sample
                .margin(miss)
                .unwrap_or(MARGIN_UNKNOWN)
                .max(MARGIN_MIN)
        };
        let beside = |times: f64| margin((rate * times).min(0.5)) - margin(rate);
        let expected = middle(chosen, judged.centres[chosen].unwrap_or(judged.budget));
        Forecast {
            expert: Expert::ALL[chosen].name(),
            expected: expected.min(judged.budget.exp()),
            lower: (judged.budget + beside(LOWER_MISSES).min(0.0)).exp(),
            budget: judged.budget.exp(),
            upper: (judged.budget + beside(UPPER_MISSES).max(0.0)).exp(),
            runs: kind.runs,
            voices: voices.collect(),
        }
    }

    /// Of a kind that has not run yet: the most that the kinds known would take of it, and the most
    /// that any job took.
    fn newcomer(&self, row: &features::Row) -> Forecast {
        let mut costs: Vec<f64> = self
            .kinds
            .values()
            .filter_map(|kind| kind.cost(row))
            .collect();
        costs.sort_by(f64::total_cmp);
        let mut all: Vec<f64> = self.amounts.iter().copied().collect();
        all.sort_by(f64::total_cmp);
        let highest = all.last().map(|most| most + NEW_BEYOND_ALL);
        let costliest = costs.last().map(|most| most + NEW_BEYOND_COSTS);
        let Some(highest) = highest else {
            return Forecast {
                expert: "formula",
                expected: self.first,
                lower: self.first,
                budget: self.first,
                upper: self.first,
                runs: 0,
                voices: Vec::new(),
            };
        };
        let budget = costliest.map_or(highest, |costliest| costliest.max(highest));
        let expected = quantile(if costs.is_empty() { &all } else { &costs }, 0.5);
        Forecast {
            expert: "newcomer",
            expected: expected.unwrap_or(budget).min(budget).exp(),
            lower: (budget - NEW_BEYOND_ALL).exp(),
            budget: budget.exp(),
            upper: (budget + NEW_BEYOND_COSTS).exp(),
            runs: 0,
            voices: Vec::new(),
        }
    }
}

/// How many times as often as asked the lower budget would be missed, and the upper one.
pub const LOWER_MISSES: f64 = 4.0;
/// See [`LOWER_MISSES`].
pub const UPPER_MISSES: f64 = 0.2;

/// The least budget of a young kind, whose experts have shown little yet.
fn young_least(kind: &Kind, row: &features::Row, budgets: &Words) -> f64 {
    let mut least = f64::NEG_INFINITY;
    if kind.runs < YOUNG_RUNS {
        let models = [Expert::Cost, Expert::Log, Expert::Pooled];
        let mut models: Vec<f64> = models
            .iter()
            .filter_map(|at| budgets[*at as usize])
            .collect();
        models.sort_by(f64::total_cmp);
        let second = models.len().checked_sub(2).and_then(|at| models.get(at));
        least = second.map_or(least, |second| least.max(*second));
    }
    if kind.runs < SCALED_RUNS {
        let scaled = kind.most_scaled(row);
        least = scaled.map_or(least, |most| least.max(most + YOUNG / kind.runs as f64));
    }
    least
}

#[cfg(test)]
mod tests;
