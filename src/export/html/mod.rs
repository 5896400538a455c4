//! A page for people that is one file: it asks for nothing, runs nothing, and what others named or
//! wrote takes no effect in it.
//!
//! Every report has the head, the findings and its own JSON; a verb with plots has a file here.

mod budget;
mod chart;
mod markup;
mod profile;
mod summary;

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Document;
use super::row::Row;
use crate::base::severity::Severity;
use crate::base::units;
use crate::report::{Envelope, Finding, Verdict};
use chart::Bar;
use markup::Markup;

/// The page's only style; its digest stands in the page's policy.
const STYLE: &str = include_str!("page.css");
/// The most bytes of findings in the table, and in the JSON: a page of any number of them stays below
/// 300 KB.
const TABLE_BYTES_MAX: usize = 120_000;
const DATA_BYTES_MAX: usize = 150_000;

/// The report as a page.
pub(super) fn html(document: &Document<'_>) -> String {
    let envelope = document.envelope;
    let mut page = Markup::default();
    let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
    page.text(&style)
        .raw("'; base-uri 'none'; form-action 'none'\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">");
    page.within("<title>agp ", &envelope.report, ": ")
        .text(word(document))
        .raw("</title>");
    page.raw("<style>")
        .raw(STYLE)
        .raw("</style></head><body><main>\n");
    head(&mut page, document);
    if envelope.report != "profile" || envelope.body.get("stages").is_none() {
        summary::section(&mut page, &envelope.body);
    }
    budget::stages(&mut page, &envelope.body);
    profile::sections(&mut page, document.sections_of("profile"));
    budget::sections(&mut page, &envelope.body);
    let rows = document.rows();
    findings(&mut page, &rows);
    page.raw("<footer>agp ").text(envelope.tool.version);
    page.within(", run <code>", &envelope.run_id, "</code>, ")
        .text(&envelope.started_at.to_string());
    page.raw(". The report as JSON is in the element <code>agp-report</code> of this page");
    let (data, left_out) = data(envelope, &rows);
    if left_out > 0 {
        let text = units::count(left_out as u64, "finding");
        page.within(
            ", without ",
            &text,
            "; <code>--report json=FILE</code> has all",
        );
    }
    page.raw(".</footer>\n");
    page.raw("</main><script type=\"application/json\" id=\"agp-report\">");
    page.data(&data);
    page.raw("</script></body></html>\n");
    page.into_string()
}

/// The report as JSON, of its findings the worst as far as there is room; and how many were left out.
fn data(envelope: &Envelope<Map<String, Value>>, rows: &[Row<'_>]) -> (String, usize) {
    // A report is plain data, which always serializes.
    let bytes = |row: &Row<'_>| serde_json::to_string(row.finding).map_or(0, |text| text.len());
    let mut room = DATA_BYTES_MAX;
    let mut fits = |row: &&Row<'_>| {
        let left = room.checked_sub(bytes(row) + 1);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let mut findings: Vec<Finding> = rows
        .iter()
        .take_while(&mut fits)
        .map(|row| row.finding.clone())
        .collect();
    findings.sort();
    let left_out = rows.len() - findings.len();
    let text = match left_out {
        0 => serde_json::to_string(envelope),
        _ => serde_json::to_string(&Envelope {
            findings,
            ..envelope.clone()
        }),
    };
    (text.unwrap_or_default(), left_out)
}

fn word(document: &Document<'_>) -> &'static str {
    let words = Verdict::ALL.map(Verdict::word);
    let known = words
        .into_iter()
        .find(|word| *word == document.envelope.verdict);
    match known {
        Some("pass") => "passed",
        Some("error") => "could not answer",
        _ => "failed",
    }
}

fn head(page: &mut Markup, document: &Document<'_>) {
    let envelope = document.envelope;
    page.within("<h1>agp ", &envelope.report, " ");
    page.raw(match word(document) {
        "passed" => "<span class=\"badge\">",
        _ => "<span class=\"badge fail\">",
    });
    page.text(word(document)).raw("</span></h1>\n");
    page.within("<p>", document.headline, "</p>\n<ul class=\"facts\">");
    let mut fact = |name: &'static str, value: &str| {
        page.within("<li><small>", name, "</small>")
            .text(value)
            .raw("</li>");
    };
    fact("exit code", &envelope.exit_code.to_string());
    fact("duration", &format!("{:.2} s", envelope.duration_seconds));
    fact("policy", &envelope.policy.source);
    page.raw("</ul>\n");
}

fn findings(page: &mut Markup, rows: &[Row<'_>]) {
    if rows.is_empty() {
        return;
    }
    page.raw("<h2>Findings</h2>\n");
    severities(page, rows);
    page.raw("<table class=\"findings\"><thead><tr><th>severity</th><th>place</th><th>finding</th><th>rule</th></tr></thead><tbody>\n");
    let (start, mut shown, mut hints) = (page.len(), 0, BTreeSet::new());
    for row in rows {
        if page.len() - start > TABLE_BYTES_MAX {
            break;
        }
        let hint = row
            .finding
            .hint
            .as_deref()
            .filter(|hint| hints.insert(*hint));
        finding(page, row, hint);
        shown += 1;
    }
    page.raw("</tbody></table>\n");
    if rows.len() > shown {
        let more = units::count((rows.len() - shown) as u64, "finding");
        page.within("<p class=\"dim\">… and ", &more, " more.</p>\n");
    }
}

/// How many open findings there are of each severity, as a bar and in words.
fn severities(page: &mut Markup, rows: &[Row<'_>]) {
    let counts = Document::counts(rows);
    let whole: usize = counts.iter().map(|(_, count)| count).sum();
    if whole == 0 {
        page.raw("<p class=\"dim\">None is open.</p>\n");
        return;
    }
    let (mut bars, mut words, mut from) = (Vec::new(), Vec::new(), 0.0);
    for (severity, count) in &counts {
        let to = from + *count as f64 / whole as f64;
        bars.push(Bar {
            class: class(*severity),
            from,
            to,
        });
        words.push(format!("{count} {}", severity.word()));
        from = to;
    }
    page.raw("<div class=\"bars\">");
    chart::bars(page, &words.join(", "), &bars);
    page.raw("</div><div class=\"keys\">");
    for ((severity, _), words) in counts.iter().zip(&words) {
        page.raw("<span class=\"key\"><i class=\"")
            .raw(class(*severity))
            .raw("\"></i>");
        page.text(words).raw("</span>");
    }
    page.raw("</div>\n");
}

/// The class of a severity's colour.
fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
        Severity::Info => "info",
    }
}

fn finding(page: &mut Markup, row: &Row<'_>, hint: Option<&str>) {
    let severity = row.finding.severity.word();
    page.within("<tr><td class=\"", severity, "\">")
        .text(severity);
    page.within("</td><td><code>", &row.shown_place(), "</code></td><td>")
        .text(&row.text());
    if !row.is_open() {
        page.raw(" <span class=\"dim\">(accepted)</span>");
    }
    // What many findings have in common is said at the first of them.
    if let Some(hint) = hint {
        page.within("<br><span class=\"dim\">", hint, "</span>");
    }
    page.within("</td><td><code>", row.rule_id(), "</code></td></tr>\n");
}
