//! Tests of the recommendation, on frozen machines.

use std::path::Path;

use super::forecast::{Amount, Features};
use super::*;
use crate::policy::Policy;
use crate::system::{DiskRoom, Limits, Memory, Pressure, Sample};

const GIB: u64 = 1 << 30;

fn machine() -> Sample {
    Sample {
        cpus: 4,
        load: Some([0.4, 0.4, 0.4]),
        memory: Some(Memory {
            total_bytes: 8 * GIB,
            available_bytes: 6 * GIB,
            swap_free_bytes: 0,
        }),
        pressure_io: Some(Pressure::default()),
        ..Sample::default()
    }
}

/// Runs of a kind that take a second for each ten files, give or take a twentieth, and a MiB of
/// memory for each file.
fn runs(kind: &str, count: u32) -> Vec<Run> {
    let runs = (0..count).map(|at| {
        let files = f64::from(10 + (at * 37) % 400);
        let wobble = 1.0 + 0.05 * (f64::from(at) * 1.7).sin();
        Run {
            kind: kind.to_owned(),
            features: Features::from([
                ("files".to_owned(), files),
                ("bytes".to_owned(), files * 1e5),
            ]),
            seconds: Some(Amount::Measured(files / 10.0 * wobble)),
            peak_memory_bytes: Some(files * 1048576.0 * wobble),
            read_bytes: None,
            written_bytes: None,
            budget_seconds: None,
        }
    });
    runs.collect()
}

fn past(runs: Vec<Run>) -> Past {
    Past {
        runs,
        ..Past::default()
    }
}

fn tree(files: u32) -> Weighed {
    let files: Vec<(String, u64)> = (0..files)
        .map(|at| (format!("tree/f{at:05}"), 100_000))
        .collect();
    let workload = workload::workload_of(files.iter().map(|(path, bytes)| (path.as_str(), *bytes)));
    Weighed {
        workload,
        files,
        unreadable: Vec::new(),
    }
}

/// A question about a kind of work, to be changed where a test asks another.
fn ask(policy: &Policy, past: &Past, weighed: Option<&Weighed>, sample: &Sample) -> Advice {
    advise(&Question {
        policy,
        kind: "pack",
        coverage: policy.adaptive_budget.coverage,
        past,
        weighed,
        targets: &["tree".to_owned()],
        sample,
        disk: Some(DiskRoom {
            total_bytes: 100 * GIB,
            available_bytes: 50 * GIB,
        }),
    })
}

fn codes(advice: &Advice) -> Vec<&str> {
    advice
        .findings
        .iter()
        .map(|finding| finding.code.id)
        .collect()
}

fn actions(advice: &Advice) -> Vec<&str> {
    advice
        .body
        .suggestions
        .iter()
        .map(|suggestion| suggestion.action.as_str())
        .collect()
}

#[test]
fn the_plain_formula_where_the_policy_wants_it_or_nothing_is_known() {
    let full = past(runs("pack", 100));
    for (enabled, dynamic, past, base, budget) in [
        (false, true, &full, 60.0, 90.0),
        (true, false, &full, 60.0, 90.0),
        (true, true, &past(Vec::new()), 60.0, 90.0),
        (false, true, &full, 900.0, 300.0),
    ] {
        let mut policy = Policy::default();
        policy.adaptive_budget.enabled = enabled;
        policy.adaptive_budget.dynamic_adjustment = dynamic;
        policy.adaptive_budget.base_budget_seconds = base;
        let advice = ask(&policy, past, Some(&tree(50)), &machine());
        let time = &advice.body.budgets.processing_seconds;
        assert_eq!(
            (advice.body.budget_seconds, time.expert.as_str()),
            (budget, "formula")
        );
        assert_eq!(
            (time.lower, time.upper, time.expected),
            (budget, budget, None)
        );
        assert!(advice.body.budgets.peak_memory_bytes.is_none() && advice.body.experts.is_empty());
    }
}

#[test]
fn a_budget_follows_the_weight_and_says_what_it_is_made_of() {
    let past = past(runs("pack", 200));
    let advice = ask(&Policy::default(), &past, Some(&tree(200)), &machine());
    let body = &advice.body;
    let time = &body.budgets.processing_seconds;
    assert!((20.0..24.0).contains(&time.recommended), "{time:?}");
    assert!(time.lower <= time.recommended && time.recommended <= time.upper);
    assert!(
        (time.expected.unwrap_or(0.0) - 20.0).abs() < 2.0,
        "{time:?}"
    );
    let memory = body
        .budgets
        .peak_memory_bytes
        .as_ref()
        .map_or(0.0, |amount| amount.recommended);
    assert!((190e6..300e6).contains(&memory), "{memory}");
    assert_eq!(
        body.experts
            .iter()
            .filter(|expert| expert.is_chosen)
            .count(),
        1
    );
    assert_eq!(
        (body.confidence.runs, body.confidence.basis.as_str()),
        (200, "replayed")
    );
    let (achieved, interval) = (
        body.confidence.coverage_achieved.unwrap_or(0.0),
        body.confidence.interval,
    );
    assert!(
        interval.low < achieved && achieved < interval.high,
        "{:?}",
        body.confidence
    );
    assert_eq!(codes(&advice), [""; 0]);
}

