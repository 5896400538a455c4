//! All stages and metrics of a run.

use super::Dice;
use crate::base::clock::Timestamp;
use crate::history::{
    Acceptance, Entry, GateVerdict, Host, Metrics, Outcome, RECORD_VERSION, Record, System,
};
use crate::policy::{self, Metric};
use crate::profile::{ALL_STAGES, RunJudgement, RunRequest, judge_run};
use crate::report::Verdict;

pub(super) fn record(run: &str, stage: &str, wall_seconds: f64) -> Record {
    let at = Timestamp::from_unix_seconds(1_795_442_760);
    Record {
        record_version: RECORD_VERSION.into(),
        run_id: run.into(),
        key: "game".into(),
        kind: None,
        stage: stage.into(),
        size_class: "4^10".into(),
        host_class: "linux-x86_64-2c-8g".into(),
        gate_verdict: Some(GateVerdict::Ok),
        started_at: at,
        // The clock was set back meanwhile: times say nothing about order or duration.
        finished_at: at.plus_seconds(-3600),
        outcome: Outcome::Passed,
        host: Host::default(),
        workload: None,
        system: None,
        metrics: Metrics {
            wall_seconds: Some(wall_seconds),
            ..Metrics::default()
        },
        budget: None,
    }
}

pub(super) fn wall() -> policy::Profile {
    policy::Profile {
        gate: vec![Metric::WallSeconds],
        ..policy::Profile::default()
    }
}

fn judged(history: &[Entry], run: &[Record]) -> RunJudgement {
    judged_by(&wall(), history, run)
}

fn judged_by(policy: &policy::Profile, history: &[Entry], run: &[Record]) -> RunJudgement {
    judge_run(&RunRequest {
        history: &history.iter().collect::<Vec<_>>(),
        run,
        policy,
        peaks_are_seen: false,
    })
}

#[test]
fn a_change_of_less_than_a_tick_does_not_count() {
    let cpu = |run: usize, seconds: f64| {
        let mut record = record(&format!("{run}"), "pack", 1.0);
        record.metrics.wall_seconds = None;
        record.metrics.cpu_user_seconds = Some(seconds);
        record
    };
    let policy = policy::Profile {
        gate: vec![Metric::CpuUserSeconds],
        ..policy::Profile::default()
    };
    for (level, now, expected) in [
        // A stage that mostly sleeps: a quarter more of nearly nothing.
        (0.008, 0.01, GateVerdict::Ok),
        (0.008, 0.016, GateVerdict::Regression),
        (0.8, 1.2, GateVerdict::Regression),
    ] {
        let mut dice = Dice::new(4);
        let mut near = |level: f64| level * (1.0 + 0.01 * dice.normal());
        let history: Vec<Entry> = (0..20)
            .map(|at| Entry::Record(cpu(at, near(level))))
            .collect();
        let run: Vec<Record> = (0..9).map(|_| cpu(99, near(now))).collect();
        let judged = judged_by(&policy, &history, &run);
        assert_eq!(judged.verdict, Some(expected), "{level} s, then {now} s");
    }
}

#[test]
fn what_all_stages_have_in_common_is_measured_in_no_unit() {
    let policy = policy::Profile::default();
    let request = RunRequest {
        history: &[],
        run: &[],
        policy: &policy,
        peaks_are_seen: false,
    };
    let floor = |stage, size| request.effect_floor((stage, Metric::PeakMemoryBytes), &[size; 9]);
    assert!((floor(ALL_STAGES, 1.0) - policy.effect_floor).abs() < 1e-12);
    assert!((floor("pack", 1e9) - policy.effect_floor).abs() < 1e-12);
    assert!((floor("pack", 524_288.0) - 0.5).abs() < 1e-12);
}

