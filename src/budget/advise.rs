//! From runs, weight and machine to a recommendation. Pure: the machine comes as a sample.

use std::collections::BTreeSet;

use super::confidence::coverage_interval;
use super::forecast::{Amount, Features, Forecast, Forecaster};
use super::past::{Past, Run};
use super::section::*;
use super::workload::Weighed;
use crate::history::Workload;
use crate::policy::{AdaptiveBudget, Policy};
use crate::report::{Finding, codes};
use crate::system::{DiskRoom, Sample};

mod machine;
mod suggest;

/// How many of the newest runs of a kind a forecast is made from, and of all others together.
const RUNS: (usize, usize) = (250, 150);
/// The same of other amounts than time, which differ less from run to run.
const AMOUNT_RUNS: (usize, usize) = (80, 40);

/// Kinds that are listed.
const KINDS_MAX: usize = 100;

/// What a recommendation is made from.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The kind of work.
    pub kind: &'a str,
    /// The share of jobs that should keep within the budget, between 0 and 1 without them.
    pub coverage: f64,
    /// Past runs.
    pub past: &'a Past,
    /// What is to be worked on; `None` where that is not known.
    pub weighed: Option<&'a Weighed>,
    /// The names of what was weighed.
    pub targets: &'a [String],
    /// The machine.
    pub sample: &'a Sample,
    /// Room where the targets are.
    pub disk: Option<DiskRoom>,
}

/// A recommendation.
pub struct Advice {
    /// The report's sections.
    pub body: BudgetBody,
    /// What deserves a line; warnings all.
    pub findings: Vec<Finding>,
}

/// Makes a recommendation.
pub fn advise(question: &Question<'_>) -> Advice {
    let mut desk = Desk::new(question);
    let (forecast, amounts) = (desk.forecast(), desk.amounts());
    let processing = desk.processing(&forecast);
    let utilization = machine::utilization(question, &amounts);
    let suggestions = suggest::suggestions(&mut desk, (&processing, &amounts, &utilization));
    let findings = findings(question, (&processing, &utilization));
    let body = BudgetBody {
        summary: BudgetSummary {
            kind: question.kind.to_owned(),
            budget_seconds: processing.recommended,
            expected_seconds: processing.expected,
            coverage_asked: question.coverage,
            runs: forecast.runs,
            ceiling_binds: processing.recommended_without_ceiling > processing.ceiling,
            suggestions: suggestions.len() as u64,
        },
        budget_seconds: processing.recommended,
        budgets: Budgets {
            processing_seconds: processing,
            peak_memory_bytes: amounts.peak_memory,
            read_bytes: amounts.read,
            written_bytes: amounts.written,
        },
        workload: question
            .weighed
            .map(|weighed| workload_section(question, weighed)),
        utilization,
        suggestions,
        confidence: desk.confidence(),
        kinds: desk.kinds(),
        experts: experts(&forecast),
        backtest: None,
        recorded: None,
    };
    Advice { body, findings }
}

/// The plain formula's budget, seconds.
pub fn formula(policy: &AdaptiveBudget) -> f64 {
    let product = policy.base_budget_seconds * policy.scaling_factor;
    product.min(policy.max_budget_seconds)
}

/// Other amounts than time.
pub(super) struct Amounts {
    pub(super) peak_memory: Option<AmountBudget>,
    pub(super) read: Option<AmountBudget>,
    pub(super) written: Option<AmountBudget>,
}

/// A question with the forecaster that was taught for it.
pub(super) struct Desk<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) runs: Vec<&'a Run>,
    /// `None` where the policy wants the plain formula.
    pub(super) forecaster: Option<Forecaster>,
    /// Of the runs of this kind: whether each kept within the budget that it would have had.
    replayed: Vec<bool>,
}

impl<'a> Desk<'a> {
    fn new(question: &'a Question<'a>) -> Self {
        let policy = &question.policy.adaptive_budget;
        let mut desk = Self {
            question,
            runs: newest(question.past.runs.iter(), question.kind, RUNS),
            forecaster: None,
            replayed: Vec::new(),
        };
        if policy.enabled && policy.dynamic_adjustment {
            let mut forecaster = Forecaster::new(question.coverage, formula(policy));
            for run in &desk.runs {
                let Some(seconds) = run.seconds else { continue };
                let budget = forecaster.observe(&run.kind, &run.features, seconds);
                if run.kind == question.kind {
                    desk.replayed.push(match seconds {
                        Amount::Measured(taken) => taken <= budget,
                        Amount::AtLeast(taken) => taken < budget,
                    });
                }
            }
            desk.forecaster = Some(forecaster);
        }
        desk
    }

