//! `agp rollback` as its users meet it: what comes back, what is refused, what is left after a kill.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use super::harness::{Place, Ran, codes, secret};

/// Two targets, `a` and `b`, with something of every kind.
fn place() -> Place {
    let place = Place::new();
    for name in ["a", "b"] {
        place.write(
            &format!("{name}/text"),
            format!("text of {name}\n").repeat(900),
        );
        place.write(&format!("{name}/sub/deep/bytes"), [0, 255, 10, 13]);
        place.write(&format!("{name}/empty"), "");
        std::fs::create_dir(place.at(format!("{name}/nothing"))).unwrap();
        std::fs::hard_link(
            place.at(format!("{name}/text")),
            place.at(format!("{name}/sub/same")),
        )
        .unwrap();
        symlink("no/where", place.at(format!("{name}/link"))).unwrap();
        fifo(&place, &format!("{name}/fifo"));
        let strange = std::ffi::OsStr::from_bytes(b"caf\xe9\n\x1b[31m\\");
        std::fs::write(place.at(name).join(strange), "strange").unwrap();
    }
    place.chmod("a/sub/deep/bytes", 0o4750);
    place
}

fn fifo(place: &Place, name: &str) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(
        CWD,
        place.at(name),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
}

/// Everything about a tree, without the program under test.
fn state(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let content = if kind.is_dir() {
            paths.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if kind.is_file() {
            std::fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            std::fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            assert!(kind.is_fifo() || kind.is_socket());
            Vec::new()
        };
        let place = path.strip_prefix(root).unwrap();
        let time = (meta.mtime(), meta.mtime_nsec());
        let owner = (meta.uid(), meta.gid());
        lines.push(format!(
            "{place:?} {:o} {owner:?} {time:?} {content:?}",
            meta.mode()
        ));
    }
    lines.sort();
    lines
}

fn states(place: &Place) -> [Vec<String>; 2] {
    ["a", "b"].map(|name| state(&place.at(name)))
}

fn damage(place: &Place) {
    place.write("a/text", "damaged");
    std::fs::remove_file(place.at("a/link")).unwrap();
    std::fs::remove_dir_all(place.at("b/sub")).unwrap();
    place.write("b/new/file", "new");
    place.chmod("b/nothing", 0o777);
}

fn rollback(place: &Place, words: &[&str]) -> Ran {
    place.run(["rollback"].iter().chain(words))
}

#[track_caller]
fn succeeds(place: &Place, words: &[&str]) -> Ran {
    let ran = rollback(place, words);
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    ran
}

fn snapshot(place: &Place) {
    succeeds(
        place,
        &["snapshot", "--target-dirs", "a", "b", "--label", "first"],
    );
}

#[test]
fn what_was_there_comes_back_and_undo_takes_that_back_and_again() {
    let place = place();
    let good = states(&place);
    snapshot(&place);
    succeeds(&place, &["diff", "first"]);
    damage(&place);
    let bad = states(&place);
    let differing = rollback(&place, &["diff", "first", "live", "--json"]);
    assert_eq!(differing.code, 1);
    assert_eq!(codes(&differing.json()), ["snapshot.differs"]);
    let restored = succeeds(&place, &["restore", "first", "--yes", "--json"]).json();
    assert_eq!(restored["targets"][0]["atomicity"], "tree");
    assert_eq!(
        restored["targets"][0]["changes"]["replaced"], 2,
        "{restored}"
    );
    assert_eq!(states(&place), good);
    succeeds(&place, &["diff", "first"]);
    succeeds(&place, &["undo", "--yes"]);
    assert_eq!(states(&place), bad);
    succeeds(&place, &["undo", "--yes"]);
    assert_eq!(states(&place), good);
    succeeds(&place, &["check", "--read-data"]);
}

#[test]
fn a_target_that_is_gone_comes_back_and_undo_lets_it_go() {
    let place = place();
    let good = states(&place);
    snapshot(&place);
    std::fs::remove_dir_all(place.at("b")).unwrap();
    succeeds(&place, &["restore", "first", "--yes"]);
    assert_eq!(states(&place), good);
    succeeds(&place, &["undo", "--yes"]);
    assert!(!place.at("b").exists());
    assert_eq!(state(&place.at("a")), good[0]);
    succeeds(&place, &["undo", "--yes"]);
    assert_eq!(states(&place), good);
}

