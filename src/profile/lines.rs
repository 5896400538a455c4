//! The levels of a past as lines that can be drawn (pure).

use super::levels::{Roughness, stretches};
use super::numbers::median;

/// A stretch of runs about one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelLine {
    /// Its first run, from 0.
    pub from: usize,
    /// One behind its last run.
    pub to: usize,
    /// The level, in the series' own unit.
    pub level: f64,
}

/// The stretches of a series of values above 0, oldest first, without gaps. From `accepted_from` on a
/// new level is known to begin; 0 where none is.
pub fn level_lines(series: &[f64], accepted_from: usize) -> Vec<LevelLine> {
    let logarithms: Vec<f64> = series.iter().map(|value| value.ln()).collect();
    let mut from = 0;
    let mut lines = Vec::new();
    for stretch in stretches(&logarithms, (Roughness::of(&logarithms), accepted_from)) {
        let to = from + stretch.len();
        if !stretch.is_empty() {
            lines.push(LevelLine {
                from,
                to,
                level: median(stretch).exp(),
            });
        }
        from = to;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_makes_two_lines_and_nothing_makes_none() {
        let series: Vec<f64> = (0..30)
            .map(|at| if at < 15 { 1.0 } else { 2.0 } + f64::from(at % 3) * 0.01)
            .collect();
        let lines = level_lines(&series, 0);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!((lines[0].to, lines[1].from, lines[1].to), (15, 15, 30));
        assert!((lines[1].level - 2.01).abs() < 1e-9);
        assert_eq!(level_lines(&[], 0), []);
        assert_eq!(level_lines(&[3.0], 0).len(), 1);
    }
}
