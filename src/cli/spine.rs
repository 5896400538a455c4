//! The one way of every command: policy, audit *begun*, verb, audit *ended*, report, exit code.
//!
//! Whatever must happen to every report happens here, so that a new command cannot forget it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::Run;
use super::args::{Cli, Command, Global, KeyArgs};
use super::deliver;
use super::failure::{Failure, Kind};
use super::notify::Notifier;
use super::record::{self, Recorder};
use super::render::{Printer, ProgressBar};
use super::tool::Tool;
use super::{env, keys};
use crate::base::clock::Timestamp;
use crate::base::naming;
use crate::inventory::Progress;
use crate::policy::{self, LoadError, LoadRequest, Loaded, Problem, Source};
use crate::report::{AuditHead, Finding, PolicyReference, Report, codes};
use crate::rollback::Place;
use crate::seal::{KeyError, Keyring};

/// Where state is kept when nobody says.
const STATE_DIR: &str = ".agp";

/// What the signal handlers leave behind; process-wide, as signals are.
static SIGNAL: std::sync::OnceLock<Arc<AtomicUsize>> = std::sync::OnceLock::new();

/// Writes data to a stream.
pub(super) type Writer = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()>>;

/// What a verb gives back.
pub enum Done {
    /// A report, which is also what `--output` receives.
    Report(Report),
    /// A report; `--output` has already received its artifact.
    Written(Report),
    /// A report, and an artifact for stdout.
    Streamed(Report, Writer),
    /// Data without an envelope, for `--output` or stdout.
    Data(Writer),
    /// A line for people; `--output` has already received its data.
    Told(String),
}

/// How a verb stands to the spine.
pub struct Conduct {
    /// The verb in reports.
    pub name: &'static str,
    /// The event in the audit log.
    pub event: &'static str,
    /// Whether it changes something, so that it is recorded without any policy file too.
    pub changes: bool,
    /// Whether `--output` receives its report, so that a failure is told there.
    pub reports_to_output: bool,
}

/// What every verb may use.
pub struct Context<'a> {
    /// The global flags.
    pub global: &'a Global,
    /// The policy that counts.
    pub policy: &'a Loaded,
    /// Where state is kept; may not exist.
    pub state_dir: PathBuf,
    /// Which run this is, in reports and records.
    pub run_id: String,
    /// When the command began.
    pub started_at: Timestamp,
    /// Where the audit log stands after *begun*; `None` where none is kept.
    pub audit_head: Option<AuditHead>,
    /// How far the work is, and whether to stop.
    pub progress: &'a Arc<Progress>,
    pub(super) printer: Printer,
    keyring: Result<Keyring, KeyError>,
}

impl Context<'_> {
    /// The keys that flags, policy and environment give.
    ///
    /// # Errors
    /// A source that was named and gives no secret.
    pub fn keyring(&self) -> Result<&Keyring, Failure> {
        self.keyring.as_ref().map_err(key_failure)
    }

    /// Where digest caches are kept.
    pub fn cache_dir(&self) -> PathBuf {
        self.state_dir.join("cache")
    }

    /// Shows progress until the result is dropped.
    pub fn show_progress(&self) -> Option<ProgressBar> {
        ProgressBar::start(self.progress, &self.printer)
    }

    /// Says something beside data that is written when the verb has returned.
    pub fn later_note(&self) -> impl Fn(&str) + 'static {
        let printer = self.printer.clone();
        move |text| printer.note(text)
    }

    /// Asks before something is replaced, unless `agreed`. Who is not at a terminal has to agree
    /// beforehand.
    ///
    /// # Errors
    /// No agreement.
    pub fn confirm(&self, agreed: bool, what: &str) -> Result<(), Failure> {
        if agreed || self.printer.confirm(what) == Some(true) {
            return Ok(());
        }
        let failure = Failure::because(Kind::Usage, format!("nobody agreed to {what}"));
        Err(failure.with_hint("say `--yes`; `--dry-run` shows what would change"))
    }

    /// Where the stdout of children goes, where ours carries JSON.
    pub fn stdout_of_children(&self) -> Option<std::os::fd::OwnedFd> {
        let formats = self.global.stdout_formats().count();
        let is_taken = formats > 0 || self.global.output_is_stdout();
        is_taken.then(|| self.printer.stderr_copy()).flatten()
    }

    /// Says something beside the report.
    pub fn note(&self, text: &str) {
        self.printer.note(text);
    }
}