#[test]
fn only_what_is_included_comes_back_and_only_the_target_that_is_named() {
    let place = place();
    let good = states(&place);
    snapshot(&place);
    damage(&place);
    let bad = states(&place);
    succeeds(&place, &["restore", "first", "--target", "b", "--yes"]);
    assert_eq!(states(&place), [bad[0].clone(), good[1].clone()]);
    succeeds(&place, &["undo", "--yes"]);
    succeeds(
        &place,
        &["restore", "first", "--include", "sub/deep", "--yes"],
    );
    assert_eq!(place.read("a/text"), "damaged");
    assert!(place.at("b/new/file").exists());
    assert_eq!(
        std::fs::read(place.at("b/sub/deep/bytes")).unwrap(),
        [0, 255, 10, 13]
    );
    assert!(!place.at("b/sub/same").exists());
}

#[test]
fn a_dry_run_and_who_did_not_agree_change_nothing() {
    let place = place();
    snapshot(&place);
    damage(&place);
    let bad = states(&place);
    let would = succeeds(&place, &["restore", "first", "--dry-run", "--json"]).json();
    assert_eq!(would["targets"][1]["changes"]["removed"], 2, "{would}");
    for words in [&["restore", "first"][..], &["undo"]] {
        let ran = rollback(&place, words);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("--yes"), "{ran:?}");
    }
    assert_eq!(states(&place), bad);
    assert_eq!(
        succeeds(&place, &["list", "--json"]).json()["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn bad_requests_are_refused_with_a_hint_and_touch_nothing() {
    let place = place();
    snapshot(&place);
    place.write("file", "x");
    symlink("a", place.at("alias")).unwrap();
    damage(&place);
    let bad = states(&place);
    for (words, expected) in [
        (&["restore", "frist", "--yes"][..], "did you mean `first`?"),
        (
            &["restore", "last-good", "--yes"],
            "no snapshot `last-good`",
        ),
        (
            &["restore", "first", "--target", "c", "--yes"],
            "has no target `c`",
        ),
        (
            &["restore", "first", "--include", "[x]", "--yes"],
            "pattern",
        ),
        (
            &["snapshot", "--target-dirs", "a", "a/sub"],
            "one lies in the other",
        ),
        (
            &["snapshot", "--target-dirs", "a", "alias"],
            "one lies in the other",
        ),
        (&["snapshot", "--target-dirs", "nowhere"], "nowhere"),
        (&["snapshot", "--target-dirs", "file"], "file"),
        (&["snapshot", "--target-dirs", ".agp"], "state directory"),
        (&["diff", "first", "second"], "no snapshot `second`"),
        (&["pin", "nothing"], "no snapshot"),
    ] {
        let ran = rollback(&place, words);
        assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{words:?}: {ran:?}");
    }
    // What stands in a target's place is not a tree of ours.
    std::fs::rename(place.at("a"), place.at("aside")).unwrap();
    symlink("aside", place.at("a")).unwrap();
    assert_eq!(rollback(&place, &["restore", "first", "--yes"]).code, 2);
    std::fs::remove_file(place.at("a")).unwrap();
    std::fs::rename(place.at("aside"), place.at("a")).unwrap();
    assert_eq!(states(&place), bad);
    assert_eq!(leftovers(&place), [""; 0]);
}

/// What a restore stages and should have removed.
fn leftovers(place: &Place) -> Vec<String> {
    let entries = place
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains(".agp-")).collect()
}

/// Objects of the store, sorted.
fn objects(place: &Place) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in place.at(".agp/snapshots/objects").read_dir().unwrap() {
        for file in folder.unwrap().path().read_dir().unwrap() {
            found.push(file.unwrap().path());
        }
    }
    found.sort();
    found
}

