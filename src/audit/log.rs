//! Appending: find the end, mend what a crash left, write one record, keep the head.
//!
//! Knows no policy and no clock; the times of what it records by itself are those of the entry
//! that brought it here.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::frame::Frame;
use super::head::{Head, HeadFile, Link, Standing, standing};
use super::record::{Entry, Outcome, Place, Record, RecordError, VERSION};
use super::rotate::Current;
use super::store;
use super::tail::{self, Tail, Torn};
use crate::base::files::{self, FileError};
use crate::report::AuditHead;
use crate::seal::Secret;

/// The event of a record that tells what a crash, or worse, left at the end.
pub(super) const RECOVERED: &str = "audit.recovered";
/// The event of a record that tells which records are removed.
pub(super) const PRUNED: &str = "audit.pruned";

/// Why nothing, or nothing certain, was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A file of the log.
    #[error("cannot write the audit log")]
    File(#[from] FileError),
    /// The entry has no form as a record.
    #[error("the entry cannot be recorded")]
    Record(#[from] RecordError),
    /// No random identifier for a new log.
    #[error("cannot draw a random identifier for the audit log")]
    Random(#[source] getrandom::Error),
}

/// Which log to append to, and how it is kept.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Where it lies.
    pub directory: PathBuf,
    /// A segment that would grow beyond this many bytes is followed by the next one, as is one
    /// that was begun 30 days ago.
    pub segment_bytes_max: u64,
    /// How many segments are kept, the current one included (never fewer than that one);
    /// `None` keeps all.
    pub segments_kept: Option<u64>,
}

/// An audit log that any number of threads and processes may append to at once.
#[derive(Clone, Debug)]
pub struct Log(OpenRequest);

impl Log {
    /// Creates the directory where it is missing (0700).
    ///
    /// # Errors
    /// A symbolic link or anything else that is no directory, and what the system says.
    pub fn open(request: OpenRequest) -> Result<Self, AppendError> {
        match store::check_directory(&request.directory) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                files::create_private_directory(&request.directory)?;
            }
            checked => checked?,
        }
        Ok(Self(request))
    }

    /// Appends one record, durably, and gives the head that the log has then. Waits for other
    /// writers. Before it may come a record of what a crash left (`audit.recovered`), after it
    /// one of segments being removed (`audit.pruned`).
    ///
    /// # Errors
    /// An entry with numbers that are not integers from 0 to 2^53−1, or longer than a line may
    /// be, and what the system says. Then the log holds no half record: at worst the record is
    /// complete and `head.json` still tells of the one before.
    pub fn append(&self, entry: &Entry, secret: Option<&Secret>) -> Result<AuditHead, AppendError> {
        store::check_directory(&self.0.directory)?;
        let _lock = store::lock(&self.0.directory)?;
        let mut writer = Writer::begin(&self.0, secret)?;
        writer.mend(entry)?;
        let head = writer.write(entry)?;
        Ok(writer.prune(entry)?.unwrap_or(head))
    }
}

/// The log as one append finds and leaves it, under the lock.
struct Writer<'a> {
    log: &'a OpenRequest,
    secret: Option<&'a Secret>,
    /// Ascending; the last one is appended to. Empty before the first record.
    segments: Vec<u64>,
    /// The last segment.
    current: Current,
    head: HeadFile,
    tail: Tail,
    torn: Option<Torn>,
    /// What the next record follows.
    newest: Option<Link>,
    /// Whether a record of this log may have been sealed.
    keyed: bool,
}

impl<'a> Writer<'a> {
    fn begin(log: &'a OpenRequest, secret: Option<&'a Secret>) -> Result<Self, AppendError> {
        let segments = store::segments(&log.directory)?;
        let current = match segments.last() {
            Some(number) => current(&log.directory, *number)?,
            None => Current::default(),
        };
        let (tail, torn) = tail::find(&log.directory, &segments)?;
        let newest = match &tail {
            Tail::Record(link) => Some(link.clone()),
            Tail::Empty | Tail::Unreadable => None,
        };
        Ok(Self {
            log,
            secret,
            segments,
            current,
            head: store::read_head(&log.directory)?,
            tail,
            torn,
            newest,
            keyed: false,
        })
    }

