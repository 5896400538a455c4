//! Is this run slower than the past? The verdict about one series (pure, deterministic).
//!
//! One run rarely convicts: of real runs one in twenty is hit by something else on its machine. So
//! a first run that looks slow asks for more, and what convicts is the centre of all of them. The
//! chance of a false alarm is spent over these looks, most of it on the last.

use super::baseline::{Baseline, Standing};
use super::machine;
use super::numbers::normal_quantile;
use crate::history::GateVerdict;

/// Fewer past runs are no history.
pub const HISTORY_RUNS_MIN: usize = 5;
/// Of a longer history the newest runs count.
pub const HISTORY_RUNS_MAX: usize = 1000;

/// The chance of a false alarm at a look with nine runs or more …
const ALARM: f64 = 0.007;
/// … and at an earlier one this power of its share of the nine.
const ALARM_GROWTH: f64 = 1.5;
const ALARM_RUNS: f64 = 9.0;
/// A single run convicts where even a hit explains it less often: when it takes twice as long or so.
const ALARM_SINGLE: f64 = 0.0015;
/// A first run that chance exceeds this often is not suspicious.
const SUSPICIOUS: f64 = 0.22;
/// Runs that chance exceeds this often end the suspicion: up to three runs, and more.
const UNSETTLED: (f64, f64) = (0.2, 0.1);
/// What chance does this rarely, and yet no look convicts, is inconclusive.
const DOUBTFUL: f64 = 0.05;
/// A second look sees at least this share of what the first saw.
const SEEN_AGAIN_SHARE: f64 = 0.5;
/// Changes below this share of the floor on effects are not looked into.
const FLOOR_SHARE: f64 = 0.75;

/// What is judged: durations or sizes, lower is better, every one above 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Series<'a> {
    /// Past runs, oldest first; may be empty.
    pub history: &'a [f64],
    /// The runs of what is judged now, in any order.
    pub current: &'a [f64],
    /// How long other, fixed work took beside past and current runs, in their order.
    pub probe: Option<(&'a [f64], &'a [f64])>,
    /// From this past run on the level is known to be another one than before: somebody accepted
    /// a change. 0 where nothing is known.
    pub accepted_from: usize,
}

/// What the policy says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The smallest change that counts, as a share.
    pub effect_floor: f64,
    /// Most runs that are asked for.
    pub runs_max: usize,
}

/// Values that nothing can be said of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SeriesError {
    /// A value that is no measurement.
    #[error("`{field}[{index}]`: expected a number above 0, found {found}")]
    Value {
        /// Which list.
        field: &'static str,
        /// Which of its values, from 0.
        index: usize,
        /// What stands there.
        found: f64,
    },
    /// Nothing to judge.
    #[error("`current`: expected at least one run, found none")]
    Empty,
    /// A probe that does not belong to the runs.
    #[error("`{field}`: expected as many values as runs ({expected}), found {found}")]
    Probe {
        /// Which list.
        field: &'static str,
        /// How many runs there are.
        expected: usize,
        /// How many values.
        found: usize,
    },
}

/// The answer about one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: GateVerdict,
    /// Further runs that would help; 0 where the verdict stands.
    pub more: usize,
    /// How likely runs at least this slow are where nothing changed; `None` without a history.
    pub p: Option<f64>,
    /// The change as a share of the level: 0.05 is 5 % slower.
    pub effect: Option<f64>,
    /// The 95 % interval of the effect.
    pub interval: Option<(f64, f64)>,
    /// The smallest slowdown that up to `runs_max` runs would find four times in five, as a share.
    pub minimum_detectable: Option<f64>,
    /// How many runs were judged.
    pub runs: usize,
    /// How many past runs were looked at.
    pub history_runs: usize,
    /// The noise of one run, as a share.
    pub noise: Option<f64>,
    /// Why, in words.
    pub why: String,
}

impl Judgement {
    /// This verdict of a regression, where a second look sees one too or is likely to; else that look's own.
    /// `machine` is what of it was taken out, as a logarithm.
    pub(super) fn held_against(&self, again: Self, (floor, machine): (f64, f64)) -> Self {
        let effect = |of: &Self| of.effect.unwrap_or_default().ln_1p();
        let least = (effect(self) * SEEN_AGAIN_SHARE).max(floor.ln_1p());
        let is_likely = again.p.is_some_and(|p| p < DOUBTFUL) && effect(&again) > least;
        let is_there = is_likely || again.verdict == GateVerdict::Regression;
        let (kept, told) = match is_there {
            true => (self, "a second look, some time later, agrees: "),
            false => (&again, "a first look found it slower, this one no longer: "),
        };
        let other = if is_there { &again } else { self };
        let mut why = format!("{}; {told}{}", kept.why, other.change());
        if machine >= 0.001 {
            let share = percent(share(machine));
            why.push_str(&format!(
                "; meanwhile other stages were {share} slower, which was taken out"
            ));
        }
        Self {
            why,
            ..kept.clone()
        }
    }

