//! Digests kept from an earlier walk. Owns the file they are kept in; must never know where its
//! key comes from.
//!
//! A record is 80 bytes: what identifies the state of a file (device, inode, size, mtime, ctime),
//! whether it is known to have no extended attribute in that state (setting one changes ctime), and
//! the digest of its content. The file is a magic number, the records sorted by their bytes,
//! and a MAC over all of that. A file that is not exactly so is ignored as a whole.

use std::path::{Path, PathBuf};

use super::read::Stamp;
use crate::base::digest::Digest;
use crate::base::files::FileError;
use crate::base::records::{self, MacFn};

/// Device, inode, size, mtime and ctime seconds (8 bytes each), mtime and ctime nanoseconds
/// (4 each), big-endian, the last ones shifted by one bit, which is set where there is no extended
/// attribute; then the digest.
pub(super) type Record = [u8; KEY_BYTES + DIGEST_BYTES];

const KEY_BYTES: usize = 48;
const DIGEST_BYTES: usize = 32;
const MAGIC: &[u8; 16] = b"agp digests v1\n\0";
/// Room for six million files; a larger cache is ignored rather than loaded.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// The digests known of one tree, and the file that they are kept in.
pub struct Cache<'a> {
    path: PathBuf,
    mac: &'a MacFn<'a>,
    /// Whole records, sorted, unique; flat, so that a large file is not copied once more.
    bytes: Vec<u8>,
    discarded: Option<String>,
}

impl<'a> Cache<'a> {
    /// Loads what is known of a tree; nothing the first time, and nothing where the file is not
    /// as it was written (see [`Cache::discarded`]). `mac` is keyed, and its domain is this cache.
    pub fn load(directory: &Path, root: &Path, mac: &'a MacFn<'a>) -> Self {
        use std::os::unix::ffi::OsStrExt;
        // What cannot be resolved cannot be walked either, which the walk will say.
        let canonical = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let name = Digest::of(canonical.as_os_str().as_bytes()).to_string();
        let path = directory.join(format!("{}.digests", &name[..32]));
        const RECORD_BYTES: usize = size_of::<Record>();
        let loaded = records::load::<RECORD_BYTES>(&path, (MAGIC, FILE_BYTES_MAX), mac);
        let (bytes, discarded) = match loaded {
            Ok(bytes) => (bytes, None),
            Err(refused) => (Vec::new(), Some(refused.to_string())),
        };
        Self {
            path,
            mac,
            bytes,
            discarded,
        }
    }

    /// Why the file that was there is ignored; a lower-case fragment.
    pub fn discarded(&self) -> Option<&str> {
        self.discarded.as_deref()
    }

    /// The same with nothing known, so that everything is read.
    pub fn emptied(mut self) -> Self {
        self.bytes.clear();
        self
    }

    /// How many digests are known.
    pub fn len(&self) -> usize {
        self.records().len()
    }

    /// Whether no digest is known.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Replaces what is known by what the last walk found. A walk that leaves things out keeps what is known
    /// of them, unless most of what is known is of no use to it.
    pub(super) fn replace(&mut self, mut records: Vec<Record>, is_whole: bool) {
        if !is_whole && self.len() / 2 <= records.len() {
            records.extend_from_slice(self.records());
        }
        // Hard links give one record a name.
        records.sort_unstable();
        records.dedup();
        self.bytes = records.into_flattened();
    }

    /// What is known, sorted.
    pub(super) fn records(&self) -> &[Record] {
        self.bytes.as_chunks().0
    }

    /// Keeps what is known for the next time, in a file of mode 0600; its directory is created.
    ///
    /// # Errors
    /// What the system says; then the old file still stands.
    pub fn save(&self) -> Result<(), FileError> {
        records::save(&self.path, (MAGIC, &self.bytes), self.mac)
    }
}

impl std::fmt::Debug for Cache<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cache({} digests)", self.len())
    }
}

/// The part of a record that identifies a state, with nothing known of attributes.
pub(super) fn key(stamp: &Stamp) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (words, nanos) = key.split_at_mut(40);
    let values = [
        stamp.device,
        stamp.inode,
        stamp.size_bytes,
        stamp.modified.0.cast_unsigned(),
        stamp.changed.0.cast_unsigned(),
    ];
    for (word, value) in words.chunks_exact_mut(8).zip(values) {
        word.copy_from_slice(&value.to_be_bytes());
    }
    nanos[..4].copy_from_slice(&stamp.modified.1.to_be_bytes());
    // Nanoseconds need 30 bits.
    nanos[4..].copy_from_slice(&(stamp.changed.1 << 1).to_be_bytes());
    key
}

/// What is known of a file in one state.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) digest: Digest,
    /// Whether it has no extended attribute; false where nobody looked.
    pub(super) is_bare: bool,
}

impl Known {
    /// A digest, with nothing known of attributes.
    pub(super) fn of(digest: Digest) -> Self {
        Self {
            digest,
            is_bare: false,
        }
    }
}

pub(super) fn record(stamp: &Stamp, known: Known) -> Record {
    let mut record = [0; KEY_BYTES + DIGEST_BYTES];
    record[..KEY_BYTES].copy_from_slice(&key(stamp));
    record[KEY_BYTES - 1] |= u8::from(known.is_bare);
    record[KEY_BYTES..].copy_from_slice(&known.digest.0);
    record
}

/// What is known of exactly this state among sorted records.
pub(super) fn find(records: &[Record], stamp: &Stamp) -> Option<Known> {
    let key = key(stamp);
    let at = records.partition_point(|record| record[..KEY_BYTES] < key[..]);
    let (found, digest) = records.get(at)?.split_last_chunk()?;
    let is_bare = found[KEY_BYTES - 1] & 1 == 1;
    let is_same = found[..KEY_BYTES - 1] == key[..KEY_BYTES - 1]
        && found[KEY_BYTES - 1] == key[KEY_BYTES - 1] | u8::from(is_bare);
    is_same.then_some(Known {
        digest: Digest(*digest),
        is_bare,
    })
}
