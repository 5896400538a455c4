//! Which policy counts, and where it comes from: the one way from a file to a [`Policy`].
//!
//! A policy that was named is used as it stands or refused; it is never replaced by the default.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::place::{Node, Place, Problem};
use super::raw::Policy;
use super::{check, found};
use crate::base::digest::Digest;
use crate::base::files::{self, FileError};
use crate::base::units;

/// Where a policy is looked for when none is named, below the working directory.
const USUAL_PATH: &str = "config/assets_quality_policy.json";
/// The largest policy file that is read, bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What the caller knows about the policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadRequest<'a> {
    /// The file that the caller was told to use; none lets the usual place or the default count.
    pub named: Option<&'a Path>,
}

/// A policy that counts, and where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Where it comes from.
    pub source: Source,
    /// The digest of the file's bytes; none for the built-in default.
    pub sha256: Option<Digest>,
    /// What a found policy asked for and did not get, in the order of the sections.
    pub warnings: Vec<Problem>,
    /// The file's text; empty for the built-in default.
    pub text: String,
}

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No file: the default.
    BuiltIn,
    /// The file at the usual place, which nobody named.
    Found(PathBuf),
    /// The file that was named.
    Named(PathBuf),
}

/// The path, or `built-in`; safe to print.
impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => out.write_str("built-in"),
            Self::Found(path) | Self::Named(path) => {
                out.write_str(&units::printable(&path.to_string_lossy()))
            }
        }
    }
}

impl serde::Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why there is no policy to go by.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there, not a regular file, too large, or not readable.
    #[error("the policy cannot be read")]
    Read(#[source] FileError),
    /// The file is not a policy.
    #[error("`{}` is not a valid policy: {}", units::printable(&path.to_string_lossy()),
            units::count(problems.len() as u64, "problem"))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All problems, in the order of the text; at least one and at most 100.
        problems: Vec<Problem>,
    },
}

impl Loaded {
    /// The built-in default.
    pub fn built_in() -> Self {
        Self {
            policy: Policy::default(),
            source: Source::BuiltIn,
            sha256: None,
            warnings: Vec::new(),
            text: String::new(),
        }
    }

    /// Whether a policy file asks for an audit log; one that says nothing does.
    pub fn asks_for_audit(&self) -> bool {
        self.source != Source::BuiltIn && self.policy.policy_guard.audit_logging
    }

    /// Whether a policy file forbids the audit log; only one that was named can.
    pub fn forbids_audit(&self) -> bool {
        matches!(self.source, Source::Named(_)) && !self.policy.policy_guard.audit_logging
    }

    /// Where the value stands in the file that a JSON pointer leads to, if the file has it.
    pub fn place_of(&self, pointer: &str) -> Option<Place> {
        let root = Node::read(&self.text).ok()?;
        Some(Place::of(root.at(pointer)?.start, &self.text))
    }
}

/// Loads the policy that counts.
///
/// # Errors
/// A file that was named or found and cannot be read or is not valid.
pub fn load(request: &LoadRequest<'_>) -> Result<Loaded, LoadError> {
    load_below(Path::new(""), request)
}

/// As [`load`], with the working directory as a path.
pub(super) fn load_below(directory: &Path, request: &LoadRequest<'_>) -> Result<Loaded, LoadError> {
    if let Some(path) = request.named {
        return read(Source::Named(path.into()), path);
    }
    let path = directory.join(USUAL_PATH);
    match path.symlink_metadata() {
        Err(error) if is_absence(&error) => Ok(Loaded::built_in()),
        _ => {
            let mut loaded = read(Source::Found(path.clone()), &path)?;
            loaded.warnings = found::hold(&mut loaded.policy, &loaded.text);
            Ok(loaded)
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn read(source: Source, path: &Path) -> Result<Loaded, LoadError> {
    let bytes = files::read_bounded(path, BYTES_MAX).map_err(LoadError::Read)?;
    let sha256 = Some(Digest::of(&bytes));
    let checked = decode(bytes).and_then(|text| Ok((check::read(&text)?, text)));
    let (policy, text) = checked.map_err(|problems| LoadError::Invalid {
        path: path.into(),
        problems,
    })?;
    Ok(Loaded {
        policy,
        source,
        sha256,
        warnings: Vec::new(),
        text,
    })
}

fn decode(bytes: Vec<u8>) -> Result<String, Vec<Problem>> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let before = String::from_utf8_lossy(&bytes[..valid]);
        let Place { line, column } = Place::of(valid, &before);
        vec![Problem {
            pointer: String::new(),
            line,
            column,
            message: "the file is not UTF-8".into(),
            hint: Some("save it as UTF-8".into()),
        }]
    })
}
