//! A command that we answer for: it and everything that it starts is ours to stop.
//!
//! The command leads a process group of its own, and this process is the subreaper of its
//! descendants (prctl(2)), so that one that leaves the group, or whose parent dies, is found among
//! our children all the same. Knows nothing of what is done when it fails.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::QueryError;

/// How often to look whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A command, and how long it may take.
#[derive(Debug)]
pub struct Governed<'a> {
    /// Program and arguments; not empty. No shell is involved.
    pub argv: &'a [OsString],
    /// Variables that it does not get to see.
    pub hidden: &'a [OsString],
    /// How long it may take; `None`: as long as it wants.
    pub timeout: Option<Duration>,
    /// Set by anyone to stop it.
    pub interrupted: &'a AtomicBool,
    /// Where its stdout goes; `None`: where ours does.
    pub stdout: Option<&'a OwnedFd>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It took too long and was stopped.
    TimedOut,
    /// Somebody asked us to stop, and it was stopped.
    Interrupted,
}

impl Ended {
    /// Whether it says itself that all is well.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// For people: `exit 3`, `signal 9`, `no end in time`, `interrupted`.
impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
            Self::TimedOut => out.write_str("no end in time"),
            Self::Interrupted => out.write_str("interrupted"),
        }
    }
}

/// What identifies a process even after its number is used again: number and time of start.
pub type Identity = (u32, u64);

/// Runs a command to its end. `started` learns who it is before anything is waited for. A command
/// that ended by itself may leave descendants behind; [`stop_descendants`] ends them.
///
/// # Errors
/// A command that cannot start.
pub fn govern(
    governed: &Governed<'_>,
    started: &mut dyn FnMut(Identity),
) -> Result<Ended, QueryError> {
    let (program, arguments) = governed.argv.split_first().ok_or(QueryError::Empty)?;
    become_subreaper();
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    for name in governed.hidden {
        command.env_remove(name);
    }
    if let Some(Ok(stdout)) = governed.stdout.map(OwnedFd::try_clone) {
        command.stdout(Stdio::from(stdout));
    }
    let start = command.spawn();
    let mut child = start.map_err(|source| QueryError::Start {
        program: program.to_string_lossy().into_owned(),
        source,
    })?;
    started((child.id(), start_of(child.id()).unwrap_or(0)));
    let deadline = governed.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(ended(status));
        }
        let stopped = if governed.interrupted.load(Ordering::Relaxed) {
            Some(Ended::Interrupted)
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(Ended::TimedOut)
        } else {
            None
        };
        if let Some(stopped) = stopped {
            stop(&mut child);
            return Ok(stopped);
        }
        std::thread::sleep(PAUSE);
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

fn stop(child: &mut Child) {
    stop_group(child.id());
    // Already gone is as good as killed.
    let _ = child.kill();
    let _ = child.wait();
    stop_descendants();
}

fn stop_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Makes the orphans of our descendants our children, where the system can.
fn become_subreaper() {
    #[cfg(target_os = "linux")]
    {
        let own = rustix::process::getpid();
        // Without it, what leaves the group and loses its parent is not found.
        let _ = rustix::process::set_child_subreaper(Some(own));
    }
}

/// Kills every descendant, the orphaned ones included: each killed child hands its own children
/// over to us, until none is left.
pub fn stop_descendants() {
    // A process that starts others faster than we kill them would keep us here for ever.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let children = children_of(std::process::id());
        if children.is_empty() {
            return;
        }
        for child in children {
            stop_group(child);
            if let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(child, Signal::KILL);
                let options = rustix::process::WaitOptions::empty();
                let _ = rustix::process::waitpid(Some(child), options);
            }
        }
    }
}

/// Kills the group of a command that another process of ours started and did not live to stop.
/// Nothing happens where the leader is gone or its number is another's by now.
pub fn stop_left_behind((leader, start): Identity) {
    if start != 0 && start_of(leader) == Some(start) {
        stop_group(leader);
    }
}

/// Processes whose parent this is (proc(5), field 4 of `stat`).
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|process| field(*process, 1) == Some(u64::from(parent)))
        .collect()
}

/// When a process started, in clock ticks since the machine did (field 22).
fn start_of(process: u32) -> Option<u64> {
    field(process, 19)
}

/// A number of `stat`, counted from the state, which follows the name in parentheses.
fn field(process: u32, index: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields = stat.rsplit(')').next()?;
    fields.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn run(script: &str, timeout: Option<Duration>) -> Ended {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let governed = Governed {
            argv: &argv,
            hidden: &[],
            timeout,
            interrupted: &AtomicBool::new(false),
            stdout: None,
        };
        govern(&governed, &mut |_| {}).unwrap()
    }

    #[test]
    fn says_how_a_command_ended() {
        assert_eq!(run("exit 0", None), Ended::Code(0));
        assert_eq!(run("exit 3", None), Ended::Code(3));
        assert_eq!(run("kill -9 $$", None), Ended::Signal(9));
    }

    #[test]
    fn a_command_that_takes_too_long_ends_with_what_left_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alive");
        // A grandchild in a session of its own, whose parent is gone at once.
        let script = format!(
            "setsid sh -c 'while :; do date >> {0}; sleep 0.05; done' & sleep 60",
            file.to_string_lossy()
        );
        assert_eq!(
            run(&script, Some(Duration::from_millis(400))),
            Ended::TimedOut
        );
        let size = || std::fs::metadata(&file).map_or(0, |meta| meta.len());
        let before = size();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(size(), before);
        assert!(before > 0);
    }
}
