//! What every verb returns, and the envelope in which it leaves the program.
//!
//! A verb fills a [`Report`]; the shell wraps it into an [`Envelope`] with run, policy and cost.
//! Knows nothing of streams, formats for people, or exit codes as numbers of a process.

pub mod codes;
mod detail;
mod finding;

pub use codes::Code;
pub use detail::{Category, Confidence, Detail, Explanation, State};
pub use finding::Finding;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;

/// The answer of a verb, ordered by precedence: when several hold, the greatest is the answer.
///
/// A proven critical finding is never masked, and an incomplete run never looks milder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The answer is good.
    Pass,
    /// The answer is no: something does not verify.
    Fail,
    /// A performance regression, or a limit of a governed command exceeded.
    Regression,
    /// Could not answer.
    Error,
    /// A policy guard violation at or above the enforced level.
    Violation,
}

impl Verdict {
    /// Every verdict, by precedence.
    pub const ALL: [Self; 5] = [
        Self::Pass,
        Self::Fail,
        Self::Regression,
        Self::Error,
        Self::Violation,
    ];

    /// The word in reports: `pass`, `fail` or `error`; the exit code tells the three fails apart.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail | Self::Regression | Self::Violation => "fail",
            Self::Error => "error",
        }
    }

    /// The answer that findings give together.
    pub fn of(findings: &[Finding]) -> Self {
        findings
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Self::Pass)
    }
}

/// Where the audit log stood: enough to notice later that it was cut or exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditHead {
    /// The log's own random identifier.
    pub log_id: String,
    /// The newest record's number, from 1.
    pub sequence: u64,
    /// The newest record's MAC; null where it was written without a secret.
    pub mac: Option<Digest>,
}

/// Something a verb read or wrote, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// The path as the user named it.
    pub path: String,
    /// `read` or `write`.
    pub access: &'static str,
    /// What was there: a file's digest, or the digest of a tree's inventory.
    pub sha256: Option<Digest>,
}

/// Something that a verb decided by the policy, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided about.
    pub rule: String,
    /// Whether it may be.
    pub is_allowed: bool,
}

/// What a verb found out.
#[derive(Clone, Debug)]
pub struct Report {
    /// The verb's name in the envelope, `verify`.
    pub name: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// One sentence for people.
    pub headline: String,
    /// Everything worth a line, sorted by path and code; may be empty.
    pub findings: Vec<Finding>,
    /// `summary` and the verb's own sections, as its body type serializes.
    pub body: Map<String, Value>,
    /// What was read and written, for the audit log.
    pub resources: Vec<Resource>,
    /// What stands behind the rules of findings, by their ids; the codes explain themselves.
    pub explanations: BTreeMap<String, Explanation>,
    /// Whether fingerprints of findings can be compared with those of other runs.
    pub fingerprints_last: bool,
    /// What was decided beside the findings, for the audit log.
    pub decisions: Vec<Decision>,
    /// More lines for people, before the headline; mostly empty.
    pub text: String,
}

impl Report {
    /// A report whose answer is what its findings say together.
    pub fn new(name: &'static str, headline: String, mut findings: Vec<Finding>) -> Self {
        findings.sort();
        let verdict = Verdict::of(&findings);
        Self {
            name,
            verdict,
            headline,
            findings,
            body: Map::new(),
            resources: Vec::new(),
            explanations: BTreeMap::new(),
            fingerprints_last: false,
            decisions: Vec::new(),
            text: String::new(),
        }
    }

    /// Adds `summary` and the verb's sections.
    pub fn with_body(mut self, body: &impl Serialize) -> Self {
        // A body is a struct of plain data, which always serializes to an object.
        if let Ok(Value::Object(body)) = serde_json::to_value(body) {
            self.body = body;
        }
        self
    }

    /// Adds what stands behind the rules of its findings.
    pub fn with_explanations(mut self, explanations: BTreeMap<String, Explanation>) -> Self {
        self.explanations = explanations;
        self
    }

    /// Says that fingerprints can be compared with those of other runs.
    pub fn with_lasting_fingerprints(mut self, last: bool) -> Self {
        self.fingerprints_last = last;
        self
    }

    /// Adds what was decided beside the findings.
    pub fn with_decisions(mut self, decisions: Vec<Decision>) -> Self {
        self.decisions = decisions;
        self
    }

