//! The thread that looks: one span of the time line after another, until it is told to stop.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::pace::{Pace, SPANS_MAX};
use super::span::{Span, Votes, folded};
use crate::process::{self, Moment, Tree, Waited};
use crate::system::{Group, GroupUse, Tables, pressure};

/// Looks at a run.
pub(super) struct Sampler<'a> {
    /// Who belongs to it.
    pub(super) tree: Tree,
    /// Its control group, where it has one.
    pub(super) group: Option<&'a Group>,
    /// Where the machine's own pressure stands.
    pub(super) tables: &'a Tables,
    /// When it began.
    pub(super) began: Instant,
    /// What we had waited for before.
    pub(super) waited: Waited,
    /// How often to look.
    pub(super) pace: Pace,
    /// How much memory it may take, and what to set where it takes more.
    pub(super) limit: Option<(u64, &'a AtomicBool)>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The time line, in order, without gaps.
    pub(super) spans: Vec<Span>,
    /// Sums at the last look.
    pub(super) last: Moment,
    /// The most memory.
    pub(super) memory_peak_bytes: u64,
    /// The most processes at one time.
    pub(super) processes_max: u32,
    /// How often was looked.
    pub(super) looks: u32,
    /// CPU that looking cost.
    pub(super) cost_seconds: f64,
}

/// Sums that a span is the difference of.
#[derive(Clone, Copy, Default)]
struct Sums {
    at: f64,
    cpu_seconds: f64,
    queue_seconds: f64,
    cpu_stall_seconds: f64,
    io_stall_seconds: f64,
    memory_stall_seconds: f64,
    read_bytes: u64,
    written_bytes: u64,
}

impl Sampler<'_> {
    /// Looks until `stop` says something or its other end is gone, then once more.
    pub(super) fn run(mut self, stop: &Receiver<()>) -> Seen {
        let mut seen = Seen::default();
        let mut before = self.stalls_before();
        let mut cpu = own_cpu();
        let start = cpu;
        loop {
            let at = self.began.elapsed().as_secs_f64();
            let pause = Duration::from_secs_f64(self.pace.wait_seconds(at).min(60.0));
            let is_over = !matches!(stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
            before = self.look(before, &mut seen);
            let now = own_cpu();
            self.pace.learn(now - cpu);
            cpu = now;
            if is_over {
                seen.cost_seconds = cpu - start;
                return seen;
            }
            if seen.spans.len() >= SPANS_MAX {
                seen.spans = folded(&seen.spans);
                self.pace.fold();
            }
        }
    }

    /// Where the machine's counters stood at the start; those of a new group stand at 0.
    fn stalls_before(&self) -> Sums {
        let usage = self.group.map(Group::usage).unwrap_or_default();
        let (io_stall_seconds, memory_stall_seconds) = self.stalls(&usage);
        Sums {
            io_stall_seconds,
            memory_stall_seconds,
            ..Sums::default()
        }
    }

    fn look(&mut self, before: Sums, seen: &mut Seen) -> Sums {
        let reaped = process::waited_for().since(self.waited);
        let reaped = (reaped.cpu_user + reaped.cpu_system).as_nanos();
        let at = self.began.elapsed().as_secs_f64();
        let moment = self
            .tree
            .look(at, u64::try_from(reaped).unwrap_or(u64::MAX));
        let usage = self.group.map(Group::usage).unwrap_or_default();
        let (io_stall_seconds, memory_stall_seconds) = self.stalls(&usage);
        let group_cpu = usage
            .cpu_user_seconds
            .zip(usage.cpu_system_seconds)
            .map(|(user, system)| user + system);
        let now = Sums {
            at,
            cpu_seconds: group_cpu.unwrap_or(moment.cpu_seconds),
            queue_seconds: moment.queue_seconds,
            cpu_stall_seconds: usage.pressure_cpu.map_or(0.0, |it| it.full_total_seconds),
            io_stall_seconds,
            memory_stall_seconds,
            read_bytes: usage.io.map_or(moment.read_bytes, |io| io.read_bytes),
            written_bytes: usage.io.map_or(moment.written_bytes, |io| io.written_bytes),
        };
        let memory_bytes = usage.memory_bytes.unwrap_or(moment.memory_bytes);
        let span = Span {
            memory_bytes,
            processes: moment.processes,
            votes: Votes::of(&moment.threads),
            ..now.since(before)
        };
        seen.memory_peak_bytes = seen.memory_peak_bytes.max(moment.memory_peak_bytes);
        if let Some((bytes_max, exceeded)) = self.limit
            && moment.memory_bytes > bytes_max
        {
            exceeded.store(true, Ordering::Relaxed);
        }
        seen.processes_max = seen.processes_max.max(moment.processes);
        seen.looks += 1;
        seen.last = moment;
        seen.spans.push(span);
        now
    }

    /// Seconds in which nothing of the group could run for want of storage, and of memory; in which
    /// anything of the machine waited, where there is no such group.
    fn stalls(&self, usage: &GroupUse) -> (f64, f64) {
        if self.group.is_some()
            && let (Some(io), Some(memory)) = (usage.pressure_io, usage.pressure_memory)
        {
            return (io.full_total_seconds, memory.full_total_seconds);
        }
        let some = |name: &str| {
            let pressure = pressure(&self.tables.proc.join("pressure").join(name));
            pressure.map_or(0.0, |pressure| pressure.some_total_seconds)
        };
        (some("io"), some("memory"))
    }
}

impl Sums {
    fn since(self, before: Self) -> Span {
        let grown = |now: f64, before: f64| (now - before).max(0.0);
        Span {
            start_seconds: before.at,
            seconds: grown(self.at, before.at),
            cpu_seconds: grown(self.cpu_seconds, before.cpu_seconds),
            queue_seconds: grown(self.queue_seconds, before.queue_seconds),
            cpu_stall_seconds: grown(self.cpu_stall_seconds, before.cpu_stall_seconds),
            io_stall_seconds: grown(self.io_stall_seconds, before.io_stall_seconds),
            memory_stall_seconds: grown(self.memory_stall_seconds, before.memory_stall_seconds),
            read_bytes: self.read_bytes.saturating_sub(before.read_bytes),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            ..Span::default()
        }
    }
}

/// CPU seconds of the thread that asks.
fn own_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_ascii_whitespace().next();
    let nanos = nanos.and_then(|word| word.parse::<u64>().ok());
    nanos.unwrap_or(0) as f64 / 1e9
}
