//! What the guide says and no other test shows: its own command lines, in its own order; its fields at its own places;
//! what a record says of what went well.
//!
//! Which test proves which sentence stands in `docs/guide-coverage.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::harness::{Place, codes};

/// The guide as its authors wrote it.
pub const GUIDE: &str = include_str!("../fixtures/guide/GUIDE.md");

const POLICY: &str = include_str!("../../config/assets_quality_policy.json");

/// The blocks of a kind, in order.
pub fn blocks(kind: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = None;
    for line in GUIDE.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(word), None) => {
                inside = Some(word == kind);
                if word == kind {
                    blocks.push(String::new());
                }
            }
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => {
                let block = blocks.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// The command lines of the guide, with the lines that continue them.
pub fn command_lines() -> Vec<String> {
    let text = blocks("bash").concat().replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.is_empty()).collect()
}

/// What takes the place of a script.
const VERBS: [(&str, &str); 5] = [
    ("scripts/adaptive_budget_optimizer.py", "budget"),
    ("scripts/sign_manifest.py", "sign"),
    ("scripts/verify_manifest.py", "verify"),
    ("scripts/policy_guard_evaluator.py", "guard"),
    ("scripts/rollback_playbook.py", "rollback"),
];

#[test]
fn the_guides_command_lines_run_one_after_another() {
    let mut place = Place::without_key();
    place.write("config/assets_quality_policy.json", POLICY);
    place.write("output/level.json", "{}\n");
    place.write("assets/credits.txt", "ahoy\n");
    let mut lines = command_lines();
    // The secret is set further down in the guide than it is needed.
    lines.sort_by_key(|line| !line.starts_with("export "));
    let mut seen = BTreeSet::new();
    for line in lines {
        if let Some(setting) = line.strip_prefix("export ") {
            let (name, value) = setting.split_once('=').unwrap();
            place.set(name, value.trim_matches('"'));
            continue;
        }
        let (script, flags) = line
            .strip_prefix("python ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        let (_, verb) = VERBS.iter().find(|(known, _)| *known == script).unwrap();
        seen.insert(*verb);
        let flags: Vec<&str> = flags.split(' ').collect();
        let ran = place.run([*verb].iter().chain(&flags));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        let output = flags.iter().position(|flag| *flag == "--output").unwrap();
        let written: Value = serde_json::from_str(&place.read(flags[output + 1])).unwrap();
        let word = match *verb {
            "sign" => written["manifest_version"].as_str(),
            "rollback" => written["playbook_version"].as_str(),
            _ => written["report"].as_str(),
        };
        let expected = if ["sign", "rollback"].contains(verb) {
            "1.0"
        } else {
            *verb
        };
        assert_eq!(word, Some(expected), "{line}");
    }
    assert_eq!(seen.len(), VERBS.len(), "{seen:?}");
}

#[test]
fn the_guides_policies_are_the_ones_that_other_tests_load() {
    let read = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    let policies: Vec<Value> = blocks("json").iter().map(|block| read(block)).collect();
    for snippet in [
        include_str!("../fixtures/guide/benchmarks.json"),
        include_str!("../fixtures/guide/guard.json"),
        include_str!("../fixtures/guide/rollback.json"),
    ] {
        assert!(policies.contains(&read(snippet)), "{snippet}");
    }
    assert_eq!(policies.len(), 4, "three policies and a manifest");
}

/// The pointers of all values that hold no other, with what kind of value stands there.
fn leaves(at: &str, value: &Value, found: &mut BTreeSet<(String, &'static str)>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                // A file's name is no field.
                let name = if name.contains('/') { "FILE" } else { name };
                leaves(&format!("{at}/{name}"), inner, found);
            }
            return;
        }
        Value::String(_) => "text",
        Value::Number(_) => "number",
        _ => "other",
    };
    found.insert((at.to_owned(), kind));
}

#[test]
fn a_manifest_has_every_field_of_the_guide_where_the_guide_has_it() {
    let place = Place::new();
    place.write("output/relative/path/file.json", "{}\n");
    assert_eq!(place.run(["sign", "--input-dir", "./output"]).code, 0);
    let ours = serde_json::from_str(&place.read("output/integrity_manifest.json")).unwrap();
    let theirs = blocks("json")
        .iter()
        .map(|block| serde_json::from_str::<Value>(block).unwrap())
        .find(|block| block.get("manifest_version").is_some())
        .unwrap();
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    leaves("", &theirs, &mut wanted);
    leaves("", &ours, &mut found);
    assert_eq!(wanted.len(), 11, "{wanted:?}");
    assert_eq!(wanted.difference(&found).count(), 0, "{wanted:?} {found:?}");
    for name in ["manifest_version", "algorithm"] {
        assert_eq!(theirs[name], ours[name]);
    }
}

/// The last record of the log.
fn last_record(place: &Place) -> Value {
    let shown = place.run(["audit", "show", "--last", "1"]).stdout;
    serde_json::from_str(shown.trim_end()).unwrap()
}

