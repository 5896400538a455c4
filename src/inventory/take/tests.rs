//! A tree that changes while it is read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::super::tests::{Plain, path};
use super::super::{Content, File, Globs, ProblemKind};
use super::*;
use crate::base::digest::Digest;

/// Begins at `started`, walks, lets `meanwhile` change the tree, reads, lets `afterwards` change it again, and finishes.
fn take_while(
    (started, root): (Timestamp, &Path),
    meanwhile: impl Fn(),
    afterwards: impl Fn(),
) -> Taken {
    let plain = Plain::new();
    let request = plain.of(root);
    let held = open(&request).unwrap();
    let source = Source {
        started,
        ..source(&request, &held)
    };
    let mut names = Vec::new();
    let walked = walk(&request, &held, |path, kind| names.push((path, kind))).unwrap();
    meanwhile();
    let gathered = Mutex::new(Gathered::default());
    work(&source, names, &gathered);
    afterwards();
    finish((&request, &source), walked, gathered.into_inner().unwrap()).taken
}

fn source<'a>(request: &Request<'a>, root: &'a Root) -> Source<'a> {
    Source {
        root,
        progress: request.progress,
        expected: request.expected,
        share: crate::inventory::Share::All,
        started: clock::now(),
        known: &[],
        records: Recording::Off,
        wanted: Wanted::default(),
        lottery: RandomState::new(),
    }
}

fn unstable(taken: &Taken) -> Vec<String> {
    assert!(
        taken
            .problems
            .iter()
            .all(|problem| problem.kind == ProblemKind::Unstable)
    );
    let name = |problem: &Problem| {
        problem
            .path
            .as_ref()
            .map_or(".".into(), ToString::to_string)
    };
    taken.problems.iter().map(name).collect()
}

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["d/one", "d/two", "e/three", "four"] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

#[test]
fn a_tree_that_holds_still_has_no_problem() {
    let folder = tree();
    let taken = take_while((clock::now(), folder.path()), || {}, || {});
    assert_eq!((taken.inventory.len(), unstable(&taken)), (6, vec![]));
}

#[test]
fn names_that_come_and_go_during_the_walk_are_unstable() {
    // Whether a directory is young enough to be listed again at any rate, or changed visibly.
    for started in [clock::now(), later()] {
        let folder = tree();
        let at = |name: &str| folder.path().join(name);
        let come = || {
            fs::write(at("d/new"), "").unwrap();
            fs::create_dir(at("new-directory")).unwrap();
            fs::remove_file(at("d/two")).unwrap();
        };
        let taken = take_while((started, folder.path()), || {}, come);
        assert_eq!(unstable(&taken), ["d/new", "d/two", "new-directory"]);

        let go = || {
            fs::remove_file(at("four")).unwrap();
            fs::remove_dir_all(at("e")).unwrap();
        };
        let taken = take_while((started, folder.path()), go, || {});
        assert_eq!(unstable(&taken), ["e", "e/three", "four"]);
        assert!(taken.inventory.get(&path("d/one")).is_some());
    }
}

#[test]
fn a_young_directory_is_listed_again_even_if_its_times_hide_a_change() {
    let folder = tree();
    let plain = Plain::new();
    let request = plain.of(folder.path());
    let held = open(&request).unwrap();
    let source = source(&request, &held);
    let mut walked = walk(&request, &held, |_, _| {}).unwrap();
    fs::write(folder.path().join("d/new"), "").unwrap();
    // What a file system with coarse times would have said before.
    for folder in &mut walked.folders {
        folder.stamp = Stamp::of(&folder.stat(&held).unwrap());
    }
    let taken = finish((&request, &source), walked, Gathered::default()).taken;
    assert!(unstable(&taken).contains(&"d/new".to_owned()));
}

#[test]
fn a_directory_replaced_between_two_of_its_files_is_opened_anew() {
    let folder = tree();
    let plain = Plain::new();
    let request = plain.of(folder.path());
    let held = open(&request).unwrap();
    let source = source(&request, &held);
    let mut reader = Reader::new(&source, u64::MAX);
    assert!(reader.read(&path("d/one"), Kind::File).is_ok());
    fs::rename(folder.path().join("d"), folder.path().join("away")).unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/late"), "late").unwrap();
    assert!(reader.read(&path("d/late"), Kind::File).is_ok());
}

