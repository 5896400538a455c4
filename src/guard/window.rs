//! A text of any length through a window of a fixed size. Windows overlap by more than any match is
//! long, so that nothing is missed at an edge, and each match is handed on by exactly one window.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;

use memchr::{memchr_iter, memrchr};

use super::compression::Compression;
use super::content::{Inspector, Located, Place};
use super::decode;
use super::runs::Text;
use super::scan::Match;
use super::suppress;

/// How large windows are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Bytes of a window; more than the other two together.
    window_bytes: usize,
    /// How much of a window the next one looks at again: more than any match is long.
    overlap_bytes: usize,
    /// How much before its own part a window still sees.
    context_bytes: usize,
}

/// What files are read with.
const SIZES: Sizes = Sizes {
    window_bytes: 4 << 20,
    overlap_bytes: 1 << 16,
    context_bytes: 1 << 12,
};
/// Encodings inside encodings: no further.
const DECODE_DEPTH_MAX: usize = 3;
/// What is compressed inside an encoded text is expanded to so much.
const EXPANDED_BYTES_MAX: u64 = 4 << 20;

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

/// The way of one text.
pub(super) struct Windows<'i, 'a> {
    inspector: &'i mut Inspector<'a>,
    place: &'i Place,
    sizes: Sizes,
    /// Lines and characters of the current line before the window.
    lines: u64,
    columns: u64,
    /// Digits of an encoded run right before the window.
    digits: usize,
    /// Whether the text has zeros and is nothing that people write.
    is_binary: bool,
}

impl<'i, 'a> Windows<'i, 'a> {
    pub(super) fn new(inspector: &'i mut Inspector<'a>, place: &'i Place) -> Self {
        Self {
            inspector,
            place,
            sizes: SIZES,
            lines: 0,
            columns: 0,
            digits: 0,
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
            if window.iter().any(|byte| *byte != 0) {
                self.look(window, own..end);
            }
            if is_last {
                return Ok(());
            }
            let passed = end - self.sizes.context_bytes;
            self.pass(&window[..passed]);
            buffer.copy_within(passed..filled, 0);
            kept = filled - passed;
            own = self.sizes.context_bytes;
        }
    }

    /// Counts the lines of a part that leaves the window.
    fn pass(&mut self, part: &[u8]) {
        self.lines += memchr_iter(b'\n', part).count() as u64;
        let line = memrchr(b'\n', part).map_or(0, |at| at + 1);
        if line > 0 {
            self.columns = 0;
        }
        let digits = decode::digits_at_end(part);
        self.digits = match digits == part.len() {
            true => self.digits + digits,
            false => digits,
        };
        let characters = part[line..].iter().filter(|byte| **byte & 0xC0 != 0x80);
        self.columns += characters.count() as u64;
    }

    /// Hands on what begins in a window's own part.
    fn look(&mut self, window: &[u8], own: Range<usize>) {
        let path = Some(&self.place.path);
        let text = &Text::new(window);
        let matches = self
            .inspector
            .tools
            .scanner
            .scan(text, path, self.inspector.scratch);
        let is_own = |found: &Match| own.contains(&found.value.start);
        let mut seen: Vec<Located> = Vec::new();
        for found in matches.into_iter().filter(is_own) {
            if self.is_binary && !self.inspector.tools.scanner.is_certain(&found) {
                continue;
            }
            seen.push(self.located(window, found));
        }
        let plain = seen.len();
        self.decode((text, &own), &mut seen, plain);
        self.inspector.out.matches.append(&mut seen);
        let honors_foreign = self.inspector.tools.scanner.honors_foreign();
        for mut marker in suppress::markers(window, own, honors_foreign) {
            marker.line += self.lines;
            marker.covers += self.lines;
            let member = self.place.member.clone();
            self.inspector.out.markers.push((member, marker));
        }
    }

