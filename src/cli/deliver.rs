//! Who gets a report: `--output`, stdout, every file of `--report`, the summary of a step in GitHub
//! Actions. Knows no verb; what a report says is not its business.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::args::Global;
use super::audit::read_failure;
use super::env;
use super::failure::{Failure, Kind};
use super::render::{Printer, Stream};
use super::spine::Writer;
use crate::audit::ReadError;
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
    let on_stdout = global.stdout_formats().count() + usize::from(global.output_is_stdout());
    if on_stdout > 1 {
        let text = match global.report.is_empty() {
            true => "`--format` and `--output -` would put two documents on stdout",
            false => {
                "`--format`, `--output -` and `--report FORMAT=-` would put two documents on stdout"
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

/// The way of reports to those who asked for them.
pub(super) struct Delivery<'a> {
    pub(super) global: &'a Global,
    pub(super) printer: Printer,
}

impl Delivery<'_> {
    /// Writes the files that were asked for, and gives those that could not be written: one that
    /// cannot keeps no other from being.
    pub(super) fn write_files(&self, document: &Document<'_>, artifact: &Artifact) -> Vec<Finding> {
        self.write_each((document, artifact), |_| true)
    }

    /// The same once more, because there is more to say. What was written to a stream stands.
    pub(super) fn rewrite_files(
        &self,
        document: &Document<'_>,
        artifact: &Artifact,
    ) -> Vec<Finding> {
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        self.write_each((document, artifact), is_file)
    }

    fn write_each(
        &self,
        (document, artifact): (&Document<'_>, &Artifact),
        is_wanted: impl Fn(&Path) -> bool,
    ) -> Vec<Finding> {
        let is_report = matches!(artifact, Artifact::Report);
        let output = self.global.output.as_deref();
        let output = output.filter(|_| is_report && !self.global.output_is_stdout());
        let reports = self.global.report.iter();
        let reports = reports
            .filter(|wanted| !wanted.is_stdout())
            .map(|wanted| (wanted.format, wanted.file.as_path()));
        let output = output.map(|path| (Format::Json, path));
        let mut troubles = Vec::new();
        let wanted = output.into_iter().chain(reports);
        for (format, path) in wanted.filter(|(_, path)| is_wanted(path)) {
            let write = |out: &mut dyn io::Write| export::write(format, document, out);
            if let Err(error) = files::write_atomic(path, 0o644, write) {
                troubles.extend(Failure::new(Kind::Output, error).findings);
            }
        }
        troubles
    }

    /// Puts an answer on stdout: the document that it is to carry, or text for people, who
    /// otherwise find it on stderr.
    ///
    /// # Errors
    /// A stdout that does not take it.
    pub(super) fn tell(
        &self,
        document: &Document<'_>,
        report: &Report,
        artifact: Artifact,
    ) -> Result<(), Failure> {
        let format = self.stdout_format(&artifact);
        let stream = match (self.global.output.is_some(), format) {
            (false, None) => Stream::Stdout,
            _ => Stream::Stderr,
        };
        if stream == Stream::Stdout {
            self.printer.alarm(report);
        }
        self.printer.log_report(report, document.envelope);
        let written = match (format, artifact) {
            (_, Artifact::Stdout(write)) => self.printer.data(write),
            (Some(format), _) => self.write_stdout(format, document),
            (None, _) => Ok(()),
        };
        let written = written.and_then(|()| self.printer.report(report, stream));
        written.map_err(output_failure("stdout"))
    }

    /// Puts word of a failure on stdout where a document is expected; people have been told.
    ///
    /// # Errors
    /// A stdout that does not take it.
    pub(super) fn tell_failure(
        &self,
        document: &Document<'_>,
        artifact: &Artifact,
    ) -> Result<(), Failure> {
        self.printer
            .log_outcome(document.headline, document.envelope);
        let format = self.stdout_format(artifact);
        let written = format.map(|format| self.write_stdout(format, document));
        written.unwrap_or(Ok(())).map_err(output_failure("stdout"))
    }

    /// The one format that stdout carries in place of text for people.
    fn stdout_format(&self, artifact: &Artifact) -> Option<Format> {
        let output = matches!(artifact, Artifact::Report) && self.global.output_is_stdout();
        match output {
            true => Some(Format::Json),
            false => self.global.stdout_formats().next(),
        }
    }

    fn write_stdout(&self, format: Format, document: &Document<'_>) -> io::Result<()> {
        let write = |out: &mut dyn io::Write| export::write(format, document, out);
        self.printer.data(write)
    }

    /// Adds to the summary of a step in GitHub Actions. A courtesy: what cannot be written there is
    /// told and changes no answer.
    pub(super) fn append_summary(&self, document: &Document<'_>) {
        let Some(path) = env::step_summary() else {
            return;
        };
        let page = |length: u64| {
            let room =
                MARKDOWN_BYTES_MAX.saturating_sub(usize::try_from(length).unwrap_or(usize::MAX));
            // What stands there may lack its last line's end.
            match export::markdown(document, room.saturating_sub(2)) {
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

/// The failure of a stream.
pub(super) fn output_failure(place: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| {
        own_failure(error).unwrap_or_else(|error| {
            Failure::because(Kind::Output, format!("cannot write to {place}: {error}"))
        })
    }
}

/// The failure of what was to be written, which could not be had; the error itself where it is the
/// stream's.
pub(super) fn own_failure(error: io::Error) -> Result<Failure, io::Error> {
    let error = match error.downcast::<Failure>() {
        Ok(failure) => return Ok(failure),
        Err(error) => error,
    };
    match error.downcast::<ReadError>() {
        Ok(unread @ (ReadError::File(_) | ReadError::Interrupted)) => Ok(read_failure(unread)),
        Ok(ReadError::Write(error)) | Err(error) => Err(error),
    }
}
