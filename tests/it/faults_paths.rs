//! Paths that lead astray: in manifests, in trees, and in names that only look alike.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::faults_manifest::forge;
use crate::harness::Place;
use crate::sign_verify::{Answer, answer, finish, verdict};

const MANIFEST: &str = "tree/integrity_manifest.json";
const GOOD: Answer<'static> = (0, &[]);
const MALFORMED: Answer<'static> = (2, &["manifest.malformed"]);

fn signed() -> Place {
    let place = Place::new();
    place.signed_tree();
    place
}

pub(crate) fn fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn sign(place: &Place, expected: Answer<'_>) -> Value {
    answer(place, ["sign", "--input-dir", "tree"], expected)
}

pub(crate) fn remove(path: &Path) {
    match path.symlink_metadata().unwrap().is_dir() {
        true => std::fs::remove_dir_all(path).unwrap(),
        false => std::fs::remove_file(path).unwrap(),
    }
}

#[test]
fn a_path_that_leaves_the_tree_or_has_two_spellings_is_malformed_under_a_good_signature() {
    let long = "x/".repeat(2047) + "xx";
    let bad = [
        "../x",
        "..",
        "a/../../x",
        "sub/..",
        "/etc/passwd",
        "/",
        "./x",
        ".",
        "sub/./b",
        "a//b",
        "sub/",
        "sub//",
        "",
        "x\0y",
        "\0",
        &long,
    ];
    let place = signed();
    let original = place.read(MANIFEST);
    for path in bad {
        let file = |value: &mut Value| {
            value["file_inventory"][path] = value["file_inventory"]["a.json"].clone();
            value["summary"]["file_count"] = 5.into();
            value["summary"]["total_size_bytes"] = 26.into();
        };
        let directory = |value: &mut Value| {
            value["directories"][path] = json!({"mode": "0755"});
            value["summary"]["directory_count"] = 3.into();
        };
        let exempt = |value: &mut Value| value["options"]["exempt"] = json!([path]);
        let exclude = |value: &mut Value| value["options"]["exclude"] = json!([path]);
        let edits: [&dyn Fn(&mut Value); 4] = [&file, &directory, &exempt, &exclude];
        for edit in edits {
            place.write(MANIFEST, &original);
            forge(&place, edit);
            verdict(&place, MALFORMED);
        }
    }
    for root in ["/", "/tmp", "../", "./", "../x", "x", "..//..", "../.", ""] {
        place.write(MANIFEST, &original);
        forge(&place, |value| {
            value["root_relative_to_manifest"] = root.into()
        });
        verdict(&place, MALFORMED);
    }
}

#[test]
fn the_longest_path_is_merely_missing() {
    let place = signed();
    forge(&place, |value| {
        let name = "x".repeat(4095);
        value["file_inventory"][name] = value["file_inventory"]["empty"].clone();
        value["summary"]["file_count"] = 5.into();
    });
    verdict(&place, (1, &["file.missing"]));
}

#[test]
fn a_tree_deeper_than_any_path_is_refused() {
    let place = signed();
    let name = "d".repeat(200);
    let mut at =
        rustix::fs::open(place.at("tree"), rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    for _ in 0..25 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    }
    sign(&place, (2, &["file.unreadable"]));
    verdict(&place, (2, &["file.unlisted", "file.unreadable"]));
}

#[test]
fn an_absolute_path_that_points_at_a_pristine_copy_saves_nothing() {
    let place = signed();
    let pristine = place.write("pristine.json", place.read("tree/a.json"));
    place.write("tree/a.json", "{\"a\": 2}\n");
    forge(&place, |value| {
        value["file_inventory"]["a.json"]["absolute_path"] = pristine.to_str().unwrap().into();
    });
    let report = verdict(&place, (1, &["file.modified"]));
    assert_eq!(report["findings"][0]["path"], "tree/a.json");
    remove(&place.at("tree/a.json"));
    verdict(&place, (1, &["file.missing"]));
}

