//! Checksums and structures inside tokens, as their issuers publish them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

/// A check that a value can be put to without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The last six characters are the CRC-32 of what stands between the prefix and them, in
    /// base 62: GitHub's and npm's tokens.
    Crc32Base62,
    /// The last digit makes Luhn's sum a multiple of ten: numbers of payment cards.
    Luhn,
    /// A header that is a JSON object with `alg`, and claims that are a JSON object (RFC 7519).
    Jwt,
    /// Base64 between the two lines of a PEM block, which begins as DER, OpenSSH or OpenPGP does
    /// (RFC 7468).
    Pem,
}

impl Checksum {
    /// Whether a value passes.
    pub fn holds(self, value: &[u8]) -> bool {
        match self {
            Self::Crc32Base62 => holds_crc62(value),
            Self::Luhn => holds_luhn(value),
            Self::Jwt => holds_jwt(value),
            Self::Pem => holds_pem(value),
        }
    }
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many characters hold a CRC-32 in base 62.
const CRC62_CHARS: usize = 6;

/// The CRC-32 of some bytes as six characters of base 62.
pub fn crc62(bytes: &[u8]) -> String {
    let mut sum = crc32fast::hash(bytes) as usize;
    let mut out = [b'0'; CRC62_CHARS];
    for place in out.iter_mut().rev() {
        *place = BASE62[sum % BASE62.len()];
        sum /= BASE62.len();
    }
    out.iter().map(|byte| char::from(*byte)).collect()
}

fn holds_crc62(value: &[u8]) -> bool {
    let body = value.rsplit(|byte| *byte == b'_').next().unwrap_or(value);
    match body.split_last_chunk::<CRC62_CHARS>() {
        Some((body, sum)) => crc62(body).as_bytes() == sum,
        None => false,
    }
}

fn holds_luhn(value: &[u8]) -> bool {
    let digits = value.iter().rev().filter(|byte| byte.is_ascii_digit());
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) => doubled / 10 + doubled % 10,
            }
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

fn holds_jwt(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'.');
    let mut object = || {
        let decoded = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        serde_json::from_slice::<serde_json::Map<_, _>>(&decoded).ok()
    };
    object().is_some_and(|header| header.contains_key("alg")) && object().is_some()
}

fn holds_pem(value: &[u8]) -> bool {
    // What stands between the dashes: label, body, label. In JSON and shells `\n` may be spelled.
    let text = String::from_utf8_lossy(value).replace("\\n", "\n");
    let Some((_, rest)) = text.split_once("-----\n").or(text.split_once("-----\r\n")) else {
        return false;
    };
    let body = rest.split("-----").next().unwrap_or_default();
    let is_header = |line: &&str| line.contains(':') || line.trim().is_empty();
    let encoded: String = body
        .lines()
        .filter(|line| !is_header(line) && !line.starts_with('='))
        .flat_map(|line| line.trim().chars())
        .collect();
    let whole = &encoded[..encoded.len() / 4 * 4];
    let Ok(bytes) = STANDARD.decode(whole) else {
        return false;
    };
    bytes.starts_with(b"openssh-key-v1\0")
        || bytes.first() == Some(&0x30)
        || (text.contains("PGP") && bytes.first().is_some_and(|byte| byte & 0x80 != 0))
        // Encrypted in the older way: a header says so, and any bytes follow.
        || (body.contains("Proc-Type") && bytes.len() >= 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_published_tokens_hold_and_one_changed_character_breaks_them() {
        let body = "0123456789abcdefghijABCDEFGHIJ";
        let token = format!("ghp{}{body}{}", '_', crc62(body.as_bytes()));
        assert!(Checksum::Crc32Base62.holds(token.as_bytes()));
        assert!(!Checksum::Crc32Base62.holds(token.replace('h', "i").as_bytes()));
        for (number, holds) in [
            ("4111 1111 1111 1111", true),
            ("4111111111111112", false),
            ("", false),
        ] {
            assert_eq!(Checksum::Luhn.holds(number.as_bytes()), holds, "{number}");
        }
    }
}
