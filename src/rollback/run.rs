//! Governed work: snapshot, work, checks, seal, and back again when it went wrong. Knows neither what the
//! work is nor who seals.
//!
//! The journal `run.json` says how far a run is; its guardian holds `run.lock` as long as it lives.
//! Whoever finds the journal without its guardian finishes what was begun: a run that nobody saw to
//! its good end is rolled back.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RollbackError;
use super::intent::Binding;
use super::judge;
use super::limit::within;
use super::restore::{self, Request as RestoreRequest};
use super::store::{Access, Mark, Place, Store};
use super::watch::Watch;
use super::{SaveRequest, commit, query, save};
use crate::base::clock::{self, Timestamp};
use crate::base::digest::{Digest, Hasher};
use crate::base::files::{self, FileError};
use crate::inventory::{Globs, Progress};
use crate::policy::{FailurePattern, RollbackPlaybook};
use crate::process::{self, Ended, Identity};
use crate::report::{Finding, Verdict, codes};

/// What to run, on which trees, and how it is judged.
pub struct Request<'a> {
    /// The trees, and how to take their snapshot.
    pub save: SaveRequest,
    /// Paths that the command may change; without patterns: all.
    pub allow_change: &'a Globs,
    /// What fires besides a command that fails.
    pub patterns: &'a [FailurePattern],
    /// How many times a check has to fail before it counts.
    pub confirmations: u64,
    /// Whether trees go back by themselves.
    pub automatic: bool,
    /// How long that may take before anything is replaced.
    pub limit: Duration,
    /// How the trees go back.
    pub restore: RestoreRequest<'a>,
}

impl<'a> Request<'a> {
    /// What a policy says of a run on these trees.
    pub fn by(policy: &'a RollbackPlaybook, save: SaveRequest, allow_change: &'a Globs) -> Self {
        Self {
            allow_change,
            patterns: &policy.critical_failure_patterns,
            confirmations: policy.confirmations,
            automatic: policy.auto_rollback_on_failure,
            limit: Duration::try_from_secs_f64(policy.rollback_timeout_seconds)
                .unwrap_or(Duration::MAX),
            restore: RestoreRequest {
                keep_failed: policy.keep_failed,
                verify: policy.rollback_verification,
                allow_incomplete: save.allow_incomplete,
                audit_head: save.audit_head.clone(),
                ..RestoreRequest::whole(None, save.now)
            },
            save,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The snapshot is taken and the command may be running.
    Started,
    /// The command has ended.
    CommandDone,
    /// The checks have run.
    ChecksDone,
    /// All is well.
    Committed,
    /// The trees are going back.
    RollingBack,
    /// The trees are what they were.
    RolledBack,
    /// The trees could not be put back, or are not what they were.
    RollbackFailed,
    /// Something is wrong, and nobody wanted the trees back.
    LeftAsItIs,
}

/// A run on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    binding: Binding,
    state: State,
    snapshot: String,
    automatic: bool,
    /// The command's leader: number and time of start.
    leader: Option<Identity>,
}

/// How a run went.
#[derive(Debug)]
pub struct RunOutcome {
    /// The snapshot from before.
    pub snapshot: String,
    /// What it came to.
    pub state: State,
    /// How the command ended.
    pub ended: Ended,
    /// Whether somebody asked to stop before its end.
    pub interrupted: bool,
    /// What fired, what was bad before, what went wrong on the way back.
    pub findings: Vec<Finding>,
}

/// What a governed run does beside watching over its trees.
pub trait Hands {
    /// Does the work, given the snapshot from before. `started` learns of every command of it as soon as
    /// it runs.
    ///
    /// # Errors
    /// What kept it from beginning, in words.
    fn work(&mut self, snapshot: &str, started: &mut dyn FnMut(Identity))
    -> Result<Worked, String>;

    /// Runs a check.
    ///
    /// # Errors
    /// A check that cannot start.
    fn check(&mut self, number: usize) -> Result<Ended, process::QueryError>;

