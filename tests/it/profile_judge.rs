//! `agp profile judge`, `history`, `compare` and `accept`, as their users meet them.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use agp::base::clock::Timestamp;
use agp::history::{
    self, Entry, GateVerdict, Host, Metrics, Outcome, RECORD_VERSION, Record, file_name,
};
use serde_json::{Value, json};

use crate::harness::{Place, Ran, codes};

/// Runs with this on stdin.
fn fed(place: &Place, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = place
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // Who refuses what it reads may stop reading.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran::of(&output)
}

fn judge(question: &str) -> Ran {
    fed(
        &Place::without_key(),
        &["profile", "judge"],
        question.as_bytes(),
    )
}

/// Thirty past runs of about a second, and these.
fn question(current: &[f64]) -> String {
    let history: Vec<f64> = (0..30)
        .map(|run| 1.0 + 0.01 * f64::from(run * 7 % 5))
        .collect();
    json!({"history": history, "current": current}).to_string()
}

#[test]
fn answers_a_question_with_a_verdict_its_numbers_and_why() {
    let slow = judge(&question(&[1.21, 1.19, 1.22, 1.2]));
    assert_eq!((slow.code, slow.stderr.as_str()), (0, ""));
    let answer = slow.json();
    assert_eq!(answer["regression"], true, "{answer:#}");
    assert_eq!(
        (&answer["verdict"], &answer["more"]),
        (&json!("regression"), &json!(0))
    );
    assert_eq!(
        (&answer["runs"], &answer["history_runs"]),
        (&json!(4), &json!(30))
    );
    let number = |name: &str| answer[name].as_f64().unwrap();
    assert!(number("p") < 0.002);
    assert!((0.15..0.22).contains(&number("effect")), "{answer:#}");
    let interval = answer["effect_interval"].as_array().unwrap();
    assert!(interval[0].as_f64().unwrap() < number("effect"));
    assert!(interval[1].as_f64().unwrap() > number("effect"));
    assert!((0.02..0.15).contains(&number("minimum_detectable_effect")));
    assert!(number("noise") > 0.005);
    assert!(
        answer["why"]
            .as_str()
            .unwrap()
            .contains("4 runs together are 18 % above")
    );
    let ok = judge(&question(&[1.02])).json();
    assert_eq!(
        (&ok["regression"], &ok["verdict"], &ok["more"]),
        (&json!(false), &json!("ok"), &json!(0))
    );
    let one = judge(&question(&[1.2])).json();
    assert_eq!(
        (&one["regression"], &one["more"]),
        (&json!(false), &json!(1))
    );
    let faster = judge(&question(&[0.8, 0.81, 0.79, 0.8])).json();
    assert_eq!(faster["verdict"], "improvement");
}

#[test]
fn a_short_history_is_said_to_be_one() {
    for count in 0..5 {
        let history = vec![1.0; count];
        let ran = judge(&json!({"history": history, "current": [9.0]}).to_string());
        let answer = ran.json();
        assert_eq!(
            (ran.code, &answer["verdict"]),
            (0, &json!("not_enough_history"))
        );
        assert_eq!((&answer["p"], &answer["more"]), (&Value::Null, &json!(0)));
        assert!(answer["why"].as_str().unwrap().ends_with("5 are needed"));
    }
}

