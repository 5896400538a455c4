//! Slow creep: runs that each pass, and together go one way (pure).

use super::numbers::median;

/// Runs that are looked at.
pub(super) const RUNS: usize = 10;
/// The chance at which a creep is worth a warning, where nothing else is looked at.
const CHANCE: f64 = 0.005;

/// A creep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Creep {
    /// From the first run looked at to the last, as a share.
    pub(super) total: f64,
    /// How likely runs in random order would rise this steadily.
    pub(super) p: f64,
}

/// Looks for a creep upward in the newest runs, oldest first, values above 0, that is at least
/// `floor` (a share) in all and that chance explains less often than one of `members` series
/// allows. Kendall's test over their order; its law is exact.
pub(super) fn creep(values: &[f64], (floor, members): (f64, usize)) -> Option<Creep> {
    let newest: Vec<f64> = values[values.len().checked_sub(RUNS)?..]
        .iter()
        .map(|value| value.ln())
        .collect();
    let mut slopes = Vec::new();
    let mut falls = 0;
    for (first, start) in newest.iter().enumerate() {
        for (second, end) in newest.iter().enumerate().skip(first + 1) {
            slopes.push((end - start) / (second - first) as f64);
            // Ties count as falls: what stays the same does not creep.
            falls += usize::from(end <= start);
        }
    }
    let total = (median(&slopes) * (RUNS - 1) as f64).exp_m1();
    let p = orders_with_at_most(falls);
    let is_creep = total >= floor && p < CHANCE / members.max(1) as f64;
    is_creep.then_some(Creep { total, p })
}

/// The share of all orders of [`RUNS`] values that have at most so many pairs out of order.
fn orders_with_at_most(falls: usize) -> f64 {
    // Shares of orders by their number of such pairs, one value inserted after the other.
    let mut shares = vec![1.0];
    for count in 2..=RUNS {
        let mut next = vec![0.0; shares.len() + count - 1];
        for (pairs, share) in shares.iter().enumerate() {
            for added in 0..count {
                next[pairs + added] += share / count as f64;
            }
        }
        shares = next;
    }
    shares.iter().take(falls + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_of_orders_is_exact() {
        // 10! orders; one has no pair out of order, nine have one.
        assert!((orders_with_at_most(0) * 3_628_800.0 - 1.0).abs() < 1e-9);
        assert!((orders_with_at_most(1) * 3_628_800.0 - 10.0).abs() < 1e-9);
        assert!((orders_with_at_most(45) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_steady_rise_creeps_and_noise_a_step_down_and_a_small_rise_do_not() {
        let rise = |at: usize| 1.01_f64.powi(at as i32);
        let steady: Vec<f64> = (0..12).map(rise).collect();
        let found = creep(&steady, (0.02, 1)).map(|creep| (creep.total * 1000.0).round());
        assert_eq!(found, Some(94.0));
        // Two pairs in the wrong order are still a creep, and not one among a thousand series.
        let mut uneven = steady.clone();
        uneven.swap(4, 5);
        uneven.swap(8, 9);
        assert!(creep(&uneven, (0.02, 1)).is_some());
        assert!(creep(&uneven, (0.02, 1000)).is_none());
        let noise = [1.0, 1.02, 0.99, 1.01, 1.0, 0.98, 1.03, 1.0, 1.01, 0.99];
        assert_eq!(creep(&noise, (0.0, 1)), None);
        let falling: Vec<f64> = steady.iter().rev().copied().collect();
        assert_eq!(creep(&falling, (0.0, 1)), None);
        let small: Vec<f64> = (0..10).map(|at| 1.0 + 0.001 * f64::from(at)).collect();
        assert_eq!(creep(&small, (0.02, 1)), None);
        assert_eq!(creep(&[1.0; 10], (0.0, 1)), None);
        assert_eq!(creep(&steady[..9], (0.0, 1)), None);
        assert_eq!(creep(&[], (0.0, 1)), None);
    }
}
