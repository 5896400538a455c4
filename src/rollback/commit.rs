//! The moment in which staged trees become the live ones, and its repetition after a crash.
//!
//! Everything here can be done again from any point: a name whose inode is the recorded one is
//! done. So a restore that was killed after its intent was durable is brought to its end by
//! calling [`commit`] again, and one that was killed before is undone by removing what was staged.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{RollbackError, at};
use super::intent::{Intent, Item, Phase, Settle, Step, Way};
use super::stage;
use super::store::Store;
use crate::base::beneath::Root;
use crate::base::clock::Timestamp;
use crate::base::files::{self, FileError};
use crate::base::relpath::RelPath;
use crate::inventory::{self, Details};
use crate::report::{Finding, codes};

/// The name of the `n`th entry that goes, within the staged tree.
const REMOVED: &str = ".agp-removed-";

/// How a target was replaced.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Atomicity {
    /// In one step: no moment at which it was half old and half new.
    Tree,
    /// Entry by entry, each in one step; after a crash the rest follows.
    Entry,
    /// Entry by entry, where an entry may be away for a moment; after a crash the rest follows.
    Resumable,
}

/// Brings an intent to its end. The caller holds the store's lock.
pub(super) fn commit(store: &Store<'_>, intent: &mut Intent) -> Result<(), RollbackError> {
    let mut trouble = None;
    for index in 0..intent.items.len() {
        // One that makes trouble does not keep the others old: they belong together.
        if let Err(error) = commit_item(store, intent, index) {
            trouble = trouble.or(Some(error));
        }
    }
    if let Some(error) = trouble {
        return Err(error);
    }
    record(store, intent)?;
    intent.phase = Phase::Cleaning;
    intent.save(store)?;
    clean(store, intent)
}

/// What became of an intent that somebody left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// There was none.
    Nothing,
    /// The restore had not begun to change anything; what was staged is removed.
    Abandoned,
    /// The restore was brought to its end.
    Finished,
}

impl Recovered {
    /// What there is to say of it; nothing where there was nothing.
    pub fn finding(self) -> Option<Finding> {
        let text = match self {
            Self::Nothing => return None,
            Self::Abandoned => {
                "a restore was killed before it changed anything; what it had staged is removed"
            }
            Self::Finished => "a restore was killed on its way and is finished now",
        };
        Some(Finding::new(&codes::RESTORE_RECOVERED, text))
    }
}

/// Brings what a killed restore left to its end, or undoes it where nothing live had changed.
pub(super) fn recover(store: &Store<'_>) -> Result<Recovered, RollbackError> {
    let Some(mut intent) = Intent::load(store)? else {
        return Ok(Recovered::Nothing);
    };
    match intent.phase {
        Phase::Staging => {
            abandon(store, &intent)?;
            Ok(Recovered::Abandoned)
        }
        Phase::Committing => {
            commit(store, &mut intent)?;
            Ok(Recovered::Finished)
        }
        Phase::Cleaning => {
            record(store, &intent)?;
            clean(store, &intent)?;
            Ok(Recovered::Finished)
        }
    }
}

/// Removes what was staged; nothing live was touched.
pub(super) fn abandon(store: &Store<'_>, intent: &Intent) -> Result<(), RollbackError> {
    for item in &intent.items {
        // What goes away stands at its live path still.
        if !matches!(item.way, Way::Absent) {
            remove_tree(&item.staged())?;
        }
        if let Some(modified) = item.modified {
            touch(&item.live(), modified).map_err(|error| stuck(item, error))?;
        }
    }
    Intent::remove(store)
}

/// Leaves a line for `undo` and for people.
fn record(store: &Store<'_>, intent: &Intent) -> Result<(), RollbackError> {
    let path = store
        .path
        .join("runs")
        .join(format!("restore-{}.json", intent.record.id));
    Ok(files::write_atomic(&path, 0o600, |out| {
        Ok(serde_json::to_writer(out, &intent.record)?)
    })?)
}

fn commit_item(store: &Store<'_>, intent: &mut Intent, index: usize) -> Result<(), RollbackError> {
    let item = &intent.items[index];
    let (live, staged) = (item.live(), item.staged());
    match &item.way {
        Way::Tree => match exchange((&live, &staged), item.inode) {
            Ok(()) => {}
            Err(error) if refuses_exchange(&error) => {
                let keep: Vec<RelPath> = Vec::new();
                intent.items[index].way = entries((&staged, &live), &keep, None)?;
                intent.save(store)?;
                return commit_item(store, intent, index);
            }
            Err(error) => return Err(stuck(item, error)),
        },
        Way::Absent => {
            let is_there = live
                .symlink_metadata()
                .is_ok_and(|meta| meta.ino() == item.inode);
            if is_there {
                fs::rename(&live, &staged).map_err(|error| stuck(item, error))?;
            }
        }
        Way::Entries { .. } => return commit_entries(store, intent, index),
    }
    for parent in [files::parent_of(&live), files::parent_of(&staged)] {
        files::sync_directory(parent).map_err(FileError::at("sync", parent))?;
    }
    Ok(())
}

