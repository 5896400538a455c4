//! Proving a log: every line strictly parsed, numbered, chained and sealed, and its end compared
//! with every head that was kept elsewhere. One pass, in constant memory.
//!
//! Changes nothing and knows no policy: keys, heads and demands come with the request.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::frame::Frame;
use super::head::{ExpectedHead, HeadFile, Link, Standing, standing};
use super::log::PRUNED;
use super::record::mac_of;
use super::store::{Line, ReadError, Snapshot, segment_path};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::units;
use crate::report::{AuditHead, Code, Finding, Report, codes};
use crate::seal::{KeyId, Keyring, Secret, Status};

/// The most places listed as tampered; the rest is counted.
const TAMPERED_LISTED_MAX: u64 = 1000;
/// The most different keys told apart; an honest log has a handful.
const KEYS_MAX: usize = 256;

/// What to verify, and against what.
pub struct VerifyRequest<'a> {
    /// The log's directory.
    pub directory: &'a Path,
    /// The keys at hand; may be empty.
    pub keyring: &'a Keyring,
    /// Whether the newest record must be sealed.
    pub require_keyed: bool,
    /// Heads kept elsewhere, each with where it comes from, in words; may be empty.
    pub heads: &'a [(String, ExpectedHead)],
}

/// The verb's part of the report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyBody {
    /// What the log holds.
    pub summary: VerifySummary,
}

/// What the log holds, as far as it could be read.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct VerifySummary {
    /// How many segments.
    pub segments: u64,
    /// How many records.
    pub records: u64,
    /// How many of them carry a MAC.
    pub sealed: u64,
    /// How many carry none, but a later sealed record covers them.
    pub covered: u64,
    /// How many carry none and nothing covers them: those after the last sealed record.
    pub unsealed: u64,
    /// At how many places the log was changed.
    pub tampered: u64,
    /// The first record's number; above 1 in a pruned log, null in an empty one.
    pub first_sequence: Option<u64>,
    /// The newest record; null in an empty log.
    pub newest: Option<AuditHead>,
    /// How many heads kept elsewhere were found in the log.
    pub heads_matched: u64,
    /// How many heads kept elsewhere are older than what pruning left.
    pub heads_pruned: u64,
}

/// Verifies a log. The report's findings say what is wrong and where; without any the log is
/// whole and the newest record sealed.
///
/// # Errors
/// Files that cannot be read, symbolic links in their place among them.
pub fn verify(request: &VerifyRequest<'_>) -> Result<Report, ReadError> {
    let snapshot = Snapshot::take(request.directory)?;
    let mut check = Check::new(request);
    snapshot.each_line(&mut |line| {
        check.line(&line);
        Ok(())
    })?;
    check.summary.segments = snapshot.segments.len() as u64;
    Ok(check.finish(&snapshot.head))
}

/// A line of a segment.
#[derive(Clone, Copy)]
struct Place {
    segment: u64,
    line: u64,
}

/// One key as the log uses it.
struct KeyUse {
    id: KeyId,
    /// The secret, or why it is not at hand.
    secret: Result<Rc<Secret>, String>,
    status: Status,
    period: Option<(Option<Timestamp>, Option<Timestamp>)>,
    first: Place,
    records: u64,
    outside_period: u64,
}

/// What a pruned log's first record waits for.
struct Start {
    place: Place,
    sequence: u64,
    previous: Option<Digest>,
    /// Whether a record says that what is missing was pruned, and a seal covers that record.
    claimed: bool,
    sealed: bool,
}

struct Check<'a> {
    request: &'a VerifyRequest<'a>,
    summary: VerifySummary,
    findings: Vec<Finding>,
    /// The newest record so far and its place.
    newest: Option<(Link, Place)>,
    /// Whether the line before was found bad, so that `previous` after it proves nothing more.
    after_bad: bool,
    /// How many lines since the newest record are no records: each may have been one.
    unreadable: u64,
    /// The very last line, where it is no record.
    torn: Option<(Place, String)>,
    start: Option<Start>,
    keys: Vec<KeyUse>,
    /// The first record of those since the last sealed one.
    unsealed_from: Option<Place>,
    /// Heads kept elsewhere that were not met yet, by sequence.
    expected: BTreeMap<u64, Vec<&'a (String, ExpectedHead)>>,
}

