//! The event as JSON on the standard input of a program of the user's.
//!
//! It sees none of our secrets and is stopped, with all that it has started, when its time is up.

use std::ffi::OsString;
use std::io::Read as _;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::super::message::Message;
use super::{ATTEMPT_MAX, Trouble, json};
use crate::process::{Input, Program, Running, StreamError};

/// What it says is read, so that it never waits, and dropped.
pub(super) fn send(
    message: &Message,
    (argv, hidden): (&[OsString], &[OsString]),
) -> Result<(), Trouble> {
    let program = Program {
        argv,
        hidden,
        variables: &[],
        silence_max: ATTEMPT_MAX,
    };
    let deadline = Instant::now() + ATTEMPT_MAX;
    let stop = AtomicBool::new(false);
    let failed = |error| Trouble::of_channel(in_words(&error));
    let mut running = Running::start(&program, Input::Written, &stop).map_err(failed)?;
    // A message fits into the pipe. Who does not listen may still do what he is there for.
    let _ = running.tell(&json(message));
    running.hang_up();
    let mut buffer = [0; 4096];
    loop {
        match running.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if Instant::now() < deadline => {}
            Ok(_) | Err(_) => {
                let seconds = ATTEMPT_MAX.as_secs();
                return Err(Trouble::of_channel(format!(
                    "it did not end within {seconds} s"
                )));
            }
        }
    }
    running.finish().map_err(failed)
}

/// Without what it said, which is a stranger's.
fn in_words(error: &StreamError) -> String {
    match error {
        StreamError::Start { source, .. } => format!("it cannot be started: {}", source.kind()),
        StreamError::Failed { status, .. } => format!("it ended with {status}"),
        StreamError::Talk { .. } => format!("it did not end within {} s", ATTEMPT_MAX.as_secs()),
    }
}
