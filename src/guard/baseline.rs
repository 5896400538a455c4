//! The baseline: findings that are known and accepted, one JSON object a line. Owns its format,
//! how it is matched with findings, and how it is written anew; opens no file.
//!
//! ```text
//! {"baseline_version":"1.0","salt":"0b…","salt_id":"5c…"}
//! {"path":"assets/a.json","rule":"github.pat","fingerprint":"9e…","reason":"…","expires":"2027-01-31","owner":"…"}
//! ```
//!
//! Entries are sorted by path, member, rule and fingerprint, and hold neither line numbers nor times
//! of writing, so that git merges two branches line by line (`merge=union`). What a merge leaves
//! behind, duplicates and another order, is read without complaint; two headers with different
//! salts are not, since fingerprints under them have nothing in common.
//!
//! An entry accepts what has its path, member and fingerprint. Its rule is for people: a better
//! rule of the same family that finds the same value is accepted too. Paths are relative to the
//! folder of the baseline, so that it does not matter from where it is used.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fingerprint::{self, Salt, SaltOrigin};
use super::found::{Found, Place};
use super::places::Places;
use super::rule::Pack;
use super::suppress::{EXPIRED, UNEXPLAINED, UNUSED};
use crate::base::clock::Timestamp;
use crate::base::units::printable;
use crate::report::State;

/// The version that is written and read.
const VERSION: &str = "1.0";
/// What is said of a finding that is accepted because it was there.
pub const REASON: &str = "was there when the baseline was taken";
/// The longest that a word from the file may be in a message, characters.
const QUOTED_CHARS_MAX: usize = 60;

/// A baseline as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    header: Option<Header>,
    /// Sorted, each once.
    entries: Vec<Entry>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    baseline_version: String,
    /// Hex; null where the salt is kept elsewhere.
    salt: Option<String>,
    /// Tells the salt without being it.
    salt_id: String,
}

/// A finding that is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The file, relative to the folder of the baseline.
    pub(super) path: String,
    /// The file inside an archive; left out outside of archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<String>,
    /// The rule that found it.
    pub(super) rule: String,
    /// 32 hex digits.
    pub(super) fingerprint: String,
    /// Why it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The last day on which it is accepted, `2027-01-31`, UTC; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Where it stood in the file, from 1.
    #[serde(skip)]
    line: u64,
}

/// Why a baseline cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// A line that is neither a header nor an entry.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// A lower-case fragment.
        problem: String,
    },
    /// A merge brought two baselines together that were taken apart from each other.
    #[error(
        "line {line} has another salt than line {first}, so that half of the fingerprints mean nothing"
    )]
    TwoSalts {
        /// The first header.
        first: u64,
        /// The other one.
        line: u64,
    },
    /// Something is there and no header is.
    #[error("there is no header with the salt of the fingerprints")]
    NoHeader,
    /// The salt is not in the file, and the environment has none.
    #[error("its salt is kept in the environment, and none is there")]
    NoSalt,
    /// The environment's salt is another one.
    #[error("its fingerprints were made with another salt than the environment's")]
    OtherSalt,
}

impl BaselineError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Line { .. } => {
                "mend the line, or take the baseline anew with `--update-baseline`"
            }
            Self::TwoSalts { .. } => {
                "keep the header and the entries of one side, then run `--update-baseline`"
            }
            Self::NoHeader => {
                "put the header back, or take the baseline anew with `--update-baseline` into a new file"
            }
            Self::NoSalt | Self::OtherSalt => {
                "set the variable that `policy_guard.fingerprint_salt_env` names to the salt that the baseline was taken with"
            }
        }
    }
}

