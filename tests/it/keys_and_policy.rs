//! Where secrets come from, what becomes of bad ones, and what a policy may decide.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Place, Ran, codes, secret};

const MANIFEST: &str = "tree/integrity_manifest.json";
const SIGN: [&str; 4] = ["sign", "--input-dir", "tree", "--json"];
const VERIFY: [&str; 4] = ["verify", "--manifest", MANIFEST, "--json"];

/// Another secret of 32 bytes.
fn other_secret() -> String {
    format!("hex:{}", "fedcba9876543210".repeat(4))
}

/// The identifier of the key that a secret makes, as the binary says.
fn key_id(text: &str) -> String {
    let mut place = Place::without_key();
    place.set("POCKETMON_SIGN_SECRET", text);
    let ran = place.run(["tool", "keys", "show"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.split(' ').next().unwrap().to_owned()
}

/// A place with an unsigned tree and no key.
fn unsigned() -> Place {
    let place = Place::without_key();
    place.write("tree/a.txt", "a\n");
    place
}

fn key_file(place: &Place, name: &str, content: impl AsRef<[u8]>) {
    place.write(name, content);
    place.chmod(name, 0o600);
}

fn messages(report: &Value) -> String {
    let findings = report["findings"].as_array().unwrap();
    let texts = findings
        .iter()
        .map(|finding| finding["message"].as_str().unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

fn run_with(place: &Place, arguments: &[&str], more: &[&str]) -> Ran {
    place.run(arguments.iter().chain(more))
}

fn refused(ran: &Ran, says: &str) {
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(codes(&ran.json()), ["key.unavailable"], "{ran:?}");
    assert!(messages(&ran.json()).contains(says), "{says}: {ran:?}");
}

#[test]
fn without_a_secret_nothing_is_signed_and_every_way_to_give_one_is_named() {
    let mut place = unsigned();
    for empty in [false, true] {
        if empty {
            place.set("POCKETMON_SIGN_SECRET", "");
        }
        let ran = place.run(SIGN);
        refused(&ran, "no signing secret");
        for way in [
            "POCKETMON_SIGN_SECRET",
            "--key-file",
            "--key-command",
            "--key-stdin",
            "agp tool keys generate",
        ] {
            assert!(ran.stderr.contains(way), "{way}: {ran:?}");
        }
        assert!(!place.at(MANIFEST).exists());
    }
    let signed = Place::new();
    signed.signed_tree();
    let mut command = signed.command(VERIFY);
    let ran = Ran::of(&command.env_clear().output().unwrap());
    refused(&ran, "no signing secret");
}

#[test]
fn what_cannot_be_a_secret_is_refused_from_every_source_and_never_shown() {
    let place = unsigned();
    for (content, says) in [
        ("", "empty"),
        ("\n", "empty"),
        ("\r\n", "empty"),
        ("hex:", "empty"),
        ("base64:\n", "empty"),
        ("q", "1 bytes"),
        ("qzqzqzq", "7 bytes"),
        ("hex:9e9e9e9e9e9e9e", "7 bytes"),
        ("hex:qzqz-not-hex-qzqz", "`hex:`"),
        ("hex:9e9e9e9e9e9e9e9", "`hex:`"),
        ("base64:qzqz*not*base64", "`base64:`"),
    ] {
        key_file(&place, "key", content);
        refused(&run_with(&place, &SIGN, &["--key-file", "key"]), says);
        refused(
            &run_with(&place, &SIGN, &["--key-command", "cat key"]),
            says,
        );
        let mut command = place.command(SIGN.iter().chain(&["--key-stdin"]));
        let stdin = std::fs::File::open(place.at("key")).unwrap();
        let ran = Ran::of(&command.stdin(stdin).output().unwrap());
        refused(&ran, says);
        if !content.trim().is_empty() {
            let mut command = place.command(SIGN);
            let ran = Ran::of(
                &command
                    .env("POCKETMON_SIGN_SECRET", content)
                    .output()
                    .unwrap(),
            );
            refused(&ran, says);
            for hidden in ["qzqz", "9e9e"] {
                let shown = ran.stdout.contains(hidden) || ran.stderr.contains(hidden);
                assert!(!shown, "{content}: {ran:?}");
            }
        }
    }
    assert!(!place.at(MANIFEST).exists());
}

#[test]
fn the_policy_says_how_short_a_secret_may_be() {
    let place = unsigned();
    key_file(&place, "key", "0123456789abcdef");
    place.write("p.json", r#"{"integrity": {"secret_bytes_min": 17}}"#);
    let ran = run_with(&place, &SIGN, &["--key-file", "key", "-c", "p.json"]);
    refused(&ran, "16 bytes, the policy asks for at least 17");
}

#[test]
fn a_placeholder_or_a_short_secret_is_warned_of_in_the_report_and_on_stderr() {
    for (weak, says) in [
        ("default_dev_key_not_for_production", "placeholder"),
        ("your-secret-key-here", "placeholder"),
        ("ChangeMe", "placeholder"),
        ("nine-byte", "9 bytes"),
    ] {
        let mut place = unsigned();
        place.set("POCKETMON_SIGN_SECRET", weak);
        for verb in [SIGN, VERIFY] {
            let ran = place.run(verb);
            assert_eq!(ran.code, 0, "{ran:?}");
            assert_eq!(codes(&ran.json()), ["key.weak"]);
            assert_eq!(ran.json()["findings"][0]["severity"], "high");
            assert!(messages(&ran.json()).contains(says), "{ran:?}");
            assert!(ran.stderr.contains("warning") && ran.stderr.contains(says));
            assert!(!ran.stdout.contains(weak) && !ran.stderr.contains(weak));
            // People who send the summary elsewhere still hear of it.
            let ran = place.run(&verb[..3]);
            assert!(ran.stderr.contains(says), "{ran:?}");
        }
    }
}

#[test]
fn one_final_newline_is_no_part_of_a_secret_and_prefixes_are_encodings() {
    let place = unsigned();
    let text = "a secret of thirty-two bytes ok!";
    assert_eq!(text.len(), 32);
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyBvayE=";
    key_file(&place, "key", text);
    assert_eq!(
        run_with(&place, &SIGN, &["--key-file", "key"]).code,
        0,
        "signs"
    );
    for (content, code) in [
        (text.to_owned(), 0),
        (format!("{text}\n"), 0),
        (format!("{text}\r\n"), 0),
        (format!("hex:{hex}\n"), 0),
        (format!("hex:{}", hex.to_uppercase()), 0),
        (format!("base64:{base64}\r\n"), 0),
        (format!("{text}\n\n"), 2),
        (format!("{text} "), 2),
        (format!(" {text}"), 2),
        (format!("hex:{hex}\n\n"), 2),
    ] {
        key_file(&place, "key", &content);
        let ran = run_with(&place, &VERIFY, &["--key-file", "key"]);
        assert_eq!(ran.code, code, "{content:?}: {ran:?}");
    }
}

#[test]
fn a_wrong_key_is_told_from_tampering() {
    let mut place = Place::new();
    place.signed_tree();
    place.set("POCKETMON_SIGN_SECRET", &other_secret());
    let (code, report) = place.verify();
    assert_eq!(
        (code, codes(&report)),
        (2, vec!["signature.unknown_key".into()])
    );
    let says = messages(&report);
    assert!(says.contains(&key_id(&secret())) && says.contains(&key_id(&other_secret())));
    assert!(says.contains("POCKETMON_SIGN_SECRET"), "{says}");
    // An identifier that was exchanged as well cannot turn that into a pass.
    let forged = place
        .read(MANIFEST)
        .replace(&key_id(&secret()), &key_id(&other_secret()));
    place.write(MANIFEST, forged);
    let (code, report) = place.verify();
    assert_eq!(code, 1);
    assert!(
        codes(&report)
            .iter()
            .all(|code| code == "signature.invalid" || code == "manifest.inconsistent"),
        "{report}"
    );
}

fn keyring(keys: Value) -> String {
    json!({"integrity": {"keys": keys}}).to_string()
}

#[test]
fn a_key_that_the_keyring_does_not_know_cannot_be_judged() {
    let mut place = Place::new();
    place.signed_tree();
    place.set("POCKETMON_SIGN_SECRET", "");
    place.set("OTHER", &other_secret());
    let other =
        json!([{"key_id": key_id(&other_secret()), "source": "env:OTHER", "status": "active"}]);
    place.write("p.json", keyring(other));
    let ran = run_with(&place, &VERIFY, &["-c", "p.json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["signature.unknown_key".into()])
    );
}

#[test]
fn a_revoked_key_verifies_nothing_and_signs_nothing_whoever_hands_it_over() {
    let place = Place::new();
    place.signed_tree();
    key_file(&place, "key", secret());
    let revoked = json!([{"key_id": key_id(&secret()), "source": "env:GONE", "status": "revoked"}]);
    place.write("p.json", keyring(revoked));
    let before = place.read(MANIFEST);
    for more in [
        &["-c", "p.json"][..],
        &["-c", "p.json", "--key-file", "key"],
    ] {
        let ran = run_with(&place, &VERIFY, more);
        assert_eq!(
            (ran.code, codes(&ran.json())),
            (1, vec!["signature.revoked_key".into()])
        );
        let ran = run_with(&place, &SIGN, more);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(messages(&ran.json()).contains("revoked"), "{ran:?}");
        assert_eq!(place.read(MANIFEST), before);
    }
}

#[test]
fn a_key_file_that_others_may_touch_is_refused() {
    let place = unsigned();
    key_file(&place, "key", secret());
    for mode in [
        0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o601, 0o666, 0o777,
    ] {
        place.chmod("key", mode);
        let ran = run_with(&place, &SIGN, &["--key-file", "key"]);
        refused(&ran, &format!("mode is {mode:04o}"));
        assert!(messages(&ran.json()).contains("chmod 600"));
    }
    for mode in [0o600, 0o400] {
        place.chmod("key", mode);
        let ran = run_with(&place, &SIGN, &["--key-file", "key"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_link_to_a_key_file_is_followed_and_its_target_s_mode_counts() {
    let place = unsigned();
    key_file(&place, "mounted/..data", secret());
    symlink("..data", place.at("mounted/key")).unwrap();
    symlink("mounted/key", place.at("key")).unwrap();
    let ran = run_with(&place, &SIGN, &["--key-file", "key"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    place.chmod("mounted/..data", 0o640);
    refused(
        &run_with(&place, &SIGN, &["--key-file", "key"]),
        "mode is 0640",
    );
}

#[test]
fn a_key_file_that_is_no_file_never_hangs() {
    let place = unsigned();
    symlink("loop", place.at("loop")).unwrap();
    symlink("nothing", place.at("dangling")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, place.at("fifo"), kind, mode, 0).unwrap();
    for name in ["loop", "dangling", "fifo", "tree", "none", "/dev/null", ""] {
        let ran = run_with(&place, &SIGN, &["--key-file", name]);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
    }
    key_file(&place, "long", vec![b'x'; (64 << 10) + 1]);
    refused(
        &run_with(&place, &SIGN, &["--key-file", "long"]),
        "64.0 KiB",
    );
}

#[test]
fn a_key_command_is_words_and_no_shell() {
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    key_file(&place, "a key", secret());
    let ran = run_with(&place, &SIGN, &["--key-command", "cat 'a key'"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in [
        "cat 'a key'; touch touched",
        "cat 'a key' && touch touched",
        "cat 'a key' | tee touched",
        "cat 'a key' > touched",
        "cat $(touch touched) 'a key'",
        "cat `touch touched` 'a key'",
        "cat $KEY",
    ] {
        let ran = run_with(&place, &SIGN, &["--key-command", text]);
        assert_eq!(ran.code, 2, "{text}: {ran:?}");
        assert_eq!(codes(&ran.json()), ["key.unavailable"]);
        assert!(!place.at("touched").exists(), "{text}");
    }
}

#[test]
fn a_key_command_that_fails_says_how_and_never_what_it_printed() {
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    key_file(&place, "key", secret());
    for (text, says) in [
        ("", "words cannot be told apart"),
        ("   ", "words cannot be told apart"),
        ("cat 'key", "words cannot be told apart"),
        ("/none/such", "cannot start"),
        ("false", "exit status: 1"),
        ("sh -c 'cat key; exit 3'", "exit status: 3"),
        ("sh -c 'cat key; kill -9 $$'", "signal: 9"),
        ("true", "empty"),
        ("head -c 70000 /dev/zero", "more than 65536 bytes"),
        ("cat /dev/zero", "more than 65536 bytes"),
        // Its stdin is not ours.
        ("cat", "empty"),
    ] {
        let mut command = place.command(SIGN.iter().chain(&["--key-command", text]));
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ran = Ran::of(&child.wait_with_output().unwrap());
        refused(&ran, says);
        assert!(!ran.stderr.contains("0123456789abcdef0123"), "{ran:?}");
    }
}

#[test]
fn a_key_command_has_ten_seconds_and_leaves_nothing_running() {
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    let began = Instant::now();
    let script = "sh -c 'echo $$ > pid; sleep 97 & sleep 98'";
    let ran = run_with(&place, &SIGN, &["--key-command", script]);
    let took = began.elapsed();
    refused(&ran, "did not answer within 10 s");
    assert!(
        took > Duration::from_secs(9) && took < Duration::from_secs(25),
        "{took:?}"
    );
    let group = place.read("pid");
    let group = rustix::process::Pid::from_raw(group.trim().parse().unwrap()).unwrap();
    // Gone, or at least only waiting to be reaped by whoever adopted it.
    std::thread::sleep(Duration::from_millis(200));
    let still = rustix::process::test_kill_process_group(group).is_ok();
    assert!(
        !still || all_dead(group.as_raw_nonzero().get()),
        "the sleepers live on"
    );
}

/// Whether every process of a group is a zombie.
fn all_dead(group: i32) -> bool {
    let stats = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let in_group = stats.filter_map(|stat| {
        let fields: Vec<String> = stat
            .rsplit_once(") ")?
            .1
            .split(' ')
            .map(String::from)
            .collect();
        (fields[2].parse() == Ok(group)).then(|| fields[0].clone())
    });
    in_group
        .into_iter()
        .all(|state| state == "Z" || state == "X")
}

#[test]
fn stdin_gives_the_secret_and_nothing_else_is_read_from_it() {
    use std::io::Write;
    let place = unsigned();
    let mut command = place.command(SIGN.iter().chain(&["--key-stdin"]));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", secret()).unwrap();
    drop(stdin);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["manifests"][0]["key_id"], key_id(&secret()));
    refused(&run_with(&place, &SIGN, &["--key-stdin"]), "empty");
}

#[test]
fn one_key_flag_only_and_none_that_takes_the_secret_itself() {
    let place = Place::new();
    place.signed_tree();
    key_file(&place, "key", secret());
    let flags = [
        &["--key-file", "key"][..],
        &["--key-command", "cat key"],
        &["--key-stdin"],
    ];
    for (index, first) in flags.iter().enumerate() {
        for second in &flags[index..] {
            for verb in [&SIGN[..], &VERIFY, &["audit", "verify", "--json"]] {
                let ran = place.run(verb.iter().chain(*first).chain(*second));
                assert_eq!(ran.code, 2, "{ran:?}");
                assert_eq!(codes(&ran.json()), ["command.usage"]);
            }
        }
    }
    for flag in [
        "--key=QZQZQZQZ",
        "--secret=QZQZQZQZ",
        "--key-secret=QZQZQZQZ",
        "--password=QZQZQZQZ",
    ] {
        let ran = place.run(["sign", "--input-dir", "tree", flag]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            !ran.stderr.contains("QZQZ") && !ran.stdout.contains("QZQZ"),
            "{ran:?}"
        );
    }
    let help = place.run(["sign", "--help"]).stdout;
    assert!(!help.contains("--secret") && !help.contains("--key "));
}

#[test]
fn a_flag_wins_over_the_keyring_and_the_keyring_over_the_environment() {
    let mut place = unsigned();
    let third = "the third secret, 32 bytes long.";
    place.set("POCKETMON_SIGN_SECRET", third);
    place.set("RING", &secret());
    key_file(&place, "key", other_secret());
    let ring = json!([{"key_id": key_id(&secret()), "source": "env:RING", "status": "active"}]);
    place.write("p.json", keyring(ring));
    for (more, key) in [
        (&["-c", "p.json", "--key-file", "key"][..], other_secret()),
        (&["-c", "p.json"], secret()),
        (&[], third.to_owned()),
    ] {
        let ran = run_with(&place, &SIGN, more);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["manifests"][0]["key_id"], key_id(&key));
    }
}

#[test]
fn a_keyring_source_that_gives_another_secret_is_refused() {
    let mut place = unsigned();
    place.set("RING", &other_secret());
    let ring = json!([{"key_id": key_id(&secret()), "source": "env:RING", "status": "active"}]);
    place.write("p.json", keyring(ring));
    let ran = run_with(&place, &SIGN, &["-c", "p.json"]);
    refused(&ran, &key_id(&secret()));
    assert!(messages(&ran.json()).contains(&key_id(&other_secret())));
}

#[test]
fn children_see_neither_the_secret_nor_any_variable_that_the_policy_names() {
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    let hidden = [
        "POCKETMON_SIGN_SECRET",
        "RING_ONE",
        "RING_TWO",
        "SALT",
        "HOOK_URL",
        "HOOK_SECRET",
        "MAIL_USER",
        "MAIL_PASSWORD",
    ];
    for name in hidden {
        place.set(name, &format!("value of {name}, long enough to be one"));
    }
    place.set("HARMLESS", "stays");
    key_file(&place, "key", secret());
    let ask = |seen: &str| {
        [
            "sh".to_owned(),
            "-c".to_owned(),
            format!("env > {seen}; cat key"),
        ]
    };
    let policy = json!({
        "policy_guard": {"fingerprint_salt_env": "SALT"},
        "integrity": {"keys": [
            {"key_id": key_id(&secret()), "source": ask("seen_by_ring"), "status": "active"},
            {"key_id": "0000000000000001", "source": "env:RING_ONE", "status": "verify_only"},
            {"key_id": "0000000000000002", "source": "env:RING_TWO", "status": "revoked"},
        ]},
        "alerts": {"channels": {
            "hook": {"type": "webhook", "url_env": "HOOK_URL", "secret_env": "HOOK_SECRET"},
            "mail": {"type": "email", "smtp_host": "localhost", "from": "a@localhost", "to": ["b@localhost"],
                     "username_env": "MAIL_USER", "password_env": "MAIL_PASSWORD"},
        }},
    });
    place.write("p.json", policy.to_string());
    let ran = run_with(&place, &SIGN, &["-c", "p.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let flag = "sh -c 'env > seen_by_flag; cat key'";
    let ran = run_with(&place, &VERIFY, &["-c", "p.json", "--key-command", flag]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for seen in ["seen_by_ring", "seen_by_flag"] {
        let seen = place.read(seen);
        assert!(seen.contains("HARMLESS=stays"), "{seen}");
        for name in hidden {
            assert!(!seen.contains(&format!("{name}=")), "{name}: {seen}");
        }
    }
}

/// A place whose tree is signed with the first of two keys, both in the environment; `rotated`
/// and `before` are the policies after and before the rotation.
fn two_keys() -> Place {
    let mut place = unsigned();
    place.set("OLD", &secret());
    place.set("NEW", &other_secret());
    let ring = |old: &str, new: &str| {
        keyring(json!([
            {"key_id": key_id(&secret()), "source": "env:OLD", "status": old},
            {"key_id": key_id(&other_secret()), "source": "env:NEW", "status": new},
        ]))
    };
    place.write("before.json", ring("active", "verify_only"));
    place.write("rotated.json", ring("verify_only", "active"));
    place.write("revoked.json", ring("revoked", "active"));
    let ran = run_with(
        &place,
        &SIGN,
        &[
            "-c",
            "before.json",
            "--exempt",
            "later",
            "--subject",
            "game",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    place
}

const ROTATE: [&str; 5] = ["sign", "--rotate", "--manifest", MANIFEST, "--json"];

#[test]
fn a_rotation_verifies_with_the_old_key_signs_with_the_new_and_is_recorded() {
    let place = two_keys();
    let ran = run_with(&place, &ROTATE, &["-c", "rotated.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let manifest: Value = serde_json::from_str(&place.read(MANIFEST)).unwrap();
    assert_eq!(manifest["sequence"], 2);
    assert_eq!(manifest["subject"], "game");
    assert!(manifest["options"]["exempt"].to_string().contains("later"));
    assert_eq!(manifest["signature"]["key_id"], key_id(&other_secret()));
    for policy in ["rotated.json", "revoked.json", "before.json"] {
        let ran = run_with(&place, &VERIFY, &["-c", policy]);
        assert_eq!(ran.code, 0, "{policy}: {ran:?}");
    }
    let shown = place.run(["audit", "show", "--event", "integrity.sign", "--last", "1"]);
    let record: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (&record["exit_code"], &record["key_id"]),
        (&json!(0), &json!(key_id(&other_secret())))
    );
    assert!(shown.stdout.contains(MANIFEST));
}

#[test]
fn a_rotation_vouches_for_nothing_new() {
    let place = two_keys();
    let before = place.read(MANIFEST);
    place.write("tree/new.txt", "smuggled in");
    let ran = run_with(&place, &ROTATE, &["-c", "rotated.json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("new.txt") && ran.stderr.contains("file.unlisted"),
        "{ran:?}"
    );
    std::fs::remove_file(place.at("tree/new.txt")).unwrap();
    place.write("tree/a.txt", "b\n");
    assert_eq!(run_with(&place, &ROTATE, &["-c", "rotated.json"]).code, 1);
    place.write("tree/a.txt", "a\n");
    assert_eq!(run_with(&place, &ROTATE, &["-c", "revoked.json"]).code, 1);
    assert_eq!(place.read(MANIFEST), before);
    // A manifest that was changed is no base either.
    place.write(MANIFEST, before.replace("game", "gama"));
    assert_eq!(run_with(&place, &ROTATE, &["-c", "rotated.json"]).code, 1);
    std::fs::remove_file(place.at(MANIFEST)).unwrap();
    assert_eq!(run_with(&place, &ROTATE, &["-c", "rotated.json"]).code, 2);
    assert!(!place.at(MANIFEST).exists());
}

#[test]
fn a_key_signs_and_verifies_within_its_period_only() {
    let mut place = unsigned();
    place.set("RING", &secret());
    let ring = |not_before: Value, not_after: Value| {
        keyring(
            json!([{"key_id": key_id(&secret()), "source": "env:RING", "status": "active",
                        "not_before": not_before, "not_after": not_after}]),
        )
    };
    let (past, future) = (json!("2020-01-01T00:00:00Z"), json!("2999-01-01T00:00:00Z"));
    place.write("now.json", ring(past.clone(), future.clone()));
    place.write("open.json", ring(Value::Null, Value::Null));
    place.write("over.json", ring(Value::Null, past));
    place.write("early.json", ring(future, Value::Null));
    for policy in ["over.json", "early.json"] {
        let ran = run_with(&place, &SIGN, &["-c", policy]);
        assert_eq!(
            (ran.code, codes(&ran.json())),
            (2, vec!["signature.key_period".into()]),
            "{ran:?}"
        );
        assert!(!place.at(MANIFEST).exists());
    }
    assert_eq!(run_with(&place, &SIGN, &["-c", "now.json"]).code, 0);
    for (policy, code) in [
        ("now.json", 0),
        ("open.json", 0),
        ("over.json", 1),
        ("early.json", 1),
    ] {
        let ran = run_with(&place, &VERIFY, &["-c", policy]);
        assert_eq!(ran.code, code, "{policy}: {ran:?}");
        assert_eq!(
            codes(&ran.json()).contains(&"signature.key_period".into()),
            code == 1
        );
    }
}

#[test]
fn makes_keys_that_are_new_each_time_and_never_overwrites_one() {
    let place = unsigned();
    let generate = ["tool", "keys", "generate"];
    let (first, second) = (place.run(generate), place.run(generate));
    let digits = first.stdout.strip_prefix("hex:").unwrap().trim_end();
    assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_ne!(first.stdout, second.stdout);

    let ran = place.run(["tool", "keys", "generate", "--output", "key"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(place.at("key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let content = place.read("key");
    assert!(!ran.stderr.contains(&content[4..60]));
    let again = place.run(["tool", "keys", "generate", "--output", "key"]);
    assert_eq!(again.code, 2);
    assert_eq!(place.read("key"), content);
    symlink("nowhere", place.at("link")).unwrap();
    assert_eq!(
        place.run(["tool", "keys", "generate", "-o", "link"]).code,
        2
    );
    assert!(!place.at("nowhere").exists());

    let shown = place.run(["tool", "keys", "show", "--key-file", "key"]);
    assert_eq!(shown.code, 0);
    let id = shown.stdout.split(' ').next().unwrap().to_owned();
    assert!(ran.stderr.contains(&id), "{ran:?}");
    let ran = run_with(&place, &SIGN, &["--key-file", "key"]);
    assert_eq!(ran.json()["manifests"][0]["key_id"], id);
}

#[test]
fn shows_which_keys_are_at_hand_without_asking_their_sources() {
    let mut place = two_keys();
    let ran = place.run(["tool", "keys", "show", "-c", "rotated.json"]);
    let (old, new) = (key_id(&secret()), key_id(&other_secret()));
    assert!(
        ran.stdout.contains(&format!("{old} verify_only ")),
        "{ran:?}"
    );
    assert!(ran.stdout.contains(&format!("{new} active ")), "{ran:?}");
    assert!(ran.stdout.contains("`NEW`"));
    let ring = json!([{"key_id": new, "source": ["touch", "asked"], "status": "active"}]);
    place.write("p.json", keyring(ring));
    assert_eq!(place.run(["tool", "keys", "show", "-c", "p.json"]).code, 0);
    assert!(!place.at("asked").exists());
    place.set("POCKETMON_SIGN_SECRET", "");
    assert_eq!(place.run(["tool", "keys", "show"]).code, 2);
}

/// Every spelling in which a secret could leak.
fn spellings(bytes: &[u8]) -> Vec<String> {
    use base64::Engine;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    vec![
        String::from_utf8_lossy(bytes).into_owned(),
        hex.to_uppercase(),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes),
        list.trim_matches(['[', ']']).to_owned(),
        hex,
    ]
}

#[test]
fn the_secret_is_in_no_output_of_any_verb_in_any_format() {
    let canary = "Canary-Zq7-5ecret-Zq7-0123456789";
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    place.set("RUST_BACKTRACE", "full");
    place.set("RUST_LOG", "trace");
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join("key");
    std::fs::write(&hidden, canary).unwrap();
    std::fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let hidden = hidden.to_str().unwrap().to_owned();
    let key_of_canary = {
        let ran = place.run(["tool", "keys", "show", "--key-file", &hidden]);
        ran.stdout.split(' ').next().unwrap().to_owned()
    };
    let ring =
        |id: &str| json!([{"key_id": id, "source": format!("file:{hidden}"), "status": "active"}]);
    place.write("ring.json", keyring(ring(&key_of_canary)));
    place.write("wrong_ring.json", keyring(ring("0123456789abcdef")));
    place.write("long.json", r#"{"integrity": {"secret_bytes_min": 999}}"#);
    // A secret at the wrong key of the policy.
    place.write(
        "slip.json",
        json!({"integrity": {"keys": [{"key_id": canary, "source": canary}]}}).to_string(),
    );
    let mut forged: Vec<String> = Vec::new();
    let verbs: Vec<Vec<&str>> = [
        "sign --input-dir tree",
        "sign --input-dir none",
        "sign --input-dir tree --bogus",
        "sign --rotate --manifest tree/integrity_manifest.json",
        "verify --manifest tree/integrity_manifest.json",
        "verify --manifest forged.json --input-dir tree",
        "verify --manifest none",
        "verify --all tree",
        "audit verify",
        "audit verify --require-keyed --manifest tree/integrity_manifest.json",
        "audit show",
        "audit export --to ecs",
        "audit export --to syslog",
        "tool keys show",
        "tool policy show",
        "tool policy check",
        "tool reference environment",
        "tool schema report",
        "--help",
        "sign --help",
        "verify --help",
        "tool keys --help",
        "--version",
    ]
    .iter()
    .map(|line| line.split(' ').collect())
    .collect();
    let formats: [&[&str]; 5] = [
        &[],
        &["--json"],
        &["-vv"],
        &["-o", "out.json"],
        &["-q", "--color", "always"],
    ];
    let sources: [(&[&str], bool); 7] = [
        (&[], true),
        (&["--key-file", &hidden], false),
        (&["-c", "ring.json"], false),
        (&["-c", "wrong_ring.json"], false),
        (&["-c", "long.json"], true),
        (&["-c", "slip.json"], true),
        (&["--key-command", "cat nothing-there"], true),
    ];
    for (index, verb) in verbs.iter().enumerate() {
        for (number, (source, in_environment)) in sources.iter().enumerate() {
            // Every verb with every source; the formats take turns, and meet every source.
            for format in [
                formats[(index + number) % 5],
                formats[(index + number + 1) % 5],
            ] {
                let mut command = place.command(verb.iter().chain(*source).chain(format));
                if *in_environment {
                    command.env("POCKETMON_SIGN_SECRET", canary);
                }
                let ran = Ran::of(&command.output().unwrap());
                assert!(!ran.stderr.contains("panicked"), "{ran:?}");
                forged.push(format!(
                    "{verb:?} {source:?} {format:?}\n{}\n{}",
                    ran.stdout, ran.stderr
                ));
            }
        }
        if index == 0 {
            let manifest = place
                .read(MANIFEST)
                .replace("\"sequence\"", "\"sequence\" ");
            place.write("forged.json", manifest.replace("a.txt", "b.txt"));
        }
    }
    std::fs::remove_file(place.at("slip.json")).unwrap();
    for entry in walkdir::WalkDir::new(place.path()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            forged.push(format!(
                "{:?} {}",
                entry.path(),
                String::from_utf8_lossy(&bytes)
            ));
        }
    }
    assert!(forged.iter().any(|text| text.contains(&key_of_canary)));
    for spelling in spellings(canary.as_bytes()) {
        for text in &forged {
            assert!(!text.contains(&spelling), "{spelling} in {text}");
        }
    }
}

/// A policy as a stranger would plant it.
fn planted(key_id: &str) -> String {
    json!({
        "integrity": {
            "subject": "evil", "secret_bytes_min": 1, "exclude": ["**"], "clock_skew_seconds": 100_000_000,
            "keys": [{"key_id": key_id, "source": ["touch", "marker"], "status": "active"}],
        },
        "policy_guard": {"enforcement_level": "advisory", "audit_logging": false, "fingerprint_salt_env": "HOME"},
        "alerts": {
            "channels": {"run": {"type": "command", "argv": ["touch", "marker"]}},
            "routes": [{"events": ["integrity_failure"], "severity_min": "low", "channels": ["run"]}],
        },
        "metrics": {"textfile": "marker"},
        "pipeline": {"targets": ["/"], "stages": [{"name": "run", "command": ["touch", "marker"]}]},
        "audit": {"segments_kept": 1},
    })
    .to_string()
}

const USUAL: &str = "config/assets_quality_policy.json";

#[test]
fn a_policy_planted_in_a_stranger_s_folder_runs_nothing_and_loosens_nothing() {
    let mut place = unsigned();
    place.set("PATH", "/usr/bin:/bin");
    place.set("POCKETMON_SIGN_SECRET", &secret());
    place.write(USUAL, planted(&key_id(&secret())));
    let ran = place.run(SIGN);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["policy"]["source"], USUAL);
    assert_eq!(codes(&report), ["policy.ignored"]);
    let places = report["findings"].to_string();
    for pointer in [
        "/integrity/keys",
        "/integrity/subject",
        "/integrity/secret_bytes_min",
        "/integrity/exclude",
        "/integrity/clock_skew_seconds",
        "/policy_guard/enforcement_level",
        "/policy_guard/audit_logging",
        "/policy_guard/fingerprint_salt_env",
        "/alerts",
        "/metrics",
        "/pipeline/stages",
        "/pipeline/targets",
        "/audit/segments_kept",
    ] {
        assert!(
            places.contains(&format!("{USUAL}#{pointer}\"")),
            "{pointer}: {places}"
        );
        assert!(ran.stderr.contains(pointer), "{pointer}: {ran:?}");
    }
    let signed = &report["manifests"][0];
    assert_eq!(
        (&signed["subject"], &signed["counts"]["file_count"]),
        (&json!("tree"), &json!(1))
    );
    assert_eq!(signed["key_id"], key_id(&secret()));
    // The log is kept all the same, by `verify` too, since the file does ask for a policy.
    let (code, report) = place.verify();
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["audit_head"]["sequence"], 4);
    place.write("tree/a.txt", "changed");
    assert_eq!(place.verify().0, 1);
    place.set("POCKETMON_SIGN_SECRET", "short");
    refused_among_warnings(&place.run(SIGN));
    for more in [
        &["tool", "keys", "show"][..],
        &["tool", "policy", "show"],
        &["tool", "policy", "check"],
        &["audit", "verify"],
    ] {
        place.run(more);
    }
    assert!(!place.at("marker").exists());
}

fn refused_among_warnings(ran: &Ran) {
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        codes(&ran.json()).contains(&"key.unavailable".into()),
        "{ran:?}"
    );
}

#[test]
fn the_same_policy_counts_when_it_is_named() {
    for by_variable in [false, true] {
        let mut place = unsigned();
        place.set("PATH", "/usr/bin:/bin");
        place.set("POCKETMON_SIGN_SECRET", &secret());
        place.write(USUAL, planted("0123456789abcdef"));
        let more: &[&str] = match by_variable {
            true => {
                place.set("AGP_CONFIG", USUAL);
                &[]
            }
            false => &["--config", USUAL],
        };
        let ran = run_with(&place, &SIGN, more);
        // The planted command runs now, and what it gives is no secret.
        refused(&ran, "empty");
        assert!(place.at("marker").exists());
        assert!(!place.at(".agp").exists(), "`audit_logging` is off");
        key_file(&place, "key", "q");
        let ran = run_with(
            &place,
            &SIGN,
            &[more, &["--key-file", "key", "--allow-empty"]].concat(),
        );
        assert_eq!(ran.code, 0, "{ran:?}");
        let signed = &ran.json()["manifests"][0];
        assert_eq!(
            (&signed["subject"], &signed["counts"]["file_count"]),
            (&json!("evil"), &json!(0))
        );
        assert_eq!(codes(&ran.json()), ["key.weak"]);
    }
}

#[test]
fn a_policy_that_is_named_and_not_there_is_never_silently_the_default() {
    let mut place = Place::new();
    place.signed_tree();
    place.write(USUAL, "{}");
    let before = place.read(MANIFEST);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, place.at("fifo"), kind, mode, 0).unwrap();
    for name in ["none.json", "tree", "fifo", "none/none.json", "/dev/null"] {
        for verb in [&SIGN[..], &VERIFY, &["audit", "verify", "--json"]] {
            let ran = run_with(&place, verb, &["--config", name]);
            assert_eq!(ran.code, 2, "{name}: {ran:?}");
            assert_eq!(codes(&ran.json()), ["policy.invalid"]);
        }
    }
    assert_eq!(place.read(MANIFEST), before);
    place.set("AGP_CONFIG", "none.json");
    assert_eq!(place.verify().0, 2);
    // A flag is nearer than a variable.
    assert_eq!(run_with(&place, &VERIFY, &["-c", USUAL]).code, 0);
}

#[test]
fn a_policy_that_lies_there_and_is_not_valid_is_an_error() {
    let place = Place::new();
    place.signed_tree();
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{\"integrity\": 1}",
        "{} {}",
        "\u{feff}{}",
    ] {
        place.write(USUAL, text);
        let (code, report) = place.verify();
        assert_eq!(
            (code, codes(&report)),
            (2, vec!["policy.invalid".into()]),
            "{text}"
        );
    }
    std::fs::remove_file(place.at(USUAL)).unwrap();
    symlink("nowhere", place.at(USUAL)).unwrap();
    assert_eq!(place.verify().0, 2);
}

#[test]
fn every_problem_of_a_policy_is_told_at_once_with_pointer_and_line() {
    let place = Place::new();
    place.signed_tree();
    let text = r#"{
  "performance_benchmarks": {"max_memory_usage_mb": -1},
  "policy_guard": {
    "enforcment_level": "strict",
    "audit_logging": "yes"
  },
  "integrity": {
    "max_age_days": 1.5,
    "keys": [
      {"key_id": "0123456789abcdef", "source": "env:A", "status": "active"},
      {"key_id": "0123456789ABCDEF", "source": "A", "status": "retired", "not_after": "tomorrow"}
    ]
  },
  "audits": {}
}"#;
    place.write("p.json", text);
    let ran = run_with(&place, &VERIFY, &["-c", "p.json"]);
    assert_eq!(ran.code, 2);
    let report = ran.json();
    let found: Vec<(String, u64)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            (
                finding["path"].as_str().unwrap().to_owned(),
                finding["line"].as_u64().unwrap(),
            )
        })
        .collect();
    for (pointer, line) in [
        ("#/performance_benchmarks/max_memory_usage_mb", 2),
        ("#/policy_guard", 4),
        ("#/policy_guard/audit_logging", 5),
        ("#/integrity/max_age_days", 8),
        ("#/integrity/keys/1/key_id", 11),
        ("#/integrity/keys/1/source", 11),
        ("#/integrity/keys/1/status", 11),
        ("#/integrity/keys/1/not_after", 11),
        ("", 14),
    ] {
        assert!(
            found.contains(&(format!("p.json{pointer}"), line)),
            "{pointer}: {found:?}"
        );
    }
    assert_eq!(found.len(), 9, "{found:?}");
    assert_eq!(ran.stderr.matches("error: ").count(), 9, "{ran:?}");
}

#[test]
fn an_unknown_key_comes_with_its_place_and_the_key_that_was_meant() {
    let place = Place::new();
    place.signed_tree();
    let text = "{\n \"policy_guard\": {\n\n  \"enforcment_level\": \"strict\"}}";
    place.write("p.json", text);
    for arguments in [
        &["tool", "policy", "check", "-c", "p.json"][..],
        &["sign", "--input-dir", "tree", "-c", "p.json"],
    ] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines[0], "error: unknown key `enforcment_level`");
        assert!(
            lines[1].starts_with("  at p.json#/policy_guard") && lines[1].contains('4'),
            "{ran:?}"
        );
        assert_eq!(lines[2], "  hint: did you mean `enforcement_level`?");
    }
    place.write("p.json", r#"{"integrity": {"wholly_unlike": 1}}"#);
    let ran = place.run(["tool", "policy", "check", "-c", "p.json"]);
    assert!(
        ran.stderr.contains("unknown key `wholly_unlike`")
            && ran.stderr.contains("`secret_bytes_min`"),
        "{ran:?}"
    );
}
