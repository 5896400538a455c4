//! The part of a verification's report that is about one manifest.

use schemars::JsonSchema;
use serde::Serialize;

use super::Sealed;
use super::manifest::Summary;
use crate::base::clock::Timestamp;
use crate::report::{Finding, Verdict};

/// The answer about one manifest, as the report has it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Section {
    /// The manifest as it was named.
    pub manifest: String,
    /// The tree's root; null where verification did not come so far.
    pub root: Option<String>,
    /// `valid`, `partial` (all that was looked at is valid), `invalid` or `unknown`.
    pub status: &'static str,
    /// `pass`, `fail` or `error`.
    pub verdict: &'static str,
    /// `full`, or `partial` where `--only` left something out.
    pub scope: &'static str,
    /// Which tree, under which number and key, and when; null where the manifest does not parse.
    pub identity: Option<Identity>,
    /// The four checks.
    pub checks: Checks,
    /// What became of the entries.
    pub counters: Counters,
    /// Signed globs that were left out; may be empty.
    pub exclude: Vec<String>,
    /// Paths that were not looked at: the manifest itself and the signed exemptions.
    pub exempt: Vec<String>,
    /// Files whose digest came out of the cache.
    pub reused: u64,
}

/// What a manifest says of itself. Trustworthy only where `signature_validity` passed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Identity {
    /// Which tree.
    pub subject: String,
    /// Its number among the subject's manifests.
    pub sequence: u64,
    /// Which key signed it.
    pub key_id: String,
    /// When signing began.
    pub created_at: String,
    /// When it was signed.
    pub signed_at: String,
    /// When it ends to be valid; null: never.
    pub expires_at: Option<String>,
    /// What it says it lists.
    pub summary: Summary,
}

/// The four checks of the guide.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Checks {
    /// The manifest is this key's, unchanged.
    pub signature_validity: Check,
    /// Every entry is as it was signed, and nothing else is there.
    pub file_integrity: Check,
    /// The manifest does not contradict itself.
    pub manifest_consistency: Check,
    /// Times are reasonable, and it is not an older manifest or another tree's.
    pub timestamp_validation: Check,
}

/// One check.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check {
    /// `pass`, `fail`, `error`, or `skipped` where an earlier check decided.
    pub result: &'static str,
    /// How many findings it has, warnings among them.
    pub findings: u64,
}

/// What became of the entries. An entry may count as modified and as mode-changed both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counters {
    /// Signed entries that were looked for.
    pub checked: u64,
    /// Those that are as they were signed.
    pub ok: u64,
    /// Other content, or another link target.
    pub modified: u64,
    /// Signed and not there.
    pub missing: u64,
    /// There and not signed.
    pub unlisted: u64,
    /// A file, directory or link that became something else.
    pub type_changed: u64,
    /// Other permission bits.
    pub mode_changed: u64,
    /// Changed while it was read.
    pub unstable: u64,
    /// Could not be read.
    pub unreadable: u64,
    /// Left out by the signed globs.
    pub excluded: u64,
}

impl Counters {
    /// Adds another tree's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.checked, other.checked),
            (&mut self.ok, other.ok),
            (&mut self.modified, other.modified),
            (&mut self.missing, other.missing),
            (&mut self.unlisted, other.unlisted),
            (&mut self.type_changed, other.type_changed),
            (&mut self.mode_changed, other.mode_changed),
            (&mut self.unstable, other.unstable),
            (&mut self.unreadable, other.unreadable),
            (&mut self.excluded, other.excluded),
        ] {
            *sum += more;
        }
    }
}

impl Check {
    pub(super) const SKIPPED: Self = Self {
        result: "skipped",
        findings: 0,
    };

    pub(super) fn of(findings: &[Finding]) -> Self {
        Self {
            result: Verdict::of(findings).word(),
            findings: findings.len() as u64,
        }
    }
}

impl Checks {
    /// Where no check has been made.
    pub const NONE: Self = Self {
        signature_validity: Check::SKIPPED,
        file_integrity: Check::SKIPPED,
        manifest_consistency: Check::SKIPPED,
        timestamp_validation: Check::SKIPPED,
    };

    /// The worse of both, check by check; counts add up.
    pub fn worst(self, other: &Self) -> Self {
        let worse = |mine: Check, other: &Check| {
            let rank = |result: &str| {
                ["skipped", "pass", "fail", "error"]
                    .iter()
                    .position(|word| *word == result)
            };
            let result = if rank(mine.result) < rank(other.result) {
                other.result
            } else {
                mine.result
            };
            Check {
                result,
                findings: mine.findings + other.findings,
            }
        };
        Self {
            signature_validity: worse(self.signature_validity, &other.signature_validity),
            file_integrity: worse(self.file_integrity, &other.file_integrity),
            manifest_consistency: worse(self.manifest_consistency, &other.manifest_consistency),
            timestamp_validation: worse(self.timestamp_validation, &other.timestamp_validation),
        }
    }
}

impl Identity {
    pub(super) fn of(sealed: &Sealed) -> Self {
        let (manifest, signature) = (&sealed.manifest, &sealed.signature);
        Self {
            subject: manifest.subject.clone(),
            sequence: manifest.sequence,
            key_id: signature.key_id.to_string(),
            created_at: manifest.created_at.to_seconds_string(),
            signed_at: signature.signed_at.to_seconds_string(),
            expires_at: manifest.expires_at.map(Timestamp::to_seconds_string),
            summary: manifest.summary,
        }
    }
}
