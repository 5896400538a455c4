//! The text against its grammar, what stays of an earlier text, and labels that try to break out.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{LINE, Metrics};
use crate::base::clock::Timestamp;
use crate::export::Document;
use crate::report::{
    AuditHead, Envelope, Finding, PolicyReference, REPORT_VERSION, ResourceUsage, Tool, codes,
};

fn envelope(command: &str, verdict: &str, body: Value) -> Envelope<Map<String, Value>> {
    Envelope {
        report: command.into(),
        report_version: REPORT_VERSION,
        run_id: "0".repeat(32),
        tool: Tool {
            name: "agp",
            version: "1.2.3",
        },
        started_at: Timestamp::from_unix_seconds(1_800_000_000),
        finished_at: Timestamp::from_unix_millis(1_800_000_002_500),
        duration_seconds: 2.0,
        policy: PolicyReference {
            source: "built-in".into(),
            sha256: None,
        },
        verdict: verdict.into(),
        exit_code: 0,
        audit_head: Some(AuditHead {
            log_id: "0".into(),
            sequence: 7,
            mac: None,
        }),
        resource_usage: ResourceUsage {
            cpu_user_seconds: Some(1.5),
            ..ResourceUsage::default()
        },
        body: body.as_object().unwrap().clone(),
        findings: Vec::new(),
    }
}

fn metrics(envelope: &Envelope<Map<String, Value>>, labels: &[(&str, &str)]) -> Metrics {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Metrics::of(&Document {
        envelope,
        headline: "",
        text: "",
        page: None,
        explanations: &BTreeMap::new(),
        fingerprints_last: false,
        directory: "/srv",
        labels: &labels.collect(),
    })
}

fn lines(metrics: &Metrics) -> Vec<String> {
    let text = metrics.to_string();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn assert_has(metrics: &Metrics, expected: &[&str]) {
    let lines = lines(metrics);
    for expected in expected {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}: {lines:#?}"
        );
    }
}

#[test]
fn a_verification_is_told_in_numbers() {
    let check = json!({"result": "pass"});
    let mut envelope = envelope(
        "verify",
        "fail",
        json!({
            "summary": {"valid": 1, "invalid": 1, "counters": {"checked": 8, "ok": 6, "modified": 2}},
            "manifests": [
                {"scope": "full", "checks": {"signature_validity": check}, "identity": {"summary": {"total_size_bytes": 100}}},
                {"scope": "full", "checks": {"signature_validity": {"result": "fail"}},
                 "identity": {"summary": {"total_size_bytes": 1e18}}},
            ],
        }),
    );
    envelope.exit_code = 1;
    envelope.findings = vec![
        Finding::new(&codes::FILE_MODIFIED, "x").at("secret/path"),
        Finding::new(&codes::FILE_UNREADABLE, "x"),
        Finding::new(&codes::KEY_WEAK, "x"),
    ];
    let metrics = metrics(
        &envelope,
        &[("team", "a"), ("command", "no"), ("verdict", "no")],
    );
    assert_has(
        &metrics,
        &[
            r#"agp_build_info{command="verify",version="1.2.3",team="a",verdict="no"} 1"#,
            r#"agp_last_run_timestamp_seconds{command="verify",team="a",verdict="no"} 1800000002.5"#,
            r#"agp_run_verdict{command="verify",verdict="fail",team="a"} 1"#,
            r#"agp_run_verdict{command="verify",verdict="pass",team="a"} 0"#,
            r#"agp_run_exit_code{command="verify",team="a",verdict="no"} 1"#,
            r#"agp_run_cpu_seconds{command="verify",mode="user",team="a",verdict="no"} 1.5"#,
            r#"agp_run_assets{command="verify",team="a",verdict="no"} 8"#,
            r#"agp_run_assets_per_second{command="verify",team="a",verdict="no"} 4"#,
            r#"agp_run_assets_bytes{command="verify",team="a",verdict="no"} 100"#,
            r#"agp_run_error_ratio{command="verify",team="a",verdict="no"} 0.25"#,
            r#"agp_run_errors{command="verify",team="a",verdict="no"} 1"#,
            r#"agp_run_findings{command="verify",severity="critical",team="a",verdict="no"} 1"#,
            r#"agp_run_findings{command="verify",severity="info",team="a",verdict="no"} 0"#,
            r#"agp_run_findings_by_code{command="verify",code="key.weak",team="a",verdict="no"} 1"#,
            r#"agp_integrity_failures{command="verify",team="a",verdict="no"} 1"#,
            r#"agp_integrity_entries{command="verify",result="modified",team="a",verdict="no"} 2"#,
            r#"agp_integrity_manifests{command="verify",status="invalid",team="a",verdict="no"} 1"#,
            r#"agp_audit_sequence{command="verify",team="a",verdict="no"} 7"#,
        ],
    );
    let text = metrics.to_string();
    assert!(
        !text.contains("secret") && !text.contains("last_success"),
        "{text}"
    );
    assert!(
        !text.contains("mode=\"system\""),
        "what is not known is left out: {text}"
    );
}

