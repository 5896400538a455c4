//! The history's directory: one file of JSON Lines for each key, appended under a lock.
//!
//! Every file is opened without following links. A line that cannot be believed is passed over
//! with a note that names it; the rest counts.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Entry, Record};
use crate::base::digest::Digest;
use crate::base::files::{self, FileError};
use crate::base::units;

/// The longest line, in bytes with its newline: neither written nor read beyond.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Lines kept in memory of one file: the newest. [`super::compact`] keeps files far below.
const LINES_MAX: usize = 100_000;
/// Mode of every file in the directory.
const MODE: u32 = 0o600;
const LOCK_NAME: &str = "lock";
/// Hex digits of the key's digest in a file's name.
const NAME_DIGITS: usize = 16;
/// Notes about one file; the last one says that there are more.
const NOTES_MAX: usize = 20;

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or the directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was to be appended cannot be believed; nothing was written.
    #[error("refused to record an absurd value: {0}")]
    Absurd(String),
}

/// One line that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it says.
    pub entry: Entry,
    /// How it says it, without its newline: fields of later versions included.
    pub text: String,
    /// Its number in the file, from 1.
    pub number: u64,
}

/// Something about a file that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// What a file, or the files of a directory, say of the past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// In the order in which they were written.
    pub lines: Vec<Line>,
    /// What was passed over, and where.
    pub notes: Vec<Note>,
}

impl Past {
    /// Everything that was understood, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().map(|line| &line.entry)
    }

    /// The records alone, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries().filter_map(|entry| match entry {
            Entry::Record(record) => Some(record),
            Entry::Acceptance(_) => None,
        })
    }
}

/// The file of a key: the first 16 hex digits of its SHA-256, and `.jsonl`.
pub fn file_name(key: &str) -> String {
    let digits = Digest::of(key.as_bytes()).to_string();
    format!("{}.jsonl", &digits[..NAME_DIGITS])
}

/// The files of all keys, sorted; a directory that is not there has none.
///
/// # Errors
/// A directory that cannot be listed, or that is something else.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, HistoryError> {
    if !check_directory(directory)? {
        return Ok(Vec::new());
    }
    let list = || {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "jsonl") && !files::looks_temporary(&path)
            {
                found.push(path);
            }
        }
        found.sort_unstable();
        Ok(found)
    };
    Ok(list().map_err(FileError::at("list", directory))?)
}

/// Appends entries to the history of a key, all or none, durably; creates the directory (0700) and
/// the file (0600) where they are missing. A line that a crash left torn is ended first, so that
/// it takes nothing with it.
///
/// # Errors
/// An entry that [`Entry::check`] refuses, or that is longer than a line may be; and what the
/// system says. Nothing is appended then, but a full disk may leave a torn line.
pub fn append(directory: &Path, key: &str, entries: &[Entry]) -> Result<(), HistoryError> {
    let mut text = String::new();
    for entry in entries {
        entry.check().map_err(HistoryError::Absurd)?;
        let line = serde_json::to_string(entry).map_err(|error| absurd(&error))?;
        if line.len() >= LINE_BYTES_MAX {
            return Err(absurd(&format!(
                "a record of {}",
                units::bytes(line.len() as u64)
            )));
        }
        text.push_str(&line);
        text.push('\n');
    }
    if !check_directory(directory)? {
        files::create_private_directory(directory)?;
    }
    let _lock = lock(directory)?;
    let path = directory.join(file_name(key));
    let mut options = File::options();
    let mut file = files::open_own(&path, MODE, options.read(true).append(true).create(true))?;
    let mut write = || {
        let is_new = file.metadata()?.len() == 0;
        if !ends_a_line(&mut file)? {
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        match is_new {
            true => files::sync_directory(directory),
            false => Ok(()),
        }
    };
    Ok(write().map_err(FileError::at("append to", &path))?)
}

fn absurd(what: &dyn std::fmt::Display) -> HistoryError {
    HistoryError::Absurd(what.to_string())
}

/// Whether the next byte begins a line.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Reads the history of a key; nothing written yet is an empty one.
///
/// # Errors
/// What the system says; what a line says is never an error but a note.
pub fn read(directory: &Path, key: &str) -> Result<Past, HistoryError> {
    let mut past = read_file(directory, &directory.join(file_name(key)))?;
    // Two keys may share a digest's beginning, and files may have been merged.
    past.lines.retain(|line| match &line.entry {
        Entry::Record(record) => record.key == key,
        Entry::Acceptance(_) => true,
    });
    Ok(past)
}

/// Reads one of [`files`].
///
/// # Errors
/// As [`read`].
pub fn read_file(directory: &Path, path: &Path) -> Result<Past, HistoryError> {
    if !check_directory(directory)? {
        return Ok(Past::default());
    }
    let _lock = lock_shared(directory)?;
    read_locked(path)
}

fn read_locked(path: &Path) -> Result<Past, HistoryError> {
    let file = match files::open_own(path, MODE, File::options().read(true)) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(Past::default()),
        opened => opened?,
    };
    let mut reader = Reader {
        path,
        past: Past::default(),
        passed_over: 0,
    };
    reader.read(file).map_err(FileError::at("read", path))?;
    Ok(reader.past)
}

