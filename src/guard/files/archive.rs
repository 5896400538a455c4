//! What a member of an archive can do when it is unpacked, and what an archive can hide in. Pure:
//! whoever reads archives hands over what stands in them.

use super::super::notes::{Item, Notes};
use crate::base::units;

pub(super) const OUTSIDE: &str = "archive.outside";
pub(super) const LINK_OUTSIDE: &str = "archive.link_outside";
pub(super) const BOMB: &str = "archive.bomb";

/// A member of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Which: `path` is its name as it stands in the archive.
    pub item: Item<'a>,
    /// Where it points, if it is a link.
    pub link_target: Option<&'a [u8]>,
    /// Its content, or the beginning of it.
    pub content: &'a [u8],
    /// Whether that is the whole.
    pub is_whole: bool,
}

/// An archive that unpacks to too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bomb {
    /// It was not unpacked further than this.
    Bytes {
        /// What lies in the tree, bytes.
        packed: u64,
        /// What came out before it was given up, bytes.
        unpacked_min: u64,
    },
    /// Archives lie in archives, deeper than this.
    Depth(u64),
    /// More members than this.
    Members(u64),
}

impl Bomb {
    /// What it does, for people.
    pub fn message(&self) -> String {
        match self {
            Self::Bytes {
                packed,
                unpacked_min,
            } => format!(
                "{} unpack to more than {}",
                units::bytes(*packed),
                units::bytes(*unpacked_min)
            ),
            Self::Depth(depth) => format!("archives lie in archives, more than {depth} deep"),
            Self::Members(members) => format!("it has more than {members} members"),
        }
    }
}

/// Where a path leads, as far as its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Inside,
    Outside,
    Absolute,
}

pub(super) fn check(notes: &mut Notes<'_>, member: &Member<'_>) {
    let name = member.item.path;
    let shown = |bytes: &[u8]| units::printable(&String::from_utf8_lossy(bytes)).into_owned();
    if unpacks_to(name) != Leads::Inside {
        let message = format!(
            "the member `{}` is unpacked outside of its folder",
            shown(name)
        );
        notes.add(OUTSIDE, None, message);
    }
    let target = member
        .link_target
        .filter(|target| leads(name, target) != Leads::Inside);
    if let Some(target) = target {
        let message = format!(
            "a link in the archive points to `{}`, out of it",
            shown(target)
        );
        notes.add(LINK_OUTSIDE, None, message);
    }
}

/// Where a member's name leads on the systems that somebody may unpack it on.
fn unpacks_to(name: &[u8]) -> Leads {
    let has_drive =
        matches!(name, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    let name: Vec<u8> = name
        .iter()
        .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
        .collect();
    match has_drive {
        true => Leads::Absolute,
        false => leads(b"member", &name),
    }
}

/// Where a link at a path leads: by text alone, as if no folder on the way were a link itself.
pub(super) fn leads(path: &[u8], target: &[u8]) -> Leads {
    if target.starts_with(b"/") {
        return Leads::Absolute;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return Leads::Outside,
            },
            _ => depth += 1,
        }
    }
    Leads::Inside
}

/// The longest comment at the end of a zip archive, and what stands before it, bytes.
const ZIP_END_BYTES_MAX: usize = (1 << 16) + 22;

/// Whether a content ends as a zip archive with members does (APPNOTE.TXT, 4.3.16): the record of
/// its end, before it the directory, of the size that it states.
pub(super) fn ends_as_zip(content: &[u8]) -> bool {
    let start = content.len().saturating_sub(ZIP_END_BYTES_MAX);
    let tail = &content[start..];
    memchr::memmem::rfind(tail, b"PK\x05\x06").is_some_and(|at| {
        let number = |from: usize| {
            let bytes = tail.get(at + from..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        let size = number(12).filter(|size| *size > 0);
        let directory = size.and_then(|size| (start + at).checked_sub(size));
        directory.is_some_and(|from| content[from..].starts_with(b"PK\x01\x02"))
    })
}

/// The pickle in a NumPy array of objects (`numpy.lib.format`): behind a header that says so.
pub(super) fn array_of_objects(content: &[u8]) -> Option<&[u8]> {
    let rest = content.strip_prefix(b"\x93NUMPY")?;
    let (start, length): (usize, usize) = match rest {
        [1, _, low, high, ..] => (4, usize::from(u16::from_le_bytes([*low, *high]))),
        [2 | 3, _, a, b, c, d, ..] => (
            6,
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?,
        ),
        _ => return None,
    };
    let header = rest.get(start..start.checked_add(length)?)?;
    let of_objects = memchr::memmem::find(header, b"|O").or(memchr::memmem::find(header, b"'O'"));
    of_objects.map(|_| &rest[start + length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_links_lead_where_their_texts_say() {
        use Leads::*;
        for (name, expected) in [
            (&b"a/b"[..], Inside),
            (b"a/../b", Inside),
            (b"../b", Outside),
            (b"a/../../b", Outside),
            (b"..\\..\\b", Outside),
            (b"/etc/passwd", Absolute),
            (b"\\\\host\\share", Absolute),
            (b"C:\\windows", Absolute),
            (b"c:name", Inside),
            (b"..a/b", Inside),
        ] {
            assert_eq!(unpacks_to(name), expected, "{name:?}");
        }
        for (path, target, expected) in [
            (&b"a/link"[..], &b"../b"[..], Inside),
            (b"a/link", b"../../b", Outside),
            (b"link", b"..", Outside),
            (b"link", b".", Inside),
            (b"link", b"/b", Absolute),
            (b"a/b/link", b"c/../../../../x", Outside),
        ] {
            assert_eq!(leads(path, target), expected, "{path:?} {target:?}");
        }
    }

    #[test]
    fn the_end_of_a_zip_archive_is_one_only_with_its_directory() {
        let mut zip = b"PK\x01\x02directory".to_vec();
        let size = zip.len() as u32;
        zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        zip.extend(size.to_le_bytes());
        zip.extend([0; 6]);
        assert!(ends_as_zip(&zip));
        assert!(ends_as_zip(&[b"picture", &zip[..], b"comment"].concat()));
        assert!(!ends_as_zip(&zip[1..]));
        assert!(!ends_as_zip(b"PK\x05\x06"));
        assert!(!ends_as_zip(b""));
    }

    #[test]
    fn an_array_of_objects_has_its_pickle_behind_the_header() {
        let array = |version: &[u8], header: &[u8]| {
            let length = header.len() as u16;
            let mut all = b"\x93NUMPY".to_vec();
            all.extend(version);
            all.extend(length.to_le_bytes());
            all.extend(header);
            all.extend(b"rest");
            all
        };
        let objects = array(&[1, 0], b"{'descr': '|O', 'shape': (1,)}");
        assert_eq!(array_of_objects(&objects), Some(&b"rest"[..]));
        assert_eq!(array_of_objects(&array(&[1, 0], b"{'descr': '<f8'}")), None);
        assert_eq!(array_of_objects(&array(&[9, 0], b"{'descr': '|O'}")), None);
        assert_eq!(array_of_objects(b"\x93NUMPY\x01\0\xff\xff"), None);
    }
}
