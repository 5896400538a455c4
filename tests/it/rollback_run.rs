//! `agp rollback run`: a command whose trees go back when it fails.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::harness::{Place, Ran, codes};

fn place() -> Place {
    let place = Place::new();
    place.write("a/one", "one\n");
    place.write("a/two.json", "{}\n");
    place.write("b/three", "three\n");
    place
}

fn run(place: &Place, flags: &[&str], script: &str) -> Ran {
    let words = ["rollback", "run", "--json", "--target-dirs", "a", "b"];
    let command = ["--", "/bin/sh", "-c", script];
    place.run(words.iter().chain(flags).chain(&command))
}

#[test]
fn what_a_good_command_did_stays() {
    let place = place();
    let ran = run(
        &place,
        &["--check", "test -e a/one"],
        "echo more >> a/one; echo said",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["summary"]["status"], "committed");
    assert!(
        ran.stderr.contains("said"),
        "stdout is the report's: {ran:?}"
    );
    assert_eq!(place.read("a/one"), "one\nmore\n");
    // Its checks had passed before it, so that its snapshot is a good one.
    assert_eq!(
        place
            .run(["rollback", "restore", "last-good", "--yes"])
            .code,
        0
    );
    assert_eq!(place.read("a/one"), "one\n");
}

#[test]
fn what_a_failed_command_did_is_taken_back_whatever_way_it_failed() {
    for (flags, script, code) in [
        (&[][..], "rm -r a; echo bad > b/three; exit 3", 1),
        (&[], "echo bad > a/one; kill -9 $$", 1),
        (&["--timeout", "1"], "echo bad > a/one; sleep 60", 18),
        (&["--check", "! grep -q bad a/one"], "echo bad > a/one", 1),
        (
            &["--allow-change", "one"],
            "echo fine > a/one; echo bad > b/three",
            1,
        ),
        (&["--allow-change", "one"], "chmod 755 a/two.json", 1),
        // Content that nobody means to write, also where the command may.
        (&["--allow-change", "**"], ": > a/one", 1),
        // Guard objects to it too.
        (&[], "echo '{' > a/two.json", 19),
        (&[], "head -c 9000 /dev/zero >> b/three", 1),
        (&[], "rm -r b", 1),
        // What is open and was not.
        (&[], "chmod 666 a/one", 19),
        (&[], "chmod 777 a", 19),
        (&[], "cp a/one a/new; chmod 4755 a/new", 19),
        (&[], "ln -s ../../etc/passwd a/link", 19),
    ] {
        let place = place();
        let ran = run(&place, flags, script);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
        assert_eq!(
            ran.json()["summary"]["status"],
            "rolled_back",
            "{script}: {ran:?}"
        );
        assert!(codes(&ran.json()).contains(&"run.rolled_back".to_owned()));
        assert_eq!(
            (place.read("a/one"), place.read("b/three")),
            ("one\n".into(), "three\n".into())
        );
        assert!(!place.at(".agp/snapshots/run.json").exists());
        // The tree that failed is not lost.
        assert_eq!(place.run(["rollback", "undo", "--yes"]).code, 0, "{script}");
    }
}

#[test]
fn what_a_command_may_well_do_fires_nothing() {
    for script in [
        "echo more >> a/one; echo '[1, 2]' > a/two.json; echo new > a/new; mkdir -m 2775 b/dir",
        // What was broken or open before is not the command's doing.
        "chmod 666 b/open; echo '}' > b/broken.json; : > b/empty; head -c 600 /dev/zero > b/zeros",
        "ln -s three b/link; mkdir b/dir; ln -s ../three b/dir/link; chmod 600 a/one; mkdir -m 1777 a/tmp",
    ] {
        let place = place();
        place.write("b/open", "open\n");
        place.chmod("b/open", 0o666);
        place.write("b/broken.json", "{");
        place.write("b/empty", "");
        place.write("b/zeros", [0; 700]);
        let script = format!("set -e; umask 022; {script}");
        let ran = run(&place, &[], &script);
        assert_eq!(
            (ran.code, codes(&ran.json())),
            (0, vec![]),
            "{script}: {ran:?}"
        );
    }
    // A policy may look for neither.
    let place = place();
    place.write(
        "policy.json",
        r#"{"rollback_playbook": {"critical_failure_patterns": []}}"#,
    );
    let ran = run(
        &place,
        &["-c", "policy.json"],
        "chmod 666 a/one; : > b/three",
    );
    assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "{ran:?}");
}