    /// Brings log and head together again, and records what had to be done for it.
    fn mend(&mut self, entry: &Entry) -> Result<(), AppendError> {
        let standing = match self.tail {
            Tail::Unreadable => Standing::Apart,
            Tail::Empty | Tail::Record(_) => standing(&self.head, self.newest.as_ref()),
        };
        let head_keyed = matches!(&self.head, HeadFile::Known(head) if head.keyed);
        let sealed = self.newest.as_ref().is_some_and(|link| link.mac.is_some());
        // What is not known counts as sealed: then only a sealed record may tell of pruning.
        self.keyed = head_keyed || sealed || standing == Standing::Apart;
        match standing {
            Standing::Agreed => self.cut_torn(entry),
            Standing::Behind => {
                // The head is never more than one record behind, so that more than one is a sign.
                self.write_head()?;
                self.cut_torn(entry)
            }
            Standing::Apart => self.step_aside(entry),
        }
    }

    /// Cuts off what a stopped writer left of its line: nobody was told that it was recorded.
    fn cut_torn(&mut self, entry: &Entry) -> Result<(), AppendError> {
        let Some(torn) = self.torn.take() else {
            return Ok(());
        };
        store::cut_segment(&self.log.directory, torn.segment, torn.from)?;
        if self.segments.last() == Some(&torn.segment) {
            self.current.size_bytes = torn.from;
        }
        let details = json!({
            "reason": "torn_tail", "segment": store::segment_name(torn.segment),
            "size_bytes": torn.size_bytes, "sha256": torn.sha256,
        });
        self.write(&own_entry(RECOVERED, entry, details))?;
        Ok(())
    }

    /// Leaves everything that no crash explains as it stands, goes on in a new segment, and
    /// continues the chain from whichever end is further: what is missing stays visible for ever.
    fn step_aside(&mut self, entry: &Entry) -> Result<(), AppendError> {
        let details = json!({
            "reason": "head_disagrees",
            "head": match &self.head {
                HeadFile::Known(head) => json!(head),
                HeadFile::Missing | HeadFile::Malformed => Value::Null,
            },
            "newest_record": self.newest,
        });
        if let HeadFile::Known(head) = &self.head {
            let log_goes_on = self.newest.as_ref().is_some_and(|newest| {
                newest.log_id == head.log_id && newest.sequence > head.sequence
            });
            if !log_goes_on {
                self.newest = Some(Link {
                    log_id: head.log_id.clone(),
                    mac: head.mac,
                    previous: None,
                    record_sha256: head.record_sha256,
                    sequence: head.sequence,
                });
            }
        }
        self.begin_segment();
        self.write(&own_entry(RECOVERED, entry, details))?;
        Ok(())
    }

    fn begin_segment(&mut self) {
        let number = self
            .segments
            .last()
            .map_or(1, |last| last.saturating_add(1));
        self.segments.push(number);
        self.current = Current::default();
    }

    /// Writes one record after the newest, and the head.
    fn write(&mut self, entry: &Entry) -> Result<AuditHead, AppendError> {
        let place = match &self.newest {
            Some(newest) => Place {
                log_id: newest.log_id.clone(),
                sequence: newest.sequence.saturating_add(1),
                previous: Some(newest.record_sha256),
            },
            None => Place {
                log_id: random_log_id()?,
                sequence: 1,
                previous: None,
            },
        };
        let line = Record::new(entry, place)?.seal(self.secret)?;
        let (line_bytes, now) = (line.len() as u64, entry.instant());
        let size_bytes_max = self.log.segment_bytes_max;
        if self.segments.is_empty() || self.current.is_closed(line_bytes, now, size_bytes_max) {
            self.begin_segment();
        }
        self.append_line(&line)?;
        self.current.begun_at.get_or_insert(now);
        let text = line.strip_suffix(b"\n").unwrap_or_default();
        let newest = Link::of(&Frame::parse(text).map_err(RecordError::from)?, &line);
        let head = newest.to_audit_head();
        self.newest = Some(newest);
        self.keyed |= self.secret.is_some();
        self.write_head()?;
        Ok(head)
    }