    /// The numbers of a job of this weight on this machine.
    pub(super) fn features(&self, workload: Option<&Workload>) -> Features {
        let question = self.question;
        question.past.job(workload, question.sample)
    }

    pub(super) fn workload(&self) -> Option<&'a Workload> {
        self.question.weighed.map(|weighed| &weighed.workload)
    }

    /// What a job with these numbers will take; the plain formula where the policy wants that.
    pub(super) fn forecast_of(&mut self, features: &Features) -> Forecast {
        let first = formula(&self.question.policy.adaptive_budget);
        let mut untaught = Forecaster::new(self.question.coverage, first);
        let forecaster = self.forecaster.as_mut().unwrap_or(&mut untaught);
        forecaster.predict(self.question.kind, features)
    }

    fn forecast(&mut self) -> Forecast {
        let features = self.features(self.workload());
        self.forecast_of(&features)
    }

    fn processing(&mut self, forecast: &Forecast) -> ProcessingBudget {
        let ceiling = self.question.policy.adaptive_budget.max_budget_seconds;
        let features = self.features(self.workload());
        let kind = self.question.kind;
        let forecaster = self.forecaster.as_mut();
        let share = forecaster.and_then(|one| one.share_above(kind, &features, ceiling));
        let is_learnt = forecast.expert != "formula";
        let capped = |seconds: f64| milliseconds(seconds.min(ceiling));
        ProcessingBudget {
            expected: is_learnt.then(|| milliseconds(forecast.expected)),
            lower: capped(forecast.lower),
            recommended: capped(forecast.budget),
            upper: capped(forecast.upper),
            recommended_without_ceiling: milliseconds(forecast.budget),
            ceiling,
            share_above_ceiling: share,
            expert: forecast.expert.to_owned(),
        }
    }

    fn amounts(&self) -> Amounts {
        Amounts {
            peak_memory: self.amount(|run| run.peak_memory_bytes),
            read: self.amount(|run| run.read_bytes),
            written: self.amount(|run| run.written_bytes),
        }
    }

    /// The budget of another amount than time; `None` before a run of this kind tells.
    pub(super) fn amount(&self, amount: impl Fn(&Run) -> Option<f64>) -> Option<AmountBudget> {
        self.amount_of(&self.features(self.workload()), amount)
    }

    pub(super) fn amount_of(
        &self,
        features: &Features,
        amount: impl Fn(&Run) -> Option<f64>,
    ) -> Option<AmountBudget> {
        self.forecaster.as_ref()?;
        let kind = self.question.kind;
        let runs = newest(self.runs.iter().copied(), kind, AMOUNT_RUNS);
        let mut known = runs.iter().filter(|run| run.kind == kind);
        known.find_map(|run| amount(run))?;
        let mut forecaster = Forecaster::new(self.question.coverage, 1.0);
        for run in runs {
            if let Some(amount) = amount(run) {
                forecaster.observe(&run.kind, &run.features, Amount::Measured(amount));
            }
        }
        let forecast = forecaster.predict(kind, features);
        Some(AmountBudget {
            expected: forecast.expected.round(),
            lower: forecast.lower.round(),
            recommended: forecast.budget.round(),
            upper: forecast.upper.round(),
            runs: forecast.runs,
            expert: forecast.expert.to_owned(),
        })
    }

    /// The budgets of all kinds that the forecaster knows.
    fn kinds(&mut self) -> Vec<KindBudget> {
        let ceiling = self.question.policy.adaptive_budget.max_budget_seconds;
        let features = self.features(self.workload());
        let Some(forecaster) = &mut self.forecaster else {
            return Vec::new();
        };
        let kinds: BTreeSet<&str> = self.runs.iter().map(|run| run.kind.as_str()).collect();
        let budgets = kinds.into_iter().take(KINDS_MAX).map(|kind| {
            let forecast = forecaster.predict(kind, &features);
            KindBudget {
                kind: kind.to_owned(),
                runs: forecast.runs,
                expected_seconds: milliseconds(forecast.expected),
                budget_seconds: milliseconds(forecast.budget.min(ceiling)),
            }
        });
        budgets.collect()
    }

    /// What was achieved: by the budgets that runs were given, if any was.
    fn confidence(&self) -> Confidence {
        let own = self
            .runs
            .iter()
            .filter(|run| run.kind == self.question.kind);
        let given = own.filter_map(|run| match (run.budget_seconds?, run.seconds?) {
            (budget, Amount::Measured(taken)) => Some(taken <= budget),
            (_, Amount::AtLeast(_)) => Some(false),
        });
        let given: Vec<bool> = given.collect();
        let (basis, outcomes) = match given.is_empty() {
            true => ("replayed", &self.replayed),
            false => ("given", &given),
        };
        let runs = outcomes.len() as u64;
        let within = outcomes.iter().filter(|is_within| **is_within).count() as u64;
        Confidence {
            coverage_asked: self.question.coverage,
            coverage_achieved: (runs > 0).then(|| within as f64 / runs as f64),
            runs,
            within,
            interval: coverage_interval(within, runs),
            basis: basis.to_owned(),
            passed_over: self.question.past.passed_over,
        }
    }
}

