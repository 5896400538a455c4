//! A finding as every format needs it: which rule, where from the top, what to say, and what it
//! is told by from one run to the next.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Document;
use crate::base::digest::Hasher;
use crate::base::severity::Severity;
use crate::base::units::printable;
use crate::report::{Category, Detail, Finding, State, codes};

/// A finding and what was derived from it.
pub(super) struct Row<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Its file; `None` where it is about no file.
    pub place: Option<Place>,
    /// 32 hex digits that stay the same while rule, file and order stay the same: lines may move.
    pub identity: String,
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the directory; `.` is the directory itself. Without `.` and `..` components.
    Below(String),
    /// Outside of it, absolute.
    Elsewhere(String),
}

impl Place {
    /// Where a path leads, by its letters alone; links are not followed.
    pub(super) fn of(path: &str, directory: &str) -> Self {
        let mut absolute: Vec<&str> = match path.starts_with('/') {
            true => Vec::new(),
            false => parts(directory).collect(),
        };
        for part in parts(path) {
            match part {
                ".." => {
                    absolute.pop();
                }
                part => absolute.push(part),
            }
        }
        let directory: Vec<&str> = parts(directory).collect();
        match absolute.strip_prefix(&directory[..]) {
            Some([]) => Self::Below(".".to_owned()),
            Some(below) => Self::Below(below.join("/")),
            None => Self::Elsewhere(format!("/{}", absolute.join("/"))),
        }
    }

    /// The path as a reader at the directory would type it.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Below(path) | Self::Elsewhere(path) => path,
        }
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

impl<'a> Row<'a> {
    fn detail(&self) -> Option<&'a Detail> {
        self.finding.detail.as_deref()
    }

    /// The rule, or the code where no rule is behind it.
    pub(super) fn rule_id(&self) -> &'a str {
        rule_id(self.finding)
    }

    /// Whether nobody has accepted it.
    pub(super) fn is_open(&self) -> bool {
        self.detail()
            .is_none_or(|detail| detail.state == State::Open)
    }

    /// The file inside an archive, if it is in one.
    pub(super) fn member(&self) -> Option<&'a str> {
        self.detail()?.member.as_deref()
    }

    /// The fact, on one line: the message, what was found as far as it may be shown, and the
    /// member of an archive or the commit of the past that it stands in.
    pub(super) fn text(&self) -> String {
        let mut text = self.finding.message.clone();
        let secret = self
            .detail()
            .filter(|detail| detail.category == Category::Secret);
        let redacted = secret.and_then(|detail| detail.redacted.as_deref());
        if let Some(redacted) = redacted.filter(|redacted| !text.contains(redacted)) {
            text.push_str(": ");
            text.push_str(redacted);
        }
        for (where_to, name) in [(", in ", self.member()), (", in commit ", self.commit())] {
            text.extend(name.into_iter().flat_map(|name| [where_to, name]));
        }
        if let Some(line) = self.finding.line.filter(|_| self.is_within()) {
            text.push_str(&format!(", line {line}"));
        }
        printable(&text).into_owned()
    }

    /// The commit that held it, if it is of the past.
    fn commit(&self) -> Option<&'a str> {
        self.detail()?.commit.as_deref()
    }

    /// Whether it stands in something else than the file as it is.
    fn is_within(&self) -> bool {
        self.member().is_some() || self.commit().is_some()
    }

    /// The line in the file itself: one inside an archive is none of the archive, one of a former
    /// version is none of this.
    pub(super) fn line(&self) -> Option<u64> {
        self.finding.line.filter(|_| !self.is_within())
    }

    /// The column in the file itself.
    pub(super) fn column(&self) -> Option<u64> {
        self.finding.column.filter(|_| self.line().is_some())
    }

    /// The last line, where that is known and not before the first.
    pub(super) fn end_line(&self) -> Option<u64> {
        let line = self.line()?;
        self.detail()?.end_line.filter(|end| *end >= line)
    }

    /// `path:line:column` as the report says it, with what a terminal would act on escaped; empty
    /// without a file.
    pub(super) fn shown_place(&self) -> String {
        let path = self.finding.path.as_deref().unwrap_or_default();
        let mut shown = printable(path).into_owned();
        for number in [self.line(), self.column()].into_iter().flatten() {
            shown.push_str(&format!(":{number}"));
        }
        shown
    }
}

