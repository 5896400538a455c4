//! The content of files, one object each, named by its SHA-256.
//!
//! `objects/ab/cdef…` holds the bytes themselves, `objects/ab/cdef….zst` the same compressed. An
//! object is written once and never changed, so collecting garbage is unlinking. Objects are
//! durable only after [`Objects::sync`]; who names them in a snapshot calls it before.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use zstd::bulk::Compressor;

use crate::base::digest::{Digest, Hasher};
use crate::base::files::{self, FileError};
use crate::base::relpath::RelPath;
use crate::inventory::{Content, Keeper};

/// Files up to this size are held in memory until their digest is known.
const SMALL_BYTES: u64 = 1 << 20;
/// What an object occupies on most file systems is a multiple of this, so that saving less is
/// saving nothing.
const BLOCK_BYTES: usize = 4096;
/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 16;
/// Bytes that are tried out before a file is compressed as a whole.
const SAMPLE_BYTES: usize = 1 << 14;
/// The fastest of zstd's usual levels.
const LEVEL: i32 = 1;
/// The end of a compressed object's name.
const COMPRESSED: &str = ".zst";
/// The beginning of the name of an object that is being written.
const UNFINISHED: &str = "tmp-";

/// The objects of a store.
pub(super) struct Objects {
    path: PathBuf,
    directory: OwnedFd,
    known: Mutex<HashSet<Digest>>,
    added: Mutex<Vec<Digest>>,
    added_bytes: AtomicU64,
    unfinished: AtomicU64,
    compressors: Mutex<Vec<Compressor<'static>>>,
}

/// What is in a store, by name.
pub(super) struct Listed {
    /// The digest in the name; `None` for what is not an object's name.
    pub(super) digest: Option<Digest>,
    /// The file.
    pub(super) path: PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Objects {
    /// Opens the objects below a store; the folder is created.
    pub(super) fn open(store: &Path) -> Result<Self, FileError> {
        let path = store.join("objects");
        files::create_private_directory(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(FileError::at("open", &path))?;
        Ok(Self {
            path,
            directory,
            known: Mutex::default(),
            added: Mutex::default(),
            added_bytes: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            compressors: Mutex::default(),
        })
    }

    /// Learns which objects there are; `trusted` limits that to some of them.
    pub(super) fn learn(&self, trusted: Option<&HashSet<Digest>>) -> Result<(), FileError> {
        let folders = (0..=u8::MAX).into_par_iter();
        let found: io::Result<Vec<Vec<Digest>>> =
            folders.map(|first| self.digests_in(first)).collect();
        let found = found.map_err(FileError::at("list", &self.path))?;
        let digests = found.into_iter().flatten();
        let mut known = lock(&self.known);
        known.clear();
        known.extend(digests.filter(|digest| trusted.is_none_or(|all| all.contains(digest))));
        Ok(())
    }

    /// Digests of the objects in one of the folders, which has the first byte for its name.
    fn digests_in(&self, first: u8) -> io::Result<Vec<Digest>> {
        let folder = hex::encode([first]);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&self.directory, &*folder, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut digests = Vec::new();
        for entry in rustix::fs::Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap_or_default();
            digests.extend(digest_of_name(&folder, name));
        }
        Ok(digests)
    }

    /// Every file below `objects/`, in no order.
    pub(super) fn list(&self) -> Result<Vec<Listed>, FileError> {
        let mut all = Vec::new();
        for entry in walkdir::WalkDir::new(&self.path).min_depth(1) {
            let entry = entry.map_err(|error| {
                FileError::at("list", &self.path)(
                    error
                        .into_io_error()
                        .unwrap_or_else(|| io::Error::other("a loop of directories")),
                )
            })?;
            if !entry.file_type().is_dir() {
                let digest = digest_of(entry.path());
                all.push(Listed {
                    digest,
                    path: entry.into_path(),
                });
            }
        }
        Ok(all)
    }

    /// Makes every object durable that was written until now.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.directory)?)
    }

    /// Objects and bytes that were added since the store was opened.
    pub(super) fn added(&self) -> (u64, u64) {
        let bytes = self.added_bytes.load(Ordering::Relaxed);
        (lock(&self.added).len() as u64, bytes)
    }