/// The newest runs of a kind and of the others, in their order.
fn newest<'a>(
    runs: impl DoubleEndedIterator<Item = &'a Run>,
    kind: &str,
    (own_max, others_max): (usize, usize),
) -> Vec<&'a Run> {
    let (mut own, mut others) = (0, 0);
    let chosen = runs.rev().filter(|run| {
        let (count, most) = match run.kind == kind {
            true => (&mut own, own_max),
            false => (&mut others, others_max),
        };
        *count += 1;
        *count <= most
    });
    let mut chosen: Vec<&Run> = chosen.collect();
    chosen.reverse();
    chosen
}

/// Seconds to the millisecond, and no less than one.
pub(super) fn milliseconds(seconds: f64) -> f64 {
    ((seconds * 1000.0).round() / 1000.0).max(0.001)
}

fn workload_section(question: &Question<'_>, weighed: &Weighed) -> WorkloadSection {
    let workload = &weighed.workload;
    WorkloadSection {
        targets: question.targets.to_vec(),
        files: workload.files,
        bytes: workload.bytes,
        largest_bytes: workload.largest_bytes,
        types: workload.types.clone(),
        unreadable: weighed.unreadable.len() as u64,
    }
}

fn experts(forecast: &Forecast) -> Vec<ExpertSection> {
    let voices = forecast.voices.iter().map(|voice| ExpertSection {
        expert: voice.expert.to_owned(),
        expected_seconds: milliseconds(voice.expected),
        budget_seconds: milliseconds(voice.budget),
        loss: voice.loss,
        is_chosen: voice.expert == forecast.expert,
    });
    voices.collect()
}

/// What deserves a line. All are warnings: a budget is advice.
fn findings(
    question: &Question<'_>,
    (processing, utilization): (&ProcessingBudget, &Utilization),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if processing.recommended_without_ceiling > processing.ceiling {
        let share = processing.share_above_ceiling;
        let share = share.map_or(String::new(), |share| {
            format!(": {:.0} % of such jobs would not fit", share * 100.0)
        });
        let text = format!(
            "the policy's maximum of {} s keeps the budget below the {} s that the forecast asks for{share}",
            processing.ceiling, processing.recommended_without_ceiling
        );
        findings.push(Finding::new(&codes::BUDGET_CEILING, text));
    }
    for state in utilization
        .resources
        .iter()
        .filter(|state| state.state == "short")
    {
        let text = machine::shortage(state, utilization);
        findings.push(Finding::new(&codes::BUDGET_SHORT, text));
    }
    for path in question
        .weighed
        .iter()
        .flat_map(|weighed| &weighed.unreadable)
    {
        let text = "cannot be looked at and weighs nothing here";
        findings.push(Finding::new(&codes::BUDGET_INCOMPLETE, text).at(path.clone()));
    }
    let passed_over = question.past.passed_over;
    if passed_over > 0 {
        let lines = crate::base::units::count(passed_over, "line");
        let text = format!("{lines} of the history could not be believed and were passed over");
        findings.push(Finding::new(&codes::BUDGET_INCOMPLETE, text));
    }
    findings
}
