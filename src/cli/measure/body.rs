//! What a profile report holds.

use schemars::JsonSchema;
use serde::Serialize;

use crate::history::GateVerdict;
use crate::profile::bottleneck::{Analysis, Resource};
use crate::profile::record::{Cost, Figures, Span};
use crate::system::Sample;

/// The sections of a profile report.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ProfileBody {
    /// All together.
    pub summary: Summary,
    /// Every stage, in the order in which they ran; empty where there is no workload.
    pub stages: Vec<StageSection>,
    /// What the past makes of it; null where nothing was measured.
    pub judgement: Option<JudgementSection>,
    /// How it was measured.
    pub measuring: Measuring,
    /// Where it ran.
    pub machine: Machine,
}

/// All together.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// What was measured: `stages`, `own` (this program's own work), or `none`.
    pub workload: String,
    /// Stages that ran.
    pub stages: u64,
    /// Runs of all stages together.
    pub runs: u64,
    /// Wall time of one run of every stage, each the median of its runs.
    pub wall_seconds: f64,
    /// CPU time of the same runs.
    pub cpu_seconds: f64,
    /// The most memory that any run took, bytes; null where it is not known of any.
    pub peak_memory_bytes: Option<u64>,
    /// The stage that took longest, and what held it up; null where none ran.
    pub slowest: Option<Slowest>,
}

/// The stage that took longest.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Slowest {
    /// Its name.
    pub stage: String,
    /// Its wall time, the median of its runs.
    pub wall_seconds: f64,
    /// What held it up.
    pub bottleneck: Resource,
    /// How much of its wall time that took, 0 to 1.
    pub share: f64,
}

/// One stage.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StageSection {
    /// Its name.
    pub stage: String,
    /// What was run.
    pub command: String,
    /// The run of median wall time, from 0.
    pub median_run: usize,
    /// Every run, in order; empty where an earlier stage failed.
    pub runs: Vec<RunSection>,
}

/// One run of a stage.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunSection {
    /// When it began, RFC 3339, milliseconds, UTC.
    pub started_at: String,
    /// When it began, seconds since the first run of all did.
    pub offset_seconds: f64,
    /// `passed`, `failed`, or `timed_out`.
    #[schemars(extend("enum" = ["passed", "failed", "timed_out"]))]
    pub outcome: &'static str,
    /// The code it ended with; null where a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it used, with everything it started.
    pub figures: Figures,
    /// Where its time went, and what held it up.
    pub time: Analysis,
    /// Processes that it left running, and that were stopped.
    pub left_running: u64,
    /// What was seen on the way.
    pub time_line: TimeLine,
    /// What looking cost.
    pub cost: Cost,
}

/// What was seen on the way: columns of equal length, one place a span; the spans follow each other
/// without gaps.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct TimeLine {
    /// When each span ended, seconds after the run began.
    pub end_seconds: Vec<f64>,
    /// Processors that were busy.
    pub cpus: Vec<f64>,
    /// Threads that waited for a processor, on average.
    pub waiting_for_cpu: Vec<f64>,
    /// Memory, bytes.
    pub memory_bytes: Vec<u64>,
    /// Bytes read from storage per second.
    pub read_bytes_per_second: Vec<u64>,
    /// Bytes written to storage per second.
    pub written_bytes_per_second: Vec<u64>,
    /// Processes.
    pub processes: Vec<u32>,
}

impl TimeLine {
    /// Columns of rows. Numbers keep as many digits as anybody can see.
    pub(super) fn of(spans: &[Span]) -> Self {
        let mut line = Self::default();
        let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
        for span in spans.iter().filter(|span| span.seconds > 0.0) {
            let rate = |amount: u64| (amount as f64 / span.seconds).round() as u64;
            let end = span.start_seconds + span.seconds;
            line.end_seconds.push(rounded(end, 1e4));
            line.cpus
                .push(rounded(span.cpu_seconds / span.seconds, 1e3));
            line.waiting_for_cpu
                .push(rounded(span.queue_seconds / span.seconds, 1e3));
            line.memory_bytes.push(span.memory_bytes);
            line.read_bytes_per_second.push(rate(span.read_bytes));
            line.written_bytes_per_second.push(rate(span.written_bytes));
            line.processes.push(span.processes);
        }
        line
    }
}

