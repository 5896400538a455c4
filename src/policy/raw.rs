//! The policy as a value: one struct a section, one field a key, names as in the JSON.
//!
//! The doc comments of the fields are the reference's text. Every section and key may be left
//! out; what a collection holds has the keys that its entry needs. Durations are seconds, sizes
//! MiB where the key says `mb`, otherwise bytes; times are UTC.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::alerts::Alerts;
use super::shape;
use crate::base::clock::Timestamp;

/// The policy of the Asset Governance Pipeline. Every section and key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Where an editor finds the JSON Schema of this file; not read.
    #[serde(rename = "$schema", skip_serializing)]
    #[schemars(with = "String")]
    pub schema: IgnoredAny,
    /// Maxima that a governed command keeps within. Breaking one of time or memory is exit code
    /// 18; `profile.limits_fail` chooses which.
    pub performance_benchmarks: PerformanceBenchmarks,
    /// How `agp budget` arrives at a processing budget.
    pub adaptive_budget: AdaptiveBudget,
    /// What `agp guard` scans for and what it lets through.
    pub policy_guard: PolicyGuard,
    /// When and how a tree is rolled back, and how long its snapshots are kept.
    pub rollback_playbook: RollbackPlaybook,
    /// What an asset may look like; guard reports what does not.
    pub quality_thresholds: QualityThresholds,
    /// What an asset has to say about itself.
    pub validation_rules: ValidationRules,
    /// Signing, verification and the keyring.
    pub integrity: Integrity,
    /// How `agp profile` measures and judges.
    pub profile: Profile,
    /// The stages of a governed run and the trees that they work on.
    pub pipeline: Pipeline,
    /// The files of the audit log.
    pub audit: Audit,
    /// Who hears of what.
    pub alerts: Alerts,
    /// Where the metrics of a run are left.
    pub metrics: Metrics,
}

/// Maxima that a governed command keeps within.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PerformanceBenchmarks {
    /// Longest wall time of a command, seconds.
    #[schemars(with = "shape::Seconds")]
    pub max_processing_time_seconds: f64,
    /// Highest peak of resident memory of a command and its descendants, MiB.
    #[schemars(with = "shape::Mebibytes")]
    pub max_memory_usage_mb: u64,
    /// Highest share of the available processors in use over a run, 0 to 1.
    #[schemars(with = "shape::Share")]
    pub cpu_utilization_threshold: f64,
    /// Most operations on block devices per second over a run.
    #[schemars(with = "shape::CountFromOne")]
    pub io_operations_per_second_limit: u64,
}

impl Default for PerformanceBenchmarks {
    fn default() -> Self {
        Self {
            max_processing_time_seconds: 300.0,
            max_memory_usage_mb: 2048,
            cpu_utilization_threshold: 0.8,
            io_operations_per_second_limit: 1000,
        }
    }
}

/// How a processing budget comes about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveBudget {
    /// Whether history adapts the budget; `false` leaves the plain formula of base, factor and
    /// maximum.
    pub enabled: bool,
    /// The budget before there is any history, seconds.
    #[schemars(with = "shape::Seconds")]
    pub base_budget_seconds: f64,
    /// What the plain formula multiplies by.
    #[schemars(with = "shape::Factor")]
    pub scaling_factor: f64,
    /// The ceiling of every budget, seconds; the report says when it binds.
    #[schemars(with = "shape::Seconds")]
    pub max_budget_seconds: f64,
    /// Whether the budget follows the jobs as they change; `false` leaves the plain formula.
    pub dynamic_adjustment: bool,
    /// The share of jobs that should finish within their budget.
    #[schemars(with = "shape::Coverage")]
    pub coverage: f64,
}

impl Default for AdaptiveBudget {
    fn default() -> Self {
        Self {
            enabled: true,
            base_budget_seconds: 60.0,
            scaling_factor: 1.5,
            max_budget_seconds: 300.0,
            dynamic_adjustment: true,
            coverage: 0.95,
        }
    }
}

