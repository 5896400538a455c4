//! Text of two or four bytes a character, as UTF-8. Knows encodings and nothing else.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};

/// How many bytes are decoded at a time.
const CHUNK_BYTES: usize = 1 << 15;
/// The least text that is told by its zeros.
const SAMPLE_BYTES_MIN: usize = 16;

/// Which encoding; a byte order mark belongs to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Utf16Le,
    Utf16Be,
    Utf32Le,
    Utf32Be,
}

/// The encoding that the first bytes of a text show: by a byte order mark, or by zeros where the
/// upper bytes of Latin letters are.
pub(super) fn form_of(head: &[u8]) -> Option<Form> {
    match head {
        [0xff, 0xfe, 0, 0, ..] => return Some(Form::Utf32Le),
        [0, 0, 0xfe, 0xff, ..] => return Some(Form::Utf32Be),
        [0xff, 0xfe, ..] => return Some(Form::Utf16Le),
        [0xfe, 0xff, ..] => return Some(Form::Utf16Be),
        _ => {}
    }
    if head.len() < SAMPLE_BYTES_MIN || memchr::memchr(0, head).is_none() {
        return None;
    }
    let is_letter = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e);
    // The share of units that are a Latin letter with zeros around it in that order.
    let share = |unit: usize, letter_at: usize| {
        let units = head.chunks_exact(unit);
        let total = units.len();
        let fitting = units.filter(|unit| {
            let mut bytes = unit.iter().enumerate();
            bytes.all(|(at, byte)| match at == letter_at {
                true => is_letter(byte),
                false => *byte == 0,
            })
        });
        fitting.count() as f64 / total.max(1) as f64
    };
    [
        (Form::Utf32Le, 4, 0),
        (Form::Utf32Be, 4, 3),
        (Form::Utf16Le, 2, 0),
        (Form::Utf16Be, 2, 1),
    ]
    .into_iter()
    .find(|(_, unit, letter_at)| share(*unit, *letter_at) > 0.7)
    .map(|(form, _, _)| form)
}

/// Reads such a text as UTF-8; what is no character becomes U+FFFD.
pub(super) struct WideReader<'r> {
    inner: &'r mut dyn Read,
    form: Form,
    decoder: Decoder,
    /// Read and not decoded.
    raw: Vec<u8>,
    /// Decoded and not handed on.
    ready: Vec<u8>,
    handed: usize,
    is_at_end: bool,
}

impl<'r> WideReader<'r> {
    pub(super) fn new(inner: &'r mut dyn Read, form: Form) -> Self {
        let decoder = match form {
            Form::Utf16Be => UTF_16BE.new_decoder_with_bom_removal(),
            _ => UTF_16LE.new_decoder_with_bom_removal(),
        };
        Self {
            inner,
            form,
            decoder,
            raw: Vec::new(),
            ready: Vec::new(),
            handed: 0,
            is_at_end: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.handed = 0;
        let kept = self.raw.len();
        self.raw.resize(kept + CHUNK_BYTES, 0);
        let read = self.inner.read(&mut self.raw[kept..])?;
        self.raw.truncate(kept + read);
        self.is_at_end = read == 0;
        match self.form {
            Form::Utf16Le | Form::Utf16Be => self.decode_16(),
            Form::Utf32Le | Form::Utf32Be => self.decode_32(),
        }
        Ok(())
    }

    fn decode_16(&mut self) {
        let most = self.decoder.max_utf8_buffer_length(self.raw.len());
        self.ready
            .resize(most.unwrap_or(self.raw.len() * 4 + 16), 0);
        let (result, read, written, _) =
            self.decoder
                .decode_to_utf8(&self.raw, &mut self.ready, self.is_at_end);
        debug_assert_eq!(
            result,
            CoderResult::InputEmpty,
            "the buffer is large enough"
        );
        self.ready.truncate(written);
        self.raw.drain(..read);
    }

    fn decode_32(&mut self) {
        let whole = self.raw.len() / 4 * 4;
        for unit in self.raw[..whole].chunks_exact(4) {
            let unit: [u8; 4] = [unit[0], unit[1], unit[2], unit[3]];
            let number = match self.form {
                Form::Utf32Be => u32::from_be_bytes(unit),
                _ => u32::from_le_bytes(unit),
            };
            let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
            if character != '\u{feff}' {
                let mut utf8 = [0; 4];
                self.ready
                    .extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
        }
        self.raw.drain(..whole);
    }
}

impl Read for WideReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.handed == self.ready.len() && !self.is_at_end {
            self.refill()?;
        }
        let count = out.len().min(self.ready.len() - self.handed);
        out[..count].copy_from_slice(&self.ready[self.handed..self.handed + count]);
        self.handed += count;
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn encoded(text: &str, form: Form) -> Vec<u8> {
        let units = text.encode_utf16();
        match form {
            Form::Utf16Le => units.flat_map(u16::to_le_bytes).collect(),
            Form::Utf16Be => units.flat_map(u16::to_be_bytes).collect(),
            Form::Utf32Le => text
                .chars()
                .flat_map(|one| u32::from(one).to_le_bytes())
                .collect(),
            Form::Utf32Be => text
                .chars()
                .flat_map(|one| u32::from(one).to_be_bytes())
                .collect(),
        }
    }

    #[test]
    fn every_encoding_is_told_and_read_with_and_without_its_mark() {
        let text = "name = \"Müller\"\r\n".repeat(9000);
        for form in [Form::Utf16Le, Form::Utf16Be, Form::Utf32Le, Form::Utf32Be] {
            for marked in ["", "\u{feff}"] {
                let bytes = encoded(&format!("{marked}{text}"), form);
                assert_eq!(form_of(&bytes[..8192]), Some(form), "{form:?} {marked:?}");
                let mut read = String::new();
                let mut inner = &bytes[..];
                WideReader::new(&mut inner, form)
                    .read_to_string(&mut read)
                    .unwrap();
                assert!(read == text, "{form:?} {marked:?}");
            }
        }
    }

    #[test]
    fn other_bytes_are_not_wide() {
        for bytes in [
            &b"plain text of no great length"[..],
            &[0; 64],
            b"ab",
            &[7, 0, 0, 1, 9, 0, 3, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0],
        ] {
            assert_eq!(form_of(bytes), None, "{bytes:?}");
        }
    }
}
