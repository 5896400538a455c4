//! Signing and verifying as they are meant: the guide's command lines, and every flag's promise.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Place, Ran, codes};

/// How long any run may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);

const MANIFEST: &str = "tree/integrity_manifest.json";

/// An exit code, and every finding code that comes with it, sorted.
pub(crate) type Answer<'a> = (i32, &'a [&'a str]);

/// Runs a command that must end in time and must not panic, whatever it is given.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    let Ok(output) = receive.recv_timeout(LIMIT) else {
        signal(id, rustix::process::Signal::KILL);
        panic!("{command:?} hangs");
    };
    let ran = Ran::of(&output.unwrap());
    assert!(!ran.stderr.contains("panicked"), "{command:?}: {ran:?}");
    ran
}

/// Sends a signal to a child.
pub(crate) fn signal(id: u32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}

/// Runs with `--json`, and gives the report after comparing exit code and finding codes.
pub(crate) fn answer<S: AsRef<OsStr>>(
    place: &Place,
    arguments: impl IntoIterator<Item = S>,
    (code, findings): Answer<'_>,
) -> Value {
    let mut command = place.command(arguments);
    let ran = finish(command.arg("--json"));
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (
            code,
            findings.iter().map(|code| (*code).to_owned()).collect()
        ),
        "{command:?}: {ran:?}"
    );
    assert_eq!(report["exit_code"], code);
    report
}

/// Runs a command line that does not parse. `--json` comes first, since reading stops at the error.
fn refused<'a>(place: &Place, arguments: impl IntoIterator<Item = &'a str>) {
    let arguments = ["--json"].into_iter().chain(arguments);
    let ran = finish(&mut place.command(arguments));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(codes(&ran.json()), ["command.usage"], "{ran:?}");
}

