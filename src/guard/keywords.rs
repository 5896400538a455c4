//! Where the keywords of all rules stand in a text, in one pass: the part of the scan that every byte
//! goes through. Knows no rule.
//!
//! Of each keyword the four bytes that are rarest in what people write are put into a table, of the few
//! that have only three those. Nearly every place of a text is done with a look into the table; only
//! where it holds are keywords compared.

use std::ops::Range;

use super::filter;

/// The least length of a keyword.
pub(super) const KEYWORD_BYTES_MIN: usize = 3;
/// Bytes of a longer keyword that are looked for first.
const GRAM_BYTES: usize = 4;
/// The bits of a short keyword's gram.
const SHORT: u32 = 0x00ff_ffff;
/// The table has 64 KiB: what texts say often stays in the first cache.
const SLOT_BITS: u32 = 14;
/// Lists of candidates.
const LIST_BITS: u32 = 13;
/// Places that one read of eight bytes covers.
const STEP: usize = 8 - GRAM_BYTES + 1;
/// Folds the case of ASCII letters; what else it folds, comparing tells apart.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// Keywords, ready to be found whatever their case.
#[derive(Debug)]
pub(super) struct Keywords {
    /// By the first three bytes of grams, which sorts of a fourth one they have. Holds a few that nobody
    /// put in.
    slots: Box<[u32; 1 << SLOT_BITS]>,
    /// Where in `clues` each list begins, and where the last one ends.
    lists: Vec<u16>,
    clues: Vec<Clue>,
    /// What each clue is for.
    candidates: Vec<Candidate>,
    /// The keywords, one after the other.
    bytes: Vec<u8>,
}

/// Where a keyword stands; short, since texts may have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// So many bytes from a place on, of a text of less than four gibibytes.
    pub(super) fn new(start: usize, length: usize) -> Self {
        let end = start + length;
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What tells a keyword from most others, and from most texts.
#[derive(Clone, Copy, Debug)]
struct Clue {
    /// Its rarest bytes.
    gram: u32,
    /// Where in it they are.
    offset: u16,
    /// Its first byte, folded.
    first: u8,
}

/// A keyword.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Where it is in `bytes`.
    start: u32,
    length: u16,
    number: u32,
}

impl Keywords {
    /// Makes an index of keywords in lower case, each at least [`KEYWORD_BYTES_MIN`] long.
    pub(super) fn new<'k>(keywords: impl Iterator<Item = &'k str>) -> Self {
        let mut all: Vec<(Clue, Candidate)> = Vec::new();
        let mut index = Self {
            slots: Box::new([0; 1 << SLOT_BITS]),
            lists: Vec::with_capacity((1 << LIST_BITS) + 1),
            clues: Vec::new(),
            candidates: Vec::new(),
            bytes: Vec::new(),
        };
        for (number, keyword) in keywords.enumerate() {
            let keyword = keyword.as_bytes();
            let grams = keyword.windows(GRAM_BYTES.min(keyword.len())).enumerate();
            let rarest = grams.max_by_key(|(_, gram)| filter::rarity(gram));
            let Some((offset, rarest)) = rarest.filter(|_| keyword.len() >= KEYWORD_BYTES_MIN)
            else {
                continue;
            };
            let gram = gram_of(rarest);
            index.slots[slot_of(gram)] |= match rarest.len() {
                GRAM_BYTES => sort_of(gram),
                _ => u32::MAX,
            };
            let clue = Clue {
                gram,
                offset: offset as u16,
                first: keyword[0] | 0x20,
            };
            let candidate = Candidate {
                start: index.bytes.len() as u32,
                length: keyword.len() as u16,
                number: number as u32,
            };
            all.push((clue, candidate));
            index.bytes.extend_from_slice(keyword);
        }
        all.sort_by_key(|(clue, _)| list_of(clue.gram));
        (index.clues, index.candidates) = all.into_iter().unzip();
        let mut places = index.clues.iter().map(|clue| list_of(clue.gram));
        let mut place = places.next();
        let mut passed = 0;
        for list in 0..=1 << LIST_BITS {
            while place.is_some_and(|place| place < list) {
                (place, passed) = (places.next(), passed + 1);
            }
            index.lists.push(passed);
        }
        index
    }

    /// Tells every place of every keyword, by its number.
    pub(super) fn find(&self, text: &[u8], mut tell: impl FnMut(usize, Span)) {
        let mut at = 0;
        while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*eight) | FOLD;
            let gram = |step: usize| (word >> (8 * step)) as u32;
            let mut any = 0;
            for step in 0..STEP {
                any |= self.held(gram(step));
            }
            if any != 0 {
                for step in 0..STEP {
                    if self.held(gram(step)) != 0 {
                        self.compare(text, (at + step, gram(step)), &mut tell);
                    }
                }
            }
            at += STEP;
        }
        for at in at..text.len() {
            let gram = gram_of(&text[at..text.len().min(at + GRAM_BYTES)]);
            self.compare(text, (at, gram), &mut tell);
        }
    }

    /// Not zero where a keyword may have such a gram, or its first three bytes.
    #[inline]
    fn held(&self, gram: u32) -> u32 {
        self.slots[slot_of(gram)] & sort_of(gram)
    }

    /// Tells the keywords whose gram, of four bytes or three, stands at a place.
    #[inline]
    fn compare(&self, text: &[u8], (at, gram): (usize, u32), tell: &mut impl FnMut(usize, Span)) {
        self.compare_with(text, (at, gram), tell);
        if gram > SHORT && self.slots[slot_of(gram)] == u32::MAX {
            self.compare_with(text, (at, gram & SHORT), tell);
        }
    }

    #[inline]
    fn compare_with(
        &self,
        text: &[u8],
        (at, gram): (usize, u32),
        tell: &mut impl FnMut(usize, Span),
    ) {
        let list = list_of(gram);
        let list = usize::from(self.lists[list])..usize::from(self.lists[list + 1]);
        for place in list {
            let clue = self.clues[place];
            let start = at.wrapping_sub(usize::from(clue.offset));
            let is_first = |byte: &u8| byte | 0x20 == clue.first;
            if clue.gram != gram || !text.get(start).is_some_and(is_first) {
                continue;
            }
            let candidate = self.candidates[place];
            let length = usize::from(candidate.length);
            let from = candidate.start as usize;
            let keyword = &self.bytes[from..from + length];
            let found = text.get(start..start + length);
            if found.is_some_and(|found| found.eq_ignore_ascii_case(keyword)) {
                tell(candidate.number as usize, Span::new(start, length));
            }
        }
    }
}

