//! The loader as its callers see it, on files that people and strangers write.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;

use proptest::prelude::*;
use serde_json::Value;

use super::found::{self, Standing};
use super::load::load_below;
use super::*;
use crate::base::severity::Severity;

/// The problems of a text, each as `pointer line:column message | hint`.
fn problems(text: &str) -> Vec<String> {
    let told = |problem: Problem| {
        let Problem {
            pointer,
            line,
            column,
            message,
            hint,
        } = problem;
        let hint = hint.map_or(String::new(), |hint| format!(" | {hint}"));
        format!("{pointer} {line}:{column} {message}{hint}")
    };
    let problems = check::read(text).err().unwrap_or_default();
    problems.into_iter().map(told).collect()
}

/// Checks that a text has exactly one problem.
fn check_one(text: &str, expected: &str) {
    assert_eq!(problems(text), [expected], "{text}");
}

/// The policy as `load` gives it when the text stands at the usual place.
fn load_found(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    let path = folder.path().join("config/assets_quality_policy.json");
    fs::write(path, text).unwrap();
    load_below(folder.path(), &LoadRequest::default()).unwrap()
}

fn load_named(bytes: &[u8]) -> Result<Loaded, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.json");
    fs::write(&path, bytes).unwrap();
    load(&LoadRequest { named: Some(&path) })
}

const GUIDE: [&str; 3] = [
    include_str!("../../tests/fixtures/guide/benchmarks.json"),
    include_str!("../../tests/fixtures/guide/guard.json"),
    include_str!("../../tests/fixtures/guide/rollback.json"),
];

/// One entry in every collection.
const FULL: &str = r#"{
  "policy_guard": {"operation_catalog": {"publish": {
    "description": "puts assets online", "access": "create", "paths": ["www/**"],
    "patterns": ["rsync .*www"]}}},
  "integrity": {"exclude": ["*.tmp", "cache/**", "a?"], "keys": [
    {"key_id": "0123456789abcdef", "source": "env:SIGN_SECRET"},
    {"key_id": "fedcba9876543210", "source": "file:/run/key", "status": "verify_only",
     "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"},
    {"key_id": "00000000000000ff", "source": ["vault", "read"], "status": "revoked",
     "not_before": null, "not_after": null}]},
  "pipeline": {"targets": ["output"], "stages": [{
    "name": "pack", "command": ["make", "pack"], "operations": ["read_asset"],
    "environment": {"LEVEL": "9"}, "working_directory": "src", "budget_seconds": 1.5,
    "ok_codes": [0, 3], "allow_change": ["out/**"]}]},
  "alerts": {
    "channels": {
      "chat": {"type": "slack", "url_env": "SLACK_URL"},
      "mail": {"type": "email", "url_env": "", "secret_env": "", "smtp_host": "mail.example",
               "smtp_port": 25, "smtp_tls": "none", "username_env": "U", "password_env": "P",
               "from": "a@example", "to": ["b@example"], "argv": []},
      "hook": {"type": "command", "argv": ["notify"]}},
    "routes": [{"events": ["rollback"], "severity_min": "info", "channels": ["chat", "mail"]},
               {"channels": ["hook"]}]},
  "metrics": {"textfile": "agp.prom", "pushgateway_url": "https://push.example",
              "labels": {"team": "assets"}}
}"#;

#[test]
fn the_guides_snippets_load_as_they_stand_and_mean_the_default() {
    for text in [
        GUIDE[0],
        GUIDE[2],
        "{}",
        "{\"$schema\": \"x.json\", \"alerts\": {}}",
    ] {
        assert_eq!(check::read(text).unwrap(), Policy::default());
        assert_eq!(
            load_named(text.as_bytes()).unwrap().policy,
            Policy::default()
        );
    }
    let guard = check::read(GUIDE[1]).unwrap().policy_guard;
    assert_eq!(
        guard.allowed_operations,
        ["read_asset", "validate_format", "generate_report"]
    );
    assert_eq!(
        guard.blocked_operations,
        ["delete_production_data", "modify_core_config"]
    );
    assert!(load_found(GUIDE[1]).warnings.is_empty());
}