/// What is scanned for and what is let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyGuard {
    /// How strictly findings are enforced.
    pub enforcement_level: EnforcementLevel,
    /// Names or globs of operations. When there is one, every operation that none of them
    /// matches is unauthorized.
    #[schemars(with = "Vec<shape::Glob>")]
    pub allowed_operations: Vec<String>,
    /// Names or globs of operations that are refused, allowed ones included.
    #[schemars(with = "Vec<shape::Glob>")]
    pub blocked_operations: Vec<String>,
    /// Whether commands write the audit log.
    pub audit_logging: bool,
    /// Globs of files below the target that are not scanned; the report lists what was skipped.
    #[schemars(with = "Vec<shape::Glob>")]
    pub exclude: Vec<String>,
    /// Files with further rules.
    #[schemars(with = "Vec<shape::Filled>")]
    pub rules: Vec<String>,
    /// Identifiers of rules that do not run.
    #[schemars(with = "Vec<shape::Filled>")]
    pub disabled_rules: Vec<String>,
    /// A file of findings that are known and accepted.
    #[schemars(with = "Option<shape::Filled>")]
    pub baseline: Option<String>,
    /// Globs of the files that the operation `modify_core_config` is about.
    #[schemars(with = "Vec<shape::Glob>")]
    pub core_config_paths: Vec<String>,
    /// Further operations by name. To one that agp knows already, paths and patterns are added.
    pub operation_catalog: BTreeMap<String, Operation>,
    /// Whether the markers by which other scanners suppress a finding count here.
    pub honor_foreign_ignores: bool,
    /// The environment variable that holds the salt of fingerprints.
    #[schemars(with = "Option<shape::Variable>")]
    pub fingerprint_salt_env: Option<String>,
}

impl Default for PolicyGuard {
    fn default() -> Self {
        Self {
            enforcement_level: EnforcementLevel::Strict,
            allowed_operations: Vec::new(),
            blocked_operations: Vec::new(),
            audit_logging: true,
            exclude: Vec::new(),
            rules: Vec::new(),
            disabled_rules: Vec::new(),
            baseline: None,
            core_config_paths: vec!["config/**".into()],
            operation_catalog: BTreeMap::new(),
            honor_foreign_ignores: false,
            fingerprint_salt_env: None,
        }
    }
}

/// How strictly findings are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnforcementLevel {
    /// Fails from severity `high` on; a partial scan and an unused suppression are violations.
    Strict,
    /// Fails at severity `critical`.
    Standard,
    /// Never fails; each finding says whether it would have.
    Advisory,
}

/// An operation that a stage may declare and a script may show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Operation {
    /// What the operation does, for people.
    pub description: String,
    /// How the operation touches its paths.
    pub access: Access,
    /// Globs of what the operation touches.
    #[schemars(with = "Vec<shape::Glob>")]
    pub paths: Vec<String>,
    /// Regular expressions that show the operation in a script; at most 1,000 in a file.
    #[schemars(with = "Vec<shape::Regex>")]
    pub patterns: Vec<String>,
}

/// How an operation touches its paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It reads them.
    #[default]
    Read,
    /// It makes new ones.
    Create,
    /// It changes them.
    Modify,
    /// It removes them.
    Delete,
}