    /// How far so many runs are off.
    fn change(&self) -> String {
        let runs = crate::base::units::count(self.runs as u64, "run");
        let effect = self.effect.unwrap_or_default();
        let word = if effect < 0.0 { "below" } else { "above" };
        format!("{runs} {} {word}", percent(effect.abs()))
    }
}

/// Judges one series on its own.
///
/// # Errors
/// Values that are no measurements.
pub fn judge(series: &Series<'_>, settings: &Settings) -> Result<Judgement, SeriesError> {
    let assessment = assess(series)?;
    Ok(assessment.decide(settings, &Family::default()))
}

/// The other verdicts that are passed together with this one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Family {
    /// How many there are, this one included.
    pub(super) members: usize,
    /// How many of them are about what is run again for this one: its stage, or all stages.
    pub(super) repeated_together: usize,
    /// By what this one's evidence is multiplied (Holm).
    pub(super) factor: f64,
}

impl Default for Family {
    fn default() -> Self {
        Self {
            members: 1,
            repeated_together: 1,
            factor: 1.0,
        }
    }
}

/// What the numbers of one series say, before anything is decided.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    /// `None` where there is too little history.
    found: Option<(Baseline, Standing)>,
    runs: usize,
    history_runs: usize,
    /// How much of the probe was taken out.
    slope: f64,
}

/// Compares the runs of a series with its past.
pub(super) fn assess(series: &Series<'_>) -> Result<Assessment, SeriesError> {
    check(series)?;
    let skipped = series.history.len().saturating_sub(HISTORY_RUNS_MAX);
    let logarithms =
        |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
    let mut history = logarithms(&series.history[skipped..]);
    let mut current = logarithms(series.current);
    let mut slope = 0.0;
    if let Some((past, now)) = series.probe {
        let (past, now) = (logarithms(&past[skipped..]), logarithms(now));
        let freed = machine::divide_out((&history, &past), (&current, &now));
        (history, current, slope) = (freed.history, freed.current, freed.slope);
    }
    let found = (history.len() >= HISTORY_RUNS_MIN).then(|| {
        let cut = series.accepted_from.saturating_sub(skipped);
        let baseline = Baseline::learn(&history, cut);
        let standing = baseline.compare(&current);
        (baseline, standing)
    });
    Ok(Assessment {
        found,
        runs: current.len(),
        history_runs: history.len(),
        slope,
    })
}

fn check(series: &Series<'_>) -> Result<(), SeriesError> {
    let probe = series.probe.unwrap_or_default();
    for (field, values) in [
        ("history", series.history),
        ("current", series.current),
        ("history_probe", probe.0),
        ("current_probe", probe.1),
    ] {
        let is_bad = |value: &f64| !(value.is_finite() && *value > 0.0);
        if let Some(index) = values.iter().position(is_bad) {
            let found = values[index];
            return Err(SeriesError::Value {
                field,
                index,
                found,
            });
        }
    }
    if series.current.is_empty() {
        return Err(SeriesError::Empty);
    }
    if series.probe.is_some() {
        for (field, found, expected) in [
            ("history_probe", probe.0.len(), series.history.len()),
            ("current_probe", probe.1.len(), series.current.len()),
        ] {
            if found != expected {
                return Err(SeriesError::Probe {
                    field,
                    expected,
                    found,
                });
            }
        }
    }
    Ok(())
}

/// The chance of a false alarm that a look with so many runs may spend.
fn alarm(runs: usize) -> f64 {
    match runs {
        1 => ALARM_SINGLE,
        _ => ALARM * (runs as f64 / ALARM_RUNS).min(1.0).powf(ALARM_GROWTH),
    }
}

impl Assessment {
    /// The chance of a false alarm in units of what a look may spend: below 1 convicts, where
    /// nothing else is judged. `None` without a history.
    pub(super) fn evidence(&self) -> Option<f64> {
        let (_, standing) = self.found.as_ref()?;
        Some(standing.slower / alarm(self.runs))
    }

    /// Whether the machine's speed was taken out.
    pub(super) fn has_divided(&self) -> bool {
        self.slope > 0.0
    }

    /// Decides, as one of a family.
    pub(super) fn decide(&self, settings: &Settings, family: &Family) -> Judgement {
        let Some((baseline, standing)) = &self.found else {
            return self.without_history();
        };
        let floor = settings.effect_floor.ln_1p();
        let limit = alarm(self.runs) / family.factor;
        let is_over = standing.effect > floor * FLOOR_SHARE;
        let more = match is_over && self.is_unsettled((baseline, standing), family) {
            true => settings.runs_max.saturating_sub(self.runs).min(self.step()),
            false => 0,
        };
        let verdict = if standing.effect > floor && standing.slower < limit {
            GateVerdict::Regression
        } else if standing.effect < -floor && standing.faster < limit {
            GateVerdict::Improvement
        } else if is_over && standing.slower * (family.members as f64) < DOUBTFUL {
            GateVerdict::Inconclusive
        } else {
            GateVerdict::Ok
        };
        let is_settled = matches!(verdict, GateVerdict::Regression | GateVerdict::Improvement);
        let more = if is_settled { 0 } else { more };
        let (effect, margin) = (standing.effect, standing.margin);
        Judgement {
            verdict,
            more,
            p: Some(standing.slower),
            effect: Some(share(effect)),
            interval: Some((share(effect - margin), share(effect + margin))),
            minimum_detectable: Some(minimum_detectable(baseline, (settings, family))),
            runs: self.runs,
            history_runs: self.history_runs,
            noise: Some(share(baseline.noise)),
            why: self.why((verdict, more), (baseline, standing)),
        }
    }

