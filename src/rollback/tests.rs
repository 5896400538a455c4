//! Snapshot then restore is the identity; an intent is finished from any point, and only where it
//! was written.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use super::commit::{self, Recovered};
use super::intent::{Binding, Intent, Item, Phase, Record, Way};
use super::store::{Access, Store};
use super::*;
use crate::inventory::Progress;

/// A folder with a target and a store.
struct Folder {
    folder: tempfile::TempDir,
    progress: Progress,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        fs::create_dir_all(folder.path().join("tree")).unwrap();
        fs::create_dir_all(folder.path().join("state")).unwrap();
        Self {
            folder,
            progress: Progress::default(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with_place<T>(&self, act: impl FnOnce(Place<'_>) -> T) -> T {
        act(Place {
            state_dir: &self.at("state"),
            keyring: None,
            progress: &self.progress,
            keepers: &[],
        })
    }

    fn save_request(&self) -> SaveRequest {
        SaveRequest {
            targets: vec![("tree".to_owned(), self.at("tree"))],
            label: None,
            reason: Reason::Asked,
            paranoid: false,
            allow_incomplete: false,
            now: crate::base::clock::now(),
            audit_head: None,
        }
    }

    fn save(&self) -> Snapshot {
        self.with_place(|place| save(place, &self.save_request()))
            .unwrap()
            .snapshot
    }

    fn request<'a>(snapshot: &'a str) -> RestoreRequest<'a> {
        RestoreRequest::whole(Some(snapshot), crate::base::clock::now())
    }

    fn restore(&self, snapshot: &str) -> Restored {
        self.with_place(|place| restore(place, &Self::request(snapshot)))
            .unwrap()
    }
}

/// Everything that the system says of a tree, by another way than the one under test.
fn state(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        lines.push(line(root, &folder));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().is_dir() {
                true => folders.push(path),
                false => lines.push(line(root, &path)),
            }
        }
    }
    lines.sort();
    lines
}

fn line(root: &Path, path: &Path) -> String {
    let meta = path.symlink_metadata().unwrap();
    let name = path.strip_prefix(root).unwrap();
    let content = match meta.file_type() {
        kind if kind.is_file() => format!(
            "{:?}",
            crate::base::digest::Digest::of(&fs::read(path).unwrap())
        ),
        kind if kind.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
        _ => String::new(),
    };
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    format!(
        "{name:?} {:o} {}:{} {}.{:09} {links} {content}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    )
}

/// An entry to make: the bytes of its name, what it is, and its time.
#[derive(Debug, Clone)]
enum Make {
    File { content: Vec<u8>, mode: u32 },
    Link { target: Vec<u8> },
    Fifo,
    HardLink,
    Directory { inner: Vec<Vec<u8>>, mode: u32 },
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no name holds these", |byte| ![0, b'/'].contains(byte));
    prop::collection::vec(byte, 1..20)
        .prop_filter("these are no names", |name| name != b"." && name != b"..")
}

fn make() -> impl Strategy<Value = Make> {
    // Modes that let a user who is not root read it back and enter it.
    let mode = (0_u32..0o1000).prop_map(|mode| mode | 0o400);
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..9000), mode.clone())
            .prop_map(|(content, mode)| Make::File { content, mode }),
        1 => prop::collection::vec(1_u8.., 1..40).prop_map(|target| Make::Link { target }),
        1 => Just(Make::Fifo),
        1 => Just(Make::HardLink),
        2 => (prop::collection::vec(name(), 0..4), mode)
            .prop_map(|(inner, mode)| Make::Directory { inner, mode: mode | 0o700 }),
    ]
}

