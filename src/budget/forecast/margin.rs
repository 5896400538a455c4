//! From an expert's past errors to the margin on its next word (conformal prediction).
//!
//! An error is the logarithm of what a run took minus the expert's centre, made before the run was
//! known. The margin at a miss rate is the error that so many exceed, recent ones counting more.
//! Beyond the errors that were seen the tail decays exponentially in the logarithm, which is a
//! power law of the amount: the heavy tail that run times have.

use std::collections::VecDeque;

/// Errors that are kept.
const KEPT: usize = 400;
/// How much an older error counts beside the next younger one.
const DECAY: f64 = 0.992;
/// The tail is what exceeds the error that this share of all exceed.
const TAIL_SHARE: f64 = 0.1;
/// With fewer errors than this beyond a margin, the tail tells more than they do.
const BEYOND_MIN: f64 = 4.0;
/// What the tail's mean excess is taken for before there is any, and how many errors that weighs:
/// a factor of 1.4, as half an error.
const EXCESS_EXPECTED: f64 = 0.35;
const EXCESS_WEIGHT: f64 = 0.5;
/// A hung job's error is cut to this many times the distance from the middle to the tail, or to
/// four times the amount, beyond the tail: it must not set everybody's budget.
const HUNG_SPREADS: f64 = 6.0;
const HUNG_LOG: f64 = 2.0 * std::f64::consts::LN_2;
/// Before there are so many errors, none is known to be a hung job's.
const HUNG_RUNS_MIN: usize = 10;

/// Smaller shares are not told apart, and how often a share is halved to be found.
const SHARE_MIN: f64 = 1e-4;
const SHARE_STEPS: usize = 24;

/// What an error of each age counts, and what so many errors count together.
static WEIGHTS: [f64; KEPT] = {
    let mut weights = [1.0; KEPT];
    let mut age = 1;
    while age < KEPT {
        weights[age] = weights[age - 1] * DECAY;
        age += 1;
    }
    weights
};
static TOTALS: [f64; KEPT + 1] = {
    let mut totals = [0.0; KEPT + 1];
    let mut errors = 0;
    while errors < KEPT {
        totals[errors + 1] = totals[errors] + WEIGHTS[errors];
        errors += 1;
    }
    totals
};

/// Past errors of one expert, for one kind of job or for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    /// Oldest first.
    ring: VecDeque<f64>,
    /// Errors with the numbers of their runs, the largest first.
    sorted: Vec<(f64, u64)>,
    /// Runs so far.
    count: u64,
}

/// The weighted sample of which a margin is a quantile: own errors, and borrowed ones.
pub(super) struct Sample<'a> {
    /// Of this kind of job.
    pub(super) own: &'a Errors,
    /// Of all kinds.
    pub(super) borrowed: &'a Errors,
    /// What all borrowed errors together count, in errors.
    pub(super) borrowed_weight: f64,
}

impl Errors {
    /// Adds an error.
    pub(super) fn add(&mut self, error: f64) {
        if self.ring.len() == KEPT
            && let Some(oldest) = self.ring.pop_front()
        {
            let run = self.count - KEPT as u64;
            let from = self.sorted.partition_point(|(other, _)| *other > oldest);
            let place = self.sorted[from..]
                .iter()
                .position(|(_, other)| *other == run);
            place.map(|place| self.sorted.remove(from + place));
        }
        let at = self.sorted.partition_point(|(other, _)| *other > error);
        self.sorted.insert(at, (error, self.count));
        self.ring.push_back(error);
        self.count += 1;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The middle of the newest few.
    pub(super) fn recent_median(&self, newest: usize) -> Option<f64> {
        let mut few: Vec<f64> = self.ring.iter().rev().take(newest).copied().collect();
        few.sort_by(f64::total_cmp);
        let (low, high) = (few.len().checked_sub(1)? / 2, few.len() / 2);
        Some((few.get(low)? + few.get(high)?) / 2.0)
    }

    /// Beyond this an error is that of a hung job.
    pub(super) fn hung(&self) -> f64 {
        let exceeded_by = |share: f64| {
            let at = (share * self.sorted.len() as f64) as usize;
            self.sorted.get(at).map(|(error, _)| *error)
        };
        match (exceeded_by(0.5), exceeded_by(TAIL_SHARE)) {
            (Some(middle), Some(tail)) if self.len() >= HUNG_RUNS_MIN => {
                tail + (HUNG_SPREADS * (tail - middle)).max(HUNG_LOG)
            }
            _ => f64::INFINITY,
        }
    }

    /// Errors with their weights, the largest first, and the sum of all weights.
    fn weighted(&self) -> (impl Iterator<Item = (f64, f64)>, f64) {
        let (hung, count) = (self.hung(), self.count);
        let weight = |age: u64| WEIGHTS[age as usize % KEPT];
        let total = TOTALS[self.len().min(KEPT)];
        let pairs = self.sorted.iter();
        let pairs = pairs.map(move |(error, run)| (error.min(hung), weight(count - 1 - run)));
        (pairs, total)
    }
}

impl Sample<'_> {
    /// All errors with their weights, the largest first, and the sum of all weights.
    fn weighted(&self) -> (impl Iterator<Item = (f64, f64)>, f64) {
        let (own, own_total) = self.own.weighted();
        let (borrowed, total) = self.borrowed.weighted();
        let scale = if total > 0.0 {
            self.borrowed_weight / total
        } else {
            0.0
        };
        let borrowed = borrowed.map(move |(error, weight)| (error, weight * scale));
        (merged(own, borrowed), own_total + total * scale)
    }

