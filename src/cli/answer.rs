//! One run of the program, from its first moment to its exit code: what becomes of a result. Every report
//! passes here once, whatever its verb.

use std::time::Instant;

use super::args::Global;
use super::deliver::{self, Artifact, Delivery};
use super::failure::{Failure, Kind};
use super::notify::{Notifier, Telling};
use super::render::Printer;
use super::spine::{Done, Writer};
use super::{env, exit};
use crate::base::clock::{self, Timestamp};
use crate::base::files::{self, FileError};
use crate::export::Document;
use crate::policy::Metrics;
use crate::report::{
    AuditHead, Envelope, Finding, PolicyReference, REPORT_VERSION, Report, ResourceUsage, Tool,
    Verdict,
};
use crate::system;

/// A report's envelope, whatever its verb.
type Body = Envelope<serde_json::Map<String, serde_json::Value>>;

/// One run of the program, from its first moment to its exit code.
pub(super) struct Run<'a> {
    global: &'a Global,
    pub(super) printer: Printer,
    name: String,
    reports_to_output: bool,
    pub(super) id: String,
    pub(super) started_at: Timestamp,
    started: Instant,
    directory: String,
    pub(super) policy: PolicyReference,
    pub(super) warnings: Vec<Finding>,
    pub(super) notifier: Option<Notifier>,
    /// Where its metrics are wanted; nowhere before the policy is known.
    pub(super) metrics: Metrics,
}

impl<'a> Run<'a> {
    pub(super) fn begin(global: &'a Global, name: String, reports_to_output: bool) -> Self {
        let mut id = [0; 16];
        // Without randomness the identifier is merely not unique.
        let _ = getrandom::fill(&mut id);
        let id = hex::encode(id);
        Self {
            global,
            printer: Printer::of_run(global, &name, &id),
            name,
            reports_to_output,
            id,
            started_at: clock::now(),
            started: Instant::now(),
            directory: env::directory(),
            policy: PolicyReference {
                source: "built-in".into(),
                sha256: None,
            },
            warnings: Vec::new(),
            notifier: None,
            metrics: Metrics::default(),
        }
    }

