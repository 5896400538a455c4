//! What the system says of this process and this host.
//!
//! Linux's own files where they are; elsewhere what is not known is said to be not known.

#[cfg(test)]
mod frozen;
mod group;
mod limits;
mod sample;

use std::fs;

pub use group::{Group, GroupError, GroupIo, GroupUse};
pub use limits::Limits;
pub use sample::{
    BlockIo, CpuTimes, DiskRoom, Memory, Pressure, Sample, Tables, disk_room, pressure, sample,
    sample_from,
};

/// What a process has used; `None` where this system does not say.
pub struct Usage {
    /// CPU seconds in user mode, all threads.
    pub cpu_user_seconds: Option<f64>,
    /// CPU seconds in the kernel, all threads.
    pub cpu_system_seconds: Option<f64>,
    /// Largest resident set, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes written to storage.
    pub written_bytes: Option<u64>,
}

/// What this process has used until now, all its threads together.
pub fn own_usage() -> Usage {
    let (cpu_user_seconds, cpu_system_seconds) = cpu_seconds();
    Usage {
        cpu_user_seconds,
        cpu_system_seconds,
        peak_memory_bytes: field("/proc/self/status", "VmHWM:").map(|kib| kib * 1024),
        read_bytes: field("/proc/self/io", "read_bytes:"),
        written_bytes: field("/proc/self/io", "write_bytes:"),
    }
}

/// This host's name.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// What tells this machine from another without naming it: a part of the digest of its own random
/// identifier (machine-id(5)) and its processor's model; `None` where neither is known.
pub fn fingerprint() -> Option<String> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let text = format!(
        "agp:{}:{}",
        machine.trim(),
        model.unwrap_or_default().trim()
    );
    let is_known = !machine.trim().is_empty() || model.is_some();
    let digest = crate::base::digest::Digest::of(text.as_bytes()).to_string();
    is_known.then(|| digest.chars().take(16).collect())
}

/// This process's real user and its own number.
pub fn user_and_process() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), std::process::id())
}

/// User and system CPU seconds (proc(5), fields 14 and 15 of `stat`, in clock ticks).
fn cpu_seconds() -> (Option<f64>, Option<f64>) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else {
        return (None, None);
    };
    // The command's name may hold spaces and parentheses; the fields follow its last one.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |index: usize| {
        let ticks: u64 = fields.get(index)?.parse().ok()?;
        Some(ticks as f64 / ticks_per_second)
    };
    (seconds(11), seconds(12))
}

/// The number behind a label in one of the kernel's tables.
fn field(path: &str, label: &str) -> Option<u64> {
    let table = fs::read_to_string(path).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}
