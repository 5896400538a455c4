//! Texts inside texts: runs of base64 and hexadecimal digits, wide characters among bytes, and
//! stretches with escapes of URLs, programming languages, HTML and mail. Finds them in one pass and
//! decodes each; knows no rule.

use std::ops::Range;
use std::sync::LazyLock;

use super::compression::Compression;
use super::runs::{ByteSet, DIGITS_MIN, Text};

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;

/// The shortest run of base64 digits that is decoded: fifteen bytes.
const BASE64_CHARS_MIN: usize = DIGITS_MIN;
/// The shortest run of hexadecimal digits that is decoded: sixteen bytes.
const HEX_CHARS_MIN: usize = 32;
/// The shortest run of wide characters.
const WIDE_CHARS_MIN: usize = 12;
/// The shortest line of a run that goes over several lines.
const WRAPPED_CHARS_MIN: usize = 40;
/// How many decoded bytes decide whether the rest is worth decoding.
const TRIAL_BYTES: usize = 12;
/// Escapes this near belong to one stretch.
const STRETCH_GAP_BYTES: usize = 160;
/// How much around its escapes belongs to a stretch, within the line.
const STRETCH_MARGIN_BYTES: usize = 160;
/// The longest stretch: more of them follow.
const STRETCH_BYTES_MAX: usize = 1 << 14;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Encoding {
    /// RFC 4648, either alphabet, padded or not.
    Base64,
    /// Pairs of hexadecimal digits.
    Hex,
    /// Characters of two bytes, of which one is zero.
    Wide,
    /// `%2f`, RFC 3986.
    Percent,
    /// `\u0022`, `\x22`, `\/`: JSON and programming languages.
    Backslash,
    /// `&quot;`, `&#34;`, `&#x22;`.
    Entity,
    /// `=3D`, RFC 2045.
    QuotedPrintable,
}

/// A decoded text.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Where it stands, encoded.
    pub(super) range: Range<usize>,
    /// How.
    pub(super) encoding: Encoding,
    /// What it says.
    pub(super) text: Vec<u8>,
    origins: Origins,
}

/// Where the bytes of a decoded text come from, counted from where the encoded one begins. The same for
/// any part of a longer text, so that nothing is told twice, or by nobody.
#[derive(Debug)]
enum Origins {
    /// One for each byte.
    Each(Vec<u32>),
    /// Digits on lines of one length.
    Digits {
        /// So many digits hold so many bytes.
        per_bytes: (usize, usize),
        line_length: usize,
        line_starts: Vec<u32>,
    },
}

impl Encoding {
    /// The word in reports.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Wide => "utf-16",
            Self::Percent => "percent",
            Self::Backslash => "escape",
            Self::Entity => "html",
            Self::QuotedPrintable => "quoted-printable",
        }
    }
}

impl Decoded {
    /// Where in the encoded text a byte of the decoded one comes from.
    pub(super) fn origin(&self, at: usize) -> usize {
        let origin = match &self.origins {
            Origins::Each(origins) => origins.get(at).map(|origin| *origin as usize),
            Origins::Digits {
                per_bytes: (digits, bytes),
                line_length,
                line_starts,
            } => {
                let digit = at * digits / bytes;
                let line = line_starts.get(digit / line_length);
                line.map(|start| *start as usize + digit % line_length)
            }
        };
        origin.map_or(self.range.end, |origin| self.range.start + origin)
    }
}

/// Everything encoded in a text that decodes to something readable, sorted by place.
///
/// `digits_before` is how many digits of a run that the text begins in stand before the text.
pub(super) fn decode_all(text: &Text<'_>, digits_before: usize) -> Vec<Decoded> {
    let mut found = Vec::new();
    digit_runs(text, digits_before, &mut found);
    let text = text.bytes;
    if memchr::memchr(0, text).is_some() {
        wide(text, &mut found);
    }
    stretches(text, &mut found);
    found.sort_by_key(|decoded| (decoded.range.start, decoded.range.end));
    found
}

/// How many digits a text ends with.
pub(super) fn digits_at_end(text: &[u8]) -> usize {
    let digits = text.iter().rev().take_while(|byte| is_digit_64(**byte));
    digits.count()
}

