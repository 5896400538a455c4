//! The module against real trees, the odd ones above all.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};

use super::*;

pub(super) fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text.as_ref()).unwrap()
}

/// A request without anything special about it.
pub(super) struct Plain {
    pub(super) globs: Globs,
    pub(super) exempt: Vec<RelPath>,
    pub(super) progress: Progress,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self {
            globs: Globs::default(),
            exempt: Vec::new(),
            progress: Progress::default(),
        }
    }

    pub(super) fn of<'a>(&'a self, root: &'a Path) -> Request<'a> {
        Request {
            root,
            excludes: &self.globs,
            exempt: &self.exempt,
            expected: None,
            progress: &self.progress,
        }
    }
}

fn taken(root: &Path) -> Taken {
    take(&Plain::new().of(root), None).unwrap()
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.iter().map(|(path, _)| path.to_string()).collect()
}

fn make(root: &Path, name: &str, kind: FileType) {
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, root.join(name), kind, Mode::RUSR, device).unwrap();
}

#[test]
fn every_kind_of_entry_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("empty")).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1750)).unwrap();
    fs::write(root.join("file"), "abc").unwrap();
    fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    let old = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
    fs::File::options()
        .append(true)
        .open(root.join("file"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    fs::write(root.join("none"), "").unwrap();
    let target = std::ffi::OsStr::from_bytes(b"/no\xff/where");
    symlink(target, root.join("link")).unwrap();
    make(root, "fifo", FileType::Fifo);
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

    let found = taken(root);
    assert_eq!(found.problems, []);
    assert_eq!(found.hashed_bytes, 3);
    assert_eq!(
        names(&found.inventory),
        ["empty", "fifo", "file", "link", "none", "socket"]
    );
    let get = |name: &str| found.inventory.get(&path(name)).unwrap();
    assert_eq!(get("empty"), &Entry::Directory { mode: 0o1750 });
    let file = File {
        size_bytes: 3,
        sha256: Digest::of(b"abc"),
        mode: 0o4755,
        modified_seconds: 0,
    };
    assert_eq!(get("file"), &Entry::File(file));
    let Entry::Symlink(link) = get("link") else {
        unreachable!()
    };
    assert_eq!(&*link.target, target.as_bytes());
    assert_eq!(
        (link.size_bytes(), link.sha256()),
        (10, Digest::of(target.as_bytes()))
    );
    assert!(link.modified_seconds > 1_000_000_000);
    assert_eq!(get("fifo"), &Entry::Special(Special::Fifo));
    assert_eq!(get("socket"), &Entry::Special(Special::Socket));
    let totals = Totals {
        files: 2,
        symlinks: 1,
        directories: 1,
        specials: 2,
        size_bytes: 3,
    };
    assert_eq!(found.inventory.totals(), totals);
    drop(socket);
}

#[test]
fn devices_are_named_and_never_opened() {
    let found = list(&Plain::new().of(Path::new("/dev"))).unwrap();
    let null = found
        .names
        .iter()
        .find(|(name, _)| name == &path("null"))
        .unwrap();
    assert_eq!(null.1, Kind::Special(Special::CharacterDevice));
}

#[test]
fn links_lead_nowhere_but_the_root_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    fs::write(folder.path().join("outside"), "secret").unwrap();
    symlink("..", root.join("d/loop")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("self", root.join("self")).unwrap();
    symlink("root", folder.path().join("alias")).unwrap();
    let found = taken(&root);
    assert_eq!(names(&found.inventory), ["d", "d/loop", "out", "self"]);
    assert_eq!(found.inventory.totals().files, 0);
    for alias in ["alias", "alias/", "root/", "root/../root"] {
        assert_eq!(
            taken(&folder.path().join(alias)).inventory,
            found.inventory,
            "{alias}"
        );
    }
}

#[test]
fn a_root_that_is_no_directory_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for name in ["none", "file"] {
        let error = take(&Plain::new().of(&folder.path().join(name)), None).unwrap_err();
        assert!(matches!(error, TakeError::Open { .. }), "{name}");
    }
}

