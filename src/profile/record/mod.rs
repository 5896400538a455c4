//! Runs a command and measures it with everything that it starts.
//!
//! Exact where the kernel keeps accounts: a control group of version 2 of its own where this user
//! may have one, else what was waited for. Looked at from the side where it does not: the time line,
//! what threads wait for, the peak of memory. Every substitute is named in the recording. Knows
//! nothing of thresholds, histories or verdicts.

mod pace;
mod sampler;
mod span;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

pub use span::{Span, Votes, folded_to};

use super::bottleneck::{self, Analysis, Totals};
use crate::base::clock::{self, Timestamp};
use crate::process::{
    self, Confine, Consumed, Ended, Governed, Identity, Members, QueryError, Started, Surroundings,
    Tree, Waited,
};
use crate::system::{self, Group, GroupUse, Sample, Tables};
use pace::Pace;
use sampler::{Sampler, Seen};

/// What to run, and how.
pub struct Request<'a> {
    /// Program and arguments; not empty.
    pub argv: &'a [OsString],
    /// Where, and with which variables.
    pub surroundings: Surroundings<'a>,
    /// Variables that it does not get to see.
    pub hidden: &'a [OsString],
    /// When it is stopped; `None`: never.
    pub timeout: Option<Duration>,
    /// How much memory it may take before it is stopped, bytes; `None`: as much as there is.
    pub memory_bytes_max: Option<u64>,
    /// Where it may write; `None`: wherever its user may.
    pub confine: Option<Confine<'a>>,
    /// Set by anyone to stop it.
    pub interrupted: &'a AtomicBool,
    /// Where its stdout goes; `None`: where ours does.
    pub stdout: Option<&'a OwnedFd>,
    /// Looks per second.
    pub sample_hz: u64,
    /// Words that start this program so that it enters the enclosure which flags behind them tell, and
    /// becomes what follows `--`; empty: no control group is used, and nothing is confined.
    pub enter: &'a [OsString],
    /// Where programs are looked for, `PATH`.
    pub path: Option<&'a OsString>,
}

/// One run.
#[derive(Debug)]
pub struct Recording {
    /// By the wall clock.
    pub started_at: Timestamp,
    /// By the wall clock.
    pub finished_at: Timestamp,
    /// How the command ended.
    pub ended: Ended,
    /// What it used.
    pub figures: Figures,
    /// Where its time went.
    pub analysis: Analysis,
    /// Whether the kernel kept the peak of its memory, rather than us seeing it now and then.
    pub has_kept_peak: bool,
    /// Its time line.
    pub spans: Vec<Span>,
    /// Processes that it left running, and that were stopped.
    pub left_running: u64,
    /// What could not be measured as it should, in words; may be empty.
    pub degraded: Vec<String>,
    /// The machine just before.
    pub machine: Sample,
    /// What measuring cost.
    pub cost: Cost,
}

/// What a run used, with all its descendants; `null` where this system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Figures {
    /// From start to end, by a clock that is never set.
    pub wall_seconds: f64,
    /// CPU in user mode.
    pub cpu_user_seconds: f64,
    /// CPU in the kernel.
    pub cpu_system_seconds: f64,
    /// Waiting for a processor, all threads together, as far as they were seen.
    pub run_queue_seconds: f64,
    /// In which something waited for a processor (PSI).
    pub cpu_stall_seconds: Option<f64>,
    /// In which something waited for storage (PSI).
    pub io_stall_seconds: Option<f64>,
    /// In which something waited for memory (PSI).
    pub memory_stall_seconds: Option<f64>,
    /// The most memory at one time, bytes; null for what ended before anybody could look.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
    /// Operations on block devices.
    pub io_operations: Option<u64>,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults that read from storage.
    pub major_faults: u64,
    /// Times that a thread gave up its processor to wait.
    pub voluntary_switches: u64,
    /// Times that a thread's processor was given to another.
    pub involuntary_switches: u64,
    /// The most processes at one time.
    pub processes_max: u32,
    /// Time that the hypervisor took from all processors meanwhile.
    pub steal_seconds: Option<f64>,
}

/// What measuring cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Cost {
    /// How often was looked.
    pub looks: u32,
    /// CPU that looking took, seconds.
    pub cpu_seconds: f64,
}