/// The failure of a key source.
pub(super) fn key_failure(error: impl std::borrow::Borrow<KeyError>) -> Failure {
    let error = error.borrow();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message.push_str(&format!(": {source}"));
        cause = source.source();
    }
    let failure = Failure::because(Kind::Key, message);
    match error {
        KeyError::Missing => failure
            .with_hint("set POCKETMON_SIGN_SECRET, or give `--key-file`, `--key-command` or `--key-stdin`; `agp tool keys generate` makes one"),
        KeyError::Revoked(_) => failure.with_hint("sign with the keyring's active key, or make one with `agp tool keys generate`"),
        _ => failure,
    }
}

/// The failure of a command that a signal ended.
pub(super) fn interrupted() -> Failure {
    let signal = SIGNAL
        .get()
        .map_or(0, |signal| signal.load(Ordering::Relaxed));
    match signal == signal_hook::consts::SIGTERM as usize {
        true => Failure::because(Kind::Terminated, "terminated"),
        false => Failure::because(Kind::Interrupted, "interrupted"),
    }
}

/// Refuses a command line that does not parse. clap's text is the message, a blank line, and then
/// the usage, which serves as the hint.
pub(super) fn refuse(global: &Global, verb: &str, text: &str) -> u8 {
    let run = Run::begin(global, verb.to_owned(), global.output.is_some());
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut failure = Failure::because(Kind::Usage, words(message));
    if !rest.is_empty() {
        let lines: Vec<String> = rest
            .lines()
            .map(words)
            .filter(|line| !line.is_empty())
            .collect();
        failure = failure.with_hint(lines.join("; "));
    }
    run.end(Err(failure), None)
}

/// Runs a parsed command line to its exit code.
pub(super) fn run(cli: &Cli) -> u8 {
    let global = &cli.global;
    let conduct = match &cli.command {
        Command::Tool(tool) => {
            let begin = |name: &str| Run::begin(global, name.to_owned(), false);
            let Tool::Merge(merge) = &tool.tool else {
                return begin("tool").end(tool.run(global), None);
            };
            // It answers for the command of its parts, so it goes the way of that command.
            return match merge.command() {
                Ok(command) => run(&Cli {
                    global: global.clone(),
                    command,
                }),
                Err(failure) => begin("merge").end(Err(failure), None),
            };
        }
        Command::Sign(sign) => sign.share.conduct(Conduct {
            name: "sign",
            event: "integrity.sign",
            changes: true,
            reports_to_output: false,
        }),
        Command::Verify(verify) => verify.share.conduct(Conduct {
            name: "verify",
            event: "integrity.verify",
            changes: false,
            reports_to_output: true,
        }),
        Command::Guard(guard) => guard.share.conduct(Conduct {
            name: "guard",
            event: "guard.evaluate",
            changes: false,
            reports_to_output: true,
        }),
        Command::Rollback(rollback) => rollback.conduct(),
        Command::Profile(profile) => profile.conduct(),
        Command::Run(run) => run.conduct(),
        Command::Audit(audit) => audit.conduct(),
        Command::Budget(budget) => budget.conduct(),
    };
    let mut run = Run::begin(global, conduct.name.to_owned(), conduct.reports_to_output);
    if let Err(failure) = deliver::check(global) {
        return run.end(Err(failure), None);
    }
    if cli.replaces_what_it_reads() {
        let text = "the report would stand in the place of what this command reads";
        let failure = Failure::because(Kind::Usage, text).with_hint("write the report elsewhere");
        return run.end(Err(failure.keeping_output()), None);
    }
    match load_policy(global) {
        Ok(policy) => {
            run.policy = PolicyReference {
                source: policy.source.to_string(),
                sha256: policy.sha256,
            };
            run.warnings = warnings(&policy);
            run.metrics.clone_from(&policy.policy.metrics);
            govern(run, cli, (&policy, &conduct))
        }
        Err(failure) => run.end(Err(failure), None),
    }
}

