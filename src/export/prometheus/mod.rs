//! Metrics of a report in Prometheus' text format 0.0.4: gauges of a command's last run.
//!
//! Labels are bounded: words of this program, the stages and the kind of work that a policy or a flag
//! names, and what the policy adds. Never a path, a run, or anything that was found. Must never know
//! where the text goes.

mod families;
mod measured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use self::families::Family;
use super::Document;
use crate::base::severity::Severity;
use crate::base::units::printable;
use crate::report::{Category, Finding, State, Verdict, codes};

/// The longest value of a label, characters.
const LABEL_CHARACTERS_MAX: usize = 100;

/// The families of codes that say that something does not verify.
const INTEGRITY: [&str; 9] = [
    "audit",
    "file",
    "manifest",
    "playbook",
    "replay",
    "restore",
    "signature",
    "snapshot",
    "time",
];

/// A line as this module writes it: name, command, further labels, value.
static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let label = r#"[A-Za-z_][A-Za-z0-9_]*="(?:[^"\\\n]|\\["\\n])*""#;
    let line = format!(r#"^(agp_[a-z_]+)(\{{command="([^"\\]*)"(?:,{label})*\}}) ([-+.0-9eE]+)$"#);
    Regex::new(&line).ok()
});

/// Metrics, to be written or to be put beside others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    command: String,
    labels: BTreeMap<String, String>,
    /// By place in the list of all families, then by labels: values as they are written.
    lines: BTreeMap<usize, BTreeMap<String, String>>,
}

impl Metrics {
    /// What a report says of its run. The same report gives the same text.
    pub fn of(document: &Document<'_>) -> Self {
        let envelope = document.envelope;
        let command = match &*envelope.report {
            // A command line that names no command.
            "" => "none",
            name => name,
        };
        let mut metrics = Self {
            command: command.to_owned(),
            labels: document.labels.clone(),
            lines: BTreeMap::new(),
        };
        metrics.run(document);
        metrics.findings(&envelope.findings);
        metrics.integrity(&envelope.findings, &envelope.verdict);
        measured::add(&mut metrics, document);
        metrics
    }

    /// The same beside what an earlier text of ours says of other commands, and with the time of this
    /// command's last success, where this run is none. What is not a line of ours is left out.
    pub fn beside(mut self, earlier: &str) -> Self {
        let pattern = LINE.as_ref();
        for line in earlier.lines() {
            let Some(found) = pattern.and_then(|pattern| pattern.captures(line)) else {
                continue;
            };
            let [name, labels, command, value] = [1, 2, 3, 4].map(|at| &found[at]);
            let place = families::ALL.iter().position(|family| family.name == name);
            let (Some(place), Ok(number)) = (place, value.parse::<f64>()) else {
                continue;
            };
            if command != self.command {
                let lines = self.lines.entry(place).or_default();
                lines.entry(labels.to_owned()).or_insert(value.to_owned());
            } else if families::ALL[place] == &families::LAST_SUCCESS {
                self.add(&families::LAST_SUCCESS, &[], number);
            }
        }
        self
    }

    /// What lasts until the next run, and what lasts until the next success: only a receiver that
    /// keeps the two apart remembers the second one beyond a failure.
    pub fn parted(mut self) -> (Self, Option<Self>) {
        let is_success = |place: &usize| families::ALL[*place] == &families::LAST_SUCCESS;
        let place = self.lines.keys().copied().find(is_success);
        let success = place.and_then(|place| Some((place, self.lines.remove(&place)?)));
        let success = success.map(|lines| Self {
            lines: BTreeMap::from([lines]),
            ..self.clone()
        });
        (self, success)
    }

    /// The command in its labels.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// A value under its own labels and those of the policy; where two stand under the same, the first
    /// counts. What is no number is left out.
    fn add(&mut self, family: &'static Family, own: &[(&str, &str)], value: f64) {
        let place = families::ALL.iter().position(|known| *known == family);
        let (Some(place), true) = (place, value.is_finite()) else {
            return;
        };
        let mut labels = format!("{{command=\"{}\"", escaped(&self.command));
        let is_own = |name: &str| name == "command" || own.iter().any(|(known, _)| *known == name);
        let added = self.labels.iter().map(|(name, value)| (&**name, &**value));
        let added = added.filter(|(name, _)| !is_own(name));
        for (name, value) in own.iter().copied().chain(added) {
            labels.push_str(&format!(",{name}=\"{}\"", escaped(value)));
        }
        labels.push('}');
        let lines = self.lines.entry(place).or_default();
        lines.entry(labels).or_insert_with(|| value.to_string());
    }

