//! The audit log through the binary: what changes of it are found, and when it is kept at all.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::harness::{AGP, Place, Ran, codes, secret};

const LOG: &str = ".agp/audit/000001.jsonl";
const SECOND: &str = ".agp/audit/000002.jsonl";
const HEAD: &str = ".agp/audit/head.json";
const MANIFEST: &str = "tree/integrity_manifest.json";
const SIGN: [&str; 4] = ["sign", "--input-dir", "tree", "--json"];
const VERIFY_LOG: [&str; 3] = ["audit", "verify", "--json"];

fn other_secret() -> String {
    format!("hex:{}", "fedcba9876543210".repeat(4))
}

fn sign(place: &Place) -> Value {
    let ran = place.run(SIGN);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()
}

/// `agp audit verify` with more arguments: exit code and finding codes.
fn verify_log(place: &Place, more: &[&str]) -> (i32, Vec<String>) {
    let ran = place.run(VERIFY_LOG.iter().chain(more));
    (ran.code, codes(&ran.json()))
}

fn answer(code: i32, found: &[&str]) -> (i32, Vec<String>) {
    (code, found.iter().map(ToString::to_string).collect())
}

fn lines(place: &Place) -> Vec<String> {
    place
        .read(LOG)
        .lines()
        .map(|line| format!("{line}\n"))
        .collect()
}

fn head_text(report: &Value) -> String {
    let head = &report["audit_head"];
    let mac = head["mac"].as_str().unwrap_or("-");
    format!(
        "{}:{}:{mac}",
        head["log_id"].as_str().unwrap(),
        head["sequence"]
    )
}

/// A place with a tree that was signed three times: six sealed records.
fn logged() -> Place {
    let place = Place::new();
    place.write("tree/a.txt", "a\n");
    for _ in 0..3 {
        sign(&place);
    }
    assert_eq!(lines(&place).len(), 6);
    place
}

/// Every path below a directory, with size and time.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let what = format!(
            "{:?} {} {:?}",
            meta.file_type(),
            meta.len(),
            meta.modified().unwrap()
        );
        (entry.path().display().to_string(), what)
    });
    entries.collect()
}

/// A change of a log's lines.
type Change = fn(&mut Vec<String>);

#[test]
fn every_change_of_the_log_is_found() {
    let place = logged();
    let (log, head) = (place.read(LOG), place.read(HEAD));
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    let changes: [(&str, Change, &str); 20] = [
        (
            "edit the first",
            |lines| lines[0] = lines[0].replace("integrity.sign", "integrity.xign"),
            "audit.tampered",
        ),
        (
            "edit one in the middle",
            |lines| lines[2] = lines[2].replace("\"exit_code\":null", "\"exit_code\":0"),
            "audit.tampered",
        ),
        (
            "edit the last",
            |lines| lines[5] = lines[5].replace("\"exit_code\":0", "\"exit_code\":1"),
            "audit.tampered",
        ),
        (
            "edit a time",
            |lines| lines[3] = lines[3].replacen("20", "19", 1),
            "audit.tampered",
        ),
        (
            "edit white space",
            |lines| lines[3] = lines[3].replacen(':', ": ", 1),
            "audit.tampered",
        ),
        (
            "add an unknown field",
            |lines| lines[3] = lines[3].replacen('{', "{\"a\":1,", 1),
            "audit.tampered",
        ),
        (
            "remove a seal",
            |lines| lines[3] = unseal(&lines[3]),
            "audit.tampered",
        ),
        (
            "remove the last seal",
            |lines| lines[5] = unseal(&lines[5]),
            "audit.tampered",
        ),
        (
            "insert a copy with another number",
            |lines| {
                let forged = lines[2].replace("\"sequence\":3", "\"sequence\":4");
                lines.insert(3, forged);
            },
            "audit.tampered",
        ),
        (
            "insert text",
            |lines| lines.insert(3, "forged\n".into()),
            "audit.tampered",
        ),
        (
            "insert an empty line",
            |lines| lines.insert(3, "\n".into()),
            "audit.tampered",
        ),
        (
            "delete the first",
            |lines| drop(lines.remove(0)),
            "audit.tampered",
        ),
        (
            "delete one in the middle",
            |lines| drop(lines.remove(3)),
            "audit.tampered",
        ),
        (
            "delete the last",
            |lines| drop(lines.pop()),
            "audit.truncated",
        ),
        (
            "delete the last two",
            |lines| lines.truncate(4),
            "audit.truncated",
        ),
        ("delete all", Vec::clear, "audit.truncated"),
        ("reorder", |lines| lines.swap(2, 3), "audit.tampered"),
        ("reverse", |lines| lines.reverse(), "audit.tampered"),
        (
            "duplicate one in the middle",
            |lines| lines.insert(3, lines[3].clone()),
            "audit.tampered",
        ),
        (
            "duplicate the last",
            |lines| lines.push(lines[5].clone()),
            "audit.tampered",
        ),
    ];
    for (name, change, code) in changes {
        place.write(HEAD, &head);
        let mut lines: Vec<String> = log.lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        place.write(LOG, lines.concat());
        assert_ne!(lines.concat(), log, "{name}");
        let (exit_code, found) = verify_log(&place, &[]);
        assert_eq!(exit_code, 1, "{name}: {found:?}");
        assert!(found.contains(&code.into()), "{name}: {found:?}");
    }
    // The place is named: file and line.
    place.write(LOG, log.replacen("integrity.sign", "integrity.xign", 1));
    place.write(HEAD, &head);
    let ran = place.run(["audit", "verify"]);
    assert!(ran.stdout.contains("000001.jsonl:1: "), "{ran:?}");
    // All restored: all well. The same with the head gone: found.
    place.write(LOG, &log);
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    std::fs::remove_file(place.at(HEAD)).unwrap();
    assert_eq!(verify_log(&place, &[]).0, 1);
}

