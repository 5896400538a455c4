//! What the bytes of a file are: text in some encoding, or something that holds other files. Leads
//! every text, window by window, to the scanner; owns the limits that keep a small file from
//! becoming an endless one.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::atomic::Ordering;

use super::archive;
use super::compression::Compression;
use super::files::{Bomb, Member};
use super::found::Found;
use super::notes::Item;
use super::scan::{Match, Scanner, Scratch};
use super::suppress::Marker;
use super::watch::{Checks, Watch, Watched};
use super::wide::{self, WideReader};
use super::window::Windows;
use crate::base::relpath::RelPath;
use crate::inventory::Progress;

/// How much of a file decides what it is.
pub(super) const HEAD_BYTES: usize = 8192;
/// The beginning of a file that stands for one kept elsewhere by Git LFS.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// The longest pointer that Git LFS writes, in bytes; shorter than a head.
const LFS_POINTER_BYTES_MAX: usize = 1024;
/// Files inside files inside files: no further.
const DEPTH_MAX: u64 = 4;
/// What any file may expand to.
const EXPANDED_BYTES_FREE: u64 = 64 << 20;
/// What a byte of a file may expand to beyond that.
const EXPANDED_RATIO_MAX: u64 = 150;
/// The most that a file may expand to.
const EXPANDED_BYTES_MAX: u64 = 4 << 30;
/// The most members of an archive that are looked at.
const MEMBERS_MAX: u64 = 1_000_000;

/// What a file turned out to hold.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// In the order in which they were found.
    pub(super) matches: Vec<Located>,
    /// What checks have noted of contents and members.
    pub(super) noted: Vec<Found>,
    /// Bytes looked at, those of members included.
    pub(super) bytes: u64,
    /// Files found inside of it.
    pub(super) members: u64,
    /// Encoded texts that were decoded.
    pub(super) decoded: u64,
    /// Whether it only stands for a file that Git LFS keeps elsewhere.
    pub(super) is_lfs_pointer: bool,
    /// What could not be looked at.
    pub(super) gaps: Vec<Gap>,
    /// What their authors say of findings: a line's marker, and the file inside an archive.
    pub(super) markers: Vec<(Option<String>, Marker)>,
}

/// A match and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located {
    /// What was found; lines and columns are those of the member, or the file.
    pub(super) found: Match,
    /// The value's bytes.
    pub(super) value: Vec<u8>,
    /// The file inside an archive.
    pub(super) member: Option<String>,
    /// How the text was encoded, outermost first.
    pub(super) decoded: Vec<&'static str>,
}

/// Part of a file that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// The file inside an archive; `None` is the file itself.
    pub(super) member: Option<String>,
    /// What it means.
    pub(super) kind: GapKind,
    /// What was found, for people; a lower-case fragment.
    pub(super) reason: String,
}

/// What a [`Gap`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GapKind {
    /// It is encrypted.
    Encrypted,
    /// It is not what it says it is.
    Damaged,
    /// It is larger than can be looked at where it lies.
    Large,
}

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Wide(wide::Form),
    Compressed(Compression),
    Tar,
    Zip,
}

impl Form {
    fn wide(self) -> Option<wide::Form> {
        match self {
            Self::Wide(form) => Some(form),
            _ => None,
        }
    }
}

/// Where the bytes come from: zip archives are read from their end.
pub(super) enum Bytes<'r> {
    File(File),
    Stream(&'r mut (dyn Read + 'r)),
}

/// Where inside a file the work is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// For rules that look at paths.
    pub(super) path: RelPath,
    /// The file inside an archive.
    pub(super) member: Option<String>,
    /// Its name as it stands there.
    name: Option<Vec<u8>>,
    /// How many files it lies in.
    pub(super) depth: u64,
}

/// What everything is looked at with.
#[derive(Clone, Copy)]
pub(super) struct Tools<'a> {
    pub(super) scanner: &'a Scanner,
    pub(super) checks: &'a Checks<'a>,
    /// Where to tell how far the work is, and where to look whether to stop.
    pub(super) progress: &'a Progress,
}

