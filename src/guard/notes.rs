//! Where checks note what they find. Owns what a file's surroundings make of a finding; must
//! never know any check.

use super::filter;
use super::found::{Found, Place};
use super::rule::Pack;
use crate::base::severity::Severity;

/// What is looked at: a file or another entry of a tree, or a member of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    /// The file, as one would type it.
    pub(super) shown: &'a str,
    /// The member, where it is one of an archive.
    pub(super) member: Option<&'a str>,
    /// Its path below the target, or in the archive; raw bytes, not empty.
    pub(super) path: &'a [u8],
}

/// A position in a text, from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// How many characters of UTF-8 begin in these bytes: what columns count.
pub(super) fn characters(text: &[u8]) -> u64 {
    // Sums of one byte each are added many at a time.
    let few = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| u8::from(byte & 0xC0 != 0x80))
            .sum::<u8>()
    };
    text.chunks(255).map(|bytes| u64::from(few(bytes))).sum()
}

impl Item<'_> {
    /// The last component of the path, lossily, in lower case.
    pub(super) fn name(&self) -> String {
        let name = self.path.rsplit(|byte| *byte == b'/').next();
        String::from_utf8_lossy(name.unwrap_or_default()).to_lowercase()
    }

    /// What stands behind the last dot of the name, in lower case; empty where there is none, or
    /// nothing before it.
    pub(super) fn extension(&self) -> String {
        match self.name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => extension.to_owned(),
            _ => String::new(),
        }
    }
}

/// What has been found about one item.
pub(super) struct Notes<'a> {
    pack: &'a Pack,
    item: Item<'a>,
    found: Vec<Found>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(pack: &'a Pack, item: Item<'a>) -> Self {
        let found = Vec::new();
        Self { pack, item, found }
    }

    pub(super) fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// Notes what a check has found, as bad as its description says; nothing where the check is
    /// switched off.
    pub(super) fn add(&mut self, check: &str, at: Option<Spot>, message: impl Into<String>) {
        self.add_as(check, Severity::Critical, at, message);
    }

    /// The same, at most as bad as `severity_max`.
    pub(super) fn add_as(
        &mut self,
        check: &str,
        severity_max: Severity,
        at: Option<Spot>,
        message: impl Into<String>,
    ) {
        if let Some(check) = self.pack.checks.get(check) {
            let place = Place {
                shown: self.item.shown,
                member: self.item.member,
                line: at.map(|spot| spot.line),
                column: at.map(|spot| spot.column),
                end_line: at.map(|spot| spot.line),
            };
            let severity = check.severity.min(severity_max);
            let found = Found::by_check(check, &place, message).with_severity(severity);
            self.push(found);
        }
    }

    /// Notes what a rule has found; like everything else it weighs a step less among the material
    /// of tests, where broken and dangerous files are what one expects.
    pub(super) fn push(&mut self, found: Found) {
        let severity = found.finding.severity;
        let is_of_tests = filter::lies_among_tests(&self.item.path.to_ascii_lowercase());
        let found = match (is_of_tests, severity) {
            (true, Severity::Critical) => found.with_severity(Severity::High),
            (true, Severity::High) => found.with_severity(Severity::Medium),
            _ => found,
        };
        self.found.push(found);
    }

    pub(super) fn into_found(self) -> Vec<Found> {
        self.found
    }
}