fn unseal(line: &str) -> String {
    let mut record: Value = serde_json::from_str(line).unwrap();
    record["mac"] = Value::Null;
    record["key_id"] = Value::Null;
    // serde_json's map is sorted, which is the canonical order of these names.
    format!("{record}\n")
}

/// Chains the lines anew, as somebody does who has no key but knows the format.
fn rechain(place: &Place, lines: &mut [String]) {
    use agp::base::digest::Digest;
    let mut previous: Option<Digest> = None;
    for line in lines.iter_mut() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["previous"] = previous.map_or(Value::Null, |digest| digest.to_string().into());
        *line = format!("{record}\n");
        previous = Some(Digest::of(line.as_bytes()));
    }
    place.write(LOG, lines.concat());
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let mut head: Value = serde_json::from_str(&place.read(HEAD)).unwrap();
    head["mac"] = last["mac"].clone();
    head["sequence"] = last["sequence"].clone();
    head["record_sha256"] = previous.unwrap().to_string().into();
    place.write(HEAD, format!("{head}\n"));
}

#[test]
fn a_chain_made_anew_without_the_key_does_not_hold() {
    let place = logged();
    let original = lines(&place);
    let mut same = original.clone();
    rechain(&place, &mut same);
    assert_eq!(
        (same, verify_log(&place, &[])),
        (original.clone(), answer(0, &[]))
    );
    let mut edited = original.clone();
    edited[3] = edited[3].replace("\"exit_code\":0", "\"exit_code\":1");
    rechain(&place, &mut edited);
    assert_eq!(verify_log(&place, &[]), answer(1, &["audit.tampered"]));
    // Without any seals it is only a log that shows accidents; who expects seals says so.
    let head = format!("{}:6:{}", log_id(&original), mac_of(&original[5]));
    let mut unsealed: Vec<String> = original.iter().map(|line| unseal(line)).collect();
    rechain(&place, &mut unsealed);
    assert_eq!(verify_log(&place, &[]), answer(0, &["audit.unsealed"]));
    assert_eq!(
        verify_log(&place, &["--require-keyed"]),
        answer(1, &["audit.not_keyed"])
    );
    assert_eq!(verify_log(&place, &["--expect-head", &head]).0, 1);
    assert_eq!(verify_log(&place, &["--manifest", MANIFEST]).0, 1);
}

fn field(line: &str, name: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    record[name].as_str().unwrap_or("-").to_owned()
}

fn log_id(lines: &[String]) -> String {
    field(&lines[0], "log_id")
}

fn mac_of(line: &str) -> String {
    field(line, "mac")
}

#[test]
fn a_log_that_was_cut_and_goes_on_contradicts_what_was_kept_elsewhere() {
    let place = logged();
    let before = lines(&place);
    let kept = format!("{}:6:{}", log_id(&before), mac_of(&before[5]));
    let manifest = place.read(MANIFEST);
    assert_eq!(
        verify_log(&place, &["--expect-head", &kept, "--manifest", MANIFEST]),
        answer(0, &[])
    );
    // Cut alone, the head beside the log tells; the next record keeps that visible.
    place.write(LOG, before[..4].concat());
    sign(&place);
    assert_eq!(verify_log(&place, &[]).0, 1);
    let shown = place.run(["audit", "show", "--event", "audit.recovered"]);
    assert!(shown.stdout.contains("head_disagrees"), "{shown:?}");
    // Cut together with the head, only what was kept elsewhere tells.
    std::fs::remove_file(place.at(".agp/audit/000002.jsonl")).unwrap();
    let mut cut = before[..2].to_vec();
    rechain(&place, &mut cut);
    assert_eq!(cut[..], before[..2]);
    sign(&place);
    sign(&place);
    place.write("kept.json", manifest);
    let elsewhere = ["--manifest", "kept.json"];
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    assert_eq!(
        verify_log(&place, &["--expect-head", &kept]),
        answer(1, &["audit.truncated"])
    );
    assert_eq!(
        verify_log(&place, &elsewhere),
        answer(1, &["audit.truncated"])
    );
}

