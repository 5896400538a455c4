//! Messages on their way: each is on disk before anything is sent, and until it has arrived.
//!
//! A killed run leaves its messages to the next one. Numbers in the names, not the clock, keep them in order.
//! Nothing here knows an address or a secret: they are looked up when a message is sent.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::message::Message;
use super::told::Told;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::event::Event;
use crate::base::files::{self, FileError};
use crate::base::severity::Severity;

/// Mode of every file.
const MODE: u32 = 0o600;
/// The version of an entry.
const VERSION: u32 = 1;
/// The largest file that is read, bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Messages that wait for one channel.
pub(super) const WAITING_MAX: usize = 200;
/// Attempts until a message is given up.
const ATTEMPTS_MAX: u32 = 1000;
/// Seconds until a message is given up, counted at a failed attempt: 7 days.
const AGE_SECONDS_MAX: i64 = 7 * 86_400;
/// Damaged entries that are kept.
const DAMAGED_MAX: usize = 20;
/// How long a lock is waited for that is only held while files are written.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How the name of an entry ends.
const ENTRY_END: &str = ".json";
/// How it ends once it was set aside.
const DAMAGED_END: &str = ".damaged";
const TOLD_NAME: &str = "told";
const LOCK_NAME: &str = "lock";

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// A file or the directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others hold it.
    #[error("`{0}` is locked by another run")]
    Busy(String),
    /// What stands in a file is no entry.
    #[error("`{name}` is not what a run of this program writes: {why}")]
    Damaged {
        /// The file's name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl SpoolError {
    /// Whether a file is not there: another run has sent it.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::File(error) if error.source.kind() == io::ErrorKind::NotFound)
    }
}

/// A message on its way to a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    version: u32,
    /// The channel's name.
    pub(super) channel: String,
    /// What it is told; for an Alertmanager, what holds now, which may be nothing.
    pub(super) message: Message,
    /// What an Alertmanager held and holds no more.
    pub(super) over: Vec<(Event, Severity)>,
    /// How often it was tried in vain.
    attempts: u32,
    /// When it was first to be sent.
    first_at: Timestamp,
    /// The recipients who do not have it; `None` where nobody has.
    pub(super) remaining: Option<Vec<String>>,
}

impl Entry {
    /// A message that nobody has.
    pub(super) fn new(channel: &str, message: Message, over: Vec<(Event, Severity)>) -> Self {
        Self {
            version: VERSION,
            channel: channel.to_owned(),
            first_at: message.occurred_at,
            message,
            over,
            attempts: 0,
            remaining: None,
        }
    }

    /// Notes an attempt in vain. Says whether there is sense in another one.
    pub(super) fn tried(&mut self, now: Timestamp) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts < ATTEMPTS_MAX && !self.is_old(now)
    }

    /// Whether it waited for as long as is any use.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now.unix_seconds() - self.first_at.unix_seconds() > AGE_SECONDS_MAX
    }
}

/// The directory of messages on their way.
#[derive(Clone, Debug)]
pub(super) struct Spool(PathBuf);

