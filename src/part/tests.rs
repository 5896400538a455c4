//! Parts written, read, joined and forged.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::path::{Path, PathBuf};

use super::*;
use crate::inventory::{File, NOT_READ, ProblemKind, Special, Symlink};
use crate::seal::Secret;

fn key() -> Secret {
    Secret::decode(b"a part key of thirty-two bytes!!", 8).unwrap()
}

fn entry(name: &str) -> (RelPath, Entry) {
    let path = RelPath::parse(name.as_bytes()).unwrap();
    let file = File {
        size_bytes: 3,
        sha256: Digest::of(name.as_bytes()),
        mode: 0o644,
        modified_seconds: 7,
    };
    (path, Entry::File(file))
}

/// Twelve files shared out.
fn parts(count: u64) -> Vec<(String, Part)> {
    let mut all: Vec<_> = (0..12).map(|n| entry(&format!("f{n}"))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let part = |index| {
        let shard = Shard::new(index, count).unwrap();
        let standing = Standing {
            sha256: None,
            is_named: false,
        };
        let mut head = Head::new(Verb::Sign, shard, (standing, Map::new()));
        let own = all.iter().filter(|(path, _)| shard.owns(path));
        let entries: Vec<_> = own.cloned().collect();
        head.owned = entries.len() as u64;
        head.walk.entries = 12;
        let (problems, suspects) = (Vec::new(), Vec::new());
        let part = Part {
            head,
            entries,
            problems,
            suspects,
        };
        (format!("part-{index}"), part)
    };
    (1..=count).map(part).collect()
}

fn text(part: &Part, key: Option<&Secret>) -> String {
    let mut bytes = Vec::new();
    write(part, key, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("part");
    std::fs::write(&path, text).unwrap();
    path
}

/// The text with a new, right seal of no key around its changed lines.
fn resealed(text: &str, change: impl Fn(&str) -> String) -> String {
    let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
    let lines = change(&format!("{lines}\n"));
    let seal = line::Seal {
        lines: lines.lines().count() as u64,
        sha256: Digest::of(lines.as_bytes()),
        key_id: None,
        mac: None,
    };
    format!("{lines}{}\n", serde_json::to_string(&seal).unwrap())
}

#[test]
fn what_is_written_is_read_whatever_the_entries_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| RelPath::parse(name).unwrap();
    let link = Symlink {
        target: b"caf\xe9\\x".as_slice().into(),
        mode: 0o777,
        modified_seconds: 0,
    };
    let unread = File {
        size_bytes: 9,
        sha256: NOT_READ,
        mode: 0o4755,
        modified_seconds: 1,
    };
    let mut part = parts(1).remove(0).1;
    part.head.verb = Verb::Verify;
    part.head.manifest_sha256 = Some(Digest::of(b"m"));
    part.entries = vec![
        (path(b"a\\b\n"), Entry::Directory { mode: 0o700 }),
        (path(b"c"), Entry::Special(Special::BlockDevice)),
        (path(b"caf\xe9"), Entry::Symlink(link)),
        (path("\u{202e}".as_bytes()), Entry::File(unread)),
    ];
    part.problems = vec![Problem {
        path: Some(path(b"d")),
        kind: ProblemKind::Unreadable,
        reason: "no \"permission\"".into(),
    }];
    part.head.owned = 5;
    for key in [None, Some(key())] {
        let text = text(&part, key.as_ref());
        assert_eq!(
            read(&written(folder.path(), &text), key.as_ref()).unwrap(),
            part
        );
        let schema = jsonschema::validator_for(&schema()).unwrap();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(schema.is_valid(&line), "{line}");
        }
        assert!(!schema.is_valid(&json!({"type": "file", "path": "x"})));
    }
    let mut scan = parts(1).remove(0).1;
    scan.head.verb = Verb::Guard;
    scan.head.clean = Some(Clean::default());
    scan.entries.clear();
    scan.suspects = vec![Suspect {
        target: 1,
        path: path(b"x"),
    }];
    let file = written(folder.path(), &text(&scan, None));
    assert_eq!(read(&file, None).unwrap(), scan);
    assert_eq!(head(&file).unwrap(), scan.head);
}

#[test]
fn every_flipped_or_missing_byte_is_noticed_without_a_key_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(&parts(7)[2].1, Some(&key()));
    assert!(read(&written(folder.path(), &text), Some(&key())).is_ok());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let path = folder.path().join("part");
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(&path, Some(&key())).is_err(), "byte {at} flipped");
        let cut = &text.as_bytes()[..at];
        std::fs::write(&path, cut).unwrap();
        assert!(read(&path, None).is_err(), "cut at {at}");
    }
}

