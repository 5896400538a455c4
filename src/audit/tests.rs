//! The log against crashes, adversaries, other processes and full disks.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::head::{Head, HeadFile, Link};
use super::log::PRUNED;
use super::record::Place;
use super::*;
use crate::base::canon;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::report::{AuditHead, Finding, Report, Verdict, codes};
use crate::seal::{Key, Keyring, Secret, Status};

/// In memory where the system has that: the tests are about order, not about a disk's patience.
fn folder() -> tempfile::TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn secret(text: &str) -> Secret {
    Secret::decode(text.as_bytes(), 1).unwrap()
}

fn ours() -> Secret {
    secret("a secret of this test, long enough")
}

fn ring() -> Keyring {
    Keyring::new(vec![Key::at_hand(ours(), "a test".into())])
}

fn entry(event: &str) -> Entry {
    Entry {
        event: event.into(),
        outcome: Outcome::Success,
        exit_code: Some(0),
        started_at: Timestamp::from_unix_seconds(1_795_442_760),
        ended_at: Some(Timestamp::from_unix_seconds(1_795_442_761)),
        actor: Actor {
            user: "build".into(),
            uid: 1000,
            host: "machine".into(),
            pid: 4711,
            ci: Some(Ci {
                provider: "github".into(),
                run_id: Some("12".into()),
                actor: Some("someone".into()),
                r#ref: Some("refs/heads/main".into()),
            }),
        },
        resources: vec![crate::report::Resource {
            path: "assets".into(),
            access: "read",
            sha256: Some(Digest::of(b"assets")),
        }],
        policy: vec![Decision {
            rule: "size".into(),
            decision: "allow".into(),
        }],
        details: json!({"files": 12}).as_object().unwrap().clone(),
    }
}

fn log_of(directory: &Path, segment_bytes_max: u64, segments_kept: Option<u64>) -> Log {
    let directory = directory.to_owned();
    Log::open(OpenRequest {
        directory,
        segment_bytes_max,
        segments_kept,
    })
    .unwrap()
}

fn log(directory: &Path) -> Log {
    log_of(directory, 1 << 26, None)
}

fn append(directory: &Path, count: usize, secret: Option<&Secret>) -> AuditHead {
    let log = log(directory);
    let mut head = None;
    for _ in 0..count {
        head = Some(log.append(&entry("integrity.sign"), secret).unwrap());
    }
    head.unwrap()
}

fn verify_with(directory: &Path, keyring: &Keyring, heads: &[(String, ExpectedHead)]) -> Report {
    let request = VerifyRequest {
        directory,
        keyring,
        require_keyed: false,
        heads,
    };
    verify(&request).unwrap()
}

/// `code file:line` of each finding.
fn places(report: &Report) -> Vec<String> {
    let place = |finding: &Finding| {
        let path = finding.path.as_deref().unwrap_or_default();
        let name = Path::new(path)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let line = finding
            .line
            .map_or(String::new(), |line| format!(":{line}"));
        format!("{} {name}{line}", finding.code.id)
    };
    report.findings.iter().map(place).collect()
}

fn found(directory: &Path) -> Vec<String> {
    places(&verify_with(directory, &ring(), &[]))
}

fn records(directory: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    let request = ShowRequest {
        directory,
        last: None,
        event_prefix: None,
        since: None,
    };
    show(&request, &mut |record| {
        records.push(record.clone());
        Ok(())
    })
    .unwrap();
    records
}

fn sequences(directory: &Path) -> Vec<u64> {
    records(directory)
        .iter()
        .map(|record| record.sequence)
        .collect()
}

fn segment(directory: &Path) -> PathBuf {
    directory.join("000001.jsonl")
}

/// Rewrites the lines of the first segment, each with its newline.
fn rewrite(directory: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(segment(directory)).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    change(&mut lines);
    fs::write(segment(directory), lines.concat()).unwrap();
}