#[test]
fn every_collection_takes_its_entries_and_gives_them_back() {
    let policy = check::read(FULL).unwrap();
    assert_eq!(
        policy.integrity.keys[2].source,
        KeySource::Command(vec!["vault".into(), "read".into()])
    );
    assert_eq!(policy.integrity.keys[0].status, KeyStatus::Active);
    assert_eq!(policy.alerts.routes[1].severity_min, Severity::High);
    assert_eq!(policy.alerts.routes[1].events.len(), 5);
    let written = serde_json::to_string_pretty(&policy).unwrap();
    assert_eq!(check::read(&written).unwrap(), policy);
}

#[test]
fn a_contradiction_inside_a_valid_policy_loads() {
    let text = r#"{"adaptive_budget": {"base_budget_seconds": 900, "max_budget_seconds": 1},
        "policy_guard": {"allowed_operations": ["a"], "blocked_operations": ["a"]},
        "quality_thresholds": {"file_size_bytes_min": 2, "file_size_bytes_max": 1}}"#;
    assert_eq!(problems(text), [""; 0]);
}

#[test]
fn tells_all_problems_at_once_each_with_its_line() {
    let text = r#"{
  "policy_guard": {
    "enforcment_level": "strict",
    "audit_logging": "yes"
  },
  "adaptive_budget": [],
  "profile": {"gate": ["wall_seconds", "wall_second"], "runs_max": 0, "runs_max": 2},
  "integrity": {"keys": [{"source": "hunter2"}]},
  "colour": 1
}
"#;
    assert_eq!(
        problems(text),
        [
            "/policy_guard 3:5 unknown key `enforcment_level` | did you mean `enforcement_level`?",
            "/policy_guard/audit_logging 4:22 expected `true` or `false`, found text",
            "/adaptive_budget 6:22 expected an object, found an empty array",
            "/profile/gate/1 7:40 expected one of `cpu_seconds`, `cpu_user_seconds`, \
             `cpu_system_seconds`, `wall_seconds`, `run_queue_seconds`, `io_stall_seconds`, \
             `memory_stall_seconds`, `peak_memory_bytes`, `read_bytes`, `written_bytes`, \
             `io_operations`, found `wall_second` | did you mean `wall_seconds`?",
            "/profile/runs_max 7:68 expected a whole number from 1 to 100, found 0",
            "/profile 7:71 duplicate key `runs_max`",
            "/integrity/keys/0 8:26 missing key `key_id`",
            "/integrity/keys/0/source 8:37 expected `env:NAME`, `file:PATH` or an argv array, \
             found other text",
            " 9:3 unknown key `colour` | the keys here are `$schema`, `adaptive_budget`, `alerts`, \
             `audit`, `integrity`, `metrics`, `performance_benchmarks`, `pipeline`, \
             `policy_guard`, `profile`, `quality_thresholds`, `rollback_playbook`, \
             `validation_rules`",
        ]
    );
}