impl Baseline {
    /// Reads the text of a baseline; an empty one is a baseline that accepts nothing.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let mut header: Option<(u64, Header)> = None;
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            match read_line(text).map_err(|problem| BaselineError::Line { line, problem })? {
                Line::Header(new) => match &header {
                    Some((first, old)) if *old != new => {
                        let first = *first;
                        return Err(BaselineError::TwoSalts { first, line });
                    }
                    _ => header = header.or(Some((line, new))),
                },
                Line::Entry(mut entry) => {
                    entry.line = line;
                    entries.push(entry);
                }
            }
        }
        if header.is_none() && !entries.is_empty() {
            return Err(BaselineError::NoHeader);
        }
        entries.sort();
        entries.dedup_by(|a, b| a.same_as(b));
        let header = header.map(|(_, header)| header);
        Ok(Self { header, entries })
    }

    /// The salt of its fingerprints, given the environment's; `None` where it has no header yet.
    ///
    /// # Errors
    /// A salt that is kept in the environment and is not there, or is another one.
    pub fn salt(&self, environment: Option<&Salt>) -> Result<Option<Salt>, BaselineError> {
        let Some(header) = &self.header else {
            return Ok(None);
        };
        let own = header.salt.as_ref().and_then(|salt| hex::decode(salt).ok());
        let salt = match own {
            Some(bytes) => Salt::kept(&bytes, SaltOrigin::Baseline),
            None => environment.cloned(),
        };
        let salt = salt.ok_or(BaselineError::NoSalt)?;
        match salt.id() == header.salt_id {
            true => Ok(Some(salt)),
            false => Err(BaselineError::OtherSalt),
        }
    }

    /// How many findings it accepts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it accepts none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its text: the header, then the entries.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Structs of texts always serialize.
        let mut push = |line: Result<String, serde_json::Error>| {
            text.push_str(&line.unwrap_or_default());
            text.push('\n');
        };
        push(serde_json::to_string(&self.header));
        for entry in &self.entries {
            push(serde_json::to_string(entry));
        }
        text
    }
}

enum Line {
    Header(Header),
    Entry(Entry),
}

fn read_line(text: &str) -> Result<Line, String> {
    if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"]
        .iter()
        .any(|mark| text.starts_with(mark))
    {
        return Err("it is a mark that an unfinished merge left behind".into());
    }
    let unreadable = |error: serde_json::Error| {
        let text = error.to_string();
        let text = text.split(" at line").next().unwrap_or_default();
        format!("it is no entry of a baseline: {}", quoted(text))
    };
    if text.contains("\"baseline_version\"") {
        let header: Header = serde_json::from_str(text).map_err(unreadable)?;
        let salt = header.salt.as_deref().map(hex::decode);
        return match &header {
            Header {
                baseline_version, ..
            } if baseline_version != VERSION => Err(format!(
                "its version is `{}`, and this program reads `{VERSION}`",
                quoted(baseline_version)
            )),
            _ if matches!(&salt, Some(bytes) if bytes.as_ref().map_or(true, Vec::is_empty)) => {
                Err("its `salt` is not a text of hex digits".into())
            }
            _ => Ok(Line::Header(header)),
        };
    }
    let entry: Entry = serde_json::from_str(text).map_err(unreadable)?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if entry.fingerprint.len() != fingerprint::DIGITS || !entry.fingerprint.bytes().all(is_hex) {
        return Err("its `fingerprint` is not 32 lower-case hex digits".into());
    }
    match &entry.expires {
        Some(day) if last_moment(day).is_none() => Err(format!(
            "its `expires` is `{}`, not a day of the form `2027-01-31`",
            quoted(day)
        )),
        _ => Ok(Line::Entry(entry)),
    }
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    printable(&short).into_owned()
}

/// The end of a day, UTC.
fn last_moment(day: &str) -> Option<Timestamp> {
    let is_day = day.len() == "2027-01-31".len();
    Timestamp::parse(&format!("{day}T23:59:59Z"))
        .ok()
        .filter(|_| is_day)
}

/// What an entry is matched by: path, member, fingerprint.
type Key = (String, Option<String>, String);

/// How a baseline meets the findings of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting<'a> {
    /// How paths become those of the baseline.
    pub(super) places: &'a Places,
    /// What was looked at: entries elsewhere are left alone.
    pub(super) targets: &'a [&'a Path],
    /// The day that counts.
    pub(super) now: Timestamp,
}

impl Baseline {
    /// Puts the state of what entries accept, and gives what is wrong with the entries: those that
    /// accept nothing, say no reason, or have expired. `shown` is the baseline's own path.
    pub(super) fn apply(
        &self,
        found: &mut [Found],
        meeting: &Meeting<'_>,
        (shown, pack): (&str, &Pack),
    ) -> Vec<Found> {
        let mut groups = self.groups();
        for one in found {
            let Some(key) = key_of(one, meeting.places) else {
                continue;
            };
            let Some(group) = groups.get_mut(&key) else {
                continue;
            };
            group.used = true;
            let entry = &self.entries[group.best];
            if let Some(detail) = &mut one.finding.detail
                && detail.state == State::Open
                && entry.is_live(meeting.now)
            {
                detail.state = State::Baseline;
                detail.reason.clone_from(&entry.reason);
            }
        }
        let mut faults = Vec::new();
        for group in groups.values() {
            let entry = &self.entries[group.best];
            let fault = match group.used {
                false if !is_in_scope(entry, meeting) => continue,
                false => (UNUSED, "accepts nothing that is there"),
                true if !entry.is_live(meeting.now) => (EXPIRED, "has expired"),
                true if !entry.says_why() => (UNEXPLAINED, "says no reason"),
                true => continue,
            };
            faults.extend(entry.fault(fault, (shown, pack)));
        }
        faults
    }

