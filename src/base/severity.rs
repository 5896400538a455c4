//! How bad something is: the one scale that findings, rules and routes of alerts share.
//!
//! Knows nothing of what is judged, nor of what a severity leads to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad something is; ordered from mild to bad.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth mending some day.
    Low,
    /// Worth mending soon.
    Medium,
    /// Worth mending before anything is released.
    High,
    /// Stop here.
    Critical,
}

impl Severity {
    /// Every severity, from mild to bad.
    pub const ALL: [Self; 5] = [
        Self::Info,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// The word in reports and policies.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ordered_from_mild_to_bad_and_written_as_its_word() {
        assert!(Severity::ALL.is_sorted());
        for severity in Severity::ALL {
            let written = format!("\"{}\"", severity.word());
            assert!(matches!(serde_json::to_string(&severity), Ok(text) if text == written));
            assert!(
                matches!(serde_json::from_str::<Severity>(&written), Ok(read) if read == severity)
            );
        }
    }
}