/// The verb between its two audit records.
fn govern(mut run: Run<'_>, cli: &Cli, (policy, conduct): (&Loaded, &Conduct)) -> u8 {
    let progress = Arc::new(Progress::default());
    watch_signals(&progress);
    let state_dir = state_dir(&cli.global);
    run.notifier = Notifier::new(cli, (policy, conduct, &state_dir), &progress);
    let keyring = keys::keyring(key_arguments(&cli.command), &policy.policy);
    let recorder = match recorder(cli, (policy, conduct), &state_dir) {
        Ok(recorder) => recorder,
        Err(failure) => return run.end(Err(failure), None),
    };
    let secret = keyring
        .as_ref()
        .ok()
        .and_then(|keyring| keyring.active().ok()?.secret().ok());
    // Asking a vault takes time; who was told to stop meanwhile begins nothing.
    if progress.interrupted.load(Ordering::Relaxed) {
        return run.end(Err(interrupted()), None);
    }
    let recorder = recorder.map(|recorder| recorder.sealed_with(secret, &run.id, run.started_at));
    let strict = policy.policy.policy_guard.enforcement_level == policy::EnforcementLevel::Strict;
    let audit_head = match record::begin(&mut run.warnings, recorder.as_ref(), (conduct, strict)) {
        Ok(head) => head,
        Err(failure) => return run.end(Err(failure), None),
    };
    let place = Place {
        state_dir: &state_dir,
        keyring: keyring.as_ref().ok(),
        progress: &progress,
        keepers: &[],
    };
    let pending = super::rollback::finish_pending(&cli.command, conduct.changes, place);
    let context = Context {
        global: &cli.global,
        policy,
        state_dir: state_dir.clone(),
        run_id: run.id.clone(),
        started_at: run.started_at,
        audit_head,
        progress: &progress,
        printer: run.printer.clone(),
        keyring,
    };
    let mut result = pending.and_then(|warning| {
        run.warnings.extend(warning);
        act(&cli.command, &context)
    });
    let mut head = context.audit_head.clone();
    if let Some(recorder) = recorder.as_ref().filter(|_| head.is_some()) {
        match recorder.ended(conduct.event, &run.outcome(&result)) {
            Ok(ended) => head = Some(ended),
            Err(error) if strict => result = record::unfinished(result, error),
            Err(error) => run.warnings.push(record::unrecorded(error)),
        }
    }
    run.end(result, head)
}

/// Where state is kept; may not exist.
fn state_dir(global: &Global) -> PathBuf {
    let named = global.state_dir.clone().or_else(env::state_dir);
    named.unwrap_or_else(|| STATE_DIR.into())
}

/// Does what the command says.
fn act(command: &Command, context: &Context<'_>) -> Result<Done, Failure> {
    match command {
        Command::Sign(arguments) => arguments.run(context),
        Command::Verify(arguments) => arguments.run(context),
        Command::Guard(arguments) => arguments.run(context),
        Command::Rollback(arguments) => arguments.run(context),
        Command::Profile(arguments) => arguments.run(context),
        Command::Run(arguments) => arguments.run(context),
        Command::Audit(arguments) => arguments.run(context),
        Command::Budget(arguments) => arguments.run(context),
        // Has returned before: tools neither need a policy nor touch anything governed.
        Command::Tool(arguments) => arguments.run(context.global),
    }
}

