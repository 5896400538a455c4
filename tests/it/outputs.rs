//! What goes to stdout, stderr and `--output`, and what happens where they cannot take it.

use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::harness::{Place, Ran, codes};

const MANIFEST: &str = "tree/integrity_manifest.json";
const VERIFY: [&str; 3] = ["verify", "--manifest", MANIFEST];
const SIGN: [&str; 3] = ["sign", "--input-dir", "tree"];

fn signed() -> Place {
    let place = Place::new();
    place.signed_tree();
    place
}

/// Command lines with the exit code that each gives in [`prepare`]'s place.
const VERDICTS: [(&str, i32); 22] = [
    ("sign --input-dir tree", 0),
    ("sign --input-dir none", 2),
    ("sign --input-dir tree --subject ", 2),
    ("sign --input-dir tree --sequence 0", 2),
    ("sign --input-dir tree --bogus", 2),
    ("sign --input-dir tree --expires-at soon", 2),
    ("sign", 2),
    ("sign --input-dir tree --key-file none", 2),
    ("verify --manifest tree/integrity_manifest.json", 0),
    (
        "verify --manifest tree/integrity_manifest.json --only a*",
        0,
    ),
    ("verify --manifest changed/integrity_manifest.json", 1),
    (
        "verify --manifest tree/integrity_manifest.json --subject other",
        1,
    ),
    ("verify --all .", 1),
    ("verify --manifest none", 2),
    ("verify --manifest tree/integrity_manifest.json -c none", 2),
    ("verify", 2),
    ("verify --bogus --manifest tree/integrity_manifest.json", 2),
    ("audit verify", 0),
    ("audit verify --expect-head 99:-", 1),
    ("audit verify --manifest none", 2),
    ("audit verify --bogus", 2),
    ("audit verify --state-dir tree/a.json", 2),
];

