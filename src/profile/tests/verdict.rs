//! One series.

use super::Dice;
use crate::history::GateVerdict::{self, *};
use crate::profile::{Judgement, Series, SeriesError, Settings, judge};

const SETTINGS: Settings = Settings {
    effect_floor: 0.02,
    runs_max: 9,
};

fn judged(history: &[f64], current: &[f64]) -> Judgement {
    let series = Series {
        history,
        current,
        ..Series::default()
    };
    judge(&series, &SETTINGS).unwrap()
}

/// Judges as the runner does: one run, and as many more as are asked for.
fn sequentially(history: &[f64], pool: &[f64]) -> Judgement {
    let mut runs = 1;
    loop {
        let judgement = judged(history, &pool[..runs]);
        assert!(runs + judgement.more <= SETTINGS.runs_max, "{judgement:?}");
        match judgement.more {
            0 => return judgement,
            more => runs += more,
        }
    }
}

fn times(values: &[f64], factor: f64) -> Vec<f64> {
    values.iter().map(|value| value * factor).collect()
}

#[test]
fn says_what_is_plain() {
    let history = Dice::new(1).runs(40, 0.01);
    let level = |factor: f64, runs: usize| vec![factor; runs];
    let cases: [(f64, usize, GateVerdict); 9] = [
        (1.0, 1, Ok),
        (1.0, 9, Ok),
        (1.10, 1, Inconclusive),
        (1.10, 4, Regression),
        (1.30, 4, Regression),
        (0.80, 4, Improvement),
        // Sure, and too small to count.
        (1.012, 9, Ok),
        (0.99, 9, Ok),
        // A single run convicts only where it is beyond everything that hits runs.
        (99.0, 1, Regression),
    ];
    for (factor, runs, wanted) in cases {
        // Runs that agree to the last digit share their luck; a little noise is natural.
        let mut dice = Dice::new(7);
        let current: Vec<f64> = level(factor, runs)
            .iter()
            .map(|value| value * (0.01 * dice.normal()).exp())
            .collect();
        let found = judged(&history, &current);
        assert_eq!(found.verdict, wanted, "{factor} × {runs}: {found:?}");
        assert_eq!(found.runs, runs);
        assert!(!found.why.is_empty());
    }
}

#[test]
fn a_history_of_less_than_five_runs_is_none() {
    for count in 0..5 {
        let found = judged(&vec![1.0; count], &[5.0]);
        assert_eq!(found.verdict, NotEnoughHistory, "{count}");
        assert_eq!((found.more, found.p, found.effect), (0, None, None));
        assert_eq!(found.history_runs, count);
    }
    assert_eq!(judged(&[1.0; 5], &[1.0]).verdict, Ok);
    assert_eq!(judged(&[1.0; 5], &[1.3, 1.3, 1.3, 1.3]).verdict, Regression);
}

#[test]
fn constant_values_are_judged_by_the_floor() {
    let history = [2.5; 30];
    assert_eq!(judged(&history, &[2.5]).verdict, Ok);
    assert_eq!(judged(&history, &[2.5; 9]).verdict, Ok);
    assert_eq!(judged(&history, &[2.5 * 1.01; 9]).verdict, Ok);
    assert_eq!(judged(&history, &[2.5 * 1.05; 4]).verdict, Regression);
    assert_eq!(judged(&history, &[2.5 * 0.9; 4]).verdict, Improvement);
}

#[test]
fn what_is_no_measurement_is_refused_with_its_place() {
    let good = [1.0; 6];
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -1.0] {
        let mut history = good;
        history[3] = bad;
        let series = Series {
            history: &history,
            current: &good,
            ..Series::default()
        };
        let refused = judge(&series, &SETTINGS).unwrap_err().to_string();
        assert!(refused.starts_with("`history[3]`: expected a number above 0"));
        let series = Series {
            history: &good,
            current: &[1.0, bad],
            ..Series::default()
        };
        let refused = judge(&series, &SETTINGS).unwrap_err().to_string();
        assert!(refused.starts_with("`current[1]`"), "{refused}");
    }
    let empty = Series {
        history: &good,
        ..Series::default()
    };
    assert_eq!(judge(&empty, &SETTINGS), Err(SeriesError::Empty));
    let short = Series {
        history: &good,
        current: &[1.0],
        probe: Some((&good[1..], &[1.0])),
        ..Series::default()
    };
    let refused = judge(&short, &SETTINGS).unwrap_err().to_string();
    assert_eq!(
        refused,
        "`history_probe`: expected as many values as runs (6), found 5"
    );
}

