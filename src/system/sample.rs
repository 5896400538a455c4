//! The machine at one moment: CPU, memory, I/O, pressure and load.
//!
//! Linux's own files where they are, `sysinfo` for the few numbers that it knows elsewhere. What
//! neither says is `None` and stands by name in [`Sample::missing`].

use std::fs;
use std::path::{Path, PathBuf};

use super::limits::{self, Limits};

/// Bytes of a sector in `diskstats`, whatever the disk's own are (the kernel's `iostats` document).
const SECTOR_BYTES: u64 = 512;

/// Where the kernel's tables lie; another place is a frozen machine.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Usually `/proc`.
    pub proc: PathBuf,
    /// Usually `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
        }
    }
}

/// What the machine says of itself. Counters grow since it started: two samples tell a rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Processors that this process may use; at least 1.
    pub cpus: u32,
    /// Tasks that run or want to, averaged over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Tasks that are runnable at this moment.
    pub runnable: Option<u64>,
    /// Time of all processors together.
    pub cpu: Option<CpuTimes>,
    /// Physical memory.
    pub memory: Option<Memory>,
    /// Blocks moved by all whole disks together.
    pub io: Option<BlockIo>,
    /// Stall because of processors, percent and seconds (PSI; Linux 4.20).
    pub pressure_cpu: Option<Pressure>,
    /// Stall because of memory.
    pub pressure_memory: Option<Pressure>,
    /// Stall because of block devices.
    pub pressure_io: Option<Pressure>,
    /// What the control groups of this process allow.
    pub limits: Limits,
    /// Names of what this system does not say, sorted.
    pub missing: Vec<&'static str>,
}

/// Seconds of all processors together since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTimes {
    /// Spent on work.
    pub busy_seconds: f64,
    /// Idle, waiting for disks included.
    pub idle_seconds: f64,
    /// Taken by the hypervisor for other machines.
    pub steal_seconds: f64,
}

/// Bytes of physical memory and of swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total_bytes: u64,
    /// What a new program can have without swapping.
    pub available_bytes: u64,
    /// Swap that is free.
    pub swap_free_bytes: u64,
}

/// Traffic of block devices since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads and writes that were finished.
    pub operations: u64,
}

/// How much work stalled for want of something (`Documentation/accounting/psi.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Share of the last ten seconds in which some task waited, percent.
    pub some_percent: f64,
    /// Share of the last ten seconds in which all tasks waited, percent.
    pub full_percent: f64,
    /// Seconds in which some task waited, since the machine started.
    pub some_total_seconds: f64,
    /// Seconds in which all tasks waited, since the machine started.
    pub full_total_seconds: f64,
}

/// Room on the file system of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskRoom {
    /// Its size, bytes.
    pub total_bytes: u64,
    /// What this user may still write, bytes.
    pub available_bytes: u64,
}

/// Samples this machine.
pub fn sample() -> Sample {
    sample_from(&Tables::default())
}

/// Samples the machine whose tables lie there. What they lack is asked of `sysinfo` only where the
/// tables are this machine's own.
pub fn sample_from(tables: &Tables) -> Sample {
    let read = |name: &str| fs::read_to_string(tables.proc.join(name)).ok();
    let pressure = |name: &str| pressure_of(&read(&format!("pressure/{name}"))?);
    let stat = read("stat");
    let mut sample = Sample {
        cpus: std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        load: read("loadavg").and_then(|text| load_of(&text)),
        runnable: stat
            .as_deref()
            .and_then(|text| labelled(text, "procs_running ")),
        cpu: stat.as_deref().and_then(cpu_of),
        memory: read("meminfo").and_then(|text| memory_of(&text)),
        io: read("diskstats").map(|text| io_of(&text)),
        pressure_cpu: pressure("cpu"),
        pressure_memory: pressure("memory"),
        pressure_io: pressure("io"),
        limits: limits::limits(tables),
        missing: Vec::new(),
    };
    if tables.proc == Path::new("/proc") {
        ask_sysinfo(&mut sample);
    }
    sample.missing = missing(&sample);
    sample
}

