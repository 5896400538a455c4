//! `agp guard` as its users meet it: what fails, what is accepted, what is told and what never is.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Place, Ran, skip};

/// A password that looks drawn at random, another one for every number; made at run time so that no
/// scanner takes this file for a leak.
fn password(number: usize) -> String {
    let mut state = number as u64 * 2_654_435_761 + 88_172_645_463_325_252;
    let mut draw = |alphabet: &[u8]| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(alphabet[(state % alphabet.len() as u64) as usize])
    };
    let group = |_| {
        let letters = b"bcdfghjkmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ";
        [
            draw(letters),
            draw(letters),
            draw(b"23456789"),
            draw(letters),
        ]
    };
    (0..5).flat_map(group).collect()
}

/// A line that assigns one.
fn assignment(number: usize) -> String {
    format!("{}word = \"{}\"\n", "pass", password(number))
}

/// A text with markers of ours for `MARK`, which would be found in this file if they stood here.
fn marked(text: &str) -> String {
    text.replace("MARK", &format!("agp:{}", "allow"))
}

/// A policy with that guard section, at `policy.json`.
fn policy(place: &Place, guard: &Value) {
    let text = json!({"policy_guard": guard}).to_string();
    place.write("policy.json", text);
}

fn guard(place: &Place, words: &[&str]) -> Ran {
    place.run(["guard"].iter().chain(words))
}

/// Exit code and report.
fn report(place: &Place, words: &[&str]) -> (i32, Value) {
    let ran = guard(place, &[words, &["--json"]].concat());
    (ran.code, ran.json())
}

