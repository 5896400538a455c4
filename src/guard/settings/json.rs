//! JSON that comes piece by piece: whether it is any, which keys come twice, and how deep it goes.
//! Owns the grammar (RFC 8259, its lines, its comments, JSON5); keeps no value, and nothing that
//! grows with the text but the keys of what is open.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::super::notes::{Spot, characters};
use super::{NESTING_MAX, Shape};

/// How much of JSON's grammar holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// RFC 8259.
    Strict,
    /// The same with comments, and with commas before what closes.
    Comments,
    /// What json5.org describes.
    Json5,
    /// A value a line.
    Lines,
}

/// The longest key that is compared, and the longest number, bytes.
const TOKEN_BYTES_MAX: usize = 1 << 16;
/// The most keys that are remembered of what is open.
const KEYS_MAX: usize = 1 << 20;
/// The most duplicates that are told.
const TWICE_MAX: usize = 20;

/// Why a text is no JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) spot: Spot,
    pub(super) message: String,
    pub(super) kind: ProblemKind,
}

/// What a [`Problem`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// No parser reads it.
    Syntax,
    /// The grammar does not allow it, and usual parsers read it all the same.
    Strictness,
    /// It is too deep.
    Nesting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value; the flag says whether `]` may stand here instead.
    Value {
        may_close: bool,
    },
    /// Before a key; likewise with `}`.
    Key {
        may_close: bool,
    },
    Colon,
    /// Behind a value inside of something.
    Comma,
    /// Behind a value outside of everything.
    Done,
    /// In a text, and whether the next byte is escaped.
    Text {
        quote: u8,
        is_key: bool,
        is_escaped: bool,
    },
    /// In digits of a `\u` escape; so many are wanted.
    Digits {
        quote: u8,
        is_key: bool,
        left: u8,
    },
    /// In a number, a word, or a key without quotes.
    Bare {
        is_key: bool,
    },
    /// Behind a slash.
    Slash,
    LineComment,
    /// In a comment, and whether the last byte was a star.
    Comment {
        is_starred: bool,
    },
    Failed,
}

/// What is open.
struct Open {
    is_object: bool,
    /// Hashes of the keys.
    keys: HashSet<u64, BuildHasherDefault<Hashed>>,
}

/// What was hashed need not be hashed again.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A text on its way through.
pub(super) struct Reader {
    dialect: Dialect,
    state: State,
    /// Where a comment leads back to.
    after_comment: State,
    open: Vec<Open>,
    keys: usize,
    /// Nobody can foresee which keys collide.
    hasher: RandomState,
    /// The token at hand, from where it began; cut off where it is too long to matter.
    token: Vec<u8>,
    began: Spot,
    /// Bytes of a byte order mark that have come.
    marks: usize,
    lines: u64,
    columns: u64,
    problem: Option<Problem>,
    twice: Vec<(Spot, String)>,
    shape: Shape,
}

impl Reader {
    pub(super) fn new(dialect: Dialect, shape: Shape) -> Self {
        Self {
            dialect,
            state: State::Value { may_close: false },
            after_comment: State::Done,
            open: Vec::new(),
            keys: 0,
            hasher: RandomState::new(),
            token: Vec::new(),
            began: Spot { line: 1, column: 1 },
            marks: 0,
            lines: 0,
            columns: 0,
            problem: None,
            twice: Vec::new(),
            shape,
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.state == State::Failed {
                return;
            }
            if let State::Text {
                quote,
                is_key,
                is_escaped: false,
            } = self.state
            {
                // Most bytes stand in texts, and most of those mean nothing.
                let plain = |byte: &u8| *byte != quote && *byte != b'\\' && *byte >= 0x20;
                let length = bytes.iter().take_while(|byte| plain(byte)).count();
                if length > 0 {
                    let (text, after) = bytes.split_at(length);
                    self.columns += characters(text);
                    if is_key {
                        self.keep(text);
                    }
                    bytes = after;
                    continue;
                }
            }
            // The second of two blanks never means anything.
            if *first == b' ' {
                let blanks = bytes.iter().take_while(|byte| **byte == b' ').count();
                self.step(b' ');
                self.columns += blanks as u64;
                bytes = &bytes[blanks..];
                continue;
            }
            self.step(*first);
            if *first == b'\n' {
                self.lines += 1;
                self.columns = 0;
            } else {
                self.columns += u64::from(first & 0xC0 != 0x80);
            }
            bytes = rest;
        }
    }

