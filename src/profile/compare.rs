//! Two runs side by side (pure).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::baseline::Baseline;
use super::numbers::median;
use super::regress::HISTORY_RUNS_MIN;
use super::series::{self, Past};
use crate::history::{Entry, Record};
use crate::policy::Metric;

/// Every metric, in the order of rows.
const METRICS: [Metric; 11] = [
    Metric::WallSeconds,
    Metric::CpuSeconds,
    Metric::CpuUserSeconds,
    Metric::CpuSystemSeconds,
    Metric::RunQueueSeconds,
    Metric::IoStallSeconds,
    Metric::MemoryStallSeconds,
    Metric::PeakMemoryBytes,
    Metric::ReadBytes,
    Metric::WrittenBytes,
    Metric::IoOperations,
];

/// One stage and metric of two runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Row {
    /// The stage.
    pub stage: String,
    /// The metric.
    pub metric: Metric,
    /// What the first run took: the middle of its repetitions.
    pub first: f64,
    /// What the second run took.
    pub second: f64,
    /// The second against the first, as a share: 0.05 is 5 % more.
    pub change: f64,
    /// What the change would be nineteen times in twenty where nothing changed, as a share of either
    /// sign; null where the history is too short to know.
    pub noise: Option<f64>,
    /// Whether the change is beyond that noise; null where that is not known.
    pub beyond_noise: Option<bool>,
}

/// Compares two runs, given by their records: the stages that both have, by name, and the metrics
/// that both measured. The noise is that of the history of the second run's series.
pub fn compare(history: &[&Entry], first: &[&Record], second: &[&Record]) -> Vec<Row> {
    let past = Past::of(history.iter().copied());
    let stages: BTreeSet<&str> = first.iter().map(|record| record.stage.as_str()).collect();
    let mut rows = Vec::new();
    for stage in stages {
        let of = |records: &[&Record], metric: Metric| -> Vec<f64> {
            let own = records.iter().filter(|record| record.stage == stage);
            own.filter_map(|record| series::value(metric, &record.metrics))
                .collect()
        };
        let Some(like) = second.iter().find(|record| record.stage == stage) else {
            continue;
        };
        for metric in METRICS {
            let (before, after) = (of(first, metric), of(second, metric));
            if before.is_empty() || after.is_empty() {
                continue;
            }
            let (from, to) = (median(&before), median(&after));
            let change = to / from - 1.0;
            let values: Vec<f64> = past
                .line(like, metric)
                .points
                .iter()
                .map(|point| point.value.ln())
                .collect();
            let noise = (values.len() >= HISTORY_RUNS_MIN).then(|| {
                // The difference of two runs; repetitions share the luck of their session.
                let one = Baseline::learn(&values, 0).noise;
                (1.96 * std::f64::consts::SQRT_2 * one).exp_m1()
            });
            rows.push(Row {
                stage: stage.to_owned(),
                metric,
                first: from,
                second: to,
                change,
                noise,
                beyond_noise: noise.map(|noise| (to / from).ln().abs() > noise.ln_1p()),
            });
        }
    }
    rows
}