    /// After one suspicious run one more settles most cases; then two at a time.
    fn step(&self) -> usize {
        if self.runs == 1 { 1 } else { 2 }
    }

    /// Whether more runs may still convict. With many verdicts for which the same is run again each
    /// suspicion must be stronger, so that a clean run asks for more as rarely as if there were only one.
    fn is_unsettled(&self, (baseline, standing): (&Baseline, &Standing), family: &Family) -> bool {
        let together = family.repeated_together.max(1) as f64;
        match self.runs {
            1 => baseline.suspicion(standing.effect) < SUSPICIOUS / together,
            2 | 3 => standing.slower < UNSETTLED.0 / together,
            _ => standing.slower < UNSETTLED.1 / together,
        }
    }

    fn without_history(&self) -> Judgement {
        let found = match self.history_runs {
            0 => "no past run".to_owned(),
            1 => "one past run".to_owned(),
            count => format!("{count} past runs"),
        };
        Judgement {
            verdict: GateVerdict::NotEnoughHistory,
            more: 0,
            p: None,
            effect: None,
            interval: None,
            minimum_detectable: None,
            runs: self.runs,
            history_runs: self.history_runs,
            noise: None,
            why: format!("{found} to compare with, and {HISTORY_RUNS_MIN} are needed"),
        }
    }

    fn why(
        &self,
        (verdict, more): (GateVerdict, usize),
        (baseline, standing): (&Baseline, &Standing),
    ) -> String {
        let runs = match standing.runs {
            1 => "one run is".to_owned(),
            count => format!("{count} runs together are"),
        };
        let change = percent(share(standing.effect).abs());
        let word = if standing.effect < 0.0 {
            "below"
        } else {
            "above"
        };
        let mut text = format!(
            "{runs} {change} {word} the level of the last {}, where one run varies by {}; ",
            crate::base::units::count(baseline.level_runs as u64, "run"),
            percent(share(baseline.noise)),
        );
        let tail = match verdict {
            GateVerdict::Improvement => standing.faster,
            _ => standing.slower,
        };
        text.push_str(&format!(
            "without a change that happens {}",
            how_often(tail)
        ));
        match verdict {
            _ if more > 0 => text.push_str(&format!("; {more} more would help to tell")),
            GateVerdict::Inconclusive => text.push_str(": neither a proof nor nothing"),
            GateVerdict::Ok if standing.slower < DOUBTFUL && standing.effect > 0.0 => {
                text.push_str(", but so small a change does not count");
            }
            _ => {}
        }
        if baseline.hits > 0 {
            let hits = crate::base::units::count(baseline.hits as u64, "past run");
            text.push_str(&format!("; {hits} of {} stood out", self.history_runs));
        }
        if self.slope > 0.0 {
            text.push_str("; the machine's speed was taken out");
        }
        text
    }
}

/// The smallest slowdown that makes a first run suspicious and all runs together convict, each
/// nine times in ten.
fn minimum_detectable(baseline: &Baseline, (settings, family): (&Settings, &Family)) -> f64 {
    let nine_in_ten = normal_quantile(0.1);
    let runs = settings.runs_max.max(1);
    let (threshold, deviation) = baseline.threshold(runs, alarm(runs) / family.factor);
    let last = threshold + nine_in_ten * deviation;
    let together = family.repeated_together.max(1) as f64;
    let first = normal_quantile(SUSPICIOUS / together) + nine_in_ten;
    let first = if runs == 1 {
        0.0
    } else {
        first * baseline.first_noise()
    };
    share(last.max(first).max(settings.effect_floor.ln_1p()))
}

/// A logarithm as a share.
fn share(logarithm: f64) -> f64 {
    logarithm.exp_m1()
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        ..9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

fn how_often(tail: f64) -> String {
    match tail {
        0.1.. => format!("{:.0} times in 100", tail * 100.0),
        1e-6.. => {
            // Two digits are all that is known of it.
            let times = 1.0 / tail;
            let digits = 10.0_f64.powf((times.log10() - 1.0).floor().max(0.0));
            format!("once in {:.0}", (times / digits).round() * digits)
        }
        _ => "less than once in a million".to_owned(),
    }
}
