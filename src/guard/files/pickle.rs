//! What a pickle would import when it is loaded, read without loading it: a small machine that
//! follows the opcodes, keeps the texts on its stack that matter, and runs nothing.
//!
//! Opcodes and their arguments are those of Python's `pickletools`, protocols 0 to 5. The bytes
//! come piece by piece; memory is bounded by [`ITEMS_MAX`] and [`MEMO_MAX`], and a pickle inside a
//! pickle stays a string of bytes.

use std::collections::{BTreeMap, HashMap};

use super::danger::{self, Danger};

/// The most things on the stack: Python's own pickler stays far below, handing over a thousand at
/// a time.
const ITEMS_MAX: usize = 1 << 20;
/// The most things in the memo. Large data has more; what is left out is known to be lost.
const MEMO_MAX: usize = 1 << 21;
/// The most of them under numbers that do not count up.
const MEMO_SPARSE_MAX: usize = 1 << 14;
/// The longest text that can be a part of a name, bytes.
const NAME_BYTES_MAX: usize = 255;
/// The most names that are remembered of one file.
const KNOWN_MAX: usize = 1000;
/// How many of the latest texts are remembered, to be shown.
const LATEST_MAX: usize = 64;

/// How far a pickle was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To where its bytes make no sense or are no more: there Python stops too, having done what
    /// came before.
    Broken,
    /// To its end.
    Whole,
    /// It wants more room than it gets here; what it does behind that is not known.
    TooMuch,
}

/// What stands on the stack: only texts matter, being what names are made of.
#[derive(Clone, Copy)]
enum Item {
    Mark,
    /// A text that [`danger`] knows: its place in `known`.
    Known(u32),
    /// Another text that could be a name, by the number of texts before it.
    Plain(u32),
    /// A text that is no name, or no text.
    Other,
    /// What the memo had no room for.
    Lost,
}

/// What the machine waits for.
#[derive(Clone, Copy)]
enum Wants {
    Opcode,
    /// So many bytes more of an argument, the first of which are kept.
    Bytes(u8, u64),
    /// So many bytes more of the length of an argument.
    Length(u8, u64),
    /// So many lines more.
    Lines(u8, u8),
    /// The first byte of another pickle behind the end.
    Another,
    Nothing,
}

/// How an opcode's argument is written.
enum Shape {
    /// So many bytes; may be none.
    Fixed(u64),
    /// A length of so many bytes, and what it counts.
    Counted(u64),
    /// So many lines.
    Lines(u8),
}

/// A pickle on its way through.
pub(super) struct Reader {
    wants: Wants,
    /// What has come of the argument; what is too long to be a name is cut off.
    argument: Vec<u8>,
    stack: Vec<Item>,
    memo: Memo,
    known: Vec<String>,
    /// The latest texts by their numbers, in a ring.
    latest: Vec<(u32, String)>,
    texts: u32,
    items_max: usize,
    memo_max: usize,
    end: End,
    /// What it would import that means harm: module and name.
    imports: BTreeMap<(String, String), Danger>,
}

/// What a pickle keeps under numbers. Those that count up from 0 are the rule.
#[derive(Default)]
struct Memo {
    dense: Vec<Item>,
    sparse: HashMap<u64, Item>,
    /// How many there was no room for.
    lost: usize,
}

impl Memo {
    /// How many numbers are taken.
    fn len(&self) -> usize {
        self.dense.len() + self.sparse.len() + self.lost
    }

    fn set(&mut self, at: u64, item: Item, max: usize) {
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(slot) = self.dense.get_mut(place) {
            *slot = item;
        } else if place == self.dense.len() && place < max {
            self.sparse.remove(&at);
            self.dense.push(item);
        } else if self.sparse.len() < MEMO_SPARSE_MAX {
            self.sparse.insert(at, item);
        } else {
            self.lost += 1;
        }
    }

