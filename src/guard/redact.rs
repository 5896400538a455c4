//! The one redactor: it knows every value that a run has found, and lets none of them out, in
//! whatever spelling. Owns what a value looks like when it is hidden. Pure.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use zeroize::Zeroize;

use crate::base::units::{html_escaped, printable};

/// What stands for the hidden part.
const HIDDEN: &str = "****";
/// Shorter values are parts of too many words to be taken out of texts; they are never quoted.
const VALUE_BYTES_MIN: usize = 6;
/// The shortest encoded form, and the shortest line of a longer value, that gives it away.
const FORM_BYTES_MIN: usize = 8;
/// How many bytes forms are looked up by.
const KEY_BYTES: usize = 4;
/// The most characters of a value that are shown, and which part of it they may be at most.
const SHOWN_CHARS_MAX: usize = 4;
const SHOWN_PART: usize = 5;

/// A value with all but its first characters hidden: at most four, and at most a fifth of it.
pub fn hidden(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let count = (text.chars().count() / SHOWN_PART).min(SHOWN_CHARS_MAX);
    let shown: String = text.chars().take(count).collect();
    format!("{}{HIDDEN}", printable(&shown))
}

/// Takes every value that was found out of texts.
#[derive(Clone, Default)]
pub struct Redactor {
    /// What may stand in a text for a value, and what takes its place; by length, longest first.
    forms: Vec<(Vec<u8>, String)>,
    /// By their first bytes the forms that begin so, in their order.
    by_key: HashMap<[u8; KEY_BYTES], Vec<usize>>,
}

impl Redactor {
    /// A redactor that knows these values.
    pub fn knowing<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let values: BTreeSet<&[u8]> = values
            .map(<[u8]>::trim_ascii)
            .filter(|value| value.len() >= VALUE_BYTES_MIN)
            .collect();
        let mut forms = Vec::new();
        for value in values {
            let mask = hidden(value);
            let spelled = spellings(value);
            forms.extend(spelled.into_iter().map(|form| (form, mask.clone())));
        }
        // Of forms that begin alike the longest is tried first; equal ones have one mask.
        forms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        forms.dedup_by(|a, b| a.0 == b.0);
        let mut by_key: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, (form, _)) in forms.iter().enumerate() {
            if let Some(key) = form.first_chunk() {
                by_key.entry(*key).or_default().push(at);
            }
        }
        Self { forms, by_key }
    }

    /// The text without any known value.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out: Option<String> = None;
        let (mut at, mut copied) = (0, 0);
        while at < text.len() {
            match self.form_at(&text.as_bytes()[at..]) {
                // A form may end within a character only where bytes that are no UTF-8 were found.
                Some((form, mask)) if text.is_char_boundary(at + form.len()) => {
                    let out = out.get_or_insert_default();
                    out.push_str(&text[copied..at]);
                    out.push_str(mask);
                    at += form.len();
                    copied = at;
                }
                _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        match out {
            Some(mut out) => {
                out.push_str(&text[copied..]);
                Cow::Owned(out)
            }
            None => Cow::Borrowed(text),
        }
    }

    /// Takes every known value out of a text.
    pub fn redact(&self, text: &mut String) {
        if let Cow::Owned(redacted) = self.apply(text) {
            *text = redacted;
        }
    }

    fn form_at(&self, text: &[u8]) -> Option<(&[u8], &str)> {
        let candidates = self.by_key.get(text.first_chunk::<KEY_BYTES>()?)?;
        let at = candidates
            .iter()
            .find(|at| text.starts_with(&self.forms[**at].0))?;
        let (form, mask) = &self.forms[*at];
        Some((form, mask))
    }
}

/// Says how much it knows and not what.
impl fmt::Debug for Redactor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Redactor({} forms)", self.forms.len())
    }
}

impl Drop for Redactor {
    fn drop(&mut self) {
        for (form, _) in &mut self.forms {
            form.zeroize();
        }
    }
}

