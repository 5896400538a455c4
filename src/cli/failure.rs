//! Why a command could not answer: a kind, a chain of causes, and hints.

use crate::report::{Code, Finding, codes};

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line contradicts itself or misses something.
    Usage,
    /// The policy file.
    Policy,
    /// The signing secret.
    Key,
    /// Something to read.
    Input,
    /// Something to write.
    Output,
    /// The audit log, where the policy insists on one.
    Audit,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// Why a command could not answer.
#[derive(Debug)]
pub struct Failure {
    /// What kind of trouble.
    pub kind: Kind,
    /// One or more things that went wrong, each with its place and hint.
    pub findings: Vec<Finding>,
    /// Whether `--output` must stay as it is, since it is what the trouble is about.
    pub keeps_output: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let messages: Vec<&str> = self
            .findings
            .iter()
            .map(|finding| finding.message.as_str())
            .collect();
        out.write_str(&messages.join("; "))
    }
}

/// So that what writes data may fail for a reason of its own.
impl std::error::Error for Failure {}

impl Failure {
    /// What went wrong first, in words; empty where nothing is told.
    pub fn message(&self) -> &str {
        self.findings.first().map_or("", |finding| &finding.message)
    }

    /// A failure with its whole chain of causes in one message.
    pub fn new(kind: Kind, source: impl Into<anyhow::Error>) -> Self {
        // `{:#}` joins the chain with colons; each level tells only its own.
        Self::of(
            kind,
            Finding::new(code_of(kind), format!("{:#}", source.into())),
        )
    }

    /// A failure in plain words.
    pub fn because(kind: Kind, message: impl Into<String>) -> Self {
        Self::of(kind, Finding::new(code_of(kind), message))
    }

    /// A failure that is a finding.
    pub fn of(kind: Kind, finding: Finding) -> Self {
        Self {
            kind,
            findings: vec![finding],
            keeps_output: false,
        }
    }

    /// A failure of several findings; not empty.
    pub fn of_all(kind: Kind, findings: Vec<Finding>) -> Self {
        Self {
            kind,
            findings,
            keeps_output: false,
        }
    }

    /// The same with a remedy on its first finding.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(first) = self.findings.first_mut() {
            first.hint = Some(hint.into().into_boxed_str());
        }
        self
    }

    /// The same, and `--output` is not touched.
    pub fn keeping_output(mut self) -> Self {
        self.keeps_output = true;
        self
    }
}

fn code_of(kind: Kind) -> &'static Code {
    match kind {
        Kind::Usage => &codes::COMMAND_USAGE,
        Kind::Policy => &codes::POLICY_INVALID,
        Kind::Key => &codes::KEY_UNAVAILABLE,
        Kind::Input => &codes::COMMAND_INPUT,
        Kind::Output => &codes::COMMAND_OUTPUT,
        Kind::Audit => &codes::AUDIT_REFUSED,
        Kind::Interrupted | Kind::Terminated => &codes::COMMAND_INTERRUPTED,
    }
}