    /// Looks for what speaks against work that came to a good end, given the snapshot from before and the trees
    /// as they are now, where somebody has just looked at them.
    ///
    /// # Errors
    /// What could not be found out, in words; it is never a pass.
    fn judge(&mut self, snapshot: &str, watch: Option<&Watch>) -> Result<Vec<Finding>, String>;

    /// Seals the trees, after nothing spoke against them, as they were when somebody last looked at them.
    ///
    /// # Errors
    /// What kept them from being sealed, in words.
    fn seal(&mut self, watch: Option<&Watch>) -> Result<Vec<Finding>, String>;

    /// Whether a finding is a reason to put the trees back, and not only to say so.
    fn fires(&self, finding: &Finding) -> bool;
}

/// How the work ended.
#[derive(Debug)]
pub struct Worked {
    /// The end of its last command; any code of success is 0 here.
    pub ended: Ended,
    /// What there is to say about it.
    pub findings: Vec<Finding>,
    /// The trees as it left them, where somebody has looked at them since.
    pub watch: Option<Watch>,
}

impl Worked {
    /// The end of a command that is called `what`, with what that end says against it.
    pub fn of(what: &str, ended: Ended) -> Self {
        let (code, text) = match ended {
            Ended::TimedOut => (
                &codes::RUN_TIMED_OUT,
                format!("{what} was stopped when its time was over"),
            ),
            _ => (
                &codes::RUN_COMMAND_FAILED,
                format!("{what} ended with {ended}"),
            ),
        };
        let is_good = ended.is_success() || ended == Ended::Interrupted;
        let findings = (!is_good).then(|| Finding::new(code, text));
        Self {
            ended,
            findings: findings.into_iter().collect(),
            watch: None,
        }
    }
}

/// Runs governed work with so many checks.
///
/// # Errors
/// What kept it from starting. Once the work has begun, everything is told in the outcome.
pub fn run(
    place: Place<'_>,
    (request, count): (&Request<'_>, usize),
    hands: &mut dyn Hands,
) -> Result<RunOutcome, RollbackError> {
    let mut checks = Checks {
        hands,
        confirmations: request.confirmations.max(1),
        bad_before: Vec::new(),
    };
    checks.run_before(place, count)?;
    let (mut journal, _guardian) = begin(place, request)?;
    if count > 0 && !checks.bad_before.contains(&true) {
        Store::open(place, Access::Write)?.mark(&journal.snapshot, Mark::Good, true)?;
    }
    let mut noted = Ok(());
    let snapshot = journal.snapshot.clone();
    let worked = checks.hands.work(&snapshot, &mut |leader| {
        journal.leader = Some(leader);
        noted = journal.save(place);
    });
    let mut worked = match (worked, noted) {
        (Ok(worked), Ok(())) => worked,
        (Err(reason), _) => {
            end(place, &mut journal, State::Committed)?;
            return Err(RollbackError::Usage(reason));
        }
        (Ok(_), Err(error)) => return Err(error),
    };
    journal.advance(place, State::CommandDone)?;
    let ended = worked.ended;
    examine((place, request, &snapshot), &mut worked, &mut checks);
    let mut findings = worked.findings;
    journal.advance(place, State::ChecksDone)?;
    // Whoever interrupted it does not know what it did, and wants the trees back.
    let interrupted = || place.progress.is_interrupted();
    if !interrupted() && findings.iter().all(|one| one.verdict == Verdict::Pass) {
        let sealed = checks.hands.seal(worked.watch.as_ref());
        let unsealed = |reason| vec![Finding::new(&codes::RUN_UNSEALED, reason)];
        findings.extend(sealed.unwrap_or_else(unsealed));
    }
    let fired = interrupted() || findings.iter().any(|one| checks.hands.fires(one));
    let is_clean = findings.iter().all(|one| one.verdict == Verdict::Pass);
    let state = match (fired, request.automatic) {
        (false, _) if is_clean => State::Committed,
        (false, _) | (true, false) => State::LeftAsItIs,
        (true, true) => {
            process::stop_descendants();
            journal.advance(place, State::RollingBack)?;
            let back = (&request.restore, Some(request.limit));
            let (state, more) = roll_back(place, &journal.snapshot, back);
            findings.extend(more);
            if state == State::RolledBack && !interrupted() {
                let failing = checks.still_failing();
                // A check that somebody stopped says nothing.
                findings.extend(failing.into_iter().filter(|_| !interrupted()));
            }
            state
        }
    };
    end(place, &mut journal, state)?;
    Ok(RunOutcome {
        snapshot: journal.snapshot,
        state,
        ended,
        interrupted: interrupted(),
        findings,
    })
}

/// Adds everything that speaks against work that has ended.
fn examine(
    (place, request, snapshot): (Place<'_>, &Request<'_>, &str),
    worked: &mut Worked,
    checks: &mut Checks<'_>,
) {
    match worked.ended {
        Ended::Code(0) => {}
        // Nobody looks at the work of what did not do it.
        _ => return,
    }
    worked.findings.extend(checks.judge());
    // A check may have changed them. Whoever needs what cannot be looked at says why.
    if !checks.bad_before.is_empty()
        && let Some(watch) = &mut worked.watch
        && watch.look(place).is_err()
    {
        worked.watch = None;
    }
    let watch = worked.watch.as_ref();
    let wanted = [
        FailurePattern::DataCorruption,
        FailurePattern::SecurityViolation,
    ];
    if wanted.iter().any(|one| request.patterns.contains(one)) {
        let judged = Store::open(place, Access::Read).and_then(|store| {
            let request = judge::Request {
                allow_change: request.allow_change,
                patterns: request.patterns,
                watch,
            };
            judge::judge(&store, snapshot, &request)
        });
        // What could not be found out is never a pass.
        worked.findings.extend(judged.unwrap_or_else(|error| {
            let text = format!("{:#}", anyhow::Error::from(error));
            vec![Finding::new(&codes::RUN_UNJUDGED, text)]
        }));
    }
    let judged = checks.hands.judge(snapshot, watch);
    let unjudged = |reason| vec![Finding::new(&codes::RUN_UNJUDGED, reason)];
    worked.findings.extend(judged.unwrap_or_else(unjudged));
}

/// The checks of a run.
struct Checks<'a> {
    hands: &'a mut dyn Hands,
    /// How many times one has to fail before it counts, at least 1.
    confirmations: u64,
    /// Which failed before the command already.
    bad_before: Vec<bool>,
}

impl Checks<'_> {
    /// Runs so many checks, to know later which failed before the work already.
    fn run_before(&mut self, place: Place<'_>, count: usize) -> Result<(), RollbackError> {
        for check in 0..count {
            let passes = self.passes(check) == Some(true);
            self.bad_before.push(!passes);
            if place.progress.is_interrupted() {
                return Err(RollbackError::Interrupted);
            }
        }
        Ok(())
    }

