//! Manifests that are wrong: in their text, their values, their signature, their time, their place.
//!
//! Sealing is written here a second time, from the format's page alone, so that manifests no signer
//! would make still carry a good MAC and only the rule under test can refuse them.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::Place;
use crate::sign_verify::{Answer, answer, finish, verdict};

const MANIFEST: &str = "tree/integrity_manifest.json";
const TYPE: &str = "application/vnd.agp.integrity-manifest.v1+json";

/// Compact JSON with sorted keys: the canonical form, for names without characters above U+FFFF.
fn canonical(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Seals a value with the fixed key: `content_hash` first, then the tag.
pub(crate) fn seal(manifest: &mut Value) {
    let mut content = manifest.clone();
    content.as_object_mut().unwrap().remove("signature");
    manifest["signature"]["content_hash"] = hex::encode(Sha256::digest(canonical(&content))).into();
    seal_tag(manifest);
}

/// The tag alone, over whatever `content_hash` says.
fn seal_tag(manifest: &mut Value) {
    let mut body = manifest.clone();
    body["signature"]
        .as_object_mut()
        .unwrap()
        .remove("signature");
    let body = canonical(&body);
    let key = hex::decode("0123456789abcdef".repeat(4)).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), body.len()).as_bytes());
    mac.update(&body);
    manifest["signature"]["signature"] = hex::encode(mac.finalize().into_bytes()).into();
}

/// The manifest of `tree/` as a value.
fn manifest(place: &Place) -> Value {
    serde_json::from_str(&place.read(MANIFEST)).unwrap()
}

/// Edits the manifest of `tree/` and seals it again.
pub(crate) fn forge(place: &Place, edit: impl FnOnce(&mut Value)) {
    let mut value = manifest(place);
    edit(&mut value);
    seal(&mut value);
    place.write(MANIFEST, value.to_string());
}

fn signed() -> (Place, Value) {
    let place = Place::new();
    place.signed_tree();
    let value = manifest(&place);
    (place, value)
}

/// Writes a text as the manifest and compares the answer.
fn check(place: &Place, name: &str, text: impl AsRef<[u8]>, expected: Answer<'_>) {
    place.write(MANIFEST, text);
    eprintln!("{name}");
    verdict(place, expected);
}

const MALFORMED: Answer<'static> = (2, &["manifest.malformed"]);
const INCONSISTENT: Answer<'static> = (1, &["manifest.inconsistent"]);
const INVALID: Answer<'static> = (1, &["signature.invalid"]);
const UNSUPPORTED: Answer<'static> = (2, &["manifest.unsupported_version"]);
const GOOD: Answer<'static> = (0, &[]);

/// Makes one thing wrong.
type Edit = fn(&mut Value);
/// A manifest and the one file of its tree.
type Pair = (Vec<u8>, Vec<u8>);

/// Every place in a value, as JSON pointers, objects and arrays among them.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{}", escape(key)), found)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// The text of a value in which the object at a pointer begins with further members.
fn text_with(value: &Value, pointer: &str, members: &str) -> String {
    let mut marked = value.clone();
    let object = marked
        .pointer_mut(pointer)
        .unwrap()
        .as_object_mut()
        .unwrap();
    object.insert("!mark".into(), Value::Null);
    let text = marked.to_string();
    assert!(text.contains("\"!mark\":null"));
    text.replacen("\"!mark\":null", members, 1).replacen(
        &format!("{members},}}"),
        &format!("{members}}}"),
        1,
    )
}

#[test]
fn an_independent_seal_agrees_with_the_signers() {
    let (place, original) = signed();
    let mut again = original.clone();
    again["signature"]["signature"] = "".into();
    again["signature"]["content_hash"] = "".into();
    seal(&mut again);
    assert_eq!(again, original);
    check(&place, "sealed again", again.to_string(), GOOD);
}