#[test]
fn a_peak_that_was_only_seen_has_to_rise_by_more() {
    let peak = |stage: usize, bytes: f64| {
        let mut record = record(&format!("{stage}"), "pack", 1.0);
        record.metrics.wall_seconds = None;
        record.metrics.peak_memory_bytes = Some(bytes as u64);
        record
    };
    let mut dice = Dice::new(4);
    let mut near = |level: f64| level * (1.0 + 0.004 * dice.normal());
    let history: Vec<Entry> = (0..20)
        .map(|at| Entry::Record(peak(at, near(20e6))))
        .collect();
    let policy = policy::Profile {
        gate: vec![Metric::PeakMemoryBytes],
        ..policy::Profile::default()
    };
    for (level, when_kept, when_seen) in [
        (20e6, GateVerdict::Ok, GateVerdict::Ok),
        (21.6e6, GateVerdict::Regression, GateVerdict::Ok),
        (30e6, GateVerdict::Regression, GateVerdict::Regression),
    ] {
        let run: Vec<Record> = (0..9).map(|_| peak(99, near(level))).collect();
        for (peaks_are_seen, expected) in [(false, when_kept), (true, when_seen)] {
            let judged = judge_run(&RunRequest {
                history: &history.iter().collect::<Vec<_>>(),
                run: &run,
                policy: &policy,
                peaks_are_seen,
            });
            assert_eq!(judged.verdict, Some(expected), "{level} {peaks_are_seen}");
        }
    }
}

/// Past runs `0`, `1` … of one stage.
fn past(count: usize) -> Vec<Entry> {
    let mut dice = Dice::new(1);
    let one = |run: usize| record(&run.to_string(), "pack", (0.01 * dice.normal()).exp());
    (0..count).map(one).map(Entry::Record).collect()
}

/// Repetitions of a run.
fn run(values: &[f64]) -> Vec<Record> {
    values
        .iter()
        .map(|value| record("new", "pack", *value))
        .collect()
}

const SLOW: [f64; 4] = [1.10, 1.11, 1.09, 1.105];

fn finding_codes(judgement: &RunJudgement) -> Vec<&str> {
    let findings = judgement.findings.iter();
    findings.map(|finding| finding.code.id).collect()
}

#[test]
fn a_slower_run_is_a_regression_with_a_finding_that_says_so() {
    let found = judged(&past(30), &run(&SLOW));
    assert_eq!(found.verdict, Some(GateVerdict::Regression));
    assert_eq!(finding_codes(&found), ["performance.regression"]);
    assert_eq!(Verdict::of(&found.findings), Verdict::Regression);
    let message = &found.findings[0].message;
    assert!(message.starts_with("`wall_seconds` of stage `pack`: 4 runs together are"));
    assert_eq!((found.stages.len(), found.more.len()), (1, 0));
    assert_eq!(found.stages[0].history.len(), 30);
    let clean = judged(&past(30), &run(&[1.0]));
    assert_eq!(clean.verdict, Some(GateVerdict::Ok));
    assert!(clean.findings.is_empty());
}

#[test]
fn one_suspicious_run_asks_for_more_of_its_stage() {
    let found = judged(&past(30), &run(&SLOW[..1]));
    assert_eq!(found.verdict, Some(GateVerdict::Inconclusive));
    assert_eq!(found.more.get("pack"), Some(&1));
    assert_eq!(finding_codes(&found), ["performance.inconclusive"]);
    assert_eq!(Verdict::of(&found.findings), Verdict::Pass);
    let strict = policy::Profile {
        inconclusive_fails: true,
        ..wall()
    };
    let found = judged_by(&strict, &past(30), &run(&SLOW[..1]));
    assert_eq!(Verdict::of(&found.findings), Verdict::Regression);
}

#[test]
fn other_series_and_what_did_not_pass_are_not_compared_with() {
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 6] = [
        ("other host", |record| record.host_class = "other".into()),
        ("other size", |record| record.size_class = "4^3".into()),
        ("other stage", |record| record.stage = "other".into()),
        ("other key", |record| record.key = "other".into()),
        ("failed", |record| record.outcome = Outcome::Failed),
        ("timed out", |record| record.outcome = Outcome::TimedOut),
    ];
    for (what, change) in changes {
        let mut history = past(30);
        for entry in &mut history {
            if let Entry::Record(record) = entry {
                change(record);
            }
        }
        let found = judged(&history, &run(&SLOW));
        assert_eq!(found.verdict, Some(GateVerdict::NotEnoughHistory), "{what}");
        assert!(found.findings.is_empty(), "{what}");
    }
}

