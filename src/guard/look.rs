//! One entry of a tree, looked at from outside and inside. Knows where an entry is opened; leaves
//! what is found to others to judge.

use std::fs::File;
use std::io;

use super::content;
use super::content::{Bytes, Gap, GapKind, Inspector, Located};
use super::found::{Found, Place};
use super::scan::{Scanner, Scratch};
use crate::base::beneath::Root;
use crate::base::relpath::RelPath;
use crate::inventory::{Kind, Progress};
use crate::report::codes;

/// An entry to look at.
#[derive(Debug)]
pub(super) struct Source {
    /// As one would type it.
    pub(super) shown: String,
    /// Below its target.
    pub(super) path: RelPath,
    /// What the walk saw.
    pub(super) kind: Kind,
}

/// What looking at an entry gave.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In the order in which it was found.
    pub(super) found: Vec<Found>,
    /// Whether it was looked into.
    pub(super) is_read: bool,
    /// Bytes looked at, those of members included.
    pub(super) bytes: u64,
    /// Files found inside of it.
    pub(super) members: u64,
    /// Encoded texts that were decoded.
    pub(super) decoded: u64,
    /// Whether some of it could not be looked at.
    pub(super) is_partial: bool,
}

/// Looks at an entry beneath a root.
pub(super) fn look(
    (scanner, scratch, progress): (&Scanner, &mut Scratch, &Progress),
    root: &Root,
    source: &Source,
) -> Seen {
    let mut seen = Seen::default();
    if source.kind != Kind::File {
        return seen;
    }
    let (file, size_bytes) = match open(root, &source.path) {
        Ok(opened) => opened,
        Err(error) => {
            let place = Place {
                shown: &source.shown,
                ..Place::default()
            };
            let found = Found::by_code(&codes::FILE_UNREADABLE, &place, error.to_string());
            seen.found.push(found);
            seen.is_partial = true;
            return seen;
        }
    };
    let mut inspector = Inspector::new((scanner, scratch, progress), size_bytes);
    let lower = RelPath::parse(&source.path.as_bytes().to_ascii_lowercase());
    let place = content::Place::of_file(lower.unwrap_or_else(|_| source.path.clone()));
    let looked = inspector.content(Bytes::File(file), &place);
    let inspection = inspector.out;
    seen.is_read = true;
    seen.bytes = inspection.bytes;
    seen.members = inspection.members;
    seen.decoded = inspection.decoded;
    let matches = inspection.matches.into_iter();
    seen.found
        .extend(matches.map(|one| found(scanner, source, one)));
    let gaps = inspection.gaps.iter();
    seen.found
        .extend(gaps.map(|gap| told(scanner, source, gap)));
    seen.is_partial = !inspection.gaps.is_empty();
    if let Err(error) = looked {
        let place = Place {
            shown: &source.shown,
            ..Place::default()
        };
        let text = error.to_string();
        seen.found
            .push(Found::by_code(&codes::FILE_UNREADABLE, &place, text));
        seen.is_partial = true;
    }
    seen
}

/// A regular file and its size; anything else has taken its place since the walk.
fn open(root: &Root, path: &RelPath) -> io::Result<(File, u64)> {
    let file = File::from(root.open_file(path)?);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(io::Error::other("it is no longer a regular file")),
    }
}

fn found(scanner: &Scanner, source: &Source, one: Located) -> Found {
    let rule = &scanner.pack().rules[one.found.rule];
    let place = Place {
        shown: &source.shown,
        member: one.member.as_deref(),
        line: Some(one.found.line),
        column: Some(one.found.column),
        end_line: Some(one.found.end_line),
    };
    Found::by_rule(rule, &place, rule.title.clone())
        .with_value(one.value)
        .with_severity(one.found.severity)
        .with_confidence(one.found.confidence)
        .decoded_from(one.decoded.into_iter().map(str::to_owned).collect())
}

/// What could not be looked at, as a finding.
fn told(scanner: &Scanner, source: &Source, gap: &Gap) -> Found {
    let check = match gap.kind {
        GapKind::Bomb => Some("archive.bomb"),
        GapKind::Escaping => Some("archive.escaping_member"),
        GapKind::Encrypted | GapKind::Damaged | GapKind::Deep => None,
    };
    let place = Place {
        shown: &source.shown,
        member: gap.member.as_deref(),
        ..Place::default()
    };
    let message = match &gap.member {
        Some(member) => format!("`{member}` inside of it: {}", gap.reason),
        None => gap.reason.clone(),
    };
    match check.and_then(|id| scanner.pack().checks.get(id)) {
        Some(check) => Found::by_check(check, &place, message),
        None => Found::by_code(&codes::SCAN_PARTIAL, &place, message),
    }
}
