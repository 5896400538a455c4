//! The manifest, version 1.0: its value, its canonical form, its seal, and the file people see.
//!
//! `docs/formats/manifest.md` describes the wire format; [`super::parse`] reads it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use crate::base::canon;
use crate::base::clock::Timestamp;
use crate::base::digest::{Digest, Hasher};
use crate::base::relpath::{self, RelPath};
use crate::inventory::{Entry, Inventory};
use crate::report::AuditHead;
use crate::seal::{KeyId, Mac, Secret};

/// The only `manifest_version` there is.
pub(super) const VERSION: &str = "1.0";
/// The only `algorithm` there is.
pub(super) const ALGORITHM: &str = "HMAC-SHA256";
/// The only `signature_version` there is.
pub(super) const SIGNATURE_VERSION: &str = "1";
/// The DSSE payload type of the signed bytes.
const PAYLOAD_TYPE: &str = "application/vnd.agp.integrity-manifest.v1+json";
/// The only way of treating symbolic links: as entries, never followed.
pub(super) const SYMLINKS: &str = "record";

/// A manifest without its signature: a tree as it was, and the terms under which it was sealed.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// When signing began; whole seconds.
    pub created_at: Timestamp,
    /// Which tree this is about; not empty.
    pub subject: String,
    /// Grows by one with each manifest of a subject, from 1; at most 2^53−1.
    pub sequence: u64,
    /// After this instant the manifest no longer verifies; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Where the tree lies as seen from the manifest.
    pub root: RootRelation,
    /// What was left out, and on purpose.
    pub options: Options,
    /// Counts that must agree with the inventory.
    pub summary: Summary,
    /// Files, links and directories; no special files.
    pub inventory: Inventory,
    /// Where entries lay when they were signed; recorded, never opened.
    pub absolute_paths: AbsolutePaths,
    /// Where the signer's audit log stood; `None` where none was kept.
    pub audit_head: Option<AuditHead>,
}

/// Where the tree's root lies as seen from the manifest's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootRelation {
    /// That many directories up; 0 is the manifest's own.
    Up(usize),
    /// The manifest lies outside its tree.
    Elsewhere,
}

/// What signing left out; part of what is signed, so that verification cannot add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Globs of the portable grammar, as given; no two equal.
    pub exclude: Vec<String>,
    /// Paths that are not looked at, each with everything below it; no two equal.
    pub exempt: Vec<RelPath>,
}

/// Counts over the inventory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// Regular files.
    pub file_count: u64,
    /// Symbolic links.
    pub symlink_count: u64,
    /// Directories, the root not counted.
    pub directory_count: u64,
    /// Bytes in regular files.
    pub total_size_bytes: u64,
}

impl Summary {
    /// Counts an inventory.
    pub fn of(inventory: &Inventory) -> Self {
        let totals = inventory.totals();
        Self {
            file_count: totals.files,
            symlink_count: totals.symlinks,
            directory_count: totals.directories,
            total_size_bytes: totals.size_bytes,
        }
    }
}

/// The `absolute_path` of every entry, in little memory: nearly all are a root and the entry's
/// name, so only the others are kept one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbsolutePaths {
    /// Entries lie at this root, `/` and their name; `None` writes an empty text.
    pub root: Option<String>,
    /// Entries whose text is another one; none in what this program signs.
    pub exceptions: BTreeMap<RelPath, String>,
}

impl AbsolutePaths {
    /// The text for an entry whose name is spelled `name`.
    pub(super) fn text<'s>(
        &'s self,
        path: &RelPath,
        name: &str,
        scratch: &'s mut String,
    ) -> &'s str {
        if !self.exceptions.is_empty()
            && let Some(text) = self.exceptions.get(path)
        {
            return text;
        }
        scratch.clear();
        if let Some(root) = &self.root {
            scratch.push_str(root);
            scratch.push('/');
            scratch.push_str(name);
        }
        scratch
    }
}

/// What binds a manifest to a key and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// HMAC-SHA256 over the DSSE encoding of everything but this tag.
    pub tag: Digest,
    /// When it was signed; whole seconds.
    pub signed_at: Timestamp,
    /// SHA-256 of the canonical manifest without `signature`.
    pub content_hash: Digest,
    /// Which key.
    pub key_id: KeyId,
}

impl Signature {
    fn to_json(self, tag: Tag) -> Value {
        let mut object = json!({
            "algorithm": ALGORITHM, "signed_at": self.signed_at.to_seconds_string(),
            "content_hash": self.content_hash, "key_id": self.key_id,
            "signature_version": SIGNATURE_VERSION,
        });
        if let Tag::Written = tag {
            object["signature"] = json!(self.tag);
        }
        object
    }
}

/// A manifest with its signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// What was signed.
    pub manifest: Manifest,
    /// The signature; not yet checked by anything.
    pub signature: Signature,
}