impl<'a> Check<'a> {
    fn new(request: &'a VerifyRequest<'a>) -> Self {
        let mut expected: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for head in request.heads {
            expected.entry(head.1.sequence).or_default().push(head);
        }
        Self {
            request,
            summary: VerifySummary::default(),
            findings: Vec::new(),
            newest: None,
            after_bad: false,
            unreadable: 0,
            torn: None,
            start: None,
            keys: Vec::new(),
            unsealed_from: None,
            expected,
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        let place = Place {
            segment: line.segment,
            line: line.number,
        };
        let parsed = match line.text() {
            Some(text) => Frame::parse(text).map_err(|error| error.to_string()),
            None => Err("the line does not end".to_owned()),
        };
        match parsed {
            Ok(frame) => self.record(&frame, line, place),
            // Whether a crash cut it off or somebody did is for the head to say.
            Err(reason) if line.is_last => self.torn = Some((place, reason)),
            Err(reason) => {
                self.tampered(place, reason);
                self.after_bad = true;
                self.unreadable += 1;
            }
        }
    }

    fn record(&mut self, record: &Frame<'_>, line: &Line<'_>, place: Place) {
        let link = Link::of(record, line.bytes);
        let problem = self
            .seal_problem(record, place)
            .or_else(|| self.chain_problem(record));
        self.summary.records += 1;
        if self.newest.is_none() {
            self.summary.first_sequence = Some(record.sequence);
            self.start = (record.sequence > 1).then_some(Start {
                place,
                sequence: record.sequence,
                previous: record.previous,
                claimed: false,
                sealed: false,
            });
        }
        self.count(record, place);
        self.meet_heads(&link, place);
        self.after_bad = problem.is_some();
        if let Some(problem) = problem {
            self.tampered(place, problem);
        }
        self.newest = Some((link, place));
        self.unreadable = 0;
    }

    /// Checks a MAC, where there is one and its key is at hand.
    fn seal_problem(&mut self, record: &Frame<'_>, place: Place) -> Option<String> {
        let id = KeyId::parse(record.key_id()?).ok()?;
        let mac = record.mac.as_ref()?;
        let index = match self.keys.iter().position(|key| key.id == id) {
            Some(index) => index,
            None if self.keys.len() < KEYS_MAX => {
                self.keys.push(KeyUse::new(id, self.request.keyring, place));
                self.keys.len() - 1
            }
            None => return Some(format!("the record names a key beyond {KEYS_MAX} others")),
        };
        let key = &mut self.keys[index];
        key.records += 1;
        key.outside_period += u64::from(!key.covers(record));
        let secret = key.secret.as_ref().ok()?;
        let matches = mac_of(secret, record).matches(mac);
        (!matches).then(|| {
            format!(
                "record {}: the MAC does not match what it seals",
                record.sequence
            )
        })
    }

    /// Compares a record with the one before it.
    fn chain_problem(&self, record: &Frame<'_>) -> Option<String> {
        let (before, _) = self.newest.as_ref()?;
        let (found, expected) = (record.sequence, before.sequence.saturating_add(1));
        if record.log_id() != before.log_id {
            return Some(format!("record {found} belongs to another log"));
        }
        if found > expected.saturating_add(self.unreadable) {
            let missing = match found - expected {
                1 => format!("record {expected} is missing"),
                _ => format!("records {expected} to {} are missing", found - 1),
            };
            return Some(format!("{missing} before record {found}"));
        }
        if found < expected {
            return Some(format!(
                "record {found} stands where record {expected} belongs"
            ));
        }
        if !self.after_bad && record.previous != Some(before.record_sha256) {
            let before = before.sequence;
            return Some(format!(
                "record {found} does not follow from record {before}: one of the two was changed"
            ));
        }
        None
    }

    /// Keeps the account of what is sealed, and of what a record says about pruning.
    fn count(&mut self, record: &Frame<'_>, place: Place) {
        let is_sealed = record.mac.is_some();
        if let Some(start) = &mut self.start {
            start.claimed |= record.event() == PRUNED && start.is_told_by(record);
            start.sealed |= start.claimed && is_sealed;
        }
        if is_sealed {
            self.summary.sealed += 1;
            self.summary.covered += std::mem::take(&mut self.summary.unsealed);
            self.unsealed_from = None;
        } else {
            self.summary.unsealed += 1;
            self.unsealed_from.get_or_insert(place);
        }
    }

    /// Compares a record with the heads that were kept of it.
    fn meet_heads(&mut self, link: &Link, place: Place) {
        let Some(mut heads) = self.expected.remove(&link.sequence) else {
            return;
        };
        let of_this_log = |head: &ExpectedHead| {
            head.log_id
                .as_ref()
                .is_none_or(|log_id| *log_id == link.log_id)
        };
        for (origin, head) in heads.extract_if(.., |(_, head)| of_this_log(head)) {
            if head.mac == link.mac {
                self.summary.heads_matched += 1;
                continue;
            }
            let number = link.sequence;
            let message = format!("record {number} is not the one that {origin} shows");
            self.add(&codes::AUDIT_TRUNCATED, message, Some(place));
        }
        if !heads.is_empty() {
            self.expected.insert(link.sequence, heads);
        }
    }

    fn finish(mut self, head: &HeadFile) -> Report {
        let torn = self.torn.take();
        let agrees = self.finish_head(head);
        match torn {
            Some((place, reason)) if agrees => {
                let message = format!("{reason}; the record before it is whole");
                self.add(&codes::AUDIT_TORN_TAIL, message, Some(place));
            }
            Some((place, reason)) => self.tampered(place, reason),
            None => {}
        }
        self.finish_start();
        self.finish_expected();
        self.finish_keys();
        self.finish_seals();
        if self.summary.tampered > TAMPERED_LISTED_MAX {
            let more = self.summary.tampered - TAMPERED_LISTED_MAX;
            self.add(
                &codes::AUDIT_TAMPERED,
                format!("and at {more} more places"),
                None,
            );
        }
        self.summary.newest = self.newest.as_ref().map(|(link, _)| link.to_audit_head());
        let headline = self.headline();
        let body = VerifyBody {
            summary: self.summary,
        };
        Report::new("audit", headline, self.findings).with_body(&body)
    }

    /// Compares the end of the log with `head.json`; says whether a crash explains what stands.
    fn finish_head(&mut self, head: &HeadFile) -> bool {
        let newest = self.newest.as_ref().map(|(link, _)| link);
        let standing = standing(head, newest);
        if standing != Standing::Apart {
            return true;
        }
        let place = self.newest.as_ref().map(|(_, place)| *place);
        let found = newest.map_or(0, |link| link.sequence);
        let another = |head: &super::head::Head| newest.is_some_and(|l| l.log_id != head.log_id);
        let (code, message) = match head {
            HeadFile::Known(head) if another(head) => (
                &codes::AUDIT_TRUNCATED,
                "this is not the log that `head.json` was kept for".to_owned(),
            ),
            HeadFile::Known(head) if head.sequence > found => (
                &codes::AUDIT_TRUNCATED,
                format!(
                    "the log ends with record {found}; `head.json` shows record {}",
                    head.sequence
                ),
            ),
            // The record was found bad by itself.
            HeadFile::Known(head) if head.sequence == found && self.after_bad => return false,
            HeadFile::Known(head) if head.sequence == found => (
                &codes::AUDIT_TAMPERED,
                format!("record {found} is not the one that `head.json` shows"),
            ),
            HeadFile::Known(head) => (
                &codes::AUDIT_TAMPERED,
                format!(
                    "the log goes on to record {found} after the head in `head.json`, record {}",
                    head.sequence
                ),
            ),
            HeadFile::Missing => (
                &codes::AUDIT_TAMPERED,
                format!("`head.json` is missing beside a log of {found} records"),
            ),
            HeadFile::Malformed => (&codes::AUDIT_TAMPERED, "`head.json` is no head".to_owned()),
        };
        self.summary.tampered += u64::from(code == &codes::AUDIT_TAMPERED);
        self.add(code, message, place);
        false
    }

    /// A log that does not begin with record 1 must tell why.
    fn finish_start(&mut self) {
        let Some(start) = self.start.take() else {
            return;
        };
        if start.sealed || (start.claimed && self.summary.sealed == 0) {
            return;
        }
        let last = start.sequence - 1;
        let by = if self.summary.sealed > 0 {
            "sealed record"
        } else {
            "record"
        };
        let message =
            format!("records 1 to {last} are missing, and no {by} tells of their pruning");
        self.tampered(start.place, message);
    }

    /// Heads kept elsewhere that no record met.
    fn finish_expected(&mut self) {
        let place = self.newest.as_ref().map(|(_, place)| *place);
        let newest = self.newest.as_ref().map(|(link, _)| link.clone());
        let first = self.summary.first_sequence.unwrap_or(1);
        for (sequence, heads) in std::mem::take(&mut self.expected) {
            for (origin, head) in heads {
                let message = match &newest {
                    None => format!("there is no record; {origin} shows record {sequence}"),
                    Some(link) if head.log_id.as_ref().is_some_and(|id| *id != link.log_id) => {
                        format!("this is not the log that {origin} was made with")
                    }
                    Some(_) if sequence < first => {
                        self.summary.heads_pruned += 1;
                        continue;
                    }
                    Some(link) => format!(
                        "the log ends with record {}; {origin} shows record {sequence}",
                        link.sequence
                    ),
                };
                self.add(&codes::AUDIT_TRUNCATED, message, place);
            }
        }
    }

    fn finish_keys(&mut self) {
        for key in std::mem::take(&mut self.keys) {
            let (id, records) = (key.id, units::count(key.records, "record"));
            let first = Some(key.first);
            if let Err(reason) = &key.secret {
                let message = format!("{records} sealed with key {id}: {reason}");
                self.add(&codes::AUDIT_UNKNOWN_KEY, message, first);
                continue;
            }
            if key.status == Status::Revoked {
                let message = format!("{records} sealed with key {id}, which is revoked");
                self.add(&codes::AUDIT_REVOKED_KEY, message, first);
            }
            if key.outside_period > 0 {
                let outside = units::count(key.outside_period, "record");
                let message = format!("{outside} sealed with key {id} outside of its period");
                self.add(&codes::AUDIT_KEY_PERIOD, message, first);
            }
        }
    }

    fn finish_seals(&mut self) {
        let count = units::count(self.summary.unsealed, "record");
        match (self.summary.records, self.unsealed_from) {
            (0, _) if self.findings.is_empty() => {
                let path = self.request.directory.to_string_lossy();
                let finding = Finding::new(&codes::AUDIT_EMPTY, "there is no audit log yet");
                self.findings.push(finding.at(path));
            }
            (_, Some(place)) if self.request.require_keyed => {
                let message = format!("{count} without a MAC, from here to the end");
                self.add(&codes::AUDIT_NOT_KEYED, message, Some(place));
            }
            (_, Some(place)) => {
                let message = format!("{count} without a MAC, from here to the end");
                self.add(&codes::AUDIT_UNSEALED, message, Some(place));
            }
            _ => {}
        }
    }

    fn headline(&self) -> String {
        let records = units::count(self.summary.records, "record");
        let segments = units::count(self.summary.segments, "segment");
        let sealed = match (self.summary.records, self.summary.unsealed) {
            (0, _) => return "The audit log is empty".to_owned(),
            (_, 0) => "all sealed or covered by a seal".to_owned(),
            (_, unsealed) => format!("{unsealed} at the end without a seal"),
        };
        format!("The audit log holds {records} in {segments}, {sealed}")
    }

    fn tampered(&mut self, place: Place, message: String) {
        self.summary.tampered += 1;
        if self.summary.tampered <= TAMPERED_LISTED_MAX {
            self.add(&codes::AUDIT_TAMPERED, message, Some(place));
        }
    }

    fn add(&mut self, code: &'static Code, message: String, place: Option<Place>) {
        let finding = Finding::new(code, message);
        let directory = self.request.directory;
        self.findings.push(match place {
            Some(Place { segment, line }) => finding
                .at(segment_path(directory, segment).to_string_lossy())
                .on_line(line),
            None => finding.at(directory.to_string_lossy()),
        });
    }
}

impl KeyUse {
    fn new(id: KeyId, keyring: &Keyring, first: Place) -> Self {
        let key = keyring.find(id);
        let secret = match key.map(|key| key.secret()) {
            None => Err("it is not at hand".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(secret)) => Ok(secret),
        };
        let period = key.map(|key| (key.not_before, key.not_after));
        Self {
            id,
            secret,
            status: key.map_or(Status::VerifyOnly, |key| key.status),
            period: period.filter(|period| *period != (None, None)),
            first,
            records: 0,
            outside_period: 0,
        }
    }

    /// Whether the key's period covers a record's time.
    fn covers(&self, record: &Frame<'_>) -> bool {
        let Some((not_before, not_after)) = self.period else {
            return true;
        };
        let Some(instant) = record.instant() else {
            return false;
        };
        not_before.is_none_or(|from| from <= instant) && not_after.is_none_or(|to| instant <= to)
    }
}

impl Start {
    /// Whether a record of pruning covers what is missing here. A crash may have kept segments
    /// that were to be removed: then the log begins earlier than the record says.
    fn is_told_by(&self, record: &Frame<'_>) -> bool {
        let details: Value = serde_json::from_str(record.details()).unwrap_or_default();
        let first_kept = details["first_sequence_kept"].as_u64().unwrap_or(0);
        let last_removed = details["last_removed_sha256"].as_str();
        let last_removed = last_removed.and_then(|digits| Digest::parse(digits).ok());
        match first_kept.cmp(&self.sequence) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => last_removed == self.previous,
            std::cmp::Ordering::Greater => true,
        }
    }
}
