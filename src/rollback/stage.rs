//! Builds a tree beside the live one: every call is relative to a held directory, every object's
//! digest is checked while it is written, and metadata is set in an order that nothing undoes:
//! content, owner (which clears set-user bits and capabilities), mode, attributes, times;
//! directories last, the deepest first.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::error::{RollbackError, at};
use super::objects::{Objects, ReadError, Wanted};
use super::snapshot::Target;
use crate::base::beneath::Root;
use crate::base::digest::Hasher;
use crate::base::files::FileError;
use crate::base::relpath::RelPath;
use crate::inventory::{self, Details, Entry, Progress};

/// Entries that one thread makes in a row.
const BATCH: usize = 64;
/// Files above this are made alone, bytes.
const LARGE_BYTES: u64 = 1 << 20;

/// What to build, and out of what.
pub(super) struct Request<'a> {
    /// What the tree is to be.
    pub(super) desired: &'a Target,
    /// What the live tree is, where unchanged files may be linked instead of copied.
    pub(super) live: Option<&'a Target>,
    /// Where to build: an empty directory that nobody else may enter.
    pub(super) staged: &'a Path,
    /// Where content comes from.
    pub(super) objects: &'a Objects,
    /// How far the work is, and whether to stop.
    pub(super) progress: &'a Progress,
}

/// How a tree was built.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// Files that are the live ones.
    pub(super) linked: AtomicU64,
    /// Files written out of objects.
    pub(super) written: AtomicU64,
}

type Item<'a> = (&'a RelPath, &'a Entry, &'a Details);

/// Builds the tree.
pub(super) fn build(request: &Request<'_>) -> Result<Built, RollbackError> {
    let shown = request.staged.to_string_lossy();
    let root = Root::open(request.staged).map_err(at("open", &*shown))?;
    let live = match request.live {
        Some(live) => Some((
            Root::open(&live.path).map_err(at("open", live.path.to_string_lossy()))?,
            live,
        )),
        None => None,
    };
    // What is made in here must not inherit ACLs from where it happens to be made.
    remove_others(root.as_descriptor(), &Details::default()).map_err(at("prepare", &*shown))?;
    let builder = Builder {
        request,
        root,
        live,
        built: Built::default(),
    };
    let mut directories = Vec::new();
    let mut others = Vec::new();
    let mut followers = Vec::new();
    let mut leaders: Vec<&RelPath> = Vec::new();
    for item @ (path, entry, details) in request.desired.entries() {
        match (entry, details.inode_shared) {
            (Entry::Directory { .. }, _) => {
                builder.make_directory(path)?;
                directories.push(item);
            }
            // Groups are numbered from 1 in the order of the paths.
            (_, Some(group)) if group <= leaders.len() as u64 => followers.push((path, group)),
            (_, group) => {
                leaders.extend(group.map(|_| path));
                others.push(item);
            }
        }
    }
    let files = others.len() as u64;
    request
        .progress
        .files_total
        .fetch_add(files, Ordering::Relaxed);
    // The largest first and alone, so that no thread ends long after the others.
    let size = |(_, entry, _): &Item<'_>| match entry {
        Entry::File(file) => file.size_bytes,
        _ => 0,
    };
    let (mut large, small): (Vec<Item<'_>>, Vec<Item<'_>>) = others
        .into_iter()
        .partition(|item| size(item) > LARGE_BYTES);
    large.sort_by_key(|item| std::cmp::Reverse(size(item)));
    let batches: Vec<&[Item<'_>]> = large.chunks(1).chain(small.chunks(BATCH)).collect();
    batches
        .par_iter()
        .with_max_len(1)
        .try_for_each(|batch| builder.make_all(batch))?;
    for (path, group) in followers {
        let leader = usize::try_from(group)
            .ok()
            .and_then(|group| leaders.get(group - 1));
        builder.link_follower(leader.copied().unwrap_or(path), path)?;
    }
    for (path, _, details) in directories.into_iter().rev() {
        let directory = builder.root.open_directory(path);
        let set = directory.and_then(|directory| set_all(directory.as_fd(), details));
        set.map_err(at("set the attributes of", builder.shown(path)))?;
    }
    let own = set_all(builder.root.as_descriptor(), &request.desired.root);
    own.map_err(at("set the attributes of", &*shown))?;
    Ok(builder.built)
}

struct Builder<'a> {
    request: &'a Request<'a>,
    root: Root,
    live: Option<(Root, &'a Target)>,
    built: Built,
}

/// What a thread keeps between two entries.
#[derive(Default)]
struct Desk {
    buffer: Vec<u8>,
    /// The directory that was opened last.
    held: Option<(Option<RelPath>, OwnedFd)>,
}

