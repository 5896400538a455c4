//! A governed command: snapshot, run, check, and back again when it went wrong.
//!
//! The journal `run.json` says how far a run is; its guardian holds `run.lock` as long as it lives.
//! Whoever finds the journal without its guardian finishes what was begun: a run that nobody saw to
//! its good end is rolled back.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::error::RollbackError;
use super::intent::Binding;
use super::plan::Aspect;
use super::restore::{self, Request as RestoreRequest};
use super::store::{Access, Mark, Place, Store};
use super::{SaveRequest, commit, query, save};
use crate::base::clock::{self, Timestamp};
use crate::base::digest::{Digest, Hasher};
use crate::base::files::{self, FileError};
use crate::base::relpath::RelPath;
use crate::inventory::Globs;
use crate::process::{self, Ended, Identity};
use crate::report::{Finding, codes};

/// What to run, on which trees, and how it is judged.
pub struct Request<'a> {
    /// The trees, and how to take their snapshot.
    pub save: SaveRequest,
    /// Paths that the command may change; without patterns: all.
    pub allow_change: &'a Globs,
    /// Whether a change elsewhere counts as corruption.
    pub corruption: bool,
    /// Whether trees go back by themselves.
    pub automatic: bool,
    /// How the trees go back.
    pub restore: RestoreRequest<'a>,
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
    /// What fired, what was bad before, what went wrong on the way back.
    pub findings: Vec<Finding>,
}

/// Runs a command and a check, for the shell knows how: `None` runs the command itself, a number that
/// check. `started` learns who the command is.
pub type Runner<'a> =
    dyn FnMut(Option<usize>, &mut dyn FnMut(Identity)) -> Result<Ended, process::QueryError> + 'a;

/// Runs a governed command with so many checks.
///
/// # Errors
/// What kept it from starting. Once the command runs, everything is told in the outcome.
pub fn run(
    place: Place<'_>,
    (request, checks): (&Request<'_>, usize),
    runner: &mut Runner<'_>,
) -> Result<RunOutcome, RollbackError> {
    let mut bad_before = Vec::new();
    for check in 0..checks {
        bad_before.push(!run_check(runner, check));
    }
    let (mut journal, _guardian) = begin(place, request)?;
    let good = checks > 0 && !bad_before.contains(&true);
    if good {
        Store::open(place, Access::Write)?.mark(&journal.snapshot, Mark::Good, true)?;
    }
    let mut noted = Ok(());
    let ended = runner(None, &mut |leader| {
        journal.leader = Some(leader);
        noted = journal.save(place);
    });
    let ended = match (ended, noted) {
        (Ok(ended), Ok(())) => ended,
        (Err(error), _) => {
            end(place, &mut journal, State::Committed)?;
            return Err(RollbackError::Usage(error.to_string()));
        }
        (Ok(_), Err(error)) => return Err(error),
    };
    journal.advance(place, State::CommandDone)?;
    let run = (place, request, journal.snapshot.as_str());
    let mut findings = found(run, (ended, &bad_before), runner)?;
    journal.advance(place, State::ChecksDone)?;
    let fired = findings
        .iter()
        .any(|one| one.code != &codes::RUN_PRE_EXISTING);
    let state = match (fired, request.automatic) {
        (false, _) => State::Committed,
        (true, false) => State::LeftAsItIs,
        (true, true) => {
            process::stop_descendants();
            // Whoever interrupted the command wants the trees back all the same.
            place.progress.interrupted.store(false, Ordering::Relaxed);
            journal.advance(place, State::RollingBack)?;
            let (state, more) = roll_back(place, &journal.snapshot, &request.restore);
            findings.extend(more);
            for (check, was_bad) in bad_before.iter().enumerate() {
                if state == State::RolledBack && !was_bad && !run_check(runner, check) {
                    let text = format!("check {} still fails after the rollback", check + 1);
                    findings.push(Finding::new(&codes::RUN_ROLLBACK_FAILED, text));
                }
            }
            state
        }
    };
    end(place, &mut journal, state)?;
    Ok(RunOutcome {
        snapshot: journal.snapshot,
        state,
        ended,
        findings,
    })
}

/// Everything that speaks against a command that has ended.
fn found(
    (place, request, snapshot): (Place<'_>, &Request<'_>, &str),
    (ended, bad_before): (Ended, &[bool]),
    runner: &mut Runner<'_>,
) -> Result<Vec<Finding>, RollbackError> {
    if !ended.is_success() {
        let text = format!("the command ended with {ended}");
        return Ok(vec![Finding::new(&codes::RUN_COMMAND_FAILED, text)]);
    }
    let mut findings = judge(runner, bad_before);
    if request.corruption && !request.allow_change.patterns().is_empty() {
        findings.extend(corruption(place, snapshot, request.allow_change)?);
    }
    Ok(findings)
}

fn run_check(runner: &mut Runner<'_>, check: usize) -> bool {
    runner(Some(check), &mut |_| {}).is_ok_and(Ended::is_success)
}

/// Runs the checks. Only what was good before counts against the command.
fn judge(runner: &mut Runner<'_>, bad_before: &[bool]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (check, was_bad) in bad_before.iter().enumerate() {
        let is_bad = !run_check(runner, check);
        let number = check + 1;
        match (is_bad, was_bad) {
            (false, _) => {}
            (true, true) => {
                let text = format!("check {number} failed before the command too");
                findings.push(Finding::new(&codes::RUN_PRE_EXISTING, text));
            }
            (true, false) => {
                let text = format!("check {number} passed before the command and fails after it");
                findings.push(Finding::new(&codes::RUN_CHECK_FAILED, text));
            }
        }
    }
    findings
}