fn is_digit_64(byte: u8) -> bool {
    ByteSet::DIGITS.has(byte)
}

/// Runs of digits, the lines of a wrapped one together.
fn digit_runs(text: &Text<'_>, digits_before: usize, found: &mut Vec<Decoded>) {
    let (runs, text) = (&text.digits, text.bytes);
    // Groups of four digits begin where the run does.
    let goes_on = text.first().is_some_and(|byte| is_digit_64(*byte));
    let mut at = match goes_on {
        true => digits_before.next_multiple_of(4) - digits_before,
        false => 0,
    };
    let mut lines_end = 0;
    for known in runs {
        let (start, end) = (known.start.max(at), known.end);
        if end < start + BASE64_CHARS_MIN {
            continue;
        }
        let run = &text[start..end];
        let is_hex = run.len() >= HEX_CHARS_MIN
            && run.len().is_multiple_of(2)
            && run.iter().all(u8::is_ascii_hexdigit);
        let hex = is_hex.then(|| hex_of(run)).flatten();
        let decoded = match hex {
            Some(decoded) => Some((Encoding::Hex, decoded, Lines::one(run.len()))),
            None => base64_at(text, start..end, &mut lines_end)
                .map(|(decoded, lines)| (Encoding::Base64, decoded, lines)),
        };
        if let Some((encoding, decoded, lines)) = decoded {
            at = start + lines.end;
            found.push(Decoded {
                range: start..at,
                encoding,
                text: decoded,
                origins: Origins::Digits {
                    per_bytes: match encoding {
                        Encoding::Hex => (2, 1),
                        _ => (4, 3),
                    },
                    line_length: lines.length,
                    line_starts: lines.starts,
                },
            });
        }
    }
}

/// The lines of a run of digits, counted from where it begins.
struct Lines {
    /// Digits of each but the last.
    length: usize,
    starts: Vec<u32>,
    /// Where the last one ends.
    end: usize,
}

impl Lines {
    fn one(length: usize) -> Self {
        Self {
            length,
            starts: vec![0],
            end: length,
        }
    }
}

fn run_end(text: &[u8], start: usize) -> usize {
    let length = text[start..].iter().position(|byte| !is_digit_64(*byte));
    length.map_or(text.len(), |length| start + length)
}

/// The lines of one length that a run goes on over, the last of which may be shorter.
fn wrapped(text: &[u8], run: &Range<usize>) -> Lines {
    let mut lines = Lines::one(run.len());
    if lines.length < WRAPPED_CHARS_MIN || !lines.length.is_multiple_of(4) {
        return lines;
    }
    loop {
        let end = run.start + lines.end;
        let gap = text[end..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace());
        let next = end + gap.count().min(32);
        if next == end || next >= text.len() {
            return lines;
        }
        let next_end = run_end(text, next);
        if !(1..=lines.length).contains(&(next_end - next)) {
            return lines;
        }
        lines.starts.push((next - run.start) as u32);
        lines.end = next_end - run.start;
        if next_end - next < lines.length {
            return lines;
        }
    }
}

/// Padded or not, whatever the last bits are.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
static URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What a run says, with the lines that it goes on over if they say something together. Before `lines_end`
/// they are known not to: looking at them from each of their lines would take a square of their number.
fn base64_at(text: &[u8], run: Range<usize>, lines_end: &mut usize) -> Option<(Vec<u8>, Lines)> {
    // Most runs are names and digests; a few bytes tell.
    let mut trial = [0; TRIAL_BYTES];
    let digits = text[run.clone()].get(..TRIAL_BYTES / 3 * 4)?;
    engine_of(digits)?.decode_slice(digits, &mut trial).ok()?;
    if !is_promising(&trial) {
        return None;
    }
    if run.start >= *lines_end {
        let lines = wrapped(text, &run);
        let end = run.start + lines.end;
        let decoded = base64_of(&text[run.start..end]);
        if decoded.is_some() || end == run.end {
            return decoded.zip(Some(lines));
        }
        *lines_end = end;
    }
    let decoded = base64_of(&text[run.clone()]);
    decoded.zip(Some(Lines::one(run.len())))
}

