//! Past runs: what one record says, and which values are believed.
//!
//! One record is one stage of one run, once; an acceptance says that a run which was found slow is
//! the new normal. [`store`] keeps them on the disk. Nothing here knows what a verdict is made of
//! or how anything is measured.

mod compact;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

pub use compact::{CompactRequest, compact};
pub use store::{
    HistoryError, LINE_BYTES_MAX, Line, Note, Past, append, file_name, files, read, read_file,
    rewrite,
};

/// The version that every record of today bears.
pub const RECORD_VERSION: &str = "1.0";

/// More seconds than anybody waits (some 31 years): no measurement.
const SECONDS_MAX: f64 = 1e9;
/// The largest whole number that every reader of JSON keeps exact.
const WHOLE_MAX: u64 = (1 << 53) - 1;
/// Bytes of a name: key, stage, kind, class …
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 4096;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every entry is a record, and a box would cost each of them an allocation"
)]
pub enum Entry {
    /// What was measured.
    Record(Record),
    /// That a run is accepted.
    Acceptance(Acceptance),
}

impl Entry {
    /// What is wrong with its values, or nothing.
    ///
    /// # Errors
    /// The first field that cannot be believed: *field, expected, found*.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Record(record) => record.check(),
            Self::Acceptance(acceptance) => acceptance.check(),
        }
    }
}

/// One stage of one run, once. Repetitions of a run share its `run_id` and stand in the order in
/// which they were made; what was not measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `1.0`.
    pub record_version: String,
    /// Which run.
    pub run_id: String,
    /// What is followed: the project, the pipeline or what `--key` says.
    pub key: String,
    /// What kind of work: budgets of a new key borrow from others of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The stage.
    pub stage: String,
    /// How large the work was, roughly: runs are compared within a class only.
    #[serde(default)]
    pub size_class: String,
    /// What kind of host: runs are compared within a class only.
    #[serde(default)]
    pub host_class: String,
    /// What the gate said of the whole run; absent where nothing was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_verdict: Option<GateVerdict>,
    /// By the wall clock, which may have been set meanwhile: the order of lines is the order of
    /// runs, never this.
    pub started_at: Timestamp,
    /// By the wall clock.
    pub finished_at: Timestamp,
    /// How the stage ended.
    pub outcome: Outcome,
    /// Where it ran.
    #[serde(default)]
    pub host: Host,
    /// What it worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// What else the machine was doing when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// What was measured.
    #[serde(default)]
    pub metrics: Metrics,
    /// The budget that was given beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What the gate said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Slower (or larger) than before.
    Regression,
    /// Faster (or smaller) than before.
    Improvement,
    /// No change that counts.
    Ok,
    /// A change is suspected, and the runs at hand do not settle it.
    Inconclusive,
    /// Too few runs to compare with.
    NotEnoughHistory,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a code that counts as good.
    Passed,
    /// With another code, or by a signal.
    Failed,
    /// Stopped at its budget: it would have taken longer than was measured.
    TimedOut,
}

/// Where a stage ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Tells one machine from another; not a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Processors that could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory that could be used, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What a stage worked on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Files.
    pub files: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Bytes of the largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_bytes: Option<u64>,
    /// Bytes by type: the extension in lower case without its dot, empty for none. May be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, u64>,
}

/// What the machine was doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Pressure: the share of the last ten seconds in which something waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
    /// Load average over one minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Memory that could still be had, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_memory_bytes: Option<u64>,
    /// How long a small fixed piece of work took beside the stage: how fast the machine was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_seconds: Option<f64>,
}

/// Pressure stall shares, each from 0 to 1 (`some avg10` of the kernel, divided by 100).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Waiting for a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Waiting for disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<f64>,
    /// Waiting for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

/// What was measured of a stage and all its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// From start to end, by a clock that is never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<f64>,
    /// CPU in user mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_user_seconds: Option<f64>,
    /// CPU in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_system_seconds: Option<f64>,
    /// Ready to run and waiting for a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_queue_seconds: Option<f64>,
    /// Waiting for disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stall_seconds: Option<f64>,
    /// Waiting for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_stall_seconds: Option<f64>,
    /// The most memory at one time, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Operations of block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_operations: Option<u64>,
}

/// The size class of a workload: `4^N`, where 4^N is the largest power of four that its bytes reach
/// (`4^0` for an empty one), so that a class spans a factor of four; `any` where the size is not
/// known.
pub fn size_class(workload: Option<&Workload>) -> String {
    match workload {
        Some(workload) => format!("4^{}", workload.bytes.max(1).ilog2() / 2),
        None => "any".to_owned(),
    }
}

/// The class of a host: `linux-x86_64-8c-32g`, its memory in GiB rounded to the nearest power of
/// two, since what is left of the same memory differs from kernel to kernel; `?` for what is not
/// known.
pub fn host_class(os: &str, architecture: &str, host: &Host) -> String {
    let cpus = host.cpus.map_or("?".to_owned(), |cpus| cpus.to_string());
    let memory = host.memory_bytes.map_or("?".to_owned(), |bytes| {
        let gib = (bytes as f64 / f64::from(1u32 << 30)).max(1.0);
        gib.log2().round().exp2().to_string()
    });
    format!("{os}-{architecture}-{cpus}c-{memory}g")
}