/// A secret that no scanner finds here.
fn secret(end: &str) -> String {
    ["pass", "word = \"", "x9fKQz72", end, "\""].concat()
}

#[test]
fn a_secret_that_the_command_brought_fires_and_one_that_was_there_does_not() {
    let old = secret("LpWmv41T");
    for (script, code) in [
        (
            "mv a/old.conf a/x; printf '\\n\\n' > a/old.conf; cat a/x >> a/old.conf; rm a/x",
            0,
        ),
        ("echo harmless > b/new.conf", 0),
        ("echo \"$NEW\" >> a/old.conf", 19),
        ("cp a/old.conf b/new.conf", 19),
    ] {
        let place = place();
        place.write("a/old.conf", format!("{old}\n"));
        let script = format!("NEW='{}'; {script}", secret("Rk7dWq2Z"));
        let ran = run(&place, &[], &script);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
        let report = ran.json();
        let expected = match code {
            0 => vec![],
            _ => vec!["guard.secret", "run.rolled_back"],
        };
        assert_eq!(codes(&report), expected, "{script}: {ran:?}");
        assert_eq!(place.at("b/new.conf").exists(), script.contains("harmless"));
        assert!(!ran.stdout.contains("Rk7dWq2Z"), "{ran:?}");
        let scratch = place.at(".agp/snapshots/staging");
        assert!(!scratch.exists() || std::fs::read_dir(scratch).unwrap().next().is_none());
    }
}

#[test]
fn a_check_counts_when_it_failed_as_often_as_the_policy_says() {
    // It fails twice after the command, and then passes.
    let check = "test ! -e a/new || { echo x >> count; test $(wc -l < count) -gt 2; }";
    for (confirmations, code, expected) in [
        (1, 1, "run.check_failed"),
        (2, 1, "run.check_failed"),
        (3, 0, "run.check_unsteady"),
    ] {
        let place = place();
        let policy = format!(r#"{{"rollback_playbook": {{"confirmations": {confirmations}}}}}"#);
        place.write("policy.json", policy);
        let ran = run(
            &place,
            &["-c", "policy.json", "--check", check],
            "touch a/new",
        );
        assert_eq!(ran.code, code, "{confirmations}: {ran:?}");
        assert!(codes(&ran.json()).contains(&expected.to_owned()), "{ran:?}");
        assert_eq!(place.at("a/new").exists(), code == 0, "{confirmations}");
    }
}

#[test]
fn a_rollback_that_takes_longer_than_the_policy_allows_replaces_nothing_and_says_so() {
    let place = place();
    for number in 0..300 {
        place.write(&format!("a/many/{number}"), number.to_string());
    }
    place.write(
        "policy.json",
        r#"{"rollback_playbook": {"rollback_timeout_seconds": 0.000001}}"#,
    );
    let ran = run(&place, &["-c", "policy.json"], "echo bad > a/one; exit 1");
    assert_eq!(ran.code, 2, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["summary"]["status"], "rollback_failed");
    assert!(
        ran.stdout.contains("it took longer than 0.000001 s"),
        "{ran:?}"
    );
    assert_eq!(place.read("a/one"), "bad\n");
    // With time it works.
    let snapshot = report["summary"]["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(
        place.run(["rollback", "restore", &snapshot, "--yes"]).code,
        0
    );
    assert_eq!(place.read("a/one"), "one\n");
}

#[test]
fn who_interrupts_a_governed_command_gets_the_trees_back_and_is_told() {
    for (signal, code, check) in [
        (rustix::process::Signal::INT, 130, "true"),
        (rustix::process::Signal::TERM, 143, "true"),
        // While a check runs, after a command that succeeded.
        (
            rustix::process::Signal::INT,
            130,
            "test ! -e a/new || { touch started; sleep 60; }",
        ),
    ] {
        let place = place();
        let script = match check {
            "true" => "echo bad > a/one; touch started; sleep 60",
            _ => "echo bad > a/one; touch a/new",
        };
        let words = [
            "rollback",
            "run",
            "--target-dirs",
            "a",
            "b",
            "--check",
            check,
        ];
        let command = ["--", "/bin/sh", "-c", script];
        let mut guardian = place.command(words.iter().chain(&command));
        let guardian = guardian.stdout(Stdio::null()).stderr(Stdio::piped());
        let guardian = guardian.spawn().unwrap();
        let began = Instant::now();
        while !place.at("started").exists() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = rustix::process::Pid::from_raw(guardian.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let ended = guardian.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{check}: {said}");
        assert!(said.contains("rolled back"), "{said}");
        assert_eq!(place.read("a/one"), "one\n", "{check}");
        assert!(!place.at("a/new").exists());
        assert!(!place.at(".agp/snapshots/run.json").exists());
        let again = place.run(["rollback", "recover", "--json"]);
        assert_eq!((again.code, codes(&again.json())), (0, vec![]));
    }
}

#[test]
fn what_was_bad_before_does_not_count_against_the_command() {
    let place = place();
    let ran = run(&place, &["--check", "false"], "echo more >> a/one");
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (0, vec!["run.pre_existing".to_owned()])
    );
    assert_eq!(place.read("a/one"), "one\nmore\n");
}

#[test]
fn a_policy_may_want_nothing_rolled_back() {
    let place = place();
    place.write(
        "policy.json",
        r#"{"rollback_playbook": {"auto_rollback_on_failure": false}}"#,
    );
    let ran = run(&place, &["-c", "policy.json"], "echo bad > a/one; exit 1");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["summary"]["status"], "left_as_it_is");
    assert_eq!(place.read("a/one"), "bad\n");
}

