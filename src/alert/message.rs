//! What a channel is told of a run: one message, its events, and the worst of their findings.
//!
//! Pure. Whatever came from files is made printable here, so that no sink has to think of line ends,
//! escape sequences and bidi characters; the markup of each sink is that sink's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::digest::Hasher;
use crate::base::event::Event;
use crate::base::severity::Severity;
use crate::base::units::printable;
use crate::report::{Finding, State, codes};

/// The version that [`Message::alert_version`] bears.
const VERSION: &str = "1.0";
/// What the findings of one message may take as JSON, bytes. With the rest it fits into a pipe (64 KiB).
const FINDINGS_BYTES_MAX: usize = 40 << 10;
/// Findings of one event that are shown.
const FINDINGS_MAX: usize = 50;
/// Kinds of findings that are told apart; beyond that only their codes are.
const KINDS_MAX: usize = 500;
/// Characters of a path.
const PATH_CHARS_MAX: usize = 1024;
/// Characters of a message, a hint, a headline.
const TEXT_CHARS_MAX: usize = 500;
/// Characters of what says where something happened.
const NAME_CHARS_MAX: usize = 200;

/// What the shell knows of a run.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run's identifier.
    pub run_id: &'a str,
    /// Now.
    pub occurred_at: Timestamp,
    /// The verb.
    pub command: &'a str,
    /// What it was about, stable from run to run; may be empty.
    pub target: &'a str,
    /// Where that belongs, stable from machine to machine; may be empty.
    pub repository: &'a str,
    /// The machine.
    pub host: &'a str,
    /// `pass`, `fail` or `error`.
    pub verdict: &'a str,
    /// The exit code, before what alerts make of it.
    pub exit_code: u8,
    /// One sentence.
    pub headline: &'a str,
    /// Everything that was found.
    pub findings: &'a [Finding],
    /// Whether all was looked at that the target names, so that what is not found is not there.
    pub is_complete: bool,
    /// Whether nothing has happened and the channels are only tried.
    pub is_test: bool,
}

/// What one run has to say to one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The version of this format, `1.0`.
    pub alert_version: String,
    /// `agp_` and 32 hex digits: the same however often the message is sent.
    pub id: String,
    /// Whether nothing has happened: `agp tool notify-test` sends such messages.
    pub test: bool,
    /// The run that has something to say.
    pub run_id: String,
    /// When it came to its answer, RFC 3339, milliseconds, UTC.
    #[schemars(with = "String")]
    pub occurred_at: Timestamp,
    /// Which program.
    pub tool: Sender,
    /// The verb: `guard`, `verify`, …
    pub command: String,
    /// What it was about, as one would type it; may be empty.
    pub target: String,
    /// The repository or directory in which it ran; may be empty.
    pub repository: String,
    /// The machine.
    pub host: String,
    /// `pass`, `fail` or `error`.
    pub verdict: String,
    /// The exit code of the run.
    pub exit_code: u8,
    /// The answer in one sentence, for people.
    pub headline: String,
    /// The worst of its events.
    pub severity: Severity,
    /// What happened, each event once, in the order of the guide.
    pub events: Vec<Happened>,
}

/// The program behind a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sender {
    /// Always `agp`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One event of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happened {
    /// Which event.
    pub event: Event,
    /// The worst of its findings.
    pub severity: Severity,
    /// 32 hex digits: the same for the same event of the same command, target and repository.
    pub fingerprint: String,
    /// How many findings there are.
    pub findings_total: u64,
    /// How many of each severity; severities without any are left out.
    pub counts: BTreeMap<String, u64>,
    /// The worst of them, at most 50, fewer where they are long.
    pub findings: Vec<Shown>,
}

/// One finding of a message. What guard found is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// What it is, from the list of all codes.
    pub code: String,
    /// The rule of guard; null for others.
    pub rule: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// The file; null where it is about no file.
    pub path: Option<String>,
    /// The line in it; null where no line is meant.
    pub line: Option<u64>,
    /// The fact, for people.
    pub message: String,
    /// What to do about it; null where the message says it.
    pub hint: Option<String>,
}

