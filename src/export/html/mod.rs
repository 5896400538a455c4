//! A page for people that is one file: it asks for nothing, runs nothing, and what others named or
//! wrote takes no effect in it.
//!
//! Every report has the head, the findings and its own JSON; a verb with plots has a file here.

mod chart;
mod markup;
mod profile;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::Document;
use super::row::Row;
use crate::base::units;
use crate::report::Verdict;
use markup::Markup;

/// The page's only style; its digest stands in the page's policy.
const STYLE: &str = include_str!("page.css");
/// Findings that are shown; the JSON has all.
const FINDINGS_MAX: usize = 2000;

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
    profile::sections(&mut page, &envelope.body);
    findings(&mut page, document);
    page.raw("<footer>agp ").text(envelope.tool.version);
    page.within(", run <code>", &envelope.run_id, "</code>, ")
        .text(&envelope.started_at.to_string());
    page.raw(
        ". The report as JSON is in the element <code>agp-report</code> of this page.</footer>\n",
    );
    page.raw("</main><script type=\"application/json\" id=\"agp-report\">");
    // A report is plain data, which always serializes.
    page.data(&serde_json::to_string(envelope).unwrap_or_default());
    page.raw("</script></body></html>\n");
    page.into_string()
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

fn findings(page: &mut Markup, document: &Document<'_>) {
    let rows = document.rows();
    if rows.is_empty() {
        return;
    }
    let counts: Vec<String> = Document::counts(&rows)
        .iter()
        .map(|(severity, count)| format!("{count} {}", severity.word()))
        .collect();
    page.raw("<h2>Findings</h2>\n<p class=\"dim\">")
        .text(&counts.join(", "))
        .raw("</p>\n");
    page.raw("<table class=\"findings\"><thead><tr><th>severity</th><th>place</th><th>finding</th><th>rule</th></tr></thead><tbody>\n");
    for row in rows.iter().take(FINDINGS_MAX) {
        finding(page, row);
    }
    page.raw("</tbody></table>\n");
    if rows.len() > FINDINGS_MAX {
        let more = units::count((rows.len() - FINDINGS_MAX) as u64, "finding");
        page.within(
            "<p class=\"dim\">… and ",
            &more,
            " more, in the JSON.</p>\n",
        );
    }
}

fn finding(page: &mut Markup, row: &Row<'_>) {
    let severity = row.finding.severity.word();
    page.within("<tr><td class=\"", severity, "\">")
        .text(severity);
    page.within("</td><td><code>", &row.shown_place(), "</code></td><td>")
        .text(&row.text());
    if !row.is_open() {
        page.raw(" <span class=\"dim\">(accepted)</span>");
    }
    if let Some(hint) = row.finding.hint.as_deref() {
        page.within("<br><span class=\"dim\">", hint, "</span>");
    }
    page.within("</td><td><code>", row.rule_id(), "</code></td></tr>\n");
}
