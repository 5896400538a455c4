//! What a policy makes of findings: which of them fail the command. Pure.
//!
//! | level | fails from | a gap in the scan |
//! |---|---|---|
//! | `strict` | `high` | is a violation |
//! | `standard` | `critical` | is what its code says |
//! | `advisory` | never | is what its code says |
//!
//! A gap is a file that could not be read (whose code leaves the answer open), or not in whole
//! (whose code warns). `--fail-on` may only tighten.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::severity::Severity;
use crate::policy::EnforcementLevel;
use crate::report::{Code, Finding, State, Verdict, codes};

/// How findings are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Enforcement {
    /// `strict`, `standard` or `advisory`.
    pub level: EnforcementLevel,
    /// The severity from which on a finding fails the command; null where none does.
    pub fails_from: Option<Severity>,
}

impl Enforcement {
    /// As the policy says, or stricter where `--fail-on` is.
    pub fn new(level: EnforcementLevel, fail_on: Option<Severity>) -> Self {
        let own = threshold(level);
        let fails_from = [own, fail_on].into_iter().flatten().min();
        Self { level, fails_from }
    }

    /// Whether `--fail-on` asks for less than the policy, and so does not count.
    pub fn outdoes(&self, fail_on: Option<Severity>) -> bool {
        fail_on.is_some_and(|fail_on| self.fails_from.is_some_and(|from| from < fail_on))
    }

    /// Says of a finding what it makes of the answer, and whether it would fail under `strict`.
    pub fn judge(&self, finding: &mut Finding) {
        let is_open = finding
            .detail
            .as_ref()
            .is_none_or(|detail| detail.state == State::Open);
        let fails_from =
            |from: Option<Severity>| is_open && from.is_some_and(|from| finding.severity >= from);
        let would_fail = finding.code.verdict == Verdict::Violation
            && fails_from(threshold(EnforcementLevel::Strict));
        finding.verdict = match finding.code.verdict {
            Verdict::Violation if fails_from(self.fails_from) => Verdict::Violation,
            Verdict::Violation => Verdict::Pass,
            _ if self.level == EnforcementLevel::Strict && is_gap(finding.code) => {
                Verdict::Violation
            }
            other => other,
        };
        if let Some(detail) = &mut finding.detail {
            detail.would_fail = would_fail;
        }
    }
}

fn threshold(level: EnforcementLevel) -> Option<Severity> {
    match level {
        EnforcementLevel::Strict => Some(Severity::High),
        EnforcementLevel::Standard => Some(Severity::Critical),
        EnforcementLevel::Advisory => None,
    }
}

/// Whether a code says that something of the targets was not looked at, or not entirely.
pub fn is_gap(code: &Code) -> bool {
    let is_lost = code.verdict == Verdict::Error && code.id.starts_with("file.");
    is_lost || code == &codes::SCAN_PARTIAL
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::guard::{Check, Found, Place};
    use crate::report::{Category, Confidence};
    use EnforcementLevel::{Advisory, Standard, Strict};
    use Severity::{Critical, High, Info, Low, Medium};

    fn finding(severity: Severity) -> Finding {
        let check = Check {
            id: "a.b".into(),
            title: String::new(),
            category: Category::Secret,
            severity,
            confidence: Confidence::High,
        };
        Found::by_check(&check, &Place::default(), "x").finding
    }

    fn judged(level: EnforcementLevel, fail_on: Option<Severity>, mut finding: Finding) -> Finding {
        Enforcement::new(level, fail_on).judge(&mut finding);
        finding
    }

    #[test]
    fn a_level_fails_from_its_severity_on_and_a_flag_only_tightens() {
        for (level, fail_on, fails) in [
            (Strict, None, &[High, Critical][..]),
            (Strict, Some(Critical), &[High, Critical]),
            (Strict, Some(Medium), &[Medium, High, Critical]),
            (Strict, Some(Info), &[Info, Low, Medium, High, Critical]),
            (Standard, None, &[Critical]),
            (Standard, Some(High), &[High, Critical]),
            (Advisory, None, &[]),
            (Advisory, Some(Low), &[Low, Medium, High, Critical]),
        ] {
            for severity in [Info, Low, Medium, High, Critical] {
                let finding = judged(level, fail_on, finding(severity));
                let expected = match fails.contains(&severity) {
                    true => Verdict::Violation,
                    false => Verdict::Pass,
                };
                assert_eq!(
                    finding.verdict, expected,
                    "{level:?} {fail_on:?} {severity:?}"
                );
                let would_fail = severity >= High;
                assert_eq!(
                    finding.detail.unwrap().would_fail,
                    would_fail,
                    "{severity:?}"
                );
            }
        }
        assert!(Enforcement::new(Strict, Some(Critical)).outdoes(Some(Critical)));
        assert!(!Enforcement::new(Strict, Some(High)).outdoes(Some(High)));
        assert!(!Enforcement::new(Advisory, Some(Critical)).outdoes(Some(Critical)));
        assert!(!Enforcement::new(Strict, None).outdoes(None));
    }

    #[test]
    fn what_somebody_has_accepted_never_fails() {
        for state in [State::Baseline, State::Suppressed] {
            let mut accepted = finding(Critical);
            accepted.detail.as_mut().unwrap().state = state;
            let finding = judged(Strict, Some(Info), accepted);
            assert_eq!(finding.verdict, Verdict::Pass);
            assert!(!finding.detail.unwrap().would_fail);
        }
    }

    #[test]
    fn a_gap_is_a_violation_under_strict_and_leaves_the_answer_open_elsewhere() {
        for (code, strict, other) in [
            (&codes::FILE_UNREADABLE, Verdict::Violation, Verdict::Error),
            (&codes::SCAN_PARTIAL, Verdict::Violation, Verdict::Pass),
            // Trouble that is not about what was scanned stays what it is.
            (&codes::COMMAND_INPUT, Verdict::Error, Verdict::Error),
            (&codes::POLICY_IGNORED, Verdict::Pass, Verdict::Pass),
        ] {
            for (level, expected) in [(Strict, strict), (Standard, other), (Advisory, other)] {
                let finding = judged(level, None, Finding::new(code, "x"));
                assert_eq!(finding.verdict, expected, "{} {level:?}", code.id);
            }
        }
    }
}
