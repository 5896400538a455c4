//! `agp run`: trees leave a pipeline better and sealed, or exactly as they were.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Place, Ran, codes, skip};

/// Two trees, and a folder that nobody may change.
fn place() -> Place {
    let place = Place::new();
    place.write("output/one", "one\n");
    place.write("output/two.json", "{}\n");
    place.write("maps/three", "three\n");
    place.write("config/core.json", "{}\n");
    place
}

/// A policy with one stage of this script, and what else is to be said.
fn policy(place: &Place, script: &str, more: Value) {
    let mut policy = json!({
        "policy_guard": {
            "blocked_operations": ["modify_core_config"],
            "operation_catalog": {
                "write_output": {"access": "modify", "paths": ["output/**"]},
                "write_maps": {"access": "modify", "paths": ["maps/**"]}
            }
        },
        "pipeline": {
            "targets": ["output", "maps"],
            "stages": [{
                "name": "pack",
                "command": ["/bin/sh", "-c", script],
                "operations": ["write_output", "write_maps"]
            }]
        }
    });
    merge(&mut policy, more);
    place.write("policy.json", policy.to_string());
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(&mut into[key.parse::<usize>().unwrap()], value);
            }
        }
        (into, from) => *into = from,
    }
}

/// More to say of the one stage.
fn of_stage(value: Value) -> Value {
    json!({"pipeline": {"stages": {"0": value}}})
}

fn run(place: &Place, flags: &[&str]) -> Ran {
    let words = ["run", "--json", "--config", "policy.json"];
    place.run(words.iter().chain(flags))
}

fn password() -> String {
    format!(
        "{}word = \"xK4q{}\"",
        "pass",
        ["mR7tBv2N", "wZ8pHd3T"].concat()
    )
}

fn is_untouched(place: &Place) -> bool {
    let read = |name| place.read(name);
    (
        read("output/one"),
        read("output/two.json"),
        read("maps/three"),
    ) == ("one\n".into(), "{}\n".into(), "three\n".into())
        && read("config/core.json") == "{}\n"
        && !place.at("output/integrity_manifest.json").exists()
}

