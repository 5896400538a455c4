//! What tells two inventories apart. Pure; knows no disk.

use std::cmp::Ordering;

use super::{Entry, Inventory, Kind};
use crate::base::relpath::RelPath;

/// One difference at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The path, as the inventory that has it spells it.
    pub path: &'a RelPath,
    /// What is different.
    pub kind: ChangeKind,
}

/// A kind of difference. A path may have [`ChangeKind::Modified`] and [`ChangeKind::ModeChanged`]
/// both, and no other two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Another content of a file, or another target of a link.
    Modified,
    /// Expected and not found.
    Missing,
    /// Found and not expected.
    Unlisted,
    /// Another type; its mode is not compared then.
    TypeChanged {
        /// The type that was to be found.
        expected: Kind,
        /// The type found.
        found: Kind,
    },
    /// Other permission bits.
    ModeChanged {
        /// The bits that were to be found, 0 to 0o7777.
        expected: u32,
        /// The bits found, 0 to 0o7777.
        found: u32,
    },
}

/// Compares two inventories, without their times: every change, sorted by path.
pub fn diff<'a>(expected: &'a Inventory, found: &'a Inventory) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    let mut expected = expected.iter().peekable();
    let mut found = found.iter().peekable();
    loop {
        let order = match (expected.peek(), found.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let left = if order.is_le() { expected.next() } else { None };
        let right = if order.is_ge() { found.next() } else { None };
        match (left, right) {
            (Some((path, left)), Some((_, right))) => compare(path, (left, right), &mut changes),
            (Some((path, _)), None) => changes.push(Change {
                path,
                kind: ChangeKind::Missing,
            }),
            (None, Some((path, _))) => changes.push(Change {
                path,
                kind: ChangeKind::Unlisted,
            }),
            (None, None) => return changes,
        }
    }
}

fn compare<'a>(
    path: &'a RelPath,
    (expected, found): (&Entry, &Entry),
    changes: &mut Vec<Change<'a>>,
) {
    let mut push = |kind| changes.push(Change { path, kind });
    if expected.kind() != found.kind() {
        return push(ChangeKind::TypeChanged {
            expected: expected.kind(),
            found: found.kind(),
        });
    }
    let modified = match (expected, found) {
        (Entry::File(a), Entry::File(b)) => (a.size_bytes, a.sha256) != (b.size_bytes, b.sha256),
        (Entry::Symlink(a), Entry::Symlink(b)) => a.target != b.target,
        _ => false,
    };
    if modified {
        push(ChangeKind::Modified);
    }
    if let (Some(expected), Some(found)) = (expected.mode(), found.mode())
        && expected != found
    {
        push(ChangeKind::ModeChanged { expected, found });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::super::{File, Special, Symlink};
    use super::*;
    use crate::base::digest::Digest;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let mode = 0_u32..0o10000;
        prop_oneof![
            (any::<u64>(), any::<[u8; 32]>(), mode.clone(), any::<u64>()).prop_map(
                |(size_bytes, sha256, mode, modified_seconds)| {
                    Entry::File(File {
                        size_bytes,
                        sha256: Digest(sha256),
                        mode,
                        modified_seconds,
                    })
                }
            ),
            (any::<[u8; 3]>(), any::<u64>()).prop_map(|(target, modified_seconds)| {
                Entry::Symlink(Symlink {
                    target: Box::new(target),
                    mode: 0o777,
                    modified_seconds,
                })
            }),
            mode.prop_map(|mode| Entry::Directory { mode }),
            Just(Entry::Special(Special::Fifo)),
            Just(Entry::Special(Special::Socket)),
        ]
    }

    fn entries() -> impl Strategy<Value = Vec<(RelPath, Entry)>> {
        proptest::collection::btree_map("[a-c]{1,3}(/[a-c]{1,2})?", entry(), 0..12).prop_map(
            |map| {
                let parse = |name: String| RelPath::parse(name.as_bytes()).unwrap();
                map.into_iter()
                    .map(|(name, entry)| (parse(name), entry))
                    .collect()
            },
        )
    }

    /// What one changed entry must give, by a second way of saying it.
    fn changed(entry: &Entry, how: u8) -> (Entry, ChangeKind) {
        let mut other = entry.clone();
        let kind = match (&mut other, how % 3) {
            (Entry::File(file), 0) => {
                file.sha256.0[31] ^= 1;
                ChangeKind::Modified
            }
            (Entry::File(file), 1) => {
                file.size_bytes ^= 1;
                ChangeKind::Modified
            }
            (Entry::Symlink(link), _) => {
                link.target[0] ^= 1;
                ChangeKind::Modified
            }
            (Entry::File(File { mode, .. }) | Entry::Directory { mode }, _) => {
                let expected = *mode;
                *mode ^= 0o4000;
                ChangeKind::ModeChanged {
                    expected,
                    found: *mode,
                }
            }
            (Entry::Special(special), _) => {
                *special = Special::BlockDevice;
                ChangeKind::TypeChanged {
                    expected: entry.kind(),
                    found: Kind::Special(*special),
                }
            }
        };
        (other, kind)
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself_whatever_its_times(entries in entries(), seconds: u64) {
            let one = Inventory::from_entries(entries.clone()).unwrap();
            let mut later = entries;
            for (_, entry) in &mut later {
                match entry {
                    Entry::File(File { modified_seconds, .. }) | Entry::Symlink(Symlink { modified_seconds, .. }) => *modified_seconds = seconds,
                    _ => {}
                }
            }
            let later = Inventory::from_entries(later).unwrap();
            prop_assert_eq!(diff(&one, &later), vec![]);
        }

        #[test]
        fn each_single_change_is_found_and_nothing_else(entries in entries(), at: prop::sample::Index, how: u8) {
            prop_assume!(!entries.is_empty());
            let at = at.index(entries.len());
            let path = entries[at].0.clone();
            let all = Inventory::from_entries(entries.clone()).unwrap();

            let mut fewer = entries.clone();
            fewer.remove(at);
            let fewer = Inventory::from_entries(fewer).unwrap();
            prop_assert_eq!(diff(&all, &fewer), vec![Change { path: &path, kind: ChangeKind::Missing }]);
            prop_assert_eq!(diff(&fewer, &all), vec![Change { path: &path, kind: ChangeKind::Unlisted }]);

            let mut other = entries;
            let (entry, kind) = changed(&other[at].1, how);
            other[at].1 = entry;
            let other = Inventory::from_entries(other).unwrap();
            prop_assert_eq!(diff(&all, &other), vec![Change { path: &path, kind }]);
        }
    }

    #[test]
    fn a_file_may_change_its_content_and_its_mode_at_once() {
        let path = RelPath::parse(b"a").unwrap();
        let file = |text: &[u8], mode| {
            let file = File {
                size_bytes: 1,
                sha256: Digest::of(text),
                mode,
                modified_seconds: 0,
            };
            Inventory::from_entries(vec![(path.clone(), Entry::File(file))]).unwrap()
        };
        let (old, new) = (file(b"a", 0o644), file(b"b", 0o755));
        let kinds: Vec<_> = diff(&old, &new).iter().map(|change| change.kind).collect();
        let mode = ChangeKind::ModeChanged {
            expected: 0o644,
            found: 0o755,
        };
        assert_eq!(kinds, [ChangeKind::Modified, mode]);
    }
}