#[test]
fn an_entry_swapped_for_another_kind_is_never_followed_nor_waited_for() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("one"), "secret").unwrap();
    let folder = tree();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("e/five"), "").unwrap();
    let swap = || {
        fs::remove_file(at("e/five")).unwrap();
        symlink(outside.path().join("one"), at("e/five")).unwrap();
        fs::rename(at("d"), at("away")).unwrap();
        symlink(outside.path(), at("d")).unwrap();
        fs::remove_file(at("e/three")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("e/three"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        fs::remove_file(at("four")).unwrap();
        fs::create_dir(at("four")).unwrap();
    };
    let taken = take_while((clock::now(), folder.path()), swap, || {});
    assert_eq!(
        unstable(&taken),
        ["away", "d", "d/one", "d/two", "e/five", "e/three", "four"]
    );
    assert_eq!(taken.inventory.len(), 1);
}

#[test]
fn a_file_or_link_replaced_before_it_is_read_is_taken_as_it_is_then() {
    let folder = tree();
    let at = |name: &str| folder.path().join(name);
    symlink("old", at("link")).unwrap();
    let replace = || {
        for (from, to) in [("new", "four"), ("new-link", "link")] {
            if to == "link" {
                symlink("new", at(from)).unwrap()
            } else {
                fs::write(at(from), "new").unwrap()
            }
            fs::rename(at(from), at(to)).unwrap();
        }
    };
    let taken = take_while((clock::now(), folder.path()), replace, || {});
    assert_eq!(unstable(&taken), Vec::<String>::new());
    let Some(Entry::File(file)) = taken.inventory.get(&path("four")) else {
        unreachable!()
    };
    assert_eq!(file.sha256, Digest::of(b"new"));
    let Some(Entry::Symlink(link)) = taken.inventory.get(&path("link")) else {
        unreachable!()
    };
    assert_eq!(&*link.target, b"new");
}

#[test]
fn a_read_that_fails_or_gives_other_than_the_size_is_told_with_its_place() {
    let plain = Plain::new();
    let request = plain.of(Path::new("/proc/self"));
    let held = open(&request).unwrap();
    let source = source(&request, &held);
    let mut reader = Reader::new(&source, u64::MAX);
    // Nothing is mapped at address 0, so that reading fails for everyone, root included.
    let failed = reader.read(&path("mem"), Kind::File);
    assert!(
        matches!(failed, Err(Stop::Problem(ProblemKind::Unreadable, _))),
        "{failed:?}"
    );
    let longer = reader.read(&path("status"), Kind::File);
    assert!(
        matches!(longer, Err(Stop::Problem(ProblemKind::Unstable, _))),
        "{longer:?}"
    );
}

fn mac(bytes: &[u8]) -> [u8; 32] {
    Digest::of(&[b"key", bytes].concat()).0
}

/// Far enough in the future for everything to be settled.
fn later() -> Timestamp {
    clock::now().plus_seconds(60)
}

fn many(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..count {
        fs::write(folder.path().join(number.to_string()), number.to_string()).unwrap();
    }
    folder
}

/// Takes with the cache in `state` and keeps it.
fn take_cached(started: Timestamp, root: &Path, state: &Path) -> Taken {
    let mut cache = Cache::load(&state.join("cache"), root, &mac);
    let wanted = (started, Wanted::default());
    let found = take_at(wanted, &Plain::new().of(root), Some(&mut cache)).unwrap();
    cache.save().unwrap();
    found.taken
}

fn cache_file(state: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(state.join("cache")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[test]
fn a_cache_saves_reading_and_misses_no_change_that_ctime_shows() {
    let (folder, state) = (many(300), tempfile::tempdir().unwrap());
    symlink("x", folder.path().join("link")).unwrap();
    let first = take_cached(later(), folder.path(), state.path());
    assert_eq!(first.cache, CacheUse::default());
    let mode = fs::metadata(cache_file(state.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);

    let second = take_cached(later(), folder.path(), state.path());
    assert_eq!(second.inventory, first.inventory);
    assert_eq!(
        (
            second.cache.reused + second.cache.rechecked,
            second.cache.lied
        ),
        (300, None)
    );
    assert!(second.cache.reused > 200);
    assert!(second.hashed_bytes < first.hashed_bytes / 2);

    // The same length and the same mtime: only ctime tells.
    let victim = folder.path().join("7");
    let modified = fs::metadata(&victim).unwrap().modified().unwrap();
    fs::write(&victim, "X").unwrap();
    fs::File::options()
        .append(true)
        .open(&victim)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    fs::set_permissions(folder.path().join("8"), fs::Permissions::from_mode(0o600)).unwrap();
    let third = take_cached(later(), folder.path(), state.path());
    assert_eq!(third.cache.reused + third.cache.rechecked, 298);
    let Some(Entry::File(File { sha256, .. })) = third.inventory.get(&path("7")) else {
        unreachable!()
    };
    assert_eq!(*sha256, Digest::of(b"X"));
    let Some(Entry::File(File { mode, .. })) = third.inventory.get(&path("8")) else {
        unreachable!()
    };
    assert_eq!(*mode, 0o600);
}

#[test]
fn a_cache_that_knows_of_no_attribute_misses_none_that_comes() {
    let (folder, state) = (many(40), tempfile::tempdir().unwrap());
    let take = |wanted| {
        let mut cache = Cache::load(&state.path().join("cache"), folder.path(), &mac);
        let found = take_at(
            (later(), wanted),
            &Plain::new().of(folder.path()),
            Some(&mut cache),
        );
        cache.save().unwrap();
        found.unwrap()
    };
    let attributes = |found: &Found, name: &str| {
        let at = found.taken.inventory.position(&path(name)).unwrap();
        found.details[at].attributes.len()
    };
    let set = |name: &str| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(folder.path().join(name), "user.a", b"b", flags)
    };
    set("3").unwrap();
    // A walk that looks at no attribute knows nothing of them.
    let details = Wanted {
        details: true,
        keepers: &[],
    };
    for wanted in [Wanted::default(), details, details] {
        let found = take(wanted);
        if wanted.details {
            assert_eq!((attributes(&found, "3"), attributes(&found, "4")), (1, 0));
            assert!(found.taken.cache.reused > 20);
        }
    }
    set("4").unwrap();
    rustix::fs::removexattr(folder.path().join("3"), "user.a").unwrap();
    for _ in 0..2 {
        let found = take(details);
        assert_eq!((attributes(&found, "3"), attributes(&found, "4")), (0, 1));
    }
}

#[test]
fn what_may_change_again_unseen_is_not_kept_nor_reused() {
    let began = clock::now();
    let (folder, state) = (many(50), tempfile::tempdir().unwrap());
    take_cached(began, folder.path(), state.path());
    assert!(Cache::load(&state.path().join("cache"), folder.path(), &mac).is_empty());
    take_cached(later(), folder.path(), state.path());
    assert_eq!(
        Cache::load(&state.path().join("cache"), folder.path(), &mac).len(),
        50
    );
    let soon = take_cached(began, folder.path(), state.path());
    assert_eq!((soon.cache.reused, soon.cache.rechecked), (0, 0));
}

#[test]
fn a_time_is_believed_after_two_seconds_and_one_with_a_fraction_after_fifty_milliseconds() {
    let settled = |modified: (i64, u32), changed: (i64, u32), now_millis: i64| {
        let stamp = Stamp {
            device: 1,
            inode: 1,
            size_bytes: 1,
            modified,
            changed,
        };
        stamp.is_settled(Timestamp::from_unix_millis(now_millis))
    };
    let (whole, fine) = ((100, 0), (100, 500_000_000));
    for (modified, changed, now_millis, expected) in [
        (whole, whole, 102_000, false),
        (whole, whole, 102_001, true),
        (fine, fine, 100_550, false),
        (fine, fine, 100_551, true),
        // Both have to be old enough, each by its own rule.
        (whole, fine, 100_600, false),
        (fine, whole, 102_001, true),
        ((103, 0), fine, 102_001, false),
    ] {
        assert_eq!(
            settled(modified, changed, now_millis),
            expected,
            "{modified:?} {changed:?} {now_millis}"
        );
    }
}

#[test]
fn a_cache_that_was_touched_is_ignored_as_a_whole() {
    let (folder, state) = (many(3), tempfile::tempdir().unwrap());
    take_cached(later(), folder.path(), state.path());
    let directory = state.path().join("cache");
    let file = cache_file(state.path());
    let load = || Cache::load(&directory, folder.path(), &mac);
    assert_eq!((load().len(), load().discarded()), (3, None));
    let good = fs::read(&file).unwrap();
    let mut versions: Vec<Vec<u8>> = (0..good.len())
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    versions.extend((0..good.len()).map(|length| good[..length].to_vec()));
    versions.push([&good[..], b"x"].concat());
    for bytes in versions {
        fs::write(&file, &bytes).unwrap();
        assert!(load().is_empty() && load().discarded().is_some());
    }
    fs::write(&file, &good).unwrap();
    let other_key = |bytes: &[u8]| Digest::of(bytes).0;
    assert!(
        Cache::load(&directory, folder.path(), &other_key)
            .discarded()
            .is_some()
    );
    assert!(
        Cache::load(&directory, state.path(), &mac)
            .discarded()
            .is_none()
    );
}

#[test]
fn a_cache_that_lies_is_caught_and_not_believed_in_anything() {
    // One in a hundred is computed again: 3,000 lies all pass once in 10^13 times.
    let (folder, state) = (many(3000), tempfile::tempdir().unwrap());
    let honest = take_cached(later(), folder.path(), state.path());
    let directory = state.path().join("cache");
    let mut cache = Cache::load(&directory, folder.path(), &mac);
    let mut records = cache.records().to_vec();
    for record in &mut records {
        record[79] ^= 1;
    }
    cache.replace(records, true);
    cache.save().unwrap();
    let found = take_cached(later(), folder.path(), state.path());
    assert!(found.cache.lied.is_some());
    assert_eq!(
        (found.cache.reused, found.inventory),
        (0, honest.inventory.clone())
    );
    let after = take_cached(later(), folder.path(), state.path());
    assert_eq!(
        (after.cache.lied, after.inventory),
        (None, honest.inventory)
    );
}

/// Notes which files it is shown, and knows those that it has seen.
#[derive(Default)]
struct Shown(Mutex<Vec<(RelPath, Digest)>>);

/// A content on its way to one.
struct OneShown<'s>(&'s Shown, RelPath, Vec<u8>);

impl Keeper for Shown {
    fn has(&self, path: &RelPath, digest: &Digest) -> bool {
        self.0.lock().unwrap().contains(&(path.clone(), *digest))
    }

    fn begin(
        &self,
        path: &RelPath,
        _: std::os::fd::BorrowedFd<'_>,
        _: u64,
    ) -> std::io::Result<Box<dyn Content + '_>> {
        Ok(Box::new(OneShown(self, path.clone(), Vec::new())))
    }
}

impl Content for OneShown<'_> {
    fn take_in(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.2.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, digest: Digest) -> std::io::Result<()> {
        assert_eq!(digest, Digest::of(&self.2), "the whole content");
        self.0.0.lock().unwrap().push((self.1, digest));
        Ok(())
    }
}

