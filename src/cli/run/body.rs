//! What a run report holds.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::budget::BudgetBody;
use crate::cli::guard_report::GuardBody;
use crate::cli::measure::ProfileBody;
use crate::cli::sign::SignBody;
use crate::cli::verify::VerifyBody;
use crate::report::Report;

/// The sections of a run report: those of every verb that took part, whole.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RunBody {
    /// All together.
    pub summary: RunSummary,
    /// What each stage was expected to take, in the order in which they run.
    pub budget: Vec<StageBudget>,
    /// What the stages took; null where none ran.
    #[schemars(with = "Option<ProfileBody>")]
    pub profile: Section,
    /// What guard found in the trees afterwards; null where it did not come to that.
    #[schemars(with = "Option<GuardBody>")]
    pub guard: Section,
    /// The manifests that were written; null where nothing was signed.
    #[schemars(with = "Option<SignBody>")]
    pub sign: Section,
    /// Whether they hold; null where nothing was signed.
    #[schemars(with = "Option<VerifyBody>")]
    pub verify: Section,
}

/// A verb's own sections, as it reports them.
pub(super) type Section = Option<Map<String, Value>>;

/// All together.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RunSummary {
    /// `committed`, `rolled_back`, `left_as_it_is`, `rollback_failed`, or `refused`: nothing was run.
    pub status: String,
    /// The snapshot from before; null where nothing was run.
    pub snapshot: Option<String>,
    /// The trees, as they were named, and what is guarded beside them.
    pub targets: Vec<String>,
    /// Stages that were to run.
    pub stages: u64,
    /// Those that came to a good end.
    pub stages_passed: u64,
    /// Entries that the stages made, changed or removed; a directory's time does not count.
    pub entries_changed: u64,
    /// Why the trees went back, or would have: the codes of the findings, each once, sorted.
    pub triggers: Vec<String>,
    /// Findings of guard at the enforced level that the snapshot has too.
    pub violations_before: u64,
    /// Snapshots older than the policy keeps them, removed behind a run that passed.
    pub snapshots_removed: u64,
    /// Whether the trees are signed, and the signatures verified.
    pub is_sealed: bool,
}

/// What a stage was expected to take.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StageBudget {
    /// Its name.
    pub stage: String,
    /// When it is stopped, seconds; null: never.
    pub limit_seconds: Option<f64>,
    /// Where the kernel lets it write in the working directory; null: wherever its user may.
    pub writable: Option<Vec<String>>,
    /// What `agp budget` says of it.
    pub advice: BudgetBody,
}

/// A verb's sections.
pub(super) fn section(report: Option<&Report>) -> Section {
    report.map(|report| report.body.clone())
}