impl Spool {
    /// The spool at a directory; nothing is touched yet.
    pub(super) fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// Something else in its place, or a directory that others may write to.
    pub(super) fn exists(&self) -> Result<bool, SpoolError> {
        let check = || match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(meta) if !meta.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
            Ok(meta) if meta.permissions().mode() & 0o022 != 0 => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others may write to it",
            )),
            Ok(_) => Ok(true),
        };
        Ok(check().map_err(FileError::at("use the spool", &self.0))?)
    }

    /// Creates it where it is missing.
    ///
    /// # Errors
    /// As [`Self::exists`], and what the system says.
    pub(super) fn create(&self) -> Result<(), SpoolError> {
        if !self.exists()? {
            files::create_private_directory(&self.0)?;
        }
        Ok(())
    }

    /// Keeps other runs out while files are looked at and written; never for long.
    ///
    /// # Errors
    /// A lock that is not to be had.
    pub(super) fn lock(&self) -> Result<File, SpoolError> {
        self.lock_until(LOCK_NAME, Instant::now() + LOCK_WAIT)
    }

    /// Keeps other runs from sending to a channel.
    ///
    /// # Errors
    /// A lock that is not to be had until then.
    pub(super) fn lock_channel(&self, channel: &str, until: Instant) -> Result<File, SpoolError> {
        self.lock_until(&format!("{}.lock", key(channel)), until)
    }

    fn lock_until(&self, name: &str, until: Instant) -> Result<File, SpoolError> {
        let path = self.0.join(name);
        let mut options = File::options();
        let file = files::open_own(&path, MODE, options.write(true).create(true))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(fs::TryLockError::WouldBlock) => return Err(SpoolError::Busy(name.to_owned())),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(FileError::at("lock", &path)(error).into());
                }
            }
        }
    }

    /// Writes a message behind all others, durably. Gives how many of the oldest had to go for it. The
    /// caller holds the lock.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn add(&self, entry: &Entry) -> Result<usize, SpoolError> {
        let all = self.names()?;
        let last = all.iter().filter_map(|name| number(name)).max();
        let name = format!(
            "{:012}-{}{ENTRY_END}",
            last.unwrap_or(0) + 1,
            key(&entry.channel)
        );
        self.write(&self.0.join(name), entry)?;
        let waiting = self.waiting(&entry.channel)?;
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        for path in waiting.iter().take(surplus) {
            self.remove(path)?;
        }
        Ok(surplus)
    }

    /// The messages for a channel, the oldest first.
    ///
    /// # Errors
    /// A directory that cannot be listed.
    pub(super) fn waiting(&self, channel: &str) -> Result<Vec<PathBuf>, SpoolError> {
        let end = format!("-{}{ENTRY_END}", key(channel));
        let mut names = self.names()?;
        names.retain(|name| name.ends_with(&end) && number(name).is_some());
        names.sort_unstable();
        Ok(names.into_iter().map(|name| self.0.join(name)).collect())
    }

    fn names(&self) -> Result<Vec<String>, SpoolError> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                // Ours are ASCII.
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        Ok(list().map_err(FileError::at("list", &self.0))?)
    }

    /// Reads a message for a channel.
    ///
    /// # Errors
    /// What is not a message of ours, and what the system says.
    pub(super) fn read(&self, path: &Path, channel: &str) -> Result<Entry, SpoolError> {
        let entry: Entry = self.load(path)?;
        let is_ours = entry.version == VERSION && entry.channel == channel;
        match is_ours && entry.message.is_known() {
            true => Ok(entry),
            false => Err(damaged(path, "another version, or another channel's")),
        }
    }

    /// Writes what became of a message.
    ///
    /// # Errors
    /// What the system says; the older state is there then.
    pub(super) fn write(&self, path: &Path, entry: &Entry) -> Result<(), SpoolError> {
        self.save(path, entry)
    }

    /// Takes out a message.
    ///
    /// # Errors
    /// What the system says, but not that it is gone already.
    pub(super) fn remove(&self, path: &Path) -> Result<(), SpoolError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::at("remove", path)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Gets something that is no entry out of the way, to be looked at by a person.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn set_aside(&self, path: &Path) -> Result<(), SpoolError> {
        let all = self.names()?;
        let kept = all
            .iter()
            .filter(|name| name.ends_with(DAMAGED_END))
            .count();
        if kept >= DAMAGED_MAX {
            return self.remove(path);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(DAMAGED_END);
        Ok(fs::rename(path, name).map_err(FileError::at("set aside", path))?)
    }

    /// What channels were told.
    ///
    /// # Errors
    /// A file that is not ours; and what the system says.
    pub(super) fn told(&self) -> Result<Told, SpoolError> {
        let path = self.0.join(TOLD_NAME);
        match self.load::<Told>(&path) {
            Err(error) if error.is_absence() => Ok(Told::default()),
            Ok(told) if !told.is_known() => Err(damaged(&path, "another version")),
            loaded => loaded,
        }
    }

    /// Notes what channels were told.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn set_told(&self, told: &Told) -> Result<(), SpoolError> {
        self.save(&self.0.join(TOLD_NAME), told)
    }

    /// Gets what channels were told out of the way.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn set_told_aside(&self) -> Result<(), SpoolError> {
        self.set_aside(&self.0.join(TOLD_NAME))
    }

    fn save(&self, path: &Path, value: &impl Serialize) -> Result<(), SpoolError> {
        let write = |out: &mut dyn io::Write| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        };
        Ok(files::write_atomic(path, MODE, write)?)
    }

    fn load<T: DeserializeOwned>(&self, path: &Path) -> Result<T, SpoolError> {
        let file = files::open_regular_no_link(path)?;
        let meta = file.metadata().map_err(FileError::at("read", path))?;
        // Whatever a stranger's archive or repository brings along has other modes.
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(damaged(path, "others may read or write it"));
        }
        if meta.len() > BYTES_MAX {
            return Err(damaged(path, "it is too large"));
        }
        let read = io::BufReader::new(io::Read::take(file, BYTES_MAX));
        serde_json::from_reader(read).map_err(|error| match error.classify() {
            serde_json::error::Category::Io => FileError::at("read", path)(error.into()).into(),
            _ => damaged(path, "it does not parse"),
        })
    }
}

/// The part of a file's name that tells channels apart: names may hold anything.
fn key(channel: &str) -> String {
    Digest::of(channel.as_bytes()).to_string()[..16].to_owned()
}

fn number(name: &str) -> Option<u64> {
    let digits = name.split_once('-')?.0;
    digits.parse().ok().filter(|_| digits.len() == 12)
}

fn damaged(path: &Path, why: &str) -> SpoolError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    SpoolError::Damaged {
        name: name.into_owned(),
        why: why.into(),
    }
}
