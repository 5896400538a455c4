//! How much an assignment weighs: a name, an operator, a value, and how they are written.
//!
//! A rule's pattern finds the place; what stands there is judged here, because it hangs together:
//! an unquoted value is an expression in source code and a literal in a settings file, and a word
//! that is a password where a person chose it is none where a key is drawn at random.

use std::ops::Range;

use super::checksum::Checksum;
use super::letters::evidence_bits;
use super::name::{self, Kind};
use super::placeholder::{self, holds_telling_word};
use super::random::entropy;
use super::value::{
    RANDOM_BITS, STRONG_BITS, bare_bits, decoded_text, has_sign, is_call, is_chosen, is_common,
    is_expression, is_gibberish, is_hexadecimal, is_markup, is_reference_to_data, is_uuid,
    is_word_of_code,
};

/// How sure an assignment is to hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A password that everybody guesses, or nothing but its form speaks for it.
    Weak,
    /// More likely than not.
    Fair,
    /// Name and value leave no doubt.
    Strong,
}

/// Evidence from which a value without quotes amid code is random.
const BARE_BITS: f64 = 14.0;
/// The shortest value that is random beyond doubt.
const STRONG_CHARS: usize = 16;
/// The shortest secret or key that is not a password.
const SECRET_CHARS: usize = 10;
/// The fewest letters and digits of one.
const WRITTEN_CHARS: usize = 8;
/// The shortest password.
const PASSWORD_CHARS: usize = 4;
/// How much of a line around a setting is looked at.
const LINE_BYTES: usize = 256;
/// The longest value.
const VALUE_CHARS: usize = 512;

/// An assignment in a text.
#[derive(Debug)]
pub struct Setting<'t> {
    text: &'t [u8],
    name: Range<usize>,
    keyword: usize,
    value: Range<usize>,
    syntax: Syntax,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// In quotes, or as the text of an element.
    Quoted,
    /// Without quotes, on a line that is nothing but a name and a value, as in settings.
    Line,
    /// Without quotes amid something else.
    Bare,
}

impl<'t> Setting<'t> {
    /// A value at a place that needs no name.
    pub fn at_place(text: &'t [u8], value: Range<usize>) -> Self {
        let mut setting = Self {
            text,
            name: value.start..value.start,
            keyword: value.start,
            value,
            syntax: Syntax::Quoted,
        };
        setting.trim();
        setting
    }

    /// The assignment whose name holds a word at `keyword` and whose value a pattern found;
    /// `None` where they do not hang together.
    pub fn of(text: &'t [u8], keyword: usize, value: Range<usize>) -> Option<Self> {
        let name = name::around(text, keyword);
        let between = text.get(name.end..value.start)?;
        let opens = between.last().copied().unwrap_or(b' ');
        let is_entity = between.ends_with(b"&quot;");
        let quoted = b"\"'`".contains(&opens)
            || is_entity
            || between.contains(&b'>')
                && !between.ends_with(b"=>")
                && value_is_element(text, &value);
        // `call(password, "x")` passes two things; `("password", "x")` sets one.
        let lists = between.contains(&b',')
            && !between.first().is_some_and(|byte| b"\"'`\\".contains(byte));
        // `pattern.pass("x")`, `pass "x" to` and the `PASS: x` of a test's log are verbs.
        let is_pass = text[keyword..name.end].eq_ignore_ascii_case(b"pass");
        let is_verb = is_pass
            && (between.contains(&b'(')
                || between.trim_ascii().len() == usize::from(quoted)
                || !quoted && !between.contains(&b'='));
        // `password.encode("x")` does something with it, `password.assign("x")` sets it.
        let does = between.starts_with(b"(") && !sets(&text[keyword..name.end]);
        // Prose has names in backticks.
        let is_prose = opens == b'`' && between.trim_ascii_start() == b"`";
        // Without quotes only code stands behind `=>`, and behind an index.
        let is_code =
            !quoted && (between.trim_ascii_end().ends_with(b"=>") || between.contains(&b'['));
        if lists || is_code || is_verb || does || is_prose {
            return None;
        }
        let mut setting = Self {
            text,
            name,
            keyword,
            value,
            syntax: Syntax::Quoted,
        };
        if !quoted {
            setting.trim();
            setting.syntax = setting.bare_syntax();
        }
        Some(setting)
    }

    /// Where the value is, without what ended it.
    pub fn value(&self) -> Range<usize> {
        self.value.clone()
    }

