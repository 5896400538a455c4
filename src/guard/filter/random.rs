//! Whether a text looks drawn at random.

use super::letters::evidence_bits;

/// The least length at which a text can be told to be random.
const LENGTH_MIN: usize = 8;
/// The least evidence: at that, one key of 16 hex digits in 100 is missed, and one name in 100 of
/// source code is taken for a key.
const EVIDENCE_BITS_MIN: f64 = 6.0;
/// The least entropy: less has a handful of characters that repeat.
const ENTROPY_MIN: f64 = 2.5;

/// Shannon entropy of the bytes' frequencies, bits per byte, 0 for nothing.
pub fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

/// Whether a text of eight characters and more looks drawn at random rather than written by a
/// person or made of words. Numbers never do.
pub fn is_random(value: &[u8]) -> bool {
    value.len() >= LENGTH_MIN
        && entropy(value) >= ENTROPY_MIN
        && evidence_bits(value) >= EVIDENCE_BITS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_look_random_and_names_words_and_numbers_do_not() {
        for (value, random) in [
            ("d6kzMOGb8PGpSi1HAwYQ", true),
            ("0afae57f3ccfd9d7f5767067bc48b30f", true),
            ("kjhsdfkjhqwzx", true),
            ("4ZQR7KXW2P9MBTLN", true),
            // Whatever a random value happens to contain or end in does not make it a word.
            ("d6kzfalseMOGb8PGpSi1HAwYQ", true),
            ("q9V7nB2K4xL8Rt5Gnull", true),
            ("correcthorsebatterystaple", false),
            ("getDefaultPasswordFromEnvironment", false),
            ("X25519.secret_length", false),
            ("SalesResults-1.2", false),
            ("2026-11-25T16:11:41", false),
            ("1234567890123456", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("", false),
        ] {
            assert_eq!(is_random(value.as_bytes()), random, "{value}");
        }
    }
}
