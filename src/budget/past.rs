//! Past runs as budgets see them: which kind, how large, what they took.

use std::collections::BTreeMap;
use std::path::Path;

use super::forecast::{Amount, Features};
use crate::base::clock::Timestamp;
use crate::history::{self, HistoryError, Outcome, Pressure, Record, Workload};
use crate::system::Sample;

/// Bytes of the newest lines that a forecast reads of all files together, and of each at least.
const NEWEST_BYTES: u64 = 3 << 18;
const NEWEST_BYTES_MIN: u64 = 1 << 16;
/// How many types of files are sizes of their own: those with the most bytes.
const TYPES_MAX: usize = 3;

/// How much of the history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// What a forecast needs: the newest lines, however long the history is.
    Newest,
    /// All of it.
    Whole,
}

/// One past run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The record's kind, or its stage.
    pub kind: String,
    /// What was known before it began.
    pub features: Features,
    /// Wall time.
    pub seconds: Option<Amount>,
    /// The most memory at one time.
    pub peak_memory_bytes: Option<f64>,
    /// Bytes read from storage.
    pub read_bytes: Option<f64>,
    /// Bytes written to storage.
    pub written_bytes: Option<f64>,
    /// The seconds that it was given, where it was given any.
    pub budget_seconds: Option<f64>,
}

/// The runs of all kinds, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Those that passed or were stopped at their budget: how soon a job fails says little of how
    /// long it takes.
    pub runs: Vec<Run>,
    /// Lines that could not be believed.
    pub passed_over: u64,
    pub(super) types: Vec<String>,
}

/// Reads the history's directory; one that is not there holds no runs.
///
/// # Errors
/// What the system says.
pub fn past(directory: &Path, window: Window) -> Result<Past, HistoryError> {
    let files = history::files(directory)?;
    let share = NEWEST_BYTES / files.len().max(1) as u64;
    let mut records: Vec<(Timestamp, Record)> = Vec::new();
    let mut passed_over = 0;
    for file in &files {
        let read = match window {
            Window::Newest => history::read_newest(directory, file, share.max(NEWEST_BYTES_MIN))?,
            Window::Whole => history::read_file(directory, file)?,
        };
        passed_over += read.notes.len() as u64;
        let mut latest = None;
        for line in read.lines {
            if let history::Entry::Record(record) = line.entry {
                // Within a file the order of lines counts, whatever the clock said.
                latest = latest.max(Some(record.finished_at));
                records.push((latest.unwrap_or(record.finished_at), record));
            }
        }
    }
    records.sort_by_key(|(time, _)| *time);
    let types = types_of(records.iter().map(|(_, record)| record));
    let runs = records
        .iter()
        .filter_map(|(_, record)| run_of(record, &types));
    Ok(Past {
        runs: runs.collect(),
        passed_over,
        types,
    })
}

impl Past {
    /// The kind of all runs, if it is but one.
    pub fn only_kind(&self) -> Option<&str> {
        let first = self.runs.first()?.kind.as_str();
        self.runs
            .iter()
            .all(|run| run.kind == first)
            .then_some(first)
    }

    /// The numbers of a job that is to be forecast now.
    pub fn job(&self, workload: Option<&Workload>, sample: &Sample) -> Features {
        let share = |pressure: Option<crate::system::Pressure>| {
            pressure.map(|pressure| pressure.some_percent / 100.0)
        };
        let situation = Situation {
            cpus: Some(f64::from(sample.cpus)),
            load: sample.load.map(|load| load[0]),
            psi: Pressure {
                cpu: share(sample.pressure_cpu),
                io: share(sample.pressure_io),
                memory: share(sample.pressure_memory),
            },
        };
        features_of(workload, &self.types, &situation)
    }
}

/// The types with the most bytes in all records together; none where there is but one, which says
/// no more than all bytes do.
fn types_of<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<String> {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, bytes) in records
        .filter_map(|record| record.workload.as_ref())
        .flat_map(|workload| &workload.types)
    {
        let sum = all.entry(name).or_default();
        *sum = sum.saturating_add(*bytes);
    }
    let mut all: Vec<(&str, u64)> = all.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let several = if all.len() > 1 { TYPES_MAX } else { 0 };
    all.into_iter()
        .take(several)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// What the machine was doing when a job began.
struct Situation {
    cpus: Option<f64>,
    load: Option<f64>,
    psi: Pressure,
}

fn run_of(record: &Record, types: &[String]) -> Option<Run> {
    let wall = record.metrics.wall_seconds.filter(|seconds| *seconds > 0.0);
    let seconds = match record.outcome {
        Outcome::Failed => return None,
        Outcome::Passed => wall.map(Amount::Measured),
        Outcome::TimedOut => wall.map(Amount::AtLeast),
    };
    let system = record.system.as_ref();
    let situation = Situation {
        cpus: record.host.cpus.map(f64::from),
        load: system.and_then(|system| system.load),
        psi: system.and_then(|system| system.psi).unwrap_or_default(),
    };
    let whole = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0).map(|bytes| bytes as f64);
    Some(Run {
        kind: record.kind.clone().unwrap_or_else(|| record.stage.clone()),
        features: features_of(record.workload.as_ref(), types, &situation),
        seconds,
        peak_memory_bytes: whole(record.metrics.peak_memory_bytes),
        read_bytes: whole(record.metrics.read_bytes),
        written_bytes: whole(record.metrics.written_bytes),
        budget_seconds: record
            .budget
            .as_ref()
            .map(|budget| budget.predicted_seconds),
    })
}

fn features_of(workload: Option<&Workload>, types: &[String], situation: &Situation) -> Features {
    let mut features = Features::new();
    let mut add = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            features.insert(name.to_owned(), value);
        }
    };
    if let Some(workload) = workload {
        add("files", Some(workload.files as f64));
        add("bytes", Some(workload.bytes as f64));
        add(
            "largest_bytes",
            workload.largest_bytes.map(|bytes| bytes as f64),
        );
        for name in types {
            let bytes = workload.types.get(name).copied().unwrap_or(0);
            add(&format!("type_{name}"), Some(bytes as f64));
        }
    }
    add("cpus", situation.cpus);
    add("load1", situation.load);
    for (name, share) in [
        ("psi_cpu", situation.psi.cpu),
        ("psi_io", situation.psi.io),
        ("psi_memory", situation.psi.memory),
    ] {
        add(name, share.map(|share| share * 100.0));
    }
    features
}