#[test]
fn a_good_run_leaves_trees_sealed_and_its_report_holds_every_verbs() {
    let place = place();
    policy(
        &place,
        "echo more >> output/one; echo new > maps/four",
        json!({}),
    );
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let summary = &report["summary"];
    assert_eq!(summary["status"], "committed");
    assert_eq!(
        (
            &summary["stages_passed"],
            &summary["entries_changed"],
            &summary["is_sealed"]
        ),
        (&json!(1), &json!(2), &json!(true))
    );
    assert_eq!(report["profile"]["stages"][0]["stage"], "pack");
    assert_eq!(report["budget"][0]["stage"], "pack");
    assert_eq!(report["guard"]["coverage"]["files"], 4);
    // Guard looked into all of them while others read them.
    assert_eq!(report["guard"]["coverage"]["reused"], 4);
    assert_eq!(report["sign"]["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(report["verify"]["summary"]["valid"], 2);
    assert_eq!(place.read("output/one"), "one\nmore\n");
    // Anybody finds the same, reading every file.
    let verified = place.run(["verify", "--manifest", "output/integrity_manifest.json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    // And the next run starts from there.
    policy(&place, "true", json!({}));
    let ran = run(&place, &[]);
    assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "{ran:?}");
    assert_eq!(ran.json()["summary"]["entries_changed"], 0);
    let history = place.run(["profile", "history", "--config", "policy.json"]);
    assert!(
        history.stdout.contains("\"predicted_seconds\":"),
        "{history:?}"
    );
}

#[test]
fn everything_that_speaks_against_a_stage_takes_the_trees_back() {
    let secret = format!("echo '{}' > output/leak.conf", password());
    let off = json!({"policy_guard": {"blocked_operations": []}});
    for (script, more, code, trigger) in [
        ("rm -r maps/*; exit 3", json!({}), 1, "run.command_failed"),
        (
            "echo x > output/one; kill -9 $$",
            json!({}),
            1,
            "run.command_failed",
        ),
        (
            "echo x > output/one; sleep 60",
            of_stage(json!({"budget_seconds": 0.3})),
            18,
            "run.timed_out",
        ),
        (
            "echo x > output/one; sleep 60",
            json!({"performance_benchmarks": {"max_processing_time_seconds": 0.3}}),
            18,
            "profile.time_exceeded",
        ),
        (
            "echo x > output/one; head -c 300m /dev/zero | tail -c 300m | sleep 60",
            json!({"performance_benchmarks": {"max_memory_usage_mb": 64}}),
            18,
            "profile.memory_exceeded",
        ),
        (&secret, json!({}), 19, "guard.secret"),
        (": > output/one", json!({}), 1, "run.data_corruption"),
        (
            "echo fine > maps/three; echo x > output/one",
            of_stage(json!({"allow_change": ["three"]})),
            1,
            "run.data_corruption",
        ),
        (
            "chmod 666 output/one",
            json!({}),
            19,
            "run.security_violation",
        ),
        // It declares one tree and writes into the other.
        (
            "echo x > output/one; echo x > maps/three",
            of_stage(json!({"operations": ["write_output"]})),
            1,
            "run.command_failed",
        ),
        // Where it was not confined, because nothing is known of what it declares, the difference tells.
        (
            "echo x > config/core.json",
            of_stage(json!({"operations": ["anything"]})),
            19,
            "run.operation_blocked",
        ),
        (
            "echo x > config/core.json",
            json!({}),
            1,
            "run.command_failed",
        ),
        // Changing rights is nothing that the kernel governs here.
        (
            "chmod 700 maps/three",
            of_stage(json!({"operations": ["write_output"]})),
            19,
            "run.operation_undeclared",
        ),
        ("/no/such/program", off, 1, "run.command_failed"),
    ] {
        let place = place();
        policy(&place, script, more);
        let ran = run(&place, &[]);
        let report = ran.json();
        assert_eq!(
            report["summary"]["status"], "rolled_back",
            "{script}: {ran:?}"
        );
        let found = codes(&report);
        assert!(found.contains(&trigger.to_owned()), "{script}: {found:?}");
        assert_eq!(ran.code, code, "{script}: {ran:?}");
        assert!(is_untouched(&place), "{script}");
        assert!(!place.at(".agp/snapshots/run.json").exists());
    }
}

#[test]
fn without_the_kernels_help_the_difference_tells_of_what_was_not_declared() {
    for (script, trigger) in [
        ("echo x > config/core.json", "run.operation_blocked"),
        ("echo x > maps/three", "run.operation_undeclared"),
    ] {
        let mut place = place();
        place.set("AGP_CONFINE", "off");
        policy(
            &place,
            script,
            of_stage(json!({"operations": ["write_output"]})),
        );
        let ran = run(&place, &[]);
        let found = codes(&ran.json());
        assert_eq!(ran.code, 19, "{script}: {ran:?}");
        for code in [trigger, "run.unconfined", "run.rolled_back"] {
            assert!(found.contains(&code.to_owned()), "{code}: {found:?}");
        }
        assert!(is_untouched(&place), "{script}");
    }
}

#[test]
fn a_confined_stage_writes_where_it_may_and_finds_room_for_temporary_files() {
    let place = place();
    // A killed run left this behind.
    place.write(".agp/temporary-999999999/file", "");
    let script = "set -e; t=$(mktemp); echo x > $t; mv $t output/moved; rm output/one; echo y > /dev/null; mkdir -p output/deep; echo z > output/deep/er";
    policy(&place, script, json!({}));
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let places = report["budget"][0]["writable"].as_array();
    let Some(places) = places else {
        return skip("a_confined_stage_writes_where_it_may", "Landlock");
    };
    assert!(places.contains(&json!("output")), "{places:?}");
    let left: Vec<_> = std::fs::read_dir(place.at(".agp")).unwrap().collect();
    let is_temporary = |entry: &std::io::Result<std::fs::DirEntry>| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("temporary")
    };
    assert!(!left.iter().any(is_temporary), "{left:?}");
    // A link beside the working directory is no way into what is forbidden in it.
    let link = place.path().with_extension("link");
    std::os::unix::fs::symlink(place.at("config"), &link).unwrap();
    let script = format!("echo bad > {}/core.json", link.display());
    policy(&place, &script, json!({}));
    let ran = run(&place, &[]);
    std::fs::remove_file(&link).unwrap();
    assert!(codes(&ran.json()).contains(&"run.command_failed".into()));
}

#[test]
fn what_was_bad_before_does_not_fire() {
    let place = place();
    place.write("output/old.conf", password());
    place.write("output/link.json", "{");
    policy(&place, "true", json!({}));
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert!(
        report["summary"]["violations_before"].as_u64() >= Some(1),
        "{report}"
    );
    assert!(codes(&report).contains(&"run.violation_before".to_owned()));
    // The same value in another file is new.
    let script = "cp output/old.conf output/copy.conf";
    policy(&place, script, json!({}));
    assert_eq!(run(&place, &[]).code, 19);
    assert!(!place.at("output/copy.conf").exists());
    // A tree that is not what its manifest says.
    place.write("output/one", "changed by nobody knows whom\n");
    policy(&place, "true", json!({}));
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(codes(&ran.json()).contains(&"run.invalid_before".to_owned()));
}

#[test]
fn a_secret_that_a_stage_spells_is_not_repeated() {
    let place = place();
    let script = format!("echo '{}' > output/leak.conf", password());
    policy(&place, &script, json!({}));
    let pages = ["--report", "html=page.html", "--report", "markdown=page.md"];
    let ran = run(&place, &pages);
    assert_eq!(ran.code, 19, "{ran:?}");
    let value = format!("xK4q{}", "mR7tBv2NwZ8pHd3T");
    let pages = [place.read("page.html"), place.read("page.md")];
    for text in pages.into_iter().chain([ran.stdout, ran.stderr]) {
        assert!(!text.contains(&value), "{text}");
    }
}

#[test]
fn a_policy_says_what_takes_trees_back_and_what_is_only_told() {
    let script = format!("echo '{}' > output/leak.conf", password());
    let place = place();
    let more = json!({"rollback_playbook": {"critical_failure_patterns": []}});
    policy(&place, &script, more);
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 19, "{ran:?}");
    assert_eq!(ran.json()["summary"]["status"], "left_as_it_is");
    assert!(place.at("output/leak.conf").exists());
    assert!(
        !place.at("output/integrity_manifest.json").exists(),
        "nobody seals what is bad"
    );
    let place = self::place();
    let more = json!({"rollback_playbook": {"auto_rollback_on_failure": false}});
    policy(&place, "echo x > output/one; exit 1", more);
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json()["summary"]["status"], "left_as_it_is");
    assert_eq!(place.read("output/one"), "x\n");
}