#[test]
fn extremes_of_numbers_are_judged_without_a_panic() {
    let mut dice = Dice::new(3);
    let wild: Vec<f64> = (0..300)
        .map(|_| 10.0_f64.powf(600.0 * dice.share() - 300.0))
        .collect();
    for history in [
        &wild[..],
        &[f64::MIN_POSITIVE; 10],
        &[f64::MAX; 1200],
        &[5e-324; 7],
    ] {
        for current in [&wild[..9], &[f64::MAX; 2], &[5e-324], &[1.0; 500]] {
            let found = judged(history, current);
            let numbers = [found.p, found.effect, found.minimum_detectable, found.noise];
            assert!(
                numbers.iter().flatten().all(|number| !number.is_nan()),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_unit_and_the_order_of_runs_do_not_matter() {
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let noise = 0.005 + 0.05 * dice.share();
        let history = dice.runs(20, noise);
        let current = times(&dice.runs(5, noise), 1.0 + 0.1 * dice.share());
        let found = judged(&history, &current);
        assert_eq!(judged(&history, &current), found, "not deterministic");
        for factor in [1e-9, 0.001, 3.7, 1e12] {
            let scaled = judged(&times(&history, factor), &times(&current, factor));
            assert_eq!(scaled.verdict, found.verdict, "{seed}: {factor}");
            assert_eq!(scaled.more, found.more, "{seed}: {factor}");
            let (one, other) = (scaled.p.unwrap(), found.p.unwrap());
            assert!((one - other).abs() <= 1e-6 * other, "{seed}: {one} {other}");
        }
        let mut turned = current.clone();
        turned.reverse();
        turned.swap(1, 3);
        assert_eq!(judged(&history, &turned), found, "{seed}");
    }
}

#[test]
fn the_slower_the_less_likely_by_chance() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let history = dice.runs(30, 0.02);
        let current = dice.runs(1 + seed as usize % 9, 0.02);
        let chances: Vec<f64> = (0..40)
            .map(|step| times(&current, 1.0 + 0.01 * f64::from(step)))
            .map(|current| judged(&history, &current).p.unwrap())
            .collect();
        let rises = chances
            .windows(2)
            .any(|pair| pair[1] > pair[0] * (1.0 + 1e-9));
        assert!(!rises, "{seed}: {chances:?}");
    }
}

#[test]
fn a_run_that_something_else_hit_asks_for_more_and_hardly_ever_convicts() {
    let mut convicted = 0;
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let history = dice.runs(40, 0.01);
        let mut pool: Vec<f64> = (0..9).map(|_| (0.01 * dice.normal()).exp()).collect();
        pool[0] = 1.3;
        let first = judged(&history, &pool[..1]);
        assert!(first.verdict != Regression && first.more == 1, "{first:?}");
        convicted += u32::from(sequentially(&history, &pool).verdict == Regression);
    }
    assert!(convicted <= 1, "{convicted} of 40");
}

#[test]
fn clean_runs_raise_few_alarms_and_cost_few_runs() {
    let (mut alarms, mut runs) = (0, 0);
    let count = 400;
    for seed in 0..count {
        let mut dice = Dice::new(1000 + seed);
        let noise = [0.01, 0.02, 0.05][seed as usize % 3];
        let history = dice.runs([10, 30, 60][seed as usize / 3 % 3], noise);
        let found = sequentially(&history, &dice.runs(9, noise));
        alarms += u32::from(found.verdict == Regression);
        runs += found.runs;
    }
    assert!(alarms <= 4, "{alarms} of {count}");
    assert!(runs as f64 <= 1.4 * count as f64, "{runs} runs of {count}");
}