/// Verifies `tree/`.
pub(crate) fn verdict(place: &Place, expected: Answer<'_>) -> Value {
    answer(place, ["verify", "--manifest", MANIFEST], expected)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn signed() -> Place {
    let place = Place::new();
    place.signed_tree();
    place
}

fn manifest(place: &Place) -> Value {
    serde_json::from_str(&place.read(MANIFEST)).unwrap()
}

#[test]
fn the_guides_own_command_lines_sign_and_verify() {
    let place = Place::new();
    place.write("output/a.json", "{}");
    let sign = "sign --input-dir ./output --output ./output/integrity_manifest.json";
    let verify = "verify --manifest ./output/integrity_manifest.json --output ./output/integrity_report.json";
    for round in 0..3 {
        let ran = finish(&mut place.command(words(sign)));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{round}: {ran:?}");
        // Twice: the report of the first must not spoil the tree for the second.
        for _ in 0..2 {
            let ran = finish(&mut place.command(words(verify)));
            assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{round}: {ran:?}");
            let report: Value =
                serde_json::from_str(&place.read("output/integrity_report.json")).unwrap();
            assert_eq!(report["verdict"], "pass");
            assert_eq!(report["manifests"][0]["status"], "valid");
        }
    }
}

#[test]
fn what_is_signed_verifies_and_every_entry_is_counted() {
    let place = signed();
    let report = verdict(&place, (0, &[]));
    let section = &report["manifests"][0];
    assert_eq!(section["counters"]["checked"], 7);
    assert_eq!(section["counters"]["ok"], 7);
    for check in [
        "signature_validity",
        "file_integrity",
        "manifest_consistency",
        "timestamp_validation",
    ] {
        assert_eq!(section["checks"][check]["result"], "pass", "{check}");
    }
    let written = manifest(&place);
    assert_eq!(
        written["summary"],
        serde_json::json!({"file_count": 4, "symlink_count": 1, "directory_count": 2, "total_size_bytes": 17})
    );
    assert_eq!(written["subject"], "tree");
    assert_eq!(
        written["file_inventory"]["link"]["symlink_target"],
        "sub/b.txt"
    );
    assert_eq!(written["directories"]["sub/deep"]["mode"], "0755");
}

#[test]
fn a_moved_tree_still_verifies() {
    let place = signed();
    std::fs::rename(place.at("tree"), place.at("elsewhere")).unwrap();
    let moved = "verify --manifest elsewhere/integrity_manifest.json";
    answer(&place, words(moved), (0, &[]));
}

#[test]
fn signing_again_counts_on() {
    let place = signed();
    let sign = words("sign --input-dir tree");
    answer(&place, sign.clone(), (0, &[]));
    assert_eq!(manifest(&place)["sequence"], 2);
    let mut given = sign.clone();
    given.extend(["--sequence", "40"]);
    answer(&place, given, (0, &[]));
    answer(&place, sign.clone(), (0, &[]));
    assert_eq!(manifest(&place)["sequence"], 41);
    for refused in ["0", "9007199254740992"] {
        let mut given = sign.clone();
        given.extend(["--sequence", refused]);
        answer(&place, given, (2, &["command.usage"]));
    }
    verdict(&place, (0, &[]));
}

#[test]
fn a_manifest_that_does_not_verify_is_replaced_with_a_warning() {
    let place = signed();
    let text = place
        .read(MANIFEST)
        .replace("\"sequence\": 1", "\"sequence\": 900");
    place.write(MANIFEST, text);
    let sign = words("sign --input-dir tree");
    answer(&place, sign, (0, &["sign.previous_unverified"]));
    assert_eq!(manifest(&place)["sequence"], 1);
    verdict(&place, (0, &[]));
}

#[test]
fn rotation_signs_an_unchanged_tree_with_the_active_key() {
    let mut place = signed();
    let old = manifest(&place);
    place.set("OLD_KEY", &crate::harness::secret());
    let new = format!("hex:{}", "fedcba9876543210".repeat(4));
    place.set("NEW_KEY", &new);
    place.set("POCKETMON_SIGN_SECRET", &new);
    let new_id = answer(
        &place,
        words("sign --input-dir other --allow-empty"),
        (2, &["command.input"]),
    );
    assert!(new_id.is_object());
    place.write("other/a", "a");
    let report = answer(&place, words("sign --input-dir other"), (0, &[]));
    let new_id = report["manifests"][0]["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let old_id = old["signature"]["key_id"].as_str().unwrap();
    let policy = serde_json::json!({"integrity": {"keys": [
        {"key_id": old_id, "source": "env:OLD_KEY", "status": "verify_only"},
        {"key_id": new_id, "source": "env:NEW_KEY", "status": "active"},
    ]}});
    place.write("policy.json", policy.to_string());

    place.write("tree/a.json", "changed");
    let rotate =
        words("sign --config policy.json --rotate --manifest tree/integrity_manifest.json");
    let report = answer(&place, rotate.clone(), (1, &["file.modified"]));
    assert_eq!(report["summary"]["manifests"], 0);
    assert_eq!(
        manifest(&place),
        old,
        "a refused rotation leaves the manifest alone"
    );
    place.write("tree/a.json", "{\"a\": 1}\n");

    answer(&place, rotate, (0, &[]));
    let rotated = manifest(&place);
    assert_eq!(rotated["sequence"], 2);
    assert_eq!(rotated["signature"]["key_id"], new_id.as_str());
    verdict(&place, (0, &[]));
}

#[test]
fn rotation_refuses_a_manifest_that_was_edited() {
    let place = signed();
    place.write(
        MANIFEST,
        place
            .read(MANIFEST)
            .replace("\"subject\": \"tree\"", "\"subject\": \"free\""),
    );
    let before = place.read(MANIFEST);
    let rotate = words("sign --rotate --manifest tree/integrity_manifest.json");
    answer(&place, rotate, (1, &["signature.invalid"]));
    assert_eq!(place.read(MANIFEST), before);
}

#[test]
fn rotation_launders_nothing_that_verification_objects_to() {
    let mut place = Place::new();
    place.write("tree/a", "a");
    let expired = [
        "sign",
        "--input-dir",
        "tree",
        "--expires-at",
        "2020-01-01T00:00:00Z",
    ];
    answer(&place, expired, (0, &["sign.already_expired"]));
    let before = place.read(MANIFEST);
    let rotate = ["sign", "--rotate", "--manifest", MANIFEST];
    answer(&place, rotate, (1, &["time.expired"]));
    let later = ["--expires-at", "2999-01-01T00:00:00Z"];
    answer(&place, rotate.iter().chain(&later), (1, &["time.expired"]));
    assert_eq!(place.read(MANIFEST), before);

    let key_id = manifest(&place)["signature"]["key_id"].clone();
    answer(&place, ["sign", "--input-dir", "tree"], (0, &[]));
    place.set("OLD_KEY", &crate::harness::secret());
    let old = serde_json::json!({"key_id": key_id, "source": "env:OLD_KEY", "not_after": "2020-01-01T00:00:00Z"});
    place.write(
        "policy.json",
        serde_json::json!({"integrity": {"keys": [old]}}).to_string(),
    );
    let old_key = ["-c", "policy.json"];
    answer(
        &place,
        rotate.iter().chain(&old_key),
        (1, &["signature.key_period"]),
    );
}

#[test]
fn rotation_tells_no_more_than_the_manifest_told_and_takes_no_other_terms() {
    let place = Place::new();
    place.write("tree/a", "a");
    let hidden = ["sign", "--input-dir", "tree", "--no-absolute-paths"];
    answer(&place, hidden, (0, &[]));
    let rotate = ["sign", "--rotate", "--manifest", MANIFEST];
    answer(&place, rotate, (0, &[]));
    assert_eq!(manifest(&place)["file_inventory"]["a"]["absolute_path"], "");
    for more in [
        &["--subject", "x"][..],
        &["--exclude", "x"],
        &["--exempt", "x"],
        &["--input-dir", "tree", "--input-dir", "tree"],
    ] {
        answer(&place, rotate.iter().chain(more), (2, &["command.usage"]));
    }
    assert_eq!(manifest(&place)["sequence"], 2);
}

#[test]
fn the_cache_reuses_digests_and_misses_no_change() {
    let place = Place::new();
    for number in 0..300 {
        place.write(&format!("tree/{number}"), format!("content {number}"));
    }
    // Younger states than two seconds may be shared by two contents, so they are not kept.
    std::thread::sleep(Duration::from_millis(2200));
    let sign = words("sign --input-dir tree --cache");
    answer(&place, sign.clone(), (0, &[]));
    let report = answer(&place, sign, (0, &[]));
    assert!(report["manifests"][0]["reused"].as_u64().unwrap() > 200);
    let verify = words("verify --manifest tree/integrity_manifest.json --cache");
    let report = answer(&place, verify.clone(), (0, &[]));
    assert!(report["manifests"][0]["reused"].as_u64().unwrap() > 200);

    // Same size, and the time of modification put back: only ctime tells.
    let file = place.at("tree/7");
    let modified = file.metadata().unwrap().modified().unwrap();
    place.write("tree/7", "CONTENT 7");
    let open = std::fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(modified).unwrap();
    let report = answer(&place, verify.clone(), (1, &["file.modified"]));
    assert_eq!(report["findings"][0]["path"], "tree/7");
    place.write("tree/7", "content 7");
    answer(&place, verify, (0, &[]));
}

#[test]
fn a_cache_that_was_written_to_by_others_is_not_believed() {
    let place = signed();
    std::thread::sleep(Duration::from_millis(2200));
    let verify = words("verify --manifest tree/integrity_manifest.json --cache");
    answer(&place, verify.clone(), (0, &[]));
    let mut spoiled = 0;
    for entry in std::fs::read_dir(place.at(".agp/cache")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
            std::fs::write(&path, bytes).unwrap();
            spoiled += 1;
        }
    }
    assert_ne!(spoiled, 0, "there is a cache");
    answer(&place, verify, (0, &["cache.discarded"]));
}

#[test]
fn subject_and_least_sequence_are_held_to() {
    let place = Place::new();
    place.write("tree/a", "a");
    answer(
        &place,
        words("sign --input-dir tree --subject maps --sequence 7"),
        (0, &[]),
    );
    let verify = "verify --manifest tree/integrity_manifest.json";
    for (more, expected) in [
        ("--subject maps --min-sequence 7", (0, &[][..])),
        ("--subject maps", (0, &[])),
        ("--subject Maps", (1, &["replay.other_subject"])),
        ("--min-sequence 8", (1, &["replay.old_sequence"])),
    ] {
        answer(&place, words(&format!("{verify} {more}")), expected);
    }
    answer(
        &place,
        ["sign", "--input-dir", "tree", "--subject", ""],
        (2, &["command.usage"]),
    );
}

#[test]
fn a_state_file_remembers_the_highest_sequence() {
    let place = signed();
    let first = place.read(MANIFEST);
    let verify = words("verify --manifest tree/integrity_manifest.json --state seen.json");
    answer(&place, verify.clone(), (0, &[]));
    answer(&place, words("sign --input-dir tree"), (0, &[]));
    answer(&place, verify.clone(), (0, &[]));
    place.write(MANIFEST, first);
    answer(&place, verify.clone(), (1, &["replay.old_sequence"]));
    place.write("seen.json", "{");
    answer(&place, verify, (2, &["command.input"]));
}

#[test]
fn a_state_that_cannot_be_kept_hides_nothing_of_the_answer() {
    let place = signed();
    place.write("tree/a.json", "changed");
    let verify = [
        "verify",
        "--manifest",
        MANIFEST,
        "--state",
        "none/seen.json",
    ];
    let expected = (2, &["command.output", "file.modified"][..]);
    let report = answer(&place, verify, expected);
    assert_eq!(report["summary"]["invalid"], 1);
}

#[test]
fn only_part_of_a_tree_is_never_plainly_valid() {
    let place = signed();
    let verify = ["verify", "--manifest", MANIFEST, "--only", "sub/**"];
    let report = answer(&place, verify, (0, &["scope.partial"]));
    assert_eq!(report["manifests"][0]["status"], "partial");
    assert_eq!(report["manifests"][0]["scope"], "partial");
    assert_eq!(report["summary"]["valid"], 0);
    place.write("tree/a.json", "outside the part");
    answer(&place, verify, (0, &["scope.partial"]));
    place.write("tree/sub/deep/c.bin", "inside");
    answer(&place, verify, (1, &["file.modified", "scope.partial"]));
    answer(
        &place,
        ["verify", "--manifest", MANIFEST, "--only", "a//b"],
        (2, &["command.usage"]),
    );
}

#[test]
fn all_verifies_every_manifest_below() {
    let place = Place::new();
    for name in ["one", "two/deeper", ".hidden"] {
        place.write(&format!("trees/{name}/file"), name);
        answer(
            &place,
            ["sign", "--input-dir", &format!("trees/{name}")],
            (0, &[]),
        );
    }
    let verify = words("verify --all trees");
    let report = answer(&place, verify.clone(), (0, &[]));
    assert_eq!(report["summary"]["valid"], 3);
    place.write("trees/two/deeper/file", "x");
    let report = answer(&place, verify.clone(), (1, &["file.modified"]));
    assert_eq!(report["summary"]["valid"], 2);
    place.write("trees/one/integrity_manifest.json", "");
    answer(
        &place,
        verify,
        (2, &["file.modified", "manifest.malformed"]),
    );
    place.write("none/file", "");
    answer(
        &place,
        words("verify --all none"),
        (2, &["manifest.not_found"]),
    );
}

#[test]
fn a_tree_within_another_is_signed_first_whatever_the_order() {
    let place = Place::new();
    place.write("tree/inner/a", "a");
    let sign = words("sign --input-dir tree --input-dir tree/inner");
    for _ in 0..2 {
        let report = answer(&place, sign.clone(), (0, &[]));
        assert_eq!(report["manifests"][0]["root"], "tree");
        let report = answer(&place, ["verify", "--all", "tree"], (0, &[]));
        assert_eq!(report["summary"]["valid"], 2);
    }
}

#[test]
fn several_manifests_and_several_trees_in_one_run() {
    let place = Place::new();
    place.write("one/a", "1");
    place.write("two/b", "2");
    let report = answer(
        &place,
        words("sign --input-dir one --input-dir two"),
        (0, &[]),
    );
    assert_eq!(report["summary"]["manifests"], 2);
    let verify = words(
        "verify --manifest one/integrity_manifest.json --manifest two/integrity_manifest.json",
    );
    let report = answer(&place, verify.clone(), (0, &[]));
    assert_eq!(report["summary"]["valid"], 2);
    std::fs::remove_file(place.at("two/b")).unwrap();
    answer(&place, verify, (1, &["file.missing"]));
    let both = words("sign --input-dir one --input-dir two --output m.json");
    answer(&place, both, (2, &["command.usage"]));
}

#[test]
fn what_is_excluded_is_signed_as_excluded() {
    let place = Place::new();
    place.write("tree/keep", "k");
    place.write("tree/logs/x.log", "x");
    let report = answer(
        &place,
        ["sign", "--input-dir", "tree", "--exclude", "**/*.log"],
        (0, &[]),
    );
    assert_eq!(report["manifests"][0]["excluded"], 1);
    place.write("tree/logs/x.log", "changed");
    place.write("tree/other.log", "new");
    let report = verdict(&place, (0, &[]));
    assert_eq!(report["manifests"][0]["exclude"][0], "**/*.log");
    assert_eq!(report["manifests"][0]["counters"]["excluded"], 2);
    place.write("tree/other.log2", "new");
    verdict(&place, (1, &["file.unlisted"]));
    let cannot_add =
        finish(&mut place.command(["verify", "--manifest", MANIFEST, "--exclude", "*"]));
    assert_eq!(cannot_add.code, 2);
    for bad in ["../x", "/x", "a//b", "./a", "a/", "[a]", "a**", ""] {
        answer(
            &place,
            ["sign", "--input-dir", "tree", "--exclude", bad],
            (2, &["command.usage"]),
        );
    }
}

#[test]
fn exempt_paths_are_named_and_exact() {
    let place = Place::new();
    place.write("tree/keep", "k");
    answer(
        &place,
        words("sign --input-dir tree --exempt reports"),
        (0, &[]),
    );
    place.write("tree/reports/today/r.json", "{}");
    let report = verdict(&place, (0, &[]));
    let exempt = report["manifests"][0]["exempt"].to_string();
    assert!(exempt.contains("tree/reports") && exempt.contains("integrity_report.json"));
    place.write("tree/reports2", "");
    verdict(&place, (1, &["file.unlisted"]));
    for bad in ["../x", "/x", "a//b", "./a", ""] {
        refused(&place, ["sign", "--exempt", bad, "--input-dir", "tree"]);
    }
}

#[test]
fn a_manifest_ends_when_it_says() {
    let place = Place::new();
    place.write("tree/keep", "k");
    let sign = "sign --input-dir tree --expires-at";
    answer(
        &place,
        words(&format!("{sign} 2999-01-01T00:00:00Z")),
        (0, &[]),
    );
    verdict(&place, (0, &[]));
    answer(
        &place,
        words(&format!("{sign} 2001-01-01T00:00:00Z")),
        (0, &["sign.already_expired"]),
    );
    verdict(&place, (1, &["time.expired"]));
    for bad in [
        "2001-01-01",
        "2001-02-30T00:00:00Z",
        "tomorrow",
        "2001-01-01T00:00:00+01:00",
    ] {
        refused(&place, words(&format!("{sign} {bad}")));
    }
}

#[test]
fn equal_trees_give_byte_equal_manifests_under_a_source_date_epoch() {
    let mut place = Place::new();
    place.set("SOURCE_DATE_EPOCH", "1700000000");
    let mut manifests = Vec::new();
    for parent in ["one", "two"] {
        for (name, content) in [("b", "bee"), ("a/x", "ex")] {
            place.write(&format!("{parent}/tree/{name}"), content);
        }
        let root = format!("{parent}/tree");
        let sign = [
            "sign",
            "--input-dir",
            &root,
            "--no-absolute-paths",
            "--sequence",
            "3",
        ];
        answer(&place, sign, (0, &[]));
        std::thread::sleep(Duration::from_millis(1100));
        answer(&place, sign, (0, &[]));
        manifests.push(place.read(&format!("{root}/integrity_manifest.json")));
        answer(
            &place,
            [
                "verify",
                "--manifest",
                &format!("{root}/integrity_manifest.json"),
            ],
            (0, &[]),
        );
    }
    assert_eq!(manifests[0], manifests[1]);
    let value: Value = serde_json::from_str(&manifests[0]).unwrap();
    assert_eq!(value["created_at"], "2023-11-14T22:13:20Z");
    assert_eq!(value["audit_head"], Value::Null);
    assert_eq!(value["file_inventory"]["b"]["absolute_path"], "");
    assert_eq!(value["file_inventory"]["b"]["modified_time"], 1_700_000_000);
    place.set("SOURCE_DATE_EPOCH", "soon");
    answer(
        &place,
        words("sign --input-dir one/tree"),
        (2, &["command.usage"]),
    );
}

#[test]
fn a_manifest_outside_its_tree_needs_the_tree_named() {
    let place = Place::new();
    place.write("tree/a", "a");
    answer(
        &place,
        words("sign --input-dir tree --output seal.json"),
        (0, &[]),
    );
    answer(
        &place,
        words("verify --manifest seal.json"),
        (2, &["manifest.root_unknown"]),
    );
    let named = words("verify --manifest seal.json --input-dir tree");
    answer(&place, named.clone(), (0, &[]));
    place.write("tree/a", "b");
    answer(&place, named, (1, &["file.modified"]));
    assert!(!place.at(MANIFEST).exists());
}

#[test]
fn a_manifest_below_its_root_finds_it() {
    let place = Place::new();
    place.write("tree/a", "a");
    place.write("tree/meta/seals/b", "b");
    let sign = words("sign --input-dir tree --output tree/meta/seals/m.json");
    answer(&place, sign, (0, &[]));
    let verify = words("verify --manifest tree/meta/seals/m.json");
    let report = answer(&place, verify.clone(), (0, &[]));
    assert_eq!(report["manifests"][0]["counters"]["checked"], 4);
    place.write("tree/a", "x");
    answer(&place, verify, (1, &["file.modified"]));
}

#[test]
fn the_manifest_can_go_to_stdout() {
    let place = Place::new();
    place.write("tree/a", "a");
    let ran = finish(&mut place.command(words("sign --input-dir tree --output -")));
    assert_eq!(ran.code, 0, "{ran:?}");
    place.write("seal.json", &ran.stdout);
    answer(
        &place,
        words("verify --manifest seal.json --input-dir tree"),
        (0, &[]),
    );
    let both = finish(&mut place.command(words("sign --input-dir tree --output - --json")));
    assert_eq!(both.code, 2);
}

#[test]
fn a_report_never_overwrites_a_signed_file() {
    let place = signed();
    let verify = "verify --manifest tree/integrity_manifest.json --output";
    for name in ["tree/a.json", "./tree/sub/../a.json", "tree/link"] {
        let before = place.read("tree/a.json");
        answer(
            &place,
            words(&format!("{verify} {name}")),
            (2, &["command.usage"]),
        );
        assert_eq!(place.read("tree/a.json"), before, "{name}");
    }
    verdict(&place, (0, &[]));
    answer(
        &place,
        words(&format!("{verify} tree/new.json")),
        (0, &["output.unlisted"]),
    );
    verdict(&place, (1, &["file.unlisted"]));
}

#[test]
fn a_report_is_written_when_there_is_no_answer() {
    let place = signed();
    place.write("report.json", "yesterday: pass");
    place.write(MANIFEST, "{");
    let ran =
        finish(&mut place.command(["verify", "--manifest", MANIFEST, "--output", "report.json"]));
    assert_eq!(ran.code, 2);
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(report["verdict"], "error");
    assert_eq!(codes(&report), ["manifest.malformed"]);
}

#[test]
fn signing_never_replaces_a_file_that_is_no_manifest() {
    let place = Place::new();
    place.write("tree/a.json", "{\"a\": 1}");
    let ran = place.run([
        "sign",
        "--input-dir",
        "tree",
        "--output",
        "tree/a.json",
        "--json",
    ]);
    assert_eq!(
        (ran.code, codes(&ran.json())),
        (2, vec!["command.usage".to_owned()])
    );
    assert_eq!(place.read("tree/a.json"), "{\"a\": 1}");
}
