//! A line taken apart where it stands: one pass over its bytes proves that it is a record in
//! canonical form, and finds the members that chain and seal are about. Nothing is copied.
//!
//! Knows the shape of a record and nothing of what its values mean together with other lines.

use std::cmp::Ordering;
use std::ops::Range;

use super::record::{LINE_BYTES_MAX, VERSION};
use crate::base::canon;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;

/// Why a line is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The line is longer than any this program writes.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not the canonical form of a record.
    #[error("the line is not a record: expected {expected} at byte {at}")]
    Shape {
        /// How many bytes of the line are as they should be, plus one.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
}

/// What a value must look like, in canonical JSON.
enum Shape {
    /// Any string.
    Text,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// `2026-11-23T14:06:00.123Z`.
    Time,
    /// So many lower-case hex digits.
    Hex(usize),
    /// An integer from 0 to this.
    Integer(u64),
    /// This, or null.
    Optional(&'static Shape),
    /// An array of these.
    List(&'static Shape),
    /// An object with exactly these members, sorted by name.
    Object(&'static [(&'static str, Shape)]),
    /// Any object.
    AnyObject,
}

use Shape::{AnyObject, Hex, Integer, List, Object, Optional, Text, Time, Word};

const CI: Shape = Object(&[
    ("actor", Optional(&Text)),
    ("provider", Text),
    ("ref", Optional(&Text)),
    ("run_id", Optional(&Text)),
]);

const ACTOR: Shape = Object(&[
    ("ci", Optional(&CI)),
    ("host", Text),
    ("pid", Integer(u32::MAX as u64)),
    ("uid", Integer(u32::MAX as u64)),
    ("user", Text),
]);

/// The members of a record, in the order of their names as canonical JSON has them.
const MEMBERS: [(&str, Shape); 16] = [
    ("actor", ACTOR),
    ("details", AnyObject),
    ("ended_at", Optional(&Time)),
    ("event", Text),
    ("exit_code", Optional(&Integer(u8::MAX as u64))),
    ("key_id", Optional(&Hex(16))),
    ("log_id", Hex(32)),
    ("mac", Optional(&Hex(64))),
    ("outcome", Word(&["failure", "success", "unknown"])),
    (
        "policy",
        List(&Object(&[("decision", Text), ("rule", Text)])),
    ),
    ("previous", Optional(&Hex(64))),
    (
        "resources",
        List(&Object(&[
            ("access", Text),
            ("path", Text),
            ("sha256", Optional(&Hex(64))),
        ])),
    ),
    ("sequence", Integer(canon::INTEGER_MAX)),
    ("started_at", Time),
    ("timestamp", Time),
    ("version", Word(&[VERSION])),
];

// Where in `MEMBERS` those stand that chain and seal are about.
const DETAILS: usize = 1;
const EVENT: usize = 3;
const KEY_ID: usize = 5;
const LOG_ID: usize = 6;
const MAC: usize = 7;
const PREVIOUS: usize = 10;
const SEQUENCE: usize = 12;
const TIMESTAMP: usize = 14;

/// A record in its line.
pub(super) struct Frame<'a> {
    text: &'a str,
    /// The values of the members, in their order.
    values: [Range<usize>; MEMBERS.len()],
    pub(super) sequence: u64,
    pub(super) mac: Option<Digest>,
    pub(super) previous: Option<Digest>,
}

