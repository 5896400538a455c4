//! The playbook: what to do when a tree has to go back, generated from facts, signed, and executable.
//!
//! `docs/formats/playbook.md` describes the file. Steps are arguments, never shell text. Owns the
//! document, its signature and its copy in the store; running steps is the shell's.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::drill::Drilled;
use super::error::RollbackError;
use super::snapshot::Snapshot;
use super::store::{Place, Store};
use crate::base::canon;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::files;
use crate::policy::{self, FailurePattern};
use crate::seal::{KeyId, Secret};

/// The domain of the signature.
const PAYLOAD_TYPE: &str = "application/vnd.agp.rollback-playbook.v1+json";
/// The format's version.
const VERSION: &str = "1.0";
const ALGORITHM: &str = "HMAC-SHA256";
/// The longest playbook that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// Bytes and files that a second restores at the least, for an estimate before anything is measured.
const ESTIMATE: (u64, u64) = (50_000_000, 2_000);

/// When a person stops and calls for help.
const ABORT_CRITERIA: [&str; 3] = [
    "`check` fails: the snapshot is damaged; look for another one with `agp rollback list`",
    "`restore` exits 2: nothing live was touched; its message says why",
    "`verify` fails twice: something still writes into a target, or the disk is failing",
];

/// What to do when trees have to go back to a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// `1.0`.
    pub playbook_version: String,
    /// Names the playbook: its snapshot's name.
    pub id: String,
    /// When it was made, RFC 3339, UTC.
    pub created_at: String,
    /// When its snapshot may be removed by retention, RFC 3339, UTC.
    pub expires_at: String,
    /// The policy that it follows.
    pub policy: PolicyFacts,
    /// The machine that it was made on and for.
    pub host: String,
    /// The state directory that holds the snapshot, absolute.
    pub state_dir: String,
    /// What will be restored, one for each target.
    pub snapshots: Vec<Source>,
    /// What makes a governed run restore by itself.
    pub triggers: Vec<Trigger>,
    /// What must hold for the steps to succeed, and whether it held when this was made.
    pub preconditions: Vec<Precondition>,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// When to stop and call for help.
    pub abort_criteria: Vec<String>,
    /// The command whose success means that the rollback succeeded.
    pub verification: Vec<String>,
    /// The command that takes the rollback back.
    pub undo: Vec<String>,
    /// The last rehearsal; null before the first.
    pub rehearsal: Option<Rehearsal>,
    /// Over everything above; null where no key was at hand.
    pub signature: Option<Signature>,
}

/// Which policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFacts {
    /// The file, or `built-in`.
    pub source: String,
    /// SHA-256 of its bytes; null for the built-in policy.
    pub sha256: Option<Digest>,
}

/// One target and what it will be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// As it was named.
    pub target: String,
    /// Where it is.
    pub absolute_path: String,
    /// The snapshot.
    pub id: String,
    /// SHA-256 over paths, kinds, modes and contents.
    pub root_digest: Digest,
    /// Regular files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What makes a governed run restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The policy's word, or `command_fails`.
    pub pattern: String,
    /// When it fires, for people.
    pub fires_when: String,
    /// Whether it restores by itself.
    pub automatic: bool,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Precondition {
    /// What was looked at.
    pub check: String,
    /// `ok`, `failed`, or `unknown`, when this was made.
    pub result_now: String,
    /// What was found, for people.
    pub detail: String,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A word.
    pub id: String,
    /// For people.
    pub title: String,
    /// Who does it.
    pub kind: Kind,
    /// What is run; empty where a person acts.
    pub argv: Vec<String>,
    /// Exit codes that mean success.
    pub expect: Vec<u8>,
    /// What is run afterwards and must exit 0; empty for nothing.
    pub verify: Vec<String>,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// How long it may take.
    pub timeout_seconds: u64,
    /// How often it is tried.
    pub max_attempts: u64,
    /// Whether doing it twice is as good as once.
    pub idempotent: bool,
    /// What takes it back; empty where there is nothing to take back.
    pub reversible_by: Vec<String>,
    /// Whether nothing takes it back.
    pub point_of_no_return: bool,
    /// How long it will take.
    pub estimated_seconds: u64,
}

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The program.
    Auto,
    /// A person, who then says so.
    Manual,
    /// The program, after a person agreed.
    Approval,
}

