//! A directory tree as a value: what is in it, how large, with which mode and digest.
//!
//! Owns the [`Inventory`], the one walk that [`take`]s it, and what tells two apart ([`diff`]).
//! Must never know why anybody asks: no manifest, no key, no snapshot, no rule.

mod cache;
mod details;
mod diff;
mod globs;
mod read;
mod share;
mod take;
mod walk;

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

pub use cache::Cache;
pub use details::{
    Attribute, Content, Detailed, Details, Keeper, attributes_at, attributes_of, path_at,
};
pub use diff::{Change, ChangeKind, diff};
pub use globs::{GlobError, Globs};
pub use share::{Share, survey};
pub use take::{CacheUse, CopyError, Taken, take, take_detailed, take_share, take_shown};
pub use walk::{Listing, Skipped, list, list_known};

use crate::base::digest::{Digest, Hasher};
use crate::base::relpath::RelPath;

/// What lies below a directory: every path once, sorted by the path's bytes. The directory itself
/// is no entry. May be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    entries: Vec<(RelPath, Entry)>,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file and the digest of its content.
    File(File),
    /// A symbolic link, never followed.
    Symlink(Symlink),
    /// A directory.
    Directory {
        /// Permission bits, 0 to 0o7777.
        mode: u32,
    },
    /// What can only be named: it is never opened.
    Special(Special),
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// Digest of the content.
    pub sha256: Digest,
    /// Permission bits with set-user, set-group and sticky, 0 to 0o7777.
    pub mode: u32,
    /// Time of the last change of content, Unix seconds; 0 for times before 1970.
    pub modified_seconds: u64,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symlink {
    /// Where it points, raw bytes, never resolved.
    pub target: Box<[u8]>,
    /// Permission bits; 0o777 on Linux.
    pub mode: u32,
    /// Time of the last change, Unix seconds; 0 for times before 1970.
    pub modified_seconds: u64,
}

/// What is neither file nor link nor directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device, or a kind that the system does not name.
    CharacterDevice,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// Anything else.
    Special(Special),
}

/// Counts over an inventory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Directories, the root not among them.
    pub directories: u64,
    /// Everything else.
    pub specials: u64,
    /// Bytes in regular files.
    pub size_bytes: u64,
}

/// A path is in a tree twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path `{}` is listed twice", crate::base::units::printable(&.0.to_string()))]
pub struct DuplicateError(pub RelPath);

/// Which tree is asked for, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The directory; it may be reached through links, nothing below it is.
    pub root: &'a std::path::Path,
    /// What is left out, together with everything below it.
    pub excludes: &'a Globs,
    /// Exact paths left out, together with everything below them.
    pub exempt: &'a [RelPath],
    /// What is expected, where that is all that matters: a file that is not in it, or is there
    /// with another size, differs without being read, and gets the digest [`NOT_READ`].
    pub expected: Option<&'a Inventory>,
    /// Where to tell how far the work is, and where to look whether to stop.
    pub progress: &'a Progress,
}

/// Stands for the digest of a file that was not read (see [`Request::expected`]). No content is
/// known to have it.
pub const NOT_READ: Digest = Digest([0; 32]);

/// How far a walk is; shared between threads. Counters only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries found that are to be read; grows while the walk lasts.
    pub files_total: AtomicU64,
    /// Entries read, or given up.
    pub files_done: AtomicU64,
    /// Bytes read from files.
    pub bytes_done: AtomicU64,
    /// Set by anyone, a signal handler perhaps, to make the work stop within a buffer's time.
    pub interrupted: Arc<AtomicBool>,
}

/// An entry that could not be taken in as it is. The other entries are not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The entry; `None` is the root itself.
    pub path: Option<RelPath>,
    /// What it means.
    pub kind: ProblemKind,
    /// What was found, for people; a lower-case fragment.
    pub reason: String,
}

/// What a [`Problem`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The system would not give its content, or the names in it.
    Unreadable,
    /// It changed, came, or went while it was read.
    Unstable,
}

/// Why there is no inventory at all.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The root cannot be opened as a directory.
    #[error("cannot open the directory `{}`", crate::base::units::printable(&.path.to_string_lossy()))]
    Open {
        /// The root.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody set [`Progress::interrupted`].
    #[error("interrupted")]
    Interrupted,
}

