//! How long work on a tree may take, from what such work took before.
//!
//! [`forecast`] learns from runs and says what the next will take; [`weigh`] says how much work a
//! tree is; [`past`] finds the runs in the history; [`advise`] makes a recommendation of them all.
//! A budget is advice: nothing here starts, watches or stops a job.

mod advise;
mod backtest;
mod confidence;
pub mod forecast;
mod parts;
mod past;
mod section;
mod serve;
#[cfg(test)]
mod tests;
mod workload;

pub use advise::{Advice, Question, advise, formula};
pub use backtest::{Backtest, Tally, backtest};
pub use confidence::{Interval, coverage_interval};
pub use past::{Past, Run, Window, past};
pub use section::*;
pub use serve::Server;
pub use workload::{WeighError, WeighRequest, Weighed, weigh, weigh_known};
