//! What is left when a command is stopped at any moment, and when several run at once.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::{Place, Ran, codes};

const MANIFEST: &str = "tree/integrity_manifest.json";

/// A place whose files lie in memory where that can be had: what is tested is the order of steps,
/// and a disk would make hundreds of runs take minutes.
struct Fast {
    place: Place,
    folder: tempfile::TempDir,
}

impl Fast {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let (place, folder) = (Place::new(), folder.unwrap());
        for number in 0..40 {
            let path = folder
                .path()
                .join(format!("tree/{}/{number}.bin", number % 7));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![7; 20_000]).unwrap();
        }
        Self { place, folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn records(&self) -> Vec<Value> {
        let shown = self.run(&["audit", "show"]);
        shown
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The log verifies; warnings may stand.
    fn log_is_whole(&self, when: &str) {
        let ran = self.run(&["audit", "verify", "--json"]);
        assert_eq!(ran.code, 0, "{when}: {ran:?}");
    }
}

fn sequence(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let manifest: Value = serde_json::from_str(&text).expect("a half manifest");
    manifest["sequence"].as_u64()
}

/// A small generator of numbers that look random, the same in every run (xorshift64*).
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

const SIGN: [&str; 3] = ["sign", "--input-dir", "tree"];

#[test]
fn killed_at_any_moment_a_signer_leaves_the_old_manifest_or_the_new_and_a_whole_log() {
    let fast = Fast::new();
    let manifest = fast.at(MANIFEST);
    let times = (0..5).map(|_| {
        let began = Instant::now();
        assert_eq!(fast.run(&SIGN).code, 0);
        began.elapsed()
    });
    let duration = times.min().unwrap();
    let mut state = 0x5eed_u64;
    let (mut killed, mut finished, mut replaced) = (0, 0, 0);
    for round in 0..200 {
        // Now and then there is no manifest before, and no log.
        if round % 10 == 0 {
            std::fs::remove_file(&manifest).unwrap();
        }
        if round % 20 == 0 {
            std::fs::remove_dir_all(fast.at(".agp")).unwrap();
        }
        let before = sequence(&manifest);
        let mut child = fast
            .command(&SIGN)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Up to a little longer than it takes, so that the last steps are hit as well.
        let delay = duration.mul_f64(1.15 * (next(&mut state) % 10_000) as f64 / 10_000.0);
        std::thread::sleep(delay);
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            Some(code) => {
                assert_eq!(code, 0, "round {round}");
                finished += 1;
            }
            None => killed += 1,
        }
        let when = format!("round {round}, after {delay:?} of {duration:?}");
        let after = sequence(&manifest);
        let expected = before.unwrap_or(0) + 1;
        assert!(
            after == before || after == Some(expected),
            "{when}: {before:?} {after:?}"
        );
        replaced += u32::from(after != before);
        if after.is_some() {
            let ran = fast.run(&["verify", "--manifest", MANIFEST]);
            // What a signer that was killed between naming and renaming leaves is not the tree's.
            let leftover = fast.at("tree/.integrity_manifest.json.agp-new").exists();
            assert_eq!(ran.code, i32::from(leftover), "{when}: {ran:?}");
            // What the manifest says of the log was on disk before the manifest was.
            let ran = fast.run(&["audit", "verify", "--manifest", MANIFEST]);
            assert_eq!(ran.code, 0, "{when}: {ran:?}");
        }
        fast.log_is_whole(&when);
        if round % 4 == 3 {
            let ran = fast.run(&SIGN);
            assert_eq!(ran.code, 0, "{when}: {ran:?}");
            assert_eq!(sequence(&manifest), Some(after.unwrap_or(0) + 1), "{when}");
            let ran = fast.run(&["verify", "--manifest", MANIFEST]);
            assert_eq!(ran.code, 0, "{when}: {ran:?}");
        }
    }
    assert_eq!(fast.run(&SIGN).code, 0);
    assert_eq!(fast.run(&["verify", "--manifest", MANIFEST]).code, 0);
    // A test that always came too early, or always too late, would prove nothing.
    assert!(
        killed > 50 && replaced > 2,
        "{killed} killed, {finished} finished, {replaced} replaced"
    );
}