#[test]
fn a_last_component_swapped_for_a_link_to_the_same_content_is_noticed() {
    for target in ["../copy", "sub/b.txt", "nowhere", "/etc/hostname"] {
        let place = signed();
        std::fs::rename(place.at("tree/a.json"), place.at("copy")).unwrap();
        symlink(target, place.at("tree/a.json")).unwrap();
        verdict(&place, (1, &["file.type_changed"]));
    }
}

#[test]
fn a_middle_component_swapped_for_a_link_to_the_same_content_is_noticed() {
    let place = signed();
    std::fs::rename(place.at("tree/sub"), place.at("sub")).unwrap();
    symlink("../sub", place.at("tree/sub")).unwrap();
    verdict(&place, (1, &["file.missing", "file.type_changed"]));
    remove(&place.at("tree/sub"));
    symlink(place.at("sub"), place.at("tree/sub")).unwrap();
    verdict(&place, (1, &["file.missing", "file.type_changed"]));
}

#[test]
fn a_link_that_points_elsewhere_is_modified() {
    let place = signed();
    for target in [
        "sub/b.tx",
        "./sub/b.txt",
        "sub//b.txt",
        "../tree/sub/b.txt",
        "/etc/passwd",
    ] {
        remove(&place.at("tree/link"));
        symlink(target, place.at("tree/link")).unwrap();
        verdict(&place, (1, &["file.modified"]));
    }
}

#[test]
fn no_kind_of_entry_can_become_another() {
    let kinds = ["file", "directory", "symlink", "fifo"];
    let make = |place: &Place, kind: &str| match kind {
        "file" => {
            place.write("tree/x", "");
        }
        "directory" => std::fs::create_dir(place.at("tree/x")).unwrap(),
        "symlink" => symlink("y", place.at("tree/x")).unwrap(),
        _ => fifo(&place.at("tree/x")),
    };
    for before in &kinds[..3] {
        for after in kinds {
            let place = Place::new();
            place.write("tree/y", "y");
            make(&place, before);
            sign(&place, GOOD);
            verdict(&place, GOOD);
            remove(&place.at("tree/x"));
            make(&place, after);
            let expected = match *before == after {
                true => GOOD,
                false => (1, &["file.type_changed"][..]),
            };
            verdict(&place, expected);
        }
    }
}

#[test]
fn links_that_loop_are_recorded_and_never_followed() {
    let place = Place::new();
    place.write("tree/sub/file", "f");
    for (target, name) in [
        ("loop", "loop"),
        ("b", "a"),
        ("a", "b"),
        ("..", "sub/up"),
        (".", "here"),
    ] {
        symlink(target, place.at("tree").join(name)).unwrap();
    }
    let report = sign(&place, GOOD);
    assert_eq!(report["manifests"][0]["counts"]["symlink_count"], 5);
    assert_eq!(report["manifests"][0]["counts"]["file_count"], 1);
    verdict(&place, GOOD);
    symlink("self", place.at("self")).unwrap();
    answer(
        &place,
        ["sign", "--input-dir", "self"],
        (2, &["command.input"]),
    );
    answer(
        &place,
        ["verify", "--manifest", "self"],
        (2, &["manifest.symlink"]),
    );
    let elsewhere = ["verify", "--manifest", MANIFEST, "--input-dir", "self"];
    answer(&place, elsewhere, (2, &["file.unreadable"]));
}

#[test]
fn a_manifest_that_is_a_link_is_refused_and_a_signer_replaces_the_link_alone() {
    let place = signed();
    let text = place.read(MANIFEST);
    std::fs::rename(place.at(MANIFEST), place.at("real.json")).unwrap();
    symlink("../real.json", place.at(MANIFEST)).unwrap();
    verdict(&place, (2, &["manifest.symlink"]));
    answer(
        &place,
        ["verify", "--all", "tree"],
        (2, &["manifest.symlink"]),
    );
    sign(&place, GOOD);
    assert!(place.at(MANIFEST).symlink_metadata().unwrap().is_file());
    assert_eq!(place.read("real.json"), text);
    verdict(&place, GOOD);
}

