//! The head: where the log ends, kept beside it, in manifests, and in reports.
//!
//! Pure: compares ends, reads and writes their texts, and opens nothing.

use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::record::VERSION;
use crate::base::canon;
use crate::base::digest::Digest;
use crate::report::AuditHead;

/// `head.json`: the newest record, as its writer left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// Whether any record of this log was ever sealed.
    pub(super) keyed: bool,
    pub(super) log_id: String,
    pub(super) mac: Option<Digest>,
    /// SHA-256 of the record's line with its newline: what the next record's `previous` will be.
    pub(super) record_sha256: Digest,
    /// The name of the segment that holds the record.
    pub(super) segment: String,
    pub(super) sequence: u64,
    pub(super) version: String,
}

/// What stands at `head.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadFile {
    Missing,
    Malformed,
    Known(Head),
}

impl HeadFile {
    /// Reads the file's bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Head>(bytes) {
            Ok(head) if head.version == VERSION && is_log_id(&head.log_id) => Self::Known(head),
            _ => Self::Malformed,
        }
    }
}

/// The newest record of a log, as its line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    pub(super) log_id: String,
    pub(super) mac: Option<Digest>,
    pub(super) previous: Option<Digest>,
    pub(super) record_sha256: Digest,
    pub(super) sequence: u64,
}

impl Link {
    /// The link of a record and its line, newline included.
    pub(super) fn of(frame: &Frame<'_>, line: &[u8]) -> Self {
        Self {
            log_id: frame.log_id().to_owned(),
            mac: frame.mac,
            previous: frame.previous,
            record_sha256: Digest::of(line),
            sequence: frame.sequence,
        }
    }

    /// The link of a whole line; `None` where it is no record.
    pub(super) fn of_line(line: &[u8]) -> Option<Self> {
        let frame = Frame::parse(line.strip_suffix(b"\n")?).ok()?;
        Some(Self::of(&frame, line))
    }

    pub(super) fn to_audit_head(&self) -> AuditHead {
        AuditHead {
            log_id: self.log_id.clone(),
            sequence: self.sequence,
            mac: self.mac,
        }
    }
}

/// How `head.json` and the newest record stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The head is the newest record's.
    Agreed,
    /// The head is that of the record before: its writer was stopped between the two.
    Behind,
    /// Neither: one of the two was changed.
    Apart,
}

/// Compares `head.json` with the newest record (`None`: the log holds no record).
pub(super) fn standing(head: &HeadFile, newest: Option<&Link>) -> Standing {
    let head = match head {
        HeadFile::Malformed => return Standing::Apart,
        HeadFile::Missing => None,
        HeadFile::Known(head) => Some(head),
    };
    match (head, newest) {
        (None, None) => Standing::Agreed,
        (None, Some(link)) if link.sequence == 1 => Standing::Behind,
        (Some(head), Some(link)) if head.log_id == link.log_id => {
            let same = head.sequence == link.sequence
                && head.record_sha256 == link.record_sha256
                && head.mac == link.mac;
            let before = head.sequence.checked_add(1) == Some(link.sequence)
                && link.previous == Some(head.record_sha256);
            match (same, before) {
                (true, _) => Standing::Agreed,
                (_, true) => Standing::Behind,
                _ => Standing::Apart,
            }
        }
        _ => Standing::Apart,
    }
}

/// A head that was kept elsewhere, which the log must still contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// Which log; `None` where the text did not say.
    pub log_id: Option<String>,
    /// The record's number.
    pub sequence: u64,
    /// The record's MAC; `None` where it was written without a secret.
    pub mac: Option<Digest>,
}

/// The text is no head.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected `LOG_ID:SEQUENCE:MAC` or `SEQUENCE:MAC` (MAC: 64 hex digits, or `-`), found `{0}`"
)]
pub struct HeadTextError(String);

impl ExpectedHead {
    /// Reads `LOG_ID:SEQUENCE:MAC` or `SEQUENCE:MAC`; the MAC of an unsealed record is `-`.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, HeadTextError> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts[..] {
            [log_id, sequence, mac] if is_log_id(log_id) => {
                Self::from_parts(Some(log_id), sequence, mac)
            }
            [sequence, mac] => Self::from_parts(None, sequence, mac),
            _ => None,
        };
        parsed.ok_or_else(|| HeadTextError(text.chars().take(120).collect()))
    }

    fn from_parts(log_id: Option<&str>, sequence: &str, mac: &str) -> Option<Self> {
        let plain =
            sequence.bytes().all(|byte| byte.is_ascii_digit()) && !sequence.starts_with('0');
        let sequence = sequence
            .parse()
            .ok()
            .filter(|number| *number <= canon::INTEGER_MAX);
        let mac = match mac {
            "-" => None,
            digits => Some(Digest::parse(digits).ok()?),
        };
        let log_id = log_id.map(str::to_owned);
        sequence.filter(|_| plain).map(|sequence| Self {
            log_id,
            sequence,
            mac,
        })
    }
}

impl From<&AuditHead> for ExpectedHead {
    fn from(head: &AuditHead) -> Self {
        Self {
            log_id: Some(head.log_id.clone()),
            sequence: head.sequence,
            mac: head.mac,
        }
    }
}

/// A head as [`ExpectedHead::parse`] reads it again.
pub fn head_text(head: &AuditHead) -> String {
    let mac = head.mac.map_or("-".to_owned(), |mac| mac.to_string());
    format!("{}:{}:{mac}", head.log_id, head.sequence)
}

/// Whether a text is 32 lower-case hex digits.
fn is_log_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
