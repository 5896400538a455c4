//! The content of objects, one after the other, from one `git cat-file`.

use std::io::{self, BufRead, BufReader, Read};

use super::{Entry, GitError, Repository, broken, finish};
use crate::process::{Input, Running};

const ACT: &str = "read objects";
/// How many objects are asked for before the first is read: their names fit into a pipe together.
const ASKED_MAX: usize = 500;
/// The longest line before an object, in bytes.
const HEAD_BYTES_MAX: u64 = 200;

/// An object.
pub(in crate::guard) enum Blob<'b> {
    /// It is not in this clone.
    Missing,
    /// What it holds.
    Content {
        /// How long it is, in bytes.
        size_bytes: u64,
        /// Gives exactly so many bytes.
        reader: &'b mut dyn Read,
    },
}

/// A reader of objects.
pub(in crate::guard) struct Blobs<'a> {
    git: BufReader<Running<'a>>,
}

impl<'a> Repository<'a> {
    /// A reader of its objects.
    ///
    /// # Errors
    /// Those of git.
    pub(in crate::guard) fn blobs(&self) -> Result<Blobs<'a>, GitError> {
        let git = self.start(ACT, &["cat-file", "--batch"], Input::Written)?;
        let git = BufReader::with_capacity(1 << 16, git);
        Ok(Blobs { git })
    }
}

impl Blobs<'_> {
    /// Gives the content of each entry, in their order; `each` need not read all of it.
    ///
    /// # Errors
    /// Those of git, and of `each`.
    pub(in crate::guard) fn read<E: From<GitError>>(
        &mut self,
        entries: &[Entry],
        mut each: impl FnMut(&Entry, Blob<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for asked in entries.chunks(ASKED_MAX) {
            let names: String = asked
                .iter()
                .map(|entry| format!("{}\n", entry.object))
                .collect();
            let told = self.git.get_mut().tell(names.as_bytes());
            told.map_err(|source| GitError::Git { act: ACT, source })?;
            for entry in asked {
                match self.head(entry)? {
                    None => each(entry, Blob::Missing)?,
                    Some(size_bytes) => {
                        // The content and the line's end behind it.
                        let mut rest = self.git.by_ref().take(size_bytes);
                        let reader = &mut rest;
                        each(entry, Blob::Content { size_bytes, reader })?;
                        let skipped = io::copy(&mut rest, &mut io::sink());
                        skipped.map_err(|error| self.broken(error))?;
                        self.end_of_line()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The size of the object to come; `None` where it is missing.
    fn head(&mut self, entry: &Entry) -> Result<Option<u64>, GitError> {
        let mut line = Vec::new();
        let read = self
            .git
            .by_ref()
            .take(HEAD_BYTES_MAX)
            .read_until(b'\n', &mut line);
        read.map_err(|error| self.broken(error))?;
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        match words[..] {
            [name, "missing"] if name == entry.object => Ok(None),
            [name, "blob", size] if name == entry.object => {
                let size = size.parse();
                size.map(Some)
                    .map_err(|_| GitError::Answer("the size of an object"))
            }
            // Git has ended, and knows why.
            [""] => {
                finish(ACT, self.git.get_mut())?;
                Err(GitError::Answer("an object"))
            }
            _ => Err(GitError::Answer("a blob")),
        }
    }

    fn end_of_line(&mut self) -> Result<(), GitError> {
        let mut end = [0];
        let read = self.git.read_exact(&mut end);
        read.map_err(|error| self.broken(error))?;
        match end {
            [b'\n'] => Ok(()),
            _ => Err(GitError::Answer("an object of its size")),
        }
    }

    fn broken(&self, error: io::Error) -> GitError {
        broken(ACT, self.git.get_ref(), error)
    }

    /// Ends git, and says whether all went well.
    ///
    /// # Errors
    /// Those of git: an object that it could not read.
    pub(in crate::guard) fn finish(mut self) -> Result<(), GitError> {
        finish(ACT, self.git.get_mut())
    }
}
