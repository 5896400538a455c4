//! A control group of version 2 of our own, for the exact account of everything in it
//! (`Documentation/admin-guide/cgroup-v2.rst`).
//!
//! Made below our own group or beside it, wherever this user may; which controllers it has is the
//! system's to say, so every number may be missing. Never knows who is in it, or why.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sample::{Pressure, Tables, pressure_of};

/// How long the kernel may take to empty a group that was killed.
const EMPTYING_MAX: Duration = Duration::from_secs(2);

/// A group that exists as long as this does.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The system has no hierarchy of version 2, or we are not in one.
    #[error("no control group of version 2 is mounted here")]
    None,
    /// This user may not make one.
    #[error("`{folder}` may not be divided")]
    Make {
        /// Our own group.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What everything in a group has used so far; `None` where its controller is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupUse {
    /// CPU in user mode, seconds.
    pub cpu_user_seconds: Option<f64>,
    /// CPU in the kernel, seconds.
    pub cpu_system_seconds: Option<f64>,
    /// Memory now, caches of files and kernel memory included, bytes.
    pub memory_bytes: Option<u64>,
    /// The most memory at one time, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Traffic with block devices.
    pub io: Option<GroupIo>,
    /// Stall for want of a processor.
    pub pressure_cpu: Option<Pressure>,
    /// Stall because of block devices.
    pub pressure_io: Option<Pressure>,
    /// Stall for want of memory.
    pub pressure_memory: Option<Pressure>,
}

/// Traffic with block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupIo {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads and writes.
    pub operations: u64,
}

impl Group {
    /// Makes a group below our own; beside it where only there memory is accounted for. `number`
    /// tells several of this process apart.
    ///
    /// # Errors
    /// No version 2, or no right to.
    pub fn create(tables: &Tables, number: u32) -> Result<Self, GroupError> {
        let (root, own) = own_group(tables).ok_or(GroupError::None)?;
        let beside = own.parent().filter(|parent| parent.starts_with(&root));
        let name = format!("agp-{}-{number}", std::process::id());
        let mut first = None;
        for place in [Some(own.as_path()), beside].into_iter().flatten() {
            clear(tables, place);
            let folder = place.join(&name);
            let made = match fs::create_dir(&folder) {
                Ok(()) => Self { folder },
                Err(source) if first.is_none() => {
                    first = Some(Err(GroupError::Make {
                        folder: place.to_owned(),
                        source,
                    }));
                    continue;
                }
                Err(_) => continue,
            };
            if made.folder.join("memory.peak").exists() {
                return Ok(made);
            }
            if !matches!(first, Some(Ok(_))) {
                first = Some(Ok(made));
            }
        }
        first.unwrap_or(Err(GroupError::None))
    }

    /// Its folder, whose `cgroup.procs` takes members.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has used.
    pub fn usage(&self) -> GroupUse {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse().ok();
        let stat = read("cpu.stat");
        let seconds = |label: &str| {
            let text = stat.as_deref()?;
            let word = text.lines().find_map(|line| line.strip_prefix(label))?;
            Some(word.trim().parse::<u64>().ok()? as f64 / 1e6)
        };
        let pressure = |name: &str| pressure_of(&read(name)?);
        GroupUse {
            cpu_user_seconds: seconds("user_usec "),
            cpu_system_seconds: seconds("system_usec "),
            memory_bytes: number("memory.current"),
            memory_peak_bytes: number("memory.peak"),
            io: read("io.stat").map(|text| io_of(&text)),
            pressure_cpu: pressure("cpu.pressure"),
            pressure_io: pressure("io.pressure"),
            pressure_memory: pressure("memory.pressure"),
        }
    }