/// Up to four bytes as one number, folded; the first is the lowest.
fn gram_of(bytes: &[u8]) -> u32 {
    let folded = bytes.iter().rev().map(|byte| u32::from(byte | 0x20));
    folded.fold(0, |gram, byte| gram << 8 | byte)
}

/// Where the first three bytes of a gram are placed.
#[inline]
fn slot_of(gram: u32) -> usize {
    (hash(gram << 8) >> (32 - SLOT_BITS)) as usize
}

/// The list that a gram belongs to.
#[inline]
fn list_of(gram: u32) -> usize {
    (hash(gram) >> (32 - LIST_BITS)) as usize
}

/// Spreads numbers: the highest bits of a product with an odd constant.
#[inline]
fn hash(gram: u32) -> u32 {
    gram.wrapping_mul(0x9E37_79B1)
}

/// The sort of a gram's fourth byte, as one bit of 32: letters each have their own.
#[inline]
fn sort_of(gram: u32) -> u32 {
    // Quicker than to shift.
    const SORTS: [u32; 256] = {
        let mut sorts = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            sorts[byte] = 1 << (byte % 32);
            byte += 1;
        }
        sorts
    };
    SORTS[(gram >> 24) as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(keywords: &[&str], text: &[u8]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        let index = Keywords::new(keywords.iter().copied());
        index.find(text, |number, place| {
            all.push((number, place.range().start))
        });
        all.sort_unstable();
        all
    }

    fn naive(keywords: &[&str], text: &[u8]) -> Vec<(usize, usize)> {
        let places = keywords.iter().enumerate().flat_map(|(number, keyword)| {
            let windows = text.windows(keyword.len()).enumerate();
            let equal =
                windows.filter(|(_, window)| window.eq_ignore_ascii_case(keyword.as_bytes()));
            equal.map(move |(at, _)| (number, at))
        });
        places.collect()
    }

    #[test]
    fn keywords_are_found_in_any_case_wherever_they_stand() {
        let keywords = ["key", "akia", "api_key", "密码", "@ab", "`ab", "ghp_"];
        for text in [
            "",
            "k",
            "key",
            "aKEYs",
            "an API_Key: AKIAghp_",
            "密码=`AB@aB@AB",
            "keykeykeykeykeykeykeykey",
        ] {
            let text = text.as_bytes();
            assert_eq!(found(&keywords, text), naive(&keywords, text));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_missed_and_nothing_made_up(
            text in proptest::collection::vec(proptest::sample::select(b"aAbB@`_ \xc3\xa9".to_vec()), 0..200),
            keywords in proptest::collection::btree_set("[ab@_ é]{3,9}", 1..40),
        ) {
            let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
            prop_assert_eq!(found(&keywords, &text), naive(&keywords, &text));
        }
    }
}
