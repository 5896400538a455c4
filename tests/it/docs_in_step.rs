//! The documents say what the program does: references, schemas, links and transcripts.
//!
//! `AGP_BLESS=1 cargo test --test it docs_in_step` writes the generated pages anew.
//!
//! How a transcript is written stands in `docs_in_step/transcript.rs`.

mod coverage;
mod transcript;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use agp::cli::reference::Schema;
use agp::cli::tool::Page;
use agp::guard;
use clap::ValueEnum as _;
use serde_json::{Value, json};

use crate::harness::{Place, secret, skip};
use transcript::differences;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_default()
}

/// Files below a folder of the repository, relative to it, sorted.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in root().join(&folder).read_dir().unwrap().map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// What `agp tool` prints.
fn printed(arguments: &[&str]) -> String {
    let ran = Place::without_key().run(["tool"].iter().chain(arguments));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout
}

fn name_of(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().unwrap().get_name().to_owned()
}

/// A schema as the program prints it, ready to judge.
fn validator(schema: Schema) -> jsonschema::Validator {
    let schema = serde_json::from_str(&printed(&["schema", &name_of(schema)])).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

#[track_caller]
fn assert_valid(schema: Schema, document: &Value) {
    let validator = validator(schema);
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

#[test]
fn the_generated_pages_are_what_the_program_prints() {
    let mut pages = BTreeMap::new();
    for page in Page::value_variants() {
        let name = name_of(*page);
        pages.insert(format!("docs/{name}.md"), printed(&["reference", &name]));
    }
    for schema in Schema::value_variants() {
        let name = format!("docs/formats/{}", schema.file_name());
        pages.insert(name, printed(&["schema", &name_of(*schema)]));
    }
    let pack = guard::shipped().unwrap();
    pages.insert("docs/rules/README.md".into(), guard::index(&pack));
    for family in pack.families.keys() {
        let page = guard::explain(&pack, family);
        let page = page.unwrap_or_else(|| panic!("nothing is said of `{family}`"));
        pages.insert(format!("docs/rules/{family}.md"), page);
    }
    let blesses = std::env::var_os("AGP_BLESS").is_some();
    std::fs::create_dir_all(root().join("docs/rules")).unwrap();
    for path in files_below("docs/rules") {
        let is_printed = pages.contains_key(path.to_str().unwrap());
        match blesses && !is_printed {
            true => std::fs::remove_file(root().join(&path)).unwrap(),
            false => assert!(is_printed, "nothing prints {}", path.display()),
        }
    }
    let mut stale = Vec::new();
    for (name, current) in &pages {
        if blesses {
            std::fs::write(root().join(name), current).unwrap();
        }
        if read(name) != *current {
            stale.push(name.as_str());
        }
    }
    assert!(stale.is_empty(), "stale, run with AGP_BLESS=1: {stale:?}");
    for path in files_below("docs/formats") {
        let name = path.to_str().unwrap();
        let printed = pages.contains_key(name) || !name.ends_with(".schema.json");
        assert!(printed, "nothing prints {name}");
    }
}

#[test]
fn a_rule_is_explained_as_its_page_explains_it() {
    let place = Place::without_key();
    let page = place.run(["guard", "rules", "explain", "generic"]);
    assert_eq!((page.code, page.stdout), (0, read("docs/rules/generic.md")));
    let one = place.run(["guard", "rules", "explain", "generic.password"]);
    assert_eq!(one.code, 0, "{one:?}");
    let page = read("docs/rules/generic.md");
    for part in one.stdout.split("\n## ").take(2) {
        assert!(page.contains(part), "{part}");
    }
    for word in [
        "Why it matters",
        "How to fix it",
        "What it looks for",
        "What it finds",
        "How to suppress",
        "agp:allow[",
        "severity **high**",
    ] {
        assert!(one.stdout.contains(word), "{word}: {}", one.stdout);
    }
    let none = place.run(["guard", "rules", "explain", "generic.passwort"]);
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("did you mean `generic.password"),
        "{none:?}"
    );
}

#[test]
fn rules_are_listed_for_people_and_programs() {
    let place = Place::without_key();
    let list = place.run(["guard", "rules", "list"]);
    let json = place.run(["guard", "rules", "list", "--json"]).json();
    let listed = json.as_array().unwrap();
    assert_eq!(list.stdout.lines().count(), listed.len());
    assert!(listed.len() >= 250, "{}", listed.len());
    for (line, rule) in list.stdout.lines().zip(listed) {
        for field in ["id", "severity", "confidence", "category", "title"] {
            assert!(line.contains(rule[field].as_str().unwrap()), "{line}");
        }
    }
}

/// Runs that end in each of the three words: schema, words of the command, exit code.
const RUNS: [(Schema, &[&str], i32); 25] = [
    (Schema::ReportSign, &["sign", "--input-dir", "tree"], 0),
    (Schema::ReportSign, &["sign", "--input-dir", "nowhere"], 2),
    (
        Schema::ReportSign,
        &["sign", "--input-dir", "tree", "--nonsense"],
        2,
    ),
    (
        Schema::ReportVerify,
        &["verify", "--manifest", "tree/integrity_manifest.json"],
        0,
    ),
    (
        Schema::ReportVerify,
        &["verify", "--manifest", "bad/integrity_manifest.json"],
        1,
    ),
    (
        Schema::ReportVerify,
        &["verify", "--manifest", "forged/integrity_manifest.json"],
        1,
    ),
    (
        Schema::ReportVerify,
        &["verify", "--manifest", "nowhere/integrity_manifest.json"],
        2,
    ),
    (Schema::ReportVerify, &["verify", "--all", "."], 2),
    (Schema::ReportGuard, &["guard", "--target", "clean"], 0),
    (Schema::ReportGuard, &["guard", "--target", "leaky"], 19),
    (
        Schema::ReportGuard,
        &[
            "guard",
            "--operation",
            "x",
            "--baseline",
            "b.jsonl",
            "--update-baseline",
        ],
        0,
    ),
    (Schema::ReportGuard, &["guard", "--target", "nowhere"], 2),
    (
        Schema::ReportBudget,
        &["budget", "--target", "tree", "--explain", "--backtest"],
        0,
    ),
    (
        Schema::ReportBudget,
        &["budget", "--target", "tree", "--record", "3.5"],
        0,
    ),
    (Schema::ReportBudget, &["budget", "--target", "nowhere"], 2),
    (
        Schema::ReportRun,
        &["run", "--target-dirs", "clean", "--", "/bin/true"],
        0,
    ),
    (
        Schema::ReportRun,
        &["run", "--target-dirs", "clean", "--", "/bin/false"],
        1,
    ),
    (Schema::ReportRun, &["run", "--target-dirs", "clean"], 2),
    (Schema::ReportProfile, &["profile", "--", "/bin/true"], 0),
    (Schema::ReportProfile, &["profile"], 0),
    (Schema::ReportProfile, &["profile", "--", "/bin/false"], 1),
    (Schema::ReportProfile, &["profile", "--", "/no/such"], 2),
    (Schema::ReportAudit, &["audit", "verify"], 0),
    (
        Schema::ReportAudit,
        &["audit", "verify", "--state-dir", "cut"],
        1,
    ),
    (
        Schema::ReportAudit,
        &["audit", "verify", "--key-file", "nowhere"],
        2,
    ),
];

/// A good tree, one changed after signing, one whose manifest was changed, one whose manifest is
/// none; a good audit log and one whose first record is gone.
fn place_of_all_verdicts() -> Place {
    let place = Place::new();
    place.signed_tree();
    for tree in ["bad", "forged", "torn"] {
        place.write(&format!("{tree}/a.txt"), "a\n");
        assert_eq!(place.run(["sign", "--input-dir", tree]).code, 0);
    }
    place.write("bad/a.txt", "b\n");
    place.write("clean/a.txt", "a\n");
    place.write(
        "leaky/a.conf",
        format!(
            "{}word = \"xK4q{}\"\n",
            "pass",
            ["mR7tBv2N", "wZ8pHd3T"].concat()
        ),
    );
    place.write("torn/integrity_manifest.json", "{");
    let manifest = place.read("forged/integrity_manifest.json");
    let forged = manifest.replacen("\"subject\": \"forged\"", "\"subject\": \"other\"", 1);
    assert_ne!(manifest, forged);
    place.write("forged/integrity_manifest.json", forged);
    let copied = Command::new("cp")
        .args(["-r", ".agp", "cut"])
        .current_dir(place.path())
        .status();
    assert!(copied.unwrap().success());
    let log = std::fs::read_dir(place.at("cut/audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let log = log.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    let first = log.min().unwrap();
    let text = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, text.split_once('\n').unwrap().1).unwrap();
    place
}

#[test]
fn every_report_validates_against_its_schema_whatever_the_verdict() {
    let place = place_of_all_verdicts();
    for (schema, words, code) in RUNS {
        let ran = place.run(["--json"].iter().chain(words));
        assert_eq!(ran.code, code, "{words:?}: {ran:?}");
        let report = ran.json();
        let word = match code {
            0 => "pass",
            2 => "error",
            _ => "fail",
        };
        assert_eq!(report["verdict"], word, "{words:?}");
        assert_valid(schema, &report);
    }
}

#[test]
fn a_schema_refuses_what_is_no_report() {
    let place = Place::new();
    place.signed_tree();
    let report = place.verify().1;
    let validator = validator(Schema::ReportVerify);
    assert!(validator.is_valid(&report));
    for field in [
        "report_version",
        "run_id",
        "verdict",
        "exit_code",
        "findings",
        "checks",
        "manifests",
    ] {
        let mut without = report.clone();
        without.as_object_mut().unwrap().remove(field).unwrap();
        assert!(!validator.is_valid(&without), "without {field}");
    }
    for (pointer, value) in [
        ("/exit_code", json!("0")),
        ("/verdict", json!("maybe")),
        ("/manifests", json!({})),
        ("/started_at", json!(7)),
    ] {
        let mut other = report.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&other), "{pointer}");
    }
}

