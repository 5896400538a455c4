//! Suspicious files and configuration violations, as the binary finds them in real trees: each
//! fails a strict build, passes an advisory one that says so, and a clean tree passes everywhere.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Place, Ran};

/// Scans `assets/` under a policy.
fn guard(place: &Place, policy: &Value) -> Ran {
    place.write("policy.json", policy.to_string());
    let arguments = [
        "guard",
        "--config",
        "policy.json",
        "--target",
        "assets",
        "--json",
    ];
    place.run(arguments)
}

/// `rule severity` of every finding, sorted, each once.
fn told(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let mut told: Vec<String> = findings
        .map(|finding| {
            let rule = finding["rule_id"].as_str().or(finding["code"].as_str());
            format!(
                "{} {}",
                rule.unwrap(),
                finding["severity"].as_str().unwrap()
            )
        })
        .collect();
    told.sort();
    told.dedup();
    told
}

/// What a tree shows under `strict`, and that it fails there and only says so under `advisory`.
#[track_caller]
fn fails(place: &Place, expected: &[&str]) {
    fails_under(place, &json!({}), expected);
}

#[track_caller]
fn fails_under(place: &Place, policy: &Value, expected: &[&str]) {
    let strict = guard(place, policy);
    assert_eq!(told(&strict.json()), expected);
    assert_eq!(strict.code, 19, "{strict:?}");
    let mut policy = policy.clone();
    policy["policy_guard"]["enforcement_level"] = "advisory".into();
    let advisory = guard(place, &policy);
    assert_eq!(advisory.code, 0, "{advisory:?}");
    let report = advisory.json();
    assert_eq!(told(&report), expected);
    let findings = report["findings"].as_array().unwrap();
    let would_fail = findings.iter().any(|finding| finding["would_fail"] == true);
    assert!(would_fail, "{report:#}");
}

fn private_key() -> String {
    let body = "MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu".repeat(4);
    format!(
        "-----BEGIN RSA {0} KEY-----\n{body}\n-----END RSA {0} KEY-----\n",
        "PRIVATE"
    )
}

#[test]
fn a_clean_tree_of_assets_passes() {
    let place = Place::new();
    place.write("assets/a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    place.write(
        "assets/levels/one.json",
        "{\"name\": \"harbour\", \"size\": [3, 4]}\n",
    );
    place.write("assets/levels/two.yaml", "name: lighthouse\nsize: [1, 2]\n");
    place.write("assets/settings.toml", "debug = false\n");
    place.write(
        "assets/certificate.pem",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    );
    place.write("assets/.env.example", "TOKEN=\n");
    place.write("assets/model.pkl", b"\x80\x04]\x94(K\x01K\x02e.");
    place.write("assets/credits.txt", "Müller, שלום, 👩\u{200d}💻\n");
    symlink("../credits.txt", place.at("assets/levels/credits.txt")).unwrap();
    let ran = guard(&place, &json!({}));
    assert_eq!((ran.code, told(&ran.json())), (0, vec![]), "{ran:?}");
}

#[test]
fn stores_of_credentials_fail_a_build() {
    let place = Place::new();
    place.write("assets/.ssh/id_ed25519", "anything");
    place.write("assets/store.kdbx", [3, 217, 162, 154]);
    place.write("assets/.netrc", "machine host\n");
    place.write("assets/x.tfstate", "{\"version\": 4}");
    fails(
        &place,
        &[
            "credential_file.netrc high",
            "credential_file.password_store high",
            "credential_file.ssh_key high",
            "credential_file.terraform_state high",
        ],
    );
}

#[test]
fn a_private_key_is_told_from_a_certificate() {
    let place = Place::new();
    place.write("assets/server.pem", private_key());
    let told = told(&guard(&place, &json!({})).json());
    assert!(
        told.contains(&"credential_file.private_key high".into()),
        "{told:?}"
    );
}

#[test]
fn programs_under_the_name_of_a_picture_fail_a_build() {
    let place = Place::new();
    let elf = [
        &b"\x7fELF\x02\x01\x01"[..],
        &[0; 9],
        &[2, 0, 62, 0],
        &[0; 40],
    ]
    .concat();
    place.write("assets/logo.png", elf);
    place.write("assets/song.ogg", "#!/bin/sh\nexit\n");
    place.write("assets/bill.pdf.exe", "x");
    fails(
        &place,
        &[
            "disguise.program critical",
            "disguise.script high",
            "file_name.double_extension high",
        ],
    );
}

