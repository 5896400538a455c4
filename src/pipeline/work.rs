//! This program's own stages, one at a time, so that they can be measured like any other command:
//! walk, hash, scan, manifest, verify.
//!
//! Each does its part from the beginning: hash walks too, manifest hashes too. A stage answers
//! nothing about the tree; only that it was done, or why it could not be.

use std::path::{Path, PathBuf};

use crate::base::clock::{self, Timestamp};
use crate::base::files::{self, FileError};
use crate::guard::{
    self, Enforcement, GuardError, Operations, OperationsError, Scanner, SelectError, Terms,
};
use crate::integrity::sign::{self, SignError};
use crate::integrity::{SequenceState, verify};
use crate::inventory::{self, GlobError, Globs, Progress, TakeError};
use crate::policy::Policy;
use crate::seal::{Key, Keyring, Secret, SecretError};

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Lists every name.
    Walk,
    /// Reads every file and computes its digest.
    Hash,
    /// Looks into every file by the rules of guard.
    Scan,
    /// Makes a signed manifest.
    Manifest,
    /// Verifies the trees against that.
    Verify,
}

impl Work {
    /// Every stage, in the order in which they depend on each other.
    pub const ALL: [Self; 5] = [
        Self::Walk,
        Self::Hash,
        Self::Scan,
        Self::Manifest,
        Self::Verify,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Walk => "walk",
            Self::Hash => "hash",
            Self::Scan => "scan",
            Self::Manifest => "manifest",
            Self::Verify => "verify",
        }
    }

    /// The stage of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|work| work.name() == name)
    }
}

/// What to work on.
#[derive(Clone, Copy, Debug)]
pub struct WorkRequest<'a> {
    /// What to leave out, and what to look for.
    pub policy: &'a Policy,
    /// A folder outside the trees: a manifest stays there for the stage that verifies it.
    pub scratch: &'a Path,
    /// The trees, or single files to be scanned.
    pub targets: &'a [PathBuf],
}