fn stuck(item: &Item, error: impl Into<io::Error>) -> RollbackError {
    let error = error.into();
    RollbackError::Stuck(format!("`{}` cannot be replaced: {error}", item.name))
}

/// Exchanges two names, unless that is done; a name that is not there is given.
fn exchange((live, staged): (&Path, &Path), inode: u64) -> io::Result<()> {
    match live.symlink_metadata() {
        Ok(meta) if meta.ino() == inode => Ok(()),
        Ok(_) => Ok(rustix::fs::renameat_with(
            CWD,
            staged,
            CWD,
            live,
            RenameFlags::EXCHANGE,
        )?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(rustix::fs::renameat_with(
            CWD,
            staged,
            CWD,
            live,
            RenameFlags::NOREPLACE,
        )?),
        Err(error) => Err(error),
    }
}

/// Whether a file system, a mount or an overlay's lower layer says that this is not to be had.
fn refuses_exchange(error: &io::Error) -> bool {
    let refusals = [
        Errno::XDEV,
        Errno::BUSY,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
    ];
    refusals
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The steps that make a live tree, entry by entry, what is staged, and the directories that stay.
/// `keep` stays whatever it is. Without [`Whole`], directories that are in both stay, and what is in
/// them is done one by one.
pub(super) fn entries(
    (staged, live): (&Path, &Path),
    keep: &[RelPath],
    whole: Option<Whole>,
) -> Result<Way, RollbackError> {
    let mut listing = Listing {
        staged: Root::open(staged).map_err(at("open", staged.to_string_lossy()))?,
        live: Root::open(live).map_err(at("open", live.to_string_lossy()))?,
        keep,
        whole,
        steps: Vec::new(),
        settle: Vec::new(),
    };
    listing
        .directory(None)
        .map_err(at("list", staged.to_string_lossy()))?;
    Ok(Way::Entries {
        steps: listing.steps,
        settle: listing.settle,
        stepwise: false,
    })
}

/// Says that directories can be exchanged as a whole.
#[derive(Clone, Copy)]
pub(super) struct Whole;

struct Listing<'a> {
    staged: Root,
    live: Root,
    keep: &'a [RelPath],
    whole: Option<Whole>,
    steps: Vec<Step>,
    settle: Vec<Settle>,
}

impl Listing<'_> {
    fn directory(&mut self, path: Option<&RelPath>) -> io::Result<()> {
        let staged = names(&self.staged, path)?;
        let live = names(&self.live, path)?;
        let mut all: Vec<&Vec<u8>> = staged.iter().map(|(name, ..)| name).collect();
        all.extend(live.iter().map(|(name, ..)| name));
        all.sort_unstable();
        all.dedup();
        let find = |list: &[Named], name: &[u8]| {
            let found = list.iter().find(|(other, ..)| other == name);
            found.map(|(_, inode, is_directory)| (*inode, *is_directory))
        };
        for name in all {
            let mut bytes = path.map_or(Vec::new(), |path| [path.as_bytes(), b"/"].concat());
            bytes.extend_from_slice(name);
            let child = RelPath::parse(&bytes).map_err(io::Error::other)?;
            let (new, old) = (find(&staged, name), find(&live, name));
            if self.keep.contains(&child) {
                continue;
            }
            // What is kept is there, so that the directories around it are.
            let stays = matches!(old, Some((_, true)));
            let holds_kept = stays && self.keep.iter().any(|kept| kept.is_within(&child));
            let both = matches!((new, old), (Some((_, true)), Some((_, true))));
            match (new, old) {
                _ if holds_kept || (both && self.whole.is_none()) => {
                    self.directory(Some(&child))?
                }
                (Some((inode, _)), _) => self.steps.push(Step::new(&child, Some(inode))),
                (None, Some(_)) => self.steps.push(Step::new(&child, None)),
                (None, None) => {}
            }
        }
        // A directory that only stays for what is kept in it keeps its attributes.
        let stat = match path {
            None => rustix::fs::fstat(self.staged.as_descriptor()).map_err(io::Error::from),
            Some(path) => self.staged.stat(path),
        };
        if let Ok(stat) = stat
            && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        {
            let modified = (stat.st_mtime, stat.st_mtime_nsec as u32);
            self.settle.push(Settle::new(path, modified));
        }
        Ok(())
    }
}