    fn located(&self, text: &[u8], mut found: Match) -> Located {
        if found.line == 1 {
            found.column += self.columns;
        }
        found.line += self.lines;
        found.end_line += self.lines;
        Located {
            value: text[found.value.clone()].to_vec(),
            found,
            member: self.place.member.clone(),
            decoded: Vec::new(),
        }
    }

    /// Looks into what is encoded in a window's own part.
    fn decode(
        &mut self,
        (text, own): (&Text<'_>, &Range<usize>),
        seen: &mut Vec<Located>,
        plain: usize,
    ) {
        let mut outer = Vec::new();
        for one in decode::decode_all(text, self.digits) {
            let is_known = seen[..plain].iter().any(|known| {
                known.found.value.start <= one.range.start && one.range.end <= known.found.value.end
            });
            if is_known || one.range.end <= own.start || one.range.start >= own.end {
                continue;
            }
            self.inspector.out.decoded += 1;
            let mut inner = Vec::new();
            self.look_inside(&one.text, &[one.encoding.word()], &mut inner);
            for (found, value, decoded) in inner {
                let at = one.origin(found.value.start);
                if own.contains(&at) {
                    let value_place = at..one.range.end;
                    let found = Match {
                        value: value_place,
                        ..found
                    };
                    outer.push((found, value, decoded));
                }
            }
        }
        outer.sort_by_key(|(found, _, _)| found.value.start);
        let (mut matches, inner): (Vec<Match>, Vec<_>) = outer
            .into_iter()
            .map(|(found, value, decoded)| (found, (value, decoded)))
            .unzip();
        super::scan::place(text.bytes, &mut matches);
        // What could be read as it stood was found as it stood.
        let mut known: HashSet<Vec<u8>> = seen.iter().map(|known| known.value.clone()).collect();
        for (mut found, (value, decoded)) in matches.into_iter().zip(inner) {
            if !known.insert(value.clone()) {
                continue;
            }
            found.end_line = found.line;
            let mut located = self.located(text.bytes, found);
            located.value = value;
            located.decoded = decoded;
            seen.push(located);
        }
    }

    /// Looks into a decoded text, and into what is encoded in it.
    fn look_inside(
        &mut self,
        text: &[u8],
        decoded: &[&'static str],
        inner: &mut Vec<(Match, Vec<u8>, Vec<&'static str>)>,
    ) {
        let compression = Compression::of(text);
        if let Some(compression) = compression.filter(|_| decoded.len() < DECODE_DEPTH_MAX) {
            let mut expanded = Vec::new();
            let opened = compression.expand(text);
            // What is cut off or broken is looked at as far as it goes.
            let _ = opened.and_then(|reader| {
                let mut reader = reader.take(EXPANDED_BYTES_MAX);
                reader.read_to_end(&mut expanded)
            });
            let decoded = [decoded, &[compression.word()]].concat();
            self.look_inside(&expanded, &decoded, inner);
            for (found, _, _) in inner {
                found.value = 0..text.len();
            }
            return;
        }
        let path = Some(&self.place.path);
        let text = &Text::new(text);
        let matches = self
            .inspector
            .tools
            .scanner
            .scan(text, path, self.inspector.scratch);
        for found in matches {
            let value = text.bytes[found.value.clone()].to_vec();
            inner.push((found, value, decoded.to_vec()));
        }
        if decoded.len() >= DECODE_DEPTH_MAX {
            return;
        }
        for one in decode::decode_all(text, 0) {
            let mut path = decoded.to_vec();
            path.push(one.encoding.word());
            let from = inner.len();
            self.look_inside(&one.text, &path, inner);
            for (found, _, _) in &mut inner[from..] {
                found.value = one.origin(found.value.start)..one.range.end;
            }
        }
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
        for window_bytes in 1000..1008 {
            let sizes = Sizes {
                window_bytes,
                overlap_bytes: 300,
                context_bytes: 300,
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
            };
            assert_eq!(found(text.as_bytes(), sizes), whole, "{window_bytes}");
        }
    }
}