#[test]
fn names_what_was_expected_and_what_was_found() {
    for (text, expected) in [
        ("[]", " 1:1 expected an object, found an empty array"),
        ("null", " 1:1 expected an object, found null"),
        ("7", " 1:1 expected an object, found 7"),
        (
            r#"{"performance_benchmarks": {"max_processing_time_seconds": -1}}"#,
            "/performance_benchmarks/max_processing_time_seconds 1:60 expected a number above \
             0 and at most 1000000000, found -1",
        ),
        (
            r#"{"performance_benchmarks": {"max_processing_time_seconds": 1e999}}"#,
            "/performance_benchmarks/max_processing_time_seconds 1:60 expected a number above \
             0 and at most 1000000000, found 1e999",
        ),
        (
            r#"{"performance_benchmarks": {"cpu_utilization_threshold": 80}}"#,
            "/performance_benchmarks/cpu_utilization_threshold 1:58 expected a number above 0 \
             and at most 1, found 80",
        ),
        (
            r#"{"performance_benchmarks": {"max_memory_usage_mb": 1.5}}"#,
            "/performance_benchmarks/max_memory_usage_mb 1:52 expected a whole number from 1 to \
             1073741824, found 1.5",
        ),
        (
            r#"{"audit": {"segments_kept": 99999999999999999999}}"#,
            "/audit/segments_kept 1:29 expected a whole number from 1 to 9007199254740991, \
             or null, found 99999999999999999999",
        ),
        (
            r#"{"policy_guard": {"enforcement_level": "Stric"}}"#,
            "/policy_guard/enforcement_level 1:40 expected one of `strict`, `standard`, \
             `advisory`, found `Stric` | did you mean `strict`?",
        ),
        (
            r#"{"policy_guard": {"enforcement_level": null}}"#,
            "/policy_guard/enforcement_level 1:40 expected one of `strict`, `standard`, \
             `advisory`, found null",
        ),
        (
            r#"{"policy_guard": {"exclude": "*.tmp"}}"#,
            "/policy_guard/exclude 1:30 expected an array, found text",
        ),
        (
            r#"{"policy_guard": {"exclude": ["a[b"]}}"#,
            "/policy_guard/exclude/0 1:31 expected a glob: unclosed character class; missing ']'",
        ),
        (
            r#"{"policy_guard": {"operation_catalog": {"": {"patterns": []}}}}"#,
            "/policy_guard/operation_catalog 1:41 expected a name, found ``",
        ),
        (
            r#"{"policy_guard": {"operation_catalog": {"x": {"patterns": ["a(b"]}}}}"#,
            "/policy_guard/operation_catalog/x/patterns/0 1:60 expected a regular expression: \
             unclosed group",
        ),
        (
            r#"{"policy_guard": {"baseline": ""}}"#,
            "/policy_guard/baseline 1:31 expected text that is not empty, or null, found empty text",
        ),
        (
            r#"{"policy_guard": {"baseline": "a\u0000b"}}"#,
            "/policy_guard/baseline 1:31 expected text that is not empty, or null, found other text",
        ),
        (
            r#"{"integrity": {"exclude": ["a{b,c}"]}}"#,
            "/integrity/exclude/0 1:28 expected a glob of `*`, `?`, `**` and literal characters \
             (none of `[ ] { } ! \\`), found other text",
        ),
        (
            r#"{"alerts": {"channels": {"a~/b": {"type": "slack", "url_env": "https://x.example/T0/secret"}}}}"#,
            "/alerts/channels/a~0~1b/url_env 1:63 expected the name of an environment variable, \
             or empty text, found other text",
        ),
        (
            r#"{"metrics": {"labels": {"a-b": "c"}}}"#,
            "/metrics/labels 1:25 expected a name of letters, digits and `_` that starts with no \
             digit, found `a-b`",
        ),
        (
            r#"{"metrics": {"labels": {"command": "x"}}}"#,
            "/metrics/labels 1:25 the label `command` has a meaning already",
        ),
        (
            r#"{"metrics": {"labels": {"a": 1}}}"#,
            "/metrics/labels/a 1:30 expected text, found 1",
        ),
        (
            r#"{"pipeline": {"stages": [{"name": "a", "command": []}]}}"#,
            "/pipeline/stages/0/command 1:51 expected an array of at least one item, found an \
             empty array",
        ),
        (
            r#"{"pipeline": {"stages": [{"name": "a", "command": ["b"], "ok_codes": [256]}]}}"#,
            "/pipeline/stages/0/ok_codes/0 1:71 expected a whole number from 0 to 255, found 256",
        ),
        (
            r#"{"\u001b[31m": 1, "x": 2}"#,
            " 1:2 unknown key `\\u{1b}[31m`",
        ),
    ] {
        let told = problems(text);
        assert!(told[0].starts_with(expected), "{text}\n{told:#?}");
        assert_eq!(told.len(), 1 + usize::from(text.contains("\"x\": 2")));
    }
}

