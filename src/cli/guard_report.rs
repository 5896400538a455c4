//! What `agp guard` says: the sections of its report, its headline, and what it recommends.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::digest::Digest;
use crate::base::severity::Severity;
use crate::base::units;
use crate::guard::{
    self, Accepted, Coverage, Enforcement, Evaluation, Operation, Pack, Reach, Request, SaltOrigin,
    Standing, is_gap,
};
use crate::policy::EnforcementLevel;
use crate::report::{Decision, Detail, Finding, Report, State, Verdict};

/// From how many open findings on a baseline is recommended.
const BASELINE_FROM: u64 = 50;
/// How much of an operation's name the audit log gets, characters.
const NAME_CHARS_MAX: usize = 120;
/// How many families recommendations are about.
const FAMILIES_MAX: usize = 10;

/// The sections of a guard report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GuardBody {
    /// Counts.
    pub summary: GuardSummary,
    /// What is accepted, by whom, and what is wrong with that.
    pub suppressed: Accepted,
    /// What was looked at.
    pub coverage: Coverage,
    /// How findings were judged, and by which rules.
    pub enforcement: EnforcementSection,
    /// Operations that were held against the policy.
    pub operations: OperationsSection,
    /// What to do next, the most pressing first; may be empty.
    pub recommendations: Vec<String>,
}

/// Counts of what is open; what is accepted counts in `suppressed`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct GuardSummary {
    /// Open findings.
    pub findings: u64,
    /// Those of them that fail the command.
    pub failing: u64,
    /// Those that would fail it under `strict`.
    pub would_fail: u64,
    /// Open findings by severity; severities without any are left out.
    pub by_severity: BTreeMap<&'static str, u64>,
    /// Open findings by category; categories without any are left out.
    pub by_category: BTreeMap<&'static str, u64>,
}

/// How findings were judged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EnforcementSection {
    /// The policy's level, and the severity from which on findings fail the command.
    #[serde(flatten)]
    pub enforcement: Enforcement,
    /// What `--fail-on` said; null where it was not given.
    pub fail_on: Option<Severity>,
    /// The rules that looked.
    pub rules: Rules,
    /// Where the salt of the fingerprints comes from. With `random`, fingerprints of this run stand
    /// alone: those of another run cannot be compared with them.
    pub fingerprint_salt: SaltOrigin,
}

/// The rules that looked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rules {
    /// The version of the shipped rules, which is the program's.
    pub version: &'static str,
    /// SHA-256 over every file of rules.
    pub sha256: Digest,
    /// Rules and checks that looked.
    pub loaded: u64,
    /// Rules and checks that the policy disables.
    pub disabled: u64,
}

/// Operations that were held against the policy.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct OperationsSection {
    /// Those that `--operation` asked for, in that order.
    pub asked: Vec<Asked>,
    /// How many the logs held.
    pub logged: u64,
    /// How many the policy's stages declare.
    pub declared: u64,
    /// What was decided about these.
    #[serde(skip)]
    pub(super) of_stages: Vec<Decision>,
}

/// An operation that somebody asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Asked {
    /// Its name.
    pub operation: String,
    /// What it is to be done to; null where nobody said.
    pub resource: Option<String>,
    /// `allow` or `deny`.
    #[schemars(extend("enum" = ["allow", "deny"]))]
    pub decision: &'static str,
    /// The entry of the policy's lists that decided; null where none did.
    pub by: Option<String>,
}

/// What the report is about besides what was found.
pub(super) struct Told<'a> {
    /// What was asked for.
    pub(super) request: &'a Request<'a>,
    /// The rules that looked.
    pub(super) rules: Rules,
    /// The operations that were judged.
    pub(super) operations: OperationsSection,
    /// What `--fail-on` said.
    pub(super) fail_on: Option<Severity>,
}

impl Rules {
    /// Counts the rules of a pack.
    pub(super) fn of(pack: &Pack, disabled: u64, sha256: Digest) -> Self {
        let rules = pack.rules.iter().filter(|rule| !rule.companion).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            sha256,
            loaded: (rules + pack.checks.len()) as u64,
            disabled,
        }
    }
}

impl OperationsSection {
    /// Notes what was asked and what came of it.
    pub(super) fn ask(&mut self, operation: &Operation, standing: &Standing) {
        let by = match standing {
            Standing::Blocked(by) | Standing::Allowed(by) => Some(by.clone()),
            Standing::Unauthorized | Standing::Unnamed => None,
        };
        self.asked.push(Asked {
            operation: operation.name.clone(),
            resource: operation.resource.clone(),
            decision: if standing.is_refused() {
                "deny"
            } else {
                "allow"
            },
            by,
        });
    }

