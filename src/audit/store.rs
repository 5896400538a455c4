//! The log's directory: names, locks, opening without following links, and reading line by line.
//!
//! Knows records only as lines; what they mean is its callers' business.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::head::{Head, HeadFile};
use super::record::LINE_BYTES_MAX;
use crate::base::files::{self, FileError};

/// Mode of every file in the directory.
pub(super) const MODE: u32 = 0o600;
/// A head is some 400 bytes; whatever is longer is none.
const HEAD_BYTES_MAX: u64 = 1 << 16;
const HEAD_NAME: &str = "head.json";
const LOCK_NAME: &str = "lock";

/// Why the log could not be read, whatever it may say.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file of the log.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The sink of an export.
    #[error("cannot write what was read from the audit log")]
    Write(#[source] io::Error),
}

/// Refuses anything but a directory of its own: a link could lead the log elsewhere.
pub(super) fn check_directory(directory: &Path) -> Result<(), FileError> {
    let check = || match fs::symlink_metadata(directory)?.file_type() {
        kind if kind.is_symlink() => Err(is_a_link()),
        kind if kind.is_dir() => Ok(()),
        _ => Err(io::ErrorKind::NotADirectory.into()),
    };
    check().map_err(FileError::at("open the audit log", directory))
}

fn is_a_link() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link")
}

/// Opens a regular file of the log, created where it is missing if `options` say so.
fn open(path: &Path, options: &mut fs::OpenOptions) -> Result<File, FileError> {
    files::open_own(path, MODE, options)
}

/// Takes the writers' lock and waits for it; dropping the file gives it back.
pub(super) fn lock(directory: &Path) -> Result<File, FileError> {
    let path = directory.join(LOCK_NAME);
    // A file of its own for each append: locks belong to open files, so that two threads of one
    // process keep each other out as two processes do.
    let file = open(
        &path,
        File::options().write(true).create(true).truncate(false),
    )?;
    file.lock().map_err(FileError::at("lock", &path))?;
    Ok(file)
}

/// Takes a readers' lock; `None` where nobody has written yet, or the log is a mere copy.
fn lock_shared(directory: &Path) -> Result<Option<File>, FileError> {
    let path = directory.join(LOCK_NAME);
    match open(&path, File::options().read(true)) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            let file = opened?;
            file.lock_shared().map_err(FileError::at("lock", &path))?;
            Ok(Some(file))
        }
    }
}

/// The name of a segment: `000001.jsonl`.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:06}.jsonl")
}

/// The path of a segment.
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(segment_name(number))
}

/// The numbers of all segments, ascending; other files are none of the log's.
pub(super) fn segments(directory: &Path) -> Result<Vec<u64>, FileError> {
    let list = || {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            let number = name
                .strip_suffix(".jsonl")
                .and_then(|stem| stem.parse().ok());
            numbers.extend(number.filter(|number| segment_name(*number) == name));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    list().map_err(FileError::at("list", directory))
}

/// Opens a segment for reading.
pub(super) fn open_segment(directory: &Path, number: u64) -> Result<File, FileError> {
    open(&segment_path(directory, number), File::options().read(true))
}

/// Reads the first line of a segment, newline included where it has one.
pub(super) fn first_line(directory: &Path, number: u64) -> Result<Vec<u8>, FileError> {
    let mut line = Vec::new();
    let file = open_segment(directory, number)?;
    let read = BufReader::new(file.take(LINE_BYTES_MAX as u64)).read_until(b'\n', &mut line);
    read.map_err(FileError::at("read", &segment_path(directory, number)))?;
    Ok(line)
}

/// The size of a segment.
pub(super) fn segment_bytes(directory: &Path, number: u64) -> Result<u64, FileError> {
    let meta = open_segment(directory, number)?.metadata();
    let meta = meta.map_err(FileError::at("read", &segment_path(directory, number)))?;
    Ok(meta.len())
}

/// Cuts a segment off at `size_bytes`, durably.
pub(super) fn cut_segment(directory: &Path, number: u64, size_bytes: u64) -> Result<(), FileError> {
    let path = segment_path(directory, number);
    let file = open(&path, File::options().write(true))?;
    let cut = file.set_len(size_bytes).and_then(|()| file.sync_data());
    cut.map_err(FileError::at("cut", &path))
}

/// Opens a segment for appending, and creates it where it is missing.
pub(super) fn open_segment_to_append(directory: &Path, number: u64) -> Result<File, FileError> {
    let mut options = File::options();
    open(
        &segment_path(directory, number),
        options.append(true).create(true),
    )
}

/// Reads `head.json`.
pub(super) fn read_head(directory: &Path) -> Result<HeadFile, FileError> {
    let path = directory.join(HEAD_NAME);
    let file = match open(&path, File::options().read(true)) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
            return Ok(HeadFile::Missing);
        }
        opened => opened?,
    };
    let mut bytes = Vec::new();
    let read = file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(FileError::at("read", &path))?;
    Ok(HeadFile::parse(&bytes))
}