    /// Lets everything in it together have so much memory; the kernel kills all of it where that is not
    /// enough.
    ///
    /// # Errors
    /// A group that does not account for memory.
    pub fn limit_memory(&self, bytes_max: u64) -> io::Result<()> {
        // Both are files of the controller: neither is made where it is missing.
        let set = |name: &str, value: &str| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(self.folder.join(name))?;
            io::Write::write_all(&mut file, value.as_bytes())
        };
        set("memory.oom.group", "1")?;
        set("memory.max", &bytes_max.to_string())
    }

    /// Whether anything in it was killed for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let kills = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|kills| kills.trim() != "0")
    }

    /// Numbers of the processes in it.
    pub fn members(&self) -> Vec<u32> {
        let list = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills everything in it, groups below included; `false` where the kernel cannot (before 5.14).
    pub fn kill(&self) -> bool {
        fs::write(self.folder.join("cgroup.kill"), "1").is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTYING_MAX;
        // What was killed leaves the group a moment later. A group that stays is cleared by the next
        // run.
        while remove(&self.folder).is_err() && Instant::now() < deadline {
            if !self.kill() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Removes a group with those below it; the kernel refuses where somebody is in one.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Removes groups that runs left behind which were killed.
fn clear(tables: &Tables, place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| {
            let (maker, _) = name.strip_prefix("agp-")?.split_once('-')?;
            maker.parse::<u32>().ok()
        });
        if maker.is_some_and(|maker| !tables.proc.join(maker.to_string()).exists()) {
            // One that is not empty is not ours to clear.
            let _ = remove(&entry.path());
        }
    }
}

/// Where version 2 is mounted, and our own group below that.
fn own_group(tables: &Tables) -> Option<(PathBuf, PathBuf)> {
    let groups = fs::read_to_string(tables.proc.join("self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string(tables.proc.join("self/mountinfo")).ok()?;
    mounts.lines().find_map(|line| {
        // `ID PARENT DEVICE ROOT PLACE OPTIONS … - TYPE SOURCE OPTIONS` (proc(5)).
        let (mount, kind) = line.split_once(" - ")?;
        let is_version_2 = kind.split(' ').next() == Some("cgroup2");
        let mut words = mount.split(' ').skip(3);
        let (root, place) = (words.next()?, words.next()?);
        // A container sees its own group as the root, or one above it that it cannot reach.
        let below = Path::new(own).strip_prefix(root).ok()?;
        let is_reachable = !own.split('/').any(|part| part == "..");
        let place = PathBuf::from(unescaped(place));
        let folder = place.join(below);
        (is_version_2 && is_reachable && folder.is_dir()).then_some((place, folder))
    })
}

/// A path of `mountinfo`, in which blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

/// `MAJOR:MINOR rbytes=… wbytes=… rios=… wios=… …`, one line a device.
fn io_of(text: &str) -> GroupIo {
    let sum = |label: &str| {
        let words = text.split_whitespace();
        let numbers = words.filter_map(|word| word.strip_prefix(label)?.parse::<u64>().ok());
        numbers.fold(0, u64::saturating_add)
    };
    GroupIo {
        read_bytes: sum("rbytes="),
        written_bytes: sum("wbytes="),
        operations: sum("rios=").saturating_add(sum("wios=")),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    /// A machine whose version 2 is mounted in a folder with a blank in its name.
    fn machine(own: &str, root: &str) -> (tempfile::TempDir, Tables) {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables {
            proc: folder.path().join("proc"),
            cgroup: folder.path().join("c g"),
        };
        fs::create_dir_all(tables.proc.join("self")).unwrap();
        fs::create_dir_all(&tables.cgroup).unwrap();
        fs::write(
            tables.proc.join("self/cgroup"),
            format!("4:memory:/x\n0::{own}\n"),
        )
        .unwrap();
        let place = tables.cgroup.to_str().unwrap().replace(' ', "\\040");
        let line = format!("35 24 0:30 {root} {place} rw shared:9 - cgroup2 cgroup2 rw\n");
        let other = "36 24 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        fs::write(tables.proc.join("self/mountinfo"), format!("{other}{line}")).unwrap();
        (folder, tables)
    }

    #[test]
    fn makes_a_group_below_ours_accounts_for_it_and_takes_it_away() {
        let (_folder, tables) = machine("/user/job", "/user");
        fs::create_dir_all(tables.cgroup.join("job/agp-4194999-1/inner")).unwrap();
        let group = Group::create(&tables, 7).unwrap();
        let name = format!("agp-{}-7", std::process::id());
        assert_eq!(group.folder(), tables.cgroup.join("job").join(name));
        assert!(
            !tables.cgroup.join("job/agp-4194999-1").exists(),
            "what a killed run left is cleared"
        );
        assert_eq!(group.usage(), GroupUse::default());
        let files = [
            (
                "cpu.stat",
                "usage_usec 3500000\nuser_usec 2500000\nsystem_usec 1000000\n",
            ),
            ("memory.peak", "4096\n"),
            ("memory.current", "1024\n"),
            (
                "io.stat",
                "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=1 wios=3\n",
            ),
            (
                "io.pressure",
                "some avg10=0.00 total=2000000\nfull avg10=0.00 total=500000\n",
            ),
            ("cgroup.procs", "12\n13\n"),
        ];
        for (name, text) in files {
            fs::write(group.folder().join(name), text).unwrap();
        }
        let usage = group.usage();
        assert_eq!(
            (usage.cpu_user_seconds, usage.cpu_system_seconds),
            (Some(2.5), Some(1.0))
        );
        assert_eq!(
            (usage.memory_peak_bytes, usage.memory_bytes),
            (Some(4096), Some(1024))
        );
        let io = usage.io.unwrap();
        assert_eq!(
            (io.read_bytes, io.written_bytes, io.operations),
            (11, 20, 6)
        );
        assert_eq!(usage.pressure_io.unwrap().full_total_seconds, 0.5);
        assert_eq!((usage.pressure_cpu, group.members()), (None, vec![12, 13]));
        // The kernel's files vanish with their group; these have to be taken away first.
        for entry in fs::read_dir(group.folder()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let folder = group.folder().to_owned();
        drop(group);
        assert!(!folder.exists());
    }

    #[test]
    fn says_where_there_can_be_none() {
        let (_folder, tables) = machine("/../up", "/");
        assert!(matches!(Group::create(&tables, 1), Err(GroupError::None)));
        let (_folder, tables) = machine("/elsewhere", "/user");
        assert!(matches!(Group::create(&tables, 1), Err(GroupError::None)));
        let (_folder, tables) = machine("/", "/");
        fs::remove_dir(&tables.cgroup).unwrap();
        fs::write(&tables.cgroup, "").unwrap();
        assert!(matches!(Group::create(&tables, 1), Err(GroupError::None)));
    }
}
