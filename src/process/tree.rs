//! What a tree of processes is doing at one moment, from `/proc` (proc(5)).
//!
//! Numbers of what has ended meanwhile stay in what its parent waited for, so that sums only grow.
//! Knows nothing of why anybody looks, or of control groups beyond a list of their members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::waiting::{self, Call, Waiting};

/// Nanoseconds of a second.
const NANOS: f64 = 1e9;
/// Whoever ran so recently, in seconds, and waits for a lock now, contends for it: a thread that
/// waits for another one's end, or a pool's idle worker, sleeps for longer.
const CONTENDING_SECONDS: f64 = 0.5;
/// After how many looks a process without sockets is asked again whether it has one.
const SOCKETS_LOOKS: u32 = 10;

/// Whom to look at.
#[derive(Clone, Debug)]
pub enum Members {
    /// All descendants of this process, not itself.
    Below(u32),
    /// Whoever is in this control group of version 2.
    Group(PathBuf),
}

/// A tree at one moment. Times and bytes are sums since the tree began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// CPU, in user mode and in the kernel.
    pub cpu_seconds: f64,
    /// Ready to run and waiting for a processor, all threads together; what short-lived ones
    /// waited between two looks is missing.
    pub queue_seconds: f64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub written_bytes: u64,
    /// Resident memory now, what is shared counted once.
    pub memory_bytes: u64,
    /// The most that it can have been since the last look, as far as can be told.
    pub memory_peak_bytes: u64,
    /// Processes alive.
    pub processes: u32,
    /// What the threads alive are doing.
    pub threads: Threads,
}

/// How many threads run, and what the others wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Running, or ready to.
    pub running: u32,
    /// In uninterruptible sleep: for storage.
    pub disk: u32,
    /// For a page of their own memory that is read from storage.
    pub page: u32,
    /// For a lock that others hold.
    pub lock: u32,
    /// For the network.
    pub network: u32,
    /// For time to pass.
    pub sleep: u32,
    /// For another process or thread, or for what is not known.
    pub other: u32,
}

/// Looks at a tree again and again.
#[derive(Debug)]
pub struct Tree {
    members: Members,
    reader: Reader,
    looks: u32,
    tasks: BTreeMap<u32, Task>,
    processes: BTreeMap<u32, Process>,
    /// CPU of what has ended and was waited for, nanoseconds.
    ended_nanos: u64,
    queue_nanos: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// A thread as it was at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Task {
    run_nanos: u64,
    queue_nanos: u64,
    slices: u64,
    ran_at: f64,
    waiting: Waiting,
}

/// A process as it was at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    high_water_bytes: u64,
    has_socket: bool,
    asked_at: u32,
}

impl Tree {
    /// Nobody has looked yet.
    pub fn new(members: Members) -> Self {
        Self {
            members,
            reader: Reader::default(),
            looks: 0,
            tasks: BTreeMap::new(),
            processes: BTreeMap::new(),
            ended_nanos: 0,
            queue_nanos: 0,
            read_bytes: 0,
            written_bytes: 0,
        }
    }

    /// Looks. `at` is when, in seconds since the tree began; `reaped_nanos` is the CPU of orphans
    /// that we have waited for ourselves.
    pub fn look(&mut self, at: f64, reaped_nanos: u64) -> Moment {
        self.looks += 1;
        let processes = self.members();
        let mut moment = Moment::default();
        let mut sums = Sums::default();
        let mut tasks = BTreeMap::new();
        for process in &processes {
            if self.look_at(*process, &mut sums) {
                moment.processes += 1;
                self.look_at_threads((*process, at), &mut tasks);
            }
        }
        let alive: BTreeSet<u32> = processes.into_iter().collect();
        self.processes.retain(|process, _| alive.contains(process));
        for task in tasks.values() {
            count(&mut moment.threads, task.waiting);
        }
        let live: u64 = tasks.values().map(|task: &Task| task.run_nanos).sum();
        // What processes account for, in ticks, beyond the threads that are alive has ended.
        let ended = (sums.cpu_nanos + reaped_nanos).saturating_sub(live);
        self.ended_nanos = self.ended_nanos.max(ended);
        self.tasks = tasks;
        self.read_bytes = self.read_bytes.max(sums.read_bytes);
        self.written_bytes = self.written_bytes.max(sums.written_bytes);
        Moment {
            cpu_seconds: (live + self.ended_nanos) as f64 / NANOS,
            queue_seconds: self.queue_nanos as f64 / NANOS,
            read_bytes: self.read_bytes,
            written_bytes: self.written_bytes,
            memory_bytes: sums.private_bytes + sums.shared_bytes,
            memory_peak_bytes: sums.private_bytes + sums.shared_bytes + sums.risen_bytes,
            ..moment
        }
    }