    /// Whether a check passes; `None` where it failed and then passed.
    fn passes(&mut self, check: usize) -> Option<bool> {
        for attempt in 0..self.confirmations {
            let ended = self.hands.check(check);
            if ended.is_ok_and(Ended::is_success) {
                return (attempt == 0).then_some(true);
            }
        }
        Some(false)
    }

    /// Runs the checks. Only what was good before counts against the command.
    fn judge(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for check in 0..self.bad_before.len() {
            let number = check + 1;
            let (code, text) = match (self.passes(check), self.bad_before[check]) {
                (Some(true), _) => continue,
                (None, _) => (
                    &codes::RUN_CHECK_UNSTEADY,
                    format!("check {number} failed and then passed"),
                ),
                (Some(false), true) => (
                    &codes::RUN_PRE_EXISTING,
                    format!("check {number} failed before the command too"),
                ),
                (Some(false), false) => (
                    &codes::RUN_CHECK_FAILED,
                    format!("check {number} passed before the command and fails after it"),
                ),
            };
            findings.push(Finding::new(code, text));
        }
        findings
    }

    /// The checks that the way back did not mend.
    fn still_failing(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for check in 0..self.bad_before.len() {
            if !self.bad_before[check] && self.passes(check) == Some(false) {
                let text = format!("check {} still fails after the rollback", check + 1);
                findings.push(Finding::new(&codes::RUN_ROLLBACK_FAILED, text));
            }
        }
        findings
    }
}

