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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::super::{Globs, Problem, ProblemKind, Progress, take_share};
    use super::*;

    #[test]
    fn a_tree_is_surveyed_alike_whoever_reads_which_file_and_whether_he_can() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["a", "b", "sub/c", "z"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let (excludes, progress) = (Globs::default(), Progress::default());
        let request = Request {
            root: folder.path(),
            excludes: &excludes,
            exempt: &[],
            expected: None,
            progress: &progress,
        };
        let take = |share| take_share(&request, share).unwrap();
        let whole = take(Share::All);
        let (with_times, without) = (
            survey(&request, &whole, Some(u64::MAX)),
            survey(&request, &whole, None),
        );
        let mut read = 0;
        for index in 1..=3 {
            let shard = Shard::new(index, 3).unwrap();
            let mut taken = take(Share::Own(shard));
            let is_read =
                |entry: &Entry| matches!(entry, Entry::File(file) if file.sha256 != NOT_READ);
            read += taken
                .inventory
                .iter()
                .filter(|(_, entry)| is_read(entry))
                .count();
            for troubled in [None, Some("b"), Some("z")] {
                if let Some(name) = troubled {
                    let path = RelPath::parse(name.as_bytes()).unwrap();
                    let others = taken.inventory.iter().filter(|(other, _)| **other != path);
                    let others = others.map(|(path, entry)| (path.clone(), entry.clone()));
                    taken.inventory = Inventory::from_entries(others.collect()).unwrap();
                    taken.add_problems(vec![Problem {
                        path: Some(path),
                        kind: ProblemKind::Unreadable,
                        reason: "no permission".into(),
                    }]);
                }
                assert_eq!(
                    survey(&request, &taken, Some(u64::MAX)),
                    with_times,
                    "{troubled:?}"
                );
                assert_eq!(survey(&request, &taken, None), without, "{troubled:?}");
            }
        }
        assert_eq!(read, 4, "each file is read by one shard");
        let known = take(Share::Known(&whole.inventory));
        assert_eq!(known.inventory, whole.inventory);
        assert_eq!(known.hashed_bytes, 0);
        // Another size, another name and another time are seen; content alone is not, and times only on demand.
        let file = std::fs::File::options()
            .write(true)
            .open(folder.path().join("a"))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let touched = take(Share::All);
        assert_ne!(survey(&request, &touched, Some(u64::MAX)), with_times);
        assert_eq!(
            survey(&request, &touched, Some(0)),
            survey(&request, &whole, Some(0))
        );
        assert_eq!(survey(&request, &touched, None), without);
        std::fs::write(folder.path().join("a"), "longer").unwrap();
        assert_ne!(survey(&request, &take(Share::All), None), without);
    }
}