/// Runs a command to its end and measures it. Nothing of it runs when this returns.
///
/// `started` learns who the command is before anything is waited for.
///
/// # Errors
/// A command that cannot start.
pub fn record(
    request: &Request<'_>,
    started: &mut dyn FnMut(Identity),
) -> Result<Recording, QueryError> {
    let mut degraded = Vec::new();
    if let Some(group) = group(request, &mut degraded)? {
        let recording = record_once(request, (Some(group), degraded.clone()), started)?;
        if let Some(recording) = recording {
            return Ok(recording);
        }
        degraded.push("its control group could not be entered".to_owned());
    }
    degraded.push(WITHOUT_GROUP.to_owned());
    let recording = record_once(request, (None, degraded), started)?;
    // Only a group can be missed.
    recording.ok_or(QueryError::Empty)
}

const WITHOUT_GROUP: &str = "no control group of its own: stalls are estimated from what threads \
     wait for, the peak of memory from looking at processes, and operations of block devices are \
     not known";

/// A group for the command, where there can be one.
fn group(request: &Request<'_>, degraded: &mut Vec<String>) -> Result<Option<Group>, QueryError> {
    let Some(program) = request.argv.first().filter(|_| !request.enter.is_empty()) else {
        return Ok(None);
    };
    // Whoever enters a group for it could only tell by its exit code that it is not there.
    let start = |source| QueryError::Start {
        program: program.to_string_lossy().into_owned(),
        source,
    };
    let directory = request
        .surroundings
        .directory
        .filter(|_| is_relative(program));
    let named = directory.map_or_else(|| program.clone(), |at| at.join(program).into());
    process::find_program(&named, request.path).map_err(start)?;
    // Stages and their repetitions each have a group of their own.
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    match Group::create(&Tables::default(), number) {
        Ok(group) => Ok(Some(group)),
        Err(error) => {
            degraded.push(format!("{:#}", anyhow::Error::from(error)));
            Ok(None)
        }
    }
}

/// Whether a name is a path below the working directory, not a name to look for.
fn is_relative(program: &OsString) -> bool {
    let path = Path::new(program);
    path.is_relative() && path.components().count() > 1
}

/// `None` where the group could not be entered, so that nothing of the command has run.
fn record_once(
    request: &Request<'_>,
    (group, degraded): (Option<Group>, Vec<String>),
    started: &mut dyn FnMut(Identity),
) -> Result<Option<Recording>, QueryError> {
    let entering = entering(request, group.as_ref());
    let limited = |group: &Group, bytes| group.limit_memory(bytes).is_ok();
    let is_limited = group
        .as_ref()
        .zip(request.memory_bytes_max)
        .is_some_and(|(group, bytes)| limited(group, bytes));
    let exceeded = AtomicBool::new(false);
    let governed = Governed {
        argv: entering.as_deref().unwrap_or(request.argv),
        hidden: request.hidden,
        timeout: request.timeout,
        interrupted: request.interrupted,
        exceeded: Some(&exceeded),
        stdout: request.stdout,
    };
    // What the kernel keeps below the limit needs nobody to look.
    let memory_bytes_max = request.memory_bytes_max.filter(|_| !is_limited);
    let before = Before::now();
    let running = process::start(&governed, request.surroundings)?;
    started(running.identity());
    let watched = watch(
        request,
        (&governed, &running),
        (group.as_ref(), &before, memory_bytes_max),
    );
    let was_too_large = is_limited && group.as_ref().is_some_and(Group::ran_out_of_memory);
    let usage = group.as_ref().map(Group::usage);
    let storage = process::storage_of(running.identity().0);
    let left_running = left_running(&running, group.as_ref());
    let (ended, consumed) = running.reap();
    if let Some(group) = &group {
        group.kill();
    }
    process::stop_descendants();
    // Nothing becomes the command before it is in its group, where its first instructions count.
    let spent = |usage: GroupUse| Some(usage.cpu_user_seconds? + usage.cpu_system_seconds?);
    if !ended.is_success() && usage.and_then(spent) == Some(0.0) {
        return Ok(None);
    }
    let after = After {
        ended: match watched.stopped {
            None if was_too_large && !ended.is_success() => Ended::TooLarge,
            stopped => stopped.unwrap_or(ended),
        },
        watched,
        usage,
        storage,
        consumed,
        left_running,
    };
    Ok(Some(after.recording(before, degraded)))
}

