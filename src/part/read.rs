//! Reads a part: every byte is under its digest, every path in its shard, or it is refused.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::line::{Line, Seal};
use super::{Head, PAYLOAD_TYPE, Part, VERSION};
use crate::base::digest::Hasher;
use crate::base::files::{self, FileError};
use crate::inventory::NOT_READ;
use crate::seal::{KeyId, Secret};

/// The longest line that is read, bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a file is not a part that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the part: {}", .0.source)]
    Read(#[from] FileError),
    /// It ends before its last line.
    #[error("the part is cut off: its last line is not the seal")]
    Truncated,
    /// A line that no part has.
    #[error("line {line}: {problem}")]
    Malformed {
        /// Which, from 1.
        line: u64,
        /// A lower-case fragment.
        problem: String,
    },
    /// Another version of the format, or another program's.
    #[error("the part is of version `{0}`, this program knows `{VERSION}`")]
    Version(String),
    /// The bytes are not those that were written.
    #[error("the part is damaged: its lines are not those that its seal counts")]
    Damaged,
    /// It has no MAC, and there is a key to check one.
    #[error("the part is not sealed, and a part key is at hand")]
    Unsealed,
    /// It was sealed with another key.
    #[error("the part was sealed with key {found}; the part key at hand is {known}")]
    OtherKey {
        /// As the part says.
        found: String,
        /// Of the key at hand.
        known: KeyId,
    },
    /// The MAC is not that of the key over these lines.
    #[error("the part is not what key {0} sealed")]
    Forged(KeyId),
    /// What no worker of ours writes.
    #[error("the part contradicts itself: {0}")]
    Contradiction(String),
}

impl ReadError {
    /// Whether somebody made it so: nothing that merely went wrong leads there.
    pub fn is_proof(&self) -> bool {
        matches!(self, Self::Forged(_) | Self::Contradiction(_))
    }
}

/// Reads the head alone, of which nothing is proven.
///
/// # Errors
/// No file, or one that does not begin as a part does.
pub fn head(path: &Path) -> Result<Head, ReadError> {
    let mut lines = Lines::open(path)?;
    lines.advance()?.ok_or(ReadError::Truncated)?;
    lines.head()
}

/// Reads a part; with a key, one that this key sealed.
///
/// # Errors
/// Everything else.
pub fn read(path: &Path, key: Option<&Secret>) -> Result<Part, ReadError> {
    let mut lines = Lines::open(path)?;
    lines.advance()?.ok_or(ReadError::Truncated)?;
    let mut part = Part {
        head: lines.head()?,
        entries: Vec::new(),
        problems: Vec::new(),
        suspects: Vec::new(),
    };
    let seal = loop {
        // The seal is not under its own digest.
        lines.hasher.update(&lines.line);
        let before = lines.number;
        lines.advance()?.ok_or(ReadError::Truncated)?;
        if let Ok(seal) = serde_json::from_slice::<Seal>(&lines.line) {
            if lines.advance()?.is_some() {
                return Err(lines.malformed("something stands behind the seal"));
            }
            break (before, seal);
        }
        let line: Line = lines.parse()?;
        line.take_into(&mut part)
            .map_err(|problem| lines.malformed(problem))?;
    };
    let sha256 = lines.hasher.finish();
    if (seal.0, sha256) != (seal.1.lines, seal.1.sha256) {
        return Err(ReadError::Damaged);
    }
    if let Some(key) = key {
        check(&seal.1, key)?;
    }
    consistent(&part).map_err(ReadError::Contradiction)?;
    Ok(part)
}

fn check(seal: &Seal, key: &Secret) -> Result<(), ReadError> {
    let (Some(found), Some(mac)) = (&seal.key_id, &seal.mac) else {
        return Err(ReadError::Unsealed);
    };
    let known = key.key_id();
    if *found != known.to_string() {
        let found = found.chars().take(40).collect();
        return Err(ReadError::OtherKey { found, known });
    }
    let mut made = key.mac(PAYLOAD_TYPE, seal.sha256.0.len() as u64);
    // A MAC takes everything in.
    let written = std::io::Write::write_all(&mut made, &seal.sha256.0);
    match written.is_ok() && made.matches(mac) {
        true => Ok(()),
        false => Err(ReadError::Forged(known)),
    }
}