/// When and how a tree is rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackPlaybook {
    /// Whether a governed run restores its targets when a trigger fires.
    pub auto_rollback_on_failure: bool,
    /// Days that a snapshot is kept, from now. The newest, the last good and pinned ones always
    /// stay.
    #[schemars(with = "shape::Days")]
    pub backup_retention_days: u64,
    /// Whether a staged tree is verified before it goes live.
    pub rollback_verification: bool,
    /// What fires a rollback, beside a command that fails.
    pub critical_failure_patterns: Vec<FailurePattern>,
    /// Globs of the paths below a target that a governed command may change.
    #[schemars(with = "Vec<shape::Glob>")]
    pub allow_change: Vec<String>,
    /// Whether the tree that failed is kept in quarantine, for `backup_retention_days`.
    pub keep_failed: bool,
    /// How many times a check has to fail before it fires.
    #[schemars(with = "shape::OneToHundred")]
    pub confirmations: u64,
    /// Longest time that the rollback of a governed run, or a step of a playbook, may take before it
    /// replaces anything, seconds.
    #[schemars(with = "shape::Seconds")]
    pub rollback_timeout_seconds: f64,
}

impl Default for RollbackPlaybook {
    fn default() -> Self {
        Self {
            auto_rollback_on_failure: true,
            backup_retention_days: 30,
            rollback_verification: true,
            critical_failure_patterns: vec![
                FailurePattern::DataCorruption,
                FailurePattern::PerformanceRegression,
                FailurePattern::SecurityViolation,
            ],
            allow_change: Vec::new(),
            keep_failed: false,
            confirmations: 1,
            rollback_timeout_seconds: 600.0,
        }
    }
}

/// What fires a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailurePattern {
    /// Paths that the command might not change did change, or content broke.
    DataCorruption,
    /// The run is a regression or exceeded a maximum.
    PerformanceRegression,
    /// New findings at the enforced level, a blocked operation or a loosened mode.
    SecurityViolation,
}

/// What an asset may look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QualityThresholds {
    /// Smallest size of an asset, bytes.
    #[schemars(with = "shape::Count")]
    pub file_size_bytes_min: u64,
    /// Largest size of an asset, bytes; `null` is without limit.
    #[schemars(with = "Option<shape::Count>")]
    pub file_size_bytes_max: Option<u64>,
    /// What the name of an asset may end in (`json`, `tar.gz`; case and a leading dot do not
    /// matter); empty means anything.
    #[schemars(with = "Vec<shape::Filled>")]
    pub allowed_formats: Vec<String>,
    /// The encoding of text assets: of files that read as text, whatever their names.
    pub encoding: Encoding,
    /// Longest line of a text asset, characters; `null` is without limit.
    #[schemars(with = "Option<shape::CountFromOne>")]
    pub line_length_max: Option<u64>,
}

/// An encoding of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8, ASCII included.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// Bytes below 128 only.
    Ascii,
    /// UTF-16, little end first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, big end first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Whatever it is: not judged.
    Any,
}

/// What an asset has to say about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationRules {
    /// Fields that every asset with metadata has to have. These are the JSON, YAML and TOML files
    /// whose outermost value is an object; a field stands in it, or right below its `metadata`.
    #[schemars(with = "Vec<shape::Filled>")]
    pub required_metadata_fields: Vec<String>,
}

/// Signing, verification and the keyring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Integrity {
    /// The name of the tree that a manifest is about.
    #[schemars(with = "Option<shape::Filled>")]
    pub subject: Option<String>,
    /// Shortest secret that is accepted, bytes.
    #[schemars(with = "shape::SecretBytes")]
    pub secret_bytes_min: u64,
    /// Oldest signature that verifies, days; `null` is without limit.
    #[schemars(with = "Option<shape::DaysFromOne>")]
    pub max_age_days: Option<u64>,
    /// How far a signature's time may lie ahead of this machine's clock, seconds.
    #[schemars(with = "shape::WholeSeconds")]
    pub clock_skew_seconds: u64,
    /// Globs of the paths that signing leaves out; they stand in the signed manifest.
    #[schemars(with = "Vec<shape::PortableGlob>")]
    pub exclude: Vec<String>,
    /// The keyring. It holds no secrets, only where they are.
    pub keys: Vec<Key>,
}