#[test]
fn refuses_keys_that_cannot_be_used() {
    let key = |members: &str| format!("{{\"integrity\": {{\"keys\": [{members}]}}}}");
    let id = "\"key_id\": \"0123456789abcdef\"";
    for bad in [
        "\"\"",
        "\"0123456789ABCDEF\"",
        "\"0123456789abcde\"",
        "\"0123456789abcdef0\"",
    ] {
        let text = key(&format!("{{\"key_id\": {bad}, \"source\": \"env:A\"}}"));
        check_one(
            &text,
            &format!(
                "/integrity/keys/0/key_id 1:36 expected 16 lower-case hex digits, found {}",
                if bad == "\"\"" {
                    "empty text"
                } else {
                    "other text"
                }
            ),
        );
    }
    for bad in [
        "\"env:\"",
        "\"env:A B\"",
        "\"file:\"",
        "\"vault:x\"",
        "\"A\"",
        "[]",
        "7",
        "null",
    ] {
        let told = problems(&key(&format!("{{{id}, \"source\": {bad}}}")));
        assert!(
            told[0].starts_with("/integrity/keys/0/source 1:66 expected `env:NAME`, `file:PATH` or an argv array, found"),
            "{told:?}"
        );
    }
    check_one(
        &key(&format!(
            "{{{id}, \"source\": \"env:A\", \"not_after\": \"2026-01-01\"}}"
        )),
        "/integrity/keys/0/not_after 1:88 `2026-01-01` is not a time of the form \
         `2026-11-23T14:06:00Z`",
    );
    let told = problems(&key(&format!(
        "{{{id}, \"source\": \"env:A\"}}, {{{id}, \"source\": \"env:B\", \"status\": \"active\"}}"
    )));
    assert_eq!(
        told,
        [
            "/integrity/keys 1:76 more than one key is active",
            "/integrity/keys/1/key_id 1:87 an earlier entry has this `key_id` already",
        ]
    );
}