/// Waits until a condition holds.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a command that is at work for seconds, and signals it when it has begun.
fn interrupted(fast: &Fast, arguments: &[&str], signal: Signal) -> Ran {
    let log = fast.at(".agp/audit/000001.jsonl");
    let size = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let before = size();
    let child = fast.start(arguments);
    wait_until("the record of the beginning", || size() > before);
    std::thread::sleep(Duration::from_millis(30));
    kill_process(pid(&child), signal).unwrap();
    let began = Instant::now();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it stops soon: {ran:?}"
    );
    ran
}

/// Lists a file in a signed manifest with some digest, and seals it again: signing a file of that
/// size would take minutes.
fn list(manifest: &Path, (name, size_bytes): (&str, u64)) {
    use agp::base::{digest::Digest, relpath::RelPath};
    use agp::inventory::{Entry, File, Inventory};
    use agp::seal::{Key, Keyring, Secret};
    let secret = Secret::decode(crate::harness::secret().as_bytes(), 8).unwrap();
    let keyring = Keyring::new(vec![Key::at_hand(secret.clone(), "the harness".into())]);
    let mut sealed = agp::integrity::read_authentic(manifest, &keyring).unwrap();
    let mut entries: Vec<_> = sealed
        .manifest
        .inventory
        .iter()
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect();
    let file = File {
        size_bytes,
        sha256: Digest([1; 32]),
        mode: 0o644,
        modified_seconds: 0,
    };
    let path = RelPath::parse(name.as_bytes()).unwrap();
    entries.push((path, Entry::File(file)));
    sealed.manifest.inventory = Inventory::from_entries(entries).unwrap();
    sealed.manifest.summary = agp::integrity::Summary::of(&sealed.manifest.inventory);
    let signed_at = sealed.signature.signed_at;
    let sealed = sealed.manifest.seal(&secret, signed_at).unwrap();
    let mut text = Vec::new();
    sealed.write_document(&mut text).unwrap();
    std::fs::write(manifest, text).unwrap();
}

#[test]
fn interrupted_by_a_signal_it_says_so_and_leaves_a_consistent_state() {
    let fast = Fast::new();
    assert_eq!(fast.run(&SIGN).code, 0);
    // Sparse, so that it costs no space, and long enough to be hashed for seconds.
    let huge = fast.at("tree/huge");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
    std::fs::write(fast.at("p.json"), "{}").unwrap();
    list(&fast.at(MANIFEST), ("huge", 64 << 30));
    let verify = [
        "verify",
        "--manifest",
        MANIFEST,
        "-c",
        "p.json",
        "-o",
        "r.json",
        "--json",
    ];
    let sign = ["sign", "--input-dir", "tree", "--json"];
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for arguments in [&sign[..], &verify] {
            let kept = std::fs::read(fast.at(MANIFEST)).unwrap();
            std::fs::write(fast.at("r.json"), "{\"verdict\": \"pass\"}").unwrap();
            let ran = interrupted(&fast, arguments, signal);
            assert_eq!(ran.code, code, "{ran:?}");
            let report = ran.json();
            assert_eq!(
                (&report["exit_code"], &report["verdict"]),
                (&json!(code), &json!("error"))
            );
            assert_eq!(codes(&report), ["command.interrupted"]);
            assert_eq!(std::fs::read(fast.at(MANIFEST)).unwrap(), kept);
            assert!(!fast.at("tree/.integrity_manifest.json.agp-new").exists());
            if arguments[0] == "verify" {
                let written: Value =
                    serde_json::from_slice(&std::fs::read(fast.at("r.json")).unwrap()).unwrap();
                assert_eq!(written["verdict"], "error");
            }
            let records = fast.records();
            let ended = records.last().unwrap();
            assert_eq!(ended["event"], format!("integrity.{}", arguments[0]));
            assert_eq!(
                (&ended["outcome"], &ended["exit_code"]),
                (&json!("failure"), &json!(code))
            );
            assert_eq!(report["audit_head"]["sequence"], ended["sequence"]);
            fast.log_is_whole("interrupted");
        }
    }
    std::fs::remove_file(&huge).unwrap();
    assert_eq!(fast.run(&SIGN).code, 0);
    assert_eq!(sequence(&fast.at(MANIFEST)), Some(2));
}

