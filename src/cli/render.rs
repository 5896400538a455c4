//! Reports for people, and progress: the only place that prints.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};

use super::args::{Color, Global, LogFormat};
use super::log::{Level, Log};
use crate::base::clock;
use crate::base::units::{self, printable};
use crate::inventory::Progress;
use crate::report::{Category, Envelope, Finding, Report, State, Verdict, codes};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How many findings are shown without `--verbose`.
const FINDINGS_SHOWN: usize = 20;
/// Work shorter than this shows no progress.
const PROGRESS_DELAY: Duration = Duration::from_millis(400);

/// Which stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// For people, beside data.
    Stderr,
}

/// How to print.
#[derive(Clone)]
pub struct Printer {
    choice: Color,
    /// Whose lines stderr carries in place of text; `None` where it carries text.
    log: Option<Rc<Log>>,
    /// How often `--verbose` was given.
    pub verbose: u8,
    /// Whether only errors are to be said.
    pub quiet: bool,
}

impl Printer {
    /// As the flags say.
    pub fn new(global: &Global) -> Self {
        Self {
            choice: global.color,
            log: None,
            verbose: global.verbose,
            quiet: global.quiet,
        }
    }

    /// The same for a run, which its lines for collectors name.
    pub fn of_run(global: &Global, command: &str, run_id: &str) -> Self {
        let log = || {
            Rc::new(Log {
                command: command.to_owned(),
                run_id: run_id.to_owned(),
            })
        };
        Self {
            log: (global.log_format == LogFormat::Json).then(log),
            ..Self::new(global)
        }
    }

    /// Writes data to stdout, all of it or an error: never a panic, never a silent loss.
    ///
    /// # Errors
    /// A closed pipe, a full disk.
    pub fn data(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        write(&mut out)?;
        out.flush()
    }

