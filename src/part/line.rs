//! The lines of a part between value and JSON. Names are spelled as in a manifest, backslashes always doubled,
//! so that a backslash says by itself that a spelling is escaped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Part, Suspect};
use crate::base::canon::INTEGER_MAX;
use crate::base::digest::Digest;
use crate::base::relpath::{self, RelPath};
use crate::inventory::{Entry, File, NOT_READ, Problem, ProblemKind, Special, Symlink};

/// A line between the first and the last.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// A regular file.
    File {
        /// Below the root, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
        /// Bytes.
        size_bytes: u64,
        /// Four octal digits.
        mode: Mode,
        /// Unix seconds.
        modified_time: u64,
        /// Of the content; null where the verb did not have to read it.
        checksum_sha256: Option<Digest>,
    },
    /// A symbolic link.
    Symlink {
        /// Below the root, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
        /// Four octal digits.
        mode: Mode,
        /// Unix seconds.
        modified_time: u64,
        /// Where it points, escaped as in a manifest.
        symlink_target: String,
    },
    /// A directory.
    Directory {
        /// Below the root, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
        /// Four octal digits.
        mode: Mode,
    },
    /// A FIFO, socket or device.
    Special {
        /// Below the root, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
        /// Which.
        kind: SpecialKind,
    },
    /// An entry that could not be taken in.
    Problem {
        /// Below the root, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
        /// What it means.
        kind: Trouble,
        /// For people.
        reason: String,
    },
    /// An entry in which a scan has met with something.
    Suspect {
        /// The place of its target among those that were asked for, from 0.
        target: u32,
        /// Below that target, escaped as in a manifest.
        #[schemars(with = "String")]
        path: RelPath,
    },
}

/// The last line.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Seal {
    /// How many lines stand before this one.
    pub(super) lines: u64,
    /// SHA-256 of the bytes of those lines.
    pub(super) sha256: Digest,
    /// Which part key made the MAC, 16 hex digits; null together with it.
    pub(super) key_id: Option<String>,
    /// HMAC-SHA256 under the part key over the DSSE encoding of the 32 bytes of `sha256`; null where no key
    /// was at hand.
    pub(super) mac: Option<Digest>,
}

/// Four octal digits.
#[derive(Clone, Copy)]
pub(super) struct Mode(u32);

impl JsonSchema for Mode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-7]{4}$"})
    }
}

impl Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octal = text.len() == 4 && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal => Ok(Self(mode)),
            _ => Err(serde::de::Error::custom("a mode is four octal digits")),
        }
    }
}

/// What is neither file nor link nor directory.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpecialKind {
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
}

/// Why an entry could not be taken in.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// The system would not give it.
    Unreadable,
    /// It changed meanwhile.
    Unstable,
}

impl Line {
    pub(super) fn of_entry(path: &RelPath, entry: &Entry) -> Self {
        let path = path.clone();
        match entry {
            Entry::File(file) => Self::File {
                path,
                size_bytes: file.size_bytes,
                mode: Mode(file.mode),
                modified_time: file.modified_seconds,
                checksum_sha256: (file.sha256 != NOT_READ).then_some(file.sha256),
            },
            Entry::Symlink(link) => Self::Symlink {
                path,
                mode: Mode(link.mode),
                modified_time: link.modified_seconds,
                symlink_target: relpath::escape(&link.target).0.into_owned(),
            },
            Entry::Directory { mode } => Self::Directory {
                path,
                mode: Mode(*mode),
            },
            Entry::Special(special) => Self::Special {
                path,
                kind: match special {
                    Special::Fifo => SpecialKind::Fifo,
                    Special::Socket => SpecialKind::Socket,
                    Special::BlockDevice => SpecialKind::BlockDevice,
                    Special::CharacterDevice => SpecialKind::CharacterDevice,
                },
            },
        }
    }

    /// `None` for a problem with the root: everybody who walks it has that by himself.
    pub(super) fn of_problem(problem: &Problem) -> Option<Self> {
        Some(Self::Problem {
            path: problem.path.clone()?,
            kind: match problem.kind {
                ProblemKind::Unreadable => Trouble::Unreadable,
                ProblemKind::Unstable => Trouble::Unstable,
            },
            reason: problem.reason.clone(),
        })
    }

    pub(super) fn of_suspect(suspect: &Suspect) -> Self {
        Self::Suspect {
            target: suspect.target,
            path: suspect.path.clone(),
        }
    }

    /// Adds what the line says to a part.
    ///
    /// # Errors
    /// What no entry can be.
    pub(super) fn take_into(self, part: &mut Part) -> Result<(), String> {
        let (path, entry) = match self {
            Self::Problem { path, kind, reason } => {
                part.problems.push(Problem {
                    path: Some(path),
                    kind: match kind {
                        Trouble::Unreadable => ProblemKind::Unreadable,
                        Trouble::Unstable => ProblemKind::Unstable,
                    },
                    reason,
                });
                return Ok(());
            }
            Self::Suspect { target, path } => {
                part.suspects.push(Suspect { target, path });
                return Ok(());
            }
            Self::File {
                path,
                size_bytes,
                mode,
                modified_time,
                checksum_sha256,
            } => {
                if size_bytes > INTEGER_MAX {
                    return Err(format!("`{path}` has a size above 2^53-1"));
                }
                let file = File {
                    size_bytes,
                    sha256: checksum_sha256.unwrap_or(NOT_READ),
                    mode: mode.0,
                    modified_seconds: modified_time,
                };
                (path, Entry::File(file))
            }
            Self::Symlink {
                path,
                mode,
                modified_time,
                symlink_target,
            } => {
                let target = relpath::unescape(&symlink_target, symlink_target.contains('\\'));
                let (target, _) = target.map_err(|error| format!("`{path}`: {error}"))?;
                let link = Symlink {
                    target: target.into(),
                    mode: mode.0,
                    modified_seconds: modified_time,
                };
                (path, Entry::Symlink(link))
            }
            Self::Directory { path, mode } => (path, Entry::Directory { mode: mode.0 }),
            Self::Special { path, kind } => {
                let special = match kind {
                    SpecialKind::Fifo => Special::Fifo,
                    SpecialKind::Socket => Special::Socket,
                    SpecialKind::BlockDevice => Special::BlockDevice,
                    SpecialKind::CharacterDevice => Special::CharacterDevice,
                };
                (path, Entry::Special(special))
            }
        };
        part.entries.push((path, entry));
        Ok(())
    }
}