#[test]
fn refuses_routes_to_nowhere_and_channels_that_cannot_deliver() {
    check_one(
        r#"{"alerts": {"routes": [{"channels": ["chta"]}]}}"#,
        "/alerts/routes/0/channels/0 1:38 unknown channel `chta`",
    );
    check_one(
        r#"{"alerts": {"channels": {"chat": {"type": "slack", "url_env": ""}}}}"#,
        "/alerts/channels/chat 1:26 a channel of this type needs `url_env`",
    );
    assert_eq!(
        problems(r#"{"alerts": {"channels": {"m": {"type": "email", "to": []}}}}"#).len(),
        3
    );
    check_one(
        r#"{"pipeline": {"stages": [{"name": "a", "command": ["b"]}, {"name": "a", "command": ["b"]}]}}"#,
        "/pipeline/stages/1/name 1:68 an earlier entry has this `name` already",
    );
}

#[test]
fn finds_duplicate_keys_at_any_depth_and_under_any_spelling() {
    for (text, expected) in [
        (
            r#"{"audit": {}, "audit": {}}"#,
            " 1:15 duplicate key `audit`",
        ),
        (
            r#"{"audit": {}, "\u0061udit": {}}"#,
            " 1:15 duplicate key `audit`",
        ),
        (
            r#"{"metrics": {"labels": {"a": "1", "\u0061": "2"}}}"#,
            "/metrics/labels 1:35 duplicate key `a`",
        ),
        (
            r#"{"policy_guard": {"operation_catalog": {"o": {"paths": [], "path\u0073": []}}}}"#,
            "/policy_guard/operation_catalog/o 1:60 duplicate key `paths`",
        ),
    ] {
        check_one(text, expected);
    }
}

#[test]
fn hostile_files_are_clear_errors() {
    let deep = format!(
        "{{\"audit\": {}{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    for (bytes, expected) in [
        (
            &b""[..],
            "1:1 the file is empty | the smallest policy is `{}`",
        ),
        (
            b" \n\t",
            "2:1 the file is empty | the smallest policy is `{}`",
        ),
        (
            b"\xef\xbb\xbf{}",
            "1:1 the file starts with a byte order mark | save it as UTF-8 without a byte order mark",
        ),
        (
            b"{\"audit\":\n \"\xff\"}",
            "2:3 the file is not UTF-8 | save it as UTF-8",
        ),
        (b"{}\n{}", "2:1 not JSON: trailing characters"),
        (b"{} x", "1:4 not JSON: trailing characters"),
        (
            b"{\"audit\": {",
            "1:11 not JSON: the file ends in the middle of a value",
        ),
        (b"{\"audit\": \0}", "1:11 not JSON: expected value"),
        (b"\0\0\0\0", "1:1 not JSON: expected value"),
        (
            b"{\"a\nb\": 1}",
            "1:3 not JSON: control character (\\u0000-\\u001F) found while parsing a string",
        ),
        (
            b"{\"audit\": \"\\ud800\"}",
            "1:18 not JSON: unexpected end of hex escape",
        ),
        (deep.as_bytes(), "1:139 nested deeper than 128 levels"),
        (
            &b"[".repeat(200_000),
            "1:200000 not JSON: the file ends in the middle of a value",
        ),
    ] {
        let Err(LoadError::Invalid { problems, .. }) = load_named(bytes) else {
            unreachable!("{expected}");
        };
        let [problem] = &problems[..] else {
            unreachable!("{problems:?}");
        };
        let hint = problem
            .hint
            .as_ref()
            .map_or(String::new(), |hint| format!(" | {hint}"));
        let told = format!(
            "{}:{} {}{hint}",
            problem.line, problem.column, problem.message
        );
        assert_eq!(told, expected);
    }
}

#[test]
fn what_is_wrong_everywhere_is_told_a_hundred_times_at_most() {
    let members: Vec<_> = (0..40_000)
        .map(|index| format!("\"key{index}\": 1"))
        .collect();
    let text = format!("{{{}}}", members.join(",\n"));
    assert_eq!(problems(&text).len(), 100);
}

#[test]
fn a_thousand_regular_expressions_are_compiled_and_no_more() {
    let policy = |count: usize| {
        let patterns = vec![r"\w"; count];
        let operation = serde_json::json!({"many": {"patterns": patterns}});
        serde_json::json!({"policy_guard": {"operation_catalog": operation}}).to_string()
    };
    assert_eq!(problems(&policy(1000)), [""; 0]);
    for count in [1001, 5000] {
        let found = problems(&policy(count));
        assert!(
            found.len() == 1 && found[0].contains("more than 1000 regular"),
            "{found:?}"
        );
        assert!(found[0].starts_with("/policy_guard/operation_catalog/many/patterns/1000"));
    }
}

#[test]
fn a_named_file_is_used_or_refused_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.json");
    let error = load(&LoadRequest {
        named: Some(&missing),
    });
    assert!(matches!(error, Err(LoadError::Read(_))));
    let error = load(&LoadRequest {
        named: Some(folder.path()),
    });
    assert!(matches!(error, Err(LoadError::Read(_))));
    let large = format!("{{{}}}", " ".repeat(1 << 20));
    let error = load_named(large.as_bytes());
    assert!(matches!(error, Err(LoadError::Read(_))));
    let error = load_named(b"{\"a\": 1, \"b\": 2}").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("policy.json` is not a valid policy: 2 problems"),
        "{error}"
    );
}