#[test]
fn a_key_file_that_is_a_link_is_judged_by_what_it_points_to() {
    let place = Place::without_key();
    place.write("tree/a", "a");
    place.write("key", crate::harness::secret());
    symlink("key", place.at("link")).unwrap();
    symlink("loop", place.at("loop")).unwrap();
    let sign = |key: &str, expected: Answer<'_>| {
        answer(
            &place,
            ["sign", "--input-dir", "tree", "--key-file", key],
            expected,
        );
    };
    place.chmod("key", 0o644);
    sign("link", (2, &["key.unavailable"]));
    place.chmod("key", 0o600);
    sign("link", GOOD);
    sign("loop", (2, &["key.unavailable"]));
    sign("nowhere", (2, &["key.unavailable"]));
    sign("tree", (2, &["key.unavailable"]));
    sign("/dev/zero", (2, &["key.unavailable"]));
    fifo(&place.at("fifo"));
    sign("fifo", (2, &["key.unavailable"]));
}

#[test]
fn names_equal_under_normalization_or_case_folding_are_different_names() {
    let place = Place::new();
    let names = [
        "caf\u{e9}",
        "cafe\u{301}",
        "Readme",
        "README",
        "stra\u{df}e",
        "STRASSE",
        "\u{2126}",
        "\u{3a9}",
    ];
    for name in names {
        place.write(&format!("tree/{name}"), name);
    }
    if std::fs::read_dir(place.at("tree")).unwrap().count() < names.len() {
        crate::harness::skip("names alike", "a file system that tells them apart");
        return;
    }
    sign(&place, GOOD);
    let report = verdict(&place, GOOD);
    assert_eq!(report["manifests"][0]["counters"]["checked"], names.len());
    for pair in names.chunks(2) {
        let (one, two) = (format!("tree/{}", pair[0]), format!("tree/{}", pair[1]));
        let swap = || {
            std::fs::rename(place.at(&one), place.at("third")).unwrap();
            std::fs::rename(place.at(&two), place.at(&one)).unwrap();
            std::fs::rename(place.at("third"), place.at(&two)).unwrap();
        };
        swap();
        verdict(&place, (1, &["file.modified"]));
        swap();
        remove(&place.at(&one));
        verdict(&place, (1, &["file.missing"]));
        place.write(&one, pair[0]);
    }
    let place = Place::new();
    place.write("tree/caf\u{e9}", "");
    sign(&place, GOOD);
    std::fs::rename(place.at("tree/caf\u{e9}"), place.at("tree/cafe\u{301}")).unwrap();
    verdict(&place, (1, &["file.missing", "file.unlisted"]));
}

#[test]
fn strange_names_are_sealed_and_never_reach_the_terminal_raw() {
    let names: [&[u8]; 12] = [
        b"\xff\xfe",
        b"caf\xe9",
        b"\xed\xa0\x80",
        b"new\nline",
        b"tab\t",
        b"esc\x1b[31mred",
        b"bell\x07",
        b"\xe2\x80\xaegnp.exe",
        b"\xe2\x81\xa6bidi",
        b"back\\slash",
        b"\\xff",
        b" -rf\x7f",
    ];
    let place = Place::new();
    let path = |name: &[u8]| place.at("tree").join(OsStr::from_bytes(name));
    for name in names {
        place.write("tree/seed", "s");
        std::fs::write(path(name), name).unwrap();
        symlink(OsStr::from_bytes(name), path(&[b"link-", name].concat())).unwrap();
        std::fs::create_dir(path(&[b"dir-", name].concat())).unwrap();
    }
    let report = sign(&place, GOOD);
    assert_eq!(
        report["manifests"][0]["counts"]["file_count"],
        names.len() + 1
    );
    verdict(&place, GOOD);
    for name in names {
        std::fs::write(path(name), "changed").unwrap();
        let report = verdict(&place, (1, &["file.modified"]));
        assert_eq!(report["findings"].as_array().unwrap().len(), 1);
        for color in ["always", "never"] {
            let verify = ["verify", "--manifest", MANIFEST, "--color", color];
            let ran = finish(&mut place.command(verify));
            assert_eq!(ran.code, 1);
            let text = ran.stdout + &ran.stderr;
            for raw in [
                "\x1b[31mred",
                "\x07",
                "\t",
                "\u{202e}",
                "\u{2066}",
                "\x7f",
                "new\nline",
            ] {
                assert!(!text.contains(raw), "{name:?} {text:?}");
            }
        }
        std::fs::write(path(name), name).unwrap();
    }
    for name in names {
        std::fs::remove_file(path(name)).unwrap();
        verdict(&place, (1, &["file.missing"]));
        std::fs::write(path(name), name).unwrap();
    }
}

