//! Floor 2: whether a run is slower than the past, and by how much.
//!
//! [`judge`] looks at one series, [`judge_run`] at all stages and metrics of a run. All of it is
//! pure: nothing here measures, reads a file or knows the time.

mod baseline;
mod compare;
mod gate;
mod levels;
mod machine;
mod numbers;
mod question;
mod regress;
mod series;
mod siblings;
#[cfg(test)]
mod tests;
mod trend;

pub use compare::{Row, compare};
pub use gate::{ALL_STAGES, RunJudgement, RunRequest, StageJudgement, judge_run, metric_name};
pub use question::{Answer, answer};
pub use regress::{
    HISTORY_RUNS_MAX, HISTORY_RUNS_MIN, Judgement, Series, SeriesError, Settings, judge,
};
