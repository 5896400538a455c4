//! Lists of entries: what is staged, and what has changed since a commit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use super::{GitError, Repository, broken, finish, identifier, is_name};
use crate::base::relpath::{self, RelPath};
use crate::process::{Input, Running};

/// What an entry is to git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Mode {
    /// A regular file.
    File {
        /// Whether it may be run.
        is_executable: bool,
    },
    /// A symbolic link; its blob is where it points.
    Symlink,
    /// A commit of another repository, whose content is not here.
    Submodule,
}

impl Mode {
    /// From the octal digits of git; `None` for what it has never written.
    fn of(octal: &[u8]) -> Option<Self> {
        let bits = u32::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok()?;
        match bits & 0o170_000 {
            // Old trees have more modes than two.
            0o100_000 => Some(Self::File {
                is_executable: bits & 0o100 != 0,
            }),
            0o120_000 => Some(Self::Symlink),
            0o160_000 => Some(Self::Submodule),
            _ => None,
        }
    }
}

/// An entry and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guard) struct Entry {
    /// From the top of the repository.
    pub(in crate::guard) path: RelPath,
    /// What it is.
    pub(in crate::guard) mode: Mode,
    /// The object; empty where only the working tree has it.
    pub(in crate::guard) object: String,
    /// The commit that first held it, where that was asked for.
    pub(in crate::guard) commit: Option<String>,
}

/// Entries, sorted by path, and what is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::guard) struct Listing {
    /// Files and links; each path once.
    pub(in crate::guard) entries: Vec<Entry>,
    /// Other repositories within.
    pub(in crate::guard) submodules: Vec<String>,
    /// What two sides of a merge do not agree on.
    pub(in crate::guard) unmerged: Vec<String>,
    /// Names that no file of ours can have.
    pub(in crate::guard) unnameable: Vec<String>,
}

/// A difference as git tells it: `:mode mode object object status`, then the path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    mode: Option<Mode>,
    object: String,
    status: u8,
}

impl Change {
    /// Reads the part before the path, without its NUL.
    pub(super) fn parse(record: &[u8]) -> Result<Self, GitError> {
        let parts: Vec<&[u8]> = record.split(|byte| *byte == b' ').collect();
        let [_, mode, _, object, [status, ..]] = parts[..] else {
            return Err(GitError::Answer("a difference"));
        };
        Ok(Self {
            mode: Mode::of(mode),
            object: identifier(object)?,
            status: *status,
        })
    }

    /// Something that a tree or index holds.
    pub(super) fn added(mode: &[u8], object: &[u8]) -> Result<Self, GitError> {
        Ok(Self {
            mode: Mode::of(mode),
            object: identifier(object)?,
            status: b'A',
        })
    }

    /// Whether something is there after the change.
    pub(super) fn is_there(&self) -> bool {
        self.status != b'D'
    }

    /// The object after the change.
    pub(super) fn object(&self) -> &str {
        &self.object
    }

    /// The entry after the change, noted where it belongs; nothing where it is gone.
    pub(super) fn note(self, path: &[u8], commit: Option<&str>, listing: &mut Listing) {
        let shown = || relpath::escape(path).0.into_owned();
        match (self.status, self.mode, RelPath::parse(path)) {
            (b'D', ..) => {}
            (b'U', ..) => listing.unmerged.push(shown()),
            (_, Some(Mode::Submodule), _) => listing.submodules.push(shown()),
            (_, Some(mode), Ok(path)) => listing.entries.push(Entry {
                path,
                mode,
                object: self.object,
                commit: commit.map(str::to_owned),
            }),
            _ => listing.unnameable.push(shown()),
        }
    }
}

/// Records of git, each with its end.
pub(super) struct Records<'a> {
    act: &'static str,
    end: u8,
    reader: BufReader<Running<'a>>,
}

impl<'a> Records<'a> {
    /// Records that end in NUL.
    pub(super) fn of(act: &'static str, git: Running<'a>) -> Self {
        let reader = BufReader::with_capacity(1 << 16, git);
        Self {
            act,
            end: 0,
            reader,
        }
    }

    /// Records that are lines.
    pub(super) fn lines(act: &'static str, git: Running<'a>) -> Self {
        Self {
            end: b'\n',
            ..Self::of(act, git)
        }
    }

    /// The next record without its end; `None` behind the last.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let mut record = Vec::new();
        let read = self.reader.read_until(self.end, &mut record);
        read.map_err(|error| broken(self.act, self.reader.get_ref(), error))?;
        match record.pop() {
            None => Ok(None),
            Some(end) if end == self.end => Ok(Some(record)),
            Some(_) => Err(GitError::Answer("whole records")),
        }
    }

    /// A record that has to be there.
    pub(super) fn expect(&mut self) -> Result<Vec<u8>, GitError> {
        self.next()?.ok_or(GitError::Answer("whole records"))
    }

    /// Git has said everything; whether all went well.
    pub(super) fn finish(mut self) -> Result<(), GitError> {
        finish(self.act, self.reader.get_mut())
    }
}