#[test]
fn where_the_ceiling_binds_it_is_said_and_every_part_of_the_split_fits() {
    let past = past(runs("pack", 200));
    let mut policy = Policy::default();
    policy.adaptive_budget.max_budget_seconds = 15.0;
    let tree = tree(400);
    let advice = ask(&policy, &past, Some(&tree), &machine());
    let body = &advice.body;
    assert_eq!(
        (body.budget_seconds, body.summary.ceiling_binds),
        (15.0, true)
    );
    assert_eq!(codes(&advice), ["budget.ceiling"]);
    let share = body.budgets.processing_seconds.share_above_ceiling;
    assert!(share.is_some_and(|share| share > 0.9), "{share:?}");
    assert_eq!(actions(&advice)[..2], ["split", "raise_ceiling"]);
    let parts = &body.suggestions[0].parts;
    assert!((3..=5).contains(&parts.len()), "{parts:?}");
    assert_eq!(parts.iter().map(|part| part.files).sum::<u64>(), 400);
    for part in parts {
        let files = tree.files.iter();
        let files = files.filter(|(path, _)| (&part.first..=&part.last).contains(&path));
        let files: Vec<(String, u64)> = files.cloned().collect();
        let workload =
            workload::workload_of(files.iter().map(|(path, bytes)| (path.as_str(), *bytes)));
        assert_eq!((workload.files, workload.bytes), (part.files, part.bytes));
        let weighed = Weighed {
            workload,
            files,
            unreadable: Vec::new(),
        };
        let alone = ask(&policy, &past, Some(&weighed), &machine());
        assert_eq!(alone.body.budget_seconds, part.budget_seconds);
        assert!(!alone.body.summary.ceiling_binds && part.budget_seconds <= 15.0);
    }
}

#[test]
fn what_cannot_be_split_is_not_advised_to_be() {
    let past = past(runs("pack", 200));
    let mut policy = Policy::default();
    policy.adaptive_budget.max_budget_seconds = 15.0;
    let mut one = tree(1);
    one.files[0].1 = 4 * GIB;
    one.workload.bytes = 4 * GIB;
    let advice = ask(&policy, &past, Some(&one), &machine());
    assert_eq!(
        actions(&advice)[0],
        "raise_ceiling",
        "{:?}",
        advice.body.suggestions
    );
    let unweighed = ask(&policy, &past, None, &machine());
    assert!(!actions(&unweighed).contains(&"split") && unweighed.body.workload.is_none());
}

#[test]
fn says_which_resource_is_short_on_a_frozen_machine() {
    let past = past(runs("pack", 200));
    let policy = Policy::default();
    let short = |sample: &Sample, disk: DiskRoom| {
        let advice = advise(&Question {
            policy: &policy,
            kind: "pack",
            coverage: 0.95,
            past: &past,
            weighed: Some(&tree(400)),
            targets: &[],
            sample,
            disk: Some(disk),
        });
        let states = advice.body.utilization.resources.iter();
        let short: Vec<String> = states
            .filter(|state| state.state == "short")
            .map(|state| state.resource.clone())
            .collect();
        assert_eq!(advice.findings.len(), short.len(), "{:?}", advice.findings);
        (short, advice)
    };
    let roomy = DiskRoom {
        total_bytes: 100 * GIB,
        available_bytes: 50 * GIB,
    };
    assert_eq!(short(&machine(), roomy).0, [""; 0]);
    let full = DiskRoom {
        total_bytes: 100 * GIB,
        available_bytes: GIB,
    };
    assert_eq!(short(&machine(), full).0, ["disk"]);
    let mut tight = machine();
    tight.memory = Some(Memory {
        total_bytes: 8 * GIB,
        available_bytes: GIB / 8,
        swap_free_bytes: 0,
    });
    let (resources, advice) = short(&tight, roomy);
    assert_eq!(resources, ["memory"]);
    assert!(actions(&advice).contains(&"free_memory") && actions(&advice).contains(&"split"));
    // The control group allows less than the machine has.
    let mut caged = machine();
    caged.limits = Limits {
        is_known: true,
        cpus: Some(0.4),
        memory_bytes: Some(GIB / 4),
        memory_used_bytes: Some(GIB / 8),
    };
    let (resources, advice) = short(&caged, roomy);
    assert_eq!(resources, ["cpu", "memory"]);
    let utilization = &advice.body.utilization;
    assert_eq!(
        (
            utilization.memory_total_bytes,
            utilization.memory_available_bytes
        ),
        (Some(GIB / 4), Some(GIB / 8))
    );
    let mut busy = machine();
    busy.pressure_io = Some(Pressure {
        some_percent: 35.0,
        ..Pressure::default()
    });
    busy.load = Some([9.0, 9.0, 9.0]);
    assert_eq!(short(&busy, roomy).0, ["cpu", "io"]);
    // A machine that says nothing has nothing that is short.
    let mut mute = Sample {
        cpus: 1,
        ..Sample::default()
    };
    mute.missing = vec!["load"];
    let (resources, advice) = short(&mute, roomy);
    assert_eq!(
        (resources.len(), advice.body.utilization.missing.len()),
        (0, 1)
    );
}

