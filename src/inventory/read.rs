//! One entry below a held root: stat, read, hash, and stat again. Knows nothing of trees.
//!
//! A [`Reader`] belongs to one thread. It keeps the directory of the last entry open, since entries
//! come in runs of one directory, and one buffer, so that a file costs open, fstat, read, fstat,
//! close and no allocation.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::cache::{self, Known, Record};
use super::details::{Attribute, Details, Keeper, Wanted, attributes_at, attributes_of};
use super::share::Share;
use super::{Entry, File, Inventory, Kind, NOT_READ, ProblemKind, Progress, Symlink};
use crate::base::beneath::Root;
use crate::base::clock::Timestamp;
use crate::base::digest::{Digest, Hasher};
use crate::base::relpath::RelPath;

/// Bytes read at a time: within the second-level cache, and large enough to forget the call.
const BUFFER_BYTES: usize = 1 << 16;
/// The size of a memory page on most machines; a wrong guess costs speed alone.
const PAGE_BYTES: usize = 4096;
/// How often an entry that changes under the reader is read before it is called unstable.
const TRIES: usize = 3;
/// A timestamp younger than this may be shared by two states of a file (git's racy rule).
const RACY_MILLIS: i64 = 2000;
/// The same where it has a fraction of a second: its file system counts by the kernel's ticks, which are
/// ten milliseconds at most.
const RACY_FINE_MILLIS: i64 = 50;
/// One in so many digests from the cache is computed again.
const RECHECK_ONE_IN: u64 = 100;

/// What identifies a state of a file or directory: it changes whenever the content does, as far
/// as `ctime` can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size_bytes: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, u32),
    /// Seconds and nanoseconds.
    pub(super) changed: (i64, u32),
}

impl Stamp {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "each Unix has its own widths for these fields"
    )]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size_bytes: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    /// Whether both times are so much older than `now` that any later change must show in them.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let settled = |(seconds, nanos): (i64, u32)| {
            let millis = seconds
                .saturating_mul(1000)
                .saturating_add(i64::from(nanos / 1_000_000));
            let racy_millis = match nanos {
                0 => RACY_MILLIS,
                _ => RACY_FINE_MILLIS,
            };
            millis < now.unix_millis().saturating_sub(racy_millis)
        };
        settled(self.modified) && settled(self.changed)
    }
}

/// Permission bits of a state.
pub(super) fn mode_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// What all readers of one walk share.
pub(super) struct Source<'a> {
    pub(super) root: &'a Root,
    pub(super) progress: &'a Progress,
    /// Files outside of it, or of another size, need not be read.
    pub(super) expected: Option<&'a Inventory>,
    /// Whose work the content of files is.
    pub(super) share: Share<'a>,
    /// When the walk began.
    pub(super) started: Timestamp,
    /// Sorted; empty without a cache.
    pub(super) known: &'a [Record],
    /// Whether records for the next cache are wanted.
    pub(super) records: Recording,
    /// What is wanted besides the inventory.
    pub(super) wanted: Wanted<'a>,
    /// Draws the cached digests that are computed again, unforeseeably.
    pub(super) lottery: RandomState,
}

impl<'a> Source<'a> {
    /// Who has yet to see a file, of which the digest is known or not.
    fn lacking(&self, path: &RelPath, known: Option<Digest>) -> Vec<&'a dyn Keeper> {
        let keepers = self.wanted.keepers.iter().copied();
        let lacks = |keeper: &&dyn Keeper| known.is_none_or(|digest| !keeper.has(path, &digest));
        keepers.filter(lacks).collect()
    }
}

/// Whether a walk writes down what a cache needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    On,
    Off,
}

/// Why there is no entry.
#[derive(Debug)]
pub(super) enum Stop {
    /// The entry has a problem; the others go on.
    Problem(ProblemKind, String),
    /// The file has that many bytes, and large files are read last.
    Large(u64),
    /// A digest from the cache is not the file's.
    CacheLied,
    /// The content could not be kept, so that nothing more needs to be read.
    NotKept(std::io::Error),
    /// Everything ends here.
    Interrupted,
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        let text = match error {
            Errno::NOENT => "it went away while the tree was read",
            // The walk saw another kind of entry there, or a directory above it.
            Errno::LOOP => "a symbolic link came into its path while the tree was read",
            Errno::NOTDIR => "a directory above it was replaced while the tree was read",
            Errno::NXIO => "it became a socket or a device while the tree was read",
            _ => {
                let reason = std::io::Error::from(error).to_string();
                return Self::Problem(ProblemKind::Unreadable, reason);
            }
        };
        unstable(text)
    }
}

fn unstable(reason: &str) -> Stop {
    Stop::Problem(ProblemKind::Unstable, reason.to_owned())
}

/// Reads entries, one after the other.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    folder: Folder,
    buffer: Vec<u8>,
    /// Files above this are refused with [`Stop::Large`].
    size_bytes_max: u64,
    pub(super) tally: Tally,
    /// Details of the entry read last, where they are wanted.
    pub(super) details: Option<Details>,
    /// Attributes of the file read last, from between its two stats.
    attributes: Box<[Attribute]>,
}

