//! `agp budget` as its users meet it.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Place, codes};

/// A place with the shipped policy, whose log is not kept so that runs are quick.
fn place() -> Place {
    Place::without_key()
}

/// A history of one kind: a second for each ten files, give or take a twentieth.
fn history(place: &Place, kind: &str, runs: u32) {
    let lines = (0..runs).map(|at| {
        let files = 10 + (at * 37) % 400;
        let seconds = f64::from(files) / 10.0 * (1.0 + 0.05 * (f64::from(at) * 1.7).sin());
        let time = format!("2026-11-23T14:{:02}:{:02}.000Z", at / 60, at % 60);
        let record = json!({
            "record_version": "1.0", "run_id": format!("r{at}"), "key": "game", "kind": kind, "stage": "s",
            "started_at": time, "finished_at": time, "outcome": "passed",
            "workload": {"files": files, "bytes": files * 100},
            "metrics": {"wall_seconds": seconds, "peak_memory_bytes": files * 1000},
        });
        format!("{record}\n")
    });
    let lines: String = lines.collect();
    place.write(".agp/history/0123456789abcdef.jsonl", lines);
    place.chmod(".agp/history", 0o700);
    place.chmod(".agp/history/0123456789abcdef.jsonl", 0o600);
}

fn tree(place: &Place, name: &str, files: std::ops::Range<u32>) {
    for at in files {
        place.write(&format!("{name}/f{at:04}.txt"), [0; 100]);
    }
}

fn seconds(report: &Value) -> f64 {
    report["budget_seconds"].as_f64().unwrap()
}