impl Manifest {
    /// Seals the manifest with a secret.
    ///
    /// # Errors
    /// An inventory with special files, and counts above 2^53−1: no manifest can hold those.
    pub fn seal(self, secret: &Secret, signed_at: Timestamp) -> io::Result<Sealed> {
        let content_hash = self.content_hash()?;
        let tag = Digest([0; 32]);
        let signature = Signature {
            tag,
            signed_at,
            content_hash,
            key_id: secret.key_id(),
        };
        let mut sealed = Sealed {
            manifest: self,
            signature,
        };
        sealed.signature.tag = sealed.mac(secret)?.finish();
        Ok(sealed)
    }

    /// SHA-256 of the canonical form.
    ///
    /// # Errors
    /// As [`Manifest::seal`].
    pub fn content_hash(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::default();
        self.write(&mut hasher, None, Layout::Canonical)?;
        Ok(hasher.finish())
    }

    /// Writes the manifest in either layout, with a `signature` where one is given.
    fn write(
        &self,
        sink: &mut impl Write,
        signature: Option<Value>,
        layout: Layout,
    ) -> io::Result<()> {
        let order = self.in_canonical_order();
        let mut out = BufWriter::with_capacity(1 << 16, sink);
        let mut members: Vec<(&str, Member)> = vec![
            ("algorithm", Member::Value(json!(ALGORITHM))),
            ("audit_head", Member::Value(json!(self.audit_head))),
            (
                "created_at",
                Member::Value(json!(self.created_at.to_seconds_string())),
            ),
            ("directories", Member::Entries(Listed::Directories)),
            (
                "expires_at",
                Member::Value(json!(self.expires_at.map(Timestamp::to_seconds_string))),
            ),
            ("file_inventory", Member::Entries(Listed::Files)),
            ("manifest_version", Member::Value(json!(VERSION))),
            ("options", Member::Value(self.options.to_json())),
            (
                "root_relative_to_manifest",
                Member::Value(self.root.to_json()),
            ),
            ("sequence", Member::Value(json!(self.sequence))),
            ("subject", Member::Value(json!(self.subject))),
            ("summary", Member::Value(json!(self.summary))),
        ];
        if let Some(signature) = signature {
            members.insert(10, ("signature", Member::Value(signature)));
        }
        for (index, (key, member)) in members.iter().enumerate() {
            out.write_all(layout.before(index, 1))?;
            canon::write_string(&mut out, key)?;
            out.write_all(layout.colon())?;
            match member {
                Member::Value(value) => {
                    canon::write_value(&mut out, value).map_err(io::Error::other)?
                }
                Member::Entries(listed) => {
                    self.write_entries(&mut out, *listed, (order.as_deref(), layout))?
                }
            }
        }
        out.write_all(layout.after(members.len(), 0))?;
        out.flush()
    }

    fn write_entries(
        &self,
        out: &mut impl Write,
        listed: Listed,
        (order, layout): (Option<&[(&RelPath, &Entry)]>, Layout),
    ) -> io::Result<()> {
        let mut line = EntryLine {
            absolute_paths: &self.absolute_paths,
            layout,
            text: Vec::new(),
            scratch: String::new(),
        };
        let mut written = 0;
        let mut write = |path: &RelPath, entry: &Entry| {
            let is_directory = matches!(entry, Entry::Directory { .. });
            if is_directory == (listed == Listed::Directories) {
                out.write_all(layout.before(written, 2))?;
                out.write_all(line.render(path, entry)?)?;
                written += 1;
            }
            io::Result::Ok(())
        };
        match order {
            Some(order) => order
                .iter()
                .try_for_each(|(path, entry)| write(path, entry))?,
            None => self
                .inventory
                .iter()
                .try_for_each(|(path, entry)| write(path, entry))?,
        }
        out.write_all(layout.after(written, 1))
    }

    /// The entries by the UTF-16 units of their names; `None` where the inventory's own order by
    /// bytes is already that, as it is for names of plain ASCII.
    fn in_canonical_order(&self) -> Option<Vec<(&RelPath, &Entry)>> {
        let plain = |byte: &u8| byte.is_ascii() && *byte != b'\\';
        if self
            .inventory
            .iter()
            .all(|(path, _)| path.as_bytes().iter().all(plain))
        {
            return None;
        }
        let mut order: Vec<_> = self.inventory.iter().collect();
        order.sort_by(|left, right| {
            canon::compare_keys(&left.0.to_json_name().0, &right.0.to_json_name().0)
        });
        Some(order)
    }
}

impl Sealed {
    /// The MAC of the signed bytes under a secret.
    fn mac(&self, secret: &Secret) -> io::Result<Mac> {
        let signature = self.signature.to_json(Tag::LeftOut);
        let mut counter = Counter(0);
        self.manifest
            .write(&mut counter, Some(signature.clone()), Layout::Canonical)?;
        let mut mac = secret.mac(PAYLOAD_TYPE, counter.0);
        self.manifest
            .write(&mut mac, Some(signature), Layout::Canonical)?;
        Ok(mac)
    }

