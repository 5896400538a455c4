//! A second look at what was found slower.

use super::Dice;
use super::run::{record, wall};
use crate::history::{Entry, GateVerdict, Record};
use crate::profile::{RunJudgement, RunRequest, judge_again, judge_run};

const STAGES: [&str; 4] = ["build", "pack", "ship", "test"];

/// Thirty past runs of four stages that vary by 1 %.
fn past() -> Vec<Entry> {
    let mut dice = Dice::new(7);
    let mut entries = Vec::new();
    for run in 0..30 {
        for stage in STAGES {
            let wall_seconds = (0.01 * dice.normal()).exp();
            entries.push(Entry::Record(record(&run.to_string(), stage, wall_seconds)));
        }
    }
    entries
}

/// A look at every stage, each so many times as slow as the past, a few times.
fn look(levels: [f64; 4], runs: usize) -> Vec<Record> {
    let mut dice = Dice::new(8);
    let mut records = Vec::new();
    for (stage, level) in STAGES.into_iter().zip(levels) {
        for _ in 0..runs {
            records.push(record("new", stage, level * (0.01 * dice.normal()).exp()));
        }
    }
    records
}

fn request<'a>(
    history: &'a [&'a Entry],
    run: &'a [Record],
    policy: &'a crate::policy::Profile,
) -> RunRequest<'a> {
    RunRequest {
        history,
        run,
        policy,
        peaks_are_seen: false,
    }
}

/// A first look that finds `pack` slower by 15 %, and what comes of a second one.
fn seen_again(second: [f64; 4], others: &[&str]) -> RunJudgement {
    let (entries, policy) = (past(), wall());
    let history: Vec<&Entry> = entries.iter().collect();
    let run = look([1.0, 1.15, 1.0, 1.0], 6);
    let first = judge_run(&request(&history, &run, &policy));
    assert_eq!(first.verdict, Some(GateVerdict::Regression));
    let run = look(second, 3);
    let others: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
    judge_again(first, &request(&history, &run, &policy), &others)
}

fn pack(judged: &RunJudgement) -> (GateVerdict, &str) {
    let one = judged
        .stages
        .iter()
        .find(|one| one.stage == "pack")
        .unwrap();
    (one.judgement.verdict, &one.judgement.why)
}

#[test]
fn a_regression_that_is_seen_again_stands_and_one_that_is_not_falls() {
    let others = ["build", "ship", "test"];
    let stands = seen_again([1.0, 1.15, 1.0, 1.0], &others);
    let (verdict, why) = pack(&stands);
    assert_eq!(verdict, GateVerdict::Regression);
    assert!(
        why.contains("a second look, some time later, agrees: 3 runs 14 % above"),
        "{why}"
    );
    assert_eq!(stands.verdict, Some(GateVerdict::Regression));
    assert_eq!(stands.findings.len(), 1);

    let falls = seen_again([1.0, 1.0, 1.0, 1.0], &others);
    let (verdict, why) = pack(&falls);
    assert_eq!(verdict, GateVerdict::Ok);
    assert!(
        why.contains("a first look found it slower, this one no longer: 6 runs 15 % above"),
        "{why}"
    );
    assert_eq!(falls.verdict, Some(GateVerdict::Ok));
    assert!(falls.findings.is_empty() && falls.more.is_empty());
}

#[test]
fn what_every_stage_lost_meanwhile_is_the_machine_and_not_the_stage() {
    let crowded = [1.15, 1.16, 1.14, 1.15];
    let judged = seen_again(crowded, &["build", "ship", "test"]);
    let (verdict, why) = pack(&judged);
    assert_eq!(verdict, GateVerdict::Ok, "{why}");
    assert!(
        why.contains("meanwhile other stages were 14 % slower"),
        "{why}"
    );

    // Beyond what the others lost it is still slower.
    let worse = seen_again([1.05, 1.21, 1.05, 1.05], &["build", "ship", "test"]);
    assert_eq!(pack(&worse).0, GateVerdict::Regression);
    // What is left of it is too little to be the same.
    let less = seen_again([1.0, 1.05, 1.0, 1.0], &["build", "ship", "test"]);
    assert_eq!(pack(&less).0, GateVerdict::Inconclusive);
    // One other stage may be slower for a reason of its own.
    let alone = seen_again(crowded, &["ship"]);
    assert_eq!(pack(&alone).0, GateVerdict::Regression);
    // Faster ones take no blame away.
    let faster = seen_again([0.9, 1.15, 0.9, 0.9], &["build", "ship", "test"]);
    assert_eq!(pack(&faster).0, GateVerdict::Regression);
}

#[test]
fn a_stage_that_was_not_looked_at_again_keeps_its_verdict() {
    let (entries, policy) = (past(), wall());
    let history: Vec<&Entry> = entries.iter().collect();
    let run = look([1.0, 1.15, 1.0, 1.0], 6);
    let first = judge_run(&request(&history, &run, &policy));
    let without: Vec<Record> = run
        .into_iter()
        .filter(|record| record.stage != "pack")
        .collect();
    let judged = judge_again(first.clone(), &request(&history, &without, &policy), &[]);
    assert_eq!(judged, first);
}