#[test]
fn a_part_is_refused_for_the_right_reason() {
    let folder = tempfile::tempdir().unwrap();
    let part = &parts(7)[2].1;
    let sealed = text(part, Some(&key()));
    let foreign = entry("somebody else's");
    assert!(!part.head.shard.owns(&foreign.0));
    let line = serde_json::to_string(&line::Line::of_entry(&foreign.0, &foreign.1)).unwrap();
    let other = Secret::decode(b"another key of thirty-two bytes!", 8).unwrap();
    let lines = |change: &dyn Fn(&str) -> String| resealed(&sealed, change);
    let mac = |text: &str| {
        // The seal of this part on the lines of another.
        let (_, seal) = sealed.trim_end().rsplit_once('\n').unwrap();
        let seal: line::Seal = serde_json::from_str(seal).unwrap();
        let (lines, _) = text.trim_end().rsplit_once('\n').unwrap();
        let lines = format!("{lines}\n");
        let sha256 = Digest::of(lines.as_bytes());
        let count = lines.lines().count() as u64;
        let seal = line::Seal {
            sha256,
            lines: count,
            ..seal
        };
        format!("{lines}{}\n", serde_json::to_string(&seal).unwrap())
    };
    let checksum =
        |text: &str| text.replacen(&checksum_of(text), &format!("\"{}\"", Digest([1; 32])), 1);
    let two = |text: &str| {
        let last = text.lines().last().unwrap();
        format!("{text}{last}\n")
    };
    let cases: [(&str, String, bool, &str); 13] = [
        (
            "another checksum",
            mac(&lines(&checksum)),
            true,
            "is not what key",
        ),
        ("no seal of a key", lines(&checksum), true, "not sealed"),
        (
            "another key",
            text(part, Some(&other)),
            true,
            "sealed with key",
        ),
        (
            "a line of another shard",
            lines(&|text| format!("{text}{line}\n")),
            false,
            "does not belong to shard 3/7",
        ),
        ("a line twice", lines(&two), false, "not in their order"),
        (
            "a line less",
            lines(&|text| {
                text.lines()
                    .take(1)
                    .map(|line| format!("{line}\n"))
                    .collect()
            }),
            false,
            "another number",
        ),
        (
            "no checksum",
            lines(&|text| text.replace(&checksum_of(text), "null")),
            false,
            "has no checksum",
        ),
        (
            "no seal",
            sealed.rsplit_once("{\"lines").unwrap().0.into(),
            false,
            "cut off",
        ),
        (
            "half a line",
            sealed[..sealed.len() - 9].into(),
            false,
            "cut off",
        ),
        (
            "more behind it",
            format!("{sealed}{{}}\n"),
            false,
            "behind the seal",
        ),
        (
            "another version",
            lines(&|text| text.replacen("1.0", "2.0", 1)),
            false,
            "version `2.0`",
        ),
        (
            "an unknown field",
            lines(&|text| text.replacen("{\"part", "{\"x\":1,\"part", 1)),
            false,
            "unknown field",
        ),
        (
            "no part at all",
            "{\"manifest_version\":\"1.0\"}\n".into(),
            false,
            "not the head of a part",
        ),
    ];
    for (what, text, has_key, expected) in cases {
        let path = written(folder.path(), &text);
        let key = has_key.then(key);
        match read(&path, key.as_ref()) {
            Err(error) => assert!(error.to_string().contains(expected), "{what}: {error}"),
            Ok(_) => panic!("{what} is read"),
        }
    }
}

fn checksum_of(text: &str) -> String {
    let (_, rest) = text.split_once("\"checksum_sha256\":").unwrap();
    rest.split_once('}').unwrap().0.to_owned()
}

#[test]
fn parts_in_any_order_make_the_same_whole_for_any_number_of_shards() {
    let whole = join(parts(1)).unwrap();
    assert_eq!(whole.inventory.len(), 12);
    for count in [2, 7, 64] {
        let mut shuffled = parts(count);
        shuffled.reverse();
        let mut joined = join(shuffled).unwrap();
        joined.head = whole.head.clone();
        assert_eq!(joined, whole);
    }
}

#[test]
fn parts_that_make_no_whole_are_told_apart() {
    type Change = fn(&mut Vec<(String, Part)>);
    let cases: [(Change, &str); 11] = [
        (
            |parts| drop(parts.remove(1)),
            "of 3 shards one is missing: 2",
        ),
        (
            |parts| parts.truncate(1),
            "of 3 shards some are missing: 2, 3",
        ),
        (
            |parts| {
                let twice = parts[0].clone();
                parts.push((String::from("again"), twice.1));
            },
            "it is shard 1/3, as `again` is",
        ),
        (
            |parts| parts[1].1.head.policy.is_named = true,
            "another policy than in `part-1`",
        ),
        (
            |parts| parts[1].1.head.tool_version = "9".into(),
            "another version of the program",
        ),
        (
            |parts| parts[1].1.head.verb = Verb::Verify,
            "another command",
        ),
        (
            |parts| drop(parts[1].1.head.asked.insert("x".into(), Value::Null)),
            "other flags",
        ),
        (
            |parts| parts[1].1.head.rules_sha256 = Some(Digest([1; 32])),
            "other rules",
        ),
        (
            |parts| parts[1].1.head.manifest_sha256 = Some(Digest([1; 32])),
            "another manifest",
        ),
        (
            |parts| parts[1].1.head.walk.sha256 = Digest([1; 32]),
            "the tree changed between the shards",
        ),
        (
            |parts| parts[1].1.head.owned += 1,
            "account for 13 entries of 12",
        ),
    ];
    for (change, expected) in cases {
        let mut parts = parts(3);
        change(&mut parts);
        let errors = join(parts).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(texts.len() == 1 && texts[0].contains(expected), "{texts:?}");
    }
    assert!(join(Vec::new()).is_err());
    let mut parts = parts(3);
    parts[2].1.head.shard = Shard::new(3, 4).unwrap();
    assert!(
        join(parts).unwrap_err()[0]
            .text
            .contains("another number of shards")
    );
}
