//! A text, line by line, of which some deceive. Comes piece by piece; a line that is longer than
//! any that people write is looked at in parts.

use super::super::notes::{Notes, Spot, characters};
use super::unseen::{self, Deceit};
use super::{BIDI, HIDDEN_TEXT, HOMOGLYPH, INVISIBLE};
use crate::base::severity::Severity;

/// The longest part of a line that is looked at at once, bytes.
const PART_BYTES_MAX: usize = 1 << 14;
/// How many findings of a file are told; who has more knows enough.
const TOLD_MAX: usize = 20;

/// Extensions of programs' texts.
const CODE: [&str; 64] = [
    "adb", "ads", "asm", "awk", "bash", "bat", "c", "cc", "cjs", "clj", "cmake", "cmd", "cpp",
    "cs", "cu", "cxx", "dart", "erl", "ex", "exs", "f90", "fs", "gd", "glsl", "go", "gradle",
    "groovy", "h", "hh", "hlsl", "hpp", "hs", "java", "jl", "js", "jsx", "kt", "kts", "lua", "m",
    "mjs", "ml", "nim", "php", "pl", "pm", "ps1", "py", "pyi", "r", "rb", "rs", "s", "scala", "sh",
    "sol", "sql", "swift", "tf", "ts", "tsx", "vue", "zig", "zsh",
];

/// A text on its way through.
pub(super) struct Lines {
    /// Whether it is a program: other texts may turn the direction of writing, and mix alphabets,
    /// as their languages do.
    is_code: bool,
    /// The line that has not ended yet, or its last part.
    open: Vec<u8>,
    /// Lines before it.
    lines: u64,
    /// Characters of it before its last part.
    columns: u64,
    told: usize,
}

impl Lines {
    pub(super) fn new(head: &[u8], extension: &str) -> Self {
        Self {
            is_code: CODE.contains(&extension) || head.starts_with(b"#!"),
            open: Vec::new(),
            lines: 0,
            columns: 0,
            told: 0,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], notes: &mut Notes<'_>) {
        if bytes.is_ascii() && self.open.is_ascii() {
            // Nothing deceives here: on to the last line.
            if let Some(last) = memchr::memrchr(b'\n', bytes) {
                self.lines += memchr::memchr_iter(b'\n', &bytes[..=last]).count() as u64;
                self.open.clear();
                self.columns = 0;
                bytes = &bytes[last + 1..];
            }
        }
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let room = PART_BYTES_MAX - self.open.len();
            let taken = end.unwrap_or(bytes.len()).min(room);
            self.open.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if end == Some(taken) {
                bytes = &bytes[1..];
                self.part(notes);
                self.lines += 1;
                self.columns = 0;
            } else if self.open.len() == PART_BYTES_MAX {
                self.part(notes);
            }
        }
    }

    pub(super) fn finish(mut self, notes: &mut Notes<'_>) {
        self.part(notes);
    }

    /// Looks at what is open, and forgets it.
    fn part(&mut self, notes: &mut Notes<'_>) {
        let part = std::mem::take(&mut self.open);
        if !part.is_ascii() && self.told < TOLD_MAX && (self.is_code || may_hide(&part)) {
            let text = String::from_utf8_lossy(&part);
            for (deceit, column) in unseen::deceits(&text) {
                self.note(notes, (deceit, &text), column);
            }
        }
        self.columns += characters(&part);
        self.open = part;
        self.open.clear();
    }

    fn note(&mut self, notes: &mut Notes<'_>, (deceit, text): (Deceit, &str), column: u64) {
        let (check, severity, message) = match (deceit, self.is_code) {
            (Deceit::TurnsAround, true) => (
                BIDI,
                Severity::High,
                "what is shown here is not what runs: the direction of writing is turned",
            ),
            (Deceit::TurnsAround, false) if text.contains(['\u{202d}', '\u{202e}']) => (
                BIDI,
                Severity::Medium,
                "the direction of writing is overridden",
            ),
            (Deceit::Embeds, true) => (
                BIDI,
                Severity::Low,
                "the direction of writing is turned and turned back",
            ),
            (Deceit::HiddenText, _) => (
                HIDDEN_TEXT,
                Severity::High,
                "a run of characters that nobody sees",
            ),
            (Deceit::Filler, true) => (
                INVISIBLE,
                Severity::High,
                "a name holds a letter that nobody sees",
            ),
            (Deceit::ZeroWidth, true) => (
                INVISIBLE,
                Severity::Medium,
                "a character without width beside a name",
            ),
            (Deceit::Homoglyph, true) => (
                HOMOGLYPH,
                Severity::Medium,
                "a word mixes Latin letters with others that look like them",
            ),
            _ => return,
        };
        let spot = Spot {
            line: self.lines + 1,
            column: self.columns + column,
        };
        notes.add_as(check, severity, Some(spot), message);
        self.told += 1;
    }
}

/// Whether a text that is no program may hold what counts there: overrides, tags and selectors, by
/// the first bytes of their UTF-8.
fn may_hide(part: &[u8]) -> bool {
    let begins: [&[u8]; 4] = [b"\xe2\x80\xad", b"\xe2\x80\xae", b"\xf3\xa0", b"\xef\xb8"];
    !part.is_ascii()
        && begins
            .iter()
            .any(|begin| memchr::memmem::find(part, begin).is_some())
}