#[test]
fn a_record_says_which_checks_of_the_policy_passed_and_which_trees_were_read() {
    let place = Place::new();
    place.write("output/one", "one\n");
    let policy = json!({
        "policy_guard": {
            "blocked_operations": ["modify_core_config"],
            "operation_catalog": {"pack": {"access": "modify", "paths": ["output/**"]}}
        },
        "pipeline": {"targets": ["output"], "stages": [
            {"name": "pack", "command": ["/bin/sh", "-c", "echo x > output/two"], "operations": ["pack"]}
        ]}
    });
    place.write("policy.json", policy.to_string());
    // What the guide calls `audit_logging` is on unless a policy says otherwise.
    let policy_of = |words: &[&str], code: i32| {
        let ran = place.run(words.iter().chain(&["-c", "policy.json"]));
        assert_eq!(ran.code, code, "{ran:?}");
        last_record(&place)
    };
    let passed = json!({"decision": "allow", "rule": "enforcement strict"});
    let pack = json!({"decision": "allow", "rule": "operation pack"});
    let all = json!([passed, pack]);
    let clean = policy_of(&["guard", "--target", "output"], 0);
    assert_eq!(clean["policy"], all, "{clean:#}");
    assert_eq!(clean["resources"][0]["path"], "output", "{clean:#}");
    let ran = policy_of(&["run"], 0);
    assert_eq!(ran["policy"], all, "{ran:#}");
    let resource = |access: &str, path: &str| {
        let mut all = ran["resources"].as_array().unwrap().iter();
        let found = all.find(|one| one["access"] == access && one["path"] == path);
        found.unwrap_or_else(|| panic!("{access} {path}: {ran:#}"))["sha256"].clone()
    };
    assert_eq!(resource("read", "output").as_str().unwrap().len(), 64);
    resource("write", "output/integrity_manifest.json");
    // What is bad says so in the same place, and what was bad before does not speak against a run.
    let secret = format!("db_pass{} = \"{}\"\n", "word", "xK4qmR7tBv2NwZ8pHd3T");
    place.write("output/app.conf", secret);
    let bad = policy_of(&["guard", "--target", "output"], 19);
    let denied = json!({"decision": "deny", "rule": "enforcement strict"});
    assert_eq!(bad["policy"][0], denied, "{bad:#}");
    assert_eq!(bad["policy"][1]["rule"], "generic.password", "{bad:#}");
    let ran = policy_of(&["run"], 0);
    assert_eq!(ran["policy"], all, "{ran:#}");
    let asked = policy_of(&["guard", "--operation", "modify_core_config"], 19);
    assert_eq!(asked["policy"][0], denied, "{asked:#}");
    let mut refused = policy;
    refused["pipeline"]["stages"][0]["operations"] = json!(["modify_core_config"]);
    place.write("policy.json", refused.to_string());
    let ran = policy_of(&["run"], 19);
    let rule = json!({"decision": "deny", "rule": "operation modify_core_config"});
    assert!(ran["policy"].as_array().unwrap().contains(&rule), "{ran:#}");
}

#[test]
fn a_restored_tree_is_read_again_unless_the_policy_leaves_that_out() {
    // Somebody writes into what is being staged: verification tells, and without it nobody does.
    for verifies in [true, false] {
        let place = Place::new();
        for number in 0..80 {
            place.write(&format!("output/sub/{number}"), format!("{number}\n"));
        }
        let policy = json!({"rollback_playbook": {"rollback_verification": verifies}});
        place.write("policy.json", policy.to_string());
        let words = [
            "rollback",
            "snapshot",
            "--target-dirs",
            "output",
            "--label",
            "good",
        ];
        assert_eq!(place.run(words).code, 0);
        std::fs::remove_dir_all(place.at("output/sub")).unwrap();
        let has_met = (0..50).any(|_| {
            let is_over = Arc::new(AtomicBool::new(false));
            let intruder = std::thread::spawn({
                let (folder, is_over) = (place.path().to_owned(), Arc::clone(&is_over));
                move || {
                    let known = ["output", "policy.json", ".agp"];
                    while !is_over.load(Ordering::Relaxed) {
                        for entry in folder.read_dir().unwrap().flatten() {
                            let sub = entry.path().join("sub");
                            if !known.iter().any(|name| entry.file_name() == *name) && sub.is_dir()
                            {
                                drop(std::fs::write(sub.join("intruder"), "x"));
                            }
                        }
                    }
                }
            });
            let words = [
                "rollback",
                "restore",
                "good",
                "--yes",
                "--json",
                "-c",
                "policy.json",
            ];
            let ran = place.run(words);
            is_over.store(true, Ordering::Relaxed);
            intruder.join().unwrap();
            match verifies {
                true if ran.code != 0 => {
                    let report = ran.json();
                    assert_eq!(codes(&report), ["restore.unverified"], "{ran:?}");
                    // An answer, and not the lack of one.
                    assert_eq!((ran.code, &report["verdict"]), (1, &json!("fail")));
                    assert_eq!(report["summary"]["status"], "unverified");
                    assert!(
                        !place.at("output/sub").exists(),
                        "the live tree was touched"
                    );
                    true
                }
                false if place.at("output/sub/intruder").exists() => {
                    assert_eq!(ran.code, 0, "{ran:?}");
                    true
                }
                // Too late: it came back whole.
                _ => {
                    assert_eq!(ran.code, 0, "{ran:?}");
                    std::fs::remove_dir_all(place.at("output/sub")).unwrap();
                    false
                }
            }
        });
        assert!(has_met, "nobody came in time, verification {verifies}");
    }
}

