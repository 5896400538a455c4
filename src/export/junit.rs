//! JUnit XML: one suite, one case a finding. What makes the answer worse failed, what could not be
//! looked at is an error, what was accepted was skipped, and a warning passed with output.

use std::io::{self, Write};

use super::Document;
use super::row::Row;
use crate::base::units::printable;
use crate::report::Verdict;

/// How a case came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Error,
    Skipped,
}

/// Writes the whole document.
pub(super) fn write(document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    let envelope = document.envelope;
    let rows = document.rows();
    let count = |outcome| rows.iter().filter(|row| outcome_of(row) == outcome).count();
    // A suite without any case counts as broken, and a run that found nothing is a case that passed.
    let tests = rows.len().max(1);
    let (failures, errors) = (count(Outcome::Failed), count(Outcome::Error));
    let skipped = count(Outcome::Skipped);
    let name = escaped(&format!("agp {}", envelope.report));
    let seconds = envelope.duration_seconds;
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="agp" tests="{tests}" failures="{failures}" errors="{errors}" time="{seconds:.3}">"#
    )?;
    writeln!(
        out,
        r#"  <testsuite name="{name}" tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}" time="{seconds:.3}" timestamp="{}">"#,
        envelope.started_at
    )?;
    properties(document, out)?;
    for row in &rows {
        case(row, out)?;
    }
    if rows.is_empty() {
        writeln!(out, r#"    <testcase classname="agp" name="{name}">"#)?;
        element(("system-out", ""), document.headline, out)?;
        writeln!(out, "    </testcase>")?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}

fn properties(document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    let envelope = document.envelope;
    let exit_code = envelope.exit_code.to_string();
    writeln!(out, "    <properties>")?;
    for (name, value) in [
        ("exit_code", &exit_code),
        ("policy", &envelope.policy.source),
        ("run_id", &envelope.run_id),
        ("verdict", &envelope.verdict),
    ] {
        let value = escaped(value);
        writeln!(out, r#"      <property name="{name}" value="{value}"/>"#)?;
    }
    writeln!(out, "    </properties>")
}

fn outcome_of(row: &Row<'_>) -> Outcome {
    match row.finding.verdict {
        _ if !row.is_open() => Outcome::Skipped,
        Verdict::Pass => Outcome::Passed,
        Verdict::Error => Outcome::Error,
        Verdict::Fail | Verdict::Regression | Verdict::Violation => Outcome::Failed,
    }
}

fn case(row: &Row<'_>, out: &mut dyn Write) -> io::Result<()> {
    let place = row.shown_place();
    let path = row.finding.path.as_deref().unwrap_or("agp");
    // Readers tell cases by class and name, so that the place is part of the name.
    let mut name = row.rule_id().to_owned();
    if let Some(member) = row.member() {
        name.push_str(&format!(" in {member}"));
    }
    let numbers = [row.finding.line, row.finding.column];
    for (between, number) in [" at ", ":"].iter().zip(numbers.into_iter().flatten()) {
        name.push_str(&format!("{between}{number}"));
    }
    let (class, name) = (escaped(path), escaped(&name));
    writeln!(out, r#"    <testcase classname="{class}" name="{name}">"#)?;
    let text = row.text();
    let kind = row.finding.severity.word();
    let attributes = format!(r#" message="{}" type="{kind}""#, escaped(&text));
    let mut body = match place.is_empty() {
        true => text,
        false => format!("{place}: {text}"),
    };
    if let Some(hint) = &row.finding.hint {
        body.push_str(&format!("\nhint: {}", printable(hint)));
    }
    match outcome_of(row) {
        Outcome::Passed => element(("system-out", ""), &body, out)?,
        Outcome::Failed => element(("failure", &attributes), &body, out)?,
        Outcome::Error => element(("error", &attributes), &body, out)?,
        Outcome::Skipped => {
            let detail = row.finding.detail.as_deref();
            let reason = detail.and_then(|detail| detail.reason.as_deref());
            let reason = escaped(reason.unwrap_or("accepted"));
            writeln!(out, r#"      <skipped message="{reason}"/>"#)?;
        }
    }
    writeln!(out, "    </testcase>")
}

/// An element with text in it, which may have several lines.
fn element((name, attributes): (&str, &str), text: &str, out: &mut dyn Write) -> io::Result<()> {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    let text = lines.join("\n");
    writeln!(out, "      <{name}{attributes}>{text}</{name}>")
}

/// One line of text as XML 1.0 holds it, in elements and attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            // Not characters of XML, however written.
            '\u{fffe}' | '\u{ffff}' => {
                safe.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
            }
            _ => safe.push(character),
        }
    }
    safe
}
