//! What the control groups of this process allow, version 2 or 1 (cgroups(7)).
//!
//! A group's limit binds everything below it, so the tightest from our own group up to the root
//! counts. Inside a container the path of the group may not be there: then the root of what is
//! mounted is the container's own.

use std::fs;
use std::path::{Path, PathBuf};

use super::sample::Tables;

/// Limits from here on are the kernel's way to say that there is none (version 1).
const UNLIMITED_BYTES: u64 = 1 << 60;

/// What the control groups allow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Whether the system says of a control group at all.
    pub is_known: bool,
    /// Processors' worth of time, as 1.5; `None`: not limited.
    pub cpus: Option<f64>,
    /// Bytes of memory; `None`: not limited.
    pub memory_bytes: Option<u64>,
    /// Bytes that the group with that limit uses, caches that can be dropped not counted.
    pub memory_used_bytes: Option<u64>,
}

/// The limits of the process whose tables these are.
pub(super) fn limits(tables: &Tables) -> Limits {
    let Ok(text) = fs::read_to_string(tables.proc.join("self/cgroup")) else {
        return Limits::default();
    };
    let mut limits = Limits {
        is_known: true,
        ..Limits::default()
    };
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        let has = |name: &str| controllers.split(',').any(|one| one == name);
        if controllers.is_empty() {
            for folder in folders(&tables.cgroup, group) {
                limits.tighten_cpus(cpus_of(&folder));
                limits.tighten_memory(&folder, ["memory.max", "memory.current", "inactive_file "]);
            }
        } else if has("cpu") {
            for folder in folders(&tables.cgroup.join("cpu"), group) {
                limits.tighten_cpus(cpus_of_version_1(&folder));
            }
        } else if has("memory") {
            let files = [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ];
            for folder in folders(&tables.cgroup.join("memory"), group) {
                limits.tighten_memory(&folder, files);
            }
        }
    }
    limits
}

impl Limits {
    fn tighten_cpus(&mut self, cpus: Option<f64>) {
        let Some(cpus) = cpus else { return };
        self.cpus = Some(self.cpus.map_or(cpus, |known| known.min(cpus)));
    }

    /// `[limit, usage, label of the cache in memory.stat]`.
    fn tighten_memory(&mut self, folder: &Path, [limit, usage, cache]: [&str; 3]) {
        let Some(bytes) = number(&folder.join(limit)).filter(|bytes| *bytes < UNLIMITED_BYTES)
        else {
            return;
        };
        if self.memory_bytes.is_some_and(|known| known <= bytes) {
            return;
        }
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat
            .lines()
            .find_map(|line| line.strip_prefix(cache)?.parse().ok());
        self.memory_bytes = Some(bytes);
        self.memory_used_bytes =
            number(&folder.join(usage)).map(|used| used.saturating_sub(cached.unwrap_or(0)));
    }
}

/// The folders from a group up to the root of its hierarchy.
fn folders(root: &Path, group: &str) -> Vec<PathBuf> {
    let own = root.join(group.trim_start_matches('/'));
    let up = own
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    up.map(Path::to_owned).collect()
}

/// `MAX PERIOD` in microseconds, or `max PERIOD`.
fn cpus_of(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn cpus_of_version_1(folder: &Path) -> Option<f64> {
    // -1, which is no number here: not limited.
    let quota = number(&folder.join("cpu.cfs_quota_us"))?;
    let period = number(&folder.join("cpu.cfs_period_us"))?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::frozen::machine;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Limits) {
        let (_folder, tables) = machine(files);
        assert_eq!(limits(&tables), expected, "{files:?}");
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let known = Limits {
            is_known: true,
            ..Limits::default()
        };
        check(&[], Limits::default());
        check(&[("proc/self/cgroup", "0::/a/b\nnonsense\n")], known);
        let version_2 = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/cpu.max", "max 100000\n"),
            ("cgroup/a/cpu.max", "150000 100000\n"),
            ("cgroup/a/b/memory.max", "4096\n"),
            ("cgroup/a/b/memory.current", "1000\n"),
            ("cgroup/a/b/memory.stat", "anon 1\ninactive_file 400\n"),
            ("cgroup/a/memory.max", "max\n"),
            ("cgroup/memory.max", "9999\n"),
        ];
        let expected = Limits {
            is_known: true,
            cpus: Some(1.5),
            memory_bytes: Some(4096),
            memory_used_bytes: Some(600),
        };
        check(&version_2, expected);
        let version_1 = [
            ("proc/self/cgroup", "4:memory:/c\n2:cpu,cpuacct:/c\n0::/\n"),
            // Mounted as a container sees it: the group itself is the root.
            ("cgroup/memory/memory.limit_in_bytes", "4096\n"),
            ("cgroup/memory/memory.usage_in_bytes", "700\n"),
            ("cgroup/memory/memory.stat", "total_inactive_file 100\n"),
            ("cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
            ("cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        check(&version_1, expected);
        let unlimited = [
            ("proc/self/cgroup", "4:memory:/\n2:cpu:/\n"),
            (
                "cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        check(&unlimited, known);
    }
}