#[test]
fn the_source_says_which_policy_counts() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load_below(folder.path(), &LoadRequest::default()).unwrap();
    assert_eq!(
        (loaded.source.to_string(), loaded.sha256),
        ("built-in".into(), None)
    );
    assert!(!loaded.asks_for_audit() && !loaded.forbids_audit());

    let loaded = load_found("{}");
    assert!(
        loaded
            .source
            .to_string()
            .ends_with("config/assets_quality_policy.json")
    );
    assert!(loaded.sha256.is_some() && loaded.asks_for_audit());

    let loaded = load_found(r#"{"policy_guard": {"audit_logging": false}}"#);
    assert!(loaded.asks_for_audit() && !loaded.forbids_audit());

    let loaded = load_named(br#"{"policy_guard": {"audit_logging": false}}"#).unwrap();
    assert!(!loaded.asks_for_audit() && loaded.forbids_audit());
    let json = serde_json::to_value(&loaded.source).unwrap();
    assert!(json.as_str().unwrap().ends_with("/policy.json"));
}

#[test]
fn a_broken_file_at_the_usual_place_is_an_error_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    fs::write(&config, "a file, not a folder").unwrap();
    let loaded = load_below(folder.path(), &LoadRequest::default()).unwrap();
    assert_eq!(loaded.source, Source::BuiltIn);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    let path = config.join("assets_quality_policy.json");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(load_below(folder.path(), &LoadRequest::default()).is_err());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{").unwrap();
    assert!(load_below(folder.path(), &LoadRequest::default()).is_err());
}

#[test]
fn finds_the_line_of_a_key_for_other_reports() {
    let loaded = load_named(b"{\n \"audit\": {\n  \"segments_kept\": 3}}").unwrap();
    let place = loaded.place_of("/audit/segments_kept");
    assert_eq!(
        place,
        Some(Place {
            line: 3,
            column: 20
        })
    );
    assert_eq!(loaded.place_of("/audit/segment_bytes_max"), None);
    assert_eq!(Loaded::built_in().place_of("/audit"), None);
}

/// Pointer, a value that does not count, and one that does (none where every other is refused).
#[rustfmt::skip]
const FOUND: &[(&str, &str, &str)] = &[
    ("/performance_benchmarks/max_processing_time_seconds", "301", "299"),
    ("/performance_benchmarks/max_memory_usage_mb", "2049", "1"),
    ("/performance_benchmarks/cpu_utilization_threshold", "0.81", "0.5"),
    ("/performance_benchmarks/io_operations_per_second_limit", "1001", "10"),
    ("/adaptive_budget/enabled", "false", ""),
    ("/adaptive_budget/base_budget_seconds", "61", "5"),
    ("/adaptive_budget/scaling_factor", "1.6", "1"),
    ("/adaptive_budget/max_budget_seconds", "301", "5"),
    ("/adaptive_budget/dynamic_adjustment", "false", ""),
    ("/adaptive_budget/coverage", "0.99", "0.9"),
    ("/policy_guard/enforcement_level", "\"standard\"", ""),
    ("/policy_guard/enforcement_level", "\"advisory\"", ""),
    ("/policy_guard/allowed_operations", "", "[\"a\"]"),
    ("/policy_guard/blocked_operations", "", "[\"a\"]"),
    ("/policy_guard/audit_logging", "false", ""),
    ("/policy_guard/exclude", "[\"**\"]", ""),
    ("/policy_guard/rules", "", "[\"rules.toml\"]"),
    ("/policy_guard/disabled_rules", "[\"github.pat.classic\"]", ""),
    ("/policy_guard/baseline", "\"baseline.jsonl\"", ""),
    ("/policy_guard/core_config_paths", "[]", "[\"config/**\",\"etc/**\"]"),
    ("/policy_guard/operation_catalog", "", "{\"a\":{\"description\":\"\",\"access\":\"read\",\"paths\":[],\"patterns\":[]}}"),
    ("/policy_guard/honor_foreign_ignores", "true", ""),
    ("/policy_guard/fingerprint_salt_env", "\"HOME\"", ""),
    ("/rollback_playbook/auto_rollback_on_failure", "false", ""),
    ("/rollback_playbook/backup_retention_days", "0", "60"),
    ("/rollback_playbook/rollback_verification", "false", ""),
    ("/rollback_playbook/critical_failure_patterns", "[\"data_corruption\"]", "[\"security_violation\",\"performance_regression\",\"data_corruption\"]"),
    ("/rollback_playbook/allow_change", "[\"**\"]", ""),
    ("/rollback_playbook/keep_failed", "", "true"),
    ("/rollback_playbook/confirmations", "2", ""),
    ("/rollback_playbook/rollback_timeout_seconds", "1", ""),
    ("/rollback_playbook/rollback_timeout_seconds", "601", ""),
    ("/quality_thresholds/file_size_bytes_min", "", "1"),
    ("/quality_thresholds/file_size_bytes_max", "", "1"),
    ("/quality_thresholds/allowed_formats", "", "[\"json\"]"),
    ("/quality_thresholds/encoding", "\"any\"", "\"ascii\""),
    ("/quality_thresholds/encoding", "\"utf-16le\"", ""),
    ("/quality_thresholds/line_length_max", "", "80"),
    ("/validation_rules/required_metadata_fields", "", "[\"author\"]"),
    ("/integrity/subject", "\"production\"", ""),
    ("/integrity/secret_bytes_min", "1", "32"),
    ("/integrity/max_age_days", "", "7"),
    ("/integrity/clock_skew_seconds", "301", "0"),
    ("/integrity/exclude", "[\"*.exe\"]", ""),
    ("/integrity/keys", "[{\"key_id\":\"0123456789abcdef\",\"source\":\"env:A\"}]", ""),
    ("/profile/gate", "[]", "[\"wall_seconds\",\"cpu_seconds\",\"peak_memory_bytes\",\"read_bytes\"]"),
    ("/profile/effect_floor", "0.03", "0.01"),
    ("/profile/runs_max", "8", "10"),
    ("/profile/inconclusive_fails", "", "true"),
    ("/profile/limits_fail", "[\"time\"]", "[\"time\",\"memory\",\"cpu\",\"io\"]"),
    ("/profile/sample_hz", "1", "50"),
    ("/pipeline/targets", "[\"/\"]", ""),
    ("/pipeline/stages", "[{\"name\":\"a\",\"command\":[\"rm\"]}]", ""),
    ("/audit/segment_bytes_max", "", "65536"),
    ("/audit/segments_kept", "1", ""),
    ("/alerts", "{\"require_notify\":true}", ""),
    ("/alerts", "{\"channels\":{\"a\":{\"type\":\"command\",\"argv\":[\"a\"]}}}", ""),
    ("/metrics", "{\"textfile\":\"a.prom\"}", ""),
];

/// A policy that sets one section or key.
fn only(pointer: &str, value: &str) -> String {
    match pointer[1..].split_once('/') {
        Some((section, key)) => format!("{{\"{section}\":\n{{\"{key}\": {value}}}}}"),
        None => format!("{{\"{}\":\n{value}}}", &pointer[1..]),
    }
}

#[test]
fn a_found_policy_tightens_and_never_loosens() {
    for (pointer, refused, counts) in FOUND {
        if !refused.is_empty() {
            let text = only(pointer, refused);
            let loaded = load_found(&text);
            assert_eq!(loaded.policy, Policy::default(), "{pointer}");
            let [warning] = &loaded.warnings[..] else {
                unreachable!("{pointer}: {:?}", loaded.warnings);
            };
            assert_eq!((&*warning.pointer, warning.line), (*pointer, 2));
            let named = load_named(text.as_bytes()).unwrap();
            assert!(named.policy != Policy::default() && named.warnings.is_empty());
        }
        if !counts.is_empty() {
            let loaded = load_found(&only(pointer, counts));
            assert_eq!(loaded.warnings, [], "{pointer}");
            let policy = serde_json::to_value(&loaded.policy).unwrap();
            let expected: Value = serde_json::from_str(counts).unwrap();
            let own = policy.pointer(pointer).unwrap();
            assert!(
                *own == expected || own.as_f64() == expected.as_f64(),
                "{pointer}: {own}"
            );
        }
    }
}

#[test]
fn every_key_has_a_line_that_says_what_it_may_do_when_found() {
    let schema = schema();
    for section in describe::keys(&schema)
        .into_iter()
        .filter(|key| *key != "$schema")
    {
        for key in describe::keys(&schema["properties"][section]) {
            let pointer = format!("/{section}/{key}");
            let covers =
                |line: &&(&str, &str, &str)| line.0 == pointer || line.0 == format!("/{section}");
            let mut lines = FOUND.iter().filter(covers).peekable();
            assert!(lines.peek().is_some(), "{pointer} has no example");
            let never_refused = lines.all(|line| line.1.is_empty());
            let standing = found::standing(&pointer);
            assert_eq!(never_refused, standing == Standing::Yes, "{pointer}");
        }
    }
}

#[test]
fn a_found_policy_is_warned_of_in_words() {
    let loaded = load_found(
        r#"{"policy_guard": {"enforcement_level": "advisory"}, "metrics": {"textfile": "x"}}"#,
    );
    let told: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| &*warning.message)
        .collect();
    assert_eq!(
        told,
        [
            "put back to `\"strict\"`: a policy found without `--config` may not loosen the default",
            "ignored: a policy found without `--config` contributes thresholds and rules only",
        ]
    );
}

