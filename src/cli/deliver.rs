//! Who gets a report: `--output`, stdout, every file of `--report`, the summary of a step in GitHub
//! Actions. Knows no verb; what a report says is not its business.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::args::Global;
use super::env;
use super::failure::{Failure, Kind};
use super::render::{Printer, Stream};
use super::spine::Writer;
use crate::base::files;
use crate::export::{self, Document, Format, MARKDOWN_BYTES_MAX};
use crate::report::{Finding, Report};

/// What `--output` is for in this command.
pub(super) enum Artifact {
    /// It receives the report.
    Report,
    /// It has received something else, or must stay as it is.
    Other,
    /// It is stdout and receives this.
    Stdout(Writer),
}

/// Refuses what cannot all be written: two documents on stdout, two in one file.
pub(super) fn check(global: &Global) -> Result<(), Failure> {
    let reports_on_stdout = global.report.iter().filter(|wanted| wanted.is_stdout());
    let on_stdout = usize::from(global.wants_json())
        + usize::from(global.output_is_stdout())
        + reports_on_stdout.count();
    if on_stdout > 1 {
        let text = match global.report.is_empty() {
            true => "`--json` and `--output -` would put two documents on stdout",
            false => {
                "`--json`, `--output -` and `--report FORMAT=-` would put two documents on stdout"
            }
        };
        return Err(Failure::because(Kind::Usage, text).with_hint("leave one of them out"));
    }
    let mut seen = BTreeSet::new();
    for path in global.files() {
        if !seen.insert(real(path)) {
            let text = format!("two documents would be written to `{}`", path.display());
            return Err(Failure::because(Kind::Usage, text)
                .with_hint("give each a file of its own")
                .keeping_output());
        }
    }
    Ok(())
}

/// The path with its directory as it really is.
fn real(path: &Path) -> PathBuf {
    let directory = files::parent_of(path).canonicalize();
    let name = path.file_name().unwrap_or_default();
    directory.map_or_else(|_| path.to_owned(), |directory| directory.join(name))
}

/// A report on its way out.
pub(super) struct Delivery<'a> {
    pub(super) global: &'a Global,
    pub(super) printer: Printer,
    pub(super) document: Document<'a>,
}

impl Delivery<'_> {
    /// Brings an answer to everyone who asked for it. One that cannot be reached keeps it from
    /// nobody else.
    ///
    /// # Errors
    /// Whoever did not get it.
    pub(super) fn answer(&self, report: &Report, artifact: Artifact) -> Result<(), Failure> {
        let mut troubles = self.write_files(matches!(artifact, Artifact::Report));
        self.append_summary();
        let stream = match (self.global.output.is_some(), self.stdout_format(&artifact)) {
            (false, None) => Stream::Stdout,
            _ => Stream::Stderr,
        };
        if stream == Stream::Stdout {
            self.printer.alarm(report);
        }
        let written = match (self.stdout_format(&artifact), artifact) {
            (_, Artifact::Stdout(write)) => self.printer.data(write),
            (Some(format), _) => self.write_stdout(format),
            (None, _) => Ok(()),
        };
        let written = written.and_then(|()| self.printer.report(report, stream));
        troubles.extend(written.err().map(stdout_trouble));
        delivered(troubles)
    }

    /// Brings word of a failure to everyone who asked for the answer, so that nobody reads
    /// yesterday's. People have been told already.
    ///
    /// # Errors
    /// Whoever did not get it.
    pub(super) fn failure(&self, failure: &Failure, artifact: &Artifact) -> Result<(), Failure> {
        let mut troubles = match failure.keeps_output {
            true => Vec::new(),
            false => self.write_files(matches!(artifact, Artifact::Report)),
        };
        self.append_summary();
        if let Some(format) = self.stdout_format(artifact) {
            let written = self.write_stdout(format);
            troubles.extend(written.err().map(stdout_trouble));
        }
        delivered(troubles)
    }

    /// The one format that stdout carries in place of text for people.
    fn stdout_format(&self, artifact: &Artifact) -> Option<Format> {
        let output = matches!(artifact, Artifact::Report) && self.global.output_is_stdout();
        let mut reports = self.global.report.iter();
        match self.global.wants_json() || output {
            true => Some(Format::Json),
            false => reports
                .find(|wanted| wanted.is_stdout())
                .map(|wanted| wanted.format),
        }
    }

    fn write_stdout(&self, format: Format) -> io::Result<()> {
        let write = |out: &mut dyn io::Write| export::write(format, &self.document, out);
        self.printer.data(write)
    }

    /// Writes the files that were asked for, and gives those that could not be written.
    fn write_files(&self, output_is_report: bool) -> Vec<Finding> {
        let output = self.global.output.as_deref();
        let output = output.filter(|_| output_is_report && !self.global.output_is_stdout());
        let reports = self.global.report.iter();
        let reports = reports
            .filter(|wanted| !wanted.is_stdout())
            .map(|wanted| (wanted.format, wanted.file.as_path()));
        let mut troubles = Vec::new();
        for (format, path) in output
            .map(|path| (Format::Json, path))
            .into_iter()
            .chain(reports)
        {
            let write = |out: &mut dyn io::Write| export::write(format, &self.document, out);
            if let Err(error) = files::write_atomic(path, 0o644, write) {
                troubles.extend(Failure::new(Kind::Output, error).findings);
            }
        }
        troubles
    }

    /// Adds to the summary of a step in GitHub Actions. A courtesy: what cannot be written there is
    /// told and changes no answer.
    fn append_summary(&self) {
        let Some(path) = env::step_summary() else {
            return;
        };
        let page = |length: u64| {
            let room =
                MARKDOWN_BYTES_MAX.saturating_sub(usize::try_from(length).unwrap_or(usize::MAX));
            // What stands there may lack its last line's end.
            match export::markdown(&self.document, room.saturating_sub(2)) {
                page if page.is_empty() || length == 0 => page,
                page => format!("\n\n{page}"),
            }
        };
        if let Err(error) = files::append(&path, page) {
            let text = Failure::new(Kind::Output, error).findings.remove(0).message;
            self.printer.note(&format!("no step summary: {text}"));
        }
    }
}

fn stdout_trouble(error: io::Error) -> Finding {
    let mut failure = output_failure("stdout")(error);
    failure.findings.remove(0)
}

fn delivered(troubles: Vec<Finding>) -> Result<(), Failure> {
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Failure::of_all(Kind::Output, troubles)),
    }
}

/// The failure of a stream.
pub(super) fn output_failure(place: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::because(Kind::Output, format!("cannot write to {place}: {error}"))
}