#[test]
fn a_stage_and_a_budget_are_told_under_their_names() {
    let run = |outcome: &str| json!({"outcome": outcome, "figures": {"wall_seconds": 2.5, "cpu_user_seconds": 1.0, "peak_memory_bytes": null}});
    let stage = |name: &str| json!({"stage": name, "median_run": 1, "runs": [run("failed"), run("passed")]});
    let series =
        json!({"stage": "a", "metric": "wall_seconds", "verdict": "regression", "effect": 0.25});
    let unnamed = json!({"stage": "tar -cf /srv/x", "command": "tar -cf /srv/x", "median_run": 1, "runs": [run("passed"), run("passed")]});
    let slower =
        json!({"stage": "tar -cf /srv/x", "metric": "cpu_seconds", "verdict": "ok", "effect": 0.5});
    let body = json!({"stages": [stage("a"), stage("a\"\n\u{202e}"), unnamed], "judgement": {"series": [series, slower]}});
    assert_has(
        &metrics(&envelope("profile", "pass", body), &[]),
        &[
            r#"agp_stage_duration_seconds{command="profile",stage="a"} 2.5"#,
            r#"agp_stage_duration_seconds{command="profile",stage="a\"\\n\\u{202e}"} 2.5"#,
            r#"agp_stage_failed_ratio{command="profile",stage="a"} 0.5"#,
            r#"agp_stage_failed_ratio{command="profile",stage="command"} 0"#,
            r#"agp_stage_change_ratio{command="profile",stage="command",metric="cpu_seconds"} 0.5"#,
            r#"agp_run_error_ratio{command="profile"} 0.3333333333333333"#,
            r#"agp_stage_change_ratio{command="profile",stage="a",metric="wall_seconds"} 0.25"#,
            r#"agp_stage_regression{command="profile",stage="a",metric="wall_seconds"} 1"#,
        ],
    );
    let body = json!({
        "summary": {"kind": "pack", "budget_seconds": 90.0, "expected_seconds": null},
        "recorded": {"seconds": 45.0, "budget_seconds": 90.0},
        "workload": {"files": 10, "bytes": 1000},
    });
    assert_has(
        &metrics(&envelope("budget", "pass", body), &[]),
        &[
            r#"agp_budget_seconds{command="budget",kind="pack"} 90"#,
            r#"agp_budget_efficiency_ratio{command="budget",kind="pack"} 0.5"#,
            r#"agp_run_assets{command="budget"} 10"#,
        ],
    );
}

