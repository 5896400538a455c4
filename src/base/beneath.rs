//! Opening files below a held directory so that no symbolic link and no `..` leads elsewhere.
//!
//! On Linux this is `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`
//! (openat2(2)). Where the kernel or a sandbox refuses that call, and on other Unixes, each
//! component is opened by itself with `O_NOFOLLOW`: slower, with the same answer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::relpath::RelPath;

/// Flags of every open for reading: never block on a FIFO, never leak into a child, never follow.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY);

/// A directory held open; names are resolved below it, whatever happens to its path meanwhile.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

impl Root {
    /// Holds a directory. The path itself may lead through symbolic links: it is the user's.
    ///
    /// # Errors
    /// What `open` says; `ENOTDIR` for anything but a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Opens for reading; the caller looks at the type with `fstat` before it reads.
    ///
    /// # Errors
    /// `ELOOP` where a component is a symbolic link, `EXDEV` where one leads out, otherwise what
    /// `open` says.
    pub fn open_file(&self, path: &RelPath) -> io::Result<OwnedFd> {
        Ok(open_below(self.directory.as_fd(), path, READ)?)
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// As [`Root::open_file`], and `ENOTDIR`.
    pub fn open_directory(&self, path: &RelPath) -> io::Result<OwnedFd> {
        Ok(open_below(
            self.directory.as_fd(),
            path,
            READ | OFlags::DIRECTORY,
        )?)
    }

    /// The descriptor of the directory itself.
    pub fn as_descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The state of an entry, links not followed, without opening it.
    ///
    /// # Errors
    /// As [`Root::open_file`].
    pub fn stat(&self, path: &RelPath) -> io::Result<rustix::fs::Stat> {
        let (parent, name) = self.parent_of(path)?;
        Ok(rustix::fs::statat(
            parent.as_ref().unwrap_or(&self.directory),
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Where a symbolic link points, as raw bytes.
    ///
    /// # Errors
    /// As [`Root::open_file`]; `EINVAL` for what is not a link.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let (parent, name) = self.parent_of(path)?;
        let target =
            rustix::fs::readlinkat(parent.as_ref().unwrap_or(&self.directory), name, Vec::new())?;
        Ok(target.into_bytes())
    }

    /// The open parent of an entry (`None`: this root) and the entry's own name: what calls take
    /// that create, rename or change one.
    ///
    /// # Errors
    /// As [`Root::open_directory`].
    pub fn parent_of<'p>(&self, path: &'p RelPath) -> io::Result<(Option<OwnedFd>, &'p [u8])> {
        let bytes = path.as_bytes();
        let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes);
        match path.parent() {
            Some(parent) => Ok((Some(self.open_directory(&parent)?), name)),
            None => Ok((None, name)),
        }
    }
}

#[cfg(target_os = "linux")]
fn open_below(
    root: std::os::fd::BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: a rename raced with the resolution (openat2(2)); a few tries outlast any honest one.
    for _ in 0..8 {
        match rustix::fs::openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_by_component(root, path, flags),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
fn open_below(
    root: std::os::fd::BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    open_by_component(root, path, flags)
}

/// The fallback: one open a component, none of which follows a link.
fn open_by_component(
    root: std::os::fd::BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut components = path.as_bytes().split(|byte| *byte == b'/').peekable();
    let mut held: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        let flags = if components.peek().is_some() {
            READ | OFlags::DIRECTORY
        } else {
            flags
        };
        let at = held.as_ref().map_or(root, |directory| directory.as_fd());
        held = Some(rustix::fs::openat(at, component, flags, Mode::empty())?);
    }
    held.ok_or(rustix::io::Errno::NOENT)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_open_files_and_refuse_links_anywhere_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("real/deep")).unwrap();
        std::fs::write(folder.path().join("real/deep/file"), "x").unwrap();
        symlink("real", folder.path().join("middle")).unwrap();
        symlink("file", folder.path().join("real/deep/last")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for (name, opens) in [
            ("real/deep/file", true),
            ("middle/deep/file", false),
            ("real/deep/last", false),
            ("real/none", false),
        ] {
            let path = RelPath::parse(name.as_bytes()).unwrap();
            assert_eq!(root.open_file(&path).is_ok(), opens, "{name}");
            let slow = open_by_component(root.directory.as_fd(), &path, READ);
            assert_eq!(slow.is_ok(), opens, "{name} by component");
        }
    }
}