#[test]
fn what_is_said_to_be_detectable_is_detected() {
    let mut found = 0;
    for seed in 0..100 {
        let mut dice = Dice::new(5000 + seed);
        let mut clean = |count: usize| -> Vec<f64> {
            (0..count).map(|_| (0.02 * dice.normal()).exp()).collect()
        };
        let (history, pool) = (clean(40), clean(9));
        let detectable = judged(&history, &pool[..1]).minimum_detectable.unwrap();
        assert!((0.02..0.10).contains(&detectable), "{detectable}");
        let slower = times(&pool, 1.0 + detectable);
        found += u32::from(sequentially(&history, &slower).verdict == Regression);
    }
    assert!(found >= 70, "{found} of 100");
}

#[test]
fn a_session_with_luck_of_its_own_is_not_taken_for_a_change() {
    // Runs of one session agree to a twentieth of what sessions differ by.
    let mut alarms = 0;
    for seed in 0..200 {
        let mut dice = Dice::new(9000 + seed);
        let history: Vec<f64> = (0..40).map(|_| (0.05 * dice.normal()).exp()).collect();
        let luck = 0.05 * dice.normal();
        let pool: Vec<f64> = (0..9)
            .map(|_| (luck + 0.0025 * dice.normal()).exp())
            .collect();
        alarms += u32::from(sequentially(&history, &pool).verdict == Regression);
    }
    assert!(alarms <= 4, "{alarms} of 200");
}

#[test]
fn the_last_level_counts_and_an_accepted_one_at_once() {
    let mut dice = Dice::new(11);
    let mut history = dice.runs(20, 0.01);
    history.extend(times(&dice.runs(20, 0.01), 1.3));
    let at_new_level = times(&dice.runs(4, 0.01), 1.3);
    assert_eq!(judged(&history, &at_new_level).verdict, Ok);
    // One run at the new level is no level, unless somebody says that it is.
    let few = &history[..21];
    assert_eq!(judged(few, &at_new_level).verdict, Regression);
    let accepted = Series {
        history: few,
        current: &at_new_level,
        accepted_from: 20,
        ..Series::default()
    };
    let found = judge(&accepted, &SETTINGS).unwrap();
    assert_eq!(found.verdict, Ok, "{found:?}");
    let worse = times(&at_new_level, 1.2);
    let accepted = Series {
        current: &worse,
        ..accepted
    };
    assert_eq!(judge(&accepted, &SETTINGS).unwrap().verdict, Regression);
}

#[test]
fn a_probe_makes_a_small_change_visible_on_a_restless_machine() {
    let mut dice = Dice::new(21);
    let machine: Vec<f64> = (0..49).map(|_| (0.1 * dice.normal()).exp()).collect();
    let work: Vec<f64> = machine
        .iter()
        .map(|machine| machine * (0.01 * dice.normal()).exp())
        .collect();
    let (history, pool) = work.split_at(40);
    let slower = times(pool, 1.06);
    let series = Series {
        history,
        current: &slower,
        probe: Some(machine.split_at(40)),
        accepted_from: 0,
    };
    let found = judge(&series, &SETTINGS).unwrap();
    assert_eq!(found.verdict, Regression, "{found:?}");
    assert!(found.why.contains("the machine's speed was taken out"));
    assert_ne!(judged(history, &slower).verdict, Regression);
}

#[test]
fn more_runs_than_the_policy_allows_are_never_asked_for() {
    let history = Dice::new(2).runs(40, 0.02);
    for runs_max in [0, 1, 2, 3, 100] {
        let settings = Settings {
            runs_max,
            ..SETTINGS
        };
        for runs in 1..6 {
            let current = vec![1.04; runs];
            let series = Series {
                history: &history,
                current: &current,
                ..Series::default()
            };
            let found = judge(&series, &settings).unwrap();
            assert!(
                found.more == 0 || runs + found.more <= runs_max,
                "{found:?}"
            );
        }
    }
}
