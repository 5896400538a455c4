//! Files that hold files: tar, zip, and the one inside what is compressed. Leads each member to the
//! inspector, counts what it expands to, and never writes anything.

use std::io::{self, Cursor, Read, Seek};

use super::compression::Compression;
use super::content::{Bytes, GapKind, Inspector, Place};

/// The largest zip archive inside another archive that is looked at: it has to be read whole.
const NESTED_ZIP_BYTES_MAX: u64 = 24 << 20;

/// A file that expands to more than it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Bomb(String);

/// The error that stops an expansion.
pub(super) fn bomb(reason: String) -> io::Error {
    io::Error::other(Bomb(reason))
}

/// Whether an error is ours for what expands too much, also from within a decoder.
pub(super) fn is_bomb(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if error.is::<Bomb>() {
            return true;
        }
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    false
}

/// Reads at most what is left, and says so when there would have been more.
struct Metered<R> {
    inner: R,
    left: u64,
    taken: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.taken += read as u64;
        match self.taken <= self.left {
            true => Ok(read),
            false => Err(bomb(format!(
                "it expands to more than {}",
                crate::base::units::bytes(self.left)
            ))),
        }
    }
}

/// One member, under the limit of the whole file.
fn member(inspector: &mut Inspector<'_>, content: impl Read, place: &Place) -> io::Result<()> {
    let mut content = Metered {
        inner: content,
        left: inspector.expanded_left(),
        taken: 0,
    };
    let looked = inspector.content(Bytes::Stream(&mut content), place);
    let taken = content.taken;
    inspector.expand(taken)?;
    looked
}

/// A single compressed file.
pub(super) fn compressed(
    inspector: &mut Inspector<'_>,
    (compression, content): (Compression, &mut dyn Read),
    place: &Place,
) -> io::Result<()> {
    let name = place.path.as_bytes();
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let stem = [&b".gz"[..], b".zst", b".tgz", b".xz", b".bz2"]
        .iter()
        .find_map(|ending| name.strip_suffix(*ending));
    inspector.count_member()?;
    let inside = place.inside(stem.unwrap_or(b"content"));
    member(inspector, compression.expand(content)?, &inside)
}

/// A tar archive.
pub(super) fn tar(
    inspector: &mut Inspector<'_>,
    content: &mut dyn Read,
    place: &Place,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path_bytes().into_owned();
        let inside = place.inside(&name);
        inspector.count_member()?;
        note_escape(inspector, &name, &inside);
        if entry.header().entry_type().is_file() {
            member(inspector, entry, &inside)?;
        }
    }
    Ok(())
}

/// A zip archive that can be read from its end.
pub(super) fn zip(
    inspector: &mut Inspector<'_>,
    content: &mut (impl Read + Seek),
    place: &Place,
) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(content).map_err(io::Error::other)?;
    for number in 0..archive.len() {
        inspector.count_member()?;
        let listed = match archive.name_for_index(number) {
            Some(Ok(name)) => name.into_owned(),
            _ => String::new(),
        };
        let entry = match archive.by_index(number) {
            Ok(entry) => entry,
            Err(error) => {
                let kind = match error {
                    zip::result::ZipError::UnsupportedArchive(_)
                    | zip::result::ZipError::InvalidPassword => GapKind::Encrypted,
                    _ => GapKind::Damaged,
                };
                inspector.gap(&place.inside(listed.as_bytes()), kind, error.to_string());
                continue;
            }
        };
        let name = entry.name_raw().to_vec();
        let inside = place.inside(&name);
        note_escape(inspector, &name, &inside);
        if entry.is_file() {
            let looked = member(inspector, entry, &inside);
            match looked {
                Err(error) if is_bomb(&error) || inspector.is_interrupted() => return Err(error),
                Err(error) => inspector.gap(&inside, GapKind::Damaged, error.to_string()),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// A zip archive inside another archive.
pub(super) fn nested_zip(
    inspector: &mut Inspector<'_>,
    (head, rest): (&[u8], &mut dyn Read),
    place: &Place,
) -> io::Result<()> {
    let mut bytes = head.to_vec();
    rest.take(NESTED_ZIP_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NESTED_ZIP_BYTES_MAX {
        let reason = format!(
            "a zip archive inside another is larger than {}",
            crate::base::units::bytes(NESTED_ZIP_BYTES_MAX)
        );
        inspector.gap(place, GapKind::Deep, reason);
        return Ok(());
    }
    zip(inspector, &mut Cursor::new(bytes), place)
}

/// A member whose name leads out of where the archive is unpacked.
fn note_escape(inspector: &mut Inspector<'_>, name: &[u8], inside: &Place) {
    let is_absolute = name.starts_with(b"/") || name.get(1) == Some(&b':');
    let is_parent = |component: &[u8]| component == b"..";
    if is_absolute
        || name
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(is_parent)
    {
        let reason = "unpacking it would write outside of the folder".to_owned();
        inspector.gap(inside, GapKind::Escaping, reason);
    }
}