#[test]
fn names_of_any_bytes_and_lengths_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(255);
    let names = [
        &b"new\nline"[..],
        b"\xff\xfe",
        b"back\\slash",
        b"\x1b[31m",
        b"-",
        b" ",
        long.as_bytes(),
        "e\u{301}".as_bytes(),
        "é".as_bytes(),
    ];
    for name in names {
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let found = taken(folder.path());
    assert_eq!(
        (found.inventory.len(), &found.problems[..]),
        (names.len(), &[][..])
    );
    for name in names {
        let Some(Entry::File(file)) = found.inventory.get(&path(name)) else {
            unreachable!()
        };
        assert_eq!(file.sha256, Digest::of(name));
    }
}

#[test]
fn a_tree_deeper_than_a_path_can_say_is_a_problem_with_a_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("z"), "z").unwrap();
    let name = "d".repeat(250);
    let mut at =
        rustix::fs::open(folder.path(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let found = taken(folder.path());
    assert!(found.inventory.get(&path("z")).is_some());
    let [problem] = &found.problems[..] else {
        unreachable!("{:?}", found.problems)
    };
    assert_eq!(problem.kind, ProblemKind::Unreadable);
    assert!(problem.path.as_ref().unwrap().as_bytes().len() > 3000);
    assert!(
        problem.reason.contains("too long") || problem.reason.contains("longer than"),
        "{}",
        problem.reason
    );
}

#[test]
fn what_cannot_be_read_is_a_problem_and_the_rest_is_taken() {
    // Permissions do not hold root back, so this says nothing when it is root who tests; the
    // error of a read is tested in `read`.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "shut-file", "z"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::create_dir(folder.path().join("shut")).unwrap();
    for name in ["shut", "shut-file"] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let found = taken(folder.path());
    fs::set_permissions(
        folder.path().join("shut"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    assert_eq!(names(&found.inventory), ["a", "shut", "z"]);
    let problems: Vec<_> = found
        .problems
        .iter()
        .map(|problem| (problem.path.clone().unwrap(), problem.kind))
        .collect();
    assert_eq!(
        problems,
        [
            (path("shut"), ProblemKind::Unreadable),
            (path("shut-file"), ProblemKind::Unreadable)
        ]
    );
}

#[test]
fn excluded_and_exempt_paths_are_left_out_with_all_below_and_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "build/x",
        "build/deep/y",
        "src/a.tmp",
        "src/a",
        ".agp/lock",
        "manifest",
        "src/manifest",
    ] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), name).unwrap();
    }
    let plain = Plain {
        globs: Globs::compile(&["build".into(), "**/*.tmp".into()]).unwrap(),
        exempt: [".agp", "absent", "manifest"].map(path).into(),
        progress: Progress::default(),
    };
    let found = take(&plain.of(folder.path()), None).unwrap();
    assert_eq!(
        (names(&found.inventory), &found.problems[..]),
        (
            ["src", "src/a", "src/manifest"].map(String::from).into(),
            &[][..]
        )
    );
    let skipped = Skipped {
        excluded: 2,
        excluded_first: ["build", "src/a.tmp"].map(path).into(),
        exempted: [".agp", "manifest"].map(path).into(),
    };
    assert_eq!(found.skipped, skipped);
    let listing = list(&plain.of(folder.path())).unwrap();
    assert_eq!(listing.skipped, skipped);
    let kinds: Vec<_> = found
        .inventory
        .iter()
        .map(|(path, entry)| (path.clone(), entry.kind()))
        .collect();
    assert_eq!(listing.names, kinds);

    // Whoever has the whole inventory lists the same without walking, though siblings stand between a folder
    // and what is below it.
    for name in ["build-tools", "build.d"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.tmp"), "").unwrap();
    }
    for patterns in [
        &["build", "*.tmp"][..],
        &["build*"],
        &[],
        &["src/**"],
        &["**"],
    ] {
        let patterns: Vec<String> = patterns.iter().map(|one| (*one).to_owned()).collect();
        let plain = Plain {
            globs: Globs::compile(&patterns).unwrap(),
            exempt: plain.exempt.clone(),
            ..Plain::new()
        };
        let request = plain.of(folder.path());
        let whole = Plain {
            exempt: vec![path(".agp")],
            ..Plain::new()
        };
        let whole = take(&whole.of(folder.path()), None).unwrap().inventory;
        let (known, listed) = (list_known(&request, &whole), list(&request).unwrap());
        assert_eq!(known.names, listed.names, "{patterns:?}");
        assert_eq!(known.skipped, listed.skipped, "{patterns:?}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The same names in each directory, never the same content.
    let name = |number: usize| format!("d{}/e{}/{}", number % 7, number % 3, number / 21);
    for number in 0..700 {
        let file = folder.path().join(name(number));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, number.to_string()).unwrap();
    }
    // Large ones go another way.
    for number in 0..3 {
        fs::write(
            folder.path().join(format!("large{number}")),
            vec![number; (1 << 20) + 1],
        )
        .unwrap();
    }
    let expected = taken(folder.path());
    assert_eq!(expected.inventory.totals().files, 703);
    let Some(Entry::File(large)) = expected.inventory.get(&path("large2")) else {
        unreachable!()
    };
    assert_eq!(large.sha256, Digest::of(&vec![2; (1 << 20) + 1]));
    for number in 0..700 {
        let Some(Entry::File(file)) = expected.inventory.get(&path(name(number))) else {
            unreachable!()
        };
        assert_eq!(file.sha256, Digest::of(number.to_string().as_bytes()));
    }
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let found = pool.install(|| taken(folder.path()));
        assert_eq!(found.inventory, expected.inventory, "{threads} threads");
        assert_eq!(found.hashed_bytes, expected.hashed_bytes);
    }
}