    fn run(&mut self, document: &Document<'_>) {
        let envelope = document.envelope;
        let ended = envelope.finished_at.unix_millis() as f64 / 1000.0;
        self.add(&families::BUILD, &[("version", envelope.tool.version)], 1.0);
        self.add(&families::LAST_RUN, &[], ended);
        if envelope.verdict == Verdict::Pass.word() {
            self.add(&families::LAST_SUCCESS, &[], ended);
        }
        for word in Verdict::ALL.map(Verdict::word) {
            let is_it = f64::from(u8::from(envelope.verdict == word));
            self.add(&families::VERDICT, &[("verdict", word)], is_it);
        }
        self.add(&families::EXIT_CODE, &[], envelope.exit_code.into());
        self.add(&families::DURATION, &[], envelope.duration_seconds);
        let usage = &envelope.resource_usage;
        for (mode, seconds) in [
            ("user", usage.cpu_user_seconds),
            ("system", usage.cpu_system_seconds),
        ] {
            self.add(
                &families::CPU,
                &[("mode", mode)],
                seconds.unwrap_or(f64::NAN),
            );
        }
        for (family, bytes) in [
            (&families::PEAK_MEMORY, usage.peak_memory_bytes),
            (&families::READ, usage.read_bytes),
            (&families::WRITTEN, usage.written_bytes),
        ] {
            self.add(family, &[], bytes.map_or(f64::NAN, |bytes| bytes as f64));
        }
        if let Some(head) = &envelope.audit_head {
            self.add(&families::AUDIT_SEQUENCE, &[], head.sequence as f64);
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        let state = |finding: &Finding| finding.detail.as_ref().map(|detail| detail.state);
        let is_open = |finding: &&Finding| state(finding).is_none_or(|state| state == State::Open);
        let open: Vec<&Finding> = findings.iter().filter(is_open).collect();
        for severity in Severity::ALL {
            let count = open
                .iter()
                .filter(|finding| finding.severity == severity)
                .count();
            self.add(
                &families::FINDINGS,
                &[("severity", severity.word())],
                count as f64,
            );
        }
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for finding in &open {
            *codes.entry(finding.code.id).or_default() += 1;
        }
        for (code, count) in codes {
            self.add(&families::CODES, &[("code", code)], count as f64);
        }
        if ["rollback", "run"].contains(&&*self.command) {
            let is_back = |finding: &&&Finding| finding.code == &codes::RUN_ROLLED_BACK;
            let back = open.iter().filter(is_back).count().min(1);
            self.add(&families::ROLLED_BACK, &[], back as f64);
        }
        let unknown = open
            .iter()
            .filter(|finding| finding.verdict == Verdict::Error);
        self.add(&families::ERRORS, &[], unknown.count() as f64);
        if !["guard", "run"].contains(&&*self.command) {
            return;
        }
        self.add(
            &families::ACCEPTED,
            &[],
            (findings.len() - open.len()) as f64,
        );
        for category in Category::ALL {
            let is_it = |finding: &&&Finding| {
                finding
                    .detail
                    .as_ref()
                    .is_some_and(|detail| detail.category == category)
            };
            let count = open.iter().filter(is_it).count();
            self.add(
                &families::VIOLATIONS,
                &[("category", category.word())],
                count as f64,
            );
        }
    }

    /// Zero is a proof; a run that could not tell says nothing unless it found something.
    fn integrity(&mut self, findings: &[Finding], verdict: &str) {
        let is_failure = |finding: &&Finding| {
            let family = finding.code.id.split('.').next().unwrap_or_default();
            finding.verdict == Verdict::Fail && INTEGRITY.contains(&family)
        };
        let failures = findings.iter().filter(is_failure).count();
        let checks = ["audit", "rollback", "run", "verify"].contains(&&*self.command);
        if failures > 0 || (checks && verdict != Verdict::Error.word()) {
            self.add(&families::INTEGRITY_FAILURES, &[], failures as f64);
        }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, lines) in &self.lines {
            let Family { name, help } = families::ALL[*place];
            writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge")?;
            for (labels, value) in lines {
                writeln!(out, "{name}{labels} {value}")?;
            }
        }
        Ok(())
    }
}

/// The value of a label, inert whatever it is, and no longer than its bound.
fn escaped(text: &str) -> String {
    let text: String = text.chars().take(LABEL_CHARACTERS_MAX).collect();
    printable(&text).replace('\\', "\\\\").replace('"', "\\\"")
}
