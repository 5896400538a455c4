//! `--report FORMAT=FILE` and the summary of a step: every format of every verb, whatever the
//! verdict and whatever stands in names.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::{Place, codes, skip};

const MANIFEST: &str = "tree/integrity_manifest.json";

/// Formats and the files that [`everything`] asks for.
const FORMATS: [(&str, &str); 10] = [
    ("json", "report.json"),
    ("sarif", "report.sarif"),
    ("junit", "report.xml"),
    ("csv", "report.csv"),
    ("markdown", "report.md"),
    ("github", "report.github"),
    ("gitlab", "report.gitlab.json"),
    ("html", "report.html"),
    ("trace", "report.trace.json"),
    ("prometheus", "report.prom"),
];

fn everything() -> Vec<String> {
    let wanted = FORMATS.map(|(format, file)| format!("--report={format}=out/{file}"));
    wanted.into()
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// A place with a folder for reports, a signed tree, and a changed one in which everything has a
/// hostile name.
fn prepare() -> Place {
    let place = Place::new();
    place.signed_tree();
    place.write("out/.keep", "");
    for name in [
        "::error ::x",
        "a\n::warning::b",
        "\u{1b}[31mred",
        "a\u{202e}txt.exe",
        "<!channel>",
        "<b>&amp;",
        "=HYPERLINK(1)",
        "a,\"b\"",
        "`a` | b \\| \\",
        "[a](javascript:x)",
        "www.example.org @user #1",
        "%0A::error::x",
    ] {
        // A value that no placeholder filter knows, put together here.
        let secret = ["pass", "word = \"", "x9fKQz72", "LpWmv41T", "\"\n"].concat();
        place.write(&format!("hostile/{name}"), secret);
    }
    place.write("hostile/<script>/</script><script>", "");
    assert_eq!(place.run(["sign", "--input-dir", "hostile"]).code, 0);
    for entry in std::fs::read_dir(place.at("hostile")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "json") {
            let mut text = std::fs::read_to_string(&path).unwrap();
            text.push('\n');
            std::fs::write(&path, text).unwrap();
        }
    }
    place
}

/// Runs with every report, and gives the report in JSON.
fn reported(place: &Place, line: &str, code: i32) -> Value {
    for (_, file) in FORMATS {
        place.write(&format!("out/{file}"), "yesterday's");
    }
    let ran = place.run(
        words(line)
            .into_iter()
            .map(str::to_owned)
            .chain(everything()),
    );
    assert_eq!(ran.code, code, "{line}: {ran:?}");
    for (_, file) in FORMATS {
        let text = place.read(&format!("out/{file}"));
        assert!(!text.contains("yesterday's"), "{line}: {file}: {text}");
    }
    serde_json::from_str(&place.read("out/report.json")).unwrap()
}

#[test]
fn every_format_is_written_in_one_run_whatever_the_verdict() {
    let place = prepare();
    for (line, code) in [
        ("sign --input-dir tree", 0),
        ("sign --input-dir none", 2),
        ("sign --input-dir tree --bogus", 2),
        ("verify --manifest tree/integrity_manifest.json", 0),
        ("verify --manifest hostile/integrity_manifest.json", 1),
        ("verify --manifest none", 2),
        ("verify --bogus", 2),
        ("verify --manifest tree/integrity_manifest.json -c none", 2),
        ("guard --target tree", 0),
        ("guard --target hostile", 19),
        ("guard --target none", 2),
        ("rollback snapshot --target-dirs tree --label first", 0),
        ("rollback list", 0),
        ("rollback restore first --dry-run", 0),
        ("rollback diff first", 0),
        ("rollback show none", 2),
        ("rollback bogus", 2),
        ("audit verify", 0),
        ("audit verify --expect-head 99:-", 1),
    ] {
        let report = reported(&place, line, code);
        assert_eq!(report["exit_code"], code, "{line}");
        assert_eq!(report["report"], line.split(' ').next().unwrap());
        let sarif: Value = serde_json::from_str(&place.read("out/report.sarif")).unwrap();
        let invocation = &sarif["runs"][0]["invocations"][0];
        assert_eq!(invocation["exitCode"], code, "{line}");
        assert_eq!(invocation["executionSuccessful"], code != 2, "{line}");
    }
}

#[test]
fn readers_that_are_not_ours_understand_every_format_of_a_hostile_tree() {
    let place = prepare();
    for (line, code) in [
        ("verify --manifest hostile/integrity_manifest.json", 1),
        ("guard --target hostile", 19),
        ("verify --manifest none", 2),
        ("guard --target tree", 0),
    ] {
        reported(&place, line, code);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/check.py");
        let checked = Command::new("python3")
            .arg(script)
            .arg(place.at("out"))
            // Its Markdown part has a library of its own, which CI gives it elsewhere.
            .env_remove("CI")
            .output();
        let Ok(checked) = checked else {
            return skip("readers_that_are_not_ours", "python3");
        };
        assert!(checked.status.success(), "{line}: {checked:?}");
    }
}