/// What holds in every part that a worker writes.
fn consistent(part: &Part) -> Result<(), String> {
    let (shard, verb) = (part.head.shard, part.head.verb);
    let entries = part.entries.iter().map(|(path, _)| path);
    let problems = part.problems.iter().filter_map(|one| one.path.as_ref());
    let suspects = part.suspects.iter().map(|one| &one.path);
    let mut paths = entries.clone().chain(problems.clone()).chain(suspects);
    if let Some(path) = paths.find(|path| !shard.owns(path)) {
        return Err(format!("`{path}` does not belong to shard {shard}"));
    }
    if !part.entries.is_sorted_by(|a, b| a.0 < b.0)
        || !part.problems.is_sorted_by(|a, b| a.path < b.path)
        || !part.suspects.is_sorted_by(|a, b| a < b)
    {
        return Err("its lines are not in their order, or one stands twice".into());
    }
    let is_scan = verb == super::Verb::Guard;
    let lists = !part.entries.is_empty() || !part.problems.is_empty();
    if is_scan == part.head.clean.is_none()
        || (is_scan && lists)
        || (!is_scan && !part.suspects.is_empty())
    {
        return Err(format!(
            "it has lines that no part of `{}` has",
            verb.word()
        ));
    }
    let unread = |entry: &crate::inventory::Entry| matches!(entry, crate::inventory::Entry::File(file) if file.sha256 == NOT_READ);
    if verb == super::Verb::Sign
        && let Some((path, _)) = part.entries.iter().find(|(_, entry)| unread(entry))
    {
        return Err(format!("`{path}` has no checksum"));
    }
    let listed = |path: &&crate::base::relpath::RelPath| {
        part.entries
            .binary_search_by(|(other, _)| other.cmp(path))
            .is_ok()
    };
    let alone = problems.filter(|path| !listed(path)).count();
    if !is_scan && (part.entries.len() + alone) as u64 != part.head.owned {
        return Err("it lists another number of entries than it counts".into());
    }
    Ok(())
}

/// The lines of a file, one after the other.
struct Lines {
    reader: BufReader<std::fs::File>,
    path: std::path::PathBuf,
    /// With its newline.
    line: Vec<u8>,
    /// How many were read.
    number: u64,
    hasher: Hasher,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, files::open_regular(path)?),
            path: path.to_owned(),
            line: Vec::new(),
            number: 0,
            hasher: Hasher::default(),
        })
    }

    /// Reads the next line; `None` at the end.
    fn advance(&mut self) -> Result<Option<()>, ReadError> {
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut self.line);
        read.map_err(FileError::at("read", &self.path))?;
        match self.line.last() {
            None => Ok(None),
            Some(b'\n') => {
                self.number += 1;
                Ok(Some(()))
            }
            Some(_) if self.line.len() as u64 == LINE_BYTES_MAX => {
                self.number += 1;
                Err(self.malformed(format!("longer than {LINE_BYTES_MAX} bytes")))
            }
            Some(_) => Err(ReadError::Truncated),
        }
    }

    fn head(&self) -> Result<Head, ReadError> {
        #[derive(serde::Deserialize)]
        struct Version {
            part_version: String,
        }
        let version: Version = serde_json::from_slice(&self.line).map_err(|_| {
            self.malformed("not the head of a part: is it a file that `--shard` wrote?")
        })?;
        match version.part_version == VERSION {
            true => self.parse(),
            false => {
                let found = version.part_version.chars().take(40).collect();
                Err(ReadError::Version(found))
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ReadError> {
        serde_json::from_slice(&self.line).map_err(|error| {
            // The library's text may quote the input, and its line is always the first.
            let text: String = error.to_string().chars().take(300).collect();
            self.malformed(text.replace(" at line 1 column ", ", column "))
        })
    }

    fn malformed(&self, problem: impl Into<String>) -> ReadError {
        ReadError::Malformed {
            line: self.number,
            problem: problem.into(),
        }
    }
}