/// Why a stage could not be done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A tree that cannot be walked.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A pattern of the policy.
    #[error("cannot use `integrity.exclude`")]
    Exclude(#[from] GlobError),
    /// No scan.
    #[error("cannot scan")]
    Scan(#[from] GuardError),
    /// Rules that do not load.
    #[error("cannot use the rules")]
    Rules(#[from] SelectError),
    /// Lists of operations that cannot be used.
    #[error(transparent)]
    Operations(#[from] OperationsError),
    /// No manifest.
    #[error("cannot sign")]
    Sign(#[from] SignError),
    /// Nothing verified.
    #[error("cannot verify")]
    Verify(#[from] verify::VerifyError),
    /// Something in the scratch folder.
    #[error(transparent)]
    Scratch(#[from] FileError),
    /// The key of the scratch folder.
    #[error("cannot use the scratch folder's key")]
    Secret(#[from] SecretError),
    /// The tree changed between manifest and verification.
    #[error("the trees do not verify: {0}")]
    Changed(String),
}

/// Does a stage.
///
/// # Errors
/// Whatever kept it from being done.
pub fn work(work: Work, request: &WorkRequest<'_>) -> Result<(), WorkError> {
    match work {
        Work::Walk => for_each_tree(request, |tree| inventory::list(tree).map(drop)),
        Work::Hash => for_each_tree(request, |tree| inventory::take(tree, None).map(drop)),
        Work::Scan => scan(request),
        Work::Manifest => manifest(request),
        Work::Verify => verify_all(request),
    }
}

fn for_each_tree(
    request: &WorkRequest<'_>,
    act: impl Fn(&inventory::Request<'_>) -> Result<(), TakeError>,
) -> Result<(), WorkError> {
    let excludes = Globs::compile(&request.policy.integrity.exclude)?;
    for root in request.targets.iter().filter(|target| target.is_dir()) {
        act(&inventory::Request {
            root,
            excludes: &excludes,
            exempt: &[],
            expected: None,
            progress: &Progress::default(),
        })?;
    }
    Ok(())
}

fn scan(request: &WorkRequest<'_>) -> Result<(), WorkError> {
    let guard_policy = &request.policy.policy_guard;
    let mut pack = guard::select(&[], &[])?.pack;
    let operations = Operations::join(guard_policy, &mut pack)?;
    let scanner = Scanner::new(pack);
    guard::evaluate(&guard::Request {
        targets: request.targets,
        policy: request.policy,
        scanner: &scanner,
        progress: &Progress::default(),
        tracked: None,
        state_dir: request.scratch,
        examiner: None,
        taken: &[],
        terms: Terms {
            enforcement: Enforcement::new(guard_policy.enforcement_level, None),
            operations: &operations,
            salt: None,
            baseline: None,
            now: clock::now(),
            shows_secrets: false,
        },
        refused: &[],
    })?;
    Ok(())
}

/// The manifest's file of a tree.
fn manifest_of(request: &WorkRequest<'_>, number: usize) -> PathBuf {
    request.scratch.join(format!("manifest-{number}.json"))
}

/// A key that lives as long as the scratch folder: what it signs is for nobody.
fn keyring(request: &WorkRequest<'_>) -> Result<Keyring, WorkError> {
    let text = files::read_bounded(&request.scratch.join("key"), 4096)?;
    let secret = Secret::decode(&text, 1)?;
    Ok(Keyring::new(vec![Key::at_hand(secret, "scratch".into())]))
}

fn manifest(request: &WorkRequest<'_>) -> Result<(), WorkError> {
    let keyring = keyring(request)?;
    for (number, root) in trees(request) {
        let signed = sign::sign(&sign::Request {
            root,
            output: None,
            keyring: &keyring,
            terms: terms(request, clock::now()),
            cache_dir: None,
            parts: None,
            seen: None,
            progress: &Progress::default(),
        })?;
        let place = manifest_of(request, number);
        files::write_atomic(&place, 0o600, |mut out| {
            signed.sealed.write_document(&mut out)
        })?;
    }
    Ok(())
}

fn terms(request: &WorkRequest<'_>, now: Timestamp) -> sign::Terms {
    sign::Terms {
        now,
        epoch: None,
        subject: None,
        sequence: Some(1),
        expires_at: None,
        exclude: request.policy.integrity.exclude.clone(),
        exempt: Vec::new(),
        absolute_paths: false,
        allow_empty: true,
        audit_head: None,
        rotate: None,
    }
}

fn verify_all(request: &WorkRequest<'_>) -> Result<(), WorkError> {
    let keyring = keyring(request)?;
    for (number, root) in trees(request) {
        let verification = verify::verify(&verify::Request {
            manifest: &manifest_of(request, number),
            input_dir: Some(root),
            outputs: &[],
            keyring: &keyring,
            terms: &verify::Terms {
                now: clock::now(),
                clock_skew_seconds: request.policy.integrity.clock_skew_seconds,
                age_days_max: None,
                subject: None,
                sequence_min: None,
                sequences: SequenceState::default(),
                allow_empty: true,
            },
            only: None,
            cache_dir: None,
            parts: None,
            progress: &Progress::default(),
        })?;
        let bad = verification
            .findings
            .iter()
            .find(|finding| finding.verdict != crate::report::Verdict::Pass);
        if let Some(bad) = bad {
            return Err(WorkError::Changed(bad.message.clone()));
        }
    }
    Ok(())
}

fn trees<'a>(request: &WorkRequest<'a>) -> impl Iterator<Item = (usize, &'a PathBuf)> {
    let targets = request.targets.iter().enumerate();
    targets.filter(|(_, target)| target.is_dir())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn every_stage_does_its_part_and_a_changed_tree_does_not_verify() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, scratch) = (folder.path().join("tree"), folder.path().join("scratch"));
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::create_dir_all(&scratch).unwrap();
        std::fs::write(tree.join("sub/a.txt"), "a\n").unwrap();
        std::fs::write(scratch.join("key"), "hex:".to_owned() + &"0a".repeat(32)).unwrap();
        let targets = [tree.clone()];
        let request = WorkRequest {
            policy: &Policy::default(),
            scratch: &scratch,
            targets: &targets,
        };
        for stage in Work::ALL {
            work(stage, &request).unwrap();
            assert_eq!(Work::named(stage.name()), Some(stage));
        }
        std::fs::write(tree.join("sub/a.txt"), "b\n").unwrap();
        let changed = work(Work::Verify, &request).unwrap_err();
        assert!(matches!(changed, WorkError::Changed(_)), "{changed}");
        assert!(!tree.join("integrity_manifest.json").exists());
        let gone = [folder.path().join("gone")];
        let request = WorkRequest {
            targets: &gone,
            ..request
        };
        assert!(work(Work::Scan, &request).is_err());
    }
}
