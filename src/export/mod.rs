//! Floor 2: a report in the formats that other programs read.
//!
//! Pure: a document in, bytes out. Names and messages come from whoever wrote the files that were
//! looked at, so each format makes them inert in its own way. Must never know where the bytes go,
//! or which verb made the report.

mod csv;
mod github;
mod gitlab;
mod html;
mod junit;
mod markdown;
mod prometheus;
mod row;
mod sarif;
#[cfg(test)]
mod tests;
mod trace;

pub use markdown::{MARKDOWN_BYTES_MAX, markdown};
pub use prometheus::Metrics;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::report::{Envelope, Explanation};

/// A report, and what a reader elsewhere needs to make sense of it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The report as it leaves the program.
    pub envelope: &'a Envelope<Map<String, Value>>,
    /// One sentence for people.
    pub headline: &'a str,
    /// More lines for people; mostly empty.
    pub text: &'a str,
    /// The verb's own page in Markdown, in place of the general head.
    pub page: Option<&'a str>,
    /// What stands behind the rules of its findings, by their ids.
    pub explanations: &'a BTreeMap<String, Explanation>,
    /// Whether the fingerprints of findings can be compared with those of other runs.
    pub fingerprints_last: bool,
    /// The directory that relative paths of findings start from; absolute.
    pub directory: &'a str,
    /// Labels that the policy gives to every metric.
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> Document<'a> {
    /// The sections of another verb that took part in this one, or else this report's own: a run holds
    /// those of all its verbs.
    fn sections_of(&self, verb: &str) -> &'a Map<String, Value> {
        let body = &self.envelope.body;
        body.get(verb).and_then(Value::as_object).unwrap_or(body)
    }
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The envelope itself.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for test reports.
    Junit,
    /// RFC 4180, for spreadsheets.
    Csv,
    /// GitHub Flavored Markdown, for people.
    Markdown,
    /// Workflow commands, for annotations of GitHub Actions.
    Github,
    /// Code Quality JSON, for merge requests of GitLab.
    Gitlab,
    /// One self-contained page, for people.
    Html,
    /// Trace events, for Perfetto and Chrome.
    Trace,
    /// Metrics in Prometheus' text format.
    Prometheus,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Json,
        Self::Sarif,
        Self::Junit,
        Self::Csv,
        Self::Markdown,
        Self::Github,
        Self::Gitlab,
        Self::Html,
        Self::Trace,
        Self::Prometheus,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sarif => "sarif",
            Self::Junit => "junit",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Html => "html",
            Self::Trace => "trace",
            Self::Prometheus => "prometheus",
        }
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// Writes a report in a format. The same document gives the same bytes.
///
/// # Errors
/// Those of `out`.
pub fn write(format: Format, document: &Document<'_>, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => json(document.envelope, out),
        Format::Sarif => json(&sarif::sarif(document), out),
        Format::Junit => junit::write(document, out),
        Format::Csv => csv::write(document, out),
        Format::Markdown => out.write_all(markdown(document, MARKDOWN_BYTES_MAX).as_bytes()),
        Format::Github => github::write(document, out),
        Format::Gitlab => json(&gitlab::gitlab(document), out),
        Format::Html => out.write_all(html::html(document).as_bytes()),
        Format::Trace => json(&trace::trace(document), out),
        Format::Prometheus => write!(out, "{}", Metrics::of(document)),
    }
}

fn json(value: &impl serde::Serialize, mut out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")
}
