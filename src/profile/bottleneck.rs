//! Where the time of a run went, and what held it up (pure).
//!
//! wall = on CPU + waiting for CPU + I/O stall + memory stall + other waiting. At every instant a
//! tree of processes is where its busiest thread is: on a processor if any is, else waiting for one
//! if any is, and so on. The first two come from the kernel's counters; what remains is parted by
//! the pressure of the tree's own control group, or by what the threads were seen waiting for.
//! Never looks at a process itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::record::{Span, Votes};

/// What a run can be held up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Work on processors.
    Cpu,
    /// Storage.
    Disk,
    /// Memory that had to be reclaimed or read back, the kernel's work on that included.
    Memory,
    /// Locks that others hold.
    Lock,
    /// Somebody across the network.
    Network,
    /// Time that had to pass.
    Sleep,
    /// Another process, or something not known.
    Other,
}

impl Resource {
    /// Its name for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Lock => "locks",
            Self::Network => "network",
            Self::Sleep => "sleep",
            Self::Other => "other waiting",
        }
    }
}

/// What is known of a run beside its spans.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// From start to end.
    pub wall_seconds: f64,
    /// CPU of everything together, as the kernel accounts for it.
    pub cpu_seconds: f64,
    /// The part of it in the kernel.
    pub cpu_system_seconds: f64,
    /// Pages that had to be read from storage when they were touched.
    pub major_faults: u64,
    /// Whether the spans' stalls are those of the tree itself, not of the whole machine.
    pub stalls_are_own: bool,
}

/// Where the time went. The first five sum up to the wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Identity {
    /// Seconds in which some thread ran.
    pub on_cpu_seconds: f64,
    /// Seconds in which none ran and some waited for a processor.
    pub cpu_wait_seconds: f64,
    /// Seconds in which none could run and some waited for storage.
    pub io_stall_seconds: f64,
    /// Seconds in which none could run and some waited for memory.
    pub memory_stall_seconds: f64,
    /// Seconds in which all waited for something else.
    pub other_seconds: f64,
    /// What all waited for in that time.
    pub other: OtherWaiting,
}

/// The parts of other waiting; they sum up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OtherWaiting {
    /// For locks.
    pub lock_seconds: f64,
    /// For the network.
    pub network_seconds: f64,
    /// For time to pass.
    pub sleep_seconds: f64,
    /// For other processes, or for what is not known.
    pub unknown_seconds: f64,
}

/// A resource and how much of the wall time it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Share {
    /// Which.
    pub resource: Resource,
    /// Seconds.
    pub seconds: f64,
    /// Of the wall time, 0 to 1.
    pub share: f64,
}

/// What held a run up. Waiting for a processor is not among the candidates: the tree waits as a whole
/// only while others run, so that it tells of them and stretches everything else of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Analysis {
    /// Where the time went.
    pub identity: Identity,
    /// The resource with the largest share.
    pub bottleneck: Share,
    /// The next one.
    pub runner_up: Share,
    /// How much of the wall time went by waiting for processors that others had, 0 to 1.
    pub crowded_share: f64,
    /// CPU seconds per second of wall time: how many processors were busy on average.
    pub parallelism: f64,
}

/// Finds where the time went.
pub fn analyze(totals: &Totals, spans: &[Span]) -> Analysis {
    let identity = identity(totals, spans);
    let paging = paging_seconds(totals, &identity);
    let seconds = |resource| match resource {
        Resource::Cpu => identity.on_cpu_seconds - paging,
        Resource::Disk => identity.io_stall_seconds,
        Resource::Memory => identity.memory_stall_seconds + paging,
        Resource::Lock => identity.other.lock_seconds,
        Resource::Network => identity.other.network_seconds,
        Resource::Sleep => identity.other.sleep_seconds,
        Resource::Other => identity.other.unknown_seconds,
    };
    let share = |resource| Share {
        resource,
        // A sum of nothing is a negative zero.
        seconds: seconds(resource) + 0.0,
        share: ratio(seconds(resource), totals.wall_seconds),
    };
    let mut shares = ALL.map(share);
    // Equal shares keep their order.
    shares.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Analysis {
        identity,
        bottleneck: shares[0],
        runner_up: shares[1],
        crowded_share: ratio(identity.cpu_wait_seconds, totals.wall_seconds),
        parallelism: ratio(totals.cpu_seconds, totals.wall_seconds),
    }
}