impl<'a> Frame<'a> {
    /// Takes a line apart, without its newline.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, FrameError> {
        if line.len() >= LINE_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|error| FrameError::Shape {
            at: error.valid_up_to() + 1,
            expected: "UTF-8",
        })?;
        let mut reader = Reader { bytes: line, at: 0 };
        let mut values = [const { 0..0 }; MEMBERS.len()];
        for (index, (name, shape)) in MEMBERS.iter().enumerate() {
            reader.member(index, name)?;
            let from = reader.at;
            reader.value(shape)?;
            values[index] = from..reader.at;
        }
        reader.token(b"}", "`}`")?;
        if reader.at < line.len() {
            return Err(reader.expected("the end of the line"));
        }
        let digest = |index: usize| digest_of_hex(&line[values[index].clone()]);
        let (mac, previous) = (digest(MAC), digest(PREVIOUS));
        let sequence = text[values[SEQUENCE].clone()].parse().unwrap_or(0);
        let at = |index: usize, expected| FrameError::Shape {
            at: values[index].start + 1,
            expected,
        };
        if mac.is_some() != (values[KEY_ID].len() > "null".len()) {
            return Err(at(MAC, "a MAC together with a key"));
        }
        if sequence == 0 || previous.is_none() != (sequence == 1) {
            return Err(at(
                SEQUENCE,
                "1 in the first record, and more after a previous one",
            ));
        }
        Ok(Self {
            text,
            values,
            sequence,
            mac,
            previous,
        })
    }

    /// The text inside a string, as it is escaped; of null the letters between its ends.
    fn inside(&self, index: usize) -> &'a str {
        let value = &self.values[index];
        self.text
            .get(value.start + 1..value.end - 1)
            .unwrap_or_default()
    }

    pub(super) fn event(&self) -> &'a str {
        self.inside(EVENT)
    }

    pub(super) fn log_id(&self) -> &'a str {
        self.inside(LOG_ID)
    }

    /// The instant that the record speaks of, without its fraction of a second; `None` where
    /// there is no such day or hour.
    pub(super) fn instant(&self) -> Option<Timestamp> {
        let seconds = self.inside(TIMESTAMP).get(..19)?;
        Timestamp::parse(&format!("{seconds}Z")).ok()
    }

    /// Which key made the MAC.
    pub(super) fn key_id(&self) -> Option<&'a str> {
        self.mac.map(|_| self.inside(KEY_ID))
    }

    /// The object, in canonical JSON.
    pub(super) fn details(&self) -> &'a str {
        &self.text[self.values[DETAILS].clone()]
    }

    /// The canonical form of the record without `mac`, in the two parts around that member.
    pub(super) fn sealed_parts(&self) -> (&'a [u8], &'a [u8]) {
        let value = &self.values[MAC];
        let member = value.start - ",\"mac\":".len()..value.end;
        (
            &self.text.as_bytes()[..member.start],
            &self.text.as_bytes()[member.end..],
        )
    }
}

/// How deep values may be nested; serde's own bound is 128.
const DEPTH_MAX: usize = 100;

