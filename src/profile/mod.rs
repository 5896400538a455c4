//! Floor 2: what a command takes, where its time goes, and whether that is more than it was.
//!
//! [`record`] runs and measures. The rest is pure: [`bottleneck`] and [`limits`] look at one run,
//! [`judge`] at one series, [`judge_run`] at all stages and metrics of a run; it measures nothing, reads
//! no file and does not know the time.

mod again;
mod baseline;
pub mod bottleneck;
mod compare;
mod gate;
mod levels;
pub mod limits;
mod lines;
mod machine;
mod numbers;
mod question;
pub mod record;
mod regress;
mod series;
mod siblings;
#[cfg(test)]
mod tests;
mod trend;

pub use again::judge_again;
pub use compare::{Row, compare};
pub use gate::{ALL_STAGES, RunJudgement, RunRequest, StageJudgement, judge_run, metric_name};
pub use lines::{LevelLine, level_lines};
pub use question::{Answer, answer};
pub use regress::{
    HISTORY_RUNS_MAX, HISTORY_RUNS_MIN, Judgement, Series, SeriesError, Settings, judge,
};
pub use series::value;
