//! Files that do not hold still, cannot be read, or never end; and signers that are interrupted.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::Signal;
use serde_json::Value;

use crate::faults_paths::{fifo, remove};
use crate::harness::{Place, Ran, codes, skip};
use crate::sign_verify::{Answer, answer, finish, signal, verdict};

const MANIFEST: &str = "tree/integrity_manifest.json";
const GOOD: Answer<'static> = (0, &[]);
const VERIFY: [&str; 4] = ["verify", "--manifest", MANIFEST, "--json"];
const SIGN: [&str; 4] = ["sign", "--input-dir", "tree", "--json"];

fn signed() -> Place {
    let place = Place::new();
    place.signed_tree();
    place
}

fn sign(place: &Place, expected: Answer<'_>) -> Value {
    answer(place, ["sign", "--input-dir", "tree"], expected)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes an entry at a path.
type Make<'a> = &'a dyn Fn(&Path);
/// Changes a file of a size, in a step of that number.
type Change = fn(&mut File, u64, u64);

#[test]
fn a_time_that_no_manifest_can_say_is_no_reason_not_to_verify() {
    let place = signed();
    let file = File::options()
        .append(true)
        .open(place.at("tree/a.json"))
        .unwrap();
    // Where the file system keeps such a time, it is above 2^53-1.
    let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 54));
    sign(&place, GOOD);
    verdict(&place, GOOD);
}

#[test]
fn a_fifo_where_the_manifest_or_the_report_goes_is_refused_and_not_waited_for() {
    let place = Place::new();
    place.write("tree/a.json", "{}");
    fifo(&place.at(MANIFEST));
    sign(&place, (2, &["command.usage"]));
    remove(&place.at(MANIFEST));
    sign(&place, GOOD);
    for name in ["tree/integrity_report.json", "elsewhere"] {
        fifo(&place.at(name));
        let verify = ["verify", "--manifest", MANIFEST, "-o", name];
        answer(&place, verify, (2, &["command.output"]));
    }
    remove(&place.at("tree/integrity_report.json"));
    let out = ["sign", "--input-dir", "tree", "--output", "elsewhere"];
    answer(&place, out, (2, &["command.output"]));
}

#[test]
fn a_link_to_a_device_at_the_manifests_place_swallows_no_manifest() {
    let place = Place::new();
    place.write("tree/a.json", "{}");
    std::os::unix::fs::symlink("/dev/null", place.at(MANIFEST)).unwrap();
    sign(&place, GOOD);
    verdict(&place, GOOD);
}

#[test]
fn what_is_no_file_cannot_be_signed_and_never_blocks() {
    let make_socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
    let make_device = |path: &Path| {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, null).unwrap();
    };
    let mut cases: Vec<(&str, Make<'_>)> = vec![("FIFO", &fifo), ("socket", &make_socket)];
    if is_root() {
        cases.push(("device", &make_device));
    }
    for (kind, make) in cases {
        let place = signed();
        let before = place.read(MANIFEST);
        make(&place.at("tree/sub/special"));
        let report = sign(&place, (2, &["file.unsupported"]));
        assert_eq!(report["findings"][0]["path"], "tree/sub/special", "{kind}");
        assert_eq!(place.read(MANIFEST), before, "{kind}");
        verdict(&place, (1, &["file.unlisted"]));
        answer(
            &place,
            ["sign", "--input-dir", "tree", "--exclude", "sub/special"],
            GOOD,
        );
        verdict(&place, GOOD);
    }
}

#[test]
fn a_manifest_that_is_no_file_is_refused_and_never_blocks() {
    let place = signed();
    std::fs::remove_file(place.at(MANIFEST)).unwrap();
    verdict(&place, (2, &["manifest.unreadable"]));
    std::fs::create_dir(place.at(MANIFEST)).unwrap();
    verdict(&place, (2, &["manifest.unreadable"]));
    std::fs::remove_dir(place.at(MANIFEST)).unwrap();
    fifo(&place.at(MANIFEST));
    verdict(&place, (2, &["manifest.unreadable"]));
    answer(
        &place,
        ["verify", "--all", "tree"],
        (2, &["manifest.unreadable"]),
    );
    for device in ["/dev/null", "/dev/zero"] {
        answer(
            &place,
            ["verify", "--manifest", device],
            (2, &["manifest.unreadable"]),
        );
    }
}