    /// Notes what came of an operation that a stage declares.
    pub(super) fn declare(&mut self, operation: &Operation, standing: &Standing) {
        self.declared += 1;
        let decision = decided(&operation.name, !standing.is_refused());
        self.of_stages.push(decision);
    }

    /// What was decided, for the audit log.
    pub(super) fn decisions(&self) -> Vec<Decision> {
        let asked = self.asked.iter();
        let asked = asked.map(|asked| decided(&asked.operation, asked.decision == "allow"));
        asked.chain(self.of_stages.iter().cloned()).collect()
    }
}

fn decided(operation: &str, is_allowed: bool) -> Decision {
    Decision {
        rule: format!("operation {}", short(operation)),
        is_allowed,
    }
}

/// Whether findings pass the level that the policy enforces: what finds nothing was checked, too.
pub(super) fn held_to(level: EnforcementLevel, findings: &[Finding]) -> Decision {
    Decision {
        rule: format!("enforcement {}", level_word(level)),
        is_allowed: findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Pass),
    }
}

/// The report of an evaluation.
pub(super) fn report(evaluation: Evaluation, told: Told<'_>) -> Report {
    let summary = GuardSummary::of(&evaluation.findings);
    let headline = headline(&evaluation, &summary, &told);
    let recommendations = recommendations(&evaluation, &summary, &told);
    let Evaluation {
        findings,
        coverage,
        accepted,
        redactor,
        salt,
        ..
    } = evaluation;
    let mut operations = told.operations;
    for asked in &mut operations.asked {
        redactor.redact(&mut asked.operation);
        asked
            .resource
            .iter_mut()
            .for_each(|text| redactor.redact(text));
    }
    let mut decisions = operations.decisions();
    decisions.push(held_to(told.request.terms.enforcement.level, &findings));
    let body = GuardBody {
        summary,
        suppressed: accepted,
        coverage,
        enforcement: EnforcementSection {
            enforcement: told.request.terms.enforcement,
            fail_on: told.fail_on,
            rules: told.rules,
            fingerprint_salt: salt,
        },
        operations,
        recommendations,
    };
    let explanations = guard::behind(told.request.scanner.pack(), &findings);
    Report::new("guard", headline, findings)
        .with_body(&body)
        .with_decisions(decisions)
        .with_explanations(explanations)
        .with_lasting_fingerprints(salt != SaltOrigin::Random)
}

/// The beginning of a name, as much as a record of the audit log has room for.
fn short(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

fn is_open(finding: &&Finding) -> bool {
    let detail = finding.detail.as_ref();
    detail.is_none_or(|detail| detail.state == State::Open)
}

impl GuardSummary {
    fn of(findings: &[Finding]) -> Self {
        let mut summary = Self::default();
        for finding in findings.iter().filter(is_open) {
            let would_fail = finding.detail.as_ref().map(|detail| detail.would_fail);
            summary.findings += 1;
            summary.failing += u64::from(finding.verdict != Verdict::Pass);
            summary.would_fail += u64::from(would_fail.unwrap_or_else(|| is_gap(finding.code)));
            let by_severity = &mut summary.by_severity;
            *by_severity.entry(finding.severity.word()).or_default() += 1;
            if let Some(detail) = &finding.detail {
                let by_category = &mut summary.by_category;
                *by_category.entry(detail.category.word()).or_default() += 1;
            }
        }
        summary
    }
}

/// What failed and why, in one line.
fn headline(evaluation: &Evaluation, summary: &GuardSummary, told: &Told<'_>) -> String {
    let coverage = &evaluation.coverage;
    let mut parts = Vec::new();
    match (summary.findings, summary.failing) {
        (0, _) => parts.push("nothing found".to_owned()),
        (all, 0) => {
            let would = match summary.would_fail {
                0 => String::new(),
                would => format!(", {would} would under `strict`"),
            };
            parts.push(format!(
                "{}, none fails{would}",
                units::count(all, "finding")
            ));
        }
        (all, failing) => parts.push(format!(
            "{failing} of {} {} {}",
            units::count(all, "finding"),
            if failing == 1 { "fails" } else { "fail" },
            reasons(&evaluation.findings, told)
        )),
    }
    let accepted = evaluation.accepted.by_marker + evaluation.accepted.by_baseline;
    if accepted > 0 {
        parts.push(format!("{accepted} accepted"));
    }
    match told.request.targets.is_empty() && coverage.repository.is_none() {
        true => {
            let section = &told.operations;
            let judged = section.asked.len() as u64 + section.logged;
            parts.push(format!("{} judged", units::count(judged, "operation")));
        }
        false => parts.push(format!(
            "{} of {} looked at{}",
            units::count(coverage.files, "file"),
            units::bytes(coverage.bytes),
            coverage.repository.as_ref().map(reach).unwrap_or_default()
        )),
    }
    if coverage.partial > 0 {
        parts.push(format!("{} not entirely", coverage.partial));
    }
    parts.join("; ")
}

/// What of a repository was looked at.
fn reach(reach: &Reach) -> String {
    match (reach.scope, &reach.since) {
        ("history", _) => format!(" in {}", units::count(reach.commits, "commit")),
        (_, Some(revision)) => format!(", changed since `{revision}`"),
        (scope, None) => format!(", {scope}"),
    }
}

/// Why findings fail: at which level, and what of which severity.
fn reasons(findings: &[Finding], told: &Told<'_>) -> String {
    let enforcement = &told.request.terms.enforcement;
    let failing = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Violation);
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    let mut gaps = 0;
    for finding in failing {
        match is_gap(finding.code) {
            true => gaps += 1,
            false => {
                *counts
                    .entry(std::cmp::Reverse(finding.severity))
                    .or_default() += 1
            }
        }
    }
    let counts = counts.iter().map(|(severity, count)| {
        let severity = severity.0.word();
        format!("{count} {severity}")
    });
    let mut counts: Vec<String> = counts.collect();
    if gaps > 0 {
        counts.push(format!("{gaps} not looked at"));
    }
    let open = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Error)
        .count();
    if open > 0 {
        counts.push(format!("{open} without an answer"));
    }
    let level = level_word(enforcement.level);
    let from = match enforcement.fails_from {
        Some(severity) => format!(" from `{}` on", severity.word()),
        None => String::new(),
    };
    format!("under `{level}`{from}: {}", counts.join(", "))
}