    /// Appends a line, durably; what fails half-way is cut off again.
    fn append_line(&mut self, line: &[u8]) -> Result<(), AppendError> {
        let directory = &self.log.directory;
        let number = self.segments.last().copied().unwrap_or(1);
        let mut file = store::open_segment_to_append(directory, number)?;
        let written = file.write_all(line).and_then(|()| file.sync_data());
        if let Err(source) = written {
            // Best effort: what stays is a torn tail, which the next append cuts off.
            let _ = file.set_len(self.current.size_bytes);
            let path = store::segment_path(directory, number);
            return Err(FileError::at("append to", &path)(source).into());
        }
        if self.current.size_bytes == 0 {
            files::sync_directory(directory).map_err(FileError::at("sync", directory))?;
        }
        self.current.size_bytes += line.len() as u64;
        Ok(())
    }

    fn write_head(&self) -> Result<(), AppendError> {
        let (Some(newest), Some(segment)) = (&self.newest, self.segments.last()) else {
            return Ok(());
        };
        let head = Head {
            keyed: self.keyed,
            log_id: newest.log_id.clone(),
            mac: newest.mac,
            record_sha256: newest.record_sha256,
            segment: store::segment_name(*segment),
            sequence: newest.sequence,
            version: VERSION.to_owned(),
        };
        Ok(store::write_head(&self.log.directory, &head)?)
    }

    /// Removes the oldest segments beyond those kept, after a record that says so. A log that
    /// holds sealed records is pruned under a secret only: anyone could write the record without.
    fn prune(&mut self, entry: &Entry) -> Result<Option<AuditHead>, AppendError> {
        let kept = match self.log.segments_kept {
            Some(kept) if self.secret.is_some() || !self.keyed => kept.max(1),
            _ => return Ok(None),
        };
        let directory = &self.log.directory;
        let excess = (self.segments.len() as u64).saturating_sub(kept) as usize;
        let first_line = match self.segments.get(excess) {
            Some(first_kept) if excess > 0 => store::first_line(directory, *first_kept)?,
            _ => return Ok(None),
        };
        // What is no record may be evidence, and then so is what lies before it.
        let Some(first) = Link::of_line(&first_line) else {
            return Ok(None);
        };
        let removed: Vec<u64> = self.segments.drain(..excess).collect();
        let details = json!({
            "first_sequence_kept": first.sequence, "last_removed_sha256": first.previous,
            "segments_removed": removed.len(),
        });
        let head = self.write(&own_entry(PRUNED, entry, details))?;
        // The oldest first: whatever a crash leaves, the log begins somewhere and has no hole.
        for number in removed {
            let path = store::segment_path(directory, number);
            fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
        }
        files::sync_directory(directory).map_err(FileError::at("sync", directory))?;
        Ok(Some(head))
    }
}

/// How far a segment is. What its first record says is not checked here: an age that somebody
/// wrote there begins a segment too early or too late, and the chain goes on all the same.
fn current(directory: &Path, number: u64) -> Result<Current, FileError> {
    let first_line = store::first_line(directory, number)?;
    let first = first_line.strip_suffix(b"\n").map(Frame::parse);
    Ok(Current {
        size_bytes: store::segment_bytes(directory, number)?,
        begun_at: first.and_then(|first| first.ok()?.instant()),
    })
}

/// An entry of the log about itself, at the time and by the actor of another.
fn own_entry(event: &str, by: &Entry, details: Value) -> Entry {
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    Entry {
        event: event.to_owned(),
        outcome: Outcome::Success,
        exit_code: None,
        started_at: by.started_at,
        ended_at: Some(by.instant()),
        actor: by.actor.clone(),
        resources: Vec::new(),
        policy: Vec::new(),
        details,
    }
}

fn random_log_id() -> Result<String, AppendError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(AppendError::Random)?;
    Ok(hex::encode(bytes))
}
