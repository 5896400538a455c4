//! `agp profile` as its users meet it: what it measures, what it passes on, and what it leaves.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::{Place, Ran, codes, skip};

fn profile(place: &Place, words: &[&str]) -> Ran {
    place.run(["profile"].iter().chain(words))
}

/// A place whose programs are found.
fn place() -> Place {
    let mut place = Place::new();
    place.set("PATH", "/usr/local/bin:/usr/bin:/bin");
    place
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn run_of(report: &Value, stage: usize) -> &Value {
    &report["stages"][stage]["runs"][0]
}

/// Whether any process has this word among its arguments.
fn is_running(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| {
        let mut words = line.split(|byte| *byte == 0);
        words.any(|one| one == word.as_bytes())
    })
}

#[test]
fn the_guide_s_flags_alone_profile_this_program_or_say_that_there_is_nothing_to() {
    let place = place();
    place.write("config/assets_quality_policy.json", "{}");
    let words = [
        "--config",
        "config/assets_quality_policy.json",
        "--output",
        "performance_profile.json",
        "--verbose",
    ];
    let ran = profile(&place, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&place.read("performance_profile.json")).unwrap();
    assert_eq!(report["summary"]["workload"], "none");
    assert_eq!(codes(&report), ["profile.no_workload"]);
    place.write("output/a.txt", "a\n".repeat(1000));
    let ran = profile(&place, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&place.read("performance_profile.json")).unwrap();
    assert_eq!(report["summary"]["workload"], "own");
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<_> = stages
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["walk", "hash", "scan", "manifest", "verify"]);
    assert_eq!(
        place.at("output").read_dir().unwrap().count(),
        1,
        "nothing is left in the target"
    );
    let left = place
        .at(".agp")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !left
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("profile-"))
    );
}

#[test]
fn a_stage_s_own_failure_is_one_and_says_how_it_ended() {
    let place = place();
    for (script, code, signal) in [("exit 3", Some(3), None), ("kill -9 $$", None, Some(9))] {
        let ran = profile(
            &place,
            &[
                "--json",
                "--define-stage",
                &format!("a={script}"),
                "--define-stage",
                "b=true",
            ],
        );
        let report = ran.json();
        assert_eq!(
            (ran.code, codes(&report)),
            (1, vec!["profile.command_failed".into()])
        );
        let run = run_of(&report, 0);
        assert_eq!(run["outcome"], "failed");
        assert_eq!(
            (run["exit_code"].as_i64(), run["signal"].as_i64()),
            (code, signal)
        );
        assert_eq!(
            report["stages"][1]["runs"],
            Value::Array(vec![]),
            "what follows does not run"
        );
    }
    let ran = profile(&place, &["--json", "--", "no-such-program"]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["command.input".into()])
    );
    place.write("plain", "no program");
    assert_eq!(profile(&place, &["--", "./plain"]).code, 2);
    place.write(
        "policy.json",
        r#"{"pipeline": {"stages": [{"name": "odd", "command": ["sh", "-c", "echo $X; exit 3"],
        "ok_codes": [3], "environment": {"X": "told"}, "working_directory": "sub"}]}}"#,
    );
    std::fs::create_dir(place.at("sub")).unwrap();
    let ran = profile(&place, &["--config", "policy.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("told\n"), "{ran:?}");
}

#[test]
fn a_broken_maximum_of_time_or_memory_is_eighteen_and_nothing_is_left_running() {
    let place = place();
    let word = format!("6{}", std::process::id());
    let limits = r#"{"performance_benchmarks": {"max_processing_time_seconds": 1, "max_memory_usage_mb": 40}}"#;
    place.write("policy.json", limits);
    let began = Instant::now();
    // A daemon in a session of its own, and one that has closed its descriptors.
    let script = format!(
        "a=setsid sleep {word} & (sleep {word} <&- >&- 2>&- &) ; trap '' TERM; sleep {word}"
    );
    let ran = profile(
        &place,
        &[
            "--config",
            "policy.json",
            "--json",
            "--define-stage",
            &script,
        ],
    );
    assert_eq!(ran.code, 18, "{ran:?}");
    let report = ran.json();
    assert!(
        codes(&report).contains(&"profile.time_exceeded".into()),
        "{report}"
    );
    assert_eq!(run_of(&report, 0)["outcome"], "timed_out");
    assert!(number(&run_of(&report, 0)["figures"]["wall_seconds"]) < 5.0);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(!is_running(&word), "the descendants of a stage end with it");
    let hog = "a=python3 -c 'x=bytearray(90<<20); import time; time.sleep(.3)'";
    if !has("python3") {
        return skip("a_broken_maximum", "python3");
    }
    let ran = profile(
        &place,
        &["--config", "policy.json", "--json", "--define-stage", hog],
    );
    let report = ran.json();
    assert_eq!(ran.code, 18, "{ran:?}");
    assert!(codes(&report).contains(&"profile.memory_exceeded".into()));
    let peak = number(&run_of(&report, 0)["figures"]["peak_memory_bytes"]);
    // It is stopped as soon as somebody sees it, wherever it stands then.
    assert!((41e6..140e6).contains(&peak), "{peak}");
    assert_eq!(run_of(&report, 0)["outcome"], "failed");
}

fn has(program: &str) -> bool {
    let version = std::process::Command::new(program)
        .arg("--version")
        .output();
    version.is_ok_and(|output| output.status.success())
}

#[test]
fn daemons_are_stopped_and_said() {
    let place = place();
    let word = format!("7{}", std::process::id());
    let script = format!("a=(setsid sleep {word} &) ; sleep 0.1");
    let ran = profile(&place, &["--json", "--define-stage", &script]);
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (0, vec!["profile.left_running".into()])
    );
    assert_eq!(run_of(&report, 0)["left_running"], 1);
    assert!(!is_running(&word));
}