fn build(root: &Path, entries: &[(Vec<u8>, Make, i64, u32)]) {
    let mut first: Option<PathBuf> = None;
    for (name, make, seconds, nanoseconds) in entries {
        let path = root.join(std::ffi::OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match make {
            Make::File { content, mode } => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                first.get_or_insert(path.clone());
            }
            Make::Link { target } => symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap(),
            Make::Fifo => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
            Make::HardLink => match &first {
                Some(first) => fs::hard_link(first, &path).unwrap(),
                None => continue,
            },
            Make::Directory { inner, mode } => {
                fs::create_dir(&path).unwrap();
                for name in inner {
                    let inner = path.join(std::ffi::OsStr::from_bytes(name));
                    fs::write(inner, name).unwrap();
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
        touch(&path, (*seconds, *nanoseconds));
    }
}

fn touch(path: &Path, (seconds, nanoseconds): (i64, u32)) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanoseconds),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, Make, i64, u32)>> {
    let time = (-2_000_000_000_i64..4_000_000_000, 0_u32..1_000_000_000);
    prop::collection::vec((name(), make(), time), 0..10).prop_map(|all| {
        let flat = |(name, make, (seconds, nanoseconds))| (name, make, seconds, nanoseconds);
        all.into_iter().map(flat).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn snapshot_then_restore_is_the_identity_and_so_is_undo(old in entries(), new in entries(), time in 0_i64..4_000_000_000) {
        let folder = Folder::new();
        let tree = folder.at("tree");
        build(&tree, &old);
        touch(&tree, (time, 7));
        let before = state(&tree);
        let snapshot = folder.save();

        fs::remove_dir_all(&tree).unwrap();
        folder.restore(&snapshot.id);
        prop_assert_eq!(state(&tree), before.clone());

        build(&tree, &new);
        let changed = state(&tree);
        folder.restore(&snapshot.id);
        prop_assert_eq!(state(&tree), before);
        folder.with_place(|place| undo(place, &Folder::request(""))).unwrap();
        prop_assert_eq!(state(&tree), changed);
    }

    #[test]
    fn a_snapshot_file_is_read_as_it_was_written_and_not_otherwise(old in entries(), at: prop::sample::Index, bit in 0_u8..8) {
        let folder = Folder::new();
        build(&folder.at("tree"), &old);
        let snapshot = folder.save();
        let file = folder.at("state/snapshots/snapshots").join(format!("{}.json", snapshot.id));
        let mut bytes = fs::read(file).unwrap();
        let read = Snapshot::parse(&bytes, &|_| None).unwrap().0;
        prop_assert_eq!(&read.targets[0].inventory, &snapshot.targets[0].inventory);
        prop_assert_eq!(&read.targets[0].details, &snapshot.targets[0].details);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Snapshot::parse(&bytes, &|_| None).is_err(), "byte {at}");
    }
}

/// Two targets, staged and with their intent on disk, as a restore leaves them at its commit point.
fn staged_pair(folder: &Folder) -> (Intent, Vec<(PathBuf, PathBuf)>) {
    let mut pairs = Vec::new();
    let mut items = Vec::new();
    for name in ["one", "two"] {
        let (live, staged) = (folder.at(name), folder.at(&format!(".{name}.agp-0")));
        for (path, text) in [(&live, "old"), (&staged, "new")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), text).unwrap();
        }
        let inode = staged.metadata().unwrap().ino();
        items.push(Item::new(name, (&live, &staged), inode, Way::Tree));
        pairs.push((live, staged));
    }
    let binding = folder
        .with_place(|place| Binding::of(&Store::open(place, Access::Write).unwrap()).unwrap());
    let record = Record {
        id: "000001".into(),
        snapshot: Some("x".into()),
        before: None,
        created: Vec::new(),
        keep: false,
    };
    let phase = Phase::Committing;
    (
        Intent {
            binding,
            phase,
            record,
            items,
        },
        pairs,
    )
}

