//! A command that we answer for: it and everything that it starts is ours to stop.
//!
//! The command leads a process group of its own, and this process is the subreaper of its
//! descendants (prctl(2)), so that one that leaves the group, or whose parent dies, is found among
//! our children all the same. Knows nothing of what is done when it fails.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use wait4::Wait4;

use super::QueryError;

/// How often to look whether it has ended, where the system does not wake us (before Linux 5.3).
const PAUSE: Duration = Duration::from_millis(5);
/// How often to look whether it has to be stopped.
const LOOK: Duration = Duration::from_millis(50);

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
    /// Set by who sees it take more memory than it may; `None`: nobody looks.
    pub exceeded: Option<&'a AtomicBool>,
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
    /// It took too much memory and was stopped.
    TooLarge,
    /// Somebody asked us to stop, and it was stopped.
    Interrupted,
}

impl Ended {
    /// Whether it says itself that all is well.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// For people, behind "ended with": `exit 3`, `signal 9`, `a stop for its time`, `a stop for its memory`,
/// `an interruption`.
impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
            Self::TimedOut => out.write_str("a stop for its time"),
            Self::TooLarge => out.write_str("a stop for its memory"),
            Self::Interrupted => out.write_str("an interruption"),
        }
    }
}

/// What identifies a process even after its number is used again: number and time of start.
pub type Identity = (u32, u64);

/// Where a command runs and what it sees besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// Variables that it sees beside our own.
    pub variables: &'a [(OsString, OsString)],
    /// Its working directory; `None`: ours.
    pub directory: Option<&'a Path>,
}

/// What a command has used, with every descendant that it or they waited for (wait4(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consumed {
    /// CPU in user mode.
    pub cpu_user: Duration,
    /// CPU in the kernel.
    pub cpu_system: Duration,
    /// The largest resident set of any one process, bytes. Never below our own at the time of the
    /// start: the kernel hands that on.
    pub resident_bytes_max: u64,
}

/// Runs a command to its end. `started` learns who it is before anything is waited for. A command
/// that ended by itself may leave descendants behind; [`stop_descendants`] ends them.
///
/// # Errors
/// A command that cannot start.
pub fn govern(
    governed: &Governed<'_>,
    started: &mut dyn FnMut(Identity),
) -> Result<Ended, QueryError> {
    let running = start(governed, Surroundings::default())?;
    started(running.identity());
    let stopped = running.watch(governed, &mut || {});
    let (ended, _) = running.reap();
    if stopped.is_some() {
        stop_descendants();
    }
    Ok(stopped.unwrap_or(ended))
}

/// Starts a command, for those who look at it while it runs: [`Started::watch`] it, then
/// [`Started::reap`] it.
///
/// # Errors
/// A command that cannot start.
pub fn start(
    governed: &Governed<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Started, QueryError> {
    let (program, arguments) = governed.argv.split_first().ok_or(QueryError::Empty)?;
    become_subreaper();
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    if let Some(directory) = surroundings.directory {
        command.current_dir(directory);
    }
    for (name, value) in surroundings.variables {
        command.env(name, value);
    }
    for name in governed.hidden {
        command.env_remove(name);
    }
    if let Some(Ok(stdout)) = governed.stdout.map(OwnedFd::try_clone) {
        command.stdout(Stdio::from(stdout));
    }
    let child = command.spawn().map_err(|source| QueryError::Start {
        program: program.to_string_lossy().into_owned(),
        source,
    })?;
    Ok(Started {
        end: end_of(child.id()),
        deadline: governed.timeout.map(|timeout| Instant::now() + timeout),
        child,
    })
}

/// A command that runs.
#[derive(Debug)]
pub struct Started {
    child: Child,
    /// Readable once it has ended; `None` where the system has no such thing.
    end: Option<OwnedFd>,
    deadline: Option<Instant>,
}

impl Started {
    /// Who it is.
    pub fn identity(&self) -> Identity {
        let process = self.child.id();
        (process, start_of(process).unwrap_or(0))
    }

    /// Waits until it has ended, or kills it with its group when it has to be stopped and says why.
    /// What is left of it can still be looked at until [`Self::reap`]. `meanwhile` runs now and then.
    pub fn watch(&self, governed: &Governed<'_>, meanwhile: &mut dyn FnMut()) -> Option<Ended> {
        while !self.has_ended() {
            let is_late = || {
                self.deadline
                    .is_some_and(|deadline| Instant::now() >= deadline)
            };
            let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
            let stopped = match governed.exceeded.is_some_and(is_set) {
                _ if is_set(governed.interrupted) => Some(Ended::Interrupted),
                true => Some(Ended::TooLarge),
                false => is_late().then_some(Ended::TimedOut),
            };
            if stopped.is_some() {
                stop_group(self.child.id());
                kill(self.child.id());
                while !self.has_ended() {
                    self.pause();
                }
                return stopped;
            }
            meanwhile();
            self.pause();
        }
        None
    }

    /// Takes what is left of a command that has ended: how it did, and what it has used.
    pub fn reap(self) -> (Ended, Consumed) {
        // Whoever reaped it before us has taken both answers.
        let Ok(reaped) = self.child.wait4() else {
            return (Ended::Signal(0), Consumed::default());
        };
        let consumed = Consumed {
            cpu_user: reaped.rusage.utime,
            cpu_system: reaped.rusage.stime,
            resident_bytes_max: reaped.rusage.maxrss,
        };
        (ended(reaped.status), consumed)
    }

    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // No such child: it ended, and somebody else took what was left of it.
        let found = |id| rustix::process::waitid(WaitId::Pid(id), options);
        pid_of(self.child.id()).is_none_or(|id| !matches!(found(id), Ok(None)))
    }

    /// Sleeps until it ends or it is time to look again.
    fn pause(&self) {
        let Some(end) = &self.end else {
            return std::thread::sleep(PAUSE);
        };
        let left = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        let pause = left
            .map_or(LOOK, |left| left.min(LOOK))
            .max(Duration::from_millis(1));
        let pause = Timespec::try_from(pause).ok();
        // A signal that interrupts it is a reason to look, too.
        let _ = poll(&mut [PollFd::new(end, PollFlags::IN)], pause.as_ref());
    }
}