/// What decodes digits of one alphabet; `None` where they are of both.
fn engine_of(digits: &[u8]) -> Option<&'static GeneralPurpose> {
    let has = |either: [u8; 2]| digits.iter().any(|byte| either.contains(byte));
    match has(*b"-_") {
        true if has(*b"+/") => None,
        true => Some(&URL_SAFE),
        false => Some(&STANDARD),
    }
}

fn base64_of(run: &[u8]) -> Option<Vec<u8>> {
    let engine = engine_of(run)?;
    let mut digits: Vec<u8> = run
        .iter()
        .copied()
        .filter(|byte| is_digit_64(*byte))
        .collect();
    // A single digit at the end holds no byte.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    engine.decode(digits).ok()
}

fn hex_of(run: &[u8]) -> Option<Vec<u8>> {
    let trial = hex::decode(run.get(..TRIAL_BYTES * 2)?).ok()?;
    is_promising(&trial)
        .then(|| hex::decode(run).ok())
        .flatten()
}

/// Whether the first decoded bytes are text, wide text, or begin something compressed.
fn is_promising(trial: &[u8]) -> bool {
    // The text may begin within a character.
    let inside = trial
        .iter()
        .take(3)
        .take_while(|byte| (0x80..=0xbf).contains(*byte));
    let trial = &trial[inside.count()..];
    let is_text =
        |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0xc2..=0xf4 | 0x80..=0xbf);
    let is_compressed = Compression::of(trial).is_some();
    let zeros = trial.iter().filter(|byte| **byte == 0).count();
    let others = trial.iter().filter(|byte| **byte != 0);
    let ascii = trial
        .iter()
        .filter(|byte| (0x20..0x7f).contains(*byte))
        .count();
    is_compressed
        || (std::str::from_utf8(trial).map_or_else(|error| error.error_len().is_none(), |_| true)
            && trial.iter().all(is_text)
            && ascii * 2 > trial.len())
        || (zeros.abs_diff(trial.len() / 2) <= 1
            && others.clone().count() > 2
            && others.clone().all(is_text))
}

/// Runs of characters with a zero behind each: UTF-16 among other bytes.
fn wide(text: &[u8], found: &mut Vec<Decoded>) {
    let is_wide = |at: usize| {
        matches!(
            text.get(at..at + 2),
            Some([b'\t' | b'\n' | b'\r' | 0x20..=0x7e, 0])
        )
    };
    let mut at = 0;
    while let Some(zero) = memchr::memchr(0, &text[at..]) {
        let start = (at + zero).saturating_sub(1);
        let mut end = start;
        while is_wide(end) {
            end += 2;
        }
        if end - start >= 2 * WIDE_CHARS_MIN {
            found.push(Decoded {
                range: start..end,
                encoding: Encoding::Wide,
                text: text[start..end].iter().copied().step_by(2).collect(),
                origins: Origins::Each((0..end - start).step_by(2).map(|at| at as u32).collect()),
            });
        }
        // What follows a zero is no character, as long as it is one.
        let zeros = text[at + zero..].iter().take_while(|byte| **byte == 0);
        at = end.max(at + zero + zeros.count());
    }
}

/// An escape at a place: which encoding, how many bytes it takes, and the character.
fn escape_at(text: &[u8], at: usize) -> Option<(Encoding, usize, char)> {
    let number = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok()?;
        let number = u32::from_str_radix(digits, radix).ok()?;
        char::from_u32(number)
    };
    let rest = &text[at..];
    let found = match rest {
        [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
            (Encoding::Percent, 3, number(&rest[1..3], 16)?)
        }
        [b'\\', b'u' | b'U', b'{', ..] => {
            let close = rest.iter().take(10).position(|byte| *byte == b'}')?;
            (Encoding::Backslash, close + 1, number(&rest[3..close], 16)?)
        }
        [b'\\', b'u', _, _, _, _, ..] => (Encoding::Backslash, 6, number(&rest[2..6], 16)?),
        [b'\\', b'x', _, _, ..] => (Encoding::Backslash, 4, number(&rest[2..4], 16)?),
        [b'\\', b'/', ..] => (Encoding::Backslash, 2, '/'),
        [b'=', a, b, ..] if is_upper_hex(*a) && is_upper_hex(*b) => {
            (Encoding::QuotedPrintable, 3, number(&rest[1..3], 16)?)
        }
        [b'=', b'\r', b'\n', ..] => (Encoding::QuotedPrintable, 3, '\0'),
        [b'=', b'\n', ..] => (Encoding::QuotedPrintable, 2, '\0'),
        [b'&', ..] => {
            let close = rest.iter().take(12).position(|byte| *byte == b';')?;
            let character = match &rest[1..close] {
                b"quot" => '"',
                b"apos" => '\'',
                b"amp" => '&',
                b"lt" => '<',
                b"gt" => '>',
                b"equals" => '=',
                b"colon" => ':',
                b"nbsp" => ' ',
                [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
                [b'#', digits @ ..] => number(digits, 10)?,
                _ => return None,
            };
            (Encoding::Entity, close + 1, character)
        }
        _ => return None,
    };
    Some(found)
}

