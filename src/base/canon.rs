//! Canonical JSON: the one byte sequence that stands for a value under a MAC.
//!
//! RFC 8785 (JCS) restricted to objects, arrays, strings, booleans, null and the integers
//! 0 … 2^53−1. Within that set every JSON reader agrees on every value, so two different
//! documents can never share one canonical form. Knows nothing of manifests or records.

use std::cmp::Ordering;
use std::io::{self, Write};

use serde_json::Value;

/// The largest integer that every JSON reader represents exactly (RFC 8785, RFC 7493).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonError {
    /// A number that is negative, fractional, or above 2^53−1.
    #[error("number `{0}` is not an integer from 0 to 2^53-1")]
    Number(String),
    /// The sink failed.
    #[error("cannot write canonical JSON")]
    Write(#[from] io::Error),
}

/// Orders object keys as RFC 8785 §3.2.3 asks: by UTF-16 code units.
pub fn compare_keys(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

/// Writes a string with the minimal escapes of RFC 8785 §3.2.2.2.
///
/// # Errors
/// Only those of the sink.
pub fn write_string(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0c => b"\\f",
            b'\r' => b"\\r",
            0x00..=0x1f => &[],
            _ => continue,
        };
        out.write_all(&text.as_bytes()[plain_from..at])?;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}")?;
        } else {
            out.write_all(escape)?;
        }
        plain_from = at + 1;
    }
    out.write_all(&text.as_bytes()[plain_from..])?;
    out.write_all(b"\"")
}

/// Writes an integer in decimal; the caller has checked it against [`INTEGER_MAX`].
///
/// # Errors
/// Only those of the sink.
pub fn write_integer(out: &mut impl Write, mut integer: u64) -> io::Result<()> {
    // Twenty digits hold every u64; formatting by hand is three times faster than `write!`,
    // and a manifest of a million files holds three million of these.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (integer % 10) as u8;
        integer /= 10;
        if integer == 0 {
            return out.write_all(&digits[at..]);
        }
    }
}

/// Writes the canonical form of a value.
///
/// # Errors
/// A number outside 0 … 2^53−1, and those of the sink.
pub fn write_value(out: &mut impl Write, value: &Value) -> Result<(), CanonError> {
    match value {
        Value::Null => out.write_all(b"null")?,
        Value::Bool(true) => out.write_all(b"true")?,
        Value::Bool(false) => out.write_all(b"false")?,
        Value::Number(number) => match number.as_u64().filter(|n| *n <= INTEGER_MAX) {
            Some(integer) => write_integer(out, integer)?,
            None => return Err(CanonError::Number(number.to_string())),
        },
        Value::String(text) => write_string(out, text)?,
        Value::Array(items) => {
            out.write_all(b"[")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write_value(out, item)?;
            }
            out.write_all(b"]")?;
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|left, right| compare_keys(left.0, right.0));
            out.write_all(b"{")?;
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                write_string(out, key)?;
                out.write_all(b":")?;
                write_value(out, member)?;
            }
            out.write_all(b"}")?;
        }
    }
    Ok(())
}

/// The canonical form of a value, in memory.
///
/// # Errors
/// A number outside 0 … 2^53−1.
pub fn to_vec(value: &Value) -> Result<Vec<u8>, CanonError> {
    let mut bytes = Vec::new();
    write_value(&mut bytes, value)?;
    Ok(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use serde_json::json;

    fn canonical(value: &Value) -> String {
        String::from_utf8(to_vec(value).unwrap()).unwrap()
    }

    #[test]
    fn sorts_keys_by_utf16_code_units_as_rfc_8785_section_3_2_3_shows() {
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5,
                           "\u{80}": 6, "\u{f6}": 7});
        assert_eq!(
            canonical(&value),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn escapes_only_what_rfc_8785_section_3_2_2_2_escapes() {
        let value = json!("\u{20ac}$\u{f}\u{a}A'\u{42}\u{22}\u{5c}\\\"/\u{7f}\u{8}\u{c}\t");
        assert_eq!(
            canonical(&value),
            "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\\b\\f\\t\""
        );
    }

    #[test]
    fn writes_integers_as_decimal_up_to_the_last_exact_one() {
        for integer in [0, 1, 9, 10, 1234567890, INTEGER_MAX] {
            assert_eq!(canonical(&json!(integer)), integer.to_string());
        }
    }

    #[test]
    fn refuses_every_number_that_readers_disagree_about() {
        for text in ["-1", "-0.0", "1.5", "1e3", "9007199254740992", "1e400"] {
            let Ok(value) = serde_json::from_str(text) else {
                continue;
            };
            assert!(to_vec(&value).is_err(), "{text}");
        }
    }
}
