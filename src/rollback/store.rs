//! The snapshot store: one directory, one lock, and what is written in which order.
//!
//! ```text
//! lock          held with flock(2) by whoever writes; the kernel releases it when they die
//! format.json   which release can read this
//! objects/      content, one object each
//! snapshots/    ID.json, and beside it ID.pin and ID.good, which are empty
//! adding        there while objects are being added: after a crash they are not to be trusted
//! intent.json   there while a restore is under way
//! runs/         what restores, runs and playbooks did
//! quarantine/   trees that failed, where they are to be kept
//! ```
//!
//! Objects are written, then made durable with one `syncfs`, then the snapshot that names them is
//! written and made durable: what a snapshot names is on disk.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::error::RollbackError;
use super::objects::{Objects, Wanted};
use super::snapshot::{ParseError, Seal, Snapshot};
use crate::base::digest::Digest;
use crate::base::files::{self, FileError};
use crate::inventory::{Entry, Keeper, Progress};
use crate::seal::{KeyId, Keyring, Secret};

/// What `format.json` holds.
const FORMAT: &[u8] = b"{\"format\": \"agp snapshot store\", \"version\": \"1.0\"}\n";
/// The longest snapshot file that is read: some four million entries.
const SNAPSHOT_BYTES_MAX: u64 = 2 << 30;
/// How long to wait before the lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where the store is, and with which keys it is used.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The state directory, which may not exist.
    pub state_dir: &'a Path,
    /// Keys that seal and verify snapshots; `None` without any.
    pub keyring: Option<&'a Keyring>,
    /// How far the work is, and whether to stop.
    pub progress: &'a Progress,
    /// Who else wants to see what is read of trees, while it is read.
    pub keepers: &'a [&'a dyn Keeper],
}

/// What an opened store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Others may read meanwhile.
    Read,
    /// Nobody else meanwhile.
    Write,
}

/// The store, locked until it is dropped.
pub(super) struct Store<'a> {
    pub(super) path: PathBuf,
    pub(super) place: Place<'a>,
    pub(super) objects: Objects,
    _lock: File,
}

/// What stands beside a snapshot and may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Never removed by retention.
    pub pinned: bool,
    /// All its checks passed.
    pub good: bool,
}

/// Which mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// [`Marks::pinned`].
    Pinned,
    /// [`Marks::good`].
    Good,
}

impl Mark {
    fn suffix(self) -> &'static str {
        match self {
            Self::Pinned => "pin",
            Self::Good => "good",
        }
    }
}

impl Place<'_> {
    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.state_dir.join("snapshots")
    }

    /// Where digests of files that did not change are kept, for every verb.
    pub(super) fn cache(&self) -> PathBuf {
        self.state_dir.join("cache")
    }

    /// The secret that seals, if there is one.
    pub(super) fn secret(&self) -> Option<Rc<Secret>> {
        self.keyring?.active().ok()?.secret().ok()
    }

    pub(super) fn secret_of(&self, id: KeyId) -> Option<Rc<Secret>> {
        self.keyring?.find(id)?.secret().ok()
    }
}

