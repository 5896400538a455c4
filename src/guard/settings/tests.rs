//! What a policy, a name and a content make of each other, in tables.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::OnceLock;

use super::super::found::Found;
use super::super::rule::Pack;
use super::super::shipped;
use super::*;

/// `rule severity line` of everything found, sorted, with commas between.
fn told(found: &[Found]) -> String {
    let mut told: Vec<String> = found
        .iter()
        .map(|found| {
            let finding = &found.finding;
            let rule = &finding.detail.as_deref().unwrap().rule_id;
            let line = finding
                .line
                .map_or_else(String::new, |line| format!(" {line}"));
            format!("{rule} {}{line}", finding.severity.word())
        })
        .collect();
    told.sort();
    told.join(", ")
}

fn found(policy: &str, path: &str, act: impl FnOnce(&Checks<'_>, &mut Notes<'_>)) -> Vec<Found> {
    static PACK: OnceLock<Pack> = OnceLock::new();
    let pack = PACK.get_or_init(|| shipped().unwrap());
    let policy: Policy = serde_json::from_str(policy).unwrap();
    let item = Item {
        shown: "shown",
        member: None,
        path: path.as_bytes(),
    };
    let mut notes = Notes::new(pack, item);
    act(&Checks::new(&policy), &mut notes);
    notes.into_found()
}

/// What a content shows, whole and in pieces.
#[track_caller]
fn check(policy: &str, path: &str, content: &[u8], expected: &str) {
    let form = wide::form_of(content);
    let mut text = Vec::new();
    match form {
        Some(form) => {
            let mut inner = content;
            let mut reader = wide::WideReader::new(&mut inner, form);
            std::io::Read::read_to_end(&mut reader, &mut text).unwrap();
        }
        None => text.extend_from_slice(content),
    }
    for size in [content.len().max(1), 3, 1] {
        let found = found(policy, path, |checks, notes| {
            let mut watch = checks.watch((content, form), notes.item());
            text.chunks(size).for_each(|piece| watch.feed(piece));
            watch.finish(notes);
        });
        let content = String::from_utf8_lossy(content);
        assert_eq!(told(&found), expected, "{path} {content}: {found:?}");
    }
}

#[test]
fn texts_are_parsed_as_their_names_say() {
    for (path, content, expected) in [
        ("a.json", "{\"a\": 1}", ""),
        ("a.json", "{\"a\": 1", "asset.malformed high 1"),
        ("tests/a.json", "{\"a\": 1", "asset.malformed medium 1"),
        ("a.json", "{\"a\": {{ value }}}", "asset.malformed low 1"),
        ("a.json", "// no\n{}", "asset.malformed high 1"),
        ("a.jsonc", "// yes\n{}", ""),
        ("tsconfig.base.json", "// yes\n{}", ""),
        (".vscode/settings.json", "// yes\n{}", ""),
        ("a.json5", "{a: 'b',}", ""),
        ("a.jsonl", "{}\n[]\n", ""),
        ("a.jsonl", "{}\n[\n", "asset.malformed high 2"),
        (
            "a.json",
            "{\"a\": 1,\n\"a\": 2}",
            "asset.duplicate_key medium 2",
        ),
        ("a.yaml", "a: [1\n", "asset.malformed high 2"),
        ("a.yml", "a: 1\na: 2\n", "asset.duplicate_key medium 2"),
        ("a.toml", "a = 1\na = 2\n", "asset.malformed high 2"),
        ("a.toml", "\u{feff}a = 1\n", ""),
        ("a.txt", "{\"a\": 1", ""),
        ("a.JSON", "", "asset.malformed high 1"),
    ] {
        check("{}", path, content.as_bytes(), expected);
    }
    check(
        "{}",
        "a.json",
        b"{\"a\": \"caf\xe9\"}",
        "asset.malformed high",
    );
    for path in ["a.json", "a.yaml"] {
        check(
            "{}",
            path,
            "[".repeat(200_000).as_bytes(),
            "asset.nesting high 1",
        );
    }
    let deep = format!("a = {}", "[".repeat(200_000));
    check("{}", "a.toml", deep.as_bytes(), "asset.nesting high 1");
}

#[test]
fn required_fields_stand_at_the_top_or_below_metadata() {
    let policy = r#"{"validation_rules": {"required_metadata_fields": ["author", "license"]}}"#;
    let both = "author: me\nmetadata: {license: x}\n";
    for (path, content, expected) in [
        ("a.json", r#"{"author": 1, "metadata": {"license": 2}}"#, ""),
        ("a.json", r#"{"author": 1}"#, "quality.metadata high"),
        (
            "a.json",
            r#"{"x": {"author": 1, "license": 2}}"#,
            "quality.metadata high",
        ),
        ("a.json", "[1]", ""),
        ("a.jsonl", "{}\n", ""),
        ("a.yaml", both, ""),
        ("a.yaml", "a: 1\n---\nb: 2\n", "quality.metadata high"),
        ("a.toml", "author = 1\n[metadata]\nlicense = 2\n", ""),
        ("a.toml", "author = 1\n", "quality.metadata high"),
        ("a.png", "author", ""),
    ] {
        check(policy, path, content.as_bytes(), expected);
    }
}

#[test]
fn thresholds_hold() {
    let policy = r#"{"quality_thresholds": {"file_size_bytes_min": 2, "file_size_bytes_max": 4,
                     "allowed_formats": ["PNG", ".tar.gz"]}}"#;
    for (path, size_bytes, expected) in [
        ("a.png", 2, ""),
        ("a.PNG", 4, ""),
        ("a.tar.gz", 4, ""),
        ("a.png", 1, "quality.size high"),
        ("a.png", 5, "quality.size high"),
        ("a.gz", 3, "quality.format high"),
        ("png", 3, "quality.format high"),
    ] {
        let found = found(policy, path, |checks, notes| {
            checks.entry(size_bytes, notes)
        });
        assert_eq!(told(&found), expected, "{path} {size_bytes}");
    }
    let lines = r#"{"quality_thresholds": {"line_length_max": 3}}"#;
    for (content, expected) in [
        ("abc\r\nüöä\n", ""),
        ("abc\nabcd\nabcde", "quality.line_length high 2"),
        ("abc\r\n\nab\n\r\n", ""),
        ("abc\rd\n", "quality.line_length high 1"),
        ("a\0bcde", ""),
    ] {
        check(lines, "a.txt", content.as_bytes(), expected);
    }
}