#[test]
fn another_log_in_its_place_is_found_by_heads_kept_elsewhere() {
    let (place, stranger) = (logged(), logged());
    let kept = format!("{}:2:{}", log_id(&lines(&place)), mac_of(&lines(&place)[1]));
    place.write(LOG, stranger.read(LOG));
    assert_eq!(
        verify_log(&place, &[]).0,
        1,
        "the head beside it is another's"
    );
    place.write(HEAD, stranger.read(HEAD));
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    assert_eq!(
        verify_log(&place, &["--expect-head", &kept]),
        answer(1, &["audit.truncated"])
    );
    assert_eq!(
        verify_log(&place, &["--manifest", MANIFEST]),
        answer(1, &["audit.truncated"])
    );
    std::fs::remove_dir_all(place.at(".agp")).unwrap();
    assert_eq!(verify_log(&place, &[]), answer(0, &["audit.empty"]));
    assert_eq!(
        verify_log(&place, &["--expect-head", &kept]),
        answer(1, &["audit.truncated"])
    );
}

#[test]
fn heads_are_printed_in_every_report_and_read_in_that_form_only() {
    let place = logged();
    let head = head_text(&sign(&place));
    assert_eq!(
        verify_log(&place, &["--expect-head", &head]),
        answer(0, &[])
    );
    let short = head.split_once(':').unwrap().1;
    assert_eq!(
        verify_log(&place, &["--expect-head", short]),
        answer(0, &[])
    );
    let ran = place.run(["sign", "--input-dir", "tree", "-v"]);
    let told = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("audit head: "))
        .unwrap();
    assert_eq!(
        verify_log(&place, &["--expect-head", told]),
        answer(0, &[]),
        "{ran:?}"
    );
    let wrong_mac = format!("8:{}", "0".repeat(64));
    assert_eq!(
        verify_log(&place, &["--expect-head", &wrong_mac]),
        answer(1, &["audit.truncated"])
    );
    let later = head.replace(":8:", ":99:");
    assert_eq!(
        verify_log(&place, &["--expect-head", &later]),
        answer(1, &["audit.truncated"])
    );
    for text in ["", "8", "x:y:z", "8:xyz", ":8:-", "08:-", "-1:-", "8:-:8:-"] {
        assert_eq!(
            verify_log(&place, &["--expect-head", text]),
            answer(2, &["command.usage"]),
            "{text}"
        );
    }
}

#[test]
fn the_head_in_a_manifest_counts_only_if_the_manifest_is_authentic() {
    let place = logged();
    let manifest = place.read(MANIFEST);
    place.write(
        "forged.json",
        manifest.replace("\"sequence\":5", "\"sequence\":1"),
    );
    place.write("forged.json", manifest.replace("a.txt", "b.txt"));
    for name in ["forged.json", "none.json", "tree"] {
        let ran = place.run(VERIFY_LOG.iter().chain(&["--manifest", name]));
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
    }
}

#[test]
fn a_wrong_or_missing_key_cannot_tell_and_says_so() {
    let mut place = logged();
    place.set("POCKETMON_SIGN_SECRET", &other_secret());
    assert_eq!(verify_log(&place, &[]), answer(2, &["audit.unknown_key"]));
    place.set("POCKETMON_SIGN_SECRET", "");
    assert_eq!(verify_log(&place, &[]), answer(2, &["audit.unknown_key"]));
    // A key that was revoked since is a warning.
    let id = field(&lines(&place)[0], "key_id");
    place.set("RING", &secret());
    let policy = json!({"policy_guard": {"audit_logging": false},
                        "integrity": {"keys": [{"key_id": id, "source": "env:RING", "status": "revoked"}]}});
    place.write("p.json", policy.to_string());
    assert_eq!(
        verify_log(&place, &["-c", "p.json"]),
        answer(0, &["audit.revoked_key"])
    );
}