/// The keys of two values are alike at every depth.
fn assert_same_keys(left: &Value, right: &Value, pointer: &str) {
    let (Value::Object(left), Value::Object(right)) = (left, right) else {
        return;
    };
    assert!(left.keys().eq(right.keys()), "{pointer}");
    for (key, value) in left {
        assert_same_keys(value, &right[key], &format!("{pointer}/{key}"));
    }
}

#[test]
fn the_shipped_policy_shows_every_key_with_its_default() {
    let text = starter();
    assert_eq!(check::read(&text).unwrap(), Policy::default());
    let mut shipped: Value = serde_json::from_str(&text).unwrap();
    assert!(shipped.as_object_mut().unwrap().remove("$schema").is_some());
    let default = serde_json::to_value(Policy::default()).unwrap();
    assert_same_keys(&shipped, &default, "");
    assert!(load_found(&text).warnings.is_empty());
}

#[test]
fn the_schema_judges_as_the_loader_does() {
    let schema = schema();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for text in GUIDE.into_iter().chain([FULL, &starter()]) {
        let value = serde_json::from_str(text).unwrap();
        assert!(validator.is_valid(&value), "{text}");
    }
    for (pointer, refused, counts) in FOUND {
        for value in [refused, counts]
            .into_iter()
            .filter(|value| !value.is_empty())
        {
            let text = only(pointer, value);
            assert!(
                validator.is_valid(&serde_json::from_str(&text).unwrap()),
                "{text}"
            );
        }
        for value in ["-1", "{\"a~b\": 1}", "[[]]"] {
            let text = only(pointer, value);
            assert!(
                !validator.is_valid(&serde_json::from_str(&text).unwrap()),
                "{text}"
            );
            assert!(!problems(&text).is_empty(), "{text}");
        }
    }
}