#[test]
fn each_keeper_is_shown_what_it_has_not_seen_and_a_file_is_read_once_for_all() {
    let (folder, state) = (many(40), tempfile::tempdir().unwrap());
    let (first, second) = (Shown::default(), Shown::default());
    let take = |keepers: &[&dyn Keeper]| {
        let mut cache = Cache::load(&state.path().join("cache"), folder.path(), &mac);
        let wanted = Wanted {
            details: false,
            keepers,
        };
        let request = Plain::new();
        let found = take_at(
            (later(), wanted),
            &request.of(folder.path()),
            Some(&mut cache),
        );
        cache.save().unwrap();
        let taken = found.unwrap().taken;
        (taken.cache.reused + taken.cache.rechecked, taken.inventory)
    };
    let count = |shown: &Shown| shown.0.lock().unwrap().len();
    let (reused, inventory) = take(&[&first]);
    assert_eq!((reused, count(&first)), (0, 40));
    // Digests are known by now, and one of both has to see everything.
    assert_eq!(take(&[&first, &second]), (0, inventory.clone()));
    assert_eq!((count(&first), count(&second)), (40, 40));
    assert_eq!(take(&[&first, &second]), (40, inventory.clone()));
    // The same content elsewhere is another file to look at.
    fs::rename(folder.path().join("3"), folder.path().join("three")).unwrap();
    fs::write(folder.path().join("4"), "four").unwrap();
    assert_eq!(take(&[&first, &second]).0, 38);
    assert_eq!((count(&first), count(&second)), (42, 42));
}

#[test]
fn a_walk_that_leaves_files_out_forgets_nothing_of_them() {
    let (folder, state) = (many(60), tempfile::tempdir().unwrap());
    let all = || take_cached(later(), folder.path(), state.path()).cache;
    all();
    let plain = Plain {
        globs: Globs::compile(&["1*".to_owned()]).unwrap(),
        ..Plain::new()
    };
    for _ in 0..3 {
        let mut cache = Cache::load(&state.path().join("cache"), folder.path(), &mac);
        let wanted = (later(), Wanted::default());
        take_at(wanted, &plain.of(folder.path()), Some(&mut cache)).unwrap();
        cache.save().unwrap();
    }
    let used = all();
    assert_eq!(used.reused + used.rechecked, 60);
}