#[test]
fn pickles_that_run_commands_fail_a_build_alone_and_in_archives() {
    let place = Place::new();
    let payload = b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R.";
    // Larger than anything that is held at once.
    let large = [
        &b"\x80\x02(B\0\0\x60\0"[..],
        &vec![7; 0x60_0000],
        &payload[2..],
    ]
    .concat();
    place.write("assets/large.pkl", large);
    place.write("assets/model.pt", zip(&[("archive/data.pkl", payload)]));
    let ran = guard(&place, &json!({}));
    let report = ran.json();
    assert_eq!(told(&report), ["pickle.runs_code critical"]);
    assert_eq!(ran.code, 19);
    let members: Vec<&Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["member"])
        .collect();
    assert_eq!(members, [&Value::Null, &json!("archive/data.pkl")]);
}

/// A zip archive of stored members.
fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn members_that_would_be_unpacked_elsewhere_fail_a_build() {
    let place = Place::new();
    place.write("assets/a.zip", zip(&[("../../etc/cron.d/x", b"x")]));
    fails(&place, &["archive.outside high"]);
}

#[test]
fn an_archive_behind_a_picture_fails_a_build() {
    let place = Place::new();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    place.write("assets/a.png", [&png[..], &zip(&[("x", b"y")])].concat());
    fails(&place, &["disguise.appended high"]);
}

#[test]
fn rights_beyond_those_of_a_reader_fail_a_build() {
    let place = Place::new();
    for (name, mode) in [
        ("user", 0o4755),
        ("group", 0o2755),
        ("all", 0o666),
        ("fine", 0o755),
    ] {
        place.write(&format!("assets/{name}"), "x");
        place.chmod(&format!("assets/{name}"), mode);
    }
    fails(
        &place,
        &[
            "permission.setgid high",
            "permission.setuid high",
            "permission.world_writable high",
        ],
    );
}

#[test]
fn links_that_lead_out_fail_a_build_and_pipes_are_not_waited_for() {
    let place = Place::new();
    place.write("assets/a/file", "x");
    symlink("../../../outside", place.at("assets/a/escapes")).unwrap();
    symlink("/etc/passwd", place.at("assets/absolute")).unwrap();
    symlink("a/file", place.at("assets/inside")).unwrap();
    let fifo = place.at("assets/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fails(&place, &["file_type.special medium", "link.outside high"]);
}

#[test]
fn sources_that_read_otherwise_than_they_run_fail_a_build_with_line_and_column() {
    let place = Place::new();
    place.write("assets/a.py", "ok = 1\nif x: #\u{202e} } begin\n");
    place.write("assets/b.md", format!("fine{}\n", "\u{e0041}".repeat(9)));
    place.write("assets/c\u{202e}gnp.sh", "x");
    fails(
        &place,
        &[
            "file_name.bidi high",
            "trojan_source.bidi high",
            "trojan_source.hidden_text high",
        ],
    );
    let report = guard(&place, &json!({})).json();
    let findings = report["findings"].as_array().unwrap();
    let bidi = findings
        .iter()
        .find(|one| one["rule_id"] == "trojan_source.bidi")
        .unwrap();
    assert_eq!(
        (&bidi["path"], &bidi["line"], &bidi["column"]),
        (&json!("assets/a.py"), &json!(2), &json!(8))
    );
}

#[test]
fn assets_that_do_not_parse_fail_a_build_and_depth_costs_no_time() {
    let place = Place::new();
    let started = Instant::now();
    for (name, open) in [
        ("a.json", "["),
        ("b.json", "{\"a\":"),
        ("c.yaml", "["),
        ("d.yaml", "- "),
    ] {
        place.write(&format!("assets/{name}"), open.repeat(200_000));
    }
    place.write("assets/e.toml", format!("a = {}", "[".repeat(200_000)));
    fails(&place, &["asset.nesting high"]);
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );

    let place = Place::new();
    place.write(
        "assets/level.json",
        "{\"name\": \"harbour\", \"size\": [3, ",
    );
    place.write("assets/level.yaml", "name: harbour\nsize: [3, ");
    place.write("assets/level.toml", "name = 'harbour");
    place.write("assets/twice.json", "{\"a\": 1, \"a\": 2}");
    fails(
        &place,
        &["asset.duplicate_key medium", "asset.malformed high"],
    );
    // Longer than a window of the scan.
    let mut long = String::from("[");
    while long.len() < 9 << 20 {
        long.push_str("{\"name\": \"harbour\"},\n");
    }
    let place = Place::new();
    place.write("assets/long.json", &long);
    fails(&place, &["asset.malformed high"]);
    long.push_str("0]");
    place.write("assets/long.json", &long);
    assert_eq!(guard(&place, &json!({})).code, 0);
}