impl<'a> Store<'a> {
    /// Opens the store, which is created, and waits for its lock.
    pub(super) fn open(place: Place<'a>, access: Access) -> Result<Self, RollbackError> {
        let path = place.store();
        for folder in ["snapshots", "runs"] {
            files::create_private_directory(&path.join(folder))?;
        }
        let lock = lock(&path.join("lock"), access, place.progress)?;
        let format = path.join("format.json");
        match files::read_bounded(&format, 4096) {
            Ok(bytes) if bytes == FORMAT => {}
            Ok(_) => {
                return Err(RollbackError::Format {
                    path: format.to_string_lossy().into_owned(),
                });
            }
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                files::write_atomic(&format, 0o600, |out| out.write_all(FORMAT))?;
            }
            Err(error) => return Err(error.into()),
        }
        let objects = Objects::open(&path)?;
        Ok(Self {
            path,
            place,
            objects,
            _lock: lock,
        })
    }

    /// Names of all snapshots, the oldest first.
    pub(super) fn ids(&self) -> Result<Vec<String>, RollbackError> {
        let folder = self.path.join("snapshots");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(FileError::at("list", &folder))? {
            let entry = entry.map_err(FileError::at("list", &folder))?;
            let name = entry.file_name();
            // What starts with a dot is on its way to a name, or was when somebody was killed.
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.filter(|id| !id.starts_with('.')).map(str::to_owned));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub(super) fn file_of(&self, id: &str, end: &str) -> PathBuf {
        self.path.join("snapshots").join(format!("{id}.{end}"))
    }

    /// Reads a snapshot.
    pub(super) fn load(&self, id: &str) -> Result<(Snapshot, Seal), RollbackError> {
        let path = self.file_of(id, "json");
        let bytes = files::read_bounded(&path, SNAPSHOT_BYTES_MAX)?;
        let parsed = Snapshot::parse(&bytes, &|id| self.place.secret_of(id));
        let path = path.to_string_lossy().into_owned();
        match parsed {
            Ok((snapshot, seal)) if snapshot.id == id => Ok((snapshot, seal)),
            Ok((snapshot, _)) => Err(RollbackError::Damaged {
                path,
                reason: format!("it holds the snapshot `{}`", snapshot.id),
            }),
            Err(ParseError::Forged) => Err(RollbackError::Forged { path }),
            Err(error) => Err(RollbackError::Damaged {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// Reads the content of a file that a snapshot names, chunk by chunk.
    pub(super) fn read(
        &self,
        wanted: &Wanted,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), RollbackError> {
        let read = self.objects.read(wanted, each, &mut Vec::new());
        read.map_err(|error| RollbackError::Damaged {
            path: self.objects.shown(&wanted.digest),
            reason: error.to_string(),
        })
    }

    /// Writes a snapshot whose objects are durable; when this returns, so is the snapshot.
    pub(super) fn save(&self, snapshot: &Snapshot) -> Result<(), RollbackError> {
        let secret = self.place.secret();
        let path = self.file_of(&snapshot.id, "json");
        Ok(files::write_atomic(&path, 0o600, |out| {
            snapshot.write(out, secret.as_deref())
        })?)
    }

    /// The full name behind what a user typed: a name, its beginning, a label, `last`, `last-good`.
    pub(super) fn resolve(&self, wanted: &str) -> Result<String, RollbackError> {
        let ids = self.ids()?;
        let unknown = |similar: Option<String>| RollbackError::UnknownSnapshot {
            wanted: wanted.to_owned(),
            similar,
        };
        match wanted {
            "last" => return ids.last().cloned().ok_or_else(|| unknown(None)),
            "last-good" => {
                let good = ids.iter().rev().find(|id| self.marks(id).good);
                return good.cloned().ok_or_else(|| unknown(None));
            }
            _ => {}
        }
        let begins: Vec<&String> = ids.iter().filter(|id| id.starts_with(wanted)).collect();
        match &begins[..] {
            [one] if !wanted.is_empty() => return Ok((*one).clone()),
            [] => {}
            _ => {
                return Err(RollbackError::Ambiguous {
                    wanted: wanted.to_owned(),
                    count: begins.len(),
                });
            }
        }
        let mut names: Vec<(String, String)> = vec![];
        for id in ids.iter().rev() {
            // A damaged one has no label; asked for by name, it says so itself.
            if let Ok((snapshot, _)) = self.load(id)
                && let Some(label) = snapshot.label
            {
                if label == wanted {
                    return Ok(id.clone());
                }
                names.push((label, id.clone()));
            }
        }
        let words = ids.iter().chain(names.iter().map(|(label, _)| label));
        let words = words.map(String::as_str).chain(["last", "last-good"]);
        let likeness = |word: &&str| (strsim::jaro_winkler(wanted, word) * 1000.0) as u64;
        let similar = words
            .max_by_key(likeness)
            .filter(|word| likeness(word) > 700);
        Err(unknown(similar.map(str::to_owned)))
    }

    /// What stands beside a snapshot.
    pub(super) fn marks(&self, id: &str) -> Marks {
        Marks {
            pinned: self.file_of(id, Mark::Pinned.suffix()).exists(),
            good: self.file_of(id, Mark::Good.suffix()).exists(),
        }
    }

    /// Sets or removes a mark, durably.
    pub(super) fn mark(&self, id: &str, mark: Mark, set: bool) -> Result<(), RollbackError> {
        let path = self.file_of(id, mark.suffix());
        match set {
            true => files::write_atomic(&path, 0o600, |_| Ok(()))?,
            false => {
                remove_if_there(&path).map_err(FileError::at("remove", &path))?;
                files::sync_directory(files::parent_of(&path))
                    .map_err(FileError::at("sync", &path))?;
            }
        }
        Ok(())
    }

    /// Removes a snapshot and what stands beside it; the objects stay.
    pub(super) fn remove(&self, id: &str) -> Result<(), RollbackError> {
        for end in ["json", "pin", "good"] {
            let path = self.file_of(id, end);
            remove_if_there(&path).map_err(FileError::at("remove", &path))?;
        }
        Ok(())
    }

    /// Makes the names of snapshots durable.
    pub(super) fn sync_names(&self) -> Result<(), RollbackError> {
        let folder = self.path.join("snapshots");
        files::sync_directory(&folder).map_err(FileError::at("sync", &folder))?;
        Ok(())
    }

    /// Digests that snapshots name; `complete` says whether every snapshot could be read.
    pub(super) fn references(&self) -> Result<References, RollbackError> {
        let mut references = References::default();
        for id in self.ids()? {
            match self.load(&id) {
                Ok((snapshot, _)) => references.add(&snapshot),
                Err(RollbackError::Interrupted) => return Err(RollbackError::Interrupted),
                Err(error) => references.unreadable.push((id, error)),
            }
        }
        Ok(references)
    }

    /// Begins to add objects. Those that a killed run left are not trusted: they may be half
    /// written, or never have reached the disk.
    pub(super) fn begin_adding(&self) -> Result<(), RollbackError> {
        let marker = self.path.join("adding");
        if marker.exists() {
            let references = self.references()?;
            if references.unreadable.is_empty() {
                self.collect(&references.digests)?;
            }
            self.objects.learn(Some(&references.digests))?;
        } else {
            self.objects.learn(None)?;
            files::write_atomic(&marker, 0o600, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Ends adding: what was added is named by a snapshot now, or was removed again.
    pub(super) fn end_adding(&self) {
        // Left behind, it costs the next run a collection of garbage and nothing else.
        let _ = fs::remove_file(self.path.join("adding"));
    }

    /// Unlinks every file below `objects/` that nothing names; gives their number and bytes.
    pub(super) fn collect(&self, named: &HashSet<Digest>) -> Result<(u64, u64), RollbackError> {
        let (mut objects, mut bytes) = (0, 0);
        for listed in self.objects.list()? {
            if listed.digest.is_some_and(|digest| named.contains(&digest)) {
                continue;
            }
            let size = fs::symlink_metadata(&listed.path).map_or(0, |meta| meta.len());
            fs::remove_file(&listed.path).map_err(FileError::at("remove", &listed.path))?;
            objects += 1;
            bytes += size;
        }
        Ok((objects, bytes))
    }
}

/// Which content snapshots name.
#[derive(Default)]
pub(super) struct References {
    /// Every digest.
    pub(super) digests: HashSet<Digest>,
    /// Snapshots that cannot be read, so that nobody knows what they name.
    pub(super) unreadable: Vec<(String, RollbackError)>,
}

impl References {
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for target in &snapshot.targets {
            let digests = target
                .inventory
                .iter()
                .filter_map(|(_, entry)| match entry {
                    Entry::File(file) => Some(file.sha256),
                    _ => None,
                });
            self.digests.extend(digests);
        }
    }
}

/// Opens and locks a file; waits as long as nobody interrupts.
fn lock(path: &Path, access: Access, progress: &Progress) -> Result<File, RollbackError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(FileError::at("open", path))?;
    loop {
        let locked = match access {
            Access::Read => file.try_lock_shared(),
            Access::Write => file.try_lock(),
        };
        match locked {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if progress.is_interrupted() => {
                return Err(RollbackError::Interrupted);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => {
                return Err(FileError::at("lock", path)(error).into());
            }
        }
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