#[test]
fn a_damaged_object_is_named_and_never_restored() {
    let place = place();
    snapshot(&place);
    damage(&place);
    let bad = states(&place);
    for object in objects(&place) {
        let kept = std::fs::read(&object).unwrap();
        let mut damaged = kept.clone();
        match damaged.last_mut() {
            Some(last) => *last ^= 1,
            None => damaged.push(0),
        }
        for content in [Some(damaged), Some(kept[..kept.len() / 2].to_vec()), None] {
            match &content {
                Some(content) => std::fs::write(&object, content).unwrap(),
                None => std::fs::remove_file(&object).unwrap(),
            }
            if content.as_ref() == Some(&kept) {
                continue;
            }
            let checked = rollback(&place, &["check", "--read-data", "--json"]);
            assert_eq!(checked.code, 1, "{checked:?}");
            let name = object.file_name().unwrap().to_str().unwrap();
            assert!(
                checked.stdout.contains(name.trim_end_matches(".zst")),
                "{checked:?}"
            );
            let ran = rollback(&place, &["restore", "first", "--yes"]);
            if ran.code != 0 {
                assert_eq!(ran.code, 2, "{ran:?}");
                assert!(
                    ran.stderr.contains(name.trim_end_matches(".zst")),
                    "{ran:?}"
                );
                assert_eq!(states(&place), bad);
            } else {
                // Nothing needed it: the live file was the right one.
                succeeds(&place, &["undo", "--yes"]);
                assert_eq!(states(&place), bad);
            }
            std::fs::write(&object, &kept).unwrap();
        }
    }
    succeeds(&place, &["restore", "first", "--yes"]);
    assert_eq!(leftovers(&place), [""; 0]);
}