#[test]
fn thresholds_of_the_policy_fail_a_build() {
    let place = Place::new();
    place.write(
        "assets/large.json",
        format!("{{\"x\": \"{}\"}}", "y".repeat(100)),
    );
    place.write("assets/other.bmp", "");
    place.write("assets/plain.json", "{\"author\": 1}");
    let policy = json!({
        "quality_thresholds": {
            "file_size_bytes_min": 1, "file_size_bytes_max": 100, "allowed_formats": ["json"], "line_length_max": 80
        },
        "validation_rules": {"required_metadata_fields": ["author"]},
    });
    fails_under(
        &place,
        &policy,
        &[
            "quality.format high",
            "quality.line_length high",
            "quality.metadata high",
            "quality.size high",
        ],
    );
}

#[test]
fn a_policy_that_contradicts_itself_fails_a_build_with_its_line() {
    let place = Place::new();
    place.write("assets/a.txt", "fine\n");
    place.write(
        "policy.json",
        "{\"adaptive_budget\":\n {\"base_budget_seconds\": 400}}\n",
    );
    let ran = place.run(["guard", "-c", "policy.json", "--target", "assets", "--json"]);
    let report = ran.json();
    assert_eq!(
        (ran.code, told(&report)),
        (19, vec!["policy.budget high".to_owned()])
    );
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["path"], &finding["line"]),
        (&json!("policy.json"), &json!(2))
    );
    fails_under(
        &place,
        &json!({"policy_guard": {"allowed_operations": ["a"], "blocked_operations": ["a"]}}),
        &["policy.allowed_and_blocked high"],
    );
}

#[test]
fn a_workflow_that_runs_code_of_strangers_fails_a_build() {
    let place = Place::new();
    place.write(
        "assets/.github/workflows/ci.yml",
        "on: pull_request_target\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@v4\n        with:\n          \
         ref: ${{ github.event.pull_request.head.sha }}\n",
    );
    place.write(
        "assets/pod.yaml",
        "apiVersion: v1\nkind: Pod\nspec:\n  securityContext: {privileged: true}\n",
    );
    fails(
        &place,
        &[
            "container.privileged high",
            "workflow.unpinned_action low",
            "workflow.untrusted_checkout high",
        ],
    );
}

#[test]
fn a_check_that_the_policy_disables_says_nothing() {
    let place = Place::new();
    place.write("assets/level.json", "{");
    let ran = guard(
        &place,
        &json!({"policy_guard": {"disabled_rules": ["asset.malformed"]}}),
    );
    assert_eq!((ran.code, told(&ran.json())), (0, vec![]), "{ran:?}");
}

#[test]
fn a_folder_that_cannot_be_listed_is_told_and_fails_a_strict_scan() {
    let place = Place::new();
    place.write("assets/closed/inner", "nobody sees this\n");
    place.write("assets/open", "ahoy\n");
    place.chmod("assets/closed", 0o000);
    let guard = |level: &str| {
        let policy = json!({"policy_guard": {"enforcement_level": level}});
        place.write("policy.json", policy.to_string());
        let words = "guard --config policy.json --target assets --json";
        let output = place.command_bound(words.split(' ')).output().unwrap();
        Ran::of(&output)
    };
    for (level, code) in [("strict", 19), ("standard", 2), ("advisory", 2)] {
        let ran = guard(level);
        assert_eq!(ran.code, code, "{level}: {ran:?}");
        let report = ran.json();
        assert_eq!(told(&report), ["file.unreadable high"], "{report}");
        assert_eq!(report["findings"][0]["path"], "assets/closed");
        assert_eq!(report["coverage"]["partial"], 1);
    }
    place.chmod("assets/closed", 0o755);
    assert_eq!(guard("strict").code, 0);
}
