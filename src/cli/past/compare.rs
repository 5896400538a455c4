//! `agp profile compare`: two runs side by side.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::{entries, read, run_of, skipped};
use crate::base::units;
use crate::cli::failure::Failure;
use crate::cli::spine::{Context, Done};
use crate::profile::{self, Row};
use crate::report::Report;

/// Put two runs side by side
///
/// Every stage that both have, and every metric that both measured: the middle of its repetitions, and how
/// far that changed. Where the history is long enough to know the noise, it says whether the change is more.
/// Ends with 0 whatever the change is.
#[derive(Debug, Args)]
#[command(after_help = "Example: agp profile compare 0197c3 last")]
pub struct CompareArgs {
    /// The first run: its `run_id`, the beginning of it, or `last`
    #[arg(value_name = "A")]
    pub first: String,
    /// The second run
    #[arg(value_name = "B")]
    pub second: String,
    /// The key of both [default: the only one that there is]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// What a comparison holds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CompareBody {
    /// All together.
    pub summary: CompareSummary,
    /// Every stage and metric that both runs have, by stage.
    pub rows: Vec<Row>,
}

/// A comparison in short.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CompareSummary {
    /// The key of both runs.
    pub key: String,
    /// The first run.
    pub first: String,
    /// The second run.
    pub second: String,
    /// Stages and metrics that changed by more than their noise.
    pub beyond_noise: usize,
    /// Stages and metrics whose noise is known.
    pub noise_known: usize,
}

impl CompareArgs {
    pub(in crate::cli) fn run(&self, context: &Context<'_>) -> Result<Done, Failure> {
        let kept = read(context, self.key.as_deref())?;
        let first = run_of(&kept.past, &self.first)?;
        let second = run_of(&kept.past, &self.second)?;
        let rows = profile::compare(&entries(&kept.past), &first, &second);
        let id = |run: &[&crate::history::Record]| {
            run.first()
                .map(|record| record.run_id.clone())
                .unwrap_or_default()
        };
        let summary = CompareSummary {
            key: kept.key,
            first: id(&first),
            second: id(&second),
            beyond_noise: rows
                .iter()
                .filter(|row| row.beyond_noise == Some(true))
                .count(),
            noise_known: rows.iter().filter(|row| row.noise.is_some()).count(),
        };
        let headline = format!(
            "{} of {} changed by more than its noise",
            summary.beyond_noise,
            units::count(summary.noise_known as u64, "measurement"),
        );
        let table = table(&rows);
        let body = CompareBody { summary, rows };
        let report = Report::new("compare", headline, skipped(&kept.past.notes)).with_body(&body);
        match context.global.wants_json() || context.global.output.is_some() {
            true => Ok(Done::Report(report)),
            false => Ok(Done::Streamed(
                report,
                Box::new(move |out| out.write_all(table.as_bytes())),
            )),
        }
    }
}

/// The rows as text in columns.
fn table(rows: &[Row]) -> String {
    let mut cells =
        vec![["stage", "metric", "first", "second", "change", "noise"].map(str::to_owned)];
    for row in rows {
        let share = |share: f64| format!("{:+.1} %", share * 100.0);
        let noise = row
            .noise
            .map_or("?".to_owned(), |noise| share(noise).replace('+', "± "));
        let mark = if row.beyond_noise == Some(true) {
            " !"
        } else {
            ""
        };
        cells.push([
            units::printable(&row.stage).into_owned(),
            profile::metric_name(row.metric),
            quantity(&profile::metric_name(row.metric), row.first),
            quantity(&profile::metric_name(row.metric), row.second),
            share(row.change) + mark,
            noise,
        ]);
    }
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}", width = *width))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn quantity(metric: &str, value: f64) -> String {
    if metric.ends_with("_bytes") {
        // A size in a record is a whole number below 2^53.
        return units::bytes(value as u64);
    }
    match metric.ends_with("_seconds") {
        true => format!("{value:.3} s"),
        false => format!("{value:.0}"),
    }
}
