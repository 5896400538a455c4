//! One stretch of a run's time line, and what its threads were seen waiting for.

use std::ops::Add;

use crate::process::Threads;

/// What was seen between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// When it began, seconds after the start.
    pub start_seconds: f64,
    /// How long it is.
    pub seconds: f64,
    /// CPU of all threads together.
    pub cpu_seconds: f64,
    /// Waiting for a processor, all threads together.
    pub queue_seconds: f64,
    /// In which nothing of the tree ran and something waited for a processor; 0 where the tree's own
    /// pressure is not known.
    pub cpu_stall_seconds: f64,
    /// In which nothing could run for want of storage: of the tree, or in which anything of the whole
    /// machine waited, where the tree's own is not known.
    pub io_stall_seconds: f64,
    /// The same for memory.
    pub memory_stall_seconds: f64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// The most memory in it, bytes.
    pub memory_bytes: u64,
    /// Processes alive at its end, the most where spans were folded.
    pub processes: u32,
    /// What was seen at its end.
    pub votes: Votes,
}

/// Looks at which nothing ran, by what most of the threads waited for. Looks at which something ran
/// have no vote: the kernel's counters tell that time exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Storage.
    pub disk: u32,
    /// Pages of memory that are read from storage.
    pub page: u32,
    /// Locks.
    pub lock: u32,
    /// The network.
    pub network: u32,
    /// Time.
    pub sleep: u32,
    /// Another process, or what is not known.
    pub other: u32,
}

impl Votes {
    /// The vote of one look.
    pub fn of(threads: &Threads) -> Self {
        let mut votes = Self::default();
        // Who waits for another of the same tree is held up by whatever holds up that one.
        let named = [threads.lock, threads.network, threads.sleep];
        let most = named.into_iter().max().unwrap_or(0);
        match threads {
            _ if threads.running > 0 => {}
            _ if threads.page > threads.disk => votes.page = 1,
            _ if threads.disk > 0 => votes.disk = 1,
            _ if most == 0 => votes.other = u32::from(threads.other > 0),
            _ if threads.lock == most => votes.lock = 1,
            _ if threads.network == most => votes.network = 1,
            _ => votes.sleep = 1,
        }
        votes
    }

    /// How many there are.
    pub fn all(&self) -> u32 {
        self.disk + self.page + self.lock + self.network + self.sleep + self.other
    }
}

impl Add for Votes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            disk: self.disk + other.disk,
            page: self.page + other.page,
            lock: self.lock + other.lock,
            network: self.network + other.network,
            sleep: self.sleep + other.sleep,
            other: self.other + other.other,
        }
    }
}

impl Span {
    /// Two neighbours as one.
    fn and(self, next: Self) -> Self {
        Self {
            start_seconds: self.start_seconds,
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            queue_seconds: self.queue_seconds + next.queue_seconds,
            cpu_stall_seconds: self.cpu_stall_seconds + next.cpu_stall_seconds,
            io_stall_seconds: self.io_stall_seconds + next.io_stall_seconds,
            memory_stall_seconds: self.memory_stall_seconds + next.memory_stall_seconds,
            read_bytes: self.read_bytes.saturating_add(next.read_bytes),
            written_bytes: self.written_bytes.saturating_add(next.written_bytes),
            memory_bytes: self.memory_bytes.max(next.memory_bytes),
            processes: self.processes.max(next.processes),
            votes: self.votes + next.votes,
        }
    }
}

/// Half as many spans over the same time: neighbours become one.
pub(super) fn folded(spans: &[Span]) -> Vec<Span> {
    let pair = |pair: &[Span]| match pair {
        [first, second] => first.and(*second),
        _ => pair.first().copied().unwrap_or_default(),
    };
    spans.chunks(2).map(pair).collect()
}

/// At most so many spans over the same time.
pub fn folded_to(spans: &[Span], spans_max: usize) -> Vec<Span> {
    let mut spans = spans.to_vec();
    while spans.len() > spans_max.max(1) {
        spans = folded(&spans);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_votes_for_what_most_wait_for_unless_something_runs() {
        let threads = |running, disk, lock, sleep, other| Threads {
            running,
            disk,
            lock,
            sleep,
            other,
            ..Threads::default()
        };
        let vote = |disk, lock, sleep, other| Votes {
            disk,
            lock,
            sleep,
            other,
            ..Votes::default()
        };
        for (seen, expected) in [
            (threads(1, 5, 5, 5, 5), vote(0, 0, 0, 0)),
            (threads(0, 1, 5, 5, 5), vote(1, 0, 0, 0)),
            (threads(0, 0, 2, 2, 5), vote(0, 1, 0, 0)),
            (threads(0, 0, 1, 2, 5), vote(0, 0, 1, 0)),
            (threads(0, 0, 0, 0, 5), vote(0, 0, 0, 1)),
            (threads(0, 0, 0, 0, 0), vote(0, 0, 0, 0)),
        ] {
            assert_eq!(Votes::of(&seen), expected, "{seen:?}");
        }
        let network = Threads {
            network: 3,
            sleep: 2,
            ..Threads::default()
        };
        assert_eq!(Votes::of(&network).network, 1);
    }

    #[test]
    fn folding_loses_neither_time_nor_sums() {
        let span = |start_seconds: f64| Span {
            start_seconds,
            seconds: 1.0,
            cpu_seconds: 0.5,
            read_bytes: 7,
            memory_bytes: start_seconds as u64,
            votes: Votes {
                sleep: 1,
                ..Votes::default()
            },
            ..Span::default()
        };
        let spans: Vec<Span> = (0..5).map(|at| span(f64::from(at))).collect();
        let folded = folded(&spans);
        assert_eq!(folded.len(), 3);
        assert_eq!(folded.iter().map(|span| span.seconds).sum::<f64>(), 5.0);
        assert_eq!(folded.iter().map(|span| span.read_bytes).sum::<u64>(), 35);
        assert_eq!((folded[1].start_seconds, folded[1].memory_bytes), (2.0, 3));
        assert_eq!(folded[1].votes.all(), 2);
    }
}