struct Reader<'a> {
    path: &'a Path,
    past: Past,
    passed_over: usize,
}

impl Reader<'_> {
    fn read(&mut self, file: File) -> io::Result<()> {
        let mut input = BufReader::with_capacity(1 << 16, file);
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let limit = LINE_BYTES_MAX as u64;
            if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            if !bytes.ends_with(b"\n") && bytes.len() == LINE_BYTES_MAX {
                input.skip_until(b'\n')?;
                self.note(number, "longer than a line may be");
                continue;
            }
            let is_whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
            self.line(number, (&bytes, is_whole));
        }
        // The oldest go first; a quarter at once keeps this linear.
        if self.past.lines.len() > LINES_MAX {
            self.drop_oldest();
        }
        Ok(())
    }

    fn line(&mut self, number: u64, (bytes, is_whole): (&[u8], bool)) {
        if bytes.trim_ascii().is_empty() {
            return;
        }
        match understand(bytes) {
            Ok((entry, text)) => {
                self.past.lines.push(Line {
                    entry,
                    text,
                    number,
                });
                if self.past.lines.len() > LINES_MAX + LINES_MAX / 4 {
                    self.drop_oldest();
                }
            }
            Err(_) if !is_whole => {
                self.note(number, "the last line is torn: a write was cut short")
            }
            Err(message) => self.note(number, &message),
        }
    }

    fn drop_oldest(&mut self) {
        let excess = self.past.lines.len() - LINES_MAX;
        let first = self.past.lines.drain(..excess).next();
        let is_first = !self.past.notes.iter().any(|note| note.line == 0);
        if is_first && first.is_some() {
            let text = format!("only the newest {LINES_MAX} lines count; compact the history");
            self.note(0, &text);
        }
    }

    fn note(&mut self, line: u64, message: &str) {
        self.passed_over += 1;
        let message = match self.passed_over {
            ..NOTES_MAX => message,
            NOTES_MAX => "and others after this line were passed over",
            _ => return,
        };
        self.past.notes.push(Note {
            path: self.path.to_owned(),
            line,
            message: units::printable(message).into_owned(),
        });
    }
}

/// Parses and checks a line.
fn understand(bytes: &[u8]) -> Result<(Entry, String), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    // Which of the two it is decides what an error speaks of.
    let is_acceptance = serde_json::from_str::<Kind>(text)
        .map_err(|error| format!("not a record: {error}"))?
        .accepts
        .is_some();
    let entry = match is_acceptance {
        true => serde_json::from_str(text).map(Entry::Acceptance),
        false => serde_json::from_str(text).map(Entry::Record),
    };
    let entry = entry.map_err(|error| format!("not a record: {error}"))?;
    entry.check()?;
    Ok((entry, text.to_owned()))
}

#[derive(serde::Deserialize)]
struct Kind {
    #[serde(default)]
    accepts: Option<serde::de::IgnoredAny>,
}

/// Rewrites a file with the lines that `choose` keeps of what it says now, atomically and under
/// the writers' lock, so that no append is lost. Gives how many lines there were and are.
///
/// # Errors
/// What the system says; the old file stands then.
pub fn rewrite(
    directory: &Path,
    path: &Path,
    choose: impl FnOnce(&[Line]) -> Vec<&Line>,
) -> Result<(usize, usize), HistoryError> {
    if !check_directory(directory)? {
        return Ok((0, 0));
    }
    let _lock = lock(directory)?;
    let past = read_locked(path)?;
    let kept = choose(&past.lines);
    let counts = (past.lines.len() + past.notes.len(), kept.len());
    if counts.0 != counts.1 {
        files::write_atomic(path, MODE, |out| {
            kept.iter()
                .try_for_each(|line| writeln!(out, "{}", line.text))
        })?;
    }
    Ok(counts)
}

/// Whether the directory is there; refuses anything but a directory of its own.
fn check_directory(directory: &Path) -> Result<bool, FileError> {
    let check = || match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => Ok(true),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
    };
    check().map_err(FileError::at("open the history", directory))
}

/// Takes the writers' lock and waits for it; dropping the file gives it back. It is a file of its
/// own, since [`rewrite`] replaces the others.
fn lock(directory: &Path) -> Result<File, FileError> {
    let path = directory.join(LOCK_NAME);
    let mut options = File::options();
    let file = files::open_own(&path, MODE, options.write(true).create(true))?;
    file.lock().map_err(FileError::at("lock", &path))?;
    Ok(file)
}

/// Takes a readers' lock; `None` where nobody has written yet, or the history is a mere copy.
fn lock_shared(directory: &Path) -> Result<Option<File>, FileError> {
    let path = directory.join(LOCK_NAME);
    match files::open_own(&path, MODE, File::options().read(true)) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            let file = opened?;
            file.lock_shared().map_err(FileError::at("lock", &path))?;
            Ok(Some(file))
        }
    }
}
