//! Why a rollback command could not answer, or refuses.

use std::io;

use crate::base::files::FileError;
use crate::inventory::{CopyError, GlobError, TakeError};
use crate::report::Finding;

/// Why a rollback command could not answer. Unless a variant says otherwise, nothing live changed.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A file of the store, or a target, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tree cannot be opened.
    #[error(transparent)]
    Take(TakeError),
    /// The store cannot take in content.
    #[error("cannot write into the snapshot store")]
    Store(#[source] io::Error),
    /// The store was written by another release.
    #[error("`{path}` is not a store of version 1.0")]
    Format {
        /// Its `format.json`.
        path: String,
    },
    /// A file of the store is not what was written.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found; a lower-case fragment.
        reason: String,
    },
    /// A file does not carry the MAC of the key at hand.
    #[error("`{path}` was changed after it was sealed")]
    Forged {
        /// The file.
        path: String,
    },
    /// No snapshot of that name.
    #[error("there is no snapshot `{wanted}`")]
    UnknownSnapshot {
        /// As it was asked for.
        wanted: String,
        /// A name that comes close.
        similar: Option<String>,
    },
    /// A word that several snapshots begin with.
    #[error("`{wanted}` is the beginning of {count} snapshots")]
    Ambiguous {
        /// As it was asked for.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// Entries that cannot be snapshot; one finding each, not empty.
    #[error("{} cannot be put into a snapshot", crate::base::units::count(.0.len() as u64, "entry"))]
    Entries(Vec<Finding>),
    /// A pattern outside the grammar.
    #[error("cannot use a pattern")]
    Glob(#[from] GlobError),
    /// Targets, flags or a playbook that contradict themselves.
    #[error("{0}")]
    Usage(String),
    /// The system refuses something at a place.
    #[error("cannot {act} `{}`", crate::base::units::printable(path))]
    Place {
        /// A verb.
        act: &'static str,
        /// The place.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was staged is not what was stored; one finding each, not empty.
    #[error("the staged tree is not what the snapshot holds")]
    Unverified(Vec<Finding>),
    /// A restore was begun and cannot be finished: a target may be old or new, never torn.
    #[error("an earlier restore cannot be finished: {0}")]
    Stuck(String),
    /// A playbook that is not one, or does not carry a good signature.
    #[error("`{path}` cannot be used: {reason}")]
    Playbook {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl From<TakeError> for RollbackError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Interrupted => Self::Interrupted,
            open @ TakeError::Open { .. } => Self::Take(open),
        }
    }
}

impl From<CopyError> for RollbackError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Take(error) => error.into(),
            CopyError::NotKept(source) => Self::Store(source),
        }
    }
}

/// For `map_err`: names the act and the place of a system error.
pub(super) fn at<E: Into<io::Error>>(
    act: &'static str,
    path: impl Into<String>,
) -> impl FnOnce(E) -> RollbackError {
    let path = path.into();
    move |source| RollbackError::Place {
        act,
        path,
        source: source.into(),
    }
}