/// Text that is no question, and what is said of it.
const BAD: [(&str, &str); 16] = [
    ("", "EOF"),
    ("nonsense", "expected"),
    ("[]", "invalid"),
    ("{}", "missing field `history`"),
    ("{\"history\":[1,1,1,1,1]}", "missing field `current`"),
    (
        "{\"history\":[1,1,1,1,1],\"current\":[]}",
        "at least one run",
    ),
    (
        "{\"history\":[1,1,NaN,1,1],\"current\":[1]}",
        "expected value",
    ),
    (
        "{\"history\":[1,1,null,1,1],\"current\":[1]}",
        "invalid type: null",
    ),
    (
        "{\"history\":[1,1,\"1\",1,1],\"current\":[1]}",
        "invalid type: string",
    ),
    (
        "{\"history\":[1,1,-1,1,1],\"current\":[1]}",
        "`history[2]`: expected a number above 0, found -1",
    ),
    (
        "{\"history\":[1,1,0,1,1],\"current\":[1]}",
        "`history[2]`: expected a number above 0, found 0",
    ),
    (
        "{\"history\":[1,1,1,1,1],\"current\":[1,1e999]}",
        "out of range",
    ),
    ("{\"history\":[1,1,1,1,1],\"current\":[1]} {}", "trailing"),
    ("{\"history\":[1,1,1,1,1],\"current\":[1", "EOF"),
    (
        "{\"history\":[1,1,1,1,1],\"current\":[1],\"current_probe\":[1]}",
        "belong together",
    ),
    (
        "{\"history\":[1,1,1,1,1],\"current\":[1],\"current_probe\":[1],\"history_probe\":[1]}",
        "`history_probe`: expected as many values as runs (5), found 1",
    ),
];

#[test]
fn text_that_is_no_question_has_no_answer() {
    for (text, wanted) in BAD {
        let ran = judge(text);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{text}");
        assert!(ran.stderr.contains(wanted), "{text}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: stdin: "), "{}", ran.stderr);
    }
    let invalid = fed(&Place::without_key(), &["profile", "judge"], b"\xff\xfe{}");
    assert_eq!(invalid.code, 2);
}

#[test]
fn a_batch_answers_every_line_and_says_which_it_cannot() {
    let place = Place::without_key();
    let mut input = String::new();
    for (text, _) in BAD.into_iter().skip(1) {
        input.push_str(text);
        input.push('\n');
    }
    input.push('\n');
    input.push_str(&question(&[1.21, 1.19, 1.22, 1.2]));
    let ran = fed(&place, &["profile", "judge", "--batch"], input.as_bytes());
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("15 lines of stdin could not be judged"),
        "{}",
        ran.stderr
    );
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), BAD.len());
    for (at, (text, wanted)) in BAD.iter().skip(1).enumerate() {
        assert_eq!(answers[at]["line"], at as u64 + 1);
        let error = answers[at]["error"].as_str().unwrap();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert_eq!(answers[BAD.len() - 1]["regression"], true);
    let none = fed(&place, &["profile", "judge", "--batch"], b"");
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
}

