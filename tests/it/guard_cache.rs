//! What `agp guard --cache` remembers: it saves reading, and never a finding.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Place, Ran};

/// A line that a rule finds, put together at run time.
fn secret_line() -> String {
    format!(
        "{}word = \"{}\"\n",
        "pass",
        ["kW7q", "Tz4m", "Xb9r", "Lc2v"].concat()
    )
}

/// A tree of clean files with one that is not.
fn tree() -> Place {
    let mut place = Place::new();
    place.set("SALT", "a salt that stays, for fingerprints");
    place.write(
        "policy.json",
        json!({"policy_guard": {"fingerprint_salt_env": "SALT"}}).to_string(),
    );
    for number in 0..200 {
        place.write(&format!("tree/{number}.txt"), format!("content {number}\n"));
    }
    place.write("tree/app.conf", secret_line());
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n";
    place.write("tree/model.bin", pointer);
    settle();
    place
}

/// States as young as the kernel's clock is coarse may be shared by two contents, so they are not kept.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

fn guard(place: &Place, words: &[&str]) -> (i32, Value) {
    let first = ["guard", "--target", "tree", "-c", "policy.json", "--json"];
    let ran = place.run(first.iter().chain(words));
    (ran.code, ran.json())
}

/// Findings without those that are about the cache itself.
fn found(report: &Value) -> Vec<Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    let of_cache = |one: &&Value| {
        one["code"]
            .as_str()
            .is_some_and(|code| code.starts_with("cache."))
    };
    findings.filter(|one| !of_cache(one)).cloned().collect()
}

fn reused(report: &Value) -> u64 {
    report["coverage"]["reused"].as_u64().unwrap()
}

/// Looks with the cache and without; they agree. How many files were not looked into.
fn agreed(place: &Place) -> u64 {
    let (code, without) = guard(place, &[]);
    let (code_with, with) = guard(place, &["--cache"]);
    assert_eq!(code, code_with);
    assert_eq!(found(&without), found(&with));
    for counted in [
        "files",
        "bytes",
        "members",
        "decoded",
        "partial",
        "lfs_pointers",
    ] {
        let of = |report: &Value| report["coverage"][counted].clone();
        assert_eq!(of(&without), of(&with), "{counted}");
    }
    assert_eq!(reused(&without), 0);
    reused(&with)
}

#[test]
fn what_has_not_changed_is_not_looked_into_again_and_says_the_same() {
    let place = tree();
    // The first time files are looked into while they are read for their digests.
    assert_eq!(agreed(&place), 200);
    assert_eq!(agreed(&place), 200);
    // A secret in a file of the same size, whose time of modification is put back.
    let file = place.at("tree/7.txt");
    let line = secret_line();
    place.write("tree/7.txt", " ".repeat(line.len()));
    settle();
    assert_eq!(agreed(&place), 200);
    let modified = file.metadata().unwrap().modified().unwrap();
    place.write("tree/7.txt", &line);
    let open = std::fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(modified).unwrap();
    settle();
    assert_eq!(agreed(&place), 199);
    let (_, report) = guard(&place, &["--cache"]);
    let paths: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert!(paths.contains(&"tree/7.txt"), "{paths:?}");
}

#[test]
fn a_file_is_looked_into_again_where_its_name_its_mode_or_the_rules_have_changed() {
    let place = tree();
    agreed(&place);
    // Rules look at names: what says nothing in a text is something in a file of that name.
    std::fs::rename(place.at("tree/3.txt"), place.at("tree/id_rsa")).unwrap();
    settle();
    agreed(&place);
    place.chmod("tree/4.txt", 0o4755);
    settle();
    agreed(&place);
    let (_, report) = guard(&place, &["--cache"]);
    // All but the two in which something was found.
    assert_eq!(reused(&report), 199);
    // Another policy, and rules of one's own.
    for length in [8, 11] {
        let guarded = json!({
            "policy_guard": {"fingerprint_salt_env": "SALT"},
            "quality_thresholds": {"line_length_max": length},
        });
        place.write("policy.json", guarded.to_string());
        agreed(&place);
    }
    let rule = "[[rule]]\nid = 'own.content'\ntitle = 'Own'\ncategory = 'secret'\nseverity = 'high'\n\
        keywords = ['content 1']\nregex = '(content 1[0-9]{2})'\nexamples = ['content 1«digit 2»']\n\
        negatives = ['content 1x']\n";
    place.write("rules.toml", rule);
    let (_, plain) = guard(&place, &["--rules", "rules.toml"]);
    let (_, cached) = guard(&place, &["--rules", "rules.toml", "--cache"]);
    assert!(found(&plain).len() > 90, "{plain:#}");
    assert_eq!(found(&plain), found(&cached));
}

#[test]
fn a_memory_that_others_wrote_is_not_believed_and_holds_no_value() {
    let place = tree();
    agreed(&place);
    let path = place.at(".agp/cache/cleared");
    let good = std::fs::read(&path).unwrap();
    let value = secret_line().split('"').nth(1).unwrap().as_bytes().to_vec();
    for entry in std::fs::read_dir(place.at(".agp/cache")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(value.len()).any(|part| part == value));
    }
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    let mut longer = good.clone();
    longer.push(0);
    for (bad, what) in [
        (flipped, "a flipped bit"),
        (longer, "a byte more"),
        (good[..good.len() - 1].to_vec(), "a byte less"),
        (good[..20].to_vec(), "hardly anything"),
        (Vec::new(), "nothing"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let (_, report) = guard(&place, &["--cache"]);
        let codes = crate::harness::codes(&report);
        assert!(codes.iter().any(|code| code == "cache.discarded"), "{what}");
        // What is not believed is looked into again.
        assert_eq!(std::fs::read(&path).unwrap(), good, "{what}");
    }
}

#[test]
fn nothing_is_remembered_without_a_key() {
    let place = Place::without_key();
    place.write("tree/a.txt", "a\n");
    let ran = place.run(["guard", "--target", "tree", "--cache"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--key-file"), "{ran:?}");
    assert!(!place.at(".agp/cache").exists());
    for word in ["--staged", "--history", "--shard=1/2"] {
        let ran = place.run(["guard", "--target", "tree", "--cache", word]);
        assert_eq!(ran.code, 2, "{word} {ran:?}");
    }
}

#[test]
fn a_large_file_is_remembered_too_and_an_unfinished_run_remembers_nothing_wrong() {
    let place = tree();
    let line = "a line that says nothing at all, again and again\n";
    place.write("tree/large.txt", line.repeat(200_000));
    settle();
    assert_eq!(agreed(&place), 201);
    for millis in (0..60).step_by(4) {
        place.write(
            "tree/large.txt",
            format!("{millis}{}", line.repeat(100_000)),
        );
        let mut child = place
            .command(["guard", "--target", "tree", "-c", "policy.json", "--cache"])
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        let ran = Ran::of(
            &place
                .command([
                    "guard",
                    "--target",
                    "tree",
                    "-c",
                    "policy.json",
                    "--cache",
                    "--json",
                ])
                .output()
                .unwrap(),
        );
        let (_, plain) = guard(&place, &[]);
        assert_eq!(found(&plain), found(&ran.json()), "{millis}");
    }
}
