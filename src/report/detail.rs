//! What a scan knows of a finding besides its place: the rule, how sure it is, and what a person
//! has said about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::severity::Severity;

/// The guard's part of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Detail {
    /// The rule or check, `family.kind`.
    pub rule_id: String,
    /// What kind of violation it is.
    pub category: Category,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// The last line of what was found; the same as `line` for most.
    pub end_line: Option<u64>,
    /// What was found with all but its first characters hidden; null where nothing was quoted.
    pub redacted: Option<String>,
    /// 32 hex digits that stay the same when lines move and change with the value; null where a
    /// finding has no value to tell it by.
    pub fingerprint: Option<String>,
    /// Whether it counts.
    pub state: State,
    /// Why it does not count, in the words of who said so.
    pub reason: Option<String>,
    /// Whether it would have failed the command under `strict`.
    pub would_fail: bool,
    /// The file inside an archive, its own members after a `!`; null outside of archives.
    pub member: Option<String>,
    /// The commit that first held it; null where no history was looked at.
    pub commit: Option<String>,
    /// How it was encoded where it stood, outermost first (`base64`, `percent`, …); may be empty.
    pub decoded: Vec<String>,
}

/// What kind of violation a rule finds.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A password, key, token or other credential.
    Secret,
    /// A file that should not be among assets.
    SuspiciousFile,
    /// An operation that nobody allowed.
    Operation,
    /// A setting or asset that breaks the policy.
    Configuration,
}

/// How sure a rule is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A hint.
    Low,
    /// More likely than not.
    Medium,
    /// As good as certain.
    High,
}

/// Whether a finding counts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has said anything about it.
    Open,
    /// Accepted by the baseline.
    Baseline,
    /// Accepted by a marker beside it.
    Suppressed,
}

/// What stands behind a rule, for whoever meets its findings away from this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What it finds.
    pub title: String,
    /// Why that matters, in sentences; may be empty.
    pub why: String,
    /// What to do about it, in sentences; may be empty.
    pub fix: String,
    /// How bad it is at worst.
    pub severity: Severity,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 4] = [
        Self::Secret,
        Self::SuspiciousFile,
        Self::Operation,
        Self::Configuration,
    ];

    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::SuspiciousFile => "suspicious_file",
            Self::Operation => "operation",
            Self::Configuration => "configuration",
        }
    }
}

impl Confidence {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl State {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Baseline => "baseline",
            Self::Suppressed => "suppressed",
        }
    }
}