#[test]
fn real_manifests_validate_and_damaged_ones_do_not() {
    let place = Place::new();
    place.signed_tree();
    let mut manifest: Value =
        serde_json::from_str(&place.read("tree/integrity_manifest.json")).unwrap();
    assert_valid(Schema::Manifest, &manifest);
    // The cases that the format has besides: a reproducible one, an escaped name, one elsewhere.
    let mut place = Place::new();
    place.set("SOURCE_DATE_EPOCH", "1700000000");
    place.write("tree/back\\slash", "x");
    let words = [
        "sign",
        "--input-dir",
        "tree",
        "--no-absolute-paths",
        "--output",
        "elsewhere.json",
    ];
    let ran = place.run(words);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_valid(
        Schema::Manifest,
        &serde_json::from_str(&place.read("elsewhere.json")).unwrap(),
    );
    manifest["signature"]["algorithm"] = json!("none");
    assert!(!validator(Schema::Manifest).is_valid(&manifest));
}

/// The guide's own snippets, as they stand there.
const GUIDE: [&str; 3] = [
    include_str!("../fixtures/guide/benchmarks.json"),
    include_str!("../fixtures/guide/guard.json"),
    include_str!("../fixtures/guide/rollback.json"),
];

#[test]
fn the_shipped_policy_and_the_guides_snippets_validate_and_load() {
    let place = Place::without_key();
    let shipped = read("config/assets_quality_policy.json");
    for text in GUIDE.into_iter().chain([shipped.as_str()]) {
        assert_valid(Schema::Policy, &serde_json::from_str(text).unwrap());
        place.write("policy.json", text);
        let ran = place.run(["tool", "policy", "check", "--config", "policy.json"]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "valid: policy.json\n"),
            "{ran:?}"
        );
    }
    assert_eq!(
        shipped,
        printed(&["policy", "init"]),
        "the shipped policy is what `init` prints"
    );
}

