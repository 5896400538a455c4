//! GitHub Flavored Markdown: a page for people, also the summary of a step in GitHub Actions.
//!
//! What is not plain words stands as code, where neither markup nor mentions nor links are read.

use serde_json::Value;

use super::Document;
use super::row::Row;
use crate::base::severity::Severity;
use crate::base::units::{self, printable};
use crate::report::Verdict;

/// What GitHub shows of the summary of one step.
pub const MARKDOWN_BYTES_MAX: usize = 1 << 20;

/// Room that is kept for the line that counts what was left out.
const TAIL_BYTES: usize = 200;
/// What is shown of one name or message, in characters.
const CELL_CHARACTERS_MAX: usize = 400;
/// How many remedies are shown.
const HINTS_MAX: usize = 20;

/// The report as a page of at most `bytes_max` bytes: the worst findings first, and how many did
/// not fit. Empty where not even its head fits.
pub fn markdown(document: &Document<'_>, bytes_max: usize) -> String {
    let rows = document.rows();
    let (open, accepted): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_open());
    let mut page = Page {
        text: String::new(),
        bytes_max,
    };
    let own = document.page.is_some_and(|own| page.push(own));
    if !own && !page.push(&head(document, &rows)) {
        return String::new();
    }
    if !own && !document.text.is_empty() {
        page.push(&block(document.text));
    }
    profile(document, &mut page);
    page.table(("Findings", "severity"), &open, |row| {
        severity(row.finding.severity)
    });
    let mut hints: Vec<&str> = Vec::new();
    for row in &open {
        if let Some(hint) = row
            .finding
            .hint
            .as_deref()
            .filter(|hint| !hints.contains(hint))
        {
            hints.push(hint);
        }
    }
    if !hints.is_empty() && page.push("\n### What to do\n\n") {
        for hint in hints.iter().take(HINTS_MAX) {
            page.push(&format!("- {}\n", inline(hint)));
        }
    }
    page.table(("Accepted", "because"), &accepted, |row| {
        let detail = row.finding.detail.as_deref();
        let reason = detail.and_then(|detail| detail.reason.as_deref());
        inline(reason.unwrap_or("accepted"))
    });
    page.text
}

/// The stages of a profile and what the past makes of them; nothing for another report.
fn profile(document: &Document<'_>, page: &mut Page) {
    let body = document.sections_of("profile");
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let stages = list(body.get("stages"));
    let head = "\n### Stages\n\n| stage | runs | wall | CPU | peak memory | held up by | share |\n|---|--:|--:|--:|--:|---|--:|\n";
    let mut is_begun = false;
    for stage in &stages {
        let runs = list(stage.get("runs"));
        let median = stage["median_run"]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok());
        let Some(run) = median.and_then(|at| runs.get(at)) else {
            continue;
        };
        is_begun = is_begun || page.push(head);
        let (figures, bottleneck) = (&run["figures"], &run["time"]["bottleneck"]);
        let seconds = |name: &str| figures[name].as_f64().unwrap_or(0.0);
        let peak = figures["peak_memory_bytes"].as_u64();
        page.push(&format!(
            "| {} | {} | {:.2} s | {:.2} s | {} | {} | {:.0} % |\n",
            inline(stage["stage"].as_str().unwrap_or_default()),
            runs.len(),
            seconds("wall_seconds"),
            seconds("cpu_user_seconds") + seconds("cpu_system_seconds"),
            peak.map_or("not known".into(), units::bytes),
            inline(bottleneck["resource"].as_str().unwrap_or_default()),
            bottleneck["share"].as_f64().unwrap_or(0.0) * 100.0,
        ));
    }
    let series = list(
        body.get("judgement")
            .and_then(|judgement| judgement.get("series")),
    );
    if series.is_empty() || !page.push("\n### Compared with the past\n\n| stage | metric | verdict | why |\n|---|---|---|---|\n") {
        return;
    }
    for one in &series {
        let word = |name: &str| inline(one[name].as_str().unwrap_or_default());
        let verdict = word("verdict").replace('_', " ").replace('`', "");
        page.push(&format!(
            "| {} | {} | {verdict} | {} |\n",
            word("stage"),
            word("metric"),
            word("why")
        ));
    }
}

