//! CSV (RFC 4180) for spreadsheets: a header, then one record a finding in the report's order,
//! lines ended by CR LF.
//!
//! A cell that a spreadsheet would take for a formula begins with an apostrophe instead.

use std::io::{self, Write};

use super::Document;
use crate::base::units::printable;
use crate::report::Finding;

const COLUMNS: [&str; 18] = [
    "code",
    "rule_id",
    "category",
    "severity",
    "confidence",
    "path",
    "member",
    "commit",
    "line",
    "column",
    "end_line",
    "message",
    "redacted",
    "fingerprint",
    "state",
    "reason",
    "would_fail",
    "hint",
];

/// Writes the header and every finding.
pub(super) fn write(document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    record(&COLUMNS.map(str::to_owned), out)?;
    for finding in &document.envelope.findings {
        record(&cells(finding), out)?;
    }
    Ok(())
}

fn cells(finding: &Finding) -> [String; COLUMNS.len()] {
    let detail = finding.detail.as_deref();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    [
        finding.code.id.to_owned(),
        text(detail.map(|detail| &*detail.rule_id)),
        text(detail.map(|detail| detail.category.word())),
        finding.severity.word().to_owned(),
        text(detail.map(|detail| detail.confidence.word())),
        text(finding.path.as_deref()),
        text(detail.and_then(|detail| detail.member.as_deref())),
        text(detail.and_then(|detail| detail.commit.as_deref())),
        number(finding.line),
        number(finding.column),
        number(detail.and_then(|detail| detail.end_line)),
        finding.message.clone(),
        text(detail.and_then(|detail| detail.redacted.as_deref())),
        text(detail.and_then(|detail| detail.fingerprint.as_deref())),
        text(detail.map(|detail| detail.state.word())),
        text(detail.and_then(|detail| detail.reason.as_deref())),
        text(detail.map(|detail| ["false", "true"][usize::from(detail.would_fail)])),
        text(finding.hint.as_deref()),
    ]
}

fn record(cells: &[String], out: &mut dyn Write) -> io::Result<()> {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    out.write_all(cells.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

/// A cell on one line that is never a formula, quoted where it has to be.
fn quoted(text: &str) -> String {
    // What a spreadsheet takes for a formula's beginning, also in its wide forms and behind blanks.
    let is_formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠']);
    let mut cell = printable(text).into_owned();
    if is_formula {
        cell.insert(0, '\'');
    }
    // The semicolon parts cells where the comma is for decimals.
    match cell.contains(['"', ',', ';']) || cell.trim() != cell {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}
