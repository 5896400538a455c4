//! Annotations of GitHub Actions: workflow commands, one a line.
//!
//! GitHub shows ten annotations of a step, so of more findings the nine worst are shown and the
//! last line counts the rest. Data and properties are escaped as the runner undoes it, so that no
//! name can end its line and begin a command of its own.

use std::io::{self, Write};

use super::Document;
use super::row::Row;
use crate::base::severity::Severity;
use crate::base::units::{self, printable};
use crate::report::Verdict;

/// As many as GitHub shows of one step.
const ANNOTATIONS_MAX: usize = 10;
/// What is shown of one message, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 4_000;

/// Writes the annotations; nothing where there is nothing to say.
pub(super) fn write(document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = document.rows();
    rows.retain(Row::is_open);
    let shown = match rows.len() {
        0..=ANNOTATIONS_MAX => rows.len(),
        _ => ANNOTATIONS_MAX - 1,
    };
    let (worst, rest) = rows.split_at(shown);
    for row in worst {
        out.write_all(annotation(row).as_bytes())?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    let counts: Vec<String> = Document::counts(rest)
        .iter()
        .map(|(severity, count)| format!("{count} {}", severity.word()))
        .collect();
    let level = rest.iter().map(level).max().unwrap_or(Level::Notice);
    let title = format!("agp {}", document.envelope.report);
    let text = format!(
        "and {} more: {}",
        units::count(rest.len() as u64, "finding"),
        counts.join(", ")
    );
    writeln!(
        out,
        "::{} title={}::{}",
        level.word(),
        property(&title),
        data(&text)
    )
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Notice,
    Warning,
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// An error is what makes the answer worse.
fn level(row: &Row<'_>) -> Level {
    match (row.finding.verdict, row.finding.severity) {
        (Verdict::Pass, Severity::Info | Severity::Low) => Level::Notice,
        (Verdict::Pass, _) => Level::Warning,
        _ => Level::Error,
    }
}

fn annotation(row: &Row<'_>) -> String {
    let mut properties = Vec::new();
    if let Some(place) = &row.place {
        properties.push(format!("file={}", property(&printable(place.path()))));
        let numbers = [
            ("line", row.line()),
            ("endLine", row.end_line()),
            ("col", row.column()),
        ];
        for (name, number) in numbers {
            properties.extend(number.map(|number| format!("{name}={number}")));
        }
    }
    properties.push(format!("title={}", property(row.rule_id())));
    let mut text = row.text();
    if let Some(hint) = &row.finding.hint {
        text.push_str("\nhint: ");
        text.push_str(&printable(hint));
    }
    let text: String = text.chars().take(MESSAGE_CHARACTERS_MAX).collect();
    let (level, properties) = (level(row).word(), properties.join(","));
    format!("::{level} {properties}::{}\n", data(&text))
}

/// The message behind a command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A value among the properties of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
