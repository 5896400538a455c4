//! What a pickle would import when it is loaded, read without loading it: a small machine that
//! follows the opcodes, keeps the texts on its stack, and runs nothing.
//!
//! Opcodes and their arguments are those of Python's `pickletools`, protocols 0 to 5. Bounded by
//! the bytes at hand and by [`ITEMS_MAX`]; a pickle inside a pickle stays a string of bytes.

use std::collections::{BTreeSet, HashMap};

/// The most names that are remembered of one file.
const IMPORTS_MAX: usize = 1000;
/// The most things on the stack, and in the memo: Python's own pickler stays far below on the
/// stack, handing over a thousand at a time.
const ITEMS_MAX: usize = 1 << 22;
/// The longest text that can be a part of a name, bytes.
const NAME_BYTES_MAX: usize = 255;

/// What was found in a pickle.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pickle {
    /// The module and name of everything that it would import, sorted.
    pub(super) imports: BTreeSet<(String, String)>,
    /// How far it was followed.
    pub(super) end: End,
}

/// How far a pickle was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// To where its bytes make no sense or are no more: there Python stops too, having done what
    /// came before.
    #[default]
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
    /// From where in the content, and how long.
    Text(u32, u8),
    Other,
}

/// The module and name of an import that is computed while the pickle is loaded.
pub(super) const COMPUTED: &str = "?";

/// Reads the pickles that a content begins with, one behind the other, as far as they go; `None`
/// where the first bytes are no pickle's, unless its name says that it is one.
pub(super) fn read(content: &[u8], is_named_so: bool) -> Option<Pickle> {
    read_within(ITEMS_MAX, content, is_named_so)
}

fn read_within(items_max: usize, content: &[u8], is_named_so: bool) -> Option<Pickle> {
    if !is_named_so && !begins_as_binary(content) && !begins_as_text(content) {
        return None;
    }
    let mut pickle = Pickle::default();
    let mut at = 0;
    loop {
        let mut machine = Machine::new(content, at);
        machine.run(items_max, &mut pickle);
        at = machine.at;
        // What else is behind the end belongs to whoever reads it by other means.
        if machine.end != End::Whole || !begins_as_binary(&content[at..]) {
            // A whole pickle with something else behind it is whole.
            if machine.end != End::Broken {
                pickle.end = machine.end;
            }
            return Some(pickle);
        }
        pickle.end = End::Whole;
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
        [b'c', rest @ ..] => name_line(rest).is_some_and(|(_, rest)| name_line(rest).is_some()),
        [b'(', b'c' | b'i' | b'd' | b'l' | b't' | b'S' | b'V', ..] => true,
        _ => false,
    }
}

/// A line that is a dotted name, and what follows it.
fn name_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(b'\n', bytes.get(..bytes.len().min(256))?)?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    let is_inner = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let is_name = !name.is_empty() && name.chars().all(is_inner);
    is_name.then_some((name, &bytes[end + 1..]))
}

struct Machine<'c> {
    content: &'c [u8],
    at: usize,
    stack: Vec<Item>,
    memo: Memo,
    end: End,
}

/// What a pickle keeps under numbers. Those that count up from 0 are the rule.
#[derive(Default)]
struct Memo {
    dense: Vec<Item>,
    sparse: HashMap<u64, Item>,
}

impl Memo {
    /// How many numbers are taken.
    fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }

    fn set(&mut self, at: u64, item: Item) {
        match usize::try_from(at) {
            Ok(place) if place < self.dense.len() => self.dense[place] = item,
            Ok(place) if place == self.dense.len() => {
                self.sparse.remove(&at);
                self.dense.push(item);
            }
            _ => drop(self.sparse.insert(at, item)),
        }
    }

    fn get(&self, at: u64) -> Option<Item> {
        let dense = || self.dense.get(usize::try_from(at).ok()?);
        dense().or_else(|| self.sparse.get(&at)).copied()
    }
}

impl<'c> Machine<'c> {
    fn new(content: &'c [u8], at: usize) -> Self {
        Self {
            content,
            at,
            stack: Vec::new(),
            memo: Memo::default(),
            end: End::Broken,
        }
    }

