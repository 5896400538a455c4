//! What the past says of a metric: its level, its noise, how often runs are hit by something else;
//! and from that, how likely new runs are where nothing changed.
//!
//! Works on logarithms, so that an effect is a share. Decides nothing.

use super::levels::{self, NOISE_MIN, Roughness};
use super::numbers::{
    centre, mean_of, mean_variance, median, predicted_hits, scale_about_zero, sorted,
    student_quantile, student_tail,
};

/// A value counts for a centre as far as this many noises away from it.
const CUT: f64 = 1.5;
/// A run this many noises above its level was hit by something else.
const HIT: f64 = 4.0;
/// What is known of hits beforehand: one in 19 (of real points 5.3 % are spikes upward) …
const HITS_BEFORE: (f64, f64) = (1.0, 19.0);
/// … which takes a run a quarter longer, or ten noises.
const HIT_SIZE_BEFORE: (f64, f64) = (0.25, 10.0);
/// How likely it is beforehand that the runs of a session share no luck of their own.
const INDEPENDENT_BEFORE: f64 = 0.85;
/// Shares of the variance that a session may have to itself.
const SHARES: [f64; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// More degrees of freedom are not claimed, since no noise is quite normal.
const FREEDOM_MAX: f64 = 60.0;
/// How much less certain a level is than the mean of its runs would be, were its ends known.
const LEVEL_DOUBT: f64 = 1.3;

/// The past of one series.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    /// The centre of the last level (a logarithm).
    pub(super) level: f64,
    /// Standard deviation of one run about its level.
    pub(super) noise: f64,
    /// Runs of the last level.
    pub(super) level_runs: usize,
    /// How many runs were hit by something else.
    pub(super) hits: usize,
    /// Standard deviation of what a centre is made of: less than `noise` where tails are heavy.
    bulk: f64,
    correlation: f64,
    skewness: f64,
    freedom: f64,
    /// What all runs deviate from their levels by, ascending.
    residuals: Vec<f64>,
    /// By how much a hit slows a run on average, and how far hits differ.
    hit_size: (f64, f64),
}

/// How new runs stand to the past.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Their centre less the level: a logarithm, 0 for no change.
    pub(super) effect: f64,
    /// How many they are.
    pub(super) runs: usize,
    /// How likely a centre this high is where nothing changed.
    pub(super) slower: f64,
    /// How likely one this low is.
    pub(super) faster: f64,
    /// Half of the 95 % interval of the effect.
    pub(super) margin: f64,
}

/// What the variance of the centre of a session's runs may be.
#[derive(Clone, Copy, Debug)]
struct Variance {
    /// How likely it is; the weights of all sum to one.
    weight: f64,
    /// What all runs share: the session's luck, and what is not known of the level.
    shared: f64,
    /// What is left of the runs' own.
    own: f64,
}

impl Variance {
    /// Where only this share of the runs is ordinary.
    fn with(self, ordinary: f64) -> f64 {
        self.shared + self.own / ordinary
    }
}

impl Baseline {
    /// Learns from past runs (logarithms, oldest first, not empty). From `cut` on the level is
    /// known to be another one than before.
    pub(super) fn learn(series: &[f64], cut: usize) -> Self {
        let roughness = Roughness::of(series);
        let stretches = levels::stretches(series, (roughness, cut));
        let freedom = (series.len() as f64 - stretches.len() as f64).max(1.0);
        let noise = noise(&stretches, (roughness, freedom));
        let cut_off = CUT * noise;
        let mut residuals = Vec::with_capacity(series.len());
        for stretch in &stretches {
            let middle = centre(stretch, cut_off);
            residuals.extend(stretch.iter().map(|value| value - middle));
        }
        let own = neighbours_correlate(&stretches, noise);
        let last = stretches.last().copied().unwrap_or_default();
        let hits: Vec<f64> = residuals
            .iter()
            .copied()
            .filter(|residual| *residual > HIT * noise)
            .collect();
        let wild = |residual: f64| residual.clamp(-3.0 * noise, 3.0 * noise).powi(3);
        Self {
            level: centre(last, cut_off),
            noise,
            level_runs: last.len(),
            hits: hits.len(),
            bulk: bulk(&residuals, (noise, freedom)),
            correlation: own.max(roughness.correlation),
            skewness: mean_of(&residuals, wild) / noise.powi(3),
            freedom: freedom.clamp(3.0, FREEDOM_MAX),
            hit_size: hit_size(&hits, noise),
            residuals: sorted(&residuals),
        }
    }

    /// Compares new runs (logarithms, not empty) with the past.
    pub(super) fn compare(&self, current: &[f64]) -> Standing {
        // In one order, so that the last digit does not depend on theirs.
        let current = &sorted(current);
        let middle = centre(current, CUT * self.noise);
        let effect = middle - self.level;
        let within: f64 = current
            .iter()
            .map(|value| (value - middle).clamp(-2.0 * self.noise, 2.0 * self.noise))
            .map(|value| value * value)
            .sum();
        let variances = self.variances(current.len(), within);
        let agreement = current[current.len() / 2] - current[0];
        Standing {
            effect,
            runs: current.len(),
            slower: self.slower(effect, (&variances, current.len(), agreement)),
            faster: self.core_tail(-effect, (&variances, 1.0, -self.skew_of(current.len()))),
            margin: student_quantile(0.025, self.freedom) * deviation(&variances),
        }
    }