    /// What is wrong, the keys that come twice, and what the outermost object holds.
    pub(super) fn finish(mut self) -> (Option<Problem>, Vec<(Spot, String)>, Shape) {
        if let State::Bare { .. } = self.state {
            self.end_of_bare();
        }
        if self.state == State::LineComment {
            self.state = self.after_comment;
        }
        let is_empty = matches!(self.state, State::Value { .. }) && self.open.is_empty();
        match self.state {
            State::Done | State::Failed => {}
            _ if is_empty && self.dialect == Dialect::Lines => {}
            _ if is_empty => self.fail("the file holds no value"),
            _ => self.fail("the text ends in the middle"),
        }
        (self.problem, self.twice, self.shape)
    }

    fn here(&self) -> Spot {
        Spot {
            line: self.lines + 1,
            column: self.columns + 1,
        }
    }

    fn fail(&mut self, message: impl Into<String>) {
        self.fail_at(self.here(), message);
    }

    fn fail_at(&mut self, spot: Spot, message: impl Into<String>) {
        self.state = State::Failed;
        self.open.clear();
        self.problem.get_or_insert(Problem {
            spot,
            message: message.into(),
            kind: ProblemKind::Syntax,
        });
    }

    fn unexpected(&mut self, byte: u8, expected: &str) {
        let found = match byte {
            b'!'..=b'~' => format!("`{}`", char::from(byte)),
            b'\n' | b'\r' => "the end of the line".to_owned(),
            0x80.. => "another character".to_owned(),
            _ => "a blank or control character".to_owned(),
        };
        self.fail(format!("expected {expected}, found {found}"));
    }

    fn is_loose(&self) -> bool {
        matches!(self.dialect, Dialect::Comments | Dialect::Json5)
    }

