//! One piece of a text: what the rules find in it as it stands, and in what is encoded in it. Knows where
//! it stands in the whole text and what of it is its own; other pieces may be looked at meanwhile.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;

use memchr::{memchr_iter, memrchr};

use super::compression::Compression;
use super::content::{Located, Place};
use super::decode;
use super::notes::characters;
use super::runs::Text;
use super::scan::{Match, Scanner, Scratch};
use super::suppress::{self, Marker};

/// Encodings inside encodings: no further.
const DECODE_DEPTH_MAX: usize = 3;
/// What is compressed inside an encoded text is expanded to so much.
const EXPANDED_BYTES_MAX: u64 = 4 << 20;

/// What stands before a piece of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    lines: u64,
    /// Characters of the line that has not ended.
    columns: u64,
    /// Digits of an encoded run that has not ended.
    digits: usize,
}

impl Before {
    /// Counts what stands before the next piece.
    pub(super) fn pass(&mut self, passed: &[u8]) {
        self.lines += memchr_iter(b'\n', passed).count() as u64;
        let line = memrchr(b'\n', passed).map_or(0, |at| at + 1);
        if line > 0 {
            self.columns = 0;
        }
        let digits = decode::digits_at_end(passed);
        self.digits = match digits == passed.len() {
            true => self.digits + digits,
            false => digits,
        };
        self.columns += characters(&passed[line..]);
    }
}

/// A piece of a text, and what is around it.
#[derive(Debug)]
pub(super) struct Piece<'w> {
    pub(super) bytes: &'w [u8],
    /// What of it is handed on: what begins elsewhere is so by another piece.
    pub(super) own: Range<usize>,
    pub(super) before: Before,
    /// Whether the text has zeros and is nothing that people write.
    pub(super) is_binary: bool,
}

/// What a piece holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In the order of their places; what stood encoded comes last.
    pub(super) matches: Vec<Located>,
    /// Encoded texts that were decoded.
    pub(super) decoded: u64,
    pub(super) markers: Vec<Marker>,
}

/// Looks at a piece of the text at a place.
pub(super) fn look(
    piece: &Piece<'_>,
    (scanner, place): (&Scanner, &Place),
    scratch: &mut Scratch,
) -> Held {
    let mut looking = Looking {
        piece,
        scanner,
        place,
        scratch,
        decoded: 0,
    };
    let text = &Text::new(piece.bytes);
    let matches = scanner.scan(text, Some(&place.path), looking.scratch);
    let counts = |found: &Match| {
        let is_readable = !piece.is_binary || scanner.is_certain(found);
        is_readable && piece.own.contains(&found.value.start)
    };
    let matches = matches.into_iter().filter(counts);
    let mut matches: Vec<Located> = matches
        .map(|found| looking.located(text.bytes, found))
        .collect();
    looking.decode(text, &mut matches);
    let decoded = looking.decoded;
    let markers = suppress::markers(piece.bytes, piece.own.clone(), scanner.honors_foreign());
    let lines = piece.before.lines;
    let markers = markers.into_iter().map(|marker| Marker {
        line: marker.line + lines,
        covers: marker.covers + lines,
        ..marker
    });
    Held {
        matches,
        decoded,
        markers: markers.collect(),
    }
}

/// The look at a piece.
struct Looking<'l> {
    piece: &'l Piece<'l>,
    scanner: &'l Scanner,
    place: &'l Place,
    scratch: &'l mut Scratch,
    decoded: u64,
}

impl Looking<'_> {
    fn located(&self, text: &[u8], mut found: Match) -> Located {
        let before = self.piece.before;
        if found.line == 1 {
            found.column += before.columns;
        }
        found.line += before.lines;
        found.end_line += before.lines;
        Located {
            value: text[found.value.clone()].to_vec(),
            found,
            member: self.place.member.clone(),
            decoded: Vec::new(),
        }
    }

    /// Looks into what is encoded.
    fn decode(&mut self, text: &Text<'_>, seen: &mut Vec<Located>) {
        let own = &self.piece.own;
        let mut outer = Vec::new();
        for one in decode::decode_all(text, self.piece.before.digits) {
            let is_known = seen.iter().any(|known| {
                known.found.value.start <= one.range.start && one.range.end <= known.found.value.end
            });
            if is_known || one.range.end <= own.start || one.range.start >= own.end {
                continue;
            }
            self.decoded += 1;
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
        let matches = self.scanner.scan(text, path, self.scratch);
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