#[test]
fn the_guides_call_works_on_the_first_day() {
    let place = place();
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/assets_quality_policy.json"
    );
    place.write(
        "config/assets_quality_policy.json",
        std::fs::read(shipped).unwrap(),
    );
    let ran = place.run([
        "budget",
        "--config",
        "config/assets_quality_policy.json",
        "--output",
        "budget_recommendations.json",
        "--verbose",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    for word in [
        "90 s recommended",
        "machine",
        "confidence",
        "suggestion",
        "plain formula",
    ] {
        assert!(ran.stderr.contains(word), "{word}: {ran:?}");
    }
    let report: Value = serde_json::from_str(&place.read("budget_recommendations.json")).unwrap();
    assert_eq!(
        (&report["verdict"], seconds(&report)),
        (&json!("pass"), 90.0)
    );
    assert_eq!(report["confidence"]["coverage_achieved"], Value::Null);
    assert_eq!(report["budgets"]["processing_seconds"]["expert"], "formula");
    assert_eq!(report["workload"], Value::Null);
}

#[test]
fn what_is_recorded_is_learnt_from() {
    let place = place();
    tree(&place, "tree", 0..50);
    let ask = ["budget", "--target", "tree", "--kind", "pack", "--json"];
    let before = place.run(ask).json();
    assert_eq!(seconds(&before), 90.0);
    for at in 0..8 {
        let seconds = format!("{}", 5.0 + f64::from(at % 3) * 0.1);
        let ran = place.run(ask.iter().chain(&["--record", &seconds]));
        assert_eq!(ran.code, 0, "{ran:?}");
        let recorded = ran.json()["recorded"].clone();
        assert_eq!(
            (
                &recorded["timed_out"],
                recorded["run_id"].as_str().unwrap().len()
            ),
            (&json!(false), 32)
        );
    }
    let after = place.run(ask).json();
    assert!((5.2..20.0).contains(&seconds(&after)), "{after:#}");
    assert_eq!(
        (&after["confidence"]["runs"], &after["confidence"]["basis"]),
        (&json!(8), &json!("given"))
    );
    assert_eq!(after["recorded"], Value::Null);
    // Killed at its budget: at least twice that the next time.
    let killed = place.run(ask.iter().chain(&["--timed-out"])).json();
    assert_eq!(killed["recorded"]["seconds"], after["budget_seconds"]);
    let next = place.run(ask).json();
    assert!(
        seconds(&next) > 1.5 * seconds(&after),
        "{} {}",
        seconds(&next),
        seconds(&after)
    );
    let log = place.run(["audit", "show", "--event", "budget.record"]);
    assert_eq!(log.stdout.lines().count(), 2 * 9, "{log:?}");
}

#[test]
fn the_ceiling_is_said_and_each_part_of_the_split_really_fits() {
    let place = place();
    history(&place, "pack", 150);
    tree(&place, "tree", 0..400);
    place.write("p.json", r#"{"adaptive_budget": {"max_budget_seconds": 15}, "policy_guard": {"audit_logging": false}}"#);
    let budget = |target: &str| {
        let ran = place.run([
            "budget", "-c", "p.json", "--kind", "pack", "--target", target, "--json",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    };
    let whole = budget("tree");
    assert_eq!(
        (seconds(&whole), &whole["summary"]["ceiling_binds"]),
        (15.0, &json!(true))
    );
    assert!(codes(&whole).contains(&"budget.ceiling".to_owned()));
    let finding = whole["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["code"] == "budget.ceiling");
    assert!(
        finding.unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("% of such jobs would not fit")
    );
    let split = &whole["suggestions"][0];
    assert_eq!(split["action"], "split");
    let parts = split["parts"].as_array().unwrap();
    assert!((3..=5).contains(&parts.len()), "{split:#}");
    let mut files = 0;
    for (at, part) in parts.iter().enumerate() {
        let (first, last) = (
            part["first"].as_str().unwrap(),
            part["last"].as_str().unwrap(),
        );
        for entry in std::fs::read_dir(place.at("tree")).unwrap() {
            let name = format!("tree/{}", entry.unwrap().file_name().into_string().unwrap());
            if *first <= *name && *name <= *last {
                place.write(
                    &name.replace("tree/", &format!("part{at}/")),
                    std::fs::read(place.at(&name)).unwrap(),
                );
                files += 1;
            }
        }
        let alone = budget(&format!("part{at}"));
        assert_eq!(alone["summary"]["ceiling_binds"], false, "{alone:#}");
        assert_eq!(alone["workload"]["files"], part["files"]);
        assert!(seconds(&alone) <= 15.0);
    }
    assert_eq!(files, 400);
}

#[test]
fn the_plain_formula_where_the_policy_wants_it() {
    let place = place();
    history(&place, "pack", 50);
    for (switch, budget) in [
        (r#""enabled": false"#, 14.0),
        (r#""dynamic_adjustment": false"#, 14.0),
        (r#""coverage": 0.9"#, 45.0),
    ] {
        let policy = format!(
            r#"{{"adaptive_budget": {{"base_budget_seconds": 7, "scaling_factor": 2, {switch}}}}}"#
        );
        place.write("p.json", policy);
        let ran = place.run(["budget", "-c", "p.json", "--kind", "pack", "--json"]);
        let report = ran.json();
        let is_plain = report["budgets"]["processing_seconds"]["expert"] == "formula";
        assert_eq!(
            (is_plain, seconds(&report) == 14.0),
            (budget == 14.0, budget == 14.0),
            "{switch}: {report:#}"
        );
    }
}

#[test]
fn what_cannot_be_weighed_is_an_error_if_it_was_named_and_else_is_said() {
    let place = place();
    let ran = place.run(["budget", "--target", "nowhere", "--output", "b.json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let report: Value = serde_json::from_str(&place.read("b.json")).unwrap();
    assert_eq!(
        (&report["verdict"], codes(&report)),
        (&json!("error"), vec!["command.input".to_owned()])
    );
    std::fs::create_dir(place.at("empty")).unwrap();
    let empty = place.run(["budget", "--target", "empty", "--json"]).json();
    assert_eq!(
        (&empty["workload"]["files"], seconds(&empty)),
        (&json!(0), 90.0)
    );
    tree(&place, "tree", 0..3);
    place.write("tree/closed/x", "x");
    place.chmod("tree/closed", 0o000);
    let bound = place
        .command_bound(["budget", "--target", "tree", "--json"])
        .output()
        .unwrap();
    place.chmod("tree/closed", 0o755);
    let report: Value = serde_json::from_slice(&bound.stdout).unwrap();
    assert_eq!(
        (bound.status.code(), &report["workload"]["unreadable"]),
        (Some(0), &json!(1))
    );
    assert!(codes(&report).contains(&"budget.incomplete".to_owned()));
}

#[test]
fn a_damaged_history_is_used_as_far_as_it_can_be_believed() {
    let place = place();
    history(&place, "pack", 50);
    let name = ".agp/history/0123456789abcdef.jsonl";
    let text = place.read(name);
    place.write(
        name,
        format!("rubbish\n{text}{{\"record_version\":\"1.0\",\"run"),
    );
    let report = place.run(["budget", "--kind", "pack", "--json"]).json();
    assert_eq!(
        (
            &report["summary"]["runs"],
            &report["confidence"]["passed_over"]
        ),
        (&json!(50), &json!(2))
    );
    assert!(codes(&report).contains(&"budget.incomplete".to_owned()));
    std::fs::remove_dir_all(place.at(".agp")).unwrap();
    place.write(".agp/history", "a file");
    assert_eq!(place.run(["budget"]).code, 2);
}

#[test]
fn the_same_past_gives_the_same_budgets() {
    let place = place();
    history(&place, "pack", 200);
    tree(&place, "tree", 0..80);
    let budgets = || {
        let ran = place.run(["budget", "--kind", "pack", "--target", "tree", "--json"]);
        let report = ran.json();
        [
            report["budgets"].clone(),
            report["experts"].clone(),
            report["confidence"].clone(),
        ]
    };
    let first = budgets();
    assert_eq!(first, budgets());
    assert_ne!(first[0]["peak_memory_bytes"], Value::Null);
}

#[test]
fn explains_and_looks_back() {
    let place = place();
    history(&place, "pack", 150);
    let ran = place.run(["budget", "--kind", "pack", "--explain", "--backtest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let experts = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("> "))
        .count();
    assert_eq!(experts, 1, "{}", ran.stdout);
    for word in [
        "with the margin of its errors",
        "of 150 runs within",
        "first 30",
        "formula",
        "kind pack",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    let report = place
        .run(["budget", "--kind", "pack", "--backtest", "--json"])
        .json();
    let all = &report["backtest"]["all"];
    assert_eq!(all["runs"], 150);
    assert!(all["within"].as_u64().unwrap() >= 135, "{all}");
}

#[test]
fn serves_lines_and_answers_bad_ones_with_an_error() {
    let place = place();
    let mut server = place
        .command(["budget", "--serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut ask = |line: &str| -> Value {
        input.write_all(line.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
        serde_json::from_str(&output.next().unwrap().unwrap()).unwrap()
    };
    let predict = r#"{"op":"predict","id":1,"kind":"hash","features":{"files":12},"target":0.95}"#;
    assert_eq!(ask(predict)["budget"], 90.0);
    let long = "x".repeat((1 << 20) + 5);
    for line in [
        "nonsense",
        r#"{"op":"observe","seconds":"x"}"#,
        long.as_str(),
    ] {
        assert!(ask(line)["error"].is_string(), "{}", &line[..8]);
    }
    // Not answered, so the next answer is the prediction's.
    let observe = r#"{"op":"observe","kind":"hash","features":{"files":12},"seconds":9.8}"#;
    let answer = ask(&format!("{observe}\n{predict}"));
    let budget = answer["budget"].as_f64().unwrap();
    assert!(
        (9.8..60.0).contains(&budget) && answer["runs"] == 1,
        "{answer}"
    );
    drop(input);
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_ends_when_it_is_told_to() {
    let place = place();
    let mut command = place.command(["budget", "--serve"]);
    let mut server = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first answer shows that it listens, and to signals too.
    let mut input = server.stdin.take().unwrap();
    input.write_all(b"x\n").unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("error"));
    let id = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let status = server.wait().unwrap();
    assert_eq!(status.code(), Some(143), "{status:?}");
    drop(input);
}

#[test]
fn refuses_what_makes_no_sense() {
    let place = place();
    let cases: [&[&str]; 8] = [
        &["--coverage", "1"],
        &["--coverage", "x"],
        &["--record", "0"],
        &["--record", "nan"],
        &["--kind", ""],
        &["--serve", "--record", "3"],
        &["--serve", "--json"],
        &["--serve", "--report", "csv=x.csv"],
    ];
    for words in cases {
        let ran = place.run(["budget"].iter().chain(words));
        assert_eq!(ran.code, 2, "{words:?}: {ran:?}");
    }
}