impl Builder<'_> {
    fn shown(&self, path: &RelPath) -> String {
        super::save::below(&self.request.staged.to_string_lossy(), Some(path))
    }

    fn make_directory(&self, path: &RelPath) -> Result<(), RollbackError> {
        let make = || {
            let (parent, name) = self.root.parent_of(path)?;
            let at = parent
                .as_ref()
                .map_or(self.root.as_descriptor(), OwnedFd::as_fd);
            Ok::<_, io::Error>(rustix::fs::mkdirat(at, name, Mode::RWXU)?)
        };
        make().map_err(at("create the directory", self.shown(path)))
    }

    fn make_all(&self, batch: &[Item<'_>]) -> Result<(), RollbackError> {
        let mut desk = Desk::default();
        for item in batch {
            if self.request.progress.is_interrupted() {
                return Err(RollbackError::Interrupted);
            }
            self.make(item, &mut desk)?;
            self.request
                .progress
                .files_done
                .fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn make(
        &self,
        (path, entry, details): &Item<'_>,
        desk: &mut Desk,
    ) -> Result<(), RollbackError> {
        let parent = path.parent();
        if desk.held.as_ref().is_none_or(|(held, _)| *held != parent) {
            let opened = match &parent {
                Some(parent) => self.root.open_directory(parent),
                None => self.root.as_descriptor().try_clone_to_owned(),
            };
            desk.held = Some((parent, opened.map_err(at("open", self.shown(path)))?));
        }
        let Desk { buffer, held } = desk;
        let Some((_, directory)) = held else {
            return Ok(());
        };
        let directory = directory.as_fd();
        let bytes = path.as_bytes();
        let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes);
        let made = match entry {
            Entry::File(file) => {
                let wanted = Wanted {
                    digest: file.sha256,
                    size_bytes: file.size_bytes,
                };
                if self.link_live((path, details), &wanted, (directory, name), buffer) {
                    self.built.linked.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                self.built.written.fetch_add(1, Ordering::Relaxed);
                return self.write((path, details), &wanted, (directory, name), buffer);
            }
            Entry::Symlink(link) => rustix::fs::symlinkat(&*link.target, directory, name),
            Entry::Special(_) => {
                rustix::fs::mknodat(directory, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            }
            Entry::Directory { .. } => Ok(()),
        };
        made.map_err(at("create", self.shown(path)))?;
        let is_link = matches!(entry, Entry::Symlink(_));
        set_unopened((directory, name), details, is_link)
            .map_err(at("set the attributes of", self.shown(path)))
    }

    /// Links the live file in where it is what is wanted in every respect. Its content is hashed
    /// through the new name, so that what was hashed is what is there.
    fn link_live(
        &self,
        (path, details): (&RelPath, &Details),
        wanted: &Wanted,
        (directory, name): (BorrowedFd<'_>, &[u8]),
        buffer: &mut Vec<u8>,
    ) -> bool {
        let Some((root, live)) = &self.live else {
            return false;
        };
        let is_same = match live.find(path) {
            Some((Entry::File(file), there)) => {
                let single = there.inode_shared.is_none() && details.inode_shared.is_none();
                file.sha256 == wanted.digest && single && there.is_equal_copy(details)
            }
            _ => false,
        };
        if !is_same {
            return false;
        }
        let mut link = || {
            let (parent, live_name) = root.parent_of(path)?;
            let at = parent.as_ref().map_or(root.as_descriptor(), OwnedFd::as_fd);
            rustix::fs::linkat(at, live_name, directory, name, AtFlags::empty())?;
            is_what_is_wanted((directory, name), (wanted, details), buffer)
        };
        match link() {
            Ok(true) => true,
            // Not linked, or not the file that it was a moment ago: the object is as good.
            Ok(false) | Err(_) => {
                let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
                false
            }
        }
    }

    fn write(
        &self,
        (path, details): (&RelPath, &Details),
        wanted: &Wanted,
        (directory, name): (BorrowedFd<'_>, &[u8]),
        buffer: &mut Vec<u8>,
    ) -> Result<(), RollbackError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Nobody else can enter the directory. The mask may take some bits away again.
        let bits = Mode::from_raw_mode((details.mode & 0o777) as _);
        let file = rustix::fs::openat(directory, name, flags, bits);
        let file = File::from(file.map_err(at("create", self.shown(path)))?);
        let copied = self
            .request
            .objects
            .copy(wanted, (&file, details.sparse), buffer);
        copied.map_err(|error| match error {
            ReadError::Write(source) => at("write", self.shown(path))(source),
            damaged => RollbackError::Damaged {
                path: self.request.objects.shown(&wanted.digest),
                reason: damaged.to_string(),
            },
        })?;
        self.request
            .progress
            .bytes_done
            .fetch_add(wanted.size_bytes, Ordering::Relaxed);
        set_all(file.as_fd(), details).map_err(at("set the attributes of", self.shown(path)))
    }

    fn link_follower(&self, leader: &RelPath, path: &RelPath) -> Result<(), RollbackError> {
        let link = || {
            let (from, from_name) = self.root.parent_of(leader)?;
            let (to, to_name) = self.root.parent_of(path)?;
            let own = self.root.as_descriptor();
            let from = from.as_ref().map_or(own, OwnedFd::as_fd);
            let to = to.as_ref().map_or(own, OwnedFd::as_fd);
            Ok::<_, io::Error>(rustix::fs::linkat(
                from,
                from_name,
                to,
                to_name,
                AtFlags::empty(),
            )?)
        };
        link().map_err(at("link", self.shown(path)))
    }
}

/// Whether a file is a single one with these details and this content.
fn is_what_is_wanted(
    (directory, name): (BorrowedFd<'_>, &[u8]),
    (wanted, details): (&Wanted, &Details),
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
    let meta = file.metadata()?;
    let same = meta.is_file()
        && meta.len() == wanted.size_bytes
        // The live name and this one, and no third that could be written through.
        && meta.nlink() == 2
        && (meta.mode() & 0o7777, meta.uid(), meta.gid())
            == (details.mode, details.user, details.group)
        && (meta.mtime(), meta.mtime_nsec()) == (details.modified.0, i64::from(details.modified.1))
        && inventory::attributes_of(file.as_fd())? == details.attributes;
    if !same {
        return Ok(false);
    }
    buffer.resize(1 << 17, 0);
    let mut hasher = Hasher::default();
    loop {
        match file.read(buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finish() == wanted.digest)
}

/// Gives an open file or directory everything that a snapshot keeps of it.
pub(super) fn set_all(file: BorrowedFd<'_>, details: &Details) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    let has_owner = (stat.st_uid, stat.st_gid) == (details.user, details.group);
    if !has_owner {
        rustix::fs::fchown(file, uid(details), gid(details))?;
    }
    // A change of owner may have taken bits away.
    if !has_owner || stat.st_mode & 0o7777 != details.mode {
        rustix::fs::fchmod(file, mode(details))?;
    }
    for (name, value) in &details.attributes {
        rustix::fs::fsetxattr(file, &**name, value, rustix::fs::XattrFlags::empty())?;
    }
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        remove_others(file, details)?;
    }
    Ok(rustix::fs::futimens(file, &times(details))?)
}

/// A directory inherits a default ACL from the one that it is made in, and a live one may have any
/// attribute: what the snapshot does not have goes.
fn remove_others(file: BorrowedFd<'_>, details: &Details) -> io::Result<()> {
    for (name, _) in &inventory::attributes_of(file)? {
        let is_wanted = details.attributes.iter().any(|(wanted, _)| wanted == name);
        if !is_wanted && !name.starts_with(b"security.") {
            rustix::fs::fremovexattr(file, &**name)?;
        }
    }
    Ok(())
}

/// The same for what is not opened: a link itself, or a FIFO.
fn set_unopened(
    (directory, name): (BorrowedFd<'_>, &[u8]),
    details: &Details,
    is_link: bool,
) -> io::Result<()> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (details.user, details.group) {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(directory, name, uid(details), gid(details), flags)?;
    }
    if !is_link {
        // The directory is ours alone, so that the name is what it was a moment ago.
        rustix::fs::chmodat(directory, name, mode(details), AtFlags::empty())?;
    }
    if !details.attributes.is_empty() {
        let path = inventory::path_at(directory, name);
        for (name, value) in &details.attributes {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(&path[..], &**name, value, flags)?;
        }
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(
        directory,
        name,
        &times(details),
        flags,
    )?)
}

fn uid(details: &Details) -> Option<Uid> {
    Some(Uid::from_raw(details.user))
}

fn gid(details: &Details) -> Option<Gid> {
    Some(Gid::from_raw(details.group))
}

fn mode(details: &Details) -> Mode {
    Mode::from_raw_mode(details.mode as _)
}

/// The time of the last change; that of the last access is left alone.
pub(super) fn times(details: &Details) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT as _,
        },
        last_modification: Timespec {
            tv_sec: details.modified.0,
            tv_nsec: details.modified.1 as _,
        },
    }
}

/// Makes what was staged durable, all of it.
pub(super) fn sync(staged: &Path) -> Result<(), FileError> {
    let directory = File::open(staged).map_err(FileError::at("open", staged))?;
    rustix::fs::syncfs(&directory)
        .map_err(Into::into)
        .map_err(FileError::at("make durable", staged))
}