/// What a file of the kernel says of stall; `None` where it is not there.
pub fn pressure(file: &Path) -> Option<Pressure> {
    pressure_of(&fs::read_to_string(file).ok()?)
}

/// Room where a path lies, or would lie: the nearest directory above it that is there.
pub fn disk_room(path: &Path) -> Option<DiskRoom> {
    let there = path.ancestors().find(|part| part.exists());
    let there = there.filter(|part| !part.as_os_str().is_empty());
    let room = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    Some(DiskRoom {
        total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
        available_bytes: room.f_bavail.saturating_mul(room.f_frsize),
    })
}

/// Fills in what Linux's tables did not say and other systems do.
fn ask_sysinfo(sample: &mut Sample) {
    if sample.load.is_none()
        && let Ok(load) = sysinfo::System::load_average()
    {
        let known = load.one > 0.0 || load.fifteen > 0.0;
        sample.load = known.then_some([load.one, load.five, load.fifteen]);
    }
    if sample.memory.is_none()
        && let Ok(mut system) = sysinfo::System::new()
    {
        system.refresh_memory();
        sample.memory = (system.total_memory() > 0).then(|| Memory {
            total_bytes: system.total_memory(),
            available_bytes: system.available_memory(),
            swap_free_bytes: system.free_swap(),
        });
    }
}

fn missing(sample: &Sample) -> Vec<&'static str> {
    let known = [
        ("block I/O", sample.io.is_some()),
        ("control group", sample.limits.is_known),
        ("CPU time", sample.cpu.is_some()),
        ("load", sample.load.is_some()),
        ("memory", sample.memory.is_some()),
        ("pressure of CPU", sample.pressure_cpu.is_some()),
        ("pressure of I/O", sample.pressure_io.is_some()),
        ("pressure of memory", sample.pressure_memory.is_some()),
    ];
    let unknown = known.into_iter().filter(|(_, is_known)| !is_known);
    unknown.map(|(name, _)| name).collect()
}