/// Every key of an object, at any depth; those of `below` are names and not fields.
fn fields(value: &Value, below: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (key, inner) in value.as_object().into_iter().flatten() {
        found.push(key.clone());
        match inner {
            Value::Object(names) if below.contains(&key.as_str()) => {
                found.extend(names.values().flat_map(|inner| fields(inner, below)));
            }
            _ => found.extend(fields(inner, below)),
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        found.extend(fields(inner, below));
    }
    found
}

/// The words of a page.
fn words(page: &str) -> Vec<&str> {
    page.split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect()
}

#[test]
fn the_pages_of_the_formats_name_every_field() {
    let place = Place::new();
    place.signed_tree();
    assert_eq!(place.run(["audit", "verify"]).code, 0);
    let manifest = serde_json::from_str(&place.read("tree/integrity_manifest.json")).unwrap();
    let (page, names) = (
        read("docs/formats/manifest.md"),
        ["file_inventory", "directories"],
    );
    let mut unnamed = fields(&manifest, &names);
    unnamed.retain(|field| !words(&page).contains(&field.as_str()));
    assert!(
        unnamed.is_empty(),
        "docs/formats/manifest.md does not name {unnamed:?}"
    );
    let page = read("docs/formats/audit-log.md");
    for line in std::fs::read_to_string(log_of(&place)).unwrap().lines() {
        let mut unnamed = fields(&serde_json::from_str(line).unwrap(), &["details"]);
        unnamed.retain(|field| !words(&page).contains(&field.as_str()));
        assert!(
            unnamed.is_empty(),
            "docs/formats/audit-log.md does not name {unnamed:?}"
        );
    }
}

#[test]
fn the_page_of_the_history_names_every_field_and_its_example_is_read() {
    let page = read("docs/formats/history.md");
    let example = page.split("```json\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(agp::history::file_name("game"));
    std::fs::write(&path, example).unwrap();
    let past = agp::history::read(folder.path(), "game").unwrap();
    assert_eq!(past.notes, []);
    assert_eq!(past.lines.len(), 2, "a record and an acceptance");
    for line in &past.lines {
        // What is written again is what stands there: the example leaves no field out.
        assert_eq!(serde_json::to_string(&line.entry).unwrap(), line.text);
        let mut unnamed = fields(&serde_json::from_str(&line.text).unwrap(), &["types"]);
        let tables = page.replace(example, "");
        unnamed.retain(|field| !words(&tables).contains(&field.as_str()));
        assert!(
            unnamed.is_empty(),
            "docs/formats/history.md does not name {unnamed:?}"
        );
    }
}

/// The first file of a place's audit log.
fn log_of(place: &Place) -> PathBuf {
    let files = place.at(".agp/audit").read_dir().unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .min()
        .unwrap()
}

#[test]
fn the_pages_program_checks_a_real_log_and_finds_a_changed_one() {
    let place = Place::new();
    place.signed_tree();
    let page = read("docs/formats/audit-log.md");
    let program = page
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    place.write(
        "check.py",
        format!("{program}\nimport sys\ncheck(sys.argv[1], bytes.fromhex(sys.argv[2]))\n"),
    );
    let check = || {
        let mut python = Command::new("python3");
        python
            .arg("check.py")
            .arg(log_of(&place))
            .arg(secret().trim_start_matches("hex:"));
        python.current_dir(place.path()).output()
    };
    let Ok(intact) = check() else {
        return skip("the_pages_program_checks_a_real_log", "python3");
    };
    assert!(intact.status.success(), "{intact:?}");
    let log = std::fs::read_to_string(log_of(&place)).unwrap();
    std::fs::write(
        log_of(&place),
        log.replacen("integrity.sign", "integrity.sigm", 1),
    )
    .unwrap();
    let changed = check().unwrap();
    assert!(
        String::from_utf8_lossy(&changed.stderr).contains("line 1: mac"),
        "{changed:?}"
    );
}

/// The targets of the links of a Markdown text, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What stands between backticks is no link.
        let spoken: String = line.split('`').step_by(2).collect::<Vec<_>>().join("` `");
        for (at, _) in spoken.match_indices("](") {
            let target = &spoken[at + 2..];
            let target = &target[..target.find([')', ' ']).unwrap_or(target.len())];
            found.push(target.to_owned());
        }
        let definition = spoken
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        found.extend(definition.map(|(_, target)| target.trim().to_owned()));
    }
    found
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors of a page as GitHub makes them of its headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// What a page's relative links name that is not there.
fn dead_links(page: &Path, text: &str) -> Vec<String> {
    let mut dead = Vec::new();
    for link in links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = match path.is_empty() {
            true => page.to_owned(),
            false => page.parent().unwrap().join(path),
        };
        let there = target.exists();
        let anchored = anchor.is_empty()
            || target.extension().is_none_or(|extension| extension != "md")
            || anchors(&std::fs::read_to_string(&target).unwrap_or_default())
                .contains(&anchor.to_owned());
        if !there || !anchored {
            dead.push(format!("{}: {link}", page.display()));
        }
    }
    dead
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = files_below("docs")
        .into_iter()
        .chain([PathBuf::from("README.md")]);
    let mut dead = Vec::new();
    for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let page = root().join(page);
        dead.extend(dead_links(
            &page,
            &std::fs::read_to_string(&page).unwrap_or_default(),
        ));
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn a_dead_link_is_found_and_code_is_none() {
    let place = Place::without_key();
    let page = place.write("page.md", "# A `b` c, d\n");
    let text =
        "[a](page.md) [b](page.md#a-b-c-d) [c](https://example.org/x) `[d](e)`\n```\n[f](g)\n```\n";
    assert_eq!(dead_links(&page, text), [""; 0]);
    let text = "[a](none.md) [b](page.md#none \"title\")\n[c]: ../none\n[d](#none)\n";
    assert_eq!(dead_links(&page, text).len(), 4);
}

#[test]
fn the_transcripts_of_the_readme_run_as_they_are_printed() {
    let found = differences(&read("README.md"));
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// A README of one block.
fn readme(transcript: &str) -> String {
    format!(
        "# Title\n\n```sh\n$ false\n```\n\n```console\n{transcript}\n```\n\n```\n$ false\n```\n"
    )
}

#[test]
fn a_transcript_holds_over_blocks_and_states_of_the_shell() {
    let text = readme(
        "$ mkdir out && echo one > out/a.txt\n$ export POCKETMON_SIGN_SECRET=\"$(agp tool keys generate)\"\n\
         $ agp sign --input-dir out\n...\nok: [..]\n\n$ agp verify --manifest \\\n> out/integrity_manifest.json\n...\nok: [..]",
    );
    let text = text
        + &readme(
            "$ echo two > out/a.txt\n$ agp verify --manifest out/integrity_manifest.json\n[..]out/a.txt: error: [..]\n...\n? 1\n$ cd out; ls\na.txt\nintegrity_manifest.json",
        );
    assert_eq!(differences(&text), [""; 0]);
}

#[test]
fn a_transcript_that_is_not_true_is_reported() {
    for (transcript, expected) in [
        ("$ echo one\ntwo", "expected\ntwo"),
        ("$ echo one", "one"),
        ("$ true\none", "expected\none"),
        ("$ false", "exit 1, expected 0"),
        ("$ true\n? 1", "exit 0, expected 1"),
        ("$ printf 'a\\nb\\n'\na", "b"),
        ("$ printf 'a\\nb\\n'\n...\nc", "expected"),
        ("$ echo abc\n[..]c[..]d", "expected"),
        ("$ echo one >&2", "one"),
        ("$ agp --version\nagp 99", "agp"),
        ("$ exit 0\n$ echo one\none", "ended the session"),
    ] {
        let found = differences(&readme(transcript));
        assert_eq!(found.len(), 1, "{transcript}: {found:?}");
        assert!(
            found[0].contains(expected) && found[0].starts_with("line 8: "),
            "{found:?}"
        );
    }
}
