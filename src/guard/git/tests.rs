//! Real repositories, and hostile ones.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::*;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A folder with a repository in it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A new repository; `None`, and a word about it, where there is no git. CI has one.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        if Command::new("git").arg("--version").output().is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "git is missing, and CI has it"
            );
            return None;
        }
        place.git(&["init", "--quiet", "--initial-branch=main", "."]);
        Some(place)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs git as its users do.
    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(words)
            .current_dir(self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes, adds and commits; gives the commit.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            self.write(name, text);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn open(&self) -> Repository<'_> {
        Repository::open(self.path(), &[], &GO_ON).unwrap()
    }
}

/// Path and content of each entry; what is missing says so.
fn contents(repository: &Repository<'_>, entries: &[Entry]) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    let mut blobs = repository.blobs().unwrap();
    let read = blobs.read(entries, |entry, blob| {
        let mut text = String::new();
        match blob {
            Blob::Missing => text.push_str("missing"),
            Blob::Content { size_bytes, reader } => {
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text.len() as u64, size_bytes);
            }
        }
        contents.insert(entry.path.to_string(), text);
        Ok::<(), GitError>(())
    });
    read.unwrap();
    blobs.finish().unwrap();
    contents
}

fn paths(listing: &Listing) -> Vec<String> {
    let entries = listing.entries.iter();
    entries.map(|entry| entry.path.to_string()).collect()
}

/// Every blob of the history: its path, its content, and the commit that first held it.
fn history(repository: &Repository<'_>, most: usize) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    let mut history = repository.history().unwrap();
    while let Some(listing) = history.next(most).unwrap() {
        for entry in listing.entries {
            let content = contents(repository, std::slice::from_ref(&entry));
            let (path, text) = content.into_iter().next().unwrap();
            all.push((path, text, entry.commit.unwrap()));
        }
    }
    history.finish().unwrap();
    all
}

#[test]
fn staged_is_what_the_index_has_and_not_what_the_working_tree_has() {
    let Some(place) = Place::new() else { return };
    place.write("a", "first");
    place.write("odd \n\u{202e}\"name\\", "odd");
    place.git(&["add", "--all"]);
    // Before the first commit everything is new.
    let repository = place.open();
    let listing = repository.staged().unwrap();
    assert_eq!(
        contents(&repository, &listing.entries),
        BTreeMap::from([
            ("a".into(), "first".into()),
            ("odd \n\u{202e}\"name\\\\".into(), "odd".into())
        ])
    );
    place.commit(&[("gone", "x"), ("same", "x")]);
    place.write("a", "staged");
    std::os::unix::fs::symlink("a", place.path().join("link")).unwrap();
    fs::remove_file(place.path().join("gone")).unwrap();
    place.git(&["add", "--all"]);
    place.write("a", "only here");
    place.write("new", "not added");
    let listing = repository.staged().unwrap();
    let expected = BTreeMap::from([("a".into(), "staged".into()), ("link".into(), "a".into())]);
    assert_eq!(contents(&repository, &listing.entries), expected);
    assert_eq!(listing.entries[1].mode, Mode::Symlink);
    // A hook of `git commit -a` and `git commit PATH` has an index of its own.
    place.git(&["reset", "--quiet"]);
    assert_eq!(place.open().staged().unwrap(), Listing::default());
}

#[test]
fn since_a_commit_is_what_the_working_tree_has_that_the_commit_has_not() {
    let Some(place) = Place::new() else { return };
    let files = [
        ("a", "1"),
        ("b", "1"),
        ("gone", "1"),
        ("sub/c", "1"),
        (".gitignore", "ignored\n"),
    ];
    let first = place.commit(&files);
    place.commit(&[("b", "2")]);
    place.write("a", "2");
    place.write("sub/new", "1");
    place.write("ignored", "1");
    place.git(&["add", "a"]);
    fs::remove_file(place.path().join("gone")).unwrap();
    let repository = place.open();
    assert_eq!(paths(&repository.since("HEAD").unwrap()), ["a", "sub/new"]);
    assert_eq!(
        paths(&repository.since(&first).unwrap()),
        ["a", "b", "sub/new"]
    );
    assert_eq!(
        paths(&repository.since("main~1").unwrap()),
        ["a", "b", "sub/new"]
    );
    for name in [
        "",
        "-x",
        "--output=x",
        "none",
        "main..main",
        "main:a",
        "HEAD^{tree}",
        "x\0y",
        "main\n",
    ] {
        let refused = repository.since(name);
        assert!(
            matches!(refused, Err(GitError::Revision(_))),
            "{name:?}: {refused:?}"
        );
    }
    assert!(!place.path().join("x").exists());
}