/// A position in a line; everything before it is canonical.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn expected(&self, expected: &'static str) -> FrameError {
        FrameError::Shape {
            at: self.at + 1,
            expected,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn skips(&mut self, token: &[u8]) -> bool {
        let is_there = self.rest().starts_with(token);
        self.at += if is_there { token.len() } else { 0 };
        is_there
    }

    fn token(&mut self, token: &[u8], name: &'static str) -> Result<(), FrameError> {
        match self.skips(token) {
            true => Ok(()),
            false => Err(self.expected(name)),
        }
    }

    /// `{"name":` for the first member of an object, `,"name":` for the others.
    fn member(&mut self, index: usize, name: &'static str) -> Result<(), FrameError> {
        let opening: &[u8] = if index == 0 { b"{\"" } else { b",\"" };
        let found = self.skips(opening) && self.skips(name.as_bytes()) && self.skips(b"\":");
        if found {
            Ok(())
        } else {
            Err(self.expected(name))
        }
    }

    fn value(&mut self, shape: &Shape) -> Result<(), FrameError> {
        match shape {
            Text => self.string().map(|_| ()),
            Word(words) => {
                let string = self.string()?;
                let known = words.iter().any(|word| word.as_bytes() == string);
                self.unless(!known, "a known word")
            }
            Time => {
                let string = self.string()?;
                self.unless(!is_time(string), "a time before this")
            }
            Hex(digits) => {
                let string = self.string()?;
                let is_hex = string
                    .iter()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                self.unless(!is_hex || string.len() != *digits, "hex digits before this")
            }
            Integer(max) => {
                let integer = self.integer()?;
                self.unless(integer > *max, "a smaller number before this")
            }
            Optional(shape) => match self.skips(b"null") {
                true => Ok(()),
                false => self.value(shape),
            },
            List(shape) => self.list(|reader| reader.value(shape)),
            Object(members) => {
                for (index, (name, shape)) in members.iter().enumerate() {
                    self.member(index, name)?;
                    self.value(shape)?;
                }
                self.token(b"}", "`}`")
            }
            AnyObject => self.object(1),
        }
    }

    fn unless(&self, is_wrong: bool, expected: &'static str) -> Result<(), FrameError> {
        if is_wrong {
            Err(self.expected(expected))
        } else {
            Ok(())
        }
    }

    /// Any value at that depth.
    fn any(&mut self, depth: usize) -> Result<(), FrameError> {
        self.unless(depth > DEPTH_MAX, "a value that is not nested deeper")?;
        match self.rest().first() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(|reader| reader.any(depth + 1)),
            Some(b'0'..=b'9') => {
                let integer = self.integer()?;
                self.unless(integer > canon::INTEGER_MAX, "a smaller number before this")
            }
            _ => match self.skips(b"null") || self.skips(b"true") || self.skips(b"false") {
                true => Ok(()),
                false => Err(self.expected("a value")),
            },
        }
    }

    fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.token(b"[", "`[`")?;
        if self.skips(b"]") {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.skips(b",") {
                return self.token(b"]", "`,` or `]`");
            }
        }
    }

    /// Any object, whose keys are all different and sorted.
    fn object(&mut self, depth: usize) -> Result<(), FrameError> {
        self.token(b"{", "`{`")?;
        if self.skips(b"}") {
            return Ok(());
        }
        let mut before: Option<&[u8]> = None;
        loop {
            let key = self.string()?;
            let is_sorted = before.is_none_or(|before| compare(before, key) == Ordering::Less);
            self.unless(!is_sorted, "a greater key before this")?;
            before = Some(key);
            self.token(b":", "`:`")?;
            self.any(depth + 1)?;
            if !self.skips(b",") {
                return self.token(b"}", "`,` or `}`");
            }
        }
    }

    /// A string in its one spelling (RFC 8785 §3.2.2.2); gives what stands between the quotes.
    fn string(&mut self) -> Result<&'a [u8], FrameError> {
        self.token(b"\"", "a string")?;
        let from = self.at;
        loop {
            let rest = self.rest();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            self.at += plain.unwrap_or(rest.len());
            match self.rest() {
                [b'"', ..] => {
                    let inside = &self.bytes[from..self.at];
                    self.at += 1;
                    return Ok(inside);
                }
                [b'\\', b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    b'0',
                    b'0'..=b'7' | b'b' | b'e' | b'f',
                    ..,
                ]
                | [b'\\', b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => self.at += 6,
                [b'\\', ..] => return Err(self.expected("an escape of canonical JSON")),
                _ => return Err(self.expected("the rest of a string")),
            }
        }
    }

    fn integer(&mut self) -> Result<u64, FrameError> {
        let digits = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let text = &self.rest()[..digits];
        let has_one_spelling = digits == 1 || text.first().is_some_and(|digit| *digit != b'0');
        // Sixteen digits hold 2^53−1 and always fit.
        if !has_one_spelling || digits > 16 {
            return Err(self.expected("an integer"));
        }
        self.at += digits;
        Ok(text
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }
}

/// Orders keys, given as they are escaped, as `canon::compare_keys` orders what they mean.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let is_plain = |key: &[u8]| key.iter().all(|byte| byte.is_ascii() && *byte != b'\\');
    if is_plain(left) && is_plain(right) {
        return left.cmp(right);
    }
    let meaning = |key: &[u8]| {
        let quoted = [b"\"", key, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).unwrap_or_default()
    };
    canon::compare_keys(&meaning(left), &meaning(right))
}

/// The digest in a string of 64 hex digits that were checked before; `None` for null. Checking
/// them again would be a tenth of all verification.
fn digest_of_hex(value: &[u8]) -> Option<Digest> {
    let (pairs, _) = value.strip_prefix(b"\"")?.as_chunks::<2>();
    let nibble = |digit: u8| match digit {
        b'a'.. => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    };
    let mut digest = Digest([0; 32]);
    for (byte, [high, low]) in digest.0.iter_mut().zip(pairs) {
        *byte = nibble(*high) << 4 | nibble(*low);
    }
    Some(digest)
}

/// Whether a text has the form of `2026-11-23T14:06:00.123Z`.
fn is_time(text: &[u8]) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
}