#[test]
fn an_unsealed_tail_is_a_warning_until_a_seal_covers_it() {
    let mut place = logged();
    place.write("p.json", "{}");
    place.set("POCKETMON_SIGN_SECRET", "");
    let ran = place.run(["verify", "--manifest", MANIFEST, "-c", "p.json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(lines(&place).len(), 8, "begun and ended");
    place.set("POCKETMON_SIGN_SECRET", &secret());
    assert_eq!(verify_log(&place, &[]), answer(0, &["audit.unsealed"]));
    assert_eq!(
        verify_log(&place, &["--require-keyed"]),
        answer(1, &["audit.not_keyed"])
    );
    sign(&place);
    let ran = place.run(VERIFY_LOG.iter().chain(&["--require-keyed"]));
    assert_eq!((ran.code, codes(&ran.json())), (0, vec![]));
    assert_eq!(ran.json()["summary"]["covered"], 2);
    // What was covered is protected too.
    let log = place
        .read(LOG)
        .replace("\"outcome\":\"failure\"", "\"outcome\":\"success\"");
    place.write(LOG, log);
    assert_eq!(verify_log(&place, &[]), answer(1, &["audit.tampered"]));
}

#[test]
fn a_torn_line_is_a_crash_and_the_next_record_says_so() {
    let place = logged();
    let log = place.read(LOG);
    let torn = &lines(&place)[5];
    for bytes in [1, 100, torn.len() - 1] {
        place.write(LOG, format!("{log}{}", &torn[..bytes]));
        assert_eq!(
            verify_log(&place, &[]),
            answer(0, &["audit.torn_tail"]),
            "{bytes}"
        );
    }
    sign(&place);
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    let shown = place.run(["audit", "show", "--event", "audit.recovered"]);
    assert!(shown.stdout.contains("torn_tail"), "{shown:?}");
    // A last record of which a part is gone was recorded: no crash.
    let log = place.read(LOG);
    place.write(LOG, &log[..log.len() - 10]);
    assert_eq!(verify_log(&place, &[]).0, 1);
}

#[test]
fn many_commands_at_once_write_one_chain() {
    let place = Place::new();
    let count = 16;
    let children: Vec<_> = (0..count)
        .map(|number| {
            let tree = format!("tree{number}");
            place.write(&format!("{tree}/a.txt"), &tree);
            let mut command =
                place.command(["sign", "--input-dir", &tree, "--state-dir", "state", "-q"]);
            command.spawn().unwrap()
        })
        .collect();
    for mut child in children {
        // A reader meanwhile sees a whole log.
        let (code, found) = verify_log(&place, &["--state-dir", "state"]);
        assert_eq!(code, 0, "{found:?}");
        assert!(child.wait().unwrap().success());
    }
    let ran = place.run(VERIFY_LOG.iter().chain(&["--state-dir", "state"]));
    assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "{ran:?}");
    assert_eq!(ran.json()["summary"]["records"], 2 * count);
    // Each manifest holds a head that the log still has.
    let manifests =
        (0..count).map(|number| format!("--manifest=tree{number}/integrity_manifest.json"));
    let arguments = VERIFY_LOG.iter().map(ToString::to_string).chain(manifests);
    let ran = place.run(arguments.chain(["--state-dir=state".into()]));
    assert_eq!(
        (ran.code, &ran.json()["summary"]["heads_matched"]),
        (0, &json!(count)),
        "{ran:?}"
    );
}

/// Runs with a limit on how large files may grow, in blocks of 512 bytes: writing beyond fails as
/// on a full disk.
fn run_limited(place: &Place, blocks: u64, arguments: &[&str]) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", &script, AGP])
        .args(arguments)
        .current_dir(place.path())
        .env_clear();
    command.env("POCKETMON_SIGN_SECRET", secret());
    Ran::of(&command.output().unwrap())
}

#[test]
fn a_full_disk_refuses_the_command_and_is_never_tampering() {
    let place = Place::new();
    place.write("tree/a.txt", "a\n");
    // From the first record on, at whatever size the disk is full.
    let (mut refused, mut unfinished) = (0, 0);
    for blocks in 0..12 {
        let before = std::fs::read(place.at(MANIFEST)).ok();
        let ran = run_limited(&place, blocks, &SIGN);
        let (code, found) = verify_log(&place, &[]);
        assert_eq!(code, 0, "{blocks}: {found:?}");
        if ran.code == 0 {
            continue;
        }
        assert_eq!(ran.code, 2, "{blocks}: {ran:?}");
        refused += 1;
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        let report = ran.json();
        if codes(&report) == ["audit.unfinished"] {
            // What was done is told all the same.
            unfinished += 1;
            assert_eq!(report["summary"]["manifests"], 1, "{report}");
        }
        if codes(&report) == ["audit.refused"] && ran.json()["audit_head"].is_null() {
            assert_eq!(
                std::fs::read(place.at(MANIFEST)).ok(),
                before,
                "{blocks}: not recorded, so not done"
            );
        }
    }
    assert!(refused > 2 && unfinished > 0, "{refused} {unfinished}");
    sign(&place);
    let (code, _) = place.verify();
    assert_eq!((code, verify_log(&place, &[]).0), (0, 0));
}