    /// How likely the first run of a session is to be `effect` above the level, by the plain
    /// noise: what makes it suspicious, not what convicts it.
    pub(super) fn suspicion(&self, effect: f64) -> f64 {
        super::numbers::normal_tail(effect / self.first_noise())
    }

    /// The standard deviation of a first run about the estimated level.
    pub(super) fn first_noise(&self) -> f64 {
        self.noise * (1.0 + LEVEL_DOUBT / self.level_runs.max(1) as f64).sqrt()
    }

    /// What the centre of `runs` ordinary runs would have to be above the level for a tail of
    /// `tail`, and its standard deviation.
    pub(super) fn threshold(&self, runs: usize, tail: f64) -> (f64, f64) {
        let freedom = runs.saturating_sub(1) as f64;
        let unexplained = 1.0 - mean_variance(runs, self.correlation);
        let within = freedom.max(0.0) * self.bulk.powi(2) * unexplained;
        let variances = self.variances(runs, within);
        let agreement = 2.0 * self.noise;
        let is_likely = |effect| self.slower(effect, (&variances, runs, agreement)) > tail;
        let effect = super::numbers::bisect((0.0, 5.0), is_likely);
        (effect, deviation(&variances))
    }

    /// What a session's runs, given how they differ among themselves (the sum of their squared
    /// deviations), leave open about the variance of their centre. A session may have luck of its
    /// own, which all its runs share: runs that agree too well with each other speak for that.
    fn variances(&self, runs: usize, within: f64) -> Vec<Variance> {
        let doubt = (1.0 + self.correlation) / (1.0 - self.correlation);
        let level_runs = self.level_runs.max(1) as f64;
        let level = (doubt / level_runs).min(0.5_f64.max(1.0 / level_runs)) * LEVEL_DOUBT;
        let bulk = self.bulk.powi(2);
        if runs == 1 {
            return vec![Variance {
                weight: 1.0,
                shared: level * bulk,
                own: self.noise.powi(2),
            }];
        }
        let freedom = runs as f64 - 1.0;
        let mean = mean_variance(runs, self.correlation);
        let weighed = SHARES.map(|share| {
            let before = match share == 0.0 {
                true => INDEPENDENT_BEFORE,
                false => (1.0 - INDEPENDENT_BEFORE) / (SHARES.len() - 1) as f64,
            };
            // The chi-squared likelihood of `within`, in units of the bulk.
            let expected = (1.0 - share) * (1.0 - mean) * runs as f64 / freedom;
            let likelihood = -0.5 * (freedom * expected.ln() + within / (expected * bulk));
            Variance {
                weight: before * likelihood.exp(),
                shared: bulk * (share + level),
                own: bulk * (1.0 - share) * mean,
            }
        });
        let total: f64 = weighed.iter().map(|one| one.weight).sum();
        if total <= 0.0 {
            // Runs that differ more than any share explains tell nothing about it.
            return vec![Variance {
                weight: 1.0,
                shared: bulk * level,
                own: bulk,
            }];
        }
        let normal = weighed.map(|one| Variance {
            weight: one.weight / total,
            ..one
        });
        normal.to_vec()
    }

    /// How likely a centre of `runs` new runs is to lie `effect` above the level: over how many of
    /// them were hit by something else.
    fn slower(&self, effect: f64, (variances, runs, agreement): (&[Variance], usize, f64)) -> f64 {
        let (hits_before, among_before) = HITS_BEFORE;
        let known = (
            self.hits as f64 + hits_before,
            self.residuals.len() as f64 + among_before,
        );
        let mut tail = 0.0;
        let mut majority_hit = 1.0;
        // The centre withstands less than half of its runs; of two it stays at the smaller one.
        let withstood = if runs == 2 {
            1
        } else {
            runs.saturating_sub(1) / 2
        };
        for hits in 0..=withstood {
            let likely = predicted_hits((hits, runs), known);
            majority_hit -= likely;
            let others = runs - hits;
            let pull = (hits as f64 / others as f64).min(1.0);
            let rest = effect - pull * CUT * self.noise;
            let ordinary = others as f64 / runs as f64;
            tail += likely * self.core_tail(rest, (variances, ordinary, self.skew_of(others)));
        }
        tail += majority_hit.max(0.0) * self.hits_reach(effect, (runs, agreement));
        match runs {
            1 => tail.max(self.own_tail(effect)).min(1.0),
            _ => tail.min(1.0),
        }
    }

    /// How likely runs that were all hit lie this high and agree with each other this well.
    fn hits_reach(&self, effect: f64, (runs, agreement): (usize, f64)) -> f64 {
        let (size, spread) = self.hit_size;
        let reach = (-effect.max(0.0) / size).exp();
        if runs < 3 {
            return reach;
        }
        let window = agreement.max(2.0 * self.noise);
        let others = (runs / 2) as f64;
        let agree = (others + 1.0) * (window / spread.max(window)).powf(others);
        reach * agree.min(1.0)
    }

