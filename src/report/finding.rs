//! One thing worth a line: what, where, how bad, and what to do.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Verdict;
use super::codes::Code;
use super::detail::Detail;
use crate::base::severity::Severity;

/// One finding. Ordered by path, place and code, so that reports are deterministic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What it is, from the list of all codes.
    #[serde(serialize_with = "code_identifier")]
    #[schemars(with = "String")]
    pub code: &'static Code,
    /// How bad.
    pub severity: Severity,
    /// The file it is about, as one would type it; null where it is about no file.
    pub path: Option<String>,
    /// The line in that file, from 1; null where no line is meant.
    pub line: Option<u64>,
    /// The column in that line, from 1; null where no column is meant.
    pub column: Option<u64>,
    /// The fact, for people.
    pub message: String,
    /// What to do about it; null where the message says it.
    pub hint: Option<String>,
    /// What it makes of the answer: its code's, unless a policy decides.
    #[serde(skip)]
    pub verdict: Verdict,
    /// What a scan knows besides; only findings of `guard` have it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<Detail>>,
}

fn code_identifier<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.id)
}

impl Finding {
    /// A finding of that code, with its severity and remedy.
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        let hint = (!code.remedy.is_empty()).then(|| code.remedy.to_owned());
        let (path, line, column) = (None, None, None);
        Self {
            code,
            severity: code.severity,
            path,
            line,
            column,
            message: message.into(),
            hint,
            verdict: code.verdict,
            detail: None,
        }
    }

    /// The same about a file.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same at a line of its file.
    pub fn on_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The same with what a scan knows besides.
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// The same with another hint than its code's.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn rank(&self) -> impl Ord {
        (
            &self.path,
            &self.line,
            &self.column,
            self.code.id,
            &self.message,
        )
    }
}

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