/// What a failed step means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Stop here.
    Abort,
    /// Say so, and go on.
    Continue,
    /// Go on at that step.
    Goto(String),
}

/// What a rehearsal found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// When, RFC 3339, UTC.
    pub last_at: String,
    /// `ok` or `failed`.
    pub result: String,
    /// What restoring took, rounded up.
    pub measured_seconds: u64,
    /// The same, exactly.
    pub measured_milliseconds: u64,
    /// Paths that were not as the snapshot holds them.
    pub differences: u64,
}

/// A manifest's kind of signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// HMAC-SHA256 over the DSSE encoding of the canonical document without this field.
    pub signature: Option<Digest>,
    /// `HMAC-SHA256`.
    pub algorithm: String,
    /// When, RFC 3339, UTC.
    pub signed_at: String,
    /// Which key.
    pub key_id: String,
    /// `1`.
    pub signature_version: String,
}

/// What a playbook is made from.
pub(super) struct Facts<'a> {
    /// What it restores.
    pub snapshot: &'a Snapshot,
    /// The policy's section.
    pub policy: &'a policy::RollbackPlaybook,
    /// Where the policy came from.
    pub source: PolicyFacts,
    /// The present.
    pub now: Timestamp,
}

/// How a playbook stands to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Signed with a key at hand.
    Signed(KeyId),
    /// Not signed, and no key is at hand that could have.
    Unsigned,
}

impl Playbook {
    /// Makes a playbook of facts; nothing in it is assumed.
    pub(super) fn make(store: &Store<'_>, facts: &Facts<'_>) -> Self {
        let id = &facts.snapshot.id;
        let state_dir = store.place.state_dir;
        let state_dir = state_dir
            .canonicalize()
            .unwrap_or_else(|_| state_dir.to_owned());
        let state_dir = state_dir.to_string_lossy().into_owned();
        let words = |words: &[&str]| -> Vec<String> {
            let all = [&["agp", "rollback"], words, &["--state-dir", &state_dir]].concat();
            all.into_iter().map(str::to_owned).collect()
        };
        let days = i64::try_from(facts.policy.backup_retention_days).unwrap_or(i64::MAX);
        let sources: Vec<Source> = facts
            .snapshot
            .targets
            .iter()
            .map(|target| source(id, target))
            .collect();
        let verification = words(&["diff", id, "live"]);
        let undo = words(&["undo", "--yes"]);
        let plan = Plan {
            id,
            sources: &sources,
            timeout_seconds: facts.policy.rollback_timeout_seconds.ceil() as u64,
            words: &words,
        };
        let steps = plan.steps((&verification, &undo));
        Self {
            playbook_version: VERSION.to_owned(),
            id: id.clone(),
            created_at: facts.now.to_seconds_string(),
            expires_at: facts
                .now
                .plus_seconds(days.saturating_mul(86_400))
                .to_seconds_string(),
            policy: facts.source.clone(),
            host: crate::system::host_name(),
            preconditions: super::facts::preconditions(store, facts.snapshot),
            triggers: triggers(facts.policy),
            abort_criteria: ABORT_CRITERIA.map(str::to_owned).to_vec(),
            snapshots: sources,
            state_dir,
            steps,
            verification,
            undo,
            rehearsal: None,
            signature: None,
        }
    }

    /// Notes what a rehearsal found; the signature is gone with it.
    pub(super) fn rehearsed(&mut self, drilled: &Drilled, now: Timestamp) {
        let differences = drilled.findings.iter();
        let differences = differences
            .filter(|one| one.verdict != crate::report::Verdict::Pass)
            .count() as u64;
        let milliseconds = u64::try_from(drilled.duration.as_millis()).unwrap_or(u64::MAX);
        self.rehearsal = Some(Rehearsal {
            last_at: now.to_seconds_string(),
            result: if differences == 0 { "ok" } else { "failed" }.to_owned(),
            measured_seconds: milliseconds.div_ceil(1000),
            measured_milliseconds: milliseconds,
            differences,
        });
        for step in self.steps.iter_mut().filter(|step| step.id == "restore") {
            step.estimated_seconds = milliseconds.div_ceil(1000).max(1);
        }
    }