/// Replaces `head.json`, durably.
pub(super) fn write_head(directory: &Path, head: &Head) -> Result<(), FileError> {
    let path = directory.join(HEAD_NAME);
    files::write_atomic(&path, MODE, |out| {
        serde_json::to_writer(&mut *out, head)?;
        out.write_all(b"\n")
    })
}

/// One segment of a snapshot.
pub(super) struct Segment {
    pub(super) number: u64,
    size_bytes: u64,
}

/// The log at an instant between two appends: later appends lie beyond the sizes kept here.
pub(super) struct Snapshot {
    directory: PathBuf,
    pub(super) segments: Vec<Segment>,
    pub(super) head: HeadFile,
}

/// One line of a snapshot.
pub(super) struct Line<'a> {
    /// The segment's number.
    pub(super) segment: u64,
    /// The line in its segment, from 1.
    pub(super) number: u64,
    /// The bytes, newline included; of an over-long line a beginning that is still too long.
    pub(super) bytes: &'a [u8],
    /// Whether nothing follows in the whole log.
    pub(super) is_last: bool,
}

impl Line<'_> {
    /// The line without its newline; `None` where it has none.
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.bytes.strip_suffix(b"\n")
    }
}

impl Snapshot {
    /// Looks at the log while no writer is at work; a log that is not there is empty.
    pub(super) fn take(directory: &Path) -> Result<Self, FileError> {
        let mut snapshot = Self {
            directory: directory.to_owned(),
            segments: Vec::new(),
            head: HeadFile::Missing,
        };
        match check_directory(directory) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(snapshot),
            checked => checked?,
        }
        let _lock = lock_shared(directory)?;
        snapshot.head = read_head(directory)?;
        for number in segments(directory)? {
            let path = segment_path(directory, number);
            let meta = fs::symlink_metadata(&path).map_err(FileError::at("read", &path))?;
            let size_bytes = meta.len();
            snapshot.segments.push(Segment { number, size_bytes });
        }
        Ok(snapshot)
    }

    /// Shows every line in order, in constant memory.
    pub(super) fn each_line(
        &self,
        interrupted: &AtomicBool,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        let last_filled = self
            .segments
            .iter()
            .rposition(|segment| segment.size_bytes > 0);
        let mut bytes = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let path = segment_path(&self.directory, segment.number);
            let file = open_segment(&self.directory, segment.number)?;
            let mut reader = BufReader::with_capacity(1 << 17, file.take(segment.size_bytes));
            let failed = |source| FileError::at("read", &path)(source);
            let (mut line_number, mut seen_bytes) = (0, 0);
            loop {
                let mut line_bytes = read_line(&mut reader, &mut bytes).map_err(failed)?;
                if bytes.len() > LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
                    line_bytes += skip_line(&mut reader, interrupted).map_err(failed)?;
                }
                if interrupted.load(Ordering::Relaxed) {
                    return Err(ReadError::Interrupted);
                }
                if line_bytes == 0 {
                    break;
                }
                line_number += 1;
                seen_bytes += line_bytes;
                visit(Line {
                    segment: segment.number,
                    number: line_number,
                    bytes: &bytes,
                    is_last: last_filled == Some(index) && seen_bytes >= segment.size_bytes,
                })?;
            }
        }
        Ok(())
    }
}

/// What is done with each line.
pub(super) type Visit<'a> = dyn FnMut(Line<'_>) -> Result<(), ReadError> + 'a;

/// Reads up to the next newline, or one byte more than a line may have, and gives how many bytes
/// that were; 0 at the end.
fn read_line(reader: &mut BufReader<io::Take<File>>, bytes: &mut Vec<u8>) -> io::Result<u64> {
    bytes.clear();
    let bytes_max = LINE_BYTES_MAX as u64 + 1;
    Ok(reader.by_ref().take(bytes_max).read_until(b'\n', bytes)? as u64)
}

/// Passes the rest of an over-long line, however long, until somebody asks to stop.
fn skip_line(reader: &mut BufReader<io::Take<File>>, interrupted: &AtomicBool) -> io::Result<u64> {
    let mut skipped_bytes = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let ends = newline.is_some() || buffer.is_empty();
        let step_bytes = newline.map_or(buffer.len(), |at| at + 1);
        reader.consume(step_bytes);
        skipped_bytes += step_bytes as u64;
        if ends || interrupted.load(Ordering::Relaxed) {
            return Ok(skipped_bytes);
        }
    }
}