fn exchange(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn an_intent_is_finished_from_every_point_and_twice_is_as_good_as_once() {
    for done in 0..=2 {
        let folder = Folder::new();
        let (intent, pairs) = staged_pair(&folder);
        folder.with_place(|place| {
            let store = Store::open(place, Access::Write).unwrap();
            intent.save(&store).unwrap();
            for (live, staged) in pairs.iter().take(done) {
                exchange(live, staged);
            }
            assert_eq!(commit::recover(&store).unwrap(), Recovered::Finished);
            assert_eq!(commit::recover(&store).unwrap(), Recovered::Nothing);
        });
        for (live, staged) in &pairs {
            assert_eq!(fs::read(live.join("file")).unwrap(), b"new", "{done}");
            assert!(!staged.exists(), "{done}");
        }
    }
}

#[test]
fn an_intent_that_only_staged_is_undone() {
    let folder = Folder::new();
    let (mut intent, pairs) = staged_pair(&folder);
    intent.phase = Phase::Staging;
    folder.with_place(|place| {
        let store = Store::open(place, Access::Write).unwrap();
        intent.save(&store).unwrap();
        assert_eq!(commit::recover(&store).unwrap(), Recovered::Abandoned);
    });
    for (live, staged) in &pairs {
        assert_eq!(fs::read(live.join("file")).unwrap(), b"old");
        assert!(!staged.exists());
    }
}

#[test]
fn an_intent_that_came_from_elsewhere_moves_nothing() {
    let (here, there) = (Folder::new(), Folder::new());
    let (mut intent, pairs) = staged_pair(&here);
    intent.binding = staged_pair(&there).0.binding;
    here.with_place(|place| {
        let store = Store::open(place, Access::Write).unwrap();
        intent.save(&store).unwrap();
        assert!(matches!(
            commit::recover(&store),
            Err(RollbackError::Stuck(_))
        ));
    });
    assert_eq!(fs::read(pairs[0].0.join("file")).unwrap(), b"old");
}

#[test]
fn an_intent_whose_staged_tree_is_gone_is_told_and_a_restore_is_the_way_out() {
    let folder = Folder::new();
    fs::write(folder.at("tree/file"), "kept").unwrap();
    let snapshot = folder.save();
    let (intent, pairs) = staged_pair(&folder);
    folder.with_place(|place| {
        intent
            .save(&Store::open(place, Access::Write).unwrap())
            .unwrap()
    });
    fs::remove_dir_all(&pairs[1].1).unwrap();
    let stuck = folder.with_place(recover);
    assert!(matches!(stuck, Err(RollbackError::Stuck(_))), "{stuck:?}");
    fs::write(folder.at("tree/file"), "bad").unwrap();
    let restored = folder.restore(&snapshot.id);
    assert_eq!(restored.findings.len(), 1);
    assert_eq!(fs::read(folder.at("tree/file")).unwrap(), b"kept");
    assert_eq!(folder.with_place(recover).unwrap(), Recovered::Nothing);
}

#[test]
fn entry_by_entry_a_tree_becomes_another_and_what_is_kept_stays() {
    let folder = Folder::new();
    let (live, staged) = (folder.at("live"), folder.at("staged"));
    for path in [
        "live/a/kept/x",
        "live/a/old",
        "live/b/deep",
        "live/gone",
        "staged/a/new",
        "staged/b/deep",
        "staged/c",
    ] {
        fs::create_dir_all(folder.at(path).parent().unwrap()).unwrap();
        fs::write(folder.at(path), path).unwrap();
    }
    touch(&staged.join("a"), (1_000, 5));
    let keep = [crate::base::relpath::RelPath::parse(b"a/kept").unwrap()];
    for whole in [Some(commit::Whole), None] {
        let way = commit::entries((&staged, &live), &keep, whole).unwrap();
        let Way::Entries { steps, settle, .. } = &way else {
            panic!("{way:?}")
        };
        let paths: Vec<String> = steps
            .iter()
            .map(|step| step.path().unwrap().to_string())
            .collect();
        let b = if whole.is_some() { "b" } else { "b/deep" };
        assert_eq!(paths, ["a/new", "a/old", b, "c", "gone"]);
        assert!(settle.iter().any(|one| one.modified == (1_000, 5)));
    }
    let way = commit::entries((&staged, &live), &keep, Some(commit::Whole)).unwrap();
    let mut intent = Intent {
        items: vec![Item::new("live", (&live, &staged), 0, way)],
        ..staged_pair(&folder).0
    };
    folder.with_place(|place| {
        let store = Store::open(place, Access::Write).unwrap();
        intent.save(&store).unwrap();
        commit::commit(&store, &mut intent).unwrap();
    });
    assert_eq!(fs::read(live.join("a/kept/x")).unwrap(), b"live/a/kept/x");
    assert_eq!(fs::read(live.join("b/deep")).unwrap(), b"staged/b/deep");
    assert!(!live.join("gone").exists() && !live.join("a/old").exists());
    assert_eq!(live.join("a").metadata().unwrap().mtime(), 1_000);
}

#[test]
fn a_failed_tree_leaves_the_quarantine_when_it_is_old_and_somebody_was_here_since() {
    let folder = Folder::new();
    let later = crate::base::clock::now().plus_seconds(31 * 86_400);
    let prune = |now, dry_run| {
        let pruned = folder.with_place(|place| prune(place, (now, 30), dry_run));
        pruned.unwrap().quarantined.len()
    };
    let quarantine = folder.at("state/snapshots/quarantine");
    let trees = || fs::read_dir(quarantine.join("000001")).map_or(0, Iterator::count);
    let good = folder.save();
    // Of two snapshots both stay, so that nothing else keeps a clock that jumped from being believed.
    let marked = folder.with_place(|place| mark(place, (&good.id, Mark::Good), true));
    marked.unwrap();
    fs::write(folder.at("tree/bad"), "bad").unwrap();
    let request = RestoreRequest {
        keep_failed: true,
        ..Folder::request(&good.id)
    };
    folder.with_place(|place| restore(place, &request)).unwrap();
    // What is no tree of ours is nobody's business.
    fs::write(quarantine.join("README"), "").unwrap();
    assert_eq!((prune(crate::base::clock::now(), false), trees()), (0, 1));
    // Nobody was here since, or the clock jumped.
    assert_eq!((prune(later, true), trees()), (0, 1));
    let request = SaveRequest {
        now: later,
        ..folder.save_request()
    };
    folder.with_place(|place| save(place, &request)).unwrap();
    assert_eq!((prune(later, true), trees()), (1, 1));
    assert_eq!((prune(later, false), trees()), (1, 0));
    assert_eq!(prune(later, false), 0);
}
