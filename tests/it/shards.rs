//! Work shared out: whatever the number of shards, the order of the parts and the host, the answer is that of the
//! command over everything; and a part that is not what a worker wrote is refused.

use serde_json::Value;

use crate::harness::{Place, Ran, codes};

/// A part key, assembled at run time so that no scanner takes it for a real one.
fn part_key() -> String {
    format!("hex:{}", "fedcba9876543210".repeat(4))
}

/// A place whose workers have a part key, with a tree of every kind of entry and names of every kind.
fn place() -> Place {
    let mut place = Place::new();
    place.set("AGP_PART_KEY", &part_key());
    for number in 0..40 {
        place.write(&format!("tree/sub/f{number}"), format!("file {number}\n"));
    }
    place.write("tree/caf\u{e9} \\x", "odd\n");
    place.write("tree/empty", "");
    place.write("tree/deep/er/down", [0, 1, 255]);
    place.write("tree/run.sh", "#!/bin/sh\n");
    place.chmod("tree/run.sh", 0o755);
    std::os::unix::fs::symlink("sub/f1", place.at("tree/link")).unwrap();
    place
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Runs every shard of a command, the last one first; gives the names of the parts.
fn share(place: &Place, command: &str, count: u32) -> Vec<String> {
    let folder = format!("parts-{count}-{}", command.split(' ').next().unwrap());
    std::fs::create_dir_all(place.at(&folder)).unwrap();
    let each = (1..=count).rev().map(|index| {
        let part = format!("{folder}/{index}");
        let shard = format!("{index}/{count}");
        let ran =
            place.run([words(command), words(&format!("--shard {shard} -o {part}"))].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
        part
    });
    each.collect()
}

fn merge(place: &Place, parts: &[String], flags: &str) -> Ran {
    place.run([words("tool merge"), parts.to_vec(), words(flags)].concat())
}

/// A manifest without what each signing has of its own: the times, where the audit log stood, and the seal over
/// them.
fn lasting(manifest: &str) -> String {
    let of_its_own = ["\"created_at\"", "\"signature\"", "\"audit_head\""];
    let lines = manifest.lines();
    let lines = lines.filter(|line| {
        !of_its_own
            .iter()
            .any(|field| line.trim_start().starts_with(field))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A report without what each run has of its own.
fn answer(ran: &Ran) -> Value {
    let mut report = ran.json();
    let fields = report.as_object_mut().unwrap();
    for field in [
        "run_id",
        "started_at",
        "finished_at",
        "duration_seconds",
        "resource_usage",
        "audit_head",
    ] {
        fields.remove(field);
    }
    report
}

#[test]
fn a_manifest_is_the_same_from_any_number_of_shards() {
    let place = place();
    let sign = "sign --input-dir tree --subject game --exclude **/*.sh --sequence 5";
    let ran = place.run(words(&format!("{sign} -o whole.json")));
    assert_eq!(ran.code, 0, "{ran:?}");
    let whole = place.read("whole.json");
    for count in [1, 2, 7, 64] {
        let mut parts = share(&place, sign, count);
        let ran = merge(&place, &parts, "-o merged.json");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(
            lasting(&place.read("merged.json")),
            lasting(&whole),
            "{count} shards"
        );
        parts.reverse();
        let ran = merge(&place, &parts, "-o reversed.json");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(lasting(&place.read("reversed.json")), lasting(&whole));
    }
    let ran = place.run(words("verify --manifest merged.json --input-dir tree"));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_reproducible_manifest_is_the_same_byte_for_byte_on_hosts_with_other_times() {
    let mut place = place();
    place.set("SOURCE_DATE_EPOCH", "1000000000");
    let sign = "sign --input-dir tree --no-absolute-paths";
    assert_eq!(place.run(words(&format!("{sign} -o whole.json"))).code, 0);
    // Each host has its own copy, made at its own time.
    let mut parts = Vec::new();
    for index in 1..=3 {
        let touched = place.at(format!("tree/sub/f{index}"));
        let file = std::fs::File::options().append(true).open(touched).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        let part = format!("part-{index}");
        let ran = place.run(words(&format!("{sign} --shard {index}/3 -o {part}")));
        assert_eq!(ran.code, 0, "{ran:?}");
        parts.push(part);
    }
    let ran = merge(&place, &parts, "-o merged.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(place.read("merged.json"), place.read("whole.json"));
}

#[test]
fn the_manifest_in_its_own_tree_may_be_replaced_by_a_merge_again_and_again() {
    let mut place = Place::new();
    place.set("AGP_PART_KEY", &part_key());
    place.signed_tree();
    place.write("tree/integrity_report.json", "{}");
    let parts = share(&place, "sign --input-dir tree", 2);
    for sequence in [2, 3] {
        let ran = merge(&place, &parts, "--json");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json()["report"], "sign");
        assert_eq!(ran.json()["manifests"][0]["sequence"], sequence);
        assert_eq!(place.verify().0, 0);
    }
    // Elsewhere the old manifest is a file like any other.
    let parts = share(&place, "sign --input-dir tree", 2);
    let ran = merge(&place, &parts, "-o elsewhere.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        place
            .read("elsewhere.json")
            .contains("integrity_manifest.json")
    );
}

#[test]
fn verification_gives_the_same_report_from_any_number_of_shards() {
    let place = place();
    assert_eq!(place.run(words("sign --input-dir tree -o m.json")).code, 0);
    let verify = "verify --manifest m.json --input-dir tree";
    let check = |expected: i32| {
        let whole = place.run(words(&format!("{verify} --json")));
        assert_eq!(whole.code, expected, "{whole:?}");
        for count in [1, 2, 7] {
            let parts = share(&place, verify, count);
            let merged = merge(&place, &parts, "--json");
            assert_eq!(merged.code, expected, "{merged:?}");
            assert_eq!(answer(&merged), answer(&whole), "{count} shards");
        }
    };
    check(0);
    place.write("tree/sub/f1", "file 7\n");
    place.write("tree/sub/f2", "longer than it was\n");
    place.write("tree/new", "unlisted\n");
    place.chmod("tree/sub/f3", 0o600);
    std::fs::remove_file(place.at("tree/sub/f4")).unwrap();
    std::fs::remove_file(place.at("tree/link")).unwrap();
    std::os::unix::fs::symlink("sub/f2", place.at("tree/link")).unwrap();
    check(1);
}

/// What guard has to say about everything at once: the same value in several files and in a name, markers with
/// and without use, a baseline with and without use, links, archives, files that do not parse.
fn suspicious(place: &Place) {
    let secret = ["x9fKQz72", "LpWmv41T"].concat();
    let line = format!("pass{} = \"{secret}\"\n", "word");
    for number in 0..3 {
        place.write(&format!("assets/a{number}.py"), &line);
    }
    place.write(&format!("assets/{secret}.json"), "{\"a\": ");
    let marker = ["agp:al", "low[generic.password] reason=known"].concat();
    place.write(
        "assets/marked.py",
        format!("{} # {marker}\n", line.trim_end()),
    );
    place.write("assets/idle.py", format!("x = 1 # {marker}\n"));
    place.write("assets/id_rsa", "nothing\n");
    place.write(
        "assets/pointer.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    );
    place.write("assets/left_out.tmp", &line);
    std::os::unix::fs::symlink("/etc/hostname", place.at("assets/out")).unwrap();
    for number in 0..20 {
        place.write(
            &format!("assets/clean/{number}.txt"),
            format!("ahoy {number}\n"),
        );
    }
    place.write(
        "policy.json",
        r#"{"policy_guard": {"exclude": ["**/*.tmp"]}}"#,
    );
}

#[test]
fn guard_gives_the_same_report_from_any_number_of_shards() {
    let place = place();
    suspicious(&place);
    let guard = "guard --config policy.json --target assets tree/run.sh --fail-on low";
    // What is taken into the baseline and then no longer there is an entry without use.
    let gone = format!("tok{}: \"{}\"\n", "en", ["q8ZrT5mV", "2kXw9LpB"].concat());
    place.write("assets/gone.yaml", gone);
    let taken = place.run(words("guard --config policy.json --target assets/gone.yaml assets/a1.py --baseline assets/known.jsonl --update-baseline --reason known"));
    assert!(
        taken.code == 0 && place.read("assets/known.jsonl").lines().count() > 2,
        "{taken:?}"
    );
    std::fs::remove_file(place.at("assets/gone.yaml")).unwrap();
    let guard = format!("{guard} --baseline assets/known.jsonl");
    let whole = place.run(words(&format!("{guard} --json")));
    assert_eq!(whole.code, 19, "{whole:?}");
    let report = answer(&whole);
    for what in ["by_marker", "by_baseline", "unused"] {
        assert!(
            report["suppressed"][what].as_u64() > Some(0),
            "{what}: {report}"
        );
    }
    assert!(report["coverage"]["excluded"] == 1 && report["coverage"]["lfs_pointers"] == 1);
    for count in [1, 2, 7, 64] {
        let parts = share(&place, &guard, count);
        let merged = merge(&place, &parts, "--config policy.json --json");
        assert_eq!(merged.code, 19, "{merged:?}");
        assert_eq!(answer(&merged), report, "{count} shards");
    }
    // No value leaves its file, in a part as little as elsewhere.
    let secret = ["x9fKQz72", "LpWmv41T"].concat();
    for part in std::fs::read_dir(place.at("parts-7-guard")).unwrap() {
        let text = std::fs::read_to_string(part.unwrap().path()).unwrap();
        assert!(!text.contains(&format!("\"{secret}\"")), "{text}");
    }
}

#[test]
fn a_merged_report_comes_in_every_format_as_the_whole_one_does() {
    let place = place();
    suspicious(&place);
    let formats = |folder: &str| {
        let each = ["sarif", "junit", "csv", "markdown", "github", "gitlab"].iter();
        each.map(|format| format!(" --report {format}={folder}.{format}"))
            .collect::<String>()
    };
    let whole = place.run(words(&format!("guard --target assets{}", formats("whole"))));
    let parts = share(&place, "guard --target assets", 3);
    let merged = merge(&place, &parts, &formats("merged"));
    assert_eq!((merged.code, &merged.stdout), (whole.code, &whole.stdout));
    for format in ["csv", "markdown", "github", "gitlab"] {
        let read = |which: &str| place.read(&format!("{which}.{format}"));
        // Without a baseline each run has a salt, and so fingerprints, of its own; and each takes its time.
        let plain = |text: String| {
            let hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
            let is_own = |word: &&str| word.len() >= 32 && word.chars().all(hex);
            let lines = text.lines().filter(|line| !line.contains("duration"));
            let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
            let words = words.filter(|word| !is_own(word)).map(str::to_owned);
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(plain(read("merged")), plain(read("whole")), "{format}");
    }
    let sarif: Value = serde_json::from_str(&place.read("merged.sarif")).unwrap();
    assert_eq!(sarif["runs"].as_array().unwrap().len(), 1);
    assert!(sarif["runs"][0]["results"].as_array().unwrap().len() > 5);
}

#[test]
fn a_worker_that_is_killed_and_tried_again_changes_nothing() {
    use std::os::unix::process::ExitStatusExt;
    let place = place();
    // Takes a second to read, so that the worker that has it is killed at its work.
    let large = std::fs::File::create(place.at("tree/large")).unwrap();
    large.set_len(2 << 30).unwrap();
    let path = agp::base::relpath::RelPath::parse(b"large").unwrap();
    let owns = |index: &u64| agp::base::shard::Shard::new(*index, 3).unwrap().owns(&path);
    let owner = (1..=3).find(owns).unwrap();
    let sign = "sign --input-dir tree";
    let shard = words(&format!("{sign} --shard {owner}/3 -o killed"));
    let mut worker = place.command(&shard).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    worker.kill().unwrap();
    assert_eq!(worker.wait().unwrap().signal(), Some(9));
    assert!(!place.at("killed").exists());
    let parts = share(&place, sign, 3);
    let again = place.run(&shard);
    assert_eq!(again.code, 0, "{again:?}");
    let first = &parts[parts.len() - usize::try_from(owner).unwrap()];
    assert_eq!(place.read("killed"), place.read(first));
    assert_eq!(merge(&place, &parts, "-o m.json").code, 0);
}

/// The refusals of a merge: exit code, codes, and a piece of the text.
fn refused(ran: &Ran, (code, id, text): (i32, &str, &str)) {
    assert_eq!(ran.code, code, "{ran:?}");
    let report = ran.json();
    assert_eq!(codes(&report), [id], "{report}");
    let finding = &report["findings"][0];
    let said = format!(
        "{} {} {}",
        finding["path"], finding["message"], finding["hint"]
    );
    assert!(said.contains(text), "{said}");
}

#[test]
fn parts_that_are_not_what_workers_wrote_are_refused() {
    let mut place = place();
    let parts = share(&place, "sign --input-dir tree", 3);
    let text = place.read(&parts[0]);
    let other = place.read(&parts[1]);
    let merged = |place: &Place| merge(place, &parts, "-o m.json --json");
    let try_with = |place: &Place, changed: &str, expected| {
        place.write(&parts[0], changed);
        refused(&merged(place), expected);
        place.write(&parts[0], &text);
    };
    // Somebody who can count but has no key.
    let sealed_anew = |text: &str| {
        let (_, seal) = text.trim_end().rsplit_once('\n').unwrap();
        let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
        let lines = lines.replacen("\"size_bytes\":", "\"size_bytes\":1", 1) + "\n";
        let mut seal: Value = serde_json::from_str(seal).unwrap();
        seal["sha256"] = agp::base::digest::Digest::of(lines.as_bytes())
            .to_string()
            .into();
        format!("{lines}{seal}\n")
    };
    try_with(
        &place,
        &sealed_anew(&text),
        (1, "part.forged", "is not what key"),
    );
    try_with(
        &place,
        &text.replacen("\"size_bytes\":", "\"size_bytes\":1", 1),
        (2, "part.refused", "damaged"),
    );
    try_with(
        &place,
        &text[..text.len() / 2],
        (2, "part.refused", "cut off"),
    );
    try_with(&place, &other, (2, "part.refused", "it is shard 2/3"));
    try_with(
        &place,
        "{}\n",
        (2, "part.refused", "not the head of a part"),
    );
    refused(
        &merge(&place, &parts[1..], "-o m.json --json"),
        (2, "part.refused", "one is missing: 3"),
    );
    let twice = [&parts[..], &parts[..1]].concat();
    refused(
        &merge(&place, &twice, "-o m.json --json"),
        (2, "part.refused", "it is shard 3/3"),
    );
    // Another policy, other flags, and another key.
    place.write("policy.json", r#"{"integrity": {"subject": "x"}}"#);
    let ran = merge(&place, &parts, "-o m.json --json --config policy.json");
    refused(&ran, (2, "part.refused", "another policy"));
    let shard = format!("sign --input-dir tree --shard 1/3 -o {}", parts[2]);
    assert_eq!(place.run(words(&format!("{shard} --exclude x"))).code, 0);
    refused(&merged(&place), (2, "part.refused", "other flags"));
    place.set("AGP_PART_KEY", &part_key().replace('f', "e"));
    assert_eq!(place.run(words(&shard)).code, 0);
    place.set("AGP_PART_KEY", &part_key());
    refused(&merged(&place), (2, "part.refused", "sealed with key"));
    place.set("AGP_PART_KEY", "");
    assert_eq!(place.run(words(&shard)).code, 0);
    place.set("AGP_PART_KEY", &part_key());
    refused(&merged(&place), (2, "part.refused", "not sealed"));
    assert!(!place.at("m.json").exists());
    assert_eq!(place.run(words(&shard)).code, 0);
    assert_eq!(merged(&place).code, 0);
}

#[test]
fn a_forged_part_of_each_verb_is_an_answer_and_its_report_has_the_verbs_shape() {
    let place = place();
    assert_eq!(place.run(words("sign --input-dir tree -o m.json")).code, 0);
    for verb in [
        "sign --input-dir tree",
        "verify --manifest m.json --input-dir tree",
        "guard --target tree",
    ] {
        let parts = share(&place, verb, 2);
        let text = place.read(&parts[0]);
        let (lines, seal) = text.trim_end().rsplit_once('\n').unwrap();
        let mut seal: Value = serde_json::from_str(seal).unwrap();
        seal["mac"] = "0".repeat(64).into();
        place.write(&parts[0], format!("{lines}\n{seal}\n"));
        let ran = merge(&place, &parts, "--json");
        refused(&ran, (1, "part.forged", "is not what key"));
        let name = verb.split(' ').next().unwrap();
        let schema = place
            .run(["tool", "schema", &format!("report-{name}")])
            .json();
        let schema = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = schema
            .iter_errors(&ran.json())
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_tree_that_changes_between_shards_or_before_the_merge_is_noticed() {
    let place = place();
    assert_eq!(place.run(words("sign --input-dir tree -o m.json")).code, 0);
    for verb in [
        "sign --input-dir tree",
        "verify --manifest m.json --input-dir tree",
        "guard --target tree",
    ] {
        let parts = share(&place, verb, 2);
        place.write("tree/late", "came late\n");
        let ran = place.run(words(&format!("{verb} --shard 1/2 -o {}", parts[1])));
        assert_eq!(ran.code, 0, "{ran:?}");
        let ran = merge(&place, &parts, "--json");
        refused(
            &ran,
            (2, "part.refused", "the tree changed between the shards"),
        );
        std::fs::remove_file(place.at("tree/late")).unwrap();
        let ran = place.run(words(&format!("{verb} --shard 1/2 -o {}", parts[1])));
        assert_eq!(ran.code, 0, "{ran:?}");
        place.write("tree/late", "came late\n");
        let ran = merge(&place, &parts, "--json -o out.json");
        let ran = match verb.starts_with("sign") {
            true => ran,
            false => merge(&place, &parts, "--json"),
        };
        assert_eq!(ran.code, 2, "{ran:?}");
        std::fs::remove_file(place.at("tree/late")).unwrap();
        let flags = if verb.starts_with("sign") {
            "-o out.json"
        } else {
            ""
        };
        assert_eq!(merge(&place, &parts, flags).code, 0);
    }
}

#[test]
fn without_a_key_everything_is_read_again_and_the_command_has_to_be_repeated() {
    let mut place = place();
    place.set("AGP_PART_KEY", "");
    assert_eq!(
        place
            .run(words("sign --input-dir tree -o whole.json --sequence 1"))
            .code,
        0
    );
    let sign = "sign --input-dir tree --sequence 1";
    let parts = share(&place, sign, 3);
    let ran = merge(&place, &parts, "-o m.json");
    assert!(
        ran.code == 2 && ran.stderr.contains("repeat the command behind `--`"),
        "{ran:?}"
    );
    let ran = merge(&place, &parts, &format!("-o m.json -- {sign}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        lasting(&place.read("m.json")),
        lasting(&place.read("whole.json"))
    );
    let ran = merge(&place, &parts, "-o n.json --json -- sign --input-dir tree");
    refused(&ran, (2, "part.refused", "other flags"));
    // A worker that lies about a checksum, with everything else right.
    let text = place.read(&parts[0]);
    let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
    let at = lines.find("\"checksum_sha256\":\"").unwrap() + "\"checksum_sha256\":\"".len();
    let lines = format!(
        "{}{}{}\n",
        &lines[..at],
        "0".repeat(63) + "1",
        &lines[at + 64..]
    );
    let seal = serde_json::json!({
        "lines": lines.lines().count(), "key_id": null, "mac": null,
        "sha256": agp::base::digest::Digest::of(lines.as_bytes()).to_string(),
    });
    place.write(&parts[0], format!("{lines}{seal}\n"));
    let ran = merge(&place, &parts, &format!("-o n.json --json -- {sign}"));
    refused(&ran, (2, "file.unstable", "not what its shard read"));
    assert!(!place.at("n.json").exists());
    for words in [
        "rollback create",
        "sign --input-dir tree --shard 1/2",
        "sign --input-dir tree --json",
    ] {
        let ran = merge(&place, &parts, &format!("-- {words}"));
        assert!(
            ran.code == 2 && ran.stderr.contains("behind `--`"),
            "{ran:?}"
        );
    }
}

#[test]
fn parts_that_are_trusted_leave_that_in_the_record_that_the_manifest_names() {
    let mut place = place();
    place.set("AGP_PART_KEY", "");
    let parts = share(&place, "sign --input-dir tree", 2);
    let ran = merge(&place, &parts, "--trust-parts -o m.json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let manifest: Value = serde_json::from_str(&place.read("m.json")).unwrap();
    let log = place.read(".agp/audit/000001.jsonl");
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named = records.filter(|record| record["mac"] == manifest["audit_head"]["mac"]);
    let named: Vec<Value> = named.collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0]["details"]["parts"], "trusted");
    assert_eq!(
        place
            .run(words("verify --manifest m.json --input-dir tree"))
            .code,
        0
    );
    assert_eq!(place.run(words("audit verify --manifest m.json")).code, 0);
    // Where nothing can say so, nothing is trusted.
    place.set("SOURCE_DATE_EPOCH", "1000000000");
    let parts = share(&place, "sign --input-dir tree", 2);
    let ran = merge(&place, &parts, "--trust-parts -o n.json");
    assert!(
        ran.code == 2 && ran.stderr.contains("audit_head"),
        "{ran:?}"
    );
    place.set("AGP_PART_KEY", &part_key());
    let ran = merge(&place, &parts, "--trust-parts -o n.json");
    assert!(
        ran.code == 2 && ran.stderr.contains("a part key is at hand"),
        "{ran:?}"
    );
}

#[test]
fn a_merge_is_recorded_as_the_command_that_it_answers_for() {
    let place = place();
    let parts = share(&place, "sign --input-dir tree", 2);
    assert!(!place.at(".agp").exists(), "a shard changes nothing");
    assert_eq!(merge(&place, &parts, "-o m.json").code, 0);
    let log = place.read(".agp/audit/000001.jsonl");
    let records: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2);
    assert!(
        records
            .iter()
            .all(|record| record["event"] == "integrity.sign")
    );
    let read = records[1]["resources"].as_array().unwrap();
    assert!(
        parts
            .iter()
            .all(|part| read.iter().any(|one| one["path"] == part.as_str()))
    );
}

#[test]
fn a_shard_says_what_it_cannot_do() {
    let mut place = place();
    place.write(
        "policy.json",
        r#"{"policy_guard": {"audit_logging": true}}"#,
    );
    for (line, text) in [
        ("sign --input-dir tree --shard 0/3", "not from 1 to 3"),
        ("sign --input-dir tree --shard 1", "expected I/N"),
        ("sign --input-dir tree --shard auto", "finds no variable"),
        (
            "sign --input-dir tree tree --shard 1/2",
            "unexpected argument",
        ),
        (
            "sign --input-dir tree --input-dir . --shard 1/2",
            "about one tree",
        ),
        (
            "sign --input-dir tree --shard 1/2 -o tree/part",
            "would lie in the tree",
        ),
        (
            "sign --input-dir tree --shard 1/2 --json",
            "prints what it makes",
        ),
        (
            "sign --input-dir tree --shard 1/2 --cache",
            "cannot be used with",
        ),
        (
            "sign --input-dir none --shard 1/2",
            "cannot open the directory",
        ),
        (
            "verify --manifest none --input-dir tree --shard 1/2",
            "none",
        ),
        ("verify --manifest none --shard 1/2", "--input-dir"),
        (
            "guard --target tree --shard 1/2 --staged",
            "cannot be used with",
        ),
        (
            "guard --target tree --shard 1/2 --operation x",
            "cannot be used with",
        ),
        (
            "guard --target tree --shard 1/2 -o tree/part",
            "would lie in the tree",
        ),
        ("tool merge none", "cannot read the part"),
    ] {
        let ran = place.run(words(line));
        assert!(
            ran.code == 2 && ran.stderr.contains(text),
            "{line}: {ran:?}"
        );
    }
    let secret = crate::harness::secret();
    place.set("AGP_PART_KEY", &secret);
    let ran = place.run(words("sign --input-dir tree --shard 1/2 -o part"));
    assert!(
        ran.code == 2 && ran.stderr.contains("is a signing key"),
        "{ran:?}"
    );
    place.set("AGP_PART_KEY", &part_key());
    place.set("PARALLEL_SEQ", "2");
    place.set("AGP_SHARD_COUNT", "3");
    let ran = place.run(words("sign --input-dir tree --shard auto"));
    assert!(ran.code == 0 && ran.stderr.contains("shard 2/3"), "{ran:?}");
    assert!(ran.stdout.lines().next().unwrap().contains("\"index\":2"));
}

#[test]
fn what_a_shard_cannot_read_is_told_by_the_merge() {
    let place = place();
    place.write("tree/locked", "locked\n");
    place.chmod("tree/locked", 0o000);
    let run = |line: &str| Ran::of(&place.command_bound(words(line)).output().unwrap());
    let whole = run("sign --input-dir tree -o m.json --json");
    assert_eq!(
        (whole.code, codes(&whole.json())),
        (2, vec!["file.unreadable".to_owned()])
    );
    let parts: Vec<String> = (1..=3).map(|index| format!("p{index}")).collect();
    for (index, part) in (1..).zip(&parts) {
        let ran = run(&format!(
            "sign --input-dir tree --shard {index}/3 -o {part}"
        ));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let merged = run(&format!("tool merge {} -o m.json --json", parts.join(" ")));
    assert_eq!(merged.code, 2, "{merged:?}");
    assert_eq!(merged.json()["findings"], whole.json()["findings"]);
    // Guard looks again itself; a folder that cannot be listed is nobody's.
    place.write("tree/closed/inner", "x");
    place.chmod("tree/closed", 0o000);
    let whole = run("guard --target tree --json");
    assert_eq!(whole.code, 19, "{whole:?}");
    for (index, part) in (1..).zip(&parts) {
        let ran = run(&format!("guard --target tree --shard {index}/3 -o {part}"));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let merged = run(&format!("tool merge {} --json", parts.join(" ")));
    assert_eq!(merged.code, 19, "{merged:?}");
    assert_eq!(merged.json()["findings"], whole.json()["findings"]);
    assert_eq!(merged.json()["coverage"], whole.json()["coverage"]);
    place.chmod("tree/closed", 0o755);
}

#[test]
fn the_page_of_the_format_names_every_field() {
    fn names(value: &Value, found: &mut Vec<String>) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            found.push(name.clone());
            if name != "asked" {
                names(inner, found);
            }
        }
    }
    let place = place();
    place.write("tree/id_rsa", "x");
    rustix::fs::mkfifoat(rustix::fs::CWD, place.at("tree/fifo"), 0o600.into()).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/formats/part.md");
    let page = std::fs::read_to_string(page).unwrap();
    let schema = place.run(["tool", "schema", "part"]).json();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for command in ["sign --input-dir tree", "guard --target tree"] {
        for part in share(&place, command, 2) {
            for line in place.read(&part).lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(schema.is_valid(&line), "{line}");
                let mut found = Vec::new();
                names(&line, &mut found);
                found.retain(|name| !page.contains(&format!("`{name}`")));
                assert!(
                    found.is_empty(),
                    "docs/formats/part.md does not name {found:?}"
                );
            }
        }
    }
}

#[test]
fn no_program_that_is_started_gets_to_see_the_part_key() {
    let place = place();
    let asked = ["sign", "--input-dir", "tree", "--key-command"];
    let ran = place.run(
        asked
            .iter()
            .copied()
            .chain(["/usr/bin/env printenv AGP_PART_KEY"]),
    );
    assert!(
        ran.code == 2 && ran.stderr.contains("signing secret"),
        "{ran:?}"
    );
    let mut place = place;
    place.set("ANOTHER", &part_key());
    let ran = place.run(
        asked
            .iter()
            .copied()
            .chain(["/usr/bin/env printenv ANOTHER"]),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
}