#[test]
fn nothing_is_left_out_by_default() {
    for path in [
        ".git/hooks/pre-commit",
        ".hidden",
        "sub/.hidden",
        ".agp-new",
        "node_modules/x",
        "a~",
        "sub/integrity_manifest.json",
        "sub/deep/integrity_manifest.json",
        "sub/integrity_report.json",
        "integrity_manifest.json.bak",
        ".integrity_manifest.json.agp-new",
        "Integrity_Manifest.json",
    ] {
        let place = signed();
        place.write(&format!("tree/{path}"), "#!/bin/sh\n");
        let report = verdict(&place, (1, &["file.unlisted"]));
        // What a killed command may have left counts no less, and says what it may be.
        let hint = report["findings"][0]["hint"].as_str().unwrap_or_default();
        assert_eq!(hint.contains("killed"), path.ends_with("agp-new"), "{path}");
    }
}

#[test]
fn what_was_signed_under_git_or_deeper_down_is_watched() {
    let place = Place::new();
    place.write("tree/.git/hooks/pre-commit", "#!/bin/sh\n");
    place.write("tree/sub/file", "f");
    answer(&place, ["sign", "--input-dir", "tree/sub"], GOOD);
    let report = sign(&place, GOOD);
    assert_eq!(report["manifests"][0]["counts"]["file_count"], 3);
    let all = answer(&place, ["verify", "--all", "tree"], GOOD);
    assert_eq!(all["summary"]["valid"], 2);
    for (path, before) in [
        ("tree/.git/hooks/pre-commit", "#!/bin/sh\n".to_owned()),
        (
            "tree/sub/integrity_manifest.json",
            place.read("tree/sub/integrity_manifest.json"),
        ),
    ] {
        place.write(path, format!("{before} "));
        verdict(&place, (1, &["file.modified"]));
        place.write(path, before);
        verdict(&place, GOOD);
    }
}

#[test]
fn permission_bits_are_sealed_all_twelve() {
    let place = signed();
    for (path, before, others) in [
        (
            "tree/a.json",
            0o644,
            [0o4777, 0o4644, 0o2644, 0o1644, 0o645, 0o600],
        ),
        (
            "tree/sub",
            0o755,
            [0o4777, 0o4755, 0o2755, 0o1755, 0o757, 0o700],
        ),
    ] {
        for mode in others {
            place.chmod(path, mode);
            verdict(&place, (1, &["file.mode_changed"]));
        }
        place.chmod(path, before);
        verdict(&place, GOOD);
    }
    // The root itself is no entry.
    place.chmod("tree", 0o700);
    verdict(&place, GOOD);
}

#[test]
fn an_empty_file_or_directory_added_or_removed_is_noticed() {
    let place = signed();
    std::fs::create_dir(place.at("tree/folder")).unwrap();
    verdict(&place, (1, &["file.unlisted"]));
    sign(&place, GOOD);
    remove(&place.at("tree/folder"));
    verdict(&place, (1, &["file.missing"]));
    sign(&place, GOOD);
    place.write("tree/none", "");
    verdict(&place, (1, &["file.unlisted"]));
    remove(&place.at("tree/none"));
    remove(&place.at("tree/empty"));
    verdict(&place, (1, &["file.missing"]));
}