    /// The baseline that accepts what was found as well: entries keep what people wrote into them,
    /// those for what is no longer there go, those outside of what was looked at stay. What a
    /// marker accepts needs no entry. Taking it twice changes nothing.
    pub(super) fn updated(
        &self,
        found: &[Found],
        meeting: &Meeting<'_>,
        (salt, reason): (&Salt, &str),
    ) -> Self {
        let groups = self.groups();
        let mut kept: BTreeMap<Key, Entry> = BTreeMap::new();
        for (key, group) in &groups {
            let entry = &self.entries[group.best];
            if !is_in_scope(entry, meeting) {
                kept.insert(key.clone(), entry.clone());
            }
        }
        for one in found {
            let (Some(key), Some(detail)) = (key_of(one, meeting.places), &one.finding.detail)
            else {
                continue;
            };
            if detail.state == State::Suppressed || kept.contains_key(&key) {
                continue;
            }
            let old = groups.get(&key).map(|group| &self.entries[group.best]);
            let mut entry = old.cloned().unwrap_or_else(|| Entry {
                reason: Some(reason.to_owned()),
                ..Entry::default()
            });
            (entry.path, entry.member, entry.fingerprint) = key.clone();
            entry.rule.clone_from(&detail.rule_id);
            kept.insert(key, entry);
        }
        let mut entries: Vec<Entry> = kept.into_values().collect();
        entries.sort();
        for (line, entry) in (2..).zip(&mut entries) {
            entry.line = line;
        }
        let header = self.header.clone().unwrap_or_else(|| Header::of(salt));
        let header = Some(header);
        Self { header, entries }
    }

    /// The entries of each key, of which a merge may have left several: the one that counts is the
    /// one that accepts longest, and of those one that says why.
    fn groups(&self) -> BTreeMap<Key, Group> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let group = groups.entry(entry.key()).or_insert(Group {
                best: at,
                used: false,
            });
            if entry.weight() > self.entries[group.best].weight() {
                group.best = at;
            }
        }
        groups
    }
}

struct Group {
    best: usize,
    used: bool,
}

fn is_in_scope(entry: &Entry, meeting: &Meeting<'_>) -> bool {
    let targets = meeting.targets.iter();
    targets
        .copied()
        .any(|target| meeting.places.is_within(&entry.path, target))
}

/// What a finding is matched by; `None` for what cannot be accepted.
fn key_of(found: &Found, places: &Places) -> Option<Key> {
    let detail = found.finding.detail.as_ref()?;
    let path = places.relative(found.finding.path.as_deref()?);
    Some((path, detail.member.clone(), detail.fingerprint.clone()?))
}

impl Header {
    /// The header for a salt that is kept in the file, unless it is kept elsewhere.
    fn of(salt: &Salt) -> Self {
        let is_kept = salt.origin() == SaltOrigin::Environment;
        Self {
            baseline_version: VERSION.to_owned(),
            salt: (!is_kept).then(|| salt.to_hex()),
            salt_id: salt.id(),
        }
    }
}

impl Entry {
    fn key(&self) -> Key {
        let (path, member) = (self.path.clone(), self.member.clone());
        (path, member, self.fingerprint.clone())
    }

    fn same_as(&self, other: &Self) -> bool {
        let line = other.line;
        let mut same = self.clone();
        same.line = line;
        same == *other
    }

    /// How much it accepts: for ever before a day, a later day before an earlier one, with a
    /// reason before without.
    fn weight(&self) -> (bool, Option<&str>, bool) {
        let expires = self.expires.as_deref();
        (expires.is_none(), expires, self.says_why())
    }

    fn is_live(&self, now: Timestamp) -> bool {
        let ends = self.expires.as_deref().map(last_moment);
        ends.is_none_or(|end| end.is_some_and(|end| now <= end))
    }

    fn says_why(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        !reason.trim().is_empty()
    }

    fn fault(&self, (id, what): (&str, &str), (shown, pack): (&str, &Pack)) -> Option<Found> {
        let check = pack.checks.get(id)?;
        let place = Place {
            shown,
            line: Some(self.line),
            ..Place::default()
        };
        let owner = self.owner.as_ref().map(|owner| format!(", owner {owner}"));
        let (path, rule) = (&self.path, &self.rule);
        let message = format!(
            "the entry for `{rule}` in `{path}` {what}{}",
            owner.unwrap_or_default()
        );
        Some(Found::by_check(check, &place, message))
    }
}

#[cfg(test)]
mod tests;
