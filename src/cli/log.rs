//! The operational log for collectors: what stderr says to people, as one JSON object a line.
//!
//! Every line has `time`, `level` (`error`, `warning`, `info`), `event` (`finding`, `note`, `outcome`),
//! `message`, `tool`, `command` and `run_id`. Pure: printing is at home in `render`.

use serde_json::{Map, Value, json};

use crate::base::clock::Timestamp;
use crate::base::severity::Severity;
use crate::report::{Envelope, Finding, Verdict, count_by_severity};

/// Whose lines they are.
#[derive(Debug)]
pub(super) struct Log {
    /// The verb.
    pub(super) command: String,
    /// The run's identifier.
    pub(super) run_id: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// An outcome's.
    pub(super) fn of_code(exit_code: u8) -> Self {
        match exit_code {
            0 => Self::Info,
            _ => Self::Error,
        }
    }

    /// A finding's: an error is what makes the answer worse.
    pub(super) fn of(finding: &Finding) -> Self {
        match (finding.verdict, finding.severity) {
            (Verdict::Pass, Severity::Info | Severity::Low) => Self::Info,
            (Verdict::Pass, _) => Self::Warning,
            _ => Self::Error,
        }
    }
}

impl Log {
    /// A line about nothing in particular.
    pub(super) fn note(&self, now: Timestamp, level: Level, message: &str) -> String {
        self.line((now, level, "note"), message, Map::new())
    }

    /// A finding.
    pub(super) fn finding(
        &self,
        now: Timestamp,
        finding: &Finding,
        inert: impl Fn(&str) -> String,
    ) -> String {
        let mut fields = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            fields.extend(value.map(|value| (name.to_owned(), value)))
        };
        let text = |text: Option<&str>| text.map(|text| json!(inert(text)));
        let detail = finding.detail.as_deref();
        add("code", Some(json!(finding.code.id)));
        add("severity", Some(json!(finding.severity)));
        add("path", text(finding.path.as_deref()));
        add("line", finding.line.map(Value::from));
        add("column", finding.column.map(Value::from));
        add("hint", text(finding.hint.as_deref()));
        add("rule", detail.map(|detail| json!(detail.rule_id)));
        add(
            "member",
            text(detail.and_then(|detail| detail.member.as_deref())),
        );
        add(
            "commit",
            text(detail.and_then(|detail| detail.commit.as_deref())),
        );
        add("state", detail.map(|detail| json!(detail.state)));
        let kind = (now, Level::of(finding), "finding");
        self.line(kind, &inert(&finding.message), fields)
    }

    /// How the run came out: the last line of it.
    pub(super) fn outcome(
        &self,
        envelope: &Envelope<Map<String, Value>>,
        headline: &str,
    ) -> String {
        let fields = [
            ("verdict", json!(envelope.verdict)),
            ("exit_code", json!(envelope.exit_code)),
            ("duration_seconds", json!(envelope.duration_seconds)),
            ("findings", json!(count_by_severity(&envelope.findings))),
            ("policy", json!(envelope.policy.source)),
            (
                "audit_sequence",
                json!(envelope.audit_head.as_ref().map(|head| head.sequence)),
            ),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        let level = Level::of_code(envelope.exit_code);
        let kind = (envelope.finished_at, level, "outcome");
        self.line(kind, headline, Map::from_iter(fields))
    }

    fn line(
        &self,
        (time, level, event): (Timestamp, Level, &str),
        message: &str,
        mut fields: Map<String, Value>,
    ) -> String {
        for (name, value) in [
            ("time", json!(time)),
            ("level", json!(level.word())),
            ("event", json!(event)),
            ("message", json!(message)),
            ("tool", json!("agp")),
            ("command", json!(self.command)),
            ("run_id", json!(self.run_id)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        format!("{}\n", Value::Object(fields))
    }
}
