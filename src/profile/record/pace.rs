//! When to look (pure): often at first, then as often as asked for, and never for more than a small
//! share of a processor.

/// Samples of one run at most.
pub(super) const SPANS_MAX: usize = 2000;
/// Looks per second in the first second, where most of a short run lies.
const EARLY_HZ: f64 = 50.0;
/// The first look comes so early, seconds, the next ones twice as late each: most commands are short.
const FIRST_SECONDS: f64 = 0.001;
/// How long that lasts, seconds.
const EARLY_SECONDS: f64 = 1.0;
/// What looking may cost at 10 looks per second and below, and at 100, of a processor.
const COST: [f64; 2] = [0.008, 0.025];

/// The rhythm of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    hz: f64,
    /// How many looks became one, so that there is room for more.
    folded: f64,
    /// What a look cost lately, CPU seconds.
    cost_seconds: f64,
}

impl Pace {
    /// A rhythm of so many looks per second; at least 1.
    pub(super) fn new(hz: u64) -> Self {
        Self {
            hz: hz.max(1) as f64,
            folded: 1.0,
            cost_seconds: 0.0,
        }
    }

    /// Half as often from now on.
    pub(super) fn fold(&mut self) {
        self.folded *= 2.0;
    }

    /// Learns what a look cost.
    pub(super) fn learn(&mut self, cost_seconds: f64) {
        // Fast up, slow down: a tree that grew is dear at once.
        self.cost_seconds = cost_seconds.max(self.cost_seconds * 0.9 + cost_seconds * 0.1);
    }

    /// Seconds until the next look, `at` so many seconds after the start.
    pub(super) fn wait_seconds(&self, at: f64) -> f64 {
        let hz = match at < EARLY_SECONDS {
            true => self.hz.max(EARLY_HZ),
            false => self.hz,
        };
        let between = ((hz - 10.0) / 90.0).clamp(0.0, 1.0);
        let share = COST[0] + (COST[1] - COST[0]) * between;
        let early = at.max(FIRST_SECONDS);
        (self.folded / hz).min(early).max(self.cost_seconds / share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn often_at_first_then_as_asked_and_never_dear() {
        let mut pace = Pace::new(10);
        assert_eq!(pace.wait_seconds(0.0), 0.001);
        assert_eq!(pace.wait_seconds(0.004), 0.004);
        assert_eq!(pace.wait_seconds(0.5), 0.02);
        assert_eq!(pace.wait_seconds(1.0), 0.1);
        pace.learn(0.0001);
        assert_eq!(pace.wait_seconds(1.0), 0.1);
        pace.learn(0.004);
        assert!((pace.wait_seconds(1.0) - 0.5).abs() < 1e-9);
        for _ in 0..60 {
            pace.learn(0.0001);
        }
        assert_eq!(pace.wait_seconds(1.0), 0.1);
        pace.fold();
        assert_eq!(pace.wait_seconds(5.0), 0.2);
        assert_eq!(Pace::new(100).wait_seconds(0.2), 0.01);
        assert_eq!(Pace::new(0).wait_seconds(2.0), 1.0);
    }
}