/// What the kernel works at least to give back a page that memory had no room for: the fault, the
/// reclaim of another page, the request to the device.
const FAULT_SECONDS: f64 = 20e-6;

/// Work of the kernel that is for want of memory, where memory is short.
fn paging_seconds(totals: &Totals, identity: &Identity) -> f64 {
    let stalled = identity.memory_stall_seconds + identity.io_stall_seconds;
    match identity.memory_stall_seconds > (stalled + identity.other_seconds) * PRESSURE_SHARE {
        true => (totals.major_faults as f64 * FAULT_SECONDS)
            .min(totals.cpu_system_seconds)
            .min(identity.on_cpu_seconds),
        false => 0.0,
    }
}

const ALL: [Resource; 7] = [
    Resource::Cpu,
    Resource::Disk,
    Resource::Memory,
    Resource::Lock,
    Resource::Network,
    Resource::Sleep,
    Resource::Other,
];

/// 0 where there is nothing to divide by.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn identity(totals: &Totals, spans: &[Span]) -> Identity {
    let wall = totals.wall_seconds.max(0.0);
    // Until somebody is in it, a tree waits for nothing: what starts it is at work.
    let begins = spans.iter().position(|span| span.processes > 0);
    let spans = &spans[begins.unwrap_or(0)..];
    let seen_cpu: f64 = spans.iter().map(|span| span.cpu_seconds).sum();
    let seen_wall: f64 = spans.iter().map(|span| span.seconds).sum();
    // The kernel's account is exact where the spans missed the shortest-lived, and where nothing was
    // seen at all its sum stands for the one span that there is.
    let scale = ratio(totals.cpu_seconds, seen_cpu);
    // The tree's own pressure knows of the shortest-lived, too, and counts nobody twice.
    let knows_stall = spans.iter().any(|span| span.cpu_stall_seconds > 0.0);
    let (mut on_cpu, mut queue, mut stalls) = (0.0, 0.0, [0.0; 2]);
    for span in spans {
        let on = (span.cpu_seconds * scale).min(span.seconds);
        let queue_seconds = match knows_stall {
            true => span.cpu_stall_seconds,
            false => span.queue_seconds,
        };
        let wait = queue_seconds.min(span.seconds - on);
        let off = span.seconds - on - wait;
        stalls[0] += span.memory_stall_seconds.min(off);
        stalls[1] += span.io_stall_seconds.min(off);
        on_cpu += on;
        queue += wait;
    }
    if seen_cpu <= 0.0 {
        on_cpu = totals.cpu_seconds;
    }
    // What was seen stands for the whole.
    let stretch = ratio(wall, seen_wall);
    let on_cpu = match seen_cpu > 0.0 {
        true => (on_cpu * stretch).min(wall),
        false => on_cpu.min(wall),
    };
    let cpu_wait = (queue * stretch).min(wall - on_cpu);
    let off = wall - on_cpu - cpu_wait;
    let votes = spans
        .iter()
        .fold(Votes::default(), |sum, span| sum + span.votes);
    let (memory, io) = stalled(off, (votes, stalls.map(|stall| stall * stretch)), totals);
    let mut other_seconds = (off - memory - io).max(0.0);
    let mut cpu_wait = cpu_wait;
    // Who was ready to run whenever anybody looked, and is known to have waited for it, did that.
    if votes.all() == 0 && queue > 0.0 {
        cpu_wait += std::mem::take(&mut other_seconds);
    }
    Identity {
        on_cpu_seconds: on_cpu,
        cpu_wait_seconds: cpu_wait,
        io_stall_seconds: io,
        memory_stall_seconds: memory,
        other_seconds,
        other: part(other_seconds, votes),
    }
}

/// Under this share of the time in which nothing ran, stall for want of memory is no pressure.
const PRESSURE_SHARE: f64 = 0.01;