    fn get(&self, at: u64) -> Option<Item> {
        let dense = || self.dense.get(usize::try_from(at).ok()?);
        let found = dense().or_else(|| self.sparse.get(&at)).copied();
        found.or((self.lost > 0).then_some(Item::Lost))
    }
}

/// Whether this begins with a protocol's number, as all but the oldest pickles do.
fn begins_as_binary(content: &[u8]) -> bool {
    matches!(content, [0x80, 0..=5, ..])
}

/// Whether this begins as protocol 0 does where it means harm or holds more than a number: with a
/// name, a mark or a container.
fn begins_as_text(content: &[u8]) -> bool {
    match content {
        [b'c', rest @ ..] | [b'(', b'c', rest @ ..] => {
            name_line(rest).and_then(name_line).is_some()
        }
        [b'(', b'd' | b'l' | b't', b'p', b'0'..=b'9', ..] => true,
        [b'(', b'S', b'\'' | b'"', ..] => true,
        _ => false,
    }
}

/// What follows a line that is a dotted name.
fn name_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', &bytes[..bytes.len().min(NAME_BYTES_MAX)])?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    danger::is_name(name).then(|| &bytes[end + 1..])
}

/// Where the pickle begins in a NumPy array of objects (`numpy.lib.format`): behind a header that
/// says so.
fn start_in_array(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(b"\x93NUMPY")?;
    let (start, length) = match rest {
        [1, _, low, high, ..] => (4, u64::from(u16::from_le_bytes([*low, *high]))),
        [2 | 3, _, a, b, c, d, ..] => (6, u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        _ => return None,
    };
    let length_at_hand = usize::try_from(length).ok()?.min(rest.len() - start);
    let header = &rest[start..][..length_at_hand];
    let of_objects = memchr::memmem::find(header, b"|O").or(memchr::memmem::find(header, b"'O'"));
    of_objects.map(|_| 6 + start as u64 + length)
}

impl Reader {
    /// A reader for a content that begins like this; `None` where that is no pickle's beginning,
    /// unless its name says that it is one. The head is to be fed too.
    pub(super) fn new(head: &[u8], is_named_so: bool) -> Option<Self> {
        let skipped = start_in_array(head);
        let is_one = is_named_so || begins_as_binary(head) || begins_as_text(head);
        match (skipped, is_one) {
            (Some(skipped), _) => Some(Self::after(skipped)),
            (None, true) => Some(Self::after(0)),
            (None, false) => None,
        }
    }

    fn after(skipped: u64) -> Self {
        Self {
            wants: match skipped {
                0 => Wants::Opcode,
                // As an argument of nothing.
                skipped => Wants::Bytes(FRAME, skipped),
            },
            argument: Vec::new(),
            stack: Vec::new(),
            memo: Memo::default(),
            known: Vec::new(),
            latest: Vec::new(),
            texts: 0,
            items_max: ITEMS_MAX,
            memo_max: MEMO_MAX,
            end: End::Broken,
            imports: BTreeMap::new(),
        }
    }

    /// Follows the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            match self.wants {
                Wants::Nothing => return,
                Wants::Opcode => {
                    bytes = rest;
                    self.begin(*first);
                }
                Wants::Another if *first == PROTO => {
                    bytes = rest;
                    self.stack.clear();
                    self.memo = Memo::default();
                    self.begin(*first);
                }
                // What else is behind the end belongs to whoever reads it by other means.
                Wants::Another => self.wants = Wants::Nothing,
                Wants::Bytes(opcode, left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.hold(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    self.wants = Wants::Bytes(opcode, left - taken as u64);
                    if left == taken as u64 {
                        self.complete(opcode);
                    }
                }
                Wants::Length(opcode, left) => {
                    bytes = rest;
                    self.argument.push(*first);
                    self.wants = Wants::Length(opcode, left - 1);
                    if left == 1 {
                        let length = number(&self.argument);
                        self.argument.clear();
                        self.wants = Wants::Bytes(opcode, length);
                        if length == 0 {
                            self.complete(opcode);
                        }
                    }
                }
                Wants::Lines(opcode, left) => {
                    let end = memchr::memchr(b'\n', bytes);
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.hold(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    match (end, left) {
                        (None, _) => {}
                        (Some(_), 1) => self.complete(opcode),
                        (Some(_), _) => self.wants = Wants::Lines(opcode, left - 1),
                    }
                }
            }
        }
    }

    /// What was found, and how far it was followed.
    pub(super) fn finish(self) -> (BTreeMap<(String, String), Danger>, End) {
        (self.imports, self.end)
    }

    /// Keeps what may be a name or a number.
    fn hold(&mut self, bytes: &[u8]) {
        // One byte more than a name shows that it is none; two lines are two names.
        let room = (2 * NAME_BYTES_MAX + 3).saturating_sub(self.argument.len());
        self.argument
            .extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn begin(&mut self, opcode: u8) {
        self.argument.clear();
        self.wants = match shape(opcode) {
            Some(Shape::Fixed(0)) => return self.complete(opcode),
            Some(Shape::Fixed(length)) => Wants::Bytes(opcode, length),
            Some(Shape::Counted(length)) => Wants::Length(opcode, length),
            Some(Shape::Lines(lines)) => Wants::Lines(opcode, lines),
            None => Wants::Nothing,
        };
    }

    /// Does what an opcode does whose argument is there.
    fn complete(&mut self, opcode: u8) {
        self.wants = Wants::Opcode;
        if self.act(opcode).is_none() {
            self.wants = Wants::Nothing;
        } else if self.stack.len() > self.items_max {
            self.give_up();
        }
        self.argument.clear();
    }

    fn give_up(&mut self) {
        self.end = End::TooMuch;
        self.wants = Wants::Nothing;
    }

    /// `None` where Python would stop.
    fn act(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            STOP => {
                self.end = End::Whole;
                self.wants = Wants::Another;
            }
            PROTO => return (self.argument.first()? <= &5).then_some(()),
            FRAME => {}
            // GLOBAL and INST: two lines.
            b'c' | b'i' => {
                let argument = std::mem::take(&mut self.argument);
                let mut lines = std::str::from_utf8(&argument).ok()?.split('\n');
                let (module, name) = (lines.next()?, lines.next()?);
                // No escape is read here: what is no name is nothing that could be imported.
                if !danger::is_name(module) || !danger::is_name(name) {
                    return None;
                }
                self.import(module, name);
                if opcode == b'i' {
                    self.drop_to_mark()?;
                }
                self.stack.push(Item::Other);
            }
            // STACK_GLOBAL. Python's own pickler always has two texts at hand.
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                if matches!(module, Item::Lost) || matches!(name, Item::Lost) {
                    self.give_up();
                } else if !matches!(module, Item::Plain(_)) {
                    let (module, name) = (self.spelled(module), self.spelled(name));
                    self.import(&module, &name);
                } else if matches!(name, Item::Other | Item::Mark) {
                    self.import(COMPUTED, COMPUTED);
                }
                self.stack.push(Item::Other);
            }
            // Texts: STRING with its quotes, UNICODE and the counted ones without.
            b'S' | b'V' | 0x8c | b'U' | b'X' | b'T' | 0x8d => self.push_text(opcode),
            // The memo: PUT, BINPUT, LONG_BINPUT, MEMOIZE; GET and its kin.
            b'p' | b'q' | b'r' | 0x94 => {
                let at = match opcode {
                    0x94 => self.memo.len() as u64,
                    _ => self.place(opcode)?,
                };
                self.memo.set(at, *self.stack.last()?, self.memo_max);
            }
            b'g' | b'h' | b'j' => {
                let at = self.place(opcode)?;
                self.stack.push(self.memo.get(at)?);
            }
            _ => return self.move_things(opcode),
        }
        Some(())
    }

    /// The opcodes that only move things about.
    fn move_things(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            b'(' => self.stack.push(Item::Mark),
            b'2' => self.stack.push(*self.stack.last()?),
            // POP, APPEND and BUILD take one, SETITEM two.
            b'0' | b'a' | b'b' => drop(self.stack.pop()?),
            b's' => self.drop_last(2)?,
            // POP_MARK, APPENDS, SETITEMS, ADDITEMS.
            b'1' | b'e' | b'u' | 0x90 => self.drop_to_mark()?,
            // TUPLE, LIST, DICT, FROZENSET and OBJ of all to a mark.
            b't' | b'l' | b'd' | 0x91 | b'o' => {
                self.drop_to_mark()?;
                self.stack.push(Item::Other);
            }
            // TUPLE1, BINPERSID and READONLY_BUFFER replace one; TUPLE2, REDUCE and NEWOBJ two;
            // TUPLE3 and NEWOBJ_EX three.
            0x85 | b'Q' | 0x98 => self.replace(1)?,
            0x86 | b'R' | 0x81 => self.replace(2)?,
            0x87 | 0x92 => self.replace(3)?,
            // All others push something that is no text.
            _ => self.stack.push(Item::Other),
        }
        Some(())
    }

    /// The number of a place in the memo: in digits, or in bytes.
    fn place(&self, opcode: u8) -> Option<u64> {
        match opcode {
            b'p' | b'g' => std::str::from_utf8(&self.argument)
                .ok()?
                .trim()
                .parse()
                .ok(),
            _ => Some(number(&self.argument)),
        }
    }

    fn push_text(&mut self, opcode: u8) {
        let mut text = &self.argument[..];
        if matches!(opcode, b'S' | b'V') {
            text = text.strip_suffix(b"\n").unwrap_or(text);
        }
        if opcode == b'S' {
            text = text.get(1..text.len().max(2) - 1).unwrap_or_default();
        }
        let is_short = text.len() <= NAME_BYTES_MAX;
        let item = match std::str::from_utf8(text) {
            Ok(text) if is_short && danger::is_known(text) => {
                let known = self.known.iter().position(|other| other == text);
                let at = known.unwrap_or_else(|| {
                    self.known.push(text.to_owned());
                    self.known.len() - 1
                });
                if at >= KNOWN_MAX {
                    self.give_up();
                }
                Item::Known(at as u32)
            }
            Ok(text) if is_short && danger::is_name(text) => {
                let latest = (self.texts, text.to_owned());
                match self.latest.get_mut(self.texts as usize % LATEST_MAX) {
                    Some(slot) => *slot = latest,
                    None => self.latest.push(latest),
                }
                self.texts = self.texts.wrapping_add(1);
                Item::Plain(self.texts.wrapping_sub(1))
            }
            _ => Item::Other,
        };
        self.stack.push(item);
    }

    /// The text of an item, as far as it is remembered.
    fn spelled(&self, item: Item) -> String {
        match item {
            Item::Known(at) => self.known[at as usize].clone(),
            Item::Plain(number) => {
                let slot = self.latest.get(number as usize % LATEST_MAX);
                let text = slot.filter(|(other, _)| *other == number);
                text.map_or_else(|| "…".to_owned(), |(_, text)| text.clone())
            }
            Item::Mark | Item::Other | Item::Lost => COMPUTED.to_owned(),
        }
    }

    fn drop_last(&mut self, count: usize) -> Option<()> {
        let kept = self.stack.len().checked_sub(count)?;
        self.stack.truncate(kept);
        Some(())
    }

    fn replace(&mut self, count: usize) -> Option<()> {
        self.drop_last(count)?;
        self.stack.push(Item::Other);
        Some(())
    }

    fn drop_to_mark(&mut self) -> Option<()> {
        let is_mark = |item: &Item| matches!(item, Item::Mark);
        let mark = self.stack.iter().rposition(is_mark)?;
        self.stack.truncate(mark);
        Some(())
    }

    fn import(&mut self, module: &str, name: &str) {
        if let Some(danger) = danger::of(module, name)
            && self.imports.len() < KNOWN_MAX
        {
            self.imports
                .insert((module.to_owned(), name.to_owned()), danger);
        }
    }
}