    /// How much it weighs; `None` for what holds no secret.
    pub fn weigh(&self, kind: Kind) -> Option<Weight> {
        let value = &self.text[self.value.clone()];
        match kind {
            Kind::Place => return weigh_given(value),
            Kind::Argument => return weigh_given(value).filter(|weight| *weight > Weight::Weak),
            Kind::Token => return self.weigh_secret(value),
            Kind::Basic => return weigh_basic(value),
            Kind::Password | Kind::Secret | Kind::Key => {}
        }
        let name = &self.text[self.name.clone()];
        if !name::may_hold(name, self.keyword - self.name.start, kind) {
            return None;
        }
        if value.len() > VALUE_CHARS
            || is_word_of_code(value)
            || repeats_name(name, value)
            || decoded_text(value).is_some_and(|text| placeholder::is_filler(&text))
        {
            return None;
        }
        match kind {
            Kind::Password => self.weigh_password(value),
            Kind::Secret => self.weigh_secret(value),
            _ => self
                .weigh_written(value)
                .and_then(|weight| match weight {
                    // A lone `key` is the key of anything: a map, a cipher's test.
                    Weight::Strong if is_hexadecimal(value) && is_lone(name) => None,
                    Weight::Strong if is_lone(name) => Some(Weight::Weak),
                    Weight::Strong => Some(Weight::Fair),
                    _ => None,
                })
                .filter(|_| !is_told_apart(value)),
        }
    }

    fn weigh_secret(&self, value: &[u8]) -> Option<Weight> {
        let weight = self.weigh_written(value)?;
        // Most values weigh nothing, which is cheaper to see.
        (!is_told_apart(value)).then_some(weight)
    }

    /// What a value weighs by its letters.
    fn weigh_written(&self, value: &[u8]) -> Option<Weight> {
        let written = value.iter().filter(|byte| byte.is_ascii_alphanumeric());
        if value.len() < SECRET_CHARS
            || written.count() < WRITTEN_CHARS
            || is_markup(value)
            || entropy(value) < 2.5
        {
            return None;
        }
        let bits = match self.syntax {
            Syntax::Quoted => evidence_bits(value),
            _ => bare_bits(value),
        };
        if is_uuid(value) {
            return Some(Weight::Fair);
        }
        if value.starts_with(b"eyJ") && value.contains(&b'.') && !Checksum::Jwt.holds(value) {
            return None;
        }
        if self.syntax == Syntax::Line && is_gibberish(value) {
            return Some(Weight::Weak);
        }
        let least = match self.syntax {
            Syntax::Quoted => RANDOM_BITS,
            _ if is_call(value) => return None,
            Syntax::Line if !is_expression(value) => RANDOM_BITS,
            _ => BARE_BITS,
        };
        match value.iter().any(u8::is_ascii_digit) {
            true if bits >= STRONG_BITS
                && value.len() >= STRONG_CHARS
                && self.syntax != Syntax::Bare =>
            {
                Some(Weight::Strong)
            }
            true if bits >= least => Some(Weight::Fair),
            // Letters alone are names of something more often than not.
            false if bits >= least.max(BARE_BITS) => Some(Weight::Fair),
            // Some are chosen as passwords are.
            true if self.syntax == Syntax::Quoted && has_sign(value) && is_chosen(value) => {
                Some(Weight::Weak)
            }
            _ => None,
        }
    }

    fn weigh_password(&self, value: &[u8]) -> Option<Weight> {
        let is_written = value.iter().any(u8::is_ascii_alphanumeric);
        if value.len() < PASSWORD_CHARS
            || !is_written
            || value.contains(&b' ')
            || is_reference_to_data(value)
        {
            return None;
        }
        if is_common(value) {
            return (self.syntax != Syntax::Bare).then_some(Weight::Weak);
        }
        let bits = evidence_bits(value);
        let chosen = is_chosen(value);
        let sure = match self.syntax {
            Syntax::Quoted => bits >= RANDOM_BITS || chosen,
            Syntax::Line => match is_expression(value) {
                true => {
                    is_gibberish(value)
                        || chosen && self.is_environment()
                        || bare_bits(value) >= RANDOM_BITS && value.len() >= 8 && !is_call(value)
                }
                false => bits >= RANDOM_BITS || chosen,
            },
            Syntax::Bare => bits >= BARE_BITS && !is_expression(value),
        };
        if !sure || placeholder::is_filler(value) || is_markup(value) {
            return None;
        }
        let strong =
            bits >= STRONG_BITS && value.len() >= STRONG_CHARS && self.syntax != Syntax::Bare;
        match strong {
            true => Some(Weight::Strong),
            false => Some(Weight::Fair),
        }
    }

    /// Takes off what ends an unquoted value and does not belong to it.
    fn trim(&mut self) {
        let value = &self.text[self.value.clone()];
        // The end of an element, a line inside a string, the next parameter of a query.
        let ends: [&[u8]; 3] = [b"</", b"\\n", b"\\r"];
        let ends = ends
            .into_iter()
            .filter_map(|end| memchr::memmem::find(value, end));
        let mut length = ends
            .chain(next_parameter(value))
            .min()
            .unwrap_or(value.len());
        if value.starts_with(b"$(") {
            return;
        }
        while length > 1 && b",;".contains(&value[length - 1]) {
            length -= 1;
        }
        for (open, close) in [(b'(', b')'), (b'[', b']'), (b'{', b'}')] {
            let count = |byte| {
                value[..length]
                    .iter()
                    .filter(|other| **other == byte)
                    .count()
            };
            if length > 1 && value[length - 1] == close && count(close) > count(open) {
                length -= 1;
            }
        }
        self.value.end = self.value.start + length;
    }