/// Every way in which a value may stand in a text; the value itself first.
fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let lossy = String::from_utf8_lossy(value);
    let mut forms = vec![
        value.to_vec(),
        lossy.as_bytes().to_vec(),
        printable(&lossy).as_bytes().to_vec(),
        json_escaped(&lossy),
        unicode_escaped(&lossy),
        html_escaped(&lossy).into_bytes(),
        percent(value, b"0123456789ABCDEF"),
        percent(value, b"0123456789abcdef"),
    ];
    let encoded = [hex::encode(value), hex::encode_upper(value)];
    forms.extend(encoded.map(String::into_bytes));
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.extend((0..3).map(|before| base64_within(value, before, engine)));
    }
    if lossy.lines().nth(1).is_some() {
        forms.extend(lossy.lines().map(|line| line.trim().as_bytes().to_vec()));
    }
    let own = value.len();
    forms.retain(|form| form.len() >= FORM_BYTES_MIN.min(own));
    forms
}

fn json_escaped(text: &str) -> Vec<u8> {
    let quoted = Value::String(text.to_owned()).to_string();
    quoted.trim_matches('"').as_bytes().to_vec()
}

fn unicode_escaped(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    units.collect::<String>().into_bytes()
}

/// With everything but RFC 3986's unreserved characters as `%XX`.
fn percent(value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend([
                b'%',
                digits[usize::from(byte >> 4)],
                digits[usize::from(byte & 15)],
            ]),
        }
    }
    out
}

/// The characters of base64 that depend on the value alone when `before` bytes of something else
/// stand before it in its group of three.
fn base64_within(value: &[u8], before: usize, engine: &impl Engine) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value);
    let text = engine.encode(&bytes).into_bytes();
    let first = (before * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    text.get(first..last).unwrap_or_default().to_vec()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn knowing(values: &[&str]) -> Redactor {
        Redactor::knowing(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn hides_all_but_a_few_first_characters() {
        for (value, text) in [
            ("", "****"),
            ("abcd", "****"),
            ("abcdefgh", "a****"),
            ("abcdefghijklmnopqrstuvwxyz", "abcd****"),
            ("\n\u{202e}cdefghijklmnopqrstuvwxyz", "\\n\\u{202e}cd****"),
        ] {
            assert_eq!(hidden(value.as_bytes()), text, "{value:?}");
        }
        assert_eq!(hidden(&[0xff; 10]), "\u{fffd}\u{fffd}****");
    }

    #[test]
    fn takes_values_out_of_texts_the_longest_first_and_leaves_the_rest() {
        let redactor = knowing(&["secret-one", "secret-one-and-two", "tiny", "héllo wörld"]);
        for (text, expected) in [
            ("", ""),
            ("nothing here", "nothing here"),
            ("secret-one", "se****"),
            ("a secret-one-and-two b", "a sec**** b"),
            ("secret-secret-one", "secret-se****"),
            (
                "tiny stays: it is in every destiny",
                "tiny stays: it is in every destiny",
            ),
            ("x/héllo wörld.txt", "x/hé****.txt"),
            ("ends with secret-on", "ends with secret-on"),
        ] {
            assert_eq!(redactor.apply(text), expected, "{text}");
        }
        assert_eq!(Redactor::default().apply("secret-one"), "secret-one");
        assert_eq!(format!("{:?}", Redactor::default()), "Redactor(0 forms)");
    }

    #[test]
    fn lines_of_a_longer_value_are_values() {
        let redactor = knowing(&["-----BEGIN X-----\n  abcdefghij\nklm\n-----END X-----"]);
        assert_eq!(redactor.apply("see abcdefghij, klm"), "see ----****, klm");
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_value_is_left(
            value in "[ -~é\n]{6,40}", before in "[a-z/]{0,7}", after in "[a-z/]{0,7}"
        ) {
            let value = value.trim();
            prop_assume!(value.len() >= FORM_BYTES_MIN);
            let redactor = knowing(&[value]);
            let json = serde_json::to_string(value).unwrap();
            let spelled = [
                value.to_owned(),
                printable(value).into_owned(),
                json.trim_matches('"').to_owned(),
                hex::encode(value),
            ];
            for form in spelled {
                let text = format!("{before}{form}{after}");
                let redacted = redactor.apply(&text).into_owned();
                prop_assert!(!redacted.contains(&form) || hidden(value.as_bytes()).contains(&form));
            }
            // Within a longer text in base64, wherever it begins.
            let outer = STANDARD_NO_PAD.encode(format!("{before}{value}{after}"));
            let redacted = redactor.apply(&outer).into_owned();
            prop_assert!(redacted.contains(HIDDEN), "{} {}", outer, redacted);
        }
    }
}
