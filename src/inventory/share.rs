//! Work on one tree by several hosts: who reads which file, and one digest by which they know that they walked
//! the same tree. Knows no part and no key.

use super::read::{Stamp, is_file, mode_of, seconds_since_1970};
use super::{Entry, File, Inventory, NOT_READ, Request, Taken};
use crate::base::beneath::Root;
use crate::base::digest::{Digest, Hasher};
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;

/// Whose work it is to read the content of files. Names, modes, sizes and links are always looked at.
#[derive(Clone, Copy, Debug)]
pub enum Share<'a> {
    /// Ours.
    All,
    /// Ours are those of this shard; the others get the digest [`NOT_READ`].
    Own(Shard),
    /// Others have read them and got these digests; what they did not read is [`NOT_READ`].
    Known(&'a Inventory),
}

impl Share<'_> {
    /// The digest of a file that we do not read.
    pub(super) fn digest_of(&self, path: &RelPath) -> Option<Digest> {
        match self {
            Self::All => None,
            Self::Own(shard) => (!shard.owns(path)).then_some(NOT_READ),
            Self::Known(known) => match known.get(path) {
                Some(Entry::File(file)) => Some(file.sha256),
                _ => Some(NOT_READ),
            },
        }
    }
}

/// One digest over what everybody who walks the tree of `request` sees of it, whatever he reads: paths, kinds,
/// sizes, modes, targets of links, and times, none of them later than `latest_seconds`; with `None` times do
/// not count.
pub fn survey(request: &Request<'_>, taken: &Taken, latest_seconds: Option<u64>) -> Digest {
    let mut hasher = Hasher::default();
    let troubled = troubled(request, taken);
    let mut troubled = troubled.iter().peekable();
    for (path, entry) in taken.inventory.iter() {
        while let Some((earlier, file)) = troubled.next_if(|(other, _)| other < path) {
            note(&mut hasher, (earlier, file), latest_seconds);
        }
        note(&mut hasher, (path, entry), latest_seconds);
    }
    for (path, file) in troubled {
        note(&mut hasher, (path, file), latest_seconds);
    }
    hasher.finish()
}

/// Files that could not be read: who does not have to read them sees nothing of that.
fn troubled(request: &Request<'_>, taken: &Taken) -> Vec<(RelPath, Entry)> {
    let Ok(root) = Root::open(request.root) else {
        return Vec::new();
    };
    let look = |path: &RelPath| {
        let stat = root.stat(path).ok().filter(is_file)?;
        let stamp = Stamp::of(&stat);
        let file = File {
            size_bytes: stamp.size_bytes,
            sha256: NOT_READ,
            mode: mode_of(&stat),
            modified_seconds: seconds_since_1970(&stamp),
        };
        Some((path.clone(), Entry::File(file)))
    };
    let paths = taken.problems.iter().filter_map(|one| one.path.as_ref());
    let absent = paths.filter(|path| taken.inventory.get(path).is_none());
    absent.filter_map(look).collect()
}

fn note(hasher: &mut Hasher, (path, entry): (&RelPath, &Entry), latest_seconds: Option<u64>) {
    hasher.update(path.as_bytes());
    hasher.update(&[0]);
    hasher.update(entry.kind().name().as_bytes());
    hasher.update(&entry.mode().unwrap_or(0).to_be_bytes());
    let time = |seconds: u64| latest_seconds.map_or(0, |latest| latest.min(seconds));
    match entry {
        Entry::File(file) => {
            hasher.update(&file.size_bytes.to_be_bytes());
            hasher.update(&time(file.modified_seconds).to_be_bytes());
        }
        Entry::Symlink(link) => {
            hasher.update(&link.sha256().0);
            hasher.update(&time(link.modified_seconds).to_be_bytes());
        }
        Entry::Directory { .. } | Entry::Special(_) => {}
    }
}
