//! Every blob that any reference reaches, once, with the commit that first held it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::list::{Change, Records};
use super::{Entry, GitError, Listing, Repository, identifier};
use crate::base::relpath::RelPath;
use crate::process::{Input, Running};

const ACT: &str = "list the history";

/// The history, from its beginning.
pub(in crate::guard) struct History<'a> {
    commits: Running<'a>,
    changes: Records<'a>,
    commit: Option<String>,
    seen: Seen,
    /// References to things that are no commits, found at the beginning.
    others: Vec<Entry>,
    /// How many commits were met.
    pub(in crate::guard) commits_done: u64,
}

/// Which objects were met. Keeps 8 bytes of each, keyed with a random number, so that nobody can
/// make two that are taken for one.
#[derive(Default)]
struct Seen {
    state: RandomState,
    known: HashSet<u64>,
}

impl Seen {
    fn is_new(&mut self, object: &str) -> bool {
        self.known.insert(self.state.hash_one(object))
    }
}

impl<'a> Repository<'a> {
    /// The history of all references and of `HEAD`.
    ///
    /// # Errors
    /// Those of git.
    pub(in crate::guard) fn history(&self) -> Result<History<'a>, GitError> {
        let words = ["rev-list", "--all", "--topo-order", "--reverse"];
        let mut commits = self.start(ACT, &words, Input::None)?;
        // A merge is compared with each of its parents: what came from one of them is known by then.
        let words = [
            "diff-tree",
            "--stdin",
            "--raw",
            "-z",
            "-r",
            "-m",
            "--root",
            "--no-renames",
            "--no-abbrev",
            "--no-ext-diff",
            "--no-textconv",
        ];
        let changes = self.start(ACT, &words, Input::From(&mut commits))?;
        Ok(History {
            commits,
            changes: Records::of(ACT, changes),
            commit: None,
            seen: Seen::default(),
            others: self.other_references()?,
            commits_done: 0,
        })
    }

    /// Blobs of references that lead to no commit: tags of files and of whole trees.
    fn other_references(&self) -> Result<Vec<Entry>, GitError> {
        let act = "list references";
        let format = "--format=%(objecttype) %(objectname) %(*objecttype)";
        let git = self.start(act, &["for-each-ref", format], Input::None)?;
        let mut records = Records::lines(act, git);
        let mut others = Vec::new();
        while let Some(record) = records.next()? {
            let parts: Vec<&[u8]> = record.split(|byte| *byte == b' ').collect();
            match parts[..] {
                [b"commit", ..] | [b"tag", _, b"commit"] => {}
                [_, object, _] => others.push(identifier(object)?),
                _ => return Err(GitError::Answer("a reference")),
            }
        }
        records.finish()?;
        let mut entries = Vec::new();
        for object in others {
            entries.extend(self.reached_from(&object)?);
        }
        Ok(entries)
    }

    /// The blobs of a tag or tree; none where it is a commit's, whose history is looked at anyway.
    fn reached_from(&self, object: &str) -> Result<Vec<Entry>, GitError> {
        let peeled = format!("{object}^{{}}");
        let words = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &peeled,
        ];
        let target = identifier(self.ask(ACT, &words)?.trim_ascii_end())?;
        let kind = self.ask(ACT, &["cat-file", "-t", &target])?;
        match kind.trim_ascii_end() {
            b"blob" => {
                let path = RelPath::parse(target.as_bytes());
                let path = path.map_err(|_| GitError::Answer("an object"))?;
                Ok(vec![Entry {
                    path,
                    mode: super::Mode::File {
                        is_executable: false,
                    },
                    object: target.clone(),
                    commit: Some(object.to_owned()),
                }])
            }
            b"tree" => self.tree(&target, object),
            _ => Ok(Vec::new()),
        }
    }

    fn tree(&self, tree: &str, holder: &str) -> Result<Vec<Entry>, GitError> {
        let git = self.start(
            ACT,
            &["ls-tree", "-r", "-z", "--full-tree", tree],
            Input::None,
        )?;
        let mut records = Records::of(ACT, git);
        let mut listing = Listing::default();
        while let Some(record) = records.next()? {
            let tab = record.iter().position(|byte| *byte == b'\t');
            let (head, path) = record.split_at(tab.ok_or(GitError::Answer("an entry"))?);
            let parts: Vec<&[u8]> = head.split(|byte| *byte == b' ').collect();
            let [mode, _, object] = parts[..] else {
                return Err(GitError::Answer("an entry"));
            };
            Change::added(mode, object)?.note(&path[1..], Some(holder), &mut listing);
        }
        records.finish()?;
        Ok(listing.entries)
    }
}

impl History<'_> {
    /// The next blobs that were not met before, at most about `most` of them; `None` at the end.
    /// Other repositories and names that cannot be are in the listing too.
    ///
    /// # Errors
    /// Those of git.
    pub(in crate::guard) fn next(&mut self, most: usize) -> Result<Option<Listing>, GitError> {
        let mut listing = Listing::default();
        for entry in std::mem::take(&mut self.others) {
            if self.seen.is_new(&entry.object) {
                listing.entries.push(entry);
            }
        }
        while listing.entries.len() < most {
            let Some(record) = self.changes.next()? else {
                let is_end = listing == Listing::default();
                return Ok((!is_end).then_some(listing));
            };
            if record.first() != Some(&b':') {
                let commit = Some(identifier(&record)?);
                self.commits_done += u64::from(commit != self.commit);
                self.commit = commit;
                continue;
            }
            let path = self.changes.expect()?;
            let change = Change::parse(&record)?;
            if change.is_there() && self.seen.is_new(change.object()) {
                change.note(&path, self.commit.as_deref(), &mut listing);
            }
        }
        Ok(Some(listing))
    }

    /// Ends git, and says whether all went well.
    ///
    /// # Errors
    /// Those of git: commits or trees that it could not read.
    pub(in crate::guard) fn finish(mut self) -> Result<(), GitError> {
        self.changes.finish()?;
        super::finish(ACT, &mut self.commits)
    }
}
