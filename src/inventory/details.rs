//! What a copy of an entry needs to know besides its content, and where content goes while it is
//! read. Owns the reading of extended attributes; must never know where copies are kept.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::Stat;
use rustix::io::Errno;

use super::read::Stamp;
use super::{Inventory, Taken};
use crate::base::digest::Digest;
use crate::base::relpath::RelPath;

/// An extended attribute: name and value, raw bytes.
pub type Attribute = (Box<[u8]>, Box<[u8]>);

/// Everything that a file system says of an entry and that can be given to a copy of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Permission bits with set-user, set-group and sticky, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// Time of the last change of content: Unix seconds (negative before 1970) and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes, ACLs among them, sorted by name.
    pub attributes: Box<[Attribute]>,
    /// The inode, where the file has more than one name.
    pub inode_shared: Option<u64>,
    /// Whether fewer bytes are allocated than the file is long.
    pub sparse: bool,
    /// The file system that the entry lies on.
    pub device: u64,
}

/// An inventory with the details of everything in it.
#[derive(Debug)]
pub struct Detailed {
    /// The inventory, and how it was taken.
    pub taken: Taken,
    /// Details of the tree's own directory.
    pub root: Details,
    /// Details of each entry, in the order of the inventory.
    pub details: Vec<Details>,
}

/// Where the content of files goes while it is read.
pub trait Keeper: Sync {
    /// Whether the content of the file at a path is kept already, so that a file known to have it need not
    /// be read.
    fn has(&self, path: &RelPath, digest: &Digest) -> bool;

    /// Begins to take in the open file at a path, of that many bytes. What is dropped unfinished is
    /// discarded.
    ///
    /// # Errors
    /// What the system says.
    fn begin(
        &self,
        path: &RelPath,
        file: BorrowedFd<'_>,
        size_bytes: u64,
    ) -> io::Result<Box<dyn Content + '_>>;
}

/// The content of one file on its way to a [`Keeper`].
pub trait Content {
    /// Takes in the next bytes.
    ///
    /// # Errors
    /// What the system says.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Keeps the whole content, whose digest this is.
    ///
    /// # Errors
    /// What the system says.
    fn finish(self: Box<Self>, digest: Digest) -> io::Result<()>;
}

/// What is wanted of entries besides the inventory.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Whether they are told of in detail.
    pub(super) details: bool,
    /// Where the content of files goes.
    pub(super) keepers: &'a [&'a dyn Keeper],
}

impl Details {
    pub(super) fn of(stat: &Stat, attributes: Box<[Attribute]>) -> Self {
        let stamp = Stamp::of(stat);
        // Never negative.
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let allocated = blocks.saturating_mul(512);
        let is_file = super::read::is_file(stat);
        Self {
            mode: super::read::mode_of(stat),
            user: stat.st_uid,
            group: stat.st_gid,
            modified: stamp.modified,
            attributes,
            inode_shared: (is_file && stat.st_nlink > 1).then_some(stamp.inode),
            sparse: is_file && allocated < stamp.size_bytes,
            device: stamp.device,
        }
    }

    /// Whether a copy is what it is a copy of, as far as one entry can show: how its bytes are laid
    /// out on disk is the file system's business, and hard links concern several.
    pub fn is_equal_copy(&self, other: &Self) -> bool {
        let of = |details: &Self| (details.mode, details.user, details.group, details.modified);
        of(self) == of(other) && self.attributes == other.attributes
    }
}

impl Detailed {
    /// The inventory.
    pub fn inventory(&self) -> &Inventory {
        &self.taken.inventory
    }
}

/// The extended attributes of an open file.
pub fn attributes_of(file: BorrowedFd<'_>) -> rustix::io::Result<Box<[Attribute]>> {
    let names = sized(|buffer| rustix::fs::flistxattr(file, buffer))?;
    collect(&names, |name| {
        sized(|buffer| rustix::fs::fgetxattr(file, name, buffer))
    })
}

/// The extended attributes of an entry that need not or cannot be opened, a link perhaps.
///
/// No system call takes a descriptor and a name for this, so the path leads through `/proc`; the
/// entry itself is not followed.
pub fn attributes_at(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Box<[Attribute]>> {
    let path = path_at(at, name);
    let names = sized(|buffer| rustix::fs::llistxattr(&path[..], buffer))?;
    collect(&names, |name| {
        sized(|buffer| rustix::fs::lgetxattr(&path[..], name, buffer))
    })
}

/// A path that names an entry of an open directory.
pub fn path_at(at: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", at.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

fn collect(
    names: &[u8],
    value: impl Fn(&[u8]) -> rustix::io::Result<Vec<u8>>,
) -> rustix::io::Result<Box<[Attribute]>> {
    if names.is_empty() {
        return Ok(Box::default());
    }
    let mut attributes = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match value(name) {
            Ok(value) => attributes.push((name.into(), value.into())),
            // It went away between the two calls, or only its owner may read it: not ours to copy.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    attributes.sort_unstable();
    Ok(attributes.into())
}

/// What a call writes into a buffer, however long it is. A file system without attributes has none.
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    // Linux holds lists and values to 64 KiB each.
    let mut large = vec![0; 1 << 16];
    let length = call(&mut large)?;
    large.truncate(length);
    Ok(large)
}