/// What changed outside of what the command may change.
fn corruption(
    place: Place<'_>,
    snapshot: &str,
    allowed: &Globs,
) -> Result<Vec<Finding>, RollbackError> {
    let store = Store::open(place, Access::Read)?;
    let compared = query::compare(&store, snapshot, None)?;
    let mut findings = Vec::new();
    for (target, differences) in compared.targets {
        for difference in differences {
            // A directory's time changes with what may change in it.
            let counts = difference
                .aspects
                .iter()
                .any(|aspect| *aspect != Aspect::Time);
            let is_allowed = |path: &RelPath| allowed.excludes(path);
            if counts && !difference.path.as_ref().is_some_and(is_allowed) {
                let words: Vec<&str> = difference
                    .aspects
                    .iter()
                    .map(|aspect| aspect.word())
                    .collect();
                let text = format!("changed, and the command might not: {}", words.join(", "));
                let at = save::below(&target, difference.path.as_ref());
                findings.push(Finding::new(&codes::RUN_DATA_CORRUPTION, text).at(at));
            }
        }
    }
    Ok(findings)
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

/// Puts the trees back and proves it.
fn roll_back(
    place: Place<'_>,
    snapshot: &str,
    request: &RestoreRequest<'_>,
) -> (State, Vec<Finding>) {
    let back = || {
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
            let mut all = failed_states(&store);
            all.push(failed.to_string());
            let path = store.path.join("runs/failed-states");
            files::write_atomic(&path, 0o600, |out| writeln!(out, "{}", all.join("\n")))?;
        }
        query::compare(&store, snapshot, None)
    };
    let failed = |text: String| {
        (
            State::RollbackFailed,
            vec![Finding::new(&codes::RUN_ROLLBACK_FAILED, text)],
        )
    };
    match back() {
        Ok(compared)
            if compared
                .targets
                .iter()
                .all(|(_, differences)| differences.is_empty()) =>
        {
            let text = format!("the trees are what they were in snapshot {snapshot}");
            (
                State::RolledBack,
                vec![Finding::new(&codes::RUN_ROLLED_BACK, text)],
            )
        }
        Ok(_) => {
            failed("the trees are not what they were: something still writes into them".into())
        }
        Err(error) => failed(format!("{:#}", anyhow::Error::from(error))),
    }
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
    let request = RestoreRequest {
        snapshot: None,
        absent: &[],
        targets: &[],
        include: Globs::default(),
        keep_failed: false,
        verify: true,
        allow_incomplete: false,
        now,
        audit_head: None,
    };
    let (state, findings) = roll_back(place, &journal.snapshot, &request);
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
