//! The audit log: append-only, hash-chained, and sealed where there is a secret.
//!
//! Owns the format of `docs/formats/audit-log.md`: [`Log`] appends, [`verify()`] proves, [`show()`]
//! reads, [`export()`] translates. Knows no command, no policy file, no terminal and no clock: what
//! a record says comes with its [`Entry`].

mod export;
mod frame;
mod head;
mod log;
mod record;
mod rotate;
mod show;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

pub use export::{Format, export};
pub use frame::FrameError;
pub use head::{ExpectedHead, HeadTextError, head_text};
pub use log::{AppendError, Log, OpenRequest};
pub use record::{
    Actor, Ci, Decision, Entry, LINE_BYTES_MAX, Outcome, Record, RecordError, Resource, violations,
};
pub use show::{ShowRequest, Shown, show};
pub use store::ReadError;
pub use verify::{VerifyBody, VerifyRequest, VerifySummary, verify};
