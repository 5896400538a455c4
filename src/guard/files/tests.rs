//! What each fact about an entry makes of it, in tables.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::OnceLock;

use super::super::notes::Item;
use super::super::shipped;
use super::*;
use crate::inventory::Special;

/// `rule severity` of everything found, sorted, with commas between.
fn told(found: &[Found]) -> String {
    let mut told: Vec<String> = found
        .iter()
        .map(|found| {
            let detail = found.finding.detail.as_deref().unwrap();
            format!("{} {}", detail.rule_id, found.finding.severity.word())
        })
        .collect();
    told.sort();
    told.join(", ")
}

const FILE: Facts<'_> = Facts {
    kind: Kind::File,
    mode: 0o644,
    size_bytes: 1,
    link_target: None,
};

fn found(path: &[u8], act: impl FnOnce(&Checks<'_>, &mut Notes<'_>)) -> Vec<Found> {
    static PACK: OnceLock<Pack> = OnceLock::new();
    let pack = PACK.get_or_init(|| shipped().unwrap());
    let item = Item {
        shown: "shown",
        member: None,
        path,
    };
    let mut notes = Notes::new(pack, item);
    act(&Checks::new(pack), &mut notes);
    notes.into_found()
}

/// What a content shows, whole and in pieces.
fn of_content(path: &[u8], content: &[u8]) -> Vec<Found> {
    let [whole, pieces] = [content.len().max(1), 7].map(|size| {
        found(path, |checks, notes| {
            let mut watch = checks.watch((content, false), notes);
            content
                .chunks(size)
                .for_each(|piece| watch.feed(piece, notes));
            watch.finish(notes);
        })
    });
    assert_eq!(whole, pieces);
    whole
}

#[track_caller]
fn check(path: &str, content: &[u8], expected: &str) {
    assert_eq!(
        told(&of_content(path.as_bytes(), content)),
        expected,
        "{path} {content:?}"
    );
}

#[track_caller]
fn check_facts(path: &[u8], facts: &Facts<'_>, expected: &str) {
    let found = found(path, |checks, notes| checks.entry(facts, notes));
    assert_eq!(told(&found), expected, "{path:?} {facts:?}");
}

#[test]
fn names_of_stores_of_credentials_count_unless_the_content_speaks_against_it() {
    let block = |label: &str| format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n");
    let key = block(&format!("RSA {} KEY", "PRIVATE"));
    let public = block("CERTIFICATE");
    for (name, content, expected) in [
        ("home/.ssh/id_rsa", &*key, "credential_file.ssh_key high"),
        (
            "home/.ssh/ID_RSA",
            "anything",
            "credential_file.ssh_key high",
        ),
        ("id_rsa", "", ""),
        ("id_rsa", "ssh-rsa AAAA me@host\n", ""),
        ("a.pem", &key, "credential_file.private_key high"),
        ("a.pem", &public, ""),
        ("a.pem", "\u{1}\u{2}", "credential_file.private_key medium"),
        ("a.key", &key, "credential_file.private_key high"),
        ("a.key", "C major", ""),
        ("notes.txt", &key, ""),
        ("tests/a.pem", &key, "credential_file.private_key medium"),
        ("a.p12", "\u{1}\u{2}", "credential_file.key_store high"),
        ("x/cacerts.jks", "\u{1}\u{2}", ""),
        (
            ".env",
            "DB_PASSWORD=kr4ft\n",
            "credential_file.environment high",
        ),
        (
            ".env.production",
            "PORT=80\n",
            "credential_file.environment medium",
        ),
        (
            "prod.env",
            "API_TOKEN=kr4ft\n",
            "credential_file.environment high",
        ),
        (".env", "# nothing\nPORT=\n", ""),
        (".env.example", "DB_PASSWORD=kr4ft\n", ""),
        (".env.local.sample", "DB_PASSWORD=kr4ft\n", ""),
        ("example.env", "DB_PASSWORD=kr4ft\n", ""),
        ("x.environment", "DB_PASSWORD=kr4ft\n", ""),
        (
            "infra/terraform.tfstate",
            "{\"version\": 4}",
            "credential_file.terraform_state high",
        ),
        ("app.dmp", "x", "dump.by_name medium"),
        ("a.sql", "-- MySQL dump 10.13\n", "dump.database medium"),
        ("a.bin", "PGDMP\u{1}", "dump.database high"),
        ("a.bin", "JAVA PROFILE 1.0.2\0", "dump.memory high"),
        ("bin/htpasswd", "#!/bin/sh\n", ""),
        (
            "www/htpasswd",
            "me:$apr1$x",
            "credential_file.htpasswd high",
        ),
        ("README.md", "# all is well", ""),
    ] {
        check(name, content.as_bytes(), expected);
    }
}