#[test]
fn a_record_is_one_canonical_line_that_ten_lines_of_any_language_can_check() {
    let folder = folder();
    let directory = folder.path().join("state/audit");
    let head = append(&directory, 3, Some(&ours()));
    let text = fs::read_to_string(segment(&directory)).unwrap();
    let mut previous = Value::Null;
    for (index, line) in text.lines().enumerate() {
        let mut value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(canon::to_vec(&value).unwrap(), line.as_bytes());
        assert_eq!(value["sequence"], index + 1);
        assert_eq!(value["previous"], previous);
        assert_eq!(value["timestamp"], "2026-11-23T14:06:01.000Z");
        assert_eq!(value["key_id"], ours().key_id().to_string());
        let mac = value.as_object_mut().unwrap().remove("mac").unwrap();
        let body = canon::to_vec(&value).unwrap();
        let computed = ours().mac_of("application/vnd.agp.audit-record.v1+json", &body);
        assert_eq!(mac, computed.to_string());
        previous = Digest::of(format!("{line}\n").as_bytes())
            .to_string()
            .into();
    }
    assert_eq!((head.sequence, head.log_id.len()), (3, 32));
    assert_eq!(found(&directory), [""; 0]);
    for (name, mode) in [
        ("", 0o700),
        ("000001.jsonl", 0o600),
        ("head.json", 0o600),
        ("lock", 0o600),
    ] {
        let meta = fs::metadata(directory.join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
    }
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let text = || {
        prop_oneof![
            any::<String>(),
            "[a-c\"\\\\\u{0}\u{1f}\n\u{fb33}\u{1f600}]{0,3}"
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..=canon::INTEGER_MAX).prop_map(Value::from),
        (0..20_u64).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, move |inner| {
        let keys = prop_oneof![any::<String>(), "[a-c\"\u{0}\u{fb33}\u{1f600}]{0,2}"];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    });
    proptest::collection::btree_map(text(), value, 0..5)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn every_entry_has_the_spelling_that_canonical_json_gives_it(
        texts in proptest::collection::vec(any::<String>(), 8),
        details in proptest::collection::btree_map(any::<String>(), 0..=canon::INTEGER_MAX, 0..4),
        exit_code in any::<Option<u8>>(),
        sealed in any::<bool>(),
    ) {
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap();
        let mut entry = entry(&next());
        entry.exit_code = exit_code;
        entry.actor.user = next();
        entry.actor.host = next();
        entry.resources[0].path = next();
        entry.policy[0] = Decision { rule: next(), decision: next() };
        entry.details = details.into_iter().map(|(key, value)| (key, value.into())).collect();
        entry.details.insert("mac".into(), json!({"log_id": next(), "mac": next()}));
        let place = Place { log_id: "0".repeat(32), sequence: 1, previous: None };
        let secret = sealed.then(ours);
        let line = Record::new(&entry, place).unwrap().seal(secret.as_ref()).unwrap();
        let text = line.strip_suffix(b"\n").unwrap();
        prop_assert!(!text.contains(&b'\n') && !text.contains(&0x1b));
        let mut value: Value = serde_json::from_slice(text).unwrap();
        prop_assert_eq!(canon::to_vec(&value).unwrap(), text);
        let mac = value.as_object_mut().unwrap().remove("mac").unwrap();
        if let Some(secret) = secret {
            let body = canon::to_vec(&value).unwrap();
            let computed = secret.mac_of("application/vnd.agp.audit-record.v1+json", &body);
            prop_assert_eq!(mac, computed.to_string());
        }
    }

    #[test]
    fn every_canonical_object_is_accepted_as_details(details in any_object()) {
        let mut entry = entry("x");
        entry.details = details;
        let place = Place { log_id: "0".repeat(32), sequence: 1, previous: None };
        let line = Record::new(&entry, place).unwrap().seal(None).unwrap();
        let record = Record::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        let read: Map<String, Value> = serde_json::from_str(record.details.get()).unwrap();
        prop_assert_eq!(read, entry.details);
    }

    #[test]
    fn what_is_accepted_after_a_change_is_still_the_canonical_form_of_a_record(
        details in any_object(),
        at in any::<prop::sample::Index>(),
        put in prop::sample::select(&["", "\"", "\\", ",", "0", "1", "a", "u", "}", "]", "[]", "\\u00", "\\ud800", " ", "\u{0}", "\u{e9}", "-", ".5", "null", "\"\":0,"][..]),
        removed in 0..3_usize,
    ) {
        let mut entry = entry("x");
        entry.details = details;
        let place = Place { log_id: "0".repeat(32), sequence: 1, previous: None };
        let mut line = Record::new(&entry, place).unwrap().seal(None).unwrap();
        line.pop();
        let at = at.index(line.len() - removed);
        line.splice(at..at + removed, put.bytes());
        if Record::parse(&line).is_ok() {
            let value: Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(canon::to_vec(&value).unwrap(), line);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_in_a_sealed_log_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let folder = folder();
        append(folder.path(), 3, Some(&ours()));
        let mut bytes = fs::read(segment(folder.path())).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        fs::write(segment(folder.path()), bytes).unwrap();
        prop_assert_ne!(verify_with(folder.path(), &ring(), &[]).verdict, Verdict::Pass);
    }
}

/// One adversary without the secret, and where verification must point.
type Fault = (&'static str, fn(&mut Vec<String>), &'static [&'static str]);

const FAULTS: &[Fault] = &[
    (
        "edit",
        |lines| lines[2] = lines[2].replace("build", "other"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "edit first",
        |lines| lines[0] = lines[0].replace("build", "other"),
        &["audit.tampered 000001.jsonl:1"],
    ),
    (
        "edit last",
        |lines| lines[5] = lines[5].replace("build", "other"),
        &["audit.tampered 000001.jsonl:6"],
    ),
    (
        "insert",
        |lines| lines.insert(2, forged(&lines[1])),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "insert first",
        |lines| lines.insert(0, forged(&lines[0])),
        &["audit.tampered 000001.jsonl:2"],
    ),
    (
        "delete first",
        |lines| drop(lines.remove(0)),
        &["audit.tampered 000001.jsonl:1"],
    ),
    (
        "delete middle",
        |lines| drop(lines.remove(3)),
        &["audit.tampered 000001.jsonl:4"],
    ),
    (
        "delete last",
        |lines| drop(lines.pop()),
        &["audit.truncated 000001.jsonl:5"],
    ),
    (
        "delete last two",
        |lines| lines.truncate(4),
        &["audit.truncated 000001.jsonl:4"],
    ),
    (
        "cut the last",
        |lines| {
            let _ = lines[5].split_off(99);
        },
        &[
            "audit.truncated 000001.jsonl:5",
            "audit.tampered 000001.jsonl:6",
        ],
    ),
    (
        "reorder",
        |lines| lines.swap(1, 3),
        &[
            "audit.tampered 000001.jsonl:2",
            "audit.tampered 000001.jsonl:3",
            "audit.tampered 000001.jsonl:4",
            "audit.tampered 000001.jsonl:5",
        ],
    ),
    (
        "duplicate",
        |lines| lines.insert(3, lines[2].clone()),
        &["audit.tampered 000001.jsonl:4"],
    ),
    (
        "duplicate last",
        |lines| lines.push(lines[5].clone()),
        &["audit.tampered 000001.jsonl:7"],
    ),
    (
        "duplicate key",
        |lines| lines[2].insert_str(1, "\"actor\":null,"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "duplicate key in details",
        |lines| lines[2] = lines[2].replace("{\"files\":12}", "{\"files\":11,\"files\":12}"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "unknown field",
        |lines| lines[2].insert_str(1, "\"a\":1,"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "missing field",
        |lines| {
            lines[2] = lines[2]
                .replace("\"version\":\"1.0\"", "")
                .replace(",}", "}")
        },
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "white space",
        |lines| lines[2].insert(1, ' '),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "float",
        |lines| lines[2] = lines[2].replace("{\"files\":12}", "{\"files\":12.0}"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "other escape",
        |lines| lines[2] = lines[2].replace("build", "\\u0062uild"),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "empty line",
        |lines| lines.insert(2, "\n".into()),
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "nested deeply",
        |lines| lines[2] = "[".repeat(200_000) + "\n",
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "endless line",
        |lines| lines[2] = "x".repeat(LINE_BYTES_MAX + 5) + "\n",
        &["audit.tampered 000001.jsonl:3"],
    ),
    (
        "padded line",
        |lines| {
            let end = lines[2].len() - 1;
            lines[2].insert_str(end, &" ".repeat(LINE_BYTES_MAX));
        },
        &["audit.tampered 000001.jsonl:3"],
    ),
    ("emptied", |lines| lines.clear(), &["audit.truncated "]),
];

/// A record as somebody without the secret would write it.
fn forged(line: &str) -> String {
    let mut value: Value = serde_json::from_str(line).unwrap();
    (value["mac"], value["key_id"]) = (Value::Null, Value::Null);
    String::from_utf8(canon::to_vec(&value).unwrap()).unwrap() + "\n"
}

#[test]
fn every_change_of_a_sealed_log_is_found_at_its_line() {
    for (name, change, expected) in FAULTS {
        let folder = folder();
        append(folder.path(), 6, Some(&ours()));
        rewrite(folder.path(), change);
        let report = verify_with(folder.path(), &ring(), &[]);
        let mut found = places(&report);
        // The emptied log is found at its directory, whose name is random.
        found
            .iter_mut()
            .filter(|place| !place.contains(".jsonl"))
            .for_each(|place| {
                place.truncate("audit.truncated ".len());
            });
        assert_eq!(found, *expected, "{name}: {:#?}", report.findings);
        assert_eq!(report.verdict, Verdict::Fail, "{name}");
    }
}

#[test]
fn every_change_of_an_unsealed_log_is_found_too() {
    for (name, change, _) in FAULTS {
        let folder = folder();
        append(folder.path(), 6, None);
        rewrite(folder.path(), change);
        assert_eq!(
            verify_with(folder.path(), &ring(), &[]).verdict,
            Verdict::Fail,
            "{name}"
        );
    }
}

#[test]
fn what_was_tampered_with_stays_visible_after_the_next_append() {
    for (name, change, _) in FAULTS {
        for secret in [Some(ours()), None] {
            let folder = folder();
            append(folder.path(), 6, secret.as_ref());
            rewrite(folder.path(), change);
            append(folder.path(), 2, secret.as_ref());
            let report = verify_with(folder.path(), &ring(), &[]);
            assert_eq!(
                report.verdict,
                Verdict::Fail,
                "{name}: {:#?}",
                report.findings
            );
            // What was appended afterwards is whole.
            let newest = report.body["summary"]["newest"]["sequence"]
                .as_u64()
                .unwrap();
            assert_eq!(sequences(folder.path()).last(), Some(&newest));
        }
    }
}

#[test]
fn truncate_and_append_again_contradicts_a_head_kept_elsewhere() {
    let folder = folder();
    let directory = folder.path();
    append(directory, 3, Some(&ours()));
    let kept = [(
        "`M`".to_owned(),
        ExpectedHead::from(&append(directory, 1, Some(&ours()))),
    )];
    append(directory, 1, Some(&ours()));
    let report = verify_with(directory, &ring(), &kept);
    assert_eq!(
        (places(&report), &report.body["summary"]["heads_matched"]),
        (vec![], &json!(1))
    );
    // An adversary with the directory rewinds the head as well: only the head kept elsewhere tells.
    rewrite(directory, |lines| lines.truncate(3));
    let text = fs::read(segment(directory)).unwrap();
    let line = text
        .split_inclusive(|byte| *byte == b'\n')
        .next_back()
        .unwrap();
    keep_head(directory, &Link::of_line(line).unwrap(), true);
    assert_eq!(found(directory), [""; 0]);
    assert_eq!(
        places(&verify_with(directory, &ring(), &kept)),
        ["audit.truncated 000001.jsonl:3"]
    );
    let log = log(directory);
    (0..5).for_each(|_| drop(log.append(&entry("run"), Some(&ours())).unwrap()));
    assert_eq!(found(directory), [""; 0]);
    let report = verify_with(directory, &ring(), &kept);
    assert_eq!(places(&report), ["audit.truncated 000001.jsonl:4"]);
    assert_eq!(
        report.findings[0].message,
        "record 4 is not the one that `M` shows"
    );
}

fn keep_head(directory: &Path, link: &Link, keyed: bool) {
    let head = Head {
        keyed,
        log_id: link.log_id.clone(),
        mac: link.mac,
        record_sha256: link.record_sha256,
        segment: "000001.jsonl".into(),
        sequence: link.sequence,
        version: "1.0".into(),
    };
    store::write_head(directory, &head).unwrap();
}

#[test]
fn another_log_in_its_place_is_found_by_either_head() {
    let (one, other) = (folder(), folder());
    let head = append(one.path(), 3, Some(&ours()));
    append(other.path(), 5, Some(&ours()));
    fs::copy(segment(other.path()), segment(one.path())).unwrap();
    assert_eq!(found(one.path()), ["audit.truncated 000001.jsonl:5"]);
    fs::copy(other.path().join("head.json"), one.path().join("head.json")).unwrap();
    assert_eq!(found(one.path()), [""; 0]);
    let kept = [("a report".to_owned(), ExpectedHead::from(&head))];
    assert_eq!(
        places(&verify_with(one.path(), &ring(), &kept)),
        ["audit.truncated 000001.jsonl:5"]
    );
    let text = head_text(&head);
    let without_log = text.split_once(':').unwrap().1;
    let kept = [(
        "a note".to_owned(),
        ExpectedHead::parse(without_log).unwrap(),
    )];
    assert_eq!(
        places(&verify_with(one.path(), &ring(), &kept)),
        ["audit.truncated 000001.jsonl:3"]
    );
    // And of a log that is gone, each head tells.
    fs::remove_dir_all(one.path()).unwrap();
    let report = verify_with(one.path(), &ring(), &kept);
    assert_eq!((report.verdict, report.findings.len()), (Verdict::Fail, 1));
    assert_eq!(report.findings[0].code, &codes::AUDIT_TRUNCATED);
    fs::create_dir(one.path()).unwrap();
}

#[test]
fn a_log_that_is_not_there_is_empty_and_nothing_is_created() {
    let folder = folder();
    let directory = folder.path().join("audit");
    let report = verify_with(&directory, &ring(), &[]);
    assert_eq!(
        (report.verdict, places(&report)),
        (Verdict::Pass, vec!["audit.empty audit".to_owned()])
    );
    assert!(records(&directory).is_empty() && !directory.exists());
}

#[test]
fn a_head_is_read_as_it_is_written_and_in_no_other_form() {
    let digest = Digest::of(b"x");
    let id = "0123456789abcdef".repeat(2);
    for (log_id, mac, text) in [
        (Some(&id), Some(digest), format!("{id}:7:{digest}")),
        (Some(&id), None, format!("{id}:7:-")),
        (None, Some(digest), format!("7:{digest}")),
        (None, None, "7:-".into()),
    ] {
        let head = ExpectedHead {
            log_id: log_id.cloned(),
            sequence: 7,
            mac,
        };
        assert_eq!(ExpectedHead::parse(&text).unwrap(), head, "{text}");
        if let Some(log_id) = log_id.cloned() {
            assert_eq!(
                head_text(&AuditHead {
                    log_id,
                    sequence: 7,
                    mac
                }),
                text
            );
        }
    }
    for text in [
        "",
        "7",
        "7:",
        ":7:-",
        "0:-",
        "07:-",
        "+7:-",
        "-7:-",
        "7:-:",
        "7:null",
        "9007199254740992:-",
        &format!("{id}:7"),
        &format!("{}:7:-", id.to_uppercase()),
        &format!("7:{}", digest.to_string().to_uppercase()),
    ] {
        assert!(ExpectedHead::parse(text).is_err(), "{text}");
    }
}

#[test]
fn keys_decide_what_could_not_be_told_what_is_a_warning_and_what_is_tampering() {
    let folder = folder();
    let directory = folder.path();
    append(directory, 2, Some(&ours()));
    let at = |keys| places(&verify_with(directory, &Keyring::new(keys), &[]));
    assert_eq!(at(vec![]), ["audit.unknown_key 000001.jsonl:1"]);
    assert_eq!(
        verify_with(directory, &Keyring::default(), &[]).verdict,
        Verdict::Error
    );
    let other = || Key::at_hand(secret("another secret"), "x".into());
    assert_eq!(at(vec![other()]), ["audit.unknown_key 000001.jsonl:1"]);
    let with = |change: fn(&mut Key)| {
        let mut key = Key::at_hand(ours(), "x".into());
        change(&mut key);
        at(vec![key])
    };
    assert_eq!(with(|key| key.status = Status::VerifyOnly), [""; 0]);
    assert_eq!(
        with(|key| key.status = Status::Revoked),
        ["audit.revoked_key 000001.jsonl:1"]
    );
    assert_eq!(
        with(|key| key.not_after = Some(Timestamp::from_unix_seconds(9))),
        ["audit.key_period 000001.jsonl:1"]
    );
    assert_eq!(
        with(|key| key.not_before = Some(Timestamp::from_unix_seconds(9))),
        [""; 0]
    );
    // A vault that does not answer is asked once, not once a record.
    let calls = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = std::rc::Rc::clone(&calls);
    let silent = Box::new(move || {
        seen.set(seen.get() + 1);
        Err(crate::seal::KeyError::Missing)
    });
    let key = Key::listed(ours().key_id(), Status::Active, "x".into(), silent);
    assert_eq!(
        (at(vec![key]), calls.get()),
        (vec!["audit.unknown_key 000001.jsonl:1".to_owned()], 1)
    );
    // Relabelled as the other key's, the record contradicts that key.
    let ids = (
        ours().key_id().to_string(),
        secret("another secret").key_id().to_string(),
    );
    rewrite(directory, |lines| {
        lines[1] = lines[1].replace(&ids.0, &ids.1)
    });
    let keys = vec![other(), Key::at_hand(ours(), "x".into())];
    assert!(at(keys).contains(&"audit.tampered 000001.jsonl:2".to_owned()));
}

#[test]
fn unsealed_records_are_fine_under_a_later_seal_and_a_warning_at_the_end() {
    let folder = folder();
    let directory = folder.path();
    let demand = || {
        let request = VerifyRequest {
            directory,
            keyring: &ring(),
            require_keyed: true,
            heads: &[],
        };
        let report = verify(&request).unwrap();
        (places(&report), report.verdict)
    };
    append(directory, 2, None);
    assert_eq!(found(directory), ["audit.unsealed 000001.jsonl:1"]);
    assert_eq!(verify_with(directory, &ring(), &[]).verdict, Verdict::Pass);
    assert_eq!(
        demand(),
        (
            vec!["audit.not_keyed 000001.jsonl:1".to_owned()],
            Verdict::Fail
        )
    );
    append(directory, 1, Some(&ours()));
    assert_eq!(
        (found(directory), demand()),
        (vec![], (vec![], Verdict::Pass))
    );
    append(directory, 2, None);
    let report = verify_with(directory, &ring(), &[]);
    assert_eq!(places(&report), ["audit.unsealed 000001.jsonl:4"]);
    let summary = &report.body["summary"];
    assert_eq!(
        (
            &summary["sealed"],
            &summary["covered"],
            &summary["unsealed"]
        ),
        (&json!(1), &json!(2), &json!(2))
    );
    assert_eq!(demand().0, ["audit.not_keyed 000001.jsonl:4"]);
}

#[test]
fn a_line_cut_off_at_any_byte_is_a_torn_tail_and_the_next_append_says_so() {
    let folder = folder();
    let directory = folder.path();
    append(directory, 2, Some(&ours()));
    let head = fs::read(directory.join("head.json")).unwrap();
    let whole_bytes = fs::metadata(segment(directory)).unwrap().len() as usize;
    append(directory, 1, Some(&ours()));
    let full = fs::read(segment(directory)).unwrap();
    for cut in (whole_bytes..full.len()).step_by(7).chain([full.len() - 1]) {
        fs::write(segment(directory), &full[..cut]).unwrap();
        fs::write(directory.join("head.json"), &head).unwrap();
        let torn = &full[whole_bytes..cut];
        let expected: &[&str] = if torn.is_empty() {
            &[]
        } else {
            &["audit.torn_tail 000001.jsonl:3"]
        };
        assert_eq!(found(directory), expected, "cut at {cut}");
        append(directory, 1, Some(&ours()));
        assert_eq!(found(directory), [""; 0], "cut at {cut}");
        let records = records(directory);
        assert_eq!(records[2].event == "audit.recovered", !torn.is_empty());
        if !torn.is_empty() {
            let details: Value = serde_json::from_str(records[2].details.get()).unwrap();
            assert_eq!(
                details,
                json!({"reason": "torn_tail", "segment": "000001.jsonl",
                "size_bytes": torn.len(), "sha256": Digest::of(torn)})
            );
        }
    }
    // Blocks that never reached the disk read as zeros, the newline after them perhaps not.
    for tail in [&b"\0\0\0\0"[..], b"\0\0\0\0\n"] {
        fs::write(segment(directory), [&full[..whole_bytes], tail].concat()).unwrap();
        fs::write(directory.join("head.json"), &head).unwrap();
        assert_eq!(found(directory), ["audit.torn_tail 000001.jsonl:3"]);
        append(directory, 1, Some(&ours()));
        assert_eq!(
            (found(directory), sequences(directory)),
            (vec![], vec![1, 2, 3, 4])
        );
    }
}

#[test]
fn every_step_at_which_an_append_may_stop_is_mended_by_the_next() {
    // Nothing but a torn first line.
    let folder = folder();
    let directory = folder.path();
    fs::write(segment(directory), "{\"actor").unwrap();
    assert_eq!(found(directory), ["audit.torn_tail 000001.jsonl:1"]);
    append(directory, 1, Some(&ours()));
    assert_eq!(
        (found(directory), sequences(directory)),
        (vec![], vec![1, 2])
    );
    // A whole first record without a head.
    fs::remove_file(segment(directory)).unwrap();
    fs::remove_file(directory.join("head.json")).unwrap();
    append(directory, 1, Some(&ours()));
    let first = fs::read(directory.join("head.json")).unwrap();
    fs::remove_file(directory.join("head.json")).unwrap();
    assert_eq!(found(directory), [""; 0]);
    append(directory, 1, Some(&ours()));
    // A record whose head was not written; then an empty next segment.
    fs::write(directory.join("head.json"), first).unwrap();
    assert_eq!(found(directory), [""; 0]);
    fs::write(directory.join("000002.jsonl"), "").unwrap();
    assert_eq!(found(directory), [""; 0]);
    append(directory, 2, Some(&ours()));
    assert_eq!(
        (found(directory), sequences(directory)),
        (vec![], vec![1, 2, 3, 4])
    );
    assert!(fs::metadata(directory.join("000002.jsonl")).unwrap().len() > 0);
}

#[test]
fn a_head_that_is_missing_malformed_or_rewound_is_found_and_recorded() {
    for change in ["missing", "malformed", "rewound"] {
        let folder = folder();
        let directory = folder.path();
        let head = directory.join("head.json");
        append(directory, 1, Some(&ours()));
        let first = fs::read(&head).unwrap();
        append(directory, 4, Some(&ours()));
        match change {
            "missing" => fs::remove_file(&head).unwrap(),
            "malformed" => fs::write(&head, "{}").unwrap(),
            _ => fs::write(&head, first).unwrap(),
        }
        assert_eq!(
            found(directory),
            ["audit.tampered 000001.jsonl:5"],
            "{change}"
        );
        append(directory, 1, Some(&ours()));
        assert_eq!(sequences(directory), [1, 2, 3, 4, 5, 6, 7], "{change}");
        assert_eq!(records(directory)[5].event, "audit.recovered", "{change}");
    }
}

#[test]
fn the_chain_goes_on_over_segments_and_pruning_is_itself_a_record() {
    for secret in [Some(ours()), None] {
        let folder = folder();
        let directory = folder.path();
        let log = log_of(directory, 2500, Some(3));
        for _ in 0..40 {
            log.append(&entry("guard.evaluate"), secret.as_ref())
                .unwrap();
            assert!(store::segments(directory).unwrap().len() <= 4);
            assert_eq!(verify_with(directory, &ring(), &[]).verdict, Verdict::Pass);
        }
        let segments = store::segments(directory).unwrap();
        assert!(segments.len() >= 3 && segments[0] > 5, "{segments:?}");
        let numbers = sequences(directory);
        assert!(numbers[0] > 10 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        // A head older than what is left proves nothing and is no fault.
        let old = [("x".to_owned(), ExpectedHead::parse("1:-").unwrap())];
        let report = verify_with(directory, &ring(), &old);
        assert_eq!(
            (report.verdict, &report.body["summary"]["heads_pruned"]),
            (Verdict::Pass, &json!(1))
        );
        // A segment gone from the middle, then one more from the beginning than the record says.
        let middle = store::segment_path(directory, segments[1]);
        let bytes = fs::read(&middle).unwrap();
        fs::remove_file(&middle).unwrap();
        let name = store::segment_name(segments[2]);
        assert!(found(directory).contains(&format!("audit.tampered {name}:1")));
        fs::write(&middle, bytes).unwrap();
        fs::remove_file(store::segment_path(directory, segments[0])).unwrap();
        let name = store::segment_name(segments[1]);
        assert!(found(directory).contains(&format!("audit.tampered {name}:1")));
    }
}

#[test]
fn a_segment_begun_a_month_ago_is_closed_by_the_next_record() {
    let folder = folder();
    let directory = folder.path();
    let (log, day) = (log_of(directory, 1 << 26, Some(2)), 86_400);
    let append_on = |days: i64, seconds: i64| {
        let mut entry = entry("guard.evaluate");
        entry.started_at = entry.started_at.plus_seconds(days * day + seconds);
        entry.ended_at = Some(entry.started_at.plus_seconds(1));
        log.append(&entry, Some(&ours())).unwrap();
        store::segments(directory).unwrap()
    };
    for (days, seconds, segments) in [
        (0, 0, &[1][..]),
        // A clock that was set back closes nothing.
        (-40, 0, &[1]),
        (30, 0, &[1]),
        (30, 1, &[1, 2]),
        // The age is that of the second segment from here on.
        (59, 0, &[1, 2]),
        (60, 2, &[2, 3]),
    ] {
        assert_eq!(
            append_on(days, seconds),
            segments,
            "{days} days, {seconds} s"
        );
    }
    assert_eq!(found(directory), [""; 0]);
    let events: Vec<_> = records(directory).into_iter().map(|r| r.event).collect();
    assert_eq!(events.last().unwrap(), PRUNED);
    // Where the first line is no record, its segment has no age.
    let third = fs::read_to_string(store::segment_path(directory, 3)).unwrap();
    let (_, rest) = third.split_once('\n').unwrap();
    fs::write(store::segment_path(directory, 3), format!("{{}}\n{rest}")).unwrap();
    assert_eq!(append_on(900, 0), [2, 3]);
}

#[test]
fn a_crash_while_segments_are_removed_is_not_tampering() {
    let folder = folder();
    let directory = folder.path();
    let keeping = log_of(directory, 2500, None);
    for _ in 0..20 {
        keeping
            .append(&entry("guard.evaluate"), Some(&ours()))
            .unwrap();
    }
    let copies: Vec<_> = store::segments(directory)
        .unwrap()
        .into_iter()
        .map(|number| {
            (
                number,
                fs::read(store::segment_path(directory, number)).unwrap(),
            )
        })
        .collect();
    log_of(directory, 2500, Some(2))
        .append(&entry("run"), Some(&ours()))
        .unwrap();
    assert_eq!(found(directory), [""; 0]);
    let left = store::segments(directory).unwrap();
    for (number, bytes) in copies
        .iter()
        .rev()
        .filter(|(number, _)| !left.contains(number))
    {
        fs::write(store::segment_path(directory, *number), bytes).unwrap();
        assert_eq!(found(directory), [""; 0], "segments from {number}");
    }
}

#[test]
fn without_the_secret_nobody_prunes_a_sealed_log() {
    let folder = folder();
    let directory = folder.path();
    let log = log_of(directory, 1500, Some(1));
    for _ in 0..6 {
        log.append(&entry("a"), Some(&ours())).unwrap();
    }
    let first = store::segments(directory).unwrap()[0];
    for _ in 0..6 {
        log.append(&entry("a"), None).unwrap();
    }
    assert_eq!(store::segments(directory).unwrap()[0], first);
    // An adversary removes the beginning and writes the record that would excuse it.
    let second = store::segments(directory).unwrap()[1];
    let kept = Record::parse(
        store::first_line(directory, second)
            .unwrap()
            .trim_ascii_end(),
    )
    .unwrap();
    let mut excuse = entry("audit.pruned");
    excuse.details =
        json!({"first_sequence_kept": kept.sequence, "last_removed_sha256": kept.previous})
            .as_object()
            .unwrap()
            .clone();
    log_of(directory, 1500, None).append(&excuse, None).unwrap();
    fs::remove_file(store::segment_path(directory, first)).unwrap();
    let expected = format!("audit.tampered {}:1", store::segment_name(second));
    assert!(found(directory).contains(&expected));
}

#[test]
fn symbolic_links_in_the_place_of_the_log_are_refused() {
    for name in ["", "000001.jsonl", "lock", "head.json"] {
        let (folder, elsewhere) = (folder(), folder());
        let directory = folder.path().join("audit");
        append(&directory, 2, None);
        let victim = match name {
            "" => directory.clone(),
            name => directory.join(name),
        };
        let target = elsewhere.path().join("target");
        fs::rename(&victim, &target).unwrap();
        symlink(&target, &victim).unwrap();
        let request = OpenRequest {
            directory: directory.clone(),
            segment_bytes_max: 9,
            segments_kept: None,
        };
        let refused = Log::open(request)
            .and_then(|log| log.append(&entry("x"), None))
            .unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap();
        let cause = std::error::Error::source(cause).unwrap();
        assert_eq!(cause.to_string(), "it is a symbolic link", "{name}");
        let request = VerifyRequest {
            directory: &directory,
            keyring: &ring(),
            require_keyed: false,
            heads: &[],
        };
        assert!(verify(&request).is_err(), "{name}");
    }
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let directory = folder.path().join("file");
    assert!(
        Log::open(OpenRequest {
            directory,
            segment_bytes_max: 9,
            segments_kept: None
        })
        .is_err()
    );
}

#[test]
fn an_entry_without_a_form_is_refused_and_leaves_the_log_as_it_was() {
    let folder = folder();
    let directory = folder.path();
    append(directory, 1, None);
    for details in [
        json!({"seconds": 0.5}),
        json!({"negative": -1}),
        json!({"long": "x".repeat(LINE_BYTES_MAX)}),
        json!({"deep": (0..200).fold(Value::Null, |inner, _| json!([inner]))}),
    ] {
        let mut entry = entry("x");
        entry.details = details.as_object().unwrap().clone();
        assert!(log(directory).append(&entry, Some(&ours())).is_err());
    }
    assert_eq!(found(directory), ["audit.unsealed 000001.jsonl:1"]);
    append(directory, 1, Some(&ours()));
    assert_eq!(
        (found(directory), sequences(directory)),
        (vec![], vec![1, 2])
    );
}

#[test]
fn hostile_names_stay_inside_their_line_and_field() {
    let folder = folder();
    let directory = folder.path();
    let hostile = "a\n\r\u{1b}[31m\"]\\\u{202e}\u{2028}\u{85} é\0,\"mac\":null";
    let mut entry = entry("integrity.verify");
    (entry.actor.user, entry.actor.host) = (hostile.into(), hostile.into());
    entry.resources[0].path = hostile.into();
    entry.policy[0].rule = hostile.into();
    (entry.outcome, entry.exit_code) = (Outcome::Failure, Some(1));
    log(directory).append(&entry, Some(&ours())).unwrap();
    assert_eq!(found(directory), [""; 0]);
    let text = fs::read_to_string(segment(directory)).unwrap();
    assert_eq!((text.lines().count(), text.contains('\u{1b}')), (1, false));
    assert_eq!(records(directory)[0].actor.user, hostile);
    let request = ShowRequest {
        directory,
        last: None,
        event_prefix: None,
        since: None,
    };
    let exported = |format| {
        let mut out = Vec::new();
        assert_eq!(export(&request, format, &mut out).unwrap().records, 1);
        String::from_utf8(out).unwrap()
    };
    let ecs = exported(Format::Ecs);
    assert_eq!((ecs.matches('\n').count(), ecs.ends_with('\n')), (1, true));
    let value: Value = serde_json::from_str(&ecs).unwrap();
    for (pointer, expected) in [
        ("/@timestamp", json!("2026-11-23T14:06:01.000Z")),
        ("/event/action", json!("integrity.verify")),
        ("/event/category/0", json!("file")),
        ("/event/type/0", json!("access")),
        ("/event/outcome", json!("failure")),
        ("/event/sequence", json!(1)),
        ("/user/name", json!(hostile)),
        ("/user/id", json!("1000")),
        ("/host/name", json!(hostile)),
        ("/process/pid", json!(4711)),
        ("/process/exit_code", json!(1)),
        ("/file/path", json!(hostile)),
        ("/rule/name/0", json!(hostile)),
        ("/labels/ci_run_id", json!("12")),
        ("/agp/details/files", json!(12)),
    ] {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
    let syslog = exported(Format::Syslog);
    assert_eq!(
        syslog
            .matches(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2028}')
            .count(),
        1
    );
    let header = "<108>1 2026-11-23T14:06:01.000Z a___[31m__\\______,_mac_:null agp 4711 \
                  integrity.verify [agp@32473 log_id=\"";
    assert!(syslog.starts_with(header), "{syslog}");
    assert!(
        syslog.ends_with("] integrity.verify: failure, exit code 1\n"),
        "{syslog}"
    );
    assert!(
        syslog.contains(" user=\"a\\\\n\\\\r\\\\u{1b}[31m\\\"\\]\\\\\\\\u{202e}"),
        "{syslog}"
    );
}

#[test]
fn shows_the_last_records_of_a_kind_since_a_time() {
    let folder = folder();
    let directory = folder.path();
    let log = log(directory);
    for (index, event) in ["run", "integrity.sign", "run", "integrity.verify", "run"]
        .iter()
        .enumerate()
    {
        let mut entry = entry(event);
        entry.ended_at = None;
        entry.started_at = Timestamp::from_unix_seconds(index as i64);
        log.append(&entry, None).unwrap();
    }
    fs::OpenOptions::new()
        .append(true)
        .open(segment(directory))
        .unwrap()
        .write_all(b"{")
        .unwrap();
    for (last, event_prefix, since, expected) in [
        (None, None, None, &[1, 2, 3, 4, 5][..]),
        (Some(2), None, None, &[4, 5]),
        (Some(0), None, None, &[]),
        (None, Some("integrity."), None, &[2, 4]),
        (Some(1), Some("integrity."), None, &[4]),
        (None, Some("run"), Some(2), &[3, 5]),
    ] {
        let since = since.map(Timestamp::from_unix_seconds);
        let request = ShowRequest {
            directory,
            last,
            event_prefix,
            since,
        };
        let mut numbers = Vec::new();
        let shown = show(&request, &mut |record| {
            numbers.push(record.sequence);
            Ok(())
        });
        assert_eq!(numbers, expected);
        assert_eq!(
            shown.unwrap(),
            Shown {
                records: expected.len() as u64,
                unreadable: 1
            }
        );
    }
}

#[test]
fn violations_are_the_first_thousand_and_a_digest_of_all() {
    let finding = |index: usize| Finding::new(&codes::FILE_MODIFIED, "x").at(format!("f{index}"));
    let findings: Vec<_> = (0..1500).map(finding).collect();
    let value = violations(&findings);
    assert_eq!(value["count"], 1500);
    assert_eq!(value["first"].as_array().unwrap().len(), 1000);
    assert_eq!(value["first"][7]["path"], "f7");
    let few = violations(&findings[..2]);
    assert_eq!(
        few["sha256"],
        Digest::of(&canon::to_vec(&few["first"]).unwrap()).to_string()
    );
    assert_ne!(violations(&findings[..1499])["sha256"], value["sha256"]);
    let long: Vec<_> = (0..1000)
        .map(|_| finding(0).at("\u{1}".repeat(4000)))
        .collect();
    let mut entry = entry("x");
    entry.details = Map::from_iter([("violations".to_owned(), violations(&long))]);
    let folder = folder();
    log(folder.path()).append(&entry, Some(&ours())).unwrap();
    assert_eq!(found(folder.path()), [""; 0]);
}

// Several processes: the test binary starts itself with one worker test and a job.

const JOB: &str = "AGP_TEST_AUDIT_JOB";

/// Starts this test binary as a worker that appends to a log.
fn worker(directory: &Path, job: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "audit::tests::works_only_when_it_is_given_a_job"]);
    command.env(JOB, job).current_dir(directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn works_only_when_it_is_given_a_job() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let here = Path::new(".");
    match job.split_once(' ') {
        Some(("append", count)) => {
            append(here, count.parse().unwrap(), Some(&ours()));
        }
        Some(("verify", _)) => {
            let begin_nanos = cpu_nanos();
            let report = verify_with(here, &ring(), &[]);
            let micros = (cpu_nanos() - begin_nanos) / 1000;
            assert_eq!(
                report.verdict,
                Verdict::Pass,
                "{:?}",
                report.findings.first()
            );
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let peak = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .unwrap();
            let peak_kib = peak.trim().trim_end_matches(" kB");
            fs::write("cost", format!("{peak_kib} {micros}")).unwrap();
        }
        _ => unreachable!(),
    }
}

/// How long this thread ran, whatever else the machine had to do.
fn cpu_nanos() -> u64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn eight_processes_write_one_chain_while_it_is_being_verified() {
    let folder = folder();
    let directory = folder.path();
    let mut workers: Vec<_> = (0..8)
        .map(|_| worker(directory, "append 1000").spawn().unwrap())
        .collect();
    while workers
        .iter_mut()
        .any(|worker| worker.try_wait().unwrap().is_none())
    {
        let places = found(directory);
        assert!(
            places.iter().all(|place| place.starts_with("audit.empty")),
            "{places:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    let report = verify_with(directory, &ring(), &[]);
    assert_eq!(
        (places(&report), &report.body["summary"]["records"]),
        (vec![], &json!(8000))
    );
}

#[test]
fn threads_of_one_process_keep_each_other_out() {
    let folder = folder();
    let log = log(folder.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..50).for_each(|_| drop(log.append(&entry("x"), Some(&ours())).unwrap()))
            });
        }
    });
    assert_eq!(
        (found(folder.path()), sequences(folder.path()).len()),
        (vec![], 200)
    );
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_log_that_verifies() {
    let folder = folder();
    let directory = folder.path();
    for round in 0..60_u64 {
        let mut writer = worker(directory, "append 1000000").spawn().unwrap();
        let before = fs::metadata(segment(directory)).map_or(0, |meta| meta.len());
        while fs::metadata(segment(directory)).map_or(0, |meta| meta.len()) == before {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        std::thread::sleep(std::time::Duration::from_micros(round * 37));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let places = found(directory);
        assert!(
            places
                .iter()
                .all(|place| place.starts_with("audit.torn_tail")),
            "{places:?}"
        );
    }
    append(directory, 1, Some(&ours()));
    assert_eq!(found(directory), [""; 0]);
    let numbers = sequences(directory);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) && numbers.len() > 60);
}

#[test]
fn a_write_that_stops_half_way_is_cut_off_and_the_log_goes_on() {
    let folder = folder();
    let directory = folder.path();
    append(directory, 10, Some(&ours()));
    // A limit of 16 blocks of 512 or 1,024 bytes, met in the middle of a line, on any system.
    let job = format!(
        "{JOB}='append 100' exec \"$0\" --exact audit::tests::works_only_when_it_is_given_a_job"
    );
    let status = Command::new("/bin/sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f 16; {job}")])
        .arg(std::env::current_exe().unwrap())
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert_eq!(found(directory), [""; 0]);
    assert!(fs::read(segment(directory)).unwrap().ends_with(b"\n"));
    append(directory, 1, Some(&ours()));
    assert!(
        records(directory)
            .iter()
            .all(|record| record.event == "integrity.sign")
    );
    assert_eq!(found(directory), [""; 0]);
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that could not run says so")]
fn a_full_disk_is_an_error_and_never_tampering() {
    let folder = folder();
    let mount = |words: &[&str]| {
        Command::new(words[0])
            .args(&words[1..])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let directory = folder.path().join("audit");
        let filler = folder.path().join("filler");
        for filler_bytes in (12_288..40_000).step_by(4096) {
            fs::write(&filler, vec![0; filler_bytes]).unwrap();
            let log = log_of(&directory, 6000, None);
            let mut written = 0;
            while log.append(&entry("x"), Some(&ours())).is_ok() {
                written += 1;
                assert!(written < 200);
            }
            assert_eq!(found(&directory), [""; 0], "{filler_bytes} filled");
            fs::remove_file(&filler).unwrap();
            append(&directory, 2, Some(&ours()));
            assert_eq!(
                found(&directory),
                [""; 0],
                "{filler_bytes} filled, then freed"
            );
            let numbers = sequences(&directory);
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
            fs::remove_dir_all(&directory).unwrap();
        }
    });
    assert!(mount(&["umount"]));
    outcome.unwrap();
}

/// Writes a sealed log without syncing each record.
fn write_long_log(directory: &Path, count: u64) {
    let mut out = std::io::BufWriter::new(fs::File::create(segment(directory)).unwrap());
    let mut newest: Option<Link> = None;
    let entry = entry("integrity.sign");
    for sequence in 1..=count {
        let previous = newest.map(|link| link.record_sha256);
        let place = Place {
            log_id: "0".repeat(32),
            sequence,
            previous,
        };
        let line = Record::new(&entry, place)
            .unwrap()
            .seal(Some(&ours()))
            .unwrap();
        out.write_all(&line).unwrap();
        newest = Some(Link::of_line(&line).unwrap());
    }
    out.flush().unwrap();
    keep_head(directory, &newest.unwrap(), true);
}

#[test]
#[expect(clippy::print_stderr, reason = "the measure is worth reading")]
fn verification_holds_one_line_at_a_time() {
    let cost = |count| {
        let folder = folder();
        write_long_log(folder.path(), count);
        assert!(
            worker(folder.path(), "verify 1")
                .status()
                .unwrap()
                .success()
        );
        let cost = fs::read_to_string(folder.path().join("cost")).unwrap();
        let (peak_kib, micros) = cost.split_once(' ').unwrap();
        (
            peak_kib.parse::<u64>().unwrap(),
            micros.parse::<u64>().unwrap(),
        )
    };
    let is_full = std::env::var_os("AGP_TEST_FULL").is_some();
    let count = if is_full { 1_000_000 } else { 10_000 };
    let (short_kib, _) = cost(200);
    let (long_kib, micros) = cost(count);
    let records_per_second = count * 1_000_000 / micros;
    eprintln!(
        "{count} records: {long_kib} KiB (200: {short_kib} KiB), {records_per_second} a CPU second"
    );
    // 10,000 records are 7 MiB.
    assert!(
        long_kib < short_kib + 2048,
        "{short_kib} KiB, then {long_kib} KiB"
    );
    assert!(!is_full || cfg!(debug_assertions) || records_per_second >= 200_000);
}

#[test]
fn a_head_file_of_another_version_is_no_head() {
    assert_eq!(
        HeadFile::parse(b"{\"version\":\"2.0\"}"),
        HeadFile::Malformed
    );
    assert_eq!(HeadFile::parse(b""), HeadFile::Malformed);
}