#[test]
fn the_output_of_a_stage_passes_through_untouched() {
    let place = place();
    // More than any pipe holds, no text, and no end of line.
    let script = "head -c 20000000 /dev/urandom | tee copy";
    let file = std::fs::File::create(place.at("out")).unwrap();
    let words = [
        "profile",
        "--quiet",
        "--output",
        "r.json",
        "--define-stage",
        &format!("a={script}"),
    ];
    let status = place
        .command(words)
        .stdout(Stdio::from(file))
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(
        std::fs::read(place.at("out")).unwrap(),
        std::fs::read(place.at("copy")).unwrap()
    );
    // Where our stdout carries JSON, the stage's goes to stderr.
    let ran = profile(&place, &["--json", "--", "echo", "hello"]);
    assert_eq!(ran.json()["exit_code"], 0);
    assert!(ran.stderr.contains("hello"));
}

#[test]
fn counts_the_cpu_of_many_short_children_as_the_kernel_does() {
    if !has("python3") {
        return skip("counts_the_cpu", "python3");
    }
    let place = place();
    place.write(
        "many.py",
        "\
import os, resource
for i in range(300):
    child = os.fork()
    if child == 0:
        sum(range(60000)); os._exit(0)
    os.waitpid(child, 0)
own, all = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(own.ru_utime + own.ru_stime + all.ru_utime + all.ru_stime)
",
    );
    // Once in a group of its own, where this user may have one, once without.
    for is_bound in [false, true] {
        let words = [
            "profile",
            "--output",
            "r.json",
            "--quiet",
            "--state-dir",
            "s",
            "--",
            "python3",
            "many.py",
        ];
        let mut command = match is_bound {
            false => place.command(words),
            true => place.command_bound(words),
        };
        let ran = Ran::of(&command.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        let report: Value = serde_json::from_str(&place.read("r.json")).unwrap();
        let figures = &run_of(&report, 0)["figures"];
        let found = number(&figures["cpu_user_seconds"]) + number(&figures["cpu_system_seconds"]);
        let expected: f64 = ran.stdout.trim().parse().unwrap();
        // Its last instructions and its start are not in its own account.
        assert!(
            (found - expected).abs() < expected * 0.02 + 0.03,
            "{found} {expected}"
        );
        let time = &run_of(&report, 0)["time"]["identity"];
        let parts = [
            "on_cpu_seconds",
            "cpu_wait_seconds",
            "io_stall_seconds",
            "memory_stall_seconds",
            "other_seconds",
        ];
        let sum: f64 = parts.iter().map(|part| number(&time[part])).sum();
        assert!(
            (sum - number(&figures["wall_seconds"])).abs() < 1e-6,
            "{time}"
        );
        let degraded = report["measuring"]["degraded"].as_array().unwrap();
        assert!(!is_bound || !degraded.is_empty(), "{report}");
        std::fs::remove_dir_all(place.at("s")).unwrap();
        std::fs::remove_file(place.at("r.json")).unwrap();
    }
}

#[test]
fn names_what_holds_a_stage_up() {
    let place = place();
    let spin = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    for (script, expected) in [("sleep 0.6", "sleep"), (spin, "cpu")] {
        let report = profile(
            &place,
            &["--json", "--define-stage", &format!("a={script}")],
        )
        .json();
        let bottleneck = &run_of(&report, 0)["time"]["bottleneck"];
        assert_eq!(bottleneck["resource"], expected, "{report}");
    }
}

#[test]
fn stages_are_chosen_prepared_and_repeated_as_asked() {
    let place = place();
    let words = [
        "--define-stage",
        "one=echo one >> log",
        "--define-stage",
        "two=echo two >> log",
        "--json",
        "--stage",
        "two",
        "--runs",
        "3",
        "--warmup",
        "2",
        "--prepare",
        "echo ready >> log",
    ];
    let report = profile(&place, &words).json();
    assert_eq!(
        (&report["summary"]["runs"], &report["summary"]["stages"]),
        (&3.into(), &1.into())
    );
    assert_eq!(place.read("log"), "ready\ntwo\n".repeat(5));
    let ran = profile(&place, &["--define-stage", "one=true", "--stage", "ones"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("did you mean `one`?"), "{ran:?}");
    for words in [
        &["--define-stage", "a=true", "--define-stage", "a=false"][..],
        &["--define-stage", "a=true", "--runs", "0"],
        &["--define-stage", "a"],
        &["--define-stage", "a=true", "--prepare", "false"],
        &["--define-stage", "a=true", "--gate", "speed"],
        &[
            "--define-stage",
            "a=true",
            "--define-stage",
            "b=true",
            "--baseline-cmd",
            "true",
        ],
    ] {
        assert_eq!(profile(&place, words).code, 2, "{words:?}");
    }
}

#[test]
fn a_stage_that_became_slower_is_eighteen_until_it_is_accepted() {
    let place = place();
    let spin = |times: u32| format!("pack=i=0; while [ $i -lt {times} ]; do i=$((i+1)); done");
    let one = |times: u32, more: &[&str]| {
        let stage = spin(times);
        let words = ["--json", "--gate", "cpu_seconds", "--define-stage", &stage];
        profile(&place, &[&words[..], more].concat())
    };
    for run in 0..7 {
        let ran = one(60_000, &["--runs", "1"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let verdict = ran.json()["judgement"]["verdict"].clone();
        assert_eq!(verdict == "not_enough_history", run < 5, "{verdict}");
    }
    let ran = one(400_000, &[]);
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (18, vec!["performance.regression".into()]),
        "{report}"
    );
    assert!(number(&report["judgement"]["series"][0]["effect"]) > 1.0);
    assert_eq!(
        report["judgement"]["series"][0]["history"]
            .as_array()
            .unwrap()
            .len(),
        7
    );
    let harmless = ["--json", "--no-gate", "--define-stage", &spin(400_000)];
    let ran = profile(&place, &harmless);
    assert_eq!(
        ran.code, 0,
        "a regression does not become normal by itself, and fails nothing here"
    );
    assert_eq!(ran.json()["judgement"]["verdict"], "regression");
    let accepted = profile(&place, &["accept", "--reason", "a slower codec"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(one(400_000, &["--runs", "1"]).code, 0);
}

#[test]
fn a_command_is_compared_with_another_one() {
    let place = place();
    let spin = |times: u32| format!("i=0; while [ $i -lt {times} ]; do i=$((i+1)); done");
    let words = [
        "--json",
        "--gate",
        "cpu_seconds",
        "--runs",
        "6",
        "--define-stage",
        &format!("a={}", spin(200_000)),
        "--baseline-cmd",
        &spin(40_000),
    ];
    let ran = profile(&place, &words);
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (18, vec!["performance.regression".into()]),
        "{report}"
    );
    assert!(
        !place.at(".agp/history").exists(),
        "a comparison is nobody's history"
    );
}

#[test]
fn a_trace_nests_and_a_page_is_inert() {
    let place = place();
    let hostile = "<img src><script>alert(1)</script>&\"'";
    let stage = format!("{hostile}=sleep 0.2");
    let words = [
        "--runs",
        "2",
        "--define-stage",
        &stage,
        "--define-stage",
        "b=true",
        "--report",
        "trace=t.json",
        "--report",
        "html=r.html",
        "--report",
        "markdown=r.md",
        "--output",
        "r.json",
    ];
    let ran = profile(&place, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let trace: Value = serde_json::from_str(&place.read("t.json")).unwrap();
    let mut spans = Vec::new();
    let mut counters = 0;
    for event in trace["traceEvents"].as_array().unwrap() {
        match event["ph"].as_str().unwrap() {
            "X" => spans.push((
                number(&event["ts"]),
                number(&event["ts"]) + number(&event["dur"]),
            )),
            "C" => {
                counters += 1;
                assert!(number(&event["args"]["value"]) >= 0.0);
            }
            "M" => {}
            other => panic!("{other}"),
        }
        assert!(event["name"].is_string() && event["pid"].is_u64());
    }
    assert_eq!(spans.len(), 5);
    for (at, one) in spans.iter().enumerate() {
        for other in &spans[at + 1..] {
            let is_within = one.0 <= other.0 && other.1 <= one.1 + 1.0;
            assert!(
                is_within || one.1 <= other.0 + 1.0,
                "spans nest or follow: {one:?} {other:?}"
            );
        }
    }
    assert!(counters > 10);
    let page = place.read("r.html");
    assert!(
        !page.contains("<img") && page.contains("&lt;img src&gt;&lt;script&gt;"),
        "{page}"
    );
    assert_eq!(page.matches("</script>").count(), 1, "the data block alone");
    assert!(page.contains("default-src 'none'; style-src 'sha256-"));
    for word in [
        "http:", "https:", "src=\"", "url(", "@import", " style=", "<link",
    ] {
        assert_eq!(page.find(word), None, "{word}");
    }
    let start = page.find("id=\"agp-report\">").unwrap() + "id=\"agp-report\">".len();
    let json = &page[start..page.rfind("</script>").unwrap()];
    let embedded: Value = serde_json::from_str(json).unwrap();
    assert_eq!(embedded["stages"][0]["stage"], hostile);
    assert!(place.read("r.md").contains("### Stages"));
}