#[test]
fn one_stage_of_a_pipeline_runs_alone() {
    let place = Place::new();
    place.write("output/one", "one\n");
    let stage = |name: &str| {
        let script = format!("echo x > output/{name}");
        json!({"name": name, "command": ["/bin/sh", "-c", script], "operations": ["write"]})
    };
    let policy = json!({
        "policy_guard": {"operation_catalog": {"write": {"access": "modify", "paths": ["output/**"]}}},
        "pipeline": {"targets": ["output"], "stages": [stage("pack"), stage("index")]}
    });
    place.write("policy.json", policy.to_string());
    let ran = place.run(["run", "-c", "policy.json", "--stage", "index", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["summary"]["stages_passed"], 1);
    let there = ["pack", "index"].map(|name| place.at(format!("output/{name}")).exists());
    assert_eq!(there, [false, true]);
}

#[test]
fn every_command_says_more_when_it_is_asked_to() {
    fn visit(command: &clap::Command, path: &mut Vec<String>, deaf: &mut Vec<String>) {
        path.push(command.get_name().to_owned());
        let hears = |one: &clap::Arg| one.get_long() == Some("verbose");
        if !command.get_arguments().any(hears) {
            deaf.push(path.join(" "));
        }
        for inner in command.get_subcommands() {
            // clap's own.
            if inner.get_name() != "help" {
                visit(inner, path, deaf);
            }
        }
        path.pop();
    }
    let mut command = agp::cli::command();
    command.build();
    let mut deaf = Vec::new();
    visit(&command, &mut Vec::new(), &mut deaf);
    assert_eq!(deaf, [""; 0]);
    let place = Place::new();
    place.signed_tree();
    let verify = ["verify", "--manifest", "tree/integrity_manifest.json"];
    let plain = place.run(verify);
    let more = place.run(verify.iter().chain(&["--verbose"]));
    assert!(more.stdout.len() + more.stderr.len() > plain.stdout.len() + plain.stderr.len());
    let version = place.run(["--version"]);
    let expected = format!("agp {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.stdout), (0, expected));
}

#[test]
fn a_stages_name_stays_on_its_line() {
    let place = Place::new();
    place.write("output/one", "one\n");
    let script = "true\n::error ::owned";
    for words in [
        &["profile", "--", "sh", "-c", script][..],
        &["run", "--target-dirs", "output", "--", "sh", "-c", script],
    ] {
        let ran = place.run(words);
        let mut lines = ran.stdout.lines().chain(ran.stderr.lines());
        // The shell's own complaint about the second line is a child's, and passes through.
        assert!(!lines.any(|line| line.starts_with("::")), "{ran:?}");
    }
}

#[test]
fn nearing_a_maximum_alerts_unless_only_worse_is_asked_for() {
    let place = Place::new();
    for (severity_min, expected) in [("critical", None), ("high", Some("high"))] {
        let route = json!({"events": ["resource_exhaustion"], "severity_min": severity_min, "channels": ["file"]});
        // A hundredth of the maximum is near here, so that the test waits for nothing.
        let policy = json!({
            "performance_benchmarks": {"max_processing_time_seconds": 20},
            "alerts": {
                "channels": {"file": {"type": "command", "argv": ["/bin/sh", "-c", "cat > alert.json"]}},
                "routes": [route],
                "resource_exhaustion_ratio": 0.01
            }
        });
        place.write("policy.json", policy.to_string());
        let ran = place.run([
            "profile",
            "-c",
            "policy.json",
            "--runs",
            "1",
            "--json",
            "--define-stage",
            "near=sleep 0.3",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            codes(&ran.json()).contains(&"profile.limit_near".to_owned()),
            "{ran:?}"
        );
        let told = place
            .at("alert.json")
            .exists()
            .then(|| place.read("alert.json"));
        let event =
            told.map(|text| serde_json::from_str::<Value>(&text).unwrap()["events"][0].clone());
        let told = event.map(|event| (event["event"].clone(), event["severity"].clone()));
        assert_eq!(
            told,
            expected.map(|word| (json!("resource_exhaustion"), json!(word)))
        );
        drop(std::fs::remove_file(place.at("alert.json")));
    }
}
