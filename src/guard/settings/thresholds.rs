//! `quality_thresholds` of the policy: sizes, formats, encodings and lengths of lines.

use super::super::files;
use super::super::notes::{Notes, Spot, characters};
use super::super::wide;
use crate::base::severity::Severity;
use crate::base::units;
use crate::policy::{Encoding, QualityThresholds};

const SIZE: &str = "quality.size";
const FORMAT: &str = "quality.format";
const ENCODING: &str = "quality.encoding";
const LINE_LENGTH: &str = "quality.line_length";

#[cfg(test)]
pub(super) const CHECKS: [&str; 4] = [SIZE, FORMAT, ENCODING, LINE_LENGTH];

/// The thresholds, ready.
#[derive(Debug)]
pub(super) struct Thresholds<'p> {
    policy: &'p QualityThresholds,
    /// In lower case, each with the dot before it.
    formats: Vec<String>,
}

impl<'p> Thresholds<'p> {
    pub(super) fn new(policy: &'p QualityThresholds) -> Self {
        let formats = policy.allowed_formats.iter();
        let formats =
            formats.map(|format| format!(".{}", format.trim_start_matches('.').to_lowercase()));
        Self {
            policy,
            formats: formats.collect(),
        }
    }

    /// Judges a file by its size and name.
    pub(super) fn entry(&self, size_bytes: u64, notes: &mut Notes<'_>) {
        let least = self.policy.file_size_bytes_min;
        if size_bytes < least {
            let message = format!(
                "{} are less than `file_size_bytes_min`, {}",
                units::bytes(size_bytes),
                units::bytes(least)
            );
            notes.add(SIZE, None, message);
        }
        if let Some(most) = self
            .policy
            .file_size_bytes_max
            .filter(|most| size_bytes > *most)
        {
            let message = format!(
                "{} are more than `file_size_bytes_max`, {}",
                units::bytes(size_bytes),
                units::bytes(most)
            );
            notes.add(SIZE, None, message);
        }
        let name = notes.item().name();
        if !self.formats.is_empty() && !self.formats.iter().any(|format| name.ends_with(format)) {
            notes.add(FORMAT, None, "the format is not one of `allowed_formats`");
        }
    }

    /// Begins to look at a content; `None` where it is no text. What is to be parsed is text.
    pub(super) fn watch(
        &self,
        (head, form): (&[u8], Option<wide::Form>),
        is_parsed: bool,
    ) -> Option<Watch> {
        if form.is_none() && !is_parsed && !files::reads_as_text(head) {
            return None;
        }
        let wanted = self.policy.encoding;
        let is_it = match (wanted, form) {
            (Encoding::Any, _) => true,
            (Encoding::Utf8 | Encoding::Ascii, form) => form.is_none(),
            (Encoding::Utf16Le, form) => form == Some(wide::Form::Utf16Le),
            (Encoding::Utf16Be, form) => form == Some(wide::Form::Utf16Be),
        };
        Some(Watch {
            wanted,
            is_it: is_it || head.is_empty(),
            is_wide: form.is_some(),
            is_parsed,
            first_wrong: None,
            line_length_max: self.policy.line_length_max.unwrap_or(u64::MAX),
            first_long: None,
            lines: 0,
            columns: 0,
            ends_in_return: false,
            left: Vec::new(),
        })
    }
}

/// A text on its way through.
pub(super) struct Watch {
    wanted: Encoding,
    /// Whether it has the form of the encoding that is wanted.
    is_it: bool,
    is_wide: bool,
    is_parsed: bool,
    /// Where the first byte stands that is not of it.
    first_wrong: Option<Spot>,
    line_length_max: u64,
    first_long: Option<(u64, u64)>,
    lines: u64,
    /// Characters of the line so far.
    columns: u64,
    ends_in_return: bool,
    /// The beginning of a character whose rest has not come.
    left: Vec<u8>,
}

