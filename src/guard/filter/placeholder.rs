//! Texts that stand where a secret will: examples, templates, references, masks.
//!
//! A value is never judged by what it happens to contain: it is a placeholder when it is *mostly
//! made of* filler. A key that contains `false`, ends in `null` or holds `test` stays a key.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::random::{entropy, is_random};
use super::words::{FILLER, FILLER_SHORT, TELLING};

/// The share of its letters and digits from which a value is made of filler.
const FILLER_SHARE_MIN: f64 = 0.6;
/// The shortest run of one character that is filler.
const RUN_MIN: usize = 4;
/// The shortest run of a masking character that says that a value is masked.
const MASK_MIN: usize = 8;
/// The shortest run of characters that follow each other, such as `abcd` and `4321`.
const SEQUENCE_MIN: usize = 4;
/// The shortest sequence that is filler in a token of a known shape: most of the alphabet.
const ALPHABET_MIN: usize = 20;
/// The shortest run of bytes that count, in digits.
const COUNTED_MIN: usize = 8;
/// The longest group of characters whose repetition is filler.
const GROUP_MAX: usize = 12;
/// The longest value that a word of it makes a placeholder.
const TELLING_CHARS_MAX: usize = 120;
/// The least entropy of what was typed rather than repeated.
const TYPED_ENTROPY_MIN: f64 = 2.8;
/// How often a group stands in a token that is made of it.
const GROUPS_MIN: usize = 4;
/// The longest reference, such as `${…}`.
const REFERENCE_MAX: usize = 80;

/// Whether a value of a known shape, such as a token with a prefix, is a placeholder. Sequences
/// such as `1234567890` do not make it one.
pub fn is_placeholder(value: &[u8]) -> bool {
    is_reference(value)
        || is_masked(value)
        || holds_telling_word(value)
        || Cover::of(value, false).share() >= FILLER_SHARE_MIN
}

/// Whether a value that nothing but its place tells to be a secret is a placeholder.
pub fn is_filler(value: &[u8]) -> bool {
    is_reference(value) || is_masked(value) || Cover::of(value, true).share() >= FILLER_SHARE_MIN
}

/// Whether a value of letters and digits is made of sequences and repetitions, such as
/// `abcdef1234567890abcdef`: nobody draws that, and some do use it.
pub fn is_typed(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
        && entropy(value) >= TYPED_ENTROPY_MIN
        && !value
            .chunk_by(|a, b| a == b)
            .any(|run| run.len() >= MASK_MIN)
        && is_filler(value)
}

/// Whether a word is in the value that no secret holds and that says that it is none.
pub(super) fn holds_telling_word(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let holds = |word: &&str| memchr::memmem::find(&lower, word.as_bytes()).is_some();
    value.len() <= TELLING_CHARS_MAX && TELLING.iter().any(holds)
}

/// Whether a value was cut short or written over: `AKIA...`, `sk-XXXXXXXXXXXX`, `[…]`.
fn is_masked(value: &[u8]) -> bool {
    let masks = |byte: u8| matches!(byte, b'x' | b'X' | b'*' | b'#' | b'.' | b'_' | b'?' | b'-');
    let mut run = 0;
    let mut before = 0;
    for byte in value {
        run = if *byte == before { run + 1 } else { 1 };
        before = *byte;
        if masks(*byte) && run >= MASK_MIN || *byte == b'0' && run >= 3 * MASK_MIN {
            return true;
        }
    }
    memchr::memmem::find(value, b"***").is_some()
        || value.ends_with(b"...")
        || value.starts_with(b"...")
        || value.ends_with("…".as_bytes())
        || holds_phrase(value)
        || value
            .iter()
            .all(|byte| !byte.is_ascii_alphanumeric() && byte.is_ascii())
}

/// Whether words in angle brackets say what would stand there: `oy2<your key>`.
fn holds_phrase(value: &[u8]) -> bool {
    let is_written = |byte: &u8| byte.is_ascii_alphanumeric() || b" _-.[]".contains(byte);
    let phrase = |open: usize| {
        let rest = &value[open + 1..];
        let words = &rest[..memchr::memchr(b'>', rest)?];
        Some(words.trim_ascii().contains(&b' ') && words.iter().all(is_written))
    };
    memchr::memchr_iter(b'<', value).any(|open| phrase(open) == Some(true))
}

/// Whether the whole value is one reference to something else.
pub(super) fn is_reference(value: &[u8]) -> bool {
    value.is_empty() || reference_end(value, 0) == Some(value.len())
}

/// Which bytes of a value are filler.
struct Cover {
    covered: Vec<bool>,
    /// Bytes that count: all but what separates words.
    counted: Vec<bool>,
}

impl Cover {
    fn of(value: &[u8], with_sequences: bool) -> Self {
        let mut cover = Self {
            covered: vec![false; value.len()],
            counted: value.iter().map(|byte| !is_separator(*byte)).collect(),
        };
        cover.mark_references(value);
        cover.mark_runs(value);
        cover.mark_words(value);
        // In a token of a known shape only what is repeated over and over.
        cover.mark_groups(value, if with_sequences { 2 } else { GROUPS_MIN });
        cover.mark_sequences(
            value,
            if with_sequences {
                SEQUENCE_MIN
            } else {
                ALPHABET_MIN
            },
        );
        if with_sequences {
            cover.mark_rows(value);
            cover.mark_counted_bytes(value);
        }
        cover
    }