/// The number behind a label at the start of a line.
fn labelled(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn load_of(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// The first line of `stat`: user, nice, system, idle, iowait, irq, softirq, steal, in ticks.
fn cpu_of(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |places: &[usize]| {
        let all = places.iter().filter_map(|place| ticks.get(*place));
        all.sum::<f64>() / per_second
    };
    (ticks.len() >= 4).then(|| CpuTimes {
        busy_seconds: seconds(&[0, 1, 2, 5, 6]),
        idle_seconds: seconds(&[3, 4]),
        steal_seconds: seconds(&[7]),
    })
}

fn memory_of(text: &str) -> Option<Memory> {
    let bytes = |label| labelled(text, label).map(|kib| kib.saturating_mul(1024));
    Some(Memory {
        total_bytes: bytes("MemTotal:")?,
        available_bytes: bytes("MemAvailable:").or_else(|| bytes("MemFree:"))?,
        swap_free_bytes: bytes("SwapFree:").unwrap_or(0),
    })
}

/// All whole disks of `diskstats`: a partition's traffic is its disk's too, and loops, RAM disks
/// and device mappers pass theirs on.
fn io_of(text: &str) -> BlockIo {
    let mut all = BlockIo::default();
    let mut disk = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((name, counts)) = words.get(2).zip(words.get(3..)) else {
            continue;
        };
        let passes_on = ["loop", "ram", "zram", "dm-", "md"];
        let is_part = !disk.is_empty() && name.starts_with(&disk);
        if is_part || passes_on.iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        disk = (*name).to_owned();
        let count = |place: usize| counts.get(place).and_then(|word| word.parse::<u64>().ok());
        let count = |place| count(place).unwrap_or(0);
        all.operations = all
            .operations
            .saturating_add(count(0))
            .saturating_add(count(4));
        all.read_bytes = all
            .read_bytes
            .saturating_add(count(2).saturating_mul(SECTOR_BYTES));
        all.written_bytes = all
            .written_bytes
            .saturating_add(count(6).saturating_mul(SECTOR_BYTES));
    }
    all
}

/// `some avg10=0.12 avg60=… total=…`, microseconds, and the same for `full`.
pub(super) fn pressure_of(text: &str) -> Option<Pressure> {
    let number = |line: &str, name: &str| -> Option<f64> {
        let line = text.lines().find_map(|rest| rest.strip_prefix(line))?;
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name))?;
        word.parse().ok()
    };
    Some(Pressure {
        some_percent: number("some ", "avg10=")?,
        // Before Linux 5.13 nothing is said of all tasks waiting for processors.
        full_percent: number("full ", "avg10=").unwrap_or(0.0),
        some_total_seconds: number("some ", "total=")? / 1e6,
        full_total_seconds: number("full ", "total=").unwrap_or(0.0) / 1e6,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::system::frozen::machine;

    fn frozen(files: &[(&str, &str)]) -> (tempfile::TempDir, Sample) {
        let (folder, tables) = machine(files);
        let sample = sample_from(&tables);
        (folder, sample)
    }

    #[test]
    fn reads_every_table_of_a_frozen_machine() {
        let (_folder, sample) = frozen(&[
            ("proc/loadavg", "1.50 2.25 3.00 4/103 16082\n"),
            (
                "proc/stat",
                "cpu  100 20 30 400 50 6 7 8 0 0\ncpu0 1 1 1 1\nprocs_running 3\n",
            ),
            (
                "proc/meminfo",
                "MemTotal: 2048 kB\nMemFree: 10 kB\nMemAvailable: 1024 kB\nSwapFree: 4 kB\n",
            ),
            (
                "proc/diskstats",
                " 7 0 loop0 9 0 9 0 9 0 9 0\n 8 0 sda 10 0 20 0 30 0 40 0 0 0\n 8 1 sda1 10 0 20 0 30 0 40 0\n",
            ),
            (
                "proc/pressure/io",
                "some avg10=2.88 avg60=1.67 avg300=6.73 total=2000000\nfull avg10=0.76 total=1000000\n",
            ),
            ("proc/self/cgroup", "0::/\n"),
        ]);
        assert_eq!(sample.load, Some([1.5, 2.25, 3.0]));
        assert_eq!(sample.runnable, Some(3));
        let cpu = sample.cpu.unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(cpu.busy_seconds * ticks, 163.0);
        assert_eq!(cpu.idle_seconds * ticks, 450.0);
        assert_eq!(sample.memory.unwrap().available_bytes, 1024 * 1024);
        let io = sample.io.unwrap();
        assert_eq!(
            (io.operations, io.read_bytes, io.written_bytes),
            (40, 20 * 512, 40 * 512)
        );
        let pressure = sample.pressure_io.unwrap();
        assert_eq!(
            (pressure.some_percent, pressure.full_total_seconds),
            (2.88, 1.0)
        );
        assert_eq!(sample.missing, ["pressure of CPU", "pressure of memory"]);
    }

    #[test]
    fn names_what_is_missing_and_survives_what_is_damaged() {
        let (_folder, empty) = frozen(&[]);
        assert_eq!(empty.missing.len(), 8, "{:?}", empty.missing);
        let damaged = [
            ("proc/loadavg", "x"),
            ("proc/stat", "cpu  1\nprocs_running -4\n"),
            ("proc/meminfo", "MemTotal: 99999999999999999999999 kB\n"),
            (
                "proc/diskstats",
                "8 0\n\n8 0 sda 18446744073709551615 0 18446744073709551615 0 9 0 9\n",
            ),
            ("proc/pressure/cpu", "some avg10=x total=\n"),
        ];
        let (_folder, sample) = frozen(&damaged);
        assert_eq!(sample.missing.len(), 7, "{:?}", sample.missing);
        assert_eq!(sample.io.unwrap().operations, u64::MAX);
    }

    #[test]
    fn finds_room_for_what_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let room = disk_room(&folder.path().join("a/b/c")).unwrap();
        assert!(room.total_bytes >= room.available_bytes && room.total_bytes > 0);
        assert!(disk_room(Path::new("not-there")).is_some());
    }
}