    /// Removes what was added, after a failure.
    pub(super) fn forget_added(&self) {
        let added = std::mem::take(&mut *lock(&self.added));
        for digest in added {
            lock(&self.known).remove(&digest);
            for suffix in ["", COMPRESSED] {
                // What cannot be removed is found by the next run, which the marker tells.
                let _ =
                    rustix::fs::unlinkat(&self.directory, name(&digest, suffix), AtFlags::empty());
            }
        }
    }

    /// Whether nobody else has, or is about to write, this content.
    fn claim(&self, digest: Digest) -> bool {
        let is_new = lock(&self.known).insert(digest);
        if is_new {
            lock(&self.added).push(digest);
        }
        is_new
    }

    fn write_small(&self, bytes: &[u8], digest: Digest) -> io::Result<()> {
        if !self.claim(digest) {
            return Ok(());
        }
        let compressed = self.compressed(bytes)?;
        let (bytes, suffix) = match &compressed {
            Some(compressed) => (&compressed[..], COMPRESSED),
            None => (bytes, ""),
        };
        let name = name(&digest, suffix);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&self.directory, &*name, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::NOENT) => {
                self.make_folder(&digest)?;
                create()
            }
            file => file,
        };
        self.added_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match file {
            Ok(file) => File::from(file).write_all(bytes),
            // Left by a run that was killed, so not to be trusted: replaced as a whole.
            Err(Errno::EXIST) => {
                let mut unfinished = self.unfinished()?;
                unfinished.file.write_all(bytes)?;
                unfinished.name(&name)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_folder(&self, digest: &Digest) -> io::Result<()> {
        let folder = &name(digest, "")[..2];
        match rustix::fs::mkdirat(&self.directory, folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes compressed, where that saves at least one block.
    fn compressed(&self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if bytes.len() <= BLOCK_BYTES {
            return Ok(None);
        }
        let pooled = lock(&self.compressors).pop();
        let mut compressor = match pooled {
            Some(compressor) => compressor,
            None => Compressor::new(LEVEL)?,
        };
        let mut pays = true;
        if bytes.len() > 2 * SAMPLE_BYTES {
            pays = shrinks(&mut compressor, &bytes[..SAMPLE_BYTES])?;
        }
        let compressed = match pays {
            true => Some(compressor.compress(bytes)?),
            false => None,
        };
        lock(&self.compressors).push(compressor);
        let blocks = |bytes: &[u8]| bytes.len().div_ceil(BLOCK_BYTES);
        Ok(compressed.filter(|compressed| blocks(compressed) < blocks(bytes)))
    }

    /// A file in the store that has no object's name yet.
    fn unfinished(&self) -> io::Result<Unfinished<'_>> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{UNFINISHED}{}-{number}",
            rustix::process::getpid().as_raw_pid()
        );
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &*name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Unfinished {
            objects: self,
            temporary: Some(name),
            file: file.into(),
        })
    }

    /// Writes an object's content to a file that is empty, and says whether it is what its name
    /// says. Blocks of zeros become holes where `sparse` is asked for.
    pub(super) fn copy(
        &self,
        wanted: &Wanted,
        (out, sparse): (&File, bool),
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let (file, is_compressed) = self.find(&wanted.digest)?;
        let worth_sharing = !is_compressed && wanted.size_bytes >= SMALL_BYTES;
        if worth_sharing && share(file.as_fd(), out.as_fd()) {
            return check(wanted, &mut &*out, |_| Ok(()), buffer);
        }
        let mut offset = 0;
        let mut write = |chunk: &[u8]| write_at(out, chunk, (&mut offset, sparse));
        match is_compressed {
            true => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(file).map_err(ReadError::Read)?;
                check(wanted, &mut decoder, &mut write, buffer)?;
            }
            false => check(wanted, &mut &file, &mut write, buffer)?,
        }
        match sparse {
            // A hole at the end has no byte that would make the file so long.
            true => out.set_len(offset).map_err(ReadError::Write),
            false => Ok(()),
        }
    }

    /// Reads an object, hands each chunk on, and says whether it is what its name says.
    pub(super) fn read(
        &self,
        wanted: &Wanted,
        each: &mut dyn FnMut(&[u8]),
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let (file, is_compressed) = self.find(&wanted.digest)?;
        let each = |chunk: &[u8]| {
            each(chunk);
            Ok(())
        };
        match is_compressed {
            true => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(file).map_err(ReadError::Read)?;
                check(wanted, &mut decoder, each, buffer)
            }
            false => check(wanted, &mut &file, each, buffer),
        }
    }

    /// Whether an object is there, by its name alone.
    pub(super) fn find(&self, digest: &Digest) -> Result<(File, bool), ReadError> {
        let open = |suffix| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            rustix::fs::openat(&self.directory, name(digest, suffix), flags, Mode::empty())
        };
        match open("") {
            Err(Errno::NOENT) => match open(COMPRESSED) {
                Ok(file) => Ok((file.into(), true)),
                Err(Errno::NOENT) => Err(ReadError::Missing),
                Err(error) => Err(ReadError::Read(error.into())),
            },
            Ok(file) => Ok((file.into(), false)),
            Err(error) => Err(ReadError::Read(error.into())),
        }
    }

    /// An object's file for people, whichever of its two names it bears.
    pub(super) fn shown(&self, digest: &Digest) -> String {
        let plain = self.path.join(&*name(digest, ""));
        let compressed = self.path.join(&*name(digest, COMPRESSED));
        let path = if compressed.exists() {
            compressed
        } else {
            plain
        };
        path.to_string_lossy().into_owned()
    }
}