    /// Signs it, where a secret is given.
    pub(super) fn sign(&mut self, secret: Option<&Secret>, now: Timestamp) {
        self.signature = secret.map(|secret| Signature {
            signature: None,
            algorithm: ALGORITHM.to_owned(),
            signed_at: now.to_seconds_string(),
            key_id: secret.key_id().to_string(),
            signature_version: "1".to_owned(),
        });
        let tag = secret.and_then(|secret| Some(secret.mac_of(PAYLOAD_TYPE, &self.covered()?)));
        if let Some(signature) = &mut self.signature {
            signature.signature = tag;
        }
    }

    /// The canonical document without the signature proper. Holds no number that has no form.
    fn covered(&self) -> Option<Vec<u8>> {
        let mut document = serde_json::to_value(self).ok()?;
        document["signature"].as_object_mut()?.remove("signature");
        canon::to_vec(&document).ok()
    }

    /// The file's text.
    pub fn to_text(&self) -> Vec<u8> {
        // Plain data always serializes.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Reads a playbook and judges its signature.
    ///
    /// # Errors
    /// A file that is no playbook, that was changed after it was signed, or that nobody can judge.
    pub fn read(path: &Path, place: Place<'_>) -> Result<(Self, Trust), RollbackError> {
        let shown = path.to_string_lossy().into_owned();
        let refused = |reason: String| RollbackError::Playbook {
            path: shown.clone(),
            reason,
        };
        let bytes = files::read_bounded(path, BYTES_MAX)?;
        let playbook: Self =
            serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        if playbook.playbook_version != VERSION {
            return Err(refused(format!(
                "it is of version `{}`",
                playbook.playbook_version
            )));
        }
        let has_key = place.secret().is_some();
        let Some(signature) = &playbook.signature else {
            return match has_key {
                // Else cutting the signature off would be as good as having the key.
                true => Err(refused("it is not signed, and a key is at hand".to_owned())),
                false => Ok((playbook, Trust::Unsigned)),
            };
        };
        let id = KeyId::parse(&signature.key_id).map_err(|error| refused(error.to_string()))?;
        let Some(secret) = place.secret_of(id) else {
            return Err(refused(format!(
                "it is signed with key {id}, which is not at hand"
            )));
        };
        let covered = playbook
            .covered()
            .ok_or_else(|| refused("it has no canonical form".to_owned()))?;
        let mut mac = secret.mac(PAYLOAD_TYPE, covered.len() as u64);
        // A MAC takes in whatever is written to it.
        let _ = std::io::Write::write_all(&mut mac, &covered);
        match signature.signature {
            Some(tag) if mac.matches(&tag) => Ok((playbook, Trust::Signed(id))),
            _ => Err(RollbackError::Forged { path: shown }),
        }
    }

    /// Whether its snapshot may be gone.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        Timestamp::parse(&self.expires_at).map_or(true, |expires_at| expires_at < now)
    }

    /// Where the store keeps its copy.
    fn copy(&self, store: &Store<'_>) -> PathBuf {
        store
            .path
            .join("runs")
            .join(format!("playbook-{}.json", self.id))
    }

    /// Keeps a copy in the store, so that retention knows of it.
    pub(super) fn keep(&self, store: &Store<'_>) -> Result<(), RollbackError> {
        let text = self.to_text();
        Ok(files::write_atomic(&self.copy(store), 0o600, |out| {
            out.write_all(&text)
        })?)
    }
}

/// What the steps are made from.
struct Plan<'a> {
    id: &'a str,
    sources: &'a [Source],
    timeout_seconds: u64,
    /// The words of an `agp rollback` command.
    words: &'a dyn Fn(&[&str]) -> Vec<String>,
}