    /// Whether the tag is this secret's over this manifest; compared in constant time.
    ///
    /// # Errors
    /// As [`Manifest::seal`].
    pub fn is_authentic(&self, secret: &Secret) -> io::Result<bool> {
        Ok(self.mac(secret)?.matches(&self.signature.tag))
    }

    /// Writes the file: one member and one entry a line, so that it can be read and compared.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write_document(&self, out: &mut impl Write) -> io::Result<()> {
        let signature = self.signature.to_json(Tag::Written);
        self.manifest.write(out, Some(signature), Layout::Lines)?;
        out.write_all(b"\n")
    }
}

impl Options {
    fn to_json(&self) -> Value {
        json!({"exclude": self.exclude, "exempt": self.exempt, "symlinks": SYMLINKS})
    }
}

impl RootRelation {
    /// The text in the manifest: `.`, `..`, `../..`, …; `None` for a tree elsewhere.
    pub fn to_text(self) -> Option<String> {
        match self {
            Self::Elsewhere => None,
            Self::Up(0) => Some(".".into()),
            Self::Up(levels) => Some(vec![".."; levels].join("/")),
        }
    }

    fn to_json(self) -> Value {
        self.to_text().map_or(Value::Null, Value::String)
    }
}

/// Renders entries one by one into a reused buffer.
struct EntryLine<'m> {
    absolute_paths: &'m AbsolutePaths,
    layout: Layout,
    text: Vec<u8>,
    scratch: String,
}

impl EntryLine<'_> {
    fn render(&mut self, path: &RelPath, entry: &Entry) -> io::Result<&[u8]> {
        let (name, name_escaped) = path.to_json_name();
        let out = &mut self.text;
        out.clear();
        canon::write_string(out, &name)?;
        out.extend_from_slice(self.layout.colon());
        let (digest, mode, modified_seconds, size_bytes, target) = match entry {
            Entry::File(file) => (
                file.sha256,
                file.mode,
                file.modified_seconds,
                file.size_bytes,
                None,
            ),
            Entry::Symlink(link) => {
                let target = &*link.target;
                (
                    Digest::of(target),
                    link.mode,
                    link.modified_seconds,
                    target.len() as u64,
                    Some(target),
                )
            }
            Entry::Directory { mode } => {
                write!(out, "{{\"mode\":\"{mode:04o}\"{}}}", flag(name_escaped))?;
                return Ok(out);
            }
            Entry::Special(_) => {
                return Err(io::Error::other(
                    "a special file has no place in a manifest",
                ));
            }
        };
        let target = target.map(relpath::escape);
        let escaped = name_escaped || target.as_ref().is_some_and(|(_, escaped)| *escaped);
        out.extend_from_slice(b"{\"absolute_path\":");
        canon::write_string(
            out,
            self.absolute_paths.text(path, &name, &mut self.scratch),
        )?;
        out.extend_from_slice(b",\"checksum_sha256\":\"");
        out.extend_from_slice(&digest.to_hex());
        write!(out, "\",\"mode\":\"{mode:04o}\",\"modified_time\":")?;
        canon::write_integer(out, modified_seconds)?;
        out.extend_from_slice(flag(escaped).as_bytes());
        out.extend_from_slice(b",\"size_bytes\":");
        canon::write_integer(out, size_bytes)?;
        match target {
            Some((target, _)) => {
                out.extend_from_slice(b",\"symlink_target\":");
                canon::write_string(out, &target)?;
                out.extend_from_slice(b",\"type\":\"symlink\"}");
            }
            None => out.extend_from_slice(b",\"type\":\"file\"}"),
        }
        Ok(out)
    }
}

fn flag(escaped: bool) -> &'static str {
    if escaped {
        ",\"path_encoding\":\"escaped\""
    } else {
        ""
    }
}

/// The one canonical form, or the same members with a line each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Canonical,
    Lines,
}

impl Layout {
    /// What stands before the member of that index, `depth` objects deep.
    fn before(self, index: usize, depth: usize) -> &'static [u8] {
        match (self, index, depth) {
            (Self::Canonical, 0, _) => b"{",
            (Self::Canonical, ..) => b",",
            (Self::Lines, 0, 1) => b"{\n  ",
            (Self::Lines, _, 1) => b",\n  ",
            (Self::Lines, 0, _) => b"{\n    ",
            (Self::Lines, ..) => b",\n    ",
        }
    }

    /// What closes an object of that many members whose own depth is `depth`.
    fn after(self, members: usize, depth: usize) -> &'static [u8] {
        match (self, members, depth) {
            (_, 0, _) => b"{}",
            (Self::Canonical, ..) => b"}",
            (Self::Lines, _, 0) => b"\n}",
            (Self::Lines, ..) => b"\n  }",
        }
    }

    fn colon(self) -> &'static [u8] {
        match self {
            Self::Canonical => b":",
            Self::Lines => b": ",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Directories,
    Files,
}

enum Member {
    Value(Value),
    Entries(Listed),
}

#[derive(Clone, Copy)]
enum Tag {
    Written,
    LeftOut,
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