    fn step(&mut self, byte: u8) {
        match self.state {
            State::Text {
                quote,
                is_key,
                is_escaped,
            } => {
                self.step_in_text((quote, is_key, is_escaped), byte);
            }
            State::Digits {
                quote,
                is_key,
                left,
            } => match (byte.is_ascii_hexdigit(), left) {
                (false, _) => self.unexpected(byte, "four hexadecimal digits"),
                (true, left) => {
                    self.keep(&[byte]);
                    self.state = match left {
                        1 => State::Text {
                            quote,
                            is_key,
                            is_escaped: false,
                        },
                        left => State::Digits {
                            quote,
                            is_key,
                            left: left - 1,
                        },
                    };
                }
            },
            State::Bare { .. } => match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b']' | b'}' | b'[' | b'{' | b'/'
                | b'"' | b'\'' => {
                    self.end_of_bare();
                    if self.state != State::Failed {
                        self.step(byte);
                    }
                }
                byte => self.keep(&[byte]),
            },
            State::Slash => match byte {
                b'/' => self.state = State::LineComment,
                b'*' => self.state = State::Comment { is_starred: false },
                byte => self.unexpected(byte, "a comment"),
            },
            State::LineComment if byte == b'\n' => self.state = self.after_comment,
            State::LineComment | State::Failed => {}
            State::Comment { is_starred: true } if byte == b'/' => self.state = self.after_comment,
            State::Comment { .. } => {
                let is_starred = byte == b'*';
                self.state = State::Comment { is_starred };
            }
            _ => self.step_between(byte),
        }
    }

    fn step_in_text(&mut self, (quote, is_key, is_escaped): (u8, bool, bool), byte: u8) {
        let is_json5 = self.dialect == Dialect::Json5;
        self.keep(&[byte]);
        let after = State::Text {
            quote,
            is_key,
            is_escaped: false,
        };
        self.state = match (is_escaped, byte) {
            (true, b'u') => State::Digits {
                quote,
                is_key,
                left: 4,
            },
            (true, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => after,
            (true, _) if is_json5 => after,
            (true, byte) => return self.unexpected(byte, "an escape"),
            (false, b'\\') => State::Text {
                quote,
                is_key,
                is_escaped: true,
            },
            (false, byte) if byte == quote => {
                self.token.pop();
                return self.end_of_text(is_key);
            }
            (false, byte) if byte < 0x20 && !(is_json5 && byte == b'\t') => {
                return self.unexpected(byte, "the end of the text");
            }
            (false, _) => after,
        };
    }

    /// Between tokens.
    fn step_between(&mut self, byte: u8) {
        let is_inside = !self.open.is_empty();
        match (byte, self.state) {
            (b'\n', _) if self.dialect == Dialect::Lines => match (is_inside, self.state) {
                (true, _) => self.unexpected(byte, "the rest of the value"),
                (false, _) => self.state = State::Value { may_close: false },
            },
            (b' ' | b'\t' | b'\n' | b'\r', _) => {}
            // Whatever else Unicode calls a blank, JSON5 does too; of these, the usual ones.
            (0x0b | 0x0c, _) if self.dialect == Dialect::Json5 => {}
            (b'/', _) if self.is_loose() => {
                self.after_comment = self.state;
                self.state = State::Slash;
            }
            (0xef | 0xbb | 0xbf, State::Value { .. }) if self.takes_mark(byte) => {}
            (byte, State::Value { may_close }) => self.step_at_value(byte, may_close),
            (b'}', State::Key { may_close: true }) => self.close(),
            (b'"', State::Key { .. }) => self.begin_text(byte, true),
            (b'\'', State::Key { .. }) if self.dialect == Dialect::Json5 => {
                self.begin_text(byte, true);
            }
            (byte, State::Key { .. }) if self.dialect == Dialect::Json5 && is_bare(byte) => {
                self.begin_bare(byte, true);
            }
            (byte, State::Key { .. }) => self.unexpected(byte, "a key in double quotes"),
            (b':', State::Colon) => self.state = State::Value { may_close: false },
            (byte, State::Colon) => self.unexpected(byte, "`:`"),
            (b',', State::Comma) => {
                let may_close = self.is_loose();
                let is_object = self.open.last().is_some_and(|open| open.is_object);
                self.state = match is_object {
                    true => State::Key { may_close },
                    false => State::Value { may_close },
                };
            }
            (b'}', State::Comma) if self.open.last().is_some_and(|open| open.is_object) => {
                self.close();
            }
            (b']', State::Comma) if self.open.last().is_some_and(|open| !open.is_object) => {
                self.close();
            }
            (byte, State::Comma) => {
                let is_object = self.open.last().is_some_and(|open| open.is_object);
                let expected = if is_object {
                    "`,` or `}`"
                } else {
                    "`,` or `]`"
                };
                self.unexpected(byte, expected);
            }
            (byte, _) if self.dialect == Dialect::Lines => {
                self.unexpected(byte, "the end of the line");
            }
            (_, _) => self.fail("something follows the value"),
        }
    }

    fn step_at_value(&mut self, byte: u8, may_close: bool) {
        match byte {
            b'{' | b'[' => self.begin(byte == b'{'),
            b']' if may_close => self.close(),
            b'"' => self.begin_text(byte, false),
            b'\'' if self.dialect == Dialect::Json5 => self.begin_text(byte, false),
            byte if is_bare(byte) => self.begin_bare(byte, false),
            byte => self.unexpected(byte, "a value"),
        }
    }

    /// Whether a byte is the next of a mark that begins the text.
    fn takes_mark(&mut self, byte: u8) -> bool {
        const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
        let is_next =
            self.lines == 0 && self.open.is_empty() && MARK.get(self.marks) == Some(&byte);
        self.marks += usize::from(is_next);
        is_next
    }

    fn begin(&mut self, is_object: bool) {
        if self.open.len() >= NESTING_MAX {
            self.fail(format!("nested more than {NESTING_MAX} deep"));
            if let Some(problem) = &mut self.problem {
                problem.kind = ProblemKind::Nesting;
            }
            return;
        }
        if self.open.is_empty() {
            self.shape.is_object = is_object;
        }
        let keys = HashSet::default();
        self.open.push(Open { is_object, keys });
        self.state = match is_object {
            true => State::Key { may_close: true },
            false => State::Value { may_close: true },
        };
    }

    fn close(&mut self) {
        if let Some(closed) = self.open.pop() {
            self.keys -= closed.keys.len();
        }
        self.after_value();
    }

    fn after_value(&mut self) {
        self.state = match self.open.is_empty() {
            true => State::Done,
            false => State::Comma,
        };
    }

    fn begin_text(&mut self, quote: u8, is_key: bool) {
        self.token.clear();
        self.began = self.here();
        self.state = State::Text {
            quote,
            is_key,
            is_escaped: false,
        };
    }

    fn begin_bare(&mut self, byte: u8, is_key: bool) {
        self.token.clear();
        self.began = self.here();
        self.keep(&[byte]);
        self.state = State::Bare { is_key };
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = TOKEN_BYTES_MAX - self.token.len();
        self.token
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_of_text(&mut self, is_key: bool) {
        match is_key {
            true => self.end_of_key(),
            false => self.after_value(),
        }
    }

    fn end_of_bare(&mut self) {
        let State::Bare { is_key } = self.state else {
            return;
        };
        if is_key {
            return self.end_of_key();
        }
        let is_json5 = self.dialect == Dialect::Json5;
        let is_value = matches!(&self.token[..], b"true" | b"false" | b"null")
            || is_number(&self.token)
            || (is_json5 && is_json5_number(&self.token));
        match is_value {
            true => self.after_value(),
            false => {
                // Never the word itself: what stands unquoted where a value should be may be one.
                self.fail_at(self.began, "expected a value, found a word");
            }
        }
    }

    fn end_of_key(&mut self) {
        self.state = State::Colon;
        let key = unescaped(&self.token);
        let depth = self.open.len();
        let Some(open) = self.open.last_mut() else {
            return;
        };
        self.shape.see(depth, &key);
        if self.keys >= KEYS_MAX || self.token.len() >= TOKEN_BYTES_MAX {
            return;
        }
        if open.keys.insert(self.hasher.hash_one(&*key)) {
            self.keys += 1;
        } else if self.twice.len() < TWICE_MAX {
            self.twice.push((self.began, key.into_owned()));
        }
    }
}

/// Whether a byte may begin a number, a word, or a key without quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_' | b'$' | 0x80..)
}

/// A key as it is meant, where it is spelled with escapes.
fn unescaped(token: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(token);
    let unescaped = memchr::memchr(b'\\', token).map(|_| format!("\"{text}\""));
    let unescaped = unescaped.and_then(|quoted| serde_json::from_str(&quoted).ok());
    unescaped.map_or(text, Cow::Owned)
}

/// RFC 8259, section 6.
fn is_number(token: &[u8]) -> bool {
    let rest = token.strip_prefix(b"-").unwrap_or(token);
    let digits = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// What JSON5 allows besides: signs, hexadecimal digits, dots at either end, and words.
fn is_json5_number(token: &[u8]) -> bool {
    let rest = match token {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    };
    if let [b'0', b'x' | b'X', digits @ ..] = rest {
        return !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    }
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let begins = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    matches!(text, "Infinity" | "NaN")
        || (rest.first().is_some_and(begins) && text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests;