impl Plan<'_> {
    fn steps(&self, (verification, undo): (&[String], &[String])) -> Vec<Step> {
        let names: Vec<&str> = self.sources.iter().map(|one| &*one.absolute_path).collect();
        let stop = format!(
            "Stop whatever writes into {}, and keep it stopped",
            names.join(" and ")
        );
        vec![
            self.step(
                ("check", "Prove that the snapshot can be restored"),
                (self.words)(&["check", "--read-data"]),
            ),
            Step {
                kind: Kind::Manual,
                estimated_seconds: 60,
                ..self.step(("stop-writers", &stop), Vec::new())
            },
            Step {
                kind: Kind::Approval,
                max_attempts: 2,
                reversible_by: undo.to_vec(),
                verify: verification.to_vec(),
                ..self.step(
                    ("restore", "Put every target back, all or nothing"),
                    (self.words)(&["restore", self.id, "--yes"]),
                )
            },
            self.step(
                (
                    "verify",
                    "Prove that every target is what the snapshot holds",
                ),
                verification.to_vec(),
            ),
        ]
    }

    fn step(&self, (id, title): (&str, &str), argv: Vec<String>) -> Step {
        let sizes = self.sources.iter().map(|one| (one.files, one.bytes));
        let (files, bytes) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Step {
            id: id.to_owned(),
            title: title.to_owned(),
            kind: Kind::Auto,
            argv,
            expect: vec![0],
            verify: Vec::new(),
            on_failure: OnFailure::Abort,
            timeout_seconds: self.timeout_seconds,
            max_attempts: 1,
            idempotent: true,
            reversible_by: Vec::new(),
            point_of_no_return: false,
            estimated_seconds: 1 + bytes / ESTIMATE.0 + files / ESTIMATE.1,
        }
    }
}

fn source(id: &str, target: &super::Target) -> Source {
    let totals = target.inventory.totals();
    Source {
        target: target.name.clone(),
        absolute_path: target.path.to_string_lossy().into_owned(),
        id: id.to_owned(),
        root_digest: target.root_digest(),
        files: totals.files,
        bytes: totals.size_bytes,
    }
}

fn triggers(policy: &policy::RollbackPlaybook) -> Vec<Trigger> {
    let automatic = policy.auto_rollback_on_failure;
    let trigger = |pattern: &str, fires_when: &str| Trigger {
        pattern: pattern.to_owned(),
        fires_when: fires_when.to_owned(),
        automatic,
    };
    let mut all = vec![trigger(
        "command_fails",
        "the governed command fails, is signalled or times out",
    )];
    all.extend(
        policy
            .critical_failure_patterns
            .iter()
            .map(|pattern| match pattern {
                FailurePattern::DataCorruption => trigger(
                    "data_corruption",
                    "a path changed that the command might not change, a file lost its content or its end, or JSON is none any more",
                ),
                FailurePattern::PerformanceRegression => trigger(
                    "performance_regression",
                    "the governed command took longer than it may (`--timeout`)",
                ),
                FailurePattern::SecurityViolation => trigger(
                    "security_violation",
                    "guard finds what it did not find before, a mode was loosened, a file acts as another user, or a link leads out of its tree",
                ),
            }),
    );
    all
}

/// Snapshots that playbooks need which have not expired. One that cannot be read needs nothing.
pub(super) fn needed(store: &Store<'_>, now: Timestamp) -> Result<HashSet<String>, RollbackError> {
    let folder = store.path.join("runs");
    let mut needed = HashSet::new();
    for entry in fs::read_dir(&folder).map_err(files::FileError::at("list", &folder))? {
        let path = entry.map_err(files::FileError::at("list", &folder))?.path();
        let is_playbook = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("playbook-"));
        if !is_playbook {
            continue;
        }
        let bytes = files::read_bounded(&path, BYTES_MAX)?;
        if let Ok(playbook) = serde_json::from_slice::<Playbook>(&bytes)
            && !playbook.has_expired(now)
        {
            needed.extend(playbook.snapshots.into_iter().map(|source| source.id));
        }
    }
    Ok(needed)
}

/// The JSON Schema (draft 2020-12) of a playbook.
pub fn schema() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Playbook>()
        .to_value();
    schema["title"] = json!("Rollback playbook, version 1.0");
    schema
}
