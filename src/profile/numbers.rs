//! The few numbers of statistics that a verdict needs, each in closed form or a short series.
//!
//! Knows nothing of runs. Every function is total: empty input gives 0, and nothing here is random.

use std::f64::consts::SQRT_2;

/// The values, ascending.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The median; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// The standard deviation that the median distance from zero implies for a normal law.
pub(super) fn scale_about_zero(values: &[f64]) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| value.abs()).collect();
    1.4826 * median(&distances)
}

/// The mean of `map` over the values; 0 of nothing.
pub(super) fn mean_of(values: &[f64], map: impl Fn(f64) -> f64) -> f64 {
    let sum: f64 = values.iter().map(|value| map(*value)).sum();
    sum / values.len().max(1) as f64
}

/// Huber's location: the centre about which the values, each cut off `cut` away from it, balance.
/// It begins at the lower median, so that of two values far apart the smaller one counts.
pub(super) fn centre(values: &[f64], cut: f64) -> f64 {
    let sorted = sorted(values);
    let Some(mut centre) = sorted.get(sorted.len().saturating_sub(1) / 2).copied() else {
        return 0.0;
    };
    for _ in 0..12 {
        let step = mean_of(&sorted, |value| (value - centre).clamp(-cut, cut));
        centre += step;
        if step.abs() < 1e-4 * cut {
            break;
        }
    }
    centre
}

/// The share of a normal law above `z`: a Chebyshev fit of erfc, relative error below 2e-7.
pub(super) fn normal_tail(z: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let x = z.abs() / SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let series = FIT.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = 0.5 * t * (series - x * x).exp();
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// The `z` above which lies the share `tail` (0 to 1) of a normal law, by bisection.
pub(super) fn normal_quantile(tail: f64) -> f64 {
    bisect((-40.0, 40.0), |z| normal_tail(z) > tail)
}

/// The share of Student's law above `t` (Wallace 1959: within some percent of itself for three
/// degrees of freedom, far better for more).
pub(super) fn student_tail(t: f64, freedom: f64) -> f64 {
    let shrink = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0);
    let z = shrink * (freedom * (t * t / freedom).ln_1p()).sqrt();
    normal_tail(z.copysign(t))
}

/// The `t` above which lies the share `tail` of Student's law: the inverse of [`student_tail`].
pub(super) fn student_quantile(tail: f64, freedom: f64) -> f64 {
    let z = normal_quantile(tail);
    let stretch = (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0);
    let t = (freedom * ((stretch * z).powi(2) / freedom).exp_m1()).sqrt();
    t.copysign(z)
}

/// Where `is_below` turns from true to false between the bounds.
pub(super) fn bisect((mut low, mut high): (f64, f64), is_below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The probability that `hits` of `trials` are hit, where the chance of a hit is known only from
/// `seen` hits among `among` (the beta-binomial law; neither need be whole).
pub(super) fn predicted_hits((hits, trials): (usize, usize), (seen, among): (f64, f64)) -> f64 {
    let mut probability = 1.0;
    for hit in 0..hits {
        let hit = hit as f64;
        let ways = (trials as f64 - hit) / (hit + 1.0);
        probability *= ways * (seen + hit) / (among + hit);
    }
    for miss in 0..trials.saturating_sub(hits) {
        let miss = miss as f64;
        probability *= (among - seen + miss) / (among + hits as f64 + miss);
    }
    probability
}

/// The variance of the mean of `count` successive values of variance 1 whose neighbours correlate
/// (a first-order autoregression).
pub(super) fn mean_variance(count: usize, correlation: f64) -> f64 {
    let length = count.max(1) as f64;
    let mut sum = 1.0;
    let mut power = 1.0;
    for lag in 1..count {
        power *= correlation;
        sum += 2.0 * (1.0 - lag as f64 / length) * power;
    }
    sum / length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64, relative: f64) {
        let fits = (found - wanted).abs() <= relative * wanted.abs();
        assert!(fits, "{found} is not {wanted} within {relative}");
    }

    #[test]
    fn tails_are_those_of_the_tables() {
        for (z, tail) in [
            (0.0, 0.5),
            (1.0, 0.158_655_25),
            (3.0, 1.349_898e-3),
            (6.0, 9.865_876e-10),
        ] {
            near(normal_tail(z), tail, 1e-6);
            near(normal_tail(-z), 1.0 - tail, 1e-6);
        }
        near(normal_quantile(0.025), 1.959_964, 1e-5);
        // Student's law: t of the 2.5 % point for 3, 10 and 60 degrees of freedom.
        for (freedom, t) in [(3.0, 3.182), (10.0, 2.228), (60.0, 2.000)] {
            near(student_tail(t, freedom), 0.025, 0.04);
            near(student_quantile(student_tail(t, freedom), freedom), t, 1e-4);
            near(student_tail(-t, freedom), 0.975, 0.01);
        }
    }

    #[test]
    fn a_centre_is_pulled_by_no_more_than_its_cut() {
        near(centre(&[1.0, 2.0, 3.0], 10.0), 2.0, 1e-9);
        near(centre(&[1.0, 1.0, 1.0, 1.0, 100.0], 1.0), 1.25, 1e-3);
        // Of two far apart the smaller one counts.
        near(centre(&[0.0, 100.0], 1.0), 1.0, 1e-2);
        assert_eq!(centre(&[], 1.0), 0.0);
        assert_eq!(median(&[]), 0.0);
        near(median(&[4.0, 1.0, 3.0, 2.0]), 2.5, 1e-12);
    }

    #[test]
    fn hits_are_predicted_by_a_law_that_sums_to_one() {
        let known = (3.0, 59.0);
        let sum: f64 = (0..=9).map(|hits| predicted_hits((hits, 9), known)).sum();
        near(sum, 1.0, 1e-12);
        near(predicted_hits((1, 1), known), 3.0 / 59.0, 1e-12);
        // The chance is not known exactly, so that many hits are likelier than by the binomial law.
        assert!(predicted_hits((5, 9), known) > 126.0 * (3.0_f64 / 59.0).powi(5));
    }

    #[test]
    fn the_variance_of_a_mean_grows_with_correlation() {
        near(mean_variance(9, 0.0), 1.0 / 9.0, 1e-12);
        near(mean_variance(2, 0.5), 0.75, 1e-12);
        near(mean_variance(1, 0.9), 1.0, 1e-12);
    }
}
