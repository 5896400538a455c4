//! Two models of what a job takes, both fitted anew with every run and forgetting slowly.
//!
//! **Costs**: amount = Σ coefficient × column, no coefficient below 0 (Lawson and Hanson's
//! non-negative least squares), since work never gives time back; errors are relative. **Logs**:
//! ridge regression of the logarithm. Both keep only sums, so that a run costs the same however
//! long the history is.

use super::features::{COSTS, LOGS, Row};

/// How much an older run counts beside the next younger one.
const DECAY: f64 = 0.99;
/// Rounds of coordinate descent per run; it continues where the last run left it.
const ROUNDS: usize = 8;
/// Penalty of the ridge, in runs.
const RIDGE: f64 = 0.5;

/// The cost model of one kind of job, or of all.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    gram: Box<[[f64; COSTS]; COSTS]>,
    target: [f64; COSTS],
    coefficients: [f64; COSTS],
    /// Runs, older ones counting less.
    runs: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            gram: Box::new([[0.0; COSTS]; COSTS]),
            target: [0.0; COSTS],
            coefficients: [0.0; COSTS],
            runs: 0.0,
        }
    }
}

impl Costs {
    /// Learns a run that took so much.
    pub(super) fn learn(&mut self, row: &Row, amount: f64) {
        // Divided by its own amount every run has the target 1, and errors are relative.
        let scaled = row.costs.map(|cost| cost / amount);
        for (line, left) in self.gram.iter_mut().zip(&scaled) {
            for (cell, right) in line.iter_mut().zip(&scaled) {
                *cell = *cell * DECAY + left * right;
            }
        }
        for (cell, cost) in self.target.iter_mut().zip(&scaled) {
            *cell = *cell * DECAY + cost;
        }
        self.runs = self.runs * DECAY + 1.0;
        self.descend();
    }

    /// Coordinate descent: each coefficient in turn to its best value not below 0.
    fn descend(&mut self) {
        let used: Vec<usize> = (0..COSTS).filter(|at| self.gram[*at][*at] > 0.0).collect();
        for _ in 0..ROUNDS {
            let mut moved = 0.0_f64;
            for at in &used {
                let line = &self.gram[*at];
                let fitted: f64 = used
                    .iter()
                    .map(|other| line[*other] * self.coefficients[*other])
                    .sum();
                // A pinch of ridge, relative to the column, keeps twins of a column apart from infinity.
                let weight = line[*at] * (1.0 + 1e-6);
                let old = self.coefficients[*at];
                let new = (old + (self.target[*at] - fitted) / weight).max(0.0);
                self.coefficients[*at] = new;
                moved = moved.max((new - old).abs() * line[*at].sqrt());
            }
            if moved < 1e-6 {
                break;
            }
        }
    }

    /// The logarithm for a job; `None` before there are so many runs, the decay allowed for.
    pub(super) fn predict(&self, row: &Row, runs_min: f64) -> Option<f64> {
        let pairs = self.coefficients.iter().zip(&row.costs);
        let amount: f64 = pairs.map(|(coefficient, cost)| coefficient * cost).sum();
        (self.runs >= runs_min && amount > 0.0).then(|| amount.ln())
    }
}

/// The log-linear model of one kind of job.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    sums: Box<[[f64; LOGS]; LOGS]>,
    target: [f64; LOGS],
    coefficients: [f64; LOGS],
    lowest: f64,
    highest: f64,
    runs: f64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            sums: Box::new([[0.0; LOGS]; LOGS]),
            target: [0.0; LOGS],
            coefficients: [0.0; LOGS],
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
            runs: 0.0,
        }
    }
}

impl Logs {
    /// Learns a run by the logarithm of what it took.
    pub(super) fn learn(&mut self, row: &Row, log_amount: f64) {
        for (line, left) in self.sums.iter_mut().zip(&row.logs) {
            for (cell, right) in line.iter_mut().zip(&row.logs) {
                *cell = *cell * DECAY + left * right;
            }
        }
        for (cell, column) in self.target.iter_mut().zip(&row.logs) {
            *cell = *cell * DECAY + column * log_amount;
        }
        self.runs = self.runs * DECAY + 1.0;
        self.lowest = self.lowest.min(log_amount);
        self.highest = self.highest.max(log_amount);
        self.solve();
    }

    /// Ridge regression on columns with mean 0 and deviation 1, by Cholesky's decomposition.
    fn solve(&mut self) {
        let mean: Vec<f64> = (0..LOGS).map(|at| self.sums[0][at] / self.runs).collect();
        let deviation: Vec<f64> = (0..LOGS)
            .map(|at| {
                (self.sums[at][at] / self.runs - mean[at] * mean[at])
                    .max(0.0)
                    .sqrt()
            })
            .collect();
        let used: Vec<usize> = (1..LOGS).filter(|at| deviation[*at] > 1e-6).collect();
        let size = used.len();
        let mut matrix = [[0.0; LOGS]; LOGS];
        let mut right = [0.0; LOGS];
        for (i, a) in used.iter().enumerate() {
            for (j, b) in used.iter().enumerate() {
                let covariance = self.sums[*a][*b] - self.runs * mean[*a] * mean[*b];
                matrix[i][j] = covariance / (deviation[*a] * deviation[*b]);
            }
            matrix[i][i] += RIDGE;
            right[i] = (self.target[*a] - mean[*a] * self.target[0]) / deviation[*a];
        }
        if !solve_in_place(&mut matrix, &mut right, size) {
            return;
        }
        self.coefficients = [0.0; LOGS];
        self.coefficients[0] = self.target[0] / self.runs;
        for (i, a) in used.iter().enumerate() {
            self.coefficients[*a] = right[i] / deviation[*a];
            self.coefficients[0] -= self.coefficients[*a] * mean[*a];
        }
    }

    /// The logarithm for a job, kept near what was ever seen; `None` before there are so many runs.
    pub(super) fn predict(&self, row: &Row, runs_min: f64) -> Option<f64> {
        let pairs = self.coefficients.iter().zip(&row.logs);
        let log_amount: f64 = pairs
            .map(|(coefficient, column)| coefficient * column)
            .sum();
        (self.runs >= runs_min).then(|| log_amount.clamp(self.lowest - 1.0, self.highest + 1.0))
    }
}

/// Solves a symmetric positive definite system; `false` where it is not.
fn solve_in_place(matrix: &mut [[f64; LOGS]; LOGS], right: &mut [f64; LOGS], size: usize) -> bool {
    for i in 0..size {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let rest = matrix[i][j] - dot;
            if i == j {
                if rest <= 1e-12 {
                    return false;
                }
                matrix[i][i] = rest.sqrt();
            } else {
                matrix[i][j] = rest / matrix[j][j];
            }
        }
    }
    for i in 0..size {
        let dot: f64 = (0..i).map(|k| matrix[i][k] * right[k]).sum();
        right[i] = (right[i] - dot) / matrix[i][i];
    }
    for i in (0..size).rev() {
        let dot: f64 = (i + 1..size).map(|k| matrix[k][i] * right[k]).sum();
        right[i] = (right[i] - dot) / matrix[i][i];
    }
    true
}
