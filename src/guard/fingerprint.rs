//! Fingerprints: what tells a finding from every other and the same finding again, whatever line
//! it moves to. Pure but for the random salt.
//!
//! A fingerprint is the first 128 bits of `HMAC-SHA256(salt, family ‖ 0 ‖ value)`, 32 lower-case hex
//! digits: the family is the first segment of the rule's id, so that a better rule of the same
//! family does not make an old finding new. A finding without a value is told by rule and file:
//! `HMAC-SHA256(salt, rule id ‖ 0 ‖ path)`. An id has a dot and a family has none, so that the two
//! never meet.
//!
//! The value is **normalised**: white space around it is dropped, and in a PEM block every white
//! space and every spelled `\n`, `\r` and `\t` is, since it is indented and joined in many ways.
//! Nothing else changes it; case counts.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::base::digest::Digest;
use crate::seal;

/// How many hex digits a fingerprint has.
pub(super) const DIGITS: usize = 32;
/// How many bytes a salt has that we make.
const SALT_BYTES: usize = 16;
/// What the identifier of a salt is the keyed hash of.
const SALT_ID_LABEL: &[u8] = b"agp fingerprint salt v1";

/// What makes fingerprints say nothing about values to those who do not have it.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt {
    bytes: Zeroizing<Vec<u8>>,
    origin: SaltOrigin,
}

/// Where a salt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaltOrigin {
    /// The header of the baseline.
    Baseline,
    /// The variable that `policy_guard.fingerprint_salt_env` names.
    Environment,
    /// Drawn for this run: its fingerprints stand alone.
    Random,
}

impl Salt {
    /// A salt from a place that keeps it; `None` where nothing is there.
    pub fn kept(bytes: &[u8], origin: SaltOrigin) -> Option<Self> {
        let bytes = Zeroizing::new(bytes.to_vec());
        (!bytes.is_empty()).then_some(Self { bytes, origin })
    }

    /// A new salt.
    ///
    /// # Errors
    /// A system without random numbers: a salt that can be guessed is none.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; SALT_BYTES]);
        getrandom::fill(&mut bytes)?;
        let origin = SaltOrigin::Random;
        Ok(Self { bytes, origin })
    }

    /// Where it comes from.
    pub fn origin(&self) -> SaltOrigin {
        self.origin
    }

    /// The same, as the salt of a baseline.
    pub(super) fn of_baseline(mut self) -> Self {
        self.origin = SaltOrigin::Baseline;
        self
    }

    /// The bytes in hex, for the header of a baseline.
    pub(super) fn to_hex(&self) -> String {
        hex::encode(&*self.bytes)
    }

    /// 16 hex digits that tell one salt from another and say nothing about it.
    pub(super) fn id(&self) -> String {
        let mut id = seal::keyed_hash(&self.bytes, &[SALT_ID_LABEL]).to_string();
        id.truncate(16);
        id
    }

    /// The fingerprint of a value that a rule of a family found.
    pub fn of_value(&self, family: &str, value: &[u8]) -> String {
        shortened(seal::keyed_hash(
            &self.bytes,
            &[family.as_bytes(), &[0], &normalised(value)],
        ))
    }

    /// The fingerprint of what has no value: one a rule and file.
    pub fn of_place(&self, rule_id: &str, path: &str) -> String {
        shortened(seal::keyed_hash(
            &self.bytes,
            &[rule_id.as_bytes(), &[0], path.as_bytes()],
        ))
    }
}

/// Never shows the bytes.
impl std::fmt::Debug for Salt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Salt({:?}, {})", self.origin, self.id())
    }
}

fn shortened(digest: Digest) -> String {
    let mut digits = digest.to_string();
    digits.truncate(DIGITS);
    digits
}

/// The value as it is hashed; the module's page says how.
fn normalised(value: &[u8]) -> Cow<'_, [u8]> {
    let trimmed = value.trim_ascii();
    if !trimmed.starts_with(b"-----BEGIN") && !trimmed.starts_with(b"BEGIN ") {
        return Cow::Borrowed(trimmed);
    }
    let mut joined = Vec::with_capacity(trimmed.len());
    let mut rest = trimmed;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after.first()) {
            (b'\\', Some(b'n' | b'r' | b't')) => &after[1..],
            _ => after,
        };
        if rest.len() == after.len() && !first.is_ascii_whitespace() {
            joined.push(*first);
        }
    }
    Cow::Owned(joined)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn salt(bytes: &[u8]) -> Salt {
        Salt::kept(bytes, SaltOrigin::Baseline).unwrap()
    }

    #[test]
    fn a_fingerprint_is_the_keyed_hash_that_the_page_says() {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"salt").unwrap();
        mac.update(b"github\0value");
        let by_hand = hex::encode(&mac.finalize().into_bytes()[..16]);
        assert_eq!(salt(b"salt").of_value("github", b" value\n"), by_hand);
        assert_eq!(by_hand.len(), DIGITS);
    }

    #[test]
    fn what_is_another_finding_has_another_fingerprint() {
        let one = salt(b"salt");
        let base = one.of_value("github", b"value");
        for other in [
            one.of_value("gitlab", b"value"),
            one.of_value("github", b"Value"),
            one.of_value("github", b"valu"),
            one.of_place("github.pat", "value"),
            salt(b"salz").of_value("github", b"value"),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(one.of_place("a.b", "x"), one.of_place("a.b", "y"));
        assert_ne!(one.of_place("a.b", "x"), one.of_place("a.c", "x"));
    }

    #[test]
    fn values_are_normalised_as_the_page_says() {
        for (value, normal) in [
            ("abc", "abc"),
            ("  abc\r\n", "abc"),
            ("a b\\nc", "a b\\nc"),
            ("", ""),
            (
                "-----BEGIN X-----\nab\n  cd\r\n-----END X-----",
                "-----BEGINX-----abcd-----ENDX-----",
            ),
            (
                "-----BEGIN X-----\\nab\\r\\ncd\\n-----END X-----\n",
                "-----BEGINX-----abcd-----ENDX-----",
            ),
        ] {
            assert_eq!(normalised(value.as_bytes()), normal.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn salts_are_told_apart_and_never_shown() {
        let canary = salt(b"canary");
        assert!(!format!("{canary:?}").contains("canary"));
        assert_eq!(canary.id().len(), 16);
        assert_ne!(canary.id(), salt(b"canarz").id());
        assert!(Salt::kept(b"", SaltOrigin::Environment).is_none());
        assert_ne!(Salt::random().unwrap(), Salt::random().unwrap());
    }
}
