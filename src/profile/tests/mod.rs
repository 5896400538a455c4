//! Verdicts on made-up runs whose truth is known.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod again;
mod run;
mod verdict;

/// Numbers that look random and are the same every time (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between 0 and 1, neither included.
    pub(super) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + 1e-18
    }

    /// A normal deviate.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    /// What a run takes that takes one second, with normal noise, one in twenty being hit.
    pub(super) fn run(&mut self, noise: f64) -> f64 {
        let hit = match self.share() < 0.05 {
            true => -0.3 * self.share().ln(),
            false => 0.0,
        };
        (noise * self.normal()).exp() + hit
    }

    pub(super) fn runs(&mut self, count: usize, noise: f64) -> Vec<f64> {
        (0..count).map(|_| self.run(noise)).collect()
    }
}
