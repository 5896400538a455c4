//! `agp guard --staged`, `--since` and `--history`: through real repositories, hooks included.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::harness::{AGP, Place, Ran, codes, skip};

/// A line with a password that no placeholder filter knows, put together here.
fn secret(word: &str) -> String {
    ["pass", "word = \"", word, "9fKQz72LpWmv41T", "\"\n"].concat()
}

/// A place with a repository; `None` where there is no git.
fn repository(test: &str) -> Option<Place> {
    let mut place = Place::new();
    let path = std::env::var("PATH").unwrap_or_default();
    place.set("PATH", &path);
    place.set("HOME", "/nonexistent");
    place.set("GIT_CONFIG_NOSYSTEM", "1");
    let found = Command::new("git").arg("--version").output();
    if found.is_err() {
        skip(test, "git");
        return None;
    }
    git(&place, &["init", "--quiet", "--initial-branch=main", "."]);
    git(&place, &["config", "user.name", "a"]);
    git(&place, &["config", "user.email", "a@b"]);
    Some(place)
}

fn try_git(place: &Place, words: &[&str]) -> Ran {
    let mut git = Command::new("git");
    git.args(words)
        .current_dir(place.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    Ran::of(&git.output().unwrap())
}

fn git(place: &Place, words: &[&str]) -> String {
    let ran = try_git(place, words);
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    ran.stdout.trim().to_owned()
}

fn commit(place: &Place) -> String {
    git(place, &["add", "--all"]);
    git(place, &["commit", "--quiet", "--message=x"]);
    git(place, &["rev-parse", "HEAD"])
}

/// Exit code and report.
fn guard(place: &Place, words: &[&str]) -> (i32, Value) {
    let ran = place.run(["guard", "--json"].iter().chain(words));
    (ran.code, ran.json())
}

/// Path, line and commit of each secret, in the report's order.
fn secrets(report: &Value) -> Vec<(String, u64, Option<String>)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["code"] == "guard.secret")
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().map(str::to_owned);
            (
                text("path").unwrap(),
                finding["line"].as_u64().unwrap(),
                text("commit"),
            )
        })
        .collect()
}

fn paths(report: &Value) -> Vec<String> {
    secrets(report).into_iter().map(|(path, ..)| path).collect()
}