#[test]
fn a_run_that_passes_lets_go_of_snapshots_older_than_the_policy_keeps_them() {
    let place = place();
    let snapshots = |place: &Place| {
        let listed = place.run(["rollback", "list", "--json"]).json();
        listed["snapshots"].as_array().unwrap().len()
    };
    policy(&place, "true", json!({}));
    for _ in 0..3 {
        assert_eq!(run(&place, &[]).code, 0);
    }
    assert_eq!(snapshots(&place), 3);
    let more = json!({"rollback_playbook": {"backup_retention_days": 0}});
    // A run that fails removes nothing that somebody may need now.
    policy(&place, "exit 1", more.clone());
    assert_eq!(run(&place, &[]).code, 1);
    assert!(snapshots(&place) > 3);
    policy(&place, "true", more);
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.json()["summary"]["snapshots_removed"].as_u64() >= Some(3),
        "{ran:?}"
    );
    assert!(snapshots(&place) <= 2);
}

#[test]
fn what_a_stage_may_not_declare_is_refused_before_anything_runs() {
    for operations in [
        json!(["modify_core_config"]),
        json!(["write_output", "drop_it"]),
    ] {
        let place = place();
        let allowed = json!({"policy_guard": {"allowed_operations": ["write_*"]}});
        policy(&place, "touch ran", allowed);
        let text = place.read("policy.json");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["pipeline"]["stages"][0]["operations"] = operations;
        place.write("policy.json", value.to_string());
        let ran = run(&place, &[]);
        assert_eq!(ran.code, 19, "{ran:?}");
        assert_eq!(ran.json()["summary"]["status"], "refused");
        assert!(!place.at("ran").exists());
        assert!(!place.at(".agp/snapshots/run.json").exists());
    }
}