#[test]
fn progress_counts_everything_once() {
    use std::sync::atomic::Ordering::Relaxed;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/large"), vec![0; (1 << 20) + 1]).unwrap();
    fs::write(folder.path().join("small"), "abc").unwrap();
    symlink("x", folder.path().join("link")).unwrap();
    let plain = Plain::new();
    take(&plain.of(folder.path()), None).unwrap();
    let counts = [
        &plain.progress.files_total,
        &plain.progress.files_done,
        &plain.progress.bytes_done,
    ];
    assert_eq!(
        counts.map(|counter| counter.load(Relaxed)),
        [3, 3, (1 << 20) + 4]
    );
}

/// Long enough for a writer to have a turn while it is read, however busy the machine.
const LONG_BYTES: u64 = 48 << 20;

/// Takes an inventory while `change` is called on the file `moving`, as often as `times`.
fn taken_while_changing(
    times: usize,
    change: impl Fn(&fs::File) + Sync,
) -> (tempfile::TempDir, Taken) {
    use std::sync::atomic::Ordering::Relaxed;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("still"), "still").unwrap();
    let moving = fs::File::create(folder.path().join("moving")).unwrap();
    moving.set_len(LONG_BYTES).unwrap();
    let (plain, stop) = (Plain::new(), AtomicBool::new(false));
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The small file is not what is waited for.
            while plain.progress.bytes_done.load(Relaxed) < 100 {
                std::thread::yield_now();
            }
            for _ in 0..times {
                if stop.load(Relaxed) {
                    break;
                }
                change(&moving);
                std::thread::yield_now();
            }
        });
        let found = take(&plain.of(folder.path()), None).unwrap();
        stop.store(true, Relaxed);
        found
    });
    (folder, found)
}