/// Takes the snapshot and writes the journal; refuses to start from a state that was rolled back.
fn begin(place: Place<'_>, request: &Request<'_>) -> Result<(Journal, File), RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let Some(guardian) = guardian(&store)? else {
        return Err(RollbackError::Usage(
            "another governed command is running on this store".into(),
        ));
    };
    let saved = save::save(&store, &request.save)?;
    let digest = digest_of(&saved.snapshot).to_string();
    if failed_states(&store).contains(&digest) {
        return Err(RollbackError::Usage(
            "these trees are in a state that was rolled back before; restore a good one first"
                .into(),
        ));
    }
    let journal = Journal {
        binding: Binding::of(&store)?,
        state: State::Started,
        snapshot: saved.snapshot.id,
        automatic: request.automatic,
        leader: None,
    };
    journal.save(place)?;
    Ok((journal, guardian))
}

/// One digest for all trees of a snapshot.
fn digest_of(snapshot: &super::Snapshot) -> Digest {
    let mut hasher = Hasher::default();
    for target in &snapshot.targets {
        hasher.update(&target.root_digest().0);
    }
    hasher.finish()
}

fn failed_states(store: &Store<'_>) -> Vec<String> {
    let path = store.path.join("runs/failed-states");
    let text = files::read_bounded(&path, 1 << 20).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Puts the trees back and proves it. With a limit nobody interrupts it but the clock.
fn roll_back(
    place: Place<'_>,
    snapshot: &str,
    (request, limit): (&RestoreRequest<'_>, Option<Duration>),
) -> (State, Vec<Finding>) {
    let failed = |text: String| {
        let finding = Finding::new(&codes::RUN_ROLLBACK_FAILED, text);
        (State::RollbackFailed, vec![finding])
    };
    let (calm, after) = (Progress::default(), Progress::default());
    let at = |progress| Place { progress, ..place };
    let restored = match limit {
        None => restore_all(place, snapshot, request),
        Some(limit) => {
            let back = || restore_all(at(&calm), snapshot, request);
            match within(limit, &calm.interrupted, back) {
                (Err(RollbackError::Interrupted), true) => {
                    let seconds = limit.as_secs_f64();
                    return failed(format!(
                        "it took longer than {seconds} s; nothing was replaced"
                    ));
                }
                (restored, _) => restored,
            }
        }
    };
    let place = limit.map_or(place, |_| at(&after));
    let compared = restored.and_then(|()| {
        let store = Store::open(place, Access::Read)?;
        query::compare(&store, snapshot, None)
    });
    match compared {
        Ok(compared) if compared.is_equal() => {
            let text = format!("the trees are what they were in snapshot {snapshot}");
            let finding = Finding::new(&codes::RUN_ROLLED_BACK, text);
            (State::RolledBack, vec![finding])
        }
        Ok(_) => {
            failed("the trees are not what they were: something still writes into them".into())
        }
        Err(error) => failed(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// Restores every target, and remembers the state that failed.
fn restore_all(
    place: Place<'_>,
    snapshot: &str,
    request: &RestoreRequest<'_>,
) -> Result<(), RollbackError> {
    let store = Store::open(place, Access::Write)?;
    commit::recover(&store)?;
    let request = RestoreRequest {
        snapshot: Some(snapshot),
        now: clock::now(),
        ..request.clone()
    };
    let restored = restore::restore(&store, &request)?;
    if let Some(before) = &restored.before {
        let failed = digest_of(&store.load(before)?.0);
        // A command may fail without having changed anything; what was there is no worse for it.
        if failed == digest_of(&store.load(snapshot)?.0) {
            return Ok(());
        }
        let mut all = failed_states(&store);
        all.push(failed.to_string());
        let path = store.path.join("runs/failed-states");
        files::write_atomic(&path, 0o600, |out| writeln!(out, "{}", all.join("\n")))?;
    }
    Ok(())
}

impl Journal {
    fn path(place: Place<'_>) -> PathBuf {
        place.store().join("run.json")
    }

    fn save(&self, place: Place<'_>) -> Result<(), RollbackError> {
        Ok(files::write_atomic(&Self::path(place), 0o600, |out| {
            Ok(serde_json::to_writer(out, self)?)
        })?)
    }

    fn advance(&mut self, place: Place<'_>, state: State) -> Result<(), RollbackError> {
        self.state = state;
        self.save(place)
    }
}

/// Ends a run: its journal goes to the others.
fn end(place: Place<'_>, journal: &mut Journal, state: State) -> Result<(), RollbackError> {
    journal.advance(place, state)?;
    let path = Journal::path(place);
    let kept = place
        .store()
        .join("runs")
        .join(format!("run-{}.json", journal.snapshot));
    fs::rename(&path, kept).map_err(FileError::at("move", &path))?;
    Ok(())
}

/// The lock of the one who watches a run; `None` where somebody does.
fn guardian(store: &Store<'_>) -> Result<Option<File>, RollbackError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = store.path.join("run.lock");
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let file = options.open(&path).map_err(FileError::at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(FileError::at("lock", &path)(error).into()),
    }
}

/// Whether there is a journal, without waiting for anybody.
pub(super) fn is_open(place: Place<'_>) -> bool {
    Journal::path(place).exists()
}

/// Snapshots that an open run needs.
pub(super) fn needed(place: Place<'_>) -> Option<String> {
    let bytes = files::read_bounded(&Journal::path(place), 1 << 20).ok()?;
    let journal: Journal = serde_json::from_slice(&bytes).ok()?;
    Some(journal.snapshot)
}

/// Finishes a run whose guardian was killed. Nothing happens while the guardian lives.
pub(super) fn recover(place: Place<'_>, now: Timestamp) -> Result<Option<Finding>, RollbackError> {
    let store = Store::open(place, Access::Write)?;
    let bytes = match files::read_bounded(&Journal::path(place), 1 << 20) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let Some(_guardian) = guardian(&store)? else {
        return Ok(None);
    };
    let stuck = |text: &str| RollbackError::Stuck(format!("`run.json` {text}"));
    let mut journal: Journal = serde_json::from_slice(&bytes)
        .map_err(|error| stuck(&format!("cannot be read: {error}")))?;
    if journal.binding != Binding::of(&store)? {
        return Err(stuck(
            "was written in another place; remove it if this store was copied here",
        ));
    }
    drop(store);
    if let Some(leader) = journal.leader {
        process::stop_left_behind(leader);
    }
    if !journal.automatic {
        end(place, &mut journal, State::LeftAsItIs)?;
        let text = "a governed command lost its guardian, and the policy wants nothing rolled back";
        return Ok(Some(Finding::new(&codes::RESTORE_RECOVERED, text)));
    }
    let request = RestoreRequest::whole(None, now);
    let (state, findings) = roll_back(place, &journal.snapshot, (&request, None));
    match state {
        State::RolledBack => {
            end(place, &mut journal, state)?;
            let text = "a governed command lost its guardian, and its trees were rolled back";
            Ok(Some(Finding::new(&codes::RESTORE_RECOVERED, text)))
        }
        _ => {
            let reason = findings
                .into_iter()
                .next()
                .map_or(String::new(), |one| one.message);
            Err(RollbackError::Stuck(reason))
        }
    }
}