    /// Everyone's number, each once.
    fn members(&self) -> Vec<u32> {
        match &self.members {
            Members::Group(folder) => {
                let list = std::fs::read_to_string(folder.join("cgroup.procs"));
                let list = list.unwrap_or_default();
                list.lines().filter_map(|line| line.parse().ok()).collect()
            }
            Members::Below(top) => super::governed::descendants_of(*top),
        }
    }

    /// Adds what a process accounts for; whether it is alive.
    fn look_at(&mut self, process: u32, sums: &mut Sums) -> bool {
        let Some(stat) = self.reader.read(format_args!("/proc/{process}/stat")) else {
            return false;
        };
        let (state, field) = fields(stat);
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let ticks: u64 = (11..15).map(&field).sum();
        sums.cpu_nanos += ticks * tick;
        if let Some(text) = self.reader.read(format_args!("/proc/{process}/io")) {
            sums.read_bytes += labelled(text, "\nread_bytes: ");
            sums.written_bytes += labelled(text, "\nwrite_bytes: ");
        }
        if matches!(state, b'Z' | b'X') {
            return false;
        }
        let page = rustix::param::page_size() as u64;
        let statm = self.reader.read(format_args!("/proc/{process}/statm"));
        let mut pages = statm.unwrap_or_default().split_ascii_whitespace().skip(1);
        let mut bytes = || {
            pages
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0)
                * page
        };
        let (resident, shared) = (bytes(), bytes());
        sums.private_bytes += resident.saturating_sub(shared);
        sums.shared_bytes = sums.shared_bytes.max(shared);
        let status = self.reader.read(format_args!("/proc/{process}/status"));
        let high_water = labelled(status.unwrap_or_default(), "\nVmHWM:") * 1024;
        let known = self.processes.entry(process).or_default();
        if high_water > known.high_water_bytes {
            known.high_water_bytes = high_water;
            // It was that large at some moment since; that two were at the same one is not likely.
            sums.risen_bytes = sums.risen_bytes.max(high_water.saturating_sub(resident));
        }
        true
    }

    fn look_at_threads(&mut self, (process, at): (u32, f64), tasks: &mut BTreeMap<u32, Task>) {
        let entries = std::fs::read_dir(format!("/proc/{process}/task"));
        let entries = entries.into_iter().flatten().flatten();
        for entry in entries {
            let Some(thread) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if let Some(task) = self.look_at_thread((process, thread), at) {
                tasks.insert(thread, task);
            }
        }
    }

    fn look_at_thread(&mut self, (process, thread): (u32, u32), at: f64) -> Option<Task> {
        let path = format_args!("/proc/{process}/task/{thread}/schedstat");
        let text = self.reader.read(path)?;
        let mut numbers = text.split_ascii_whitespace();
        let mut number = || {
            numbers
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0)
        };
        let mut task = Task {
            run_nanos: number(),
            queue_nanos: number(),
            slices: number(),
            ran_at: at,
            waiting: Waiting::Running,
        };
        let known = self.tasks.get(&thread).copied();
        let queue_before = known.map_or(0, |known| known.queue_nanos);
        self.queue_nanos += task.queue_nanos.saturating_sub(queue_before);
        if let Some(known) = known
            && (known.slices, known.run_nanos) == (task.slices, task.run_nanos)
            && known.waiting != Waiting::Running
        {
            // It has not run since, so it still waits for the same.
            task.ran_at = known.ran_at;
            task.waiting = match known.waiting {
                Waiting::Lock { is_sure: false } if at - known.ran_at > CONTENDING_SECONDS => {
                    Waiting::Other
                }
                same => same,
            };
            return Some(task);
        }
        let stat = self
            .reader
            .read(format_args!("/proc/{process}/task/{thread}/stat"))?;
        task.waiting = match fields(stat).0 {
            b'R' => Waiting::Running,
            b'D' => self.stuck(process, thread),
            b'S' => self.sleeping(process, thread),
            b'Z' | b'X' => return None,
            _ => Waiting::Other,
        };
        Some(task)
    }

    /// What a thread in uninterruptible sleep waits for.
    fn stuck(&mut self, process: u32, thread: u32) -> Waiting {
        let path = format_args!("/proc/{process}/task/{thread}/syscall");
        match self.reader.read(path).is_some_and(waiting::is_in_fault) {
            true => Waiting::Page,
            false => Waiting::Disk,
        }
    }

    /// What a thread in interruptible sleep waits for, by the system call that it is in.
    fn sleeping(&mut self, process: u32, thread: u32) -> Waiting {
        let path = format_args!("/proc/{process}/task/{thread}/syscall");
        let call = self.reader.read(path).and_then(Call::parse);
        match call.map(|call| (call, waiting::of(&call))) {
            None => Waiting::Other,
            Some((_, waiting::Answer::Known(waiting))) => waiting,
            Some((_, waiting::Answer::File(descriptor))) => {
                let link = std::fs::read_link(format!("/proc/{process}/fd/{descriptor}"));
                match link.is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
                {
                    true => Waiting::Network,
                    false => Waiting::Other,
                }
            }
            Some((_, waiting::Answer::Events { ends })) => match (self.has_socket(process), ends) {
                (true, _) => Waiting::Network,
                (false, true) => Waiting::Sleep,
                (false, false) => Waiting::Other,
            },
        }
    }

    /// Whether a process has a socket of the internet, as far as was looked lately.
    fn has_socket(&mut self, process: u32) -> bool {
        let looks = self.looks;
        let known = self.processes.entry(process).or_default();
        let is_due = known.asked_at == 0 || looks - known.asked_at >= SOCKETS_LOOKS;
        if !known.has_socket && is_due {
            known.asked_at = looks;
            known.has_socket = waiting::has_socket(Path::new(&format!("/proc/{process}")));
        }
        known.has_socket
    }
}

