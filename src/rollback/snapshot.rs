//! A snapshot as a value, and the one file that holds it.
//!
//! `docs/formats/snapshot.md` describes the file. The inventory stands there in a manifest's words,
//! one line an entry, with what a manifest leaves out beside it: owners, nanoseconds, extended
//! attributes, hard links. A snapshot is a statement about the past and never changes; whether it
//! is pinned, or its checks passed, stands beside it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::base::canon;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::relpath::{self, RelPath};
use crate::inventory::{Details, Entry, File, Inventory, Special, Symlink};
use crate::report::AuditHead;
use crate::seal::{KeyId, Secret};

/// The domain of a snapshot's MAC.
const PAYLOAD_TYPE: &str = "application/vnd.agp.snapshot.v1+json";
/// The format's version.
const VERSION: &str = "1.0";

/// Trees as they were at one time.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Time and six random hex digits, so that names sort by age.
    pub id: String,
    /// When it was taken.
    pub created_at: Timestamp,
    /// What the user called it.
    pub label: Option<String>,
    /// Why it was taken.
    pub reason: Reason,
    /// The machine that it was taken on.
    pub host: String,
    /// Where the audit log stood.
    pub audit_head: Option<AuditHead>,
    /// One or more trees, none inside another.
    pub targets: Vec<Target>,
}

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked for it.
    Asked,
    /// A restore was about to replace these trees.
    BeforeRestore,
    /// A governed command was about to start.
    BeforeRun,
}

/// One tree in a snapshot.
#[derive(Debug, Clone)]
pub struct Target {
    /// As it was named.
    pub name: String,
    /// Where it was, absolute, without links.
    pub path: PathBuf,
    /// The state of its own directory.
    pub root: Details,
    /// What was in it.
    pub inventory: Inventory,
    /// Details of each entry, in the inventory's order. Names of one file share a number in
    /// [`Details::inode_shared`], from 1 in the order of the paths.
    pub details: Vec<Details>,
    /// Paths that could not be taken in, sorted; a restore never touches them.
    pub incomplete: Vec<RelPath>,
    /// Paths left out: the state directory.
    pub exempt: Vec<RelPath>,
}

/// How a snapshot file stands to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// It carries the MAC of a key that was at hand.
    Good(KeyId),
    /// It carries a MAC of a key that is not at hand.
    UnknownKey(KeyId),
    /// It was written without a key: its digest shows accidents, not adversaries.
    None,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not what this program writes.
    #[error("{0}")]
    Malformed(String),
    /// The digest over the content is another.
    #[error("its content does not have the digest that it states")]
    Digest,
    /// A MAC of a key at hand that does not match.
    #[error("its MAC is not that of its key")]
    Forged,
}

impl Target {
    /// Entries with their details, sorted by path.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&RelPath, &Entry, &Details)> {
        let details = self.details.iter();
        let zipped = self.inventory.iter().zip(details);
        zipped.map(|((path, entry), details)| (path, entry, details))
    }

    /// The entry at a path.
    pub fn find(&self, path: &RelPath) -> Option<(&Entry, &Details)> {
        let at = self.inventory.position(path)?;
        let (_, entry) = self.inventory.nth(at)?;
        Some((entry, self.details.get(at)?))
    }

    /// The same tree with nothing in it but the wanted entries and the directories that lead to them;
    /// names of one file become files of their own.
    pub(super) fn part(&self, wanted: &dyn Fn(&RelPath) -> bool) -> Self {
        let mut paths = BTreeSet::new();
        for (path, ..) in self.entries().filter(|(path, ..)| wanted(path)) {
            let bytes = path.as_bytes();
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            paths.extend(ends.map(|(end, _)| &bytes[..end]));
            paths.insert(bytes);
        }
        let kept = self
            .entries()
            .filter(|(path, ..)| paths.contains(path.as_bytes()));
        let (entries, details): (Vec<_>, Vec<_>) = kept
            .map(|(path, entry, details)| {
                let details = Details {
                    inode_shared: None,
                    ..details.clone()
                };
                ((path.clone(), entry.clone()), details)
            })
            .unzip();
        Self {
            // Paths of an inventory come once.
            inventory: Inventory::from_entries(entries).unwrap_or_default(),
            details,
            ..self.clone()
        }
    }

    /// The digest of the tree: of paths, kinds, modes and contents.
    pub fn root_digest(&self) -> Digest {
        self.inventory.digest()
    }
}