    /// Prints text on stdout, coloured where that is wanted.
    ///
    /// # Errors
    /// A closed pipe, a full disk.
    pub fn text(&self, text: &str) -> io::Result<()> {
        let mut out = AutoStream::new(io::stdout().lock(), self.choice_for(&io::stdout()));
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints a report for people.
    ///
    /// # Errors
    /// Those of stdout; what cannot be said on stderr is lost.
    pub fn report(&self, report: &Report, stream: Stream) -> io::Result<()> {
        match (stream, &self.log) {
            (Stream::Stderr, Some(_)) => Ok(()),
            (Stream::Stderr, None) => {
                self.say(&self.report_text(report));
                Ok(())
            }
            (Stream::Stdout, _) => self.text(&self.report_text(report)),
        }
    }

    /// Logs a report's findings and how the run came out, where collectors read stderr, whatever
    /// stdout carries.
    pub fn log_report(&self, report: &Report, envelope: &Envelope<Map<String, Value>>) {
        let shown = self.shown(report);
        let limit = self.findings_shown();
        self.log_findings(&shown[..shown.len().min(limit)]);
        if let Some(log) = self.log.as_ref().filter(|_| shown.len() > limit) {
            let text = format!("and {} more; `--verbose` shows all", shown.len() - limit);
            self.log_line(Level::Info, log.note(clock::now(), Level::Info, &text));
        }
        self.log_outcome(&report.headline, envelope);
    }

    /// Logs how a run came out, where collectors read stderr.
    pub fn log_outcome(&self, headline: &str, envelope: &Envelope<Map<String, Value>>) {
        if let Some(log) = &self.log {
            let level = Level::of_code(envelope.exit_code);
            self.log_line(level, log.outcome(envelope, &inert(headline)));
        }
    }

    fn log_findings(&self, findings: &[&Finding]) {
        for (log, finding) in findings
            .iter()
            .filter_map(|finding| Some((self.log.as_ref()?, finding)))
        {
            let line = log.finding(clock::now(), finding, inert);
            self.log_line(Level::of(finding), line);
        }
    }

    fn log_line(&self, level: Level, line: String) {
        if !self.quiet || level == Level::Error {
            self.say(&line);
        }
    }

    /// Says on stderr too what must be heard where nobody reads the report: that the secret is weak.
    pub fn alarm(&self, report: &Report) {
        let is_told = !self.quiet && self.log.is_none();
        let weak = |finding: &&Finding| finding.code == &codes::KEY_WEAK && is_told;
        let text: String = report
            .findings
            .iter()
            .filter(weak)
            .map(finding_line)
            .collect();
        self.say(&text);
    }

    /// Prints findings of a command that could not answer, on stderr.
    pub fn failure(&self, findings: &[Finding]) {
        if self.log.is_some() {
            return self.log_findings(&findings.iter().collect::<Vec<_>>());
        }
        let text: String = findings.iter().map(error_block).collect();
        self.say(&text);
    }

    /// Another descriptor of our stderr, for children whose stdout must not be ours.
    pub fn stderr_copy(&self) -> Option<std::os::fd::OwnedFd> {
        use std::os::fd::AsFd;
        io::stderr().as_fd().try_clone_to_owned().ok()
    }

    /// Asks a question whose answer is no unless it is `y` or `yes`; `None` where nobody is there to
    /// answer.
    pub fn confirm(&self, what: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        self.say(&format!("{what}? [y/N] "));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    /// Whether stdout is a terminal.
    pub fn is_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Prints a line on stderr unless `--quiet`.
    pub fn note(&self, text: &str) {
        match &self.log {
            Some(log) => {
                let line = log.note(clock::now(), Level::Info, &inert(text));
                self.log_line(Level::Info, line);
            }
            None if !self.quiet => self.say(&format!("{DIM}{text}{DIM:#}\n")),
            None => {}
        }
    }

    fn say(&self, text: &str) {
        let mut out = AutoStream::new(io::stderr().lock(), self.choice_for(&io::stderr()));
        // Nobody listens on a closed stderr; the verdict does not depend on it.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    fn choice_for(&self, stream: &(impl IsTerminal + anstream::stream::RawStream)) -> ColorChoice {
        match self.choice {
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
            Color::Auto => AutoStream::choice(stream),
        }
    }

    fn findings_shown(&self) -> usize {
        match self.verbose {
            0 => FINDINGS_SHOWN,
            _ => usize::MAX,
        }
    }

    /// What is worth a line: what fails alone where only errors are wanted, and what is accepted
    /// only to those who want to know everything. A scan's findings come worst first.
    fn shown<'r>(&self, report: &'r Report) -> Vec<&'r Finding> {
        let is_accepted = |finding: &&Finding| {
            let detail = finding.detail.as_ref();
            detail.is_some_and(|detail| detail.state != State::Open)
        };
        let mut shown: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|finding| !self.quiet || finding.verdict != Verdict::Pass)
            .filter(|finding| self.verbose > 0 || !is_accepted(finding))
            .collect();
        if shown.iter().any(|finding| finding.detail.is_some()) {
            shown.sort_by_key(|finding| Reverse((finding.verdict, finding.severity)));
        }
        shown
    }

    fn report_text(&self, report: &Report) -> String {
        let mut text = String::new();
        let shown = self.shown(report);
        let limit = self.findings_shown();
        for finding in shown.iter().take(limit) {
            text.push_str(&finding_line(finding));
        }
        if shown.len() > limit {
            let more = shown.len() - limit;
            text.push_str(&format!(
                "{DIM}… and {more} more; `--verbose` shows all{DIM:#}\n"
            ));
        }
        if !self.quiet {
            for line in report.text.lines() {
                text.push_str(&format!("{}\n", printable(line)));
            }
        }
        let hints: BTreeSet<&str> = shown
            .iter()
            .take(limit)
            .filter_map(|finding| finding.hint.as_deref())
            .collect();
        for hint in hints {
            text.push_str(&format!("{DIM}hint: {}{DIM:#}\n", inert(hint)));
        }
        if !self.quiet || report.verdict != Verdict::Pass {
            let (style, word) = match report.verdict {
                Verdict::Pass => (GOOD, "ok"),
                Verdict::Fail | Verdict::Regression | Verdict::Violation => (ERROR, "FAILED"),
                Verdict::Error => (ERROR, "UNKNOWN"),
            };
            text.push_str(&format!(
                "{style}{word}{style:#}: {}\n",
                inert(&report.headline)
            ));
        }
        text
    }
}

