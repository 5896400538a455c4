//! What forecasts hold: coverage, waste, and sense where there is little to go by.

use super::*;

/// SplitMix64: looks random and is the same everywhere.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn features(pairs: &[(&str, f64)]) -> Features {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

/// Jobs of three kinds whose cost grows with files and bytes, with a tenth of noise.
fn jobs(
    seed: u64,
    count: usize,
    speed: impl Fn(usize) -> f64,
) -> Vec<(&'static str, Features, f64)> {
    let mut noise = Noise(seed);
    let costs = [
        ("hash", 0.1, 0.001, 1e-8),
        ("pack", 0.5, 0.004, 9e-8),
        ("scan", 0.2, 0.002, 3e-8),
    ];
    let jobs = (0..count).map(|at| {
        let (kind, start, per_file, per_byte) = costs[(noise.uniform() * 3.0) as usize];
        let files = (200.0 * (0.9 * noise.normal()).exp()).ceil();
        let bytes = files * 40_000.0 * (0.7 * noise.normal()).exp();
        let seconds = (start + per_file * files + per_byte * bytes) * speed(at);
        (
            kind,
            features(&[("files", files), ("bytes", bytes)]),
            seconds * (0.1 * noise.normal()).exp(),
        )
    });
    jobs.collect()
}

/// Share of jobs within their budgets, and the middle of budget / taken.
fn replay(coverage: f64, jobs: &[(&str, Features, f64)], kills: bool) -> (f64, f64) {
    let mut forecaster = Forecaster::new(coverage, 90.0);
    let (mut within, mut wastes) = (0, Vec::new());
    for (kind, features, seconds) in jobs {
        let budget = forecaster.predict(kind, features).budget;
        let amount = match kills && *seconds > budget {
            true => Amount::AtLeast(budget),
            false => Amount::Measured(*seconds),
        };
        assert_eq!(forecaster.observe(kind, features, amount), budget);
        within += usize::from(*seconds <= budget);
        wastes.push(budget / seconds);
    }
    wastes.sort_by(f64::total_cmp);
    (within as f64 / jobs.len() as f64, wastes[wastes.len() / 2])
}

#[test]
fn holds_the_coverage_asked_and_wastes_little() {
    for seed in [1, 2, 3] {
        let jobs = jobs(seed, 800, |_| 1.0);
        for (coverage, waste_max) in [(0.9, 1.3), (0.95, 1.4), (0.99, 1.6)] {
            let (held, waste) = replay(coverage, &jobs, false);
            let tolerance = f64::max(0.01, 2.0 * (coverage * (1.0 - coverage) / 800.0_f64).sqrt());
            assert!(
                (held - coverage).abs() <= tolerance,
                "{seed} {coverage}: {held}"
            );
            assert!(waste <= waste_max, "{seed} {coverage}: waste {waste}");
        }
    }
}

#[test]
fn where_jobs_are_killed_at_their_budgets_the_coverage_does_not_sink() {
    for seed in [1, 2, 3] {
        let jobs = jobs(seed, 800, |_| 1.0);
        for coverage in [0.9, 0.95, 0.99] {
            let (held, _) = replay(coverage, &jobs, true);
            assert!(held >= coverage, "{seed} {coverage}: {held}");
        }
    }
}

#[test]
fn follows_a_machine_that_becomes_slower_and_faster() {
    let speed = |at: usize| if (300..500).contains(&at) { 1.8 } else { 1.0 };
    let jobs = jobs(5, 800, speed);
    let (held, waste) = replay(0.95, &jobs, false);
    assert!(
        (0.93..=0.97).contains(&held) && waste < 1.6,
        "{held} {waste}"
    );
    let (first, _) = replay(0.95, &jobs[..30], false);
    assert!(first >= 0.9, "{first}");
}