impl Snapshot {
    /// The target of a path as it was named or as it is.
    pub fn target(&self, wanted: &std::path::Path) -> Option<&Target> {
        let real = wanted.canonicalize().ok();
        self.targets.iter().find(|target| {
            std::path::Path::new(&target.name) == wanted || Some(&target.path) == real.as_ref()
        })
    }
}

/// Numbers the groups of names that are one file, from 1 in the order of the paths; a file whose
/// other names lie outside of the tree is a file of its own.
pub(super) fn number_links(details: &mut [Details]) {
    let mut counts: HashMap<(u64, u64), u64> = HashMap::new();
    for detail in details.iter() {
        if let Some(inode) = detail.inode_shared {
            *counts.entry((detail.device, inode)).or_default() += 1;
        }
    }
    let mut numbers = HashMap::new();
    for detail in details {
        if let Some(inode) = detail.inode_shared {
            let key = (detail.device, inode);
            let next = numbers.len() as u64 + 1;
            detail.inode_shared = match counts.get(&key) {
                Some(2..) => Some(*numbers.entry(key).or_insert(next)),
                _ => None,
            };
        }
        detail.device = 0;
    }
}

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(borrow)]
    snapshot: &'a RawValue,
    sha256: Digest,
    key_id: Option<String>,
    mac: Option<Digest>,
}

/// The whole file, as a schema can say it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a shape, never a value")]
struct Document<'a> {
    /// The content; the MAC is over its bytes as they stand in the file.
    snapshot: Body<'a>,
    /// SHA-256 of the content's bytes.
    sha256: Digest,
    /// The key of the MAC; null where the snapshot was written without a key.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    key_id: Option<String>,
    /// HMAC-SHA256 over the DSSE encoding of the content's bytes; null without a key.
    mac: Option<Digest>,
}

/// The JSON Schema (draft 2020-12) of a snapshot file.
pub fn schema() -> serde_json::Value {
    schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Document<'_>>()
        .to_value()
}

/// The content under the MAC, without its entries.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    /// `1.0`.
    snapshot_version: Cow<'a, str>,
    /// Time and six random hex digits.
    id: String,
    /// When it was taken: milliseconds since 1970.
    created_at_milliseconds: i64,
    /// The same for people, RFC 3339, UTC.
    created_at: String,
    /// What the user called it.
    label: Option<String>,
    /// Why it was taken.
    reason: Reason,
    /// The machine that it was taken on.
    host: String,
    /// Where the audit log stood; null where none is kept.
    audit_head: Option<Head>,
    /// The trees.
    #[serde(borrow)]
    targets: Vec<TargetBody<'a>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Head {
    log_id: String,
    sequence: u64,
    mac: Option<Digest>,
}

/// One tree.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TargetBody<'a> {
    /// As it was named.
    target: String,
    /// Where it was, without links; a restore goes there.
    absolute_path: String,
    /// SHA-256 over paths, kinds, modes and contents.
    root_digest: Digest,
    /// Regular files.
    files: u64,
    /// Bytes in them.
    bytes: u64,
    /// Paths that could not be taken in; a restore never touches them.
    incomplete: Vec<String>,
    /// Paths left out: the state directory.
    exempt: Vec<String>,
    /// The tree's own directory.
    #[serde(borrow)]
    root: Line<'a>,
    /// Every path once, in the order of the paths' bytes.
    #[serde(borrow)]
    #[schemars(with = "BTreeMap<String, Line<'a>>")]
    entries: Lines<'a>,
}

