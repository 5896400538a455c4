//! The end of the log, found from behind: the newest record, and what a crash left after it.
//!
//! Judges nothing: whether a torn end is a crash's or an adversary's shows in the head.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::head::Link;
use super::record::LINE_BYTES_MAX;
use super::store;
use crate::base::digest::{Digest, Hasher};
use crate::base::files::FileError;

/// How much is read at once on the way back.
const STEP_BYTES: u64 = 1 << 14;

/// The last thing in the log that is whole.
#[derive(Debug)]
pub(super) enum Tail {
    /// The log holds nothing whole and at most one torn line.
    Empty,
    /// A record.
    Record(Link),
    /// More than one line at the end is no record, or an endless one: no crash does that.
    Unreadable,
}

/// The last line, where it is no record: cut off, or not all of it reached the disk.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) segment: u64,
    /// Where it begins in its segment.
    pub(super) from: u64,
    pub(super) size_bytes: u64,
    pub(super) sha256: Digest,
}

/// Finds the end of a log, whose segments are ascending.
pub(super) fn find(directory: &Path, segments: &[u64]) -> Result<(Tail, Option<Torn>), FileError> {
    let mut torn = None;
    for &segment in segments.iter().rev() {
        let file = store::open_segment(directory, segment)?;
        let failed =
            |source| FileError::at("read", &store::segment_path(directory, segment))(source);
        let mut end = file.metadata().map_err(failed)?.len();
        while end > 0 {
            let Some(from) = line_start(&file, end).map_err(failed)? else {
                return Ok((Tail::Unreadable, torn));
            };
            if let Some(link) = read_link(&file, from, end).map_err(failed)? {
                return Ok((Tail::Record(link), torn));
            }
            if torn.is_some() {
                return Ok((Tail::Unreadable, torn));
            }
            let size_bytes = end - from;
            let sha256 = digest_of(&file, from, end).map_err(failed)?;
            torn = Some(Torn {
                segment,
                from,
                size_bytes,
                sha256,
            });
            end = from;
        }
    }
    Ok((Tail::Empty, torn))
}

/// Where the line begins that ends (with or without a newline) before `end`, which is above 0.
/// `None` where it is longer than any that this program writes: no crash leaves that, and whoever
/// did may have made it longer than anyone can read.
fn line_start(file: &File, end: u64) -> io::Result<Option<u64>> {
    let mut buffer = [0; STEP_BYTES as usize];
    // The newline that may close the line itself does not count.
    let mut until = end - 1;
    let lowest = end.saturating_sub(LINE_BYTES_MAX as u64 + 1);
    while until > lowest {
        let from = until.saturating_sub(STEP_BYTES);
        let part = &mut buffer[..(until - from) as usize];
        file.read_exact_at(part, from)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(from + at as u64 + 1));
        }
        until = from;
    }
    Ok((until == 0).then_some(0))
}

/// The record of a whole line; `None` for anything else.
fn read_link(file: &File, from: u64, end: u64) -> io::Result<Option<Link>> {
    if end - from > LINE_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut line = vec![0; (end - from) as usize];
    file.read_exact_at(&mut line, from)?;
    Ok(Link::of_line(&line))
}

/// The digest of a part of a file, whatever its length.
fn digest_of(file: &File, mut from: u64, end: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = [0; STEP_BYTES as usize];
    while from < end {
        let part = &mut buffer[..STEP_BYTES.min(end - from) as usize];
        file.read_exact_at(part, from)?;
        hasher.update(part);
        from += part.len() as u64;
    }
    Ok(hasher.finish())
}