    fn run(&mut self, items_max: usize, pickle: &mut Pickle) {
        while self.end == End::Broken && self.step(pickle).is_some() {
            if self.stack.len() > items_max || self.memo.len() > items_max {
                self.end = End::TooMuch;
            }
        }
    }

    fn step(&mut self, pickle: &mut Pickle) -> Option<()> {
        let opcode = self.number(1)? as u8;
        match opcode {
            b'.' => self.end = End::Whole,
            // Names.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                note(pickle, module, name);
                self.stack.push(Item::Other);
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                note(pickle, module, name);
                self.drop_to_mark()?;
                self.stack.push(Item::Other);
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                // Python's own pickler always has the two texts at hand.
                let spelled = |item| self.spelled(item).unwrap_or_else(|| COMPUTED.to_owned());
                note(pickle, &spelled(module), &spelled(name));
                self.stack.push(Item::Other);
            }
            // REDUCE and NEWOBJ take two and give one, NEWOBJ_EX three, OBJ all to a mark.
            b'R' | 0x81 => self.replace(2)?,
            0x92 => self.replace(3)?,
            b'o' => {
                self.drop_to_mark()?;
                self.stack.push(Item::Other);
            }
            b'b' => drop(self.stack.pop()?),
            _ => return self.move_things(opcode),
        }
        Some(())
    }

    /// The opcodes that only move things about.
    fn move_things(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            // PROTO, FRAME.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            // Constants, and what their arguments are.
            b'N' | 0x88 | 0x89 | b']' | b')' | b'}' | 0x8f | 0x97 => self.stack.push(Item::Other),
            b'K' => self.other(1)?,
            b'M' => self.other(2)?,
            b'J' | 0x84 => self.other(4)?,
            b'G' => self.other(8)?,
            0x82 => self.other(1)?,
            0x83 => self.other(2)?,
            0x8a => self.counted(1)?,
            0x8b => self.counted(4)?,
            b'I' | b'L' | b'F' | b'P' => {
                self.line()?;
                self.stack.push(Item::Other);
            }
            b'C' => self.counted(1)?,
            b'B' => self.counted(4)?,
            0x8e | 0x96 => self.counted(8)?,
            // Texts.
            b'S' | b'V' => {
                let start = self.at;
                let line = self.line()?;
                let quotes = usize::from(opcode == b'S' && line.len() >= 2);
                self.push_text(start + quotes, line.len() - 2 * quotes);
            }
            0x8c | b'U' => self.text(1)?,
            b'X' | b'T' => self.text(4)?,
            0x8d => self.text(8)?,
            // The memo.
            b'p' => {
                let at = self.line()?.trim().parse().ok()?;
                self.remember(at)?;
            }
            b'q' => {
                let at = self.number(1)?;
                self.remember(at)?;
            }
            b'r' => {
                let at = self.number(4)?;
                self.remember(at)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let at = self.line()?.trim().parse().ok()?;
                self.recall(at)?;
            }
            b'h' => {
                let at = self.number(1)?;
                self.recall(at)?;
            }
            b'j' => {
                let at = self.number(4)?;
                self.recall(at)?;
            }
            _ => return self.gather(opcode),
        }
        Some(())
    }

    /// The opcodes that take several things off the stack.
    fn gather(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            b'(' => self.stack.push(Item::Mark),
            b'0' => drop(self.stack.pop()?),
            b'1' => self.drop_to_mark()?,
            b'2' => self.stack.push(*self.stack.last()?),
            // TUPLE, LIST, DICT and FROZENSET of all to a mark; APPENDS, SETITEMS, ADDITEMS into
            // what lies before it.
            b't' | b'l' | b'd' | 0x91 => {
                self.drop_to_mark()?;
                self.stack.push(Item::Other);
            }
            b'e' | b'u' | 0x90 => self.drop_to_mark()?,
            b'a' => drop(self.stack.pop()?),
            b's' => {
                self.stack.pop()?;
                self.stack.pop()?;
            }
            0x85 | b'Q' | 0x98 => self.replace(1)?,
            0x86 => self.replace(2)?,
            0x87 => self.replace(3)?,
            _ => return None,
        }
        Some(())
    }

    fn take(&mut self, count: u64) -> Option<&'c [u8]> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        let taken = self.content.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// An unsigned number of so many bytes, little end first.
    fn number(&mut self, bytes: u64) -> Option<u64> {
        let taken = self.take(bytes)?;
        let add = |sum, byte: &u8| sum << 8 | u64::from(*byte);
        Some(taken.iter().rev().fold(0, add))
    }

    /// What stands before the next end of a line.
    fn line(&mut self) -> Option<&'c str> {
        let rest = &self.content[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        // Python reads names and numbers as UTF-8 or ASCII, and stops at anything else.
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Pushes something whose argument is so many bytes.
    fn other(&mut self, bytes: u64) -> Option<()> {
        self.take(bytes)?;
        self.stack.push(Item::Other);
        Some(())
    }

    /// Pushes something whose argument follows its length, a number of so many bytes.
    fn counted(&mut self, length_bytes: u64) -> Option<()> {
        let length = self.number(length_bytes)?;
        self.other(length)
    }

    fn text(&mut self, length_bytes: u64) -> Option<()> {
        let length = self.number(length_bytes)?;
        let start = self.at;
        let length = self.take(length)?.len();
        self.push_text(start, length);
        Some(())
    }

    fn push_text(&mut self, start: usize, length: usize) {
        let text = match (u32::try_from(start), u8::try_from(length)) {
            (Ok(start), Ok(length)) => Item::Text(start, length),
            // Longer than NAME_BYTES_MAX, or beyond what anybody holds in memory.
            _ => Item::Other,
        };
        self.stack.push(text);
    }

    /// The text of an item.
    fn spelled(&self, item: Item) -> Option<String> {
        let Item::Text(start, length) = item else {
            return None;
        };
        let start = start as usize;
        let bytes = self.content.get(start..start + usize::from(length))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn remember(&mut self, at: u64) -> Option<()> {
        self.memo.set(at, *self.stack.last()?);
        Some(())
    }

    fn recall(&mut self, at: u64) -> Option<()> {
        self.stack.push(self.memo.get(at)?);
        Some(())
    }

    fn replace(&mut self, count: usize) -> Option<()> {
        let kept = self.stack.len().checked_sub(count)?;
        self.stack.truncate(kept);
        self.stack.push(Item::Other);
        Some(())
    }

    fn drop_to_mark(&mut self) -> Option<()> {
        let mark = self
            .stack
            .iter()
            .rposition(|item| matches!(item, Item::Mark));
        self.stack.truncate(mark?);
        Some(())
    }
}

fn note(pickle: &mut Pickle, module: &str, name: &str) {
    if pickle.imports.len() < IMPORTS_MAX && module.len() + name.len() <= 2 * NAME_BYTES_MAX {
        pickle.imports.insert((module.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn imports(content: &[u8]) -> String {
        let pickle = read(content, true).unwrap();
        let names = pickle
            .imports
            .iter()
            .map(|(module, name)| format!("{module}.{name}"));
        names.collect::<Vec<_>>().join(" ")
            + match pickle.end {
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
            (b"\x80\x04\x95\x0f\0\0\0\0\0\0\0V\\u006fs\n\x8c\x06system\x93.", "\\u006fs.system"),
            // A name that another call gives.
            (b"cx\ny\n(tR\x8c\x06system\x93.", "?.system x.y"),
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
            (b"(a text)", false),
            (b"", false),
        ] {
            assert_eq!(read(content, false).is_some(), is_one, "{content:?}");
        }
        assert!(read(b"Ncx\ny\n.", true).is_some());
    }

    #[test]
    fn a_pickle_that_only_wants_room_does_not_get_it() {
        let end = |content: &[u8]| read_within(1000, content, true).unwrap().end;
        for opcode in [b'(', b'N', b']'] {
            assert_eq!(end(&[opcode; 1001]), End::TooMuch);
            assert_eq!(end(&[opcode; 1000]), End::Broken);
        }
        assert_eq!(end(&[&b"N"[..], &[0x94; 1001]].concat()), End::TooMuch);
        assert_eq!(end(&[&b"N"[..], &[0x94; 1000], b"."].concat()), End::Whole);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&content, true);
        }
    }
}
