//! One entry of a tree or repository, looked at from outside and inside. Knows where an entry is
//! opened; leaves what is found to others to judge.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use super::content;
use super::content::{Bytes, Gap, Inspector, Located, Tools};
use super::files::Facts;
use super::found::{Found, Place};
use super::notes::Item;
use super::scan::{Scanner, Scratch};
use super::share::Clean;
use super::suppress::{Marked, Marker};
use crate::base::beneath::Root;
use crate::base::relpath::{self, RelPath};
use crate::inventory::{self, Kind};
use crate::report::codes;

/// An entry to look at.
#[derive(Debug)]
pub(super) struct Source {
    /// As one would type it.
    pub(super) shown: String,
    /// Below its target.
    pub(super) path: RelPath,
    /// What the walk saw, or git says.
    pub(super) kind: Kind,
    /// The commit that first held it; `None` where no history is looked at.
    pub(super) commit: Option<String>,
}

/// Where the content of an entry is.
pub(super) enum Origin<'o> {
    /// A file, opened beneath this root.
    File(&'o Root),
    /// An object of a repository.
    Blob {
        /// Whether it is a program.
        is_executable: bool,
        /// How long it is, in bytes.
        size_bytes: u64,
        /// Gives exactly so many.
        reader: &'o mut dyn Read,
    },
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
    /// Whether all this is known from an earlier look.
    pub(super) is_known: bool,
    /// Whether some of it could not be looked at.
    pub(super) is_partial: bool,
    /// Whether it only stands for a file that Git LFS keeps elsewhere.
    pub(super) is_lfs_pointer: bool,
    /// The texts in it that have markers.
    pub(super) marked: Vec<Marked>,
}

/// Looks at an entry.
pub(super) fn look(
    tools: Tools<'_>,
    scratch: &mut Scratch,
    (origin, source): (Origin<'_>, &Source),
) -> Seen {
    let mut seen = Seen::default();
    if let Err(error) = look_into((tools, scratch), (origin, source), &mut seen) {
        let place = Place {
            shown: &source.shown,
            ..Place::default()
        };
        let text = error.to_string();
        let found = Found::by_code(&codes::FILE_UNREADABLE, &place, text);
        seen.found.push(found);
        seen.is_partial = true;
    }
    if let Some(commit) = &source.commit {
        seen.found
            .iter_mut()
            .for_each(|found| found.place_in(commit));
        for text in &mut seen.marked {
            text.commit = Some(commit.clone());
        }
    }
    seen
}

fn look_into(
    (tools, scratch): (Tools<'_>, &mut Scratch),
    (origin, source): (Origin<'_>, &Source),
    seen: &mut Seen,
) -> io::Result<()> {
    let item = Item {
        shown: &source.shown,
        member: None,
        path: source.path.as_bytes(),
    };
    let mut facts = Facts {
        kind: source.kind,
        mode: 0,
        size_bytes: 0,
        link_target: None,
    };
    if source.kind != Kind::File {
        let (mode, target) = outside(origin, source)?;
        (facts.mode, facts.link_target) = (mode, target.as_deref());
        seen.found.extend(tools.checks.entry(item, &facts));
        return Ok(());
    }
    let (bytes, mode, size_bytes) = inside(origin, source)?;
    (facts.mode, facts.size_bytes) = (mode, size_bytes);
    seen.found.extend(tools.checks.entry(item, &facts));
    look_inside((tools, scratch), (bytes, size_bytes), source, seen)
}

/// Looks into the content of a file.
pub(super) fn look_inside(
    (tools, scratch): (Tools<'_>, &mut Scratch),
    (bytes, size_bytes): (Bytes<'_>, u64),
    source: &Source,
    seen: &mut Seen,
) -> io::Result<()> {
    let mut inspector = Inspector::new(tools, scratch, (&source.shown, size_bytes));
    let lower = RelPath::parse(&source.path.as_bytes().to_ascii_lowercase());
    let place = content::Place::of_file(lower.unwrap_or_else(|_| source.path.clone()));
    let looked = inspector.content(bytes, &place);
    let inspection = inspector.out;
    seen.is_read = true;
    seen.bytes = inspection.bytes;
    seen.members = inspection.members;
    seen.decoded = inspection.decoded;
    seen.is_lfs_pointer = inspection.is_lfs_pointer;
    seen.is_partial = !inspection.gaps.is_empty();
    seen.found.extend(inspection.noted);
    let matches = inspection.matches.into_iter();
    seen.found
        .extend(matches.map(|one| found(tools.scanner, source, one)));
    seen.marked = marked(&source.shown, inspection.markers);
    let gaps = inspection.gaps.iter();
    seen.found.extend(gaps.map(|gap| told(source, gap)));
    looked
}

/// What a file gives whose content was found clean before: what is wrong with it from outside, and what was
/// counted then.
pub(super) fn look_outside(
    tools: Tools<'_>,
    source: &Source,
    (file, clean): (&inventory::File, Clean),
) -> Seen {
    let item = Item {
        shown: &source.shown,
        member: None,
        path: source.path.as_bytes(),
    };
    let facts = Facts {
        kind: Kind::File,
        mode: file.mode,
        size_bytes: file.size_bytes,
        link_target: None,
    };
    Seen {
        found: tools.checks.entry(item, &facts),
        is_read: true,
        bytes: clean.bytes,
        members: clean.members,
        decoded: clean.decoded,
        is_known: true,
        ..Seen::default()
    }
}

/// What is seen of an entry that has no content of its own: permission bits, and where it points.
fn outside(origin: Origin<'_>, source: &Source) -> io::Result<(u32, Option<Vec<u8>>)> {
    match origin {
        Origin::File(root) => {
            let mode = root.stat(&source.path)?.st_mode & 0o7777;
            let target = (source.kind == Kind::Symlink).then(|| root.read_link(&source.path));
            Ok((mode, target.transpose()?))
        }
        Origin::Blob { reader, .. } => {
            let mut target = Vec::new();
            reader
                .take(relpath::BYTES_MAX as u64)
                .read_to_end(&mut target)?;
            Ok((0, Some(target)))
        }
    }
}

/// The content of a file, its permission bits and its size.
fn inside<'o>(origin: Origin<'o>, source: &Source) -> io::Result<(Bytes<'o>, u32, u64)> {
    match origin {
        Origin::File(root) => {
            let (file, metadata) = open(root, &source.path)?;
            let mode = metadata.permissions().mode() & 0o7777;
            Ok((Bytes::File(file), mode, metadata.len()))
        }
        Origin::Blob {
            is_executable,
            size_bytes,
            reader,
        } => {
            let mode = if is_executable { 0o755 } else { 0o644 };
            Ok((Bytes::Stream(reader), mode, size_bytes))
        }
    }
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
                commit: None,
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