/// One entry, or the target's own directory.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    /// `file`, `symlink`, `directory` or `fifo`.
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    /// Length of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// Digest of a file's content, and its object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum_sha256: Option<Digest>,
    /// Where a link points.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    symlink_target: Option<Cow<'a, str>>,
    /// Four octal digits.
    #[serde(borrow)]
    mode: Cow<'a, str>,
    /// Owner.
    user: u32,
    /// Group.
    group: u32,
    /// Time of the last change of content, Unix seconds; negative before 1970.
    modified_time: i64,
    /// Nanoseconds of that time.
    modified_nanoseconds: u32,
    /// Names of one file share a number, from 1 in the order of the paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_link: Option<u64>,
    /// Whether fewer bytes were allocated than the file is long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sparse: bool,
    /// Extended attributes and ACLs: name to value in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    /// `escaped` where the name or the link's target is written with `\\` and `\xhh`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    path_encoding: Option<Cow<'a, str>>,
}

/// The entries in the order of the file.
struct Lines<'a>(Vec<(Cow<'a, str>, Line<'a>)>);

impl Serialize for Lines<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, line)| (path, line)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Lines<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Lines<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of entries")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut lines = Vec::new();
                while let Some((Key(path), line)) = map.next_entry::<Key<'de>, Line<'de>>()? {
                    lines.push((path, line));
                }
                Ok(Lines(lines))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A key that is borrowed where it needs no unescaping.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Snapshot {
    /// Writes the file, sealed where a secret is given.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&self, out: &mut dyn Write, secret: Option<&Secret>) -> io::Result<()> {
        let body = self.body()?;
        let mac = secret.map(|secret| secret.mac_of(PAYLOAD_TYPE, &body).to_string());
        let key_id = secret.map(|secret| secret.key_id().to_string());
        out.write_all(b"{\"snapshot\":")?;
        out.write_all(&body)?;
        let rest = serde_json::json!([Digest::of(&body), key_id, mac]);
        writeln!(
            out,
            ",\n\"sha256\":{},\"key_id\":{},\"mac\":{}}}",
            rest[0], rest[1], rest[2]
        )
    }

    /// The content under the MAC: one line an entry.
    fn body(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let head = self.audit_head.as_ref().map(|head| Head {
            log_id: head.log_id.clone(),
            sequence: head.sequence,
            mac: head.mac,
        });
        let body = Body {
            snapshot_version: VERSION.into(),
            id: self.id.clone(),
            created_at_milliseconds: self.created_at.unix_millis(),
            created_at: self.created_at.to_seconds_string(),
            label: self.label.clone(),
            reason: self.reason,
            host: self.host.clone(),
            audit_head: head,
            targets: Vec::new(),
        };
        let text = serde_json::to_string(&body)?;
        // The list of targets is last and empty: its closing brackets come after the targets.
        out.extend_from_slice(text.strip_suffix("]}").unwrap_or(&text).as_bytes());
        for (index, target) in self.targets.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
            target.write(&mut out)?;
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    /// Reads a file. `secret_of` gives the secrets at hand.
    ///
    /// # Errors
    /// Anything but what [`Snapshot::write`] writes, and a MAC that does not match.
    pub fn parse(
        bytes: &[u8],
        secret_of: &dyn Fn(KeyId) -> Option<std::rc::Rc<Secret>>,
    ) -> Result<(Self, Seal), ParseError> {
        let malformed = |error: serde_json::Error| ParseError::Malformed(error.to_string());
        let frame: Frame<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
        let body = frame.snapshot.get().as_bytes();
        let rest = serde_json::json!([frame.sha256, frame.key_id, frame.mac]);
        let tail = format!(
            ",\n\"sha256\":{},\"key_id\":{},\"mac\":{}}}\n",
            rest[0], rest[1], rest[2]
        );
        let is_exact = bytes
            .strip_prefix(b"{\"snapshot\":")
            .and_then(|text| text.strip_prefix(body))
            == Some(tail.as_bytes());
        if !is_exact {
            return Err(ParseError::Malformed(
                "it is laid out in another way".into(),
            ));
        }
        let seal = match (&frame.key_id, frame.mac) {
            (None, None) => Seal::None,
            (Some(id), Some(mac)) => {
                let id =
                    KeyId::parse(id).map_err(|error| ParseError::Malformed(error.to_string()))?;
                match secret_of(id) {
                    None => Seal::UnknownKey(id),
                    Some(secret) => {
                        let mut found = secret.mac(PAYLOAD_TYPE, body.len() as u64);
                        // A MAC takes in whatever is written to it.
                        let _ = found.write_all(body);
                        match found.matches(&mac) {
                            true => Seal::Good(id),
                            false => return Err(ParseError::Forged),
                        }
                    }
                }
            }
            _ => return Err(ParseError::Malformed("it has half a seal".into())),
        };
        if Digest::of(body) != frame.sha256 {
            return Err(ParseError::Digest);
        }
        let body: Body<'_> = serde_json::from_slice(body).map_err(malformed)?;
        Ok((Self::from_body(body).map_err(ParseError::Malformed)?, seal))
    }

    fn from_body(body: Body<'_>) -> Result<Self, String> {
        if body.snapshot_version != VERSION {
            return Err(format!("it is of version {}", body.snapshot_version));
        }
        let audit_head = body.audit_head.map(|head| AuditHead {
            log_id: head.log_id,
            sequence: head.sequence,
            mac: head.mac,
        });
        Ok(Self {
            id: body.id,
            created_at: Timestamp::from_unix_millis(body.created_at_milliseconds),
            label: body.label,
            reason: body.reason,
            host: body.host,
            audit_head,
            targets: body
                .targets
                .into_iter()
                .map(Target::from_body)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Target {
    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let totals = self.inventory.totals();
        let spelled = |paths: &[RelPath]| paths.iter().map(spelling).collect();
        let own = Entry::Directory {
            mode: self.root.mode,
        };
        let mut header = TargetBody {
            target: self.name.clone(),
            absolute_path: spelled_path(&self.path),
            root_digest: self.root_digest(),
            files: totals.files,
            bytes: totals.size_bytes,
            incomplete: spelled(&self.incomplete),
            exempt: spelled(&self.exempt),
            root: line(&own, &self.root),
            entries: Lines(Vec::new()),
        };
        header.root.path_encoding = None;
        let text = serde_json::to_string(&header)?;
        // The entries are last and empty: their closing brackets come after them.
        out.extend_from_slice(text.strip_suffix("}}").unwrap_or(&text).as_bytes());
        for (index, (path, entry, details)) in self.entries().enumerate() {
            out.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
            let mut line = line(entry, details);
            let (name, escaped) = path.to_json_name();
            if escaped {
                line.path_encoding = Some("escaped".into());
            }
            canon::write_string(out, &name)?;
            out.push(b':');
            serde_json::to_writer(&mut *out, &line)?;
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }

    fn from_body(body: TargetBody<'_>) -> Result<Self, String> {
        let mut entries = Vec::with_capacity(body.entries.0.len());
        let mut details = Vec::with_capacity(body.entries.0.len());
        for (name, line) in body.entries.0 {
            let told =
                |what: String| format!("entry `{}`: {what}", crate::base::units::printable(&name));
            let escaped = line.path_encoding.is_some();
            let (bytes, _) = relpath::unescape(&name, escaped).map_err(|e| told(e.to_string()))?;
            let path = RelPath::parse(&bytes).map_err(|e| told(e.to_string()))?;
            if entries.last().is_some_and(|(last, _)| *last >= path) {
                return Err(told("it is out of order".into()));
            }
            let (entry, detail) = unline(&line).map_err(told)?;
            entries.push((path, entry));
            details.push(detail);
        }
        let inventory = Inventory::from_entries(entries).map_err(|error| error.to_string())?;
        let paths = |names: &[String]| -> Result<Vec<RelPath>, String> {
            let path = |name: &String| {
                RelPath::from_json_name(name, name.contains('\\')).map_err(|e| e.to_string())
            };
            names.iter().map(path).collect()
        };
        let (path, _) = relpath::unescape(&body.absolute_path, body.absolute_path.contains('\\'))
            .map_err(|error| error.to_string())?;
        use std::os::unix::ffi::OsStrExt;
        let target = Self {
            name: body.target,
            path: PathBuf::from(std::ffi::OsStr::from_bytes(&path)),
            root: unline(&body.root)?.1,
            inventory,
            details,
            incomplete: paths(&body.incomplete)?,
            exempt: paths(&body.exempt)?,
        };
        if !target.path.is_absolute() {
            return Err("its target's path is not absolute".into());
        }
        match target.root_digest() == body.root_digest {
            true => Ok(target),
            false => Err("its entries do not have the digest that it states".into()),
        }
    }
}

fn spelling(path: &RelPath) -> String {
    path.to_json_name().0.into_owned()
}

fn spelled_path(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    relpath::escape(path.as_os_str().as_bytes()).0.into_owned()
}

fn line<'a>(entry: &'a Entry, details: &Details) -> Line<'a> {
    let attributes = details
        .attributes
        .iter()
        .map(|(name, value)| (relpath::escape(name).0.into_owned(), STANDARD.encode(value)));
    let mut line = Line {
        kind: entry.kind().name().into(),
        size_bytes: None,
        checksum_sha256: None,
        symlink_target: None,
        mode: format!("{:04o}", details.mode).into(),
        user: details.user,
        group: details.group,
        modified_time: details.modified.0,
        modified_nanoseconds: details.modified.1,
        hard_link: details.inode_shared,
        sparse: details.sparse,
        attributes: attributes.collect(),
        path_encoding: None,
    };
    match entry {
        Entry::File(file) => {
            line.size_bytes = Some(file.size_bytes);
            line.checksum_sha256 = Some(file.sha256);
        }
        Entry::Symlink(link) => {
            let (target, escaped) = relpath::escape(&link.target);
            line.symlink_target = Some(target);
            line.path_encoding = escaped.then(|| "escaped".into());
        }
        Entry::Directory { .. } | Entry::Special(_) => {}
    }
    line
}

fn unline(line: &Line<'_>) -> Result<(Entry, Details), String> {
    let mode = u32::from_str_radix(&line.mode, 8)
        .ok()
        .filter(|mode| line.mode.len() == 4 && *mode <= 0o7777)
        .ok_or_else(|| format!("`{}` is no mode", line.mode))?;
    if line.modified_nanoseconds >= 1_000_000_000 {
        return Err("its nanoseconds are a second or more".into());
    }
    if line
        .path_encoding
        .as_deref()
        .is_some_and(|word| word != "escaped")
    {
        return Err("its path has an unknown encoding".into());
    }
    let modified_seconds = u64::try_from(line.modified_time).unwrap_or(0);
    let entry = match (
        &*line.kind,
        line.size_bytes,
        line.checksum_sha256,
        &line.symlink_target,
    ) {
        ("file", Some(size_bytes), Some(sha256), None) => Entry::File(File {
            size_bytes,
            sha256,
            mode,
            modified_seconds,
        }),
        ("symlink", None, None, Some(target)) => {
            let (target, _) = relpath::unescape(target, line.path_encoding.is_some())
                .map_err(|error| error.to_string())?;
            if target.is_empty() || target.contains(&0) {
                return Err("it points nowhere".into());
            }
            Entry::Symlink(Symlink {
                target: target.into_owned().into(),
                mode,
                modified_seconds,
            })
        }
        ("directory", None, None, None) => Entry::Directory { mode },
        ("fifo", None, None, None) => Entry::Special(Special::Fifo),
        (kind, ..) => return Err(format!("its fields are not those of a `{kind}`")),
    };
    let mut attributes = Vec::with_capacity(line.attributes.len());
    for (name, value) in &line.attributes {
        let (name, _) = relpath::unescape(name, name.contains('\\')).map_err(|e| e.to_string())?;
        let value = STANDARD
            .decode(value)
            .map_err(|_| "an attribute is not base64")?;
        attributes.push((name.into_owned().into(), value.into()));
    }
    attributes.sort_unstable();
    Ok((
        entry,
        Details {
            mode,
            user: line.user,
            group: line.group,
            modified: (line.modified_time, line.modified_nanoseconds),
            attributes: attributes.into(),
            inode_shared: line.hard_link,
            sparse: line.sparse,
            device: 0,
        },
    ))
}
