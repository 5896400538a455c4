//! A text of any length through a window of a fixed size. Windows overlap by more than any match is
//! long, so that nothing is missed at an edge, and each match is handed on by exactly one window.

use std::io::{self, Read};
use std::ops::Range;

use memchr::{memchr_iter, memrchr};

use super::content::{Inspector, Located, Place};
use super::decode;
use super::scan::Match;

/// Bytes of a window.
const WINDOW_BYTES: usize = 4 << 20;
/// How much of a window the next one looks at again.
const OVERLAP_BYTES: usize = 1 << 16;
/// How much before its own part a window still sees.
const CONTEXT_BYTES: usize = 1 << 12;
/// Encodings inside encodings: no further.
const DECODE_DEPTH_MAX: usize = 3;

/// The way of one text.
pub(super) struct Windows<'i, 'a> {
    inspector: &'i mut Inspector<'a>,
    place: &'i Place,
    /// Lines and characters of the current line before the window.
    lines: u64,
    columns: u64,
    /// Whether the text has zeros and is nothing that people write.
    is_binary: bool,
}

impl<'i, 'a> Windows<'i, 'a> {
    pub(super) fn new(inspector: &'i mut Inspector<'a>, place: &'i Place) -> Self {
        Self {
            inspector,
            place,
            lines: 0,
            columns: 0,
            is_binary: false,
        }
    }

    /// Reads a text to its end.
    pub(super) fn run(mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut window = std::mem::take(&mut self.inspector.scratch.window);
        let result = self.run_in(&mut window, reader);
        window.clear();
        self.inspector.scratch.window = window;
        result
    }

    fn run_in(&mut self, window: &mut Vec<u8>, reader: &mut dyn Read) -> io::Result<()> {
        window.clear();
        let mut own = 0;
        loop {
            let wanted = WINDOW_BYTES - window.len();
            let read = (&mut *reader).take(wanted as u64).read_to_end(window)?;
            self.inspector.note_bytes(read);
            if self.inspector.is_interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let is_last = read < wanted;
            self.is_binary |= memchr::memchr(0, &window[..window.len().min(1 << 13)]).is_some();
            let end = match is_last {
                true => window.len(),
                false => window.len() - OVERLAP_BYTES,
            };
            self.look(window, own..end);
            if is_last {
                return Ok(());
            }
            let passed = end - CONTEXT_BYTES;
            self.pass(&window[..passed]);
            window.drain(..passed);
            own = CONTEXT_BYTES;
        }
    }

    /// Counts the lines of a part that leaves the window.
    fn pass(&mut self, part: &[u8]) {
        self.lines += memchr_iter(b'\n', part).count() as u64;
        let line = memrchr(b'\n', part).map_or(0, |at| at + 1);
        if line > 0 {
            self.columns = 0;
        }
        let characters = part[line..].iter().filter(|byte| **byte & 0xC0 != 0x80);
        self.columns += characters.count() as u64;
    }

    /// Hands on what begins in a window's own part.
    fn look(&mut self, text: &[u8], own: Range<usize>) {
        let path = Some(&self.place.path);
        let matches = self
            .inspector
            .scanner
            .scan(text, path, self.inspector.scratch);
        let is_own = |found: &Match| own.contains(&found.value.start);
        let mut seen: Vec<Located> = Vec::new();
        for found in matches.into_iter().filter(is_own) {
            if self.is_binary && !self.inspector.scanner.is_certain(&found) {
                continue;
            }
            seen.push(self.located(text, found));
        }
        let plain = seen.len();
        self.decode((text, &own), &mut seen, plain);
        self.inspector.out.matches.append(&mut seen);
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
        (text, own): (&[u8], &Range<usize>),
        seen: &mut Vec<Located>,
        plain: usize,
    ) {
        for one in decode::decode_all(text) {
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
                // What could be read as it stood was found as it stood.
                if seen.iter().any(|known| known.value == value) {
                    continue;
                }
                let at = one.origin(found.value.start);
                if !own.contains(&at) {
                    continue;
                }
                let mut outer = found;
                outer.value = at..one.range.end;
                super::scan::place(text, std::slice::from_mut(&mut outer));
                outer.end_line = outer.line;
                let mut located = self.located(text, outer);
                located.value = value;
                located.decoded = decoded;
                seen.push(located);
            }
        }
    }

    /// Looks into a decoded text, and into what is encoded in it.
    fn look_inside(
        &mut self,
        text: &[u8],
        decoded: &[&'static str],
        inner: &mut Vec<(Match, Vec<u8>, Vec<&'static str>)>,
    ) {
        let path = Some(&self.place.path);
        let matches = self
            .inspector
            .scanner
            .scan(text, path, self.inspector.scratch);
        for found in matches {
            let value = text[found.value.clone()].to_vec();
            inner.push((found, value, decoded.to_vec()));
        }
        if decoded.len() >= DECODE_DEPTH_MAX {
            return;
        }
        for one in decode::decode_all(text) {
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