/// Memory and I/O of the time in which nothing could run. Threads in uninterruptible sleep that no
/// pressure accounts for (a network's file system, say) wait for storage all the same. A page that
/// has to be read is one that memory had no room for where memory is short, and a first look at a
/// file where it is not.
fn stalled(off: f64, (votes, [memory, io]): (Votes, [f64; 2]), totals: &Totals) -> (f64, f64) {
    let seen = |votes_for: u32| off * ratio(f64::from(votes_for), f64::from(votes.all()));
    let is_short = memory > off * PRESSURE_SHARE;
    let pages = if is_short { seen(votes.page) } else { 0.0 };
    let all_seen = seen(votes.disk + votes.page);
    let (memory, io) = match totals.stalls_are_own {
        true => (memory.max(pages), io.max(all_seen)),
        // Others' stalls are among the machine's: they say only which of the two ours were.
        false => (memory.min(all_seen).max(pages), all_seen),
    };
    let memory = memory.min(off);
    // Whoever waits for a page waits for storage, too, and both count it.
    (memory, (io - memory).clamp(0.0, off - memory))
}

fn part(seconds: f64, votes: Votes) -> OtherWaiting {
    let all = votes.lock + votes.network + votes.sleep + votes.other;
    if all == 0 {
        return OtherWaiting {
            unknown_seconds: seconds,
            ..OtherWaiting::default()
        };
    }
    let of = |part: u32| seconds * f64::from(part) / f64::from(all);
    OtherWaiting {
        lock_seconds: of(votes.lock),
        network_seconds: of(votes.network),
        sleep_seconds: of(votes.sleep),
        unknown_seconds: of(votes.other),
    }
}