#[test]
fn a_link_in_the_place_of_the_log_is_refused() {
    for name in [".agp/audit", LOG, HEAD, ".agp/audit/lock"] {
        for dangling in [false, true] {
            let place = logged();
            let before = place.read(MANIFEST);
            std::fs::rename(place.at(name), place.at("elsewhere")).unwrap();
            let target = place.at(if dangling { "nowhere" } else { "elsewhere" });
            symlink(&target, place.at(name)).unwrap();
            let kept = listing(&place.at("elsewhere"));
            let ran = place.run(SIGN);
            assert_eq!(
                (ran.code, codes(&ran.json())),
                (2, vec!["audit.refused".into()]),
                "{name}: {ran:?}"
            );
            assert!(ran.stderr.contains("symbolic link"), "{ran:?}");
            assert_eq!(place.read(MANIFEST), before);
            let ran = place.run(VERIFY_LOG);
            assert_eq!(ran.code, 2, "{name}: {ran:?}");
            assert_eq!(listing(&place.at("elsewhere")), kept);
            assert!(!place.at("nowhere").exists());
        }
    }
}

#[test]
fn hostile_names_stay_inside_their_field_and_their_line() {
    let mut place = Place::new();
    let user = "mallory\n{\"forged\": 1}\u{1b}[2J\u{202e}\"] ";
    place.set("USER", user);
    let tree = "tr\nee\u{1b}[31m\u{202e}";
    place.write(&format!("{tree}/a\nb\u{1b}.txt"), "a");
    let ran = place.run(["sign", "--input-dir", tree]);
    assert_eq!(ran.code, 0, "{ran:?}");
    place.write(&format!("{tree}/new\n\u{1b}]0;x\u{7}"), "n");
    place.write("p.json", "{}");
    let manifest = format!("{tree}/integrity_manifest.json");
    assert_eq!(
        place
            .run(["verify", "--manifest", &manifest, "-c", "p.json"])
            .code,
        1
    );
    assert_eq!(verify_log(&place, &[]), answer(0, &[]));
    assert_eq!(lines(&place).len(), 4);
    let record: Value = serde_json::from_str(&lines(&place)[0]).unwrap();
    assert_eq!(record["actor"]["user"], user);
    for form in [
        &["show"][..],
        &["export", "--to", "ecs"],
        &["export", "--to", "syslog"],
    ] {
        let ran = place.run([&["audit"][..], form].concat());
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 4), "{ran:?}");
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stdout.contains('\u{7}'),
            "{ran:?}"
        );
        assert!(ran.stdout.contains("mallory"));
        if form.len() == 1 || form[2] == "ecs" {
            ran.stdout
                .lines()
                .for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
        }
    }
}

#[test]
fn shows_and_exports_what_the_filters_let_through() {
    let place = logged();
    let shown = place.run(["audit", "show"]);
    assert_eq!(shown.stdout, place.read(LOG));
    for (more, count) in [
        (&["--last", "2"][..], 2),
        (&["--last", "0"], 0),
        (&["--last", "99"], 6),
        (&["--event", "integrity."], 6),
        (&["--event", "rollback."], 0),
        (&["--since", "2020-01-01T00:00:00Z"], 6),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
        (&["--event", "integrity.sign", "--last", "3"], 3),
    ] {
        for verb in [
            &["audit", "show"][..],
            &["audit", "export", "--to", "ecs"],
            &["audit", "export", "--to", "syslog"],
        ] {
            let ran = place.run(verb.iter().chain(more));
            assert_eq!(
                (ran.code, ran.stdout.lines().count()),
                (0, count),
                "{more:?}: {ran:?}"
            );
        }
    }
    let ran = place.run(["audit", "export", "--to", "ecs", "--last", "1"]);
    let ecs: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&ecs["event"]["action"], &ecs["event"]["outcome"]),
        (&json!("integrity.sign"), &json!("success"))
    );
    assert_eq!(ecs["file"]["path"], "tree");
    let ran = place.run(["audit", "export", "--to", "syslog", "--last", "1"]);
    assert!(
        ran.stdout.starts_with("<110>1 20") && ran.stdout.contains(" integrity.sign [agp@32473 "),
        "{ran:?}"
    );
    for bad in [
        &["audit", "show", "--since", "yesterday"][..],
        &["audit", "show", "--last", "-1"],
        &["audit", "export"],
        &["audit"],
    ] {
        assert_eq!(place.run(bad).code, 2, "{bad:?}");
    }
    let empty = Place::new();
    for verb in [&["audit", "show"][..], &["audit", "export", "--to", "ecs"]] {
        let ran = empty.run(verb);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    }
    assert_eq!(listing(empty.path()).len(), 1);
}