type Named = (Vec<u8>, u64, bool);

/// Names in a directory with their inodes and whether they are directories; none where there is
/// no such directory.
fn names(root: &Root, path: Option<&RelPath>) -> io::Result<Vec<Named>> {
    let opened = match path {
        None => rustix::fs::Dir::read_from(root.as_descriptor())?,
        Some(path) => match root.open_directory(path) {
            Ok(directory) => rustix::fs::Dir::read_from(directory)?,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        },
    };
    let mut found = Vec::new();
    for entry in opened {
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let mut below = path.map_or(Vec::new(), |path| [path.as_bytes(), b"/"].concat());
        below.extend_from_slice(&name);
        // The directory's own number of an overlay's entry is another one than the entry's.
        let stat = root.stat(&RelPath::parse(&below).map_err(io::Error::other)?)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        found.push((name, stat.st_ino, is_directory));
    }
    Ok(found)
}

fn commit_entries(
    store: &Store<'_>,
    intent: &mut Intent,
    index: usize,
) -> Result<(), RollbackError> {
    let item = intent.items[index].clone();
    let Way::Entries { steps, settle, .. } = &item.way else {
        return Ok(());
    };
    let both = Both::open(&item)?;
    for (number, step) in steps.iter().enumerate() {
        let path = step.path()?;
        let mut stepwise = false;
        match both.take_step((&path, step.inode), number, &mut stepwise) {
            Ok(()) if stepwise => {
                note_stepwise(intent, index);
            }
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                // A directory of an overlay's lower layer: what is in it is exchanged instead.
                descend((store, intent), index, (number, &path))?;
                return commit_entries(store, intent, index);
            }
            Err(error) => return Err(stuck(&item, error)),
        }
    }
    for settle in settle {
        both.settle(settle).map_err(|error| stuck(&item, error))?;
    }
    both.sync().map_err(|error| stuck(&item, error))
}

fn note_stepwise(intent: &mut Intent, index: usize) {
    if let Way::Entries { stepwise, .. } = &mut intent.items[index].way {
        *stepwise = true;
    }
}

