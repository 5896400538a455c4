//! A text of any length through a window of a fixed size. Windows overlap by more than any match is
//! long, so that nothing is missed at an edge, and each match is handed on by exactly one window.

use std::io::{self, Read};
use std::ops::Range;

use rayon::prelude::*;

use super::content::{Inspector, Place};
use super::piece::{self, Before, Held, Piece};

/// How large windows are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Bytes of a window; more than the other two together.
    window_bytes: usize,
    /// How much of a window the next one looks at again: more than any match is long.
    overlap_bytes: usize,
    /// How much before its own part a window still sees.
    context_bytes: usize,
    /// How much of a window is one piece, where others may be looked at meanwhile.
    piece_bytes: usize,
}

/// What files are read with.
const SIZES: Sizes = Sizes {
    window_bytes: 4 << 20,
    overlap_bytes: 1 << 16,
    context_bytes: 1 << 12,
    piece_bytes: 2 << 20,
};
/// How much a buffer has room for at first.
const BUFFER_BYTES_MIN: usize = 1 << 16;

/// Reads behind what is kept of a buffer until so much is there, or the text ends; tells how much is. The
/// buffer grows with what it has to hold, and keeps its length from text to text: to clear it costs more
/// than most texts.
fn fill(
    buffer: &mut Vec<u8>,
    (kept, most): (usize, usize),
    reader: &mut dyn Read,
) -> io::Result<usize> {
    let mut filled = kept;
    while filled < most {
        if filled == buffer.len() {
            buffer.resize((2 * filled).max(BUFFER_BYTES_MIN), 0);
        }
        let room = most.min(buffer.len());
        match reader.read(&mut buffer[filled..room]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether there is nothing but zeros.
fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks(1 << 10);
    chunks.all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The way of one text.
pub(super) struct Windows<'i, 'a> {
    inspector: &'i mut Inspector<'a>,
    place: &'i Place,
    sizes: Sizes,
    /// What stands before the window.
    before: Before,
    /// Whether the text has zeros and is nothing that people write.
    is_binary: bool,
}

impl<'i, 'a> Windows<'i, 'a> {
    pub(super) fn new(inspector: &'i mut Inspector<'a>, place: &'i Place) -> Self {
        Self {
            inspector,
            place,
            sizes: SIZES,
            before: Before::default(),
            is_binary: false,
        }
    }

    /// Reads a text to its end.
    pub(super) fn run(mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.inspector.scratch.window);
        let result = self.run_in(&mut buffer, reader);
        self.inspector.scratch.window = buffer;
        result
    }

    fn run_in(&mut self, buffer: &mut Vec<u8>, reader: &mut dyn Read) -> io::Result<()> {
        let (mut kept, mut own) = (0, 0);
        loop {
            let filled = fill(buffer, (kept, self.sizes.window_bytes), reader)?;
            let window = &buffer[..filled];
            self.inspector.note_bytes(filled - kept);
            if self.inspector.is_interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let is_last = filled < self.sizes.window_bytes;
            self.is_binary |= memchr::memchr(0, &window[..filled.min(1 << 13)]).is_some();
            let end = match is_last {
                true => filled,
                false => filled - self.sizes.overlap_bytes,
            };
            // Zeros hold nothing, and files may have gibibytes of them.
            if !is_zero(window) {
                self.look(window, own..end);
            }
            if is_last {
                return Ok(());
            }
            let passed = end - self.sizes.context_bytes;
            self.before.pass(&window[..passed]);
            buffer.copy_within(passed..filled, 0);
            kept = filled - passed;
            own = self.sizes.context_bytes;
        }
    }

    /// Hands on what begins in a window's own part. What is larger than one window is looked at by as many
    /// threads as there are; the pieces are the same for any number of them.
    fn look(&mut self, window: &[u8], own: Range<usize>) {
        let pieces = self.pieces(window, own);
        let with = (self.inspector.tools.scanner, self.place);
        let held: Vec<Held> = match &pieces[..] {
            [piece] => vec![piece::look(piece, with, self.inspector.scratch)],
            pieces => {
                let spare = &self.inspector.scratch.spare;
                let look =
                    |piece: &Piece<'_>| spare.with(|scratch| piece::look(piece, with, scratch));
                pieces.par_iter().map(look).collect()
            }
        };
        let out = &mut self.inspector.out;
        for held in held {
            out.matches.extend(held.matches);
            out.decoded += held.decoded;
            let markers = held.markers.into_iter();
            out.markers
                .extend(markers.map(|marker| (self.place.member.clone(), marker)));
        }
    }

    fn pieces<'w>(&self, window: &'w [u8], own: Range<usize>) -> Vec<Piece<'w>> {
        let Sizes {
            window_bytes,
            overlap_bytes,
            context_bytes,
            piece_bytes,
        } = self.sizes;
        let is_whole = own.start == 0 && window.len() < window_bytes;
        let step = if is_whole { usize::MAX } else { piece_bytes };
        let (mut before, mut passed) = (self.before, 0);
        let starts = own.clone().step_by(step);
        let pieces = starts.map(|start| {
            let from = start.saturating_sub(context_bytes);
            before.pass(&window[passed..from]);
            passed = from;
            let end = start.saturating_add(step).min(own.end);
            let to = (end + overlap_bytes).min(window.len());
            Piece {
                bytes: &window[from..to],
                own: start - from..end - from,
                before,
                is_binary: self.is_binary,
            }
        });
        pieces.collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::relpath::RelPath;
    use crate::guard::content::Tools;
    use crate::guard::rule::Pack;
    use crate::guard::scan::{Scanner, Scratch};
    use crate::guard::watch::Checks;
    use crate::inventory::Progress;
    use crate::policy::Policy;

    const RULE: &str = r#"
        [[rule]]
        id = "test.token"
        title = "Token"
        category = "secret"
        severity = "high"
        keywords = ["tok_"]
        regex = '\btok_[a-z0-9]{20}\b'
        reach = 64
        examples = ["tok_«lownum 20»"]
        negatives = ["tok"]
    "#;

    /// A token like no other.
    fn token(number: usize) -> String {
        let digest = Digest::of(&number.to_be_bytes()).to_string();
        format!("tok_{}", &digest[..20])
    }

    /// The places and encodings of what is found through windows of some size.
    fn found(text: &[u8], sizes: Sizes) -> Vec<(u64, u64, String)> {
        let mut pack = Pack::default();
        pack.add(RULE).unwrap();
        let scanner = Scanner::new(pack);
        let (mut scratch, progress) = (Scratch::default(), Progress::default());
        let policy = Policy::default();
        let tools = Tools {
            scanner: &scanner,
            checks: &Checks::new(scanner.pack(), &policy),
            progress: &progress,
        };
        let mut inspector = Inspector::new(tools, &mut scratch, ("file", 0));
        let place = Place::of_file(RelPath::parse(b"file").unwrap());
        let mut windows = Windows::new(&mut inspector, &place);
        windows.sizes = sizes;
        windows.run(&mut &text[..]).unwrap();
        let matches = inspector.out.matches.into_iter();
        let mut found: Vec<_> = matches
            .map(|one| {
                let value = String::from_utf8(one.value).unwrap();
                (
                    one.found.line,
                    one.found.column,
                    value + &one.decoded.concat(),
                )
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_run_longer_than_windows_is_decoded_to_its_end() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        let lines = (0..400).map(|number| format!("number {number} and {} é\n", token(number)));
        let text = STANDARD_NO_PAD.encode(lines.collect::<String>());
        let mut wrapped = String::new();
        for (at, digit) in text.chars().enumerate() {
            wrapped.extend((at > 0 && at % 76 == 0).then_some('\n'));
            wrapped.push(digit);
        }
        for (window_bytes, text) in (1000..1008).flat_map(|size| [(size, &text), (size, &wrapped)])
        {
            let sizes = Sizes {
                window_bytes,
                overlap_bytes: 300,
                context_bytes: 300,
                piece_bytes: 70,
            };
            let found = found(format!("x {text}").as_bytes(), sizes);
            assert_eq!(found.len(), 400, "{window_bytes}");
        }
    }

    #[test]
    fn windows_of_every_size_find_the_same_at_the_same_places() {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let mut text = String::new();
        for number in 0..40 {
            let filler = "ü ".repeat(number * 7 % 31);
            let line = match number % 3 {
                0 => format!("{filler}{}\n", token(number)),
                1 => format!(
                    "{filler}{} ",
                    STANDARD.encode(format!("say {} now", token(number)))
                ),
                _ => format!("{filler}\\x74{}\n", &token(number)[1..]),
            };
            text.push_str(&line);
        }
        let whole = found(text.as_bytes(), SIZES);
        assert_eq!(whole.len(), 40, "{whole:?}");
        for window_bytes in 900..1000 {
            let sizes = Sizes {
                window_bytes,
                overlap_bytes: 400,
                context_bytes: 400,
                piece_bytes: 70,
            };
            assert_eq!(found(text.as_bytes(), sizes), whole, "{window_bytes}");
        }
    }
}
