//! How sure a share of successes is: the interval of its Beta distribution (Jeffreys' prior).

use schemars::JsonSchema;
use serde::Serialize;

/// How much of the distribution lies within an interval.
const LEVEL: f64 = 0.95;
/// Halvings that find an end of it.
const STEPS: usize = 60;
/// Terms of the continued fraction, far more than it needs.
const TERMS: usize = 300;

/// Where the true share lies in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Interval {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

/// The interval of the share of runs that kept within their budgets; the whole range for none.
pub fn coverage_interval(within: u64, runs: u64) -> Interval {
    let (hits, misses) = (within as f64, runs.saturating_sub(within) as f64);
    let end = |share| quantile(share, hits + 0.5, misses + 0.5);
    let tail = (1.0 - LEVEL) / 2.0;
    Interval {
        // At the edges the interval is one-sided: nothing contradicts the edge itself.
        low: if within == 0 { 0.0 } else { end(tail) },
        high: if within >= runs { 1.0 } else { end(1.0 - tail) },
    }
}

fn quantile(share: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        match distribution(middle, a, b) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

/// The regularized incomplete beta function (DLMF 8.17.22, by Lentz's method).
fn distribution(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges quickly below the mean; above it the mirrored one does.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - distribution(1.0 - x, b, a);
    }
    let front = (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln())
        .exp()
        / a;
    let (mut fraction, mut c, mut d) = (1.0, 1.0, 0.0);
    for term in 0..TERMS {
        let m = (term / 2) as f64;
        let numerator = match (term, term % 2) {
            (0, _) => 1.0,
            (_, 0) => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / away_from_zero(1.0 + numerator * d);
        c = away_from_zero(1.0 + numerator / c);
        fraction *= c * d;
        if (1.0 - c * d).abs() < 1e-14 {
            break;
        }
    }
    front * (fraction - 1.0)
}

fn away_from_zero(x: f64) -> f64 {
    if x.abs() < 1e-300 { 1e-300 } else { x }
}

/// Stirling's series (DLMF 5.11.1), shifted up to where it is exact enough.
fn log_gamma(x: f64) -> f64 {
    let (mut shift, mut x) = (0.0, x);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_published_tables() {
        // In R: qbeta(c(.025, .975), within + .5, runs - within + .5)
        for (within, runs, low, high) in [
            (41, 43, 0.859_1, 0.990_2),
            (5, 10, 0.223_5, 0.776_5),
            (950, 1000, 0.935_2, 0.962_2),
            (10, 10, 0.782_8, 1.0),
            (0, 10, 0.0, 0.217_2),
            (0, 0, 0.0, 1.0),
        ] {
            let interval = coverage_interval(within, runs);
            let is_near = |a: f64, b: f64| (a - b).abs() < 5e-4;
            assert!(
                is_near(interval.low, low) && is_near(interval.high, high),
                "{within} of {runs}: {interval:?}"
            );
        }
    }
}
