//! A share of a tree: which one of so many shards a path belongs to. Pure arithmetic on the path's bytes, so
//! that every host comes to the same partition; knows no scheduler and no file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::relpath::RelPath;

/// The most shards that a tree is parted into: as many as the largest array of AWS Batch has children.
pub const SHARDS_MAX: u32 = 10_000;

/// One of `count` shards; `index` is from 1 to `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// Why a text or a pair of numbers is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not of the form `I/N`.
    #[error("expected I/N as `3/7`, or `auto`, found `{0}`")]
    Form(String),
    /// No shard, or too many.
    #[error("{0} is not a number of shards from 1 to {SHARDS_MAX}")]
    Count(u64),
    /// An index outside.
    #[error("shard {index} is not from 1 to {count}")]
    Index {
        /// As given.
        index: u64,
        /// How many there are.
        count: u32,
    },
}

impl Shard {
    /// The tree as one shard.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Shard `index` of `count`, counted from 1.
    ///
    /// # Errors
    /// A count that is 0 or above [`SHARDS_MAX`], an index outside of 1 to `count`.
    pub fn new(index: u64, count: u64) -> Result<Self, ShardError> {
        let known = u32::try_from(count).ok();
        let count = known
            .filter(|count| (1..=SHARDS_MAX).contains(count))
            .ok_or(ShardError::Count(count))?;
        match u32::try_from(index) {
            Ok(index) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(ShardError::Index { index, count }),
        }
    }

    /// Which shard, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether a path, relative to the root of its tree, belongs to this shard: the first 64 bits of its
    /// SHA-256, big endian, modulo the count, and one more.
    pub fn owns(self, path: &RelPath) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&Digest::of(path.as_bytes()).0[..8]);
        u64::from_be_bytes(first) % u64::from(self.count) + 1 == u64::from(self.index)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        let parted = text.split_once('/');
        let numbers = parted.and_then(|(index, count)| Some((number(index)?, number(count)?)));
        let form = || ShardError::Form(text.chars().take(40).collect());
        let (index, count) = numbers.ok_or_else(form)?;
        Self::new(index, count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.index, self.count)
    }
}

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            index: u64,
            count: u64,
        }
        let raw = Raw::deserialize(deserializer)?;
        Self::new(raw.index, raw.count).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Shard {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shard".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = |what: &str| serde_json::json!({"description": what, "type": "integer", "minimum": 1, "maximum": SHARDS_MAX});
        schemars::json_schema!({
            "description": "One of so many shards.", "type": "object",
            "properties": {
                "index": number("Which one, from 1 to `count`."), "count": number("How many there are."),
            },
            "required": ["index", "count"], "additionalProperties": false,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_shards_from_one_to_the_count_and_nothing_else() {
        for (text, expected) in [
            ("1/1", Some((1, 1))),
            ("3/7", Some((3, 7))),
            ("10000/10000", Some((10_000, 10_000))),
            ("0/7", None),
            ("8/7", None),
            ("1/0", None),
            ("1/10001", None),
            ("3", None),
            ("/7", None),
            ("3/", None),
            ("+3/7", None),
            (" 3/7", None),
            ("3/7/1", None),
            ("99999999999999999999/7", None),
            ("", None),
        ] {
            let read = text.parse::<Shard>().ok();
            let expected = expected.map(|(index, count)| Shard { index, count });
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!("3/7".parse::<Shard>().unwrap().to_string(), "3/7");
    }

    #[test]
    fn the_partition_is_the_documented_arithmetic() {
        // `printf a.json | sha256sum` begins with these 16 digits.
        let (path, first) = (
            RelPath::parse(b"a.json").unwrap(),
            0x6025_a122_36ee_54ba_u64,
        );
        for count in [1, 2, 7, 64, 10_000] {
            let owner = Shard::new(first % count + 1, count).unwrap();
            assert!(owner.owns(&path), "{count}");
        }
    }

    proptest! {
        #[test]
        fn every_path_has_exactly_one_owner(name in "[a-z/]{1,30}", count in 1_u64..100) {
            let Ok(path) = RelPath::parse(name.as_bytes()) else { return Ok(()) };
            let owners = (1..=count).filter(|index| Shard::new(*index, count).unwrap().owns(&path));
            prop_assert_eq!(owners.count(), 1);
        }
    }
}