impl Inventory {
    /// An inventory of entries in any order.
    ///
    /// # Errors
    /// A path that comes twice.
    pub fn from_entries(mut entries: Vec<(RelPath, Entry)>) -> Result<Self, DuplicateError> {
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(DuplicateError(pair[0].0.clone())),
            None => Ok(Self { entries }),
        }
    }

    /// The entries, sorted by the bytes of their paths.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&RelPath, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path, entry))
    }

    /// The entry at a path.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        Some(&self.entries[self.position(path)?].1)
    }

    /// Where a path stands among all, from 0.
    pub fn position(&self, path: &RelPath) -> Option<usize> {
        let at = self.entries.binary_search_by(|(other, _)| other.cmp(path));
        at.ok()
    }

    /// The entry at such a position.
    pub fn nth(&self, position: usize) -> Option<(&RelPath, &Entry)> {
        self.entries
            .get(position)
            .map(|(path, entry)| (path, entry))
    }

    /// How many entries there are, of all kinds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the tree is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One digest for the whole tree: of its paths, kinds, modes and digests, in order.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (path, entry) in self.iter() {
            hasher.update(path.as_bytes());
            hasher.update(&[0]);
            hasher.update(entry.kind().name().as_bytes());
            hasher.update(&entry.mode().unwrap_or(0).to_be_bytes());
            match entry {
                Entry::File(file) => hasher.update(&file.sha256.0),
                Entry::Symlink(link) => hasher.update(&link.sha256().0),
                Entry::Directory { .. } | Entry::Special(_) => {}
            }
        }
        hasher.finish()
    }

    /// The part whose paths a pattern matches, or lie in a directory that one matches.
    pub fn filtered(&self, only: &Globs) -> Self {
        let matching = self.entries.iter().filter(|(path, _)| only.excludes(path));
        Self {
            entries: matching.cloned().collect(),
        }
    }

    /// The same tree with no time after `latest_seconds` (Unix seconds).
    pub fn with_times_at_most(mut self, latest_seconds: u64) -> Self {
        for (_, entry) in &mut self.entries {
            if let Entry::File(File {
                modified_seconds, ..
            })
            | Entry::Symlink(Symlink {
                modified_seconds, ..
            }) = entry
            {
                *modified_seconds = latest_seconds.min(*modified_seconds);
            }
        }
        self
    }

    /// Counts the entries by kind, and the bytes of the files.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, entry) in self.iter() {
            match entry {
                Entry::File(file) => {
                    totals.files += 1;
                    totals.size_bytes = totals.size_bytes.saturating_add(file.size_bytes);
                }
                Entry::Symlink(_) => totals.symlinks += 1,
                Entry::Directory { .. } => totals.directories += 1,
                Entry::Special(_) => totals.specials += 1,
            }
        }
        totals
    }
}

impl Entry {
    /// The type of the entry.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::File,
            Self::Symlink(_) => Kind::Symlink,
            Self::Directory { .. } => Kind::Directory,
            Self::Special(special) => Kind::Special(*special),
        }
    }

    /// Permission bits, where the kind has any that mean something: a link's are the system's.
    pub fn mode(&self) -> Option<u32> {
        match self {
            Self::File(file) => Some(file.mode),
            Self::Directory { mode } => Some(*mode),
            Self::Symlink(_) | Self::Special(_) => None,
        }
    }
}

impl Symlink {
    /// Digest of the target's bytes.
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.target)
    }

    /// Length of the target in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.target.len() as u64
    }
}

impl Kind {
    /// What the system says an entry is.
    pub fn of(kind: std::fs::FileType) -> Self {
        use std::os::unix::fs::FileTypeExt;
        match kind {
            _ if kind.is_file() => Self::File,
            _ if kind.is_dir() => Self::Directory,
            _ if kind.is_symlink() => Self::Symlink,
            _ if kind.is_fifo() => Self::Special(Special::Fifo),
            _ if kind.is_socket() => Self::Special(Special::Socket),
            _ if kind.is_block_device() => Self::Special(Special::BlockDevice),
            _ => Self::Special(Special::CharacterDevice),
        }
    }

    /// The kind's name: `file`, `symlink`, `directory`, `fifo`, `socket`, `block device`,
    /// `character device`.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::Directory => "directory",
            Self::Special(Special::Fifo) => "fifo",
            Self::Special(Special::Socket) => "socket",
            Self::Special(Special::BlockDevice) => "block device",
            Self::Special(Special::CharacterDevice) => "character device",
        }
    }
}

impl Progress {
    /// Whether somebody asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Sorts problems by path (the root first) and keeps the first of each path: one cause often
/// shows in several places.
fn settle(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    problems.dedup_by(|later, first| later.path.cmp(&first.path) == Ordering::Equal);
}

#[cfg(test)]
mod tests;