impl Default for Integrity {
    fn default() -> Self {
        Self {
            subject: None,
            secret_bytes_min: 8,
            max_age_days: None,
            clock_skew_seconds: 300,
            exclude: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// A key of the keyring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The identifier that `agp tool keys show` prints.
    #[schemars(with = "shape::KeyIdentifier")]
    pub key_id: String,
    /// Where the secret is: an environment variable, a file, or what a program prints.
    #[schemars(with = "shape::KeySource")]
    pub source: KeySource,
    /// What the key may do. At most one key is active.
    #[serde(default)]
    pub status: KeyStatus,
    /// The first moment of the key's signatures; `null` is without limit.
    #[serde(default, with = "optional_time")]
    #[schemars(with = "Option<shape::Time>")]
    pub not_before: Option<Timestamp>,
    /// The last moment of the key's signatures; `null` is without limit.
    #[serde(default, with = "optional_time")]
    #[schemars(with = "Option<shape::Time>")]
    pub not_after: Option<Timestamp>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeySourceText", into = "KeySourceText")]
pub enum KeySource {
    /// `env:NAME`: in that environment variable.
    Environment(String),
    /// `file:PATH`: in that file.
    File(PathBuf),
    /// An argv array: what that program prints. At least one word.
    Command(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KeySourceText {
    Place(String),
    Argv(Vec<String>),
}

impl TryFrom<KeySourceText> for KeySource {
    type Error = &'static str;

    fn try_from(text: KeySourceText) -> Result<Self, Self::Error> {
        match text {
            KeySourceText::Argv(argv) => Ok(Self::Command(argv)),
            KeySourceText::Place(place) => match place.split_once(':') {
                Some(("env", name)) => Ok(Self::Environment(name.into())),
                Some(("file", path)) => Ok(Self::File(path.into())),
                _ => Err("expected `env:NAME`, `file:PATH` or an argv array"),
            },
        }
    }
}

impl From<KeySource> for KeySourceText {
    fn from(source: KeySource) -> Self {
        match source {
            KeySource::Environment(name) => Self::Place(format!("env:{name}")),
            KeySource::File(path) => Self::Place(format!("file:{}", path.display())),
            KeySource::Command(argv) => Self::Argv(argv),
        }
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It signs and verifies.
    #[default]
    Active,
    /// It verifies what it signed.
    VerifyOnly,
    /// What it signed is a violation.
    Revoked,
}

/// An instant as `2026-11-23T14:06:00Z`, or null.
mod optional_time {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::base::clock::Timestamp;

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::to_seconds_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let time = text.map(|text| Timestamp::parse(&text));
        time.transpose().map_err(D::Error::custom)
    }
}

/// How a run is measured and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// The metrics that can make a run a regression; empty means none.
    pub gate: Vec<Metric>,
    /// The smallest change that counts, as a share of the baseline.
    #[schemars(with = "shape::Effect")]
    pub effect_floor: f64,
    /// Most runs of a stage whose first one is suspicious.
    #[schemars(with = "shape::OneToHundred")]
    pub runs_max: u64,
    /// Whether an inconclusive verdict is exit code 18.
    pub inconclusive_fails: bool,
    /// The maxima of `performance_benchmarks` whose breach is exit code 18; the others warn.
    pub limits_fail: Vec<Limit>,
    /// Samples per second.
    #[schemars(with = "shape::OneToHundred")]
    pub sample_hz: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            gate: vec![
                Metric::CpuSeconds,
                Metric::WallSeconds,
                Metric::PeakMemoryBytes,
            ],
            effect_floor: 0.02,
            runs_max: 9,
            inconclusive_fails: false,
            limits_fail: vec![Limit::Time, Limit::Memory],
            sample_hz: 10,
        }
    }
}

/// A metric of a run that a gate can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// User and system CPU time.
    CpuSeconds,
    /// User CPU time.
    CpuUserSeconds,
    /// System CPU time.
    CpuSystemSeconds,
    /// Time from start to end.
    WallSeconds,
    /// Time spent waiting for a processor.
    RunQueueSeconds,
    /// Time stalled on I/O.
    IoStallSeconds,
    /// Time stalled on memory.
    MemoryStallSeconds,
    /// Highest resident memory.
    PeakMemoryBytes,
    /// Bytes read from block devices.
    ReadBytes,
    /// Bytes written to block devices.
    WrittenBytes,
    /// Operations on block devices.
    IoOperations,
}

/// A maximum of `performance_benchmarks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// `max_processing_time_seconds`.
    Time,
    /// `max_memory_usage_mb`.
    Memory,
    /// `cpu_utilization_threshold`.
    Cpu,
    /// `io_operations_per_second_limit`.
    Io,
}