#[test]
fn history_has_every_blob_once_and_the_commit_that_first_held_it() {
    let Some(place) = Place::new() else { return };
    let first = place.commit(&[("a", "1"), ("copy", "1")]);
    let second = place.commit(&[("a", "2")]);
    place.git(&["switch", "--quiet", "--create", "side", &first]);
    let side = place.commit(&[("side", "s"), ("a", "3")]);
    place.git(&["switch", "--quiet", "main"]);
    fs::remove_file(place.path().join("copy")).unwrap();
    place.commit(&[]);
    // A merge that holds what neither side had.
    place.git(&["merge", "--quiet", "--no-commit", "--strategy=ours", "side"]);
    let merge = place.commit(&[("evil", "e")]);
    place.git(&["branch", "--quiet", "--delete", "--force", "side"]);
    // What no commit leads to.
    let blob = place.git(&["hash-object", "-w", "--stdin"]);
    place.write("loose", "tagged");
    let tagged = place.git(&["hash-object", "-w", "loose"]);
    fs::remove_file(place.path().join("loose")).unwrap();
    place.git(&["tag", "--annotate", "--message=x", "file", &tagged]);
    place.git(&["tag", "--annotate", "--message=x", "nested", "file"]);
    place.write("stashed", "w");
    place.git(&["stash", "--quiet", "--include-untracked"]);
    let repository = place.open();
    for most in [1, 2, 1000] {
        let all = history(&repository, most);
        let commit_of = |text: &str| {
            let mut found = all.iter().filter(|(_, content, _)| content == text);
            let commit = found.next().map(|(.., commit)| commit.clone());
            assert!(found.next().is_none(), "{text} twice: {all:?}");
            assert!(commit.is_some(), "{text}: {all:?}");
            commit.unwrap()
        };
        for (text, commit) in [
            ("1", &first),
            ("2", &second),
            ("3", &side),
            ("s", &side),
            ("e", &merge),
        ] {
            assert_eq!(&commit_of(text), commit, "{text}");
        }
        commit_of("w");
        assert_eq!(commit_of("tagged"), place.git(&["rev-parse", "file"]));
        // An object that nothing refers to is no history.
        assert!(all.iter().all(|(path, ..)| *path != blob));
    }
}

#[test]
fn a_folder_deeper_down_and_a_bare_repository_know_where_they_are() {
    let Some(place) = Place::new() else { return };
    place.commit(&[("a", "1"), ("sub/deep/b", "1")]);
    place.write("a", "2");
    place.write("sub/deep/b", "2");
    let below = place.path().join("sub/deep");
    let repository = Repository::open(&below, &[], &GO_ON).unwrap();
    let listing = repository.since("HEAD").unwrap();
    let shown: Vec<String> = listing
        .entries
        .iter()
        .map(|entry| repository.shown(&entry.path))
        .collect();
    assert_eq!(shown, ["../../a", "b"]);
    let top = repository.top().unwrap().canonicalize().unwrap();
    assert_eq!(top, place.path().canonicalize().unwrap());
    let git_folder = place.path().join(".git");
    let bare = Repository::open(&git_folder, &[], &GO_ON).unwrap();
    assert!(matches!(bare.since("HEAD"), Err(GitError::Bare)));
    assert_eq!(history(&bare, 10).len(), 1);
    let outside = tempfile::tempdir().unwrap();
    let none = Repository::open(outside.path(), &[], &GO_ON);
    assert!(matches!(none, Err(GitError::NoRepository)), "{none:?}");
}