#[test]
fn bad_input_is_told_before_anything_runs() {
    let place = place();
    policy(&place, "touch output/ran", json!({}));
    for (words, wanted) in [
        (
            &["run", "--config", "policy.json", "--stage", "pakc"][..],
            "did you mean `pack`",
        ),
        (
            &["run", "--config", "policy.json", "--target-dirs", "nowhere"],
            "is not a directory",
        ),
        (
            &["run", "--target-dirs", "output"],
            "there is no stage to run",
        ),
        (
            &[
                "run",
                "--config",
                "policy.json",
                "--report",
                "html=output/r.html",
            ],
            "governed",
        ),
        (
            &["run", "--config", "policy.json", "--output", "maps/r.json"],
            "governed",
        ),
        (
            &[
                "run",
                "--config",
                "policy.json",
                "--stage",
                "pack",
                "--",
                "true",
            ],
            "cannot be used",
        ),
        (
            &["run", "--target-dirs", "output", "--", "/no/such"],
            "/no/such",
        ),
    ] {
        let ran = place.run(words);
        assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
        assert!(ran.stderr.contains(wanted), "{words:?}: {ran:?}");
        assert!(!place.at("output/ran").exists(), "{words:?}");
        assert!(is_untouched(&place), "{words:?}");
    }
    let bare = Place::without_key();
    bare.write("output/one", "one\n");
    let words = [
        "run",
        "--target-dirs",
        "output",
        "--",
        "/bin/sh",
        "-c",
        "touch output/ran",
    ];
    let ran = bare.run(words);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(!bare.at("output/ran").exists());
    let words = [
        "run",
        "--no-sign",
        "--target-dirs",
        "output",
        "--",
        "/bin/sh",
        "-c",
        "touch output/ran",
    ];
    assert_eq!(bare.run(words).code, 0);
    assert!(bare.at("output/ran").exists());
}

#[test]
fn later_stages_do_not_run_behind_one_that_failed() {
    let place = place();
    let stage = |name: &str, script: &str| json!({"name": name, "command": ["/bin/sh", "-c", script], "operations": ["write_output"], "ok_codes": [0, 4]});
    let stages = json!([
        stage("first", "echo 1 > output/first; exit 4"),
        stage("second", "exit 5"),
        stage("third", "touch ../third"),
    ]);
    policy(&place, "true", json!({}));
    let mut value: Value = serde_json::from_str(&place.read("policy.json")).unwrap();
    value["pipeline"]["stages"] = stages;
    place.write("policy.json", value.to_string());
    let ran = run(&place, &[]);
    let report = ran.json();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(
        (
            &report["summary"]["stages"],
            &report["summary"]["stages_passed"]
        ),
        (&json!(3), &json!(1))
    );
    assert_eq!(report["profile"]["stages"][2]["runs"], json!([]));
    assert!(is_untouched(&place) && !place.at("output/first").exists());
    // One of them alone.
    assert_eq!(run(&place, &["--stage", "first"]).code, 0);
}

#[test]
fn checks_count_where_they_passed_before() {
    let place = place();
    policy(&place, "echo bad > output/one", json!({}));
    let ran = run(
        &place,
        &["--check", "! grep -q bad output/one", "--check", "false"],
    );
    let found = codes(&ran.json());
    assert_eq!(ran.code, 1, "{ran:?}");
    for code in ["run.check_failed", "run.pre_existing", "run.rolled_back"] {
        assert!(found.contains(&code.to_owned()), "{found:?}");
    }
    assert!(is_untouched(&place));
}

