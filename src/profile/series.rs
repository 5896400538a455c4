//! Which past runs a new one is compared with.
//!
//! One series is one stage of one key, in one class of size and host. Only runs that passed, or
//! that somebody accepted, are in it: a regression never becomes normal by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::median;
use crate::history::{Entry, GateVerdict, Metrics, Outcome, Record};
use crate::policy::Metric;

/// What a metric says of a run; `None` where it was not measured, or is nothing.
pub fn value(metric: Metric, metrics: &Metrics) -> Option<f64> {
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    let value = match metric {
        Metric::CpuSeconds => metrics.cpu_seconds(),
        Metric::CpuUserSeconds => metrics.cpu_user_seconds,
        Metric::CpuSystemSeconds => metrics.cpu_system_seconds,
        Metric::WallSeconds => metrics.wall_seconds,
        Metric::RunQueueSeconds => metrics.run_queue_seconds,
        Metric::IoStallSeconds => metrics.io_stall_seconds,
        Metric::MemoryStallSeconds => metrics.memory_stall_seconds,
        Metric::PeakMemoryBytes => whole(metrics.peak_memory_bytes),
        Metric::ReadBytes => whole(metrics.read_bytes),
        Metric::WrittenBytes => whole(metrics.written_bytes),
        Metric::IoOperations => whole(metrics.io_operations),
    };
    value.filter(|value| value.is_finite() && *value > 0.0)
}

/// Runs that may be compared with, and those of them that somebody accepted though they were found
/// slower.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// Records by run, in the order in which the runs came; within a run in theirs.
    runs: Vec<(&'a str, Vec<&'a Record>)>,
    changed: BTreeSet<&'a str>,
}

/// One past run of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point<'a> {
    pub(super) run_id: &'a str,
    pub(super) value: f64,
    pub(super) probe: Option<f64>,
}

/// The past of one metric of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Line<'a> {
    /// Oldest first.
    pub(super) points: Vec<Point<'a>>,
    /// From which point on somebody accepted another level; 0 for none.
    pub(super) accepted_from: usize,
}

impl<'a> Past<'a> {
    /// Takes what may be compared with out of a history, oldest first.
    pub(super) fn of(history: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut runs: Vec<(&str, Vec<&Record>)> = Vec::new();
        let mut places = BTreeMap::new();
        let mut accepted = BTreeSet::new();
        for entry in history {
            match entry {
                Entry::Record(record) => {
                    let place = *places.entry(record.run_id.as_str()).or_insert(runs.len());
                    if place == runs.len() {
                        runs.push((&record.run_id, Vec::new()));
                    }
                    runs[place].1.push(record);
                }
                Entry::Acceptance(acceptance) => {
                    accepted.insert(acceptance.accepts.as_str());
                }
            }
        }
        let is_slower = |records: &[&Record]| {
            let mut verdicts = records.iter().map(|record| record.gate_verdict);
            verdicts.any(|verdict| verdict == Some(GateVerdict::Regression))
        };
        let passed = |records: &[&Record]| {
            let mut outcomes = records.iter().map(|record| record.outcome);
            outcomes.all(|outcome| outcome == Outcome::Passed)
        };
        let mut changed = BTreeSet::new();
        runs.retain(|(run_id, records)| {
            let is_accepted = accepted.contains(run_id);
            if is_accepted && is_slower(records) {
                changed.insert(*run_id);
            }
            is_accepted || (passed(records) && !is_slower(records))
        });
        Self { runs, changed }
    }

    /// The past of one metric of what `like` is a run of. A run counts by its first repetition,
    /// which is what a single run looks like; one that changed the level by all of them.
    pub(super) fn line(&self, like: &Record, metric: Metric) -> Line<'a> {
        let mut line = Line::default();
        for (run_id, records) in &self.runs {
            let own = records
                .iter()
                .filter(|record| is_same_series(record, like) && record.outcome == Outcome::Passed);
            let values: Vec<(f64, Option<f64>)> = own
                .filter_map(|record| Some((value(metric, &record.metrics)?, probe(record))))
                .collect();
            let Some((first, probe)) = values.first().copied() else {
                continue;
            };
            let mut value = first;
            if self.changed.contains(run_id) {
                line.accepted_from = line.points.len();
                let all: Vec<f64> = values.iter().map(|(value, _)| *value).collect();
                value = median(&all);
            }
            line.points.push(Point {
                run_id,
                value,
                probe,
            });
        }
        line
    }
}

/// How fast the machine was beside a run, where that was measured.
pub(super) fn probe(record: &Record) -> Option<f64> {
    let probe = record.system.as_ref()?.probe_seconds?;
    (probe.is_finite() && probe > 0.0).then_some(probe)
}

fn is_same_series(one: &Record, other: &Record) -> bool {
    one.key == other.key
        && one.stage == other.stage
        && one.size_class == other.size_class
        && one.host_class == other.host_class
}