/// `path:line:column: level: message [code]`, one line whatever stands in names. A scan's finding
/// has its severity for the level, says what was found as far as it may, and names its rule.
fn finding_line(finding: &Finding) -> String {
    let (style, mut level) = match finding.verdict {
        Verdict::Pass => (WARNING, "warning"),
        Verdict::Fail | Verdict::Regression | Verdict::Violation | Verdict::Error => {
            (ERROR, "error")
        }
    };
    let mut code = finding.code.id.to_owned();
    let mut beside = String::new();
    if let Some(detail) = &finding.detail {
        level = finding.severity.word();
        code.clone_from(&detail.rule_id);
        if let Some(redacted) = &detail.redacted
            && detail.category == Category::Secret
        {
            beside.push_str(&format!(" `{}`", inert(redacted)));
        }
        if let Some(member) = &detail.member {
            beside.push_str(&format!(" in `{}`", inert(member)));
        }
        if let Some(commit) = &detail.commit {
            beside.push_str(&format!(" in commit {}", inert(commit)));
        }
        if detail.state != State::Open {
            let reason = detail.reason.as_deref().unwrap_or("no reason given");
            beside.push_str(&format!(" (accepted: {})", inert(reason)));
        }
    }
    let place = place(finding)
        .map(|place| format!("{place}: "))
        .unwrap_or_default();
    let message = inert(&finding.message);
    format!("{place}{style}{level}{style:#}: {message}{beside} {DIM}[{code}]{DIM:#}\n")
}

/// An error on its own, or a warning beside one: what, where, and the remedy.
fn error_block(finding: &Finding) -> String {
    let (style, word) = match finding.verdict {
        Verdict::Pass => (WARNING, "warning"),
        _ => (ERROR, "error"),
    };
    let mut text = format!("{style}{word}{style:#}: {}\n", inert(&finding.message));
    if let Some(place) = place(finding) {
        text.push_str(&format!("  at {}\n", place.trim_end_matches(':')));
    }
    if let Some(hint) = &finding.hint {
        text.push_str(&format!("  hint: {}\n", inert(hint)));
    }
    text
}

/// A name or message on one line, on which no terminal acts and no runner of GitHub Actions, which
/// takes `##[…]` anywhere and `::` at the start of a line for commands.
fn inert(text: &str) -> String {
    printable(text).replace("##[", "##\\[")
}

fn place(finding: &Finding) -> Option<String> {
    let mut place = inert(finding.path.as_deref()?);
    // The other half of `inert`: a line begins with this.
    if place.starts_with("::") {
        place.insert_str(0, "./");
    }
    for number in [finding.line, finding.column].into_iter().flatten() {
        place.push_str(&format!(":{number}"));
    }
    Some(place)
}

/// Shows how far a walk is, on a terminal's stderr, until dropped.
pub struct ProgressBar {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressBar {
    /// Starts showing, if anybody is looking.
    pub fn start(progress: &Arc<Progress>, printer: &Printer) -> Option<Self> {
        if printer.quiet || printer.log.is_some() || !io::stderr().is_terminal() {
            return None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let thread = std::thread::spawn(move || {
            std::thread::park_timeout(PROGRESS_DELAY);
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let bar = indicatif::ProgressBar::new_spinner();
            while !stopped.load(Ordering::Relaxed) {
                let done = progress.files_done.load(Ordering::Relaxed);
                let total = progress.files_total.load(Ordering::Relaxed);
                let bytes = units::bytes(progress.bytes_done.load(Ordering::Relaxed));
                bar.set_message(format!("{done} of {total} entries, {bytes}"));
                bar.tick();
                std::thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        Some(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only draws; a bar that failed to draw is no reason to fail.
            let _ = thread.join();
        }
    }
}