    /// What the audit log will say of the result.
    pub(super) fn outcome<'r>(
        &self,
        result: &'r Result<Done, Failure>,
    ) -> super::record::Outcome<'r> {
        match result {
            Ok(Done::Report(report) | Done::Written(report) | Done::Streamed(report, _)) => {
                super::record::Outcome {
                    exit_code: exit::code(Ok(report.verdict)),
                    findings: &report.findings,
                    resources: &report.resources,
                    decisions: &report.decisions,
                }
            }
            Ok(Done::Data(_) | Done::Told(_)) => super::record::Outcome {
                exit_code: 0,
                findings: &[],
                resources: &[],
                decisions: &[],
            },
            Err(failure) => super::record::Outcome {
                exit_code: exit::code(Err(failure)),
                findings: &failure.findings,
                resources: &[],
                decisions: &[],
            },
        }
    }

    /// Writes what there is to write, and gives the exit code.
    pub(super) fn end(mut self, result: Result<Done, Failure>, head: Option<AuditHead>) -> u8 {
        let warnings = std::mem::take(&mut self.warnings);
        let (code, written) = match self.with_report(result) {
            Ok(Done::Data(write)) => {
                let written = self.write_data(write);
                self.empty_spool();
                (0, written)
            }
            Ok(Done::Told(line)) => {
                self.printer.note(&line);
                self.empty_spool();
                (0, Ok(()))
            }
            Ok(Done::Report(report)) => self.answer(report, (warnings, head), Artifact::Report),
            Ok(Done::Written(report)) => self.answer(report, (warnings, head), Artifact::Other),
            Ok(Done::Streamed(report, write)) => {
                self.answer(report, (warnings, head), Artifact::Stdout(write))
            }
            Err(failure) => (
                exit::code(Err(&failure)),
                self.write_failure(&failure, head.as_ref()),
            ),
        };
        match written {
            Ok(()) => code,
            Err(failure) => {
                self.printer.failure(&failure.findings);
                // A proven violation is never masked; anything else was not delivered.
                if code == exit::code(Ok(Verdict::Violation)) {
                    code
                } else {
                    exit::code(Err(&failure))
                }
            }
        }
    }

    /// Refuses `--report` and the like where there is none.
    fn with_report(&self, result: Result<Done, Failure>) -> Result<Done, Failure> {
        match result {
            Ok(Done::Data(_) | Done::Told(_)) if self.global.wants_report() => Err(no_report()),
            result => result,
        }
    }

    fn write_data(&self, write: Writer) -> Result<(), Failure> {
        match self
            .global
            .output
            .as_deref()
            .filter(|_| !self.global.output_is_stdout())
        {
            Some(path) => files::write_atomic(path, 0o644, write).map_err(|error| {
                deliver::own_failure(error.source).unwrap_or_else(|source| {
                    Failure::new(Kind::Output, FileError { source, ..error })
                })
            }),
            None => self
                .printer
                .data(write)
                .map_err(deliver::output_failure("stdout")),
        }
    }

    /// Every report passes here once: the seam where alerts hang and metrics will. What cannot be written, and
    /// who could not be told, is part of what is told.
    fn answer(
        &self,
        mut report: Report,
        (warnings, head): (Vec<Finding>, Option<AuditHead>),
        artifact: Artifact,
    ) -> (u8, Result<(), Failure>) {
        report.findings.extend(warnings);
        report.findings.sort();
        let delivery = self.delivery();
        let enveloped = |report: &Report| {
            let code = exit::code(Ok(report.verdict));
            self.envelope((report, code), head.as_ref())
        };
        let mut envelope = enveloped(&report);
        let troubles = delivery.write_files(&self.document(&report, &envelope), &artifact);
        if !troubles.is_empty() {
            report.add(troubles);
            envelope = enveloped(&report);
        }
        let mut later = self.alert((&report, envelope.exit_code));
        if !later.is_empty() {
            report.add(later.clone());
            envelope = enveloped(&report);
        }
        // Behind whatever may change the exit code that metrics tell.
        let unpublished = self.publish(&report, &envelope);
        report.add(unpublished.clone());
        later.extend(unpublished);
        if !later.is_empty() {
            envelope = enveloped(&report);
            report.add(delivery.rewrite_files(&self.document(&report, &envelope), &artifact));
            envelope = enveloped(&report);
        }
        let document = self.document(&report, &envelope);
        delivery.append_summary(&document);
        let told = delivery.tell(&document, &report, artifact);
        self.explain(head.as_ref());
        (envelope.exit_code, told)
    }

    /// Tells whoever is to hear of a report, and gives what is to be said of that.
    fn alert(&self, (report, exit_code): (&Report, u8)) -> Vec<Finding> {
        let telling = Telling {
            run_id: &self.id,
            report,
            exit_code,
        };
        let notifier = self.notifier.as_ref();
        notifier.map_or_else(Vec::new, |notifier| notifier.tell(Some(&telling)))
    }

    /// Sends what earlier runs left, where this one has nothing to say.
    fn empty_spool(&self) {
        let notifier = self.notifier.iter();
        let unheard: Vec<Finding> = notifier.flat_map(|notifier| notifier.tell(None)).collect();
        self.mention(&unheard);
    }

    /// Says on stderr whom nothing reached, where no report for people does.
    fn mention(&self, unheard: &[Finding]) {
        for finding in unheard {
            match finding.verdict {
                Verdict::Pass => self.printer.note(&format!("warning: {}", finding.message)),
                _ => self.printer.failure(std::slice::from_ref(finding)),
            }
        }
    }

    /// What `--verbose` adds.
    fn explain(&self, head: Option<&AuditHead>) {
        if self.printer.verbose == 0 {
            return;
        }
        self.printer
            .note(&format!("policy: {}", self.policy.source));
        if let Some(head) = head {
            self.printer
                .note(&format!("audit head: {}", crate::audit::head_text(head)));
        }
        self.printer.note(&format!(
            "run {} took {:.3} s",
            self.id,
            self.started.elapsed().as_secs_f64()
        ));
    }

    /// A command that could not answer still reports, so that nobody reads yesterday's answer.
    fn write_failure(&self, failure: &Failure, head: Option<&AuditHead>) -> Result<(), Failure> {
        self.printer.failure(&failure.findings);
        let headline = failure.message().to_owned();
        let mut report = Report::new("", headline, failure.findings.clone());
        report.verdict = Verdict::Error;
        let artifact = match self.reports_to_output {
            true => Artifact::Report,
            false => Artifact::Other,
        };
        let code = exit::code(Err(failure));
        let delivery = self.delivery();
        let mut envelope = self.envelope((&report, code), head);
        // Where no output may be touched, that of metrics may be the one that stands in the way.
        if !failure.keeps_output {
            let mut troubles = self.publish(&report, &envelope);
            report.add(troubles.clone());
            envelope.findings.clone_from(&report.findings);
            let unwritten = delivery.write_files(&self.document(&report, &envelope), &artifact);
            report.add(unwritten.clone());
            envelope.findings.clone_from(&report.findings);
            troubles.extend(unwritten);
            self.printer.failure(&troubles);
        }
        let unheard = self.alert((&report, code));
        if !unheard.is_empty() {
            self.mention(&unheard);
            report.add(unheard);
            envelope = self.envelope((&report, code), head);
            if !failure.keeps_output {
                let document = self.document(&report, &envelope);
                self.printer
                    .failure(&delivery.rewrite_files(&document, &artifact));
            }
        }
        let document = self.document(&report, &envelope);
        delivery.append_summary(&document);
        delivery.tell_failure(&document, &artifact)
    }

    /// Leaves the metrics where they are wanted; gives what could not be left, which changes no answer.
    fn publish(&self, report: &Report, envelope: &Body) -> Vec<Finding> {
        let document = self.document(report, envelope);
        super::publish::publish(self.global, &self.metrics, &document)
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery {
            global: self.global,
            printer: self.printer.clone(),
        }
    }

    fn document<'d>(&'d self, report: &'d Report, envelope: &'d Body) -> Document<'d> {
        Document {
            envelope,
            headline: &report.headline,
            text: &report.text,
            page: report.page.as_deref(),
            explanations: &report.explanations,
            fingerprints_last: report.fingerprints_last,
            directory: &self.directory,
            labels: &self.metrics.labels,
        }
    }

    fn envelope(&self, (report, exit_code): (&Report, u8), head: Option<&AuditHead>) -> Body {
        let mut body = report.body.clone();
        body.entry("summary")
            .or_insert_with(|| serde_json::json!({}));
        Envelope {
            report: self.name.clone(),
            report_version: REPORT_VERSION,
            run_id: self.id.clone(),
            tool: Tool {
                name: "agp",
                version: env!("CARGO_PKG_VERSION"),
            },
            started_at: self.started_at,
            finished_at: clock::now(),
            duration_seconds: self.started.elapsed().as_secs_f64(),
            policy: self.policy.clone(),
            verdict: report.verdict.word().to_owned(),
            exit_code,
            audit_head: head.cloned(),
            resource_usage: resource_usage(),
            body,
            findings: report.findings.clone(),
        }
    }
}

/// What this process has used, in the report's words.
fn resource_usage() -> ResourceUsage {
    let usage = system::own_usage();
    ResourceUsage {
        cpu_user_seconds: usage.cpu_user_seconds,
        cpu_system_seconds: usage.cpu_system_seconds,
        peak_memory_bytes: usage.peak_memory_bytes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
    }
}

/// The failure of a command that makes no report but was asked for one.
pub(super) fn no_report() -> Failure {
    let text = "this command prints what it makes, not a report";
    Failure::because(Kind::Usage, text)
        .with_hint("leave `--report`, `--format` and `--metrics-file` out")
}