/// Does something over and over, in a thread, until dropped.
struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Meanwhile {
    fn begin(mut step: impl FnMut(u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !until.load(Ordering::Relaxed) {
                step(count);
                count += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs until the change was seen once; any other answer must be one of `consistent`.
fn until_unstable(place: &Place, arguments: &[&str], consistent: &[Answer<'_>]) {
    for _ in 0..20 {
        let ran = finish(&mut place.command(arguments));
        let found = codes(&ran.json());
        if (ran.code, &found[..]) == (2, &["file.unstable".to_owned()]) {
            return;
        }
        // With a warning beside it, what was seen is still that.
        assert!(
            consistent
                .iter()
                .any(|(code, codes)| ran.code == *code && found == *codes),
            "{ran:?}"
        );
    }
    panic!("twenty runs saw nothing change");
}

/// A tree with one file large enough that any reading takes longer than the clock of `ctime`.
fn large() -> (Place, PathBuf, u64) {
    let place = Place::new();
    let size_bytes = 96 << 20;
    let path = place.write("tree/large", "");
    let file = File::create(&path).unwrap();
    file.set_len(size_bytes).unwrap();
    place.write("tree/small", "s");
    sign(&place, GOOD);
    (place, path, size_bytes)
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_unstable() {
    let (place, path, size_bytes) = large();
    let before = place.read(MANIFEST);
    let ways: [(&str, Change); 3] = [
        ("grows", |file, _, _| {
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("shrinks", |file, size_bytes, step| {
            file.set_len(size_bytes - step).unwrap();
        }),
        ("is rewritten", |file, _, step| {
            file.seek(SeekFrom::Start(step * 4096 % (1 << 20))).unwrap();
            file.write_all(b"other").unwrap();
        }),
    ];
    for (name, change) in ways {
        eprintln!("{name}");
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        let busy = Meanwhile::begin(move |step| change(&mut file, size_bytes, step));
        match name {
            "is rewritten" => until_unstable(&place, &VERIFY, &[(1, &["file.modified"])]),
            // Another size differs without being read.
            _ => {
                let ran = finish(&mut place.command(VERIFY));
                let found = codes(&ran.json());
                assert!(
                    [(1, "file.modified"), (2, "file.unstable")]
                        .iter()
                        .any(|(code, finding)| ran.code == *code && found == [*finding]),
                    "{ran:?}"
                );
            }
        }
        until_unstable(&place, &SIGN, &[]);
        drop(busy);
        assert_eq!(place.read(MANIFEST), before);
        verdict(&place, (1, &["file.modified"]));
        let file = File::create(&path).unwrap();
        file.set_len(size_bytes).unwrap();
        verdict(&place, GOOD);
    }
}

#[test]
fn names_that_come_and_go_during_the_walk_are_unstable() {
    let place = Place::new();
    for number in 0..3000 {
        place.write(&format!("tree/{}/{number}", number % 7), "x");
    }
    sign(&place, GOOD);
    let folder = place.at("tree/3");
    let busy = Meanwhile::begin(move |step| {
        let path = folder.join(format!("come-{}", step % 3));
        match path.exists() {
            true => std::fs::remove_file(path).unwrap(),
            false => std::fs::write(path, "").unwrap(),
        }
    });
    let seen: &[Answer<'_>] = &[
        (0, &[]),
        (1, &["file.unlisted"]),
        (2, &["file.unlisted", "file.unstable"]),
    ];
    until_unstable(&place, &VERIFY, seen);
    // A name that went and came again in between leaves a tree like the one that was walked.
    until_unstable(&place, &SIGN, &[(0, &[])]);
    drop(busy);
}

/// Runs a command that permissions bind.
fn bound(place: &Place, arguments: &[&str]) -> Ran {
    finish(&mut place.command_bound(arguments))
}

fn expect_bound(place: &Place, arguments: &[&str], expected: Answer<'_>) -> Value {
    let ran = bound(place, &[arguments, &["--state-dir", "state"]].concat());
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (
            expected.0,
            expected.1.iter().map(|code| (*code).to_owned()).collect()
        ),
        "{ran:?}"
    );
    report
}

#[test]
fn what_cannot_be_read_is_unknown_and_everything_else_is_still_checked() {
    let place = signed();
    let before = place.read(MANIFEST);
    for (path, closed, open) in [
        ("tree/a.json", 0o000, 0o644),
        ("tree/sub", 0o000, 0o755),
        ("tree/sub", 0o444, 0o755),
    ] {
        // The mode itself is sealed too, so a closed entry is not only unreadable.
        place.chmod(path, closed);
        place.write("tree/empty", "no longer");
        let ran = bound(&place, &VERIFY);
        let found = codes(&ran.json());
        assert_eq!(ran.code, 2, "{ran:?}");
        for code in ["file.unreadable", "file.modified"] {
            assert!(found.iter().any(|found| found == code), "{path} {ran:?}");
        }
        assert!(
            !found.iter().any(|found| found == "file.missing"),
            "{path} {ran:?}"
        );
        place.write("tree/empty", "");
        expect_bound(&place, &SIGN, (2, &["file.unreadable"]));
        assert_eq!(place.read(MANIFEST), before);
        place.chmod(path, open);
        verdict(&place, GOOD);
    }
}

#[test]
fn a_manifest_or_key_that_cannot_be_read_is_no_answer() {
    let place = signed();
    place.chmod(MANIFEST, 0o000);
    let ran = bound(&place, &VERIFY);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["manifest.unreadable".to_owned()])
    );
    place.chmod(MANIFEST, 0o644);
    place.write("key", crate::harness::secret());
    place.chmod("key", 0o000);
    let ran = bound(&place, &[&VERIFY[..], &["--key-file", "key"]].concat());
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["key.unavailable".to_owned()])
    );
}

#[test]
fn hashing_a_file_of_a_tebibyte_can_be_stopped() {
    let place = signed();
    let before = place.read(MANIFEST);
    let sparse = File::create(place.at("tree/sparse")).unwrap();
    if sparse.set_len(1 << 40).is_err() {
        skip("a file of a tebibyte", "a file system with sparse files");
        return;
    }
    for (kind, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = place.command(SIGN);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        signal(child.id(), kind);
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(
            (ran.code, codes(&ran.json())),
            (code, vec!["command.interrupted".to_owned()])
        );
    }
    assert_eq!(place.read(MANIFEST), before);
}

#[test]
fn a_full_disk_is_said_and_leaves_the_old_manifest() {
    let place = Place::new();
    place.write("tree/a", "a");
    std::fs::create_dir(place.at("disk")).unwrap();
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(place.at("disk"))
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        skip("a full disk", "a small file system");
        return;
    }
    let _unmount = Unmount(place.at("disk"));
    let sign = ["sign", "--input-dir", "tree", "--output", "disk/m.json"];
    let verify = ["verify", "--manifest", "disk/m.json", "--input-dir", "tree"];
    answer(&place, sign, GOOD);
    let before = place.read("disk/m.json");
    let mut filler = File::create(place.at("disk/filler")).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
    for number in 0..100 {
        place.write(&format!("tree/more-{number}"), "m");
    }
    answer(&place, sign, (2, &["command.output"]));
    assert_eq!(place.read("disk/m.json"), before);
    for number in 0..100 {
        std::fs::remove_file(place.at(format!("tree/more-{number}"))).unwrap();
    }
    answer(&place, verify, GOOD);
    let ran = finish(place.command(verify).args(["--output", "disk/report.json"]));
    assert_eq!(ran.code, 2, "{ran:?}");
    let left: Vec<_> = std::fs::read_dir(place.at("disk")).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_stdout_is_never_a_good_answer() {
    let place = signed();
    for arguments in [
        &["sign", "--input-dir", "tree", "--output", "-"][..],
        &SIGN,
        &VERIFY,
        &["verify", "--manifest", MANIFEST],
        &["verify", "--manifest", MANIFEST, "--output", "-"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place
            .command(arguments)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let ran = Ran::of(&output);
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
        assert!(
            ran.stderr.contains("[command.output]") || ran.stderr.contains("cannot write"),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}

#[test]
fn a_signer_that_is_stopped_or_killed_leaves_the_old_manifest_or_the_new() {
    let place = Place::new();
    for number in 0..2000 {
        place.write(&format!("tree/{}/{number}", number % 9), "x");
    }
    sign(&place, GOOD);
    let begun = Instant::now();
    sign(&place, GOOD);
    let whole = begun.elapsed();
    let mut cut = 0;
    for round in 0..12 {
        let kind = [Signal::KILL, Signal::INT, Signal::TERM][round as usize % 3];
        let mut command = place.command(SIGN);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The manifest is written at the end, so most of the moments are there.
        std::thread::sleep(whole.mul_f64(0.4 + 0.7 * f64::from(round) / 12.0));
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(),
            kind,
        );
        let status = child.wait().unwrap();
        let stopped = match kind {
            Signal::KILL => None,
            Signal::INT => Some(130),
            _ => Some(143),
        };
        // A signal before the handlers stand ends the process as the system does.
        let as_expected = status.code().is_none() || [Some(0), stopped].contains(&status.code());
        assert!(as_expected, "{status:?}");
        cut += usize::from(!status.success());
        let text = place.read(MANIFEST);
        serde_json::from_str::<Value>(&text).unwrap();
    }
    assert!(cut > 0);
    // What a kill may leave beside it, the next signer clears away.
    sign(&place, GOOD);
    verdict(&place, GOOD);
}

#[test]
fn signers_at_once_each_count() {
    let place = Place::new();
    for number in 0..200 {
        place.write(&format!("tree/{number}"), "x");
    }
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut command = place.command(SIGN);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "{ran:?}");
    }
    let manifest: Value = serde_json::from_str(&place.read(MANIFEST)).unwrap();
    assert_eq!(manifest["sequence"], 6);
    verdict(&place, GOOD);
}

#[test]
fn a_signed_file_grown_to_a_tebibyte_and_an_unlisted_one_are_told_without_reading_them() {
    let place = signed();
    for name in ["tree/a.json", "tree/unlisted"] {
        let sparse = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(place.at(name))
            .unwrap();
        if sparse.set_len(1 << 40).is_err() {
            skip("a file of a tebibyte", "a file system with sparse files");
            return;
        }
    }
    let begun = Instant::now();
    let (code, report) = place.verify();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(
        (code, codes(&report)),
        (
            1,
            vec!["file.modified".to_owned(), "file.unlisted".to_owned()]
        )
    );
}
