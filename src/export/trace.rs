//! Chrome's trace event format, which Perfetto and `chrome://tracing` open: spans that nest, and
//! counters over time.
//!
//! One process, one thread: the command's span holds the spans of the runs that it made.

use serde_json::{Map, Value, json};

use super::Document;
use crate::base::units::printable;

/// Every counter: its name, its column in a time line, and the factor to its unit.
const COUNTERS: [(&str, &str, f64); 6] = [
    ("CPU (processors busy)", "cpus", 1.0),
    ("waiting for CPU (threads)", "waiting_for_cpu", 1.0),
    ("memory (MiB)", "memory_bytes", 1.0 / 1_048_576.0),
    ("read (MiB/s)", "read_bytes_per_second", 1.0 / 1_048_576.0),
    (
        "written (MiB/s)",
        "written_bytes_per_second",
        1.0 / 1_048_576.0,
    ),
    ("processes", "processes", 1.0),
];

/// The trace of a report.
pub(super) fn trace(document: &Document<'_>) -> Value {
    let envelope = document.envelope;
    let end = micros(envelope.duration_seconds);
    let name = format!("agp {}", envelope.report);
    let mut events = vec![
        json!({"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "args": {"name": "agp"}}),
        json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": name}}),
        json!({
            "ph": "X", "name": name, "cat": "command", "pid": 1, "tid": 1, "ts": 0.0, "dur": end,
            "args": {
                "verdict": envelope.verdict, "exit_code": envelope.exit_code, "run_id": envelope.run_id,
                "headline": printable(document.headline),
            },
        }),
    ];
    let mut runs: Vec<Run<'_>> = runs(document.sections_of("profile")).collect();
    runs.sort_by(|a, b| a.start.total_cmp(&b.start));
    // Runs follow each other; that their clock starts a moment after the command's is not known here,
    // so the last of them may not end after it.
    let last = runs.last().map_or(0.0, |run| run.start + run.length);
    let shift = (end - last).clamp(0.0, end);
    for run in &runs {
        let start = run.start + shift;
        events.push(json!({
            "ph": "X", "name": printable(run.stage), "cat": "stage", "pid": 1, "tid": 1, "ts": start,
            "dur": run.length.min((end - start).max(0.0)),
            "args": {"run": run.number, "outcome": run.section["outcome"], "figures": run.section["figures"],
                     "time": run.section["time"]},
        }));
        counters(run, (start, end), &mut events);
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {"tool": "agp", "version": envelope.tool.version, "started_at": envelope.started_at},
        "traceEvents": events,
    })
}

/// One run of a stage, times in microseconds.
struct Run<'a> {
    stage: &'a str,
    number: usize,
    start: f64,
    length: f64,
    section: &'a Value,
}

fn runs(body: &Map<String, Value>) -> impl Iterator<Item = Run<'_>> {
    let stages = body.get("stages").and_then(Value::as_array);
    stages.into_iter().flatten().flat_map(|stage| {
        let name = stage["stage"].as_str().unwrap_or_default();
        let runs = stage["runs"].as_array().into_iter().flatten().enumerate();
        runs.filter_map(move |(at, section)| {
            Some(Run {
                stage: name,
                number: at + 1,
                start: micros(section["offset_seconds"].as_f64()?),
                length: micros(section["figures"]["wall_seconds"].as_f64()?),
                section,
            })
        })
    })
}

/// A value holds from its event to the next one of its name; after a run nothing is used.
fn counters(run: &Run<'_>, (start, end): (f64, f64), events: &mut Vec<Value>) {
    let line = &run.section["time_line"];
    let ends: Vec<f64> = numbers(&line["end_seconds"]).map(micros).collect();
    for (name, column, factor) in COUNTERS {
        let mut event = |at: f64, value: f64| {
            events.push(json!({
                "ph": "C", "name": name, "pid": 1, "tid": 1, "ts": at.min(end), "args": {"value": value},
            }));
        };
        let begins = std::iter::once(0.0).chain(ends.iter().copied());
        for (begin, value) in begins.zip(numbers(&line[column])) {
            event(start + begin, value * factor);
        }
        if let Some(last) = ends.last() {
            event(start + last, 0.0);
        }
    }
}

fn numbers(column: &Value) -> impl Iterator<Item = f64> {
    column
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
}

fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round()
}
