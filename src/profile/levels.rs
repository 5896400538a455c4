//! Levels of a series: how rough it is from run to run, and where it changed for good.
//!
//! Works on logarithms; knows nothing of verdicts.

use super::numbers::{mean_of, median, scale_about_zero};

/// The smallest noise that is believed, as a share: clocks and caches allow no less.
pub(super) const NOISE_MIN: f64 = 2e-3;
/// Runs that make a level.
const LEVEL_RUNS_MIN: usize = 5;
/// What a level costs, in squared noise, is this times the logarithm of the number of runs …
const LEVEL_COST: f64 = 5.0;
/// … and this.
const LEVEL_COST_FIXED: f64 = 4.0;

/// How a series moves from run to run, whatever its levels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roughness {
    /// Standard deviation of one run, from successive differences.
    pub(super) noise: f64,
    /// Correlation of neighbours, from 0 to 0.8.
    pub(super) correlation: f64,
}

impl Roughness {
    /// Looks at differences alone, which a change of level touches once. For neighbours that
    /// correlate by r, squared differences of runs two apart exceed those of neighbours by 1 + r.
    pub(super) fn of(series: &[f64]) -> Self {
        let differences = |lag: usize| -> Vec<f64> {
            let pairs = series.windows(lag + 1);
            pairs.map(|pair| pair[lag] - pair[0]).collect()
        };
        let next = differences(1);
        let step = scale_about_zero(&next);
        let noise = step / std::f64::consts::SQRT_2;
        if series.len() <= 8 || step <= 0.0 {
            let correlation = 0.0;
            return Self { noise, correlation };
        }
        let cut = 3.0 * step;
        let square = |difference: f64| difference.clamp(-cut, cut).powi(2);
        let ratio =
            mean_of(&differences(2), square) / mean_of(&next, square).max(f64::MIN_POSITIVE);
        // Half a standard error is given away, so that white noise counts as white.
        let correlation = ratio - 1.0 - 0.5 / (series.len() as f64).sqrt();
        Self {
            noise,
            correlation: correlation.clamp(0.0, 0.8),
        }
    }

    /// How much more the mean of many runs varies than that of as many independent ones.
    fn inflation(self) -> f64 {
        (1.0 + self.correlation) / (1.0 - self.correlation)
    }
}

/// The series cut into its levels, oldest first, none empty; from `cut` on the level is known to be
/// another one than before.
pub(super) fn stretches(series: &[f64], (roughness, cut): (Roughness, usize)) -> Vec<&[f64]> {
    let (before, after) = series.split_at(cut.min(series.len().saturating_sub(1)));
    let mut found = Vec::new();
    for part in [before, after] {
        let starts = starts(part, roughness);
        let ends = starts.iter().skip(1).copied().chain([part.len()]);
        let stretches = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| &part[*start..end]);
        found.extend(stretches.filter(|stretch| !stretch.is_empty()));
    }
    found
}

/// Where each level begins: ascending, the first is 0, never empty. The partition of least cost,
/// where a level costs its squared deviations from its mean and a penalty that correlated noise
/// raises (optimal partitioning; Jackson et al. 2005).
fn starts(series: &[f64], roughness: Roughness) -> Vec<usize> {
    let count = series.len();
    // What differences show of correlated noise is less than there is.
    let noise = roughness.noise.max(NOISE_MIN) / (1.0 - roughness.correlation).sqrt();
    if count < 2 * LEVEL_RUNS_MIN {
        return vec![0];
    }
    let sums = running_sums(&without_spikes(series, 2.5 * noise));
    let penalty = LEVEL_COST * (count as f64).ln() + LEVEL_COST_FIXED;
    let penalty = roughness.inflation() * noise * noise * penalty;
    let mut cost = vec![f64::INFINITY; count + 1];
    let mut previous = vec![0; count + 1];
    cost[0] = -penalty;
    for end in LEVEL_RUNS_MIN..=count {
        for start in 0..=end - LEVEL_RUNS_MIN {
            let sum = sums[end].0 - sums[start].0;
            let squares = sums[end].1 - sums[start].1;
            let here = cost[start] + penalty + squares - sum * sum / (end - start) as f64;
            if here < cost[end] {
                (cost[end], previous[end]) = (here, start);
            }
        }
    }
    let mut found = Vec::new();
    let mut end = count;
    while end > 0 {
        end = previous[end];
        found.push(end);
    }
    found.reverse();
    found
}

/// The series with every value pulled to within `cut` of the median of the seven around it.
fn without_spikes(series: &[f64], cut: f64) -> Vec<f64> {
    let pulled = |at: usize| {
        let around = &series[at.saturating_sub(3)..(at + 4).min(series.len())];
        let middle = median(around);
        series[at].clamp(middle - cut, middle + cut)
    };
    (0..series.len()).map(pulled).collect()
}

/// Sums and sums of squares of the first 0, 1, 2 … values, taken from the first one as origin.
fn running_sums(series: &[f64]) -> Vec<(f64, f64)> {
    let origin = series.first().copied().unwrap_or_default();
    let mut sums = vec![(0.0, 0.0)];
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in series {
        let value = value - origin;
        sum += value;
        squares += value * value;
        sums.push((sum, squares));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise between -1 and 1 that looks random and is the same every time.
    fn noise(index: usize) -> f64 {
        let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    #[test]
    fn finds_the_run_at_which_a_level_changed_and_no_other() {
        let level = |index: usize| if index < 23 { 0.0 } else { 0.10 };
        let series: Vec<f64> = (0..40).map(|at| level(at) + 0.01 * noise(at)).collect();
        assert_eq!(starts(&series, Roughness::of(&series)), [0, 23]);
        let flat: Vec<f64> = (0..40).map(|at| 0.01 * noise(at)).collect();
        assert_eq!(starts(&flat, Roughness::of(&flat)), [0]);
    }

    #[test]
    fn a_level_that_is_known_to_begin_somewhere_does() {
        let series: Vec<f64> = (0..20).map(|at| 0.01 * noise(at)).collect();
        let lengths = |cut: usize| -> Vec<usize> {
            let stretches = stretches(&series, (Roughness::of(&series), cut));
            stretches.iter().map(|stretch| stretch.len()).collect()
        };
        assert_eq!(lengths(0), [20]);
        assert_eq!(lengths(19), [19, 1]);
        assert_eq!(lengths(50), [19, 1]);
        assert!(stretches(&[], (Roughness::of(&[]), 3)).is_empty());
    }

    #[test]
    fn a_spike_a_constant_and_a_short_series_are_one_level() {
        let mut series: Vec<f64> = (0..30).map(|at| 0.01 * noise(at)).collect();
        series[12] = 0.5;
        for series in [series, vec![1.0; 50], vec![0.0, 1.0, 2.0], Vec::new()] {
            assert_eq!(starts(&series, Roughness::of(&series)), [0]);
        }
    }

    #[test]
    fn correlation_is_told_from_white_noise_and_from_levels() {
        let white: Vec<f64> = (0..200).map(noise).collect();
        assert!(Roughness::of(&white).correlation < 0.15);
        let stepped = |at: usize| noise(at) + if at < 100 { 0.0 } else { 50.0 };
        let stepped: Vec<f64> = (0..200).map(stepped).collect();
        assert!(Roughness::of(&stepped).correlation < 0.2);
        let mut value = 0.0;
        let walk = |at: usize| {
            value = 0.7 * value + noise(at);
            value
        };
        let walk: Vec<f64> = (0..200).map(walk).collect();
        let correlation = Roughness::of(&walk).correlation;
        assert!((0.4..0.8).contains(&correlation), "{correlation}");
    }
}
