//! The one mapping from an answer to the exit code of the process.

use super::failure::{Failure, Kind};
use crate::report::Verdict;

/// An exit code and its meaning, for the documentation.
pub struct ExitCode {
    /// The number.
    pub code: u8,
    /// One sentence without a final stop.
    pub meaning: &'static str,
}

/// Every exit code.
pub const ALL: [ExitCode; 7] = [
    ExitCode {
        code: 0,
        meaning: "The answer is good",
    },
    ExitCode {
        code: 1,
        meaning: "The answer is no: a signature, file or log does not verify, a rollback could not be verified, or the governed command itself failed",
    },
    ExitCode {
        code: 2,
        meaning: "No answer: usage, policy, missing secret, unknown key, input or output; or an alert that had to arrive did not",
    },
    ExitCode {
        code: 18,
        meaning: "A performance regression, or a time or memory maximum of a governed command exceeded",
    },
    ExitCode {
        code: 19,
        meaning: "A policy guard violation at or above the level that the policy enforces",
    },
    ExitCode {
        code: 130,
        meaning: "Interrupted (SIGINT); the state is consistent",
    },
    ExitCode {
        code: 143,
        meaning: "Terminated (SIGTERM); the state is consistent",
    },
];

/// The exit code of an answer.
pub fn code(answer: Result<Verdict, &Failure>) -> u8 {
    match answer {
        Ok(Verdict::Pass) => 0,
        Ok(Verdict::Fail) => 1,
        Ok(Verdict::Error) => 2,
        Ok(Verdict::Regression) => 18,
        Ok(Verdict::Violation) => 19,
        Err(failure) => match failure.kind {
            Kind::Usage | Kind::Policy | Kind::Key | Kind::Input | Kind::Output | Kind::Audit => 2,
            Kind::Interrupted => 130,
            Kind::Terminated => 143,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_documented_code_and_precedence_is_by_severity() {
        let codes: Vec<u8> = Verdict::ALL
            .iter()
            .map(|verdict| code(Ok(*verdict)))
            .collect();
        assert_eq!(codes, [0, 1, 18, 2, 19]);
        for verdict_code in codes {
            assert!(ALL.iter().any(|documented| documented.code == verdict_code));
        }
    }
}