#[test]
fn a_snapshot_that_was_changed_is_refused_and_one_of_another_key_is_told() {
    let mut place = place();
    snapshot(&place);
    let folder = place.at(".agp/snapshots/snapshots");
    let file = folder.read_dir().unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    // With the digest mended, only the MAC can tell.
    let body = text
        .strip_prefix("{\"snapshot\":")
        .unwrap()
        .split(",\n\"sha256\"")
        .next()
        .unwrap();
    let forged = body.replacen("\"mode\":\"0644\"", "\"mode\":\"4777\"", 1);
    assert_ne!(forged, body);
    let digest = |text: &str| agp::base::digest::Digest::of(text.as_bytes()).to_string();
    let changed = text
        .replacen(body, &forged, 1)
        .replacen(&digest(body), &digest(&forged), 1);
    std::fs::write(&file, changed).unwrap();
    let ran = rollback(&place, &["restore", "last", "--yes", "--json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["snapshot.forged".to_owned()])
    );
    let ran = rollback(&place, &["check", "--json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (1, vec!["snapshot.forged".to_owned()])
    );
    std::fs::write(&file, text).unwrap();
    place.set("POCKETMON_SIGN_SECRET", &secret().replace('0', "f"));
    let ran = succeeds(&place, &["restore", "last", "--yes", "--json"]);
    assert!(codes(&ran.json()).contains(&"snapshot.unknown_key".to_owned()));
}

#[test]
fn without_a_key_snapshots_work_and_with_one_that_is_told() {
    let mut place = Place::without_key();
    place.write("a/file", "x");
    succeeds(&place, &["snapshot", "--target-dirs", "a"]);
    place.write("a/file", "y");
    assert_eq!(
        codes(&succeeds(&place, &["restore", "last", "--yes", "--json"]).json()),
        [""; 0]
    );
    assert_eq!(place.read("a/file"), "x");
    place.set("POCKETMON_SIGN_SECRET", &secret());
    let ran = succeeds(&place, &["check", "--json"]).json();
    assert_eq!(codes(&ran), ["snapshot.unsealed"]);
}

#[test]
fn what_cannot_be_kept_is_refused_by_name_or_left_alone_as_allowed() {
    let place = place();
    let _socket = std::os::unix::net::UnixListener::bind(place.at("a/sub/socket")).unwrap();
    let ran = rollback(&place, &["snapshot", "--target-dirs", "a", "b", "--json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["snapshot.unsupported".to_owned()])
    );
    assert_eq!(ran.json()["findings"][0]["path"], "a/sub/socket");
    assert_eq!(objects(&place).len(), 0, "a failed run leaves nothing");
    let words = [
        "snapshot",
        "--target-dirs",
        "a",
        "b",
        "--label",
        "first",
        "--allow-incomplete",
        "--json",
    ];
    let ran = succeeds(&place, &words);
    assert_eq!(codes(&ran.json()), ["snapshot.incomplete"]);
    damage(&place);
    place.write("a/sub/later", "later");
    let restored = succeeds(&place, &["restore", "first", "--yes", "--json"]).json();
    assert_eq!(restored["targets"][0]["atomicity"], "entry");
    assert_eq!(restored["targets"][1]["atomicity"], "tree");
    assert!(
        place
            .at("a/sub/socket")
            .metadata()
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert!(!place.at("a/sub/later").exists());
    succeeds(&place, &["diff", "first"]);
}

#[test]
fn the_tree_that_holds_the_state_directory_is_restored_around_it() {
    let place = Place::new();
    place.write("one", "one");
    place.write("sub/two", "two");
    let time = std::fs::metadata(place.at("sub")).unwrap().mtime_nsec();
    succeeds(&place, &["snapshot", "--target-dirs", "."]);
    place.write("one", "changed");
    place.write("three", "three");
    std::fs::remove_dir_all(place.at("sub")).unwrap();
    let restored = succeeds(&place, &["restore", "last", "--yes", "--json"]).json();
    assert_eq!(restored["targets"][0]["atomicity"], "entry");
    assert_eq!(
        (place.read("one"), place.read("sub/two")),
        ("one".into(), "two".into())
    );
    assert_eq!(
        std::fs::metadata(place.at("sub")).unwrap().mtime_nsec(),
        time
    );
    assert!(!place.at("three").exists());
    assert_eq!(leftovers(&place), [""; 0]);
    succeeds(&place, &["undo", "--yes"]);
    assert_eq!(place.read("three"), "three");
}

#[test]
fn directories_that_nobody_may_enter_come_back_and_old_ones_go() {
    let place = place();
    place.chmod("a/sub/deep", 0o500);
    place.chmod("a/nothing", 0o555);
    let good = states(&place);
    snapshot(&place);
    place.write("b/other", "x");
    place.write("a/closed/file", "x");
    place.chmod("a/closed", 0o100);
    let ran = rollback(&place, &["restore", "first", "--allow-incomplete", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(states(&place), good);
    assert_eq!(leftovers(&place), [""; 0]);
}

#[test]
fn the_failed_tree_is_kept_where_only_its_owner_can_enter() {
    let place = place();
    snapshot(&place);
    damage(&place);
    succeeds(&place, &["restore", "first", "--keep-failed", "--yes"]);
    let quarantine = place.at(".agp/snapshots/quarantine");
    assert_eq!(
        quarantine.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    let run = quarantine
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(std::fs::read(run.join("0/text")).unwrap(), b"damaged");
    // What is written now must not reach the tree in quarantine.
    place.write("a/empty", "written later");
    assert_eq!(std::fs::read(run.join("0/empty")).unwrap(), b"");
}

#[test]
fn retention_keeps_the_newest_and_pinned_ones_and_a_rehearsal_leaves_nothing() {
    let place = place();
    snapshot(&place);
    place.write(
        "policy.json",
        r#"{"rollback_playbook": {"backup_retention_days": 0}}"#,
    );
    let ran = rollback(&place, &["prune", "-c", "policy.json"]);
    // A retention of no days is allowed or refused by the policy; either way the newest stays.
    assert!([0, 2].contains(&ran.code), "{ran:?}");
    succeeds(&place, &["pin", "first"]);
    let shown = succeeds(&place, &["show", "first", "--json"]).json();
    assert_eq!(shown["snapshots"][0]["pinned"], true);
    succeeds(&place, &["unpin", "first"]);
    let drilled = succeeds(&place, &["drill", "first", "--json"]).json();
    assert!(drilled["summary"]["measured_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(
        place
            .at(".agp/snapshots/staging")
            .read_dir()
            .unwrap()
            .count(),
        0
    );
    succeeds(&place, &["prune", "--dry-run"]);
    let pruned = succeeds(&place, &["prune", "--json"]).json();
    assert_eq!(pruned["summary"]["objects"], 0);
    succeeds(&place, &["restore", "first", "--yes"]);
}

#[test]
fn unchanged_files_are_not_read_again_and_a_paranoid_snapshot_reads_them() {
    let place = place();
    snapshot(&place);
    // Two seconds make a file's times trustworthy.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    snapshot(&place);
    let reused = |words: &[&str]| {
        let words = [&["snapshot", "--target-dirs", "a", "b", "--json"], words].concat();
        succeeds(&place, &words).json()["summary"]["reused"]
            .as_u64()
            .unwrap()
    };
    assert!(reused(&[]) >= 8);
    assert_eq!(reused(&["--paranoid"]), 0);
    place.write("a/text", "same size?");
    let before = succeeds(&place, &["show", "last", "--json"]).json();
    reused(&[]);
    let after = succeeds(&place, &["show", "last", "--json"]).json();
    let digest =
        |shown: &serde_json::Value| shown["snapshots"][0]["targets"][0]["root_digest"].clone();
    assert_ne!(digest(&before), digest(&after));
}

#[test]
fn two_snapshots_at_once_wait_for_each_other() {
    let place = place();
    let children: Vec<_> = (0..4)
        .map(|_| {
            let words = ["rollback", "snapshot", "--target-dirs", "a", "b"];
            place
                .command(words)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let listed = succeeds(&place, &["list", "--json"]).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 4);
    succeeds(&place, &["check", "--read-data"]);
}

#[test]
fn killed_at_any_moment_a_restore_leaves_each_target_old_or_new_and_recovery_both_or_none() {
    let place = place();
    let good = states(&place);
    snapshot(&place);
    damage(&place);
    let bad = states(&place);
    let began = std::time::Instant::now();
    succeeds(&place, &["restore", "first", "--yes"]);
    let duration = began.elapsed();
    succeeds(&place, &["undo", "--yes"]);
    place.write("other/file", "x");
    let mut killed = 0;
    for round in 0..60_u32 {
        let words = ["rollback", "restore", "first", "--yes"];
        let mut child = place
            .command(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over its whole time, and a little beyond.
        std::thread::sleep(duration.mul_f64(f64::from(round * 37 % 60) / 50.0));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        for (now, (old, new)) in states(&place).iter().zip(bad.iter().zip(&good)) {
            assert!(now == old || now == new, "round {round}: torn");
        }
        // Whoever comes next brings it to its end, a signer too.
        let next: &[&str] = match round % 2 {
            0 => &["rollback", "recover"],
            _ => &["sign", "--input-dir", "other"],
        };
        let ran = place.run(next);
        assert_eq!(ran.code, 0, "round {round}: {ran:?}");
        let now = states(&place);
        assert!(now == bad || now == good, "round {round}: half");
        assert_eq!(leftovers(&place), [""; 0], "round {round}");
        if now == good {
            succeeds(&place, &["undo", "--yes"]);
        }
    }
    assert!(killed > 10, "{killed}");
    succeeds(&place, &["check", "--read-data"]);
}

/// The guide's own call.
fn prepare(place: &Place) {
    let words = ["--target-dirs", "a", "b", "--output", "playbook.json"];
    succeeds(place, &words);
}

#[test]
fn the_guides_call_takes_a_snapshot_and_writes_a_playbook_that_runs() {
    let place = place();
    let good = states(&place);
    prepare(&place);
    let playbook: serde_json::Value = serde_json::from_str(&place.read("playbook.json")).unwrap();
    let held = playbook["preconditions"].as_array().unwrap().iter();
    assert!(
        held.clone().all(|one| one["result_now"] == "ok"),
        "{playbook:#}"
    );
    assert_eq!(playbook["snapshots"].as_array().unwrap().len(), 2);
    damage(&place);
    let bad = states(&place);
    // A step that asks for a person stops it, and nothing live was touched.
    let stopped = rollback(&place, &["execute", "playbook.json", "--json"]);
    assert_eq!(
        (stopped.code, codes(&stopped.json())),
        (2, vec!["playbook.waiting".to_owned()])
    );
    assert_eq!(stopped.json()["steps_done"], serde_json::json!(["check"]));
    assert_eq!(states(&place), bad);
    // It goes on where it stopped.
    let ran = succeeds(&place, &["execute", "playbook.json", "--approve", "--json"]).json();
    assert_eq!(ran["summary"]["status"], "executed");
    assert_eq!(states(&place), good);
    damage(&place);
    succeeds(
        &place,
        &["execute", "playbook.json", "--approve", "--from", "restore"],
    );
    assert_eq!(states(&place), good);
    assert_eq!(
        rollback(&place, &["execute", "playbook.json", "--from", "nothing"]).code,
        2
    );
}

#[test]
fn a_playbook_is_rehearsed_and_read_by_a_person_on_call() {
    let place = place();
    prepare(&place);
    succeeds(&place, &["drill", "playbook.json"]);
    let playbook: serde_json::Value = serde_json::from_str(&place.read("playbook.json")).unwrap();
    assert_eq!(playbook["rehearsal"]["result"], "ok");
    let page = succeeds(&place, &["show", "playbook.json", "--format", "markdown"]).stdout;
    let id = playbook["id"].as_str().unwrap();
    for needed in [
        &format!("agp rollback restore {id} --yes"),
        "agp rollback undo",
        "## Steps",
        "Rehearsed",
    ] {
        assert!(page.contains(needed), "{needed}: {page}");
    }
    // What the page says, done by hand, works.
    damage(&place);
    for line in page
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("agp rollback"))
    {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        if !words.contains(&"undo") {
            assert_eq!(place.run(&words).code, 0, "{line}");
        }
    }
    succeeds(&place, &["diff", id]);
}

#[test]
fn a_playbook_that_is_none_or_was_changed_runs_nothing() {
    let mut place = place();
    prepare(&place);
    damage(&place);
    let bad = states(&place);
    let text = place.read("playbook.json");
    let mut unsigned: serde_json::Value = serde_json::from_str(&text).unwrap();
    unsigned["signature"] = serde_json::Value::Null;
    for (content, code) in [
        (text.replace("\"restore\",", "\"undo\","), "playbook.forged"),
        (
            text.replace("\"max_attempts\": 2", "\"max_attempts\": 3"),
            "playbook.forged",
        ),
        (unsigned.to_string(), "playbook.invalid"),
        (text.replacen("\"1.0\"", "\"2.0\"", 1), "playbook.invalid"),
        (text.replacen('{', "{\"more\": 1,", 1), "playbook.invalid"),
        (text[..text.len() / 2].to_owned(), "playbook.invalid"),
        (String::new(), "playbook.invalid"),
    ] {
        assert_ne!(content, text);
        place.write("changed.json", content);
        for verb in ["execute", "drill", "show"] {
            let ran = rollback(&place, &[verb, "changed.json", "--json"]);
            assert_eq!(
                (ran.code, codes(&ran.json())),
                (2, vec![code.to_owned()]),
                "{verb}: {ran:?}"
            );
        }
    }
    place.set("POCKETMON_SIGN_SECRET", &secret().replace('0', "f"));
    let ran = rollback(&place, &["execute", "playbook.json", "--approve"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("not at hand"), "{ran:?}");
    assert_eq!(states(&place), bad);
}

#[test]
fn a_failed_snapshot_leaves_an_older_playbook_as_it_is() {
    let place = place();
    prepare(&place);
    let before = place.read("playbook.json");
    let _socket = std::os::unix::net::UnixListener::bind(place.at("a/socket")).unwrap();
    let ran = rollback(
        &place,
        &["--target-dirs", "a", "b", "--output", "playbook.json"],
    );
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(place.read("playbook.json"), before);
}

#[test]
fn a_report_says_the_same_in_every_action_and_names_are_printed_harmlessly() {
    let place = place();
    snapshot(&place);
    std::fs::remove_file(
        place
            .at("a")
            .join(std::ffi::OsStr::from_bytes(b"caf\xe9\n\x1b[31m\\")),
    )
    .unwrap();
    let ran = rollback(&place, &["diff", "first"]);
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert!(
        ran.stdout
            .contains("a/caf\\xe9\\n\\u{1b}[31m\\\\: error: missing"),
        "{ran:?}"
    );
    let log = place.run(["audit", "show"]);
    assert!(log.stdout.contains("rollback.snapshot"), "{log:?}");
}