#[test]
fn a_regression_never_becomes_normal_by_itself_and_at_once_where_it_is_accepted() {
    let mut history = past(30);
    for run in 0..20 {
        let mut slow = record(
            &format!("slow-{run}"),
            "pack",
            1.10 + 0.001 * f64::from(run % 5),
        );
        slow.gate_verdict = Some(GateVerdict::Regression);
        history.push(Entry::Record(slow));
    }
    assert_eq!(
        judged(&history, &run(&SLOW)).verdict,
        Some(GateVerdict::Regression)
    );
    history.push(Entry::Acceptance(Acceptance {
        accepts: "slow-19".into(),
        reason: "worth it".into(),
        actor: "ada".into(),
        at: Timestamp::from_unix_seconds(0),
    }));
    let found = judged(&history, &run(&SLOW));
    assert_eq!(found.verdict, Some(GateVerdict::Ok), "{found:?}");
    let slower_still: Vec<f64> = SLOW.iter().map(|value| value * 1.1).collect();
    let found = judged(&history, &run(&slower_still));
    assert_eq!(found.verdict, Some(GateVerdict::Regression));
}

#[test]
fn a_stage_that_failed_and_a_metric_that_was_not_measured_are_not_judged() {
    let mut failed = run(&SLOW);
    failed[3].outcome = Outcome::Failed;
    assert_eq!(judged(&past(30), &failed).verdict, None);
    let mut unmeasured = run(&SLOW);
    for record in &mut unmeasured {
        record.metrics.wall_seconds = None;
    }
    assert_eq!(judged(&past(30), &unmeasured).verdict, None);
    let ungated = policy::Profile {
        gate: Vec::new(),
        ..wall()
    };
    assert_eq!(judged_by(&ungated, &past(30), &run(&SLOW)).verdict, None);
    assert_eq!(judged(&past(30), &[]).verdict, None);
}

#[test]
fn slow_creep_is_a_warning() {
    let rise = |run: usize| record(&run.to_string(), "pack", 1.006_f64.powi(run as i32));
    let history: Vec<Entry> = (0..14).map(rise).map(Entry::Record).collect();
    let found = judged(&history, &[rise(14)]);
    let creeps = finding_codes(&found);
    assert!(creeps.contains(&"performance.creep") || creeps.contains(&"performance.inconclusive"));
    // Among so much noise that no run stands out, the rise still shows.
    let mut dice = Dice::new(5);
    let noisy: Vec<Entry> = (0..30)
        .map(|run| record(&run.to_string(), "pack", (0.05 * dice.normal()).exp()))
        .chain((0..9).map(|run| record(&format!("c{run}"), "pack", 0.97 + 0.008 * f64::from(run))))
        .map(Entry::Record)
        .collect();
    let found = judged(&noisy, &[record("new", "pack", 1.045)]);
    assert_eq!(finding_codes(&found), ["performance.creep"], "{found:?}");
    assert_eq!(Verdict::of(&found.findings), Verdict::Pass);
}

const STAGES: usize = 10;

/// One run of ten stages, three metrics each: the machine's speed, and noise of each one's own.
fn wide(run: &str, (dice, machine): (&mut Dice, f64)) -> Vec<Record> {
    let speed = (machine * dice.normal()).exp();
    let one = |stage: usize| {
        let mut own = |noise: f64| (noise * dice.normal()).exp();
        let mut record = record(run, &format!("stage-{stage}"), speed * own(0.02));
        record.metrics.cpu_user_seconds = Some(speed * own(0.015));
        record.metrics.cpu_system_seconds = Some(0.1 * speed * own(0.05));
        record.metrics.peak_memory_bytes = Some((1e8 * own(0.004)) as u64);
        record
    };
    (0..STAGES).map(one).collect()
}

/// A history of such runs.
fn wide_past(count: usize, (dice, machine): (&mut Dice, f64)) -> Vec<Entry> {
    let mut history = Vec::new();
    for run in 0..count {
        let records = wide(&run.to_string(), (dice, machine));
        history.extend(records.into_iter().map(Entry::Record));
    }
    history
}

