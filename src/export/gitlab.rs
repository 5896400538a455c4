//! GitLab's Code Quality report: a list of issues, the worst first, each told by a fingerprint of
//! its own. What was accepted is no issue.

use serde_json::{Value, json};

use super::Document;
use super::row::Row;
use crate::base::severity::Severity;
use crate::base::units::printable;

/// The whole report.
pub(super) fn gitlab(document: &Document<'_>) -> Value {
    let rows = document.rows();
    let open = rows.iter().filter(|row| row.is_open());
    open.map(|row| issue(document, row)).collect()
}

fn issue(document: &Document<'_>, row: &Row<'_>) -> Value {
    let place = row.place.clone();
    let place = place.unwrap_or_else(|| document.place_of_none());
    json!({
        "check_name": row.rule_id(),
        "description": row.text(),
        "fingerprint": row.identity,
        "location": {
            "lines": {"begin": row.line().unwrap_or(1)},
            "path": printable(place.path()),
        },
        "severity": severity(row.finding.severity),
    })
}

/// In GitLab's words.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "blocker",
        Severity::High => "critical",
        Severity::Medium => "major",
        Severity::Low => "minor",
        Severity::Info => "info",
    }
}
