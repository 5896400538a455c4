//! What the verbs' own sections say in numbers: throughput, entries, budgets, stages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Metrics;
use super::families::{self, Family};
use crate::export::Document;

/// The most stages of a report that are told, in the report's order.
const STAGES_MAX: usize = 100;

/// What a stage is called that is named after its command.
const UNNAMED: &str = "command";

/// The sections of a report.
type Body = Map<String, Value>;

/// Adds what a report's sections hold. A run holds those of all the verbs that took part in it.
pub(super) fn add(metrics: &mut Metrics, document: &Document<'_>) {
    let body = &document.envelope.body;
    throughput(metrics, document);
    match &*document.envelope.report {
        "verify" => integrity(metrics, body),
        "run" if body.contains_key("verify") => integrity(metrics, document.sections_of("verify")),
        "budget" => budget(metrics, body),
        "audit" => {
            for state in ["covered", "sealed", "unsealed"] {
                let count = number(body, &format!("/summary/{state}"));
                metrics.add_known(&families::AUDIT_RECORDS, &[("state", state)], count);
            }
        }
        _ => {}
    }
    let profile = document.sections_of("profile");
    let mut predicted = BTreeMap::new();
    for budget in list(body.get("budget")) {
        let seconds = budget["advice"]["budget_seconds"].as_f64();
        predicted.extend(budget["stage"].as_str().zip(seconds));
    }
    let stages = list(profile.get("stages"));
    for section in stages.iter().take(STAGES_MAX) {
        stage(metrics, section, &predicted);
    }
    // What all stages have in common stands under `*`, which is a name.
    let unnamed = stages.iter().filter(|section| label(section) == UNNAMED);
    let unnamed = unnamed
        .filter_map(|section| section["stage"].as_str())
        .collect();
    changes(metrics, profile, &unnamed);
}

/// The name of a stage as a label. A command that nobody named bears its own text, which may hold
/// paths and differ with every run.
fn label(section: &Value) -> &str {
    let name = section["stage"].as_str().unwrap_or_default();
    match section["command"] == section["stage"] {
        true => UNNAMED,
        false => name,
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    let list = value.and_then(Value::as_array);
    list.map_or(&[][..], Vec::as_slice)
}

impl Metrics {
    fn add_known(&mut self, family: &'static Family, own: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.add(family, own, value);
        }
    }
}

/// The number at a pointer into the sections.
fn number(body: &Body, pointer: &str) -> Option<f64> {
    let (section, rest) = pointer.strip_prefix('/')?.split_once('/')?;
    body.get(section)?.pointer(&format!("/{rest}"))?.as_f64()
}

/// How much was worked on, how fast, and which share of it failed.
fn throughput(metrics: &mut Metrics, document: &Document<'_>) {
    let body = &document.envelope.body;
    let seconds = document.envelope.duration_seconds;
    let first = |pointers: [&str; 6]| pointers.iter().find_map(|pointer| number(body, pointer));
    let checked = number(body, "/summary/counters/checked");
    let files = first([
        "/summary/files",
        "/coverage/files",
        "/workload/files",
        "/summary/counters/checked",
        "/sign/summary/files",
        "/guard/coverage/files",
    ]);
    let bytes = first([
        "/summary/size_bytes",
        "/summary/bytes",
        "/coverage/bytes",
        "/workload/bytes",
        "/sign/summary/size_bytes",
        "/guard/coverage/bytes",
    ]);
    let bytes = bytes.or_else(|| checked.and_then(|_| verified_bytes(body)));
    for (amount, family, rate) in [
        (files, &families::ASSETS, &families::ASSET_RATE),
        (bytes, &families::ASSET_BYTES, &families::BYTE_RATE),
    ] {
        metrics.add_known(family, &[], amount);
        let per_second = amount.filter(|_| seconds > 0.0);
        metrics.add_known(rate, &[], per_second.map(|amount| amount / seconds));
    }
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let failed = |whole: Option<f64>, good: &str| share(whole? - number(body, good)?, whole?);
    let failed = failed(checked, "/summary/counters/ok")
        .or_else(|| failed(number(body, "/summary/stages"), "/summary/stages_passed"))
        .or_else(|| share(number(body, "/coverage/partial")?, files?))
        .or_else(|| failed_runs(body));
    metrics.add_known(&families::ERROR_RATIO, &[], failed);
}

/// Bytes that manifests list whose signature holds; those of another one are anybody's word.
fn verified_bytes(body: &Body) -> Option<f64> {
    let manifests = body.get("manifests")?.as_array()?;
    let signed = manifests.iter().filter(|manifest| {
        manifest["checks"]["signature_validity"]["result"] == "pass" && manifest["scope"] == "full"
    });
    let bytes = signed.map(|manifest| manifest["identity"]["summary"]["total_size_bytes"].as_f64());
    bytes.sum()
}

