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
    for (flags, script) in [
        (&[][..], "rm -r a; echo bad > b/three; exit 3"),
        (&[], "echo bad > a/one; kill -9 $$"),
        (&["--timeout", "1"], "echo bad > a/one; sleep 60"),
        (&["--check", "! grep -q bad a/one"], "echo bad > a/one"),
        (
            &["--allow-change", "one"],
            "echo fine > a/one; echo bad > b/three",
        ),
        (&["--allow-change", "one"], "chmod 777 a/two.json"),
    ] {
        let place = place();
        let ran = run(&place, flags, script);
        assert_eq!(ran.code, 1, "{script}: {ran:?}");
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
