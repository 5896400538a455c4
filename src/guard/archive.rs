//! Files that hold files: tar, zip, and the one inside what is compressed. Leads each member to the
//! inspector, counts what it expands to, and never writes anything.

use std::io::{self, Cursor, Read, Seek};

use super::compression::Compression;
use super::content::{Bytes, GapKind, Inspector, Place};
use super::files::Bomb;

/// The largest zip archive inside another archive that is looked at: it has to be read whole.
const NESTED_ZIP_BYTES_MAX: u64 = 24 << 20;

/// A file that expands to more than it should, as an error that stops its decoder.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message())]
struct Expands(Bomb);

/// The error that stops an expansion.
pub(super) fn bomb(bomb: Bomb) -> io::Error {
    io::Error::other(Expands(bomb))
}

/// The bomb behind an error, also from within a decoder.
pub(super) fn bomb_of(error: &io::Error) -> Option<Bomb> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> =
        error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if let Some(Expands(bomb)) = error.downcast_ref() {
            return Some(*bomb);
        }
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

/// Reads at most what is left, and says so when there would have been more.
struct Metered<R> {
    inner: R,
    left: u64,
    taken: u64,
    too_much: Bomb,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.taken += read as u64;
        match self.taken <= self.left {
            true => Ok(read),
            false => Err(bomb(self.too_much)),
        }
    }
}

/// One member, under the limit of the whole file.
fn member(inspector: &mut Inspector<'_>, content: impl Read, place: &Place) -> io::Result<()> {
    let mut content = Metered {
        inner: content,
        left: inspector.expanded_left(),
        taken: 0,
        too_much: inspector.too_much(),
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
        match entry.header().entry_type().is_file() {
            true => member(inspector, entry, &inside)?,
            false => {
                let target = entry.link_name_bytes();
                inspector.note_member(&inside, target.as_deref(), b"");
            }
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
        if entry.is_file() {
            let looked = member(inspector, entry, &inside);
            match looked {
                Err(error) if bomb_of(&error).is_some() || inspector.is_interrupted() => {
                    return Err(error);
                }
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
        inspector.gap(place, GapKind::Large, reason);
        return Ok(());
    }
    zip(inspector, &mut Cursor::new(bytes), place)
}
