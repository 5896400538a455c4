//! Reads a manifest strictly: every byte of the file is accounted for, or the file is refused.
//!
//! What passes here has exactly one canonical form, so that a MAC over that form covers all the
//! file says. `docs/formats/manifest.md` has the grammar; this is its only implementation here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::manifest::{ALGORITHM, SIGNATURE_VERSION, SYMLINKS, VERSION};
use super::{AbsolutePaths, Manifest, Options, RootRelation, Sealed, Signature, Summary};
use crate::base::canon::INTEGER_MAX;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::relpath::{self, RelPath};
use crate::inventory::{self, Entry, Globs, Inventory};
use crate::report::AuditHead;
use crate::seal::KeyId;

/// Why a file is not a manifest that can be verified.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file could not be read.
    #[error("cannot read the manifest")]
    Read(#[source] std::io::Error),
    /// Not the strict grammar.
    #[error("not a manifest of version 1.0: {0}")]
    Malformed(String),
    /// The guide's shape without the fields that make it verifiable.
    #[error("the manifest has the older scripts' shape")]
    Legacy,
    /// A `manifest_version` or `algorithm` that this program does not know.
    #[error("`{field}` is `{found}`, this program knows `{known}`")]
    Unsupported {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
        /// The one known value.
        known: &'static str,
    },
}

/// A manifest as parsed, and what only its consistency check may judge.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The manifest with its unchecked signature.
    pub(super) sealed: Sealed,
    /// What this program would never write, so that it computes no MAC over it: a path that is
    /// both file and directory, a link whose size or checksum is not its target's, a signature
    /// that names another algorithm.
    pub(super) contradiction: Option<String>,
}

/// Up to this size a manifest is read whole, which parses several times faster than streaming;
/// above it memory must not grow with the file.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// Reads an open manifest.
pub(super) fn read(file: File) -> Result<Parsed, ParseError> {
    read_bounded(file, WHOLE_BYTES_MAX)
}

fn read_bounded(mut file: File, whole_bytes_max: u64) -> Result<Parsed, ParseError> {
    let size_bytes = file.metadata().map_err(ParseError::Read)?.len();
    if size_bytes > whole_bytes_max {
        let streamed =
            |file| serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 18, file));
        let parsed = from_json(&mut streamed(file.try_clone().map_err(ParseError::Read)?));
        return match parsed {
            Ok(parsed) => parsed,
            Err(error) if error.is_io() => Err(ParseError::Read(error.into())),
            Err(error) => match file.rewind() {
                Ok(()) if is_legacy(&mut streamed(file)) => Err(ParseError::Legacy),
                _ => Err(malformed(&error)),
            },
        };
    }
    let mut bytes = Vec::with_capacity(size_bytes as usize + 1);
    // A file that grows meanwhile is cut here and then is not JSON.
    file.by_ref()
        .take(whole_bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(ParseError::Read)?;
    from_slice(&bytes)
}

