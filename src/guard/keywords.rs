//! Where the keywords of all rules stand in a text, in one pass: the part of the scan that every byte
//! goes through. Knows no rule.
//!
//! Of each keyword the four bytes that are rarest in what people write are put into a set of bits, of
//! the few that have only three those. Nearly every place of a text is done with a look into both
//! sets; only where one holds are keywords compared.

use std::ops::Range;

use super::filter;

/// The least length of a keyword.
pub(super) const KEYWORD_BYTES_MIN: usize = 3;
/// Bytes of a longer keyword that are looked for first.
const GRAM_BYTES: usize = 4;
/// The bits of the short keywords' grams.
const SHORT: u32 = 0x00ff_ffff;
/// A set of bits has 16 KiB, so that both stay in the first cache.
const SET_BITS: u32 = 17;
/// Lists of candidates.
const LIST_BITS: u32 = 13;
/// Places that one read of eight bytes covers.
const STEP: usize = 8 - GRAM_BYTES + 1;
/// Folds the case of ASCII letters; what else it folds, comparing tells apart.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// Keywords, ready to be found whatever their case.
#[derive(Debug)]
pub(super) struct Keywords {
    long: Set,
    short: Set,
    /// Where in `candidates` each list begins, and where the last one ends.
    lists: Vec<u16>,
    /// The rarest bytes of each candidate.
    grams: Vec<u32>,
    candidates: Vec<Candidate>,
    /// The keywords, one after the other.
    bytes: Vec<u8>,
}

/// A set of grams; holds a few that nobody put in.
#[derive(Debug)]
struct Set(Box<[u64; 1 << (SET_BITS - 6)]>);

/// A keyword that is known by its rarest bytes.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Where it is in `bytes`.
    start: u32,
    length: u16,
    /// Where in it the rarest bytes are.
    offset: u16,
    number: u32,
}

impl Keywords {
    /// Makes an index of keywords in lower case, each at least [`KEYWORD_BYTES_MIN`] long.
    pub(super) fn new<'k>(keywords: impl Iterator<Item = &'k str>) -> Self {
        let mut all: Vec<(u32, Candidate)> = Vec::new();
        let mut index = Self {
            long: Set::new(),
            short: Set::new(),
            lists: Vec::with_capacity((1 << LIST_BITS) + 1),
            grams: Vec::new(),
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
            match rarest.len() {
                GRAM_BYTES => index.long.insert(gram),
                _ => index.short.insert(gram),
            }
            let candidate = Candidate {
                start: index.bytes.len() as u32,
                length: keyword.len() as u16,
                offset: offset as u16,
                number: number as u32,
            };
            all.push((gram, candidate));
            index.bytes.extend_from_slice(keyword);
        }
        all.sort_by_key(|(gram, _)| list_of(*gram));
        let (grams, candidates) = all.into_iter().unzip();
        (index.grams, index.candidates) = (grams, candidates);
        let mut next = 0;
        for list in 0..=1 << LIST_BITS {
            let grams = &index.grams[next..];
            next += grams
                .iter()
                .take_while(|gram| list_of(**gram) < list)
                .count();
            index.lists.push(next as u16);
        }
        index
    }

    /// Tells every place of every keyword, by its number.
    pub(super) fn find(&self, text: &[u8], mut tell: impl FnMut(usize, Range<usize>)) {
        let mut at = 0;
        while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*eight) | FOLD;
            let mut hits = 0;
            for step in 0..STEP {
                let gram = (word >> (8 * step)) as u32;
                hits |= (self.long.bit(gram) | self.short.bit(gram & SHORT)) << step;
            }
            while hits != 0 {
                let step = hits.trailing_zeros() as usize;
                let gram = (word >> (8 * step)) as u32;
                if self.long.bit(gram) != 0 {
                    self.compare(text, (at + step, gram), &mut tell);
                }
                if self.short.bit(gram & SHORT) != 0 {
                    self.compare(text, (at + step, gram & SHORT), &mut tell);
                }
                hits &= hits - 1;
            }
            at += STEP;
        }
        for at in at..text.len() {
            for length in [KEYWORD_BYTES_MIN, GRAM_BYTES] {
                if let Some(bytes) = text.get(at..at + length) {
                    self.compare(text, (at, gram_of(bytes)), &mut tell);
                }
            }
        }
    }

    #[inline]
    fn compare(
        &self,
        text: &[u8],
        (at, gram): (usize, u32),
        tell: &mut impl FnMut(usize, Range<usize>),
    ) {
        let list = list_of(gram);
        let list = usize::from(self.lists[list])..usize::from(self.lists[list + 1]);
        for (known, candidate) in self.grams[list.clone()].iter().zip(&self.candidates[list]) {
            if *known != gram {
                continue;
            }
            let Some(start) = at.checked_sub(usize::from(candidate.offset)) else {
                continue;
            };
            let place = start..start + usize::from(candidate.length);
            let from = candidate.start as usize;
            let keyword = &self.bytes[from..from + usize::from(candidate.length)];
            let found = text.get(place.clone());
            if found.is_some_and(|found| found.eq_ignore_ascii_case(keyword)) {
                tell(candidate.number as usize, place);
            }
        }
    }
}

impl Set {
    fn new() -> Self {
        Self(Box::new([0; 1 << (SET_BITS - 6)]))
    }

    fn insert(&mut self, gram: u32) {
        let place = hash(gram) >> (32 - SET_BITS);
        self.0[(place >> 6) as usize] |= 1 << (place & 63);
    }

    /// 1 where a gram may have been put in.
    #[inline]
    fn bit(&self, gram: u32) -> u64 {
        let place = hash(gram) >> (32 - SET_BITS);
        self.0[(place >> 6) as usize] >> (place & 63) & 1
    }
}

/// Up to four bytes as one number, folded; the first is the lowest.
fn gram_of(bytes: &[u8]) -> u32 {
    let folded = bytes.iter().rev().map(|byte| u32::from(byte | 0x20));
    folded.fold(0, |gram, byte| gram << 8 | byte)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(keywords: &[&str], text: &[u8]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        let index = Keywords::new(keywords.iter().copied());
        index.find(text, |number, place| all.push((number, place.start)));
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