/// A run whose stage has written half of what it means to, and takes its time.
fn half_way(place: &Place) -> Child {
    policy(
        place,
        "echo half > output/one; touch started; sleep 60",
        of_stage(json!({"operations": ["anything"]})),
    );
    let mut command = place.command(["run", "--config", "policy.json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !place.at("started").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(place.at("started").exists(), "it never began");
    assert_eq!(place.read("output/one"), "half\n");
    child
}

#[test]
fn a_run_whose_guardian_is_killed_is_taken_back_by_the_next_command() {
    let place = place();
    let mut child = half_way(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(place.read("output/one"), "half\n");
    policy(&place, "true", json!({}));
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        codes(&ran.json()).contains(&"restore.recovered".to_owned()),
        "{ran:?}"
    );
    assert_eq!(place.read("output/one"), "one\n");
}

#[test]
fn an_interrupted_run_takes_the_trees_back() {
    let place = place();
    let child = half_way(&place);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("rolled back"), "{ran:?}");
    assert!(is_untouched(&place));
}

#[test]
fn a_stage_that_takes_longer_than_was_expected_is_told_and_not_stopped() {
    let place = place();
    place.write("pause", "0");
    policy(&place, "sleep $(cat pause)", json!({}));
    for (pause, expected) in [("0", false), ("0", false), ("0", false), ("3", true)] {
        place.write("pause", pause);
        let ran = run(&place, &["--no-sign"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let told = codes(&ran.json()).contains(&"run.budget_exceeded".to_owned());
        let predicted = ran.json()["budget"][0]["advice"]["budget_seconds"].as_f64();
        // A machine that took that long for nothing expects as much.
        assert_eq!(told, expected && predicted.unwrap() < 2.0, "{ran:?}");
    }
}

#[test]
fn what_others_wrote_into_the_memory_of_guard_is_told_and_not_believed() {
    let place = place();
    policy(&place, "echo more >> output/one", json!({}));
    assert_eq!(run(&place, &[]).code, 0);
    let memory = place.at(".agp/cache/cleared");
    let mut bytes = std::fs::read(&memory).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&memory, bytes).unwrap();
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = |ran: &Ran| codes(&ran.json()).contains(&"cache.discarded".to_owned());
    assert!(told(&ran), "{ran:?}");
    assert!(!told(&run(&place, &[])));
}

/// A run of which something happens to the trees after guard looked at them and before they are sealed: signers take
/// turns at the directory of a manifest.
fn changed_before_the_seal(place: &Place, flags: &[&str], change: impl FnOnce()) -> Ran {
    let turn = std::fs::File::open(place.at("output")).unwrap();
    turn.lock().unwrap();
    let words = ["run", "--json", "--config", "policy.json"];
    let mut command = place.command(words.iter().chain(flags));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let journal = || std::fs::read_to_string(place.at(".agp/snapshots/run.json"));
    let is_judged = || journal().is_ok_and(|text| text.contains("checks_done"));
    while !is_judged() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    change();
    drop(turn);
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn what_changes_after_guard_looked_is_not_sealed() {
    for flags in [&[][..], &["--check", "touch output/checked"]] {
        let place = place();
        let excluded = json!({"integrity": {"exclude": ["*.log"]}});
        policy(&place, "echo more >> output/one", excluded);
        let ran = changed_before_the_seal(&place, flags, || {
            place.write("output/late.log", "left out\n");
        });
        assert_eq!(ran.code, 0, "{ran:?}");
        let before = place.read("output/one");
        let ran = changed_before_the_seal(&place, flags, || {
            place.write("output/late", password());
        });
        assert_eq!(ran.code, 2, "{ran:?}");
        let report = ran.json();
        let findings = report["findings"].as_array().unwrap();
        let unsealed = findings.iter().find(|one| one["code"] == "run.unsealed");
        assert_eq!(unsealed.unwrap()["path"], "output/late", "{ran:?}");
        assert_eq!(report["summary"]["status"], "rolled_back");
        assert_eq!(place.read("output/one"), before);
        assert!(!place.at("output/late").exists());
    }
}

#[test]
fn a_target_that_leads_elsewhere_than_before_is_neither_passed_over_nor_sealed() {
    let secret = password();
    for (content, code, found) in [("fine", 2, "run.unsealed"), (&*secret, 19, "guard.secret")] {
        let place = place();
        place.write("releases/1/file", "old\n");
        std::os::unix::fs::symlink("releases/1", place.at("current")).unwrap();
        place.write("new", content);
        let script = "mkdir releases/2; cp new releases/2/file; ln -sfn releases/2 current";
        let words = [
            "run",
            "--json",
            "--target-dirs",
            "current",
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        let ran = place.run(words);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(codes(&ran.json()).contains(&found.to_owned()), "{ran:?}");
        assert_eq!(ran.json()["summary"]["status"], "rolled_back");
        assert!(!place.at("releases/2/integrity_manifest.json").exists());
    }
}

#[test]
fn targets_whose_names_look_alike_are_told_apart() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let place = place();
    let names = [&b"a\xff"[..], b"a\xfe"].map(OsStr::from_bytes);
    for name in names {
        std::fs::create_dir(place.at(name)).unwrap();
        std::fs::write(place.at(name).join("file"), "fine\n").unwrap();
    }
    place.write("new", password());
    let words = ["run", "--json", "--target-dirs"].map(OsStr::new);
    let script = ["--", "/bin/sh", "-c", "cp new \"$1/file\"", "sh"].map(OsStr::new);
    let words = words.into_iter().chain(names).chain(script);
    let words: Vec<OsString> = words.chain([names[1]]).map(OsString::from).collect();
    let ran = place.run(&words);
    assert_eq!(ran.code, 19, "{ran:?}");
    let after = std::fs::read(place.at(names[1]).join("file")).unwrap();
    assert_eq!(after, b"fine\n");
}

#[test]
fn a_report_that_every_manifest_leaves_out_may_change_meanwhile() {
    let place = place();
    place.write("output/integrity_report.json", "{}");
    policy(&place, "echo more >> output/one", json!({}));
    let ran = changed_before_the_seal(&place, &[], || {
        place.write("output/integrity_report.json", "{\"new\": 1}");
    });
    assert_eq!(ran.code, 0, "{ran:?}");
}