#[test]
fn a_commit_is_judged_by_what_is_staged() {
    let Some(place) = repository("a_commit_is_judged_by_what_is_staged") else {
        return;
    };
    place.write("old.txt", secret("a"));
    commit(&place);
    // Nothing is staged, whatever else is there.
    place.write("new.txt", secret("b"));
    let (code, report) = guard(&place, &["--staged"]);
    assert_eq!(
        (code, report["findings"].as_array().unwrap().len()),
        (0, 0),
        "{report}"
    );
    // Staged and then mended in the working tree only; deleted; and unchanged.
    git(&place, &["add", "new.txt"]);
    place.write("new.txt", "mended\n");
    place.write("sub/deep.txt", secret("c"));
    git(&place, &["add", "sub"]);
    let (code, report) = guard(&place, &["--staged"]);
    assert_eq!(
        (code, paths(&report)),
        (19, vec!["new.txt".into(), "sub/deep.txt".into()])
    );
    let reach = &report["coverage"]["repository"];
    assert_eq!(
        (&reach["scope"], &reach["objects"]),
        (&"staged".into(), &2.into())
    );
    // From below, as one would type it there; and narrowed.
    let mut below = place.command(["guard", "--json", "--staged"]);
    let ran = Ran::of(&below.current_dir(place.at("sub")).output().unwrap());
    assert_eq!(paths(&ran.json()), ["../new.txt", "deep.txt"]);
    let (_, report) = guard(&place, &["--staged", "--target", "sub"]);
    assert_eq!(paths(&report), ["sub/deep.txt"]);
    let ran = place.run(["guard", "--staged", "--target", "/"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("outside of the repository"),
        "{ran:?}"
    );
    // Accepted as everywhere: by a marker that is staged, and by a baseline.
    place.write(
        "new.txt",
        secret("b").replace('\n', concat!(" # agp", ":allow[generic] reason=a test\n")),
    );
    git(&place, &["add", "new.txt"]);
    let update = [
        "guard",
        "--staged",
        "--baseline",
        "base",
        "--update-baseline",
        "--reason",
        "old",
    ];
    assert_eq!(place.run(update).code, 0);
    let (code, report) = guard(&place, &["--staged", "--baseline", "base"]);
    assert_eq!((code, secrets(&report).len()), (0, 2), "{report}");
    // What was not looked at is not unused.
    let (_, report) = guard(
        &place,
        &["--staged", "--baseline", "base", "--target", "new.txt"],
    );
    assert_eq!(codes(&report), ["guard.secret"], "{report}");
}

#[test]
fn a_hook_of_git_stops_every_kind_of_commit_that_would_hold_a_secret() {
    let Some(place) = repository("a_hook_of_git") else {
        return;
    };
    place.write("a.txt", "a\n");
    commit(&place);
    let hook = place.write(
        ".git/hooks/pre-commit",
        format!("#!/bin/sh\nexec '{AGP}' guard --staged\n"),
    );
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    place.write("a.txt", secret("a"));
    place.write("b.txt", "b\n");
    git(&place, &["add", "b.txt"]);
    // The index of each of these is another one.
    for words in [
        &["commit", "--all", "--message=x"][..],
        &["commit", "--message=x", "a.txt"],
        &["commit", "--message=x", "--include", "a.txt"],
    ] {
        let ran = try_git(&place, words);
        assert!(ran.code != 0, "{words:?}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains("a.txt:1:") && !said.contains("9fKQz72"),
            "{words:?}: {ran:?}"
        );
    }
    git(&place, &["commit", "--quiet", "--message=x"]);
    assert_eq!(git(&place, &["log", "--format=%s", "--", "b.txt"]), "x");
}

#[test]
fn the_hooks_that_we_offer_are_commands_that_we_have() {
    let Some(place) = repository("the_hooks_that_we_offer") else {
        return;
    };
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/.pre-commit-hooks.yaml");
    let hooks = std::fs::read_to_string(hooks).unwrap();
    let entries: Vec<&str> = hooks
        .lines()
        .filter_map(|line| line.trim().strip_prefix("entry: agp "))
        .collect();
    assert_eq!(entries.len(), hooks.matches("- id: ").count());
    place.write("a.txt", secret("a"));
    git(&place, &["add", "a.txt"]);
    for entry in entries {
        assert_eq!(place.run(entry.split(' ')).code, 19, "{entry}");
    }
}

#[test]
fn since_a_commit_the_working_tree_is_looked_at() {
    let Some(place) = repository("since_a_commit") else {
        return;
    };
    place.write("old.txt", secret("a"));
    place.write("gone.txt", secret("b"));
    let first = commit(&place);
    place.write("second.txt", secret("c"));
    commit(&place);
    place.write("untracked.txt", secret("d"));
    std::fs::remove_file(place.at("gone.txt")).unwrap();
    let (code, report) = guard(&place, &["--since", "HEAD"]);
    assert_eq!((code, paths(&report)), (19, vec!["untracked.txt".into()]));
    let (_, report) = guard(&place, &["--since", &first]);
    assert_eq!(paths(&report), ["second.txt", "untracked.txt"]);
    assert_eq!(report["coverage"]["repository"]["since"], first.as_str());
    for (words, expected) in [
        (&["--since", "none"][..], "`none` names no commit"),
        (&["--since=--output=x"], "`--output=x` names no commit"),
        (&["--since", "HEAD", "--staged"], "cannot be used with"),
    ] {
        let ran = place.run(["guard"].iter().chain(words));
        assert!(
            ran.code == 2 && ran.stderr.contains(expected),
            "{words:?}: {ran:?}"
        );
    }
}

#[test]
fn history_names_the_commit_that_first_held_a_secret_once() {
    let Some(place) = repository("history_names_the_commit") else {
        return;
    };
    place.write("a.txt", format!("x\n{}", secret("a")));
    let first = commit(&place);
    place.write("a.txt", format!("moved\nx\n{}", secret("a")));
    commit(&place);
    place.write(
        "a.txt",
        secret("a").trim().to_owned() + concat!(" # agp", ":allow[generic] reason=no\n"),
    );
    commit(&place);
    place.write("a.txt", "clean\n");
    place.write("b.txt", secret("b"));
    let second = commit(&place);
    let (code, report) = guard(&place, &["--history"]);
    // A marker accepts what stands beside it, not what other versions hold; and a marker of the past
    // is nobody's fault any more.
    let open = |report: &Value| -> Vec<(String, u64, Option<String>)> {
        let mut report = report.clone();
        let findings = report["findings"].as_array_mut().unwrap();
        findings.retain(|finding| finding["state"] != "suppressed");
        secrets(&report)
    };
    let expected = [
        ("a.txt".to_owned(), 2, Some(first.clone())),
        ("b.txt".to_owned(), 1, Some(second)),
    ];
    assert_eq!((code, open(&report)), (19, expected.to_vec()), "{report}");
    assert_eq!(codes(&report), ["guard.secret"]);
    let reach = &report["coverage"]["repository"];
    assert_eq!(
        (&reach["commits"], &reach["objects"]),
        (&4.into(), &5.into())
    );
    // The past cannot be mended; a baseline accepts it.
    let update = [
        "guard",
        "--history",
        "--baseline",
        "base",
        "--update-baseline",
        "--reason",
        "revoked",
    ];
    assert_eq!(place.run(update).code, 0);
    assert_eq!(guard(&place, &["--history", "--baseline", "base"]).0, 0);
    // People see it too.
    let ran = place.run(["guard", "--history"]);
    assert!(
        ran.stdout.contains(&format!("in commit {first}")),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("in 4 commits"), "{ran:?}");
}

#[test]
fn the_answer_does_not_depend_on_jobs_and_large_objects_are_looked_at_too() {
    let Some(place) = repository("the_answer_does_not_depend_on_jobs") else {
        return;
    };
    for number in 0..40 {
        place.write(&format!("{number}.txt"), secret(&format!("n{number}")));
    }
    // Larger than what is held in memory together with others, with something at its very end.
    let large = format!("{}\n{}", "plain words\n".repeat(300_000), secret("z"));
    place.write("large.txt", large);
    commit(&place);
    let findings = |jobs: &str| {
        let (code, mut report) = guard(&place, &["--history", "--jobs", jobs]);
        assert_eq!(code, 19);
        for finding in report["findings"].as_array_mut().unwrap() {
            // Without a salt of its own each run has another.
            finding["fingerprint"] = Value::Null;
        }
        report["findings"].clone()
    };
    let one = findings("1");
    assert_eq!(one.as_array().unwrap().len(), 41);
    assert_eq!(one, findings("7"));
}

#[test]
fn what_git_does_not_have_is_told() {
    let Some(place) = repository("what_git_does_not_have") else {
        return;
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n";
    place.write("origin/a.bin", pointer);
    place.write("origin/b.txt", "b\n");
    let origin = place.at("origin");
    let origin = origin.to_str().unwrap();
    git(
        &place,
        &["init", "--quiet", "--initial-branch=main", "origin"],
    );
    for _ in 0..2 {
        git(&place, &["-C", origin, "add", "--all"]);
        let words = [
            "-C",
            origin,
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message=x",
        ];
        git(&place, &words);
    }
    git(
        &place,
        &[
            "clone",
            "--quiet",
            "--depth=1",
            &format!("file://{origin}"),
            "shallow",
        ],
    );
    let mut command = place.command(["guard", "--json", "--history"]);
    let ran = Ran::of(&command.current_dir(place.at("shallow")).output().unwrap());
    let report = ran.json();
    assert_eq!(
        (ran.code, codes(&report)),
        (0, vec!["scope.partial".into()]),
        "{report}"
    );
    let messages: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["message"].as_str().unwrap())
        .collect();
    assert!(
        messages.iter().any(|text| text.contains("shallow")),
        "{messages:?}"
    );
    assert!(
        messages
            .iter()
            .any(|text| text.contains("Git LFS keeps it elsewhere: `a.bin`")),
        "{messages:?}"
    );
    assert_eq!(report["coverage"]["lfs_pointers"], 1);
    // In the outer repository the inner one is a commit of another.
    git(
        &place,
        &["-c", "advice.addEmbeddedRepo=false", "add", "origin"],
    );
    let (code, report) = guard(&place, &["--staged"]);
    assert_eq!(
        (code, &report["coverage"]["repository"]["submodules"]),
        (0, &1.into()),
        "{report}"
    );
    assert_eq!(codes(&report), ["scope.partial"]);
}

#[test]
fn without_git_or_a_repository_there_is_no_answer() {
    let Some(mut place) = repository("without_git_or_a_repository") else {
        return;
    };
    let outside = tempfile::tempdir().unwrap();
    let mut command = place.command(["guard", "--staged"]);
    let ran = Ran::of(&command.current_dir(outside.path()).output().unwrap());
    assert!(
        ran.code == 2 && ran.stderr.contains("lies in no git repository"),
        "{ran:?}"
    );
    // A git of our own: it must not see the secret, and its trouble is told.
    let script = "#!/bin/sh\nenv >seen\necho 'fatal: out of order' >&2\nexit 128\n";
    let fake = place.write("bin/git", script);
    std::fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let bin = place.at("bin");
    place.set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    let ran = place.run(["guard", "--history"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("fatal: out of order"),
        "{ran:?}"
    );
    let seen = place.read("seen");
    assert!(
        seen.contains("GIT_OPTIONAL_LOCKS=0") && !seen.contains("SIGN_SECRET"),
        "{seen}"
    );
    place.set("PATH", "/nonexistent");
    let ran = place.run(["guard", "--history"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("cannot start `git`"),
        "{ran:?}"
    );
}