fn is_upper_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

/// Stretches of a line, or of a few, that have escapes of one kind.
fn stretches(text: &[u8], found: &mut Vec<Decoded>) {
    const KINDS: [Encoding; 4] = [
        Encoding::Percent,
        Encoding::Backslash,
        Encoding::Entity,
        Encoding::QuotedPrintable,
    ];
    let mut open: [Option<Range<usize>>; KINDS.len()] = Default::default();
    static EQUALS_SIGN: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new("=3D"));
    let has_equals_escape = EQUALS_SIGN.find(text).is_some();
    let mut note = |at: usize| {
        let Some((encoding, length, _)) = escape_at(text, at) else {
            return 1;
        };
        let Some(kind) = KINDS.iter().position(|kind| *kind == encoding) else {
            return length;
        };
        let escape = at..at + length;
        match &mut open[kind] {
            Some(stretch)
                if escape.start - stretch.end <= STRETCH_GAP_BYTES
                    && escape.end - stretch.start <= STRETCH_BYTES_MAX =>
            {
                stretch.end = escape.end;
            }
            stretch => {
                if let Some(done) = stretch.replace(escape) {
                    found.extend(unescape(text, done, encoding));
                }
            }
        }
        length
    };
    let mut at = 0;
    while let Some(next) = memchr::memchr3(b'%', b'\\', b'&', &text[at..]) {
        at += next;
        at += note(at);
    }
    // Only mail has these, and `=` is everywhere.
    if has_equals_escape {
        for at in memchr::memchr_iter(b'=', text) {
            note(at);
        }
    }
    for (stretch, encoding) in open.into_iter().zip(KINDS) {
        found.extend(stretch.and_then(|stretch| unescape(text, stretch, encoding)));
    }
}