#[test]
fn a_batch_answers_before_the_next_question_comes() {
    let place = Place::without_key();
    let mut child = place
        .command(["profile", "judge", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut runs = vec![1.2];
    // Asks as long as more runs are wanted.
    loop {
        writeln!(stdin, "{}", question(&runs)).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let more = answer["more"].as_u64().unwrap();
        if more == 0 {
            assert_eq!(answer["regression"], true, "{answer:#}");
            break;
        }
        assert!(runs.len() < 9);
        (0..more).for_each(|run| runs.push(1.2 + 0.01 * run as f64));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_history_of_a_thousand_runs_and_a_line_without_end_are_no_trouble() {
    let history: Vec<f64> = (0..100_000)
        .map(|run| 1.0 + 0.001 * f64::from(run % 13))
        .collect();
    let huge = json!({"history": history, "current": [1.005], "history_host": "ignored"});
    let ran = judge(&huge.to_string());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.json()["history_runs"], 1000);
    let endless = vec![b'x'; (64 << 20) + 2];
    let ran = fed(&Place::without_key(), &["profile", "judge"], &endless);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("longer than 64.0 MiB"),
        "{}",
        ran.stderr
    );
    let mut lines = endless;
    lines.push(b'\n');
    lines.extend(question(&[1.0]).bytes());
    let ran = fed(
        &Place::without_key(),
        &["profile", "judge", "--batch"],
        &lines,
    );
    assert_eq!((ran.code, ran.stdout.lines().count()), (2, 2));
}

#[test]
fn the_policy_decides_the_floor_and_the_most_runs() {
    let place = Place::without_key();
    place.write(
        "policy.json",
        "{\"profile\": {\"effect_floor\": 0.5, \"runs_max\": 3}, \"policy_guard\": {\"audit_logging\": false}}",
    );
    let ask = |current: &[f64]| {
        let arguments = ["profile", "judge", "--config", "policy.json"];
        fed(&place, &arguments, question(current).as_bytes()).json()
    };
    assert_eq!(ask(&[1.21, 1.19, 1.22, 1.2])["regression"], false);
    assert_eq!(ask(&[1.9, 1.91, 1.92])["more"], 0);
    assert_eq!(ask(&[1.9])["more"], 1);
}

#[test]
fn a_report_is_refused_where_there_is_none() {
    let place = Place::without_key();
    for arguments in [
        ["profile", "judge", "--json"],
        ["profile", "history", "--json"],
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.stderr.contains("leave `--json` out"), "{}", ran.stderr);
    }
}

fn record(run: &str, stage: &str, wall_seconds: f64) -> Record {
    let at = Timestamp::from_unix_seconds(1_795_442_760);
    Record {
        record_version: RECORD_VERSION.into(),
        run_id: run.into(),
        key: "game".into(),
        kind: None,
        stage: stage.into(),
        size_class: "any".into(),
        host_class: "linux-x86_64-2c-8g".into(),
        gate_verdict: Some(GateVerdict::Ok),
        started_at: at,
        finished_at: at,
        outcome: Outcome::Passed,
        host: Host::default(),
        workload: None,
        system: None,
        metrics: Metrics {
            wall_seconds: Some(wall_seconds),
            peak_memory_bytes: Some(64 << 20),
            ..Metrics::default()
        },
        budget: None,
    }
}

/// A place with twenty runs `run-00` … and a slow one, `slow`.
fn place_with_history() -> Place {
    let place = Place::without_key();
    let mut entries: Vec<Entry> = (0..20)
        .flat_map(|run| {
            let id = format!("run-{run:02}");
            let wall = 1.0 + 0.01 * f64::from(run * 7 % 5);
            [record(&id, "pack", wall), record(&id, "scan", 2.0 * wall)]
        })
        .map(Entry::Record)
        .collect();
    let mut slow = record("slow", "pack", 1.3);
    slow.gate_verdict = Some(GateVerdict::Regression);
    entries.push(Entry::Record(slow));
    history::append(&place.at(".agp/history"), "game", &entries).unwrap();
    place
}

#[test]
fn the_history_is_printed_as_it_is_kept_without_what_cannot_be_believed() {
    let place = place_with_history();
    let file = format!(".agp/history/{}", file_name("game"));
    let kept = place.read(&file);
    let all = place.run(["profile", "history"]);
    assert_eq!((all.code, all.stdout.as_str()), (0, kept.as_str()));
    place.write(&file, format!("{kept}{{\"run_id\":\"torn"));
    let torn = place.run(["profile", "history"]);
    assert_eq!((torn.code, torn.stdout.as_str()), (0, kept.as_str()));
    let told = format!(
        "left out: {}:42: the last line is torn",
        place
            .at(&file)
            .strip_prefix(place.path())
            .unwrap()
            .display()
    );
    assert!(torn.stderr.contains(&told), "{}", torn.stderr);
    let some = place.run(["profile", "history", "--stage", "scan", "--last", "3"]);
    assert_eq!(some.stdout.lines().count(), 3);
    assert!(
        some.stdout
            .lines()
            .all(|line| line.contains("\"stage\":\"scan\""))
    );
    let none = place.run(["profile", "history", "--key", "other"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    let compacted = place.run(["profile", "history", "compact", "--runs-kept", "5"]);
    assert_eq!(compacted.code, 0);
    assert!(
        compacted.stderr.contains("kept 10 of 42 lines in 1 file"),
        "{}",
        compacted.stderr
    );
    assert_eq!(place.run(["profile", "history"]).stdout.lines().count(), 10);
}

#[test]
fn two_runs_are_compared_stage_by_stage() {
    let place = place_with_history();
    let ran = place.run(["profile", "compare", "run-05", "last", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["summary"]["second"], "slow");
    let rows = report["rows"].as_array().unwrap();
    let wall = rows
        .iter()
        .find(|row| row["metric"] == "wall_seconds")
        .unwrap();
    assert_eq!(
        (&wall["stage"], &wall["first"], &wall["second"]),
        (&json!("pack"), &json!(1.0), &json!(1.3))
    );
    assert_eq!(
        (&wall["change"], &wall["beyond_noise"]),
        (&json!(0.30000000000000004), &json!(true))
    );
    let people = place.run(["profile", "compare", "run-05", "slow"]);
    assert_eq!(people.code, 0);
    let line = people
        .stdout
        .lines()
        .find(|line| line.contains("wall_seconds"))
        .unwrap();
    assert!(
        line.contains("1.000 s") && line.contains("+30.0 % !"),
        "{line}"
    );
    assert!(
        people
            .stdout
            .contains("ok: 1 of 2 measurements changed by more than its noise")
    );
    for (word, wanted) in [
        ("run-0", "10 runs begin with `run-0`"),
        ("none", "no run `none`"),
    ] {
        let ran = place.run(["profile", "compare", word, "last"]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
    }
}

#[test]
fn an_acceptance_is_written_with_who_and_why_and_audited() {
    let place = place_with_history();
    let ran = place.run([
        "profile",
        "accept",
        "--reason",
        "the new codec is worth it",
        "--json",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["summary"]["run_id"], "slow");
    let past = history::read(&place.at(".agp/history"), "game").unwrap();
    let Some(Entry::Acceptance(acceptance)) = past.entries().last() else {
        panic!("no acceptance: {past:?}");
    };
    assert_eq!(acceptance.accepts, "slow");
    assert_eq!(acceptance.reason, "the new codec is worth it");
    assert_eq!(report["summary"]["actor"], acceptance.actor.as_str());
    let log = place.run(["audit", "show", "--event", "profile.accept"]);
    assert!(log.stdout.contains("profile.accept slow"), "{}", log.stdout);
    assert_eq!(place.run(["audit", "verify"]).code, 0);
    // Nothing else waits, and what passed needs no acceptance.
    for (arguments, wanted) in [
        (
            vec!["profile", "accept", "--reason", "again"],
            "no run of `game` waits",
        ),
        (
            vec!["profile", "accept", "--reason", "x", "--run", "run-03"],
            "was not found slower",
        ),
        (
            vec!["profile", "accept", "--reason", "  "],
            "expected a reason",
        ),
        (vec!["profile", "accept"], "--reason"),
    ] {
        let ran = place.run(&arguments);
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.stderr.contains(wanted), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_key_must_be_named_where_there_are_several_and_none_is_no_history() {
    let empty = Place::without_key().run(["profile", "accept", "--reason", "x"]);
    assert_eq!(empty.code, 2);
    assert!(
        empty.stderr.contains("no past run in `.agp/history`"),
        "{}",
        empty.stderr
    );
    let place = place_with_history();
    let mut other = record("o", "pack", 1.0);
    other.key = "other".into();
    history::append(&place.at(".agp/history"), "other", &[Entry::Record(other)]).unwrap();
    let ran = place.run(["profile", "compare", "run-01", "last"]);
    assert!(
        ran.stderr.contains("several keys: `game`, `other`"),
        "{}",
        ran.stderr
    );
    let ran = place.run(["profile", "compare", "run-01", "last", "--key", "game"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn what_was_passed_over_is_a_finding_at_its_line() {
    let place = place_with_history();
    let file = format!(".agp/history/{}", file_name("game"));
    let kept = place.read(&file);
    place.write(&file, format!("rubbish\n{kept}"));
    let ran = place.run(["profile", "compare", "run-01", "slow", "--json"]);
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (0, vec!["history.skipped".to_owned()])
    );
    assert_eq!(
        (
            &report["findings"][0]["path"],
            &report["findings"][0]["line"]
        ),
        (&json!(file), &json!(1))
    );
}