/// An object's digest and how long its content is.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
}

/// Why an object's content is not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it is not there")]
    Missing,
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("its content has another digest than its name")]
    Digest,
    #[error("its content has {found} bytes, and the snapshot says {expected}")]
    Size { found: u64, expected: u64 },
    /// Not the object's fault.
    #[error("its copy cannot be written: {0}")]
    Write(#[source] io::Error),
}

/// Reads all of an object, hands each chunk on, and compares digest and size.
fn check(
    wanted: &Wanted,
    source: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
    buffer: &mut Vec<u8>,
) -> Result<(), ReadError> {
    buffer.resize(BUFFER_BYTES + BLOCK_BYTES, 0);
    // The kernel copies whole pages fastest to where pages begin.
    let page = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let buffer = &mut buffer[page.min(BLOCK_BYTES)..][..BUFFER_BYTES];
    let mut hasher = Hasher::default();
    let mut found = 0;
    loop {
        let read = match source.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Read(error)),
        };
        found += read as u64;
        if found > wanted.size_bytes {
            let expected = wanted.size_bytes;
            return Err(ReadError::Size { found, expected });
        }
        hasher.update(&buffer[..read]);
        each(&buffer[..read]).map_err(ReadError::Write)?;
    }
    if found != wanted.size_bytes {
        let expected = wanted.size_bytes;
        return Err(ReadError::Size { found, expected });
    }
    match hasher.finish() == wanted.digest {
        true => Ok(()),
        false => Err(ReadError::Digest),
    }
}

fn write_at(mut out: &File, chunk: &[u8], (offset, sparse): (&mut u64, bool)) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    if !sparse {
        out.write_all(chunk)?;
        *offset += chunk.len() as u64;
        return Ok(());
    }
    for block in chunk.chunks(BLOCK_BYTES) {
        if block.iter().any(|byte| *byte != 0) {
            out.write_all_at(block, *offset)?;
        }
        *offset += block.len() as u64;
    }
    Ok(())
}