#[test]
fn nothing_that_a_hostile_repository_names_is_started() {
    let Some(place) = Place::new() else { return };
    place.commit(&[
        (".gitattributes", "* filter=x diff=x\n*.y filter=a=b.c\n"),
        ("a.txt", "1"),
        ("a.y", "1"),
    ]);
    let marker = place.path().join("started");
    let script = place.path().join("script");
    fs::write(
        &script,
        format!("#!/bin/sh\necho \"$0\" >>'{}'\ncat\n", marker.display()),
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    let script = script.to_str().unwrap();
    for name in [
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "diff.external",
        "diff.x.textconv",
        "diff.x.command",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "filter.a=b.c.clean",
        "filter.a=b.c.process",
        "log.showSignature",
        "gpg.program",
        "alias.rev-parse",
        "alias.diff-index",
        "alias.cat-file",
        "uploadpack.packObjectsHook",
    ] {
        place.git(&["config", name, script]);
    }
    place.git(&["config", "filter.x.required", "true"]);
    fs::create_dir_all(place.path().join(".git/hooks")).unwrap();
    for hook in [
        "post-index-change",
        "pre-commit",
        "fsmonitor-watchman",
        "query-watchman",
    ] {
        fs::copy(script, place.path().join(".git/hooks").join(hook)).unwrap();
    }
    // As long as the index is no older than its files, git compares their content.
    let touch = |time: &str| {
        let names = ["a.txt", "a.y", ".gitattributes", ".git/index"];
        let touched = Command::new("touch")
            .args(["-d", time])
            .args(names)
            .current_dir(place.path())
            .status();
        assert!(touched.unwrap().success());
    };
    touch("2030-01-01");
    place.write("new", "1");
    let repository = place.open();
    for _ in 0..2 {
        repository.staged().unwrap();
        let listing = repository.since("HEAD").unwrap();
        assert!(paths(&listing).contains(&"new".to_owned()));
        history(&repository, 10);
        touch("2031-01-01");
    }
    assert!(!marker.exists(), "{}", fs::read_to_string(&marker).unwrap());
    // The trap is one: git itself walks into it.
    let plain = Command::new("git")
        .args(["diff-index", "HEAD"])
        .current_dir(place.path())
        .output();
    assert!(plain.is_ok() && marker.exists());
}

#[test]
fn another_history_put_in_front_of_the_real_one_hides_nothing() {
    let Some(place) = Place::new() else { return };
    place.commit(&[("a", "secret")]);
    let second = place.commit(&[("a", "clean")]);
    place.write(".git/info/grafts", &format!("{second}\n"));
    assert_eq!(history(&place.open(), 10).len(), 2);
    fs::remove_file(place.path().join(".git/info/grafts")).unwrap();
    place.git(&["replace", "--graft", &second]);
    let all = history(&place.open(), 10);
    assert!(all.iter().any(|(_, text, _)| text == "secret"), "{all:?}");
}

#[test]
fn what_is_not_here_is_told() {
    let Some(place) = Place::new() else { return };
    place.commit(&[("a", "1"), ("b", "2")]);
    place.commit(&[("a", "3")]);
    assert!(!place.open().is_shallow);
    // A clone without its past.
    let clone = Place::new().unwrap();
    let origin = format!("file://{}", place.path().display());
    clone.git(&["pull", "--quiet", "--depth=1", &origin, "main"]);
    assert!(clone.open().is_shallow);
    assert_eq!(history(&clone.open(), 10).len(), 2);
    // A clone without its files, whose remote must not be asked.
    place.git(&["config", "uploadpack.allowFilter", "true"]);
    clone.git(&[
        "clone",
        "--quiet",
        "--no-checkout",
        "--filter=blob:none",
        &origin,
        "partial",
    ]);
    let partial = clone.path().join("partial");
    let partial = Repository::open(&partial, &[], &GO_ON).unwrap();
    let all = history(&partial, 10);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|(_, text, _)| text == "missing"), "{all:?}");
    // Another repository within.
    clone.git(&["submodule", "--quiet", "add", &origin, "inner"]);
    let listing = clone.open().staged().unwrap();
    assert_eq!(
        (paths(&listing), &listing.submodules[..]),
        (vec![".gitmodules".into()], &["inner".into()][..])
    );
    // A file that is not what its name says.
    let object = place.git(&["rev-parse", "HEAD:a"]);
    let loose = place
        .path()
        .join(".git/objects")
        .join(&object[..2])
        .join(&object[2..]);
    fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&loose, "broken").unwrap();
    let repository = place.open();
    let mut history = repository.history().unwrap();
    let listing = history.next(10).unwrap().unwrap();
    let missing = contents(&repository, &listing.entries);
    assert!(
        missing.values().any(|text| text == "missing"),
        "{missing:?}"
    );
}

#[test]
fn an_unfinished_merge_is_told_and_a_stop_stops() {
    let Some(place) = Place::new() else { return };
    place.commit(&[("a", "0"), ("b", "0")]);
    place.git(&["switch", "--quiet", "--create", "side"]);
    place.commit(&[("a", "1")]);
    place.git(&["switch", "--quiet", "main"]);
    place.commit(&[("a", "2")]);
    let merged = Command::new("git")
        .args(["merge", "side"])
        .current_dir(place.path())
        .output();
    assert!(!merged.unwrap().status.success());
    place.write("b", "1");
    place.git(&["add", "b"]);
    let listing = place.open().staged().unwrap();
    assert_eq!(
        (paths(&listing), &listing.unmerged[..]),
        (vec!["b".into()], &["a".into()][..])
    );
    let stop = AtomicBool::new(true);
    assert!(Repository::open(place.path(), &[], &stop).is_err());
}