/// Looks through one file.
pub(super) struct Inspector<'a> {
    pub(super) tools: Tools<'a>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) out: Inspection,
    /// The file, as one would type it.
    shown: &'a str,
    /// Bytes of the file itself.
    size_bytes: u64,
    /// Bytes that members have expanded to.
    expanded: u64,
    /// What they may expand to.
    expanded_max: u64,
}

impl<'a> Inspector<'a> {
    /// A file of that many bytes is to be looked through.
    pub(super) fn new(
        tools: Tools<'a>,
        scratch: &'a mut Scratch,
        (shown, size_bytes): (&'a str, u64),
    ) -> Self {
        let expanded_max = size_bytes
            .saturating_mul(EXPANDED_RATIO_MAX)
            .saturating_add(EXPANDED_BYTES_FREE)
            .min(EXPANDED_BYTES_MAX.max(size_bytes));
        Self {
            tools,
            scratch,
            shown,
            size_bytes,
            out: Inspection::default(),
            expanded: 0,
            expanded_max,
        }
    }

    /// Looks through content that stands at a place, and through what it holds.
    ///
    /// # Errors
    /// The file itself cannot be read, or somebody asked to stop. Trouble with what it holds is a
    /// gap.
    pub(super) fn content(&mut self, mut bytes: Bytes<'_>, place: &Place) -> io::Result<()> {
        let head = head_of(&mut bytes)?;
        let form = form_of(&head);
        let item = place.item(self.shown);
        let mut watch = self.tools.checks.watch(item, (&head, form.wide()));
        match place.depth {
            0 => self.out.is_lfs_pointer = is_lfs_pointer(&head),
            _ => self.note_member(place, None),
        }
        if matches!(form, Form::Compressed(_) | Form::Tar | Form::Zip) {
            self.out.noted.extend(watch.finish());
            if place.depth >= DEPTH_MAX {
                self.note_bomb(place, &Bomb::Depth(DEPTH_MAX));
                return Ok(());
            }
            return self.container(form, (bytes, &head), place);
        }
        let looked = self.text(form, (bytes, &head), (place, &mut watch));
        self.out.noted.extend(watch.finish());
        looked
    }

    /// A text, whatever its encoding.
    fn text<'h, 'r: 'h>(
        &mut self,
        form: Form,
        (bytes, head): (Bytes<'r>, &'h [u8]),
        (place, watch): (&Place, &mut Watch<'_>),
    ) -> io::Result<()> {
        let inner = &mut *whole(bytes, head);
        match form {
            Form::Wide(form) => {
                let inner = WideReader::new(inner, form);
                Windows::new(self, place).run(&mut Watched { inner, watch })
            }
            _ => Windows::new(self, place).run(&mut Watched { inner, watch }),
        }
    }

    /// Something that holds files. What turns out to be nothing of the kind is text.
    fn container<'h, 'r: 'h>(
        &mut self,
        form: Form,
        (bytes, head): (Bytes<'r>, &'h [u8]),
        place: &Place,
    ) -> io::Result<()> {
        let opened = match (form, bytes) {
            (Form::Zip, Bytes::File(mut file)) => {
                file.rewind()?;
                archive::zip(self, &mut file, place)
            }
            (Form::Zip, Bytes::Stream(rest)) => archive::nested_zip(self, (head, rest), place),
            (form, bytes) => {
                let mut reader = whole(bytes, head);
                match form {
                    Form::Compressed(compression) => {
                        archive::compressed(self, (compression, &mut *reader), place)
                    }
                    _ => archive::tar(self, &mut *reader, place),
                }
            }
        };
        match opened {
            Err(error) if self.is_interrupted() => Err(error),
            Err(error) => {
                match archive::bomb_of(&error) {
                    Some(bomb) => self.note_bomb(place, &bomb),
                    None => self.gap(place, GapKind::Damaged, error.to_string()),
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Notes what could not be looked at.
    pub(super) fn gap(&mut self, place: &Place, kind: GapKind, reason: String) {
        self.out.gaps.push(Gap {
            member: place.member.clone(),
            kind,
            reason,
        });
    }

    /// Counts a member of an archive; whether it is still to be looked at.
    pub(super) fn count_member(&mut self) -> io::Result<()> {
        self.out.members += 1;
        match self.out.members <= MEMBERS_MAX {
            true => Ok(()),
            false => Err(archive::bomb(Bomb::Members(MEMBERS_MAX))),
        }
    }

    /// Counts what a member expanded to.
    pub(super) fn expand(&mut self, bytes: u64) -> io::Result<()> {
        self.expanded += bytes;
        match self.expanded <= self.expanded_max {
            true => Ok(()),
            false => Err(archive::bomb(self.too_much())),
        }
    }

    /// The bomb that this file is, once it has expanded to what it may.
    pub(super) fn too_much(&self) -> Bomb {
        Bomb::Bytes {
            packed: self.size_bytes,
            unpacked_min: self.expanded_max,
        }
    }

    /// Notes what a member of an archive can do.
    pub(super) fn note_member(&mut self, place: &Place, link_target: Option<&[u8]>) {
        let item = place.item(self.shown);
        let noted = self.tools.checks.member(&Member { item, link_target });
        self.out.noted.extend(noted);
    }

    /// Notes that something expands to too much.
    fn note_bomb(&mut self, place: &Place, bomb: &Bomb) {
        let noted = self.tools.checks.bomb(&place.item(self.shown), bomb);
        self.out.noted.extend(noted);
    }

    /// What members may still expand to.
    pub(super) fn expanded_left(&self) -> u64 {
        self.expanded_max.saturating_sub(self.expanded)
    }

    /// Counts bytes that were looked at.
    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.out.bytes += bytes as u64;
        let done = &self.tools.progress.bytes_done;
        done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.tools.progress.interrupted.load(Ordering::Relaxed)
    }
}

impl Place {
    /// The place as checks see it.
    fn item<'s>(&'s self, shown: &'s str) -> Item<'s> {
        Item {
            shown,
            member: self.member.as_deref(),
            path: match &self.name {
                Some(name) => name,
                None => self.path.as_bytes(),
            },
        }
    }

    /// The file itself.
    pub(super) fn of_file(path: RelPath) -> Self {
        Self {
            path,
            member: None,
            name: None,
            depth: 0,
        }
    }

    /// A file inside of it. A name that is none keeps the place's own.
    pub(super) fn inside(&self, name: &[u8]) -> Self {
        let shown = String::from_utf8_lossy(name);
        let member = match &self.member {
            Some(outer) => format!("{outer}!{shown}"),
            None => shown.into_owned(),
        };
        Self {
            path: RelPath::parse(&name.to_ascii_lowercase()).unwrap_or_else(|_| self.path.clone()),
            member: Some(member),
            name: (!name.is_empty()).then(|| name.to_vec()),
            depth: self.depth + 1,
        }
    }
}

/// The first bytes, at most [`HEAD_BYTES`].
fn head_of(bytes: &mut Bytes<'_>) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let most = HEAD_BYTES as u64;
    match bytes {
        Bytes::File(file) => file.take(most).read_to_end(&mut head)?,
        Bytes::Stream(stream) => stream.take(most).read_to_end(&mut head)?,
    };
    Ok(head)
}

/// All of the content again, its head included.
fn whole<'h, 'r: 'h>(bytes: Bytes<'r>, head: &'h [u8]) -> Box<dyn Read + 'h> {
    match bytes {
        _ if head.len() < HEAD_BYTES => Box::new(head),
        Bytes::File(file) => Box::new(head.chain(file)),
        Bytes::Stream(stream) => Box::new(head.chain(stream)),
    }
}

/// Whether a file that begins so holds only a pointer to what Git LFS keeps elsewhere.
fn is_lfs_pointer(head: &[u8]) -> bool {
    head.len() <= LFS_POINTER_BYTES_MAX && head.starts_with(LFS_POINTER)
}

fn form_of(head: &[u8]) -> Form {
    if let Some(compression) = Compression::of(head) {
        return Form::Compressed(compression);
    }
    match head {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Form::Zip,
        _ if head.get(257..262) == Some(b"ustar") => Form::Tar,
        _ => wide::form_of(head).map_or(Form::Text, Form::Wide),
    }
}
