//! A program whose output is read while it runs: bounded in silence, ended with its reader.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is kept of what a program says on its stderr, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// How often a reader looks whether to stop.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A program to be started.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Program and arguments; not empty. No shell is involved.
    pub argv: &'a [OsString],
    /// Variables that it does not get to see.
    pub hidden: &'a [OsString],
    /// Variables that it sees beside our own.
    pub variables: &'a [(OsString, OsString)],
    /// How long it may say nothing.
    pub silence_max: Duration,
}

/// Where a program reads from.
#[derive(Debug)]
pub enum Input<'a, 'b> {
    /// Nothing.
    None,
    /// What we write.
    Written,
    /// What another program says.
    From(&'b mut Running<'a>),
}

/// Why a program did not come to a good end. Shows what it said on its stderr.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It could not be talked to.
    #[error("cannot talk to `{program}`")]
    Talk {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("`{program}` ended with {status}{}", said(complaint))]
    Failed {
        /// The program.
        program: String,
        /// Its code or signal.
        status: std::process::ExitStatus,
        /// What it said, trimmed; may be empty.
        complaint: String,
    },
}

fn said(complaint: &str) -> String {
    match complaint.is_empty() {
        true => String::new(),
        false => format!(": {complaint}"),
    }
}

/// A program that runs. It ends, with what it has started, when this is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    program: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    complaint: Option<JoinHandle<String>>,
    silence_max: Duration,
    stop: &'a AtomicBool,
    /// Whether it has come to its end and its number may be another's.
    is_ended: bool,
}

impl<'a> Running<'a> {
    /// Starts a program, which is left alone when `stop` is set.
    ///
    /// # Errors
    /// One that cannot be started.
    pub fn start(
        program: &Program<'_>,
        input: Input<'a, '_>,
        stop: &'a AtomicBool,
    ) -> Result<Self, StreamError> {
        let (name, arguments) = program.argv.split_first().unwrap_or((&EMPTY, &[]));
        let shown = name.to_string_lossy().into_owned();
        let failed = |source| StreamError::Start {
            program: shown.clone(),
            source,
        };
        let stdin = match input {
            Input::None => Stdio::null(),
            Input::Written => Stdio::piped(),
            Input::From(other) => other.output.take().map_or_else(Stdio::null, Stdio::from),
        };
        let mut command = Command::new(name);
        command
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what it starts ends with it.
            .process_group(0);
        for (name, value) in program.variables {
            command.env(name, value);
        }
        for name in program.hidden {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let stderr = child.stderr.take();
        Ok(Self {
            program: shown,
            input: child.stdin.take(),
            output: child.stdout.take(),
            complaint: stderr.map(|stderr| std::thread::spawn(|| complaint(stderr))),
            child,
            silence_max: program.silence_max,
            stop,
            is_ended: false,
        })
    }

    /// Tells the program something. What is told before anything is read has to fit into a pipe
    /// (64 KiB on Linux) together with what the program says to it.
    ///
    /// # Errors
    /// A program that does not listen.
    pub fn tell(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let told = self.input.as_mut().map(|input| input.write_all(bytes));
        told.transpose().map_err(|source| self.trouble(source))?;
        Ok(())
    }

    /// Lets the program know that it has been told everything.
    pub fn hang_up(&mut self) {
        drop(self.input.take());
    }

    /// Something went wrong in reading what it says.
    pub fn trouble(&self, source: io::Error) -> StreamError {
        StreamError::Talk {
            program: self.program.clone(),
            source,
        }
    }

    /// Lets the program come to its end, and says whether that was a good one. What was not read is
    /// lost.
    ///
    /// # Errors
    /// A bad end; one that takes too long.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        drop((self.input.take(), self.output.take()));
        let deadline = Instant::now() + self.silence_max;
        while Instant::now() < deadline && !self.stop.load(Ordering::Relaxed) {
            let ended = self.child.try_wait();
            let ended = ended.map_err(|source| self.trouble(source))?;
            self.is_ended = ended.is_some();
            match ended {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let complaint = self.complaint.take().map(JoinHandle::join);
                    return Err(StreamError::Failed {
                        program: self.program.clone(),
                        status,
                        complaint: complaint.and_then(Result::ok).unwrap_or_default(),
                    });
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(self.trouble(silence()))
    }
}

impl Read for Running<'_> {
    /// Reads what the program says. Ends with an error where it is silent for too long, or where
    /// the work is to stop.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = self.output.as_mut() else {
            return Ok(0);
        };
        let deadline = Instant::now() + self.silence_max;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("interrupted"));
            }
            let mut wanted = [PollFd::new(output, PollFlags::IN)];
            match poll(&mut wanted, Some(&LOOK)) {
                Ok(0) if Instant::now() < deadline => {}
                Ok(0) => return Err(silence()),
                Ok(_) => return output.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop((self.input.take(), self.output.take()));
        if !self.is_ended {
            super::end(&mut self.child);
        }
    }
}

static EMPTY: OsString = OsString::new();

fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it said nothing for too long")
}

/// The first bytes of what a program says on its stderr; the rest is read, so that it never waits,
/// and dropped.
fn complaint(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    // A stream that cannot be read any more has said everything.
    let _ = stderr
        .by_ref()
        .take(COMPLAINT_BYTES_MAX)
        .read_to_end(&mut kept);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn start<'a>(script: &str, stop: &'a AtomicBool, input: Input<'a, '_>) -> Running<'a> {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let program = Program {
            argv: &argv,
            hidden: &["PATH".into()],
            variables: &[("ADDED".into(), "here".into())],
            silence_max: Duration::from_millis(500),
        };
        Running::start(&program, input, stop).unwrap()
    }

    fn read(running: &mut Running<'_>) -> io::Result<String> {
        let mut text = String::new();
        running.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn answers_while_it_is_asked_and_reads_from_another() {
        let script = "echo $ADDED; while read -r line; do echo \"<$line>\"; done";
        let mut running = start(script, &STOP, Input::Written);
        running.tell(b"a\nb\n").unwrap();
        let mut answer = [0; 13];
        running.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"here\n<a>\n<b>\n");
        running.finish().unwrap();
        let mut first = start("echo one; echo two", &STOP, Input::None);
        let mut second = start("/usr/bin/wc -l", &STOP, Input::From(&mut first));
        assert_eq!(read(&mut second).unwrap().trim(), "2");
        second.finish().unwrap();
        first.finish().unwrap();
    }

    #[test]
    fn a_bad_end_comes_with_what_was_said_and_silence_and_a_stop_end_the_reading() {
        let mut running = start("echo no >&2; exit 3", &STOP, Input::None);
        assert_eq!(read(&mut running).unwrap(), "");
        let failed = running.finish().unwrap_err().to_string();
        assert_eq!(failed, "`/bin/sh` ended with exit status: 3: no");
        // A complaint without end keeps nobody waiting.
        let mut running = start("head -c 1000000 /dev/zero >&2; echo x", &STOP, Input::None);
        assert_eq!(read(&mut running).unwrap(), "x\n");
        let began = Instant::now();
        let mut running = start("exec sleep 60", &STOP, Input::None);
        assert_eq!(
            read(&mut running).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let stop = AtomicBool::new(true);
        let mut running = start("exec sleep 60", &stop, Input::None);
        assert_eq!(read(&mut running).unwrap_err().to_string(), "interrupted");
        assert!(running.finish().is_err());
        drop(start("sleep 60 & exec sleep 60", &STOP, Input::None));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
