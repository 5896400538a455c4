//! Takes the machine's speed out of a series, as far as the past shows that this helps.
//!
//! A probe is how long other, fixed work took at the same time. Works on logarithms.

use super::levels::Roughness;
use super::numbers::{median, scale_about_zero};

/// The noise that must remain for the probe to be worth its own: less than this share of it.
const HELPS: f64 = 0.9;
/// The probe is never trusted to say much more than it shows.
const SLOPE_MAX: f64 = 1.2;

/// Past and current runs without the machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Freed {
    pub(super) history: Vec<f64>,
    pub(super) current: Vec<f64>,
    /// How much of the probe was taken out; 0 where it did not help.
    pub(super) slope: f64,
}

/// Divides the probe out of past and current runs: each comes with its probe, of the same length.
/// The slope is that of successive differences, so that no level of either matters.
pub(super) fn divide_out(history: (&[f64], &[f64]), current: (&[f64], &[f64])) -> Freed {
    let unchanged = Freed {
        history: history.0.to_vec(),
        current: current.0.to_vec(),
        slope: 0.0,
    };
    let slope = slope(history.0, history.1);
    let middle = median(history.1);
    let free = |(values, probe): (&[f64], &[f64])| -> Vec<f64> {
        let pairs = values.iter().zip(probe);
        pairs
            .map(|(value, probe)| value - slope * (probe - middle))
            .collect()
    };
    let freed = free(history);
    if Roughness::of(&freed).noise >= HELPS * Roughness::of(history.0).noise {
        return unchanged;
    }
    Freed {
        history: freed,
        current: free(current),
        slope,
    }
}

/// Least squares over successive differences, without those that a spike or a level made.
fn slope(values: &[f64], probe: &[f64]) -> f64 {
    let steps = |series: &[f64]| -> Vec<f64> {
        let pairs = series.windows(2);
        pairs.map(|pair| pair[1] - pair[0]).collect()
    };
    let (values, probe) = (steps(values), steps(probe));
    let middle = median(&values);
    let around: Vec<f64> = values.iter().map(|step| step - middle).collect();
    let cut = 5.0 * scale_about_zero(&around).max(1e-9);
    let ordinary = values
        .iter()
        .zip(&probe)
        .filter(|(value, _)| (**value - middle).abs() < cut);
    let (products, squares) = ordinary.fold((0.0, 0.0), |(products, squares), (value, probe)| {
        (products + value * probe, squares + probe * probe)
    });
    match squares > 0.0 {
        true => (products / squares).clamp(0.0, SLOPE_MAX),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that is now fast, now slow, and a little noise of our own.
    fn machine(at: usize) -> f64 {
        0.1 * ((at * at) as f64 * 0.7).sin()
    }

    fn own(at: usize) -> f64 {
        0.01 * (at as f64 * 2.3).sin()
    }

    #[test]
    fn a_probe_that_explains_the_noise_is_taken_out() {
        let probe: Vec<f64> = (0..40).map(machine).collect();
        let values: Vec<f64> = (0..40).map(|at| 3.0 + machine(at) + own(at)).collect();
        let freed = divide_out((&values, &probe), (&[3.3], &[0.3]));
        assert!((0.9..1.1).contains(&freed.slope), "{}", freed.slope);
        let middle = median(&probe);
        for (at, value) in freed.history.iter().enumerate() {
            assert!((value - 3.0 - own(at) - freed.slope * middle).abs() < 0.02);
        }
        assert!((freed.current[0] - 3.0).abs() < 0.05, "{:?}", freed.current);
    }

    #[test]
    fn a_probe_that_explains_nothing_changes_nothing() {
        let values: Vec<f64> = (0..40).map(own).collect();
        let probe: Vec<f64> = (0..40).map(machine).collect();
        for probe in [probe, vec![1.0; 40]] {
            let freed = divide_out((&values, &probe), (&[0.5], &[9.0]));
            assert_eq!(freed.slope, 0.0);
            assert_eq!((freed.history, freed.current), (values.clone(), vec![0.5]));
        }
    }
}
