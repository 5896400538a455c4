//! What a restore is about to do, on disk before it is done, so that whoever comes after a crash
//! can tell how far it came and bring it to its end.
//!
//! An intent moves names of live trees, so one that came along with somebody's archive must not be
//! acted on: it is bound to the very directory that it was written in, by path, inode and time of
//! birth, which no archive can carry.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RollbackError;
use super::store::{Store, remove_if_there};
use crate::base::files::{self, FileError};
use crate::base::relpath;

/// The longest intent that is read: some hundred thousand steps.
const BYTES_MAX: u64 = 64 << 20;

/// A restore under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    pub(super) binding: Binding,
    pub(super) phase: Phase,
    pub(super) record: Record,
    pub(super) items: Vec<Item>,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Trees are being built. Undone by removing them.
    Staging,
    /// Trees are complete and verified. From here only forward.
    Committing,
    /// Every target is new. The old trees are to be removed.
    Cleaning,
}

/// What a restore was, for `undo` and for people; also kept in `runs/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// The number of the restore, six digits, from 1.
    pub(super) id: String,
    /// The snapshot that was restored; `None` where trees only went.
    pub(super) snapshot: Option<String>,
    /// The snapshot of what was there before; `None` where nothing was.
    pub(super) before: Option<String>,
    /// Targets that were not there before, absolute.
    pub(super) created: Vec<String>,
    /// Whether the old trees are kept.
    pub(super) keep: bool,
}

/// Ties a file to the directory that it was written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binding {
    path: String,
    inode: u64,
    born: Option<(i64, u32)>,
}

/// One target of a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    /// As it was named.
    pub(super) name: String,
    live: String,
    staged: String,
    /// The inode that the live path has when it is done.
    pub(super) inode: u64,
    pub(super) way: Way,
}

/// How a staged tree becomes the live one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Way {
    /// In one step.
    Tree,
    /// The live tree goes, and nothing comes in its place.
    Absent,
    /// Entry by entry.
    Entries {
        /// In this order.
        steps: Vec<Step>,
        /// Directories that stay and get other attributes, the deepest first; their attributes
        /// stand in the staged tree, save for the time, which steps change.
        settle: Vec<Settle>,
        /// Whether a step had to be taken without exchange.
        stepwise: bool,
    },
}

/// One entry that changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    path: String,
    /// The inode that comes there; `None`: the entry goes.
    pub(super) inode: Option<u64>,
}

/// A directory that stays, and the time that it gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    /// Empty for the target itself.
    path: String,
    pub(super) modified: (i64, u32),
}

impl Binding {
    /// To the store as it is now.
    pub(super) fn of(store: &Store<'_>) -> Result<Self, RollbackError> {
        use std::os::unix::fs::MetadataExt;
        let path = store
            .path
            .canonicalize()
            .map_err(FileError::at("open", &store.path))?;
        let meta = path.metadata().map_err(FileError::at("open", &path))?;
        let born = meta.created().ok().and_then(|born| {
            let since = born.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some((i64::try_from(since.as_secs()).ok()?, since.subsec_nanos()))
        });
        Ok(Self {
            path: spelled(&path),
            inode: meta.ino(),
            born,
        })
    }
}

impl Intent {
    fn path(store: &Store<'_>) -> PathBuf {
        store.path.join("intent.json")
    }

    /// The intent that somebody left, if it was written here.
    pub(super) fn load(store: &Store<'_>) -> Result<Option<Self>, RollbackError> {
        let path = Self::path(store);
        let bytes = match files::read_bounded(&path, BYTES_MAX) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let intent: Self = serde_json::from_slice(&bytes).map_err(|error| {
            RollbackError::Stuck(format!(
                "`{}` cannot be read: {error}",
                path.to_string_lossy()
            ))
        })?;
        match intent.binding == Binding::of(store)? {
            true => Ok(Some(intent)),
            false => Err(RollbackError::Stuck(format!(
                "`{}` was written in another place; remove it if this store was copied here",
                path.to_string_lossy()
            ))),
        }
    }

    /// Writes it; when this returns, it is durable.
    pub(super) fn save(&self, store: &Store<'_>) -> Result<(), RollbackError> {
        let path = Self::path(store);
        Ok(files::write_atomic(&path, 0o600, |out| {
            Ok(serde_json::to_writer(out, self)?)
        })?)
    }

    /// Removes it, durably.
    pub(super) fn remove(store: &Store<'_>) -> Result<(), RollbackError> {
        let path = Self::path(store);
        remove_if_there(&path).map_err(FileError::at("remove", &path))?;
        files::sync_directory(&store.path).map_err(FileError::at("sync", &store.path))?;
        Ok(())
    }

    /// Puts one that cannot be finished where nobody acts on it.
    pub(super) fn set_aside(store: &Store<'_>) -> Result<(), RollbackError> {
        let path = Self::path(store);
        let place = store.path.join("runs").join("stuck.json");
        std::fs::rename(&path, place).map_err(FileError::at("move", &path))?;
        Ok(())
    }

    /// Whether one is there, without waiting for anybody.
    pub(super) fn is_there(store: &Path) -> bool {
        store.join("intent.json").exists()
    }
}

impl Item {
    pub(super) fn new(name: &str, (live, staged): (&Path, &Path), inode: u64, way: Way) -> Self {
        Self {
            name: name.to_owned(),
            live: spelled(live),
            staged: spelled(staged),
            inode,
            way,
        }
    }

    pub(super) fn live(&self) -> PathBuf {
        unspelled(&self.live)
    }

    pub(super) fn staged(&self) -> PathBuf {
        unspelled(&self.staged)
    }
}

impl Step {
    pub(super) fn new(path: &relpath::RelPath, inode: Option<u64>) -> Self {
        Self {
            path: path.to_json_name().0.into_owned(),
            inode,
        }
    }

    pub(super) fn path(&self) -> Result<relpath::RelPath, RollbackError> {
        relpath::RelPath::from_json_name(&self.path, self.path.contains('\\'))
            .map_err(|error| RollbackError::Stuck(format!("`{}`: {error}", self.path)))
    }
}

impl Settle {
    pub(super) fn new(path: Option<&relpath::RelPath>, modified: (i64, u32)) -> Self {
        Self {
            path: path.map_or(String::new(), |path| path.to_json_name().0.into_owned()),
            modified,
        }
    }

    pub(super) fn path(&self) -> Result<Option<relpath::RelPath>, RollbackError> {
        if self.path.is_empty() {
            return Ok(None);
        }
        Step {
            path: self.path.clone(),
            inode: None,
        }
        .path()
        .map(Some)
    }
}

pub(super) fn spelled(path: &Path) -> String {
    relpath::escape(path.as_os_str().as_bytes()).0.into_owned()
}

/// Any bytes have one spelling, and what has none names nothing.
pub(super) fn unspelled(text: &str) -> PathBuf {
    let bytes = relpath::unescape(text, text.contains('\\')).map(|(bytes, _)| bytes.into_owned());
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes.unwrap_or_default()))
}