#[test]
fn texts_have_the_encoding_that_the_policy_wants() {
    let wanted =
        |encoding: &str| format!(r#"{{"quality_thresholds": {{"encoding": "{encoding}"}}}}"#);
    let latin = b"caf\xe9 au lait\n";
    let wide: Vec<u8> = "\u{feff}wide"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (encoding, content, expected) in [
        ("utf-8", &b"plain\n"[..], ""),
        ("utf-8", "caf\u{e9}\n".as_bytes(), ""),
        ("utf-8", latin, "quality.encoding medium 1"),
        ("utf-8", b"ok\n\xc3", "quality.encoding medium 2"),
        ("utf-8", &wide, "quality.encoding medium"),
        ("utf-8", b"\x89PNG\r\n\x1a\n\xff", ""),
        ("ascii", b"plain\n", ""),
        (
            "ascii",
            "a\ncaf\u{e9}\n".as_bytes(),
            "quality.encoding high 2",
        ),
        ("utf-16le", &wide, ""),
        ("utf-16le", b"plain\n", "quality.encoding high"),
        ("utf-16be", &wide, "quality.encoding high"),
        ("utf-16le", b"", ""),
        ("any", latin, ""),
    ] {
        check(&wanted(encoding), "a.txt", content, expected);
    }
}

#[test]
fn workflows_that_give_strangers_what_is_ours_are_told() {
    let path = ".github/workflows/ci.yml";
    let checkout = "jobs:\n  a:\n    steps:\n      - uses: ./x\n        with:\n          ref: ${{ github.event.pull_request.head.sha }}\n";
    for (content, expected) in [
        (format!("on: pull_request_target\n{checkout}"), "workflow.untrusted_checkout high 7"),
        (format!("on: [push, pull_request_target]\n{checkout}"), "workflow.untrusted_checkout high 7"),
        (
            format!("on:\n  pull_request_target:\n    types: [opened]\n{checkout}"),
            "workflow.untrusted_checkout high 9",
        ),
        (format!("on: pull_request\n{checkout}"), ""),
        (
            "jobs: {a: {steps: [{run: \"echo ${{ github.event.issue.title }}\"}]}}\n".into(),
            "workflow.script_injection medium 1",
        ),
        (
            "jobs: {a: {steps: [{run: \"echo $TITLE\", env: {TITLE: \"${{ github.event.issue.title }}\"}}]}}\n".into(),
            "",
        ),
        ("a: [{uses: x/y@v1}]\n".into(), "workflow.unpinned_action medium 1"),
        ("a: [{uses: actions/checkout@v4}]\n".into(), "workflow.unpinned_action low 1"),
        (format!("a: [{{uses: x/y@{}}}]\n", "0a".repeat(20)), ""),
        ("permissions: write-all\n".into(), "workflow.write_all medium 1"),
        ("permissions: {contents: read}\n".into(), ""),
    ] {
        check("{}", path, content.as_bytes(), expected);
    }
    check("{}", "other/ci.yml", b"permissions: write-all\n", "");
}

#[test]
fn containers_with_rights_over_their_machine_are_told() {
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nspec:\n{spec}");
    let service = |settings: &str| format!("services:\n  a:\n{settings}");
    for (content, expected) in [
        (
            pod("  containers:\n    - securityContext: {privileged: true}\n"),
            "container.privileged high 5",
        ),
        (
            pod("  containers:\n    - securityContext: {privileged: false}\n"),
            "",
        ),
        (
            pod("  hostNetwork: true\n"),
            "container.host_namespace medium 4",
        ),
        (
            pod(
                "  volumes:\n    - hostPath: {path: /var/run/docker.sock}\n    - hostPath: {path: /etc/}\n    - hostPath: {path: /srv}\n",
            ),
            "container.engine_socket medium 5, container.host_path medium 6",
        ),
        (
            pod(
                "  containers:\n    - securityContext: {capabilities: {add: [SYS_ADMIN, CHOWN]}}\n",
            ),
            "container.capability medium 5",
        ),
        (
            service("    privileged: true\n"),
            "container.privileged high 3",
        ),
        (
            service("    network_mode: host\n"),
            "container.host_namespace medium 3",
        ),
        (
            service("    volumes: [\"/var/run/docker.sock:/s:ro\", \"/:/host\", \"./a:/a\"]\n"),
            "container.engine_socket medium 3, container.host_path medium 3",
        ),
        (
            service("    cap_add: [CAP_SYS_ADMIN]\n"),
            "container.capability medium 3",
        ),
        ("a:\n  privileged: true\n".into(), ""),
        (
            pod("") + "---\na: {securityContext: {privileged: true}}\n",
            "",
        ),
    ] {
        check("{}", "a.yaml", content.as_bytes(), expected);
    }
}