/// `rule state` of each finding of a report that a rule or check made, sorted.
fn states(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let mut states: Vec<String> = findings
        .iter()
        .filter(|finding| finding["rule_id"].is_string())
        .map(|finding| format!("{} {}", text(&finding["rule_id"]), text(&finding["state"])))
        .collect();
    states.sort();
    states
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[test]
fn levels_decide_what_fails_and_every_finding_says_what_strict_would() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    place.write("tree/run.sh", "terraform destroy\n");
    for (level, fail_on, code, failing) in [
        ("strict", None, 19, 1),
        ("strict", Some("critical"), 19, 1),
        ("strict", Some("medium"), 19, 2),
        ("standard", None, 0, 0),
        ("standard", Some("high"), 19, 1),
        ("advisory", None, 0, 0),
    ] {
        policy(&place, &json!({"enforcement_level": level}));
        let mut words = vec!["--target", "tree", "-c", "policy.json"];
        words.extend(fail_on.iter().flat_map(|level| ["--fail-on", level]));
        let (found, report) = report(&place, &words);
        assert_eq!(found, code, "{words:?} {report:#}");
        assert_eq!(report["summary"]["failing"], failing, "{words:?}");
        assert_eq!(report["summary"]["would_fail"], 1, "{words:?}");
        assert_eq!(report["enforcement"]["level"], level);
        let would_fail = |severity: &str| {
            let findings = report["findings"].as_array().unwrap();
            let finding = findings.iter().find(|one| one["severity"] == severity);
            finding.map(|finding| finding["would_fail"].clone())
        };
        assert_eq!(would_fail("high"), Some(json!(true)));
        assert_eq!(would_fail("medium"), Some(json!(false)));
    }
    let ran = guard(&place, &["--target", "tree", "--fail-on", "lax"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_clean_tree_passes_and_an_empty_one_is_no_answer() {
    let place = Place::without_key();
    place.write("tree/a.json", "{\"a\": 1}\n");
    std::fs::create_dir(place.at("empty")).unwrap();
    let ran = guard(&place, &["--target", "tree"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "ok: nothing found; 1 file of 9 B looked at\n");
    let (code, empty) = report(&place, &["--target", "empty"]);
    assert_eq!(
        (code, text(&empty["findings"][0]["code"])),
        (2, "scan.empty")
    );
    let (code, missing) = report(&place, &["--target", "nowhere"]);
    assert_eq!((code, text(&missing["verdict"])), (2, "error"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_violation_under_strict_and_no_answer_elsewhere() {
    let place = Place::without_key();
    place.write("tree/a.txt", "a\n");
    place.write("tree/b.txt", "b\n");
    place.chmod("tree/b.txt", 0);
    for (level, code) in [("strict", 19), ("standard", 2), ("advisory", 2)] {
        policy(&place, &json!({"enforcement_level": level}));
        let mut command = place.command_bound(["guard", "--target", "tree", "-c", "policy.json"]);
        let ran = Ran::of(&command.output().unwrap());
        assert_eq!(ran.code, code, "{level} {ran:?}");
        assert!(ran.stdout.contains("tree/b.txt: "), "{ran:?}");
    }
}

#[test]
fn markers_accept_and_are_held_to_account() {
    let place = Place::without_key();
    let line = |marker: &str| assignment(1).replace('\n', &format!(" # {marker}\n"));
    let honest = "MARK[generic] reason=a fixture";
    for (content, code, expected) in [
        (line(honest), 0, &["generic.password suppressed"][..]),
        (
            format!(
                "# MARK-next[generic.password] reason=why\n{}",
                assignment(1)
            ),
            0,
            &["generic.password suppressed"],
        ),
        (
            line("MARK[generic]"),
            19,
            &[
                "generic.password suppressed",
                "suppression.unexplained open",
            ],
        ),
        (
            line("MARK[github] reason=why"),
            19,
            &["generic.password open", "suppression.unused open"],
        ),
        (
            format!("x = 1 # {honest}\n"),
            19,
            &["suppression.unused open"],
        ),
        (line("gitleaks:allow"), 19, &["generic.password open"]),
    ] {
        place.write("tree/app.conf", marked(&content));
        let (found, report) = report(&place, &["--target", "tree"]);
        assert_eq!(
            (found, &states(&report)[..]),
            (
                code,
                &expected
                    .iter()
                    .map(|&text| text.to_owned())
                    .collect::<Vec<_>>()[..]
            ),
            "{content}"
        );
    }
    policy(&place, &json!({"honor_foreign_ignores": true}));
    let (code, report) = report(&place, &["--target", "tree", "-c", "policy.json"]);
    assert_eq!(code, 0);
    let findings = report["findings"].as_array().unwrap();
    let secret = findings.iter().find(|one| one["category"] == "secret");
    let accepted = (&secret.unwrap()["state"], &secret.unwrap()["reason"]);
    let reason = "marked `gitleaks:allow` for another scanner";
    assert_eq!(accepted, (&json!("suppressed"), &json!(reason)));
    assert_eq!(report["suppressed"]["by_marker"], 1);
}

#[test]
fn a_baseline_is_adopted_once_and_then_only_what_is_new_counts() {
    let place = Place::without_key();
    let write = |file: usize, first: usize, count: usize| {
        let lines: String = (first..first + count).map(assignment).collect();
        place.write(&format!("tree/{file:03}.conf"), lines);
    };
    for file in 0..100 {
        write(file, file * 100, 100);
    }
    let flags = ["--target", "tree", "--baseline", "known.jsonl"];
    let take = [&flags[..], &["--update-baseline"]].concat();
    let ran = guard(&place, &take);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("10000 accepted"), "{ran:?}");
    let taken = place.read("known.jsonl");
    assert_eq!(taken.lines().count(), 10_001);
    let mut sorted: Vec<&str> = taken.lines().collect();
    sorted.sort_unstable();
    assert!(
        sorted == taken.lines().collect::<Vec<_>>(),
        "sorted as text"
    );
    // Taking it again when lines have moved changes nothing.
    let moved = "\n\n# a note\n".to_owned() + &place.read("tree/007.conf");
    place.write("tree/007.conf", moved);
    assert_eq!(guard(&place, &take).code, 0);
    assert!(place.read("known.jsonl") == taken);
    // A changed value is new, and the entry for the old one accepts nothing.
    let changed = place
        .read("tree/042.conf")
        .replace(&password(4242), &password(77_777));
    place.write("tree/042.conf", changed);
    let (code, report) = report(&place, &flags);
    assert_eq!(code, 19);
    let open: Vec<String> = states(&report)
        .into_iter()
        .filter(|state| state.ends_with("open"))
        .collect();
    assert_eq!(open, ["generic.password open", "suppression.unused open"]);
    let findings = report["findings"].as_array().unwrap();
    let new = findings
        .iter()
        .find(|one| one["state"] == "open" && one["line"].is_u64() && one["category"] == "secret");
    assert_eq!(new.unwrap()["path"], "tree/042.conf");
    assert_eq!(new.unwrap()["line"], 43);
}

/// Runs git in a place, with nobody's configuration.
fn git(place: &Place, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(words)
        .current_dir(place.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .ok()?;
    assert!(output.status.success(), "{words:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_baseline_survives_the_merge_and_the_squash_of_two_branches() {
    let place = Place::without_key();
    if git(&place, &["init"]).is_none() {
        return skip("a_baseline_survives_the_merge", "git");
    }
    let take = [
        "--target",
        "tree",
        "--baseline",
        "known.jsonl",
        "--update-baseline",
    ];
    let check = &take[..4];
    place.write(".gitattributes", "known.jsonl merge=union\n");
    place.write("tree/m.conf", assignment(1));
    assert_eq!(guard(&place, &take).code, 0);
    let commit = |message: &str| {
        git(&place, &["add", "-A"]);
        git(&place, &["commit", "-m", message]);
    };
    place.write(".gitignore", ".agp/\n");
    commit("start");
    for (branch, file, number) in [("left", "a.conf", 2), ("right", "z.conf", 3)] {
        git(&place, &["checkout", "-b", branch, "main"]);
        place.write(&format!("tree/{file}"), assignment(number));
        // Both branches accept the same finding too.
        place.write("tree/n.conf", assignment(4));
        assert_eq!(guard(&place, &take).code, 0);
        commit("one");
        place.write(&format!("tree/more-{file}"), assignment(number + 10));
        assert_eq!(guard(&place, &take).code, 0);
        commit("two");
    }
    git(&place, &["checkout", "main"]);
    git(&place, &["merge", "--squash", "left"]);
    commit("left, squashed");
    git(&place, &["merge", "right"]);
    let (code, merged) = report(&place, check);
    assert_eq!(
        (code, &merged["suppressed"]["by_baseline"]),
        (0, &json!(6)),
        "{merged:#}"
    );
    assert_eq!(merged["suppressed"]["unused"], 0);
    // What the merge left behind is tidied by taking it again.
    assert_eq!(guard(&place, &take).code, 0);
    assert_eq!(
        place.read("known.jsonl").lines().count(),
        7,
        "{}",
        place.read("known.jsonl")
    );
    assert_eq!(report(&place, check).0, 0);
}

#[test]
fn baselines_that_cannot_be_used_say_why_and_what_to_do() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    let ran = guard(&place, &["--target", "tree", "--baseline", "known.jsonl"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("hint: take it for the first time with `--update-baseline`"),
        "{ran:?}"
    );
    let ran = guard(&place, &["--target", "tree", "--update-baseline"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("has no baseline to write"),
        "{ran:?}"
    );
    let take = [
        "--target",
        "tree",
        "--baseline",
        "known.jsonl",
        "--update-baseline",
    ];
    assert_eq!(guard(&place, &take).code, 0);
    let ours = place.read("known.jsonl");
    std::fs::remove_file(place.at("known.jsonl")).unwrap();
    assert_eq!(guard(&place, &take).code, 0);
    let theirs = place.read("known.jsonl");
    for (content, expected) in [
        (
            format!("{ours}{theirs}"),
            "known.jsonl:3: another salt than line 1",
        ),
        (format!("{ours}<<<<<<< HEAD\n"), "known.jsonl:3"),
        (ours.replace("fingerprint", "finger"), "known.jsonl:2"),
        (ours.lines().nth(1).unwrap().to_owned(), "no header"),
        ("\u{0}".into(), "known.jsonl:1"),
    ] {
        place.write("known.jsonl", &content);
        for words in [&take[..4], &take[..]] {
            let ran = guard(&place, words);
            assert_eq!(ran.code, 2, "{ran:?}");
            let place_and_text = expected.split(": ");
            for part in place_and_text {
                assert!(ran.stderr.contains(part), "{expected}: {ran:?}");
            }
            assert!(ran.stderr.contains("hint: "), "{ran:?}");
        }
        assert_eq!(
            place.read("known.jsonl"),
            content,
            "an unusable baseline stays as it is"
        );
    }
}

#[test]
fn entries_expire_need_reasons_and_belong_to_somebody() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    let take = [
        "--target",
        "tree",
        "--baseline",
        "known.jsonl",
        "--update-baseline",
        "--reason",
        "old test data",
    ];
    assert_eq!(guard(&place, &take).code, 0);
    let taken = place.read("known.jsonl");
    assert!(taken.contains(r#""reason":"old test data""#), "{taken}");
    for (with, code, expected) in [
        (
            r#""reason":"why","expires":"2999-01-01","owner":"me""#,
            0,
            &["generic.password baseline"][..],
        ),
        (
            r#""reason":"why","expires":"2001-01-01","owner":"me""#,
            19,
            &["generic.password open", "suppression.expired open"],
        ),
        (
            r#""owner":"me""#,
            19,
            &["generic.password baseline", "suppression.unexplained open"],
        ),
        (
            r#""reason":" ""#,
            19,
            &["generic.password baseline", "suppression.unexplained open"],
        ),
    ] {
        place.write(
            "known.jsonl",
            taken.replace(r#""reason":"old test data""#, with),
        );
        let (found, report) = report(&place, &take[..4]);
        assert_eq!(
            (found, states(&report)),
            (code, expected.iter().map(|&text| text.to_owned()).collect()),
            "{with}"
        );
        // Taking it again renews nothing that somebody limited.
        let before = place.read("known.jsonl");
        guard(&place, &take);
        assert_eq!(place.read("known.jsonl"), before);
    }
}

#[test]
fn a_baseline_holds_from_wherever_it_is_used() {
    let place = Place::without_key();
    place.write("repo/tree/app.conf", assignment(1));
    place.write("repo/config/note", "");
    let absolute = |name: &str| place.at(name).to_str().unwrap().to_owned();
    let take = [
        "--target",
        "repo/tree",
        "--baseline",
        "repo/config/known.jsonl",
        "--update-baseline",
    ];
    assert_eq!(guard(&place, &take).code, 0);
    assert!(
        place
            .read("repo/config/known.jsonl")
            .contains(r#""path":"../tree/app.conf""#)
    );
    let (tree, known) = (absolute("repo/tree"), absolute("repo/config/known.jsonl"));
    assert_eq!(
        guard(&place, &["--target", &tree, "--baseline", &known]).code,
        0
    );
    let inside = place
        .command(["guard", "--target", ".", "--baseline", "config/known.jsonl"])
        .current_dir(place.at("repo"))
        .output()
        .unwrap();
    assert_eq!(inside.status.code(), Some(0), "{inside:?}");
    std::fs::rename(place.at("repo"), place.at("clone")).unwrap();
    assert_eq!(
        guard(
            &place,
            &[
                "--target",
                "clone",
                "--baseline",
                "clone/config/known.jsonl"
            ]
        )
        .code,
        0
    );
}

#[test]
fn fingerprints_are_those_of_the_salt() {
    let mut place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    policy(&place, &json!({"fingerprint_salt_env": "GUARD_SALT"}));
    let flags = ["--target", "tree", "-c", "policy.json"];
    let told = |report: &Value| {
        let fingerprint = text(&report["findings"][0]["fingerprint"]).to_owned();
        (
            fingerprint,
            text(&report["enforcement"]["fingerprint_salt"]).to_owned(),
        )
    };
    let (first, second) = (
        told(&report(&place, &flags).1),
        told(&report(&place, &flags).1),
    );
    assert_eq!((first.1.as_str(), first.0.len()), ("random", 32));
    assert_ne!(
        first.0, second.0,
        "without a salt, fingerprints stand alone"
    );
    place.set("GUARD_SALT", "canary-of-the-salt");
    let (first, second) = (
        told(&report(&place, &flags).1),
        told(&report(&place, &flags).1),
    );
    assert_eq!(first, second);
    assert_eq!(first.1, "environment");
    // A baseline under the environment's salt does not hold it, and tells another one from it.
    let take = [
        &flags[..],
        &["--baseline", "known.jsonl", "--update-baseline"],
    ]
    .concat();
    assert_eq!(guard(&place, &take).code, 0);
    let taken = place.read("known.jsonl");
    assert!(
        taken.contains(r#""salt":null"#) && !taken.contains(&hex::encode("canary-of-the-salt")),
        "{taken}"
    );
    assert!(taken.contains(&first.0));
    assert_eq!(guard(&place, &take[..6]).code, 0);
    place.set("GUARD_SALT", "another");
    let ran = guard(&place, &take[..6]);
    assert!(
        ran.code == 2 && ran.stderr.contains("another salt"),
        "{ran:?}"
    );
}

#[test]
fn operations_are_allowed_refused_and_recorded() {
    let place = Place::new();
    let guide = include_str!("../fixtures/guide/guard.json");
    place.write("policy.json", guide);
    for (operation, code) in [
        ("read_asset", 0),
        ("READ_ASSET=assets/a", 0),
        ("delete_production_data", 19),
        ("modify_core_config=config/a.json", 19),
        ("Delete_Production_Data", 19),
        ("launch_rocket", 19),
    ] {
        let (found, report) = report(&place, &["-c", "policy.json", "--operation", operation]);
        assert_eq!(found, code, "{operation} {report:#}");
        let asked = &report["operations"]["asked"][0];
        assert_eq!(asked["decision"], if code == 0 { "allow" } else { "deny" });
        assert_eq!(report["coverage"]["files"], 0, "nobody asked for a scan");
    }
    let ran = guard(&place, &["-c", "policy.json", "--operation", "a b"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let shown = place.run(["audit", "export", "--to", "syslog"]).stdout;
    for text in [
        "operation read_asset=allow",
        "operation launch_rocket=deny",
        "operation.unauthorized=deny",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    // Nothing is listed: nothing is refused.
    assert_eq!(guard(&place, &["--operation", "launch_rocket"]).code, 0);
}

#[test]
fn a_blocked_operation_is_critical_at_every_level_but_advisory() {
    let place = Place::without_key();
    place.write("tree/run.sh", "kubectl delete namespace prod\n");
    for (level, code) in [("strict", 19), ("standard", 19), ("advisory", 0)] {
        policy(
            &place,
            &json!({"enforcement_level": level, "blocked_operations": ["delete_*"]}),
        );
        for words in [&["--operation", "delete_x"][..], &["--target", "tree"]] {
            let words = [&["-c", "policy.json"], words].concat();
            let (found, report) = report(&place, &words);
            assert_eq!(found, code, "{level} {words:?} {report:#}");
            let finding = &report["findings"][0];
            assert_eq!(
                (
                    text(&finding["severity"]),
                    &finding["would_fail"],
                    text(&finding["category"])
                ),
                ("critical", &json!(true), "operation")
            );
        }
    }
}

#[test]
fn logs_of_operations_are_judged_line_by_line_however_hostile() {
    let place = Place::without_key();
    policy(
        &place,
        &json!({"allowed_operations": ["read_*"], "blocked_operations": ["delete_*"]}),
    );
    let flags = ["-c", "policy.json", "--operations-log", "log.jsonl"];
    let long = format!("{{\"operation\": \"read_{}\"}}", "x".repeat(70_000));
    for (log, code, expected) in [
        ("", 0, vec![]),
        (
            "{\"operation\": \"read_a\", \"actor\": {\"x\": [1]}}\n\n",
            0,
            vec![],
        ),
        (
            "{\"operation\": \"read_a\"}\n{\"operation\": \"delete_a\", \"resource\": \"b\"}\n",
            19,
            vec!["2 operation.blocked the operation `delete_a=b` is blocked by `delete_*`"],
        ),
        (
            "{\"operation\": \"write\"}\n{\"operation\": \"write\"}\n{\"operation\": \"write\"}",
            19,
            vec![
                "1 operation.unauthorized the operation `write` is not among `policy_guard.allowed_operations`, here and on 2 more lines",
            ],
        ),
        (
            "{\"operation\": \"read_a\"",
            2,
            vec!["1 - the line says no operation: EOF while parsing an object column 22"],
        ),
        (
            "[]\n",
            2,
            vec![
                "1 - the line says no operation: invalid length 0, expected struct Line with 2 elements column 2",
            ],
        ),
        (
            "{\"resource\": \"x\"}\n",
            2,
            vec!["1 - the line says no operation: missing field `operation` column 17"],
        ),
        (
            "{\"operation\": \"a\\u001b b\"}\n",
            2,
            vec!["1 - the line says no operation: its `operation` is no name"],
        ),
        (
            "{\"operation\": \"read_a\", \"operation\": \"delete_a\"}\n",
            2,
            vec!["1 - the line says no operation: duplicate field `operation` column 35"],
        ),
        (
            &format!("{long}\n{{\"operation\": \"delete_b\"}}\n"),
            19,
            vec![
                "1 - the line says no operation: it is longer than 64.0 KiB",
                "2 operation.blocked the operation `delete_b` is blocked by `delete_*`",
            ],
        ),
    ] {
        place.write("log.jsonl", log);
        let (found, report) = report(&place, &flags);
        let findings = report["findings"].as_array().unwrap();
        let told: Vec<String> = findings
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    one["line"],
                    text(&one["rule_id"]),
                    text(&one["message"])
                )
            })
            .collect();
        assert_eq!(
            (found, told),
            (code, expected.iter().map(|&text| text.to_owned()).collect()),
            "{log:.200}"
        );
    }
    place.write("log.jsonl", [0xff, 0xfe, b'\n']);
    assert_eq!(report(&place, &flags).0, 2);
    assert_eq!(guard(&place, &["--operations-log", "nowhere"]).code, 2);
    let deep = "[".repeat(60_000);
    place.write("log.jsonl", format!("{{\"operation\": {deep}\n"));
    assert_eq!(report(&place, &flags).0, 2);
}

#[test]
fn stages_declare_their_operations_and_are_held_to_them() {
    let place = Place::without_key();
    place.write("tree/a.txt", "a\n");
    let policy = json!({
        "policy_guard": {"blocked_operations": ["delete_*"]},
        "pipeline": {"stages": [
            {"name": "build", "command": ["true"], "operations": ["read_asset"]},
            {"name": "silent", "command": ["true"]},
            {"name": "clean", "command": ["true"], "operations": ["read_asset", "delete_all"]},
        ]},
    });
    place.write(
        "policy.json",
        serde_json::to_string_pretty(&policy).unwrap(),
    );
    let (code, report) = report(&place, &["--target", "tree", "-c", "policy.json"]);
    assert_eq!(
        (code, states(&report)),
        (
            19,
            vec![
                "operation.blocked open".to_owned(),
                "operation.undeclared open".to_owned()
            ]
        )
    );
    let blocked = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["rule_id"] == "operation.blocked")
        .unwrap();
    assert_eq!(
        blocked["path"],
        "policy.json#/pipeline/stages/2/operations/1"
    );
    let line = usize::try_from(blocked["line"].as_u64().unwrap()).unwrap();
    assert!(
        place
            .read("policy.json")
            .lines()
            .nth(line - 1)
            .unwrap()
            .contains("delete_all")
    );
}

#[test]
fn rules_are_selected_and_misspellings_are_told() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    policy(
        &place,
        &json!({"disabled_rules": ["generic.password", "generic.*"]}),
    );
    let (code, report) = report(&place, &["--target", "tree", "-c", "policy.json"]);
    assert_eq!(code, 0, "{report:#}");
    assert!(report["enforcement"]["rules"]["disabled"].as_u64() > Some(1));
    policy(&place, &json!({"disabled_rules": ["generic.passwort"]}));
    let ran = guard(&place, &["--target", "tree", "-c", "policy.json"]);
    assert_eq!(ran.code, 2);
    for text in [
        "`generic.passwort`",
        "at policy.json#/policy_guard/disabled_rules/0:1:",
        "did you mean `generic.password",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran:?}");
    }
}

/// A rule for tokens of our own.
fn own_rule(regex: &str, severity: &str) -> String {
    format!(
        "[[rule]]\nid = 'own.token'\ntitle = 'Own token'\ncategory = 'secret'\nseverity = '{severity}'\n\
         keywords = ['own_']\nregex = '{regex}'\nexamples = ['own_«alnum 20»']\nnegatives = ['own_x']\n"
    )
}

#[test]
fn rules_of_users_are_checked_when_they_are_loaded() {
    let place = Place::without_key();
    place.write("tree/app.conf", format!("x = own_{}\n", password(1)));
    let good = own_rule(r"\bown_[A-Za-z0-9]{20}\b", "critical");
    place.write("own.toml", &good);
    let flags = ["--target", "tree", "--rules", "own.toml"];
    let (code, report) = report(&place, &flags);
    assert_eq!(
        (code, states(&report)),
        (19, vec!["own.token open".to_owned()])
    );
    for (content, expected) in [
        (
            good.replace("own_«", "owm_«"),
            "rule `own.token` does not find its example",
        ),
        (
            good.replace("'own_x'", "'own_«alnum 20»'"),
            "rule `own.token` finds its counter-example",
        ),
        (good.replace("examples", "exemples"), "at own.toml:8"),
        (good.replace(r"\b'", "('"), "rule `own.token`: `"),
        (
            own_rule("own_(?:[a-z]{1,900}){1,900}", "low"),
            "compiles to more than",
        ),
        (good.replace("own.token", "Own"), "has an id that is not"),
        (format!("{good}{good}"), "rule `own.token` is there twice"),
        (
            good.replace("own.token", "generic.password"),
            "`generic.password` is",
        ),
        ("\u{0}".into(), "own.toml"),
    ] {
        place.write("own.toml", &content);
        let ran = guard(&place, &flags);
        assert_eq!(ran.code, 2, "{content} {ran:?}");
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    assert_eq!(guard(&place, &["--rules", "nowhere.toml"]).code, 2);
}

#[test]
fn a_policy_that_nobody_named_loosens_nothing() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    // A stranger's rule that would take the place of every other finding, at no severity at all.
    let greedy = own_rule("(?s).+", "info")
        .replace("['own_']", "['word']")
        .replace("['own_«alnum 20»']", "['password x']")
        .replace("['own_x']", "['y']");
    place.write("greedy.toml", greedy);
    let section = json!({
        "enforcement_level": "advisory", "exclude": ["**"], "disabled_rules": ["generic"],
        "baseline": "known.jsonl", "honor_foreign_ignores": true, "core_config_paths": [],
        "rules": ["greedy.toml"], "audit_logging": false, "allowed_operations": ["*"],
    });
    let text = json!({"policy_guard": section}).to_string();
    place.write("config/assets_quality_policy.json", &text);
    let (code, report) = report(&place, &["--target", "tree"]);
    assert_eq!(code, 19, "{report:#}");
    assert!(
        states(&report).contains(&"generic.password open".to_owned()),
        "{report:#}"
    );
    assert_eq!(report["enforcement"]["level"], "strict");
    // Named, it decides; its rule is the user's own and may be greedy.
    let named = [
        "--target",
        "tree",
        "-c",
        "config/assets_quality_policy.json",
    ];
    assert_eq!(guard(&place, &named).code, 2, "its baseline is not there");
}

#[test]
fn the_guides_call_works_as_it_stands() {
    let place = Place::without_key();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["config", "assets"] {
        let from = match folder {
            "config" => root.join("config"),
            _ => root.join("docs/examples/assets"),
        };
        let copied = Command::new("cp")
            .arg("-R")
            .arg(from)
            .arg(place.at(folder))
            .status();
        assert!(copied.unwrap().success());
    }
    let ran = guard(
        &place,
        &[
            "--config",
            "config/assets_quality_policy.json",
            "--target",
            "./assets",
            "--output",
            "policy_report.json",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_str(&place.read("policy_report.json")).unwrap();
    assert_eq!(
        (text(&report["report"]), text(&report["verdict"])),
        ("guard", "pass")
    );
}

#[test]
fn people_get_one_line_a_finding_worst_first_and_not_too_many() {
    let place = Place::without_key();
    policy(
        &place,
        &json!({"blocked_operations": ["delete_production_data"]}),
    );
    let lines: String = (0..30).map(assignment).collect();
    place.write("tree/app.conf", lines);
    place.write("tree/run.sh", "terraform destroy\n");
    let ran = guard(&place, &["--target", "tree", "-c", "policy.json"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines[0].starts_with("tree/run.sh:1:1: critical: ")
            && lines[0].ends_with("[operation.delete_production_data.infrastructure]"),
        "{ran:?}"
    );
    assert!(
        lines[1].starts_with("tree/app.conf:1:13: high: Password in an assignment `"),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with("****` [generic.password]"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[20], "… and 11 more; `--verbose` shows all");
    let hints = lines
        .iter()
        .filter(|line| line.starts_with("hint: "))
        .count();
    assert_eq!(hints, 2, "each once");
    assert_eq!(
        lines.last().unwrap(),
        &"FAILED: 31 of 31 findings fail under `strict` from `high` on: 1 critical, 30 high; 2 files of 1.0 KiB looked at"
    );
}

#[test]
fn secrets_are_shown_on_a_terminal_and_nowhere_else() {
    let place = Place::without_key();
    place.write("tree/app.conf", assignment(1));
    let ran = guard(&place, &["--target", "tree", "--show-secrets"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(!(ran.stdout + &ran.stderr).contains(&password(1)));
    for more in [&["--json"][..], &["--output", "report.json"]] {
        let words = [&["--target", "tree", "--show-secrets"], more].concat();
        assert_eq!(guard(&place, &words).code, 2, "{words:?}");
    }
    let agp = crate::harness::AGP;
    let on_terminal = |command: String| {
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .current_dir(place.path());
        script.output()
    };
    let Ok(shown) = on_terminal(format!("{agp} guard --target tree --show-secrets")) else {
        return skip("secrets_are_shown_on_a_terminal", "script");
    };
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains(&password(1)),
        "{shown:?}"
    );
    let hidden = on_terminal(format!("{agp} guard --target tree")).unwrap();
    assert!(!String::from_utf8_lossy(&hidden.stdout).contains(&password(1)));
}

/// Every file below a folder, as text.
fn texts_below(folder: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => texts.extend(texts_below(&entry.path())),
            false => {
                let bytes = std::fs::read(entry.path()).unwrap();
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    texts
}

#[test]
fn no_value_that_was_found_appears_in_any_output_log_or_record() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let place = Place::new();
    let secrets: Vec<String> = (0..8)
        .map(|number| format!("{}/+\"é", password(number)))
        .collect();
    let plain: Vec<String> = (100..108).map(password).collect();
    let assign = |value: &str| format!("{}word = \"{value}\"\n", "pass");
    let json = |value: &str| serde_json::to_string(value).unwrap();
    let encoded = STANDARD.encode(assign(&plain[1]));
    let url = format!("postgres://admin:{}@db.internal.net/x\n", plain[2]);
    place.write("tree/plain.conf", assign(&plain[0]));
    place.write("tree/encoded.txt", format!("data: {encoded}\n"));
    place.write("tree/url.yml", &url);
    place.write(
        "tree/odd.json",
        format!("{{\"{}word\": {}}}\n", "pass", json(&secrets[0])),
    );
    // In a file's own name, in the name of a folder, in a marker's reason, in a log of operations.
    place.write(&format!("tree/{}.conf", plain[3]), assign(&plain[3]));
    place.write(&format!("tree/{}/app.conf", plain[4]), assign(&plain[4]));
    let reason = format!(
        "{}# MARK[generic] reason=it was {} once\n",
        assign(&plain[5]).replace('\n', " "),
        plain[5]
    );
    place.write("tree/reason.conf", marked(&reason));
    place.write(
        "tree/stale.conf",
        marked(&format!("# MARK[generic] reason={}\n", plain[0])),
    );
    place.write(
        "log.jsonl",
        format!(
            "{{\"operation\": \"delete\", \"resource\": {}}}\n",
            json(&plain[0])
        ),
    );
    policy(&place, &json!({"blocked_operations": ["delete"]}));
    let scan = [
        "guard",
        "-c",
        "policy.json",
        "--target",
        "tree",
        "--operations-log",
        "log.jsonl",
    ];
    let asked = format!("delete={}", plain[2]);
    let mut outputs = Vec::new();
    for more in [
        &[][..],
        &["--verbose", "--verbose"],
        &["--json"],
        &["--output", "report.json"],
        &["--operation", &asked],
        &["--baseline", "known.jsonl", "--update-baseline"],
        &["--baseline", "known.jsonl", "--json"],
        &["--jobs", "2", "--json"],
    ] {
        let ran = place.run(scan.iter().chain(more));
        assert_eq!(ran.code, 19, "{ran:?}");
        outputs.extend([ran.stdout, ran.stderr]);
    }
    let reports: Vec<String> = agp::export::Format::ALL
        .iter()
        .map(|format| format!("--report={0}=reports/{0}", format.name()))
        .collect();
    std::fs::create_dir(place.at("reports")).unwrap();
    let ran = place.run(
        scan.iter()
            .copied()
            .chain(reports.iter().map(String::as_str)),
    );
    assert_eq!(ran.code, 19, "{ran:?}");
    let written = texts_below(&place.at("reports"));
    assert_eq!(written.len(), reports.len());
    // A trace is about time, metrics are numbers: both show no finding.
    let is_without = |text: &String| text.contains("traceEvents") || text.contains("# TYPE agp_");
    let shows = |text: &String| text.contains("****") || is_without(text);
    assert!(written.iter().all(shows), "{written:?}");
    outputs.extend(written);
    let (code, told) = report(&place, &scan[1..]);
    let found = |rule: &str| {
        states(&told)
            .iter()
            .filter(|state| state.starts_with(rule))
            .count()
    };
    assert_eq!(code, 19);
    assert!(found("generic.") >= 7, "the secrets are found: {told:#}");
    outputs.push(told.to_string());
    outputs.extend([place.read("report.json"), place.read("known.jsonl")]);
    outputs.extend(texts_below(&place.at(".agp")));
    for exported in [&["audit", "show"][..], &["audit", "export", "--to", "ecs"]] {
        outputs.push(place.run(exported).stdout);
    }
    let all = outputs.concat();
    assert!(all.contains("operation.blocked") && all.contains("****"));
    // What the audit log says of a violation is its rule and its fingerprint.
    let known = report(
        &place,
        &[&scan[1..], &["--baseline", "known.jsonl"]].concat(),
    )
    .1;
    let finding = known["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["path"] == "tree/url.yml");
    let fingerprint = text(&finding.unwrap()["fingerprint"]).to_owned();
    assert_eq!(fingerprint.len(), 32);
    std::fs::remove_file(place.at("known.jsonl")).unwrap();
    let header = all
        .lines()
        .find(|line| line.starts_with("{\"baseline_version\""))
        .unwrap();
    place.write("known.jsonl", format!("{header}\n"));
    let words = [&scan[..], &["--baseline", "known.jsonl"]].concat();
    assert_eq!(place.run(&words).code, 19);
    let record = texts_below(&place.at(".agp/audit")).concat();
    let violation = record
        .lines()
        .rfind(|line| line.contains("\"fingerprint\""))
        .unwrap();
    let violation: Value = serde_json::from_str(violation).unwrap();
    let listed = violation["details"]["violations"]["first"]
        .as_array()
        .unwrap();
    let listed = listed
        .iter()
        .find(|one| one["path"] == "tree/url.yml")
        .unwrap();
    assert_eq!(
        (text(&listed["fingerprint"]), text(&listed["rule"])),
        (fingerprint.as_str(), "generic.url")
    );
    let planted = plain.iter().take(6).chain(secrets.iter().take(1));
    for value in planted {
        // As it is, in JSON, in hex, and within base64 wherever it may begin.
        let mut forms = vec![
            value.clone(),
            json(value).trim_matches('"').to_owned(),
            hex::encode(value),
        ];
        forms.extend((0..3).map(|before| {
            let text = STANDARD.encode(format!("{}{value}", "x".repeat(before)));
            text[4..text.len() - 4].to_owned()
        }));
        for form in forms {
            let at = all.find(&form).map(|at| &all[at.saturating_sub(200)..at]);
            assert_eq!(at, None, "{value} as {form}");
        }
    }
}