/// The words that put a command into its enclosure; `None` where it has none.
fn entering(request: &Request<'_>, group: Option<&Group>) -> Option<Vec<OsString>> {
    let is_wanted = !request.enter.is_empty() && (group.is_some() || request.confine.is_some());
    is_wanted.then(|| {
        let mut argv = request.enter.to_vec();
        let mut flag = |name: &str, place: &Path| argv.extend([name.into(), place.into()]);
        if let Some(group) = group {
            flag("--group", group.folder());
        }
        if let Some(confine) = &request.confine {
            flag("--within", confine.within);
            confine
                .writable
                .iter()
                .for_each(|place| flag("--writable", place));
        }
        argv.push("--".into());
        argv.extend_from_slice(request.argv);
        argv
    })
}

/// A run until its end.
struct Watched {
    stopped: Option<Ended>,
    wall_seconds: f64,
    seen: Seen,
}

/// Waits for the end, with somebody looking.
fn watch(
    request: &Request<'_>,
    (governed, running): (&Governed<'_>, &Started),
    (group, before, memory_bytes_max): (Option<&Group>, &Before, Option<u64>),
) -> Watched {
    let began = before.began;
    let members = match group {
        Some(group) => Members::Group(group.folder().to_owned()),
        None => Members::Below(std::process::id()),
    };
    let sampler = Sampler {
        tree: Tree::new(members),
        group,
        tables: &Tables::default(),
        began,
        waited: before.waited,
        pace: Pace::new(request.sample_hz),
        limit: memory_bytes_max.zip(governed.exceeded),
    };
    let (stop, stopping) = mpsc::channel();
    std::thread::scope(|scope| {
        let looking = scope.spawn(move || sampler.run(&stopping));
        let command = running.identity();
        let stopped = running.watch(governed, &mut || process::reap_orphans(command));
        let wall_seconds = began.elapsed().as_secs_f64();
        drop(stop);
        Watched {
            stopped,
            wall_seconds,
            // A sampler that failed has seen nothing; the kernel's accounts are there all the same.
            seen: looking.join().unwrap_or_default(),
        }
    })
}

/// How many processes of a command that has ended still run.
fn left_running(running: &Started, group: Option<&Group>) -> u64 {
    let own = running.identity().0;
    let members = match group {
        Some(group) => group.members(),
        None => process::descendants_of(std::process::id()),
    };
    let is_left = |process: &&u32| **process != own && process::is_alive(**process);
    members.iter().filter(is_left).count() as u64
}

/// What was known before a run.
struct Before {
    machine: Sample,
    started_at: Timestamp,
    began: Instant,
    waited: Waited,
    own_peak_bytes: u64,
    stalls: Stalls,
}

impl Before {
    fn now() -> Self {
        let machine = system::sample();
        Self {
            waited: process::waited_for(),
            own_peak_bytes: system::own_usage()
                .peak_memory_bytes
                .unwrap_or(u64::MAX / 2),
            stalls: Stalls::of_machine(&machine),
            machine,
            started_at: clock::now(),
            began: Instant::now(),
        }
    }
}

/// What is known after it.
struct After {
    ended: Ended,
    left_running: u64,
    watched: Watched,
    usage: Option<GroupUse>,
    storage: Option<(u64, u64)>,
    consumed: Consumed,
}

/// Seconds in which something waited.
#[derive(Clone, Copy, Default)]
struct Stalls {
    cpu: Option<f64>,
    io: Option<f64>,
    memory: Option<f64>,
}

impl Stalls {
    fn of_machine(sample: &Sample) -> Self {
        Self {
            cpu: sample.pressure_cpu.map(|it| it.some_total_seconds),
            io: sample.pressure_io.map(|it| it.some_total_seconds),
            memory: sample.pressure_memory.map(|it| it.some_total_seconds),
        }
    }

    fn of_group(usage: &GroupUse) -> Self {
        Self {
            cpu: usage.pressure_cpu.map(|it| it.some_total_seconds),
            io: usage.pressure_io.map(|it| it.some_total_seconds),
            memory: usage.pressure_memory.map(|it| it.some_total_seconds),
        }
    }

    fn since(self, before: Self) -> Self {
        let grown = |now: Option<f64>, before: Option<f64>| Some((now? - before?).max(0.0));
        Self {
            cpu: grown(self.cpu, before.cpu),
            io: grown(self.io, before.io),
            memory: grown(self.memory, before.memory),
        }
    }
}

impl After {
    /// All of it together.
    fn recording(self, before: Before, mut degraded: Vec<String>) -> Recording {
        let figures = self.figures(&before, &system::sample());
        let kept = self.usage.and_then(|usage| usage.memory_peak_bytes);
        self.degrade(&mut degraded);
        let totals = Totals {
            wall_seconds: figures.wall_seconds,
            cpu_seconds: figures.cpu_user_seconds + figures.cpu_system_seconds,
            cpu_system_seconds: figures.cpu_system_seconds,
            major_faults: figures.major_faults,
            stalls_are_own: self.has_own_stalls(),
        };
        let seen = self.watched.seen;
        Recording {
            started_at: before.started_at,
            finished_at: clock::now(),
            ended: self.ended,
            figures,
            analysis: bottleneck::analyze(&totals, &seen.spans),
            left_running: self.left_running,
            has_kept_peak: kept.is_some(),
            degraded,
            machine: before.machine,
            cost: Cost {
                looks: seen.looks,
                cpu_seconds: seen.cost_seconds,
            },
            spans: seen.spans,
        }
    }

    fn has_own_stalls(&self) -> bool {
        let usage = self.usage.unwrap_or_default();
        usage.pressure_io.is_some() && usage.pressure_memory.is_some()
    }

    fn figures(&self, before: &Before, last: &Sample) -> Figures {
        let seen = &self.watched.seen;
        let usage = self.usage.unwrap_or_default();
        let waited = process::waited_for().since(before.waited);
        let (user, system) = match (usage.cpu_user_seconds, usage.cpu_system_seconds) {
            (Some(user), Some(system)) => (user, system),
            _ => (
                waited.cpu_user.as_secs_f64(),
                waited.cpu_system.as_secs_f64(),
            ),
        };
        let stalls = match self.has_own_stalls() {
            true => Stalls::of_group(&usage),
            false => Stalls::of_machine(last).since(before.stalls),
        };
        let storage = usage.io.map(|io| (io.read_bytes, io.written_bytes));
        let seen_storage = |(read, written): (u64, u64)| {
            (
                read.max(seen.last.read_bytes),
                written.max(seen.last.written_bytes),
            )
        };
        let storage = storage.or(self.storage.map(seen_storage));
        let steal = before.machine.cpu.zip(last.cpu);
        Figures {
            wall_seconds: self.watched.wall_seconds,
            cpu_user_seconds: user,
            cpu_system_seconds: system,
            run_queue_seconds: seen.last.queue_seconds,
            cpu_stall_seconds: stalls.cpu,
            io_stall_seconds: stalls.io,
            memory_stall_seconds: stalls.memory,
            peak_memory_bytes: usage
                .memory_peak_bytes
                .or_else(|| self.peak_bytes(before.own_peak_bytes)),
            read_bytes: storage.map(|(read, _)| read),
            written_bytes: storage.map(|(_, written)| written),
            io_operations: usage.io.map(|io| io.operations),
            minor_faults: waited.minor_faults,
            major_faults: waited.major_faults,
            voluntary_switches: waited.voluntary_switches,
            involuntary_switches: waited.involuntary_switches,
            processes_max: seen.processes_max,
            steal_seconds: steal.map(|(a, b)| (b.steal_seconds - a.steal_seconds).max(0.0)),
        }
    }

    /// The kernel hands the peak of whoever starts a command on to it, ours and that of whoever
    /// enters the group, so that only one far above those is the command's own.
    fn peak_bytes(&self, own_peak_bytes: u64) -> Option<u64> {
        let largest = self.consumed.resident_bytes_max;
        let largest = Some(largest).filter(|largest| *largest / 2 > own_peak_bytes);
        let seen = Some(self.watched.seen.memory_peak_bytes).filter(|seen| *seen > 0);
        largest.max(seen)
    }

    /// Names what a group is for and does not have.
    fn degrade(&self, degraded: &mut Vec<String>) {
        let Some(usage) = &self.usage else { return };
        if usage.memory_peak_bytes.is_none() {
            degraded.push(
                "its control group does not account for memory: the peak is from looking at \
                 processes"
                    .to_owned(),
            );
        }
        if usage.io.is_none() {
            degraded.push(
                "its control group does not account for I/O: operations of block devices are not \
                 known"
                    .to_owned(),
            );
        }
        if !self.has_own_stalls() {
            degraded.push(
                "its control group does not account for pressure: stalls are the machine's"
                    .to_owned(),
            );
        }
    }
}