/// Values that are nearly a policy: real sections and keys with anything in them.
fn nearly_a_policy() -> impl Strategy<Value = String> {
    let schema = schema();
    let mut pointers = Vec::new();
    for section in describe::keys(&schema) {
        for key in describe::keys(&schema["properties"][section]) {
            pointers.push(format!("/{section}/{key}"));
        }
    }
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        ".{0,12}".prop_map(|text| Value::from(text).to_string()),
        "[\\[\\]{}a*?!\\\\(|]{0,8}".prop_map(|text| format!("[{}]", Value::from(text))),
        proptest::collection::btree_map(".{0,6}", 0..9_u8, 0..4)
            .prop_map(|members| serde_json::to_string(&members).unwrap()),
        Just("[{}]".to_owned()),
        Just("{\"a\": {}}".to_owned()),
    ];
    (proptest::sample::select(pointers), value).prop_map(|(pointer, value)| only(&pointer, &value))
}

proptest! {
    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Err(LoadError::Invalid { problems, .. }) = load_named(&bytes) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn what_the_schema_accepts_the_types_accept(text in nearly_a_policy()) {
        for problem in check::read(&text).err().unwrap_or_default() {
            // A problem without a pointer at this depth would be the types' own.
            prop_assert!(!problem.pointer.is_empty(), "{} in {}", problem.message, text);
        }
    }
}