/// Makes a file share another's blocks, where the file system can.
fn share(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::ioctl_ficlone(to, from).is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// `ab/cdef…`, with an end.
fn name(digest: &Digest, suffix: &str) -> String {
    let hex = digest.to_hex();
    // Hex is ASCII.
    let hex = str::from_utf8(&hex).unwrap_or_default();
    [&hex[..2], "/", &hex[2..], suffix].concat()
}

/// The digest in the name of an object.
fn digest_of(path: &Path) -> Option<Digest> {
    let file = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    digest_of_name(folder, file)
}

/// The digest in `ab` and `cdef…` together.
fn digest_of_name(folder: &str, file: &str) -> Option<Digest> {
    let file = file.strip_suffix(COMPRESSED).unwrap_or(file);
    let mut hex = [0; 64];
    let (first, rest) = hex.split_at_mut(2);
    if (folder.len(), file.len()) != (first.len(), rest.len()) {
        return None;
    }
    first.copy_from_slice(folder.as_bytes());
    rest.copy_from_slice(file.as_bytes());
    Digest::parse(str::from_utf8(&hex).ok()?).ok()
}

/// Whether a sample promises that compression pays: at least a tenth.
fn shrinks(compressor: &mut Compressor<'_>, sample: &[u8]) -> io::Result<bool> {
    let compressed = compressor.compress(sample)?;
    Ok(compressed.len() < sample.len() - sample.len() / 10)
}

/// A file of the store on its way to an object's name; removed when dropped without one.
struct Unfinished<'a> {
    objects: &'a Objects,
    temporary: Option<String>,
    file: File,
}

impl Unfinished<'_> {
    fn name(mut self, name: &str) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            let directory = &self.objects.directory;
            rustix::fs::renameat(directory, &**temporary, directory, name)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Left behind, it is garbage that the next collection removes.
            let _ = rustix::fs::unlinkat(&self.objects.directory, &**temporary, AtFlags::empty());
        }
    }
}

impl Keeper for Objects {
    fn has(&self, _: &RelPath, digest: &Digest) -> bool {
        lock(&self.known).contains(digest)
    }

    fn begin(
        &self,
        _: &RelPath,
        file: BorrowedFd<'_>,
        size_bytes: u64,
    ) -> io::Result<Box<dyn Content + '_>> {
        if size_bytes <= SMALL_BYTES {
            let bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
            return Ok(Box::new(Small {
                objects: self,
                bytes,
            }));
        }
        let unfinished = self.unfinished()?;
        let way = match share(file, unfinished.file.as_fd()) {
            true => Way::Shared,
            false => Way::Undecided,
        };
        Ok(Box::new(Large {
            unfinished,
            way,
            bytes: 0,
        }))
    }
}

/// A file that is held in memory until its end.
struct Small<'a> {
    objects: &'a Objects,
    bytes: Vec<u8>,
}

impl Content for Small<'_> {
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, digest: Digest) -> io::Result<()> {
        self.objects.write_small(&self.bytes, digest)
    }
}

/// A file that is written while it is read.
struct Large<'a> {
    unfinished: Unfinished<'a>,
    way: Way,
    bytes: u64,
}

/// How a large file is kept.
enum Way {
    /// The first bytes decide.
    Undecided,
    /// Its blocks are shared already.
    Shared,
    /// As it is.
    Plain,
    /// Compressed.
    Compressed(zstd::stream::write::Encoder<'static, File>),
}

impl Content for Large<'_> {
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if matches!(self.way, Way::Undecided) {
            let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
            self.way = match shrinks(&mut Compressor::new(LEVEL)?, sample)? {
                true => {
                    let file = self.unfinished.file.try_clone()?;
                    Way::Compressed(zstd::stream::write::Encoder::new(file, LEVEL)?)
                }
                false => Way::Plain,
            };
        }
        match &mut self.way {
            Way::Shared | Way::Undecided => Ok(()),
            Way::Plain => self.unfinished.file.write_all(bytes),
            Way::Compressed(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self: Box<Self>, digest: Digest) -> io::Result<()> {
        let Self {
            unfinished, way, ..
        } = *self;
        let objects = unfinished.objects;
        let suffix = match way {
            Way::Compressed(encoder) => {
                encoder.finish()?;
                COMPRESSED
            }
            Way::Shared | Way::Plain | Way::Undecided => "",
        };
        if !objects.claim(digest) {
            return Ok(());
        }
        let length = unfinished.file.metadata()?.len();
        objects.added_bytes.fetch_add(length, Ordering::Relaxed);
        objects.make_folder(&digest)?;
        unfinished.name(&name(&digest, suffix))
    }
}