    fn bare_syntax(&self) -> Syntax {
        let near = self.name.start.saturating_sub(LINE_BYTES);
        let before = &self.text[near..self.name.start];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let before = before[line_start..].trim_ascii();
        let rest = &self.text[self.value.end..];
        let rest = &rest[..rest.len().min(LINE_BYTES)];
        let line_end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let behind = rest[..line_end].trim_ascii();
        let introduces = before.is_empty()
            || [
                &b"export"[..],
                b"set",
                b"setx",
                b"ENV",
                b"ARG",
                b"-",
                b"#",
                b"//",
                b";",
                b"- -",
                b"-D",
                b"--",
                b"\"",
                b"'",
                b"$",
            ]
            .contains(&before);
        let ends = behind.is_empty()
            || behind.starts_with(b"#")
            || behind.starts_with(b"//")
            || behind.len() == 1 && b",;`\"'".contains(&behind[0]);
        // `"name": value` and `'name' = value`: the name alone is quoted.
        let is_closed = self
            .text
            .get(self.name.end)
            .is_some_and(|byte| b"\"'".contains(byte));
        let introduces = introduces || is_closed && (before == b"\"" || before == b"'");
        match introduces && ends {
            true => Syntax::Line,
            false => Syntax::Bare,
        }
    }

    /// Whether it is written as the environment is: `NAME=value`.
    fn is_environment(&self) -> bool {
        let name = &self.text[self.name.clone()];
        let between = &self.text[self.name.end..self.value.start];
        between == b"=" && !name.iter().any(u8::is_ascii_lowercase)
    }
}

/// Where the next parameter of a query begins: `&name=`.
fn next_parameter(value: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'&', value).find(|at| {
        let behind = &value[at + 1..];
        let name = behind
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
        let length = name.count();
        length > 0 && behind.get(length) == Some(&b'=')
    })
}

/// Whether a value that may look like a secret says that it is none.
fn is_told_apart(value: &[u8]) -> bool {
    placeholder::is_filler(value) || holds_telling_word(value) || is_reference_to_data(value)
}

/// A password at a place for passwords: all but placeholders.
fn weigh_given(value: &[u8]) -> Option<Weight> {
    if value.len() < PASSWORD_CHARS || is_word_of_code(value) {
        return None;
    }
    if is_common(value) {
        return Some(Weight::Weak);
    }
    if placeholder::is_filler(value) || is_markup(value) {
        return None;
    }
    match evidence_bits(value) {
        bits if bits >= BARE_BITS && value.len() >= 8 => Some(Weight::Strong),
        bits if bits >= RANDOM_BITS || is_chosen(value) => Some(Weight::Fair),
        _ => Some(Weight::Weak),
    }
}

/// Name and password in base64.
fn weigh_basic(value: &[u8]) -> Option<Weight> {
    let decoded = decoded_text(value)?;
    let colon = memchr::memchr(b':', &decoded)?;
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    match password.is_empty() {
        // Some services take the key as the name.
        true if user.is_empty() || placeholder::is_filler(user) => None,
        true => Some(Weight::Weak),
        false if user == password => None,
        false => weigh_given(password),
    }
}

/// Whether a called name sets what its keyword names: `setPassword`, `password.assign`.
fn sets(name: &[u8]) -> bool {
    let Some(at) = memchr::memrchr(b'.', name) else {
        return true;
    };
    let setters: [&[u8]; 8] = [
        b"add",
        b"append",
        b"assign",
        b"equals",
        b"of",
        b"put",
        b"set",
        b"setValue",
    ];
    setters.contains(&&name[at + 1..])
}

/// Whether a value runs to the end tag of its element.
fn value_is_element(text: &[u8], value: &Range<usize>) -> bool {
    text[value.end..].trim_ascii_start().starts_with(b"</")
}

/// Whether a value is the name of its setting again, as labels and enumerations are.
fn repeats_name(name: &[u8], value: &[u8]) -> bool {
    let letters = |text: &[u8]| -> Vec<u8> {
        text.iter()
            .filter(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .collect()
    };
    let (name, value) = (letters(name), letters(value));
    !value.is_empty() && (name == value || name.ends_with(&value) && value.len() >= 4)
}

/// Whether a name is one word.
fn is_lone(name: &[u8]) -> bool {
    let letters = name.iter().all(u8::is_ascii_alphabetic);
    let inner = name.get(1..).unwrap_or_default();
    letters
        && (inner.iter().all(u8::is_ascii_lowercase) || inner.iter().all(u8::is_ascii_uppercase))
}