/// A page that never grows over its bound.
struct Page {
    text: String,
    bytes_max: usize,
}

impl Page {
    /// Adds a piece if it fits with the tail behind it.
    fn push(&mut self, piece: &str) -> bool {
        let fits = self.text.len() + piece.len() + TAIL_BYTES <= self.bytes_max;
        if fits {
            self.text.push_str(piece);
        }
        fits
    }

    /// A heading and a row for each finding, its first column as `first` says.
    fn table(
        &mut self,
        (heading, column): (&str, &str),
        rows: &[&Row<'_>],
        first: impl Fn(&Row<'_>) -> String,
    ) {
        let head = format!(
            "\n### {heading}\n\n| {column} | place | finding | rule |\n|---|---|---|---|\n"
        );
        if rows.is_empty() || !self.push(&head) {
            return;
        }
        for (done, row) in rows.iter().enumerate() {
            let [place, text, rule] = [&row.shown_place(), &row.text(), row.rule_id()].map(inline);
            if !self.push(&format!("| {} | {place} | {text} | {rule} |\n", first(row))) {
                let left = units::count((rows.len() - done) as u64, "finding");
                // The tail was kept free for this line; of two tables only the first can want it,
                // since what follows does not fit either.
                self.text.push_str(&format!("\n… and {left} more.\n"));
                self.bytes_max = 0;
                return;
            }
        }
    }
}

fn head(document: &Document<'_>, rows: &[Row<'_>]) -> String {
    let envelope = document.envelope;
    let counts: Vec<String> = Document::counts(rows)
        .iter()
        .map(|(severity, count)| format!("{count} {}", severity.word()))
        .collect();
    let counts = match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.join(", "),
    };
    let word = match Verdict::ALL
        .map(Verdict::word)
        .iter()
        .find(|word| **word == envelope.verdict)
    {
        Some(&"pass") => "passed",
        Some(&"error") => "could not answer",
        _ => "failed",
    };
    format!(
        "## agp {}: {word}\n\n{}\n\n| | |\n|---|---|\n| open findings | {counts} |\n\
         | exit code | {} |\n| policy | {} |\n| duration | {:.2} s |\n| run | {} |\n",
        inline(&envelope.report),
        inline(document.headline),
        envelope.exit_code,
        inline(&envelope.policy.source),
        envelope.duration_seconds,
        inline(&envelope.run_id),
    )
}

/// Lines as they are, inert within a fence that is longer than any of theirs.
fn block(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("\n{fence}text\n{}\n{fence}\n", lines.join("\n"))
}

/// How many backticks stand side by side at the most.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn severity(severity: Severity) -> String {
    match severity {
        Severity::Critical | Severity::High => format!("**{}**", severity.word()),
        _ => severity.word().to_owned(),
    }
}

/// A text within a line or a cell, inert whatever it is: plain words as they are, anything else as
/// code.
fn inline(text: &str) -> String {
    let text = clipped(&printable(text));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || [' ', ',', '\'', '(', ')'].contains(&c);
    let words = text.strip_suffix('.').unwrap_or(&text);
    if words.chars().all(is_plain) && text.trim() == text {
        return text;
    }
    // A table is parted at every pipe, in code too, and what stands before a pipe may undo its
    // escape; a character reference is no pipe until the page is shown.
    if text.contains('|') {
        return format!("<code>{}</code>", references(&text));
    }
    // The fence is longer than any run of backticks inside.
    let fence = "`".repeat(longest_run(&text) + 1);
    let touches = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
    let pad = if touches { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text of which no character is markup.
fn references(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        match character.is_ascii_punctuation() {
            true => safe.push_str(&format!("&#{};", u32::from(character))),
            false => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_and_anything_else_is_code() {
        for (text, expected) in [
            ("", ""),
            ("GitHub token (classic).", "GitHub token (classic)."),
            ("@channel", "`@channel`"),
            ("a.b", "`a.b`"),
            ("a ", "` a  `"),
            ("`", "`` ` ``"),
            ("a``b`", "``` a``b` ```"),
            ("a\\|b", "<code>a&#92;&#124;b</code>"),
            ("a\nb", "`a\\nb`"),
        ] {
            assert_eq!(inline(text), expected, "{text}");
        }
    }
}