/// For people: `CPU, 87 % of 1.2 s; then disk, 9 %; 1.9 processors busy`.
pub fn told(analysis: &Analysis, wall_seconds: f64) -> String {
    let percent = |share: &Share| format!("{:.0} %", share.share * 100.0);
    let mut text = format!(
        "{}, {} of {wall_seconds:.2} s",
        analysis.bottleneck.resource.word(),
        percent(&analysis.bottleneck)
    );
    if analysis.runner_up.share >= 0.005 {
        let next = &analysis.runner_up;
        text.push_str(&format!(
            "; then {}, {}",
            next.resource.word(),
            percent(next)
        ));
    }
    if analysis.crowded_share >= 0.05 {
        let crowded = analysis.crowded_share * 100.0;
        text.push_str(&format!(
            "; {crowded:.0} % waiting for processors that others had"
        ));
    }
    text + &format!("; {:.2} processors busy", analysis.parallelism)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(cpu: f64, queue: f64, votes: Votes) -> Span {
        Span {
            seconds: 1.0,
            cpu_seconds: cpu,
            queue_seconds: queue,
            votes,
            ..Span::default()
        }
    }

    fn votes(disk: u32, lock: u32, sleep: u32) -> Votes {
        Votes {
            disk,
            lock,
            sleep,
            ..Votes::default()
        }
    }

    #[track_caller]
    fn check(
        (cpu_seconds, own): (f64, bool),
        spans: &[Span],
        expected: (Resource, Resource, [f64; 5]),
    ) {
        let wall_seconds: f64 = spans.iter().map(|span| span.seconds).sum();
        let totals = Totals {
            wall_seconds,
            cpu_seconds,
            stalls_are_own: own,
            ..Totals::default()
        };
        let found = analyze(&totals, spans);
        let it = found.identity;
        let parts = [
            it.on_cpu_seconds,
            it.cpu_wait_seconds,
            it.io_stall_seconds,
            it.memory_stall_seconds,
            it.other_seconds,
        ];
        assert!(
            (parts.iter().sum::<f64>() - wall_seconds).abs() < 1e-9,
            "{found:?}"
        );
        let other = it.other;
        let inner = other.lock_seconds + other.network_seconds + other.sleep_seconds;
        assert!((inner + other.unknown_seconds - it.other_seconds).abs() < 1e-9);
        assert_eq!(
            (found.bottleneck.resource, found.runner_up.resource),
            (expected.0, expected.1)
        );
        for (part, expected) in parts.iter().zip(expected.2) {
            assert!((part - expected).abs() < 1e-9, "{parts:?} {expected:?}");
        }
    }

    #[test]
    fn the_parts_sum_up_and_the_largest_is_named() {
        use Resource::*;
        let none = Votes::default();
        // One thread at work, half of the time crowded out.
        check(
            (1.0, false),
            &[span(0.5, 0.5, none), span(0.5, 0.5, none)],
            (Cpu, Disk, [1.0, 1.0, 0.0, 0.0, 0.0]),
        );
        // Two processors busy for one of two seconds: half of the wall time is on CPU.
        check(
            (2.0, false),
            &[span(2.0, 0.0, none), span(0.0, 0.0, votes(0, 0, 9))],
            (Cpu, Sleep, [1.0, 0.0, 0.0, 0.0, 1.0]),
        );
        check(
            (0.1, false),
            &[span(0.1, 0.0, votes(8, 0, 2))],
            (Disk, Sleep, [0.1, 0.0, 0.72, 0.0, 0.18]),
        );
        check(
            (0.0, false),
            &[span(0.0, 0.0, votes(0, 6, 4))],
            (Lock, Sleep, [0.0, 0.0, 0.0, 0.0, 1.0]),
        );
        // Nothing was seen of children too short to be seen; the kernel has counted them.
        check(
            (0.9, false),
            &[span(0.0, 0.0, none)],
            (Cpu, Other, [0.9, 0.0, 0.0, 0.0, 0.1]),
        );
        check((0.0, false), &[], (Cpu, Disk, [0.0; 5]));
    }

    #[test]
    fn a_tree_s_own_pressure_parts_memory_from_storage() {
        use Resource::*;
        let thrashing = Span {
            io_stall_seconds: 0.9,
            memory_stall_seconds: 0.6,
            ..span(0.1, 0.0, votes(9, 0, 0))
        };
        check(
            (0.1, true),
            &[thrashing],
            (Memory, Disk, [0.1, 0.0, 0.3, 0.6, 0.0]),
        );
        // The same pressure on the whole machine says nothing of a tree that sleeps.
        let bystander = Span {
            votes: votes(0, 0, 9),
            ..thrashing
        };
        check(
            (0.1, false),
            &[bystander],
            (Sleep, Cpu, [0.1, 0.0, 0.0, 0.0, 0.9]),
        );
        check(
            (0.1, false),
            &[thrashing],
            (Memory, Disk, [0.1, 0.0, 0.3, 0.6, 0.0]),
        );
    }

    #[test]
    fn the_kernel_s_work_on_pages_counts_for_memory_where_memory_is_short() {
        let span = Span {
            memory_stall_seconds: 0.4,
            io_stall_seconds: 0.4,
            ..span(0.6, 0.0, Votes::default())
        };
        let totals = Totals {
            wall_seconds: 1.0,
            cpu_seconds: 0.6,
            cpu_system_seconds: 0.5,
            major_faults: 20_000,
            stalls_are_own: true,
        };
        let found = analyze(&totals, &[span]);
        assert_eq!(found.bottleneck.resource, Resource::Memory);
        assert!((found.bottleneck.share - 0.8).abs() < 1e-9, "{found:?}");
        let roomy = Span {
            memory_stall_seconds: 0.0,
            ..span
        };
        let found = analyze(&totals, &[roomy]);
        assert_eq!(found.bottleneck.resource, Resource::Cpu);
    }

    #[test]
    fn says_it_in_one_line() {
        let totals = Totals {
            wall_seconds: 2.0,
            cpu_seconds: 3.0,
            stalls_are_own: false,
            ..Totals::default()
        };
        let spans = [
            span(1.5, 0.0, Votes::default()),
            span(1.5, 0.0, Votes::default()),
        ];
        let text = told(&analyze(&totals, &spans), 2.0);
        assert_eq!(text, "CPU, 100 % of 2.00 s; 1.50 processors busy");
    }
}