fn key_arguments(command: &Command) -> &KeyArgs {
    static NONE: KeyArgs = KeyArgs {
        key_file: None,
        key_command: None,
        key_stdin: false,
    };
    match command {
        Command::Sign(arguments) => &arguments.key,
        Command::Verify(arguments) => &arguments.key,
        Command::Guard(arguments) => &arguments.key,
        Command::Rollback(arguments) => arguments.key(),
        Command::Profile(arguments) => &arguments.secret,
        Command::Run(arguments) => &arguments.key,
        Command::Audit(arguments) => arguments.key().unwrap_or(&NONE),
        Command::Budget(_) | Command::Tool(_) => &NONE,
    }
}

/// SIGINT and SIGTERM ask the work to stop; a second one ends the process at once.
fn watch_signals(progress: &Progress) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let which = Arc::clone(SIGNAL.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM] {
        let number = signal as usize;
        // Registration fails for signals that cannot be caught; these can.
        let _ = signal_hook::flag::register_conditional_default(
            signal,
            Arc::clone(&progress.interrupted),
        );
        let _ = signal_hook::flag::register_usize(signal, Arc::clone(&which), number);
        let _ = signal_hook::flag::register(signal, Arc::clone(&progress.interrupted));
    }
}

fn load_policy(global: &Global) -> Result<Loaded, Failure> {
    let from_environment = env::config();
    let named = global.config.as_deref().or(from_environment.as_deref());
    policy::load(&LoadRequest { named }).map_err(policy_failure)
}

/// Every problem of a policy file, each with its place.
pub(super) fn policy_failure(error: LoadError) -> Failure {
    match error {
        LoadError::Invalid { path, problems } => {
            let path = path.to_string_lossy();
            let findings = problems
                .iter()
                .map(|problem| problem_finding(&codes::POLICY_INVALID, (&path, problem)));
            Failure::of_all(Kind::Policy, findings.collect())
        }
        LoadError::Read(_) => Failure::new(Kind::Policy, error),
    }
}

fn problem_finding(
    code: &'static crate::report::Code,
    (path, problem): (&str, &Problem),
) -> Finding {
    let place = match problem.pointer.as_str() {
        "" => path.to_owned(),
        pointer => format!("{path}#{pointer}"),
    };
    let mut finding = Finding::new(code, problem.message.clone())
        .at(place)
        .on_line(problem.line);
    finding.column = Some(problem.column);
    match &problem.hint {
        Some(hint) => finding.with_hint(hint.clone()),
        None => finding,
    }
}

fn warnings(policy: &Loaded) -> Vec<Finding> {
    let path = policy.source.to_string();
    policy
        .warnings
        .iter()
        .map(|problem| problem_finding(&codes::POLICY_IGNORED, (&path, problem)))
        .collect()
}

/// The audit log of this command; `None` where none is to be kept.
fn recorder(
    cli: &Cli,
    (policy, conduct): (&Loaded, &Conduct),
    state_dir: &Path,
) -> Result<Option<Recorder>, Failure> {
    let wanted = !policy.forbids_audit() && (policy.asks_for_audit() || conduct.changes);
    if !wanted {
        return Ok(None);
    }
    if let Command::Sign(arguments) = &cli.command
        && arguments.signs(state_dir)
    {
        // No tree holds still that the log of its own signing grows in.
        let text = "the tree to be signed is the state directory";
        let failure = Failure::because(Kind::Usage, text);
        return Err(failure.with_hint("name another place with `--state-dir`"));
    }
    if let Command::Verify(arguments) = &cli.command
        && let Some(manifest) = arguments.disturbed_by(state_dir)
    {
        // The log would make an intact tree look changed, or change it. A policy that merely lies
        // there cannot insist; one that was named can.
        let manifest = naming::shown(&manifest);
        return match policy.source {
            Source::Named(_) => Err(Failure::because(
                Kind::Audit,
                format!(
                    "the audit log would lie in the tree of `{manifest}`, which does not exempt it"
                ),
            )),
            Source::Found(_) | Source::BuiltIn => Ok(None),
        };
    }
    let recorder = Recorder::new(state_dir, &policy.policy);
    Ok(Some(recorder.trusting_parts(cli.trusts_parts())))
}
