//! The sections of a budget report.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::backtest::Backtest;
use super::confidence::Interval;

/// The sections of a budget report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BudgetBody {
    /// The answer in short.
    pub summary: BudgetSummary,
    /// The recommended budget in seconds, for `timeout` and its like: never above the policy's
    /// maximum.
    pub budget_seconds: f64,
    /// What work on the targets may take.
    pub budgets: Budgets,
    /// What the targets weigh; null where no target was named and the policy's are not there.
    pub workload: Option<WorkloadSection>,
    /// What the machine has and uses.
    pub utilization: Utilization,
    /// What would make the work fit better, the most pressing first; may be empty.
    pub suggestions: Vec<Suggestion>,
    /// How far the budget can be trusted.
    pub confidence: Confidence,
    /// What the same work would be given as each kind that the history knows, sorted by kind; may be
    /// empty.
    pub kinds: Vec<KindBudget>,
    /// What each expert says, in a fixed order; empty without runs of this kind.
    pub experts: Vec<ExpertSection>,
    /// What budgets would have been worth, where that was asked for.
    pub backtest: Option<Backtest>,
    /// The run that was recorded, where one was.
    pub recorded: Option<Recorded>,
}

/// The answer in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BudgetSummary {
    /// The kind of work.
    pub kind: String,
    /// As at the top.
    pub budget_seconds: f64,
    /// Half of such jobs take less; null without any run.
    pub expected_seconds: Option<f64>,
    /// The share of jobs that should keep within the budget.
    pub coverage_asked: f64,
    /// Runs of this kind that the forecast is made from.
    pub runs: u64,
    /// Whether the policy's maximum keeps the budget below what the forecast asks for.
    pub ceiling_binds: bool,
    /// Suggestions below.
    pub suggestions: u64,
}

/// What work may take.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Budgets {
    /// Wall time.
    pub processing_seconds: ProcessingBudget,
    /// The most memory at one time, bytes; null where no run tells.
    pub peak_memory_bytes: Option<AmountBudget>,
    /// Bytes read from storage; null where no run tells.
    pub read_bytes: Option<AmountBudget>,
    /// Bytes written to storage; null where no run tells.
    pub written_bytes: Option<AmountBudget>,
}

/// A budget of wall time, in seconds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProcessingBudget {
    /// Half of such jobs take less; null without any run.
    pub expected: Option<f64>,
    /// A tight budget: missed four times as often as asked, and by half of all jobs at most.
    pub lower: f64,
    /// The budget for the coverage asked.
    pub recommended: f64,
    /// A generous budget: missed a fifth as often as asked.
    pub upper: f64,
    /// What `recommended` would be without the policy's maximum.
    pub recommended_without_ceiling: f64,
    /// The policy's maximum.
    pub ceiling: f64,
    /// The share of such jobs that would not fit below the maximum; null where no run tells.
    pub share_above_ceiling: Option<f64>,
    /// Who speaks: an expert; `newcomer` of a kind without runs; `formula` for the plain formula.
    pub expert: String,
}

/// A budget of another amount.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AmountBudget {
    /// Half of such jobs take less.
    pub expected: f64,
    /// See `processing_seconds`.
    pub lower: f64,
    /// See `processing_seconds`.
    pub recommended: f64,
    /// See `processing_seconds`.
    pub upper: f64,
    /// Runs of this kind that the forecast is made from.
    pub runs: u64,
    /// See `processing_seconds`.
    pub expert: String,
}

/// The budget of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KindBudget {
    /// The kind.
    pub kind: String,
    /// Its runs that the forecast is made from.
    pub runs: u64,
    /// Half of such jobs take less, seconds.
    pub expected_seconds: f64,
    /// The recommended budget, seconds: never above the policy's maximum.
    pub budget_seconds: f64,
}

/// What the targets weigh.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkloadSection {
    /// The trees.
    pub targets: Vec<String>,
    /// Regular files.
    pub files: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Bytes of the largest; null without files.
    pub largest_bytes: Option<u64>,
    /// Bytes by type: the extension in lower case, empty for none; the largest types.
    pub types: BTreeMap<String, u64>,
    /// Entries that could not be looked at and weigh nothing.
    pub unreadable: u64,
}

/// What the machine has and uses.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Utilization {
    /// Processors that this process may use, the control group's share counted.
    pub cpus: f64,
    /// Tasks that ran or wanted to in the last minute, on average; null where not known.
    pub load: Option<f64>,
    /// Bytes of memory that this process may use, the control group's limit counted.
    pub memory_total_bytes: Option<u64>,
    /// Bytes of memory that can still be had.
    pub memory_available_bytes: Option<u64>,
    /// Bytes that the control group allows; null without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes that may still be written where the targets are.
    pub disk_available_bytes: Option<u64>,
    /// Share of the last ten seconds in which something waited for a processor, 0 to 1.
    pub pressure_cpu: Option<f64>,
    /// The same for memory.
    pub pressure_memory: Option<f64>,
    /// The same for disks.
    pub pressure_io: Option<f64>,
    /// Each resource judged.
    pub resources: Vec<ResourceState>,
    /// What this system does not say, sorted.
    pub missing: Vec<String>,
}

/// One resource judged.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ResourceState {
    /// `cpu`, `memory`, `io` or `disk`.
    pub resource: String,
    /// `free`, `short` or `unknown`.
    pub state: String,
    /// The share in use, 0 to 1 and above where more is wanted than there is; null if not known.
    pub used_share: Option<f64>,
    /// From which share on it counts as short.
    pub short_from: f64,
}

/// What would make the work fit better.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Suggestion {
    /// `split`, `raise_ceiling`, `free_memory`, `free_disk`, `wait_for_idle`, `tune_formula` or
    /// `record_runs`.
    pub action: String,
    /// What to do and what that brings, with numbers.
    pub message: String,
    /// The parts of a split, each of which fits; empty for other actions.
    pub parts: Vec<PartSection>,
}

/// One part of a split: the files from one path to another, in the order of paths.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PartSection {
    /// The first file.
    pub first: String,
    /// The last file, which is in it.
    pub last: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// The budget of this part, seconds.
    pub budget_seconds: f64,
}

/// How far the budget can be trusted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Confidence {
    /// The share of jobs that should keep within.
    pub coverage_asked: f64,
    /// The share that did; null without runs of this kind.
    pub coverage_achieved: Option<f64>,
    /// Runs of this kind that were counted.
    pub runs: u64,
    /// Those that kept within.
    pub within: u64,
    /// Where the true share lies in 95 of 100 cases.
    pub interval: Interval,
    /// `given`: the budgets that the runs were given; `replayed`: those that they would have had.
    pub basis: String,
    /// Lines of the history that could not be believed and were passed over.
    pub passed_over: u64,
}

/// What one expert says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExpertSection {
    /// Its name.
    pub expert: String,
    /// Half of such jobs take less, seconds.
    pub expected_seconds: f64,
    /// Its budget, seconds.
    pub budget_seconds: f64,
    /// Its recent pinball loss, in logarithms; the least speaks.
    pub loss: f64,
    /// Whether it speaks.
    pub is_chosen: bool,
}

/// A run that was recorded.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recorded {
    /// Its number in the history.
    pub run_id: String,
    /// The history's key.
    pub key: String,
    /// What it took, seconds.
    pub seconds: f64,
    /// Whether it was stopped at its budget.
    pub timed_out: bool,
    /// The budget that it is compared with, seconds.
    pub budget_seconds: f64,
}