#[test]
fn every_ending_of_a_command_is_in_its_ended_record() {
    let mut place = Place::new();
    place.write("p.json", "{}");
    place.signed_tree();
    let verify = ["verify", "--manifest", MANIFEST, "-c", "p.json"];
    let last = |place: &Place| -> (Value, Value) {
        let shown = place.run(["audit", "show", "--last", "2"]);
        let mut records = shown
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        (records.next().unwrap(), records.next().unwrap())
    };
    assert_eq!(place.run(verify).code, 0);
    let (begun, ended) = last(&place);
    assert_eq!(
        (&begun["outcome"], &begun["exit_code"], &begun["ended_at"]),
        (&json!("unknown"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&ended["event"], &ended["outcome"], &ended["exit_code"]),
        (&json!("integrity.verify"), &json!("success"), &json!(0))
    );
    assert_eq!(begun["details"]["run_id"], ended["details"]["run_id"]);
    place.write("tree/a.json", "changed");
    assert_eq!(place.run(verify).code, 1);
    let (_, ended) = last(&place);
    assert_eq!(
        (&ended["outcome"], &ended["exit_code"]),
        (&json!("failure"), &json!(1))
    );
    assert_eq!(
        ended["policy"],
        json!([{"decision": "deny", "rule": "file.modified"}])
    );
    let violations = &ended["details"]["violations"];
    assert_eq!(
        (&violations["count"], &violations["first"][0]["path"]),
        (&json!(1), &json!("tree/a.json"))
    );
    assert_eq!(place.run(["sign", "--input-dir", "none"]).code, 2);
    assert_eq!(last(&place).1["exit_code"], 2);
    place.set("POCKETMON_SIGN_SECRET", "");
    assert_eq!(place.run(["sign", "--input-dir", "tree"]).code, 2);
    let (_, ended) = last(&place);
    assert_eq!(
        (&ended["exit_code"], &ended["policy"][0]["rule"]),
        (&json!(2), &json!("key.unavailable"))
    );
    let bit = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(place.at(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        [bit(".agp"), bit(".agp/audit"), bit(LOG), bit(HEAD)],
        [0o700, 0o700, 0o600, 0o600]
    );
}

#[test]
fn a_strict_policy_refuses_what_it_cannot_record_and_others_warn() {
    let place = Place::new();
    place.signed_tree();
    let before = place.read(MANIFEST);
    place.write("not_a_directory", "");
    let unwritable = ["--state-dir", "not_a_directory"];
    place.write("strict.json", "{}");
    place.write(
        "advisory.json",
        r#"{"policy_guard": {"enforcement_level": "advisory"}}"#,
    );
    place.write("off.json", r#"{"policy_guard": {"audit_logging": false}}"#);
    let verify = ["verify", "--manifest", MANIFEST, "--json"];
    for (verb, policy, code, found) in [
        (&SIGN[..], &[][..], 2, &["audit.refused"][..]),
        (&SIGN, &["-c", "strict.json"], 2, &["audit.refused"]),
        (&verify, &["-c", "strict.json"], 2, &["audit.refused"]),
        (&verify, &["-c", "advisory.json"], 0, &["audit.unavailable"]),
        (&verify, &["-c", "off.json"], 0, &[]),
        (&verify, &[], 0, &[]),
    ] {
        let ran = place.run(verb.iter().chain(policy).chain(&unwritable));
        assert_eq!(
            (ran.code, codes(&ran.json())),
            answer(code, found),
            "{policy:?}: {ran:?}"
        );
    }
    assert_eq!(place.read(MANIFEST), before);
    let ran = place.run(
        SIGN.iter()
            .chain(&["-c", "advisory.json"])
            .chain(&unwritable),
    );
    assert_eq!(
        (ran.code, codes(&ran.json())),
        answer(0, &["audit.unavailable"]),
        "{ran:?}"
    );
    assert_eq!(place.read("not_a_directory"), "");
}

#[test]
fn without_a_policy_reading_leaves_nothing_behind() {
    let mut place = Place::new();
    place.signed_tree();
    std::fs::remove_dir_all(place.at(".agp")).unwrap();
    let before = listing(place.path());
    for arguments in [
        &["verify", "--manifest", MANIFEST][..],
        &["verify", "--all", "."],
        &["verify", "--manifest", "none"],
        &["verify", "--manifest", MANIFEST, "--only", "a*"],
        &["audit", "verify"],
        &["audit", "show"],
        &["audit", "export", "--to", "ecs"],
        &["tool", "keys", "show"],
        &["tool", "policy", "show"],
        &["tool", "policy", "check"],
        &["tool", "keys", "generate"],
        &["--help"],
        &["verify", "--bogus"],
    ] {
        place.run(arguments);
        assert_eq!(listing(place.path()), before, "{arguments:?}");
    }
    place.set("POCKETMON_SIGN_SECRET", "");
    assert_eq!(place.verify().0, 2);
    assert_eq!(listing(place.path()), before);
}

#[test]
fn the_log_is_never_put_into_a_tree_that_does_not_name_it() {
    // The stranger's tree is the working directory and holds a policy that asks for a log.
    let place = Place::new();
    place.write("tree/config/assets_quality_policy.json", "{}");
    place.write("tree/sub/a.txt", "a\n");
    assert_eq!(
        place
            .run(["sign", "--input-dir", "tree", "--state-dir", "away"])
            .code,
        0
    );
    assert_eq!(
        place
            .run([
                "sign",
                "--input-dir",
                "tree",
                "--exempt",
                "integrity_manifest.json",
                "-o",
                "tree/sub/deep.json",
                "--state-dir",
                "away"
            ])
            .code,
        0
    );
    assert_eq!(
        place
            .run([
                "sign",
                "--input-dir",
                "tree",
                "--exempt",
                "integrity_manifest.json",
                "--exempt",
                "sub/deep.json",
                "-o",
                "outside.json",
                "--state-dir",
                "away"
            ])
            .code,
        0
    );
    let deep = place.at("tree/sub/deep.json");
    std::fs::rename(&deep, place.at("deep.json")).unwrap();
    let verify_in_tree = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        Ran::of(&command.current_dir(place.at("tree")).output().unwrap())
    };
    for arguments in [
        &["verify", "--manifest", "integrity_manifest.json"][..],
        &[
            "verify",
            "--manifest",
            "integrity_manifest.json",
            "--input-dir",
            ".",
        ],
        &[
            "verify",
            "--manifest",
            "../outside.json",
            "--input-dir",
            ".",
        ],
        &["verify", "--all", "."],
    ] {
        let ran = verify_in_tree(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert!(!place.at("tree/.agp").exists(), "{arguments:?}");
    }
    // Nor a cache, nor a state directory further down of which nothing is there yet.
    for more in [
        &["--cache"][..],
        &["--state-dir", "sub/x/y"],
        &["--cache", "--state-dir", "sub/x/y"],
    ] {
        for _ in 0..2 {
            let ran = verify_in_tree(
                &[&["verify", "--manifest", "integrity_manifest.json"], more].concat(),
            );
            assert_eq!(ran.code, 0, "{more:?}: {ran:?}");
        }
        assert!(
            !place.at("tree/.agp").exists() && !place.at("tree/sub/x").exists(),
            "{more:?}"
        );
    }
    std::fs::rename(place.at("deep.json"), &deep).unwrap();
    let ran = verify_in_tree(&["verify", "--manifest", "sub/deep.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!place.at("tree/.agp").exists());
    std::fs::remove_file(&deep).unwrap();
    // One that was named insists, so nothing is said about the tree.
    let named = [
        "verify",
        "--manifest",
        "integrity_manifest.json",
        "-c",
        "config/assets_quality_policy.json",
        "--json",
    ];
    let ran = verify_in_tree(&named);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        answer(2, &["audit.refused"])
    );
    assert!(!place.at("tree/.agp").exists());
    // Nor is one that is there, and signed, written to: by its own name or another.
    place.write("tree/sub/state/kept", "");
    symlink("tree/sub/state", place.at("link")).unwrap();
    let away = ["sign", "--input-dir", ".", "--state-dir", "../away"];
    assert_eq!(verify_in_tree(&away).code, 0);
    for (state, cache) in [
        ("sub/state", "-q"),
        ("sub/../sub/state", "--cache"),
        ("../link", "--cache"),
    ] {
        let verify = ["verify", "--manifest", "integrity_manifest.json"];
        let ran = verify_in_tree(&[&verify[..], &["--state-dir", state, cache]].concat());
        assert_eq!(ran.code, 0, "{state}: {ran:?}");
    }
    assert_eq!(listing(&place.at("tree/sub/state")).len(), 2);
    // A manifest that names it: it may be there.
    let ran = verify_in_tree(&["sign", "--input-dir", "."]);
    assert_eq!(ran.code, 0, "{ran:?}");
    std::fs::remove_dir_all(place.at("tree/.agp")).unwrap();
    assert_eq!(verify_in_tree(&named).code, 0);
    assert!(place.at("tree/.agp/audit/head.json").exists());
    assert_eq!(verify_in_tree(&named).code, 0);
}

#[test]
fn a_state_directory_in_the_tree_is_exempt_by_whatever_name_and_is_never_the_tree() {
    let place = Place::new();
    place.write("tree/sub/a.txt", "a\n");
    std::fs::create_dir(place.at("tree/state")).unwrap();
    symlink("tree/state", place.at("link")).unwrap();
    for state in [
        "tree/state",
        "tree/sub/../state",
        "tree/sub/../../tree/state/.",
        "link",
    ] {
        for verb in [
            &["sign", "--input-dir", "tree"][..],
            &["verify", "--manifest", MANIFEST],
        ] {
            let ran = place.run(verb.iter().chain(&["--state-dir", state]));
            assert_eq!(ran.code, 0, "{state}: {ran:?}");
        }
        assert!(place.at("tree/state/audit").exists());
        std::fs::remove_dir_all(place.at("tree/state/audit")).unwrap();
    }
    for state in ["tree", "tree/sub/..", "./tree/"] {
        let ran = place.run(SIGN.iter().chain(&["--state-dir", state]));
        let found = (ran.code, codes(&ran.json()));
        assert_eq!(found, answer(2, &["command.usage"]), "{state}");
        assert!(!place.at("tree/audit").exists());
    }
}

#[test]
fn a_segment_begun_more_than_30_days_ago_is_followed_by_the_next() {
    let place = Place::new();
    place.write("policy.json", "{}");
    // Without a key nothing is verified, and the records bear no seal that would have to be made anew.
    let verify = [
        "verify",
        "--manifest",
        MANIFEST,
        "--key-file",
        "none",
        "-c",
        "policy.json",
    ];
    let written_at = |time: &str| {
        assert_eq!(place.run(verify).code, 2);
        let mut lines: Vec<String> = lines(&place)
            .iter()
            .map(|line| retimed(line, time))
            .collect();
        rechain(&place, &mut lines);
    };
    let day = 86_400;
    let before = |seconds: i64| agp::base::clock::now().plus_seconds(-seconds).to_string();
    written_at(&before(30 * day - 600));
    assert_eq!(place.run(verify).code, 2);
    assert_eq!((lines(&place).len(), place.at(SECOND).exists()), (4, false));

    std::fs::remove_dir_all(place.at(".agp")).unwrap();
    written_at(&before(30 * day + 600));
    assert_eq!(place.run(verify).code, 2);
    assert_eq!(lines(&place).len(), 2);
    assert_eq!(place.read(SECOND).lines().count(), 2);
    assert_eq!(verify_log(&place, &[]), answer(0, &["audit.unsealed"]));
    // The new segment is young, so that it is gone on in.
    place.write("tree/a.txt", "a\n");
    sign(&place);
    assert_eq!(place.read(SECOND).lines().count(), 4);
    assert_eq!(
        verify_log(&place, &["--manifest", MANIFEST]),
        answer(0, &[])
    );
}

/// A record as it would have been at another time.
fn retimed(line: &str, time: &str) -> String {
    let mut record: Value = serde_json::from_str(line).unwrap();
    for name in ["started_at", "ended_at", "timestamp"] {
        if !record[name].is_null() {
            record[name] = time.into();
        }
    }
    format!("{record}\n")
}

#[test]
fn the_log_goes_on_over_segments_and_pruning_is_recorded() {
    let place = Place::new();
    place.write("tree/a.txt", "a\n");
    let first = head_text(&sign(&place));
    place.write("many.json", r#"{"audit": {"segment_bytes_max": 65536}}"#);
    place.write(
        "one.json",
        r#"{"audit": {"segment_bytes_max": 65536, "segments_kept": 1}}"#,
    );
    // A record that lists so many violations fills a segment by itself.
    for number in 0..900 {
        place.write(&format!("tree/unlisted-{number:04}"), "");
    }
    let verify = ["verify", "--manifest", MANIFEST, "-c"];
    for _ in 0..2 {
        assert_eq!(place.run(verify.iter().chain(&["many.json"])).code, 1);
    }
    assert!(place.at(".agp/audit/000003.jsonl").exists());
    let kept = ["--expect-head", &first];
    assert_eq!(verify_log(&place, &kept), answer(0, &[]));
    assert_eq!(place.run(verify.iter().chain(&["one.json"])).code, 1);
    assert!(!place.at(LOG).exists());
    let ran = place.run(VERIFY_LOG.iter().chain(&kept));
    assert_eq!((ran.code, codes(&ran.json())), (0, vec![]), "{ran:?}");
    assert_eq!(ran.json()["summary"]["heads_pruned"], 1);
    let pruned = place.run(["audit", "show", "--event", "audit.pruned"]);
    assert!(pruned.stdout.contains("segments_removed"), "{pruned:?}");
    // A segment in the middle, or the record of the pruning, is missed.
    let segments = std::fs::read_dir(place.at(".agp/audit")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let newest = segments
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .max();
    std::fs::remove_file(newest.unwrap()).unwrap();
    assert_eq!(verify_log(&place, &[]).0, 1);
}