/// What a reader did, besides its entries.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: Vec<Record>,
    pub(super) reused: u64,
    pub(super) rechecked: u64,
    pub(super) hashed_bytes: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source<'a>, size_bytes_max: u64) -> Self {
        Self {
            source,
            folder: Folder::default(),
            buffer: Vec::new(),
            size_bytes_max,
            tally: Tally::default(),
            details: None,
            attributes: Box::default(),
        }
    }

    /// The entry at a path that a walk saw as this kind; not for directories.
    pub(super) fn read(&mut self, path: &RelPath, kind: Kind) -> Result<Entry, Stop> {
        let mut tries = 1;
        loop {
            let entry = match kind {
                Kind::File => self.file(path),
                Kind::Symlink => self.symlink(path),
                Kind::Directory => Err(unstable("it became a directory while the tree was read")),
                Kind::Special(special) => self.special(path).map(|()| Entry::Special(special)),
            };
            match entry {
                Err(Stop::Problem(ProblemKind::Unstable, _)) if tries < TRIES => {
                    tries += 1;
                    self.folder = Folder::default();
                }
                entry => return entry,
            }
        }
    }

    fn file(&mut self, path: &RelPath) -> Result<Entry, Stop> {
        let size_expected = match self.source.expected.map(|expected| expected.get(path)) {
            None => None,
            Some(Some(Entry::File(file))) => Some(file.size_bytes),
            Some(_) => return self.unread(path, NOT_READ),
        };
        if let Some(digest) = self.source.share.digest_of(path) {
            return self.unread(path, digest);
        }
        let (at, name) = self.folder.locate(self.source.root, path)?;
        let known = match self.source.known {
            [] => None,
            known => {
                let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let stamp = Stamp::of(&stat);
                let usable = is_file(&stat) && stamp.is_settled(self.source.started);
                let known = usable.then(|| cache::find(known, &stamp)).flatten();
                known.map(|known| (stat, stamp, known))
            }
        };
        let known_digest = known.as_ref().map(|(.., known)| known.digest);
        let lacking = self.source.lacking(path, known_digest);
        if let Some((stat, stamp, Known { digest, is_bare })) = known
            && lacking.is_empty()
        {
            let draw = self.source.lottery.hash_one(cache::key(&stamp));
            let other_size = size_expected.is_some_and(|size| size != stamp.size_bytes);
            if other_size || !draw.is_multiple_of(RECHECK_ONE_IN) {
                self.tally.reused += 1;
                // What changes attributes changes the state.
                if self.source.wanted.details && !is_bare {
                    self.attributes = attributes_at(at, name)?;
                    let after = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if Stamp::of(&after) != stamp {
                        return Err(unstable("it changed while it was read"));
                    }
                }
                return Ok(self.note(&stat, Known { digest, is_bare }));
            }
            let (stat, found) = self.hash(path, None, &[])?;
            self.tally.rechecked += 1;
            return match found == digest || Stamp::of(&stat) != stamp {
                true => Ok(self.note(&stat, Known::of(found))),
                false => Err(Stop::CacheLied),
            };
        }
        let (stat, digest) = self.hash(path, size_expected, &lacking)?;
        Ok(self.note(&stat, Known::of(digest)))
    }

    /// A file whose content is known, or does not matter: what is seen of it from outside.
    fn unread(&mut self, path: &RelPath, digest: Digest) -> Result<Entry, Stop> {
        let (at, name) = self.folder.locate(self.source.root, path)?;
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match is_file(&stat) {
            true => Ok(self.note(&stat, Known::of(digest))),
            false => Err(unstable(
                "it became another kind of entry while the tree was read",
            )),
        }
    }

    /// Makes the entry, and a record for the next time where the state is old enough to tell.
    fn note(&mut self, stat: &Stat, known: Known) -> Entry {
        let (stamp, sha256) = (Stamp::of(stat), known.digest);
        let wanted = self.source.records == Recording::On && sha256 != NOT_READ;
        if wanted && stamp.is_settled(self.source.started) {
            let looked = self.source.wanted.details && self.attributes.is_empty();
            let known = Known {
                is_bare: known.is_bare || looked,
                ..known
            };
            self.tally.records.push(cache::record(&stamp, known));
        }
        self.detail(stat);
        Entry::File(File {
            size_bytes: stamp.size_bytes,
            sha256,
            mode: mode_of(stat),
            modified_seconds: seconds_since_1970(&stamp),
        })
    }

    /// The digest of a file that had one state from before the first byte to after the last, its content
    /// shown to keepers; [`NOT_READ`] where its size is not the expected one.
    fn hash(
        &mut self,
        path: &RelPath,
        size_expected: Option<u64>,
        keepers: &[&dyn Keeper],
    ) -> Result<(Stat, Digest), Stop> {
        let (at, name) = self.folder.locate(self.source.root, path)?;
        let file = rustix::fs::openat(at, name, READ, Mode::empty())?;
        let before = rustix::fs::fstat(&file)?;
        if !is_file(&before) {
            return Err(unstable(
                "it became another kind of entry while the tree was read",
            ));
        }
        let size = Stamp::of(&before).size_bytes;
        if size_expected.is_some_and(|expected| expected != size) {
            return Ok((before, NOT_READ));
        }
        if size > self.size_bytes_max {
            return Err(Stop::Large(size));
        }
        let mut contents = Vec::with_capacity(keepers.len());
        for keeper in keepers {
            let content = keeper.begin(path, file.as_fd(), size);
            contents.push(content.map_err(Stop::NotKept)?);
        }
        // A walk that reuses every digest needs no buffer.
        self.buffer.resize(BUFFER_BYTES + PAGE_BYTES, 0);
        // The kernel copies whole pages fastest to where pages begin.
        let page = self.buffer.as_ptr().align_offset(PAGE_BYTES);
        let buffer = &mut self.buffer[page.min(PAGE_BYTES)..][..BUFFER_BYTES];
        let mut hasher = Hasher::default();
        let mut done = 0;
        loop {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
            hasher.update(&buffer[..read]);
            for content in &mut contents {
                content.take_in(&buffer[..read]).map_err(Stop::NotKept)?;
            }
            done += read as u64;
            self.source
                .progress
                .bytes_done
                .fetch_add(read as u64, Ordering::Relaxed);
            // At the expected end no further read is needed: growth shows in the second stat.
            if read == 0 || done >= size {
                break;
            }
            if self.source.progress.is_interrupted() {
                return Err(Stop::Interrupted);
            }
        }
        self.tally.hashed_bytes += done;
        if self.source.wanted.details {
            self.attributes = attributes_of(file.as_fd())?;
        }
        let after = rustix::fs::fstat(&file)?;
        if Stamp::of(&before) != Stamp::of(&after) {
            return Err(unstable("it changed while it was read"));
        }
        if done != size {
            let reason = format!("it gave {done} bytes where its size is {size}");
            return Err(Stop::Problem(ProblemKind::Unstable, reason));
        }
        let digest = hasher.finish();
        for content in contents {
            content.finish(digest).map_err(Stop::NotKept)?;
        }
        Ok((after, digest))
    }

    /// Notes the details of an entry whose attributes were read a moment ago.
    fn detail(&mut self, stat: &Stat) {
        if self.source.wanted.details {
            let attributes = std::mem::take(&mut self.attributes);
            self.details = Some(Details::of(stat, attributes));
        }
    }

    /// What is never opened has details all the same.
    fn special(&mut self, path: &RelPath) -> Result<(), Stop> {
        if !self.source.wanted.details {
            return Ok(());
        }
        let (at, name) = self.folder.locate(self.source.root, path)?;
        let before = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.attributes = attributes_at(at, name)?;
        let after = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if Stamp::of(&before) != Stamp::of(&after) || is_file(&after) {
            return Err(unstable("it changed while it was read"));
        }
        self.detail(&after);
        Ok(())
    }

    fn symlink(&mut self, path: &RelPath) -> Result<Entry, Stop> {
        let (at, name) = self.folder.locate(self.source.root, path)?;
        let before = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let target = match rustix::fs::readlinkat(at, name, Vec::new()) {
            Err(Errno::INVAL) => {
                return Err(unstable(
                    "it became another kind of entry while the tree was read",
                ));
            }
            target => target?.into_bytes(),
        };
        if self.source.wanted.details {
            self.attributes = attributes_at(at, name)?;
        }
        let after = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let stamp = Stamp::of(&after);
        if stamp != Stamp::of(&before) {
            return Err(unstable("it changed while it was read"));
        }
        self.detail(&after);
        Ok(Entry::Symlink(Symlink {
            target: target.into(),
            mode: mode_of(&after),
            modified_seconds: seconds_since_1970(&stamp),
        }))
    }
}