    fn mark(&mut self, start: usize, end: usize) {
        self.covered[start..end].fill(true);
        self.counted[start..end].fill(true);
    }

    fn share(&self) -> f64 {
        let counted = self.counted.iter().filter(|counts| **counts).count();
        let covered = self.covered.iter().filter(|is| **is).count();
        if counted == 0 {
            return 1.0;
        }
        covered as f64 / counted as f64
    }

    fn mark_references(&mut self, value: &[u8]) {
        let mut at = 0;
        // Only these begin a reference.
        let begins = |byte: &u8| b"$#@{<[_%".contains(byte);
        while let Some(ahead) = value[at..].iter().position(begins) {
            at += ahead;
            let follows_text = at > 0 && !is_separator(value[at - 1]) && !self.covered[at - 1];
            let bare = value[at] == b'$' && value.get(at + 1).is_some_and(|next| is_word(*next));
            match reference_end(value, at) {
                Some(end) if !(bare && follows_text) => {
                    self.mark(at, end);
                    at = end;
                }
                _ => at += 1,
            }
        }
    }

    fn mark_runs(&mut self, value: &[u8]) {
        let mut start = 0;
        while start < value.len() {
            let same = value[start..]
                .iter()
                .take_while(|byte| **byte == value[start]);
            let end = start + same.count();
            if end - start >= RUN_MIN {
                self.mark(start, end);
            }
            start = end;
        }
    }

    fn mark_words(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        static WORDS: LazyLock<Option<AhoCorasick>> =
            LazyLock::new(|| AhoCorasick::new(FILLER).ok());
        for word in WORDS
            .iter()
            .flat_map(|words| words.find_overlapping_iter(&lower))
        {
            let plural = usize::from(lower.get(word.end()) == Some(&b's'));
            self.mark(word.start(), word.end() + plural);
        }
        let mut start = 0;
        while start < lower.len() {
            let letters = lower[start..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic());
            let end = start + letters.count();
            if FILLER_SHORT
                .iter()
                .any(|word| word.as_bytes() == &lower[start..end])
            {
                self.mark(start, end);
            }
            start = end.max(start + 1);
        }
    }

    fn mark_sequences(&mut self, value: &[u8], least: usize) {
        let mut start = 0;
        while start < value.len() {
            let ahead = |step: i16| {
                let pairs = value[start..].windows(2);
                1 + pairs
                    .take_while(|pair| follows(pair[0], pair[1], step))
                    .count()
            };
            let length = ahead(1).max(ahead(-1));
            if length >= least {
                self.mark(start, start + length);
                start += length;
            } else {
                start += 1;
            }
        }
    }

