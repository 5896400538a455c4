//! What a member of an archive can do when it is unpacked. Pure: whoever reads archives hands over
//! what stands in them.

use super::super::notes::{Item, Notes};
use super::link::leads_out;
use crate::base::units;

pub(super) const OUTSIDE: &str = "archive.outside";
pub(super) const LINK_OUTSIDE: &str = "archive.link_outside";
pub(super) const BOMB: &str = "archive.bomb";

/// A member of an archive.
#[derive(Clone, Copy, Debug)]
pub(in crate::guard) struct Member<'a> {
    /// Which: `path` is its name as it stands in the archive.
    pub(in crate::guard) item: Item<'a>,
    /// Where it points, if it is a link.
    pub(in crate::guard) link_target: Option<&'a [u8]>,
}

/// An archive that unpacks to too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Bomb {
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
    /// Notes that an archive is one.
    pub(in crate::guard) fn note(&self, notes: &mut Notes<'_>) {
        notes.add(BOMB, None, self.message());
    }

    /// What it does, for people.
    pub(in crate::guard) fn message(&self) -> String {
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

pub(super) fn check(notes: &mut Notes<'_>, member: &Member<'_>) {
    let name = member.item.path;
    let shown = |bytes: &[u8]| units::printable(&String::from_utf8_lossy(bytes)).into_owned();
    if is_unpacked_outside(name) {
        let message = format!(
            "the member `{}` is unpacked outside of its folder",
            shown(name)
        );
        notes.add(OUTSIDE, None, message);
    }
    let target = member.link_target.filter(|target| leads_out(name, target));
    if let Some(target) = target {
        let message = format!(
            "a link in the archive points to `{}`, out of it",
            shown(target)
        );
        notes.add(LINK_OUTSIDE, None, message);
    }
}

/// Whether a member's name leads out of the folder, on any system that it may be unpacked on.
fn is_unpacked_outside(name: &[u8]) -> bool {
    let has_drive =
        matches!(name, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    let is_backslash = |byte: &u8| if *byte == b'\\' { b'/' } else { *byte };
    let name: Vec<u8> = name.iter().map(is_backslash).collect();
    has_drive || leads_out(b"member", &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_unpacked_where_their_names_say() {
        for (name, expected) in [
            (&b"a/b"[..], false),
            (b"a/../b", false),
            (b"../b", true),
            (b"a/../../b", true),
            (b"..\\..\\b", true),
            (b"/etc/passwd", true),
            (b"\\\\host\\share", true),
            (b"C:\\windows", true),
            (b"c:name", false),
            (b"..a/b", false),
        ] {
            assert_eq!(is_unpacked_outside(name), expected, "{name:?}");
        }
    }
}