/// Replaces a step that a directory refuses by steps for what is in it.
fn descend(
    (store, intent): (&Store<'_>, &mut Intent),
    index: usize,
    (number, path): (usize, &RelPath),
) -> Result<(), RollbackError> {
    let item = &mut intent.items[index];
    let join = |root: PathBuf| root.join(path.as_path());
    let inner = entries((&join(item.staged()), &join(item.live())), &[], None)?;
    let (
        Way::Entries { steps, settle, .. },
        Way::Entries {
            steps: more,
            settle: last,
            ..
        },
    ) = (&mut item.way, inner)
    else {
        return Ok(());
    };
    let deeper = |below: RelPath| {
        RelPath::parse(&[path.as_bytes(), b"/", below.as_bytes()].concat())
            .map_err(|error| RollbackError::Stuck(error.to_string()))
    };
    let mut replaced = Vec::new();
    for step in more {
        replaced.push(Step::new(&deeper(step.path()?)?, step.inode));
    }
    steps.splice(number..=number, replaced);
    let mut settled = Vec::new();
    for one in last {
        let path = match one.path()? {
            None => path.clone(),
            Some(below) => deeper(below)?,
        };
        settled.push(Settle::new(Some(&path), one.modified));
    }
    settle.splice(0..0, settled);
    intent.save(store)
}

/// The two trees of an item, held open.
struct Both {
    live: Root,
    staged: Root,
}

impl Both {
    fn open(item: &Item) -> Result<Self, RollbackError> {
        Ok(Self {
            live: Root::open(&item.live()).map_err(|error| stuck(item, error))?,
            staged: Root::open(&item.staged()).map_err(|error| stuck(item, error))?,
        })
    }

    fn take_step(
        &self,
        (path, inode): (&RelPath, Option<u64>),
        number: usize,
        stepwise: &mut bool,
    ) -> io::Result<()> {
        let (live_parent, live_name) = self.live.parent_of(path)?;
        let live = live_parent
            .as_ref()
            .map_or(self.live.as_descriptor(), OwnedFd::as_fd);
        let found = match rustix::fs::statat(live, live_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat.st_ino),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(inode) = inode else {
            return match found {
                Some(_) => self.set_aside((live, live_name), number),
                None => Ok(()),
            };
        };
        if found == Some(inode) {
            return Ok(());
        }
        let (staged_parent, name) = self.staged.parent_of(path)?;
        let staged = staged_parent
            .as_ref()
            .map_or(self.staged.as_descriptor(), OwnedFd::as_fd);
        if found.is_some() {
            let flags = RenameFlags::EXCHANGE;
            match rustix::fs::renameat_with(staged, name, live, live_name, flags) {
                Ok(()) => return Ok(()),
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => *stepwise = true,
                Err(error) => return Err(error.into()),
            }
            self.set_aside((live, live_name), number)?;
        }
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(staged, name, live, live_name, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Ok(rustix::fs::renameat(staged, name, live, live_name)?)
            }
            moved => Ok(moved?),
        }
    }

    /// Moves a live entry into the staged tree, where it will be removed.
    fn set_aside(
        &self,
        (live, name): (std::os::fd::BorrowedFd<'_>, &[u8]),
        number: usize,
    ) -> io::Result<()> {
        let own = self.staged.as_descriptor();
        let mut free = format!("{REMOVED}{number}");
        while rustix::fs::statat(own, &*free, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            free.push('x');
        }
        Ok(rustix::fs::renameat(live, name, own, &*free)?)
    }

    /// Gives a directory that stays the attributes that are staged.
    fn settle(&self, settle: &Settle) -> io::Result<()> {
        let path = settle.path().map_err(io::Error::other)?;
        let open = |root: &Root| match &path {
            Some(path) => root.open_directory(path),
            None => root.as_descriptor().try_clone_to_owned(),
        };
        let staged = open(&self.staged)?;
        let stat = rustix::fs::fstat(&staged)?;
        let details = Details {
            mode: stat.st_mode & 0o7777,
            user: stat.st_uid,
            group: stat.st_gid,
            modified: settle.modified,
            attributes: inventory::attributes_of(staged.as_fd())?,
            ..Details::default()
        };
        stage::set_all(open(&self.live)?.as_fd(), &details)
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(self.live.as_descriptor())?;
        Ok(rustix::fs::syncfs(self.staged.as_descriptor())?)
    }
}

/// Removes the old trees, or keeps them, and then the intent.
fn clean(store: &Store<'_>, intent: &Intent) -> Result<(), RollbackError> {
    for (index, item) in intent.items.iter().enumerate() {
        let staged = item.staged();
        if intent.record.keep && staged.symlink_metadata().is_ok() {
            quarantine(store, (&intent.record.id, index), &staged)?;
            continue;
        }
        remove_tree(&staged)?;
        // Where the staged tree lay in the target, removing it changed the target's time.
        if let Way::Entries { settle, .. } = &item.way
            && staged.starts_with(item.live())
            && let Some(own) = settle.last()
        {
            touch(&item.live(), own.modified).map_err(|error| stuck(item, error))?;
        }
    }
    Intent::remove(store)
}

fn touch(path: &Path, modified: (i64, u32)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let details = Details {
        modified,
        ..Details::default()
    };
    Ok(rustix::fs::futimens(directory, &stage::times(&details))?)
}

/// Keeps a tree that failed where only its owner can enter: in the store, or where it lies.
fn quarantine(
    store: &Store<'_>,
    (id, index): (&str, usize),
    tree: &Path,
) -> Result<(), RollbackError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = store.path.join("quarantine").join(id);
    files::create_private_directory(&folder)?;
    let place = folder.join(index.to_string());
    match fs::rename(tree, &place) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let _ = fs::remove_dir(&folder);
            let private = fs::Permissions::from_mode(0o700);
            Ok(fs::set_permissions(tree, private).map_err(FileError::at("close", tree))?)
        }
        Err(error) => Err(FileError::at("move", tree)(error).into()),
    }
}

/// The restores whose trees went into quarantine before `limit`, as folders of the quarantine, sorted.
pub(super) fn quarantined(
    store: &Store<'_>,
    limit: Timestamp,
) -> Result<Vec<PathBuf>, RollbackError> {
    let folder = store.path.join("quarantine");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at("list", &folder)(error).into()),
    };
    let mut old = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::at("list", &folder))?.path();
        let meta = path.symlink_metadata();
        let meta = meta.map_err(FileError::at("look at", &path))?;
        // Nothing is added to one later, so that its time is when the trees came.
        if meta.is_dir() && meta.mtime() < limit.unix_seconds() {
            old.push(path);
        }
    }
    old.sort_unstable();
    Ok(old)
}

/// Removes a tree, also where its directories forbid it; one that is not there is gone.
pub(super) fn remove_tree(path: &Path) -> Result<(), RollbackError> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(FileError::at("remove", path)(error).into()),
    }
    open_up(path);
    Ok(fs::remove_dir_all(path).map_err(FileError::at("remove", path))?)
}

/// Lets the owner into every directory of a tree that is to go.
fn open_up(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // What fails here is told by the removal.
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
