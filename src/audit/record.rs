//! One record: its fields, its one spelling as a line, and the MAC over that spelling.
//!
//! Knows nothing of files, segments or heads.

use std::io::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::frame::{Frame, FrameError};
use crate::base::canon::{self, CanonError};
use crate::base::clock::Timestamp;
use crate::base::digest::{Digest, Hasher};
use crate::report::{self, Finding};
use crate::seal::{Mac, Secret};

/// The longest line, in bytes with its newline: neither written nor accepted beyond.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// The version that every record and head bears.
pub(super) const VERSION: &str = "1.0";

/// What the MAC of a record says it covers (DSSE payload type).
const PAYLOAD_TYPE: &str = "application/vnd.agp.audit-record.v1+json";

/// What the caller knows about something worth recording; the log adds its own place and seal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What happened: `integrity.sign`, `guard.evaluate` …
    pub event: String,
    /// How it went.
    pub outcome: Outcome,
    /// The exit code of the command; `None` where it has not ended.
    pub exit_code: Option<u8>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` in a *begun* record.
    pub ended_at: Option<Timestamp>,
    /// Who did it.
    pub actor: Actor,
    /// What was read and written: roots, with the digest of the inventory.
    pub resources: Vec<report::Resource>,
    /// Which rules of the policy decided, and what.
    pub policy: Vec<Decision>,
    /// What else there is to say; integers from 0 to 2^53−1 are its only numbers.
    pub details: Map<String, Value>,
}

impl Entry {
    /// The instant the record speaks of.
    pub(super) fn instant(&self) -> Timestamp {
        self.ended_at.unwrap_or(self.started_at)
    }
}

/// How something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what it was asked, and the answer is good.
    Success,
    /// The answer is no, or there is none.
    Failure,
    /// Not known yet, or not knowable.
    Unknown,
}

impl Outcome {
    /// The word in records and exports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

// The fields of the structs below stand in the order of their names, which is the order of
// canonical JSON: what serde writes is then canonical as it stands. A property test compares it
// with `base::canon`.

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The continuous-integration job behind it; null outside of one.
    pub ci: Option<Ci>,
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The numeric user.
    pub uid: u32,
    /// The user's name.
    pub user: String,
}

/// A continuous-integration job, as its environment describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ci {
    /// Who started the job.
    pub actor: Option<String>,
    /// Which service: `github`, `gitlab` …
    pub provider: String,
    /// The branch or tag it runs for.
    pub r#ref: Option<String>,
    /// The job's own identifier.
    pub run_id: Option<String>,
}

/// What one rule of the policy said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// `allow`, `deny`, `warn` …
    pub decision: String,
    /// The rule's identifier.
    pub rule: String,
}

/// Something read or written, as a record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// `read` or `write`.
    pub access: String,
    /// The path as the user named it.
    pub path: String,
    /// What was there; null where it was not weighed.
    pub sha256: Option<Digest>,
}

/// One line of the log, parsed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Who did it.
    pub actor: Actor,
    /// What else there is to say, an object in canonical JSON.
    pub details: Box<RawValue>,
    /// When it ended, RFC 3339, milliseconds, UTC; null in a *begun* record.
    pub ended_at: Option<String>,
    /// What happened.
    pub event: String,
    /// The exit code of the command; null where it has not ended.
    pub exit_code: Option<u8>,
    /// Which key made `mac`; null together with it.
    pub key_id: Option<String>,
    /// The log's random identifier, 32 hex digits.
    pub log_id: String,
    /// The seal over every other field; null where no secret was at hand.
    pub mac: Option<Digest>,
    /// How it went.
    pub outcome: Outcome,
    /// Which rules decided, and what.
    pub policy: Vec<Decision>,
    /// SHA-256 of the whole line before, its newline included; null in the first record.
    pub previous: Option<Digest>,
    /// What was read and written.
    pub resources: Vec<Resource>,
    /// The record's number, from 1, without gaps.
    pub sequence: u64,
    /// When it began.
    pub started_at: String,
    /// The instant the record speaks of: `ended_at`, otherwise `started_at`.
    pub timestamp: String,
    /// Always `1.0`.
    pub version: String,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A value that canonical JSON cannot hold.
    #[error("a value has no canonical form")]
    Canon(#[from] CanonError),
    /// A line that is not the canonical form of a record.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The JSON library disagrees.
    #[error("the record cannot be converted")]
    Json(#[from] serde_json::Error),
}

/// Where a new record stands in its log.
pub(super) struct Place {
    pub(super) log_id: String,
    pub(super) sequence: u64,
    pub(super) previous: Option<Digest>,
}

impl Record {
    /// An unsealed record of an entry at its place.
    pub(super) fn new(entry: &Entry, place: Place) -> Result<Self, RecordError> {
        let details = canon::to_vec(&Value::Object(entry.details.clone()))?;
        let resource = |resource: &report::Resource| Resource {
            access: resource.access.to_owned(),
            path: resource.path.clone(),
            sha256: resource.sha256,
        };
        Ok(Self {
            actor: entry.actor.clone(),
            details: serde_json::from_slice(&details)?,
            ended_at: entry.ended_at.map(|instant| instant.to_string()),
            event: entry.event.clone(),
            exit_code: entry.exit_code,
            key_id: None,
            log_id: place.log_id,
            mac: None,
            outcome: entry.outcome,
            policy: entry.policy.clone(),
            previous: place.previous,
            resources: entry.resources.iter().map(resource).collect(),
            sequence: place.sequence,
            started_at: entry.started_at.to_string(),
            timestamp: entry.instant().to_string(),
            version: VERSION.to_owned(),
        })
    }

    /// Seals the record where there is a secret, and spells it with its newline.
    ///
    /// # Errors
    /// A record that [`Frame::parse`] would not accept again: it would count as tampering for
    /// ever, and is better not written.
    pub(super) fn seal(&mut self, secret: Option<&Secret>) -> Result<Vec<u8>, RecordError> {
        if let Some(secret) = secret {
            self.key_id = Some(secret.key_id().to_string());
            // Any MAC holds the place of the one that is made over everything else.
            self.mac = Some(Digest([0; 32]));
            let line = serde_json::to_vec(self)?;
            self.mac = Some(mac_of(secret, &Frame::parse(&line)?).finish());
        }
        let mut line = serde_json::to_vec(self)?;
        Frame::parse(&line)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line without its newline, and accepts only what [`Record::seal`] writes.
    pub(super) fn parse(line: &[u8]) -> Result<Self, RecordError> {
        Frame::parse(line)?;
        Ok(serde_json::from_slice(line)?)
    }
}

/// Begins and feeds the MAC over a record without its `mac`.
pub(super) fn mac_of(secret: &Secret, frame: &Frame<'_>) -> Mac {
    let (before, after) = frame.sealed_parts();
    let mut mac = secret.mac(PAYLOAD_TYPE, (before.len() + after.len()) as u64);
    // Writing to a MAC cannot fail.
    let _ = mac.write_all(before).and_then(|()| mac.write_all(after));
    mac
}

/// The most findings that a record lists.
const VIOLATIONS_LISTED_MAX: usize = 1000;
/// The most bytes of findings that a record lists, so that a line stays far below its bound.
const VIOLATIONS_BYTES_MAX: usize = 1 << 20;

/// What an *ended* record says of a verb's violations, for [`Entry::details`]: how many there
/// are, the first 1,000 in their order (fewer where their paths are very long), and the SHA-256
/// of the canonical list of all.
pub fn violations(findings: &[Finding]) -> Value {
    let mut first = Vec::new();
    let mut listed_bytes = 0;
    let mut listing = true;
    let mut all = Hasher::default();
    all.update(b"[");
    for (index, finding) in findings.iter().enumerate() {
        let item = json!({
            "code": finding.code.id, "line": finding.line, "path": finding.path,
            "severity": finding.severity.word(),
        });
        // Strings, nulls and line numbers always have a canonical form.
        let canonical = canon::to_vec(&item).unwrap_or_default();
        if index > 0 {
            all.update(b",");
        }
        all.update(&canonical);
        listed_bytes += canonical.len();
        listing &= index < VIOLATIONS_LISTED_MAX && listed_bytes <= VIOLATIONS_BYTES_MAX;
        if listing {
            first.push(item);
        }
    }
    all.update(b"]");
    json!({"count": findings.len(), "first": first, "sha256": all.finish()})
}
