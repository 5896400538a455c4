//! What people may want to hear of: the one list that finding codes and the routes of alerts share.
//!
//! Knows nothing of what makes an event, nor of who hears of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that people may want to hear of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A run is a regression.
    PerformanceRegression,
    /// A resource nears or breaks its maximum.
    ResourceExhaustion,
    /// Guard found a violation.
    PolicyViolation,
    /// Something signed does not verify.
    IntegrityFailure,
    /// A tree was rolled back, or could not be.
    Rollback,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 5] = [
        Self::PerformanceRegression,
        Self::ResourceExhaustion,
        Self::PolicyViolation,
        Self::IntegrityFailure,
        Self::Rollback,
    ];

    /// The word in policies and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::PerformanceRegression => "performance_regression",
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::PolicyViolation => "policy_violation",
            Self::IntegrityFailure => "integrity_failure",
            Self::Rollback => "rollback",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_its_word() {
        for event in Event::ALL {
            let written = format!("\"{}\"", event.word());
            assert!(matches!(serde_json::to_string(&event), Ok(text) if text == written));
        }
    }
}