#[test]
fn without_runs_it_says_the_first_budget_and_after_one_it_is_wide() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    let none = Features::new();
    let forecast = forecaster.predict("a", &none);
    assert_eq!(
        (forecast.budget, forecast.expert, forecast.runs),
        (90.0, "formula", 0)
    );
    forecaster.observe("a", &none, Amount::Measured(10.0));
    let forecast = forecaster.predict("a", &none);
    assert_eq!(forecast.runs, 1);
    assert!((15.0..60.0).contains(&forecast.budget), "{forecast:?}");
    let newcomer = forecaster.predict("b", &none);
    assert_eq!((newcomer.expert, newcomer.runs), ("newcomer", 0));
    assert!(
        newcomer.budget > 10.0 && newcomer.budget < 60.0,
        "{newcomer:?}"
    );
}

#[test]
fn bounds_are_in_order_whatever_is_known() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    for (kind, features, seconds) in jobs(7, 200, |_| 1.0) {
        let forecast = forecaster.predict(kind, &features);
        assert!(
            forecast.lower <= forecast.budget && forecast.budget <= forecast.upper,
            "{forecast:?}"
        );
        assert!(forecast.expected <= forecast.budget, "{forecast:?}");
        forecaster.observe(kind, &features, Amount::Measured(seconds));
    }
}

#[test]
fn kinds_that_only_time_out_get_more_and_more() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    let none = Features::new();
    let mut budget = 10.0;
    for _ in 0..20 {
        forecaster.observe("a", &none, Amount::AtLeast(budget));
        let next = forecaster.predict("a", &none).budget;
        assert!(next >= KILL_FACTOR * budget * 0.99, "{next} after {budget}");
        budget = next;
        if budget > 1e9 {
            return;
        }
    }
}

#[test]
fn one_hung_job_does_not_set_the_budget() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    let (none, mut noise) = (Features::new(), Noise(9));
    for at in 0..100 {
        let seconds = 240.0 * (0.1 * noise.normal()).exp();
        forecaster.observe(
            "a",
            &none,
            Amount::Measured(if at == 60 { 46_800.0 } else { seconds }),
        );
    }
    let budget = forecaster.predict("a", &none).budget;
    assert!((250.0..480.0).contains(&budget), "{budget}");
}

#[test]
fn tells_the_share_above_a_limit() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    let (none, mut noise) = (Features::new(), Noise(11));
    assert_eq!(forecaster.share_above("a", &none, 10.0), None);
    for _ in 0..300 {
        forecaster.observe(
            "a",
            &none,
            Amount::Measured(100.0 * (0.2 * noise.normal()).exp()),
        );
    }
    let mut share = |limit| forecaster.share_above("a", &none, limit).unwrap_or(9.0);
    assert!(share(50.0) > 0.95 && share(300.0) < 0.01);
    // The median, and one deviation above it.
    assert!((share(100.0) - 0.5).abs() < 0.1, "{}", share(100.0));
    assert!((share(122.0) - 0.16).abs() < 0.08, "{}", share(122.0));
}

#[test]
fn the_same_runs_give_the_same_words_and_asking_changes_nothing() {
    let jobs = jobs(13, 200, |_| 1.0);
    let learn = |asks: usize| {
        let mut forecaster = Forecaster::new(0.95, 90.0);
        for (kind, features, seconds) in &jobs {
            (0..asks).for_each(|_| drop(forecaster.predict(kind, features)));
            forecaster.observe(kind, features, Amount::Measured(*seconds));
        }
        forecaster.predict("pack", &jobs[0].1)
    };
    assert_eq!(learn(0), learn(3));
}

#[test]
fn lives_with_every_number_and_with_many_kinds() {
    let mut forecaster = Forecaster::new(0.95, 90.0);
    let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300];
    for at in 0..3000 {
        let value = odd[at % odd.len()];
        let features = features(&[
            ("files", value),
            ("load1", odd[at % 5]),
            ("cpus", odd[at % 4]),
        ]);
        let kind = format!("k{}", at % 1500);
        let amount = odd[(at / 3) % odd.len()];
        let forecast = forecaster.predict(&kind, &features);
        assert!(
            forecast.budget.is_finite() && forecast.budget > 0.0,
            "{at}: {forecast:?}"
        );
        let amount = if at % 7 == 0 {
            Amount::AtLeast(amount)
        } else {
            Amount::Measured(amount)
        };
        assert!(forecaster.observe(&kind, &features, amount).is_finite());
    }
    assert_eq!(forecaster.kinds.len(), KINDS_MAX);
}