#[test]
fn a_report_on_stdout_is_alone_there_and_two_are_a_usage_error() {
    let place = prepare();
    let before = place.read(MANIFEST);
    let ran = place.run(["verify", "--manifest", MANIFEST, "--report", "sarif=-"]);
    assert_eq!((ran.code, &ran.json()["version"]), (0, &"2.1.0".into()));
    assert!(ran.stderr.starts_with("ok: intact"), "{ran:?}");
    // Files leave stdout to people.
    let ran = place.run(["verify", "--manifest", MANIFEST, "--report", "sarif=out/x"]);
    assert!(
        ran.stdout.starts_with("ok: intact") && ran.stderr.is_empty(),
        "{ran:?}"
    );
    for more in [
        &["--json"][..],
        &["--output", "-"],
        &["--report", "csv=-"],
        &["--report=json=-"],
    ] {
        for verb in [
            &["verify", "--manifest", MANIFEST][..],
            &["sign", "--input-dir", "tree"],
        ] {
            let ran = place.run(verb.iter().chain(&["--report", "json=-"]).chain(more));
            assert_eq!(ran.code, 2, "{more:?}: {ran:?}");
            assert!(ran.stderr.contains("two documents on stdout"), "{ran:?}");
        }
    }
    assert_eq!(place.read(MANIFEST), before);
    let same = ["--report", "csv=out/x", "--report", "sarif=./out/../out/x"];
    let ran = place.run(["verify", "--manifest", MANIFEST].iter().chain(&same));
    assert!(
        ran.code == 2 && ran.stderr.contains("two documents would be written to"),
        "{ran:?}"
    );
}

#[test]
fn a_report_replaces_neither_what_is_verified_nor_what_is_signed() {
    let place = prepare();
    let before = place.read(MANIFEST);
    for file in [
        MANIFEST,
        "./tree/../tree/integrity_manifest.json",
        "tree/a.json",
    ] {
        for line in [
            "verify --manifest tree/integrity_manifest.json",
            "verify --all tree",
            "sign --input-dir tree",
            "verify --bogus --manifest tree/integrity_manifest.json",
            "verify --bogus --manifest=tree/integrity_manifest.json",
        ] {
            if file == "tree/a.json" && line.contains("bogus") {
                continue;
            }
            let report = format!("markdown={file}");
            let ran = place.run(words(line).into_iter().chain(["--report", &report]));
            assert_eq!(ran.code, 2, "{line}: {file}: {ran:?}");
            assert_eq!(place.read(MANIFEST), before, "{line}: {file}");
            assert_eq!(place.read("tree/a.json"), "{\"a\": 1}\n", "{line}: {file}");
        }
    }
    let made = "rollback --target-dirs tree --output playbook.json";
    assert_eq!(place.run(words(made)).code, 0);
    let playbook = place.read("playbook.json");
    for line in [
        "rollback show playbook.json --report markdown=playbook.json",
        "rollback drill playbook.json --output ./playbook.json",
        "rollback execute playbook.json --report csv=tree/../playbook.json",
        "rollback show --bogus playbook.json --output playbook.json",
    ] {
        assert_eq!(place.run(words(line)).code, 2, "{line}");
        assert_eq!(place.read("playbook.json"), playbook, "{line}");
    }
    // Beside what is signed it is at least told.
    let ran = place.run([
        "verify",
        "--manifest",
        MANIFEST,
        "--report",
        "csv=tree/new.csv",
        "--json",
    ]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (0, vec!["output.unlisted".into()])
    );
}