/// The rule of a finding, or its code.
fn rule_id(finding: &Finding) -> &str {
    match &finding.detail {
        Some(detail) => &detail.rule_id,
        None => finding.code.id,
    }
}

impl<'a> Document<'a> {
    /// All findings, the worst first: open before accepted, then by severity, then by what they
    /// make of the answer, then in the report's order.
    pub(super) fn rows(&self) -> Vec<Row<'a>> {
        let mut seen = BTreeMap::new();
        let policy = &self.envelope.policy.source;
        let findings = self.envelope.findings.iter();
        let mut rows: Vec<Row<'a>> = findings
            .map(|finding| {
                let path = finding.path.as_deref();
                let path = path.map(|path| file_of(finding, path, policy));
                let place = path.map(|path| Place::of(path, self.directory));
                let identity = identity(finding, place.as_ref(), &mut seen);
                Row {
                    finding,
                    place,
                    identity,
                }
            })
            .collect();
        rows.sort_by_key(|row| {
            let finding = row.finding;
            (
                !row.is_open(),
                Reverse(finding.severity),
                Reverse(finding.verdict),
            )
        });
        rows
    }

    /// How many open findings there are of each severity, the worst first; none of zero.
    pub(super) fn counts(rows: &[Row<'_>]) -> Vec<(Severity, usize)> {
        let mut counts: BTreeMap<Reverse<Severity>, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.is_open()) {
            *counts.entry(Reverse(row.finding.severity)).or_default() += 1;
        }
        let counts = counts.into_iter();
        counts
            .map(|(Reverse(severity), count)| (severity, count))
            .collect()
    }

    /// What a finding about no file stands at where a format insists on one: the policy that
    /// decided, or else the directory.
    pub(super) fn place_of_none(&self) -> Place {
        match self.envelope.policy.sha256 {
            Some(_) => Place::of(&self.envelope.policy.source, self.directory),
            None => Place::Below(".".to_owned()),
        }
    }
}

/// The file of a path: what is about a place inside the policy has that behind a `#`.
fn file_of<'a>(finding: &Finding, path: &'a str, policy: &str) -> &'a str {
    // A policy that could not be loaded is not the report's.
    let about_policy = [&codes::POLICY_INVALID, &codes::POLICY_IGNORED].contains(&finding.code);
    match path.strip_prefix(policy) {
        Some(pointer) if pointer.starts_with('#') => &path[..policy.len()],
        _ if about_policy => {
            let file = path.split_once("#/").map(|(file, _)| file);
            file.unwrap_or(path.strip_suffix('#').unwrap_or(path))
        }
        _ => path,
    }
}

/// What a finding is told by. Of findings that differ in their lines only, the first, the second …
/// keep their number. The value's own fingerprint takes no part: without a baseline its salt is
/// random, and every run would find everything anew.
fn identity<'a>(
    finding: &'a Finding,
    place: Option<&Place>,
    seen: &mut BTreeMap<(&'a str, String, [&'a str; 2]), u64>,
) -> String {
    let detail = finding.detail.as_deref();
    let member = detail.and_then(|detail| detail.member.as_deref());
    let commit = detail.and_then(|detail| detail.commit.as_deref());
    let path = place.map_or(String::new(), |place| place.path().to_owned());
    let within = [member, commit].map(Option::unwrap_or_default);
    let key = (rule_id(finding), path, within);
    let mut hasher = Hasher::default();
    for part in [key.0, &key.1, within[0], within[1]] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let number = seen.entry(key).or_default();
    hasher.update(&number.to_be_bytes());
    *number += 1;
    hex::encode(&hasher.finish().0[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_directory_by_its_letters() {
        let below = |path: &str| Place::Below(path.to_owned());
        let elsewhere = |path: &str| Place::Elsewhere(path.to_owned());
        for (path, expected) in [
            ("a", below("a")),
            ("./a//b/./c", below("a/b/c")),
            ("a/../b", below("b")),
            ("/srv/tree/a", below("a")),
            ("../tree/a", below("a")),
            (".", below(".")),
            ("../a", elsewhere("/srv/a")),
            ("../../../../a", elsewhere("/a")),
            ("/srv/treehouse/a", elsewhere("/srv/treehouse/a")),
        ] {
            assert_eq!(Place::of(path, "/srv/tree"), expected, "{path}");
        }
        assert_eq!(Place::of("a", "/"), below("a"));
    }
}
