//! One entry of a tree, looked at from outside and inside. Knows where an entry is opened; leaves
//! what is found to others to judge.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;

use super::content;
use super::content::{Bytes, Gap, Inspector, Located, Tools};
use super::files::Facts;
use super::found::{Found, Place};
use super::notes::Item;
use super::scan::{Scanner, Scratch};
use super::suppress::{Marked, Marker};
use crate::base::beneath::Root;
use crate::base::relpath::RelPath;
use crate::inventory::Kind;
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
    /// The texts in it that have markers.
    pub(super) marked: Vec<Marked>,
}

/// Looks at an entry beneath a root.
pub(super) fn look(
    tools: Tools<'_>,
    scratch: &mut Scratch,
    (root, source): (&Root, &Source),
) -> Seen {
    let mut seen = Seen::default();
    if let Err(error) = look_into((tools, scratch), (root, source), &mut seen) {
        let place = Place {
            shown: &source.shown,
            ..Place::default()
        };
        let text = error.to_string();
        let found = Found::by_code(&codes::FILE_UNREADABLE, &place, text);
        seen.found.push(found);
        seen.is_partial = true;
    }
    seen
}

fn look_into(
    (tools, scratch): (Tools<'_>, &mut Scratch),
    (root, source): (&Root, &Source),
    seen: &mut Seen,
) -> io::Result<()> {
    let mut facts = Facts {
        item: Item {
            shown: &source.shown,
            member: None,
            path: source.path.as_bytes(),
        },
        kind: source.kind,
        mode: 0,
        link_target: None,
        content: &[],
        is_whole: true,
    };
    if source.kind != Kind::File {
        facts.mode = root.stat(&source.path)?.st_mode & 0o7777;
        let target = (source.kind == Kind::Symlink).then(|| root.read_link(&source.path));
        let target = target.transpose()?;
        facts.link_target = target.as_deref();
        seen.found.extend(tools.checks.entry(&facts));
        return Ok(());
    }
    let (file, metadata) = open(root, &source.path)?;
    let size_bytes = metadata.len();
    facts.mode = metadata.permissions().mode() & 0o7777;
    let mut inspector = Inspector::new(tools, scratch, (&source.shown, size_bytes));
    let lower = RelPath::parse(&source.path.as_bytes().to_ascii_lowercase());
    let place = content::Place::of_file(lower.unwrap_or_else(|_| source.path.clone()));
    let looked = inspector.content(Bytes::File(file), &place);
    let inspection = inspector.out;
    seen.is_read = true;
    seen.bytes = inspection.bytes;
    seen.members = inspection.members;
    seen.decoded = inspection.decoded;
    seen.is_partial = !inspection.gaps.is_empty();
    facts.content = &inspection.head;
    facts.is_whole = inspection.head.len() as u64 == size_bytes;
    seen.found.extend(tools.checks.entry(&facts));
    seen.found.extend(inspection.noted);
    let matches = inspection.matches.into_iter();
    seen.found
        .extend(matches.map(|one| found(tools.scanner, source, one)));
    seen.marked = marked(&source.shown, inspection.markers);
    let gaps = inspection.gaps.iter();
    seen.found.extend(gaps.map(|gap| told(source, gap)));
    looked
}

/// The markers by the text that they stand in; those of one text follow each other.
fn marked(shown: &str, markers: Vec<(Option<String>, Marker)>) -> Vec<Marked> {
    let mut texts: Vec<Marked> = Vec::new();
    for (member, marker) in markers {
        match texts.last_mut().filter(|text| text.member == member) {
            Some(text) => text.markers.push(marker),
            None => texts.push(Marked {
                shown: shown.to_owned(),
                member,
                markers: vec![marker],
            }),
        }
    }
    texts
}

/// A regular file and what is known of it; anything else has taken its place since the walk.
fn open(root: &Root, path: &RelPath) -> io::Result<(File, Metadata)> {
    let file = File::from(root.open_file(path)?);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
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
fn told(source: &Source, gap: &Gap) -> Found {
    let place = Place {
        shown: &source.shown,
        member: gap.member.as_deref(),
        ..Place::default()
    };
    let message = match &gap.member {
        Some(member) => format!("`{member}` inside of it: {}", gap.reason),
        None => gap.reason.clone(),
    };
    Found::by_code(&codes::SCAN_PARTIAL, &place, message)
}
