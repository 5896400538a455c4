//! Running other programs: without our secrets in their environment, and never for longer than
//! was agreed.

mod confine;
mod enter;
mod governed;
mod stream;
mod tree;
mod waited;
mod waiting;

pub use confine::{Confine, can_confine};
pub use enter::{Enclosure, enter, find_program};
pub use governed::{
    Consumed, Ended, Governed, Identity, Started, Surroundings, descendants_of, govern, is_alive,
    reap_orphans, start, stop_descendants, stop_left_behind,
};
pub use stream::{Input, Program, Running, StreamError};
pub use tree::{Members, Moment, Threads, Tree, storage_of};
pub use waited::{Waited, waited_for};

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// A command that answers with a few bytes on its stdout.
#[derive(Debug)]
pub struct Query<'a> {
    /// Program and arguments; not empty. No shell is involved.
    pub argv: &'a [String],
    /// Variables that the program does not get to see.
    pub hidden: &'a [OsString],
    /// How long it may take.
    pub timeout: Duration,
    /// How much it may say, in bytes.
    pub bytes_max: u64,
}

/// Why a command gave no answer. Never shows what it printed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No program is named.
    #[error("the command is empty")]
    Empty,
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("`{program}` ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// Its code or signal.
        status: std::process::ExitStatus,
    },
    /// It did not end in time and was killed with what it had started.
    #[error("`{program}` did not answer within {} s", timeout.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// The time it had.
        timeout: Duration,
    },
    /// It said too much.
    #[error("`{program}` printed more than {bytes_max} bytes")]
    TooLong {
        /// The program.
        program: String,
        /// How much it might have said.
        bytes_max: u64,
    },
    /// Its output could not be read.
    #[error("cannot read what `{program}` prints")]
    Read {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs a command to its end and returns its stdout; its stderr goes to ours.
///
/// # Errors
/// A command that cannot start, fails, hangs or prints too much.
pub fn query(query: &Query<'_>) -> Result<Zeroizing<Vec<u8>>, QueryError> {
    let (program, arguments) = query.argv.split_first().ok_or(QueryError::Empty)?;
    let program = program.clone();
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    command.process_group(0);
    for name in query.hidden {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|source| QueryError::Start {
        program: program.clone(),
        source,
    })?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let limit = query.bytes_max.saturating_add(1);
        std::thread::spawn(move || {
            let mut bytes = Zeroizing::new(Vec::new());
            let read = stdout.take(limit).read_to_end(&mut bytes);
            // The receiver is gone only when time is up; then nobody wants the bytes.
            let _ = sender.send(read.map(|_| bytes));
        });
    }
    let deadline = Instant::now() + query.timeout;
    let answer = receiver.recv_timeout(query.timeout);
    let too_long = matches!(&answer, Ok(Ok(bytes)) if bytes.len() as u64 > query.bytes_max);
    if too_long {
        end(&mut child);
        return Err(QueryError::TooLong {
            program,
            bytes_max: query.bytes_max,
        });
    }
    let status = match answer.is_ok() {
        true => wait_until(&mut child, deadline),
        false => None,
    };
    let (Ok(read), Some(status)) = (answer, status) else {
        end(&mut child);
        return Err(QueryError::TimedOut {
            program,
            timeout: query.timeout,
        });
    };
    let bytes = read.map_err(|source| QueryError::Read {
        program: program.clone(),
        source,
    })?;
    match status.success() {
        true => Ok(bytes),
        false => Err(QueryError::Failed { program, status }),
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            _ => return None,
        }
    }
}

/// Kills a child with its whole group and reaps it.
fn end(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(id)
    {
        // Already gone is as good as killed.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Keeps other processes of this user from reading our memory, and the kernel from dumping it,
/// while a secret is in it. Linux only; elsewhere the system's own rules hold.
pub fn forbid_dumps() {
    #[cfg(target_os = "linux")]
    {
        // Refused only by sandboxes that forbid dumps themselves.
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn ask(script: &str) -> Result<Zeroizing<Vec<u8>>, QueryError> {
        let argv = ["/bin/sh", "-c", script].map(String::from);
        let hidden = ["PATH".into()];
        query(&Query {
            argv: &argv,
            hidden: &hidden,
            timeout: Duration::from_millis(400),
            bytes_max: 100,
        })
    }

    #[test]
    fn gives_what_the_command_prints_and_hides_variables_from_it() {
        assert_eq!(&**ask("echo answer").unwrap(), b"answer\n");
        // A shell without PATH sets its own default but does not export it.
        assert_eq!(
            &**ask("/usr/bin/env | /usr/bin/grep -c ^PATH=; true").unwrap(),
            b"0\n"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_holds_a_secret_is_not_dumpable() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        forbid_dumps();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn says_what_went_wrong_and_never_waits_longer_than_agreed() {
        assert!(matches!(ask("exit 3"), Err(QueryError::Failed { .. })));
        assert!(matches!(
            ask("echo secret; exec sleep 60"),
            Err(QueryError::TimedOut { .. })
        ));
        assert!(matches!(
            ask("sleep 60 & exec sleep 60"),
            Err(QueryError::TimedOut { .. })
        ));
        assert!(matches!(
            ask("while :; do echo xxxxxxxxxx; done"),
            Err(QueryError::TooLong { .. })
        ));
        let none = query(&Query {
            argv: &["/none/such".into()],
            hidden: &[],
            timeout: Duration::from_secs(1),
            bytes_max: 1,
        });
        assert!(matches!(none, Err(QueryError::Start { .. })));
    }
}
