//! What is known of a job before it runs, as the models see it.
//!
//! Names decide what a number is: the machine's state (`load1`, `psi_cpu`, …), its processors
//! (`cpus`), or the size of the work (everything else). A name gets its column when it is first
//! seen; those for which there is no room are not used.

use std::collections::BTreeMap;

/// Most sizes that are used.
pub(super) const SIZES_MAX: usize = 6;
/// Most numbers of the machine's state that are used.
pub(super) const STATES_MAX: usize = 6;
/// Intercept and sizes.
const BASE: usize = 1 + SIZES_MAX;
/// Columns of the cost model: intercept and sizes, and both again for each knot of the load.
pub(super) const COSTS: usize = BASE * (1 + KNOTS.len());
/// Columns of the log-linear model: intercept, sizes and state.
pub(super) const LOGS: usize = BASE + STATES_MAX;

/// Tasks per processor from which on work may slow down in proportion: hyper-threads share a core
/// from the first, everybody waits from the second.
const KNOTS: [f64; 2] = [0.5, 1.0];

/// Larger numbers are taken for this one, so that sums of squares stay finite.
const VALUE_MAX: f64 = 1e15;

/// Beginnings of names that tell the machine's state.
const STATE_NAMES: [&str; 9] = [
    "available",
    "cpu_",
    "free",
    "load",
    "pressure",
    "psi",
    "run",
    "steal",
    "util",
];

/// The numbers that a job comes with, by name. Those that are negative or not finite count as
/// unknown. May be empty.
pub type Features = BTreeMap<String, f64>;

/// Which name stands in which column.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    sizes: Vec<String>,
    states: Vec<String>,
}

/// A job as numbers in columns.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// For the cost model, none below 0.
    pub(super) costs: [f64; COSTS],
    /// For the log-linear model.
    pub(super) logs: [f64; LOGS],
    /// Whether there is any size.
    pub(super) is_sized: bool,
}

impl Row {
    /// How many times larger this job is than another one in whatever it is larger in; at least 1.
    pub(super) fn times_larger(&self, other: &Self) -> f64 {
        let pairs = self.costs[1..BASE].iter().zip(&other.costs[1..BASE]);
        let ratios = pairs.filter(|(_, other)| **other > 0.0);
        ratios.map(|(own, other)| own / other).fold(1.0, f64::max)
    }
}

impl Columns {
    /// Puts a job's numbers into their columns, giving new names theirs.
    pub(super) fn row(&mut self, features: &Features) -> Row {
        let mut row = Row {
            costs: [0.0; COSTS],
            logs: [0.0; LOGS],
            is_sized: false,
        };
        (row.costs[0], row.logs[0]) = (1.0, 1.0);
        let known = features
            .iter()
            .filter(|(_, value)| value.is_finite() && **value >= 0.0);
        let known = known.map(|(name, value)| (name, value.min(VALUE_MAX)));
        for (name, value) in known.filter(|(name, _)| *name != "cpus") {
            if STATE_NAMES.iter().any(|start| name.starts_with(start)) {
                if let Some(at) = column(&mut self.states, name, STATES_MAX) {
                    row.logs[BASE + at] = value.ln_1p();
                }
            } else if let Some(at) = column(&mut self.sizes, name, SIZES_MAX) {
                row.costs[1 + at] = value;
                row.logs[1 + at] = value.ln_1p();
                row.is_sized = true;
            }
        }
        let load = tasks_per_processor(features);
        for (part, knot) in KNOTS.iter().enumerate() {
            let over = (load - knot).max(0.0);
            for at in 0..BASE {
                row.costs[(1 + part) * BASE + at] = over * row.costs[at];
            }
        }
        row
    }
}

/// 0 where the load is not known.
fn tasks_per_processor(features: &Features) -> f64 {
    let known = |name: &str| {
        features
            .get(name)
            .copied()
            .filter(|value| value.is_finite())
    };
    let load = known("load1").or_else(|| known("load")).unwrap_or(0.0);
    load.clamp(0.0, VALUE_MAX) / known("cpus").unwrap_or(1.0).max(1.0)
}

/// The column of a name; `None` where no more fits.
fn column(names: &mut Vec<String>, name: &str, most: usize) -> Option<usize> {
    let known = names.iter().position(|known| known == name);
    known.or_else(|| {
        (names.len() < most).then(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(pairs: &[(&str, f64)]) -> Features {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn a_name_keeps_its_column_and_the_load_scales_every_cost() {
        let mut columns = Columns::default();
        let first = columns.row(&features(&[("files", 10.0), ("load1", 3.0), ("cpus", 2.0)]));
        let second = columns.row(&features(&[("bytes", 7.0), ("files", 30.0)]));
        assert_eq!(
            (first.costs[1], second.costs[1], second.costs[2]),
            (10.0, 30.0, 7.0)
        );
        // 1.5 tasks per processor: 1 over the first knot, 0.5 over the second.
        assert_eq!(
            (first.costs[BASE + 1], first.costs[2 * BASE + 1]),
            (10.0, 5.0)
        );
        assert_eq!(
            (second.costs[BASE + 1], second.times_larger(&first)),
            (0.0, 3.0)
        );
    }

    #[test]
    fn what_is_no_number_is_unknown_and_what_does_not_fit_is_left_out() {
        let mut columns = Columns::default();
        let row = columns.row(&features(&[
            ("a", f64::NAN),
            ("b", -1.0),
            ("c", f64::INFINITY),
        ]));
        assert!(!row.is_sized && row.costs[1..].iter().all(|cost| *cost == 0.0));
        let many: Features = (0..50).map(|at| (format!("x{at:02}"), 1.0)).collect();
        let row = columns.row(&many);
        assert_eq!(row.costs.iter().sum::<f64>(), 1.0 + SIZES_MAX as f64);
    }
}