#[test]
fn a_key_that_occurs_twice_is_malformed_at_any_depth_and_under_any_spelling() {
    let (place, original) = signed();
    let mut all = Vec::new();
    places(&original, "", &mut all);
    let mut tried = 0;
    for pointer in &all {
        let Some(members) = original.pointer(pointer).unwrap().as_object() else {
            continue;
        };
        for (key, value) in members {
            let mut alias = String::new();
            for unit in key.encode_utf16() {
                write!(alias, "\\u{unit:04x}").unwrap();
            }
            for name in [
                Value::from(key.as_str()).to_string(),
                format!("\"{alias}\""),
            ] {
                // The same value twice: whoever takes the first or the last finds a good MAC.
                let text = text_with(&original, pointer, &format!("{name}:{value}"));
                check(&place, &format!("{pointer} {name}"), text, MALFORMED);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn an_unknown_field_is_malformed_at_any_depth() {
    let (place, original) = signed();
    let mut all = Vec::new();
    places(&original, "", &mut all);
    for pointer in all {
        if original.pointer(&pointer).unwrap().is_object() {
            let mut surplus = original.clone();
            surplus.pointer_mut(&pointer).unwrap()["surplus"] = 0.into();
            seal(&mut surplus);
            check(&place, &pointer, surplus.to_string(), MALFORMED);
        }
    }
}

#[test]
fn a_missing_field_is_malformed_at_any_depth() {
    let (place, original) = signed();
    let mut all = Vec::new();
    places(&original, "", &mut all);
    for pointer in all.iter().filter(|pointer| !pointer.is_empty()) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let listed = ["/file_inventory", "/directories"].contains(&parent);
        let array = original.pointer(parent).unwrap().is_array();
        if listed || array {
            continue;
        }
        let mut lacking = original.clone();
        let object = lacking
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        object.remove(key).unwrap();
        if pointer != "/signature" {
            let tag = lacking["signature"].get("signature").is_some();
            let hash = lacking["signature"].get("content_hash").is_some();
            if tag && hash {
                seal(&mut lacking);
            }
        }
        check(&place, pointer, lacking.to_string(), MALFORMED);
    }
}

#[test]
fn a_value_of_another_type_is_malformed_wherever_it_stands() {
    let (place, original) = signed();
    let mut all = Vec::new();
    places(&original, "", &mut all);
    let wrong = [
        json!(null),
        json!([]),
        json!({}),
        json!(true),
        json!(-1),
        json!(1.5),
    ];
    for pointer in all {
        for value in &wrong {
            let allowed: &[(&str, Value, Answer<'_>)] = &[
                ("/audit_head", json!(null), GOOD),
                ("/audit_head/mac", json!(null), GOOD),
                ("/expires_at", json!(null), GOOD),
                ("/options/exclude", json!([]), GOOD),
                ("/options/exempt", json!([]), GOOD),
                (
                    "/root_relative_to_manifest",
                    json!(null),
                    (2, &["manifest.root_unknown"]),
                ),
                (
                    "/file_inventory",
                    json!({}),
                    (1, &["file.unlisted", "manifest.inconsistent"]),
                ),
                (
                    "/directories",
                    json!({}),
                    (1, &["file.unlisted", "manifest.inconsistent"]),
                ),
            ];
            let exception = allowed
                .iter()
                .find(|(at, allowed, _)| *at == pointer && allowed == value);
            let mut other = original.clone();
            *other.pointer_mut(&pointer).unwrap() = value.clone();
            if other.get("signature").is_some_and(Value::is_object)
                && !pointer.starts_with("/signature")
            {
                seal(&mut other);
            } else if pointer.starts_with("/signature/") && pointer != "/signature/signature" {
                seal_tag(&mut other);
            }
            let expected = exception.map_or(MALFORMED, |(_, _, expected)| *expected);
            check(
                &place,
                &format!("{pointer} = {value}"),
                other.to_string(),
                expected,
            );
        }
    }
}

#[test]
fn numbers_are_integers_up_to_2_to_the_53_written_in_digits() {
    let (place, original) = signed();
    let text = original.to_string();
    let sequence = "\"sequence\":1,\"signature\"";
    assert!(text.contains(sequence));
    for number in [
        "1.0",
        "1e0",
        "1E0",
        "10e-1",
        "-0",
        "-1",
        "+1",
        "01",
        "0",
        "9007199254740992",
        "18446744073709551616",
        "1e400",
        "NaN",
        "Infinity",
        "0x1",
        "\"1\"",
        "1.",
        ".1",
        "",
    ] {
        let other = text.replace(sequence, &format!("\"sequence\":{number},\"signature\""));
        check(&place, number, other, MALFORMED);
    }
    for (field, number) in [
        ("size_bytes", "9.0"),
        ("modified_time", "-1"),
        ("modified_time", "1e3"),
    ] {
        let at = text.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
        let end = at + text[at..].find([',', '}']).unwrap();
        let other = format!("{}{number}{}", &text[..at], &text[end..]);
        check(&place, field, other, MALFORMED);
    }
    let mut most = original;
    most["sequence"] = 9_007_199_254_740_991_u64.into();
    seal(&mut most);
    check(&place, "2^53-1", most.to_string(), GOOD);
}

#[test]
fn a_text_that_is_not_one_json_object_is_malformed() {
    let (place, original) = signed();
    let text = original.to_string();
    let with = |from: &str, to: &[u8]| {
        let at = text.find(from).unwrap();
        [
            &text.as_bytes()[..at],
            to,
            &text.as_bytes()[at + from.len()..],
        ]
        .concat()
    };
    let nested = |count: usize| vec![b'['; count];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("white space", b" \n".to_vec()),
        ("null", b"null".to_vec()),
        ("a string", b"\"x\"".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("an array of the manifest", format!("[{text}]").into_bytes()),
        (
            "an array of its values",
            Value::Array(original.as_object().unwrap().values().cloned().collect())
                .to_string()
                .into_bytes(),
        ),
        ("a byte order mark", format!("\u{feff}{text}").into_bytes()),
        ("trailing text", format!("{text}x").into_bytes()),
        ("a trailing NUL", format!("{text}\0").into_bytes()),
        ("a trailing comma", format!("{text},").into_bytes()),
        ("two documents", format!("{text}\n{text}").into_bytes()),
        (
            "vertical tab before it",
            format!("\u{b}{text}").into_bytes(),
        ),
        (
            "no-break space before it",
            format!("\u{a0}{text}").into_bytes(),
        ),
        ("a comment", format!("{text}// good").into_bytes()),
        (
            "a comma before a brace",
            format!("{},}}", &text[..text.len() - 1]).into_bytes(),
        ),
        ("200,000 brackets", nested(200_000)),
        (
            "200,000 brackets within",
            with(
                "\"audit_head\":{",
                &[b"\"audit_head\":".as_slice(), &nested(200_000), b"{"].concat(),
            ),
        ),
        (
            "200,000 brackets as a file",
            with(
                "\"file_inventory\":{",
                &[
                    b"\"file_inventory\":{\"x\":".as_slice(),
                    &nested(200_000),
                    b",",
                ]
                .concat(),
            ),
        ),
        ("200,000 braces", b"{\"a\":".repeat(200_000)),
        (
            "a lone high surrogate",
            with("\"subject\":\"tree\"", b"\"subject\":\"\\ud800\""),
        ),
        (
            "a lone low surrogate",
            with("\"subject\":\"tree\"", b"\"subject\":\"\\udc00\""),
        ),
        (
            "surrogates in the wrong order",
            with("\"subject\":\"tree\"", b"\"subject\":\"\\udc00\\ud800\""),
        ),
        (
            "a lone surrogate in a key",
            with("\"a.json\":", b"\"\\ud800\":"),
        ),
        (
            "a surrogate as bytes",
            with("\"subject\":\"tree\"", b"\"subject\":\"\xed\xa0\x80\""),
        ),
        (
            "bytes that are not UTF-8",
            with("\"subject\":\"tree\"", b"\"subject\":\"\xff\""),
        ),
        (
            "an overlong encoding",
            with("\"subject\":\"tree\"", b"\"subject\":\"\xc0\xaf\""),
        ),
        (
            "a bare control character",
            with("\"subject\":\"tree\"", b"\"subject\":\"\n\""),
        ),
        (
            "an unknown escape",
            with("\"subject\":\"tree\"", b"\"subject\":\"\\x41\""),
        ),
        (
            "UTF-16",
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
    ];
    for (name, bytes) in cases {
        check(&place, name, bytes, MALFORMED);
    }
}

#[test]
fn a_manifest_that_was_cut_anywhere_never_verifies() {
    let (place, original) = signed();
    let text = original.to_string();
    for length in 0..text.len() {
        place.write(
            &format!("cut/{length}/integrity_manifest.json"),
            &text[..length],
        );
    }
    let report = answer(&place, ["verify", "--all", "cut"], MALFORMED);
    assert_eq!(report["summary"]["unknown"], text.len());
}

#[test]
fn hex_is_lower_case_and_of_full_length() {
    let (place, original) = signed();
    for pointer in [
        "/signature/signature",
        "/signature/content_hash",
        "/signature/key_id",
        "/audit_head/mac",
        "/file_inventory/a.json/checksum_sha256",
    ] {
        let digits = original
            .pointer(pointer)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        let upper = digits.to_uppercase();
        assert_ne!(upper, digits);
        for (name, text) in [
            ("upper case", upper),
            ("short", digits[..digits.len() - 1].into()),
            ("one byte short", digits[..digits.len() - 2].into()),
            ("half", digits[..digits.len() / 2].into()),
            ("long", format!("{digits}00")),
            ("empty", String::new()),
            (
                "no hex",
                digits.replace(|digit: char| digit.is_ascii_digit(), "g"),
            ),
            ("a blank", format!(" {}", &digits[1..])),
            ("a prefix", format!("0x{}", &digits[2..])),
        ] {
            let mut other = original.clone();
            *other.pointer_mut(pointer).unwrap() = text.into();
            match pointer {
                "/signature/signature" => {}
                "/signature/content_hash" | "/signature/key_id" => seal_tag(&mut other),
                _ => seal(&mut other),
            }
            check(
                &place,
                &format!("{pointer} {name}"),
                other.to_string(),
                MALFORMED,
            );
        }
    }
}

#[test]
fn every_signature_field_that_is_edited_is_noticed() {
    let (place, original) = signed();
    let flip = |field: &str| {
        let digits = original["signature"][field].as_str().unwrap();
        let last = if digits.ends_with('0') { "1" } else { "0" };
        Value::from(format!("{}{last}", &digits[..digits.len() - 1]))
    };
    let cases: [(&str, Value, Answer<'_>); 10] = [
        ("signature", flip("signature"), INVALID),
        ("signature", "0".repeat(64).into(), INVALID),
        ("content_hash", flip("content_hash"), INVALID),
        ("key_id", flip("key_id"), (2, &["signature.unknown_key"])),
        ("signed_at", "2020-01-01T00:00:00Z".into(), INVALID),
        ("signed_at", "2020-01-01".into(), MALFORMED),
        ("algorithm", "none".into(), INCONSISTENT),
        ("algorithm", "".into(), INCONSISTENT),
        ("algorithm", "HMAC-SHA1".into(), INCONSISTENT),
        ("signature_version", "2".into(), INCONSISTENT),
    ];
    for (field, value, expected) in cases {
        let mut other = original.clone();
        other["signature"][field] = value.clone();
        check(
            &place,
            &format!("{field} = {value}"),
            other.to_string(),
            expected,
        );
    }
}

#[test]
fn every_other_field_that_is_edited_breaks_the_signature() {
    let (place, original) = signed();
    let cases: Vec<(&str, Value)> = vec![
        ("/created_at", "2020-01-01T00:00:00Z".into()),
        ("/subject", "other".into()),
        ("/sequence", 2.into()),
        ("/expires_at", "2999-01-01T00:00:00Z".into()),
        ("/root_relative_to_manifest", "..".into()),
        ("/root_relative_to_manifest", json!(null)),
        ("/options/exclude", json!(["**"])),
        ("/options/exempt", json!([])),
        (
            "/options/exempt",
            json!(["a.json", "integrity_report.json"]),
        ),
        ("/summary/file_count", 5.into()),
        ("/summary/symlink_count", 0.into()),
        ("/summary/directory_count", 0.into()),
        ("/summary/total_size_bytes", 0.into()),
        ("/file_inventory", json!({})),
        ("/directories", json!({})),
        ("/file_inventory/a.json/absolute_path", "/tmp/x".into()),
        ("/file_inventory/a.json/size_bytes", 0.into()),
        (
            "/file_inventory/a.json/checksum_sha256",
            "0".repeat(64).into(),
        ),
        ("/file_inventory/a.json/modified_time", 0.into()),
        ("/file_inventory/a.json/mode", "0777".into()),
        ("/directories/sub/mode", "0777".into()),
        ("/audit_head", json!(null)),
        ("/audit_head/sequence", 99.into()),
        ("/audit_head/mac", json!(null)),
        ("/audit_head/log_id", "x".into()),
    ];
    for (pointer, value) in cases {
        let mut other = original.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        check(&place, pointer, other.to_string(), INVALID);
    }
}

#[test]
fn patterns_that_are_dear_to_compile_cost_nothing_before_the_signature_is_checked() {
    let (place, original) = signed();
    let mut other = original.clone();
    // More than the matcher takes, so that compiling them would show in the answer.
    let patterns: Vec<String> = (0..200)
        .map(|n| format!("{}{n}", "*a".repeat(1000)))
        .collect();
    other["options"]["exclude"] = patterns.into();
    check(&place, "not signed", other.to_string(), INVALID);
    seal(&mut other);
    check(&place, "signed", other.to_string(), MALFORMED);
}

#[test]
fn what_disagrees_under_a_good_signature_is_inconsistent() {
    let (place, original) = signed();
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/summary/file_count", 5.into(), &["manifest.inconsistent"]),
        (
            "/summary/symlink_count",
            0.into(),
            &["manifest.inconsistent"],
        ),
        (
            "/summary/directory_count",
            9.into(),
            &["manifest.inconsistent"],
        ),
        (
            "/summary/total_size_bytes",
            0.into(),
            &["manifest.inconsistent"],
        ),
        (
            "/file_inventory/a.json/size_bytes",
            8.into(),
            &["file.modified", "manifest.inconsistent"],
        ),
        (
            "/file_inventory/a.json/checksum_sha256",
            "0".repeat(64).into(),
            &["file.modified"],
        ),
        (
            "/file_inventory/link/size_bytes",
            8.into(),
            &["manifest.inconsistent"],
        ),
        (
            "/file_inventory/link/checksum_sha256",
            "0".repeat(64).into(),
            &["manifest.inconsistent"],
        ),
        (
            "/options/exclude",
            json!(["sub/deep/**"]),
            &["file.missing", "manifest.inconsistent"],
        ),
        (
            "/options/exempt",
            json!(["a.json"]),
            &["file.missing", "manifest.inconsistent"],
        ),
    ];
    for (pointer, value, findings) in cases {
        let mut other = original.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        seal(&mut other);
        check(&place, pointer, other.to_string(), (1, findings));
    }
    let mut other = original.clone();
    other["signature"]["content_hash"] = "0".repeat(64).into();
    seal_tag(&mut other);
    check(&place, "content_hash", other.to_string(), INCONSISTENT);
    for (field, value) in [
        ("algorithm", "none"),
        ("algorithm", ""),
        ("signature_version", "2"),
    ] {
        let mut other = original.clone();
        other["signature"][field] = value.into();
        seal_tag(&mut other);
        check(&place, field, other.to_string(), INCONSISTENT);
    }
    let structure: [(&str, Edit, &[&str]); 4] = [
        (
            "a directory that is not listed",
            |value| {
                value["directories"]
                    .as_object_mut()
                    .unwrap()
                    .remove("sub/deep");
                value["summary"]["directory_count"] = 1.into();
            },
            &["file.unlisted", "manifest.inconsistent"],
        ),
        (
            "a path that is file and directory",
            |value| {
                value["directories"]["a.json"] = json!({"mode": "0755"});
                value["summary"]["directory_count"] = 3.into();
            },
            &["manifest.inconsistent"],
        ),
        (
            "an entry below a file",
            |value| {
                let file = value["file_inventory"]["empty"].clone();
                value["file_inventory"]["a.json/x"] = file;
                value["summary"]["file_count"] = 5.into();
            },
            &["file.missing", "manifest.inconsistent"],
        ),
        (
            "a manifest that lists itself",
            |value| {
                let file = value["file_inventory"]["empty"].clone();
                value["file_inventory"]["integrity_manifest.json"] = file;
                value["summary"]["file_count"] = 5.into();
            },
            &["file.missing", "manifest.inconsistent"],
        ),
    ];
    for (name, edit, findings) in structure {
        let mut other = original.clone();
        edit(&mut other);
        seal(&mut other);
        check(&place, name, other.to_string(), (1, findings));
    }
}

#[test]
fn another_version_or_algorithm_is_unsupported_and_the_guides_shape_is_legacy() {
    let (place, original) = signed();
    for (field, value) in [
        ("manifest_version", "0.9"),
        ("manifest_version", "2.0"),
        ("manifest_version", "1.0 "),
        ("manifest_version", ""),
        ("algorithm", "none"),
        ("algorithm", "HMAC-SHA512"),
        ("algorithm", "hmac-sha256"),
    ] {
        let mut other = original.clone();
        other[field] = value.into();
        seal(&mut other);
        check(
            &place,
            &format!("{field} {value}"),
            other.to_string(),
            UNSUPPORTED,
        );
    }
    let legacy = json!({
        "manifest_version": "1.0", "created_at": "2025-01-01T00:00:00Z", "algorithm": "HMAC-SHA256",
        "file_inventory": {"a.json": {"absolute_path": "/x/a.json", "size_bytes": 9,
            "checksum_sha256": "0".repeat(64), "modified_time": 1}},
        "signature": {"signature": "0".repeat(64), "algorithm": "HMAC-SHA256",
            "signed_at": "2025-01-01T00:00:00Z", "content_hash": "0".repeat(64)},
    });
    check(
        &place,
        "legacy",
        legacy.to_string(),
        (2, &["manifest.legacy_format"]),
    );
}

#[test]
fn times_must_be_in_order_not_in_the_future_and_not_over() {
    let (place, original) = signed();
    let now = agp::base::clock::now();
    let at = |seconds: i64| Value::from(now.plus_seconds(seconds).to_seconds_string());
    let cases: [(&str, i64, i64, Option<i64>, Answer<'_>); 9] = [
        ("now", 0, 0, None, GOOD),
        ("within the skew", 200, 200, None, GOOD),
        ("signed in the future", 0, 4000, None, (1, &["time.future"])),
        (
            "both in the future",
            4000,
            4000,
            None,
            (1, &["time.future"]),
        ),
        ("reversed", 0, -60, None, (1, &["time.reversed"])),
        (
            "reversed over the future",
            4000,
            0,
            None,
            (1, &["time.future", "time.reversed"]),
        ),
        ("expires later", 0, 0, Some(4000), GOOD),
        ("expired", -100, -100, Some(-50), (1, &["time.expired"])),
        (
            "expired before it was made",
            0,
            0,
            Some(-50),
            (1, &["time.expired"]),
        ),
    ];
    for (name, created, signed, expires, expected) in cases {
        let mut other = original.clone();
        other["created_at"] = at(created);
        other["signature"]["signed_at"] = at(signed);
        other["expires_at"] = expires.map_or(Value::Null, at);
        seal(&mut other);
        check(&place, name, other.to_string(), expected);
    }
    for text in [
        "2025-13-01T00:00:00Z",
        "2025-02-30T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T00:00:00",
        "2025-01-01t00:00:00z",
        "2025-01-01T00:00:00.5Z",
        "2025-01-01T00:00:00+00:00",
        "0000-01-01T00:00:00Z",
        "12025-01-01T00:00:00Z",
        " 2025-01-01T00:00:00Z",
        "",
    ] {
        let mut other = original.clone();
        other["created_at"] = text.into();
        seal(&mut other);
        check(&place, text, other.to_string(), MALFORMED);
    }
    place.write("policy.json", "{\"integrity\": {\"max_age_days\": 30}}");
    for (days, expected) in [(-29, GOOD), (-31, (1, &["time.too_old"][..]))] {
        let mut other = original.clone();
        other["created_at"] = at(days * 86_400);
        other["signature"]["signed_at"] = at(days * 86_400);
        seal(&mut other);
        place.write(MANIFEST, other.to_string());
        answer(
            &place,
            ["verify", "--manifest", MANIFEST, "--config", "policy.json"],
            expected,
        );
    }
}

/// An object's members in reverse order, at every depth.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .rev()
                .map(|(key, value)| format!("{} : {}", Value::from(key.as_str()), reversed(value)))
                .collect();
            format!("{{\r\n\t{}}}", members.join(" ,\n"))
        }
        other => other.to_string(),
    }
}

#[test]
fn white_space_order_and_escapes_carry_no_meaning() {
    let (place, original) = signed();
    let pretty = serde_json::to_string_pretty(&original).unwrap();
    let escaped = original
        .to_string()
        .replace("\"subject\":\"tree\"", "\"\\u0073ubject\":\"tr\\u0065e\"");
    let slashes = original.to_string().replace("sub/b.txt", "sub\\/b.txt");
    for (name, text) in [
        ("compact", original.to_string()),
        ("pretty", pretty.clone()),
        ("CRLF", pretty.replace('\n', "\r\n")),
        ("around", format!(" \t\r\n{original}\n\n ")),
        ("reversed", reversed(&original)),
        ("escaped", escaped),
        ("slashes", slashes),
    ] {
        check(&place, name, text, GOOD);
    }
}

#[test]
fn an_empty_inventory_is_refused_unless_it_is_meant() {
    let place = Place::new();
    std::fs::create_dir(place.at("tree")).unwrap();
    answer(
        &place,
        ["sign", "--input-dir", "tree"],
        (2, &["command.input"]),
    );
    assert!(!place.at(MANIFEST).exists());
    answer(
        &place,
        ["sign", "--input-dir", "tree", "--allow-empty"],
        GOOD,
    );
    verdict(&place, (1, &["manifest.empty"]));
    answer(
        &place,
        ["verify", "--manifest", MANIFEST, "--allow-empty"],
        GOOD,
    );
    place.write("tree/new", "");
    answer(
        &place,
        ["verify", "--manifest", MANIFEST, "--allow-empty"],
        (1, &["file.unlisted"]),
    );
}

#[test]
fn an_older_manifest_with_its_older_tree_is_a_replay_to_those_who_ask() {
    let place = Place::new();
    place.signed_tree();
    let (old_manifest, old_file) = (place.read(MANIFEST), place.read("tree/a.json"));
    place.write("tree/a.json", "version two");
    answer(&place, ["sign", "--input-dir", "tree"], GOOD);
    let keeping = ["verify", "--manifest", MANIFEST, "--state", "seen.json"];
    answer(&place, keeping, GOOD);

    place.write("tree/a.json", old_file);
    place.write(MANIFEST, old_manifest);
    verdict(&place, GOOD);
    answer(&place, keeping, (1, &["replay.old_sequence"]));
    let least = ["verify", "--manifest", MANIFEST, "--min-sequence", "2"];
    answer(&place, least, (1, &["replay.old_sequence"]));
}

#[test]
fn another_subjects_manifest_with_its_tree_is_a_replay_to_those_who_ask() {
    let place = Place::new();
    place.write("payments/a", "pay");
    place.write("sandbox/a", "play");
    answer(
        &place,
        ["sign", "--input-dir", "payments", "--input-dir", "sandbox"],
        GOOD,
    );
    std::fs::remove_dir_all(place.at("payments")).unwrap();
    std::fs::rename(place.at("sandbox"), place.at("payments")).unwrap();
    let manifest = "payments/integrity_manifest.json";
    let verify = ["verify", "--manifest", manifest, "--subject", "payments"];
    answer(&place, verify, (1, &["replay.other_subject"]));
    place.write(
        "policy.json",
        "{\"integrity\": {\"subject\": \"payments\"}}",
    );
    let verify = ["verify", "--manifest", manifest, "--config", "policy.json"];
    answer(&place, verify, (1, &["replay.other_subject"]));
}

#[test]
fn another_trees_manifest_does_not_fit() {
    let place = Place::new();
    place.signed_tree();
    place.write("other/a.json", "other");
    answer(&place, ["sign", "--input-dir", "other"], GOOD);
    std::fs::copy(
        place.at("other/integrity_manifest.json"),
        place.at(MANIFEST),
    )
    .unwrap();
    verdict(&place, (1, &["file.modified", "file.unlisted"]));
}

/// Writes a tree for every variant, links unchanged files, and verifies all in one run; gives the
/// status of each in the order given.
fn statuses(place: &Place, variants: &[Pair], original: &Pair) -> Vec<String> {
    let name = |folder: &str, file: &str| place.at(format!("all/{folder}/{file}"));
    for (index, (manifest, file)) in variants.iter().enumerate() {
        let folder = format!("{index:06}");
        std::fs::create_dir_all(place.at(format!("all/{folder}"))).unwrap();
        std::fs::write(name(&folder, "integrity_manifest.json"), manifest).unwrap();
        // Links to one file beyond some thousands are refused by some file systems.
        if *file == original.1 && index % 1000 != 0 {
            let first = format!("{:06}", index / 1000 * 1000);
            std::fs::hard_link(name(&first, "e\u{1b}"), name(&folder, "e\u{1b}")).unwrap();
        } else {
            std::fs::write(name(&folder, "e\u{1b}"), file).unwrap();
        }
    }
    let ran = finish(&mut place.command(["verify", "--all", "all", "--json", "--quiet"]));
    let report = ran.json();
    assert_eq!(
        ran.code,
        i32::try_from(report["exit_code"].as_i64().unwrap()).unwrap()
    );
    let sections = report["manifests"].as_array().unwrap();
    assert_eq!(sections.len(), variants.len());
    sections
        .iter()
        .map(|section| section["status"].as_str().unwrap().to_owned())
        .collect()
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}

fn one_file() -> (Place, Pair) {
    let place = Place::new();
    let content = b"all of this counts".to_vec();
    place.write("tree/e\u{1b}", &content);
    answer(
        &place,
        ["sign", "--input-dir", "tree", "--no-absolute-paths"],
        GOOD,
    );
    let manifest = std::fs::read(place.at(MANIFEST)).unwrap();
    (place, (manifest, content))
}

#[test]
fn no_bit_of_a_manifest_can_be_flipped_but_where_it_means_the_same() {
    let (place, original) = one_file();
    let mut variants = vec![original.clone()];
    variants.extend(flipped(&original.0).map(|manifest| (manifest, original.1.clone())));
    let found = statuses(&place, &variants, &original);
    assert_eq!(found[0], "valid");
    let meaning: Value = serde_json::from_slice(&original.0).unwrap();
    let mut valid = 0;
    for ((manifest, _), status) in variants.iter().zip(&found) {
        if status == "valid" {
            let text = String::from_utf8_lossy(manifest);
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                meaning,
                "{text}"
            );
            valid += 1;
        }
    }
    // The original, and `\u001B` for `\u001b`.
    assert_eq!(valid, 2);
}

#[test]
fn no_bit_of_a_file_can_be_flipped() {
    let (place, original) = one_file();
    let mut variants = vec![original.clone()];
    variants.extend(flipped(&original.1).map(|file| (original.0.clone(), file)));
    let found = statuses(&place, &variants, &original);
    assert_eq!(found[0], "valid");
    assert!(
        found[1..].iter().all(|status| status == "invalid"),
        "{found:?}"
    );
}
