//! Whole files: read within a bound, write so that a reader sees the old or the new, never a half.
//!
//! Every error carries the path and what was tried.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::units;

/// What could not be done to which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{}`", units::printable(&path.to_string_lossy()))]
pub struct FileError {
    /// A verb: `read`, `write`, `lock` …
    pub act: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: names the act and the place of a system error.
    pub fn at(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { act, path, source }
    }

    /// What could not be done, and what the system said, in one text.
    pub fn in_full(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// Reads a regular file of at most `bytes_max` bytes; links in its path are followed.
///
/// # Errors
/// Anything but a regular file, a longer one, and what the system says.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    let read = file
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes);
    match read {
        Ok(length) if length as u64 > bytes_max => {
            let size = units::bytes(bytes_max);
            let source = io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {size}"),
            );
            Err(FileError::at("read", path)(source))
        }
        Ok(_) => Ok(bytes),
        Err(source) => Err(FileError::at("read", path)(source)),
    }
}

/// Opens a regular file for reading; a FIFO or a device is refused instead of waited for.
///
/// # Errors
/// Anything but a regular file, and what the system says.
pub fn open_regular(path: &Path) -> Result<File, FileError> {
    open_for_reading(path, 0)
}

/// As [`open_regular`], but a symbolic link as the last component is refused too.
///
/// # Errors
/// Anything but a regular file, and what the system says (`ELOOP` for a link).
pub fn open_regular_no_link(path: &Path) -> Result<File, FileError> {
    open_for_reading(path, OFlags::NOFOLLOW.bits() as i32)
}

fn open_for_reading(path: &Path, extra_flags: i32) -> Result<File, FileError> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32 | extra_flags;
    let open = || {
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            Ok(file)
        } else if kind.is_dir() {
            Err(io::Error::from(io::ErrorKind::IsADirectory))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            ))
        }
    };
    open().map_err(FileError::at("read", path))
}

/// Opens a regular file that is our own, as `options` say; where they create it, with this mode. A
/// symbolic link in its place is refused: it could lead elsewhere.
///
/// # Errors
/// Anything but a regular file, and what the system says.
pub fn open_own(path: &Path, mode: u32, options: &mut fs::OpenOptions) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.mode(mode).custom_flags(flags.bits() as i32);
    let refused = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let open = || {
        let opened = options.open(path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(refused("it is a symbolic link"));
            }
            opened => opened?,
        };
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(refused("it is not a regular file")),
        }
    };
    open().map_err(FileError::at("open", path))
}

/// Replaces a file with what `write` writes: a nameless file in the same directory, `fsync`,
/// a name, `rename`, `fsync` of the directory. Until the rename the old file stands untouched.
/// A link at `path` is replaced and not followed. What cannot be replaced is written to: a
/// character device, a FIFO that somebody reads, and our own descriptors (`/dev/stdout`).
///
/// # Errors
/// Those of `write` and of the system; then the old file still stands.
pub fn write_atomic(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let attempt = || match open_stream(path)? {
        Some(mut stream) => {
            write(&mut stream)?;
            stream.flush()
        }
        None => replace(path, mode, write),
    };
    attempt().map_err(FileError::at("write", path))
}

/// Adds to the end of a regular file what `text` makes of its length; one that is not there is
/// created.
///
/// # Errors
/// Anything but a regular file, and what the system says.
pub fn append(path: &Path, text: impl FnOnce(u64) -> String) -> Result<(), FileError> {
    let attempt = || {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .custom_flags(flags)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let text = "it is not a regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        file.write_all(text(metadata.len()).as_bytes())
    };
    attempt().map_err(FileError::at("append to", path))
}

