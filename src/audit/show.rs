//! Reading records for people and for other programs: everything, or what a filter lets through.
//!
//! Proves nothing: a line that is no record is counted and passed over.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::record::Record;
use super::store::{ReadError, Snapshot};
use crate::base::clock::Timestamp;

/// Which records.
#[derive(Clone, Copy, Debug)]
pub struct ShowRequest<'a> {
    /// The log's directory.
    pub directory: &'a Path,
    /// Of those that pass the other filters, the last so many; `None` means all.
    pub last: Option<usize>,
    /// Events that begin with this: `integrity.`.
    pub event_prefix: Option<&'a str>,
    /// Not before this instant.
    pub since: Option<Timestamp>,
    /// Set by anyone, a signal handler perhaps, to make the work stop.
    pub interrupted: &'a AtomicBool,
}

/// What was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Records given to the visitor.
    pub records: u64,
    /// Lines that are no records; `agp audit verify` says more about them.
    pub unreadable: u64,
}

/// Gives each record that passes to `visit`, the oldest first. Holds one record at a time, or as
/// many as `last` says.
///
/// # Errors
/// Files that cannot be read, what `visit` says, and an interruption.
pub fn show(
    request: &ShowRequest<'_>,
    visit: &mut dyn FnMut(&Record) -> io::Result<()>,
) -> Result<Shown, ReadError> {
    let mut shown = Shown::default();
    let mut waiting = VecDeque::new();
    // Times of one form and zone are ordered as their texts are.
    let since = request.since.map(|instant| instant.to_string());
    Snapshot::take(request.directory)?.each_line(request.interrupted, &mut |line| {
        let Some(record) = line.text().and_then(|text| Record::parse(text).ok()) else {
            shown.unreadable += 1;
            return Ok(());
        };
        let passes = request
            .event_prefix
            .is_none_or(|prefix| record.event.starts_with(prefix))
            && since
                .as_ref()
                .is_none_or(|since| record.timestamp >= *since);
        match request.last {
            _ if !passes => Ok(()),
            None => {
                shown.records += 1;
                visit(&record).map_err(ReadError::Write)
            }
            Some(count) => {
                waiting.push_back(record);
                if waiting.len() > count {
                    waiting.pop_front();
                }
                Ok(())
            }
        }
    })?;
    for record in waiting {
        shown.records += 1;
        visit(&record).map_err(ReadError::Write)?;
    }
    Ok(shown)
}