    /// Bytes in hexadecimal that count, such as `000102030405`, up or down.
    fn mark_counted_bytes(&mut self, value: &[u8]) {
        let byte = |at: usize| {
            let pair = std::str::from_utf8(value.get(at..at + 2)?).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let mut start = 0;
        while start + 2 < value.len() {
            let steps = (start..value.len() - 1).step_by(2).take_while(|at| {
                let (first, second) = (byte(*at), byte(at + 2));
                matches!((first, second), (Some(first), Some(second)) if first.abs_diff(second) == 1)
            });
            let length = 2 * (1 + steps.count());
            if length >= COUNTED_MIN {
                self.mark(start, start + length);
            }
            start += if length >= COUNTED_MIN { length } else { 1 };
        }
    }

    /// Rows of keys, and words that hexadecimal digits spell.
    fn mark_rows(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        for row in [
            &b"qwertyuiop"[..],
            b"asdfghjkl",
            b"zxcvbnm",
            b"abcdef",
            b"deadbeef",
            b"cafebabe",
        ] {
            for at in 0..lower.len() {
                let same = lower[at..].iter().zip(row);
                let length = same.take_while(|(byte, key)| byte == key).count();
                if length >= SEQUENCE_MIN {
                    self.mark(at, at + length);
                }
            }
        }
    }

    fn mark_groups(&mut self, value: &[u8], times: usize) {
        for size in 2..=GROUP_MAX.min(value.len() / 2) {
            let mut start = 0;
            while start + 2 * size <= value.len() {
                let same = value[start..].iter().zip(&value[start + size..]);
                let length = same.take_while(|(first, second)| first == second).count();
                if length >= ((times - 1) * size).max(SEQUENCE_MIN) {
                    self.mark(start, start + size + length);
                    start += size + length;
                } else {
                    start += 1;
                }
            }
        }
    }
}

/// Whether one character comes behind another in the alphabet or among the digits, or `0` behind
/// `9`.
fn follows(first: u8, second: u8, step: i16) -> bool {
    let class = |byte: u8| {
        (
            byte.is_ascii_digit(),
            byte.is_ascii_lowercase(),
            byte.is_ascii_uppercase(),
        )
    };
    if !first.is_ascii_alphanumeric() || class(first) != class(second) {
        return false;
    }
    let wraps =
        (first, second, step) == (b'9', b'0', 1) || (first, second, step) == (b'0', b'9', -1);
    wraps || i16::from(first) + step == i16::from(second)
}

/// Where the reference that begins at a place ends.
fn reference_end(value: &[u8], at: usize) -> Option<usize> {
    const BRACKETS: [(&[u8], &[u8]); 14] = [
        (b"${{", b"}}"),
        (b"${", b"}"),
        (b"$(", b")"),
        (b"$[", b"]"),
        (b"#{", b"}"),
        (b"@{", b"}"),
        (b"{{", b"}}"),
        (b"{%", b"%}"),
        (b"<%", b"%>"),
        (b"<", b">"),
        (b"[", b"]"),
        (b"{", b"}"),
        (b"__", b"__"),
        (b"%", b"%"),
    ];
    let rest = &value[at..value.len().min(at + REFERENCE_MAX)];
    for (open, close) in BRACKETS {
        let Some(inner) = rest.strip_prefix(open) else {
            continue;
        };
        let Some(length) = memchr::memmem::find(inner, close) else {
            continue;
        };
        if is_readable(&inner[..length]) {
            return Some(at + open.len() + length + close.len());
        }
    }
    let name = |skip: usize| {
        rest.iter()
            .skip(skip)
            .take_while(|byte| is_word(**byte))
            .count()
    };
    match rest {
        [b'$', next, ..] if is_word(*next) => Some(at + 1 + name(1)),
        [b'%', b'(', ..] => {
            let close = memchr::memchr(b')', rest)?;
            Some((at + close + 2).min(value.len()))
        }
        [b'%', b's' | b'd' | b'v' | b'@' | b'q', ..] => Some(at + 2),
        _ => None,
    }
}

/// Whether what stands in brackets is an expression or words, and not itself a secret.
fn is_readable(inner: &[u8]) -> bool {
    let readable =
        |byte: &u8| is_word(*byte) || b" .:-?+|/,()'\"[]=&*!@\\".contains(byte) || !byte.is_ascii();
    !inner.is_empty() && inner.iter().all(readable) && !is_random(inner)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_separator(byte: u8) -> bool {
    b"-_ .:/,=+'\"\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_placeholders_only_where_they_are_made_of_filler() {
        for (value, placeholder) in [
            ("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true),
            ("AKIAXXXXXXXXXXXXXXXX", true),
            ("AKIAIOSFODNN7EXAMPLE", true),
            ("AKIA...", true),
            ("sk-proj-YOUR_API_KEY_HERE", true),
            ("<your-token>", true),
            ("oy2<43 of 0-9a-z>", true),
            ("xK9<mN2$ pL>q8Zt4Rw7", false),
            ("${VAULT_TOKEN}", true),
            ("$VAR", true),
            ("%VAR%", true),
            ("{{ .Values.token }}", true),
            ("#{token}", true),
            ("__TOKEN__", true),
            ("[REDACTED]", true),
            ("sk_live_abcdefghijklmnopqrstuvwxyz123456", true),
            ("xoxp-572370529330-573807301142-################", true),
            ("glsa_EXAMPLEEXAMPLEEXAMPLEEXAM_00000000", true),
            ("****************", true),
            // Peers drop these for a word somewhere in them.
            ("ghp_d6kzfalseMOGb8PGpSi1HAwYQIUrX6SpFnull", false),
            (concat!("sk_", "live_testB2nM4vWcRxKp9ZjH7tLyAqY5"), false),
            (concat!("AK", "IAQYLPMN5HHHFPZAM2"), false),
            // A shape says enough where a shapeless value would not.
            (
                concat!("bk", "ua_1234567890abcdef1234567890abcdef12345678"),
                false,
            ),
            // Braces around what is a secret do not hide it.
            ("{ZqL5kVrX1n8tA2}", false),
        ] {
            assert_eq!(is_placeholder(value.as_bytes()), placeholder, "{value}");
        }
    }

    #[test]
    fn shapeless_values_are_filler_where_they_are_words_sequences_or_repetitions() {
        for (value, filler) in [
            ("1234567890abcdef", true),
            ("abcdefghijklmnopqrstuvwxyz123456", true),
            ("abcdef0123456789abcdef0123456789", true),
            ("0000000000000000", true),
            ("000102030405060708090a0b0c0d0e0f", true),
            ("deadbeefdeadbeef", true),
            ("q1w2q1w2q1w2q1w2", true),
            ("your_private_key_here_1234", true),
            ("my-secret-password", true),
            ("Test1234", true),
            ("$USERNAME:$PASSWORD", true),
            ("d6kzMOGb8PGpSi1HAwYQIUrX6SpFJCON", false),
            ("Summer2024!", false),
            ("P@ssw0rd$1", false),
            ("m{{h}o)p${e]nob(ody[finds>-_$#thisone}}", false),
        ] {
            assert_eq!(is_filler(value.as_bytes()), filler, "{value}");
        }
    }
}