const STOP: u8 = b'.';
const PROTO: u8 = 0x80;
const FRAME: u8 = 0x95;
/// The module or name of an import that is computed, or spelled with escapes.
const COMPUTED: &str = "?";

/// How an opcode's argument is written; `None` for what is no opcode.
fn shape(opcode: u8) -> Option<Shape> {
    Some(match opcode {
        b'K' | b'q' | b'h' | PROTO | 0x82 => Shape::Fixed(1),
        b'M' | 0x83 => Shape::Fixed(2),
        b'J' | b'r' | b'j' | 0x84 => Shape::Fixed(4),
        b'G' | FRAME => Shape::Fixed(8),
        b'U' | b'C' | 0x8a | 0x8c => Shape::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Shape::Counted(4),
        0x8d | 0x8e | 0x96 => Shape::Counted(8),
        b'I' | b'L' | b'F' | b'P' | b'S' | b'V' | b'p' | b'g' => Shape::Lines(1),
        b'c' | b'i' => Shape::Lines(2),
        STOP | b'N' | b'(' | b')' | b']' | b'}' | b'0' | b'1' | b'2' => Shape::Fixed(0),
        b'R' | b'o' | b'b' | b'Q' | b't' | b'l' | b'd' | b'e' | b'u' | b'a' | b's' => {
            Shape::Fixed(0)
        }
        0x81 | 0x85..=0x89 | 0x8f..=0x94 | 0x97 | 0x98 => Shape::Fixed(0),
        _ => return None,
    })
}