/// An event with all its findings, the worst first; there is at least one.
#[derive(Clone, Debug)]
pub(super) struct Happening<'a> {
    pub(super) event: Event,
    findings: Vec<&'a Finding>,
}

/// The events that findings make together, each once. What a person has accepted makes none.
pub(super) fn happenings(findings: &[Finding]) -> Vec<Happening<'_>> {
    let mut by_event: BTreeMap<Event, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let detail = finding.detail.as_ref();
        let is_open = detail.is_none_or(|detail| detail.state == State::Open);
        if let Some(event) = finding.code.event().filter(|_| is_open) {
            by_event.entry(event).or_default().push(finding);
        }
    }
    let sorted = by_event.into_iter().map(|(event, mut findings)| {
        findings.sort_by_key(|finding| Reverse(finding.severity));
        Happening { event, findings }
    });
    sorted.collect()
}

impl<'a> Happening<'a> {
    /// The same with what is at least so bad; `None` where nothing is.
    pub(super) fn from(&self, severity_min: Severity) -> Option<Self> {
        let findings = self.findings.iter().copied();
        let findings: Vec<_> = findings
            .take_while(|finding| finding.severity >= severity_min)
            .collect();
        (!findings.is_empty()).then_some(Self {
            event: self.event,
            findings,
        })
    }

    /// The worst.
    pub(super) fn severity(&self) -> Severity {
        self.findings
            .first()
            .map_or(Severity::Info, |finding| finding.severity)
    }

    /// How many findings there are of each kind: of a rule, or a code, in a file. Lines may move.
    pub(super) fn kinds(&self) -> BTreeMap<String, u64> {
        let count = |kind: &dyn Fn(&Finding) -> String| {
            let mut counts = BTreeMap::new();
            for finding in &self.findings {
                *counts.entry(kind(finding)).or_insert(0) += 1;
            }
            counts
        };
        let kinds = count(&|finding| {
            let path = finding.path.as_deref().unwrap_or_default();
            digest(&[finding.code.id, rule(finding).unwrap_or_default(), path])[..16].to_owned()
        });
        match kinds.len() > KINDS_MAX {
            true => count(&|finding| digest(&[finding.code.id])[..16].to_owned()),
            false => kinds,
        }
    }

    fn happened(&self, facts: &Facts<'_>, bytes_max: usize) -> Happened {
        let mut findings = Vec::new();
        let mut bytes = 0;
        for finding in self.findings.iter().take(FINDINGS_MAX) {
            let shown = Shown::of(finding);
            bytes += serde_json::to_string(&shown).map_or(0, |text| text.len());
            if bytes > bytes_max {
                break;
            }
            findings.push(shown);
        }
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts
                .entry(finding.severity.word().to_owned())
                .or_insert(0) += 1;
        }
        Happened {
            event: self.event,
            severity: self.severity(),
            fingerprint: facts.fingerprint(self.event),
            findings_total: self.findings.len() as u64,
            counts,
            findings,
        }
    }
}

impl Shown {
    fn of(finding: &Finding) -> Self {
        let text = |text: &str| short(text, TEXT_CHARS_MAX);
        let path = finding.path.as_deref();
        Self {
            code: finding.code.id.to_owned(),
            rule: rule(finding).map(|rule| short(rule, NAME_CHARS_MAX)),
            severity: finding.severity,
            path: path.map(|path| short(path, PATH_CHARS_MAX)),
            line: finding.line,
            message: text(&finding.message),
            hint: finding.hint.as_deref().map(text),
        }
    }

    /// `path:line: message`, on one line.
    pub(super) fn in_words(&self) -> String {
        let line = self.line.map(|line| format!(":{line}"));
        let place = self.path.as_deref();
        let place = place.map(|path| format!("{path}{}: ", line.unwrap_or_default()));
        let name = self.rule.as_deref().unwrap_or(&self.code);
        format!(
            "{}: {}{} [{name}]",
            self.severity.word(),
            place.unwrap_or_default(),
            self.message
        )
    }
}

fn rule(finding: &Finding) -> Option<&str> {
    Some(finding.detail.as_ref()?.rule_id.as_str())
}