impl Metrics {
    /// CPU in user mode and in the kernel together; `None` where one of them is not known.
    pub fn cpu_seconds(&self) -> Option<f64> {
        Some(self.cpu_user_seconds? + self.cpu_system_seconds?)
    }
}

/// A budget that was given before a stage began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Seconds.
    pub predicted_seconds: f64,
    /// The share of jobs that were to fit, above 0 and below 1.
    pub coverage: f64,
    /// Which expert spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<String>,
}

/// That somebody accepts a run as the new normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The run's `run_id`.
    pub accepts: String,
    /// Why, in somebody's words; not empty.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

impl Acceptance {
    fn check(&self) -> Result<(), String> {
        name("accepts", &self.accepts)?;
        name("actor", &self.actor)?;
        match self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            true => Err(format!(
                "`reason`: expected 1 to {REASON_BYTES_MAX} bytes of text"
            )),
            false => Ok(()),
        }
    }
}

impl Record {
    fn check(&self) -> Result<(), String> {
        // A later version adds fields; one that changes their meaning changes the first digit.
        if !self.record_version.starts_with("1.") {
            return Err(format!(
                "`record_version`: expected 1.x, found `{}`",
                self.record_version.chars().take(16).collect::<String>()
            ));
        }
        name("run_id", &self.run_id)?;
        name("key", &self.key)?;
        name("stage", &self.stage)?;
        let fingerprint = self.host.fingerprint.as_ref();
        let expert = self
            .budget
            .as_ref()
            .and_then(|budget| budget.expert.as_ref());
        for (field, text) in [
            ("kind", self.kind.as_ref()),
            ("size_class", Some(&self.size_class)),
            ("host_class", Some(&self.host_class)),
            ("host.fingerprint", fingerprint),
            ("budget.expert", expert),
        ] {
            if text.is_some_and(|text| text.len() > NAME_BYTES_MAX) {
                return Err(format!("`{field}`: longer than {NAME_BYTES_MAX} bytes"));
            }
        }
        self.check_fractions()?;
        self.check_whole_numbers()
    }

    fn check_fractions(&self) -> Result<(), String> {
        let metrics = &self.metrics;
        let system = self.system.clone().unwrap_or_default();
        let psi = system.psi.unwrap_or_default();
        let budget = self.budget.as_ref();
        for (field, value, max) in [
            ("metrics.wall_seconds", metrics.wall_seconds, SECONDS_MAX),
            (
                "metrics.cpu_user_seconds",
                metrics.cpu_user_seconds,
                SECONDS_MAX,
            ),
            (
                "metrics.cpu_system_seconds",
                metrics.cpu_system_seconds,
                SECONDS_MAX,
            ),
            (
                "metrics.run_queue_seconds",
                metrics.run_queue_seconds,
                SECONDS_MAX,
            ),
            (
                "metrics.io_stall_seconds",
                metrics.io_stall_seconds,
                SECONDS_MAX,
            ),
            (
                "metrics.memory_stall_seconds",
                metrics.memory_stall_seconds,
                SECONDS_MAX,
            ),
            ("system.load", system.load, 1e6),
            ("system.probe_seconds", system.probe_seconds, SECONDS_MAX),
            ("system.psi.cpu", psi.cpu, 1.0),
            ("system.psi.io", psi.io, 1.0),
            ("system.psi.memory", psi.memory, 1.0),
            (
                "budget.predicted_seconds",
                budget.map(|b| b.predicted_seconds),
                SECONDS_MAX,
            ),
            ("budget.coverage", budget.map(|b| b.coverage), 1.0),
        ] {
            // Written so that what is no number is refused too.
            if value.is_some_and(|value| !(0.0..=max).contains(&value)) {
                let found = value.unwrap_or_default();
                return Err(format!("`{field}`: expected 0 to {max}, found {found}"));
            }
        }
        Ok(())
    }

    fn check_whole_numbers(&self) -> Result<(), String> {
        let metrics = &self.metrics;
        let system = self.system.clone().unwrap_or_default();
        let workload = self.workload.clone().unwrap_or_default();
        for (field, value) in [
            ("metrics.peak_memory_bytes", metrics.peak_memory_bytes),
            ("metrics.read_bytes", metrics.read_bytes),
            ("metrics.written_bytes", metrics.written_bytes),
            ("metrics.io_operations", metrics.io_operations),
            ("host.memory_bytes", self.host.memory_bytes),
            (
                "system.available_memory_bytes",
                system.available_memory_bytes,
            ),
            ("workload.files", Some(workload.files)),
            ("workload.bytes", Some(workload.bytes)),
            ("workload.largest_bytes", workload.largest_bytes),
            ("workload.types", workload.types.values().max().copied()),
        ] {
            if let Some(found) = value.filter(|value| *value > WHOLE_MAX) {
                return Err(format!(
                    "`{field}`: expected at most {WHOLE_MAX}, found {found}"
                ));
            }
        }
        Ok(())
    }
}

/// A name is there and is not a book.
fn name(field: &str, text: &str) -> Result<(), String> {
    match text.is_empty() || text.len() > NAME_BYTES_MAX {
        true => Err(format!(
            "`{field}`: expected 1 to {NAME_BYTES_MAX} bytes of text"
        )),
        false => Ok(()),
    }
}