/// A number in bytes, little end first.
fn number(bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    bytes.iter().rev().fold(0, add)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What would be imported, fed byte by byte and at once.
    fn imports(content: &[u8]) -> String {
        let [whole, pieces] = [content.len().max(1), 1].map(|size| {
            let mut reader = Reader::new(content, true).unwrap();
            content.chunks(size).for_each(|piece| reader.feed(piece));
            reader.finish()
        });
        assert_eq!(whole, pieces);
        let (imports, end) = whole;
        let names = imports
            .keys()
            .map(|(module, name)| format!("{module}.{name}"));
        names.collect::<Vec<_>>().join(" ")
            + match end {
                End::Whole => "",
                End::Broken => " (broken)",
                End::TooMuch => " (too much)",
            }
    }

    #[test]
    fn finds_every_import_by_whatever_opcodes_it_is_spelled() {
        for (content, expected) in [
            // Protocol 0: GLOBAL, INST, and names behind other things.
            (&b"cposix\nsystem\n(S'id'\ntR."[..], "posix.system"),
            (b"(S'id'\nios\nsystem\n.", "os.system"),
            (b"N0cos\nsystem\n(S'id'\ntR.", "os.system"),
            // Protocol 4: both texts on the stack, memoized, fetched again, or doubled.
            (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
            (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x9400h\x00h\x01\x93.", "os.system"),
            (b"\x80\x02X\x02\0\0\0osq\x07X\x06\0\0\0system\x93.", "os.system"),
            (b"S'os'\np5\n0g5\nS'system'\n\x93.", "os.system"),
            (b"S'os'\nr\xff\xff\0\x000j\xff\xff\0\0S'system'\n\x93.", "os.system"),
            (b"U\x02os2\x93.", "os.os"),
            (b"\x80\x04\x95\x0f\0\0\0\0\0\0\0V\\u006fs\n\x8c\x06system\x93.", "?.system"),
            // A name that another call gives.
            (b"cx\ny\n(tR\x8c\x06system\x93.", "?.system"),
            // What comes before the break has happened.
            (b"cos\nsystem\n(S'id'\ntR\xff\xff", "os.system (broken)"),
            (b"cos\nsystem\n(S'id'", "os.system (broken)"),
            (b"\x80\x02h\x00cos\nsystem\n.", " (broken)"),
            // The second pickle of a file.
            (b"\x80\x02N.\x80\x02cos\nsystem\n.", "os.system"),
            (b"\x80\x02N.cos\nsystem\n.", ""),
            // Texts, numbers and containers of every protocol.
            (
                b"\x80\x05(I1\nL2L\nF0.5\nJ\0\0\0\0K\0M\0\0G\0\0\0\0\0\0\0\0\x8a\x01\x01\
                  \x8b\x01\0\0\0\x01T\x01\0\0\0aB\x01\0\0\0aC\x01a\x8e\x01\0\0\0\0\0\0\0a\
                  \x96\x01\0\0\0\0\0\0\0a\x8d\x01\0\0\0\0\0\0\0aN\x88\x89l](NNe}(NNu\x8f(N\x90(N\x91\
                  N\x85NN\x86NNN\x87}NNs]NaN0(N1PN\nNQ\x82\x01\x83\0\0\x84\0\0\0\0.",
                "",
            ),
        ] {
            assert_eq!(imports(content), expected, "{:?}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn what_begins_as_no_pickle_is_none_unless_it_is_named_so() {
        for (content, is_one) in [
            (&b"\x80\x03N."[..], true),
            (b"\x80\x06N.", false),
            (b"cos\nsystem\n", true),
            (b"cat\n\nfood", false),
            (b"class Foo:\n    pass\n", false),
            (b"(dp0\n.", true),
            (b"(dp0\n.", true),
            (b"(S'id'\nios\nsystem\n.", true),
            (b"(configuration)=\n# Configuration\n", false),
            (b"(a text)", false),
            (b"", false),
        ] {
            assert_eq!(Reader::new(content, false).is_some(), is_one, "{content:?}");
        }
    }

    #[test]
    fn an_array_of_objects_has_its_pickle_behind_the_header() {
        let array = |version: &[u8], header: &[u8]| {
            let length = (header.len() as u16).to_le_bytes();
            [b"\x93NUMPY", version, &length, header, b"cos\nsystem\n."].concat()
        };
        assert_eq!(imports(&array(&[1, 0], b"{'descr': '|O'}")), "os.system");
        for other in [
            array(&[1, 0], b"{'descr': '<f8'}"),
            array(&[9, 0], b"{'descr': '|O'}"),
            b"\x93NUMPY\x01\0\xff\xff".to_vec(),
            b"\x93NUMPY".to_vec(),
        ] {
            assert!(Reader::new(&other, false).is_none());
        }
    }

    #[test]
    fn a_pickle_that_only_wants_room_does_not_get_it() {
        let end = |content: &[u8]| {
            let mut reader = Reader::new(content, true).unwrap();
            (reader.items_max, reader.memo_max) = (1000, 1000);
            reader.feed(content);
            reader.finish().1
        };
        for opcode in [b'(', b'N', b']'] {
            assert_eq!(end(&[opcode; 1001]), End::TooMuch);
            assert_eq!(end(&[opcode; 1000]), End::Broken);
        }
        // A memo larger than is kept, and a name out of what was not.
        let memo = [&b"N"[..], &vec![0x94; 1001 + MEMO_SPARSE_MAX]].concat();
        assert_eq!(end(&[&memo[..], b"."].concat()), End::Whole);
        let lost = [&memo[..], b"U\x02os\x94j\0\0\x01\0U\x06system\x93."].concat();
        assert_eq!(end(&lost), End::TooMuch);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            imports(&content);
        }
    }
}