#[test]
fn a_report_that_cannot_be_written_keeps_no_other_from_its_reader() {
    let place = prepare();
    let ran = place.run([
        "verify",
        "--manifest",
        MANIFEST,
        "--report",
        "csv=none/x",
        "--report",
        "junit=out/x",
        "--report",
        "csv=none/y",
    ]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(place.read("out/x").contains("<testsuites"));
    assert!(
        ran.stdout.contains("none/x") && ran.stdout.contains("none/y"),
        "{ran:?}"
    );
    // A proven violation is not masked.
    let ran = place.run(["guard", "--target", "hostile", "--report", "csv=none/x"]);
    assert_eq!(ran.code, 19, "{ran:?}");
}

#[test]
fn what_is_no_report_or_no_format_is_refused_with_its_name() {
    let place = prepare();
    for (value, expected) in [
        ("sarif", "expected FORMAT=FILE"),
        ("SARIF=x", "no format `SARIF`; there are json, sarif"),
        ("sarif=", "no file behind `sarif=`"),
    ] {
        let ran = place.run(["verify", "--manifest", MANIFEST, "--report", value]);
        assert!(
            ran.code == 2 && ran.stderr.contains(expected),
            "{value}: {ran:?}"
        );
    }
    for line in [
        "tool keys generate --output out/key",
        "tool schema policy",
        "audit show",
        "audit export --to ecs",
    ] {
        let ran = place.run(words(line).into_iter().chain(["--report", "csv=out/x"]));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line}: {ran:?}");
        assert!(ran.stderr.contains("not a report"), "{line}: {ran:?}");
    }
    assert!(!place.at("out/key").exists());
}

#[test]
fn the_summary_of_a_step_is_appended_to_and_stays_within_its_bound() {
    let mut place = prepare();
    place.set("GITHUB_STEP_SUMMARY", "out/summary.md");
    let verify = ["verify", "--manifest", MANIFEST];
    assert_eq!(place.run(verify).code, 0);
    assert_eq!(place.run(["guard", "--target", "hostile"]).code, 19);
    assert_eq!(place.run(["verify", "--manifest", "none"]).code, 2);
    let summary = place.read("out/summary.md");
    let heads: Vec<&str> = summary
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    assert_eq!(
        heads,
        [
            "## agp verify: passed",
            "## agp guard: failed",
            "## agp verify: could not answer"
        ]
    );
    // Tools have no report, and a command that prints data has none either.
    assert_eq!(place.run(["tool", "schema", "policy"]).code, 0);
    assert_eq!(place.run(["audit", "show"]).code, 0);
    assert_eq!(place.read("out/summary.md"), summary);
    for length in [(1 << 20) - 1000, 1 << 20, 2 << 20] {
        place.write("out/summary.md", "x".repeat(length));
        assert_eq!(place.run(["guard", "--target", "hostile"]).code, 19);
        let length_now = place.read("out/summary.md").len();
        assert!(
            length_now == length || length_now <= 1 << 20,
            "{length}: {length_now}"
        );
    }
    // A courtesy: what is no file there changes no answer.
    place.set("GITHUB_STEP_SUMMARY", "out");
    let ran = place.run(verify);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("no step summary"), "{ran:?}");
}

#[test]
fn a_line_for_people_is_no_command_of_a_workflow() {
    let place = Place::new();
    for name in ["::error ::x", "##[add-mask]x"] {
        place.write(&format!("tree/{name}"), "x");
    }
    assert_eq!(place.run(["sign", "--input-dir", "tree"]).code, 0);
    for name in ["::error ::x", "##[add-mask]x"] {
        place.write(&format!("tree/{name}"), "y");
    }
    let mut command = place.command(["verify", "--manifest", "integrity_manifest.json"]);
    let ran = super::harness::Ran::of(&command.current_dir(place.at("tree")).output().unwrap());
    assert_eq!(ran.code, 1, "{ran:?}");
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        assert!(!line.starts_with("::") && !line.contains("##["), "{line}");
    }
}

#[test]
fn format_markdown_is_the_report_in_markdown_on_stdout_and_refused_where_there_is_none() {
    let place = prepare();
    for line in [
        "verify --manifest tree/integrity_manifest.json",
        "verify --manifest hostile/integrity_manifest.json",
        "verify --manifest none",
        "guard --target hostile",
        "rollback snapshot --target-dirs tree",
        "rollback list",
        "audit verify",
    ] {
        let page = |flags: &str| {
            let ran = place.run(words(line).into_iter().chain(words(flags)));
            let varying = |text: &&str| text.starts_with("| duration") || text.starts_with("| run");
            let lines: Vec<_> = ran.stdout.lines().filter(|text| !varying(text)).collect();
            (ran.code, lines.join("\n"))
        };
        let (code, text) = page("--format markdown");
        let verb = words(line)[0];
        assert!(
            text.starts_with(&format!("## agp {verb}: ")),
            "{line}: {text}"
        );
        // A snapshot taken again, and a log that grew by it, are other ones.
        if !["rollback", "audit"].contains(&verb) {
            assert_eq!(page("--report markdown=-"), (code, text), "{line}");
        }
    }
    for line in ["audit show", "guard rules list", "tool schema policy"] {
        let ran = place.run(words(line).into_iter().chain(["--format", "markdown"]));
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
        assert!(ran.stderr.contains("not a report"), "{line}: {ran:?}");
    }
}