    /// Adds lines for people.
    pub fn with_text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    /// Adds what went wrong around the verb. The answer never gets milder by it; where it gets
    /// worse, that is the headline.
    pub fn add(&mut self, findings: Vec<Finding>) {
        let verdict = Verdict::of(&findings);
        let worst = findings
            .iter()
            .find(|finding| finding.code.verdict == verdict);
        if let Some(worst) = worst.filter(|_| verdict > self.verdict) {
            self.verdict = verdict;
            self.headline.clone_from(&worst.message);
        }
        self.findings.extend(findings);
        self.findings.sort();
    }

    /// Adds what was read and written.
    pub fn with_resources(mut self, resources: Vec<Resource>) -> Self {
        self.resources = resources;
        self
    }
}

/// The policy behind a report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PolicyReference {
    /// The file as it was named or found, or `built-in`.
    pub source: String,
    /// SHA-256 of the file's bytes; null for the built-in policy.
    pub sha256: Option<Digest>,
}

/// The program behind a report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tool {
    /// Always `agp`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// What the command cost; null where this system does not say.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ResourceUsage {
    /// CPU seconds in user mode, all threads.
    pub cpu_user_seconds: Option<f64>,
    /// CPU seconds in the kernel, all threads.
    pub cpu_system_seconds: Option<f64>,
    /// Largest resident set, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
}

/// A report as it leaves the program: the frame that every verb shares, and the verb's body.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Envelope<Body> {
    /// The verb: `sign`, `verify`, …
    pub report: String,
    /// The version of this format.
    pub report_version: &'static str,
    /// Random, 32 hex digits, one a command.
    pub run_id: String,
    /// Which program.
    pub tool: Tool,
    /// When the command began, RFC 3339, milliseconds, UTC.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When the report was made, RFC 3339, milliseconds, UTC.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// Seconds between the two by a monotonic clock.
    pub duration_seconds: f64,
    /// Which policy decided.
    pub policy: PolicyReference,
    /// `pass`, `fail` or `error`.
    #[schemars(extend("enum" = ["pass", "fail", "error"]))]
    pub verdict: String,
    /// The exit code of the process: 0, 1, 2, 18, 19, 130 or 143.
    pub exit_code: u8,
    /// Where the audit log stands; null where none is kept.
    pub audit_head: Option<AuditHead>,
    /// What the command cost.
    pub resource_usage: ResourceUsage,
    /// The verb's `summary` and its own sections.
    #[serde(flatten)]
    pub body: Body,
    /// Everything worth a line, sorted by path and code; may be empty.
    pub findings: Vec<Finding>,
}

/// The version that [`Envelope::report_version`] bears.
pub const REPORT_VERSION: &str = "1.0";

/// How many findings of each severity there are; severities without any are left out.
pub fn count_by_severity(findings: &[Finding]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.severity.word()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_may_worsen_the_answer_and_never_betters_it() {
        let at = |code: &'static Code| vec![Finding::new(code, code.id)];
        for (first, added, verdict, headline) in [
            (
                &codes::KEY_WEAK,
                &codes::CACHE_DISCARDED,
                Verdict::Pass,
                "verb",
            ),
            (
                &codes::KEY_WEAK,
                &codes::COMMAND_OUTPUT,
                Verdict::Error,
                "command.output",
            ),
            (
                &codes::FILE_MODIFIED,
                &codes::KEY_WEAK,
                Verdict::Fail,
                "verb",
            ),
            (
                &codes::FILE_MODIFIED,
                &codes::COMMAND_OUTPUT,
                Verdict::Error,
                "command.output",
            ),
            (
                &codes::COMMAND_OUTPUT,
                &codes::FILE_MODIFIED,
                Verdict::Error,
                "verb",
            ),
        ] {
            let mut report = Report::new("verb", "verb".into(), at(first));
            report.add(at(added));
            assert_eq!((report.verdict, &*report.headline), (verdict, headline));
            assert!(report.findings.len() == 2 && report.findings.is_sorted());
        }
    }

    #[test]
    fn the_worst_finding_decides_in_the_order_of_precedence() {
        let at = |code: &'static Code| Finding::new(code, "x");
        for (findings, verdict) in [
            (vec![], Verdict::Pass),
            (vec![at(&codes::KEY_WEAK)], Verdict::Pass),
            (
                vec![at(&codes::FILE_MODIFIED), at(&codes::KEY_WEAK)],
                Verdict::Fail,
            ),
            (
                vec![at(&codes::FILE_UNREADABLE), at(&codes::FILE_MODIFIED)],
                Verdict::Error,
            ),
        ] {
            assert_eq!(Verdict::of(&findings), verdict);
        }
        assert!(Verdict::Violation > Verdict::Error && Verdict::Error > Verdict::Regression);
        assert!(Verdict::Regression > Verdict::Fail && Verdict::Fail > Verdict::Pass);
    }
}