/// What all processes account for together.
#[derive(Default)]
struct Sums {
    cpu_nanos: u64,
    read_bytes: u64,
    written_bytes: u64,
    private_bytes: u64,
    shared_bytes: u64,
    risen_bytes: u64,
}

fn count(threads: &mut Threads, waiting: Waiting) {
    let number = match waiting {
        Waiting::Running => &mut threads.running,
        Waiting::Disk => &mut threads.disk,
        Waiting::Page => &mut threads.page,
        Waiting::Lock { .. } => &mut threads.lock,
        Waiting::Network => &mut threads.network,
        Waiting::Sleep => &mut threads.sleep,
        Waiting::Other => &mut threads.other,
    };
    *number += 1;
}

/// What a process that has ended, or not, has read from storage and written to it, with everyone it
/// waited for.
pub fn storage_of(process: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    let bytes = |label| labelled(&text, label);
    Some((bytes("\nread_bytes: "), bytes("\nwrite_bytes: ")))
}

/// The state of a `stat`, and its numbers counted from it, which follows the name in parentheses.
fn fields(stat: &str) -> (u8, impl Fn(usize) -> u64 + use<>) {
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let state = words.first().and_then(|word| word.bytes().next());
    let numbers: Vec<u64> = words.iter().map(|word| word.parse().unwrap_or(0)).collect();
    (state.unwrap_or(b'?'), move |index| {
        numbers.get(index).copied().unwrap_or(0)
    })
}

/// The number behind a label.
fn labelled(text: &str, label: &str) -> u64 {
    let rest = text.split_once(label).map(|(_, rest)| rest);
    let word = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Reads small files into one buffer.
#[derive(Debug, Default)]
struct Reader {
    path: String,
    text: Vec<u8>,
}

impl Reader {
    fn read(&mut self, path: std::fmt::Arguments<'_>) -> Option<&str> {
        self.path.clear();
        // Writing to a string does not fail.
        let _ = self.path.write_fmt(path);
        self.text.resize(8192, 0);
        let mut length = 0;
        let mut file = File::open(&self.path).ok()?;
        loop {
            match file.read(&mut self.text[length..]).ok()? {
                0 => break,
                read => length += read,
            }
            if length == self.text.len() {
                break;
            }
        }
        // A name in it may be cut or be no text at all; what follows it is read all the same.
        self.text.truncate(length);
        if std::str::from_utf8(&self.text).is_err() {
            let clean = String::from_utf8_lossy(&self.text).into_owned();
            self.text = clean.into_bytes();
        }
        std::str::from_utf8(&self.text).ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn sees_what_this_process_and_its_threads_do() {
        let own = std::process::id();
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        // Only the child: the others here belong to other tests.
        let mut tree = Tree::new(Members::Below(own));
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut sums = Sums::default();
        assert!(tree.look_at(child.id(), &mut sums));
        assert!(sums.private_bytes > 0 && sums.shared_bytes > 0);
        let task = tree.look_at_thread((child.id(), child.id()), 0.0).unwrap();
        assert_eq!(task.waiting, Waiting::Sleep);
        assert!(tree.members().contains(&child.id()));
        child.kill().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(
            !tree.look_at(child.id(), &mut sums),
            "a zombie is not alive"
        );
        child.wait().unwrap();
        assert!(!tree.look_at(child.id(), &mut sums));
    }

    #[test]
    fn reads_a_stat_whose_name_holds_anything() {
        let (state, field) = fields("7 (a) R (b\u{fffd}) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14");
        assert_eq!((state, field(1), field(99)), (b'S', 1, 0));
        assert_eq!(labelled("rchar: 1\nread_bytes: 77\n", "\nread_bytes: "), 77);
        assert_eq!(labelled("", "x"), 0);
    }
}