/// The share of the runs of all stages that did not pass.
fn failed_runs(body: &Body) -> Option<f64> {
    let stages = body.get("stages")?.as_array()?.iter();
    let runs = stages
        .filter_map(|stage| stage["runs"].as_array())
        .flatten();
    failed_share(runs)
}

fn failed_share<'a>(runs: impl Iterator<Item = &'a Value>) -> Option<f64> {
    let (mut all, mut failed) = (0.0, 0.0);
    for run in runs {
        all += 1.0;
        failed += f64::from(u8::from(run["outcome"] != "passed"));
    }
    (all > 0.0).then(|| failed / all)
}

fn integrity(metrics: &mut Metrics, body: &Body) {
    for status in ["valid", "partial", "invalid", "unknown"] {
        let count = number(body, &format!("/summary/{status}"));
        metrics.add_known(&families::MANIFESTS, &[("status", status)], count);
    }
    let counters = body
        .get("summary")
        .and_then(|summary| summary["counters"].as_object());
    for (result, count) in counters
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "checked")
    {
        metrics.add_known(&families::ENTRIES, &[("result", result)], count.as_f64());
    }
}

fn budget(metrics: &mut Metrics, body: &Body) {
    let kind = body
        .get("summary")
        .and_then(|summary| summary["kind"].as_str());
    let own = [("kind", kind.unwrap_or_default())];
    for (family, pointer) in [
        (&families::BUDGET, "/summary/budget_seconds"),
        (&families::BUDGET_EXPECTED, "/summary/expected_seconds"),
        (
            &families::BUDGET_MEMORY,
            "/budgets/peak_memory_bytes/recommended",
        ),
        (&families::BUDGET_READ, "/budgets/read_bytes/recommended"),
        (
            &families::BUDGET_WRITTEN,
            "/budgets/written_bytes/recommended",
        ),
        (&families::BUDGET_ACTUAL, "/recorded/seconds"),
        (&families::BUDGET_COVERAGE, "/confidence/coverage_achieved"),
    ] {
        metrics.add_known(family, &own, number(body, pointer));
    }
    let predicted = number(body, "/recorded/budget_seconds").filter(|seconds| *seconds > 0.0);
    let actual = number(body, "/recorded/seconds");
    let efficiency = actual
        .zip(predicted)
        .map(|(actual, predicted)| actual / predicted);
    metrics.add_known(&families::BUDGET_EFFICIENCY, &own, efficiency);
}

fn stage(metrics: &mut Metrics, section: &Value, predicted: &BTreeMap<&str, f64>) {
    let name = section["stage"].as_str().unwrap_or_default();
    let own = [("stage", label(section))];
    let runs = section["runs"].as_array().map_or(&[][..], Vec::as_slice);
    let median = section["median_run"].as_u64();
    let median = median.and_then(|at| runs.get(usize::try_from(at).ok()?));
    let Some(figures) = median.map(|run| &run["figures"]) else {
        return;
    };
    for (family, name) in [
        (&families::STAGE_DURATION, "wall_seconds"),
        (&families::STAGE_MEMORY, "peak_memory_bytes"),
        (&families::STAGE_READ, "read_bytes"),
        (&families::STAGE_WRITTEN, "written_bytes"),
        (&families::STAGE_OPERATIONS, "io_operations"),
    ] {
        metrics.add_known(family, &own, figures[name].as_f64());
    }
    for (mode, name) in [
        ("user", "cpu_user_seconds"),
        ("system", "cpu_system_seconds"),
    ] {
        let own = [own[0], ("mode", mode)];
        metrics.add_known(&families::STAGE_CPU, &own, figures[name].as_f64());
    }
    metrics.add_known(&families::STAGE_FAILED, &own, failed_share(runs.iter()));
    let budget = predicted.get(name).copied().filter(|budget| *budget > 0.0);
    metrics.add_known(&families::STAGE_BUDGET, &own, budget);
    let actual = figures["wall_seconds"].as_f64();
    let efficiency = actual.zip(budget).map(|(actual, budget)| actual / budget);
    metrics.add_known(&families::STAGE_EFFICIENCY, &own, efficiency);
}

/// What the past makes of stages: a change where one is known, and whether it is a regression.
fn changes(metrics: &mut Metrics, body: &Body, unnamed: &BTreeSet<&str>) {
    let judgement = body.get("judgement");
    let mut stages = BTreeSet::new();
    for one in list(judgement.and_then(|judgement| judgement.get("series"))) {
        let [stage, metric, verdict] =
            ["stage", "metric", "verdict"].map(|name| one[name].as_str().unwrap_or_default());
        let stage = if unnamed.contains(stage) {
            UNNAMED
        } else {
            stage
        };
        stages.insert(stage);
        if stages.len() > STAGES_MAX {
            return;
        }
        let own = [("stage", stage), ("metric", metric)];
        metrics.add_known(&families::STAGE_CHANGE, &own, one["effect"].as_f64());
        let is_regression = f64::from(u8::from(verdict == "regression"));
        metrics.add(&families::STAGE_REGRESSION, &own, is_regression);
    }
}