/// Flags of an open beside its parent: never block on a FIFO, never follow, never leak.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY);

pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn seconds_since_1970(stamp: &Stamp) -> u64 {
    u64::try_from(stamp.modified.0).unwrap_or(0)
}

/// The directory that was opened last, beneath the root.
#[derive(Default)]
struct Folder {
    held: Option<(Box<[u8]>, OwnedFd)>,
}

impl Folder {
    /// The open parent of an entry, and the entry's name in it: one component, so that opening it
    /// without following a link cannot lead elsewhere.
    fn locate<'s>(
        &'s mut self,
        root: &'s Root,
        path: &'s RelPath,
    ) -> Result<(BorrowedFd<'s>, &'s [u8]), Stop> {
        let bytes = path.as_bytes();
        let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/') else {
            return Ok((root.as_descriptor(), bytes));
        };
        let (parent, name) = (&bytes[..slash], &bytes[slash + 1..]);
        if self.held.as_ref().is_none_or(|(held, _)| **held != *parent) {
            self.held = None;
            if let Some(above) = path.parent() {
                let opened = root.open_directory(&above).map_err(errno)?;
                self.held = Some((parent.into(), opened));
            }
        }
        let at = self
            .held
            .as_ref()
            .map_or(root.as_descriptor(), |(_, at)| at.as_fd());
        Ok((at, name))
    }
}

/// The system's error within the standard library's.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