#[test]
fn contents_that_are_not_what_the_name_says_are_told_by_what_they_are() {
    let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0";
    let png = b"\x89PNG\r\n\x1a\n";
    for (name, content, expected) in [
        ("a.png", &elf[..], "disguise.program critical"),
        ("tests/a.png", elf, "disguise.program high"),
        ("a.json", elf, "disguise.program critical"),
        ("a.so", elf, ""),
        ("a", elf, ""),
        ("a.PNG", png, ""),
        ("a.jpg", png, "disguise.other_format medium"),
        ("a.png", b"#!/bin/sh\nid\n", "disguise.script high"),
        ("a.txt", b"#!/bin/sh\nid\n", "disguise.script low"),
        ("a.gif", b"<?php system(1);", "disguise.script high"),
        ("a.jpg", b"PK\x03\x04", "disguise.archive high"),
        ("a.csv", b"\x1f\x8b\x08\0", "disguise.archive high"),
        ("a.wav", b"%PDF-1.4", "disguise.document high"),
        ("a.ttf", b"OTTO\0", ""),
        ("a.png", b"<html>", "disguise.unrecognized medium"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\n", ""),
        ("a.png", b"", ""),
        ("a.mp3", b"\xff\xfb\x90", ""),
        ("a.md", b"GIF89a is a format", ""),
        ("a.txt", b"a\0b", "disguise.unrecognized medium"),
        ("a.txt", b"\xff\xfea\0b\0", ""),
        ("a.glb", b"glTF\x02\0\0\0", ""),
    ] {
        check(name, content, expected);
    }
    let mut polyglot = png.to_vec();
    polyglot.extend([&b"PK\x01\x02"[..], &[0; 42]].concat());
    polyglot.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2e\0\0\0\0\0\0\0\0\0");
    check("a.png", &polyglot, "disguise.appended high");
}

#[test]
fn pickles_are_told_by_what_they_call() {
    let system = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.";
    let array = [&b"\x93NUMPY\x01\0\x0d\0{'descr':'|O'"[..], system].concat();
    for (name, content, expected) in [
        ("model.pkl", &system[..], "pickle.runs_code critical"),
        ("model", system, "pickle.runs_code critical"),
        ("model.npy", &array, "pickle.runs_code critical"),
        (
            "a.pkl",
            b"Ncsocket\nsocket\n(tR.",
            "pickle.reaches_out high",
        ),
        ("a.bin", b"Ncsocket\nsocket\n(tR.", ""),
        ("a.pkl", b"\x80\x02ccollections\nOrderedDict\n)R.", ""),
        ("a.pkl", b"\x80\x02N.", ""),
        ("a.pkl", b"not a pickle", ""),
    ] {
        check(name, content, expected);
    }
}

#[test]
fn modes_links_and_kinds_count() {
    for (mode, expected) in [
        (0o755, ""),
        (0o4755, "permission.setuid high"),
        (0o2755, "permission.setgid high"),
        (0o2644, ""),
        (
            0o6757,
            "permission.setgid high, permission.setuid high, permission.world_writable high",
        ),
        (0o666, "permission.world_writable high"),
    ] {
        check_facts(b"a", &Facts { mode, ..FILE }, expected);
    }
    let folder = Facts {
        kind: Kind::Directory,
        ..FILE
    };
    for (mode, expected) in [
        (0o2775, ""),
        (0o1777, ""),
        (0o777, "permission.world_writable high"),
    ] {
        check_facts(b"a", &Facts { mode, ..folder }, expected);
    }
    let kind = Kind::Symlink;
    for (target, expected) in [
        (&b"../b"[..], ""),
        (b"../../b", "link.outside high"),
        (b"/etc/passwd", "link.outside high"),
        (b"/dev/null", ""),
    ] {
        let link = Facts {
            kind,
            mode: 0o777,
            size_bytes: 0,
            link_target: Some(target),
        };
        check_facts(b"a/link", &link, expected);
    }
    let kind = Kind::Special(Special::Fifo);
    check_facts(b"a", &Facts { kind, ..FILE }, "file_type.special medium");
}

#[test]
fn names_that_deceive_say_how() {
    for (name, expected) in [
        ("invoice.pdf.exe", "file_name.double_extension high"),
        ("Photo.JPG .scr", "file_name.double_extension high"),
        ("invoice        .exe", "file_name.double_extension high"),
        ("setup.exe", ""),
        ("archive.tar.gz", ""),
        ("lib.min.js", ""),
        ("a\u{202e}gpj.exe", "file_name.bidi high"),
        ("pay\u{200b}load.txt", "file_name.invisible high"),
        ("pay\u{200d}load.txt", "file_name.invisible high"),
        ("👩\u{200d}💻.txt", ""),
        ("a\nb", "file_name.control medium"),
        ("é\u{85}b", "file_name.control medium"),
        ("раypal.txt", "file_name.mixed_script medium"),
        ("привет-mix.txt", ""),
    ] {
        check_facts(name.as_bytes(), &FILE, expected);
    }
    check_facts(b"caf\xe9", &FILE, "file_name.not_utf8 low");
}

#[test]
fn texts_that_deceive_say_where() {
    for (path, text, expected) in [
        ("a.py", "x = 1\n#\u{202e} }\n", "trojan_source.bidi high"),
        (
            "a.py",
            "x = '\u{2068}a\u{2069}'\n",
            "trojan_source.bidi low",
        ),
        ("a", "#!/bin/sh\n#\u{202e} }\n", "trojan_source.bidi high"),
        ("a.txt", "\u{202b}שלום\n", ""),
        ("a.txt", "\u{202e}abc\n", "trojan_source.bidi medium"),
        (
            "a.md",
            "fine\u{e0041}\u{e0042}\u{e0043}\u{e0044}\n",
            "trojan_source.hidden_text high",
        ),
        (
            "a.js",
            "const \u{3164} = 1\n",
            "trojan_source.invisible high",
        ),
        ("a.txt", "const \u{3164} = 1\n", ""),
        (
            "a.js",
            "const x\u{3164} = 1\n",
            "trojan_source.invisible high",
        ),
        (
            "a.js",
            "is\u{200b}Admin\n",
            "trojan_source.invisible medium",
        ),
        ("a.md", "is\u{200b}Admin\n", ""),
        ("a.go", "if sсope {\n", "trojan_source.homoglyph medium"),
    ] {
        check(path, text.as_bytes(), expected);
    }
    let found = of_content(b"a.py", "é\n  é = \u{202e}\n".as_bytes());
    let finding = &found[0].finding;
    assert_eq!((finding.line, finding.column), (Some(2), Some(7)));
    let long = format!("{}\n{}\u{202e}\n", "\n".repeat(9), "é".repeat(20_000));
    let found = of_content(b"a.py", long.as_bytes());
    let finding = &found[0].finding;
    assert_eq!((finding.line, finding.column), (Some(11), Some(20_001)));
    let many = "#\u{202e}\n".repeat(1000);
    assert_eq!(of_content(b"a.py", many.as_bytes()).len(), 20);
}