impl Repository<'_> {
    /// What the next commit would change: every entry of the index that is new or other than in
    /// `HEAD`. Of deletions nothing is left to look at.
    ///
    /// # Errors
    /// Those of git.
    pub(in crate::guard) fn staged(&self) -> Result<Listing, GitError> {
        let mut listing = match self.commit("HEAD")? {
            Some(head) => self.changes(&["--cached", "--ignore-submodules=dirty"], &head)?,
            // Before the first commit everything is new.
            None => self.index()?,
        };
        listing.tidy();
        Ok(listing)
    }

    /// What is other in the working tree than in a commit, or new: tracked files, and untracked
    /// ones that are not ignored.
    ///
    /// # Errors
    /// A name of no commit; those of git.
    pub(in crate::guard) fn since(&self, revision: &str) -> Result<Listing, GitError> {
        let unknown = || GitError::Revision(revision.to_owned());
        let commit = match is_name(revision) {
            true => self.commit(revision)?.ok_or_else(unknown)?,
            false => return Err(unknown()),
        };
        self.top()?;
        let mut listing = self.changes(&["--ignore-submodules=all"], &commit)?;
        // Git would run itself in every submodule to tell whether it has changed; the index knows
        // which commits they are at.
        let cached = self.changes(&["--cached", "--ignore-submodules=dirty"], &commit)?;
        listing.submodules = cached.submodules;
        listing.unmerged.extend(cached.unmerged);
        self.untracked(&mut listing)?;
        listing.tidy();
        Ok(listing)
    }

    fn changes(&self, flags: &[&str], commit: &str) -> Result<Listing, GitError> {
        let act = "list what has changed";
        let mut words = vec!["diff-index", "--raw", "-z", "--no-renames", "--no-abbrev"];
        words.extend(["--no-ext-diff", "--no-textconv"]);
        words.extend(flags);
        words.extend([commit, "--"]);
        let mut records = Records::of(act, self.start(act, &words, Input::None)?);
        let mut listing = Listing::default();
        while let Some(record) = records.next()? {
            let path = records.expect()?;
            Change::parse(&record)?.note(&path, None, &mut listing);
        }
        records.finish()?;
        Ok(listing)
    }

    /// Every entry of the index.
    fn index(&self) -> Result<Listing, GitError> {
        let act = "list the index";
        let git = self.start(act, &["ls-files", "--stage", "-z"], Input::None)?;
        let mut records = Records::of(act, git);
        let mut listing = Listing::default();
        while let Some(record) = records.next()? {
            let tab = record.iter().position(|byte| *byte == b'\t');
            let (head, path) = record.split_at(tab.ok_or(GitError::Answer("an entry"))?);
            let parts: Vec<&[u8]> = head.split(|byte| *byte == b' ').collect();
            let [mode, object, stage] = parts[..] else {
                return Err(GitError::Answer("an entry"));
            };
            let mut change = Change::added(mode, object)?;
            if stage != b"0" {
                change.status = b'U';
            }
            change.note(&path[1..], None, &mut listing);
        }
        records.finish()?;
        Ok(listing)
    }

    fn untracked(&self, listing: &mut Listing) -> Result<(), GitError> {
        let act = "list what is not tracked";
        let words = ["ls-files", "--others", "--exclude-standard", "-z"];
        let mut records = Records::of(act, self.start(act, &words, Input::None)?);
        while let Some(path) = records.next()? {
            // A repository of its own is named with a slash and not entered.
            if let Some(repository) = path.strip_suffix(b"/") {
                listing
                    .submodules
                    .push(relpath::escape(repository).0.into_owned());
                continue;
            }
            let change = Change {
                mode: Mode::of(b"100644"),
                object: String::new(),
                status: b'A',
            };
            change.note(&path, None, listing);
        }
        records.finish()
    }
}

impl Listing {
    /// Sorted, each path once.
    fn tidy(&mut self) {
        let entries = std::mem::take(&mut self.entries).into_iter();
        let by_path: BTreeMap<RelPath, Entry> =
            entries.map(|entry| (entry.path.clone(), entry)).collect();
        self.entries = by_path.into_values().collect();
        for names in [
            &mut self.submodules,
            &mut self.unmerged,
            &mut self.unnameable,
        ] {
            names.sort();
            names.dedup();
        }
    }
}