fn level_word(level: EnforcementLevel) -> &'static str {
    match level {
        EnforcementLevel::Strict => "strict",
        EnforcementLevel::Standard => "standard",
        EnforcementLevel::Advisory => "advisory",
    }
}

fn recommendations(
    evaluation: &Evaluation,
    summary: &GuardSummary,
    told: &Told<'_>,
) -> Vec<String> {
    let mut all = fixes(&evaluation.findings, told.request.scanner.pack());
    let accepted = &evaluation.accepted;
    if summary.findings >= BASELINE_FROM && told.request.terms.baseline.is_none() {
        all.push("Accept what is there today with `--baseline FILE --update-baseline`, so that what is new stands out.".into());
    }
    if accepted.unused > 0 {
        all.push("Remove suppressions that accept nothing; `--update-baseline` drops such entries of the baseline.".into());
    }
    if accepted.unexplained > 0 {
        all.push("Give every suppression a reason.".into());
    }
    if accepted.expired > 0 {
        all.push("Fix what baseline entries accepted until a day that has passed, or give them another day.".into());
    }
    if evaluation.coverage.partial > 0 {
        all.push("Look by other means at what could not be looked at, or leave it out with `policy_guard.exclude`.".into());
    }
    let enforcement = &told.request.terms.enforcement;
    if enforcement.outdoes(told.fail_on) {
        let from = enforcement.fails_from.map_or("never", Severity::word);
        all.push(format!(
            "Leave `--fail-on` out: it may only tighten, and the policy fails from `{from}` on."
        ));
    }
    let has_fingerprints = evaluation.findings.iter().any(|finding| {
        let detail = finding.detail.as_deref();
        detail.is_some_and(|detail| detail.fingerprint.is_some())
    });
    if evaluation.salt == SaltOrigin::Random && has_fingerprints {
        all.push("Fingerprints of this run stand alone: take a baseline, or name a variable with a salt in `policy_guard.fingerprint_salt_env`, to compare them with those of other runs.".into());
    }
    all
}

/// What to do about the families of open findings that would fail, the worst first.
fn fixes(findings: &[Finding], pack: &Pack) -> Vec<String> {
    let mut families: BTreeMap<&str, (Severity, u64)> = BTreeMap::new();
    let pressing = |detail: &&Detail| {
        // What is wrong with suppressions has its own recommendations.
        detail.would_fail && !detail.rule_id.starts_with("suppression.")
    };
    for finding in findings.iter().filter(is_open) {
        let Some(detail) = finding.detail.as_deref().filter(|detail| pressing(detail)) else {
            continue;
        };
        let family = detail.rule_id.split('.').next().unwrap_or_default();
        let entry = families.entry(family).or_insert((Severity::Info, 0));
        *entry = (entry.0.max(finding.severity), entry.1 + 1);
    }
    let mut order: Vec<_> = families.into_iter().collect();
    order.sort_by_key(|(family, (severity, count))| {
        (std::cmp::Reverse((*severity, *count)), *family)
    });
    let told = order.into_iter().filter_map(|(id, (_, count))| {
        let family = pack.families.get(id)?;
        let counted = units::count(count, "finding");
        Some(format!("{} ({counted}): {}", family.title, family.fix))
    });
    told.take(FAMILIES_MAX).collect()
}