#[test]
fn load_counts_where_past_runs_say_that_it_does() {
    let mut all = runs("pack", 300);
    for (at, run) in all.iter_mut().enumerate() {
        let load = (at % 5) as f64 * 3.0;
        run.features.insert("load1".into(), load);
        run.features.insert("cpus".into(), 4.0);
        let slower = 1.0 + (load / 4.0 - 1.0).max(0.0) * 0.5;
        if let Some(Amount::Measured(seconds)) = &mut run.seconds {
            *seconds *= slower;
        }
    }
    let past = past(all);
    let mut busy = machine();
    busy.load = Some([12.0, 12.0, 12.0]);
    let calm = ask(&Policy::default(), &past, Some(&tree(200)), &machine());
    let busy = ask(&Policy::default(), &past, Some(&tree(200)), &busy);
    assert!(busy.body.budget_seconds > 1.5 * calm.body.budget_seconds);
    assert!(
        actions(&busy).contains(&"wait_for_idle") && !actions(&calm).contains(&"wait_for_idle")
    );
}

#[test]
fn suggests_a_formula_that_agrees_and_more_runs_where_there_are_few() {
    let many = ask(
        &Policy::default(),
        &past(runs("pack", 100)),
        Some(&tree(20)),
        &machine(),
    );
    assert!(actions(&many).contains(&"tune_formula") && !actions(&many).contains(&"record_runs"));
    let few = ask(
        &Policy::default(),
        &past(runs("pack", 3)),
        Some(&tree(20)),
        &machine(),
    );
    assert_eq!(actions(&few), ["record_runs"]);
    let empty = ask(
        &Policy::default(),
        &past(runs("other", 100)),
        Some(&tree(0)),
        &machine(),
    );
    assert_eq!(empty.body.budgets.processing_seconds.expert, "newcomer");
    assert_eq!(empty.body.confidence.coverage_achieved, None);
}

#[test]
fn every_kind_of_the_history_gets_its_budget() {
    let mut all = runs("pack", 100);
    all.extend(runs("scan", 100).into_iter().map(|mut run| {
        if let Some(Amount::Measured(seconds)) = &mut run.seconds {
            *seconds *= 3.0;
        }
        run
    }));
    let (past, tree) = (past(all), tree(100));
    assert_eq!(
        (past.only_kind(), super::Past::default().only_kind()),
        (None, None)
    );
    let advice = ask(&Policy::default(), &past, Some(&tree), &machine());
    let kinds = &advice.body.kinds;
    let names: Vec<&str> = kinds.iter().map(|kind| kind.kind.as_str()).collect();
    assert_eq!(names, ["pack", "scan"]);
    assert_eq!(kinds[0].budget_seconds, advice.body.budget_seconds);
    assert!(
        kinds[1].budget_seconds > 2.0 * kinds[0].budget_seconds,
        "{kinds:?}"
    );
}

#[test]
fn budgets_that_runs_were_given_count_as_achieved() {
    let mut all = runs("pack", 40);
    for (at, run) in all.iter_mut().enumerate() {
        run.budget_seconds = Some(if at % 10 == 0 { 0.001 } else { 1000.0 });
    }
    all[1].seconds = Some(Amount::AtLeast(1000.0));
    let advice = ask(&Policy::default(), &past(all), None, &machine());
    let confidence = &advice.body.confidence;
    assert_eq!(
        (
            confidence.runs,
            confidence.within,
            confidence.basis.as_str()
        ),
        (40, 35, "given")
    );
    assert_eq!(confidence.coverage_achieved, Some(0.875));
}

#[test]
fn a_backtest_counts_every_run_and_the_formula_beside_it() {
    let mut all = runs("pack", 200);
    all[150].seconds = Some(Amount::AtLeast(0.001));
    all[151].seconds = None;
    let backtest = backtest(&all, 0.9, 90.0);
    assert_eq!(
        (
            backtest.all.runs,
            backtest.first_thirty.runs,
            backtest.formula.within
        ),
        (199, 30, 199)
    );
    assert_eq!(backtest.kinds.len(), 1);
    let coverage = backtest.all.coverage.unwrap_or(0.0);
    assert!((0.85..=0.96).contains(&coverage), "{coverage}");
    assert!(backtest.formula.waste_median > backtest.all.waste_median);
    let none = super::backtest(&[], 0.9, 90.0);
    assert_eq!(
        (none.all.runs, none.all.coverage, none.all.waste_mean),
        (0, None, None)
    );
}

#[test]
fn a_history_that_is_not_there_holds_no_runs() {
    let folder = tempfile::tempdir().map(|folder| folder.path().join("history"));
    let past = folder.map(|folder| super::past(Path::new(&folder), Window::Newest));
    assert!(matches!(past, Ok(Ok(past)) if past.runs.is_empty() && past.passed_over == 0));
}