impl Facts<'_> {
    /// Which command about which target: the same from run to run.
    pub(super) fn scope(&self) -> String {
        digest(&[self.command, self.target, self.repository])
    }

    fn fingerprint(&self, event: Event) -> String {
        digest(&[event.word(), &self.scope()])
    }

    /// The message of this run for a channel.
    pub(super) fn message(&self, channel: &str, happenings: &[Happening<'_>]) -> Message {
        let bytes_max = FINDINGS_BYTES_MAX / happenings.len().max(1);
        let events = happenings.iter();
        let events: Vec<Happened> = events
            .map(|happening| happening.happened(self, bytes_max))
            .collect();
        let worst = events.iter().map(|happened| happened.severity).max();
        let name = |text: &str| short(text, NAME_CHARS_MAX);
        Message {
            alert_version: VERSION.into(),
            id: format!("agp_{}", digest(&[self.run_id, channel])),
            test: self.is_test,
            run_id: self.run_id.into(),
            occurred_at: self.occurred_at,
            tool: Sender {
                name: "agp".into(),
                version: env!("CARGO_PKG_VERSION").into(),
            },
            command: name(self.command),
            target: name(self.target),
            repository: name(self.repository),
            host: name(self.host),
            verdict: self.verdict.into(),
            exit_code: self.exit_code,
            headline: short(self.headline, TEXT_CHARS_MAX),
            severity: worst.unwrap_or(Severity::Info),
            events,
        }
    }
}

impl Message {
    /// Whether this is a message that this version understands.
    pub(super) fn is_known(&self) -> bool {
        self.alert_version == VERSION
    }

    /// `critical: policy violation in assets (agp guard)`, on one line.
    pub(super) fn title(&self) -> String {
        let events: Vec<String> = self.events.iter().map(Happened::title).collect();
        let target = match self.target.is_empty() {
            true => String::new(),
            false => format!(" in {}", self.target),
        };
        let test = if self.test {
            "TEST, nothing happened: "
        } else {
            ""
        };
        format!(
            "{test}{}: {}{target} (agp {})",
            self.severity.word(),
            events.join(", "),
            self.command
        )
    }

    /// Where and when it happened, as pairs of a name and a value that is not empty.
    pub(super) fn circumstances(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("command", format!("agp {}", self.command)),
            ("target", self.target.clone()),
            ("repository", self.repository.clone()),
            ("host", self.host.clone()),
            (
                "verdict",
                format!("{} (exit code {})", self.verdict, self.exit_code),
            ),
            ("time", self.occurred_at.to_string()),
            ("run", self.run_id.clone()),
            ("message", self.id.clone()),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

impl Happened {
    /// `policy violation`.
    pub(super) fn title(&self) -> String {
        self.event.word().replace('_', " ")
    }

    /// How many findings are not among the first so many that are shown.
    pub(super) fn left_out(&self, shown: usize) -> u64 {
        let shown = self.findings.len().min(shown) as u64;
        self.findings_total.saturating_sub(shown)
    }
}

/// Printable text of at most so many characters; what is cut is shown by an ellipsis.
pub(super) fn short(text: &str, chars_max: usize) -> String {
    // Only what may be kept is escaped, however huge the text.
    let end = text.char_indices().nth(chars_max).map(|(at, _)| at);
    let mut safe = printable(&text[..end.unwrap_or(text.len())]).into_owned();
    let end_safe = safe.char_indices().nth(chars_max).map(|(at, _)| at);
    if end.is_some() || end_safe.is_some() {
        let keep = safe.char_indices().nth(chars_max.saturating_sub(1));
        if let Some((at, _)) = keep {
            safe.truncate(at);
        }
        safe.push('…');
    }
    safe
}

/// 32 hex digits of the parts, which cannot run into each other.
fn digest(parts: &[&str]) -> String {
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish().to_string()[..32].to_owned()
}

/// A finding that shows what an alert looks like.
pub(super) fn sample() -> Finding {
    let text = "this is a test of the channels; nothing has happened";
    let mut finding = Finding::new(&codes::GUARD_SECRET, text).with_hint("nothing is to be done");
    finding.severity = Severity::Info;
    finding
}
