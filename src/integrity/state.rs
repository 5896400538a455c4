//! The highest sequence seen of each subject, so that an older manifest put back is noticed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::files::{self, FileError};

/// The largest state file that is read, in bytes: some hundred thousand subjects.
const BYTES_MAX: u64 = 16 << 20;

/// Subject → highest sequence that verified; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceState {
    sequences: BTreeMap<String, u64>,
}

/// Why the state of sequences cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read, locked or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is something else.
    #[error("`{path}` is not a state of sequences")]
    Malformed {
        /// The file.
        path: String,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
}

impl SequenceState {
    /// Reads a state file; one that does not exist is empty.
    ///
    /// # Errors
    /// A file that cannot be read or is something else: never silently an empty state.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let bytes = match files::read_bounded(path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&bytes).map_err(|source| StateError::Malformed {
            path: path.to_string_lossy().into_owned(),
            source,
        })
    }

    /// The highest sequence known of a subject.
    pub fn highest(&self, subject: &str) -> Option<u64> {
        self.sequences.get(subject).copied()
    }

    /// Raises subjects to sequences just verified and writes the file, against other verifiers
    /// under a lock on its directory.
    ///
    /// # Errors
    /// As [`SequenceState::load`], and what writing says.
    pub fn raise(path: &Path, verified: &[(String, u64)]) -> Result<(), StateError> {
        let directory = files::parent_of(path);
        let lock = File::open(directory).map_err(FileError::at("lock", directory))?;
        lock.lock().map_err(FileError::at("lock", directory))?;
        let before = Self::load(path)?;
        let mut after = before.clone();
        for (subject, sequence) in verified {
            let highest = after.sequences.entry(subject.clone()).or_default();
            *highest = (*highest).max(*sequence);
        }
        if after != before || !path.exists() {
            files::write_atomic(path, 0o600, |out| {
                serde_json::to_writer_pretty(&mut *out, &after)?;
                out.write_all(b"\n")
            })?;
        }
        Ok(())
    }
}