/// The stages of a governed run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pipeline {
    /// The trees that the stages work on, relative to the working directory.
    #[schemars(with = "Vec<shape::Filled>")]
    pub targets: Vec<String>,
    /// The stages, in the order in which they run.
    pub stages: Vec<Stage>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            targets: vec!["output".into()],
            stages: Vec::new(),
        }
    }
}

/// A stage of a governed run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage's name, unlike every other's.
    #[schemars(with = "shape::Filled")]
    pub name: String,
    /// Program and arguments; no shell.
    #[schemars(with = "shape::Argv")]
    pub command: Vec<String>,
    /// The operations that the stage carries out, for guard.
    #[serde(default)]
    #[schemars(with = "Vec<shape::Filled>")]
    pub operations: Vec<String>,
    /// Environment variables set for the command.
    #[serde(default)]
    #[schemars(extend("propertyNames" = shape_of::<shape::Variable>()))]
    pub environment: BTreeMap<String, String>,
    /// Where the command runs.
    #[serde(default = "here")]
    #[schemars(with = "shape::Filled")]
    pub working_directory: String,
    /// The stage's own budget, seconds; `null` leaves it to `agp budget`.
    #[serde(default)]
    #[schemars(with = "Option<shape::Seconds>")]
    pub budget_seconds: Option<f64>,
    /// The exit codes that mean success.
    #[serde(default = "zero_alone")]
    #[schemars(with = "Vec<shape::ExitCode>")]
    pub ok_codes: Vec<u8>,
    /// Globs of the paths below the targets that this stage may change.
    #[serde(default)]
    #[schemars(with = "Vec<shape::Glob>")]
    pub allow_change: Vec<String>,
}

fn here() -> String {
    ".".into()
}

fn zero_alone() -> Vec<u8> {
    vec![0]
}

fn shape_of<T: JsonSchema>() -> serde_json::Value {
    T::json_schema(&mut schemars::SchemaGenerator::default()).to_value()
}

/// The files of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Size at which the log goes on in a new file, bytes; after 30 days it does at any size.
    #[schemars(with = "shape::SegmentBytes")]
    pub segment_bytes_max: u64,
    /// How many files are kept, the current one included; `null` keeps all.
    #[schemars(with = "Option<shape::CountFromOne>")]
    pub segments_kept: Option<u64>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            segments_kept: None,
        }
    }
}

/// Names of labels that metrics have already.
pub const RESERVED_LABELS: [&str; 13] = [
    "category", "code", "command", "kind", "metric", "mode", "result", "severity", "stage",
    "state", "status", "verdict", "version",
];

/// Where the metrics of a run are left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// A file of the Prometheus text format, written after every run.
    #[schemars(with = "Option<shape::Filled>")]
    pub textfile: Option<String>,
    /// The URL of a Pushgateway that every run pushes to.
    #[schemars(with = "Option<shape::Filled>")]
    pub pushgateway_url: Option<String>,
    /// Labels of every metric, by name; a name that metrics have already, as `command`, is refused.
    #[schemars(extend("propertyNames" = shape_of::<shape::LabelName>()))]
    pub labels: BTreeMap<String, String>,
}