    /// The margin that this share of runs exceeds; `None` without any error.
    pub(super) fn margin(&self, miss: f64) -> Option<f64> {
        let (errors, total) = self.weighted();
        let (wanted, tail) = (miss * total, miss.max(TAIL_SHARE) * total);
        let (mut beyond, mut sum) = (0.0, 0.0);
        let mut seen = None;
        for (error, weight) in errors {
            let reached = beyond + weight;
            if seen.is_none() && reached > wanted {
                seen = Some(error);
            }
            if reached > tail {
                let excess = mean_excess((beyond, sum), error);
                let decades = (beyond.max(weight) / wanted).ln().max(0.0);
                let trust = (wanted / BEYOND_MIN).min(1.0);
                let tail = error + excess * decades;
                return Some(trust * seen.unwrap_or(error) + (1.0 - trust) * tail);
            }
            beyond = reached;
            sum += weight * error;
        }
        seen
    }

    /// The share of runs that exceed a margin, the inverse of [`Sample::margin`]; `None` without any
    /// error.
    pub(super) fn share_above(&self, margin: f64) -> Option<f64> {
        let (mut low, mut high) = (SHARE_MIN, 1.0);
        for _ in 0..SHARE_STEPS {
            let middle = f64::sqrt(low * high);
            match self.margin(middle)? > margin {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(high)
    }
}

/// By how much the errors of a tail exceed its edge on average.
fn mean_excess((weight, sum): (f64, f64), edge: f64) -> f64 {
    let excess = sum - weight * edge + EXCESS_WEIGHT * EXCESS_EXPECTED;
    excess / (weight + EXCESS_WEIGHT)
}

/// Two sequences, each the largest first, as one.
fn merged(
    left: impl Iterator<Item = (f64, f64)>,
    right: impl Iterator<Item = (f64, f64)>,
) -> impl Iterator<Item = (f64, f64)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if a.0 >= b.0 => left.next(),
        (Some(_), None) => left.next(),
        _ => right.next(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// A sequence that looks random and is the same everywhere: between 0 and 1.
    fn noise(count: u32) -> impl Iterator<Item = f64> {
        (1..=count).map(|at| (f64::from(at) * 0.618_033_988_749_894_9).fract())
    }

    fn errors(values: impl Iterator<Item = f64>) -> Errors {
        let mut errors = Errors::default();
        values.for_each(|value| errors.add(value));
        errors
    }

    #[test]
    fn a_margin_is_the_quantile_and_its_share_leads_back() {
        let own = errors(noise(400));
        let none = Errors::default();
        let sample = Sample {
            own: &own,
            borrowed: &none,
            borrowed_weight: 8.0,
        };
        for miss in [0.05, 0.1, 0.3, 0.5] {
            let margin = sample.margin(miss).unwrap();
            assert!((margin - (1.0 - miss)).abs() < 0.04, "{miss}: {margin}");
            let share = sample.share_above(margin).unwrap();
            assert!((share - miss).abs() < 0.02, "{miss}: {share}");
        }
        assert!(sample.margin(0.001).unwrap() > 1.0, "the tail goes on");
        assert!(sample.share_above(50.0).unwrap() <= 2.0 * SHARE_MIN);
    }

    #[test]
    fn without_errors_nothing_is_said_and_borrowed_ones_help() {
        let (none, other) = (Errors::default(), errors(noise(50)));
        let sample = |borrowed| Sample {
            own: &none,
            borrowed,
            borrowed_weight: 8.0,
        };
        assert_eq!(sample(&none).margin(0.1), None);
        assert_eq!(sample(&none).share_above(0.1), None);
        assert!((sample(&other).margin(0.1).unwrap() - 0.9).abs() < 0.05);
    }

    #[test]
    fn one_hung_job_does_not_set_the_margin_and_old_errors_go() {
        let calm = errors(noise(100));
        let mut hung = calm.clone();
        hung.add(50.0);
        let none = Errors::default();
        let margin = |own| {
            Sample {
                own,
                borrowed: &none,
                borrowed_weight: 0.0,
            }
            .margin(0.05)
            .unwrap()
        };
        assert!(margin(&hung) - margin(&calm) < 0.5);
        (0..KEPT).for_each(|_| hung.add(0.0));
        assert_eq!((hung.len(), hung.sorted.first().unwrap().0), (KEPT, 0.0));
    }

    #[test]
    fn the_middle_of_few_is_between_two() {
        assert_eq!(
            errors([4.0, 1.0, 2.0, 3.0].into_iter()).recent_median(4),
            Some(2.5)
        );
        assert_eq!(
            errors([4.0, 1.0, 2.0].into_iter()).recent_median(9),
            Some(2.0)
        );
        assert_eq!(Errors::default().recent_median(3), None);
    }
}