#[test]
fn interrupted_before_there_is_any_manifest_there_is_none() {
    let fast = Fast::new();
    let huge = fast.at("tree/huge");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
    let ran = interrupted(&fast, &SIGN, Signal::INT);
    assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
    assert!(ran.stderr.contains("error: interrupted"), "{ran:?}");
    assert!(!fast.at(MANIFEST).exists());
}

#[test]
fn a_signer_that_waits_for_another_can_be_interrupted() {
    let fast = Fast::new();
    let other = std::fs::File::open(fast.at("tree")).unwrap();
    other.lock().unwrap();
    let ran = interrupted(&fast, &SIGN, Signal::TERM);
    assert_eq!(ran.code, 143, "{ran:?}");
    drop(other);
    assert_eq!(fast.run(&SIGN).code, 0);
    fast.log_is_whole("after waiting");
}

#[test]
fn interrupted_while_a_key_command_thinks_it_begins_nothing() {
    let fast = Fast::new();
    let script = "sh -c 'touch asked; sleep 1; printf 0123456789abcdef0123456789abcdef'";
    let child = fast.start(&[&SIGN[..], &["--key-command", script]].concat());
    wait_until("the key command", || fast.at("asked").exists());
    kill_process(pid(&child), Signal::INT).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(!fast.at(MANIFEST).exists() && !fast.at(".agp").exists());
}

#[test]
fn signers_at_once_on_one_manifest_all_succeed_one_after_another() {
    let fast = Fast::new();
    for (count, last) in [(2, 2), (6, 8)] {
        let mut arguments = SIGN.to_vec();
        arguments.push("--json");
        let children: Vec<Child> = (0..count).map(|_| fast.start(&arguments)).collect();
        let mut sequences: Vec<u64> = Vec::new();
        for child in children {
            let ran = Ran::of(&child.wait_with_output().unwrap());
            assert_eq!(ran.code, 0, "{ran:?}");
            sequences.push(ran.json()["manifests"][0]["sequence"].as_u64().unwrap());
        }
        sequences.sort_unstable();
        assert_eq!(sequences, (last - count + 1..=last).collect::<Vec<_>>());
        assert_eq!(sequence(&fast.at(MANIFEST)), Some(last));
        assert_eq!(fast.run(&["verify", "--manifest", MANIFEST]).code, 0);
    }
    fast.log_is_whole("after signers at once");
    assert_eq!(fast.records().len(), 16);
}

#[test]
fn a_disk_that_is_full_while_the_manifest_is_written_leaves_the_old_one_alone() {
    let fast = Fast::new();
    assert_eq!(fast.run(&SIGN).code, 0);
    let kept = std::fs::read(fast.at(MANIFEST)).unwrap();
    std::fs::write(fast.at("tree/new"), "n").unwrap();
    // The log has some 1,400 bytes and the manifest some 15,000: only the one fits into 16 blocks.
    assert!(kept.len() > 9_000);
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let sign = fast.command(&["sign", "--input-dir", "tree", "--json"]);
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", script])
        .arg(sign.get_program())
        .args(sign.get_args());
    limited.current_dir(fast.folder.path()).env_clear();
    limited.envs(
        sign.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let ran = Ran::of(&limited.output().unwrap());
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["command.output".into()]),
        "{ran:?}"
    );
    assert_eq!(std::fs::read(fast.at(MANIFEST)).unwrap(), kept);
    assert_eq!(
        std::fs::read_dir(fast.at("tree")).unwrap().count(),
        9,
        "seven directories, two files"
    );
    let ended = fast.records().pop().unwrap();
    assert_eq!(
        (&ended["exit_code"], &ended["outcome"]),
        (&json!(2), &json!("failure"))
    );
    fast.log_is_whole("full disk");
    assert_eq!(fast.run(&SIGN).code, 0);
}
