//! What a rule or check has found, before anybody has judged it. Owns the step from a rule to a
//! finding; must never know the text that was looked at.

use std::fmt;

use super::rule::{Check, Rule};
use crate::base::severity::Severity;
use crate::report::{Category, Code, Confidence, Detail, Finding, State, codes};

/// Something found, with the bytes that fingerprint and redaction are made of. It never leaves
/// the guard: what reports get is the finding alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// What, where and how bad. Has a detail.
    pub finding: Finding,
    /// The secret itself, decoded; empty where a finding has none.
    pub value: Vec<u8>,
    /// The operation that it is evidence of.
    pub operation: Option<String>,
}

/// Where something was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// The file, as one would type it; empty where it is about no file.
    pub shown: &'a str,
    /// The file inside an archive; `None` outside of archives.
    pub member: Option<&'a str>,
    /// The line where it begins, from 1; `None` where no line is meant.
    pub line: Option<u64>,
    /// The column where it begins, in characters, from 1.
    pub column: Option<u64>,
    /// The line where it ends.
    pub end_line: Option<u64>,
}

/// What rules and checks have in common.
struct Origin<'a> {
    id: &'a str,
    category: Category,
    severity: Severity,
    confidence: Confidence,
}

impl Found {
    /// What a rule has found.
    pub fn by_rule(rule: &Rule, place: &Place<'_>, message: impl Into<String>) -> Self {
        let origin = Origin {
            id: &rule.id,
            category: rule.category,
            severity: rule.severity,
            confidence: rule.confidence,
        };
        let operation = rule.operation.clone();
        let found = Self::new(&origin, place, message.into());
        Self { operation, ..found }
    }

    /// What a built-in check has found.
    pub fn by_check(check: &Check, place: &Place<'_>, message: impl Into<String>) -> Self {
        let origin = Origin {
            id: &check.id,
            category: check.category,
            severity: check.severity,
            confidence: check.confidence,
        };
        Self::new(&origin, place, message.into())
    }

    /// A gap or trouble that no rule is about; it has no detail.
    pub fn by_code(code: &'static Code, place: &Place<'_>, message: impl Into<String>) -> Self {
        let mut finding = Finding::new(code, message);
        finding.path = (!place.shown.is_empty()).then(|| place.shown.to_owned());
        (finding.line, finding.column) = (place.line, place.column);
        let (value, operation) = (Vec::new(), None);
        Self {
            finding,
            value,
            operation,
        }
    }

    /// The same with the secret that was found.
    pub fn with_value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = value.into();
        self
    }

    /// The same, as bad as that.
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.finding.severity = severity;
        self
    }

    /// The same, as sure as that.
    pub fn with_confidence(mut self, confidence: Confidence) -> Self {
        if let Some(detail) = &mut self.finding.detail {
            detail.confidence = confidence;
        }
        self
    }

    /// The same, found below these encodings, outermost first.
    pub fn decoded_from(mut self, encodings: Vec<String>) -> Self {
        if let Some(detail) = &mut self.finding.detail {
            detail.decoded = encodings;
        }
        self
    }

    fn new(origin: &Origin<'_>, place: &Place<'_>, message: String) -> Self {
        let mut found = Self::by_code(code_of(origin.category), place, message);
        found.finding.severity = origin.severity;
        found.finding = found.finding.with_detail(Detail {
            rule_id: origin.id.to_owned(),
            category: origin.category,
            confidence: origin.confidence,
            end_line: place.end_line,
            redacted: None,
            fingerprint: None,
            state: State::Open,
            reason: None,
            would_fail: false,
            member: place.member.map(str::to_owned),
            decoded: Vec::new(),
        });
        found
    }
}

/// Shows how long the value is and never what it is.
impl fmt::Debug for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Found")
            .field("finding", &self.finding)
            .field("value_bytes", &self.value.len())
            .finish()
    }
}

fn code_of(category: Category) -> &'static Code {
    match category {
        Category::Secret => &codes::GUARD_SECRET,
        Category::SuspiciousFile => &codes::GUARD_SUSPICIOUS_FILE,
        Category::Operation => &codes::GUARD_OPERATION,
        Category::Configuration => &codes::GUARD_CONFIGURATION,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn check() -> Check {
        Check {
            id: "files.bidi_name".into(),
            title: "Name that reads otherwise than it is".into(),
            category: Category::SuspiciousFile,
            severity: Severity::Medium,
            confidence: Confidence::High,
        }
    }

    #[test]
    fn a_check_gives_a_finding_with_its_words_and_place() {
        let place = Place {
            shown: "assets/a.zip",
            member: Some("in/b"),
            line: Some(3),
            column: Some(5),
            end_line: Some(4),
        };
        let found = Found::by_check(&check(), &place, "it does")
            .with_severity(Severity::High)
            .with_confidence(Confidence::Low)
            .decoded_from(vec!["base64".into()]);
        let finding = &found.finding;
        assert_eq!(finding.code, &codes::GUARD_SUSPICIOUS_FILE);
        assert_eq!(finding.path.as_deref(), Some("assets/a.zip"));
        assert_eq!((finding.line, finding.column), (Some(3), Some(5)));
        assert_eq!(finding.severity, Severity::High);
        let detail = finding.detail.as_deref().unwrap();
        assert_eq!(detail.rule_id, "files.bidi_name");
        assert_eq!(detail.member.as_deref(), Some("in/b"));
        assert_eq!(detail.end_line, Some(4));
        assert_eq!(detail.confidence, Confidence::Low);
        assert_eq!(detail.decoded, ["base64"]);
    }

    #[test]
    fn debug_output_never_shows_the_value() {
        let found = Found::by_check(&check(), &Place::default(), "x").with_value("canary");
        let text = format!("{found:?}");
        assert!(
            !text.contains("canary") && text.contains("value_bytes: 6"),
            "{text}"
        );
        assert!(!text.contains("99, 97, 110"), "{text}");
    }
}