/// Runs as the runner does: stages that ask for more are run again, up to the policy's most.
fn sequentially(
    history: &[Entry],
    mut again: impl FnMut() -> Vec<Record>,
) -> (RunJudgement, Vec<Record>) {
    let mut run = again();
    loop {
        let found = judged_by(&policy::Profile::default(), history, &run);
        if found.more.is_empty() {
            return (found, run);
        }
        // Stages that are run again together meet the same machine.
        for round in 0..found.more.values().copied().max().unwrap_or(0) {
            let again = again().into_iter();
            run.extend(again.filter(|record| found.more.get(&record.stage) > Some(&round)));
        }
    }
}

#[test]
fn thirty_verdicts_of_a_clean_run_raise_no_more_alarms_than_one() {
    let (mut alarms, mut repetitions) = (0, 0);
    let count = 60;
    for seed in 0..count {
        let mut dice = Dice::new(100 + seed);
        let history = wide_past(20, (&mut dice, 0.01));
        let (found, run) = sequentially(&history, || wide("new", (&mut dice, 0.01)));
        alarms += u32::from(found.verdict == Some(GateVerdict::Regression));
        repetitions += run.len();
    }
    assert!(alarms <= 1, "{alarms} of {count}");
    assert!(
        repetitions <= count as usize * STAGES * 3 / 2,
        "{repetitions}"
    );
}

#[test]
fn the_one_stage_that_became_slower_is_named_whatever_the_machine_does() {
    let mut found_slow = 0;
    for seed in 0..10 {
        let mut dice = Dice::new(300 + seed);
        // The machine varies by eight percent, the change is ten.
        let history = wide_past(30, (&mut dice, 0.08));
        let (found, _) = sequentially(&history, || {
            let mut run = wide("new", (&mut dice, 0.08));
            let metrics = &mut run[4].metrics;
            metrics.cpu_user_seconds = metrics.cpu_user_seconds.map(|seconds| seconds * 1.10);
            metrics.wall_seconds = metrics.wall_seconds.map(|seconds| seconds * 1.10);
            run
        });
        let slow: Vec<&str> = found
            .stages
            .iter()
            .filter(|one| one.judgement.verdict == GateVerdict::Regression)
            .map(|one| one.stage.as_str())
            .collect();
        assert!(slow.iter().all(|stage| *stage == "stage-4"), "{slow:?}");
        found_slow += usize::from(!slow.is_empty());
    }
    assert!(found_slow >= 8, "{found_slow} of 10");
}

#[test]
fn what_makes_every_stage_slower_is_not_taken_for_the_machine() {
    let mut dice = Dice::new(77);
    let history = wide_past(30, (&mut dice, 0.04));
    let (found, _) = sequentially(&history, || {
        let mut run = wide("new", (&mut dice, 0.04));
        for record in &mut run {
            record.metrics.wall_seconds = record.metrics.wall_seconds.map(|wall| wall * 1.5);
        }
        run
    });
    assert_eq!(found.verdict, Some(GateVerdict::Regression));
    let common = found
        .stages
        .iter()
        .find(|one| one.stage == ALL_STAGES && one.metric == Metric::WallSeconds)
        .unwrap();
    assert_eq!(
        common.judgement.verdict,
        GateVerdict::Regression,
        "{common:?}"
    );
    let told = "`wall_seconds` of all stages together";
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.message.starts_with(told))
    );
}

#[test]
fn a_recorded_probe_is_used_where_every_run_has_one() {
    let mut dice = Dice::new(50);
    let mut one = |run: &str, factor: f64| {
        let machine = (0.1 * dice.normal()).exp();
        let mut record = record(run, "pack", factor * machine * (0.01 * dice.normal()).exp());
        record.system = Some(System {
            probe_seconds: Some(0.02 * machine),
            ..System::default()
        });
        record
    };
    let mut history: Vec<Entry> = (0..30)
        .map(|run| Entry::Record(one(&run.to_string(), 1.0)))
        .collect();
    let run: Vec<Record> = (0..6).map(|_| one("new", 1.08)).collect();
    let found = judged(&history, &run);
    assert_eq!(found.verdict, Some(GateVerdict::Regression), "{found:?}");
    if let Entry::Record(record) = &mut history[7] {
        record.system = None;
    }
    let found = judged(&history, &run);
    assert_ne!(found.verdict, Some(GateVerdict::Regression));
}