#[test]
fn a_state_that_was_rolled_back_is_no_place_to_start_from() {
    let place = place();
    assert_eq!(run(&place, &[], "echo bad > a/one; exit 1").code, 1);
    place.write("a/one", "bad\n");
    let ran = run(&place, &[], "true");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("rolled back before"), "{ran:?}");
    // Whoever failed and changed nothing left a state as good as it was.
    place.write("a/one", "one\n");
    assert_eq!(run(&place, &[], "exit 1").code, 1);
    assert_eq!(run(&place, &[], "true").code, 0);
}

#[test]
fn the_command_sees_no_secret_and_may_use_the_store_itself() {
    let place = place();
    let script = format!(
        "test -z \"$POCKETMON_SIGN_SECRET\" && {} rollback snapshot --target-dirs a --label inner",
        super::harness::AGP
    );
    let ran = run(&place, &[], &script);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.run(["rollback", "show", "inner"]).code, 0);
}

#[test]
fn a_command_that_cannot_start_is_told_and_leaves_no_run_open() {
    let place = place();
    let words = ["rollback", "run", "--target-dirs", "a", "--", "/none/such"];
    assert_eq!(place.run(words).code, 2);
    assert!(!place.at(".agp/snapshots/run.json").exists());
}

#[test]
fn whoever_comes_after_a_killed_guardian_takes_the_trees_back() {
    let place = place();
    let words = ["rollback", "run", "--target-dirs", "a", "b", "--"];
    let script = [
        "/bin/sh",
        "-c",
        "echo bad > a/one; touch started; sleep 60; echo late > b/three",
    ];
    let mut guardian = place.command(words.iter().chain(&script));
    let mut guardian = guardian
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !place.at("started").exists() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    // While the guardian lives nobody else meddles.
    assert_eq!(
        place
            .run(["rollback", "snapshot", "--target-dirs", "b"])
            .code,
        0
    );
    assert_eq!(place.read("a/one"), "bad\n");
    guardian.kill().unwrap();
    guardian.wait().unwrap();
    let ran = place.run(["rollback", "snapshot", "--target-dirs", "b", "--json"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (0, vec!["restore.recovered".to_owned()]),
        "{ran:?}"
    );
    assert_eq!(place.read("a/one"), "one\n");
    let again = place.run(["rollback", "recover", "--json"]);
    assert_eq!((again.code, codes(&again.json())), (0, vec![]));
}