#[cfg(target_os = "linux")]
fn end_of(process: u32) -> Option<OwnedFd> {
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(pid_of(process)?, flags).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: u32) -> Option<OwnedFd> {
    None
}

fn pid_of(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

fn kill(process: u32) {
    if let Some(process) = pid_of(process) {
        // Already gone is as good as killed.
        let _ = rustix::process::kill_process(process, Signal::KILL);
    }
}

/// Takes what is left of orphans that were handed over to us and have ended, so that they do not use
/// up the system's numbers. The named command is left alone. What they used counts as ours.
pub fn reap_orphans(command: Identity) {
    for child in children_of(std::process::id()) {
        if child != command.0 {
            // One that still runs is left to it.
            let _ = rustix::process::waitpid(pid_of(child), WaitOptions::NOHANG);
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

fn stop_group(leader: u32) {
    if let Some(group) = pid_of(leader) {
        // Already gone is as good as killed.
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
            kill(child);
            let _ = rustix::process::waitpid(pid_of(child), WaitOptions::empty());
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

/// Processes whose parent this is: by the kernel's own list (proc(5), `children`), where it keeps
/// one, else by asking every process (field 4 of `stat`).
pub(super) fn children_of(parent: u32) -> Vec<u32> {
    let numbers = |folder: &str| -> Vec<u32> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        names.collect()
    };
    let threads = numbers(&format!("/proc/{parent}/task"));
    let list = |thread: &u32| {
        std::fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).ok()
    };
    let lists: Vec<String> = threads.iter().filter_map(list).collect();
    if !lists.is_empty() {
        let children = lists.iter().flat_map(|list| list.split_whitespace());
        return children.filter_map(|child| child.parse().ok()).collect();
    }
    let mut all = numbers("/proc");
    all.retain(|process| field(*process, 1) == Some(u64::from(parent)));
    all
}

/// Every descendant of a process, each once, in no order.
pub fn descendants_of(top: u32) -> Vec<u32> {
    let mut all = children_of(top);
    let mut at = 0;
    while at < all.len() {
        all.extend(children_of(all[at]));
        at += 1;
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a process runs, as one that has ended and only waits to be reaped does not.
pub fn is_alive(process: u32) -> bool {
    field(process, 0).is_some_and(|state: char| !matches!(state, 'Z' | 'X'))
}

/// When a process started, in clock ticks since the machine did (field 22).
fn start_of(process: u32) -> Option<u64> {
    field(process, 19)
}

/// A field of `stat`, counted from the state, which follows the name in parentheses.
fn field<T: FromStr>(process: u32, index: usize) -> Option<T> {
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
            exceeded: None,
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

    // That what left its group ends with it is shown on the program itself, whose children are all
    // its own: see `tests/it/profile.rs`.
    #[test]
    fn a_command_that_takes_too_long_is_stopped() {
        let argv = ["/bin/sleep", "60"].map(OsString::from);
        let governed = Governed {
            argv: &argv,
            hidden: &[],
            timeout: Some(Duration::from_millis(100)),
            interrupted: &AtomicBool::new(false),
            exceeded: None,
            stdout: None,
        };
        let running = start(&governed, Surroundings::default()).unwrap();
        assert_eq!(running.watch(&governed, &mut || {}), Some(Ended::TimedOut));
        let (ended, consumed) = running.reap();
        assert_eq!(ended, Ended::Signal(9));
        assert!(consumed.resident_bytes_max > 0);
    }

    #[test]
    fn lists_its_own_children() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        assert!(children_of(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