impl Watch {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.left.is_empty() && bytes.is_ascii() {
            return self.count(bytes);
        }
        let joined = [&std::mem::take(&mut self.left)[..], bytes].concat();
        let mut rest = &joined[..];
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(_) => rest.len(),
                Err(error) => error.valid_up_to(),
            };
            self.characters(&rest[..valid]);
            rest = &rest[valid..];
            match std::str::from_utf8(rest) {
                Ok(_) => {}
                Err(error) => match error.error_len() {
                    // The rest may come.
                    None => {
                        self.left = rest.to_vec();
                        return;
                    }
                    Some(wrong) => {
                        self.wrong();
                        self.columns += 1;
                        rest = &rest[wrong..];
                    }
                },
            }
        }
    }

    /// Counts what is UTF-8.
    fn characters(&mut self, valid: &[u8]) {
        let is_ascii_wanted = self.wanted == Encoding::Ascii && self.first_wrong.is_none();
        let other = valid.iter().position(|byte| !byte.is_ascii());
        if let Some(other) = other.filter(|_| is_ascii_wanted) {
            self.count(&valid[..other]);
            self.wrong();
            self.count(&valid[other..]);
        } else {
            self.count(valid);
        }
    }

    fn wrong(&mut self) {
        self.first_wrong.get_or_insert(Spot {
            line: self.lines + 1,
            column: self.columns + 1,
        });
    }

    fn count(&mut self, mut bytes: &[u8]) {
        if self.line_length_max == u64::MAX {
            // Only places matter then, and of those the last line's.
            if let Some(end) = memchr::memrchr(b'\n', bytes) {
                self.lines += memchr::memchr_iter(b'\n', &bytes[..=end]).count() as u64;
                self.columns = 0;
                bytes = &bytes[end + 1..];
            }
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.columns += characters(&bytes[..end]);
            // An end of a line of two bytes may come in two pieces.
            let is_two_bytes = match end.checked_sub(1) {
                Some(last) => bytes[last] == b'\r',
                None => self.ends_in_return,
            };
            self.columns -= u64::from(is_two_bytes);
            self.judge_length();
            self.lines += 1;
            self.columns = 0;
            self.ends_in_return = false;
            bytes = &bytes[end + 1..];
        }
        self.columns += characters(bytes);
        if let Some(last) = bytes.last() {
            self.ends_in_return = *last == b'\r';
        }
    }

    fn judge_length(&mut self) {
        if self.columns > self.line_length_max {
            self.first_long
                .get_or_insert((self.lines + 1, self.columns));
        }
    }

    /// Notes what the whole showed; whether it is UTF-8, or was made UTF-8 of a wider encoding.
    pub(super) fn finish(mut self, notes: &mut Notes<'_>) -> bool {
        if !self.left.is_empty() {
            self.wrong();
        }
        self.judge_length();
        let is_utf8 = self.first_wrong.is_none() || self.wanted == Encoding::Ascii;
        let is_judged = match self.wanted {
            Encoding::Any => false,
            Encoding::Utf8 | Encoding::Ascii => !self.is_it || self.first_wrong.is_some(),
            Encoding::Utf16Le | Encoding::Utf16Be => !self.is_it,
        };
        // A parser tells of bytes that are no UTF-8 by itself.
        let is_told = self.is_parsed && !self.is_wide && self.wanted == Encoding::Utf8;
        if is_judged && !is_told {
            // UTF-8 is what holds where the policy says nothing.
            let severity = match self.wanted {
                Encoding::Utf8 => Severity::Medium,
                _ => Severity::High,
            };
            let message = format!(
                "the text is not {}, as `encoding` wants it",
                word(self.wanted)
            );
            notes.add_as(ENCODING, severity, self.first_wrong, message);
        }
        if let Some((line, length)) = self.first_long {
            let most = self.line_length_max;
            let message = format!("{length} characters are more than `line_length_max`, {most}");
            notes.add(LINE_LENGTH, Some(Spot { line, column: 1 }), message);
        }
        is_utf8
    }
}

fn word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Ascii => "ASCII",
        Encoding::Utf16Le => "UTF-16, little end first",
        Encoding::Utf16Be => "UTF-16, big end first",
        Encoding::Any => "any",
    }
}