/// Opens what is written to where it stands; `None` for everything that is replaced. Never waits:
/// a FIFO that nobody reads is an error, since anyone may have put it there.
fn open_stream(path: &Path) -> io::Result<Option<File>> {
    let Ok(kind) = fs::symlink_metadata(path).map(|meta| meta.file_type()) else {
        return Ok(None);
    };
    if kind.is_block_device() {
        let text = "it is a block device";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let is_stream = kind.is_char_device() || kind.is_fifo() || kind.is_socket();
    if !is_stream && !is_own_descriptor(path) {
        return Ok(None);
    }
    // Behind a descriptor may stand a file that the shell appends to.
    let file = fs::OpenOptions::new()
        .append(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
        .open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(Some(file))
}

/// Whether a path, or the link at it, names a descriptor of this process, as `/dev/stdout` and
/// `/dev/fd/3` do.
fn is_own_descriptor(path: &Path) -> bool {
    let Ok(descriptors) = Path::new("/proc/self/fd").canonicalize() else {
        return false;
    };
    let link = fs::read_link(path).ok();
    let mut places = [Some(path), link.as_deref()].into_iter().flatten();
    places.any(|place| parent_of(place).canonicalize().ok().as_ref() == Some(&descriptors))
}

fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let directory = parent_of(path);
    let temporary = temporary_of(path);
    let (file, named) = open_temporary(directory, &temporary)?;
    let finish = || {
        let mut out = BufWriter::with_capacity(1 << 16, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        let place = directory.join(name);
        if named {
            fs::rename(&temporary, place)?;
        } else {
            let file = file.into();
            // A free name is taken at once, so that no kill leaves another one behind.
            if give_name(&file, &place).is_err() {
                remove_if_there(&temporary)?;
                give_name(&file, &temporary)?;
                fs::rename(&temporary, place)?;
            }
        }
        sync_directory(directory)
    };
    finish().inspect_err(|_| {
        // Best effort: what matters is the first error, and that the old file stands.
        let _ = fs::remove_file(&temporary);
    })
}

/// Creates a file with all its content, durably, where nothing is.
///
/// # Errors
/// A name that is taken (`AlreadyExists`), and what the system says; then nothing is left there.
pub fn create_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), FileError> {
    let create = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        let finish = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_directory(parent_of(path)));
        finish.inspect_err(|_| {
            // Best effort: what matters is the first error.
            let _ = fs::remove_file(path);
        })
    };
    create().map_err(FileError::at("create", path))
}

/// The directory of a path, `.` for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the temporary name of a file ends.
const TEMPORARY_END: &str = ".agp-new";

/// The name that a new version of `path` bears for the moment between being complete and being
/// renamed. One fixed name, so that what a crash leaves is recognised and replaced.
pub fn temporary_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(TEMPORARY_END);
    parent_of(path).join(name)
}

/// Whether a path looks like what [`temporary_of`] gives: perhaps a killed command left it, and
/// perhaps somebody wants that to be thought.
pub fn looks_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(TEMPORARY_END.as_bytes())
}

/// A file without a name where the file system has that (`O_TMPFILE`), so that a kill leaves
/// nothing behind; otherwise one with the temporary name. The flag says whether it is named.
fn open_temporary(directory: &Path, temporary: &Path) -> io::Result<(File, bool)> {
    #[cfg(target_os = "linux")]
    if Path::new("/proc/self/fd").exists() {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
            return Ok((file.into(), false));
        }
    }
    remove_if_there(temporary)?;
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    Ok((file, true))
}

/// Names a nameless file; an error where the name is taken.
fn give_name(file: &OwnedFd, path: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(
        CWD,
        nameless,
        CWD,
        path,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates a directory and its parents, readable by its owner alone (0700).
///
/// # Errors
/// What the system says; also when something else bears the name.
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(FileError::at("create the directory", path))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomic(&path, 0o644, |out| out.write_all(b"old")).unwrap();
        let refused = write_atomic(&path, 0o644, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("stop"))
        });
        assert!(refused.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomic(&path, 0o600, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn writes_to_streams_and_never_through_a_link_nor_to_a_fifo_without_a_reader() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str| write_atomic(&at(name), 0o644, |out| out.write_all(b"new"));
        fs::write(at("target"), "old").unwrap();
        for (name, target) in [("file", "target"), ("null", "/dev/null"), ("none", "away")] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
            write(name).unwrap();
            assert!(fs::symlink_metadata(at(name)).unwrap().is_file(), "{name}");
        }
        assert_eq!(fs::read(at("target")).unwrap(), b"old");
        assert!(!at("away").exists());
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(CWD, at("fifo"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(write("fifo").is_err());
        let reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(at("fifo"))
            .unwrap();
        write("fifo").unwrap();
        let mut bytes = Vec::new();
        (&reader).take(3).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"new");
        write_atomic(Path::new("/dev/null"), 0o644, |out| out.write_all(b"x")).unwrap();
        let null = fs::symlink_metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
    }

    #[test]
    fn a_descriptor_of_our_own_is_appended_to_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old ").unwrap();
        let held = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let link = folder.path().join("link");
        let descriptor = format!("/proc/self/fd/{}", held.as_raw_fd());
        std::os::unix::fs::symlink(&descriptor, &link).unwrap();
        for place in [Path::new(&descriptor), &link] {
            write_atomic(place, 0o644, |out| out.write_all(b"new ")).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"old new new ");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn refuses_what_is_not_a_regular_file_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(read_bounded(&fifo, 10).is_err());
        assert!(read_bounded(folder.path(), 10).is_err());
        fs::write(folder.path().join("long"), "0123456789A").unwrap();
        assert!(read_bounded(&folder.path().join("long"), 10).is_err());
    }
}