#[test]
fn a_file_written_to_all_the_while_is_unstable_and_the_rest_is_taken() {
    use std::os::unix::fs::FileExt;
    let grow = |file: &fs::File| file.set_len(file.metadata().unwrap().len() + 1).unwrap();
    let rewrite = |file: &fs::File| file.write_all_at(b"x", 0).unwrap();
    let chmod = |file: &fs::File| {
        let mode = 0o600 | (file.metadata().unwrap().permissions().mode() & 0o010 ^ 0o010);
        file.set_permissions(fs::Permissions::from_mode(mode))
            .unwrap();
    };
    for how in ["grows", "is rewritten", "changes its mode"] {
        let (_folder, found) = taken_while_changing(usize::MAX, |file| match how {
            "grows" => grow(file),
            "is rewritten" => rewrite(file),
            _ => chmod(file),
        });
        assert_eq!(names(&found.inventory), ["still"], "{how}");
        let [problem] = &found.problems[..] else {
            unreachable!("{:?}", found.problems)
        };
        let place = (problem.path.clone(), problem.kind);
        assert_eq!(
            place,
            (Some(path("moving")), ProblemKind::Unstable),
            "{how}"
        );
    }
}

#[test]
fn a_file_written_to_once_is_read_again() {
    use std::os::unix::fs::FileExt;
    let (folder, found) = taken_while_changing(1, |file| file.write_all_at(b"x", 0).unwrap());
    assert_eq!(found.problems, []);
    assert!(found.hashed_bytes >= 2 * LONG_BYTES);
    assert_eq!(found.inventory, taken(folder.path()).inventory);
}

#[test]
fn a_sparse_tebibyte_can_be_interrupted() {
    use std::sync::atomic::Ordering::Relaxed;
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    let plain = Plain::new();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while plain.progress.bytes_done.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            plain.progress.interrupted.store(true, Relaxed);
        });
        take(&plain.of(folder.path()), None)
    });
    assert!(matches!(outcome, Err(TakeError::Interrupted)));
    assert!(plain.progress.bytes_done.load(Relaxed) < 1 << 38);
    assert!(matches!(
        list(&plain.of(folder.path())),
        Err(TakeError::Interrupted)
    ));
}

#[test]
fn an_inventory_is_sorted_finds_its_paths_and_refuses_a_path_twice() {
    let entry = |name| (path(name), Entry::Special(Special::Fifo));
    let inventory = Inventory::from_entries(["b", "a/x", "a-b", "a"].map(entry).into()).unwrap();
    assert_eq!(names(&inventory), ["a", "a-b", "a/x", "b"]);
    assert_eq!((inventory.len(), inventory.is_empty()), (4, false));
    assert!(inventory.get(&path("a/x")).is_some());
    assert!(inventory.get(&path("a/y")).is_none());
    let twice = Inventory::from_entries(["a", "b", "a"].map(entry).into());
    assert_eq!(twice.unwrap_err(), DuplicateError(path("a")));
}

#[test]
fn an_entry_stays_small_enough_for_two_inventories_of_a_million() {
    assert!(size_of::<(RelPath, Entry)>() <= 80);
}

#[test]
fn a_file_that_is_not_expected_or_has_another_size_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("listed"), "same size").unwrap();
    fs::write(root.join("grown"), "short").unwrap();
    let expected = taken(root).inventory;
    fs::write(root.join("grown"), "longer than it was").unwrap();
    fs::write(root.join("unlisted"), "new").unwrap();
    let plain = Plain::new();
    let request = Request {
        expected: Some(&expected),
        ..plain.of(root)
    };
    let found = take(&request, None).unwrap();
    let digest = |name| match found.inventory.get(&path(name)) {
        Some(Entry::File(file)) => Some(file.sha256),
        _ => None,
    };
    assert_eq!(digest("listed"), Some(Digest::of(b"same size")));
    assert_eq!([digest("grown"), digest("unlisted")], [Some(NOT_READ); 2]);
    assert_eq!(found.hashed_bytes, 9);
}