    /// The skewness that a mean of so many runs keeps.
    fn skew_of(&self, runs: usize) -> f64 {
        self.skewness.clamp(-2.0, 2.0) / (runs as f64).sqrt()
    }

    /// The tail of ordinary runs, of which this share is left: Student's law over the variances,
    /// with the skewness of their mean (Cornish and Fisher 1938).
    fn core_tail(
        &self,
        effect: f64,
        (variances, ordinary, skewness): (&[Variance], f64, f64),
    ) -> f64 {
        let tail = |variance: &Variance| {
            let t = effect / variance.with(ordinary).sqrt();
            variance.weight * student_tail(unskewed(t, skewness), self.freedom)
        };
        variances.iter().map(tail).sum()
    }

    /// The tail of the past's own single runs: exponential beyond their upper fifth.
    fn own_tail(&self, effect: f64) -> f64 {
        let at = self.residuals.len() * 4 / 5;
        let Some(edge) = self.residuals.get(at).copied() else {
            return 0.0;
        };
        if effect <= edge {
            return 0.0;
        }
        let beyond = self.residuals[at..]
            .iter()
            .filter(|residual| **residual > edge && **residual <= HIT * self.noise);
        let (count, sum) = beyond.fold((1.0, self.noise), |(count, sum), residual| {
            (count + 1.0, sum + residual - edge)
        });
        0.2 * (-(effect - edge) * count / sum).exp()
    }
}

/// The standard deviation of the centre, over all that its variance may be.
fn deviation(variances: &[Variance]) -> f64 {
    let parts = variances.iter().map(|one| one.weight * one.with(1.0));
    parts.sum::<f64>().sqrt()
}

/// The larger of the robust scale and the clipped standard deviation of what runs deviate from the
/// medians of their levels.
fn noise(stretches: &[&[f64]], (roughness, freedom): (Roughness, f64)) -> f64 {
    let mut residuals = Vec::new();
    for stretch in stretches {
        let middle = median(stretch);
        residuals.extend(stretch.iter().map(|value| value - middle));
    }
    let robust = scale_about_zero(&residuals) * (1.0 + 1.2 / residuals.len().max(1) as f64);
    // Differences count as well, unless two kinds of runs that take turns make them large.
    let steps = match roughness.noise < 1.5 * robust {
        true => roughness.noise,
        false => 0.0,
    };
    let core = robust.max(steps).max(NOISE_MIN);
    let squares = mean_of(&residuals, |residual| {
        residual.clamp(-3.0 * core, 3.0 * core).powi(2)
    });
    core.max((squares * residuals.len() as f64 / freedom).sqrt())
}

/// The asymptotic standard deviation of what [`centre`] averages.
fn bulk(residuals: &[f64], (noise, freedom): (f64, f64)) -> f64 {
    let cut = CUT * noise;
    let squares: f64 = residuals
        .iter()
        .map(|residual| residual.clamp(-cut, cut).powi(2))
        .sum();
    let inside = mean_of(residuals, |residual| f64::from(residual.abs() <= cut));
    let bulk = (squares / freedom).sqrt() / inside.max(0.5);
    bulk.max(0.7 * noise).max(NOISE_MIN)
}

/// Correlation of neighbours about their levels; that its estimate is a little too small makes up
/// for its chance.
fn neighbours_correlate(stretches: &[&[f64]], noise: f64) -> f64 {
    let mut series = Vec::new();
    for stretch in stretches {
        let middle = median(stretch);
        let clipped = |value: &f64| (value - middle).clamp(-3.0 * noise, 3.0 * noise);
        series.extend(stretch.iter().map(clipped));
    }
    let mean = mean_of(&series, |value| value);
    let squares: f64 = series.iter().map(|value| (value - mean).powi(2)).sum();
    if series.len() <= 8 || squares <= 0.0 {
        return 0.0;
    }
    let products: f64 = series
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    (products / squares).clamp(0.0, 0.9)
}

/// By how much a hit slows a run, and how far hits lie apart, from those seen and one foreseen.
fn hit_size(hits: &[f64], noise: f64) -> (f64, f64) {
    let (share, noises) = HIT_SIZE_BEFORE;
    let foreseen = share.max(noises * noise);
    let sum: f64 = hits.iter().sum();
    let size = (sum + foreseen) / (hits.len() as f64 + 1.0);
    if hits.len() < 2 {
        return (size, size);
    }
    let mean = sum / hits.len() as f64;
    let squares: f64 = hits.iter().map(|hit| (hit - mean).powi(2)).sum();
    let spread = (squares / (hits.len() as f64 - 1.0)).sqrt();
    (size, spread.min(size))
}

/// The normal deviate that a skewed law's `t` stands for, beyond one: solves
/// t = z + (z² - 1) g / 6 for z.
fn unskewed(t: f64, skewness: f64) -> f64 {
    if t <= 1.0 || skewness <= 0.0 {
        return t;
    }
    let a = skewness / 6.0;
    ((1.0 + 4.0 * a * (t + a)).sqrt() - 1.0) / (2.0 * a)
}
