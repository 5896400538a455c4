//! A part: what one shard of `sign`, `verify` or `guard` has found out, on its way to the merge.
//!
//! Owns the wire format (`docs/formats/part.md`), its seal, and the rules by which parts make one whole. Must
//! never know what a verb makes of it: to a part, what was asked for is a text to be compared.

mod join;
mod line;
mod read;
mod write;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use join::{JoinError, Whole, join};
pub use read::{ReadError, head, read};
pub use write::write;

use crate::base::digest::Digest;
use crate::base::relpath::RelPath;
use crate::base::shard::Shard;
use crate::inventory::{Entry, Problem};

/// The version that is written and read.
const VERSION: &str = "1.0";
/// The domain of a part's MAC, apart from every other one of the same secret.
const PAYLOAD_TYPE: &str = "application/vnd.agp.part.v1+jsonl";

/// What one shard has found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is a part of.
    pub head: Head,
    /// The shard's own entries, sorted by path, each once; empty for `guard`. A file that did not have to be
    /// read has the digest [`crate::inventory::NOT_READ`].
    pub entries: Vec<(RelPath, Entry)>,
    /// What could not be read of them, sorted by path; empty for `guard`.
    pub problems: Vec<Problem>,
    /// Entries in which a scan has met with something, sorted; empty for other verbs.
    pub suspects: Vec<Suspect>,
}

/// What a part is a part of: the first line. Parts of one whole differ in `shard`, `owned` and `clean` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of this format.
    #[schemars(extend("const" = VERSION))]
    pub part_version: String,
    /// The version of the program.
    pub tool_version: String,
    /// What was run.
    pub verb: Verb,
    /// Which shard of how many.
    pub shard: Shard,
    /// The policy that counted.
    pub policy: Standing,
    /// What was asked for: the verb's flags by their names with `_` for `-`, those left out that decide
    /// neither what is looked at nor what is made of it.
    pub asked: Map<String, Value>,
    /// SHA-256 over every file of rules; null where no rules were used.
    pub rules_sha256: Option<Digest>,
    /// SHA-256 of the manifest; null where none was read.
    pub manifest_sha256: Option<Digest>,
    /// The tree as the shard walked it, entries of other shards included.
    pub walk: Walk,
    /// Entries of the walk that belong to this shard.
    pub owned: u64,
    /// What was scanned without meeting anything; null for other verbs than `guard`.
    pub clean: Option<Clean>,
}

/// A verb that can be shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// `agp sign`
    Sign,
    /// `agp verify`
    Verify,
    /// `agp guard`
    Guard,
}

/// Which policy counted, and with what right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// SHA-256 of the file's bytes; null for the built-in policy.
    pub sha256: Option<Digest>,
    /// Whether somebody named it: one that was merely found may decide less.
    pub is_named: bool,
}

/// A tree as everybody sees it who walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Walk {
    /// Entries of every kind.
    pub entries: u64,
    /// One digest over their paths, kinds, sizes and modes, and for `sign` their times.
    pub sha256: Digest,
}

/// What a scan has looked at without meeting anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clean {
    /// Files looked into.
    pub files: u64,
    /// Bytes of them and of what they hold.
    pub bytes: u64,
    /// Files found inside archives.
    pub members: u64,
    /// Encoded texts that were decoded.
    pub decoded: u64,
}

/// An entry in which a scan has met with something. What that is stays with the file: the merge looks again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suspect {
    /// In which target, by its place in what was asked for, from 0.
    pub target: u32,
    /// The entry below that target.
    pub path: RelPath,
}

impl Verb {
    /// The verb as it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Guard => "guard",
        }
    }
}

impl Head {
    /// A head of this version and program, without what is known only after the work.
    pub fn new(verb: Verb, shard: Shard, (policy, asked): (Standing, Map<String, Value>)) -> Self {
        Self {
            part_version: VERSION.into(),
            tool_version: env!("CARGO_PKG_VERSION").into(),
            verb,
            shard,
            policy,
            asked,
            rules_sha256: None,
            manifest_sha256: None,
            walk: Walk {
                entries: 0,
                sha256: Digest([0; 32]),
            },
            owned: 0,
            clean: None,
        }
    }
}

impl Clean {
    /// Adds what another shard has looked at.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.members += other.members;
        self.decoded += other.decoded;
    }
}

/// The JSON Schema of one line (draft 2020-12).
pub fn schema() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let lines = [
        generator.subschema_for::<Head>(),
        generator.subschema_for::<line::Line>(),
        generator.subschema_for::<line::Seal>(),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "One line of a part: its head, an entry, or its seal.",
        "oneOf": lines,
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests;
