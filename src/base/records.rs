//! A file of records of one length that a keyed MAC covers as a whole: a head that says what it is, the
//! records, the MAC. A file that is not exactly so is not believed. Must never know where the key comes
//! from, or what a record says.

use std::path::Path;

use subtle::ConstantTimeEq;

use super::digest::{Digest, Hasher};
use super::files::{self, FileError};

/// The MAC of a digest, by a key and for a purpose that the caller knows.
pub type MacFn<'a> = dyn Fn(&[u8]) -> [u8; MAC_BYTES] + Sync + 'a;

const MAC_BYTES: usize = 32;

/// Why a file is not believed; lower-case fragments.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It begins otherwise.
    #[error("it is not a cache of this version")]
    Head,
    /// It is not as it was written.
    #[error("{0}")]
    Content(&'static str),
    /// It cannot be read, or has too many bytes.
    #[error("{0}")]
    File(std::io::Error),
}

/// Loads the records of a file with that head and at most so many bytes; none where there is no file.
///
/// # Errors
/// Why the file is not believed.
pub fn load<const N: usize>(
    path: &Path,
    (head, bytes_max): (&[u8], u64),
    mac: &MacFn<'_>,
) -> Result<Vec<u8>, Refused> {
    match files::read_bounded(path, bytes_max) {
        Ok(bytes) => parse::<N>(bytes, head, mac),
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Refused::File(error.source)),
    }
}

/// Writes such a file, of mode 0600; its directory is created.
///
/// # Errors
/// What the system says; then the old file still stands.
pub fn save(
    path: &Path,
    (head, records): (&[u8], &[u8]),
    mac: &MacFn<'_>,
) -> Result<(), FileError> {
    files::create_private_directory(files::parent_of(path))?;
    let tag = mac(&covered(head, records).0);
    files::write_atomic(path, 0o600, |out| {
        out.write_all(head)?;
        out.write_all(records)?;
        out.write_all(&tag)
    })
}

fn parse<const N: usize>(
    mut bytes: Vec<u8>,
    head: &[u8],
    mac: &MacFn<'_>,
) -> Result<Vec<u8>, Refused> {
    let Some((content, tag)) = bytes.split_last_chunk::<MAC_BYTES>() else {
        return Err(Refused::Content("it is too short"));
    };
    let Some(records) = content.strip_prefix(head) else {
        return Err(Refused::Head);
    };
    if !bool::from(mac(&covered(head, records).0).ct_eq(tag)) {
        let reason = "its authentication code is not good: another key, or it was changed";
        return Err(Refused::Content(reason));
    }
    if !records.len().is_multiple_of(N) {
        return Err(Refused::Content("it has half a record"));
    }
    bytes.truncate(content.len());
    bytes.drain(..head.len());
    Ok(bytes)
}

/// What the MAC covers: a digest of all that stands before it, so that a large file needs no second copy in
/// memory.
fn covered(head: &[u8], records: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(head);
    hasher.update(records);
    hasher.finish()
}