/// A signed tree, and another one that was changed since.
fn prepare() -> Place {
    let place = signed();
    place.write("changed/a.txt", "a\n");
    assert_eq!(place.run(["sign", "--input-dir", "changed"]).code, 0);
    place.write("changed/a.txt", "b\n");
    place
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn stdout_is_exactly_one_document_for_every_verb_and_verdict() {
    let place = prepare();
    for (line, code) in VERDICTS {
        for json in [&["--json"][..], &["--format", "json"], &["--format=json"]] {
            for more in [&[][..], &["-q"], &["-vv"], &["--color", "always"]] {
                if !more.is_empty() && json.len() > 1 {
                    continue;
                }
                let ran = place.run(words(line).iter().chain(json).chain(more));
                assert_eq!(ran.code, code, "{line}: {ran:?}");
                let report = ran.json();
                assert_eq!(report["exit_code"], code, "{line}");
                let verdict = ["pass", "fail", "error"][usize::try_from(code).unwrap()];
                assert_eq!(report["verdict"], verdict, "{line}");
                assert_eq!(report["report"], line.split(' ').next().unwrap());
                assert!(report["summary"].is_object() && report["findings"].is_array());
                assert!(!ran.stdout.contains('\u{1b}'));
                assert_eq!(ran.stderr.contains("error"), code != 0, "{line}: {ran:?}");
            }
        }
    }
    for line in [
        "tool keys generate",
        "tool keys show",
        "tool policy show",
        "tool schema report",
    ] {
        let ran = place.run(words(line).iter().chain(&["--json"]));
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
        assert_eq!(codes(&ran.json()), ["command.usage"]);
    }
}

#[test]
fn two_documents_on_stdout_are_a_usage_error() {
    let place = signed();
    let before = place.read(MANIFEST);
    for line in [
        "sign --input-dir tree",
        "verify --manifest tree/integrity_manifest.json",
        "audit verify",
    ] {
        for json in ["--json", "--format=json"] {
            let ran = place.run(words(line).iter().chain(&[json, "--output", "-"]));
            assert_eq!(
                (ran.code, codes(&ran.json())),
                (2, vec!["command.usage".into()]),
                "{line}: {ran:?}"
            );
        }
    }
    assert_eq!(place.read(MANIFEST), before);
    assert!(!place.at("-").exists());
}

#[test]
fn output_to_stdout_is_the_artifact_alone() {
    let place = signed();
    let ran = place.run(SIGN.iter().chain(&["-o", "-"]));
    assert_eq!(
        (ran.code, &ran.json()["manifest_version"]),
        (0, &json!("1.0")),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("ok: signed"));
    for (line, code) in VERDICTS
        .iter()
        .filter(|(line, _)| !line.starts_with("sign"))
    {
        let place = prepare();
        let ran = place.run(words(line).iter().chain(&["--output", "-"]));
        assert_eq!(
            (ran.code, &ran.json()["exit_code"]),
            (*code, &json!(code)),
            "{line}: {ran:?}"
        );
    }
    // A manifest that was not made is not replaced by anything that could pass for one.
    let ran = place.run(["sign", "--input-dir", "none", "-o", "-"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
}

#[test]
fn output_holds_the_report_whatever_it_says_so_that_nobody_reads_yesterday_s() {
    let place = prepare();
    for (line, code) in VERDICTS {
        if line.starts_with("sign") || line == "verify --all ." {
            continue;
        }
        for spelling in [
            &["--output", "r.json"][..],
            &["-o", "r.json"],
            &["--output=r.json"],
            &["-or.json"],
        ] {
            for first in [false, true] {
                place.write("r.json", "{\"verdict\": \"pass\"}");
                // A flag that is not known may stand before or after.
                let mut arguments = words(line);
                let at = if first {
                    1 + usize::from(line.starts_with("audit"))
                } else {
                    arguments.len()
                };
                arguments.splice(at..at, spelling.iter().copied());
                let ran = place.run(&arguments);
                assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
                let report: Value = serde_json::from_str(&place.read("r.json")).unwrap();
                assert_eq!(report["exit_code"], code, "{arguments:?}: {report}");
                let verdict = ["pass", "fail", "error"][usize::try_from(code).unwrap()];
                assert_eq!(report["verdict"], verdict);
                assert!(!ran.stderr.is_empty());
                // An unknown flag leaves stdout empty as well: the data went to the file.
                assert_eq!(ran.stdout, "", "{arguments:?}");
            }
        }
    }
}

#[test]
fn a_manifest_stays_untouched_when_signing_fails_or_a_report_would_replace_it() {
    let place = signed();
    place.write("out.json", "the old one");
    for line in VERDICTS
        .iter()
        .filter(|(line, code)| line.starts_with("sign") && *code == 2)
    {
        let ran = place.run(words(line.0).iter().chain(&["-o", "out.json"]));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert_eq!(place.read("out.json"), "the old one", "{line:?}");
    }
    let before = place.read(MANIFEST);
    std::fs::create_dir(place.at("other")).unwrap();
    for output in [
        MANIFEST,
        "./tree/../tree/integrity_manifest.json",
        "tree/a.json",
    ] {
        for line in [
            "verify --manifest tree/integrity_manifest.json",
            "verify --manifest tree/integrity_manifest.json -c none",
            "verify --manifest tree/integrity_manifest.json --key-file none",
            "verify --all tree",
            "audit verify --manifest tree/integrity_manifest.json",
            "sign --input-dir none",
        ] {
            if output == "tree/a.json" && (line.contains("none") || line.starts_with("audit")) {
                continue;
            }
            let ran = place.run(words(line).iter().chain(&["-o", output]));
            assert_eq!(ran.code, 2, "{line} {output}: {ran:?}");
            assert_eq!(place.read(MANIFEST), before, "{line} {output}");
            assert_eq!(place.read("tree/a.json"), "{\"a\": 1}\n", "{line} {output}");
        }
    }
    let ran = place.run(["verify", "--bogus", "--manifest", MANIFEST, "-o", MANIFEST]);
    assert_eq!((ran.code, place.read(MANIFEST)), (2, before));
}

/// Runs with its stdout, or its stderr too, where nobody reads or nothing fits.
fn run_into(mut command: Command, stdout: impl Into<Stdio>) -> (i32, String) {
    let output = command
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output();
    let ran = Ran::of(&output.unwrap());
    (ran.code, ran.stderr)
}

const PRINTING: [&str; 16] = [
    "sign --input-dir tree",
    "sign --input-dir tree --json",
    "sign --input-dir tree -o -",
    "verify --manifest tree/integrity_manifest.json",
    "verify --manifest tree/integrity_manifest.json --json",
    "verify --manifest tree/integrity_manifest.json -o -",
    "verify --manifest changed/integrity_manifest.json",
    "audit verify",
    "audit show",
    "audit export --to ecs",
    "audit export --to syslog",
    "tool keys generate",
    "tool policy show",
    "tool completions bash",
    "--help",
    "--version",
];

#[test]
fn a_closed_pipe_or_a_full_disk_never_panics_and_never_passes() {
    let place = prepare();
    for line in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = run_into(place.command(words(line)), writer);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let full = run_into(place.command(words(line)), full);
        for (code, stderr) in [closed, full] {
            assert_eq!(code, 2, "{line}: {stderr}");
            assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        }
        // A stderr that nobody reads changes nothing but that.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = place
            .command(words(line))
            .stdout(Stdio::null())
            .stderr(writer)
            .status()
            .unwrap();
        let expected = i32::from(line.contains("changed"));
        assert_eq!(status.code(), Some(expected), "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_in_the_middle_is_no_panic_either() {
    let place = signed();
    for line in [
        "tool reference policy",
        "tool completions bash",
        "tool schema policy",
    ] {
        let mut child = place
            .command(words(line))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut first).unwrap();
        drop(stdout);
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert!(
            !ran.stderr.contains("panicked") && [0, 2].contains(&ran.code),
            "{ran:?}"
        );
    }
}

#[test]
fn an_output_that_cannot_be_written_is_no_pass() {
    let place = prepare();
    for output in ["/dev/full", "none/r.json", "tree", "tree/a.json/r.json", ""] {
        for line in [
            "verify --manifest tree/integrity_manifest.json",
            "audit verify",
            "sign --input-dir tree",
            "tool keys show",
            "verify --manifest changed/integrity_manifest.json",
        ] {
            let ran = place.run(words(line).iter().chain(&["--output", output]));
            assert_eq!(ran.code, 2, "{line} {output}: {ran:?}");
            assert!(
                !ran.stderr.contains("panicked") && ran.stderr.contains("error"),
                "{ran:?}"
            );
            if line.starts_with("tool") || output.is_empty() {
                continue;
            }
            // Whoever listens on stdout still gets the whole answer, and hears that it is not all.
            let more = ["--json", "--output", output];
            let report = place.run(words(line).iter().chain(&more)).json();
            assert_eq!(
                (&report["exit_code"], &report["verdict"]),
                (&json!(2), &json!("error"))
            );
            let found = codes(&report);
            assert!(
                found.iter().any(|code| code.starts_with("command.")),
                "{found:?}"
            );
            let is_changed = found.contains(&"file.modified".to_owned());
            assert_eq!(
                is_changed,
                line.contains("changed"),
                "{line} {output}: {found:?}"
            );
        }
    }
    assert_eq!(place.run(VERIFY).code, 0);
}

/// Whether a terminal would take any of it for more than text, colours aside.
fn is_harmless(text: &str) -> bool {
    let mut rest = text.to_owned();
    while let Some(at) = rest.find("\u{1b}[") {
        let Some(end) = rest[at..].find('m') else {
            return false;
        };
        let parameters = &rest[at + 2..at + end];
        if !parameters
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b';')
        {
            return false;
        }
        rest.replace_range(at..=at + end, "");
    }
    let hostile = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !rest.contains(hostile)
}

const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{202e}gpj\u{2066}.exe\rok: intact\u{9b}2J";

#[test]
fn hostile_names_are_escaped_wherever_they_are_shown() {
    let place = prepare();
    for name in ["one\nok: intact", HOSTILE] {
        place.write(&format!("changed/{name}"), "x");
        place.write(&format!("hostile/{name}/a"), "x");
    }
    place.write("p\u{1b}[2J.json", "{\"\u{1b}[2J\u{202e}\": 1}");
    let root = format!("hostile/{HOSTILE}");
    let lines: Vec<Vec<&str>> = vec![
        vec!["verify", "--manifest", "changed/integrity_manifest.json"],
        vec!["sign", "--input-dir", &root],
        vec!["sign", "--input-dir", "tree", "--subject", HOSTILE],
        vec!["verify", "--manifest", MANIFEST],
        vec!["verify", "--manifest", MANIFEST, "--subject", HOSTILE],
        vec!["verify", "--manifest", HOSTILE],
        vec!["verify", "--all", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "--only", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "--state", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "-c", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "-c", "p\u{1b}[2J.json"],
        vec!["verify", "--manifest", MANIFEST, "--key-file", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "--key-command", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "--state-dir", HOSTILE],
        vec!["verify", "--manifest", MANIFEST, "-o", "none/\u{1b}[2J"],
        vec!["sign", "--input-dir", HOSTILE],
        vec!["sign", "--input-dir", "tree", "--exclude", "[\u{1b}[2J"],
        vec!["sign", "--input-dir", "tree", "--exempt", "../\u{1b}[2J"],
        vec!["sign", "--input-dir", "tree", "--expires-at", HOSTILE],
        vec!["sign", "--input-dir", "tree", HOSTILE],
        vec!["sign", "--input-dir", "tree", "--format", HOSTILE],
        vec![HOSTILE],
        vec!["audit", "verify", "--expect-head", HOSTILE],
        vec!["audit", "verify", "--manifest", HOSTILE],
        vec!["audit", "show", "--state-dir", HOSTILE],
        vec!["tool", "policy", "check", "-c", "p\u{1b}[2J.json"],
        vec!["tool", "man", HOSTILE],
    ];
    for line in lines {
        for more in [&["-v"][..], &["-v", "--color", "always"]] {
            let ran = place.run(line.iter().chain(more));
            assert!(is_harmless(&ran.stdout), "{line:?}: {ran:?}");
            assert!(is_harmless(&ran.stderr), "{line:?}: {ran:?}");
            assert!(ran.code <= 2);
        }
    }
    // Escaped, and in one line: nothing in a name can speak for us.
    let ran = place.run(["verify", "--manifest", "changed/integrity_manifest.json"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("one\\nok: intact") && ran.stdout.contains("\\u{202e}gpj"),
        "{ran:?}"
    );
    assert!(
        !ran.stdout.lines().any(|line| line.starts_with("ok: ")),
        "{ran:?}"
    );
}

#[test]
fn arguments_that_are_not_utf8_are_no_panic() {
    let place = signed();
    let odd = std::ffi::OsString::from_vec(b"od\xff\x1bd".to_vec());
    for flags in [
        &["sign", "--input-dir"][..],
        &["verify", "--manifest"],
        &["verify", "--all"],
        &["audit", "verify", "--manifest"],
        &["sign", "--input-dir", "tree", "--subject"],
        &["verify", "--only"],
        &["tool", "man"],
        &["audit", "show", "--event"],
        &[],
    ] {
        let arguments = flags
            .iter()
            .map(std::ffi::OsString::from)
            .chain([odd.clone()]);
        let ran = place.run(arguments);
        assert_eq!(ran.code, 2, "{flags:?}: {ran:?}");
        assert!(
            !ran.stderr.contains("panicked") && is_harmless(&ran.stderr),
            "{ran:?}"
        );
    }
}

#[test]
fn quiet_says_nothing_but_errors_and_verbose_says_more() {
    let place = prepare();
    for line in [
        &SIGN[..],
        &VERIFY,
        &["audit", "verify"],
        &[
            "sign",
            "--input-dir",
            "tree",
            "-o",
            "tree/integrity_manifest.json",
        ],
    ] {
        let ran = place.run(line.iter().chain(&["--quiet"]));
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "", ""),
            "{line:?}"
        );
        let ran = place.run(line.iter().chain(&["-q", "-v"]));
        assert_eq!(ran.code, 2);
        let (plain, verbose) = (place.run(line), place.run(line.iter().chain(&["-v"])));
        assert!(plain.stderr.len() < verbose.stderr.len(), "{verbose:?}");
        assert!(verbose.stderr.contains("policy: built-in"), "{verbose:?}");
    }
    let changed = ["verify", "--manifest", "changed/integrity_manifest.json"];
    let ran = place.run(changed.iter().chain(&["-q"]));
    assert!(
        ran.code == 1 && ran.stdout.contains("changed/a.txt") && ran.stdout.contains("FAILED"),
        "{ran:?}"
    );
    let ran = place.run(["verify", "--manifest", "none", "-q"]);
    assert!(ran.code == 2 && ran.stdout.contains("error"), "{ran:?}");
    // Long lists are cut for people, all the same with `-v`, never in JSON.
    for number in 0..40 {
        place.write(&format!("changed/new{number:02}"), "n");
    }
    let shown = |ran: &Ran| ran.stdout.matches("file.unlisted").count();
    let ran = place.run(changed);
    assert!(
        shown(&ran) < 30 && ran.stdout.contains("`--verbose` shows all"),
        "{ran:?}"
    );
    assert_eq!(shown(&place.run(changed.iter().chain(&["-v"]))), 40);
    assert_eq!(shown(&place.run(changed.iter().chain(&["--json"]))), 40);
}

#[test]
fn colour_follows_the_flag_then_no_color_then_the_stream() {
    let mut place = prepare();
    let has_colour = |place: &Place, more: &[&str]| {
        let good = place
            .run(VERIFY.iter().chain(more))
            .stdout
            .contains('\u{1b}');
        let bad = place
            .run(["sign", "--input-dir", "none"].iter().chain(more))
            .stderr
            .contains('\u{1b}');
        let help = place
            .run(["verify", "--help"].iter().chain(more))
            .stdout
            .contains('\u{1b}');
        assert_eq!(good, bad);
        (good, help)
    };
    assert_eq!(has_colour(&place, &[]), (false, false));
    assert_eq!(has_colour(&place, &["--color", "never"]), (false, false));
    assert!(has_colour(&place, &["--color", "always"]).0);
    place.set("CLICOLOR_FORCE", "1");
    assert!(has_colour(&place, &[]).0);
    assert!(!has_colour(&place, &["--color", "never"]).0);
    place.set("NO_COLOR", "1");
    assert_eq!(has_colour(&place, &[]), (false, false));
    assert!(has_colour(&place, &["--color=always"]).0);
    let ran = place.run(VERIFY.iter().chain(&["--color", "always", "--json"]));
    assert!(!ran.stdout.contains('\u{1b}'));
    assert_eq!(
        place.run(VERIFY.iter().chain(&["--color", "mauve"])).code,
        2
    );
}

/// A report without what differs from run to run.
fn timeless(mut report: Value) -> Value {
    for name in [
        "run_id",
        "started_at",
        "finished_at",
        "duration_seconds",
        "resource_usage",
        "audit_head",
    ] {
        assert!(
            report.as_object_mut().unwrap().remove(name).is_some(),
            "{name}"
        );
    }
    report
}

#[test]
fn reports_differ_in_times_and_identifiers_only() {
    let place = prepare();
    for number in [7, 3, 9, 1] {
        place.write(&format!("changed/{number}/x"), "n");
    }
    for (line, _) in VERDICTS
        .iter()
        .filter(|(line, _)| !line.starts_with("sign"))
    {
        let run = || place.run(words(line).iter().chain(&["--json"]));
        let (first, second) = (run(), run());
        assert_eq!(timeless(first.json()), timeless(second.json()), "{line}");
        // The order of members too, which a `Value` would hide.
        let keys = |ran: &Ran| -> Vec<String> {
            let members = ran
                .stdout
                .lines()
                .filter_map(|line| Some(line.split_once("\":")?.0.to_owned()));
            members.collect()
        };
        assert_eq!(keys(&first), keys(&second));
        let (first, second) = (place.run(words(line)), place.run(words(line)));
        assert_eq!((first.stdout, first.stderr), (second.stdout, second.stderr));
    }
    let sorted = place
        .run([
            "verify",
            "--manifest",
            "changed/integrity_manifest.json",
            "--json",
        ])
        .json();
    let paths: Vec<&str> = sorted["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["path"].as_str())
        .collect();
    assert!(paths.len() > 8 && paths.is_sorted(), "{paths:?}");
}

#[test]
fn equal_trees_give_equal_manifests_at_one_epoch() {
    let mut place = Place::new();
    place.set("SOURCE_DATE_EPOCH", "1700000000");
    let manifest = |name: &str| {
        // Written in another order, at another time, with another audit log.
        let mut files = vec![("x/b", "2"), ("a", "1"), ("x/c", "")];
        if name == "two/tree" {
            files.reverse();
        }
        for (file, content) in files {
            place.write(&format!("{name}/{file}"), content);
        }
        let ran = place.run(["sign", "--input-dir", name, "--no-absolute-paths"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        place.read(&format!("{name}/integrity_manifest.json"))
    };
    assert_eq!(manifest("one/tree"), manifest("two/tree"));
    for bad in [
        "soon",
        "-1",
        "+1",
        "1.5",
        " 1",
        "253402300800",
        "99999999999999999999",
    ] {
        let mut command = place.command(["sign", "--input-dir", "one/tree"]);
        assert_eq!(
            command
                .env("SOURCE_DATE_EPOCH", bad)
                .output()
                .unwrap()
                .status
                .code(),
            Some(2),
            "{bad}"
        );
    }
}