/// Decodes the escapes of one kind in a stretch and a little around it.
fn unescape(text: &[u8], stretch: Range<usize>, encoding: Encoding) -> Option<Decoded> {
    let margin = stretch.start.saturating_sub(STRETCH_MARGIN_BYTES);
    let line = memchr::memrchr(b'\n', &text[margin..stretch.start]);
    let start = line.map_or(margin, |at| margin + at + 1);
    let margin = (stretch.end + STRETCH_MARGIN_BYTES).min(text.len());
    let line = memchr::memchr(b'\n', &text[stretch.end..margin]);
    let end = line.map_or(margin, |at| stretch.end + at);
    let mut out = Vec::with_capacity(end - start);
    let mut origins = Vec::with_capacity(end - start);
    let mut at = start;
    while at < end {
        let mut utf8 = [0; 4];
        let (length, bytes): (usize, &[u8]) = match escape_at(text, at) {
            Some((found, length, '\0')) if found == encoding => (length, &[]),
            // In URLs and mail the escapes are bytes.
            Some((found, length, character)) if found == encoding => match encoding {
                Encoding::Percent | Encoding::QuotedPrintable => {
                    utf8[0] = u8::try_from(u32::from(character)).ok()?;
                    (length, &utf8[..1])
                }
                _ => (length, character.encode_utf8(&mut utf8).as_bytes()),
            },
            _ => (1, &text[at..=at]),
        };
        out.extend_from_slice(bytes);
        origins.resize(out.len(), u32::try_from(at - start).ok()?);
        at += length;
    }
    Some(Decoded {
        range: start..end,
        encoding,
        text: out,
        origins: Origins::Each(origins),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    /// Long enough to be encoded over several lines.
    const SAID: &str =
        "the quick brown fox jumps over the lazy dog, said=\"nobody\" & went home / slept";

    fn decoded(text: &str) -> Vec<(Encoding, String)> {
        let all = decode_all(&Text::new(text.as_bytes()), 0).into_iter();
        all.map(|one| {
            (
                one.encoding,
                String::from_utf8_lossy(&one.text).into_owned(),
            )
        })
        .collect()
    }

    #[test]
    fn every_encoding_is_found_and_undone() {
        let wrapped = STANDARD.encode(SAID);
        let wrapped: Vec<&str> = wrapped
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let each = |format: fn(u8) -> String| SAID.bytes().map(format).collect::<String>();
        for (encoding, text) in [
            (
                Encoding::Base64,
                format!("data: {};", STANDARD.encode(SAID)),
            ),
            (Encoding::Base64, URL_SAFE_NO_PAD.encode(SAID)),
            (
                Encoding::Base64,
                format!("key:\n  {}\n", wrapped.join("\n  ")),
            ),
            (Encoding::Hex, hex::encode(SAID)),
            (Encoding::Percent, each(|byte| format!("%{byte:02x}"))),
            (Encoding::Backslash, each(|byte| format!("\\x{byte:02x}"))),
            (Encoding::Backslash, each(|byte| format!("\\u{byte:04x}"))),
            (Encoding::Entity, each(|byte| format!("&#{byte};"))),
            (
                Encoding::QuotedPrintable,
                each(|byte| format!("={byte:02X}")),
            ),
            (
                Encoding::Wide,
                each(|byte| format!("{}\0", char::from(byte))),
            ),
        ] {
            let found = decoded(&text);
            assert!(
                found
                    .iter()
                    .any(|(as_what, said)| *as_what == encoding && said.contains(SAID)),
                "{encoding:?} {text}: {found:?}"
            );
        }
    }

    #[test]
    fn digests_names_and_pictures_are_left_alone() {
        for text in [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709da39a3ee5e6b4b0d",
            "some/long/path/to_a/file-of_mine/inside/of_something",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
            "SomeVeryLongIdentifierOfAClassThatImplementsAnInterface",
        ] {
            assert!(decoded(text).is_empty(), "{text}: {:?}", decoded(text));
        }
    }

    /// Whoever looks at the rest of the file from each of its lines does not come to an end.
    #[test]
    fn lines_that_say_nothing_together_are_decoded_one_by_one() {
        let line = STANDARD.encode("a line of text that is as long as mail allows, to this");
        assert!(line.len() == 72 && line.bytes().all(is_digit_64));
        // Of both alphabets.
        let odd = format!("{}+-{}\n", &line[..35], &line[37..]);
        let text = format!("{line}\n").repeat(40_000) + &odd + &format!("{line}\n").repeat(40_000);
        let all = decode_all(&Text::new(text.as_bytes()), 0);
        assert_eq!(all.len(), 80_000);
        assert!(
            all.iter()
                .all(|one| one.text.starts_with(b"a line of text"))
        );
        // And what nobody reads is passed over line by line.
        let nothing = format!("{}\n", STANDARD.encode([0xff; 57])).repeat(80_000);
        assert!(decode_all(&Text::new(nothing.as_bytes()), 0).is_empty());
    }

    #[test]
    fn a_decoded_byte_knows_where_it_came_from() {
        let text = "a = \"x%41y\"";
        let all = decode_all(&Text::new(text.as_bytes()), 0);
        assert_eq!(all[0].text, b"a = \"xAy\"");
        assert_eq!(all[0].origin(6), 6);
        assert_eq!(all[0].origin(7), 9);
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down_and_places_are_inside(text in proptest::collection::vec(prop_oneof![Just(b'%'), Just(b'\\'), Just(b'&'), Just(b'='), Just(0), any::<u8>()], 0..300)) {
            for one in decode_all(&Text::new(&text), 0) {
                prop_assert!(one.range.end <= text.len());
                prop_assert!(one.origin(one.text.len().saturating_sub(1)) < text.len().max(1));
            }
        }
    }
}