#[test]
fn no_more_stages_are_told_than_the_bound() {
    let stage = |at: usize| json!({"stage": format!("s{at}"), "median_run": 0, "runs": [{"outcome": "passed", "figures": {"wall_seconds": 1}}]});
    let series =
        |at: usize| json!({"stage": format!("s{at}"), "metric": "wall_seconds", "verdict": "ok"});
    let stages: Vec<Value> = (0..500).map(stage).collect();
    let series: Vec<Value> = (0..500).map(series).collect();
    let body = json!({"stages": stages, "judgement": {"series": series}});
    let metrics = metrics(&envelope("profile", "pass", body), &[]);
    for name in ["agp_stage_duration_seconds{", "agp_stage_regression{"] {
        let count = lines(&metrics)
            .iter()
            .filter(|line| line.starts_with(name))
            .count();
        assert_eq!(count, 100, "{name}");
    }
}

#[test]
fn every_line_is_one_that_a_later_run_reads_again() {
    let hostile = "a\"b\\c\nagp_fake{x=\"y\"} 1 \u{202e}\u{1b}[31m{}=,";
    let long = "x".repeat(10_000);
    let metrics = metrics(
        &envelope("sign", "pass", json!({})),
        &[("odd", hostile), ("long", &long)],
    );
    let pattern = LINE.as_ref().unwrap();
    let before = lines(&metrics);
    assert!(
        before
            .iter()
            .all(|line| pattern.is_match(line) && line.len() < 500),
        "{before:#?}"
    );
    let other = self::metrics(&envelope("guard", "pass", json!({})), &[]);
    let after = lines(&other.beside(&metrics.to_string()));
    assert!(before.iter().all(|line| after.contains(line)), "{after:#?}");
}

#[test]
fn a_failure_keeps_the_last_success_and_what_other_commands_said() {
    let good = metrics(
        &envelope(
            "verify",
            "pass",
            json!({"summary": {"counters": {"checked": 1, "ok": 1}}}),
        ),
        &[("team", "old")],
    );
    let sign = metrics(&envelope("sign", "pass", json!({})), &[]).beside(&good.to_string());
    let mut failed = envelope("verify", "error", json!({}));
    failed.finished_at = Timestamp::from_unix_seconds(1_900_000_000);
    let after = metrics(&failed, &[("team", "new")]).beside(&sign.to_string());
    assert_has(
        &after,
        &[
            r#"agp_last_run_timestamp_seconds{command="verify",team="new"} 1900000000"#,
            r#"agp_last_success_timestamp_seconds{command="verify",team="new"} 1800000002.5"#,
            r#"agp_last_success_timestamp_seconds{command="sign"} 1800000002.5"#,
            r#"agp_run_verdict{command="sign",verdict="pass"} 1"#,
        ],
    );
    // Nothing else of the earlier run stays, under no label.
    assert!(
        lines(&after)
            .iter()
            .all(|line| !line.contains("old") && !line.contains("agp_run_assets{"))
    );
    let (run, success) = after.parted();
    assert!(!run.to_string().contains("last_success"));
    assert_eq!(lines(&success.unwrap()).len(), 2);
}

#[test]
fn what_is_no_line_of_ours_is_left_out() {
    let own = metrics(&envelope("sign", "pass", json!({})), &[]);
    let earlier = [
        "node_load1 3",
        "agp_unknown{command=\"verify\"} 1",
        "agp_run_errors 1",
        "agp_run_errors{command=\"verify\"} x",
        "agp_run_errors{command=\"verify\"} 1 1800000000",
        "agp_run_errors{command=\"verify\",} 1",
        "agp_run_errors{command=\"verify\",a=\"\\x\"} 1",
        "agp_run_errors{command=\"verify\" ",
        "agp_run_errors{team=\"a\",command=\"verify\"} 1",
        "\u{0}",
    ];
    assert_eq!(own.clone().beside(&earlier.join("\n")), own);
}

#[test]
fn the_page_about_metrics_has_every_one() {
    let page = include_str!("../../../docs/metrics.md");
    for super::families::Family { name, help } in super::families::ALL {
        let row = format!("| `{name}` | {help} |\n");
        assert!(page.contains(&row), "docs/metrics.md lacks: {row}");
    }
    let rows = page.matches("\n| `agp_").count();
    assert_eq!(rows, super::families::ALL.len());
}