/// What the past makes of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JudgementSection {
    /// Under which name the history is kept.
    pub key: String,
    /// All together; null where nothing is gated.
    pub verdict: Option<GateVerdict>,
    /// Every stage and metric of the gate, sorted by stage.
    pub series: Vec<SeriesSection>,
}

/// One stage and metric.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SeriesSection {
    /// The stage; `*` for what all have in common.
    pub stage: String,
    /// The metric.
    pub metric: String,
    /// What is said of it.
    pub verdict: GateVerdict,
    /// Why, in words.
    pub why: String,
    /// The change as a share of the level: 0.05 is 5 % more.
    pub effect: Option<f64>,
    /// The 95 % interval of that.
    pub interval: Option<[f64; 2]>,
    /// How likely this much is where nothing changed.
    pub p: Option<f64>,
    /// The smallest change that would be found four times in five, as a share.
    pub minimum_detectable: Option<f64>,
    /// The noise of one run, as a share.
    pub noise: Option<f64>,
    /// Runs that were judged.
    pub runs: usize,
    /// Past runs that were looked at.
    pub history_runs: usize,
    /// What each past run took, the oldest first.
    pub history: Vec<f64>,
    /// What each run of now took.
    pub current: Vec<f64>,
    /// The levels of the past, without gaps.
    pub levels: Vec<Level>,
    /// Within these two a change may stay unseen.
    pub band: Option<[f64; 2]>,
}

/// A stretch of past runs about one level.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Level {
    /// Its first run, from 0.
    pub from: usize,
    /// One behind its last run.
    pub to: usize,
    /// The level.
    pub level: f64,
}

/// How it was measured.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Measuring {
    /// Looks per second after the first second.
    pub sample_hz: u64,
    /// What could not be measured as it should, in words; sorted, may be empty.
    pub degraded: Vec<String>,
}

/// Where it ran; `null` where this system does not say.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Machine {
    /// Tells machines apart; not a name.
    pub fingerprint: Option<String>,
    /// The system and its architecture, as `linux-x86_64`.
    pub platform: String,
    /// Processors that could be used, a fraction where a control group says so.
    pub cpus: f64,
    /// Memory that could be used, bytes.
    pub memory_bytes: Option<u64>,
    /// Tasks that ran or wanted to, over the minute before the first run.
    pub load: Option<f64>,
    /// Share of the ten seconds before in which something waited, 0 to 1 each.
    pub pressure: Pressure,
    /// What this system does not say of itself.
    pub missing: Vec<&'static str>,
}

/// Pressure stall shares.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Pressure {
    /// For a processor.
    pub cpu: Option<f64>,
    /// For storage.
    pub io: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
}

impl Machine {
    /// What the report says of the machine.
    pub(super) fn of(sample: &Sample, fingerprint: Option<String>) -> Self {
        let share = |pressure: Option<crate::system::Pressure>| {
            pressure.map(|pressure| pressure.some_percent / 100.0)
        };
        let total = sample.memory.map(|memory| memory.total_bytes);
        let limit = sample.limits.memory_bytes;
        Self {
            fingerprint,
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cpus: cpus_of(sample),
            memory_bytes: total.into_iter().chain(limit).min(),
            load: sample.load.map(|load| load[0]),
            pressure: Pressure {
                cpu: share(sample.pressure_cpu),
                io: share(sample.pressure_io),
                memory: share(sample.pressure_memory),
            },
            missing: sample.missing.clone(),
        }
    }
}

/// Processors that could be used.
pub(super) fn cpus_of(sample: &Sample) -> f64 {
    let cpus = f64::from(sample.cpus.max(1));
    sample
        .limits
        .cpus
        .map_or(cpus, |limit| limit.clamp(0.01, cpus))
}