/// Reads a manifest from memory.
pub(super) fn from_slice(bytes: &[u8]) -> Result<Parsed, ParseError> {
    // Typed parsing checks UTF-8 only where it keeps a text; the grammar asks for it everywhere.
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ParseError::Malformed(format!("not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    match from_json(&mut serde_json::Deserializer::from_str(text)) {
        Ok(parsed) => parsed,
        Err(_) if is_legacy(&mut serde_json::Deserializer::from_str(text)) => {
            Err(ParseError::Legacy)
        }
        Err(error) => Err(malformed(&error)),
    }
}

fn malformed(error: &serde_json::Error) -> ParseError {
    // The library's text may quote the input, so its length is bounded here.
    ParseError::Malformed(error.to_string().chars().take(300).collect())
}

fn from_json<'de, R: serde_json::de::Read<'de>>(
    deserializer: &mut serde_json::Deserializer<R>,
) -> Result<Result<Parsed, ParseError>, serde_json::Error> {
    let raw = Object::<RawManifest<'_>>::deserialize(&mut *deserializer)?.0;
    deserializer.end()?;
    Ok(raw.resolve())
}

/// Whether this is a manifest of the guide's shape: its fields, none of ours.
fn is_legacy<'de, R: serde_json::de::Read<'de>>(
    deserializer: &mut serde_json::Deserializer<R>,
) -> bool {
    #[derive(Deserialize)]
    struct Guide {
        manifest_version: Option<de::IgnoredAny>,
        file_inventory: Option<de::IgnoredAny>,
        signature: Option<de::IgnoredAny>,
        sequence: Option<de::IgnoredAny>,
        summary: Option<de::IgnoredAny>,
    }
    let guide = Guide::deserialize(&mut *deserializer);
    guide
        .and_then(|guide| deserializer.end().map(|()| guide))
        .is_ok_and(|guide| {
            guide.manifest_version.is_some()
                && guide.file_inventory.is_some()
                && guide.signature.is_some()
                && guide.sequence.is_none()
                && guide.summary.is_none()
        })
}

/// A JSON object and nothing else: derived structs would also accept an array of their fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// A required field that may be null: for a plain `Option` field serde would supply a null
/// where the field is absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// An optional field that may not be null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest<'a> {
    #[serde(borrow)]
    manifest_version: Cow<'a, str>,
    created_at: Time,
    #[serde(borrow)]
    algorithm: Cow<'a, str>,
    subject: String,
    sequence: Integer,
    #[serde(deserialize_with = "nullable")]
    expires_at: Option<Time>,
    #[serde(borrow, deserialize_with = "nullable")]
    root_relative_to_manifest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    options: Object<RawOptions<'a>>,
    summary: Object<RawSummary>,
    file_inventory: Files,
    directories: Directories,
    #[serde(deserialize_with = "nullable")]
    audit_head: Option<Object<RawAuditHead>>,
    #[serde(borrow)]
    signature: Object<RawSignature<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOptions<'a> {
    exclude: Vec<String>,
    #[serde(borrow)]
    exempt: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    symlinks: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSummary {
    file_count: Integer,
    symlink_count: Integer,
    directory_count: Integer,
    total_size_bytes: Integer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuditHead {
    log_id: String,
    sequence: Integer,
    #[serde(deserialize_with = "nullable")]
    mac: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature<'a> {
    signature: Digest,
    #[serde(borrow)]
    algorithm: Cow<'a, str>,
    signed_at: Time,
    content_hash: Digest,
    #[serde(borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    signature_version: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry<'a> {
    #[serde(borrow)]
    absolute_path: Cow<'a, str>,
    size_bytes: Integer,
    checksum_sha256: Digest,
    modified_time: Integer,
    mode: Mode,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    symlink_target: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    path_encoding: Option<Escaped>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    mode: Mode,
    #[serde(default, deserialize_with = "present")]
    path_encoding: Option<Escaped>,
}

/// 0 … 2^53−1.
struct Integer(u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let integer = u64::deserialize(deserializer)?;
        match integer <= INTEGER_MAX {
            true => Ok(Self(integer)),
            false => Err(D::Error::custom(format_args!(
                "integer `{integer}` is above 2^53-1"
            ))),
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`.
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Four octal digits.
struct Mode(u32);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let octal = text.len() == 4 && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal => Ok(Self(mode)),
            _ => Err(D::Error::custom("a mode is four octal digits")),
        }
    }
}

/// The text `escaped`.
struct Escaped;

impl<'de> Deserialize<'de> for Escaped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*Cow::<'de, str>::deserialize(deserializer)? {
            "escaped" => Ok(Self),
            _ => Err(D::Error::custom("`path_encoding` can only be `escaped`")),
        }
    }
}

/// `file_inventory`: entries sorted by path, each path once, and where they lay.
struct Files {
    entries: Vec<(RelPath, Entry)>,
    absolute_paths: AbsolutePaths,
    contradiction: Option<String>,
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Files;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of files")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
                let mut entries = Vec::new();
                let mut absolute_paths = AbsolutePathsReader::default();
                let mut contradiction = None;
                while let Some(name) = map.next_key::<CowText<'de>>()? {
                    let raw = map.next_value::<Object<RawEntry<'de>>>()?.0;
                    let absolute_path = raw.absolute_path.clone();
                    let (path, entry) = raw
                        .resolve(&name.0, &mut contradiction)
                        .map_err(A::Error::custom)?;
                    absolute_paths.take_in(&path, &name.0, &absolute_path);
                    entries.push((path, entry));
                }
                sort_unique(&mut entries).map_err(A::Error::custom)?;
                Ok(Files {
                    entries,
                    absolute_paths: absolute_paths.paths,
                    contradiction,
                })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// `directories`: entries sorted by path, each path once.
struct Directories(Vec<(RelPath, Entry)>);

impl<'de> Deserialize<'de> for Directories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Directories;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of directories")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Directories, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<CowText<'de>>()? {
                    let raw = map.next_value::<Object<RawDirectory>>()?.0;
                    let path = RelPath::from_json_name(&name.0, raw.path_encoding.is_some())
                        .map_err(|error| A::Error::custom(format_args!("`{}`: {error}", name.0)))?;
                    entries.push((path, Entry::Directory { mode: raw.mode.0 }));
                }
                sort_unique(&mut entries).map_err(A::Error::custom)?;
                Ok(Directories(entries))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A text borrowed from the input where it stands there without escapes.
#[derive(Deserialize)]
struct CowText<'a>(#[serde(borrow)] Cow<'a, str>);

/// Sorts by path and refuses a path that stands twice.
fn sort_unique(entries: &mut Vec<(RelPath, Entry)>) -> Result<(), String> {
    entries.shrink_to_fit();
    if !entries.is_sorted_by(|left, right| left.0 < right.0) {
        entries.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    }
    match entries
        .array_windows()
        .find(|[left, right]| left.0 == right.0)
    {
        Some([twice, _]) => Err(format!("`{}` is listed twice", twice.0)),
        None => Ok(()),
    }
}

/// Finds the root that the first entry shows and keeps only the texts that do not follow it.
#[derive(Default)]
struct AbsolutePathsReader {
    paths: AbsolutePaths,
    seen: bool,
    scratch: String,
}

impl AbsolutePathsReader {
    fn take_in(&mut self, path: &RelPath, name: &str, text: &str) {
        if !self.seen {
            self.seen = true;
            self.paths.root = text
                .strip_suffix(name)
                .and_then(|before| before.strip_suffix('/'))
                .map(str::to_owned);
        }
        if self.paths.text(path, name, &mut self.scratch) != text {
            self.paths.exceptions.insert(path.clone(), text.to_owned());
        }
    }
}

impl RawEntry<'_> {
    fn resolve(
        self,
        name: &str,
        contradiction: &mut Option<String>,
    ) -> Result<(RelPath, Entry), String> {
        let in_place = |error: &dyn fmt::Display| format!("`{name}`: {error}");
        let escaped = self.path_encoding.is_some();
        let read = |text: &str| {
            let (bytes, needed) =
                relpath::unescape(text, escaped).map_err(|error| in_place(&error))?;
            Ok::<_, String>((bytes.into_owned(), needed))
        };
        let (path, mut needed) = read(name)?;
        let path = RelPath::parse(&path).map_err(|error| in_place(&error))?;
        let (mode, modified_seconds) = (self.mode.0, self.modified_time.0);
        let entry = match (&*self.kind, self.symlink_target) {
            ("file", None) => Entry::File(inventory::File {
                size_bytes: self.size_bytes.0,
                sha256: self.checksum_sha256,
                mode,
                modified_seconds,
            }),
            ("symlink", Some(target)) => {
                let (target, target_needed) = read(&target)?;
                needed |= target_needed;
                if target.is_empty() || target.contains(&0) {
                    return Err(in_place(&"a link's target is empty or has a NUL byte"));
                }
                if target.len() as u64 != self.size_bytes.0
                    || Digest::of(&target) != self.checksum_sha256
                {
                    let text = in_place(&"the link's size or checksum is not its target's");
                    contradiction.get_or_insert(text);
                }
                Entry::Symlink(inventory::Symlink {
                    target: target.into(),
                    mode,
                    modified_seconds,
                })
            }
            ("file" | "symlink", _) => return Err(in_place(&"only links have a `symlink_target`")),
            _ => return Err(in_place(&"`type` is neither `file` nor `symlink`")),
        };
        match needed == escaped {
            true => Ok((path, entry)),
            false => Err(in_place(&"`path_encoding` stands where no name needs it")),
        }
    }
}

/// Refuses a field that says something else than this program knows.
fn refuse_other(field: &'static str, found: &str, known: &'static str) -> Result<(), ParseError> {
    if found == known {
        return Ok(());
    }
    Err(ParseError::Unsupported {
        field,
        found: found.chars().take(40).collect(),
        known,
    })
}

impl RawManifest<'_> {
    /// Everything that the types alone do not say.
    fn resolve(self) -> Result<Parsed, ParseError> {
        refuse_other("manifest_version", &self.manifest_version, VERSION)?;
        refuse_other("algorithm", &self.algorithm, ALGORITHM)?;
        let signature = self.signature.0;
        let malformed = |text: String| Err(ParseError::Malformed(text));
        if self.subject.is_empty() {
            return malformed("`subject` is empty".into());
        }
        if self.sequence.0 == 0 {
            return malformed("`sequence` is 0".into());
        }
        let key_id = match KeyId::parse(&signature.key_id) {
            Ok(key_id) => key_id,
            Err(error) => return malformed(error.to_string()),
        };
        let root = read_root(self.root_relative_to_manifest.as_deref())?;
        let options = self.options.0.resolve()?;
        let mut contradiction = self.file_inventory.contradiction;
        if signature.algorithm != ALGORITHM || signature.signature_version != SIGNATURE_VERSION {
            let text = "`signature` names another algorithm than the manifest or this version has";
            contradiction.get_or_insert_with(|| text.to_owned());
        }
        let inventory = merge(
            self.file_inventory.entries,
            self.directories.0,
            &mut contradiction,
        )?;
        let summary = self.summary.0;
        let manifest = Manifest {
            created_at: self.created_at.0,
            subject: self.subject,
            sequence: self.sequence.0,
            expires_at: self.expires_at.map(|time| time.0),
            root,
            options,
            summary: Summary {
                file_count: summary.file_count.0,
                symlink_count: summary.symlink_count.0,
                directory_count: summary.directory_count.0,
                total_size_bytes: summary.total_size_bytes.0,
            },
            inventory,
            absolute_paths: self.file_inventory.absolute_paths,
            audit_head: self.audit_head.map(|Object(head)| AuditHead {
                log_id: head.log_id,
                sequence: head.sequence.0,
                mac: head.mac,
            }),
        };
        let signature = Signature {
            tag: signature.signature,
            signed_at: signature.signed_at.0,
            content_hash: signature.content_hash,
            key_id,
        };
        Ok(Parsed {
            sealed: Sealed {
                manifest,
                signature,
            },
            contradiction,
        })
    }
}

impl RawOptions<'_> {
    fn resolve(self) -> Result<Options, ParseError> {
        let malformed = |text: String| ParseError::Malformed(text);
        if self.symlinks != SYMLINKS {
            return Err(malformed(format!("`options.symlinks` is not `{SYMLINKS}`")));
        }
        if self.exclude.iter().collect::<BTreeSet<_>>().len() < self.exclude.len() {
            return Err(malformed("`options.exclude` has a pattern twice".into()));
        }
        Globs::check(&self.exclude)
            .map_err(|error| malformed(format!("`options.exclude`: {error}")))?;
        let mut exempt = Vec::with_capacity(self.exempt.len());
        for name in &self.exempt {
            let path = RelPath::from_json_name(name, false)
                .map_err(|error| malformed(format!("`options.exempt`: `{name}`: {error}")))?;
            exempt.push(path);
        }
        if exempt.iter().collect::<BTreeSet<_>>().len() < exempt.len() {
            return Err(malformed("`options.exempt` has a path twice".into()));
        }
        Ok(Options {
            exclude: self.exclude,
            exempt,
        })
    }
}

/// `null`, `.`, `..`, `../..`, …: a manifest lies in its tree or elsewhere, never beside it.
fn read_root(text: Option<&str>) -> Result<RootRelation, ParseError> {
    match text {
        None => Ok(RootRelation::Elsewhere),
        Some(".") => Ok(RootRelation::Up(0)),
        Some(text) if text.split('/').all(|component| component == "..") => {
            Ok(RootRelation::Up(text.split('/').count()))
        }
        Some(_) => Err(ParseError::Malformed(
            "`root_relative_to_manifest` is not null, `.` or `..`s".into(),
        )),
    }
}

/// One inventory of both lists; a path that stands in both is told, and kept once.
fn merge(
    mut entries: Vec<(RelPath, Entry)>,
    mut directories: Vec<(RelPath, Entry)>,
    contradiction: &mut Option<String>,
) -> Result<Inventory, ParseError> {
    entries.append(&mut directories);
    // Two sorted runs: the standard stable sort merges them in linear time.
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    entries.dedup_by(|right, left| {
        let twice = right.0 == left.0;
        if twice {
            contradiction.get_or_insert_with(|| format!("`{}` is both file and directory", left.0));
        }
        twice
    });
    Inventory::from_entries(entries).map_err(|error| ParseError::Malformed(error.to_string()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_too_large_to_be_read_whole_means_the_same() {
        let told = |text: &str, whole_bytes_max| {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            file.rewind().unwrap();
            // The library counts columns in its own way where it streams.
            let text = read_bounded(file, whole_bytes_max).unwrap_err().to_string();
            text.split(" at line").next().unwrap().to_owned()
        };
        for text in [
            r#"{"manifest_version": "1.0", "file_inventory": {}, "signature": {}, "x": [1]}"#,
            r#"{"manifest_version": "1.0", "file_inventory": {}, "signature": {}} x"#,
            r#"{"manifest_version": "1.0"}"#,
            r#"{"algorithm": 1}"#,
            "[[[",
        ] {
            assert_eq!(told(text, 0), told(text, 1 << 20), "{text}");
        }
        let legacy = r#"{"manifest_version": "1.0", "file_inventory": {}, "signature": {}}"#;
        assert_eq!(told(legacy, 0), ParseError::Legacy.to_string());
    }
}
